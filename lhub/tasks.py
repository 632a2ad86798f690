"""Tasks: the builds that one may see, found by their id, by a resource, or by the folder that was pushed.

A first push that is on its way is no resource yet, so its task is looked for where it would lie.

>>> from lhub.session import person
>>> find(Session(root="/nowhere", caller="alice", person=person()), "alice/X", None)
Traceback (most recent call last):
lhub.errors.NotFound: there is no registry at /nowhere
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import lhub.builds as builds
from lhub.access import may_see, refusal
from lhub.builds import Build, Event
from lhub.errors import NotFound, UsageError
from lhub.kinds import name_of
from lhub.layout import ResourceFolder
from lhub.names import Ref, is_name, parse_ref
from lhub.opening import refresh
from lhub.session import Session
from lhub.store import Resource

_STOPS_WITHIN = 30.0
"""Seconds in which a task that was asked to stop comes to a step's end; a large file is copied to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One task, and what one may do with it; `proven`: who asks named it by its id, or gave the secret."""

    session: Session
    namespace: str | None
    resource: Resource
    task: str
    proven: bool = False

    def look(self) -> Build:
        """It as it stands."""
        return builds.look(self.resource.folder, self.task, self.resource.name, host=self.session.person.host)

    def follow(self, *, replay: bool = False) -> Iterator[Event]:
        """Its events as they come, until it ends."""
        host = self.session.person.host
        return builds.follow(self.resource.folder, self.task, self.resource.name, host=host, replay=replay)

    def follow_ticking(self, *, replay: bool = False) -> Iterator[Event | None]:
        """The same, and None after each tenth of a second in which nothing came."""
        host = self.session.person.host
        return builds.follow_ticking(self.resource.folder, self.task, self.resource.name, host=host, replay=replay)

    def told(self) -> list[Event]:
        """The events so far; of a log that is longer than 4 MiB those at its end."""
        return builds.told(self.resource.folder, self.task)

    def cancel(self) -> Build:
        """It, once it has stopped; of one that ended before nothing changes."""
        folder, host = self.resource.folder, self.session.person.host
        if not (build := self.look()).ended:
            place = self.session.place(self.namespace, self.resource.folder.path.rpartition("/")[2])
            error = refusal("push", place, caller=self.session.caller)
            if error and not (self.proven and self.namespace is None):  # there the kernel knows whose it is
                raise error
            modes = self.session.modes(self.namespace)
            builds.cancel(self.session.pen, folder, self.task, modes, self.session.unique())
            build = builds.stop_waiting(folder, self.task, self.resource.name, host=host, timeout=_STOPS_WITHIN)
        return build


def find(session: Session, what: str | None, task: str | None) -> Watched:
    """The task of this id, or the newest of a folder's Executor or of a reference; NotFound, UsageError."""
    session.read_root()
    if task is not None:
        return _by_id(session, task)
    return _in(session, _ref_of(session, what or "."), builds.newest)


def find_in(session: Session, ref: Ref, task: str) -> Watched:
    """The task of this id, if it is one of this resource's; NotFound, UsageError."""
    session.read_root()
    _see_id(task)

    def standing(place: ResourceFolder) -> str | None:
        refresh(place.builds)
        return task if builds.stands(place, task) else None

    return _in(session, ref, standing)


def _in(session: Session, ref: Ref, choose: Callable[[ResourceFolder], str | None]) -> Watched:
    resource = session.resource(ref.namespace, ref.resource)
    place = session.place(ref.namespace, ref.resource, secret=ref.secret)
    found = choose(resource.folder) if may_see(place) else None
    if found is None:
        raise NotFound(f"no build task of {ref.name}", hint="lhub push PATH makes one")
    proven = place.secret is True
    return Watched(session=session, namespace=ref.namespace, resource=resource, task=found, proven=proven)


def every(session: Session, ref: Ref, most: int) -> list[Build]:
    """The newest tasks of a resource as they stand."""
    resource, found = session.seen(ref), []
    for task in builds.last(resource.folder, most):
        with suppress(NotFound):  # gone meanwhile
            found.append(builds.look(resource.folder, task, resource.name, host=session.person.host))
    return found


def _ref_of(session: Session, what: str) -> Ref:
    """The resource of a folder, or of a reference."""
    if not os.path.isdir(what):
        return parse_ref(what)
    name = name_of(what)
    if name is None:
        raise UsageError(f"{what} does not say its name", hint="lhub status --id TASK_ID, or lhub status alice/X")
    ref = parse_ref(name)
    return ref if ref.namespace or session.caller is None else parse_ref(f"{session.caller}/{name}")


def _see_id(task: str) -> None:
    if not builds.is_task_id(task):
        raise UsageError("a TASK_ID has 24 hex digits", hint="lhub push prints it")


def _by_id(session: Session, task: str) -> Watched:
    _see_id(task)
    for namespace in session.spaces():
        for resource in _resources(session, namespace):
            with suppress(OSError):  # hidden by the kernel
                refresh(resource.folder.builds)
                # without a namespace who knows the id of a task, 64 bits of chance, is who was told it
                if builds.stands(resource.folder, task) and (namespace is None or session.sees(namespace, resource)):
                    return Watched(session=session, namespace=namespace, resource=resource, task=task, proven=True)
    raise NotFound(f"the task {task} is not here", hint="lhub status PATH tells the newest of an Executor")


def _resources(session: Session, namespace: str | None) -> Iterator[Resource]:
    """Whatever may be a resource, also what is none yet."""
    with suppress(PermissionError, FileNotFoundError):
        for name in filter(is_name, os.listdir(session.folder.namespace(namespace).path)):
            yield session.resource(namespace, name)
