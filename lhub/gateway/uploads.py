"""Uploads: the one file of a form, written to the inbox of its namespace as it arrives, and the fields around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from lhub.archive import TooLarge
from lhub.errors import UsageError
from lhub.folder import path_faults
from lhub.gateway.answers import Broken
from lhub.gateway.calls import Call
from lhub.gateway.forms import Fields
from lhub.inbox import Inbox, Received
from lhub.names import is_inside

_UNNAMED = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What has arrived: the fields, the file, and the inbox in which it lies."""

    fields: Fields
    file: Received
    inbox: Inbox


def receive(
    call: Call,
    stack: ExitStack,
    *,
    name: str | None = None,
    most: int | None = None,
    also: Callable[[bytes], None] = lambda piece: None,
) -> Upload:
    """All of a form; its file is gone when `stack` is closed. TooLarge for a file of more than `most` bytes.

    It lies under `name`, or what its sender calls it. `also` is told each piece of it.
    """
    values: dict[str, list[str]] = {}
    file: Received | None = None
    inbox: Inbox | None = None
    for part in call.parts():
        if part.filename is None:
            values.setdefault(part.name, []).append(part.text())
        elif part.name != "file" or inbox is not None:
            raise Broken("a form has one file, and it is called file")
        else:
            inbox = stack.enter_context(call.registry.inbox())
            file = inbox.receive(_counted(part.pieces, also, most), name or _safe(part.filename))
    if file is None or inbox is None:
        raise UsageError("the form has no file")
    return Upload(fields=Fields(values=values), file=file, inbox=inbox)


def _counted(pieces: Iterator[bytes], also: Callable[[bytes], None], most: int | None) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if most is not None and size > most:
            raise TooLarge(f"a file of at most {most >> 20} MiB is taken here", hint="lhub push takes any size")
        also(piece)
        yield piece


def _safe(filename: str) -> str:
    """The last part of a client's path, if a file can be called so."""
    name = filename.replace("\\", "/").rpartition("/")[2]
    usable = bool(name) and is_inside(name) and not path_faults([name]) and not name.startswith(".")
    return name if usable else _UNNAMED
