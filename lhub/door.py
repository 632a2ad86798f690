"""What the doors read from outside: the environment, the home, the current folder. Nobody below does.

`LHUB_HOME` (default ``~/.lhub``) holds the login and a disposable index; `LHUB_ROOT` (default ``registry`` in
it) is the registry, or several with ``:`` between them: a reference is looked up in that order, a push goes to the
first. `LHUB_IMAGE` (auto, never) says whether a push builds an image where nothing else does, `LHUB_SECRET` is the
secret of what is sealed, or of what has no namespace.

>>> here(root="/srv/registry", environment={"LHUB_HOME": "/nowhere"}).session.root
'/srv/registry'
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial

from lhub.errors import LhubError, UsageError, clean
from lhub.identity import make_home, recall, recall_mounts, remember, remember_mount
from lhub.names import BUILD_ENV, secret_faults
from lhub.registry import Registry


def home(environment: Mapping[str, str] = os.environ) -> str:
    """The folder of lhub's own state."""
    given = environment.get("LHUB_HOME") or os.path.expanduser("~/.lhub")
    if given.startswith("~"):
        raise UsageError("there is no home folder for you here", hint="set LHUB_HOME, or HOME")
    return os.path.abspath(given)


def variable(name: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """The value of a variable for requirements; None where it is not set, or empty, of which pip makes nothing."""
    return environment.get(f"{BUILD_ENV}{name}") or environment.get(name) or None


def variables(names: Iterable[str], given: Mapping[str, str] | None) -> dict[str, str]:
    """The values of these variables: those that were given, else what the environment has."""
    found = {name: (given or {}).get(name) or variable(name) for name in names}
    return {name: value for name, value in found.items() if value}


def image(given: str | None, *wishes: object, environment: Mapping[str, str] = os.environ) -> str:
    """Whether a push builds an image: as is said; who wishes how wants one; else as `LHUB_IMAGE` says, else auto."""
    if given or any(wishes):
        return given or "always"
    told = environment.get("LHUB_IMAGE") or "auto"
    if told not in ("auto", "never"):
        raise UsageError(f"LHUB_IMAGE is auto or never, not {told[:40]!r}", hint="unset LHUB_IMAGE")
    return told


def keep_clean(path: str) -> None:
    """Let this process, and those it starts, write no bytecode where modes do not bind it.

    For root a read-only folder takes `__pycache__` all the same, and `lhub verify` then finds what nobody published.
    """
    if os.access(os.path.dirname(path), os.W_OK):
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"


def cache() -> str:
    """Where programs keep what they can fetch again; the old cloud's clients did, whatever XDG says."""
    return os.path.expanduser("~/.cache")


def here(
    *,
    root: str | None = None,
    environment: Mapping[str, str] = os.environ,
    notes: Callable[[str], None] | None = None,
    writes: bool = False,
    anonymous: bool = False,
) -> Registry:
    """The registry that a command or `lhub.push` means, for whoever is logged in.

    `writes`: it may be made; `anonymous`: who is logged in is of no matter (he is about to log in).
    """
    if root == "":
        raise UsageError("--root is empty", hint="name a folder, or leave it out")
    own = home(environment)
    if bounds := environment.get("LHUB_BOUNDS"):
        _keep(bounds, own)
    given = [each for each in environment.get("LHUB_ROOT", "").split(os.pathsep) if each] if root is None else [root]
    if writes and not given:
        make_home(own)
    first, *also = given or [f"{own}/registry"]
    return Registry(
        first,
        also=also,
        namespace=None if anonymous else recall(own),
        notes=notes or to_stderr,
        keep=_kept(),
        index=f"{own}/index",
        mounts=recall_mounts(own),
        on_mount=partial(_keep_mount, own),
        home=own,
        secret=_secret(environment),
    )


def _secret(environment: Mapping[str, str]) -> str | None:
    """The secret of what is sealed, or of what has no namespace; UsageError for what can be none."""
    given = environment.get("LHUB_SECRET") or None
    if given is not None and (faults := secret_faults(given)):
        raise UsageError(f"LHUB_SECRET is no secret: {', '.join(faults)}", hint="unset LHUB_SECRET")
    return given


def _keep(bounds: str, own: str) -> None:
    """Let this process write only where the tests that started it may; who runs those keeps them himself."""
    from lhub.bounds import Bounds  # for tests only
    from lhub.disk import watch

    watch(partial(Bounds.parse(bounds).see, own))


def login(registry: Registry, namespace: str) -> None:
    """Claim a namespace, and remember it for all registries."""
    registry.login(namespace)
    remember(home(), namespace)


def _keep_mount(own: str, root: str) -> None:
    """Remember where the mount of a registry begins that must lie on one: what is not there cannot say so itself."""
    from lhub.mounts import point_of  # for who asked for it

    with suppress(LhubError, OSError):  # a home that takes no writes serves as well
        remember_mount(own, root, point_of(root))


def _kept() -> tuple[str, ...]:
    """The current folder, if it still is there, and the home: what no pull replaces."""
    try:
        return os.getcwd(), os.path.expanduser("~")
    except FileNotFoundError:
        return (os.path.expanduser("~"),)


def to_stderr(sentence: str) -> None:
    """One line for a person."""
    sys.stderr.write(f"lhub: {clean(sentence)}\n")
