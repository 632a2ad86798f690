"""The pytest plugin: what a downstream project's tests may rely on, tried as such a project tries it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

import lhub
from lhub.registry import Registry
from lhub.testing import VERBS, Login, MakeExecutor, TemporaryRegistry
from tests.conftest import snapshot, write_tree

FIXTURES = [
    "lhub_registry",
    "lhub_login",
    "lhub_executor",
    "lhub_docs",
    "lhub_overlay",
    "lhub_session_registry",
]


def project(pytester: pytest.Pytester, text: str, *options: str) -> pytest.RunResult:
    """Run the tests of a small project in a process of their own, as its author does."""
    pytester.makepyfile(test_project=f"import os\nimport pytest\nimport lhub\n{text}")
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)


# a registry of one's own


def test_a_test_begins_with_an_empty_registry_as_alice(lhub_registry: TemporaryRegistry) -> None:
    assert isinstance(lhub_registry, lhub.Registry)
    assert isinstance(lhub_registry.root, Path)
    assert (lhub_registry.list(), [space.name for space in lhub_registry.namespaces()]) == ([], ["alice"])


def test_what_lhub_itself_pushes_lies_in_it(lhub_registry: TemporaryRegistry, hello: Path, tmp_path: Path) -> None:
    pushed = lhub.push(hello, tags=["v1"])
    assert [listed.name for listed in lhub_registry.list()] == ["alice/Hello"]
    assert Path(pushed.path or "").is_relative_to(lhub_registry.root)
    assert lhub.pull("alice/Hello:v1", tmp_path / "out").version == lhub_registry.show("alice/Hello:v1").version


def test_a_command_means_it_too(lhub_registry: TemporaryRegistry, hello: Path) -> None:
    words = [sys.executable, "-m", "lhub", "push", str(hello), "--json"]
    answer = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    assert answer["version"] == lhub_registry.show("alice/Hello").version


def test_nothing_of_the_user_s_own_is_known(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LHUB_ROOT", "LHUB_HOME", "LHUB_BUILD_ENV_TOKEN"):
        monkeypatch.setenv(name, str(pytester.path / "mine"))
    text = """
    def test_isolated(lhub_registry, monkeypatch):
        monkeypatch.undo()  # what is somebody else's to undo stays
        known = {name: os.environ[name] for name in os.environ if name.startswith("LHUB_")}
        assert known.pop("LHUB_BOUNDS")
        assert known.pop("LHUB_IMAGE") == "never"
        assert known == {"LHUB_HOME": os.environ["HOME"] + "/.lhub", "LHUB_ROOT": str(lhub_registry.root)}
        assert os.path.expanduser("~/.lhub/registry") == str(lhub_registry.root)
        lhub.login("carol")
        lhub.logout()

    def test_as_it_was():
        assert os.environ["LHUB_ROOT"].endswith("mine") and os.environ["LHUB_BUILD_ENV_TOKEN"]
    """
    project(pytester, text.replace("\n    ", "\n")).assert_outcomes(passed=2)
    assert not (pytester.path / "mine").exists()


@pytest.mark.slow
def test_each_test_has_its_own_in_any_order_and_in_parallel(pytester: pytest.Pytester) -> None:
    text = """
@pytest.mark.parametrize("number", range(4))
def test_alone(lhub_registry, lhub_executor, number):
    assert lhub_registry.list() == []
    lhub_executor(f"Hello{number}")
    assert [listed.name for listed in lhub_registry.list()] == [f"alice/Hello{number}"]
"""
    project(pytester, text, "-n", "2").assert_outcomes(passed=4)
    backwards = [f"test_project.py::test_alone[{number}]" for number in reversed(range(4))]
    pytester.runpytest_subprocess(*backwards).assert_outcomes(passed=4)


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        pytest.param("all", ["fails", "passes"], marks=pytest.mark.slow),
        ("failed", ["fails"]),
        pytest.param("none", [], marks=pytest.mark.slow),
    ],
)
def test_registries_stay_as_long_as_tmp_path_does(pytester: pytest.Pytester, policy: str, left: list[str]) -> None:
    text = """
