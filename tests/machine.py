"""A root file system for tests, made of this machine's own Debian packages: a base image without any download.

What a program in a container asks for is installed here already: a shell, the commands of coreutils, Python 3.11 and
its pip. `rootfs` takes their files as dpkg lists them and writes them to one plain tar, which `docker import` and its
like read. The system is only read; two runs on one machine give the same bytes.

Run by hand: python -m tests.machine OUT.tar

>>> from tempfile import TemporaryDirectory
>>> with TemporaryDirectory() as folder:
...     with tarfile.open(rootfs(Path(folder, "base.tar"))) as tar:
...         tar.getmember("usr/bin/python3").linkname
'python3.11'
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_PYTHON = "/usr/bin/python3.11"
_WANTED = (
    "base-files",
    "coreutils",
    "dash",
    "libc-bin",
    "libpython3.11-stdlib",
    "python3-minimal",
    "python3.11-minimal",
)
_WELCOME = ("python3-pip", "python3-setuptools", "python3-wheel")
"""Taken if they are here: Debian installs Python without them."""
_REFUSED = {"ca-certificates", "debconf", "dpkg"}
"""Asked for by others, but only to be installed: they would bring perl, and nothing is installed by dpkg in there."""
_BESIDE = (
    "/bin",
    "/lib",
    "/lib64",
    "/sbin",
    "/etc/pip.conf",
    "/etc/ssl/certs/ca-certificates.crt",
    "/usr/lib/ssl/cert.pem",
)
"""Taken if they are here: of no package, or of one that is not taken. OpenSSL looks for its authorities at the last."""
_UNREAD = re.compile(
    r"/usr/share/(bug|common-licenses|doc|doc-base|info|lintian|locale|man)(/|$)"
    r"|/usr/lib/[^/]+/gconv(/|$)"  # 8 MB of character sets: Python has its own
    r"|/usr/lib/python3[^/]*/EXTERNALLY-MANAGED$"  # a container's pip may install, as PEP 668 allows
)
_FOLDERS = {"/dev": 0o755, "/proc": 0o755, "/root": 0o700, "/run/lock": 0o1777, "/sys": 0o755, "/tmp": 0o1777}
_TEXTS = {
    "/etc/group": b"root:x:0:\nnogroup:x:65534:\n",
    "/etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
}
_MOMENT = 1_000_000_000
"""When all files were changed last, so that the bytes do not tell when the machine was installed."""


class NoRootfs(Exception):
    """This machine cannot give a root file system, and a sentence says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """An installed package, the names it goes by, and what it needs: for each need the names that satisfy it."""

    name: str
    names: tuple[str, ...]
    needs: tuple[tuple[str, ...], ...]


def rootfs(path: Path, *more: str) -> Path:
    """Write the tar to `path` and return it, with `more` packages; raises NoRootfs before anything is written."""
    places = {*_FOLDERS, *_TEXTS, *_places(_closure(_installed(*more), *more))}
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for place in sorted(places):
            _add(tar, place)
    return path


# packages


def _installed(*more: str) -> dict[str, Package]:
    """All packages of this machine's own architecture, by name; raises NoRootfs if one that is wanted is not there."""
    fields = ("db:Status-Status", "Architecture", "Package", "Provides", "Pre-Depends", "Depends")
    said = _dpkg_query("-W", "-f", "\\t".join(f"${{{field}}}" for field in fields) + "\\n")
    rows = [row for row in (line.split("\t") for line in said.splitlines()) if row[0] == "installed"]
    native = {"all", *(row[1] for row in rows if row[2] == "dpkg")}
    packages = {row[2]: _package(*row[2:]) for row in rows if row[1] in native}
    if missing := [name for name in (*_WANTED, *more) if name not in packages]:
        raise NoRootfs(f"of Debian's packages these are not installed: {', '.join(missing)}")
    if os.path.realpath("/usr/bin/python3") != _PYTHON:
        raise NoRootfs(f"/usr/bin/python3 is not {_PYTHON}, Debian's own")
    return packages


