"""Verify: every byte of what one may see against its digest, and, if asked, mend what can be mended.

>>> Verified(checked=3, bytes=120).ok
True
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lhub.checkup import Damage, Tally, examine, lag, lagging
from lhub.commits import NOT_KEPT
from lhub.errors import Corrupt, Denied, LhubError, NotFound, UsageError
from lhub.layout import SEAL_FILE, image_of, is_sealed, is_version
from lhub.names import Ref
from lhub.opening import listed, refresh, status_of
from lhub.repair import Repair, entries_of, readable
from lhub.session import Session
from lhub.store import Resource, again
from lhub.ways import faked

if TYPE_CHECKING:
    from lhub.sealing import Lock

_MOST = 200
_ANEW = "its owner builds it anew: lhub push PATH --image always --no-cache"
_BEYOND = (Corrupt, Denied, NotFound, FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)
"""What says that a resource is taken apart so far that nothing of it can be mended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong: where (a reference), what, and what to do."""

    ref: str
    problem: str
    hint: str

    def to_dict(self) -> dict[str, str]:
        """The value as `lhub verify --json` prints it."""
        return {"ref": self.ref, "problem": self.problem, "hint": self.hint}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What a verification found.

    `checked` is the number of files looked at, `bytes` how many of their bytes were hashed; `quick`: only names and
    sizes were; `findings` are what is wrong now, `repaired` what was wrong and is mended, `remarks` what could not be
    looked at though nothing is wrong.
    """

    checked: int = 0
    bytes: int = 0
    quick: bool = False
    findings: tuple[Finding, ...] = ()
    repaired: tuple[Finding, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong (any more)."""
        return not self.findings

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub verify --json` prints it."""
        return {
            "ok": self.ok,
            "checked": self.checked,
            "bytes": self.bytes,
            "quick": self.quick,
            "findings": [finding.to_dict() for finding in self.findings],
            "repaired": [finding.to_dict() for finding in self.repaired],
            "remarks": list(self.remarks),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """How to verify: `quick` by names and sizes only; `repair` what can be, with good copies from `others` too.

    `rebuild`: begin the diary of what is verified anew, from the versions and links.
    """

    quick: bool = False
    repair: bool = False
    rebuild: bool = False
    others: tuple[Session, ...] = ()


def verify(session: Session, ref: Ref | None, care: Care) -> Verified:
    """Verify one version, one resource, or everything that the caller may see."""
    session.read_root()
    if care.quick and care.repair:
        raise UsageError("--quick looks only at names and sizes, which repairs nothing", hint="leave one of them out")
    for other in care.others:
        other.read_root()
    tally, found, repaired = Tally(quick=care.quick, lagging=[]), list[Finding](), list[Finding]()
    for namespace, resource, only in _what(session, ref):
        own = session.keeps(namespace, resource)
        if ref is not None and not own and (care.repair or care.rebuild):
            raise Denied(f"{resource.name} is not yours to mend", hint="its owner can, with lhub verify --repair")
        if care.rebuild and own:
            _rebuild(session, namespace, resource)
        look = partial(_whole_look, session, resource, ref, only)
        damages = look(tally)
        if damages and care.repair and own:
            with suppress(*_BEYOND):  # what no repair gets at is told again
                _mend(session, namespace, resource, damages, care)
            left = look(Tally())
            repaired += [_finding(resource, damage) for damage in damages if damage not in left]
            damages = left
        found += [_finding(resource, damage, own=own, tried=own and care.repair) for damage in _bounded(damages, own)]
    for resource, what in lagging(tally.lagging or ()).items():
        mended = care.repair and _completed(session, resource)
        (repaired if mended else found).append(_finding(resource, lag(what)))
    return Verified(
        checked=tally.files,
        bytes=tally.bytes,
        quick=care.quick,
        findings=tuple(found),
        repaired=tuple(repaired),
        remarks=(NOT_KEPT,) if faked() else (),
    )


def _bounded(damages: list[Damage], own: bool) -> list[Damage]:
    """All that is wrong with one's own; of another's as much as tells that it is damaged."""
    if own or len(damages) <= _MOST:
        return damages
    return [*damages[:_MOST], Damage(problem=f"and {len(damages) - _MOST} more", hint="its owner is told all of it")]


def _completed(session: Session, resource: Resource) -> bool:
    """Whether a diary that lagged tells everything now: of one's own, a change begins with that."""
    namespace, _, _ = resource.name.rpartition("/")
    if not session.keeps(namespace or None, resource):
        return False
    with suppress(*_BEYOND), session.changing(resource, namespace or None):
        return True
    return False


def _what(session: Session, ref: Ref | None) -> Iterator[tuple[str | None, Resource, str | None]]:
    """Namespace and resource of all that is to be verified, with the version where only one is."""
    if ref is not None:
        resource = session.seen(ref, damaged=True)
        chosen = ref.tag or ref.version or ref.at
        yield ref.namespace, resource, session.resolve(resource, ref) if chosen else None
        return
    for namespace, resource, _ in session.resources():
        yield namespace, resource, None


def _seen(resource: Resource, tally: Tally, only: str | None) -> list[Damage]:
    """What is wrong; nothing for a resource that somebody deleted meanwhile."""
    try:
        found = again(lambda: [*examine(resource, tally, only=only), *_images(resource, tally, only)])
    except (OSError, Corrupt) as error:
        why = str(error) if isinstance(error, Corrupt) else f"{error.strerror}: {error.filename}"
        found = [Damage(problem=f"it cannot be read: {why}", hint="look what stands there, and who may read it")]
    return found if _stands(resource) else []


def _whole_look(session: Session, resource: Resource, ref: Ref | None, only: str | None, tally: Tally) -> list[Damage]:
    """What is wrong as it lies, and with the content of what is sealed, unless only names and sizes are asked for."""
    found = _seen(resource, tally, only)
    return found if tally.quick else [*found, *_contents(session, resource, ref, only, found)]


def _contents(
    session: Session, resource: Resource, ref: Ref | None, only: str | None, known: list[Damage]
) -> list[Damage]:
    """What is wrong with the content of sealed versions that are whole as they lie, for who has the key."""
    status = resource.status()
    if status is None or not is_sealed(status.st_mode):
        return []
    try:
        if resource.seal() is None:
            raise Corrupt(f"{SEAL_FILE} is gone")
        lock = session.locked(resource, ref.secret if ref else None)
    except (Corrupt, OSError) as error:
        hint = "put back a copy of it; the SECRET opens each payload without, with age"
        return [Damage(problem=f"its seal does not read: {error}", hint=hint)]
    except LhubError:
        return []  # nothing here opens it
    damaged = {damage.version for damage in known}
    versions = (
        [only] if only else sorted(filter(is_version, (entry.name for entry in listed(resource.folder.versions))))
    )
    found = []
    for version in versions:
        with suppress(FileNotFoundError, NotFound):
            found += [] if version in damaged else _content(session, resource, version, lock)
    return found


def _content(session: Session, resource: Resource, version: str, lock: Lock) -> list[Damage]:
    """What is wrong with the content of one sealed version, and with its image."""
    from lhub.images.oci import faults  # for what is sealed
    from lhub.sealed_images import Opened, lies_sealed  # as above
    from lhub.sealing import Unsealed  # as above

    with resource.opened(version) as opened:
        try:
            if opened.manifest().sealed is not None:
                Unsealed(opened, lambda: lock).see_whole()
        except (Corrupt, Denied) as error:  # Denied: not for this key
            hint = "nobody opens it as it was published; push the same content again"
            return [Damage(problem=f"its content, version {version[:12]}: {error}", hint=hint)]
    folder = resource.image(version)
    if folder is None or not lies_sealed(folder):
        return []
    try:
        image = Opened(folder, version, lock, session.pen)
        odd = list(faults(image.layout, None))
    except (Corrupt, Denied) as error:
        odd = [str(error)]
    return [Damage(problem=f"its image, version {version[:12]}: {fault}", hint=_ANEW) for fault in odd]


def _images(resource: Resource, tally: Tally, only: str | None) -> Iterator[Damage]:
    """What is wrong with container images, or with that of one version; one that is being replaced is told once."""
    entries = listed(resource.folder.images)
    versions = {version for entry in entries if (version := image_of(entry.name)) and only in (None, version)}
    if not versions:
        return
    for version in sorted(versions):
        tally.files += 1
        for fault in _image_faults(resource, version, tally):
            yield Damage(problem=f"the container image of version {version[:12]}: {fault}", hint=_ANEW)


def _image_faults(resource: Resource, version: str, tally: Tally) -> list[str]:
    """What is wrong with an image, looked at anew while somebody may be replacing it; nothing of one that is gone."""
    from lhub.images.oci import Layout, faults  # as above
    from lhub.sealed_images import lies_sealed  # as above

    found: list[str] = []
    for _ in range(3):
        folder = resource.image(version)
        if folder is None or lies_sealed(folder):  # which no digest tells of, but what is in it (`_content`)
            return []
        before = status_of(folder)
        found = list(faults(Layout(folder), None if tally.quick else tally.digest))
        refresh(resource.folder.images)
        after = status_of(resource.image(version) or "")
        if not found or (before and after and before.st_ino == after.st_ino):
            break
    return found


def _stands(resource: Resource) -> bool:
    """Whether nobody deleted it meanwhile; what may not be looked at is there."""
    try:
        return stat.S_ISDIR(os.lstat(resource.folder.path).st_mode)
    except PermissionError:
        return True
    except (FileNotFoundError, NotADirectoryError):
        return False


def _finding(resource: Resource, damage: Damage, *, own: bool = True, tried: bool = False) -> Finding:
    hint = damage.hint
    if not hint:
        mend = f"lhub verify {resource.name} --repair --from ROOT" if tried else f"lhub verify {resource.name} --repair"
        hint = f"{mend} looks for a good copy" if own else "its owner can mend it with lhub verify --repair"
        if tried:
            hint = f"no good copy was found here; {mend} asks another registry"
    return Finding(ref=damage.ref(resource.name), problem=damage.problem, hint=hint)


def _mend(session: Session, namespace: str | None, resource: Resource, damages: list[Damage], care: Care) -> None:
    others = [other for each in care.others for other in _others(each, namespace, resource)]
    with session.changing(resource, namespace) as locked:  # which has completed the diary and the links
        repair = Repair(locked, others, iter(session.unique, None))
        if any(damage.kind for damage in damages):
            repair.mend_kind()
        repair.mend([damage.version for damage in damages if damage.version], [d.blob for d in damages if d.blob])
        if any(damage.diary for damage in damages):
            locked.rebuild_diary(entries_of(locked, told=readable(resource)))


def _others(session: Session, namespace: str | None, resource: Resource) -> Iterator[Resource]:
    """The resources of another registry that may have a good copy, that of the same name first."""
    session.read_root()
    same = session.resource(namespace, os.path.basename(resource.folder.path))
    yield same
    for _, other, _ in session.resources():
        if other.folder.path != same.folder.path:
            yield other


def _rebuild(session: Session, namespace: str | None, resource: Resource) -> None:
    with session.changing(resource, namespace) as locked:
        locked.rebuild_diary(entries_of(locked))
    session.notes(f"made the diary of {resource.name} anew; what it was is kept beside it")
