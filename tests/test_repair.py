"""Repair: what can be mended is as it was published, by copies that are proved good, and the rest is told."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lhub.commits import log
from lhub.diary import replay
from lhub.disk import Pen
from lhub.errors import LhubError, LockTimeout
from lhub.layout import is_version, link_to, trashed
from lhub.lock import held
from lhub.opening import digest_text
from lhub.registry import Registry
from lhub.store import Resource
from lhub.tags import Links
from lhub.verification import Verified
from tests import by_hand
from tests.by_hand import (
    HOSTILE,
    SOURCE,
    VERSION_CASES,
    WEIGHTS,
    Kept,
    another_file,
    aside,
    copy_of,
    ended,
    flip,
    instead,
    kept_at,
    moved_away,
    overwrite,
    publish,
    remove_object,
    resize,
    tagged_in_trash,
    untagged,
    zero_the_diary,
)
from tests.conftest import as_caller, config_yml, executor_py, read_tree, snapshot, write_tree

origin, kept, hurried = by_hand.origin, by_hand.kept, by_hand.hurried

MIB = 1 << 20


@pytest.fixture
def backup(origin: Kept, tmp_path: Path) -> Kept:
    """Another registry with the same, whole."""
    return copy_of(origin, tmp_path / "backup")


def repair(kept: Kept, *, good: Kept | None = None) -> Verified:
    return kept.registry.verify(repair=True, good=good.registry.root if good else None)


def told(verified: Verified) -> list[str]:
    """What is wrong still."""
    return [finding.problem for finding in verified.findings]


def content(tag: str = "latest") -> dict[str, bytes]:
    """What was pushed under a tag."""
    files = SOURCE | {"a.txt": "two\n" if tag == "latest" else "one\n"}
    return {path: data if isinstance(data, bytes) else data.encode() for path, data in files.items()}


def modes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): stat.filemode(path.lstat().st_mode) for path in [folder, *folder.rglob("*")]}


def stamps(folder: Path) -> dict[str, tuple[int, ...]]:
    """What changes when anything below a folder does."""
    found = {str(path): path.lstat() for path in [folder, *folder.rglob("*")]}
    return {path: (status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns) for path, status in found.items()}


def history(kept: Kept) -> list[tuple[str, tuple[str, ...], str]]:
    return [(entry.action, entry.tags, entry.message) for entry in log(kept.resource)]


def quarantine(kept: Kept) -> dict[str, bytes]:
    folder = Path(kept.resource.folder.damaged)
    return read_tree(folder) if folder.exists() else {}


def put_in_trash(kept: Kept) -> list[str]:
    return [name for name in os.listdir(kept.resource.folder.versions) if trashed(name)]


def is_as_pushed(kept: Kept, origin: Kept) -> None:
    """The version `latest` is byte for byte and mode for mode what was published."""
    assert kept.damages() == []
    assert read_tree(kept.version() / "files") == content()
    assert modes(kept.version()) == modes(origin.version())


# what can be mended


@dataclass(frozen=True, kw_only=True)
class Mended:
    """A resource after a repair, and what was there before."""

    kept: Kept
    verified: Verified
    links: Links
    entries: list[tuple[str, tuple[str, ...], str]]
    other: dict[str, tuple[int, ...]]
    made: float


@pytest.fixture(scope="module")
def mended(origin: Kept, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Mended]:
    """A resource whose version had the damage of this name, repaired once for all who look."""
    made: dict[str, Mended] = {}

    def make(name: str) -> Mended:
        if name not in made:
            kept = copy_of(origin, tmp_path_factory.mktemp("mended") / "registry")
            with kept.by_hand():
                VERSION_CASES[name].deed(kept)
            before = (kept.resource.links(), history(kept), stamps(kept.version("v1")), kept.version().stat().st_mtime)
            links, entries, other, when = before
            made[name] = Mended(kept=kept, verified=repair(kept), links=links, entries=entries, other=other, made=when)
        return made[name]

    return make


@pytest.mark.parametrize("name", VERSION_CASES)
def test_every_damage_of_a_version_is_mended_from_what_the_resource_has(
    mended: Callable[[str], Mended], origin: Kept, name: str
) -> None:
    verified = mended(name).verified
    assert (verified.ok, bool(verified.repaired)) == (True, True), told(verified)
    is_as_pushed(mended(name).kept, origin)


@pytest.mark.parametrize("name", VERSION_CASES)
def test_a_mended_version_is_of_the_moment_it_was_of_and_the_damaged_one_in_the_trash(
    mended: Callable[[str], Mended], name: str
) -> None:
    kept = mended(name).kept
    assert kept.version().stat().st_mtime == pytest.approx(mended(name).made, abs=0.001)
    assert [trashed(name) for name in put_in_trash(kept)] == [kept.id()] or "execute bit" in name


@pytest.mark.parametrize("name", VERSION_CASES)
def test_mending_a_version_leaves_tags_diary_and_the_other_versions_alone(
    mended: Callable[[str], Mended], name: str
) -> None:
    kept = mended(name).kept
    assert (kept.resource.links(), history(kept)) == (mended(name).links, mended(name).entries)
    assert stamps(kept.version("v1")) == mended(name).other


@pytest.mark.parametrize("name", VERSION_CASES)
def test_repairing_what_was_mended_finds_nothing_to_do(mended: Callable[[str], Mended], name: str) -> None:
    kept = mended(name).kept
    before = stamps(kept.path)
    assert (repair(kept).repaired, stamps(kept.path)) == ((), before)


BLOBS: dict[str, Callable[[Kept], object]] = {
    "flipped": lambda kept: instead(kept.blob("weights.bin"), another_file),
    "missing": lambda kept: kept.blob("weights.bin").unlink(),
    "a link": lambda kept: instead(kept.blob("weights.bin"), lambda path: path.symlink_to("/etc/hostname")),
    "a FIFO": lambda kept: instead(kept.blob("weights.bin"), os.mkfifo),
}


@pytest.mark.parametrize("name", BLOBS)
def test_a_bad_blob_is_mended_from_a_version_which_stays_where_it_is(kept: Kept, origin: Kept, name: str) -> None:
    blob = kept.blob("weights.bin")
    before = stamps(kept.version())
    with kept.by_hand():
        BLOBS[name](kept)
    assert repair(kept).ok
    assert blob.read_bytes() == WEIGHTS
    assert stat.S_IMODE(blob.lstat().st_mode) == 0o444
    assert stamps(kept.version()) == before
    assert put_in_trash(kept) == []
    is_as_pushed(kept, origin)


def own_copy(path: Path) -> None:
    """The same content in an inode of its own, as where links cannot be made."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    path.chmod(0o444)


