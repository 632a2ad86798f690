"""What is on the shelf: every resource one may see, and one of them in full.

A listing reads names, links and modes; what else it shows is kept by version id in a disposable index.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from lhub.errors import Corrupt, Denied, LhubError, NotFound, UsageError
from lhub.index import Known
from lhub.manifest import KINDS, Manifest, variables
from lhub.moments import timestamp
from lhub.names import UNNAMED, Ref, is_name, is_space
from lhub.session import Session
from lhub.store import Resource, Version

if TYPE_CHECKING:
    from lhub.kinds.shapes import Field


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One line of a listing.

    `tags` is tag to version (64 hex digits); `updated` seconds since 1970 of the last move of a tag (0.0 without a
    tag); `bytes` the size of the version that stands for the resource (`latest`, else the newest); `root` is where it
    is, if several registries were looked at. Of an array also `length`, its documents, and `created`, seconds since
    1970 of its first push. The next listing may tell the same value again: nobody changes what it holds.
    """

    name: str
    kind: str
    visibility: str
    tags: dict[str, str]
    updated: float
    bytes: int
    protected_tags: tuple[str, ...] = ()
    root: str | None = None
    length: int | None = None
    created: float | None = None

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub list --json` prints it."""
        told: dict[str, object] = {
            "name": self.name,
            "kind": self.kind,
            "visibility": self.visibility,
            "tags": self.tags,
            "updated": timestamp(self.updated),
            "bytes": self.bytes,
        }
        if self.kind == "docarray":
            told |= {"length": self.length, "created": timestamp(self.created or 0.0)}
        return told | {"root": self.root} if self.root else told


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown(Listed):
    """One resource at one version: what :class:`Listed` tells, the version, and its manifest as a document.

    `image`: this version has a container image. `readers` are the namespaces that it is sealed for, None where it is
    not sealed; what the manifest of a sealed version tells `about` it is had by its key only.
    """

    version: str
    manifest: dict[str, Any]
    image: bool = False
    readers: tuple[str, ...] | None = None

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub show --json` prints it."""
        told: dict[str, object] = {
            "name": self.name,
            "kind": self.kind,
            "visibility": self.visibility,
            "version": self.version,
            "tags": self.tags,
            "protected_tags": list(self.protected_tags),
            "updated": timestamp(self.updated),
            "bytes": self.bytes,
            "manifest": self.manifest,
        }
        return told if self.readers is None else told | {"readers": list(self.readers)}


def listing(session: Session, namespace: str | None = None, kind: str | None = None) -> list[Listed]:
    """Everything the caller may see, by name."""
    if kind is not None and kind not in KINDS:
        raise UsageError(f"there is no kind {kind[:40]!r}", hint=f"the kinds are {', '.join(KINDS)}")
    session.read_root()
    if namespace is not None and not (
        is_space(namespace) and session.is_space(None if namespace == UNNAMED else namespace)
    ):
        raise NotFound(f"there is no namespace {namespace}", hint="lhub list shows what there is")
    spaces = [namespace] if namespace is not None else sorted(filter(is_space, os.listdir(session.root)))
    found = [line for space in spaces for line in _space(session, None if space == UNNAMED else space)]
    session.index.save()
    session.glance.save(_written)
    return sorted((line for line in found if kind in (None, line.kind)), key=lambda line: line.name)


def listing_of(sessions: Sequence[Session], namespace: str | None, kind: str | None) -> list[Listed]:
    """The listings of several registries as one; a name that stands in two is that of the first."""
    if len(sessions) == 1:
        return listing(sessions[0], namespace, kind)
    found: dict[str, Listed] = {}
    missing: list[NotFound] = []
    there = _there(sessions)
    for session in there:
        try:
            lines = listing(session, namespace, kind)
        except NotFound as error:
            missing.append(error)
            continue
        for line in lines:
            found.setdefault(line.name, replace(line, root=session.root))
    if len(missing) == len(there):
        raise missing[0]
    return sorted(found.values(), key=lambda line: line.name)


def _there(sessions: Sequence[Session]) -> list[Session]:
    """Those of several registries that stand; the first where none does, for its sentence."""
    return [session for session in sessions if os.path.lexists(session.folder.file)] or [sessions[0]]


def _space(session: Session, namespace: str | None) -> Iterator[Listed]:
    """The resources of one namespace that the caller may see; junk and what vanishes meanwhile is passed over."""
    folder = session.folder.namespace(namespace).path
    if not session.is_space(namespace):  # a link there is nobody's namespace
        return
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        session.pass_over(namespace, error)
        return
    prefix = f"{namespace}/" if namespace else ""
    for name in names:
        try:
            resource = Resource(f"{folder}/{name}", prefix + name)
            if (status := resource.status()) is None:
                continue
            line = session.glance.get(resource.folder.path, status, _read_line)
            if line is None and is_name(name) and session.sees(namespace, resource):
                line = _looked(session, resource, status)
            if line is not None:
                yield line
        except OSError as error:
            session.pass_over(namespace, error)


def _looked(session: Session, resource: Resource, status: os.stat_result) -> Listed | None:
    """The line of what is there; remembered by its status before if everybody may see it, and it is as it should be."""
    line = _line(session, resource)
    if line and line.visibility == "public" and line.tags and line.kind in KINDS:
        session.glance.add(resource.folder.path, status, session.clock(), line)
    return line


def _line(session: Session, resource: Resource) -> Listed | None:
    """One line; None for a folder in which nothing was pushed yet."""
    names = os.listdir(resource.folder.path)
    links = resource.links(names)
    if not links.tags and not resource.published():
        return None
    known = _known(session, resource, links.head)
    return Listed(
        name=resource.name,
        kind=known.kind,
        visibility=resource.visibility(),
        tags=links.versions(),
        protected_tags=tuple(links.protected),
        updated=links.updated,
        bytes=known.bytes,
        length=known.length,
        created=resource.created() if known.kind == "docarray" else None,
    )


def _written(line: Listed) -> list[Any]:
    """A line as JSON keeps it."""
    told = [line.name, line.kind, line.visibility, line.tags, line.updated, line.bytes, line.protected_tags]
    return [*told, line.length, line.created]


def _read_line(told: list[Any]) -> Listed:
    name, kind, visibility, tags, updated, size, protected, length, created = told
    return Listed(
        name=name,
        kind=kind,
        visibility=visibility,
        tags=tags,
        updated=updated,
        bytes=size,
        protected_tags=tuple(protected),
        length=length,
        created=created,
    )


_DAMAGED = Known("damaged", 0)


def _known(session: Session, resource: Resource, version: str | None) -> Known:
    """What a listing tells of a version, from the index or from its manifest; kind ``damaged`` when neither tells."""
    try:
        if version is None:
            return Known(resource.kind() or "damaged", 0)
        if known := session.index.get(version):
            return known
        with resource.opened(version, patient=False) as opened:
            opened.manifest_text()  # is what was published
            known = _told(opened)
        session.index.add(version, known)
    except (LhubError, OSError):
        return _DAMAGED
    return known


def _told(opened: Version) -> Known:
    """What a manifest tells; one that was published damaged stays so, and is remembered as well."""
    try:
        return Known.of(opened.manifest())
    except Corrupt:
        return _DAMAGED


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One resource that a search found: `matches` are what matched and where (``description: ...``)."""

    name: str
    kind: str
    visibility: str
    matches: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub search --json` prints it."""
        return {
            "name": self.name,
            "kind": self.kind,
            "visibility": self.visibility,
            "matches": list(self.matches),
        }


_MANY = 100_000
"""Files of a version up to which their names are searched as well."""
_RANKS = {"name": 0, "keywords": 1, "description": 2}


def search(sessions: Sequence[Session], terms: Sequence[str]) -> list[Found]:
    """What has every term, whatever the case of letters: names first, then keywords, descriptions, file names."""
    wanted = [term.casefold() for term in terms if term.strip()]
    if not wanted:
        raise UsageError("no term was given", hint="lhub search TERM")
    found: dict[str, tuple[int, Found] | None] = {}
    for session in _there(sessions):
        session.read_root()
        for namespace, resource, _ in session.resources():
            try:
                seen = session.sees(namespace, resource)
                if seen and resource.name not in found:  # what the name means is the first, whether it matches or not
                    found[resource.name] = _match(session, resource, wanted)
            except OSError as error:
                session.pass_over(namespace, error)
            except LhubError:
                continue  # what is damaged is not found
    hits = [hit for hit in found.values() if hit]
    return [each for _, each in sorted(hits, key=lambda hit: (hit[0], hit[1].name))]


def _match(session: Session, resource: Resource, wanted: list[str]) -> tuple[int, Found] | None:
    head = resource.links().head
    if head is None:
        return None
    with resource.opened(head, patient=False) as stored:
        manifest, paths = _searched(session, resource, stored)
    texts = [("name", resource.name), *_texts(manifest), *(("file", path) for path in paths)]
    matches, rank = [], 0
    for term in wanted:
        hits = [(where, text) for where, text in texts if term in text.casefold()]
        if not hits:
            return None
        rank += _RANKS.get(hits[0][0], len(_RANKS))
        matches += [f"{where}: {text}" for where, text in hits[:3]]
    visibility = resource.visibility()
    told = tuple(dict.fromkeys(matches))
    return rank, Found(name=resource.name, kind=manifest.kind, visibility=visibility, matches=told)


def _searched(session: Session, resource: Resource, stored: Version) -> tuple[Manifest, list[str]]:
    """What is searched of a version: its manifest and paths; of a sealed one its content's, for who has the key."""
    if stored.manifest().sealed is None:
        return stored.manifest(), list(stored.sums()) if stored.manifest().count <= _MANY else []
    from lhub.sealing import Unsealed  # for what is sealed

    try:
        version = Unsealed(stored, partial(session.locked, resource, None))
        return version.manifest(), list(version.sums()) if version.manifest().count <= _MANY else []
    except Denied:  # NoKey
        return stored.manifest(), []


def _texts(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """What a manifest tells in words: keywords before the description, then the rest."""
    about = dict(manifest.about)
    for key in ("keywords", "description", *about):
        value = about.pop(key, None)
        for text in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(text, str):
                yield key, text


def show(session: Session, ref: Ref) -> Shown:
    """One resource at the version a reference means; raises NotFound, Corrupt."""
    with session.reading(ref) as version:
        manifest = _manifest(version)
    resource = session.resource(ref.namespace, ref.resource)
    links = resource.links()
    if resource.kind() not in (None, manifest.kind):
        raise Corrupt(f"{version.where} is {manifest.kind}, its resource.yaml says otherwise")
    return Shown(
        name=ref.name,
        kind=manifest.kind,
        visibility=resource.visibility(),
        tags=links.versions(),
        protected_tags=tuple(links.protected),
        updated=links.updated,
        bytes=manifest.sealed.bytes if manifest.sealed else manifest.bytes,
        version=version.id,
        manifest=manifest.to_dict(),
        length=Known.of(manifest).length,
        created=resource.created() if manifest.kind == "docarray" else None,
        image=manifest.kind == "executor" and resource.image(version.id) is not None,
        readers=_readers(resource) if manifest.sealed else None,
    )


def _manifest(version: Version) -> Manifest:
    """The manifest that lies on the disk; of a sealed version with what is known of its content by who has the key."""
    if version.stored is None:
        return version.manifest()
    with suppress(Denied):  # NoKey
        return replace(version.stored.manifest(), about=version.manifest().about)
    return version.stored.manifest()


def _readers(resource: Resource) -> tuple[str, ...]:
    seal = resource.seal()
    return tuple(sorted(seal.readers)) if seal else ()


def documents_of(session: Session, ref: Ref, most: int) -> Sequence[Sequence[Field]]:
    """The fields of the first documents of an array; none of a pickle.

    The payload is looked into, not verified: to do that it would have to be read to its end.
    """
    from lhub.kinds.docarray import first_documents, form_told  # for arrays only

    with session.reading(ref) as version:
        form, path = form_told(version.manifest().about), version.single()
        found: list[Sequence[Field]] = []
        if form is None or path is None:
            return found
        # damaged, of documents too large to look into, or of lz4 that is not here: what the manifest tells stands
        with (
            suppress(ValueError, ImportError, Corrupt),
            version.file(path) as descriptor,
            os.fdopen(os.dup(descriptor), "rb") as file,
        ):
            found.extend(first_documents(file, form, most))
        return found


# an Executor, to be used


def config_of(session: Session, ref: Ref) -> str:
    """The path of an Executor's config.yml in the registry; raises NotFound for what has none."""
    from lhub.kinds.config import CONFIG  # with all that a push needs

    with session.reading(ref) as version:
        if version.manifest().kind != "executor":
            raise NotFound(
                f"{ref.name} holds {version.manifest().kind}, not an Executor", hint=f"lhub path {ref} is its folder"
            )
        if CONFIG not in version.sums():
            raise NotFound(f"{version.where} has no {CONFIG}", hint="push its folder again, which writes one")
        return f"{version.folder()}/{CONFIG}"


def variables_of(session: Session, ref: Ref) -> tuple[str, ...]:
    """The variables that the requirements of a version use."""
    with session.reading(ref) as version:
        return variables(version.manifest().about)
