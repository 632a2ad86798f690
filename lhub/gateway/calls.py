"""Calls: one request of a client, for a person, and all that an answer may need.

A call is answered in a thread of its own; `pieces` asks the event loop for what comes next.

>>> identity_of(Ref(namespace="my_team", resource="X_1")), str(ref_of("_my__team_X_1"))
('_my__team_X_1', 'my_team/X_1')
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

from lhub.errors import NotFound
from lhub.gateway.answers import Answer, Unauthorized
from lhub.gateway.caches import ClientCache
from lhub.gateway.forms import Fields, Part, read_fields, read_parts
from lhub.gateway.links import Links
from lhub.gateway.sessions import Sessions
from lhub.names import Ref, parse_name
from lhub.registry import Registry

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request: who asks (`caller`, None: nobody), of which registry, with what."""

    registry: Registry
    caller: str | None
    token: str | None
    kind: str
    query: str
    pieces: Iterator[bytes]
    links: Links
    sessions: Sessions
    cache: ClientCache | None = None
    notes: list[str] = field(default_factory=list)

    def fields(self) -> Fields:
        """The values of a body without a file."""
        return read_fields(self.kind, self.pieces, self.query)

    def parts(self) -> Iterator[Part]:
        """The parts of a form with a file."""
        return read_parts(self.kind, self.pieces)

    def login(self) -> str:
        """The namespace of who asks; Unauthorized for nobody."""
        if self.caller is None:
            raise Unauthorized("nobody is logged in", hint="jina auth login, or lhub login NAME before lhub run")
        return self.caller

    def own_first(self, ref: Ref, look: Callable[[Ref], _T]) -> _T:
        """What is found under a bare name: in the caller's namespace, where he pushes it, else without one."""
        if ref.namespace is not None or self.caller is None:
            return look(ref)
        try:
            return look(replace(ref, namespace=self.caller))
        except NotFound:
            with suppress(NotFound):
                return look(ref)
            raise


@dataclass(frozen=True, kw_only=True)
class Method:
    """What a call is answered with, and by which verbs of HTTP it may come.

    A `guest` may send any token; an `upload` takes a body of any size, as it comes.
    """

    answer: Callable[[Call], Answer]
    verbs: frozenset[str] = frozenset({"POST"})
    guest: bool = False
    upload: bool = False


# how things are called


def identity_of(ref: Ref) -> str:
    """What the clients know a resource by, and name folders after.

    jina takes a path for one of YAML only if it has letters, digits and ``/ . - _`` (`is_yaml_filepath`), so it is
    ``_alice_X``: no name begins with ``_``, and those in the namespace are doubled.
    """
    return f"_{ref.namespace.replace('_', '__')}_{ref.resource}" if ref.namespace else ref.resource


def ref_of(text: str) -> Ref:
    """The resource of a name (``alice/X``, ``X``) or of what `identity_of` gave."""
    if found := _IDENTITY.fullmatch(text):
        text = f"{found[1].replace('__', '_')}/{found[2]}"
    namespace, resource = parse_name(text)
    return Ref(resource=resource, namespace=namespace)


_IDENTITY = re.compile("_((?:[^_/]|__)+)_([^_/][^/]*)")
