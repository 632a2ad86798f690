"""Whether one resource is what was published: every document, file and blob against its digest, every link and entry.

Reading only; nothing here mends. A damage says what is wrong and, for who mends, which version, path or blob.

>>> Damage(problem="executor.py is missing", version="0" * 64).ref("alice/X")
'alice/X@0000000000000000000000000000000000000000000000000000000000000000'
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from lhub.commits import fault, is_readable, log, tip_of
from lhub.diary import Recorded, missing, replay
from lhub.errors import Corrupt, LhubError
from lhub.identity import account_of
from lhub.layout import FILES, MANIFEST, PIN, SUMS, is_version, link_to, trashed
from lhub.lock import is_free
from lhub.opening import GONE, digest_of, listed, once_more, open_folder, opened_beneath, paths_below, says
from lhub.store import Resource, Version
from lhub.ways import changed_at, faked

_Lacking = tuple[str, tuple[str, ...], tuple[str, ...], str | None, str | None]
_PAUSE = 0.5
"""Seconds after which what the diary lacks is looked at again."""
_LOOKS = 20
"""How often that is done while somebody holds the lock, or stages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One thing that is not as it was published; where it is a version's or a blob's, which."""

    problem: str
    version: str | None = None
    blob: str | None = None
    tag: str | None = None
    diary: bool = False
    kind: bool = False
    hint: str = ""

    def ref(self, name: str) -> str:
        """What it concerns, as a reference."""
        return f"{name}:{self.tag}" if self.tag else f"{name}@{self.version}" if self.version else name


@dataclass(slots=True)
class Tally:
    """How many files were looked at, how many were `stale`, the `largest` version's bytes, what was hashed already.

    With a list for `lagging`, resources whose diary seems to lag are put there, to be looked at again together.
    """

    quick: bool = False
    files: int = 0
    bytes: int = 0
    stale: int = 0
    largest: int = 0
    hashed: dict[tuple[int, ...], str] = field(default_factory=dict)
    lagging: list[Resource] | None = None

    def digest(self, descriptor: int, status: os.stat_result) -> str:
        """SHA-256 of an open file."""
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, changed_at(status))
        if key not in self.hashed:
            self.hashed[key] = digest_of(descriptor)[0]
            self.bytes += status.st_size
        return self.hashed[key]


def examine(resource: Resource, tally: Tally, *, only: str | None = None) -> Iterator[Damage]:
    """Everything that is wrong with a resource, or with one version of it."""
    if os.path.islink(resource.folder.inside):
        yield Damage(problem="a link stands where its inside should be", hint="nobody follows it; put the folder back")
        return
    if only is not None:
        yield from examine_version(resource, only, tally)
        return
    yield from _kind(resource)
    lying = _names(resource.folder.versions)
    kept = {trashed(name) or name for name in lying}
    yield from _tags(resource, kept)
    digests: set[str] = set()
    named = {tag.version for tag in resource.links().tags.values() if tag.version in kept}  # in the trash too
    if not lying and not named and not resource.links().tags:
        yield Damage(problem="the folder of its versions is missing, or empty")
    for version in sorted(named.union(filter(is_version, lying))):
        yield from examine_version(resource, version, tally, digests)
    yield from _blobs(resource, tally, digests)
    yield from _diary(resource, tally)


def _names(folder: str) -> set[str]:
    """What is in a folder, nothing where there is none; PermissionError where it is closed: it is not empty then."""
    try:
        return set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _kind(resource: Resource) -> Iterator[Damage]:
    try:
        kind, told = resource.kind(), resource.told_kind()
        if kind is None and resource.published():
            yield Damage(problem="resource.yaml is missing", kind=True)
        elif None not in (kind, told) and kind != told:
            yield Damage(problem=f"resource.yaml says {kind}, its newest version {told}", kind=True)
    except Corrupt as error:
        yield Damage(problem=str(error), kind=True)
    except LhubError as error:  # of a newer format
        yield Damage(problem=str(error), hint=error.hint)


def _tags(resource: Resource, kept: set[str]) -> Iterator[Damage]:
    links = resource.links()
    for name, why in links.odd.items():
        yield Damage(problem=why, tag=name.removeprefix(PIN), hint="push or tag it again, or remove the name by hand")
    for name, tag in links.tags.items():
        if tag.version not in kept and not resource.has(tag.version):
            said = f"the tag {name} names version {tag.version[:12]}, which is not there"
            yield Damage(problem=said, tag=name, version=tag.version)
        link = says(resource.folder.tag(name))
        if tag.protected and link != link_to(tag.version):
            what = "has no link" if link is None else "has a link that was moved by hand, readers keep to its pin"
            yield Damage(problem=f"the protected tag {name} {what}", tag=name, hint="the next change sets it")


# versions


def examine_version(
    resource: Resource, version: str, tally: Tally, digests: set[str] | None = None
) -> Iterator[Damage]:
    """What is wrong with one version; the digests it names are added to `digests`."""
    try:
        sums, found = _looked_at(resource, version, tally)
        if digests is not None:
            digests.update(sums.values())
        yield from found if resource.keeps(version) else ()
    except (Corrupt, OSError, RecursionError) as error:
        if not resource.keeps(version) and version not in {tag.version for tag in resource.links().tags.values()}:
            return  # a collection took it meanwhile
        yield Damage(problem=str(error), version=version)
    except LhubError as error:  # of a newer format
        yield Damage(problem=str(error), version=version, hint=error.hint)


def _looked_at(resource: Resource, version: str, tally: Tally) -> tuple[dict[str, str], list[Damage]]:
    """The files that a version names and what is wrong with it, looked at anew where another host has changed it."""
    for pause in (0.01, 0.1, 0.0):
        stale = tally.stale
        with resource.opened(version) as opened:
            sums = opened.sums()
            found = [*_files(opened, sums, tally), *_beside(opened)]
        if tally.stale == stale:
            break
        time.sleep(pause)
    return sums, found


def _beside(opened: Version) -> Iterator[Damage]:
    """What lies in a version's folder beside its documents and its payload."""
    for name in sorted(set(os.listdir(opened.descriptor)) - {MANIFEST, SUMS, FILES}):
        yield Damage(problem=f"{name} was not published", version=opened.id)


