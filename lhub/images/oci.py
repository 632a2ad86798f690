"""OCI: the words of container images, and the reader of layouts that lhub trusts before any engine sees them.

A layout is a folder with `oci-layout`, `index.json` and `blobs/sha256/`. What lhub writes has one platform as one
manifest, several as a nested index and one name a platform beside it: a flat index makes skopeo choose the wrong one,
a nested one alone umoci cannot read (measured). Source of the rules: the OCI image specification 1.0
(github.com/opencontainers/image-spec), `image-layout.md`, `manifest.md`, `config.md`.

>>> str(parse_platform("linux/arm64/v8")), parse_platform("amd64").architecture
('linux/arm64/v8', 'amd64')
"""

from __future__ import annotations

import json
import os
import platform as machine
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lhub.errors import Corrupt, NotFound, UsageError
from lhub.opening import GONE, open_file, read_open

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
ZIPPED = f"{LAYER}+gzip"

_DOCKER = "application/vnd.docker."
OURS = {
    f"{_DOCKER}distribution.manifest.list.v2+json": INDEX,
    f"{_DOCKER}distribution.manifest.v2+json": MANIFEST,
    f"{_DOCKER}container.image.v1+json": CONFIG,
    f"{_DOCKER}image.rootfs.diff.tar": LAYER,
    f"{_DOCKER}image.rootfs.diff.tar.gzip": ZIPPED,
    **{kind: kind for kind in (INDEX, MANIFEST, CONFIG, LAYER, ZIPPED)},
}
"""Docker's words for the same documents, and the specification's own."""

NAME = "org.opencontainers.image.ref.name"
"""The annotation by which tools call an image of a layout."""
IMAGE = "image"
"""What lhub's layouts call theirs."""
VERSION = "lhub.version"
"""The label of an image that tells whose version it is (64 hex digits)."""
MADE_OF = "lhub.made-of"
"""The annotation of an index that tells by what its image was made (64 hex digits): the same again makes the same."""

BUILDER = "lhub.builder"
"""The annotation beside it: what built it, ``docker``, ``podman``, ``buildah`` or ``python``."""

LAYOUT_TEXT = b'{"imageLayoutVersion":"1.0.0"}'
MOST_JSON = 4 << 20
"""Bytes of a document that is read: Docker's own limit of a manifest."""
_NAMED = re.compile(r"[A-Za-z0-9]+(?:(?:--|[-._:@+/])[A-Za-z0-9]+)*")
_MOST_MANIFESTS, _MOST_IMAGES = 256, 64
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_PART = r"[a-z0-9][a-z0-9_.-]{0,31}"
_PLATFORM = re.compile(rf"(?:({_PART})/)?({_PART})(?:/({_PART}))?")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_SAME = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "i386": "386"}
_USUAL = {"arm64": "v8"}
"""The variant that is meant where none is told (containerd's `platforms`)."""


