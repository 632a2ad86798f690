"""Keeper: runs a command, and ends it with all that it began once nobody holds the other end of a pipe.

`python -I keeper.py PIPE STDOUT WORD...`; it has nothing of lhub, and ends with the command's exit code. STDOUT is
where the command's words are read, by others while these live, then by the keeper.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from contextlib import suppress

_SUBREAPER = 36  # prctl(2), PR_SET_CHILD_SUBREAPER
_MANNERS, _PATIENCE, _LAST = 20.0, 30.0, 40.0
"""Seconds after which all are asked to end, not only those without children, all are made to, and nobody waits."""


def main(words: list[str]) -> int:
    """Run the command; 127 where it cannot be started."""
    lifeline, hearing, command = int(words[0]), int(words[1]), words[2:]
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    os.set_inheritable(lifeline, False)
    os.set_inheritable(hearing, False)
    waking, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(woken)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    try:
        child = subprocess.Popen(command, close_fds=False)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return 127
    try:
        with selectors.DefaultSelector() as selector:  # select(2) knows the first 1,024 descriptors only
            selector.register(lifeline, selectors.EVENT_READ)
            selector.register(waking, selectors.EVENT_READ)
            while child.poll() is None:
                ready = [key.fd for key, _ in selector.select(1.0)]
                if waking in ready:
                    os.read(waking, 4096)
                if lifeline in ready and child.poll() is None:
                    sys.exit(143)
    except SystemExit:
        end_all(child.pid, hearing)
        raise
    return child.returncode  # what it leaves running by itself (podman's pause process) is its own affair


def end_all(child: int, hearing: int) -> None:
    """End every process below this one: those without children first, then all are asked, then made to.

    So a builder sees its command fail, and takes its working container down.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if not os.path.isdir("/proc/self"):  # as on macOS: those of its group, which a program may leave
        os.killpg(0, signal.SIGTERM)
        time.sleep(1.0)
        os.kill(child, signal.SIGKILL)
        return
    begun, asked = time.monotonic(), set[int]()
    busy = len(below()) > 1  # then the command itself is left to clean up when what it runs has ended
    while parents := below():
        waited = time.monotonic() - begun
        if waited > _LAST:
            return  # what the kernel itself holds
        leaves = set(parents) - set(parents.values()) - ({child} if busy else set())
        number = signal.SIGKILL if waited > _PATIENCE else signal.SIGTERM
        for process in parents if waited > _MANNERS else leaves - asked:
            with suppress(ProcessLookupError, PermissionError):  # gone; or another user's, as sudo's
                os.kill(process, number)
            asked.add(process)
        drain(hearing)
        time.sleep(0.05)


def drain(hearing: int) -> None:
    """Take what is said, so that nobody waits for a reader."""
    os.set_blocking(hearing, False)
    try:
        while os.read(hearing, 1 << 16):
            continue
    except BlockingIOError:
        return


def reap() -> None:
    """Take note of those that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
    except ChildProcessError:
        return


def below() -> dict[int, int]:
    """All that lives below this process, each with its parent."""
    reap()
    parents = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it has ended
        if state != "Z":
            parents[int(name)] = int(parent)
    found: dict[int, int] = {}
    wave = {os.getpid()}
    while wave := {process for process, parent in parents.items() if parent in wave}:
        found |= {process: parents[process] for process in wave}
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
