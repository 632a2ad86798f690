"""The lock of a resource: one writer at a time, freed by the kernel when its holder dies.

It only orders writers; nothing tears without it. The file is 0600 (0660 in a team), since whoever may open a
lock file may hold it for ever.

>>> import tempfile
>>> with held(tempfile.mkdtemp() + "/lock", mode=0o600, timeout=1, note="me"):
...     pass
"""

from __future__ import annotations

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
    import fcntl  # not on every system

    descriptor = open_file(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


class _Held:
    """An acquired FileLock that knows which file it locked."""

    def __init__(self, path: str, mode: int, note: str) -> None:
        from filelock import FileLock  # 25 ms that readers do not need

        self.path, self.note, self.identity = path, note, (0, 0)
        self.lock = FileLock(
            path,
            mode=mode,
            thread_local=False,
            fallback_to_soft=False,  # a soft lock outlives the host that held it
            on_acquired=self.acquired,
        )
        self.release = self.lock.release

    def acquired(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        self.identity = (status.st_dev, status.st_ino)
        with suppress(OSError):  # a note for those who wait is not worth a failure on a full disk
            os.pwrite(descriptor, self.note.encode()[:_NOTE].ljust(_NOTE), 0)

    def same(self) -> bool:
        try:
            status = os.lstat(self.path)
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) == self.identity


def _acquired(path: str, mode: int, deadline: float, note: str, waiting: Callable[[str], None]) -> _Held:
    """Try, and try again every 10 ms; FileNotFoundError when the folder is gone, which FileLock would make anew."""
    from filelock import Timeout  # as above

    held = _Held(path, mode, note)
    patience = time.monotonic() + _PATIENCE
    while True:
        os.lstat(os.path.dirname(path))
        try:
            held.lock.acquire(timeout=0)
        except Timeout:
            if time.monotonic() >= deadline:
                raise _timeout(path) from None
        except PermissionError:
            raise Denied(f"{path} may not be opened by you", hint="its owner and mode decide who may write") from None
        except NotImplementedError:
            raise LhubError(
                f"{path} cannot be locked: this file system has no locks", hint="mount it with locks"
            ) from None
        else:
            return held
        if time.monotonic() >= patience:
            waiting(holder(path))
            patience = deadline
        time.sleep(_PAUSE)


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
