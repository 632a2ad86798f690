"""What was pushed last, of everything the caller may see: the diaries of many resources, read as one.

No diary is read that cannot hold one of the newest: its resource's tags would have moved later.

>>> newest([], 10)
[]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import islice

from lhub.commits import log
from lhub.diary import Entry
from lhub.errors import LhubError
from lhub.identity import account_of
from lhub.moments import timestamp
from lhub.names import parse_name
from lhub.session import Session
from lhub.shelf import Listed, listing_of
from lhub.store import Resource

_PUSHES = ("push", "import")
_MOST_DIARIES, _MOST_ENTRIES = 1000, 1000
"""Diaries that are read for one answer, and entries of each; of further resources the links tell who and when."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """One push: of which resource, by whom, at which moment (seconds since 1970), under which tags, with which words.

    `version` has 64 hex digits; it is None where the diary does not tell it. `kind` and `visibility` are as they are
    now; `root` is where it is, if several registries were looked at.
    """

    name: str
    kind: str
    visibility: str
    who: str
    when: float
    tags: tuple[str, ...]
    protected: tuple[str, ...]
    version: str | None
    message: str
    root: str | None = None

    def to_dict(self) -> dict[str, object]:
        """The value as a JSON document has it."""
        return {
            "name": self.name,
            "kind": self.kind,
            "visibility": self.visibility,
            "who": self.who,
            "when": timestamp(self.when),
            "tags": list(self.tags),
            "protected_tags": list(self.protected),
            "version": self.version,
            "message": self.message,
        }


def newest(sessions: Sequence[Session], most: int) -> list[Push]:
    """The newest pushes, newest first."""
    if not sessions:
        return []
    lines = sorted(listing_of(sessions, None, None), key=lambda line: line.updated, reverse=True)
    waiting: list[tuple[float, int, Push]] = []
    found: list[Push] = []
    for number, line in enumerate(lines):
        while waiting and -waiting[0][0] >= line.updated:
            found.append(heappop(waiting)[2])
        if len(found) >= most:
            break
        told = _told_pushes(sessions, line, most) if number < _MOST_DIARIES else ()
        for place, push in enumerate(told or _linked(sessions, line)):
            when = min(push.when, line.updated)  # a clock may have been ahead, the links' is the server's
            heappush(waiting, (-when, number * most + place, push))
    found += [heappop(waiting)[2] for _ in range(min(len(waiting), max(0, most - len(found))))]
    return found[:most]


def last_push(resource: Resource) -> Entry | None:
    """The newest push that a diary tells."""
    with suppress(LhubError, OSError):  # as below
        return next((entry for entry in islice(log(resource), _MOST_ENTRIES) if entry.action in _PUSHES), None)
    return None


def _told_pushes(sessions: Sequence[Session], line: Listed, most: int) -> list[Push]:
    """The newest pushes of one resource, newest first, as its diary tells them."""
    found: list[Push] = []
    with suppress(LhubError, OSError):  # what does not read is told by `lhub verify`
        entries = islice(log(_resource(sessions, line)), _MOST_ENTRIES)
        found.extend(islice((_told(line, entry) for entry in entries if entry.action in _PUSHES), most))
    return found


def _resource(sessions: Sequence[Session], line: Listed) -> Resource:
    session = next((each for each in sessions if each.root == line.root), sessions[0])
    return session.resource(*parse_name(line.name))


def _told(line: Listed, entry: Entry) -> Push:
    return Push(
        name=line.name,
        kind=line.kind,
        visibility=line.visibility,
        who=entry.name,
        when=entry.when,
        tags=entry.tags,
        protected=entry.protected,
        version=entry.version,
        message=entry.message,
        root=line.root,
    )


def _linked(sessions: Sequence[Session], line: Listed) -> Iterator[Push]:
    """The one push that the links of a resource show, where no diary tells it."""
    try:
        links = _resource(sessions, line).links()
    except (LhubError, OSError):  # it went meanwhile
        return
    tag = max(links.tags.values(), key=lambda each: each.when, default=None)
    if tag is not None:
        who, named = account_of(tag.uid), [name for name, each in links.tags.items() if each.version == tag.version]
        entry = Entry(action="push", name=who, address=who, when=tag.when, version=tag.version, tags=tuple(named))
        yield _told(line, replace(entry, protected=tuple(name for name in named if links.tags[name].protected)))
