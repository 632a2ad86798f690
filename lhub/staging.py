"""Where data enters: files copied in, hashed, made durable and read-only, before anything names them.

A staging folder lies under `versions/`, 0700, beside a lock that its maker holds: when the lock is free, its maker
is dead, and the next writer sweeps it. What is done here is section "Push" of FORMAT.md, steps 2 and 3.

The order: copy all, fsync, link into the blob store, write SHA256SUMS and then the manifest, set modes, fsync.
A blob is linked only after its bytes are durable, for what stands under a digest is believed by later pushes.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain
from typing import Any

from lhub.disk import NO_LINKS, Pen
from lhub.errors import Corrupt, LhubError, UsageError
from lhub.folder import Packing, Source, stamp_of
from lhub.layout import (
    EXECUTABLE,
    FILES,
    MANIFEST,
    PAYLOAD,
    SCRATCH,
    STAGING,
    SUMS,
    VERSION_FOLDER,
    Modes,
    ResourceFolder,
    VersionFolder,
    is_version,
)
from lhub.lock import held, is_free
from lhub.manifest import LARGE, Manifest, Sealed, manifest_of, read_canonical
from lhub.opening import (
    GONE,
    Moved,
    digest_of,
    digest_text,
    is_folder,
    listed,
    open_file,
    paths_below,
    read_at,
    unmoved,
)
from lhub.store import Resource
from lhub.tree import File, Tree, tree_of
from lhub.ways import ways_kept

_MANY = 8
"""From this many files on, one syncfs is cheaper than an fsync each (measured on ext4: 5 ms against 2 ms a file)."""

ENDS = (".file", ".link")
"""What belongs to a staging folder stands beside it: files and links about to be renamed into their places."""
_DEAD = ".dead"
_DAY = 86_400.0
LOOKED_AT = 16 << 20
"""Bytes up to which a file that stands is read before it is believed; of a larger one its size is compared.

