"""Every change of a resource: what a dead writer left is mended first, and what is refused changes nothing."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lhub.diary import Entry
from lhub.disk import Pen
from lhub.errors import Conflict, Corrupt, LhubError, LockTimeout, NotFound
from lhub.identity import account_of
from lhub.layout import link_to
from lhub.registry import Registry
from tests.conftest import as_caller, read_tree, snapshot, write_tree
from tests.test_lock import held_elsewhere
from tests.test_staging import Hooked


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "src", {"a.txt": "one"})


@pytest.fixture
def place(registry: Registry, folder: Path) -> Path:
    """The resource alice/X with two versions: `v1` (protected), and `latest`; the folder holds a third."""
    registry.push(folder, "X", tags=["old"], protected_tags=["v1"])
    registry.push(write_tree(folder, {"a.txt": "two"}), "X")
    write_tree(folder, {"a.txt": "three"})
    return registry.root / "alice" / "X"


def tags(registry: Registry) -> dict[str, str]:
    [line] = registry.list()
    return line.tags


def says(place: Path, name: str) -> str:
    return os.path.basename(os.readlink(place / name))


def content(registry: Registry, ref: str) -> bytes:
    return (Path(registry.path(ref)) / "a.txt").read_bytes()


def touch(registry: Registry) -> None:
    """A writer who has nothing to do."""
    [line] = registry.list()
    registry.visibility("alice/X", line.visibility)


def relink(path: Path, version: str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(link_to(version))


def at(verb: str, end: str) -> Callable[[str, str], bool]:
    """The condition: before this verb at a place that ends so."""
    return lambda step, path: step == verb and path.endswith(end)


def beside(registry: Registry, when: Callable[[str, str], bool], deed: Callable[[], object]) -> Registry:
    """The same registry for somebody beside whom something happens, once, just before a step."""
    return as_caller(registry, "alice", pen=Hooked(when, deed))


# what a dead writer left


@pytest.mark.parametrize("left", ["gone", "elsewhere"])
def test_a_tag_is_mended_from_its_pin(registry: Registry, place: Path, left: str) -> None:
    """A writer was killed between the pin and the tag, or somebody moved the tag by hand."""
    protected = says(place, ".protected.v1")
    (place / "v1").unlink()
    if left == "elsewhere":
        relink(place / "v1", says(place, "latest"))
    assert tags(registry)["v1"] == protected
    touch(registry)
    assert says(place, "v1") == protected


@pytest.mark.parametrize("tag", ["latest", "v1"])
def test_a_version_that_a_tag_names_comes_back_from_the_trash(registry: Registry, place: Path, tag: str) -> None:
    version = place / ".lhub/versions" / says(place, tag)
    before = snapshot(version)
    version.rename(version.with_name(f".trash.1700000000.{version.name}"))
    touch(registry)
    assert snapshot(version) == before
    assert not [name for name in os.listdir(version.parent) if name.startswith(".trash.")]


def test_what_no_tag_names_stays_in_the_trash(registry: Registry, place: Path) -> None:
    version = place / ".lhub/versions" / says(place, "latest")
    trash = version.with_name(f".trash.1700000000.{version.name}")
    version.rename(trash)
    (place / "latest").unlink()
    touch(registry)
    assert trash.is_dir()


def test_the_diary_catches_up_with_who_and_when(registry: Registry, place: Path) -> None:
    """A writer was killed after he moved the tag: the link tells who he was and when he came."""
    uid = 65534 if os.geteuid() == 0 else os.geteuid()
    relink(place / "gpu", says(place, "v1"))
    os.chown(place / "gpu", uid, -1, follow_symlinks=False)
    os.utime(place / "gpu", (1_600_000_000, 1_600_000_000), follow_symlinks=False)
    touch(registry)
    entry = registry.log("alice/X")[0]
    assert (entry.tags, entry.version, entry.late) == (("gpu",), says(place, "v1"), True)
    assert (entry.name, entry.when) == (account_of(uid), 1_600_000_000)


def test_the_diary_catches_up_with_a_pin(registry: Registry, place: Path) -> None:
    relink(place / ".protected.latest", says(place, "latest"))
    touch(registry)
    entry = registry.log("alice/X")[0]
    assert (entry.action, entry.tags, entry.protected) == ("protect", ("latest",), ("latest",))


def test_the_diary_catches_up_with_a_tag_that_is_gone(registry: Registry, place: Path) -> None:
    (place / "old").unlink()
    touch(registry)
    entry = registry.log("alice/X")[0]
    assert (entry.action, entry.untagged, entry.late) == ("untag", ("old",), True)


def test_the_diary_catches_up_with_a_mode(registry: Registry, place: Path) -> None:
    place.chmod(0o700)
    registry.tag("alice/X", "new")
    assert [(entry.action, entry.visibility) for entry in registry.log("alice/X")[:2]] == [
        ("tag", None),
        ("visibility", "private"),
    ]


def test_a_diary_that_lags_is_told_of_each_change_once(registry: Registry, place: Path) -> None:
    relink(place / "gpu", says(place, "v1"))
    relink(place / "cpu", says(place, "v1"))
    before = len(registry.log("alice/X"))
    for _ in range(3):
        touch(registry)
    assert len(registry.log("alice/X")) == before + 1


def test_scratch_files_of_the_dead_are_swept_by_any_writer(registry: Registry, place: Path) -> None:
    scratch = place / ".lhub/versions/.tmp.host-1-aa"
    for end in (".file", ".link"):
        (scratch.parent / (scratch.name + end)).symlink_to("nowhere")
    touch(registry)
    assert not [name for name in os.listdir(scratch.parent) if name.startswith(".tmp.")]


def test_what_a_killed_git_left_is_swept_by_a_later_push(registry: Registry, place: Path, folder: Path) -> None:
    """Git writes a pack under another name first; nobody else would ever remove it."""
    left = write_tree(place / ".lhub/history.git/objects", {"pack/tmp_pack_4uz92P": "PACK", "ab/tmp_obj_x7Yq1z": "x"})
    for path in [*left.glob("pack/tmp_*"), *left.glob("ab/tmp_*")]:
        path.chmod(0o444)
        os.utime(path, (1_700_000_000, 1_700_000_000))
    registry.push(folder, "X")
    assert [path.name for path in left.rglob("tmp_*")] == []


# --expect and --if-absent


@pytest.mark.parametrize("digits", [8, 12, 64])
def test_a_push_that_expects_what_stands_moves_the_tag(
    registry: Registry, place: Path, folder: Path, digits: int
) -> None:
    pushed = registry.push(folder, "X", expect=says(place, "latest")[:digits])
    assert says(place, "latest") == pushed.version


@pytest.mark.parametrize("wanted", ["another version", "a tag that does not stand", "one of two tags"])
def test_a_push_that_expects_something_else_changes_no_tag(
    registry: Registry, place: Path, folder: Path, wanted: str
) -> None:
    before, log = tags(registry), registry.log("alice/X")
    named, expect = {
        "another version": (["latest"], says(place, "v1")),
        "a tag that does not stand": (["new"], says(place, "latest")),
        "one of two tags": (["latest", "old"], says(place, "latest")),
    }[wanted]
    with pytest.raises(Conflict) as told:
        registry.push(folder, "X", tags=named, expect=expect)
    assert (told.value.code, bool(told.value.hint)) == (5, True)
    assert (tags(registry), registry.log("alice/X")) == (before, log)


def test_what_is_expected_of_a_resource_that_does_not_stand_fails(registry: Registry, folder: Path) -> None:
    with pytest.raises(Conflict):
        registry.push(folder, "New", expect="0" * 64)
    assert not (registry.root / "alice/New").exists()


def test_of_two_who_expect_the_same_one_wins(registry: Registry, place: Path, folder: Path, tmp_path: Path) -> None:
    """What counts is the tag under the lock, not the tag when the push began."""
    expected = says(place, "latest")
    other = write_tree(tmp_path / "other", {"a.txt": "faster"})
    slow = beside(registry, at("copy_in", "a.txt"), lambda: registry.push(other, "X", expect=expected))
    with pytest.raises(Conflict):
        slow.push(folder, "X", expect=expected)
    assert content(registry, "alice/X") == b"faster"


def test_a_push_if_absent_makes_only_new_tags(registry: Registry, place: Path, folder: Path) -> None:
    before = tags(registry)
    with pytest.raises(Conflict, match="latest stands already"):
        registry.push(folder, "X", tags=["new", "latest"], if_absent=True)
    assert tags(registry) == before
    pushed = registry.push(folder, "X", tags=["new"], if_absent=True)
    assert tags(registry) == before | {"new": pushed.version}


def test_if_absent_needs_no_lock(registry: Registry, place: Path, folder: Path) -> None:
    """Somebody whose lock excludes nobody makes the tag in the last moment: his stands, and we are told."""
    theirs = says(place, "v1")
    late = beside(registry, at("symlink", "/new"), lambda: relink(place / "new", theirs))
    with pytest.raises(Conflict, match="new stands already"):
        late.push(folder, "X", tags=["new"], if_absent=True)
    assert tags(registry)["new"] == theirs


# the kind


def test_the_kind_is_fixed_at_the_first_push(registry: Registry, hello: Path, folder: Path) -> None:
    registry.push(hello, "Hello")
    before = snapshot(registry.root)
    with pytest.raises(Conflict, match="alice/Hello holds executor, this is files"):
        registry.push(folder, "Hello")
    assert snapshot(registry.root) == before
    assert registry.list(kind="executor")[0].name == "alice/Hello"


def test_of_two_first_pushes_of_two_kinds_one_fixes_the_kind(registry: Registry, hello: Path, folder: Path) -> None:
    slow = beside(registry, at("copy_in", "config.yml"), lambda: registry.push(folder, "Hello"))
    with pytest.raises(Conflict, match="holds files, this is executor"):
        slow.push(hello, "Hello")
    [line] = registry.list()
    assert line.kind == "files"
    assert content(registry, "alice/Hello") == b"one"


# protection


def test_a_push_that_names_a_protected_tag_changes_nothing_at_all(
    registry: Registry, place: Path, folder: Path
) -> None:
    before = snapshot(registry.root)
    for named, protected in ((["latest", "v1", "new"], []), (["latest"], ["v1", "v2"])):
        with pytest.raises(Conflict, match="protected: v1"):
            registry.push(folder, "X", tags=named, protected_tags=protected)
        assert snapshot(registry.root) == before


def test_the_same_content_under_a_protected_tag_is_no_error(registry: Registry, place: Path, folder: Path) -> None:
    write_tree(folder, {"a.txt": "one"})
    log = registry.log("alice/X")
    pushed = registry.push(folder, "X", tags=["v1"], protected_tags=["v1"])
    assert (pushed.new, pushed.version, registry.log("alice/X")) == (False, says(place, "v1"), log)


def test_a_tag_that_is_protected_while_one_pushes_does_not_move(registry: Registry, place: Path, folder: Path) -> None:
    before = tags(registry)
    slow = beside(registry, at("copy_in", "a.txt"), lambda: registry.tag("alice/X", "latest", protect=True))
    with pytest.raises(Conflict, match="protected: latest"):
        slow.push(folder, "X", tags=["old", "latest"])
    assert tags(registry) == before


def test_a_pin_that_comes_first_wins_and_the_pins_already_made_are_named(
    registry: Registry, place: Path, folder: Path
) -> None:
    """Somebody whose lock excludes nobody: no tag moves, and the message says what is protected now."""
    before, theirs = tags(registry), says(place, "v1")
    late = beside(
        registry, at("symlink", "/.protected.b"), lambda: (place / ".protected.b").symlink_to(link_to(theirs))
    )
    with pytest.raises(Conflict) as told:
        late.push(folder, "X", tags=["latest"], protected_tags=["a", "b"])
    assert "protected: b; already protected by this push: a" in str(told.value)
    assert {tag: version for tag, version in tags(registry).items() if tag in before} == before
    assert says(place, ".protected.b") == theirs


def test_a_pin_of_the_same_version_that_comes_first_is_success(registry: Registry, place: Path, folder: Path) -> None:
    staged = Registry(registry.root.with_name("elsewhere"), namespace="alice").push(folder, "X").version
    late = beside(
        registry, at("symlink", "/.protected.b"), lambda: (place / ".protected.b").symlink_to(link_to(staged))
    )
    assert late.push(folder, "X", protected_tags=["b"]).version == staged
    assert tags(registry)["b"] == staged


def test_a_protected_tag_is_not_untagged(registry: Registry, place: Path) -> None:
    before = snapshot(place)
    with pytest.raises(Conflict, match="protected: v1"):
        registry.untag("alice/X", "old", "v1")
    assert tags(registry).keys() == {"latest", "old", "v1"}
    assert {name: value for name, value in snapshot(place).items() if "/" not in name} == {
        name: value for name, value in before.items() if "/" not in name
    }


def test_a_tag_that_does_not_stand_is_not_untagged(registry: Registry, place: Path) -> None:
    with pytest.raises(NotFound, match="has no tag new"):
        registry.untag("alice/X", "old", "new")
    assert "old" in tags(registry)


def test_a_standing_tag_is_protected_where_it_is(registry: Registry, place: Path) -> None:
    old = says(place, "old")
    registry.tag("alice/X", "old", protect=True)
    assert (says(place, "old"), says(place, ".protected.old")) == (old, old)
    with pytest.raises(Conflict, match="protected: old"):
        registry.tag("alice/X:latest", "old")


def test_a_push_that_protects_a_standing_tag_moves_it_first(registry: Registry, place: Path, folder: Path) -> None:
    pushed = registry.push(folder, "X", protected_tags=["old"])
    assert says(place, "old") == says(place, ".protected.old") == pushed.version
    assert says(place, "latest") != pushed.version


# a collection beside us


def to_trash(place: Path) -> None:
    """What `gc` does to a version that no tag names."""
    named = {os.path.basename(os.readlink(path)) for path in place.iterdir() if path.is_symlink()}
    for path in (place / ".lhub/versions").iterdir():
        if len(path.name) == 64 and path.name not in named:
            path.rename(path.with_name(f".trash.{int(time.time())}.{path.name}"))


def to_nowhere(place: Path) -> None:
    to_trash(place)
    for path in (place / ".lhub/versions").iterdir():
        if path.name.startswith(".trash."):
            Pen().remove_tree(str(path))


@pytest.mark.parametrize("collect", [to_trash, to_nowhere])
@pytest.mark.parametrize("when", ["/latest", ".link"], ids=["last", "before"])
def test_a_version_that_is_collected_before_it_is_named_is_there_in_the_end(
    registry: Registry, place: Path, folder: Path, collect: Callable[[Path], None], when: str
) -> None:
    verb = "rename" if when == "/latest" else "symlink"
    pushed = beside(registry, at(verb, when), lambda: collect(place)).push(folder, "X")
    assert says(place, "latest") == pushed.version
    assert content(registry, "alice/X") == b"three"


@pytest.mark.parametrize("collect", [to_trash, to_nowhere])
def test_a_version_that_stood_and_is_collected_meanwhile_is_there_in_the_end(
    registry: Registry, place: Path, folder: Path, collect: Callable[[Path], None]
) -> None:
    """Nothing had to be copied, so nothing was staged."""
    first = registry.push(folder, "X", tags=["gone"])
    registry.untag("alice/X:gone")
    registry.push(write_tree(folder, {"b.txt": "x"}), "X")
    (folder / "b.txt").unlink()
    pushed = beside(registry, at("append", "events.jsonl"), lambda: collect(place)).push(folder, "X")
    assert pushed.version == first.version
    assert content(registry, "alice/X") == b"three"


# what stands in the way


def test_a_folder_where_a_tag_should_be_is_told(registry: Registry, place: Path, folder: Path) -> None:
    (place / "gpu").mkdir()
    before = tags(registry)
    with pytest.raises(Corrupt, match="the tag gpu of alice/X cannot be set: a folder stands there"):
        registry.push(folder, "X", tags=["gpu"])
    assert tags(registry) == before
    assert not [name for name in os.listdir(place / ".lhub/versions") if name.startswith(".tmp.")]


def test_a_file_where_a_tag_should_be_gives_way(registry: Registry, place: Path, folder: Path) -> None:
    (place / "gpu").write_text("somebody's note")
    pushed = registry.push(folder, "X", tags=["gpu"])
    assert says(place, "gpu") == pushed.version


def test_a_tag_that_leads_out_is_set_right_by_a_push(registry: Registry, place: Path, folder: Path) -> None:
    (place / "latest").unlink()
    (place / "latest").symlink_to("/etc")
    pushed = registry.push(folder, "X")
    assert says(place, "latest") == pushed.version


def test_a_resource_that_is_no_folder_is_told(registry: Registry, folder: Path) -> None:
    (registry.root / "alice/X").write_text("")
    with pytest.raises(LhubError) as told:
        registry.push(folder, "X")
    assert told.value.code == 6


# beside other writers


def test_who_waits_for_another_writer_is_told_by_his_name(registry: Registry, place: Path, folder: Path) -> None:
    before = tags(registry)
    with (
        held_elsewhere(place / ".lhub/lock", note="bob (bob@far, process 7) since noon"),
        pytest.raises(LockTimeout, match="bob") as told,
    ):
        as_caller(registry, "alice", timeout=0.05).push(folder, "X")
    assert told.value.code == 7
    assert tags(registry) == before


def test_a_writer_leaves_a_note_that_says_who_he_is(registry: Registry, place: Path, folder: Path) -> None:
    notes: list[str] = []
    beside(registry, at("rename", "/latest"), lambda: notes.append((place / ".lhub/lock").read_text().strip())).push(
        folder, "X"
    )
    [note] = notes
    assert note.startswith("alice (")
    assert f"process {os.getpid()}" in note


@pytest.mark.parametrize("step", [("copy_in", "a.txt"), ("write_new", "manifest.yaml")])
def test_a_push_to_a_resource_that_is_deleted_meanwhile_makes_it_anew(
    registry: Registry, place: Path, folder: Path, tmp_path: Path, step: tuple[str, str]
) -> None:
    slow = beside(registry, at(*step), lambda: place.rename(tmp_path / "trash"))
    slow.push(folder, "X")
    [line] = registry.list()
    assert (list(line.tags), content(registry, "alice/X")) == (["latest"], b"three")


def test_a_push_begins_anew_where_a_file_went_stale_under_its_descriptor(
    registry: Registry, place: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What NFS answers when another host moved the resource away between an open and the next call on it."""
    stale = [OSError(errno.ESTALE, os.strerror(errno.ESTALE))]

    def see_single(descriptor: int, path: str) -> None:
        if stale and path.endswith("/lock"):
            raise stale.pop()

    monkeypatch.setattr("lhub.lock.see_single", see_single)
    pushed = registry.push(folder, "X")
    assert (stale, says(place, "latest")) == ([], pushed.version)


