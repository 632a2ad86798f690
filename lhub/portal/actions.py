"""What the buttons do: each is one verb of the registry, and what it refuses is told where it was asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lhub.errors import LhubError, NotFound, UsageError
from lhub.names import parse_tag
from lhub.portal.addresses import resource_address
from lhub.portal.cards import Card, card_of, name_in
from lhub.portal.resources import manage_page
from lhub.portal.tabs import deleted_page, tokens_page
from lhub.portal.visit import Answer, Moved, Visit


def visibility(visit: Visit) -> Answer:
    """Public or private."""

    def set_it(card: Card) -> str:
        now = visit.registry.visibility(card.ref, visit.fields.wanted("visibility"))
        return f"{card.name} is {now} now"

    return _managed(visit, set_it)


def tag(visit: Visit) -> Answer:
    """A tag is added or moved, and protected if asked."""

    def add(card: Card) -> str:
        name, version = visit.fields.wanted("tag"), visit.fields.wanted("version")
        protect = bool(visit.fields.flag("protect"))
        visit.registry.tag(f"{card.name}@{version}", name, protect=protect)
        return f"the tag {name} names {version[:12]}" + (" and never moves again" if protect else "")

    return _managed(visit, add)


def protect(visit: Visit) -> Answer:
    """A tag that stands never moves again."""

    def hold(card: Card) -> str:
        name = visit.fields.wanted("tag")
        if name not in card.links.tags:
            raise NotFound(f"{card.name} has no tag {name[:128]}", hint="it was removed meanwhile")
        visit.registry.tag(card.ref, name, protect=True)
        return f"the tag {name} never moves again"

    return _managed(visit, hold)


def untag(visit: Visit) -> Answer:
    """A tag goes; a protected one after its name was typed."""

    def remove(card: Card) -> str:
        name = visit.fields.wanted("tag")
        if name in card.links.protected:
            _see_typed(visit, name)
            visit.registry.delete(f"{card.name}:{name}", unprotect=[name])
        else:
            visit.registry.untag(card.ref, name)
        return f"the tag {name} is gone, and can be brought back below"

    return _managed(visit, remove)


def rollback(visit: Visit) -> Answer:
    """A tag names an earlier version again."""

    def back(card: Card) -> str:
        name, version = visit.fields.wanted("tag"), visit.fields.wanted("version")
        done = visit.registry.rollback(card.ref, f"@{version}", name)
        return f"the tag {name} names {done.version[:12]} again; before it named {done.before[name][:12]}"

    return _managed(visit, back)


def delete(visit: Visit) -> Answer:
    """The whole resource goes, after its name was typed, with each protected tag that was ticked."""
    card = card_of(visit)
    try:
        visit.registry.delete(
            card.ref, unprotect=visit.fields.texts("unprotect"), confirm=lambda name: _see_typed(visit, name)
        )
    except LhubError as error:
        return manage_page(visit, error)
    return Moved(to="/deleted", said=f"{card.name} is deleted; until a collection some weeks later it can come back")


def restore(visit: Visit) -> Answer:
    """A deleted resource comes back."""
    ref = name_in(visit.parts)
    try:
        visit.registry.restore(ref)
    except LhubError as error:
        return deleted_page(visit, error)
    return Moved(to=resource_address(ref.name), said=f"{ref.name} is back, as it was")


def restore_tag(visit: Visit) -> Answer:
    """A removed tag comes back, with its protection."""

    def back(card: Card) -> str:
        name = parse_tag(visit.fields.wanted("tag"))
        visit.registry.restore(replace(card.ref, tag=name))
        return f"the tag {name} is back, as it was"

    return _managed(visit, back)


def cancel(visit: Visit) -> Answer:
    """A build is asked to stop."""
    card, task = card_of(visit), visit.parts["task"]
    state = visit.registry.build(task_id=task, within=card.ref).cancel().state
    return Moved(to=resource_address(card.name, "builds", task), said=f"the task is {state}")


def create_token(visit: Visit) -> Answer:
    """A token is made, and shown this once."""
    try:
        made = visit.registry.create_token(visit.fields.text("name"), days=visit.fields.number("days", 30))
    except LhubError as error:
        return tokens_page(visit, error)
    visit.remembered.put(made)
    return Moved(to="/tokens")


def delete_token(visit: Visit) -> Answer:
    """A token ends."""
    try:
        name = visit.fields.wanted("name")
        visit.registry.delete_token(name)
    except LhubError as error:
        return tokens_page(visit, error)
    return Moved(to="/tokens", said=f"the token {name} lets nobody in any more")


def _managed(visit: Visit, change: Callable[[Card], str]) -> Answer:
    """The page of what may be changed, after a change, or with the sentence that refuses it."""
    card = card_of(visit)
    try:
        said = change(card)
    except LhubError as error:
        return manage_page(visit, error)
    return Moved(to=resource_address(card.name, "manage"), said=said)


def _see_typed(visit: Visit, name: str) -> None:
    """Raise unless the name was typed of what goes for good."""
    if visit.fields.text("typed") != name:
        raise UsageError(f"{name} was not typed, so nothing was deleted", hint=f"type {name} to delete it")
