"""The card of a resource: what all of its pages show, and what the person may not do to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lhub.errors import LhubError, NotFound, UsageError
from lhub.names import LATEST, UNNAMED, Ref, parse_name
from lhub.portal.addresses import selected
from lhub.portal.visit import Page, Visit
from lhub.tags import Links, Tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What all pages of a resource show: its name, kind, visibility and tags, and what the person may not do to it.

    `suffix` is the tag or version that was chosen (``:v1``), empty for what stands for the resource; `version` is what
    that names, None of one without a tag.
    """

    ref: Ref
    kind: str
    visibility: str
    links: Links
    suffix: str
    version: str | None
    push_refused: LhubError | None
    manage_refused: LhubError | None

    @property
    def name(self) -> str:
        """``alice/X``."""
        return self.ref.name

    @property
    def tags(self) -> Sequence[Tag]:
        """Every tag, `latest` first, then those that moved last."""
        return sorted(self.links.tags.values(), key=lambda each: (each.tag != LATEST, -each.when, each.tag))

    @property
    def tag(self) -> str | None:
        """The tag by which the version is looked at: that which was chosen, else one that names it."""
        if self.suffix:
            return self.suffix[1:] if self.suffix[0] == ":" else None
        return next((each.tag for each in self.tags if each.version == self.version), None)

    @property
    def at(self) -> Ref:
        """The version that is looked at, as a reference; NotFound where there is none."""
        if self.version is None:
            raise NotFound(f"{self.name} has no tag", hint="its history tells the versions that it had")
        return replace(self.ref, tag=None, version=self.version)

    @property
    def reference(self) -> str:
        """What a person types for it."""
        return str(self.asked)

    @property
    def asked(self) -> Ref:
        """The reference that a person types for it: by its tag, of which `latest` need not be said, or its digits."""
        if self.tag is None and self.version is not None:
            return replace(self.ref, tag=None, version=self.version[:12])
        return replace(self.ref, tag=None if self.tag == LATEST else self.tag)


def name_in(parts: Mapping[str, str]) -> Ref:
    """The resource that an address names; raises UsageError."""
    space, name = parts["space"], parts["name"]
    namespace, resource = parse_name(name if space == UNNAMED else f"{space}/{name}")
    return Ref(resource=resource, namespace=namespace)


def card_of(visit: Visit) -> Card:
    """The resource that an address names, at the version that its query names."""
    ref, registry = name_in(visit.parts), visit.registry
    links, version, suffix = registry.links(ref), None, visit.fields.text("at") or ""
    if suffix:
        chosen = selected(ref, suffix)
        if chosen is None:
            raise UsageError(f"{suffix[:40]!r} names no version", hint="choose one of the tags")
        with registry.opened(chosen) as opened:
            version = opened.id
    return Card(
        ref=ref,
        kind=registry.kind(ref),
        visibility=registry.visibility(ref),
        links=links,
        suffix=suffix,
        version=version or links.head,
        push_refused=registry.refusal("push", ref),
        manage_refused=registry.refusal("manage", ref),
    )


def page(card: Card, template: str, part: str, **values: Any) -> Page:
    """A page of a resource; `part` is which."""
    return Page(template=template, values={"tab": "", "card": card, "part": part, **values})
