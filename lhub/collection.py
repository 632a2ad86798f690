"""Collection: what no tag names goes, in three stages, each a grace after the one before.

A version without a tag is noted (`.seen.<id>`), then moved to the trash, then removed; a blob that no version names
goes with them, a deleted resource after its grace. Tagged and protected versions, and the newest of each resource,
never go. What is in doubt stays: a name from the future is young, a version that does not read keeps every blob.

>>> Plan().empty
True
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from lhub.change import Change
from lhub.disk import Pen
from lhub.errors import Corrupt, Denied, LhubError, LockTimeout, UsageError
from lhub.inbox import abandoned
from lhub.layout import (
    PIN,
    SCRATCH,
    NamespaceFolder,
    deleted_name,
    image_of,
    is_gone,
    is_version,
    seen_note,
    since_name,
    trash_name,
    trashed,
)
from lhub.lock import held
from lhub.names import DEEPEST, UNNAMED, is_tag
from lhub.opening import GONE, is_folder, listed, status_of
from lhub.session import Session
from lhub.staging import sweep
from lhub.store import Resource
from lhub.tags import Links

SHORTEST = 600.0
"""Seconds of the shortest grace: longer than any push takes from its first byte to its tag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a collection would do in one resource, and the bytes it would free.

    `note`, `trash` and `remove` are versions (64 hex digits, `remove` by their names under `versions/`); `forget` are
    notes of versions that were tagged or are gone; `blobs` are digests; `damaged` names in the quarantine; `images`
    names under `images/`; `left` are versions that another user made.
    """

    note: tuple[str, ...] = ()
    trash: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    forget: tuple[str, ...] = ()
    blobs: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    bytes: int = 0

    @property
    def versions(self) -> tuple[str, ...]:
        """Every version that it concerns, by its name under `versions/`."""
        return (*self.note, *self.trash, *self.remove, *self.left)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.note or self.trash or self.remove or self.forget or self.blobs or self.damaged or self.images)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a collection did, or would do.

    `noted`, `trashed`, `removed` are references of versions (``alice/X@<64 hex digits>``), `deleted` names of deleted
    resources that went for good; `blobs` is how many files of no version went, `bytes` what all that freed; `left`
    are what others own, or what somebody held the lock of.
    """

    noted: tuple[str, ...] = ()
    trashed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    blobs: int = 0
    bytes: int = 0
    left: tuple[str, ...] = ()
    dry_run: bool = False

    @property
    def empty(self) -> bool:
        """Whether nothing was to be done."""
        return not (self.noted or self.trashed or self.removed or self.deleted or self.blobs or self.bytes)

    def __add__(self, other: Collected) -> Collected:
        return Collected(
            noted=self.noted + other.noted,
            trashed=self.trashed + other.trashed,
            removed=self.removed + other.removed,
            deleted=self.deleted + other.deleted,
            blobs=self.blobs + other.blobs,
            bytes=self.bytes + other.bytes,
            left=self.left + other.left,
            dry_run=self.dry_run or other.dry_run,
        )

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub gc --json` prints it."""
        return {
            "noted": list(self.noted),
            "trashed": list(self.trashed),
            "removed": list(self.removed),
            "deleted": list(self.deleted),
            "versions": len(self.removed),
            "blobs": self.blobs,
            "bytes": self.bytes,
            "left": list(self.left),
            "dry_run": self.dry_run,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How long what is unnamed stays (seconds, at least ten minutes), and how many of the newest versions always do."""

    grace: float = 14 * 86_400.0
    keep_last: int = 1

    def check(self) -> None:
        """Raise UsageError for a rule that could take what a push is just about to name."""
        if self.grace < SHORTEST:
            raise UsageError("a grace under 10 minutes could take what is just being pushed", hint="--grace 10m")
        if self.keep_last < 1:
            raise UsageError("the newest version always stays", hint="--keep-last 1 or more")


def collect(session: Session, rule: Rule, confirm: Callable[[Collected], None] | None, *, dry_run: bool) -> Collected:
    """Collect in everything the caller owns; `confirm` is told what would go, and raises if it shall stay."""
    rule.check()
    session.read_root()
    if session.caller is None:
        raise Denied("nobody is logged in, so nothing here is yours to collect", hint="lhub login NAME")
    if dry_run:
        return replace(_sum(_would(session, rule, session.clock())), dry_run=True)  # nothing is written to ask a server
    now = _server_now(session)
    if confirm:
        would = _sum(_would(session, rule, now))
        if would.trashed or would.removed or would.deleted or would.blobs:
            confirm(would)
    return _sum(_does(session, rule, now))  # by the clock of what was told


@contextmanager
def _unless_gone() -> Iterator[None]:
    """End quietly where something is there no more."""
    try:
        yield
    except OSError as error:
        if error.errno not in GONE:
            raise


def _sum(parts: Iterator[Collected]) -> Collected:
    total = Collected()
    for part in parts:
        total += part
    return total


def _would(session: Session, rule: Rule, now: float) -> Iterator[Collected]:
    """What would go at a moment."""
    for _, resource, own in session.resources():
        with suppress(OSError, LhubError):
            found = plan(resource, session.uid, now, rule)
            yield _told(resource, found) if own else Collected(left=_refs(resource, found.versions))
    yield Collected(bytes=_weigh(_broken_off(session, now)))
    for folder, name, _ in _deleted(session, now, rule):
        told = () if is_gone(name) else (_deleted_as(folder, name),)
        yield Collected(deleted=told, bytes=_weigh([f"{folder.trash}/{name}"]))


def _does(session: Session, rule: Rule, now: float) -> Iterator[Collected]:
    for namespace, resource, own in session.resources():
        try:
            found = plan(resource, session.uid, now, rule)
            if not own:
                yield Collected(left=_refs(resource, found.versions))
                continue
            with _unless_gone():  # what dead pushes left goes as well
                sweep(session.pen, resource.folder, uid=session.uid)
            if found.left or not found.empty:
                yield _collect_in(session, namespace, resource, rule, now)
        except LockTimeout:
            yield Collected(left=(f"{resource.name}, which somebody is changing",))
        except (LhubError, OSError) as error:
            if resource.status() is not None:  # else it was deleted meanwhile
                yield Collected(left=(f"{resource.name}: {error}",))
    for path in _broken_off(session, now):
        weight = _weigh([path])
        with _unless_gone():
            session.pen.remove_tree(path)
            yield Collected(bytes=weight)
    for folder, name, namespace in _deleted(session, now, rule):
        yield _remove_deleted(session, folder, name, namespace)


def _broken_off(session: Session, now: float) -> list[str]:
    """What uploads left whose receiver is dead."""
    return [path for space in session.spaces() for path in abandoned(session, session.folder.namespace(space), now=now)]


def _told(resource: Resource, found: Plan) -> Collected:
    return Collected(
        noted=_refs(resource, found.note),
        trashed=_refs(resource, found.trash),
        removed=_refs(resource, found.remove),
        blobs=len(found.blobs) + len(found.damaged),
        bytes=found.bytes,
        left=_refs(resource, found.left),
    )


def _refs(resource: Resource, names: Iterable[str]) -> tuple[str, ...]:
    """References of versions by their names under `versions/`; what is half removed was told when that began."""
    return tuple(f"{resource.name}@{trashed(name) or name}" for name in names if not is_gone(name))


# what may go


def plan(resource: Resource, uid: int, now: float, rule: Rule) -> Plan:
    """What may go from one resource at a moment (seconds since 1970, the file server's clock)."""
    links = _all_links(resource)
    lying = os.listdir(resource.folder.versions)
    named = {tag.version for tag in links.tags.values()}
    stays = named | set(_newest(resource, lying, rule.keep_last))
    notes = {version: _age(resource.folder.seen(version), now) for version in filter(None, map(seen_note, lying))}
    others = {name for name in lying if _owner(f"{resource.folder.versions}/{name}") not in (uid, None)}
    loose = [name for name in sorted(lying) if is_version(name) and name not in stays]
    needed = named - set(lying)  # a damaged one lies in the trash beside the good one in its place
    old = [name for name in sorted(lying) if _is_over(resource, name, now, rule) and trashed(name) not in needed]
    going = [name for name in old if name not in others]
    images = _loose_images(resource, uid, set(lying) - set(going))
    doomed = [
        *(f"{resource.folder.versions}/{name}" for name in going),
        *(f"{resource.folder.images}/{name}" for name in images),
    ]
    found = Plan(
        note=tuple(version for version in loose if version not in notes and version not in others),
        trash=tuple(version for version in loose if notes.get(version, 0) >= rule.grace and version not in others),
        remove=tuple(going),
        forget=tuple(sorted(version for version in notes if version in stays or version not in lying)),
        blobs=tuple(_unnamed_blobs(resource, uid, lying, going, doomed, now, rule)),
        images=images,
        damaged=tuple(_old_damaged(resource, uid, now, rule)),
        left=tuple(name for name in (*loose, *old) if name in others),
    )
    folder = resource.folder
    gone = [*doomed, *(folder.blob(digest) for digest in found.blobs)]
    return replace(found, bytes=_weigh([*gone, *(f"{folder.damaged}/{name}" for name in found.damaged)]))


def _all_links(resource: Resource) -> Links:
    """Every tag and pin; Corrupt while one that is listed cannot be read, for what it names could go."""
    for _ in range(3):
        entries = list(os.scandir(resource.folder.path))
        links = resource.links([entry.name for entry in entries])
        names = [entry.name for entry in entries if entry.is_symlink() and is_tag(entry.name.removeprefix(PIN))]
        if not (missed := [name for name in names if not (name in links.odd or _is_read(name, links))]):
            return links
    raise Corrupt(f"its tag {missed[0]} was being moved")


def _is_read(name: str, links: Links) -> bool:
    """Whether a tag's or pin's own link told where it stands, or the pin that wins over it."""
    tag = links.tags.get(name.removeprefix(PIN))
    return tag is not None and (tag.protected or tag.tag == name)


def _newest(resource: Resource, lying: list[str], keep: int) -> list[str]:
    """The versions that were made last, by the mtime of their folders, which nothing changes afterwards."""
    versions = [name for name in lying if is_version(name)]
    versions.sort(key=lambda name: (_mtime(resource.folder.version(name).path), name), reverse=True)
    return versions[:keep]


def _mtime(path: str) -> float:
    return status.st_mtime if (status := status_of(path)) else 0.0


def _age(path: str, now: float) -> float:
    """Seconds since a file was made; what was made in the future is young."""
    return max(0.0, now - status.st_mtime) if (status := status_of(path)) else 0.0


def _is_over(resource: Resource, name: str, now: float, rule: Rule) -> bool:
    """Whether something in the trash has had its grace, by its name and by the kernel's note of its last move."""
    if is_gone(name):
        return True
    return trashed(name) is not None and _rested(f"{resource.folder.versions}/{name}", now) >= rule.grace


def _rested(path: str, now: float) -> float:
    """Seconds since something was moved to a trash: its name may be of a wrong clock, its ctime is the server's."""
    status = status_of(path)
    return now - max(status.st_ctime, since_name(os.path.basename(path))) if status else 0.0


def _owner(path: str) -> int | None:
    return status.st_uid if (status := status_of(path)) else None


def _loose_images(resource: Resource, uid: int, staying: set[str]) -> tuple[str, ...]:
    """The container images of versions that are not here any more, and what a dead writer left of older ones."""
    names = {entry.name for entry in listed(resource.folder.images)}
    kept = {trashed(name) or name for name in staying}
    versions = {name: image_of(name) for name in names}
    gone = {name for name, version in versions.items() if is_gone(name) or (version and version not in kept)}
    replaced = {name for name, version in versions.items() if version in names - {name}}
    return tuple(sorted(name for name in gone | replaced if _owner(f"{resource.folder.images}/{name}") == uid))


def _unnamed_blobs(
    resource: Resource, uid: int, lying: list[str], going: list[str], doomed: list[str], now: float, rule: Rule
) -> Iterator[str]:
    """The digests of blobs that nothing names and that are old; none at all while a version does not read."""
    freed = Counter(status.st_ino for path in doomed for status in _files(path))
    loose = []
    for digest, status in _blobs(resource):
        links = status.st_nlink - freed[status.st_ino]  # more than its own: a version's, or a push's right now
        if links == 1 and status.st_uid == uid and now - status.st_mtime >= rule.grace:
            loose.append(digest)
    digests: set[str] = set()
    for name in lying if loose else ():
        version = name if is_version(name) else trashed(name)
        if version and name not in going:
            try:
                with resource.opened(version) as opened:
                    digests.update(opened.sums().values())
            except (LhubError, OSError):
                return
    for entry in listed(resource.folder.images) if loose else ():  # of a disk without hard links
        digests.update(blob.name for blob in listed(f"{entry.path}/blobs/sha256") if entry.path not in doomed)
    yield from (digest for digest in loose if digest not in digests)


def _blobs(resource: Resource) -> Iterator[tuple[str, os.stat_result]]:
    folder = resource.folder.stores[1]
    for first in listed(folder):
        for second in listed(first.path) if first.is_dir(follow_symlinks=False) else ():
            for blob in listed(second.path) if second.is_dir(follow_symlinks=False) else ():
                status = status_of(blob.path) if is_version(blob.name) else None
                if status and stat.S_ISREG(status.st_mode):
                    yield blob.name, status


def _old_damaged(resource: Resource, uid: int, now: float, rule: Rule) -> Iterator[str]:
    for entry in listed(resource.folder.damaged):
        if _owner(entry.path) == uid and _rested(entry.path, now) >= rule.grace:
            yield entry.name


def _weigh(paths: list[str]) -> int:
    """The bytes that would be free if all these were removed: those of files that no other name keeps."""
    found = [status for path in paths for status in _files(path)]
    links = Counter(status.st_ino for status in found)
    known = {status.st_ino: status for status in found}
    return sum(status.st_size for inode, status in known.items() if links[inode] >= status.st_nlink)


def _files(path: str, depth: int = 0) -> Iterator[os.stat_result]:
    """What the kernel says of every regular file at or below a path, no deeper than lhub lays anything."""
    status = status_of(path)
    if status and stat.S_ISDIR(status.st_mode):
        for entry in listed(path) if depth <= DEEPEST + 8 else ():
            yield from _files(entry.path, depth + 1)
    elif status and stat.S_ISREG(status.st_mode):
        yield status


# what is done


def _collect_in(session: Session, namespace: str | None, resource: Resource, rule: Rule, now: float) -> Collected:
    """One resource, under its lock, by a plan made there and the server's clock."""
    with session.changing(resource, namespace) as locked:
        found = plan(resource, session.uid, now, rule)
        for version in found.forget:
            session.pen.unlink(resource.folder.seen(version))
        for version in found.note:
            session.pen.write_new(resource.folder.seen(version), b"", 0o444, sync=False)
        _trash(session.pen, locked, found, now)
        removed = [_remove(session, locked, name) for name in found.remove]
        for name in found.images if all(removed) else ():
            _remove_image(session, resource, name)
        for digest in found.blobs if all(removed) else ():  # what came back may need them
            _remove_blob(session.pen, locked, digest, now - rule.grace)
        for name in found.damaged:
            session.pen.unlink(f"{resource.folder.damaged}/{name}")
        return _told(resource, found)


def _server_now(session: Session) -> float:
    """The clock of whoever keeps this file system: the mtime of a file made just now in a folder of the caller's."""
    spaces = (session.folder.namespace(namespace).path for namespace in (session.caller, None))
    place = next((place for place in spaces if is_folder(place) and session.may_write(place)), None)
    if place is None:
        return session.clock()  # nothing here is his, so nothing goes
    path, pen = f"{place}/{SCRATCH}{session.unique()}", session.pen
    for _ in range(50):
        try:
            pen.write_new(path, b"", 0o600, sync=False)
            made = status_of(path)
        finally:
            pen.unlink(path)
        if made:  # else a push of one's own swept it, which took us for dead
            return made.st_mtime
    raise LhubError(f"{path} is removed again and again", hint="look who else writes there")


def _trash(pen: Pen, locked: Change, found: Plan, now: float) -> None:
    """Move versions to the trash; one that was named meanwhile (by a writer whose lock did not hold) comes back."""
    place = locked.place
    for version in found.trash:
        pen.rename(place.version(version).path, f"{place.versions}/{trash_name(version, now)}")
        pen.unlink(place.seen(version))
    if found.trash:
        pen.sync_folder(place.versions)
        locked.bring_back_named()


def _remove(session: Session, locked: Change, name: str) -> bool:
    """Rename to a name that nobody reads, look again who names it, then remove; False: it was named, and came back."""
    place, version = locked.place, trashed(name)
    gone = f"{place.versions}/{name}"
    if version:
        gone = place.gone(session.unique(), version)
        session.pen.rename(f"{place.versions}/{name}", gone)
        named = {tag.version for tag in locked.resource.links().tags.values()}
        if version in named and not locked.resource.has(version):
            session.pen.rename(gone, place.version(version).path)
            session.pen.sync_folder(place.versions)
            return False
    session.pen.remove_tree(gone)
    return True


def _remove_image(session: Session, resource: Resource, name: str) -> None:
    """Rename to a name that nobody reads, then remove."""
    folder = resource.folder.images
    gone = f"{folder}/{name}" if is_gone(name) else resource.folder.gone_image(session.unique())
    with _unless_gone():
        if not is_gone(name):
            session.pen.rename(f"{folder}/{name}", gone)
        session.pen.remove_tree(gone)


def _remove_blob(pen: Pen, locked: Change, digest: str, until: float) -> None:
    """Take a blob out of its place, see that no push has linked or touched it meanwhile, then remove it.

    It waits in the quarantine, where a kill leaves it for a grace and a repair finds it.
    """
    blob = locked.place.blob(digest)
    aside = locked.place.quarantine(digest, locked.writer.clock())
    with _unless_gone():
        pen.make_folders([locked.place.damaged], locked.modes.inner)
        pen.rename(blob, aside)
        status = os.lstat(aside)
        if status.st_nlink > 1 or status.st_mtime > until:
            pen.rename(aside, blob)
        else:
            pen.unlink(aside)


# deleted resources


def _deleted(session: Session, now: float, rule: Rule) -> Iterator[tuple[NamespaceFolder, str, str | None]]:
    """Every deleted resource of the caller's that has had its grace."""
    for namespace in session.spaces():
        folder = session.folder.namespace(namespace)
        if os.path.islink(folder.trash) or not session.may_write(folder.trash):
            continue
        names = [entry.name for entry in listed(folder.trash) if entry.is_dir(follow_symlinks=False)]
        for name in (name for name in names if is_gone(name) or deleted_name(name)):
            own = session.keeps(namespace, Resource(f"{folder.trash}/{name}", name))
            if own and (is_gone(name) or _rested(f"{folder.trash}/{name}", now) >= rule.grace):
                yield folder, name, namespace


def _deleted_as(folder: NamespaceFolder, name: str) -> str:
    space = os.path.basename(folder.path)
    return (deleted_name(name) or name) if space == UNNAMED else f"{space}/{deleted_name(name) or name}"


def _remove_deleted(session: Session, folder: NamespaceFolder, name: str, namespace: str | None) -> Collected:
    """One deleted resource for good; its lock sees that nobody restores it meanwhile."""
    path = f"{folder.trash}/{name}"
    size = _weigh([path])
    if is_gone(name):
        with suppress(PermissionError):  # a colleague's
            session.pen.remove_tree(path)
        return Collected(bytes=size)
    lock = Resource(path, name).folder.lock
    if _owner(path) != session.uid:
        return Collected(left=(f"{_deleted_as(folder, name)}, which a colleague deleted",))
    try:
        with held(lock, mode=session.modes(namespace).lock, timeout=0, note="lhub gc"):
            gone = folder.gone(session.unique())
            session.pen.rename(path, gone)
            session.pen.sync_folder(folder.trash)
    except (OSError, LockTimeout) as error:
        if isinstance(error, OSError) and error.errno not in GONE:
            raise
        return Collected(left=(f"{_deleted_as(folder, name)}, which is being restored",))
    session.pen.remove_tree(gone)
    return Collected(deleted=(_deleted_as(folder, name),), bytes=size)
