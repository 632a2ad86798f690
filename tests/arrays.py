"""Arrays of documents written by hand, as the two generations of docarray write them; docarray is not needed."""

from __future__ import annotations

import gzip
import struct

from tests.conftest import PROJECT

SAVED = sorted((PROJECT / "fixtures/arrays").rglob("*.bin"))
"""What docarray itself saved, of both generations (tests/make_arrays.py)."""


def message(number: int, content: bytes) -> bytes:
    """A field of bytes in protobuf's wire format."""
    assert len(content) < 1 << 21
    size, length = len(content), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def old_document(text: bytes) -> bytes:
    """A Document of docarray 0.21 with an id and a text."""
    return message(1, b"a") + message(4, text)


def new_document(**values: bytes) -> bytes:
    """A document of docarray 0.41 whose fields are nodes: `text=message(1, b"hello")`."""
    return b"".join(message(1, message(1, name.encode()) + message(2, node)) for name, node in sorted(values.items()))


def stream(generation: int, *documents: bytes) -> bytes:
    """The documents of a stream: a version, a count, and each with its length before it."""
    lengths = (len(document).to_bytes(4, "big") + document for document in documents)
    return bytes([generation]) + len(documents).to_bytes(8, "big") + b"".join(lengths)


def array(*texts: bytes) -> bytes:
    """A DocumentArray as the old clients kept it: each document compressed by gzip."""
    return stream(1, *(gzip.compress(old_document(text), mtime=0) for text in texts))


def tensor(dtype: str, shape: tuple[int, ...], numbers: bytes) -> bytes:
    """The node of a tensor of docarray 0.41; its sides are less than 128."""
    dense = message(1, numbers) + message(2, bytes(shape)) + message(3, dtype.encode())
    return message(6, message(1, dense))


def text(content: str) -> bytes:
    """The node of a text."""
    return message(1, content.encode())


def number(value: float) -> bytes:
    """The node of a float."""
    return bytes([3 << 3 | 1]) + struct.pack("<d", value)
