"""Two hosts, several users, one folder: what one does the others see at once, nothing is lost, the kernel decides.

Without any variable the hosts are two processes on this machine (pytest -m slow). On a cluster, or on the project's
own rig:

    LHUB_TEST_HOST_A="ssh nodea /mnt/team" LHUB_TEST_HOST_B="ssh nodeb /mnt/team" pytest tests/test_share.py

The users are uids 20001 to 20004 and the group 20100, which the file server must let pass; who is not root on the
hosts runs what needs one user. `LHUB_TEST_PYTHON` is a Python with lhub there. `LHUB_TEST_CRASH_A` kills host A's
kernel and `LHUB_TEST_BOOT_A` brings it back, `LHUB_TEST_HOST_S` is the server with its own folder of the share:
only with them its power is cut (`LHUB_TEST_CUTS` times) and its disk filled. `LHUB_TEST_LEAVE=1` leaves on the share
what the tests made there: a rig goes away with all that is on it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import itertools
import json
import os
import random
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lhub import collection
from lhub.cli.main import main
from lhub.errors import Conflict, Denied, LhubError, LockTimeout, NotFound
from lhub.identity import remember
from lhub.mounts import mount_of
from lhub.names import parse_ref
from tests.benchmarks.crowd import crowd
from tests.hosts import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    KEEPER,
    TEAM,
    Broken,
    Host,
    Me,
    Seat,
    Share,
    Task,
    User,
    code_of,
    do,
    folder_for_all,
    hosts_of,
    make_registry,
    mark_of,
    push,
)

OUTSIDE = "LHUB_TEST_HOST_A" in os.environ
pytestmark = [] if OUTSIDE else [pytest.mark.slow]
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def ground() -> Iterator[Share]:
    """The two hosts, and a folder on the share for all the tests of this module."""
    with folder_for_all() as folder:
        hosts = hosts_of(os.environ, folder)
        share = Share(hosts=hosts, folder=f"lhub-test-{os.urandom(5).hex()}")
        try:
            yield share
            if "LHUB_TEST_LEAVE" not in os.environ:
                share.clear()
        finally:
            for host in hosts.values():
                host.close()


@pytest.fixture
def share(ground: Share) -> Share:
    """A registry of one's own that both hosts see."""
    return replace(ground, folder=f"{ground.folder}/{next(NUMBERS)}").made()


@pytest.fixture
def users(share: Share) -> Share:
    """The same for several users."""
    if not share.has_users:
        pytest.skip("only root may become other users on the hosts")
    return share


def poison(me: Me, *names: str) -> int:
    """Look at every name and find it absent or not, as any program might: what a host remembers then is stale later.

    How many there were.
    """
    found = 0
    for name in names:
        path = f"{me.root}/{name}".rstrip("/")
        for look in (os.lstat, os.stat, os.readlink, os.listdir, partial(os.open, flags=os.O_RDONLY)):
            with contextlib.suppress(OSError):
                answer = look(path)
                found += look is os.lstat
                if isinstance(answer, int):
                    os.close(answer)
    return found


def names_of(name: str, *tags: str) -> list[str]:
    """Every name at which lhub may look for a resource and its tags."""
    space, _, _ = name.partition("/")
    below = ("", "resource.yaml", ".lhub", ".lhub/lock", ".lhub/recorded.json", ".lhub/versions", ".lhub/builds")
    diary = (".lhub/history.git", ".lhub/history.git/refs/heads/main", ".lhub/history.git/objects/pack")
    links = (each for tag in tags for each in (tag, f".protected.{tag}"))
    return ["", "registry.yaml", space, f"{space}/.trash", *(f"{name}/{each}" for each in (*below, *diary, *links))]


# what one host did the other sees at once: names that were absent


def test_a_registry_is_seen_as_soon_as_another_host_makes_it(ground: Share) -> None:
    share = replace(ground, folder=f"{ground.folder}/{next(NUMBERS)}").made(registry=False)
    assert share.b().run(poison, *names_of("alice/X", "latest")) == 0
    assert share.b().code("list") == 3
    share.a(KEEPER).run(make_registry)
    assert share.b().do("list") == []


@pytest.mark.parametrize("before", ["nothing", "the namespace", "the resource", "another tag"])
def test_a_push_is_seen_where_somebody_looked_in_vain_a_moment_ago(share: Share, before: str) -> None:
    a, b = share.a(), share.b()
    if before != "nothing":
        a.push("Other", "zero")
    if before in ("the resource", "another tag"):
        a.push("X", "zero", tags=["v0"])
    if before == "another tag":
        assert b.mark("alice/X:v0") == "zero"
    b.run(poison, *names_of("alice/X", "latest", "v1"))
    assert b.code("path", "alice/X:v1") == 3
    a.push("X", "one", tags=["v1", "latest"])
    assert b.mark("alice/X:v1") == "one"
    assert b.mark("alice/X") == "one"
    assert "v1" in b.do("list", "alice")[-1]["tags"]
    assert b.told("alice/X")[-1] == "one"


def test_a_version_is_seen_by_its_digits_as_soon_as_it_is_pushed(share: Share) -> None:
    a, b = share.a(), share.b()
    a.push("X", "zero")
    there = a.push("Y", "one")["version"]
    assert b.code("path", f"alice/X@{there}") == 3
    a.push("X", "one")
    assert b.mark(f"alice/X@{there}") == "one"


def test_a_pin_is_seen_by_readers_as_soon_as_it_is_made(share: Share) -> None:
    a, b = share.a(), share.b()
    a.push("X", "one", tags=["v1"])
    b.run(poison, *names_of("alice/X", "v1"))
    assert b.do("show", "alice/X:v1")["protected_tags"] == []
    a.do("tag", "alice/X:v1", "v1", protect=True)
    assert b.do("show", "alice/X:v1")["protected_tags"] == ["v1"]


# what changed


def rolled_back(a: Seat, first: str) -> None:
    a.do("rollback", "alice/X", first)


def tagged(a: Seat, first: str) -> None:
    a.do("tag", f"alice/X@{first}", "latest")


def pushed(a: Seat, first: str) -> None:
    a.push("X", "one")


@pytest.mark.parametrize("move", [rolled_back, tagged, pushed])
def test_a_moved_tag_is_seen_at_once(share: Share, move: Callable[[Seat, str], None]) -> None:
    a, b = share.a(), share.b()
    first = a.push("X", "one")["version"]
    for turn in range(2):
        a.push("X", f"two {turn}")
        assert b.mark("alice/X") == f"two {turn}"
        b.run(poison, *names_of("alice/X", "latest"))
        move(a, first)
        assert b.mark("alice/X") == "one"
        assert b.do("list")[0]["tags"]["latest"] == first


