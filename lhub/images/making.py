"""Making: a layout on its way into the registry, blobs by their digests first, then the documents that name them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lhub.errors import Corrupt
from lhub.images.layers import read
from lhub.images.oci import (
    BUILDER,
    CONFIG,
    IMAGE,
    INDEX,
    LAYOUT_TEXT,
    MADE_OF,
    MANIFEST,
    NAME,
    Descriptor,
    Image,
    Layout,
    hex_of,
    to_json,
)
from lhub.staging import Staging
from lhub.tree import File

BLOBS = "blobs/sha256"
Known = dict[str, tuple[Descriptor, str]]
"""Layers that lie elsewhere, and where, by the digest of what they unpack to."""


class Making:
    """A layout that is made in a staging folder; nothing in it is believed that was not hashed on its way in."""

    def __init__(self, stage: Staging) -> None:
        self.stage = stage
        self.kept: set[str] = set()
        self.layout = Layout(stage.folder.files)

    def write(self, pieces: Iterator[bytes], kind: str) -> Descriptor:
        """A new blob, piece by piece."""
        file = self.stage.write_blob(pieces, BLOBS)
        return Descriptor(kind=kind, digest=f"sha256:{os.path.basename(file.path)}", size=file.size)

    def json(self, document: Mapping[str, Any], kind: str) -> Descriptor:
        """A new document."""
        return self.write(iter((to_json(document),)), kind)

    def take(self, blob: Descriptor, path: str) -> Descriptor:
        """A blob that lies in another layout: a second name for it where the disk has such and it is one's own."""
        digest = hex_of(blob.digest)
        if not self.stage.link_blob(File(path=f"{BLOBS}/{digest}", digest=digest, size=blob.size), path):
            copied = self.write(read(path), blob.kind)
            if copied.digest != blob.digest:
                raise Corrupt(f"the blob {blob.digest} is not what its digest says")
        return blob

    def image(self, settings: Mapping[str, Any], layers: Sequence[Descriptor]) -> Image:
        """An image of layers that are here already, with its configuration and its manifest."""
        return self.manifest(self.json(settings, CONFIG), layers)

    def manifest(self, config: Descriptor, layers: Sequence[Descriptor]) -> Image:
        """The same of a configuration that is here."""
        told = [replace(layer, platform=None).to_dict() for layer in layers]
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config.to_dict(), "layers": told}
        return self.layout.image(self.json(document, MANIFEST))

    def on(self, image: Image, known: Known) -> Image:
        """The same image, its layers that are known taken from where they lie: a base is stored once."""
        layers = []
        for layer, unpacked in zip(image.layers, image.diff_ids, strict=True):
            if unpacked in known:
                self.drop(layer.digest)
                layers.append(self.take(*known[unpacked]))
            else:
                layers.append(layer)
        if layers == list(image.layers):
            return image
        self.drop(image.manifest.digest)
        return self.manifest(image.config, layers)

    def keep(self, image: Image) -> Image:
        """An image that will be in the layout: none of its blobs is dropped from here on."""
        self.kept |= {blob.digest for blob in image.blobs}
        return image

    def drop(self, *digests: str) -> None:
        """Leave out blobs that no image names."""
        self.stage.leave_out({f"{BLOBS}/{hex_of(digest)}" for digest in digests if digest not in self.kept})

    def name(self, images: Sequence[Image], *, made_of: str | None = None, builder: str = "") -> None:
        """Write what makes a layout of it: oci-layout, and index.json last, with how it was made."""
        told = [(image.platform, replace(image.manifest, platform=image.platform, annotations={})) for image in images]
        told.sort(key=lambda each: each[0])
        if len(told) == 1:
            listed = [_named(told[0][1], IMAGE)]
        else:
            nested = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [each.to_dict() for _, each in told]}
            single = [_named(each, f"{IMAGE}-{platform.dashed}") for platform, each in told]
            listed = [_named(self.json(nested, INDEX), IMAGE), *single]
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [each.to_dict() for each in listed]}
        annotations = {"annotations": {MADE_OF: made_of, BUILDER: builder}} if made_of else {}
        for path, text in (("oci-layout", LAYOUT_TEXT), ("index.json", to_json(index | annotations))):
            self.stage.write(iter((text,)), lambda path=path: path, lambda text=text: text)  # type: ignore[misc]


def _named(descriptor: Descriptor, name: str) -> Descriptor:
    return replace(descriptor, annotations={NAME: name})