def test_a_good_copy_of_another_version_mends_what_no_diary_holds(kept: Kept, origin: Kept) -> None:
    with kept.by_hand():
        own_copy(kept.payload("weights.bin", "v1"))
        flip(kept.payload("weights.bin"))
    assert repair(kept).ok
    is_as_pushed(kept, origin)


def test_a_good_copy_in_the_trash_mends(kept: Kept, origin: Kept) -> None:
    with kept.by_hand():
        shutil.copytree(kept.version(), aside(kept, f".trash.1767225600.{kept.id()}"))
        flip(kept.payload("weights.bin"))
    assert repair(kept).ok
    is_as_pushed(kept, origin)


def test_a_version_that_lies_in_the_trash_while_a_tag_names_it_is_mended_too(kept: Kept, origin: Kept) -> None:
    with kept.by_hand():
        flip(kept.payload("run.sh"))
        tagged_in_trash(kept)
    assert repair(kept).ok
    is_as_pushed(kept, origin)


def test_a_version_that_a_tag_names_and_that_is_gone_is_made_again(kept: Kept, origin: Kept) -> None:
    with kept.by_hand():
        shutil.rmtree(kept.version())
    verified = repair(kept)
    assert verified.ok, told(verified)
    assert kept.damages() == []
    assert read_tree(kept.version() / "files") == content()
    assert modes(kept.version()) == modes(origin.version())


