"""Documents: an array on its way into a version, and out of one. The only room that loads docarray.

The caller's docarray decides what is written and what comes back: `DocumentArray` before 0.30, `DocList` since. A
version's payload is docarray's own stream (``documents.protobuf``, or ``documents.protobuf.zlib`` where that is
smaller), which its `load_binary` reads as well; it is written and read document by document.
"""

from __future__ import annotations

import gc
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import IO, TYPE_CHECKING, Any

from lhub.errors import Conflict, Corrupt, LhubError, ToolMissing, UsageError, clean
from lhub.kinds.docarray import STEM, WRITERS, Summary, generation_of_writer
from lhub.kinds.forms import HEADER, Form, documents, opened
from lhub.kinds.shapes import NEW, OLD
from lhub.store import Deleted, Vanished

if TYPE_CHECKING:
    from lhub.documents.codec import Codec

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
_NAMES = {OLD: "DocumentArray", NEW: "DocList"}


@dataclass(frozen=True, slots=True)
class Library:
    """The docarray that is installed: its version, and which generation it reads and writes."""

    version: str
    generation: int

    def codec(self) -> Codec:
        """How it writes and reads a document."""
        if self.generation == OLD:
            from lhub.documents.documentarray import DocumentArrayCodec

            return DocumentArrayCodec()
        from lhub.documents.doclist import DocListCodec

        return DocListCodec()


def library() -> Library:
    """The docarray that is installed; ToolMissing where there is none that can be loaded."""
    try:
        from docarray import __version__ as known  # a second or two
    except ImportError as error:
        raise ToolMissing(
            f"docarray is not installed here, or cannot be loaded ({error})", hint='pip install "lhub[docarray]"'
        ) from None
    from importlib import metadata  # docarray costs ten times as much

    try:
        version = metadata.version("docarray")  # 0.41.0 says of itself that it is 0.40.1
    except metadata.PackageNotFoundError:
        version = known
    return Library(version, generation_of_writer(version))


# into a version


class Documents:
    """Documents on their way into a version: an array, any other iterable, or an iterator (which goes only once)."""

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
                    hint=f"push a {_NAMES[self.library.generation]}, or an iterable of its documents",
                )
            try:
                data, shape = encode(document)
            except LhubError as error:
                raise UsageError(f"document {number} cannot be written: {error}", hint=_HOLDS) from None
            except Exception as error:  # docarray's, protobuf's and numpy's, of any class
                raise UsageError(f"document {number} cannot be written: {_said(error)}", hint=_HOLDS) from error
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


def _said(error: Exception) -> str:
    """What an error says, in one line without the values that it met."""
    where = ", ".join(_FIELD.findall(" ".join(map(str, error.args))))
    if isinstance(error, UnicodeError):
        why = "a text is no Unicode"
    elif callable(faults := getattr(error, "errors", None)):  # pydantic's
        why = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults()[:8])
    else:
        why = _FIELD.sub("", " ".join(map(str, error.args)) or type(error).__name__)
    return clean(" ".join(f"{where} {why}".split()), lines=False)[:300]


# out of a version


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """How an array is read: its `form`, its `writer` (a version of docarray, or one of `WRITERS`), which `doc_type`."""

    name: str
    form: Form
    writer: str
    length: int | None = None
    doc_type: Any = None
    allow_pickle: bool = False
    show_progress: bool = False

    def see_readable(self) -> None:
        """Raise ToolMissing where the docarray here cannot read it, UsageError for a pickle that nobody trusts."""
        here = library()
        if here.generation != self.form.generation:
            wanted = self.writer if self.writer[:1] in "<>" else f"=={self.writer}"
            written = f"docarray {self.writer}" if self.writer[:1] not in "<>" else f"a docarray {self.writer}"
            raise ToolMissing(
                f"{self.name} is a {_NAMES[self.form.generation]} that {written} wrote, docarray {here.version} here "
                f"reads a {_NAMES[here.generation]} only",
                hint=f'pip install "docarray{wanted}", in an environment of its own',
            )
        if self.form.is_pickle and not self.allow_pickle:
            raise UsageError(
                f"{self.name} was saved as a pickle, which can run any code when it is loaded",
                hint="allow_pickle=True, if you trust whoever pushed it",
            )
        here.codec().decoder(self.doc_type)  # refuses what is no schema

    def stream(self, file: IO[bytes]) -> Iterator[Any]:
        """Its documents, one by one; Corrupt for a payload that is not what its manifest tells."""
        codec = library().codec()
        try:
            if self.form.is_pickle:
                yield from self._unpickled(file)
                return
            decode, count = codec.decoder(self.doc_type), 0
            with codec.progress("Loading", self.length, show=self.show_progress) as advance:
                for data in documents(file, self.form):
                    advance(len(data))
                    yield self._decoded(decode, data, count)
                    count += 1
            if self.length not in (None, count):
                raise ValueError(f"its manifest tells of {self.length} documents, {count} are there")
        except ValueError as error:
            raise Corrupt(f"{self.name} is no whole array: {error}", hint="it was published so") from None
        except ImportError as error:
            raise ToolMissing(f"{self.name} needs {error.name} to be read", hint=f"pip install {error.name}") from None

    def _decoded(self, decode: Callable[[bytes], Any], data: bytes, number: int) -> Any:
        try:
            return decode(data)
        except Exception as error:  # pydantic's, protobuf's and numpy's, of any class
            wanted = getattr(self.doc_type, "__name__", "a document")
            raise UsageError(
                f"document {number} of {self.name} does not fit {wanted}: {_said(error)}",
                hint=f"lhub show {self.name} tells its fields",
            ) from error

    def _unpickled(self, file: IO[bytes]) -> Iterator[Any]:
        """A pickle's documents; the caller trusts it."""
        import pickle

        try:
            if self.form.in_one:
                yield from pickle.load(opened(file, self.form))  # noqa: S301 (as said)
            else:
                yield from map(pickle.loads, documents(file, self.form))
        except Exception as error:  # of any class: a pickle runs what it says
            raise UsageError(
                f"{self.name} cannot be unpickled here: {_said(error)}",
                hint="define or import the classes of its documents first",
            ) from error

    def array(self, file: IO[bytes]) -> Any:
        """The array itself."""
        with _uncollected():
            return library().codec().array(self.stream(file), self.doc_type)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Let no garbage be collected: it would walk over all that is loaded so far, again and again."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


__all__ = ["WRITERS", "Documents", "Library", "Loading", "library"]
