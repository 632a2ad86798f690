"""Places: a home with a registry in it, for one test or one session, and nothing of the user's own within reach.

>>> sorted(VERBS)[:3]
['adopt', 'adoptable', 'base_from_engine']
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from functools import wraps
from threading import current_thread, main_thread
from typing import Any, Protocol, TypeAlias

import pytest

from lhub.bounds import CROSSED, HINT, VARIABLE, Bounds, Outside
from lhub.disk import Pen, watched
from lhub.errors import Denied, UsageError
from lhub.identity import forget, make_home, remember
from lhub.opening import read_small
from lhub.registry import Registry
from lhub.ways import faked

ALICE = "alice"
"""Who is logged in when a test begins."""
VERBS = frozenset(name for name, value in vars(Registry).items() if callable(value) and not name.startswith("_"))
"""The verbs of a registry, which `fail_next` takes."""
_TIMEOUT = 20.0
"""Seconds that a registry of a test waits for a lock."""
_closed: set[str] = set()
"""Registries of this session that nobody is filling."""

Error: TypeAlias = "BaseException | type[BaseException]"


class TemporaryRegistry(Registry):
    """The `lhub.Registry` of one test, all of whose verbs it has; nothing is synced, for no test survives a power cut.

    Raises what `lhub.Registry` raises.
    """

    __test__ = False  # it is none, whatever a test file imports

    def __init__(self, place: Place, *, also: Iterable[str] = ()) -> None:
        index, pen = f"{place.home}/index", QuickPen()
        super().__init__(place.root, also=also, namespace=place.caller, timeout=_TIMEOUT, index=index, pen=pen)
        self._place = place

    def fail_next(self, verb: str, error: Error) -> None:
        """Let the next `verb` (``"push"``, ``"pull"``...) on this registry raise `error`, and do nothing.

        Whoever says it in this process meets it: this object, `lhub.push(...)`, code of yours; one after the other if
        there are several. `error` is an exception, or a class of them that takes a sentence. The test fails if nobody
        met it. Raises UsageError (2) for what is no verb, or no error.
        """
        self._place.fail_next(verb, error)


class SharedRegistry(Registry):
    """The registry of a whole test session, which tests read; who fills it does so ``with registry.filling():``.

    All verbs of `lhub.Registry` that write raise Denied (4) otherwise, whoever says them.
    """

    __test__ = False

    def __init__(self, place: Place) -> None:
        super().__init__(place.root, namespace=ALICE, timeout=_TIMEOUT, pen=QuickPen())
        self._place = place

    @contextmanager
    def filling(self) -> Iterator[SharedRegistry]:
        """Let the registry be written to while `with` lasts, by `lhub.push(...)` and commands too.

        To be said in a fixture of the session, a module or a class. Raises Denied (4) in a test.
        """
        if os.environ.get("PYTEST_CURRENT_TEST", "").endswith("(call)"):
            raise Denied("a test only reads the registry of the session", hint="fill it in a session's fixture")
        _closed.discard(self._place.root)
        try:
            with self._place.kept():
                yield self
            self._place.see_all_well()
        finally:
            _closed.add(self._place.root)


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


def folder_for(folders: pytest.TempPathFactory, name: str) -> tuple[str, str]:
    """A new folder beside tmp_path, and pytest's temporary folder; on a fake file system pytest can make none."""
    if faked():
        return f"{tempfile.gettempdir()}/{name}", tempfile.gettempdir()
    return str(folders.mktemp(name)), str(folders.getbasetemp())


