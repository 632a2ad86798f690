"""A model of lhub on a share: writers, readers, a collector and crashes, step by step, in every order.

Three parts, each to be read as a specification:

- :class:`Server` is the file system as six real ones were measured: rename, link and symlink are decided by the server
  and at once; a host remembers names as they were until it lists their folder, or a minute is over; what was not synced
  may be lost at a power cut, each file's content and each change of a name for itself.
- The actors are the rooms of lhub (`store`, `change`, `history`, `staging`, `publish`, `collection`, `deletion`,
  `fetch`), with the same names for the same steps. Each is a generator that yields before it asks the file system
  anything. :class:`Rules` holds a switch for every rule of FORMAT.md that they keep.
- `PROMISES` are FORMAT.md's: what is named is whole, one name moves at a time, a pin never moves, and so on;
  :class:`Theatre` sees that they are kept.

:func:`walk` lets the actors of a play take turns in every order, fewest switches between them first, kills them at each
of their steps, and cuts the power at each, until a promise is broken or all has been seen.

What is not modelled: several files in a version (it has one, and a manifest that stands for SHA256SUMS too), the kind,
the secret, who may do what, and what is derived and may be lost (`recorded.json`, the tasks).

>>> walk(PLAYS["a push and a reader"]).states > 100
True
>>> walk(PLAYS["a push and a reader"], without("tag_is_renamed_over"))
Traceback (most recent call last):
    ...
tests.simulation.Broken: one name moves at a time, at once, by who was to: latest went from V1 to None by writer
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, NamedTuple, TypeAlias

Inode: TypeAlias = tuple[str, int]
Step: TypeAlias = tuple[Any, ...]
Acts: TypeAlias = Generator[Step, Any, Any]
"""An actor, or a part of what it does: it yields what it asks (a verb and its words) and is sent the answer."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Every rule, in force unless it is taken out; the name is the sentence."""

    # every change
    takes_the_lock: bool = True
    compares_the_lock_with_its_path: bool = True
    lists_before_it_compares: bool = True
    lists_after_the_lock: bool = True
    repairs_tags_from_pins: bool = True
    brings_back_what_is_named: bool = True
    catches_the_diary_up: bool = True
    # push
    hides_before_the_first_byte: bool = True
    syncs_what_it_hides: bool = True
    syncs_the_namespace: bool = True
    syncs_the_inner_folders: bool = True
    syncs_the_staged_files: bool = True
    syncs_the_staged_names: bool = True
    syncs_a_blob_before_it_is_linked: bool = True
    a_blob_that_stands_is_touched_or_linked: bool = True
    lists_after_it_touched_a_blob: bool = True
    asks_whether_the_maker_of_staging_lives: bool = True
    moves_staging_before_it_removes_it: bool = True
    keeps_the_version_that_stands: bool = True
    version_stands_before_it_is_pinned: bool = True
    version_stands_before_it_is_tagged: bool = True
    syncs_versions: bool = True
    syncs_what_stood: bool = True
    looks_at_expect_under_the_lock: bool = True
    pins_before_it_tags: bool = True
    pin_is_made_exclusively: bool = True
    tag_is_renamed_over: bool = True
    syncs_tags: bool = True
    forgets_the_note: bool = True
    looks_again_for_the_version: bool = True
    lists_before_it_looks_again: bool = True
    hides_before_it_tells: bool = True
    tells_before_it_opens: bool = True
    syncs_what_it_opens: bool = True
    # the diary
    lists_the_branch: bool = True
    syncs_the_pack: bool = True
    diary_compares: bool = True
    syncs_the_branch: bool = True
    # read
    reader_lists: bool = True
    reader_takes_the_pin: bool = True
    reader_opens_once: bool = True
    reader_looks_into_the_trash: bool = True
    reader_tries_again: bool = True
    # collection
    waits_a_grace: bool = True
    moves_before_it_removes: bool = True
    lists_again_after_the_trash: bool = True
    brings_back_before_it_names: bool = True
    asks_manifests_before_a_blob_goes: bool = True
    looks_again_at_a_blob: bool = True
    # deletion
    syncs_a_deletion: bool = True
    leftover_is_looked_at_under_its_lock: bool = True
    restore_never_replaces: bool = True


RULES = Rules()


def without(*names: str) -> Rules:
    """The rules but for some."""
    return replace(RULES, **dict.fromkeys(names, False))


def rule_names() -> list[str]:
    """Every rule that can be taken out."""
    return [field.name for field in fields(Rules)]


# the file system


class NotEmpty(OSError):
    """ENOTEMPTY: a folder is renamed onto one that is not empty."""


class Node(NamedTuple):
    """A file, folder or link; `mode` is of folders: open, closed (to others), staging (closed to all but its maker)."""

    kind: str
    data: Hashable = None
    mode: str = ""
    time: int = 0


class Status(NamedTuple):
    """What lstat answers."""

    inode: Inode
    kind: str
    mode: str
    time: int
    links: int


class Unsynced(NamedTuple):
    """Something that is not durable yet: what it changed (key, before, after), and the folder that was not synced."""

    what: tuple[tuple[Any, Any, Any], ...]
    waits: Inode


class Table(dict[Any, Any]):
    """A dictionary that knows itself by one number, so that two moments are compared at once."""

    __slots__ = ("mark",)

    def __init__(self, other: Table | None = None) -> None:
        super().__init__(other or ())
        self.mark: int = other.mark if other is not None else 0

    def __setitem__(self, key: Any, value: Any) -> None:
        if key in self:
            self.mark ^= hash((key, self[key]))
        self.mark ^= hash((key, value))
        super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> None:
        self.mark ^= hash((key, self[key]))
        super().__delitem__(key)

    def copy(self) -> Table:
        return Table(self)


ROOT: Inode = ("root", 0)
TORN = "torn"


