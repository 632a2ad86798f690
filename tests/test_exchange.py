"""Export, import, copy: a resource goes from one registry to another whole, or not at all, and nothing private is seen.

The source is always a registry of alice's with an Executor of three versions: one under a protected tag, one without
any tag, one under `latest`. What is refused leaves every byte of the receiving registry as it was.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from lhub.disk import Pen
from lhub.errors import Conflict, Corrupt, Denied, LhubError, NotFound, UsageError
from lhub.layout import is_private
from lhub.registry import Registry
from tests.conftest import Shell, as_caller, by_hand, config_yml, executor_py, read_tree, snapshot, write_tree
from tests.test_bundle import Crafted, in_file, past, refused, seen
from tests.test_crowds import Crowd, leftovers, together

FILES: dict[str, str | bytes] = {
    ".gitignore": "",
    "config.yml": config_yml("Hello"),
    "executor.py": executor_py("Hello"),
    "run.sh": "#!/bin/sh\n",
    "data/weights.bin": bytes(range(256)) * 40,
}


def folder(place: Path, mark: str = "one") -> Path:
    """A version of the Executor, with a mark in its source."""
    shutil.rmtree(place / "folder", ignore_errors=True)
    made = write_tree(place / "folder", FILES | {"executor.py": executor_py("Hello", f"# {mark}")})
    (made / "run.sh").chmod(0o755)
    return made


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source, made once, never changed; and `whole.tar`, `old.tar`, `new.tar` (since v1) beside it."""
    place = tmp_path_factory.mktemp("origin")
    registry = Registry(place / "registry", namespace="alice", timeout=20)
    first = registry.push(folder(place), "Hello", tags=["latest"], protected_tags=["v1"], message="first words")
    os.utime(Path(first.path).parent, (1e8, 1e8))
    registry.export("alice/Hello", path=place / "old.tar")
    registry.push(folder(place, "two"), "Hello", message="second words")
    registry.push(folder(place, "three"), "Hello", message="third words")
    registry.export("alice/Hello", path=place / "whole.tar")
    registry.export("alice/Hello", path=place / "new.tar", since="v1")
    return place


@pytest.fixture
def source(origin: Path, tmp_path: Path) -> Registry:
    """A copy of the source, of one's own."""
    (tmp_path / "source").mkdir()
    shutil.copytree(origin / "registry", tmp_path / "source/registry", symlinks=True)
    return Registry(tmp_path / "source/registry", namespace="alice", timeout=20)


@pytest.fixture
def whole(origin: Path) -> Path:
    """The bundle of the whole resource."""
    return origin / "whole.tar"


class Hook(Pen):
    """A pen that does something before the first step that `when` asks for, and counts the files copied in."""

    def __init__(self, when: str, deed: Callable[[], object], *, lasting: bool = False) -> None:
        self.when, self.deed, self.lasting = re.compile(when), deed, lasting
        self.done, self.steps = False, list[str]()

    def step(self, verb: str, path: str) -> None:
        self.steps.append(f"{verb} {path}")
        if self.when.search(self.steps[-1]) and (self.lasting or not self.done):
            self.done = True
            self.deed()

    @property
    def copied(self) -> list[str]:
        """The files of payloads that were copied in, by their paths."""
        return [step.partition("/files/")[2] for step in self.steps if step.startswith("copy_in") and "/files/" in step]


def watching() -> Hook:
    """A pen that only counts."""
    return Hook(r"^\b$", lambda: None)


def fail(number: int) -> Callable[[], None]:
    def deed() -> None:
        raise OSError(number, os.strerror(number))

    return deed


def versions(registry: Registry, name: str = "alice/Hello") -> dict[str, tuple[int, dict[str, bytes]]]:
    """Every version of a resource, tagged or not: when it was made, in seconds, and its files."""
    found = {}
    for path in (registry.root / name / ".lhub/versions").iterdir():
        if not path.name.startswith("."):
            found[path.name] = int(path.stat().st_mtime), read_tree(path / "files")
    return found


def everything(registry: Registry, name: str = "alice/Hello") -> tuple[object, ...]:
    """All that travels: what a person sees, untagged versions, times, the diary."""
    return seen(registry, name), versions(registry, name), past(registry, name)


@contextmanager
def unchanged(registry: Registry) -> Iterator[None]:
    """See that a block leaves every byte of a registry, but for the note in a lock that tells who held it."""

    def look() -> dict[str, tuple[int, bytes | str]]:
        return {name: what for name, what in snapshot(registry.root).items() if not name.endswith("/.lhub/lock")}

    before = look()
    yield
    assert look() == before


# export: a true copy or nothing


def damage(registry: Registry, what: str) -> None:
    """Let a payload of the newest version be another, as a bad disk or a hand does."""
    path = Path(registry.path("alice/Hello")) / ("run.sh" if what == "an executable" else "executor.py")
    with by_hand(path.parent):
        data = path.read_bytes()
        if what == "a missing file":
            path.unlink()
        elif what == "a FIFO":
            path.unlink()
            os.mkfifo(path)
        elif what == "a link out":
            path.unlink()
            path.symlink_to("/etc/hostname")
        elif what == "a file cut short":
            path.write_bytes(data[:-1])
        else:
            path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


DAMAGE = ["a flipped bit", "an executable", "a missing file", "a file cut short", "a FIFO", "a link out"]


