"""The disk: one pen that writes whole or not at all, and eyes that open nothing but regular files."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from lhub import disk
from lhub.disk import Pen, transfer
from lhub.errors import Corrupt, LhubError
from lhub.opening import (
    digest_of,
    digest_text,
    is_folder,
    open_file,
    open_folder,
    opened_beneath,
    read_open,
    read_small,
)
from lhub.registry import Registry
from tests.conftest import snapshot, write_tree

MIB = 1 << 20


@pytest.fixture
def pen() -> Pen:
    return Pen()


@pytest.fixture
def no_hang() -> Iterator[None]:
    """Two seconds for what must not wait at all."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 2)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


# modes


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o277, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.parametrize("mode", [0o555, 0o700, 0o755, 0o1777, 0o2770, 0o2775], ids=oct)
@pytest.mark.usefixtures("umask")
def test_a_folder_has_just_its_mode_whatever_the_umask(pen: Pen, tmp_path: Path, mode: int) -> None:
    assert pen.make_folder(f"{tmp_path}/folder", mode)
    assert mode_of(tmp_path / "folder") == mode


@pytest.mark.parametrize("mode", [0o444, 0o555, 0o600, 0o664], ids=oct)
@pytest.mark.usefixtures("umask")
def test_a_file_has_just_its_mode_whatever_the_umask(pen: Pen, tmp_path: Path, mode: int) -> None:
    source = os.open(os.devnull, os.O_RDONLY)
    pen.write_new(f"{tmp_path}/written", b"", mode)
    pen.append(f"{tmp_path}/appended", b"", mode)
    pen.copy_in(source, f"{tmp_path}/copied", mode)
    pen.replace(f"{tmp_path}/replaced", b"", mode, scratch=f"{tmp_path}/scratch")
    pen.create(f"{tmp_path}/created", b"", mode, scratch=f"{tmp_path}/scratch")
    os.close(source)
    assert {path.name: mode_of(path) for path in tmp_path.iterdir()} == dict.fromkeys(
        ["written", "appended", "copied", "replaced", "created"], mode
    )


