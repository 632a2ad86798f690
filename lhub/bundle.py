"""Bundles, read: one plain tar that is itself a registry, which anybody may have made.

It is read with the standard library's `tarfile`, whose extraction is not used: a member is looked at, its place is
known or it is refused, its bytes are hashed where they lie. What it holds comes out as parcels.

>>> _fault(tarfile.TarInfo("../bob/X"), "../bob/X")
'leads out of the registry'
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

from lhub.commits import log, tip_of
from lhub.diary import Entry
from lhub.disk import Pen
from lhub.errors import Conflict, Corrupt, UsageError, clean, listing
from lhub.folder import path_faults
from lhub.layout import PIN, STAGING, ResourceFolder, VersionFolder, is_private, locate, read_link
from lhub.manifest import HUGE, LARGE, SMALL, read_format, read_kind, read_manifest
from lhub.names import UNNAMED, is_inside, is_tag
from lhub.opening import digest_text, open_file, read_at
from lhub.parcel import parcel_name
from lhub.seals import Seal
from lhub.staging import Opener, Staged, known
from lhub.store import Resource
from lhub.tree import File, read_sums

_MEMBERS = 2_000_000
"""Members of the largest bundle that is read: an index entry takes 520 bytes of memory."""
_FAULTS, _LONGEST = 200, 200
_HEADER = 8 << 10
"""Bytes of the longest header that is read: a name or an attribute, never a file's content."""
_NOTHING = "nothing was imported; ask who made it"


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
                if read_at(self.descriptor, 512, tar.offset) != bytes(512):
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
        return read_at(self.descriptor, member.size, member.offset)

    def digest(self, member: Member) -> str:
        """SHA-256 of a member's bytes, each hashed once."""
        if member.offset not in self.digests:
            hasher, at, end = sha256(), member.offset, member.offset + member.size
            while at < end and (piece := read_at(self.descriptor, min(1 << 20, end - at), at)):
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
        data = read_at(self.descriptor, size, self.at)
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
    if read_at(descriptor, 4, 0)[:2] in (b"\x1f\x8b", b"BZ", b"\xfd7", b"(\xb5"):
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

    @property
    def seal(self) -> bytes | None:
        """The document of its seal; Corrupt for one that no push wrote."""
        if self.place.seal not in self.bundle.members:
            return None
        text = self._read(self.place.seal, SMALL)
        Seal.read(text, f"seal.yaml of {self.name} in {self.bundle.path}")
        return text

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
            unpacked = Resource(scratch, self.name)
            if tip_of(unpacked) is None:
                raise Corrupt(f"the diary of {self.name} in {self.bundle.path} names no commit")
            return list(log(unpacked))[::-1]
        finally:
            with suppress(FileNotFoundError):
                pen.remove_tree(scratch)

    def _is_diary(self, name: str) -> bool:
        """Whether a member is of the diary: its branch, loose or packed, or one of git's objects."""
        below = name.removeprefix(f"{self.place.objects}/")
        branches = (self.place.branch, f"{self.place.history}/packed-refs")
        return name in branches or (below != name and below.count("/") == 1 and len(below) < _LONGEST)

    def _unpack(self, pen: Pen, name: str, scratch: str) -> None:
        below = name.removeprefix(f"{self.place.path}/")
        parts = below.split("/")[:-1]
        pen.make_folders([scratch, *(f"{scratch}/{'/'.join(parts[: end + 1])}" for end in range(len(parts)))], STAGING)
        member = self.bundle.members[name]
        os.lseek(self.bundle.descriptor, member.offset, os.SEEK_SET)
        pen.copy_in(self.bundle.descriptor, f"{scratch}/{below}", 0o600, limit=member.size)
