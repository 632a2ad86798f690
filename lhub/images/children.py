"""Children: programs that a build runs, and that end with it, whoever ends it, their own children too.

A keeper stands between lhub and the program: it is told by a pipe that lhub has died (`kill -9` too), adopts what the
program leaves behind (Linux: PR_SET_CHILD_SUBREAPER), and ends all of it. Measured: a builder that gets SIGKILL from
its parent's death leaves the commands of its RUN lines running; a keeper leaves none.
"""

from __future__ import annotations

import io
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
_LOOK, _AFTER = 0.1, 10
"""Seconds between two looks, and how many looks nothing may come from a program that has ended."""
_MOST = 1 << 20
"""Bytes of a line without an end that are kept: it is cut where it is told, behind the redaction."""


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


@contextmanager
def said_by() -> Iterator[IO[bytes]]:
    """A file without a name for what a program says beside its output: a pipe that nobody reads would stop it."""
    import tempfile  # for engines only

    with tempfile.TemporaryFile() as file:
        yield file


def said(file: IO[bytes]) -> str:
    """The end of what stands in such a file."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _LONGEST))
    return " ".join(file.read().decode(errors="replace").split())


class Hearing(io.RawIOBase):
    """What a program puts out, as a file; `breathe` is called while nothing comes, and may raise."""

    def __init__(self, child: subprocess.Popen[bytes], breathe: Callable[[], None]) -> None:
        self._stream, self._breathe = _stream(child.stdout), breathe

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """The next bytes, 0 at the end."""
        while not _ready(self._stream):
            self._breathe()
        return os.readv(self._stream.fileno(), [buffer])


def feed(child: subprocess.Popen[bytes], pieces: Iterable[bytes], breathe: Callable[[], None]) -> list[str]:
    """Feed a program, and read what it says, line by line. What `pieces` or `breathe` raises ends it."""
    stdin, stdout = _stream(child.stdin), _stream(child.stdout)
    os.set_blocking(stdin.fileno(), False)
    heard, open_still = bytearray(), True
    for piece in pieces:
        view = memoryview(piece)
        while view and open_still:
            breathe()
            ready = _ready(stdout, stdin)
            if stdout in ready and not _take(stdout, heard):
                open_still = False
            if stdin in ready:
                try:
                    view = view[os.write(stdin.fileno(), view) :]
                except BrokenPipeError:  # its words tell why
                    open_still = False
        if not open_still:
            break
    stdin.close()
    heard += b"\n".join(line.encode() for line in lines(child, breathe))
    return heard.decode(errors="replace").splitlines()


def _ready(reading: IO[bytes], writing: IO[bytes] | None = None) -> list[Any]:
    """Which of these would not wait, after a moment; by epoll or poll, since select(2) knows the first 1,024 only."""
    with selectors.DefaultSelector() as selector:
        selector.register(reading, selectors.EVENT_READ)
        if writing is not None:
            selector.register(writing, selectors.EVENT_WRITE)
        return [key.fileobj for key, _ in selector.select(_LOOK)]


def _take(stdout: IO[bytes], heard: bytearray) -> bool:
    """Take what is there, of much the beginning; False at the end."""
    piece = os.read(stdout.fileno(), 1 << 16)
    heard += piece[: max(0, _LONGEST - len(heard))]
    return bool(piece)


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
        for line in lines(child, breathe):
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

            said = "\n".join(lines(child, breathe))
            return said if child.wait() == 0 else None
    except OSError:  # TimeoutError too
        return None


def lines(child: subprocess.Popen[bytes], breathe: Callable[[], None]) -> Iterator[str]:
    """The lines of a program as they come, until it has ended; a carriage return ends one too, as progress bars do."""
    stream, left, ended = _stream(child.stdout), b"", 0
    while ended < _AFTER:  # something that it began may hold the pipe for ever
        breathe()
        if not _ready(stream):
            ended += child.poll() is not None
            continue
        piece = os.read(stream.fileno(), 1 << 16)
        if not piece:
            break
        *whole, left = (left + piece).replace(b"\r", b"\n").split(b"\n")
        yield from map(_shown, filter(None, whole))
        left = left[:_MOST]
    if left:
        yield _shown(left)


def _shown(line: bytes) -> str:
    return line.decode(errors="replace").rstrip()


def _stream(stream: Any) -> IO[bytes]:
    assert stream is not None  # noqa: S101 (it was asked for)
    return stream  # type: ignore[no-any-return]  # of a Popen
