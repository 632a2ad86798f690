"""The lock of a resource: one writer at a time, freed by the kernel when its holder dies.

It only orders writers; nothing tears without it. The file is 0600 (0660 in a team), since whoever may open a
lock file may hold it for ever.

>>> import tempfile
>>> with held(tempfile.mkdtemp() + "/lock", mode=0o600, timeout=1, note="me"):
...     pass
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from lhub.disk import announce
from lhub.errors import Denied, LhubError, LockTimeout
from lhub.opening import GONE, read_small, refresh, see_single
from lhub.ways import READ, naming, opened, using

_NOTE = 200
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP})
_PAUSE = 0.01
_PATIENCE = 1.0
"""Seconds of waiting before a person is told who holds the lock."""


@contextmanager
def held(
    path: str, *, mode: int, timeout: float, note: str, waiting: Callable[[str], None] = lambda holder: None
) -> Iterator[int]:
    """Hold the lock at `path`, by the descriptor given; start over when the file was moved away with its resource.

    `note` is left in the file for those who wait; `waiting` is called with the holder's note after a second.
    Raises LockTimeout after `timeout` seconds, Denied where the file may not be opened, FileNotFoundError when
    the resource is gone.
    """
    announce("lock", path)
    deadline = time.monotonic() + timeout
    while True:
        lock = _acquired(path, mode, deadline, note, waiting)
        try:
            if lock.same():
                yield lock.descriptor
                return
        finally:
            lock.release()
        if time.monotonic() > deadline:  # the names of this file system never agree with what they open
            raise _timeout(path)


def is_free(path: str) -> bool:
    """Whether nobody holds the lock at `path`; nothing is written to find out."""
    from filelock import lock_descriptor  # 25 ms that readers do not need

    with using(path, _OPEN) as descriptor:  # to write: NFS locks nothing that was opened to read
        return stat.S_ISREG(os.fstat(descriptor).st_mode) and lock_descriptor(descriptor, blocking=False)


def is_held(path: str) -> bool:
    """Whether somebody holds the lock at `path`, of whoever may read it; others who ask so are in nobody's way."""
    with using(path, READ) as descriptor, suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    return True


class _Held:
    """An acquired lock that knows which file it locked; closing the file frees it."""

    def __init__(self, path: str, descriptor: int, note: str) -> None:
        self.path, self.descriptor = path, descriptor
        status = os.fstat(descriptor)
        self.identity = (status.st_dev, status.st_ino)
        with suppress(OSError):  # a note for those who wait is not worth a failure on a full disk
            _leave(descriptor, note)

    def same(self) -> bool:
        """Whether its path still leads to this file; the folders above are looked at anew, which no lock does."""
        inside = os.path.dirname(self.path)
        resource = os.path.dirname(inside)
        for folder in (os.path.dirname(resource), resource, inside):
            refresh(folder)
        try:
            status = os.lstat(self.path)
        except OSError as error:
            if error.errno not in GONE:
                raise
            return False
        return (status.st_dev, status.st_ino) == self.identity

    def release(self) -> None:
        os.close(self.descriptor)


def _leave(held: int, note: str) -> None:
    """Write a note into a locked file, by a second descriptor that is closed at once: then NFS has it on the server."""
    descriptor = os.open(f"/proc/self/fd/{held}", os.O_RDWR) if sys.platform == "linux" else os.dup(held)
    try:
        os.pwrite(descriptor, note.encode()[:_NOTE].ljust(_NOTE), 0)
    finally:
        os.close(descriptor)


def _acquired(path: str, mode: int, deadline: float, note: str, waiting: Callable[[str], None]) -> _Held:
    """Try, and try again every 10 ms; FileNotFoundError when the folder is gone, of which nothing is made anew."""
    patience = settling = time.monotonic() + _PATIENCE
    while True:
        try:
            held = _tried(path, mode, note)
        except PermissionError:
            if mode & 0o060 and time.monotonic() < settling:  # a colleague has not yet given it to the team
                time.sleep(_PAUSE)
                continue
            raise Denied(f"{path} may not be opened by you", hint="its owner and mode decide who may write") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
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
        with naming(path):  # ESTALE: the resource went with it, between two of these lines
            see_single(descriptor, path)
            if lock_descriptor(descriptor, blocking=False):
                held, descriptor = _Held(path, descriptor, note), -1
                return held
            return None
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _opened(path: str, mode: int) -> int:
    """The lock file, made with just this mode if it is not there; a peer may make it first."""
    for _ in range(3):
        with suppress(FileNotFoundError):
            return opened(path, _OPEN)
        with suppress(FileExistsError):
            descriptor = opened(path, _OPEN | os.O_CREAT | os.O_EXCL, mode & 0o600)
            try:
                _settle(descriptor, os.path.dirname(path), mode)
            except BaseException:
                os.close(descriptor)
                raise
            return descriptor
        refresh(os.path.dirname(path))  # NFS remembers for half a minute that a name was not there
    return opened(path, _OPEN)


def _settle(descriptor: int, folder: str, mode: int) -> None:
    """The mode of a new lock, and in a team the group of its folder, whatever the umask and the file system."""
    gid = os.lstat(folder).st_gid
    if mode & 0o060 and os.fstat(descriptor).st_gid != gid:
        with suppress(PermissionError):
            os.chown(descriptor, -1, gid)
    os.fchmod(descriptor, mode)


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
