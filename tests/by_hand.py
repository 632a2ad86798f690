"""A registry that is damaged by hand: two versions of one resource, and all that somebody may do to them.

Who tests what finds or mends damage takes a copy of `origin`, which is made once, and damages that.
"""

from __future__ import annotations

import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lhub.checkup import Damage, Tally, examine
from lhub.layout import link_to
from lhub.manifest import LARGE
from lhub.opening import digest_text
from lhub.registry import Registry
from lhub.store import Resource
from tests.conftest import write_tree

WEIGHTS = bytes(range(256)) * 4
"""What is no text, so that no diary holds it."""
SOURCE: dict[str, str | bytes] = {
    ".gitignore": "# one of its own is quicker to read than the built-in list\n",
    "a.txt": "one\n",
    "sub/b.txt": "bee\n",
    "run.sh": "#!/bin/sh\n",
    "weights.bin": WEIGHTS,
}


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The resource alice/X with two versions, `v1` (protected) and `latest`, which a test may damage."""

    registry: Registry
    resource: Resource

    @property
    def path(self) -> Path:
        """The folder of the resource."""
        return Path(self.resource.folder.path)

    @property
    def diary(self) -> Path:
        return Path(self.resource.folder.history)

    def id(self, tag: str = "latest") -> str:
        return os.readlink(self.path / tag).rpartition("/")[2]

    def version(self, tag: str = "latest") -> Path:
        return Path(self.resource.folder.version(self.id(tag)).path)

    def payload(self, path: str, tag: str = "latest") -> Path:
        return self.version(tag) / "files" / path

    def blob(self, path: str, tag: str = "latest") -> Path:
        """The blob that keeps the content of a file, which is whole still."""
        return Path(self.resource.folder.blob(digest_text(self.payload(path, tag).read_bytes())))

    @contextmanager
    def by_hand(self) -> Iterator[None]:
        """Let names be changed in read-only folders, as somebody does who wants to; files have their own modes."""
        folders = [path for path in (self.path / ".lhub").rglob("*") if path.is_dir() and not path.is_symlink()]
        modes = {path: path.stat().st_mode & 0o7777 for path in folders if not path.stat().st_mode & 0o200}
        for path, mode in modes.items():
            path.chmod(mode | 0o200)
        yield
        for path, mode in modes.items():
            if path.is_dir() and not path.is_symlink():
                path.chmod(mode)

    def damages(self, *, quick: bool = False, only: str | None = None) -> list[Damage]:
        return list(examine(self.resource, Tally(quick=quick), only=only))

    def problems(self, *, quick: bool = False, only: str | None = None) -> list[str]:
        return [damage.problem for damage in self.damages(quick=quick, only=only)]


def kept_at(root: Path) -> Kept:
    """The resource alice/X of a registry, for alice."""
    registry = Registry(root, namespace="alice", timeout=20)
    return Kept(registry=registry, resource=Resource(f"{registry.root}/alice/X", "alice/X"))


def make_kept(place: Path) -> Kept:
    """Push the two versions."""
    source = write_tree(place / "src", SOURCE)
    (source / "run.sh").chmod(0o755)
    registry = Registry(place / "registry", namespace="alice", timeout=20)
    registry.push(source, "X", tags=["v1"], protected_tags=["v1"], message="the first")
    registry.push(write_tree(source, {"a.txt": "two\n"}), "X", message="the second")
    return kept_at(registry.root)


def copy_of(origin: Kept, place: Path) -> Kept:
    """The same registry elsewhere, with its links, hard links, modes and times."""
    duplicate(str(origin.registry.root), str(place), {})
    return kept_at(place)


def duplicate(source: str, target: str, seen: dict[int, str]) -> None:
    """What `cp -a` does, at a quarter of its price for so small a tree."""
    os.mkdir(target)
    for entry in os.scandir(source):
        path, status = f"{target}/{entry.name}", entry.stat(follow_symlinks=False)
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), path)
        elif entry.is_dir():
            duplicate(entry.path, path, seen)
        elif status.st_ino in seen:
            os.link(seen[status.st_ino], path)
        else:
            seen[status.st_ino] = shutil.copyfile(entry.path, path)
            os.chmod(path, status.st_mode & 0o7777)
        if not entry.is_dir(follow_symlinks=False):
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)
    status = os.stat(source)
    os.chmod(target, status.st_mode & 0o7777)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """What the tests copy; none writes here."""
    return make_kept(tmp_path_factory.mktemp("origin"))


@pytest.fixture
def kept(origin: Kept, tmp_path: Path) -> Kept:
    return copy_of(origin, tmp_path / "registry")


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lhub.checkup._PAUSE", 0.0)  # nobody else changes anything


# damages


def overwrite(path: Path, data: bytes) -> None:
    """Other content for a file that may be read-only, in place: its hard links have it too."""
    mode = path.stat().st_mode & 0o7777
    path.chmod(mode | 0o200)
    path.write_bytes(data)
    path.chmod(mode)


def flip(path: Path) -> None:
    """Another byte in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    overwrite(path, bytes(data))


