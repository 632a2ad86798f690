"""Tokens, by which programs get in at a gateway: token create, list, delete."""

from __future__ import annotations

import click

import lhub.cli.show as show
from lhub.cli.main import registry
from lhub.cli.options import json_option, root_option


@click.group("token", invoke_without_command=True)
@click.pass_context
def token_command(ctx: click.Context) -> None:
    """Make, list and delete the tokens of your namespace.

    \b
    Example:
      lhub token create --name laptop --days 7
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@token_command.command("create")
@click.option("--days", type=int, default=30, show_default=True, help="How long it holds.")
@click.option("--name", help="What you will know it by. [token-1, token-2, ...]")
@root_option
@json_option
@click.pass_context
def create_command(ctx: click.Context, days: int, name: str | None, root: str | None, as_json: bool) -> None:
    """Make a token and print it, this once: the registry keeps a digest.

    \b
    Example:
      export JINA_AUTH_TOKEN=$(lhub token create --days 7 --json | jq -r .token)
    """
    made = registry(ctx, root, writes=True).create_token(name, days=days)
    if as_json:
        show.as_json(made.to_dict())
        return
    click.echo(made.token)
    click.echo(f"the token {made.name}, until {show.day(made.expires)}; there is no other copy", err=True)


@token_command.command("list")
@root_option
@json_option
@click.pass_context
def list_command(ctx: click.Context, root: str | None, as_json: bool) -> None:
    """List the tokens that hold still; what they are is not kept.

    \b
    Example:
      lhub token list
    """
    tokens = registry(ctx, root).tokens()
    if as_json:
        show.as_json([each.to_dict() for each in tokens])
        return
    if not tokens:
        click.echo("no token holds: lhub token create makes one", err=True)
        return
    rows = [[each.name, show.day(each.created), show.day(each.expires)] for each in tokens]
    show.table([["NAME", "CREATED", "EXPIRES"], *rows])


@token_command.command("delete")
@click.argument("name")
@root_option
@json_option
@click.pass_context
def delete_command(ctx: click.Context, name: str, root: str | None, as_json: bool) -> None:
    """Delete a token: from now on nobody gets in with it.

    \b
    Example:
      lhub token delete laptop
    """
    registry(ctx, root).delete_token(name)
    if as_json:
        show.as_json({"name": name})
    else:
        click.echo(f"deleted the token {name}")
