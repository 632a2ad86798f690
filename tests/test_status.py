"""`lhub status`, and pushes that go on by themselves: what is told of a build, to whom, and how it is stopped."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import resource
import select
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from lhub.builds import Builder, begun, new_task_id
from lhub.cli import main as program
from lhub.cli.progress import Progress
from lhub.disk import Pen
from lhub.errors import LhubError
from lhub.identity import remember
from lhub.layout import ONE_PERSON
from lhub.registry import Registry
from tests.conftest import Answer, config_yml, executor_py, snapshot, write_tree
from tests.test_builds import ended, until, waiting
from tests.test_crowds import Crowd, become, needs_root, shared, together
from tests.test_stories import Stage, _be_lhub

__all__ = ["shared"]
NOBODY = "f" * 24
HELLO: dict[str, str | bytes] = {
    "config.yml": config_yml("Hello"),
    "executor.py": executor_py("Hello"),
    ".gitignore": "",
}
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """alice at a registry that others share, with an Executor to push."""
    stage = Stage(tmp_path.resolve())
    write_tree(stage.here / "Hello", {**HELLO})
    log_in(stage, "alice")
    return stage


def log_in(stage: Stage, who: str) -> None:
    """As `lhub login` does; most of these tests ask other commands only."""
    home = stage.environment(who)["HOME"]
    remember(f"{home}/.lhub", who)
    Registry(stage.shared, namespace=who).login(who)


@pytest.fixture
def registry(stage: Stage) -> Registry:
    """The same registry, for alice."""
    return Registry(stage.shared, namespace="alice")


def push(stage: Stage, *tags: str, private: bool = False) -> str:
    """The task of a push of the Executor by alice."""
    return Registry(stage.shared, namespace="alice").push(stage.here / "Hello", tags=tags, private=private).task_id


def detach(stage: Stage, *options: str, who: str = "alice") -> str:
    """The task of a push that `lhub push --detach` leaves behind."""
    answer = stage.lhub("push", "Hello", "--detach", "--json", *options, who=who)
    assert answer.code == 0, answer.err
    return str(answer.json["task_id"])


def change(stage: Stage) -> None:
    (stage.here / "Hello/notes.txt").write_text("changed")


def shown(event: dict[str, object]) -> str:
    return f"{event['subject']}: {event['type']}"


# what is told


def test_the_newest_task_of_a_folder_is_told(stage: Stage) -> None:
    push(stage)
    task = push(stage)
    for answer in (stage.lhub("status", "Hello", who="alice"), stage.lhub("status", "alice/Hello", who="alice")):
        assert answer.out.startswith(f"task {task} of alice/Hello, by alice on ")
        assert re.search("\nsucceeded, version [0-9a-f]{12}\n$", answer.out)
        assert (answer.code, answer.err) == (0, "")


def test_without_a_path_it_is_the_folder_where_one_is(stage: Stage) -> None:
    task = push(stage)
    stage.here /= "Hello"
    assert f"task {task} of" in stage.lhub("status", who="alice").out


def test_a_folder_that_can_no_longer_be_pushed_still_tells_of_its_builds(stage: Stage) -> None:
    task = push(stage)
    os.mkfifo(stage.here / "Hello/pipe")
    assert f"task {task} of" in stage.lhub("status", "Hello", who="alice").out


def test_a_task_is_told_by_its_id(stage: Stage) -> None:
    first, _ = push(stage, "v1"), push(stage, "v2")
    assert stage.lhub("status", "--id", first, "--json", who="alice").json["task_id"] == first


def test_replay_tells_each_step_from_the_beginning(stage: Stage) -> None:
    task = push(stage)
    lines = stage.lhub("status", "--id", task, "--replay", who="alice").out.splitlines()[1:-1]
    steps = ("receive", "normalise", "check requirements", "publish")
    assert [line.split(",")[0] for line in lines if "start" not in line] == [f"{step}: done" for step in steps] + [
        "push: succeeded"
    ]


def test_only_verbose_tells_what_the_build_itself_says(stage: Stage) -> None:
    (stage.here / "Hello/config.yml").unlink()
    task = Registry(stage.shared, namespace="alice").push(stage.here / "Hello", "Hello").task_id
    told = [stage.lhub("status", "--id", task, "--replay", *more, who="alice").out for more in ((), ("--verbose",))]
    assert ["config.yml was written" in out for out in told] == [False, True]


def test_json_has_all_that_is_known(stage: Stage, registry: Registry) -> None:
    task = push(stage)
    told = stage.lhub("status", "Hello", "--json", who="alice").json
    names = ["task_id", "name", "state", "who", "host", "started", "updated", "version", "message"]
    assert list(told) == names
    assert (told["task_id"], told["state"], told["version"]) == (
        task,
        "succeeded",
        registry.show("alice/Hello").version,
    )


def test_json_with_replay_has_the_events(stage: Stage) -> None:
    push(stage)
    told = stage.lhub("status", "Hello", "--json", "--replay", who="alice").json
    assert shown(told["events"][0]) == "receive: start"
    assert shown(told["events"][-1]) == "push: succeeded"


def test_a_push_prints_its_task(stage: Stage, registry: Registry) -> None:
    answer = stage.lhub("push", "Hello", who="alice")
    assert f"\nTASK_ID: {registry.build('alice/Hello').task}\n" in answer.out
    assert stage.lhub("push", "Hello", "--json", who="alice").json["task_id"] == registry.build("alice/Hello").task


def test_jina_s_name_for_it_does_the_same(stage: Stage) -> None:
    task = push(stage)
    assert f"task {task}" in stage.lhub("hub", "status", "--id", task, who="alice").out


def test_a_failed_build_exits_8_and_says_why(stage: Stage, registry: Registry) -> None:
    task = push(stage)
    log = registry.root / "alice/Hello/.lhub/builds" / task / "events.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
    for more in ((), ("--json",)):
        answer = stage.lhub("status", "--id", task, *more, who="alice")
        assert (answer.code, "the build process died" in answer.out) == (8, True)


WRONG: dict[str, tuple[tuple[str, ...], int]] = {
    "nothing was pushed yet": (("status", "Hello"), 3),
    "a reference that is not here": (("status", "alice/Nothing"), 3),
    "a task that is not here": (("status", "--id", NOBODY), 3),
    "an id that is none": (("status", "--id", "x"), 2),
    "a folder without a name": (("status", "."), 2),
    "what is neither a folder nor a reference": (("status", "./nothing/at/all"), 2),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_told_is_said_in_a_sentence(stage: Stage, wrong: str) -> None:
    words, code = WRONG[wrong]
    answer = stage.lhub(*words, who="alice")
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.startswith("lhub: ")
    assert "hint: " in answer.err


# to follow


@dataclass(frozen=True, kw_only=True)
class Beside:
    """`lhub` that runs while the test goes on; it is waited for at the end of `with`."""

    folder: Path
    crowd: Crowd

    def text(self, name: str = "out") -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def answer(self) -> Answer:
        return Answer(code=self.crowd.answers[0], out=self.text(), err=self.text("err"))

    def until(self, done: Callable[[], bool]) -> None:
        """Wait for something that it does."""
        deadline = time.monotonic() + 30
        while not done():
            assert self.crowd.at_work(), self.text("err")
            assert time.monotonic() < deadline
            time.sleep(0.01)


@contextmanager
def beside(stage: Stage, *words: str, who: str = "alice") -> Iterator[Beside]:
    folder = stage.here.parent / "beside"
    folder.mkdir()
    run = partial(_be_lhub, words, stage.here, stage.environment(who), folder / "out", folder / "err")
    with Crowd(run) as crowd:
        yield Beside(folder=folder, crowd=crowd)


def test_a_running_task_is_followed_to_its_end(stage: Stage, registry: Registry) -> None:
    push(stage)
    with ExitStack() as running, waiting(registry):
        task = detach(stage)
        until(registry, task, "start", "publish")
        follower = running.enter_context(beside(stage, "status", "--id", task, "--replay"))
        follower.until(lambda: "publish: start\n" in follower.text())
        assert "publish: done" not in follower.text()
    lines = [line.split(",")[0] for line in follower.text().splitlines()]
    assert lines[-4:] == ["publish: start", "publish: done", "push: succeeded", "succeeded"]
    assert follower.answer().code == 0


def test_json_with_replay_of_a_running_task_tells_how_it_ended(
    stage: Stage, registry: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    push(stage)
    place, task, running = registry.session.resource("alice", "Hello").folder, new_task_id(time.time()), ExitStack()
    builder = Builder(who="alice", host=registry.session.person.host, note="")
    running.enter_context(begun(Pen(), place, ONE_PERSON, task, builder))

    def end(seconds: float) -> None:
        running.close()  # when it is looked at for the second time

    monkeypatch.setattr("lhub.builds.time", SimpleNamespace(sleep=end, monotonic=time.monotonic, time=time.time))
    monkeypatch.setenv("HOME", str(stage.home / "alice"))
    monkeypatch.setenv("LHUB_ROOT", str(stage.shared))
    code = program.main(["status", "--id", task, "--replay", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (code, told["state"], [shown(event) for event in told["events"]]) == (0, "succeeded", ["push: succeeded"])


# to stop


def cancel_of(stage: Stage, name: str, task: str) -> Path:
    return stage.shared / name / ".lhub/builds" / task / "cancel"


def test_a_cancelled_push_publishes_nothing(stage: Stage, registry: Registry) -> None:
    push(stage, "v1")
    change(stage)
    with ExitStack() as running, waiting(registry):
        task = detach(stage, "-t", "v2")
        until(registry, task, "start", "publish")
        stopping = running.enter_context(beside(stage, "status", "--id", task, "--cancel"))
        stopping.until(cancel_of(stage, "alice/Hello", task).exists)
    assert stopping.answer() == Answer(code=8, out=f"cancelled: the task {task} was cancelled\n", err="")
    assert list(registry.show("alice/Hello:v1").tags) == ["v1"]
    assert len(registry.log("alice/Hello")) == 1


def test_to_cancel_what_is_published_changes_nothing(stage: Stage, registry: Registry) -> None:
    task = push(stage)
    before = snapshot(stage.shared)
    answer = stage.lhub("status", "--id", task, "--cancel", who="alice")
    assert (answer.code, answer.out.split(",")[0]) == (0, "succeeded")
    assert snapshot(stage.shared) == before


def test_nobody_cancels_another_s_build(stage: Stage, registry: Registry) -> None:
    push(stage)
    log_in(stage, "bob")
    with waiting(registry):
        task = detach(stage)
        until(registry, task, "start", "publish")
        answer = stage.lhub("status", "--id", task, "--cancel", who="bob")
    assert (answer.code, "alice is not your namespace" in answer.err) == (4, True)
    assert ended(registry, task).state == "succeeded"


def test_who_has_the_secret_cancels_a_push_without_a_login(stage: Stage, registry: Registry) -> None:
    secret = Registry(stage.shared).push(stage.here / "Hello", tags=["v1"]).secret
    change(stage)
    with ExitStack() as running, waiting(registry, "_/Hello"):
        task = detach(stage, "--force-update", "Hello", "--secret", str(secret), who="guest")
        words = ("status", f"jinahub://Hello:{secret}", "--cancel")
        stopping = running.enter_context(beside(stage, *words, who="guest"))
        stopping.until(cancel_of(stage, "_/Hello", task).exists)
    assert stopping.answer().out == f"cancelled: the task {task} was cancelled\n"


# a push that goes on by itself


def test_a_detached_push_says_how_to_follow_it_and_goes_on(stage: Stage, registry: Registry) -> None:
    push(stage)
    with waiting(registry):
        answer = stage.lhub("push", "Hello", "--detach", who="alice")
        task = registry.build("alice/Hello").task
        assert f"TASK_ID: {task}\nfollow it: lhub status --id {task}\n" in answer.out
        assert registry.build(task_id=task).look().state in ("pending", "running")
    assert ended(registry, task).state == "succeeded"


def test_json_of_a_detached_push_knows_no_version_yet(stage: Stage, registry: Registry) -> None:
    told = stage.lhub("push", "Hello", "--detach", "--json", "-t", "v1", who="alice").json
    assert (told["name"], told["tags"], told["version"], told["path"]) == ("alice/Hello", ["v1"], None, None)
    assert ended(registry, told["task_id"]).version == registry.show("alice/Hello:v1").version


def test_what_can_be_refused_early_is_refused_though_it_is_detached(stage: Stage) -> None:
    (stage.here / "Hello/executor.py").unlink()
    answer = stage.lhub("push", "Hello", "--detach", who="alice")
    assert (answer.code, answer.out) == (2, "")


def push_apart(stage: Stage) -> None:
    Registry(stage.shared, namespace="alice").push(stage.here / "Hello", detach=True)


def test_a_detached_push_returns_at_once_though_the_folder_is_large(stage: Stage, registry: Registry) -> None:
    """A terabyte, of which no file may grow past 2 MB, so that the push itself ends soon too."""

    def push_large() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20))
        push_apart(stage)

    with (stage.here / "Hello/weights.bin").open("wb") as file:
        file.truncate(1 << 40)
    assert together(push_large) == [0]
    build = ended(registry, registry.build("alice/Hello").task)
    assert (build.state, "large" in build.message) == ("failed", True)


@pytest.mark.parametrize("descriptor", [1, 7])
def test_who_waits_for_the_end_of_a_pipe_is_not_kept_waiting(stage: Stage, registry: Registry, descriptor: int) -> None:
    """As `$(lhub push --detach)` does, and make, whose job server hands a pipe down."""
    push(stage)
    before, (ours, theirs) = registry.build("alice/Hello").task, os.pipe()

    def push_with_a_pipe() -> None:
        os.dup2(theirs, descriptor)
        os.close(theirs)
        push_apart(stage)

    with waiting(registry):
        assert together(push_with_a_pipe) == [0]
        os.close(theirs)
        assert select.select([ours], [], [], 20)[0], "it is still open"
        assert os.read(ours, 1) == b""
        task = registry.build("alice/Hello").task
        assert registry.build(task_id=task).look().state in ("pending", "running")
    os.close(ours)
    assert (task != before, ended(registry, task).state) == (True, "succeeded")


def test_a_detached_push_goes_on_when_its_terminal_is_closed(stage: Stage, registry: Registry) -> None:
    push(stage)
    before = registry.build("alice/Hello").task
    with waiting(registry):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside the threads of pytest-xdist
            shell, terminal = pty.fork()
        if shell == 0:
            _push_at_a_terminal(stage)
        assert b"pushed" in os.read(terminal, 100)
        os.close(terminal)
        assert os.waitstatus_to_exitcode(os.waitpid(shell, 0)[1]) == -signal.SIGHUP
        task = registry.build("alice/Hello").task
        until(registry, task, "start", "publish")
    assert (task != before, ended(registry, task).state) == (True, "succeeded")


def _push_at_a_terminal(stage: Stage) -> None:
    """Push, say so, and wait for what is typed next, as a shell does."""
    try:
        push_apart(stage)
        os.write(1, b"pushed")
        signal.alarm(60)
        signal.pause()
    finally:
        os._exit(70)


def test_a_detached_push_is_whole_where_nobody_waits_for_children(stage: Stage, registry: Registry) -> None:
    """Some that start jobs ignore SIGCHLD, which a program inherits."""
    push(stage)

    def answer() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        Registry(stage.shared, namespace="alice").push(stage.here / "Hello", detach=True)

    assert together(answer) == [0]
    assert ended(registry, registry.build("alice/Hello").task).state == "succeeded"


@needs_root
def test_where_no_process_can_be_made_a_detached_push_fails_once(shared: Path) -> None:
    """And its program lives on once, not twice."""
    (shared / "lives").mkdir(mode=0o777)
    (shared / "lives").chmod(0o777)
    source = write_tree(shared / "Hello", HELLO)

    def push_with(processes: int) -> None:
        become(20071)
        alice = Registry(shared / "registry", namespace="alice")
        alice.push(source)
        resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
        try:
            said = f"promised {alice.push(source, detach=True).task_id}"
        except (LhubError, OSError) as error:
            said = f"refused {error}"
        (shared / "lives" / f"{processes} {os.getpid()}").write_text(said)

    for processes in (1, 2):  # the first fork is refused, the second is
        assert together(partial(push_with, processes)) == [0]
    said = {path.name.split()[0]: path.read_text() for path in (shared / "lives").iterdir()}
    assert len(list((shared / "lives").iterdir())) == 2
    assert [text.split()[0] for text in said.values()] == ["refused"] * 2


# without a login


def test_a_detached_push_without_a_login_prints_name_and_secret(stage: Stage, registry: Registry) -> None:
    answer = stage.lhub("push", "Hello", "--detach", "--private", who="guest")
    secret = re.search("^NAME: Hello\nSECRET: ([0-9A-Z-]+) ", answer.out, re.MULTILINE)
    assert secret, answer.out
    (task,) = (stage.shared / "_/Hello/.lhub/builds").iterdir()
    assert ended(registry, task.name).state == "succeeded"
    assert stage.lhub("pull", f"jinahub://Hello:{secret[1]}", "pulled", who="guest").code == 0


def test_the_way_to_follow_it_that_a_push_without_a_login_prints_works(stage: Stage) -> None:
    answer = stage.lhub("push", "Hello", "--detach", "--private", who="guest")
    follow = re.search("^follow it: lhub (.*)$", answer.out, re.MULTILINE)
    assert follow, answer.out
    told = stage.lhub(*follow[1].split(), who="guest")
    assert (told.code, told.out.split()[-3]) == (0, "succeeded,")


@pytest.mark.parametrize("detached", [(), ("--detach",)])
def test_a_name_that_stands_is_refused_with_the_same_sentence(stage: Stage, detached: tuple[str, ...]) -> None:
    Registry(stage.shared).push(stage.here / "Hello")
    answer = stage.lhub("push", "Hello", *detached, who="guest")
    assert (answer.code, "--force-update Hello --secret SECRET" in answer.err) == (5, True)


# to whom


def test_somebody_else_s_public_build_is_told(stage: Stage) -> None:
    task = push(stage)
    log_in(stage, "bob")
    assert [stage.lhub("status", *words, who="bob").code for words in (("--id", task), ("alice/Hello",))] == [0, 0]


def test_somebody_else_s_private_build_answers_as_an_absent_one(stage: Stage) -> None:
    task = push(stage, private=True)
    log_in(stage, "bob")
    for words, absent in ((("--id", task), ("--id", NOBODY)), (("alice/Hello",), ("alice/Absent",))):
        for more in ((), ("--cancel", "--json")):
            answers = [stage.lhub("status", *each, *more, who="bob") for each in (words, absent)]
            assert answers[0].code == 3
            told = [f"{answer.out}{answer.err}" for answer in answers]
            assert told[0].replace(task, NOBODY).replace("Hello", "Absent") == told[1]


@needs_root
def test_another_user_s_private_build_answers_as_an_absent_one(shared: Path) -> None:
    source = write_tree(shared / "Hello", HELLO)

    def push_private() -> None:
        become(20001)
        (shared / "task").write_text(
            Registry(shared / "registry", namespace="alice").push(source, private=True).task_id
        )

    def ask() -> None:
        become(20002)
        registry, task, said = Registry(shared / "registry", namespace="bob"), (shared / "task").read_text(), []
        for what, task_id in (("alice/Hello", None), ("alice/Absent", None), (None, task), (None, NOBODY)):
            try:
                said.append(registry.build(what, task_id=task_id).look().state)
            except LhubError as error:
                said.append(f"{error.code} {error} {error.hint}".replace(task, NOBODY).replace("Hello", "Absent"))
        (shared / "said").write_text("\n".join(said))

    assert together(push_private) == [0]
    assert together(ask) == [0]
    said = (shared / "said").read_text().split("\n")
    assert (said[0], said[2]) == (said[1], said[3])
    assert {line[0] for line in said} == {"3"}


@needs_root
def test_another_user_s_public_build_is_told_and_how_it_ended(shared: Path) -> None:
    source = write_tree(shared / "Hello", HELLO)

    def push_public() -> None:
        become(20001)
        Registry(shared / "registry", namespace="alice").push(source)

    def ask() -> None:
        become(20002)
        watched = Registry(shared / "registry", namespace="bob").build("alice/Hello")
        assert [event["type"] for event in watched.follow(replay=True)][-1] == "succeeded"
        assert watched.look().state == "succeeded"

    assert together(push_public) == [0]
    assert together(ask) == [0]


# places and terminals


@pytest.mark.skipif(not shutil.which("unshare"), reason="there is no unshare here")
@needs_root
def test_a_registry_that_is_mounted_read_only_tells_of_its_builds(stage: Stage) -> None:
    push(stage)
    mount = f"mount --bind {stage.shared} {stage.shared} && mount -o remount,bind,ro {stage.shared}"
    command = f"{mount} || exit 99; ! touch {stage.shared}/x 2>/dev/null && exec lhub status alice/Hello --replay"
    answer = stage.type(f"unshare -m sh -c '{command}'", who="alice")
    if answer.code == 99:
        pytest.skip("no mount can be made here")
    assert (answer.code, answer.out.split()[-3]) == (0, "succeeded,"), answer.err


def forge(stage: Stage, task: str) -> None:
    """Write what moves a cursor into all that a task tells."""
    folder = stage.shared / "alice/Hello/.lhub/builds" / task
    evil = "\x1b]0;title\x07\x1b[2J\r\x9b31m\u202eevil\nsucceeded"
    lines = [
        {"time": 1, "type": evil, "subject": evil, "payload": {evil: evil}},
        {"time": 1, "type": "console", "subject": evil, "payload": evil},
        {"time": 1, "type": "done", "subject": "publish", "payload": {"version": evil, "tags": [evil, {"a": evil}]}},
        {"time": 1, "type": "failed", "subject": "push", "payload": {"message": evil}},
    ]
    (folder / "events.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (folder / "task.yaml").write_text(f"format: 1\nwho: {json.dumps(evil)}\nhost: {json.dumps(evil)}\n")


def test_nothing_that_a_log_holds_moves_a_cursor_or_begins_a_line(stage: Stage) -> None:
    task = push(stage)
    forge(stage, task)
    answer = stage.lhub("status", "--id", task, "--replay", "--verbose", who="alice")
    assert CONTROL.search(f"{answer.out}{answer.err}") is None
    assert [line for line in answer.out.splitlines() if line.startswith("succeeded")] == []
    assert answer.code == 8


def test_a_log_of_deep_and_large_values_is_printed(stage: Stage) -> None:
    task = push(stage)
    log = stage.shared / "alice/Hello/.lhub/builds" / task / "events.jsonl"
    deep = "".join(
        f'{{"time":1,"type":"done","subject":"x","payload":{{"a":{"[" * n}{"]" * n}}}}}\n' for n in (90, 900, 990)
    )
    large = json.dumps({"time": 10**4000, "type": "console", "subject": "x", "payload": "x" * 100_000})
    log.write_text(f"{deep}{large}\n{log.read_text().splitlines()[-1]}\n")
    for more in (("--verbose",), ("--json",)):
        answer = stage.lhub("status", "--id", task, "--replay", *more, who="alice")
        assert (answer.code, answer.err) == (0, "")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def screen(stream: io.StringIO) -> str:
    """What is left on the last line of a terminal; the cursor stands at its beginning, for whoever writes next."""
    return re.split("\r\x1b\\[K", stream.getvalue())[-1].removesuffix("\r")


FAR = {"done": 1, "of": 2, "bytes": 10 << 20, "of_bytes": 40 << 20}


def events() -> Iterator[dict[str, object]]:
    yield {"time": 0.0, "type": "start", "subject": "receive", "payload": None}
    yield {"time": 0.0, "type": "progress", "subject": "receive", "payload": FAR}
    yield {"time": 0.0, "type": "done", "subject": "receive", "payload": {"files": 2}}
    yield {"time": 0.0, "type": "succeeded", "subject": "push", "payload": None}


def test_on_a_terminal_a_push_has_one_line_that_is_gone_at_its_end() -> None:
    stream = Terminal()
    progress, seen = Progress(verbose=False, stream=stream), []
    for event in events():
        progress(event)
        seen.append(screen(stream))
    assert seen == ["receive", "receive 1/2, 10.0 MiB of 40.0 MiB", "receive", ""]
    assert "\n" not in stream.getvalue()


def test_after_a_while_a_rate_and_the_time_that_is_left_are_told() -> None:
    stream = Terminal()
    progress = Progress(stream=stream)
    for when, size in ((0.0, 0), (0.1, 1 << 20), (2.0, 10 << 20), (4.0, 40 << 20)):
        payload = FAR | {"bytes": size}
        progress({"time": when, "type": "progress", "subject": "pull", "payload": payload})
        told = screen(stream)
        if when == 0.1:
            assert told == "pull 1/2, 1.0 MiB of 40.0 MiB"
        if when == 2.0:
            assert told == "pull 1/2, 10.0 MiB of 40.0 MiB at 5.0 MiB/s 0:06 left"
    assert told == "pull 1/2, 40.0 MiB of 40.0 MiB at 10.0 MiB/s"
    progress.end()
    assert screen(stream) == ""


def test_verbose_tells_each_step_on_a_line_of_its_own() -> None:
    stream = Terminal()
    for event in events():
        Progress(verbose=True, stream=stream)(event)
    assert stream.getvalue() == "receive: start\nreceive: done, files 2\npush: succeeded\n"


def test_in_a_pipe_a_push_tells_nothing_of_its_steps(stage: Stage) -> None:
    assert stage.lhub("push", "Hello", who="alice").err == ""


def test_who_stops_reading_a_verbose_push_does_not_stop_the_push(stage: Stage, registry: Registry) -> None:
    def push_unread() -> None:
        with open("/dev/full", "w", buffering=1) as full:
            registry.push(stage.here / "Hello", telling=Progress(verbose=True, stream=full))
            assert list(registry.show("alice/Hello").tags) == ["latest"]
            os._exit(0)  # closing it would fail

    assert together(push_unread) == [0]
