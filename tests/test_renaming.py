"""Rename: another name in the same namespace, and all else as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from lhub.errors import Conflict, Denied, NotFound, UsageError
from lhub.registry import Registry
from tests.conftest import as_caller, read_tree


def test_all_goes_along(registry: Registry, hello: Path) -> None:
    pushed = registry.push(hello, tags=["v1", "latest"], private=True)
    assert registry.rename("alice/Hello", "Hi") == "alice/Hi"
    shown = registry.show("alice/Hi:v1")
    assert (shown.version, shown.visibility, sorted(shown.tags)) == (pushed.version, "private", ["latest", "v1"])
    assert [entry.action for entry in registry.log("alice/Hi")] == ["rename", "push"]
    assert registry.log("alice/Hi")[0].message == "it was alice/Hello"
    with pytest.raises(NotFound):
        registry.show("alice/Hello")
    assert registry.verify().ok
    assert registry.push(hello, "alice/Hi").new is False


def test_the_old_name_is_free_again(registry: Registry, hello: Path) -> None:
    registry.push(hello)
    registry.rename("alice/Hello", "alice/Hi")
    assert registry.push(hello).name == "alice/Hello"
    assert [each.name for each in registry.list()] == ["alice/Hello", "alice/Hi"]


def test_only_the_case_may_differ(registry: Registry, hello: Path) -> None:
    registry.push(hello)
    assert registry.rename("alice/Hello", "hello") == "alice/hello"


def test_the_same_name_changes_nothing(registry: Registry, hello: Path) -> None:
    registry.push(hello)
    before = read_tree(registry.root)
    assert registry.rename("alice/Hello", "Hello") == "alice/Hello"
    assert read_tree(registry.root) == before


def test_a_name_that_stands_is_taken_and_so_is_its_twin(registry: Registry, hello: Path) -> None:
    registry.push(hello)
    registry.push(hello, "alice/Hi")
    for name in ("Hi", "HI"):
        with pytest.raises(Conflict):
            registry.rename("alice/Hello", name)
    assert [each.name for each in registry.list()] == ["alice/Hello", "alice/Hi"]


def test_a_protected_tag_keeps_the_name(registry: Registry, hello: Path) -> None:
    registry.push(hello, protected_tags=["v1"])
    with pytest.raises(Conflict, match="protected tags, which keep its name: v1"):
        registry.rename("alice/Hello", "Hi")


@pytest.mark.parametrize("name", ["bob/Hi", "", "a b", "alice/", "..", "Hi:v1"])
def test_what_is_no_name_there_is_refused(registry: Registry, hello: Path, name: str) -> None:
    registry.push(hello)
    with pytest.raises(UsageError):
        registry.rename("alice/Hello", name)


@pytest.mark.parametrize("ref", ["alice/Hello:latest", "alice/Hello@0123456789"])
def test_a_tag_or_version_has_no_name_of_its_own(registry: Registry, hello: Path, ref: str) -> None:
    registry.push(hello)
    with pytest.raises(UsageError, match="not a whole resource"):
        registry.rename(ref, "Hi")


def test_nobody_renames_what_is_another_s_or_not_there(registry: Registry, hello: Path) -> None:
    registry.push(hello)
    bob = as_caller(registry, "bob")
    with pytest.raises(Denied):
        bob.rename("alice/Hello", "Hi")
    with pytest.raises(NotFound):
        registry.rename("alice/Never", "Hi")


def test_what_a_killed_first_push_left_gives_way(registry: Registry, hello: Path) -> None:
    registry.push(hello)
    (registry.root / "alice" / "Hi" / ".lhub").mkdir(parents=True)
    assert registry.rename("alice/Hello", "Hi") == "alice/Hi"
    assert registry.verify().ok