def _dpkg_query(*words: str) -> str:
    """What dpkg-query answers; raises NoRootfs if it is not there or refuses."""
    try:
        return subprocess.run(["dpkg-query", *words], check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        raise NoRootfs("dpkg is not installed: this is no Debian") from None
    except subprocess.CalledProcessError as error:
        raise NoRootfs(f"dpkg-query refused: {error.stderr.strip()}") from error


def _package(name: str, provides: str, *depends: str) -> Package:
    """A package out of dpkg's own words: ``a (>= 1), b:any | c``."""
    needs = tuple(need for words in depends for need in _alternatives(words))
    return Package(name=name, names=(name, *(each for (each,) in _alternatives(provides))), needs=needs)


def _alternatives(words: str) -> list[tuple[str, ...]]:
    """The names in a list of needs, without their versions and architectures."""
    return [tuple(re.findall(r"(?:^|\|)\s*([a-z0-9+.-]+)", need)) for need in words.split(",") if need.strip()]


def _closure(packages: Mapping[str, Package], *more: str) -> set[str]:
    """The packages that are wanted and all that they need in order to run."""
    by_name: dict[str, str] = {}
    for package in packages.values():
        for name in package.names:
            by_name.setdefault(name, package.name)
    by_name.update({name: name for name in packages})  # itself, rather than one that stands in for it
    found: set[str] = set()
    todo = [*_WANTED, *more, *(name for name in _WELCOME if name in packages)]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += _needed(packages[name], by_name)
    return found


def _needed(package: Package, by_name: Mapping[str, str]) -> Iterator[str]:
    """For each of a package's needs the first that is installed; raises NoRootfs if none is."""
    for need in package.needs:
        chosen = next((by_name[name] for name in need if name in by_name), None)
        if chosen is None and not _REFUSED.intersection(need):
            raise NoRootfs(f"{package.name} needs {' or '.join(need)}, which is not installed")
        if chosen is not None and chosen not in _REFUSED:
            yield chosen


# files


def _places(names: Collection[str]) -> set[str]:
    """The absolute paths of all files, links and folders to take, each by its real folder: /usr/bin/sh, not /bin/sh."""
    listed = _dpkg_query("-L", *sorted(names)).splitlines()
    real: dict[str, str] = {}
    found: set[str] = set()
    for line in (*listed, *_BESIDE):
        folder, name = os.path.split(line)
        if not name or not line.startswith("/") or line == "/.":  # dpkg tells of diversions, too, and of the root
            continue
        if folder not in real:
            real[folder] = os.path.realpath(folder)
        place = os.path.join(real[folder], name)
        if not _UNREAD.match(place) and os.path.lexists(place):
            found.update((place, *_above(place)))
    return found


def _above(place: str) -> Iterator[str]:
    """The folders that lead to a place, without the root."""
    while (place := os.path.dirname(place)) != "/":
        yield place


def _add(tar: tarfile.TarFile, place: str) -> None:
    """Add one place as root's, at the fixed moment; a link stays a link."""
    if place in _FOLDERS or place in _TEXTS:
        _finish(tar, *_made(place))
        return
    info = tar.gettarinfo(place)
    if info.isreg():
        with open(place, "rb") as file:
            _finish(tar, info, file)
    else:
        _finish(tar, info)


def _made(place: str) -> tuple[tarfile.TarInfo, io.BytesIO]:
    """A folder or a text that is not as it is on this machine."""
    info = tarfile.TarInfo(place.lstrip("/"))
    text = _TEXTS.get(place, b"")
    if place in _FOLDERS:
        info.type, info.mode = tarfile.DIRTYPE, _FOLDERS[place]
    info.size = len(text)
    return info, io.BytesIO(text)


def _finish(tar: tarfile.TarFile, info: tarfile.TarInfo, file: io.BufferedIOBase | None = None) -> None:
    """Write an entry without the owner and the time that this machine knows."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = _MOMENT
    tar.addfile(info, file)


def main() -> None:
    """Write it where the one argument says."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.machine OUT.tar")
    try:
        rootfs(Path(sys.argv[1]))
    except NoRootfs as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
