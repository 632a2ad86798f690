"""Pull: a version becomes a folder, or the file that it was, every byte verified while it is copied, in one rename.

No lock, no git, no write in the registry: a read-only mount serves. What was there before is moved aside, put back
if anything fails, and removed last.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, cast

from lhub.disk import NO_LINKS, TAKEN, Pen, sync_descriptor
from lhub.errors import Conflict, Corrupt, LhubError, NotFound, UsageError
from lhub.manifest import variables
from lhub.meter import Meter, event
from lhub.names import Ref
from lhub.opening import GONE, free_bytes, is_folder
from lhub.session import Session
from lhub.store import DAMAGED, Version
from lhub.ways import ways_kept

if TYPE_CHECKING:
    from lhub.sealing import Unsealed

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
_COMPRESSED = frozenset({".gz", ".bz2", ".xz", ".zst", ".gzip", ".lzma", ".lz4", ".zlib"})
_ENDING = r"(\.[A-Za-z0-9_-]{1,16}){0,2}"
_BUFFER = 1 << 20
"""Bytes that are written at once to a file of our own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What a pull did: `ref` as asked for, `name` (``alice/X``), `version` (64 hex digits), `path` of the folder.

    `build_env` are the names of the variables that must be set where its requirements are installed.
    """

    ref: str
    name: str
    version: str
    path: str
    build_env: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub pull --json` prints it."""
        told: dict[str, object] = {"ref": self.ref, "name": self.name, "version": self.version, "path": self.path}
        return told | ({"build_env": list(self.build_env)} if self.build_env else {})


def pull(
    session: Session,
    ref: Ref,
    destination: str | None = None,
    *,
    force: bool = False,
    telling: Callable[[Mapping[str, Any]], None] = lambda event: None,
) -> Pulled:
    """Lay a version out at `destination` (default: one named like the resource, here); see `lhub.pull`."""
    if destination == "":
        raise UsageError("DEST is empty", hint="name a folder, or leave it out")
    with session.reading(ref) as version:
        path, file = _destination(ref, destination, version.single())
        if file and is_folder(path):
            raise Conflict(f"{path} is a folder, what is pulled a file", hint="name another DEST")
        _refuse(session, path, force=force)
        with beside(session.pen, path, session.unique()) as folder:
            try:
                with ways_kept():
                    lay_out(session.pen, version, folder, _meter(session, version, telling))
            except (Corrupt, OSError) as error:
                stale = isinstance(error, OSError) and error.errno not in GONE
                if stale or (version.resource.status() and version.resource.lies(version.id)):
                    raise
                raise NotFound(
                    f"{version.where} was removed while it was pulled", hint=f"lhub show {ref.name} tells what is here"
                ) from None
            _put(session.pen, f"{folder}/{file}" if file else folder, path, aside=f"{folder}.old", force=force)
        names = variables(version.manifest().about)
    return Pulled(ref=str(ref), name=ref.name, version=version.id, path=path, build_env=names)


def _destination(ref: Ref, destination: str | None, file: str | None) -> tuple[str, str | None]:
    """Where a version goes, and its path inside of what is moved there: a file that was pushed by itself is a file.

    It is called after its resource, which the caller has typed, and not as its publisher says (`.bashrc`); its ending
    tells what it is, docarray too.
    """
    if file is None or "/" in file:
        return os.path.abspath(ref.resource if destination is None else destination), None
    if destination is None or destination.endswith("/") or os.path.isdir(destination):
        ending = _ending(file)
        name = ref.resource if ref.resource.endswith(ending) else ref.resource + ending
        return os.path.abspath(os.path.join(destination or "", name)), file
    return os.path.abspath(destination), file


def _ending(file: str) -> str:
    """What a file's name ends in, from the last dot on; of what is compressed from the one before."""
    stem, ending = os.path.splitext(file)
    whole = os.path.splitext(stem)[1] + ending if ending in _COMPRESSED else ending
    return whole if re.fullmatch(_ENDING, whole) else ""


def _refuse(session: Session, path: str, *, force: bool) -> None:
    """Refuse a destination that would lose something."""
    registries = dict.fromkeys((session.root, *session.roots))
    for kept in (*registries, *session.keep):
        if (os.path.realpath(kept) + "/").startswith(os.path.realpath(path).rstrip("/") + "/"):
            raise UsageError(f"{path} is not replaced, since it is or holds {kept}", hint="name a new folder")
    refuse_inside(path, registries)
    if os.path.lexists(path) and not force:
        raise Conflict(f"{path} exists already", hint="--force replaces it, another DEST leaves it alone")


def refuse_inside(path: str, registries: Iterable[str]) -> None:
    """Refuse a destination in a registry, where nothing but a pen of lhub's writes."""
    for root in registries:
        if os.path.realpath(path).startswith(os.path.realpath(root) + "/"):
            raise UsageError(f"{path} lies in the registry {root}", hint="name a place elsewhere")


