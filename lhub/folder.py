"""A folder, or one file: what of it travels.

The folder's own `.gitignore` replaces the built-in list (GitHub's for Python); `.git` and `.jina` never travel.
Symbolic links inside the folder travel as what they name. All that cannot travel is told in one message.

>>> import tempfile
>>> place = tempfile.mkdtemp()
>>> with open(f"{place}/a.txt", "w") as file:
...     _ = file.write("hello")
>>> [source.path for source in scan(place).sources]
['a.txt']
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

from lhub.errors import LhubError, NotFound, UsageError, clean, listing
from lhub.ignoring import list_of, read_list
from lhub.names import DEEPEST, NEVER
from lhub.opening import open_file, read_open
from lhub.ways import changed_at, faked

_LINKED = 100_000
"""Files that links to folders may add to a push."""
_LONGEST_NAME, _LONGEST_PATH = 255, 2048
"""Bytes of a name, by most file systems, and of a path, so that what stands above it leaves room (PATH_MAX is 4096)."""


class Source(NamedTuple):
    """One file that travels: `path` in the version, `origin` on disk, `stamp` to see that it did not change.

    `text` is what travels in its place where it gained something; what is wholly new has no origin and no stamp.
    `given` is the SHA-256 of what lies in an inbox, where nobody changes it, and may be kept by a second name.
    """

    path: str
    origin: str
    size: int
    executable: bool
    stamp: tuple[int, ...]
    text: bytes | None = None
    given: str | None = None

    def open(self) -> int:
        """A descriptor of the file as it travels; Corrupt for what is no regular file any more."""
        return open_file(self.origin) if self.text is None else _opened_text(self.text)

    @contextmanager
    def opened(self) -> Iterator[int]:
        """The file, open, as it travels; Corrupt as above."""
        descriptor = self.open()
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def read(self, *, limit: int) -> bytes:
        """The content; Corrupt when it has more than `limit` bytes."""
        with self.opened() as descriptor:
            return read_open(descriptor, self.path, limit=limit)


def _opened_text(text: bytes) -> int:
    """A descriptor of a file without a name that holds a text."""
    if hasattr(os, "memfd_create") and not faked():
        with os.fdopen(os.memfd_create("lhub"), "wb") as file:
            file.write(text)
            file.seek(0)
            return os.dup(file.fileno())
    import tempfile  # 8 ms

    with tempfile.TemporaryFile() as file:
        file.write(text)
        file.seek(0)
        return os.dup(file.fileno())


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """What travels from a folder, sorted by path, and what the built-in list or the folder's own left out.

    `file` is the name of the one file that was pushed by itself; `folder` then is that file. `without` is what
    was left out in place of what a list says.
    """

    folder: str
    sources: tuple[Source, ...]
    ignored: tuple[str, ...]
    own_list: bool
    file: str | None = None
    without: frozenset[str] | None = None

    def source(self, path: str) -> Source | None:
        """The file of this path, if it travels."""
        return next((source for source in self.sources if source.path == path), None)

    def rewritten(self, texts: Mapping[str, bytes]) -> Packing:
        """The same with other content under these paths, new ones among them."""
        by_path = {source.path: source for source in self.sources}
        for path, text in texts.items():
            new = Source(path=path, origin="", size=0, executable=False, stamp=())
            by_path[path] = by_path.get(path, new)._replace(text=text, size=len(text))
        sources = sorted(by_path.values(), key=lambda source: os.fsencode(source.path))
        return replace(self, sources=tuple(sources))


def scan(folder: str, *, without: frozenset[str] | None = None, given: str | None = None) -> Packing:
    """What would travel from `folder`, which may be a file; raises NotFound, or UsageError with every fault of it.

    With `without` no list is asked: all travels but these names at the top. `given` is the SHA-256 of a file that may
    be kept as it is.
    """
    real = os.path.realpath(folder)
    try:
        status = os.stat(real)
    except OSError:
        raise NotFound(f"{folder} is not here", hint="the first argument is the folder or file to push") from None
    if not stat.S_ISDIR(status.st_mode):
        return _one_file(folder, real, status, given)
    walk = _walked(real, without)
    sources = sorted(walk.sources, key=lambda source: os.fsencode(source.path))
    walk.faults += [f"{clean(each.path, lines=False)} {why}" for each in sources if (why := _shut(each.origin))]
    walk.faults += _twins([source.path for source in sources])
    if any(source.path == "-" for source in sources):
        walk.faults.append("- is what sha256sum takes for its own input")
    if walk.faults:
        raise UsageError(
            listing(f"{folder} cannot be pushed as it is", walk.faults),
            hint="rename or remove them, or list them in the folder's .gitignore",
        )
    if not sources:
        raise UsageError(
            f"{folder} holds no file that would travel",
            hint="its ignore list leaves out all" if walk.ignored else "it is empty",
        )
    return Packing(
        folder=real,
        sources=tuple(sources),
        ignored=tuple(sorted(walk.ignored)),
        own_list=walk.own_list,
        without=without,
    )


def _walked(folder: str, without: frozenset[str] | None) -> _Walk:
    walk = _Walk(folder, without)
    walk.visit(folder, "")
    return walk


def _one_file(path: str, real: str, status: os.stat_result, given: str | None) -> Packing:
    """What travels of a file that is pushed by itself: it, under its own name, whatever it is a link to."""
    name = os.path.basename(path)
    faults = path_faults([name])
    if not faults and (why := _fault(status) or _shut(real)):
        faults.append(f"{clean(name, lines=False)} {why}")
    if faults:
        raise UsageError(listing(f"{path} cannot be pushed as it is", faults), hint="rename it, or look at its mode")
    source = _source(name, real, status)._replace(given=given)
    return Packing(folder=real, sources=(source,), ignored=(), own_list=True, file=name)


def _source(path: str, origin: str, status: os.stat_result) -> Source:
    executable = bool(status.st_mode & 0o100)
    return Source(path=path, origin=origin, size=status.st_size, executable=executable, stamp=stamp_of(status))


def changed(packing: Packing) -> list[str]:
    """The paths that are not what they were when the folder was scanned."""
    if any(source.given for source in packing.sources):  # it has gained a name by now, which is a change as well
        return []
    try:
        if packing.file is not None:
            now = {source.path: stamp_of(os.stat(packing.folder)) for source in packing.sources}
        else:
            walk = _walked(packing.folder, packing.without)
            if walk.faults:
                return [packing.folder]
            now = {source.path: source.stamp for source in walk.sources}
    except (LhubError, OSError):
        return [packing.folder]
    before = {source.path: source.stamp for source in packing.sources if source.stamp}
    return sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))


def stamp_of(status: os.stat_result) -> tuple[int, ...]:
    """What changes when a file does."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, changed_at(status), status.st_mode)


