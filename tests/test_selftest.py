"""The selftest: it finds a file system that keeps nothing, believes one that keeps all, and leaves no trace.

A host that keeps less than it should is a peer whose source was changed on its way there: it does one thing wrong.
"""

from __future__ import annotations

import ast
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from lhub import peer as peer_room
from lhub.errors import Denied, LhubError, NotFound, ToolMissing
from lhub.mounts import Mount
from lhub.peer import Failed, Peer
from lhub.registry import Registry
from lhub.selftest import Check, Report
from tests.conftest import Shell
from tests.hosts import folder_for_all
from tests.test_crowds import become, needs_root, together

pytestmark = pytest.mark.slow

LIAR = """
import os, sys
old, new, *words = sys.argv[1:]
source = open(0, "rb", buffering=0, closefd=False).readline().decode()
assert old in source, old
heard, told = os.pipe()
if os.fork():
    os.dup2(heard, 0)
    os.close(told)
    os.execv(sys.executable, [sys.executable, *words[1:]])
for descriptor in (heard, 1, 2):
    os.close(descriptor)
data = source.replace(old, new).encode()
while data:
    while data:
        data = data[os.write(told, data):]
    data = os.read(0, 65536)
"""
EVERYBODYS = "/usr/bin/python3"
needs_python = pytest.mark.skipif(not os.access(EVERYBODYS, os.X_OK), reason="no python3 is there for every user")
HONEST = "env"
"""A command that runs what it is told to, here: the same folder seen by what calls itself another host."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder on this machine's own disk, empty; no registry stands there."""
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def tried(place: Path, *peer: str, peer_root: Path | None = None) -> Report:
    """What is found in a folder, which is as empty as before."""
    report = Registry(place).selftest(peer=peer, peer_root=peer_root)
    assert list(place.iterdir()) == []
    return report


def verdicts(report: Report) -> dict[str, str]:
    return {check.name: check.verdict for check in report.checks}


def liar(tmp_path: Path, old: str, new: str) -> tuple[str, ...]:
    """A command that runs a peer which does one thing otherwise."""
    (tmp_path / "liar.py").write_text(LIAR)
    return sys.executable, str(tmp_path / "liar.py"), old, new


# what keeps everything is believed


def test_the_disk_of_this_machine_keeps_what_lhub_promises(place: Path) -> None:
    report = tried(place)
    found = verdicts(report)
    assert report.ok
    assert {name for name, verdict in found.items() if verdict == "broken"} == set()
    assert {"new names", "locks", "counting", "replacing", "folders", "freshness", "modes", "syncing"} <= found.keys()
    assert report.sentence.startswith("lhub keeps all that it promises here, on this host")


def test_a_peer_that_sees_the_same_folder_is_asked_as_well(place: Path) -> None:
    report = tried(place, HONEST)
    assert report.ok
    assert report.peer == os.uname().nodename
    assert report.sentence.startswith("lhub keeps all that it promises here, also between the two hosts")
    assert next(check.seen for check in report.checks if check.name == "new names").startswith("200 names, 3 at each")


def test_the_same_folder_may_lie_elsewhere_over_there(place: Path, tmp_path: Path) -> None:
    (tmp_path / "mnt").symlink_to(place)
    assert tried(place, HONEST, peer_root=tmp_path / "mnt").ok


def test_every_check_says_what_was_seen_and_what_that_means(place: Path) -> None:
    checks = tried(place).checks
    assert [check for check in checks if not check.seen or not check.means] == []
    assert {check.verdict for check in checks} <= {"ok", "weak", "broken", "unasked"}


# what keeps less is found

