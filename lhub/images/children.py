"""Children: programs that a build runs, and that end with it, whoever ends it, their own children too.

A keeper stands between lhub and the program: it is told by a pipe that lhub has died (`kill -9` too), adopts what the
program leaves behind (Linux: PR_SET_CHILD_SUBREAPER), and ends all of it. Measured: a builder that gets SIGKILL from
its parent's death leaves the commands of its RUN lines running; a keeper leaves none.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

_KEEPER = f"{os.path.dirname(__file__)}/keeper.py"
_PATIENCE = 35.0
"""Seconds that a program has to end by itself when it is asked to; a builder takes its working container down."""
_LONGEST = 8192
"""Characters of a line that are told."""
_LOOK = 0.1


@contextmanager
def started(
    command: Sequence[str],
    *,
    cwd: str = "/",
    environment: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
    stderr: int = subprocess.STDOUT,
    keep: Iterable[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """A program under a keeper; it and all that it began have ended when this closes. `keep` are descriptors it needs.

    The keeper can read what the program says too: were lhub the only reader, its death would be the program's by
    SIGPIPE, before that has cleaned up. OSError where it cannot be started.
    """
    lifeline, held = os.pipe()  # it ends when nobody holds the other end
    hearing, said = os.pipe()
    try:
        child = subprocess.Popen(
            [sys.executable, "-IS", _KEEPER, str(lifeline), str(hearing), *command],
            stdin=stdin,
            stdout=said,
            stderr=stderr,
            cwd=cwd,
            env=None if environment is None else dict(environment),
            pass_fds=(lifeline, hearing, *keep),
            start_new_session=True,  # neither Ctrl-C nor a closed shell ends the keeper: lhub does
        )
    except BaseException:
        os.close(held)
        os.close(hearing)
        raise
    finally:
        os.close(lifeline)
        os.close(said)
    child.stdout = os.fdopen(hearing, "rb")
    try:
        yield child
    finally:
        os.close(held)
        for stream in (child.stdin, child.stdout, child.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        _wait(child)


def _wait(child: subprocess.Popen[bytes]) -> None:
    try:
        child.wait(timeout=_PATIENCE + 5)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def run(
    command: Sequence[str],
    *,
    cwd: str = "/",
    environment: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda line: None,
    breathe: Callable[[], None] = lambda: None,
    keep: Iterable[int] = (),
) -> int:
    """Run a program to its end; its exit code. `say` hears each line; what `breathe`, called often, raises ends it."""
    with started(command, cwd=cwd, environment=environment, keep=keep) as child:
        for line in lines(_stream(child.stdout), breathe):
            say(line)
        while True:
            with suppress(subprocess.TimeoutExpired):
                return child.wait(timeout=_LOOK)
            breathe()


def answer(
    command: Sequence[str], *, environment: Mapping[str, str] | None = None, patience: float = 30.0
) -> str | None:
    """What a program says, None where it fails, is not there, or takes longer than `patience` seconds."""
    try:
        with started(command, environment=environment, stderr=subprocess.DEVNULL) as child:
            until = time.monotonic() + patience

            def breathe() -> None:
                if time.monotonic() > until:
                    raise TimeoutError

            said = "\n".join(lines(_stream(child.stdout), breathe))
            return said if child.wait() == 0 else None
    except OSError:  # TimeoutError too
        return None


def lines(stream: IO[bytes], breathe: Callable[[], None]) -> Iterator[str]:
    """The lines of a pipe as they come; a carriage return ends one too, as progress bars do."""
    left = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            breathe()
            if not selector.select(_LOOK):
                continue
            piece = os.read(stream.fileno(), 1 << 16)
            if not piece:
                break
            *whole, left = (left + piece).replace(b"\r", b"\n").split(b"\n")
            yield from map(_shown, filter(None, whole))
            if len(left) > _LONGEST:
                yield _shown(left)
                left = b""
    if left:
        yield _shown(left)


def _shown(line: bytes) -> str:
    return line[:_LONGEST].decode(errors="replace").rstrip()


def _stream(stream: Any) -> IO[bytes]:
    assert stream is not None  # noqa: S101 (it was asked for)
    return stream  # type: ignore[no-any-return]  # of a Popen
