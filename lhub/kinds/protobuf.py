"""Protobuf's wire format (protobuf.dev/programming-guides/encoding), read without a schema, a library or a copy.

>>> list(fields(bytes([0x0A, 2, 0x68, 0x69, 0x10, 7]), 0, 6))
[(1, 2, 2, 4), (2, 0, 5, 6)]
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5
"""How a value is written: as a varint, in eight bytes, as bytes behind their length, in four bytes."""
_FIXED = {EIGHT: 8, FOUR: 4}
_LONGEST = 10
"""Bytes of the longest varint."""


def fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Each field of the message in ``data[at:end]``: its number, its wire type, where its value begins and ends.

    Raises ValueError where those bytes are no message.
    """
    while at < end:
        key = data[at]
        at += 1
        if key > 127:
            key, at = varint(data, at - 1, end)
        wire = key & 7
        if wire == BYTES:
            size = data[at] if at < end else 128
            at += 1
            if size > 127:
                size, at = varint(data, at - 1, end)
        elif wire == VARINT:
            size = varint(data, at, end)[1] - at
        elif wire in _FIXED:
            size = _FIXED[wire]
        else:
            raise ValueError("no wire type")
        if key < 8 or at + size > end:
            raise ValueError("no field" if key < 8 else "cut short")
        yield key >> 3, wire, at, at + size
        at += size


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A whole number, seven bits a byte, and where it ends."""
    value = 0
    for place, byte in enumerate(data[at : min(end, at + _LONGEST)]):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ValueError("no whole number")
