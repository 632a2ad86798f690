"""Mending a resource: bad blobs into quarantine, good copies into their place, damaged versions staged again.

A good copy is sought among the resource's own blobs and versions, in its diary, and in other registries that are
named; it counts only if its SHA-256 says so. A version is not mended in place: it is staged and published as by a push,
and the damaged folder goes to the trash.

>>> Sources([]).path("0" * 64) is None
True
"""

from __future__ import annotations

import os
import stat
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial

from lhub.change import Change
from lhub.commits import Texts, log
from lhub.diary import Entry, Recorded, missing
from lhub.errors import Corrupt, LhubError
from lhub.identity import account_of
from lhub.layout import MANIFEST, PAYLOAD, SUMS, is_version, trashed
from lhub.manifest import HUGE, LARGE, read_manifest, resource_text
from lhub.opening import digest_of, digest_text, listed, read_small
from lhub.staging import Staged, known, opened_file, staging
from lhub.store import Resource
from lhub.tree import File, read_sums


class Sources:
    """Where good copies may lie: resources, in the order in which they are asked."""

    def __init__(self, resources: list[Resource]) -> None:
        self.resources = resources
        self._payloads: dict[str, list[str]] | None = None

    def path(self, digest: str) -> str | None:
        """A file with just this content."""
        blobs = (resource.folder.blob(digest) for resource in self.resources)
        aside = (entry.path for each in self.resources for entry in listed(each.folder.damaged) if digest in entry.name)
        places = (*blobs, *self._versions().get(digest, ()), *aside)
        return next((path for path in places if is_good(path, digest)), None)

    def _versions(self) -> dict[str, list[str]]:
        """Every file of every version by the digest that its version gives it."""
        if self._payloads is None:
            self._payloads = {}
            for resource in self.resources:
                for name in _names(resource):
                    folder = resource.folder.version(name)
                    with suppress(LhubError, OSError, UnicodeError):
                        for path, digest in read_sums(read_small(folder.sums, limit=HUGE).decode()).items():
                            self._payloads.setdefault(digest, []).append(folder.payload(path))
        return self._payloads

    def text(self, version: str, name: str, digest: str) -> bytes | None:
        """A document of a version, if one of the resources has it whole."""
        for resource in self.resources:
            for place in _names(resource):
                if version in (place, trashed(place)):
                    with suppress(LhubError, OSError):
                        data = read_small(f"{resource.folder.version(place).path}/{name}", limit=HUGE)
                        if digest_text(data) == digest:
                            return data
        return None


def _names(resource: Resource) -> list[str]:
    try:
        return [name for name in os.listdir(resource.folder.versions) if is_version(trashed(name) or name)]
    except OSError:
        return []


def is_good(path: str, digest: str) -> bool:
    """Whether a regular file has just this content."""
    try:
        with opened_file(path) as descriptor:
            return digest_of(descriptor)[0] == digest
    except (OSError, Corrupt):
        return False


