"""Who may speak to a server of ours at all: who came by a name of the loopback, which no web page elsewhere has.

>>> is_loopback("127.0.0.1:8648"), is_loopback("evil.example:8648"), is_loopback("")
(True, False, False)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import Receive, Scope, Send

_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})


def loopback_only(inner: Any, refused: Any) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """Answer nobody who came by another name than the loopback's: a web page that was led here by DNS."""

    async def asked(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {key: value.decode("latin-1") for key, value in scope["headers"] if key in (b"host", b"origin")}
        origin = headers.get(b"origin")  # `null` is a page that hides where it is from
        own = origin is None or is_loopback(origin.removeprefix("http://"))
        await (inner if is_loopback(headers.get(b"host", "")) and own else refused)(scope, receive, send)

    return asked


def is_loopback(host: str) -> bool:
    """Whether a Host, or an Origin without its scheme, is a name of the loopback."""
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return name in _HOSTS
