"""Building: the container image of a published Executor, after its push and in the same task.

The source stands before the first step here, and nothing that fails here touches it. A layout is staged like a version
(blobs, then the documents that name them, fsync, modes), searched for what `--build-env` gave, and put in its place by
one rename under the lock.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import cast

from lhub.access import Place
from lhub.builds import Cancelled, Task
from lhub.change import change
from lhub.errors import BuildFailed, Conflict, Corrupt, LhubError, NotFound, ToolMissing, UsageError, listing
from lhub.fetch import lay_out
from lhub.images.assembly import Ground, Source, Watch, assemble, has_jina
from lhub.images.dockerfile import bases, generated, hidden_images, names_arguments, secret_file, with_secrets
from lhub.images.engines import LOCAL, Build, Engine, local_name
from lhub.images.leaks import Secrets, refuse_short
from lhub.images.making import Known, Making
from lhub.images.oci import BUILDER, IMAGE, MADE_OF, Image, Layout, Platform, choose, faults, here, to_json
from lhub.images.tars import loadable
from lhub.imaging import DOCKERFILE, HUBS, Way, Wish, check, find_way, ground_of, own_bases
from lhub.kinds.requirements import FILE
from lhub.layout import Modes, image_of
from lhub.names import LATEST, Ref, parse_ref
from lhub.opening import listed, read_open, read_small
from lhub.orders import ImageCancelled, ImageFailed, Pushed
from lhub.redaction import Redaction
from lhub.sealed_images import clear_stage, notes, seal_layout
from lhub.sealing import Lock, Unsealed
from lhub.session import Session
from lhub.staging import Staging, staging
from lhub.store import Resource, Version

_INTERRUPTED = 130
_LARGEST = 1 << 20
"""Bytes of a Dockerfile, and of requirements."""
_LONGEST = 8192
"""Characters of a builder's line that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imaging:
    """The image that a push asks for; `way` is known already where it must be built."""

    session: Session
    wish: Wish
    resource: Resource
    place: Place
    dockerfile: str | None
    way: Way | None

    @classmethod
    def of(cls, session: Session, resource: Resource, place: Place, wish: Wish) -> Imaging:
        """Raises what can be refused before anything is published: bad words, and no way where it must be built."""
        dockerfile, way = check(wish), None
        if wish.asked.when == "always":
            refuse_short(wish.variables)
            way = find_way(session, wish, place.namespace, dockerfile)
        return cls(session=session, wish=wish, resource=resource, place=place, dockerfile=dockerfile, way=way)

    def build(self, pushed: Pushed, task: Task, lock: Lock | None) -> None:
        """Build it, if there is a way; ImageFailed tells of what was published already. `lock` seals it too."""
        try:
            way = self.way or self._found()
            if way is not None:
                self._build(pushed, task, way, lock)
        except (Exception, KeyboardInterrupt) as error:  # whatever it is: the secret of a first push is told once
            raise self._failed(pushed, error) from error

    def _found(self) -> Way | None:
        """A way for `auto`; where there is none a person is told so in one line."""
        try:
            way = find_way(self.session, self.wish, self.place.namespace, self.dockerfile)
            if way is not None:
                refuse_short(self.wish.variables)
        except (ToolMissing, NotFound, UsageError) as error:
            self.session.notes(f"no image was built: {error}" + (f" ({error.hint})" if error.hint else ""))
            return None
        return way

    def _build(self, pushed: Pushed, task: Task, way: Way, lock: Lock | None) -> None:
        work = Built(
            session=self.session,
            resource=self.resource,
            namespace=self.place.namespace,
            modes=self.session.modes(self.place.namespace),
            version=pushed.version or "",
            variables=self.wish.variables,
            task=task,
            lock=lock,
        )
        build(work, way)

    def _failed(self, pushed: Pushed, error: BaseException) -> ImageFailed:
        what = f"{pushed.name} is published, version {(pushed.version or '')[:12]}; its image is not"
        kind = ImageCancelled if isinstance(error, Cancelled) else ImageFailed
        hint = error.hint if isinstance(error, LhubError) and kind is ImageFailed else ""
        said = Redaction(self.wish.variables.values()).text(f"{what}: {_why(error)}")
        failed = kind(said, hint=hint or "the same push again builds the image alone", pushed=pushed)
        if isinstance(error, KeyboardInterrupt):
            failed.code = _INTERRUPTED
        return failed


