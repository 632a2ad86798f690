"""Build tasks: each push leaves one with its real steps, its last word tells how it ended, and no death goes unseen."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lhub import builds
from lhub.builds import Build, Builder, Cancelled, begun, follow, look, new_task_id, newest
from lhub.disk import Pen
from lhub.errors import Conflict, Corrupt, LhubError, LockTimeout, NotFound
from lhub.layout import ONE_PERSON, ResourceFolder
from lhub.manifest import read_yaml
from lhub.redaction import Redaction
from lhub.registry import Registry
from tests.conftest import as_caller, write_tree
from tests.test_crowds import Crowd, together

HERE, THERE = "this-host", "another-host"
STEPS = ["receive", "normalise", "check requirements", "publish"]


def folder_of(registry: Registry, task: str) -> Path:
    return registry.root / "alice/Hello/.lhub/builds" / task


def events(registry: Registry, task: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder_of(registry, task) / "events.jsonl").read_text().splitlines()]


def tasks(registry: Registry) -> set[str]:
    return {path.name for path in (registry.root / "alice/Hello/.lhub/builds").iterdir()}


def state(registry: Registry, task: str | None = None) -> tuple[str, str]:
    build = registry.build("alice/Hello", task_id=task).look()
    return build.state, build.message


def ended(registry: Registry, task: str) -> Build:
    """A task once it has ended; one that does not is a failure of the test, not a hang."""
    watched, deadline = registry.build(task_id=task), time.monotonic() + 30
    while not (build := watched.look()).ended:
        assert time.monotonic() < deadline, build
        time.sleep(0.01)
    return build


def until(registry: Registry, task: str, kind: str, subject: str) -> None:
    """Wait for an event of a running task."""
    for event in registry.build(task_id=task).follow(replay=True):
        if (event["type"], event["subject"]) == (kind, subject):
            return
    raise AssertionError(f"the task ended without {kind} of {subject}: {state(registry, task)}")


def wait_until(answer: Callable[[], Any], *, within: float = 30) -> Any:
    """The first answer that is true; AssertionError where none is within so many seconds."""
    deadline = time.monotonic() + within
    while not (given := answer()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return given


@contextmanager
def waiting(registry: Registry, name: str = "alice/Hello") -> Iterator[None]:
    """Let a push wait before it publishes, for it needs the lock of its resource."""
    descriptor = os.open(registry.root / name / ".lhub/lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # not by close: a process begun meanwhile has the descriptor too
        os.close(descriptor)


def detached(registry: Registry, folder: Path, *, pen: Pen | None = None, **asked: Any) -> str:
    """The task of a push that goes on by itself."""
    before = tasks(registry)
    alice = as_caller(registry, "alice", pen=pen)
    assert together(lambda: alice.push(folder, detach=True, **asked)) == [0]
    (task,) = tasks(registry) - before
    return task


class Hooked(Pen):
    """Does something before each write."""

    def __init__(self, deed: Callable[[str, str], object]) -> None:
        self.deed = deed

    def step(self, verb: str, path: str) -> None:
        self.deed(verb, path)


@pytest.fixture
def resource(tmp_path: Path) -> ResourceFolder:
    """A place for tasks alone."""
    (tmp_path / "X/.lhub/builds").mkdir(parents=True)
    return ResourceFolder(str(tmp_path / "X"))


def building(
    resource: ResourceFolder, task: str, *, host: str = HERE, hide: Redaction | None = None
) -> Any:  # a context manager of a Task
    return begun(Pen(), resource, ONE_PERSON, task, Builder(who="alice", host=host, note="", hide=hide or Redaction()))


def seen(resource: ResourceFolder, task: str, host: str = HERE) -> tuple[str, str]:
    build = look(resource, task, "alice/X", host=host)
    return build.state, build.message


# what a push leaves


def test_a_task_id_has_24_hex_digits_and_begins_with_the_time() -> None:
    assert (len(new_task_id(255.9)), new_task_id(255.9)[:8]) == (24, "000000ff")
    assert new_task_id(1.0) != new_task_id(1.0)


def test_a_push_leaves_its_steps_in_order(registry: Registry, hello: Path) -> None:
    pushed = registry.push(hello)
    told = events(registry, pushed.task_id)
    steps = [(kind, step) for step in STEPS for kind in ("start", "done")]
    assert [(event["type"], event["subject"]) for event in told] == [*steps, ("succeeded", "push")]
    payloads = {event["subject"]: event["payload"] for event in told if event["type"] == "done"}
    assert payloads["receive"] == {"files": 2, "bytes": sum(path.stat().st_size for path in hello.iterdir())}
    assert payloads["publish"] == {"version": pushed.version, "tags": ["latest"], "new": True}
    assert all(sorted(event) == ["payload", "subject", "time", "type"] for event in told)


def test_files_of_any_sort_are_neither_normalised_nor_have_requirements(registry: Registry, tmp_path: Path) -> None:
    task = registry.push(write_tree(tmp_path / "weights", {"w.bin": "1"}), "Hello").task_id
    assert [event["subject"] for event in events(registry, task) if event["type"] == "done"] == ["receive", "publish"]


def test_a_task_says_what_an_executor_gained(registry: Registry, hello: Path) -> None:
    (hello / "config.yml").unlink()
    task = registry.push(hello, "Hello").task_id
    said = [event["payload"] for event in events(registry, task) if event["type"] == "console"]
    assert said == ["config.yml was written: jtype Hello"]


def test_a_task_says_whose_it_is(registry: Registry, hello: Path) -> None:
    task = registry.push(hello).task_id
    document = read_yaml((folder_of(registry, task) / "task.yaml").read_bytes(), "task.yaml")
    assert (document["task"], document["who"], document["format"]) == (task, "alice", 1)


def test_a_task_tells_what_it_published(registry: Registry, hello: Path) -> None:
    pushed = registry.push(hello)
    build = registry.build(task_id=pushed.task_id).look()
    assert (build.state, build.version, build.name, build.who) == ("succeeded", pushed.version, "alice/Hello", "alice")
    assert build.started <= build.updated < build.started + 60


def test_a_push_that_changes_nothing_leaves_a_task_too(registry: Registry, hello: Path) -> None:
    assert tasks(registry.push(hello) and registry) < tasks(registry.push(hello) and registry)


def test_the_newest_task_is_the_one_that_was_begun_last(registry: Registry, hello: Path) -> None:
    for _ in range(3):  # within one second
        last = registry.push(hello).task_id
        assert registry.build("alice/Hello").task == last


def test_a_push_that_fails_says_why_in_its_task(registry: Registry, hello: Path) -> None:
    first = registry.push(hello)

    def full(verb: str, path: str) -> None:
        if verb == "copy_in":
            raise OSError(28, "No space left on device", path)

    (hello / "notes.txt").write_text("changed")
    with pytest.raises(LhubError, match="No space left"):
        as_caller(registry, "alice", pen=Hooked(full)).push(hello)
    (task,) = tasks(registry) - {first.task_id}
    assert [event["type"] for event in events(registry, task)] == ["start", "failed", "failed"]
    assert state(registry, task)[0] == "failed"
    assert "No space left" in state(registry, task)[1]


def test_a_push_refused_early_leaves_no_task(registry: Registry, hello: Path) -> None:
    registry.push(hello, protected_tags=["v1"])
    before = tasks(registry)
    (hello / "notes.txt").write_text("changed")
    with pytest.raises(Conflict):
        registry.push(hello, tags=["v1"])
    assert tasks(registry) == before


def test_a_log_that_a_full_disk_cuts_short_makes_no_failure_of_a_push(registry: Registry, hello: Path) -> None:
    def full(verb: str, path: str) -> None:
        if verb == "append":
            raise OSError(errno.ENOSPC, "No space left on device", path)

    pushed = as_caller(registry, "alice", pen=Hooked(full)).push(hello)
    assert registry.show("alice/Hello").tags == {"latest": pushed.version}


def test_who_watches_and_breaks_makes_no_failure_of_a_push(registry: Registry, hello: Path) -> None:
    def gone(event: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    pushed = registry.push(hello, telling=gone)
    assert registry.show("alice/Hello").tags == {"latest": pushed.version}
    assert state(registry, pushed.task_id) == ("succeeded", "")


def test_how_far_a_push_is_comes_to_all_that_travels(registry: Registry, tmp_path: Path) -> None:
    """Also of a file that is hashed, turns out to be another, and is copied then."""
    for text in ("a" * 1000, "b" * 1000):
        told: list[Mapping[str, Any]] = []
        registry.push(write_tree(tmp_path / "two", {"a.txt": text, "b.txt": "b"}), "Two", telling=told.append)
        far = [event["payload"] for event in told if event["type"] == "progress"]
        assert far[-1] == {"done": 2, "of": 2, "bytes": 1001, "of_bytes": 1001}


def test_several_pushes_at_once_each_have_a_task_of_their_own(
    registry: Registry, make_executor: Callable[..., Path]
) -> None:
    folders = [make_executor("Hello", f"copy-{n}", notes__txt=str(n)) for n in range(4)]
    assert together(*[partial(registry.push, folder, tags=[folder.name]) for folder in folders]) == [0] * 4
    told = [registry.build(task_id=task).look() for task in tasks(registry)]
    assert {build.state for build in told} == {"succeeded"}
    assert {build.version for build in told} == set(registry.show("alice/Hello:copy-0").tags.values())


# values that nobody may read


@pytest.mark.parametrize("value", ["push", "succeeded", "done", "1", "e"])
def test_a_value_that_is_a_word_of_the_log_spoils_nothing_in_it(registry: Registry, hello: Path, value: str) -> None:
    pushed = registry.push(hello, build_env={"VALUE": value})
    build = registry.build(task_id=pushed.task_id).look()
    assert (build.state, build.version) == ("succeeded", pushed.version)


def test_a_value_is_hidden_in_what_a_build_says_and_in_why_it_failed(resource: ResourceFolder) -> None:
    with pytest.raises(LhubError), building(resource, "a" * 24, hide=Redaction(["s3cr3t"])) as task:
        task.console("image", "cloning https://u:s3cr3t@host")
        raise LhubError("cannot clone https://u:s3cr3t@host")
    log = Path(resource.build("a" * 24).events).read_text()
    assert "s3cr3t" not in log
    assert seen(resource, "a" * 24) == ("failed", "cannot clone https://u:***@host")


def test_a_short_value_leaves_a_failure_its_reason(resource: ResourceFolder) -> None:
    with pytest.raises(LhubError), building(resource, "a" * 24, hide=Redaction(["e"])):
        raise LhubError("no host")
    assert seen(resource, "a" * 24) == ("failed", "no host")


# death


MOMENTS = {
    "before its first event": ("append", 0),
    "while it receives": ("copy_in", 1),
    "before it says what it published": ("append", 7),
    "before its last word": ("append", 8),
}
"""Before which of the pen's steps, and behind how many events."""