class Server:
    """One namespace of a registry, as its server has it, and what each host still believes of it.

    A host may believe of any name what it was before another host changed it: somebody there has looked it up just
    then. That ends when the host lists the folder, asks for a change of the name, or a grace passes (it is longer than
    the minute that a name can be stale). A staging folder is known to its maker only.
    """

    __slots__ = ("dirty", "hosts", "keeps_a_log", "locks", "locks_hold", "log", "names", "nodes", "now", "stale")

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        self.hosts = tuple(hosts)
        self.keeps_a_log, self.locks_hold = False, True
        self.names = Table()
        """What lies where: (folder, name) to inode."""
        self.nodes = Table()
        self.nodes[ROOT] = Node("folder", mode="open")
        self.stale = Table()
        """What a host still believes: (host, folder, name) to inode, or None for nothing."""
        self.dirty = Table()
        """Files whose content is not durable, and the host that wrote it."""
        self.locks = Table()
        self.log: tuple[Unsynced, ...] = ()
        self.now = 9

    def copy(self) -> Server:
        """The same, to go another way from here."""
        other = Server.__new__(Server)
        other.hosts, other.now, other.log = self.hosts, self.now, self.log
        other.keeps_a_log, other.locks_hold = self.keeps_a_log, self.locks_hold
        other.names, other.nodes, other.stale = self.names.copy(), self.nodes.copy(), self.stale.copy()
        other.dirty, other.locks = self.dirty.copy(), self.locks.copy()
        return other

    def key(self) -> Hashable:
        """All of it as one value."""
        marks = (self.names.mark, self.nodes.mark, self.stale.mark, self.dirty.mark, self.locks.mark)
        return (self.now, self.log, marks)

    # names, as a host sees them

    def find(self, host: str, path: str) -> Inode:
        """What a host finds at a path; FileNotFoundError for nothing."""
        inode = ROOT
        for name in path.split("/") if path else ():
            key = (host, inode, name)
            found = self.stale[key] if key in self.stale else self.names.get((inode, name))
            if found is None:
                raise FileNotFoundError(path)
            inode = found
        return inode

    def truth(self, path: str) -> Inode | None:
        """What lies at a path, for who sees all."""
        try:
            return self.find("", path)
        except FileNotFoundError:
            return None

    def inside(self, folder: Inode | None) -> dict[str, Inode]:
        """What is in a folder."""
        return {name: inode for (parent, name), inode in self.names.items() if parent == folder}

    def there(self, host: str, path: str) -> Inode:
        """The same; FileNotFoundError (ESTALE) for what is gone too, though the host still knows its name."""
        inode = self.find(host, path)
        if inode not in self.nodes:
            raise FileNotFoundError(path)
        return inode

    def place(self, host: str, path: str) -> tuple[Inode, str]:
        """The folder of a path, as the host sees it, and the name in it, of which the server decides and then tells."""
        folder, _, name = path.rpartition("/")
        inode = self.there(host, folder)
        if (host, inode, name) in self.stale:
            del self.stale[host, inode, name]
        return inode, name

    def _set(self, host: str, *names: tuple[tuple[Inode, str], Inode | None]) -> None:
        """Change names at once; the other hosts may go on believing what was."""
        what = []
        for key, inode in names:
            before = self.names.get(key)
            if inode is not None:
                self.names[key] = inode
            elif before is not None:
                del self.names[key]
            for other in self.hosts if self.nodes[key[0]].mode != "staging" else ():
                if other != host and (other, *key) not in self.stale:
                    self.stale[(other, *key)] = before
            what.append((key, before, inode))
        self._log(*what)

    def _log(self, *what: tuple[Any, Any, Any]) -> None:
        """A rename is one change, durable when the folder that it leads into was synced."""
        if self.keeps_a_log:
            self.log += (Unsynced(what, what[0][0][0]),)

    def _new(self, host: str, me: Inode, path: str, node: Node) -> None:
        key = self.place(host, path)
        if key in self.names:
            raise FileExistsError(path)
        self.nodes[me] = node._replace(time=self.now)
        self._set(host, (key, me))

    def _forget(self, inode: Inode | None) -> None:
        """The server frees what has no name any more; what a link said is remembered where its name is."""
        if inode is None or inode in self.names.values():
            return
        self._settle(inode)
        if not self.keeps_a_log and (self.nodes[inode].kind != "link" or inode not in self.stale.values()):
            del self.nodes[inode]  # what is not durable may be undone

    def _settle(self, inode: Inode) -> None:
        if inode in self.dirty:
            del self.dirty[inode]

    # the pen

    def make_folder(self, host: str, me: Inode, path: str, mode: str) -> bool:
        try:
            self._new(host, me, path, Node("folder", mode=mode))
        except FileExistsError:
            return False
        return True

    def make_folders(self, host: str, me: Inode, *paths: str) -> None:
        for number, path in enumerate(paths):
            self.make_folder(host, (f"{me[0]}'{number}", me[1]), path, "open")

    def set_mode(self, host: str, me: Inode, path: str, mode: str) -> None:
        inode = self.there(host, path)
        before, self.nodes[inode] = self.nodes[inode], self.nodes[inode]._replace(mode=mode)
        self._log(((inode,), before.mode, mode))

    def copy_in(self, host: str, me: Inode, path: str, data: Hashable) -> None:
        self._new(host, me, path, Node("file", data))
        self.dirty[me] = host

    def write_new(self, host: str, me: Inode, path: str, data: Hashable, sync: str = "") -> None:
        self.copy_in(host, me, path, data)
        if sync:
            del self.dirty[me]

    def symlink(self, host: str, me: Inode, target: str, path: str) -> None:
        self._new(host, me, path, Node("link", target))

    def link(self, host: str, me: Inode, source: str, path: str) -> None:
        inode, key = self.names.get(self.place(host, source)), self.place(host, path)
        if inode is None:
            raise FileNotFoundError(source)
        if key in self.names:
            raise FileExistsError(path)
        self._set(host, (key, inode))

    def rename(self, host: str, me: Inode, source: str, path: str) -> None:
        old, new = self.place(host, source), self.place(host, path)
        inode, over = self.names.get(old), self.names.get(new)
        if inode is None:
            raise FileNotFoundError(source)
        if over is not None and self.inside(over):
            raise NotEmpty(path)
        if over == inode:
            return
        self._set(host, (new, inode), (old, None))
        self._forget(over)

    def unlink(self, host: str, me: Inode, path: str) -> None:
        try:
            key = self.place(host, path)
        except FileNotFoundError:
            return
        if inode := self.names.get(key):
            self._set(host, (key, None))
            self._forget(inode)

    def remove_tree(self, host: str, me: Inode, path: str) -> tuple[str, ...]:
        """The names that are to be removed first."""
        try:
            return tuple(sorted(self.inside(self.find(host, path))))
        except FileNotFoundError:
            return ()

    def rmdir(self, host: str, me: Inode, path: str) -> None:
        self.unlink(host, me, path)

    def set_time(self, host: str, me: Inode, path: str) -> None:
        inode = self.there(host, path)
        self.nodes[inode] = self.nodes[inode]._replace(time=self.now)

    def sync_file(self, host: str, me: Inode, path: str) -> None:
        self._settle(self.find(host, path))

    def sync_folder(self, host: str, me: Inode, path: str) -> None:
        """The changes of a folder become durable, and what they rest on."""
        inode, durable, kept = self.find(host, path), set[Any](), []
        for change in reversed(self.log):
            keys = {key for key, _, _ in change.what}
            if change.waits != inode and not keys & durable:
                kept.append(change)
            else:
                durable |= keys
        self.log = tuple(reversed(kept))

    # the eyes

    def list(self, host: str, me: Inode, path: str) -> tuple[str, ...]:
        """A listing refreshes what the host believes of the names in the folder."""
        inode = self.there(host, path)
        for key in [key for key in self.stale if key[:2] == (host, inode)]:
            del self.stale[key]
        return tuple(sorted(self.inside(inode)))

    def read_link(self, host: str, me: Inode, path: str) -> Any:
        """What a link says: a link that was replaced says what it said, for who still believes in it."""
        return self.read(host, me, path)

    def look(self, host: str, me: Inode, path: str) -> Status | None:
        try:
            inode = self.find(host, path)
        except FileNotFoundError:
            return None
        node = self.nodes.get(inode) or Node("gone")
        links = sum(found == inode for found in self.names.values())
        return Status(inode, node.kind, node.mode, node.time, links)

    def read(self, host: str, me: Inode, path: str) -> Any:
        return self.nodes[self.there(host, path)].data

    def open(self, host: str, me: Inode, path: str) -> Inode:
        return self.there(host, path)

    def read_beneath(self, host: str, me: Inode, folder: Inode, name: str) -> Any:
        """A file in an open folder, wherever that lies by now."""
        inode = self.names.get((folder, name))
        if inode is None:
            raise FileNotFoundError(name)
        return self.nodes[inode].data

    # locks and the clock

    def open_lock(self, host: str, me: Inode, path: str) -> Inode:
        """The lock file, made if it is not there."""
        try:
            return self.find(host, path)
        except FileNotFoundError:
            key = self.place(host, path)
            if key not in self.names:
                self.write_new(host, me, path, "", "sync")
            made: Inode = self.names[key]
            return made

    def flock(self, host: str, me: Inode, lock: Inode) -> None:
        if lock not in self.locks:
            self.locks[lock] = me[0]

    def try_lock(self, host: str, me: Inode, path: str) -> bool:
        """Take a lock if nobody holds it."""
        lock = self.truth(path)
        if lock is None or (self.locks_hold and lock in self.locks):
            return False
        self.flock(host, me, lock)
        return True

    def unlock(self, host: str, me: Inode, *which: Inode) -> None:
        """A lock, or all that an actor has: the kernel frees them when it ends, too."""
        for lock in [lock for lock, who in self.locks.items() if who == me[0] and lock in (which or self.locks)]:
            del self.locks[lock]

    def clock(self, host: str, me: Inode) -> int:
        return self.now

    def grace(self, host: str, me: Inode) -> None:
        """Two weeks pass: no name is stale any more."""
        self.now += 1
        self.stale = Table()

    # what a power cut leaves

    def after_a_power_cut(self) -> Iterator[Server]:
        """Of all that is not durable everything is lost, or one thing, or all but one and what that rests on."""
        everything: frozenset[Any] = frozenset([*range(len(self.log)), *self.dirty])
        losses = {everything, *(frozenset({one}) for one in everything)}
        losses |= {everything - self._rests_on(one) for one in everything}
        for lost in sorted(losses, key=repr):
            yield self._after_losing(lost)

    def _rests_on(self, one: Any) -> frozenset[Any]:
        """A change and those before it of the same names."""
        if one in self.dirty:
            return frozenset({one})
        needed, keys = {one}, {key for key, _, _ in self.log[one].what}
        for number in range(one - 1, -1, -1):
            if keys & (others := {key for key, _, _ in self.log[number].what}):
                needed.add(number)
                keys |= others
        return frozenset(needed)

    def _after_losing(self, lost: frozenset[Any]) -> Server:
        left, undone, keys = self.copy(), [], set[Any]()
        for number, change in enumerate(self.log):
            if number in lost or keys & {key for key, _, _ in change.what}:
                undone.append(change)
                keys |= {key for key, _, _ in change.what}
        for change in reversed(undone):
            left._undo(change)
        for inode in lost & self.dirty.keys():
            left.nodes[inode] = left.nodes[inode]._replace(data=TORN)
        left.log, left.dirty, left.stale, left.locks = (), Table(), Table(), Table()
        return left

    def _undo(self, change: Unsynced) -> None:
        for key, before, _ in change.what:
            if len(key) == 1:
                self.nodes[key[0]] = self.nodes[key[0]]._replace(mode=before)
            elif before is None:
                del self.names[key]
            else:
                self.names[key] = before

    def lose_the_memory_of(self, host: str) -> None:
        """The host lost power: what it wrote and did not sync is torn."""
        for inode in [inode for inode, writer in self.dirty.items() if writer == host]:
            self.nodes[inode] = self.nodes[inode]._replace(data=TORN)
            del self.dirty[inode]


# what the actors say, beside what they ask the file system

PLACE, VERSIONS, BLOBS, BRANCH, PACK = "X", "X/versions", "X/blobs", "X/heads/main", "X/pack"
FOLDERS = (VERSIONS, BLOBS, "X/heads", PACK)


class Refused(Exception):
    """The actor was told no, and changed nothing by this."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What somebody wants: `tags` (some `protected`) at `version`, or `untag`; `visibility` open or closed, if any."""

    version: str = ""
    tags: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    untag: bool = False
    visibility: str = ""
    expect: str = ""
    executable: bool = False
    """Its one file cannot be a link to its blob."""


class Entry(NamedTuple):
    """One entry of the diary."""

    who: str
    version: str
    tags: tuple[str, ...]
    visibility: str
    late: bool = False


class Links(NamedTuple):
    """Tags and pins as they were read; a pin wins."""

    tags: dict[str, str]
    pins: dict[str, str]

    @property
    def named(self) -> set[str]:
        return {*self.tags.values(), *self.pins.values()}


class Me(NamedTuple):
    """Who acts, on which host, by which rules."""

    name: str
    host: str
    rules: Rules


def digest_of(version: str) -> str:
    """A version of the model has one file; the name of its blob."""
    return f"blob of {version}"


def tag_of(name: str) -> str | None:
    """The tag of a name in the resource's folder, whether it is its link or its pin."""
    tag = name.removeprefix(".protected.")
    return tag if tag in ("latest", "v1", "v2") else None


def trashed(name: str) -> str | None:
    """The version of a name in the trash."""
    return name.split(".")[3] if name.startswith(".trash.") else None


def going(name: str) -> str | None:
    """The version of a name that is being removed for good."""
    return name.split(".")[3] if name.startswith(".gone.") else None