def _files(opened: Version, sums: dict[str, str], tally: Tally) -> Iterator[Damage]:
    manifest, total = opened.manifest(), 0
    tally.largest = max(tally.largest, manifest.bytes)
    try:
        folder = open_folder(FILES, beneath=opened.descriptor)
    except OSError:
        yield Damage(problem="its folder files is missing, or no folder", version=opened.id)
        return
    odd = False
    try:
        found = set(paths_below(folder))
        for path in sorted(found - sums.keys()):
            yield Damage(problem=f"{path} was not published", version=opened.id)
        for path, digest in sums.items():
            tally.files += 1
            try:
                with opened_beneath(folder, path) as descriptor:
                    status = os.fstat(descriptor)
                    total += status.st_size
                    fits = status.st_size <= manifest.bytes  # else it was not published, and may be a sparse terabyte
                    if not tally.quick and (not fits or tally.digest(descriptor, status) != digest):
                        yield Damage(problem=f"{path} is not what was published", version=opened.id)
                    if bool(status.st_mode & 0o100) != (path in manifest.executable):
                        yield Damage(problem=f"{path} has lost or got an execute bit", version=opened.id)
            except FileNotFoundError:
                yield Damage(problem=f"{path} is missing", version=opened.id)
            except (Corrupt, OSError) as error:
                odd = True
                tally.stale += isinstance(error, OSError) and error.errno == errno.ESTALE
                yield Damage(problem=f"{path}: {error}", version=opened.id)
    finally:
        os.close(folder)
    if tally.quick and not odd and found == sums.keys() and (len(sums), total) != (manifest.count, manifest.bytes):
        yield Damage(problem=f"its files have {total} bytes, {manifest.bytes} were published", version=opened.id)


# blobs


def _blobs(resource: Resource, tally: Tally, digests: set[str]) -> Iterator[Damage]:
    """Blobs that are not what their names say, and those that a version misses."""
    standing = set()
    with suppress(FileNotFoundError):
        store = open_folder(resource.folder.stores[1])
        try:
            for path in paths_below(store):
                digest = path.rpartition("/")[2]
                if not is_version(digest) or resource.folder.blob(digest) != f"{resource.folder.stores[1]}/{path}":
                    continue
                standing.add(digest)
                if not _is_blob(store, path, digest, tally, named=digest in digests):
                    yield Damage(problem=f"the blob {digest[:12]} is not what its name says", blob=digest)
        finally:
            os.close(store)
    for digest in sorted(digests - standing):
        if not os.path.isfile(resource.folder.blob(digest)):
            yield Damage(problem=f"the blob {digest[:12]} is missing", blob=digest)


