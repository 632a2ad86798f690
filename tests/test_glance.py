"""A glance: what nothing has changed since the last listing is told again, and never what has changed."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import lhub.glance as room
from lhub import shelf
from lhub.glance import Glance
from lhub.registry import Registry
from lhub.shelf import Listed
from tests.conftest import write_tree


@pytest.fixture(autouse=True)
def on_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the tests' folder, which may be in memory, lay on a block device; a tmpfs tells of changes as well."""
    monkeypatch.setattr(os, "major", lambda device: 8)


@pytest.fixture
def later(registry: Registry) -> Registry:
    """A registry with two resources, for somebody who looks in an hour."""
    registry.push(write_tree(registry.root.parent / "x", {"a.txt": "x"}), "X", tags=["latest", "v1"])
    registry.push(write_tree(registry.root.parent / "y", {"a.txt": "yy"}), "Y", private=True)
    return in_an_hour(registry)


def in_an_hour(registry: Registry, glance: Glance | None = None) -> Registry:
    session = registry.session
    registry.session = replace(
        session, clock=lambda: os.stat(registry.root).st_mtime + 3600, glance=glance or Glance(None)
    )
    registry.sessions = (registry.session,)
    return registry


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The resources that were looked at."""
    seen: list[str] = []
    look = shelf._line

    def counted(session: object, resource: shelf.Resource) -> Listed | None:
        seen.append(resource.name)
        return look(session, resource)  # type: ignore[arg-type]

    monkeypatch.setattr(shelf, "_line", counted)
    return seen


def test_what_did_not_change_is_told_again_unlooked(later: Registry, looks: list[str]) -> None:
    first = later.list()
    assert sorted(looks) == ["alice/X", "alice/Y"]
    looks.clear()
    assert later.list() == first
    assert looks == ["alice/Y"], "what is private is looked at each time"


CHANGES: dict[str, Callable[[Registry], object]] = {
    "push": lambda registry: registry.push(write_tree(registry.root.parent / "x", {"a.txt": "new"}), "X"),
    "tag": lambda registry: registry.tag("alice/X", "v2"),
    "untag": lambda registry: registry.untag("alice/X", "v1"),
    "protect": lambda registry: registry.tag("alice/X", "v1", protect=True),
    "visibility": lambda registry: registry.visibility("alice/X", "private"),
    "delete": lambda registry: registry.delete("alice/X"),
    "rename": lambda registry: registry.rename("alice/X", "Z"),
    "by hand": lambda registry: (registry.root / "alice/X/v1").unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_is_seen_at_once(later: Registry, change: str) -> None:
    before = later.list()
    other = Registry(later.root, namespace="alice")
    CHANGES[change](other)
    assert later.list() == other.list() != before


def test_what_changed_just_now_is_not_remembered(registry: Registry, looks: list[str]) -> None:
    """Two changes may have one time, that of a tick of the clock."""
    registry.push(write_tree(registry.root.parent / "x", {"a.txt": "x"}), "X")
    for _ in range(2):
        registry.list()
    assert looks == ["alice/X"] * 2


def test_where_another_host_may_change_it_all_is_looked_at(
    later: Registry, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "major", lambda device: 0)
    later.list()
    looks.clear()
    later.list()
    assert sorted(looks) == ["alice/X", "alice/Y"]


def test_the_next_process_knows_what_a_file_keeps(
    later: Registry, looks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_MANY", 1)
    file = tmp_path / "glance"
    told = in_an_hour(later, Glance(str(file))).list()
    looks.clear()
    assert in_an_hour(later, Glance(str(file))).list() == told
    assert looks == ["alice/Y"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert "alice/Y" not in file.read_text()


def test_a_few_resources_make_no_file(later: Registry, tmp_path: Path) -> None:
    in_an_hour(later, Glance(f"{tmp_path}/glance")).list()
    assert not (tmp_path / "glance").exists()


ODD = ["1", "null", "[]", '"x"', "[1,2]", '[[1],"odd"]', "[" * 3, '[1,"odd","odd","odd",{},0,0,3,null,null]']


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, "lhub glance 1\n{}", "lhub glance 2 00000001\n{}", "\0\n\n", *ODD]
)
def test_a_file_that_is_none_is_passed_over(later: Registry, tmp_path: Path, text: str) -> None:
    file = tmp_path / "glance"
    told = later.list()
    file.write_text(text)
    assert in_an_hour(later, Glance(str(file))).list() == told


@pytest.mark.parametrize("line", [line for line in ODD if not line.startswith("[[[")])
def test_a_line_that_is_none_is_looked_at_anew(later: Registry, tmp_path: Path, line: str) -> None:
    file = tmp_path / "glance"
    told = later.list()
    text = f'{{"{later.root}/alice/X":{line}}}'.encode()
    file.write_bytes(b"lhub glance 2 %08x\n%b" % (zlib.crc32(text), text))
    assert in_an_hour(later, Glance(str(file))).list() == told


def test_a_file_in_which_a_bit_flipped_tells_nothing(
    later: Registry, looks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_MANY", 1)
    file = tmp_path / "glance"
    told = in_an_hour(later, Glance(str(file))).list()
    text = file.read_bytes()
    assert b"files" in text
    file.write_bytes(text.replace(b"files", b"fides"))
    looks.clear()
    assert in_an_hour(later, Glance(str(file))).list() == told
    assert sorted(looks) == ["alice/X", "alice/Y"]


def test_what_a_kill_left_of_a_file_is_in_nobodys_way(
    later: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_MANY", 1)
    (tmp_path / "glance.new").write_text("half of")
    in_an_hour(later, Glance(f"{tmp_path}/glance")).list()
    assert sorted(path.name for path in tmp_path.glob("glance*")) == ["glance"]


def test_a_listing_beside_another_keeps_its_file(
    later: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a gateway two threads list at once: what one remembers while the other writes is in nobody's way."""
    monkeypatch.setattr(room, "_MANY", 1)
    file = tmp_path / "glance"
    glance = Glance(str(file))
    written, status = shelf._written, os.stat(later.root / "alice/X")

    def beside(line: Listed) -> list[object]:
        glance.add("/elsewhere", status, status.st_mtime + 3600, line)
        return written(line)

    monkeypatch.setattr(shelf, "_written", beside)
    in_an_hour(later, glance).list()
    assert "alice/X" in file.read_text()


def test_a_file_that_cannot_be_written_is_done_without(
    later: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_MANY", 1)
    told = later.list()
    assert in_an_hour(later, Glance(f"{tmp_path}/not/here")).list() == told
