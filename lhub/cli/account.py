"""Who one is: login, logout, whoami."""

from __future__ import annotations

import click

import lhub.cli.show as show
from lhub.cli.main import registry
from lhub.cli.options import json_option, root_option


@click.command("login")
@click.argument("name", required=False)
@root_option
@json_option
@click.pass_context
def login_command(ctx: click.Context, name: str | None, root: str | None, as_json: bool) -> None:
    """Log in to a namespace, and claim it by making its folder.

    Without NAME it is the name of your account on this machine. The login is remembered for all registries.

    \b
    Example:
      lhub login alice
    """
    import lhub.door as door

    place = registry(ctx, root, writes=True, anonymous=True)
    name = place.session.person.account if name is None else name
    door.login(place, name)
    if as_json:
        show.as_json({"namespace": name, "root": place.session.root})
    else:
        click.echo(f"logged in as {name}, at {place.session.root}")


@click.command("logout")
@root_option
def logout_command(root: str | None) -> None:
    """Log out; what you pushed stays.

    \b
    Example:
      lhub logout
    """
    import lhub.door as door
    import lhub.identity as identity

    click.echo("logged out" if identity.forget(door.home()) else "nobody was logged in")


@click.command("whoami")
@root_option
@json_option
@click.pass_context
def whoami_command(ctx: click.Context, root: str | None, as_json: bool) -> None:
    """Print the namespace you are logged in to.

    \b
    Example:
      lhub whoami
    """
    from lhub.errors import Denied

    session = registry(ctx, root).session
    if session.caller is None:
        raise Denied("nobody is logged in", hint="lhub login NAME")
    if as_json:
        show.as_json({"namespace": session.caller, "account": session.person.account, "root": session.root})
    else:
        click.echo(session.caller)
