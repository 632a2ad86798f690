"""Opening: the only eyes that read what others may have written.

Nothing is trusted: no link, FIFO or device is opened, and no more is read than was asked for.

>>> import os, tempfile
>>> folder = tempfile.mkdtemp()
>>> os.mkdir(f"{folder}/aside"); os.symlink("aside", f"{folder}/link")
>>> os.close(open_folder(f"{folder}/aside")); is_folder(f"{folder}/link"), says(f"{folder}/link")
(False, 'aside')
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TypeVar

from lhub.errors import Corrupt
from lhub.names import DEEPEST, is_inside
from lhub.ways import FOLDER, READ, faked, name_file, naming, opened

PIECE = 1 << 20
_LEAST = 4096
_OURS = 8
"""Folders that lhub itself makes above what lies in a version."""
GONE = frozenset({errno.ENOENT, errno.ESTALE})
"""Answers that mean: it was there a moment ago (ESTALE on network file systems)."""
HIDDEN = frozenset({errno.EACCES, errno.EPERM})
"""Answers that mean: not for the caller."""

_T = TypeVar("_T")


def open_folder(path: str, *, beneath: int | None = None) -> int:
    """A descriptor of a folder, never through a link."""
    return opened(path, FOLDER, beneath=beneath)


def open_file(path: str, *, beneath: int | None = None) -> int:
    """A descriptor of a regular file; Corrupt for a link, FIFO, socket or device (which would hang or lead away)."""
    try:
        descriptor = opened(path, READ, beneath=beneath)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR):
            raise _not_regular(path) from None
        raise
    try:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError as error:
        os.close(descriptor)
        name_file(error, path)
        raise
    if not regular:
        os.close(descriptor)
        raise _not_regular(path)
    return descriptor


def _not_regular(path: str) -> Corrupt:
    return Corrupt(f"{path} is not a regular file", hint="somebody put it there by hand, nothing was read from it")


@contextmanager
def opened_beneath(folder: int, path: str) -> Iterator[int]:
    """An open regular file at a relative path, no part of which may be a link or climb."""
    if not is_inside(path):
        raise Corrupt(f"the path {path!r} leads out of its folder")
    *parents, name = path.split("/")
    held: list[int] = []
    try:
        for parent in parents:
            try:
                held.append(open_folder(parent, beneath=held[-1] if held else folder))
            except NotADirectoryError:  # ENOTDIR is also the answer for a link
                raise _not_regular(path) from None
        held.append(open_file(name, beneath=held[-1] if held else folder))
        yield held[-1]
    finally:
        for descriptor in reversed(held):
            os.close(descriptor)


def see_single(descriptor: int, path: str) -> None:
    """Refuse to write into what is no regular file, or has a second name: it could be anybody's, put there by hand."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise Corrupt(f"{path} is not a file of its own", hint="somebody put a link to another there; remove it")


def read_small(path: str, *, limit: int, beneath: int | None = None) -> bytes:
    """The whole of a small file; Corrupt when it has more than `limit` bytes or is no regular file."""
    descriptor = open_file(path, beneath=beneath)
    try:
        return read_open(descriptor, path, limit=limit)
    finally:
        os.close(descriptor)


def read_open(descriptor: int, path: str, *, limit: int) -> bytes:
    """The rest of an open small file; Corrupt when it has more than `limit` bytes."""
    with naming(path):
        return _read_rest(descriptor, path, limit)


def _read_rest(descriptor: int, path: str, limit: int) -> bytes:
    size = os.fstat(descriptor).st_size
    if size > limit:
        raise Corrupt(f"{path} has {size} bytes, at most {limit} are read")
    data = bytearray()
    while piece := os.read(descriptor, min(max(size + 1, _LEAST), PIECE)):  # Python makes room for all it asks for
        data += piece
        if len(data) > limit:
            raise Corrupt(f"{path} grew past {limit} bytes while it was read")
    return bytes(data)


Moved = Callable[[int], None]
"""Told of bytes that were moved or read, as they are."""


def unmoved(size: int) -> None:
    """Tell nobody."""


def digest_of(descriptor: int, moved: Moved = unmoved) -> tuple[str, int]:
    """SHA-256 (hex) and size of an open file."""
    import hashlib  # as above

    hasher = hashlib.sha256()
    size = 0
    while piece := os.read(descriptor, PIECE):
        hasher.update(piece)
        size += len(piece)
        moved(len(piece))
    return hasher.hexdigest(), size


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Up to `size` bytes from an offset on, where the file then stands."""
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, size)


def free_bytes(path: str) -> int:
    """How many bytes the caller may still write on the file system of a folder."""
    if faked():  # it says itself when it is full
        return sys.maxsize
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


def digest_text(data: bytes) -> str:
    """SHA-256 (hex) of bytes."""
    import hashlib  # as above

    return hashlib.sha256(data).hexdigest()


# what is there


def refresh(folder: str) -> None:
    """Let a network file system look anew at the names in a folder: opening it is what makes an NFS client ask."""
    with suppress(OSError):
        os.close(os.open(folder, FOLDER))


def once_more(read: Callable[[], _T]) -> _T:
    """The answer of `read`, asked once more where a network file system had lost its handle (ESTALE)."""
    try:
        return read()
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
    return read()


def status_of(path: str) -> os.stat_result | None:
    """What the kernel says of something, seen through no link; None for what is gone."""
    try:
        return once_more(partial(os.lstat, path))
    except OSError as error:
        if error.errno not in GONE:
            raise
        return None


def is_folder(path: str) -> bool:
    """Whether a folder stands there, not a link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def says(path: str) -> str | None:
    """What a link says, None where there is none, and for the moment in which Gluster, replacing it, says nothing."""
    try:
        return os.readlink(path) or None
    except OSError:
        return None


def listed(path: str) -> list[os.DirEntry[str]]:
    """What is in a folder, by name; nothing where there is none, or it may not be read."""
    try:
        return sorted(os.scandir(path), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def paths_below(folder: str | int, prefix: str = "") -> Iterator[str]:
    """The paths of everything that is no folder below a folder (by its path or open); links are not followed.

    Corrupt for what lies deeper than lhub lays anything.
    """
    if prefix.count("/") > DEEPEST + _OURS:
        raise Corrupt(f"{prefix[:40]}... has folders in more than {DEEPEST} folders")
    for entry in list(os.scandir(folder)):
        if entry.is_dir(follow_symlinks=False):
            with suppress(FileNotFoundError):
                by_descriptor = isinstance(folder, int)
                name, beneath = (entry.name, int(folder)) if by_descriptor else (entry.path, None)
                below = open_folder(name, beneath=beneath)
                try:
                    yield from paths_below(below, f"{prefix}{entry.name}/")
                finally:
                    os.close(below)
        else:
            yield f"{prefix}{entry.name}"
