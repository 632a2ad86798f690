"""The doctor: what is unusual is told in words; what is one's own and safe is set right, nothing else is touched."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from lhub.doctor import Oddity
from lhub.errors import NotFound
from lhub.layout import link_to
from lhub.lock import held
from lhub.mounts import Mount
from lhub.registry import Registry
from tests.by_hand import Kept, aside, copy_of, instead, linked_to, make_kept, moved_away, zero_the_diary
from tests.conftest import Shell, as_caller, snapshot, write_tree
from tests.hosts import folder_for_all
from tests.test_crowds import become, executor, needs_root, together

FUTURE = 4_070_908_800.0  # 2099-01-01


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """What the tests copy: alice/X with two versions, bob/Public; none writes here."""
    place = tmp_path_factory.mktemp("origin")
    kept = make_kept(place)
    small = write_tree(place / "small", {".gitignore": "#\n", "small.txt": "small\n"})
    as_caller(kept.registry, "bob").push(small, "Public")
    return kept


@pytest.fixture
def kept(origin: Kept, tmp_path: Path) -> Kept:
    return copy_of(origin, tmp_path / "registry")


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lhub.checkup._PAUSE", 0.0)  # nobody else changes anything


def told(kept: Kept, *, fix: bool = False) -> dict[str, str]:
    """What the doctor says, by path."""
    return {oddity.path: oddity.problem for oddity in kept.registry.doctor(fix=fix)}


def stamps(folder: Path) -> dict[str, tuple[int, ...]]:
    """What changes when anything at or below a folder does; links are not followed."""
    found: dict[str, tuple[int, ...]] = {}
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        found[str(path)] = (status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns)
    return found


def inside(kept: Kept, name: str = "") -> Path:
    return kept.path / ".lhub" / name


def in_the_trash(kept: Kept) -> None:
    """The tagged version where a collection puts what nobody names, as read-only as it was."""
    moved = aside(kept, kept.id()).rename(aside(kept, f".trash.1767225600.{kept.id()}"))
    for path in (moved, *moved.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)


def killed_push(kept: Kept, unique: str = "host-1-ab") -> Path:
    """Staging whose maker is dead."""
    staging = aside(kept, f".tmp.{unique}")
    write_tree(staging, {"files/a.txt": "half"})
    staging.chmod(0o700)
    Path(f"{staging}.lock").write_text("alice since")
    Path(f"{staging}.lock").chmod(0o600)
    return staging


# what is unusual


def a_tag_s_link(kept: Kept, target: str) -> None:
    (kept.path / "out").symlink_to(target)


UNUSUAL: dict[str, tuple[Callable[[Kept], object], str, str]] = {  # a deed, where it is told (if that is fixed), what
    "a file in the root": (
        lambda kept: (kept.registry.root / "notes.txt").write_text("x"), "notes.txt", "not lhub's"
    ),
    "a link in the root": (
        lambda kept: (kept.registry.root / "zoe").symlink_to("alice"), "zoe", "a link, which lhub never follows"
    ),
    "a root that everybody may write": (
        lambda kept: kept.registry.root.chmod(0o777), ".", ""
    ),
    "scratch in the root": (
        lambda kept: (kept.registry.root / ".tmp.host-1-ab").write_text("x"),
        ".tmp.host-1-ab",
        "a file that was being written when its writer was killed",
    ),
    "a folder like scratch in the root": (
        lambda kept: (kept.registry.root / ".tmp.mine").mkdir(), ".tmp.mine", "not lhub's"
    ),
    "a file in a namespace": (
        lambda kept: (kept.path.parent / "README").write_text("x"), "alice/README", "not lhub's"
    ),
    "a link in a namespace": (
        lambda kept: (kept.path.parent / "Y").symlink_to("X"), "alice/Y", "a link, which lhub never follows"
    ),
    "a trash that is a link": (
        lambda kept: (kept.path.parent / ".trash").symlink_to("/etc"), "alice/.trash", "a link"
    ),
    "a first push that did not get far": (
        lambda kept: write_tree(kept.path.parent / "Y", {"resource.yaml": "format: 1\nkind: files\n"}),
        "alice/Y",
        "a first push did not get as far as a tag here",
    ),
    "a file beside the tags": (
        lambda kept: (kept.path / "README.md").write_text("x"), "alice/X/README.md", "is not a link"
    ),
    "a folder beside the tags": (
        lambda kept: (kept.path / "data").mkdir(), "alice/X/data", "is not a link"
    ),
    "a name beside the tags that can be none": (
        lambda kept: (kept.path / ".DS_Store").write_text("x"), "alice/X/.DS_Store", "not lhub's"
    ),
    "a tag out of the tree": (
        lambda kept: a_tag_s_link(kept, "../../.."), "alice/X/out", "points outside its versions"
    ),
    "a tag in a circle": (
        lambda kept: a_tag_s_link(kept, "out"), "alice/X/out", "points outside its versions"
    ),
    "a protected tag without its link": (
        lambda kept: (kept.path / "v1").unlink(), "alice/X/.protected.v1", "its own link was not yet made"
    ),
    "a protected tag whose link was moved": (
        lambda kept: instead(kept.path / "v1", lambda path: path.symlink_to(link_to(kept.id("latest")))),
        "",
        "v1",
    ),
    "a foreign file among the versions": (
        lambda kept: aside(kept, "README").write_text("x"), "alice/X/.lhub/versions/README", "not lhub's"
    ),
    "a foreign file in the inside": (
        lambda kept: inside(kept, "junk").write_text("x"), "alice/X/.lhub/junk", "not lhub's"
    ),
    "a killed push": (
        killed_push,
        "alice/X/.lhub/versions/.tmp.host-1-ab",
        "a push that was killed or lost its machine at ",
    ),
    "staging without its lock": (
        lambda kept: Path(f"{killed_push(kept)}.lock").unlink(), "alice/X/.lhub/versions/.tmp.host-1-ab", ""
    ),
    "a killed collection": (
        lambda kept: write_tree(aside(kept, ".gone.host-1-ab"), {"files/a.txt": "half"}),
        "alice/X/.lhub/versions/.gone.host-1-ab",
        "",
    ),
    "a tagged version in the trash": (
        in_the_trash,
        "",
        "",
    ),
    "a diary that lags": (
        lambda kept: (kept.path / "v2").symlink_to(link_to(kept.id())),
        "alice/X/.lhub/history.git",
        "the diary does not yet tell of v2",
    ),
    "a tag of tomorrow": (
        lambda kept: os.utime(kept.path / "latest", (FUTURE, FUTURE), follow_symlinks=False),
        "alice/X/latest",
        "it was set at 2099-01-01T00:00:00Z, which is yet to come",
    ),
    "a version of tomorrow": (
        lambda kept: os.utime(kept.version(), (FUTURE, FUTURE)),
        "alice/X/.lhub/versions/{latest}",
        "2099-01-01T00:00:00Z",
    ),
    "an open inside": (
        lambda kept: inside(kept).chmod(0o777), "alice/X/.lhub", "its mode is 0777, others could change it"
    ),
    "an open folder of versions": (
        lambda kept: inside(kept, "versions").chmod(0o775),
        "alice/X/.lhub/versions",
        "its mode is 0775, others could change it",
    ),
    "a version that can be written": (
        lambda kept: kept.payload("a.txt").chmod(0o644),
        "alice/X/.lhub/versions/{latest}/files/a.txt",
        "its mode is 0644, it differs from what lhub sets",
    ),
    "an open lock": (
        lambda kept: inside(kept, "lock").chmod(0o666), "alice/X/.lhub/lock", "its mode is 0666"
    ),
    "an odd visibility": (
        lambda kept: kept.path.chmod(0o751), "alice/X", "its mode is 0751"
    ),
    "a link in the inside": (
        lambda kept: inside(kept, "elsewhere").symlink_to("/etc"),
        "alice/X/.lhub/elsewhere",
        "a link where lhub makes none",
    ),
    "a link in a version": (
        lambda kept: instead(kept.payload("a.txt"), linked_to("/etc/hostname")),
        "alice/X/.lhub/versions/{latest}/files/a.txt",
        "a link where lhub makes none",
    ),
    "a link for the versions": (
        lambda kept: moved_away(inside(kept, "versions"), kept.registry.root.parent / "outside"),
        "alice/X/.lhub/versions",
        "a link",
    ),
    "a link for the inside": (
        lambda kept: moved_away(inside(kept), kept.registry.root.parent / "outside"), "alice/X/.lhub", "a link"
    ),
    "a lock of staging that is a link": (
        lambda kept: aside(kept, ".tmp.host-1-ab.lock").symlink_to("/etc/hostname"),
        "alice/X/.lhub/versions/.tmp.host-1-ab.lock",
        "a link",
    ),
}  # fmt: skip


def make(kept: Kept, name: str) -> tuple[str, str]:
    """Make something unusual; where it must be told, and in which words."""
    latest = kept.id()
    deed, path, words = UNUSUAL[name]
    with kept.by_hand():
        deed(kept)
    return path.replace("{latest}", latest), words


@pytest.fixture(scope="module")
def odd(origin: Kept, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Kept, str, str]]:
    """A registry with the unusual thing of this name, made once for all who only look."""
    made: dict[str, tuple[Kept, str, str]] = {}

    def find(name: str) -> tuple[Kept, str, str]:
        if name not in made:
            kept = copy_of(origin, tmp_path_factory.mktemp("odd") / "registry")
            made[name] = (kept, *make(kept, name))
        return made[name]

    return find


def test_a_registry_as_pushes_left_it_has_nothing_unusual(kept: Kept) -> None:
    assert told(kept) == {}


@pytest.mark.parametrize("name", UNUSUAL)
def test_looking_changes_nothing(odd: Callable[[str], tuple[Kept, str, str]], name: str) -> None:
    kept, _, _ = odd(name)
    before = snapshot(kept.registry.root)
    kept.registry.doctor()
    assert snapshot(kept.registry.root) == before


@pytest.mark.parametrize("name", UNUSUAL)
def test_what_is_unusual_is_told_where_it_is(odd: Callable[[str], tuple[Kept, str, str]], name: str) -> None:
    kept, path, words = odd(name)
    assert [where for where, what in told(kept).items() if path in ("", where) and words in what]


@pytest.mark.parametrize("name", UNUSUAL)
def test_what_is_unusual_is_told_once_with_what_to_do(odd: Callable[[str], tuple[Kept, str, str]], name: str) -> None:
    kept, _, _ = odd(name)
    oddities = [oddity for oddity in kept.registry.doctor() if "you are root" not in oddity.problem]
    assert len(oddities) == 1
    assert all(oddity.problem and oddity.hint and "Errno" not in oddity.problem for oddity in oddities)


FIXED = {
    "scratch in the root", "a killed push", "a diary that lags", "a protected tag without its link", "an open inside",
    "an open folder of versions", "a version that can be written", "an open lock",
    "a protected tag whose link was moved", "a tagged version in the trash",
}  # fmt: skip
"""What one's own doctor sets right; all else is told again."""


