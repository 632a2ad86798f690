"""How a build looks to a person: one line that moves on a terminal, and its log line by line.

>>> line({"time": 0.0, "type": "done", "subject": "receive", "payload": {"files": 2, "bytes": 10}})
'receive: done, files 2, bytes 10'
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from lhub.errors import clean
from lhub.phrases import size

Event = Mapping[str, Any]
_CLEAR = "\r\x1b[K"
_WIDTH = 78
_SOON = 0.5
"""Seconds after which a rate is worth a word."""


class Progress:
    """What a push or pull tells on its way: on a terminal one line that is gone at the end; `verbose`: every step."""

    def __init__(self, *, verbose: bool = False, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._moves = self._stream.isatty() and not verbose
        self._verbose = verbose
        self._begun: tuple[str, float] = ("", 0.0)

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if self._moves:
            ended = event["type"] in ("failed", "succeeded", "cancelled")
            self._show("" if ended else " ".join([event["subject"], *self._far(event)]))
        elif self._verbose and event["type"] != "progress":
            self._stream.write(f"{line(event)}\n")

    def end(self) -> None:
        """Leave the line empty."""
        if self._moves:
            self._show("")

    def _show(self, text: str) -> None:
        self._stream.write(f"{_CLEAR}{clean(text[:_WIDTH], lines=False)}\r")  # a note that comes stands in its place
        self._stream.flush()

    def _far(self, event: Event) -> Iterator[str]:
        """How far the step is: files, bytes, bytes a second, and the time that is left if it goes on so."""
        if event["type"] != "progress":
            return
        if self._begun[0] != event["subject"]:
            self._begun = event["subject"], event["time"]
        told, took = event["payload"], event["time"] - self._begun[1]
        yield f"{told['done']}/{told['of']}," if told["of"] else f"{told['done']},"
        yield f"{size(told['bytes'])} of {size(told['of_bytes'])}" if told["of_bytes"] else size(told["bytes"])
        if took >= _SOON:
            rate = told["bytes"] / took
            yield f"at {size(int(rate))}/s"
            if rate and told["of_bytes"] > told["bytes"]:
                minutes, seconds = divmod(math.ceil((told["of_bytes"] - told["bytes"]) / rate), 60)
                yield f"{minutes}:{seconds:02} left"


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
