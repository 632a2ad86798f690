"""Opening: the only eyes that read what others may have written, and the way down to it.

Nothing is trusted: no link, FIFO or device is opened, no more is read than was asked for, and below the root of a
registry no part of a path may be a link (:func:`guard`), since in a team's resource a colleague can put one there at
any moment.

>>> import os, tempfile
>>> folder = os.path.realpath(tempfile.mkdtemp())
>>> guard(folder); os.mkdir(f"{folder}/aside"); os.symlink("aside", f"{folder}/link")
>>> os.close(open_folder(f"{folder}/aside")); is_folder(f"{folder}/link"), says(f"{folder}/link")
(False, 'aside')
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from threading import local
from types import ModuleType
from typing import TypeVar

from lhub.errors import Corrupt
from lhub.names import DEEPEST, is_inside

READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
WAY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""A step on the way to a file: with O_PATH no network file system is asked anything for it."""
PIECE = 1 << 20
_LEAST = 4096
_OURS = 8
"""Folders that lhub itself makes above what lies in a version."""
GONE = frozenset({errno.ENOENT, errno.ESTALE})
"""Answers that mean: it was there a moment ago (ESTALE on network file systems)."""
HIDDEN = frozenset({errno.EACCES, errno.EPERM})
"""Answers that mean: not for the caller."""

_WAYS = 128
"""Folders that are kept open at once; a process may have 1,024 files."""

_guarded: set[str] = set()
_kept = local()
_T = TypeVar("_T")


# the way to a file


def guard(root: str) -> None:
    """From now on a path below this folder is only followed where each of its parts is a folder, none a link."""
    _guarded.add(root)


class at:  # noqa: N801 (it reads as the word it is: `with at(path) as (folder, name)`)
    """The folder of a path, open, and its last part: what is done there cannot be led elsewhere meanwhile.

    In a team's resource a colleague may put a link in place of any folder, at any moment, so the way down from a root
    is walked without following one; Corrupt where one stands. Outside of all roots a path is taken as it is. No
    generator: of 10,000 files it is asked 100,000 times.
    """

    __slots__ = ("_descriptor", "_path")

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: int | None = None

    def __enter__(self) -> tuple[int | None, str]:
        path = self._path
        cut = path.rfind("/")
        parent, name = path[: cut or 1] if cut >= 0 else "", path[cut + 1 :]
        ways: _Ways | None = getattr(_kept, "ways", None)
        if ways is not None:
            descriptor = ways.to(parent)
        else:
            self._descriptor = descriptor = _walked(parent)
        return (None, path) if descriptor is None else (descriptor, name)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        if isinstance(error, OSError):
            _name(error, self._path)


def _way(folder: str, known: Container[str] = ()) -> list[str]:
    """The folders on the way down to one, from the first above it that is `known`, else from its root, else from `/`.

    Texts are cut here, not by os.path, which takes five times as long.
    """
    way = [folder]
    while folder not in known and (folder not in _guarded or faked()):  # on a fake file system nobody else is
        folder = folder[: folder.rfind("/")] if "/" in folder else ""
        if not folder:
            return ["/", *way[::-1]]
        way.append(folder)
    return way[::-1]


def _begin(folder: str) -> int | None:
    """The first folder of a way, open: a root; None for any other."""
    return os.open(folder, WAY & ~os.O_NOFOLLOW) if folder in _guarded and not faked() else None


def _step(above: int, folder: str) -> int:
    """The next folder of a way, open."""
    try:
        return _stepped(above, folder[folder.rfind("/") + 1 :] or ".", folder)
    except OSError as error:
        _name(error, folder)
        raise


def _walked(folder: str) -> int | None:
    """A folder, open; None outside of all roots."""
    first, *rest = _way(folder)
    descriptor = _begin(first)
    if descriptor is None:
        return None
    for each in rest:
        above = descriptor
        try:
            descriptor = _step(above, each)
        finally:
            os.close(above)
    return descriptor