def is_version(name: str) -> bool:
    return name.startswith("V")


# store


def links(me: Me, place: str = PLACE, *, listed: bool = True) -> Acts:
    """Every tag, pins winning; the listing refreshes the names that are read then."""
    names = (yield "list", place) if listed else ("latest", "v1", "v2", *(f".protected.{tag}" for tag in ("v1", "v2")))
    tags: dict[str, str] = {}
    pins: dict[str, str] = {}
    for name in sorted(names, key=lambda name: not name.startswith(".protected.")):
        tag = tag_of(name)
        if tag and tag not in pins:
            try:
                said = yield "read_link", f"{place}/{name}"
            except FileNotFoundError:
                continue
            (pins if name != tag else tags)[tag] = said
    return Links(pins | tags, pins)


def has(me: Me, version: str) -> Acts:
    """Whether a version stands in its place."""
    status = yield "look", f"{VERSIONS}/{version}"
    return status is not None and status.kind == "folder"


def stands(me: Me, version: str) -> Acts:
    """The same of a folder that was just listed: what a host believes of a name may be a minute old."""
    if me.rules.lists_before_it_looks_again:
        return version in (yield "list", VERSIONS)
    return (yield from has(me, version))


def in_trash(me: Me, version: str) -> Acts:
    names = yield "list", VERSIONS
    return max((name for name in names if trashed(name) == version), default=None)


def agrees(me: Me, version: str) -> Acts:
    """Whether the version that stands is whole."""
    if not (yield from has(me, version)):
        return False
    try:
        folder = yield "open", f"{VERSIONS}/{version}"
        manifest = yield "read_beneath", folder, "manifest"
        payload = yield "read_beneath", folder, "files"
    except FileNotFoundError:
        return False
    return (manifest, payload) == (version, digest_of(version))


# change


def held(me: Me, path: str, *, space: str | None = None) -> Acts:
    """The lock; start over when it was moved away with its resource, or swept, meanwhile."""
    while True:
        lock = yield "open_lock", path
        yield "flock", lock
        if space is not None and me.rules.lists_before_it_compares:
            yield "list", space
        status = yield "look", path
        if not me.rules.compares_the_lock_with_its_path or (status and status.inode == lock):
            return
        yield "unlock", lock


def change(me: Me, place: str = PLACE, *, visibility: str = "") -> Acts:
    """The resource, locked, listed and mended: its links, and what the diary was told."""
    if me.rules.takes_the_lock:
        yield from held(me, f"{place}/lock", space=place.rpartition("/")[0])
    yield "enter", place
    found = yield from mend(me, place)
    told = yield from catch_up(me, place, found, visibility)
    return found, told


def leave(me: Me) -> Acts:
    yield ("leave",)
    yield ("unlock",)


def mend(me: Me, place: str) -> Acts:
    """Tags from their pins, versions from the trash."""
    found = yield from links(me, place, listed=me.rules.lists_after_the_lock)
    names = yield "list", f"{place}/versions"
    for tag, version in found.pins.items():
        if me.rules.repairs_tags_from_pins and (yield from says(me, f"{place}/{tag}")) != version:
            yield from point(me, tag, version, place)
    if me.rules.brings_back_what_is_named:
        for version in sorted(found.named - set(names)):
            yield from bring_back(me, version, place)
    return found


def bring_back(me: Me, version: str, place: str = PLACE, *, dying: bool = True) -> Acts:
    """Take a version out of the trash; what is named already also from what a collection that died left half gone."""
    names = yield "list", f"{place}/versions"
    found = [name for name in names if trashed(name) == version]
    found = found or [name for name in names if dying and going(name) == version]
    if not found:
        return False
    try:
        yield "rename", f"{place}/versions/{max(found)}", f"{place}/versions/{version}"
    except FileNotFoundError:
        return False
    yield "sync_folder", f"{place}/versions"
    return True


def says(me: Me, path: str) -> Acts:
    try:
        return (yield "read_link", path)
    except FileNotFoundError:
        return None


def publish(me: Me, version: str, staged: str) -> Acts:
    """Step 5: the staging folder becomes the version."""
    final = f"{VERSIONS}/{version}"
    stood = False
    for _ in range(3):
        try:
            yield "rename", staged, final
        except NotEmpty:
            if not me.rules.keeps_the_version_that_stands:
                yield from remove_tree(me, final)
                continue
            if stood := (yield from agrees(me, version)):
                break
            now = yield ("clock",)
            yield "rename", final, f"{VERSIONS}/.trash.{now}.{version}"
        else:
            break
    if me.rules.syncs_what_stood if stood else me.rules.syncs_versions:
        yield "sync_folder", VERSIONS


def pin(me: Me, tags: tuple[str, ...], version: str) -> Acts:
    """Step 6: by symlink(2); one that stands with another target refuses the push."""
    if tags:
        yield from forget_note(me, version)
    for tag in tags:
        path = f"{PLACE}/.protected.{tag}"
        if not me.rules.pin_is_made_exclusively:
            if (yield from says(me, path)) is None:
                yield from point(me, f".protected.{tag}", version)
            continue
        try:
            yield "symlink", version, path
        except FileExistsError:
            if (yield from says(me, path)) != version:
                raise Refused(tag) from None
    if tags:
        yield "sync_folder", PLACE


def move(me: Me, tags: tuple[str, ...], version: str) -> Acts:
    """Step 7, the commit point: each tag at once; then the version is looked for again."""
    yield from forget_note(me, version)
    for tag in tags:
        if (yield from says(me, f"{PLACE}/{tag}")) != version:
            yield from point(me, tag, version)
    if me.rules.syncs_tags:
        yield "sync_folder", PLACE
    if not me.rules.looks_again_for_the_version or (yield from stands(me, version)):
        return
    if not (yield from bring_back(me, version)):
        raise FileNotFoundError(version)


def point(me: Me, tag: str, version: str, place: str = PLACE) -> Acts:
    """A new link renamed over the old."""
    if not me.rules.tag_is_renamed_over:
        yield "unlink", f"{place}/{tag}"
        yield "symlink", version, f"{place}/{tag}"
        return
    scratch = f"{place}/versions/.tmp.{me.name}.link"
    yield "symlink", version, scratch
    yield "rename", scratch, f"{place}/{tag}"


def forget_note(me: Me, version: str) -> Acts:
    """A collection that noted a version waits anew once it was tagged."""
    if me.rules.forgets_the_note and (yield "look", f"{VERSIONS}/.seen.{version}"):
        yield "unlink", f"{VERSIONS}/.seen.{version}"


def remove_tree(me: Me, path: str) -> Acts:
    for name in (yield "remove_tree", path):
        yield "unlink", f"{path}/{name}"
    yield "rmdir", path


# the diary


def tip_of(me: Me, place: str) -> Acts:
    """All entries, oldest first: the branch names the newest, and that the one before it."""
    try:
        if me.rules.lists_the_branch:
            yield "list", f"{place}/heads"
        return (yield "read", f"{place}/heads/main")
    except FileNotFoundError:
        return ()


def catch_up(me: Me, place: str, found: Links, told: str) -> Acts:
    """Tell the diary what the links say and it does not know; what the caller has just set he tells himself."""
    entries = yield from tip_of(me, place)
    if not me.rules.catches_the_diary_up:
        return entries
    status = yield "look", place
    known = tags_of(entries)
    late = [
        Entry(me.name, found.tags.get(tag, ""), (tag,), "", True)
        for tag in sorted({*known, *found.tags})
        if known.get(tag) != found.tags.get(tag)
    ]
    if visibility_of(entries) not in ("", status.mode) and status.mode != told:
        late.append(Entry(me.name, "", (), status.mode, True))
    return (yield from record(me, place, entries, *late))


def tags_of(entries: tuple[Entry, ...]) -> dict[str, str]:
    """The tags that the diary tells."""
    tags: dict[str, str] = {}
    for entry in entries:
        tags |= dict.fromkeys(entry.tags, entry.version)
    return {tag: version for tag, version in tags.items() if version}


def visibility_of(entries: tuple[Entry, ...]) -> str:
    """The visibility that the diary tells; nothing if it never was told."""
    return next((entry.visibility for entry in reversed(entries) if entry.visibility), "")


def record(me: Me, place: str, entries: tuple[Entry, ...], *more: Entry) -> Acts:
    """Step 8: objects, then the branch, by an exclusive file, a comparison and a rename. A diary that moved lags."""
    if not more:
        return entries
    yield "make_folders", f"{place}/heads", f"{place}/pack"
    new = (*entries, *more)
    yield "write_new", f"{place}/pack/{len(new)}.{me.name}", new, "sync"
    if me.rules.syncs_the_pack:
        yield "sync_folder", f"{place}/pack"
    branch = f"{place}/heads/main"
    while True:
        try:
            yield "write_new", f"{branch}.lock", new, "sync"
            break
        except FileExistsError:
            if (yield "patience", f"{branch}.lock"):  # its maker is dead
                yield "unlink", f"{branch}.lock"
    if me.rules.diary_compares and (yield from tip_of(me, place)) != entries:
        yield "unlink", f"{branch}.lock"
        return None
    try:
        yield "rename", f"{branch}.lock", branch
    except FileNotFoundError:  # the resource went away
        return None
    if me.rules.syncs_the_branch:
        yield "sync_folder", f"{place}/heads"
    return new


# staging


