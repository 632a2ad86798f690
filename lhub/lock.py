"""The lock of a resource: one writer at a time, freed by the kernel when its holder dies.

It only orders writers; nothing tears without it. The file is 0600 (0660 in a team), since whoever may open a
lock file may hold it for ever.

>>> import tempfile
>>> with held(tempfile.mkdtemp() + "/lock", mode=0o600, timeout=1, note="me"):
...     pass
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from lhub.disk import open_file, read_small
from lhub.errors import Denied, LhubError, LockTimeout

_NOTE = 200
_PAUSE = 0.01
_PATIENCE = 1.0
"""Seconds of waiting before a person is told who holds the lock."""


@contextmanager
def held(
    path: str, *, mode: int, timeout: float, note: str, waiting: Callable[[str], None] = lambda holder: None
) -> Iterator[None]:
    """Hold the lock at `path`; start over when the file was moved away with its resource meanwhile.

    `note` is left in the file for those who wait; `waiting` is called with the holder's note after a second.
    Raises LockTimeout after `timeout` seconds, Denied where the file may not be opened, FileNotFoundError when
    the resource is gone.
    """
    deadline = time.monotonic() + timeout
    while True:
        lock = _acquired(path, mode, deadline, note, waiting)
        try:
            if lock.same():
                yield
                return
        finally:
            lock.release()
        if time.monotonic() > deadline:  # the names of this file system never agree with what they open
            raise _timeout(path)


def is_free(path: str) -> bool:
    """Whether nobody holds the lock at `path`; nothing is written to find out."""
    from filelock import lock_descriptor  # 25 ms that readers do not need

    descriptor = open_file(path)
    try:
        return lock_descriptor(descriptor, blocking=False)
    finally:
        os.close(descriptor)


class _Held:
    """An acquired lock that knows which file it locked; closing the file frees it."""

    def __init__(self, path: str, descriptor: int, note: str) -> None:
        self.path, self.descriptor = path, descriptor
        status = os.fstat(descriptor)
        self.identity = (status.st_dev, status.st_ino)
        with suppress(OSError):  # a note for those who wait is not worth a failure on a full disk
            os.pwrite(descriptor, note.encode()[:_NOTE].ljust(_NOTE), 0)

    def same(self) -> bool:
        try:
            status = os.lstat(self.path)
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) == self.identity

    def release(self) -> None:
        os.close(self.descriptor)


def _acquired(path: str, mode: int, deadline: float, note: str, waiting: Callable[[str], None]) -> _Held:
    """Try, and try again every 10 ms; FileNotFoundError when the folder is gone, of which nothing is made anew."""
    patience = time.monotonic() + _PATIENCE
    while True:
        try:
            held = _tried(path, mode, note)
        except PermissionError:
            raise Denied(f"{path} may not be opened by you", hint="its owner and mode decide who may write") from None
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            raise LhubError(
                f"{path} cannot be locked: this file system has no locks", hint="mount it with locks"
            ) from None
        if held is not None:
            return held
        if time.monotonic() >= deadline:
            raise _timeout(path)
        if time.monotonic() >= patience:
            waiting(holder(path))
            patience = deadline
        time.sleep(_PAUSE)


def _tried(path: str, mode: int, note: str) -> _Held | None:
    """The lock, if nobody holds it. The file is opened here: filelock's own opening makes folders that are missing."""
    from filelock import lock_descriptor  # as above

    descriptor = _opened(path, mode)
    try:
        if lock_descriptor(descriptor, blocking=False):
            held, descriptor = _Held(path, descriptor, note), -1
            return held
        return None
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _opened(path: str, mode: int) -> int:
    """The lock file, made with just this mode if it is not there; a peer may make it first."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    for _ in range(3):
        with suppress(FileNotFoundError):
            return os.open(path, flags)
        with suppress(FileExistsError):
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, mode & 0o600)
            os.fchmod(descriptor, mode)
            return descriptor
    return os.open(path, flags)


def holder(path: str) -> str:
    """Who took the lock last, in his own words."""
    try:
        return read_small(path, limit=4 * _NOTE).decode(errors="replace").strip() or "somebody"
    except (OSError, LhubError):
        return "somebody"


def _timeout(path: str) -> LockTimeout:
    return LockTimeout(
        f"{path} is held by {holder(path)}",
        hint="try again; after a crash of another host its lock can stay for two minutes",
    )
