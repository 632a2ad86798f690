"""Rootfs: what a base image has in it, told from its layers: which Python, which libc, which packages.

An image is assembled without being run, so pip must be told for what it chooses; nothing of the base is executed.

>>> Rootfs().python is None
True
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lhub.images.layers import Readable, members
from lhub.images.oci import Image

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PYTHON = re.compile(r"(.*)/python(3(?:\.\d+)?)")
_PACKAGE = re.compile(r".*/([A-Za-z0-9._-]+)-([A-Za-z0-9._+!]+)\.(?:dist|egg)-info(?:/(?:METADATA|PKG-INFO))?")
_GLIBC, _MUSL = re.compile(rb"GNU C Library [^\0]*?version (2\.\d+)"), re.compile(r".*/ld-musl-[^/]+\.so\.1")
_LIBC_BYTES = 8 << 20
_PINNED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}==[A-Za-z0-9][A-Za-z0-9._+!]{0,63}")
_SAID = {
    "python": re.compile(r"3\.\d{1,2}"),
    "interpreter": re.compile(r"(?:/[A-Za-z0-9._+-]+){1,16}"),
    "libc": re.compile(r"(?:glibc|musl) \d\.\d{1,2}"),
}
_MOST_PACKAGES = 2000
"""Packages that a manifest tells of; of more none, since it has bounds, and pip chooses without them."""
_HIDDEN, _ALL_HIDDEN = ".wh.", ".wh..wh..opq"
_ELF = {0x3E: "amd64", 0xB7: "arm64", 0x28: "arm", 0x03: "386", 0xF3: "riscv64", 0x15: "ppc64le", 0x16: "s390x"}


@dataclass(slots=True, kw_only=True)
class Rootfs:
    """What was seen so far: interpreters (path to the name of a link, or nothing), libc, packages, architecture."""

    pythons: dict[str, str] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    libc: str | None = None
    architecture: str | None = None
    breathe: Callable[[], None] = lambda: None

    def add(self, layer: Readable) -> None:
        """Lay one more layer over it."""
        for info, content in members(layer):
            self.breathe()
            path = posixpath.normpath("/" + info.name)
            folder, name = posixpath.split(path)
            if name.startswith(_HIDDEN):
                self._hide(folder if name == _ALL_HIDDEN else f"{folder}/{name.removeprefix(_HIDDEN)}")
                continue
            if _PYTHON.fullmatch(path):
                self.pythons[path] = info.linkname if info.issym() or info.islnk() else ""
            if found := _PACKAGE.fullmatch(path):
                self.packages[path.partition("-info")[0]] = "==".join(found.groups())
            if info.isreg():
                self._look(path, name, content)

    def _look(self, path: str, name: str, content: Callable[[int], bytes]) -> None:
        if name == "libc.so.6" or re.fullmatch(r"libc-2\.\d+\.so", name):
            found = _GLIBC.search(content(_LIBC_BYTES))
            self.libc = f"glibc {found[1].decode()}" if found else self.libc
        elif _MUSL.fullmatch(path):
            self.libc = "musl 1.2"
        elif self.architecture is None and ("/bin/" in path or "/sbin/" in path):
            self.architecture = _architecture(content(20))

    def _hide(self, path: str) -> None:
        for known in (self.pythons, self.packages):
            for each in [each for each in known if each == path or each.startswith(f"{path}/")]:
                del known[each]

    def interpreter(self, path: str) -> tuple[str, str] | None:
        """The first `python3` of a search path, and its version, by the names that stand beside it."""
        for folder in path.split(":"):
            for place in dict.fromkeys((folder, f"/usr{folder}")):  # /bin may be a link to /usr/bin
                at = f"{place.rstrip('/')}/python3"
                if at in self.pythons and (version := self._version(at)):
                    return f"{folder.rstrip('/')}/python3", version
        return None

    def _version(self, path: str) -> str | None:
        """By what the link says, else by the only other name in its folder."""
        folder = posixpath.dirname(path)
        said = re.search(r"python(3\.\d+)$", self.pythons[path])
        if said:
            return said[1]
        beside = {re.search(r"python(3\.\d+)$", each) for each in self.pythons if posixpath.dirname(each) == folder}
        versions = {found[1] for found in beside if found}
        return versions.pop() if len(versions) == 1 else None

    @property
    def python(self) -> tuple[str, str] | None:
        """The interpreter of the usual search path."""
        return self.interpreter(_PATH)


def _architecture(head: bytes) -> str | None:
    """For what a program was compiled (ELF, `e_machine`)."""
    if head[:4] != b"\x7fELF" or len(head) < 20:
        return None
    return _ELF.get(int.from_bytes(head[18:20], "little" if head[5] == 1 else "big"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What the manifest of a base tells of its image for one platform; no `python`: nothing is assembled on it."""

    platform: str
    python: str | None = None
    interpreter: str | None = None
    libc: str | None = None
    packages: tuple[str, ...] = ()

    @classmethod
    def of(cls, image: Image, layers: Iterable[Readable], breathe: Callable[[], None] = lambda: None) -> Base:
        """Look at the layers of an image, from the lowest on."""
        seen = Rootfs(breathe=breathe)
        for layer in layers:
            seen.add(layer)
        found = seen.interpreter(variable(image.runs, "PATH") or _PATH)
        interpreter, python = found or (None, None)
        packages = tuple(sorted(set(seen.packages.values())))
        return cls(
            platform=str(image.platform),
            python=python,
            interpreter=interpreter,
            libc=seen.libc,
            packages=packages if len(packages) <= _MOST_PACKAGES else (),
        )

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Base:
        """As a manifest has it; what is missing, or is no such thing, is not known: pip is told of it."""
        texts = {key: document.get(key) for key in _SAID}
        told = {key: value for key, value in texts.items() if isinstance(value, str) and _SAID[key].fullmatch(value)}
        packages = document.get("packages")
        given = packages if isinstance(packages, list) else []
        named = tuple(each for each in given if isinstance(each, str) and _PINNED.fullmatch(each))
        return cls(platform=str(document.get("platform", "")), packages=named, **told)

    def to_dict(self) -> dict[str, Any]:
        """As the manifest has it."""
        told = {key: getattr(self, key) for key in ("platform", "python", "interpreter", "libc")}
        said: dict[str, Any] = {key: value for key, value in told.items() if value}
        return said | ({"packages": list(self.packages)} if self.packages else {})


def variable(runs: Mapping[str, Any], name: str) -> str | None:
    """A variable of an image's environment."""
    environment = runs.get("Env")
    for each in environment if isinstance(environment, list) else ():
        key, _, value = str(each).partition("=")
        if key == name:
            return value
    return None
