"""How a build looks to a person: one line that moves on a terminal, and its log line by line.

>>> line({"time": 0.0, "type": "done", "subject": "receive", "payload": {"files": 2, "bytes": 10}})
'receive: done, files 2, bytes 10'
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, TextIO

from lhub.errors import clean

Event = Mapping[str, Any]
_CLEAR = "\r\x1b[K"
_WIDTH = 78


class Progress:
    """What a push tells while it runs: on a terminal one line that is gone at the end; with `verbose` every step."""

    def __init__(self, *, verbose: bool, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._moves = self._stream.isatty() and not verbose
        self._verbose = verbose

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if self._moves:
            payload = event.get("payload")
            ended = event["type"] in ("failed", "succeeded", "cancelled")
            done = f" {payload['done']}/{payload['of']}" if event["type"] == "progress" and payload else ""
            text = "" if ended else f"{event['subject']}{done}"[:_WIDTH]
            self._stream.write(f"{_CLEAR}{clean(text, lines=False)}\r")  # a note that comes between stands in its place
            self._stream.flush()
        elif self._verbose and event["type"] != "progress":
            self._stream.write(f"{line(event)}\n")


def line(event: Event) -> str:
    """One event of a log, for a person."""
    kind, payload = event["type"], event.get("payload")
    if kind == "console":
        return f"  {clean(str(payload), lines=False)}"
    told = payload if isinstance(payload, dict) else {}
    words = [f"{key} {_shown(value)}" for key, value in told.items() if value not in (None, "", [])]
    return clean(f"{event['subject']}: {', '.join([kind, *words])}", lines=False)


def _shown(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
