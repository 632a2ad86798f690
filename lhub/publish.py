"""Push: a folder, a file or an array becomes a version, and tags name it.

The recipe, top to bottom, is FORMAT.md's section "Push".

Before the commit point (a tag's link is renamed) nothing names what was written; after it everything that is left
can be done again by whoever writes next.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import lhub.secrecy as secrecy
import lhub.spaces as spaces
from lhub.access import Place, absent, refusal
from lhub.apart import Apart
from lhub.builds import Builder, Task, begun, new_task_id
from lhub.change import Change, change, prepare, protected_error, see_expected, see_private
from lhub.errors import Conflict, Denied, LhubError, NotFound, UsageError, listing
from lhub.folder import Packing, changed, scan
from lhub.index import Known
from lhub.kinds import Recognised, described, files, recognise
from lhub.layout import TEAM, is_private, is_sealed
from lhub.manifest import METADATA
from lhub.names import VARIABLE, Ref, is_version_prefix, parse_name, secret_faults, tag_faults, twin
from lhub.opening import GONE, listed
from lhub.orders import Arriving, ImageOrder, Order, Planned, Pushed
from lhub.redaction import Redaction
from lhub.session import Session
from lhub.staging import Staged, Staging, changed_error, identify, staging, sweep
from lhub.store import Deleted, Resource, Vanished
from lhub.tags import Links
from lhub.ways import ways_kept

if TYPE_CHECKING:
    from lhub.building import Imaging
    from lhub.sealing import Content, Lock
    from lhub.seals import Seal

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds that a push waits for a colleague's mkdir: his umask closes a folder until his chmod."""
_TURNS = 7
"""How often a push begins anew because what it was about to update was deleted, restored or collected."""


def push(session: Session, order: Order) -> Pushed:
    """Carry out an order; see `lhub.push` for what it raises."""
    going = _begin(session, order)
    try:
        with going.tasks:
            return going.in_turns()
    except Apart:
        return going.promised()
    except OSError as error:
        if error.errno not in _FULL:
            raise
        where = error.filename if isinstance(error.filename, str) else session.root
        raise LhubError(f"{where}: {error.strerror}", hint="make room, then push again") from error
    finally:
        if os.getpid() != going.process:
            os._exit(0)  # it went on by itself; how it ended is in the log of its task


def plan(session: Session, order: Order) -> Planned:
    """All that a push refuses or would carry, nothing of it written."""
    if order.arriving is not None:
        raise UsageError("what documents become is known when they are written", hint="plan takes a folder or a file")
    going = _begin(session, order)
    target = going.aim()
    _refuse(session, target, order)
    _imaging(session, order, target)
    spaces.no_twin_space(session, target.place.namespace)
    version = _identify(session, target, order)
    return Planned(
        name=target.resource.name,
        kind=target.kind,
        version=version,
        new=version is None or not target.resource.keeps(version),
        visibility=order.visibility or ("private" if target.place.private else "public"),
        tags=order.all_tags,
        protected_tags=tuple(dict.fromkeys(order.protected_tags)),
        files={source.path: source.size for source in target.packing.sources},
        gained=going.found.gained if target.kind == going.found.kind else (),
        ignored=target.packing.ignored,
    )