@pytest.mark.parametrize("what", DAMAGE)
def test_what_is_not_what_was_published_is_never_exported(what: str, source: Registry, tmp_path: Path) -> None:
    damage(source, what)
    (tmp_path / "out").mkdir()
    with pytest.raises(Corrupt) as caught:
        source.export("alice/Hello", path=tmp_path / "out/hello.tar")
    assert re.search(r"run\.sh|executor\.py|alice/Hello", str(caught.value))
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("document", ["manifest.yaml", "SHA256SUMS"])
def test_a_version_whose_documents_are_damaged_is_never_exported(
    document: str, source: Registry, tmp_path: Path
) -> None:
    path = Path(source.path("alice/Hello")).parent / document
    with by_hand(path.parent):
        path.write_bytes(path.read_bytes().replace(b"0", b"1"))
    with pytest.raises(Corrupt):
        source.export("alice/Hello", path=tmp_path / "hello.tar")
    assert not list(tmp_path.glob("*hello.tar*"))


def test_an_export_never_replaces_a_file(source: Registry, tmp_path: Path) -> None:
    (tmp_path / "mine.tar").write_text("mine")
    with pytest.raises(Conflict):
        source.export("alice/Hello", path=tmp_path / "mine.tar")
    assert (tmp_path / "mine.tar").read_text() == "mine"