def test_a_removed_tag_is_gone_at_once(share: Share) -> None:
    a, b = share.a(), share.b()
    a.push("X", "one", tags=["v1", "latest"])
    assert b.mark("alice/X:v1") == "one"
    b.run(poison, *names_of("alice/X", "latest", "v1"))
    a.do("untag", "alice/X:v1")
    assert b.code("path", "alice/X:v1") == 3
    assert list(b.do("list")[0]["tags"]) == ["latest"]


def test_a_deletion_is_seen_at_once_and_so_is_what_comes_back(share: Share) -> None:
    a, b = share.a(), share.b()
    a.push("X", "one")
    for _ in range(2):
        assert b.mark("alice/X") == "one"
        b.run(poison, *names_of("alice/X", "latest"))
        a.do("delete", "alice/X")
        assert b.code("path", "alice/X") == 3
        assert b.do("list") == []
        b.run(poison, *names_of("alice/X", "latest"))
        a.do("restore", "alice/X")
        assert b.do("list")[0]["name"] == "alice/X"
    assert b.mark("alice/X") == "one"


def test_what_is_made_anew_under_a_deleted_name_is_seen_and_not_the_old(share: Share) -> None:
    a, b = share.a(), share.b()
    a.push("X", "old", tags=["v1", "latest"])
    b.run(poison, *names_of("alice/X", "latest", "v1"))
    assert b.told("alice/X") == ["old"]
    a.do("delete", "alice/X")
    a.push("X", "new")
    assert b.mark("alice/X") == "new"
    assert b.code("path", "alice/X:v1") == 3
    assert b.told("alice/X") == ["new"]


def test_a_visibility_changed_on_one_host_holds_on_the_other_at_once(users: Share) -> None:
    alice, bob = users.a(ALICE), users.b(BOB)
    alice.push("X", "one")
    for _ in range(2):
        assert bob.mark("alice/X") == "one"
        bob.run(poison, *names_of("alice/X", "latest"))
        alice.do("visibility", "alice/X", "private")
        assert (bob.code("pull", "alice/X", "out"), bob.do("list")) == (3, [])
        bob.run(poison, *names_of("alice/X", "latest"))
        alice.do("visibility", "alice/X", "public")
        assert bob.do("list")[0]["name"] == "alice/X"


# what a writer rests on


def test_a_push_that_expects_what_another_host_has_moved_is_refused(share: Share) -> None:
    a, b = share.a(), share.b()
    first = b.push("X", "one")["version"]
    b.run(poison, *names_of("alice/X", "latest"))
    a.push("X", "two")
    with pytest.raises(Conflict, match="not at"):
        b.push("X", "three", expect=first)
    assert b.mark("alice/X") == "two"


def test_a_push_that_expects_what_another_host_just_made_succeeds(share: Share) -> None:
    a, b = share.a(), share.b()
    b.push("X", "one")
    b.run(poison, *names_of("alice/X", "latest"))
    second = a.push("X", "two")["version"]
    b.push("X", "three", expect=second)
    assert a.mark("alice/X") == "three"


def test_a_push_with_if_absent_sees_the_tag_of_another_host(share: Share) -> None:
    a, b = share.a(), share.b()
    b.push("X", "zero", tags=["v0"])
    b.run(poison, *names_of("alice/X", "v0", "v1"))
    a.push("X", "one", tags=["v1"])
    with pytest.raises(Conflict, match="stands already"):
        b.push("X", "two", tags=["v1"], if_absent=True)
    assert b.mark("alice/X:v1") == "one"


@pytest.mark.parametrize("verb", ["push", "tag", "rollback", "untag", "delete"])
def test_a_tag_that_another_host_has_just_protected_is_not_moved(share: Share, verb: str) -> None:
    a, b = share.a(), share.b()
    zero = b.push("X", "zero", tags=["old"])["version"]
    b.push("X", "one", tags=["v1"])
    b.run(poison, *names_of("alice/X", "v1"))
    a.do("tag", "alice/X:v1", "v1", protect=True)
    with pytest.raises(Conflict, match="protected"):
        if verb == "push":
            b.push("X", "two", tags=["v1"])
        elif verb == "tag":
            b.do("tag", f"alice/X@{zero}", "v1")
        elif verb == "rollback":
            b.do("rollback", "alice/X", zero, "v1")
        else:
            b.do(verb, "alice/X:v1")
    assert (a.mark("alice/X:v1"), b.mark("alice/X:v1")) == ("one", "one")


def test_a_tag_that_another_host_has_removed_is_not_there_to_be_removed(share: Share) -> None:
    a, b = share.a(), share.b()
    b.push("X", "one", tags=["v1", "latest"])
    b.run(poison, *names_of("alice/X", "v1", "latest"))
    a.do("untag", "alice/X:v1")
    with pytest.raises(NotFound):
        b.do("untag", "alice/X:v1")


def test_a_push_to_what_another_host_has_deleted_makes_it_anew(share: Share) -> None:
    a, b = share.a(), share.b()
    b.push("X", "old", tags=["v1", "latest"])
    b.run(poison, *names_of("alice/X", "v1", "latest"))
    a.do("delete", "alice/X")
    b.push("X", "new")
    assert a.tags("alice/X") == {"latest": "new"}
    assert a.told("alice/X") == ["new"]
    assert a.do("verify")["findings"] == []


def test_a_push_to_what_another_host_has_restored_goes_on_with_it(share: Share) -> None:
    a, b = share.a(), share.b()
    b.push("X", "old", tags=["v1", "latest"])
    a.do("delete", "alice/X")
    b.run(poison, *names_of("alice/X", "v1", "latest"))
    a.do("restore", "alice/X")
    b.push("X", "new")
    assert a.tags("alice/X") == {"latest": "new", "v1": "old"}
    assert a.told("alice/X") == ["old", "", "", "new"]


# the diary


@pytest.mark.parametrize("read", ["unread", "read before"])
def test_pushes_that_alternate_between_hosts_are_all_told_in_order(share: Share, read: str) -> None:
    seats = itertools.cycle((share.a(), share.b()))
    marks = [f"push {n}" for n in range(10)]
    for mark in marks:
        seat = next(seats)
        if read == "read before" and mark != marks[0]:
            assert seat.told("alice/X") == marks[: marks.index(mark)]
        seat.push("X", mark)
    assert share.a().told("alice/X") == marks
    assert share.b().told("alice/X") == marks
    assert share.b().do("verify")["findings"] == []


def test_every_change_on_either_host_has_its_entry(share: Share) -> None:
    a, b = share.a(), share.b()
    one = a.push("X", "one")["version"]
    b.do("tag", "alice/X", "v1")
    a.do("tag", "alice/X:v1", "v1", protect=True)
    b.push("X", "two")
    a.do("rollback", "alice/X", one)
    b.do("visibility", "alice/X", "private")
    a.do("tag", "alice/X", "x")
    b.do("untag", "alice/X:x")
    a.do("delete", "alice/X", unprotect=["v1"])
    b.do("restore", "alice/X")
    told = [entry["action"] for entry in reversed(a.do("log", "alice/X"))]
    changes = ["push", "tag", "protect", "push", "rollback", "visibility", "tag", "untag", "delete", "restore"]
    assert told == changes
    assert [entry["action"] for entry in reversed(b.do("log", "alice/X"))] == changes


