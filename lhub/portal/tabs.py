"""The tabs: Recent, Executors, Storage; a namespace, a search, one's tokens."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lhub.builds import is_task_id
from lhub.errors import Denied, LhubError, NotFound
from lhub.gateway.answers import code_of
from lhub.portal.addresses import address, resource_address
from lhub.portal.visit import Answer, Moved, Page, Visit
from lhub.shelf import Listed
from lhub.tokens import Token

PER_PAGE = 50
"""Lines of a list that one page has."""
_MOST_RECENT = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """One page of a list: its lines, which of how many it is, how many lines there are in all."""

    lines: Sequence[Any]
    number: int
    last: int
    total: int


def sheet(lines: Sequence[Any], number: int) -> Sheet:
    """The lines of one page; of one behind the last, those of the last."""
    last = max(1, -(-len(lines) // PER_PAGE))
    number = min(max(1, number), last)
    return Sheet(lines=lines[(number - 1) * PER_PAGE : number * PER_PAGE], number=number, last=last, total=len(lines))


def recent(visit: Visit) -> Page:
    """The newest pushes of everything that the person may see; no more are gathered than it takes."""
    if not _begun(visit):
        return Page(template="begin.html", values={"tab": "recent"})
    number = min(max(1, visit.fields.number("page", 1)), _MOST_RECENT // PER_PAGE)
    pushes = visit.registry.recent(min(_MOST_RECENT, number * PER_PAGE + 1))
    shown = sheet(pushes, number)
    return Page(template="recent.html", values={"tab": "recent", "sheet": shown, "most": _MOST_RECENT})


def executors(visit: Visit) -> Page:
    """One's own Executors."""
    return _own(visit, "executors", "Executors", lambda line: line.kind == "executor")


def storage(visit: Visit) -> Page:
    """One's own arrays and everything else that is no Executor."""
    return _own(visit, "storage", "Storage", lambda line: line.kind != "executor")


def _begun(visit: Visit) -> bool:
    """Whether a registry stands there: before the first login or push there may be none."""
    return any(os.path.lexists(each.folder.file) for each in visit.registry.sessions)


def _own(visit: Visit, tab: str, title: str, wanted: Callable[[Listed], bool]) -> Page:
    if not _begun(visit):
        return Page(template="begin.html", values={"tab": tab})

    def listed() -> list[Listed]:
        return [line for space in own_namespaces(visit) for line in visit.registry.list(space)]

    lines = [line for line in visit.remembered.lines(listed) if wanted(line)]
    return _list(visit, lines, tab=tab, title=title, here=address(tab), whose="own")


def own_namespaces(visit: Visit) -> list[str]:
    """The namespaces in which the person pushes: his own, and those of his teams."""
    if visit.caller is None:
        return []
    return [space.name for space in visit.registry.namespaces() if space.own]


def namespace(visit: Visit) -> Page:
    """What one may see of a namespace."""
    name = visit.parts["space"]
    lines = visit.registry.list(name)
    return _list(visit, lines, tab="", title=name, here=address("n", name), whose="another's")


def _list(visit: Visit, lines: Sequence[Listed], **values: str) -> Page:
    """A list, newest first, as far as it matches what was typed."""
    words = (visit.fields.text("q") or "").casefold().split()
    found = [line for line in lines if all(word in _text(line) for word in words)]
    found.sort(key=lambda line: line.updated, reverse=True)
    shown = sheet(found, visit.fields.number("page", 1))
    quiet = visit.registry.logged_in(visit.caller)  # else of several registries each line would say which it is from
    pushed = {line.name: visit.remembered.pushed(quiet, line) for line in shown.lines}
    told = {"sheet": shown, "pushed": pushed, "q": " ".join(words), "everything": len(lines)}
    return Page(template="list.html", values=told | values)


def _text(line: Listed) -> str:
    """What is searched while one types: what the list shows."""
    return " ".join((line.name, line.kind, line.visibility, *line.tags)).casefold()


def deleted(visit: Visit) -> Page:
    """What was deleted of one's own, and can be brought back."""
    return deleted_page(visit)


def deleted_page(visit: Visit, error: LhubError | None = None) -> Page:
    """The same with why it could not be brought back."""
    shown = sheet(visit.registry.deleted(), visit.fields.number("page", 1))
    return Page(template="deleted.html", values={"sheet": shown, "error": error}, code=code_of(error) if error else 200)


def search(visit: Visit) -> Answer:
    """Everything that one may see and that has every word: in name, description, keywords or file names.

    What is the id of a task leads there.
    """
    words = (visit.fields.text("q") or "").split()
    if len(words) == 1 and is_task_id(words[0]):
        with suppress(NotFound):
            task = visit.registry.build(task_id=words[0]).look()
            return Moved(to=resource_address(task.name, "builds", task.task_id))
    found = visit.registry.search(*words) if words else []
    shown = sheet(found, visit.fields.number("page", 1))
    return Page(template="search.html", values={"tab": "", "sheet": shown, "q": " ".join(words)})


def tokens(visit: Visit) -> Page:
    """The tokens of one's namespace."""
    return tokens_page(visit)


def tokens_page(visit: Visit, error: LhubError | None = None) -> Page:
    """The same with why a change was refused; a token that was just made is shown this once."""
    listed: Sequence[Token] = ()
    closed: LhubError | None = None
    try:
        listed = visit.registry.tokens()
    except NotFound:  # the namespace is made with its first token
        listed = ()
    except Denied as denied:
        closed = denied
    values = {"tab": "tokens", "tokens": listed, "closed": closed, "error": error, "made": visit.remembered.take()}
    typed = {name: visit.fields.text(name) or "" if error else "" for name in ("name", "days")}
    return Page(template="tokens.html", values=values | {"typed": typed}, code=code_of(error) if error else 200)
