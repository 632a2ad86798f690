"""A resource as it lies on disk, read: its kind, its tags and pins, its versions.

Nothing here takes a lock, runs git or writes. A folder is listed before a link in it is believed (on NFS only a
listing refreshes names), a pin wins over its tag, and a link counts only when it says ``.lhub/versions/<id>``.
A version is opened once and read below that descriptor, so that a collection beside us moves nothing away.

>>> Resource("/srv/registry/alice/X", "alice/X").folder.tag("v1")
'/srv/registry/alice/X/v1'
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from lhub.errors import Corrupt, LhubError, NotFound, UsageError
from lhub.layout import (
    MANIFEST,
    PIN,
    SEAL_FILE,
    SUMS,
    ResourceFolder,
    VersionFolder,
    is_private,
    is_sealed,
    is_version,
    read_link,
    since_name,
    trashed,
)
from lhub.manifest import HUGE, LARGE, SMALL, Manifest, read_kind, read_manifest
from lhub.names import LATEST, Ref, is_tag
from lhub.opening import GONE, digest_text, is_folder, listed, once_more, open_folder, opened_beneath, read_small
from lhub.tags import Links, Tag

if TYPE_CHECKING:
    from lhub.seals import Seal

_T = TypeVar("_T")
_LINE = 8192
"""Bytes that a line of SHA256SUMS has at most: a path of PATH_MAX, each of its characters escaped."""
_ANEW = GONE | {errno.EEXIST}
"""Answers for a name that another host has just replaced (EEXIST: from MooseFS, where nothing was to be made)."""


def again(read: Callable[[], _T]) -> _T:
    """The answer of `read`, asked anew at most three times while a network file system catches up."""
    for pause in (0.01, 0.1):
        try:
            return read()
        except OSError as error:
            if error.errno not in _ANEW:
                raise
        time.sleep(pause)
    return read()


class Resource:
    """One resource, to be read; `name` is how a person calls it."""

    def __init__(self, path: str, name: str) -> None:
        self.folder = ResourceFolder(path)
        self.name = name

    def status(self) -> os.stat_result | None:
        """What the kernel says of the folder; None when there is none, or something else of that name."""
        try:
            status = os.lstat(self.folder.path)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return None
        return status if stat.S_ISDIR(status.st_mode) else None

    def identity(self) -> tuple[int, int] | None:
        """What tells this folder from another that was made under its name; None when there is none."""
        status = self.status()
        return (status.st_dev, status.st_ino) if status else None

    def kind(self) -> str | None:
        """The kind, or None while nothing was pushed; raises Corrupt for a resource.yaml that no push wrote."""
        try:
            text = read_small(self.folder.file, limit=SMALL)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return read_kind(text, f"resource.yaml of {self.name}")

    def told_kind(self) -> str | None:
        """The kind that the newest version tells, for a resource that has lost its resource.yaml."""
        try:
            head = self.links().head
            if head is None:
                return None
            with self.opened(head) as version:
                return version.manifest().kind
        except (OSError, LhubError):
            return None

    def created(self) -> float:
        """When its first push fixed its kind, in seconds since 1970; 0.0 where nothing did."""
        try:
            return os.lstat(self.folder.file).st_mtime
        except OSError:
            return 0.0

    def seal(self) -> Seal | None:
        """For whom its versions are sealed; None where they are not. Raises Corrupt for what no push wrote."""
        text = self.seal_text()
        if text is None:
            return None
        from lhub.seals import Seal  # for what is sealed

        return Seal.read(text, f"{SEAL_FILE} of {self.name}")

    def sealed(self) -> bool:
        """Whether its versions are sealed; Corrupt where folder or version say so and the seal is gone.

        So nothing goes there in clear, and none of it is opened, whatever was lost of it.
        """
        if self.seal_text() is not None:
            return True
        status = self.status()
        if status is not None and (is_sealed(status.st_mode) or self._holds_sealed()):
            raise Corrupt(f"{self.name} is sealed, and its {SEAL_FILE} is not there", hint="put back a copy of it")
        return False

    def _holds_sealed(self) -> bool:
        """Whether the newest version is sealed, as far as it tells."""
        try:
            head = self.links().head
            if head is None:
                return False
            with self.opened(head, patient=False) as version:
                return version.manifest().sealed is not None
        except (OSError, LhubError):
            return False

    def seal_text(self) -> bytes | None:
        """The document of its seal, None where nothing is sealed."""
        try:
            return once_more(lambda: read_small(self.folder.seal, limit=SMALL))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def visibility(self) -> str:
        """``public`` or ``private``: the folder's mode is the resource's visibility; OSError where it does not tell."""
        return "private" if is_private(os.lstat(self.folder.path).st_mode) else "public"

    def links(self, names: list[str] | None = None) -> Links:
        """Every tag, pins winning; `names` is the folder's listing if it was just made."""
        for pause in (0.01, 0.1):
            links, missed = self._links(os.listdir(self.folder.path) if names is None else names)
            if not missed:
                return links
            names = None  # removed since the listing, or (MooseFS, Gluster) just being replaced: the next one tells
            time.sleep(pause)
        return self._links(os.listdir(self.folder.path))[0]

    def _links(self, names: list[str]) -> tuple[Links, bool]:
        """The tags that were listed, and whether one could not be read a moment later."""
        tags: dict[str, Tag] = {}
        odd: dict[str, str] = {}
        damaged: set[str] = set()
        missed = False
        pins = [name for name in names if name.startswith(PIN)]
        for name in (*pins, *names) if pins else names:
            protected = name.startswith(PIN)
            tag = name[len(PIN) :] if protected else name
            if tag in tags or tag in damaged or not is_tag(tag):
                continue
            try:
                tags[tag] = self._link(name, tag, protected)
            except Corrupt as error:
                odd[name] = str(error)
                damaged |= {tag} if protected else set()
            except OSError as error:
                if error.errno not in GONE:
                    raise
                missed = True
        return Links(tags=tags, odd=odd), missed

    def _link(self, name: str, tag: str, protected: bool) -> Tag:
        path = f"{self.folder.path}/{name}"
        status = os.lstat(path)
        if not stat.S_ISLNK(status.st_mode):
            raise Corrupt(f"the tag {tag} of {self.name} is not a link", hint="somebody put it there by hand")
        if not (text := os.readlink(path)):
            raise FileNotFoundError(errno.ENOENT, "an empty link", path)  # Gluster, while the link is replaced
        version = read_link(text)
        if version is None:
            raise Corrupt(
                f"the tag {tag} of {self.name} points outside its versions", hint="nothing was read; push the tag again"
            )
        return Tag(tag, version, protected, status.st_uid, status.st_mtime)

    def resolve(self, ref: Ref) -> str:
        """The id of the version a reference means; raises NotFound, Corrupt, UsageError for digits of two versions."""
        if ref.version is not None:
            return self._by_prefix(ref.version)
        tag = ref.tag or LATEST
        return again(lambda: self._by_tag(tag))

    def _by_tag(self, tag: str) -> str:
        names = set(os.listdir(self.folder.path))
        for name in (f"{PIN}{tag}", tag):
            if name in names:
                return self._link(name, tag, protected=name != tag).version
        shown = ", ".join(sorted(name for name in names if is_tag(name) and name != "resource.yaml")[:8])
        raise NotFound(
            f"{self.name}:{tag} is not here",
            hint=f"its tags are {shown}" if shown else "it has no tag, only versions: lhub log shows them",
        )

    def _by_prefix(self, prefix: str) -> str:
        names = os.listdir(self.folder.versions)
        found = sorted({version for name in names if (version := _published(name)) and version.startswith(prefix)})
        if not found:
            raise NotFound(f"{self.name}@{prefix} is not here", hint=f"lhub log {self.name} lists its versions")
        if len(found) > 1:
            several = ", ".join(version[:12] for version in found[:5])
            raise UsageError(
                f"{self.name}@{prefix} is not one version but {len(found)}: {several}", hint="give more digits"
            )
        return found[0]

    @contextmanager
    def opened(self, version: str, *, patient: bool = True) -> Iterator[Version]:
        """A version to read, wherever it lies while it is open; Corrupt when it is gone though something names it.

        Who reads many is not `patient`: he does not wait for a network file system to catch up.
        """
        try:
            descriptor = again(lambda: self._open(version)) if patient else self._open(version)
        except FileNotFoundError:
            raise Vanished(f"{self.name}@{version[:12]} is named, but it is not there", hint=DAMAGED) from None
        try:
            yield Version(self, version, descriptor)
        finally:
            os.close(descriptor)

    def _open(self, version: str) -> int:
        try:
            return open_folder(self.folder.version(version).path)
        except FileNotFoundError:
            if name := self.in_trash(version):
                return open_folder(self.folder.version(name).path)
            raise
        except NotADirectoryError:
            raise Corrupt(f"{self.name}@{version[:12]} is not a folder", hint="push it again") from None

    def published(self) -> bool:
        """Whether a push got as far as a tag, now or ever: a kind alone is what an interrupted first push left.

        PermissionError where the kernel does not show it.
        """
        try:
            entries = list(os.scandir(self.folder.path))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except PermissionError:
            raise
        except OSError:
            return True  # who reads it is told why it cannot be read
        links = any(entry.is_symlink() for entry in entries if is_tag(entry.name.removeprefix(PIN)))
        return links or os.path.lexists(self.folder.branch)

    def image(self, version: str) -> str | None:
        """The container image of a version, a layout; None where it has none."""
        for folder in (self.folder.image(version), self.folder.old_image(version)):
            if is_folder(folder):
                return folder
        return None

    def keeps(self, version: str) -> bool:
        """Whether a version can be read, from its place or from the trash."""
        return self.lies(version) is not None

    def lies(self, version: str) -> VersionFolder | None:
        """Where a version lies now: in its place or in the trash; None: nowhere."""
        name = version if self.has(version) else self.in_trash(version)
        return self.folder.version(name) if name else None

    def in_trash(self, version: str) -> str | None:
        """The name under which a version was moved to the trash last."""
        names = [entry.name for entry in listed(self.folder.versions) if trashed(entry.name) == version]
        return max(names, key=since_name, default=None)

    def has(self, version: str) -> bool:
        """Whether a version stands in its place (not in the trash)."""
        try:
            return stat.S_ISDIR(os.lstat(self.folder.version(version).path).st_mode)
        except FileNotFoundError:
            return False


