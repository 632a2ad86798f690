"""Makers: what fixtures push, a small Executor or a small array, each made once a process and copied from then on.

>>> len(_array()) < 300
True
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import pytest

from lhub.disk import Pen
from lhub.errors import UsageError, listing
from lhub.folder import scan
from lhub.layout import ResourceFolder
from lhub.names import is_inside, twin
from lhub.opening import read_small
from lhub.ordering import words
from lhub.testing.places import Place, QuickPen, TemporaryRegistry
from lhub.ways import faked

if TYPE_CHECKING:
    from lhub.orders import Pushed

_Files: TypeAlias = "Mapping[str, str | bytes]"


class Maker:
    """Makes things in one place and pushes them, as whoever is logged in there."""

    def __init__(self, place: Place, patterns: Patterns) -> None:
        self.place, self.patterns = place, patterns
        self._sources = 0

    def executor(
        self,
        name: str,
        tags: Iterable[str],
        visibility: str,
        files: _Files,
        protected_tags: Iterable[str] = (),
    ) -> Pushed:
        """Make a small Executor, with `files` in it, and push it."""
        if visibility not in ("public", "private"):
            raise UsageError(f"{visibility!r} is no visibility", hint="public or private")
        _refuse(files)
        asked = {"tags": words(tags), "protected_tags": words(protected_tags), "public": visibility == "public"}

        def make() -> str:
            from lhub.kinds.scaffold import plan  # for who wants one

            scaffold = plan(name)
            source = self._source(scaffold.name, {**scaffold.files(), **files})
            _see_all_travel(source, files)
            return source

        return self._push(make, asked, (name, *sorted(files.items()), *asked.values()))

    def docs(self) -> Pushed:
        """Push a small array, in the form of the docarray that is installed."""

        def make() -> str:
            return f"{self._source('docs', {'docs.bin': _array()})}/docs.bin"

        return self._push(make, {"name": f"{self.place.caller}/docs"}, "docs")

    def _push(self, make: Callable[[], str], asked: Mapping[str, Any], pattern: object) -> Pushed:
        """Push what `make` makes; what was pushed just so before, by whoever is logged in, is copied."""
        pattern, plain = (self.place.caller, pattern), not faked() and not self.place.fails("push")
        if plain and (pushed := self.patterns.copied(pattern, self.place.root)):
            return pushed
        pushed = TemporaryRegistry(self.place).push(make(), **asked)
        if plain:
            self.patterns.keep(pattern, pushed, self.place.root)
        return pushed

    def _source(self, name: str, files: _Files) -> str:
        """A new folder of this name, with these files."""
        self._sources += 1
        folder, pen = f"{self.place.user}/sources/{self._sources}/{name}", QuickPen()
        for path, content in files.items():
            pen.make_way(os.path.dirname(f"{folder}/{path}"))
            pen.write_new(f"{folder}/{path}", content if isinstance(content, bytes) else content.encode(), 0o644)
        return folder


def _refuse(files: _Files) -> None:
    """Refuse what can be no files of an Executor."""
    if not isinstance(files, Mapping):
        raise UsageError(f"files are told by their paths, not as {files!r}", hint='files={"weights.bin": bytes(10)}')
    faults = [f"{path!r} leads out of its folder" for path in files if not is_inside(path)]
    faults += [f"{path!r} is {text!r}" for path, text in files.items() if not isinstance(text, (str, bytes))]
    if faults:
        raise UsageError(listing("no file of an Executor", faults), hint="a path below its folder; text or bytes")


def _see_all_travel(source: str, files: _Files) -> None:
    """Refuse to leave out, by the built-in list of ignored names, what a test asked for."""
    there = {each.path for each in scan(source).sources}
    if left := [path for path in files if path not in there and path != ".gitignore"]:
        raise UsageError(
            f"{', '.join(left)} would not travel: the list of ignored names leaves it out",
            hint='files={".gitignore": "", ...} replaces that list',
        )


class Patterns:
    """What was pushed for the tests of this process, to be copied where it is asked for again: 3 ms, a push takes 25.

    Most of a push is git, a process of its own. A copy is what a push leaves, file by file, and names its files anew.
    """

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._known: dict[object, tuple[str, Pushed]] = {}

    def keep(self, pattern: object, pushed: Pushed, root: str) -> None:
        """Remember a resource that was just made in the registry at `root`, by its first push."""
        if pushed.name.count("/") == 1 and pattern not in self._known and self._is_first(f"{root}/{pushed.name}"):
            place = f"{self._folders.mktemp('lhub-pattern')}/resource"
            _copy(f"{root}/{pushed.name}", place)
            inside = (pushed.path or "").removeprefix(f"{os.path.realpath(root)}/{pushed.name}/")
            self._known[pattern] = place, replace(pushed, path=inside)

    def remove(self) -> None:
        """Leave nothing."""
        for place, _ in self._known.values():
            Pen().remove_tree(os.path.dirname(place))

    @staticmethod
    def _is_first(resource: str) -> bool:
        return len(os.listdir(ResourceFolder(resource).builds)) == 1

    def copied(self, pattern: object, root: str) -> Pushed | None:
        """The same resource in another registry; None where it is not known, or one of its name stands already."""
        if pattern not in self._known:
            return None
        place, pushed = self._known[pattern]
        namespace, _, name = pushed.name.partition("/")
        if name in (beside := os.listdir(f"{root}/{namespace}")) or twin(name, beside):
            return None
        _copy(place, f"{root}/{pushed.name}")
        return replace(pushed, path=f"{os.path.realpath(root)}/{pushed.name}/{pushed.path}")


def _copy(source: str, target: str) -> None:
    """A folder with all in it, modes too, as of now."""
    pen = QuickPen()
    pen.make_folder(target, 0o700)
    for entry in os.scandir(source):
        place = f"{target}/{entry.name}"
        if entry.is_symlink():
            pen.symlink(os.readlink(entry.path), place)
        elif entry.is_dir():
            _copy(entry.path, place)
        else:
            mode = stat.S_IMODE(entry.stat().st_mode)
            pen.write_new(place, read_small(entry.path, limit=sys.maxsize), mode)
    pen.set_mode(target, stat.S_IMODE(os.stat(source).st_mode))


def _array() -> bytes:
    """Three documents with a text and an embedding, as the docarray that is installed saves them, else the newest."""
    from base64 import b85decode
    from importlib import metadata  # pytest has loaded it

    from lhub.kinds.docarray import generation_of_writer
    from lhub.kinds.shapes import OLD

    try:
        old = generation_of_writer(metadata.version("docarray")) == OLD
    except metadata.PackageNotFoundError:
        old = False
    return b85decode(_DOCUMENT_ARRAY if old else _DOC_LIST)


_DOC_LIST = (
    b"0ssI2000000{{R3RCt`@GU4J(%}q*8Ny*Gh7g9Hp;gaGKU_b*xj4V>jHfbhV?0G4PMMa5~T)bRNnJGf-T#N=;Kn9lx7fVTMMTrm(7gtJta%p"
    b"aAUWtMM0Kx$gaR2}SS9qM`GU4J(%}q*8Ny*Gh7g9Hp;gaGKU|?vlN5(>oEK<xiX(n0hc`1oSMTwPMyj)C~DMIXAjD}f22A2pIOG#=)i4YGLS"
    b"4w_zX>Mv>iGm>jdN>qs00012c%0)h;o?lqO-fBk$;?X^Qa6&}lHw9zU|?`S#zKrNQp`4KCRyxxDTzfziIrTuTuhlMLhM|OMp-}xmk1Y2Noqx"
    b"j5DynuN`7)_ZfahMf)N1!ITCd"
)
_DOCUMENT_ARRAY = (
    b"0RR91000000{{R3FL<2eVl+_VO36<y%}vcKQ7~v?ROXW65@0|BLX0d@%r<EzQmlEUxdoK~=++2b0000oc%0*6G*seB$xklLP0cG&Fl=H}=91"
    b"zPU|?vlN5(>oEK<xiX(m#vd8N4pl>jW~3tIpH05W)-<6<;Y;!4R+F3nBND^W0NVpQgm;u2tBU~oXjLX0d@%r<EzQmlEUxdoK~|B4A="
)
"""``docs.save_binary(path, protocol="protobuf", compress="zlib")``, by docarray 0.41 and 0.21."""


class MakeExecutor(Protocol):
    """What `lhub_executor` is."""

    def __call__(
        self,
        name: str = "Hello",
        tags: Iterable[str] = ("latest",),
        visibility: str = "public",
        files: Mapping[str, str | bytes] = ...,
        *,
        protected_tags: Iterable[str] = (),
    ) -> Pushed:
        """Make and push a small Executor."""
