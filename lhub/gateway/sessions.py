"""Who has logged in to this gateway, for as long as it lives: nothing of it is kept on a disk.

In `lhub run` whoever knows the gateway's address is the person who typed it. Behind `lhub serve` `jina auth login` asks
for a page on which a person shows a token, and waits.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic

from lhub.errors import Conflict
from lhub.tokens import digest_of_token, new_token

_MOST_WAITING, _MOST_TOKENS = 32, 1000
PATIENCE = 600.0
"""Seconds in which a person confirms a login."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Typist:
    """The person who typed `lhub run`: `namespace` is whom he is logged in as, the others log him in and out."""

    namespace: Callable[[], str | None]
    login: Callable[[str], None]
    logout: Callable[[], None]
    account: str


@dataclass(slots=True)
class Wish:
    """A client that waits for a login; `token` is what it will get, once somebody has shown it."""

    token: str = ""
    since: float = field(default_factory=monotonic)


class Sessions:
    """The logins of one gateway; `typist` is who typed `lhub run`, None behind `lhub serve`."""

    def __init__(self, typist: Typist | None = None) -> None:
        self.typist = typist
        self._tokens: dict[str, str] = {}
        self._wishes: dict[str, Wish] = {}
        self._codes: dict[str, str] = {}
        self._lock = Lock()

    def issue(self, namespace: str) -> str:
        """A token that holds as long as the gateway lives."""
        token = new_token()
        with self._lock:
            self._tokens[digest_of_token(token)] = namespace
            while len(self._tokens) > _MOST_TOKENS:
                self._tokens.pop(next(iter(self._tokens)))
        return token

    def holder(self, token: str) -> str | None:
        """The namespace of such a token."""
        return self._tokens.get(digest_of_token(token))

    def dismiss(self, token: str) -> None:
        """End such a token; in `lhub run` that is a logout, for all of them are the same person's."""
        with self._lock:
            if self._tokens.pop(digest_of_token(token), None) is None or self.typist is None:
                return
            self._tokens.clear()
        self.typist.logout()

    # logging in

    def wish(self) -> tuple[str, Wish]:
        """A client begins to wait: the name of its page, and what it waits for."""
        state, waits = os.urandom(16).hex(), Wish()
        with self._lock:
            for old in [each for each, wish in self._wishes.items() if monotonic() - wish.since > PATIENCE]:
                del self._wishes[old]
            if len(self._wishes) >= _MOST_WAITING:
                raise Conflict(f"{_MOST_WAITING} logins wait already", hint="confirm one, or wait ten minutes")
            self._wishes[state] = waits
        return state, waits

    def waiting(self, state: str) -> Wish | None:
        """The client that a page is for."""
        return self._wishes.get(state)

    def confirm(self, state: str, token: str) -> bool:
        """Give a client what it waits for; False where none does."""
        with self._lock:
            wish = self._wishes.pop(state, None)
        if wish is None:
            return False
        wish.token = token
        return True

    def count_waiting(self) -> int:
        """How many clients wait for a login."""
        return len(self._wishes)

    def give_up(self, state: str) -> None:
        """Nobody waits any more."""
        with self._lock:
            self._wishes.pop(state, None)

    def code_for(self, token: str) -> str:
        """What a client exchanges for its token, once."""
        code = os.urandom(16).hex()
        with self._lock:
            self._codes[code] = token
            while len(self._codes) > _MOST_WAITING:
                self._codes.pop(next(iter(self._codes)))
        return code

    def exchange(self, code: str) -> str | None:
        """The token of a code."""
        with self._lock:
            return self._codes.pop(code, None)
