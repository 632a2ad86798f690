"""Redaction: a text without the values that nobody may read, in any of the forms in which programs print them.

What `--build-env` gives travels to pip alone; whatever comes back from there goes through here before it is shown or
kept. A program may print a value as it is, URL-quoted, escaped for JSON, a shell, Python or HTML, or in base64 with
other bytes around it; a value of several lines it may print line by line. So a text is read in each of these ways, and
wherever a value is then found, what it was read from is hidden.

>>> hide = Redaction(["s3cr3t/value"])
>>> hide.text("https://u:s3cr3t%2Fvalue@host czNjcjN0L3ZhbHVl")
'https://u:***@host ***'
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any

_HIDDEN = "***"
_SHORTEST = 6
"""Bytes from which base64 of a value, or one of its lines alone, is looked for: shorter ones any text has."""
_PIECE = 24
"""Letters of base64 that are hidden without the rest: 18 bytes, of which no two secrets are alike."""
_LETTERS = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_UNKNOWN = "\ufffd"

Way = Callable[["re.Match[str]"], str]
_Span = tuple[int, int]


class Redaction:
    """Hides some values; of none it hides nothing."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values = frozenset(value for value in values if value)

    def __repr__(self) -> str:
        return "Redaction()"

    @cached_property
    def _wanted(self) -> frozenset[str]:
        """The values, their lines, and what base64 makes of them; of what is no UTF-8 also as a program shows it."""
        lines = {line for value in self._values for line in value.splitlines() if len(line) >= _SHORTEST}
        shown = {re.sub("[\udc80-\udcff]", _UNKNOWN, value) for value in self._values}
        bare = {value.strip() for value in self._values} - {""}
        return self._values | lines | shown | bare | set(self._in_base64())

    def _in_base64(self) -> Iterator[str]:
        import base64  # 9 ms with html, which pushes without a value to hide need not

        for value in self._values:
            data = _bytes(value)
            for before in range(3 if len(data) >= _SHORTEST else 0):  # what stands before it shifts the letters
                for encode in (base64.b64encode, base64.urlsafe_b64encode):
                    whole = encode(bytes(before) + data).decode().rstrip("=")
                    form = whole[(0, 2, 3)[before] : len(whole) - (1 if (before + len(data)) % 3 else 0)]
                    yield form
                    yield from (form[at : at + _PIECE] for at in range(0, len(form) - _PIECE, 4))  # it may be wrapped

    def text(self, text: str) -> str:
        """The text, three stars in place of each value; where two overlap, in place of both."""
        if not self._values:
            return text
        shown, at = [], 0
        for start, end in _merged(span for reading in _readings(text) for span in reading.find(self._wanted)):
            shown += [text[at:start], _HIDDEN]
            at = end
        return "".join([*shown, text[at:]])

    def value(self, value: Any) -> Any:
        """The same for all texts of a JSON value; its keys are our own words."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.value(each) for key, each in value.items()}
        return [self.value(each) for each in value] if isinstance(value, (list, tuple)) else value


def _bytes(text: str) -> bytes:
    """What the system gave: a byte that is no UTF-8 is a lone surrogate in Python."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # one that stands for no byte
        return text.encode(errors="surrogatepass")


class _Reading:
    """A text as somebody reads it, and from where in the original each of its characters comes."""

    def __init__(self, text: str, places: list[_Span]) -> None:
        self.text, self.places = text, places

    def find(self, wanted: Iterable[str]) -> Iterator[_Span]:
        """Where one of these stands in the original."""
        for each in wanted:
            at = self.text.find(each)
            while at >= 0:
                yield self.places[at][0], self.places[at + len(each) - 1][1]
                at = self.text.find(each, at + 1)

    def by(self, pattern: str, way: Way) -> _Reading | None:
        """The same, each match of a pattern read as what `way` makes of it; None where there is none."""
        letters: list[str] = []
        places: list[_Span] = []
        at = 0
        for match in re.finditer(pattern, self.text):
            start, end = match.span()
            read = way(match)
            whole = self.places[start][0], self.places[end - 1][1]
            letters += [self.text[at:start], read]
            places += [*self.places[at:start], *[whole] * len(read)]
            at = end
        return _Reading("".join([*letters, self.text[at:]]), [*places, *self.places[at:]]) if at else None


def _readings(text: str) -> Iterator[_Reading]:
    """The text in every way that its characters suggest, and what was quoted twice a second time."""
    plain = _Reading(text, [(at, at + 1) for at in range(len(text))])
    yield plain
    for first in _once(plain):
        yield first
        yield from _once(first)


def _once(reading: _Reading) -> Iterator[_Reading]:
    for sign, pattern, way in _WAYS:
        if sign in reading.text and (read := reading.by(pattern, way)):
            yield read


def _of_bytes(match: re.Match[str]) -> str:
    """A run of `%hh` or `\\\\xhh`."""
    return bytes.fromhex(re.sub(r"%|\\x", "", match[0])).decode(errors="surrogateescape")


def _of_url(match: re.Match[str]) -> str:
    return " " if match[0] == "+" else _of_bytes(match)


def _of_escape(match: re.Match[str]) -> str:
    """What a backslash and what follows it stand for, in JSON, Python and a shell."""
    high, low, code, letter = match.groups()
    if high:
        return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)
    if code:
        number = int(code[1:], 16)
        return chr(number) if number < 0x110000 else match[0]
    return _LETTERS.get(letter, letter)


def _of_html(match: re.Match[str]) -> str:
    import html  # as above

    return html.unescape(match[0])


_WAYS: tuple[tuple[str, str, Way], ...] = (
    ("%", r"(?:%[0-9a-fA-F]{2})+", _of_bytes),
    ("%", r"(?:%[0-9a-fA-F]{2})+|\+", _of_url),
    ("+", r"\+", _of_url),
    ("\\", r"(?:\\x[0-9a-fA-F]{2})+", _of_bytes),
    (
        "\\",
        r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
        r"|\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2})|\\(.)",
        _of_escape,
    ),
    ("&", r"&(?:[a-z]+|#\d+|#[xX][0-9a-fA-F]+);", _of_html),
    ("'", r"""'"'"'|'\\''""", lambda match: "'"),
)


def _merged(spans: Iterable[_Span]) -> Iterator[_Span]:
    """Spans that overlap as one."""
    start = end = 0
    for first, last in sorted(spans):
        if first >= end:
            if end:
                yield start, end
            start = first
        end = max(end, last)
    if end:
        yield start, end