def test_passes(lhub_executor):
    lhub_executor("passes")

def test_fails(lhub_executor):
    lhub_executor("fails")
    assert False
"""
    pytester.makeini(f"[pytest]\ntmp_path_retention_policy = {policy}\n")
    result = project(pytester, text, f"--basetemp={pytester.path}/base")
    result.assert_outcomes(passed=1, failed=1)
    tags = pytester.path.glob("base/lhub[0-9]/.lhub/registry/alice/*/latest")
    assert sorted(tag.parent.name for tag in tags) == left


# who one is


def test_what_is_private_is_not_seen_by_another(
    lhub_registry: TemporaryRegistry, lhub_login: Login, lhub_executor: MakeExecutor, tmp_path: Path
) -> None:
    lhub_executor("Hidden", visibility="private")
    lhub_executor("Shown")
    with lhub_login("bob") as registry:
        assert registry is lhub_registry
        assert [listed.name for listed in lhub_registry.list()] == ["alice/Shown"]
        for asked in (lhub_registry.path, lhub.path):
            with pytest.raises(lhub.NotFound):
                asked("alice/Hidden")
        assert lhub_executor("Own").name == "bob/Own"
    assert len(lhub_registry.list()) == 3


def test_commands_are_said_by_whoever_is_logged_in(lhub_login: Login) -> None:
    def whoami() -> str:
        words = [sys.executable, "-m", "lhub", "whoami"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()

    before = whoami()
    with lhub_login("bob"):
        inside = whoami()
    assert (before.split()[0], inside.split()[0], whoami()) == ("alice", "bob", before)


def test_blocks_lie_in_each_other_and_end_with_an_error(
    lhub_registry: TemporaryRegistry, lhub_login: Login, hello: Path
) -> None:
    with lhub_login("bob"):
        with pytest.raises(lhub.Denied), lhub_login(None):
            lhub_registry.push(hello, "alice/Hello")
        assert lhub_registry.push(hello).name == "bob/Hello"
    assert lhub_registry.push(hello).name == "alice/Hello"


# things to push


def test_an_executor_is_small_whole_and_what_push_returns(
    lhub_registry: TemporaryRegistry, lhub_executor: MakeExecutor
) -> None:
    pushed = lhub_executor()
    assert (pushed.name, pushed.tags, pushed.visibility, pushed.kind) == (
        "alice/Hello",
        ("latest",),
        "public",
        "executor",
    )
    assert sorted(os.listdir(pushed.path or "")) == ["README.md", "config.yml", "executor.py", "requirements.txt"]
    assert lhub_registry.show("alice/Hello").version == pushed.version


@pytest.mark.slow
def test_what_is_pushed_again_in_another_test_is_what_a_push_leaves(pytester: pytest.Pytester) -> None:
    text = """
@pytest.mark.parametrize("turn", range(2))
@pytest.mark.parametrize("asked", [{}, {"visibility": "private", "protected_tags": ["v1"]}])
def test_turn(lhub_registry, lhub_executor, lhub_docs, lhub_login, asked, turn, tmp_path):
    pushed = lhub_executor(**asked)
    tag = (pushed.tags + pushed.protected_tags)[0]
    assert (pushed.path, len(os.listdir(pushed.path))) == (lhub_registry.path(f"alice/Hello:{tag}"), 4)
    assert lhub_registry.verify().ok
    assert lhub_registry.doctor() == []
    [entry] = lhub_registry.log("alice/Hello")
    assert (entry.version, lhub_registry.build("alice/Hello").look().state) == (pushed.version, "succeeded")
    assert lhub_registry.show("alice/Hello").visibility == asked.get("visibility", "public")
    again = lhub_executor(files={"more.txt": "more"}, tags=["v2"], visibility=asked.get("visibility", "public"))
    assert again.version != pushed.version and len(lhub_registry.log("alice/Hello")) == 2
    assert lhub_registry.pull("alice/Hello:v2", tmp_path / "out").version == again.version
    lhub_registry.fail_next("push", lhub.Corrupt)
    with pytest.raises(lhub.Corrupt):
        lhub_executor("Other")
    with lhub_login("bob"):
        assert lhub_executor(**asked).name == "bob/Hello"
