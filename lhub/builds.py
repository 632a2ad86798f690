"""Build tasks: what one push did, step by step, as a log that one writer appends to and anybody may follow.

`builds/<task>/task.yaml` says whose task it is, `events.jsonl` holds one JSON object a line with time, type,
subject and payload. The builder holds `lock` from before its first event to behind its last, over a fork too: one
whose last event is no end, and whose lock is free on its own host, has died. `cancel` asks it to stop.

>>> len(new_task_id(1_700_000_000.0)), is_task_id("65535f00" + 16 * "a")
(24, True)
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import lhub.meter as meter
from lhub.apart import HERE, Apart, go_apart, let_go
from lhub.disk import Pen
from lhub.errors import BuildFailed, Denied, LhubError, LockTimeout, NotFound
from lhub.layout import SCRATCH, BuildFolder, Modes, ResourceFolder, is_version
from lhub.lock import held, is_held
from lhub.manifest import FORMAT, SMALL, read_yaml, to_yaml
from lhub.opening import GONE, listed, once_more, open_file, read_small, refresh, status_of
from lhub.redaction import Redaction

Event = Mapping[str, Any]
ENDS = frozenset({"succeeded", "failed", "cancelled"})
"""The states in which a task stays, by the last event that says so."""
DIED = "the build process died"
_WORDY = frozenset({"console", "failed", "cancelled"})
"""The events whose payload holds words of programs and errors."""
_MOST_WORDS = 4096
"""Characters of an error that are kept."""
_LATEST = 1e12
"""Seconds since 1970 that nobody will see: what is beyond is no time, nor is NaN."""
_WHOLE = "push"
"""The subject of the last event."""
_PAUSE = 0.1
"""Seconds between two looks at the log of a running task, and at whether it shall stop."""
_PORTION, _TAIL = 4 << 20, 1 << 16
"""Bytes of a log that are read at once, and at its end: somebody else may have written it."""


class Cancelled(BuildFailed):
    """Somebody asked this task to stop."""


def new_task_id(now: float) -> str:
    """24 hex digits, 8 of the time in seconds and 16 of chance, as the old cloud's were."""
    return f"{int(now) & 0xFFFFFFFF:08x}{os.urandom(8).hex()}"


def is_task_id(text: str) -> bool:
    """Whether a text can be the id of a task."""
    return re.fullmatch("[0-9a-f]{24}", text) is not None


# who builds


@dataclass(frozen=True, kw_only=True)
class Builder:
    """Who builds: his name, host and clock, what he hides in what is kept, and who is told of each event.

    Of what is `sealed` no word is kept that a program or an error says: it may be of the content.
    """

    who: str
    host: str
    note: str
    clock: Callable[[], float] = time.time
    hide: Redaction = field(default_factory=Redaction)
    sealed: bool = False
    telling: Callable[[Event], None] = lambda event: None


class Task:
    """One task that is running in this process; `result` is what its last event tells when it succeeds.

    One that is `left` says no more: its resource was deleted, and it goes on where that is made anew.
    """

    def __init__(self, pen: Pen, place: BuildFolder, modes: Modes, builder: Builder, lock: int) -> None:
        self.id = os.path.basename(place.path)
        self._pen, self._place, self._modes, self._builder = pen, place, modes, builder
        self._lock, self._looked = lock, 0.0
        self.left = False
        self.result: dict[str, object] = {}

    def event(self, kind: str, subject: str, payload: object = None) -> None:
        """Add one line to the log; a full disk must not make a failure of a push that was published."""
        if kind in _WORDY:  # not our own words and numbers: a value may be `1`, or `push`
            payload = self._builder.hide.value(payload)
        line = {"time": round(self._builder.clock(), 3), "type": kind, "subject": subject, "payload": payload}
        kept = line | ({"payload": _withheld(payload)} if kind in _WORDY and self._builder.sealed else {})
        with suppress(OSError):
            self._pen.append(self._place.events, json.dumps(kept).encode() + b"\n", self._modes.file)
        self._tell(line)

    def stands(self) -> bool:
        """Whether its folder is still where it was."""
        try:
            status, own = os.lstat(self._place.lock), os.fstat(self._lock)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == (own.st_dev, own.st_ino)

    def _tell(self, event: Event) -> None:
        """Let somebody watch; that he cannot any more (a pipe without a reader) is not the build's fault."""
        with suppress(OSError):
            self._builder.telling(event)

    def console(self, subject: str, text: str) -> None:
        """One line of what a step says for who wants to know all of it."""
        self.event("console", subject, text)

    def meter(self, subject: str, files: int, size: int) -> meter.Meter:
        """What tells who watches how far a step is; nothing of it is kept. It raises Cancelled as `breathe` does."""

        def tell(payload: dict[str, int]) -> None:
            self.breathe()
            self._tell(meter.event(self._builder.clock(), subject, payload))

        return meter.Meter(files, size, tell)

    def breathe(self, *, at_once: bool = False) -> None:
        """Raise Cancelled if somebody asked for it; to be called often, it looks ten times a second, or `at_once`."""
        if time.monotonic() - self._looked < _PAUSE and not at_once:
            return
        self._looked = time.monotonic()
        refresh(self._place.path)
        if os.path.lexists(self._place.cancel):
            raise Cancelled(f"the task {self.id} was cancelled", hint="nothing was published")

    @contextmanager
    def step(self, subject: str) -> Iterator[dict[str, object]]:
        """One step: `start`, then `done` with what the caller puts into the mapping, or `failed` with the reason."""
        self.breathe(at_once=True)
        self.event("start", subject)
        payload: dict[str, object] = {}
        try:
            yield payload
        except BaseException as error:
            self.event("failed", subject, {"message": _words(error)})
            raise
        self.event("done", subject, payload)


