"""Engines: docker, podman and buildah by their command lines, each only if it answers.

A client without its daemon is no engine (`docker version` fails), so each is asked before it is chosen. What an engine
has is asked for by name and by content (the digests of its layers), not by its id, which newer docker calls otherwise.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from lhub.errors import BuildFailed, Corrupt, ToolMissing
from lhub.images.children import Hearing, answer, feed, run, said, said_by, started
from lhub.images.dockerfile import LOCAL_HOST, SECRET
from lhub.images.intake import of_archive, of_folder
from lhub.images.making import Making
from lhub.images.oci import VERSION, Image, Platform

LOCAL = LOCAL_HOST
Say = Callable[[str], None]
Breathe = Callable[[], None]
_PROBES = {
    "docker": ("version", "--format", "{{.Server.Version}}"),
    "podman": ("info", "--format", "{{.Version.Version}}"),
    "buildah": ("info",),
}
BUILDERS = ("docker", "podman", "buildah")
"""In the order in which they are tried."""
RUNNERS = ("docker", "podman")
"""Those that run an image."""
_PROBE_PATIENCE = 20.0
_CHATTER = re.compile(
    r"\s*(?:\[notice\]|subprocess exited|DEPRECATED|Install the buildx|https://docs|Sending build|WARNING)"
)
"""What builders say that is no reason of a failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What an engine is asked to build: a folder, the Dockerfile, the platform (None: its own), the image's name.

    `secrets` is what the RUN lines read by their mount; None: none has one.
    """

    context: str
    dockerfile: str
    name: str
    version: str
    platform: Platform | None = None
    no_cache: bool = False
    secrets: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One engine that answers."""

    name: str
    version: str

    def mounts_secrets(self) -> bool:
        """Whether its builder knows secret mounts: docker's with BuildKit, which newer clients have as a plugin."""
        if self.name != "docker":
            return True
        client = answer(["docker", "version", "--format", "{{.Client.Version}}"], patience=_PROBE_PATIENCE) or ""
        major = re.match(r"\d+", client)
        if major and int(major[0]) < 23:
            return True
        return answer(["docker", "buildx", "version"], patience=_PROBE_PATIENCE) is not None

    # builds

    def build(self, asked: Build, say: Say, breathe: Breathe) -> None:
        """Build an image under its name; BuildFailed with the last words of the builder."""
        words = ["build"] if self.name != "buildah" else ["bud", "--layers", "--format", "oci"]
        words += ["-f", asked.dockerfile, "-t", asked.name, "--label", f"{VERSION}={asked.version}"]
        words += ["--network", "host", "--force-rm"]  # a working container goes with a step that fails too
        words += ["--platform", str(asked.platform)] if asked.platform else []
        words += ["--no-cache"] if asked.no_cache else []
        with _secret(asked.secrets) as (place, keep):
            words += ["--secret", f"id={SECRET},src={place}"] if place else []
            environment = {**os.environ, **({"DOCKER_BUILDKIT": "1"} if place and self.name == "docker" else {})}
            last: list[str] = []

            def hear(line: str) -> None:
                if line.strip() and not _CHATTER.match(line):
                    last[:] = [*last[-5:], line.strip()]
                say(line)

            code = run(
                [self.name, *words, asked.context], environment=environment, say=hear, breathe=breathe, keep=keep
            )
        if code:
            faults = [line for line in last if re.search("(?i)error|fail|not found|denied|refused", line)]
            words_of = "; ".join(faults or last) or "it said nothing"
            raise BuildFailed(f"{self.name} could not build the image: {words_of}", hint=_hint(words_of))

    def bring(self, name: str, making: Making, scratch: str, breathe: Breathe) -> Image:
        """The image of this name, its blobs in the layout that is being made; `scratch` is a place for a new folder."""
        if self.name == "buildah":
            self._must(["push", "--quiet", name, f"oci:{scratch}:image"], breathe)
            return of_folder(scratch, making, breathe)[0]
        words = ["save", name] if self.name == "docker" else ["save", "--quiet", "--format", "docker-archive", name]
        with said_by() as errors, started([self.name, *words], stderr=errors.fileno()) as child:
            fault = None
            try:
                images = of_archive(Hearing(child, breathe), making, breathe)
            except Corrupt as error:
                fault = error
            if fault is None and child.wait() == 0:
                return images[0]
            words_of = said(errors) or fault
        raise BuildFailed(
            f"{self.name} could not give {name}: {words_of}", hint=f"{self.name} images tells what it has"
        )

    # images

    def has(self, image: Image, name: str) -> bool:
        """Whether an image of this name and content is loaded."""
        told = self._inspect(name)
        if told is None:
            return False
        layers, labels = _content(told)
        return layers == image.diff_ids and labels.get(VERSION) == image.labels.get(VERSION)

    def _inspect(self, name: str) -> Mapping[str, Any] | None:
        words = ["inspect", "--type", "image", name] if self.name == "buildah" else ["image", "inspect", name]
        said = answer([self.name, *words], patience=60)
        with suppress(ValueError):
            told = json.loads(said or "")
            found = told[0] if isinstance(told, list) and told else told
            return found if isinstance(found, dict) and found else None
        return None

    def load(self, pieces: Iterator[bytes], breathe: Breathe) -> None:
        """Load a tar that both know; whatever `pieces` raises ends it, and nothing is loaded."""
        with started([self.name, "load", "--quiet"], stdin=subprocess.PIPE) as child:
            said = "; ".join(feed(child, pieces, breathe))
            code = child.wait()
        if code:
            hint = "docker info, or podman info, tells how it is"
            raise BuildFailed(f"{self.name} could not load the image: {said or 'it said nothing'}", hint=hint)

    def pull_layout(self, folder: str, reference: str, name: str, breathe: Breathe) -> None:
        """Let buildah know an image of a layout by a name."""
        with _named_plainly(folder) as link:
            image = self._must(["pull", "--quiet", f"oci:{link}:{reference}"], breathe)[-1]
            self._must(["tag", image, name], breathe)
            self.remove(f"localhost{link}")

    def remove(self, name: str, *, cache: bool = True) -> None:
        """Forget an image by its name, one that is not there too; docker keeps its layers for later unless `cache`."""
        words = ["rmi"] if self.name == "buildah" else ["image", "rm"]
        words += ["--no-prune"] if self.name == "docker" and not cache else []
        answer([self.name, *words, name], patience=60)

    def _must(self, words: Sequence[str], breathe: Breathe) -> list[str]:
        """What it says, line by line; BuildFailed where it fails."""
        said: list[str] = []
        if run([self.name, *words], say=said.append, breathe=breathe):
            raise BuildFailed(f"{self.name} {words[0]} failed: {'; '.join(said[-3:]) or 'it said nothing'}")
        return said


