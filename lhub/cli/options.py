"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])


def root_option(command: _F) -> _F:
    """`--root DIR`."""
    return click.option("--root", metavar="DIR", help="The registry (default: LHUB_ROOT, then ~/.lhub/registry).")(
        command
    )


def json_option(command: _F) -> _F:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print the value as JSON.")(command)