# races between hosts


def push_at_once(me: Me, name: str, mark: str, options: dict[str, Any]) -> int:
    """Wait for the word, then push; the exit code."""
    source = me.executor(mark)
    me.tell("ready")
    me.hear()
    try:
        me.registry.push(source, name, message=mark, **options)
    except LhubError as error:
        return error.code
    return 0


def race(*tasks: Task) -> list[int]:
    """Let all go at once that have said that they are ready; their codes."""
    for task in tasks:
        assert task.heard() == "ready"
    for task in tasks:
        task.say("go")
    return [task.result() for task in tasks]


def racers(share: Share, name: str, turn: int, **options: object) -> list[Task]:
    """Two pushers on each host, each with a mark of its own."""
    return [share.at("AB"[n % 2]).begin(push_at_once, name, f"{turn} of {n}", options) for n in range(4)]


def test_first_pushes_of_one_name_from_both_hosts_are_both_there(share: Share) -> None:
    for turn in range(4):
        tasks = [share.at(host).begin(push_at_once, f"X{turn}", f"{host}", {"tags": [host]}) for host in ("A", "B")]
        assert race(*tasks) == [0, 0]
        assert share.a().tags(f"alice/X{turn}") == {"A": "A", "B": "B"}
        assert sorted(share.b().told(f"alice/X{turn}")) == ["A", "B"]


def test_of_many_on_two_hosts_who_protect_one_tag_one_wins(share: Share) -> None:
    share.a().push("X", "first")
    for turn in range(3):
        answers = race(*racers(share, "X", turn, protected_tags=[f"v{turn}"]))
        assert sorted(answers) == [0, 5, 5, 5]
        assert share.a().mark(f"alice/X:v{turn}") == f"{turn} of {answers.index(0)}"
        assert share.b().mark(f"alice/X:v{turn}") == f"{turn} of {answers.index(0)}"


def test_of_many_on_two_hosts_who_expect_the_same_version_one_wins(share: Share) -> None:
    stands = share.a().push("X", "first")["version"]
    for turn in range(3):
        answers = race(*racers(share, "X", turn, expect=stands))
        assert sorted(answers) == [0, 5, 5, 5]
        assert share.a().mark("alice/X") == share.b().mark("alice/X") == f"{turn} of {answers.index(0)}"
        stands = share.b().do("show", "alice/X")["version"]


def test_of_many_on_two_hosts_who_make_one_tag_if_it_is_absent_one_wins(share: Share) -> None:
    share.a().push("X", "first")
    for turn in range(3):
        answers = race(*racers(share, "X", turn, tags=[f"v{turn}"], if_absent=True))
        assert sorted(answers) == [0, 5, 5, 5]
        assert share.a().mark(f"alice/X:v{turn}") == f"{turn} of {answers.index(0)}"
        assert share.b().mark(f"alice/X:v{turn}") == f"{turn} of {answers.index(0)}"


def claim_at_once(me: Me, namespace: str) -> int:
    """Wait for the word, then claim a namespace; the exit code."""
    me.tell("ready")
    me.hear()
    return code_of(me, "login", [namespace], {})


def test_of_two_users_on_two_hosts_who_claim_one_namespace_one_wins(users: Share) -> None:
    seats = (users.a(ALICE), users.b(BOB))
    for turn in range(4):
        answers = race(*[seat.begin(claim_at_once, f"team{turn}") for seat in seats])
        assert sorted(answers) == [0, 4]
        winner = seats[answers.index(0)]
        winner.but(namespace=f"team{turn}").push("X", "one")
        with pytest.raises(Denied):
            seats[answers.index(4)].but(namespace=f"team{turn}").push("X", "two")


# readers in a loop


def read_on(me: Me, refs: list[str]) -> dict[str, Any]:
    """Read each reference again and again until told to stop: how often, what was seen, and what failed."""
    seen: dict[str, list[str]] = {ref: [] for ref in refs}
    failed: list[str] = []
    absent, reads = 0, 0
    me.tell("reading")
    while not me.stopped():
        for ref in refs:
            reads += 1
            try:
                mark = mark_of(me, ref)
                if seen[ref][-1:] != [mark]:
                    seen[ref].append(mark)
            except NotFound:
                absent += 1
            except Exception as error:
                failed.append(f"{ref}: {type(error).__name__}: {error}")
    return {"reads": reads, "seen": seen, "absent": absent, "failed": failed}


@contextlib.contextmanager
def reading(seat: Seat, *refs: str) -> Iterator[dict[str, Any]]:
    """Somebody who reads all the while; what he tells is complete after the block."""
    task = seat.begin(read_on, list(refs), limit=600)
    assert task.heard() == "reading"
    told: dict[str, Any] = {}
    yield told
    task.say("stop")
    told.update(task.result())


def test_a_reader_beside_a_host_that_moves_tags_sees_each_whole_and_fails_never(share: Share) -> None:
    a, b = share.a(), share.b()
    first = a.push("X", "one", tags=["v1", "latest"])["version"]
    with reading(b, "alice/X", "alice/X:v1") as told:
        for turn in range(4):
            a.push("X", f"two {turn}")
            a.do("rollback", "alice/X", first)
            a.do("tag", "alice/X", f"t{turn}")
            a.do("untag", f"alice/X:t{turn}")
    assert told["failed"] == []
    assert told["absent"] == 0
    assert set(told["seen"]["alice/X"]) <= {"one", *(f"two {turn}" for turn in range(4))}
    assert told["seen"]["alice/X:v1"] == ["one"]


def test_a_reader_beside_deletions_sees_a_whole_version_or_that_it_is_not_here(share: Share) -> None:
    a, b = share.a(), share.b()
    a.push("X", "one")
    with reading(b, "alice/X") as told:
        for _ in range(4):
            a.do("delete", "alice/X")
            a.do("restore", "alice/X")
    assert told["failed"] == []
    assert told["seen"]["alice/X"] == ["one"]


def collect_old(me: Me, name: str) -> list[str]:
    """Collect as if the notes of untagged versions were a day old; what was moved to the trash."""
    resource = me.registry.session.seen(parse_ref(name))
    me.registry.gc(grace=3600)
    for note in Path(resource.folder.versions).glob(".seen.*"):
        os.utime(note, (time.time() - 86_400,) * 2)
    return [*me.registry.gc(grace=3600).trashed]


def test_a_reader_beside_a_collection_on_another_host_fails_never(share: Share) -> None:
    a, b = share.a(), share.b()
    a.push("X", "kept", tags=["v1"])
    with reading(b, "alice/X:v1") as told:
        trashed = 0
        for turn in range(4):
            a.push("X", f"one {turn}")
            a.push("X", f"two {turn}")
            trashed += len(a.run(collect_old, "alice/X"))
    assert trashed >= 4
    assert told["failed"] == []
    assert (told["absent"], told["seen"]["alice/X:v1"]) == (0, ["kept"])


