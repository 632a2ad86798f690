"""What a page is asked with, and what it answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeAlias

from lhub.errors import LhubError
from lhub.gateway.forms import Fields
from lhub.gateway.links import Target, Verified
from lhub.registry import Registry
from lhub.shelf import Listed
from lhub.tokens import NewToken

_SECONDS, _MOST_PUSHES = 5.0, 10_000


class Remembered:
    """The list of what is one's own, for a few seconds: while somebody types, it is asked for with each letter.

    It takes 0.9 s for 10,000 resources. Of others' nothing is remembered: they may hide it at any moment. When each was
    pushed last is remembered as long as its tags do not move, and a new token until it is shown.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lines: Sequence[Listed] = ()
        self._until, self._clock, self._lock = 0.0, clock, Lock()
        self._changes = self._listed_at = 0
        self._pushes: dict[tuple[str, float], float] = {}
        self._token: NewToken | None = None

    def lines(self, listed: Callable[[], Sequence[Listed]]) -> Sequence[Listed]:
        """What `listed` answers, or answered."""
        with self._lock:
            if self._clock() < self._until and self._changes == self._listed_at:
                return self._lines
            self._listed_at = self._changes  # before: what is changed meanwhile is listed again
            self._lines = listed()
            self._until = self._clock() + _SECONDS
            return self._lines

    def forget(self) -> None:
        """Something was changed."""
        self._changes += 1

    def pushed(self, registry: Registry, line: Listed) -> float:
        """When a resource was pushed last, in seconds since 1970; where no diary tells it, when its tags moved."""
        key = line.name, line.updated
        if key not in self._pushes:
            if len(self._pushes) > _MOST_PUSHES:
                self._pushes.clear()
            try:
                push = registry.last_push(f"lhub://{line.name}" if "/" in line.name else line.name)
            except LhubError:  # gone meanwhile
                push = None
            self._pushes[key] = push.when if push is not None else line.updated
        return self._pushes[key]

    def put(self, token: NewToken) -> None:
        """A token that was just made, for the page that shows it."""
        self._token = token

    def take(self) -> NewToken | None:
        """The same, once."""
        token, self._token = self._token, None
        return token


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request: the registry as the person uses it, the parts of the address, and the fields of query or form.

    `verified` is what was found whole before, `remembered` what was listed just now; `rooted` is what a command needs
    to mean this registry (`` --root DIR``, or nothing).
    """

    registry: Registry
    parts: Mapping[str, str]
    fields: Fields
    verified: Verified
    remembered: Remembered
    rooted: str = ""

    @property
    def caller(self) -> str | None:
        """The namespace that the person is logged in to."""
        return self.registry.session.caller


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page to be drawn: which template, with which values."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    code: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Another page to look at, after something was done; `said` is what, for its top."""

    to: str
    said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture, of a type that browsers draw and never run."""

    data: bytes
    media: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A file, every byte of which is what was published; `media` is None for what is saved and not shown."""

    target: Target
    name: str
    media: str | None = None


Answer: TypeAlias = Page | Moved | Picture | Fetched
Handler: TypeAlias = Callable[[Visit], Answer]
