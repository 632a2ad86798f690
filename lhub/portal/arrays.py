"""An array of documents, looked at: its summary, the first documents, pictures of what can be seen as one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lhub.phrases as phrases
from lhub.errors import NotFound
from lhub.kinds.shapes import Field
from lhub.portal.cards import Card, card_of, page
from lhub.portal.pictures import Bars, has_picture, histogram, numbers, picture_of, profile
from lhub.portal.visit import Page, Picture, Visit

FIRST, PLOTTED = 12, 200
"""Documents that are shown, and those whose numbers are drawn."""
_LONGEST, _MOST_FIELDS, _MOST_DRAWN = 600, 40, 12
"""Characters of a text and fields of a document that are shown, and vectors of one that are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One field of a document for the eye: a text, a row of bars, or the number under which its picture stands."""

    name: str
    type: str
    text: str
    bars: Bars | None = None
    picture: int | None = None


def documents(visit: Visit) -> Page:
    """The summary, plots of what is a number in each document, the first documents."""
    card = card_of(visit)
    if card.kind != "docarray":
        raise NotFound(f"{card.name} holds {card.kind}, not documents", hint="its files can be looked at")
    with visit.registry.opened(card.at) as version:
        about = dict(version.manifest().about)
    found = visit.registry.fields(card.at, most=PLOTTED)
    listed = about.get("fields")
    return page(
        card,
        "documents.html",
        "documents",
        about={key: value for key, value in about.items() if not isinstance(value, (list, dict))},
        length=about.get("length"),
        pickled=str(about.get("protocol", "")).startswith("pickle"),
        fields=[_told(each) for each in listed if isinstance(each, dict)] if isinstance(listed, list) else [],
        plots=_plots(found),
        looked_at=len(found),
        documents=[_document(each) for each in found[:FIRST]],
    )


def _told(field: Mapping[str, Any]) -> tuple[str, str, str]:
    """A field as a manifest has it: name, type, and what a tensor's numbers are; somebody else may have made it."""
    return str(field.get("name", "")), str(field.get("type", "")), phrases.numbers(field)


def _document(fields: Sequence[Field]) -> Sequence[Shown]:
    """A document for the eye."""
    shown, drawn = [], 0
    for number, field in enumerate(fields[:_MOST_FIELDS]):
        told = _shown(number, field, draw=drawn < _MOST_DRAWN)
        drawn += told.bars is not None
        shown.append(told)
    return shown


def _plots(documents: Sequence[Sequence[Field]]) -> list[Bars]:
    """A histogram for each field that is one number."""
    values: dict[str, list[float]] = {}
    for document in documents:
        for field in document:
            number = _number(field)
            if number is not None:
                values.setdefault(field.name, []).append(number)
    drawn = (histogram(name, values[name]) for name in list(values)[:_MOST_FIELDS])
    return [bars for bars in drawn if bars is not None]


def _number(field: Field) -> float | None:
    if field.kind.shape in ((), (1,)):
        found = numbers(field)
        return float(found[0]) if len(found) == 1 else None
    if field.kind.type not in ("int", "float"):
        return None
    try:
        value = float(field.shown)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _shown(number: int, field: Field, *, draw: bool) -> Shown:
    shape = field.kind.shape
    bars = profile(field.name, numbers(field)) if draw and shape is not None and len(shape) == 1 else None
    picture = number if has_picture(field) else None
    text = field.shown
    if field.kind.type == "str" and picture is None:
        text = field.data[: 4 * _LONGEST].decode(errors="replace")
        text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return Shown(name=field.name, type=_type(field), text=text, bars=bars, picture=picture)


def _type(field: Field) -> str:
    if field.kind.dtype is None or field.kind.shape is None:
        return field.kind.type
    return f"{field.kind.type} {field.kind.dtype}{list(field.kind.shape)}"


def picture(visit: Visit) -> Picture:
    """A field of a document as a picture."""
    card: Card = card_of(visit)
    wanted: Mapping[str, Any] = visit.parts
    document, place = _place(wanted["document"]), _place(wanted["field"])
    if document is None or place is None or document >= FIRST:
        raise NotFound("there is no such picture", hint="the page of the documents has them")
    found = visit.registry.fields(card.at, most=document + 1)
    fields = found[document] if document < len(found) else ()
    made = picture_of(fields[place]) if place < len(fields) else None
    if made is None:
        raise NotFound("there is no such picture", hint="the page of the documents has them")
    data, media = made
    return Picture(data=data, media=media)


def _place(text: str) -> int | None:
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 6 else None