def test_a_version_that_goes_to_the_trash_on_another_host_comes_back_when_it_is_tagged(share: Share) -> None:
    a, b = share.a(), share.b()
    one = a.push("X", "one")["version"]
    a.push("X", "two")
    a.push("X", "three")
    assert b.mark(f"alice/X@{one}") == "one"
    b.run(poison, *names_of("alice/X"), f"alice/X/.lhub/versions/{one}")
    assert len(a.run(collect_old, "alice/X")) == 2
    b.do("tag", f"alice/X@{one}", "v1")
    assert (a.mark("alice/X:v1"), b.mark("alice/X:v1")) == ("one", "one")
    b.push("X", "two", tags=["v2"])
    assert a.mark("alice/X:v2") == "two"
    assert a.do("verify")["findings"] == []


# users


def test_another_user_s_namespace_is_refused_from_any_host(users: Share) -> None:
    users.a(ALICE).push("X", "one")
    bob = users.b(BOB)
    with pytest.raises(Denied):
        bob.push("alice/X", "two")
    with pytest.raises(Denied):
        bob.but(namespace="alice").push("X", "two")
    with pytest.raises(Denied):
        bob.do("delete", "alice/X")
    assert users.a(CAROL).mark("alice/X") == "one"


QUESTIONS: dict[str, tuple[Any, ...]] = {
    "pull": ("out",),
    "path": (),
    "show": (),
    "log": (),
    "visibility": (),
    "tag": ("mine",),
    "untag": ("latest",),
    "rollback": ("latest",),
    "delete": (),
    "restore": (),
}


def sentence(me: Me, verb: str, ref: str, arguments: list[Any]) -> str:
    """What a verb answers, in words."""
    try:
        return f"an answer: {do(me, verb, [ref, *arguments], {})}"
    except LhubError as error:
        return f"{error.code} {error} ({error.hint})"


def test_another_user_s_private_resource_answers_as_an_absent_one_from_any_host(users: Share) -> None:
    users.a(ALICE).push("Secret", "one", private=True)
    for bob in (users.b(BOB), users.b(BOB).but(namespace="alice"), users.b(DAVE).but(namespace=None)):
        for verb, arguments in QUESTIONS.items():
            told = [bob.run(sentence, verb, f"alice/{name}", arguments) for name in ("Secret", "Absent")]
            assert told[0].replace("Secret", "X") == told[1].replace("Absent", "X")
            assert told[0][:1] == "3"
        assert bob.do("list") == []


def by_hand(me: Me, name: str) -> list[str]:
    """Try by hand what lhub would refuse; what the kernel let happen."""
    space, resource = f"{me.root}/{name.partition('/')[0]}", f"{me.root}/{name}"
    versions = f"{resource}/.lhub/versions"
    attempts: dict[str, Callable[[], object]] = {
        "rename the namespace": lambda: Path(space).rename(f"{me.root}/stolen"),
        "rename the resource": lambda: Path(resource).rename(f"{space}/stolen"),
        "take the resource out": lambda: Path(resource).rename(f"{me.root}/stolen"),
        "close the namespace": lambda: Path(space).chmod(0o700),
        "close the resource": lambda: Path(resource).chmod(0o700),
        "open the resource": lambda: Path(resource).chmod(0o777),
        "own the resource": lambda: os.chown(resource, os.geteuid(), -1),
        "remove the resource": lambda: Path(resource).rmdir(),
        "add to the namespace": lambda: Path(space, "mine").mkdir(),
        "add a tag": lambda: Path(resource, "mine").symlink_to(".lhub/versions/" + "0" * 64),
        "remove a tag": lambda: Path(resource, "latest").unlink(),
        "move a tag": lambda: os.rename(f"{me.folder}/link", f"{resource}/latest"),
        "remove the root's file": lambda: Path(me.root, "registry.yaml").unlink(),
        "write the namespace's file": lambda: Path(space, "namespace.yaml").write_text("format: 9\n"),
        "write the resource's file": lambda: Path(resource, "resource.yaml").write_text("format: 9\n"),
        "take the lock": lambda: os.open(f"{resource}/.lhub/lock", os.O_RDONLY),
        "add a version": lambda: Path(versions, "0" * 64).mkdir(),
        "move the diary": lambda: Path(f"{resource}/.lhub/history.git/refs/heads/main").unlink(),
    }
    for version in (name for name in os.listdir(versions) if not name.startswith(".")):
        file = Path(versions, version, "files", "config.yml")
        attempts["remove a version"] = partial(os.rename, f"{versions}/{version}", f"{versions}/.x")
        attempts["write in a version"] = partial(file.write_text, "mine")
    done = []
    Path("link").symlink_to("nowhere")
    for what, attempt in attempts.items():
        try:
            attempt()
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EXDEV, errno.ENOTEMPTY):
                done.append(f"{what}: {error}")
        else:
            done.append(what)
    return done


@pytest.mark.parametrize("host", ["A", "B"])
def test_the_kernel_refuses_by_hand_what_lhub_refuses(users: Share, host: str) -> None:
    users.a(ALICE).push("X", "one")
    assert users.at(host, BOB).run(by_hand, "alice/X") == []
    assert users.b(ALICE).do("verify")["findings"] == []


def look_inside(me: Me, name: str) -> list[str]:
    """What of a private resource can be listed or read by hand."""
    seen = []
    for path in (f"{me.root}/{name}", f"{me.root}/{name}/.lhub", f"{me.root}/{name}/.lhub/versions"):
        with contextlib.suppress(PermissionError):
            seen += os.listdir(path)
    return seen


def test_nobody_looks_into_a_private_resource_by_hand(users: Share) -> None:
    users.a(ALICE).push("X", "one", private=True)
    assert users.a(BOB).run(look_inside, "alice/X") == []
    assert users.b(BOB).run(look_inside, "alice/X") == []


# a team


def make_team(me: Me, namespace: str, gid: int) -> None:
    """A namespace of a group."""
    me.registry.create_namespace(namespace, group=str(gid))


@pytest.fixture
def team(users: Share) -> Share:
    """With a namespace `vision` of the team, whose members' umask lets nobody else in."""
    users.a(ALICE).run(make_team, "vision", TEAM)
    return users


def member(share: Share, host: str, user: User) -> Seat:
    return share.at(host, user).but(umask=0o077)


