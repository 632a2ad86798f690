"""docarray since 0.30: documents have a schema. Its own way to bytes and back is taken, and a quick one beside it.

Two thirds of `to_protobuf` and nine tenths of `from_protobuf` (0.41) go into asking what each value is. For texts,
numbers, ids, numpy tensors, lists and dicts of those, and documents of them that is known here. A schema with a way of
its own (another `to_protobuf` or `from_protobuf`) keeps it. What the quick way gives for the first document of each
class is compared with docarray's own answer; where they differ, docarray does them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
from docarray import DocList
from docarray.array.any_array import AnyDocArray
from docarray.base_doc import doc as base
from docarray.base_doc.any_doc import AnyDoc
from docarray.proto import DocProto
from docarray.typing import ID, NdArray
from docarray.utils._internal.progress_bar import _get_progressbar

from lhub.documents.codec import bar
from lhub.errors import UsageError
from lhub.kinds.shapes import NEW, NONE, Kind, Shape, Shapes, dtype_name

_DOCUMENT: type = getattr(base, "BaseDocWithoutId", base.BaseDoc)
_PLAIN = {str: "text", int: "integer", float: "float", bool: "boolean", bytes: "blob"}
_CONTENTS = frozenset(_PLAIN.values())
_KINDS = {kind: Kind(kind.__name__) for kind in (*_PLAIN, list, set, tuple, dict)}
_MANY: dict[str, Callable[[Any], Any]] = {"list": list, "set": set, "tuple": tuple}
_ID, _TENSOR = "id", "ndarray"
_ID_KIND, _DOCUMENT_KIND = Kind(_ID), Kind("document")
_OWN_WRITING = ("to_protobuf", "_to_node_protobuf", "__iter__")
_OWN_READING = ("from_protobuf", "_get_content_from_node_proto", "_get_field_annotation")


class DocListCodec:
    """See `Codec`."""

    document: type = _DOCUMENT

    def __init__(self) -> None:
        self._quick: dict[type, bool] = {}
        self._shapes = Shapes(NEW)

    def encode(self, document: Any) -> tuple[bytes, Shape]:
        """See `Codec`."""
        made = self._made(document)
        if made is not None:
            return made[0].SerializePartialToString(deterministic=True), made[1]
        data = document.to_protobuf().SerializePartialToString(deterministic=True)
        return data, self._shapes.of(data)

    def _made(self, document: Any) -> tuple[Any, Shape] | None:
        """The message of a document and what it holds, the quick way; None where docarray shall write it."""
        kind: Any = type(document)
        quick = self._quick.get(kind)
        if quick is None:
            quick = self._quick[kind] = _is_plain(kind, _OWN_WRITING)
            made = _message(document) if quick else None
            self._quick[kind] = made is not None and made[0] == document.to_protobuf()
            return made if self._quick[kind] else None
        return _message(document) if quick else None

    def decoder(self, doc_type: Any) -> Callable[[bytes], Any]:
        """See `Codec`."""
        wanted = _schema(doc_type) or AnyDoc
        if not (isinstance(wanted, type) and issubclass(wanted, _DOCUMENT)):
            raise UsageError(f"{wanted!r} is no schema of documents", hint="doc_type=MyDoc, a class of BaseDoc's")
        return _Decoder(wanted)

    def array(self, documents: Iterator[Any], doc_type: Any) -> Any:
        """See `Codec`."""
        if (kind := _array(doc_type)) is not None:
            return doc_type(documents) if issubclass(kind, DocList) else doc_type(list(documents))
        return DocList[doc_type](documents) if doc_type else DocList(documents)

    def progress(self, what: str, total: int | None, *, show: bool) -> Any:
        """See `Codec`."""
        return bar(_get_progressbar, what, total, show=show)


def _array(doc_type: Any) -> Any:
    """The class of an array with a schema (``DocList[MyDoc]``); None for anything else."""
    kind = getattr(doc_type, "__origin__", doc_type)
    return kind if isinstance(kind, type) and issubclass(kind, AnyDocArray) else None


def _schema(doc_type: Any) -> Any:
    """The schema of documents: that of a list is as good as itself."""
    return doc_type.doc_type if _array(doc_type) is not None else doc_type


@cache
def _is_plain(kind: type, ways: tuple[str, ...]) -> bool:
    """Whether a schema writes, or reads, as docarray does."""
    owner = AnyDoc if issubclass(kind, AnyDoc) else base.BaseDoc if issubclass(kind, base.BaseDoc) else _DOCUMENT
    return all(_function(kind, way) is _function(owner, way) for way in ways)


def _function(kind: type, name: str) -> Any:
    found = getattr(kind, name, None)
    return getattr(found, "__func__", found)


# to bytes


def _message(document: Any) -> tuple[Any, Shape] | None:
    """A document as docarray's message, and what it holds; None for one with a value that docarray must look at."""
    message = DocProto()
    try:
        shape = _fill(message.data, document)
    except (ValueError, TypeError):  # docarray says in which field
        return None
    return None if shape is None else (message, tuple(shape))


def _fill(data: Any, document: Any) -> list[tuple[str, Kind]] | None:
    shape = []
    for name, value in document:
        kind = _put(data[name], value)
        if kind is None:
            return None
        shape.append((name, kind))
    return shape


