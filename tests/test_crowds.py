"""Many at once, in processes of their own: nobody fails, and nobody sees anything but one whole push."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType

import pytest

import lhub
from lhub.errors import LhubError
from lhub.registry import Registry
from tests.conftest import as_caller, config_yml, executor_py, read_tree, snapshot, write_tree
from tests.rooms import load_all

load_all()  # once here: another user may not read the folder that lhub lies in

PEOPLE = 8


class Crowd:
    """Processes that wait for one another and then begin at once; each ends with 0 or with the code of its error."""

    def __init__(self, *works: Callable[[], object]) -> None:
        self.works = works
        self.pids: list[int] = []
        self.codes: dict[int, int] = {}

    def __enter__(self) -> Crowd:
        gate, key = os.pipe()
        for work in self.works:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside the threads of pytest-xdist
                pid = os.fork()
            if pid == 0:
                os.close(key)
                self._be(work, gate)
            self.pids.append(pid)
        os.close(gate)
        os.close(key)  # they begin
        return self

    def _be(self, work: Callable[[], object], gate: int) -> None:
        code = 70
        try:
            signal.alarm(90)
            os.read(gate, 1)
            work()
            code = 0
        except LhubError as error:
            code = error.code
            os.write(2, f"{error}\n".encode())
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(code)

    def at_work(self) -> bool:
        """Whether somebody has not ended yet."""
        for pid in self.pids:
            if pid not in self.codes:
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    self.codes[pid] = os.waitstatus_to_exitcode(status)
        return len(self.codes) < len(self.pids)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid in self.pids:
            if pid not in self.codes:
                if kind is not None:
                    os.kill(pid, signal.SIGKILL)
                self.codes[pid] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    @property
    def answers(self) -> list[int]:
        """The exit codes, in the order of the works."""
        return [self.codes[pid] for pid in self.pids]


def together(*works: Callable[[], object]) -> list[int]:
    """Let all work at once; their exit codes."""
    with Crowd(*works) as crowd:
        pass
    return crowd.answers


def executor(folder: Path, mark: str, files: int = 4) -> Path:
    """An Executor every file of which ends in the same mark."""
    end = f"# {mark}"
    own = {"config.yml": f"{config_yml('X')}{end}\n", "executor.py": executor_py("X", end)}
    names = [".gitignore", *(f"deep/{n}/part.txt" for n in range(files))]
    return write_tree(folder, {**dict.fromkeys(names, f"{end}\n"), **own})


def marks(tree: dict[str, bytes]) -> tuple[int, set[bytes]]:
    """How many files there are, and whose."""
    return len(tree), {text.splitlines(keepends=True)[-1] for text in tree.values()}


def leftovers(registry: Registry) -> list[str]:
    """What lies in a registry that no finished push leaves there."""
    return [str(path) for path in registry.root.rglob("*") if path.name.startswith(".tmp.")]


# a reader beside writers


@pytest.mark.parametrize("way", ["pull", pytest.param("path", marks=pytest.mark.slow)])
def test_a_reader_beside_two_writers_sees_one_whole_push_or_another(
    registry: Registry, tmp_path: Path, way: str
) -> None:
    def write(who: str) -> None:
        for turn in range(20):
            registry.push(executor(tmp_path / who, f"{who} {turn}"), "X", tags=["latest", who])

    def read(number: int) -> dict[str, bytes]:
        if way == "path":
            return read_tree(Path(registry.path("alice/X")))
        return read_tree(Path(registry.pull("alice/X", tmp_path / f"pulled-{number}").path))

    registry.push(executor(tmp_path / "one", "one 0"), "X")
    seen: list[tuple[int, set[bytes]]] = []
    with Crowd(partial(write, "one"), partial(write, "two")) as crowd:
        while crowd.at_work():
            seen.append(marks(read(len(seen))))
            assert [line.name for line in registry.list()] == ["alice/X"]
            assert registry.show("alice/X").bytes > 0
    assert crowd.answers == [0, 0]
    assert {(count, len(found)) for count, found in seen} == {(7, 1)}
    assert len(set.union(*(found for _, found in seen))) > 5


def test_a_reader_of_a_protected_tag_beside_writers_sees_only_it(registry: Registry, tmp_path: Path) -> None:
    def write(who: str) -> None:
        for turn in range(10):
            registry.push(executor(tmp_path / who, f"{who} {turn}"), "X")

    registry.push(executor(tmp_path / "release", "release"), "X", protected_tags=["v1"])
    seen: set[bytes] = set()
    with Crowd(partial(write, "one"), partial(write, "two")) as crowd:
        while crowd.at_work():
            seen |= marks(read_tree(Path(registry.path("alice/X:v1"))))[1]
    assert (crowd.answers, seen) == ([0, 0], {b"# release\n"})


# many writers


def test_eight_pushers_on_one_name_all_succeed(registry: Registry, tmp_path: Path) -> None:
    def push(who: str) -> None:
        for turn in range(2):
            registry.push(executor(tmp_path / who, f"{who} {turn}"), "X", tags=[who, "latest"], message=who)

    people = [f"p{n}" for n in range(PEOPLE)]
    assert together(*[partial(push, who) for who in people]) == [0] * PEOPLE
    for who in people:
        assert marks(read_tree(Path(registry.path(f"alice/X:{who}")))) == (7, {f"# {who} 1\n".encode()})
    told = [entry.message for entry in registry.log("alice/X") if entry.action == "push"]
    assert sorted(told) == sorted(people * 2)
    assert leftovers(registry) == []


def test_eight_pushers_on_their_own_names_all_succeed(registry: Registry, tmp_path: Path) -> None:
    def push(who: str) -> None:
        registry.push(executor(tmp_path / who, who), who)

    people = [f"p{n}" for n in range(PEOPLE)]
    assert together(*[partial(push, who) for who in people]) == [0] * PEOPLE
    assert [line.name for line in registry.list()] == [f"alice/{who}" for who in people]
    assert leftovers(registry) == []


def test_eight_pushers_of_the_same_bytes_make_one_version(registry: Registry, tmp_path: Path) -> None:
    source = executor(tmp_path / "source", "same")
    assert together(*[lambda: registry.push(source, "X")] * PEOPLE) == [0] * PEOPLE
    assert len([*registry.root.glob("alice/X/.lhub/versions/[0-9a-f]*")]) == 1
    assert len(registry.log("alice/X")) == 1


def test_of_many_who_protect_one_tag_one_wins(registry: Registry, tmp_path: Path) -> None:
    def push(who: str) -> None:
        registry.push(executor(tmp_path / who, who), "X", protected_tags=["v1"])

    registry.push(executor(tmp_path / "first", "first"), "X")
    answers = together(*[partial(push, f"p{n}") for n in range(4)])
    assert sorted(answers) == [0, 5, 5, 5]
    assert marks(read_tree(Path(registry.path("alice/X:v1"))))[1] == {f"# p{answers.index(0)}\n".encode()}


def test_of_many_who_expect_the_same_version_one_wins(registry: Registry, tmp_path: Path) -> None:
    first = registry.push(executor(tmp_path / "first", "first"), "X")

    def push(who: str) -> None:
        registry.push(executor(tmp_path / who, who), "X", expect=first.version)

    answers = together(*[partial(push, f"p{n}") for n in range(4)])
    assert sorted(answers) == [0, 5, 5, 5]
    assert marks(read_tree(Path(registry.path("alice/X"))))[1] == {f"# p{answers.index(0)}\n".encode()}


# the first of all


def test_two_first_pushes_at_once_make_one_resource_with_both(tmp_path: Path) -> None:
    for attempt in range(4):
        registry = Registry(tmp_path / f"registry-{attempt}", namespace="alice")

        def push(who: str, registry: Registry = registry) -> None:
            registry.push(executor(tmp_path / who, who), "X", tags=[who])

        assert together(partial(push, "one"), partial(push, "two")) == [0, 0]
        (line,) = registry.list()
        assert (line.name, sorted(line.tags)) == ("alice/X", ["one", "two"])
        assert [marks(read_tree(Path(registry.path(f"alice/X:{who}"))))[1] for who in ("one", "two")] == [
            {b"# one\n"},
            {b"# two\n"},
        ]
        assert len(registry.log("alice/X")) == 2


def test_of_two_first_pushes_without_a_login_one_gets_the_name_and_its_secret(
    registry: Registry, tmp_path: Path
) -> None:
    nobody = as_caller(registry, None)

    def push(who: str) -> None:
        secret = nobody.push(executor(tmp_path / who, who), "X", private=True).secret
        (tmp_path / f"{who}.secret").write_text(secret or "")

    answers = together(partial(push, "one"), partial(push, "two"))
    assert sorted(answers) == [0, 5]
    winner = ("one", "two")[answers.index(0)]
    secret = (tmp_path / f"{winner}.secret").read_text()
    pulled = nobody.pull(f"jinahub://X:{secret}", tmp_path / "pulled")
    assert marks(read_tree(Path(pulled.path)))[1] == {f"# {winner}\n".encode()}


def test_of_two_first_pushes_of_different_kinds_one_wins(registry: Registry, tmp_path: Path) -> None:
    one, two = executor(tmp_path / "one", "one"), write_tree(tmp_path / "two", {"notes.txt": "two"})
    answers = together(lambda: registry.push(one, "X"), lambda: registry.push(two, "X"))
    assert sorted(answers) in ([0, 5], [0, 0])  # an Executor's folder may go to a resource of files, not the reverse
    kind = registry.list()[0].kind
    assert (kind, answers) in (("executor", [0, 5]), ("files", [0, 0]), ("files", [5, 0]))
    assert registry.show("alice/X").kind == kind


# people whom the kernel knows


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become two other users")


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user may enter and write, with a shared registry in it."""
    folder = Path(tempfile.mkdtemp(prefix="lhub-crowd-"))
    folder.chmod(0o1777)
    _load_everything(folder)
    registry = Registry(folder / "registry")
    registry.init()
    registry.root.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


