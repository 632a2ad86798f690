"""The lock: one writer at a time, of whom the others know the name, and freed by the kernel when he dies."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lhub.errors import LhubError, LockTimeout
from lhub.lock import held, holder


@contextmanager
def held_elsewhere(path: Path, note: str = "bob") -> Iterator[Callable[[int], None]]:
    """A second process that holds the lock until it is sent a signal; the call returns when it is dead."""
    ready, tell = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a test runner has threads; the child uses none of theirs
        child = os.fork()
    if child == 0:
        try:
            with held(str(path), mode=0o600, timeout=5, note=note):
                os.write(tell, b"held")
                signal.pause()
        finally:
            os._exit(0)
    os.close(tell)
    alive = [child]

    def end(number: int) -> None:
        os.kill(alive[0], number)
        os.waitpid(alive.pop(), 0)

    try:
        assert os.read(ready, 4) == b"held"
        yield end
    finally:
        os.close(ready)
        if alive:
            end(signal.SIGKILL)


def taken(path: Path) -> bool:
    """Whether somebody holds what stands at this path."""
    try:
        with held(str(path), mode=0o600, timeout=0, note="looking"):
            return False
    except LockTimeout:
        return True


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when this process has asked the kernel for a lock."""
    asked, flock = threading.Event(), fcntl.flock

    def ask(descriptor: int, operation: int) -> None:
        try:
            flock(descriptor, operation)
        finally:
            asked.set()

    monkeypatch.setattr("fcntl.flock", ask)
    return asked


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def test_a_second_process_is_kept_out(lock: Path) -> None:
    with held_elsewhere(lock):
        assert taken(lock)


def test_a_second_thread_is_kept_out(lock: Path) -> None:
    with held(str(lock), mode=0o600, timeout=0, note="me"):
        seen: list[bool] = []
        thread = threading.Thread(target=lambda: seen.append(taken(lock)))
        thread.start()
        thread.join()
        assert seen == [True]


def test_what_was_released_is_free(lock: Path) -> None:
    with held(str(lock), mode=0o600, timeout=0, note="me"):
        pass
    assert not taken(lock)


def test_a_writer_that_fails_releases_it(lock: Path) -> None:
    with pytest.raises(KeyboardInterrupt), held(str(lock), mode=0o600, timeout=0, note="me"):
        raise KeyboardInterrupt
    assert not taken(lock)


def test_the_lock_of_a_killed_holder_is_free_at_once(lock: Path) -> None:
    with held_elsewhere(lock) as end:
        end(signal.SIGKILL)
        assert not taken(lock)


def test_who_waits_too_long_learns_who_holds_it_and_exits_7(lock: Path) -> None:
    with held_elsewhere(lock, note="bob (bob@far, process 7) since noon"):
        start = time.monotonic()
        with pytest.raises(LockTimeout) as told, held(str(lock), mode=0o600, timeout=0.05, note="me"):
            pass
        assert 0.05 <= time.monotonic() - start < 5
    assert told.value.code == 7
    assert "bob (bob@far, process 7) since noon" in str(told.value)
    assert told.value.hint


def test_who_waits_is_told_once_who_holds_it(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lhub.lock._PATIENCE", 0.02)
    told: list[str] = []
    with held_elsewhere(lock, note="bob") as end:

        def waiting(note: str) -> None:
            told.append(note)
            end(signal.SIGKILL)

        with held(str(lock), mode=0o600, timeout=5, note="me", waiting=waiting):
            assert holder(str(lock)) == "me"
    assert told == ["bob"]


def test_a_shorter_note_leaves_nothing_of_a_longer_one(lock: Path) -> None:
    for note in ("somebody with a long name " * 20, "bob"):
        with held(str(lock), mode=0o600, timeout=0, note=note):
            pass
    assert holder(str(lock)) == "bob"


@pytest.mark.parametrize("mode", [0o600, 0o660], ids=oct)
@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777], ids=oct)
def test_a_lock_file_has_just_its_mode_whatever_the_umask(lock: Path, mode: int, umask: int) -> None:
    before = os.umask(umask)
    try:
        with held(str(lock), mode=mode, timeout=0, note="me"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE(lock.stat().st_mode) == mode


def test_a_lock_file_moved_away_while_waiting_means_start_over(lock: Path, tried: threading.Event) -> None:
    """As when a resource is deleted and pushed anew: what counts is what stands at the path."""
    entered, leave = threading.Event(), threading.Event()

    def wait() -> None:
        with held(str(lock), mode=0o600, timeout=5, note="me"):
            entered.set()
            leave.wait(5)

    with held_elsewhere(lock):
        thread = threading.Thread(target=wait)
        thread.start()
        try:
            assert tried.wait(5)
            assert not entered.is_set()
            lock.rename(lock.with_name("moved"))
            assert entered.wait(5), "it waits for a lock that guards nothing"
            assert taken(lock)
        finally:
            leave.set()
            thread.join()


def test_a_lock_file_moved_away_just_when_it_is_locked_means_start_over(
    lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, moved = fcntl.flock, lock.with_name("moved")

    def flock(descriptor: int, operation: int) -> None:
        locked(descriptor, operation)
        if operation & fcntl.LOCK_EX and not moved.exists():
            lock.rename(moved)

    monkeypatch.setattr("fcntl.flock", flock)
    with held(str(lock), mode=0o600, timeout=5, note="me"):
        assert taken(lock)
        assert not taken(moved)


def test_where_the_resource_is_gone_nothing_is_made_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), held(f"{tmp_path}/X/.lhub/lock", mode=0o600, timeout=0, note="me"):
        pass
    assert os.listdir(tmp_path) == []


def test_a_resource_that_goes_while_one_waits_is_not_made_again(tmp_path: Path, tried: threading.Event) -> None:
    lock = tmp_path / "X" / "lock"
    lock.parent.mkdir()
    ended: list[str] = []

    def wait() -> None:
        try:
            with held(str(lock), mode=0o600, timeout=5, note="me"):
                ended.append("held")
        except FileNotFoundError:
            ended.append("gone")

    with held_elsewhere(lock):
        thread = threading.Thread(target=wait)
        thread.start()
        assert tried.wait(5)
        lock.parent.rename(tmp_path / "trash")
        thread.join()
    assert ended == ["gone"]
    assert os.listdir(tmp_path) == ["trash"]


def test_a_lock_is_not_taken_through_a_link(lock: Path) -> None:
    target = lock.with_name("target")
    target.write_bytes(b"precious")
    lock.symlink_to(target)
    with pytest.raises((LhubError, OSError)), held(str(lock), mode=0o600, timeout=0.05, note="me"):
        pass
    assert target.read_bytes() == b"precious"


def test_the_holder_of_what_is_no_lock_file_is_somebody(tmp_path: Path) -> None:
    (tmp_path / "huge").write_bytes(b"x" * 100_000)
    os.mkfifo(tmp_path / "fifo")
    assert {holder(f"{tmp_path}/{name}") for name in ("huge", "fifo", "nothing")} == {"somebody"}
