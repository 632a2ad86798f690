"""Bodies as they come over HTTP: whole, or in batches for a thread; nobody waits long for one that stops coming."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import anyio
import anyio.from_thread
from starlette.requests import Request

from lhub.archive import TooLarge
from lhub.gateway.answers import Broken

_BATCH = 1 << 20
"""Bytes of a body that are handed to a thread at once, if they are there."""
_DRAINED = 64 << 20
"""Bytes of a refused body that are read all the same."""
_PATIENCE = 60.0
"""Seconds that a client may let pass between two pieces of what it sends."""


async def pieces(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes; Broken where it does not come any more."""
    stream = request.stream()
    while True:
        with anyio.move_on_after(_PATIENCE) as waiting:
            piece = await anext(stream, None)
        if waiting.cancelled_caught:
            raise Broken(f"nothing came for {_PATIENCE:.0f} seconds", hint="send it again")
        if piece is None:
            return
        yield piece


async def whole(request: Request, *, most: int) -> bytes:
    """A body without a file. It is read before anybody works on it: who sends it byte by byte keeps nobody waiting."""
    body = bytearray()
    coming = pieces(request)
    async for piece in coming:
        body += piece
        if len(body) > most:
            await drain(coming)
            raise TooLarge(f"a body without a file has at most {most >> 10} KiB")
    return bytes(body)


async def drain(coming: AsyncIterator[bytes]) -> None:
    """Read what is left of a refused body, up to a size, so that the client comes to read why."""
    size = 0
    async for piece in coming:
        size += len(piece)
        if size > _DRAINED:
            return


async def batches(request: Request) -> AsyncIterator[bytes]:
    """The body in large pieces."""
    held: list[bytes] = []
    size = 0
    async for piece in pieces(request):
        held.append(piece)
        size += len(piece)
        if size >= _BATCH:
            yield b"".join(held)
            held, size = [], 0
    if size:
        yield b"".join(held)


def from_loop(coming: AsyncIterator[bytes]) -> Iterator[bytes]:
    """The same for a thread, which waits for each."""
    while (piece := anyio.from_thread.run(anext, coming, None)) is not None:
        yield piece
