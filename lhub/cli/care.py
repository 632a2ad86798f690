"""Care over time: verify, doctor, gc, export, import, copy, adopt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

import lhub.cli.show as show
from lhub.cli.main import registry
from lhub.cli.options import json_option, root_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lhub.collection import Collected
    from lhub.exchange import Carried, Copied


@click.command("verify")
@click.argument("ref", metavar="[REF]", required=False)
@click.option("--quick", is_flag=True, help="Only names and sizes; no byte is read.")
@click.option("--repair", is_flag=True, help="Mend what is yours, where a good copy is found.")
@click.option("--from", "good", metavar="ROOT", help="With --repair: another registry that may have good copies.")
@click.option("--rebuild-history", is_flag=True, help="Make the diary again from the versions and links.")
@root_option
@json_option
@click.pass_context
def verify_command(
    ctx: click.Context,
    ref: str | None,
    quick: bool,
    repair: bool,
    good: str | None,
    rebuild_history: bool,
    root: str | None,
    as_json: bool,
) -> None:
    """Check every byte of everything you may see, or of REF, against its digest; exit 6 if one is wrong.

    \b
    Example:
      lhub verify
      lhub verify alice/MyExecutor --repair --from /mnt/backup/registry
    """
    place = registry(ctx, root)
    verified = place.verify(ref, quick=quick, repair=repair, good=good, rebuild_history=rebuild_history)
    if as_json:
        show.as_json(verified.to_dict())
    else:
        for finding in verified.repaired:
            click.echo(f"repaired {show.clean(show.short(finding.ref))}: {show.clean(finding.problem, lines=False)}")
        for finding in verified.findings:
            click.echo(f"{show.clean(show.short(finding.ref))}: {show.clean(finding.problem, lines=False)}")
            click.echo(f"  {show.clean(finding.hint)}")
        for remark in verified.remarks:
            click.echo(f"note: {remark}")
        how = "only their names and sizes were looked at" if quick else f"{show.size(verified.bytes)} hashed"
        wrong = f"{len(verified.findings)} wrong" if verified.findings else "all well"
        click.echo(f"{verified.checked} files: {wrong} ({how})")
    if not verified.ok:
        ctx.exit(6)


@click.command("doctor")
@click.option("--fix", is_flag=True, help="Set right what is yours and safe; no foreign file is touched.")
@root_option
@json_option
@click.pass_context
def doctor_command(ctx: click.Context, fix: bool, root: str | None, as_json: bool) -> None:
    """Explain what is unusual in a registry though no byte is wrong: what a kill, a hand or a wrong clock left.

    \b
    Example:
      lhub doctor --fix
    """
    oddities = registry(ctx, root).doctor(fix=fix)
    left = [oddity for oddity in oddities if not oddity.fixed]
    if as_json:
        show.as_json({"ok": not left, "findings": [oddity.to_dict() for oddity in oddities]})
        return
    for oddity in oddities:
        click.echo(("fixed: " if oddity.fixed else "") + show.clean(f"{oddity.path}: {oddity.problem}", lines=False))
        if not oddity.fixed:
            click.echo(f"  {show.clean(oddity.hint)}")
    click.echo(f"{len(left)} unusual; lhub verify looks at the bytes" if left else "nothing unusual")


@click.command("gc")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--keep-last", metavar="N", type=int, default=1, show_default=True, help="The newest versions to keep.")
@click.option("--grace", metavar="SPAN", default="14d", show_default=True, help="How long each stage lasts: 10m, 36h.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@root_option
@json_option
@click.pass_context
def gc_command(
    ctx: click.Context, dry_run: bool, keep_last: int, grace: str, yes: bool, root: str | None, as_json: bool
) -> None:
    """Free what no tag names: noted now, in the trash after a grace, gone after another.

    Tagged and protected versions and the newest of each resource never go.

    \b
    Example:
      lhub gc --dry-run
      lhub gc --grace 30d --keep-last 5
    """
    from lhub.moments import parse_span

    def confirm(would: Collected) -> None:
        _print_collected(would, err=True)
        if show.ask("Go on? [y/N] ").lower() not in ("y", "yes"):
            raise click.UsageError("nothing was collected", ctx)

    asks = show.can_ask() and not yes
    collected = registry(ctx, root).gc(
        grace=parse_span(grace), keep_last=keep_last, dry_run=dry_run, confirm=confirm if asks else None
    )
    if as_json:
        show.as_json(collected.to_dict())
    else:
        _print_collected(collected)


def _print_collected(collected: Collected, *, err: bool = False) -> None:
    would = "would be " if collected.dry_run or err else ""
    if collected.empty:
        click.echo("nothing to collect: every version has a tag, is the newest, or waits for its grace", err=err)
    for what, refs in (("noted", collected.noted), ("trashed", collected.trashed), ("removed", collected.removed)):
        for ref in refs:
            click.echo(f"{would}{what}  {show.clean(show.short(ref))}", err=err)
    for name in collected.deleted:
        click.echo(f"{would}removed  {show.clean(name)}, which was deleted", err=err)
    for name in collected.left:
        click.echo(f"left alone  {show.clean(show.short(name))}", err=err)
    if collected.empty:
        return
    stages = f"{len(collected.noted)} noted, {len(collected.trashed)} to the trash, {len(collected.removed)} removed"
    files = f", {collected.blobs} files of no version" if collected.blobs else ""
    click.echo(f"versions: {stages}{files}; {show.size(collected.bytes)} {would}freed", err=err)


@click.command("export")
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="FILE", required=True, help="The bundle to make, a plain tar.")
@click.option("--since", metavar="TAG|VERSION", help="Leave out what this version, and those before it, had.")
@root_option
@json_option
@click.pass_context
def export_command(
    ctx: click.Context, refs: tuple[str, ...], output: str, since: str | None, root: str | None, as_json: bool
) -> None:
    """Write resources into one plain tar, to carry to another machine; it is itself a registry.

    \b
    Example:
      lhub export alice/MyExecutor alice/weights -o all.tar
      lhub export alice/MyExecutor --since v1 -o new.tar
    """
    exported = registry(ctx, root).export(*refs, path=output, since=since)
    if as_json:
        show.as_json(exported.to_dict())
        return
    what = f"{show.count(exported.resources, 'resource')}, {show.count(exported.versions, 'version')}"
    click.echo(f"exported {what}, {show.size(exported.bytes)}, to {show.clean(exported.path)}")


@click.command("import")
@click.argument("path", metavar="FILE")
@click.option("--as", "namespace", metavar="NAMESPACE", help="Take everything under this namespace.")
@root_option
@json_option
@click.pass_context
def import_command(ctx: click.Context, path: str, namespace: str | None, root: str | None, as_json: bool) -> None:
    """Take in what lhub export wrote, every byte verified; after a kill the same again goes on.

    \b
    Example:
      lhub import all.tar
      lhub import all.tar --as alice
    """
    carried = registry(ctx, root, writes=True).import_bundle(path, namespace=namespace)
    if as_json:
        show.as_json([each.to_dict() for each in carried])
    else:
        _print_carried("imported", carried)


def _print_carried(what: str, carried: Sequence[Carried]) -> None:
    for each in carried:
        told = show.count(each.versions, "version") + (f", {each.new} new" if each.new != each.versions else "")
        click.echo(f"{what} {show.clean(each.name)}: {told}, tags {', '.join(each.tags) or '-'}")
        for tag, version in each.moved.items():
            click.echo(f"  {tag}: {version[:12]} -> {each.tags[tag][:12]}")
    if not carried:
        click.echo("nothing to take", err=True)


@click.command("copy")
@click.argument("refs", metavar="[REF]...", nargs=-1)
@click.option("--to", metavar="ROOT", required=True, help="The other registry; it is made if its parent exists.")
@click.option("--all", "every", is_flag=True, help="Everything that is yours.")
@click.option("--as", "namespace", metavar="NAMESPACE", help="Take everything under this namespace there.")
@root_option
@json_option
@click.pass_context
def copy_command(
    ctx: click.Context,
    refs: tuple[str, ...],
    to: str,
    every: bool,
    namespace: str | None,
    root: str | None,
    as_json: bool,
) -> None:
    """Copy resources to another registry: only what is missing there, verified, with tags, protection and diary.

    \b
    Example:
      lhub copy alice/MyExecutor --to /mnt/team/registry
      lhub copy --all --to /mnt/backup/registry
    """
    if every == bool(refs):
        raise click.UsageError("name what is to be copied, or --all", ctx)
    copied = registry(ctx, root).copy(*refs, to=to, namespace=namespace)
    if as_json:
        show.as_json(copied.to_dict())
        return _end_copy(ctx, copied)
    if copied.carried or not (copied.skipped or copied.failed):
        _print_carried("copied", copied.carried)
    for name in copied.skipped:
        click.echo(f"skipped {show.clean(name)}, which is not yours")
    return _end_copy(ctx, copied)


def _end_copy(ctx: click.Context, copied: Copied) -> None:
    """Say what could not be copied; the exit code is that of the first."""
    for name, error in copied.failed:
        click.echo(f"lhub: {show.clean(name)} was not copied: {show.clean(str(error))}", err=True)
    if copied.failed:
        ctx.exit(copied.failed[0][1].code)


@click.command("adopt")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Everything that is listed and whole.")
@click.option("--as", "namespace", metavar="NAMESPACE", help="Take it under this namespace, to be updated later.")
@click.option("--cache", metavar="DIR", help="Where the caches lie.  [default: ~/.cache]")
@root_option
@json_option
@click.pass_context
def adopt_command(
    ctx: click.Context,
    names: tuple[str, ...],
    every: bool,
    namespace: str | None,
    cache: str | None,
    root: str | None,
    as_json: bool,
) -> None:
    """List what the old cloud left in your caches, or store what you name: Executors and DocumentArrays.

    Without --as it has no namespace: it is pulled by its old name and never updated.

    \b
    Example:
      lhub adopt
      lhub adopt Hello alice_fashion_mnist --as alice
    """
    from lhub.door import cache as default

    where = default() if cache is None else cache
    if names or every:
        carried = registry(ctx, root, writes=True).adopt(*names, cache=where, namespace=namespace, every=every)
        if as_json:
            show.as_json([each.to_dict() for each in carried])
        else:
            _print_carried("adopted", carried)
        return
    listed = registry(ctx, root).adoptable(where)
    if as_json:
        show.as_json([each.to_dict() for each in listed])
        return
    if not listed:
        click.echo(f"nothing of the old cloud is in {where}", err=True)
        return
    rows: list[tuple[str, ...]] = [("NAME", "KIND", "TAG", "SIZE", "PATH")]
    rows += [
        tuple(
            show.clean(text, lines=False) for text in (each.name, each.kind, each.tag, show.size(each.bytes), each.path)
        )
        for each in listed
    ]
    show.table(rows)
    for each in listed:
        if each.fault:
            click.echo(f"{show.clean(each.path)} cannot be adopted: {show.clean(each.fault)}")
