"""Container images, and the bases that they are made on: image export, inspect; base import, from-engine, list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

import lhub.cli.show as show
from lhub.cli.main import registry
from lhub.cli.options import json_option, root_option

_F = TypeVar("_F", bound=Callable[..., Any])


def _push_options(command: _F) -> _F:
    """What a push of a base takes."""
    for option in (
        click.option("-m", "--message", default="", help="A few words for `lhub log`."),
        click.option("--private", is_flag=True, help="Let nobody else see it."),
        click.option("--public", is_flag=True, default=None, help="Let everybody pull it (what a first push does)."),
        click.option("--protected-tag", "protected_tags", metavar="TAG", multiple=True, help="One that never moves."),
        click.option("-t", "--tag", "--tags", "tags", metavar="TAG", multiple=True, help="A tag; may be given again."),
    ):
        command = option(command)
    return command


# bases


@click.group("base", invoke_without_command=True)
@click.pass_context
def base_command(ctx: click.Context) -> None:
    """Keep the images that Executors' container images are made on.

    \b
    Example:
      lhub base import tiny rootfs.tar
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@base_command.command("import")
@click.argument("name")
@click.argument("source", metavar="TAR-OR-OCI-DIR")
@_push_options
@root_option
@json_option
@click.pass_context
def import_command(
    ctx: click.Context, /, name: str, source: str, root: str | None, as_json: bool, **options: Any
) -> None:
    """Keep an image as a base of your namespace.

    TAR-OR-OCI-DIR is what `docker save` or `podman save` wrote, the tar of a root folder (plain, gz, bz2, xz), or a
    folder that is an OCI layout.

    \b
    Example:
      docker save jinaai/jina:3.27 -o jina.tar && lhub base import jina jina.tar
    """
    _print(registry(ctx, root, writes=True).import_base(name, source, **options), as_json)


@base_command.command("from-engine")
@click.argument("image")
@click.argument("name", required=False)
@click.option("--engine", metavar="NAME", help="Docker or podman. [the first that answers]")
@_push_options
@root_option
@json_option
@click.pass_context
def from_engine_command(
    ctx: click.Context,
    /,
    image: str,
    name: str | None,
    engine: str | None,
    root: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Keep an image that docker or podman has as a base; NAME and the tag are those that it has there.

    \b
    Example:
      docker pull jinaai/jina:3.27 && lhub base from-engine jinaai/jina:3.27
    """
    _print(registry(ctx, root, writes=True).base_from_engine(image, name, engine=engine, **options), as_json)


def _print(pushed: Any, as_json: bool) -> None:
    for warning in pushed.warnings:
        click.echo(f"lhub: {show.clean(warning)}", err=True)
    if as_json:
        show.as_json(pushed.to_dict())
        return
    what = "pushed" if pushed.new else "already there:"
    click.echo(f"{what} {pushed.name} ({pushed.kind}, {pushed.visibility}), version {pushed.version[:12]}")
    click.echo(f"tags: {show.tags(pushed.tags, pushed.protected_tags)}")


@base_command.command("list")
@root_option
@json_option
@click.pass_context
def list_command(ctx: click.Context, root: str | None, as_json: bool) -> None:
    """List the bases of your namespace, that first which a push takes.

    \b
    Example:
      lhub base list
    """
    bases = registry(ctx, root).bases()
    if as_json:
        show.as_json([each.to_dict() for each in bases])
        return
    if not bases:
        click.echo("no base yet: lhub base import NAME TAR-OR-OCI-DIR", err=True)
        return
    rows = [["NAME", "TAGS", "SIZE", "PLATFORM", "PYTHON"]]
    for each in bases:
        for told in each.images:
            python = show.clean(str(told.get("python", "-")), lines=False)
            platform = show.clean(str(told.get("platform", "-")), lines=False)
            rows.append([each.name, show.tags(list(each.tags), ()), show.size(each.bytes), platform, python])
    show.table(rows)


# images


@click.group("image", invoke_without_command=True)
@click.pass_context
def image_command(ctx: click.Context) -> None:
    """Look at the container image of an Executor, or write it to a file.

    \b
    Example:
      lhub image export alice/MyExecutor:v1 -o my.tar
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@image_command.command("export")
@click.argument("ref", metavar="REF")
@click.option("-o", "--output", metavar="FILE", required=True, help="The tar to write; it must not exist.")
@click.option("--platform", metavar="P", help="The one for this platform. [this machine's]")
@root_option
@json_option
@click.pass_context
def export_command(
    ctx: click.Context, ref: str, output: str, platform: str | None, root: str | None, as_json: bool
) -> None:
    """Write the image as one tar, which docker and podman load.

    \b
    Example:
      lhub image export alice/MyExecutor:v1 -o my.tar && docker load -i my.tar
    """
    written = registry(ctx, root).export_image(ref, output, platform=platform)
    if as_json:
        show.as_json(written.to_dict() | {"path": output})
        return
    image = written.images[0]
    click.echo(f"wrote {written.name} for {image.platform} ({show.size(image.bytes)}) to {show.clean(output)}")


@image_command.command("inspect")
@click.argument("ref", metavar="REF")
@root_option
@json_option
@click.pass_context
def inspect_command(ctx: click.Context, ref: str, root: str | None, as_json: bool) -> None:
    """Show what an image is made of, and where its OCI layout lies.

    \b
    Example:
      lhub image inspect alice/MyExecutor:v1
    """
    found = registry(ctx, root).image(ref)
    if as_json:
        show.as_json(found.to_dict())
        return
    click.echo(f"docker://{found.name}  (version {found.version[:12]})")
    click.echo(f"layout: {show.clean(found.layout.folder)}")
    for each in found.to_dict()["images"]:
        click.echo(f"{each['platform']}: {show.size(each['bytes'])}, {each['digest']}")
        for layer in each["layers"]:
            click.echo(f"  layer {layer['digest'][7:19]}  {show.size(layer['bytes'])}")
        for key in ("Entrypoint", "Cmd", "WorkingDir", "User", "Env", "Labels"):
            if value := each["run"].get(key):
                click.echo(show.clean(f"  {key}: {_shown(value)}", lines=False))


def _shown(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return ", ".join(f"{key}={each}" for key, each in value.items()) if isinstance(value, dict) else str(value)
