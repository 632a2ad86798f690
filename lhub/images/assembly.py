"""Assembly: an image without an engine: an Executor's files, and its requirements, as layers on a base.

Nothing of the image is run, and the same version on the same base gives the same digests, on any day and host: plain
tars (no zlib in them), root's files of one moment, sorted. The requirements lie below the code, so that a change of the
code is a small layer; one that the resource has already for the same requirements and base is taken again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from lhub.errors import BuildFailed, NotFound
from lhub.images.intake import CREATED
from lhub.images.layers import below, breathing, pieces, tarred, unpacked
from lhub.images.leaks import Secrets, leaked
from lhub.images.making import Making
from lhub.images.oci import LAYER, VERSION, Descriptor, Image, Layout, Platform, to_json
from lhub.images.requirements import PLACE, Installing, entries, is_self_contained
from lhub.images.rootfs import Base, variable
from lhub.kinds.requirements import FILE, packages

WORKSPACE = "workspace"
"""Where an Executor's files lie in its image, as the Hub's generated Dockerfile had it."""
ENTRYPOINT = ("jina", "executor", "--uses", "config.yml")
_KEY = "lhub.requirements"
"""The annotation of a layer of requirements: what it was made of."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A base as it is used: its layout, and what its manifest tells of each image."""

    name: str
    layout: Layout
    told: Sequence[Base]

    def on(self, platform: Platform) -> tuple[Image, Base]:
        """Its image for a platform, and what is in it; NotFound, BuildFailed where nothing can be assembled on it."""
        there = self.layout.images()
        image = next((each for each in there if each.platform.suits(platform)), None)
        if image is None:
            names = ", ".join(str(each.platform) for each in there)
            raise NotFound(
                f"the base {self.name} has no image for {platform}, only for {names}", hint="lhub base import adds one"
            )
        base = next((each for each in self.told if each.platform == str(image.platform)), Base(platform=str(platform)))
        return image, base


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The version that becomes an image: its id, a verified copy of its files, layouts to take layers from.

    `scratch` is a folder that goes with the build.
    """

    version: str
    folder: str
    scratch: str
    known: Callable[[], Sequence[Layout]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Who watches: `say` is told what pip says, `breathe` raises when it shall stop."""

    say: Callable[[str], None]
    breathe: Callable[[], None]


def assemble(
    making: Making, source: Source, ground: Ground, platform: Platform, variables: Mapping[str, str], watch: Watch
) -> Image:
    """The image of a version for one platform, its blobs in the layout that is being made."""
    image, base = ground.on(platform)
    secrets = Secrets(variables)
    layers: list[Descriptor] = []
    for layer in image.layers:
        watch.breathe()
        layers.append(making.take(layer, ground.layout.blob(layer.digest)))
    needed = _requirements(making, source, image, base, variables, watch)
    if needed is not None:
        layers.append(needed)
    code = secrets.passing(tarred(below(source.folder, WORKSPACE)), lambda: f"/{WORKSPACE}, the Executor's own files")
    layers.append(making.write(code, LAYER))
    settings = _settings(image, layers[len(image.layers) :], source.version, required=needed is not None)
    return making.image(settings, layers)


def _requirements(
    making: Making, source: Source, image: Image, base: Base, variables: Mapping[str, str], watch: Watch
) -> Descriptor | None:
    """The layer of the requirements; None where there are none."""
    path = f"{source.folder}/{FILE}"
    text = _text(path)
    if not _lines(text):
        return None
    if base.python is None or base.interpreter is None:
        raise BuildFailed(
            f"the base has no python3, so its requirements cannot be chosen for {image.platform}",
            hint="lhub base list tells what a base has",
        )
    key = sha256(
        to_json({"requirements": text, "base": image.config.digest, "version": _part(source, text)})
    ).hexdigest()
    if known := _known(source.known(), key):
        return _taken(making, *known, variables, watch)
    with tempfile.TemporaryDirectory(dir=source.scratch) as scratch:
        installing = Installing(
            folder=source.folder,
            base=base,
            platform=image.platform,
            variables=variables,
            say=watch.say,
            breathe=watch.breathe,
        )
        target = installing.install(scratch)
        if not os.path.isdir(target):
            return None
        stream = Secrets(variables).passing(tarred(entries(target)), lambda: f"/{PLACE}, the installed requirements")
        layer = making.write(breathing(stream, watch.breathe), LAYER)
    return replace(layer, annotations={_KEY: key})


