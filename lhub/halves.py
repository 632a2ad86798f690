"""Halves: what is to be done with many files, half of it by a helper, a second process.

Python runs one thread at a time, and half of what a small file costs is Python's own. A helper saves time and nothing
else: what it has not told of when it ends, for whatever reason, is done again by who called it, who so meets whatever
stopped it and tells it in his own words.

>>> told = []
>>> share([1, 2], [3], lambda number: number * 2, lambda number, twice: told.append((number, twice)))
>>> told
[(1, 2), (2, 4), (3, 6)]
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Generic, TypeVar

from lhub.ways import faked

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_LEAST = 1_000
"""From so many items on a helper is worth the 20 ms that it costs."""
_BATCH = 64
"""Items of which a helper tells at once."""

_T = TypeVar("_T")
_R = TypeVar("_R")


def share(
    mine: Sequence[_T],
    others: Sequence[_T],
    work: Callable[[_T], _R],
    done: Callable[[_T, _R], None],
    *,
    helping: Callable[[_T], _R] | None = None,
    anew: Callable[[_T], _R] | None = None,
) -> None:
    """Do `work` with each item and tell `done` what it gave; `others` may be a helper's, who does `helping` with them.

    `anew` does the work with an item that a helper may have left half done. What `done` raises ends the helper first.
    """
    if not others or len(mine) + len(others) < _LEAST or not _may_fork():
        for item in (*mine, *others):
            done(item, work(item))
        return
    with _helper(helping or work, others) as helper:
        for number, item in enumerate(mine):
            done(item, work(item))
            if number % _BATCH == 0:
                helper.tell(done)
        helper.tell(done, wait=True)
        left = helper.left
    for item in left:
        done(item, (anew or work)(item))


def _may_fork() -> bool:
    """Whether a second process may be had and has a processor: in a copy of one with threads their locks stay held."""
    if faked() or not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
        return False
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


class _Helper(Generic[_T, _R]):
    """A helper at work; `left` is what it has not told of yet."""

    def __init__(self, items: Sequence[_T], told: Connection) -> None:
        self.left, self._told, self._ended = items, told, False

    def tell(self, done: Callable[[_T, _R], None], *, wait: bool = False) -> None:
        """Hand on what it has told since, or all that it will tell."""
        while not self._ended and (wait or self._told.poll()):
            try:
                results: list[_R] = self._told.recv()
            except (EOFError, OSError):
                self._ended = True
                return
            items, self.left = self.left[: len(results)], self.left[len(results) :]
            for item, result in zip(items, results, strict=True):
                done(item, result)


@contextmanager
def _helper(work: Callable[[_T], _R], items: Sequence[_T]) -> Iterator[_Helper[_T, _R]]:
    """A helper, which is dead when `with` ends: nothing is written any more when its caller clears away."""
    import multiprocessing  # 15 ms, for many files only

    context = multiprocessing.get_context("fork")
    told, telling = context.Pipe(duplex=False)
    process = context.Process(target=_help, args=(work, items, told, telling), daemon=True)
    with told:
        with telling, suppress(OSError):  # where no process can be had, nothing is told
            if not multiprocessing.current_process().daemon:  # a pool's worker may have none
                process.start()
        try:
            yield _Helper(items, told)
        finally:
            if process.pid is not None:
                process.kill()
                process.join()


def _help(work: Callable[[_T], _R], items: Sequence[_T], told: Connection, telling: Connection) -> None:
    """What a helper does; it dies with who called it, since then nobody is told."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # his to answer
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    told.close()
    with suppress(Exception):  # he does the rest, and meets the same
        for start in range(0, len(items), _BATCH):
            telling.send([work(item) for item in items[start : start + _BATCH]])
