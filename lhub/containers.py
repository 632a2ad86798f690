"""Containers: the image of a version, read: told, written to a file, loaded into an engine. And bases, which are told.

Nothing is written to the registry here. What is read is verified on its way: a blob that is not what its digest says
ends the stream before the document that would make an image of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lhub.errors import Denied, LhubError, NotFound, UsageError
from lhub.fetch import Pulled, new_file, refuse_inside
from lhub.images.base import BaseImage
from lhub.images.engines import RUNNERS, Engine, asked, find, local_name, missing
from lhub.images.oci import Image, Layout, Platform, choose, here, parse_platform
from lhub.images.tars import loadable
from lhub.imaging import ground_of, own_bases
from lhub.names import LATEST, Ref
from lhub.opening import free_bytes, refresh
from lhub.sealed_images import Opened, lies_sealed
from lhub.session import Session
from lhub.store import Resource

_PRIVATE_FILE, _PUBLIC_FILE = 0o600, 0o666


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """The image of one version, for each platform that it was built for."""

    ref: Ref
    resource: Resource
    version: str
    layout: Layout
    images: tuple[Image, ...]
    opened: Opened | None = None
    """What keeps the layout of a sealed version in the clear."""

    @property
    def name(self) -> str:
        """How engines call it."""
        return local_name(self.ref.namespace, self.ref.resource, self.ref.tag or self._tag)

    @property
    def _tag(self) -> str:
        return self.version[:12] if self.ref.version else LATEST

    def to_dict(self) -> dict[str, Any]:
        """The value as `lhub image inspect --json` prints it."""
        return {
            "ref": str(replace(self.ref, docker=True)),
            "name": f"docker://{self.name}",
            "version": self.version,
            "layout": None if self.opened else self.layout.folder,
            "images": [_image_dict(image) for image in self.images],
        }


def _image_dict(image: Image) -> dict[str, Any]:
    history = image.settings.get("history")
    return {
        "platform": str(image.platform),
        "digest": image.manifest.digest,
        "config": image.config.digest,
        "bytes": image.bytes,
        "created": image.settings.get("created"),
        "layers": [{"digest": layer.digest, "bytes": layer.size, "type": layer.kind} for layer in image.layers],
        "run": dict(image.runs),
        "history": [each.get("created_by", "") for each in history or () if isinstance(each, dict)],
    }


def container(session: Session, ref: Ref) -> Container:
    """The image that a reference means; NotFound tells how one comes to be."""
    plain = replace(ref, docker=False)
    resource, version = session.find(plain)
    refresh(resource.folder.images)
    if folder := resource.image(version):
        opened = None
        if lies_sealed(folder):
            opened = Opened(folder, version, session.locked(resource, ref.secret), session.pen)
        layout = opened.layout if opened else Layout(folder)
        found = Container(ref=plain, resource=resource, version=version, layout=layout, images=layout.images())
        return replace(found, opened=opened)
    if (kind := resource.kind()) != "executor":
        raise NotFound(f"{plain} holds {kind}: only an Executor has a container image", hint=f"lhub pull {plain}")
    own = session.keeps(ref.namespace, resource)
    how = "push it again with --image always" if own else f"{_source(plain)} is its source; its owner can build one"
    raise NotFound(f"{replace(plain, docker=True) if plain.scheme else plain} has no container image", hint=how)


def _source(ref: Ref) -> Ref:
    return replace(ref, scheme="jinaai" if ref.namespace else "jinahub", docker=False, secret=None)


# loaded, and written to a file


def load(session: Session, ref: Ref, platform: str | None, telling: Callable[[str], None]) -> Pulled:
    """Load the image of a reference into docker or podman, under its name there; nothing is done where it is loaded."""
    found = container(session, ref)
    image = _for(found, platform, telling)
    engine = _engine(found)
    if engine.has(image, found.name):
        telling(f"{found.name} is in {engine.name} already")
    else:
        telling(f"loading {found.name} into {engine.name}")
        engine.load(loadable(image, found.layout, found.name), lambda: None)
    path = f"docker://{found.name}"
    return Pulled(ref=str(ref), name=ref.name, version=found.version, path=path)


def _engine(found: Container) -> Engine:
    """The engine that will run it."""
    engine = find(RUNNERS)
    if engine is None:
        source = _source(found.ref)
        raise missing(
            RUNNERS,
            f"{replace(source, docker=True)} needs a container engine to run",
            f"or, with none: {source} is its source, lhub image export {found.ref} -o FILE takes it elsewhere",
        )
    return engine


def _for(found: Container, wanted: str | None, telling: Callable[[str], None]) -> Image:
    """The image for the platform that is preferred, where there is one, else for this machine."""
    preferred = parse_platform(wanted) if wanted is not None else None
    if preferred is not None:
        if suiting := next((image for image in found.images if image.platform.suits(preferred)), None):
            return suiting
        telling(f"{found.ref} has no image for {preferred}")
    return choose(found.images, here(), str(found.ref))


def export(session: Session, ref: Ref, path: str, platform: str | None) -> Container:
    """Write the image as one tar that `docker load` and `podman load` take; the image that was written."""
    found = container(session, ref)
    wanted: Platform = parse_platform(platform) if platform is not None else here()
    image = choose(found.images, wanted, str(found.ref))
    refuse_inside(path, (session.root, *session.roots))
    parent = os.path.dirname(path) or "."
    if os.path.isdir(parent) and image.bytes > free_bytes(parent):
        raise LhubError(f"{found.ref} has an image of {image.bytes} bytes, there is no room for it at {parent}")
    private = found.resource.visibility() == "private"
    with new_file(session.pen, path, session.unique(), mode=_PRIVATE_FILE if private else _PUBLIC_FILE) as file:
        for piece in loadable(image, found.layout, found.name):
            file.write(piece)
    return replace(found, images=(image,))


# bases


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseListed:
    """A base as it is listed: its name, tags and bytes, and what is in it for each platform."""

    name: str
    tags: Mapping[str, str]
    bytes: int
    images: tuple[Mapping[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """The value as `lhub base list --json` prints it."""
        return {
            "name": self.name,
            "tags": dict(self.tags),
            "bytes": self.bytes,
            "images": [dict(each) for each in self.images],
        }


def listed_bases(session: Session) -> list[BaseListed]:
    """The bases of the caller's namespace, the one that a push takes first."""
    session.read_root()
    if session.caller is None:
        raise Denied("nobody is logged in, so there is no namespace with bases", hint="lhub login NAME")
    found = []
    for ref in own_bases(session, session.caller):
        tags = session.resource(ref.namespace, ref.resource).links().versions()
        ground = ground_of(session, ref)
        with session.reading(ref) as version:
            size = version.manifest().bytes
        found.append(
            BaseListed(name=ref.name, tags=tags, bytes=size, images=tuple(base.to_dict() for base in ground.told))
        )
    return found


def arriving(source: str) -> BaseImage:
    """The base of a tar or folder, to be pushed; UsageError for what cannot be there."""
    if not os.path.exists(source):
        raise NotFound(
            f"{source} is not here", hint="a tar of an image or of a root folder, or a folder that is an OCI layout"
        )
    return BaseImage.of(source)


def from_engine(image: str, name: str | None) -> tuple[BaseImage, str, str]:
    """The base of an engine's image, with the name and tag that it has there; ToolMissing where none answers."""
    if image.startswith("-") or not image.strip():
        raise UsageError(f"{image[:80]!r} is no image", hint="as in jinaai/jina:latest")
    if name not in (None, *RUNNERS):
        raise UsageError(f"{str(name)[:40]!r} is no engine that a base is taken from", hint=f"{' or '.join(RUNNERS)}")
    engine = asked(name) if name else find(RUNNERS)
    if engine is None:
        raise missing(
            [name] if name else RUNNERS,
            "no container engine answers",
            "lhub base import NAME TAR takes what `docker save` wrote elsewhere",
        )
    place, _, tag = image.rpartition("/")[2].partition("@")[0].partition(":")
    taken = BaseImage(lambda making, breathe: (engine.bring(image, making, "", breathe),))
    return taken, place, tag or LATEST
