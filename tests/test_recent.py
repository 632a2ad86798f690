"""What was pushed last, of all that one may see; and what else a page asks of a registry."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import lhub.recent as recent
from lhub.errors import Conflict, Denied, NotFound, UsageError
from lhub.registry import Registry
from tests.arrays import new_document, number, stream, tensor, text
from tests.conftest import as_caller, write_tree


@pytest.fixture
def files(tmp_path: Path) -> Callable[[str], Path]:
    """A folder with one file of this content."""

    def make(content: str) -> Path:
        return write_tree(tmp_path / "src", {"a.txt": content})

    return make


def told(registry: Registry, most: int = 100) -> list[tuple[str, str]]:
    return [(push.name, push.message) for push in registry.recent(most)]


@pytest.fixture
def clock(registry: Registry) -> list[float]:
    """What each push that follows believes the time to be."""
    now = [1_700_000_000.0]
    registry.session = replace(registry.session, clock=lambda: now[0])
    return now


def push_at(registry: Registry, clock: list[float], name: str, folder: Path, message: str) -> None:
    """A push a minute later, whose tags move then."""
    clock[0] += 60
    registry.push(folder, name, message=message)
    for tag in (registry.root / name).iterdir():
        if tag.is_symlink():
            os.utime(tag, (clock[0], clock[0]), follow_symlinks=False)


def test_pushes_of_many_resources_are_told_by_their_time(
    registry: Registry, files: Callable[[str], Path], clock: list[float]
) -> None:
    for turn, name in enumerate(["x", "y", "x", "z", "x", "y"]):
        push_at(registry, clock, f"alice/{name}", files(str(turn)), str(turn))
    everything = [
        ("alice/y", "5"),
        ("alice/x", "4"),
        ("alice/z", "3"),
        ("alice/x", "2"),
        ("alice/y", "1"),
        ("alice/x", "0"),
    ]
    for most in range(8):
        assert told(registry, most) == everything[:most]


def test_a_push_tells_who_when_and_under_which_tags(registry: Registry, files: Callable[[str], Path]) -> None:
    pushed = registry.push(files("1"), "alice/x", tags=["v1", "latest"], protected_tags=["v1"], message="hello")
    (push,) = registry.recent()
    assert (push.who, push.tags, push.protected, push.version) == ("alice", ("v1", "latest"), ("v1",), pushed.version)
    assert (push.kind, push.visibility, push.message, push.root) == ("files", "public", "hello", None)
    assert push.to_dict()["tags"] == ["v1", "latest"]


def test_what_is_no_push_is_not_told(registry: Registry, files: Callable[[str], Path]) -> None:
    registry.push(files("1"), "alice/x")
    registry.tag("alice/x", "v1", protect=True)
    registry.visibility("alice/x", "private")
    assert len(registry.recent()) == 1


def test_nothing_private_of_another_s_is_told(registry: Registry, files: Callable[[str], Path]) -> None:
    bob = as_caller(registry, "bob")
    bob.login("bob")
    bob.push(files("1"), "bob/hidden", private=True)
    bob.push(files("1"), "bob/open")
    assert [push.name for push in registry.recent()] == ["bob/open"]
    assert len(bob.recent()) == 2
    assert len(as_caller(registry, None).recent()) == 1


def test_without_a_diary_the_links_tell(registry: Registry, files: Callable[[str], Path]) -> None:
    version = registry.push(files("1"), "alice/x", tags=["v1"], message="lost").version
    (registry.root / "alice/x/.lhub/history.git/refs/heads/main").unlink()
    (push,) = registry.recent()
    assert (push.tags, push.version, push.message) == (("v1",), version, "")


def test_no_more_diaries_are_read_than_it_takes(
    registry: Registry, files: Callable[[str], Path], clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    log = recent.log
    monkeypatch.setattr("lhub.recent.log", lambda resource: read.append(resource.name) or log(resource))
    for turn in range(5):
        push_at(registry, clock, f"alice/x{turn}", files(str(turn)), str(turn))
    assert told(registry, 2) == [("alice/x4", "4"), ("alice/x3", "3")]
    assert len(read) <= 3
    monkeypatch.setattr("lhub.recent._MOST_DIARIES", 2)
    read.clear()
    assert [name for name, _ in told(registry)] == [f"alice/x{turn}" for turn in (4, 3, 2, 1, 0)]
    assert read == ["alice/x4", "alice/x3"]


def test_of_several_registries_all_is_told(registry: Registry, files: Callable[[str], Path], tmp_path: Path) -> None:
    registry.push(files("1"), "alice/x", message="one")
    other = Registry(tmp_path / "other", namespace="alice")
    other.login("alice")
    other.push(files("2"), "alice/y", message="two")
    both = Registry(registry.root, also=[other.root], namespace="alice")
    assert {(push.name, push.root) for push in both.recent()} == {
        ("alice/x", str(registry.root)),
        ("alice/y", str(other.root)),
    }


# what one may do


def test_a_refusal_is_what_the_verb_would_raise(registry: Registry, files: Callable[[str], Path]) -> None:
    bob = as_caller(registry, "bob")
    bob.login("bob")
    bob.push(files("1"), "bob/open")
    bob.push(files("1"), "bob/hidden", private=True)
    registry.push(files("1"), "alice/x")
    for verb in ("pull", "push", "manage"):
        assert registry.refusal(verb, "alice/x") is None  # type: ignore[arg-type]
        assert type(registry.refusal(verb, "bob/hidden")) is NotFound  # type: ignore[arg-type]
        assert (registry.refusal(verb, "bob/open") is None) == (verb == "pull")  # type: ignore[arg-type]
    with pytest.raises(Denied) as raised:
        registry.visibility("bob/open", "private")
    assert str(registry.refusal("manage", "bob/open")) == str(raised.value)
    lone = Registry(registry.root, namespace=None)
    assert type(lone.refusal("push", "alice/x")) is Denied


def test_a_disk_that_takes_no_writes_refuses_all_but_a_pull(
    registry: Registry, files: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.push(files("1"), "alice/x")
    monkeypatch.setattr("lhub.session.Session.may_write", staticmethod(lambda folder: False))
    assert registry.refusal("pull", "alice/x") is None
    assert "takes no writes" in str(registry.refusal("push", "alice/x"))


def test_links_tell_each_tag(registry: Registry, files: Callable[[str], Path]) -> None:
    version = registry.push(files("1"), "alice/x", tags=["v1", "v2"], protected_tags=["v1"]).version
    links = registry.links("alice/x")
    assert {tag: (each.version, each.protected, each.uid) for tag, each in links.tags.items()} == {
        "v1": (version, True, os.geteuid()),
        "v2": (version, False, os.geteuid()),
    }
    with pytest.raises(NotFound):
        registry.links("alice/none")


# builds and fields


def test_builds_are_told_newest_first(registry: Registry, files: Callable[[str], Path]) -> None:
    pushed = [registry.push(files(str(turn)), "alice/x").task_id for turn in range(3)]
    assert [each.task_id for each in registry.builds("alice/x")] == pushed[::-1]
    assert [each.task_id for each in registry.builds("alice/x", most=1)] == pushed[:1:-1]
    assert {each.state for each in registry.builds("alice/x")} == {"succeeded"}
    with pytest.raises(NotFound):
        registry.builds("alice/none")


def test_a_task_is_found_within_its_resource_only(registry: Registry, files: Callable[[str], Path]) -> None:
    one = registry.push(files("1"), "alice/x").task_id
    other = registry.push(files("1"), "alice/y").task_id
    assert registry.build(task_id=one, within="alice/x").look().task_id == one
    assert [event["type"] for event in registry.build(task_id=one, within="alice/x").told()][-1] == "succeeded"
    for task, error in ((other, NotFound), ("0" * 24, NotFound), ("../../x", UsageError), ("", UsageError)):
        with pytest.raises(error):
            registry.build(task_id=task, within="alice/x")
    registry.visibility("alice/x", "private")
    with pytest.raises(NotFound):
        as_caller(registry, "bob").build(task_id=one, within="alice/x")


def test_fields_tell_what_each_value_is_and_its_bytes(registry: Registry, tmp_path: Path) -> None:
    numbers = struct.pack("<4f", 1, 2, 3, 4)
    document = new_document(caption=text("hello"), e=tensor("<f4", (2, 2), numbers), price=number(0.5))
    (tmp_path / "docs.bin").write_bytes(stream(2, *[document] * 5))
    registry.push(tmp_path / "docs.bin", "alice/docs")
    found = registry.fields("alice/docs", most=2)
    assert [[(each.name, each.data) for each in one] for one in found] == [
        [("caption", b"hello"), ("e", numbers), ("price", struct.pack("<d", 0.5))]
    ] * 2
    assert found[0][1].kind == ("ndarray", "float32", (2, 2))
    assert registry.documents("alice/docs", most=1) == [
        [("caption", "hello"), ("e", "float32[2, 2]"), ("price", "0.5")]
    ]


def test_no_more_of_documents_is_read_than_a_look_is_worth(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lhub.kinds.docarray._IN_ALL", 3000)
    (tmp_path / "docs.bin").write_bytes(stream(2, *[new_document(t=text("x" * 1000))] * 5))
    registry.push(tmp_path / "docs.bin", "alice/docs")
    assert len(registry.fields("alice/docs", most=5)) == 2


def test_a_conflict_is_no_refusal_of_access(registry: Registry, files: Callable[[str], Path]) -> None:
    registry.push(files("1"), "alice/x", protected_tags=["v1"])
    assert registry.refusal("manage", "alice/x") is None
    with pytest.raises(Conflict):
        registry.delete("alice/x")


def test_a_clock_that_was_ahead_moves_nothing_to_the_top(
    registry: Registry, files: Callable[[str], Path], clock: list[float]
) -> None:
    push_at(registry, clock, "alice/x", files("1"), "one")
    clock[0] += 1e9
    push_at(registry, clock, "alice/ahead", files("2"), "two")
    for tag in (registry.root / "alice/ahead/latest",):
        os.utime(tag, (clock[0] - 2e9, clock[0] - 2e9), follow_symlinks=False)
    assert [name for name, _ in told(registry)] == ["alice/x", "alice/ahead"]