def _why(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if isinstance(error.filename, str) else ""
        return f"{where}{error.strerror or error}"
    return str(error) if isinstance(error, LhubError) else f"an unexpected fault, {type(error).__name__}: {error}"


# the build


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """Of what an image is built, and with what: the published version, the variables, the task that tells.

    `lock` opens a version that is sealed, and seals its image.
    """

    session: Session
    resource: Resource
    namespace: str | None
    modes: Modes
    version: str
    variables: Mapping[str, str]
    task: Task
    lock: Lock | None
    scratch: str = ""

    @property
    def folder(self) -> str:
        """The published files, copied and verified: what lies in the registry a colleague may change meanwhile."""
        return f"{self.scratch}/files"

    def say(self, line: str) -> None:
        """Keep a line of what a builder says, cut behind the redaction: half a value would pass it."""
        self.task.console("image", Redaction(self.variables.values()).text(line)[:_LONGEST])

    def lay_out(self, scratch: str) -> Built:
        """The same with its files at hand."""
        ref = Ref(resource=os.path.basename(self.resource.folder.path), namespace=self.namespace, version=self.version)
        pen = self.session.pen
        pen.make_new(scratch)
        pen.make_new(f"{scratch}/files")
        with self.opened() as version:
            lay_out(pen, version, f"{scratch}/files")
        self.say(f"verified every byte of {ref}")
        return replace(self, scratch=scratch)

    @contextmanager
    def opened(self) -> Iterator[Version]:
        """The published version."""
        with self.resource.opened(self.version) as version:
            if self.lock is None:
                yield version
                return
            with closing(Unsealed(version, lambda: cast("Lock", self.lock))) as unsealed:
                yield unsealed

    def text(self, path: str) -> str:
        """A text among its files; empty where it is none of them."""
        if self.scratch:
            return _read(f"{self.folder}/{path}")
        with self.opened() as version:
            if path not in version.sums():
                return ""
            with version.file(path) as descriptor:
                return _decoded(read_open(descriptor, path, limit=_LARGEST), path)


def build(work: Built, way: Way) -> bool:
    """Build the image of a version, and publish it; False where one stands already that is as good."""
    with work.task.step("image") as told:
        made_of = _made_of(work, way)
        told.update(builder=way.words)
        if _stands(work, way, made_of):
            told.update(builder=None, new=False)
            return False
        session, me = work.session, work.session.writer()
        with staging(session.pen, work.resource, work.modes, me.unique, me.note) as stage:
            if work.lock is None:
                images = _made(work, way, stage, made_of)
            else:
                with clear_stage(session.pen, work.resource.name, me.unique, me.note) as clear:
                    images = _made(work, way, clear, made_of)
                    seal_layout(stage, clear.folder.files, work.version, work.lock, work.task.breathe)
            layout = stage.finish_layout()
            with change(work.resource, work.modes, me) as locked:
                work.task.breathe(at_once=True)
                _refuse_replacing(work.resource, work.version)
                locked.publish_image(work.version, layout)
        size = sum(image.bytes for image in images)
        told.update(new=True, platforms=[str(image.platform) for image in images], bytes=size)
    return True


def _made(work: Built, way: Way, stage: Staging, made_of: str) -> list[Image]:
    """Make the layout in a staging folder; the images that are in it."""
    making, here_it_is = Making(stage), work.lay_out(f"{stage.folder.path}/scratch")
    images = [making.keep(_one(here_it_is, way, making, platform)) for platform in way.platforms or (None,)]
    _see(images)
    _tell_missing(here_it_is, way)
    making.name(images, made_of=made_of, builder=way.builder)
    _see_layout(making)
    return images


def _see_layout(making: Making) -> None:
    """Raise what the reader of layouts would find, before anybody can."""
    if found := list(faults(making.layout, None)):
        raise BuildFailed(listing("what was built is no image that can be kept", found), hint="please report it")


def _refuse_replacing(resource: Resource, version: str) -> None:
    """Raise Conflict where a protected tag names a version that has an image: that stays as well."""
    links = resource.links()
    held = sorted(tag for tag in links.protected if links.tags[tag].version == version)
    if held and resource.image(version) is not None:
        raise Conflict(
            f"{resource.name}: the image of {', '.join(held)} is protected as the tag is",
            hint="push another version for another image; what stands was not changed",
        )


def _tell_missing(work: Built, way: Way) -> None:
    """Say so where nothing brings what starts an assembled image."""
    if way.engine is None and way.ground is not None:
        _, base = way.ground.on((way.platforms or (here(),))[0])
        if not has_jina(base, work.folder):
            note = "neither the base nor the requirements have jina, which starts the image: add it to requirements.txt"
            work.session.notes(note)


def _see(images: Sequence[Image]) -> None:
    """Refuse two images for one platform, which an engine gives that does not know the other."""
    platforms = [str(image.platform) for image in images]
    if double := {each for each in platforms if platforms.count(each) > 1}:
        raise BuildFailed(
            f"the builder gave the image for {', '.join(double)} in place of another's", hint="name one platform"
        )


def _made_of(work: Built, way: Way) -> str:
    """By what an image is made, in one digest: the same again need not be made again."""
    grounds = [way.ground] if way.ground else [_local_ground(work.session, each) for each in _named_bases(work, way)]
    told = {
        "version": work.version,
        "dockerfile": way.dockerfile,
        "base": [sorted(image.manifest.digest for image in ground.layout.images()) for ground in grounds],
        "platforms": [str(each) for each in way.platforms or (here(),)],
    }
    return sha256(to_json(told)).hexdigest()


def _stands(work: Built, way: Way, made_of: str) -> bool:
    """Whether an image stands that is as good, all of its blobs there: any for `auto`, else one made of the same.

    Raises Conflict where one is asked for that would take the place of a protected one.
    """
    folder = work.resource.image(work.version)
    if folder is None:
        return False
    try:
        noted = _notes(folder, work.lock)
    except (LhubError, OSError):
        return False
    if noted is None:
        return False
    same = noted[0] == made_of and (not way.exact or noted[1] == way.builder)
    if not way.no_cache and (same or way.gentle):
        return True
    _refuse_replacing(work.resource, work.version)
    return False


def _notes(folder: str, lock: Lock | None) -> tuple[str | None, str | None] | None:
    """By what an image was made, and by which builder; None where a blob of it is missing."""
    if lock is not None:
        return notes(folder, lock.keys)
    layout = Layout(folder)
    if not all(os.path.isfile(layout.blob(blob.digest)) for image in layout.images() for blob in image.blobs):
        return None
    return layout.note(MADE_OF), layout.note(BUILDER)


def known_layouts(resource: Resource) -> list[Layout]:
    """The images of a resource's other versions; one that does not read is passed over."""
    layouts = []
    for entry in listed(resource.folder.images):
        layout = Layout(entry.path)
        try:
            layout.images()
        except (Corrupt, OSError):
            continue
        if image_of(entry.name):
            layouts.append(layout)
    return layouts


def _one(work: Built, way: Way, making: Making, platform: Platform | None) -> Image:
    if way.engine is not None:
        return _by_engine(work, way, way.engine, making, platform)
    assert way.ground is not None  # noqa: S101 (find_way saw to it)
    known = (list) if way.no_cache or work.lock else partial(known_layouts, work.resource)
    source = Source(version=work.version, folder=work.folder, known=known, scratch=work.scratch)
    watch = Watch(say=work.say, breathe=work.task.breathe)
    return assemble(making, source, way.ground, platform or here(), work.variables, watch)


def _by_engine(work: Built, way: Way, engine: Engine, making: Making, platform: Platform | None) -> Image:
    """Build with an engine, take over what it made, and search it; under this name the engine forgets it again.

    The name is this task's alone: two who build one version at once get each his own.
    """
    tag = "-".join(filter(None, (work.version[:12], work.task.id, platform.dashed if platform else "")))
    name = local_name(work.namespace, os.path.basename(work.resource.folder.path), tag)
    known = _grounds_known(work, way, engine, platform)
    dockerfile = f"{work.scratch}/{DOCKERFILE}"
    with open(dockerfile, "w", encoding="utf-8") as file:
        file.write(_text(work, way))
    asked = Build(
        context=work.folder,
        dockerfile=dockerfile,
        name=name,
        version=work.version,
        platform=platform,
        no_cache=way.no_cache,
        secrets=secret_file(work.variables) if work.variables else None,
    )
    well = False
    try:
        engine.build(asked, work.say, work.task.breathe)
        place = f"{work.scratch}/{platform.dashed if platform else 'image'}"
        image = making.on(engine.bring(name, making, place, work.task.breathe), known)
        Secrets(work.variables).see(image, making.layout, but=known, breathe=work.task.breathe)
        well = True
    finally:
        engine.remove(name, cache=not well)
    return image


def _text(work: Built, way: Way) -> str:
    """The Dockerfile that is carried out."""
    if way.dockerfile is None:
        base = _local(way.ground.name) if way.ground else HUBS
        text = generated(base, os.listdir(work.folder), work.text(FILE))
    else:
        text = work.text(way.dockerfile)
    if hidden := hidden_images(text):
        raise BuildFailed(
            f"{way.dockerfile} names an image in a way that cannot be looked through: {hidden}",
            hint=f"{LOCAL}/... is named by FROM alone, as it is; a FROM has its host in letters",
        )
    if not work.variables:
        return text
    if named := names_arguments(text, work.variables):
        raise BuildFailed(
            f"{way.dockerfile} names {', '.join(named)} in an ARG or ENV, which would keep its value in the image",
            hint="leave that line out: RUN lines have the variables of --build-env",
        )
    return with_secrets(text)


def _read(path: str) -> str:
    try:
        return _decoded(read_small(path, limit=_LARGEST), path)
    except FileNotFoundError:
        return ""


def _decoded(text: bytes, path: str) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise BuildFailed(f"{os.path.basename(path)} is not UTF-8", hint="write it as UTF-8") from None


# bases for an engine


def _local(name: str) -> str:
    """The name of a base in an engine, by `alice/tiny:latest`."""
    ref = parse_ref(name)
    return local_name(ref.namespace, ref.resource, ref.tag or LATEST)


def _named_bases(work: Built, way: Way) -> list[Ref]:
    """The bases of the registry that a Dockerfile names, as `lhub.local/NAMESPACE/NAME:TAG`."""
    text = work.text(way.dockerfile) if way.dockerfile else ""
    told = [each.removeprefix(f"{LOCAL}/") for each in bases(text) if each.startswith(f"{LOCAL}/")]
    return [parse_ref(each) for each in told]


def _local_ground(session: Session, ref: Ref) -> Ground:
    """The base of a name as engines write it, in lower case."""
    for own in own_bases(session, ref.namespace) if ref.namespace == session.caller and ref.namespace else ():
        if local_name(ref.namespace, own.resource, ref.tag or LATEST) == _local(str(ref)):
            return ground_of(session, replace(own, tag=ref.tag))
    return ground_of(session, ref)


def _grounds_known(work: Built, way: Way, engine: Engine, platform: Platform | None) -> Known:
    """See that the engine has each base that is named; their layers, by the digests of what they unpack to."""
    grounds = [way.ground] if way.ground and way.dockerfile is None else []
    grounds += [_local_ground(work.session, each) for each in _named_bases(work, way)]
    known: Known = {}
    for ground in grounds:
        image = choose(ground.layout.images(), platform or here(), f"the base {ground.name}")
        paths = [(layer, ground.layout.blob(layer.digest)) for layer in image.layers]
        known |= dict(zip(image.diff_ids, paths, strict=True))
        name = _local(ground.name)
        if engine.has(image, name):
            continue
        work.say(f"loading {name} into {engine.name}")
        if engine.name == "buildah":
            several = len(ground.layout.images()) > 1
            reference = f"{IMAGE}-{image.platform.dashed}" if several else IMAGE
            engine.pull_layout(ground.layout.folder, reference, name, work.task.breathe)
        else:
            engine.load(loadable(image, ground.layout, name), work.task.breathe)
    return known
