"""The diary of a resource: who pushed what, when, under which tags, as a git repository that anybody can read.

The truth is the version folders and the links; the diary is a log of it. Nobody runs git *in* `history.git`, its
owner included, since a repository's own config can execute code: readers and writers use an empty repository of
their own and borrow the objects, and the one ref is moved here, by hand. Only this room runs git.

>>> _plain("Alice <a@b>"), _quoted("a b")
('Alice a@b', b'"a b"\\n')
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from lhub.commits import HEX, NOT_KEPT, is_readable, log, see_regular, tip_of
from lhub.diary import Entry, Recorded, read_recorded, replay, write_recorded
from lhub.disk import Pen
from lhub.errors import Corrupt, LhubError, ToolMissing
from lhub.layout import MANIFEST, PAYLOAD, STAGING, SUMS, Modes, VersionFolder
from lhub.manifest import HUGE
from lhub.opening import listed, open_file, read_open, read_small
from lhub.packs import is_whole, joined
from lhub.staging import Staged
from lhub.store import Resource
from lhub.tree import read_sums
from lhub.ways import faked, ways_kept

_PACKS, _SMALL = 32, 1 << 20
"""How many packs of one's own, up to so many bytes, become one; git and readers look through all there are."""
_AT_ONCE = 256
"""How many at most, each of which is open then; a process may have 1,024 files."""
_TEXT = 1 << 20
"""Bytes up to which a text stands in the diary as it is; larger files and binary ones are git-LFS pointers."""
_OWN, _DAY = "lhub-diary-", 86_400.0
"""How the folders are called in which git works, and how many seconds one of a dead process stays."""
_swept: set[str] = set()
"""Where this process has looked for such."""
_KEPT = f"{32 << 20}"
"""Bytes that glibc's allocator keeps: git frees 256 KiB after each object, 10,000 took 0.25 s so, in place of 0.7."""
_LONGEST = 600.0
"""Seconds after which a git that does not end is killed: a FIFO among another's objects would hold it for ever."""
_POINTER = b"version https://git-lfs.github.com/spec/"
_ACTS = frozenset((".gitattributes", ".gitmodules"))
"""Names of a payload that would act in a clone, or fail a check, if they stood in the diary as they are."""
SKELETON = {"HEAD": "ref: refs/heads/main\n", "config": "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"}


class DiaryLost(LhubError):
    """The diary did not read and was set aside: everything is to be told anew."""


