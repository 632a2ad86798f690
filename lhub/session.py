"""A session: one person at one registry, and the facts about what he asks for.

The doors hand in all that comes from outside (login, clock, home); this room looks at the registry's folders and
asks `access` for its yes or no. Verbs begin here.

>>> session = Session(root="/nowhere/registry", caller="alice", person=person())
>>> session.resource("alice", "X").name
'alice/X'
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from lhub.access import Place, Verb, absent, may_see, refusal
from lhub.disk import Pen
from lhub.errors import Conflict, Corrupt, Denied, LhubError, NotFound, UsageError
from lhub.glance import Glance
from lhub.identity import Person, person
from lhub.index import Index
from lhub.layout import ONE_PERSON, Modes, RegistryFolder, is_private, is_sealed, modes_of
from lhub.manifest import SMALL, read_format
from lhub.names import LATEST, UNNAMED, Ref, is_name, is_space, twin
from lhub.opening import GONE, HIDDEN, is_folder, once_more, read_small, refresh
from lhub.store import Resource, Vanished, Version, again
from lhub.ways import guard

if TYPE_CHECKING:
    from lhub.change import Change, Writer
    from lhub.sealing import Lock

__all__ = ["Session", "beside_deletions", "first_of", "has_secret", "person", "seconds"]

_T = TypeVar("_T")
_NOBODY = 65534
"""Whom an NFS server takes root for (exports(5), root_squash)."""
TIMEOUT = 120.0
"""Seconds to wait for a lock: that of a host that lost its power outlives it by 90 (the lease of NFS)."""
_READ_AND_MANAGE: tuple[Verb, ...] = ("pull", "manage")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Session:
    """One person at one registry.

    `caller` is the namespace he is logged in to (None: nobody); `notes` is told what a person should know though
    nothing failed; `keep` are folders that a pull never replaces, `roots` the registries that are looked at; `clock`
    gives seconds since 1970; `timeout` is how many seconds to wait for a lock; `mounts` tells of roots that must lie on
    a mount, and where that begins, `on_mount` is called for one that is not among them; `home` is where the identities
    of one's own namespaces are kept, `secret` opens what no identity there does.
    """

    root: str
    caller: str | None
    person: Person
    pen: Pen = field(default_factory=Pen)
    index: Index = field(default_factory=lambda: Index(None))
    glance: Glance = field(default_factory=lambda: Glance(None))
    notes: Callable[[str], None] = lambda sentence: None
    clock: Callable[[], float] = time.time
    timeout: float = TIMEOUT
    keep: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    mounts: Mapping[str, str] = field(default_factory=dict)
    on_mount: Callable[[str], None] = lambda root: None
    home: str | None = None
    secret: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        guard(self.root)

    @property
    def folder(self) -> RegistryFolder:
        """The root, as a place of paths."""
        return RegistryFolder(self.root)

    @property
    def uid(self) -> int:
        """Whose this file system takes the caller's files to be: his own, but root is nobody where a server says so."""
        if self.person.uid != 0:
            return self.person.uid
        try:
            nobody = once_more(partial(os.lstat, self.folder.file)).st_uid == _NOBODY
            writes = os.access(self.folder.file, os.W_OK) or os.statvfs(self.root).f_flag & os.ST_RDONLY
        except FileNotFoundError:
            return 0
        return 0 if writes and not nobody else _NOBODY  # on what is mounted read-only not even root writes

    def unique(self) -> str:
        """A name that nobody else gives: host, process, chance."""
        host = "".join(c for c in self.person.host if c.isalnum() or c == "-")[:32]
        return f"{host}-{os.getpid()}-{os.urandom(6).hex()}"

    # the registry

    def read_root(self) -> None:
        """Raise unless a registry that this lhub reads stands at the root."""
        try:
            text = self._read_root()
        except (FileNotFoundError, NotADirectoryError):
            self.see_mounted()
            raise self._no_registry() from None
        except PermissionError:
            raise Denied(f"{self.root} may not be read by you", hint="its owner and mode decide who may") from None
        required = read_format(text, f"the registry {self.root}")
        self.see_mounted(required)
        if required and self.root not in self.mounts:
            self.on_mount(self.root)

    def _read_root(self) -> bytes:
        """registry.yaml; one that is not there is looked for once more, with the eyes of the file server."""
        try:
            return self._registry_file()
        except OSError as error:
            if error.errno not in GONE:
                raise
        for folder in (os.path.dirname(self.root), self.root):
            refresh(folder)
        return self._registry_file()

    def _registry_file(self) -> bytes:
        root = os.stat(self.root)  # an automounter waits for this
        text = read_small(self.folder.file, limit=SMALL)
        maker = os.lstat(self.folder.file).st_uid
        if root.st_mode & 0o022 and maker not in (root.st_uid, self.person.uid):
            raise Denied(
                f"{self.folder.file} was not made by the owner of {self.root}, who could make an end of it",
                hint="the owner of the folder removes it, and says lhub init anew",
            )
        return text

    def requires_mount(self) -> bool:
        """Whether the registry says that it must lie on a mount."""
        return read_format(read_small(self.folder.file, limit=SMALL), f"the registry {self.root}")

    def see_mounted(self, required: bool = False) -> None:
        """Raise where the registry must lie on a mount and does not: as the caller remembers it, or as it says."""
        if not required and self.root not in self.mounts:
            return
        from lhub.mounts import point_of  # for who asked for it

        point = point_of(self.root)
        if point == "/" or point != self.mounts.get(self.root, point):
            where = f" on {self.mounts[self.root]}" if self.root in self.mounts else ""
            raise NotFound(
                f"{self.root} is not on a mount: the share is not there",
                hint=f"mount the share{where}; if it has moved for good, remove its line from ~/.lhub/mounts",
            )

    def _no_registry(self) -> LhubError:
        try:
            mode = os.stat(self.root).st_mode
        except OSError:
            return NotFound(f"there is no registry at {self.root}", hint=f"lhub init {self.root}")
        if stat.S_ISDIR(mode):
            return NotFound(f"{self.root} is not a registry, it has no registry.yaml", hint=f"lhub init {self.root}")
        return UsageError(f"{self.root} is not a folder", hint="--root or LHUB_ROOT names a folder")

    # namespaces

    @staticmethod
    def may_write(folder: str) -> bool:
        """Whether the kernel lets the caller make a name in a folder."""
        return os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)

    def owns(self, namespace: str) -> bool:
        """Whether the kernel lets the caller be the owner of a namespace, or a member of its team."""
        try:
            status = once_more(partial(os.lstat, self.folder.namespace(namespace).path))
        except FileNotFoundError:
            return True  # nobody's yet
        if not stat.S_ISDIR(status.st_mode):
            return False
        return status.st_uid == self.uid or self._in_team(status)

    def is_team(self, namespace: str) -> bool:
        """Whether a namespace is a group's."""
        return modes_of(os.lstat(self.folder.namespace(namespace).path).st_mode) is not ONE_PERSON

    def _in_team(self, status: os.stat_result) -> bool:
        return modes_of(status.st_mode) is not ONE_PERSON and status.st_gid in self.person.groups

    def modes(self, namespace: str | None) -> Modes:
        """The modes that hold in a namespace."""
        try:
            return modes_of(os.lstat(self.folder.namespace(namespace).path).st_mode) if namespace else ONE_PERSON
        except FileNotFoundError:
            return ONE_PERSON

    # resources

    def resource(self, namespace: str | None, name: str) -> Resource:
        """A resource by its name, whether it stands or not."""
        return Resource(
            self.folder.namespace(namespace).resource(name).path, f"{namespace}/{name}" if namespace else name
        )

    def spaces(self) -> Iterator[str | None]:
        """Every namespace, None for what has none; a link there is nobody's namespace."""
        for space in sorted(filter(is_space, os.listdir(self.root))):
            namespace = None if space == UNNAMED else space
            if self.is_space(namespace):
                yield namespace

    def resources(self) -> Iterator[tuple[str | None, Resource, bool]]:
        """Namespace and resource of all that stands and the caller may see or cares for, and whether he does."""
        for namespace in self.spaces():
            try:
                names = sorted(filter(is_name, again(partial(os.listdir, self.folder.namespace(namespace).path))))
            except OSError as error:
                self.pass_over(namespace, error)
                continue
            for name in names:
                resource = self.resource(namespace, name)
                try:
                    status = once_more(partial(os.lstat, resource.folder.path))
                    if not stat.S_ISDIR(status.st_mode):  # a link there is nobody's resource
                        continue
                    own = self.keeps(namespace, resource)
                    if not ((own or self.sees(namespace, resource)) and resource.published()):
                        continue
                except OSError as error:
                    self.pass_over(namespace, error)
                    continue
                yield namespace, resource, own

    def pass_over(self, namespace: str | None, error: OSError) -> None:
        """Leave out what is gone or hidden; what fails is raised of the caller's own namespace, and told of others'.

        Another's may lie on a file system of his own, which must not keep everybody from listing the rest; in a team's
        a colleague may have shut something.
        """
        own = namespace is not None and namespace == self.caller  # by name first: of others' not even that may be asked
        own = own and self.modes(namespace) is ONE_PERSON and self.is_own(namespace)
        if error.errno in GONE | {errno.ENOTDIR} or (error.errno in HIDDEN and not own):
            return
        if own:
            raise error
        self.notes(f"{error.filename} was left out: {error.strerror}")

    def place(
        self, namespace: str | None, name: str, *, secret: str | None = None, resource: Resource | None = None
    ) -> Place:
        """The facts about one resource, in its place or where `resource` says, that decide who may do what."""
        resource = resource or self.resource(namespace, name)
        for folder in (self.root, self.folder.namespace(namespace).path, resource.folder.path):
            refresh(folder)  # what another host has made, moved or opened since is not seen without
        while True:
            try:
                return self._place(namespace, name, secret, resource)
            except (FileNotFoundError, NotADirectoryError):
                if resource.status() is not None:  # else it was deleted between two looks, and is looked at once more
                    raise

    def _place(self, namespace: str | None, name: str, secret: str | None, resource: Resource) -> Place:
        status = resource.status() if self.is_space(namespace) else None
        place = Place(
            resource=name,
            namespace=namespace,
            own=self.is_own(namespace),
            stands=status is not None and _is_shown(resource),
            private=status is not None and (is_private(status.st_mode) or os.path.lexists(resource.folder.seal)),
            maker=status is None or self._makes(namespace, status),
            secret=self._proves(resource, secret) if namespace is None else None,
            keyless=namespace is None and status is not None and not has_secret(resource),
            reader=namespace is not None
            and status is not None
            and self._reads(resource, status, secret or self.secret),
        )
        if place.stands and may_see(place):  # of what is hidden nothing is read, not even whether it is damaged
            return place._replace(kind=resource.kind() or resource.told_kind() or place.kind)
        return place

    def is_space(self, namespace: str | None) -> bool:
        """Whether a namespace is a folder; what has none must lie in a folder of the registry's own owner."""
        try:
            status = os.lstat(self.folder.namespace(namespace).path)
            honest = namespace is not None or status.st_uid == os.stat(self.root).st_uid
        except OSError as error:  # not there, or (a mount of another user's) not to be asked
            self.pass_over(namespace, error)
            return False
        return stat.S_ISDIR(status.st_mode) and honest

    def sees(self, namespace: str | None, resource: Resource) -> bool:
        """Whether a listing shows a resource that stands to the caller, who has given no secret."""
        status = resource.status()
        if status is not None and is_private(status.st_mode):  # as an NFS client remembers it, for a minute
            refresh(resource.folder.path)
            status = resource.status()
        if status is None or not is_private(status.st_mode):
            return status is not None
        return namespace is not None and (self.is_own(namespace) or self._reads(resource, status, None))

    def is_own(self, namespace: str | None) -> bool:
        """Whether the caller, as he is logged in, owns a namespace or is in its team."""
        if namespace is None or self.caller is None:
            return False
        if namespace == self.caller:
            return self.owns(namespace)
        try:
            return self._in_team(os.lstat(self.folder.namespace(namespace).path))
        except FileNotFoundError:
            return False

    def keeps(self, namespace: str | None, resource: Resource) -> bool:
        """Whether the caller may care for a resource: collect, repair. His namespace's, or made by him without one."""
        if namespace is not None:
            return self.is_own(namespace)
        status = resource.status()
        return status is not None and status.st_uid == self.uid and self.is_space(None)

    def may_manage(self, ref: Ref, resource: Resource) -> bool:
        """Whether a deleted resource is the caller's to bring back: in a shared trash others may have put anything."""
        place = self.place(ref.namespace, ref.resource, secret=ref.secret, resource=resource)
        return not any(refusal(verb, place, caller=self.caller) for verb in _READ_AND_MANAGE)

    def _makes(self, namespace: str | None, resource: os.stat_result) -> bool:
        owner = os.lstat(self.folder.namespace(namespace).path).st_uid
        return self.uid in (resource.st_uid, owner)

    def _proves(self, resource: Resource, secret: str | None) -> bool | None:
        """Whether a secret is the right one; None when none was given."""
        secret = self.secret if secret is None else secret
        if secret is None:
            return None
        from lhub.verifier import matches  # 40 ms of scrypt, for resources without a namespace only

        try:
            if resource.seal_text() is not None:
                return self._opens(resource, secret)
            return matches(secret, read_small(resource.folder.secret, limit=SMALL))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except PermissionError:
            return False  # another's: the kernel lets only its maker prove it

    def _reads(self, resource: Resource, status: os.stat_result, secret: str | None) -> bool:
        """Whether what is sealed is so for the caller too, by his identity or by a secret that he gives."""
        if not is_sealed(status.st_mode) or (self.home is None and secret is None):
            return False
        from lhub.sealing import Lock  # for what is sealed

        try:
            return bool(Lock.opened(resource, [secret] if secret else [], self.identities()).keys)
        except Corrupt as error:  # a person should know why nothing opens
            self.notes(str(error))
            return False
        except LhubError:
            return False

    @staticmethod
    def _opens(resource: Resource, secret: str) -> bool:
        from lhub.sealing import proves  # for what is sealed

        seal = resource.seal()
        return seal is not None and proves(seal, secret)

    def identities(self) -> list[str]:
        """The caller's own, which opens what is sealed for the namespace that he is logged in to."""
        from lhub.keyring import Keyring  # as above

        identity = Keyring(self.home).identity(self.caller)
        return [identity] if identity else []

    def locked(self, resource: Resource, secret: str | None) -> Lock:
        """The keys of what is sealed, by the secret that was given or by what the caller has; NoKey (Denied)."""
        from lhub.sealing import Lock  # as above

        secrets = [each for each in (secret, self.secret) if each is not None]
        return Lock.opened(resource, secrets, self.identities())

    def seen(self, ref: Ref, *, damaged: bool = False) -> Resource:
        """The resource of a reference, if the caller may see it; NotFound is the answer for absent and hidden alike.

        With `damaged` also one whose resource.yaml does not read.
        """
        try:
            return self.permitted("pull", ref)
        except Corrupt:  # of what may not be seen nothing was read
            if not damaged:
                raise
            return self.resource(ref.namespace, ref.resource)

    def permitted(self, verb: Verb, ref: Ref, *, resource: Resource | None = None) -> Resource:
        """The resource of a reference (or the deleted one of its name), if the caller may do `verb` to it."""
        self.read_root()
        place = self.place(ref.namespace, ref.resource, secret=ref.secret, resource=resource)
        error = refusal("pull", place, caller=self.caller) or refusal(verb, place, caller=self.caller)
        if error:
            raise error
        if ref.scheme in ("jinaai", "jinahub") and place.kind != "executor":
            raise NotFound(f"{ref.name} holds {place.kind}, not an Executor", hint=f"lhub://{ref.name} names any kind")
        return resource or self.resource(ref.namespace, ref.resource)

    @contextmanager
    def changing(self, resource: Resource, namespace: str | None) -> Iterator[Change]:
        """A resource, locked and mended, to be changed by the caller; what lags afterwards is told to him."""
        from lhub.change import change  # with filelock and subprocess, which readers do not need

        with change(resource, self.modes(namespace), self.writer()) as locked:
            yield locked
        for warning in locked.warnings:
            self.notes(warning)

    def writer(self) -> Writer:
        """The caller, as the one who writes."""
        from lhub.change import Writer  # as above

        return Writer(
            pen=self.pen,
            name=self.caller or self.person.account,
            address=self.person.address,
            unique=self.unique(),
            clock=self.clock,
            timeout=self.timeout,
            waiting=lambda holder: self.notes(f"waiting for {holder}"),
        )

    def find(self, ref: Ref) -> tuple[Resource, str]:
        """The resource and the version that a reference means for the caller; raises NotFound, UsageError, Corrupt."""
        if ref.docker:
            source = Ref(resource=ref.resource, namespace=ref.namespace, tag=ref.tag)
            raise NotFound(f"{ref} has no container image", hint=f"{source} is its source")
        resource = self.seen(ref)
        try:
            return resource, self.resolve(resource, ref)
        except PermissionError:
            raise absent(ref.name, caller=self.caller) from None

    def resolve(self, resource: Resource, ref: Ref) -> str:
        """The version that a reference to this resource means, at a date too; raises NotFound, UsageError, Corrupt."""
        if ref.at is None:
            return resource.resolve(ref)
        from lhub.commits import told  # with GitPython's library
        from lhub.diary import replay  # for who asks about the past

        tag = ref.tag or LATEST
        then = replay(reversed(told(resource)), until=seconds(ref.at))
        version = None if then.deleted else then.tags.get(tag)
        if version is None:
            raise NotFound(f"{resource.name}:{tag} did not stand at {ref.at}", hint=f"lhub log {resource.name}")
        if not resource.keeps(version):
            raise NotFound(
                f"{resource.name}:{tag} was {version[:12]} at {ref.at}, which a collection has removed since",
                hint=f"lhub log {resource.name}",
            )
        return version

    @contextmanager
    def reading(self, ref: Ref) -> Iterator[Version]:
        """The version that a reference means, open; resolved anew when it was collected between the two."""
        for last in (False, False, True):
            resource, version = self.find(ref)
            with ExitStack() as stack:
                try:
                    opened = stack.enter_context(resource.opened(version))
                except Vanished:
                    if last:
                        raise
                    continue
                if opened.manifest().sealed is not None:
                    from lhub.sealing import Unsealed  # as above

                    opened = unsealed = Unsealed(opened, partial(self.locked, resource, ref.secret))
                    stack.callback(unsealed.close)
                yield opened
                return

    def no_twin(self, namespace: str | None, name: str) -> None:
        """Raise Conflict when a resource stands whose name differs only by case."""
        folder = self.folder.namespace(namespace).path
        other = None
        with suppress(PermissionError):  # what is closed is refused by who goes on
            other = twin(name, os.listdir(folder)) if is_folder(folder) else None
        if other and self.resource(namespace, other).kind():
            raise Conflict(f"{name} differs only by case from {other}, which stands", hint="choose another name")


