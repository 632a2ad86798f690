"""What the pytest plugin hands out: registries that begin empty, belong to one test and end with it.

It is loaded when the first `lhub_*` fixture is used; its classes are here to be named in annotations::

    from lhub.testing import TemporaryRegistry

    def test_release(lhub_registry: TemporaryRegistry) -> None: ...

>>> "push" in VERBS, "root" in VERBS
(True, False)
"""

from __future__ import annotations

import os
import re
import stat
import sys
import tempfile
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeAlias

import pytest

from lhub.disk import Pen, watched
from lhub.errors import Denied, UsageError
from lhub.identity import forget, make_home, remember
from lhub.names import twin
from lhub.opening import faked, read_small
from lhub.registry import Registry

if TYPE_CHECKING:
    from lhub.orders import Pushed

ALICE = "alice"
"""Who is logged in when a test begins."""
VERBS = frozenset(name for name, value in vars(Registry).items() if callable(value) and not name.startswith("_"))
"""The verbs of a registry, which `fail_next` takes."""
_TIMEOUT = 20.0
"""Seconds that a registry of a test waits for a lock."""

_Files: TypeAlias = "Mapping[str, str | bytes]"
_SCRATCH = re.compile(r"/\.([^/]+)\.lhub-[^/]+$")
"""What is laid out beside its place before it is moved there."""

Error: TypeAlias = "BaseException | type[BaseException]"


class TemporaryRegistry(Registry):
    """The `lhub.Registry` of one test, all of whose verbs it has; nothing is synced, for no test survives a power cut.

    Raises what `lhub.Registry` raises.
    """

    __test__ = False  # it is none, whatever a test file imports

    def __init__(self, place: Place, *, also: Iterable[str] = ()) -> None:
        super().__init__(
            place.root,
            also=also,
            namespace=place.caller,
            timeout=_TIMEOUT,
            index=f"{place.home}/index",
            pen=QuickPen(),
        )
        self._place = place

    def _become(self, namespace: str | None) -> None:
        self.session = replace(self.session, caller=namespace)
        self.sessions = tuple(replace(each, caller=namespace) for each in self.sessions)

    def fail_next(self, verb: str, error: Error) -> None:
        """Let the next `verb` (``"push"``, ``"pull"``...) on this registry raise `error`, and do nothing.

        It does not matter who says it: this object, `lhub.push(...)` or a command run in this process; one after
        the other if there are several. `error` is an exception or a class of them. What was not raised is forgotten
        when the test ends. Raises UsageError (2) for what is no verb.
        """
        self._place.fail_next(verb, error)


class SharedRegistry(Registry):
    """The registry of a whole test session, which tests read; who fills it does so ``with registry.filling():``.

    All verbs of `lhub.Registry` that write raise Denied (4) otherwise, whoever says them.
    """

    __test__ = False

    def __init__(self, root: str, bounds: Bounds) -> None:
        super().__init__(root, namespace=ALICE, timeout=_TIMEOUT, pen=QuickPen())
        self._bounds, self._closed = bounds, True

    @contextmanager
    def filling(self) -> Iterator[SharedRegistry]:
        """Let the registry be written to while `with` lasts, by this process; to be said in a session's fixture."""
        before, self._closed = self._closed, False
        try:
            with self._bounds.kept():
                yield self
        finally:
            self._closed = before

    def see(self, verb: str, path: str) -> None:
        """Refuse a write in it, unless somebody is filling it."""
        if self._closed and f"{path}/".startswith(f"{self.session.root}/"):
            raise Denied(
                f"the registry of the test session is read-only, {path} was about to be written ({verb})",
                hint="fill it where it is made: with lhub_session_registry.filling(): ...",
            )


@contextmanager
def shared(root: str, bounds: Bounds) -> Iterator[SharedRegistry]:
    """A registry for a session, empty and closed to whoever writes."""
    registry = SharedRegistry(root, bounds)
    with watched(registry.see):
        with registry.filling():
            registry.login(ALICE)
        yield registry