def killing(moment: tuple[str, int], *, spared: int = 0) -> Hooked:
    """A pen that kills its process at a moment, but not the process `spared`."""
    told = [0]

    def kill(verb: str, path: str) -> None:
        if os.getpid() != spared and (verb, told[0]) == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        told[0] += verb == "append"

    return Hooked(kill)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_builder_killed_at_any_moment_is_told_as_dead(registry: Registry, hello: Path, moment: str) -> None:
    registry.push(hello, tags=["before"])
    known = tasks(registry)
    (hello / "notes.txt").write_text("changed")
    alice = as_caller(registry, "alice", pen=killing(MOMENTS[moment]))
    assert together(lambda: alice.push(hello)) == [-signal.SIGKILL]
    (task,) = tasks(registry) - known
    assert state(registry, task) == ("failed", builds.DIED)
    assert [event["type"] for event in registry.build(task_id=task).follow()] == []


def test_the_next_push_is_none_the_worse_for_one_that_was_killed(registry: Registry, hello: Path) -> None:
    registry.push(hello, tags=["before"])
    (hello / "notes.txt").write_text("changed")
    alice = as_caller(registry, "alice", pen=killing(MOMENTS["while it receives"]))
    assert together(lambda: alice.push(hello)) == [-signal.SIGKILL]
    assert state(registry, registry.push(hello).task_id) == ("succeeded", "")