def stage(me: Me, order: Order, *, first: bool) -> Acts:
    """Steps 2 and 3: copied, synced, linked into the blob store, described, closed to changes, synced."""
    rules, folder = me.rules, f"{VERSIONS}/.tmp.{me.name}"
    payload, blob = f"{folder}/files", f"{BLOBS}/{digest_of(order.version)}"
    yield from held(me, f"{folder}.lock")
    yield "make_folder", folder, "staging"
    yield "copy_in", payload, digest_of(order.version)
    if rules.syncs_a_blob_before_it_is_linked:
        yield "sync_file", payload
    yield from keep(me, payload, blob, order)
    yield "write_new", f"{folder}/manifest", order.version
    yield "set_mode", folder, "open"
    if rules.syncs_the_staged_files:
        yield "sync_file", payload
        yield "sync_file", f"{folder}/manifest"
    if rules.syncs_the_staged_names:
        yield "sync_folder", folder
    yield "sync_folder", BLOBS
    if first and rules.syncs_the_inner_folders:
        yield "sync_folder", PLACE
    return folder


def keep(me: Me, staged: str, blob: str, order: Order) -> Acts:
    """Give a copied file its blob; if the blob stands, the copy gives way to a link to it."""
    spare = f"{VERSIONS}/.tmp.{me.name}.file"
    if not order.executable and (yield from linked(me, staged, blob)):
        return
    if (yield from content(me, blob)) == digest_of(order.version):
        if not me.rules.a_blob_that_stands_is_touched_or_linked:
            return
        if order.executable and (yield from touched(me, blob)):
            return
        if not order.executable and (yield from linked(me, blob, spare)):
            yield "rename", spare, staged
            return
    elif not order.executable and (yield from linked(me, staged, spare)):
        yield "rename", spare, blob
        return
    yield "copy_in", spare, digest_of(order.version)
    yield "sync_file", spare
    yield "rename", spare, blob


def content(me: Me, path: str) -> Acts:
    try:
        return (yield "read", path)
    except FileNotFoundError:
        return None


def touched(me: Me, blob: str) -> Acts:
    """Without a link only its age keeps a blob; it may be on its way out already, which only a listing tells."""
    try:
        yield "set_time", blob
    except FileNotFoundError:
        return False
    return not me.rules.lists_after_it_touched_a_blob or blob.rpartition("/")[2] in (yield "list", BLOBS)


def linked(me: Me, source: str, path: str) -> Acts:
    try:
        yield "link", source, path
    except (FileNotFoundError, FileExistsError):
        return False
    return True


def drop(me: Me) -> Acts:
    """What was not published of one's own staging goes."""
    folder = f"{VERSIONS}/.tmp.{me.name}"
    if (yield "look", folder):
        yield from remove_tree(me, folder)
    yield "unlink", f"{folder}.lock"


def sweep(me: Me) -> Acts:
    """Remove the staging that the dead left: its lock is free."""
    for name in (yield "list", VERSIONS):
        lock = f"{VERSIONS}/{name}"
        if not (name.startswith(".tmp.") and name.endswith(".lock")):
            continue
        if (yield "try_lock", lock) or not me.rules.asks_whether_the_maker_of_staging_lives:
            yield from bury(me, lock.removesuffix(".lock"))
            yield "unlink", lock
            yield ("unlock",)


def bury(me: Me, folder: str) -> Acts:
    """Remove staging under another name: who lives after all has nothing to publish then, not half of it."""
    dead = f"{VERSIONS}/.tmp.{me.name}.dead" if me.rules.moves_staging_before_it_removes_it else folder
    with suppress(FileNotFoundError):
        if dead != folder:
            yield "rename", folder, dead
    yield from remove_tree(me, dead)


# the verbs of who writes


def push(me: Me, order: Order) -> Acts:
    """A push; begun anew when what it was about to update went away under its hands."""
    yield "begin", order
    for _ in range(3):
        try:
            return (yield from one_push(me, order))
        except FileNotFoundError:
            yield from leave(me)
            yield "begin_anew", order
        except Refused:
            yield from drop(me)
            yield from leave(me)
            yield "refuse", order
            return
    yield ("end",)


def one_push(me: Me, order: Order) -> Acts:
    """FORMAT.md, "Push", from top to bottom."""
    rules = me.rules
    first = yield from settle(me, order)
    staged = yield from stage(me, order, first=first)
    found, told = yield from change(me, visibility=order.visibility)
    if any(found.pins.get(tag, order.version) != order.version for tag in order.tags):
        raise Refused("protected")
    if order.expect and rules.looks_at_expect_under_the_lock and found.tags.get(order.tags[0]) != order.expect:
        raise Refused("expect")
    if not rules.version_stands_before_it_is_pinned:
        yield from pin(me, order.protected, order.version)
    if not rules.version_stands_before_it_is_tagged:
        yield from point(me, order.tags[0], order.version)
    yield from publish(me, order.version, staged)
    if not rules.pins_before_it_tags:
        yield from move(me, order.tags, order.version)
    yield from pin(me, order.protected, order.version)
    yield from move(me, order.tags, order.version)
    visible = order.visibility or (yield "look", PLACE).mode
    if order.visibility == "open" and not rules.tells_before_it_opens:
        yield from show(me)
    if order.visibility == "closed" and rules.hides_before_it_tells:
        yield from hide(me)
    entry = Entry(me.name, order.version, order.tags, visible if visible != visibility_of(told or ()) else "")
    told = (yield from record(me, PLACE, told, entry)) if told is not None else None
    if order.visibility == "open":
        yield from show(me)
    if order.visibility == "closed":
        yield from hide(me)
    yield from leave(me)
    yield from drop(me)
    yield "acknowledge", order, entry if told else None
    yield from sweep(me)


def settle(me: Me, order: Order) -> Acts:
    """The folders of the resource, with the privacy that it shall have before the first byte is written."""
    hidden = order.visibility == "closed" and me.rules.hides_before_the_first_byte
    made = yield "make_folder", PLACE, "closed" if hidden else "open"
    if made:
        if me.rules.syncs_the_namespace:
            yield "sync_folder", ""
    elif hidden:
        yield from hide(me)
    yield "make_folders", *FOLDERS
    return made


def hide(me: Me) -> Acts:
    if (yield "look", PLACE).mode != "closed":
        yield "set_mode", PLACE, "closed"
        if me.rules.syncs_what_it_hides:
            yield "sync_folder", PLACE


def show(me: Me) -> Acts:
    if (yield "look", PLACE).mode != "open":
        yield "set_mode", PLACE, "open"
        if me.rules.syncs_what_it_opens:
            yield "sync_folder", PLACE


def tag(me: Me, order: Order) -> Acts:
    """Let tags name a version that stands, or protect them there; what tag, protect and rollback are."""
    yield "begin", order
    try:
        found, told = yield from change(me)
        if any(found.pins.get(tag, order.version) != order.version for tag in order.tags):
            raise Refused("protected")
        if not (yield from has(me, order.version)):
            kept = yield from in_trash(me, order.version)
            if kept is None:
                raise Refused("gone")
            if me.rules.brings_back_before_it_names and not (yield from bring_back(me, order.version, dying=False)):
                raise Refused("gone")
        yield from pin(me, order.protected, order.version)
        yield from move(me, order.tags, order.version)
        yield from tell(me, order, told, Entry(me.name, order.version, order.tags, ""))
    except Refused:
        yield from leave(me)
        yield "refuse", order
    except FileNotFoundError:
        yield from leave(me)
        yield ("end",)


def untag(me: Me, order: Order) -> Acts:
    yield "begin", order
    found, told = yield from change(me)
    if any(tag in found.pins or tag not in found.tags for tag in order.tags):
        yield from leave(me)
        yield "refuse", order
        return
    for tag in order.tags:
        yield "unlink", f"{PLACE}/{tag}"
    yield "sync_folder", PLACE
    yield from tell(me, order, told, Entry(me.name, "", order.tags, ""))


def visibility(me: Me, order: Order) -> Acts:
    yield "begin", order
    _, told = yield from change(me)
    if order.visibility == "closed":
        yield from hide(me)
    yield from tell(me, order, told, Entry(me.name, "", (), order.visibility))


def tell(me: Me, order: Order, told: tuple[Entry, ...] | None, entry: Entry) -> Acts:
    """The last steps of every change."""
    told = (yield from record(me, PLACE, told, entry)) if told is not None else None
    if order.visibility == "open":
        yield from show(me)
    yield from leave(me)
    yield "acknowledge", order, entry if told else None


# collection


class Plan(NamedTuple):
    """What a collection would do, as in collection.py."""

    note: list[str]
    trash: list[str]
    remove: list[str]
    forget: list[str]
    blobs: list[str]


def collect(me: Me) -> Acts:
    """One collection of one resource, under its lock."""
    yield "begin", Order()
    now = yield ("clock",)
    with suppress(FileNotFoundError):
        yield from change(me)
        yield from collect_in(me, now)
    yield from leave(me)
    yield ("end",)


def collect_in(me: Me, now: int) -> Acts:
    found = yield from plan(me, now)
    for version in found.forget:
        yield "unlink", f"{VERSIONS}/.seen.{version}"
    for version in found.note:
        yield "write_new", f"{VERSIONS}/.seen.{version}", "", "sync"
    yield from trash(me, found, now)
    came_back = False
    for name in found.remove:
        came_back |= not (yield from remove(me, name))
    for blob in () if came_back else found.blobs:  # what came back may need them
        yield from remove_blob(me, blob, now - 1)


def plan(me: Me, now: int) -> Acts:
    """What may go at a moment."""
    grace = 1 if me.rules.waits_a_grace else 0
    found = yield from links(me)
    lying = yield "list", VERSIONS
    stays = found.named | {max(filter(is_version, lying), default="")}
    loose = [name for name in lying if is_version(name) and name not in stays]
    notes = {}
    for name in lying:
        if name.startswith(".seen."):
            note = yield "look", f"{VERSIONS}/{name}"
            notes[name.removeprefix(".seen.")] = now - note.time if note else 0
    needed = found.named - set(lying)
    old = [name for name in lying if (trashed(name) and now - int(name.split(".")[2]) >= grace) or going(name)]
    going_now = [name for name in old if trashed(name) not in needed]
    return Plan(
        note=[version for version in loose if version not in notes],
        trash=[version for version in loose if notes.get(version, -1) >= grace],
        remove=going_now,
        forget=[version for version in notes if version in stays or version not in lying],
        blobs=(yield from unnamed_blobs(me, lying, going_now, now - grace)),
    )


