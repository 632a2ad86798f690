"""The entrance: a link that opens once, the session that it opens, and what proves that a form is one of its own.

>>> entrance = Entrance()
>>> entrance.admit("wrong") is None
True
>>> session = entrance.admit(entrance.key)
>>> entrance.knows(session), entrance.admit(entrance.key) is None
(True, True)
"""

from __future__ import annotations

import os
from hmac import compare_digest
from threading import Lock


class Entrance:
    """Who is in; all of it is chance, 256 bits each, and ends with the portal."""

    def __init__(self) -> None:
        self.key = _chance()
        self.form_token = _chance()
        self._session: str | None = None
        self._lock = Lock()

    def admit(self, key: str) -> str | None:
        """The session that the link opens, the first time; None for another key, and ever after."""
        with self._lock:
            if self._session is not None or not _same(key, self.key):
                return None
            self._session = _chance()
            return self._session

    def knows(self, session: str | None) -> bool:
        """Whether somebody is the one who was let in."""
        return self._session is not None and session is not None and _same(session, self._session)

    def made(self, form_token: str | None) -> bool:
        """Whether a form is one that a page of ours showed."""
        return form_token is not None and _same(form_token, self.form_token)


def _same(one: str, other: str) -> bool:
    return compare_digest(one.encode(errors="surrogatepass"), other.encode())


def _chance() -> str:
    return os.urandom(32).hex()
