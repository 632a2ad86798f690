"""Bundles: one plain tar that any tar unpacks, and a reader whom no tar harms.

Hostile tars are written here byte by byte, honest but for one thing each. Whatever is refused is refused with a
sentence, in bounded time and memory, and leaves the receiving registry as it was, byte by byte.
"""

from __future__ import annotations

import gc
import gzip
import hashlib
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lhub.errors import LhubError, clean
from lhub.registry import Registry
from tests.conftest import Shell, config_yml, executor_py, read_tree, snapshot, write_tree

SOMEBODY = 20077
"""The uid of a user without rights of his own, where the tests run as root."""


# honest bundles


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A registry with two versions of an Executor, one tag protected, and a small resource."""
    place = tmp_path_factory.mktemp("source")
    registry = Registry(place / "registry", namespace="alice", timeout=20)
    files: dict[str, str | bytes] = {
        ".gitignore": "",
        "config.yml": config_yml("Hello"),
        "executor.py": executor_py("Hello"),
        "run.sh": "#!/bin/sh\n",
        "data/é.bin": bytes(range(256)) * 10,
        "data/same.bin": bytes(range(256)) * 10,
    }
    folder = write_tree(place / "first", files)
    (folder / "run.sh").chmod(0o755)
    registry.push(folder, tags=["latest"], protected_tags=["v1"], message="first words")
    folder = write_tree(
        place / "second", files | {"executor.py": executor_py("Hello", "# two"), "a-b/x": "x", "a/x": "x"}
    )
    (folder / "run.sh").chmod(0o755)
    registry.push(folder, message="second words")
    folder = write_tree(place / "small", {"a.txt": "a\n", ".gitignore": ""})
    registry.push(folder, "Small", tags=["latest"], protected_tags=["v1"])
    for path in registry.root.glob("alice/Hello/.lhub/versions/*"):
        os.utime(path, (1e9, 1e9))
    for name in ("latest", "v1", ".protected.v1"):
        os.utime(registry.root / "alice/Hello" / name, (1e9, 1e9), follow_symlinks=False)
    return registry


@pytest.fixture(scope="module")
def bundle(source: Registry) -> Path:
    """The Executor, exported."""
    path = source.root.parent / "hello.tar"
    source.export("alice/Hello", path=path)
    return path


@pytest.fixture(scope="module")
def small(source: Registry) -> Path:
    """A bundle with one version of two small files."""
    path = source.root.parent / "small.tar"
    source.export("alice/Small", path=path)
    return path


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry of alice's in which something stands under the names that hostile bundles use."""
    registry = Registry(tmp_path_factory.mktemp("standing") / "registry", namespace="alice", timeout=20)
    folder = write_tree(registry.root.parent / "old", {"a.txt": "old\n"})
    registry.push(folder, "X", tags=["latest", "stays"], protected_tags=["v0"])
    return registry.root


@pytest.fixture
def target(standing: Path, tmp_path: Path) -> Registry:
    """A copy of that registry, to be attacked."""
    return target_in(tmp_path, standing)


def target_in(place: Path, standing: Path) -> Registry:
    shutil.copytree(standing, place / "target", symlinks=True)
    return Registry(place / "target", namespace="alice", timeout=20)


@pytest.fixture
def anybody() -> Iterator[Path]:
    """A folder of somebody's that every user of this machine may enter and write."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    if os.geteuid() == 0:
        os.chown(folder, SOMEBODY, SOMEBODY)
    yield folder
    subprocess.run(["chmod", "-R", "u+w", folder], check=True)
    shutil.rmtree(folder)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail when the block takes more CPU than this, wherever it hangs."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise AssertionError(f"this took more than {seconds} s of CPU")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def in_a_child(deed: Callable[[], object]) -> int:
    """Do something in a fork of this process; its exit status, 0 when all went well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a test runner has threads; the child uses none of theirs
        child = os.fork()
    if child == 0:
        code = 70
        try:
            gc.disable()
            sys.unraisablehook = lambda unraisable: None  # a test runner's would speak of the whole process
            signal.alarm(60)
            deed()
            code = 0
        except BaseException:
            traceback.print_exc(limit=-5)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def refused(registry: Registry, path: Path | str, *, words: str = "", namespace: str | None = None) -> LhubError:
    """Import what must be refused with a sentence, leaving every byte of the registry; the refusal."""
    before = snapshot(registry.root)
    with within(2), pytest.raises(LhubError) as caught:
        registry.import_bundle(path, namespace=namespace)
    assert snapshot(registry.root) == before
    message = str(caught.value)
    assert re.search(words, message), message
    assert message == clean(message)
    assert not message.endswith((".", "\n"))
    return caught.value


def unpack(tar: Path, folder: Path, *, user: int | None = None) -> Path:
    """What GNU tar makes of a bundle."""
    if "GNU tar" not in subprocess.run(["tar", "--version"], capture_output=True, text=True, check=False).stdout:
        pytest.skip("this is about GNU tar")
    with tar.open("rb") as stream:
        done = subprocess.run(
            ["tar", "-xf", "-"],
            cwd=folder,
            stdin=stream,
            capture_output=True,
            text=True,
            check=False,
            user=user,
            group=user,
        )
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def seen(registry: Registry, name: str) -> tuple[object, ...]:
    """All that a person can see of a resource but its diary: kind, visibility, tags, pins, and every file's bytes."""
    shown = registry.show(name)
    files = {version: read_tree(Path(registry.path(f"{name}@{version}"))) for version in shown.tags.values()}
    return shown.kind, shown.visibility, shown.tags, shown.protected_tags, files


def past(registry: Registry, name: str) -> list[tuple[object, ...]]:
    """What the diary was told of a resource when it happened, without the imports and the names of commits."""
    entries = [entry for entry in registry.log(name) if entry.action != "import" and not entry.late]
    return [(entry.action, entry.version, entry.tags, entry.protected, entry.name, entry.message) for entry in entries]


# a bundle is a registry


def test_gnu_tar_makes_a_whole_registry_of_a_bundle(source: Registry, bundle: Path, tmp_path: Path) -> None:
    there = Registry(unpack(bundle, tmp_path), namespace="alice")
    assert there.verify().ok
    assert seen(there, "alice/Hello") == seen(source, "alice/Hello")
    assert past(there, "alice/Hello") == past(source, "alice/Hello")