WRONG: dict[str, tuple[str, str, str, str]] = {  # what the peer's source says, what instead, the check, its verdict
    "locks that hold nothing": ("fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)", "None", "locks", "weak"),
    "creation that is not exclusive": ("os.O_EXCL | os.O_NOFOLLOW", "os.O_NOFOLLOW", "new names", "broken"),
    "links that stay as they were first seen": (
        "os.readlink,",
        "lambda path, seen={}: seen.setdefault(path, os.readlink(path)),",
        "freshness",
        "broken",
    ),
    "files that are seen half": ("text == text[:8] * 512", "text == text[:8]", "replacing", "broken"),
    "names that fail beside a rename": (
        "os.readlink(f\"{folder}/link\")", "os.readlink(f\"{folder}/no\")", "replacing", "weak"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_host_that_keeps_less_is_found(place: Path, tmp_path: Path, name: str) -> None:
    old, new, check, verdict = WRONG[name]
    report = tried(place, *liar(tmp_path, old, new))
    assert verdicts(report)[check] == verdict
    assert not report.ok
    assert check in report.sentence or "does not promise" in report.sentence


def test_a_lock_that_holds_nothing_costs_the_order_of_pushes_and_no_more(place: Path, tmp_path: Path) -> None:
    report = tried(place, *liar(tmp_path, *WRONG["locks that hold nothing"][:2]))
    assert report.sentence == (
        "lhub works here, nothing tears or vanishes, but it does not promise between writers: --expect, and which of "
        "two pushes came last"
    )


def test_clocks_that_differ_are_told_and_cost_no_promise(place: Path, tmp_path: Path) -> None:
    report = tried(place, *liar(tmp_path, "time.time()", "(time.time() + 3600)"))
    [clocks] = [check for check in report.checks if check.name == "clocks"]
    assert (clocks.verdict, report.ok) == ("weak", True)
    assert "the peer +3600" in clocks.seen


def test_what_a_mount_says_by_itself_is_told_first(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soft = Mount("/mnt", "nfs4", "nas:/", frozenset({"rw", "soft"}))
    monkeypatch.setattr("lhub.selftest.mount_of", lambda path: soft)
    report = tried(place)
    assert (report.checks[0].name, report.checks[0].verdict) == ("mount", "weak")
    assert report.sentence.endswith("it does not promise that what was pushed stays")


# users


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that every user reaches and may write in."""
    with folder_for_all() as folder:
        yield Path(folder)


USERS = {"privacy", "others' names", "others' files", "groups", "others' links", "root"}


@needs_root
def test_root_asks_as_ordinary_users_what_they_may(open_place: Path) -> None:
    report = tried(open_place)
    found = verdicts(report)
    assert report.ok
    assert {name: found.get(name) for name in USERS} == dict.fromkeys(USERS, "ok")


@needs_root
def test_where_no_ordinary_user_gets_to_nothing_is_said_of_users(open_place: Path) -> None:
    place = open_place / "closed" / "place"
    place.mkdir(parents=True)
    place.parent.chmod(0o700)
    found = {check.name: check for check in tried(place).checks}
    assert found["privacy"].verdict == "unasked"
    assert found["privacy"].seen == "not asked: an ordinary user cannot reach this folder"


@needs_root
@needs_python
def test_an_ordinary_user_is_told_who_could_ask_of_users(open_place: Path) -> None:
    answer = open_place / "answer"
    folder = open_place / "place"
    folder.mkdir()
    os.chown(folder, 20001, 20001)

    def ask() -> None:
        become(20001)
        sys.executable = EVERYBODYS  # this one may lie where only root gets to
        answer.write_text(json.dumps(tried(folder).to_dict()))

    tried(folder)  # loads what another user may not be able to
    assert together(ask) == [0]
    report = json.loads(answer.read_text())
    assert report["ok"]
    [privacy] = [check for check in report["checks"] if check["name"] == "privacy"]
    assert privacy["verdict"] == "unasked"
    assert privacy["seen"] == "not asked: needs root, or a peer that is another user"


# where it cannot be tried


def test_a_folder_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere is not there"):
        Registry(tmp_path / "nowhere").selftest()


@needs_root
@needs_python
def test_a_folder_in_which_one_may_not_write_is_refused(open_place: Path) -> None:
    folder = open_place / "roots"
    folder.mkdir(mode=0o755)

    def ask() -> None:
        become(20001)
        sys.executable = EVERYBODYS
        with pytest.raises(Denied, match="takes nothing new: Permission denied"):
            Registry(folder).selftest()

    assert together(ask) == [0]


def test_a_peer_that_sees_another_folder_is_told_so(place: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(LhubError, match="the peer does not find") as caught:
        tried(place, HONEST, peer_root=tmp_path / "other")
    assert "--peer-root" in caught.value.hint
    assert list(place.iterdir()) == []


# no trace


def started(place: Path, *words: str) -> subprocess.Popen[bytes]:
    """`lhub selftest` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "lhub", "selftest", "--root", str(place), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def wait_for(event: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not event():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def inside(place: Path) -> list[int]:
    """The processes that stand in a folder, or below."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            cwd = os.readlink(process / "cwd")
        except OSError:
            continue
        if cwd.startswith(str(place)):
            found.append(int(process.name))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells where a process stands")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
@pytest.mark.parametrize("when", ["", "/race"], ids=["as it begins", "in the middle"])
def test_whatever_ends_it_leaves_no_folder_and_no_process(place: Path, end: signal.Signals, when: str) -> None:
    with started(place, "--peer", HONEST) as program:
        wait_for(lambda: len(list(place.glob(f".tmp.selftest.*{when}"))) == 1)
        program.send_signal(end)
        code = program.wait(timeout=30)
        assert program.stderr
        assert b"Traceback" not in program.stderr.read()
    assert code == (-end if end is signal.SIGKILL else 128 + end)
    wait_for(lambda: not list(place.iterdir()) and not inside(place))


# the command


def test_the_command_prints_a_table_and_a_sentence(shell: Shell, place: Path) -> None:
    answer = shell("selftest", "--root", place)
    assert (answer.code, answer.err) == (0, "")
    assert len(answer.out.splitlines()) > 15
    assert answer.out.splitlines()[-1].startswith("lhub keeps all that it promises here")


def test_the_command_as_json(shell: Shell, place: Path) -> None:
    answer = shell("selftest", "--root", place, "--json")
    assert answer.json.keys() == {"ok", "root", "mount", "peer", "checks", "promise"}
    assert answer.json["checks"][0].keys() == {"name", "verdict", "seen", "means", "lost"}


def test_a_promise_that_is_not_kept_is_exit_1(shell: Shell, place: Path, tmp_path: Path) -> None:
    words = liar(tmp_path, "text == text[:8] * 512", "not text")
    answer = shell("selftest", "--root", place, "--peer", " ".join(f"'{word}'" for word in words))
    assert answer.code == 1
    assert answer.out.splitlines()[-1] == "lhub cannot keep a registry here: replacing broken"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--peer", ""), 2, "--peer is empty"),
        (("--peer", "'a"), 2, "--peer has a quote that is not closed"),
        (("--peer-root", "/mnt"), 2, "--peer-root without --peer has nothing to say"),
        (("--peer", "/nowhere/ssh host"), 9, "/nowhere/ssh cannot be run: No such file or directory"),
        (("--peer", "false"), 1, "the peer ended before it answered"),
    ],
)
def test_words_that_lead_nowhere_get_a_sentence(
    shell: Shell, place: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    answer = shell("selftest", "--root", place, *words)
    assert (answer.code, answer.err.splitlines()[0]) == (code, f"lhub: {said}")
    assert list(place.iterdir()) == []


# values


def report(*checks: Check) -> Report:
    return Report(root="/mnt", mount=None, peer=None, checks=checks)


def test_what_is_weak_and_costs_nothing_is_no_failure() -> None:
    assert report(Check(name="links", verdict="weak", seen="92", means="copies")).ok


def test_what_is_weak_and_costs_a_promise_is_a_failure_that_names_it_once() -> None:
    lost = partial(Check, verdict="weak", seen="x", means="y", lost="that it rains")
    found = report(lost(name="a"), lost(name="b"))
    assert not found.ok
    assert found.sentence == "lhub works here, nothing tears or vanishes, but it does not promise that it rains"


def test_what_is_broken_is_named() -> None:
    broken = partial(Check, verdict="broken", seen="x", means="y")
    assert report(broken(name="locks"), broken(name="names")).sentence.endswith("here: locks, names broken")


# the peer


def test_a_peer_s_source_is_what_python_3_8_reads_and_has_no_import_of_lhub_but_for_errors() -> None:
    text = Path(peer_room.__file__).read_text(encoding="ascii")
    tree = ast.parse(text, feature_version=(3, 8))
    tops = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in tops}
    assert {str(name).partition(".")[0] for name in names} <= sys.stdlib_module_names
    late = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} - names
    assert late == {"lhub.errors"}


def test_a_peer_says_who_and_where_it_is() -> None:
    with Peer() as second:
        assert (second.host["uid"], second.host["host"]) == (os.geteuid(), os.uname().nodename)


def test_the_words_of_a_login_shell_are_passed_over() -> None:
    with Peer(["sh", "-c", 'echo "Welcome! You have mail."; echo warning >&2; exec "$@"', "sh"]) as second:
        assert second.do(["mode", "/nowhere"])[0].error == "ENOENT"


def test_a_peer_that_does_not_come_up_is_given_up_and_its_last_words_are_told() -> None:
    began = time.monotonic()
    with pytest.raises(LhubError, match="the peer did not come up in time: Password:") as caught:
        Peer(["sh", "-c", "echo Password: >&2; sleep 60"], name="the peer", patience=1.0)
    assert "BatchMode" in caught.value.hint
    assert time.monotonic() - began < 20


def test_a_host_without_python_is_a_tool_that_is_missing() -> None:
    with pytest.raises(ToolMissing, match="the peer has no python3"):
        Peer(["sh", "-c", "exec /nowhere/python3 2>/dev/null"], name="the peer")


def test_a_peer_that_takes_too_long_is_ended() -> None:
    with Peer() as second, pytest.raises(LhubError, match="did not answer in time"):
        second.ask("wait", [["mode", "/nowhere"]], [True], 60.0, limit=1)


def test_a_peer_that_dies_is_told_so(tmp_path: Path) -> None:
    dying = liar(
        tmp_path, "def _who() -> dict[str, Any]:", "def _who(die=lambda: os.kill(os.getpid(), 9)): die()\\ndef _n():"
    )
    with pytest.raises(LhubError, match="ended before it answered"):
        Peer(dying)


def test_an_answer_to_a_question_that_was_given_up_is_passed_over() -> None:
    with Peer() as second:
        second.start("wait", [["mode", "/nowhere"]], [True], 60.0)
        assert second.ask("who")["uid"] == os.geteuid()


def test_what_a_verb_cannot_do_is_an_error_of_its_own(tmp_path: Path) -> None:
    with Peer() as second, pytest.raises(Failed) as caught:
        second.ask("enter", str(tmp_path / "nowhere"))
    assert caught.value.errno == errno.ENOENT


@needs_root
def test_a_peer_that_is_another_user_is_he_from_the_start() -> None:
    with Peer(uid=20001) as second:
        assert second.host["uid"] == 20001
        assert second.do(["list", "/root"])[0].error == "EACCES"
