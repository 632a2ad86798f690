"""The desk: which page or action stands at which address, and what comes of asking for it; a refusal is a page too."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import lhub.portal.actions as actions
import lhub.portal.arrays as arrays
import lhub.portal.files as files
import lhub.portal.resources as resources
import lhub.portal.tabs as tabs
from lhub.errors import Denied, LhubError
from lhub.gateway.answers import failed, sentence
from lhub.gateway.forms import read_fields
from lhub.gateway.links import Verified
from lhub.portal.cards import name_in
from lhub.portal.drawing import Drawing
from lhub.portal.entrance import Entrance
from lhub.portal.visit import Fetched, Handler, Moved, Page, Picture, Remembered, Visit
from lhub.registry import Registry

_TITLES = {403: "Not yours to do", 404: "Not here", 409: "Something stands in the way", 422: "Not what it should be"}
_MOST_DONE = 50
"""Sentences about what was done that are kept."""

PAGES: Mapping[str, Handler] = {
    "/": tabs.recent,
    "/executors": tabs.executors,
    "/storage": tabs.storage,
    "/search": tabs.search,
    "/tokens": tabs.tokens,
    "/deleted": tabs.deleted,
    "/n/{space}": tabs.namespace,
    "/r/{space}": tabs.namespace,
    "/r/{space}/{name}": resources.overview,
    "/r/{space}/{name}/history": resources.history,
    "/r/{space}/{name}/diff": resources.diff,
    "/r/{space}/{name}/builds": resources.builds,
    "/r/{space}/{name}/builds/{task}": resources.build,
    "/r/{space}/{name}/manage": resources.manage,
    "/r/{space}/{name}/documents": arrays.documents,
    "/r/{space}/{name}/picture/{document}/{field}": arrays.picture,
    "/r/{space}/{name}/files": files.folder,
    "/r/{space}/{name}/files/{path:path}": files.view,
    "/r/{space}/{name}/raw/{path:path}": files.raw,
}
ACTIONS: Mapping[str, Handler] = {
    "/tokens/create": actions.create_token,
    "/tokens/delete": actions.delete_token,
    "/r/{space}/{name}/visibility": actions.visibility,
    "/r/{space}/{name}/tag": actions.tag,
    "/r/{space}/{name}/protect": actions.protect,
    "/r/{space}/{name}/untag": actions.untag,
    "/r/{space}/{name}/rollback": actions.rollback,
    "/r/{space}/{name}/delete": actions.delete,
    "/r/{space}/{name}/restore": actions.restore,
    "/r/{space}/{name}/restore-tag": actions.restore_tag,
    "/r/{space}/{name}/builds/{task}/cancel": actions.cancel,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as it came: the parts of its address, its query, or the type and bytes of its form."""

    parts: Mapping[str, str]
    query: str = ""
    kind: str = ""
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A page as HTML."""

    html: str
    code: int


class Portal:
    """What one portal is: a registry as one person uses it, and who was let in."""

    def __init__(self, registry: Registry, *, port: int, rooted: str = "") -> None:
        self.registry = registry
        self.entrance = Entrance()
        self.cookie = f"lhub-portal-{port}"  # a browser sends a host's cookies to all its ports
        self.drawing, self.rooted = Drawing(registry, self.entrance, rooted), rooted
        self.verified, self.remembered = Verified(), Remembered()
        self._done: OrderedDict[str, Sequence[str]] = OrderedDict()

    @property
    def way_in(self) -> str:
        """The path of the one-time link."""
        return f"/enter/{self.entrance.key}"

    def answer(self, handler: Handler, asked: Asked) -> Drawn | Moved | Picture | Fetched:
        """What a handler answers, a page as HTML; for what goes wrong there is a page as well."""
        notes: list[str] = []
        try:
            fields = read_fields(asked.kind, iter([asked.body]), asked.query)
            if asked.body and not self.entrance.made(fields.text("form_token")):
                raise Denied(
                    "this form was not shown by this portal, so nothing was changed", hint="load its page anew"
                )
            registry = self.registry.logged_in(self.registry.session.caller, notes=notes.append)
            if len(registry.sessions) > 1 and "name" in asked.parts:
                registry = registry.narrowed(name_in(asked.parts))
            visit = Visit(
                registry=registry,
                parts=asked.parts,
                fields=fields,
                verified=self.verified,
                remembered=self.remembered,
                rooted=self.rooted,
            )
            try:
                answer = handler(visit)
            finally:
                if asked.body:
                    self.remembered.forget()
            if isinstance(answer, Moved):
                said = [*filter(None, [answer.said]), *notes]
                return replace(answer, to=self._told(answer.to, said)) if said else answer
            said = [*self._done.pop(fields.text("done") or "", ()), *notes]
            return self.drawn(answer, said) if isinstance(answer, Page) else answer
        except Exception as error:
            return self.drawn(refusal(error), notes)

    def drawn(self, page: Page, said: Sequence[str] = ()) -> Drawn:
        """A page as HTML; what was said twice is told once."""
        return Drawn(html=self.drawing.draw(page, list(dict.fromkeys(said))), code=page.code)

    def _told(self, to: str, said: Sequence[str]) -> str:
        """The address of a page that tells what was done, once."""
        number = os.urandom(8).hex()
        self._done[number] = said
        while len(self._done) > _MOST_DONE:
            self._done.popitem(last=False)
        return f"{to}{'&' if '?' in to else '?'}done={number}"


def refusal(error: Exception) -> Page:
    """The page of an error: the registry's own sentence; a fault of our own is told on stderr as well."""
    told = failed(error, caller="who started it")
    known = isinstance(error, LhubError)
    values = {"message": str(error) if known else sentence(error), "hint": getattr(error, "hint", "")}
    values["title"] = _TITLES.get(told.code, "That did not work")
    return Page(template="refused.html", values=values, code=told.code)
