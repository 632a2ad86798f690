"""Secrecy: whether a push is sealed, and by which seal; what is sealed once is so for good.

>>> from lhub.orders import Order
>>> wants(Order(path="X", seal=True), "alice"), wants(Order(path="X", visibility="private"), "alice")
(True, False)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lhub.spaces as spaces
from lhub.change import Change
from lhub.errors import Conflict, UsageError
from lhub.layout import TEAM
from lhub.orders import Order
from lhub.session import Session
from lhub.store import Resource, Vanished

if TYPE_CHECKING:
    from lhub.sealing import Lock


def wants(order: Order, namespace: str | None) -> bool:
    """Whether a first push is to be sealed: where it says so, and where only a secret could keep others out."""
    return order.seal or (order.visibility == "private" and namespace is None)


def is_to_be_sealed(session: Session, order: Order, namespace: str | None) -> bool:
    """Whether a first push is sealed; ToolMissing where it must be and nothing can."""
    if not wants(order, namespace):
        return False
    from lhub.age import available, missing  # for what is private without a namespace

    if available():
        return True
    if order.seal:
        raise missing("--seal")
    if spaces.is_shared(session):
        raise missing(f"a private push without a namespace in {session.root}, where others write too,")
    session.notes(
        "stored as it is, for pyrage is not here: who may read this disk may read it (pip install 'lhub[seal]')"
    )
    return False


def refuse(session: Session, resource: Resource, order: Order, namespace: str | None, *, first: bool) -> None:
    """Sealing is for good, from the first push on, and for one person's own: a team's is closed by its group."""
    if order.seal and session.modes(namespace) is TEAM:
        raise UsageError(
            f"{namespace} is a team's namespace, in which nothing is sealed",
            hint="--private closes it to others; or push it to your own namespace, then lhub share REF --with NAME",
        )
    if first or not (order.seal or order.visibility == "public"):
        return
    sealed = resource.sealed()
    if order.seal and not sealed:
        raise Conflict(
            f"{resource.name} has versions in clear, and what is sealed is so from its first push on",
            hint="push it under another name",
        )
    if sealed and order.visibility == "public":
        raise Conflict(f"{resource.name} is sealed, so it cannot be public", hint="push it under another name")


def standing_lock(session: Session, resource: Resource, secret: str | None) -> Lock | None:
    """The seal of what stands, with its keys; None for what stands in clear. Raises NoKey (Denied)."""
    return session.locked(resource, secret) if resource.sealed() else None


def see_unchanged(locked: Change, lock: Lock | None, *, first: bool) -> None:
    """Under the lock: raise Vanished, to begin anew, where it is sealed otherwise by now than when it was begun.

    What a first push that was killed has left counts for nothing.
    """
    resource, begun = locked.resource, lock.stood if lock else None
    if resource.seal_text() != begun and not (first and not resource.published()):
        raise Vanished(f"{resource.name} was sealed otherwise meanwhile", hint="push it again")
