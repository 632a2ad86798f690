"""Documents on their way out of a version, one by one; what this docarray cannot read is told before the first."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from lhub.documents.library import NAMES, library
from lhub.documents.writing import said
from lhub.errors import Corrupt, ToolMissing, UsageError
from lhub.kinds.forms import Form, documents, opened


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
                f"{self.name} is a {NAMES[self.form.generation]} that {written} wrote, docarray {here.version} here "
                f"reads a {NAMES[here.generation]} only",
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
                f"document {number} of {self.name} does not fit {wanted}: {said(error)}",
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
                f"{self.name} cannot be unpickled here: {said(error)}",
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
