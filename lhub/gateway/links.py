"""Links: where a client fetches bytes without a word about who it is, unguessable and for an hour.

What lies in a version is read there, after every byte of it was verified once; what does not lie there as the client
wants it (an archive, an array in another form) is made once, in a folder that goes with the gateway.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import md5
from itertools import count
from threading import Lock
from typing import IO, TypeAlias
from urllib.parse import quote

from lhub.disk import Pen
from lhub.errors import Corrupt
from lhub.names import Ref
from lhub.opening import PIECE, digest_of, open_file
from lhub.registry import Registry
from lhub.staging import opened_file
from lhub.store import DAMAGED, Version

HOUR = 3600.0
_MOST_LINKS, _ROOM = 10_000, 2 << 30
"""Links that hold at once, and bytes of what is made for clients; the newest is kept whatever its size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a link leads to: how it is opened, what tells it from another, and until when."""

    opened: Callable[[], AbstractContextManager[int]]
    etag: str
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A file that was made for clients: where it lies, its MD5 (hex), which they ask for, and its bytes."""

    path: str
    md5: str
    size: int


Make: TypeAlias = Callable[[Version, IO[bytes]], None]
"""Writes something for clients, made of a version."""


class Links:
    """The links of one gateway; `base` is its address, `scratch` a folder of its own."""

    def __init__(self, base: str, scratch: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.base, self._clock = base, clock
        self._shelf = _Shelf(scratch)
        self._targets: OrderedDict[str, Target] = OrderedDict()
        self._verified = Verified()
        self._lock = Lock()

    def find(self, name: str) -> Target | None:
        """What a link leads to, while it holds."""
        target = self._targets.get(name)
        return target if target is not None and self._clock() < target.until else None

    def _link(self, file: str, etag: str, opened: Callable[[], AbstractContextManager[int]]) -> str:
        name = os.urandom(24).hex()
        with self._lock:
            self._targets[name] = Target(opened=opened, etag=etag, until=self._clock() + HOUR)
            while len(self._targets) > _MOST_LINKS:
                self._targets.popitem(last=False)
        return f"{self.base}/download/{name}/{quote(file)}"

    def to_payload(self, registry: Registry, ref: Ref, version: Version, path: str) -> str:
        """A link to a file of a version, every byte of which is what was published; else Corrupt."""
        self._verified.see(version, path)
        return self._link(ref.resource, version.sums()[path], partial(payload, registry, ref, path))

    def verify(self, version: Version, path: str) -> None:
        """Raise Corrupt unless a file is what was published."""
        self._verified.see(version, path)

    def to_made(self, registry: Registry, ref: Ref, file: str, what: str, make: Make) -> tuple[str, str]:
        """A link to what `make` writes of a version, and its MD5; `what` tells it from other things made of that."""
        opened = partial(self._opened, registry, ref, what, make)
        with registry.opened(ref) as version:
            made = self._shelf.made(f"{what} {version.id}", partial(make, version))
        return self._link(file, made.md5, opened), made.md5

    @contextmanager
    def _opened(self, registry: Registry, ref: Ref, what: str, make: Make) -> Iterator[int]:
        """What was made, for who may see the version still; made anew where it had to give way to others."""
        with registry.opened(ref) as version, ExitStack() as stack:
            for last in (False, False, True):
                made = self._shelf.made(f"{what} {version.id}", partial(make, version))
                try:
                    descriptor = stack.enter_context(opened_file(made.path))
                    break
                except FileNotFoundError:  # it gave way just now
                    if last:
                        raise
            yield descriptor


class Verified:
    """The files that were read to their end and found to be what was published."""

    def __init__(self) -> None:
        self._stamps: dict[tuple[str, str], tuple[int, ...]] = {}

    def see(self, version: Version, path: str) -> None:
        """Raise Corrupt unless a file is what was published; what has not changed since is not read again."""
        key = version.id, path
        with version.file(path) as descriptor:
            stamp = _stamp(descriptor)
            if self._stamps.get(key) != stamp:
                grown = os.fstat(descriptor).st_size > version.manifest().bytes  # to be hashed it could take for ever
                if grown or digest_of(descriptor)[0] != version.sums()[path]:
                    raise Corrupt(f"{path} of {version.where} is not what was published", hint=DAMAGED)
                if len(self._stamps) > _MOST_LINKS:
                    self._stamps.clear()
                self._stamps[key] = stamp


class _Shelf:
    """What was made for clients, once for each key, the newest of it as far as there is room."""

    def __init__(self, folder: str) -> None:
        self._folder, self._numbers, self._lock = folder, count(), Lock()
        self._made: OrderedDict[str, Made] = OrderedDict()
        self._locks: dict[str, Lock] = {}

    def made(self, key: str, write: Callable[[IO[bytes]], None]) -> Made:
        """What `write` writes, or wrote."""
        with self._lock:
            only_one = self._locks.setdefault(key, Lock())
        with only_one:
            made = self._made.get(key)
            if made is None:
                made = self._write(f"{self._folder}/{next(self._numbers)}", write)
            with self._lock:
                self._made[key] = made
                self._made.move_to_end(key)
                self._make_room()
        return made

    def _write(self, path: str, write: Callable[[IO[bytes]], None]) -> Made:
        try:
            with os.fdopen(Pen().open_new(path, 0o600), "w+b") as file:
                write(file)
            return Made(path=path, md5=_md5(path), size=os.stat(path).st_size)
        except BaseException:
            Pen().unlink(path)
            raise

    def _make_room(self) -> None:
        """Let the oldest give way; who has it open reads it to its end."""
        while len(self._made) > 1 and sum(each.size for each in self._made.values()) > _ROOM:
            Pen().unlink(self._made.popitem(last=False)[1].path)


@contextmanager
def payload(registry: Registry, ref: Ref, path: str) -> Iterator[int]:
    """A file of a version, for who may see it still."""
    with registry.opened(ref) as version, version.file(path) as descriptor:
        yield descriptor


def _stamp(descriptor: int) -> tuple[int, ...]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _md5(path: str) -> str:
    hasher = md5(usedforsecurity=False)
    descriptor = open_file(path)
    try:
        while piece := os.read(descriptor, PIECE):
            hasher.update(piece)
    finally:
        os.close(descriptor)
    return hasher.hexdigest()
