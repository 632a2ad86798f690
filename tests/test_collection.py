"""Collection: only what nobody names goes, each stage a grace after the one before, beside everybody else's work.

"Now" is the mtime of a file that a collection has just made; here a pen makes that file some days from now.
"""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import random
import signal
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

from lhub.collection import SHORTEST, Collected, Rule, plan
from lhub.disk import Pen
from lhub.errors import Denied, NotFound, UsageError
from lhub.layout import ResourceFolder, is_version, trashed
from lhub.opening import Moved, unmoved
from lhub.registry import Registry
from lhub.store import Resource
from tests import test_crowds as crowds
from tests.conftest import as_caller, by_hand, config_yml, executor_py, read_tree, snapshot, write_tree
from tests.test_crowds import become, needs_root, together
from tests.test_lock import held_elsewhere
from tests.test_staging import Hooked

DAY = 86_400.0
SAME = "the same in every version\n"
BIG = b"\0big" * (300 << 10)
shared = crowds.shared


class Future(Pen):
    """A pen on a file server that lives some days from now: an empty file, which tells the time, is made then."""

    def __init__(
        self,
        days: float,
        when: Callable[[str, str], bool] = lambda verb, path: False,
        deed: Callable[[], object] = lambda: None,
    ) -> None:
        """`deed` is done once, before the first step that `when` names."""
        self.ahead, self.when, self.deed, self.done = days * DAY, when, deed, False

    def step(self, verb: str, path: str) -> None:
        if not self.done and self.when(verb, path):
            self.done = True
            self.deed()

    def write_new(self, path: str, data: bytes, mode: int, *, sync: bool = True) -> None:
        super().write_new(path, data, mode, sync=sync)
        if not data:
            os.utime(path, (time.time() + self.ahead,) * 2)


def later(registry: Registry, days: float, *, host: float | None = None, pen: Pen | None = None) -> Registry:
    """The same caller at the same registry some days from now; `host`: where the clock of his own machine stands."""
    ahead = (days if host is None else host) * DAY
    moved = as_caller(registry, registry.session.caller)
    moved.session = replace(moved.session, pen=pen or Future(days), clock=lambda: time.time() + ahead)
    return moved


def gc(
    registry: Registry, days: float = 0, *, host: float | None = None, pen: Pen | None = None, **options: Any
) -> Collected:
    """Collect some days from now."""
    return later(registry, days, host=host, pen=pen).gc(**options)


def removed(registry: Registry, days: float = 0) -> Collected:
    """Let what nobody names go through all three stages; what the last of them did."""
    gc(registry, days), gc(registry, days + 15)
    return gc(registry, days + 30)


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """A resource, `alice/X`, with versions one after the other: each with a text of its own and one of all."""

    registry: Registry
    source: Path

    @property
    def place(self) -> ResourceFolder:
        return ResourceFolder(str(self.registry.root / "alice/X"))

    def push(self, mark: str, *tags: str, protected: tuple[str, ...] = (), **files: Any) -> str:
        """Push a folder with this mark; its version. `run` is executable."""
        for path in self.source.iterdir() if self.source.exists() else ():
            path.unlink()
        write_tree(self.source, {"mark.txt": f"{mark}\n", "same.txt": SAME, **files})
        if "run" in files:
            (self.source / "run").chmod(0o755)
        return self.registry.push(self.source, "X", tags=tags, protected_tags=protected).version

    def names(self) -> set[str]:
        """What lies under versions/, but for notes and scratch: versions, and those in the trash by their id."""
        found = os.listdir(self.place.versions)
        return {name for name in found if is_version(name)} | {
            f"trash {trashed(name)}" for name in found if trashed(name)
        }

    def noted(self) -> set[str]:
        return {name.removeprefix(".seen.") for name in os.listdir(self.place.versions) if name.startswith(".seen.")}

    def blob(self, content: str | bytes) -> Path:
        data = content if isinstance(content, bytes) else content.encode()
        return Path(self.place.blob(hashlib.sha256(data).hexdigest()))

    def abandon(self, content: str | bytes, *, when: float = 1.0) -> Path:
        """A blob that no version names, as a push leaves that was killed before it was published."""
        blob = self.blob(content)
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content if isinstance(content, bytes) else content.encode())
        blob.chmod(0o444)
        os.utime(blob, (when, when))
        return blob


@pytest.fixture
def shelf(registry: Registry, tmp_path: Path) -> Shelf:
    return Shelf(registry=registry, source=tmp_path / "src")


@pytest.fixture
def old(shelf: Shelf) -> str:
    """A version that nobody names; another is `latest`."""
    version = shelf.push("old", "v1")
    shelf.push("new")
    shelf.registry.untag("alice/X:v1")
    return version


def size_of(root: Path) -> int:
    """The bytes of all files below a folder, each file once however many names it has."""
    found = {}
    for path in root.rglob("*"):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):
            found[status.st_ino] = status.st_size
    return sum(found.values())


def stamps(root: Path) -> dict[str, tuple[int, ...]]:
    """What the kernel notes of everything below a folder: even a rename there and back is seen in it."""
    found: dict[str, tuple[int, ...]] = {}
    for path in [root, *root.rglob("*")]:
        status = path.lstat()
        found[str(path)] = (
            status.st_ino, status.st_mode, status.st_nlink, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        )  # fmt: skip
    return found


def content(registry: Registry, ref: str) -> dict[str, bytes]:
    return read_tree(Path(registry.path(ref)))


# each stage its grace


def test_a_version_is_noted_then_trashed_then_removed_each_a_grace_after_the_other(shelf: Shelf, old: str) -> None:
    ref, stages = f"alice/X@{old}", []
    for days in (0, 1, 13.9, 14.1, 15, 28, 28.2, 60):
        done = gc(shelf.registry, days)
        stages.append((days, done.noted, done.trashed, done.removed))
    assert [stage for stage in stages if any(stage[1:])] == [
        (0, (ref,), (), ()),
        (14.1, (), (ref,), ()),
        (28.2, (), (), (ref,)),
    ]
    assert shelf.names() == {shelf.registry.show("alice/X").version}
    assert shelf.noted() == set()


def test_a_grace_of_ten_minutes_is_kept_to_the_second(shelf: Shelf, old: str) -> None:
    minutes, stages = 1 / 1440, []
    for days in (0, 9.9 * minutes, 10.1 * minutes, 20 * minutes, 20.3 * minutes):
        done = gc(shelf.registry, days, grace=SHORTEST)
        stages.append((len(done.noted), len(done.trashed), len(done.removed)))
    assert stages == [(1, 0, 0), (0, 0, 0), (0, 1, 0), (0, 0, 0), (0, 0, 1)]


@pytest.mark.parametrize("options", [{"grace": SHORTEST - 0.1}, {"grace": -1.0}, {"keep_last": 0}, {"keep_last": -1}])
def test_a_rule_that_could_take_what_is_being_pushed_is_refused(
    shelf: Shelf, old: str, options: dict[str, Any]
) -> None:
    before = stamps(shelf.registry.root)
    with pytest.raises(UsageError):
        gc(shelf.registry, 99, **options)
    assert stamps(shelf.registry.root) == before


