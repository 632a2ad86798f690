"""Build tasks: what one push did, step by step, as a log that one writer appends to and anybody may replay.

`builds/<task>/task.yaml` says whose task it is, `events.jsonl` holds one JSON object a line with time, type,
subject and payload. A task whose last event is neither `succeeded` nor `failed` runs, or its process died.

>>> len(new_task_id(1_700_000_000.0))
24
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from lhub.disk import Pen
from lhub.layout import Modes, ResourceFolder
from lhub.manifest import FORMAT, to_yaml


def new_task_id(now: float) -> str:
    """24 hex digits, 8 of the time in seconds and 16 of chance, as the old cloud's were."""
    return f"{int(now) & 0xFFFFFFFF:08x}{os.urandom(8).hex()}"


class Task:
    """One task that is running in this process."""

    def __init__(
        self, pen: Pen, place: ResourceFolder, modes: Modes, *, who: str, host: str, clock: Callable[[], float]
    ) -> None:
        now = clock()
        self.id = new_task_id(now)
        self._pen, self._modes, self._clock = pen, modes, clock
        self._events = f"{place.build(self.id)}/events.jsonl"
        pen.make_folder(place.build(self.id), modes.inner)
        document = {
            "format": FORMAT,
            "task": self.id,
            "who": who,
            "host": host,
            "process": os.getpid(),
            "started": int(now),
        }
        pen.write_new(f"{place.build(self.id)}/task.yaml", to_yaml(document).encode(), modes.file, sync=False)

    def event(self, kind: str, subject: str, payload: object = None) -> None:
        """Add one line to the log; a full disk must not make a failure of a push that was published."""
        line = {"time": round(self._clock(), 3), "type": kind, "subject": subject, "payload": payload}
        with suppress(OSError):
            self._pen.append(self._events, json.dumps(line).encode() + b"\n", self._modes.file)

    @contextmanager
    def step(self, subject: str) -> Iterator[dict[str, object]]:
        """One step: `start`, then `done` with what the caller puts into the mapping, or `failed` with the reason."""
        self.event("start", subject)
        payload: dict[str, object] = {}
        try:
            yield payload
        except BaseException as error:
            self.event("failed", subject, {"message": str(error) or type(error).__name__})
            raise
        self.event("done", subject, payload)