def resize(path: Path, size: int) -> None:
    """Fewer bytes, or more; a hole costs nothing."""
    mode = path.stat().st_mode & 0o7777
    path.chmod(mode | 0o200)
    os.truncate(path, size)
    path.chmod(mode)


def instead(path: Path, make: Callable[[Path], object]) -> None:
    """Something else where a file or folder is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    make(path)


def linked_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def another_file(path: Path) -> None:
    """As good a file, but with other content, and an inode of its own."""
    path.write_bytes(b"another\n")
    path.chmod(0o444)


def moved_away(path: Path, elsewhere: Path | None = None) -> None:
    """A link where a file or folder was, which lies beside it or elsewhere now."""
    path.symlink_to(path.rename(elsewhere or path.parent / f"{path.name}-elsewhere"))


def remove_object(kept: Kept, name: str) -> None:
    """Take one object out of the diary, all others stay: packs are made loose first."""
    objects = kept.diary / "objects"
    packs = [path.read_bytes() for path in objects.glob("pack/*.pack")]
    for path in objects.glob("pack/*"):
        path.unlink()
    for pack in packs:
        subprocess.run(["git", "-C", kept.diary, "unpack-objects", "-q"], input=pack, check=True)
    found = subprocess.run(["git", "-C", kept.diary, "rev-parse", name], capture_output=True, check=True, text=True)
    (objects / found.stdout[:2] / found.stdout[2:].strip()).unlink()


def zero_the_diary(kept: Kept) -> None:
    for path in kept.diary.glob("objects/pack/*"):
        overwrite(path, b"\0" * 40)


def aside(kept: Kept, name: str) -> Path:
    return Path(kept.resource.folder.versions) / name


def tagged_in_trash(kept: Kept) -> None:
    aside(kept, kept.id()).rename(aside(kept, f".trash.1767225600.{kept.id()}"))


def untagged(kept: Kept) -> str:
    """A version that nothing names."""
    version = kept.id()
    kept.registry.tag("alice/X:v1", "latest")
    return version


# every sort of damage, and the findings that name it

FILE_AND_BLOB = ["a.txt is not what was published", "the blob [0-9a-f]{12} is not what its name says"]
SHORT = ["its files have [0-9]+ bytes, [0-9]+ were published"]
MANIFEST = [r"(?!.*Errno).*manifest\.yaml.*"]
SUMS = [r"(?!.*Errno).*SHA256SUMS.*"]
FILES = [r"(?!.*Errno).*\bfiles\b.*"]
KIND = [r"(?!.*Errno).*resource\.yaml.*"]
OUTSIDE = "the tag {} of alice/X points outside its versions"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A damage, and the findings that name it: by a full look and by a quick one."""

    deed: Callable[[Kept], object]
    full: list[str]
    quick: list[str]


def case(deed: Callable[[Kept], object], full: list[str], quick: list[str] | None = None) -> Case:
    return Case(deed=deed, full=full, quick=full if quick is None else quick)


