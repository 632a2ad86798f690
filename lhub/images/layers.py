"""Layers: tars of the same bytes for the same files, wherever and whenever they are made; and readers of others'.

Layers of ours are not compressed: what zlib makes of the same bytes differs from one build of it to the next, the
digest of a plain tar does not, and a plain tar is written as fast as the disk and searched without unpacking.

>>> entry = Entry(path="a.txt", size=2, pieces=lambda: iter([b"hi"]))
>>> len(b"".join(tarred([entry])))
10240
"""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO

from lhub.errors import Corrupt
from lhub.images.oci import LAYER, ZIPPED
from lhub.opening import open_file

MOMENT = 315_532_800
"""Seconds since 1970 of all that lhub puts into a layer: 1 January 1980, the first day that a zip can tell."""
Readable = IO[bytes] | gzip.GzipFile
_PIECE = 1 << 20
_BLOCK, _RECORD = 512, 10_240
_HEADER = 32 << 10
"""Bytes of an extended header that are read: a path, and what a file system keeps beside a file. Some releases of
tarfile take a time for one that grows with its square (CVE-2024-6232)."""
_EXTENDED = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
_BROKEN = (OSError, EOFError, zlib.error, tarfile.TarError, ValueError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file, link or folder of a layer; `pieces` gives its `size` bytes, `link` is what a symbolic link says."""

    path: str
    size: int = 0
    executable: bool = False
    folder: bool = False
    link: str | None = None
    pieces: Callable[[], Iterator[bytes]] = lambda: iter(())

    @property
    def info(self) -> tarfile.TarInfo:
        """Its header: root's, and of no time."""
        told = tarfile.TarInfo(self.path)
        told.mtime, told.mode = MOMENT, 0o755 if self.executable or self.folder else 0o644
        if self.folder:
            told.type = tarfile.DIRTYPE
        elif self.link is not None:
            told.type, told.linkname, told.mode = tarfile.SYMTYPE, self.link, 0o777
        else:
            told.size = self.size
        return told


def tarred(entries: Iterable[Entry]) -> Iterator[bytes]:
    """The bytes of a layer, piece by piece; Corrupt for a file that is not as long as it was."""
    written = 0
    for entry in entries:
        header = entry.info.tobuf(tarfile.PAX_FORMAT)
        yield header
        size = 0
        for piece in entry.pieces():
            size += len(piece)
            yield piece
        if size != entry.info.size:
            raise Corrupt(f"{entry.path} changed its length while it was packed")
        padding = -size % _BLOCK
        yield bytes(padding)
        written += len(header) + size + padding
    yield bytes(2 * _BLOCK + -(written + 2 * _BLOCK) % _RECORD)


def below(folder: str, prefix: str) -> Iterator[Entry]:
    """All that is in a folder, sorted, under `prefix`, with the folders that lead there; links stay links."""
    parts = prefix.strip("/").split("/")
    for end in range(1, len(parts) + 1):
        yield Entry(path="/".join(parts[:end]), folder=True)
    yield from _below(folder, "/".join(parts))


def _below(folder: str, prefix: str) -> Iterator[Entry]:
    for entry in sorted(os.scandir(folder), key=lambda each: os.fsencode(each.name)):
        path, status = f"{prefix}/{entry.name}", entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            yield Entry(path=path, link=os.readlink(entry.path))
        elif stat.S_ISDIR(status.st_mode):
            yield Entry(path=path, folder=True)
            yield from _below(entry.path, path)
        elif stat.S_ISREG(status.st_mode):
            yield file_entry(path, entry.path, status)


def file_entry(path: str, origin: str, status: os.stat_result) -> Entry:
    """A file of the disk."""
    executable = bool(status.st_mode & 0o100)
    return Entry(path=path, size=status.st_size, executable=executable, pieces=lambda: read(origin))


def read(path: str) -> Iterator[bytes]:
    """A file, piece by piece; never through a link."""
    with os.fdopen(open_file(path), "rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            yield piece


def breathing(stream: Iterator[bytes], breathe: Callable[[], None]) -> Iterator[bytes]:
    """The same stream; `breathe` is called before each piece, and may raise."""
    for piece in stream:
        breathe()
        yield piece


# what others made


class Header(tarfile.TarInfo):
    """A header of somebody else's tar: none that makes tarfile read megabytes before it, or terabytes of nothing."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _EXTENDED:
            chained = getattr(tar, "chained", 0) + 1
            if self.size > _HEADER or chained > len(_EXTENDED):
                raise tarfile.ReadError(f"a header of {self.size} bytes, the {chained}. in a row")
            tar.chained = chained  # type: ignore[attr-defined]  # each is read within the one before
        else:
            tar.chained = 0  # type: ignore[attr-defined]  # as above
        member: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]  # tarfile's own hook for subclasses
        if member.issparse():
            raise tarfile.ReadError(f"{member.name[:80]!r} is sparse, which no image has")
        return member


@contextmanager
def unpacked(path: str, kind: str) -> Iterator[Readable]:
    """A layer as it is unpacked, to be read once; Corrupt for a compression that Python does not know."""
    if kind not in (LAYER, ZIPPED):
        raise Corrupt(
            f"a layer is of type {kind[:80]}, lhub reads tars, plain or in gzip",
            hint="skopeo copy --dest-compress-format gzip writes it anew",
        )
    with os.fdopen(open_file(path), "rb") as file:
        if kind == LAYER:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as plain:
            yield plain


def pieces(stream: Readable) -> Iterator[bytes]:
    """The rest of a stream; Corrupt for what does not unpack."""
    try:
        while piece := stream.read(_PIECE):
            yield piece
    except _BROKEN as error:
        raise Corrupt(f"a layer does not unpack: {error}") from None


def members(stream: Readable) -> Iterator[tuple[tarfile.TarInfo, Callable[[int], bytes]]]:
    """Each member of a tar that is read once, with a function that gives up to so many bytes of it."""
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_PIECE, tarinfo=Header) as tar:
            for info in tar:
                yield info, lambda most, info=info: _content(tar, info, most)  # type: ignore[misc]  # bound now
                tar.members = []  # type: ignore[attr-defined]  # it would keep them all
    except _BROKEN as error:
        raise Corrupt(f"a layer is no tar: {error}") from None


def streamed(stream: IO[bytes], what: str) -> Iterator[tuple[tarfile.TarInfo, Iterator[bytes]]]:
    """Each file of a tar that is read once, with its bytes, to be read before the next; Corrupt for what is no file."""
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_PIECE, tarinfo=Header) as tar:
            for info in tar:
                file = tar.extractfile(info) if info.isreg() else None
                if file is None:
                    raise tarfile.ReadError(f"{info.name[:80]!r} is no file")
                yield info, _unbroken(file, what)
                tar.members = []  # type: ignore[attr-defined]  # as above
    except _BROKEN as error:
        raise Corrupt(f"{what} is no tar: {error}") from None


def _unbroken(stream: IO[bytes], what: str) -> Iterator[bytes]:
    try:
        yield from iter(partial(stream.read, _PIECE), b"")
    except _BROKEN as error:
        raise Corrupt(f"{what} is no tar: {error}") from None


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo, most: int) -> bytes:
    file = tar.extractfile(info) if info.isreg() else None
    return file.read(most) if file else b""
