"""Old registries are opened for ever, and damaged ones get the answer that they must get."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Answer, config_yml, executor_py, read_tree, snapshot, write_tree
from tests.make_fixtures import FEARS, FIXTURES, SECRET, SOURCE, as_then, diary_lags, main
from tests.test_stories import Stage, run_lhub

ANSWERS: dict[str, dict[str, Any]] = yaml.safe_load((FIXTURES / "broken" / "answers.yaml").read_text(encoding="utf-8"))
REFUSED = sorted(fear for fear, answers in ANSWERS.items() if answers["pull"][0] != 0)
READ = ["list", "show alice/X", "pull alice/X out", "log alice/X"]
LOOK = [*READ, "verify", "doctor"]
KEYS = ["doctor", "list", "log", "pull", "push", "repair", "show", "verify"]
"""The questions that each fear has an answer to."""
PATIENCE = 20
"""Seconds after which a command is said to hang."""


def unpack(archive: Path, folder: Path) -> Path:
    """A registry out of its tar, with its modes and links, and owned by who unpacks it."""
    folder.mkdir()
    subprocess.run(["tar", "-xpf", archive, "--no-same-owner", "-C", folder], check=True)
    return folder


class Place(Stage):
    """A home, a folder, and a registry out of a tar."""

    def __init__(self, folder: Path, archive: Path, login: str | None) -> None:
        super().__init__(folder)
        self.root = unpack(archive, folder / "registry")
        write_tree(self.here / "X", SOURCE)
        if login:
            write_tree(self.home, {".lhub/login": f"{login}\n"})

        self.answers: dict[str, Answer] = {}

    def ask_once(self, words: str) -> Answer:
        """What lhub answered the first time: for tests that only read, and share a place."""
        if words not in self.answers:
            self.answers[words] = self.ask(words)
        return self.answers[words]

    def ask(self, words: str) -> Answer:
        """Run lhub at that registry; what hangs is killed."""
        environment = self.environment("") | {"LHUB_ROOT": str(self.root)}
        return run_lhub(words.split(), self.here, environment, patience=PATIENCE)


# the whole one

WHOLE = {
    "Unnamed": ("executor", "public", ["latest"]),
    "alice/Hello": ("executor", "public", ["latest", "stable", "v1", "v2"]),
    "alice/Secret": ("files", "private", ["latest"]),
    "bob/Odd-Names_1.0": ("files", "public", ["2026.1"]),
}
ODD = [
    "#hash",
    "-dash",
    "[a]*?",
    "back\\slash",
    "deep/er/and/deeper",
    "name with spaces",
    "quo\"te'",
    "ünï/cödé",
    "日本語",
]


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[Place]:
    """registry-1.tar, for alice."""
    yield Place(tmp_path.resolve(), FIXTURES / "registry-1.tar", "alice")


def test_a_registry_of_format_1_is_listed(whole: Place) -> None:
    lines = whole.ask("list --json").json
    assert {line["name"]: (line["kind"], line["visibility"], sorted(line["tags"])) for line in lines} == WHOLE


def test_a_registry_of_format_1_keeps_its_versions(whole: Place) -> None:
    shown = whole.ask("show alice/Hello --json").json
    v1, v2 = (shown["tags"][tag] for tag in ("v1", "v2"))
    assert v1 == "61c62724417a831cf4ef853aa1857f444eaea5a38c03d9913a51063d2f3a63a3"
    assert v2 == "ef2153e8529d72241ca765880dd43d17d6099063c1f2d550016a9e34df62a981"
    assert shown["tags"] == {"latest": v2, "stable": v1, "v1": v1, "v2": v2}
    assert shown["protected_tags"] == ["v1"]


def test_what_was_pushed_into_format_1_comes_out_byte_for_byte(whole: Place) -> None:
    for tag, number in (("v1", b"1"), ("v2", b"2")):
        assert whole.ask(f"pull jinaai://alice/Hello:{tag} {tag}").code == 0
        assert read_tree(whole.here / tag) == {
            "config.yml": b"jtype: Hello\nmetas:\n  name: Hello\n  keywords: [a, b]\n",
            "empty": b"",
            "executor.py": b"class Hello:\n    version = " + number + b"\n",
            "requirements.txt": b"jina\n",
            "scripts/run.sh": b"#!/bin/sh\necho hello\n",
            "weights.bin": bytes(range(256)) * 4,
        }


def test_execute_bits_come_out_of_format_1(whole: Place) -> None:
    assert whole.ask("pull alice/Hello out").code == 0
    executable = [name for name in read_tree(whole.here / "out") if os.access(whole.here / "out" / name, os.X_OK)]
    bits = [name for name in executable if stat.S_IMODE((whole.here / "out" / name).stat().st_mode) & 0o100]
    assert bits == ["scripts/run.sh"]


def test_odd_names_come_out_of_format_1(whole: Place) -> None:
    assert whole.ask("pull bob/Odd-Names_1.0:2026.1 odd").code == 0
    assert read_tree(whole.here / "odd") == {name: f"{name}\n".encode() for name in ODD}


def test_what_has_no_namespace_comes_out_of_format_1_with_its_secret(whole: Place) -> None:
    whole.ask("logout")
    assert whole.ask("pull jinahub://Hidden/v1 hidden").code == 3
    assert whole.ask(f"pull jinahub://Hidden:{SECRET}/v1 hidden").code == 0
    assert whole.ask("pull jinahub://Unnamed unnamed").code == 0
    assert read_tree(whole.here / "hidden") == read_tree(whole.here / "unnamed") == {"config.yml": b"jtype: Small\n"}


def test_the_diary_of_format_1_is_read(whole: Place) -> None:
    told = [
        (entry["action"], entry["who"], entry["tags"], entry["message"])
        for entry in whole.ask("log alice/Hello --json").json
    ]
    assert told == [
        ("untag", "alice", ["gone"], ""),
        ("tag", "alice", ["gone"], ""),
        ("tag", "alice", ["stable"], ""),
        ("push", "alice", ["v2", "latest"], "more than one line\n\nwith a paragraph, and: colons"),
        ("push", "alice", ["v1", "latest"], "the first release"),
    ]


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_coreutils_verify_every_version_of_format_1(whole: Place) -> None:
    sums = sorted(whole.root.glob("*/*/.lhub/versions/*/SHA256SUMS"))
    assert len(sums) == 6
    for each in sums:
        done = subprocess.run(
            ["sha256sum", "--strict", "-c", each], cwd=each.parent / "files", capture_output=True, check=True
        )
        assert done.stdout.count(b": OK\n") == len(each.read_text(encoding="utf-8").splitlines())


def test_a_reader_leaves_a_registry_of_format_1_as_it_was(whole: Place) -> None:
    before = snapshot(whole.root)
    for words in (
        "list",
        "show alice/Hello",
        "log alice/Hello",
        "pull alice/Hello out",
        "path bob/Odd-Names_1.0:2026.1",
    ):
        assert whole.ask(words).code == 0
    assert snapshot(whole.root) == before


def test_what_came_out_of_format_1_goes_in_again_as_the_same_version(whole: Place) -> None:
    version = whole.ask("show alice/Secret --json").json["version"]
    whole.ask("pull alice/Secret Secret")
    pushed = whole.ask("push Secret Secret -t again --json").json
    assert (pushed["new"], pushed["version"]) == (False, version)


def test_an_executor_of_format_1_that_names_no_files_of_its_class_comes_out_and_is_told_so_when_it_goes_in(
    whole: Place,
) -> None:
    assert whole.ask("pull alice/Hello:v1 Hello").code == 0
    answer = whole.ask("push Hello")
    assert (answer.code, "config.yml has no py_modules" in answer.err) == (2, True)


def test_a_registry_of_format_1_takes_a_push_and_keeps_what_it_had(whole: Place) -> None:
    before = whole.ask("show alice/Hello:v1 --json").json
    whole.ask("pull alice/Hello:v1 Hello")
    write_tree(whole.here / "Hello", {"config.yml": config_yml("Hello"), "executor.py": executor_py("Hello")})
    assert whole.ask("push Hello").code == 0
    after = whole.ask("show alice/Hello:v1 --json").json
    assert [after[key] for key in ("version", "manifest", "protected_tags")] == [
        before[key] for key in ("version", "manifest", "protected_tags")
    ]
    assert len(whole.ask("log alice/Hello --json").json) == 6


# the broken ones


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lhub.checkup._PAUSE", 0.0)  # nobody else changes anything; lhub runs in forks of this process


def alice_at(fear: str, folder: Path) -> Place:
    """A damaged registry, for alice, who made it."""
    return Place(folder.resolve(), FIXTURES / "broken" / f"{fear}.tar", "alice")


@pytest.fixture
def broken(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A damaged registry of one's own, into which the very folder may go that it was made of."""
    with as_then():
        yield alice_at(request.param, tmp_path)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Place:
    """A damaged registry for several tests that only read."""
    return alice_at(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.slow
@pytest.mark.parametrize("damaged", ANSWERS, indirect=True)
def test_a_look_changes_nothing_of_a_damaged_registry(damaged: Place) -> None:
    before = stamps(damaged.root)
    for words in LOOK:
        damaged.ask_once(words)
    assert stamps(damaged.root) == before


@pytest.mark.parametrize("damaged", ANSWERS, indirect=True)
@pytest.mark.parametrize("words", LOOK)
def test_a_damaged_registry_gets_its_answer(damaged: Place, words: str, request: pytest.FixtureRequest) -> None:
    code, sentence = ANSWERS[request.node.callspec.params["damaged"]][words.partition(" ")[0]]
    answer = damaged.ask_once(words)
    assert (answer.code, sentence in answer.out + answer.err) == (code, True), answer.out + answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("damaged", ["blob-flipped", "missing-file", "newer-format", "version-missing"], indirect=True)
def test_a_quick_look_says_that_it_was_one_and_finds_no_more_than_a_long_one(damaged: Place) -> None:
    quick, long = damaged.ask_once("verify --quick"), damaged.ask_once("verify")
    assert (quick.code, "only their names and sizes" in quick.out) in ((6, True), (0, True), (1, False))
    assert quick.code in (0, long.code)


@pytest.mark.parametrize("damaged", REFUSED, indirect=True)
def test_a_refused_pull_leaves_nothing_at_the_destination(damaged: Place) -> None:
    before = sorted(os.listdir(damaged.here))
    assert damaged.ask("pull alice/X nothing").code != 0
    assert sorted(os.listdir(damaged.here)) == before


def stamps(root: Path) -> dict[str, tuple[int, ...]]:
    """What changes when anything below a folder does, without reading 100 MiB."""
    paths = {str(path): path.lstat() for path in (root, *root.rglob("*"))}
    return {path: (status.st_mode, status.st_ino, status.st_size, status.st_ctime_ns) for path, status in paths.items()}


@pytest.mark.parametrize("broken", ["manifest-python-tag", "resource-yaml-python-tag"], indirect=True)
def test_code_in_a_document_never_runs(broken: Place) -> None:
    for words in (*READ, "path alice/X", "push X", "tag alice/X v2", "visibility alice/X private"):
        broken.ask(words)
    assert list(broken.here.parent.rglob("pwned")) == []


@pytest.mark.slow
@pytest.mark.parametrize("broken", ANSWERS, indirect=True)
def test_the_next_push_mends_or_says_why_it_cannot(broken: Place, request: pytest.FixtureRequest) -> None:
    answers = ANSWERS[request.node.callspec.params["broken"]]
    code, sentence = answers["push"]
    answer = broken.ask("push X")
    assert (answer.code, sentence in answer.out + answer.err) == (code, True), answer.out + answer.err
    if code == 0:
        lost = answers["log"][0] != 0  # a push of the same content changes nothing, so it tells the diary nothing
        after = {words: broken.ask(words) for words in (READ[:-1] if lost else READ)}
        assert {words: answer.code for words, answer in after.items()} == dict.fromkeys(after, 0)
        assert read_tree(broken.here / "out") == {name: str(text).encode() for name, text in SOURCE.items()}
        assert "damaged" not in after["list"].out


@pytest.mark.slow
@pytest.mark.parametrize("broken", ANSWERS, indirect=True)
def test_a_repair_mends_or_says_why_it_cannot_and_the_next_is_quiet(
    broken: Place, request: pytest.FixtureRequest
) -> None:
    code, sentence = ANSWERS[request.node.callspec.params["broken"]]["repair"]
    answer = broken.ask("verify --repair")
    assert (answer.code, sentence in answer.out + answer.err) == (code, True), answer.out + answer.err
    again = broken.ask("verify --repair")
    assert (again.code, "repaired" in again.out) == (code, False), again.out
    if code == 0:
        assert broken.ask("pull alice/X:v1 out").code == 0
        assert read_tree(broken.here / "out") == {name: str(text).encode() for name, text in SOURCE.items()}


@pytest.mark.parametrize("broken", ["unfinished-push"], indirect=True)
def test_the_next_push_sweeps_what_a_killed_one_left(broken: Place) -> None:
    assert [*broken.root.rglob(".tmp.*")]
    assert broken.ask("push X").code == 0
    assert [*broken.root.rglob(".tmp.*")] == []


@pytest.mark.parametrize("broken", ["pin-without-tag"], indirect=True)
def test_the_next_push_makes_a_pin_s_tag(broken: Place) -> None:
    assert broken.ask("push X").code == 0
    resource = broken.root / "alice" / "X"
    assert os.readlink(resource / "v1") == os.readlink(resource / ".protected.v1")


@pytest.mark.parametrize("broken", ["diary-unreadable"], indirect=True)
def test_the_next_change_begins_an_unreadable_diary_anew_and_keeps_the_old_tip(broken: Place) -> None:
    write_tree(broken.here / "X", {"executor.py": "another\n"})
    assert broken.ask("push X").code == 0
    told = [entry["tags"] for entry in broken.ask("log alice/X --json").json]
    assert told == [["latest"], ["latest", "v1"]]  # the push, and before it what the links told
    assert len([*broken.root.glob("alice/X/.lhub/history.git/unreadable.*")]) == 1


@pytest.mark.parametrize("broken", ["diary-unreadable"], indirect=True)
def test_a_diary_begun_anew_is_whole_and_goes_on(broken: Place) -> None:
    for turn in range(2):
        write_tree(broken.here / "X", {"executor.py": f"turn = {turn}\n"})
        assert broken.ask("push X").code == 0
    told = [(entry["action"], entry["tags"]) for entry in broken.ask("log alice/X --json").json]
    assert told[:2] == [("push", ["latest"])] * 2
    assert any("v1" in tags for _, tags in told[2:])
    diary = broken.root / "alice" / "X" / ".lhub" / "history.git"
    clone = broken.type(f"GIT_LFS_SKIP_SMUDGE=1 git clone -q {diary} clone && cat clone/files/executor.py")
    assert (clone.code, clone.out) == (0, "turn = 1\n"), clone.err


@pytest.mark.parametrize("broken", ["junk-names"], indirect=True)
def test_junk_is_neither_listed_nor_removed(broken: Place) -> None:
    before = snapshot(broken.root)
    assert [line["name"] for line in broken.ask("list --json").json] == ["alice/X"]
    assert broken.ask("push X").code == 0
    assert sorted(before.keys() - snapshot(broken.root).keys()) == []


@pytest.mark.parametrize("broken", ["payload-is-link"], indirect=True)
def test_a_link_in_a_version_leads_nobody_to_another_s_file(broken: Place) -> None:
    answer = broken.ask("pull alice/X out --force")
    assert (answer.code, Path("/etc/hostname").read_text().strip() in answer.out) == (6, False)


@pytest.mark.parametrize("broken", ["executable-bit-lost"], indirect=True)
def test_who_pulls_has_the_execute_bit_that_was_published(broken: Place) -> None:
    assert broken.ask("pull alice/X out").code == 0
    assert os.access(broken.here / "out" / "run.sh", os.X_OK)
    assert stat.S_IMODE((broken.here / "out" / "run.sh").stat().st_mode) & 0o100


@pytest.mark.parametrize("broken", ["version-in-trash-only"], indirect=True)
def test_the_next_change_brings_back_what_a_tag_names(broken: Place) -> None:
    assert broken.ask("tag alice/X v2").code == 0
    assert len(versions(broken.root)) == 1
    assert [*broken.root.rglob(".trash.*")] == []


@pytest.mark.parametrize("broken", ["unfinished-collection"], indirect=True)
def test_the_next_collection_goes_on_with_what_was_left(broken: Place) -> None:
    assert broken.ask("gc --yes").code == 0
    assert [*broken.root.rglob(".gone.*")] == []
    assert len(versions(broken.root)) == 1


@pytest.mark.parametrize("broken", ["seen-note-of-tagged-version"], indirect=True)
def test_a_collection_forgets_the_note_of_a_version_that_is_tagged(broken: Place) -> None:
    assert broken.ask("gc --yes --grace 10m").code == 0
    assert [*broken.root.rglob(".seen.*")] == []
    assert broken.ask("verify").code == 0


@pytest.mark.parametrize("broken", ["quarantined-blob"], indirect=True)
def test_what_is_in_quarantine_stays_for_its_grace(broken: Place) -> None:
    assert broken.ask("gc --yes").code == 0
    assert len([*broken.root.glob("alice/X/.lhub/damaged/*")]) == 1


@pytest.mark.parametrize("broken", ["diary-lags"], indirect=True)
def test_the_next_change_tells_the_diary_what_it_missed(broken: Place) -> None:
    assert broken.ask("tag alice/X v3").code == 0
    assert [entry["tags"] for entry in broken.ask("log alice/X --json").json] == [["v3"], ["v2"], ["latest", "v1"]]


@pytest.mark.parametrize("broken", ["deleted-resource-in-trash"], indirect=True)
def test_what_was_deleted_comes_back(broken: Place) -> None:
    assert broken.ask("show alice/Y").code == 3
    assert broken.ask("restore alice/Y").code == 0
    assert (broken.ask("pull alice/Y out").code, broken.ask("verify").code) == (0, 0)


@pytest.mark.parametrize("broken", ["clock-in-the-future"], indirect=True)
def test_a_version_of_tomorrow_is_young_and_stays(broken: Place) -> None:
    broken.ask("untag alice/X:latest")
    assert broken.ask("gc --yes --grace 10m").code == 0
    assert len(versions(broken.root)) == 1


# how they are kept


def test_every_fear_has_its_tar_and_its_answers() -> None:
    fears = sorted(fear.__name__.replace("_", "-") for fear in FEARS)
    tars = sorted(path.stem for path in (FIXTURES / "broken").glob("*.tar"))
    assert fears == tars == sorted(ANSWERS)
    assert all(sorted(answers) == KEYS for answers in ANSWERS.values())


def test_the_tars_are_small() -> None:
    tars = [*FIXTURES.glob("*.tar"), *FIXTURES.glob("broken/*.tar")]
    assert sum(tar.stat().st_size for tar in tars) < 1_000_000


def test_a_kept_registry_is_never_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [tmp_path / "registry-1.tar", tmp_path / "broken" / "diary-lags.tar"]
    write_tree(tmp_path, {"registry-1.tar": "kept", "broken/diary-lags.tar": "kept"})
    monkeypatch.setattr("tests.make_fixtures.FIXTURES", tmp_path)
    monkeypatch.setattr("tests.make_fixtures.FEARS", (diary_lags,))
    assert main() == 1
    assert [path.read_bytes() for path in kept] == [b"kept", b"kept"]


@pytest.mark.skipif(sys.platform != "linux", reason="the script that makes them needs GNU tar")
def test_the_script_makes_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.make_fixtures.FIXTURES", tmp_path)
    monkeypatch.setattr("tests.make_fixtures.FEARS", FEARS[-1:])
    assert main() == 0
    made, kept = (
        unpack(archive / "registry-1.tar", tmp_path / name) for archive, name in ((tmp_path, "a"), (FIXTURES, "b"))
    )
    assert versions(made) == versions(kept) != []


def versions(root: Path) -> list[str]:
    """Every published version below a root."""
    return sorted(str(path.relative_to(root)) for path in root.glob("*/*/.lhub/versions/*"))
