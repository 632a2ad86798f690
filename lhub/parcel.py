"""Parcels: a resource on its way from one registry to another, as whoever receives it knows it.

A parcel names its versions, tags and pins, hands out documents that are verified and files that are not, and tells its
past. One comes straight from a disk (`Shelved`) or out of a bundle (`lhub.bundle.Bundled`); an import tells no
difference.

>>> from types import SimpleNamespace
>>> parcel_name(SimpleNamespace(namespace="alice", resource="X"))
'alice/X'
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Protocol

from lhub.commits import log, tip_of
from lhub.diary import Entry
from lhub.disk import Pen
from lhub.errors import Corrupt
from lhub.layout import is_private, is_version
from lhub.opening import is_folder
from lhub.staging import Opener, Staged, known, opened_file
from lhub.store import DAMAGED, Resource, Version, again
from lhub.tree import File


class Parcel(Protocol):
    """One resource as it comes from elsewhere, complete with what names its versions."""

    @property
    def namespace(self) -> str | None:
        """The namespace it had, None for none."""

    @property
    def resource(self) -> str:
        """Its name in the namespace."""

    @property
    def kind(self) -> str:
        """Its kind, as resource.yaml has it."""

    @property
    def private(self) -> bool:
        """Whether it was private."""

    @property
    def tags(self) -> dict[str, str]:
        """Tag to version (64 hex digits), pins winning."""

    @property
    def pins(self) -> frozenset[str]:
        """The protected tags."""

    @property
    def verifier(self) -> bytes | None:
        """The verifier of its secret, where it may travel."""

    @property
    def seal(self) -> bytes | None:
        """The document of its seal, where its versions are sealed."""

    def versions(self) -> list[str]:
        """The versions it holds, oldest first."""

    def staged(self, version: str) -> Staged:
        """The documents and files of a version, its documents verified; Corrupt where they are not."""

    def opener(self, version: str, file: File) -> Opener:
        """How to open a file of a version; its bytes are the receiver's to verify."""

    def made(self, version: str) -> float | None:
        """When a version was made, in seconds since 1970, where that is known."""

    def entries(self, pen: Pen, scratch: str) -> list[Entry]:
        """The diary, oldest first, nothing where none comes along; `scratch` is a folder to unpack in.

        Raises LhubError or OSError for one that does not read.
        """


def parcel_name(parcel: Parcel) -> str:
    """``alice/X``, or ``X`` without a namespace."""
    return f"{parcel.namespace}/{parcel.resource}" if parcel.namespace else parcel.resource


_FILLED = 16 << 20
"""Bytes from which on a file of git's must take room on the disk: what git writes is compressed already."""


