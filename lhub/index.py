"""What a listing would otherwise parse a manifest for, kept by version id: a disposable file of one user.

A line is ``<id> <kind> <bytes> .``; a line that is not whole is passed over. An id is the digest of what the line was
read from, so nothing in it ever becomes false.

>>> index = Index(None)
>>> index.add("0" * 64, "files", 12); index.get("0" * 64)
('files', 12)
"""

from __future__ import annotations

import re

from lhub.disk import Pen
from lhub.errors import LhubError
from lhub.opening import read_small

_LINE = rb"(?m)^([0-9a-f]{64}) ([a-z]+) ([0-9]+) \.$"
_LIMIT = 64 << 20


class Index:
    """Kind and bytes by version id; in memory, and in a file if `path` is given."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self._known: dict[str, tuple[str, int]] | None = None
        self._new: list[str] = []

    def get(self, version: str) -> tuple[str, int] | None:
        """Kind and bytes of a version, if they were seen before."""
        return self._all().get(version)

    def add(self, version: str, kind: str, size: int) -> None:
        """Remember a version."""
        if version in self._all():
            return
        self._all()[version] = (kind, size)
        if self.path:
            self._new.append(f"{version} {kind} {size} .\n")

    def save(self) -> None:
        """Add what is new to the file; what cannot be written is seen again next time."""
        lines, self._new = self._new, []
        if not lines or self.path is None:
            return
        try:
            Pen().append(self.path, "".join(lines).encode(), 0o600)
        except OSError:
            self.path = None  # a home that takes no writes serves as well

    def _all(self) -> dict[str, tuple[str, int]]:
        if self._known is None:
            self._known = {}
            for id_, kind, size in re.findall(_LINE, self._text()):
                self._known[id_.decode()] = (kind.decode(), int(size))
        return self._known

    def _text(self) -> bytes:
        try:
            return read_small(self.path, limit=_LIMIT) if self.path else b""
        except LhubError:
            return self._begun_anew()
        except OSError:
            return b""

    def _begun_anew(self) -> bytes:
        """What grew too large, or is no file, gives way: the next listing fills a new one."""
        try:
            Pen().unlink(self.path or "")
        except OSError:
            self.path = None
        return b""