def _put(node: Any, value: Any) -> Kind | None:
    """Write a value into a node; None for one that docarray must look at."""
    kind = type(value)
    if kind in _PLAIN:
        setattr(node, _PLAIN[kind], value)
        return _KINDS[kind]
    if kind is NdArray:
        return _put_tensor(node, value)
    if kind is ID:
        node.text, node.type = value, _ID
        return _ID_KIND
    if value is None:
        node.Clear()  # to name it has made it
        return NONE
    return _put_many(node, value, kind)


def _put_tensor(node: Any, value: Any) -> Kind:
    if value.dtype.hasobject:
        raise UsageError("a tensor of Python objects is in it, which no file can hold")
    node.type = _TENSOR
    dense = node.ndarray.dense
    dense.buffer, dense.dtype = value.tobytes(), value.dtype.str
    dense.shape.extend(value.shape)
    return _tensor_kind(value.dtype.str, value.shape)


@cache
def _tensor_kind(dtype: str, shape: tuple[int, ...]) -> Kind:
    return Kind(_TENSOR, dtype_name(dtype), shape)


def _put_many(node: Any, value: Any, kind: type) -> Kind | None:
    """Write what has parts."""
    if kind is dict:
        node.dict.SetInParent()
        data = node.dict.data
        whole = all(type(key) is str and _put(data[key], part) is not None for key, part in value.items())
    elif kind in (list, set, tuple):
        parts = getattr(node, kind.__name__)
        parts.SetInParent()
        whole = all(_put(parts.data.add(), part) is not None for part in value)
    elif isinstance(value, _DOCUMENT) and _is_plain(kind, _OWN_WRITING):
        node.doc.SetInParent()
        return None if _fill(node.doc.data, value) is None else _DOCUMENT_KIND
    else:
        return None
    return _KINDS[kind] if whole else None


# from bytes


class _Decoder:
    """Bytes to documents of one schema, whose own validation is what accepts them."""

    def __init__(self, doc_type: Any) -> None:
        self.doc_type = doc_type
        self.every = doc_type is AnyDoc  # it takes fields that no schema names
        self.fields = frozenset(doc_type._docarray_fields()) if hasattr(doc_type, "_docarray_fields") else frozenset()
        plain = _is_plain(doc_type, _OWN_READING)
        self.quick: bool | None = None if plain and (self.every or self.fields) else False
        self.inner: dict[str, _Decoder | None] = {}

    def __call__(self, data: bytes) -> Any:
        message = DocProto.FromString(data)
        values = self.values(message) if self.quick is not False else None
        if values is None:
            return self.doc_type.from_protobuf(message)
        if self.quick is None:
            return self._compared(message, values)
        return self.doc_type(**values)

    def _compared(self, message: Any, values: dict[str, Any]) -> Any:
        """The first document as docarray reads it; from then on the quick way, if it gives the same."""
        own = self.doc_type.from_protobuf(message)
        self.quick = _same(own, self.doc_type(**values))
        return own

    def values(self, message: Any) -> dict[str, Any] | None:
        """The values of a message; None where docarray must look at one."""
        values: dict[str, Any] = {}
        for name, node in message.data.items():
            if not (self.every or name in self.fields):
                continue
            content = node.WhichOneof("content")
            inner = content == "doc" and not node.type
            value = self._document(name, node.doc) if inner else _value(node, content)
            if value is _ASK:
                return None
            values[name] = value
        return values

    def _document(self, name: str, message: Any) -> Any:
        """A document within one, of the schema that its field has."""
        if name not in self.inner:
            wanted = None if self.every else self.doc_type._get_field_annotation(name)
            is_schema = isinstance(wanted, type) and issubclass(wanted, _DOCUMENT) and wanted is not AnyDoc
            self.inner[name] = _Decoder(wanted) if is_schema else None
        inner = self.inner[name]
        values = inner.values(message) if inner is not None and inner.quick is not False else None
        return _ASK if inner is None or values is None else inner.doc_type(**values)


_ASK = object()
"""Stands for a value that docarray must look at."""


def _value(node: Any, content: str | None) -> Any:
    """The value in a node."""
    type_ = node.type
    if content is None:
        return None
    if type_ == _TENSOR and content == "ndarray" and node.ndarray.dense.buffer:
        dense = node.ndarray.dense
        return np.frombuffer(bytearray(dense.buffer), dtype=dense.dtype).reshape(dense.shape).view(NdArray)
    if type_ == _ID and content == "text":
        return ID(node.text)
    if type_:
        return _ASK
    return getattr(node, content) if content in _CONTENTS else _parts(node, content)


def _parts(node: Any, content: str) -> Any:
    """The list, set, tuple or dict in a node."""
    if content == "dict":
        found = {key: _value(part, part.WhichOneof("content")) for key, part in node.dict.data.items()}
        return _ASK if any(value is _ASK for value in found.values()) else found
    if content not in _MANY:
        return _ASK
    values = [_value(part, part.WhichOneof("content")) for part in getattr(node, content).data]
    return _ASK if any(value is _ASK for value in values) else _MANY[content](values)


def _same(one: Any, other: Any) -> bool:
    """Whether two documents hold the same, value by value and type by type."""
    mine, its = dict(one), dict(other)
    return mine.keys() == its.keys() and all(
        type(value) is type(its[name]) and _told(value) == _told(its[name]) for name, value in mine.items()
    )


def _told(value: Any) -> object:
    """What makes a value equal to another; NaN is equal to itself."""
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    if isinstance(value, base.BaseDoc):
        return type(value), [(name, _told(part)) for name, part in value]
    return repr(value)