class Repair:
    """One resource that is being mended, under its lock."""

    def __init__(self, locked: Change, others: list[Resource], unique: Iterable[str]) -> None:
        self.locked, self.pen, self.resource = locked, locked.pen, locked.resource
        self.sources, self.texts = Sources([self.resource, *others]), Texts(self.resource)
        self.unique = iter(unique)
        self.spare = f"{locked.scratch}.file"

    def mend(self, versions: Iterable[str], blobs: Iterable[str]) -> None:
        """Mend these versions and blobs as far as good copies are found."""
        for version in dict.fromkeys(versions):
            with suppress(LhubError, UnicodeError):  # of a newer format, or with documents that no push wrote
                self._version(version)
        for digest in dict.fromkeys(blobs):
            self._blob(digest)

    def mend_kind(self) -> None:
        """Write resource.yaml anew, where the versions tell what it said."""
        if kind := self.resource.told_kind():
            scratch = self.spare
            text = resource_text(kind).encode()
            self.pen.replace(self.resource.folder.file, text, self.locked.modes.file, scratch=scratch)
            self.pen.sync_folder(self.resource.folder.path)

    def _version(self, version: str) -> None:
        manifest_text = self._document(version, MANIFEST, version)
        if manifest_text is None or len(manifest_text) > LARGE:
            return
        manifest = read_manifest(manifest_text, f"manifest.yaml of {self.resource.name}@{version[:12]}")
        sums_text = self._document(version, SUMS, manifest.sums)
        if sums_text is None:
            return
        sums = read_sums(sums_text.decode())
        good = [self._blob(digest) for digest in dict.fromkeys(sums.values())]
        if not all(good):
            return  # each that can be had is in its place now; the rest is told
        executable = frozenset(manifest.executable)
        files = [
            File(path=path, digest=digest, size=self._size(digest), executable=path in executable)
            for path, digest in sums.items()
        ]
        self._publish(known(manifest, manifest_text, sums_text, files))

    def _document(self, version: str, name: str, digest: str) -> bytes | None:
        return self.sources.text(version, name, digest) or self.texts.get(digest)

    def _size(self, digest: str) -> int:
        return os.lstat(self.resource.folder.blob(digest)).st_size

    def _publish(self, wanted: Staged) -> None:
        """Stage the version again, from blobs that are all good, and put it in its place."""
        note = self.locked.writer.note
        with staging(self.pen, self.resource, self.locked.modes, next(self.unique), note) as stage:
            stage.refusal, stage.reads = _damaged, sys.maxsize
            for file in wanted.tree.files:
                stage.receive(file, partial(opened_file, self.resource.folder.blob(file.digest)))
            staged = stage.finish(wanted)
            stage.date(_made(self.sources.resources, wanted.id))
            self.locked.publish(staged, reads=sys.maxsize)

    # blobs

    def _blob(self, digest: str) -> bool:
        """Put a good copy in a blob's place, the bad one into quarantine; False when there is no good copy."""
        blob = self.resource.folder.blob(digest)
        if is_good(blob, digest):
            if stat.S_IMODE(os.lstat(blob).st_mode) != PAYLOAD:  # a version's file is a link to it
                self.pen.set_mode(blob, PAYLOAD)
            return True
        path = self.sources.path(digest)
        text = None if path else self.texts.get(digest)
        self._quarantine(blob, digest)
        if path is None and text is None:
            return False
        parents = (os.path.dirname(os.path.dirname(blob)), os.path.dirname(blob))
        self.pen.make_folders([*self.resource.folder.stores, *parents], self.locked.modes.inner)
        self._write(path, text, digest)
        self.pen.rename(self.spare, blob)
        self.pen.sync_folder(os.path.dirname(blob))
        return True

    def _write(self, path: str | None, text: bytes | None, digest: str) -> None:
        if path is None:
            self.pen.write_new(self.spare, text or b"", PAYLOAD)
            return
        with opened_file(path) as descriptor:
            copied, _ = self.pen.copy_in(descriptor, self.spare, PAYLOAD)
        if copied != digest:
            raise Corrupt(f"{path} changed while it was copied")
        self.pen.sync_file(self.spare)

    def _quarantine(self, blob: str, digest: str) -> None:
        """Take a bad blob out of the way, so that no push believes it; a collection removes it after its grace."""
        if not os.path.lexists(blob):
            return
        folder = self.resource.folder
        self.pen.make_folders([folder.damaged], self.locked.modes.inner)
        self.pen.rename(blob, folder.quarantine(digest, self.locked.writer.clock()))
        self.pen.sync_folder(folder.damaged)


def _made(resources: list[Resource], version: str) -> float | None:
    """When a version was made: the mtime of its folder, here or elsewhere, by which the newest is told."""
    folders = (resource.lies(version) for resource in resources if resource.status())
    return next((os.lstat(folder.path).st_mtime for folder in folders if folder), None)


def _damaged(path: str) -> LhubError:
    return Corrupt(f"{path} changed while it was mended")


def entries_of(locked: Change, *, told: Sequence[Entry] = ()) -> list[Entry]:
    """What versions and links alone tell of a resource, oldest first, but for what is `told` already; then that."""
    resource, now = locked.resource, locked.writer.clock()
    named = missing(Recorded(), locked.links.tags, locked.visibility(), now=now, account=account_of) if not told else []
    known = {entry.version for entry in (*named, *told)}
    standing = [name for name in _names(resource) if is_version(name) and name not in known]
    found = [*named, *(_untagged(resource, version) for version in standing)]
    return [*sorted(found, key=lambda entry: entry.when), *told]


def readable(resource: Resource) -> list[Entry]:
    """The entries of a diary from the newest back to the first that does not read, oldest first."""
    entries = deque[Entry]()
    with suppress(Corrupt):
        for entry in log(resource):
            entries.appendleft(entry)
    return list(entries)


def _untagged(resource: Resource, version: str) -> Entry:
    status = os.lstat(resource.folder.version(version).path)
    who = account_of(status.st_uid)
    return Entry(action="push", name=who, address=who, when=status.st_mtime, version=version, late=True)