"""
    project(pytester, text).assert_outcomes(passed=4)


def test_an_executor_has_the_tags_visibility_and_files_asked_for(
    lhub_registry: TemporaryRegistry, lhub_executor: MakeExecutor
) -> None:
    pushed = lhub_executor("Encoder", ["v1", "gpu"], "private", {"data/w.bin": b"\0\1", "README.md": "mine"})
    pinned = lhub_executor("Encoder", protected_tags="v2", tags=[], visibility="private")
    files = Path(pushed.path or "")
    assert (pushed.tags, pushed.visibility, pinned.protected_tags) == (("v1", "gpu"), "private", ("v2",))
    assert ((files / "data/w.bin").read_bytes(), (files / "README.md").read_text()) == (b"\0\1", "mine")


NO_EXECUTOR: list[dict[str, Any]] = [
    {"name": "not a name"},
    {"visibility": "hidden"},
    {"tags": ["no/tag"]},
    {"files": {"../x": ""}},
    {"files": {"x": 3}},
    {"files": ["x"]},
    {"files": {"build/x": "left out by the built-in list"}},
]


@pytest.mark.parametrize("asked", NO_EXECUTOR, ids=repr)
def test_what_no_executor_can_be_gets_a_sentence(lhub_executor: MakeExecutor, asked: dict[str, Any]) -> None:
    with pytest.raises(lhub.UsageError):
        lhub_executor(**asked)


def test_an_array_has_three_documents(lhub_registry: TemporaryRegistry, lhub_docs: Any) -> None:
    [listed] = lhub_registry.list(kind="docarray")
    assert (lhub_docs.name, lhub_docs.kind, listed.length) == ("alice/docs", "docarray", 3)
    fields = dict(lhub_registry.documents("alice/docs")[2])
    assert fields["text"] == "document 2"


@pytest.mark.docarray
@pytest.mark.filterwarnings("ignore")  # docarray's own
def test_an_array_is_loaded_by_the_docarray_that_is_installed(lhub_docs: Any) -> None:
    docs = lhub.load(lhub_docs.name)
    assert [doc.text for doc in docs] == ["document 0", "document 1", "document 2"]
    assert [list(doc.embedding) for doc in docs] == [[0.0] * 4, [1.0] * 4, [2.0] * 4]


# failing on demand


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_can_be_made_to_fail(lhub_registry: TemporaryRegistry, verb: str) -> None:
    lhub_registry.fail_next(verb, lhub.LockTimeout("somebody holds it", hint="try again"))
    with pytest.raises(lhub.LockTimeout, match="somebody holds it"):
        getattr(lhub_registry, verb)()


def test_a_failure_comes_once_and_changes_nothing(
    lhub_registry: TemporaryRegistry, hello: Path, tmp_path: Path
) -> None:
    lhub_registry.fail_next("push", OSError(28, "No space left on device"))
    lhub_registry.fail_next("list", IndexError("pop from an empty list"))
    with pytest.raises(IndexError):
        lhub_registry.list()
    lhub_registry.fail_next("push", lhub.Corrupt)
    before = snapshot(lhub_registry.root)
    with pytest.raises(OSError, match="No space left"):
        lhub.push(hello)
    with pytest.raises(lhub.Corrupt, match="push fails, as the test asked for"):
        lhub_registry.push(hello)
    assert snapshot(lhub_registry.root) == before
    assert lhub.push(hello).new
    elsewhere = Registry(tmp_path / "other", namespace="alice")
    lhub_registry.fail_next("push", lhub.Corrupt)
    assert elsewhere.push(hello).new, "another registry is not concerned"
    with pytest.raises(lhub.Corrupt):
        lhub.push(hello)


def test_a_failure_that_nobody_met_fails_the_test_and_is_forgotten(pytester: pytest.Pytester) -> None:
    text = """
def test_first(lhub_registry):
    lhub_registry.fail_next("list", lhub.Corrupt)

def test_second(lhub_registry):
    assert lhub_registry.list() == []

