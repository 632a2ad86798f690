"""Adoption: what the old cloud left in a user's caches becomes resources.

`jina hub pull` kept Executors as `jina/hub-package/<id>/` with a `<tag>.dist-info` beside their files,
`DocumentArray.pull` kept arrays as `docarray/<name>.da`, a slash in the name written as `_` (jina-hubble-sdk 0.39,
`hubapi.install_local`; docarray 0.21, `pushpull.py`). Each is stored byte for byte, by its old name and tag.

>>> find("/nowhere")
[]
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lhub.diary import Entry
from lhub.disk import Pen
from lhub.errors import Corrupt, LhubError, NotFound, UsageError
from lhub.exchange import Carried, receive_all
from lhub.folder import Packing, scan
from lhub.kinds import described
from lhub.kinds.docarray import STEM, look
from lhub.kinds.forms import Form, form_of
from lhub.manifest import manifest_of
from lhub.names import LATEST, name_faults, parse_namespace, tag_faults
from lhub.opening import digest_of, digest_text, listed, open_file
from lhub.session import Session
from lhub.staging import Opener, Staged, hashed, known, opened_file
from lhub.tree import File, tree_of

_INFO = ".dist-info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Legacy:
    """One thing that can be adopted: its `name`, `kind`, `tags`, where it lies, its `bytes`; `fault`: why it cannot."""

    name: str
    kind: str
    tags: tuple[str, ...]
    path: str
    bytes: int
    fault: str = ""

    @property
    def tag(self) -> str:
        """Its tags, as a person reads them: ``v1, v2``."""
        return ", ".join(self.tags)

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub adopt --json` prints it."""
        return {
            "name": self.name,
            "kind": self.kind,
            "tag": self.tag,
            "path": self.path,
            "bytes": self.bytes,
            "fault": self.fault,
        }


def find(cache: str) -> list[Legacy]:
    """Everything below a cache folder (``~/.cache``) that the old clients left."""
    return [*map(_executor, _packages(cache)), *map(_array, _arrays(cache))]


