"""Tars: one image as a stream that both docker and podman load: an OCI layout and docker's own manifest in one.

A tar of a plain layout is refused by docker before 25 (`blobs/json: no such file`), and named wrong by podman when it
is a folder (measured). The blobs are verified on their way; what makes an image of them comes last, so that a stream
which breaks off loads nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from hashlib import sha256

from lhub.errors import Corrupt
from lhub.images.layers import Entry, breathing, read, tarred
from lhub.images.oci import INDEX, LAYOUT_TEXT, NAME, Descriptor, Image, Layout, hex_of, to_json


def loadable(image: Image, layout: Layout, name: str, breathe: Callable[[], None] = lambda: None) -> Iterator[bytes]:
    """The tar of an image under a name with a tag; Corrupt where a blob is not what its digest says."""
    return tarred(_entries(image, layout, name, breathe))


def _entries(image: Image, layout: Layout, name: str, breathe: Callable[[], None]) -> Iterator[Entry]:
    yield Entry(path="blobs", folder=True)
    yield Entry(path="blobs/sha256", folder=True)
    for blob in {each.digest: each for each in image.blobs}.values():
        yield Entry(
            path=_path(blob), size=blob.size, pieces=partial(_verified, layout.blob(blob.digest), blob, breathe)
        )
    described = replace(
        image.manifest, platform=image.platform, annotations={NAME: name, "io.containerd.image.name": name}
    )
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [described.to_dict()]}
    docker = [{"Config": _path(image.config), "RepoTags": [name], "Layers": [_path(layer) for layer in image.layers]}]
    for path, text in (
        ("index.json", to_json(index)),
        ("oci-layout", LAYOUT_TEXT),
        ("manifest.json", json.dumps(docker).encode()),
    ):
        yield Entry(path=path, size=len(text), pieces=partial(iter, (text,)))


def _path(blob: Descriptor) -> str:
    return f"blobs/sha256/{hex_of(blob.digest)}"


def _verified(path: str, blob: Descriptor, breathe: Callable[[], None]) -> Iterator[bytes]:
    hasher = sha256()
    for piece in breathing(read(path), breathe):
        hasher.update(piece)
        yield piece
    if f"sha256:{hasher.hexdigest()}" != blob.digest:
        raise Corrupt(
            f"the layer {blob.digest[:19]} of its image is damaged",
            hint="lhub verify tells more; push it again with --no-cache",
        )
