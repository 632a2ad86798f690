"""Mounts: which file system a path lies on, and what one mounted so cannot enforce or promise.

Linux tells it in /proc/self/mountinfo; elsewhere only where a mount begins is known. Nothing is opened but the
folder that an automounter waits for, and no name that somebody else made is followed further than the kernel does.

>>> table = parse("21 1 8:1 / / rw - ext4 /dev/sda rw\\n30 21 0:40 / /mnt/a\\\\040b ro - nfs4 nas:/x rw,soft\\n")
>>> covering(table, "/mnt/a b/registry").kind, covering(table, "/mnt/a").point
('nfs4', '/')
>>> [weakness.text for weakness in weaknesses(table[0].mount, uid=1000)]
[]
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

_TABLE = "/proc/self/mountinfo"
_ESCAPE = re.compile(rb"\\([0-7]{3})")

_NO_USERS = frozenset({"cifs", "smb3", "smbfs", "9p", "drvfs", "vboxsf", "fuse.vmhgfs-fuse", "fuse.sshfs", "afs"})
"""One account for all, or modes that are made up: between users nothing is enforced."""
_NO_MODES = frozenset({"vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk", "hfs"})
_NO_SQUASH = frozenset(
    {"fuse.glusterfs", "fuse.mfs", "fuse.ceph", "fuse.ceph-fuse", "ceph", "lustre", "beegfs", "gpfs"}
)
_LOCAL = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "jfs", "reiserfs"})
_PASSING = frozenset({"tmpfs", "ramfs", "overlay", "aufs", "fuse.fuse-overlayfs"})
_CHECKED_BY_THE_SERVER = frozenset({"fuse.glusterfs", "fuse.mfs"})
"""FUSE file systems that look at modes themselves, when a name is looked up."""


class Mount(NamedTuple):
    """One mounted file system; `options` are those of the mount and of the file system."""

    point: str
    kind: str
    source: str
    options: frozenset[str]


class Line(NamedTuple):
    """One line of mountinfo; `parent` is the mount on which this one was put."""

    number: int
    parent: int
    mount: Mount


class Weakness(NamedTuple):
    """What a mount cannot keep; `about` is ``users``, ``hosts``, ``data``, ``root`` (it sees all) or ``staying``.

    Where it depends on what the system does not tell of a mount it is not `sure`.
    """

    about: str
    text: str
    hint: str
    sure: bool = True


# which mount


def mount_of(path: str) -> Mount | None:
    """The mount that a path lies on, or would; None where the system does not tell."""
    real = os.path.realpath(path)
    found = covering(_table(), real)
    if found is not None and found.kind == "autofs":
        with suppress(OSError):  # a look at the folder itself is what makes the automounter mount it
            os.close(os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        found = covering(_table(), real)
    return found


def point_of(path: str) -> str:
    """Where the mount begins that a path lies on, or would; ``/`` at worst."""
    found = mount_of(path)
    if found is not None:
        return found.point
    real = os.path.realpath(path)
    while not os.path.ismount(real) and real != os.path.dirname(real):
        real = os.path.dirname(real)
    return real


def _table() -> list[Line]:
    try:
        with open(_TABLE, "rb") as file:
            return parse(os.fsdecode(file.read()))
    except OSError:  # no Linux, or no /proc
        return []


def parse(text: str) -> list[Line]:
    """The lines of a mountinfo; what cannot be read is left out."""
    lines = []
    for line in os.fsencode(text).split(b"\n"):
        before, _, after = line.partition(b" - ")
        first, last = before.split(b" "), after.split(b" ")
        with suppress(ValueError, IndexError):
            lines.append(Line(int(first[0]), int(first[1]), _mount(first[4], first[5], last)))
    return lines


def _mount(point: bytes, options: bytes, last: list[bytes]) -> Mount:
    kind, source, more = last[0], last[1], last[2] if len(last) > 2 else b""
    every = frozenset(_plain(each) for each in (*options.split(b","), *more.split(b",")) if each)
    named = b"fuse.mfs" if kind == b"fuse" and _plain(source).startswith("mfs#") else kind  # MooseFS names none
    return Mount(_plain(point), _plain(named), _plain(source), every)


def _plain(text: bytes) -> str:
    """A name without the kernel's octal escapes."""
    return os.fsdecode(_ESCAPE.sub(lambda code: bytes([int(code[1], 8) & 0xFF]), text))


def covering(table: Sequence[Line], path: str) -> Mount | None:
    """The mount on which a path is found, going down from the root as the kernel does.

    A mount is left for one that was put on it: so of two at one point the later is meant, and one below a folder
    that was itself covered afterwards is out of reach, however long its name.
    """
    known = {line.number for line in table}
    within = [line for line in table if _is_below(path, line.mount.point)]
    here = _next([line for line in within if line.parent not in known or line.parent == line.number])
    found = here
    while here is not None:
        found, number = here, here.number
        here = _next([line for line in within if line.parent == number and line.number != number])
    return found.mount if found is not None else None


