"""Base: an image of somebody else's on its way into the registry, where Executors' images are made on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lhub.builds import Task
from lhub.images.intake import Breathe, take
from lhub.images.layers import Readable, unpacked
from lhub.images.making import Making
from lhub.images.oci import Image, Layout
from lhub.images.rootfs import Base
from lhub.layout import BASE
from lhub.staging import Staging

ABOUT = "images"
"""The key under `about` of what a base tells of its images, a mapping for each platform."""
Fill = Callable[[Making, Breathe], tuple[Image, ...]]


class BaseImage:
    """What is pushed as a base: `fill` brings the images of a file, a folder or an engine."""

    kind = BASE
    gone = False

    def __init__(self, fill: Fill) -> None:
        self._fill = fill
        self._told: tuple[Base, ...] = ()

    @classmethod
    def of(cls, source: str) -> BaseImage:
        """That of a tar or of a folder that is an OCI layout."""
        return cls(lambda making, breathe: take(source, making, breathe))

    @property
    def about(self) -> Mapping[str, Any]:
        """What the manifest tells."""
        return {ABOUT: [base.to_dict() for base in self._told]}

    def receive(self, stage: Staging, task: Task) -> Mapping[str, object]:
        """Bring the images in, look at what is in them, and write the index last."""
        making = Making(stage)
        images = sorted(self._fill(making, task.breathe), key=lambda image: image.platform)
        self._told = tuple(Base.of(image, _layers(image, making.layout), task.breathe) for image in images)
        making.name(images)
        told = {str(image.platform): base.python for image, base in zip(images, self._told, strict=True)}
        return {"files": len(stage.files), "bytes": sum(file.size for file, _, _ in stage.files), "images": told}


def _layers(image: Image, layout: Layout) -> Iterator[Readable]:
    for layer in image.layers:
        with unpacked(layout.blob(layer.digest), layer.kind) as stream:
            yield stream


def told_of(about: Mapping[str, Any]) -> tuple[Base, ...]:
    """What the manifest of a base says of its images."""
    told = about.get(ABOUT)
    return tuple(Base.from_dict(each) for each in told if isinstance(each, dict)) if isinstance(told, list) else ()
