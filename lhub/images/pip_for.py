"""Runs pip, choosing for another machine than this one: `python -I pip_for.py MACHINE PYTHON WORD...`.

pip's own --platform and --python-version choose wheels, but what a requirement says about the machine
(`; platform_machine == "x86_64"`, `; python_version < "3.11"`) it asks of the Python that it runs in (PEP 508). So that
one answers as the image's would.

What `--build-env` gave is told to requirements files alone (pip asks `os.getenv` for each `${NAME}` there), so that no
name among it is an option of pip, of Python or of the loader.

And it runs no program: what has no wheel would be built here, by code of whoever wrote it, with all that this user may.
"""

from __future__ import annotations

import os
import platform
import runpy
import sys
from collections.abc import Callable, Mapping

_PROGRAMS = ("subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "pty.spawn")


GIVEN = "LHUB_BUILD_ENV_"
"""What stands before the name of a variable for requirements in this process's environment."""


def only_in_requirements(given: Mapping[str, str]) -> Callable[..., str | None]:
    """An `os.getenv` that knows these too where pip reads a requirements file."""
    known = os.getenv

    def getenv(name: str, default: str | None = None) -> str | None:
        asking = sys._getframe(1).f_globals.get("__name__")
        return given[name] if asking == "pip._internal.req.req_file" and name in given else known(name, default)

    return getenv


def refuse(event: str, words: object) -> None:
    """Start no program, whatever for (an audit hook, which nothing takes away again)."""
    if event.startswith(_PROGRAMS):
        raise PermissionError("it has to be built, and nothing is built or run here")


def main(words: list[str]) -> None:
    """Answer for another machine, then be pip."""
    machine, version, *rest = words
    parts = (*version.split("."), "0")[:3]
    platform.machine = lambda: machine
    platform.python_version = lambda: ".".join(parts)
    platform.python_version_tuple = lambda: (parts[0], parts[1], parts[2])
    platform.system = lambda: "Linux"
    given = {name.removeprefix(GIVEN): os.environ.pop(name) for name in list(os.environ) if name.startswith(GIVEN)}
    os.getenv = only_in_requirements(given)  # type: ignore[assignment]  # typeshed's has a default of any type
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sys.argv = ["pip", *rest]
    sys.addaudithook(refuse)
    runpy.run_module("pip", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