def test_a_version_in_the_trash_can_still_be_read_by_its_digits(shelf: Shelf, old: str, tmp_path: Path) -> None:
    gc(shelf.registry), gc(shelf.registry, 15)
    assert shelf.names() == {f"trash {old}", shelf.registry.show("alice/X").version}
    assert content(shelf.registry, f"alice/X@{old[:8]}")["mark.txt"] == b"old\n"
    pulled = shelf.registry.pull(f"alice/X@{old}", tmp_path / "pulled")
    assert read_tree(Path(pulled.path)) == {"mark.txt": b"old\n", "same.txt": SAME.encode()}


def test_a_version_that_is_gone_is_not_here_and_what_is_left_is_whole(shelf: Shelf, old: str) -> None:
    removed(shelf.registry)
    with pytest.raises(NotFound):
        shelf.registry.path(f"alice/X@{old}")
    with pytest.raises(NotFound, match="a collection has removed it"):
        shelf.registry.rollback("alice/X", old)
    assert shelf.registry.verify().ok
    assert content(shelf.registry, "alice/X")["mark.txt"] == b"new\n"


# what never goes


def test_what_a_tag_names_never_goes(shelf: Shelf) -> None:
    versions = {shelf.push(mark, mark) for mark in ("a", "b", "c")}
    for days in (0, 400, 800, 1200):
        gc(shelf.registry, days)
    assert shelf.names() == versions


def test_what_a_pin_alone_names_never_goes(shelf: Shelf) -> None:
    """As a kill leaves it between the pin and its tag."""
    version = shelf.push("a", protected=("v1",))
    shelf.push("b")
    Path(shelf.place.tag("v1")).unlink()
    for days in (0, 400, 800, 1200):
        gc(shelf.registry, days)
    assert version in shelf.names()
    assert content(shelf.registry, "alice/X:v1")["mark.txt"] == b"a\n"


def test_a_version_that_a_pin_names_counts_and_not_the_one_that_its_tag_says(shelf: Shelf, old: str) -> None:
    """A hand has moved the link of a protected tag; the pin wins."""
    pinned = shelf.push("pinned", protected=("v1",))
    shelf.push("newest")
    Path(shelf.place.tag("v1")).unlink()
    Path(shelf.place.tag("v1")).symlink_to(f".lhub/versions/{old}")
    removed(shelf.registry)
    assert pinned in shelf.names()
    assert old not in shelf.names()


def test_the_newest_never_goes_though_no_tag_names_it(shelf: Shelf) -> None:
    shelf.push("a", "t"), shelf.push("b", "t")
    newest = shelf.push("c", "t")
    shelf.registry.untag("alice/X:t")
    for days in (0, 15, 30, 400):
        gc(shelf.registry, days)
    assert shelf.names() == {newest}


@pytest.mark.parametrize("keep", [2, 3, 9])
def test_as_many_of_the_newest_as_are_asked_for_never_go(shelf: Shelf, keep: int) -> None:
    versions = [shelf.push(mark) for mark in "abcd"]
    for days in (0, 15, 30, 400):
        gc(shelf.registry, days, keep_last=keep)
    assert shelf.names() == set(versions[-keep:])


def test_a_version_that_is_kept_for_its_age_is_noted_only_when_it_is_no_more(shelf: Shelf) -> None:
    """What was noted, and was then among the newest that are kept, waits for a whole grace again."""
    versions = [shelf.push(mark) for mark in "abc"]
    assert {f"alice/X@{version}" for version in versions[:2]} == set(gc(shelf.registry).noted)
    gc(shelf.registry, 13, keep_last=2)
    assert shelf.noted() == {versions[0]}
    done = gc(shelf.registry, 15)
    assert (done.trashed, done.noted) == ((f"alice/X@{versions[0]}",), (f"alice/X@{versions[1]}",))


# whoever names it


def by_tag(shelf: Shelf, version: str) -> None:
    shelf.registry.tag(f"alice/X@{version}", "again")


def by_protecting(shelf: Shelf, version: str) -> None:
    shelf.registry.tag(f"alice/X@{version}", "again", protect=True)


def by_rollback(shelf: Shelf, version: str) -> None:
    shelf.registry.tag("alice/X", "again")
    shelf.registry.rollback("alice/X", version, "again")


def by_push(shelf: Shelf, version: str) -> None:
    assert shelf.push("old", "again", run="#!/bin/sh") == version


def by_restoring_a_tag(shelf: Shelf, version: str) -> None:
    shelf.registry.restore("alice/X:v1")
    shelf.registry.tag("alice/X:v1", "again")
    shelf.registry.untag("alice/X:v1")


def by_an_import(shelf: Shelf, version: str) -> None:
    """Another registry has the same version under a tag."""
    other = Registry(shelf.registry.root.parent / "other", namespace="alice")
    Shelf(registry=other, source=shelf.source.parent / "other-src").push("old", "again", run="#!/bin/sh")
    other.copy("alice/X", to=shelf.registry.root)


WAYS = [by_tag, by_protecting, by_rollback, by_push, by_restoring_a_tag, by_an_import]


@pytest.fixture
def script(shelf: Shelf) -> str:
    """A version with an executable file that nobody names; another is `latest`."""
    version = shelf.push("old", "v1", run="#!/bin/sh")
    shelf.push("new")
    shelf.registry.untag("alice/X:v1")
    return version


@pytest.mark.parametrize("name_it", WAYS)
def test_who_names_a_noted_version_removes_the_note_and_its_grace_begins_anew(
    shelf: Shelf, script: str, name_it: Callable[[Shelf, str], None]
) -> None:
    gc(shelf.registry)
    assert shelf.noted() == {script}
    name_it(shelf, script)
    assert shelf.noted() == set()
    gc(shelf.registry, 15)
    shelf.registry.delete("alice/X:again", unprotect=["again"] if name_it is by_protecting else [])
    if name_it is by_push or name_it is by_an_import:
        shelf.push("new")  # which stands, and is `latest` again
    assert gc(shelf.registry, 16).noted == (f"alice/X@{script}",)
    assert gc(shelf.registry, 29).empty
    assert gc(shelf.registry, 31).trashed == (f"alice/X@{script}",)


@pytest.mark.parametrize("name_it", WAYS)
def test_who_names_a_version_in_the_trash_brings_it_back_whole(
    shelf: Shelf, script: str, name_it: Callable[[Shelf, str], None]
) -> None:
    gc(shelf.registry), gc(shelf.registry, 15)
    assert f"trash {script}" in shelf.names()
    name_it(shelf, script)
    assert script in shelf.names()
    found = content(shelf.registry, "alice/X:again")
    assert found == {"mark.txt": b"old\n", "same.txt": SAME.encode(), "run": b"#!/bin/sh"}
    for days in (16, 31, 46):
        gc(shelf.registry, days)
    assert content(shelf.registry, "alice/X:again") == found
    assert shelf.registry.verify().ok