def unnamed_blobs(me: Me, lying: Iterable[str], gone: list[str], until: int) -> Acts:
    """Blobs that no version names, with one link but for those of what goes, and old."""
    loose, freed = [], set()
    for name in gone:
        if status := (yield "look", f"{VERSIONS}/{name}/files"):
            freed.add(status.inode)
    for name in (yield "list", BLOBS):
        status = yield "look", f"{BLOBS}/{name}"
        if status and status.links - (status.inode in freed) == 1 and status.time <= until:
            loose.append(name)
    named = set()
    for name in lying if loose and me.rules.asks_manifests_before_a_blob_goes else ():
        if (is_version(name) or trashed(name)) and name not in gone:
            named.add(digest_of((yield from content(me, f"{VERSIONS}/{name}/manifest")) or ""))
    return [name for name in loose if name not in named]


def trash(me: Me, found: Plan, now: int) -> Acts:
    """Move versions to the trash; one that was named meanwhile comes back."""
    for version in found.trash:
        if not me.rules.moves_before_it_removes:
            yield from remove_tree(me, f"{VERSIONS}/{version}")
            continue
        yield "rename", f"{VERSIONS}/{version}", f"{VERSIONS}/.trash.{now}.{version}"
        yield "unlink", f"{VERSIONS}/.seen.{version}"
    if found.trash:
        yield "sync_folder", VERSIONS
        if me.rules.lists_again_after_the_trash:
            again = yield from links(me)
            names = yield "list", VERSIONS
            for version in sorted(again.named - set(names)):
                yield from bring_back(me, version)


def remove(me: Me, name: str) -> Acts:
    """Rename to a name that nobody reads, look again who names it, then remove; False: it was named, and came back."""
    version, gone = trashed(name), f"{VERSIONS}/{name}"
    if version:
        gone = f"{VERSIONS}/.gone.{me.name}.{version}"
        yield "rename", f"{VERSIONS}/{name}", gone
        found = yield from links(me)
        if version in found.named and not (yield from has(me, version)):
            yield "rename", gone, f"{VERSIONS}/{version}"
            yield "sync_folder", VERSIONS
            return False
    yield from remove_tree(me, gone)
    return True


def remove_blob(me: Me, blob: str, until: int) -> Acts:
    """Take it out of its place, see that no push has linked or touched it meanwhile, then remove it."""
    place, aside = f"{BLOBS}/{blob}", f"{PLACE}/damaged"
    try:
        yield "rename", place, aside
    except FileNotFoundError:
        return
    status = yield "look", aside
    if me.rules.looks_again_at_a_blob and (status.links > 1 or status.time > until):
        yield "rename", aside, place
    else:
        yield "unlink", aside


# deletion

TRASH = ".trash/1.X"


def delete(me: Me, order: Order) -> Acts:
    """One rename into the namespace's trash, with the lock."""
    yield "begin", order
    try:
        _, told = yield from change(me)
        yield "rename", PLACE, TRASH
    except FileNotFoundError:
        yield from leave(me)
        yield "refuse", order
        return
    if me.rules.syncs_a_deletion:
        yield "sync_folder", ".trash"
        yield "sync_folder", ""
    if told is not None:
        yield from record(me, TRASH, told, Entry(me.name, "", (), ""))
    yield from leave(me)
    yield "acknowledge", order, None


def restore(me: Me, order: Order) -> Acts:
    """The way back, unless the name has been pushed anew; what a first push left is cleared away."""
    yield "begin", order
    try:
        yield "list", ""
        yield from clear_leftover(me)
        _, told = yield from change(me, TRASH)
        if not me.rules.restore_never_replaces:
            yield from aside(me)
        yield "rename", TRASH, PLACE
        yield "sync_folder", ""
        yield "sync_folder", ".trash"
        yield from record(me, PLACE, told, Entry(me.name, "", (), ""))
    except (NotEmpty, FileNotFoundError, Refused):
        yield from leave(me)
        yield "refuse", order
        return
    yield from leave(me)
    yield "acknowledge", order, None


def aside(me: Me) -> Acts:
    """Make room, whatever stands there: what restore does not do."""
    with suppress(FileNotFoundError):
        yield "rename", PLACE, f".trash/.gone.{me.name}"


def clear_leftover(me: Me) -> Acts:
    """Make room where a first push was killed: a resource with neither a tag nor a diary does not exist yet."""
    if (yield "look", PLACE) is None:
        return
    if (yield from published(me)):
        raise Refused("stands")
    yield from held(me, f"{PLACE}/lock", space="")
    if me.rules.leftover_is_looked_at_under_its_lock and (yield from published(me)):
        raise Refused("stands")
    yield "rename", PLACE, f".trash/.gone.{me.name}"
    yield ("unlock",)


def published(me: Me) -> Acts:
    if any(tag_of(name) for name in (yield "list", PLACE)):
        return True
    return (yield "look", BRANCH) is not None


# fetch


def pull(me: Me, tag: str) -> Acts:
    """Resolve once, open once, read beneath; again, at most three times, when it went meanwhile."""
    yield "begin", Order(tags=(tag,))
    for _ in range(3 if me.rules.reader_tries_again else 1):
        try:
            version = yield from resolve(me, tag)
            folder = yield from opened(me, version)
        except FileNotFoundError:
            continue
        except Refused:
            break
        manifest = yield from part(me, tag, folder, "manifest")
        payload = yield from part(me, tag, folder, "files")
        yield "answer", tag, manifest, payload
        return
    yield "fail", tag


def resolve(me: Me, tag: str) -> Acts:
    """The pin if there is one, else the tag's link, once; the folder is listed before."""
    names = (yield "list", PLACE) if me.rules.reader_lists else (f".protected.{tag}", tag)
    for name in (f".protected.{tag}", tag):
        if name in names and (name == tag or me.rules.reader_takes_the_pin):
            said = yield from says(me, f"{PLACE}/{name}")
            if said:
                return said
    if me.rules.reader_lists and tag not in names:
        raise Refused(tag)
    raise FileNotFoundError(tag)


def opened(me: Me, version: str) -> Acts:
    """The version's folder, or its folder in the trash."""
    try:
        return (yield "open", f"{VERSIONS}/{version}")
    except FileNotFoundError:
        name = (yield from in_trash(me, version)) if me.rules.reader_looks_into_the_trash else None
        if name is None:
            raise
        return (yield "open", f"{VERSIONS}/{name}")


def part(me: Me, tag: str, folder: Inode, name: str) -> Acts:
    """A file of the open version; not of whatever the tag names by now."""
    try:
        if not me.rules.reader_opens_once:
            folder = yield from opened(me, (yield from resolve(me, tag)))
        return (yield "read_beneath", folder, name)
    except FileNotFoundError:
        return None


# who acts, and what has been promised to them

Script: TypeAlias = Callable[[Me], Acts]


class Raised(NamedTuple):
    """An answer that is an error."""

    error: type[OSError]


class Turn:
    """Where an actor stands: what it asks next, given all the answers it had; an actor knows nothing else.

    So two ways on which it was answered the same are one, and nobody plays it again from the start for each.
    """

    __slots__ = ("_after", "_answer", "_before", "_live", "_script", "depth", "step")

    def __init__(self, script: Callable[[], Acts], before: Turn | None = None, answer: Any = None) -> None:
        self._script, self._before, self._answer = script, before, answer
        self._after: dict[Any, Turn] = {}
        self.depth: int = before.depth + 1 if before else 0
        self._live: Acts | None = before._take() if before else script()
        self.step: Step | None = self._send(self._live, answer)

    @staticmethod
    def _send(acts: Acts, answer: Any) -> Step | None:
        try:
            step: Step = acts.throw(answer.error()) if isinstance(answer, Raised) else acts.send(answer)
        except StopIteration:
            return None
        return step

    def _take(self) -> Acts:
        """The actor itself at this turn, played again where it has gone another way since."""
        live, self._live = self._live, None
        if live is None:
            answers: list[Any] = []
            turn: Turn | None = self
            while turn is not None:
                answers.append(turn._answer)
                turn = turn._before
            live = self._script()
            for answer in reversed(answers):
                self._send(live, answer)
        return live

    def after(self, answer: Any) -> Turn:
        """The turn that follows an answer."""
        if answer not in self._after:
            self._after[answer] = Turn(self._script, self, answer)
        return self._after[answer]


class Broken(Exception):
    """A promise was broken: which, how, and by which steps."""

    def __init__(self, promise: str, sentence: str, steps: tuple[str, ...] = ()) -> None:
        super().__init__(f"{PROMISES[promise]}: {sentence}")
        self.promise, self.steps = promise, steps


PROMISES = {
    "whole": "what is named is whole",
    "one name": "one name moves at a time, at once, by who was to",
    "pin": "a pin never moves",
    "kept": "what is acknowledged does not vanish",
    "fresh": "a reader sees what was named while it read",
    "mixture": "a reader sees one version",
    "reads": "a reader does not fail",
    "hidden": "what is private is hidden from its first byte on",
    "told": "nothing is open that the diary calls private",
    "diary": "an acknowledged entry is not lost",
    "alone": "while locks hold, one writer changes a resource at a time",
    "expect": "while locks hold, --expect is what stood",
    "refused": "who was refused moved no tag",
    "durable": "what is acknowledged stays after a power cut",
    "grace": "what was named stays a grace",
    "place": "at rest, what is named lies in its place and has its blob",
    "mended": "the next writer mends what a dead one left",
    "undisturbed": "while locks hold, nobody takes a push's staging away",
    "goes on": "nobody waits for ever",
}