def test_skipped(lhub_registry):
    lhub_registry.fail_next("list", lhub.Corrupt)
    pytest.skip("not today")
"""
    result = project(pytester, text)
    result.assert_outcomes(passed=2, errors=1, skipped=1)
    result.stdout.fnmatch_lines("*nobody met what fail_next asked for: list: Corrupt*")


@pytest.mark.parametrize(
    ("verb", "error"),
    [("pushh", lhub.Corrupt), ("root", lhub.Corrupt), ("push", "text"), ("push", UnicodeDecodeError), ("push", int)],
)
def test_what_cannot_be_raised_is_refused_at_once(lhub_registry: TemporaryRegistry, verb: str, error: Any) -> None:
    with pytest.raises(lhub.UsageError):
        lhub_registry.fail_next(verb, error)


def test_of_threads_that_come_together_one_meets_it(lhub_registry: TemporaryRegistry) -> None:
    lhub_registry.fail_next("list", lhub.LockTimeout)
    start, met = Barrier(4), list[bool]()

    def ask() -> None:
        start.wait()
        try:
            lhub_registry.list()
        except lhub.LockTimeout:
            met.append(True)

    threads = [Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert met == [True]


# nothing is written elsewhere

OUTSIDE = {
    "a_registry": "lhub.Registry('OUT/registry', namespace='alice').init()",
    "a_tag": "lhub.Registry('OUT/standing', namespace='alice').tag('alice/X', 'v1')",
    "a_push_that_changes_nothing": "lhub.Registry('OUT/standing', namespace='alice').push('OUT/x.txt', 'X')",
    "a_pull_to_where_one_stands": "lhub.pull('alice/Hello')",
    "a_pull": "lhub.pull('alice/Hello', 'OUT/deep/er')",
    "a_bundle": "lhub_registry.export('alice/Hello', path='OUT/x.tar')",
    "a_copy": "lhub_registry.copy('alice/Hello', to='OUT/copy')",
    "a_login": "monkeypatch.setenv('LHUB_HOME', 'OUT/home'); lhub.login('alice')",
    "a_link_that_leads_there": "os.symlink('OUT', tmp_path / 'link'); lhub.pull('alice/Hello', tmp_path / 'link/x')",
    "a_command": "main(['new', '--name', 'X', '--path', 'OUT/X'])",
    "a_thread": "work = Thread(target=lhub.pull, args=('alice/Hello', 'OUT/t')); work.start(); work.join()",
    "a_process": "subprocess.run([sys.executable, '-m', 'lhub', 'pull', 'alice/Hello', 'OUT/process'])",
    "another_python": "subprocess.run([sys.executable, '-c', 'import lhub; lhub.pull(\"alice/Hello\", \"OUT/py\")'])",
    "a_fork": "work = Process(target=lhub.pull, args=('alice/Hello', 'OUT/fork')); work.start(); work.join()",
    "who_wraps_it": "\n    try: lhub.pull('alice/Hello', 'OUT/w')\n    except BaseException: raise ValueError",
    "who_catches_all": "\n    try: lhub.pull('alice/Hello', 'OUT/x')\n    except BaseException: pass",
}


@pytest.mark.slow
def test_a_write_elsewhere_fails_with_its_place(pytester: pytest.Pytester, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_tree(out, {"x.txt": "x"})
    Registry(out / "standing", namespace="alice").push(out / "x.txt", "X")
    before = snapshot(tmp_path)
    head = "import subprocess, sys\nfrom threading import Thread\nfrom multiprocessing import get_context\n"
    head += "from lhub.cli.main import main\nProcess = get_context('fork').Process\n"
    test = "def test_{}(lhub_registry, lhub_executor, tmp_path, monkeypatch):\n    lhub_executor()\n    {}\n"
    text = head + "".join(test.format(name, write.replace("OUT", str(out))) for name, write in OUTSIDE.items())
    result = project(pytester, text, "-W", "ignore", "-rA")
    elsewhere = f"{re.escape(str(out))}|{re.escape(str(pytester.path))}|/\\S+/link"
    place = rf"({elsewhere})/?\S* (was about to be written \(\w+\)|\(\w+\) was about to be written), outside of"
    for name in OUTSIDE:
        told = re.search(rf"(?s)_ (?:ERROR at teardown of )?test_{name} _+\n(.*?)\n_____", f"{result.stdout}\n_____")
        assert told, f"{name} failed no test"
        assert re.search(place, told[1]), name
    assert snapshot(tmp_path) == before


ORDERS = """
import unittest

