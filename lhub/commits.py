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
from hashlib import sha1, sha256
from typing import Any

from lhub.diary import Entry, read_entry
from lhub.disk import is_folder, listed, read_small
from lhub.errors import Corrupt
from lhub.manifest import LARGE
from lhub.store import Resource

HEX = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_LONGEST, _MESSAGE = 64 << 20, 256 << 10
"""Bytes of the largest object that is read, and of the largest commit: a line, the pusher's words, and his tags."""
_HEAD = 64
_ALL = 256 << 20
"""Bytes of all commits together: more than any diary has."""


def tip_of(resource: Resource) -> str | None:
    """The newest commit, from the ref as a file, loose or packed; None while there is none."""
    for path, pattern in (
        (resource.folder.branch, r"([0-9a-f]+)\s*\Z"),
        (f"{resource.folder.history}/packed-refs", r"(?m)^([0-9a-f]+) refs/heads/main$"),
    ):
        try:
            text = read_small(path, limit=LARGE).decode(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            continue
        match = re.search(pattern, text)
        tip = str(match[1]) if match else ""
        if HEX.fullmatch(tip):
            return tip
    return None


def log(resource: Resource) -> Iterator[Entry]:
    """All entries, newest first; Corrupt when the diary does not read."""
    commit = tip_of(resource)
    if commit is None:
        return
    read, left = _reader(resource), _ALL
    while commit:
        data = read(commit, b"commit")
        left -= len(data)
        if left < 0:
            raise _unreadable(resource, "it has more words than any")
        headers, _, message = data.decode(errors="replace").partition("\n\n")
        found = re.search(r"^author (.*) <(.*)> (-?[0-9]+) [+-][0-9]+$", headers, re.MULTILINE)
        name, address, when = found.groups() if found else ("unknown", "unknown", "0")
        yield read_entry(f"{commit}\n{name}\n{address}\n{when[:12]}\n{message}")
        parent = re.search(r"^parent ([0-9a-f]{40})$", headers, re.MULTILINE)
        commit = parent[1] if parent else None


def is_readable(resource: Resource, tip: str) -> bool:
    """Whether a commit and all that it names can be read."""
    try:
        read = _reader(resource)
        tree = re.match(rb"tree ([0-9a-f]{40})\n", read(tip, b"commit"))
        if tree:
            _read_below(read, tree[1].decode(), set())
    except Corrupt:
        return False
    return True


def _entries(tree: bytes) -> Iterator[tuple[bytes, str]]:
    """Mode and name of each object in the text of a tree."""
    for match in re.finditer(rb"([0-7]+) [^\0]+\0(.{20})", tree, re.DOTALL):
        yield match[1], match[2].hex()


def _reader(resource: Resource) -> Callable[[str, bytes], bytes]:
    """A function that reads one object and sees that it is what its name says, so that nothing goes in circles."""
    from gitdb.db import LooseObjectDB, PackedDB  # GitPython's own; 40 ms, for who reads a diary

    see_regular(resource)
    packs, loose = PackedDB(f"{resource.folder.objects}/pack"), LooseObjectDB(resource.folder.objects)

    def read(name: str, kind: bytes) -> bytes:
        binary = bytes.fromhex(name)
        try:
            if packs.has_object(binary):
                entity = next(each for each in packs.entities() if each.index().sha_to_index(binary) is not None)
                data = _unpacked(entity, binary, kind)
            else:
                stream = loose.stream(binary)
                data = bytes(stream.read(_longest(kind) + 1)) if stream.size <= _longest(kind) else b""
        except Exception as error:  # what a damaged or hostile pack makes a parser raise is not known
            raise _unreadable(resource, type(error).__name__) from None
        if sha1(b"%b %d\0%b" % (kind, len(data), data), usedforsecurity=False).hexdigest() != name:
            raise _unreadable(resource, f"{name[:12]} is not what its name says")
        return data

    return read


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
    for folder in listed(objects):
        if not folder.is_dir(follow_symlinks=False):
            raise _unreadable(resource, f"{folder.name} is not a folder")
        for entry in listed(folder.path):
            if not entry.is_file(follow_symlinks=False):
                raise _unreadable(resource, f"{entry.name} is not a regular file")


def _unreadable(resource: Resource, why: str) -> Corrupt:
    return Corrupt(
        f"the diary of {resource.name} does not read: {why}",
        hint=f"lhub verify {resource.name} --repair begins it anew from the tags; the versions are not concerned",
    )


def fault(resource: Resource) -> str:
    """What is wrong with the diary's objects, every one of them; an empty text when all read and none is missing."""
    try:
        read, commit = _reader(resource), tip_of(resource)
        seen: set[str] = set()
        while commit:
            text = read(commit, b"commit")
            tree = re.match(rb"tree ([0-9a-f]{40})\n", text)
            _read_below(read, tree[1].decode() if tree else "", seen)
            parent = re.search(rb"^parent ([0-9a-f]{40})$", text.partition(b"\n\n")[0], re.MULTILINE)
            commit = parent[1].decode() if parent else None
    except Corrupt as error:
        return str(error)
    return ""


def _read_below(read: Callable[[str, bytes], bytes], tree: str, seen: set[str]) -> None:
    """Read everything below a tree that was not read before."""
    trees = [tree]
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
                read(below, b"blob")


def find_texts(resource: Resource, wanted: set[str]) -> dict[str, bytes]:
    """Texts by their SHA-256, as far as any commit still holds them: a good copy of what was damaged elsewhere."""
    found: dict[str, bytes] = {}
    seen: set[str] = set()
    with suppress(Corrupt):  # what does not read has no good copy
        read, commit = _reader(resource), tip_of(resource)
        while commit and wanted - found.keys():
            text = read(commit, b"commit")
            tree = re.match(rb"tree ([0-9a-f]{40})\n", text)
            for data in _blobs(read, tree[1].decode() if tree else "", seen):
                if (digest := sha256(data).hexdigest()) in wanted:
                    found[digest] = data
            parent = re.search(rb"^parent ([0-9a-f]{40})$", text.partition(b"\n\n")[0], re.MULTILINE)
            commit = parent[1].decode() if parent else None
    return found


def _blobs(read: Callable[[str, bytes], bytes], tree: str, seen: set[str]) -> Iterator[bytes]:
    """Every blob below a tree that was not met before; one that does not read is passed over."""
    trees = [tree]
    while trees:
        name = trees.pop()
        if name in seen:
            continue
        seen.add(name)
        with suppress(Corrupt):
            for mode, below in _entries(read(name, b"tree")):
                if mode == b"40000":
                    trees.append(below)
                elif below not in seen:
                    seen.add(below)
                    with suppress(Corrupt):
                        yield read(below, b"blob")