def serious(registry: Registry) -> list[str]:
    """What a verification finds, but for what the next change mends by itself."""
    return [found.problem for found in registry.verify().findings if not found.hint.startswith("the next ")]


@pytest.mark.parametrize(("days", "step"), [(15, "sync_folder versions"), (30, "rename .gone.")], ids=["trash", "gone"])
@pytest.mark.parametrize("executable", [False, True], ids=["plain", "executable"])
def test_a_version_that_is_named_while_it_goes_comes_back_though_the_lock_did_not_hold(
    shelf: Shelf, days: int, step: str, executable: bool
) -> None:
    """A writer on another machine, whose lock this file system does not know, sets a tag between two steps."""
    files = {"run": "#!/bin/sh"} if executable else {"plain": "#!/bin/sh"}
    version = shelf.push("old", "v1", **files)
    shelf.push("new")
    shelf.registry.untag("alice/X:v1")
    for day in range(0, days, 15):
        gc(shelf.registry, day)
    verb, part = step.split()
    pen = Future(
        days,
        lambda done, path: done == verb and part in path,
        lambda: Path(shelf.place.tag("again")).symlink_to(f".lhub/versions/{version}"),
    )
    gc(shelf.registry, days, pen=pen)
    assert pen.done
    assert content(shelf.registry, "alice/X:again").keys() == {"mark.txt", "same.txt", *files}
    assert serious(shelf.registry) == []


# in doubt it stays: times that cannot be


def test_a_note_from_the_future_is_young(shelf: Shelf, old: str) -> None:
    gc(shelf.registry)
    os.utime(shelf.place.seen(old), (time.time() + 400 * DAY,) * 2)
    for days in (0, 15, 399):
        assert gc(shelf.registry, days).empty
    assert old in shelf.names()


@pytest.mark.parametrize("seconds", [0, 1, int(time.time()) - 400 * 86_400], ids=["0", "1", "last year"])
def test_what_came_to_the_trash_by_a_clock_that_was_behind_is_young_by_its_ctime(
    shelf: Shelf, old: str, seconds: int
) -> None:
    version = Path(shelf.place.version(old).path)
    version.rename(version.parent / f".trash.{seconds}.{old}")
    for days in (0, 1, 13.9):
        assert gc(shelf.registry, days).empty
    assert f"trash {old}" in shelf.names()
    assert gc(shelf.registry, 14.1).removed == (f"alice/X@{old}",)


@pytest.mark.parametrize("ahead", [1, 400, 10**6], ids=["tomorrow", "next year", "never"])
def test_what_came_to_the_trash_by_a_clock_that_was_ahead_is_young_until_then(
    shelf: Shelf, old: str, ahead: int
) -> None:
    version = Path(shelf.place.version(old).path)
    version.rename(version.parent / f".trash.{int(time.time() + ahead * DAY)}.{old}")
    for days in (0, 14.1, min(ahead, 20_000) + 13.9):
        assert gc(shelf.registry, days).empty
    assert f"trash {old}" in shelf.names()


@pytest.mark.parametrize("host", [-20_000, -1, 400], ids=["1970", "yesterday", "next year"])
def test_a_wrong_clock_of_one_s_own_machine_takes_nothing_before_its_grace(shelf: Shelf, old: str, host: float) -> None:
    shelf.abandon("left behind", when=time.time())
    for day in (0, 10, 13):
        gc(shelf.registry, day, host=day + host)
    assert (old in shelf.names(), shelf.blob("left behind").exists()) == (True, True)


@pytest.mark.parametrize("host", [-20_000, -10, 400], ids=["1970", "last week", "next year"])
def test_the_clock_of_the_file_server_decides_when_a_grace_is_over(shelf: Shelf, old: str, host: float) -> None:
    gc(shelf.registry, 0, host=host)
    assert gc(shelf.registry, 15, host=15 + host).trashed == (f"alice/X@{old}",)
    assert gc(shelf.registry, 30, host=30 + host).removed == (f"alice/X@{old}",)


def test_a_version_made_by_a_clock_that_was_ahead_goes_as_slowly_as_any(shelf: Shelf) -> None:
    """Two from next year: the newer of them is the newest, the other waits for both its graces."""
    versions = [shelf.push(mark, "v") for mark in "abc"]
    for number, version in enumerate(versions[:2]):
        os.utime(shelf.place.version(version).path, (time.time() + (400 + number) * DAY,) * 2)
    shelf.registry.untag("alice/X:v")
    shelf.registry.tag(f"alice/X@{versions[2]}", "latest")
    assert gc(shelf.registry).noted == (f"alice/X@{versions[0]}",)
    assert gc(shelf.registry, 13.9).empty
    assert gc(shelf.registry, 15).trashed == (f"alice/X@{versions[0]}",)
    assert shelf.names() == {f"trash {versions[0]}", *versions[1:]}


# blobs


def test_the_blob_of_an_executable_goes_with_the_last_version_that_has_it(shelf: Shelf) -> None:
    """It has no second name that would tell: one inode cannot be both 0444 and 0555."""
    shelf.push("old", "v1", run="#!/bin/sh\nold")
    shelf.push("new", run="#!/bin/sh\nnew")
    shelf.registry.untag("alice/X:v1")
    gc(shelf.registry, 40), gc(shelf.registry, 55)
    assert shelf.blob("#!/bin/sh\nold").exists()
    gc(shelf.registry, 70)
    assert not shelf.blob("#!/bin/sh\nold").exists()
    for days in (100, 400):
        gc(shelf.registry, days)
    assert shelf.blob("#!/bin/sh\nnew").stat().st_nlink == 1
    assert shelf.registry.verify().ok


@pytest.mark.parametrize("part", [SAME, BIG], ids=["small", "over 1 MiB"])
@pytest.mark.parametrize("name", ["part", "run"], ids=["plain", "executable"])
def test_a_blob_that_another_version_has_too_stays(shelf: Shelf, part: str | bytes, name: str) -> None:
    shelf.push("old", "v1", **{name: part})
    shelf.push("new", **{name: part})
    shelf.registry.untag("alice/X:v1")
    removed(shelf.registry)
    assert shelf.blob(part).exists()
    assert not shelf.blob("old\n").exists()
    assert shelf.registry.verify().ok
    assert gc(shelf.registry, 400).empty


def test_a_blob_that_only_a_version_in_the_trash_has_stays_as_long_as_that(shelf: Shelf, script: str) -> None:
    gc(shelf.registry), gc(shelf.registry, 15), gc(shelf.registry, 28)
    assert shelf.blob("#!/bin/sh").exists()
    shelf.registry.tag(f"alice/X@{script}", "again")
    assert shelf.registry.verify().ok


