"""Pull: whole at the destination, or nothing there and what stood before untouched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lhub.disk import Pen
from lhub.errors import Conflict, Corrupt, LhubError, UsageError
from lhub.registry import Registry
from tests.conftest import as_caller, by_hand, read_tree, write_tree


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_what_is_pulled_is_what_was_pushed_and_may_be_changed(registry: Registry, hello: Path, out: Path) -> None:
    registry.push(write_tree(hello, {"sub/run.sh": "#!/bin/sh\n"}))
    pulled = Path(registry.pull("alice/Hello", out / "here").path)
    assert read_tree(pulled) == read_tree(hello)
    assert all(path.stat().st_mode & 0o200 for path in pulled.rglob("*"))


def test_a_destination_that_stands_is_left_alone(registry: Registry, hello: Path, out: Path) -> None:
    registry.push(hello)
    write_tree(out, {"mine.txt": "mine"})
    with pytest.raises(Conflict):
        registry.pull("alice/Hello", out)
    assert (read_tree(out), os.listdir(out.parent).count("out")) == ({"mine.txt": b"mine"}, 1)


class FailingRename(Pen):
    """A pen of whose renames one fails."""

    def __init__(self, nth: int) -> None:
        self.nth, self.renames = nth, 0

    def step(self, verb: str, path: str) -> None:
        self.renames += verb == "rename"
        if (verb, self.renames) == ("rename", self.nth):
            raise OSError(5, "Input/output error", path)


@pytest.mark.parametrize("nth", [1, 2, 3], ids=["at once", "aside", "in its place"])
def test_the_old_is_put_back_when_the_new_cannot_be_put_in_its_place(
    registry: Registry, hello: Path, out: Path, nth: int
) -> None:
    registry.push(hello)
    write_tree(out, {"mine.txt": "mine"})
    before = sorted(os.listdir(out.parent))
    with pytest.raises(OSError, match="Input/output"):
        as_caller(registry, "alice", pen=FailingRename(nth)).pull("alice/Hello", out, force=True)
    assert (read_tree(out), sorted(os.listdir(out.parent))) == ({"mine.txt": b"mine"}, before)


def test_a_flipped_byte_leaves_nothing_and_names_the_file(registry: Registry, hello: Path, out: Path) -> None:
    path = Path(registry.push(hello).path)
    with by_hand(path.parent):
        (path / "executor.py").write_bytes(b"X" + (path / "executor.py").read_bytes()[1:])
    with pytest.raises(Corrupt, match=r"executor\.py"):
        registry.pull("alice/Hello", out / "here")
    assert os.listdir(out) == []


def test_what_does_not_fit_is_refused_before_a_byte_is_copied(
    registry: Registry, hello: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.push(hello)
    real = os.statvfs(out)
    none_free = os.statvfs_result((*real[:4], 0, *real[5:]))
    monkeypatch.setattr("lhub.fetch.os.statvfs", lambda path: none_free)
    with pytest.raises(LhubError, match="no room"):
        registry.pull("alice/Hello", out / "here")
    assert os.listdir(out) == []


@pytest.mark.parametrize("where", ["registry", "registry/alice", "."])
def test_the_registry_is_never_replaced_nor_pulled_into(registry: Registry, hello: Path, where: str) -> None:
    registry.push(hello)
    before = sorted(os.listdir(registry.root))
    with pytest.raises(UsageError):
        registry.pull("alice/Hello", registry.root.parent / where, force=True)
    assert sorted(os.listdir(registry.root)) == before


# one file


@pytest.mark.parametrize(
    ("pushed", "resource", "pulled"),
    [
        ("model.safetensors", "weights", "weights.safetensors"),
        ("model-v1.2.safetensors", "weights", "weights.safetensors"),
        ("data.tar.gz", "data", "data.tar.gz"),
        ("data.csv.zst", "table.csv.zst", "table.csv.zst"),
        ("Makefile", "rules", "rules"),
        (".bashrc", "settings", "settings"),
        ("a b.txt", "spaced", "spaced.txt"),
    ],
)
def test_a_file_comes_back_as_one_named_like_what_was_asked_for(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pushed: str, resource: str, pulled: str
) -> None:
    """Not as its publisher says: he would choose what appears in somebody else's folder."""
    source = write_tree(tmp_path / "src", {pushed: b"\0weights"}) / pushed
    source.chmod(0o755)
    registry.push(source, f"alice/{resource}")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    at_home = registry.pull(f"alice/{resource}")
    assert at_home.path == f"{tmp_path}/here/{pulled}"
    assert (read_tree(tmp_path / "here"), os.access(at_home.path, os.X_OK)) == ({pulled: b"\0weights"}, True)


