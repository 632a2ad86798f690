"""Answers as the clients read them: an envelope around what was asked for, another around what went wrong.

The `status` of an error must be one that jina-hubble-sdk knows (`hubble/excepts.py`): for another its client raises a
KeyError instead of the sentence.

>>> failed(Conflict("alice/X stands already", hint="choose another name"), caller="alice").body["readableMessage"]
'alice/X stands already; choose another name'
"""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lhub.archive import TooLarge
from lhub.errors import (
    BuildFailed,
    Conflict,
    Corrupt,
    Denied,
    LhubError,
    LockTimeout,
    NotFound,
    ToolMissing,
    UsageError,
    clean,
)
from lhub.renaming import Taken

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SHUT = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


class NoSuchCall(NotFound):
    """A method that this gateway does not know."""


class WrongWay(UsageError):
    """A method that is called by another verb of HTTP."""


class Unauthorized(Denied):
    """A token that lets nobody in."""


class Broken(UsageError):
    """A body that did not arrive as it was sent."""


_CODES: tuple[tuple[type[LhubError], int, int], ...] = (
    (NoSuchCall, 404, 40402),
    (WrongWay, 405, 40502),
    (Unauthorized, 401, 40103),
    (Broken, 400, 40003),
    (TooLarge, 413, 41301),
    (Taken, 422, 42202),
    (NotFound, 404, 40403),
    (Denied, 403, 40301),
    (Conflict, 409, 40901),
    (Corrupt, 422, 42201),
    (LockTimeout, 409, 40901),
    (BuildFailed, 422, 42204),
    (ToolMissing, 422, 42204),
    (UsageError, 400, 40001),
)
"""The first that fits: HTTP's own number, and the one that the clients look up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer: its code, its body, or the lines of one that is told bit by bit.

    Where nothing came for a while a line is None: then it can be seen whether anybody listens still.
    """

    code: int = 200
    body: Mapping[str, Any] = field(default_factory=dict)
    lines: Iterator[Mapping[str, Any] | None] | AsyncIterator[Mapping[str, Any] | None] | None = None


def done(data: Any, *, message: str = "", meta: Mapping[str, Any] | None = None) -> Answer:
    """What was asked for."""
    body = {"code": 200, "status": 20000, "message": message, "data": data}
    return Answer(body=body | ({"meta": meta} if meta is not None else {}))


def told(lines: Iterator[Mapping[str, Any] | None] | AsyncIterator[Mapping[str, Any] | None]) -> Answer:
    """What is told line by line; what can be refused has been, so that a refusal is one of all."""
    return Answer(lines=lines)


def failed(error: Exception, *, caller: str | None) -> Answer:
    """What went wrong, for the client and for the person before it; a fault of our own is told on stderr as well."""
    if not isinstance(error, (LhubError, OSError)):
        traceback.print_exception(error, file=sys.stderr)
    code, status = _numbers(error, caller)
    said = sentence(error)
    body = {"code": code, "status": status, "message": said, "readableMessage": said, "data": {}}
    return Answer(code=code, body=body)


def sentence(error: Exception) -> str:
    """The sentence of an error, and its hint."""
    if isinstance(error, LhubError):
        return clean(f"{error}; {error.hint}" if error.hint else str(error))
    if isinstance(error, OSError):
        where = f"{error.filename}: " if isinstance(error.filename, str) else ""
        return clean(f"{where}{error.strerror or error}")
    return clean(f"an unexpected fault, {type(error).__name__}; the server's stderr tells more, please report it")


def code_of(error: LhubError) -> int:
    """HTTP's own number for a refusal, to who is logged in or needs no login."""
    return _numbers(error, "")[0]


def _numbers(error: Exception, caller: str | None) -> tuple[int, int]:
    if isinstance(error, Denied) and caller is None:
        return 401, 40103  # the only one that makes the clients say "jina auth login"
    numbers = next(((code, status) for kind, code, status in _CODES if isinstance(error, kind)), None)
    if numbers is not None:
        return numbers
    cause = error if isinstance(error, OSError) else error.__cause__
    if isinstance(cause, OSError) and cause.errno in _FULL:
        return 413, 41302
    if isinstance(cause, OSError) and cause.errno in _SHUT:
        return 403, 40301
    return 500, 50001


def plain(text: str) -> str:
    """A text that rich, which the clients print with, takes for no markup of its own."""
    return clean(text, lines=False).replace("[", "(").replace("]", ")")
