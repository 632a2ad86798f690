"""Diff: what changed between two versions, or between a version and a folder; by file, by line and by meaning.

A side is whatever a reference means, or a folder as a push would see it. What lhub understands is told in its own
terms: keys of `config.yml`, packages of `requirements.txt`, what a manifest knows of its kind (an array's length).

>>> changes({"a": "1", "b": "2"}, {"b": "3", "c": ""})
['a: 1 removed', 'b: 2 -> 3', 'c added']
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, pairwise
from typing import Any

import lhub.kinds.config as config
from lhub.errors import Corrupt, LhubError, NotFound, UsageError
from lhub.folder import Packing, scan
from lhub.kinds import recognise
from lhub.kinds.requirements import packages
from lhub.names import Ref, is_tag, is_version_prefix, parse_ref
from lhub.opening import read_open
from lhub.session import Session, first_of
from lhub.staging import hashed
from lhub.store import Version

_TEXT = 1 << 20
"""Bytes up to which a file is compared line by line."""
_WORK = 4_000_000
"""Pairs of lines that difflib may be given: beyond, a text made for it takes minutes."""
_AROUND = 3
"""Lines that are shown around a change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What changed from `left` to `right` (as they were asked for).

    `added`, `removed`, `changed` are paths; `meaning` are sentences about what lhub understands; `patch` is the
    unified diff of texts, a line an item without its newline.
    """

    left: str
    right: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    meaning: tuple[str, ...] = ()
    patch: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing changed."""
        return not (self.added or self.removed or self.changed)

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub diff --json` prints it."""
        return {
            "added": list(self.added),
            "removed": list(self.removed),
            "changed": list(self.changed),
            "meaning": list(self.meaning),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One of the two: its files (path to digest and execute bit), and how to read one of them."""

    name: str
    kind: str | None
    about: Mapping[str, Any]
    files: Mapping[str, tuple[str, bool]]
    read: Callable[[str], bytes | None]


def compare(
    sessions: Sequence[Session], left: str, right: str, *, patch: bool = True, most: int | None = None
) -> Difference:
    """The difference of two sides, each a reference or a folder; UsageError for two resources of different kinds."""
    with ExitStack() as stack:
        old, new = (_side(sessions, text, other, stack) for text, other in ((left, right), (right, left)))
        if None not in (old.kind, new.kind) and old.kind != new.kind:
            raise UsageError(
                f"{old.name} holds {old.kind}, {new.name} holds {new.kind}: they cannot be compared",
                hint="compare two of one kind",
            )
        both = sorted(old.files.keys() & new.files.keys(), key=str.encode)
        changed = tuple(path for path in both if old.files[path] != new.files[path])
        return Difference(
            left=old.name,
            right=new.name,
            added=_sorted(new.files.keys() - old.files.keys()),
            removed=_sorted(old.files.keys() - new.files.keys()),
            changed=changed,
            meaning=tuple(_meaning(old, new)),
            patch=tuple(islice(_patch(old, new), most)) if patch else (),
        )


def _sorted(paths: set[str]) -> tuple[str, ...]:
    return tuple(sorted(paths, key=str.encode))


# the sides


def _side(sessions: Sequence[Session], text: str, other: str, stack: ExitStack) -> _Side:
    """What a text means: a folder if it looks like one or only that is here, else a reference."""
    if text.startswith((".", "/")) or text.endswith("/"):
        return _folder(text, text)
    missing: LhubError | None = None
    try:
        for ref in _meant(text, other):
            try:
                return first_of(sessions, ref, partial(_version, ref=ref, stack=stack))
            except NotFound as error:
                missing = missing or error
    except UsageError as error:  # no reference: what has three parts may be a folder
        missing = missing or error
    if os.path.isdir(text):
        return _folder(text, text)
    raise missing or NotFound(f"{text} is not here")


def _meant(text: str, other: str) -> Iterator[Ref]:
    """The references that a text may mean, the likeliest first; a bare tag or version is one of the other side's."""
    base = _base(other)
    if base is not None and text.startswith((":", "@")):
        asked = parse_ref(f"X{text}")
        yield replace(base, tag=asked.tag, version=asked.version, at=asked.at)
        return
    if base is not None and not set(text) & set("/:@"):
        if is_tag(text):
            yield replace(base, tag=text, version=None, at=None)
        if is_version_prefix(text.lower()):
            yield replace(base, tag=None, version=text.lower(), at=None)
    yield parse_ref(text)


def _base(text: str) -> Ref | None:
    """The reference of the other side, if it is a whole one: a bare word is a tag, or a folder."""
    if text.startswith((".", "/", ":", "@")) or not set(text) & set("/:@"):
        return None
    try:
        return parse_ref(text)
    except UsageError:
        return None


def _version(session: Session, ref: Ref, stack: ExitStack) -> _Side:
    version = stack.enter_context(session.reading(ref))
    manifest, executable = version.manifest(), frozenset(version.manifest().executable)
    files = {path: (digest, path in executable) for path, digest in version.sums().items()}
    read = partial(_read_version, version)
    return _Side(name=f"{ref} ({version.id[:12]})", kind=manifest.kind, about=manifest.about, files=files, read=read)


def _read_version(version: Version, path: str) -> bytes | None:
    with version.file(path) as descriptor:
        return _read(descriptor, path)


def _folder(path: str, shown: str) -> _Side:
    """A folder, as a push would see it; its kind is whatever the other side's is."""
    try:
        packing = _as_pushed(scan(path))
    except NotFound:
        raise NotFound(f"{path} is not here", hint="a side is a reference or a folder") from None
    files = {file.path: (file.digest, file.executable) for file in hashed(packing)}
    read = partial(_read_source, packing)
    return _Side(name=shown, kind=None, about={}, files=files, read=read)


def _as_pushed(packing: Packing) -> Packing:
    """What would travel, with what an Executor gains on the way; one that could not be pushed is compared as it is."""
    try:
        return recognise(packing).packing
    except UsageError:
        return packing


def _read_source(packing: Packing, path: str) -> bytes | None:
    source = packing.source(path)
    if source is None:
        return None
    with source.opened() as descriptor:
        return _read(descriptor, path)


def _read(descriptor: int, path: str) -> bytes | None:
    """The content of a file that is short enough to be compared line by line."""
    return None if os.fstat(descriptor).st_size > _TEXT else read_open(descriptor, path, limit=_TEXT)


# by meaning


def _meaning(old: _Side, new: _Side) -> Iterator[str]:
    for path, read in (("config.yml", config.settings), ("requirements.txt", _requirements)):
        if old.files.get(path) != new.files.get(path):
            try:
                texts = [side.read(path) if path in side.files else b"" for side in (old, new)]
                if texts[0] is None or texts[1] is None:
                    continue  # too large to be read
                before, after = read(texts[0]), read(texts[1])
            except (UsageError, Corrupt, UnicodeDecodeError):
                continue  # the lines tell it
            yield from (f"{path}: {change}" for change in changes(before, after))
    if None not in (old.kind, new.kind) and old.kind != "executor":
        yield from (f"manifest: {change}" for change in changes(_flat(old.about), _flat(new.about)))


def _requirements(text: bytes) -> dict[str, str]:
    return packages(text.decode())


def _flat(about: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Every value of a document by its dotted key."""
    found: dict[str, str] = {}
    for key, value in about.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        elif _are_named(value):
            for each in value:
                told = {word: part for word, part in each.items() if word != "name"}
                found[f"{prefix}{key}.{each['name']}"] = " ".join(map(str, told.values()))
        else:
            found[f"{prefix}{key}"] = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return found


def _are_named(value: Any) -> bool:
    """Whether it is a list of mappings, each with a name: the fields of an array, the arguments of a constructor."""
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) and "name" in each for each in value)


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """One sentence for each key that went, came or changed."""
    told = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old != new:
            if new is None:
                told.append(f"{key}{f': {old}' if old else ''} removed")
            elif old is None:
                told.append(f"{key}{f': {new}' if new else ''} added")
            else:
                told.append(f"{key}: {old or 'any'} -> {new or 'any'}")
    return told


# by line


def _patch(old: _Side, new: _Side) -> Iterator[str]:
    for path in _sorted(old.files.keys() | new.files.keys()):
        before, after = old.files.get(path), new.files.get(path)
        if before == after:
            continue
        if before and after and before[1] != after[1]:
            yield f"{path}: {'not ' if before[1] else ''}executable now"
        if not (before and after) or before[0] != after[0]:
            yield from _lines(path, *(side.read(path) if path in side.files else b"" for side in (old, new)))


def _lines(path: str, before: bytes | None, after: bytes | None) -> Iterator[str]:
    """The unified diff of one file; one line for a file that is large, no text, or too much alike everywhere."""
    old, new = _text(before), _text(after)
    if old is None or new is None:
        yield f"binary or large file {path} differs"
    elif old == new:
        yield from [f"{path} differs in the newline at its end only"] if before and after else ()
    elif (blocks := _alike(old, new)) is None:
        yield f"{path} differs in too many lines to show"
    else:
        yield from (f"--- a/{path}", f"+++ b/{path}", *_hunks(old, new, blocks))


def _text(data: bytes | None) -> list[str] | None:
    if data is None or b"\0" in data:
        return None
    try:
        return data.decode().removesuffix("\n").split("\n") if data else []
    except UnicodeDecodeError:
        return None


_Block = tuple[int, int, int]
"""Where a run of equal lines begins in the old and in the new, and how many they are."""


def _alike(old: list[str], new: list[str]) -> list[_Block] | None:
    """Runs of equal lines, in order; None where to find them would take too long.

    Lines that stand once in both come first, difflib looks between them: alone it would take minutes for a change in
    every thousandth of 150,000 lines.
    """
    from difflib import SequenceMatcher  # 5 ms

    anchors = [(-1, -1), *_anchors(old, new), (len(old), len(new))]
    blocks: list[_Block] = []
    left = _WORK
    for (top, left_top), (end, left_end) in pairwise(anchors):
        i, j, i_end, j_end = top + 1, left_top + 1, end, left_end
        head = i
        while i < i_end and j < j_end and old[i] == new[j]:
            i, j = i + 1, j + 1
        blocks.append((head, j - (i - head), i - head))
        while i < i_end and j < j_end and old[i_end - 1] == new[j_end - 1]:
            i_end, j_end = i_end - 1, j_end - 1
        before, after = old[i:i_end], new[j:j_end]
        if not set(before).isdisjoint(after):
            left -= len(before) * len(after)
            if left < 0:
                return None
            matcher = SequenceMatcher(None, before, after, autojunk=False)
            blocks += [(i + a, j + b, size) for a, b, size in matcher.get_matching_blocks() if size]
        blocks.append((i_end, j_end, end - i_end))
        if end < len(old):
            blocks.append((end, left_end, 1))
    return [block for block in blocks if block[2]]


def _anchors(old: list[str], new: list[str]) -> list[tuple[int, int]]:
    """The longest run of lines that stand once in both, in the same order (patience)."""
    once = Counter(old), Counter(new)
    places = {line: index for index, line in enumerate(new) if once[1][line] == 1}
    pairs = [(index, places[line]) for index, line in enumerate(old) if once[0][line] == 1 and line in places]
    tops: list[int] = []
    piles: list[tuple[int, int, int]] = []
    last: list[int] = []
    for number, (index, place) in enumerate(pairs):
        pile = bisect_left(tops, place)
        piles.append((index, place, last[pile - 1] if pile else -1))
        tops[pile : pile + 1] = [place]
        last[pile : pile + 1] = [number]
    found = []
    number = last[-1] if last else -1
    while number >= 0:
        index, place, number = piles[number]
        found.append((index, place))
    return found[::-1]


def _hunks(old: list[str], new: list[str], blocks: list[_Block]) -> Iterator[str]:
    """The changes with three lines around them, as `diff -u` has them."""
    edits = []
    i = j = 0
    for a, b, size in [*blocks, (len(old), len(new), 0)]:
        if i < a or j < b:
            edits.append((i, a, j, b))
        i, j = a + size, b + size
    groups: list[list[tuple[int, int, int, int]]] = []
    for edit in edits:
        if groups and edit[0] - groups[-1][-1][1] <= 2 * _AROUND:
            groups[-1].append(edit)
        else:
            groups.append([edit])
    for group in groups:
        around = min(_AROUND, group[0][0])
        start, begin = group[0][0] - around, group[0][2] - around
        stop = min(group[-1][1] + _AROUND, len(old))
        finish = group[-1][3] + stop - group[-1][1]
        yield f"@@ -{_range(start, stop)} +{_range(begin, finish)} @@"
        at = start
        for i, i_end, j, j_end in group:
            yield from (f" {line}" for line in old[at:i])
            yield from (f"-{line}" for line in old[i:i_end])
            yield from (f"+{line}" for line in new[j:j_end])
            at = i_end
        yield from (f" {line}" for line in old[at:stop])


def _range(start: int, stop: int) -> str:
    return f"{start + 1}" if stop - start == 1 else f"{start + (stop > start)},{stop - start}"