def test_readers_are_not_concerned_by_the_lock(registry: Registry, place: Path, tmp_path: Path) -> None:
    with held_elsewhere(place / ".lhub/lock"):
        assert registry.pull("alice/X", tmp_path / "pulled").version == says(place, "latest")
        assert read_tree(tmp_path / "pulled") == {"a.txt": b"two"}
        assert registry.show("alice/X:v1").version == says(place, "v1")


# visibility


def test_a_push_without_a_word_leaves_the_visibility_alone(registry: Registry, place: Path, folder: Path) -> None:
    registry.visibility("alice/X", "private")
    assert registry.push(folder, "X").visibility == "private"
    assert place.stat().st_mode & 0o777 == 0o700


def test_a_push_that_makes_private_hides_before_a_byte_is_written(
    registry: Registry, place: Path, folder: Path
) -> None:
    seen: list[int] = []

    def look(verb: str, path: str) -> bool:
        seen.append(place.stat().st_mode & 0o777)
        return False

    pen = Hooked(look, lambda: None)
    as_caller(registry, "alice", pen=pen).push(folder, "X", private=True)
    first = next(number for number, (verb, _) in enumerate(pen.steps) if verb == "copy_in")
    assert set(seen[first:]) == {0o700}


def test_a_push_that_has_hidden_and_then_fails_says_so(registry: Registry, place: Path, folder: Path) -> None:
    told: list[str] = []
    impatient = Registry(registry.root, namespace="alice", timeout=0.05, notes=told.append)
    with held_elsewhere(place / ".lhub/lock"), pytest.raises(LockTimeout):
        impatient.push(folder, "X", private=True)
    assert told[-1].endswith("to open it: lhub visibility alice/X public")
    assert place.stat().st_mode & 0o777 == 0o700


