"""Ignoring: what of a folder does not travel, by its own `.gitignore` or by the built-in list (GitHub's for Python).

>>> ignored = read_list("*.py[co]\\nbuild/\\n")
>>> [path for path in ("a.py", "a.pyc", "build/", "b/build/") if ignored.has(path)]
['a.pyc', 'build/', 'b/build/']
"""

from __future__ import annotations

import os
import re
from copy import copy
from functools import lru_cache
from importlib.machinery import SourceFileLoader
from itertools import chain
from typing import TYPE_CHECKING

from lhub.errors import Corrupt, UsageError
from lhub.opening import open_file, read_open

_LIST = 1 << 20
"""Bytes of the longest ignore list that is read."""
_BUILT_IN = f"{os.path.dirname(__file__)}/python.gitignore"

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec


class IgnoreList:
    """The patterns of a list; one is compiled when a path has what it cannot match without, its longest word.

    Few paths have that of any: pathspec, which took 40 ms to load and 30 to compile the built-in list, is not needed
    for most folders, and 10,000 paths were matched in 0.1 s in place of 0.6.
    """

    def __init__(self, text: str) -> None:
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        self._lines = [(_word(line), line) for line in chain.from_iterable(map(_spelt_out, lines))]
        if doubtful := tuple(line for word, line in self._lines if not word or "[" in line):
            _spec(doubtful)  # raises for a pattern that is none

    def among(self, *names: str) -> IgnoreList:
        """What of it can be of a path that has no other names than these, as a folder and what is in it have none."""
        text, few = "/".join(names), copy(self)
        few._lines = [(word, line) for word, line in self._lines if word in text]
        return few

    def has(self, path: str) -> bool:
        """Whether it leaves a path out; a folder ends in a slash."""
        lines = tuple(line for word, line in self._lines if word in path)
        return bool(lines) and bool(_spec(lines).match_file(os.fsencode(path).decode(errors="replace")))


def _spelt_out(line: str) -> list[str]:
    """A pattern as several, one for each letter of its one list of letters, so that words have those too.

    >>> _spelt_out("*.py[co]")
    ['*.pyc', '*.pyo']
    """
    letters = re.fullmatch(r"([^\[\]\\]*)\[([a-zA-Z0-9]+)\]([^\[\]\\]*)", line)
    return [f"{letters[1]}{letter}{letters[3]}" for letter in letters[2]] if letters else [line]


def _word(line: str) -> str:
    """The longest text that every path has which a pattern matches; of one with a backslash none is known."""
    bare = line.rstrip().removeprefix("!").partition("[")[0]
    return "" if "\\" in line else max(re.split("[*?/]", bare), key=len)


def list_of(folder: str) -> tuple[bool, IgnoreList]:
    """The folder's own list if it has one, else the built-in one."""
    own = os.path.join(folder, ".gitignore")
    is_own = os.path.isfile(own)  # anything else of that name is no list, and is met by the walk
    if is_own:
        try:
            descriptor = open_file(os.path.realpath(own))
            try:
                text = read_open(descriptor, own, limit=_LIST).decode(errors="surrogateescape")
            finally:
                os.close(descriptor)
        except (Corrupt, OSError) as error:
            raise UsageError(f"{own} cannot be read: {error}", hint="a folder's .gitignore is a short text") from None
    else:
        text = _built_in()
    try:
        return is_own, read_list(text)
    except (ValueError, re.error) as error:
        raise UsageError(f"{own} has a pattern that cannot be read: {error}") from None


@lru_cache(maxsize=1)
def _built_in() -> str:
    return SourceFileLoader("lhub", _BUILT_IN).get_data(_BUILT_IN).decode()  # as imports are, on a fake disk too


@lru_cache(maxsize=4)
def read_list(text: str) -> IgnoreList:
    """A list; a push looks at its folder twice."""
    return IgnoreList(text)


@lru_cache(maxsize=256)
def _spec(lines: tuple[str, ...]) -> GitIgnoreSpec:
    """Some patterns of a list, compiled; many paths have words of the same."""
    from pathspec import GitIgnoreSpec  # 40 ms, for few pushes

    return GitIgnoreSpec.from_lines(lines)
