"""Pictures of values: a tensor that is an image as a PNG, numbers as bars; drawn here, so nothing is loaded for it.

>>> media_of(png(2, 1, 1, bytes([0, 255])))
'image/png'
>>> media_of(b"<svg onload=alert(1)>") is None
True
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from lhub.kinds.shapes import Field

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_CODES = {
    "uint8": "B",
    "bool": "B",
    "int8": "b",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float16": "e",
    "float32": "f",
    "float64": "d",
}
_LARGEST, _SMALLEST = 512, 4
"""Pixels of a side that a picture is drawn with, and from which on a tensor may be one."""
_MOST_VALUES, _BINS = 128, 24
_EMBEDDED = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,([A-Za-z0-9+/=\s]+)")


def media_of(head: bytes) -> str | None:
    """What sort of picture a file begins as: one that browsers draw and never run; None for anything else."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((media for magic, media in _MAGIC if head.startswith(magic)), None)


def picture_of(field: Field) -> tuple[bytes, str] | None:
    """A field as a picture, and its type; None for what is none."""
    if field.kind.shape is not None:
        data = _tensor_picture(field)
        return (data, "image/png") if data else None
    data = field.data
    found = _EMBEDDED.fullmatch(data.decode(errors="ignore")) if data[:11] == b"data:image/" else None
    if found is not None:
        try:
            data = base64.b64decode(found[1])
        except binascii.Error:
            return None
    media = media_of(data[:64])
    return (data, media) if media else None


def has_picture(field: Field) -> bool:
    """Whether a field can be shown as one."""
    if field.kind.shape is not None:
        return _layout(field) is not None
    return media_of(field.data[:64]) is not None or field.data[:11] == b"data:image/"


# tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """How the numbers of a tensor are pixels: its sides, its channels, and whether these come first."""

    width: int
    height: int
    channels: int
    first: bool


def _layout(field: Field) -> _Layout | None:
    """A tensor that can be an image: two sides, and one, three or four channels before or behind them."""
    shape = [size for size in field.kind.shape or () if size is not None]
    if len(shape) == 2:
        shape.append(1)
    if len(shape) != 3 or len(field.kind.shape or ()) < 2 or field.kind.dtype not in _CODES:
        return None
    if shape[2] in (1, 3, 4):
        height, width, channels, first = shape[0], shape[1], shape[2], False
    elif shape[0] in (1, 3, 4):
        channels, height, width, first = shape[0], shape[1], shape[2], True
    else:
        return None
    size = struct.calcsize(_CODES[field.kind.dtype])
    whole = len(field.data) == height * width * channels * size
    return (
        _Layout(width=width, height=height, channels=channels, first=first) if whole and _fits(width, height) else None
    )


def _fits(width: int, height: int) -> bool:
    return min(width, height) >= _SMALLEST and max(width, height) <= 8192


def _tensor_picture(field: Field) -> bytes | None:
    layout = _layout(field)
    if layout is None:
        return None
    step = max(1, -(-max(layout.width, layout.height) // _LARGEST))
    rows, columns = range(0, layout.height, step), range(0, layout.width, step)
    values = numbers(field)
    plane, pixel = layout.width * layout.height, layout.channels
    picked = [
        values[channel * plane + row * layout.width + column]
        if layout.first
        else values[(row * layout.width + column) * pixel + channel]
        for row in rows
        for column in columns
        for channel in range(pixel)
    ]
    return png(len(columns), len(rows), pixel, _bytes(picked, field.kind.dtype or ""))


def _bytes(values: Sequence[float], dtype: str) -> bytes:
    """Values as the brightness of pixels: bytes as they are, others from their least to their greatest."""
    if dtype == "uint8":
        return bytes(int(value) for value in values)
    real = [value for value in values if math.isfinite(value)]
    low, high = min(real, default=0), max(real, default=0)
    if dtype.startswith("float") and low >= 0 and high <= 1:
        low, high = 0, 1  # as most programs keep a picture
    return bytes(int(255 * _part(value, low, high)) if math.isfinite(value) else 0 for value in values)


def _part(value: float, low: float, high: float) -> float:
    """Where a value lies between two, from 0 to 1; halved, since the largest floats have no difference."""
    span = high / 2 - low / 2
    return min(1.0, max(0.0, (value / 2 - low / 2) / span)) if span else 0.0


def numbers(field: Field) -> Sequence[float]:
    """The numbers of a tensor, whole ones only; none of a dtype that is none of C's."""
    code = _CODES.get(field.kind.dtype or "")
    if code is None:
        return ()
    size = struct.calcsize(code)
    data = field.data[: len(field.data) // size * size]
    if code == "e":
        return list(chain.from_iterable(struct.iter_unpack("<e", data)))
    return array(code, data)


def png(width: int, height: int, channels: int, pixels: bytes) -> bytes:
    """A PNG (w3.org/TR/png) of grey, RGB or RGBA pixels of a byte a channel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    colour = {1: 0, 3: 2, 4: 6}[channels]
    row = width * channels
    lines = b"".join(b"\0" + pixels[start : start + row] for start in range(0, len(pixels), row))
    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


# numbers as bars


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """A row of bars: left edge, top, width and height of each in a box of 320 by 80; `words` say what it shows."""

    words: str
    bars: Sequence[tuple[float, float, float, float]]


def histogram(name: str, values: Sequence[float]) -> Bars | None:
    """How often a field has which values; None where all are the same, or none is a number."""
    real = [value for value in values if math.isfinite(value)]
    low, high = min(real, default=0), max(real, default=0)
    if low == high:
        return None
    counts = [0] * _BINS
    for value in real:
        counts[min(_BINS - 1, int(_BINS * _part(value, low, high)))] += 1
    mean = math.fsum(value / len(real) for value in real)
    words = f"{name}: {len(real)} values from {low:g} to {high:g}, mean {mean:g}"
    return Bars(words=words, bars=_bars([float(each) for each in counts]))


def profile(name: str, values: Sequence[float]) -> Bars | None:
    """The numbers of a vector, one bar each; of a long one as many as can be seen."""
    step = max(1, -(-len(values) // _MOST_VALUES))
    real = [value if math.isfinite(value) else 0.0 for value in values[::step]]
    if not real:
        return None
    least, most = min(real), max(real)
    return Bars(words=f"{name}: {len(values)} numbers from {least:g} to {most:g}", bars=_bars(real))


def _bars(values: Sequence[float]) -> Sequence[tuple[float, float, float, float]]:
    low, high, width = min(0.0, *values), max(0.0, *values), 320 / len(values)
    zero = 80 * (1 - _part(0.0, low, high))
    bars = []
    for place, value in enumerate(values):
        edge = 80 * (1 - _part(value, low, high))
        height = max(0.5, abs(edge - zero))
        bars.append((round(place * width, 2), round(min(zero, edge), 2), round(width * 0.9, 2), round(height, 2)))
    return bars