class Diary:
    """The diary of one resource, to be written by whoever holds the lock."""

    def __init__(self, pen: Pen, resource: Resource, modes: Modes, scratch: str) -> None:
        self.pen, self.resource, self.place, self.modes = pen, resource, resource.folder, modes
        self.scratch = f"{scratch}.file"
        self._staged: Staged | None = None

    def expect(self, staged: Staged) -> None:
        """A version that is about to be told, whose files nobody looks through again."""
        self._staged = staged

    def begin(self) -> None:
        """Make what is missing of a bare repository; what stands stays."""
        self._make_folders()
        for name, text in SKELETON.items():
            if not os.path.lexists(f"{self.place.history}/{name}"):
                self.pen.replace(f"{self.place.history}/{name}", text.encode(), self.modes.file, scratch=self.scratch)

    # what is known

    def recorded(self) -> Recorded:
        """What the diary was last told, from the derived file, or from git where that lags or is lost."""
        tip = tip_of(self.resource)
        try:
            state = read_recorded(read_small(self.place.recorded, limit=64 << 20))
            if state.tip == tip:
                return state
        except (OSError, ValueError, LhubError):
            if tip is None:
                return Recorded()
        if tip is None:
            return Recorded()
        try:
            entries = list(log(self.resource))
        except Corrupt:
            self.set_aside(tip)
            return Recorded()
        state = replace(replay(reversed(entries)), tip=tip)
        self._remember(state)
        return state

    def _remember(self, state: Recorded) -> None:
        with suppress(OSError):  # derived: the next writer asks git instead
            text = write_recorded(state)
            self.pen.replace(self.place.recorded, text, self.modes.file, scratch=self.scratch, sync=False)

    # entries more

    def add(self, recorded: Recorded, *entries: Entry) -> Recorded:
        """Write entries: their objects, then the ref, then the derived file. Answers the state they lead to."""
        if faked():
            raise LhubError(f"{self.resource.name}: {NOT_KEPT}")
        if not entries:
            return recorded
        try:
            return self._add(recorded, entries)
        except _GitFailed as error:
            if recorded.tip is None or is_readable(self.resource, recorded.tip):
                raise LhubError(f"the diary of {self.resource.name} was not written: {error}") from None
            self.set_aside(recorded.tip)
            raise DiaryLost(f"the diary of {self.resource.name} did not read and was begun anew") from None

    def _add(self, recorded: Recorded, entries: Sequence[Entry]) -> Recorded:
        stream = _Stream(self.resource, recorded, self._staged)
        tip = self._import(stream.commits(entries))
        self._move(recorded.tip, tip)
        state = replace(stream.state, tip=tip)
        self._remember(state)
        with suppress(OSError, LhubError):  # a saving of time only; the next entry tries again
            self._gather()
        return state

    def _import(self, stream: Iterable[bytes]) -> str:
        """One `git fast-import`; the id of the last commit, whose objects are durable when this returns.

        Git works in a folder of its own outside the registry: in a team's a colleague could put another, with a
        hook in it, in its place. Its one pack is brought in by the pen.
        """
        see_regular(self.resource)
        with self._own_folder() as own, ways_kept():
            self.pen.step("fast-import", own)
            tip = str(_git(_FAST_IMPORT, stream, own, self.place.objects), errors="replace").strip()
            if not HEX.fullmatch(tip):
                raise _GitFailed(f"git fast-import answered {tip[:80]!r}")
            self._bring_pack(own)
        return tip

    def _gather(self) -> None:
        """Make one of many small packs, so that git and who reads the diary have few to look through.

        The new one stands before an old one goes; what a kill leaves in between is twice there, and gathered next.
        """
        small = self._small_packs()
        if len(small) < _PACKS:
            return
        small = [pack for pack in small[:_AT_ONCE] if is_whole(pack, _SMALL)]  # a damaged one is for verify to tell
        if len(small) < _PACKS:
            return
        with self._own_folder() as own:
            self.pen.step("index-pack", own)
            _git(_INDEX_PACK, joined(small), own, self.place.objects)
            if (made := self._bring_pack(own)) is None:
                return
        for pack in small:
            if os.path.basename(pack) != made:
                self.pen.unlink(pack)  # before its index, which alone says nothing
                self.pen.unlink(f"{pack.removesuffix('.pack')}.idx")

    def _small_packs(self) -> list[str]:
        """The packs of one's own that are small: another's are his to gather."""
        packs = listed(f"{self.place.objects}/pack")
        found = [(entry.path, entry.stat(follow_symlinks=False)) for entry in packs if entry.name.endswith(".pack")]
        return [path for path, status in found if status.st_uid == os.geteuid() and status.st_size <= _SMALL]

    @contextmanager
    def _own_folder(self) -> Iterator[str]:
        """An empty folder for git to work in."""
        import tempfile  # for the diary only

        with tempfile.TemporaryDirectory(prefix=_OWN) as own:
            folder = os.path.dirname(own)
            if folder not in _swept:  # once a process: others use it too, and it may hold a thousand names
                _swept.add(folder)
                self._sweep(folder, now=os.stat(own).st_mtime)
            yield own

    def _bring_pack(self, own: str) -> str | None:
        """Bring in the pack that git has made, after its index, durably; its name."""
        made = sorted(os.listdir(f"{own}/objects/pack"), key=lambda name: name.endswith(".pack"))
        brought = [name for name in made if name.endswith((".pack", ".idx"))]
        for name in brought:
            self._bring(f"{own}/objects/pack/{name}", f"{self.place.objects}/pack/{name}")
        self.pen.sync_folder(f"{self.place.objects}/pack")
        return brought[-1] if brought else None

    def _sweep(self, folder: str, *, now: float) -> None:
        """Remove what one's own killed processes left of such folders a day ago or more."""
        for entry in os.scandir(folder):
            with suppress(OSError, LhubError):
                if entry.name.startswith(_OWN) and entry.is_dir(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    if status.st_uid == os.geteuid() and now - status.st_mtime > _DAY:
                        self.pen.remove_tree(entry.path)

    def _bring(self, source: str, path: str) -> None:
        descriptor = open_file(source)
        try:
            self.pen.copy_in(descriptor, self.scratch, PAYLOAD)
        finally:
            os.close(descriptor)
        self.pen.sync_file(self.scratch)
        self.pen.rename(self.scratch, path)

    def _move(self, old: str | None, new: str) -> None:
        """Move the branch: main.lock exclusively, compare, rename, fsync; under our own lock a left one is dead."""
        lock = f"{self.place.branch}.lock"
        for attempt in range(50):
            try:
                self.pen.write_new(lock, f"{new}\n".encode(), self.modes.file)
                break
            except FileExistsError:
                if attempt == 49:
                    raise LhubError(f"{lock} stands in the way of the diary", hint="remove it") from None
                if attempt == 20:  # after 0.4 s: no git of a person's takes as long to move one ref
                    self.pen.unlink(lock)
                time.sleep(0.02)
        listed(os.path.dirname(self.place.branch))
        if tip_of(self.resource) != old:
            self.pen.unlink(lock)
            raise LhubError(f"the diary of {self.resource.name} was moved by somebody else meanwhile")
        self.pen.rename(lock, self.place.branch)
        self.pen.sync_folder(os.path.dirname(self.place.branch))

    def set_aside(self, tip: str) -> None:
        """Keep what does not read, and begin the diary anew: objects first, lest new ones rest on damaged ones."""
        aside = f"{self.place.history}/unreadable.{tip[:12]}.{time.time_ns()}"
        self.pen.make_folder(aside, self.modes.inner)
        for path in (self.place.objects, f"{self.place.history}/packed-refs", self.place.branch):
            with suppress(FileNotFoundError):
                self.pen.rename(path, f"{aside}/{os.path.basename(path)}")
        self._make_folders()

    def _make_folders(self) -> None:
        objects, refs = self.place.objects, f"{self.place.history}/refs"
        self.pen.make_folders([objects, f"{objects}/pack", f"{objects}/info", refs, f"{refs}/heads"], self.modes.inner)


class _Stream:
    """What git is fed: entries as commits, piece by piece; `state` is what those that were told so far lead to."""

    def __init__(self, resource: Resource, recorded: Recorded, staged: Staged | None) -> None:
        self.resource, self.state, self.tip, self.staged = resource, recorded, recorded.tip, staged

    def commits(self, entries: Sequence[Entry]) -> Iterator[bytes]:
        """The whole stream; in the end git answers the name of the last commit."""
        yield b"feature done\n"
        for mark, entry in enumerate(entries, start=1):
            who = f"{_plain(entry.name)} <{_plain(entry.address)}> {int(entry.when)} +0000".encode()
            text = entry.text(self.resource.name).encode(errors="replace").replace(b"\0", b"")
            yield b"commit refs/heads/main\nmark :%d\nauthor %b\ncommitter %b\n" % (mark, who, who)
            yield b"data %d\n%b\n" % (len(text), text)
            if mark > 1:
                yield b"from :%d\n" % (mark - 1)
            elif self.tip:
                yield b"from %b\n" % self.tip.encode()
            yield from self._files(entry)
            self.state = self.state.after(entry)
        yield b"get-mark :%d\ndone\n" % len(entries)

    def _files(self, entry: Entry) -> Iterator[bytes]:
        """The files of the version that an entry put there; of the first entry, whatever it is, since a tree is one."""
        first = self.tip is None and self.state.tree is None
        if entry.version and (entry.action in ("push", "rollback", "import") or first):
            try:
                new = _Files(self.resource, entry.version, self.staged)
                pointers = set(self.state.pointers)
                changes = list(self._changes(new, pointers)) if entry.late else self._changes(new, pointers)
            except (LhubError, OSError, UnicodeError):
                if entry.late or not self.resource.keeps(entry.version):
                    return  # it may name what is lost or damaged; that it was named is told all the same
                raise
            yield from changes
            self.state = replace(self.state, tree=entry.version, pointers=frozenset(pointers))

    def _changes(self, new: _Files, pointers: set[str]) -> Iterator[bytes]:
        """What turns the newest entry's files into `new`, piece by piece; `pointers` is kept true on the way."""
        old = None
        if self.state.tree:
            with suppress(OSError, LhubError):
                old = _Files(self.resource, self.state.tree)
        before = old.files if old else {}
        pointers &= new.files.keys() if old else set()
        if old is None:
            yield b"deleteall\n"
        for path in before.keys() - new.files.keys():
            yield b"D " + _quoted(f"files/{path}")
        for path, (digest, executable) in new.files.items():
            if before.get(path) == (digest, executable):
                continue
            text, size = new.text(path)
            pointers -= {path}
            if text is None:
                pointers.add(path)
                text = b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize %d\n" % (
                    digest.encode(),
                    size,
                )
            yield _file(f"files/{path}", text, executable)
        yield _file(MANIFEST, new.read(MANIFEST), False)
        yield _file(SUMS, new.read(SUMS), False)
        yield _file(".gitattributes", _attributes(pointers), False)


