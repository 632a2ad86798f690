"""Pull: whole at the destination, or nothing there and what stood before untouched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lhub.errors import Conflict, Corrupt, LhubError, UsageError
from lhub.registry import Registry
from tests.conftest import by_hand, read_tree, write_tree


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


def test_the_old_is_put_back_when_the_new_cannot_be_put_in_its_place(
    registry: Registry, hello: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.push(hello)
    write_tree(out, {"mine.txt": "mine"})
    rename, calls = os.rename, []

    def failing(source: str, target: str) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(5, "Input/output error", target)
        rename(source, target)

    before = sorted(os.listdir(out.parent))
    monkeypatch.setattr("lhub.fetch.os.rename", failing)
    with pytest.raises(OSError, match="Input/output"):
        registry.pull("alice/Hello", out, force=True)
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
