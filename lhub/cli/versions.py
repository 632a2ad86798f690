"""Versions and tags: log, tag, untag, visibility."""

from __future__ import annotations

import click

from lhub.cli import show
from lhub.cli.main import registry
from lhub.cli.options import json_option, root_option


@click.command("log")
@click.argument("ref", metavar="REF")
@root_option
@json_option
@click.pass_context
def log_command(ctx: click.Context, ref: str, root: str | None, as_json: bool) -> None:
    """Show who changed a resource, when, and under which tags; newest first.

    \b
    Example:
      lhub log alice/MyExecutor
    """
    entries = registry(ctx, root).log(ref)
    if as_json:
        show.as_json([entry.to_dict() for entry in entries])
        return
    for entry in entries:
        what = (
            show.tags(entry.tags or entry.untagged, entry.protected)
            if entry.tags or entry.untagged
            else entry.visibility
        )
        version = entry.version[:12] if entry.version else "-" * 12
        click.echo(
            show.clean(f"{version}  {show.day(entry.when)}  {entry.name}  {entry.action}  {what or ''}").rstrip()
        )
        for line in entry.message.split("\n") if entry.message else ():
            click.echo(f"    {show.clean(line)}")


@click.command("tag")
@click.argument("ref", metavar="REF")
@click.argument("tags", metavar="TAG...", nargs=-1, required=True)
@click.option("--protect", is_flag=True, help="They never move again.")
@root_option
@json_option
@click.pass_context
def tag_command(
    ctx: click.Context, ref: str, tags: tuple[str, ...], protect: bool, root: str | None, as_json: bool
) -> None:
    """Let tags name the version of REF, and protect them if asked.

    With --protect, and REF without a tag or version, tags that stand are protected where they are.

    \b
    Example:
      lhub tag alice/MyExecutor:latest v2 stable
      lhub tag alice/MyExecutor v2 --protect
    """
    _print_tags(registry(ctx, root).tag(ref, *tags, protect=protect), as_json=as_json)


@click.command("untag")
@click.argument("ref", metavar="REF")
@click.argument("tags", metavar="[TAG]...", nargs=-1)
@root_option
@json_option
@click.pass_context
def untag_command(ctx: click.Context, ref: str, tags: tuple[str, ...], root: str | None, as_json: bool) -> None:
    """Remove tags; the versions they named stay. A protected tag is never removed.

    \b
    Example:
      lhub untag alice/MyExecutor:nightly
    """
    _print_tags(registry(ctx, root).untag(ref, *tags), as_json=as_json)


@click.command("visibility")
@click.argument("ref", metavar="REF")
@click.argument("visibility", metavar="[public|private]", required=False)
@root_option
@json_option
@click.pass_context
def visibility_command(ctx: click.Context, ref: str, visibility: str | None, root: str | None, as_json: bool) -> None:
    """Print whether a resource is public or private, or make it so.

    \b
    Example:
      lhub visibility alice/MyExecutor private
    """
    now = registry(ctx, root).visibility(ref, visibility)
    if as_json:
        show.as_json({"visibility": now})
    else:
        click.echo(now)


def _print_tags(tags: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        show.as_json({"tags": tags})
        return
    for tag, version in tags.items():
        click.echo(f"{tag}: {version[:12]}")
