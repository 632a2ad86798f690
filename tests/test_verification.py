"""Verify: all that one may see is looked at, whatever is wrong with some of it; nothing is written or disturbed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from lhub.disk import Pen
from lhub.errors import LhubError, NotFound, UsageError
from lhub.layout import link_to
from lhub.opening import digest_of
from lhub.registry import Registry
from lhub.verification import Finding, Verified
from tests import by_hand
from tests.by_hand import CASES, Kept, ended, flip, instead, make_kept
from tests.conftest import Shell, as_caller, config_yml, executor_py, snapshot, without_pyrage, write_tree
from tests.rooms import load_all
from tests.test_crowds import Crowd, become, needs_root, together

kept, hurried = by_hand.kept, by_hand.hurried

load_all()  # once here: another user may not read the folder that lhub lies in


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """What the tests copy: alice/X with two versions, alice/Y, bob/Public, bob/Private, and Small, hidden."""
    place = tmp_path_factory.mktemp("origin")
    kept = make_kept(place)
    small = write_tree(place / "small", {".gitignore": "#\n", "small.txt": "small\n"})
    kept.registry.push(small, "Y")
    bob = as_caller(kept.registry, "bob")
    bob.push(small, "Public")
    bob.push(write_tree(place / "secret", {".gitignore": "#\n", "secret.txt": "secret\n"}), "Private", private=True)
    write_tree(small, {"config.yml": config_yml("Small"), "executor.py": executor_py("Small")})
    with without_pyrage():  # so that a byte of it can be looked for, and flipped
        as_caller(kept.registry, None).push(small, "Small", secret="sesame-sesame", private=True)
    return kept


def other(kept: Kept, name: str) -> Path:
    """The folder of another resource."""
    return kept.registry.root / name


def payload(kept: Kept, name: str) -> Path:
    """The one file of the one version of another resource."""
    [found] = other(kept, name).glob(".lhub/versions/*/files/s*.txt")
    return found


def hurt(kept: Kept, *names: str) -> None:
    """Flip a byte in each of these resources: a version's file and its blob are one."""
    for name in names:
        flip(payload(kept, name))


def refs(verified: Verified) -> set[str]:
    """The names of what something is wrong with."""
    return {finding.ref.partition("@")[0].partition(":")[0] for finding in verified.findings}


# what is looked at


def test_everything_that_one_may_see_is_verified(kept: Kept) -> None:
    hurt(kept, "alice/Y", "bob/Public")
    flip(kept.payload("run.sh"))
    assert refs(kept.registry.verify()) == {"alice/X", "alice/Y", "bob/Public"}


def test_a_resource_alone_is_verified_alone(kept: Kept) -> None:
    hurt(kept, "alice/Y")
    assert kept.registry.verify("alice/X").ok
    assert not kept.registry.verify("alice/Y").ok


def test_a_tag_or_a_version_is_verified_alone(kept: Kept) -> None:
    flip(kept.payload("run.sh"))
    assert kept.registry.verify("alice/X:v1").ok
    assert not kept.registry.verify("alice/X:latest").ok
    assert not kept.registry.verify(f"alice/X@{kept.id()[:8]}").ok
    assert not kept.registry.verify("alice/X@{2199-01-01}").ok


@pytest.mark.parametrize("ref", ["alice/X:latest", "alice/X:v1"])
def test_a_tag_whose_version_is_gone_is_not_well(kept: Kept, ref: str) -> None:
    with kept.by_hand():
        shutil.rmtree(kept.version(ref.partition(":")[2]))
    verified = kept.registry.verify(ref)
    assert (verified.ok, len(verified.findings)) == (False, 1)


def test_what_is_not_here_is_not_found(kept: Kept) -> None:
    for ref in ("alice/Nothing", "alice/X:v9", "alice/X@00000000", "carol/X", "jinaai://alice/X"):
        with pytest.raises(NotFound):
            kept.registry.verify(ref)


