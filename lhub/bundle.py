"""Parcels and bundles: a resource on its way from one registry to another, straight from a disk or inside a tar.

A bundle is one plain tar that is itself a registry of format 1: `tar x` makes one of it. Blobs stand first, payloads
are hard links to them, so nothing is in it twice. It is made and read with the standard library's `tarfile`, whose
extraction is not used: a member is looked at, its place is known or it is refused, its bytes are hashed where they lie.

>>> ResourceFolder("alice/X").tag("v1")  # a member's name is its place below the root
'alice/X/v1'
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import IO, Protocol

from lhub.commits import log, tip_of
from lhub.diary import Entry
from lhub.disk import Pen, digest_text, is_folder, open_file, read_small
from lhub.errors import Conflict, Corrupt, UsageError, clean, listing
from lhub.folder import path_faults
from lhub.history import SKELETON
from lhub.layout import (
    EXECUTABLE,
    MANIFEST,
    ONE_PERSON,
    PAYLOAD,
    PIN,
    STAGING,
    SUMS,
    VERSION_FOLDER,
    ResourceFolder,
    VersionFolder,
    is_private,
    is_version,
    link_to,
    locate,
    read_link,
)
from lhub.manifest import HUGE, LARGE, SMALL, format_text, read_format, read_kind, read_manifest, resource_text
from lhub.names import UNNAMED, is_inside, is_tag
from lhub.staging import Opener, Staged, known
from lhub.store import DAMAGED, Resource
from lhub.tree import File, read_sums

_MEMBERS = 2_000_000
"""Members of the largest bundle that is read: an index entry takes 300 bytes of memory."""
_FAULTS, _LONGEST = 200, 200
_HEADER = 8 << 10
"""Bytes of the longest header that is read: a name or an attribute, never a file's content."""
_NOTHING = "nothing was imported; ask who made it"


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


# from a disk


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
        self._versions = [only] if only else _by_age(resource, set(self.tags.values()))
        self._versions = [version for version in self._versions if version not in without]
        self.verifier: bytes | None = None

    def versions(self) -> list[str]:
        """The versions, oldest first."""
        return self._versions

    def staged(self, version: str) -> Staged:
        """The documents and files of a version."""
        with self.source.opened(version) as opened:
            manifest = opened.manifest()
            sums = opened.sums()
            folder = opened.folder()
            texts = [read_small(name, limit=HUGE, beneath=opened.descriptor) for name in (MANIFEST, SUMS)]
        if digest_text(texts[0]) != version:
            raise Corrupt(f"manifest.yaml of {opened.where} is not what was published", hint=DAMAGED)
        executable = frozenset(manifest.executable)
        files = [
            File(path=path, digest=digest, size=_size(f"{folder}/{path}", opened.where), executable=path in executable)
            for path, digest in sums.items()
        ]
        try:
            return known(manifest, texts[0], texts[1], files)
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
        folder = self.source.lies(version)
        return os.lstat(folder.path).st_mtime if folder else None

    def entries(self, pen: Pen, scratch: str) -> list[Entry]:
        """The diary, oldest first; a part of a resource has none."""
        return list(log(self.source))[::-1] if self._whole else []

    def diary(self) -> Iterator[tuple[str, str]]:
        """The files of git's own objects, by their names below `objects`, and where each lies."""
        objects = self.source.folder.objects
        for folder in sorted(os.listdir(objects)) if self._whole and is_folder(objects) else ():
            for name in sorted(os.listdir(f"{objects}/{folder}")) if is_folder(f"{objects}/{folder}") else ():
                if name.endswith((".pack", ".idx")) or len(folder) == 2:  # the rest is git's, for a moment
                    yield f"{folder}/{name}", f"{objects}/{folder}/{name}"

    @property
    def tip(self) -> str | None:
        """The newest commit of the diary."""
        return tip_of(self.source) if self._whole else None

    def moved(self, tag: str) -> float:
        """When a tag was moved last."""
        links = (self.source.folder.pin(tag), self.source.folder.tag(tag))  # a kill may have come between the two
        return next((os.lstat(path).st_mtime for path in links if os.path.lexists(path)), 0.0)


def _by_age(resource: Resource, named: set[str]) -> list[str]:
    """Every version, oldest first; one that is named and lies in the trash is none less."""
    found = {name for name in os.listdir(resource.folder.versions) if is_version(name)} | named
    lying = {name: folder for name in found if (folder := resource.lies(name))}
    return sorted(lying, key=lambda name: (os.lstat(lying[name].path).st_mtime, name))