def _content(told: Mapping[str, Any]) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """What an engine says of an image: its layers as they are unpacked, and its labels."""
    if isinstance(settings := told.get("OCIv1"), dict):  # buildah shows the image's own configuration
        layers, config = (settings.get("rootfs") or {}).get("diff_ids"), settings.get("config")
    else:
        layers, config = (told.get("RootFS") or {}).get("Layers"), told.get("Config")
    return tuple(layers or ()), (config or {}).get("Labels") or {}


def _hint(said: str) -> str:
    if re.search(r"pull access denied|did not resolve|no such host|i/o timeout|unable to.*resolve|short-name", said):
        return (
            "a FROM line names what is not here: lhub base import keeps a base, FROM lhub.local/alice/X:latest uses it"
        )
    return "lhub status --replay --verbose has all it said"


def find(names: Sequence[str], *, secret: bool = False) -> Engine | None:
    """The first of these that answers, and mounts secrets if there is one."""
    for name in names:
        engine = asked(name)
        if engine is not None and (not secret or engine.mounts_secrets()):
            return engine
    return None


def asked(name: str) -> Engine | None:
    """An engine, if it answers."""
    if shutil.which(name) is None:
        return None
    said = answer([name, *_PROBES[name]], patience=_PROBE_PATIENCE)
    if said is None:
        return None
    first = said.strip().splitlines()
    return Engine(name=name, version=first[0] if name != "buildah" and first else "")


