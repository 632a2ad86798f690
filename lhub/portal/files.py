"""The files of a version: its folders, a viewer for what can be read, and each file to be saved."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from lhub.errors import NotFound
from lhub.gateway.links import Target, payload
from lhub.opening import read_at
from lhub.portal.cards import Card, card_of, page
from lhub.portal.pictures import media_of
from lhub.portal.tabs import sheet
from lhub.portal.texts import read_text
from lhub.portal.visit import Fetched, Page, Visit
from lhub.store import Version

_SHOWN, _MOST_LINES = 256 << 10, 5000
"""Bytes and lines of a text that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a folder: a name, where it leads, its bytes (None: a folder, with so many files)."""

    name: str
    path: str
    bytes: int | None
    files: int = 0


def folder(visit: Visit) -> Page:
    """The top of a version."""
    card = card_of(visit)
    return _folder(visit, card, "")


def view(visit: Visit) -> Page:
    """A file, or a folder of a version."""
    card, path = card_of(visit), visit.parts["path"]
    with visit.registry.opened(card.at) as version:
        sums = version.sums()
        if path not in sums:
            return _folder(visit, card, path.strip("/"))
        text = read_text(version, path, _SHOWN)
        with version.file(path) as descriptor:
            size, head = os.fstat(descriptor).st_size, read_at(descriptor, 64, 0)
    lines = text.text.split("\n") if text is not None else []
    if len(lines) > 1 and (not lines[-1] or not (text is None or text.whole)):  # the last one may be cut in two
        lines.pop()
    return page(
        card,
        "file.html",
        "files",
        path=path,
        size=size,
        digest=sums[path],
        text=text,
        lines=lines[:_MOST_LINES],
        whole=text is not None and text.whole and len(lines) <= _MOST_LINES,
        picture=media_of(head),
    )


def _folder(visit: Visit, card: Card, path: str) -> Page:
    with visit.registry.opened(card.at) as version:
        lines = _lines(version, f"{path}/" if path else "")
        if path and not lines:
            raise NotFound(f"{card.reference} has no file {path[:200]}", hint="its files are listed")
        shown = sheet(lines, visit.fields.number("page", 1))
        sized = [_sized(version, line) for line in shown.lines]
    return page(card, "files.html", "files", path=path, sheet=shown, lines=sized)


def _lines(version: Version, prefix: str) -> Sequence[Line]:
    """What lies in a folder: folders first."""
    folders: dict[str, int] = {}
    found = []
    for path in version.sums():
        if path.startswith(prefix):
            name, below, _ = path[len(prefix) :].partition("/")
            if below:
                folders[name] = folders.get(name, 0) + 1
            else:
                found.append(Line(name=name, path=path, bytes=0))
    above = [Line(name=name, path=prefix + name, bytes=None, files=number) for name, number in folders.items()]
    return sorted(above, key=lambda line: line.name) + sorted(found, key=lambda line: line.name)


def _sized(version: Version, line: Line) -> Line:
    if line.bytes is None:
        return line
    with version.file(line.path) as descriptor:
        return Line(name=line.name, path=line.path, bytes=os.fstat(descriptor).st_size)


def raw(visit: Visit) -> Fetched:
    """A file as it is: a picture to be shown, anything else to be saved; every byte was verified before."""
    card, path = card_of(visit), visit.parts["path"]
    with visit.registry.opened(card.at) as version:
        sums = version.sums()
        if path not in sums:
            raise NotFound(f"{card.reference} has no file {path[:200]}", hint="its files are listed")
        visit.verified.see(version, path)
        with version.file(path) as descriptor:
            media = media_of(read_at(descriptor, 64, 0))
    target = Target(opened=partial(payload, visit.registry, card.at, path), etag=sums[path], until=0.0)
    return Fetched(target=target, name=path.rpartition("/")[2], media=media)