def _size(path: str, where: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError as error:
        raise Corrupt(f"{path.rpartition('/files/')[2]} of {where} is missing: {error.strerror}") from None


# into a tar


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
        self.folder(self.place.path, ONE_PERSON.private if self.parcel.private else ONE_PERSON.public)
        _add_bytes(self.tar, self.place.file, resource_text(self.parcel.kind).encode())
        for folder in (self.place.inside, self.place.versions, self.place.history, *self.place.stores):
            self.folder(folder, ONE_PERSON.inner)
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
        for name, path in self.parcel.diary():
            self.folder(f"{self.place.objects}/{os.path.dirname(name)}", ONE_PERSON.inner)
            descriptor = open_file(path)
            with os.fdopen(descriptor, "rb") as file:
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


# out of a tar


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member of a tar: where its bytes lie, or what it links to."""

    kind: str
    offset: int = 0
    size: int = 0
    mode: int = 0
    when: float = 0.0
    target: str = ""


class Bundle:
    """An open bundle, indexed and checked as far as names and types go; `parcels` has what it holds."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.descriptor = open_file(os.path.realpath(path))  # it is an argument: a link that one typed is followed
        self.digests: dict[int, str] = {}
        try:
            self.members = dict(self._index())
            self._check_registry()
            self.parcels = self._sort()
        except BaseException:
            os.close(self.descriptor)
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)

    def _index(self) -> Iterator[tuple[str, Member]]:
        """Every member by its name; all that cannot be a registry's is refused in one sentence."""
        faults, seen = list[str](), set[str]()
        for info in self._infos():
            name = info.name.removeprefix("./").rstrip("/")
            if name in ("", "."):
                continue
            fault = _fault(info, name) or ("stands twice" if name in seen else "")
            seen.add(name)
            if fault:
                faults.append(f"{clean(name, lines=False)[:200]} {fault}")
            else:
                yield name, _member(info)
            if len(faults) > _FAULTS:
                break
        if faults:
            raise UsageError(listing(f"{self.path} is refused", faults), hint=_NOTHING)

    def _infos(self) -> Iterator[tarfile.TarInfo]:
        """The headers, with every way in which they can be no tar's."""
        guarded, end = _Guarded(self.descriptor, self.path), os.fstat(self.descriptor).st_size
        try:
            with tarfile.open(fileobj=guarded, mode="r:") as tar:
                for _ in range(_MEMBERS):
                    info = tar.next()
                    if info is None:
                        break
                    tar.members = []  # type: ignore[attr-defined]  # it would keep them all
                    guarded.since = 0
                    if info.size < 0:  # which would lead back, and round and round
                        raise UsageError(f"{self.path} has a member of less than no bytes", hint=_NOTHING)
                    if info.isreg() and info.offset_data + info.size > end:
                        raise self._cut()
                    yield info
                else:
                    raise UsageError(f"{self.path} has more than {_MEMBERS} members", hint="export fewer resources")
                if os.pread(self.descriptor, 512, tar.offset) != bytes(512):
                    raise self._cut()
        except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
            if "unexpected end" in str(error):
                raise self._cut() from None
            raise UsageError(f"{self.path} is not a plain tar: {error}", hint=_hint(self.descriptor)) from None

    def _cut(self) -> Corrupt:
        return Corrupt(f"{self.path} is cut short", hint="nothing was imported; make or fetch it again")

    def _check_registry(self) -> None:
        if "registry.yaml" not in self.members:
            raise UsageError(
                f"{self.path} is not a bundle, it has no registry.yaml", hint="lhub export REF -o FILE makes one"
            )
        read_format(self.read("registry.yaml", SMALL), f"registry.yaml of {self.path}")

    def _sort(self) -> list[Bundled]:
        """The members by resource; each that is a resource has resource.yaml."""
        found: dict[tuple[str, str], list[str]] = {}
        for name in self.members:
            if place := locate(name):
                found.setdefault((place.space, place.resource), []).append(name)
        parcels = (Bundled(self, space, resource, names) for (space, resource), names in sorted(found.items()))
        return [parcel for parcel in parcels if parcel.place.file in self.members]

    def read(self, name: str, limit: int) -> bytes:
        """The content of a small member."""
        member = self.members[name]
        if member.kind != "file" or member.size > limit:
            raise UsageError(f"{name} of {self.path} is no file of at most {limit} bytes", hint="ask who made it")
        return os.pread(self.descriptor, member.size, member.offset)

    def digest(self, member: Member) -> str:
        """SHA-256 of a member's bytes, each hashed once."""
        if member.offset not in self.digests:
            hasher, at, end = sha256(), member.offset, member.offset + member.size
            while at < end and (piece := os.pread(self.descriptor, min(1 << 20, end - at), at)):
                hasher.update(piece)
                at += len(piece)
            self.digests[member.offset] = hasher.hexdigest()
        return self.digests[member.offset]