def _load_everything(folder: Path) -> None:
    """Do it all once, for what Python loads late lies where another user may not read."""
    registry = Registry(folder / "first", namespace="root")
    registry.push(executor(folder / "source", "x"), "X")
    registry.pull("root/X", folder / "pulled")
    registry.log("root/X")


def become(uid: int, *groups: int) -> None:
    """Be another user for the rest of this process."""
    os.setgroups(list(groups))
    os.setgid(uid)
    os.setuid(uid)


@needs_root
def test_of_two_users_who_claim_one_namespace_one_wins(shared: Path) -> None:
    def claim(uid: int, namespace: str) -> None:
        become(uid)
        Registry(shared / "registry").login(namespace)

    for attempt in range(5):
        name = f"team{attempt}"
        answers = together(partial(claim, 20001, name), partial(claim, 20002, name))
        assert sorted(answers) == [0, 4]
        folder = shared / "registry" / name
        assert folder.stat().st_uid == (20001, 20002)[answers.index(0)]
        assert (folder / "namespace.yaml").read_text() == "format: 1\n"


@needs_root
def test_who_lost_a_namespace_pushes_nothing_into_it(shared: Path) -> None:
    source = executor(shared / "source", "x")

    def push(uid: int) -> None:
        become(uid)
        Registry(shared / "registry", namespace="team").push(source, "X")

    assert together(partial(push, 20001)) == [0]
    before = snapshot(shared / "registry")
    assert together(partial(push, 20002)) == [4]
    assert snapshot(shared / "registry") == before


