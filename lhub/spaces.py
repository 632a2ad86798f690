"""The root and the namespaces: made, claimed, shared, with the owner, group and modes that the kernel shall enforce.

Whoever makes a folder owns it: the first to claim a name has it. A registry for several users has a sticky root, a
team's namespace a sticky folder of its group (setgid, so that all in it is the group's too): everybody may make names
there, nobody may move or remove another's.

>>> import tempfile
>>> from lhub.session import Session, person
>>> session = Session(root=tempfile.mkdtemp() + "/registry", caller=None, person=person())
>>> make_root(session), make_root(session)
(True, False)
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from lhub.errors import Conflict, Denied, LhubError, NotFound, UsageError
from lhub.identity import account_of, gid_of, group_of
from lhub.layout import (
    BASES,
    NAMESPACE_FILE,
    ONE_PERSON,
    SCRATCH,
    SHARED_ROOT,
    TEAM_SPACE,
    TRASH,
    NamespaceFolder,
    modes_of,
)
from lhub.manifest import SMALL, format_text, read_recipient
from lhub.names import UNNAMED, is_space, parse_namespace, twin
from lhub.opening import is_folder, read_small, refresh
from lhub.session import Session
from lhub.store import Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """Who may make names in a folder: its mode, and the group (a gid) if it is one group's."""

    mode: int
    gid: int | None = None

    @property
    def words(self) -> str:
        """For a person."""
        if self.gid is not None:
            return f"the group {group_of(self.gid)}"
        return "every user" if self.mode & 0o002 else "its owner"


ALONE = Sharing(mode=ONE_PERSON.public)


def sharing(session: Session, *, shared: bool, group: str | None) -> Sharing:
    """What `--shared` and `--group` mean; raises UsageError, NotFound, Denied for a group that is not the caller's."""
    if shared and group is not None:
        raise UsageError("--shared and --group exclude each other", hint="give one of them, or none")
    if group is None:
        return Sharing(mode=SHARED_ROOT) if shared else ALONE
    gid = gid_of(group)
    if gid is None:
        raise NotFound(f"there is no group {group} on this machine", hint="getent group lists them")
    if session.person.uid != 0 and gid not in session.person.groups:
        raise Denied(
            f"you are not in the group {group}", hint="one of its members can do this; if you are one, log in anew"
        )
    return Sharing(mode=TEAM_SPACE, gid=gid)


# the root


def make_root(session: Session, wanted: Sharing | None = None, *, require_mount: bool = False) -> bool:
    """Make the registry if it is not there, or share the one that is; False when it stood already."""
    try:
        session.read_root()
    except NotFound:
        session.see_mounted(require_mount)
        _make_root(session, require_mount=require_mount)
        made = True
    else:
        swept(session, session.root)
        if require_mount and not session.requires_mount():
            raise Conflict(
                f"{session.root} stands already, made without --require-mount",
                hint="add the line `require_mount: true` to its registry.yaml, which its owner can",
            )
        made = False
    if wanted is not None and wanted is not ALONE:
        if os.lstat(session.root).st_uid == session.uid:
            _make_unnamed(session, wanted)  # before others may write here
        _share(session, session.root, wanted)
    return made


def to_be_made(root: str) -> bool:
    """Whether a registry may be made there: nothing stands there, or what a maker left who did not finish it."""
    try:
        return all(name.startswith(SCRATCH) for name in os.listdir(root))
    except FileNotFoundError:
        return True
    except NotADirectoryError:
        return False


def _make_root(session: Session, *, require_mount: bool) -> None:
    root = session.root
    parent = os.path.dirname(root) or "/"
    if not os.path.isdir(parent):
        raise NotFound(f"{root} cannot be made, {parent} is not there", hint=f"mkdir -p {parent}")
    try:
        made = session.pen.make_folder(root, ONE_PERSON.public)  # shared last, when all of lhub's own is there
        _refuse_another_s(session, made)
        others = swept(session, root)
        if others and "registry.yaml" not in others:
            raise Conflict(f"{root} holds other things and is not a registry", hint="name an empty or a new folder")
        text = format_text(require_mount=require_mount).encode()
        scratch = f"{root}/{SCRATCH}{session.unique()}"
        told = session.pen.create(session.folder.file, text, 0o644, scratch=scratch)
        _see_served(session, told)
        session.pen.sync_folder(root)
        if made:
            session.pen.sync_folder(parent)
    except PermissionError:
        raise Denied(f"{root} cannot be written by you", hint="--root or LHUB_ROOT names another place") from None
    session.read_root()
    session.notes(f"made the registry {root}")


