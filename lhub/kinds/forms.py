"""How docarray writes an array to a file: recognised by its first document, and taken apart into documents.

Each generation has four forms, by `protocol`: ``protobuf`` and ``pickle`` begin with a version byte and a count and
have each document behind its length, compressed by itself; ``protobuf-array`` and ``pickle-array`` are one message or
pickle, compressed as a whole (docarray 0.21 `BinaryIOMixin`, 0.41 `IOMixinDocList`). What begins as one and is not
whole is a ValueError.

>>> import io
>>> file = io.BytesIO(bytes([1]) + (1).to_bytes(8, "big") + (3).to_bytes(4, "big") + bytes([10, 1, 97]))
>>> form_of(file)
Form(generation=1, protocol='protobuf', compress=None)
>>> list(documents(file, form_of(file)))
[b'\\n\\x01a']
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, cast

from lhub.kinds.pickled import first_named, is_document
from lhub.kinds.protobuf import varint
from lhub.kinds.shapes import generation_of

PROTOCOLS = ("protobuf", "protobuf-array", "pickle", "pickle-array")
HEADER = 9
"""Bytes of a version and a count."""
_HEAD = 512
_PORTION = 1 << 20
_FIRST = 256 << 20
"""Bytes of the first document, by which an array is recognised."""
_FIELD, _LENGTH = 10, 11
"""The byte that begins a message of field 1, and the most bytes that it takes together with its length."""

_MAGIC = {
    "gzip": (b"\x1f\x8b\x08",),
    "bz2": (b"BZh",),
    "lzma": (b"\xfd7zXZ\0",),
    "lz4": (b"\x04\x22\x4d\x18",),
    "zlib": (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"),
}
COMPRESSIONS = tuple(_MAGIC)
_DAMAGE = (OSError, EOFError, RuntimeError, MemoryError, lzma.LZMAError, zlib.error)
"""What the libraries raise for what does not expand, or for what says that it needs more memory than there is."""


@dataclass(frozen=True, slots=True)
class Form:
    """How an array is written: by which generation, in which of docarray's protocols, compressed with what."""

    generation: int
    protocol: str
    compress: str | None = None

    @property
    def in_one(self) -> bool:
        """Whether it is one message or pickle, not one for each document."""
        return self.protocol.endswith("-array")

    @property
    def is_pickle(self) -> bool:
        """Whether to load it runs what it says."""
        return self.protocol.startswith("pickle")

    @property
    def endings(self) -> str:
        """What `load_binary` of both generations reads from a file's name."""
        return f".{self.protocol}" + (f".{self.compress}" if self.compress else "")


def form_of(file: IO[bytes]) -> Form | None:
    """The form of the array in a file; None for a file of anything else."""
    whole = _compression(_begin(file))
    with suppress(ValueError, ImportError, *_DAMAGE):  # what only looked compressed, or has no lz4 here, is no array
        return _form(_expanded_file(file, whole), whole)
    return None