def told():
    return sorted(listed.name for listed in lhub.Registry(os.environ["LHUB_ROOT"], namespace="alice").list())

def say(place):
    (place / "w.json").write_text("{}")
    return lhub.push(place / "w.json", "weights")

@pytest.fixture
def mine(tmp_path):
    return say(tmp_path)

@pytest.fixture
def at_the_end(tmp_path):
    yield
    say(tmp_path)

@pytest.fixture(scope="module")
def of_module(tmp_path_factory):
    return say(tmp_path_factory.mktemp("module"))

def test_before(mine, lhub_registry):
    assert told() == [mine.name]

def test_behind(lhub_registry, mine):
    assert told() == [mine.name]

def test_end(at_the_end, lhub_executor): ...

def test_module(of_module, lhub_docs):
    assert told() == ["alice/docs", "alice/weights"]

class TestSetup:
    @pytest.fixture(autouse=True)
    def auto(self, tmp_path):
        say(tmp_path)

    def setup_method(self):
        lhub.login("carol")

    def test_method(self, lhub_registry):
        assert os.environ["LHUB_HOME"].startswith(os.environ["HOME"])

class TestOld(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def auto(self, lhub_registry):
        self.registry = lhub_registry

    def setUp(self):
        lhub.login("alice")

    def test_old(self):
        assert self.registry.list() == []
"""


def test_all_that_is_set_up_for_a_test_and_taken_down_is_at_its_place(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever the order of arguments: a push before the fixture was set up would be one to the user's own registry."""
    monkeypatch.setenv("LHUB_HOME", str(tmp_path / "mine"))
    lhub.login("me")
    before = snapshot(tmp_path)
    project(pytester, ORDERS).assert_outcomes(passed=6)
    assert snapshot(tmp_path) == before


@pytest.mark.slow
def test_who_does_not_use_the_fixtures_writes_where_he_likes(pytester: pytest.Pytester) -> None:
    text = """
def test_kept(lhub_registry): ...

def test_free():
    lhub.Registry("free", namespace="alice").init()
"""
    project(pytester, text).assert_outcomes(passed=2)


def test_tmp_path_is_free_to_write(
    lhub_registry: TemporaryRegistry, lhub_executor: MakeExecutor, tmp_path: Path
) -> None:
    lhub_executor()
    other = Registry(tmp_path / "other", namespace="alice")
    other.init()
    lhub_registry.export("alice/Hello", path=tmp_path / "x.tar")
    other.import_bundle(tmp_path / "x.tar")
    assert other.pull("alice/Hello", tmp_path / "deep" / "out").version == lhub_registry.show("alice/Hello").version


# a real registry behind


@pytest.fixture
def real(tmp_path: Path, hello: Path) -> Path:
    """A registry with something in it that is nobody's to change."""
    registry = Registry(tmp_path / "real", namespace="vision")
    registry.push(hello, tags=["v1", "latest"])
    registry.push(hello, "Hidden", private=True)
    return registry.root


def test_reads_fall_through_to_a_real_registry_and_writes_stay_here(pytester: pytest.Pytester, real: Path) -> None:
    before = snapshot(real)
    text = """
def test_overlay(lhub_overlay, lhub_registry, lhub_executor, lhub_login, tmp_path):
    lhub_executor("Own")
    version = lhub_overlay.show("vision/Hello:v1").version
    assert lhub.pull("vision/Hello", tmp_path / "out").version == version
    assert {listed.name for listed in lhub_overlay.list()} == {"alice/Own", "vision/Hello"}
    assert [listed.name for listed in lhub_registry.list()] == ["alice/Own"]
    with lhub_login("vision"):
        pushed = lhub_overlay.push(tmp_path / "out", "Hello", tags=["v2"])
        assert lhub_registry.show("vision/Hello:v2").version == pushed.version
        with pytest.raises(lhub.NotFound):
            lhub_overlay.tag("vision/Hidden", "v3")
    with pytest.raises(pytest.fail.Exception, match="outside"):
        lhub.Registry("REAL", namespace="vision").tag("vision/Hello", "v3")
        pytest.skip("not reached")
"""
    result = project(pytester, text.replace("REAL", str(real)), f"--lhub-root={real}")
    assert result.parseoutcomes() == {"passed": 1, "errors": 1}, "what was caught is told at the end"
    assert snapshot(real) == before


def test_without_a_real_registry_the_test_is_skipped_or_told_why(pytester: pytest.Pytester) -> None:
    text = "def test_overlay(lhub_overlay): pass\n"
    result = project(pytester, text, "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines("*pytest --lhub-root DIR names it*")
    result = project(pytester, text, "--lhub-root=nowhere")
    assert (result.ret, "--lhub-root nowhere: there is no registry" in result.stderr.str()) == (4, True)


# a registry for all tests of a session


SESSION = """
import subprocess
import sys

LHUB = [sys.executable, "-m", "lhub"]

@pytest.fixture(scope="session")
def weights(lhub_session_registry, tmp_path_factory):
    source = tmp_path_factory.mktemp("source") / "w.bin"
    source.write_bytes(bytes(100))
    with lhub_session_registry.filling() as registry:
        return registry.push(source, "weights", tags=["v1", "latest"])

@pytest.mark.parametrize("number", range(4))
def test_read(lhub_session_registry, weights, tmp_path, number):
    assert lhub_session_registry.pull("alice/weights:v1", tmp_path / "w").version == weights.version
    assert lhub_session_registry.verify().ok

@pytest.mark.parametrize("write", [
    lambda registry: registry.tag("alice/weights", "v2"),
    lambda registry: registry.delete("alice/weights"),
    lambda registry: registry.create_namespace("bob"),
    lambda registry: registry.push(__file__, "again"),
    lambda registry: lhub.Registry(registry.root, namespace="alice").visibility("alice/weights", "private"),
])
def test_write(lhub_session_registry, weights, write):
    with pytest.raises(lhub.Denied, match="the registry of the test session is read-only"):
        write(lhub_session_registry)
    assert lhub_session_registry.show("alice/weights").tags.keys() == {"v1", "latest"}

@pytest.fixture(scope="session")
def by_others(lhub_session_registry, tmp_path_factory):
    source = tmp_path_factory.mktemp("source") / "b.bin"
    source.write_bytes(bytes(100))
    with lhub_session_registry.filling():
        assert lhub.push(source, "by_lhub").name == "alice/by_lhub"
        subprocess.run([*LHUB, "push", source, "by_command"], check=True)
    return lhub_session_registry

def test_filled_by_all(by_others):
    assert {"alice/by_lhub", "alice/by_command"} <= {listed.name for listed in by_others.list()}

def test_meant_by_all(lhub_session_registry, weights, tmp_path):
    assert lhub.path("alice/weights") == lhub_session_registry.path("alice/weights")
    lhub.push(__file__, "weights", tags=["mine"])
    assert "mine" not in lhub_session_registry.show("alice/weights").tags
    command = [*LHUB, "--root", str(lhub_session_registry.root), "tag", "alice/weights", "v3"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, "read-only" in done.stderr) == (4, True)

def test_not_filled_by_a_test(lhub_session_registry):
    with pytest.raises(lhub.Denied, match="a test only reads"), lhub_session_registry.filling():
        pass
"""


@pytest.mark.parametrize(
    "options", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)], ids=["one process", "two workers"]
)
def test_a_session_s_registry_is_filled_once_and_read_by_all(
    pytester: pytest.Pytester, options: tuple[str, ...]
) -> None:
    project(pytester, SESSION, *options).assert_outcomes(passed=12)