def test_a_version_that_is_made_again_is_no_newer_than_it_was(kept: Kept, backup: Kept) -> None:
    with kept.by_hand():
        shutil.rmtree(kept.version("v1"))
    assert repair(kept, good=backup).ok
    assert kept.version("v1").stat().st_mtime < kept.version("latest").stat().st_mtime


def test_the_order_of_the_versions_is_kept(kept: Kept) -> None:
    with kept.by_hand():
        flip(kept.payload("a.txt", "v1"))
    before = {tag: kept.version(tag).stat().st_mtime for tag in ("v1", "latest")}
    assert repair(kept).ok
    assert {tag: kept.version(tag).stat().st_mtime for tag in ("v1", "latest")} == pytest.approx(before, abs=0.001)


def test_one_version_can_be_mended_alone(kept: Kept) -> None:
    with kept.by_hand():
        for tag in ("v1", "latest"):
            flip(kept.payload("run.sh", tag))
    assert kept.registry.verify("alice/X:v1", repair=True).ok
    assert [damage.version for damage in kept.damages()] == [kept.id()]


def test_a_version_that_is_gone_can_be_mended_by_its_tag(kept: Kept) -> None:
    with kept.by_hand():
        shutil.rmtree(kept.version())
    assert kept.registry.verify("alice/X:latest", repair=True).ok
    assert kept.damages() == []


