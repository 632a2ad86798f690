"""Power cuts: a short life of `powercut.py`, and the proof that it finds what is torn.

They boot guests, so they run when they are asked for: as root, with LHUB_RIG_TESTS=1.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from tests.netfs import powercut
from tests.netfs.powercut import FLUSH, FUA, MARK, Cut, Epoch, Play, attempt, cuts, epochs

needs_guests = pytest.mark.skipif(
    os.geteuid() != 0 or os.environ.get("LHUB_RIG_TESTS") != "1",
    reason="boots guests and mounts images: asked for by LHUB_RIG_TESTS=1, as root",
)


@pytest.fixture
def disk() -> None:
    """Nothing but a machine on which disks can be cut."""
    if why := powercut.missing("ext4"):
        pytest.skip(why)


@needs_guests
@pytest.mark.usefixtures("disk")
def test_a_power_cut_in_a_push_leaves_the_old_or_the_new_and_the_next_push_mends() -> None:
    tried = attempt(Play(scene="a push that makes private, with tags", fs="ext4"), most=25)
    assert tried.broken == {}, "\n".join(tried.lines())
    assert tried.cuts == 25


@needs_guests
@pytest.mark.usefixtures("disk")
def test_what_was_answered_is_there_after_a_power_cut() -> None:
    tried = attempt(Play(scene="rollback", fs="ext4", beside=False), most=15)
    assert tried.broken == {}, "\n".join(tried.lines())
    assert tried.cuts == 15


@needs_guests
@pytest.mark.usefixtures("disk")
def test_without_fsync_a_cut_tears() -> None:
    tried = attempt(Play(scene="a push that makes private, with tags", fs="ext4", careless=True), most=10)
    assert tried.broken, "nothing was synced, and nothing was found torn: what looks for tears is blind"


@needs_guests
@pytest.mark.usefixtures("disk")
def test_without_fsync_what_was_answered_is_lost_and_the_disk_is_kept_for_who_looks_into_it(tmp_path: Path) -> None:
    tried = attempt(Play(scene="rollback", fs="ext4", careless=True, beside=False), tries=0, keep=tmp_path)
    assert any("it had answered" in fault for fault in tried.broken), "\n".join(tried.lines())
    assert len([*tmp_path.glob("rollback*.img")]) == len(tried.broken)


# the record


def entry(flags: int, sector: int = 0, data: bytes = b"") -> bytes:
    """One entry of a record, as dm-log-writes leaves it."""
    if flags & MARK:
        return (struct.pack("<4Q", sector, 0, flags, len(data)) + data).ljust(512, b"\0")
    return struct.pack("<4Q", sector, len(data) // 512, flags, 0).ljust(512, b"\0") + data


def a_record(folder: Path, *written: bytes) -> Path:
    head = struct.pack("<QQQI", 0x6A736677736872, 1, len(written), 512).ljust(512, b"\0")
    log = folder / "log"
    log.write_bytes(head + b"".join(written))
    return log


def test_a_flush_ends_an_epoch_and_so_does_a_write_that_is_durable_at_once(tmp_path: Path) -> None:
    one, two, three = (bytes([n]) * 4096 for n in (1, 2, 3))
    log = a_record(tmp_path, entry(0, 0, one), entry(0, 8, two), entry(FLUSH), entry(FUA, 16, three), entry(0, 0, two))
    assert list(epochs(log)) == [
        Epoch([(0, one), (4096, two)], ""),
        Epoch([(8192, three)], ""),
        Epoch([(0, two)], ""),
    ]


def test_a_write_longer_than_a_block_can_be_lost_in_part(tmp_path: Path) -> None:
    assert [len(piece) for _, piece in next(epochs(a_record(tmp_path, entry(FUA, 0, bytes(9216))))).pieces] == [
        4096,
        4096,
        1024,
    ]


def test_what_the_disk_was_not_sure_of_when_a_command_answered_may_be_lost_after_the_answer(tmp_path: Path) -> None:
    block = bytes(4096)
    written = (
        entry(MARK, 0, b"1"),
        entry(FUA, 0, block),
        entry(MARK, 0, b"answered"),
        entry(0, 8, block),
        entry(FLUSH),
    )
    assert [epoch.mark for epoch in epochs(a_record(tmp_path, *written))] == ["1", "answered", "answered"]


def test_no_cut_comes_before_the_command_begins(tmp_path: Path) -> None:
    parts = [Epoch([(0, b"made")], ""), Epoch([(0, b"begun")], "begun")]
    assert cuts(parts, seed=0, tries=0, most=0) == [Cut(1, "begun", [], 1)]


def test_a_cut_keeps_some_of_the_writes_that_were_not_flushed_the_same_with_the_same_seed() -> None:
    parts = [Epoch([(at, b"x") for at in range(20)], "1")]
    found = cuts(parts, seed=3, tries=5, most=0)
    assert found == cuts(parts, seed=3, tries=5, most=0) != cuts(parts, seed=4, tries=5, most=0)
    assert all(len(cut.pieces) < 20 for cut in found)
    assert len({tuple(cut.pieces) for cut in found}) > 3


def test_something_else_than_a_record_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(bytes(4096))
    with pytest.raises(ValueError, match="no record of dm-log-writes"):
        list(epochs(log))