def _see_served(session: Session, made: bool) -> None:
    """Take registry.yaml back where it is not of the root's owner, for nobody would use it: root is nobody on NFS."""
    try:
        session.read_root()
    except Denied as error:
        if made:
            session.pen.unlink(session.folder.file)
        raise Denied(str(error), hint="make it as the owner of the folder, or on the file server") from None


def _refuse_another_s(session: Session, made: bool) -> None:
    """Who makes registry.yaml could end everybody's work by it, so in a folder for all only its owner does."""
    status = os.lstat(session.root)
    if not made and status.st_mode & 0o022 and session.person.uid not in (status.st_uid, 0):
        whose = account_of(status.st_uid)
        raise Denied(
            f"{session.root} belongs to {whose}, who has not made it a registry", hint=f"lhub init, as {whose}"
        )


def _share(session: Session, path: str, wanted: Sharing) -> None:
    """Give a folder of one's own the group and mode of `wanted`, and see that both stick."""
    if _is_shared(path, wanted):
        return
    try:
        if wanted.gid is not None and os.lstat(path).st_gid != wanted.gid:
            session.pen.set_group(path, wanted.gid)  # takes setgid away, so the mode comes second
        if wanted.gid in (None, os.lstat(path).st_gid):  # else it would be some other group's
            session.pen.set_mode(path, wanted.mode)
    except PermissionError:
        whose = account_of(os.lstat(path).st_uid)
        raise Denied(
            f"{path} belongs to {whose}, who alone can give it to {wanted.words}",
            hint="if it is yours, the file server does not know you in that group",
        ) from None
    if not _is_shared(path, wanted):
        raise LhubError(
            f"{path} cannot be shared with {wanted.words}: this file system does not keep modes or groups",
            hint="lhub selftest tells what it keeps",
        )
    session.pen.sync_folder(path)


def _is_shared(path: str, wanted: Sharing) -> bool:
    status = os.lstat(path)
    return stat.S_IMODE(status.st_mode) == wanted.mode and wanted.gid in (None, status.st_gid)


# namespaces


def claim(session: Session, name: str) -> None:
    """Make a namespace one's own by making its folder; Denied: it is somebody else's, Conflict: a case twin."""
    folder = session.folder.namespace(parse_namespace(name))
    make_root(session)
    swept(session, session.root)
    no_twin_space(session, name)
    with _may_make(session, name):
        made = session.pen.make_folder(folder.path, ONE_PERSON.public)
    if not made and not session.owns(name):
        raise Denied(f"the namespace {name} belongs to somebody else", hint="lhub login with another name")
    _describe(session, folder, ONE_PERSON.public)
    if made:
        session.pen.sync_folder(session.root)


def login(session: Session, name: str) -> None:
    """Claim a namespace; whose it is, if it is a team's, is told: what is pushed there others may change."""
    claim(session, name)
    status = os.lstat(session.folder.namespace(name).path)
    if session.is_team(name) and status.st_uid != session.uid:
        maker = account_of(status.st_uid)
        session.notes(f"{name} is the namespace of the group {group_of(status.st_gid)}, made by {maker}")
    elif session.home is not None:
        from lhub.age import available  # 2 ms

        if available():
            tell_recipient(session, name)


def create(session: Session, name: str, group: str | None) -> bool:
    """Make a namespace, a group's if one is named; False when it stood already just so."""
    folder = session.folder.namespace(parse_namespace(name))
    wanted = sharing(session, shared=False, group=group)
    make_root(session)
    if is_folder(folder.path) and os.path.lexists(folder.file):
        try:
            _refuse_other(session, name, wanted)
        except Conflict:
            if not _is_empty(session, name):
                raise
        else:
            if os.lstat(folder.path).st_uid == session.uid and wanted.gid is not None:
                make_trash(session, name)
            return False
    if wanted.gid is None:
        claim(session, name)
        return True
    no_twin_space(session, name)
    with _may_make(session, name):
        if not session.pen.make_folder(folder.path, 0o700) and not session.owns(name):  # a kill may have left it
            raise Denied(f"the namespace {name} belongs to somebody else", hint="choose another name")
    _share(session, folder.path, wanted)
    make_trash(session, name)  # with it, for whoever makes it could empty it
    _describe(session, folder, wanted.mode)
    session.pen.sync_folder(session.root)
    return True


@contextmanager
def _may_make(session: Session, name: str) -> Iterator[None]:
    try:
        yield
    except PermissionError:
        raise Denied(
            f"you may not make the namespace {name} in {session.root}", hint="the registry's owner decides who may"
        ) from None