def has_secret(resource: Resource) -> bool:
    """Whether a resource without a namespace can be updated by whoever knows its secret."""
    return os.path.lexists(resource.folder.secret) or os.path.lexists(resource.folder.seal)


def _is_shown(resource: Resource) -> bool:
    """Whether something was pushed there, as far as the kernel shows it: what it does not does not stand."""
    try:
        return resource.published()
    except PermissionError:
        return False


def first_of(sessions: Sequence[Session], asked: object, read: Callable[[Session], _T]) -> _T:
    """The answer of the first registry that has what is asked for; of several, a person is told which it was."""
    missing: list[tuple[bool, NotFound]] = []
    for session in sessions:
        try:
            answer = beside_deletions(session, asked, read)
        except NotFound as error:
            missing.append((os.path.lexists(session.folder.file), error))
            continue
        if len(sessions) > 1:
            session.notes(f"{asked} is from {session.root}")
        return answer
    if missing:  # that it is not in one that stands says more than that another is missing
        raise next((error for stands, error in missing if stands), missing[0][1])
    raise NotFound("no registry was named", hint="LHUB_ROOT names one, or several with ':' between them")


def beside_deletions(session: Session, asked: object, read: Callable[[Session], _T]) -> _T:
    """What `read` answers; what was deleted under its hands is not here, what came back meanwhile is read again."""
    for last in (False, False, True):
        try:
            return read(session)
        except (OSError, Corrupt) as error:
            if isinstance(error, OSError) and error.errno not in GONE:
                raise
            if isinstance(asked, Ref) and session.resource(asked.namespace, asked.resource).status() is None:
                raise absent(asked.name, caller=session.caller) from None
            if last:
                raise
    raise AssertionError("the last turn returns or raises")


def seconds(at: str) -> float:
    """A moment as a person typed it, in seconds since 1970; one without a zone is meant in the zone of who asks."""
    from lhub.moments import no_date, parse_moment  # 2 ms

    moment = parse_moment(at)
    try:  # of an hour that comes twice the second, of one that is left out the later reading
        return max(moment.timestamp(), moment.replace(fold=1).timestamp())
    except (ValueError, OverflowError, OSError):  # the first and the last day, in some zones
        raise no_date(at) from None
