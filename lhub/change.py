"""Every change of a resource, under its lock: mend what a dead writer left, then act, then tell the diary.

The steps are those of FORMAT.md, "Push", 4 to 9. Whether a name is there is decided by the answer of rename, link or
symlink, never by looking first. The commit point of a push is the rename of its tag's link; all before it names
nothing, all after it can be done again by the next writer.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from lhub.commits import tip_of
from lhub.diary import Entry, Recorded, missing
from lhub.disk import TAKEN, Pen
from lhub.errors import Conflict, Corrupt, Denied, LhubError, NotFound
from lhub.history import Diary, DiaryLost
from lhub.identity import account_of
from lhub.layout import (
    BASE,
    ONE_PERSON,
    SCRATCH,
    VERSION_FOLDER,
    Modes,
    NamespaceFolder,
    ResourceFolder,
    going,
    is_private,
    is_sealed,
    is_version,
    link_to,
    trash_name,
)
from lhub.lock import held
from lhub.manifest import resource_text
from lhub.moments import timestamp
from lhub.opening import listed, says
from lhub.staging import ENDS, LOOKED_AT, Staged, agrees, drop
from lhub.store import Deleted, Resource, Vanished
from lhub.tags import Links
from lhub.ways import faked

_TICK = 0.011
"""Seconds of the coarsest clock of a Linux server's file times (HZ=100), and a little more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Who changes something and with what: the pen, names for scratch files, the clock (seconds since 1970).

    `timeout` is how many seconds to wait for a lock, `waiting` is told who holds it.
    """

    pen: Pen
    name: str
    address: str
    unique: str
    clock: Callable[[], float]
    timeout: float
    waiting: Callable[[str], None]

    @property
    def note(self) -> str:
        """What those who wait are told."""
        return f"{self.name} ({self.address}, process {os.getpid()}) since {timestamp(self.clock())}"


def prepare(pen: Pen, place: ResourceFolder, modes: Modes, *, uid: int, mode: int) -> bool:
    """Make the folders of a resource with their final modes; False when the resource's own stood already.

    Of what is sealed the logs of its tasks, which name what is in it, are closed to others.
    """
    try:
        made = pen.make_folder(place.path, mode)
    except PermissionError:
        raise Denied(f"{place.path} may not be made by you", hint="its namespace's owner decides who may") from None
    if made:
        pen.sync_folder(os.path.dirname(place.path))
    else:
        _see_own(place.path, modes, uid)
    if made and is_private(mode):
        see_private(place.path)
    pen.make_folders([place.inside, place.versions, place.history, *place.stores], modes.inner)
    pen.make_folders([place.builds], modes.private if is_sealed(mode) else modes.inner)
    return made


def _see_own(path: str, modes: Modes, uid: int) -> None:
    """Refuse a folder that somebody else put there: in a sticky namespace the first to take a name owns it."""
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        raise Corrupt(f"{path} is not a folder", hint="somebody put it there by hand; remove it")
    if status.st_uid != uid and modes is ONE_PERSON:
        raise Denied(f"{path} belongs to another user", hint="choose another name")


def see_private(path: str) -> None:
    """Refuse to call something private where the file system lets others in all the same."""
    if not is_private(os.lstat(path).st_mode):
        raise LhubError(
            f"{path} cannot be made private: this file system does not keep modes",
            hint="what is private needs a file system with POSIX modes",
        )


@contextmanager
def change(resource: Resource, modes: Modes, writer: Writer, *, visibility: str | None = None) -> Iterator[Change]:
    """The resource, locked, listed and mended; raises LockTimeout, Denied, NotFound.

    `visibility` is what the caller has set just now and will record himself.
    """
    lock = resource.folder.lock
    with ExitStack() as stack:
        try:
            stack.enter_context(
                held(lock, mode=modes.lock, timeout=writer.timeout, note=writer.note, waiting=writer.waiting)
            )
        except FileNotFoundError:
            raise Deleted(f"{resource.name} was deleted meanwhile", hint=f"lhub restore {resource.name}") from None
        change = Change(resource, modes, writer)
        change.mend(visibility)
        try:
            yield change
        finally:
            change.settle()


def clear_leftover(resource: Resource, modes: Modes, writer: Writer, aside: str) -> None:
    """Remove what a first push left that did not get as far as a tag; Conflict when it has by now."""
    if resource.status() is None:
        return
    with ExitStack() as stack:
        with suppress(FileNotFoundError):  # it did not even get as far as a lock
            stack.enter_context(held(resource.folder.lock, mode=modes.lock, timeout=writer.timeout, note=writer.note))
        if resource.status() is None:
            return
        if resource.published():
            raise Conflict(f"{resource.name} was pushed just now", hint="look again")
        writer.pen.rename(resource.folder.path, aside)
    with suppress(OSError):  # a living first push may still fill it; the next collection removes what is left
        writer.pen.remove_tree(aside)


class Change:
    """What may be done while the lock is held; `warnings` are sentences about what did not work but lost nothing."""

    def __init__(self, resource: Resource, modes: Modes, writer: Writer) -> None:
        self.modes, self.writer, self.pen = modes, writer, writer.pen
        self._stand_at(resource)
        self.recorded: Recorded | None = None
        self.warnings: list[str] = []
        self.links = Links(tags={}, odd={})
        self.moved: set[str] = set()
        self.moved_at = 0.0

    def _stand_at(self, resource: Resource) -> None:
        self.resource, self.place = resource, resource.folder
        self.scratch = self.place.scratch(self.writer.unique)
        self.diary = Diary(self.pen, resource, self.modes, self.scratch)

    # before anything is changed

    def mend(self, visibility: str | None = None) -> None:
        """Finish what a dead writer began: tags from their pins, versions from the trash, the diary from the links."""
        self.links = self.resource.links()  # lists the folder, which refreshes names on every network file system
        for folder in (self.place.inside, self.place.history, os.path.dirname(self.place.branch)):
            listed(folder)  # as well: what another host has told the diary since
        names = os.listdir(self.place.versions)
        self._drop_scratch(names)
        for name, tag in self.links.tags.items():
            if tag.protected and says(self.place.tag(name)) != link_to(tag.version):
                self._point(name, tag.version)
        self._bring_back_named(names)
        self._catch_up(visibility)

    def bring_back_named(self) -> None:
        """List again, and take out of the trash what a tag or pin names; for who has just put something there."""
        self.links = self.resource.links()
        self._bring_back_named(os.listdir(self.place.versions))

    def _bring_back_named(self, names: list[str]) -> None:
        standing = {name for name in names if is_version(name)}
        for version in {tag.version for tag in self.links.tags.values()} - standing:
            self._bring_back(version)

    def _drop_scratch(self, names: list[str]) -> None:
        """Scratch files without a lock beside them are made under the resource's lock only: their maker is dead."""
        alive = {name.removesuffix(".lock") for name in names if name.endswith(".lock")}
        for name in names:
            if name.startswith(SCRATCH) and name.endswith(ENDS) and name.rpartition(".")[0] not in alive:
                with suppress(PermissionError):  # a colleague's, who sweeps it himself
                    drop(self.pen, f"{self.place.versions}/{name}")

    def _bring_back(self, version: str, *, dying: bool = True) -> bool:
        """Take a version out of the trash; False when it is not there.

        What is `dying`, already being removed, is brought back for a tag that names it, never to be named anew.
        """
        name = self.resource.in_trash(version)
        if name is None and dying:  # a collection that was killed may have begun to remove it
            name = next((name for name in os.listdir(self.place.versions) if going(name) == version), None)
        if name is None:
            return False
        try:
            self.pen.rename(f"{self.place.versions}/{name}", self.place.version(version).path)
        except FileNotFoundError:  # a collection without our lock brought it back itself, or took it
            return version in os.listdir(self.place.versions)
        self.pen.sync_folder(self.place.versions)
        return True

    def _catch_up(self, told: str | None) -> None:
        if faked():  # git, a program of its own, sees nothing of it; verify says so
            return
        try:
            self.diary.begin()
            self.recorded = self.diary.recorded()
            visibility = self.visibility()
            if visibility == told:
                visibility = self.recorded.visibility or visibility
            try:
                self._complete(visibility)
            except DiaryLost:
                self._complete(visibility, anew=True)
        except (LhubError, OSError) as error:
            self._warn(error)

    def _complete(self, visibility: str, *, anew: bool = False) -> None:
        """Tell the diary what the links said before this change, as far as it does not know."""
        if anew or self.recorded is None:
            self.recorded = Recorded()
        lacking = missing(
            self.recorded,
            self.links.tags,
            visibility,
            now=self.writer.clock(),
            account=account_of,
            deleted=self.place.is_deleted,
        )
        self.recorded = self.diary.add(self.recorded, *lacking)

    def _warn(self, error: Exception) -> None:
        self.recorded = None
        self.warnings.append(f"the diary of {self.resource.name} lags, the next change completes it: {error}")

    def _sync_names(self, folder: str) -> None:
        """Make the names in a folder durable that readers look for, and remember to touch it."""
        self.pen.sync_folder(folder)
        self.moved.add(folder)
        self.moved_at = time.monotonic()

    def settle(self) -> None:
        """Touch the folders in which names moved, in a later tick of the server's clock, while the lock is held.

        NFS 3 knows a folder by its mtime alone: what moves in the tick in which another host lists it stays hidden
        there (5 to 8 of 30 listings were old, up to a minute; none when it is touched).
        """
        if self.moved:
            time.sleep(max(0.0, self.moved_at + _TICK - time.monotonic()))  # the diary has mostly taken as long
        for folder in sorted(self.moved):
            with suppress(OSError):
                self.pen.set_time(folder)

    # what is looked at again under the lock

    def visibility(self) -> str:
        """``public`` or ``private``, as the folder's mode says."""
        return self.resource.visibility()

    def refuse_protected(self, tags: tuple[str, ...], version: str) -> None:
        """Raise Conflict when a tag is protected and of another version."""
        if held := [tag for tag in tags if self._protected(tag, version)]:
            raise protected_error(self.resource.name, held)

    def _protected(self, tag: str, version: str) -> bool:
        return self.links.standing(tag) not in (None, version)

    def refuse_removal(self, tags: tuple[str, ...], *, unprotect: Collection[str] = ()) -> None:
        """Raise unless every tag stands and none is protected but those of `unprotect`."""
        if absent := [tag for tag in tags if tag not in self.links.tags]:
            raise NotFound(
                f"{self.resource.name} has no tag {', '.join(absent)}",
                hint=f"lhub show {self.resource.name} lists its tags",
            )
        if held := [tag for tag in tags if self.links.tags[tag].protected and tag not in unprotect]:
            raise unremoved_error(self.resource.name, held)

    def agree_on_kind(self, kind: str) -> None:
        """Raise Conflict when the resource is of another kind."""
        stands = self.resource.kind()
        if stands not in (None, kind) and self.resource.published():
            raise Conflict(f"{self.resource.name} holds {stands}, this is {kind}", hint="push it under another name")

    def fix_kind(self, kind: str) -> None:
        """Write the kind down once, exclusively; Conflict when the resource is of another."""
        stands, text, scratch = self.resource.kind(), resource_text(kind).encode(), f"{self.scratch}.file"
        if stands is None:
            self.pen.create(self.place.file, text, self.modes.file, scratch=scratch)
            stands = self.resource.kind()
        elif stands != kind and not self.resource.published():  # an interrupted first push wrote it
            self.pen.replace(self.place.file, text, self.modes.file, scratch=scratch)
            stands = kind
        if stands != kind:
            raise Conflict(f"{self.resource.name} holds {stands}, this is {kind}", hint="push it under another name")
        if kind == BASE:
            self.tell_base()

    def tell_base(self) -> None:
        """Let a push to this namespace find its base image by name; who may not see what is private sees no name."""
        space = NamespaceFolder(os.path.dirname(self.place.path))
        self.pen.make_folders([space.bases], self.modes.private)
        with suppress(FileExistsError):
            self.pen.write_new(f"{space.bases}/{os.path.basename(self.place.path)}", b"", self.modes.file, sync=False)

    # the steps of a push

    def publish(self, staged: Staged, *, reads: int = LOOKED_AT) -> bool:
        """Step 5: the staging folder becomes the version; False when it stood already, as `agrees` tells."""
        self.diary.expect(staged)
        final = self.place.version(staged.id).path
        for _ in range(3):
            if staged.folder is None:
                if self.resource.has(staged.id) or self._bring_back(staged.id, dying=False):
                    self.pen.sync_folder(self.place.versions)  # who renamed it may have died before he did
                    return False
                raise Vanished(f"{self.resource.name}@{staged.id[:12]} was collected meanwhile", hint="push it again")
            try:
                self.pen.rename(staged.folder.path, final)
            except OSError as error:
                if error.errno not in TAKEN:
                    raise
                if agrees(self.resource, staged, reads=reads):
                    self.pen.sync_folder(self.place.versions)
                    return False
                self.pen.rename(final, f"{self.place.versions}/{trash_name(staged.id, self.writer.clock())}")
            else:
                self.pen.sync_folder(self.place.versions)
                return True
        raise Corrupt(
            f"{self.resource.name}@{staged.id[:12]} cannot be put in its place", hint="look who else writes there"
        )

    def pin(self, tags: tuple[str, ...], version: str) -> bool:
        """Step 6: make tags protected; Conflict names one that stands elsewhere and the pins already made."""
        made: list[str] = []
        self._stand(version)
        for tag in tags:
            try:
                self.pen.symlink(link_to(version), self.place.pin(tag))
                made.append(tag)
            except FileExistsError:
                if says(self.place.pin(tag)) != link_to(version):
                    raise protected_error(self.resource.name, [tag], made) from None
        if tags:
            self._sync_names(self.place.path)
        return bool(made)

    def move(self, tags: tuple[str, ...], version: str, *, exclusively: bool = False) -> bool:
        """Step 7, the commit point: each tag at once; then the version is looked for again. False: nothing moved."""
        moved: list[str] = []
        self._stand(version)
        for tag in tags:
            if says(self.place.tag(tag)) != link_to(version):
                if exclusively:
                    self._make(tag, version, moved)
                else:
                    self._point(tag, version)
                moved.append(tag)
        self._sync_names(self.place.path)
        if version not in os.listdir(self.place.versions) and not self._bring_back(version):
            raise Vanished(f"{self.resource.name}@{version[:12]} was collected meanwhile", hint="push it again")
        return bool(moved)

    def appear(self) -> None:
        """The resource is new: its namespace is touched in the end."""
        self.moved.add(os.path.dirname(self.place.path))

    def _stand(self, version: str) -> None:
        """See that a version stands before a link names it, out of the trash if need be.

        A collection that noted it waits anew once it was tagged: the note goes before the link is made.
        """
        if not self.resource.has(version) and not self._bring_back(version, dying=False):
            raise Vanished(f"{self.resource.name}@{version[:12]} was collected meanwhile", hint="push it again")
        if os.path.lexists(self.place.seen(version)):
            self.pen.unlink(self.place.seen(version))

    def _point(self, tag: str, version: str) -> None:
        try:
            self.pen.replace_link(link_to(version), self.place.tag(tag), scratch=f"{self.scratch}.link")
        except IsADirectoryError:
            self.pen.unlink(f"{self.scratch}.link")
            raise Corrupt(
                f"the tag {tag} of {self.resource.name} cannot be set: a folder stands there", hint="remove it by hand"
            ) from None

    def _make(self, tag: str, version: str, made: list[str]) -> None:
        try:
            self.pen.symlink(link_to(version), self.place.tag(tag))
        except FileExistsError:
            also = f" ({', '.join(made)} made before)" if made else ""
            raise Conflict(
                f"{self.resource.name}:{tag} stands already{also}", hint="--if-absent only makes new tags"
            ) from None

    def remove(self, tags: tuple[str, ...]) -> None:
        """Remove tags; of a protected one the pin last, for as long as that stands the tag does."""
        for tag in tags:
            self.pen.unlink(self.place.tag(tag))
            if self.links.tags[tag].protected:
                self.pen.unlink(self.place.pin(tag))
        self._sync_names(self.place.path)

    def rebuild_diary(self, entries: list[Entry]) -> None:
        """Set the diary aside, whatever it says, and begin it anew with these entries, oldest first."""
        if tip := tip_of(self.resource):
            self.diary.set_aside(tip)
        self.recorded = self.diary.add(Recorded(), *entries)
        self._complete(self.visibility())

    def publish_image(self, version: str, layout: str) -> None:
        """A staged layout becomes the image of a version; the one that stood is found until it is in its place.

        It waits under the name of what is to be removed, so that a kill leaves nothing that is not collected: a folder
        that moves to another must be writable, and shall be read-only and durable before it has its name.
        """
        final, old, waiting = self.place.image(version), self.place.old_image(version), self._gone_image()
        if self.pen.make_folder(self.place.images, self.modes.inner):
            self.pen.sync_folder(self.place.inside)
        self._stand(version)
        listed(self.place.images)  # as another host has left it
        self.pen.rename(layout, waiting)
        self.pen.set_mode(waiting, VERSION_FOLDER)
        self.pen.sync_folder(waiting)
        try:
            self.pen.rename(waiting, final)
        except OSError as error:
            if error.errno not in TAKEN:
                raise
            self._drop_image(old)
            self.pen.rename(final, old)
            self.pen.rename(waiting, final)
        self._sync_names(self.place.images)
        self._drop_image(old)

    def _gone_image(self) -> str:
        return self.place.gone_image(f"{self.writer.unique}-{os.urandom(4).hex()}")

    def _drop_image(self, path: str) -> None:
        """Remove an image that nobody shall read; a colleague's is renamed, and collected by him."""
        gone = self._gone_image()
        with suppress(FileNotFoundError):
            self.pen.rename(path, gone)
            with suppress(PermissionError):
                drop(self.pen, gone)

    def relocate(self, place: str, name: str | None = None) -> None:
        """The whole resource, its lock too, to another place in its namespace: what delete, restore and rename are."""
        before = self.place.path
        self.pen.rename(before, place)
        for folder in (os.path.dirname(place), os.path.dirname(before)):
            self._sync_names(folder)
        self._stand_at(Resource(place, name or self.resource.name))

    def see_maker(self) -> None:
        """Raise Denied for who did not make the resource: the kernel lets nobody else set its mode."""
        status = self.resource.status()
        if status is not None and os.geteuid() != 0 and status.st_uid != os.geteuid():
            raise Denied(f"{self.resource.name} was made by {account_of(status.st_uid)}", hint="its maker can do this")

    def set_visibility(self, visibility: str) -> None:
        """Set the folder's mode and see that it stuck."""
        try:
            closed = self.modes.sealed if self.resource.sealed() else self.modes.private
            self.pen.set_mode(self.place.path, closed if visibility == "private" else self.modes.public)
        except PermissionError:
            raise Denied(f"{self.resource.name} is not yours to change", hint="its maker can") from None
        if visibility == "private":
            see_private(self.place.path)
        self.pen.sync_folder(self.place.path)

    def entry(self, action: str) -> Entry:
        """A new entry of the diary, by whoever writes, now; to be completed by `replace`."""
        return Entry(action=action, name=self.writer.name, address=self.writer.address, when=self.writer.clock())

    def record(self, *entries: Entry) -> None:
        """Step 8: entries in the diary; a diary that cannot be written lags, and loses nothing but the messages."""
        if self.recorded is None:
            return
        try:
            try:
                self.recorded = self.diary.add(self.recorded, *entries)
            except DiaryLost:
                self._complete(self.visibility(), anew=True)
                self.recorded = self.diary.add(self.recorded, *entries)
        except (LhubError, OSError) as error:
            self._warn(error)

    def keep_secret(self, verifier: bytes) -> None:
        """Keep the verifier of a new resource's secret, readable by its maker alone; a dead first push's gives way."""
        self.pen.replace(self.place.secret, verifier, 0o600, scratch=f"{self.scratch}.file")

    def keep_seal(self, text: bytes) -> None:
        """Put a seal in its place, durable before anything is named that only it opens."""
        self.pen.replace(self.place.seal, text, self.modes.file, scratch=f"{self.scratch}.file")
        self.pen.sync_folder(self.place.inside)


