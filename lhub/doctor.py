"""Doctor: what is unusual in a registry, in words for who sees it for the first time; and what can be set right.

Nothing here is damage (`verify` finds that): it is what a kill, a hand or a wrong clock left. With `fix`, what is one's
own and safe is set right: dead staging is swept, modes are set, links and diary are completed. No file that lhub did
not make is ever removed.

>>> Oddity(path="alice/X/notes.txt", problem="it is no tag", hint="move it away").to_dict()["fixed"]
False
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from lhub.checkup import lagging
from lhub.commits import log
from lhub.diary import Entry
from lhub.errors import Corrupt, LhubError
from lhub.identity import account_of, group_of
from lhub.inbox import is_abandoned
from lhub.layout import (
    BASES,
    INBOX,
    NAMESPACE_FILE,
    ONE_PERSON,
    PIN,
    REGISTRY_FILE,
    RESOURCE_FILE,
    SCRATCH,
    TEAM_SPACE,
    TOKENS_ASIDE,
    TOKENS_FILE,
    TRASH,
    Modes,
    is_gone,
    is_sealed,
    is_version,
    kept,
    link_to,
    seen_note,
    trashed,
)
from lhub.moments import timestamp
from lhub.mounts import mount_of, weaknesses
from lhub.names import DEEPEST, is_name, is_space, is_tag
from lhub.opening import listed, says
from lhub.session import Session
from lhub.staging import ENDS, is_dead, sweep
from lhub.store import Resource

_SKEW = 60.0
"""Seconds by which the clocks of honest machines may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddity:
    """One unusual thing: `path` below the root, what is unusual, what it means or what to do; `fixed` if it is now."""

    path: str
    problem: str
    hint: str
    fixed: bool = False

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub doctor --json` prints it."""
        return {"path": self.path, "problem": self.problem, "hint": self.hint, "fixed": self.fixed}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """An oddity of an absolute path, with what sets it right if anything does."""

    path: str
    problem: str
    hint: str
    remedy: Callable[[], object] | None = None


def look(session: Session, *, fix: bool = False) -> list[Oddity]:
    """Everything unusual in what one may see; with `fix` set right what is one's own and safe."""
    session.read_root()
    everything = list(_everything(session))  # all of it, before anything is changed
    return [_told(session, found, fix=fix) for found in everything]


def _told(session: Session, found: _Found, *, fix: bool) -> Oddity:
    path = found.path.removeprefix(f"{session.root}/") if found.path != session.root else "."
    oddity = Oddity(path=path, problem=found.problem, hint=found.hint)
    if not found.remedy:
        return oddity
    if not fix:
        return replace(oddity, hint=f"{found.hint}; lhub doctor --fix does it")
    try:
        found.remedy()
    except (OSError, LhubError) as error:
        return replace(oddity, hint=f"{found.hint}; it could not be done: {error}")
    return replace(oddity, fixed=True)


def _everything(session: Session) -> Iterator[_Found]:
    yield from _mount(session)
    yield from _root(session)
    for namespace in session.spaces():
        with suppress(OSError):
            yield from _space(session, namespace)
    for namespace, resource, own in session.resources():
        with suppress(OSError):  # deleted meanwhile, closed, or held by a lease of whose it is
            folder = resource.folder
            odd = [path for path in (folder.inside, folder.versions, folder.history) if os.path.islink(path)]
            for path in odd:
                yield _Found(
                    path=path,
                    problem="a link where a folder should be: it leads out of this resource",
                    hint="lhub does not look behind it here; whose it is puts the folder back",
                )
            if not odd:
                yield from _resource(session, namespace, resource, own=own)


# the root and the namespaces


def _mount(session: Session) -> Iterator[_Found]:
    """What the file system cannot enforce or promise; what concerns only those who share, where somebody does."""
    mount = mount_of(session.root)
    shared = (_mode(session.root) or 0) & 0o022
    for weakness in weaknesses(mount, uid=session.person.uid) if mount else ():
        if shared or weakness.about not in ("root", "staying"):
            yield _Found(path=session.root, problem=weakness.text, hint=weakness.hint)


def _root(session: Session) -> Iterator[_Found]:
    yield from _open(session, session.root)
    yield from _writable(session, session.folder.file, 0o022)
    for entry in listed(session.root):
        if entry.name == REGISTRY_FILE or (is_space(entry.name) and entry.is_dir(follow_symlinks=False)):
            continue
        yield _scratch_or_foreign(session, entry, "a registry holds namespaces and registry.yaml")


def _space(session: Session, namespace: str | None) -> Iterator[_Found]:
    folder = session.folder.namespace(namespace)
    if namespace is not None and session.is_team(namespace):
        yield from _team_space(session, folder.path)
    else:
        yield from _open(session, folder.path)
    if not os.path.islink(folder.trash):
        yield from _open(session, folder.trash)
    else:
        yield _Found(
            path=folder.trash,
            problem="a link, which lhub never follows",
            hint="nothing is deleted while it stands there",
        )
    yield from _writable(session, folder.file, 0o002 if session.modes(namespace) is not ONE_PERSON else 0o022)
    for entry in listed(folder.path):
        if entry.name in (NAMESPACE_FILE, TRASH, BASES, TOKENS_FILE, *TOKENS_ASIDE):
            continue
        if entry.name.startswith(INBOX) and entry.is_dir(follow_symlinks=False):
            yield from _inbox(session, entry)
            continue
        if is_name(entry.name) and entry.is_dir(follow_symlinks=False):
            resource = session.resource(namespace, entry.name)
            if _shut(resource):
                yield from _shut_out(session, namespace, resource)
            elif session.keeps(namespace, resource) and not resource.published():
                yield _Found(
                    path=entry.path,
                    problem="a first push did not get as far as a tag here, or its tags and diary were removed",
                    hint="it is not listed and does no harm; the next push of this name goes on with it",
                )
            continue
        yield _scratch_or_foreign(session, entry, "a namespace holds resources, which are folders")


def _inbox(session: Session, entry: os.DirEntry[str]) -> Iterator[_Found]:
    """What an upload left whose receiver is dead."""
    status = entry.stat(follow_symlinks=False)
    if status.st_uid == session.uid and is_abandoned(entry.path, age=session.clock() - status.st_mtime):
        yield _Found(
            path=entry.path,
            problem=f"an upload that broke off at {timestamp(status.st_mtime)}",
            hint="no tag names what it left; the next upload sweeps it up",
            remedy=lambda: session.pen.remove_tree(entry.path),
        )


def _open(session: Session, path: str) -> Iterator[_Found]:
    """A folder in which others may rename and remove what is not theirs: the sticky bit keeps them from it."""
    mode = _mode(path)
    if mode is not None and mode & 0o022 and not mode & stat.S_ISVTX:
        own = os.lstat(path).st_uid == session.uid
        yield _Found(
            path=path,
            problem=f"its mode is {mode:04o}: others may write here, and rename or remove what is not theirs",
            hint="the sticky bit keeps them from it",
            remedy=(lambda: session.pen.set_mode(path, mode | stat.S_ISVTX)) if own else None,
        )


def _team_space(session: Session, path: str) -> Iterator[_Found]:
    mode = _mode(path)
    if mode != TEAM_SPACE and mode is not None:
        own = os.lstat(path).st_uid == session.uid
        yield _Found(
            path=path,
            problem=f"its mode is {mode:04o}, that of a team's namespace is {TEAM_SPACE:04o}",
            hint="setgid keeps all in it the team's, the sticky bit keeps a member from removing what another made",
            remedy=partial(session.pen.set_mode, path, TEAM_SPACE) if own else None,
        )


def _shut(resource: Resource) -> bool:
    """Whether the caller may not even look into a resource's folder."""
    return resource.status() is not None and not os.access(resource.folder.path, os.R_OK | os.X_OK)


def _shut_out(session: Session, namespace: str | None, resource: Resource) -> Iterator[_Found]:
    """A resource of a team that the caller, a member, cannot enter; all others are private to somebody."""
    if namespace is None or not session.keeps(namespace, resource) or not session.is_team(namespace):
        return
    path = resource.folder.path
    status = os.lstat(path)
    yield _Found(
        path=path,
        problem=f"its mode is {stat.S_IMODE(status.st_mode):04o}, so {account_of(status.st_uid)} alone can enter it",
        hint=f"{account_of(status.st_uid)} opens it to the team by lhub doctor --fix",
    )


def _scratch_or_foreign(session: Session, entry: os.DirEntry[str], rule: str) -> _Found:
    if entry.name.startswith(SCRATCH) and entry.is_file(follow_symlinks=False):
        own = entry.stat(follow_symlinks=False).st_uid == session.uid
        return _Found(
            path=entry.path,
            problem="a file that was being written when its writer was killed",
            hint="it is nobody's and can go",
            remedy=(lambda: session.pen.unlink(entry.path)) if own else None,
        )
    if entry.is_symlink():
        return _Found(path=entry.path, problem=f"a link, which lhub never follows: {rule}", hint="whose it is moves it")
    return _Found(path=entry.path, problem=f"not lhub's: {rule}", hint="lhub passes it over; whose it is moves it")


# one resource


def _resource(session: Session, namespace: str | None, resource: Resource, *, own: bool) -> Iterator[_Found]:
    modes = session.modes(namespace)
    yield from _names(session, resource)
    yield from _clock(session, resource)
    if own:
        yield from _modes(session, resource, modes)
        if modes is ONE_PERSON:
            yield from _handed_over(session, namespace, resource)
        elif namespace is not None:
            yield from _closed_to_the_team(session, namespace, resource, modes)
        yield from _unfinished(session, resource)
        yield from _half_gone(session, namespace, resource)
        yield from _lagging(session, namespace, resource)


def _names(session: Session, resource: Resource) -> Iterator[_Found]:
    """Names beside the tags that lhub did not make, and tags that lead out of the tree."""
    links = resource.links()
    for entry in listed(resource.folder.path):
        if entry.name in (RESOURCE_FILE, ".lhub") or entry.name in links.tags:
            continue
        if entry.name in links.odd:
            yield _Found(
                path=entry.path,
                problem=links.odd[entry.name],
                hint="a tag is a link to one of its own versions; lhub reads nothing else, and a push sets it anew",
            )
        elif entry.is_symlink() and is_tag(entry.name.removeprefix(PIN)):
            continue  # a pin, or a tag that its pin stands for
        else:
            yield _scratch_or_foreign(session, entry, "beside its tags a resource holds resource.yaml and .lhub")
    inside = {os.path.basename(path) for path in _own_names(resource)}
    for entry in listed(resource.folder.inside):
        if entry.name not in inside and not entry.is_symlink():
            yield _scratch_or_foreign(session, entry, "this is lhub's own folder")
    known = (is_version, trashed, seen_note, is_gone, lambda name: name.startswith(SCRATCH))
    for entry in listed(resource.folder.versions):
        if not any(knows(entry.name) for knows in known):
            yield _scratch_or_foreign(session, entry, "this folder holds versions, named by 64 hex digits")


def _unfinished(session: Session, resource: Resource) -> Iterator[_Found]:
    """Staging whose maker is dead."""
    for entry in listed(resource.folder.versions):
        if not entry.name.startswith(SCRATCH) or not entry.name.endswith(".lock"):
            continue
        status = entry.stat(follow_symlinks=False)
        own = status.st_uid == session.uid
        if not stat.S_ISREG(status.st_mode):
            yield _Found(path=entry.path, problem="a link or other thing where a lock should be", hint="remove it")
        elif not own or is_dead(entry.path):
            when = timestamp(status.st_mtime)
            yield _Found(
                path=entry.path.removesuffix(".lock"),
                problem=f"a push that was killed or lost its machine at {when}" if own else "another user's push",
                hint="no tag names what it left; the next push sweeps it up" if own else "he sweeps what is left of it",
                remedy=(lambda: sweep(session.pen, resource.folder, uid=session.uid)) if own else None,
            )
    yield from _loose(session, resource)


def _loose(session: Session, resource: Resource) -> Iterator[_Found]:
    """Staging without its lock, which its maker takes first and gives up last."""
    entries = listed(resource.folder.versions)
    locks = {entry.name.removesuffix(".lock") for entry in entries if entry.name.endswith(".lock")}
    for entry in entries:
        if entry.name.startswith(SCRATCH) and entry.is_dir(follow_symlinks=False) and entry.name not in locks:
            own = entry.stat(follow_symlinks=False).st_uid == session.uid
            if not entry.name.endswith(ENDS):
                yield _Found(
                    path=entry.path,
                    problem="what a push staged, without the lock that would tell whether it lives",
                    hint="no push works so; it can go",
                    remedy=partial(session.pen.remove_tree, entry.path) if own else None,
                )


def _half_gone(session: Session, namespace: str | None, resource: Resource) -> Iterator[_Found]:
    """What a collection left that was killed, and a tagged version that only the trash has."""
    for entry in listed(resource.folder.versions):
        if is_gone(entry.name):
            yield _Found(
                path=entry.path,
                problem="a collection was killed while it removed this",
                hint="no tag names it; the next lhub gc goes on",
            )
    for tag, link in resource.links().tags.items():
        if not resource.has(link.version) and (name := resource.in_trash(link.version)):
            yield _Found(
                path=f"{resource.folder.versions}/{name}",
                problem=f"the tag {tag} names it, but it lies in the trash",
                hint="readers find it there; the next change brings it back",
                remedy=partial(_complete, session, namespace, resource),
            )


def _complete(session: Session, namespace: str | None, resource: Resource) -> None:
    with session.changing(resource, namespace):
        pass  # a change begins with completing what lags


def _lagging(session: Session, namespace: str | None, resource: Resource) -> Iterator[_Found]:
    complete = partial(_complete, session, namespace, resource)
    with suppress(Corrupt):  # verify tells of a diary that does not read
        for lacking in lagging([resource]).values():
            yield _Found(
                path=resource.folder.history,
                problem=f"the diary does not yet tell of {lacking}: a writer was killed between the tag and the diary",
                hint="nothing is lost but his message, the next change completes it",
                remedy=complete,
            )
    links = resource.links()
    for tag in links.protected:
        if says(resource.folder.tag(tag)) not in (None, link_to(links.tags[tag].version)):
            yield _Found(
                path=resource.folder.tag(tag),
                problem=f"the tag {tag} is protected, but its link was moved by hand",
                hint="readers keep to what is protected, the next change sets the link back",
                remedy=complete,
            )
        if not os.path.islink(resource.folder.tag(tag)):
            yield _Found(
                path=resource.folder.pin(tag),
                problem=f"the tag {tag} was protected, but its own link was not yet made",
                hint="readers see the protected one already, the next change makes the link",
                remedy=complete,
            )


def _clock(session: Session, resource: Resource) -> Iterator[_Found]:
    """Times that cannot be: tomorrow's, and a diary whose later entry is older."""
    now = session.clock()
    for tag, link in resource.links().tags.items():
        if link.when > now + _SKEW:
            yield _Found(
                path=resource.folder.tag(tag),
                problem=f"it was set at {timestamp(link.when)}, which is yet to come",
                hint="the clock of this machine or of who set it is wrong; nothing depends on it, but look",
            )
    for version in listed(resource.folder.versions):
        made = version.stat(follow_symlinks=False).st_mtime
        if is_version(version.name) and made > now + _SKEW:
            yield _Found(
                path=version.path,
                problem=f"it was made at {timestamp(made)}, which is yet to come",
                hint="a clock was wrong; until then lhub gc takes it for the newest, which never goes",
            )
    with suppress(Corrupt):
        later: Entry | None = None
        for entry in log(resource):  # newest first
            if later is not None and later.when < entry.when - _SKEW:
                yield _Found(
                    path=resource.folder.history,
                    problem=f"the clock ran backwards: {later.action} by {later.name} says {timestamp(later.when)}, "
                    f"the {entry.action} before it {timestamp(entry.when)}",
                    hint="the order of the diary is right, its times are not; look at the clocks of those machines",
                )
                return
            later = entry


# modes


def _modes(session: Session, resource: Resource, modes: Modes) -> Iterator[_Found]:
    """What others may write that they should not, and versions that can be written at all."""
    folder = resource.folder
    for path, wanted in _exact(resource, modes):
        mode = _mode(path)
        if mode is not None and (mode & ~wanted or is_sealed(wanted) > is_sealed(mode)):
            yield _mode_found(session, path, mode, wanted if is_sealed(wanted) else mode & wanted)
        elif mode is not None and mode != wanted and path == resource.folder.path and modes is ONE_PERSON:
            yield _Found(
                path=path, problem=f"its mode is {mode:04o}, so not everybody may read it", hint=f"it was {wanted:04o}"
            )
    forbidden = 0o022 if modes is ONE_PERSON else 0o002
    yield from _writable(session, folder.inside, forbidden)
    for entry in _below(folder.inside):
        if entry.name.startswith(SCRATCH) or entry.path in (folder.lock, folder.secret):
            continue
        if entry.is_symlink():
            yield _Found(
                path=entry.path,
                problem="a link where lhub makes none: it could lead a reader out of the registry",
                hint="lhub does not follow it; lhub verify tells what it stands in for",
            )
            continue
        name = entry.path.removeprefix(f"{folder.versions}/").partition("/")[0]
        published = is_version(trashed(name) or name)
        yield from _writable(session, entry.path, 0o222 if published else forbidden)


# a team's resource, and one that was handed over


def _closed_to_the_team(session: Session, namespace: str, resource: Resource, modes: Modes) -> Iterator[_Found]:
    """What a colleague can neither enter nor change, since an umask, a hand or another program made it so."""
    gid = os.lstat(session.folder.namespace(namespace).path).st_gid
    for path, wanted in _of_the_team(resource, modes):
        with suppress(FileNotFoundError):
            status = os.lstat(path)
            mode = stat.S_IMODE(status.st_mode)
            lacking, other = wanted & ~mode, status.st_gid != gid
            if lacking or (other and wanted & 0o070 != 0o040):
                owner = account_of(status.st_uid)
                what = f"its group is {group_of(status.st_gid)}" if other else f"its mode is {mode:04o}"
                own = status.st_uid == session.uid and (stat.S_ISDIR(status.st_mode) or status.st_nlink == 1)
                yield _Found(
                    path=path,
                    problem=f"{what}, so colleagues of {owner} in {group_of(gid)} cannot go on with it",
                    hint=f"it should be {wanted:04o}, of the group {group_of(gid)}; it is {owner}'s to set right",
                    remedy=partial(_give, session, path, gid, mode | wanted) if own else None,
                )


def _of_the_team(resource: Resource, modes: Modes) -> Iterator[tuple[str, int]]:
    """What the members of a team share, and the rights that each of them needs there."""
    folder = resource.folder
    status = resource.status()
    if status is not None:
        yield folder.path, kept(status.st_mode, modes)
    yield folder.inside, modes.inner
    yield folder.lock, modes.lock
    for entry in _below(folder.inside):
        name = entry.path.removeprefix(f"{folder.versions}/").partition("/")[0]
        if entry.is_symlink() or entry.path in (folder.lock, folder.secret) or is_version(trashed(name) or name):
            continue
        if entry.is_dir(follow_symlinks=False):
            if not name.startswith(SCRATCH) and not is_gone(name):
                yield entry.path, modes.inner
        elif not entry.name.startswith(SCRATCH) and not entry.name.endswith(".lock"):
            yield entry.path, 0o040


def _give(session: Session, path: str, gid: int, mode: int) -> None:
    """A thing of one's own to the team; the group first, since a change of it takes setgid away."""
    if os.lstat(path).st_gid != gid:
        session.pen.set_group(path, gid)
    session.pen.set_mode(path, mode)


def _handed_over(session: Session, namespace: str | None, resource: Resource) -> Iterator[_Found]:
    """What is left of another owner in one person's resource, after it was given to somebody else."""
    space = resource.folder.path if namespace is None else session.folder.namespace(namespace).path
    owner = os.lstat(space).st_uid
    others: dict[tuple[int, int], tuple[str, int]] = {}
    for path in (resource.folder.path, *(entry.path for entry in _below(resource.folder.path))):
        with suppress(FileNotFoundError):
            status = os.lstat(path)
            if status.st_uid != owner and SCRATCH not in path:
                others[status.st_dev, status.st_ino] = path, status.st_uid
    if others:
        whose = ", ".join(sorted({account_of(uid) for _, uid in others.values()}))
        count = f"{len(others)} file{'s' if len(others) > 1 else ''} or folders"
        yield _Found(
            path=resource.folder.path,
            problem=f"{count} in it belong to {whose}, the namespace to {account_of(owner)}",
            hint=f"who hands over finishes it on the file server: chown -R {account_of(owner)} {space}",
        )


def _writable(session: Session, path: str, forbidden: int) -> Iterator[_Found]:
    mode = _mode(path)
    if mode is not None and mode & forbidden:
        yield _mode_found(session, path, mode, mode & ~forbidden)


def _exact(resource: Resource, modes: Modes) -> Iterator[tuple[str, int]]:
    status = resource.status()
    if status is not None:
        sealed = os.path.lexists(resource.folder.seal)
        yield resource.folder.path, modes.sealed if sealed else kept(status.st_mode, modes)
    yield resource.folder.lock, modes.lock
    yield resource.folder.secret, 0o600


def _mode_found(session: Session, path: str, mode: int, wanted: int) -> _Found:
    why = "others could change it" if mode & 0o022 & ~wanted else "it differs from what lhub sets"
    status = os.lstat(path)
    single = stat.S_ISDIR(status.st_mode) or status.st_nlink == 1 or wanted & 0o444 == 0o444  # else a link to another's
    own = status.st_uid == session.uid and single
    return _Found(
        path=path,
        problem=f"its mode is {mode:04o}, {why}",
        hint=f"it should be {wanted:04o}",
        remedy=(lambda: session.pen.set_mode(path, wanted)) if own else None,
    )


def _own_names(resource: Resource) -> tuple[str, ...]:
    """What lhub makes in a resource's own folder."""
    folder = resource.folder
    made = (folder.versions, folder.history, folder.recorded, folder.builds, folder.secret, folder.lock, folder.damaged)
    return (*made, folder.images, folder.seal)


def _mode(path: str) -> int | None:
    try:
        return stat.S_IMODE(os.lstat(path).st_mode)
    except OSError:  # not there, or closed by whose it is
        return None


def _below(folder: str, depth: int = 0) -> Iterator[os.DirEntry[str]]:
    """Everything below a folder, staging left out, no deeper than lhub lays anything; links are not followed."""
    for entry in listed(folder) if depth <= DEEPEST + 8 else ():
        yield entry
        if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(SCRATCH):
            yield from _below(entry.path, depth + 1)
