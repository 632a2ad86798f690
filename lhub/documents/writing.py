"""Documents on their way into a version, one by one: encoded, counted, described, compressed where that is smaller."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from lhub.builds import Task
from lhub.documents.library import NAMES, library
from lhub.errors import Conflict, LhubError, UsageError, clean
from lhub.kinds.docarray import STEM, Summary
from lhub.kinds.forms import HEADER, Form
from lhub.staging import Staging
from lhub.store import Deleted, Vanished

_SAMPLE = 128
"""Documents by which is decided whether to compress."""
_SAMPLED = 1 << 20
"""Bytes of them that are enough."""
_PORTION = 1 << 17
"""Bytes that are written at once; more would count in the memory that a stream takes."""
_LONGEST = (1 << 32) - 1
"""Bytes of a document, whose length stands in four."""
_GZIP = 12
"""Bytes by which gzip's frame, which docarray's own stores write, is longer than zlib's."""


class Documents:
    """Documents on their way into a version: an array, any other iterable, or an iterator (which goes only once)."""

    kind = "docarray"

    def __init__(self, docs: Any, *, show_progress: bool = False) -> None:
        self.library = library()
        self.codec = self.library.codec()
        self.docs = _iterable(docs, self.codec.document)
        self.total = _length(docs)
        self.show_progress = show_progress
        self.form = Form(self.library.generation, "protobuf")
        self.summary = Summary()
        self._begun = False

    @property
    def gone(self) -> bool:
        """Whether it has been written, and may not give the same again: only what has places is sure to."""
        return self._begun and not hasattr(type(self.docs), "__getitem__")

    @property
    def path(self) -> str:
        """Where it stands in the version; known once `pieces` has begun."""
        return f"{STEM}{self.form.endings}"

    @property
    def about(self) -> Mapping[str, Any]:
        """What the manifest tells; known once `pieces` has ended."""
        return self.summary.about(self.form, self.library.version)

    def head(self) -> bytes:
        """The first bytes of the payload; known once `pieces` has ended."""
        return self._head(self.summary.length)

    def _head(self, length: int) -> bytes:
        return bytes([self.form.generation]) + length.to_bytes(HEADER - 1, "big")

    def receive(self, stage: Staging, task: Task) -> Mapping[str, object]:
        """Write the payload where it will lie, piece by piece."""

        def pieces() -> Iterator[bytes]:
            meter = task.meter("receive", self.total or 0, 0)
            for piece in self.pieces():
                yield piece
                task.breathe()
                meter.moved(len(piece))
                meter.reached(self.summary.length)

        written = stage.write(pieces(), lambda: self.path, self.head)
        return {"files": 1, "bytes": written.size, "documents": self.summary.length}

    def pieces(self) -> Iterator[bytes]:
        """The payload piece by piece: what will be `head()` if the length is as told, then the documents."""
        self.summary, self._begun = Summary(), True
        rows = self._rows()
        first = _sample(rows)
        self.form = Form(self.library.generation, "protobuf", "zlib" if _shrinks(first) else None)
        yield self._head(self.total or 0)
        portion: list[bytes] = []
        size = 0
        with self.codec.progress("Pushing", self.total, show=self.show_progress) as advance:
            for row in chain(first, rows):
                data = zlib.compress(row) if self.form.compress else row
                if len(data) > _LONGEST:
                    raise UsageError(f"a document has {len(data)} bytes, {_LONGEST} are allowed")
                portion += (len(data).to_bytes(4, "big"), data)
                size += len(data)
                advance(len(data))
                if size >= _PORTION:
                    yield b"".join(portion)
                    portion, size = [], 0
        yield b"".join(portion)

    def _rows(self) -> Iterator[bytes]:
        """Each document's bytes, counted and described on its way."""
        encode, add = self.codec.encode, self.summary.add
        for number, document in enumerate(_theirs(self.docs)):
            if not isinstance(document, self.codec.document):
                raise UsageError(
                    f"item {number} is of type {type(document).__name__}, not a document of docarray",
                    hint=f"push a {NAMES[self.library.generation]}, or an iterable of its documents",
                )
            try:
                data, shape = encode(document)
            except LhubError as error:
                raise UsageError(f"document {number} cannot be written: {error}", hint=_HOLDS) from None
            except Exception as error:  # docarray's, protobuf's and numpy's, of any class
                raise UsageError(f"document {number} cannot be written: {said(error)}", hint=_HOLDS) from error
            add(shape)
            yield data


def _iterable(docs: Any, document: type) -> Iterable[Any]:
    """What can be iterated for its documents: an array, a DocVec, a list, a generator."""
    if isinstance(docs, document):
        raise UsageError("this is one document, not an array of them", hint="push [document]")
    if isinstance(docs, (str, bytes, Mapping)) or not isinstance(docs, Iterable):
        raise UsageError(f"a {type(docs).__name__} is neither a path nor documents", hint="push a folder, or a DocList")
    return docs


def _length(docs: Any) -> int | None:
    try:
        return len(docs)
    except TypeError:  # also of what has the word, but around a generator
        return None


def _theirs(docs: Iterable[Any]) -> Iterator[Any]:
    """The caller's documents; what his own iterator meets in a registry is none of this push's affair."""
    try:
        yield from docs
    except (Deleted, Vanished) as error:
        raise Conflict(str(error), hint=error.hint) from error


def _sample(rows: Iterator[bytes]) -> list[bytes]:
    """The first documents, as many as are needed to see whether they shrink."""
    sample, size = [], 0
    for row in rows:
        sample.append(row)
        size += len(row)
        if len(sample) == _SAMPLE or size > _SAMPLED:
            break
    return sample


def _shrinks(sample: list[bytes]) -> bool:
    """Whether docarray's own way, gzip for each document, would need fewer bytes than none."""
    return sum(len(zlib.compress(data)) + _GZIP for data in sample) < sum(map(len, sample))


_HOLDS = "a document holds texts, numbers, bytes, tensors, lists, dicts and documents"
_FIELD = re.compile("Field `[^`]{1,100}` is problematic")


def said(error: Exception) -> str:
    """What an error says, in one line without the values that it met."""
    where = ", ".join(_FIELD.findall(" ".join(map(str, error.args))))
    if isinstance(error, UnicodeError):
        why = "a text is no Unicode"
    elif callable(faults := getattr(error, "errors", None)):  # pydantic's
        why = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults()[:8])
    else:
        why = _FIELD.sub("", " ".join(map(str, error.args)) or type(error).__name__)
    return clean(" ".join(f"{where} {why}".split()), lines=False)[:300]
