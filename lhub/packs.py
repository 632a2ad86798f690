"""Git's packs, several as one: a stream of their objects as they lie, for `git index-pack`, which checks them all.

The entries of a pack name others by their distance or their digest, so that packs behind one another are a pack, but
for the head, which counts, and the digest at the end (gitformat-pack).

>>> empty = b"PACK" + (2).to_bytes(4, "big") + (0).to_bytes(4, "big")
>>> import tempfile
>>> with tempfile.NamedTemporaryFile() as file:
...     _ = file.write(empty + sha1(empty).digest()), file.flush()
...     [piece[:4] for piece in joined([file.name, file.name])][0]
b'PACK'
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from hashlib import sha1

from lhub.errors import Corrupt
from lhub.opening import PIECE, open_file, read_small

_HEAD = struct.Struct(">4sII")
_DIGEST = 20


def is_whole(path: str, limit: int) -> bool:
    """Whether a pack of up to `limit` bytes is what git wrote, as far as its own digest tells."""
    try:
        data = read_small(path, limit=limit)
    except (OSError, Corrupt):
        return False
    return data[:8] == b"PACK\0\0\0\2" and sha1(data[:-_DIGEST], usedforsecurity=False).digest() == data[-_DIGEST:]


def joined(packs: Sequence[str]) -> Iterator[bytes]:
    """The packs as one, piece by piece; Corrupt for a file that is none."""
    with ExitStack() as stack:
        opened = []
        for path in packs:
            opened.append(open_file(path))
            stack.callback(os.close, opened[-1])
        number = sum(map(_number, opened))
        whole = sha1(usedforsecurity=False)
        for piece in _pieces(opened, number):
            whole.update(piece)
            yield piece
        yield whole.digest()


def _number(pack: int) -> int:
    """How many objects a pack has."""
    head = os.pread(pack, _HEAD.size, 0)
    if len(head) < _HEAD.size or head[:8] != b"PACK\0\0\0\2":
        raise Corrupt("a pack of the diary is none", hint="lhub verify --repair begins it anew")
    return int(_HEAD.unpack(head)[2])


def _pieces(packs: Sequence[int], number: int) -> Iterator[bytes]:
    yield _HEAD.pack(b"PACK", 2, number)
    for pack in packs:
        at, end = _HEAD.size, os.fstat(pack).st_size - _DIGEST
        while at < end and (piece := os.pread(pack, min(PIECE, end - at), at)):
            yield piece
            at += len(piece)
