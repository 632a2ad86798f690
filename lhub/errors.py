"""What lhub says when it cannot do what was asked: one tree, one exit code each.

Every error is a sentence for a person at night: what, which, what now. The code is
the exit code of the command line, the hint is what to type or do next::

    LhubError            1  anything else (a full disk, a folder that changed)
    ├── UsageError       2  the words are off
    ├── NotFound         3  not here, or not for you: the same answer
    ├── Denied           4  somebody else's, or nobody is logged in
    ├── Conflict         5  protected, exists, --expect failed
    ├── Corrupt          6  bytes that are not what was published
    ├── LockTimeout      7  somebody else is writing
    ├── BuildFailed      8  a build ended badly
    └── ToolMissing      9  a program or library is not installed

>>> error = NotFound("alice/X:v9 is not here", hint="lhub show alice/X lists its tags")
>>> error.code, str(error), error.hint
(3, 'alice/X:v9 is not here', 'lhub show alice/X lists its tags')
"""

from __future__ import annotations

from collections.abc import Iterable


class LhubError(Exception):
    """Anything lhub refuses or cannot do; `code` is the exit code, `hint` says what now (may be empty)."""

    code: int = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def to_dict(self) -> dict[str, object]:
        """What `--json` prints of an error."""
        return {"code": self.code, "message": str(self), "hint": self.hint}


class UsageError(LhubError):
    """The words of a call are off: a bad reference, two options that exclude each other."""

    code = 2


class NotFound(LhubError):
    """What was asked for is not here, or not for the caller: both give the same answer."""

    code = 3


class Denied(LhubError):
    """The caller may not: it is somebody else's, or nobody is logged in."""

    code = 4


class Conflict(LhubError):
    """Something stands in the way: a protected tag, an existing name, a failed `--expect`."""

    code = 5


class Corrupt(LhubError):
    """The registry holds something that cannot have been published like this."""

    code = 6


class LockTimeout(LhubError):
    """Another writer held the lock of the resource for longer than the caller would wait."""

    code = 7


class BuildFailed(LhubError):
    """A build of a pushed version ended badly."""

    code = 8


class ToolMissing(LhubError):
    """A program or an optional library that this needs is not installed."""

    code = 9


_UNSAFE = frozenset(("Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp"))


def clean(text: str, *, lines: bool = True) -> str:
    """Text without what moves a cursor, changes a colour or turns the way of writing; newlines stay if `lines`."""
    if text.isascii() and text.isprintable():
        return text
    import unicodedata  # for the rare text that needs it

    return "".join(
        c if (lines and c == "\n") or unicodedata.category(c) not in _UNSAFE else c.encode("unicode_escape").decode()
        for c in text
    )


_MOST = 200
"""Faults that one message lists; who has more mends these first."""


def listing(what: str, faults: Iterable[str]) -> str:
    """One message for all faults of one input, so that a person mends them in one go."""
    lines = list(faults)
    if len(lines) == 1:
        return f"{what}: {lines[0]}"
    shown = "".join(f"\n  {line}" for line in lines[:_MOST])
    more = f"\n  and {len(lines) - _MOST} more" if len(lines) > _MOST else ""
    return f"{what}, {len(lines)} faults:{shown}{more}"