class Sight(NamedTuple):
    """One resource as it lies on the server."""

    inode: Inode | None
    tags: dict[str, str]
    pins: dict[str, str]
    entries: tuple[Entry, ...]
    mode: str


def sight(server: Server, place: str = PLACE) -> Sight:
    """What stands at a place, pins winning."""
    inode = server.truth(place)
    if inode is None:
        return Sight(None, {}, {}, (), "")
    tags: dict[str, str] = {}
    pins: dict[str, str] = {}
    for name, found in server.inside(inode).items():
        if tag := tag_of(name):
            (tags if tag == name else pins)[tag] = server.nodes[found].data
    branch = server.truth(f"{place}/heads/main")
    entries = server.nodes[branch].data if branch else ()
    return Sight(inode, tags | pins, pins, entries, server.nodes[inode].mode)


@dataclass(frozen=True, kw_only=True)
class Play:
    """What stands at first, who acts, and what may go wrong."""

    actors: dict[str, Script]
    """Each on a host of its own."""
    stands: dict[str, str] | None = None
    """What the folder of the resource holds at first: names and what they are; None: there is no resource."""
    mode: str = "open"
    begins_deleted: bool = False
    locks_hold: bool = True
    dies: tuple[str, ...] = ()
    """Who may be killed, or lose its host, before any of its steps; one of them, once."""
    power_cut: bool = False
    """At any moment; where somebody dies, at any after that. Then no name is stale."""
    secret: tuple[str, ...] = ()
    """Versions that nobody else may ever read."""
    ages: bool = False
    """Graces pass."""
    deletes: bool = False
    """The resource goes to the namespace's trash, or comes from there."""
    switches: int | None = 2
    """How often an actor is interrupted that could go on; None: whenever that makes a difference."""


def scene(play: Play) -> Server:
    """The registry as a play finds it: everything durable, and old enough."""
    server = Server(() if play.power_cut else play.actors)
    number = iter(range(1000))

    def make(verb: str, *words: Any) -> None:
        getattr(server, verb)("", ("scene", next(number)), *words)

    make("make_folder", ".trash", "open")
    if play.stands is not None:
        make("make_folder", PLACE, play.mode)
        make("make_folders", *FOLDERS)
        make("write_new", f"{PLACE}/lock", "", "sync")
        server.now -= 2
        for name, what in play.stands.items():
            if name.startswith("versions/") and is_version(what):
                make("make_folder", f"{PLACE}/{name}", "open")
                make("write_new", f"{PLACE}/{name}/manifest", what, "sync")
                make("write_new", f"{PLACE}/{name}/files", digest_of(what), "sync")
                if not server.truth(f"{BLOBS}/{digest_of(what)}"):
                    make("link", f"{PLACE}/{name}/files", f"{BLOBS}/{digest_of(what)}")
            elif is_version(what):
                make("symlink", what, f"{PLACE}/{name}")
            else:
                make("write_new", f"{PLACE}/{name}", what, "sync")
        server.now += 2
        found = sight(server)
        entries = tuple(Entry("scene", version, (tag,), play.mode) for tag, version in sorted(found.tags.items()))
        if entries:
            make("write_new", BRANCH, entries, "sync")
            make("write_new", f"{PACK}/0.scene", entries, "sync")
    if play.begins_deleted:
        make("rename", PLACE, TRASH)
    server.stale = Table()
    server.keeps_a_log, server.locks_hold = play.power_cut, play.locks_hold
    return server


class World(NamedTuple):
    """One moment: the server, where everybody stands, and what was promised so far."""

    server: Server
    turns: tuple[Turn | None, ...]
    """None: dead."""
    told: Table
    sight: Sight

    def key(self) -> int:
        return hash((self.server.key(), tuple(map(id, self.turns)), self.told.mark))


LOOKS = frozenset({"read_link", "look", "read", "open", "read_beneath", "clock"})
SAYS = frozenset({"begin", "begin_anew", "acknowledge", "refuse", "answer", "fail", "end", "enter", "leave"})


