"""Whether a mount keeps what lhub builds on: selftest."""

from __future__ import annotations

import signal
import sys

import click

import lhub.cli.show as show
from lhub.cli.main import registry
from lhub.cli.options import json_option, root_option


@click.command("selftest")
@click.option(
    "--peer", metavar="COMMAND", help="What runs a program on another host that has the same share: 'ssh nas2'."
)
@click.option("--peer-root", metavar="DIR", help="Where the same folder lies over there, if not at the same path.")
@root_option
@json_option
@click.pass_context
def selftest_command(
    ctx: click.Context, peer: str | None, peer_root: str | None, root: str | None, as_json: bool
) -> None:
    """Try whether a folder's file system keeps what lhub promises; exit 1 if it does not.

    It works in a scratch folder of its own, and needs no registry there: any folder will do in which you may write.
    Locks, renames and freshness are also tried against another host with --peer, and what other users may do, if you
    are root.

    \b
    Example:
      lhub selftest --root /mnt/team --peer 'ssh otherhost'
    """
    if peer is None and peer_root is not None:
        raise click.UsageError("--peer-root without --peer has nothing to say", ctx)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))  # to tidy up first
    report = registry(ctx, root).selftest(peer=_words(peer), peer_root=peer_root, telling=_telling)
    _telling("")
    if as_json:
        show.as_json(report.to_dict())
    else:
        rows = [(check.name, check.verdict, check.seen, check.means) for check in report.checks]
        show.table([("", "", "seen", "for lhub"), *[tuple(map(show.clean, row)) for row in rows]])
        click.echo(f"\n{show.clean(report.sentence)}")
    if not report.ok:
        ctx.exit(1)


def _words(peer: str | None) -> list[str]:
    """The words of a command, as a shell would split them."""
    import shlex  # 3 ms

    try:
        words = shlex.split(peer or "")
    except ValueError:
        raise click.UsageError("--peer has a quote that is not closed") from None
    if peer is not None and not words:
        raise click.UsageError("--peer is empty")
    return words


def _telling(what: str) -> None:
    """What is tried just now, in one line of a terminal."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{what}", nl=False, err=True)