def test_what_one_may_not_see_is_not_verified_and_not_named(kept: Kept) -> None:
    hurt(kept, "bob/Private", "bob/Public")
    for caller in ("alice", None):
        registry = as_caller(kept.registry, caller)
        assert refs(registry.verify()) == {"bob/Public"}
        assert "Private" not in json.dumps(registry.verify().to_dict())
        with pytest.raises(NotFound, match="is not here"):
            registry.verify("bob/Private")
    assert refs(as_caller(kept.registry, "bob").verify()) == {"bob/Public", "bob/Private"}


def test_what_is_hidden_is_verified_with_its_secret(kept: Kept) -> None:
    hurt(kept, "_/Small")
    registry = as_caller(kept.registry, None)
    assert not registry.verify("jinahub://Small:sesame-sesame").ok
    with pytest.raises(NotFound):
        registry.verify("jinahub://Small:another-secret")


def test_an_empty_registry_is_well(registry: Registry) -> None:
    assert registry.verify() == Verified()


def test_a_registry_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no registry at"):
        Registry(tmp_path / "nowhere", namespace="alice").verify()


def test_several_registries_are_looked_up_in_their_order(kept: Kept, tmp_path: Path) -> None:
    mine = Registry(tmp_path / "mine", also=[kept.registry.root], namespace="alice")
    mine.push(write_tree(tmp_path / "z", {".gitignore": "#\n", "z.txt": "z\n"}), "Z")
    flip(kept.payload("run.sh"))
    assert not mine.verify("alice/X").ok
    assert mine.verify("alice/Z").ok


# nothing of it stops the rest


HARD = [
    "the manifest is a FIFO", "SHA256SUMS is huge", "resource.yaml is a link", "resource.yaml is of a newer format",
    "there are no versions", "a tagged version is missing", "the diary does not read", "a blob is a link",
]  # fmt: skip


@pytest.mark.parametrize("name", HARD)
def test_whatever_is_wrong_with_one_resource_the_others_are_verified(kept: Kept, name: str) -> None:
    with kept.by_hand():
        CASES[name].deed(kept)
    hurt(kept, "alice/Y", "bob/Public")
    assert refs(kept.registry.verify()) == {"alice/X", "alice/Y", "bob/Public"}


@pytest.mark.parametrize("name", [*HARD, "resource.yaml is missing", "a blob is missing", "a pin leads out"])
def test_every_finding_says_what_to_do(kept: Kept, name: str) -> None:
    with kept.by_hand():
        CASES[name].deed(kept)
    findings = kept.registry.verify("alice/Y").findings + kept.registry.verify().findings
    assert [finding for finding in findings if not finding.hint] == []
    assert findings


AWAY: dict[str, Callable[[Path], object]] = {
    "its inside is gone": lambda path: shutil.rmtree(path / ".lhub"),
    "its inside is a file": lambda path: instead(path / ".lhub", lambda inside: inside.write_text("")),
    "its versions are a file": lambda path: instead(path / ".lhub/versions", lambda inside: inside.write_text("")),
    "its diary is a file": lambda path: instead(path / ".lhub/history.git", lambda inside: inside.write_text("")),
    "its blobs are a file": lambda path: instead(
        path / ".lhub/history.git/lfs/objects", lambda inside: inside.write_text("")
    ),
    "its kind is a folder": lambda path: instead(path / "resource.yaml", Path.mkdir),
}


@pytest.mark.parametrize("name", AWAY)
def test_of_a_resource_that_was_taken_apart_it_is_said_and_the_others_are_verified(kept: Kept, name: str) -> None:
    with kept.by_hand():
        AWAY[name](kept.path)
    hurt(kept, "alice/Y")
    verified = kept.registry.verify()
    assert refs(verified) == {"alice/X", "alice/Y"}
    assert [finding.problem for finding in verified.findings if "Errno" in finding.problem] == []


@pytest.mark.parametrize("name", AWAY)
def test_a_repair_goes_on_after_what_was_taken_apart(kept: Kept, name: str) -> None:
    with kept.by_hand():
        AWAY[name](kept.path)
    hurt(kept, "alice/Y")  # whose text the diary has
    verified = kept.registry.verify(repair=True)
    assert any(finding.ref.startswith("alice/Y") for finding in verified.repaired)


# what is answered


