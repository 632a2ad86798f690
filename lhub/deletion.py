"""Delete and restore: a tag, or a whole resource, goes and comes back until a collection has taken it.

A resource is deleted by one rename into its namespace's `.trash/`, where all of it stays as it was: tags, pins, diary.
A tag is deleted by removing its link; what it named is in the diary.

>>> from lhub.names import parse_ref
>>> is_whole(parse_ref("alice/X")), is_whole(parse_ref("alice/X:v1"))
(True, False)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from lhub.change import Change, unremoved_error
from lhub.commits import log
from lhub.diary import Entry, replay
from lhub.disk import TAKEN
from lhub.errors import Conflict, Denied, NotFound, UsageError
from lhub.layout import deleted_name, since_name
from lhub.moments import timestamp
from lhub.names import Ref, twin
from lhub.opening import listed, refresh
from lhub.session import Session, seconds
from lhub.spaces import clear_leftover, make_trash
from lhub.store import Resource
from lhub.tags import Links

_FAR = 1e14
"""Seconds that no clock is ahead by: in a shared trash anybody may plant a name, and one more digit is no time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """What was deleted or restored: `name` (``alice/X``), and the `tags` it was, none for the whole resource."""

    name: str
    tags: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub delete --json` prints it."""
        return {"name": self.name, "tags": list(self.tags)}


def is_whole(ref: Ref) -> bool:
    """Whether a reference given to delete or restore means the resource itself; UsageError for a version."""
    if ref.version:
        raise UsageError(f"{ref} is a version, not a tag or a resource", hint="a version without a tag goes by lhub gc")
    return ref.tag is None


def delete(session: Session, ref: Ref, unprotect: Iterable[str], confirm: Callable[[str], None]) -> Deleted:
    """Carry out a deletion; `confirm` is told the name of a whole resource and raises if it shall stay."""
    named = frozenset(unprotect)
    if ref.at:
        raise UsageError(f"{ref} is of the past", hint=f"lhub delete {ref.name} deletes what stands")
    if is_whole(ref):
        return _delete_resource(session, ref, named, confirm)
    if odd := named - {ref.tag}:
        raise UsageError(f"--unprotect {', '.join(sorted(odd))} is not what is deleted", hint=f"this deletes {ref.tag}")
    resource = session.permitted("manage" if named else "push", ref)
    tags = (ref.tag,) if ref.tag else ()
    with session.changing(resource, ref.namespace) as locked:
        locked.refuse_removal(tags, unprotect=named)
        locked.remove(tags)
        locked.record(replace(locked.entry("delete"), untagged=tags))
    return Deleted(name=resource.name, tags=tags)


def _delete_resource(session: Session, ref: Ref, unprotect: frozenset[str], confirm: Callable[[str], None]) -> Deleted:
    resource = session.permitted("manage", ref)
    _refuse_protected(resource.name, resource.links(), unprotect)
    confirm(resource.name)
    with session.changing(resource, ref.namespace) as locked:
        _refuse_protected(resource.name, locked.links, unprotect)
        _to_trash(session, ref, locked)
        locked.record(locked.entry("delete"))
    return Deleted(name=resource.name)


def _refuse_protected(name: str, links: Links, unprotect: frozenset[str]) -> None:
    """Raise while a protected tag stands that was not named, or one was named that is none."""
    if held := sorted(set(links.protected) - unprotect):
        raise unremoved_error(name, held, whole=True)
    if odd := sorted(unprotect - set(links.protected)):
        raise NotFound(f"{name} has no protected tag {', '.join(odd)}", hint=f"lhub show {name} lists its tags")


def _to_trash(session: Session, ref: Ref, locked: Change) -> None:
    """One rename; of deletions of one name the later has the greater second, whatever the clock of each host says."""
    folder = session.folder.namespace(ref.namespace)
    make_trash(session, ref.namespace)
    times = [since_name(name) for name in os.listdir(folder.trash) if deleted_name(name) == ref.resource]
    now = max([session.clock(), *(when + 1 for when in times if when < _FAR)])
    for later in range(100):
        try:
            return locked.relocate(folder.deleted(ref.resource, now + later).path)
        except PermissionError:
            if os.path.lexists(folder.deleted(ref.resource, now + later).path):
                continue  # another user's of the same second, whom the sticky bit protects
            raise Denied(f"{locked.resource.name} was made by another user", hint="its maker can do this") from None
        except OSError as error:
            if error.errno not in TAKEN:
                raise
    raise Conflict(f"{folder.trash} is full of {ref.resource}", hint="look what is there")


def restore(session: Session, ref: Ref) -> Deleted:
    """Bring back what was deleted last, or until a date: the whole resource, or a tag with its protection."""
    return _restore_resource(session, ref) if is_whole(ref) else _restore_tag(session, ref)


def _restore_resource(session: Session, ref: Ref) -> Deleted:
    session.read_root()
    resource = _newest_deleted(session, ref)
    if resource is None:
        session.permitted("manage", ref)  # the answer for what is not here, or not for the caller
        raise Conflict(f"{ref.name} stands, nothing of it is in the trash", hint=f"lhub log {ref.name} tells its tags")
    session.permitted("manage", ref, resource=resource)
    place = session.folder.namespace(ref.namespace).resource(ref.resource)
    taken = Conflict(
        f"{ref.name} has been pushed anew and stands",
        hint=f"delete that, then restore {ref.name}@{{DATE}}: what was deleted until then",
    )
    is_there = ref.resource in os.listdir(os.path.dirname(place.path))  # GlusterFS remembers a moved name for a second
    if is_there and session.place(ref.namespace, ref.resource).stands:
        raise taken
    session.no_twin(ref.namespace, ref.resource)
    if is_there:
        clear_leftover(session, ref.namespace, session.resource(ref.namespace, ref.resource))
    with session.changing(resource, ref.namespace) as locked:
        try:
            locked.relocate(place.path)
        except OSError as error:
            if error.errno not in TAKEN:
                raise
            raise taken from None
        locked.record(locked.entry("restore"))
    return Deleted(name=resource.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lying:
    """A deleted resource that the caller may bring back: its name, and when it was deleted (seconds since 1970)."""

    name: str
    when: float

    def to_dict(self) -> dict[str, object]:
        """The value as a JSON document has it."""
        return {"name": self.name, "when": timestamp(self.when)}


def lying(session: Session) -> list[Lying]:
    """What was deleted in the caller's namespaces and has not been pushed anew, newest first."""
    session.read_root()
    found: dict[str, float] = {}
    for namespace in filter(session.is_own, session.spaces()):
        trash = session.folder.namespace(namespace).trash
        for entry in [] if os.path.islink(trash) else listed(trash):
            name = deleted_name(entry.name)
            if name is None or session.resource(namespace, name).status() is not None:
                continue
            ref, resource = Ref(resource=name, namespace=namespace), Resource(entry.path, f"{namespace}/{name}")
            if resource.status() is not None and session.may_manage(ref, resource):
                found[ref.name] = max(since_name(entry.name), found.get(ref.name, 0.0))
    return [Lying(name=name, when=when) for name, when in sorted(found.items(), key=lambda each: (-each[1], each[0]))]


def _newest_deleted(session: Session, ref: Ref) -> Resource | None:
    """The resource of this name that was deleted last, until the date of the reference if it has one."""
    until = seconds(ref.at) if ref.at else float("inf")
    trash = session.folder.namespace(ref.namespace).trash
    refresh(os.path.dirname(trash))
    if not session.is_space(ref.namespace) or not os.path.isdir(trash) or os.path.islink(trash):
        return None
    names = [name for name in os.listdir(trash) if deleted_name(name) == ref.resource and since_name(name) <= until]
    names.sort(key=since_name, reverse=True)
    found = [each for each in (Resource(f"{trash}/{name}", ref.name) for name in names) if each.status()]
    mine = [each for each in found if session.may_manage(ref, each)]
    asked = [each for each in found if ref.namespace or session.keeps(None, each)]  # its refusal is the answer
    return next(iter((*mine, *asked)), None)


def _restore_tag(session: Session, ref: Ref) -> Deleted:
    resource, tag = session.permitted("push", ref), ref.tag or ""
    if ref.at:
        raise UsageError(f"{ref} has a date, a tag comes back as it was last", hint="leave the date out")
    with session.changing(resource, ref.namespace) as locked:
        if tag in locked.links.tags:
            raise Conflict(f"{resource.name}:{tag} stands", hint="delete it first, or lhub rollback moves it")
        if other := twin(tag, list(locked.links.tags)):
            raise Conflict(f"the tag {tag} differs only by case from {other}", hint=f"delete {other} first")
        version, protected = _was(resource, tag)
        if not resource.keeps(version):
            raise NotFound(
                f"{resource.name}:{tag} was {version[:12]}, which a collection has removed",
                hint=f"lhub log {resource.name} tells what it was",
            )
        locked.pin((tag,) if protected else (), version)
        locked.move((tag,), version)
        entry: Entry = replace(locked.entry("restore"), version=version, tags=(tag,))
        locked.record(replace(entry, protected=(tag,)) if protected else entry)
    return Deleted(name=resource.name, tags=(tag,))


def _was(resource: Resource, tag: str) -> tuple[str, bool]:
    """What a tag that is gone named last, and whether it was protected; NotFound for one that never was."""
    entries = list(log(resource))
    for index, entry in enumerate(entries):
        if tag in entry.untagged:
            before = replay(reversed(entries[index + 1 :]))
            if tag in before.tags:
                return before.tags[tag], tag in before.pins
    raise NotFound(f"{resource.name} never had a tag {tag}", hint=f"lhub log {resource.name} lists what it had")
