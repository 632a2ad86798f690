"""The portal's HTTP: who is let in, what every answer carries.

What a page needs blocks, so it is made in threads; here is all that waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import quote

import anyio
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

import lhub.portal.files as files
from lhub.errors import Denied, LhubError, NotFound
from lhub.gateway.bodies import whole
from lhub.gateway.downloads import download
from lhub.gateway.loopback import loopback_only
from lhub.portal.desk import ACTIONS, PAGES, Asked, Drawn, Portal, refusal
from lhub.portal.drawing import STATIC
from lhub.portal.visit import Fetched, Handler, Moved, Page, Picture

_FORM, _KIND = 64 << 10, "application/x-www-form-urlencoded"
"""Bytes of a form, and how it is sent."""
_READERS = 4
"""Files that are read to their end at once: the threads of the other pages stay free."""
_WEEK = 7 * 86_400
_OF_RESOURCE = 3
"""Slashes in the address of a resource."""
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with no-referrer a form's Origin would be `null`
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_INERT = {"Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'"}
"""Of a file of somebody's making: it runs nothing and loads nothing, whatever it is taken for."""


def application(portal: Portal) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """The whole of it, as an ASGI application."""
    doors = _Doors(portal)
    routes = [Route("/enter/{key}", doors.enter, methods=["GET", "HEAD"]), Route("/static/{name}", doors.static)]
    routes += [Route(path, partial(doors.act, handler), methods=["POST"]) for path, handler in ACTIONS.items()]
    routes += [Route(path, partial(doors.show, handler)) for path, handler in PAGES.items()]
    routes += [Route(path, doors.back) for path in ACTIONS]
    handlers: Any = {404: doors.nothing, 405: doors.nothing, 500: doors.broken}
    inner = Starlette(routes=routes, exception_handlers=handlers)
    inner.router.redirect_slashes = False
    return loopback_only(inner, doors.refused("a portal answers browsers on its own machine only"))


class _Doors:
    """What stands at each address."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal
        self.readers: anyio.CapacityLimiter | None = None

    def refused(self, sentence: str) -> Response:
        """A refusal that shows nothing of the registry."""
        return self._outside(Page(template="outside.html", values={"message": sentence, "way_in": False}, code=403))

    async def enter(self, request: Request) -> Response:
        """The one-time link. What a browser fetches in advance, or asks only the head of, does not use it up."""
        if self._is_in(request):
            return RedirectResponse("/", status_code=303, headers=_HEADERS)
        ahead = "prefetch" in f"{request.headers.get('sec-purpose')} {request.headers.get('purpose')}"
        session = None
        if request.method == "GET" and not ahead:
            session = self.portal.entrance.admit(request.path_params["key"])
        if session is None:
            return self._closed()
        # not a redirect: after a click in a page elsewhere that would be without the cookie, which is of this site only
        answer = self._outside(Page(template="enter.html"))
        answer.set_cookie(
            self.portal.cookie, session, max_age=_WEEK, path="/", httponly=True, samesite="strict", secure=False
        )
        return answer

    async def static(self, request: Request) -> Response:
        """The stylesheet, the script, the icon."""
        found = STATIC.get(request.path_params["name"])
        if found is None:
            return self._closed(404)
        return Response(found.data, media_type=found.media, headers=_HEADERS | {"Cache-Control": "no-cache"})

    async def show(self, handler: Handler, request: Request) -> Response:
        """A page."""
        if not self._is_in(request):
            return self._closed()
        return await self._answered(handler, request, b"")

    async def act(self, handler: Handler, request: Request) -> Response:
        """A change: from a page of this portal and of no other, with the token that its forms carry."""
        if not self._is_in(request):
            return self._closed()
        try:
            body = await whole(request, most=_FORM)
            told = request.headers
            kind = told.get("content-type", "").partition(";")[0].strip()
            if told.get("origin") != f"http://{told.get('host', '')}" or kind != _KIND or not body:
                raise Denied(
                    "this form did not come from this portal, so nothing was changed", hint="load its page anew"
                )
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except LhubError as error:
            return await self._sent(self.portal.drawn(refusal(error)), request)
        return await self._answered(handler, request, body)

    async def back(self, request: Request) -> Response:
        """The address of an action, opened as a page: whatever was done there, its form stands one above."""
        if not self._is_in(request):
            return self._closed()
        above = request.url.path.rpartition("/")[0]
        to = f"{above}/manage" if above.count("/") == _OF_RESOURCE else above
        return RedirectResponse(to, status_code=303, headers=_HEADERS)

    async def nothing(self, request: Request, error: Exception) -> Response:
        """Another address, or another verb."""
        if not self._is_in(request):
            return self._closed()
        nothing = NotFound("there is nothing at this address", hint="the tabs above lead to what there is")
        return await self._sent(self.portal.drawn(refusal(nothing)), request)

    async def broken(self, request: Request, error: Exception) -> Response:
        """A fault of the portal's own."""
        message = str(refusal(error).values["message"])
        return self._outside(Page(template="outside.html", values={"message": message, "way_in": False}, code=500))

    async def _answered(self, handler: Handler, request: Request, body: bytes) -> Response:
        asked = Asked(parts=request.path_params, query=request.url.query)
        if body:
            asked = Asked(parts=request.path_params, kind=request.headers.get("content-type", ""), body=body)
        limiter = self._readers() if handler is files.raw else None
        return await self._sent(await run_sync(self.portal.answer, handler, asked, limiter=limiter), request)

    def _readers(self) -> anyio.CapacityLimiter:
        self.readers = self.readers or anyio.CapacityLimiter(_READERS)  # made where there is a loop
        return self.readers

    async def _sent(self, answer: Drawn | Moved | Picture | Fetched, request: Request) -> Response:
        if isinstance(answer, Moved):
            return RedirectResponse(answer.to, status_code=303, headers=_HEADERS)
        if isinstance(answer, Picture):
            return Response(answer.data, media_type=answer.media, headers=_HEADERS | _INERT)
        if isinstance(answer, Fetched):
            try:
                return await download(answer.target, request, _HEADERS | _INERT | _as_file(answer))
            except (LhubError, OSError) as error:
                answer = self.portal.drawn(refusal(error))
        return HTMLResponse(answer.html, status_code=answer.code, headers=_HEADERS)

    def _is_in(self, request: Request) -> bool:
        return self.portal.entrance.knows(request.cookies.get(self.portal.cookie))

    def _closed(self, code: int = 401) -> Response:
        sentence = "this portal is opened by the link that lhub portal printed, which works once"
        return self._outside(Page(template="outside.html", values={"message": sentence, "way_in": True}, code=code))

    def _outside(self, page: Page) -> Response:
        return HTMLResponse(self.portal.drawing.outside(page), status_code=page.code, headers=_HEADERS)


def _as_file(answer: Fetched) -> dict[str, str]:
    """How a browser takes a file: a picture is shown, anything else is saved under its name."""
    how = "inline" if answer.media else "attachment"
    named = f"{how}; filename*=UTF-8''{quote(answer.name, safe='')}"
    return {"Content-Disposition": named, "Content-Type": answer.media or "application/octet-stream"}
