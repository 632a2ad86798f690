"""Export, import, copy: resources go from one registry to another, by a bundle or straight.

Both ways are one: a parcel is received. Everything that can be refused is refused before a byte is written; then each
version is staged and published as by a push, so a kill loses one version at most and the same again goes on; tags and
pins come last, and the diary tells what it can of the past.

>>> Carried(name="alice/X", versions=2, new=0, tags={}, moved={}).to_dict()["new"]
0
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from lhub.access import Place, absent, refusal
from lhub.bundle import Bundle
from lhub.change import Change, prepare, protected_error, see_private
from lhub.commits import log
from lhub.diary import Entry, Recorded, missing
from lhub.errors import Conflict, Corrupt, Denied, LhubError, NotFound, UsageError
from lhub.fetch import new_file, refuse_inside
from lhub.identity import account_of
from lhub.layout import ONE_PERSON
from lhub.manifest import SMALL
from lhub.names import Ref, is_version_prefix, parse_namespace, parse_tag, twin
from lhub.opening import GONE, free_bytes, read_small
from lhub.packer import write
from lhub.parcel import Parcel, Shelved, parcel_name
from lhub.session import Session, first_of
from lhub.spaces import claim, claim_unnamed, clear_leftover, no_twin_space, to_be_made
from lhub.staging import Staged, agrees, known, staging, sweep
from lhub.store import Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written: the `path` of the bundle, how many `resources` and `versions`, and `bytes` of files."""

    path: str
    resources: int
    versions: int
    bytes: int

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub export --json` prints it."""
        return {"path": self.path, "resources": self.resources, "versions": self.versions, "bytes": self.bytes}


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """One resource that was imported or copied.

    `name` is what it is called here; of its `versions`, `new` were not here before; `tags` is tag to version as it is
    now, `moved` those that named another version before (tag to that version).
    """

    name: str
    versions: int
    new: int
    tags: dict[str, str]
    moved: dict[str, str]

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub import --json` and `lhub copy --json` print it."""
        return {
            "name": self.name,
            "versions": self.versions,
            "new": self.new,
            "tags": self.tags,
            "moved": self.moved,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What a copy did: the resources carried, the names of those skipped as others', those that failed, and why."""

    carried: tuple[Carried, ...]
    skipped: tuple[str, ...] = ()
    failed: tuple[tuple[str, LhubError], ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub copy --json` prints it."""
        return {
            "copied": [each.to_dict() for each in self.carried],
            "skipped": list(self.skipped),
            "failed": [{"name": name, **error.to_dict()} for name, error in self.failed],
        }


# export


def export(sessions: Sequence[Session], refs: Sequence[Ref], path: str, *, since: str | None = None) -> Exported:
    """Write a bundle of what the references mean; `since` (a tag or version of each) leaves out what that had.

    What holds something private is readable by its maker only.
    """
    if not refs:
        raise UsageError("nothing was named", hint="lhub export REF... -o FILE")
    refuse_inside(path, (session.root for session in sessions))
    parcels, have = [], {}
    for ref in dict.fromkeys(refs):
        parcel, digests = first_of(sessions, ref, partial(_parcel, ref=ref, since=since))
        if parcel.namespace is None and parcel.private and parcel.seal is None:
            raise Denied(
                f"{ref.name} is private by its secret, which no bundle carries",
                hint="lhub copy takes it to another registry",
            )
        parcels.append(parcel)
        have[parcel_name(parcel)] = digests
    names = [parcel_name(parcel) for parcel in parcels]
    if double := _repeated(names):
        raise UsageError(f"{double} was named twice", hint="name a resource once, whole or by one tag")
    mode = 0o600 if any(parcel.private for parcel in parcels) else 0o666
    with new_file(sessions[0].pen, path, sessions[0].unique(), mode=mode) as target:
        try:
            written = write(parcels, target, have)
        except (OSError, Corrupt):
            if gone := next((parcel for parcel in parcels if parcel.source.status() is None), None):
                raise absent(parcel_name(gone), caller=sessions[0].caller) from None
            raise
    return Exported(path=path, resources=written.resources, versions=written.versions, bytes=written.bytes)


def _parcel(session: Session, ref: Ref, since: str | None = None) -> tuple[Shelved, frozenset[str]]:
    resource = session.seen(ref)
    only = session.resolve(resource, ref) if ref.tag or ref.version or ref.at else None
    without, digests = _before(session, resource, ref, since) if since else (frozenset[str](), frozenset[str]())
    if only in without:
        raise UsageError(f"{ref} is no newer than {since}", hint="name what is newer")
    return Shelved(resource, ref.namespace, only=only, tag=ref.tag, without=without), digests


def _before(session: Session, resource: Resource, ref: Ref, since: str) -> tuple[frozenset[str], frozenset[str]]:
    """The versions up to one, by the diary, and the digests of its own files: whoever imports has them."""
    base = Ref(resource=ref.resource, namespace=ref.namespace)
    digits = since.removeprefix("@").lower()
    wanted = replace(base, version=digits) if is_version_prefix(digits) else replace(base, tag=parse_tag(since))
    try:
        version = session.resolve(resource, wanted)
    except NotFound:
        if wanted.tag or digits not in resource.links().tags:
            raise
        version = resource.links().tags[digits].version  # a tag that looks like digits
    older: set[str] = set()
    with suppress(Corrupt):
        for entry in reversed(list(log(resource))):
            older |= {entry.version} if entry.version else set()
            if entry.version == version:
                break
        else:
            older = set()
    with resource.opened(version) as opened:
        return frozenset(older | {version}), frozenset(opened.sums().values())


# import and copy


def import_bundle(session: Session, path: str, namespace: str | None = None) -> list[Carried]:
    """Receive what a bundle holds, under its own namespaces or under `namespace`; see `Registry.import_bundle`."""
    if namespace is not None:
        parse_namespace(namespace)
    try:
        bundle = Bundle(path)
    except FileNotFoundError:
        raise NotFound(f"{path} is not here", hint="lhub export REF -o FILE makes a bundle") from None
    try:
        return receive_all(session, bundle.parcels, namespace)
    finally:
        bundle.close()


def copy(sessions: Sequence[Session], target: Session, refs: Sequence[Ref], namespace: str | None = None) -> Copied:
    """Carry resources to another registry; without references, all of the caller's own that can be carried."""
    session = sessions[0]
    session.read_root()
    if any(each.root == target.root for each in sessions):
        raise UsageError("source and target are one registry", hint="--to names another")
    if not refs:
        return _copy_all(session, target, namespace)
    parcels = [first_of(sessions, ref, partial(_parcel, ref=ref))[0] for ref in refs]
    return Copied(carried=tuple(receive_all(target, list(map(_with_verifier, parcels)), namespace)))


def _copy_all(session: Session, target: Session, namespace: str | None) -> Copied:
    """One after the other; what cannot be carried does not keep the rest from being."""
    carried, skipped, failed = list[Carried](), list[str](), list[tuple[str, LhubError]]()
    for space, resource, own in session.resources():
        if not own:
            skipped.append(resource.name)
            continue
        try:
            carried += receive_all(target, [_with_verifier(Shelved(resource, space))], namespace)
        except LhubError as error:
            failed.append((resource.name, error))
        except OSError as error:  # a colleague closed something in it
            failed.append((resource.name, LhubError(f"{error.filename}: {error.strerror}", hint="look whose it is")))
    return Copied(carried=tuple(carried), skipped=tuple(skipped), failed=tuple(failed))


def _with_verifier(parcel: Shelved) -> Shelved:
    """What has no namespace takes the verifier of its secret along, where the kernel lets the caller read it."""
    if parcel.namespace is None:
        with suppress(OSError, LhubError):
            parcel.verifier = read_small(parcel.source.folder.secret, limit=SMALL)
    return parcel


def receive_all(session: Session, parcels: Sequence[Parcel], namespace: str | None) -> list[Carried]:
    """Refuse what is to be refused, of all, then receive one after the other."""
    receivers = [_Receiver(session, parcel, namespace or parcel.namespace) for parcel in parcels]
    names = [receiver.name for receiver in receivers]
    if double := _repeated(names):
        raise Conflict(
            f"two resources would both be {double}",
            hint="take them one by one, or without --as" if namespace else "take them one by one, by path",
        )
    if double := _repeated(names, by=str.lower):
        raise Conflict(f"{double} differs only by case from another that comes along", hint="some disks keep only one")
    if not to_be_made(session.root):
        session.read_root()
    for receiver in receivers:
        receiver.refuse()
    _refuse_room(session, sum(receiver.lacking() for receiver in receivers))
    return [receiver.receive() for receiver in receivers]


def _repeated(names: Iterable[str], *, by: Callable[[str], str] = str) -> str | None:
    """The first name that, as `by` has it, is the same as one before it."""
    seen: set[str] = set()
    for name in names:
        if (same := by(name)) in seen:
            return name
        seen.add(same)
    return None


def _refuse_room(session: Session, size: int) -> None:
    """Refuse before the first byte what cannot have room."""
    place = session.root if os.path.isdir(session.root) else os.path.dirname(session.root)
    with suppress(OSError):
        if size > free_bytes(place):
            raise LhubError(f"there is no room for {size} bytes at {place}", hint="nothing was changed")


class _Receiver:
    """One parcel and where it goes."""

    def __init__(self, session: Session, parcel: Parcel, namespace: str | None) -> None:
        self.session, self.parcel, self.namespace = session, parcel, namespace
        self.resource = session.resource(namespace, parcel.resource)
        self.name = self.resource.name
        self.stands = False
        self.wanted: dict[str, Staged] = {}

    # what is refused

    def refuse(self) -> None:
        """Raise for everything that the receiving registry would not take; the versions are verified here."""
        session, parcel = self.session, self.parcel
        place = session.place(self.namespace, parcel.resource)
        self.stands = place.stands
        self._refuse_place(place)
        no_twin_space(session, self.namespace)
        session.no_twin(self.namespace, parcel.resource)
        if self.stands and place.kind != parcel.kind:
            raise Conflict(
                f"{self.name} holds {place.kind}, what comes is {parcel.kind}", hint="--as NAMESPACE keeps them apart"
            )
        self._refuse_opening(place)
        self._refuse_seal()
        self._refuse_tags()
        for version in parcel.versions():
            self.wanted[version] = self._resolved(parcel.staged(version))
        if lost := [tag for tag, version in parcel.tags.items() if not self._will_stand(version)]:
            raise Conflict(
                f"the tag {lost[0]} of {self.name} names a version that neither comes nor is here",
                hint="import the bundle that this one continues first",
            )

    def _refuse_opening(self, place: Place) -> None:
        if self.stands and self.parcel.private and not place.private:
            raise Conflict(
                f"{self.name} is public here, what comes is private", hint=f"first: lhub visibility {self.name} private"
            )

    def _refuse_place(self, place: Place) -> None:
        if self.namespace is not None:
            if error := refusal("push", place, caller=self.session.caller):
                raise error if not isinstance(error, Denied) else self._denied(error)
        elif self.stands and not (place.maker and (self._same_secret() or self._fits())):
            raise Conflict(f"{self.name} stands already, and is never updated so", hint="--as NAMESPACE takes it there")
        elif self.parcel.private and self._keyless() and not self.stands:
            raise Denied(f"{self.name} is private by a secret that did not come along", hint="--as NAMESPACE takes it")

    def _keyless(self) -> bool:
        return self.parcel.verifier is None and self.parcel.seal is None

    def _refuse_seal(self) -> None:
        """What is sealed for somebody joins only what is sealed by the same document, or is new and his own."""
        seal, standing = self.parcel.seal, self.resource.seal_text() if self.stands else None
        if self.stands and standing != seal:
            what = "is sealed otherwise" if seal and standing else "is sealed on one side only"
            raise Conflict(
                f"{self.name} stands here, and {what}", hint="import it under another name, or delete this one"
            )
        if seal and self.namespace is not None and not self.stands:
            self._refuse_another_s(seal, self.namespace)

    def _refuse_another_s(self, seal: bytes, namespace: str) -> None:
        """What is sealed for another owner would let him read all that is pushed to it here."""
        from lhub.age import NoKey, recipient_of  # for what is sealed
        from lhub.sealing import Lock, proves  # as above

        session = self.session
        secrets = [session.secret] if session.secret else []
        try:
            owner = Lock.read(seal, self.name, secrets, session.identities()).seal
            mine = owner.owner in [recipient_of(each) for each in session.identities()]
            own = (mine or any(proves(owner, secret) for secret in secrets)) and session.modes(namespace) is ONE_PERSON
        except NoKey:
            own = False
        if not own:
            raise Denied(
                f"{self.name} is sealed for another owner, or his key is not here",
                hint="lhub pull it, then push it with --seal to your own namespace; or LHUB_SECRET takes its secret",
            )

    def _same_secret(self) -> bool:
        """Whether the verifier that came along is the one that stands: made from one secret, with one salt."""
        if self.parcel.seal is not None:
            return self.parcel.seal == self.resource.seal_text()
        with suppress(OSError, LhubError):
            return self.parcel.verifier == read_small(self.resource.folder.secret, limit=SMALL)
        return False

    def _denied(self, error: Denied) -> Denied:
        mine = self.session.caller
        return Denied(str(error), hint=f"--as {mine} takes it under your own namespace" if mine else "lhub login NAME")

    def _fits(self) -> bool:
        """Whether no tag that comes stands elsewhere: what a kill left is finished."""
        here = self.resource.links().versions()
        return all(here.get(tag, version) == version for tag, version in self.parcel.tags.items())

    def _refuse_tags(self) -> None:
        links = self.resource.links() if self.stands else None
        if odd := _repeated(self.parcel.tags, by=str.lower):
            raise Conflict(f"the tag {odd} of {self.name} differs only by case from another that comes along")
        for tag, version in self.parcel.tags.items():
            if links and (other := twin(tag, list(links.tags))):
                raise Conflict(
                    f"the tag {tag} differs only by case from {other} of {self.name}", hint="untag one of them"
                )
            if links and links.standing(tag) not in (None, version):
                raise protected_error(self.name, [tag])

    def _resolved(self, staged: Staged) -> Staged:
        """A version with the sizes of those files that the parcel takes for granted."""
        if all(file.size >= 0 for file in staged.tree.files):
            return staged
        files = [file if file.size >= 0 else file._replace(size=self._here(file.digest)) for file in staged.tree.files]
        return known(staged.manifest, staged.manifest_text, staged.sums_text, files)

    def _here(self, digest: str) -> int:
        try:
            return os.lstat(self.resource.folder.blob(digest)).st_size
        except FileNotFoundError:
            raise Conflict(
                f"what comes of {self.name} continues a version that is not here",
                hint="import the bundle that this one continues first",
            ) from None

    def _will_stand(self, version: str) -> bool:
        return version in self.wanted or (self.stands and self.resource.keeps(version))

    def lacking(self) -> int:
        """Bytes that are not here yet, at most: each blob once, and each executable file, which is a copy."""
        blobs: dict[str, int] = {}
        copies = 0
        for staged in self.wanted.values():
            if not (self.stands and self.resource.has(staged.id)):
                blobs |= {file.digest: file.size for file in staged.tree.files}
                copies += sum(file.size for file in staged.tree.files if file.executable)
        place = self.resource.folder.blob
        return copies + sum(size for digest, size in blobs.items() if not os.path.lexists(place(digest)))

    # what is done

    def receive(self) -> Carried:
        """Versions, then pins and tags, then the diary."""
        session = self.session
        claim(session, self.namespace) if self.namespace else claim_unnamed(session)
        try:
            return self._receive()
        except OSError as error:
            if error.errno not in GONE or self.resource.status() is not None:
                raise
            raise Conflict(f"{self.name} was deleted while this came", hint="the same again goes on") from None

    def _receive(self) -> Carried:
        session = self.session
        self._settle()
        new = sum([self._version(staged) for staged in self.wanted.values()])
        with session.changing(self.resource, self.namespace) as locked:
            if self.parcel.verifier and self.namespace is None and not self.stands:
                locked.keep_secret(self.parcel.verifier)
            if self.parcel.seal and not self.stands:
                locked.keep_seal(self.parcel.seal)
            locked.fix_kind(self.parcel.kind)
            moved = self._tags(locked)
        with suppress(OSError):
            sweep(session.pen, self.resource.folder, uid=session.uid)
        tags = self.resource.links().versions()
        return Carried(name=self.name, versions=len(self.wanted), new=new, tags=tags, moved=moved)

    def _settle(self) -> None:
        """The folders, with their final privacy; hashing a bundle takes long, so it is looked at again what stands."""
        session, private = self.session, self.parcel.private
        place = session.place(self.namespace, self.parcel.resource)
        if place.stands and not self.stands:
            self.refuse()  # again: it came while this was verified
        self._refuse_opening(place)
        self._refuse_seal()
        if not place.stands and place.private != private and self.resource.status():
            clear_leftover(session, self.namespace, self.resource)  # of another privacy: not to be opened, nor filled
        modes = session.modes(self.namespace)
        closed = modes.sealed if self.parcel.seal else modes.private
        mode = closed if private and not self.stands else modes.public
        prepare(session.pen, self.resource.folder, modes, uid=session.uid, mode=mode)
        if private:
            see_private(self.resource.folder.path)

    def _version(self, wanted: Staged) -> bool:
        """One version, staged and published; False when it stood whole."""
        if agrees(self.resource, wanted):
            return False
        session, writer = self.session, self.session.writer()
        modes = session.modes(self.namespace)
        with staging(session.pen, self.resource, modes, session.unique(), writer.note) as stage:
            stage.refusal = self._changed
            for file in wanted.tree.files:
                stage.receive(file, self.parcel.opener(wanted.id, file))
            staged = stage.finish(wanted)
            stage.date(self._made(wanted.id))
            with session.changing(self.resource, self.namespace) as locked:
                return locked.publish(staged)

    def _made(self, version: str) -> float | None:
        """When it was made, elsewhere; not in the future, where it would be the newest for ever."""
        made = self.parcel.made(version)
        return made if made is not None and made <= self.session.clock() else None

    def _changed(self, path: str) -> LhubError:
        return Corrupt(f"{path} of {parcel_name(self.parcel)} is not what was published", hint="no tag was changed")

    def _tags(self, locked: Change) -> dict[str, str]:
        """Pins, tags, diary; what is older than what stands here leaves the tags alone. Tag to where it was."""
        parcel, before = self.parcel, locked.links.versions()
        past, stays = self._past(locked)
        if stays:
            self.session.notes(f"{self.name}: what comes is older than what is here, so these stay: {', '.join(stays)}")
        tags = {tag: version for tag, version in parcel.tags.items() if tag not in stays}
        self._refuse_tags()
        groups = {version: [tag for tag, each in tags.items() if each == version] for version in tags.values()}
        for version, named in groups.items():
            locked.pin(tuple(tag for tag in named if tag in parcel.pins), version)
        for version, named in groups.items():
            locked.move(tuple(named), version)
        if tags or not before:
            locked.record(*self._entries(locked, past))
        return {tag: old for tag, old in before.items() if tags.get(tag, old) != old}

    def _past(self, locked: Change) -> tuple[list[Entry], list[str]]:
        """What the diary here has not been told yet of the one that comes, and the tags that have moved on since."""
        import tempfile  # not in the registry: on NFS what a library keeps open cannot be removed there

        try:
            with tempfile.TemporaryDirectory(prefix="lhub-diary-") as folder:
                everything = self.parcel.entries(self.session.pen, f"{folder}/diary")
        except (LhubError, OSError) as error:
            self.session.notes(f"{self.name}: the diary that comes does not read, so only the import is told: {error}")
            everything = []
        log_here = list(log(self.resource))[::-1]
        theirs, ours = _told(everything), _told(log_here)
        if not ours:
            return everything, []
        if theirs[: len(ours)] == ours:
            return theirs[len(ours) :], []
        older = bool(theirs) and ours[: len(theirs)] == theirs
        return [], [tag for tag, version in sorted(self.parcel.tags.items()) if older or _was(log_here, tag, version)]

    def _entries(self, locked: Change, past: list[Entry]) -> list[Entry]:
        """What the diary is to be told: the past that came along, and by whom it came."""
        state = locked.recorded or Recorded()
        for entry in past:
            state = state.after(entry)
        links = self.resource.links()
        now, visibility = self.session.clock(), locked.visibility()
        lacking = missing(state, links.tags, visibility, now=now, account=account_of)
        told = [self._as_import(locked, entry) for entry in lacking]
        version = links.head or next(reversed(self.wanted), None)
        if not told and version and (past or not self.resource.published()):
            tags = tuple(tag for tag, link in sorted(links.tags.items()) if link.version == version)
            told = [replace(locked.entry("import"), version=version, tags=tags)]
        return [*past, *told]

    @staticmethod
    def _as_import(locked: Change, entry: Entry) -> Entry:
        mine = locked.entry("import")
        action = "restore" if entry.action == "restore" else mine.action
        return replace(entry, action=action, name=mine.name, address=mine.address, when=mine.when, late=False)


def _was(entries: Iterable[Entry], tag: str, version: str) -> bool:
    """Whether a tag was at a version and has moved on."""
    named = [entry.version for entry in entries if tag in (*entry.tags, *entry.protected)]
    return version in named[:-1] and named[-1] != version


def _told(entries: Iterable[Entry]) -> list[Entry]:
    """What a diary was told by its writers, to compare two: not what was made up for a killed one, nor imports."""
    return [replace(entry, commit="") for entry in entries if not entry.late and entry.action != "import"]
