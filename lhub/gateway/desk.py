"""The desk: who asks, whether he may, and which call it is; every failure there is an answer too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from threading import Semaphore

from starlette.requests import ClientDisconnect

import lhub.gateway.artifacts as artifacts
import lhub.gateway.executors as executors
import lhub.gateway.users as users
from lhub.errors import Conflict
from lhub.gateway.answers import Answer, Unauthorized, failed
from lhub.gateway.caches import ClientCache
from lhub.gateway.calls import Call, Method
from lhub.gateway.forms import read_fields
from lhub.gateway.links import Links
from lhub.gateway.peers import is_own
from lhub.gateway.sessions import Sessions
from lhub.registry import Registry
from lhub.tokens import digest_of_token

METHODS: Mapping[str, Method] = users.METHODS | executors.METHODS | artifacts.METHODS
_STRANGERS = 16
"""How many may send files at once without a login."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as it came: its headers, its body piece by piece, and the two ends of the connection."""

    authorization: str | None
    kind: str
    query: str
    pieces: Iterator[bytes]
    ends: tuple[tuple[str, int], tuple[str, int]]


@dataclass(kw_only=True)
class Gateway:
    """What one gateway is: whose registry, at which address, for whom."""

    registry: Registry
    links: Links
    sessions: Sessions
    cache: ClientCache | None = None
    known: dict[str, str] = field(default_factory=dict)
    strangers: Semaphore = field(default_factory=lambda: Semaphore(_STRANGERS))

    def caller(self, token: str) -> str:
        """The namespace that a token names; Unauthorized for one that is none, or has expired."""
        digest = digest_of_token(token)
        name = self.sessions.holder(token)
        if name is None:
            name = self.registry.holder(token, likely=self.known.get(digest))
            if name is None:
                raise Unauthorized("the token lets nobody in: it is wrong, or has expired", hint="lhub token create")
            if len(self.known) > 1000:
                self.known.clear()
            self.known[digest] = name
        return name

    def shown(self, body: bytes) -> str:
        """A token for who waits, by the one that a person has shown; Denied, UsageError for what is none.

        It ends with the gateway, or a logout: who waits may not be whom the person believes.
        """
        token = read_fields("application/x-www-form-urlencoded", iter([body]), "").wanted("token").strip()
        return self.sessions.issue(self.caller(token))

    def answer(self, method: Method, asked: Asked) -> Answer:
        """Answer a call; every failure is an answer too."""
        caller, stack = None, ExitStack()
        try:
            token = _token(asked.authorization) if not method.guest else None
            caller = self.caller(token) if token is not None else None
            if caller is None and not method.guest:
                self._refuse_stranger(*asked.ends)
            notes: list[str] = []
            registry = self.registry.logged_in(caller, notes=notes.append)
            stack.enter_context(self._room(caller) if method.upload else nullcontext())
            call = Call(
                registry=registry,
                caller=caller,
                token=token,
                kind=asked.kind,
                query=asked.query,
                pieces=asked.pieces,
                links=self.links,
                sessions=self.sessions,
                cache=self.cache,
                notes=notes,
            )
            return method.answer(call)
        except ClientDisconnect:
            raise
        except Exception as error:
            return failed(error, caller=caller)
        finally:
            stack.close()

    def _refuse_stranger(self, client: tuple[str, int], server: tuple[str, int]) -> None:
        """Refuse other users of the machine without a token; who knows the address of `lhub run` is who typed it."""
        if self.sessions.typist is None and not is_own(client, server):
            raise Unauthorized(
                "this gateway belongs to another user of the machine, who answers his own programs without a token",
                hint="ask him for a token (lhub token create), or start your own: lhub serve",
            )

    @contextmanager
    def _room(self, caller: str | None) -> Iterator[None]:
        """A place among those who send files: strangers get a few, so that there is always one for who has a token."""
        if caller is None and not self.strangers.acquire(blocking=False):
            raise Conflict(f"{_STRANGERS} send files without a login already", hint="try again, or log in")
        try:
            yield
        finally:
            if caller is None:
                self.strangers.release()


def _token(header: str | None) -> str | None:
    """The token of an Authorization header."""
    if header is None:
        return None
    scheme, _, token = header.strip().partition(" ")
    if scheme.lower() not in ("token", "bearer") or not token.strip():
        raise Unauthorized("the Authorization header is not written as `token TOKEN`")
    return token.strip()