def _refuse_other(session: Session, name: str, wanted: Sharing) -> None:
    """Raise when a namespace that stands is not what is asked for."""
    status = os.lstat(session.folder.namespace(name).path)
    if not session.owns(name):
        raise Denied(f"the namespace {name} belongs to somebody else", hint="choose another name")
    if wanted.gid is not None and not (session.is_team(name) and status.st_gid == wanted.gid):
        stands = f"of the group {group_of(status.st_gid)}" if session.is_team(name) else "one person's"
        raise Conflict(
            f"the namespace {name} stands already and is {stands}",
            hint="make one of another name: lhub export and lhub import --as NAME carry its resources there",
        )


def _is_empty(session: Session, name: str) -> bool:
    """Whether a namespace is the caller's own and holds nothing yet, so that it may become somebody else's."""
    folder = session.folder.namespace(name)
    names = [*os.listdir(folder.path), *_names(folder.trash)]
    own = os.lstat(folder.path).st_uid == session.uid
    return own and all(entry in (NAMESPACE_FILE, TRASH, BASES) or entry.startswith(SCRATCH) for entry in names)


def swept(session: Session, folder: str) -> list[str]:
    """The names in a folder, after removing the scratch files that a kill of one's own left there."""
    names = os.listdir(folder)
    for name in names:
        if name.startswith(SCRATCH):
            with suppress(FileNotFoundError, PermissionError):  # somebody else sweeps too, or shut it
                status = os.lstat(f"{folder}/{name}")
                if status.st_uid == session.uid and not stat.S_ISDIR(status.st_mode):
                    session.pen.unlink(f"{folder}/{name}")
    return [name for name in names if not name.startswith(SCRATCH)]


def _describe(session: Session, folder: NamespaceFolder, mode: int) -> None:
    """Finish a namespace: its mode, its namespace.yaml; one that is finished is left alone."""
    if "namespace.yaml" in swept(session, folder.path):
        return
    if modes_of(os.lstat(folder.path).st_mode) is ONE_PERSON:
        session.pen.make_folders([folder.path], mode)
    modes = modes_of(os.lstat(folder.path).st_mode)
    scratch = f"{folder.path}/{SCRATCH}{session.unique()}"
    session.pen.create(folder.file, format_text().encode(), modes.file, scratch=scratch)
    session.pen.sync_folder(folder.path)


def no_twin_space(session: Session, namespace: str | None) -> None:
    """Raise Conflict when a namespace stands whose name differs only by case."""
    if namespace and is_folder(session.root) and (other := twin(namespace, os.listdir(session.root))):
        raise Conflict(f"{namespace} differs only by case from {other}, which stands", hint="choose another name")


# keys


def own_identity(session: Session, namespace: str | None) -> str | None:
    """The identity of one's own namespace, made if this home has none; None without home or name."""
    from lhub.keyring import Keyring  # for what is sealed

    return Keyring(session.home).make(namespace, session.pen) if namespace else None


def tell_recipient(session: Session, namespace: str) -> str | None:
    """Let others seal for a namespace of one's own: its recipient stands in namespace.yaml; that which stands there.

    Another home may have told one: what is sealed for that opens there.
    """
    from lhub.age import is_recipient, recipient_of  # for what is sealed

    folder = session.folder.namespace(namespace)
    identity, told = own_identity(session, namespace), recipient(session, namespace)
    mine = recipient_of(identity) if identity else None
    stands = told if is_recipient(told) else None
    if mine is None or os.lstat(folder.path).st_uid != session.uid or session.is_team(namespace):
        return stands
    if stands not in (None, mine):
        session.notes(
            f"what others seal for {namespace} opens by an identity of another home; to read it here, copy its "
            f"identities/{namespace}"
        )
        return stands
    if stands is None:
        scratch = f"{folder.path}/{SCRATCH}{session.unique()}"
        session.pen.replace(folder.file, format_text(recipient=mine).encode(), ONE_PERSON.file, scratch=scratch)
        session.pen.sync_folder(folder.path)
    return mine


def recipient(session: Session, namespace: str) -> str | None:
    """The recipient that a namespace has told, in a file of its owner's own; None where it has told none."""
    folder = session.folder.namespace(namespace)
    try:
        status, owner = os.lstat(folder.file), os.lstat(folder.path)
        if status.st_uid != owner.st_uid:
            return None
        return read_recipient(read_small(folder.file, limit=SMALL), f"namespace.yaml of {namespace}")
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_shared(session: Session) -> bool:
    """Whether other users write in the registry too."""
    try:
        return bool(os.stat(session.root).st_mode & 0o022)
    except FileNotFoundError:
        return False


# what has no namespace, and what was deleted