@pytest.mark.parametrize("moment", ["before its first event", "before its last word"])
def test_a_detached_builder_that_was_killed_is_told_as_dead(registry: Registry, hello: Path, moment: str) -> None:
    registry.push(hello, tags=["before"])
    before = tasks(registry)

    def push() -> None:
        pen = killing(MOMENTS[moment], spared=os.getpid())
        as_caller(registry, "alice", pen=pen).push(hello, detach=True)

    assert together(push) == [0]
    (task,) = tasks(registry) - before
    build = ended(registry, task)
    assert (build.state, build.message) == ("failed", builds.DIED)


def refusing(number: int) -> Hooked:
    """A pen that does not get the first task.yaml written."""
    refused = [False]

    def refuse(verb: str, path: str) -> None:
        if path.endswith("task.yaml") and not refused[0]:
            refused[0] = True
            raise OSError(number, os.strerror(number), path)

    return Hooked(refuse)


def test_a_detached_push_whose_task_cannot_be_written_lives_once(
    registry: Registry, hello: Path, tmp_path: Path
) -> None:
    """The program that asked for it goes on once, however the push ends."""
    registry.push(hello)
    lives = tmp_path / "lives"
    lives.mkdir()

    def push() -> None:
        with suppress(LhubError, OSError):
            as_caller(registry, "alice", pen=refusing(errno.ENOSPC)).push(hello, detach=True)
        (lives / str(os.getpid())).touch()

    with Crowd(push) as crowd:
        pass
    assert crowd.answers == [0]
    assert [path.name for path in lives.iterdir()] == [str(crowd.pids[0])]