def test_a_blob_that_a_killed_push_left_goes_when_it_is_old(shelf: Shelf, old: str) -> None:
    young, aged = shelf.abandon("young", when=time.time()), shelf.abandon("aged", when=time.time() - 15 * DAY)
    future = shelf.abandon("future", when=time.time() + 400 * DAY)
    done = gc(shelf.registry)
    assert (done.blobs, done.bytes) == (1, len("aged"))
    assert [blob.exists() for blob in (young, aged, future)] == [True, False, True]


def test_a_blob_that_a_push_has_linked_and_not_yet_named_stays(shelf: Shelf, tmp_path: Path) -> None:
    shelf.push("new")
    blob = shelf.abandon("linked")
    staging = Path(shelf.place.scratch("host-1-ab"))
    staging.mkdir()
    with held_elsewhere(Path(f"{staging}.lock")):
        os.link(blob, staging / "linked")
        assert gc(shelf.registry, 400).blobs == 0
    assert blob.exists()


def test_what_is_no_blob_is_left_in_the_store(shelf: Shelf) -> None:
    shelf.push("new")
    blob = shelf.abandon("x")
    strangers = [blob.with_name(name) for name in ("notes.txt", "A" * 64, "0" * 63)]
    for stranger in strangers:
        stranger.write_text("mine")
    (link := blob.with_name("0" * 64)).symlink_to("/etc/passwd")
    (folder := blob.with_name("1" * 64)).mkdir()
    for path in (*strangers, folder):
        os.utime(path, (1, 1))
    assert gc(shelf.registry, 400).blobs == 1
    assert all(path.exists() for path in (*strangers, folder))
    assert link.is_symlink()


@pytest.mark.parametrize("name", ["plain", "run"])
@pytest.mark.parametrize("step", ["rename", "unlink"], ids=["before it is taken", "while it is looked at"])
def test_a_push_that_needs_a_blob_just_when_it_is_collected_has_it(shelf: Shelf, name: str, step: str) -> None:
    shelf.push("first")
    blob, staged = shelf.abandon("needed"), threading.Event()

    def at(verb: str, path: str) -> bool:
        return verb == step and blob.exists() == (step == "rename")

    def begin() -> None:
        thread.start()
        assert staged.wait(20)

    pen = Hooked(lambda verb, path: verb == "write_new" and path.endswith("manifest.yaml"), staged.set)
    pusher = Shelf(registry=as_caller(shelf.registry, "alice", pen=pen), source=shelf.source)
    thread = threading.Thread(target=lambda: pusher.push("beside", "beside", **{name: "needed"}))
    collector = Hooked(at, begin)
    as_caller(shelf.registry, "alice", pen=collector).gc()
    assert collector.done
    thread.join()
    assert content(shelf.registry, "alice/X:beside")[name] == b"needed"
    assert shelf.registry.verify().ok


@pytest.mark.parametrize(
    ("name", "step"), [("plain", "link .file"), ("plain", "rename plain"), ("run", "set_time needed")]
)
def test_a_blob_that_is_collected_just_when_a_push_needs_it_is_made_anew(shelf: Shelf, name: str, step: str) -> None:
    shelf.push("first")
    blob = shelf.abandon("needed")
    verb, end = step.replace("needed", blob.name).split()
    pen = Hooked(lambda done, path: done == verb and path.endswith(end), shelf.registry.gc)
    Shelf(registry=as_caller(shelf.registry, "alice", pen=pen), source=shelf.source).push("x", **{name: "needed"})
    assert pen.done
    assert content(shelf.registry, "alice/X")[name] == b"needed"
    assert shelf.registry.verify().ok


def test_a_blob_that_is_collected_just_when_an_import_links_to_it_is_made_anew(shelf: Shelf) -> None:
    other = Shelf(registry=Registry(shelf.source.parent / "other", namespace="alice"), source=shelf.source)
    other.push("theirs", plain="needed")
    shelf.push("first")
    shelf.abandon("needed")
    pen = Hooked(lambda verb, path: verb == "link" and path.endswith("files/plain"), shelf.registry.gc)
    carrier = as_caller(other.registry, "alice", pen=pen)
    carrier.copy("alice/X", to=shelf.registry.root)
    assert pen.done
    assert content(shelf.registry, "alice/X")["plain"] == b"needed"
    assert shelf.registry.verify().ok


# what does not read keeps what it may need


def spoil(path: Path) -> None:
    with by_hand(path.parent):
        path.write_bytes(path.read_bytes()[:-1] + b"#")


def lose(path: Path) -> None:
    with by_hand(path.parent):
        path.unlink()


@pytest.mark.parametrize("harm", [spoil, lose])
@pytest.mark.parametrize("document", ["SHA256SUMS", "manifest.yaml"])
@pytest.mark.parametrize("days", [0, 15], ids=["in its place", "in the trash"])
def test_a_damaged_version_keeps_every_blob(
    shelf: Shelf, script: str, harm: Callable[[Path], None], document: str, days: int
) -> None:
    """Which blobs it names is not known; a good copy may come from another registry."""
    gc(shelf.registry, days - 15), gc(shelf.registry, days)
    blob = shelf.abandon("aged")
    [folder] = [path for path in Path(shelf.place.versions).iterdir() if path.name.endswith(script) and path.is_dir()]
    harm(folder / document)
    assert gc(shelf.registry, days + 10).blobs == 0
    assert blob.exists()
    assert shelf.blob("#!/bin/sh").exists()
    if days:
        assert gc(shelf.registry, 40).removed == (f"alice/X@{script}",)
        assert not blob.exists()


def test_a_blob_in_quarantine_goes_after_its_grace(shelf: Shelf) -> None:
    shelf.push("new", run="#!/bin/sh")
    with by_hand(shelf.blob("#!/bin/sh").parent):
        shelf.blob("#!/bin/sh").write_bytes(b"odd")
    assert shelf.registry.verify(repair=True).ok
    assert len(os.listdir(shelf.place.damaged)) == 1
    assert gc(shelf.registry, 13.9).blobs == 0
    done = gc(shelf.registry, 14.1)
    assert (done.blobs, done.bytes) == (1, len(b"odd"))
    assert os.listdir(shelf.place.damaged) == []
    assert shelf.registry.verify().ok


def killed(step: str) -> Future:
    """A pen that is taken out of one's hand before a step, a month from now."""

    def stop() -> None:
        raise KeyboardInterrupt

    verb, part = step.split()
    return Future(30, lambda done, path: done == verb and part in path, stop)


def test_what_a_killed_collection_was_removing_is_removed_at_once(shelf: Shelf, old: str) -> None:
    gc(shelf.registry), gc(shelf.registry, 15)
    with pytest.raises(KeyboardInterrupt):
        gc(shelf.registry, 30, pen=killed("remove_tree .gone."))
    assert shelf.names() == {shelf.registry.show("alice/X").version}
    before = size_of(shelf.registry.root)
    done = gc(shelf.registry, 30)
    assert not any(name.startswith(".gone.") for name in os.listdir(shelf.place.versions))
    assert before - size_of(shelf.registry.root) == done.bytes > 0
    assert shelf.registry.verify().ok


