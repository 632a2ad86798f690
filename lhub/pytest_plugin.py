"""The pytest plugin: registries for other projects' tests, which need no network, no share and no clean-up.

It is there once lhub is installed, and costs a run that does not use it next to nothing: lhub's rooms are loaded when
the first of these fixtures is. ``pytest --fixtures`` shows them with examples::

    def test_release(lhub_registry, lhub_executor):
        pushed = lhub_executor("Encoder", tags=["v1", "latest"])
        assert [listed.name for listed in lhub_registry.list()] == [pushed.name]
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lhub.orders import Pushed
    from lhub.testing.makers import MakeExecutor, Maker, Patterns
    from lhub.testing.places import Login, Place, SharedRegistry, TemporaryRegistry

_FILES: Mapping[str, str | bytes] = {}
PASSED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The one option."""
    where = "the registry that lhub_overlay reads what is not in the test's own from"
    parser.getgroup("lhub").addoption("--lhub-root", metavar="DIR", help=where)


def pytest_configure(config: pytest.Config) -> None:
    """A root that is none is told once."""
    root = config.getoption("lhub_root", None)
    if root and not os.path.isfile(os.path.join(_real_root(config, root), "registry.yaml")):
        raise pytest.UsageError(f"--lhub-root {root}: there is no registry")


def _real_root(config: pytest.Config, root: str) -> str:
    return os.path.join(config.invocation_params.dir, os.path.expanduser(root))


def pytest_itemcollected(item: pytest.Item) -> None:
    """A test that uses one of the fixtures is at its place before anything else is set up for it, and until the end."""
    names: list[str] = getattr(item, "fixturenames", [])
    if "_lhub_place" not in names[:1] and any(name.startswith("lhub_") for name in names):
        names.insert(0, "_lhub_place")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether the test itself passed, for what is looked at when all is taken down."""
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


@pytest.fixture
def _lhub_place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A home with a registry in it, for one test; all that it does is done there."""
    from lhub.testing.places import Place, folder_for  # lhub, for who uses it

    names, behind = request.fixturenames, list[str]()
    if "lhub_session_registry" in names:
        behind = [str(request.getfixturevalue("lhub_session_registry").root)]
    place = Place(*folder_for(tmp_path_factory, "lhub"), partial(request.node.add_report_section, "call", "by lhub"))
    with place.kept(*behind):
        place.settle()
        yield place
    passed = request.node.stash.get(PASSED, False)
    try:
        place.see_all_well(failed=not passed)
    finally:
        place.leave(request.config.getini("tmp_path_retention_policy"), passed=passed)


@pytest.fixture
def _lhub_here(request: pytest.FixtureRequest, _lhub_place: Place) -> Place:
    """The same; with pyfakefs on the fake file system, where the session's registry is seen as well."""
    if "lhub_session_registry" in request.fixturenames:
        _bring(request, str(request.getfixturevalue("lhub_session_registry").root))
    elif "fs" in request.fixturenames:
        request.getfixturevalue("fs")
    _lhub_place.settle()
    return _lhub_place


def _bring(request: pytest.FixtureRequest, root: str) -> None:
    """Let a registry be seen on a fake file system too, if there is one: to be read only."""
    fs = request.getfixturevalue("fs") if "fs" in request.fixturenames else None
    if fs is not None and hasattr(fs, "add_real_directory"):
        fs.add_real_directory(root)


@pytest.fixture(scope="session")
def _lhub_patterns(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patterns]:
    """What was pushed for tests already."""
    from lhub.testing.makers import Patterns  # lhub, for who uses it

    patterns = Patterns(tmp_path_factory)
    yield patterns
    if request.config.getini("tmp_path_retention_policy") != "all":
        patterns.remove()


@pytest.fixture
def _lhub_maker(_lhub_here: Place, _lhub_patterns: Patterns) -> Maker:
    """Who makes things there."""
    from lhub.testing.makers import Maker  # lhub, for who uses it

    return Maker(_lhub_here, _lhub_patterns)


@pytest.fixture
def lhub_registry(_lhub_here: Place) -> TemporaryRegistry:
    """An empty `lhub.Registry` of the test's own, logged in as alice; `lhub.push(...)` and commands mean it as well.
    Example:
        def test_a_release_has_its_tag(lhub_registry, tmp_path):
            release(tmp_path, "v1")  # your own, which calls lhub.push(...)
            assert lhub_registry.show("alice/weights:v1").tags.keys() == {"v1"}
        def test_a_busy_registry_is_tried_again(lhub_registry, tmp_path):
            lhub_registry.fail_next("push", lhub.LockTimeout("somebody holds it"))
            release(tmp_path, "v1")

    HOME, LHUB_HOME and LHUB_ROOT lead to it, LHUB_BOUNDS keeps commands there, LHUB_IMAGE lets no push build an image
    that does not ask for one, no other LHUB_* is set: nothing reaches
    the user's own registry, and a write of lhub's outside of it and of pytest's temporary folder (tmp_path) fails the
    test. Its `root` is a Path; ``fail_next(verb, error)`` lets the next ``push``, ``pull``... in this process raise an
    error; the test fails if there is none. With pyfakefs's `fs` it lies on the fake file system. It is one test's: for
    several there is lhub_session_registry.
    """
    return _lhub_here.registry()


