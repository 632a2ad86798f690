"""Build tasks: each push leaves one with its real steps, and its last word tells how it ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lhub.builds import new_task_id
from lhub.disk import Pen
from lhub.errors import Conflict
from lhub.manifest import read_yaml
from lhub.registry import Registry
from tests.conftest import as_caller


def events(registry: Registry, task: str) -> list[dict[str, Any]]:
    text = (registry.root / "alice/Hello/.lhub/builds" / task / "events.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def tasks(registry: Registry) -> set[str]:
    return {path.name for path in (registry.root / "alice/Hello/.lhub/builds").iterdir()}


def test_a_task_id_has_24_hex_digits_and_begins_with_the_time() -> None:
    assert (len(new_task_id(255.9)), new_task_id(255.9)[:8]) == (24, "000000ff")
    assert new_task_id(1.0) != new_task_id(1.0)


def test_a_push_leaves_its_steps_in_order(registry: Registry, hello: Path) -> None:
    pushed = registry.push(hello)
    told = events(registry, pushed.task_id)
    assert [(event["type"], event["subject"]) for event in told] == [
        ("start", "receive"), ("done", "receive"), ("start", "publish"), ("done", "publish"), ("succeeded", "push"),
    ]  # fmt: skip
    assert told[1]["payload"] == {"files": 2, "bytes": sum(path.stat().st_size for path in hello.iterdir())}
    assert told[3]["payload"] == {"version": pushed.version, "tags": ["latest"], "new": True}
    assert all(sorted(event) == ["payload", "subject", "time", "type"] for event in told)


def test_a_task_says_whose_it_is(registry: Registry, hello: Path) -> None:
    task = registry.push(hello).task_id
    document = read_yaml((registry.root / f"alice/Hello/.lhub/builds/{task}/task.yaml").read_bytes(), "task.yaml")
    assert (document["task"], document["who"], document["format"]) == (task, "alice", 1)


def test_a_push_that_changes_nothing_leaves_a_task_too(registry: Registry, hello: Path) -> None:
    assert tasks(registry.push(hello) and registry) < tasks(registry.push(hello) and registry)


def test_a_push_that_fails_says_why_in_its_task(registry: Registry, hello: Path) -> None:
    first = registry.push(hello)

    class Full(Pen):
        def step(self, verb: str, path: str) -> None:
            if verb == "copy_in":
                raise OSError(28, "No space left on device", path)

    (hello / "executor.py").write_text("class Hello:\n    changed = True\n")
    with pytest.raises(OSError, match="No space left"):
        as_caller(registry, "alice", pen=Full()).push(hello)
    (task,) = tasks(registry) - {first.task_id}
    assert [event["type"] for event in events(registry, task)] == ["start", "failed", "failed"]
    assert "No space left" in events(registry, task)[-1]["payload"]["message"]


def test_a_push_refused_early_leaves_no_task(registry: Registry, hello: Path) -> None:
    registry.push(hello, protected_tags=["v1"])
    before = tasks(registry)
    (hello / "executor.py").write_text("class Hello:\n    changed = True\n")
    with pytest.raises(Conflict):
        registry.push(hello, tags=["v1"])
    assert tasks(registry) == before