def test_the_answer_counts_files_and_bytes(kept: Kept) -> None:
    verified = kept.registry.verify("alice/Y")
    assert (verified.ok, verified.checked, verified.quick) == (True, 4, False)  # two files and their blobs
    assert verified.bytes == len("#\n") + len("small\n")
    quick = kept.registry.verify("alice/Y", quick=True)
    assert (quick.ok, quick.checked, quick.bytes, quick.quick) == (True, 4, 0, True)


def test_a_finding_names_the_version_what_is_wrong_and_what_to_do(kept: Kept) -> None:
    flip(kept.payload("run.sh"))
    [finding] = kept.registry.verify().findings
    assert finding == Finding(
        ref=f"alice/X@{kept.id()}",
        problem="run.sh is not what was published",
        hint="lhub verify alice/X --repair looks for a good copy",
    )


def test_of_another_s_the_owner_is_named_as_who_can_mend(kept: Kept) -> None:
    hurt(kept, "bob/Public")
    assert {finding.hint for finding in kept.registry.verify().findings} == {
        "its owner can mend it with lhub verify --repair"
    }


def test_the_answer_as_a_document(kept: Kept) -> None:
    flip(kept.payload("run.sh"))
    document = kept.registry.verify("alice/X:latest").to_dict()
    assert list(document) == ["ok", "checked", "bytes", "quick", "findings", "repaired", "remarks"]
    assert (document["ok"], document["checked"], document["repaired"]) == (False, 5, [])
    [finding] = json.loads(json.dumps(document))["findings"]
    assert sorted(finding) == ["hint", "problem", "ref"]


def test_what_was_repaired_is_told_beside_what_was_not(kept: Kept) -> None:
    flip(kept.payload("run.sh"))
    flip(kept.payload("weights.bin"))
    document = kept.registry.verify("alice/X", repair=True).to_dict()
    assert document["ok"] is False
    assert "weights.bin is not what was published" in str(document["findings"])


def test_an_answer_without_findings_is_well() -> None:
    assert Verified().ok
    assert not Verified(findings=(Finding(ref="alice/X", problem="x", hint=""),)).ok
    assert Verified(repaired=(Finding(ref="alice/X", problem="x", hint=""),)).ok


def test_a_quick_repair_is_refused_before_anything_is_looked_at(kept: Kept) -> None:
    with pytest.raises(UsageError, match="repairs nothing"):
        kept.registry.verify(quick=True, repair=True)


