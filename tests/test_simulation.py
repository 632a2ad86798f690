"""The model of a share keeps every promise, breaks one as soon as a rule is taken out, and does what lhub does.

And lhub itself, every step of its pen handed from thread to thread by chance, under a lock that excludes nobody.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lhub import store
from lhub.disk import Pen
from lhub.errors import Conflict
from lhub.orders import Pushed
from lhub.registry import Registry
from tests.conftest import as_caller, read_tree, write_tree
from tests.simulation import (
    BASIC,
    PLAYS,
    PROMISES,
    Broken,
    Play,
    Script,
    Step,
    a_grace,
    alone,
    collect,
    delete,
    do,
    one_after_another,
    push,
    restore,
    rule_names,
    tag,
    untag,
    visibility,
    walk,
    without,
)
from tests.test_model import Quick

pytestmark = pytest.mark.slow
# the model


@pytest.mark.parametrize("play", PLAYS)
def test_with_every_rule_in_force_no_schedule_breaks_a_promise(play: str) -> None:
    walked = walk(PLAYS[play])
    assert walked.ends > 0
    assert walked.cuts > 0 or not PLAYS[play].power_cut


TAKEN_OUT = {
    # every change
    "takes_the_lock": ("two pushes that expect", "alone"),
    "compares_the_lock_with_its_path": ("a deletion, and a push that waits", "alone"),
    "lists_before_it_compares": ("a deletion, and who tags after it", "kept"),
    "lists_after_the_lock": ("two pushes that expect", "expect"),
    "repairs_tags_from_pins": ("a power cut in a first push", "mended"),
    "brings_back_what_is_named": ("a rollback and a collection that dies", "mended"),
    "catches_the_diary_up": ("a power cut in a push that opens", "mended"),
    # push
    "hides_before_the_first_byte": ("a power cut in a push that hides", "hidden"),
    "syncs_what_it_hides": ("a power cut in a push that hides", "hidden"),
    "syncs_the_namespace": ("a power cut in a first push", "durable"),
    "syncs_the_inner_folders": ("a power cut in a first push", "whole"),
    "syncs_the_staged_files": ("a push that dies, and the next", "whole"),
    "syncs_the_staged_names": ("a power cut in a first push", "whole"),
    "syncs_a_blob_before_it_is_linked": ("a push that dies, and the next", "whole"),
    "a_blob_that_stands_is_touched_or_linked": ("a push and its blob's collection", "place"),
    "lists_after_it_touched_a_blob": ("a push of what can be executed and its blob's collection", "place"),
    "asks_whether_the_maker_of_staging_lives": ("two pushes", "undisturbed"),
    "moves_staging_before_it_removes_it": ("two pushes and a broken lock", "whole"),
    "keeps_the_version_that_stands": ("a push and a collection", "whole"),
    "version_stands_before_it_is_pinned": ("two protect one tag", "whole"),
    "version_stands_before_it_is_tagged": ("a push and a reader", "whole"),
    "syncs_versions": ("a power cut in a push", "whole"),
    "syncs_what_stood": ("a power cut in a push of what another left", "whole"),
    "looks_at_expect_under_the_lock": ("two pushes that expect", "expect"),
    "pins_before_it_tags": ("two protect one tag", "refused"),
    "pin_is_made_exclusively": ("two protect one tag", "pin"),
    "tag_is_renamed_over": ("a push and a reader", "one name"),
    "syncs_tags": ("a power cut in a push", "durable"),
    "forgets_the_note": ("graces pass", "grace"),
    "looks_again_for_the_version": ("a push and a collection", "place"),
    "lists_before_it_looks_again": ("a push and a collection", "place"),
    "hides_before_it_tells": ("one opens and one hides", "told"),
    "tells_before_it_opens": ("a power cut in a push that opens", "told"),
    "syncs_what_it_opens": ("a power cut in a push that opens", "durable"),
    # the diary
    "lists_the_branch": ("two pushes", "diary"),
    "syncs_the_pack": ("a power cut in a first push", "durable"),
    "diary_compares": ("two pushes and a broken lock", "diary"),
    "syncs_the_branch": ("a power cut in a first push", "durable"),
    # read
    "reader_lists": ("a push and a reader", "fresh"),
    "reader_takes_the_pin": ("two protect one tag", "reads"),
    "reader_opens_once": ("a rollback and a reader", "mixture"),
    "reader_looks_into_the_trash": ("a reader, and a writer who mends", "reads"),
    "reader_tries_again": ("a reader, and a writer who mends", "reads"),
    # collection
    "waits_a_grace": ("graces pass", "grace"),
    "moves_before_it_removes": ("a rollback and a collection", "whole"),
    "lists_again_after_the_trash": ("a rollback and a collection", "place"),
    "brings_back_before_it_names": ("a rollback to what is just removed", "whole"),
    "asks_manifests_before_a_blob_goes": ("a collection beside what can be executed", "place"),
    "looks_again_at_a_blob": ("a push and its blob's collection", "place"),
    # deletion
    "syncs_a_deletion": ("a power cut in a deletion", "durable"),
    "leftover_is_looked_at_under_its_lock": ("a restore and a first push", "kept"),
    "restore_never_replaces": ("a restore and a first push", "kept"),
}
"""For every rule a play in which it is missed at once, and the promise that breaks."""


@pytest.mark.parametrize("rule", TAKEN_OUT)
def test_a_rule_that_is_taken_out_is_missed_at_once(rule: str) -> None:
    play, promise = TAKEN_OUT[rule]
    with pytest.raises(Broken) as found:
        walk(PLAYS[play], without(rule), most=10_000)
    assert found.value.promise == promise, [str(found.value), *found.value.steps]
    assert found.value.steps, "it does not tell how"


def test_every_rule_is_taken_out_once_and_every_promise_is_broken_once() -> None:
    assert set(TAKEN_OUT) == set(rule_names())
    assert {promise for _, promise in TAKEN_OUT.values()} == set(PROMISES) - {"goes on"}


# the model and lhub take the same steps


class Recorder(Pen):
    """A pen that keeps what it did; a collection with it takes place in so many `months`."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.months = 0

    def step(self, verb: str, path: str) -> None:
        self.steps.append(f"{verb} {path}")

    def make_folder(self, path: str, mode: int) -> bool:
        made = super().make_folder(path, mode)
        if not made:
            self.steps.remove(f"make_folder {path}")
        return made

    def write_new(self, path: str, data: bytes, mode: int, *, sync: bool = True) -> None:
        super().write_new(path, data, mode, sync=sync)
        if not data and ".seen." not in path:
            os.utime(path, (in_months(self.months),) * 2)