@pytest.mark.parametrize("name", sorted(FIXED))
def test_what_is_one_s_own_and_safe_is_set_right_and_then_nothing_is_unusual(kept: Kept, name: str) -> None:
    make(kept, name)
    offered = kept.registry.doctor()
    assert [oddity.hint.endswith("lhub doctor --fix does it") for oddity in offered] == [True]
    assert [oddity.fixed for oddity in kept.registry.doctor(fix=True)] == [True]
    assert told(kept) == {}
    assert kept.damages() == []


@pytest.mark.parametrize("name", sorted(FIXED))
def test_what_was_set_right_is_as_pushes_left_it(kept: Kept, origin: Kept, name: str) -> None:
    make(kept, name)
    kept.registry.doctor(fix=True)
    names = {os.path.relpath(path, kept.path) for path in stamps(kept.path)}
    expected = {os.path.relpath(path, origin.path) for path in stamps(origin.path)}
    assert {name for name in names ^ expected if "/objects/" not in name} <= {"v2", ".lhub/lock"}


def test_a_mode_that_decides_the_visibility_is_never_made_wider(kept: Kept) -> None:
    for mode in (0o700, 0o750, 0o701, 0o711, 0o751, 0o777):
        kept.path.chmod(mode)
        kept.registry.doctor(fix=True)
        assert stat.S_IMODE(kept.path.stat().st_mode) & ~mode == 0


