"""Links: where a client fetches bytes without a word about who it is, unguessable and for an hour.

What lies in a version is read there, after every byte of it was verified once; what does not lie there as the client
wants it (an archive, an array in another form) is made once, in a folder that goes with the gateway.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import md5
from threading import Lock
from typing import IO
from urllib.parse import quote

from lhub.disk import Pen
from lhub.errors import Corrupt
from lhub.names import Ref
from lhub.opening import PIECE, digest_of, open_file
from lhub.registry import Registry
from lhub.staging import opened_file
from lhub.store import DAMAGED, Version

HOUR = 3600.0
_MOST_LINKS, _MOST_MADE = 10_000, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a link leads to: how it is opened, what tells it from another, and until when."""

    opened: Callable[[], AbstractContextManager[int]]
    etag: str
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A file that was made for clients: where it lies, and its MD5 (hex), which they ask for."""

    path: str
    md5: str


class Links:
    """The links of one gateway; `base` is its address, `scratch` a folder of its own."""

    def __init__(self, base: str, scratch: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.base, self._scratch, self._clock = base, scratch, clock
        self._targets: OrderedDict[str, Target] = OrderedDict()
        self._made: OrderedDict[str, Made] = OrderedDict()
        self._verified: dict[tuple[str, str], tuple[int, ...]] = {}
        self._lock, self._number = Lock(), 0

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
        key = version.id, path
        with version.file(path) as descriptor:
            stamp = _stamp(descriptor)
            if self._verified.get(key) != stamp:
                if digest_of(descriptor)[0] != version.sums()[path]:
                    raise Corrupt(f"{path} of {version.where} is not what was published", hint=DAMAGED)
                self._verified[key] = stamp
        return self._link(ref.resource, version.sums()[path], partial(_payload, registry, ref, path))

    def to_made(self, key: str, file: str, make: Callable[[IO[bytes]], None]) -> tuple[str, str]:
        """A link to what `make` writes, once for each `key`, and its MD5."""
        made = self._made.get(key) or self._make(key, make)
        return self._link(file, made.md5, partial(opened_file, made.path)), made.md5

    def _make(self, key: str, make: Callable[[IO[bytes]], None]) -> Made:
        with self._lock:
            self._number += 1
            path = f"{self._scratch}/{self._number}"
        try:
            with os.fdopen(Pen().open_new(path, 0o600), "w+b") as file:
                make(file)
        except BaseException:
            Pen().unlink(path)
            raise
        made = Made(path=path, md5=_md5(path))
        with self._lock:
            self._made[key] = made
            old = self._made.popitem(last=False)[1] if len(self._made) > _MOST_MADE else None
        if old is not None:  # who has it open reads it to its end
            Pen().unlink(old.path)
        return made


@contextmanager
def _payload(registry: Registry, ref: Ref, path: str) -> Iterator[int]:
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
