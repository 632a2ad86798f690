"""Jina's names for the same commands, so that replacing `jina` by `lhub` is enough."""

from __future__ import annotations

import click

from lhub.cli.account import login_command, logout_command
from lhub.cli.builds import status_command
from lhub.cli.everyday import list_command, pull_command, push_command
from lhub.cli.new import new_command


@click.group("auth", commands=[login_command, logout_command], invoke_without_command=True)
@click.pass_context
def auth_command(ctx: click.Context) -> None:
    """Log in and out, as `jina auth` did.

    \b
    Example:
      lhub auth login alice
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


_HUB: list[click.Command] = [new_command, push_command, pull_command, status_command, list_command]


@click.group("hub", commands=_HUB, invoke_without_command=True)
@click.pass_context
def hub_command(ctx: click.Context) -> None:
    """Begin, push, pull, follow and list, as `jina hub` did.

    \b
    Example:
      lhub hub new --name Greeter
      lhub hub push ./MyExecutor
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
