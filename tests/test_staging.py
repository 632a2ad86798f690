"""Where data enters: copied, hashed, durable and read-only before anything names it; what stands is not copied."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lhub.disk import Pen
from lhub.errors import LhubError
from lhub.kinds import Recognised
from lhub.layout import SCRATCH
from lhub.registry import Registry
from tests.conftest import as_caller, by_hand, read_tree, snapshot, write_tree
from tests.test_lock import held_elsewhere

SHARED = "the same in every version\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file that changes, one that stays, one in a folder, and a script."""
    write_tree(
        tmp_path / "src",
        {"changes.txt": "1", "stays.txt": SHARED, "sub/deep/inner.txt": "inner", "run.sh": "#!/bin/sh"},
    )
    (tmp_path / "src" / "run.sh").chmod(0o755)
    return tmp_path / "src"


class Hooked(Pen):
    """A pen that does something once, before the first step that a condition names."""

    def __init__(self, when: Callable[[str, str], bool], deed: Callable[[], object]) -> None:
        self.when, self.deed, self.done = when, deed, False
        self.steps: list[tuple[str, str]] = []

    def step(self, verb: str, path: str) -> None:
        self.steps.append((verb, path))
        if not self.done and self.when(verb, path):
            self.done = True
            self.deed()


class Linkless(Pen):
    """A pen on a file system that refuses hard links."""

    def __init__(self, refusal: int) -> None:
        self.refusal = refusal

    def link(self, source: str, path: str) -> None:
        self.step("link", path)
        raise OSError(self.refusal, os.strerror(self.refusal), path)


def inside(registry: Registry) -> Path:
    return registry.root / "alice" / "X" / ".lhub"


def version(registry: Registry, tag: str = "latest") -> Path:
    return Path(registry.path(f"alice/X:{tag}")).parent


def blobs(registry: Registry) -> dict[str, os.stat_result]:
    found = (inside(registry) / "history.git" / "lfs" / "objects").rglob("*")
    return {path.name: path.stat() for path in found if path.is_file()}


def versions(registry: Registry) -> list[str]:
    return sorted(name for name in os.listdir(inside(registry) / "versions") if not name.startswith(SCRATCH))


def whole(registry: Registry, folder: Path, tag: str = "latest") -> bool:
    """Whether a pull gives what the folder holds."""
    destination = folder.with_name(f"pulled-{time.monotonic_ns()}")
    return read_tree(Path(registry.pull(f"alice/X:{tag}", destination).path)) == read_tree(folder)


# what a version is


