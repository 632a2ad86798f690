"""What one document holds, by its bytes: its fields and what each is, for docarray's two generations.

The numbers are those of `docarray.proto` of docarray 0.21 (`DocumentProto`) and 0.41 (`DocProto`, `NodeProto`). A
document of neither is a ValueError.

>>> shape_of(bytes([10, 1, 97, 34, 2, 104, 105]), OLD)
(('id', Kind(type='str', dtype=None, shape=None)), ('text', Kind(type='str', dtype=None, shape=None)))
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from lhub.kinds.protobuf import BYTES, FOUR, VARINT, fields, varint

OLD, NEW = 1, 2
"""The generations, `DocumentArray` and `DocList`, by the version byte of their streams."""


class Kind(NamedTuple):
    """What the value of a field is: its `type`, and of a tensor `dtype` and `shape` (None: it differs)."""

    type: str
    dtype: str | None = None
    shape: tuple[int | None, ...] | None = None


Shape = tuple[tuple[str, Kind], ...]
"""A document's fields in the order it has them, and what each is."""

_OLD = {
    1: ("id", "str", BYTES),
    2: ("blob", "bytes", BYTES),
    3: ("tensor", "ndarray", BYTES),
    4: ("text", "str", BYTES),
    5: ("granularity", "int", VARINT),
    6: ("adjacency", "int", VARINT),
    7: ("parent_id", "str", BYTES),
    8: ("weight", "float", FOUR),
    9: ("uri", "str", BYTES),
    10: ("modality", "str", BYTES),
    11: ("mime_type", "str", BYTES),
    12: ("offset", "float", FOUR),
    13: ("location", "list", BYTES),
    14: ("chunks", "documents", BYTES),
    15: ("matches", "documents", BYTES),
    16: ("embedding", "ndarray", BYTES),
    17: ("tags", "dict", BYTES),
    18: ("scores", "dict", BYTES),
    19: ("evaluations", "dict", BYTES),
    20: ("_metadata", "dict", BYTES),
}
_NEW = {
    1: "str",
    2: "int",
    3: "float",
    4: "bool",
    5: "bytes",
    6: "ndarray",
    7: "document",
    8: "documents",
    9: "list",
    10: "set",
    11: "tuple",
    12: "dict",
}
_TYPE = 13
NONE = Kind("none")
_COUNTED = ("int", "bool")
"""What is written as a varint, which ends where its bytes say."""
_KEPT = 4096
"""Bytes of a document that are compared with the next, and lengths of documents of which they are kept."""
_RANK = 64
"""Dimensions of a tensor; numpy has as many."""
_LONGEST = 80
"""Characters of a value that a person is shown."""


def shape_of(document: bytes, generation: int) -> Shape:
    """The fields of a document."""
    return tuple((value.name, value.kind) for value in _values(document, generation))


class Shapes:
    """The shapes of many documents of a generation.

    Most are as long as one before them and differ from it in their values only: that all their other bytes are the same
    is seen eight times as fast as what they mean.
    """

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self._known: dict[int, tuple[Shape, list[tuple[int, int, bytes]], list[tuple[int, int]]]] = {}

    def of(self, document: bytes) -> Shape:
        """The fields of a document; ValueError for what is none."""
        known = self._known.get(len(document))
        if known is not None:
            for start, end, same in known[1]:
                if document[start:end] != same:
                    break
            else:
                if all(varint(document, start, end)[1] == end for start, end in known[2]):
                    return known[0]
        values = list(_values(document, self.generation))
        shape = tuple((value.name, value.kind) for value in values)
        between = _between(document, [value.free for value in values])
        if sum(end - start for start, end, _ in between) <= _KEPT:
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[len(document)] = shape, between, [value.free for value in values if value.written in _COUNTED]
        return shape


def _between(document: bytes, free: list[tuple[int, int]]) -> list[tuple[int, int, bytes]]:
    """All of a document but the values that may be any."""
    starts, ends = [0, *(end for _, end in sorted(free))], [*(start for start, _ in sorted(free)), len(document)]
    return [(start, end, document[start:end]) for start, end in zip(starts, ends, strict=True) if start < end]


def generation_of(document: bytes) -> int | None:
    """Whose document it is; None for neither's. One that is empty is nobody's."""
    for generation in (NEW, OLD):
        try:
            if shape_of(document, generation):
                return generation
        except ValueError:
            continue
    return None


class Field(NamedTuple):
    """A field of a document: its name, what it is, its value for a person's eye, and its bytes (a tensor's numbers)."""

    name: str
    kind: Kind
    shown: str
    data: bytes


def values_of(document: bytes, generation: int) -> Iterator[Field]:
    """Each field of a document."""
    for value in _values(document, generation):
        shown = _shown(value, document[value.start : value.end])
        yield Field(value.name, value.kind, shown, document[slice(*value.free)])


class _Value(NamedTuple):
    """One field of a document: its name, what it is, how it is written, where its value lies.

    `free` is the part of it that may be anything: all, of a tensor its numbers.
    """

    name: str
    kind: Kind
    written: str
    start: int
    end: int
    free: tuple[int, int]


def _values(document: bytes, generation: int) -> Iterator[_Value]:
    return _old(document) if generation == OLD else _new(document)


def _old(document: bytes) -> Iterator[_Value]:
    """Each field; of one that repeats the first."""
    seen = set()
    for number, wire, start, end in fields(document, 0, len(document)):
        if number not in _OLD or wire != _OLD[number][2]:
            raise ValueError("it is no document of a DocumentArray")
        if number in seen:
            continue
        seen.add(number)
        name, type_, _ = _OLD[number]
        if type_ == "str":
            document[start:end].decode()
        yield _value(document, type_, start, end)._replace(name=name)