def test_members_push_and_move_tags_from_both_hosts_whatever_their_umask(team: Share) -> None:
    marks = []
    for turn, (host, user) in enumerate(zip("ABABAB", (ALICE, BOB, CAROL) * 2, strict=True)):
        marks.append(f"{user.name} {turn}")
        member(team, host, user).push("vision/X", marks[-1], tags=["latest", f"t{turn}"])
    assert member(team, "B", ALICE).told("vision/X") == marks
    seen = member(team, "A", BOB).tags("vision/X")
    assert seen == {"latest": marks[-1], **{f"t{turn}": mark for turn, mark in enumerate(marks)}}
    member(team, "B", CAROL).do("untag", "vision/X:t0")
    member(team, "A", CAROL).do("rollback", "vision/X", "t1")
    assert member(team, "B", ALICE).mark("vision/X") == marks[1]
    assert team.b(DAVE).mark("vision/X") == marks[1]
    assert member(team, "A", BOB).do("verify")["findings"] == []


def test_members_push_at_once_from_both_hosts_and_nothing_is_lost(team: Share) -> None:
    people = [member(team, "AB"[n % 2], (ALICE, BOB, CAROL)[n % 3]) for n in range(6)]
    tasks = [seat.begin(push_at_once, "vision/X", f"mark {n}", {"tags": [f"t{n}"]}) for n, seat in enumerate(people)]
    assert race(*tasks) == [0] * 6
    assert people[0].tags("vision/X") == {f"t{n}": f"mark {n}" for n in range(6)}
    assert sorted(people[1].told("vision/X")) == [f"mark {n}" for n in range(6)]


def against_a_colleague(me: Me, name: str) -> list[str]:
    """Try by hand to remove or close what a colleague made; what the kernel let happen."""
    space, resource = f"{me.root}/{name.partition('/')[0]}", f"{me.root}/{name}"
    attempts: dict[str, Callable[[], object]] = {
        "rename the namespace": lambda: Path(space).rename(f"{me.root}/stolen"),
        "close the namespace": lambda: Path(space).chmod(0o700),
        "rename the resource": lambda: Path(resource).rename(f"{space}/stolen"),
        "close the resource": lambda: Path(resource).chmod(0o700),
        "own the resource": lambda: os.chown(resource, os.geteuid(), -1),
        "close what is inside": lambda: Path(resource, ".lhub").chmod(0o700),
        "remove the resource": lambda: Path(resource).rmdir(),
    }
    done = []
    for what, attempt in attempts.items():
        with contextlib.suppress(PermissionError):
            attempt()
            done.append(what)
    return done


def test_no_member_removes_or_closes_by_hand_what_a_colleague_made(team: Share) -> None:
    member(team, "A", ALICE).push("vision/X", "one")
    member(team, "A", BOB).push("vision/Y", "two")
    assert member(team, "B", BOB).run(against_a_colleague, "vision/X") == []
    assert member(team, "A", CAROL).run(against_a_colleague, "vision/Y") == []
    assert member(team, "B", ALICE).do("verify")["findings"] == []


def test_an_outsider_changes_nothing_of_a_team_s(team: Share) -> None:
    member(team, "A", ALICE).push("vision/X", "one")
    dave = team.b(DAVE)
    with pytest.raises(Denied):
        dave.push("vision/X", "two")
    with pytest.raises(Denied):
        dave.but(namespace="vision").push("X", "two")
    assert dave.run(by_hand, "vision/X") == []
    assert dave.mark("vision/X") == "one"


def test_a_private_resource_of_a_team_is_every_member_s_and_nobody_else_s(team: Share) -> None:
    member(team, "A", ALICE).push("vision/X", "one", private=True)
    member(team, "B", BOB).push("vision/X", "two")
    assert member(team, "A", CAROL).mark("vision/X") == "two"
    assert member(team, "A", CAROL).do("list")[0]["visibility"] == "private"
    for host in "AB":
        assert (team.at(host, DAVE).code("path", "vision/X"), team.at(host, DAVE).do("list")) == (3, [])
        assert team.at(host, DAVE).run(look_inside, "vision/X") == []


def test_only_its_maker_or_the_namespace_s_owner_hides_or_deletes_a_team_s_resource(team: Share) -> None:
    member(team, "A", BOB).push("vision/X", "one")
    for verb, arguments in (("visibility", ["private"]), ("delete", [])):
        with pytest.raises(Denied):
            member(team, "B", CAROL).do(verb, "vision/X", *arguments)
    member(team, "B", BOB).do("delete", "vision/X")
    assert member(team, "A", CAROL).code("path", "vision/X") == 3
    member(team, "A", BOB).do("restore", "vision/X")
    assert member(team, "B", CAROL).mark("vision/X") == "one"


# who holds the lock


def hold(me: Me, name: str) -> None:
    """Hold a resource's lock until told to let go."""
    ref = parse_ref(name)
    session = me.registry.session
    with session.changing(session.permitted("push", ref), ref.namespace):
        me.tell("held")
        me.hear()


def push_and_tell(me: Me, name: str, mark: str) -> list[float]:
    """Push, telling each note as it comes; when it began to push and when it had, by a clock of the host's own."""
    session = me.registry.session
    registry = me.registry
    registry.session = replace(session, notes=me.tell)
    source = me.executor(mark)
    began = time.monotonic()
    me.tell("pushing")
    registry.push(source, name, message=mark)
    return [began, time.monotonic()]


def test_who_waits_is_told_who_holds_the_lock_and_since_when(share: Share) -> None:
    a, b = share.a(), share.b()
    a.push("X", "one")
    holder = a.begin(hold, "alice/X")
    assert holder.heard() == "held"
    waiter = b.begin(push_and_tell, "alice/X", "two")
    assert waiter.heard() == "pushing"
    note = waiter.heard()
    assert "waiting for alice (" in note
    assert f"@{share.hosts['A'].about['host']}, process " in note
    assert " since 20" in note
    assert b.mark("alice/X") == "one"
    holder.say("let go")
    holder.result()
    waiter.result()
    assert a.mark("alice/X") == "two"


def test_who_waits_in_vain_is_told_who_holds_the_lock(share: Share) -> None:
    a, b = share.a(), share.b().but(timeout=0.5)
    a.push("X", "one")
    holder = a.begin(hold, "alice/X")
    assert holder.heard() == "held"
    with pytest.raises(LockTimeout, match=r"alice \(.*since 20"):
        b.push("X", "two")
    assert b.mark("alice/X") == "one"
    holder.say("let go")
    holder.result()


def test_the_lock_of_a_holder_that_is_killed_is_free_at_once(share: Share) -> None:
    a, b = share.a(), share.b()
    a.push("X", "one")
    holder = a.begin(hold, "alice/X")
    assert holder.heard() == "held"
    waiter = b.begin(push_and_tell, "alice/X", "two")
    assert waiter.heard() == "pushing"
    assert "waiting for" in waiter.heard()
    killed = time.monotonic()
    holder.kill()
    waiter.result()
    assert time.monotonic() - killed < 10
    with pytest.raises(Broken, match="-9"):
        holder.result()
    assert a.mark("alice/X") == "two"