@pytest.fixture
def lhub_login(_lhub_here: Place, lhub_registry: TemporaryRegistry) -> Login:
    """Become somebody else for a block: what `lhub_registry`, `lhub.push`... then do, bob does; None is nobody.
    Example:
        def test_what_is_private_is_not_seen_by_others(lhub_registry, lhub_login, lhub_executor):
            lhub_executor("Hello", visibility="private")
            with lhub_login("bob"), pytest.raises(lhub.NotFound):
                lhub_registry.path("alice/Hello")

    A plain `lhub.login("bob")` changes who `lhub.push(...)` and commands are, and leaves `lhub_registry` alice's.
    """

    @contextmanager
    def login(namespace: str | None) -> Iterator[TemporaryRegistry]:
        with _lhub_here.logged_in(namespace):
            yield lhub_registry

    return login


@pytest.fixture
def lhub_executor(_lhub_maker: Maker) -> MakeExecutor:
    """Make and push a small Executor: ``(name="Hello", tags=["latest"], visibility="public", files={})``.
    Example:
        def test_the_newest_version_is_deployed(lhub_executor):
            lhub_executor("Encoder", tags=["v1"])
            newest = lhub_executor("Encoder", tags=["v2", "latest"], files={"weights.bin": bytes(10)})
            assert deploy("jinaai://alice/Encoder").version == newest.version

    It returns what `lhub.push` returns. `files` (path to text or bytes) are added, or stand in place of its own
    `config.yml`, `executor.py`, `requirements.txt` and `README.md`; `protected_tags` are taken as well.
    """

    def make(
        name: str = "Hello",
        tags: Iterable[str] = ("latest",),
        visibility: str = "public",
        files: Mapping[str, str | bytes] = _FILES,
        *,
        protected_tags: Iterable[str] = (),
    ) -> Pushed:
        return _lhub_maker.executor(name, tags, visibility, files, protected_tags)

    return make


@pytest.fixture
def lhub_docs(_lhub_maker: Maker) -> Pushed:
    """A pushed array, ``alice/docs``: three documents, each with a text and an embedding.
    Example:
        def test_the_index_has_every_document(lhub_docs):
            assert len(build_index(lhub_docs.name)) == 3  # your own, which calls lhub.load(name)

    It is what `lhub.push` returned. The array is of the generation of docarray that is installed; without one it is a
    DocList, which every verb but `load` takes.
    """
    return _lhub_maker.docs()


@pytest.fixture
def lhub_overlay(request: pytest.FixtureRequest, _lhub_here: Place) -> TemporaryRegistry:
    """`lhub_registry` with a real registry behind it, named by ``pytest --lhub-root DIR``: reads fall through to it.
    Example:
        def test_the_tagger_still_reads_the_released_weights(lhub_overlay):
            assert tag("a sentence", weights=lhub_overlay.path("vision/weights:prod"))

    Writes stay in the test: a push of what is there makes a resource of the test's own. Without the option such a test
    is skipped.
    """
    root = request.config.getoption("lhub_root")
    if not root:
        pytest.skip("lhub_overlay reads a real registry: pytest --lhub-root DIR names it")
    real = _real_root(request.config, root)
    _bring(request, real)
    return _lhub_here.overlay(real)


@pytest.fixture(scope="session")
def lhub_session_registry(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SharedRegistry]:
    """A registry for the whole session, logged in as alice, which tests only read; a session's fixture fills it.
    Example:
        @pytest.fixture(scope="session")
        def weights(lhub_session_registry):
            with lhub_session_registry.filling() as registry:
                return registry.push("tests/weights", "alice/weights", tags=["v1"])
        def test_the_weights_load(lhub_session_registry, weights, tmp_path):
            assert load(lhub_session_registry.pull(f"{weights.name}:v1", tmp_path / "weights").path)

    While it is filled, `lhub.push(...)` and commands mean it; in a test that uses it they find what is in it, behind
    the test's own registry (LHUB_ROOT names both). With pytest-xdist each worker has its own. A verb that would write
    in it raises `lhub.Denied`, but for who is `filling`.
    """
    from lhub.testing.places import Place, folder_for  # lhub, for who uses it

    place = Place(*folder_for(tmp_path_factory, "lhub-session"))
    yield place.shared()
    place.leave(request.config.getini("tmp_path_retention_policy"), passed=not request.session.testsfailed)
