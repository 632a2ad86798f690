"""Zip archives, in which the cloud's clients send and fetch Executors: unpacked with every suspicion, packed the same.

What comes is a stranger's: names that climb, links, two files of one name, a bomb. All that is wrong with it is told at
once, before a byte of it is written; only what its bytes expand to is counted while they do.

>>> import io
>>> _end_of(io.BytesIO(b"PK\\x05\\x06" + bytes(18)), 22)
(0, 0)
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import IO

from lhub.disk import Pen
from lhub.errors import Corrupt, UsageError, clean, listing
from lhub.folder import path_faults
from lhub.layout import STAGING
from lhub.names import DEEPEST, is_inside
from lhub.store import DAMAGED, Version

MOST_FILES = 10_000
MOST_BYTES = 4 << 30
"""What an archive may expand to; docarray's own clients stop at the same size."""
MOST_ZIPPED = 2 << 30
"""Bytes of an archive; a longer one has other fields at its end."""
_PIECE = 1 << 20
_TAIL = 22 + 65_535
_LIST = 4 << 20
"""Bytes of the list of files, which is read at once."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The first moment that a zip can tell: the same version is the same archive."""
_KINDS = frozenset({0, stat.S_IFREG})
_WAYS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_HINT = "pack it again, with jina's own client or with lhub push; nothing was changed"


_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OSError)
"""What the library raises for an archive that is none: also for a part that would lie before its beginning."""


class TooLarge(UsageError):
    """More files, or more bytes, than are taken."""


# what comes


def unpack(pen: Pen, path: str, folder: str) -> None:
    """Lay an archive out in an empty folder of one's own; UsageError with every fault of it."""
    with open(path, "rb") as file:
        _see_end(file)
        with _telling():
            archive = zipfile.ZipFile(file)
        with archive:
            _Unpacking(pen, folder).all_of(archive, _members(archive))


@contextmanager
def _telling() -> Iterator[None]:
    """Say that an archive is none, whatever the library calls that; nothing is written meanwhile."""
    try:
        yield
    except _DAMAGE as error:
        said = clean(str(error), lines=False)[:200]
        raise UsageError(f"what was sent is not a whole zip archive: {said}", hint=_HINT) from None


def _see_end(file: IO[bytes]) -> None:
    """Look at the end of the archive before anybody believes it: the list of files is read whole."""
    file.seek(0, os.SEEK_END)
    size = file.tell()
    found = _end_of(file, size)
    if found is None:
        raise UsageError("what was sent is not a zip archive", hint=_HINT)
    count, length = found
    if count > MOST_FILES or length > _LIST:
        raise _too_many_files()
    file.seek(0)


def _end_of(file: IO[bytes], size: int) -> tuple[int, int] | None:
    """How many files an archive lists, and the bytes of the list; None for what is no archive."""
    file.seek(max(0, size - _TAIL))
    tail = file.read(_TAIL)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + 22:
        return None
    if tail[max(0, at - 20) : at].startswith(b"PK\6\7"):  # the fields of a larger one, which would count instead
        return MOST_FILES + 1, 0
    count, length = struct.unpack("<HI", tail[at + 10 : at + 16])
    return count, length


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The files of an archive; UsageError with everything that is wrong with their names and kinds."""
    if len(archive.infolist()) > MOST_FILES:  # whatever its end says
        raise _too_many_files()
    members = [info for info in archive.infolist() if not info.is_dir()]
    faults = [f"{_shown(info)} {why}" for info in archive.infolist() for why in _faults(info)]
    faults = faults or path_faults([info.filename for info in members])
    times = Counter(info.filename for info in archive.infolist())
    faults += [f"{clean(path, lines=False)[:200]} is there {count} times" for path, count in times.items() if count > 1]
    files = {info.filename for info in members}
    # of names that are no deeper than a folder may be: all that stands above one of 64 KiB is a gigabyte
    faults = faults or [f"{_shown(info)} lies in a file" for info in members if files & {*_above(info.filename)}]
    if faults:
        raise UsageError(listing("the archive cannot be unpacked", faults), hint=_HINT)
    if sum(info.file_size for info in members) > MOST_BYTES:
        raise _too_many_bytes()
    return members


def _too_many_files() -> TooLarge:
    return TooLarge(f"the archive has more than {MOST_FILES} files", hint="leave out what nobody needs: .gitignore")


def _too_many_bytes() -> TooLarge:
    return TooLarge(
        f"the archive expands to more than {MOST_BYTES >> 30} GiB", hint="lhub push PATH takes folders of any size"
    )


def _shown(info: zipfile.ZipInfo) -> str:
    return clean(info.orig_filename, lines=False)[:200]


def _above(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def _faults(info: zipfile.ZipInfo) -> Iterator[str]:
    name = info.filename.removesuffix("/") if info.is_dir() else info.filename
    kind = stat.S_IFMT(info.external_attr >> 16)
    if "\0" in info.orig_filename or not is_inside(name):
        yield "leads out of the folder"
    elif name.count("/") >= DEEPEST:
        yield f"lies in more than {DEEPEST - 1} folders"
    if kind == stat.S_IFLNK:
        yield "is a link"
    elif kind not in (_KINDS | {stat.S_IFDIR} if info.is_dir() else _KINDS):
        yield "is no file"
    if info.flag_bits & 1:
        yield "is encrypted"
    elif info.compress_type not in _WAYS:
        yield "is compressed in a way that is not taken"


class _Unpacking:
    """One archive on its way into a folder."""

    def __init__(self, pen: Pen, folder: str) -> None:
        self.pen, self.folder = pen, folder
        self.made: set[str] = set()
        self.left = MOST_BYTES

    def all_of(self, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> None:
        for info in members:
            for above in _above(info.filename):
                if above not in self.made:
                    self.pen.make_folder(f"{self.folder}/{above}", STAGING)
                    self.made.add(above)
            mode = 0o700 if (info.external_attr >> 16) & 0o100 else 0o600
            with _telling():
                file = archive.open(info)
            with file:
                self.pen.write_pieces(self.counted(file), f"{self.folder}/{info.filename}", mode)

    def counted(self, file: IO[bytes]) -> Iterator[bytes]:
        """The bytes of a file as they expand: how many there are, only they can tell."""
        while True:
            with _telling():
                piece = file.read(_PIECE)
            self.left -= len(piece)
            if self.left < 0:
                raise _too_many_bytes()
            if not piece:
                return
            yield piece


# what goes


def pack(version: Version, out: IO[bytes]) -> None:
    """Write the files of a version as an archive, the same for the same version; Corrupt for one that is damaged."""
    executable = frozenset(version.manifest().executable)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for path, digest in version.sums().items():
            info = zipfile.ZipInfo(path, _EPOCH)
            info.external_attr = (stat.S_IFREG | (0o755 if path in executable else 0o644)) << 16
            with version.file(path) as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
                info.file_size = os.fstat(descriptor).st_size
                with archive.open(info, "w") as member:
                    if _copied(file, member) != digest:
                        raise Corrupt(f"{path} of {version.where} is not what was published", hint=DAMAGED)


def _copied(file: IO[bytes], member: IO[bytes]) -> str:
    """Copy a file; its SHA-256."""
    hasher = sha256()
    while piece := file.read(_PIECE):
        hasher.update(piece)
        member.write(piece)
    return hasher.hexdigest()
