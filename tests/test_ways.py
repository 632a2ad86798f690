"""The way down to a file: no link leads elsewhere, and folders that stay open are those they were."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lhub import ways
from lhub.disk import Pen
from lhub.errors import Corrupt
from lhub.opening import read_small
from lhub.registry import Registry
from lhub.ways import guard, ways_kept
from tests.conftest import read_tree, write_tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "root"
    place.mkdir()
    guard(str(place))
    return place


def deep(place: Path, levels: int) -> Path:
    for _ in range(levels):
        place /= "d"
        place.mkdir()
    return place


def test_a_second_name_between_two_deep_folders_is_of_the_file_it_is_of(root: Path) -> None:
    """Each is deeper than all folders that stay open."""
    (root / "store").mkdir()
    (root / "store" / "blob").write_text("right")
    far = deep(root, 150)
    for folder in far.parents:
        if folder != root and root in folder.parents:
            (folder / "blob").write_text("wrong")
    with ways_kept():
        Pen().link(f"{root}/store/blob", f"{far}/new")
    assert (far / "new").read_text() == "right"


def test_branches_deeper_than_what_stays_open_are_pushed_again_and_again(registry: Registry, tmp_path: Path) -> None:
    files = {f"{'/'.join(branch * 125)}/{number}.txt": f"{number}" for branch in "abc" for number in range(4)}
    source = write_tree(tmp_path / "deep", files)
    registry.push(source, "X")
    (source / "top.txt").write_text("new")
    pushed = registry.push(source, "X")
    assert pushed.warnings == ()
    out = registry.pull("alice/X", tmp_path / "out").path
    assert read_tree(Path(out)) == read_tree(source)


def test_few_folders_stay_open_and_none_behind_the_last(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "_WAYS", 8)
    for number in range(40):
        (root / f"{number}").mkdir()
        (root / f"{number}" / "file").write_text("x")
    before = len(os.listdir("/proc/self/fd"))
    with ways_kept():
        for number in range(40):
            assert read_small(f"{root}/{number}/file", limit=1) == b"x"
            assert len(os.listdir("/proc/self/fd")) <= before + 8
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("kept", [False, True])
def test_a_link_on_the_way_is_refused_and_told(root: Path, kept: bool) -> None:
    (root / "aside").mkdir()
    (root / "aside" / "file").write_text("x")
    (root / "link").symlink_to("aside")
    with pytest.raises(Corrupt, match=r"link, on the way to .*/link, is not a folder"):
        if kept:
            with ways_kept():
                read_small(f"{root}/link/file", limit=1)
        else:
            read_small(f"{root}/link/file", limit=1)


def test_a_folder_below_a_link_is_not_taken_for_one_that_stands(root: Path) -> None:
    (root / "aside" / "inner").mkdir(parents=True)
    (root / "link").symlink_to("aside")
    with pytest.raises(Corrupt, match="on the way to"):
        Pen().make_folders([f"{root}/link/inner"], 0o755)
