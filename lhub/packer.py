"""The packer: parcels from a disk become a bundle, one plain tar that is itself a registry of format 1.

`tar x` makes a registry of it. Blobs stand first, payloads are hard links to them, so nothing is in it twice; it is
written as a stream, and every byte is verified on its way.

>>> ResourceFolder("alice/X").tag("v1")  # a member's name is its place below the root
'alice/X/v1'
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import IO

from lhub.errors import Corrupt
from lhub.history import SKELETON
from lhub.layout import EXECUTABLE, ONE_PERSON, PAYLOAD, VERSION_FOLDER, ResourceFolder, link_to
from lhub.manifest import format_text, resource_text
from lhub.names import UNNAMED
from lhub.parcel import Shelved, parcel_name
from lhub.tree import File


@dataclass(slots=True)
class Written:
    """What was written into a bundle so far."""

    resources: int = 0
    versions: int = 0
    bytes: int = 0
    spaces: set[str] = field(default_factory=set)


def write(parcels: Sequence[Shelved], target: IO[bytes], have: dict[str, frozenset[str]]) -> Written:
    """Write a bundle as a stream; every byte is verified on its way. `have`: digests to leave out, by resource."""
    written = Written()
    with tarfile.TarFile(fileobj=target, mode="w", format=tarfile.PAX_FORMAT, copybufsize=1 << 20) as tar:
        for parcel in parcels:
            _Packer(tar, parcel, written, have.get(parcel_name(parcel), frozenset())).pack()
        _add_bytes(tar, "registry.yaml", format_text().encode())  # last: a bundle without its end is no registry
    return written


class _Packer:
    """One resource on its way into a tar."""

    def __init__(self, tar: tarfile.TarFile, parcel: Shelved, written: Written, have: frozenset[str]) -> None:
        self.tar, self.parcel, self.written, self.have = tar, parcel, written, have
        self.space = parcel.namespace or UNNAMED
        self.place = ResourceFolder(f"{self.space}/{parcel.resource}")
        self.blobs: set[str] = set()
        self.folders: set[str] = set()
        self.when = 0.0

    def pack(self) -> None:
        if self.space not in self.written.spaces:
            self.written.spaces.add(self.space)
            self.folder(self.space, 0o755)
            _add_bytes(self.tar, f"{self.space}/namespace.yaml", format_text().encode())
        closed = ONE_PERSON.sealed if self.parcel.seal else ONE_PERSON.private
        self.folder(self.place.path, closed if self.parcel.private else ONE_PERSON.public)
        _add_bytes(self.tar, self.place.file, resource_text(self.parcel.kind).encode())
        for folder in (self.place.inside, self.place.versions, self.place.history, *self.place.stores):
            self.folder(folder, ONE_PERSON.inner)
        if self.parcel.seal:
            _add_bytes(self.tar, self.place.seal, self.parcel.seal)
        for version in self.parcel.versions():
            self.version(version)
        self.links()
        self.diary()
        self.written.resources += 1

    def version(self, version: str) -> None:
        self.when = self.parcel.made(version) or 0.0
        staged, place = self.parcel.staged(version), self.place.version(version)
        for file in staged.tree.files:  # first, since tar closes a read-only folder when it goes on to another
            blob = self.place.blob(file.digest)
            if file.digest not in self.blobs and file.digest not in self.have:
                self.blobs.add(file.digest)
                for parent in (os.path.dirname(os.path.dirname(blob)), os.path.dirname(blob)):
                    self.folder(parent, ONE_PERSON.inner)
                self.file(blob, version, file, PAYLOAD)
        self.folder(place.path, VERSION_FOLDER)
        self.folder(place.files, VERSION_FOLDER)
        for file in staged.tree.files:
            parts = file.path.split("/")[:-1]
            for end in range(1, len(parts) + 1):
                self.folder(f"{place.files}/{'/'.join(parts[:end])}", VERSION_FOLDER)
            if file.executable:
                self.file(place.payload(file.path), version, file, EXECUTABLE)
            else:
                self.link(place.payload(file.path), tarfile.LNKTYPE, self.place.blob(file.digest))
        _add_bytes(self.tar, place.sums, staged.sums_text, PAYLOAD)
        _add_bytes(self.tar, place.manifest, staged.manifest_text, PAYLOAD)
        self.tar.members = []  # type: ignore[attr-defined]  # it would keep them all
        self.written.versions += 1

    def file(self, name: str, version: str, file: File, mode: int) -> None:
        """One file, hashed while it is written."""
        with self.parcel.opener(version, file)() as descriptor:
            stream = _Hashing(descriptor)
            info = _info(name, mode, size=file.size, when=self.when)
            try:
                self.tar.addfile(info, stream)
            except OSError as error:
                if error.errno is None:  # tarfile's own word for a file that is too short
                    raise Corrupt(f"{file.path} of version {version[:12]} is cut short") from None
                raise
        if stream.hasher.hexdigest() != file.digest:
            raise Corrupt(
                f"{file.path} of {self.parcel.source.name}@{version[:12]} is not what was published",
                hint=f"lhub verify {self.parcel.source.name} --repair looks for a good copy",
            )
        self.written.bytes += file.size

    def links(self) -> None:
        for tag, version in sorted(self.parcel.tags.items()):
            target = link_to(version)
            self.when = self.parcel.moved(tag)
            for name in (self.place.tag(tag), *([self.place.pin(tag)] if tag in self.parcel.pins else [])):
                self.link(name, tarfile.SYMTYPE, target)

    def diary(self) -> None:
        """Git's objects as they are; HEAD and config are ours, since another's config could run code."""
        tip = self.parcel.tip  # first: what it names is in the objects already
        if tip is None:
            return
        refs = os.path.dirname(self.place.branch)
        for folder in (self.place.objects, f"{self.place.objects}/info", os.path.dirname(refs), refs):
            self.folder(folder, ONE_PERSON.inner)
        for name, text in SKELETON.items():
            _add_bytes(self.tar, f"{self.place.history}/{name}", text.encode())
        for name, descriptor in self.parcel.diary():
            self.folder(f"{self.place.objects}/{os.path.dirname(name)}", ONE_PERSON.inner)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                self.tar.addfile(
                    _info(f"{self.place.objects}/{name}", PAYLOAD, size=os.fstat(descriptor).st_size), file
                )
        _add_bytes(self.tar, self.place.branch, f"{tip}\n".encode())

    def folder(self, name: str, mode: int) -> None:
        if name not in self.folders:
            self.folders.add(name)
            self.tar.addfile(_info(name, mode, kind=tarfile.DIRTYPE, when=self.when))

    def link(self, name: str, kind: bytes, target: str) -> None:
        info = _info(name, PAYLOAD, kind=kind, when=self.when)
        info.linkname = target
        self.tar.addfile(info)


class _Hashing(io.RawIOBase):
    """A file that is hashed while somebody reads it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self.hasher = descriptor, sha256()

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = os.read(self.descriptor, size if size >= 0 else 1 << 20)
        self.hasher.update(data)
        return data


def _info(name: str, mode: int, *, size: int = 0, kind: bytes = tarfile.REGTYPE, when: float = 0.0) -> tarfile.TarInfo:
    """A member; of versions and tags it keeps when they were made, since nothing else in a registry tells."""
    info = tarfile.TarInfo(name)
    info.mode, info.size, info.type, info.mtime = mode, size, kind, int(when)
    return info


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    tar.addfile(_info(name, mode, size=len(data)), io.BytesIO(data))