@pytest.mark.parametrize("name", sorted(UNUSUAL.keys() - FIXED - {"a folder like scratch in the root"}))
def test_what_lhub_did_not_make_is_told_and_stays(kept: Kept, name: str) -> None:
    make(kept, name)
    before = stamps(kept.registry.root)
    kept.registry.doctor(fix=True)
    gone = before.keys() - stamps(kept.registry.root).keys()
    assert gone in (set(), leftovers(before))


def leftovers(names: dict[str, tuple[int, ...]]) -> set[str]:
    """What a dead writer left, which may go."""
    return {name for name in names if "/.gone." in name or "/.tmp." in name}


def test_a_folder_that_is_named_like_scratch_stays(kept: Kept) -> None:
    write_tree(kept.registry.root / ".tmp.mine", {"thesis.txt": "years"})
    kept.registry.doctor(fix=True)
    assert (kept.registry.root / ".tmp.mine/thesis.txt").read_text() == "years"


def test_a_foreign_file_stays_wherever_it_is(kept: Kept) -> None:
    inner = ("", "/versions", "/history.git", "/history.git/lfs", "/builds", f"/versions/{kept.id()}/files")
    places = ["", "alice", "alice/X", *(f"alice/X/.lhub{place}" for place in inner)]
    with kept.by_hand():
        for place in places:
            write_tree(kept.registry.root / place, {"thesis.txt": "years", "work/more.txt": "more"})
    kept.registry.doctor(fix=True)
    assert [place for place in places if (kept.registry.root / place / "thesis.txt").read_text() != "years"] == []
    assert [place for place in places if (kept.registry.root / place / "work/more.txt").read_text() != "more"] == []