def test_a_detached_push_begins_anew_where_its_task_was_deleted_as_it_began(registry: Registry, hello: Path) -> None:
    registry.push(hello)
    task = detached(registry, hello, pen=refusing(errno.ENOENT))
    told = folder_of(registry, task) / "task.yaml"
    wait_until(told.exists)  # it was told of just before it began anew
    assert ended(registry, task).state == "succeeded"


def test_a_push_goes_on_with_its_task_where_that_came_back_with_its_resource(
    registry: Registry, hello: Path, tmp_path: Path
) -> None:
    """Deleted, made anew, deleted again, and the first restored: its own lock is in there, held by itself."""
    registry.push(hello)
    place, first, second = registry.root / "alice/Hello", tmp_path / "first", tmp_path / "second"
    moves = [[(place, first)], [(place, second), (first, place)]]

    def move(verb: str, path: str) -> None:
        if verb == "write_new" and path.endswith("SHA256SUMS") and moves:
            for old, new in moves.pop(0):
                old.rename(new)

    write_tree(hello, {"notes.txt": "changed"})
    pushed = as_caller(registry, "alice", pen=Hooked(move)).push(hello)
    assert (moves, registry.show("alice/Hello").version) == ([], pushed.version)
    assert state(registry, pushed.task_id) == ("succeeded", "")


def has_not_ended(process: int) -> bool:
    """Whether a process still holds what it had open; one that has ended waits, without, for whoever began it."""
    with suppress(FileNotFoundError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="how a process stands is read under /proc")
def test_a_detached_push_goes_on_though_who_began_it_is_killed_at_that_moment(registry: Registry, hello: Path) -> None:
    first = registry.push(hello).task_id

    def push() -> None:
        me = os.getpid()

        def kill(verb: str, path: str) -> None:
            if path.endswith("task.yaml") and os.getpid() != me:
                os.kill(me, signal.SIGKILL)
                while has_not_ended(me):
                    time.sleep(0.001)

        as_caller(registry, "alice", pen=Hooked(kill)).push(hello, detach=True)

    assert together(push) == [-signal.SIGKILL]
    begun = wait_until(
        lambda: [task for task in tasks(registry) - {first} if (folder_of(registry, task) / "task.yaml").exists()]
    )
    assert ended(registry, begun[0]).state == "succeeded"


def test_a_failure_of_many_words_is_told(resource: ResourceFolder) -> None:
    with pytest.raises(LhubError), building(resource, "a" * 24):
        raise LhubError("the folder changed: " + "x" * 100_000)
    assert seen(resource, "a" * 24)[1].startswith("the folder changed")


