"""Whatever people do with a registry, in whatever order, it answers as a plain dictionary would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from lhub.disk import Pen
from lhub.errors import LhubError
from lhub.names import Ref
from lhub.registry import Registry
from tests.conftest import config_yml, executor_py, read_tree, write_tree

Place = tuple[str | None, str]
Act = tuple[str | None, Place, str | None]
PEOPLE = ("alice", "bob", None)
PLACES = [(space, name) for space in PEOPLE for name in ("X", "Y")]
EXECUTOR: dict[str, str | bytes] = {"config.yml": config_yml("X"), "executor.py": executor_py("X")}
CONTENTS: dict[str, dict[str, str | bytes]] = {
    "one": EXECUTOR,
    "two": EXECUTOR | {"executor.py": executor_py("X", "# two"), "deep/er/weights.bin": b"\0\1"},
    "three": EXECUTOR | {"empty.txt": ""},
    "notes": {"notes.txt": "no Executor"},
}
TAGS = ("latest", "v1", "v2")
FEW_TAGS = st.sampled_from([(), *((tag,) for tag in TAGS), ("v1", "latest"), ("v1", "v2"), ("v2", "latest")])
NO_OR_FEW_TAGS = st.just(()) | FEW_TAGS
OWNERS = st.sampled_from([(place[0], place, "right") for place in PLACES])
ANYBODY = st.tuples(st.sampled_from(PEOPLE), st.sampled_from(PLACES), st.sampled_from([None, "right", "wrong"]))
ACTS = OWNERS | ANYBODY
"""Who, where, with which secret: half of all that is done is done by who may."""
VISIBILITIES = st.sampled_from([None, None, "public", "private"])
WRONG, UNKNOWN = "0" * 32, "f" * 8


class Quick(Pen):
    """A pen that does not wait for the disk: no power is cut here."""

    def sync_folder(self, path: str) -> None:
        """Nothing."""

    def sync_file(self, path: str) -> None:
        """Nothing."""

    @contextmanager
    def synced(self, path: str) -> Iterator[Callable[[], bool]]:
        """Nothing."""
        yield lambda: True


@dataclass(kw_only=True)
class Thing:
    """What the model knows of one resource: contents by name, tags to contents."""

    kind: str
    private: bool
    sealed: bool = False
    secret: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    protected: set[str] = field(default_factory=set)
    versions: dict[str, str] = field(default_factory=dict)
    pushes: int = 0

    def named(self) -> dict[str, str]:
        """Tag to version."""
        return {tag: self.versions[content] for tag, content in self.tags.items()}


class Refused(Exception):
    """What the model refuses, with the exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class House(RuleBasedStateMachine):
    """People at one registry, beside the model of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.model: dict[Place, Thing] = {}
        self.pulls = 0
        for name, files in CONTENTS.items():
            write_tree(folder / name, files)
        self.registries = {
            person: Registry(folder / "registry", namespace=person, pen=Quick(), home=str(folder / f"home-{person}"))
            for person in PEOPLE
        }
        self.registries[None].init()

    # the model's answers

    def secret(self, place: Place, which: str | None) -> str | None:
        """The text of a secret; only what has no namespace has one."""
        if place[0] is not None or which is None:
            return None
        thing = self.model.get(place)
        return thing.secret if which == "right" and thing else WRONG

    def visible(self, person: str | None, place: Place, secret: str | None) -> Thing:
        """The thing, if this person may see it."""
        thing = self.model.get(place)
        if thing is None or (thing.private and not self.opens(person, place, secret)):
            raise Refused(3)
        return thing

    def opens(self, person: str | None, place: Place, secret: str | None) -> bool:
        """Whether this person may see it though it is private."""
        return person == place[0] if place[0] else secret is not None and secret == self.model[place].secret

    def changeable(self, person: str | None, place: Place, secret: str | None) -> Thing:
        """The thing, if this person may change it."""
        thing = self.visible(person, place, secret)
        if place[0] is not None and person != place[0]:
            raise Refused(4)
        if place[0] is None and secret != thing.secret:
            raise Refused(5 if secret is None else 4)
        return thing

    def version(self, thing: Thing, selector: str | None, by_version: bool) -> str:
        """The content that a reference means."""
        content = selector if by_version else thing.tags.get(selector or "latest")
        if content is None or content not in thing.versions:
            raise Refused(3)
        return content

    # both, side by side

    def same(self, expected: Callable[[], Any], call: Callable[[], Any]) -> tuple[bool, Any, Any]:
        """Ask both: both answer, or both refuse with the same code; whether they answered, and what."""
        try:
            ours, code = expected(), 0
        except Refused as refused:
            ours, code = None, refused.code
        try:
            theirs, got = call(), 0
        except LhubError as error:
            theirs, got = None, error.code
        assert got == code
        return code == 0, ours, theirs

    def ref(self, place: Place, selector: str | None, by_version: bool, secret: str | None) -> Ref:
        """The reference to a tag, or to the content of that name."""
        thing = self.model.get(place)
        version = (
            (thing.versions.get(selector or "", UNKNOWN * 8) if thing else UNKNOWN * 8)[:12] if by_version else None
        )
        return Ref(
            resource=place[1],
            namespace=place[0],
            tag=None if by_version else selector,
            version=version,
            secret=secret,
        )

    @rule(
        act=ACTS, content=st.sampled_from(sorted(CONTENTS)), tags=FEW_TAGS, protected=NO_OR_FEW_TAGS,
        visibility=VISIBILITIES, seal=st.sampled_from([False, False, True]),
    )  # fmt: skip
    def push(
        self,
        act: Act,
        content: str,
        tags: tuple[str, ...],
        protected: tuple[str, ...],
        visibility: str | None,
        seal: bool,
    ) -> None:
        """Push a folder, for a place that somebody names."""
        person, place, which = act
        secret = self.secret(place, which)
        if place[0] is None and secret is None and person is not None:
            place = (person, place[1])
        named = tags + tuple(tag for tag in protected if tag not in tags) or ("latest",)
        kind = "files" if content == "notes" else "executor"

        def expected() -> Thing:
            if seal and visibility == "public":
                raise Refused(2)
            thing = self.pushable(person, place, secret, kind)
            if place in self.model and thing.sealed < seal:
                raise Refused(5)
            if thing.sealed and visibility == "public":
                raise Refused(5)
            if any(tag in thing.protected and thing.tags[tag] != content for tag in named):
                raise Refused(5)
            return thing

        def call() -> Any:
            return self.registries[person].push(
                self.folder / content,
                "/".join(filter(None, place)),
                tags=tags,
                protected_tags=protected,
                public=visibility == "public" or None,
                private=visibility == "private",
                secret=secret,
                seal=seal,
            )

        answered, thing, pushed = self.same(expected, call)
        if not answered:
            return
        new = place not in self.model
        self.model[place] = thing
        if new:
            thing.sealed = seal or (place[0] is None and visibility == "private")
        changes = any(thing.tags.get(tag) != content for tag in named) or set(protected) - thing.protected
        assert (pushed.new, pushed.tags, pushed.protected_tags) == (content not in thing.versions, named, protected)
        assert (pushed.secret is not None) == (new and (place[0] is None or thing.sealed))
        assert pushed.sealed == thing.sealed
        thing.secret = pushed.secret or thing.secret
        thing.versions.setdefault(content, pushed.version)
        assert thing.versions[content] == pushed.version
        thing.tags |= dict.fromkeys(named, content)
        thing.protected |= set(protected)
        thing.pushes += bool(changes)
        thing.private = (thing.private if visibility is None else visibility == "private") or thing.sealed
        assert pushed.visibility == ("private" if thing.private else "public")

    def pushable(self, person: str | None, place: Place, secret: str | None, kind: str) -> Thing:
        """The thing that a push goes to, a new one perhaps."""
        if place[0] is not None and person != place[0]:
            raise Refused(4)
        thing = self.model.get(place)
        if thing is None:
            if place[0] is None and person is not None:
                raise Refused(3)
            if place[0] is None and kind != "executor":
                raise Refused(4)
            return Thing(kind=kind, private=False)
        if place[0] is None and secret != thing.secret:
            raise Refused(5 if secret is None else 4)
        if thing.kind != kind and thing.kind != "files":
            raise Refused(5)
        return thing

    @precondition(lambda self: self.model)
    @rule(act=ACTS, selector=st.sampled_from([None, *TAGS]))
    def pull_a_tag(self, act: Act, selector: str | None) -> None:
        """Pull what a tag names."""
        self.pull(act, selector, by_version=False)

    @precondition(lambda self: self.model)
    @rule(act=ACTS, selector=st.sampled_from(sorted(CONTENTS)))
    def pull_a_version(self, act: Act, selector: str) -> None:
        """Pull a version by its digits."""
        self.pull(act, selector, by_version=True)

    def pull(self, act: Act, selector: str | None, *, by_version: bool) -> None:
        """Pull, and compare each byte."""
        person, place, which = act
        secret = self.secret(place, which)
        self.pulls += 1
        target = self.folder / f"pulled-{self.pulls}"
        ref = self.ref(place, selector, by_version, secret)
        answered, content, pulled = self.same(
            lambda: self.version(self.visible(person, place, secret), selector, by_version),
            lambda: self.registries[person].pull(ref, target),
        )
        assert target.exists() == answered
        if answered:
            assert read_tree(target) == read_tree(self.folder / content)
            assert pulled.version == self.model[place].versions[content]

    @precondition(lambda self: self.model)
    @rule(act=ACTS, selector=st.sampled_from([None, *TAGS]), protect=st.booleans(), tags=FEW_TAGS.filter(len))
    def tag(self, act: Act, selector: str | None, protect: bool, tags: tuple[str, ...]) -> None:
        """Let tags name what another names."""
        person, place, which = act
        secret = self.secret(place, which)

        def expected() -> dict[str, str]:
            thing = self.changeable(person, place, secret)
            targets = {}
            for tag in tags:
                stays = protect and selector is None and tag in thing.tags
                targets[tag] = thing.tags[tag] if stays else self.version(thing, selector, by_version=False)
                if tag in thing.protected and thing.tags[tag] != targets[tag]:
                    raise Refused(5)
            thing.tags |= targets
            thing.protected |= set(tags) if protect else set()
            return thing.named()

        ref = self.ref(place, selector, by_version=False, secret=secret)
        _, ours, theirs = self.same(expected, lambda: self.registries[person].tag(ref, *tags, protect=protect))
        assert ours == theirs

    @precondition(lambda self: self.model)
    @rule(act=ACTS, tags=FEW_TAGS)
    def untag(self, act: Act, tags: tuple[str, ...]) -> None:
        """Remove tags."""
        person, place, which = act
        secret = self.secret(place, which)

        def expected() -> dict[str, str]:
            if not tags:
                raise Refused(2)
            thing = self.changeable(person, place, secret)
            if set(tags) - set(thing.tags):
                raise Refused(3)
            if set(tags) & thing.protected:
                raise Refused(5)
            for tag in tags:
                del thing.tags[tag]
            return thing.named()

        ref = self.ref(place, None, by_version=False, secret=secret)
        _, ours, theirs = self.same(expected, lambda: self.registries[person].untag(ref, *tags))
        assert ours == theirs

    @precondition(lambda self: self.model)
    @rule(act=ACTS, visibility=st.sampled_from(["public", "private"]))
    def visibility(self, act: Act, visibility: str) -> None:
        """Make a resource public or private."""
        person, place, which = act
        secret = self.secret(place, which)

        def expected() -> str:
            thing = self.changeable(person, place, secret)
            if thing.sealed and visibility == "public":
                raise Refused(5)
            thing.private = visibility == "private"
            return visibility

        ref = self.ref(place, None, by_version=False, secret=secret)
        _, ours, theirs = self.same(expected, lambda: self.registries[person].visibility(ref, visibility))
        assert ours == theirs

    @rule(person=st.sampled_from(PEOPLE))
    def list(self, person: str | None) -> None:
        """Everybody sees what he may see, and nothing else."""
        seen = {
            line.name: (line.kind, line.visibility, line.tags, set(line.protected_tags))
            for line in self.registries[person].list()
        }
        assert seen == {
            "/".join(filter(None, place)): (
                thing.kind,
                "private" if thing.private else "public",
                thing.named(),
                thing.protected,
            )
            for place, thing in self.model.items()
            if not thing.private or (place[0] is not None and place[0] == person)
        }

    def teardown(self) -> None:
        """At the end: the diary tells each push that changed something, once, and every version still verifies."""
        for place, thing in self.model.items():
            registry = self.registries[place[0]]
            ref = Ref(resource=place[1], namespace=place[0], secret=thing.secret)
            assert sum(entry.action == "push" for entry in registry.log(ref)) == thing.pushes
            for content in thing.versions:
                self.pull((place[0], place, "right"), content, by_version=True)


def test_a_registry_answers_as_a_dictionary_would(tmp_path: Path) -> None:
    houses = count()

    class Next(House):
        def __init__(self) -> None:
            super().__init__(tmp_path / str(next(houses)))

    run_state_machine_as_test(
        Next,
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert next(houses) > 10