class _Guarded(io.RawIOBase):
    """The file as tarfile may read it: headers only, none of them larger than any honest one."""

    def __init__(self, descriptor: int, path: str) -> None:
        self.descriptor, self.path, self.at, self.since = descriptor, path, 0, 0

    def read(self, size: int = -1) -> bytes:
        """The next bytes, if they can be a header; `since` counts those of one member."""
        self.since += size
        if not 0 <= size <= _HEADER or self.since > 4 * _HEADER:
            raise UsageError(f"{self.path} has a header of more than a name", hint="no bundle has; ask who made it")
        data = os.pread(self.descriptor, size, self.at)
        self.at += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place."""
        if whence != 0 or offset < 0:
            raise ValueError("only forward")
        self.at = offset
        return offset

    def tell(self) -> int:
        """The place."""
        return self.at

    def seekable(self) -> bool:
        """Yes."""
        return True


def _fault(info: tarfile.TarInfo, name: str) -> str:
    """Why a member cannot be a registry's, or an empty text."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "has a name that is not UTF-8"
    if info.name.startswith("/") or not is_inside(name):
        return "leads out of the registry"
    if info.issparse():
        return "is sparse, which can promise any number of bytes"
    if info.issym():
        return "" if read_link(info.linkname) else "is a link that is no tag"
    if info.islnk():
        inside = is_inside(info.linkname.removeprefix("./"))
        return "" if inside and not info.linkname.startswith("/") else "is a link that leads out of the registry"
    return "" if info.isreg() or info.isdir() else "is neither file, folder nor link"


def _member(info: tarfile.TarInfo) -> Member:
    kind = "symlink" if info.issym() else "link" if info.islnk() else "folder" if info.isdir() else "file"
    return Member(
        kind=kind,
        offset=info.offset_data,
        size=info.size if kind == "file" else 0,
        mode=info.mode,
        when=float(info.mtime),
        target=info.linkname.removeprefix("./"),
    )


def _hint(descriptor: int) -> str:
    if os.pread(descriptor, 4, 0)[:2] in (b"\x1f\x8b", b"BZ", b"\xfd7", b"(\xb5"):
        return "it is compressed: decompress it first, as with gunzip"
    return "lhub export REF -o FILE makes a bundle"


