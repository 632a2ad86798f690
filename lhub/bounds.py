"""Bounds: folders outside of which lhub writes nothing while a project's tests use it, in this process and in commands.

They travel to other processes as a text in LHUB_BOUNDS, which a door reads.

>>> bounds = Bounds(within=("/tmp/test",), closed=("/tmp/test/shared",))
>>> bounds.crossed("/tmp/test/x"), bounds.crossed("/home/me/x"), bounds.shut("/tmp/test/shared/x")
(False, True, True)
>>> Bounds.parse(bounds.text()) == bounds
True
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass

from lhub.disk import Pen
from lhub.errors import Denied
from lhub.ways import faked

VARIABLE = "LHUB_BOUNDS"
"""The variable that says them; its parts have ``:`` between them, what is closed begins with ``!``."""
HINT = "name a place under tmp_path, or monkeypatch.chdir(tmp_path)"
CROSSED = "crossed"
"""The file in LHUB_HOME where a process leaves what it was about to write outside."""
_BESIDE = re.compile(r"/\.([^/]+)\.lhub-[^/]+$")
"""What is laid out beside its place before it is moved there."""


class Outside(Denied):
    """A write that would have gone outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Where lhub may write: `within` these folders, but not in those that are `closed`; all are real paths."""

    within: tuple[str, ...]
    closed: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Bounds:
        """What a text says, as `text` gives it."""
        parts = [part for part in text.split(os.pathsep) if part]
        closed = tuple(part[1:] for part in parts if part.startswith("!"))
        return cls(within=tuple(part for part in parts if not part.startswith("!")), closed=closed)

    def text(self) -> str:
        """The bounds as a text."""
        return os.pathsep.join((*self.within, *(f"!{folder}" for folder in self.closed)))

    def crossed(self, place: str) -> bool:
        """Whether a real path lies outside; on a fake file system nothing does."""
        scratch = f"{os.path.realpath(tempfile.gettempdir())}/lhub-"  # where git makes the diary's objects
        return not faked() and not place.startswith((scratch, *(f"{folder}/" for folder in self.within)))

    def shut(self, place: str) -> bool:
        """Whether a real path lies in what is closed, or is that."""
        return f"{place}/".startswith(tuple(f"{folder}/" for folder in self.closed))

    def see(self, home: str, verb: str, path: str) -> None:
        """Refuse a write outside, and leave a word of it in `home` for whoever set the bounds; to watch a pen with."""
        place = f"{os.path.realpath(os.path.dirname(path))}/{os.path.basename(path)}"
        if self.shut(place):
            raise Denied(
                f"the registry of the test session is read-only, {path} was about to be written ({verb})",
                hint="fill it where it is made: with lhub_session_registry.filling(): ...",
            )
        if self.crossed(place):
            meant, real = _BESIDE.sub(r"/\1", path), _BESIDE.sub(r"/\1", place)
            meant = meant if meant == real else f"{meant} (which is {real})"
            Pen().append(f"{home}/{CROSSED}", f"{meant} ({verb})\n".encode(), 0o600)
            raise Outside(f"{meant} was about to be written ({verb}), outside of where this test may write", hint=HINT)