def test_a_push_that_makes_public_shows_only_what_is_published(registry: Registry, place: Path, folder: Path) -> None:
    registry.visibility("alice/X", "private")
    seen: list[int] = []

    def look(verb: str, path: str) -> bool:
        seen.append(place.stat().st_mode & 0o777)
        return False

    pen = Hooked(look, lambda: None)
    as_caller(registry, "alice", pen=pen).push(folder, "X", public=True)
    moved = next(number for number, (verb, path) in enumerate(pen.steps) if (verb, path[-7:]) == ("rename", "/latest"))
    assert set(seen[: moved + 1]) == {0o700}
    assert place.stat().st_mode & 0o777 == 0o755


def test_a_change_of_visibility_is_in_the_diary(registry: Registry, place: Path) -> None:
    registry.visibility("alice/X", "private")
    registry.visibility("alice/X", "private")
    newest: list[Entry] = list(registry.log("alice/X")[:2])
    assert [(entry.action, entry.visibility) for entry in newest] == [("visibility", "private"), ("push", None)]


def test_a_push_refused_for_a_protected_tag_leaves_every_byte_as_it_was(
    registry: Registry, place: Path, folder: Path
) -> None:
    registry.push(folder, "X", protected_tags=["kept"])
    write_tree(folder, {"another.txt": "another"})
    before = snapshot(registry.root)
    with pytest.raises(Conflict, match="kept"):
        registry.push(folder, "X", tags=["other", "kept"])
    assert snapshot(registry.root) == before