def _withheld(payload: object) -> object:
    """What is kept in the place of words."""
    said = "it is sealed, so this was told to its pusher alone"
    return dict.fromkeys(payload, said) if isinstance(payload, dict) else said


def _words(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return (str(error) or type(error).__name__)[:_MOST_WORDS]


@contextmanager
def begun(
    pen: Pen, place: ResourceFolder, modes: Modes, task: str, builder: Builder, *, apart: bool = False
) -> Iterator[Task]:
    """A task, its lock held until its last event.

    With `apart` it goes on in a process of its own, which outlives the shell; Apart is raised in this one. Whoever is
    over there must end by `os._exit`.
    """
    folder = place.build(task)
    pen.make_folder(folder.path, modes.inner)
    with held(folder.lock, mode=modes.lock, timeout=10, note=builder.note) as lock:
        told = go_apart(lock) if apart else None
        if told == HERE:
            raise Apart
        try:
            with suppress(FileExistsError):
                pen.write_new(folder.file, _document(task, builder), modes.file, sync=False)
        except OSError as error:
            let_go(told, well=error.errno in GONE)  # it begins anew where its resource was deleted just now
            raise
        let_go(told, well=True)
        running = Task(pen, folder, modes, builder, lock)
        try:
            yield running
        except BaseException as error:
            if not running.left:
                end = "cancelled" if isinstance(error, Cancelled) else "failed"
                running.event(end, _WHOLE, {"message": _words(error)})
            raise
        if not running.left:
            running.event("succeeded", _WHOLE, running.result or None)


def _document(task: str, builder: Builder) -> bytes:
    document = {
        "format": FORMAT,
        "task": task,
        "who": builder.who,
        "host": builder.host,
        "process": os.getpid(),
        "started": int(builder.clock()),
    }
    return to_yaml(document).encode()


# who looks


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A task as one sees it.

    `state` is ``pending``, ``running``, ``succeeded``, ``failed`` or ``cancelled``; `started` and `updated` are seconds
    since 1970 by the builder's clock; `version` is 64 hex digits once it is published; `message` says why it failed.
    """

    task_id: str
    name: str
    state: str
    who: str
    host: str
    started: float
    updated: float
    version: str | None = None
    message: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing will happen any more."""
        return self.state in ENDS

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub status --json` prints it."""
        return {
            "task_id": self.task_id,
            "name": self.name,
            "state": self.state,
            "who": self.who,
            "host": self.host,
            "started": self.started,
            "updated": self.updated,
            "version": self.version,
            "message": self.message,
        }


def newest(place: ResourceFolder) -> str | None:
    """The task that was begun last, None where there was none."""
    refresh(place.builds)
    try:
        tasks = sorted(name for name in os.listdir(place.builds) if is_task_id(name))
    except FileNotFoundError:
        return None
    latest = [(begun, task) for task in tasks if task[:8] == tasks[-1][:8] and (begun := _begun_at(place.build(task)))]
    return max(latest)[1] if latest else next((task for task in reversed(tasks) if stands(place, task)), None)


def last(place: ResourceFolder, most: int) -> list[str]:
    """The tasks that were begun last, newest first."""
    refresh(place.builds)
    begun = [(entry.name[:8], _begun_at(place.build(entry.name)), entry.name) for entry in listed(place.builds)]
    told = sorted((each for each in begun if is_task_id(each[2]) and each[1]), reverse=True)
    return [task for _, _, task in told[:most]]


def stands(place: ResourceFolder, task: str) -> bool:
    """Whether a task has been told of: its lock is held since before."""
    return _begun_at(place.build(task)) > 0


def _begun_at(folder: BuildFolder) -> int:
    status = status_of(folder.file)
    return status.st_mtime_ns if status else 0


def look(place: ResourceFolder, task: str, name: str, *, host: str) -> Build:
    """A task as it stands; `host` is where one looks from: only on the builder's own can a death be told."""
    folder = place.build(task)
    refresh(folder.path)
    document = _read_document(folder)
    elsewhere = "host" in document and document["host"] != host
    alive = elsewhere or _is_held(folder)
    last = _last(folder)  # after the lock: what was said before it was freed is there
    if not (alive or last or _begun_at(folder)):
        raise NotFound(f"the task {task} is not here any more", hint=f"{name} was deleted; lhub restore {name}")
    state, message = _state(last, alive)
    payload = last.get("payload")
    version = payload.get("version") if state == "succeeded" and isinstance(payload, dict) else None
    started = document.get("started")
    return Build(
        task_id=task,
        name=name,
        state=state,
        who=str(document.get("who", "")),
        host=str(document.get("host", "")),
        started=float(started) if isinstance(started, int) else 0.0,
        updated=last.get("time", 0.0),
        version=version if isinstance(version, str) and is_version(version) else None,
        message=message,
    )


def _state(last: Event, alive: bool) -> tuple[str, str]:
    """What the last event and the lock tell."""
    if last.get("subject") == _WHOLE and last["type"] in ENDS:
        payload = last["payload"]
        return str(last["type"]), str(payload.get("message", "")) if isinstance(payload, dict) else ""
    if not alive:
        return "failed", DIED
    return ("running" if last else "pending"), ""


def _read_document(folder: BuildFolder) -> Mapping[str, Any]:
    """task.yaml; of one that does not read, or was not written to its end, nothing is known."""
    with suppress(OSError, LhubError):
        return read_yaml(read_small(folder.file, limit=SMALL), folder.file)
    return {}


def _is_held(folder: BuildFolder) -> bool:
    """Whether the builder lives; of another user's, whose lock one may not open, it is assumed."""
    try:
        return is_held(folder.lock)
    except PermissionError:
        return True
    except OSError as error:
        if error.errno not in GONE:
            raise
        return False


def _last(folder: BuildFolder) -> Event:
    """The newest event, found at the end of the log however long that is; an empty one where there is none."""
    size = _size(folder)
    events = [event for event, _ in _events(folder, max(0, size - _TAIL))]
    return events[-1] if events else {}


def _size(folder: BuildFolder) -> int:
    status = status_of(folder.events)
    return status.st_size if status else 0


def _events(folder: BuildFolder, start: int) -> Iterator[tuple[Event, int]]:
    """The whole events from a byte on, each with the byte behind it; what is no event is passed over."""
    try:
        descriptor = once_more(partial(open_file, folder.events))
    except OSError as error:
        if error.errno not in GONE:
            raise
        return
    with os.fdopen(descriptor, "rb") as file:
        file.seek(start)
        for line in file.read(_PORTION).splitlines(keepends=True):
            start += len(line)
            if line.endswith(b"\n") and (event := _event(line)):
                yield event, start


def _event(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not all(isinstance(event.get(key), str) for key in ("type", "subject")):
        return None
    moment = event.get("time")
    return {"payload": None, **event} if isinstance(moment, (int, float)) and 0 <= moment < _LATEST else None


def told(place: ResourceFolder, task: str) -> list[Event]:
    """The events of a task so far; of a long log those at its end."""
    folder = place.build(task)
    refresh(folder.path)
    return [event for event, _ in _events(folder, max(0, _size(folder) - _PORTION))]


def follow(place: ResourceFolder, task: str, name: str, *, host: str, replay: bool = False) -> Iterator[Event]:
    """The events of a task as they come, until it ends; those that stand already only to `replay` them."""
    while_waiting = follow_ticking(place, task, name, host=host, replay=replay)
    return (event for event in while_waiting if event is not None)


def follow_ticking(
    place: ResourceFolder, task: str, name: str, *, host: str, replay: bool = False
) -> Iterator[Event | None]:
    """The same, and None after each pause, for who must not wait for ever."""
    folder, seen = place.build(task), 0
    if not replay:
        seen = _size(folder)
    while True:
        ended = look(place, task, name, host=host).ended  # before the events: the last of them are read after it
        before = seen
        for event, end in _events(folder, seen):
            seen = end
            yield event
        if seen == before and ended:
            return
        time.sleep(0 if seen > before else _PAUSE)
        yield None


def cancel(pen: Pen, place: ResourceFolder, task: str, modes: Modes, unique: str) -> None:
    """Ask a task to stop; Denied for somebody else's."""
    folder = place.build(task)
    try:
        pen.create(folder.cancel, b"", modes.file, scratch=f"{folder.path}/{SCRATCH}{unique}")
    except PermissionError:
        raise Denied(f"the task {task} is somebody else's", hint="who started it can cancel it") from None


def stop_waiting(place: ResourceFolder, task: str, name: str, *, host: str, timeout: float) -> Build:
    """The task once it has ended; LockTimeout when it does not stop."""
    deadline = time.monotonic() + timeout
    while not (build := look(place, task, name, host=host)).ended:
        if time.monotonic() > deadline:
            raise LockTimeout(f"the task {task} was asked to stop and runs on", hint=f"lhub status --id {task}")
        time.sleep(_PAUSE)
    return build
