"""`lhub portal`: the server, its one-time link, and the browser that opens it."""

from __future__ import annotations

import os
import shlex
import sys
import webbrowser
from collections.abc import Callable, Mapping
from contextlib import suppress

import lhub.door as door
from lhub.errors import LhubError
from lhub.gateway.server import bound_to, forever, server_of
from lhub.registry import Registry


def serve(registry: Registry, *, port: int, browser: bool, say: Callable[[str, bool], None]) -> None:
    """Serve a portal until it is interrupted; `say` prints a line, on stderr if its second argument is true.

    The link goes to the browser, or to stdout where there is none: it works once, in whichever comes first.
    """
    with bound_to(port) as (bound, address):
        from lhub.portal.app import application  # with starlette and jinja2
        from lhub.portal.desk import Portal

        portal = Portal(registry, port=bound.getsockname()[1], rooted=_rooted(registry))
        link = f"{address}{portal.way_in}"
        server = server_of(application(portal), strangers=False)
        if browser and open_browser(link):
            say(f"the portal of {registry.session.root} is in your browser; Ctrl-C ends it", True)
            say(f"if no window came up: {link}", True)
        else:
            say(link, False)
        forever(server, bound)


def _rooted(registry: Registry) -> str:
    """What a command must be told to mean this registry; nothing where it would anyway."""
    with suppress(LhubError):
        if door.here().session.root == registry.session.root:
            return ""
    return f" --root {shlex.quote(registry.session.root)}"


def open_browser(link: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Open a link in a browser with a window; False where there is none: one in this terminal would take it over."""
    windows = sys.platform == "darwin" or any(environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    if not (windows or environment.get("BROWSER")):
        return False
    try:
        return webbrowser.open(link)
    except webbrowser.Error:
        return False