class QuickPen(Pen):
    """A pen that leaves it to the kernel when what it wrote reaches the disk."""

    def write_new(self, path: str, data: bytes, mode: int, *, sync: bool = True) -> None:
        """Write a file that must not exist."""
        super().write_new(path, data, mode, sync=False)

    def sync_folder(self, path: str) -> None:
        """Nothing is waited for."""
        self.step("sync_folder", path)

    def sync_file(self, path: str) -> None:
        """As above."""
        self.step("sync_file", path)

    @contextmanager
    def synced(self, path: str) -> Iterator[Callable[[], bool]]:
        """As above."""
        yield lambda: True


def folder_for(folders: pytest.TempPathFactory, name: str) -> str:
    """A new folder beside tmp_path; on a fake file system, where pytest makes none, one of that name."""
    return f"{tempfile.gettempdir()}/{name}" if faked() else str(folders.mktemp(name))


class Bounds:
    """Where lhub may write while a test uses it: pytest's temporary folder, where its registry and tmp_path are."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self.folder = "" if faked() else os.path.realpath(folders.getbasetemp())
        self._scratch = f"{os.path.realpath(tempfile.gettempdir())}/lhub-"  # where git makes the diary's objects
        self._crossed: list[str] = []

    @contextmanager
    def kept(self, root: str | None = None) -> Iterator[None]:
        """Fail the test at a write elsewhere; below `root`, a registry's, no link is followed."""
        own = os.path.realpath(root) + "/" if root else self._scratch

        def see(verb: str, path: str) -> None:
            if not path.startswith(own) and not faked():  # nothing of that reaches a disk
                self._see(verb, path)

        with watched(see):
            yield

    def see_none_crossed(self) -> None:
        """Fail where that did not fail the test: it was in a thread of its own, or something caught it."""
        if self._crossed:
            self._fail()

    def _see(self, verb: str, path: str) -> None:
        place = f"{os.path.realpath(os.path.dirname(path))}/{os.path.basename(path)}"
        if not place.startswith((f"{self.folder}/", self._scratch)):
            meant = _SCRATCH.sub(r"/\1", path)
            self._crossed.append(f"{meant} ({verb})")
            self._fail()

    def _fail(self) -> NoReturn:
        places = ", ".join(dict.fromkeys(self._crossed))
        pytest.fail(
            f"lhub was about to write outside of this test's registry and tmp_path: {places}\n"
            "hint: name a place under tmp_path, or monkeypatch.chdir(tmp_path)"
        )


