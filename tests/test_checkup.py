"""The checkup: every sort of damage is found, named once, and nothing that is whole is called damaged."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lhub.checkup import Damage, Tally, examine, lagging
from lhub.disk import Pen
from lhub.layout import link_to
from lhub.opening import digest_of, digest_text
from tests import by_hand
from tests.by_hand import (
    CASES,
    HOSTILE,
    VERSION_CASES,
    WEIGHTS,
    Kept,
    aside,
    copy_of,
    ended,
    flip,
    instead,
    little_room,
    publish,
    tagged_in_trash,
    untagged,
    zero_the_diary,
)
from tests.conftest import snapshot, write_tree

origin, kept, hurried = by_hand.origin, by_hand.kept, by_hand.hurried


# every sort of damage


def expect(problems: list[str], patterns: list[str]) -> None:
    """Each pattern names one problem, and each problem is named by one."""
    unmatched = list(problems)
    for pattern in patterns:
        found = next((problem for problem in unmatched if re.fullmatch(pattern, problem)), None)
        assert found is not None, f"{pattern!r} is not among {problems}"
        unmatched.remove(found)
    assert unmatched == [], "told besides"


@pytest.fixture(scope="module")
def hurt(origin: Kept, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Kept]:
    """A resource with the damage of this name, made once for all who only look."""
    made: dict[str, Kept] = {}

    def make(name: str) -> Kept:
        if name not in made:
            made[name] = copy_of(origin, tmp_path_factory.mktemp("hurt") / "registry")
            with made[name].by_hand():
                CASES[name].deed(made[name])
        return made[name]

    return make


@pytest.mark.parametrize("name", CASES)
def test_every_sort_of_damage_is_found_and_named_once(hurt: Callable[[str], Kept], name: str) -> None:
    expect(hurt(name).problems(), CASES[name].full)


@pytest.mark.parametrize("name", CASES)
def test_a_quick_look_finds_what_names_sizes_and_documents_tell(hurt: Callable[[str], Kept], name: str) -> None:
    expect(hurt(name).problems(quick=True), CASES[name].quick)


@pytest.mark.parametrize("name", VERSION_CASES)
def test_a_version_s_damage_is_found_by_looking_at_it_alone_and_not_in_another(
    hurt: Callable[[str], Kept], name: str
) -> None:
    kept = hurt(name)
    own, other = kept.damages(only=kept.id()), kept.damages(only=kept.id("v1"))
    assert {damage.version for damage in own} == {kept.id()}
    assert other == []


def test_looking_at_a_version_that_is_gone_says_that_it_is_not_there(kept: Kept) -> None:
    version = kept.id()
    with kept.by_hand():
        shutil.rmtree(kept.version())
    assert [damage.version for damage in kept.damages(only=version)] == [version]


def test_a_finding_names_its_version_or_tag_as_a_reference(kept: Kept) -> None:
    with kept.by_hand():
        flip(kept.payload("run.sh"))
        (kept.path / "out").symlink_to("/etc")
    assert sorted(damage.ref("alice/X") for damage in kept.damages()) == ["alice/X:out", f"alice/X@{kept.id()}"]


# any byte


def everything(kept: Kept) -> Iterator[Path]:
    """Every file whose bytes are published: documents, payloads, blobs, the kind; each inode once."""
    seen: set[int] = set()
    for path in sorted(
        [kept.path / "resource.yaml", *kept.path.glob(".lhub/versions/**/*"), *kept.diary.glob("lfs/**/*")]
    ):
        if path.is_file() and not path.is_symlink() and path.stat().st_ino not in seen and path.stat().st_size:
            seen.add(path.stat().st_ino)
            yield path


def test_a_flipped_byte_is_found_wherever_it_is(kept: Kept) -> None:
    found: dict[str, bool] = {}
    for path in everything(kept):
        with kept.by_hand():
            flip(path)
        found[str(path.relative_to(kept.path))] = bool(kept.damages())
        with kept.by_hand():
            flip(path)
    assert [path for path, seen in found.items() if not seen] == []
    assert len(found) > 12
    assert kept.damages() == []


def test_a_missing_file_is_found_by_a_quick_look_wherever_it_is(kept: Kept) -> None:
    found: dict[str, bool] = {}
    for path in everything(kept):
        spare = kept.path.parent / "spare"
        with kept.by_hand():
            path.rename(spare)
        found[str(path.relative_to(kept.path))] = bool(kept.damages(quick=True))
        with kept.by_hand():
            spare.rename(path)
    assert [path for path, seen in found.items() if not seen] == []
    assert kept.damages() == []


# what is no damage


def to_trash(kept: Kept) -> None:
    """A version without a tag in the trash, damaged: it was put there for that."""
    version = untagged(kept)
    with kept.by_hand():
        flip(aside(kept, version) / "files" / "run.sh")
        aside(kept, version).rename(aside(kept, f".trash.1767225600.{version}"))


def pack(kept: Kept) -> None:
    """What a person may do to a repository that he owns."""
    quiet = ["-c", "gc.auto=0", "-c", "core.fsync=none"]
    for words in (["pack-refs", "--all"], ["repack", "-a", "-d", "-q"]):
        subprocess.run(["git", "-C", kept.diary, *quiet, *words], check=True, capture_output=True)
    assert not (kept.diary / "refs/heads/main").exists()


WHOLE: dict[str, Callable[[Kept], object]] = {
    "as it was pushed": lambda kept: None,
    "a version without a tag": untagged,
    "a damaged version in the trash": to_trash,
    "a tagged version in the trash": tagged_in_trash,
    "a collection's note": lambda kept: aside(kept, f".seen.{kept.id()}").write_text(""),
    "half a collection": lambda kept: write_tree(aside(kept, ".gone.host-1-ab"), {"files/a.txt": "half"}),
    "half a push": lambda kept: write_tree(aside(kept, ".tmp.host-1-ab"), {"files/a.txt": "half"}),
    "a quarantine": lambda kept: write_tree(kept.path / ".lhub/damaged", {"1767225600." + "0" * 64: "bad"}),
    "no derived file": lambda kept: (kept.path / ".lhub/recorded.json").unlink(),
    "a diary that its owner packed": pack,
    "a clock in the future": lambda kept: os.utime(kept.path / "latest", (4e9, 4e9), follow_symlinks=False),
    "files of a desktop": lambda kept: (kept.path / ".DS_Store").write_text(""),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("quick", [False, True])
def test_what_is_whole_is_not_called_damaged(kept: Kept, name: str, quick: bool) -> None:
    with kept.by_hand():
        WHOLE[name](kept)
    assert kept.problems(quick=quick) == []


def test_a_damaged_version_in_the_trash_is_found_while_a_tag_names_it(kept: Kept) -> None:
    with kept.by_hand():
        flip(kept.payload("run.sh"))
        tagged_in_trash(kept)
    assert kept.problems() == ["run.sh is not what was published"]


# what is looked at


def test_looking_writes_nothing(kept: Kept) -> None:
    with kept.by_hand():
        for name in ("a byte flipped", "a protected tag has no link", "the diary lags by a tag"):
            CASES[name].deed(kept)
    before = snapshot(kept.path)
    assert len(kept.problems()) == 4
    assert snapshot(kept.path) == before


def test_each_content_is_hashed_once(kept: Kept) -> None:
    tally = Tally()
    assert list(examine(kept.resource, tally)) == []
    sizes = {
        path.stat().st_ino: path.stat().st_size for path in everything(kept) if re.search("/files/|/lfs/", str(path))
    }
    assert tally.bytes == sum(sizes.values())
    assert tally.files == 5 + 5 + 6  # of both versions, and the blobs


def test_a_quick_look_reads_no_byte_of_a_file(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lhub.checkup.digest_of", lambda descriptor: pytest.fail("a file was read"))
    tally = Tally(quick=True)
    assert list(examine(kept.resource, tally)) == []
    assert (tally.bytes, tally.files) == (0, 16)


def test_a_file_that_changed_since_it_was_hashed_is_hashed_again(tmp_path: Path) -> None:
    tally, digests = Tally(), []
    for text in ("one", "another"):
        (tmp_path / "file").write_text(text)  # the same inode, as when a new file gets that of a removed one
        descriptor = os.open(tmp_path / "file", os.O_RDONLY)
        digests.append(tally.digest(descriptor, os.fstat(descriptor)))
        os.close(descriptor)
    assert digests == [digest_text(b"one"), digest_text(b"another")]


# disks and strangers


def failing_on(path: Path, number: int) -> Callable[[int], tuple[str, int]]:
    """A disk that answers with an error where one file lies, by whatever name."""
    inode = path.stat().st_ino

    def read(descriptor: int) -> tuple[str, int]:
        if os.fstat(descriptor).st_ino == inode:
            raise OSError(number, os.strerror(number))
        return digest_of(descriptor)

    return read


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
@pytest.mark.parametrize("path", ["weights.bin", "run.sh"])
def test_a_sector_that_cannot_be_read_is_a_finding_and_not_the_end(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, path: str, number: int
) -> None:
    with kept.by_hand():
        kept.payload("sub/b.txt", "v1").unlink()
    monkeypatch.setattr("lhub.checkup.digest_of", failing_on(kept.payload(path), number))
    problems = kept.problems()
    assert any(problem.startswith(path) for problem in problems)
    assert "sub/b.txt is missing" in problems


@pytest.mark.parametrize("path", ["weights.bin", "run.sh"])
def test_a_file_that_was_stale_for_a_moment_is_no_damage(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    fails, left = failing_on(kept.payload(path), errno.ESTALE), [errno.ESTALE] * 2

    def read(descriptor: int) -> tuple[str, int]:
        try:
            return fails(descriptor)
        except OSError:
            if left:
                raise OSError(left.pop(), "stale") from None
            return digest_of(descriptor)

    monkeypatch.setattr("lhub.checkup.digest_of", read)
    assert kept.problems() == []
    assert not left


def test_a_blob_that_another_host_takes_meanwhile_is_no_damage(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = kept.path / ".lhub/history.git/lfs/objects/ab/cd" / f"abcd{'0' * 60}"
    blob.parent.mkdir(parents=True)
    blob.write_text("loose")
    monkeypatch.setattr("lhub.checkup.digest_of", failing_on(blob, errno.ESTALE))
    assert kept.problems() == []


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_version_under_the_right_digests_is_told_and_nothing_outside_is_read(kept: Kept, name: str) -> None:
    version = publish(kept, HOSTILE[name])
    damages = [damage for damage in kept.damages() if "diary" not in damage.problem and not damage.blob]
    assert {damage.version for damage in damages} == {version}
    assert len(damages) <= 7


def test_folders_without_end_are_a_finding_and_not_the_end(kept: Kept) -> None:
    with kept.by_hand():
        write_tree(kept.version() / "files", {"d/" * 120 + "x": "deep"})
    with little_room(100):
        assert {damage.version for damage in kept.damages()} == {kept.id()}


def test_a_fifo_among_the_diary_s_objects_keeps_nobody_waiting(kept: Kept) -> None:
    with kept.by_hand():
        for path in kept.diary.glob("objects/pack/*.pack"):
            instead(path, os.mkfifo)
    assert ended(kept.damages, 5)
    expect(kept.problems(), ["the diary of alice/X does not read.*"])


# beside others


def test_what_a_writer_completes_meanwhile_does_not_lag(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    (kept.path / "v2").symlink_to(link_to(kept.id()))
    monkeypatch.setattr("lhub.checkup._PAUSE", 0.01)
    sleep = time.sleep

    def meanwhile(seconds: float) -> None:
        monkeypatch.setattr("lhub.checkup.time.sleep", sleep)
        kept.registry.tag("alice/X", "v3")

    monkeypatch.setattr("lhub.checkup.time.sleep", meanwhile)
    assert lagging([kept.resource]) == {}


def test_what_stays_so_lags(kept: Kept) -> None:
    (kept.path / "v2").symlink_to(link_to(kept.id()))
    assert lagging([kept.resource]) == {kept.resource: "v2"}


def after_the_first(deed: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let something happen while the first file is hashed."""
    deeds = [deed]

    def read(descriptor: int) -> tuple[str, int]:
        for each in deeds[:1]:
            deeds.clear()
            each()
        return digest_of(descriptor)

    monkeypatch.setattr("lhub.checkup.digest_of", read)


