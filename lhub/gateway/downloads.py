"""Downloads: the bytes behind a link, whole or from somewhere on (RFC 9110, Range), with their length told first."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

from anyio import fail_after
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from lhub.gateway.links import Target

_NONE: Mapping[str, str] = {}
_PIECE = 256 << 10
_PATIENCE = 60.0
"""Seconds that a client may let pass before it reads on."""
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class NotSatisfiable(ValueError):
    """A range that begins behind the end."""


async def download(target: Target, request: Request, more: Mapping[str, str] = _NONE) -> Response:
    """The answer to GET or HEAD of a link; `more` are headers that go with it."""
    stack = ExitStack()
    try:
        descriptor = await run_sync(stack.enter_context, target.opened())
        size = os.fstat(descriptor).st_size
        headers = {"Accept-Ranges": "bytes", "ETag": f'"{target.etag}"', "Content-Type": "application/octet-stream"}
        headers |= more
        try:
            span = _asked(request, target, size)
        except NotSatisfiable:
            stack.close()
            return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{size}"})
        start, end = span or (0, size)
        headers["Content-Length"] = str(end - start)
        if span is not None:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        code = 200 if span is None else 206
        if request.method == "HEAD":
            stack.close()
            return Response(status_code=code, headers=headers)
        return _Sent(_pieces(descriptor, start, end), status_code=code, headers=headers, close=stack.close)
    except BaseException:
        stack.close()
        raise


def _asked(request: Request, target: Target, size: int) -> tuple[int, int] | None:
    """The one range that is asked for, as start and end; None for all of it."""
    found = _RANGE.fullmatch(request.headers.get("range", ""))
    only_if = request.headers.get("if-range")
    if found is None or found[0] == "bytes=-" or only_if not in (None, f'"{target.etag}"'):
        return None
    first, last = found.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1 if last else size)
        if last and int(last) < int(first):
            return None  # no range at all
    if start >= end:
        raise NotSatisfiable
    return start, end


async def _pieces(descriptor: int, start: int, end: int) -> AsyncIterator[bytes]:
    while start < end:
        piece = await run_sync(partial(os.pread, descriptor, min(_PIECE, end - start), start))
        if not piece:  # it is shorter than it was: the connection breaks off, and the client sees that
            raise OSError("the file ended early")
        start += len(piece)
        yield piece


class _Sent(StreamingResponse):
    """A stream whose file is closed however it ends."""

    def __init__(self, content: AsyncIterator[bytes], *, close: Callable[[], None], **asked: Any) -> None:
        super().__init__(content, **asked)
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def patient(message: Message) -> None:
            with fail_after(_PATIENCE):  # who fetches and does not read keeps a file open
                await send(message)

        try:
            await super().__call__(scope, receive, patient)
        finally:
            self._close()