class Theatre:
    """A play under rules, with the promises that are kept in it."""

    def __init__(self, play: Play, rules: Rules) -> None:
        self.play = play
        self.names = list(play.actors)
        self.roots: list[Turn | None] = []
        for name, script in play.actors.items():
            self.roots.append(Turn(partial(script, Me(name, name, rules))))
        self.next_writer = Turn(partial(the_next_writer, Me("next", "next", rules)))

    def first(self) -> World:
        server = scene(self.play)
        return World(server, tuple(self.roots), Table(), sight(server))

    # who can go on

    def can(self, world: World, number: int) -> bool:
        """Whether an actor can take its next step now."""
        turn = world.turns[number]
        if turn is None or turn.step is None:
            return False
        verb, *words = turn.step
        if verb == "flock":
            holder = world.server.locks.get(words[0], self.names[number])
            return not self.play.locks_hold or holder == self.names[number]
        if verb == "grace":
            return not any(key[0] == "busy" for key in world.told if key[1] != self.names[number])
        if verb == "patience":
            maker = self.maker(world, number)
            return maker is None or maker not in self.names or self.is_dead(world, maker)
        return True

    def maker(self, world: World, number: int) -> str | None:
        """Who made the file that an actor waits for."""
        turn = world.turns[number]
        try:
            folder, name = world.server.copy().place(self.names[number], turn.step[1] if turn and turn.step else "")
        except FileNotFoundError:
            return None
        inode = world.server.names.get((folder, name))
        return inode[0] if inode else None

    def is_dead(self, world: World, maker: str | None) -> bool:
        """Whether somebody was killed: who lives needs the file for less than anybody's patience."""
        return maker in self.names and world.turns[self.names.index(maker)] is None

    def is_private(self, world: World, number: int) -> bool:
        """Whether the next step is nobody else's business, so that nothing is gained by interrupting before it."""
        turn = world.turns[number]
        if turn is None or turn.step is None:
            return False
        verb, *words = turn.step
        if verb in ("leave", "clock") or verb.startswith("sync"):
            return True
        scratch = f"/.tmp.{self.names[number]}"
        return verb in ("copy_in", "sync_file", "symlink", "write_new", "make_folder") and scratch in str(words)

    # one step

    def after(self, world: World, number: int) -> World:
        """The moment after an actor's next step; Broken if a promise is."""
        turn, name = world.turns[number], self.names[number]
        assert turn is not None and turn.step is not None
        verb, *words = turn.step
        server, told, now = world.server, world.told, world.sight
        answer: Any = None
        if verb in SAYS:
            told = told.copy()
            self.hear(name, verb, words, server, now, told)
        elif verb == "patience":
            answer = self.is_dead(world, self.maker(world, number))
        else:
            if verb not in LOOKS:
                server = server.copy()
            try:
                answer = getattr(server, verb)(name, (name, turn.depth), *words)
            except OSError as error:
                answer = Raised(type(error))
            if (server.names.mark, server.nodes.mark) != (world.server.names.mark, world.server.nodes.mark):
                told, now = told.copy(), sight(server)
                self.see(name, world, server, now, told)
        turns = (*world.turns[:number], turn.after(answer), *world.turns[number + 1 :])
        return World(server, turns, told, now)

    def death(self, world: World, number: int, *, of_the_host: bool) -> World:
        """The moment after an actor was killed, or its host lost power."""
        server, name = world.server.copy(), self.names[number]
        server.unlock("", (name, 0))
        if of_the_host:
            server.lose_the_memory_of(name)
        told = world.told.copy()
        for key in [key for key in told if key[0] in ("busy", "in", "met", "moved", "removed") and key[1] == name]:
            del told[key]
        told["died", ""] = name
        self.whole(server)
        return World(server, (*world.turns[:number], None, *world.turns[number + 1 :]), told, sight(server))

    # what is promised

    def hear(self, name: str, verb: str, words: list[Any], server: Server, now: Sight, told: Table) -> None:
        """What an actor says: that it begins, and with what answer it ends."""
        if verb == "begin":
            told["busy", name] = order = words[0]
            for tag in order.tags:
                told["met", name, tag] = frozenset({now.tags.get(tag)})
            if order.visibility:
                told["met", name, "its mode"] = frozenset({now.mode})
        elif verb == "enter":
            try:
                inode = server.find(name, words[0])
            except FileNotFoundError:
                return  # it is about to learn that all is gone
            others = [who for (word, who, *_), where in told.items() if word == "in" and where == inode and who != name]
            if others and self.play.locks_hold:
                raise Broken("alone", f"{name} and {others[0]} are both at work")
            told["in", name] = inode
        elif verb == "begin_anew":
            if self.play.locks_hold and not self.play.deletes:
                raise Broken("undisturbed", f"{name} begins anew")
        elif verb == "leave":
            if ("in", name) in told:
                del told["in", name]
        else:
            getattr(self, f"_{verb}")(name, words, now, told)
            for key in [key for key in told if key[0] in ("busy", "met", "moved", "removed") and key[1] == name]:
                del told[key]

    def _end(self, name: str, words: list[Any], now: Sight, told: Table) -> None:
        """Nothing was promised."""

    def _acknowledge(self, name: str, words: list[Any], now: Sight, told: Table) -> None:
        order, entry = words
        if entry:
            told["entry", entry] = True
        if ("removed", name) in told and not order.untag:
            return  # it was deleted while he changed it: as if just after
        wanted: dict[str, Any] = dict.fromkeys(order.tags, None if order.untag else order.version)
        if order.visibility:
            wanted["its mode"] = order.visibility
        for what, value in wanted.items():
            met = told["met", name, what]
            if value not in met:
                raise Broken("kept", f"{name} was told that {what} is {value}, and it never was")
            stands = now.mode if what == "its mode" else now.tags.get(what)
            told["since", what] = frozenset({value}) if stands == value else told.get(("since", what), met) | met
        for tag in order.protected:
            if now.pins.get(tag) != order.version:
                raise Broken("kept", f"{name} was told that {tag} is protected, and it is not")
            told["pinned", tag] = order.version

    def _refuse(self, name: str, words: list[Any], now: Sight, told: Table) -> None:
        if moved := [key[2] for key in told if key[:2] == ("moved", name)]:
            raise Broken("refused", f"{name} moved {moved[0]} before it was refused")

    def _answer(self, name: str, words: list[Any], now: Sight, told: Table) -> None:
        tag, manifest, payload = words
        if payload is None or manifest is None:
            raise Broken("reads", f"a part of what {tag} names is gone")
        if payload != digest_of(str(manifest)):
            raise Broken("mixture", f"{name} got {payload} with the manifest of {manifest}")
        if manifest not in told["met", name, tag]:
            raise Broken("fresh", f"{name} got {manifest} for {tag}, which was {set(told['met', name, tag])}")

    def _fail(self, name: str, words: list[Any], now: Sight, told: Table) -> None:
        if None not in told["met", name, words[0]]:
            raise Broken("reads", f"{words[0]} is not here")

    def see(self, name: str, world: World, server: Server, now: Sight, told: Table) -> None:
        """What the server holds after a step of somebody."""
        self.whole(server)
        opens = told.get(("busy", name), Order()).visibility == "open"
        if opens and now.mode == "open" != world.sight.mode:
            told["opened", ""] = True
        self.hidden(server, now, told)
        if (now.inode, now.tags, now.mode) != (world.sight.inode, world.sight.tags, world.sight.mode):
            self.names_moved(name, world.sight, now, told)
        if now.pins or world.sight.pins:
            self.pins(now, told)
        self.diary(server, now, told)
        if self.play.ages:
            self.graces(world.server, server, now, told)

    def whole(self, server: Server) -> None:
        """Every version that stands, every blob, and all that a tag or pin names."""
        for place in (PLACE, TRASH) if self.play.deletes else (PLACE,):
            inside = server.inside(server.truth(place))
            for blob, inode in server.inside(inside.get("blobs")).items():
                if server.nodes[inode].data != blob:
                    raise Broken("whole", f"the blob {blob} holds {server.nodes[inode].data}")
            kept = set()
            for name, folder in server.inside(inside.get("versions")).items():
                if is_version(name) or trashed(name):
                    version = trashed(name) or name
                    parts = {part: server.nodes[inode].data for part, inode in server.inside(folder).items()}
                    if parts == {"manifest": version, "files": digest_of(version)}:
                        kept.add(version)
                    elif name == version:
                        raise Broken("whole", f"{version} holds {parts}")
            for name, inode in inside.items():
                if tag_of(name) and server.nodes[inode].data not in kept:
                    raise Broken("whole", f"{name} names {server.nodes[inode].data}, which is not there")

    def hidden(self, server: Server, now: Sight, told: Table) -> None:
        """What is pushed as private is not to be read by others, unless somebody else was told to open it meanwhile."""
        if not self.play.secret or now.mode != "open" or ("opened", "") in told:
            return
        data = {*self.play.secret, *map(digest_of, self.play.secret)}
        for (folder, name), inode in server.names.items():
            if server.nodes[inode].data in data and server.nodes[folder].mode != "staging":
                raise Broken("hidden", f"others may read {name}")

    def names_moved(self, name: str, before: Sight, now: Sight, told: Table) -> None:
        """Who moved which tag, and whether he was to; a deleted resource takes its tags with it."""
        order = told.get(("busy", name), Order())
        for tag in sorted({*before.tags, *now.tags}):
            old, new = before.tags.get(tag), now.tags.get(tag)
            if old == new or now.inode != before.inode:
                continue
            asked = tag in order.tags and new == (None if order.untag else order.version)
            if not asked and new not in now.pins.values():
                raise Broken("one name", f"{tag} went from {old} to {new} by {name}")
            told["moved", name, tag] = asked
            if order.expect and old != order.expect and self.play.locks_hold:
                raise Broken("expect", f"{name} expected {order.expect} and moved {tag} from {old}")
        if now.inode != before.inode and before.inode:
            for key in [key for key in told if key[0] == "busy"]:
                told["removed", key[1]] = True
            if before.tags and not order.untag:
                raise Broken("kept", f"{name} took {before.tags} away")
        for key in [key for key in told if key[0] in ("met", "since")]:
            told[key] |= {self.value(now, key[-1])}

    @staticmethod
    def value(now: Sight, what: str) -> Any:
        """What a tag names, or what the mode is."""
        return now.mode if what == "its mode" else now.tags.get(what)

    def pins(self, now: Sight, told: Table) -> None:
        for tag, version in now.pins.items():
            first = told.get(("pin", now.inode, tag), version)
            if first != version:
                raise Broken("pin", f"{tag} was pinned to {first}, and then to {version}")
            told["pin", now.inode, tag] = version
        for word, inode, tag in [key for key in told if key[0] == "pin" and key[1] == now.inode]:
            if tag not in now.pins:
                raise Broken("pin", f"the {word} of {tag} is gone from {inode}")

    def diary(self, server: Server, now: Sight, told: Table) -> None:
        if now.mode == "open" and visibility_of(now.entries) == "closed":
            raise Broken("told", "it is open, and its diary says closed")
        for key in told:
            if key[0] == "entry" and key[1] not in now.entries and key[1] not in sight(server, TRASH).entries:
                raise Broken("diary", f"{key[1]} is not told any more")

    def graces(self, old: Server, server: Server, now: Sight, told: Table) -> None:
        for version in now.tags.values():
            told["named", version] = server.now
        for word, version in [key for key in told if key[0] == "named"]:
            path, gone = f"{VERSIONS}/{version}", version not in now.tags.values()
            at_once = self.play.locks_hold and server.now == told[word, version]
            if at_once and gone and old.truth(path) and not server.truth(path):
                raise Broken("grace", f"{version} went to the trash at once")

    # the end

    def rest(self, world: World) -> None:
        """All have ended: what is named lies in its place, and the next writer mends what a dead one left."""
        if waiting := [name for name, turn in zip(self.names, world.turns, strict=True) if turn and turn.step]:
            raise Broken("goes on", f"{waiting[0]} waits for ever")
        if ("died", "") not in world.told:
            self.in_place(world.server, "place")
        self.mended(world.server)

    def in_place(self, server: Server, promise: str) -> None:
        now = sight(server)
        for tag, version in now.tags.items():
            if server.truth(f"{VERSIONS}/{version}") is None:
                raise Broken(promise, f"{version}, which {tag} names, lies in the trash")
            if server.truth(f"{BLOBS}/{digest_of(version)}") is None:
                raise Broken(promise, f"the blob of {version}, which {tag} names, is gone")

    def mended(self, server: Server) -> None:
        """What the next writer makes of it."""
        if server.truth(PLACE) is None or server.truth(VERSIONS) is None:
            return
        server, turn = server.copy(), self.next_writer
        while turn.step is not None:
            verb, *words = turn.step
            answer: Any = verb == "patience"
            if verb not in SAYS and verb != "patience":
                try:
                    answer = getattr(server, verb)("next", ("next", turn.depth), *words)
                except OSError as error:
                    answer = Raised(type(error))
            turn = turn.after(answer)
        self.whole(server)
        self.in_place(server, "mended")
        now = sight(server)
        inside = server.inside(now.inode)
        links = {tag: server.nodes[inside[tag]].data if tag in inside else None for tag in now.pins}
        if links != now.pins:
            raise Broken("mended", f"the pins are {now.pins}, their tags {links}")
        if tags_of(now.entries) != now.tags or visibility_of(now.entries) not in ("", now.mode):
            raise Broken("mended", f"the tags are {now.tags}, {now.mode}, the diary tells {tags_of(now.entries)}")

    def power_cut(self, world: World) -> int:
        """Every registry that a power cut may leave now keeps what was acknowledged, and is mended."""
        count = 0
        for server in world.server.after_a_power_cut():
            count += 1
            self.whole(server)
            now = sight(server)
            self.hidden(server, now, world.told)
            for key, value in world.told.items():
                if key[0] == "since" and self.value(now, key[1]) not in value:
                    raise Broken(
                        "durable", f"{key[1]} is {self.value(now, key[1])}, and was told to be of {set(value)}"
                    )
                if key[0] == "pinned" and now.pins.get(key[1]) != value:
                    raise Broken("durable", f"{key[1]} was protected")
                if key[0] == "entry" and key[1] not in {*now.entries, *sight(server, TRASH).entries}:
                    raise Broken("durable", f"{key[1]} was told")
            packs = {server.nodes[inode].data for inode in server.inside(server.truth(PACK)).values()}
            if now.entries and now.entries not in packs:
                raise Broken("durable", "the diary names what is not there")
            self.mended(server)
        return count


def the_next_writer(me: Me) -> Acts:
    """A writer who changes nothing."""
    yield from change(me)
    yield from leave(me)


# every order


@dataclass(frozen=True, kw_only=True)
class Walked:
    """How much was seen: moments, ends, and registries after a power cut."""

    states: int
    ends: int
    cuts: int


class Moment(NamedTuple):
    """A world, who acted last, and how one came here."""

    world: World
    last: int
    switches: int
    trail: tuple[Any, ...]