VERSION_CASES = {
    "a byte flipped": case(lambda kept: flip(kept.payload("a.txt")), FILE_AND_BLOB, []),
    "a byte flipped in an executable file": case(
        lambda kept: flip(kept.payload("run.sh")), ["run.sh is not what was published"], []
    ),
    "a file is short": case(lambda kept: resize(kept.payload("a.txt"), 1), FILE_AND_BLOB, SHORT),
    "a file is empty": case(lambda kept: resize(kept.payload("a.txt"), 0), FILE_AND_BLOB, SHORT),
    "a file grew": case(lambda kept: resize(kept.payload("a.txt"), 5), FILE_AND_BLOB, SHORT),
    "a file is missing": case(lambda kept: kept.payload("a.txt").unlink(), ["a.txt is missing"]),
    "a folder is missing": case(lambda kept: shutil.rmtree(kept.payload("sub")), ["sub/b.txt is missing"]),
    "a file more": case(
        lambda kept: write_tree(kept.payload("__pycache__"), {"x.pyc": ""}), ["__pycache__/x.pyc was not published"]
    ),
    "a link more": case(lambda kept: kept.payload("more").symlink_to("a.txt"), ["more was not published"]),
    "a file became a link": case(
        lambda kept: instead(kept.payload("a.txt"), linked_to("/etc/hostname")), ["a.txt.* is not a regular file"]
    ),
    "a file became a FIFO": case(
        lambda kept: instead(kept.payload("a.txt"), os.mkfifo), ["a.txt.* is not a regular file"]
    ),
    "a file became a folder": case(
        lambda kept: instead(kept.payload("a.txt"), Path.mkdir), ["a.txt.* is not a regular file"]
    ),
    "a file became a folder with files": case(
        lambda kept: instead(kept.payload("a.txt"), lambda path: write_tree(path, {"x": ""})),
        ["a.txt/x was not published", "a.txt.* is not a regular file"],
    ),
    "a folder became a link": case(
        lambda kept: moved_away(kept.payload("sub")),
        ["sub was not published", "sub-elsewhere/b.txt was not published", "sub/b.txt.* is not a regular file"],
    ),
    "an execute bit is lost": case(
        lambda kept: kept.payload("run.sh").chmod(0o444), ["run.sh has lost or got an execute bit"]
    ),
    "an execute bit is got": case(
        lambda kept: kept.payload("a.txt").chmod(0o555), ["a.txt has lost or got an execute bit"]
    ),
    "the manifest flipped": case(lambda kept: flip(kept.version() / "manifest.yaml"), MANIFEST),
    "the manifest is missing": case(lambda kept: (kept.version() / "manifest.yaml").unlink(), MANIFEST),
    "the manifest is huge": case(lambda kept: resize(kept.version() / "manifest.yaml", LARGE + 1), MANIFEST),
    "the manifest is a link": case(
        lambda kept: instead(kept.version() / "manifest.yaml", linked_to("SHA256SUMS")), MANIFEST
    ),
    "the manifest is a FIFO": case(lambda kept: instead(kept.version() / "manifest.yaml", os.mkfifo), MANIFEST),
    "SHA256SUMS flipped": case(lambda kept: flip(kept.version() / "SHA256SUMS"), SUMS),
    "SHA256SUMS is missing": case(lambda kept: (kept.version() / "SHA256SUMS").unlink(), SUMS),
    "SHA256SUMS is huge": case(lambda kept: resize(kept.version() / "SHA256SUMS", 1 << 40), SUMS),
    "no folder of files": case(lambda kept: shutil.rmtree(kept.version() / "files"), FILES),
    "the folder of files is a link": case(lambda kept: instead(kept.version() / "files", linked_to("/etc")), FILES),
    "a file beside the documents": case(
        lambda kept: (kept.version() / "evil.txt").write_text(""), ["evil.txt was not published"]
    ),
}
"""Damages of the version `latest`."""
OTHER_CASES = {
    "a blob flipped alone": case(
        lambda kept: instead(kept.blob("a.txt"), another_file), ["the blob [0-9a-f]{12} is not what its name says"], []
    ),
    "a blob is missing": case(lambda kept: kept.blob("weights.bin").unlink(), ["the blob [0-9a-f]{12} is missing"]),
    "a blob is a link": case(
        lambda kept: instead(kept.blob("a.txt"), linked_to(str(kept.payload("a.txt")))),
        ["the blob [0-9a-f]{12} is not what its name says"],
    ),
    "a blob is a folder": case(
        lambda kept: instead(kept.blob("a.txt"), Path.mkdir),
        ["the blob [0-9a-f]{12} is (missing|not what its name says)"],
    ),
    "a blob lies elsewhere": case(
        lambda kept: kept.blob("a.txt").rename(kept.diary / "lfs" / "objects" / digest_text(b"two\n")),
        ["the blob [0-9a-f]{12} is missing"],
    ),
    "resource.yaml is missing": case(lambda kept: (kept.path / "resource.yaml").unlink(), KIND),
    "resource.yaml is cut": case(lambda kept: (kept.path / "resource.yaml").write_text("format: 1\nki"), KIND),
    "resource.yaml is a link": case(lambda kept: instead(kept.path / "resource.yaml", linked_to("/etc/fstab")), KIND),
    "resource.yaml names another kind": case(
        lambda kept: (kept.path / "resource.yaml").write_text("format: 1\nkind: docarray\n"), KIND
    ),
    "resource.yaml is of a newer format": case(
        lambda kept: (kept.path / "resource.yaml").write_text("format: 2\nkind: files\n"), KIND
    ),
    "a tagged version is missing": case(
        lambda kept: shutil.rmtree(kept.version()), ["the tag latest names version [0-9a-f]{12}, which is not there"]
    ),
    "a protected tag has no link": case(lambda kept: (kept.path / "v1").unlink(), ["the protected tag v1 has no link"]),
    "a protected tag's link was moved by hand": case(
        lambda kept: instead(kept.path / "v1", linked_to(link_to(kept.id("latest")))), [r".*\bv1\b.*"]
    ),
    "a protected tag's link leads out": case(
        lambda kept: instead(kept.path / "v1", linked_to("/etc")), [r".*\bv1\b.*"]
    ),
    "a tag's link leads out": case(
        lambda kept: instead(kept.path / "latest", linked_to("/etc")), [OUTSIDE.format("latest")]
    ),
    "a tag's link climbs": case(
        lambda kept: instead(kept.path / "latest", linked_to(f".lhub/versions/../versions/{kept.id('v1')}")),
        [OUTSIDE.format("latest")],
    ),
    "a tag is a file": case(
        lambda kept: instead(kept.path / "latest", lambda path: path.write_text(link_to(kept.id("v1")))),
        ["the tag latest of alice/X is not a link"],
    ),
    "a pin leads out": case(
        lambda kept: instead(kept.path / ".protected.v1", linked_to("/etc")), [OUTSIDE.format("v1")]
    ),
    "the diary does not read": case(zero_the_diary, ["the diary of alice/X does not read.*"]),
    "a text of the newest entry is missing": case(
        lambda kept: remove_object(kept, "main:files/a.txt"), [".*diary.*"], []
    ),
    "a text of an older entry is missing": case(
        lambda kept: remove_object(kept, "main~1:files/a.txt"), [".*diary.*"], []
    ),
    "an older entry is missing": case(
        lambda kept: remove_object(kept, "main~1"), ["the diary of alice/X does not read.*"]
    ),
    "the branch of the diary is empty": case(
        lambda kept: (kept.diary / "refs/heads/main").write_text(""), [".*diary.*"]
    ),
    "the branch of the diary is a link": case(
        lambda kept: instead(kept.diary / "refs/heads/main", linked_to("/etc/hostname")), [".*is not a regular file.*"]
    ),
    "the branch of the diary is a FIFO": case(
        lambda kept: instead(kept.diary / "refs/heads/main", os.mkfifo), [".*is not a regular file.*"]
    ),
    "the branch of the diary names nothing": case(
        lambda kept: (kept.diary / "refs/heads/main").write_text("0" * 40 + "\n"),
        ["the diary of alice/X does not read.*"],
    ),
    "the diary lags by a tag": case(
        lambda kept: (kept.path / "v2").symlink_to(link_to(kept.id())),
        ["the diary lags: it does not tell of v2"],
    ),
    "the diary lags by an untag": case(
        lambda kept: (kept.path / "latest").unlink(), ["the diary lags: it does not tell of latest"]
    ),
    "the diary lags by a visibility": case(
        lambda kept: kept.path.chmod(0o700), ["the diary lags: it does not tell of the visibility"]
    ),
    "there are no versions": case(
        lambda kept: shutil.rmtree(kept.path / ".lhub/versions"), [r"(?!.*Errno).*version.*", r"(?!.*Errno).*version.*"]
    ),
}
"""Damages of what is beside the versions."""
CASES = VERSION_CASES | OTHER_CASES

