"""What one types every day: push, pull, path, list, show, search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lhub.cli import show
from lhub.cli.main import registry
from lhub.cli.options import json_option, root_option

if TYPE_CHECKING:
    from lhub.publish import Pushed


@click.command("push")
@click.argument("path", metavar="PATH")
@click.argument("name", required=False)
@click.option("--public", is_flag=True, help="Let everybody pull it (what a first push does anyway).")
@click.option("--private", is_flag=True, help="Let nobody else see it.")
@click.option("-t", "--tag", "--tags", "tags", metavar="TAG", multiple=True, help="A tag; may be given again. [latest]")
@click.option("--protected-tag", "protected_tags", metavar="TAG", multiple=True, help="A tag that never moves again.")
@click.option("--force-update", metavar="NAME", help="Update this resource; one without a namespace needs --secret.")
@click.option("--secret", help="The secret that a push without a login printed.")
@click.option("-m", "--message", default="", help="A few words for `lhub log`.")
@click.option("--expect", metavar="VERSION", help="Only if the tags stand at this version.")
@click.option("--if-absent", is_flag=True, help="Only if the tags do not stand yet.")
@click.option("--no-usage", is_flag=True, help="Do not print how to pull it.")
@root_option
@json_option
@click.pass_context
def push_command(ctx: click.Context, /, path: str, name: str | None, root: str | None, **options: Any) -> None:
    """Push a folder: it becomes a version, and tags name it.

    NAME is X or alice/X; an Executor has it in its config.yml. Without a login an Executor gets a SECRET.

    \b
    Example:
      lhub push ./MyExecutor -t v1 -t latest --protected-tag v1 -m "first release"
    """
    as_json, no_usage = options.pop("as_json"), options.pop("no_usage")
    pushed = registry(ctx, root, writes=True).push(path, name, **options)
    for warning in pushed.warnings:
        click.echo(f"lhub: {show.clean(warning)}", err=True)
    if as_json:
        show.as_json(pushed.to_dict())
    else:
        _print_pushed(pushed, usage=not no_usage)


def _print_pushed(pushed: Pushed, *, usage: bool) -> None:
    what = "pushed" if pushed.new else "already there:"
    click.echo(f"{what} {pushed.name} ({pushed.visibility}), version {pushed.version[:12]}")
    click.echo(f"tags: {show.tags(pushed.tags, pushed.protected_tags)}")
    if pushed.secret:
        click.echo(
            f"NAME: {pushed.name}\nSECRET: {pushed.secret}  (printed this once; keep it, there is no other copy)"
        )
    if not usage:
        return
    uri = pushed.uri
    if pushed.visibility == "private" and uri.startswith("jinahub://"):
        uri = uri.replace(pushed.name, f"{pushed.name}:SECRET", 1)  # the word, for its reader to replace
    click.echo(f"pull it: lhub pull {uri}")
    if pushed.secret:
        update = f"lhub push PATH --force-update {pushed.name} --secret SECRET"
        click.echo(f"update it: {update}")


@click.command("pull")
@click.argument("ref", metavar="REF")
@click.argument("dest", required=False)
@click.option("--force", is_flag=True, help="Replace what stands at DEST.")
@root_option
@json_option
@click.pass_context
def pull_command(ctx: click.Context, ref: str, dest: str | None, force: bool, root: str | None, as_json: bool) -> None:
    """Pull a version into a folder, every byte verified.

    DEST is ./X for alice/X if not given.

    \b
    Example:
      lhub pull jinaai://alice/MyExecutor:v1
    """
    pulled = registry(ctx, root).pull(ref, dest, force=force)
    if as_json:
        show.as_json(pulled.to_dict())
    else:
        click.echo(f"pulled {pulled.ref}, version {pulled.version[:12]}, to {show.clean(pulled.path)}")


@click.command("path")
@click.argument("ref", metavar="REF")
@root_option
@json_option
@click.pass_context
def path_command(ctx: click.Context, ref: str, root: str | None, as_json: bool) -> None:
    """Print the immutable folder of a version, to use it without copying.

    \b
    Example:
      jina executor --uses "$(lhub path alice/MyExecutor:v1)/config.yml"
    """
    path = registry(ctx, root).path(ref)
    if as_json:
        show.as_json({"path": path})
    else:
        click.echo(path)


@click.command("list")
@click.argument("namespace", required=False)
@click.option("--kind", metavar="KIND", help="Only this kind: executor, docarray, files or base.")
@root_option
@json_option
@click.pass_context
def list_command(ctx: click.Context, namespace: str | None, kind: str | None, root: str | None, as_json: bool) -> None:
    """List everything you may see.

    A star marks a protected tag.

    \b
    Example:
      lhub list alice --kind executor
    """
    lines = registry(ctx, root).list(namespace, kind=kind)
    if as_json:
        show.as_json([line.to_dict() for line in lines])
        return
    if not lines:
        click.echo("nothing yet: lhub push PATH puts the first thing here", err=True)
        return
    rows = [["NAME", "KIND", "VISIBILITY", "SIZE", "UPDATED", "TAGS", "FROM"]]
    for line in lines:
        named = show.tags(list(line.tags), line.protected_tags)
        where = show.clean(line.root or "")
        rows.append(
            [line.name, line.kind, line.visibility, show.size(line.bytes), show.day(line.updated), named, where]
        )
    show.table(rows if lines[0].root else [row[:-1] for row in rows])


@click.command("show")
@click.argument("ref", metavar="REF")
@root_option
@json_option
@click.pass_context
def show_command(ctx: click.Context, ref: str, root: str | None, as_json: bool) -> None:
    """Show one resource: its tags, the version that REF means, and what that version holds.

    \b
    Example:
      lhub show alice/MyExecutor:v1
    """
    shown = registry(ctx, root).show(ref)
    if as_json:
        show.as_json(shown.to_dict())
        return
    click.echo(f"{shown.name}  ({shown.kind}, {shown.visibility}, updated {show.day(shown.updated)})")
    for tag, version in shown.tags.items():
        mark = " (protected)" if tag in shown.protected_tags else ""
        click.echo(f"  {tag}{mark}: {version[:12]}")
    files = shown.manifest["files"]
    click.echo(f"version {shown.version}\n  {files['count']} files, {show.size(shown.bytes)}")
    for key, value in shown.manifest.get("about", {}).items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        click.echo(f"  {show.clean(str(key))}: {show.clean(text)}")


@click.command("search")
@click.argument("terms", metavar="TERM...", nargs=-1, required=True)
@root_option
@json_option
@click.pass_context
def search_command(ctx: click.Context, terms: tuple[str, ...], root: str | None, as_json: bool) -> None:
    """Find resources that have every TERM in their name, description, keywords or file names.

    \b
    Example:
      lhub search image encoder
    """
    found = registry(ctx, root).search(*terms)
    if as_json:
        show.as_json([each.to_dict() for each in found])
        return
    if not found:
        click.echo("nothing found: lhub list shows what there is", err=True)
    for each in found:
        click.echo(f"{each.name}  ({each.kind}, {each.visibility})")
        for match in each.matches:
            click.echo(f"  {show.clean(match, lines=False)}")