def see_expected(name: str, links: Links, tags: tuple[str, ...], version: str) -> None:
    """Raise Conflict unless each tag stands at `version` (8 to 64 hex digits)."""
    for tag in tags:
        stands = links.tags.get(tag)
        if stands is None or not stands.version.startswith(version):
            found = f"is at {stands.version[:12]}" if stands else "does not stand"
            raise Conflict(f"{name}:{tag} {found}, not at {version[:12]}", hint="look again, then push")


def protected_error(name: str, tags: list[str], made: list[str] | None = None) -> Conflict:
    """The refusal of a change that names a protected tag."""
    also = f"; already protected by this push: {', '.join(made)}" if made else ""
    several = "tags are" if len(tags) > 1 else "tag is"
    return Conflict(
        f"{name}: the {several} protected: {', '.join(sorted(tags))}{also}",
        hint="a protected tag never moves; use another tag",
    )


def unremoved_error(name: str, tags: list[str], *, whole: bool = False) -> Conflict:
    """The refusal to remove protected tags, alone or with the `whole` resource, that were not named one by one."""
    several = "tags are" if len(tags) > 1 else "tag is"
    what = f"{name} " + " ".join(f"--unprotect {tag}" for tag in sorted(tags))
    return Conflict(
        f"{name}: the {several} protected: {', '.join(sorted(tags))}",
        hint=f"if you mean it: lhub delete {what if whole else f'{name}:{tags[0]} --unprotect {tags[0]}'}",
    )