def test_an_ordinary_user_unpacks_a_bundle_with_gnu_tar(source: Registry, bundle: Path, anybody: Path) -> None:
    unpack(bundle, anybody, user=SOMEBODY if os.geteuid() == 0 else None)
    assert seen(Registry(anybody, namespace="alice"), "alice/Hello") == seen(source, "alice/Hello")


def test_sha256sum_agrees_with_each_version_of_an_unpacked_bundle(bundle: Path, tmp_path: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("sha256sum is not installed")
    versions = sorted(unpack(bundle, tmp_path).glob("alice/Hello/.lhub/versions/*"))
    assert len(versions) == 2
    for version in versions:
        check = ["sha256sum", "-c", "--strict", "--quiet", "../SHA256SUMS"]
        done = subprocess.run(check, cwd=version / "files", capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_git_reads_the_diary_of_an_unpacked_bundle(bundle: Path, tmp_path: Path) -> None:
    history = unpack(bundle, tmp_path) / "alice/Hello/.lhub/history.git"

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=history, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert git("log", "--format=%s").splitlines() == ["push alice/Hello: latest", "push alice/Hello: latest, v1"]
    git("fsck", "--strict")


def test_an_unpacked_bundle_takes_the_next_push(bundle: Path, hello: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    there = Registry(unpack(bundle, tmp_path / "there"), namespace="alice")
    pushed = there.push(hello, "Hello", message="third words")
    assert there.show("alice/Hello").version == pushed.version
    assert [entry[-1] for entry in past(there, "alice/Hello")] == ["third words", "second words", "first words"]
    assert there.verify().ok


def test_python_unpacks_a_bundle_too(source: Registry, bundle: Path, tmp_path: Path) -> None:
    with tarfile.open(bundle) as tar:
        tar.extractall(tmp_path)
    assert seen(Registry(tmp_path, namespace="alice"), "alice/Hello") == seen(source, "alice/Hello")


def test_a_tar_that_gnu_tar_made_of_a_registry_is_a_bundle(source: Registry, target: Registry, tmp_path: Path) -> None:
    for form in ("gnu", "posix"):
        subprocess.run(["tar", f"--format={form}", "-cf", tmp_path / form, "-C", source.root, "."], check=True)
        target.import_bundle(tmp_path / form)
        assert seen(target, "alice/Hello") == seen(source, "alice/Hello")
    assert past(target, "alice/Hello") == past(source, "alice/Hello")


def test_a_bundle_has_each_content_once(bundle: Path) -> None:
    with tarfile.open(bundle) as tar:
        blobs = [member.name for member in tar if member.isreg() and "/lfs/objects/" in member.name]
        payload = [member.name for member in tar if member.isreg() and "/files/" in member.name]
    assert len(blobs) == len(set(blobs)) == 7
    assert {name.rpartition("/")[2] for name in payload} == {"run.sh"}  # one inode cannot be both 0444 and 0555


def test_a_diary_whose_branch_git_has_packed_comes_along_in_anybodys_tar(
    source: Registry, target: Registry, tmp_path: Path
) -> None:
    shutil.copytree(source.root, tmp_path / "packed", symlinks=True)
    subprocess.run(["git", "-C", tmp_path / "packed/alice/Hello/.lhub/history.git", "pack-refs", "--all"], check=True)
    subprocess.run(["tar", "-cf", tmp_path / "by-hand.tar", "-C", tmp_path / "packed", "."], check=True)
    target.import_bundle(tmp_path / "by-hand.tar")
    assert past(target, "alice/Hello") == past(source, "alice/Hello")


def test_what_is_of_one_registry_only_never_travels(tmp_path: Path, hello: Path) -> None:
    anonymous = Registry(tmp_path / "registry")
    anonymous.push(hello, "Open", secret="sesame-sesame")
    anonymous.export("Open", path=tmp_path / "open.tar")
    with tarfile.open(tmp_path / "open.tar") as tar:
        names = tar.getnames()
    assert "_/Open/latest" in names
    assert [name for name in names if re.search(r"/(secret|lock|recorded\.json|builds|\.tmp\..*)(/|$)", name)] == []


def test_no_hook_or_config_of_a_diary_travels(source: Registry, tmp_path: Path, hello: Path) -> None:
    registry = Registry(tmp_path / "registry", namespace="alice")
    registry.push(hello)
    history = registry.root / "alice/Hello/.lhub/history.git"
    write_tree(history, {"hooks/post-checkout": "#!/bin/sh\n", "config": "[core]\n\tfsmonitor = evil\n"})
    registry.export("alice/Hello", path=tmp_path / "hello.tar")
    there = tmp_path / "there"
    there.mkdir()
    inside = unpack(tmp_path / "hello.tar", there) / "alice/Hello/.lhub/history.git"
    assert "evil" not in (inside / "config").read_text()
    assert not (inside / "hooks").exists()


def test_a_version_and_a_tag_keep_their_time_in_a_bundle(source: Registry, bundle: Path, tmp_path: Path) -> None:
    there = unpack(bundle, tmp_path)
    names = ["latest", "v1", *(f".lhub/versions/{version}" for version in source.show("alice/Hello").tags.values())]
    assert {name: (there / "alice/Hello" / name).lstat().st_mtime for name in names} == dict.fromkeys(names, 1e9)


def test_a_bundle_with_something_private_is_for_its_maker_alone(tmp_path: Path, hello: Path) -> None:
    registry = Registry(tmp_path / "registry", namespace="alice")
    registry.push(hello, private=True)
    before = os.umask(0o022)
    try:
        registry.export("alice/Hello", path=tmp_path / "hello.tar")
    finally:
        os.umask(before)
    assert (tmp_path / "hello.tar").stat().st_mode & 0o077 == 0


def test_what_is_private_is_private_when_it_is_unpacked(tmp_path: Path, hello: Path) -> None:
    registry = Registry(tmp_path / "registry", namespace="alice")
    registry.push(hello, private=True)
    registry.export("alice/Hello", path=tmp_path / "hello.tar")
    (tmp_path / "there").mkdir()
    there = unpack(tmp_path / "hello.tar", tmp_path / "there")
    assert (there / "alice/Hello").stat().st_mode & 0o777 == 0o700


# a bundle written by hand


def entry(
    name: str | bytes,
    data: bytes = b"",
    *,
    kind: bytes = b"0",
    link: str = "",
    mode: int = 0o644,
    size: int | None = None,
    pax: Mapping[str, str] | None = None,
) -> bytes:
    """One member of a tar: its header (a pax header before it where need be) and its content, with any size told."""
    raw, target = name if isinstance(name, bytes) else name.encode(), link.encode()
    records = dict(pax or {})
    if len(raw) > 100:
        records.setdefault("path", raw.decode())
    if len(target) > 100:
        records.setdefault("linkpath", link)
    before = b""
    if records:
        before = extended(*(record(key, value.encode()) for key, value in records.items()))
    told = len(data) if size is None else size
    number = b"%011o\0" % told if 0 <= told < 8**11 else told.to_bytes(12, "big", signed=True)
    if told >= 8**11:
        number = bytes([number[0] | 0x80]) + number[1:]
    fields = [raw[:100].ljust(100, b"\0"), b"%07o\0" % mode, b"0000000\0", b"0000000\0", number, b"00000000000\0"]
    rest = kind + target[:100].ljust(100, b"\0") + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2 + bytes(167)
    sum_ = sum(b"".join(fields)) + 8 * ord(" ") + sum(rest)
    return before + b"".join(fields) + b"%06o\0 " % sum_ + rest + padded(data)


def record(key: str, value: bytes) -> bytes:
    """One record of a pax header, which begins with its own length."""
    text = b" %b=%b\n" % (key.encode(), value)
    length = len(text) + 1
    while length != len(text) + len(str(length)):
        length += 1
    return b"%d%b" % (length, text)


def extended(*records: bytes, kind: bytes = b"x") -> bytes:
    """A pax header of the member that follows, or (kind ``g``) of all."""
    return entry("pax", b"".join(records), kind=kind)


def longname(data: bytes, *, kind: bytes = b"L") -> bytes:
    """A GNU header with the name of the member that follows, or (kind ``K``) of what it links to."""
    return entry("././@LongLink", data, kind=kind)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


END = bytes(1024)
REGISTRY = entry("registry.yaml", b"format: 1\n")


class Crafted:
    """A bundle of one version, written by hand, honest but for what `sums` and `manifest` do to its documents."""

    def __init__(
        self,
        files: dict[str, bytes],
        *,
        place: str = "alice/New",
        kind: str = "files",
        told: str | None = None,
        tags: Iterable[str] = ("latest",),
        executable: Iterable[str] = (),
        mode: int = 0o755,
        sums: Callable[[str], str] = str,
        manifest: Callable[[str], str] = str,
    ) -> None:
        ordered = sorted(files.items(), key=lambda file: file[0].encode())
        self.sums = sums("".join(f"{digest(data)}  {path}\n" for path, data in ordered)).encode(
            errors="surrogateescape"
        )
        runs = "".join(f'\n- "{path}"' for path in sorted(executable)) or " []"
        size = sum(map(len, files.values()))
        text = (
            f"format: 1\nkind: {told or kind}\nfiles:\n  count: {len(files)}\n  bytes: {size}\n"
            f'  sha256sums: "{digest(self.sums)}"\nexecutable:{runs}\n'
        )
        self.manifest = manifest(text).encode()
        self.version, self.place = digest(self.manifest), place
        self.folder = f"{place}/.lhub/versions/{self.version}"
        self.entries = {"registry.yaml": REGISTRY}
        self.put(place, kind=b"5", mode=mode)
        self.put(f"{place}/resource.yaml", f"format: 1\nkind: {kind}\n".encode())
        for path, data in files.items():
            self.put(f"{self.folder}/files/{path}", data)
        self.put(f"{self.folder}/SHA256SUMS", self.sums)
        self.put(f"{self.folder}/manifest.yaml", self.manifest)
        for tag in tags:
            self.put(f"{place}/{tag}", kind=b"2", link=f".lhub/versions/{self.version}")

    def put(
        self,
        name: str,
        data: bytes = b"",
        *,
        kind: bytes = b"0",
        link: str = "",
        mode: int = 0o644,
        pax: Mapping[str, str] | None = None,
    ) -> Crafted:
        """Add a member, or replace the one of this name."""
        self.entries[name] = entry(name, data, kind=kind, link=link, mode=mode, pax=pax)
        return self

    def drop(self, name: str) -> Crafted:
        """Leave a member out."""
        del self.entries[name]
        return self

    def tar(self, *more: bytes) -> bytes:
        """The bytes of the bundle, with more members in the end."""
        return b"".join([*self.entries.values(), *more, END])


A = {"a.txt": b"a\n"}


def one() -> Crafted:
    """A fresh honest one."""
    return Crafted(A)


def in_file(folder: Path, data: bytes) -> Path:
    path = folder / "x.tar"
    path.write_bytes(data)
    return path


def test_an_honest_bundle_written_by_hand_is_taken(target: Registry, tmp_path: Path) -> None:
    target.import_bundle(in_file(tmp_path, one().tar()))
    assert read_tree(Path(target.path("alice/New"))) == A
    assert target.verify().ok


def test_a_payload_may_be_a_hard_link_to_whatever_has_its_content(target: Registry, tmp_path: Path) -> None:
    crafted = Crafted({"a.txt": b"same\n", "b.txt": b"same\n"})
    crafted.put(f"{crafted.folder}/files/b.txt", kind=b"1", link=f"{crafted.folder}/files/a.txt")
    target.import_bundle(in_file(tmp_path, crafted.tar()))
    assert read_tree(Path(target.path("alice/New"))) == {"a.txt": b"same\n", "b.txt": b"same\n"}


# names, types and headers that no bundle has

ELSEWHERE = ".lhub/versions/" + "0" * 64
MEMBERS: dict[str, bytes] = {
    "a name with ..": entry("alice/../../outside"),
    "a name that is ..": entry(".."),
    "an absolute name": entry("/tmp/outside"),
    "an absolute name in a pax header": entry("x", pax={"path": "/tmp/outside"}),
    "a name with .. in a pax header": entry("x", pax={"path": "alice/../../outside"}),
    "a long name with ..": longname(b"alice/../../outside\0") + entry("x"),
    "a name with an empty part": entry("alice//X/v9"),
    "a name with a dot as part": entry("alice/./X/v9"),
    "a NUL in a name": entry("x", pax={"path": "alice/X/a\0b"}),
    "a name that is not UTF-8": entry(b"alice/X/\xff\xfe"),
    "a pax name that is not UTF-8": extended(record("path", b"alice/X/\xff")) + entry("x"),
    "a binary pax name": extended(record("hdrcharset", b"BINARY"), record("path", b"alice/X/\xff")) + entry("x"),
    "a name twice": entry("alice/X/v9", kind=b"5") * 2,
    "a name twice, spelt in two ways": entry("alice/X/v9", kind=b"5") + entry("./alice/X/v9/", kind=b"5"),
    "registry.yaml twice": REGISTRY,
    "a symbolic link to an absolute name": entry("alice/X/v9", kind=b"2", link="/etc/passwd"),
    "a symbolic link that climbs": entry("alice/X/v9", kind=b"2", link="../../../outside"),
    "a symbolic link past a version": entry("alice/X/v9", kind=b"2", link=f"{ELSEWHERE}/../../.."),
    "a symbolic link to nothing": entry("alice/X/v9", kind=b"2"),
    "a symbolic link for a namespace": entry("bob", kind=b"2", link="/tmp"),
    "a hard link to an absolute name": entry("alice/X/v9", kind=b"1", link="/etc/passwd"),
    "a hard link that climbs": entry("alice/X/v9", kind=b"1", link="alice/../../outside"),
    "a character device": entry("alice/X/v9", kind=b"3"),
    "a block device": entry("alice/X/v9", kind=b"4"),
    "a FIFO": entry("alice/X/v9", kind=b"6"),
    "a part of another volume": entry("alice/X/v9", kind=b"M"),
    "a type that nobody knows": entry("alice/X/v9", kind=b"Z"),
    "an old GNU sparse file": entry("alice/X/v9", kind=b"S"),
    "a sparse file of pax 0.0": entry("alice/X/v9", pax={"GNU.sparse.size": "1099511627776"}),
    "a sparse file of pax 0.1": entry("alice/X/v9", pax={"GNU.sparse.map": "0,1", "GNU.sparse.size": "1099511627776"}),
    "a sparse file of pax 1.0": entry(
        "alice/X/v9",
        b"1\n0\n1\n".ljust(512, b"\0"),
        pax={"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1099511627776"},
    ),
    "a sparse map without an end": entry(
        "alice/X/v9", b"9" * 512, pax={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    ),
    "a sparse map of no numbers": entry("alice/X/v9", pax={"GNU.sparse.map": "one,two"}),
    "a sparse size of no number": entry("alice/X/v9", pax={"GNU.sparse.realsize": "much"}),
    "a size below zero": entry("alice/X/v9", size=-512),
    "a size below zero of the folder that all is in": entry("./", size=-512),
    "a size below zero in a pax header": entry("alice/X/v9", pax={"size": "-1024"}),
    "a size below zero of a pax header": entry("pax", kind=b"x", size=-512),
    "a size below zero of a long name": entry("././@LongLink", kind=b"L", size=-512),
    "a size of a terabyte": entry("alice/X/v9", size=1 << 40),
    "a size beyond any file": entry("alice/X/v9", size=1 << 62),
    "a size beyond any number": entry("alice/X/v9", size=1 << 80),
    "a size of 4000 digits": entry("alice/X/v9", pax={"size": "9" * 4000}),
    "a long name of 2 MiB": longname(b"a" * (2 << 20)) + entry("x"),
    "a long link of 2 MiB": longname(b"a" * (2 << 20), kind=b"K") + entry("x", kind=b"1"),
    "a pax header of 2 MiB": extended(record("comment", b"a" * (2 << 20))) + entry("x"),
    "a long name before a long name, 5000 times": longname(b"a") * 5000 + entry("x"),
    "a pax header before a pax header, 5000 times": extended(record("comment", b"a")) * 5000 + entry("x"),
    "a pax header that is cut short": extended(b"99 path=x\n") + entry("x"),
    "a pax header of no length": extended(b"0 path=x\n") + entry("x"),
    "a pax header of digits": extended(b"1" * 60_000) + entry("x"),
    "a checksum that is wrong": entry("alice/X/v9").replace(b"alice/X/v9", b"alice/X/v8"),
}


@pytest.mark.parametrize("fault", MEMBERS)
def test_a_tar_with_a_hostile_member_changes_nothing(fault: str, target: Registry, tmp_path: Path) -> None:
    for data in (one().tar(MEMBERS[fault]), MEMBERS[fault] + one().tar()):
        refused(target, in_file(tmp_path, data))


def test_every_member_at_fault_is_named_in_one_message(target: Registry, tmp_path: Path) -> None:
    faults = [entry("../one"), entry("alice/X/two", kind=b"6"), entry("/three")]
    message = str(refused(target, in_file(tmp_path, one().tar(*faults))))
    assert all(name in message for name in ("../one", "alice/X/two", "/three"))


def test_a_name_that_moves_the_cursor_is_shown_harmless(target: Registry, tmp_path: Path) -> None:
    assert "\x1b" not in str(refused(target, in_file(tmp_path, one().tar(entry("../\x1b[2J\u202e")))))


def test_a_thousand_faults_make_a_message_that_ends(target: Registry, tmp_path: Path) -> None:
    faults = [entry(f"../{number}") for number in range(1000)]
    assert len(str(refused(target, in_file(tmp_path, one().tar(*faults))))) < 20_000


@pytest.mark.parametrize("when", ["nan", "inf", "-inf", "-5", "1e300", "99999999999999", "soon"])
def test_a_version_of_an_impossible_time_is_of_now(when: str, target: Registry, tmp_path: Path) -> None:
    crafted = one()
    crafted.put(crafted.folder, kind=b"5", pax={"mtime": when})
    before = time.time() - 2
    target.import_bundle(in_file(tmp_path, crafted.tar()))
    assert before <= (target.root / crafted.folder).stat().st_mtime <= time.time() + 2


# files that are no bundle

NO_BUNDLES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "an empty file": (lambda data: b"", "not a plain tar"),
    "not a tar": (lambda data: b"hello\n" * 1000, "not a plain tar"),
    "zeros": (lambda data: bytes(10240), "no registry.yaml|not a plain tar"),
    "a compressed one": (gzip.compress, "not a plain tar"),
    "a tar of other things": (lambda data: entry("README.md", b"hello\n") + END, "no registry.yaml"),
    "a bundle in a folder": (lambda data: entry("sub/registry.yaml", b"format: 1\n") + END, "no registry.yaml"),
    "no end": (lambda data: data[: -len(END)], "cut short"),
    "a newer format": (lambda data: data.replace(REGISTRY, entry("registry.yaml", b"format: 2\n")), "2.*1"),
    "a registry.yaml that is a folder": (
        lambda data: data.replace(REGISTRY, entry("registry.yaml", kind=b"5")),
        "registry.yaml",
    ),
    "a registry.yaml that is a link": (
        lambda data: data.replace(REGISTRY, entry("registry.yaml", kind=b"1", link="alice/New/resource.yaml")),
        "registry.yaml",
    ),
    "a registry.yaml of no format": (lambda data: data.replace(REGISTRY, entry("registry.yaml", b"")), "registry.yaml"),
    "a registry.yaml of a megabyte": (
        lambda data: data.replace(REGISTRY, entry("registry.yaml", b"#" * (1 << 20) + b"\nformat: 1\n")),
        "registry.yaml",
    ),
}


@pytest.mark.parametrize("fault", NO_BUNDLES)
def test_what_is_no_bundle_is_refused_by_a_sentence(fault: str, target: Registry, tmp_path: Path) -> None:
    make, words = NO_BUNDLES[fault]
    refused(target, in_file(tmp_path, make(one().tar())), words=words)


def test_a_compressed_bundle_is_told_from_rubbish(target: Registry, tmp_path: Path) -> None:
    assert "gunzip" in refused(target, in_file(tmp_path, gzip.compress(one().tar()))).hint


def test_a_fifo_is_refused_and_not_waited_for(target: Registry, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    refused(target, tmp_path / "fifo", words="not a regular file")


def test_a_folder_is_refused(target: Registry, tmp_path: Path) -> None:
    refused(target, tmp_path, words="not a regular file")


def test_a_file_that_is_not_there_is_not_found(target: Registry, tmp_path: Path) -> None:
    assert refused(target, tmp_path / "nothing.tar", words="is not here").code == 3


def test_a_bundle_may_be_named_by_a_link(target: Registry, tmp_path: Path) -> None:
    (tmp_path / "newest.tar").symlink_to(in_file(tmp_path, one().tar()))
    target.import_bundle(tmp_path / "newest.tar")
    assert read_tree(Path(target.path("alice/New"))) == A


def test_no_registry_is_made_for_what_is_refused(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry", namespace="alice")
    with pytest.raises(LhubError):
        registry.import_bundle(in_file(tmp_path, one().tar(entry("../x"))))
    assert not registry.root.exists()


def test_the_command_line_refuses_with_two_lines_and_an_exit_code(shell: Shell, tmp_path: Path) -> None:
    shell("login", "alice", check=True)
    crafted = one()
    crafted.put(f"{crafted.folder}/files/a.txt", b"other\n")
    for data, code in ((one().tar(entry("../x")), 2), (crafted.tar(), 6)):
        answer = shell("import", in_file(tmp_path, data))
        assert (answer.code, answer.out) == (code, "")
        assert [line.partition(":")[0] for line in answer.err.splitlines()] == ["lhub", "hint"]


# versions that are not what they say


def with_manifest(change: Callable[[str], str]) -> Crafted:
    return Crafted(A, manifest=change)


def at(crafted: Crafted, name: str, data: bytes = b"", *, kind: bytes = b"0", link: str = "") -> Crafted:
    """The same with another member below its version."""
    return crafted.put(f"{crafted.folder}/{name}", data, kind=kind, link=link)


def without(crafted: Crafted, name: str) -> Crafted:
    return crafted.drop(f"{crafted.folder}/{name}")


def both(*crafted: Crafted) -> Crafted:
    """Several in one bundle."""
    for each in crafted[1:]:
        crafted[0].entries.update(each.entries)
    return crafted[0]


VERSIONS: dict[str, tuple[Callable[[], Crafted], str]] = {
    "a manifest of another digest": (lambda: at(one(), "manifest.yaml", one().manifest + b"\n"), "manifest.yaml"),
    "sums of another digest": (lambda: at(one(), "SHA256SUMS", one().sums * 2), "SHA256SUMS"),
    "no manifest": (lambda: without(one(), "manifest.yaml"), "manifest.yaml"),
    "no sums": (lambda: without(one(), "SHA256SUMS"), "SHA256SUMS"),
    "a manifest that is a folder": (lambda: at(one(), "manifest.yaml", kind=b"5"), "manifest.yaml"),
    "a manifest that is a link": (lambda: at(one(), "manifest.yaml", kind=b"2", link=ELSEWHERE), "manifest.yaml"),
    "a manifest of 5 MiB": (lambda: at(one(), "manifest.yaml", b"#" * (5 << 20)), "manifest.yaml"),
    "a payload of another digest": (lambda: at(one(), "files/a.txt", b"b\n"), "a.txt"),
    "a payload that is cut short": (lambda: at(one(), "files/a.txt", b"a"), "a.txt"),
    "a payload that is longer": (lambda: at(one(), "files/a.txt", b"a\n\0"), "a.txt"),
    "a payload that is a folder": (lambda: at(one(), "files/a.txt", kind=b"5"), "a.txt"),
    "a payload that is a symbolic link": (lambda: at(one(), "files/a.txt", kind=b"2", link=ELSEWHERE), "a.txt"),
    "a payload that is missing": (lambda: without(one(), "files/a.txt"), "a.txt"),
    "a payload that was not published": (lambda: at(one(), "files/b.txt", b"b\n"), "b.txt"),
    "an unpublished payload that is a link": (lambda: at(one(), "files/b.txt", kind=b"2", link=ELSEWHERE), "b.txt"),
    "a hard link to no member": (lambda: at(one(), "files/a.txt", kind=b"1", link="alice/X/nothing"), "a.txt"),
    "a hard link to itself": (lambda: at(one(), "files/a.txt", kind=b"1", link=f"{one().folder}/files/a.txt"), "a.txt"),
    "a hard link to a folder": (lambda: at(one(), "files/a.txt", kind=b"1", link="alice/New"), "a.txt"),
    "a hard link to other bytes": (lambda: at(one(), "files/a.txt", kind=b"1", link="registry.yaml"), "a.txt"),
    "a hard link to what is not a blob of this digest": (
        lambda: at(one(), "files/a.txt", kind=b"1", link="alice/X/.lhub/history.git/lfs/objects/00/00/" + "0" * 64),
        "a.txt",
    ),
    "a hard link to a blob that neither comes nor is here": (
        lambda: at(one(), "files/a.txt", kind=b"1", link=blob("alice/New", A["a.txt"])),
        "continues a version that is not here",
    ),
    "a kind that its versions have not": (lambda: Crafted(A, told="executor"), "executor.*files"),
    "a kind that nobody knows": (lambda: Crafted(A, kind="picture"), "picture"),
    "no kind": (lambda: one().put("alice/New/resource.yaml", b"format: 1\n"), "kind"),
    "a resource.yaml that is a folder": (lambda: one().put("alice/New/resource.yaml", kind=b"5"), "resource.yaml"),
    "a resource of a newer format": (
        lambda: one().put("alice/New/resource.yaml", b"format: 2\nkind: files\n"),
        "2.*1",
    ),
    "a manifest of a newer format": (
        lambda: with_manifest(lambda text: text.replace("format: 1", "format: 2")),
        "2.*1",
    ),
    "a manifest that is no YAML": (lambda: with_manifest(lambda text: "}{\n"), "manifest.yaml"),
    "a manifest with an alias": (lambda: with_manifest(lambda text: "format: &a 1\nkind: *a\n"), "manifest.yaml"),
    "a manifest that makes an object": (
        lambda: with_manifest(lambda text: "!!python/object:os.system {}\n"),
        "manifest",
    ),
    "a manifest nested 10000 deep": (lambda: with_manifest(lambda text: "[" * 10_000), "manifest.yaml"),
    "a manifest that counts wrong": (lambda: with_manifest(lambda text: text.replace("count: 1", "count: 2")), ""),
    "a manifest that adds up wrong": (lambda: with_manifest(lambda text: text.replace("bytes: 2", "bytes: 3")), ""),
    "an executable that is not there": (lambda: Crafted(A, executable=["b.txt"]), ""),
    "sums that are not UTF-8": (lambda: Crafted(A, sums=lambda text: text.replace("a.txt", "\udcff")), "UTF-8"),
    "sums with a line of something else": (lambda: Crafted(A, sums=lambda text: f"{text}# more\n"), "SHA256SUMS"),
    "sums that are cut short": (lambda: Crafted(A, sums=lambda text: text[:-1]), "SHA256SUMS"),
    "a path twice in the sums": (lambda: Crafted(A, sums=lambda text: text * 2), "SHA256SUMS"),
    "a path that climbs in the sums": (
        lambda: Crafted(A, sums=lambda text: text.replace("a.txt", "../a")),
        "SHA256SUMS",
    ),
    "an absolute path in the sums": (lambda: Crafted(A, sums=lambda text: text.replace("a.txt", "/a")), "SHA256SUMS"),
    "no file at all": (lambda: Crafted({}), ""),
    "a file that is a folder too": (lambda: Crafted({"a": b"", "a/b": b""}), "SHA256SUMS"),
    "a git repository": (lambda: Crafted({".git/config": b"[core]\n"}), ""),
    "a git repository in capitals": (lambda: Crafted({"sub/.GIT/config": b"[core]\n"}), ""),
    "what NTFS takes for a git repository": (lambda: Crafted({"git~1/config": b"[core]\n"}), "git~1"),
    "what HFS+ takes for a git repository": (
        lambda: Crafted({".g\u200cit/config": b"[core]\n"}),
        "taken? for|take for",
    ),
    "a control character in a path": (lambda: Crafted({"a\x1b[2J": b""}), "control character"),
    "a newline in a path": (
        lambda: Crafted({"a\nb": b""}, sums=lambda text: "\\" + text.replace("a\nb", "a\\nb")),
        "control character",
    ),
    "paths that differ only by case": (lambda: Crafted({"a/readme": b"1", "A/x": b"2"}), "only by case"),
    "paths that differ only by Unicode form": (lambda: Crafted({"\u00e9": b"1", "e\u0301": b"2"}), "Unicode form"),
    "a path that sha256sum takes for its own input": (lambda: Crafted({"-": b"a"}), "-"),
    "a name longer than a file system has": (lambda: Crafted({"a" * 256: b""}), ""),
    "a path longer than a file system has": (lambda: Crafted({"/".join(["a" * 200] * 25): b""}), ""),
    "a tag that names a version that neither comes nor is here": (
        lambda: one().put("alice/New/odd", kind=b"2", link=ELSEWHERE),
        "odd",
    ),
    "a pin that names a version that neither comes nor is here": (
        lambda: one().put("alice/New/.protected.odd", kind=b"2", link=ELSEWHERE),
        "odd",
    ),
    "tags that differ only by case": (lambda: Crafted(A, tags=["v1", "V1"]), "only by case"),
    "resources that differ only by case": (lambda: both(one(), Crafted(A, place="alice/NEW")), "only by case"),
    "a resource that differs from one here only by case": (lambda: Crafted(A, place="alice/x"), "only by case"),
    "a tag that differs from one here only by case": (
        lambda: Crafted(A, place="alice/X", tags=["STAYS"]),
        "only by case",
    ),
    "a second resource that is hostile": (
        lambda: both(one(), at(Crafted(A, place="alice/Other"), "files/b.txt")),
        "b.txt",
    ),
    "a second version that is hostile": (lambda: both(one(), at(Crafted({"b": b""}), "files/b", b"other")), "b of"),
}


def blob(place: str, data: bytes) -> str:
    """Where a resource keeps a content."""
    name = digest(data)
    return f"{place}/.lhub/history.git/lfs/objects/{name[:2]}/{name[2:4]}/{name}"


@pytest.mark.parametrize("fault", VERSIONS)
def test_a_version_that_is_not_what_it_says_changes_nothing(fault: str, target: Registry, tmp_path: Path) -> None:
    make, words = VERSIONS[fault]
    refused(target, in_file(tmp_path, make().tar()), words=words)


# a diary that comes along

HISTORY = "alice/New/.lhub/history.git"
DIARIES: dict[str, dict[str, bytes]] = {
    "a branch that is no commit": {"refs/heads/main": b"hello\n"},
    "a branch that names nothing": {"refs/heads/main": b"a" * 40 + b"\n"},
    "a pack of rubbish": {"objects/pack/pack-1.idx": b"x", "objects/pack/pack-1.pack": b"x"},
    "a file where a folder is": {"objects/pack/x": b"x", "objects/pack": b"x"},
    "a folder where a file is": {"objects/pack": b"x", "objects/pack/x": b"x"},
    "a name longer than a file system has": {f"objects/{'a' * 256}": b"x"},
    "alternates that lead elsewhere": {"objects/info/alternates": b"/etc\n"},
    "a config that runs a program": {"config": b"[core]\n\tfsmonitor = touch /tmp/evil\n", "hooks/post-update": b"x"},
}


@pytest.mark.parametrize("fault", DIARIES)
def test_a_diary_that_does_not_read_harms_nothing(fault: str, target: Registry, tmp_path: Path) -> None:
    crafted = one()
    for name, data in DIARIES[fault].items():
        crafted.put(f"{HISTORY}/{name}", data)
    before = snapshot(target.root)
    try:
        target.import_bundle(in_file(tmp_path, crafted.tar()))
    except LhubError:
        assert snapshot(target.root) == before
        return
    assert read_tree(Path(target.path("alice/New"))) == A
    assert target.verify().ok
    assert [entry.action for entry in target.log("alice/New")] == ["import"]
    assert "evil" not in (target.root / HISTORY / "config").read_text()
    assert not list(target.root.rglob(".tmp.*"))


@pytest.mark.parametrize("digit", [b"0", b"f", b"g", b"\0"])
def test_a_damaged_diary_is_never_dropped_in_silence(
    digit: bytes, source: Registry, small: Path, standing: Path, tmp_path: Path
) -> None:
    with tarfile.open(small) as tar:
        branch = next(member for member in tar if member.name.endswith("refs/heads/main"))
    data = bytearray(small.read_bytes())
    data[branch.offset_data : branch.offset_data + 1] = digit
    notes: list[str] = []
    target = target_in(tmp_path, standing)
    target = Registry(target.root, namespace="alice", notes=notes.append)
    try:
        target.import_bundle(in_file(tmp_path, bytes(data)))
    except LhubError:
        return
    assert past(target, "alice/Small") == past(source, "alice/Small") or "diary" in " ".join(notes)


@pytest.fixture
def shaft() -> Iterator[Path]:
    """A folder whose content is removed however deep it is, which Python's own tools cannot."""
    folder = Path(tempfile.mkdtemp())
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)


@pytest.mark.parametrize("place", ["the payload", "the diary"])
def test_folders_in_folders_past_all_reason_harm_nothing(place: str, standing: Path, shaft: Path) -> None:
    path = "a/" * 1000 + "a"
    crafted = Crafted({path: b"a"}) if place == "the payload" else one().put(f"{HISTORY}/objects/{path}", b"a")
    hostile, honest = in_file(shaft, crafted.tar()), shaft / "honest.tar"
    honest.write_bytes(one().tar())
    target = target_in(shaft, standing)

    def live_on() -> None:
        with suppress(LhubError):
            target.import_bundle(hostile)
        assert target.verify().ok
        target.import_bundle(honest)
        assert read_tree(Path(target.path("alice/New:latest"))) == A

    assert in_a_child(live_on) == 0


FORGED = """commit refs/heads/main
mark :1
author {who} {when} +0000
committer {who} {when} +0000
data <<END
{text}
END
M 644 inline files/a.txt
data 2
a

get-mark :1
done
"""
GIT = ["git", "-c", "fastimport.unpackLimit=0"]
STORIES: dict[str, tuple[str, str, str]] = {
    "from the future": ("bob <b@c>", "99999999999", "push\n\nAction: push"),
    "of no action": ("bob <b@c>", "1", "hello"),
    "of an unknown action": ("bob <b@c>", "1", "x\n\nAction: explode\nTags: latest\nVersion: 00"),
    "of versions that nobody has": ("bob <b@c>", "1", f"x\n\nAction: push\nVersion: {'0' * 64}\nTags: latest, v7"),
    "of tags that cannot be": (
        "bob <b@c>",
        "1",
        f"x\n\nAction: push\nVersion: {'0' * 64}\nTags: ../../x, \x1b[2J\nProtected: .., v1",
    ),
    "of its own deletion": ("bob <b@c>", "1", "x\n\nAction: delete"),
    "of a visibility that nobody knows": ("bob <b@c>", "1", "x\n\nAction: visibility\nVisibility: secret"),
    "by nobody": (" <>", "1", "x\n\nAction: push"),
}


@pytest.mark.parametrize("story", STORIES)
def test_a_diary_that_tells_a_false_story_moves_no_tag(story: str, target: Registry, tmp_path: Path) -> None:
    who, when, text = STORIES[story]
    diary = tmp_path / "diary.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", diary], check=True)
    stream = FORGED.format(who=who, when=when, text=text).encode()
    tip = subprocess.run([*GIT, "fast-import", "--quiet"], cwd=diary, input=stream, check=True, capture_output=True)
    crafted = one()
    for path in (diary / "objects").rglob("*"):
        if path.is_file():
            crafted.put(f"{HISTORY}/{path.relative_to(diary)}", path.read_bytes())
    crafted.put(f"{HISTORY}/refs/heads/main", tip.stdout)
    target.import_bundle(in_file(tmp_path, crafted.tar()))
    shown = target.show("alice/New")
    assert (shown.tags, shown.protected_tags, shown.visibility) == ({"latest": crafted.version}, (), "public")
    assert len(target.log("alice/New")) >= 2
    target.tag("alice/New", "later")
    assert target.log("alice/New")[0].tags == ("later",)
    assert target.verify().ok


# bombs


def growth(deed: Callable[[], object]) -> int:
    """By how many MiB the memory of a process grows at most while it does something, even if it is refused."""
    gate, key = os.pipe()

    def measure() -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with suppress(LhubError):
            deed()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        os.write(key, str(grown >> 10).encode())

    assert in_a_child(measure) == 0
    os.close(key)
    with os.fdopen(gate) as answer:
        return int(answer.read())


def delta_bomb(size: int) -> tuple[bytes, bytes, str]:
    """A pack of some KiB whose commit unpacks to `size` bytes, its index, and the commit's name."""

    def head(kind: int, length: int) -> bytes:
        first, length = (kind << 4) | (length & 15), length >> 4
        return bytes([first | 0x80]) + varint(length) if length else bytes([first])

    def varint(number: int) -> bytes:
        low, number = number & 0x7F, number >> 7
        return bytes([low | 0x80]) + varint(number) if number else bytes([low])

    base = b"tree " + b"0" * 40 + b"\n\n" + bytes(0xFFFFFF)
    copies = size // 0xFFFFFF
    delta = varint(len(base)) + varint(copies * 0xFFFFFF) + b"\xf0\xff\xff\xff" * copies
    names = [hashlib.sha1(b"commit %d\0%b" % (len(base), base)).digest(), b"\xaa" * 20]
    first = b"PACK" + struct.pack(">II", 2, 2)
    second = first + head(1, len(base)) + zlib.compress(base)
    pack = second + head(7, len(delta)) + names[0] + zlib.compress(delta)
    pack += hashlib.sha1(pack).digest()
    order = sorted([(names[0], len(first)), (names[1], len(second))])
    index = b"\xfftOc" + struct.pack(">I", 2)
    index += b"".join(struct.pack(">I", sum(name[0] <= byte for name in names)) for byte in range(256))
    index += b"".join(name for name, _ in order) + bytes(8) + b"".join(struct.pack(">I", place) for _, place in order)
    index += pack[-20:]
    return pack, index + hashlib.sha1(index).digest(), names[1].hex()


def test_a_diary_that_unpacks_to_half_a_gigabyte_takes_no_such_memory(target: Registry, tmp_path: Path) -> None:
    pack, index, tip = delta_bomb(512 << 20)
    crafted = one().put(f"{HISTORY}/objects/pack/pack-1.pack", pack).put(f"{HISTORY}/objects/pack/pack-1.idx", index)
    path = in_file(tmp_path, crafted.put(f"{HISTORY}/refs/heads/main", tip.encode()).tar())
    assert path.stat().st_size < 200_000
    assert growth(lambda: target.import_bundle(path)) < 160


def test_one_content_as_many_executables_never_becomes_more_than_there_is_room_for(
    target: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"run{number}.sh": bytes(1 << 20) for number in range(40)}
    crafted = Crafted(files, executable=files)
    for name in list(files)[1:]:
        at(crafted, f"files/{name}", kind=b"1", link=f"{crafted.folder}/files/run0.sh")
    path = in_file(tmp_path, crafted.tar())
    assert path.stat().st_size < 2 << 20
    monkeypatch.setattr("os.statvfs", lambda place: SimpleNamespace(f_bavail=20 << 20, f_frsize=1))
    refused(target, path)


def test_a_large_file_goes_through_a_bundle_in_little_memory(tmp_path: Path) -> None:
    source = Registry(tmp_path / "source", namespace="alice")
    folder = tmp_path / "folder"
    folder.mkdir()
    with (folder / "big.bin").open("wb") as file:
        file.truncate(64 << 20)
    source.push(folder, "Big")
    source.export("alice/Big", path=tmp_path / "warm.tar")
    path, there = tmp_path / "big.tar", Registry(tmp_path / "there", namespace="alice")
    assert growth(lambda: source.export("alice/Big", path=path)) < 24
    assert growth(lambda: there.import_bundle(path)) < 24
    assert (Path(there.path("alice/Big")) / "big.bin").stat().st_size == 64 << 20


# damage on the way


def taken(target: Registry, place: Path, parcels: dict[int, bytes]) -> list[int]:
    """Which of these bundles are not refused with a sentence."""
    found = []
    for number, data in parcels.items():
        with suppress(LhubError):
            target.import_bundle(in_file(place, data))
            found.append(number)
    return found


def test_a_bundle_that_is_cut_short_anywhere_changes_nothing(small: Path, target: Registry, tmp_path: Path) -> None:
    data, before = small.read_bytes(), snapshot(target.root)
    whole = len(data.rstrip(b"\0"))
    assert taken(target, tmp_path, {end: data[:end] for end in [*range(0, whole, 512), *range(100, whole, 2048)]}) == []
    assert snapshot(target.root) == before


def test_a_bundle_whose_end_became_zeros_is_never_taken_for_a_shorter_one(
    small: Path, target: Registry, tmp_path: Path
) -> None:
    data, before = small.read_bytes(), snapshot(target.root)
    with tarfile.open(small) as tar:
        ends = [member.offset for member in tar]
    assert taken(target, tmp_path, {end: data[:end].ljust(len(data), b"\0") for end in ends}) == []
    assert snapshot(target.root) == before


@settings(max_examples=40, deadline=None)
@given(block=st.integers(0, 999), place=st.integers(0, 511), bit=st.integers(0, 7), used=st.booleans())
def test_a_flipped_bit_is_refused_or_of_no_consequence(
    block: int, place: int, bit: int, used: bool, source: Registry, small: Path, standing: Path
) -> None:
    data = small.read_bytes()
    starts = [start for start in range(0, len(data), 512) if data[start : start + 512].strip(b"\0")]
    start = starts[block % len(starts)]
    flipped = bytearray(data)
    flipped[start + place % (len(data[start : start + 512].rstrip(b"\0")) if used else 512)] ^= 1 << bit
    with tempfile.TemporaryDirectory() as folder:
        target = target_in(Path(folder), standing)
        before = snapshot(target.root)
        try:
            target.import_bundle(in_file(Path(folder), bytes(flipped)))
        except LhubError:
            assert snapshot(target.root) == before
        else:
            assert seen(target, "alice/Small") == seen(source, "alice/Small")
