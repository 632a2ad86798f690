"""Imaging: what a push asks for of a container image, and by which way it can be had: told before anything is built.

A Dockerfile needs an engine that answers; without one the Hub's own does, or, with no engine at all, Python, on a base.
With `auto` there must be a reason (a Dockerfile, a base of one's own), and where there is no way a person is told so in
one line; with `always` that is refused before anything is published.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lhub.errors import LhubError, NotFound, UsageError, listing
from lhub.folder import Packing
from lhub.images.assembly import Ground
from lhub.images.base import told_of
from lhub.images.engines import BUILDERS, Engine, find, missing
from lhub.images.oci import Layout, Platform, here, parse_platform
from lhub.layout import BASE
from lhub.names import LATEST, Ref, is_name, parse_ref
from lhub.opening import listed, refresh
from lhub.orders import ImageOrder
from lhub.session import Session

DOCKERFILE = "Dockerfile"
PYTHON = "python"
HUBS = "jinaai/jina:latest"
"""On what the Hub built an Executor without a Dockerfile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How an image will be built: by an engine or (None) in Python, by a Dockerfile or (None) without, on a base.

    `exact`: that builder is asked for, and no other's image will do; `gentle`: any that stands will do.
    """

    engine: Engine | None
    dockerfile: str | None
    ground: Ground | None
    platforms: tuple[Platform, ...]
    no_cache: bool
    exact: bool
    gentle: bool

    @property
    def builder(self) -> str:
        """Its name."""
        return self.engine.name if self.engine else PYTHON

    @property
    def words(self) -> str:
        """In a few words."""
        what = f"by {self.dockerfile}" if self.dockerfile else f"on {self.ground.name if self.ground else HUBS}"
        return f"{self.builder} {what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a push asks for, and of what: the folder as it travels, its kind, the variables, whether it is private."""

    asked: ImageOrder
    variables: Mapping[str, str]
    packing: Packing
    kind: str
    private: bool


# what is asked, before anything is written


def check(wish: Wish) -> str | None:
    """The Dockerfile that is meant, as its path in the folder; UsageError with all that words alone tell is wrong."""
    asked, folder, faults = wish.asked, wish.packing.folder, []
    paths = {source.path for source in wish.packing.sources}
    if wish.kind != "executor":
        faults.append(f"only an Executor has a container image, this is of kind {wish.kind}")
    for each in asked.platforms:
        try:
            parse_platform(each)
        except UsageError as error:
            faults.append(str(error))
    dockerfile = DOCKERFILE if DOCKERFILE in paths else None
    if asked.dockerfile is not None:
        dockerfile = _within(asked.dockerfile, folder)
        if dockerfile not in paths:
            faults.append(f"{asked.dockerfile} is not in {folder}, or an ignore list leaves it out")
    if asked.builder == PYTHON and dockerfile is not None:
        faults.append(f"a Dockerfile is carried out by {', '.join(BUILDERS)}, not by {PYTHON}")
    if faults:
        raise UsageError(
            listing("no image can be built like this", faults), hint="lhub push --help shows what there is"
        )
    return dockerfile


def _within(path: str, folder: str) -> str:
    """A path as it is called in the folder, whether it was given from there or from here."""
    for each in (os.path.join(folder, path), path):
        if os.path.isfile(each):
            return os.path.realpath(each).removeprefix(f"{folder}/")
    return path


def find_way(session: Session, wish: Wish, namespace: str | None, dockerfile: str | None) -> Way | None:
    """How the image will be built; None where `auto` has nothing to build it of.

    ToolMissing where nothing can build it, NotFound where there is no base, or none for a platform.
    """
    asked = wish.asked
    ground = _ground(session, wish, namespace) if dockerfile is None or asked.base else None
    if asked.when == "auto" and dockerfile is None and ground is None:
        return None
    engine = None
    if asked.builder != PYTHON:
        names = [asked.builder] if asked.builder else BUILDERS
        engine = find(names, secret=bool(wish.variables))
        if engine is None and (asked.builder or dockerfile or ground is None):
            raise _no_builder(names, dockerfile)
    if engine is None and ground is None:
        hint = "lhub base import NAME TAR-OR-OCI-DIR"
        raise NotFound("an image in Python is made on a base, and there is none", hint=hint)
    wanted = tuple(dict.fromkeys(parse_platform(each) for each in asked.platforms))
    if ground is not None:
        for platform in wanted or (here(),):
            ground.on(platform)  # or raises that it has none
    return Way(
        engine=engine,
        dockerfile=dockerfile,
        ground=ground,
        platforms=wanted,
        no_cache=asked.no_cache,
        exact=asked.builder is not None,
        gentle=asked.when == "auto",
    )


def _no_builder(names: Sequence[str], dockerfile: str | None) -> LhubError:
    what = f"the image needs {' or '.join(names)} to be built"
    python = "--builder python needs none"
    return missing(names, what, f"without a Dockerfile {python}, on a base" if dockerfile else python)


def _ground(session: Session, wish: Wish, namespace: str | None) -> Ground | None:
    """The base that is named, else the one of one's own that was pushed last; none that would be shown to others."""
    if wish.asked.base is not None:
        return ground_of(session, parse_ref(wish.asked.base))
    bases = own_bases(session, namespace) if namespace else []
    shown = [ref for ref in bases if wish.private or not _is_private(session, ref)]
    if bases and not shown:
        session.notes(f"{bases[0].name} is private, and no base of what is public: --base {bases[0].name} makes it one")
    return ground_of(session, shown[0]) if shown else None


def _is_private(session: Session, ref: Ref) -> bool:
    return session.resource(ref.namespace, ref.resource).visibility() == "private"


def own_bases(session: Session, namespace: str) -> list[Ref]:
    """The bases of a namespace, that first of which a tag moved last; by `latest`, else by that tag."""
    folder = session.folder.namespace(namespace)
    refresh(folder.bases)
    found = []
    for entry in listed(folder.bases):
        resource = session.resource(namespace, entry.name) if is_name(entry.name) else None
        if resource is None or resource.status() is None or resource.kind() != BASE:
            continue  # it was deleted, or renamed
        if tags := resource.links().tags:
            when, tag = max((tag.when, tag.tag) for tag in tags.values())
            ref = Ref(resource=entry.name, namespace=namespace, tag=LATEST if LATEST in tags else tag)
            found.append((when, entry.name, ref))
    return [ref for _, _, ref in sorted(found, key=lambda each: each[:2], reverse=True)]


def ground_of(session: Session, ref: Ref) -> Ground:
    """A base as it is used; UsageError for what is none."""
    with session.reading(ref) as version:
        manifest = version.manifest()
        if manifest.kind != BASE:
            raise UsageError(
                f"{ref} holds {manifest.kind}, not a base", hint="lhub base list tells those that there are"
            )
        layout = Layout(version.resource.folder.version(version.id).files)
        return Ground(name=f"{ref.name}:{ref.tag or LATEST}", layout=layout, told=told_of(manifest.about))