def test_a_version_that_a_collection_takes_meanwhile_is_no_damage(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    version = untagged(kept)

    def take() -> None:
        gone = aside(kept, version).rename(aside(kept, ".gone.host-1-ab"))
        Pen().remove_tree(str(gone))

    after_the_first(take, monkeypatch)
    assert kept.damages(only=version) == []
    assert kept.problems() == []


def test_a_version_that_goes_to_the_trash_and_comes_back_meanwhile_is_no_damage(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_the_first(lambda: tagged_in_trash(kept), monkeypatch)
    assert kept.problems() == []
    after_the_first(lambda: kept.registry.tag("alice/X:v1", "v2"), monkeypatch)
    assert kept.problems() == []


def test_a_push_and_an_untag_meanwhile_are_no_damage(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = write_tree(tmp_path / "more", {".gitignore": "#\n", "c.txt": "three\n"})
    after_the_first(lambda: kept.registry.push(more, "X", tags=["latest", "v3"]), monkeypatch)
    assert kept.problems() == []
    after_the_first(lambda: kept.registry.untag("alice/X:v3"), monkeypatch)
    assert kept.problems() == []


def test_a_version_that_another_repairs_meanwhile_is_told_as_it_was_or_not_at_all(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kept.by_hand():
        flip(kept.payload("run.sh"))
    after_the_first(lambda: kept.registry.verify("alice/X", repair=True), monkeypatch)
    assert set(kept.problems()) <= {"run.sh is not what was published"}


def test_a_quarantined_blob_is_found_as_missing_and_only_once(kept: Kept) -> None:
    with kept.by_hand():
        Path(kept.resource.folder.damaged).mkdir()
        kept.blob("weights.bin").rename(f"{kept.resource.folder.damaged}/1767225600.x")
    assert [damage.blob for damage in kept.damages()] == [digest_text(WEIGHTS)]


def test_a_damage_says_where_it_is() -> None:
    damage = Damage(problem="x", version="0" * 64, tag="v1")
    assert damage.ref("alice/X") == "alice/X:v1"
    assert Damage(problem="x").ref("alice/X") == "alice/X"


def test_what_does_not_read_is_said_of_the_diary_and_of_nothing_else(kept: Kept) -> None:
    with kept.by_hand():
        zero_the_diary(kept)
    assert lagging([kept.resource]) == {}
    assert [(damage.version, damage.blob, damage.tag) for damage in kept.damages()] == [(None, None, None)]
    assert kept.damages()[0].hint
