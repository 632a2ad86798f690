"""The registry: the verbs a person says, for one person at one root.

>>> import tempfile
>>> registry = Registry(tempfile.mkdtemp() + "/registry", namespace="alice")
>>> registry.init(); registry.login("alice")
>>> registry.list()
[]
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from lhub.disk import Pen
from lhub.errors import Conflict, UsageError
from lhub.identity import person
from lhub.index import Index
from lhub.names import LATEST, Ref, parse_ref, parse_tag, twin
from lhub.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    from lhub.change import Change
    from lhub.diary import Entry
    from lhub.fetch import Pulled
    from lhub.publish import Pushed
    from lhub.shelf import Listed, Shown


class Registry:
    """One registry, for one person.

    `root` is the folder; `namespace` the login (None: nobody is logged in). `notes` is called with each sentence
    a person should read though nothing failed; `keep` are folders that `pull` never replaces; `timeout` is how
    many seconds to wait for a lock; `index` is the path of a disposable file that makes listings quick; `pen` is
    what writes (a test passes one that fails).
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        namespace: str | None = None,
        notes: Callable[[str], None] = lambda sentence: None,
        keep: Iterable[str] = (),
        timeout: float = 60.0,
        index: str | None = None,
        pen: Pen | None = None,
    ) -> None:
        self.session = Session(
            root=os.path.realpath(os.fspath(root)),
            caller=namespace,
            person=person(),
            pen=pen or Pen(),
            index=Index(index),
            notes=notes,
            timeout=timeout,
            keep=tuple(keep),
        )

    @property
    def root(self) -> Path:
        """The folder of the registry."""
        from pathlib import Path  # 15 ms that the command line does not need

        return Path(self.session.root)

    def __repr__(self) -> str:
        return f"Registry({self.session.root!r}, namespace={self.session.caller!r})"

    # the place

    def init(self) -> None:
        """Make the registry; nothing happens when it stands. Raises NotFound (no parent), Conflict (not empty)."""
        self.session.make_root()

    def login(self, namespace: str) -> None:
        """Claim a namespace by making its folder; raises Denied when it is somebody else's."""
        self.session.claim(namespace)

    # versions

    def push(
        self,
        path: str | os.PathLike[str],
        name: str | None = None,
        *,
        tags: Iterable[str] = (),
        protected_tags: Iterable[str] = (),
        public: bool = False,
        private: bool = False,
        force_update: str | None = None,
        secret: str | None = None,
        message: str = "",
        expect: str | None = None,
        if_absent: bool = False,
    ) -> Pushed:
        """Push a folder; see `lhub.push`."""
        from lhub import publish  # with pathspec and filelock, which readers do not need

        if public and private:
            raise UsageError("--public and --private exclude each other", hint="give one of them, or none")
        visibility = "public" if public else "private" if private else None
        return publish.push(
            self.session,
            publish.Order(
                path=os.fspath(path),
                name=name,
                tags=tuple(dict.fromkeys(tags)),
                protected_tags=tuple(dict.fromkeys(protected_tags)),
                visibility=visibility,
                force_update=force_update,
                secret=secret,
                message=message,
                expect=expect.lower() if expect else None,
                if_absent=if_absent,
            ),
        )

    def pull(self, ref: str | Ref, destination: str | os.PathLike[str] | None = None, *, force: bool = False) -> Pulled:
        """Lay a version out as a folder; see `lhub.pull`."""
        from lhub import fetch  # not for list and path

        return fetch.pull(self.session, _ref(ref), None if destination is None else os.fspath(destination), force=force)

    def path(self, ref: str | Ref) -> str:
        """The immutable folder of a version inside the registry: to use without copying, never to write in."""
        parsed = _ref(ref)
        with self.session.reading(parsed) as version:
            return version.folder()

    def list(self, namespace: str | None = None, *, kind: str | None = None) -> list[Listed]:
        """Everything the caller may see, by name; of one namespace or kind if given."""
        from lhub import shelf  # not for pull and path

        return shelf.listing(self.session, namespace, kind)

    def show(self, ref: str | Ref) -> Shown:
        """One resource in full, at the version that the reference means."""
        from lhub import shelf  # as above

        return shelf.show(self.session, _ref(ref))

    def log(self, ref: str | Ref) -> Sequence[Entry]:
        """The diary of a resource, newest first; raises Corrupt when it does not read."""
        from lhub import history  # with GitPython

        parsed = _ref(ref)
        return tuple(history.log(self.session.seen(parsed)))

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
                targets[tag] = locked.links.tags[tag].version if stays else locked.resource.resolve(parsed)
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

    def visibility(self, ref: str | Ref, visibility: str | None = None) -> str:
        """``public`` or ``private``, after setting it if `visibility` is given; Denied for who did not make it."""
        parsed = _ref(ref)
        if visibility is None:
            resource = self.session.seen(parsed)
            return resource.visibility(resource.status())
        if visibility not in ("public", "private"):
            raise UsageError(
                f"a visibility is public or private, not {visibility[:40]!r}", hint="lhub visibility REF private"
            )
        self.session.permitted("manage", parsed)
        with self._change(parsed) as locked:
            if locked.visibility() != visibility:
                locked.set_visibility(visibility)
                locked.record(replace(locked.entry("visibility"), visibility=visibility))
        return visibility

    @contextmanager
    def _change(self, ref: Ref) -> Iterator[Change]:
        """The resource of a reference, locked, for a caller who may change it."""
        from lhub.change import change  # with filelock, which readers do not need
        from lhub.publish import writer

        resource = self.session.permitted("push", ref)
        with change(resource, self.session.modes(ref.namespace), writer(self.session)) as locked:
            yield locked
        for warning in locked.warnings:
            self.session.notes(warning)


def _ref(ref: str | Ref) -> Ref:
    return parse_ref(ref) if isinstance(ref, str) else ref