def test_a_resource_without_a_namespace_is_mended_by_its_maker(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry", timeout=20)
    files = {"config.yml": config_yml("Small"), "executor.py": executor_py("Small")}
    registry.push(write_tree(tmp_path / "src", files), "Small", secret="sesame-sesame")
    kept = Kept(registry=registry, resource=Resource(f"{registry.root}/_/Small", "Small"))
    with kept.by_hand():
        flip(kept.payload("config.yml"))
    assert registry.verify(repair=True).ok
    assert kept.damages() == []


# the diary as a source


@pytest.mark.parametrize(("size", "mended"), [(MIB, True), (MIB + 1, False)])
def test_a_text_of_up_to_1_mib_comes_back_from_the_diary(tmp_path: Path, size: int, mended: bool) -> None:
    registry = Registry(tmp_path / "registry", namespace="alice", timeout=20)
    registry.push(write_tree(tmp_path / "src", {".gitignore": "#\n", "long.txt": "x" * size}), "X")
    kept = kept_at(registry.root)
    with kept.by_hand():
        flip(kept.payload("long.txt"))
    assert repair(kept).ok == mended
    assert (kept.payload("long.txt").read_bytes() == b"x" * size) == mended


def test_a_text_of_an_older_version_comes_back_from_the_diary(kept: Kept) -> None:
    with kept.by_hand():
        flip(kept.payload("a.txt", "v1"))
    assert repair(kept).ok
    assert kept.payload("a.txt", "v1").read_bytes() == b"one\n"


def test_a_diary_that_does_not_read_is_no_source_and_no_trouble(kept: Kept) -> None:
    with kept.by_hand():
        flip(kept.payload("a.txt"))
        zero_the_diary(kept)
    assert "a.txt is not what was published" in told(repair(kept))


# another registry as a source


def forget_the_diary(kept: Kept) -> None:
    """No diary, and no derived file that remembers one; the blobs stay."""
    for path in [*kept.diary.iterdir(), Path(kept.resource.folder.recorded)]:
        if path.name != "lfs":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_another_registry_has_what_nothing_here_has(kept: Kept, backup: Kept, origin: Kept) -> None:
    with kept.by_hand():
        flip(kept.payload("weights.bin"))
    assert not repair(kept).ok
    before = stamps(backup.registry.root)
    verified = repair(kept, good=backup)
    assert verified.ok, told(verified)
    is_as_pushed(kept, origin)
    assert stamps(backup.registry.root) == before


def test_another_registry_may_have_it_under_another_name(kept: Kept, tmp_path: Path) -> None:
    other = Registry(tmp_path / "backup", namespace="bob", timeout=20)
    other.push(write_tree(tmp_path / "theirs", {".gitignore": "#\n", "renamed.bin": WEIGHTS}), "Other")
    with kept.by_hand():
        flip(kept.payload("weights.bin"))
    assert kept.registry.verify(repair=True, good=other.root).ok
    assert kept.damages() == []


def test_a_file_beyond_16_mib_is_mended_from_another_registry(kept: Kept, tmp_path: Path) -> None:
    large: dict[str, str | bytes] = {".gitignore": "#\n", "large.bin": bytes(16 * MIB) + b"end"}
    kept.registry.push(write_tree(tmp_path / "large", large), "X")
    backup = copy_of(kept, tmp_path / "backup")
    with kept.by_hand():
        flip(kept.payload("large.bin"))
    verified = repair(kept, good=backup)
    assert verified.ok, told(verified)
    assert kept.payload("large.bin").read_bytes() == large["large.bin"]


def test_an_executable_file_beyond_16_mib_is_mended_from_its_blob(kept: Kept, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "large", {".gitignore": "#\n", "large": bytes(16 * MIB) + b"end"})
    (source / "large").chmod(0o755)
    kept.registry.push(source, "X")
    with kept.by_hand():
        flip(kept.payload("large"))
    verified = repair(kept)
    assert verified.ok, told(verified)
    assert kept.payload("large").read_bytes() == (source / "large").read_bytes()


def test_documents_that_the_diary_lost_come_from_another_registry(kept: Kept, backup: Kept, origin: Kept) -> None:
    with kept.by_hand():
        (kept.version() / "manifest.yaml").unlink()
        (kept.version() / "SHA256SUMS").unlink()
        forget_the_diary(kept)
    assert not repair(kept).ok
    assert repair(kept, good=backup).ok
    is_as_pushed(kept, origin)


def test_a_version_that_nothing_here_knows_comes_from_another_registry(kept: Kept, backup: Kept) -> None:
    with kept.by_hand():
        shutil.rmtree(kept.version())
        shutil.rmtree(kept.diary / "lfs" / "objects")
        forget_the_diary(kept)
    verified = repair(kept, good=backup)
    assert verified.ok, told(verified)
    assert read_tree(kept.version() / "files") == content()


LIES: dict[str, Callable[[Path], object]] = {
    "flipped": flip,
    "short": lambda path: resize(path, 100),
    "a FIFO": lambda path: instead(path, os.mkfifo),
    "a link to a good one": lambda path: moved_away(path, path.with_name("good")),
    "a folder": lambda path: instead(path, Path.mkdir),
}


@pytest.mark.parametrize("name", LIES)
def test_a_bad_copy_of_another_registry_is_never_taken(kept: Kept, backup: Kept, name: str) -> None:
    digest = digest_text(WEIGHTS)
    with kept.by_hand(), backup.by_hand():
        flip(kept.payload("weights.bin"))
        for path in {backup.blob("weights.bin"), *(backup.payload("weights.bin", tag) for tag in ("v1", "latest"))}:
            LIES[name](path)
    assert ended(lambda: repair(kept, good=backup), 10)
    assert "weights.bin is not what was published" in told(repair(kept, good=backup))
    assert not os.path.lexists(kept.resource.folder.blob(digest))


class Meddler(Pen):
    """A pen beside which somebody does a deed, once, just before a step."""

    def __init__(self, verb: str, deed: Callable[[], object]) -> None:
        self.verb, self.deeds = verb, [deed]

    def step(self, verb: str, path: str) -> None:
        if verb == self.verb:
            for deed in self.deeds[:1]:
                self.deeds.clear()
                deed()


def test_a_copy_that_changes_while_it_is_taken_is_not_taken(kept: Kept, backup: Kept) -> None:
    with kept.by_hand():
        flip(kept.payload("weights.bin"))
    pen = Meddler("copy_in", lambda: flip(backup.blob("weights.bin")))
    registry = as_caller(kept.registry, "alice", pen=pen)
    verified = registry.verify(repair=True, good=backup.registry.root)
    assert "weights.bin is not what was published" in told(verified)
    assert not os.path.lexists(kept.resource.folder.blob(digest_text(WEIGHTS)))


def test_a_blob_s_copy_that_changes_while_it_is_taken_ends_no_repair(kept: Kept) -> None:
    with kept.by_hand():
        instead(kept.blob("weights.bin"), another_file)
    pen = Meddler("copy_in", lambda: flip(kept.payload("weights.bin")))
    verified = as_caller(kept.registry, "alice", pen=pen).verify("alice/X", repair=True)
    assert any("weights.bin is not what was published" in problem for problem in told(verified))
    assert not os.path.lexists(kept.resource.folder.blob(digest_text(WEIGHTS)))


def test_another_registry_that_is_not_there_is_said(kept: Kept, tmp_path: Path) -> None:
    with kept.by_hand():
        flip(kept.payload("weights.bin"))
    before = snapshot(kept.path)
    with pytest.raises(LhubError, match="there is no registry at") as error:
        kept.registry.verify(repair=True, good=tmp_path / "nowhere")
    assert error.value.code == 3
    assert snapshot(kept.path) == before


# the quarantine


def test_a_bad_blob_goes_to_the_quarantine_as_it_was(kept: Kept) -> None:
    digest = digest_text(WEIGHTS)
    with kept.by_hand():
        instead(kept.blob("weights.bin"), another_file)
    assert repair(kept).ok
    assert [(name.partition(".")[2], data) for name, data in quarantine(kept).items()] == [(digest, b"another\n")]
    assert all(name.partition(".")[0].isdecimal() for name in quarantine(kept))


def test_a_bad_blob_without_a_good_copy_is_out_of_every_push_s_way(kept: Kept, tmp_path: Path) -> None:
    with kept.by_hand():
        flip(kept.payload("weights.bin"))
    repair(kept)
    assert len(quarantine(kept)) == 1
    kept.registry.push(write_tree(tmp_path / "again", {".gitignore": "#\n", "weights.bin": WEIGHTS}), "X", tags=["v3"])
    assert kept.blob("weights.bin", "v3").read_bytes() == WEIGHTS
    assert kept.payload("weights.bin", "v3").read_bytes() == WEIGHTS


def test_a_bad_blob_that_no_version_names_is_taken_out_too(kept: Kept) -> None:
    with kept.by_hand():
        stray = Path(kept.resource.folder.blob("0" * 64))
        stray.parent.mkdir(parents=True)
        stray.write_bytes(b"stray")
    assert repair(kept).ok
    assert list(quarantine(kept).values()) == [b"stray"]


def test_a_collection_keeps_what_is_named_after_a_repair(kept: Kept) -> None:
    with kept.by_hand():
        flip(kept.payload("run.sh"))
        instead(kept.blob("a.txt"), another_file)
    assert repair(kept).ok
    kept.registry.gc()
    assert kept.damages() == []
    assert read_tree(kept.version() / "files") == content()


# what cannot be mended


def test_what_could_not_be_mended_is_said_with_where_to_look(kept: Kept) -> None:
    with kept.by_hand():
        flip(kept.payload("weights.bin"))
    findings = {finding.ref.partition("@")[0]: finding.hint for finding in repair(kept).findings}
    assert findings == {
        "alice/X": "no good copy was found here; lhub verify alice/X --repair --from ROOT asks another registry"
    }


def test_of_several_damages_each_that_can_be_is_mended(kept: Kept) -> None:
    with kept.by_hand():
        flip(kept.payload("weights.bin"))
        flip(kept.payload("a.txt"))
        (kept.path / "v1").unlink()
    verified = repair(kept)
    assert any("the protected tag v1" in finding.problem for finding in verified.repaired)
    assert Path(kept.resource.folder.blob(digest_text(b"two\n"))).read_bytes() == b"two\n"
    assert os.readlink(kept.path / "v1") == link_to(kept.id("v1"))
    assert any("weights.bin" in problem for problem in told(verified))


def lose_both(kept: Kept) -> None:
    flip(kept.payload("weights.bin"))
    shutil.rmtree(kept.version())


UNMENDABLE: dict[str, Callable[[Kept], object]] = {
    "nothing is wrong": lambda kept: None,
    "a content is lost": lambda kept: flip(kept.payload("weights.bin")),
    "a version is lost and a content of it too": lose_both,
    "a tag leads out": lambda kept: instead(kept.path / "latest", lambda path: path.symlink_to("/etc")),
    "the kind is cut": lambda kept: (kept.path / "resource.yaml").write_text("format: 1\nki"),
    "a link to what never was": lambda kept: (kept.path / "v9").symlink_to(link_to("0" * 64)),
}


@pytest.mark.parametrize("name", UNMENDABLE)
def test_repairing_twice_is_quiet(kept: Kept, name: str) -> None:
    with kept.by_hand():
        UNMENDABLE[name](kept)
    first = repair(kept)
    before = snapshot(kept.path)
    second = repair(kept)
    assert (second.repaired, told(second)) == ((), told(first))
    after = snapshot(kept.path)
    assert {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)} <= {".lhub/lock"}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_version_under_the_right_digests_cannot_be_mended_and_is_told(kept: Kept, name: str) -> None:
    version = publish(kept, HOSTILE[name])
    verified = repair(kept)
    assert any(finding.ref == f"alice/X@{version}" for finding in verified.findings)
    assert not (kept.path.parent / "x").exists()


