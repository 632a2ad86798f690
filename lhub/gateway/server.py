"""A gateway that listens: on the loopback and on nothing else, beside a command or until somebody ends it."""

from __future__ import annotations

import os
import resource
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from lhub.errors import Conflict, Denied, LhubError, ToolMissing

if TYPE_CHECKING:
    from lhub.gateway.caches import ClientCache
    from lhub.gateway.sessions import Sessions
    from lhub.registry import Registry

HOST = "127.0.0.1"
_HEADERS = 1 << 20
"""Bytes of a request's head: the clients send sixty fields with the settings of their environment."""
_STARTS_WITHIN = 30.0


@contextmanager
def answering(
    registry: Registry, address: str, sessions: Sessions, *, prefix: str = "", cache: ClientCache | None = None
) -> Iterator[Any]:
    """What answers at an address, as an ASGI application; what it makes for its clients goes at the end."""
    from lhub.gateway.app import application  # with starlette
    from lhub.gateway.desk import Gateway
    from lhub.gateway.links import Links

    with tempfile.TemporaryDirectory(prefix="lhub-") as scratch:
        links = Links(f"{address}{prefix}", scratch)
        yield application(Gateway(registry=registry, links=links, sessions=sessions, cache=cache), prefix)


@contextmanager
def bound_to(port: int) -> Iterator[tuple[socket.socket, str]]:
    """A socket on the loopback, and its address; port 0 is any free one."""
    see_tools()
    with _bind(port) as bound:
        yield bound, f"http://{HOST}:{bound.getsockname()[1]}"


def see_tools() -> None:
    """Raise ToolMissing where the extra `serve` is not installed, or of a time when there was less in it."""
    try:
        import jinja2  # noqa: F401
        import markdown_it  # noqa: F401
        import python_multipart  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ToolMissing(f"this server needs {error.name}", hint="pip install 'lhub[serve]'") from None


def _bind(port: int) -> socket.socket:
    try:
        return _bound(port) if port else _bound_to_any()
    except PermissionError:
        raise Denied(f"port {port} may not be used by you", hint="take one above 1023") from None
    except OSError as error:
        raise Conflict(f"port {port} cannot be used: {error.strerror}", hint="--port 0 takes a free one") from None


def _bound_to_any() -> socket.socket:
    """Bound to a free port by its number: the kernel takes back at once what it chose itself, when that is shut."""
    for last in (*[False] * 9, True):
        with socket.socket() as found:
            found.bind((HOST, 0))
            port = found.getsockname()[1]
        try:
            return _bound(port)
        except OSError:
            if last:
                raise
    raise AssertionError("the last turn returns or raises")


def _bound(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, port))
        bound.listen(128)
    except OSError:
        bound.close()
        raise
    return bound


def server_of(application: Any, *, strangers: bool = True) -> Any:
    """Uvicorn, set as the clients need it; without `strangers` only who runs it can connect."""
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    from lhub.gateway.protocol import own_only, with_envelope

    protocol = with_envelope(H11Protocol)
    config = uvicorn.Config(
        application,
        http=protocol if strangers else own_only(protocol),
        ws="none",
        lifespan="off",
        interface="asgi3",
        proxy_headers=False,
        log_config=None,
        log_level="critical",  # what breaks in a call is an answer, and told by us
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=_HEADERS,
    )
    return uvicorn.Server(config)


@contextmanager
def beside(server: Any, bound: socket.socket) -> Iterator[None]:
    """Serve in a thread while `with` lasts."""
    held = bound.dup()  # the server closes its own
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + _STARTS_WITHIN
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise LhubError("the gateway did not start", hint="LHUB_TRACEBACK=1 shows why")
        time.sleep(0.005)
    try:
        yield
    finally:
        server.should_exit = True
        server.force_exit = True  # who still reads is the command, and that has ended
        thread.join(timeout=10)
        with held, suppress(OSError):  # refused from now on, and nobody else's while a child of the command holds it
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
            held.shutdown(socket.SHUT_RDWR)


def forever(server: Any, bound: socket.socket) -> None:
    """Serve until a signal; it ends as a command does, so that nothing is left of what was made for clients."""

    def ended(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    for each in (signal.SIGTERM, signal.SIGHUP):  # uvicorn sends itself again what it was sent
        signal.signal(each, ended)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each who fetches something takes two
    server.run(sockets=[bound])


def new_prefix() -> str:
    """What stands in the address before everything else, so that only who was told it gets an answer."""
    return f"/{os.urandom(16).hex()}"