def _taken(making: Making, layout: Layout, layer: Descriptor, variables: Mapping[str, str], watch: Watch) -> Descriptor:
    """The layer of requirements of another image, searched like one of this."""
    watch.say(f"the requirements are those of an image before: {layer.digest[:19]}")
    with unpacked(layout.blob(layer.digest), layer.kind) as plain:
        if name := Secrets(variables).found_in(breathing(pieces(plain), watch.breathe)):
            raise leaked(name, f"/{PLACE}, the installed requirements")
    return making.take(layer, layout.blob(layer.digest))


def has_jina(base: Base, folder: str) -> bool:
    """Whether the base or the requirements bring what starts an assembled image."""
    standing = {name.partition("==")[0].lower() for name in base.packages}
    return "jina" in standing | set(packages(_text(f"{folder}/{FILE}")))


def _part(source: Source, text: str) -> str:
    """What else decides about the requirements: of those that name other files, the whole version."""
    return "" if is_self_contained(text) else source.version


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _known(layouts: Sequence[Layout], key: str) -> tuple[Layout, Descriptor] | None:
    """A layer that was made of the same before, and lies there whole."""
    for layout in layouts:
        for image in layout.images():
            for layer in image.layers:
                if layer.annotations.get(_KEY) == key and os.path.isfile(layout.blob(layer.digest)):
                    return layout, layer
    return None


# the configuration


def _settings(image: Image, new: Sequence[Descriptor], version: str, *, required: bool) -> dict[str, Any]:
    """The base's configuration with what is laid over it."""
    runs = {key: value for key, value in image.runs.items() if key not in ("Cmd", "Healthcheck")}
    if required:
        runs["Env"] = _environment(image.runs)
    runs["WorkingDir"] = f"/{WORKSPACE}"
    runs["Entrypoint"] = list(ENTRYPOINT)
    runs["Labels"] = {**image.labels, VERSION: version}
    words = [*(["lhub: requirements.txt"] if required else []), "lhub: the Executor's files"]
    told = [{"created": CREATED, "created_by": word} for word in words]
    return {
        **image.platform.to_dict(),
        "created": CREATED,
        "config": runs,
        "rootfs": {"type": "layers", "diff_ids": [*image.diff_ids, *(layer.digest for layer in new)]},
        "history": [*_history(image), *told],
    }


def _environment(runs: Mapping[str, Any]) -> list[str]:
    """The base's variables, with the place of the requirements where Python and a shell look."""
    path, modules = variable(runs, "PATH") or _PATH, variable(runs, "PYTHONPATH")
    ours = {"PATH": f"{path}:/{PLACE}/bin", "PYTHONPATH": f"/{PLACE}:{modules}" if modules else f"/{PLACE}"}
    kept = [each for each in runs.get("Env") or () if str(each).partition("=")[0] not in ours]
    return [*kept, *(f"{key}={value}" for key, value in ours.items())]


def _history(image: Image) -> list[dict[str, Any]]:
    """The base's history, each entry with a time (umoci 0.4.7 panics without), one for each layer."""
    told = image.settings.get("history")
    entries = [dict(each) for each in told if isinstance(each, dict)] if isinstance(told, list) else []
    if sum(not each.get("empty_layer") for each in entries) != len(image.layers):
        entries = [{"created_by": "the base"} for _ in image.layers]
    return [{**each, "created": each.get("created") or CREATED} for each in entries]