def claim_unnamed(session: Session) -> None:
    """Make the folder of resources without a namespace, which the owner of the root does."""
    make_root(session)
    root = os.stat(session.root)
    folder = session.folder.namespace(None)
    if os.path.lexists(folder.path) and not session.is_space(None):
        raise Denied(f"{folder.path} was not made by the owner of the registry", hint="he can remove it")
    if root.st_uid != session.uid:
        if not session.may_write(folder.path) or not os.path.lexists(folder.file):
            raise Denied(
                f"{session.root} takes nothing without a namespace yet",
                hint="lhub login NAME, then it goes to your own namespace",
            )
        swept(session, folder.path)
        return
    shared = root.st_mode & stat.S_ISVTX and root.st_mode & 0o022
    gid = root.st_gid if root.st_mode & stat.S_ISGID else None
    _make_unnamed(session, Sharing(mode=stat.S_IMODE(root.st_mode), gid=gid) if shared else ALONE)


def _make_unnamed(session: Session, wanted: Sharing) -> None:
    """The folder of what has no namespace, with its trash: first all that is lhub's own, then who may write there."""
    folder = session.folder.namespace(None)
    if "namespace.yaml" in _names(folder.path) and TRASH in _names(folder.path) and _is_shared(folder.path, wanted):
        swept(session, folder.path)
        return
    places = [folder.path, folder.trash]
    if wanted is ALONE or not os.path.lexists(folder.path):
        session.pen.make_folders([folder.path], ONE_PERSON.public)
    session.pen.make_folders([folder.trash], ONE_PERSON.public)
    if "namespace.yaml" not in swept(session, folder.path):
        scratch = f"{folder.path}/{SCRATCH}{session.unique()}"
        session.pen.create(folder.file, format_text().encode(), ONE_PERSON.file, scratch=scratch)
    for place in reversed(places):
        if wanted is not ALONE:
            _share(session, place, wanted)
        session.pen.sync_folder(place)
    session.pen.sync_folder(session.root)


def _names(folder: str) -> list[str]:
    return os.listdir(folder) if is_folder(folder) else []


def make_trash(session: Session, namespace: str | None) -> None:
    """Make the place of deleted resources, with the mode of its namespace; whoever owns it could empty it."""
    folder = session.folder.namespace(namespace)
    space = os.lstat(folder.path)
    team = namespace is not None and session.is_team(namespace)
    if team and space.st_uid != session.uid and not os.path.lexists(folder.trash):
        whose = account_of(space.st_uid)
        again = f"lhub namespace create {namespace} --group {group_of(space.st_gid)}"
        raise Denied(f"{folder.trash} is not there, and is {whose}'s to make", hint=f"as {whose}: {again}")
    made = not os.path.lexists(folder.trash)
    if made or not team:
        session.pen.make_folders([folder.trash], stat.S_IMODE(space.st_mode))
    if made:
        session.pen.sync_folder(folder.path)
    trash = os.lstat(folder.trash)
    honest = trash.st_uid == space.st_uid or (trash.st_uid == session.uid and not team)
    if not stat.S_ISDIR(trash.st_mode) or not honest:
        raise Denied(
            f"{folder.trash} was made by somebody else, who could empty it", hint="its namespace's owner removes it"
        )


def clear_leftover(session: Session, namespace: str | None, resource: Resource) -> None:
    """Make room where a first push was killed; what it staged is with who pushed it."""
    from lhub.change import clear_leftover as clear  # with filelock

    make_trash(session, namespace)
    aside = session.folder.namespace(namespace).gone(session.unique())
    try:
        clear(resource, session.modes(namespace), session.writer(), aside)
    except PermissionError:  # the namespace is sticky
        raise Denied(
            f"somebody else began to push {resource.name} and has not finished",
            hint="he pushes it, or its namespace's owner does",
        ) from None


# what is there


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """A namespace: its owner on disk, its group if it is a team's; `own`: the caller, as logged in, pushes there."""

    name: str
    owner: str
    group: str | None
    own: bool

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub namespace list --json` prints it."""
        return {"name": self.name, "owner": self.owner, "group": self.group, "own": self.own}


def spaces(session: Session) -> list[Space]:
    """Every namespace of the registry, by name."""
    session.read_root()
    refresh(session.root)
    found = []
    for name in sorted(filter(is_space, os.listdir(session.root))):
        with suppress(FileNotFoundError, PermissionError):
            status = os.lstat(session.folder.namespace(name).path)
            if stat.S_ISDIR(status.st_mode) and name != UNNAMED:
                group = group_of(status.st_gid) if session.is_team(name) else None
                owner = account_of(status.st_uid)
                found.append(Space(name=name, owner=owner, group=group, own=session.is_own(name)))
    return found