# on a fake file system


def test_with_fs_the_fixtures_lie_on_the_fake_file_system(pytester: pytest.Pytester) -> None:
    text = """
import subprocess

def on_disk(path):
    return subprocess.run(["test", "-e", path]).returncode == 0

@pytest.mark.parametrize("turn", [1])
def test_first(lhub_registry, lhub_executor, lhub_docs, lhub_login, fs, turn):
    pushed = lhub_executor(tags=["v1"], protected_tags=["v1"])
    assert lhub_registry.pull("alice/Hello:v1", "/anywhere").version == pushed.version
    with lhub_login("bob"):
        assert len(lhub_registry.list()) == 2
    assert lhub_registry.verify().ok and lhub_registry.verify().remarks
    assert os.path.exists(pushed.path) and not on_disk(pushed.path)

def test_real(lhub_registry, lhub_executor):
    assert on_disk(lhub_executor().path) and not lhub_registry.verify().remarks
"""
    project(pytester, text).assert_outcomes(passed=2)


@pytest.mark.slow
def test_with_fs_the_session_s_registry_is_read_as_well(pytester: pytest.Pytester) -> None:
    text = """
@pytest.fixture(scope="session")
def weights(lhub_session_registry, tmp_path_factory):
    source = tmp_path_factory.mktemp("source") / "w.bin"
    source.write_bytes(bytes(100))
    with lhub_session_registry.filling() as registry:
        return registry.push(source, "weights")

def test_session(fs, weights, lhub_session_registry, lhub_registry):
    assert lhub_session_registry.pull("alice/weights", "/out.bin").version == lhub.pull("alice/weights", "/2").version
    with pytest.raises(lhub.Denied):
        lhub_session_registry.tag("alice/weights", "v1")

@pytest.mark.parametrize("turn", [1, 2])
class TestClass:
    def test_class(self, fs_class, lhub_registry, turn):
        os.makedirs("/data", exist_ok=True)
        with open("/data/x", "w") as file:
            file.write("x")
        assert lhub.push("/data/x", "weights").name == "alice/weights"
"""
    project(pytester, text).assert_outcomes(passed=3)