def none_answers(names: Sequence[str]) -> str:
    """What was found where none of these answers, as a part of a sentence."""
    found = []
    for name in names:
        path = shutil.which(name)
        if path is None:
            continue
        if asked(name):
            found.append(f"{path}, whose builder mounts no secrets, as --build-env needs (docker buildx is not there)")
        elif name == "docker":
            host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
            found.append(f"the docker client {path}, whose daemon does not answer at {host}")
        else:
            found.append(f"{path}, which does not answer ({name} info tells why)")
    return "; ".join(found) or "none of them"


def how_to_install(names: Sequence[str]) -> str:
    """What to type on this system to have one of these engines (os-release(5))."""
    told = {}
    with suppress(OSError), open("/etc/os-release", encoding="utf-8") as file:
        told = dict(line.rstrip().replace('"', "").split("=", 1) for line in file if "=" in line)
    like = {told.get("ID", ""), *told.get("ID_LIKE", "").split()}
    wanted = "podman" if "podman" in names else names[0]
    if os.uname().sysname == "Darwin":
        return "brew install podman && podman machine init --now, or Docker Desktop"
    for family, command in _INSTALL.items():
        if family in like:
            return f"{command} {'docker.io' if (wanted, family) == ('docker', 'debian') else wanted}"
    return f"install {wanted}"


_INSTALL = {
    "debian": "sudo apt-get install",
    "fedora": "sudo dnf install",
    "rhel": "sudo dnf install",
    "suse": "sudo zypper install",
    "arch": "sudo pacman -S",
    "alpine": "sudo apk add",
}


def missing(names: Sequence[str], what: str, otherwise: str) -> ToolMissing:
    """The refusal where nothing answers."""
    return ToolMissing(f"{what}; found: {none_answers(names)}", hint=f"{how_to_install(names)}; {otherwise}")


@contextmanager
def _secret(content: bytes | None) -> Iterator[tuple[str | None, tuple[int, ...]]]:
    """A file for a secret mount, in memory alone, and the descriptors that its reader needs."""
    if content is None:
        yield None, ()
        return
    descriptor = os.memfd_create(SECRET) if hasattr(os, "memfd_create") else _unnamed()
    try:
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        place = f"/proc/{os.getpid()}/fd/{descriptor}" if os.path.isdir("/proc/self/fd") else f"/dev/fd/{descriptor}"
        yield place, (descriptor,)
    finally:
        os.close(descriptor)


@contextmanager
def _named_plainly(folder: str) -> Iterator[str]:
    """Another path of a folder: buildah calls what it pulls after the path, which then must be a name of an image."""
    import tempfile  # for buildah only

    place = next(filter(_PLAIN.fullmatch, (tempfile.gettempdir(), "/var/tmp")), "/tmp")  # noqa: S108 (a link of chance)
    link = f"{place}/lhub{os.urandom(8).hex()}"
    os.symlink(folder, link)
    try:
        yield link
    finally:
        os.unlink(link)


_PLAIN = re.compile(r"(?:/[a-z0-9]+(?:[._-][a-z0-9]+)*)+")


def _unnamed() -> int:
    """A file without a name, where there are none in memory."""
    import tempfile  # there only

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def local_name(namespace: str | None, resource: str, tag: str) -> str:
    """How an image is called in an engine: `lhub.local/alice/x:v1`, in the letters that names of images have."""
    parts = [_part(part) for part in (namespace, resource) if part is not None]
    return f"{LOCAL}/{'/'.join(parts)}:{tag}"


def _part(name: str) -> str:
    """A name in lower case; one that cannot be a part of an image's name is told apart by its digest."""
    from hashlib import sha256  # for the few

    low = name.lower()
    if re.fullmatch(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", low) and len(low) <= 100:
        return low
    plain = re.sub(r"[^a-z0-9]+", "-", low).strip("-")[:80] or "x"
    return f"{plain}-{sha256(low.encode()).hexdigest()[:12]}"