def in_months(months: int) -> float:
    return time.time() + months * 30 * 86_400


LEFT_OUT = (
    r"/builds/|/recorded\.json$|/history\.git/(HEAD|config)$|/resource\.yaml$",  # nothing rests on them
    r" \.tmp\.",  # a file of the namespace that tells the server's clock
    r"^fast-import",  # in a place of one's own
    r"/\.tmp\.[^/]*\.(file|link)$",  # a name of one's own, about to be renamed
    r"/SHA256SUMS$|(make_folder|set_mode|sync_folder) .*/files$",  # the one file of a model's version lies in it
    r"make_folder .*/(\.lhub|damaged|versions|builds|history\.git.*)$|make_folders",  # whoever comes first makes them
    r"set_time .*(Hello|\.trash|versions|\.)$",  # for NFS 3, whose listings go by a folder's mtime
)
"""What lhub does and the model does not, and why."""

WORDS = (
    (r"Hello\b", "X"),
    (r"/\.lhub", ""),
    (r"/damaged/.*", "/damaged"),
    (r"/history\.git/lfs/objects/../../.*", "/blobs/B"),
    (r"/history\.git/lfs/objects.*", "/blobs"),
    (r"(rename|write_new) (.*?)/(history\.git/objects/)?pack/.*", r"write \2/pack/P"),
    (r"/history\.git/objects/pack$", "/pack"),
    (r"/history\.git/refs", ""),
    (r"/files/.*", "/files"),
    (r"/manifest\.yaml", "/manifest"),
    (r"\.tmp\.[^/.]+", ".tmp.U"),
    (r"\.trash([./])\d+\.", r".trash\1N."),
    (r"\.gone\.[^/.]+\.", ".gone.U."),
    (r"[0-9a-f]{64}|(?<=[./])V\d", "V"),
    (r"blob of V\d", "B"),
    (r"(unlink|remove_tree|rmdir) (.*?/\.(gone\.U\.V|tmp\.U))(/.*)?$", r"remove \2"),
)
"""How both are spelt: paths as the model has them, one word for each name that chance or the clock makes."""


