"""Doors that listen: run and serve for Jina's published clients, portal for a browser."""

from __future__ import annotations

import sys
from contextlib import suppress

import click

from lhub.cli.main import registry
from lhub.cli.options import root_option


@click.command("run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@root_option
@click.pass_context
def run_command(ctx: click.Context, command: tuple[str, ...], root: str | None) -> None:
    """Run COMMAND as it is, with this registry where it looks for Jina's cloud.

    docarray's push and pull, jina hub, jina auth and Flows with jinaai:// act as you, as long as it runs. The exit code
    is the command's own; 127 where there is none of that name, 126 where it cannot be started.

    \b
    Example:
      lhub run python old_script.py
      lhub run -- jina hub push ./MyExecutor --private
    """
    from lhub.gateway.command import run  # with subprocess

    ctx.exit(run(registry(ctx, root, writes=True), command))


@click.command("serve")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port to listen on. [any free one]")
@root_option
@click.pass_context
def serve_command(ctx: click.Context, port: int, root: str | None) -> None:
    """Keep a gateway up for programs and users of this machine, until it is interrupted.

    It listens on 127.0.0.1 and nowhere else. A program says who it is by a token (`lhub token create`) of a namespace
    that is yours on disk; without one your own programs are nobody, and other users' are not answered.

    \b
    Example:
      lhub serve --port 8648
      export JINA_HUBBLE_REGISTRY=http://127.0.0.1:8648 JINA_AUTH_TOKEN=...
    """
    from lhub.gateway.server import answering, bound_to, forever, server_of  # with socket
    from lhub.gateway.sessions import Sessions

    here = registry(ctx, root, writes=True)
    with bound_to(port) as (bound, address), answering(here, address, Sessions()) as answers:
        click.echo(f"serving {here.session.root} at {address}")
        sys.stdout.flush()
        forever(server_of(answers), bound)


@click.command("portal")
@click.option("--browser/--no-browser", default=True, help="Open it in a browser, or print its link.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port to listen on. [any free one]")
@root_option
@click.pass_context
def portal_command(ctx: click.Context, browser: bool, port: int, root: str | None) -> None:
    """See and manage the registry in a browser on this machine, until it is interrupted.

    The link works once, for you; it listens on 127.0.0.1 and nowhere else. From a machine without a screen:
    ssh -L 8650:127.0.0.1:8650 HOST lhub portal --no-browser --port 8650

    \b
    Example:
      lhub portal
    """
    from lhub.portal.command import serve  # with socket

    def say(line: str, aside: bool) -> None:
        click.echo(line, err=aside)
        sys.stdout.flush()

    with suppress(KeyboardInterrupt):  # the way to end it
        serve(registry(ctx, root), port=port, browser=browser, say=say)
