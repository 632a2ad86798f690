"""Installer: the only room that runs pip, in the environment in which lhub itself runs.

pip expands ``${NAME}`` in requirements from its environment, so that values are in no file and in no list of processes;
what it prints goes through a redaction line by line, for pip prints the addresses from which it installs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping

from lhub.errors import BuildFailed, ToolMissing
from lhub.kinds.requirements import FILE
from lhub.redaction import Redaction

_LONGEST = 8192
"""Characters of a line that are shown."""
_PIP = ("-m", "pip", "install", "--no-input", "--disable-pip-version-check", "-r")


def install(folder: str, variables: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Install the requirements of a pulled Executor; nothing is done where there are none.

    `say` is called with each line of pip's. Raises ToolMissing without pip, BuildFailed when it fails.
    """
    path = f"{folder}/{FILE}"
    if not os.path.isfile(path):
        return
    hide = Redaction(variables.values())
    last = ""
    with _started(path, variables) as pip:
        for line in pip.stdout or ():
            if words := hide.text(line[:_LONGEST].rstrip()):
                last = words
                say(words)
    if "No module named pip" in last:
        raise ToolMissing("this Python has no pip", hint=f"{sys.executable} -m ensurepip")
    if pip.returncode:
        raise BuildFailed(
            f"pip could not install {path}: {last.strip() or 'it said nothing'}", hint="pip's words are above"
        )


def _started(path: str, variables: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *_PIP, path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **variables},
        cwd="/",  # Python looks for modules in the current folder first, and what was pulled may hold a pip.py
        text=True,
        errors="replace",
    )