class _Walk:
    """One walk over a folder, which gathers every fault instead of stopping at the first."""

    def __init__(self, folder: str, without: frozenset[str] | None = None) -> None:
        self.folder, self.without = folder, without
        self.sources: list[Source] = []
        self.faults: list[str] = []
        self.ignored: list[str] = []
        self.own_list, self.list = list_of(folder) if without is None else (True, read_list(""))
        self.near = self.list
        self.above: list[str] = []
        self.linked, self.behind_link = 0, False

    def visit(self, folder: str, prefix: str) -> None:
        """Take the files of a folder that stands at `prefix` in the version."""
        if len(self.above) > DEEPEST:
            self.faults.append(f"{clean(prefix, lines=False)[:200]} lies in more than {DEEPEST} folders")
            return
        if folder in self.above:
            self.faults.append(f"{clean(prefix, lines=False)} is a link to a folder above itself")
            return
        self.above.append(folder)
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            self.faults.append(f"{clean(prefix, lines=False)} cannot be read: {error.strerror}")
            entries = []
        before, self.near = self.near, self.list.among(prefix, *(entry.name for entry in entries))
        for entry in entries:
            self.meet(entry, f"{prefix}/{entry.name}" if prefix else entry.name)
        self.near = before
        self.above.pop()

    def meet(self, entry: os.DirEntry[str], path: str) -> None:
        """Take what one name of a folder gives: nothing, a file, or a folder's files."""
        name, origin, linked = entry.name, entry.path, entry.is_symlink()
        if name.lower() in NEVER:
            return
        try:
            status = entry.stat(follow_symlinks=False)
            if linked:
                origin = os.path.realpath(origin)
                status = os.stat(origin) if self.inside(origin) else status
        except OSError as error:
            if not self.skips(path):
                self.faults.append(f"{clean(path, lines=False)} leads nowhere: {error.strerror}")
            return
        is_folder = stat.S_ISDIR(status.st_mode)
        if self.skips(f"{path}/" if is_folder else path):
            self.ignored.append(path)
        elif fault := _name_fault(name) or _fault(status):
            self.faults.append(f"{clean(path, lines=False)} {fault}")
        elif is_folder:
            before, self.behind_link = self.behind_link, self.behind_link or linked
            self.visit(origin, path)
            self.behind_link = before
        else:
            self.count_linked(path)
            self.sources.append(_source(path, origin, status))

    def count_linked(self, path: str) -> None:
        """Stop at links to folders that hold links to folders: thirty levels of two give a billion files."""
        self.linked += self.behind_link
        if self.linked > _LINKED:
            raise UsageError(
                f"links to folders give more than {_LINKED} files, {clean(path, lines=False)} the last of them",
                hint="leave the links out in the folder's .gitignore",
            )

    def skips(self, path: str) -> bool:
        """Whether the ignore list leaves a path out; a folder ends in a slash."""
        if self.without is not None:
            return path.rstrip("/") in self.without
        return self.near.has(path)

    def inside(self, real: str) -> bool:
        """Whether what a link names lies in the folder and travels by itself."""
        if real == self.folder:
            return True  # it is met as a link to a folder above itself
        if not real.startswith(self.folder + os.sep):
            return False
        return not any(part.lower() in NEVER for part in real[len(self.folder) + 1 :].split(os.sep))


