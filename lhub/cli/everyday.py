"""What one types every day: push, pull, path, list, show, search."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

import lhub.cli.show as show
from lhub.cli.main import registry, say, unforeseen
from lhub.cli.options import json_option, root_option
from lhub.phrases import about_lines

if TYPE_CHECKING:
    from lhub.builds import Event
    from lhub.names import Ref
    from lhub.orders import Planned, Pushed
    from lhub.registry import Registry
    from lhub.shelf import Listed, Shown


@click.command("push")
@click.argument("path", metavar="PATH")
@click.argument("name", required=False)
@click.option("--public", is_flag=True, default=None, help="Let everybody pull it (what a first push does anyway).")
@click.option("--private", is_flag=True, help="Let nobody else see it.")
@click.option("-t", "--tag", "--tags", "tags", metavar="TAG", multiple=True, help="A tag; may be given again. [latest]")
@click.option("--protected-tag", "protected_tags", metavar="TAG", multiple=True, help="A tag that never moves again.")
@click.option("--force-update", metavar="NAME", help="Update this resource; one without a namespace needs --secret.")
@click.option("--seal", is_flag=True, help="Store it sealed: only a key opens it, whoever reads the disk.")
@click.option(
    "--secret", help="The secret that a first push printed, or one of your choice; - asks for it. [LHUB_SECRET]"
)
@click.option("-m", "--message", default="", help="A few words for `lhub log`.")
@click.option(
    "--build-env", metavar="KEY=VALUE", multiple=True, help="For ${KEY} in the requirements; KEY alone: $KEY."
)
@click.option("--image", metavar="WHEN", help="Build a container image: auto, always or never. [auto]")
@click.option("--builder", metavar="NAME", help="Build it with docker, podman, buildah or python.")
@click.option("-f", "--dockerfile", metavar="DOCKERFILE", help="Build it by this file of the folder. [Dockerfile]")
@click.option("--platform", "platforms", metavar="P,...", multiple=True, help="Build it for these, as linux/arm64.")
@click.option("--base", metavar="REF", help="Build it on this base. [your newest]")
@click.option("--no-cache", is_flag=True, help="Build all of it anew.")
@click.option("--expect", metavar="VERSION", help="Only if the tags stand at this version.")
@click.option("--if-absent", is_flag=True, help="Only if the tags do not stand yet.")
@click.option("--dry-run", is_flag=True, help="Print what would travel; write nothing.")
@click.option("--detach", is_flag=True, help="Return at once; `lhub status` tells how it goes.")
@click.option("--verbose", is_flag=True, help="Print each step and what it says.")
@click.option("--no-usage", is_flag=True, help="Do not print how to pull it.")
@root_option
@json_option
@click.pass_context
def push_command(ctx: click.Context, /, path: str, name: str | None, root: str | None, **options: Any) -> None:
    """Push a folder or a file: it becomes a version, and tags name it.

    NAME is X or alice/X; an Executor has it in its config.yml. Without a login an Executor gets a SECRET. A file that
    docarray saved (save_binary) is of kind docarray.

    \b
    Example:
      lhub push ./MyExecutor -t v1 -t latest --protected-tag v1 -m "first release"
    """
    from lhub.cli.progress import Progress  # for pushes only
    from lhub.door import image
    from lhub.orders import ImageFailed

    as_json, no_usage, verbose = options.pop("as_json"), options.pop("no_usage"), options.pop("verbose")
    options["build_env"] = _variables(options["build_env"])
    dry_run = options.pop("dry_run")
    here = registry(ctx, root, writes=not dry_run)
    options["secret"] = _secret(here, options["secret"], options["force_update"])
    options["image"] = image(*(options[name] for name in ("image", "builder", "dockerfile", "platforms", "base")))
    if dry_run:
        for word in ("detach", "message"):
            options.pop(word)
        planned = here.plan(path, name, **options)
        show.as_json(planned.to_dict()) if as_json else _print_planned(planned)
        return
    failed = None
    try:
        pushed = here.push(path, name, telling=Progress(verbose=verbose), **options)
    except ImageFailed as error:  # published it is, and a first push tells its secret once
        failed, pushed = error, error.pushed
        unforeseen(error)
    for warning in pushed.warnings:
        click.echo(f"lhub: {show.clean(warning)}", err=True)
    if as_json:
        show.as_json(pushed.to_dict() | ({"error": failed.to_dict()} if failed else {}))
    else:
        _print_pushed(pushed, usage=not no_usage)
    if failed:
        say(failed)
        ctx.exit(failed.code)


def _secret(here: Registry, given: str | None, update: str | None) -> str | None:
    """The secret: as it is given, asked for, or from the environment where one is of use."""
    if given == "-":
        return str(click.prompt("SECRET", hide_input=True, err=True))
    if given is not None:
        return given
    bare = update is not None and "/" not in update
    return here.session.secret if here.session.caller is None or bare else None


def _variables(given: tuple[str, ...]) -> dict[str, str]:
    """What `--build-env` gives; of a word that is none nothing is repeated, for a secret may stand in it."""
    from lhub.door import variable  # the environment is read there
    from lhub.errors import UsageError, listing

    found: dict[str, str] = {}
    faults = []
    for number, each in enumerate(given, 1):
        key, equals, value = each.partition("=")
        if equals:
            found[key] = value
        elif (known := variable(key)) is not None:
            found[key] = known
        else:
            faults.append(f"the {number}. one is not written KEY=VALUE, and no variable of that name is set")
    if len({each.partition("=")[0] for each in given}) < len(given):
        faults.append("one name is given twice")
    if faults:
        raise UsageError(listing("--build-env cannot be read", faults), hint="--build-env TOKEN=VALUE")
    return found


def given_variables(names: Sequence[str]) -> dict[str, str]:
    """The values of variables: from the environment, else asked for at a terminal; UsageError where nobody can."""
    from lhub.door import variables  # as above
    from lhub.errors import UsageError

    values = variables(names, None)
    missing = [name for name in names if name not in values]
    if missing and not show.can_ask():
        raise UsageError(
            f"its requirements use {', '.join(missing)}, which this environment does not have",
            hint=f"export {missing[0]}=..., then again",
        )
    return values | {name: click.prompt(name, hide_input=True, err=True) for name in missing}


def _print_planned(planned: Planned) -> None:
    for path, count in planned.files.items():
        click.echo(f"{show.size(count):>12}  {show.clean(path, lines=False)}")
    for sentence in planned.gained:
        click.echo(show.clean(sentence))
    what = "a new version" if planned.new else "already there:"
    files = show.count(len(planned.files), "file")
    version = f" {planned.version[:12]}" if planned.version else ""
    click.echo(f"{files}, {show.size(planned.bytes)}: {what}{version} of {planned.name}", nl=False)
    click.echo(f" ({planned.kind}, {planned.visibility}), tags {show.tags(planned.tags, planned.protected_tags)}")
    click.echo("nothing was written (--dry-run)", err=True)


def _print_pushed(pushed: Pushed, *, usage: bool) -> None:
    closed = f"{pushed.visibility}, sealed" if pushed.sealed else pushed.visibility
    if pushed.version is None:
        click.echo(f"pushing {pushed.name} ({pushed.kind}, {closed})")
    else:
        what = "pushed" if pushed.new else "already there:"
        click.echo(f"{what} {pushed.name} ({pushed.kind}, {closed}), version {pushed.version[:12]}")
    click.echo(f"tags: {show.tags(pushed.tags, pushed.protected_tags)}")
    click.echo(f"TASK_ID: {pushed.task_id}")
    if pushed.secret:
        click.echo(
            f"NAME: {pushed.name}\nSECRET: {pushed.secret}  (printed this once; keep it, there is no other copy)"
        )
    if pushed.secret and pushed.sealed:
        own = ", or the identity in ~/.lhub/identities, nobody opens it again: keep both"
        without = " nobody opens it again, and there is no way back"
        click.echo(f"it is sealed: without its SECRET{own if '/' in pushed.name else without}")
    if not usage:
        return
    if pushed.version is None:
        click.echo(f"follow it: lhub status --id {pushed.task_id}")
    click.echo(f"pull it: lhub pull {_with_secret(pushed, pushed.uri)}")
    if pushed.image:
        click.echo(f"as a container: lhub pull {_with_secret(pushed, pushed.image)}")
    if pushed.secret and "/" not in pushed.name:
        update = f"lhub push PATH --force-update {pushed.name} --secret SECRET"
        click.echo(f"update it: {update}")


def _with_secret(pushed: Pushed, uri: str) -> str:
    """A reference as it is typed: of what only the secret opens with that word, for its reader to replace."""
    if pushed.visibility == "private" and uri.startswith("jinahub"):
        return uri.replace(pushed.name, f"{pushed.name}:SECRET", 1)
    return uri


@click.command("pull")
@click.argument("ref", metavar="REF")
@click.argument("dest", required=False)
@click.option("--force", is_flag=True, help="Replace what stands at DEST.")
@click.option("--install-requirements", is_flag=True, help="Install what it requires, with pip, in this environment.")
@click.option("--prefer-platform", metavar="P", help="Of an image: the one for this platform, if there is one.")
@root_option
@json_option
@click.pass_context
def pull_command(
    ctx: click.Context,
    ref: str,
    dest: str | None,
    force: bool,
    install_requirements: bool,
    prefer_platform: str | None,
    root: str | None,
    as_json: bool,
) -> None:
    """Pull a version into a folder, or the file that it was, every byte verified.

    DEST is ./X for alice/X if not given, of a file with its ending. Variables that its requirements use are taken from
    the environment, or asked for at a terminal, when they are installed. jinaai+docker:// loads its container image
    into docker or podman, and prints the name that it has there.

    \b
    Example:
      lhub pull jinaai://alice/MyExecutor:v1
    """
    here = registry(ctx, root)
    variables = given_variables(here.variables(ref)) if install_requirements else {}
    with _watched() as telling:
        pulled = here.pull(
            ref,
            dest,
            force=force,
            install_requirements=install_requirements,
            build_env=variables,
            prefer_platform=prefer_platform,
            telling=telling,
        )
    if pulled.build_env and not install_requirements:
        click.echo(f"lhub: its requirements use {', '.join(pulled.build_env)}: set them before you install", err=True)
    if as_json:
        show.as_json(pulled.to_dict())
    elif pulled.path.startswith("docker://"):
        click.echo(pulled.path)
    else:
        click.echo(f"pulled {pulled.ref}, version {pulled.version[:12]}, to {show.clean(pulled.path)}")


@contextmanager
def _watched() -> Iterator[Callable[[Event], None]]:
    """How far a pull is, on a terminal."""
    if not sys.stderr.isatty():
        yield lambda event: None
        return
    from lhub.cli.progress import Progress  # for who watches

    progress = Progress()
    try:
        yield progress
    finally:
        progress.end()


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

    A star marks a protected tag. With --kind docarray: how many documents each has, who may see it, and since when.

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
    rows = _array_rows(lines) if kind == "docarray" else _rows(lines)
    show.table(rows if lines[0].root else [row[:-1] for row in rows])


def _rows(lines: Sequence[Listed]) -> list[list[str]]:
    rows = [["NAME", "KIND", "VISIBILITY", "SIZE", "UPDATED", "TAGS", "FROM"]]
    for line in lines:
        named = show.tags(list(line.tags), line.protected_tags)
        where = show.clean(line.root or "")
        rows.append(
            [line.name, line.kind, line.visibility, show.size(line.bytes), show.day(line.updated), named, where]
        )
    return rows


def _array_rows(lines: Sequence[Listed]) -> list[list[str]]:
    """The columns that `DocumentArray.cloud_list` had."""
    rows = [["NAME", "LENGTH", "ACCESS", "CREATED", "UPDATED", "FROM"]]
    for line in lines:
        length = "-" if line.length is None else str(line.length)
        times = show.day(line.created or 0.0), show.day(line.updated)
        rows.append([line.name, length, line.visibility, *times, show.clean(line.root or "")])
    return rows


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
    here = registry(ctx, root)
    shown = here.show(ref)
    first = here.documents(_as_shown(ref, shown.version)) if shown.kind == "docarray" else ()
    if as_json:
        show.as_json(shown.to_dict() | ({"documents": [dict(document) for document in first]} if first else {}))
        return
    _print_head(shown)
    about = shown.manifest.get("about", {})
    for key, value in about.items():
        for text in about_lines(key, value):
            click.echo(f"  {show.clean(text, lines=False)}")
    for number, document in enumerate(first):
        click.echo(f"document {number}")
        for name, text in document:
            click.echo(f"  {show.clean(f'{name}: {text}', lines=False)}")
    if shown.kind == "docarray":
        _print_load(shown)
    elif shown.readers is not None:
        click.echo(f"lay it out, to use it: lhub pull {shown.name}@{shown.version[:12]} DEST")
    elif shown.kind == "executor":
        _print_uses(ref, here.path(ref), image=shown.image)


def _print_head(shown: Shown) -> None:
    """What it is, its tags, the version that is shown, and for whom it is sealed."""
    closed = shown.visibility if shown.readers is None else f"{shown.visibility}, sealed"
    click.echo(f"{shown.name}  ({shown.kind}, {closed}, updated {show.day(shown.updated)})")
    for tag, version in shown.tags.items():
        mark = " (protected)" if tag in shown.protected_tags else ""
        click.echo(f"  {tag}{mark}: {version[:12]}")
    files = shown.manifest.get("sealed") or shown.manifest["files"]
    click.echo(f"version {shown.version}\n  {show.count(files['count'], 'file')}, {show.size(shown.bytes)}")
    if shown.readers:
        click.echo(f"  shared with: {', '.join(map(show.clean, shown.readers))}")


def _as_shown(typed: str, version: str) -> Ref:
    """The reference that was typed, at the version that it meant a moment ago."""
    from lhub.names import parse_ref  # cheap, but for this only

    return replace(parse_ref(typed), tag=None, at=None, version=version)


def _print_load(shown: Shown) -> None:
    """What to paste to have the documents of an array again; docarray's own call where it has to be told the form."""
    about = shown.manifest.get("about", {})
    click.echo("load it, with docarray:")
    click.echo(f'  Python:    lhub.load("{shown.name}@{shown.version[:12]}")')
    words = [f'{key}="{about[key]}"' for key in ("protocol", "compress") if isinstance(about.get(key), str)]
    click.echo(show.clean(f"  its file:  load_binary(FILE, {', '.join(words)})", lines=False))


def _print_uses(typed: str, folder: str, *, image: bool) -> None:
    """What to paste into a Flow: the version's folder where it is read as it is, its reference where lhub finds it."""
    from lhub.names import parse_ref  # cheap, but for this only

    ref = parse_ref(typed)
    source = replace(ref, scheme="jinaai" if ref.namespace else "jinahub", docker=False)
    note = "" if image else "  (no image yet)"
    click.echo("use it in a Flow:")
    click.echo(f'  Python:    Flow().add(uses=lhub.uses("{source}"))')
    click.echo(f"  YAML:      uses: {show.clean(folder, lines=False)}/config.yml")
    click.echo(f"  container: uses: {replace(source, docker=True)}{note}")


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
