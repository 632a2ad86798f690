"""The inbox: where an upload lies while it arrives, since what it shall be called may come behind its bytes.

It is a folder of the namespace that it will be pushed to, 0700, on the same file system: what has arrived is pushed by
a second name for it, not by a second copy. Its lock is held by whoever receives; when that is free, he is dead, and the
next one sweeps.

>>> import tempfile
>>> from lhub.session import person
>>> session = Session(root=tempfile.mkdtemp() + "/registry", caller="alice", person=person())
>>> with inbox(session) as place:
...     place.receive([b"hello ", b"world"], "greeting").size
11
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from lhub.disk import Pen
from lhub.errors import LhubError
from lhub.layout import INBOX, STAGING, NamespaceFolder
from lhub.lock import held, is_free
from lhub.names import is_inside
from lhub.opening import listed
from lhub.session import Session
from lhub.spaces import claim, claim_unnamed

_YOUNG, _LOCKLESS = 60.0, 3600.0
"""Seconds in which an inbox is somebody's whatever its lock says, and in which one without a lock is: it is made, and
taken, in the next moment.
"""
_FILE = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A file that has arrived: where it lies, its SHA-256 (64 hex digits), its bytes."""

    path: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbox:
    """A folder for one upload; all that is in it is gone at the end."""

    pen: Pen
    folder: str

    def receive(self, pieces: Iterable[bytes], name: str) -> Received:
        """Write a file as its pieces come; `name` is one part of a path."""
        if "/" in name or not is_inside(name):
            raise ValueError(f"{name!r} is no name of a file")
        path = f"{self.folder}/{name}"
        digest, size = self.pen.write_pieces(pieces, path, _FILE)
        return Received(path=path, digest=digest, size=size)

    def sub(self, name: str) -> str:
        """A new folder in it."""
        self.pen.make_folder(f"{self.folder}/{name}", STAGING)
        return f"{self.folder}/{name}"


@contextmanager
def inbox(session: Session) -> Iterator[Inbox]:
    """A place for one upload, in the caller's namespace, or beside what has none where nobody is logged in."""
    namespace = session.caller
    claim(session, namespace) if namespace else claim_unnamed(session)
    space = session.folder.namespace(namespace)
    folder = space.inbox(session.unique())
    if not session.pen.make_folder(folder, STAGING):
        raise LhubError(f"{folder} was put there by somebody else", hint="send it again")
    try:
        with held(_lock(folder), mode=_FILE, timeout=10, note=session.writer().note):
            for left in abandoned(session, space, now=os.stat(folder).st_mtime):  # the server's clock: it was just made
                with suppress(FileNotFoundError):  # somebody else sweeps
                    session.pen.remove_tree(left)
            yield Inbox(pen=session.pen, folder=_made(session, folder))
    finally:
        session.pen.remove_tree(folder)


def _lock(folder: str) -> str:
    return f"{folder}/lock"


def _made(session: Session, folder: str) -> str:
    """The folder for what arrives, apart from the lock."""
    session.pen.make_folder(f"{folder}/files", STAGING)
    return f"{folder}/files"


def abandoned(session: Session, space: NamespaceFolder, *, now: float) -> Iterator[str]:
    """What dead receivers of this user left in a namespace, at a moment by the file server's clock."""
    for entry in listed(space.path):
        if not entry.name.startswith(INBOX):
            continue
        with suppress(FileNotFoundError):  # it has ended
            status = entry.stat(follow_symlinks=False)
            mine = stat.S_ISDIR(status.st_mode) and status.st_uid == session.uid
            if mine and is_abandoned(entry.path, age=now - status.st_mtime):
                yield entry.path


def is_abandoned(folder: str, *, age: float) -> bool:
    """Whether the receiver of an inbox is dead; `age` is how many seconds ago it was made."""
    try:
        return age > _YOUNG and is_free(_lock(folder))
    except FileNotFoundError:
        return age > _LOCKLESS