def _fault(status: os.stat_result) -> str:
    """Why something cannot travel, whoever asks, or an empty text."""
    if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
        return ""
    return f"is {_KINDS.get(stat.S_IFMT(status.st_mode), 'a device')}"


_KINDS = {stat.S_IFLNK: "a link that leads out of the folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}


def _shut(origin: str) -> str:
    """Why a file that is there cannot be opened, or an empty text; one that went away is missed where it is read."""
    if os.access(origin, os.R_OK, effective_ids=_EFFECTIVE) or not os.path.lexists(origin):
        return ""
    return "may not be read by you"


_EFFECTIVE = os.access in os.supports_effective_ids


def path_faults(paths: list[str]) -> list[str]:
    """A sentence for each path that no push would have given a version: for what comes from elsewhere."""
    faults = [f"{clean(path, lines=False)[:200]} {fault}" for path in paths for fault in _part_faults(path)]
    return faults or _twins(paths)


def _part_faults(path: str) -> list[str]:
    if path == "-":
        return ["is what sha256sum takes for its own input"]
    if len(os.fsencode(path)) > _LONGEST_PATH or any(
        len(os.fsencode(part)) > _LONGEST_NAME for part in path.split("/")
    ):
        return ["is longer than file systems have it"]
    return [fault for part in path.split("/") if (fault := _name_fault(part))][:1]


def _name_fault(name: str) -> str:
    if name.isascii() and name.isprintable() and "git" not in name.lower():  # nearly all, in a tenth of the time
        return ""
    try:
        if os.fsencode(name).decode() != name:
            return "has a name that is not UTF-8 on disk"
    except UnicodeError:
        return "has a name that is not UTF-8"
    if any(unicodedata.category(character) == "Cc" for character in name):
        return "has a control character in its name"
    return "has a name that some systems take for .git" if _is_git(name) else ""


def _is_git(name: str) -> bool:
    """Whether HFS+ or NTFS would open `.git` by this name (git refuses the same, path.c and utf8.c)."""
    visible = "".join(c for c in name if unicodedata.category(c) != "Cf").lower()
    return visible.partition(":")[0].rstrip(" .") in (".git", "git~1")


def _twins(paths: list[str]) -> list[str]:
    """Names that some file systems cannot keep apart, of files and of the folders above them."""
    names = above = {*paths}
    while above := {name.rpartition("/")[0] for name in above} - {""}:
        names = names | above
    if len({_folded(name) for name in names}) == len(names):  # nearly always
        return []
    seen: dict[str, str] = {}
    faults = {}
    for path in paths:
        name = path
        while name and seen.get(key := _folded(name)) != name:  # of what was met, all above was met
            other = seen.setdefault(key, name)
            if other != name:
                faults[name] = (
                    f"{clean(name, lines=False)} and {clean(other, lines=False)} differ only by case or Unicode form"
                )
            name = name.rpartition("/")[0]
    return list(faults.values())


def _folded(name: str) -> str:
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
