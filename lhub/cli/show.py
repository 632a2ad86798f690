"""How values look to a person, and as JSON; what strangers wrote is made safe before it meets a terminal.

>>> clean("a\\x1b[31mb"), size(1536)
('a\\\\x1b[31mb', '1.5 KiB')
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from lhub.errors import clean as clean  # noqa: PLC0414 (commands say show.clean)
from lhub.phrases import count as count  # noqa: PLC0414 (and so on)
from lhub.phrases import day as day  # noqa: PLC0414
from lhub.phrases import short as short  # noqa: PLC0414
from lhub.phrases import size as size  # noqa: PLC0414


def as_json(value: object) -> None:
    """Print a value for programs."""
    import json  # 3 ms that a person's output does not need

    click.echo(json.dumps(value, indent=2))


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns; the first is the heading."""
    widths = [max([len(row[column]) for row in rows]) for column in range(len(rows[0]))]
    line = "  ".join([f"%-{width}s" for width in widths])
    click.echo("\n".join([(line % tuple(row)).rstrip() for row in rows]))  # at once: 10,000 echoes take time


def can_ask() -> bool:
    """Whether a person sits at the other end."""
    import sys  # the terminal is a door's affair

    return bool(sys.stdin and sys.stdin.isatty())


def ask(question: str) -> str:
    """One line that a person types; an empty text where nobody can."""
    import sys  # as above

    click.echo(question, nl=not can_ask(), err=True)
    return sys.stdin.readline().strip() if sys.stdin else ""


def tags(names: Sequence[str], protected: Sequence[str]) -> str:
    """Tags in one line; a protected one carries a star."""
    shown = [f"{name}*" if name in protected else name for name in names] if protected else names
    return ", ".join(shown) or "-"