def test_a_version_of_a_newer_format_is_left_as_it_is_and_the_others_are_mended(kept: Kept) -> None:
    with kept.by_hand():
        flip(kept.payload("run.sh", "v1"))
        text = (kept.version() / "manifest.yaml").read_text().replace("format: 1", "format: 2")
        overwrite(kept.version() / "manifest.yaml", text.encode())
        newer = kept.version().rename(kept.version().with_name(digest_text(text.encode())))
        instead(kept.path / "latest", lambda path: path.symlink_to(link_to(newer.name)))
    before = stamps(newer)
    verified = repair(kept)
    assert [finding.hint for finding in verified.findings] == ["pip install --upgrade lhub"]
    assert any("run.sh" in finding.problem for finding in verified.repaired)
    assert stamps(newer) == before


# what is not one's own, and what goes wrong


def test_what_is_another_s_is_not_touched(kept: Kept) -> None:
    with kept.by_hand():
        flip(kept.payload("run.sh"))
    before = snapshot(kept.path)
    for caller in ("bob", None):
        verified = as_caller(kept.registry, caller).verify(repair=True, rebuild_history=True)
        hints = [finding.hint for finding in verified.findings]
        assert hints == ["its owner can mend it with lhub verify --repair"]
        assert verified.repaired == ()
    assert snapshot(kept.path) == before


