"""What the rig promises to whoever tests on it: kernels of their own, true users, and no trace afterwards."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from . import calls, guests, rig

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not os.environ.get("LHUB_RIG_TESTS"),
    reason="the rig's own tests: as root, LHUB_RIG_TESTS=1 pytest tests/netfs/test_rig.py (a minute, fetches 41 MB)",
)
MATE = ["-u", "20001", "-G", "20100"]
HOLD = "import fcntl, time; file = open('lock', 'w'); fcntl.flock(file, 2); print('held', flush=True); time.sleep(600)"
TAKE = ["flock", "--timeout", "60", "lock", "true"]


@dataclass(frozen=True, kw_only=True)
class Stand:
    """A rig that is up, as a shell knows it."""

    name: str
    lines: dict[str, list[str]]

    def command(self, host: str, *words: str) -> list[str]:
        """The same as LHUB_TEST_HOST_A and so on, for any user: `A`, or `A -u 20001`."""
        prefix = self.lines[f"LHUB_TEST_HOST_{host[0]}"][:-1]
        return [*prefix[:-1], *host.split()[1:], "--", *words]

    def __call__(self, host: str, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        command = self.command(host, *words)
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=120)

    def in_share(self, host: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run it in the share, as a member of the team."""
        share = self.lines[f"LHUB_TEST_HOST_{host}"][-1]
        return self(f"{host} {' '.join(MATE)}", "env", "-C", share, *words)

    def tool(self, name: str) -> None:
        """Run the command that LHUB_TEST_CRASH_A and its like hold."""
        subprocess.run(self.lines[f"LHUB_TEST_{name}"], check=True, timeout=120)


def ask_rig(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, rig.__file__, "--rig", name, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def bring_up(name: str) -> Stand:
    done = ask_rig(name, "up", "nfs4.2")
    assert done.returncode == 0, done.stderr
    exports = [shlex.split(line.removeprefix("export "))[0].partition("=") for line in done.stdout.splitlines()]
    return Stand(name=name, lines={name: shlex.split(value) for name, _, value in exports})


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    """One rig with NFS 4.2 for all tests of this file."""
    name = f"test-{os.getpid()}"
    try:
        yield bring_up(name)
    finally:
        ask_rig(name, "down")


def test_each_host_has_a_kernel_of_its_own(stand: Stand) -> None:
    kernels = {stand(host, "cat", "/proc/sys/kernel/random/boot_id").stdout for host in "ABS"}
    assert len(kernels) == 3


def test_words_streams_and_exit_status_pass_through(stand: Stand) -> None:
    script = 'cat; echo "$1" "$2"; echo no >&2; exit 7'
    done = stand("A", "sh", "-c", script, "sh", "two  blanks", '$HOME "*"', text="in\n")
    assert (done.stdout, done.stderr, done.returncode) == ('in\ntwo  blanks $HOME "*"\n', "no\n", 7)


def test_what_one_host_writes_the_other_reads(stand: Stand) -> None:
    assert stand.in_share("A", "sh", "-c", "echo hello >greeting").returncode == 0
    assert stand.in_share("B", "cat", "greeting").stdout == "hello\n"


def test_a_user_is_himself_on_each_host_and_root_of_a_client_is_nobody(stand: Stand) -> None:
    stand.in_share("A", "mkdir", "mine")
    share = stand.lines["LHUB_TEST_HOST_A"][-1]
    stand("A", "mkdir", f"{share}/roots")
    owners = ["stat", "-c", "%n %U %u", "mine", "roots"]
    assert stand.in_share("B", *owners).stdout == "mine u1 20001\nroots nobody 65534\n"
    assert stand.in_share("S", *owners).stdout == "mine u1 20001\nroots nobody 65534\n"


def test_a_group_counts_as_the_server_knows_it(stand: Stand) -> None:
    stand.in_share("A", "sh", "-c", "mkdir teams && chgrp team teams && chmod 0770 teams")
    share = stand.lines["LHUB_TEST_HOST_B"][-1]
    assert stand("B -u 20002 -G 20100", "touch", f"{share}/teams/mate").returncode == 0
    assert stand("B -u 20004 -G 20100", "touch", f"{share}/teams/stranger").returncode == 1


def test_a_lock_of_one_host_excludes_the_other_until_its_power_is_cut(stand: Stand) -> None:
    share = stand.lines["LHUB_TEST_HOST_A"][-1]
    hold = stand.command(f"A {' '.join(MATE)}", "env", "-C", share, "python3", "-c", HOLD)
    with subprocess.Popen(hold, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        assert stand.in_share("B", "flock", "--nonblock", "lock", "true").returncode == 1
        stand.tool("CRASH_A")
        assert holder.wait(10) == calls.GONE
    assert stand("A", "true").returncode == calls.GONE
    assert stand.in_share("B", *TAKE).returncode == 0, "the lease did not free the lock"
    stand.tool("BOOT_A")
    assert stand.in_share("A", *TAKE).returncode == 0


def test_a_command_ends_with_its_caller(stand: Stand) -> None:
    command = stand.command("B", "sh", "-c", "echo $$; exec sleep 600")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout
        process = caller.stdout.readline().strip()
        caller.kill()
    assert stand("B", "timeout", "20", "tail", f"--pid={process}", "-f", "/dev/null").returncode == 0


def test_a_quota_on_the_server_is_felt_on_a_client(stand: Stand) -> None:
    stand("S", "setquota", "-u", "20003", "0", "100", "0", "0", "/disk")
    share = stand.lines["LHUB_TEST_HOST_A"][-1]
    done = stand("A -u 20003", "dd", "if=/dev/zero", f"of={share}/much", "bs=64k", "count=16", "conv=fsync")
    assert "quota exceeded" in done.stderr


def test_any_user_of_a_guest_runs_this_checkout_and_this_python(stand: Stand) -> None:
    words = ["env", "-C", str(rig.CHECKOUT), sys.executable, "-m", "lhub", "--version"]
    done = stand(f"A {' '.join(MATE)}", *words)
    assert (done.returncode, done.stdout[:5]) == (0, "lhub "), done.stderr


def test_what_a_guest_writes_outside_the_share_stays_in_the_guest(stand: Stand) -> None:
    name = f"/etc/written-by-{stand.name}"
    assert stand("A", "touch", name).returncode == 0
    assert not Path(name).exists()
    assert stand("A", "touch", str(rig.HERE / "written")).returncode == 1, "the checkout is read-only"


def test_two_rigs_stand_side_by_side_and_one_that_ends_leaves_no_trace(stand: Stand) -> None:
    other = bring_up(f"{stand.name}-other")
    stand.in_share("A", "touch", "here")
    assert other.in_share("A", "ls").stdout == ""
    assert ask_rig(other.name, "down").returncode == 0
    assert stand.in_share("B", "ls", "here").returncode == 0
    assert subprocess.run(["pgrep", "-f", f"/{other.name}/"], check=False).returncode == 1
    assert not rig.Rig(name=other.name, state=guests.cache()).namespace_file.exists()
    assert not list(guests.cache().glob(f"*/{other.name}*"))