def _begin(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read(_HEAD)


def _form(file: IO[bytes], whole: str | None) -> Form | None:
    head = file.read(_HEAD)
    if named := first_named(head):
        array = 1 if named.startswith("docarray.array.") else 2 if named.startswith("docarray.unpickle_") else 0
        return Form(array, "pickle-array", whole) if array else None
    if head[:1] in (b"\1", b"\2") and whole is None:
        return _stream_form(file, head)
    if head[:1] == b"\n":
        generation = generation_of(next(_parts(file, head, limit=_FIRST)))
        return Form(generation, "protobuf-array", whole) if generation else None
    return None


def _stream_form(file: IO[bytes], head: bytes) -> Form | None:
    file.seek(HEADER)
    if head[1:HEADER] == bytes(8) and len(head) == HEADER:
        return Form(head[0], "protobuf")
    first = next(_items(file, 1, _FIRST))
    compress = _compression(first)
    content = expand(first, compress, limit=_FIRST)
    if is_document(content):
        return Form(head[0], "pickle", compress)
    return Form(head[0], "protobuf", compress) if generation_of(content) == head[0] else None


def documents(file: IO[bytes], form: Form, *, limit: int = 0) -> Iterator[bytes]:
    """Each document's bytes, expanded; of a `pickle-array` there is none by itself.

    ValueError for what is not whole, and for a document of more than `limit` bytes, if that is given.
    """
    if not form.in_one:
        count = int.from_bytes(_begin(file)[1:HEADER], "big")
        file.seek(HEADER)
        for item in _items(file, count, limit):
            yield expand(item, form.compress, limit=limit)
        if file.read(1):
            raise ValueError(f"there is more behind its {count} documents")
        return
    try:
        yield from _parts(opened(file, form), limit=limit)
    except _DAMAGE as error:
        raise ValueError(f"it does not expand: {error}") from None


def _items(file: IO[bytes], count: int, limit: int = 0) -> Iterator[bytes]:
    """The items of a stream, each behind its length."""
    at = file.tell()
    file.seek(0, os.SEEK_END)
    left = file.tell() - at
    file.seek(at)
    for number in range(count):
        size = int.from_bytes(file.read(4), "big")
        left -= size + 4
        if left < 0:
            raise ValueError(f"{count} documents were written, {number} are there")
        if 0 < limit < size:
            raise ValueError(f"a document has {size} bytes")
        yield file.read(size)


def _parts(file: IO[bytes], data: bytes = b"", *, limit: int = 0) -> Iterator[bytes]:
    """The messages of field 1 that a message consists of, read portion by portion."""
    number = at = 0
    while True:
        if len(data) - at < _LENGTH and (more := file.read(_PORTION)):
            data, at = data[at:] + more, 0
        if at == len(data):
            return
        number += 1
        size, start = varint(data, at + 1, len(data)) if data[at] == _FIELD else (-1, 0)
        if 0 < limit < size:
            raise ValueError(f"a document has {size} bytes")
        if start + size > len(data):
            data, start, at = data[at:] + _read(file, start + size - len(data)), start - at, 0
        if size < 0 or start + size > len(data):
            raise ValueError(f"document {number} is not whole")
        yield data[start : start + size]
        at = start + size


def _read(file: IO[bytes], size: int) -> bytes:
    """So many bytes, or what is left: room is made for what is there, not for what is said."""
    pieces = []
    while size > 0 and (piece := file.read(min(size, 64 * _PORTION))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


# compression


def _compression(head: bytes) -> str | None:
    """What something is compressed with, by its first bytes."""
    return next((name for name, magics in _MAGIC.items() if head.startswith(magics)), None)


def expand(data: bytes, compress: str | None, *, limit: int = 0) -> bytes:
    """One document's bytes, or the first `limit` of them.

    ValueError for what does not expand, ImportError for lz4 where that is not installed.
    """
    if compress is None:
        return data
    try:
        return _begun(data, compress, limit) if limit else _expanders(compress)(data)
    except _DAMAGE as error:
        raise ValueError(f"a document does not expand: {error}") from None


def _expanders(compress: str) -> Callable[[bytes], bytes]:
    if compress == "lz4":
        import lz4.frame  # who wrote so has it

        return cast("Callable[[bytes], bytes]", lz4.frame.decompress)
    known: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.decompress,
        "bz2": bz2.decompress,
        "lzma": lzma.decompress,
        "zlib": zlib.decompress,
    }
    return known[compress]


def _begun(data: bytes, compress: str, limit: int) -> bytes:
    """The first bytes of what could expand to any size."""
    if compress == "lz4":
        import lz4.frame  # as above

        return cast("bytes", lz4.frame.LZ4FrameDecompressor().decompress(data, limit))
    if compress == "bz2":
        return bz2.BZ2Decompressor().decompress(data, limit)
    if compress == "lzma":
        return lzma.LZMADecompressor().decompress(data, limit)
    return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(data, limit)  # of both headers


def opened(file: IO[bytes], form: Form) -> IO[bytes]:
    """The file of an array that is one message or pickle, as it is inside."""
    return _expanded_file(file, form.compress)


def _expanded_file(file: IO[bytes], whole: str | None) -> IO[bytes]:
    """A file as it is inside, from its beginning."""
    file.seek(0)
    if whole == "lz4":
        import lz4.frame  # as above

        return cast("IO[bytes]", lz4.frame.LZ4FrameFile(file))
    if whole == "gzip":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    if whole == "bz2":
        return cast("IO[bytes]", bz2.BZ2File(file))
    return cast("IO[bytes]", lzma.LZMAFile(file)) if whole == "lzma" else file