# versions that no push makes, under the right digests

HOSTILE = {
    "no UTF-8": b"\xff\xfe\n",
    "nothing": b"",
    "no line of a push": b"garbage\n",
    "a name that climbs": b"%b  ../../x\n",
    "a name that is absolute": b"%b  /etc/hostname\n",
    "a name twice": b"%b  a\n%b  a\n",
    "a file that is a folder": b"%b  a\n%b  a/b\n",
    "a NUL": b"%b  x\0y\n",
    "a name that is too long": b"%b  " + b"d" * 300 + b"\n",
    "a path that is too long": b"%b  " + b"d/" * 3000 + b"x\n",
}


def publish(kept: Kept, sums: bytes) -> str:
    """A version under the right digests, whose SHA256SUMS no push writes; `latest` names it."""
    sums = sums.replace(b"%b", b"0" * 64)
    with kept.by_hand():
        overwrite(kept.version() / "SHA256SUMS", sums)
        text = (kept.version() / "manifest.yaml").read_text()
        text = re.sub("sha256sums: .*", f'sha256sums: "{digest_text(sums)}"', text)
        overwrite(kept.version() / "manifest.yaml", text.encode())
        version = digest_text(text.encode())
        kept.version().rename(kept.version().with_name(version))
        instead(kept.path / "latest", linked_to(link_to(version)))
    return version


# what might not end


def ended(deed: Callable[[], object], seconds: int) -> bool:
    """Whether something comes to an end in time, in a fork that is killed if it does not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside the threads of pytest-xdist
        child = os.fork()
    if child == 0:
        try:
            signal.alarm(seconds)
            deed()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] == 0


@contextmanager
def little_room(frames: int) -> Iterator[None]:
    """As if the folders below were ten times as deep, which nobody could remove."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + frames)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
