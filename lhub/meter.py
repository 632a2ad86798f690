"""A meter: how far many files, or one large one, have come; told to somebody a few times a second at most.

A terminal is slower than a disk, and nobody reads a thousand lines a second: between two looks at the clock it only
counts, which costs a push of 10,000 files less than a hundredth of its time.

>>> told = []
>>> meter = Meter(2, 30, told.append)
>>> for number, size in enumerate((10, 20), 1):
...     meter.moved(size); meter.reached(number)
>>> told[-1]
{'done': 2, 'of': 2, 'bytes': 30, 'of_bytes': 30}
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

_PAUSE = 0.1
"""Seconds between two tellings."""


def event(when: float, subject: str, payload: Mapping[str, int]) -> Mapping[str, Any]:
    """What who watches a step is told: as the events of a task are, but that nothing of it is kept."""
    return {"time": round(when, 3), "type": "progress", "subject": subject, "payload": payload}


class Meter:
    """So many files (or documents) and bytes shall come, 0 for what is not known; `tell` is called with how many have.

    What `tell` raises ends the work.
    """

    __slots__ = ("_bytes", "_done", "_of", "_of_bytes", "_tell", "_told")

    def __init__(self, files: int, size: int, tell: Callable[[dict[str, int]], None]) -> None:
        self._of, self._of_bytes, self._tell = files, size, tell
        self._done, self._bytes, self._told = 0, 0, 0.0

    def moved(self, size: int) -> None:
        """So many bytes more."""
        self._bytes += size
        if time.monotonic() - self._told >= _PAUSE:
            self._say()

    def reached(self, number: int) -> None:
        """So many files are done."""
        self._done = number
        if self._done == self._of:
            self._say()

    def _say(self) -> None:
        self._told = time.monotonic()
        size = min(self._bytes, self._of_bytes) if self._of_bytes else self._bytes  # what is sealed is a little more
        self._tell({"done": self._done, "of": self._of, "bytes": size, "of_bytes": self._of_bytes})