class _Ways:
    """Folders that stay open, the last that were used, so that nobody walks down to each file of a folder anew."""

    def __init__(self) -> None:
        self._open: dict[str, int | None] = {}

    def to(self, folder: str) -> int | None:
        """A folder, open; None outside of all roots."""
        if folder in self._open:
            descriptor = self._open[folder] = self._open.pop(folder)  # the last that was used
            return descriptor
        first, *rest = _way(folder, self._open)
        descriptor = self._open.pop(first) if first in self._open else _begin(first)
        self._keep(first, descriptor)
        for each in rest:
            descriptor = None if descriptor is None else _step(descriptor, each)
            self._keep(each, descriptor)
        return descriptor

    def _keep(self, folder: str, descriptor: int | None) -> None:
        self._open[folder] = descriptor
        if len(self._open) > _WAYS:
            self._close(self._open.pop(next(iter(self._open))))

    def close(self) -> None:
        """Close all of them."""
        while self._open:
            self._close(self._open.popitem()[1])

    @staticmethod
    def _close(descriptor: int | None) -> None:
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def ways_kept() -> Iterator[None]:
    """Walk down to each folder once while `with` lasts, in this thread: for who reads or writes many files.

    What is then moved or replaced by somebody else is still where it was for who is at it, as for every open folder.
    """
    if faked() or getattr(_kept, "ways", None) is not None:
        yield
        return
    _kept.ways = ways = _Ways()
    try:
        yield
    finally:
        _kept.ways = None
        ways.close()


def _stepped(descriptor: int, part: str, path: str) -> int:
    try:
        return os.open(part, WAY, dir_fd=descriptor)
    except NotADirectoryError:
        raise Corrupt(
            f"{part}, on the way to {path}, is not a folder", hint="somebody put a link or a file there by hand"
        ) from None


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Let an error of a call that knows a descriptor only, or the last part of a path, say which file it was."""
    try:
        yield
    except OSError as error:
        _name(error, path)
        raise


def _name(error: OSError, path: str) -> None:
    if not (isinstance(error.filename, str) and error.filename.startswith("/")):
        error.filename = path


def opened(path: str, flags: int, mode: int = 0o600) -> int:
    """open(2), never through a link in the last part, nor in any part below a root."""
    with at(path) as (folder, name):
        return _open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, folder)


def _open(name: str, flags: int, mode: int, folder: int | None) -> int:
    return os.open(name, flags, _faked_mode(name, flags, mode, folder) if faked() else mode, dir_fd=folder)


def _faked_mode(name: str, flags: int, mode: int, folder: int | None) -> int:
    """The mode to tell a fake file system, which sets it whenever something is opened and heeds no umask."""
    if not flags & os.O_CREAT:
        return stat.S_IMODE(os.lstat(name, dir_fd=folder).st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return mode & ~mask


def faked() -> bool:
    """Whether a test (with pyfakefs) has put a file system of its own in place of the kernel's, for this process only.

    No other program sees it, and what it does not know itself reaches the real one, by numbers that mean other files.
    """
    return not isinstance(os, ModuleType)


def changed_at(status: os.stat_result) -> int:
    """The time of a file's last change of any sort, ns; 0 on a fake file system, where a look changes it as well."""
    return 0 if faked() else status.st_ctime_ns


class using:  # noqa: N801 (as `at`)
    """What `opened` gives while `with` lasts; an error of a call on it (ESTALE of an fstat, ENOSPC) names the file."""

    __slots__ = ("_descriptor", "_path")

    def __init__(self, path: str, flags: int) -> None:
        self._path, self._descriptor = path, opened(path, flags)

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        os.close(self._descriptor)
        if isinstance(error, OSError):
            _name(error, self._path)


# what is open


def open_folder(path: str, *, beneath: int | None = None) -> int:
    """A descriptor of a folder, never through a link."""
    return opened(path, FOLDER) if beneath is None else os.open(path, FOLDER, dir_fd=beneath)


def open_file(path: str, *, beneath: int | None = None) -> int:
    """A descriptor of a regular file; Corrupt for a link, FIFO, socket or device (which would hang or lead away)."""
    try:
        descriptor = opened(path, READ) if beneath is None else _open(path, READ, 0, beneath)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR):
            raise _not_regular(path) from None
        raise
    try:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError as error:
        os.close(descriptor)
        _name(error, path)
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