def in_plain_words(steps: list[str]) -> list[str]:
    """Steps as both spell them; what is done twice in a row is done once, three syncs in a row are of everything."""
    found: list[str] = []
    for step in steps:
        if not any(re.search(pattern, step) for pattern in LEFT_OUT):
            spelt = step
            for pattern, words in WORDS:
                spelt = re.sub(pattern, words, spelt)
            found += [spelt] if found[-1:] != [spelt] else []
    text = "".join(f"{step}\n" for step in found)
    return re.sub(r"(sync_(file|folder) .*\n){3,}|sync_file_system .*\n", "sync everything\n", text).splitlines()


WRITES = (
    "make_folder", "set_mode", "copy_in", "write_new", "symlink", "link", "rename", "unlink", "remove_tree", "rmdir",
    "set_time", "sync_file", "sync_folder",
)  # fmt: skip


def of_the_model(steps: list[Step]) -> list[str]:
    """What an actor wrote, in plain words; a name that is made from another is the last of two."""
    places = [(verb, words[verb in ("symlink", "link", "rename")]) for verb, *words in steps if verb in WRITES]
    return in_plain_words([f"{verb} {place or '.'}" for verb, place in places])


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The same, done by lhub and by an actor of the model."""

    before: Callable[[Registry, Path], object]
    act: Callable[[Registry, Path], object]
    play: Play
    script: Script


def pushed(*names: str, **options: Any) -> Callable[[Registry, Path], object]:
    """Push folders of these names, one after the other."""

    def act(registry: Registry, place: Path) -> None:
        for name in names:
            registry.push(write_tree(place / name, {"a.txt": name}), "Hello", **options)

    return act


def collected(registry: Registry, place: Path) -> None:
    """Collect now, in a month, in two."""
    pen = registry.session.pen
    assert isinstance(pen, Recorder)
    for pen.months in range(3):
        registry.session = replace(registry.session, clock=partial(in_months, pen.months))
        registry.gc()


ONE = Play(stands=BASIC, actors={})
PAIRS = {
    "a first push": Pair(
        before=lambda registry, place: None,
        act=pushed("one", private=True, tags=["latest"], protected_tags=["v1"]),
        play=Play(actors={}),
        script=do(push, version="V1", tags=("latest", "v1"), protected=("v1",), visibility="closed"),
    ),
    "a push": Pair(before=pushed("one"), act=pushed("two"), play=ONE, script=do(push, version="V2", tags=("latest",))),
    "a push that opens": Pair(
        before=pushed("one", private=True),
        act=pushed("two", public=True),
        play=replace(ONE, mode="closed"),
        script=do(push, version="V2", tags=("latest",), visibility="open"),
    ),
    "a push that hides": Pair(
        before=pushed("one"),
        act=pushed("two", private=True),
        play=ONE,
        script=do(push, version="V2", tags=("latest",), visibility="closed"),
    ),
    "a push of what stands": Pair(
        before=pushed("zero", "one"),
        act=pushed("zero"),
        play=replace(ONE, stands={"versions/V0": "V0", **BASIC}),
        script=do(push, version="V0", tags=("latest",)),
    ),
    "tag --protect": Pair(
        before=pushed("one"),
        act=lambda registry, place: registry.tag("alice/Hello:latest", "v1", protect=True),
        play=ONE,
        script=do(tag, version="V1", tags=("v1",), protected=("v1",)),
    ),
    "untag": Pair(
        before=pushed("one"),
        act=lambda registry, place: registry.untag("alice/Hello:latest"),
        play=ONE,
        script=do(untag, tags=("latest",), untag=True),
    ),
    "visibility private": Pair(
        before=pushed("one"),
        act=lambda registry, place: registry.visibility("alice/Hello", "private"),
        play=ONE,
        script=do(visibility, visibility="closed"),
    ),
    "visibility public": Pair(
        before=pushed("one", private=True),
        act=lambda registry, place: registry.visibility("alice/Hello", "public"),
        play=replace(ONE, mode="closed"),
        script=do(visibility, visibility="open"),
    ),
    "delete": Pair(
        before=lambda registry, place: (
            pushed("one")(registry, place),
            registry.push(place / "one", "Other"),
            registry.delete("alice/Other"),
        ),
        act=lambda registry, place: registry.delete("alice/Hello"),
        play=replace(ONE, deletes=True),
        script=do(delete, tags=("latest",), untag=True),
    ),
    "restore": Pair(
        before=lambda registry, place: (pushed("one")(registry, place), registry.delete("alice/Hello")),
        act=lambda registry, place: registry.restore("alice/Hello"),
        play=replace(ONE, deletes=True, begins_deleted=True),
        script=do(restore, version="V1", tags=("latest",)),
    ),
    "gc": Pair(
        before=pushed("zero", "one"),
        act=collected,
        play=replace(ONE, stands={"versions/V0": "V0", **BASIC}),
        script=one_after_another(collect, a_grace, collect, a_grace, collect),
    ),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_the_model_takes_the_steps_that_lhub_takes(pair: str, registry: Registry, tmp_path: Path) -> None:
    same = PAIRS[pair]
    same.before(registry, tmp_path)
    pen = Recorder()
    same.act(as_caller(registry, "alice", pen=pen), tmp_path)
    space = str(registry.root / "alice")
    taken = in_plain_words(
        [f"{verb} {os.path.relpath(path, space)}" for verb, path in (step.split(" ", 1) for step in pen.steps)]
    )
    assert taken == of_the_model(alone(same.script, same.play))


# lhub itself, in the hands of chance


class Baton:
    """One thread at a time: whoever holds it goes on, or hands it to somebody by chance, before each step."""

    def __init__(self, seed: int, watch: Callable[[], object]) -> None:
        self.chance, self.watch = random.Random(seed), watch
        self.gates: dict[str, threading.Semaphore] = {}
        self.names: dict[int, str] = {}
        self.errors: list[str] = []
        self.over = threading.Event()

    def carry(self, works: dict[str, Callable[[], object]]) -> None:
        """Let all work, and wait until all have ended."""
        self.gates = {name: threading.Semaphore(0) for name in works}
        threads = [threading.Thread(target=self._run, args=work, daemon=True) for work in works.items()]
        for thread in threads:
            thread.start()
        self._hand_on()
        assert self.over.wait(60), f"{sorted(self.gates)} wait for ever"
        for thread in threads:
            thread.join()

    def _run(self, name: str, work: Callable[[], object]) -> None:
        self.names[threading.get_ident()] = name
        self.gates[name].acquire()
        try:
            work()
        except Exception as error:
            self.errors.append(f"{name}: {error!r}")
        finally:
            del self.gates[name]
            self._hand_on()

    def _hand_on(self) -> None:
        if self.gates:
            self.gates[self.chance.choice(sorted(self.gates))].release()
        else:
            self.over.set()

    def step(self) -> None:
        """Somebody is about to take a step; others may come first."""
        if (name := self.names.get(threading.get_ident())) is not None:
            self.watch()
            if self.chance.random() < 0.4:
                self._hand_on()
                self.gates[name].acquire()


class Carried(Quick):
    """A pen that hands on the baton before every step; a collection with it takes place in so many `months`."""

    def __init__(self, baton: Baton, months: int = 0) -> None:
        self.baton, self.months = baton, months

    def step(self, verb: str, path: str) -> None:
        self.baton.step()

    def write_new(self, path: str, data: bytes, mode: int, *, sync: bool = True) -> None:
        super().write_new(path, data, mode, sync=sync)
        if self.months and not data and ".seen." not in path:
            os.utime(path, (in_months(self.months),) * 2)


def without_locks(baton: Baton, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every lock is had by everybody; who sleeps, or opens a version, lets others go first."""

    def then_go_on(function: Callable[..., Any]) -> Callable[..., Any]:
        def go_on(*words: Any, **more: Any) -> Any:
            baton.step()
            return function(*words, **more)

        return go_on

    monkeypatch.setattr("filelock.lock_descriptor", lambda descriptor, blocking: True)
    monkeypatch.setattr("lhub.history.time.sleep", lambda seconds: baton.step())
    monkeypatch.setattr("lhub.store.open_folder", then_go_on(store.open_folder))
    monkeypatch.setattr("lhub.store.Resource._link", then_go_on(store.Resource._link))


