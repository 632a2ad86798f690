"""Drawing: values into HTML, by the templates beside this file; nothing of a stranger's is ever markup.

Whatever a template prints is escaped, and made safe for the eye before: what turns the way of writing, or cannot be
seen, is shown as its number.

>>> finalize("a\\u202eb"), finalize(Markup("<b>"))
('a\\\\u202eb', Markup('<b>'))
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lhub import __version__
from lhub.errors import clean
from lhub.moments import timestamp
from lhub.phrases import count, day, size
from lhub.portal.addresses import address, resource_address
from lhub.portal.entrance import Entrance
from lhub.portal.visit import Page
from lhub.registry import Registry

_HERE = os.path.dirname(os.path.abspath(__file__))
_MEDIA = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_DEEPEST, _MOST_WORDS, _LONGEST = 8, 200, 2000
"""Levels of what an event tells, things in each, and characters in all."""
_SPANS = ((60, "minute"), (3600, "hour"), (86_400, "day"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Static:
    """A file that goes with the pages."""

    data: bytes
    media: str


def _static() -> Mapping[str, Static]:
    found = {}
    for entry in os.scandir(f"{_HERE}/static"):
        media = _MEDIA.get(os.path.splitext(entry.name)[1])
        if media is not None:
            with open(entry.path, "rb") as file:
                found[entry.name] = Static(data=file.read(), media=media)
    return found


STATIC = _static()


def finalize(value: Any) -> Any:
    """What stands in place of a value: a text without what deceives the eye; what is markup already is ours."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return clean(value).replace("\0", "\\0")
    return value


class Drawing:
    """What is on each page of one portal."""

    def __init__(self, registry: Registry, entrance: Entrance, rooted: str) -> None:
        self._own = {
            "form_token": entrance.form_token,
            "caller": registry.session.caller,
            "account": registry.session.person.account,
            "roots": [each.root for each in registry.sessions],
            "rooted": rooted,
        }

    def draw(self, page: Page, said: Sequence[str]) -> str:
        """A page; `said` are sentences for its top."""
        return templates().get_template(page.template).render({"tab": "", **self._own, **page.values}, said=said)

    def outside(self, page: Page) -> str:
        """A page for who is not in: nothing of the registry is on it."""
        return templates().get_template(page.template).render(page.values)


@cache
def templates() -> Environment:
    """The templates, each of which is compiled once."""
    environment = Environment(
        loader=FileSystemLoader(f"{_HERE}/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"size": size, "day": day, "ago": ago, "iso": timestamp, "short": _short}
    environment.filters |= {"clock": clock, "words": words, "pattern": pattern}
    environment.globals |= {"address": address, "at": resource_address, "count": count, "lhub_version": __version__}
    return environment


def ago(seconds: float) -> str:
    """How long ago something was, for a glance."""
    past = time.time() - seconds
    if past < 60:
        return "just now"
    if past > 30 * 86_400:
        return day(seconds)[:10]
    span, unit = next(each for each in reversed(_SPANS) if past >= each[0])
    return f"{count(int(past // span), unit)} ago"


def clock(seconds: float) -> str:
    """A time of the day."""
    try:
        return time.strftime("%H:%M:%S", time.localtime(seconds))
    except (OverflowError, OSError, ValueError):  # a log may be of anybody's making
        return "-"


def words(payload: object, depth: int = 0) -> str:
    """What an event tells beside its name, as far as anybody reads it."""
    if depth > _DEEPEST:
        return "…"
    told: Iterator[str]
    if isinstance(payload, Mapping):
        told = (
            f"{key}: {words(value, depth + 1)}" for key, value in payload.items() if value not in (None, "", [], {})
        )
    elif isinstance(payload, (list, tuple)):
        told = (words(each, depth + 1) for each in payload)
    else:
        told = iter([str(payload)])
    return _cut(", ".join(islice(told, _MOST_WORDS)))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def pattern(name: str) -> str:
    """A name as the one that a field of a form takes."""
    return name.replace(".", "\\.")


def _short(version: str | None) -> str:
    return (version or "")[:12]