class Platform(NamedTuple):
    """For what an image is: `linux/amd64`, `linux/arm64/v8`."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, self))

    @property
    def dashed(self) -> str:
        """As a part of a tag."""
        return "-".join(filter(None, self))

    def suits(self, wanted: Platform) -> bool:
        """Whether an image for this is one for what is wanted, where a variant need not be told."""
        usual = _USUAL.get(self.architecture, "")
        mine, theirs = self.variant or usual, wanted.variant or usual
        return self[:2] == wanted[:2] and (not wanted.variant or mine == theirs)

    def to_dict(self) -> dict[str, str]:
        """As documents have it."""
        told = {"architecture": self.architecture, "os": self.os}
        return told | ({"variant": self.variant} if self.variant else {})


def parse_platform(text: str) -> Platform:
    """A platform as a person types it; `amd64` alone is one of linux."""
    found = _PLATFORM.fullmatch(text.strip().lower())
    if found is None:
        raise UsageError(f"{text[:80]!r} is no platform", hint="as in linux/amd64, or linux/amd64,linux/arm64")
    system, architecture, variant = found.groups()
    if system in _SAME or system in _SAME.values():  # "arm64/v8"
        system, architecture, variant = None, system, architecture
    return Platform(system or "linux", _SAME.get(architecture, architecture), variant or "")


def here() -> Platform:
    """The platform of containers on this machine: engines elsewhere than on Linux run them in a Linux of their own."""
    told = machine.machine().lower()
    return Platform("linux", _MACHINES.get(told, _SAME.get(told, told)))


def hex_of(digest: str) -> str:
    """The 64 hex digits of a digest."""
    return digest.removeprefix("sha256:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What a document says of a blob."""

    kind: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, document: Any, where: str) -> Descriptor:
        """Raises Corrupt with the dotted path of what is wrong."""
        told = _mapping(document, where)
        digest, size, kind = told.get("digest"), told.get("size"), told.get("mediaType")
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise Corrupt(f"{where}.digest is no SHA-256")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise Corrupt(f"{where}.size is no number of bytes")
        if not isinstance(kind, str):
            raise Corrupt(f"{where}.mediaType is no text")
        platform = _platform(told["platform"], f"{where}.platform") if "platform" in told else None
        annotations = _mapping(told.get("annotations") or {}, f"{where}.annotations")
        texts = {key: value for key, value in annotations.items() if isinstance(value, str)}
        return cls(kind=OURS.get(kind, kind), digest=digest, size=size, platform=platform, annotations=texts)

    def to_dict(self) -> dict[str, object]:
        """As documents have it."""
        told: dict[str, object] = {"mediaType": self.kind, "digest": self.digest, "size": self.size}
        if self.platform:
            told["platform"] = self.platform.to_dict()
        return told | ({"annotations": dict(self.annotations)} if self.annotations else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image: for one platform, with its layers from the lowest on; `settings` is its configuration."""

    platform: Platform
    manifest: Descriptor
    config: Descriptor
    layers: tuple[Descriptor, ...]
    settings: Mapping[str, Any]

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """The digests of its layers as they are unpacked; engines call an image's content by them."""
        return tuple(self.settings["rootfs"]["diff_ids"])

    @property
    def runs(self) -> Mapping[str, Any]:
        """How it is run: Env, Entrypoint, Cmd, WorkingDir, Labels."""
        told = self.settings.get("config")
        return told if isinstance(told, dict) else {}

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        told = self.runs.get("Labels")
        return told if isinstance(told, dict) else {}

    @property
    def bytes(self) -> int:
        """Of all its blobs."""
        return self.manifest.size + self.config.size + sum(layer.size for layer in self.layers)

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """All of them."""
        return (self.manifest, self.config, *self.layers)


class Layout:
    """A layout by its folder; what it says is checked where it is read, and raises Corrupt."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def blob(self, digest: str) -> str:
        """Where a blob lies."""
        return f"{self.folder}/blobs/sha256/{hex_of(digest)}"

    def index(self) -> Mapping[str, Any]:
        """index.json."""
        return _document(f"{self.folder}/index.json", "index.json")

    def note(self, name: str) -> str | None:
        """What lhub noted in its index about how its image was made."""
        told = self.index().get("annotations")
        noted = told.get(name) if isinstance(told, dict) else None
        return noted if isinstance(noted, str) else None

    def images(self) -> tuple[Image, ...]:
        """Every image, each once, in the order of the index; what is none (attestations) is passed over."""
        found: dict[str, Image] = {}
        for descriptor in self._manifests(self.index(), "index.json", set()):
            if not _is_note(descriptor):
                found[descriptor.digest] = self.image(descriptor)
                if len(found) > _MOST_IMAGES:
                    raise Corrupt(f"it holds more than {_MOST_IMAGES} images")
        return tuple(found.values())

    def _manifests(self, index: Mapping[str, Any], where: str, walked: set[str]) -> Iterator[Descriptor]:
        """Every manifest below an index, once, though indexes may name one another by the thousand."""
        for descriptor in _listed(index, where):
            if descriptor.digest in walked:
                continue
            walked.add(descriptor.digest)
            if len(walked) > _MOST_MANIFESTS:
                raise Corrupt(f"it names more than {_MOST_MANIFESTS} manifests")
            if descriptor.kind == INDEX:
                yield from self._manifests(self.document(descriptor), descriptor.digest, walked)
            elif descriptor.kind == MANIFEST:
                yield descriptor

    def document(self, descriptor: Descriptor) -> Mapping[str, Any]:
        """A JSON blob, of the size and digest that is told."""
        where = self.blob(descriptor.digest)
        return parsed(self.text(descriptor), os.path.basename(where))

    def text(self, descriptor: Descriptor) -> bytes:
        """The same as bytes."""
        from hashlib import sha256  # 7 ms that a listing does not need

        path = self.blob(descriptor.digest)
        text = _read(path, descriptor.digest)
        if len(text) != descriptor.size or sha256(text).hexdigest() != hex_of(descriptor.digest):
            raise Corrupt(f"the blob {descriptor.digest} is not what its digest says")
        return text

    def image(self, descriptor: Descriptor) -> Image:
        """The image of a manifest."""
        where = descriptor.digest
        document = self.document(descriptor)
        config = Descriptor.from_dict(document.get("config"), f"{where}.config")
        if config.kind != CONFIG:
            raise Corrupt(f"{where} is no image: its config is of type {config.kind[:80]}")
        layers = document.get("layers")
        if not isinstance(layers, list):
            raise Corrupt(f"{where}.layers is no list")
        told = [Descriptor.from_dict(each, f"{where}.layers.{number}") for number, each in enumerate(layers)]
        settings = self.document(config)
        platform = _settled(settings, config.digest, len(told))
        return Image(platform=platform, manifest=descriptor, config=config, layers=tuple(told), settings=settings)


def _listed(index: Mapping[str, Any], where: str) -> list[Descriptor]:
    """What an index names."""
    listed = index.get("manifests")
    if not isinstance(listed, list) or len(listed) > _MOST_MANIFESTS:
        raise Corrupt(f"{where}.manifests is no list of up to {_MOST_MANIFESTS}")
    return [Descriptor.from_dict(each, f"{where}.manifests.{number}") for number, each in enumerate(listed)]


def choose(images: tuple[Image, ...], wanted: Platform, what: str) -> Image:
    """The image for a platform; NotFound's sentence names those that there are."""
    if not images:
        raise Corrupt(f"{what} holds no image", hint="its owner builds one with lhub push --image always --no-cache")
    for image in images:
        if image.platform.suits(wanted):
            return image
    there = ", ".join(sorted(str(image.platform) for image in images))
    raise NotFound(f"{what} has no image for {wanted}, only for {there}", hint=f"--platform {images[0].platform}")


def faults(layout: Layout, digest: Callable[[int, os.stat_result], str] | None) -> Iterator[str]:
    """A sentence for all that is not as the specification has it; `digest` hashes an open blob (None: by size only)."""
    try:
        text = _read(f"{layout.folder}/oci-layout", "oci-layout")
        if parsed(text, "oci-layout").get("imageLayoutVersion") != "1.0.0":
            yield "oci-layout tells no version 1.0.0"
        images = layout.images()
        if not images:
            yield "index.json names no image"
        yield from _index_faults(layout.index())
    except Corrupt as error:
        yield str(error)
        return
    named: dict[str, Descriptor] = {}
    for image in images:
        yield from _image_faults(image)
        named |= {blob.digest: blob for blob in image.blobs}
    for blob in named.values():
        yield from _blob_faults(layout, blob, digest)


def _index_faults(index: Mapping[str, Any]) -> Iterator[str]:
    """Of the names in an index: each at most once, and as the specification writes them."""
    names = [each.annotations[NAME] for each in _listed(index, "index.json") if NAME in each.annotations]
    if index.get("schemaVersion") != 2:
        yield "index.json has another schemaVersion than 2"
    if len(names) != len(set(names)):
        yield "index.json gives one name twice"
    yield from (f"index.json has the name {name[:80]!r}" for name in names if not _NAMED.fullmatch(name))


def _image_faults(image: Image) -> Iterator[str]:
    """Of a configuration: its platform, its history, the types of its layers."""
    where, told = f"the image for {image.platform}", image.settings.get("history")
    if image.manifest.platform is not None and image.manifest.platform != image.platform:
        yield f"{where} is called one for {image.manifest.platform} in the index"
    if any(layer.kind not in (LAYER, ZIPPED) for layer in image.layers):
        yield f"{where} has a layer that is no tar"
    if told is not None:
        entries = told if isinstance(told, list) else []
        if sum(not each.get("empty_layer") for each in entries) != len(image.layers):
            yield f"{where} has a history of another number of layers"


def _blob_faults(
    layout: Layout, blob: Descriptor, digest: Callable[[int, os.stat_result], str] | None
) -> Iterator[str]:
    try:
        descriptor = open_file(layout.blob(blob.digest))
    except (Corrupt, OSError):
        yield f"the blob {blob.digest} is missing, or no file"
        return
    try:
        status = os.fstat(descriptor)
        if status.st_size != blob.size:
            yield f"the blob {blob.digest} has {status.st_size} bytes, not {blob.size}"
        elif digest is not None and digest(descriptor, status) != hex_of(blob.digest):
            yield f"the blob {blob.digest} is not what its digest says"
    finally:
        os.close(descriptor)


def _is_note(descriptor: Descriptor) -> bool:
    """Whether it is what a builder notes about an image (provenance), for the platform unknown/unknown."""
    return descriptor.platform is not None and descriptor.platform.os == "unknown"


def _settled(settings: Mapping[str, Any], where: str, layers: int) -> Platform:
    """The platform of a configuration, of which what others rely on is checked."""
    rootfs = _mapping(settings.get("rootfs"), f"{where}.rootfs")
    diff_ids = rootfs.get("diff_ids")
    if not isinstance(diff_ids, list) or not all(
        isinstance(each, str) and _DIGEST.fullmatch(each) for each in diff_ids
    ):
        raise Corrupt(f"{where}.rootfs.diff_ids is no list of SHA-256")
    if len(diff_ids) != layers:
        raise Corrupt(f"{where}.rootfs.diff_ids has {len(diff_ids)} entries for {layers} layers")
    _see_runs(settings, where)
    return _platform(settings, where)


def _see_runs(settings: Mapping[str, Any], where: str) -> None:
    """Raise Corrupt where what lhub and engines read of it is of another type than the specification has."""
    runs = _mapping(settings.get("config") or {}, f"{where}.config")
    _mapping(runs.get("Labels") or {}, f"{where}.config.Labels")
    for key in ("Env", "Entrypoint", "Cmd"):
        told = runs.get(key) or []
        if not isinstance(told, list) or not all(isinstance(each, str) for each in told):
            raise Corrupt(f"{where}.config.{key} is no list of texts")
    history = settings.get("history") or []
    if not isinstance(history, list) or not all(isinstance(each, dict) for each in history):
        raise Corrupt(f"{where}.history is no list of mappings")


def _platform(document: Any, where: str) -> Platform:
    told = _mapping(document, where)
    parts = [told.get(key, "") for key in ("os", "architecture", "variant")]
    if not all(isinstance(part, str) and (not part or re.fullmatch(_PART, part)) for part in parts) or not parts[1]:
        raise Corrupt(f"{where} names no platform")
    return Platform(*parts)


def _mapping(document: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(document, dict):
        raise Corrupt(f"{where} is no mapping")
    return document


def _document(path: str, where: str) -> Mapping[str, Any]:
    return parsed(_read(path, where), where)


def _read(path: str, where: str) -> bytes:
    try:
        descriptor = open_file(path)
    except OSError as error:
        if error.errno not in GONE:
            raise
        raise Corrupt(f"{where} is not in the layout") from None
    try:
        return read_open(descriptor, where, limit=MOST_JSON)
    finally:
        os.close(descriptor)


def parsed(text: bytes, where: str) -> Mapping[str, Any]:
    """A JSON mapping; Corrupt for anything else."""
    try:
        return _mapping(json.loads(text), where)
    except (ValueError, RecursionError):
        raise Corrupt(f"{where} is no JSON") from None


def to_json(document: Mapping[str, Any]) -> bytes:
    """A document in the one form in which lhub writes it."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
