"""Who may do what: every yes and no of the registry, decided here from plain facts, without a disk.

A verb gathers the facts of a place once and asks once; :func:`refusal` answers None (yes) or the error to
raise (no, with its reason). The kernel refuses again what owner, group and mode can express.

==================  ==============  ================  =================  ==================  ===================
.                   own namespace   another's public  another's private  unnamed, public     unnamed, private
==================  ==============  ================  =================  ==================  ===================
logged in: push     yes             no                no                 NAME and SECRET     NAME and SECRET
logged in: pull     yes             yes               no                 yes                 with SECRET
anonymous: push     (a new unnamed  no                no                 NAME and SECRET     NAME and SECRET
                    Executor)
anonymous: pull     public only     yes               no                 yes                 with SECRET
==================  ==============  ================  =================  ==================  ===================

The table is that of Jina's namespaces (jina.ai/news/how-to-manage-jina-resources-with-namespaces).

>>> refusal("pull", Place(namespace="bob", resource="X", stands=True, private=True), caller="alice").code
3
>>> refusal("pull", Place(namespace="bob", resource="X", stands=True), caller="alice") is None
True
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from lhub.errors import Conflict, Denied, LhubError, NotFound

Verb = Literal["pull", "push", "manage"]
"""pull: read in any way. push: a version or a tag. manage: visibility, deletion."""


class Place(NamedTuple):
    """The facts about one resource that decide who may do what with it. No dataclass: each costs every command 1 ms.

    `namespace` is None without one; `own`: it is the caller's namespace or his team's; `stands`: something has
    been pushed there; `maker`: the caller made the resource or owns its namespace; `secret`: how the secret that
    was given compares with the one that stands (None: none was given); `keyless`: nothing proves who may update it;
    `reader`: it is sealed, for the caller too.
    """

    resource: str
    namespace: str | None = None
    own: bool = False
    stands: bool = False
    private: bool = False
    maker: bool = True
    kind: str = "executor"
    secret: bool | None = None
    keyless: bool = False
    reader: bool = False

    @property
    def name(self) -> str:
        """``alice/X``, or ``X`` without a namespace."""
        return f"{self.namespace}/{self.resource}" if self.namespace else self.resource


def refusal(verb: Verb, place: Place, *, caller: str | None) -> LhubError | None:
    """None when `caller` (the logged-in namespace, None: nobody) may do `verb` at `place`, else the error to raise."""
    if verb == "pull":
        return None if place.stands and may_see(place) else absent(place.name, caller=caller)
    if place.namespace is None:
        return _refuse_unnamed(verb, place, caller=caller)
    return _refuse_named(verb, place, caller=caller)


def may_see(place: Place) -> bool:
    """Whether a resource that stands is visible to the caller at all."""
    if not place.private:
        return True
    return place.own or place.reader if place.namespace else place.secret is True


def absent(name: str, *, caller: str | None = None) -> NotFound:
    """The one answer for what is not here and for what one may not see."""
    if caller and "/" not in name:
        return NotFound(
            f"{name} is not here", hint=f"in your namespace it is {caller}/{name}; lhub list shows what there is"
        )
    return NotFound(f"{name} is not here", hint="lhub list shows what you may see")


def _refuse_named(verb: Verb, place: Place, *, caller: str | None) -> LhubError | None:
    if caller is None:
        return Denied(f"{place.name} takes changes from its owner only, and nobody is logged in", hint="lhub login")
    if not place.own and place.namespace == caller:
        return Denied(
            f"the namespace {caller} belongs to another user of this machine", hint="lhub login with another name"
        )
    if not place.own:
        return Denied(
            f"{place.namespace} is not your namespace, you are {caller}",
            hint="lhub namespace list tells whose it is and which are yours",
        )
    if verb == "manage" and not place.stands:
        return absent(place.name)
    if verb == "manage" and not place.maker:
        return Denied(f"{place.name} was made by somebody else in your team", hint="its maker can do this")
    return None


def _refuse_unnamed(verb: Verb, place: Place, *, caller: str | None) -> LhubError | None:
    if not place.stands:
        return _refuse_new_unnamed(verb, place, caller=caller)
    if place.kind == "docarray" and verb == "push":
        return Denied(
            f"{place.name} is a DocumentArray without a namespace, which is never updated",
            hint="push it under a namespace, as in alice/" + place.resource,
        )
    if place.keyless:
        return _refuse_keyless(verb, place)
    if place.secret is None and (verb == "push" or not place.private):
        return Conflict(
            f"{place.name} stands already and its secret was not given",
            hint=f"lhub push PATH --force-update {place.resource} --secret SECRET updates it, "
            f"jinahub://{place.resource}:SECRET names it",
        )
    if place.secret is None or (verb == "manage" and place.private and not place.secret):
        return absent(place.name)
    if not place.maker:
        return Denied(f"{place.name} was made by another user of this machine", hint="its maker can do this")
    if not place.secret:
        return Denied(
            f"the secret for {place.name} is not the right one", hint="it was printed once, at the first push"
        )
    return None


def _refuse_keyless(verb: Verb, place: Place) -> LhubError | None:
    """What was adopted, or imported without its secret: its maker may hide or delete it, nobody updates it."""
    if verb == "push":
        return Denied(
            f"{place.name} came without a secret, so it is never updated",
            hint="push it under a namespace, as in alice/" + place.resource,
        )
    return None if place.maker else Denied(f"{place.name} was made by another user", hint="its maker can do this")


def _refuse_new_unnamed(verb: Verb, place: Place, *, caller: str | None) -> LhubError | None:
    if verb == "manage":
        return absent(place.name)
    if caller is not None:
        return NotFound(
            f"there is no {place.name} without a namespace to update",
            hint=f"without --secret it is pushed as {caller}/{place.resource}",
        )
    if place.kind != "executor":
        return Denied(
            "without a login only an Executor can be pushed, this has no config.yml or manifest.yml of one",
            hint="lhub login, then push it under your namespace",
        )
    return None