def test_a_push_that_is_killed_on_one_host_leaves_the_other_unharmed(share: Share) -> None:
    a, b = share.a(), share.b()
    a.push("X", "one")
    for turn in range(4):
        task = a.begin(push_until_killed, "alice/X")
        for _ in range(turn + 1):
            task.heard()
        task.kill()
        with pytest.raises(Broken, match="-9"):
            task.result()
        b.push("X", f"two {turn}")
        assert b.mark("alice/X") == f"two {turn}"
    a.push("X", "three")
    assert b.do("verify")["findings"] == []
    assert b.run(scratch_of, "alice/X") == []


def push_until_killed(me: Me, name: str) -> None:
    """Push one after another without end."""
    for turn in itertools.count():
        me.tell(turn)
        push(me, name, f"mine {turn} {random.random()}", {})


def scratch_of(me: Me, name: str) -> list[str]:
    """What dead pushes left."""
    versions = Path(me.registry.session.seen(parse_ref(name)).folder.versions)
    return sorted(path.name for path in versions.glob(".tmp.*"))


# clocks

DAY = 86_400.0


@pytest.mark.parametrize("off", [DAY, -DAY], ids=["ahead", "behind"])
def test_a_clock_that_is_a_day_off_changes_nothing_but_the_diary_s_times(share: Share, off: float) -> None:
    a, b = share.a(), share.b().but(clock=off)
    for turn in range(3):
        a.push("X", f"a {turn}")
        b.push("X", f"b {turn}")
    b.do("tag", "alice/X", "v1")
    assert a.do("log", "alice/X")[0]["when"] - a.do("log", "alice/X")[1]["when"] < DAY / 2
    assert a.told("alice/X")[:6] == [f"{who} {turn}" for turn in range(3) for who in "ab"]
    assert a.tags("alice/X") == {"latest": "b 2", "v1": "b 2"}
    collected = b.do("gc", grace=3600)
    assert (len(collected["noted"]), collected["trashed"]) == (5, [])
    assert a.do("gc", grace=3600)["trashed"] == []
    assert b.do("gc", grace=3600)["trashed"] == []
    assert a.do("verify")["findings"] == []


@pytest.mark.parametrize("off", [DAY, -DAY], ids=["ahead", "behind"])
def test_what_was_deleted_last_comes_back_though_a_clock_is_a_day_off(share: Share, off: float) -> None:
    a, b = share.a(), share.b().but(clock=off)
    first, second = (a, b) if off < 0 else (b, a)
    a.push("X", "first")
    first.do("delete", "alice/X")
    a.push("X", "second")
    second.do("delete", "alice/X")
    a.do("restore", "alice/X")
    assert b.mark("alice/X") == "second"


# a share that may only be read


def pull_read_only(me: Me, ref: str, user: dict[str, Any]) -> dict[str, Any]:
    """Mount the share read-only, in this process alone, and use what stands there."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_namespace, bind, remount, read_only, private = 0x20000, 4096, 32, 1, (1 << 18) | 16384
    mount = str(Path(me.root).parent)
    steps = (
        libc.unshare(new_namespace),
        libc.mount(b"none", b"/", None, private, None),
        libc.mount(mount.encode(), mount.encode(), None, bind, None),
        libc.mount(b"none", mount.encode(), None, bind | remount | read_only, None),
    )
    if any(steps):
        return {"skip": os.strerror(ctypes.get_errno())}
    os.setgroups(user["groups"])
    os.chown(me.folder, user["uid"], user["uid"])
    os.setgid(user["uid"])
    os.setuid(user["uid"])
    try:
        Path(me.root, "x").mkdir()
    except OSError as error:
        refused = error.errno
    told = mark_of(me, ref), [line.name for line in me.registry.list()], len(me.registry.log(ref))
    return {"refused": refused, "told": told, "push": code_of(me, "tag", [ref, "v1"], {})}


def test_a_read_only_mount_serves_all_that_reads(users: Share) -> None:
    users.a(ALICE).push("X", "one")
    b = users.b(ALICE)
    me = {"root": b.root, "namespace": "alice"}
    user = {"uid": BOB.uid, "groups": list(BOB.groups)}
    told = b.host.run(pull_read_only, "alice/X", user, me=me)
    if "skip" in told:
        pytest.skip(f"no mount of one's own there: {told['skip']}")
    assert told["refused"] == errno.EROFS
    assert told["told"] == ["one", ["alice/X"], 1]
    assert told["push"] != 0


# the server


@pytest.fixture(scope="module")
def server(ground: Share) -> Iterator[tuple[Host, str]]:
    """The file server as a host of its own, and where the share lies on it; here it is host A itself."""
    if not OUTSIDE:
        yield ground.hosts["A"], ground.hosts["A"].mount
        return
    if "LHUB_TEST_HOST_S" not in os.environ:
        pytest.skip("LHUB_TEST_HOST_S does not name the server")
    *prefix, folder = shlex.split(os.environ["LHUB_TEST_HOST_S"])
    host = Host("S", prefix, folder, os.environ.get("LHUB_TEST_PYTHON") or sys.executable)
    yield host, folder
    host.close()


@pytest.fixture
def real_server(server: tuple[Host, str]) -> tuple[Host, str]:
    """A server whose disk may be filled: not this machine's own, nor what it sees through a mount."""
    if not OUTSIDE:
        pytest.skip("this machine's own disk is not filled; LHUB_TEST_HOST_S names a server")
    host, folder = server
    if (kind := host.run(kind_of, folder)) not in DISKS:
        pytest.skip(f"{folder} of LHUB_TEST_HOST_S lies on {kind}, not on a disk of that server which could be filled")
    return server


DISKS = ("ext4", "xfs", "btrfs", "zfs")


def kind_of(me: Me, folder: str) -> str:
    """The kind of file system that a folder lies on."""
    mount = mount_of(folder)
    return mount.kind if mount else "nothing that tells its name"


def command(me: Me, *words: str) -> dict[str, Any]:
    """What the command line answers to a person: exit code and stderr."""
    home = f"{me.folder}/.lhub"
    remember(home, me.namespace or "")
    os.environ.update(LHUB_HOME=home, LHUB_ROOT=me.root)
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main(list(words))
    return {"code": code, "said": said.getvalue()}