def test_several_unusual_things_are_set_right_in_one_go(kept: Kept) -> None:
    for unique in ("host-1-ab", "host-2-cd", "host-3-ef"):
        killed_push(kept, unique)
    (kept.path / "v1").unlink()
    inside(kept, "builds").chmod(0o777)
    kept.registry.doctor(fix=True)
    assert told(kept) == {}


def test_fixing_twice_is_quiet(kept: Kept) -> None:
    killed_push(kept)
    (kept.path / "notes.txt").write_text("x")
    kept.registry.doctor(fix=True)
    before = snapshot(kept.registry.root)
    assert [oddity.fixed for oddity in kept.registry.doctor(fix=True)] == [False]
    assert snapshot(kept.registry.root) == before


# who is alive, and who is somebody else


def test_a_push_that_is_alive_is_not_unusual_and_not_swept(kept: Kept) -> None:
    staging = killed_push(kept)
    with held(f"{staging}.lock", mode=0o600, timeout=1, note="alice"):
        assert told(kept, fix=True) == {}
        assert (staging / "files/a.txt").read_text() == "half"


def test_another_s_resource_is_looked_at_from_outside_and_left_alone(kept: Kept) -> None:
    bobs = kept.registry.root / "bob/Public"
    (bobs / "README.md").write_text("x")
    (bobs / ".lhub").chmod(0o777)
    write_tree(bobs / ".lhub/versions/.tmp.host-1-ab", {"files/a": "half"})
    (bobs / ".lhub/versions/.tmp.host-1-ab.lock").write_text("bob since")
    before = snapshot(bobs)
    found = told(kept, fix=True)
    assert "bob/Public/README.md" in found
    assert snapshot(bobs) == before