def _next(candidates: list[Line]) -> Line | None:
    """The one that a walk meets first; of several at one point the last."""
    shortest = min((len(line.mount.point) for line in candidates), default=0)
    return next((line for line in reversed(candidates) if len(line.mount.point) == shortest), None)


def _is_below(path: str, point: str) -> bool:
    return point in ("/", path) or path.startswith(f"{point}/")


# what it cannot do


def weaknesses(mount: Mount, *, uid: int | None = None) -> list[Weakness]:
    """What such a mount cannot enforce or promise to the user `uid` (the caller's own), worst first."""
    who = os.geteuid() if uid is None else uid
    return [*_between_users(mount), *_between_hosts(mount), *_of_data(mount), *_of_root(mount, who)]


def _between_users(mount: Mount) -> Iterator[Weakness]:
    kind, options = mount.kind, mount.options
    if kind in _NO_USERS and "multiuser" not in options:
        yield Weakness(
            "users",
            f"{kind}: one account acts for everybody, so nothing is enforced between users: not whose a namespace is, "
            "nor that something is private",
            "NFS, or one registry a person; private is then only as private as the share",
        )
    if kind in _NO_MODES:
        yield Weakness(
            "users",
            f"{kind} keeps no modes and no links: nothing is private, nothing is read-only, and no tag can be made",
            "a file system of this system's own, or NFS",
        )
    if kind.partition(".")[0] == "fuse" and kind not in _NO_USERS | _CHECKED_BY_THE_SERVER:
        if "allow_other" not in options:
            yield Weakness(
                "users", f"{kind} is open to who mounted it only", "mount it with allow_other,default_permissions"
            )
        elif "default_permissions" not in options:
            yield Weakness(
                "users",
                f"{kind} without default_permissions: the kernel looks at no owner and no mode here",
                "mount it with default_permissions",
            )
    if kind == "fuse.glusterfs" and "default_permissions" not in options:
        yield Weakness(
            "users",
            f"{kind}: while its owner reads a private file, another user of the same host who knows its path may too",
            "mount it with entry-timeout=0 (which cannot be seen from here); lhub selftest as root tries it",
            sure=False,
        )


def _between_hosts(mount: Mount) -> Iterator[Weakness]:
    kind, options = mount.kind, mount.options
    if _locks_are_local(kind, options):
        yield Weakness(
            "hosts",
            f"{kind}: a lock holds on this host only, so between hosts neither --expect nor which of two pushes came "
            "last is promised",
            {"nfs": "mount it without nolock and local_lock, with rpc.statd", "lustre": "mount it with -o flock"}.get(
                kind.rstrip("4"), "let the mount give locks to all hosts"
            ),
        )
    elif kind in ("cifs", "smb3", "smbfs", "fuse.sshfs", "9p", "drvfs", "vboxsf"):
        yield Weakness(
            "hosts",
            f"{kind}: a lock may not hold against another host, so neither --expect nor which of two pushes came last "
            "is promised",
            "NFS, or pushes from one host only",
        )
    if "nocto" in options:
        yield Weakness(
            "hosts",
            f"{kind} with nocto: what another host wrote may look old for long",
            "mount it without nocto",
        )


def _locks_are_local(kind: str, options: frozenset[str]) -> bool:
    if kind in ("nfs", "nfs4"):
        return bool(options & {"nolock", "local_lock=all", "local_lock=flock"})
    if kind == "lustre":
        return "flock" not in options
    return bool(options & {"localflocks", "localflock"})


def _of_data(mount: Mount) -> Iterator[Weakness]:
    kind, options = mount.kind, mount.options
    if kind in ("nfs", "nfs4") and options & {"soft", "softerr"}:
        yield Weakness(
            "data",
            f"{kind} mounted soft: while the server is away a write fails, or is lost without a word",
            "mount it hard",
        )
    if kind == "fuse.sshfs":
        yield Weakness("data", f"{kind}: a rename over a name is not one step", "NFS")
    if kind in _PASSING:
        yield Weakness("staying", f"{kind}: what lies here is gone after a restart", "a disk, for what is to stay")
    if "ro" in options:
        yield Weakness("data", "mounted read-only: pulls work, pushes do not", "mount it rw where somebody pushes")


def _of_root(mount: Mount, uid: int) -> Iterator[Weakness]:
    if uid == 0 and mount.kind in _NO_SQUASH | _NO_USERS | _LOCAL | _PASSING:
        yield Weakness(
            "root",
            f"you are root, and root reads and changes everything on {mount.kind}, private or not",
            "push and pull as an ordinary user",
        )