class _Files:
    """The files of one version as the diary needs them."""

    def __init__(self, resource: Resource, version: str, staged: Staged | None = None) -> None:
        folder = resource.lies(version)
        if folder is None:
            raise FileNotFoundError(errno.ENOENT, "no such version", resource.folder.version(version).path)
        self.folder = folder
        self.binary: Mapping[str, int] = {}
        if staged is not None and staged.id == version:  # as it was just found, or made
            self.binary = staged.binary
            self.files = {file.path: (file.digest, file.executable) for file in staged.tree.files}
            return
        executable = _executable(self.folder)
        sums = read_sums(self.read(SUMS).decode())
        self.files = {path: (digest, path in executable) for path, digest in sums.items()}

    def read(self, name: str) -> bytes:
        return read_small(f"{self.folder.path}/{name}", limit=HUGE)

    def text(self, path: str) -> tuple[bytes | None, int]:
        """The content if it stands in the diary as it is, and its size.

        It does if it is UTF-8 without NUL, up to 1 MiB, and nothing that git acts on.
        """
        if path in self.binary:
            return None, self.binary[path]
        descriptor = open_file(self.folder.payload(path))
        try:
            size = os.fstat(descriptor).st_size
            if size > _TEXT or path.rpartition("/")[2].lower() in _ACTS:
                return None, size
            data = read_open(descriptor, path, limit=_TEXT)
        finally:
            os.close(descriptor)
        if b"\0" in data or data.startswith(_POINTER):
            return None, size
        try:
            data.decode()
        except UnicodeDecodeError:
            return None, size
        return data, size


