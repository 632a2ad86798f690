"""What the two generations have in common: a document to bytes and back, and a bar that tells how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

from lhub.kinds.shapes import Shape


class Codec(Protocol):
    """How the docarray that is installed writes and reads."""

    document: type
    """The class that all its documents are of."""

    def encode(self, document: Any) -> tuple[bytes, Shape]:
        """Give a document's bytes, the same for the same content, and what it holds."""

    def decoder(self, doc_type: Any) -> Callable[[bytes], Any]:
        """What makes a document of its bytes."""

    def array(self, documents: Iterator[Any], doc_type: Any) -> Any:
        """An array of them."""

    def progress(self, what: str, total: int | None, *, show: bool) -> AbstractContextManager[Callable[[int], None]]:
        """What is to be told the bytes of each document."""


def bar(make: Callable[..., Any], what: str, total: int | None, *, show: bool) -> Any:
    """Docarray's own bar, by the function that makes one; nothing where none shall be shown."""
    return _shown(make, what, total) if show else nullcontext(_nothing)


def _nothing(size: int) -> None:
    """Nobody watches."""


@contextmanager
def _shown(make: Callable[..., Any], what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    from rich import filesize  # docarray's own requirement

    told = 0
    shown, task = make(what, disable=False, total=total)

    def advance(size: int) -> None:
        nonlocal told
        told += size
        shown.update(task, advance=1, total_size=str(filesize.decimal(told)))

    with shown:
        shown.start_task(task)
        yield advance
