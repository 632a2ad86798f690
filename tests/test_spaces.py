"""The root and the namespaces: who may make names where, by owner, group and mode, whatever the umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Timer

import pytest

from lhub import spaces
from lhub.disk import Pen
from lhub.errors import Conflict, Denied, LhubError, NotFound, UsageError
from lhub.identity import recall_mounts, remember, remember_mount
from lhub.lock import held
from lhub.registry import Registry
from tests.conftest import Shell, snapshot, write_tree
from tests.test_crowds import become, executor, needs_root, shared, together

__all__ = ["shared"]
TEAM, OTHERS = 30001, 30002


def mode(path: Path | str) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


# the root


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o777])
def test_a_shared_root_lets_everybody_make_names_and_nobody_remove_another_s(tmp_path: Path, mask: int) -> None:
    registry = Registry(tmp_path / "registry")
    with umask(mask):
        registry.init(shared=True)
    places = (registry.root, registry.root / "_", registry.root / "_/.trash", registry.root / "registry.yaml")
    assert [mode(place) for place in places] == [0o1777, 0o1777, 0o1777, 0o644]


def test_a_group_s_root_is_the_group_s(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    registry.init(group=str(os.getgid()))
    for place in (registry.root, registry.root / "_", registry.root / "_/.trash"):
        assert (mode(place), place.stat().st_gid) == (0o3775, os.getgid())


def test_a_registry_that_stands_is_shared_by_its_owner_and_all_else_stays(tmp_path: Path, hello: Path) -> None:
    registry = Registry(tmp_path / "registry", namespace="alice")
    registry.push(hello)
    before = snapshot(registry.root / "alice")
    registry.init(shared=True)
    registry.init()
    assert (mode(registry.root), snapshot(registry.root / "alice")) == (0o1777, before)


@needs_root
def test_a_registry_is_not_shared_by_somebody_else(shared: Path) -> None:
    registry = Registry(shared / "mine")
    registry.init()

    def share() -> None:
        become(20001)
        Registry(shared / "mine").init(shared=True)

    assert together(share) == [4]
    assert mode(registry.root) == 0o755


@needs_root
def test_a_folder_that_an_administrator_shared_becomes_a_registry_by_him_alone(shared: Path) -> None:
    place = shared / "prepared"
    place.mkdir()
    place.chmod(0o1777)

    def make() -> None:
        become(20001)
        Registry(place).init(shared=True)

    assert together(make) == [4]
    assert list(place.iterdir()) == []
    Registry(place).init(shared=True)
    assert (mode(place), mode(place / "_")) == (0o1777, 0o1777)


def test_two_ways_to_share_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        Registry(tmp_path / "registry").init(shared=True, group="x")
    assert not (tmp_path / "registry").exists()


@pytest.mark.parametrize("group", ["no-such-group", "", "4294967296", "-1", "٣"])
def test_a_group_that_is_not_there_is_refused_and_nothing_is_made(tmp_path: Path, group: str) -> None:
    with pytest.raises(NotFound, match="there is no group"):
        Registry(tmp_path / "registry").init(group=group)
    with pytest.raises(NotFound, match="there is no group"):
        Registry(tmp_path / "registry").create_namespace("vision", group=group)
    assert not (tmp_path / "registry").exists()


@needs_root
def test_a_group_is_given_nothing_by_who_is_not_in_it(shared: Path) -> None:
    def give() -> None:
        become(20001, OTHERS)
        Registry(shared / "registry").create_namespace("vision", group=str(TEAM))

    assert together(give) == [4]
    assert not (shared / "registry/vision").exists()


def test_a_file_system_that_keeps_no_modes_is_told(tmp_path: Path) -> None:
    class Forgetful(Pen):
        def set_mode(self, path: str, mode: int) -> None:
            self.step("set_mode", path)

    registry = Registry(tmp_path / "registry", pen=Forgetful())
    registry.init()
    with pytest.raises(LhubError, match="does not keep modes or groups"):
        registry.init(shared=True)


# a team's namespace


@needs_root
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_team_s_namespace_is_the_group_s_whatever_the_umask(shared: Path, mask: int) -> None:
    def create() -> None:
        become(20001, TEAM)
        os.umask(mask)
        assert Registry(shared / "registry").create_namespace("vision", group=str(TEAM))
        assert not Registry(shared / "registry").create_namespace("vision", group=str(TEAM))

    assert together(create) == [0]
    status = (shared / "registry/vision").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o3775, 20001, TEAM)


@needs_root
def test_a_lock_that_a_colleague_has_not_yet_given_to_the_team_is_waited_for(shared: Path) -> None:
    lock = shared / "lock"
    lock.touch(0o600)
    os.chown(lock, 20001, TEAM)

    def take(*, patient: bool) -> None:
        become(20002, TEAM)
        with held(str(lock), mode=0o660 if patient else 0o600, timeout=5, note="bob"):
            pass

    assert together(partial(take, patient=False)) != [0]
    given = Timer(0.2, partial(os.chmod, lock, 0o660))
    given.start()
    assert together(partial(take, patient=True)) == [0]
    given.join()


@needs_root
def test_members_push_and_move_tags_and_only_who_made_a_resource_hides_or_deletes_it(shared: Path) -> None:
    source = write_tree(shared / "source", {"weights.bin": "1"})

    def member(uid: int, tag: str, *, private: bool = False) -> None:
        become(uid, TEAM)
        os.umask(0o077)
        registry = Registry(shared / "registry", namespace=f"u{uid}")
        registry.create_namespace("vision", group=str(TEAM))
        registry.push(source, "vision/X", tags=[tag, "latest"], private=private)
        registry.tag("vision/X", f"{tag}-too")

    def hide(uid: int) -> None:
        become(uid, TEAM)
        Registry(shared / "registry", namespace=f"u{uid}").visibility("vision/X", "public")

    def delete(uid: int) -> None:
        become(uid, TEAM)
        Registry(shared / "registry", namespace=f"u{uid}").delete("vision/X")

    assert together(partial(member, 20001, "a", private=True)) == [0]
    assert together(partial(member, 20002, "b")) == [0]
    place = shared / "registry/vision/X"
    assert (mode(place), mode(place / ".lhub"), mode(place / ".lhub/lock")) == (0o2770, 0o2775, 0o660)
    assert {path.stat().st_gid for path in (place, place / ".lhub", place / ".lhub/lock")} == {TEAM}
    assert together(partial(hide, 20002)) == [4]
    assert together(partial(delete, 20002)) == [4]
    assert together(partial(hide, 20001)) == [0]
    assert together(partial(delete, 20001)) == [0]


@pytest.mark.slow
@needs_root
def test_a_colleague_s_unfinished_private_push_stands_in_the_way_with_a_sentence_until_it_opens(shared: Path) -> None:
    source = write_tree(shared / "source", {"weights.bin": "1"})
    begun = shared / "registry/vision/X"

    def begin() -> None:
        become(20001, TEAM)
        Registry(shared / "registry", namespace="u20001").create_namespace("vision", group=str(TEAM))
        begun.mkdir(mode=0o700)

    def push() -> None:
        become(20002, TEAM)
        Registry(shared / "registry", namespace="u20002").push(source, "vision/X")

    assert together(begin) == [0]
    assert together(push) == [4]
    assert together(push, lambda: begun.chmod(0o2775)) == [0, 0]


@needs_root
def test_members_who_push_in_turn_copy_a_large_file_once_each(shared: Path) -> None:
    source = write_tree(shared / "source", {"weights.bin": os.urandom(20 << 20), "note.txt": ""})

    def push(uid: int, note: str) -> None:
        become(uid, TEAM)
        registry = Registry(shared / "registry", namespace=f"u{uid}")
        registry.create_namespace("vision", group=str(TEAM))
        registry.push(source, "vision/X", tags=[note])

    for turn in range(3):
        for uid in (20001, 20002):
            (source / "note.txt").write_text(f"{uid} {turn}")
            assert together(partial(push, uid, f"t{turn}-{uid}")) == [0]
    inodes = {path.stat().st_ino for path in (shared / "registry/vision/X").glob("t*/files/weights.bin")}
    owners = {path.stat().st_uid for path in (shared / "registry/vision/X").glob("t*/files/weights.bin")}
    assert (len(inodes), owners) == (2, {20001, 20002})
    assert Registry(shared / "registry", namespace="u20001").verify("vision/X").ok


def test_a_namespace_that_holds_something_does_not_become_a_team_s(tmp_path: Path, hello: Path) -> None:
    registry = Registry(tmp_path / "registry", namespace="alice")
    registry.push(hello)
    before = snapshot(registry.root)
    with pytest.raises(Conflict, match="stands already and is one person's"):
        registry.create_namespace("alice", group=str(os.getgid()))
    assert snapshot(registry.root) == before


def test_a_namespace_of_one_s_own_that_holds_nothing_yet_becomes_a_team_s(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    registry.login("vision")
    assert registry.create_namespace("vision", group=str(os.getgid()))
    assert (mode(registry.root / "vision"), mode(registry.root / "vision/.trash")) == (0o3775, 0o3775)


def test_a_killed_creation_of_a_team_s_namespace_is_finished_by_the_next(tmp_path: Path) -> None:
    class Killed(Pen):
        left = 3

        def step(self, verb: str, path: str) -> None:
            if path.endswith("/vision"):
                self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    for left in range(1, 4):
        registry = Registry(tmp_path / f"registry-{left}")
        registry.init()
        pen = Killed()
        pen.left = left
        with pytest.raises(KeyboardInterrupt):
            Registry(registry.root, pen=pen).create_namespace("vision", group=str(os.getgid()))
        assert registry.create_namespace("vision", group=str(os.getgid()))
        assert mode(registry.root / "vision") == 0o3775


@needs_root
def test_who_logs_in_to_a_team_s_namespace_is_told_whose_it_is(shared: Path) -> None:
    def create() -> None:
        become(20001, TEAM)
        Registry(shared / "registry").create_namespace("alice", group=str(TEAM))

    def login() -> None:
        become(20002, TEAM)
        said: list[str] = []
        Registry(shared / "registry", notes=said.append).login("alice")
        assert said == [f"alice is the namespace of the group gid-{TEAM}, made by uid-20001"]

    assert together(create) == [0]
    assert together(login) == [0]


def test_namespaces_are_listed_with_whose_they_are(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    registry.init(shared=True)
    registry.login("alice")
    registry.create_namespace("vision", group=str(os.getgid()))
    (registry.root / "link").symlink_to(registry.root / "alice")
    registry = Registry(tmp_path / "registry", namespace="alice")
    registry.login("bob")
    assert [(each.name, bool(each.group), each.own) for each in registry.namespaces()] == [
        ("alice", False, True),
        ("bob", False, False),  # one's own as well, for who logs in to it
        ("vision", True, True),
    ]


# the mount


def mount() -> Path:
    """A folder on a mount of its own."""
    place = Path("/dev/shm")
    if not (os.path.ismount(place) and os.access(place, os.W_OK)):
        pytest.skip("needs a mount to write on, as /dev/shm is: mount -t tmpfs tmpfs /dev/shm")
    return place


def test_a_registry_that_must_lie_on_a_mount_is_not_made_beside_it(shell: Shell) -> None:
    answer = shell("init", "/lhub-share", "--require-mount")
    assert (answer.code, "is not on a mount: the share is not there" in answer.err) == (3, True)
    assert not os.path.lexists("/lhub-share")


def test_a_share_that_is_away_is_not_replaced_by_a_folder(shell: Shell, hello: Path, tmp_path: Path) -> None:
    point = tmp_path / "mnt"
    point.mkdir()
    remember(f"{shell.home}/.lhub", "alice")
    remember_mount(f"{shell.home}/.lhub", f"{point}/registry", str(point))
    for words in (["login", "alice"], ["list"], ["init"], ["push", hello, "alice/Hello"], ["pull", "alice/Hello"]):
        answer = shell(*words, "--root", point / "registry")
        assert (answer.code, f"mount the share on {point}" in answer.err) == (3, True), answer.err
    assert list(point.iterdir()) == []


def test_a_registry_on_a_mount_serves_and_everybody_who_logs_in_remembers_it(shell: Shell) -> None:
    place = mount() / f"lhub-{os.urandom(6).hex()}"
    try:
        shell("init", place, "--require-mount", check=True)
        shell("login", "alice", "--root", place, LHUB_HOME=f"{shell.home}/another", check=True)
        for home in (f"{shell.home}/.lhub", f"{shell.home}/another"):
            assert recall_mounts(home) == {str(place): str(mount())}
        (place / "registry.yaml").rename(place / "away")
        assert shell("list", "--root", place).code == 3
    finally:
        Pen().remove_tree(str(place))


def test_a_registry_made_without_asking_for_a_mount_says_how_to(tmp_path: Path) -> None:
    Registry(tmp_path / "registry").init()
    with pytest.raises(Conflict, match="made without --require-mount"):
        Registry(tmp_path / "registry").init(require_mount=True)


# root, where a server takes it for nobody


@needs_root
def test_root_works_as_nobody_where_a_server_takes_it_for_him(shared: Path) -> None:
    """What root_squash makes of root's files: they are of uid 65534, and so is all that root may change."""

    def as_nobody() -> None:
        become(65534)
        registry = Registry(shared / "squashed", namespace="rooty")
        registry.push(source, "Hello", private=True)

    source = executor(shared / "source", "x")
    assert together(as_nobody) == [0]
    registry = Registry(shared / "squashed", namespace="rooty")
    assert registry.session.uid == 65534
    assert [line.name for line in registry.list()] == ["rooty/Hello"]
    assert spaces.create(registry.session, "rooty", None) is False


def test_denied_is_what_a_root_answers_that_one_may_not_write(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "closed").mkdir(mode=0o555)
    with pytest.raises(Denied):
        Registry(tmp_path / "closed/registry").init()
