"""Ways: how a file is reached, without being led elsewhere.

Below the root of a registry no part of a path may be a link (:func:`guard`), since in a team's resource a colleague
can put one there at any moment: the way down is walked folder by folder, each opened beneath the one before.

>>> import os, tempfile
>>> folder = os.path.realpath(tempfile.mkdtemp())
>>> guard(folder); os.mkdir(f"{folder}/aside"); os.symlink("aside", f"{folder}/link")
>>> os.close(opened(f"{folder}/aside", FOLDER))
>>> try: opened(f"{folder}/link/file", READ)
... except Corrupt as error: print(str(error).replace(folder, "/srv"))
link, on the way to /srv/link, is not a folder
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from threading import local
from types import ModuleType

from lhub.errors import Corrupt

READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
WAY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""A step on the way to a file: with O_PATH no network file system is asked anything for it."""
_WAYS = 128
"""Folders that are kept open at once; a process may have 1,024 files."""

_guarded: set[str] = set()
_kept = local()


def guard(root: str) -> None:
    """From now on a path below this folder is only followed where each of its parts is a folder, none a link."""
    _guarded.add(root)


class at:  # noqa: N801 (it reads as the word it is: `with at(path) as (folder, name)`)
    """The folder of a path, open, and its last part: what is done there cannot be led elsewhere meanwhile.

    In a team's resource a colleague may put a link in place of any folder, at any moment, so the way down from a root
    is walked without following one; Corrupt where one stands. Outside of all roots a path is taken as it is. No
    generator: of 10,000 files it is asked 100,000 times.
    """

    __slots__ = ("_descriptor", "_path", "_ways")

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._ways: _Ways | None = getattr(_kept, "ways", None)

    def __enter__(self) -> tuple[int | None, str]:
        path, ways = self._path, self._ways
        cut = path.rfind("/")
        parent, name = path[: cut or 1] if cut >= 0 else "", path[cut + 1 :]
        if ways is not None:
            descriptor = ways.lend(parent)
        else:
            self._descriptor = descriptor = _walked(parent)
        return (None, path) if descriptor is None else (descriptor, name)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._ways is not None:
            self._ways.take_back()
        elif self._descriptor is not None:
            os.close(self._descriptor)
        if isinstance(error, OSError):
            name_file(error, self._path)


def _cut(folder: str) -> tuple[str, list[str]] | None:
    """The root that a folder lies in, and the parts of the way down from there; None outside of all roots."""
    root = folder
    while root not in _guarded:
        root = root.rpartition("/")[0]
        if not root:
            return None
    return root, folder[len(root) + 1 :].split("/") if folder != root else []


def _begin(root: str) -> int:
    """A root, open: it may be a link, whoever named it chose so."""
    return os.open(root, WAY & ~os.O_NOFOLLOW)


def _step(above: int, part: str, path: str) -> int:
    """The next folder of a way, open; its path is for who is told that it is none."""
    try:
        return os.open(part or ".", WAY, dir_fd=above)
    except NotADirectoryError:
        raise Corrupt(
            f"{part}, on the way to {path}, is not a folder", hint="somebody put a link or a file there by hand"
        ) from None
    except OSError as error:
        name_file(error, path)
        raise


def _walked(folder: str) -> int | None:
    """A folder, open; None outside of all roots, and on a fake file system, where nobody else is."""
    cut = None if faked() else _cut(folder)
    if cut is None:
        return None
    path, parts = cut
    descriptor = _begin(path)
    for part in parts:
        path, above = f"{path}/{part}", descriptor
        try:
            descriptor = _step(above, part, path)
        finally:
            os.close(above)
    return descriptor


class _Ways:
    """Folders that stay open, the last that were used, so that nobody walks down to each file of a folder anew.

    None is closed while one is lent: a link needs two, each of which may lie deeper than all that stay open.
    """

    def __init__(self) -> None:
        self._open: dict[str, int] = {}
        self._lent = 0

    def lend(self, folder: str) -> int | None:
        """A folder, open until it is taken back; None outside of all roots."""
        descriptor = self._reached(folder)
        self._lent += 1
        return descriptor

    def take_back(self) -> None:
        """One that was lent is needed no more."""
        self._lent -= 1
        while len(self._open) > _WAYS and not self._lent:
            os.close(self._open.pop(next(iter(self._open))))

    def close(self) -> None:
        """Close all of them."""
        while self._open:
            os.close(self._open.popitem()[1])

    def _reached(self, folder: str) -> int | None:
        """A folder, from the nearest above it that is open, as the last that was used."""
        descriptor = self._open.pop(folder, None)
        if descriptor is None:
            if folder in _guarded:
                descriptor = _begin(folder)
            elif (above := folder.rpartition("/")[0]) and (held := self._reached(above)) is not None:
                descriptor = _step(held, folder[len(above) + 1 :], folder)
            else:
                return None
        self._open[folder] = descriptor
        return descriptor


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


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Let an error of a call that knows a descriptor only, or the last part of a path, say which file it was."""
    try:
        yield
    except OSError as error:
        name_file(error, path)
        raise


def name_file(error: OSError, path: str) -> None:
    """Let an error that is at hand say which file it was."""
    if not (isinstance(error.filename, str) and error.filename.startswith("/")):
        error.filename = path


def opened(path: str, flags: int, mode: int = 0o600, *, beneath: int | None = None) -> int:
    """open(2), never through a link in the last part, nor in any part below a root; `beneath` is a folder, open."""
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC
    if beneath is not None:
        return _open(path, flags, mode, beneath)
    with at(path) as (folder, name):
        return _open(name, flags, mode, folder)


def _open(name: str, flags: int, mode: int, folder: int | None) -> int:
    return os.open(name, flags, _faked_mode(name, flags, mode, folder) if faked() else mode, dir_fd=folder)


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
            name_file(error, self._path)


# a fake file system


def faked() -> bool:
    """Whether a test (with pyfakefs) has put a file system of its own in place of the kernel's, for this process only.

    No other program sees it, and what it does not know itself reaches the real one, by numbers that mean other files.
    """
    return not isinstance(os, ModuleType)


def changed_at(status: os.stat_result) -> int:
    """The time of a file's last change of any sort, ns; 0 on a fake file system, where a look changes it as well."""
    return 0 if faked() else status.st_ctime_ns


def _faked_mode(name: str, flags: int, mode: int, folder: int | None) -> int:
    """The mode to tell a fake file system, which sets it whenever something is opened and heeds no umask."""
    if not flags & os.O_CREAT:
        return stat.S_IMODE(os.lstat(name, dir_fd=folder).st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return mode & ~mask
