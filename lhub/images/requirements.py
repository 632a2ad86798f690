"""Requirements: what an Executor requires becomes a layer, chosen by pip for the image's platform, nothing run in it.

pip takes wheels only: what has to be compiled would be compiled for this machine. The names of a base's own packages go
to pip as constraints, so that what a requirement has there already is taken in the same version.
"""

from __future__ import annotations

import csv
import io
import os
import re
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from lhub.errors import BuildFailed, ToolMissing
from lhub.images.children import run
from lhub.images.layers import Entry, below
from lhub.images.oci import Platform
from lhub.images.pip_for import GIVEN
from lhub.images.rootfs import Base
from lhub.kinds.requirements import FILE

PLACE = "opt/lhub/site-packages"
"""Where requirements lie in an image: not in the base's own place, which Debian and Docker's image have elsewhere."""
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "386": "i686", "arm": "armv7l"}
_OLD = {"amd64": ("2014", "2010", "1"), "386": ("2014", "2010", "1")}
_FIRST_GLIBC = 17
_RUNNER = f"{os.path.dirname(__file__)}/pip_for.py"
_PIP = (
    "install",
    "--no-input",
    "--disable-pip-version-check",
    "--no-compile",
    "--no-warn-conflicts",
    "--ignore-installed",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installing:
    """What pip is asked: the requirements of a folder for a base; `say` is told each line, `breathe` may raise."""

    folder: str
    base: Base
    platform: Platform
    variables: Mapping[str, str]
    say: Callable[[str], None]
    breathe: Callable[[], None]

    def install(self, scratch: str) -> str:
        """Install into a new folder in `scratch`, and make what is there the same wherever it is made; that folder."""
        constraints = f"{scratch}/constraints.txt"
        with open(constraints, "w", encoding="utf-8") as file:
            file.writelines(f"{package}\n" for package in self.base.packages)
        target = f"{scratch}/with-base"
        if fault := self._pip(scratch, target, ["--constraint", constraints] if self.base.packages else []):
            if not self.base.packages:
                raise self._failed(fault)
            self.say("once more, without regard to the versions that the base has")
            target = f"{scratch}/alone"
            if fault := self._pip(scratch, target, []):
                raise self._failed(fault)
        if os.path.isdir(target):
            _settle(target, self.base.interpreter or "/usr/bin/env python3")
        return target

    def _pip(self, scratch: str, target: str, more: list[str]) -> str:
        """Run it; why it failed, an empty text where it did not."""
        machine = _MACHINES.get(self.platform.architecture, self.platform.architecture)
        python = self.base.python or ""
        chosen = [word for each in tags(self.platform, self.base.libc) for word in ("--platform", each)]
        wheels = ["--only-binary", ":all:", "--implementation", "cp", "--python-version", python, *chosen]
        command = [sys.executable, "-I", _RUNNER, machine, python, *_PIP, "--target", target, *wheels, *more]
        last, said = "it said nothing", False

        def hear(line: str) -> None:
            nonlocal last, said
            last = line.removeprefix("ERROR: ") if line.startswith("ERROR: ") or not said else last
            said = said or line.startswith("ERROR: ")
            self.say(line)

        environment = {**os.environ, "TMPDIR": scratch}
        environment |= {f"{GIVEN}{name}": value for name, value in self.variables.items()}
        code = run([*command, "-r", FILE], cwd=self.folder, environment=environment, say=hear, breathe=self.breathe)
        if code and "No module named pip" in last:
            raise ToolMissing("this Python has no pip", hint=f"{sys.executable} -m ensurepip")
        return last if code else ""

    def _failed(self, why: str) -> BuildFailed:
        return BuildFailed(
            f"pip could not choose the requirements for {self.platform}, Python {self.base.python}: {why}",
            hint="lhub status --replay --verbose has its words; what has no wheel needs a Dockerfile and an engine",
        )


def tags(platform: Platform, libc: str | None) -> Iterator[str]:
    """The platforms of wheels that a base can load, newest first (PEP 600, PEP 656)."""
    machine = _MACHINES.get(platform.architecture, platform.architecture)
    kind, _, version = (libc or "glibc 2.17").partition(" ")
    minor = int(found[1]) if (found := re.fullmatch(r"\d+\.(\d+)", version)) else _FIRST_GLIBC
    if kind == "musl":
        yield from (f"musllinux_1_{each}_{machine}" for each in range(minor, -1, -1))
    else:
        yield from (f"manylinux_2_{each}_{machine}" for each in range(minor, 4, -1))
        yield from (f"manylinux{each}_{machine}" for each in _OLD.get(platform.architecture, ("2014",)))
    yield f"linux_{machine}"


def _settle(target: str, interpreter: str) -> None:
    """Let programs begin with the image's Python in place of the one that ran pip, and their records agree."""
    programs = f"{target}/bin"
    changed = {}
    for name in sorted(os.listdir(programs)) if os.path.isdir(programs) else ():
        with open(f"{programs}/{name}", "rb+") as file:
            text = file.read()
            first, newline, rest = text.partition(b"\n")
            if first.startswith(b"#!") and b"python" in first and newline:
                text = b"#!" + interpreter.encode() + newline + rest
                file.seek(0)
                file.truncate()
                file.write(text)
                changed[f"../../bin/{name}"] = changed[f"bin/{name}"] = text
    for entry in os.scandir(target):
        record = f"{entry.path}/RECORD"
        if entry.name.endswith(".dist-info") and os.path.isfile(record):
            _rewrite(record, changed)


def _rewrite(record: str, changed: Mapping[str, bytes]) -> None:
    """The digests of programs that changed, in a distribution's list of its files, which is sorted besides."""
    with open(record, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    for row in rows:
        if row and row[0] in changed:
            text = changed[row[0]]
            digest = urlsafe_b64encode(sha256(text).digest()).decode().rstrip("=")
            row[1:] = [f"sha256={digest}", str(len(text))]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(sorted(rows))
    with open(record, "w", encoding="utf-8", newline="") as file:
        file.write(out.getvalue())


def entries(target: str) -> Iterator[Entry]:
    """The layer of what was installed."""
    return below(target, PLACE)


def is_self_contained(text: str) -> bool:
    """Whether requirements name nothing beside themselves: no other file, no folder, no address that may change."""
    lines = (line.partition(" #")[0].strip() for line in text.splitlines())
    return not any(re.match(r"-|\.|/|[^=<>~!;]*(?:@|://|/)", line) for line in lines if line and line[0] != "#")
