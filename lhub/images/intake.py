"""Intake: images as others keep them become layouts of ours: OCI layouts, `docker save`, the tar of a root folder.

Nothing is believed: every blob is hashed on its way in, every layer is unpacked once to see that it is what the
configuration says, and a configuration that is taken over keeps its bytes, so that an engine calls the image as before.
"""

from __future__ import annotations

import io
import json
import lzma
import os
import posixpath
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any, cast

from lhub.errors import Corrupt, NotFound, UsageError
from lhub.images.layers import Header, breathing, pieces, read, unpacked
from lhub.images.making import Making
from lhub.images.oci import (
    CONFIG,
    LAYER,
    MANIFEST,
    MOST_JSON,
    NAME,
    OURS,
    ZIPPED,
    Descriptor,
    Image,
    Layout,
    Platform,
    here,
    hex_of,
    parsed,
)
from lhub.images.rootfs import Rootfs
from lhub.opening import read_small

CREATED = "1980-01-01T00:00:00Z"
"""When everything was made that lhub assembles: the same content has the same digest at any time."""
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ROOTS = frozenset({"bin", "usr", "etc", "lib", "sbin", "var", "opt", "root", "dev", "proc", "home", "tmp"})
_MOST_MEMBERS = 100_000
_END = bytes(1024)
"""What a tar ends with (POSIX.1, ustar)."""
_BROKEN = (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error, ValueError, OverflowError)

Breathe = Callable[[], None]


def take(source: str, making: Making, breathe: Breathe = lambda: None) -> tuple[Image, ...]:
    """The images of a file or folder, in the layout that is being made; NotFound, or UsageError with what is wrong."""
    if not os.path.exists(source):
        raise NotFound(
            f"{source} is not here", hint="a tar of an image or of a root folder, or a folder that is an OCI layout"
        )
    try:
        if os.path.isdir(source):
            return of_folder(source, making, breathe)
        with open(source, "rb") as file:
            return of_file(file, making, breathe)
    except Corrupt as error:
        raise UsageError(f"{source} cannot be imported: {error}", hint=error.hint) from None


def of_folder(folder: str, making: Making, breathe: Breathe = lambda: None) -> tuple[Image, ...]:
    """The images of an OCI layout."""
    if not os.path.isfile(f"{folder}/oci-layout"):
        raise Corrupt(
            "this folder is no OCI layout, it has no oci-layout", hint="tar -C FOLDER -c . makes a tar of a root folder"
        )
    layout = Layout(folder)

    def bring(blob: Descriptor) -> None:
        breathe()
        copied = making.write(breathing(read(layout.blob(blob.digest)), breathe), blob.kind)
        if copied.digest != blob.digest:
            raise Corrupt(f"the blob {blob.digest} is not what its digest says")

    return _taken_over(layout, making, bring)


def of_file(file: IO[bytes], making: Making, breathe: Breathe = lambda: None) -> tuple[Image, ...]:
    """The images of a tar, compressed or not."""
    if not _is_archive(file):
        file.seek(0)
        return (_of_rootfs(file, making, breathe),)
    file.seek(0)
    return of_archive(file, making, breathe)


def of_archive(stream: IO[bytes] | io.RawIOBase, making: Making, breathe: Breathe = lambda: None) -> tuple[Image, ...]:
    """The images of what `docker save` or `podman save` writes, read once; what is no image is left out again."""
    archive = _Archive.read(stream, making, breathe)
    images = archive.oci() if archive.whole() else archive.docker()
    kept = {blob.digest for image in images for blob in image.blobs}
    making.drop(*(archive.digests - kept))
    return images


# layouts


def _taken_over(layout: Layout, making: Making, bring: Callable[[Descriptor], None]) -> tuple[Image, ...]:
    """The images of a layout, their blobs brought; one for each platform, else nobody can tell which is meant."""
    images = layout.images()
    if not images:
        raise Corrupt("it holds no image")
    named = [image.platform for image in images]
    if double := next((platform for platform in named if named.count(platform) > 1), None):
        names = ", ".join(sorted(_names(layout)))
        raise Corrupt(
            f"it holds several images for {double}" + (f" ({names})" if names else ""),
            hint="skopeo copy oci:FOLDER:NAME oci:NEW:NAME takes one out",
        )
    return tuple(_taken(image, layout, making, bring) for image in images)