# names that change between two looks, as on a network file system


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ESTALE])
def test_what_goes_between_a_listing_and_a_look_is_passed_over(
    shelf: Shelf, old: str, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    gc(shelf.registry)
    lstat = os.lstat

    def gone(path: str, **words: Any) -> os.stat_result:
        if str(path).startswith(f"{shelf.place.versions}/"):
            raise OSError(number, os.strerror(number), path)
        return lstat(path, **words)

    monkeypatch.setattr(os, "lstat", gone)
    found = plan(Resource(shelf.place.path, "alice/X"), os.geteuid(), time.time() + 99 * DAY, Rule())
    assert (found.trash, found.remove, found.bytes) == ((), (), 0)


@pytest.mark.parametrize("name", ["v1", ".protected.v2"])
def test_while_a_tag_or_pin_cannot_be_read_nothing_goes(
    shelf: Shelf, old: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """On Gluster a link that is just being replaced says nothing."""
    shelf.push("one more", "v1", protected=("v2",))
    before, readlink = stamps(shelf.registry.root), os.readlink
    monkeypatch.setattr(os, "readlink", lambda path, **words: "" if str(path).endswith(f"/{name}") else readlink(path))
    [left] = gc(shelf.registry, 99).left
    assert left == f"alice/X: its tag {name} was being moved"
    assert {path: each for path, each in stamps(shelf.registry.root).items() if "/X/" in path} == {
        path: each for path, each in before.items() if "/X/" in path
    }


# what it says


def everything(shelf: Shelf) -> None:
    """Something for each stage and sort: to be noted, trashed, removed; blobs, quarantine; deleted resources."""
    registry = shelf.registry
    for mark in "abc":
        shelf.push(mark, mark, run=f"#!/bin/sh\n{mark}", part=BIG + mark.encode())
    shelf.push("latest", run="#!/bin/sh\nlatest", part=BIG)
    registry.untag("alice/X:a")
    gc(registry), gc(registry, 15)
    registry.untag("alice/X:b")
    gc(registry, 15)
    registry.untag("alice/X:c")
    shelf.abandon("aged"), shelf.abandon("young", when=time.time() + 30 * DAY)
    Path(shelf.place.damaged).mkdir()
    Path(shelf.place.damaged, f"1.{'0' * 64}").write_text("damaged")
    for name in ("Young", "Old"):
        registry.push(shelf.source, name)
        registry.delete(f"alice/{name}")
    trash = registry.root / "alice/.trash"
    [young] = trash.glob("*.Young")
    young.rename(trash / f"{int(time.time() + 30 * DAY)}.Young")


def test_a_dry_run_tells_what_a_collection_then_does(shelf: Shelf) -> None:
    everything(shelf)
    would = gc(shelf.registry, 31, dry_run=True)
    assert min(map(len, (would.noted, would.trashed, would.removed, would.deleted))) == 1
    assert (would.blobs, would.dry_run) == (5, True)
    assert gc(shelf.registry, 31) == replace(would, dry_run=False)


def test_a_dry_run_changes_nothing_at_all(shelf: Shelf) -> None:
    everything(shelf)
    before = stamps(shelf.registry.root)
    assert not gc(shelf.registry, 31, dry_run=True).empty
    assert stamps(shelf.registry.root) == before


def test_the_bytes_it_tells_are_those_that_are_free_afterwards(shelf: Shelf) -> None:
    everything(shelf)
    before, told = size_of(shelf.registry.root), 0
    for days in (31, 46, 61, 76):
        done = gc(shelf.registry, days)
        assert before - size_of(shelf.registry.root) == told + done.bytes
        told += done.bytes
    assert told > 4 * len(BIG)


def test_the_bytes_of_what_two_versions_share_are_told_with_the_last_of_them(shelf: Shelf) -> None:
    shelf.push("a", "a", part=BIG)
    shelf.push("b", "b", part=BIG)
    shelf.push("latest")
    shelf.registry.untag("alice/X:a")
    assert removed(shelf.registry).bytes < len(BIG)
    shelf.registry.untag("alice/X:b")
    assert len(BIG) < removed(shelf.registry, 50).bytes < 2 * len(BIG)


def test_what_a_killed_collection_left_of_a_deleted_resource_is_told_as_a_dry_run_does(shelf: Shelf) -> None:
    shelf.push("new")
    shelf.registry.delete("alice/X")
    with pytest.raises(KeyboardInterrupt):
        gc(shelf.registry, 30, pen=killed("remove_tree .gone."))
    would, before = gc(shelf.registry, 30, dry_run=True), size_of(shelf.registry.root)
    done = gc(shelf.registry, 30)
    assert before - size_of(shelf.registry.root) == done.bytes == would.bytes
    assert done == replace(would, dry_run=False)
    assert not any("gone" in name for name in done.deleted)


def test_it_says_what_would_go_before_it_asks_and_does_nothing_when_it_shall_not(shelf: Shelf, old: str) -> None:
    gc(shelf.registry)
    before, asked = stamps(shelf.registry.root), list[Collected]()

    def refuse(would: Collected) -> None:
        asked.append(would)
        raise UsageError("no")

    with pytest.raises(UsageError, match="no"):
        gc(shelf.registry, 15, confirm=refuse)
    assert [would.trashed for would in asked] == [(f"alice/X@{old}",)]
    asked_the_time = str(shelf.registry.root / "alice")  # by a file made there and removed
    after = stamps(shelf.registry.root)
    assert {path for path in before if after.get(path) != before[path]} <= {asked_the_time}
    assert after.keys() == before.keys()


def test_nothing_goes_that_was_not_told_though_one_s_own_clock_is_behind(shelf: Shelf, old: str) -> None:
    gc(shelf.registry)
    shelf.push("newest")
    asked: list[Collected] = []
    done = gc(shelf.registry, 15, host=5, confirm=asked.append)
    assert set(done.trashed) <= {ref for would in asked for ref in would.trashed}


def test_who_only_notes_asks_nobody(shelf: Shelf, old: str) -> None:
    asked: list[Collected] = []
    assert gc(shelf.registry, confirm=asked.append).noted == (f"alice/X@{old}",)
    assert asked == []


# what is another's


def test_what_lies_in_another_namespace_is_left_and_named(shelf: Shelf, old: str) -> None:
    """The same user of this machine may have several; he collects in the one that he is logged in to."""
    before = snapshot(shelf.registry.root / "alice")
    bob = as_caller(shelf.registry, "bob")
    bob.login("bob")
    done = gc(bob, 400)
    assert snapshot(shelf.registry.root / "alice") == before
    assert done.left == (f"alice/X@{old}",)
    assert gc(bob, 400, dry_run=True).left == done.left


def unnamed(registry: Registry, folder: Path) -> str:
    """A resource without a namespace, `Y`, with two versions; the first, which no tag names any more."""
    nobody = as_caller(registry, None)
    write_tree(folder, {"config.yml": config_yml("Y"), "executor.py": executor_py("Y", "# 1")})
    first = nobody.push(folder, "Y", secret="sesame-sesame").version
    write_tree(folder, {"executor.py": executor_py("Y", "# 2")})
    nobody.push(folder, force_update="Y", secret="sesame-sesame")
    return first


def test_what_one_made_without_a_namespace_is_one_s_own(shelf: Shelf, tmp_path: Path) -> None:
    first = unnamed(shelf.registry, tmp_path / "unnamed")
    gc(shelf.registry), gc(shelf.registry, 15)
    assert gc(shelf.registry, 30).removed == (f"Y@{first}",)


def test_who_is_not_logged_in_collects_nothing(shelf: Shelf, old: str, tmp_path: Path) -> None:
    unnamed(shelf.registry, tmp_path / "unnamed")
    before = stamps(shelf.registry.root)
    for dry_run in (True, False):
        with pytest.raises(Denied, match="nobody is logged in"):
            gc(as_caller(shelf.registry, None), 400, dry_run=dry_run)
    assert stamps(shelf.registry.root) == before


def as_user(shared: Path, uid: int, deed: Callable[[], Any], *groups: int) -> Any:
    """What a deed answers when another user of the machine does it."""
    told = shared / f"told-{uid}"

    def work() -> None:
        become(uid, *groups)
        told.write_text(json.dumps(deed()))

    assert together(work) == [0]
    answer = json.loads(told.read_text())
    told.unlink()
    return answer


def two_versions(shared: Path, namespace: str, name: str, mark: str = "") -> str:
    """Push two versions of a resource, whoever one is; the first, which no tag names any more."""
    registry = Registry(shared / "registry", namespace=namespace)
    folder = write_tree(shared / f"src-{os.getuid()}", {".gitignore": "", "a.txt": f"1{mark}"})
    first = registry.push(folder, name).version
    registry.push(write_tree(folder, {"a.txt": f"2{mark}"}), name)
    return first


def gc_of(shared: Path, namespace: str, days: float) -> Callable[[], dict[str, object]]:
    return lambda: gc(Registry(shared / "registry", namespace=namespace), days).to_dict()


@needs_root
def test_what_another_user_made_is_left_and_named(shared: Path) -> None:
    first = as_user(shared, 20001, lambda: two_versions(shared, "alice", "X"))
    mine = as_user(shared, 20002, lambda: two_versions(shared, "bob", "Y"))
    before = snapshot(shared / "registry/alice")
    for days in (0, 15):
        as_user(shared, 20002, gc_of(shared, "bob", days))
    done = as_user(shared, 20002, gc_of(shared, "bob", 30))
    assert (done["removed"], done["left"]) == ([f"bob/Y@{mine}"], [f"alice/X@{first}"])
    assert snapshot(shared / "registry/alice") == before


@needs_root
def test_another_user_s_private_resource_is_not_named(shared: Path) -> None:
    def private() -> None:
        two_versions(shared, "alice", "Secret")
        Registry(shared / "registry", namespace="alice").visibility("alice/Secret", "private")

    as_user(shared, 20001, private)
    assert "Secret" not in json.dumps(as_user(shared, 20002, gc_of(shared, "alice", 0)))
    assert "Secret" not in json.dumps(as_user(shared, 20002, gc_of(shared, "bob", 0)))


def hide_inside(shared: Path) -> None:
    (shared / "registry/alice/X/.lhub").chmod(0o700)


def hide_versions(shared: Path) -> None:
    (shared / "registry/alice/X/.lhub/versions").chmod(0o700)


def hide_trash(shared: Path) -> None:
    (shared / "registry/alice/.trash").mkdir(mode=0o700)


def scratch_in_trash(shared: Path) -> None:
    """As it lies there for a moment while its owner collects, and for ever if he is killed."""
    (shared / "registry/alice/.trash").mkdir()
    (shared / "registry/alice/.trash/.tmp.host-1-ab").touch()


def hide_namespace(shared: Path) -> None:
    (shared / "registry/alice").chmod(0o700)


@needs_root
@pytest.mark.parametrize("harm", [hide_inside, hide_versions, hide_trash, scratch_in_trash, hide_namespace])
def test_what_another_user_hides_or_leaves_lying_keeps_nobody_from_collecting(
    shared: Path, harm: Callable[[Path], None]
) -> None:
    as_user(shared, 20001, lambda: two_versions(shared, "alice", "X"))
    first = as_user(shared, 20002, lambda: two_versions(shared, "bob", "Y"))
    as_user(shared, 20001, lambda: harm(shared))
    assert as_user(shared, 20002, gc_of(shared, "bob", 0))["noted"] == [f"bob/Y@{first}"]


@pytest.fixture
def team(shared: Path) -> Path:
    """A team's namespace, `vision`, of group 30001."""
    Registry(shared / "registry").create_namespace("vision", group="30001")
    return shared / "registry/vision"


@needs_root
def test_in_a_team_everybody_collects_his_own_versions_and_names_the_rest(shared: Path, team: Path) -> None:
    ann = as_user(shared, 20001, lambda: two_versions(shared, "vision", "X", "ann"), 30001)
    ben = as_user(shared, 20002, lambda: two_versions(shared, "vision", "X", "ben"), 30001)
    second = {ann, ben}
    for days in (0, 15):
        as_user(shared, 20001, gc_of(shared, "vision", days), 30001)
    done = as_user(shared, 20001, gc_of(shared, "vision", 30), 30001)
    standing = {name for name in os.listdir(team / "X/.lhub/versions") if is_version(name)}
    assert f"vision/X@{ann}" in done["removed"]
    assert done["left"] == [f"vision/X@{ben}"]
    assert second & standing == {ben}
    assert Registry(shared / "registry", namespace="vision").verify().ok


@needs_root
def test_in_a_team_a_colleague_s_deleted_resource_is_left_and_named(shared: Path, team: Path) -> None:
    def delete() -> None:
        two_versions(shared, "vision", "Hers")
        Registry(shared / "registry", namespace="vision").delete("vision/Hers")

    as_user(shared, 20001, delete, 30001)
    first = as_user(shared, 20002, lambda: two_versions(shared, "vision", "Y"), 30001)
    before = snapshot(team / ".trash")
    done = as_user(shared, 20002, gc_of(shared, "vision", 20), 30001)
    assert done["noted"] == [f"vision/Y@{first}"]
    assert snapshot(team / ".trash") == before
    assert any("vision/Hers" in name for name in done["left"])
    assert as_user(shared, 20001, gc_of(shared, "vision", 20), 30001)["deleted"] == ["vision/Hers"]
    assert os.listdir(team / ".trash") == []


@needs_root
def test_the_owner_of_a_team_s_namespace_leaves_a_member_s_deleted_resource_whole(shared: Path) -> None:
    """He may rename it, being the owner of the trash; he may not remove what lies in a member's read-only folders."""
    folder = shared / "registry/vision"
    folder.mkdir()
    os.chown(folder, 20002, 30001)
    folder.chmod(0o3775)

    def delete(name: str) -> None:
        two_versions(shared, "vision", name)
        Registry(shared / "registry", namespace="vision").delete(f"vision/{name}")

    as_user(shared, 20002, partial(delete, "His"), 30001)
    as_user(shared, 20001, partial(delete, "Hers"), 30001)
    [hers] = (folder / ".trash").glob("*.Hers")
    before = snapshot(hers)
    done = as_user(shared, 20002, gc_of(shared, "vision", 20), 30001)
    assert done["deleted"] == ["vision/His"]
    assert snapshot(hers) == before


@needs_root
def test_in_a_team_what_a_colleague_s_killed_writer_left_keeps_nobody_from_writing(shared: Path, team: Path) -> None:
    """The empty repository that his git ran in is his alone."""

    def killed() -> None:
        two_versions(shared, "vision", "X")
        pen = Hooked(lambda verb, path: verb == "fast-import", lambda: os.kill(os.getpid(), signal.SIGKILL))
        Registry(shared / "registry", namespace="vision", pen=pen).tag("vision/X", "mine")

    def work() -> None:
        become(20001, 30001)
        killed()

    assert together(work) == [-signal.SIGKILL]
    tags = as_user(shared, 20002, lambda: Registry(shared / "registry", namespace="u2").tag("vision/X", "his"), 30001)
    assert sorted(tags) == ["his", "latest", "mine"]


# beside others


def test_a_resource_that_somebody_is_changing_is_left_and_named_and_the_others_go_on(shelf: Shelf, old: str) -> None:
    write_tree(shelf.source, {"mark.txt": "z"})
    zebra = shelf.registry.push(shelf.source, "Zebra", tags=["v1"]).version
    shelf.registry.push(write_tree(shelf.source, {"mark.txt": "zz"}), "Zebra")
    shelf.registry.untag("alice/Zebra:v1")
    hasty = as_caller(shelf.registry, "alice", timeout=0.05)
    with held_elsewhere(Path(shelf.place.lock)):
        done = hasty.gc()
    assert done.noted == (f"alice/Zebra@{zebra}",)
    assert [name.split(",")[0] for name in done.left] == ["alice/X"]


@pytest.mark.parametrize("also", ["stays away", "is pushed anew", "is restored"])
def test_a_resource_that_is_deleted_while_a_collection_waits_for_it_is_passed_over(
    shelf: Shelf, old: str, monkeypatch: pytest.MonkeyPatch, also: str
) -> None:
    monkeypatch.setattr("lhub.lock._PATIENCE", 0.02)
    write_tree(shelf.source, {"mark.txt": "z"})
    zebra = shelf.registry.push(shelf.source, "Zebra", tags=["v1"]).version
    shelf.registry.push(write_tree(shelf.source, {"mark.txt": "zz"}), "Zebra")
    shelf.registry.untag("alice/Zebra:v1")
    held, waits = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        assert waits.wait(20)

    def delete() -> None:
        pen = Hooked(lambda verb, path: verb == "rename" and "/.trash/" in path, hold)
        as_caller(shelf.registry, "alice", pen=pen).delete("alice/X")
        if also == "is pushed anew":
            shelf.push("anew")
        elif also == "is restored":
            shelf.registry.restore("alice/X")

    thread = threading.Thread(target=delete)
    thread.start()
    assert held.wait(20)
    collector = Registry(shelf.registry.root, namespace="alice", timeout=20, notes=lambda sentence: waits.set())
    done = collector.gc()
    thread.join()
    assert f"alice/Zebra@{zebra}" in done.noted
    assert shelf.registry.verify().ok


def test_two_collections_of_one_trash_disturb_each_other_not(shelf: Shelf) -> None:
    """Each makes a file that tells it the time."""
    shelf.push("new")
    shelf.registry.delete("alice/X")
    second: list[Collected] = []
    pen = Future(
        20,
        lambda verb, path: verb == "unlink" and "/alice/.tmp." in path,
        lambda: second.append(gc(shelf.registry, 20)),
    )
    first = gc(shelf.registry, 20, pen=pen)
    assert pen.done
    assert sorted([*first.deleted, *second[0].deleted]) == ["alice/X"]
    assert os.listdir(shelf.registry.root / "alice/.trash") == []


def test_a_collection_that_begins_while_another_asks_for_the_time_does_not_end_it(shelf: Shelf) -> None:
    shelf.push("new")
    shelf.registry.delete("alice/X")

    class Slow(Future):
        def write_new(self, path: str, data: bytes, mode: int, *, sync: bool = True) -> None:
            super().write_new(path, data, mode, sync=sync)
            if "/alice/.tmp." in path:
                gc(shelf.registry)

    assert gc(shelf.registry, 20, pen=Slow(20)).deleted == ("alice/X",)


def test_many_collections_at_once_take_everything_once(shelf: Shelf) -> None:
    everything(shelf)

    def collect() -> None:
        for days in (31, 46, 61, 76):
            gc(shelf.registry, days)

    assert together(*[collect] * 4) == [0] * 4
    assert shelf.names() == {shelf.registry.show("alice/X").version}
    assert os.listdir(shelf.registry.root / "alice/.trash") == []
    assert shelf.registry.verify().ok
    assert gc(shelf.registry, 76).empty


# readers


def gone_at_last(shelf: Shelf) -> Callable[[], object]:
    """The last of the three stages, to be done at some moment; the first two are done now."""
    gc(shelf.registry), gc(shelf.registry, 15)
    return lambda: gc(shelf.registry, 30)


def meanwhile(monkeypatch: pytest.MonkeyPatch, name: str, deed: Callable[[], object]) -> None:
    """Do something once, just before a function of lhub is called."""
    real, done = resolve_name(name), list[bool]()

    def call(*arguments: Any, **options: Any) -> Any:
        if not done:
            done.append(True)
            deed()
        return real(*arguments, **options)

    monkeypatch.setattr(name, call)


@pytest.mark.parametrize("stage", [15, 30], ids=["to the trash", "for good"])
@pytest.mark.parametrize("moment", ["lhub.fetch.lay_out", "lhub.disk.Pen.copy_out", "lhub.fetch._put"])
def test_a_pull_of_a_version_while_it_is_collected_is_whole_or_not_here(
    shelf: Shelf, script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, stage: int
) -> None:
    for day in range(0, stage, 15):
        gc(shelf.registry, day)
    meanwhile(monkeypatch, moment, lambda: gc(shelf.registry, stage))
    try:
        pulled = shelf.registry.pull(f"alice/X@{script}", tmp_path / "pulled")
    except NotFound:
        assert stage == 30
        assert not (tmp_path / "pulled").exists()
    else:
        assert read_tree(Path(pulled.path)).keys() == {"mark.txt", "same.txt", "run"}


@pytest.mark.parametrize("stage", [15, 30], ids=["to the trash", "for good"])
@pytest.mark.parametrize("moment", ["lhub.store.open_folder", "lhub.store.read_small"])
def test_a_path_of_a_version_while_it_is_collected_is_whole_or_not_here(
    shelf: Shelf, script: str, monkeypatch: pytest.MonkeyPatch, moment: str, stage: int
) -> None:
    for day in range(0, stage, 15):
        gc(shelf.registry, day)
    shelf.registry.path("alice/X")
    meanwhile(monkeypatch, moment, lambda: gc(shelf.registry, stage))
    try:
        path = shelf.registry.path(f"alice/X@{script}")
    except NotFound:
        assert stage == 30
    else:
        assert read_tree(Path(path)).keys() == {"mark.txt", "same.txt", "run"}


# a crowd


class World:
    """A clock that all processes share: it goes on by a week when each of them has done something since it last did.

    So nothing that is being done ever lasts a whole grace, however busy the machine is.
    """

    def __init__(self, people: int) -> None:
        self.cells = memoryview(mmap.mmap(-1, 8 * (people + 2))).cast("d")
        self.cells[0] = time.time()
        self.done = self.cells[2:]
        self.seen = list(self.done)

    def now(self) -> float:
        return float(self.cells[0])

    def go_on(self) -> None:
        """Let a week pass if nobody is at what he began before the last week passed."""
        if all(now > before for now, before in zip(self.done, self.seen, strict=True)):
            self.cells[0] += 8 * DAY
            self.seen = list(self.done)

    def end(self) -> None:
        self.cells[1] = 1

    @property
    def ended(self) -> bool:
        return bool(self.cells[1])


class Dated(Pen):
    """A pen of that world: what it makes is of its time."""

    def __init__(self, world: World) -> None:
        self.world = world

    def write_new(self, path: str, data: bytes, mode: int, *, sync: bool = True) -> None:
        super().write_new(path, data, mode, sync=sync)
        with suppress(FileNotFoundError):  # a push sweeps what it takes for a dead one's
            os.utime(path, (self.world.now(),) * 2)

    def copy_in(
        self, source: int, path: str, mode: int, *, limit: int | None = None, moved: Moved = unmoved
    ) -> tuple[str, int]:
        copied = super().copy_in(source, path, mode, limit=limit, moved=moved)
        with suppress(FileNotFoundError):  # a push sweeps what it takes for a dead one's
            os.utime(path, (self.world.now(),) * 2)
        return copied

    def set_time(self, path: str, when: float | None = None) -> None:
        super().set_time(path, self.world.now() if when is None else when)


@dataclass(frozen=True, kw_only=True)
class Busy:
    """What the people of a crowd do with one resource again and again; each has a cell of the world's."""

    world: World
    shelf: Shelf
    place: Path

    def registry(self) -> Registry:
        registry = as_caller(self.shelf.registry, "alice", timeout=60)
        registry.session = replace(registry.session, pen=Dated(self.world), clock=self.world.now)
        return registry

    def work(self, cell: int, turn: Callable[[Registry, int], object]) -> None:
        registry, number = self.registry(), 0
        try:
            while not self.world.ended:
                turn(registry, number)
                number += 1
                self.world.done[cell] += 1
        finally:
            self.world.end()  # who fails lets nobody work on

    def push(self, who: str, registry: Registry, number: int) -> None:
        """Five contents, again and again: each is collected and comes again."""
        shelf = Shelf(registry=registry, source=self.place / who)
        mark = f"{who} {number % 5}"
        tags = ("latest", who) if number % 2 else (who,)
        shelf.push(mark, *tags, run=f"#!/bin/sh\n# {mark}\n", part=f"{mark}\n")

    def pull(self, registry: Registry, number: int) -> None:
        tag = ("latest", "one", "two", "v1", "back")[number % 5]
        if number % 2:
            found = content(registry, f"alice/X:{tag}")
        else:
            folder = self.place / "pulled"
            found = read_tree(Path(registry.pull(f"alice/X:{tag}", folder, force=True).path))
        assert found.keys() == {"mark.txt", "same.txt", "part", "run"}, found
        assert found["mark.txt"] == found["part"] == found["run"].removeprefix(b"#!/bin/sh\n# "), found

    def move(self, registry: Registry, number: int) -> None:
        """A tag to any version that was ever there: back, forth, away; what was collected is not here."""
        try:
            version = random.choice(registry.log("alice/X")).version
            if number % 5 == 4:
                registry.untag("alice/X:again")
            elif version and number % 2:
                registry.tag(f"alice/X@{version}", "again")
            elif version:
                registry.rollback("alice/X", version, "back")
        except NotFound:
            pass

    def verify(self, registry: Registry, number: int) -> None:
        """A diary that lags twice, by pushes of the same content, is taken for one that lags all the time."""
        found = [finding for finding in registry.verify().findings if "the diary lags" not in finding.problem]
        assert found == [], found

    def collect(self, told: Path) -> None:
        """For four seconds, and until something has gone through all three stages."""
        registry, total, began = self.registry(), Collected(), time.monotonic()
        try:
            while not self.world.ended and (time.monotonic() < began + 4 or not total.removed):
                total += registry.gc()
                self.world.go_on()
        finally:
            self.world.end()
        told.write_text(json.dumps(total.to_dict()))


def test_a_verification_beside_pushes_raises_no_false_alarm(shelf: Shelf, tmp_path: Path) -> None:
    """Each push is for a moment not in the diary yet, which is no diary that lags."""
    shelf.push("first")

    def push() -> None:
        number = 0
        while not (tmp_path / "verified").exists():
            number += 1
            shelf.push(f"{number}")

    def verify() -> None:
        try:
            found = [finding.problem for _ in range(3) for finding in shelf.registry.verify().findings]
        finally:
            (tmp_path / "verified").touch()
        assert found == []

    assert together(push, verify) == [0, 0]


@pytest.mark.slow
def test_pushers_pullers_taggers_verifiers_and_a_collector_disturb_each_other_not(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A year and more passes, in which what nobody names goes through all three stages many times."""
    monkeypatch.setattr("lhub.checkup._PAUSE", 0.05)
    world = World(5)
    busy = Busy(world=world, shelf=shelf, place=tmp_path)
    for who in ("one", "two"):
        busy.push(who, busy.registry(), 1)
    shelf.registry.tag("alice/X", "back")
    shelf.registry.tag("alice/X", "v1", protect=True)
    turns: list[Callable[[Registry, int], object]] = [
        partial(busy.push, "one"),
        partial(busy.push, "two"),
        busy.pull,
        busy.move,
        busy.verify,
    ]
    works = [partial(busy.work, cell, turn) for cell, turn in enumerate(turns)]
    assert together(*works, partial(busy.collect, tmp_path / "told")) == [0] * 6
    told = json.loads((tmp_path / "told").read_text())
    assert min(len(told[stage]) for stage in ("noted", "trashed", "removed")) > 0
    assert told["left"] == []
    assert shelf.registry.verify().ok
    for tag, version in shelf.registry.show("alice/X").tags.items():
        assert shelf.registry.pull(f"alice/X:{tag}", tmp_path / "last" / tag).version == version
    assert crowds.leftovers(shelf.registry) == []