def test_what_somebody_is_changing_is_not_mended_meanwhile(kept: Kept) -> None:
    with kept.by_hand():
        flip(kept.payload("run.sh"))
    before = stamps(kept.version())
    busy = held(kept.resource.folder.lock, mode=0o600, timeout=1, note="bob")
    with busy, pytest.raises(LockTimeout, match="bob"):
        as_caller(kept.registry, "alice", timeout=0.05).verify(repair=True)
    assert stamps(kept.version()) == before


@pytest.mark.parametrize("verb", ["copy_in", "write_new", "rename"])
def test_a_full_disk_loses_nothing_and_the_next_repair_mends(kept: Kept, origin: Kept, verb: str) -> None:
    with kept.by_hand():
        flip(kept.payload("a.txt"))
        flip(kept.payload("run.sh"))

    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(kept.path))

    with pytest.raises(OSError, match="No space left"):
        as_caller(kept.registry, "alice", pen=Meddler(verb, full)).verify(repair=True)
    verified = repair(kept)
    assert verified.ok, told(verified)
    is_as_pushed(kept, origin)


class Beside(Pen):
    """A pen beside which somebody does something before each step of a sort."""

    def __init__(self, verb: str, deed: Callable[[], object]) -> None:
        self.verb, self.deed = verb, deed

    def step(self, verb: str, path: str) -> None:
        if verb == self.verb:
            self.deed()