def _is_blob(store: int, path: str, digest: str, tally: Tally, *, named: bool) -> bool:
    def holds() -> bool:
        with opened_beneath(store, path) as descriptor:
            status = os.fstat(descriptor)
            if status.st_size > tally.largest:  # than all files of a version: nobody's, or not what its name says
                return not named
            return tally.quick or tally.digest(descriptor, status) == digest

    try:
        good = once_more(holds)
    except OSError as error:
        if error.errno in GONE:  # a collection took it: nothing is wrong with what is not there
            return True
        good = False
    except Corrupt:
        good = False
    tally.files += 1
    return good


# the diary


def _diary(resource: Resource, tally: Tally) -> Iterator[Damage]:
    """Whether the diary reads, whole, and tells what the links tell."""
    try:
        tip = tip_of(resource)
    except Corrupt as error:
        yield Damage(problem=f"the diary's branch: {error}", hint="its owner removes that by hand, nobody follows it")
        return
    if tip and (why := _unread(resource, quick=tally.quick)):
        anew = "begins it anew from the versions and links"
        lost = not is_readable(resource, tip)
        hint = f"the next change {anew}" if lost else f"lhub verify {resource.name} --repair {anew}"
        yield Damage(problem=why, hint=hint, diary=True)
    elif tally.lagging is not None:
        tally.lagging += [resource] if _first_look(resource) else []
    else:
        yield from map(lag, lagging([resource]).values())


def _unread(resource: Resource, *, quick: bool) -> str:
    """Why the diary cannot be read, all of it or, if `quick`, its entries; an empty text when it can."""
    if not quick:
        return fault(resource)
    try:
        list(log(resource))
    except Corrupt as error:
        return str(error)
    return ""


def lagging(resources: Iterable[Resource]) -> dict[Resource, str]:
    """Which diaries lag, and what they do not tell of.

    Only what stays just so for half a second, since a change may be going on; ten seconds at most while somebody
    changes one, and all together.
    """
    first = {resource: lacking for resource in resources if (lacking := _first_look(resource))}
    for _ in range(_LOOKS if first else 0):
        time.sleep(_PAUSE)
        first = {resource: lacking for resource, lacking in first.items() if _first_look(resource) == lacking}
        busy = {resource for resource in first if _is_held(resource.folder.lock) or _is_staging(resource)}
        if not busy:
            break
    return {resource: _words(lacking) for resource, lacking in first.items() if not _is_staging(resource)}


def _first_look(resource: Resource) -> list[_Lacking]:
    """What the diary lacks now; nothing for one that does not read, which is told elsewhere, is gone or cannot be."""
    if faked():
        return []
    try:
        return _lacking(resource)
    except (Corrupt, OSError):
        return []


def _words(lacking: list[_Lacking]) -> str:
    tags = {tag for _, tags, untagged, _, _ in lacking for tag in (*tags, *untagged)}
    return ", ".join(sorted(tags)) or "the visibility"


def lag(what: str) -> Damage:
    """What is wrong with a diary that does not tell of something."""
    return Damage(problem=f"the diary lags: it does not tell of {what}", hint="the next change completes it")


def _is_staging(resource: Resource) -> bool:
    """Whether a push is going on: it may have hidden a resource long before it is told."""
    return any(_is_held(entry.path) for entry in listed(resource.folder.versions) if entry.name.endswith(".lock"))


def _is_held(lock: str) -> bool:
    """Whether somebody holds a lock, as far as one may know."""
    try:
        return not is_free(lock)
    except (OSError, Corrupt):
        return False


def _lacking(resource: Resource) -> list[_Lacking]:
    state = replay(reversed(list(log(resource)))) if tip_of(resource) else Recorded()
    visibility = resource.visibility()
    links = resource.links()
    odd = {name.removeprefix(PIN) for name in links.odd}  # which are told by themselves
    entries = missing(state, links.tags, visibility, now=0.0, account=account_of)
    entries = [entry for entry in entries if not entry.untagged or set(entry.untagged) - odd]
    return [(entry.action, entry.tags, entry.untagged, entry.version, entry.visibility) for entry in entries]
