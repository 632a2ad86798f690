"""A tree: the files of one version with their digests, and `SHA256SUMS`, its text form.

The text is what coreutils' `sha256sum` prints and checks, sorted by the bytes of the path, so that
`cd files && sha256sum -c ../SHA256SUMS` verifies a version with no lhub at hand.

>>> tree = Tree(files=(File(path="config.yml", digest="0" * 64, size=12),))
>>> tree.to_sums() == "0" * 64 + "  config.yml\\n"
True
>>> read_sums(tree.to_sums())
{'config.yml': '0000000000000000000000000000000000000000000000000000000000000000'}
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from lhub.errors import Corrupt
from lhub.names import DEEPEST, NEVER, is_inside

_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


class File(NamedTuple):
    """One file: its path below the folder with '/' between names, its SHA-256, its size in bytes."""

    path: str
    digest: str
    size: int
    executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """All files of one version, sorted by the bytes of their paths."""

    files: tuple[File, ...]

    @property
    def bytes(self) -> int:
        """The size of all files together."""
        return sum(file.size for file in self.files)

    @property
    def executable(self) -> tuple[str, ...]:
        """The paths that may be executed."""
        return tuple(file.path for file in self.files if file.executable)

    def to_sums(self) -> str:
        """The text of SHA256SUMS."""
        return "".join(_line(file.path, file.digest) for file in self.files)


def tree_of(files: list[File]) -> Tree:
    """A tree of these files, in the one order that SHA256SUMS has."""
    return Tree(files=tuple(sorted(files, key=lambda file: file.path.encode())))


def read_sums(text: str) -> dict[str, str]:
    """Path to digest, in the order of the text; raises Corrupt for a line or a path that no push wrote."""
    if text and not text.endswith("\n"):
        raise Corrupt("SHA256SUMS is cut short")
    digests: dict[str, str] = {}
    pattern = re.compile(r"(\\?)([0-9a-f]{64})  ([^\n]+)")  # here: compiling it costs list and path 1 ms
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        match = pattern.fullmatch(line)
        path = _unescaped(match[3], bool(match[1])) if match else None
        if match is None or path is None or not _may_stand(path) or path in digests:
            raise Corrupt(f"SHA256SUMS line {number} is not what a push writes")
        digests[path] = match[2]
    for path in digests:
        above = path.rpartition("/")[0]
        while above:
            if above in digests:
                raise Corrupt("SHA256SUMS names a file that is a folder too")
            above = above.rpartition("/")[0]
    return digests


def _may_stand(path: str) -> bool:
    """Whether a path may be laid out: inside the folder, and nothing that acts there, such as a git repository."""
    return is_inside(path) and path.count("/") <= DEEPEST and not any(part.lower() in NEVER for part in path.split("/"))


def _line(path: str, digest: str) -> str:
    escaped = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == path else chr(92)}{digest}  {escaped}\n"


def _unescaped(path: str, escaped: bool) -> str | None:
    if not escaped:
        return path
    if "\\" in re.sub(r"\\[\\nr]", "", path):
        return None
    return re.sub(r"\\[\\nr]", lambda match: _ESCAPES[match[0]], path)
