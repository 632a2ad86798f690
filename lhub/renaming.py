"""Rename: a resource gets another name in its namespace, with its tags, versions and diary, by one rename(2).

References by the old name lead nowhere afterwards, so one with protected tags keeps its name: what they promise is that
`alice/X:v1` stays.

>>> from lhub.names import parse_ref
>>> new_name(parse_ref("alice/X"), "alice/Y"), new_name(parse_ref("alice/X"), "Y")
('Y', 'Y')
"""

from __future__ import annotations

import os
from dataclasses import replace

from lhub.disk import TAKEN
from lhub.errors import Conflict, UsageError
from lhub.layout import BASE
from lhub.names import Ref, parse_name
from lhub.session import Session
from lhub.spaces import clear_leftover
from lhub.tags import Links


class Taken(Conflict):
    """A resource of the wanted name stands."""


def new_name(ref: Ref, name: str) -> str:
    """The name that a resource shall have in its namespace; UsageError for one in another."""
    if ref.tag or ref.version or ref.at:
        raise UsageError(f"{ref} is not a whole resource", hint=f"{ref.name} is")
    namespace, wanted = parse_name(name)
    if namespace not in (None, ref.namespace):
        raise UsageError(f"{ref.name} cannot be moved to {namespace}", hint="lhub copy carries it there")
    return wanted


def rename(session: Session, ref: Ref, name: str) -> str:
    """Carry it out; the whole new name."""
    wanted = new_name(ref, name)
    resource = session.permitted("manage", ref)
    if wanted == ref.resource:
        return ref.name
    full = replace(ref, resource=wanted).name
    _refuse_protected(ref.name, resource.links())
    space = session.folder.namespace(ref.namespace)
    taken = Taken(f"{full} stands already", hint="choose another name")
    if session.place(ref.namespace, wanted, secret=ref.secret).stands:
        raise taken
    if wanted.lower() != ref.resource.lower():
        session.no_twin(ref.namespace, wanted)
    if wanted in os.listdir(space.path):
        clear_leftover(session, ref.namespace, session.resource(ref.namespace, wanted))
    with session.changing(resource, ref.namespace) as locked:
        _refuse_protected(ref.name, locked.links)
        try:
            locked.relocate(space.resource(wanted).path, full)
        except OSError as error:
            if error.errno not in TAKEN:
                raise
            raise taken from None
        if locked.resource.kind() == BASE:
            locked.tell_base()
        locked.record(replace(locked.entry("rename"), message=f"it was {ref.name}"))
    return full


def _refuse_protected(name: str, links: Links) -> None:
    if links.protected:
        held = ", ".join(sorted(links.protected))
        raise Conflict(f"{name} has protected tags, which keep its name: {held}", hint="push it under another name too")
