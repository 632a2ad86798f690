"""HTTP that is none gets the same envelope as every other fault."""

from __future__ import annotations

import json
from typing import Any

from lhub.errors import UsageError
from lhub.gateway.answers import failed


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