def _packages(cache: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each package folder and its tags: one that was installed under two has two."""
    for package in listed(f"{cache}/jina/hub-package"):
        infos = [info.name for info in listed(package.path) if info.name.endswith(_INFO) and info.is_dir()]
        if infos:
            yield package.path, tuple(name.removesuffix(_INFO) for name in infos)


def _arrays(cache: str) -> Iterator[str]:
    place = f"{cache}/docarray"
    yield from (entry.path for entry in listed(place) if entry.name.endswith(".da"))


def _executor(package: tuple[str, tuple[str, ...]]) -> Legacy:
    path, tags = package
    try:
        packing = _packing(path, tags)
        found = described(packing)
        name = str(found.name or found.about.get("jtype") or os.path.basename(path)).rpartition("/")[2]
        fault = "" if found.kind == "executor" else "it is no Executor"
        size = sum(source.size for source in packing.sources)
    except LhubError as error:
        name, fault, size = os.path.basename(path), str(error), 0
    fault = fault or ", ".join([*name_faults(name, "name"), *(fault for tag in tags for fault in tag_faults(tag))])
    return Legacy(name=name, kind="executor", tags=tags, path=path, bytes=size, fault=fault)


def _packing(path: str, tags: Iterable[str]) -> Packing:
    """All files of a package but what the client noted about them."""
    return scan(path, without=frozenset(f"{tag}{_INFO}" for tag in tags))


def _array(path: str) -> Legacy:
    name = os.path.basename(path).removesuffix(".da")
    try:
        _told(path)
        fault = ", ".join(name_faults(name, "name"))
    except (LhubError, OSError) as error:
        fault = str(error)
    return Legacy(name=name, kind="docarray", tags=(LATEST,), path=path, bytes=os.lstat(path).st_size, fault=fault)


def adopt(
    session: Session, cache: str, names: Sequence[str], namespace: str | None, *, every: bool = False
) -> list[Carried]:
    """Store those that are named by name, id or path, or `every` one that can be."""
    if namespace is not None:
        parse_namespace(namespace)
    there = find(cache)
    chosen = [each for each in there if not each.fault] if every else _chosen(there, names)
    if not chosen:
        raise NotFound(f"there is nothing to adopt in {cache}", hint="lhub adopt --cache DIR looks elsewhere")
    return receive_all(session, [_parcel(each, namespace) for each in chosen], namespace)


def _chosen(there: list[Legacy], names: Sequence[str]) -> list[Legacy]:
    chosen: list[Legacy] = []
    for name in names:
        hits = [each for each in there if name in (each.name, each.path, os.path.basename(each.path))]
        if not hits:
            raise NotFound(f"{name} is not in the caches", hint="lhub adopt lists what is")
        if len(hits) > 1:
            where = ", ".join(each.path for each in hits)
            raise UsageError(f"{name} is {len(hits)} things: {where}", hint="name one by its path")
        if hits[0].fault:
            raise UsageError(f"{name} cannot be adopted: {hits[0].fault}", hint=f"look at {hits[0].path}")
        chosen += hits
    return list(dict.fromkeys(chosen))


def _parcel(legacy: Legacy, namespace: str | None) -> _Adopted:
    """What is adopted, as an import takes it."""
    if legacy.kind == "docarray":
        return _array_parcel(legacy, namespace)
    packing = _packing(legacy.path, legacy.tags)
    origins = {source.path: source.origin for source in packing.sources}
    return _Adopted(legacy.name, legacy.kind, legacy.tags, hashed(packing), described(packing).about, origins)


def _array_parcel(legacy: Legacy, namespace: str | None) -> _Adopted:
    """An array; the client wrote ``alice/X`` as ``alice_X``, so in alice's namespace it is X again."""
    form, about = _told(legacy.path)
    payload = f"{STEM}{form.endings}"
    with opened_file(legacy.path) as descriptor:
        digest, size = digest_of(descriptor)
    files = [File(path=payload, digest=digest, size=size)]
    name = legacy.name.removeprefix(f"{namespace}_") if namespace else legacy.name
    if name_faults(name, "name"):  # what is left is none, as of alice_.trash
        name = legacy.name
    return _Adopted(name, legacy.kind, legacy.tags, files, about, {payload: legacy.path})


def _told(path: str) -> tuple[Form, Mapping[str, Any]]:
    """How an array in the cache is written, and what a manifest tells of it; raises Corrupt, UsageError."""
    with os.fdopen(open_file(path), "rb") as file:
        form, about = form_of(file), look(file, "it")
        file.seek(0)
        begins = file.read(1) == b"\1"
    if form is None or about is None:
        raise Corrupt("it is cut short in its first document" if begins else "it is no array of the old cloud")
    return form, about


class _Adopted:
    """A parcel of one version, from files in a cache; its old tag names it, and `latest`, for who gives no tag."""

    namespace, verifier, seal = None, None, None
    private, pins = False, frozenset[str]()

    def __init__(
        self,
        name: str,
        kind: str,
        tags: Iterable[str],
        files: list[File],
        about: Mapping[str, Any],
        origins: Mapping[str, str],
    ) -> None:
        self.resource, self.kind, self.origins = name, kind, origins
        tree = tree_of(files)
        sums = tree.to_sums().encode()
        manifest = manifest_of(tree, kind, about, digest_text(sums))
        self.version = known(manifest, manifest.to_text().encode(), sums, files)
        self.tags = dict.fromkeys((*tags, LATEST), self.version.id)

    def versions(self) -> list[str]:
        """The one."""
        return [self.version.id]

    def staged(self, version: str) -> Staged:
        """Its documents and files."""
        return self.version

    def opener(self, version: str, file: File) -> Opener:
        """How to open a file of it."""
        return partial(opened_file, self.origins[file.path])

    def made(self, version: str) -> float | None:
        """Nobody knows."""
        return None

    def entries(self, pen: Pen, scratch: str) -> list[Entry]:
        """Nothing is known of its past."""
        return []
