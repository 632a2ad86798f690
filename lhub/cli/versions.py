"""Versions and tags: log, diff, tag, untag, rollback, visibility, delete, restore."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

import lhub.cli.show as show
from lhub.cli.main import registry
from lhub.cli.options import json_option, root_option

if TYPE_CHECKING:
    from lhub.comparison import Difference
    from lhub.past import Then


@click.command("log")
@click.argument("ref", metavar="REF")
@click.option("--tag", help="Only the life of this tag.")
@click.option("--at", metavar="DATE", help="What each tag was then: 2026-03-01, or '2026-03-01 12:00'.")
@root_option
@json_option
@click.pass_context
def log_command(ctx: click.Context, ref: str, tag: str | None, at: str | None, root: str | None, as_json: bool) -> None:
    """Show who changed a resource, when, and under which tags; newest first.

    A day means its end; a time without a zone is that of this machine.

    \b
    Example:
      lhub log alice/MyExecutor --tag prod
      lhub log alice/MyExecutor --at 2026-03-01
    """
    if at is not None:
        _print_then(registry(ctx, root).log_at(ref, at, tag=tag), as_json=as_json)
        return
    entries = registry(ctx, root).log(ref, tag=tag)
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


def _print_then(then: Then, *, as_json: bool) -> None:
    if as_json:
        show.as_json(then.to_dict())
        return
    click.echo(f"{then.name} ({show.clean(then.visibility or '-')}) at {show.day(then.at)}")
    for tag, version in then.tags.items():
        click.echo(f"  {show.clean(tag)}{' (protected)' if tag in then.protected_tags else ''}: {version[:12]}")


@click.command("diff")
@click.argument("left", metavar="A")
@click.argument("right", metavar="B")
@click.option("--exit-code", is_flag=True, help="Exit 1 if they differ.")
@click.option("--stat", is_flag=True, help="Only which files, and what they mean; no lines.")
@root_option
@json_option
@click.pass_context
def diff_command(
    ctx: click.Context, left: str, right: str, exit_code: bool, stat: bool, root: str | None, as_json: bool
) -> None:
    """Show what changed from A to B: files, lines, and what config.yml and requirements.txt mean.

    A and B are references, with a date too, or a folder; the second may be a bare tag or version.

    \b
    Example:
      lhub diff alice/MyExecutor:v1 v2
      lhub diff alice/MyExecutor@{2026-03-01} ./MyExecutor
    """
    found = registry(ctx, root).diff(left, right, patch=not (stat or as_json))
    if as_json:
        show.as_json(found.to_dict())
    else:
        _print_diff(found)
    if exit_code and not found.same:
        ctx.exit(1)


def _print_diff(found: Difference) -> None:
    if found.same:
        click.echo("no difference", err=True)
        return
    click.echo(f"from {show.clean(found.left, lines=False)}\n  to {show.clean(found.right, lines=False)}")
    for what, paths in (("added", found.added), ("removed", found.removed), ("changed", found.changed)):
        for path in paths:
            click.echo(f"{what:8} {show.clean(path, lines=False)}")
    for sentence in found.meaning:
        click.echo(f"  {show.clean(sentence, lines=False)}")
    for line in found.patch:
        click.echo(show.clean(line, lines=False))


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
    """Remove tags; the versions they named stay. A protected one needs lhub delete --unprotect.

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


@click.command("rollback")
@click.argument("ref", metavar="REF")
@click.argument("version", metavar="VERSION")
@click.option("-t", "--tag", "tags", metavar="TAG", multiple=True, help="The tag to move; may be given again. [latest]")
@root_option
@json_option
@click.pass_context
def rollback_command(
    ctx: click.Context, ref: str, version: str, tags: tuple[str, ...], root: str | None, as_json: bool
) -> None:
    """Move a tag back to an earlier version, in one step.

    VERSION is 8 or more of its hex digits (lhub log shows them), another tag, or @{DATE}.

    \b
    Example:
      lhub rollback alice/MyExecutor 3f2a9c1d -t prod
      lhub rollback alice/MyExecutor @{2026-03-01}
    """
    rolled = registry(ctx, root).rollback(ref, version, *tags)
    if as_json:
        show.as_json(rolled.to_dict())
        return
    for tag in rolled.tags:
        was, now = rolled.before[tag][:12], rolled.version[:12]
        click.echo(f"{tag}: {now}, as it was already" if was == now else f"{tag}: {was} -> {now}")


@click.command("delete")
@click.argument("ref", metavar="REF")
@click.option("--unprotect", metavar="TAG", multiple=True, help="A protected tag that may go; one by one.")
@click.option("--yes", is_flag=True, help="Do not ask for the name of a whole resource.")
@root_option
@json_option
@click.pass_context
def delete_command(
    ctx: click.Context, ref: str, unprotect: tuple[str, ...], yes: bool, root: str | None, as_json: bool
) -> None:
    """Delete a tag (alice/X:v1), or a whole resource (alice/X) after its name was typed.

    Until a `lhub gc` some weeks later, `lhub restore` brings it back.

    \b
    Example:
      lhub delete alice/MyExecutor:nightly
      lhub delete alice/MyExecutor --unprotect v1 --yes
    """

    def confirm(name: str) -> None:
        if not yes and show.ask(f"{name} goes with all its tags and versions. Type its name: ") != name:
            raise click.UsageError(f"{name} was not typed, nothing was deleted (--yes does not ask)", ctx)

    deleted = registry(ctx, root).delete(ref, unprotect=unprotect, confirm=confirm)
    if as_json:
        show.as_json(deleted.to_dict())
        return
    what, again = ":".join((deleted.name, *deleted.tags)), ref
    if ref.startswith("jinahub://"):
        again = "/".join((f"jinahub://{deleted.name}:SECRET", *deleted.tags))  # the word, for its reader to replace
    click.echo(f"deleted {what}; until a collection, lhub restore {again} brings it back")


@click.command("restore")
@click.argument("ref", metavar="REF")
@root_option
@json_option
@click.pass_context
def restore_command(ctx: click.Context, ref: str, root: str | None, as_json: bool) -> None:
    """Bring a deleted resource or tag back, as it was.

    \b
    Example:
      lhub restore alice/MyExecutor
      lhub restore alice/MyExecutor:nightly
    """
    restored = registry(ctx, root).restore(ref)
    if as_json:
        show.as_json(restored.to_dict())
    else:
        click.echo(f"restored {':'.join((restored.name, *restored.tags))}")


def _print_tags(tags: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        show.as_json({"tags": tags})
        return
    for tag, version in tags.items():
        click.echo(f"{tag}: {version[:12]}")
