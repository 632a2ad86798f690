"""Diff: what changed between two versions, or between a version and a folder; by file, by line and by meaning.

A side is whatever a reference means, or a folder as a push would see it. What lhub understands is told in its own
terms: keys of `config.yml`, packages of `requirements.txt`, what a manifest knows of its kind (an array's length).

>>> changes({"a": "1", "b": "2"}, {"b": "3", "c": ""})
['a: 1 removed', 'b: 2 -> 3', 'c added']
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from lhub.disk import read_open
from lhub.errors import Corrupt, NotFound, UsageError
from lhub.folder import Packing, scan
from lhub.kinds import executor, recognise
from lhub.kinds.requirements import packages
from lhub.names import Ref, is_tag, is_version_prefix, parse_ref
from lhub.session import Session, first_of
from lhub.staging import hashed, opened_file
from lhub.store import Version

_TEXT = 1 << 20
"""Bytes up to which a file is compared line by line."""
_WORK = 5_000_000
"""Pairs of equal lines up to which two texts are compared: beyond, a text made for it takes minutes."""


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


def compare(sessions: Sequence[Session], left: str, right: str, *, patch: bool = True) -> Difference:
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
            patch=tuple(_patch(old, new)) if patch else (),
        )


def _sorted(paths: set[str]) -> tuple[str, ...]:
    return tuple(sorted(paths, key=str.encode))


# the sides


def _side(sessions: Sequence[Session], text: str, other: str, stack: ExitStack) -> _Side:
    """What a text means: a folder if it looks like one or only that is here, else a reference."""
    if text.startswith((".", "/")) or text.endswith("/"):
        return _folder(text, text)
    bare = not set(text) & set("/:@")
    if bare and os.path.isdir(text):
        return _folder(text, text)
    missing: NotFound | None = None
    for ref in _meant(text, other, bare=bare):
        try:
            return first_of(sessions, ref, lambda session, ref=ref: _version(session, ref, stack))  # type: ignore[misc]
        except NotFound as error:
            missing = missing or error
    if os.path.isdir(text):
        return _folder(text, text)
    raise missing or NotFound(f"{text} is not here")


def _meant(text: str, other: str, *, bare: bool) -> Iterator[Ref]:
    """The references that a text may mean, the likeliest first; a bare tag or version is one of the other side's."""
    base = _base(other)
    if base is not None and text.startswith((":", "@")):
        yield parse_ref(f"{base.name}{text}")
        return
    if base is not None and bare:
        if is_tag(text):
            yield Ref(resource=base.resource, namespace=base.namespace, tag=text)
        if is_version_prefix(text.lower()):
            yield Ref(resource=base.resource, namespace=base.namespace, version=text.lower())
    yield parse_ref(text)


def _base(text: str) -> Ref | None:
    """The reference of the other side, if it is a whole one."""
    if text.startswith((".", "/", ":", "@")) or "/" not in text:
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
    packing = scan(path)
    files = {file.path: (file.digest, file.executable) for file in hashed(packing)}
    read = partial(_read_source, packing)
    return _Side(name=shown, kind=None, about=recognise(packing).about, files=files, read=read)


def _read_source(packing: Packing, path: str) -> bytes | None:
    source = packing.source(path)
    if source is None:
        return None
    with opened_file(source.origin) as descriptor:
        return _read(descriptor, path)


def _read(descriptor: int, path: str) -> bytes | None:
    """The content of a file that is short enough to be compared line by line."""
    return None if os.fstat(descriptor).st_size > _TEXT else read_open(descriptor, path, limit=_TEXT)


# by meaning


def _meaning(old: _Side, new: _Side) -> Iterator[str]:
    for path, read in (("config.yml", executor.settings), ("requirements.txt", _requirements)):
        if old.files.get(path) != new.files.get(path):
            try:
                before, after = (read(side.read(path) or b"" if path in side.files else b"") for side in (old, new))
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
        else:
            found[f"{prefix}{key}"] = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return found


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
    from difflib import unified_diff  # 5 ms

    texts = [_text(before), _text(after)]
    if texts[0] is None or texts[1] is None:
        yield f"binary or large file {path} differs"
    elif _work(texts[0], texts[1]) > _WORK:
        yield f"{path} differs in too many lines to show"
    else:
        found = list(unified_diff(texts[0], texts[1], f"a/{path}", f"b/{path}", lineterm=""))
        yield from found or ([f"{path} differs in the newline at its end only"] if before and after else ())


def _text(data: bytes | None) -> list[str] | None:
    if data is None or b"\0" in data:
        return None
    try:
        return data.decode().removesuffix("\n").split("\n") if data else []
    except UnicodeDecodeError:
        return None


def _work(before: list[str], after: list[str]) -> int:
    """How many pairs of equal lines difflib would look at; lines that are everywhere it leaves out itself."""
    counts = Counter(after)
    popular = len(after) // 100 + 1 if len(after) >= 200 else len(after)
    return sum(counts[line] for line in before if counts[line] <= popular)
