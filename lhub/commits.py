"""The diary's commits, read: who did what and when, with GitPython's object library and without any git.

No config, variable or hook of anybody reaches a reader, no link or FIFO is opened, and each object must be what its
name says, so that no forged pack leads in circles.

>>> list(log(Resource("/nowhere/alice/X", "alice/X")))
[]
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from hashlib import sha1, sha256
from itertools import islice
from typing import Any

from lhub.diary import Entry, read_entry
from lhub.errors import Corrupt, LhubError
from lhub.manifest import SMALL
from lhub.opening import is_folder, listed, open_file, open_folder, read_small
from lhub.store import Resource, again
from lhub.ways import faked

HEX = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_LONGEST, _MESSAGE = 64 << 20, 256 << 10
"""Bytes of the largest object that is read, and of the largest commit: a line, the pusher's words, and his tags."""
_HEAD = 64
_REF = 256
_ALL = 256 << 20
"""Bytes of all commits together: more than any diary has."""
_Read = Callable[[str, bytes], bytes]
"""Reads an object by its name (hex) and kind; Corrupt when it is not there or not what its name says."""


def tip_of(resource: Resource) -> str | None:
    """The newest commit, from the ref as a file, loose or packed; None while there is none."""
    tip = _text(resource.folder.branch, limit=_REF).strip()
    if not HEX.fullmatch(tip):
        packed = _text(f"{resource.folder.history}/packed-refs", limit=SMALL).split("\n")
        tip = next((line.partition(" ")[0] for line in packed if line.endswith(" refs/heads/main")), "")
    return tip if HEX.fullmatch(tip) else None


def _text(path: str, *, limit: int) -> str:
    """A file that names commits, empty where there is none; one that is listed is there, though just being replaced."""
    folder, name = os.path.split(path)
    try:
        there = name in os.listdir(folder)
        return again(partial(read_small, path, limit=limit)).decode(errors="replace") if there else ""
    except (FileNotFoundError, NotADirectoryError):
        return ""


def log(resource: Resource) -> Iterator[Entry]:
    """All entries, newest first; Corrupt when the diary does not read."""
    if (tip := tip_of(resource)) is None:
        return
    for commit, text in _commits(resource, _reader(resource), tip):
        headers, _, message = text.decode(errors="replace").partition("\n\n")
        author = next((line for line in headers.split("\n") if line.startswith("author ")), "")
        found = re.fullmatch(r"author ([^<>]*) <([^<>]*)> (-?[0-9]+) [+-][0-9]+", author)
        name, address, when = found.groups() if found else ("unknown", "unknown", "0")
        yield read_entry(f"{commit}\n{name}\n{address}\n{when[:12]}\n{message}")


def told(resource: Resource, most: int | None = None) -> list[Entry]:
    """All entries, or the newest, newest first, for who asks about the past; LhubError where no diary can be kept."""
    if faked():
        raise LhubError(f"{resource.name}: {NOT_KEPT}", hint="on a real file system it is")
    return list(islice(log(resource), most))


NOT_KEPT = "no diary is kept here: git is a program of its own, which sees no fake file system"


def _commits(resource: Resource, read: _Read, tip: str | None) -> Iterator[tuple[str, bytes]]:
    """Each commit's name and text, from the tip on; Corrupt where one does not read, or all are more than any diary."""
    commit, left = tip, _ALL
    while commit:
        text = read(commit, b"commit")
        left -= len(text)
        if left < 0:
            raise _unreadable(resource, "it has more words than any")
        yield commit, text
        parent = re.search(rb"^parent ([0-9a-f]{40})$", text.partition(b"\n\n")[0], re.MULTILINE)
        commit = parent[1].decode() if parent else None