@dataclass(kw_only=True)
class _Going:
    """A push on its way; `works` are its task, wherever its resource was made anew, `tasks` holds their locks.

    `secret` and `lock` are what a first push has made: told once, and kept as the seal.
    """

    session: Session
    order: Order
    packing: Packing
    found: Recognised
    fault: UsageError | None
    task: str
    target: _Target | None = None
    works: list[Task] = field(default_factory=list)
    tasks: ExitStack = field(default_factory=ExitStack)
    secret: str | None = None
    lock: Lock | None = None
    process: int = field(default_factory=os.getpid)

    def in_turns(self) -> Pushed:
        """Push, and begin anew when what was about to be updated was deleted, restored or collected meanwhile."""
        for turn in range(_TURNS):
            target = self.aim()
            try:
                return self.once(target)
            except (Vanished, Deleted):  # a collection or a deletion came between two steps
                pass
            except OSError as error:
                time.sleep(self.pause_after(error, target, turn))
            if self.order.arriving is not None and self.order.arriving.gone:
                name = target.resource.name
                raise Conflict(f"{name} was deleted while the documents were on their way", hint="push them again")
            if target.place.private and self.order.visibility is None:
                self.order = replace(self.order, visibility="private")  # as it was: what is made anew is not opened
        raise Conflict(f"{target.resource.name} is deleted and restored again and again", hint="push when it rests")

    def aim(self) -> _Target:
        """Where it goes, as that stands now; raises the fault of an Executor's files."""
        target = _target(self.session, self.order, self.packing, self.found)
        if self.fault is not None and target.kind == self.found.kind:
            raise self.fault
        return target

    def once(self, target: _Target) -> Pushed:
        """Refuse early, then steps 1a to 10."""
        session, self.target = self.session, target
        _refuse(session, target, self.order)
        imaging = _imaging(session, self.order, target)
        if target.first:
            self.keep_secret(target)
        lock = self.lock_of(target)
        if lock is not None:  # also if it is deleted meanwhile, and made anew
            self.order = replace(self.order, seal=True)
        hidden = _settle(session, target, self.order, sealed=lock is not None)
        with _telling_hidden(session, target) if hidden else nullcontext():
            pushed = _push(session, target, self.order, self.task_at(target), lock)
        pushed = replace(pushed, secret=self.secret if lock is None or lock.seal == self.sealed_by else None)
        if imaging is not None and pushed.version is not None:
            imaging.build(pushed, self.task_at(target), lock)
        return _with_image(target, pushed)

    def keep_secret(self, target: _Target) -> None:
        """Give what is new its secret, once for all turns: whichever ends well tells it."""
        sealed = secrecy.is_to_be_sealed(self.session, self.order, target.place.namespace)
        if self.secret is not None or not (sealed or target.place.namespace is None):
            return
        if sealed:
            from lhub.sealing import Lock, new_secret, weakness  # for what is sealed

            self.secret = self.order.secret or new_secret()
            if warning := weakness(self.secret):
                self.session.notes(warning)
            self.lock = Lock.new(self.secret, spaces.own_identity(self.session, target.place.namespace))
        else:
            from lhub.verifier import new_secret as new_word  # for resources without a namespace only

            self.secret = self.order.secret or new_word()
        if target.place.namespace is None:
            self.order = replace(self.order, secret=self.secret)

    @property
    def sealed_by(self) -> Seal | None:
        """The seal that this push has made; None where it made none."""
        return self.lock.seal if self.lock else None

    def lock_of(self, target: _Target) -> Lock | None:
        """The seal and the keys by which this version is sealed; None where it lies in clear."""
        return self.lock if target.first else target.standing_lock(self.session, self.order.secret or self.secret)

    def task_at(self, target: _Target) -> Task:
        """Its task: the one that runs, or a new one of the same id where the resource was made anew.

        What was deleted may have been restored meanwhile, with a task of this push in it, whose lock it still holds.
        """
        standing = next((work for work in self.works if work.stands()), None)
        if standing is None:
            standing = self.tasks.enter_context(self.begun(target))
            self.works.append(standing)
        for work in self.works:
            work.left = work is not standing
        return standing

    def begun(self, target: _Target) -> AbstractContextManager[Task]:
        """The task, in a process of its own if that is asked for and not so yet."""
        session, me = self.session, self.session.writer()
        builder = Builder(
            who=me.name,
            host=session.person.host,
            note=me.note,
            clock=session.clock,
            hide=Redaction(self.order.build_env.values()),
            sealed=self.order.seal,
            telling=self.order.telling,
        )
        modes = session.modes(target.place.namespace)
        apart = self.order.detach and os.getpid() == self.process
        return begun(session.pen, target.resource.folder, modes, self.task, builder, apart=apart)

    def pause_after(self, error: OSError, target: _Target, turn: int) -> float:
        """Seconds to wait before another turn; raises what is no reason for one."""
        inside = f"{error.filename}/".startswith(f"{target.resource.folder.path}/")
        team = self.session.modes(target.place.namespace) is TEAM
        opening = error.errno == errno.EACCES and turn < len(_PAUSES) and team
        if not inside or not (error.errno in GONE or opening):
            raise error
        return _PAUSES[turn] if opening else 0.0

    def promised(self) -> Pushed:
        """What was known of a push when it went on by itself."""
        target = self.target or self.aim()
        return Pushed(
            name=target.resource.name,
            kind=target.kind,
            uri=str(_uri(target, self.order.all_tags[0])),
            version=None,
            tags=self.order.all_tags,
            protected_tags=tuple(dict.fromkeys(self.order.protected_tags)),
            visibility=self.order.visibility or ("private" if target.place.private else "public"),
            new=None,
            task_id=self.task,
            path=None,
            secret=self.secret,
            sealed=self.order.seal,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """Where a push goes, and with what."""

    packing: Packing
    found: Recognised
    place: Place
    resource: Resource
    kind: str

    arriving: Arriving | None
    metadata: str | None

    @property
    def about(self) -> Mapping[str, Any]:
        """What the manifest tells; of an Executor or array that goes on as files, what it tells of those."""
        if self.arriving is not None:
            told = self.arriving.about
        else:
            told = self.found.about if self.kind == self.found.kind else files(self.packing).about
        return {**told, METADATA: self.metadata} if self.metadata is not None else told

    @property
    def first(self) -> bool:
        return not self.place.stands

    def standing_lock(self, session: Session, secret: str | None) -> Lock | None:
        """By what it is sealed, if it stands sealed."""
        return None if self.first else secrecy.standing_lock(session, self.resource, secret)


# step 1: refuse early


def _begin(session: Session, order: Order) -> _Going:
    """Look at the folder and at what is asked; raises UsageError, NotFound for what can be refused by that alone."""
    _check(order)
    with suppress(NotFound):  # a missing registry is made, once nothing is left to refuse
        session.read_root()
    without = frozenset[str]() if order.whole else None
    packing = scan(order.path, without=without, given=order.given) if order.arriving is None else _NO_FILES
    if packing.folder and f"{session.root}/".startswith(f"{packing.folder}/"):
        raise UsageError(f"{order.path} holds the registry itself", hint="push a folder beside it or in it")
    _tell_ignored(session, packing)
    found, fault = _recognised(packing) if order.arriving is None else (_arriving(order.arriving), None)
    if order.kind not in (None, found.kind):
        raise UsageError(f"{order.path} is of kind {found.kind}, not {order.kind}", hint="nothing was changed")
    for warning in found.warnings:
        session.notes(warning)
    _refuse_unset(found, order)
    task = new_task_id(session.clock())
    return _Going(session=session, order=order, packing=packing, found=found, fault=fault, task=task)


_NO_FILES = Packing(folder="", sources=(), ignored=(), own_list=True)


def _arriving(arriving: Arriving) -> Recognised:
    return Recognised(kind=arriving.kind, packing=_NO_FILES)


def _recognised(packing: Packing) -> tuple[Recognised, UsageError | None]:
    """What a folder is, and why it cannot be pushed as that: what stands as files may go on as files."""
    try:
        return recognise(packing), None
    except UsageError as fault:
        with suppress(UsageError):
            return described(packing), fault
        raise


def _refuse_unset(found: Recognised, order: Order) -> None:
    """Refuse requirements that use a variable which is not given: with it they could be installed nowhere."""
    if missing := [name for name in found.variables if name not in order.build_env]:
        raise UsageError(
            f"the requirements use {', '.join(f'${{{name}}}' for name in missing)}, which this push does not give",
            hint="add " + " ".join(f"--build-env {name}=VALUE" for name in missing),
        )


def _check(order: Order) -> None:
    faults = [fault for tag in (*order.tags, *order.protected_tags) for fault in tag_faults(tag)]
    if order.secret is not None:
        faults += secret_faults(order.secret)
    if order.expect is not None and not is_version_prefix(order.expect):
        faults.append("--expect takes 8 to 64 hex digits of a version")
    if order.expect is not None and order.if_absent:
        faults.append("--expect and --if-absent exclude each other")
    faults += _env_faults(order.build_env)
    if None not in (order.name, order.force_update) and order.name != order.force_update:
        faults.append("NAME and --force-update name different resources")
    spelt = {tag.lower(): tag for tag in order.all_tags}
    if other := next((tag for tag in order.all_tags if spelt[tag.lower()] != tag), None):
        faults.append(f"the tags {other} and {spelt[other.lower()]} differ only by case")
    if faults:
        commas = any("," in tag for tag in order.all_tags)
        hint = "give -t for each tag, as in -t v1 -t v2" if commas else "lhub push --help shows how it is written"
        raise UsageError(listing("this push cannot be", faults), hint=hint)


def _env_faults(build_env: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the variables; a name that is none is not repeated, for a secret may stand in its place."""
    for number, (name, value) in enumerate(build_env.items(), 1):
        if not VARIABLE.fullmatch(name):
            yield f"the name of variable {number} of --build-env has other than A-Z, 0-9 and _, or begins with _"
        elif not value:
            yield f"--build-env {name} has an empty value, of which pip makes nothing"


def _tell_ignored(session: Session, packing: Packing) -> None:
    """Say what the built-in list leaves out, but for what Python itself strews about: nobody asked for that list."""
    left = [path for path in packing.ignored if not packing.own_list and "__pycache__" not in path]
    if left:
        shown = ", ".join(left[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
        session.notes(f"left out: {shown} (a .gitignore in the folder replaces the built-in list)")


def _target(session: Session, order: Order, packing: Packing, found: Recognised) -> _Target:
    wanted = next((name for name in (order.name, order.force_update, found.name) if name is not None), None)
    if wanted is None:
        if order.arriving is not None:
            raise UsageError("documents are pushed under a name", hint='lhub.push(docs, "alice/x")')
        how = "" if packing.file else ", or metas.name in the folder's config.yml"
        raise UsageError(f"{order.path} does not say its name", hint=f"lhub push PATH NAME{how}")
    namespace, name = parse_name(wanted)
    if namespace is None and found.kind == "docarray":
        _refuse_bare(session, name)
    if namespace is None and session.caller is not None and order.secret is None:
        namespace = session.caller
    place = session.place(namespace, name, secret=order.secret)
    resource = session.resource(namespace, name)
    as_files = place.stands and place.kind == "files" and order.arriving is None
    kind = "files" if as_files else found.kind  # any folder or file may go on as files
    if not place.stands:
        place = place._replace(maker=True, kind=kind)
    if as_files and found.kind != kind:
        session.notes(f"{order.path} is of kind {found.kind}; {resource.name} holds files, so it goes there as files")
    travels = found.packing if kind == found.kind else packing
    return _Target(
        packing=travels,
        found=found,
        place=place,
        resource=resource,
        kind=kind,
        arriving=order.arriving,
        metadata=order.metadata,
    )


def _refuse_bare(session: Session, name: str) -> None:
    """An array has a namespace; one of the old cloud without is what it was."""
    old = session.place(None, name)
    if old.stands and old.kind == "docarray" and (error := refusal("push", old, caller=session.caller)):
        raise error
    now = f"{session.caller or 'alice'}/{name}"
    raise UsageError(f"an array of documents is named NAMESPACE/NAME now, not {name}", hint=f"push it as {now}")


def _refuse(session: Session, target: _Target, order: Order) -> None:
    """Everything that can be refused before anything is written."""
    place, resource = target.place, target.resource
    if error := refusal("push", place, caller=session.caller):
        raise error
    secrecy.refuse(session, resource, order, place.namespace, first=target.first)
    if order.visibility and not target.first:
        _refuse_visibility(session, target, order.visibility)
    if target.first:
        session.no_twin(place.namespace, place.resource)  # looks at every name there is
        _refuse_first(session, target, order)
        return
    if place.kind != target.kind:
        raise Conflict(f"{resource.name} holds {place.kind}, this is {target.kind}", hint="push it under another name")
    links = resource.links()
    _refuse_unexpected(target, order, links)
    for tag in order.all_tags:
        if other := twin(tag, list(links.tags)):
            raise Conflict(f"the tag {tag} differs only by case from {other}, which stands", hint="choose another tag")
    pinned = {tag: stands for tag in order.all_tags if (stands := links.standing(tag)) is not None}
    if pinned and target.arriving is None:  # what documents become is known when they are written
        version = _identify(session, target, order)
        if held := [tag for tag, stands in pinned.items() if stands != version]:
            raise protected_error(resource.name, held)


def _identify(session: Session, target: _Target, order: Order) -> str | None:
    """The version that this content is; None where it would be sealed anew."""
    lock = target.standing_lock(session, order.secret)
    if lock is None:
        sealed = target.first and secrecy.is_to_be_sealed(session, order, target.place.namespace)
        return None if sealed else identify(target.packing, target.kind, target.about)
    from lhub.sealing import Content, taken, version_of  # for what is sealed

    content = Content.of(taken(target.packing), target.kind, target.about)
    return version_of(target.resource, lock.marks(content.manifest_text))


def _refuse_first(session: Session, target: _Target, order: Order) -> None:
    """What a first push cannot do: update."""
    if order.force_update is not None:
        raise absent(target.place.name, caller=session.caller)
    if order.expect:
        name = target.resource.name
        raise Conflict(f"{name} does not stand, so it is not at {order.expect[:12]}", hint="look again, then push")


def _refuse_visibility(session: Session, target: _Target, visibility: str) -> None:
    """Only who made a resource changes its visibility, and the kernel lets nobody else change its mode."""
    place, status = target.place, target.resource.status()
    if place.private == (visibility == "private"):
        return
    if error := refusal("manage", place, caller=session.caller):
        raise error
    if status is not None and status.st_uid != session.uid:
        raise Denied(
            f"{place.name} was made by somebody else, who alone changes its visibility", hint="push without it"
        )


def _settle(session: Session, target: _Target, order: Order, *, sealed: bool) -> bool:
    """The folders of the resource, with the privacy that it shall have before the first byte is written.

    True when that has hidden what was public.
    """
    place = target.place
    if target.first or not os.path.lexists(session.folder.namespace(place.namespace).file):  # it looks at every name
        spaces.claim(session, place.namespace) if place.namespace else spaces.claim_unnamed(session)
    modes = session.modes(place.namespace)
    private = order.visibility == "private"
    if target.first and _is_of_another_privacy(target, private=private, sealed=sealed):
        _clear_leftover(session, target)
    mode = modes.sealed if sealed else modes.private if private else modes.public
    made = prepare(session.pen, target.resource.folder, modes, uid=session.uid, mode=mode)
    if sealed and not made and not is_sealed(os.lstat(target.resource.folder.path).st_mode):
        session.pen.set_mode(target.resource.folder.path, mode)  # a copy by hand has lost it
    hide = private and not place.private
    if made or not hide:
        return False
    session.pen.set_mode(target.resource.folder.path, modes.private)
    see_private(target.resource.folder.path)
    session.pen.sync_folder(target.resource.folder.path)
    return True


def _is_of_another_privacy(target: _Target, *, private: bool, sealed: bool) -> bool:
    """Whether a first push that was killed left its folder closed otherwise: it is neither opened nor filled so.

    What another first push makes just now looks so too, until its chmod.
    """
    for pause in (0.0, *_PAUSES[:3]):
        time.sleep(pause)
        status = target.resource.status()
        if status is None or is_sealed(status.st_mode) == sealed:
            return target.place.private and not private
    return True


def _clear_leftover(session: Session, target: _Target) -> None:
    """Make room where a private first push was killed; what a colleague makes just now looks so until his chmod."""
    for pause in _PAUSES:
        status = target.resource.status()
        if status is None or status.st_uid == session.uid:
            break
        if not is_private(status.st_mode):
            return
        time.sleep(pause)
    spaces.clear_leftover(session, target.place.namespace, target.resource)


@contextmanager
def _telling_hidden(session: Session, target: _Target) -> Iterator[None]:
    """Say that a failed push has hidden its resource: to open it again could show what somebody else hid."""
    try:
        yield
    except (Vanished, Deleted):  # it begins anew
        raise
    except (LhubError, OSError):
        name = target.resource.name
        session.notes(f"{name} is private since this push began; to open it: lhub visibility {name} public")
        raise


# steps 2 to 9


def _push(session: Session, target: _Target, order: Order, task: Task, lock: Lock | None) -> Pushed:
    modes = session.modes(target.place.namespace)
    me = session.writer()
    with staging(session.pen, target.resource, modes, me.unique, me.note) as stage:
        content = _read(target, task) if lock else None
        if content is None:
            _receive(target, stage, task)
        with task.step("publish") as told:
            staged = _staged(target, stage, content, lock, task)
            with change(target.resource, modes, me, visibility=order.visibility) as locked:
                task.breathe(at_once=True)
                pushed = _publish(session, target, order, locked, staged, task.id, lock)
            told.update(version=staged.id, tags=list(pushed.tags), new=pushed.new)
            task.result.update(version=staged.id)
    with suppress(OSError):  # published it is; what cannot be swept now is swept by the next push
        sweep(session.pen, target.resource.folder, uid=session.uid)
    if pushed.new:
        session.index.note(staged.id, Known.of(staged.manifest))
        session.index.save()
    return pushed


def _staged(target: _Target, stage: Staging, content: Content | None, lock: Lock | None, task: Task) -> Staged:
    """The version, in clear or sealed."""
    if lock is None or content is None:
        return stage.conclude(target.kind, target.about)
    from lhub.sealing import stage as sealed  # for what is sealed

    meter = task.meter("seal", content.manifest.count, content.manifest.bytes)
    staged = sealed(stage, content, lock, meter.moved)
    meter.reached(content.manifest.count)
    odd = changed(target.packing) if target.arriving is None else []
    if odd:
        raise changed_error(odd)
    return staged


def _read(target: _Target, task: Task) -> Content:
    """Step 2 of what is sealed: all that travels is hashed where it lies, or in a file without a name."""
    from lhub.sealing import Clear, Content, take  # as above

    with task.step("receive") as told:
        clear, sources = Clear(), target.packing.sources
        meter = task.meter("receive", len(sources), sum(source.size for source in sources))
        if target.arriving is not None:
            told.update(target.arriving.receive(cast("Staging", clear), task))  # documents are written, no more
        for number, source in enumerate(sources, 1):
            task.breathe()
            clear.taken.append(take(source, meter.moved))
            meter.reached(number)
        content = Content.of(clear.taken, target.kind, target.about)
        told.update(files=content.manifest.count, bytes=content.manifest.bytes)
    return content


def _receive(target: _Target, stage: Staging, task: Task) -> None:
    """Step 2: all that travels is copied in, with what an Executor gained."""
    if target.arriving is not None:
        with task.step("receive") as told:
            told.update(target.arriving.receive(stage, task))
        return
    found, sources = target.found, target.packing.sources
    with task.step("receive") as told, ways_kept():
        meter = task.meter("receive", len(sources), sum(source.size for source in sources))
        for number, source in enumerate(sources, 1):
            task.breathe()
            stage.take(source, meter.moved)
            meter.reached(number)
        if odd := changed(target.packing):
            raise changed_error(odd)
        told.update(files=len(sources), bytes=sum(source.size for source in sources))
    if target.kind == "executor":
        with task.step("normalise") as told:
            for sentence in found.gained:
                task.console("normalise", sentence)
            told.update(jtype=found.about.get("jtype"))
        with task.step("check requirements") as told:
            told.update(build_env=list(found.variables), warnings=list(found.warnings))


def _publish(
    session: Session, target: _Target, order: Order, locked: Change, staged: Staged, task: str, lock: Lock | None
) -> Pushed:
    """Steps 4 to 9, under the lock."""
    tags, protected = order.all_tags, tuple(dict.fromkeys(order.protected_tags))
    locked.refuse_protected(tags, staged.id)
    _refuse_unexpected(target, order, locked.links)
    _keep_secret(target, order, locked, lock)
    locked.agree_on_kind(target.kind)
    before = locked.recorded.visibility if locked.recorded else None
    new = locked.publish(staged)
    locked.fix_kind(target.kind)
    pinned = locked.pin(protected, staged.id)
    moved = locked.move(tags, staged.id, exclusively=order.if_absent)
    if target.first:
        locked.appear()
    visibility = order.visibility or locked.visibility()
    if visibility == "private" != locked.visibility():
        locked.set_visibility(visibility)  # hidden, then told; told, then opened
    if pinned or moved or visibility != before:
        changed_visibility = visibility if visibility != before else None
        entry = replace(locked.entry("visibility"), visibility=changed_visibility, message=order.message)
        if pinned or moved:
            entry = replace(entry, action="push", version=staged.id, tags=tags, protected=protected)
        locked.record(entry)
    if visibility != locked.visibility():
        locked.set_visibility(visibility)
    return Pushed(
        name=target.resource.name,
        kind=target.kind,
        uri=str(_uri(target, tags[0])),
        version=staged.id,
        tags=tags,
        protected_tags=protected,
        visibility=visibility,
        new=new,
        task_id=task,
        path=target.resource.folder.version(staged.id).files if lock is None else None,
        sealed=lock is not None,
        warnings=tuple(locked.warnings),
    )


# its container image, once it is published

_AUTO = ImageOrder(when="auto")


def _imaging(session: Session, order: Order, target: _Target) -> Imaging | None:
    """The image that this push asks for, looked at before anything is published; None where there is none to build."""
    asked = order.image
    if asked is None or (replace(asked, no_cache=False) == _AUTO and not _has_reason(session, target)):
        return None
    from lhub.building import Imaging  # with subprocess, for images only
    from lhub.imaging import Wish  # as above

    private = order.visibility == "private" if order.visibility else target.place.private
    wish = Wish(asked=asked, variables=order.build_env, packing=target.packing, kind=target.kind, private=private)
    return Imaging.of(session, target.resource, target.place, wish)


def _has_reason(session: Session, target: _Target) -> bool:
    """Whether there is something to build an image of: a Dockerfile that travels, or a base of one's own."""
    if target.kind != "executor":
        return False
    if any(source.path == "Dockerfile" for source in target.packing.sources):
        return True
    namespace = target.place.namespace
    return namespace is not None and bool(listed(session.folder.namespace(namespace).bases))


def _with_image(target: _Target, pushed: Pushed) -> Pushed:
    """What is told of a push, with its image if it has one."""
    if pushed.version is None or target.resource.image(pushed.version) is None:
        return pushed
    return replace(pushed, image=str(replace(_uri(target, pushed.tags[0]), docker=True)))


def _refuse_unexpected(target: _Target, order: Order, links: Links) -> None:
    """What `--expect` and `--if-absent` say: before anything is changed, and again under the lock."""
    name = target.resource.name
    if order.expect:
        see_expected(name, links, order.all_tags, order.expect)
    if order.if_absent and (standing := [tag for tag in order.all_tags if tag in links.tags]):
        raise Conflict(f"{name}:{', '.join(standing)} stands already", hint="--if-absent only makes new tags")


def _keep_secret(target: _Target, order: Order, locked: Change, lock: Lock | None) -> None:
    """Keep what proves the secret of a new resource, before its kind; of what stands, see that its seal still does."""
    unnamed = target.place.namespace is None
    if target.first and unnamed and target.resource.kind() is not None and target.resource.published():
        raise Conflict(f"{target.resource.name} was pushed by somebody else just now", hint="choose another name")
    secrecy.see_unchanged(locked, lock, first=target.first)
    if not target.first:
        return
    if lock is not None and target.resource.published():
        raise Vanished(f"{target.resource.name} was pushed by another process just now", hint="push it again")
    if lock is not None:
        locked.keep_seal(lock.seal.text())
    if lock is not None or not unnamed or order.secret is None:
        return
    from lhub.verifier import verifier  # for resources without a namespace only

    locked.keep_secret(verifier(order.secret))


def _uri(target: _Target, tag: str) -> Ref:
    place = target.place
    if place.namespace is None:
        return Ref(resource=place.resource, tag=tag, scheme="jinahub")
    scheme = "jinaai" if target.kind == "executor" else "lhub"
    return Ref(resource=place.resource, namespace=place.namespace, tag=tag, scheme=scheme)