def test_a_manifest_that_nobody_could_read_is_not_published(
    registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a kind would tell: a number of twenty digits, which readers refuse."""
    registry.push(folder, "X")
    before = registry.show("alice/X").version, versions(registry)
    monkeypatch.setattr(
        "lhub.kinds.files", lambda packing: Recognised(kind="files", packing=packing, about={"n": 10**19})
    )
    write_tree(folder, {"changes.txt": "2"})
    with pytest.raises(LhubError, match="cannot be read again"):
        registry.push(folder, "X")
    assert (registry.show("alice/X").version, versions(registry)) == before


def test_a_version_is_read_only_throughout(registry: Registry, folder: Path) -> None:
    registry.push(folder, "X")
    place = version(registry)
    modes = {str(path.relative_to(place)): stat.S_IMODE(path.stat().st_mode) for path in [place, *place.rglob("*")]}
    assert modes == {
        ".": 0o555, "files": 0o555, "files/sub": 0o555, "files/sub/deep": 0o555, "files/run.sh": 0o555,
        "manifest.yaml": 0o444, "SHA256SUMS": 0o444, "files/changes.txt": 0o444, "files/stays.txt": 0o444,
        "files/sub/deep/inner.txt": 0o444,
    }  # fmt: skip


def test_a_version_is_read_only_before_it_has_its_name(registry: Registry, folder: Path) -> None:
    seen: list[set[int]] = []

    def look() -> None:
        [staged] = [path for path in (inside(registry) / "versions").iterdir() if path.is_dir()]
        seen.append({stat.S_IMODE(path.stat().st_mode) & 0o222 for path in [staged, *staged.rglob("*")]})

    pen = Hooked(lambda verb, path: verb == "rename" and "/versions/" in path and len(Path(path).name) == 64, look)
    as_caller(registry, "alice", pen=pen).push(folder, "X")
    assert seen == [{0}]


def test_nobody_else_can_look_into_staging(registry: Registry, folder: Path) -> None:
    seen: list[int] = []

    def look() -> None:
        seen.extend(path.stat().st_mode for path in (inside(registry) / "versions").iterdir() if path.is_dir())

    as_caller(registry, "alice", pen=Hooked(lambda verb, path: verb == "copy_in", look)).push(folder, "X")
    assert [stat.S_IMODE(mode) for mode in seen] == [0o700]


def test_coreutils_alone_verify_a_version(registry: Registry, folder: Path) -> None:
    if not shutil.which("sha256sum"):
        pytest.skip("sha256sum is not here: it comes with coreutils")
    write_tree(folder, {"back\\slash": "x", "two  spaces": "y", "-dash": "z", "empty": "", "日本語": "w"})
    registry.push(folder, "X")
    done = subprocess.run(
        ["sha256sum", "-c", "../SHA256SUMS"],
        cwd=registry.root / "alice/X/latest/files",
        capture_output=True,
        check=True,
    )
    assert done.stdout.count(b": OK\n") == len(read_tree(folder))


def test_names_in_the_sums_are_sorted_by_their_bytes(registry: Registry, folder: Path) -> None:
    write_tree(folder, {"b": "", "B": "", "a/z": "", "a.txt": "", "é": "", "z": ""})
    (folder / "B").unlink()
    registry.push(folder, "X")
    names = [line[66:] for line in (version(registry) / "SHA256SUMS").read_bytes().splitlines()]
    assert names == sorted(names)


# bytes are kept once


def test_same_bytes_twice_make_one_version(registry: Registry, folder: Path) -> None:
    first = registry.push(folder, "X")
    before, blobs_before = snapshot(inside(registry) / "versions"), blobs(registry)
    copy = shutil.copytree(folder, folder.with_name("copy"))
    os.utime(copy / "stays.txt", (1, 1))
    again = registry.push(copy, "X", tags=["other"])
    assert (again.version, first.new, again.new) == (first.version, True, False)
    assert snapshot(inside(registry) / "versions") == before
    assert blobs(registry).keys() == blobs_before.keys()


def test_a_push_of_what_stands_copies_nothing(registry: Registry, folder: Path) -> None:
    registry.push(folder, "X")
    pen = Hooked(lambda verb, path: False, lambda: None)
    as_caller(registry, "alice", pen=pen).push(folder, "X")
    assert [step for step in pen.steps if step[0] in ("copy_in", "link")] == []


def test_a_push_copies_only_what_changed(registry: Registry, folder: Path) -> None:
    registry.push(folder, "X")
    write_tree(folder, {"changes.txt": "2"})
    pen = Hooked(lambda verb, path: False, lambda: None)
    as_caller(registry, "alice", pen=pen).push(folder, "X")
    copied = [path.rpartition("/files/")[2] for verb, path in pen.steps if verb == "copy_in" and "/files/" in path]
    assert copied == ["changes.txt", "run.sh"]  # an executable file is a copy always


def test_unchanged_files_are_hard_links_shared_between_versions(registry: Registry, folder: Path) -> None:
    registry.push(folder, "X", tags=["v1"])
    write_tree(folder, {"changes.txt": "2"})
    registry.push(folder, "X", tags=["v2"])
    one, two, stored = version(registry, "v1") / "files", version(registry, "v2") / "files", blobs(registry)
    for path in ("stays.txt", "sub/deep/inner.txt"):
        assert (one / path).stat().st_ino == (two / path).stat().st_ino
        assert (one / path).stat().st_ino in {status.st_ino for status in stored.values()}
    assert (one / "changes.txt").stat().st_ino != (two / "changes.txt").stat().st_ino
    assert whole(registry, folder, "v2")


def test_a_file_under_two_names_is_kept_once(registry: Registry, folder: Path) -> None:
    write_tree(folder, {"copy.txt": SHARED, "sub/copy.txt": SHARED})
    registry.push(folder, "X")
    place = version(registry) / "files"
    inodes = {(place / path).stat().st_ino for path in ("stays.txt", "copy.txt", "sub/copy.txt")}
    assert len(inodes) == 1


def test_an_executable_file_is_a_copy_of_its_blob(registry: Registry, folder: Path) -> None:
    """One inode cannot be both 0444 and 0555."""
    write_tree(folder, {"plain.sh": "#!/bin/sh"})
    registry.push(folder, "X")
    script, plain = version(registry) / "files/run.sh", version(registry) / "files/plain.sh"
    assert script.read_bytes() == plain.read_bytes()
    assert (script.stat().st_nlink, stat.S_IMODE(script.stat().st_mode)) == (1, 0o555)
    assert {stat.S_IMODE(status.st_mode) for status in blobs(registry).values()} == {0o444}


def test_a_bit_makes_another_version_of_the_same_bytes(registry: Registry, folder: Path) -> None:
    first = registry.push(folder, "X", tags=["v1"])
    (folder / "stays.txt").chmod(0o755)
    second = registry.push(folder, "X", tags=["v2"])
    assert first.version != second.version
    modes = [stat.S_IMODE((version(registry, tag) / "files/stays.txt").stat().st_mode) for tag in ("v1", "v2")]
    assert modes == [0o444, 0o555]


@pytest.mark.parametrize("syncs", [True, False], ids=["syncfs", "fsync"])
def test_many_files_travel_as_few_do(
    registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch, syncs: bool
) -> None:
    if not syncs:
        monkeypatch.setattr("lhub.disk._syncfs", lambda descriptor: False)
    write_tree(folder, {f"many/{number}": f"{number}" for number in range(40)})
    write_tree(folder, {"empty": "", "also empty": ""})
    registry.push(folder, "X")
    assert whole(registry, folder)


def test_a_large_file_travels_as_a_small_one_does(registry: Registry, folder: Path) -> None:
    write_tree(folder, {"large": b"\0large\n" * 1_200_000})
    registry.push(folder, "X")
    assert whole(registry, folder)


# damage is mended by pushing again


def payload(registry: Registry) -> Path:
    return version(registry) / "files" / "stays.txt"


def overwrite(path: Path, data: bytes) -> None:
    """Damage in place, as a disk does it: every hard link of the file is concerned."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_TRUNC), "wb") as file:
        file.write(data)


def replace(path: Path, make: Callable[[Path], object]) -> None:
    """Put something else in the place of a name."""
    path.unlink()
    make(path)


DAMAGES: dict[str, Callable[[Registry], object]] = {
    "cut short": lambda r: overwrite(payload(r), b""),
    "a byte flipped": lambda r: overwrite(payload(r), b"T" + SHARED.encode()[1:]),
    "a byte flipped in the version alone": lambda r: replace(
        payload(r), lambda path: path.write_bytes(b"T" + SHARED.encode()[1:])
    ),
    "a file gone": lambda r: payload(r).unlink(),
    "a link in the place of a file": lambda r: replace(payload(r), lambda path: path.symlink_to("/etc/hostname")),
    "a FIFO in the place of a file": lambda r: replace(payload(r), os.mkfifo),
    "the manifest gone": lambda r: (version(r) / "manifest.yaml").unlink(),
    "the manifest cut short": lambda r: overwrite(version(r) / "manifest.yaml", b"format: 1\n"),
    "the sums gone": lambda r: (version(r) / "SHA256SUMS").unlink(),
    "the sums changed": lambda r: overwrite(version(r) / "SHA256SUMS", b"0" * 64 + b"  stays.txt\n"),
    "all files gone": lambda r: (version(r) / "files").rename(version(r) / "elsewhere"),
    "the version gone": lambda r: Pen().remove_tree(str(version(r))),
    "a file in the place of the version": lambda r: _file_for_folder(version(r)),
}


def _file_for_folder(path: Path) -> None:
    Pen().remove_tree(str(path))
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_version_is_replaced_by_pushing_again(registry: Registry, folder: Path, damage: str) -> None:
    first = registry.push(folder, "X", tags=["latest", "v1"], protected_tags=["v1"])
    with by_hand(version(registry)):
        DAMAGES[damage](registry)
    with pytest.raises(LhubError) as told:
        whole(registry, folder)
    assert told.value.code == 6
    assert registry.push(folder, "X").version == first.version
    assert whole(registry, folder)
    assert whole(registry, folder, "v1")


@pytest.mark.parametrize("data", [b"", b"T" + SHARED.encode()[1:]], ids=["cut short", "a byte flipped"])
def test_a_damaged_blob_does_not_get_into_a_new_version(registry: Registry, folder: Path, data: bytes) -> None:
    registry.push(folder, "X", tags=["v1"])
    with by_hand(version(registry, "v1")):
        overwrite(payload_of(registry, "v1"), data)
    write_tree(folder, {"changes.txt": "2"})
    registry.push(folder, "X")
    assert whole(registry, folder)


def payload_of(registry: Registry, tag: str) -> Path:
    return version(registry, tag) / "files" / "stays.txt"


def test_a_lost_blob_is_made_again(registry: Registry, folder: Path) -> None:
    registry.push(folder, "X")
    lost = blobs(registry)
    for path in (inside(registry) / "history.git" / "lfs" / "objects").iterdir():
        shutil.rmtree(path)
    write_tree(folder, {"changes.txt": "2"})
    registry.push(folder, "X")
    assert whole(registry, folder)
    assert len(blobs(registry)) == len(lost)


# a link that cannot be made


@pytest.mark.parametrize(
    "refusal", [errno.EMLINK, errno.ENOSPC, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP], ids=errno.errorcode.get
)
def test_a_link_that_is_refused_becomes_a_copy(registry: Registry, folder: Path, refusal: int) -> None:
    linkless = as_caller(registry, "alice", pen=Linkless(refusal))
    for number in ("1", "2"):
        write_tree(folder, {"changes.txt": number})
        pushed = linkless.push(folder, "X", tags=[f"v{number}"])
        assert pushed.version == registry.push(folder, "Y").version
        assert whole(registry, folder, f"v{number}")
    assert {path.stat().st_nlink for path in version(registry, "v1").parent.rglob("*") if path.is_file()} == {1}
    assert blobs(registry).keys() == {
        path.name for path in (registry.root / "alice/Y/.lhub/history.git/lfs/objects").rglob("*") if path.is_file()
    }


def test_a_link_that_fails_otherwise_is_an_error(registry: Registry, folder: Path) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        as_caller(registry, "alice", pen=Linkless(errno.EIO)).push(folder, "X")
    assert versions(registry) == []


def test_a_blob_that_goes_just_before_it_is_linked_becomes_a_copy(registry: Registry, folder: Path) -> None:
    """A collection beside us takes what nothing names any more."""
    registry.push(folder, "X")
    write_tree(folder, {"changes.txt": "2"})
    stored = inside(registry) / "history.git" / "lfs" / "objects"

    def collect() -> None:
        for path in stored.rglob("*"):
            if path.is_file() and path.read_text() == SHARED:
                path.unlink()

    as_caller(
        registry, "alice", pen=Hooked(lambda verb, path: verb == "link" and path.endswith("stays.txt"), collect)
    ).push(folder, "X")
    assert whole(registry, folder)


def test_what_another_person_owns_is_never_linked(registry: Registry, folder: Path) -> None:
    """Its owner could change it behind a version's back."""
    if os.geteuid():
        pytest.skip("only root gives files away")
    registry.push(folder, "X")
    for path in (inside(registry) / "history.git" / "lfs" / "objects").rglob("*"):
        if path.is_file():
            os.chown(path, 65534, -1)
    write_tree(folder, {"changes.txt": "2"})
    registry.push(folder, "X", tags=["v2"])
    owners = {path.stat().st_uid for path in version(registry, "v2").rglob("*")}
    assert owners == {os.geteuid()}
    assert whole(registry, folder, "v2")


# a folder that does not hold still


def become(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


MOVES: dict[str, Callable[[Path], object]] = {
    "grows": lambda folder: write_tree(folder, {"stays.txt": SHARED * 2}),
    "shrinks": lambda folder: write_tree(folder, {"stays.txt": ""}),
    "changes at the same size": lambda folder: write_tree(folder, {"stays.txt": "T" + SHARED[1:]}),
    "changes where it was read before": lambda folder: write_tree(folder, {"changes.txt": "9"}),
    "is replaced": lambda folder: become(folder / "stays.txt", lambda path: path.write_text(SHARED)),
    "goes": lambda folder: (folder / "stays.txt").unlink(),
    "comes": lambda folder: write_tree(folder, {"new.txt": ""}),
    "becomes a link": lambda folder: become(folder / "stays.txt", lambda path: path.symlink_to("/etc/hostname")),
    "becomes a FIFO": lambda folder: become(folder / "stays.txt", os.mkfifo),
    "becomes a folder": lambda folder: become(folder / "stays.txt", os.mkdir),
}


@pytest.mark.parametrize("during", ["changes.txt", "sub/deep/inner.txt"], ids=["early", "late"])
@pytest.mark.parametrize("move", MOVES)
def test_a_file_that_changes_while_it_is_pushed_is_refused(
    registry: Registry, folder: Path, move: str, during: str
) -> None:
    registry.push(folder, "X")
    before, listed = snapshot(inside(registry) / "versions"), registry.list()
    write_tree(folder, {"changes.txt": "2", "sub/deep/inner.txt": "outer"})
    pen = Hooked(lambda verb, path: verb == "copy_in" and path.endswith(during), lambda: MOVES[move](folder))
    with pytest.raises(LhubError) as told:
        as_caller(registry, "alice", pen=pen).push(folder, "X")
    assert pen.done
    assert "changed while it was pushed" in str(told.value)
    assert told.value.code == 1
    assert registry.list() == listed
    assert snapshot(inside(registry) / "versions") == before


@pytest.mark.skipif(not os.path.exists("/proc/version"), reason="needs files that hold more than they say (Linux)")
def test_a_file_that_holds_more_than_it_says_is_refused(registry: Registry) -> None:
    """Its size is not known before it is read: it would be published cut short."""
    assert os.stat("/proc/version").st_size == 0
    with pytest.raises(LhubError, match="changed while it was pushed"):
        registry.push("/proc/version", "X", kind="files")
    assert registry.list() == []


# staging of the dead


def stage_by_hand(registry: Registry, name: str) -> Path:
    """What a killed push leaves: a lock, a folder (read-only in part), scratch files."""
    staged = inside(registry) / "versions" / f"{SCRATCH}{name}"
    write_tree(staged, {"files/sub/a": "x"})
    for end in (".lock", ".file"):
        staged.with_name(staged.name + end).write_bytes(b"")
    staged.with_name(staged.name + ".link").symlink_to("nowhere")
    (staged / "files" / "sub").chmod(0o555)
    return staged


def test_the_staging_of_a_dead_push_is_swept_by_the_next(registry: Registry, folder: Path) -> None:
    registry.push(folder, "X")
    for name in ("host-1-aa", "host-2-bb"):
        stage_by_hand(registry, name)
    registry.push(folder, "X")
    assert [name for name in os.listdir(inside(registry) / "versions") if name.startswith(SCRATCH)] == []


def test_the_staging_of_a_live_push_stays(registry: Registry, folder: Path) -> None:
    registry.push(folder, "X")
    staged = stage_by_hand(registry, "host-3-cc")
    before = snapshot(staged)
    with held_elsewhere(staged.with_name(staged.name + ".lock")):
        registry.push(folder, "X")
        assert snapshot(staged) == before
        assert all(os.path.lexists(f"{staged}{end}") for end in (".lock", ".file", ".link"))


def test_the_staging_of_another_person_stays(registry: Registry, folder: Path) -> None:
    if os.geteuid():
        pytest.skip("only root gives files away")
    registry.push(folder, "X")
    staged = stage_by_hand(registry, "host-4-dd")
    os.chown(f"{staged}.lock", 65534, -1)
    registry.push(folder, "X")
    assert staged.is_dir()


def test_a_push_that_fails_leaves_no_staging(registry: Registry, folder: Path) -> None:
    registry.push(folder, "X")
    write_tree(folder, {"changes.txt": "2"})

    def fail() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(LhubError, match=os.strerror(errno.ENOSPC)):
        as_caller(registry, "alice", pen=Hooked(lambda verb, path: path.endswith("SHA256SUMS"), fail)).push(folder, "X")
    assert [name for name in os.listdir(inside(registry) / "versions") if name.startswith(SCRATCH)] == []
    assert whole(registry, write_tree(folder, {"changes.txt": "1"}))