@needs_root
def test_another_user_s_private_resource_answers_as_an_absent_one(shared: Path) -> None:
    source = executor(shared / "source", "x")

    def push() -> None:
        become(20001)
        Registry(shared / "registry", namespace="alice").push(source, "Secret", private=True)

    def ask(question: Callable[[Registry, str], object], answer: Path) -> None:
        become(20002)
        registry = Registry(shared / "registry", namespace="alice")
        sentences = []
        for name in ("Secret", "Absent"):
            try:
                question(registry, f"alice/{name}")
                sentences.append("an answer")
            except LhubError as error:
                sentences.append(f"{error.code} {error} {error.hint}".replace(name, "X"))
        answer.write_text("\n".join(sentences))

    assert together(push) == [0]
    questions: list[Callable[[Registry, str], object]] = [
        lambda registry, ref: registry.pull(ref, shared / "out"),
        lambda registry, ref: registry.path(ref),
        lambda registry, ref: registry.show(f"{ref}@12345678"),
        lambda registry, ref: registry.log(ref),
        lambda registry, ref: registry.visibility(ref),
        lambda registry, ref: registry.visibility(ref, "public"),
        lambda registry, ref: registry.tag(ref, "mine"),
        lambda registry, ref: registry.untag(f"{ref}:latest"),
        lambda registry, ref: registry.push(source, ref),
    ]
    answers = [shared / f"answer-{n}" for n in range(len(questions))]
    asked = zip(questions, answers, strict=True)
    assert together(*[partial(ask, one, into) for one, into in asked]) == [0] * len(questions)
    told = [answer.read_text().split("\n") for answer in answers]
    assert [secret for secret, absent in told if secret != absent] == []
    assert {secret[:1] for secret, _ in told[:-1]} == {"3"}
    assert told[-1][0][:1] == "4"


@needs_root
def test_a_team_pushes_into_its_namespace_at_once(shared: Path) -> None:
    team = shared / "registry" / "vision"
    team.mkdir()
    os.chown(team, 0, 30001)
    team.chmod(0o3775)

    def push(uid: int, mark: str) -> None:
        become(uid, 30001)
        os.umask(0o077)
        source = executor(shared / f"source-{mark}", mark)
        Registry(shared / "registry", namespace=f"u{uid}").push(source, "vision/X", tags=[mark], private=uid == 20001)

    def outsider() -> None:
        become(20009)
        Registry(shared / "registry", namespace="vision").pull("vision/X:a1", shared / "out")

    assert together(partial(push, 20001, "a1")) == [0]
    works = [
        partial(push, uid, f"{letter}2") for uid, letter in ((20001, "b"), (20002, "c"), (20001, "d"), (20002, "e"))
    ]
    assert together(*works) == [0] * 4
    (line,) = Registry(shared / "registry", namespace="vision").list("vision")
    assert (line.visibility, sorted(line.tags)) == ("private", ["a1", "b2", "c2", "d2", "e2"])
    assert together(outsider) == [3]


def test_a_crowd_tells_how_each_of_it_ended(capfd: pytest.CaptureFixture[str]) -> None:
    answers = together(lambda: None, lambda: lhub.pull("a b"), lambda: sys.exit(1))
    assert answers == [0, 2, 70]
    assert "not a reference" in capfd.readouterr().err
