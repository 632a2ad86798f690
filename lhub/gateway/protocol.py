"""Uvicorn's protocol with two words of our own: what it says to what is no HTTP, and to whom it listens."""

from __future__ import annotations

import json
from typing import Any

from lhub.errors import UsageError
from lhub.gateway.answers import failed
from lhub.gateway.peers import is_own, tells


def with_envelope(base: Any) -> Any:
    """Uvicorn's protocol, but for what it says of a request that it cannot read."""

    class Enveloped(base):  # type: ignore[misc]  # uvicorn is loaded by who serves, so its class is handed in
        def send_400_response(self, msg: str) -> None:
            body = json.dumps(failed(UsageError(msg.rstrip(".")), caller=None).body).encode()
            head = (
                b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
            )
            self.transport.write(head + body)
            self.transport.close()

    return Enveloped


def own_only(protocol: Any) -> Any:
    """The same, shut at once to whoever connects and is not the user who runs this, where the kernel tells that.

    Who only connects and says nothing keeps nobody out then.
    """

    class Own(protocol):  # type: ignore[misc]  # as above
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if tells() and not is_own(transport.get_extra_info("peername"), transport.get_extra_info("sockname")):
                transport.abort()

    return Own
