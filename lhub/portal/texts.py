"""Texts of a version, to be looked at: what is UTF-8, as far as a page shows it, and is what was published."""

from __future__ import annotations

import os
from dataclasses import dataclass

from lhub.errors import Corrupt
from lhub.opening import digest_text, read_at
from lhub.store import DAMAGED, Version

_VERIFIED = 4 << 20
"""Bytes of a file that is read to its end before its beginning is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """The beginning of a text; `whole`: that is all of it."""

    text: str
    whole: bool


def read_text(version: Version, path: str, most: int) -> Text | None:
    """A file as text, if it is UTF-8 without NUL, as far as `most` bytes; Corrupt for what was not published.

    Of a file of more than 4 MiB only the beginning is read, which is not verified then; `lhub verify` does.
    """
    with version.file(path) as descriptor:
        size = os.fstat(descriptor).st_size
        data = read_at(descriptor, size if size <= _VERIFIED else most, 0)
    if size <= _VERIFIED and digest_text(data) != version.sums()[path]:
        raise Corrupt(f"{path} of {version.where} is not what was published", hint=DAMAGED)
    shown = data[:most]
    if b"\0" in shown:
        return None
    try:
        text = shown.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(shown) - 3 or len(shown) == size:  # else a letter is cut in two
            return None
        text = shown[: error.start].decode("utf-8-sig")
    return Text(text=text, whole=len(shown) == size)