def test_an_export_to_a_full_disk_leaves_nothing(source: Registry, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(LhubError, match="was not written"):
            source.export("alice/Hello", path=tmp_path / "out/hello.tar")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list((tmp_path / "out").iterdir())


def test_an_export_to_a_folder_that_is_not_there_is_refused_by_a_sentence(source: Registry, tmp_path: Path) -> None:
    with pytest.raises(LhubError, match="cannot be written"):
        source.export("alice/Hello", path=tmp_path / "nowhere/hello.tar")


def test_an_export_is_never_put_into_the_registry(source: Registry) -> None:
    with unchanged(source), pytest.raises(UsageError):
        source.export("alice/Hello", path=source.root / "alice/hello.tar")


def test_an_export_changes_nothing_in_the_registry(source: Registry, tmp_path: Path) -> None:
    with unchanged(source):
        source.export("alice/Hello", path=tmp_path / "hello.tar")


def test_the_same_registry_makes_the_same_bundle(source: Registry, tmp_path: Path) -> None:
    source.export("alice/Hello", path=tmp_path / "1.tar")
    source.export("alice/Hello", path=tmp_path / "2.tar")
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()


def test_what_one_may_not_see_is_not_there_to_export(source: Registry, tmp_path: Path) -> None:
    source.visibility("alice/Hello", "private")
    with pytest.raises(NotFound):
        as_caller(source, "bob").export("alice/Hello", path=tmp_path / "hello.tar")
    assert not list(tmp_path.glob("*hello.tar*"))


def test_anybody_exports_what_is_public(source: Registry, tmp_path: Path) -> None:
    assert as_caller(source, "bob").export("alice/Hello", path=tmp_path / "hello.tar").versions == 3


@pytest.mark.parametrize("refs", [(), ("alice/Hello", "alice/Hello:v1"), ("alice/Hello@{2001-01-01}",), ("alice/No",)])
def test_an_export_of_nothing_clear_is_refused(refs: tuple[str, ...], source: Registry, tmp_path: Path) -> None:
    with pytest.raises((UsageError, NotFound)):
        source.export(*refs, path=tmp_path / "hello.tar")
    assert not list(tmp_path.glob("*hello.tar*"))


@pytest.mark.parametrize("ref", ["alice/Hello", "alice/Hello:v1"])
def test_a_tagged_version_that_lies_in_the_trash_is_exported(
    ref: str, source: Registry, registry: Registry, tmp_path: Path
) -> None:
    place = source.root / "alice/Hello/.lhub/versions"
    version = source.show("alice/Hello:v1").version
    (place / version).rename(place / f".trash.{int(time.time())}.{version}")
    source.export(ref, path=tmp_path / "hello.tar")
    registry.import_bundle(tmp_path / "hello.tar")
    assert read_tree(Path(registry.path("alice/Hello:v1"))) == read_tree(Path(source.path("alice/Hello:v1")))


def test_pushes_beside_exports_leave_every_bundle_whole(source: Registry, tmp_path: Path) -> None:
    def push() -> None:
        for number in range(6):
            source.push(folder(tmp_path, f"beside {number}"), "Hello", tags=["latest", f"n{number}"])

    bundles: list[Path] = []
    with Crowd(push) as crowd:
        while crowd.at_work():
            bundles.append(tmp_path / f"{len(bundles)}.tar")
            source.export("alice/Hello", path=bundles[-1])
    assert crowd.answers == [0]
    for bundle in bundles[:: len(bundles) // 8 + 1]:
        there = Registry(tmp_path / bundle.stem, namespace="alice")
        there.import_bundle(bundle)
        assert there.verify().ok


# import: all of it arrives


def test_all_that_travels_arrives(source: Registry, registry: Registry, whole: Path) -> None:
    registry.import_bundle(whole)
    assert everything(registry) == everything(source)
    assert len(versions(registry)) == 3
    assert registry.verify().ok


def test_the_diary_tells_who_brought_it(registry: Registry, whole: Path) -> None:
    before = int(time.time())
    registry.import_bundle(whole)
    entry = registry.log("alice/Hello")[0]
    assert (entry.action, entry.name) == ("import", "alice")
    assert before <= entry.when <= time.time()


def test_an_import_says_what_it_did(source: Registry, registry: Registry, whole: Path) -> None:
    first, again = registry.import_bundle(whole)[0], registry.import_bundle(whole)[0]
    assert (first.name, first.versions, first.new, first.moved) == ("alice/Hello", 3, 3, {})
    assert first.tags == source.show("alice/Hello").tags
    assert (again.versions, again.new, again.moved) == (3, 0, {})


def test_the_same_import_again_changes_nothing(registry: Registry, whole: Path) -> None:
    registry.import_bundle(whole)
    with unchanged(registry):
        registry.import_bundle(whole)


def test_what_was_imported_is_exported_again_the_same(
    source: Registry, registry: Registry, whole: Path, tmp_path: Path
) -> None:
    registry.import_bundle(whole)
    registry.export("alice/Hello", path=tmp_path / "again.tar")
    third = Registry(tmp_path / "third", namespace="alice")
    third.import_bundle(tmp_path / "again.tar")
    assert everything(third) == everything(source)


def test_a_push_goes_on_where_the_import_ended(registry: Registry, whole: Path, tmp_path: Path) -> None:
    registry.import_bundle(whole)
    registry.push(folder(tmp_path, "four"), "Hello", message="fourth words")
    words = [entry.message for entry in registry.log("alice/Hello") if entry.message]
    assert words == ["fourth words", "third words", "second words", "first words"]


def test_protected_tags_arrive_protected(registry: Registry, whole: Path, tmp_path: Path) -> None:
    registry.import_bundle(whole)
    with pytest.raises(Conflict):
        registry.push(folder(tmp_path, "four"), "Hello", tags=["v1"])


def test_a_missing_registry_is_made_by_an_import(whole: Path, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "new", namespace="alice")
    registry.import_bundle(whole)
    assert stat.S_IMODE(registry.root.stat().st_mode) == 0o755
    assert registry.verify().ok


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_modes_are_the_registrys_whatever_the_umask(
    umask: int, source: Registry, whole: Path, tmp_path: Path
) -> None:
    before = os.umask(umask)
    try:
        there = Registry(tmp_path / "there", namespace="alice")
        there.import_bundle(whole)
    finally:
        os.umask(before)

    def modes(registry: Registry) -> dict[str, int]:
        found = {
            name: mode
            for name, (mode, _) in snapshot(registry.root).items()
            if not re.search(r"/builds|\.idx|\.pack", name)
        }
        return {name: stat.S_IMODE(mode) for name, mode in found.items() if not stat.S_ISLNK(mode)}

    assert modes(there).items() <= modes(source).items() | {("alice/.trash", 0o755)}


def test_into_a_teams_namespace_it_comes_with_the_teams_modes(registry: Registry, whole: Path) -> None:
    (registry.root / "alice").chmod(0o3775)
    registry.import_bundle(whole)
    modes = {name: stat.S_IMODE((registry.root / "alice/Hello" / name).stat().st_mode) for name in ("", ".lhub")}
    assert modes == {"": 0o2775, ".lhub": 0o2775}


@pytest.mark.parametrize("ref", ["alice/Hello:v1", "alice/Hello@{version}"])
@pytest.mark.parametrize("way", ["bundle", "copy"])
def test_a_version_alone_can_be_pulled_where_it_arrived(
    ref: str, way: str, source: Registry, registry: Registry, tmp_path: Path
) -> None:
    version = source.show("alice/Hello:v1").version
    ref = ref.replace("{version}", version[:12])
    if way == "bundle":
        source.export(ref, path=tmp_path / "hello.tar")
        registry.import_bundle(tmp_path / "hello.tar")
    else:
        source.copy(ref, to=registry.root)
    assert registry.pull(f"alice/Hello@{version}", tmp_path / "there").version == version
    assert list(versions(registry)) == [version]


def test_a_version_without_a_tag_arrives_without_one(source: Registry, registry: Registry, tmp_path: Path) -> None:
    alone = next(version for version in versions(source) if version not in source.show("alice/Hello").tags.values())
    source.export(f"alice/Hello@{alone}", path=tmp_path / "hello.tar")
    carried = registry.import_bundle(tmp_path / "hello.tar")[0]
    assert (carried.versions, carried.tags) == (1, {})
    assert registry.pull(f"alice/Hello@{alone}", tmp_path / "there").version == alone


# one that was stopped goes on


STOPS = {
    "at the first file": r"^copy_in .*/files/",
    "at the second version": r"^rename .*/versions/[0-9a-f]{64}$",
    "at the first pin": r"^symlink .*/\.protected\.",
    "at the first tag": r"^rename .*/latest$",
    "at the diary": r"^fast-import",
}


@pytest.mark.parametrize("stop", STOPS)
def test_an_import_that_failed_goes_on(stop: str, source: Registry, registry: Registry, whole: Path) -> None:
    pen = Hook(STOPS[stop], fail(errno.EIO))
    with suppress(OSError):
        as_caller(registry, "alice", pen=pen).import_bundle(whole)
    assert pen.done
    registry.import_bundle(whole)
    assert everything(registry) == everything(source)
    assert registry.verify().ok
    assert leftovers(registry) == []


def test_what_arrived_before_a_failure_is_not_copied_again(registry: Registry, whole: Path) -> None:
    with pytest.raises(OSError):
        as_caller(registry, "alice", pen=Hook(r"^symlink .*/\.protected\.", fail(errno.EIO))).import_bundle(whole)
    assert len(versions(registry)) == 3
    pen = watching()
    as_caller(registry, "alice", pen=pen).import_bundle(whole)
    assert pen.copied == []


def test_nothing_is_named_before_all_of_it_is_here(registry: Registry, whole: Path) -> None:
    pen = Hook(r"^copy_in .*/files/executor.py", lambda: None)
    pen.deed = lambda: fail(errno.EIO)() if sum("executor.py" in path for path in pen.copied) == 3 else None
    pen.lasting = True
    with pytest.raises(OSError):
        as_caller(registry, "alice", pen=pen).import_bundle(whole)
    assert len(versions(registry)) == 2
    assert registry.list() == []


def test_a_disk_that_becomes_full_leaves_no_tag_and_no_scratch(
    source: Registry, registry: Registry, whole: Path
) -> None:
    full = as_caller(registry, "alice", pen=Hook(r"^copy_in", fail(errno.ENOSPC), lasting=True))
    with pytest.raises(OSError) as caught:
        full.import_bundle(whole)
    assert caught.value.errno == errno.ENOSPC
    assert registry.list() == []
    assert leftovers(registry) == []
    assert registry.verify().ok
    registry.import_bundle(whole)
    assert everything(registry) == everything(source)


def test_what_has_no_room_is_refused_before_the_first_byte(
    registry: Registry, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.statvfs", lambda place: SimpleNamespace(f_bavail=5000, f_frsize=1))
    refused(registry, whole, words="no room")


def test_of_two_who_import_the_same_at_once_neither_fails(
    source: Registry, registry: Registry, whole: Path, tmp_path: Path
) -> None:
    for number in range(3):
        place = tmp_path / f"at-once-{number}"
        works = [partial(Registry(place, namespace="alice", timeout=20).import_bundle, whole) for _ in range(2)]
        assert together(*works) == [0, 0]
        there = Registry(place, namespace="alice")
        assert everything(there) == everything(source)
        assert there.verify().ok
        assert leftovers(there) == []


# only what is new


def test_a_thin_bundle_holds_only_what_is_new(origin: Path, source: Registry, tmp_path: Path) -> None:
    written = source.export("alice/Hello", path=tmp_path / "thin.tar", since="v1")
    assert written.versions == 2
    sources = [executor_py("Hello", f"# {mark}") for mark in ("two", "three")]
    assert written.bytes == sum(map(len, sources)) + 2 * len(FILES["run.sh"])
    assert (tmp_path / "thin.tar").stat().st_size < (origin / "whole.tar").stat().st_size


@pytest.mark.parametrize("since", ["v1", "{version}", "@{version}"])
def test_a_thin_bundle_completes_what_it_continues(
    since: str, origin: Path, source: Registry, registry: Registry, tmp_path: Path
) -> None:
    version = source.show("alice/Hello:v1").version
    source.export("alice/Hello", path=tmp_path / "thin.tar", since=since.replace("{version}", version[:10]))
    registry.import_bundle(origin / "old.tar")
    registry.import_bundle(tmp_path / "thin.tar")
    assert seen(registry, "alice/Hello") == seen(source, "alice/Hello")
    assert past(registry, "alice/Hello") == past(source, "alice/Hello")
    assert registry.verify().ok


def test_a_thin_bundle_alone_is_refused(origin: Path, registry: Registry) -> None:
    refused(registry, origin / "new.tar", words="continues a version that is not here|neither comes nor is here")


def test_a_thin_bundle_under_another_namespace_is_refused(origin: Path, registry: Registry) -> None:
    registry.import_bundle(origin / "old.tar")
    bob = as_caller(registry, "bob")
    refused(bob, origin / "new.tar", namespace="bob", words="continues a version|neither comes nor is here")


def test_a_thin_bundle_on_a_damaged_version_moves_no_tag(origin: Path, registry: Registry) -> None:
    registry.import_bundle(origin / "old.tar")
    before = registry.show("alice/Hello").tags
    weights = Path(registry.path("alice/Hello")) / "data/weights.bin"
    with by_hand(weights.parent):
        weights.write_bytes(b"\1" + weights.read_bytes()[1:])
    with pytest.raises(LhubError, match="weights"):
        registry.import_bundle(origin / "new.tar")
    assert registry.show("alice/Hello").tags == before
    assert len(versions(registry)) == 1
    assert leftovers(registry) == []


def test_a_thin_bundle_tells_an_execute_bit_that_changed(source: Registry, registry: Registry, tmp_path: Path) -> None:
    """The content is not new, the file is: executable files are no links, and what was one may become one."""
    source.export("alice/Hello", path=tmp_path / "whole.tar")
    made = folder(tmp_path, "three")
    (made / "run.sh").chmod(0o644)
    (made / "data/weights.bin").chmod(0o755)
    source.push(made, "Hello")
    source.export("alice/Hello", path=tmp_path / "thin.tar", since="@" + source.show("alice/Hello:v1").version)
    registry.import_bundle(tmp_path / "whole.tar")
    registry.import_bundle(tmp_path / "thin.tar")
    assert everything(registry) == everything(source)
    assert os.access(Path(registry.path("alice/Hello")) / "data/weights.bin", os.X_OK)
    assert not Path(registry.path("alice/Hello"), "run.sh").stat().st_mode & 0o111
    assert registry.verify().ok


def test_a_bundle_of_nothing_new_says_so(source: Registry, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no newer"):
        source.export("alice/Hello:v1", path=tmp_path / "thin.tar", since="latest")


def test_since_something_that_never_was_is_not_found(source: Registry, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        source.export("alice/Hello", path=tmp_path / "thin.tar", since="v9")
    assert not list(tmp_path.glob("*thin.tar*"))


# older, newer, parted ways


def test_an_older_bundle_leaves_the_tags(origin: Path, source: Registry, registry: Registry, whole: Path) -> None:
    said: list[str] = []
    registry.import_bundle(whole)
    told = Registry(registry.root, namespace="alice", notes=said.append)
    with unchanged(registry):
        carried = told.import_bundle(origin / "old.tar")[0]
    assert carried.tags == source.show("alice/Hello").tags
    assert carried.moved == {}
    assert "older" in " ".join(said)


def test_a_newer_bundle_moves_the_tags_and_tells_the_rest_of_the_past(
    origin: Path, source: Registry, registry: Registry, whole: Path
) -> None:
    registry.import_bundle(origin / "old.tar")
    first = registry.show("alice/Hello").version
    carried = registry.import_bundle(whole)[0]
    assert (carried.new, carried.moved) == (2, {"latest": first})
    assert everything(registry) == everything(source)


def test_there_and_back_again_loses_nothing(source: Registry, registry: Registry, whole: Path, tmp_path: Path) -> None:
    registry.import_bundle(whole)
    registry.push(folder(tmp_path, "four"), "Hello", message="fourth words")
    registry.export("alice/Hello", path=tmp_path / "back.tar")
    source.import_bundle(tmp_path / "back.tar")
    assert everything(source) == everything(registry)


def test_two_that_parted_ways_lose_neither_version_nor_past(
    source: Registry, registry: Registry, whole: Path, tmp_path: Path
) -> None:
    registry.import_bundle(whole)
    here = registry.push(folder(tmp_path, "here"), "Hello", tags=["latest", "mine"], message="here")
    there = source.push(folder(tmp_path, "there"), "Hello", message="there")
    source.export("alice/Hello", path=tmp_path / "there.tar")
    carried = registry.import_bundle(tmp_path / "there.tar")[0]
    assert carried.moved == {"latest": here.version}
    tags = registry.show("alice/Hello").tags
    assert (tags["latest"], tags["mine"]) == (there.version, here.version)
    assert "here" in [entry.message for entry in registry.log("alice/Hello")]
    moved = registry.log("alice/Hello")[0]
    assert (moved.action, moved.version, moved.tags) == ("import", there.version, ("latest",))
    assert registry.verify().ok


def test_an_import_beside_the_same_import_finds_nothing_to_do(
    source: Registry, registry: Registry, whole: Path
) -> None:
    """The other one ends after this one has looked, and before it writes."""
    pen = Hook(r"", lambda: as_caller(registry, "alice").import_bundle(whole))
    as_caller(registry, "alice", pen=pen).import_bundle(whole)
    assert pen.done
    assert everything(registry) == everything(source)


def test_a_bundle_that_was_taken_does_not_undo_what_came_after(registry: Registry, whole: Path, tmp_path: Path) -> None:
    registry.import_bundle(whole)
    here = registry.push(folder(tmp_path, "here"), "Hello").version
    registry.import_bundle(whole)
    assert registry.show("alice/Hello").version == here


def test_a_bundle_that_was_taken_after_ways_parted_does_not_undo_what_came_after(
    registry: Registry, whole: Path, tmp_path: Path
) -> None:
    registry.push(folder(tmp_path, "parted"), "Hello", message="mine")
    registry.import_bundle(whole)
    here = registry.push(folder(tmp_path, "here"), "Hello").version
    registry.import_bundle(whole)
    assert registry.show("alice/Hello").version == here


def test_an_older_bundle_that_comes_beside_a_newer_one_leaves_the_tags(
    origin: Path, source: Registry, registry: Registry, whole: Path
) -> None:
    pen = Hook(r"^make_folder .*/alice/Hello$", lambda: as_caller(registry, "alice").import_bundle(whole))
    as_caller(registry, "alice", pen=pen).import_bundle(origin / "old.tar")
    assert pen.done
    assert registry.show("alice/Hello").tags == source.show("alice/Hello").tags


def test_a_version_from_the_future_is_of_now(source: Registry, registry: Registry, tmp_path: Path) -> None:
    version = source.show("alice/Hello:v1").version
    os.utime(source.root / f"alice/Hello/.lhub/versions/{version}", (4e9, 4e9))
    source.export("alice/Hello", path=tmp_path / "hello.tar")
    registry.import_bundle(tmp_path / "hello.tar")
    source.copy("alice/Hello", to=tmp_path / "copy")
    for place in (registry, Registry(tmp_path / "copy", namespace="alice")):
        assert versions(place)[version][0] <= time.time() + 1


# what is refused changes nothing


def standing(registry: Registry, tmp_path: Path, mark: str = "one") -> str:
    """Something under the name that the bundle has; its version."""
    return registry.push(folder(tmp_path, mark), "Hello", tags=["latest"]).version


def test_a_protected_tag_that_differs_is_refused(registry: Registry, whole: Path, tmp_path: Path) -> None:
    standing(registry, tmp_path, "mine")
    registry.tag("alice/Hello", "v1", protect=True)
    assert refused(registry, whole, words=r"protected: v1").code == 5


def test_a_protected_tag_here_that_is_an_ordinary_one_there_is_refused_too(
    registry: Registry, whole: Path, tmp_path: Path
) -> None:
    standing(registry, tmp_path, "mine")
    registry.tag("alice/Hello", "latest", protect=True)
    assert refused(registry, whole, words=r"protected: latest").code == 5


def test_a_tag_that_is_protected_while_the_bundle_comes_stays(registry: Registry, whole: Path, tmp_path: Path) -> None:
    mine = standing(registry, tmp_path, "mine")
    beside = as_caller(registry, "alice")
    pen = Hook(r"^make_folder .*\.tmp\.", lambda: beside.tag("alice/Hello", "latest", protect=True))
    with pytest.raises(Conflict, match="protected: latest"):
        as_caller(registry, "alice", pen=pen).import_bundle(whole)
    assert registry.show("alice/Hello").tags == {"latest": mine}
    assert registry.verify().ok


def test_another_kind_is_refused(registry: Registry, whole: Path, tmp_path: Path) -> None:
    registry.push(write_tree(tmp_path / "data", {"a.txt": "a"}), "Hello")
    assert refused(registry, whole, words="holds files, what comes is executor").code == 5


def test_another_kind_that_appears_while_the_bundle_comes_is_refused(
    registry: Registry, whole: Path, tmp_path: Path
) -> None:
    data = write_tree(tmp_path / "data", {"a.txt": "a"})
    pen = Hook(r"^make_folder .*/alice/Hello$", lambda: as_caller(registry, "alice").push(data, "Hello"))
    with pytest.raises(Conflict, match="holds files"):
        as_caller(registry, "alice", pen=pen).import_bundle(whole)
    assert registry.show("alice/Hello").kind == "files"
    assert registry.verify().ok


def test_anothers_namespace_is_refused_with_the_way_out(registry: Registry, whole: Path) -> None:
    error = refused(as_caller(registry, "bob"), whole, words="alice is not your namespace")
    assert isinstance(error, Denied)
    assert "--as bob" in error.hint


def test_who_is_not_logged_in_is_told_to_log_in(registry: Registry, whole: Path) -> None:
    error = refused(as_caller(registry, None), whole)
    assert isinstance(error, Denied)
    assert "lhub login" in error.hint


def test_as_oneself_all_of_it_arrives_under_ones_own_name(source: Registry, registry: Registry, whole: Path) -> None:
    bob = as_caller(registry, "bob")
    assert bob.import_bundle(whole, namespace="bob")[0].name == "bob/Hello"
    assert everything(bob, "bob/Hello") == everything(source)
    assert not (registry.root / "alice/Hello").exists()


def test_as_somebody_else_is_refused(registry: Registry, whole: Path) -> None:
    assert isinstance(refused(registry, whole, namespace="carol"), Denied)


@pytest.mark.parametrize("namespace", ["../x", "", "a/b", "CON", "_"])
def test_as_what_is_no_namespace_is_refused(namespace: str, registry: Registry, whole: Path) -> None:
    assert isinstance(refused(registry, whole, namespace=namespace), UsageError)


def two(source: Registry, tmp_path: Path, second: str) -> Path:
    """A bundle with the Executor and another resource."""
    namespace, _, name = second.rpartition("/")
    Registry(source.root, namespace=namespace or None).push(write_tree(tmp_path / "b", FILES), second or name)
    source.export("alice/Hello", second, path=tmp_path / "two.tar")
    return tmp_path / "two.tar"


def test_when_the_second_of_two_is_refused_nothing_of_the_first_comes(
    source: Registry, registry: Registry, tmp_path: Path
) -> None:
    path = two(source, tmp_path, "alice/Zebra")
    registry.push(write_tree(tmp_path / "data", {"a.txt": "a"}), "Zebra")
    refused(registry, path, words="alice/Zebra holds files")


def test_when_the_second_of_two_is_somebody_elses_nothing_of_the_first_comes(
    source: Registry, registry: Registry, tmp_path: Path
) -> None:
    assert isinstance(refused(registry, two(source, tmp_path, "bob/Hello")), Denied)


def test_two_that_would_be_one_are_refused(source: Registry, registry: Registry, tmp_path: Path) -> None:
    refused(registry, two(source, tmp_path, "bob/Hello"), namespace="alice", words="both be alice/Hello")


def test_a_namespace_that_differs_only_by_case_is_refused_before_anything_comes(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry", namespace="alice")
    Registry(registry.root, namespace="ALICE").login("ALICE")
    crafted = Crafted({"a": b"a"}, place="_/Nameless", tags=["latest"])
    crafted.entries.update(Crafted({"a": b"a"}).entries)
    refused(registry, in_file(tmp_path, crafted.tar()), words="only by case")


def test_the_command_line_says_one_sentence_of_a_protected_tag(
    shell: Shell, whole: Path, make_executor: Callable[..., Path]
) -> None:
    shell("login", "alice", check=True)
    shell("push", make_executor("Hello"), "--protected-tag", "v1", check=True)
    answer = shell("import", whole)
    assert (answer.code, answer.out) == (5, "")
    assert answer.err.splitlines()[0] == "lhub: alice/Hello: the tag is protected: v1"


# what is private


@pytest.fixture
def secret(source: Registry, tmp_path: Path) -> Path:
    """The bundle of a resource that is private."""
    source.visibility("alice/Hello", "private")
    source.export("alice/Hello", path=tmp_path / "secret.tar")
    return tmp_path / "secret.tar"


class Guard(Pen):
    """A pen that looks before each step whether somebody else could enter the resource."""

    def __init__(self, place: Path) -> None:
        self.place, self.open, self.steps = place, list[str](), 0

    def step(self, verb: str, path: str) -> None:
        self.steps += 1
        with suppress(FileNotFoundError):
            if not is_private(self.place.stat().st_mode):
                self.open.append(f"{verb} {path}")


@pytest.mark.parametrize("way", ["bundle", "copy"])
def test_what_is_private_is_never_readable_to_others_on_its_way(
    way: str, secret: Path, source: Registry, tmp_path: Path
) -> None:
    guard = Guard(tmp_path / "there/alice/Hello")
    if way == "bundle":
        Registry(tmp_path / "there", namespace="alice", pen=guard).import_bundle(secret)
    else:
        Registry(source.root, namespace="alice", pen=guard).copy("alice/Hello", to=tmp_path / "there")
    assert guard.steps > 20
    assert guard.open == []
    assert Registry(tmp_path / "there", namespace="alice").visibility("alice/Hello") == "private"


def test_what_is_private_stays_so_under_another_namespace(secret: Path, registry: Registry) -> None:
    bob = as_caller(registry, "bob")
    bob.import_bundle(secret, namespace="bob")
    assert bob.visibility("bob/Hello") == "private"
    with pytest.raises(NotFound):
        registry.show("bob/Hello")


def test_what_is_private_never_goes_into_what_is_public(secret: Path, registry: Registry, whole: Path) -> None:
    registry.import_bundle(whole)
    error = refused(registry, secret, words="is public here, what comes is private")
    assert "lhub visibility alice/Hello private" in error.hint


def test_what_is_public_does_not_open_what_is_private(secret: Path, registry: Registry, whole: Path) -> None:
    registry.import_bundle(secret)
    registry.import_bundle(whole)
    assert registry.visibility("alice/Hello") == "private"


def test_a_private_bundle_over_what_a_dead_first_push_left_is_private(secret: Path, registry: Registry) -> None:
    (registry.root / "alice/Hello").mkdir(mode=0o755)
    registry.import_bundle(secret)
    assert registry.visibility("alice/Hello") == "private"


def test_a_public_bundle_does_not_open_what_somebody_pushes_privately_meanwhile(
    registry: Registry, whole: Path, tmp_path: Path
) -> None:
    made = folder(tmp_path, "secret")
    pen = Hook(r"^make_folder .*/alice/Hello$", lambda: as_caller(registry, "alice").push(made, "Hello", private=True))
    with suppress(LhubError):
        as_caller(registry, "alice", pen=pen).import_bundle(whole)
    assert pen.done
    assert registry.visibility("alice/Hello") == "private"


def test_a_private_bundle_never_fills_what_somebody_pushes_publicly_meanwhile(
    secret: Path, registry: Registry, tmp_path: Path
) -> None:
    made = folder(tmp_path, "open")
    pen = Hook(r"^make_folder .*/alice/Hello$", lambda: as_caller(registry, "alice").push(made, "Hello"))
    with suppress(LhubError):
        as_caller(registry, "alice", pen=pen).import_bundle(secret)
    assert pen.done
    assert registry.visibility("alice/Hello") == "private" or len(versions(registry)) == 1


# resources without a namespace


@pytest.fixture
def nameless(tmp_path: Path) -> Registry:
    """A registry with two resources without a namespace, the second private, and one of alice's."""
    registry = Registry(tmp_path / "nameless", timeout=20)
    registry.push(folder(tmp_path), "Open", secret="sesame-open")
    registry.push(folder(tmp_path), "Shut", secret="sesame-shut", private=True)
    as_caller(registry, "alice").push(folder(tmp_path), "Hello")
    return registry


def test_what_has_no_namespace_arrives_without_its_secret(
    nameless: Registry, registry: Registry, tmp_path: Path
) -> None:
    nameless.export("Open", path=tmp_path / "open.tar")
    registry.import_bundle(tmp_path / "open.tar")
    assert read_tree(Path(registry.path("Open"))) == read_tree(Path(nameless.path("Open")))
    assert not (registry.root / "_/Open/.lhub/secret").exists()
    with unchanged(registry):
        registry.import_bundle(tmp_path / "open.tar")


def test_what_has_no_namespace_is_never_updated_by_a_bundle(
    nameless: Registry, registry: Registry, tmp_path: Path
) -> None:
    nameless.export("Open", path=tmp_path / "old.tar")
    registry.import_bundle(tmp_path / "old.tar")
    nameless.push(folder(tmp_path, "two"), "Open", secret="sesame-open")
    nameless.export("Open", path=tmp_path / "new.tar")
    assert refused(registry, tmp_path / "new.tar", words="never updated").code == 5


@pytest.mark.usefixtures("in_clear")
def test_a_bundle_never_carries_what_is_private_by_a_secret(nameless: Registry, tmp_path: Path) -> None:
    with pytest.raises(Denied):
        nameless.export("jinahub://Shut:sesame-shut", path=tmp_path / "shut.tar")
    assert not list(tmp_path.glob("*shut.tar*"))


def test_a_copy_of_all_keeps_secrets(nameless: Registry, tmp_path: Path) -> None:
    as_caller(nameless, "alice").copy(to=tmp_path / "there")
    there = Registry(tmp_path / "there")
    assert there.pull("jinahub://Shut:sesame-shut", tmp_path / "shut").name == "Shut"
    with pytest.raises(NotFound):
        there.pull("jinahub://Shut:wrong-wrong", tmp_path / "wrong")
    assert there.push(folder(tmp_path, "two"), "Open", secret="sesame-open").new


def test_a_copy_by_its_secret_keeps_it_private(nameless: Registry, tmp_path: Path) -> None:
    nameless.copy("jinahub://Shut:sesame-shut", to=tmp_path / "there")
    there = Registry(tmp_path / "there")
    assert there.visibility("jinahub://Shut:sesame-shut") == "private"


def test_a_copy_of_all_again_brings_what_was_pushed_by_secret_since(nameless: Registry, tmp_path: Path) -> None:
    alice = as_caller(nameless, "alice")
    alice.copy(to=tmp_path / "there")
    newer = nameless.push(folder(tmp_path, "two"), "Open", secret="sesame-open").version
    alice.copy(to=tmp_path / "there")
    assert Registry(tmp_path / "there").show("Open").version == newer


def test_one_name_that_cannot_go_on_does_not_keep_ones_own_from_being_copied(
    nameless: Registry, tmp_path: Path
) -> None:
    """A backup of all must not stop for ever because somebody else's secret holds one name there."""
    Registry(tmp_path / "there").push(folder(tmp_path, "other"), "Open", secret="another-secret")
    alice = as_caller(nameless, "alice")
    with suppress(LhubError):
        alice.copy(to=tmp_path / "there")
    assert [line.name for line in Registry(tmp_path / "there").list("alice")] == ["alice/Hello"]


# copy


def test_a_copy_keeps_everything(source: Registry, tmp_path: Path) -> None:
    copied = source.copy("alice/Hello", to=tmp_path / "there")
    there = Registry(tmp_path / "there", namespace="alice")
    assert [(each.name, each.versions, each.new) for each in copied.carried] == [("alice/Hello", 3, 3)]
    assert everything(there) == everything(source)
    assert there.verify().ok


def test_a_copy_leaves_the_source_as_it_was(source: Registry, tmp_path: Path) -> None:
    with unchanged(source):
        source.copy("alice/Hello", to=tmp_path / "there")


def test_a_copy_copies_only_what_is_missing(source: Registry, tmp_path: Path) -> None:
    source.copy("alice/Hello", to=tmp_path / "there")
    source.push(folder(tmp_path, "four"), "Hello")
    pen = watching()
    Registry(source.root, namespace="alice", pen=pen).copy("alice/Hello", to=tmp_path / "there")
    assert sorted(pen.copied) == ["executor.py", "run.sh"]  # an executable file is no link


def test_the_same_copy_again_changes_nothing(source: Registry, tmp_path: Path) -> None:
    source.copy("alice/Hello", to=tmp_path / "there")
    pen = watching()
    with unchanged(Registry(tmp_path / "there")):
        Registry(source.root, namespace="alice", pen=pen).copy("alice/Hello", to=tmp_path / "there")
    assert pen.copied == []


def test_a_copy_that_failed_goes_on_where_it_stopped(source: Registry, tmp_path: Path) -> None:
    pen = Hook(r"^rename .*/versions/[0-9a-f]{64}$", lambda: None, lasting=True)
    pen.deed = lambda: fail(errno.EIO)() if pen.copied.count("run.sh") == 2 else None
    with pytest.raises(OSError):
        Registry(source.root, namespace="alice", pen=pen).copy("alice/Hello", to=tmp_path / "there")
    there = Registry(tmp_path / "there", namespace="alice")
    assert len(versions(there)) == 1
    again = watching()
    Registry(source.root, namespace="alice", pen=again).copy("alice/Hello", to=tmp_path / "there")
    assert again.copied.count("run.sh") == 2  # one a version: an executable file is no link
    assert "data/weights.bin" not in again.copied
    assert everything(there) == everything(source)


@pytest.mark.parametrize("what", DAMAGE)
def test_what_is_not_what_was_published_is_never_copied(what: str, source: Registry, tmp_path: Path) -> None:
    damage(source, what)
    with pytest.raises(Corrupt):
        source.copy("alice/Hello", to=tmp_path / "there")
    there = Registry(tmp_path / "there", namespace="alice")
    if there.root.exists():
        assert there.list() == []
        assert there.verify().ok
        assert leftovers(there) == []


def test_a_copy_of_all_takes_ones_own_and_names_what_it_skips(source: Registry, tmp_path: Path) -> None:
    made = folder(tmp_path)
    source.push(made, "Other", private=True)
    as_caller(source, "bob").push(made, "Open")
    as_caller(source, "bob").push(made, "Shut", private=True)
    copied = source.copy(to=tmp_path / "there")
    assert [each.name for each in copied.carried] == ["alice/Hello", "alice/Other"]
    assert copied.skipped == ("bob/Open",)
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["alice", "registry.yaml"]


def test_anothers_resource_is_copied_under_ones_own_name_only(source: Registry, tmp_path: Path) -> None:
    bob = as_caller(source, "bob")
    with pytest.raises(Denied) as caught:
        bob.copy("alice/Hello", to=tmp_path / "there")
    assert "--as bob" in caught.value.hint
    assert not (tmp_path / "there").exists()
    bob.copy("alice/Hello", to=tmp_path / "there", namespace="bob")
    assert everything(Registry(tmp_path / "there", namespace="bob"), "bob/Hello") == everything(source)


@pytest.mark.parametrize("way", ["its own name", "a link", "a trailing slash"])
def test_a_registry_is_never_copied_into_itself(way: str, source: Registry, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(source.root)
    to = {"its own name": f"{source.root}", "a link": f"{tmp_path}/link", "a trailing slash": f"{source.root}/"}
    with unchanged(source), pytest.raises(UsageError, match="one registry"):
        source.copy("alice/Hello", to=to[way])


def test_a_copy_through_a_link_to_the_source_finds_itself_too(source: Registry, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(source.root)
    with unchanged(source), pytest.raises(UsageError, match="one registry"):
        Registry(tmp_path / "link", namespace="alice").copy("alice/Hello", to=source.root)


def test_a_copy_into_a_folder_of_other_things_changes_nothing(source: Registry, tmp_path: Path) -> None:
    write_tree(tmp_path / "there", {"letter.txt": b"dear\n"})
    with pytest.raises(LhubError):
        source.copy("alice/Hello", to=tmp_path / "there")
    assert read_tree(tmp_path / "there") == {"letter.txt": b"dear\n"}


def test_a_copy_into_an_empty_folder_makes_the_registry_there(source: Registry, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert source.copy("alice/Hello", to=tmp_path / "empty").carried
    assert Registry(tmp_path / "empty", namespace="alice").verify().ok


def test_a_copy_to_where_no_folder_is_makes_none(source: Registry, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        source.copy("alice/Hello", to=tmp_path / "no/there")
    assert not (tmp_path / "no").exists()


def test_a_registry_of_a_newer_format_takes_nothing(source: Registry, whole: Path, tmp_path: Path) -> None:
    there = write_tree(tmp_path / "there", {"registry.yaml": "format: 2\n"})
    refused(Registry(there, namespace="alice"), whole, words="2.*1")
    with pytest.raises(LhubError, match="format"):
        source.copy("alice/Hello", to=there)


def test_a_copy_of_a_diary_that_does_not_read_says_so_or_is_refused(source: Registry, tmp_path: Path) -> None:
    for path in (source.root / "alice/Hello/.lhub/history.git/objects/pack").iterdir():
        with by_hand(path.parent):
            path.write_bytes(b"rubbish")
    said: list[str] = []
    with suppress(LhubError):
        Registry(source.root, namespace="alice", notes=said.append).copy("alice/Hello", to=tmp_path / "there")
        assert "diary" in " ".join(said)
    there = Registry(tmp_path / "there", namespace="alice")
    assert not there.root.exists() or there.verify().ok