@pytest.mark.parametrize("moment", [("append", 0), ("copy_in", 1)], ids=["before its first event", "while it receives"])
def test_one_that_was_killed_after_it_began_anew_is_told_as_dead(
    registry: Registry, hello: Path, moment: tuple[str, int]
) -> None:
    """Its resource was deleted under its hands: it said one word more there, and its task went on in a new folder."""
    first = registry.push(hello, tags=["before"]).task_id
    (hello / "notes.txt").write_text("changed")
    deleted, killed = [False], killing(moment)

    def spoil(verb: str, path: str) -> None:
        if deleted[0]:
            if (registry.root / "alice/Hello").exists():
                killed.step(verb, path)
        elif verb == "copy_in":
            deleted[0] = True
            registry.delete("alice/Hello")

    alice = as_caller(registry, "alice", pen=Hooked(spoil))
    assert together(lambda: alice.push(hello)) == [-signal.SIGKILL]
    (task,) = tasks(registry) - {first}
    assert state(registry, task) == ("failed", builds.DIED)


def test_one_that_waits_long_before_its_first_event_is_not_told_as_dead(resource: ResourceFolder) -> None:
    with building(resource, "a" * 24):
        assert seen(resource, "a" * 24) == ("pending", "")


@pytest.mark.parametrize("deleted", [False, True])
def test_one_that_runs_is_never_told_as_dead(registry: Registry, hello: Path, deleted: bool) -> None:
    """Looked at before each write, also of one that begins anew since its resource was deleted under its hands."""
    first = registry.push(hello).task_id
    (hello / "notes.txt").write_text("changed")
    states: list[str] = []
    to_delete = [deleted]

    def watch(verb: str, path: str) -> None:
        if to_delete[0] and verb == "copy_in":
            to_delete[0] = False
            registry.delete("alice/Hello")
        with suppress(NotFound):
            watched = registry.build("alice/Hello")
            states.append(watched.look().state if watched.task != first else "not yet")

    pushed = as_caller(registry, "alice", pen=Hooked(watch)).push(hello, tags=["again"])
    assert set(states) == {"not yet", "pending", "running"}
    assert state(registry, pushed.task_id) == ("succeeded", "")


def test_two_who_look_at_once_at_a_dead_one_both_see_that_it_is_dead(resource: ResourceFolder) -> None:
    with building(resource, "a" * 24) as task:
        task.event("start", "receive")
    events = Path(resource.build("a" * 24).events)
    events.write_text(events.read_text().splitlines()[0] + "\n")

    def watch() -> None:
        assert {seen(resource, "a" * 24) for _ in range(100)} == {("failed", builds.DIED)}

    assert together(*[watch] * 4) == [0] * 4


def test_of_one_on_another_host_nobody_can_tell_that_it_died(resource: ResourceFolder) -> None:
    with building(resource, "a" * 24, host=THERE) as task:
        task.event("start", "receive")
    events = Path(resource.build("a" * 24).events)
    events.write_text(events.read_text().splitlines()[0] + "\n")
    assert seen(resource, "a" * 24, host=HERE) == ("running", "")
    assert seen(resource, "a" * 24, host=THERE) == ("failed", builds.DIED)


def test_how_one_on_another_host_ended_is_told(resource: ResourceFolder) -> None:
    with building(resource, "a" * 24, host=THERE):
        pass
    assert seen(resource, "a" * 24, host=HERE) == ("succeeded", "")


def test_a_long_log_hides_not_how_it_ended(resource: ResourceFolder) -> None:
    with building(resource, "a" * 24) as task:
        task.event("start", "image")
        os.truncate(resource.build("a" * 24).events, 20 << 20)
        Pen().append(resource.build("a" * 24).events, b"\n", 0o644)
    assert seen(resource, "a" * 24) == ("succeeded", "")


# to stop


def asking(registry: Registry, moment: str) -> Hooked:
    """A pen beside which somebody asks the newest task to stop, once, before a write whose path ends so."""
    asked: list[str] = []

    def ask(verb: str, path: str) -> None:
        if path.endswith(moment) and not asked:
            asked.append(path)
            watched = registry.build("alice/Hello")
            place = watched.resource.folder
            builds.cancel(Pen(), place, watched.task, ONE_PERSON, "somebody")

    return Hooked(ask)


