"""Apart: what was begun goes on in a process of its own, which no shell ends, with the lock that it holds.

>>> let_go(None, well=True)
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from lhub.errors import LhubError
from lhub.ways import faked

HERE = -1
"""Stands for the process that began what goes on in another."""


class Apart(Exception):
    """It goes on in a process of its own; this is the one that began it."""


def go_apart(lock: int) -> int:
    """Let what follows happen in another process, where the lock stays held: HERE here, once the task is told of.

    Over there a descriptor, to be written to when it is. Raises LhubError where no process can be made.
    """
    if faked():
        raise _no_process("no other sees this fake file system")
    reading, writing = os.pipe()
    try:
        first = os.fork()
    except OSError as error:
        raise _no_process(error.strerror or "") from None
    if not first:
        _outlive(lock, writing)
        return writing
    os.close(writing)
    _nowhere([lock])  # it is the other's from here on, who may want to take it anew
    with suppress(ChildProcessError):  # nobody waits for children where SIGCHLD is ignored
        os.waitpid(first, 0)
    told = os.read(reading, 1)
    os.close(reading)
    if not told:
        raise _no_process("it ended at once")
    return HERE


def _no_process(why: str) -> LhubError:
    return LhubError(f"the push cannot go on by itself, there is no process for it: {why}", hint="leave --detach out")


def _outlive(lock: int, writing: int) -> None:
    """Become a process that no shell ends and nobody waits for; all descriptors but these two lead nowhere.

    Who waits for the end of a pipe that he gave to lhub does not wait for this. Nothing may come back from here twice.
    """
    try:
        os.setsid()
        if os.fork():  # its parent's parent need not wait for it: it is nobody's child
            os._exit(0)
        known = map(int, os.listdir("/dev/fd")) if os.path.isdir("/dev/fd") else range(256)
        _nowhere({0, 1, 2, *known} - {lock, writing})
    except BaseException:
        os._exit(1)


def let_go(told: int | None, *, well: bool) -> None:
    """Let the process that began this go on, told whether all is well so far."""
    if told is not None:
        with suppress(BrokenPipeError):  # it was killed meanwhile, as its shell was closed
            os.write(told, b"!" if well else b"")
        os.close(told)


def _nowhere(descriptors: Iterable[int]) -> None:
    """Let descriptors lead nowhere: were they closed, who believes that one is his would get a new file by it."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        if descriptor != nothing:
            os.dup2(nothing, descriptor)
    os.close(nothing)
