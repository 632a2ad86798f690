"""Leaks: a value that `--build-env` gave, searched for in what would be published: the last gate of a build.

It is looked for as it is, quoted for a URL, and in base64 wherever it may begin; not inside files that are compressed
in a layer. Too short a value would be found anywhere, so it cannot be searched for.

>>> Secrets({"TOKEN": "s3cr3t-value"}).found_in([b"...s3cr3", b"t-value..."])
'TOKEN'
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus

from lhub.errors import BuildFailed, UsageError, listing
from lhub.images.layers import breathing, members, pieces, unpacked
from lhub.images.oci import Image, Layout

SHORTEST = 6
"""Bytes of the shortest value that can be searched for: four would stand in one of four gigabytes by chance."""


class Leaked(BuildFailed):
    """A value stands in what would have been published."""


class Secrets:
    """Values by their names; of none nothing is found."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._forms = [(name, form) for name, value in values.items() for form in _forms(value)]
        self._longest = max((len(form) for _, form in self._forms), default=0)

    def __repr__(self) -> str:
        return f"Secrets({len(self._forms)} forms)"

    def found_in(self, stream: Iterable[bytes]) -> str | None:
        """The name of the first value that stands in a stream, wherever its pieces are cut."""
        before = b""
        for piece in stream if self._forms else ():
            text = before + piece
            for name, form in self._forms:
                if form in text:
                    return name
            before = text[-(self._longest - 1) :]
        return None

    def passing(self, stream: Iterator[bytes], what: Callable[[], str]) -> Iterator[bytes]:
        """The same stream, which ends in Leaked where a value comes by."""
        before = b""
        for piece in stream:
            if self._forms:
                text = before + piece
                if name := next((name for name, form in self._forms if form in text), None):
                    raise leaked(name, what())
                before = text[-(self._longest - 1) :]
            yield piece

    def see(self, image: Image, layout: Layout, *, but: Iterable[str] = (), breathe: Callable[[], None]) -> None:
        """Raise Leaked if a value stands in the image, leaving out layers that unpack to the digests in `but`."""
        if not self._forms:
            return
        for blob, what in ((image.manifest, "manifest"), (image.config, "configuration or history")):
            text = layout.text(blob)
            plain = json.dumps(json.loads(text), ensure_ascii=False).encode()
            if name := self.found_in([text, b"\0", plain]):
                raise leaked(name, f"the {what} of the image")
        for number, (layer, diff_id) in enumerate(zip(image.layers, image.diff_ids, strict=True), 1):
            if diff_id in but:
                continue
            with unpacked(layout.blob(layer.digest), layer.kind) as stream:
                name = self.found_in(breathing(pieces(stream), breathe))
            if name:
                raise leaked(name, self._place(layout.blob(layer.digest), layer.kind, number))

    def _place(self, path: str, kind: str, number: int) -> str:
        with unpacked(path, kind) as stream:
            for info, content in members(stream):
                said = [
                    info.name.encode(errors="surrogateescape"),
                    info.linkname.encode(errors="surrogateescape"),
                    *(str(each).encode(errors="surrogateescape") for each in info.pax_headers.values()),
                ]
                if self.found_in(said) or self.found_in([content(info.size)] if info.size < _NAMED else []):
                    return (
                        f"layer {number}, {'/' + info.name.lstrip('/') if not self.found_in(said) else 'a file name'}"
                    )
        return f"layer {number}"


_NAMED = 64 << 20
"""Bytes of a file that is read whole to be named."""


def leaked(name: str, where: str) -> Leaked:
    """The refusal of what holds a value."""
    return Leaked(
        f"the value of {name} stands in {where}, so nothing of this image is published",
        hint="a RUN line may use it, if no program there writes it down: no ENV, no ARG, no address that is kept",
    )


def refuse_short(values: Mapping[str, str]) -> None:
    """Raise UsageError for values that could not be searched for."""
    short = [f"{name} has {len(value.encode(errors='surrogateescape'))} bytes" for name, value in values.items()]
    faults = [each for each, value in zip(short, values.values(), strict=True) if len(_bytes(value)) < SHORTEST]
    if faults:
        raise UsageError(
            listing(f"a value under {SHORTEST} bytes cannot be searched for in an image", faults),
            hint="--image never pushes the source alone",
        )


def _bytes(value: str) -> bytes:
    return value.encode(errors="surrogateescape")


def _forms(value: str) -> set[bytes]:
    """A value as programs write it down."""
    found = _form(value)
    parts = {part.strip() for part in (value, *value.splitlines())} - {value}
    for part in parts:  # what a file or a shell takes away, and what stands line by line
        found |= _form(part) if len(_bytes(part)) >= SHORTEST else set()
    return found


def _form(value: str) -> set[bytes]:
    data = _bytes(value)
    quoted = {quote(data, safe="").encode(), quote_plus(data, safe="").encode(), quote(data).encode()}
    escaped = json.dumps(value)[1:-1].encode()
    return {data, data.hex().encode(), escaped, *quoted, *_in_base64(data)}


def _in_base64(data: bytes) -> Iterator[bytes]:
    for before in range(3 if len(data) >= SHORTEST else 0):  # what stands before it shifts the letters
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            whole = encode(bytes(before) + data).rstrip(b"=")
            yield whole[(0, 2, 3)[before] : len(whole) - (1 if (before + len(data)) % 3 else 0)]
