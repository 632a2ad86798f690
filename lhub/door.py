"""What the doors read from outside: the environment, the home, the current folder. Nobody below does.

`LHUB_HOME` (default ``~/.lhub``) holds the login and a disposable index; `LHUB_ROOT` (default ``registry`` in
it) is the registry.

>>> here(root="/srv/registry", environment={"LHUB_HOME": "/nowhere"}).session.root
'/srv/registry'
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping

from lhub.identity import make_home, recall
from lhub.registry import Registry


def home(environment: Mapping[str, str] = os.environ) -> str:
    """The folder of lhub's own state."""
    return os.path.abspath(environment.get("LHUB_HOME") or os.path.expanduser("~/.lhub"))


def here(
    *,
    root: str | None = None,
    environment: Mapping[str, str] = os.environ,
    notes: Callable[[str], None] | None = None,
    writes: bool = False,
) -> Registry:
    """The registry that a command or `lhub.push` means, for whoever is logged in; `writes`: it may be made."""
    own = home(environment)
    given = root or environment.get("LHUB_ROOT")
    if writes and not given:
        make_home(own)
    return Registry(
        given or f"{own}/registry",
        namespace=recall(own),
        notes=notes or to_stderr,
        keep=(os.getcwd(), os.path.expanduser("~")),
        index=f"{own}/index",
    )


def to_stderr(sentence: str) -> None:
    """One line for a person."""
    sys.stderr.write(f"lhub: {sentence}\n")
