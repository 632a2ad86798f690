"""A glance: what a listing told of each resource, and by what the next one knows that it is still so.

On a disk of this machine no tag is made, moved or removed, and no mode set, without the folder's times: what was told
of a folder whose stamp is the same is told again, unlooked. A time may have ticks in which more than one thing
happens, so only of what was at rest for two seconds is anything remembered. Elsewhere (NFS, FUSE, whatever has no
device of its own) another host's change shows in a listing only, so that there all is looked at each time.

Of many resources it is kept in a file of one user, which is disposable: in memory it serves one process.

>>> glance = Glance(None)
>>> glance.get("/srv/registry/alice/X", os.lstat("/"), tuple) is None
True
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from lhub.disk import Pen
from lhub.errors import LhubError
from lhub.opening import read_small
from lhub.ways import faked

_FORMAT = b"lhub glance 2"
"""What the file begins with, before the CRC-32 of all that follows: what flipped there is told to nobody."""
_REST = 2.0
"""Seconds without a change after which the next one has another time, whatever the clock's ticks."""
_MANY = 500
"""Lines that must be new before they are worth a file."""
_LIMIT, _MOST = 256 << 20, 200_000
"""Bytes of the file that are read, and lines that are kept beside those that were asked for."""

Stamp = list[int]
"""What a folder was like, as JSON keeps it."""
_Line = TypeVar("_Line")


class Glance:
    """What was told of public resources, by their folders; in memory, and in a file if `path` is given.

    A line is whatever the listing makes of a resource; `read` makes it of what JSON keeps, which `written` gives.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._told: dict[str, tuple[Stamp, Any]] = {}
        self._file: Mapping[str, Any] | None = None
        self._new = 0

    def get(self, folder: str, status: os.stat_result, read: Callable[[list[Any]], _Line]) -> _Line | None:
        """What was told of a folder, if it is still so."""
        told = self._told.get(folder) or self._kept(folder, read)
        return told[1] if told is not None and told[0] == _stamp(status) else None

    def add(self, folder: str, status: os.stat_result, now: float, line: object) -> None:
        """Remember what was told of a folder that had this status before it was looked at."""
        if _tells_changes(status) and now - max(status.st_mtime, status.st_ctime) > _REST:
            self._told[folder] = _stamp(status), line
            self._new += 1

    def save(self, written: Callable[[Any], list[Any]]) -> None:
        """Keep it for the next process, where that spares much; what cannot be written is looked at again."""
        if self._path is None or self._new < max(_MANY, len(self._told) // 20):
            return
        import json  # 3 ms, for listings of many
        import zlib  # as above

        self._new = 0
        told = dict(self._told)  # at once: another thread may list as well
        lines = {folder: [stamp, *written(line)] for folder, (stamp, line) in told.items()}
        others = self._file or {}
        if len(others) <= _MOST:
            lines = {**others, **lines}
        text, scratch = json.dumps(lines, separators=(",", ":")).encode(), f"{self._path}.new"
        try:
            Pen().unlink(
                scratch
            )  # what a kill left; of two who write at once one wins, or what is read has another sum
            whole = b"%b %08x\n%b" % (_FORMAT, zlib.crc32(text), text)
            Pen().replace(self._path, whole, 0o600, scratch=scratch, sync=False)
        except OSError:
            self._path = None  # a home that takes no writes serves as well

    def _kept(self, folder: str, read: Callable[[list[Any]], _Line]) -> tuple[Stamp, _Line] | None:
        """The line of a folder in the file."""
        if self._file is None:
            self._file = self._read()
        if folder not in self._file:
            return None
        try:
            stamp, *fields = self._file[folder]
            told = self._told[folder] = stamp, read(fields)
        except (TypeError, ValueError):  # not as this lhub writes it
            return None
        return told

    def _read(self) -> Mapping[str, Any]:
        if self._path is None or not os.path.lexists(self._path):
            return {}
        import json  # as above
        import zlib  # as above

        try:
            head, _, text = read_small(self._path, limit=_LIMIT).partition(b"\n")
        except (OSError, LhubError):
            return {}
        if head != b"%b %08x" % (_FORMAT, zlib.crc32(text)):
            return {}
        lines: Mapping[str, Any] = json.loads(text)
        return lines


def _stamp(status: os.stat_result) -> Stamp:
    """What changes when anything in a folder, or the folder itself, does."""
    return [
        status.st_dev,
        status.st_ino,
        status.st_mode,
        status.st_uid,
        status.st_gid,
        status.st_mtime_ns,
        status.st_ctime_ns,
    ]


def _tells_changes(status: os.stat_result) -> bool:
    """Whether the kernel here knows of every change of a folder: it lies on a block device of this machine."""
    return os.major(status.st_dev) != 0 and not faked()
