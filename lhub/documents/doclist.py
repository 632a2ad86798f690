"""docarray since 0.30: documents have a schema. Its own way to bytes and back is taken, and a quick one beside it.

Two thirds of `to_protobuf` and nine tenths of `from_protobuf` (0.41) go into asking what each value is. For texts,
numbers, ids and numpy tensors, of which most documents consist, that is known here. What the quick way gives for the
first document of each class is compared with docarray's own answer; where they differ, docarray does them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
from docarray import DocList
from docarray.base_doc import doc as base
from docarray.base_doc.any_doc import AnyDoc
from docarray.proto import DocProto
from docarray.typing import ID, NdArray
from docarray.utils._internal.progress_bar import _get_progressbar

from lhub.documents.codec import bar
from lhub.errors import UsageError
from lhub.kinds.shapes import NEW, NONE, Kind, Shape, Shapes, dtype_name

_PLAIN = {str: "text", int: "integer", float: "float", bool: "boolean", bytes: "blob"}
_KINDS = {kind: Kind(kind.__name__) for kind in _PLAIN}
_ID, _TENSOR = "id", "ndarray"


class DocListCodec:
    """See `Codec`."""

    document: type = getattr(base, "BaseDocWithoutId", base.BaseDoc)

    def __init__(self) -> None:
        self._quick: dict[type, bool] = {}
        self._shapes = Shapes(NEW)

    def encode(self, document: Any) -> tuple[bytes, Shape]:
        """See `Codec`."""
        made = _message(document) if self._quick.get(type(document), True) else None
        if made is not None and type(document) not in self._quick:
            self._quick[type(document)] = made[0] == document.to_protobuf()
        if made is not None and self._quick[type(document)]:
            return made[0].SerializePartialToString(deterministic=True), made[1]
        data = document.to_protobuf().SerializePartialToString(deterministic=True)
        return data, self._shapes.of(data)

    def decoder(self, doc_type: Any) -> Callable[[bytes], Any]:
        """See `Codec`."""
        wanted = getattr(doc_type, "doc_type", doc_type) or AnyDoc  # DocList[MyDoc] is as good as MyDoc
        if not (isinstance(wanted, type) and issubclass(wanted, self.document)):
            raise UsageError(f"{wanted!r} is no schema of documents", hint="doc_type=MyDoc, a class of BaseDoc's")
        return _Decoder(wanted)

    def array(self, documents: Iterator[Any], doc_type: Any) -> Any:
        """See `Codec`."""
        wanted = getattr(doc_type, "doc_type", doc_type)
        return DocList[wanted](documents) if wanted else DocList(documents)

    def progress(self, what: str, total: int | None, *, show: bool) -> Any:
        """See `Codec`."""
        return bar(_get_progressbar, what, total, show=show)


def _message(document: Any) -> tuple[Any, Shape] | None:
    """A document as docarray's message, and what it holds; None for one with a value that docarray must look at."""
    message, shape = DocProto(), []
    data = message.data
    for name, value in document:
        kind = type(value)
        if kind in _PLAIN:
            setattr(data[name], _PLAIN[kind], value)
            shape.append((name, _KINDS[kind]))
        elif kind is NdArray:
            _put_tensor(data[name], name, value)
            shape.append((name, _tensor_kind(value.dtype.str, value.shape)))
        elif kind is ID:
            node = data[name]
            node.text, node.type = value, _ID
            shape.append((name, _ID_KIND))
        elif value is None:
            data[name].Clear()  # to name it makes it
            shape.append((name, NONE))
        else:
            return None
    return message, tuple(shape)


_ID_KIND = Kind(_ID)


def _put_tensor(node: Any, name: str, value: Any) -> None:
    if value.dtype.hasobject:
        raise UsageError(f"its field {name} is a tensor of Python objects, which no file can hold")
    node.type = _TENSOR
    dense = node.ndarray.dense
    dense.buffer, dense.dtype = value.tobytes(), value.dtype.str
    dense.shape.extend(value.shape)


@cache
def _tensor_kind(dtype: str, shape: tuple[int, ...]) -> Kind:
    return Kind(_TENSOR, dtype_name(dtype), shape)


class _Decoder:
    """Bytes to documents of one schema, whose own validation is what accepts them."""

    def __init__(self, doc_type: Any) -> None:
        self.doc_type = doc_type
        self.every = doc_type is AnyDoc  # it takes fields that no schema names
        self.fields = frozenset(doc_type._docarray_fields()) if hasattr(doc_type, "_docarray_fields") else frozenset()
        self.quick: bool | None = None if self.every or self.fields else False

    def __call__(self, data: bytes) -> Any:
        message = DocProto.FromString(data)
        values = self._values(message) if self.quick is not False else None
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

    def _values(self, message: Any) -> dict[str, Any] | None:
        """The values of a message; None where docarray must look at one."""
        values: dict[str, Any] = {}
        for name, node in message.data.items():
            if not (self.every or name in self.fields):
                continue
            content, type_ = node.WhichOneof("content"), node.type
            if content is None:
                values[name] = None
            elif type_ == _TENSOR and content == "ndarray" and node.ndarray.dense.buffer:
                dense = node.ndarray.dense
                tensor = np.frombuffer(bytearray(dense.buffer), dtype=dense.dtype).reshape(dense.shape)
                values[name] = tensor.view(NdArray)
            elif type_ == _ID and content == "text":
                values[name] = ID(node.text)
            elif not type_ and content in _CONTENTS:
                values[name] = getattr(node, content)
            else:
                return None
        return values


_CONTENTS = frozenset(_PLAIN.values())


def _same(one: Any, other: Any) -> bool:
    """Whether two documents hold the same, value by value and type by type."""
    mine, its = dict(one), dict(other)
    return mine.keys() == its.keys() and all(
        type(value) is type(its[name]) and _told(value) == _told(its[name]) for name, value in mine.items()
    )


def _told(value: Any) -> object:
    """What makes a value equal to another; NaN is equal to itself."""
    return (value.dtype, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else repr(value)