def test_a_reader_beside_a_repair_sees_the_version_whole_or_is_told(kept: Kept, tmp_path: Path) -> None:
    with kept.by_hand():
        flip(kept.payload("run.sh"))
    seen: list[object] = []

    def read() -> None:
        try:
            pulled = kept.registry.pull("alice/X", tmp_path / "pulled", force=True)
            seen.append(read_tree(Path(pulled.path)))
        except LhubError as error:
            seen.append(error.code)

    assert as_caller(kept.registry, "alice", pen=Beside("rename", read)).verify(repair=True).ok
    read()
    assert all(answer in (6, content()) for answer in seen)
    assert (len(seen) > 2, seen[-1]) == (True, content())


# the diary made again


def rebuild(kept: Kept) -> Verified:
    return kept.registry.verify("alice/X", rebuild_history=True)


def set_aside(kept: Kept) -> list[Path]:
    return list(kept.diary.glob("unreadable.*"))


def test_a_rebuilt_diary_tells_what_the_links_tell(kept: Kept) -> None:
    before = kept.resource.links()
    assert rebuild(kept).ok
    state = replay(reversed(list(log(kept.resource))))
    assert (dict(state.tags), state.pins) == (before.versions(), frozenset({"v1"}))
    assert state.visibility == "public"
    assert kept.resource.links() == before


def test_a_rebuilt_diary_tells_who_and_when_but_not_why(kept: Kept) -> None:
    old = list(log(kept.resource))
    rebuild(kept)
    entries = list(log(kept.resource))
    assert [entry.tags for entry in entries] == [("latest",), ("v1",)]
    assert [entry.message for entry in entries] == ["", ""]
    assert all(entry.late for entry in entries)
    assert all(abs(new.when - before.when) < 30 for new, before in zip(entries, old, strict=True))


def test_a_rebuilt_diary_tells_of_versions_without_a_tag_in_their_place(kept: Kept, tmp_path: Path) -> None:
    loose = untagged(kept)
    write_tree(tmp_path / "more", {".gitignore": "#\n", "c.txt": "three\n"})
    kept.registry.push(tmp_path / "more", "X", tags=["v3"])
    for seconds, version in enumerate((kept.id("v1"), loose, kept.id("v3"))):
        os.utime(kept.resource.folder.version(version).path, (1_767_225_600 + seconds,) * 2)
    for seconds, name in enumerate(("v1", ".protected.v1", "latest", "v3")):
        os.utime(kept.path / name, (1_767_225_700 + seconds,) * 2, follow_symlinks=False)
    rebuild(kept)
    told = [(entry.version, entry.tags) for entry in log(kept.resource)]
    assert told == [(kept.id("v3"), ("v3",)), (kept.id("v1"), ("latest", "v1")), (loose, ())]


def test_what_a_rebuilt_diary_was_is_kept_beside_it(kept: Kept) -> None:
    tip = (kept.diary / "refs/heads/main").read_text().strip()
    rebuild(kept)
    [aside] = set_aside(kept)
    assert aside.name.startswith(f"unreadable.{tip[:12]}.")
    assert (aside / "main").read_text().strip() == tip
    assert list((aside / "objects").rglob("*.pack"))