class Bundled:
    """A resource in a bundle; documents and payloads are verified before anything is received."""

    def __init__(self, bundle: Bundle, space: str, resource: str, names: list[str]) -> None:
        self.bundle, self.names, self.resource = bundle, names, resource
        self._members: dict[str, list[str]] = {}
        for name in names:
            if (place := locate(name)) and place.version:
                self._members.setdefault(place.version, []).append(name)
        self.namespace, self.place = None if space == UNNAMED else space, ResourceFolder(f"{space}/{resource}")
        self.name, self.verifier = parcel_name(self), None
        links = {name: bundle.members[name].target for name in names if bundle.members[name].kind == "symlink"}
        said: dict[str, str] = {}
        pins: set[str] = set()
        for name, target in sorted(links.items(), key=lambda link: f"/{PIN}" in link[0]):  # a pin wins, so it is last
            tag, version = name.rpartition("/")[2].removeprefix(PIN), read_link(target)
            if version and is_tag(tag) and name in (self.place.tag(tag), self.place.pin(tag)):
                said[tag] = version
                pins |= {tag} if name == self.place.pin(tag) else set()
        self.tags, self.pins = said, frozenset(pins)
        self._staged: dict[str, Staged] = {}
        self._paths: dict[tuple[str, str], Member] = {}

    @property
    def kind(self) -> str:
        """The kind that its resource.yaml tells."""
        return read_kind(self._read(self.place.file, SMALL), f"resource.yaml of {self.name} in {self.bundle.path}")

    @property
    def private(self) -> bool:
        """Whether its folder is closed to others; one that the bundle does not have is taken for closed."""
        folder = self.bundle.members.get(self.place.path)
        return folder is None or is_private(folder.mode)

    def _read(self, name: str, limit: int) -> bytes:
        if name not in self.bundle.members:
            raise UsageError(f"{name} is not in {self.bundle.path}", hint="it is cut short or no bundle")
        return self.bundle.read(name, limit)

    def versions(self) -> list[str]:
        """The versions, as the bundle has them: oldest first."""
        return list(self._members)

    def staged(self, version: str) -> Staged:
        """The documents and files of a version, every byte verified; a file that the bundle has not has size -1."""
        if version not in self._staged:
            self._staged[version] = self._verified(version)
        return self._staged[version]

    def _verified(self, version: str) -> Staged:
        folder, where = self.place.version(version), f"{self.name}@{version[:12]} in {self.bundle.path}"
        text, sums_text = self._read(folder.manifest, LARGE), self._read(folder.sums, HUGE)
        if digest_text(text) != version:
            raise Corrupt(f"manifest.yaml of {where} is not what its name says", hint=_NOTHING)
        manifest = read_manifest(text, f"manifest.yaml of {where}")
        if digest_text(sums_text) != manifest.sums:
            raise Corrupt(f"SHA256SUMS of {where} is not what its manifest says", hint=_NOTHING)
        try:
            sums, executable = read_sums(sums_text.decode()), frozenset(manifest.executable)
        except UnicodeDecodeError:
            raise Corrupt(f"SHA256SUMS of {where} is not UTF-8", hint=_NOTHING) from None
        if not sums:
            raise UsageError(f"{where} has no file", hint=_NOTHING)
        if faults := path_faults(list(sums)):
            raise UsageError(listing(f"{where} is refused", faults), hint=_NOTHING)
        if manifest.kind != self.kind:
            raise Corrupt(f"{where} is {manifest.kind}, not {self.kind} as its resource", hint=_NOTHING)
        files = [self._file(folder, path, digest, path in executable) for path, digest in sums.items()]
        self._see_only(folder, sums, where)
        return known(manifest, text, sums_text, files)

    def _see_only(self, folder: VersionFolder, sums: dict[str, str], where: str) -> None:
        """Refuse a payload that the version does not name."""
        prefix = f"{folder.files}/"
        for name in self._members[os.path.basename(folder.path)]:
            path = name.removeprefix(prefix)
            if path != name and path not in sums and self.bundle.members[name].kind != "folder":
                raise Corrupt(f"{clean(path, lines=False)} of {where} was not published", hint=_NOTHING)

    def _file(self, folder: VersionFolder, path: str, digest: str, executable: bool) -> File:
        members = self.bundle.members
        member = members.get(folder.payload(path))
        if member is not None and member.kind == "link" and not executable:  # which would be a copy for each link
            if member.target not in members and member.target == self.place.blob(digest):
                return File(path=path, digest=digest, size=-1, executable=executable)
            member = members.get(member.target)
        if member is None or member.kind != "file" or self.bundle.digest(member) != digest:
            raise Corrupt(
                f"{clean(path, lines=False)} of {self.name} in {self.bundle.path} is not what was published",
                hint=_NOTHING,
            )
        self._paths[os.path.basename(folder.path), path] = member
        return File(path=path, digest=digest, size=member.size, executable=executable)

    def opener(self, version: str, file: File) -> Opener:
        """How to open a file of a version."""
        return partial(self._opened, version, file.path)

    @contextmanager
    def _opened(self, version: str, path: str) -> Iterator[int]:
        member = self._paths.get((version, path))
        if member is None:
            raise Conflict(f"{self.name} in {self.bundle.path} lacks {path}", hint="import the bundle before it first")
        os.lseek(self.bundle.descriptor, member.offset, os.SEEK_SET)
        yield self.bundle.descriptor

    def made(self, version: str) -> float | None:
        """When a version was made, if the bundle has its folder."""
        member = self.bundle.members.get(self.place.version(version).path)
        return member.when if member and member.when > 0 else None

    def entries(self, pen: Pen, scratch: str) -> list[Entry]:
        """The diary, oldest first, unpacked in a folder of one's own."""
        names = [name for name in self.names if self._is_diary(name) and self.bundle.members[name].kind == "file"]
        if not names:
            return []
        try:
            for name in names:
                self._unpack(pen, name, scratch)
            return list(log(Resource(scratch, self.name)))[::-1]
        finally:
            with suppress(FileNotFoundError):
                pen.remove_tree(scratch)

    def _is_diary(self, name: str) -> bool:
        below = name.removeprefix(f"{self.place.objects}/")
        return name == self.place.branch or (below != name and below.count("/") == 1 and len(below) < _LONGEST)

    def _unpack(self, pen: Pen, name: str, scratch: str) -> None:
        below = name.removeprefix(f"{self.place.path}/")
        parts = below.split("/")[:-1]
        pen.make_folders([scratch, *(f"{scratch}/{'/'.join(parts[: end + 1])}" for end in range(len(parts)))], STAGING)
        member = self.bundle.members[name]
        os.lseek(self.bundle.descriptor, member.offset, os.SEEK_SET)
        pen.copy_in(self.bundle.descriptor, f"{scratch}/{below}", 0o600, limit=member.size)