def walk(play: Play, rules: Rules = RULES, *, most: int = 1_000_000) -> Walked:
    """Let the actors take turns in every order, fewest switches first; Broken by the first promise that is."""
    theatre = Theatre(play, rules)
    todo = deque([Moment(theatre.first(), -1, 0, ())])
    seen: set[int] = set()
    ends = cuts = 0
    while todo and len(seen) < most:
        moment = todo.popleft()
        key = hash((moment.world.key(), moment.last if play.switches is not None else -1))
        if key in seen:
            continue
        seen.add(key)
        try:
            if play.power_cut and (not play.dies or ("died", "") in moment.world.told):
                cuts += theatre.power_cut(moment.world)
            following = list(_following(theatre, moment))
            if not following:
                theatre.rest(moment.world)
                ends += 1
        except Broken as broken:
            broken.steps = broken.steps or tuple(_story(moment.trail))
            raise
        for after in following:
            if after.switches == moment.switches:
                todo.appendleft(after)
            elif play.switches is None or after.switches <= play.switches:
                todo.append(after)
    return Walked(states=len(seen), ends=ends, cuts=cuts)


def _following(theatre: Theatre, moment: Moment) -> Iterator[Moment]:
    """What may happen next; an actor that could go on and does not costs a switch, a death does too."""
    world, last = moment.world, moment.last
    able = [number for number in range(len(world.turns)) if theatre.can(world, number)]
    nobodys = last in able and theatre.is_private(world, last)
    for number in [last] if nobodys else able:
        cost = moment.switches + (last in able and number != last)
        trail: tuple[Any, ...] = (moment.trail, theatre.names[number], world.turns[number])
        try:
            yield Moment(theatre.after(world, number), number, cost, trail)
        except Broken as broken:
            broken.steps = tuple(_story(trail))
            raise
    if ("died", "") not in world.told:
        for number in able:
            turn = world.turns[number]
            if theatre.names[number] in theatre.play.dies and turn and turn.depth > 1:
                for host in (False, True) if world.server.dirty else (False,):
                    trail = (moment.trail, theatre.names[number], "loses its host" if host else "dies")
                    yield Moment(theatre.death(world, number, of_the_host=host), -1, moment.switches + 1, trail)


def _story(trail: tuple[Any, ...]) -> Iterator[str]:
    """The steps that led somewhere, as sentences."""
    told: list[str] = []
    while trail:
        who, what = trail[1:]
        told.append(f"{who}: {what if isinstance(what, str) else ' '.join(map(str, what.step))}")
        trail = trail[0]
    return reversed(told)


def alone(script: Script, play: Play | None = None) -> list[Step]:
    """What one actor asks, step by step, when nobody disturbs it; not for a folder that stands."""
    theatre = Theatre(replace(play or Play(actors={}), actors={"me": script}), RULES)
    world, steps = theatre.first(), list[Step]()
    while (turn := world.turns[0]) and turn.step:
        before, world = world, theatre.after(world, 0)
        if turn.step[0] != "make_folder" or before.sight.inode != world.sight.inode or "/" in turn.step[1]:
            steps.append(turn.step)
    return steps


# the plays

BASIC = {"versions/V1": "V1", "latest": "V1"}


def do(verb: Callable[..., Acts], **order: Any) -> Script:
    """An actor who gives one order."""
    return lambda me: verb(me, Order(**order))


def one_after_another(*scripts: Script) -> Script:
    def acts(me: Me) -> Acts:
        for script in scripts:
            yield from script(me)

    return acts


def reader(tag: str) -> Script:
    return lambda me: pull(me, tag)


def a_grace(me: Me) -> Acts:
    yield ("grace",)


NOTED = {"versions/V0": "V0", "versions/.seen.V0": "a note", **BASIC}
"""V0 was noted ages ago and may go to the trash."""
TRASHED = {"versions/.trash.7.V0": "V0", **BASIC}
"""V0 has been in the trash for ages, and may go for good."""
LOOSE = {"blobs/blob of V2": "blob of V2", **BASIC}
"""A blob that no version names."""


PLAYS: dict[str, Play] = {
    "a push and a reader": Play(
        stands=BASIC,
        actors={"writer": do(push, version="V2", tags=("latest",)), "reader": reader("latest")},
    ),
    "a rollback and a reader": Play(
        stands={"versions/V0": "V0", **BASIC},
        actors={"writer": do(tag, version="V0", tags=("latest",)), "reader": reader("latest")},
    ),
    "two pushes and a broken lock": Play(
        stands=BASIC,
        locks_hold=False,
        actors={"one": do(push, version="V2", tags=("latest",)), "two": do(push, version="V3", tags=("latest",))},
    ),
    "two pushes that expect": Play(
        stands=BASIC,
        actors={
            "one": do(push, version="V2", tags=("latest",), expect="V1"),
            "two": do(push, version="V3", tags=("latest",), expect="V1"),
        },
    ),
    "two pushes": Play(
        stands=BASIC,
        actors={"one": do(push, version="V2", tags=("latest",)), "two": do(push, version="V3", tags=("v1",))},
    ),
    "two protect one tag": Play(
        stands=BASIC,
        locks_hold=False,
        switches=1,
        actors={
            "one": do(push, version="V2", tags=("latest", "v1"), protected=("v1",)),
            "two": do(tag, version="V1", tags=("v1",), protected=("v1",)),
            "reader": reader("v1"),
        },
    ),
    "a push and a collection": Play(
        stands=NOTED,
        locks_hold=False,
        actors={"writer": do(push, version="V0", tags=("latest",)), "gc": collect},
    ),
    "a rollback, a collection and a reader": Play(
        stands=NOTED,
        locks_hold=False,
        actors={"writer": do(tag, version="V0", tags=("latest",)), "gc": collect, "reader": reader("latest")},
    ),
    "a rollback and a collection": Play(
        stands=NOTED,
        locks_hold=False,
        actors={"writer": do(tag, version="V0", tags=("latest",)), "gc": collect},
    ),
    "a rollback and a collection that dies": Play(
        stands=NOTED,
        locks_hold=False,
        switches=3,
        dies=("gc",),
        actors={"gc": collect, "writer": do(tag, version="V0", tags=("latest",))},
    ),
    "a rollback to what is just removed": Play(
        stands=TRASHED,
        locks_hold=False,
        actors={"writer": do(tag, version="V0", tags=("latest",)), "gc": collect},
    ),
    "a reader, and a writer who mends": Play(
        stands={"versions/.trash.7.V1": "V1", "latest": "V1"},
        actors={"reader": reader("latest"), "writer": do(tag, version="V1", tags=("v1",))},
    ),
    "a collection beside what can be executed": Play(
        stands={"blobs/blob of V1": "blob of V1", **BASIC},
        actors={"gc": collect},
    ),
    "a push and its blob's collection": Play(
        stands=LOOSE,
        actors={"writer": do(push, version="V2", tags=("latest",)), "gc": collect},
    ),
    "a push of what can be executed and its blob's collection": Play(
        stands=LOOSE,
        actors={"writer": do(push, version="V2", tags=("latest",), executable=True), "gc": collect},
    ),
    "a power cut in a first push": Play(
        power_cut=True,
        actors={"writer": do(push, version="V1", tags=("latest", "v1"), protected=("v1",), visibility="closed")},
        secret=("V1",),
    ),
    "a power cut in a push": Play(
        stands=BASIC,
        power_cut=True,
        actors={"writer": do(push, version="V2", tags=("latest",))},
    ),
    "a power cut in a push of what another left": Play(
        stands=BASIC,
        power_cut=True,
        dies=("one",),
        switches=1,
        actors={
            "one": do(push, version="V2", tags=("latest",)),
            "two": do(push, version="V2", tags=("v1",)),
        },
    ),
    "a power cut in a push that opens": Play(
        stands=BASIC,
        mode="closed",
        power_cut=True,
        actors={"writer": do(push, version="V2", tags=("latest",), visibility="open")},
    ),
    "a power cut in a push that hides": Play(
        stands=BASIC,
        power_cut=True,
        actors={"writer": do(push, version="V2", tags=("latest",), visibility="closed")},
        secret=("V2",),
    ),
    "a power cut in a deletion": Play(
        stands=BASIC,
        power_cut=True,
        deletes=True,
        actors={"writer": do(delete, tags=("latest",), untag=True)},
    ),
    "one opens and one hides": Play(
        stands=BASIC,
        actors={
            "one": do(push, version="V2", tags=("latest",), visibility="open"),
            "two": do(push, version="V3", tags=("v1",), visibility="closed"),
        },
        secret=("V3",),
    ),
    "a push that dies, and the next": Play(
        stands=BASIC,
        dies=("one",),
        actors={
            "one": do(push, version="V2", tags=("latest", "v1"), protected=("v1",)),
            "two": do(push, version="V2", tags=("latest",)),
        },
    ),
    "a deletion, and a push that waits": Play(
        stands=BASIC,
        deletes=True,
        actors={
            "one": one_after_another(
                do(delete, tags=("latest",), untag=True), do(push, version="V2", tags=("latest",))
            ),
            "two": do(push, version="V3", tags=("v1",)),
        },
    ),
    "a deletion, and who tags after it": Play(
        stands=BASIC,
        deletes=True,
        switches=1,
        actors={
            "one": one_after_another(
                do(delete, tags=("latest",), untag=True), do(push, version="V1", tags=("latest",))
            ),
            "two": do(tag, version="V1", tags=("v1",)),
        },
    ),
    "a deletion, a push and a broken lock": Play(
        stands=BASIC,
        deletes=True,
        locks_hold=False,
        actors={
            "one": do(delete, tags=("latest",), untag=True),
            "two": do(push, version="V3", tags=("v1",)),
        },
    ),
    "a restore and a first push": Play(
        stands=BASIC,
        deletes=True,
        begins_deleted=True,
        actors={
            "one": do(restore, version="V1", tags=("latest",)),
            "two": do(push, version="V3", tags=("latest",)),
        },
    ),
    "graces pass": Play(
        stands=NOTED,
        ages=True,
        actors={
            "writer": one_after_another(do(tag, version="V0", tags=("v1",)), do(untag, tags=("v1",), untag=True)),
            "gc": one_after_another(collect, collect, a_grace, collect, a_grace, collect),
        },
    ),
}