def marked(folder: Path, mark: str) -> Path:
    """A folder every file of which holds the same mark."""
    return write_tree(folder, dict.fromkeys(("a.txt", "b.txt", "deep/c.txt"), mark))


class Crowd:
    """Two writers, two who protect one tag, a collection whose graces are over, and a reader, at one resource."""

    def __init__(self, place: Path, seed: int) -> None:
        self.place, self.seen, self.pins = place, list[tuple[str, set[bytes]]](), set[str]()
        self.baton = Baton(seed, self.watch)
        self.registry = Registry(place / "registry", namespace="alice", pen=Quick())
        self.versions = [self.push(mark).version for mark in ("zero", "one")]
        self.registry.gc()
        os.utime(self.registry.root / f"alice/X/.lhub/versions/.seen.{self.versions[0]}", (1, 1))

    def push(self, mark: str, pen: Pen | None = None, **tags: Any) -> Pushed:
        registry = as_caller(self.registry, "alice", pen=pen or Quick())
        return registry.push(marked(self.place / mark, mark), "X", **tags)

    def watch(self) -> None:
        """Where the pin stands now."""
        with suppress(FileNotFoundError):
            self.pins.add(os.readlink(self.registry.root / "alice/X/.protected.v1"))

    def works(self) -> dict[str, Callable[[], object]]:
        pen = Carried(self.baton)
        return {
            "writer": partial(self.push, "two", pen),
            "writer of what is collected": partial(self.push, "zero", pen),
            "protector": partial(self.protect, "three"),
            "other protector": partial(self.protect, "four"),
            "collector": self.collect,
            "reader": self.read,
        }

    def protect(self, mark: str) -> None:
        with suppress(Conflict):  # the other was first
            self.push(mark, Carried(self.baton), tags=["latest"], protected_tags=["v1"])

    def collect(self) -> None:
        registry = as_caller(self.registry, "alice", pen=Carried(self.baton, months=1))
        registry.session = replace(registry.session, clock=partial(in_months, 1))
        registry.gc()

    def read(self) -> None:
        for number in range(8):
            pulled = self.registry.pull("alice/X", self.place / f"pulled-{number}")
            self.seen.append((pulled.version, set(read_tree(Path(pulled.path)).values())))
            self.baton.step()

    def troubles(self) -> Iterator[str]:
        """All that is not as it was promised, once the next writer has been there."""
        yield from self.baton.errors
        yield from (f"a mixture of {marks}" for _, marks in self.seen if len(marks) != 1)
        if len(self.pins) > 1:
            yield f"the pin moved: {self.pins}"
        self.registry.tag("alice/X", "next")
        yield from (f"{found.ref}: {found.problem}" for found in self.registry.verify().findings)
        for name in self.registry.list()[0].tags:
            if len(set(read_tree(Path(self.registry.path(f"alice/X:{name}"))).values())) != 1:
                yield f"{name} is torn"


@pytest.mark.parametrize("seed", range(12))
def test_with_a_lock_that_excludes_nobody_nothing_tears_vanishes_or_fails(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = Crowd(tmp_path, seed)
    with monkeypatch.context() as patched:
        without_locks(crowd.baton, patched)
        crowd.baton.carry(crowd.works())
    assert list(crowd.troubles()) == []
    assert crowd.seen
