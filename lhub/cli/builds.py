"""Builds, and what they are for: status, uses."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

import lhub.cli.show as show
from lhub.cli.everyday import given_variables
from lhub.cli.main import registry
from lhub.cli.options import json_option, root_option

if TYPE_CHECKING:
    from lhub.builds import Build
    from lhub.tasks import Watched


@click.command("status")
@click.argument("what", metavar="[PATH]", required=False)
@click.option("--id", "task_id", metavar="TASK_ID", help="The task that a push printed.")
@click.option("--verbose", is_flag=True, help="Show the build's own output too.")
@click.option("--replay", is_flag=True, help="Show all of it from the beginning.")
@click.option("--cancel", is_flag=True, help="Ask it to stop, and wait until it has.")
@root_option
@json_option
@click.pass_context
def status_command(
    ctx: click.Context,
    what: str | None,
    task_id: str | None,
    verbose: bool,
    replay: bool,
    cancel: bool,
    root: str | None,
    as_json: bool,
) -> None:
    """Tell how a build stands, and follow it while it runs.

    PATH is the folder that was pushed (default: this one) or a reference; its newest build is told. The exit code is
    8 when it failed or was cancelled.

    \b
    Example:
      lhub status ./MyExecutor --replay
    """
    watched = registry(ctx, root).build(what, task_id=task_id)
    if as_json:
        told = {"events": list(watched.follow(replay=True))} if replay and not cancel else {}  # until it ends
        build = watched.cancel() if cancel else watched.look()
        show.as_json(build.to_dict() | told)
    else:
        build = watched.cancel() if cancel else _follow(watched, replay=replay, verbose=verbose)
        _print_end(build)
    if build.ended and build.state != "succeeded":
        ctx.exit(8)


def _follow(watched: Watched, *, replay: bool, verbose: bool) -> Build:
    """The task once it has ended, its steps printed as they come."""
    from lhub.cli.progress import line  # for who watches

    begun = watched.look()
    who = f"{begun.who} on {begun.host}" if begun.who else "somebody"
    click.echo(f"task {begun.task_id} of {begun.name}, by {show.clean(who, lines=False)}, {show.day(begun.started)}")
    for event in watched.follow(replay=replay):
        if verbose or event["type"] != "console":
            click.echo(line(event))
            sys.stdout.flush()
    return watched.look()


def _print_end(build: Build) -> None:
    why = f": {show.clean(build.message, lines=False)}" if build.message else ""
    what = f", version {build.version[:12]}" if build.version and build.state == "succeeded" else ""
    click.echo(f"{build.state}{what}{why}")


@click.command("uses")
@click.argument("ref", metavar="REF")
@click.option("--install-requirements", is_flag=True, help="Install what it requires, with pip, in this environment.")
@root_option
@json_option
@click.pass_context
def uses_command(ctx: click.Context, ref: str, install_requirements: bool, root: str | None, as_json: bool) -> None:
    """Print the config.yml of an Executor inside the registry, for `uses` of a Flow; nothing is copied.

    Variables that its requirements use are taken from the environment, or asked for at a terminal.

    \b
    Example:
      jina executor --uses "$(lhub uses alice/MyExecutor:v1)"
    """
    here = registry(ctx, root)
    variables = given_variables(here.variables(ref))
    path = here.uses(ref, install_requirements=install_requirements, build_env=variables)
    if as_json:
        show.as_json({"uses": path})
    else:
        click.echo(path)