class Place:
    """Where one test is: a home of its own, a registry in it, who is logged in there, and what shall fail."""

    def __init__(self, home: str, patch: pytest.MonkeyPatch, patterns: Patterns) -> None:
        self.patterns = patterns
        self.user, self.home, self.root = home, f"{home}/.lhub", f"{home}/.lhub/registry"
        self.caller: str | None = ALICE
        self.patch = patch
        self._registries: list[TemporaryRegistry] = []
        self._failing: dict[str, deque[Error]] = defaultdict(deque)
        self._sources = 0

    def settle(self) -> None:
        """Let this process, and those it starts, know no other home and no other registry."""
        for name in [name for name in os.environ if name.startswith("LHUB_")]:
            self.patch.delenv(name)
        for name, value in {"HOME": self.user, "LHUB_HOME": self.home, "LHUB_ROOT": self.root}.items():
            self.patch.setenv(name, value)
        make_home(self.home)
        self.log_in(ALICE)

    def remove(self) -> None:
        """Leave nothing, as pytest does with tmp_path."""
        Pen().remove_tree(self.user)

    def registry(self, *also: str) -> TemporaryRegistry:
        """The registry, for whoever is logged in; what is not in it is looked up in `also`."""
        registry = TemporaryRegistry(self, also=also)
        self._registries.append(registry)
        return registry

    def overlay(self, real: str) -> TemporaryRegistry:
        """The registry with another behind it, for `lhub.pull` as well; raises NotFound where that is none."""
        Registry(real).list()
        self.patch.setenv("LHUB_ROOT", f"{self.root}{os.pathsep}{real}")
        return self.registry(real)

    def log_in(self, namespace: str | None) -> None:
        """Let all that is done from now on be done by somebody else; None: by somebody who is not logged in."""
        if namespace is None:
            forget(self.home)
        else:
            TemporaryRegistry(self).login(namespace)
            remember(self.home, namespace, QuickPen())
        self.caller = namespace
        for registry in self._registries:
            registry._become(namespace)

    @contextmanager
    def logged_in(self, namespace: str | None) -> Iterator[None]:
        """Somebody else while `with` lasts."""
        before = self.caller
        self.log_in(namespace)
        try:
            yield
        finally:
            self.log_in(before)

    def fail_next(self, verb: str, error: Error) -> None:
        """See `TemporaryRegistry.fail_next`."""
        if verb not in VERBS:
            raise UsageError(f"{verb} is no verb of a registry", hint=f"one of {', '.join(sorted(VERBS))}")
        if verb not in self._failing:
            self.patch.setattr(Registry, verb, self._failing_verb(verb, getattr(Registry, verb)))
        self._failing[verb].append(error)

    def _failing_verb(self, verb: str, real: Callable[..., Any]) -> Callable[..., Any]:
        """A verb that first raises what it shall, at this registry."""

        @wraps(real)
        def said(registry: Registry, *arguments: Any, **options: Any) -> Any:
            if self._failing[verb] and registry.session.root == os.path.realpath(self.root):
                error = self._failing[verb].popleft()
                raise error(f"{verb} fails, as the test asked for") if isinstance(error, type) else error
            return real(registry, *arguments, **options)

        return said

    # things to push

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
        asked = {"tags": tuple(tags), "protected_tags": tuple(protected_tags), "public": visibility == "public"}

        def make() -> str:
            from lhub.kinds.scaffold import plan  # for who wants one

            scaffold = plan(name)
            return self._source(scaffold.name, {**scaffold.files(), **files})

        return self._push(make, asked, (name, *sorted(files.items()), *asked.values()))

    def docs(self) -> Pushed:
        """Push a small array, in the form of the docarray that is installed."""

        def make() -> str:
            return f"{self._source('docs', {'docs.bin': _array()})}/docs.bin"

        return self._push(make, {"name": f"{self.caller}/docs"}, "docs")

    def _push(self, make: Callable[[], str], asked: Mapping[str, Any], pattern: object) -> Pushed:
        """Push what `make` makes; what was pushed just so before, by whoever is logged in, is copied."""
        pattern, plain = (self.caller, pattern), not faked() and not self._failing.get("push")
        if plain and (pushed := self.patterns.copied(pattern, self.root)):
            return pushed
        pushed = TemporaryRegistry(self).push(make(), **asked)
        if plain:
            self.patterns.keep(pattern, pushed, self.root)
        return pushed

    def _source(self, name: str, files: _Files) -> str:
        """A new folder of this name, with these files."""
        self._sources += 1
        folder, pen = f"{self.user}/sources/{self._sources}/{name}", QuickPen()
        for path, content in files.items():
            pen.make_way(os.path.dirname(f"{folder}/{path}"))
            pen.write_new(f"{folder}/{path}", content if isinstance(content, bytes) else content.encode(), 0o644)
        return folder


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

    @staticmethod
    def _is_first(resource: str) -> bool:
        return len(os.listdir(f"{resource}/.lhub/builds")) == 1

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


class Login(Protocol):
    """What `lhub_login` is."""

    def __call__(self, namespace: str | None) -> AbstractContextManager[TemporaryRegistry]:
        """Become somebody for a block; None: nobody."""