def _names(layout: Layout) -> set[str]:
    listed = layout.index().get("manifests")
    told = (each.get("annotations") for each in listed or () if isinstance(each, dict))
    return {str(each[NAME]) for each in told if isinstance(each, dict) and NAME in each}


def _taken(image: Image, layout: Layout, making: Making, bring: Callable[[Descriptor], None]) -> Image:
    for blob in dict.fromkeys(hex_of(layer.digest) for layer in image.layers):
        bring(next(layer for layer in image.layers if hex_of(layer.digest) == blob))
    return _rewritten(image, layout.text(image.config), layout.text(image.manifest), making)


def _rewritten(image: Image, config: bytes, manifest: bytes, making: Making) -> Image:
    """The image with the configuration's own bytes; the manifest too, where it is one of the specification's."""
    making.write(iter((config,)), CONFIG)
    kinds = {str(each.get("mediaType")) for each in _told(manifest)}
    if all(OURS.get(kind) == kind for kind in kinds):
        written = making.write(iter((manifest,)), MANIFEST)
        taken = making.layout.image(written)
    else:
        taken = _composed(config, image.layers, making)
    see_layers(taken, making.layout)
    return taken


def _told(manifest: bytes) -> list[dict[str, Any]]:
    document = parsed(manifest, "the manifest")
    return [{"mediaType": document.get("mediaType", MANIFEST)}, document["config"], *document["layers"]]


def _composed(config: bytes, layers: tuple[Descriptor, ...], making: Making) -> Image:
    """A manifest of ours for a configuration of others."""
    plain = [Descriptor(kind=layer.kind, digest=layer.digest, size=layer.size) for layer in layers]
    return making.manifest(making.write(iter((config,)), CONFIG), plain)


def see_layers(image: Image, layout: Layout) -> None:
    """Raise Corrupt unless each layer, unpacked, is what the configuration says."""
    from hashlib import sha256  # as in oci

    for layer, wanted in zip(image.layers, image.diff_ids, strict=True):
        if layer.kind == LAYER and layer.digest == wanted:
            continue
        hasher = sha256()
        with unpacked(layout.blob(layer.digest), layer.kind) as stream:
            for piece in pieces(stream):
                hasher.update(piece)
        if f"sha256:{hasher.hexdigest()}" != wanted:
            raise Corrupt(f"the layer {layer.digest} is not what its configuration says")


# archives


@dataclass(kw_only=True)
class _Archive:
    """The members of an archive by their names, each a blob by now."""

    making: Making
    files: dict[str, Descriptor] = field(default_factory=dict)
    digests: set[str] = field(default_factory=set)
    links: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, stream: IO[bytes] | io.RawIOBase, making: Making, breathe: Breathe) -> _Archive:
        """Bring every file in."""
        archive = cls(making=making)
        try:
            with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|*", tarinfo=Header) as tar:
                for number, info in enumerate(tar):
                    tar.members = []  # type: ignore[attr-defined]  # it would keep them all
                    name = posixpath.normpath(info.name)
                    if number > _MOST_MEMBERS:
                        raise Corrupt(f"it has more than {_MOST_MEMBERS} files")
                    if info.issym() or info.islnk():
                        folder = posixpath.dirname(name) if info.issym() else ""
                        archive.links[name] = posixpath.normpath(posixpath.join(folder, info.linkname))
                    elif info.isreg() and (file := tar.extractfile(info)):
                        archive.files[name] = making.write(breathing(pieces(file), breathe), "")
                        archive.digests.add(archive.files[name].digest)
        except OSError as error:
            if error.errno is not None:  # of the disk that is written to, or of the file that is read
                raise
            raise Corrupt(f"it is no whole tar: {error}") from None
        except _BROKEN as error:
            raise Corrupt(f"it is no whole tar: {error}") from None
        return archive

    def whole(self) -> bool:
        """Whether it is an OCI layout of which nothing is missing."""
        return {"oci-layout", "index.json"} <= set(self.files)

    def oci(self) -> tuple[Image, ...]:
        """The images by index.json."""
        for name, file in self.files.items():
            folder, digest = posixpath.split(name)
            if folder == "blobs/sha256" and hex_of(file.digest) != digest:
                raise Corrupt(f"{name} is not what its name says")
        index = self._text("index.json")
        layout = _Arrived(self.making.layout.folder, parsed(index, "index.json"))
        return _taken_over(layout, self.making, lambda blob: None)

    def docker(self) -> tuple[Image, ...]:
        """The image by manifest.json."""
        try:
            listed = json.loads(self._text("manifest.json"))
        except (ValueError, RecursionError):
            raise Corrupt("manifest.json is no JSON") from None
        told = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        if len(told) != 1:
            tags = (each.get("RepoTags") for each in told)
            names = ", ".join(str(name) for each in tags for name in (each if isinstance(each, list) else ()))
            raise Corrupt(f"it holds {len(told)} images {f'({names[:200]})' if names else ''}, not one")
        config = self._text(str(told[0].get("Config")))
        layers = told[0].get("Layers")
        if not isinstance(layers, list):
            raise Corrupt("manifest.json names no layers")
        image = _composed(config, tuple(self._layer(str(name)) for name in layers), self.making)
        see_layers(image, self.making.layout)
        return (image,)

    def _layer(self, name: str) -> Descriptor:
        file = self._found(name)
        with open(self.making.layout.blob(file.digest), "rb") as blob:
            kind = ZIPPED if blob.read(2) == b"\x1f\x8b" else LAYER
        return Descriptor(kind=kind, digest=file.digest, size=file.size)

    def _found(self, name: str) -> Descriptor:
        name = posixpath.normpath(name)
        for _ in range(8):
            if name in self.files:
                return self.files[name]
            name = self.links.get(name, "")
        raise Corrupt("it is not whole: a file is missing that its manifest names")

    def _text(self, name: str) -> bytes:
        return read_small(self.making.layout.blob(self._found(name).digest), limit=MOST_JSON)