def _executable(folder: VersionFolder) -> frozenset[str]:
    """The executable paths, by mode: the manifest says the same, and a listing is quicker than YAML."""
    found = set()

    def visit(path: str, prefix: str) -> None:
        for entry in os.scandir(path):
            if entry.is_dir(follow_symlinks=False):
                visit(entry.path, f"{prefix}{entry.name}/")
            elif entry.stat(follow_symlinks=False).st_mode & 0o100:
                found.add(prefix + entry.name)

    visit(folder.files, "")
    return frozenset(found)


# git, in a repository of one's own


class _GitFailed(LhubError):
    """Git answered with an error."""


_FAST_IMPORT = ("fast-import", "--quiet", "--force", "--depth=0")
_INDEX_PACK = ("index-pack", "--stdin")


def _git(words: Sequence[str], stream: Iterable[bytes], own: str, objects: str) -> bytes:
    """Git, which builds on another's `objects`, run in the empty folder `own`; what it prints."""
    import tempfile  # as above
    import threading

    Pen().make_folders([f"{own}/{folder}" for folder in ("refs", "objects", "objects/pack")], STAGING)
    Pen().write_new(f"{own}/HEAD", SKELETON["HEAD"].encode(), 0o600, sync=False)
    options = ["fastimport.unpackLimit=0", "core.fsync=none", "core.compression=1", f"core.hooksPath={os.devnull}"]
    with tempfile.TemporaryFile() as said:
        environment = {"PATH": os.environ.get("PATH", os.defpath), **_environment(own, objects)}
        try:
            git = subprocess.Popen(
                ["git", *_options(options), *words],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, env=environment, cwd=own, umask=0o077,
            )  # fmt: skip
        except FileNotFoundError:
            raise _no_git() from None
        watch = threading.Timer(_LONGEST, git.kill)
        watch.start()
        with git:
            try:
                out = _fed(git, stream)
            except BaseException:
                git.kill()
                raise
            finally:
                watch.cancel()
        if git.returncode:
            said.seek(0)
            raise _GitFailed(_first(said.read().decode(errors="replace")) or f"git ended with {git.returncode}")
    return out


