"""The inbox: what arrives lies apart, shut to others, and is gone at the end, whoever dies."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from lhub.orders import Pushed
from lhub.registry import Registry
from tests.conftest import PROJECT, as_caller, snapshot
from tests.test_order import Ruler, in_a_child, kill

RECEIVER = """
import sys, time
from lhub.registry import Registry
with Registry(sys.argv[1], namespace="alice").inbox() as inbox:
    inbox.receive([b"x" * 1000], "file")
    print("there", flush=True)
    time.sleep(60)
"""


def inboxes(registry: Registry) -> list[Path]:
    return sorted(registry.root.glob("*/.inbox.*"))


def make_old(folder: Path, seconds: float = 120) -> None:
    when = time.time() - seconds
    os.utime(folder, (when, when))


def test_what_arrives_is_hashed_and_shut_to_others(registry: Registry) -> None:
    before = os.umask(0)
    try:
        with registry.inbox() as inbox:
            received = inbox.receive(iter([b"hello ", b"world"]), "file")
            path = Path(received.path)
            assert (path.read_bytes(), received.size) == (b"hello world", 11)
            assert received.digest == "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
            modes = [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent, path.parent.parent)]
            assert modes == [0o600, 0o700, 0o700]
    finally:
        os.umask(before)


def test_it_is_gone_at_the_end_however_that_comes(registry: Registry) -> None:
    before = snapshot(registry.root)
    with registry.inbox():
        pass
    with pytest.raises(ZeroDivisionError), registry.inbox() as inbox:
        inbox.receive([b"x"], "file")
        raise ZeroDivisionError
    assert snapshot(registry.root) == before


def test_a_list_shows_nothing_of_it_and_no_verb_trips_over_it(registry: Registry, hello: Path) -> None:
    registry.push(hello)
    with registry.inbox() as inbox:
        inbox.receive([b"x"], "file")
        assert [each.name for each in registry.list()] == ["alice/Hello"]
        assert registry.verify().ok
        assert registry.doctor() == []
        registry.gc()
        registry.push(hello, tags=["v2"])
        assert Path(inbox.folder, "file").exists()


def test_what_a_dead_receiver_left_is_swept_by_the_next_and_what_lives_stays(registry: Registry) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", RECEIVER, str(registry.root)], stdout=subprocess.PIPE, cwd=PROJECT, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    (folder,) = inboxes(registry)
    make_old(folder)
    with registry.inbox():
        assert folder.exists()
    assert registry.doctor() == []
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (found,) = registry.doctor()
    assert ("broke off" in found.problem, found.path) == (True, f"alice/{folder.name}")
    with registry.inbox():
        assert not folder.exists()


def test_a_collection_takes_what_a_dead_receiver_left(registry: Registry) -> None:
    folder = registry.root / "alice" / ".inbox.host-1-ab"
    (folder / "files").mkdir(parents=True)
    (folder / "files" / "file").write_bytes(b"x" * 1000)
    for age, size in ((10, 0), (7200, 1000)):
        make_old(folder, age)
        assert [registry.gc(dry_run=True).bytes, folder.exists()] == [size, True]
        assert [registry.gc().bytes, folder.exists()] == [size, age == 10]


def test_doctor_removes_what_a_dead_receiver_left(registry: Registry) -> None:
    folder = registry.root / "alice" / ".inbox.host-1-ab"
    (folder / "files").mkdir(parents=True)
    make_old(folder, 7200)
    assert [each.fixed for each in registry.doctor(fix=True)] == [True]
    assert inboxes(registry) == []


def test_one_that_is_just_being_made_is_left_alone(registry: Registry) -> None:
    folder = registry.root / "alice" / ".inbox.host-1-ab"
    folder.mkdir()
    (folder / "lock").touch()
    for age, stands in ((0, True), (30, True), (120, False)):
        if folder.exists():
            make_old(folder, age)
        with registry.inbox():
            assert folder.exists() == stands


def test_a_link_of_that_name_is_left_alone(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    link = registry.root / "alice" / ".inbox.host-1-ab"
    link.symlink_to(tmp_path / "mine")
    with registry.inbox():
        pass
    assert (link.is_symlink(), (tmp_path / "mine").is_dir()) == (True, True)


def upload(registry: Registry) -> Pushed:
    """Push what arrives, an hour and more after whoever was killed."""
    for folder in inboxes(registry):
        make_old(folder, 7200)
    with registry.inbox() as inbox:
        return registry.push_received(inbox.receive([b"x" * 1000], "file"), "alice/noise", public=False)


def test_a_kill_at_any_step_of_an_upload_leaves_nothing_or_all_and_the_next_sweeps(tmp_path: Path) -> None:
    ruler = Ruler()
    whole = Registry(tmp_path / "whole", namespace="alice", pen=ruler)
    version = upload(whole).version
    assert len([step for step in ruler.steps if ".inbox." in step]) >= 4
    for number, step in enumerate(ruler.steps, start=1):
        if "inbox" not in step and "/files/" not in step:  # else it is killed as any push is: tests/test_order.py
            continue
        place = tmp_path / str(number)
        status = in_a_child(partial(upload, Registry(place, namespace="alice", pen=Ruler(number, kill))))
        assert os.WIFSIGNALED(status), step
        registry = Registry(place, namespace="alice")
        seen = registry.list() if (place / "registry.yaml").exists() else []
        assert [each.tags for each in seen] in ([], [{"latest": version}]), step
        upload(registry)
        assert (registry.verify().ok, inboxes(registry), registry.doctor()) == (True, [], []), step


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/x", "a\0b"])
def test_no_name_leads_out_of_it(registry: Registry, name: str) -> None:
    with registry.inbox() as inbox, pytest.raises(ValueError, match="no name of a file"):
        inbox.receive([b"x"], name)


def test_without_a_login_it_lies_beside_what_has_no_namespace(registry: Registry) -> None:
    with as_caller(registry, None).inbox():
        (folder,) = inboxes(registry)
        assert folder.parent == registry.root / "_"