def test_what_one_may_not_see_is_not_told(kept: Kept) -> None:
    as_caller(kept.registry, "bob").visibility("bob/Public", "private")
    (kept.registry.root / "bob/Public/README.md").write_text("x")
    assert told(kept) == {}


def test_a_registry_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no registry at"):
        Registry(tmp_path / "nowhere").doctor()


@needs_root
def test_what_another_user_made_is_not_said_to_be_fixed(kept: Kept) -> None:
    """In a team's namespace somebody else's staging and modes are his to set right."""
    staging = killed_push(kept)
    for path in (staging, Path(f"{staging}.lock"), kept.registry.root / ".tmp.host-9-zz"):
        if not path.exists():
            path.write_text("x")
        os.chown(path, 20001, 20001)
    inside(kept, "builds").chmod(0o777)
    os.chown(inside(kept, "builds"), 20001, 20001)
    claimed = [oddity.path for oddity in kept.registry.doctor(fix=True) if oddity.fixed]
    assert claimed == []
    assert sorted(told(kept)) == [
        ".tmp.host-9-zz",
        "alice/X",  # which is not all of one owner
        "alice/X/.lhub/builds",
        "alice/X/.lhub/versions/.tmp.host-1-ab",
    ]


# links are never followed


def outside(tmp_path: Path) -> Path:
    """A folder beside the registry with what the doctor would set right if it were inside."""
    folder = write_tree(tmp_path / "outside", {"mine.txt": "mine", "deep/mine.txt": "mine", ".tmp.x/part": "half"})
    (folder / ".tmp.x.lock").write_text("me")
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o777)
    return folder