def _fed(git: subprocess.Popen[bytes], stream: Iterable[bytes]) -> bytes:
    """Feed the stream piece by piece, so that memory does not grow with the texts of a version."""
    assert git.stdin is not None and git.stdout is not None  # noqa: S101 (both are pipes)
    try:
        for piece in stream:
            git.stdin.write(piece)
        git.stdin.close()
    except BrokenPipeError:
        git.wait()  # its reason is on stderr
    return git.stdout.read()


def _environment(folder: str, objects: str) -> dict[str, str]:
    """What keeps every config, hook and prompt of anybody out of a git command."""
    return {
        "GIT_DIR": folder,
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": '"{}"'.format(objects.replace("\\", "\\\\").replace('"', '\\"')),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_COUNT": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "HOME": folder,
        "LC_ALL": "C",
        "MALLOC_TRIM_THRESHOLD_": _KEPT,
        "MALLOC_MMAP_THRESHOLD_": _KEPT,
    }


def _no_git() -> ToolMissing:
    return ToolMissing("git is not installed", hint="apt install git, or brew install git: the diary is kept with it")


def _options(options: list[str]) -> list[str]:
    return [part for option in options for part in ("-c", option)]


def _first(text: str) -> str:
    lines = [line.strip().removeprefix("stderr: ").strip("'") for line in text.split("\n")]
    return next((line for line in lines if line), "")[:200]


def _plain(text: str) -> str:
    return re.sub(r"[<>\s\x00-\x1f]+", " ", text).strip() or "unknown"


def _file(path: str, data: bytes, executable: bool) -> bytes:
    mode = b"100755" if executable else b"100644"
    return b"M %b inline %bdata %d\n%b\n" % (mode, _quoted(path), len(data), data)


def _quoted(path: str) -> bytes:
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"\n'.encode()


def _attributes(pointers: set[str]) -> bytes:
    """Bytes are bytes in a clone, and each pointer is a git-LFS file."""
    lines = [f'"files/{path.translate(_PATTERN)}" filter=lfs diff=lfs merge=lfs -text\n' for path in sorted(pointers)]
    return "".join(["* -text\n", *lines]).encode()


_PATTERN = str.maketrans({"\\": 4 * "\\", '"': '\\"'} | {letter: f"\\\\{letter}" for letter in "*?[]"})
"""A path as a pattern that means it and nothing else, in quotes, in which a backslash is two."""
