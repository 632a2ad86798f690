"""Runs pip, choosing for another machine than this one: `python -I pip_for.py MACHINE PYTHON WORD...`.

pip's own --platform and --python-version choose wheels, but what a requirement says about the machine
(`; platform_machine == "x86_64"`, `; python_version < "3.11"`) it asks of the Python that it runs in (PEP 508). So that
one answers as the image's would.

And it runs no program: what has no wheel would be built here, by code of whoever wrote it, with all that this user may.
"""

from __future__ import annotations

import os
import platform
import runpy
import sys

_PROGRAMS = ("subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "pty.spawn")


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
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sys.argv = ["pip", *rest]
    sys.addaudithook(refuse)
    runpy.run_module("pip", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