class _Arrived(Layout):
    """A layout whose blobs have been brought, and whose index is known."""

    def __init__(self, folder: str, index: Any) -> None:
        super().__init__(folder)
        self._index = index

    def index(self) -> Any:
        """What its index.json was."""
        return self._index


def _is_archive(file: IO[bytes]) -> bool:
    """Whether a tar is one of an image, by the first names in it that tell; Corrupt for what is no tar."""
    try:
        with tarfile.open(fileobj=file, mode="r|*", tarinfo=Header) as tar:
            for info in tar:
                name = posixpath.normpath(info.name).lstrip("/")
                if name in ("manifest.json", "oci-layout", "index.json", "repositories") or name.startswith("blobs/"):
                    return True
                if name.partition("/")[0] in _ROOTS:
                    return False
                tar.members = []  # type: ignore[attr-defined]  # it would keep them all
    except _BROKEN as error:
        raise Corrupt(f"it is no tar: {error}") from None
    raise Corrupt(
        "this tar holds neither an image nor a root folder", hint="a root folder has usr, bin or etc at its top"
    )


# root folders


def _of_rootfs(file: IO[bytes], making: Making, breathe: Breathe) -> Image:
    """An image of one layer: the tar as it is unpacked."""
    layer = making.write(breathing(_plain(file), breathe), LAYER)
    _see_end(making.layout.blob(layer.digest))
    seen = Rootfs(breathe=breathe)
    with unpacked(making.layout.blob(layer.digest), LAYER) as stream:
        seen.add(stream)
    platform = Platform("linux", seen.architecture) if seen.architecture else here()
    settings = {
        **platform.to_dict(),
        "created": CREATED,
        "config": {"Env": [_PATH], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
        "history": [{"created": CREATED, "created_by": "lhub base import"}],
    }
    return making.image(settings, [layer])


def _see_end(path: str) -> None:
    """Raise Corrupt for a tar that was cut short: tarfile takes the end of a file for the end of a tar."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(_END)))
        if size % 512 or file.read() != _END:
            raise Corrupt("it is no whole tar: it ends too early")


def _plain(file: IO[bytes]) -> Iterator[bytes]:
    """A tar, unpacked where it is compressed."""
    import bz2
    import gzip

    head = file.read(6)
    file.seek(0)
    ways: dict[bytes, Any] = {b"\x1f\x8b": gzip.GzipFile, b"BZh": bz2.BZ2File, b"\xfd7zXZ\0": lzma.LZMAFile}
    opener = next((way for magic, way in ways.items() if head.startswith(magic)), None)
    if opener is None:
        yield from pieces(file)
        return
    with opener(fileobj=file) if opener is gzip.GzipFile else opener(file) as plain:
        yield from pieces(plain)
