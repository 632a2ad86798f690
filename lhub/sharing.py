"""Sharing: for whom a sealed resource of one's own is sealed besides, and for whom no more.

Who is added opens all that stands, since the resource's keys are sealed for him too; no payload is written again. For
who is taken out there is a new key, which opens what follows. What he could read he may have kept.

>>> Shared(name="alice/X", readers=("bob",)).to_dict()
{'name': 'alice/X', 'readers': ['bob']}
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import lhub.spaces as spaces
from lhub.age import is_recipient
from lhub.errors import Conflict, Corrupt, NotFound, UsageError
from lhub.names import Ref, parse_namespace
from lhub.sealing import Lock
from lhub.session import Session
from lhub.store import Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """For whom a resource is sealed, besides its owner: `readers` are namespaces."""

    name: str
    readers: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub share --json` prints it."""
        return {"name": self.name, "readers": list(self.readers)}


def shared(session: Session, ref: Ref) -> Shared:
    """For whom a sealed resource that one may see is sealed."""
    resource = session.seen(ref)
    return Shared(name=resource.name, readers=tuple(sorted(_sealed(resource))))


def share(session: Session, ref: Ref, namespace: str) -> Shared:
    """Seal a resource of one's own for one namespace more, whose owner opens what stands and what follows."""
    parse_namespace(namespace)
    resource = _own(session, ref)
    _sealed(resource)
    if namespace == ref.namespace:
        raise UsageError(f"{resource.name} is sealed for {namespace}, whose own it is", hint="name another namespace")
    recipient = _recipient_of(session, namespace)

    def with_reader(lock: Lock) -> Lock:
        return lock.resealed(replace(lock.seal, readers={**lock.seal.readers, namespace: recipient}))

    return _change(session, ref, resource, "share", namespace, with_reader)


def unshare(session: Session, ref: Ref, namespace: str) -> Shared:
    """Seal what follows no more for a namespace; NotFound where it was not."""
    resource = _own(session, ref)
    if namespace == ref.namespace:
        raise UsageError(f"{resource.name} is sealed for {namespace}, whose own it is", hint="lhub delete removes it")
    if namespace not in _sealed(resource):
        raise NotFound(
            f"{resource.name} is not shared with {namespace[:80]}", hint=f"lhub share {resource.name} tells with whom"
        )

    def without(lock: Lock) -> Lock:
        left = {name: key for name, key in lock.seal.readers.items() if name != namespace}
        return replace(lock, seal=replace(lock.seal, readers=left)).with_new_key()

    return _change(session, ref, resource, "unshare", namespace, without)


def _own(session: Session, ref: Ref) -> Resource:
    """A resource of the caller's own namespace."""
    if ref.namespace is None:
        raise UsageError(f"{ref.name} has no namespace: whoever has its secret reads it", hint="give him that")
    return session.permitted("manage", ref)


def _sealed(resource: Resource) -> dict[str, str]:
    """The readers of a resource; Conflict for one that is not sealed."""
    seal = resource.seal()
    if seal is None:
        raise Conflict(f"{resource.name} is not sealed", hint="lhub push PATH NAME --seal, under a new name")
    return dict(seal.readers)


def _recipient_of(session: Session, namespace: str) -> str:
    try:
        recipient = spaces.recipient(session, namespace)
    except Corrupt:
        recipient = None
    if recipient is None or not is_recipient(recipient):
        raise NotFound(
            f"the namespace {namespace} has told no key",
            hint=f"its owner says: lhub login {namespace}, with lhub[seal] installed",
        )
    return recipient


def _change(
    session: Session, ref: Ref, resource: Resource, action: str, namespace: str, change: Callable[[Lock], Lock]
) -> Shared:
    with session.changing(resource, ref.namespace) as locked:
        before = session.locked(resource, ref.secret)
        after = change(before)
        if after.seal.readers != before.seal.readers:
            locked.keep_seal(after.seal.text())
            locked.record(replace(locked.entry(action), message=f"with {namespace}"))
    return Shared(name=resource.name, readers=tuple(sorted(after.seal.readers)))