PLACES = [
    "zoe", "alice/Y", "alice/.trash", "alice/X/v9", "alice/X/.lhub/builds", "alice/X/.lhub/versions/" + "0" * 64,
    "alice/X/.lhub/versions/.tmp.y", "alice/X/.lhub/versions/.tmp.y.lock", "alice/X/.lhub/history.git/hooks",
    "alice/X/.lhub/secret", "alice/X/.lhub/lock", "alice/X/.lhub/damaged",
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_a_link_leads_the_doctor_nowhere(kept: Kept, tmp_path: Path, place: str) -> None:
    beyond = outside(tmp_path)
    target = kept.registry.root / place
    if target.is_dir():
        shutil.rmtree(target)
    target.unlink(missing_ok=True)
    target.symlink_to(beyond / "mine.txt" if place.endswith(("lock", "secret")) else beyond)
    before = stamps(beyond)
    assert [path for path in told(kept, fix=True) if path.startswith(f"{place}/")] == []
    assert (stamps(beyond), target.is_symlink()) == (before, True)


@pytest.mark.parametrize("place", ["alice/X/.lhub", "alice/X/.lhub/versions", "alice/X/.lhub/history.git"])
def test_a_folder_of_lhub_s_that_became_a_link_leads_the_doctor_nowhere(kept: Kept, tmp_path: Path, place: str) -> None:
    target = kept.registry.root / place
    beyond = tmp_path / "outside"
    target.rename(beyond)
    target.symlink_to(beyond)
    versions = beyond / {"alice/X/.lhub": "versions", "alice/X/.lhub/versions": ""}.get(place, "versions")
    write_tree(versions, {".tmp.x/part": "half", ".tmp.x.lock": "me", "mine.txt": "mine"})
    for path in (versions / "mine.txt", versions / ".tmp.x"):
        path.chmod(0o777)
    before = stamps(beyond)
    kept.registry.doctor(fix=True)
    assert stamps(beyond) == before


def test_a_namespace_s_trash_that_is_a_link_is_not_looked_into(kept: Kept, tmp_path: Path) -> None:
    beyond = outside(tmp_path)
    (kept.path.parent / ".trash").symlink_to(beyond)
    before = stamps(beyond)
    assert [path for path in told(kept, fix=True) if path.startswith("alice/.trash/")] == []
    assert stamps(beyond) == before


# nothing of it stops the rest

TAKEN: dict[str, Callable[[Path], object]] = {
    "the inside is gone": lambda path: shutil.rmtree(path / ".lhub"),
    "the inside is a file": lambda path: instead(path / ".lhub", lambda inside: inside.write_text("x")),
    "the versions are a file": lambda path: instead(path / ".lhub/versions", lambda inside: inside.write_text("x")),
    "the diary is a file": lambda path: instead(path / ".lhub/history.git", lambda inside: inside.write_text("x")),
    "the objects are a file": lambda path: instead(
        path / ".lhub/history.git/objects", lambda inside: inside.write_text("x")
    ),
    "the kind is cut": lambda path: (path / "resource.yaml").write_text("form"),
}


@pytest.mark.parametrize("fix", [False, True])
@pytest.mark.parametrize("name", TAKEN)
def test_a_resource_that_was_taken_apart_ends_no_round(kept: Kept, name: str, fix: bool) -> None:
    with kept.by_hand():
        TAKEN[name](kept.path)
    (kept.registry.root / "bob/Public/README.md").write_text("x")
    assert "bob/Public/README.md" in told(kept, fix=fix)


def test_a_diary_that_does_not_read_is_left_to_verify(kept: Kept) -> None:
    with kept.by_hand():
        zero_the_diary(kept)
    assert told(kept) == {}
    assert not kept.registry.verify().ok


def test_a_remedy_that_fails_is_said_and_the_others_are_done(kept: Kept) -> None:
    killed_push(kept)
    (kept.path / "v2").symlink_to(link_to(kept.id()))
    with held(kept.resource.folder.lock, mode=0o600, timeout=1, note="bob"):
        oddities = as_caller(kept.registry, "alice", timeout=0.05).doctor(fix=True)
    assert {oddity.path.rpartition("/")[2]: oddity.fixed for oddity in oddities} == {
        ".tmp.host-1-ab": True,
        "history.git": False,
    }
    [failed] = [oddity for oddity in oddities if not oddity.fixed]
    assert "it could not be done" in failed.hint


# clocks


def test_a_clock_that_ran_backwards_between_two_changes_is_told(kept: Kept) -> None:
    late = as_caller(kept.registry, "alice")
    late.session = replace(late.session, clock=lambda: time.time() - 86_400)
    late.tag("alice/X", "yesterday")
    found = told(kept)
    assert list(found) == ["alice/X/.lhub/history.git"]
    assert found["alice/X/.lhub/history.git"].startswith("the clock ran backwards: tag by alice says ")


def test_clocks_that_differ_by_less_than_a_minute_are_honest(kept: Kept) -> None:
    late = as_caller(kept.registry, "alice")
    late.session = replace(late.session, clock=lambda: time.time() - 30)
    late.tag("alice/X", "almost")
    soon = time.time() + 30
    os.utime(kept.path / "latest", (soon, soon), follow_symlinks=False)
    assert told(kept) == {}


# what the file system cannot keep


@pytest.fixture(autouse=True)
def on_an_ordinary_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the tests lie; what a mount cannot keep has tests of its own."""
    mounted(monkeypatch, "ext4", "rw")


def mounted(monkeypatch: pytest.MonkeyPatch, kind: str, *options: str) -> None:
    """Let the registry lie on a mount of this kind."""
    mount = Mount("/mnt", kind, "server:/", frozenset(options))
    monkeypatch.setattr("lhub.doctor.mount_of", lambda path: mount)


def test_what_the_mount_cannot_keep_is_said_aloud(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(monkeypatch, "nfs", "rw", "nolock", "local_lock=all", "soft")
    found = kept.registry.doctor()
    assert [oddity.path for oddity in found] == [".", "."]
    assert "a lock holds on this host only" in found[0].problem
    assert "is lost without a word" in found[1].problem
    assert all(oddity.hint.startswith("mount it ") and not oddity.fixed for oddity in found)


def test_a_mount_that_keeps_all_is_not_unusual(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(monkeypatch, "nfs4", "rw", "hard", "local_lock=none")
    assert told(kept) == {}


@needs_root
def test_that_root_sees_all_is_said_where_there_are_others_to_see(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(monkeypatch, "ext4", "rw")
    assert told(kept) == {}
    kept.registry.root.chmod(0o1777)
    assert "root reads and changes everything on ext4" in told(kept)["."]


def test_where_no_system_tells_of_mounts_nothing_is_unusual(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lhub.doctor.mount_of", lambda path: None)
    assert told(kept) == {}


# teams, and what was handed over

ALICE, BOB, TEAM = 20001, 20002, 20100


@dataclass(frozen=True, kw_only=True)
class Team:
    """A shared registry with a namespace `vision` of alice and bob, and what each of them is told."""

    folder: Path

    @property
    def path(self) -> Path:
        """The resource that alice made."""
        return self.folder / "registry/vision/X"

    def let(self, uid: int, work: Callable[[Registry], object], umask: int = 0o022) -> None:
        """Let a member do something, in a process of his own."""

        def be() -> None:
            become(uid, TEAM)
            os.umask(umask)
            work(Registry(self.folder / "registry", namespace="vision"))

        assert together(be) == [0]

    def push(self, uid: int, name: str, umask: int = 0o022) -> None:
        self.let(uid, lambda registry: registry.push(self.folder / "src", name), umask)

    def told(self, uid: int, *, fix: bool = False) -> list[dict[str, Any]]:
        """What the doctor tells a member."""
        answer = self.folder / f"answer-{uid}"
        self.let(uid, lambda registry: answer.write_text(json.dumps([o.to_dict() for o in registry.doctor(fix=fix)])))
        return list(json.loads(answer.read_text()))

    def paths(self, uid: int) -> list[str]:
        """Where something is unusual, for a member."""
        return [oddity["path"] for oddity in self.told(uid)]


@pytest.fixture
def team() -> Iterator[Team]:
    """A team whose alice made X, under an umask that lets nobody else in."""
    with folder_for_all() as path:
        folder = Path(path)
        first = Registry(folder / "first", namespace="root")  # loads what another user may not be able to
        first.push(executor(folder / "src", "x"), "X")
        first.doctor()
        Registry(folder / "registry").init(shared=True)
        team = Team(folder=folder)
        team.let(ALICE, lambda own: own.create_namespace("vision", group=str(TEAM)))
        team.push(ALICE, "X", 0o077)
        yield team


@needs_root
def test_a_team_s_namespace_as_pushes_of_many_left_it_has_nothing_unusual(team: Team) -> None:
    team.push(BOB, "X", 0o077)
    team.push(BOB, "Y", 0o077)
    team.let(BOB, lambda registry: registry.visibility("vision/Y", "private"))
    team.let(ALICE, lambda registry: registry.tag("vision/Y", "v1"))
    assert (team.told(ALICE), team.told(BOB)) == ([], [])


CLOSED: dict[str, tuple[str, int]] = {
    "the inside": (".lhub", 0o2700),
    "a folder that lost its setgid": (".lhub/builds", 0o775),
    "the versions": (".lhub/versions", 0o2755),
    "the diary": (".lhub/history.git", 0o2700),
    "the lock": (".lhub/lock", 0o600),
    "a file that others cannot read": (".lhub/recorded.json", 0o600),
}


@needs_root
@pytest.mark.parametrize("name", CLOSED)
def test_what_a_colleague_cannot_go_on_with_is_told_with_whose_it_is(team: Team, name: str) -> None:
    place, mode = CLOSED[name]
    os.chmod(team.path / place, mode)
    found = {oddity["path"]: oddity for oddity in team.told(ALICE)}
    assert f"vision/X/{place}" in found
    assert "uid-20001" in found[f"vision/X/{place}"]["problem"]


@pytest.mark.slow
@needs_root
@pytest.mark.parametrize("name", CLOSED)
def test_its_owner_opens_it_to_his_team_and_nobody_else_does(team: Team, name: str) -> None:
    place, mode = CLOSED[name]
    os.chmod(team.path / place, mode)
    assert [oddity for oddity in team.told(BOB, fix=True) if oddity["fixed"]] == []
    assert [oddity["fixed"] for oddity in team.told(ALICE, fix=True)] == [True]
    assert (team.told(ALICE), team.told(BOB)) == ([], [])
    team.push(BOB, "X")


@needs_root
def test_a_resource_that_a_colleague_cannot_enter_is_told_to_him_with_whose_it_is(team: Team) -> None:
    os.chmod(team.path, 0o700)
    [found] = team.told(BOB)
    assert (found["path"], found["fixed"]) == ("vision/X", False)
    assert found["problem"] == "its mode is 0700, so uid-20001 alone can enter it"
    assert {oddity["path"]: oddity["fixed"] for oddity in team.told(ALICE, fix=True)} == {
        "vision/X": True,
        "vision/X/.lhub/history.git": True,  # which had not been told that it is private now
    }
    assert stat.S_IMODE(team.path.stat().st_mode) == 0o2770
    assert team.told(BOB) == []


@needs_root
def test_a_folder_of_another_group_is_given_back_to_the_team(team: Team) -> None:
    os.chown(team.path / ".lhub/versions", ALICE, ALICE)
    os.chmod(team.path / ".lhub/versions", 0o2775)
    [found] = team.told(BOB)
    assert "its group is gid-20001" in found["problem"]
    assert [oddity["fixed"] for oddity in team.told(ALICE, fix=True)] == [True]
    status = (team.path / ".lhub/versions").stat()
    assert (status.st_gid, stat.S_IMODE(status.st_mode)) == (TEAM, 0o2775)


@needs_root
def test_a_team_s_namespace_that_lost_its_sticky_bit_gets_it_back_from_its_owner(team: Team) -> None:
    os.chmod(team.path.parent, 0o2775)
    assert team.paths(BOB) == ["vision"]
    assert [oddity["fixed"] for oddity in team.told(ALICE, fix=True)] == [True]
    assert stat.S_IMODE(team.path.parent.stat().st_mode) == 0o3775


@needs_root
def test_what_a_hand_over_left_to_the_one_who_went_is_told_to_who_came(kept: Kept) -> None:
    for path in (kept.path.parent, kept.path, *kept.path.rglob("*")):
        os.lchown(path, BOB, BOB)
    registry = as_caller(kept.registry, "alice")
    registry.session = replace(registry.session, person=registry.session.person._replace(uid=BOB))
    assert registry.doctor() == []
    os.lchown(kept.path / "latest", ALICE, ALICE)
    os.chown(inside(kept, "versions"), ALICE, ALICE)
    [found] = registry.doctor()
    assert found.path == "alice/X"
    assert found.problem == "2 files or folders in it belong to uid-20001, the namespace to uid-20002"
    assert found.hint == (
        f"who hands over finishes it on the file server: chown -R uid-20002 {kept.registry.root}/alice"
    )


# the answer


def test_an_oddity_as_a_document() -> None:
    oddity = Oddity(path="alice/X", problem="odd", hint="look", fixed=True)
    assert oddity.to_dict() == {"path": "alice/X", "problem": "odd", "hint": "look", "fixed": True}


def test_the_command_says_what_is_left(kept: Kept, shell: Shell) -> None:
    (kept.registry.root / "notes\x1b[31m.txt").write_text("x")
    (kept.registry.root / "line\nalice: nothing unusual").write_text("x")
    root = str(kept.registry.root)
    answer = shell("doctor", LHUB_ROOT=root)
    assert (answer.code, "2 unusual" in answer.out, "\x1b" in answer.out) == (0, True, False)
    assert "\nalice: nothing unusual" not in answer.out
    document = shell("doctor", "--json", LHUB_ROOT=root).json
    assert (document["ok"], len(document["findings"])) == (False, 2)