class Shelved:
    """A resource that stands in a registry, or the part of it that a reference means."""

    def __init__(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        only: str | None = None,
        tag: str | None = None,
        without: frozenset[str] = frozenset(),
    ) -> None:
        self.source, self.namespace, self.resource = resource, namespace, os.path.basename(resource.folder.path)
        self.kind = resource.kind() or resource.told_kind() or ""
        if not self.kind:
            raise Corrupt(f"{resource.name} does not tell its kind", hint=f"lhub verify {resource.name} --repair")
        self.private = is_private(os.lstat(resource.folder.path).st_mode)
        links, self._whole = resource.links(), only is None
        named = {name: each.version for name, each in links.tags.items() if tag in (None, name)}
        self.tags = {name: version for name, version in named.items() if only in (None, version)}
        self.pins = frozenset(links.protected) & self.tags.keys()
        self._versions = [only] if only else again(partial(_by_age, resource, set(self.tags.values())))
        self._versions = [version for version in self._versions if version not in without]
        self.verifier: bytes | None = None
        self.seal = resource.seal_text() if resource.sealed() else None

    def versions(self) -> list[str]:
        """The versions, oldest first."""
        return self._versions

    def staged(self, version: str) -> Staged:
        """The documents and files of a version."""
        with self.source.opened(version) as opened:
            manifest = opened.manifest()
            sums = opened.sums()
            executable = frozenset(manifest.executable)
            files = [
                File(path=path, digest=digest, size=_size(opened, path), executable=path in executable)
                for path, digest in sums.items()
            ]
            texts = opened.manifest_text(), opened.sums_text()
        try:
            return known(manifest, *texts, files)
        except Corrupt as error:
            raise Corrupt(f"{self.source.name}: {error}", hint=DAMAGED) from None

    def opener(self, version: str, file: File) -> Opener:
        """How to open a file of a version."""
        return partial(self._opened, version, file.path)

    @contextmanager
    def _opened(self, version: str, path: str) -> Iterator[int]:
        with self.source.opened(version) as opened, opened.file(path) as descriptor:
            yield descriptor

    def made(self, version: str) -> float | None:
        """When a version was made."""
        return again(partial(_made, self.source, version))

    def entries(self, pen: Pen, scratch: str) -> list[Entry]:
        """The diary, oldest first; a part of a resource has none."""
        return list(log(self.source))[::-1] if self._whole else []

    def diary(self) -> Iterator[tuple[str, int]]:
        """The files of git's own objects, by their names below `objects`, each open.

        A pack that goes meanwhile has become part of one that stands already, which the next listing shows.
        """
        told: set[str] = set()
        while more := [name for name in self._objects() if name not in told]:
            told.update(more)
            for name in more:
                with suppress(FileNotFoundError), opened_file(f"{self.source.folder.objects}/{name}") as descriptor:
                    _see_filled(self.source, name, os.fstat(descriptor))
                    yield name, descriptor

    def _objects(self) -> list[str]:
        """The names below `objects` of what is git's for good."""
        objects = self.source.folder.objects
        folders = sorted(os.listdir(objects)) if self._whole and is_folder(objects) else []
        names = [f"{folder}/{name}" for folder in folders for name in _open_names(self.source, f"{objects}/{folder}")]
        return [name for name in names if name.endswith((".pack", ".idx")) or name.find("/") == 2]

    @property
    def tip(self) -> str | None:
        """The newest commit of the diary."""
        return tip_of(self.source) if self._whole else None

    def moved(self, tag: str) -> float:
        """When a tag was moved last."""
        link = self.source.links().tags.get(tag)  # a pin wins: a kill may have come between the two
        return link.when if link else 0.0


def _open_names(resource: Resource, folder: str) -> list[str]:
    """The names in a folder of the diary; Corrupt where a colleague has closed it."""
    try:
        return sorted(os.listdir(folder)) if is_folder(folder) else []
    except PermissionError:
        raise Corrupt(f"{folder} is closed to you: the diary of {resource.name} cannot be read") from None


def _see_filled(resource: Resource, name: str, status: os.stat_result) -> None:
    """Refuse an object file of holes: a stranger's sparse terabyte would fill the disk of who exports it."""
    if status.st_size > _FILLED and status.st_blocks * 512 < status.st_size // 2:
        raise Corrupt(f"{name} has {status.st_size} bytes, most of them holes: the diary of {resource.name} is damaged")


def _by_age(resource: Resource, named: set[str]) -> list[str]:
    """Every version, oldest first; one that is named and lies in the trash is none less."""
    found = {name for name in os.listdir(resource.folder.versions) if is_version(name)} | named
    lying = {name: folder for name in found if (folder := resource.lies(name))}
    return sorted(lying, key=lambda name: (os.lstat(lying[name].path).st_mtime, name))


def _made(resource: Resource, version: str) -> float | None:
    folder = resource.lies(version)
    return os.lstat(folder.path).st_mtime if folder else None


def _size(opened: Version, path: str) -> int:
    """The size of a file below the open version, which a collection may be moving."""
    with opened.file(path) as descriptor:
        return os.fstat(descriptor).st_size
