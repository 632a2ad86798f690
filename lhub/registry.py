"""The registry: the verbs a person says, for one person at one root.

>>> import tempfile
>>> registry = Registry(tempfile.mkdtemp() + "/registry", namespace="alice")
>>> registry.init(); registry.login("alice")
>>> registry.list()
[]
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from lhub.disk import Pen
from lhub.errors import Conflict, Denied, LhubError, NotFound, UsageError
from lhub.glance import Glance
from lhub.identity import person
from lhub.index import Index
from lhub.names import LATEST, Ref, parse_ref, parse_tag, twin
from lhub.session import TIMEOUT, Session, beside_deletions, first_of, has_secret

if TYPE_CHECKING:
    from pathlib import Path

    from lhub.access import Verb
    from lhub.adoption import Legacy
    from lhub.builds import Build, Event
    from lhub.change import Change
    from lhub.collection import Collected
    from lhub.comparison import Difference
    from lhub.containers import BaseListed, Container
    from lhub.deletion import Deleted, Lying
    from lhub.diary import Entry
    from lhub.doctor import Oddity
    from lhub.exchange import Carried, Copied, Exported
    from lhub.fetch import Pulled
    from lhub.inbox import Inbox, Received
    from lhub.kinds.shapes import Field
    from lhub.orders import Planned, Pushed
    from lhub.past import Rolled, Then
    from lhub.recent import Push
    from lhub.selftest import Report
    from lhub.sharing import Shared
    from lhub.shelf import Found, Listed, Shown
    from lhub.spaces import Space
    from lhub.store import Version
    from lhub.tags import Links
    from lhub.tasks import Watched
    from lhub.tokens import NewToken, Token
    from lhub.verification import Verified

_T = TypeVar("_T")
_EXPORT = "lhub image export REF -o FILE writes it to a file"


class Registry:
    """One registry, for one person.

    `root` is the folder; `also` are roots where a reference that is not there is looked up, in this order;
    `namespace` the login (None: nobody is logged in). `notes` is called with each sentence
    a person should read though nothing failed; `keep` are folders that `pull` never replaces; `timeout` is how
    many seconds to wait for a lock; `index` is the path of a disposable file that makes listings quick; `pen` is
    what writes (a test passes one that fails); `mounts` tells of roots that must lie on a mount, and where that begins,
    `on_mount` is called with a root that says so and is not among them; `home` is where the identities of one's own
    namespaces are kept, by which what is sealed opens (none: only a secret does), `secret` one that is tried besides.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        also: Iterable[str | os.PathLike[str]] = (),
        namespace: str | None = None,
        notes: Callable[[str], None] = lambda sentence: None,
        keep: Iterable[str] = (),
        timeout: float = TIMEOUT,
        index: str | None = None,
        pen: Pen | None = None,
        mounts: Mapping[str, str] | None = None,
        on_mount: Callable[[str], None] = lambda root: None,
        home: str | None = None,
        secret: str | None = None,
    ) -> None:
        self.session = Session(
            root=os.path.realpath(os.fspath(root)),
            caller=namespace,
            person=person(),
            pen=pen or Pen(),
            index=Index(index),
            glance=Glance(f"{index}.glance" if index else None),
            notes=notes,
            timeout=timeout,
            keep=tuple(keep),
            roots=tuple(os.path.realpath(os.fspath(each)) for each in also),
            mounts=mounts or {},
            on_mount=on_mount,
            home=home,
            secret=secret,
        )
        roots = dict.fromkeys((self.session.root, *self.session.roots))
        self.sessions = tuple(replace(self.session, root=each, roots=tuple(roots)) for each in roots)

    def logged_in(self, namespace: str | None, *, notes: Callable[[str], None] = lambda sentence: None) -> Registry:
        """The same registry for another login; what the user who runs this may do stays the kernel's to say."""
        other = object.__new__(Registry)
        index = Index(self.session.index.path)
        other.session = replace(self.session, caller=namespace, notes=notes, index=index)
        other.sessions = tuple(replace(each, caller=namespace, notes=notes, index=index) for each in self.sessions)
        return other

    def narrowed(self, ref: str | Ref) -> Registry:
        """The same at one root only: of several that in which a resource is found, the first where it is in none."""
        parsed, home = _ref(ref), self.session

        def found(session: Session) -> Session:
            session.seen(parsed)
            return session

        with suppress(NotFound):
            home = self._first(parsed, found)
        other = object.__new__(Registry)
        other.session, other.sessions = home, (home,)
        return other

    @property
    def root(self) -> Path:
        """The folder of the registry."""
        from pathlib import Path  # 15 ms that the command line does not need

        return Path(self.session.root)

    def __repr__(self) -> str:
        return f"Registry({self.session.root!r}, namespace={self.session.caller!r})"

    # the place

    def init(self, *, shared: bool = False, group: str | None = None, require_mount: bool = False) -> None:
        """Make the registry; of one that stands only who may write in it is changed, and only if that is asked for.

        `shared`: every user may make namespaces there (its mode is 1777), or the members of `group` (a name, or a
        number as text; 3775). `require_mount`: it is used only while it lies on a mount. Raises NotFound (no parent,
        no such group), Conflict (not empty), Denied for who does not own it.
        """
        import lhub.spaces as spaces  # for who makes something

        wanted = spaces.sharing(self.session, shared=shared, group=group) if shared or group is not None else None
        spaces.make_root(self.session, wanted, require_mount=require_mount)

    def login(self, namespace: str) -> None:
        """Claim a namespace by making its folder; raises Denied when it is somebody else's."""
        import lhub.spaces as spaces  # as above

        spaces.login(self.session, namespace)

    def create_namespace(self, name: str, *, group: str | None = None) -> bool:
        """Make a namespace, a team's if a `group` is named (then each of its members pushes there); False: it stood so.

        Raises NotFound for an unknown group, Denied for one that the caller is not in and for another's namespace,
        Conflict for one that stands and is not that group's.
        """
        import lhub.spaces as spaces  # as above

        return spaces.create(self.session, name, group)

    def namespaces(self) -> Sequence[Space]:
        """Every namespace, with its owner, its group if it is a team's, and whether it is the caller's."""
        import lhub.spaces as spaces  # as above

        return spaces.spaces(self.session)

    def share(self, ref: str | Ref, namespace: str) -> Shared:
        """Seal a sealed resource of one's own for another namespace too: its owner opens what stands and what follows.

        Raises Conflict for what is not sealed, NotFound for a namespace that has told no key.
        """
        import lhub.sharing as sharing  # for what is sealed

        return sharing.share(self.session, _ref(ref), namespace)

    def unshare(self, ref: str | Ref, namespace: str) -> Shared:
        """Seal what follows no more for a namespace; what it could read before it may have kept."""
        import lhub.sharing as sharing  # as above

        return sharing.unshare(self.session, _ref(ref), namespace)

    def shared(self, ref: str | Ref) -> Shared:
        """For which namespaces a sealed resource is sealed, besides its owner's."""
        import lhub.sharing as sharing  # as above

        parsed = _ref(ref)
        return self._first(parsed, lambda session: sharing.shared(session, parsed))

    # versions

    def push(
        self,
        path: str | os.PathLike[str] | Iterable[Any],
        name: str | None = None,
        *,
        tags: Iterable[str] = (),
        protected_tags: Iterable[str] = (),
        public: bool | None = None,
        private: bool = False,
        force_update: str | None = None,
        secret: str | None = None,
        seal: bool = False,
        message: str = "",
        expect: str | None = None,
        if_absent: bool = False,
        build_env: Mapping[str, str] | None = None,
        detach: bool = False,
        show_progress: bool = False,
        whole: bool = False,
        metadata: Mapping[str, Any] | None = None,
        kind: str | None = None,
        image: str = "never",
        builder: str | None = None,
        dockerfile: str | os.PathLike[str] | None = None,
        platforms: Iterable[str] = (),
        no_cache: bool = False,
        base: str | None = None,
        telling: Callable[[Event], None] = lambda event: None,
    ) -> Pushed:
        """Push a folder, a file, or documents; see `lhub.push`, but that no `image` is built unless it is asked for.

        With `detach` the push goes on in a process of its own once nothing is left to refuse early; what it does is
        told by `build(task_id)`. `telling` is called with each event of its task as it comes. With `whole` nothing of
        a folder is left out by an ignore list. `metadata` is a JSON object that the manifest keeps. UsageError when it
        turns out to be of another `kind` than the one that is asked for.
        """
        import lhub.ordering as ordering  # for who pushes
        import lhub.publish as publish  # with pathspec and filelock, which readers do not need

        order = ordering.order(
            path,
            name,
            tags=tags,
            protected_tags=protected_tags,
            visibility=ordering.visibility(public, private, seal=seal),
            force_update=force_update,
            secret=secret,
            seal=seal,
            message=message,
            expect=expect,
            if_absent=if_absent,
            build_env=build_env,
            detach=detach,
            show_progress=show_progress,
            whole=whole,
            metadata=ordering.metadata_text(metadata),
            kind=kind,
            image=ordering.image(image, builder, dockerfile, platforms, no_cache=no_cache, base=base),
            telling=telling,
        )
        return publish.push(self.session, order)

    @contextmanager
    def inbox(self) -> Iterator[Inbox]:
        """A place in the caller's namespace for an upload that arrives piece by piece; empty again at the end.

        ``received = inbox.receive(pieces, "file")``, then `push_received`.
        """
        import lhub.inbox as rooms  # with filelock

        with rooms.inbox(self.session) as place:
            yield place

    def push_received(
        self,
        received: Received,
        name: str | None,
        *,
        public: bool | None = None,
        metadata: Mapping[str, Any] | None = None,
        kind: str | None = None,
    ) -> Pushed:
        """Push what lies in an inbox, as one file; nothing is copied where the disk has hard links.

        UsageError when it turns out to be of another `kind` than the one that is asked for.
        """
        import lhub.ordering as ordering  # as above
        import lhub.publish as publish  # as above

        order = ordering.order(
            received.path,
            name,
            tags=(),
            protected_tags=(),
            visibility=ordering.visibility(public, private=False),
            expect=None,
            build_env=None,
            given=received.digest,
            metadata=ordering.metadata_text(metadata),
            kind=kind,
        )
        return publish.push(self.session, order)

    def push_stream(self, docs: Iterable[Any], name: str, **asked: Any) -> Pushed:
        """Push documents as they come, with what `push` takes; see `lhub.push_stream`."""
        return self.push(iter(docs) if hasattr(docs, "__iter__") else docs, name, **asked)

    def plan(
        self,
        path: str | os.PathLike[str],
        name: str | None = None,
        *,
        tags: Iterable[str] = (),
        protected_tags: Iterable[str] = (),
        public: bool | None = None,
        private: bool = False,
        force_update: str | None = None,
        secret: str | None = None,
        seal: bool = False,
        expect: str | None = None,
        if_absent: bool = False,
        build_env: Mapping[str, str] | None = None,
        image: str = "never",
        builder: str | None = None,
        dockerfile: str | os.PathLike[str] | None = None,
        platforms: Iterable[str] = (),
        no_cache: bool = False,
        base: str | None = None,
    ) -> Planned:
        """What a push of this folder or file would do; nothing is written. Raises what that push would refuse early."""
        import lhub.ordering as ordering  # as above
        import lhub.publish as publish  # as above

        order = ordering.order(
            path,
            name,
            tags=tags,
            protected_tags=protected_tags,
            visibility=ordering.visibility(public, private, seal=seal),
            force_update=force_update,
            secret=secret,
            seal=seal,
            expect=expect,
            if_absent=if_absent,
            build_env=build_env,
            image=ordering.image(image, builder, dockerfile, platforms, no_cache=no_cache, base=base),
        )
        return publish.plan(self.session, order)

    def pull(
        self,
        ref: str | Ref,
        destination: str | os.PathLike[str] | None = None,
        *,
        force: bool = False,
        install_requirements: bool = False,
        build_env: Mapping[str, str] | None = None,
        prefer_platform: str | None = None,
        telling: Callable[[Event], None] = lambda event: None,
    ) -> Pulled:
        """Lay a version out as a folder; see `lhub.pull`. `telling` is called with events of how far it is.

        With `install_requirements` pip installs what an Executor requires, in this environment; `build_env` are the
        variables for it. ``jinaai+docker://`` loads its container image into an engine, for `prefer_platform` where
        there is one.
        """
        if _ref(ref).docker:
            if destination is not None or install_requirements:
                raise UsageError(
                    "an image is loaded into an engine: it has no DEST, and its requirements", hint=_EXPORT
                )
            return self.load_image(ref, prefer_platform=prefer_platform)
        if prefer_platform is not None:
            raise UsageError("--prefer-platform is of images", hint="lhub pull jinaai+docker://alice/X")
        import lhub.fetch as fetch  # not for list and path

        parsed, where = _ref(ref), None if destination is None else os.fspath(destination)
        if install_requirements:
            self._refuse_unset(parsed, build_env or {})
        pulled = self._first(parsed, lambda session: fetch.pull(session, parsed, where, force=force, telling=telling))
        if install_requirements:
            self._install(pulled.path, build_env or {})
        return pulled

    def load(
        self,
        ref: str | Ref,
        *,
        doc_type: Any = None,
        show_progress: bool = False,
        allow_pickle: bool = False,
    ) -> Any:
        """The documents of a version, as an array; see `lhub.load`."""
        import lhub.loading as loading  # with docarray

        parsed = _ref(ref)
        how = loading.How(doc_type=doc_type, show_progress=show_progress, allow_pickle=allow_pickle)
        return self._first(parsed, lambda session: loading.load(session, parsed, how))

    def load_stream(
        self,
        ref: str | Ref,
        *,
        doc_type: Any = None,
        show_progress: bool = False,
        allow_pickle: bool = False,
    ) -> Iterator[Any]:
        """The documents of a version, one by one; see `lhub.load_stream`."""
        import lhub.loading as loading  # as above

        parsed = _ref(ref)
        how = loading.How(doc_type=doc_type, show_progress=show_progress, allow_pickle=allow_pickle)
        return self._first(parsed, lambda session: loading.stream(session, parsed, how))

    def uses(
        self, ref: str | Ref, *, install_requirements: bool = False, build_env: Mapping[str, str] | None = None
    ) -> str:
        """The config.yml of an Executor inside the registry; see `lhub.uses`."""
        from lhub.shelf import config_of  # not for path

        parsed = _ref(ref)
        if parsed.docker:
            return self.load_image(parsed).path
        config = self._first(parsed, lambda session: config_of(session, parsed))
        self._refuse_unset(parsed, build_env or {})
        if install_requirements:
            self._install(os.path.dirname(config), build_env or {})
        return config

    def variables(self, ref: str | Ref) -> tuple[str, ...]:
        """The names of the variables that the requirements of an Executor use, as ``${NAME}``."""
        from lhub.shelf import variables_of  # as above

        parsed = _ref(ref)
        return self._first(parsed, lambda session: variables_of(session, parsed))

    def _refuse_unset(self, ref: Ref, given: Mapping[str, str]) -> None:
        if missing := [name for name in self.variables(ref) if not given.get(name)]:
            raise UsageError(f"its requirements use {', '.join(missing)}, which was not given", hint="build_env={...}")

    def _install(self, folder: str, variables: Mapping[str, str]) -> None:
        from lhub.installer import install  # with subprocess

        install(folder, variables, self.session.notes)

    def path(self, ref: str | Ref) -> str:
        """The immutable folder of a version inside the registry: to use without copying, never to write in."""
        parsed = _ref(ref)

        def folder(session: Session) -> str:
            with session.reading(parsed) as version:
                return version.folder()

        return self._first(parsed, folder)

    def kind(self, ref: str | Ref) -> str:
        """The kind of a resource: ``executor``, ``docarray``, ``files``, ``base``; ``damaged`` if nothing tells it."""
        parsed = _ref(ref)

        def told(session: Session) -> str:
            resource = session.seen(parsed)
            return resource.kind() or resource.told_kind() or "damaged"

        return self._first(parsed, told)

    @contextmanager
    def opened(self, ref: str | Ref) -> Iterator[Version]:
        """A version, open to be read file by file, whatever a collection does meanwhile; its bytes are not verified."""
        parsed = _ref(ref)
        with ExitStack() as stack:
            yield self._first(parsed, lambda session: stack.enter_context(session.reading(parsed)))

    def list(self, namespace: str | None = None, *, kind: str | None = None) -> list[Listed]:
        """Everything the caller may see, by name; of one namespace or kind if given."""
        import lhub.shelf as shelf  # not for pull and path

        return shelf.listing_of(self.sessions, namespace, kind)

    def search(self, *terms: str) -> Sequence[Found]:
        """Everything the caller may see that has every term: in name, description, keywords or file names."""
        import lhub.shelf as shelf  # as above

        return shelf.search(self.sessions, terms)

    def show(self, ref: str | Ref) -> Shown:
        """One resource in full, at the version that the reference means."""
        import lhub.shelf as shelf  # as above

        parsed = _ref(ref)
        return self._first(parsed, lambda session: shelf.show(session, parsed))

    def documents(self, ref: str | Ref, *, most: int = 3) -> Sequence[Sequence[tuple[str, str]]]:
        """The fields of an array's first documents, each with its value for a person's eye; docarray is not needed."""
        return [[(field.name, field.shown) for field in each] for each in self.fields(ref, most=most)]

    def fields(self, ref: str | Ref, *, most: int) -> Sequence[Sequence[Field]]:
        """The same with what each value is and its bytes: of a text UTF-8, of a tensor its numbers in C order."""
        import lhub.shelf as shelf  # as above

        parsed = _ref(ref)
        return self._first(parsed, lambda session: shelf.documents_of(session, parsed, most))

    def links(self, ref: str | Ref) -> Links:
        """Every tag of a resource: its version, whether it is protected, who moved it last (uid) and when."""
        parsed = _ref(ref)
        return self._first(parsed, lambda session: session.seen(parsed).links())

    def recent(self, most: int = 100) -> Sequence[Push]:
        """The newest pushes of everything the caller may see, newest first."""
        import lhub.recent as recent  # with GitPython's library

        return recent.newest(self.sessions, most)

    def last_push(self, ref: str | Ref) -> Entry | None:
        """The newest push (or import) of a resource, as its diary tells it; None where that tells of none."""
        import lhub.recent as recent  # as above

        parsed = _ref(ref)
        return self._first(parsed, lambda session: recent.last_push(session.seen(parsed)))

    def refusal(self, verb: Verb, ref: str | Ref) -> LhubError | None:
        """What the caller would be told who does `verb` (``pull``, ``push``, ``manage``) to a resource; None: he may.

        A disk that takes no writes says no as well, to all but a ``pull``.
        """
        parsed = _ref(ref)
        try:
            resource = self.session.permitted(verb, parsed)
        except LhubError as error:
            return error
        if verb == "pull" or self.session.may_write(resource.folder.path):
            return None
        return Denied(f"{resource.folder.path} takes no writes from you", hint="look at its mode, and at the mount's")

    def log(self, ref: str | Ref, *, tag: str | None = None, most: int | None = None) -> Sequence[Entry]:
        """The diary of a resource, newest first, `most` entries of it; raises Corrupt when it does not read.

        With `tag` (or a tag or version in `ref`) only what concerned it; NotFound when nothing ever did.
        """
        import lhub.past as past  # with GitPython's library

        parsed = _ref(ref)
        return self._first(parsed, lambda session: past.log(session, parsed, tag, most))

    def log_at(self, ref: str | Ref, at: str, *, tag: str | None = None) -> Then:
        """What each tag of a resource was at a date (``2026-03-01``, ``2026-03-01 12:00``; also with a zone)."""
        import lhub.past as past  # as above

        parsed = _ref(ref)
        return self._first(parsed, lambda session: past.then(session, parsed, at, tag))

    def diff(self, left: str, right: str, *, patch: bool = True, most: int | None = None) -> Difference:
        """What changed between two versions, or a version and a folder; `patch` also line by line, `most` lines of it.

        A side is a reference (also with a date), a folder, or a bare tag or version of the other side's resource.
        Raises UsageError for two resources of different kinds.
        """
        import lhub.comparison as comparison  # with pathspec

        return comparison.compare(self.sessions, left, right, patch=patch, most=most)

    # builds

    def build(self, what: str | None = None, *, task_id: str | None = None, within: str | Ref | None = None) -> Watched:
        """A build task: that of an id, or the newest of a reference or of the Executor in a folder (default: here).

        With `within` an id is looked for in this one resource.

        `look()` tells how it stands, `follow()` yields its events until it ends, `cancel()` asks it to stop. Raises
        NotFound where there is none that the caller may see.
        """
        import lhub.tasks as tasks  # with pathspec and filelock

        if task_id is not None and within is not None:
            parsed, wanted = _ref(within), task_id
            return self._first(parsed, lambda session: tasks.find_in(session, parsed, wanted))
        return first_of(self.sessions, what or task_id, lambda session: tasks.find(session, what, task_id))

    def builds(self, ref: str | Ref, *, most: int = 100) -> Sequence[Build]:
        """The build tasks of a resource as they stand, newest first."""
        import lhub.tasks as tasks  # as above

        parsed = _ref(ref)
        return self._first(parsed, lambda session: tasks.every(session, parsed, most))

    # containers

    def image(self, ref: str | Ref) -> Container:
        """The container image of a version: its platforms, layers, settings, and where its layout lies.

        Raises NotFound where none was built, Corrupt for one that does not read.
        """
        import lhub.containers as containers  # with subprocess

        parsed = _ref(ref)
        return self._first(parsed, lambda session: containers.container(session, parsed))

    def load_image(self, ref: str | Ref, *, prefer_platform: str | None = None) -> Pulled:
        """Load the container image of a version into docker or podman; the answer's `path` is ``docker://`` its name.

        ToolMissing where no engine answers, BuildFailed where it does not take the image, Corrupt for damaged layers.
        """
        import lhub.containers as containers  # as above

        parsed, notes = _ref(ref), self.session.notes
        return self._first(parsed, lambda session: containers.load(session, parsed, prefer_platform, notes))

    def export_image(self, ref: str | Ref, path: str | os.PathLike[str], *, platform: str | None = None) -> Container:
        """Write the container image of a version as a tar that `docker load` and `podman load` take."""
        import lhub.containers as containers  # as above

        parsed, where = _ref(ref), os.fspath(path)
        return self._first(parsed, lambda session: containers.export(session, parsed, where, platform))

    def import_base(self, name: str, source: str | os.PathLike[str], **asked: Any) -> Pushed:
        """Push a base for container images: an OCI layout, what `docker save` wrote, or the tar of a root folder.

        `asked` is what `push` takes of tags, protection, visibility and message. Raises UsageError with what is wrong
        with `source`, else as `push`.
        """
        import lhub.containers as containers  # as above

        return self._push_base(name, containers.arriving(os.fspath(source)), asked)

    def base_from_engine(
        self, image: str, name: str | None = None, *, engine: str | None = None, **asked: Any
    ) -> Pushed:
        """Push an image that docker or podman has as a base; its name and tag there are those here unless given."""
        import lhub.containers as containers  # as above

        base, called, tag = containers.from_engine(image, engine)
        told = asked if asked.get("tags") or asked.get("protected_tags") else {**asked, "tags": (tag,)}
        return self._push_base(name or called, base, told)

    def _push_base(self, name: str, base: Any, asked: Mapping[str, Any]) -> Pushed:
        import lhub.ordering as ordering  # as above
        import lhub.publish as publish  # as above

        given = {"tags": (), "protected_tags": (), "public": None, "private": False, **asked}
        public, private = given.pop("public"), given.pop("private")
        order = ordering.order(
            base, name, visibility=ordering.visibility(public, private), expect=None, build_env=None, **given
        )
        return publish.push(self.session, order)

    def bases(self) -> Sequence[BaseListed]:
        """The bases of the caller's namespace, that first which a push takes."""
        import lhub.containers as containers  # as above

        return containers.listed_bases(self.session)

    # tags and properties

    def tag(self, ref: str | Ref, *tags: str, protect: bool = False) -> dict[str, str]:
        """Let each of `tags` name the version of `ref`; all tags afterwards, tag to version.

        With `protect` they never move again; where `ref` names neither tag nor version, tags that stand are
        protected where they are. Raises Conflict when one is protected and of another version.
        """
        parsed, wanted = _ref(ref), tuple(dict.fromkeys(parse_tag(tag) for tag in tags))
        if not wanted:
            raise UsageError("no tag was given", hint="lhub tag REF TAG...")
        with self._change(parsed) as locked:
            targets: dict[str, str] = {}
            for tag in wanted:
                if other := twin(tag, [*locked.links.tags, *targets]):
                    raise Conflict(f"the tag {tag} differs only by case from {other}", hint="choose another tag")
                stays = protect and not (parsed.tag or parsed.version) and tag in locked.links.tags
                targets[tag] = (
                    locked.links.tags[tag].version if stays else self.session.resolve(locked.resource, parsed)
                )
                locked.refuse_protected((tag,), targets[tag])
            for version in dict.fromkeys(targets.values()):
                group = tuple(tag for tag in wanted if targets[tag] == version)
                pinned = locked.pin(group, version) if protect else False
                moved = locked.move(group, version)
                if pinned or moved:
                    entry = replace(locked.entry("tag"), version=version, tags=group)
                    locked.record(replace(entry, action="protect", protected=group) if protect else entry)
            return locked.resource.links().versions()

    def untag(self, ref: str | Ref, *tags: str) -> dict[str, str]:
        """Remove tags, that of `ref` and those named; all tags afterwards. Raises Conflict for a protected one."""
        parsed = _ref(ref)
        gone = tuple(dict.fromkeys((*([parsed.tag] if parsed.tag else []), *map(parse_tag, tags))))
        if not gone:
            raise UsageError(f"{parsed} names no tag", hint=f"lhub untag {parsed.name}:{LATEST}")
        with self._change(parsed) as locked:
            locked.refuse_removal(gone)
            locked.remove(gone)
            locked.record(replace(locked.entry("untag"), untagged=gone))
            return locked.resource.links().versions()

    def rollback(self, ref: str | Ref, version: str, *tags: str) -> Rolled:
        """Let tags (`latest`, that of `ref`, or those given) name an earlier version again, in one step.

        `version` is 8 or more hex digits, another tag, or ``@{date}``. Raises NotFound for a tag that does not stand
        and a version that is not here (any more), Conflict for a protected tag.
        """
        import lhub.past as past  # as above

        return past.rollback(self.session, _ref(ref), version, tags)

    def delete(
        self, ref: str | Ref, *, unprotect: Iterable[str] = (), confirm: Callable[[str], None] = lambda name: None
    ) -> Deleted:
        """Delete a tag, or the whole resource where `ref` names none; `restore` brings it back until a `gc`.

        Every protected tag that goes must be named in `unprotect`, else Conflict. `confirm` is called with the
        resource's name before a whole one goes, and may raise.
        """
        import lhub.deletion as deletion  # with filelock and GitPython's library

        parsed, named = _ref(ref), tuple(unprotect)
        return beside_deletions(self.session, parsed, lambda session: deletion.delete(session, parsed, named, confirm))

    def restore(self, ref: str | Ref) -> Deleted:
        """Bring a deleted resource or tag back; Conflict when one of its name stands, NotFound when it is gone."""
        import lhub.deletion as deletion  # as above

        parsed = _ref(ref)
        return beside_deletions(self.session, parsed, lambda session: deletion.restore(session, parsed))

    def deleted(self) -> Sequence[Lying]:
        """The deleted resources of the caller's namespaces that `restore` brings back by their names, newest first."""
        import lhub.deletion as deletion  # as above

        return deletion.lying(self.session)

    def rename(self, ref: str | Ref, name: str) -> str:
        """Give a resource another name in its namespace, with all its tags and its diary; the whole new name.

        Raises Conflict where one of that name stands, or a protected tag keeps the old one, UsageError for another
        namespace.
        """
        import lhub.renaming as renaming  # with filelock

        return renaming.rename(self.session, _ref(ref), name)

    def visibility(self, ref: str | Ref, visibility: str | None = None) -> str:
        """``public`` or ``private``, after setting it if `visibility` is given; Denied for who did not make it."""
        parsed = _ref(ref)
        if visibility is None:

            def told(session: Session) -> str:
                return session.seen(parsed).visibility()

            return self._first(parsed, told)
        if visibility not in ("public", "private"):
            raise UsageError(
                f"a visibility is public or private, not {visibility[:40]!r}", hint="lhub visibility REF private"
            )
        resource = self.session.permitted("manage", parsed)
        if visibility == "private" and parsed.namespace is None and not has_secret(resource):
            raise Conflict(f"{parsed.name} has no secret: private, nobody would see it", hint="lhub delete removes it")
        if visibility == "public" and resource.sealed():
            raise Conflict(
                f"{parsed.name} is sealed, so its versions cannot be opened to all",
                hint="lhub pull it, then push it under another name",
            )
        with self.session.changing(resource, parsed.namespace) as locked:
            if locked.visibility() != visibility:
                locked.see_maker()
                entry = replace(locked.entry("visibility"), visibility=visibility)
                if visibility == "public":  # told, then opened; hidden, then told
                    locked.record(entry)
                locked.set_visibility(visibility)
                if visibility == "private":
                    locked.record(entry)
        return visibility

    # tokens

    def create_token(self, name: str | None = None, *, days: int = 30) -> NewToken:
        """A token for the namespace that the caller is logged in to, by which a gateway lets a program in as him.

        It is told this once; what is kept is a digest. Raises Conflict for a name that stands, Denied for who is not
        logged in or does not own the namespace on disk, UsageError for a name or days that cannot be.
        """
        import lhub.tokens as tokens  # with filelock

        return tokens.create(self.session, name, days)

    def tokens(self) -> Sequence[Token]:
        """The tokens of that namespace that hold still."""
        import lhub.tokens as tokens  # as above

        return tokens.tokens(self.session)

    def delete_token(self, name: str) -> None:
        """Remove a token; raises NotFound."""
        import lhub.tokens as tokens  # as above

        tokens.delete(self.session, name)

    def holder(self, token: str, *, likely: str | None = None) -> str | None:
        """The namespace that a token lets in to, of those that the user who runs this owns; None for one that is none.

        `likely` is looked at first.
        """
        import lhub.tokens as tokens  # as above

        return tokens.holder(self.session, token, likely=likely)

    # care

    def verify(
        self,
        ref: str | Ref | None = None,
        *,
        quick: bool = False,
        repair: bool = False,
        good: str | os.PathLike[str] | None = None,
        rebuild_history: bool = False,
    ) -> Verified:
        """Everything against its digest; one resource, or one version, if `ref` is given.

        `quick` looks at names and sizes only; `repair` mends what is the caller's, with good copies from the registry
        at `good` too; `rebuild_history` begins diaries anew from versions and links. Nothing is raised for damage: the
        answer's `ok` and `findings` tell.
        """
        import lhub.verification as verification  # with filelock and GitPython's library

        if good is not None and not repair:
            raise UsageError("--from without --repair has nothing to do", hint="lhub verify --repair --from ROOT")
        others = () if good is None else (replace(self.session, root=os.path.realpath(os.fspath(good))),)
        care = verification.Care(quick=quick, repair=repair, rebuild=rebuild_history, others=others)
        if ref is None:
            return verification.verify(self.session, None, care)
        parsed = _ref(ref)
        return self._first(parsed, lambda session: verification.verify(session, parsed, care))

    def doctor(self, *, fix: bool = False) -> Sequence[Oddity]:
        """What is unusual though no byte is wrong; `fix` sets right what is the caller's and safe."""
        import lhub.doctor as doctor  # as above

        return doctor.look(self.session, fix=fix)

    def selftest(
        self,
        *,
        peer: Sequence[str] = (),
        peer_root: str | os.PathLike[str] | None = None,
        telling: Callable[[str], None] = lambda what: None,
    ) -> Report:
        """Whether the file system of the root, registry or any folder, keeps what lhub promises; the answer's `ok`.

        `peer` is a command that runs a program on another host (``["ssh", "host"]``) which has the same folder, at
        `peer_root` if not at the same path; `telling` is told what is tried next.
        """
        import lhub.selftest as selftest  # not for any other verb

        if isinstance(peer, str):
            raise UsageError("a peer is a list of words", hint='peer=["ssh", "host"]')
        where = None if peer_root is None else os.fspath(peer_root)
        return selftest.run(
            self.session.root, unique=self.session.unique(), peer=peer, peer_root=where, telling=telling
        )

    def gc(
        self,
        *,
        grace: float = 14 * 86_400.0,
        keep_last: int = 1,
        dry_run: bool = False,
        confirm: Callable[[Collected], None] | None = None,
    ) -> Collected:
        """Collect what no tag names: noted, after `grace` seconds to the trash, after another grace removed.

        Tagged and protected versions and the `keep_last` newest of each resource never go. `confirm` is told what
        would go, before it goes, and may raise. Raises UsageError for a grace under 600 s.
        """
        import lhub.collection as collection  # as above

        rule = collection.Rule(grace=grace, keep_last=keep_last)
        return collection.collect(self.session, rule, confirm, dry_run=dry_run)

    def export(self, *refs: str | Ref, path: str | os.PathLike[str], since: str | None = None) -> Exported:
        """Write resources, or versions, into one plain tar at `path` that is itself a registry.

        `since` (a tag or version of each) leaves out what that version and those before it had. Raises Conflict when
        something stands at `path`, Corrupt for a file that is not what was published; then there is no file.
        """
        import lhub.exchange as exchange  # as above

        return exchange.export(self.sessions, [_ref(ref) for ref in refs], os.fspath(path), since=since)

    def import_bundle(self, path: str | os.PathLike[str], *, namespace: str | None = None) -> Sequence[Carried]:
        """Receive what a bundle holds, under its own namespaces, or all of it under `namespace`.

        Raises Denied for another's namespace, Conflict for a protected tag that differs or another kind, UsageError
        or Corrupt for what is no bundle of whole versions; after any of them nothing was changed.
        """
        import lhub.exchange as exchange  # as above

        return exchange.import_bundle(self.session, os.fspath(path), namespace)

    def copy(self, *refs: str | Ref, to: str | os.PathLike[str], namespace: str | None = None) -> Copied:
        """Carry resources, all of the caller's own if none is named, to the registry at `to`.

        Of those that are named nothing is carried when one cannot be: raises as an import. Of all, the answer's
        `failed` tells which were left out, and why.
        """
        import lhub.exchange as exchange  # as above

        target = replace(self.session, root=os.path.realpath(os.fspath(to)))
        return exchange.copy(self.sessions, target, [_ref(ref) for ref in refs], namespace)

    def adoptable(self, cache: str | os.PathLike[str]) -> Sequence[Legacy]:
        """What the old cloud's clients left below a cache folder (``~/.cache``): Executors and DocumentArrays."""
        import lhub.adoption as adoption  # with pathspec

        return adoption.find(os.fspath(cache))

    def adopt(
        self, *names: str, cache: str | os.PathLike[str], namespace: str | None = None, every: bool = False
    ) -> Sequence[Carried]:
        """Store what `adoptable` lists, chosen by name or path (or `every` one), as resources without a namespace.

        They are pulled by their old name and never updated; with `namespace` they are ordinary resources there.
        """
        import lhub.adoption as adoption  # as above

        return adoption.adopt(self.session, os.fspath(cache), names, namespace, every=every)

    def _first(self, ref: Ref, read: Callable[[Session], _T]) -> _T:
        return first_of(self.sessions, ref, read)

    @contextmanager
    def _change(self, ref: Ref) -> Iterator[Change]:
        """The resource of a reference, locked, for a caller who may change it."""
        with self.session.changing(self.session.permitted("push", ref), ref.namespace) as locked:
            yield locked


def _ref(ref: str | Ref) -> Ref:
    return parse_ref(ref) if isinstance(ref, str) else ref