@pytest.mark.parametrize("moment", ["notes.txt", "manifest.yaml", "SHA256SUMS"])
def test_who_asks_before_it_publishes_stops_it(registry: Registry, hello: Path, moment: str) -> None:
    registry.push(hello, tags=["v1"])
    before = registry.show("alice/Hello:v1").tags
    (hello / "notes.txt").write_text("changed")
    with pytest.raises(Cancelled) as caught:
        as_caller(registry, "alice", pen=asking(registry, moment)).push(hello)
    assert caught.value.code == 8
    assert registry.show("alice/Hello:v1").tags == before
    assert state(registry)[0] == "cancelled"
    assert [path.name for path in (registry.root / "alice/Hello").rglob(".tmp.*")] == []


def test_who_asks_when_it_is_published_changes_nothing(registry: Registry, hello: Path) -> None:
    pushed = registry.push(hello)
    before = events(registry, pushed.task_id)
    assert registry.build(task_id=pushed.task_id).cancel().state == "succeeded"
    assert events(registry, pushed.task_id) == before
    assert registry.show("alice/Hello").tags == {"latest": pushed.version}


def test_who_asks_waits_until_it_has_stopped(registry: Registry, hello: Path) -> None:
    registry.push(hello, tags=["v1"])
    (hello / "notes.txt").write_text("changed")
    with waiting(registry):
        task = detached(registry, hello)
        until(registry, task, "start", "publish")
        watched = registry.build(task_id=task)
        builds.cancel(Pen(), watched.resource.folder, task, ONE_PERSON, "somebody")
        assert watched.look().state == "running"
    assert watched.cancel().state == "cancelled"
    assert set(registry.show("alice/Hello:v1").tags) == {"v1"}


@pytest.mark.parametrize("plant", [os.mkdir, os.mkfifo, lambda path: os.symlink("/nowhere", path)])
def test_what_is_planted_to_stop_one_that_has_ended_does_nothing(
    resource: ResourceFolder, plant: Callable[[str], object]
) -> None:
    with building(resource, "a" * 24):
        pass
    plant(resource.build("a" * 24).cancel)
    assert seen(resource, "a" * 24) == ("succeeded", "")


def test_one_that_does_not_stop_is_told(resource: ResourceFolder) -> None:
    with building(resource, "a" * 24), pytest.raises(LockTimeout, match="was asked to stop and runs on"):
        builds.stop_waiting(resource, "a" * 24, "alice/X", host=HERE, timeout=0.0)


# to follow


def test_events_come_as_they_happen(resource: ResourceFolder) -> None:
    with building(resource, "a" * 24) as task:
        told = follow(resource, "a" * 24, "alice/X", host=HERE, replay=True)
        task.event("start", "receive")
        assert next(told)["type"] == "start"
        task.event("done", "receive", {"files": 1})
        assert next(told)["payload"] == {"files": 1}
    assert [event["type"] for event in told] == ["succeeded"]


def test_who_does_not_replay_sees_nothing_of_what_stands(resource: ResourceFolder) -> None:
    with building(resource, "a" * 24) as task:
        task.event("start", "receive")
    assert list(follow(resource, "a" * 24, "alice/X", host=HERE)) == []


def test_half_a_line_is_no_event_yet(resource: ResourceFolder) -> None:
    with building(resource, "a" * 24) as task:
        task.event("start", "receive")
        told = follow(resource, "a" * 24, "alice/X", host=HERE, replay=True)
        next(told)
        line = json.dumps({"time": 1, "type": "console", "subject": "image", "payload": "whole"})
        with Path(resource.build("a" * 24).events).open("a") as log:
            log.write(line[:20])
            log.flush()
            assert seen(resource, "a" * 24) == ("running", "")
            log.write(f"{line[20:]}\n")
        assert next(told)["payload"] == "whole"


# what a stranger may have put there


@pytest.fixture
def dead(resource: ResourceFolder) -> Path:
    """The folder of a task that begun and then died."""
    with building(resource, "a" * 24) as task:
        task.event("start", "receive")
    folder = Path(resource.build("a" * 24).path)
    (folder / "events.jsonl").write_text((folder / "events.jsonl").read_text().splitlines()[0] + "\n")
    return folder