@contextmanager
def beside(pen: Pen, path: str, unique: str) -> Iterator[str]:
    """A folder beside `path` to lay out in; gone at the end if it was not moved."""
    parent = os.path.dirname(path)
    folder = f"{parent}/.{os.path.basename(path)}.lhub-{unique}"
    try:
        pen.make_way(parent)
        pen.make_new(folder)
    except OSError as error:
        raise LhubError(f"{parent} cannot be written: {error.strerror}", hint="name a place elsewhere") from None
    try:
        yield folder
    finally:
        if is_folder(folder):
            pen.remove_tree(folder)


def _meter(session: Session, version: Version, telling: Callable[[Mapping[str, Any]], None]) -> Meter:
    manifest = version.manifest()

    def tell(payload: Mapping[str, int]) -> None:
        telling(event(session.clock(), "pull", payload))

    return Meter(manifest.count, manifest.bytes, tell)


def lay_out(pen: Pen, version: Version, folder: str, meter: Meter | None = None) -> None:
    """Copy every file, and see that each is what SHA256SUMS says and none more than the manifest says."""
    meter = meter or Meter(0, 0, lambda payload: None)
    left = version.manifest().bytes
    if left > free_bytes(folder):  # before a byte is copied: a publisher may say a terabyte
        raise LhubError(f"{version.where} has {left} bytes, there is no room for them at {os.path.dirname(folder)}")
    if version.stored is not None:
        _lay_out_unsealed(pen, cast("Unsealed", version), folder, meter)
        return
    sums = version.sums()
    made, executable = {folder}, frozenset(version.manifest().executable)
    for number, (path, digest) in enumerate(sums.items(), 1):
        parent = os.path.dirname(f"{folder}/{path}")
        if parent not in made:
            pen.make_way(parent)
            made.add(parent)
        with version.file(path) as source:
            size = os.fstat(source).st_size
            left -= size
            mode = 0o777 if path in executable else 0o666
            if left < 0 or pen.copy_out(source, f"{folder}/{path}", mode, limit=size, moved=meter.moved)[0] != digest:
                raise Corrupt(f"{path} of {version.where} is not what was published", hint=DAMAGED)
        meter.reached(number)


def _lay_out_unsealed(pen: Pen, version: Unsealed, folder: str, meter: Meter) -> None:
    """Write every file as it is opened; it is verified as it comes, and once more with the last that it was whole."""
    made, executable = {folder}, frozenset(version.manifest().executable)
    for number, (path, _, pieces) in enumerate(version.entries(), 1):
        parent = os.path.dirname(f"{folder}/{path}")
        if parent not in made:
            pen.make_way(parent)
            made.add(parent)
        pen.write_out(_metered(pieces, meter), f"{folder}/{path}", 0o777 if path in executable else 0o666)
        meter.reached(number)


def _metered(pieces: Iterable[bytes], meter: Meter) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        meter.moved(len(piece))


@contextmanager
def new_file(pen: Pen, path: str, unique: str, *, mode: int) -> Iterator[IO[bytes]]:
    """A file to be written, which is at `path` when all went well, and nowhere else at the end."""
    where = os.path.abspath(path)
    taken = Conflict(f"{path} exists already", hint="name a new file, or remove that one")
    if os.path.lexists(where):
        raise taken
    scratch = f"{os.path.dirname(where)}/.{os.path.basename(where)}.lhub-{unique}"
    try:
        descriptor = pen.open_new(scratch, mode)
    except OSError as error:
        raise LhubError(f"{path} cannot be written: {error.strerror}", hint="name a file elsewhere") from None
    try:
        with os.fdopen(descriptor, "wb", buffering=_BUFFER) as file:
            yield file
            file.flush()
            sync_descriptor(descriptor)
        _name_new(pen, scratch, where)
    except FileExistsError:
        raise taken from None
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise LhubError(f"{path} was not written: {error.strerror}", hint="nothing is left of it") from None
    finally:
        pen.unlink(scratch)


def _name_new(pen: Pen, scratch: str, path: str) -> None:
    """Give a finished file its name, exclusively; FileExistsError when something of that name came meanwhile."""
    try:
        pen.link(scratch, path)
    except OSError as error:
        if error.errno not in NO_LINKS or os.path.lexists(path):
            raise
        pen.rename(scratch, path)


def _put(pen: Pen, folder: str, path: str, *, aside: str, force: bool) -> None:
    """One rename; what stands there is moved aside if it may be replaced, and back if the next rename fails."""
    try:
        pen.rename(folder, path) if force or is_folder(folder) else _name_new(pen, folder, path)
    except OSError as error:
        if error.errno not in TAKEN:
            raise
        if not force:
            raise Conflict(f"{path} appeared meanwhile", hint="--force replaces it") from None
    else:
        return
    try:
        pen.rename(path, aside)
        pen.rename(folder, path)
    except BaseException:
        if os.path.lexists(aside):
            pen.rename(aside, path)
        raise
    if is_folder(aside):
        pen.remove_tree(aside)
    else:
        pen.unlink(aside)