@pytest.mark.parametrize("mode", [0o700, 0o755], ids=oct)
def test_a_folder_in_a_setgid_folder_has_just_its_mode(pen: Pen, tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(0o2775)
    pen.make_folder(f"{tmp_path}/folder", mode)
    assert mode_of(tmp_path / "folder") == mode


def test_where_modes_do_not_stick_nothing_is_called_private(
    registry: Registry, hello: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.push(hello)
    monkeypatch.setattr("os.fchmod", lambda descriptor, mode: None)  # as FAT and some shares do
    for verb in (lambda: registry.push(hello, private=True), lambda: registry.visibility("alice/Hello", "private")):
        with pytest.raises(LhubError, match="does not keep modes"):
            verb()
    assert registry.push(hello, tags=["v1"]).visibility == "public"


# once


class Watching(Pen):
    """A pen that looks at a name before each step."""

    def __init__(self, look: Callable[[], object]) -> None:
        self.look = look
        self.seen: list[object] = []

    def step(self, verb: str, path: str) -> None:
        self.seen.append(self.look())


def test_a_new_file_never_replaces_one_that_stands(pen: Pen, tmp_path: Path) -> None:
    pen.write_new(f"{tmp_path}/file", b"first", 0o444)
    with pytest.raises(FileExistsError):
        pen.write_new(f"{tmp_path}/file", b"second", 0o444)
    assert (tmp_path / "file").read_bytes() == b"first"


def test_of_two_who_create_a_file_one_makes_it_and_the_other_learns_so(pen: Pen, tmp_path: Path) -> None:
    made = [pen.create(f"{tmp_path}/file", data, 0o644, scratch=f"{tmp_path}/scratch") for data in (b"first", b"other")]
    assert made == [True, False]
    assert snapshot(tmp_path) == {"file": (stat.S_IFREG | 0o644, b"first")}


@pytest.mark.parametrize("refusal", [errno.EMLINK, errno.ENOSPC, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP])
def test_where_no_link_can_be_made_a_file_is_still_created_once(tmp_path: Path, refusal: int) -> None:
    class Linkless(Pen):
        def link(self, source: str, path: str) -> None:
            raise OSError(refusal, os.strerror(refusal), path)

    pen = Linkless()
    made = [pen.create(f"{tmp_path}/file", data, 0o644, scratch=f"{tmp_path}/scratch") for data in (b"first", b"other")]
    assert made == [True, False]
    assert snapshot(tmp_path) == {"file": (stat.S_IFREG | 0o644, b"first")}


def test_a_file_whose_scratch_is_swept_meanwhile_is_still_created_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody took us for dead; who reads the file at any moment finds none or the whole."""
    path, scratch, seen, write = tmp_path / "file", tmp_path / "scratch", set[bytes | None](), os.write

    def look() -> None:
        seen.add(path.read_bytes() if path.exists() else None)

    def watched(descriptor: int, data: bytes) -> int:
        look()
        return write(descriptor, data)

    class Swept(Watching):
        swept = False

        def step(self, verb: str, where: str) -> None:
            super().step(verb, where)
            if verb == "link" and not self.swept:
                self.swept = True
                scratch.unlink()

    monkeypatch.setattr("os.write", watched)
    assert Swept(look).create(str(path), b"whole", 0o644, scratch=str(scratch))
    assert seen <= {None, b"whole"}
    assert snapshot(tmp_path) == {"file": (stat.S_IFREG | 0o644, b"whole")}


def test_a_folder_that_stands_is_no_new_folder_and_keeps_its_mode(pen: Pen, tmp_path: Path) -> None:
    pen.make_folder(f"{tmp_path}/folder", 0o700)
    assert not pen.make_folder(f"{tmp_path}/folder", 0o755)
    assert mode_of(tmp_path / "folder") == 0o700


def test_a_file_or_a_link_where_a_folder_should_be_is_told(pen: Pen, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    with pytest.raises(Corrupt, match="link is not a folder"):
        pen.make_folders([f"{tmp_path}/made", f"{tmp_path}/link"], 0o755)


def test_a_symbolic_link_never_replaces_what_stands(pen: Pen, tmp_path: Path) -> None:
    pen.symlink("first", f"{tmp_path}/link")
    with pytest.raises(FileExistsError):
        pen.symlink("second", f"{tmp_path}/link")
    assert os.readlink(tmp_path / "link") == "first"


# at once


def test_a_replaced_file_is_at_every_step_the_old_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    reader = path.open("rb")
    pen = Watching(path.read_bytes)
    pen.replace(str(path), b"new", 0o644, scratch=f"{tmp_path}/scratch")
    assert set(pen.seen) == {b"old"}
    with reader:
        assert (path.read_bytes(), reader.read()) == (b"new", b"old")


def test_a_replaced_link_is_at_every_step_the_old_or_the_new(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("old")
    pen = Watching(lambda: os.readlink(link))
    pen.replace_link("new", str(link), scratch=f"{tmp_path}/scratch")
    assert set(pen.seen) == {"old"}
    assert os.readlink(link) == "new"
    assert os.listdir(tmp_path) == ["link"]


def test_what_is_announced_is_what_a_pen_may_refuse(tmp_path: Path) -> None:
    """Every write is preceded by its step: a pen whose steps fail writes nothing."""

    class Refusing(Pen):
        def step(self, verb: str, path: str) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    pen, place = Refusing(), str(write_tree(tmp_path / "place", {"file": "x", "folder/file": "y"}))
    before = snapshot(tmp_path)
    source = os.open(f"{place}/file", os.O_RDONLY)
    writes: list[Callable[[], object]] = [
        lambda: pen.make_folder(f"{place}/new", 0o755),
        lambda: pen.make_folders([f"{place}/new"], 0o755),
        lambda: pen.set_mode(f"{place}/file", 0o400),
        lambda: pen.remove_tree(f"{place}/folder"),
        lambda: pen.write_new(f"{place}/new", b"", 0o600),
        lambda: pen.replace(f"{place}/file", b"", 0o600, scratch=f"{place}/new"),
        lambda: pen.create(f"{place}/new", b"", 0o600, scratch=f"{place}/scratch"),
        lambda: pen.append(f"{place}/file", b"z", 0o600),
        lambda: pen.copy_in(source, f"{place}/new", 0o600),
        lambda: pen.unlink(f"{place}/file"),
        lambda: pen.link(f"{place}/file", f"{place}/new"),
        lambda: pen.rename(f"{place}/file", f"{place}/new"),
        lambda: pen.symlink("file", f"{place}/new"),
        lambda: pen.replace_link("file", f"{place}/file", scratch=f"{place}/new"),
    ]
    for write in writes:
        with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
            write()
    os.close(source)
    assert snapshot(tmp_path) == before


# never through a link


@pytest.mark.parametrize(
    "write",
    [
        lambda pen, path: pen.set_mode(path, 0o777),
        lambda pen, path: pen.write_new(path, b"new", 0o666),
        lambda pen, path: pen.append(path, b"new", 0o666),
        lambda pen, path: pen.copy_in(0, path, 0o666),
        lambda pen, path: pen.sync_file(path),
    ],
    ids=["set_mode", "write_new", "append", "copy_in", "sync_file"],
)
def test_no_file_is_written_through_a_link(pen: Pen, tmp_path: Path, write: Callable[[Pen, str], None]) -> None:
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "dangling").symlink_to("nowhere")
    before = snapshot(tmp_path)
    for name in ("link", "dangling"):
        with pytest.raises(OSError, match=r"link|exists"):
            write(pen, f"{tmp_path}/{name}")
    assert snapshot(tmp_path) == before


def test_a_link_is_removed_and_linked_as_itself(pen: Pen, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    pen.link(f"{tmp_path}/link", f"{tmp_path}/second")
    pen.unlink(f"{tmp_path}/link")
    assert os.readlink(tmp_path / "second") == "target"
    assert sorted(os.listdir(tmp_path)) == ["second", "target"]


def test_a_removed_tree_takes_nothing_along_that_its_links_name(pen: Pen, tmp_path: Path) -> None:
    kept = write_tree(tmp_path / "kept", {"file": "kept"})
    kept.chmod(0o755)
    tree = write_tree(tmp_path / "tree", {"deep/er/file": "x"})
    (tree / "deep" / "folder").symlink_to(kept)
    (tree / "deep" / "file").symlink_to(kept / "file")
    before = snapshot(kept)
    pen.remove_tree(str(tree))
    assert os.listdir(tmp_path) == ["kept"]
    assert (snapshot(kept), mode_of(kept)) == (before, 0o755)


def test_a_tree_that_is_a_link_is_not_followed(pen: Pen, tmp_path: Path) -> None:
    kept = write_tree(tmp_path / "kept", {"file": "kept"})
    kept.chmod(0o755)
    (tmp_path / "link").symlink_to(kept)
    before = snapshot(kept)
    with pytest.raises((OSError, LhubError)):
        pen.remove_tree(f"{tmp_path}/link")
    assert (snapshot(kept), mode_of(kept)) == (before, 0o755)


def test_a_read_only_tree_is_removed(pen: Pen, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"deep/er/file": "x", "deep/file": "y"})
    for path in sorted(tree.rglob("*"), reverse=True):
        path.chmod(0o444 if path.is_file() else 0o555)
    tree.chmod(0o555)
    pen.remove_tree(str(tree))
    assert not tree.exists()


def test_what_is_gone_is_gone(pen: Pen, tmp_path: Path) -> None:
    pen.unlink(f"{tmp_path}/nothing")
    pen.remove_tree(f"{tmp_path}/nothing")
    assert os.listdir(tmp_path) == []


# copying


@pytest.fixture(scope="module")
def noise() -> bytes:
    return random.Random(7).randbytes(MIB + 251) * 17


SIZES = [0, 1, MIB - 1, MIB, MIB + 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 16 * MIB + 1]


def copied(tmp_path: Path, data: bytes) -> tuple[tuple[str, int], bytes]:
    """What `transfer` says of a copy, and the copy."""
    (tmp_path / "source").write_bytes(data)
    source = os.open(tmp_path / "source", os.O_RDONLY)
    target = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        return transfer(source, target), (tmp_path / "target").read_bytes()
    finally:
        os.close(source)
        os.close(target)


@pytest.mark.parametrize("size", SIZES)
def test_a_copy_has_the_bytes_and_the_digest_of_its_source(tmp_path: Path, noise: bytes, size: int) -> None:
    data = noise[:size]
    told, copy = copied(tmp_path, data)
    assert told == (hashlib.sha256(data).hexdigest(), size)
    assert copy == data


@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_what_others_may_write_is_hashed_without_a_mapping(tmp_path: Path, noise: bytes, mode: int) -> None:
    """Who reads what is mapped, and was cut short by another meanwhile, is killed."""
    (tmp_path / "file").write_bytes(noise[:100])
    (tmp_path / "file").chmod(mode)
    with (tmp_path / "file").open("rb") as file:
        on_a_disk = os.major(os.fstat(file.fileno()).st_dev) != 0
        assert disk._may_be_mapped(file.fileno()) is (on_a_disk and mode == 0o600)


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("kept", [True, False])
def test_a_large_copy_has_one_digest_however_it_is_read(
    tmp_path: Path, noise: bytes, monkeypatch: pytest.MonkeyPatch, mapped: bool, kept: bool
) -> None:
    monkeypatch.setattr(disk, "_may_be_mapped", lambda descriptor: mapped)
    told: list[int] = []
    (tmp_path / "source").write_bytes(noise)
    with (tmp_path / "source").open("rb") as source, (tmp_path / "target").open("xb+") as target:
        digest = transfer(source.fileno(), target.fileno(), kept=kept, moved=told.append)
    assert digest == (hashlib.sha256(noise).hexdigest(), len(noise))
    assert (tmp_path / "target").read_bytes() == noise
    assert sum(told) == len(noise)


def test_a_file_system_that_maps_nothing_is_read(tmp_path: Path, noise: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object, **options: object) -> int:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    monkeypatch.setattr("mmap.mmap", refused)
    monkeypatch.setattr(disk, "_may_be_mapped", lambda descriptor: True)
    data = noise[: 8 * MIB + 1]
    assert copied(tmp_path, data) == ((hashlib.sha256(data).hexdigest(), len(data)), data)


def test_who_is_told_of_bytes_may_stop_a_large_copy(tmp_path: Path, noise: bytes) -> None:
    def stop(size: int) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    (tmp_path / "source").write_bytes(noise)
    source = os.open(tmp_path / "source", os.O_RDONLY)
    with (tmp_path / "target").open("xb+") as target, pytest.raises(KeyboardInterrupt):
        transfer(source, target.fileno(), moved=stop)
    os.close(source)
    assert threading.active_count() == before


@pytest.mark.parametrize("refusal", [errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_where_the_kernel_does_not_copy_lhub_does(
    tmp_path: Path, noise: bytes, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    def refused(*arguments: object) -> int:
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr("os.copy_file_range", refused, raising=False)
    data = noise[: 8 * MIB + 1]
    assert copied(tmp_path, data) == ((hashlib.sha256(data).hexdigest(), len(data)), data)


def test_a_kernel_that_copies_in_small_pieces_is_asked_again(
    tmp_path: Path, noise: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.copy_file_range
    monkeypatch.setattr("os.copy_file_range", lambda source, target, count: whole(source, target, min(count, 3 * MIB)))
    data = noise[: 8 * MIB + 1]
    assert copied(tmp_path, data) == ((hashlib.sha256(data).hexdigest(), len(data)), data)


@pytest.mark.parametrize("call", ["os.copy_file_range", "os.pread", "mmap.mmap"])
def test_a_large_copy_that_fails_says_so_and_leaves_no_thread(
    tmp_path: Path, noise: bytes, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def failing(*arguments: object, **options: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(call, failing)
    monkeypatch.setattr(disk, "_may_be_mapped", lambda descriptor: call == "mmap.mmap")
    before = threading.active_count()
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        copied(tmp_path, noise[: 8 * MIB])
    assert threading.active_count() == before


def test_digests_are_those_of_hashlib(tmp_path: Path, noise: bytes) -> None:
    data = noise[: MIB + 1]
    (tmp_path / "file").write_bytes(data)
    descriptor = open_file(f"{tmp_path}/file")
    told = digest_of(descriptor)
    os.close(descriptor)
    assert told == (hashlib.sha256(data).hexdigest(), len(data))
    assert digest_text(data) == told[0]


# reading


def fifo(path: Path) -> None:
    os.mkfifo(path)


def socket_file(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        before = os.getcwd()
        os.chdir(path.parent)  # a socket's path may have 107 bytes only
        server.bind(path.name)
        os.chdir(before)


def device(path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root makes devices")
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))


def folder(path: Path) -> None:
    path.mkdir()


def link(path: Path) -> None:
    path.with_name("target").write_bytes(b"secret")
    path.symlink_to("target")


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


ODD = [fifo, socket_file, device, folder, link, dangling]


@pytest.mark.parametrize("make", ODD)
@pytest.mark.usefixtures("no_hang")
def test_nothing_but_a_regular_file_is_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "odd")
    before = descriptors()
    with pytest.raises(Corrupt, match="odd is not a regular file"):
        read_small(f"{tmp_path}/odd", limit=100)
    assert descriptors() == before


def test_a_small_file_may_have_as_many_bytes_as_it_may_and_not_one_more(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100)
    assert read_small(f"{tmp_path}/file", limit=100) == b"x" * 100
    with pytest.raises(Corrupt, match="has 100 bytes, at most 99 are read"):
        read_small(f"{tmp_path}/file", limit=99)


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path) -> None:
    """A file of /proc says that it is empty and then gives bytes."""
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc here")
    descriptor = open_file("/proc/self/status")
    with pytest.raises(Corrupt, match="grew past 10 bytes"):
        read_open(descriptor, "status", limit=10)
    os.close(descriptor)


def test_what_is_missing_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_small(f"{tmp_path}/nothing", limit=100)
    assert not is_folder(f"{tmp_path}/nothing")


def test_a_link_to_a_folder_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert is_folder(str(tmp_path))
    assert not is_folder(f"{tmp_path}/link")
    with pytest.raises(OSError, match=r"ot a directory|symbolic links"):
        open_folder(f"{tmp_path}/link")


# below a folder


@pytest.fixture
def payload(tmp_path: Path) -> Path:
    write_tree(tmp_path / "outside", {"b/c": "secret"})
    return write_tree(tmp_path / "payload", {"a/b/c": "hello", "top": "top"})


def beneath(folder: Path, path: str) -> bytes:
    """The bytes at a path below a folder; no descriptor stays open, whatever happens."""
    before = descriptors()
    held = open_folder(str(folder))
    try:
        with opened_beneath(held, path) as descriptor:
            return os.read(descriptor, 100)
    finally:
        os.close(held)
        assert descriptors() == before


def test_a_file_below_a_folder_is_opened(payload: Path) -> None:
    assert (beneath(payload, "a/b/c"), beneath(payload, "top")) == (b"hello", b"top")


@pytest.mark.parametrize("part", ["a", "a/b", "a/b/c"])
def test_a_link_in_any_part_of_a_path_is_refused(payload: Path, part: str) -> None:
    moved = payload / "moved"
    (payload / part).rename(moved)
    (payload / part).symlink_to(moved)
    with pytest.raises(Corrupt, match="is not a regular file"):
        beneath(payload, "a/b/c")


@pytest.mark.parametrize(
    "path", ["../outside/b/c", "a/../../outside/b/c", "/etc/passwd", "", "a//b/c", "./top", "a/b/c\0"]
)
def test_a_path_that_climbs_or_is_none_is_refused(payload: Path, path: str) -> None:
    with pytest.raises(Corrupt, match="leads out of its folder"):
        beneath(payload, path)


@pytest.mark.parametrize("make", ODD)
@pytest.mark.usefixtures("no_hang")
def test_below_a_folder_too_nothing_but_a_regular_file_is_opened(payload: Path, make: Callable[[Path], None]) -> None:
    make(payload / "a" / "odd")
    with pytest.raises(Corrupt, match="odd is not a regular file"):
        beneath(payload, "a/odd")


def test_a_file_in_the_place_of_a_folder_is_told(payload: Path) -> None:
    with pytest.raises(Corrupt, match="is not a regular file"):
        beneath(payload, "top/c")


def test_below_a_folder_too_what_is_missing_is_missing(payload: Path) -> None:
    for path in ("a/b/nothing", "a/nothing/c", "nothing"):
        with pytest.raises(FileNotFoundError):
            beneath(payload, path)


def test_what_was_moved_away_is_read_where_it_is(payload: Path) -> None:
    held = open_folder(str(payload))
    payload.rename(payload.with_name("trash"))
    with opened_beneath(held, "a/b/c") as descriptor:
        assert os.read(descriptor, 100) == b"hello"
    os.close(held)
