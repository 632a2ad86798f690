"""What is on the shelf: every resource one may see, and one of them in full.

A listing reads names, links and modes; what else it shows is kept by version id in a disposable index.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lhub.access import may_see
from lhub.errors import Corrupt, LhubError, NotFound, UsageError
from lhub.layout import RESOURCE_FILE
from lhub.manifest import KINDS, Manifest
from lhub.names import UNNAMED, Ref, is_name, is_space
from lhub.session import Session
from lhub.store import Resource
from lhub.tags import timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One line of a listing.

    `tags` is tag to version (64 hex digits); `updated` seconds since 1970 of the last move of a tag (0.0 without a
    tag); `bytes` the size of the version that stands for the resource (`latest`, else the newest).
    """

    name: str
    kind: str
    visibility: str
    tags: dict[str, str]
    updated: float
    bytes: int
    protected_tags: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub list --json` prints it."""
        return {
            "name": self.name,
            "kind": self.kind,
            "visibility": self.visibility,
            "tags": self.tags,
            "updated": timestamp(self.updated),
            "bytes": self.bytes,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown(Listed):
    """One resource at one version: what :class:`Listed` tells, the version, and its manifest as a document."""

    version: str
    manifest: dict[str, Any]

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub show --json` prints it."""
        return {
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
    return sorted((line for line in found if kind in (None, line.kind)), key=lambda line: line.name)


def _space(session: Session, namespace: str | None) -> Iterator[Listed]:
    """The resources of one namespace that the caller may see; junk and what vanishes meanwhile is passed over."""
    folder = session.folder.namespace(namespace).path
    if not session.is_space(namespace):  # a link there is nobody's namespace
        return
    try:
        names = [
            entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False) and is_name(entry.name)
        ]
    except OSError:
        return
    for name in names:
        try:
            if may_see(session.place_seen(namespace, name)) and (
                line := _line(session, session.resource(namespace, name))
            ):
                yield line
        except OSError:
            continue


def _line(session: Session, resource: Resource) -> Listed | None:
    """One line; None for a folder in which nothing was pushed yet."""
    names = os.listdir(resource.folder.path)
    if RESOURCE_FILE not in names:
        return None
    links = resource.links(names)
    if not links.tags and not resource.published():
        return None
    status = resource.status()
    kind, size = _known(session, resource, links.head)
    return Listed(
        name=resource.name,
        kind=kind,
        visibility=resource.visibility(status),
        tags=links.versions(),
        protected_tags=tuple(links.protected),
        updated=links.updated,
        bytes=size,
    )


def _known(session: Session, resource: Resource, version: str | None) -> tuple[str, int]:
    """Kind and bytes of a version, from the index or from its manifest; kind ``damaged`` when neither tells."""
    try:
        if version is None:
            return resource.kind() or "damaged", 0
        if known := session.index.get(version):
            return known
        with resource.opened(version) as opened:
            manifest = opened.manifest()
        session.index.add(version, manifest.kind, manifest.bytes)
    except (LhubError, OSError):
        return "damaged", 0
    return manifest.kind, manifest.bytes


def show(session: Session, ref: Ref) -> Shown:
    """One resource at the version a reference means; raises NotFound, Corrupt."""
    with session.reading(ref) as version:
        manifest: Manifest = version.manifest()
    resource = session.resource(ref.namespace, ref.resource)
    links = resource.links()
    if manifest.kind != resource.kind():
        raise Corrupt(f"{version.where} is {manifest.kind}, its resource.yaml says otherwise")
    return Shown(
        name=ref.name,
        kind=manifest.kind,
        visibility=resource.visibility(resource.status()),
        tags=links.versions(),
        protected_tags=tuple(links.protected),
        updated=links.updated,
        bytes=manifest.bytes,
        version=version.id,
        manifest=manifest.to_dict(),
    )