def test_a_registry_with_good_copies_is_of_no_use_without_a_repair(kept: Kept, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--repair"):
        kept.registry.verify(good=tmp_path)


def test_a_registry_with_good_copies_that_is_not_there_is_said_though_nothing_is_wrong(
    kept: Kept, tmp_path: Path
) -> None:
    with pytest.raises(NotFound, match="there is no registry at"):
        kept.registry.verify(repair=True, good=tmp_path / "nowhere")


def test_another_s_diary_is_not_rebuilt_and_that_is_said(kept: Kept) -> None:
    before = snapshot(other(kept, "bob/Public"))
    with pytest.raises(LhubError) as error:
        kept.registry.verify("bob/Public", rebuild_history=True)
    assert error.value.code == 4
    assert snapshot(other(kept, "bob/Public")) == before


# the command line


def test_the_command_ends_with_6_and_says_what_to_do(kept: Kept, shell: Shell) -> None:
    flip(kept.payload("run.sh"))
    answer = shell("verify", "alice/X", LHUB_ROOT=str(kept.registry.root))
    assert answer.code == 6
    assert answer.out.split("\n")[:2] == [
        f"alice/X@{kept.id()[:12]}: run.sh is not what was published",
        "  its owner can mend it with lhub verify --repair",
    ]


def test_a_quick_command_says_that_it_looked_only_at_names_and_sizes(kept: Kept, shell: Shell) -> None:
    answer = shell("verify", "--quick", LHUB_ROOT=str(kept.registry.root))
    assert (answer.code, "only their names and sizes were looked at" in answer.out) == (0, True)


def test_a_hostile_name_does_not_reach_the_terminal(kept: Kept, shell: Shell) -> None:
    with kept.by_hand():
        for name in (b"\x1b[31mred", b"\xff\xfe", b"line\nbreak"):
            os.close(os.open(os.fsencode(kept.version() / "files") + b"/" + name, os.O_CREAT, 0o444))
    for words in (("verify",), ("verify", "--json")):
        answer = shell(*words, LHUB_ROOT=str(kept.registry.root))
        assert (answer.code, "\x1b" in answer.out, "line\nbreak" in answer.out) == (6, False, False)
        assert answer.out.count("was not published") == 3


# nothing is written, nobody is disturbed


def test_verifying_writes_nothing(kept: Kept) -> None:
    with kept.by_hand():
        for name in ("a file is missing", "the diary lags by a tag", "a protected tag has no link"):
            CASES[name].deed(kept)
    before = snapshot(kept.registry.root)
    for caller in ("alice", "bob", None):
        assert not as_caller(kept.registry, caller).verify().ok
    assert snapshot(kept.registry.root) == before


def test_a_repair_of_what_is_whole_writes_nothing(kept: Kept) -> None:
    before = snapshot(kept.registry.root)
    assert kept.registry.verify(repair=True) == kept.registry.verify()
    assert snapshot(kept.registry.root) == before


class Halting(Pen):
    """A pen that waits before a step until it is let go on; who asks is told when it has come there."""

    def __init__(self, verb: str) -> None:
        self.verb, self.there, self.go = verb, threading.Event(), threading.Event()

    def step(self, verb: str, path: str) -> None:
        if verb == self.verb and not self.there.is_set():
            self.there.set()
            self.go.wait(10)


@contextmanager
def halted(pen: Halting, deed: Callable[[], object]) -> Iterator[None]:
    """While somebody is in the middle of something."""
    thread = threading.Thread(target=deed)
    thread.start()
    try:
        assert pen.there.wait(10)
        yield
    finally:
        pen.go.set()
        thread.join()


def told(kept: Kept) -> list[str]:
    return [finding.problem for finding in kept.registry.verify("alice/X").findings]


@pytest.mark.parametrize("verb", ["copy_in", "rename", "symlink", "write_new"])
def test_a_push_at_any_step_before_its_tags_is_no_damage(kept: Kept, tmp_path: Path, verb: str) -> None:
    pen = Halting(verb)
    source = write_tree(tmp_path / "more", {".gitignore": "#\n", "new.txt": "new\n", "run.sh": "#!/bin/sh\n"})
    (source / "run.sh").chmod(0o755)
    with halted(pen, lambda: as_caller(kept.registry, "alice", pen=pen).push(source, "X", tags=["v3"])):
        assert told(kept) == []
    assert told(kept) == []


def test_a_diary_does_not_lag_while_a_long_push_makes_its_resource_private(kept: Kept, tmp_path: Path) -> None:
    """The mode is set before the first byte is copied, the diary is told after the last."""
    pen = Halting("copy_in")
    source = write_tree(tmp_path / "more", {".gitignore": "#\n", "new.txt": "new\n"})
    with halted(pen, lambda: as_caller(kept.registry, "alice", pen=pen).push(source, "X", private=True)):
        assert told(kept) == []
    assert told(kept) == []


def test_a_diary_that_is_just_being_written_does_not_lag(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tag stands, git is at work for longer than a pause, and the lock is held meanwhile."""
    monkeypatch.setattr("lhub.checkup._PAUSE", 0.05)
    pen = Halting("fast-import")
    with halted(pen, lambda: as_caller(kept.registry, "alice", pen=pen).tag("alice/X", "v3")):
        letting_go = threading.Timer(0.3, pen.go.set)
        letting_go.start()
        problems = told(kept)
        letting_go.join()
    assert problems == []


def changing(root: Path, place: Path, turns: int) -> None:
    """Push, tag and untag."""
    registry = Registry(root, namespace="alice", timeout=60)
    for turn in range(turns):
        source = write_tree(place, {".gitignore": "#\n", "turn.txt": f"{turn}\n", "deep/same.txt": "same\n"})
        registry.push(source, "Busy", tags=["latest", f"v{turn}"])
        with suppress(LhubError):  # deleted meanwhile
            registry.tag("alice/Busy", "moving")
            registry.untag(f"alice/Busy:v{turn - 1}")


def coming_and_going(root: Path, turns: int) -> None:
    """Delete and restore."""
    registry = Registry(root, namespace="alice", timeout=60)
    for _ in range(turns):
        with suppress(LhubError):
            registry.delete("alice/Y")
        with suppress(LhubError):
            registry.restore("alice/Y")


def collecting(root: Path, turns: int) -> None:
    for _ in range(turns):
        Registry(root, namespace="alice", timeout=60).gc(grace=600)


@pytest.mark.slow
def test_beside_pushes_untags_deletions_and_collections_nothing_is_called_damaged(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lhub.checkup._PAUSE", 2.0)  # on a busy machine git takes its time
    root, told = kept.registry.root, list[Finding]()
    rounds = 0
    with Crowd(
        partial(changing, root, tmp_path / "busy", 6),
        partial(coming_and_going, root, 6),
        partial(collecting, root, 4),
    ) as crowd:
        while crowd.at_work() or rounds < 2:
            told += kept.registry.verify(quick=rounds % 2 == 1).findings
            rounds += 1
    assert crowd.answers == [0, 0, 0]
    assert told == []
    assert kept.registry.verify().ok


def test_a_resource_that_is_deleted_meanwhile_is_passed_over(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    deeds: list[Callable[[], object]] = [lambda: kept.registry.delete("alice/X", unprotect=["v1"])]
    read = digest_of

    def meanwhile(descriptor: int) -> tuple[str, int]:
        if deeds:
            deeds.pop()()
        return read(descriptor)

    monkeypatch.setattr("lhub.checkup.digest_of", meanwhile)
    assert kept.registry.verify().ok


# people whom the kernel knows


@pytest.fixture
def shared(kept: Kept) -> Iterator[Path]:
    """A registry that two users share, in a folder that every user may enter."""
    flip(kept.payload("run.sh"))
    kept.registry.verify(repair=True)  # once here: what Python loads late lies where another user may not read
    folder = Path(tempfile.mkdtemp(prefix="lhub-verify-"))
    folder.chmod(0o1777)
    registry = Registry(folder / "registry")
    registry.init()
    registry.root.chmod(0o1777)
    write_tree(folder / "source", {".gitignore": "#\n", "a.txt": "a\n", "sub/b.txt": "b\n"})
    yield folder
    shutil.rmtree(folder)


def push_as(uid: int, namespace: str, shared: Path) -> None:
    become(uid)
    Registry(shared / "registry", namespace=namespace).push(shared / "source", "X")


def verify_as(uid: int, namespace: str, shared: Path, *, repair: bool = False) -> None:
    become(uid)
    verified = Registry(shared / "registry", namespace=namespace).verify(repair=repair)
    (shared / f"answer-{uid}").write_text(json.dumps(verified.to_dict()))


CLOSED = [
    ".lhub", ".lhub/versions", ".lhub/versions/*", ".lhub/versions/*/files", ".lhub/versions/*/files/sub",
    ".lhub/versions/*/files/a.txt", ".lhub/versions/*/manifest.yaml", ".lhub/versions/*/SHA256SUMS",
    ".lhub/history.git", ".lhub/history.git/objects", ".lhub/history.git/objects/pack", ".lhub/history.git/refs/heads",
    ".lhub/history.git/refs/heads/main", ".lhub/history.git/lfs/objects", ".lhub/history.git/lfs/objects/*",
    ".lhub/history.git/lfs/objects/*/*/*", "resource.yaml",
]  # fmt: skip


@needs_root
def test_what_another_user_closed_is_told_and_the_rest_is_verified(shared: Path) -> None:
    """Public by its folder, but somebody's umask or hand closed a part of it."""
    assert together(partial(push_as, 20001, "alice", shared), partial(push_as, 20002, "bob", shared)) == [0, 0]
    [damaged] = (shared / "registry/bob/X").glob(".lhub/versions/*/files/sub/b.txt")
    damaged.write_text("B\n")
    wrong: dict[str, object] = {}
    for place in CLOSED:
        found = list((shared / "registry/alice/X").glob(place))
        modes = {path: path.stat().st_mode & 0o7777 for path in found}
        for path in found:
            path.chmod(0o000)
        codes = together(partial(verify_as, 20002, "bob", shared))
        for path, mode in modes.items():
            path.chmod(mode)
        answer = json.loads((shared / "answer-20002").read_text()) if codes == [0] else {"findings": []}
        names = {finding["ref"].partition("@")[0] for finding in answer["findings"]}
        if codes != [0] or not names >= {"bob/X"} or not names <= {"alice/X", "bob/X"} or "alice/X" not in names:
            wrong[place] = codes if codes != [0] else sorted(names)
    assert wrong == {}


@needs_root
def test_a_repair_changes_nothing_of_another_user_s(shared: Path) -> None:
    assert together(partial(push_as, 20001, "alice", shared), partial(push_as, 20002, "bob", shared)) == [0, 0]
    for namespace in ("alice", "bob"):
        [path] = (shared / "registry" / namespace / "X").glob(".lhub/versions/*/files/sub/b.txt")
        path.write_text("B\n")
    before = snapshot(shared / "registry" / "alice")
    assert together(partial(verify_as, 20002, "bob", shared, repair=True)) == [0]
    answer = json.loads((shared / "answer-20002").read_text())
    assert snapshot(shared / "registry" / "alice") == before
    assert {finding["ref"].partition("@")[0] for finding in answer["findings"]} == {"alice/X"}
    assert {finding["ref"].partition("@")[0] for finding in answer["repaired"]} == {"bob/X"}


# strangers


def bomb(kept: Kept) -> None:
    """A diary of ten small trees that unfold into ten thousand million files."""

    def git(*words: str, given: str = "") -> str:
        quiet = ["-c", "user.name=bob", "-c", "user.email=bob"]
        done = subprocess.run(
            ["git", "-C", kept.diary, *quiet, *words], input=given, capture_output=True, check=True, text=True
        )
        return done.stdout.strip()

    entry, kind, mode = git("hash-object", "-w", "--stdin", given="x"), "blob", "100644"
    for _ in range(10):
        entry = git("mktree", given="".join(f"{mode} {kind} {entry}\tf{number}\n" for number in range(10)))
        kind, mode = "tree", "040000"
    tip = git("commit-tree", "-p", "main", "-m", "push alice/X\n\nAction: other", entry)
    (kept.diary / "refs/heads/main").write_text(f"{tip}\n")


def test_a_diary_that_unfolds_without_end_keeps_nobody_waiting(kept: Kept) -> None:
    bomb(kept)
    assert ended(lambda: as_caller(kept.registry, "bob").verify(), 5)


@pytest.mark.parametrize("place", ["objects", "objects/pack", "objects/xx"])
def test_a_link_among_a_diary_s_objects_keeps_nobody_waiting(kept: Kept, tmp_path: Path, place: str) -> None:
    tip = (kept.diary / "refs/heads/main").read_text().strip()
    with kept.by_hand():
        for path in kept.diary.glob("objects/pack/*"):
            path.unlink()
    folder = kept.diary / place.replace("xx", tip[:2])
    outside = tmp_path / "outside"
    outside.mkdir()
    names = {"objects": f"{tip[:2]}/{tip[2:]}", "objects/pack": "pack-1.idx", "objects/xx": tip[2:]}
    (outside / names[place]).parent.mkdir(exist_ok=True)
    os.mkfifo(outside / names[place])
    if folder.exists():
        shutil.rmtree(folder)
    folder.symlink_to(outside)
    for deed in (kept.registry.verify, lambda: kept.registry.log("alice/X")):
        assert ended(deed, 5)


def test_a_link_where_the_inside_should_be_is_told(kept: Kept, tmp_path: Path) -> None:
    (kept.path / ".lhub").rename(tmp_path / "outside")
    (kept.path / ".lhub").symlink_to(tmp_path / "outside")
    assert refs(kept.registry.verify()) == {"alice/X"}


def test_a_tag_of_nothing_is_told_with_where_to_look(kept: Kept) -> None:
    (kept.path / "v9").symlink_to(link_to("0" * 64))
    [finding] = [finding for finding in kept.registry.verify("alice/X").findings if finding.ref == "alice/X:v9"]
    assert finding.hint.startswith("lhub ")
