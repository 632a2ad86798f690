"""Bodies: what a client sends with a call, as texts by name; a file in it is handed out piece by piece.

Nothing is kept that nobody asked for, and nothing is believed: sizes and numbers of parts are bounded, a body that ends
in the middle is an error, a value of another type than the call wants is told with its name.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from lhub.archive import TooLarge
from lhub.errors import UsageError, clean
from lhub.gateway.answers import Broken

MOST_FIELDS = 1 << 20
"""Bytes of a body that is no file, or of all fields beside one."""
_PARTS = 1000
_TRUE, _FALSE = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no", ""})
_DEEP = "a value in it is nested too deep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """The values of a call by their names, as JSON or a form gave them."""

    values: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def text(self, name: str) -> str | None:
        """A text; None where it is not there, or empty. UsageError for what is no text, or there twice."""
        given = self.texts(name)
        if len(given) > 1:
            raise UsageError(f"{name} is given {len(given)} times")
        return given[0] if given else None

    def texts(self, name: str) -> list[str]:
        """All texts of a name, without empty ones."""
        values = [each for each in self.values.get(name, ()) if each is not None]
        if any(not isinstance(each, (str, int)) or isinstance(each, bool) for each in values):
            raise UsageError(f"{name} is no text")
        return [text for each in values if (text := str(each))]

    def wanted(self, name: str) -> str:
        """A text that must be there."""
        text = self.text(name)
        if text is None:
            raise UsageError(f"{name} is missing")
        return text

    def flag(self, name: str) -> bool | None:
        """A yes or no, None where it is not there."""
        values = [each for each in self.values.get(name, ()) if each is not None]
        if not values:
            return None
        said = str(values[0]).lower()
        if len(values) > 1 or said not in _TRUE | _FALSE:
            raise UsageError(f"{name} is neither True nor False")
        return said in _TRUE

    def number(self, name: str, default: int) -> int:
        """A whole number that is not negative."""
        text = self.text(name)
        if text is None:
            return default
        if not (text.isdecimal() and text.isascii() and len(text) <= 9):
            raise UsageError(f"{name} is no number")
        return int(text)

    def mapping(self, name: str) -> Mapping[str, Any] | None:
        """A JSON object, or the text of one."""
        values = [each for each in self.values.get(name, ()) if each not in (None, "")]
        if not values:
            return None
        found = parsed(values[0], name) if isinstance(values[0], str) else values[0]
        if len(values) > 1 or not isinstance(found, dict):
            raise UsageError(f"{name} is no JSON object")
        return found


def parsed(text: str | bytes, what: str) -> Any:
    """What a JSON text says."""
    try:
        return json.loads(text)
    except RecursionError:
        raise UsageError(f"{what} is no JSON: {_DEEP}") from None
    except ValueError:  # UnicodeDecodeError is one; what it says could hold a secret
        raise UsageError(f"{what} is no JSON") from None


def read_fields(kind: str, pieces: Iterator[bytes], query: str) -> Fields:
    """The values of a body that holds no file, and of the query."""
    name, options = _media(kind)
    values: dict[str, list[Any]] = {}
    for key, value in _pairs(query):
        values.setdefault(key, []).append(value)
    if name == "multipart/form-data":
        for part in Multipart(pieces, options).parts():
            values.setdefault(part.name, []).append(part.text())
        return Fields(values=values)
    body = _whole(pieces)
    if name == "application/json" or (body[:1] == b"{" and not name):
        document = parsed(body, "the body") if body.strip() else {}
        if not isinstance(document, dict):
            raise UsageError("the body is no JSON object")
        values |= {key: each if isinstance(each, list) else [each] for key, each in document.items()}
    elif name == "application/x-www-form-urlencoded":
        for key, value in _pairs(_decoded(body)):
            values.setdefault(key, []).append(value)
    elif body.strip():
        raise UsageError("the body is neither JSON nor a form", hint="Content-Type tells which it is")
    return Fields(values=values)


def read_parts(kind: str, pieces: Iterator[bytes]) -> Iterator[Part]:
    """The parts of a body that must be a form."""
    name, options = _media(kind)
    if name != "multipart/form-data":
        raise UsageError("the body is no multipart/form-data")
    return Multipart(pieces, options).parts()


def _pairs(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=_PARTS, errors="strict")
    except ValueError:
        raise UsageError("the form cannot be read") from None


def _decoded(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise UsageError("the body is not UTF-8") from None


def _whole(pieces: Iterator[bytes]) -> bytes:
    body = bytearray()
    for piece in pieces:
        body += piece
        if len(body) > MOST_FIELDS:
            raise TooLarge(f"a body without a file has at most {MOST_FIELDS >> 20} MiB")
    return bytes(body)


def _media(kind: str) -> tuple[str, Mapping[str, str]]:
    """The media type of a header, and its options."""
    from python_multipart.multipart import parse_options_header  # of the extra `serve`

    name, options = parse_options_header(kind)
    return name.decode("latin-1"), {key.decode("latin-1"): each.decode("latin-1") for key, each in options.items()}


# multipart


@dataclass(slots=True)
class Part:
    """One part: a field, or a file if it has a `filename`; its bytes are read once, before the next part is."""

    name: str
    filename: str | None
    pieces: Iterator[bytes]
    budget: Callable[[int], None]

    def text(self) -> str:
        """A field's text."""
        data = bytearray()
        for piece in self.pieces:
            self.budget(len(piece))
            data += piece
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise UsageError(f"{clean(self.name, lines=False)[:40]} is not UTF-8") from None