def _new(document: bytes) -> Iterator[_Value]:
    for number, wire, start, end in fields(document, 0, len(document)):
        if number != 1 or wire != BYTES:
            raise ValueError("it is no document of a DocList")
        yield _entry(document, start, end)


def _entry(data: bytes, start: int, end: int) -> _Value:
    """One pair of a map: the name of a field, and its node."""
    name, value = "", _Value("", NONE, "none", start, start, (start, start))
    for number, wire, first, last in fields(data, start, end):
        if wire != BYTES or number > 2:
            raise ValueError("it is no field of a document")
        if number == 1:
            name = data[first:last].decode()
        else:
            value = _node(data, first, last)
    return value._replace(name=name)


def _node(data: bytes, start: int, end: int) -> _Value:
    """The value in a node; docarray's own name for it, where it has one, says more than how it is written."""
    content, named, at, behind = 0, "", start, start
    for number, _, first, last in fields(data, start, end):
        if number == _TYPE:
            named = data[first:last].decode()
        elif number in _NEW:
            content, at, behind = number, first, last
        else:
            raise ValueError("it is no value of a document")
    value = _value(data, _NEW.get(content, "none"), at, behind)
    return value._replace(kind=value.kind._replace(type=named)) if named else value


def _value(data: bytes, written: str, start: int, end: int) -> _Value:
    if written == "ndarray":
        kind, free = _tensor(data, start, end)
    else:
        kind, free = Kind(written), (start, end)
    return _Value("", kind, written, start, end, free)


def _tensor(data: bytes, start: int, end: int) -> tuple[Kind, tuple[int, int]]:
    """A tensor, and where its numbers lie; what is not dense has no shape here."""
    dtype, shape, numbers = "", None, (start, start)
    for number, wire, first, last in fields(data, start, end):
        if number == 1 and wire == BYTES:
            dtype, shape, numbers = _dense(data, first, last)
    return Kind("ndarray", dtype_name(dtype) if dtype else None, shape), numbers


def _dense(data: bytes, start: int, end: int) -> tuple[str, tuple[int, ...], tuple[int, int]]:
    dtype, shape, numbers = "", [], (start, start)
    for number, wire, first, last in fields(data, start, end):
        if number == 1 and wire == BYTES:
            numbers = first, last
        elif number == 3 and wire == BYTES:
            dtype = data[first:last].decode()
        elif number == 2 and wire == VARINT:
            shape.append(varint(data, first, last)[0])
        elif number == 2 and wire == BYTES:
            at = first
            while at < last:
                size, at = varint(data, at, last)
                shape.append(size)
    return dtype, _seen(shape), numbers


def _seen(sizes: Sequence[Any]) -> tuple[int, ...]:
    """The sizes of a tensor; ValueError for what none has (docarray writes them in 32 bits)."""
    if len(sizes) > _RANK or any(type(size) is not int or not 0 <= size < 1 << 32 for size in sizes):
        raise ValueError("it is no shape of a tensor")
    return tuple(sizes)


_DTYPES = {"f": "float", "i": "int", "u": "uint", "c": "complex", "b": "bool"}


def dtype_name(code: str) -> str:
    """What numpy calls a dtype: ``float32`` for ``<f4``."""
    kind, size = code.lstrip("<>|=")[:1], code.lstrip("<>|=")[1:]
    if kind not in _DTYPES or not size.isdecimal():
        return code[:40]
    return "bool" if kind == "b" else f"{_DTYPES[kind]}{8 * int(size)}"


# for a person's eye


def _shown(value: _Value, data: bytes) -> str:
    if value.written == "ndarray":
        return f"{value.kind.dtype}{list(value.kind.shape or ())}"
    if value.kind == NONE:
        return "None"
    show = _SHOWN.get(value.written)
    try:
        return show(data) if show else f"{value.kind.type}, {len(data)} bytes"
    except (ValueError, struct.error):
        return f"{value.kind.type}, {len(data)} bytes"


def _text(data: bytes) -> str:
    text = data[: 8 * _LONGEST].decode(errors="ignore")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _whole(data: bytes) -> str:
    value = varint(data, 0, len(data))[0]
    return str(value - (1 << 64) if value >> 63 else value)


def _number(data: bytes) -> str:
    return f"{struct.unpack('<f' if len(data) == 4 else '<d', data)[0]:g}"


_SHOWN: dict[str, Callable[[bytes], str]] = {
    "str": _text,
    "int": _whole,
    "float": _number,
    "bool": lambda data: str(data != b"\0"),
}


# of a pickle's skeleton


def pickled_shape(state: Any) -> Shape:
    """The fields of a document by the state that a pickle gives it: those that are set."""
    if not isinstance(state, dict):
        raise ValueError("it is no document of a pickle")
    return tuple((str(name), _pickled(value)) for name, value in state.items() if _is_set(name, value))


def _is_set(name: object, value: object) -> bool:
    return value is not None and value != {} and name not in ("_reference_doc", "content")


def _pickled(value: Any) -> Kind:
    state = getattr(value, "state", None)
    if getattr(value, "name", "").endswith("._reconstruct") and isinstance(state, tuple) and len(state) > 2:
        code = next((str(given) for given in getattr(state[2], "given", ()) if isinstance(given, str)), "")
        return Kind("ndarray", dtype_name(code) or None, _seen(state[1]) if isinstance(state[1], tuple) else None)
    names = {"Stub": getattr(value, "name", "").rpartition(".")[2]}
    return Kind(names.get(type(value).__name__, type(value).__name__))
