"""Where a registry lies and who shares it: init, namespace, share, unshare."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

import lhub.cli.show as show
from lhub.cli.main import registry
from lhub.cli.options import json_option, root_option

if TYPE_CHECKING:
    from lhub.sharing import Shared


@click.command("init")
@click.argument("folder", metavar="[ROOT]", required=False)
@click.option("--shared", is_flag=True, help="Every user of the machine, or share, may make namespaces in it.")
@click.option("--group", metavar="GROUP", help="Every member of an OS group may make namespaces in it.")
@click.option("--require-mount", is_flag=True, help="Use it only while it lies on a mount: the share may be away.")
@root_option
@click.pass_context
def init_command(
    ctx: click.Context, folder: str | None, shared: bool, group: str | None, require_mount: bool, root: str | None
) -> None:
    """Make a registry, or share one of your own.

    Without ROOT it is the default one. Of a registry that stands only who may make namespaces in it is changed, and
    only if that is asked for.

    \b
    Example:
      lhub init /mnt/data/registry
      lhub init /mnt/team/registry --shared
      lhub init /mnt/team/registry --group ml
    """
    place = registry(ctx, root if folder is None else folder, writes=True, anonymous=True)
    place.init(shared=shared, group=group, require_mount=require_mount)
    who = "every user" if shared else f"the group {show.clean(group)}" if group else None
    click.echo(f"{place.session.root} is a registry" + (f", {who} may make namespaces in it" if who else ""))


@click.group("namespace")
def namespace_command() -> None:
    """Make and list namespaces: one's own, and a team's.

    \b
    Example:
      lhub namespace create vision --group ml
      lhub namespace list
    """


@namespace_command.command("create")
@click.argument("name")
@click.option("--group", metavar="GROUP", help="The OS group whose members push and move tags there.")
@root_option
@json_option
@click.pass_context
def create_command(ctx: click.Context, name: str, group: str | None, root: str | None, as_json: bool) -> None:
    """Make a namespace, without logging in to it.

    With --group it is a team's: every member of the group pushes and moves tags there, as alice/X is pushed by alice;
    only its maker hides a resource, only he and the maker of the namespace delete it.

    \b
    Example:
      lhub namespace create vision --group ml
      lhub push ./MyExecutor vision/MyExecutor
    """
    place = registry(ctx, root, writes=True)
    made = place.create_namespace(name, group=group)
    if as_json:
        show.as_json({"name": name, "group": group, "new": made})
        return
    whose = f" of the group {show.clean(group)}" if group else ""
    click.echo(f"{'made' if made else 'already there:'} the namespace {name}{whose}, in {place.session.root}")


@namespace_command.command("list")
@root_option
@json_option
@click.pass_context
def list_command(ctx: click.Context, root: str | None, as_json: bool) -> None:
    """List the namespaces: whose each is, and which are yours to push to.

    \b
    Example:
      lhub namespace list
    """
    found = registry(ctx, root).namespaces()
    if as_json:
        show.as_json([each.to_dict() for each in found])
        return
    rows: list[tuple[str, ...]] = [("NAME", "OWNER", "GROUP", "YOURS")]
    rows += [(each.name, each.owner, each.group or "", "yes" if each.own else "") for each in found]
    if found:
        show.table(rows)
    else:
        click.echo("no namespace is here", err=True)


@click.command("share")
@click.argument("ref", metavar="REF")
@click.option("--with", "namespace", metavar="NAMESPACE", help="Whose owner shall open it too.")
@root_option
@json_option
@click.pass_context
def share_command(ctx: click.Context, ref: str, namespace: str | None, root: str | None, as_json: bool) -> None:
    """Let another namespace open a sealed resource of yours; without --with: tell who can.

    Its owner opens what stands and what follows, with `lhub pull` and all that reads. He has told his key by
    `lhub login`.

    \b
    Example:
      lhub share alice/MyExecutor --with bob
    """
    here = registry(ctx, root)
    shared = here.share(ref, namespace) if namespace else here.shared(ref)
    _print_shared(shared, as_json=as_json)


@click.command("unshare")
@click.argument("ref", metavar="REF")
@click.option("--with", "namespace", metavar="NAMESPACE", required=True, help="Who shall open nothing that follows.")
@root_option
@json_option
@click.pass_context
def unshare_command(ctx: click.Context, ref: str, namespace: str, root: str | None, as_json: bool) -> None:
    """Seal the versions that follow no more for a namespace.

    What was read was read: the versions that stand were sealed for it, and may have been copied.

    \b
    Example:
      lhub unshare alice/MyExecutor --with bob
    """
    shared = registry(ctx, root).unshare(ref, namespace)
    _print_shared(shared, as_json=as_json)
    click.echo(
        f"lhub: what was read was read: {show.clean(namespace)} may have kept the versions that stand; "
        "those that follow are closed to it",
        err=True,
    )


def _print_shared(shared: Shared, *, as_json: bool) -> None:
    if as_json:
        show.as_json(shared.to_dict())
        return
    readers = ", ".join(show.clean(name) for name in shared.readers)
    click.echo(f"{shared.name} opens for its owner and for {readers or 'nobody else'}")