def test_git_finds_no_fault_in_a_rebuilt_diary_and_it_goes_on(kept: Kept, tmp_path: Path) -> None:
    rebuild(kept)
    kept.registry.push(write_tree(tmp_path / "more", {".gitignore": "#\n", "c.txt": "three\n"}), "X", message="on")
    done = subprocess.run(
        ["git", "-C", kept.diary, "fsck", "--full", "--strict", "--no-dangling"], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert [entry.message for entry in log(kept.resource)] == ["on", "", ""]
    assert kept.damages() == []


def test_a_rebuilt_diary_has_the_files_of_the_newest_version(kept: Kept) -> None:
    rebuild(kept)
    shown = subprocess.run(["git", "-C", kept.diary, "show", "main:files/a.txt"], capture_output=True, check=True)
    assert shown.stdout == b"two\n"


def test_rebuilding_twice_tells_the_same(kept: Kept) -> None:
    rebuild(kept)
    first = history(kept)
    rebuild(kept)
    assert history(kept) == first
    assert len(set_aside(kept)) == 2


LOST: dict[str, Callable[[Kept], object]] = {
    "all objects are zeros": zero_the_diary,
    "an old text is missing": lambda kept: remove_object(kept, "main~1:files/a.txt"),
    "the newest text is missing": lambda kept: remove_object(kept, "main:files/a.txt"),
    "an old entry is missing": lambda kept: remove_object(kept, "main~1"),
    "the branch is gone": lambda kept: (kept.diary / "refs/heads/main").unlink(),
    "the folder is gone": lambda kept: shutil.rmtree(kept.diary / "objects"),
    "all of it is gone": forget_the_diary,
}


@pytest.mark.parametrize("name", LOST)
def test_a_lost_diary_is_made_again(kept: Kept, name: str) -> None:
    with kept.by_hand():
        LOST[name](kept)
    assert rebuild(kept).ok
    assert history(kept) == [("push", ("latest",), ""), ("push", ("v1",), "")]


@pytest.mark.parametrize("name", LOST)
def test_a_repair_is_the_next_change_that_a_finding_about_the_diary_speaks_of(kept: Kept, name: str) -> None:
    with kept.by_hand():
        LOST[name](kept)
    verified = repair(kept)
    assert [finding for finding in verified.findings if finding.hint.startswith("the next change")] == []
    if verified.ok:
        assert {entry.tags for entry in log(kept.resource)} >= {("latest",), ("v1",)}


def damaged(name: str) -> Callable[[Kept], object]:
    def deed(kept: Kept) -> None:
        with kept.by_hand():
            VERSION_CASES[name].deed(kept)

    return deed


def published(name: str) -> Callable[[Kept], object]:
    return lambda kept: publish(kept, HOSTILE[name])


IN_THE_WAY = {name: damaged(name) for name in ("SHA256SUMS flipped", "SHA256SUMS is missing", "a file became a link")}
IN_THE_WAY |= {name: published(name) for name in HOSTILE}


@pytest.mark.parametrize("name", IN_THE_WAY)
def test_a_rebuilding_is_done_or_leaves_the_diary_that_was(kept: Kept, name: str) -> None:
    IN_THE_WAY[name](kept)
    before = [entry.message for entry in log(kept.resource)]
    try:
        rebuild(kept)
    except LhubError:
        assert [entry.message for entry in log(kept.resource)] == before
    assert ("v1",) in [entry.tags for entry in log(kept.resource)]


def test_a_private_resource_s_rebuilt_diary_says_that_it_is(kept: Kept) -> None:
    kept.registry.visibility("alice/X", "private")
    assert rebuild(kept).ok
    assert replay(reversed(list(log(kept.resource)))).visibility == "private"


def test_a_rebuilt_diary_changes_no_version(kept: Kept) -> None:
    before = stamps(Path(kept.resource.folder.versions))
    rebuild(kept)
    after = stamps(Path(kept.resource.folder.versions))
    assert {path for path in before if before[path] != after.get(path)} <= {kept.resource.folder.versions}
    assert [name for name in os.listdir(kept.resource.folder.versions) if not is_version(name)] == []


def test_who_rebuilds_is_told_which_diary_was_made_anew(kept: Kept) -> None:
    notes: list[str] = []
    Registry(kept.registry.root, namespace="alice", notes=notes.append).verify("alice/X", rebuild_history=True)
    assert [note for note in notes if "made the diary of alice/X anew" in note] == notes != []
