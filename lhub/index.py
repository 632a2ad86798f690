"""What a listing would otherwise parse a manifest for, kept by version id: a disposable file of one user.

A line is ``<id> <kind> <bytes> .``, of an array that tells it ``<id> <kind> <bytes> <length> .``; a line that is not
whole is passed over. An id is the digest of what the line was read from, so nothing in it ever becomes false.

>>> index = Index(None)
>>> index.add("0" * 64, Known("files", 12)); index.get("0" * 64)
Known(kind='files', bytes=12, length=None)
"""

from __future__ import annotations

import re
from typing import NamedTuple

from lhub.disk import Pen
from lhub.errors import LhubError
from lhub.manifest import Manifest
from lhub.opening import read_small

_LINE = rb"(?m)^([0-9a-f]{64}) ([a-z]+) ([0-9]+)(?: ([0-9]+))? \.$"
_LIMIT = 64 << 20


class Known(NamedTuple):
    """What is known of a version: its kind, its bytes, and of an array how many documents it has."""

    kind: str
    bytes: int
    length: int | None = None

    @classmethod
    def of(cls, manifest: Manifest) -> Known:
        """What a manifest tells."""
        length = manifest.about.get("length") if manifest.kind == "docarray" else None
        size = manifest.sealed.bytes if manifest.sealed else manifest.bytes
        return cls(manifest.kind, size, length if type(length) is int and length >= 0 else None)


def _line(version: str, known: Known) -> str:
    length = "" if known.length is None else f"{known.length} "
    return f"{version} {known.kind} {known.bytes} {length}.\n"


class Index:
    """What is known by version id; in memory, and in a file if `path` is given."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self._known: dict[str, Known] | None = None
        self._new: list[str] = []

    def get(self, version: str) -> Known | None:
        """What is known of a version, if it was seen before."""
        return self._all().get(version)

    def add(self, version: str, known: Known) -> None:
        """Remember a version."""
        if self._all().get(version) == known:
            return
        self._all()[version] = known
        if self.path:
            self._new.append(_line(version, known))

    def note(self, version: str, known: Known) -> None:
        """Remember a version that is new, without a look at all the others."""
        if self._known is not None:
            self._known[version] = known
        if self.path:
            self._new.append(_line(version, known))

    def save(self) -> None:
        """Add what is new to the file; what cannot be written is seen again next time."""
        lines, self._new = self._new, []
        if not lines or self.path is None:
            return
        try:
            Pen().append(self.path, "".join(lines).encode(), 0o600)
        except OSError:
            self.path = None  # a home that takes no writes serves as well

    def _all(self) -> dict[str, Known]:
        if self._known is None:
            self._known = {}
            for id_, kind, size, length in re.findall(_LINE, self._text()):
                self._known[id_.decode()] = Known(kind.decode(), int(size), int(length) if length else None)
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