# what it costs


def test_a_run_that_does_not_use_it_loads_none_of_its_rooms(pytester: pytest.Pytester) -> None:
    text = """
import sys

def test_rooms():
    assert sorted(name for name in sys.modules if name.partition(".")[0] == "lhub") == [
        "lhub", "lhub.pytest_plugin"
    ]
"""
    project(pytester, text).assert_outcomes(passed=1)


def test_to_set_up_a_registry_waits_for_no_disk_and_starts_no_process(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: object, **options: object) -> None:
        raise AssertionError("it costs a test too much")

    for costly in ("os.fsync", "os.sync", "os.fdatasync", "subprocess.Popen.__init__", "lhub.disk._syncfs"):
        monkeypatch.setattr(costly, refused)
    assert request.getfixturevalue("lhub_registry").list() == []


# its words


def test_fixtures_are_shown_with_examples(pytester: pytest.Pytester) -> None:
    told = pytester.runpytest_subprocess("--fixtures").stdout.str()
    for name in FIXTURES:
        shown = told.partition(f"\n{name} ")[2].partition("\n\n")[0]
        assert "Example:" in shown and re.search(rf"def \w+\([^)]*{name}", shown), f"{name}: {shown}"


def test_the_option_is_in_the_help(pytester: pytest.Pytester) -> None:
    pytester.runpytest_subprocess("--help").stdout.fnmatch_lines("*--lhub-root=DIR*")


def test_it_can_be_left_out(pytester: pytest.Pytester) -> None:
    result = project(pytester, "def test_without(lhub_registry): pass\n", "-p", "no:lhub")
    result.stdout.fnmatch_lines("*fixture 'lhub_registry' not found*")


def test_a_watcher_is_told_of_every_write_and_only_while_it_watches(registry: Registry, hello: Path) -> None:
    from lhub.disk import watched

    told: list[str] = []
    with watched(lambda verb, path: told.append(verb)):
        registry.push(hello)
    registry.tag("alice/Hello", "v1")
    assert {"lock", "make_folder", "copy_in", "rename", "symlink", "fast-import"} <= set(told)
    assert told.count("symlink") == 1