So a push mends what flipped in an Executor, and pushing a gigabyte again costs one hash of it, not two.
"""
_LOOK = 4096
"""Bytes at the beginning of a file that are looked at for a NUL, which no text has."""

Opener = Callable[[], AbstractContextManager[int]]
"""Opens a file anew, at its first byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A version ready to be published; `folder` is None when it stood already and nothing had to be copied.

    `binary`: path and size of files that are known not to be text.
    """

    id: str
    manifest: Manifest
    manifest_text: bytes
    sums_text: bytes
    tree: Tree
    folder: VersionFolder | None
    binary: Mapping[str, int] = field(default_factory=dict)


class Staging:
    """One staging folder and what is in it so far."""

    def __init__(self, pen: Pen, resource: Resource, modes: Modes, unique: str) -> None:
        self.pen, self.modes = pen, modes
        self.resource, self.place = resource, resource.folder
        self.scratch = self.place.scratch(unique)
        self.folder = VersionFolder(self.scratch)
        self.known = _known(resource)
        self.reads = LOOKED_AT
        self.files: list[tuple[File, Opener, bool]] = []
        self.refusal: Callable[[str], LhubError] = lambda path: changed_error([path])
        self.sources: dict[str, str | None] = {}
        self.binary: dict[str, int] = {}
        self.blobs: set[str] = set()
        self.made: set[str] = set()
        self.touched: set[str] = set() if self.known else set(self._first_folders())

    def _first_folders(self) -> tuple[str, ...]:
        return self.place.path, self.place.inside, self.place.history, *self.place.stores

    # step 2: copy each regular file

    def take(self, source: Source, moved: Moved = unmoved) -> None:
        """Copy and hash one file; one whose content stood in the newest version is only hashed."""
        if source.given is not None:
            self._adopt(source, source.given)
            return
        opener = partial(opened_source, source)
        with opener() as descriptor:
            self._same(descriptor, source)
            digest, copied = self._stands(descriptor, source, moved), False
            if digest is None:
                copied = True
                self._make_parents(source.path)
                mode = EXECUTABLE if source.executable else PAYLOAD
                digest, size = self.pen.copy_in(descriptor, self.folder.payload(source.path), mode, moved=moved)
                if size != source.size:
                    raise changed_error([source.path])
            if b"\0" in read_at(descriptor, _LOOK, 0):
                self.binary[source.path] = source.size
            self._same(descriptor, source)
        file = File(path=source.path, digest=digest, size=source.size, executable=source.executable)
        self.files.append((file, opener, copied))

    def _adopt(self, source: Source, digest: str) -> None:
        """Take what lies in an inbox already, hashed and shut to others: by a second name, where the disk has such."""
        opener = partial(opened_source, source)
        file = File(path=source.path, digest=digest, size=source.size)
        copied = self.known.get(source.path) != (digest, source.size)
        if copied:
            self._make_parents(source.path)
            staged = self.folder.payload(source.path)
            if self._linked(source.origin, staged):
                self.pen.set_mode(staged, PAYLOAD)
            else:
                self._copy_again(file, opener)
        self.files.append((file, opener, copied))

    def write(self, pieces: Iterator[bytes], path: Callable[[], str], head: Callable[[], bytes] | None = None) -> File:
        """Write and hash what comes piece by piece; its path is known with the first, its head after the last."""
        first = next(pieces)
        place = path()
        self._make_parents(place)
        digest, size = self.pen.write_pieces(chain((first,), pieces), self.folder.payload(place), PAYLOAD, head=head)
        file = File(path=place, digest=digest, size=size)
        self.files.append((file, partial(opened_file, self.folder.payload(place)), True))
        return file

    def write_blob(self, pieces: Iterator[bytes], folder: str) -> File:
        """The same for what is called by its digest, in a folder of the version; twice the same is one file."""
        spare = f"{folder}/.new"
        self._make_parents(spare)
        digest, size = self.pen.write_pieces(pieces, self.folder.payload(spare), PAYLOAD)
        file = File(path=f"{folder}/{digest}", digest=digest, size=size)
        if file.path in self.blobs:
            self.pen.unlink(self.folder.payload(spare))
        else:
            self.pen.rename(self.folder.payload(spare), self.folder.payload(file.path))
            self.blobs.add(file.path)
            self.files.append((file, partial(opened_file, self.folder.payload(file.path)), True))
        return file

    def link_blob(self, file: File, origin: str) -> bool:
        """Take such a file by a second name for one of one's own, whole as far as its size tells; False where not."""
        if file.path in self.blobs:
            return True
        self._make_parents(file.path)
        staged = self.folder.payload(file.path)
        if not (self._is_good(origin, file.digest, file.size) and self._linked(origin, staged)):
            return False
        self.blobs.add(file.path)
        self.files.append((file, partial(opened_file, staged), True))
        return True

    def leave_out(self, paths: Collection[str]) -> None:
        """Take such files out again."""
        self.files = [each for each in self.files if each[0].path not in paths]
        for path in self.blobs.intersection(paths):
            self.blobs.remove(path)
            self.pen.unlink(self.folder.payload(path))

    def receive(self, file: File, opener: Opener) -> None:
        """Take a file whose digest is known: linked where its blob stands whole, else copied and compared."""
        linked = not file.executable and self._good_blob(file.digest, file.size)
        if not linked:
            self._copy_again(file, opener)
        self.files.append((file, opener, not linked))

    def _stands(self, descriptor: int, source: Source, moved: Moved) -> str | None:
        """The digest, if the newest version has the same content there and a blob keeps it."""
        if source.path not in self.known or self.known[source.path][1] != source.size:
            return None
        digest, size = digest_of(descriptor, moved)
        if digest == self.known[source.path][0]:
            return digest
        os.lseek(descriptor, 0, os.SEEK_SET)
        moved(-size)  # it moves once more
        return None

    @staticmethod
    def _same(descriptor: int, source: Source) -> None:
        if source.text is None and stamp_of(os.fstat(descriptor)) != source.stamp:
            raise changed_error([source.path])

    def _good_blob(self, digest: str, size: int) -> bool:
        """Whether a blob of one's own stands that may be linked to."""
        return self._is_good(self.place.blob(digest), digest, size)

    def _is_good(self, path: str, digest: str, size: int) -> bool:
        try:
            status = os.lstat(path)
            own = status.st_uid == self.uid and stat.S_IMODE(status.st_mode) == PAYLOAD
            return own and _is_whole(path, digest, size, self.reads)
        except FileNotFoundError:
            return False

    @cached_property
    def uid(self) -> int:
        """Whose the file system takes our files to be: root is nobody on NFS."""
        return os.lstat(self.folder.path).st_uid

    @cached_property
    def mine(self) -> dict[str, str]:
        """Digest to a file of the newest version of one's own: in a team the blob may be a colleague's."""
        return _files_of(self.resource, self.uid)

    def _source(self, file: File) -> str | None:
        """A file of one's own with this content that may be linked to; None: it must be copied."""
        if file.digest not in self.sources:
            blob = self.place.blob(file.digest)
            good = self._good_blob(file.digest, file.size)
            other = None if good or _owner(blob) in (None, self.uid) else self.mine.get(file.digest)
            whole = other if other and self._is_good(other, file.digest, file.size) else None
            self.sources[file.digest] = blob if good else whole
        return self.sources[file.digest]

    def _make_parents(self, path: str) -> None:
        lacking, parent = [], self.folder.payload(path).rpartition("/")[0]
        while parent != self.folder.path and parent not in self.made:
            lacking.append(parent)
            parent = parent.rpartition("/")[0]
        for parent in reversed(lacking):
            self.pen.make_folder(parent, STAGING)
            self.made.add(parent)

    # steps 2 and 3: durable, named, read-only

    def conclude(self, kind: str, about: Mapping[str, Any], sealed: Sealed | None = None) -> Staged:
        """The version of all that was taken, durable and immutable, though nothing names it yet."""
        tree = tree_of([file for file, _, _ in self.files])
        sums = tree.to_sums().encode()
        manifest = manifest_of(tree, kind, about, digest_text(sums), sealed)
        text = manifest.to_text().encode()
        if len(text) > LARGE:
            raise UsageError(
                f"a manifest of {len(text)} bytes would be needed, {LARGE} are allowed: it has {len(tree.executable)} "
                "executable files to tell of, and what the kind knows",
                hint="put them into an archive, or take away execute bits that nobody needs",
            )
        if read_canonical(text) is None:
            raise LhubError(
                "what this version's manifest would tell cannot be read again",
                hint="please report it; nothing was changed",
            )
        return self.finish(_staged(manifest, text, sums, tree))

    def finish(self, staged: Staged) -> Staged:
        """The same for a version whose documents are known: durable, immutable; `folder` is None if it stood whole."""
        staged = replace(staged, folder=self.folder, binary=self.binary)
        if not any(copied for _, _, copied in self.files) and agrees(self.resource, staged, reads=self.reads):
            return replace(staged, folder=None)
        with ways_kept():
            self._keep_all()
            self.pen.write_new(self.folder.sums, staged.sums_text, PAYLOAD, sync=False)
            self.pen.write_new(self.folder.manifest, staged.manifest_text, PAYLOAD, sync=False)
            self._close([self.folder.sums, self.folder.manifest])
        return staged

    def finish_layout(self) -> str:
        """The same for an image: the folder of all that was taken, durable and immutable, without documents of ours."""
        with ways_kept():
            self._keep_all()
            self._close([], but=(self.folder.files, self.folder.path))
        return self.folder.files

    def _keep_all(self) -> None:
        """Every file durable, then linked with its blob; in the order of their folders in the store."""
        self._copy_what_cannot_be_linked()
        self._make_durable([self.folder.payload(file.path) for file, _, copied in self.files if copied])
        for file, opener, copied in sorted(self.files, key=lambda each: each[0].digest):
            if copied:
                self._keep(file)
            else:
                self._bring(file, opener)

    def _close(self, documents: list[str], *, but: tuple[str, ...] = ()) -> None:
        """Every folder read-only, and all of it durable."""
        folders = [*sorted(self.made, reverse=True), self.folder.path]
        for folder in folders:
            if folder not in but:
                self.pen.set_mode(folder, VERSION_FOLDER)
        everything = [self.folder.payload(file.path) for file, _, _ in self.files]
        self._make_durable([*everything, *documents, *folders, *sorted(self.touched)])

    def _make_durable(self, paths: list[str]) -> None:
        with suppress(OSError):  # it may be of somebody else's file, of long ago; each file's own fsync tells the truth
            if len(paths) >= _MANY and self.sync_all():
                return
        for path in paths:
            if is_folder(path):
                self.pen.sync_folder(path)
            else:
                self.pen.sync_file(path)

    def date(self, when: float | None) -> None:
        """Let the version be of another moment than now: it was made then, elsewhere or before it was damaged."""
        if when is not None and is_folder(self.folder.path):
            self.pen.set_time(self.folder.path, when)

    sync_all: Callable[[], bool] = staticmethod(lambda: False)
    """Makes everything on this file system durable, where the system can; set by `staging`."""

    def _keep(self, file: File) -> None:
        """Give a copied file its blob; if the blob stands, the copy gives way to a link to it."""
        blob, staged = self._blob_place(file.digest), self.folder.payload(file.path)
        if not file.executable and self._linked(staged, blob):
            return
        spare = f"{self.scratch}.file"
        if self._good_blob(file.digest, file.size):
            if _is_same(blob, staged):  # of two names of one file rename(2) leaves both
                return
            if not file.executable and self._linked(blob, spare):
                self.pen.rename(spare, staged)
                return
            with suppress(FileNotFoundError):  # a collection has just taken it
                self.pen.set_time(blob)  # without a link only its age keeps it
                if any(entry.path == blob for entry in listed(os.path.dirname(blob))):  # where NFS thought it was
                    return
        elif not file.executable and self._linked(staged, spare):
            self.pen.rename(spare, blob)  # over a damaged blob
            return
        self._copy(partial(opened_file, staged), spare, PAYLOAD, file.size)
        self.pen.sync_file(spare)
        self.pen.rename(spare, blob)

    def _copy_what_cannot_be_linked(self) -> None:
        """Copy the unchanged files whose blob is gone or damaged, and executable ones: a blob is 0444, they are not."""
        for index, (file, opener, copied) in enumerate(self.files):
            if not copied and (file.executable or self._source(file) is None):
                self._copy_again(file, opener)
                self.files[index] = (file, opener, True)

    def _copy_again(self, file: File, opener: Opener) -> None:
        self._make_parents(file.path)
        mode = EXECUTABLE if file.executable else PAYLOAD
        if self._copy(opener, self.folder.payload(file.path), mode, file.size) != (file.digest, file.size):
            raise self.refusal(file.path)

    def _bring(self, file: File, opener: Opener) -> None:
        """Link an unchanged file into the version; a link that is refused becomes a copy."""
        self._make_parents(file.path)
        source = self._source(file)
        if source is None or not self._linked(source, self.folder.payload(file.path)):
            self._copy_again(file, opener)
            self.pen.sync_file(self.folder.payload(file.path))
            self._keep(file)  # a collection has just taken the blob, or the link was refused

    def _linked(self, source: str, path: str) -> bool:
        """Whether a second name could be made; False where one of that name stands too."""
        try:
            self.pen.link(source, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_LINKS | GONE:
                raise
            return False
        return True

    def _copy(self, opener: Opener, path: str, mode: int, size: int) -> tuple[str, int]:
        with opener() as descriptor:
            return self.pen.copy_in(descriptor, path, mode, limit=size)

    def _blob_place(self, digest: str) -> str:
        blob = self.place.blob(digest)
        inner = blob.rpartition("/")[0]
        outer = inner.rpartition("/")[0]
        for folder in (outer, inner):
            if folder not in self.touched:
                self.pen.make_folder(folder, self.modes.inner)
                self.touched.update((folder, folder.rpartition("/")[0]))
        return blob


@contextmanager
def opened_file(path: str) -> Iterator[int]:
    """A regular file, open; never through a link."""
    descriptor = open_file(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened_source(source: Source) -> Iterator[int]:
    """A file of the folder that is pushed, open; it was a readable one when the folder was scanned."""
    try:
        descriptor = source.open()
    except (OSError, Corrupt):
        raise changed_error([source.path]) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _staged(manifest: Manifest, text: bytes, sums: bytes, tree: Tree) -> Staged:
    return Staged(id=digest_text(text), manifest=manifest, manifest_text=text, sums_text=sums, tree=tree, folder=None)


def known(manifest: Manifest, text: bytes, sums: bytes, files: list[File]) -> Staged:
    """A version whose documents are at hand; Corrupt where the files are not those that they tell."""
    tree = tree_of(files)
    size = tree.bytes if all(file.size >= 0 for file in files) else manifest.bytes  # below 0: not known yet
    told = (len(files), size, digest_text(tree.to_sums().encode()), tree.executable)
    if told != (manifest.count, manifest.bytes, manifest.sums, manifest.executable) or digest_text(sums) != told[2]:
        raise Corrupt(f"version {digest_text(text)[:12]} has other files than its manifest tells")
    return _staged(manifest, text, sums, tree)


def identify(packing: Packing, kind: str, about: Mapping[str, Any]) -> str:
    """The id that a folder would have as a version, by hashing alone; nothing is written."""
    tree = tree_of(hashed(packing))
    return digest_text(manifest_of(tree, kind, about, digest_text(tree.to_sums().encode())).to_text().encode())


def hashed(packing: Packing) -> list[File]:
    """Every file that would travel, with its digest."""
    files = []
    for source in packing.sources:
        digest, size = source.given, source.size
        if digest is None:
            with source.opened() as descriptor:
                digest, size = digest_of(descriptor)
        files.append(File(path=source.path, digest=digest, size=size, executable=source.executable))
    return files


@contextmanager
def staging(pen: Pen, resource: Resource, modes: Modes, unique: str, note: str) -> Iterator[Staging]:
    """A staging folder for one push; what was not published is gone when it closes, as far as this process lives."""
    stage = Staging(pen, resource, modes, unique)
    with pen.synced(resource.folder.versions) as sync_all:
        stage.sync_all = sync_all
        with held(f"{stage.scratch}.lock", mode=modes.lock, timeout=10, note=note):
            try:
                if not pen.make_folder(stage.scratch, STAGING):
                    raise LhubError(f"{stage.scratch} was put there by somebody else", hint="push again")
                yield stage
            finally:
                for end in ("", *ENDS):
                    drop(pen, stage.scratch + end)
                pen.unlink(f"{stage.scratch}.lock")


def sweep(pen: Pen, place: ResourceFolder, *, uid: int) -> None:
    """Remove the staging that dead processes of this user left; one whose lock is held is alive."""
    names = os.listdir(place.versions)
    for name in names:
        if not name.startswith(SCRATCH) or not name.endswith(".lock"):
            continue
        lock = f"{place.versions}/{name}"
        try:
            if os.lstat(lock).st_uid != uid:
                continue
            with held(lock, mode=0o600, timeout=0, note="sweeping"):
                _bury(pen, lock.removesuffix(".lock"))
                for end in ENDS:
                    drop(pen, lock.removesuffix(".lock") + end)
                pen.unlink(lock)
        except (FileNotFoundError, LhubError):
            continue  # alive, or swept by somebody else just now
    _sweep_lockless(pen, place, uid, _lockless(names))
    _sweep_git(pen, place, uid)


def _sweep_lockless(pen: Pen, place: ResourceFolder, uid: int, seen: list[str]) -> None:
    """Remove staging whose lock a power cut has lost: its maker makes the lock first and removes it last."""
    for name in {*seen} & {*_lockless(os.listdir(place.versions))} if seen else ():  # twice: a listing takes its time
        folder = f"{place.versions}/{name}"
        with suppress(FileNotFoundError):
            if os.lstat(folder).st_uid == uid:
                _bury(pen, folder)


def _lockless(names: list[str]) -> list[str]:
    scratch = {name for name in names if name.startswith(SCRATCH)}
    return [name for name in scratch if not name.endswith((".lock", *ENDS)) and f"{name}.lock" not in scratch]


def _bury(pen: Pen, folder: str) -> None:
    """Remove staging whose maker is dead, under another name.

    One who lives after all, since locks do not hold on his file system, then has nothing to publish, not half of it.
    """
    dead = folder if folder.endswith(_DEAD) else folder + _DEAD
    if folder != dead:
        drop(pen, dead)
        with suppress(FileNotFoundError):
            pen.rename(folder, dead)
    drop(pen, dead)


def is_dead(lock: str) -> bool:
    """Whether the maker of staging is dead: whoever lives holds its lock."""
    try:
        return is_free(lock)
    except OSError:
        return False  # gone by now, or another's


def _sweep_git(pen: Pen, place: ResourceFolder, uid: int) -> None:
    """Remove what a git that was killed a day ago or more left among its objects; "now" is the server's clock."""
    now = os.stat(place.versions).st_mtime
    for folder in os.scandir(place.objects):
        for entry in os.scandir(folder) if folder.is_dir(follow_symlinks=False) else ():
            status = entry.stat(follow_symlinks=False) if entry.name.startswith("tmp_") else None
            if status and status.st_uid == uid and now - status.st_mtime > _DAY:
                pen.unlink(entry.path)


def drop(pen: Pen, path: str) -> None:
    """Remove scratch of any sort, if it is there; what somebody keeps open (NFS), or fills, the next one removes."""
    try:
        if is_folder(path):
            pen.remove_tree(path)
        elif os.path.lexists(path):
            pen.unlink(path)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise


def agrees(resource: Resource, staged: Staged, *, reads: int = LOOKED_AT) -> bool:
    """Whether the version stands already, whole as far as digests and, of files over `reads` bytes, sizes tell."""
    if not resource.has(staged.id):
        return False
    folder = resource.folder.version(staged.id)
    try:
        with resource.opened(staged.id) as version:
            if list(version.sums()) != [file.path for file in staged.tree.files]:
                return False
        if set(os.listdir(folder.path)) != {MANIFEST, SUMS, FILES}:
            return False
        if set(paths_below(folder.files)) != {file.path for file in staged.tree.files}:
            return False
        return all(_stands_as(folder.payload(file.path), file, reads) for file in staged.tree.files)
    except (OSError, LhubError):
        return False


def _stands_as(path: str, file: File, reads: int) -> bool:
    mode = EXECUTABLE if file.executable else PAYLOAD
    return stat.S_IMODE(os.lstat(path).st_mode) == mode and _is_whole(path, file.digest, file.size, reads)


def _is_whole(path: str, digest: str, size: int, reads: int) -> bool:
    """Whether a file in the registry is what its digest says: up to `reads` bytes read, else by its size."""
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode) or status.st_size != size:
        return False
    if size > reads:
        return True
    descriptor = open_file(path)
    try:
        return digest_of(descriptor)[0] == digest
    finally:
        os.close(descriptor)


def _known(resource: Resource) -> dict[str, tuple[str, int]]:
    """Digest and size of each file of the newest version: what need not be copied again if it still is so."""
    try:
        head = resource.links().head
        if head is None:
            return {}
        with resource.opened(head) as version:
            sums = version.sums()
        folder = resource.folder.version(head)
        return {path: (digest, os.lstat(folder.payload(path)).st_size) for path, digest in sums.items()}
    except (OSError, LhubError):
        return {}  # only a saving is lost


def _is_same(one: str, other: str) -> bool:
    """Whether two names are of one file."""
    here, there = os.lstat(one), os.lstat(other)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _owner(path: str) -> int | None:
    try:
        return os.lstat(path).st_uid
    except FileNotFoundError:
        return None


def _files_of(resource: Resource, uid: int) -> dict[str, str]:
    """Digest to path of the files of the newest version that a user made."""
    try:
        made = [
            (status.st_mtime, entry.name)
            for entry in os.scandir(resource.folder.versions)
            if is_version(entry.name) and (status := entry.stat(follow_symlinks=False)).st_uid == uid
        ]
        newest = max(made)[1]
        with resource.opened(newest) as version:
            return {digest: resource.folder.version(newest).payload(path) for path, digest in version.sums().items()}
    except (OSError, LhubError, ValueError):
        return {}  # only a saving is lost


def changed_error(paths: list[str]) -> LhubError:
    """The refusal of a folder that did not hold still."""
    shown = ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
    return LhubError(
        f"{shown} changed while it was pushed; nothing was published", hint="push it again when it is at rest"
    )