JUNK = [
    b"\n",
    b"null\n",
    b"[1]\n",
    b"{}\n",
    b"\xff\xfe\n",
    b"\0" * 99 + b"\n",
    b"[" * 99_999 + b"\n",
    b"1" * 9_999 + b"\n",
]
JUNK += [b'{"time": NaN, "type": "succeeded", "subject": "push"}\n', b'{"time": 1e999, "type": "x", "subject": "x"}\n']
JUNK += [b'{"time": "x", "type": "x", "subject": "x"}\n', b'{"time": 1, "type": {}, "subject": 1}\n', b'{"time": 1']


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
def test_what_is_no_event_is_passed_over(dead: Path, resource: ResourceFolder, junk: bytes) -> None:
    with (dead / "events.jsonl").open("ab") as log:
        log.write(junk)
    assert [event["type"] for event in follow(resource, "a" * 24, "alice/X", host=HERE, replay=True)] == ["start"]
    assert seen(resource, "a" * 24) == ("failed", builds.DIED)


def test_a_log_of_a_gibibyte_of_nothing_is_not_read_to_its_end(dead: Path, resource: ResourceFolder) -> None:
    os.truncate(dead / "events.jsonl", 1 << 30)
    began = time.process_time()
    assert seen(resource, "a" * 24)[0] == "failed"
    assert time.process_time() - began < 2


@pytest.mark.parametrize("put", [os.mkfifo, os.mkdir, lambda path: os.symlink("/etc/passwd", path)])
def test_a_log_that_is_no_file_is_told_and_never_waited_for(
    dead: Path, resource: ResourceFolder, put: Callable[[Path], object]
) -> None:
    (dead / "events.jsonl").unlink()
    put(dead / "events.jsonl")
    with pytest.raises(Corrupt, match="is not a regular file"):
        seen(resource, "a" * 24)


DOCUMENTS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "a FIFO": os.mkfifo,
    "a folder": os.mkdir,
    "huge": lambda path: (path.touch(), os.truncate(path, 1 << 30)),
    "a list": lambda path: path.write_text("- a\n"),
    "of odd values": lambda path: path.write_text(f"format: 1\nwho: [a]\nhost: {HERE}\nstarted: .inf\n"),
    "of a number without end": lambda path: path.write_text(f"format: 1\nhost: {HERE}\nstarted: {'9' * 400}\n"),
    "deep": lambda path: path.write_text("format: " + "[" * 5000),
}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_task_yaml_of_any_sort_leaves_the_task_to_be_looked_at(
    dead: Path, resource: ResourceFolder, document: str
) -> None:
    (dead / "task.yaml").unlink()
    DOCUMENTS[document](dead / "task.yaml")
    build = look(resource, "a" * 24, "alice/X", host=HERE)
    assert (build.state, build.started) == ("failed", 0.0)
    json.dumps(build.to_dict(), allow_nan=False)


def test_a_version_is_one_or_it_is_not_told(dead: Path, resource: ResourceFolder) -> None:
    line = {"time": 1, "type": "done", "subject": "publish", "payload": {"version": "\x1b]0;title\x07"}}
    end = {"time": 1, "type": "succeeded", "subject": "push"}
    (dead / "events.jsonl").write_text(f"{json.dumps(line)}\n{json.dumps(end)}\n")
    build = look(resource, "a" * 24, "alice/X", host=HERE)
    assert (build.state, build.version) == ("succeeded", None)


def test_what_is_no_task_is_not_the_newest(resource: ResourceFolder) -> None:
    with building(resource, "a" * 24):
        pass
    for name in (".tmp.x", "f" * 23, "g" * 24, "F" * 24, "notes"):
        Path(resource.builds, name).mkdir()
    assert newest(resource) == "a" * 24


def test_a_task_whose_resource_was_deleted_between_two_looks_is_not_here(registry: Registry, hello: Path) -> None:
    watched = registry.build(task_id=registry.push(hello).task_id)
    assert watched.look().state == "succeeded"
    registry.delete("alice/Hello")
    with pytest.raises(NotFound, match="is not here any more"):
        watched.look()
