"""docarray before 0.30: a `Document` has the fields that it has, and writes itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from docarray import Document, DocumentArray
from docarray.array.mixins.io.pbar import get_progressbar
from docarray.proto.docarray_pb2 import DocumentProto

from lhub.documents.codec import bar
from lhub.errors import UsageError
from lhub.kinds.shapes import OLD, Shape, Shapes


class DocumentArrayCodec:
    """See `Codec`."""

    document: type = Document

    def __init__(self) -> None:
        self._shapes = Shapes(OLD)

    def encode(self, document: Any) -> tuple[bytes, Shape]:
        """See `Codec`."""
        data = document.to_protobuf().SerializePartialToString(deterministic=True)
        return data, self._shapes.of(data)

    def decoder(self, doc_type: Any) -> Callable[[bytes], Any]:
        """See `Codec`."""
        if doc_type is not None:
            raise UsageError("doc_type is the schema of a DocList, this is a DocumentArray", hint="leave it out")
        return lambda data: Document.from_protobuf(DocumentProto.FromString(data))

    def array(self, documents: Iterator[Any], doc_type: Any) -> Any:
        """See `Codec`."""
        return DocumentArray(documents)

    def progress(self, what: str, total: int | None, *, show: bool) -> Any:
        """See `Codec`."""
        return bar(get_progressbar, what, total, show=show)