class Place:
    """A home with a registry in it: who is logged in there, where lhub may write meanwhile, and what shall fail."""

    def __init__(self, user: str, folder: str, tell: Callable[[str], None] = lambda sentence: None) -> None:
        """`user` is the home that is made, `folder` that in which lhub may write: pytest's temporary one.

        `tell` is told of a write elsewhere, for the report of a test that fails with an error of its own.
        """
        self.tell = tell
        self.user, self.home = user, f"{user}/.lhub"
        self.root = os.path.realpath(f"{self.home}/registry")
        self.folder = os.path.realpath(folder)
        self.caller: str | None = ALICE
        self.patch = pytest.MonkeyPatch()
        self._registries: list[TemporaryRegistry] = []
        self._failing: dict[str, deque[BaseException]] = {}
        self._told = False

    @property
    def bounds(self) -> Bounds:
        """Where lhub may write as things stand."""
        return Bounds(within=(self.folder,), closed=tuple(sorted(_closed)))

    @contextmanager
    def kept(self, *behind: str) -> Iterator[None]:
        """Let this process, and those it starts, know no other home and no registry but this, and those `behind` it."""
        if os.pathsep in self.root:
            raise UsageError(f"{self.root} has a {os.pathsep} in it, as LHUB_ROOT may not", hint="another --basetemp")
        outer = self.patch
        with pytest.MonkeyPatch.context() as patch, watched(self._see):
            self.patch = patch
            for name in [name for name in os.environ if name.startswith("LHUB_")]:
                self.patch.delenv(name)
            known = {"HOME": self.user, "LHUB_HOME": self.home, "LHUB_ROOT": os.pathsep.join((self.root, *behind))}
            known["LHUB_IMAGE"] = "never"  # no push runs a container engine that does not ask for it
            for name, value in (known | {VARIABLE: self.bounds.text()}).items():
                self.patch.setenv(name, value)
            try:
                yield
            finally:
                self.patch = outer

    def shared(self) -> SharedRegistry:
        """The registry of a session, closed to whoever does not fill it."""
        registry = SharedRegistry(self)
        with registry.filling():
            self.settle()
        return registry

    def settle(self) -> None:
        """Make the home and the registry, if they are not there (a fake file system begins empty)."""
        if not os.path.lexists(f"{self.root}/registry.yaml"):
            make_home(self.home)
            self.log_in(ALICE)

    def _see(self, verb: str, path: str) -> None:
        if path.startswith(f"{self.root}/") and self.root not in _closed:  # where no link is followed
            return
        try:
            self.bounds.see(self.home, verb, path)
        except Outside as error:
            self._told = current_thread() is main_thread()
            self.tell(f"{error}\n{HINT}")
            pytest.fail(f"{error}\n{HINT}")

    def see_all_well(self, *, failed: bool = False) -> None:
        """Fail where a write elsewhere did not fail the test: in another process or thread, or caught by something."""
        __tracebackhide__ = True
        crossed = ""
        with suppress(FileNotFoundError):
            crossed = read_small(f"{self.home}/{CROSSED}", limit=1 << 20).decode(errors="replace")
        if crossed and not (failed and self._told):
            places = ", ".join(dict.fromkeys(crossed.splitlines()))
            pytest.fail(
                f"{places} was about to be written, outside of where this test may write\n{HINT}", pytrace=False
            )
        if not failed and (unmet := [f"{verb}: {errors[0]!r}" for verb, errors in self._failing.items() if errors]):
            pytest.fail(f"nobody met what fail_next asked for: {', '.join(unmet)}", pytrace=False)

    def leave(self, policy: str, *, passed: bool) -> None:
        """Leave as much as pytest does of tmp_path, by its `tmp_path_retention_policy`."""
        if policy == "none" or (policy == "failed" and passed):
            Pen().remove_tree(self.user)

    def registry(self, *also: str) -> TemporaryRegistry:
        """The registry, for whoever is logged in; what is not in it is looked up in `also`."""
        registry = TemporaryRegistry(self, also=also)
        self._registries.append(registry)
        return registry

    def overlay(self, real: str) -> TemporaryRegistry:
        """The registry with another behind it, for `lhub.pull` as well; raises NotFound where that is none."""
        Registry(real).list()
        self.patch.setenv("LHUB_ROOT", f"{os.environ['LHUB_ROOT']}{os.pathsep}{real}")
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
            registry.session = replace(registry.session, caller=namespace)
            registry.sessions = tuple(replace(session, caller=namespace) for session in registry.sessions)

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
        try:
            raised = error(f"{verb} fails, as the test asked for") if isinstance(error, type) else error
        except (TypeError, ValueError):
            raised = None
        if not isinstance(raised, BaseException):
            raise UsageError(
                f"{error!r} cannot be raised", hint='an exception, as lhub.LockTimeout("somebody holds it")'
            )
        if verb not in self._failing:
            self._failing[verb] = deque()
            self.patch.setattr(Registry, verb, self._failing_verb(self._failing[verb], getattr(Registry, verb)))
        self._failing[verb].append(raised)

    def fails(self, verb: str) -> bool:
        """Whether the next of these shall fail."""
        return bool(self._failing.get(verb))

    def _failing_verb(self, errors: deque[BaseException], real: Callable[..., Any]) -> Callable[..., Any]:
        """A verb that first raises what it shall, at this registry."""

        @wraps(real)
        def said(registry: Registry, *arguments: Any, **options: Any) -> Any:
            error = None
            if registry.session.root == self.root:
                with suppress(IndexError):  # none left; another thread may have met the last just now
                    error = errors.popleft()
            if error is not None:
                raise error
            return real(registry, *arguments, **options)

        return said


class Login(Protocol):
    """What `lhub_login` is."""

    def __call__(self, namespace: str | None) -> AbstractContextManager[TemporaryRegistry]:
        """Become somebody for a block; None: nobody."""