def test_a_file_goes_where_the_caller_says_and_into_a_folder_that_stands(registry: Registry, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", {"model.bin": "one"}) / "model.bin"
    registry.push(source, "alice/weights")
    (tmp_path / "folder").mkdir()
    assert registry.pull("alice/weights", tmp_path / "named.x").path == f"{tmp_path}/named.x"
    assert registry.pull("alice/weights", tmp_path / "folder").path == f"{tmp_path}/folder/weights.bin"
    for place in ("named.x", "folder"):
        with pytest.raises(Conflict, match="exists already"):
            registry.pull("alice/weights", tmp_path / place)
    write_tree(tmp_path, {"named.x": "mine", "folder/weights.bin": "mine", "folder/other": "mine"})
    for place in ("named.x", "folder"):
        registry.pull("alice/weights", tmp_path / place, force=True)
    assert read_tree(tmp_path / "folder") == {"weights.bin": b"one", "other": b"mine"}
    assert (tmp_path / "named.x").read_text() == "one"
    assert sorted(os.listdir(tmp_path)) == ["folder", "named.x", "registry", "src"]


def test_a_folder_of_one_file_stays_a_folder(registry: Registry, tmp_path: Path) -> None:
    registry.push(write_tree(tmp_path / "src", {"model.bin": "one"}), "alice/weights")
    assert read_tree(Path(registry.pull("alice/weights", tmp_path / "out").path)) == {"model.bin": b"one"}


def test_a_file_and_a_folder_of_it_are_two_versions(registry: Registry, tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "src", {"model.bin": "one"})
    pushed = [registry.push(what, "alice/weights").version for what in (folder, folder / "model.bin", folder)]
    assert (pushed[0] == pushed[2], pushed[0] == pushed[1]) == (True, False)


def test_what_stood_there_is_put_back_when_a_file_cannot_take_its_place(registry: Registry, tmp_path: Path) -> None:
    registry.push(write_tree(tmp_path / "src", {"model.bin": "new"}) / "model.bin", "alice/weights")
    write_tree(tmp_path, {"mine": "precious"})
    with pytest.raises(OSError, match="Input/output"):
        as_caller(registry, "alice", pen=FailingRename(1)).pull("alice/weights", tmp_path / "mine", force=True)
    assert (tmp_path / "mine").read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["mine", "registry", "src"]


def test_a_file_never_replaces_a_folder(registry: Registry, tmp_path: Path) -> None:
    registry.push(write_tree(tmp_path / "src", {"model.bin": "new"}) / "model.bin", "alice/weights")
    write_tree(tmp_path, {"out/weights.bin/mine": "precious"})
    with pytest.raises(Conflict, match="is a folder, what is pulled a file"):
        registry.pull("alice/weights", tmp_path / "out", force=True)
    assert read_tree(tmp_path / "out") == {"weights.bin/mine": b"precious"}


@pytest.mark.parametrize("name", ["x.a b", "x.é", "x." + "y" * 200, "x.tar.a b.gz"])
def test_an_ending_that_is_none_is_left_out(registry: Registry, tmp_path: Path, name: str) -> None:
    registry.push(write_tree(tmp_path / "src", {name: "new"}) / name, "alice/weights")
    (tmp_path / "out").mkdir()
    assert registry.pull("alice/weights", tmp_path / "out").path == f"{tmp_path}/out/weights"


def test_a_file_takes_the_place_of_another_where_there_are_no_hard_links(registry: Registry, tmp_path: Path) -> None:
    class Linkless(Pen):
        def step(self, verb: str, path: str) -> None:
            if verb == "link":
                raise OSError(1, "Operation not permitted", path)

    registry.push(write_tree(tmp_path / "src", {"model.bin": "new"}) / "model.bin", "alice/weights")
    write_tree(tmp_path, {"mine": "old"})
    as_caller(registry, "alice", pen=Linkless()).pull("alice/weights", tmp_path / "mine", force=True)
    assert (tmp_path / "mine").read_text() == "new"