_MOMENTS = ("part_begin", "header_end", "headers_finished", "part_end", "end")
_BYTES = ("header_field", "header_value", "part_data")
"""What python-multipart tells of, with and without bytes."""


class Multipart:
    """A body of parts, read one after the other as it comes (RFC 7578)."""

    def __init__(self, pieces: Iterator[bytes], options: Mapping[str, str]) -> None:
        from python_multipart.exceptions import FormParserError  # as above
        from python_multipart.multipart import MultipartParser

        boundary = options.get("boundary", "")
        if not boundary:
            raise Broken("the form has no boundary")
        self.pieces, self.error = pieces, FormParserError
        self.events: deque[tuple[str, bytes]] = deque()
        self.left = MOST_FIELDS
        calls: Any = {f"on_{name}": self._note(name) for name in _MOMENTS}
        calls |= {f"on_{name}": self._data(name) for name in _BYTES}
        try:
            self.parser = MultipartParser(boundary.encode("latin-1"), calls)
        except FormParserError:
            raise Broken("the form's boundary is too long") from None

    def _note(self, name: str) -> Callable[[], None]:
        return lambda: self.events.append((name, b""))

    def _data(self, name: str) -> Callable[[bytes, int, int], None]:
        return lambda data, start, end: self.events.append((name, data[start:end]))

    def budget(self, size: int) -> None:
        """Count what is kept in memory."""
        self.left -= size
        if self.left < 0:
            raise TooLarge(f"the fields of a form have at most {MOST_FIELDS >> 20} MiB")

    def parts(self) -> Iterator[Part]:
        """Each part."""
        for _ in range(_PARTS):
            name, _data = self._next()
            if name == "end":
                return
            headers = self._headers()
            part = self._part(headers)
            yield part
            for _piece in part.pieces:  # of what nobody wanted nothing is kept
                pass
        raise TooLarge(f"a form has at most {_PARTS} parts")

    def _next(self) -> tuple[str, bytes]:
        """What comes next in the body."""
        while not self.events:
            piece = next(self.pieces, None)
            if piece is None:
                raise Broken("the form ends before its last boundary", hint="send it again")
            try:
                self.parser.write(piece)
            except self.error:
                raise Broken("the form is not written as a form", hint="multipart/form-data, RFC 7578") from None
        return self.events.popleft()

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        key, value = b"", b""
        while True:
            name, data = self._next()
            self.budget(len(data))
            if name == "headers_finished":
                return headers
            if name == "header_field":
                key += data
            elif name == "header_value":
                value += data
            elif name == "header_end":
                headers[key.decode("latin-1").lower()] = value.decode(errors="replace")
                key, value = b"", b""
            elif name in ("end", "part_end"):
                raise Broken("a part of the form has no head")

    def _part(self, headers: Mapping[str, str]) -> Part:
        from python_multipart.multipart import parse_options_header  # as above

        _, options = parse_options_header(headers.get("content-disposition", "").encode().decode("latin-1"))
        name = options.get(b"name")
        if name is None:
            raise Broken("a part of the form has no name")
        filename = options.get(b"filename")
        told = None if filename is None else filename.decode(errors="replace")
        return Part(name=name.decode(errors="replace"), filename=told, pieces=self._body(), budget=self.budget)

    def _body(self) -> Iterator[bytes]:
        while True:
            name, data = self._next()
            if name == "part_end":
                return
            if name == "part_data" and data:
                yield data