class Deleted(NotFound):
    """A resource that stood a moment ago was moved to its namespace's trash."""


class Vanished(Corrupt):
    """A version that was named a moment ago is gone: a collection took it, or somebody's hand."""


def _published(name: str) -> str | None:
    return name if is_version(name) else trashed(name)


class Version:
    """An open version; each of its documents is checked against the digest that names it.

    `stored` is what lies on the disk of one that is sealed, which is read as if it were in clear.
    """

    stored: Version | None = None

    def __init__(self, resource: Resource, id: str, descriptor: int) -> None:  # noqa: A002 (the field's word)
        self.id = id
        self.where = f"{resource.name}@{id[:12]}"
        self.resource = resource
        self.descriptor = descriptor
        self._texts: dict[str, bytes] = {}
        self._manifest: Manifest | None = None

    def manifest_text(self) -> bytes:
        """manifest.yaml; Corrupt when its SHA-256 is not the version's id."""
        return self._verified(MANIFEST, LARGE, self.id)

    def sums_text(self) -> bytes:
        """SHA256SUMS; Corrupt when it is not the one that the manifest names."""
        most = min(HUGE, (self.manifest().count + 1) * _LINE)  # no more than so many lines can have
        return self._verified(SUMS, most, self.manifest().sums)

    def _verified(self, name: str, limit: int, digest: str) -> bytes:
        """A document, read and verified once."""
        if name not in self._texts:
            text = self._read(name, limit)
            if digest_text(text) != digest:
                raise Corrupt(f"{name} of {self.where} is not what was published", hint=DAMAGED)
            self._texts[name] = text
        return self._texts[name]

    def manifest(self) -> Manifest:
        """The manifest; Corrupt when its SHA-256 is not the version's id, or it is none."""
        if self._manifest is None:
            self._manifest = read_manifest(self.manifest_text(), f"manifest.yaml of {self.where}")
        return self._manifest

    def folder(self) -> str:
        """Where its files lie now; Corrupt when they are not there, or the manifest is none."""
        self.manifest()
        try:
            os.close(open_folder("files", beneath=self.descriptor))
        except (FileNotFoundError, NotADirectoryError):
            raise Corrupt(f"{self.where} has no folder files", hint=DAMAGED) from None
        return (self.resource.lies(self.id) or self.resource.folder.version(self.id)).files

    def sums(self) -> dict[str, str]:
        """Path to digest; Corrupt when SHA256SUMS is not the one the manifest names."""
        from lhub.tree import read_sums  # 2 ms that list and path do not need

        try:
            return read_sums(self.sums_text().decode())
        except UnicodeDecodeError:
            raise Corrupt(f"SHA256SUMS of {self.where} is not UTF-8", hint=DAMAGED) from None

    def single(self) -> str | None:
        """The path of the file that was pushed by itself, and is pulled so; None for a folder."""
        manifest = self.manifest()
        if manifest.count != 1 or manifest.kind not in ("docarray", "files"):
            return None
        path = next(iter(self.sums()), None)
        return path if manifest.kind == "docarray" or manifest.about.get("file") == path else None

    @contextmanager
    def file(self, path: str) -> Iterator[int]:
        """One open file of the payload."""
        try:
            folder = open_folder("files", beneath=self.descriptor)
        except (FileNotFoundError, NotADirectoryError):
            raise Corrupt(f"{self.where} has no folder files", hint=DAMAGED) from None
        try:
            with opened_beneath(folder, path) as descriptor:
                yield descriptor
        except FileNotFoundError:
            raise Corrupt(f"{path} of {self.where} is missing", hint=DAMAGED) from None
        finally:
            os.close(folder)

    def _read(self, name: str, limit: int) -> bytes:
        try:
            return read_small(name, limit=limit, beneath=self.descriptor)
        except FileNotFoundError:
            raise Corrupt(f"{self.where} has no {name}", hint=DAMAGED) from None
        except Corrupt as error:
            raise Corrupt(f"{self.where}: {error}", hint=DAMAGED) from None


DAMAGED = "its owner mends it: lhub verify --repair, or pushing the same content again"
