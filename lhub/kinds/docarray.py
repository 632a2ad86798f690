"""Arrays of documents, as a manifest tells of them: length, fields, and who can read them. docarray is not needed.

>>> import io
>>> look(io.BytesIO(bytes([1]) + (1).to_bytes(8, "big") + (3).to_bytes(4, "big") + bytes([10, 1, 97])), "x")["fields"]
[{'name': 'id', 'type': 'str'}]
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from io import BytesIO
from itertools import islice
from typing import IO, Any

from lhub.errors import UsageError
from lhub.kinds.forms import COMPRESSIONS, PROTOCOLS, Form, documents, form_of, opened
from lhub.kinds.pickled import KEPT, Begun, skeleton
from lhub.kinds.shapes import NEW, OLD, Field, Kind, Shape, Shapes, pickled_shape, values_of

STEM = "documents"
"""What the one file of an array is called, before the endings by which `load_binary` reads it."""
WRITERS = {OLD: "<0.30", NEW: ">=0.30"}
"""Which docarray writes, and reads, a generation."""
_VERSION = r"[0-9]{1,4}(\.[0-9a-z]{1,12}){1,5}"
_MOST_FIELDS, _LONGEST_NAME = 256, 256
"""Fields that a manifest tells of, and characters of their names."""
_LOOKED_AT, _IN_ALL = 8 << 20, 32 << 20
"""Bytes of a document whose values are shown, and of all such documents."""


def look(file: IO[bytes], name: str) -> dict[str, Any] | None:
    """What a manifest tells of the array in a file; None for anything else; UsageError for one that is not whole."""
    form = form_of(file)
    if form is None:
        return None
    summary = Summary()
    try:
        for shape in _shapes(file, form):
            summary.add(shape)
    except ValueError as error:
        if form.protocol == "protobuf-array":  # which has no head: other messages may begin alike
            return None
        raise UsageError(
            f"{name} is an array of documents that is not whole: {error}",
            hint="write it again with save_binary; in a folder of its own it can be pushed as it is",
        ) from None
    return summary.about(form, WRITERS[form.generation])


def form_told(about: Mapping[str, Any]) -> Form | None:
    """How an array is written, by its manifest; None where that does not tell."""
    writer, protocol, compress = (about.get(key) for key in ("docarray", "protocol", "compress"))
    known = isinstance(writer, str) and (writer in WRITERS.values() or re.fullmatch(_VERSION, writer))
    if not known or protocol not in PROTOCOLS or compress not in (None, *COMPRESSIONS):
        return None
    return Form(generation_of_writer(str(writer)), str(protocol), compress)


def generation_of_writer(writer: str) -> int:
    """The generation that a version of docarray writes (``0.21.0``), or that `WRITERS` says."""
    if writer in WRITERS.values():
        return OLD if writer == WRITERS[OLD] else NEW
    major, minor, *_ = [*writer.split("."), "", ""]
    return OLD if major == "0" and minor.isdecimal() and int(minor) < 30 else NEW


def first_documents(file: IO[bytes], form: Form, most: int) -> Iterator[list[Field]]:
    """The fields of the first documents; of a pickle nothing.

    Somebody else may have written them: no more is read than such a look is worth. ValueError for larger ones.
    """
    left = _IN_ALL
    for document in islice(documents(file, form, limit=_LOOKED_AT), 0 if form.is_pickle else most):
        left -= len(document)
        if left < 0:
            return
        yield list(islice(values_of(document, form.generation), _MOST_FIELDS))


class Summary:
    """What a manifest tells of an array, gathered document by document."""

    def __init__(self) -> None:
        self.length = 0
        self.homogeneous = True
        self.fields: dict[str, Kind] = {}
        self._first: Mapping[str, str] = {}
        self._last: Shape | None = None

    def add(self, shape: Shape) -> None:
        """Count a document."""
        self.length += 1
        if shape == self._last:
            return
        self._last = shape
        types = {name: kind.type for name, kind in shape}
        if self.length == 1:
            self._first = types
        elif types != self._first:
            self.homogeneous = False
        for name, kind in sorted(shape, key=_name):
            if name in self.fields:
                self.fields[name] = _either(self.fields[name], kind)
            elif len(self.fields) < _MOST_FIELDS and len(name) <= _LONGEST_NAME:
                self.fields[name] = kind

    def about(self, form: Form, writer: str) -> dict[str, Any]:
        """What a manifest tells of it; `writer` is the version of docarray, or what `WRITERS` says."""
        told: dict[str, Any] = {
            "length": self.length,
            "homogeneous": self.homogeneous,
            "fields": [_field(name, kind) for name, kind in sorted(self.fields.items(), key=_name)],
            "docarray": writer,
            "protocol": form.protocol,
        }
        return told | ({"compress": form.compress} if form.compress else {})


def _name(field: tuple[str, Kind]) -> str:
    return field[0]


def _either(one: Kind, other: Kind) -> Kind:
    """What is true of both: a size that differs is None, what else differs is not told."""
    if one == other:
        return one
    types = dict.fromkeys((*one.type.split(" | "), *other.type.split(" | ")))
    shape = None
    if one.shape is not None and other.shape is not None and len(one.shape) == len(other.shape):
        shape = tuple(mine if mine == its else None for mine, its in zip(one.shape, other.shape, strict=True))
    return Kind(" | ".join(types), one.dtype if one.dtype == other.dtype else None, shape)


def _field(name: str, kind: Kind) -> dict[str, Any]:
    told: dict[str, Any] = {"name": name, "type": kind.type}
    if kind.dtype is not None:
        told["dtype"] = kind.dtype
    if kind.shape is not None:
        told["shape"] = list(kind.shape)
    return told


# the documents of a file


def _shapes(file: IO[bytes], form: Form) -> Iterator[Shape]:
    """What each document holds."""
    if form.is_pickle and form.in_one:
        yield from _pickled_shapes(skeleton(opened(file, form)), form.generation)
    elif form.is_pickle:
        yield from (_pickled_document(skeleton(BytesIO(data))) for data in documents(file, form))
    else:
        yield from map(Shapes(form.generation).of, documents(file, form))


def _pickled_shapes(array: Any, generation: int) -> Iterator[Shape]:
    """The documents of a pickled array: of a DocList those of its stream, of a DocumentArray what their data hold."""
    if generation == NEW:
        given: tuple[Any, ...] = getattr(array, "given", ())
        if len(given) == 2 and isinstance(given[1], Begun):
            raise UsageError(
                f"this DocList was saved as a pickle of more than {KEPT >> 20} MiB, which nobody can look into",
                hint='docs.save_binary(file, protocol="protobuf") writes it document by document',
            )
        if len(given) != 2 or not isinstance(given[1], bytes):
            raise ValueError("its pickle holds no documents")
        yield from map(Shapes(NEW).of, documents(BytesIO(given[1]), Form(NEW, "protobuf")))
        return
    state = getattr(array, "state", None)
    items = state.get("_data") if isinstance(state, dict) else None
    if not isinstance(items, list):
        raise ValueError("it holds no documents in memory")
    yield from map(_pickled_document, items)


def _pickled_document(document: Any) -> Shape:
    state = getattr(document, "state", None)
    if isinstance(state, dict) and "_data" in state:  # docarray 0.21: a Document, around its data
        state = getattr(state["_data"], "state", None)
    elif isinstance(state, dict) and "__dict__" in state:  # pydantic
        state = state["__dict__"]
    shape: Shape = state if isinstance(state, tuple) else pickled_shape(state)
    return shape
