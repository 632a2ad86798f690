"""The gateway's HTTP: what stands at each address, how a body comes in and how an answer travels.

What is done with a call blocks, so it is done in threads; here is all that waits.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import anyio.to_thread
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from lhub.errors import Denied, LhubError, UsageError
from lhub.gateway.answers import Answer, NoSuchCall, WrongWay, failed, sentence
from lhub.gateway.bodies import batches, drain, from_loop, whole
from lhub.gateway.desk import METHODS, Asked, Gateway
from lhub.gateway.downloads import download
from lhub.gateway.forms import MOST_FIELDS
from lhub.gateway.loopback import loopback_only
from lhub.gateway.page import form, page

_THREADS = 256


def application(gateway: Gateway, prefix: str = "") -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """The whole of it, as an ASGI application; all its paths begin with `prefix`."""
    doors = _Doors(gateway)
    anything = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    routes = [
        Route(f"{prefix}/v2/rpc/{{method}}", doors.call, methods=anything),
        Route(f"{prefix}/v2/.well-known/jwks.json", doors.keys),
        Route(f"{prefix}/download/{{name}}/{{file:path}}", doors.link, methods=["GET", "HEAD"]),
        Route(f"{prefix}/login/{{state}}", doors.login, methods=["GET", "POST"]),
    ]
    handlers: Any = {404: doors.nothing, 405: doors.nothing, 500: doors.broken}
    refused = Denied("a gateway answers programs on its own machine only", hint="http://127.0.0.1")
    return loopback_only(
        Starlette(routes=routes, exception_handlers=handlers), _sent(failed(refused, caller="web page"))
    )


class _Doors:
    """What stands at each address."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    async def call(self, request: Request) -> Response:
        """A call, answered in a thread."""
        anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
        method = METHODS.get(request.path_params["method"])
        if method is None:
            return _failure(NoSuchCall("there is no such call here"))
        if request.method not in method.verbs:
            return _failure(WrongWay(f"this call comes by {', '.join(sorted(method.verbs))}"))
        coming = batches(request)
        try:
            asked = Asked(
                authorization=request.headers.get("authorization"),
                kind=request.headers.get("content-type", ""),
                query=request.url.query,
                pieces=from_loop(coming) if method.upload else iter([await whole(request, most=MOST_FIELDS)]),
                ends=(request.scope["client"], request.scope["server"]),
            )
            answer = await run_sync(partial(self.gateway.answer, method, asked))
            if method.upload and answer.code >= 400:
                await drain(coming)
            return _sent(answer)
        except LhubError as error:  # a body that is too long, or does not come
            return _failure(error)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it

    async def link(self, request: Request) -> Response:
        """What lies behind a link."""
        target = self.gateway.links.find(request.path_params["name"])
        if target is None:
            return _failure(NoSuchCall("this link leads nowhere, or no longer", hint="ask for it anew"))
        try:
            return await download(target, request)
        except (LhubError, OSError) as error:
            return _failure(error)

    async def login(self, request: Request) -> Response:
        """The page on which a person says who he is."""
        state, sessions = request.path_params["state"], self.gateway.sessions
        if sessions.waiting(state) is None:
            return page("Nobody waits for this login any more.", code=404)
        if request.method == "GET":
            return form()
        try:
            token = await run_sync(partial(self.gateway.shown, await whole(request, most=MOST_FIELDS)))
            if not sessions.confirm(state, token):
                raise UsageError("nobody waits for this login any more")
        except (LhubError, OSError) as error:
            return form(sentence(error))
        return page("You are logged in. This page can be closed.")

    async def keys(self, request: Request) -> Response:
        """The keys of signed tokens: ours are none."""
        return _sent(Answer(body={"keys": []}))

    async def nothing(self, request: Request, error: Exception) -> Response:
        """Another address, or another verb."""
        return _failure(NoSuchCall("there is nothing at this address"))

    async def broken(self, request: Request, error: Exception) -> Response:
        """A fault of the gateway's own."""
        return _failure(error)


# answers


def _failure(error: Exception) -> Response:
    return _sent(failed(error, caller=None))


def _sent(answer: Answer) -> Response:
    if answer.lines is None:
        return Response(_line(answer.body), status_code=answer.code, media_type="application/json")
    lines = _lines(answer.lines) if isinstance(answer.lines, AsyncIterator) else map(_line, answer.lines)
    return StreamingResponse(lines, status_code=answer.code, media_type="application/x-ndjson")


async def _lines(lines: AsyncIterator[Mapping[str, Any] | None]) -> AsyncIterator[bytes]:
    async for line in lines:
        yield _line(line)


def _line(line: Mapping[str, Any] | None) -> bytes:
    """JSON in ASCII, since what was pushed may hold a surrogate that stands alone; nothing where nothing came."""
    return b"" if line is None else json.dumps(line).encode() + b"\n"