def push_large(me: Me, name: str, mark: str, size: int) -> dict[str, Any]:
    """Push an Executor with files of this many bytes together; what a person is told."""
    source = Path(me.executor(mark))
    for part in range(4):
        (source / f"weights-{part}.bin").write_bytes(os.urandom(size // 4))
    return command(me, "push", str(source), name)


def fill(me: Me, folder: str, leave: int) -> None:
    """Fill the disk that a folder is on, but for so many bytes that users may have."""
    room = os.statvfs(folder)
    size = room.f_bavail * room.f_frsize - leave
    with open(f"{folder}/filled", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def empty(me: Me, folder: str) -> None:
    """Make room again."""
    Path(folder, "filled").unlink(missing_ok=True)
    os.sync()


def see_refused_for_room(share: Share, leave: int, make_room: Callable[[], object]) -> None:
    """A push that does not fit says so, changes no tag, and succeeds when there is room, leaving no scratch."""
    a, b = share.a(), share.b()
    told = a.run(push_large, "X", "two", leave * 2)
    assert told["code"] == 1
    assert any(words in told["said"] for words in ("No space left", "Disk quota exceeded"))
    assert "Traceback" not in told["said"]
    assert b.tags("alice/X") == {"latest": "one", "v1": "one"}
    make_room()
    assert a.run(push_large, "X", "three", leave * 2) == {"code": 0, "said": ""}
    assert b.run(scratch_of, "alice/X") == []
    assert b.do("verify")["findings"] == []
    assert len(b.told("alice/X")) == 2


@pytest.mark.parametrize("leave", [64 << 10, 8 << 20], ids=["at once", "in the middle"])
def test_a_push_on_a_full_disk_is_refused_and_succeeds_when_there_is_room(
    share: Share, real_server: tuple[Host, str], leave: int
) -> None:
    host, folder = real_server
    share.a().push("X", "one", tags=["v1", "latest"])
    host.run(fill, folder, leave)
    try:
        see_refused_for_room(share, max(leave, 1 << 20), partial(host.run, empty, folder))
    finally:
        host.run(empty, folder)


@pytest.mark.parametrize("verb", ["tag", "rollback", "untag", "delete", "visibility"])
def test_a_small_change_on_a_full_disk_is_whole_or_not_there(
    share: Share, real_server: tuple[Host, str], verb: str
) -> None:
    host, folder = real_server
    a, b = share.a(), share.b()
    one = a.push("X", "one", tags=["v1", "latest"])["version"]
    a.push("X", "two")
    words = {
        "tag": ["alice/X", "v2"],
        "rollback": ["alice/X", one[:12]],
        "untag": ["alice/X:v1"],
        "delete": ["alice/X", "--yes"],
        "visibility": ["alice/X", "private"],
    }[verb]
    host.run(fill, folder, 0)
    try:
        told = a.run(command, verb, *words)
        assert "Traceback" not in told["said"]
        if not (verb == "delete" and told["code"] == 0):
            assert b.mark("alice/X") in ("one", "two")
    finally:
        host.run(empty, folder)
    if verb == "delete" and told["code"] == 0:
        b.do("restore", "alice/X")
    a.push("X", "three")
    assert b.mark("alice/X") == "three"
    assert b.run(scratch_of, "alice/X") == []
    assert b.do("verify")["findings"] == []


def quota(me: Me, folder: str, uid: int, room: int | None) -> str:
    """Let a user have so many bytes more than he has; what is wrong, if quotas cannot be had there."""
    mount = subprocess.run(["df", "--output=target", folder], capture_output=True, text=True, check=True)
    where = mount.stdout.split()[-1]
    try:
        used = 0
        if room is not None:
            told = subprocess.run(["quota", "-wpu", str(uid)], capture_output=True, text=True, check=False)
            numbers = [word.rstrip("*") for word in told.stdout.split("\n")[-2].split()] if told.stdout else []
            used = int(numbers[1]) if len(numbers) > 1 and numbers[1].isdecimal() else 0
        blocks = "0" if room is None else str(used + room // 1024)
        set_to = ["setquota", "-u", str(uid), "0", blocks, "0", "0", where]
        done = subprocess.run(set_to, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        return str(error)
    return done.stderr


def test_a_push_over_one_s_quota_is_refused_and_succeeds_when_there_is_room(
    users: Share, real_server: tuple[Host, str]
) -> None:
    host, folder = real_server
    users.a().push("X", "one", tags=["v1", "latest"])
    if wrong := host.run(quota, folder, ALICE.uid, 4 << 20):
        pytest.skip(f"no quota on that server: {wrong}")
    try:
        see_refused_for_room(users, 4 << 20, partial(host.run, quota, folder, ALICE.uid, None))
    finally:
        host.run(quota, folder, ALICE.uid, None)


# a colleague leaves


def hand_over(me: Me, folder: str, uid: int) -> None:
    """`chown -R`, as an administrator does on the server."""
    subprocess.run(["chown", "-R", f"{uid}:{uid}", folder], check=True)


def test_a_namespace_that_is_handed_over_is_the_new_owner_s_and_no_more_the_old_one_s(
    users: Share, server: tuple[Host, str]
) -> None:
    host, folder = server
    alice, bob = users.a(ALICE), users.b(BOB).but(namespace="alice")
    one = alice.push("X", "one", tags=["v1", "latest"])["version"]
    alice.push("X", "two", protected_tags=["v2"])
    alice.push("Secret", "hidden", private=True)
    assert bob.code("path", "alice/Secret") == 3
    host.run(hand_over, f"{folder}/{users.folder}/registry/alice", BOB.uid)
    bob.push("X", "three", tags=["v3", "latest"])
    bob.do("rollback", "alice/X", one)
    assert bob.tags("alice/X") == {"latest": "one", "v1": "one", "v2": "two", "v3": "three"}
    assert bob.mark("alice/Secret") == "hidden"
    assert bob.do("visibility", "alice/Secret", "public") == "public"
    assert bob.told("alice/X")[:3] == ["one", "two", "three"]
    assert len(bob.run(collect_old, "alice/X")) == 0
    bob.do("delete", "alice/Secret")
    bob.do("restore", "alice/Secret")
    with pytest.raises(Denied):
        alice.push("X", "four")
    with pytest.raises(Denied):
        alice.do("delete", "alice/X")
    assert alice.run(by_hand, "alice/X") == []
    assert bob.do("verify")["findings"] == []
    assert [odd for odd in bob.do("doctor") if "alice" in json.dumps(odd)] == []


def test_what_a_forgotten_part_of_a_hand_over_leaves_is_told(users: Share, server: tuple[Host, str]) -> None:
    host, folder = server
    users.a(ALICE).push("X", "one")
    users.a(ALICE).push("Y", "two")
    space = f"{folder}/{users.folder}/registry/alice"
    host.run(hand_over, space, BOB.uid)
    host.run(hand_over, f"{space}/Y", ALICE.uid)
    bob = users.b(BOB).but(namespace="alice")
    bob.push("X", "three")
    with pytest.raises(Denied):
        bob.push("Y", "four")
    assert any("alice/Y" in json.dumps(each) for each in bob.do("doctor"))


# a crowd


def test_a_crowd_on_two_hosts_loses_nothing_tears_nothing_and_fails_nobody(share: Share) -> None:
    report = crowd(share, "two hosts", 20 if OUTSIDE else 4)
    assert report.faults == []
    assert report.pushes >= 8
    assert report.reads >= 8
    assert report.deleted >= 1


# the power of a host goes

CUTS = int(os.environ.get("LHUB_TEST_CUTS", "12"))
LEASE = 100.0
"""Seconds in which a lock of a host without power is free: NFS takes 90 if its server is not told otherwise."""


class Power:
    """Host A's power."""

    def __init__(self, host: Host, off: str, on: str) -> None:
        self.host, self.commands, self.is_on = host, (off, on), True

    def turn(self, *, on: bool) -> None:
        """Cut it, or bring it back; nothing happens where it is so."""
        if on == self.is_on:
            return
        subprocess.run(shlex.split(self.commands[on]), check=True, capture_output=True, timeout=300)
        self.is_on = on
        if on:
            self.host.start()
        else:
            self.host.end()


@pytest.fixture
def power(request: pytest.FixtureRequest) -> Iterator[Power]:
    """Host A's power; it is on afterwards."""
    off, on = os.environ.get("LHUB_TEST_CRASH_A"), os.environ.get("LHUB_TEST_BOOT_A")
    if not off or not on:
        pytest.skip("LHUB_TEST_CRASH_A and LHUB_TEST_BOOT_A say how host A loses its power and gets it back")
    if "PYTEST_XDIST_WORKER" in os.environ:
        pytest.skip("it takes host A away from the tests beside it: run it without -n")
    power = Power(request.getfixturevalue("ground").hosts["A"], off, on)
    yield power
    power.turn(on=True)


def work_on(me: Me, kind: str, bundle: str) -> None:
    """Do one kind of change again and again, telling each that was acknowledged."""
    registry = me.registry
    collection.SHORTEST = 0.0
    for turn in itertools.count():
        mark = f"{kind} {turn} {random.random()}"
        if kind == "push":
            push(me, "X", mark, {"tags": ["latest"], "protected_tags": [f"p{random.randrange(10**9)}"]})
        elif kind == "rollback":
            registry.rollback("alice/X", ("v1", "v2")[turn % 2])
        elif kind == "gc":
            push(me, "X", mark, {})
            registry.gc(grace=0.0)
        elif kind == "import":
            registry.import_bundle(bundle)
            registry.delete("alice/Carried")
        elif kind == "delete":
            registry.delete("alice/Gone")
            registry.restore("alice/Gone")
        me.tell(turn)


def make_bundle(me: Me, path: str) -> None:
    """A bundle of a resource with two versions."""
    home = Me(folder=me.folder, root=f"{me.folder}/home", namespace="alice")
    for mark in ("carried one", "carried two"):
        push(home, "Carried", mark, {"tags": [mark[8:]]})
    home.registry.export("alice/Carried", path=path)


def all_tags(me: Me) -> dict[str, str]:
    """Every tag of everything with its mark, each looked at as a whole."""
    return {f"{line.name}:{tag}": mark_of(me, f"{line.name}:{tag}") for line in me.registry.list() for tag in line.tags}


def touch_all(me: Me) -> None:
    """The next change of everything, and a collection, which sweeps what no push comes to."""
    for line in me.registry.list():
        me.registry.tag(f"{line.name}:{min(line.tags)}", f"after-{random.randrange(10**9)}")
    me.registry.gc()


def all_scratch(me: Me) -> list[str]:
    """What dead writers left, of everything."""
    return [name for line in me.registry.list() for name in scratch_of(me, line.name)]


def cut_beside_a_writer(share: Share, power: Power, kind: str, bundle: str, mark: str) -> str:
    """Cut the power of host A at some moment of its work, while somebody on B waits to push; how long he waited."""
    a, b = share.a(), share.b().but(timeout=LEASE)
    task = a.begin(work_on, kind, bundle, limit=600)
    task.heard()
    time.sleep(random.uniform(0, 3))
    waiter = b.begin(push_and_tell, "X", mark, limit=LEASE + 120)
    waiter.heard()
    power.turn(on=False)
    began = time.monotonic()
    try:
        waiter.result()
    except LockTimeout as held:  # NFS 3 has no lease: there a lock is free when its host is back
        assert f"@{share.hosts['A'].about['host']}" in str(held)
        assert b.run(all_tags)
        power.turn(on=True)
        began = time.monotonic()
        b.push("X", mark)
        return f"{time.monotonic() - began:.1f} s from when the host was back"
    return f"{time.monotonic() - began:.1f} s"


def see_all_whole(b: Seat, latest: str) -> None:
    """On the other host every tag is whole, and names what it should."""
    if b.code("path", "alice/Gone") == 3:  # it was deleted just then, and not yet restored
        b.do("restore", "alice/Gone")
    tags = b.run(all_tags)
    assert tags["alice/Gone:latest"] == "whole"
    assert tags["alice/X:latest"] == latest
    assert {tags["alice/X:v1"], tags["alice/X:v2"]} == {"one", "two"}


def test_what_a_power_cut_of_one_host_leaves_is_whole_on_the_other(
    share: Share, power: Power, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = share.a(), share.b()
    a.push("X", "one", tags=["v1", "latest"])
    a.push("X", "two", tags=["v2"])
    a.push("Gone", "whole")
    bundle = f"{share.hosts['A'].mount}/{share.folder}/bundle.tar"
    a.run(make_bundle, bundle)
    for cut, kind in zip(range(CUTS), itertools.cycle(("push", "rollback", "gc", "import", "delete"))):
        waited = cut_beside_a_writer(share, power, kind, bundle, f"waiter {cut}")
        see_all_whole(b, f"waiter {cut}")
        left = [f"{each['ref']}: {each['problem']}" for each in b.do("verify")["findings"]]
        power.turn(on=True)
        a.push("X", f"after {cut}")
        assert b.mark("alice/X") == f"after {cut}"
        a.run(touch_all)
        assert b.run(all_scratch) == []
        assert b.do("verify")["findings"] == []
        with capsys.disabled():
            sys.stdout.write(f"\n  {kind}: a writer waited {waited}, verify then found {left}")


# the ground itself


def wait_for_ever(me: Me) -> None:
    """Hear nothing."""
    me.tell("waiting")
    me.hear()


def greet(me: Me, name: str) -> str:
    return f"hello {name}"


def test_a_host_is_reached_through_a_shell_that_splits_words() -> None:
    host = Host("C", ["sh", "-c", 'exec sh -c "$*"', "sh"], "/", sys.executable)  # as ssh hands them on
    try:
        assert host.run(greet, "a 'quoted' \"name\" $HOME") == "hello a 'quoted' \"name\" $HOME"
    finally:
        host.close()


def test_a_task_that_hangs_is_ended_and_says_so(ground: Share) -> None:
    with pytest.raises(Broken, match=r"more than 0\.3 seconds"):
        ground.hosts["A"].run(wait_for_ever, limit=0.3)
    assert ground.hosts["A"].run(greet, "you") == "hello you"


def test_a_host_that_goes_away_ends_its_tasks_here() -> None:
    host = Host("C", [], "/", sys.executable)
    task = host.begin(wait_for_ever)
    assert task.heard() == "waiting"
    task.host.end()
    with pytest.raises(Broken, match="host C went away"):
        task.result()