def _blobs(read: _Read, commit: bytes, seen: set[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file that a commit's text leads to and that was not met before."""
    tree = re.match(rb"tree ([0-9a-f]{40})\n", commit)
    trees = [tree[1].decode() if tree else ""]
    while trees:
        name = trees.pop()
        if name in seen:
            continue
        seen.add(name)
        for mode, below in _entries(read(name, b"tree")):
            if mode == b"40000":
                trees.append(below)
            elif below not in seen:
                seen.add(below)
                yield below, read(below, b"blob")


def is_readable(resource: Resource, tip: str) -> bool:
    """Whether a commit and all that it names can be read."""
    try:
        read = _reader(resource)
        for _ in _blobs(read, read(tip, b"commit"), set()):
            pass
    except Corrupt:
        return False
    return True


def fault(resource: Resource) -> str:
    """What is wrong with the diary's objects, every one of them; an empty text when all read and none is missing."""
    try:
        read, seen = _reader(resource), set[str]()
        for _, text in _commits(resource, read, tip_of(resource)):
            for _ in _blobs(read, text, seen):
                pass
    except Corrupt as error:
        return str(error)
    return ""


class Texts:
    """Every text that any commit still holds, by its SHA-256: a good copy of what was damaged elsewhere.

    The diary is walked once, when the first is asked for; what does not read is passed over.
    """

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self._found: dict[str, Callable[[], bytes]] | None = None

    def get(self, digest: str) -> bytes | None:
        """The text of a digest, None where no commit has it."""
        if self._found is None:
            self._found = {}
            with suppress(Corrupt):  # what is behind a commit that does not read has no good copy
                self._walk(self._found)
        text = self._found[digest]() if digest in self._found else None
        return text if text is not None and sha256(text).hexdigest() == digest else None

    def _walk(self, found: dict[str, Callable[[], bytes]]) -> None:
        read, seen = _reader(self.resource), set[str]()
        passing = partial(_read_or_nothing, read)
        for _, commit in _commits(self.resource, read, tip_of(self.resource)):
            for name, text in _blobs(passing, commit, seen):
                found[sha256(text).hexdigest()] = partial(passing, name, b"blob")


def _read_or_nothing(read: _Read, name: str, kind: bytes) -> bytes:
    """An object, an empty one for one that does not read: a tree without entries, a text that is what its digest is."""
    try:
        return read(name, kind)
    except Corrupt:
        return b""


def _entries(tree: bytes) -> Iterator[tuple[bytes, str]]:
    """Mode and name of each object in the text of a tree."""
    entry, at = re.compile(rb"([0-7]{5,6}) [^\0/]{1,255}\0(.{20})", re.DOTALL), 0
    while match := entry.match(tree, at):
        yield match[1], match[2].hex()
        at = match.end()


def _reader(resource: Resource) -> _Read:
    """A function that reads one object and sees that it is what its name says, so that nothing goes in circles."""
    from gitdb.db import LooseObjectDB, PackedDB  # GitPython's own; 40 ms, for who reads a diary

    see_regular(resource)
    packs, loose = PackedDB(f"{resource.folder.objects}/pack"), LooseObjectDB(resource.folder.objects)

    def stored(binary: bytes, kind: bytes) -> bytes:
        if packs.has_object(binary):
            entity = next(each for each in packs.entities() if each.index().sha_to_index(binary) is not None)
            return _unpacked(entity, binary, kind)
        stream = loose.stream(binary)
        return _read_all(stream) if stream.size <= _longest(kind) else b""

    def read(name: str, kind: bytes) -> bytes:
        binary = bytes.fromhex(name)
        try:
            try:
                data = stored(binary, kind)
            except Exception:  # a writer has just made one pack of several
                packs.update_cache(force=True)
                data = stored(binary, kind)
        except Exception as error:  # what a damaged or hostile pack makes a parser raise is not known
            raise _unreadable(resource, type(error).__name__) from None
        if sha1(b"%b %d\0%b" % (kind, len(data), data), usedforsecurity=False).hexdigest() != name:
            raise _unreadable(resource, f"{name[:12]} is not what its name says")
        return data

    return read


def _read_all(stream: Any) -> bytes:
    """A loose object; what the library gives at once may be less than there is."""
    pieces = []
    while piece := stream.read(1 << 20):
        pieces.append(bytes(piece))
    return b"".join(pieces)


def _unpacked(entity: Any, binary: bytes, kind: bytes) -> bytes:
    """One object out of a pack; what a chain of deltas would inflate on the way is bounded too."""
    from gitdb.fun import msb_size  # loaded by the caller
    from gitdb.stream import DeltaApplyReader

    longest, streams = _longest(kind), entity.collect_streams(binary)
    sizes = [stream.size for stream in streams]
    for stream in streams[:-1]:  # deltas: each tells the sizes of what it makes and of what it is made from
        head = stream.read(40)
        offset, source = msb_size(head)
        sizes += [source, msb_size(head, offset)[1]]
    if sum(sizes) > 2 * longest + len(sizes) * _HEAD or max(sizes) > longest:
        raise ValueError("too large")
    if len(streams) == 1:
        return bytes(streams[0].read(longest + 1))
    return bytes(DeltaApplyReader.new(entity.collect_streams(binary)).read(longest + 1))


def _longest(kind: bytes) -> int:
    """Bytes of the largest object of a kind that is read."""
    return _MESSAGE if kind == b"commit" else _LONGEST


def see_regular(resource: Resource) -> None:
    """Refuse objects that are no regular files: opening a FIFO among them would wait for ever."""
    objects = resource.folder.objects
    if os.path.lexists(objects) and not is_folder(objects):
        raise _unreadable(resource, "objects is not a folder")
    if os.path.lexists(f"{objects}/info/alternates"):
        raise _unreadable(resource, "it borrows objects from elsewhere, which lhub never does")
    for folder in listed(objects):
        if not folder.is_dir(follow_symlinks=False):
            raise _unreadable(resource, f"{folder.name} is not a folder")
        for entry in listed(folder.path):
            if not entry.is_file(follow_symlinks=False):
                raise _unreadable(resource, f"{entry.name} is not a regular file")
    if is_folder(f"{objects}/pack"):
        _see_free(resource, f"{objects}/pack")


def _see_free(resource: Resource, packs: str) -> None:
    """Refuse a pack that its owner holds by a lease: a library that opens it would wait for 45 seconds."""
    folder = open_folder(packs)
    try:
        for name in os.listdir(packs):
            with suppress(FileNotFoundError):  # what is gone is not read
                os.close(open_file(name, beneath=folder))
    except BlockingIOError:
        raise _unreadable(resource, f"{name} is held by its owner") from None
    finally:
        os.close(folder)


def _unreadable(resource: Resource, why: str) -> Corrupt:
    return Corrupt(
        f"the diary of {resource.name} does not read: {why}",
        hint=f"lhub verify {resource.name} --repair begins it anew from the tags; the versions are not concerned",
    )
