"""A peer: a second process, another user or another host that does on a file system what it is asked.

Its source is this file, typed into ``python3 -i`` as one line, so that nothing need be installed over there and no
word of the command can be split or unquoted by a shell between. Hence only what Python 3.8 has, and no import
of lhub but where an error is told. One line of JSON is asked, one is answered, each within a limit; a peer ends
with its stdin, and then removes what it was told to.

>>> with Peer() as second:
...     second.do(["mode", "/nowhere"], ["readlink", "/proc/self/nothing"])
[Answer(error='ENOENT', value=None), Answer(error='ENOENT', value=None)]
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import select
import selectors
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, Any, NamedTuple, cast

READY = b"lhub-peer-ready"
ENOUGH = b"\n"
"""What ends a verb that goes on until it is."""
IDLE = 600
"""Seconds after which a peer that hears nothing gives up: a network that went away closes no pipe."""
BLOCK = 1 << 20
_HINT = "the command must run a program there without asking for anything, as ssh -o BatchMode=yes HOST does"
PATIENCE = 5.0
"""Seconds in which what was just closed or killed must have let go of a scratch folder."""


# over there: one step, one system call


def _make(path: str, text: str = "", mode: int = 0o600) -> None:
    """A new file with a text, exclusively."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, text.encode())
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def _folder(path: str, mode: int = 0o700) -> None:
    os.mkdir(path, 0o700)
    os.chmod(path, mode)


def _read(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.read(descriptor, BLOCK).decode(errors="replace")
    finally:
        os.close(descriptor)


def _open(path: str, writing: bool = False) -> None:
    os.close(os.open(path, (os.O_RDWR if writing else os.O_RDONLY) | os.O_NONBLOCK))


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _status(path: str) -> list[float]:
    """Mode, owner, group, mtime, inode."""
    status = os.lstat(path)
    return [stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime, status.st_ino]


def _links(source: str, folder: str, most: int) -> list[Any]:
    """How many names one file can get, and what was said to the one too many."""
    for number in range(most):
        try:
            os.link(source, f"{folder}/{number}")
        except OSError as error:
            return [number, errno.errorcode.get(error.errno or 0, "?")]
    return [most, None]


STEPS: dict[str, Callable[..., Any]] = {
    "make": _make,
    "folder": _folder,
    "read": _read,
    "open": _open,
    "sync": _sync,
    "status": _status,
    "mode": lambda path: stat.S_IMODE(os.lstat(path).st_mode),
    "links": _links,
    "list": lambda path: sorted(os.listdir(path)),
    "opendir": lambda path: os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY)),
    "stat": lambda path: bool(os.stat(path)),
    "mkdir": lambda path: os.mkdir(path, 0o700),
    "rmdir": os.rmdir,
    "link": os.link,
    "symlink": os.symlink,
    "readlink": os.readlink,
    "rename": os.rename,
    "unlink": os.unlink,
    "chmod": os.chmod,
    "touch": os.utime,
    "chown": os.chown,
}


def _do(steps: list[list[Any]]) -> list[list[Any]]:
    """Steps one after another, whatever becomes of each: the name of its error, or its value."""
    answers: list[list[Any]] = []
    for verb, *given in steps:
        try:
            answers.append([None, STEPS[verb](*given)])
        except OSError as error:
            answers.append([errno.errorcode.get(error.errno or 0, str(error.errno)), None])
    return answers


# over there: locks


def _try_lock(path: str) -> int:
    """A descriptor that holds the lock; -1 when somebody else does."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        return -1
    return descriptor


_HOLDERS: set[int] = set()


def _hold(path: str) -> int | None:
    """A process that holds a lock until it is killed; None when it could not get it."""
    heard, told = os.pipe()
    holder = os.fork()
    if holder == 0:
        try:
            signal.alarm(60)
            for descriptor in (0, 1, 2):
                os.close(descriptor)  # what is said through them ends with its parent
            os.write(told, b"+" if _try_lock(path) >= 0 else b"-")
            while True:
                signal.pause()
        finally:
            os._exit(1)
    os.close(told)
    _HOLDERS.add(holder)
    got = os.read(heard, 1)
    os.close(heard)
    return holder if got == b"+" else None


def _kill() -> None:
    """What a crash does to each holder."""
    while _HOLDERS:
        holder = _HOLDERS.pop()
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)


def _pause(seconds: float) -> None:
    """Wait a little; ECANCELED when who asked has lost patience, and has hung up or asks for something else."""
    if select.select([0], [], [], seconds)[0]:
        raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))


def _grab(path: str, seconds: float) -> float | None:
    """After how many seconds the lock was to be had; None when it was not."""
    began = time.monotonic()
    while True:
        descriptor = _try_lock(path)
        waited = time.monotonic() - began
        if descriptor >= 0:
            os.close(descriptor)
            return waited
        if waited >= seconds:
            return None
        _pause(0.002)


def _count(folder: str, turns: int, seconds: float) -> dict[str, int]:
    """Add to a number under the lock, as a push moves a tag: list, read the link, replace it by a rename.

    `overlaps` counts how often somebody else was inside meanwhile, which a mkdir tells whatever is cached.
    """
    done = overlaps = 0
    deadline = time.monotonic() + seconds
    while done < turns and time.monotonic() < deadline:
        descriptor = _try_lock(f"{folder}/lock")
        if descriptor < 0:
            time.sleep(0.001)
            continue
        try:
            overlaps += not _added(folder)
        finally:
            os.close(descriptor)
        done += 1
        time.sleep(0.0005)  # the others want it too
    return {"done": done, "overlaps": overlaps}


def _added(folder: str) -> bool:
    alone = True
    try:
        os.mkdir(f"{folder}/inside")
    except FileExistsError:
        alone = False
    os.listdir(folder)
    number = int(os.readlink(f"{folder}/count"))
    scratch = f"{folder}/.new.{os.uname().nodename}.{os.getpid()}"
    os.symlink(str(number + 1), scratch)
    os.rename(scratch, f"{folder}/count")
    if alone:
        os.rmdir(f"{folder}/inside")
    return alone


# over there: a writer that replaces, and a reader that must never notice


def _swap(folder: str, least: int, seconds: float) -> dict[str, int]:
    """Replace a file and a link by renames, at least so often and so long; how often, and how often it was refused."""
    deadline, turns, refused = time.monotonic() + seconds, 0, 0
    while turns < least or time.monotonic() < deadline:
        turns += 1
        _make(f"{folder}/.new", f"{turns:08d}" * 512, 0o644)
        refused += not _replaced(f"{folder}/.new", f"{folder}/file")
        os.symlink(f"{turns:08d}", f"{folder}/.new")
        refused += not _replaced(f"{folder}/.new", f"{folder}/link")
    return {"turns": turns, "refused": refused}


def _replaced(source: str, path: str) -> bool:
    """Whether a rename over a name was let happen; SMB refuses it while somebody reads what stands there."""
    try:
        os.rename(source, path)
    except PermissionError:
        os.unlink(source)
        return False
    return True


def _look(folder: str, seconds: float) -> dict[str, Any]:
    """Read both until it is enough: how often, with what faults, and which of them a listing did not heal."""
    deadline = time.monotonic() + seconds
    found: dict[str, Any] = {"reads": 0, "torn": 0, "healed": 0, "lasting": 0, "faults": []}
    while time.monotonic() < deadline and not select.select([0], [], [], 0)[0]:
        for read in (_whole_file, _whole_link):
            found["reads"] += 1
            fault = read(folder)
            if fault == "torn":
                found["torn"] += 1
            elif fault:
                found["faults"] = sorted({*found["faults"], fault})
                found["healed" if _healed(folder, read) else "lasting"] += 1
    return found


def _whole_file(folder: str) -> str | None:
    try:
        text = _read(f"{folder}/file")
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "?")
    return None if text and text == text[:8] * 512 else "torn"


def _whole_link(folder: str) -> str | None:
    try:
        return None if len(os.readlink(f"{folder}/link")) == 8 else "an empty link"
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "?")


def _healed(folder: str, read: Callable[[str], str | None]) -> bool:
    for pause in (0.0, 0.01, 0.1):
        time.sleep(pause)
        os.listdir(folder)
        if not read(folder):
            return True
    return False


def _wait(steps: list[list[Any]], wanted: list[Any], seconds: float) -> list[float | None]:
    """After how many seconds each step gave what is wanted; None for one that did not in that time."""
    began = time.monotonic()
    after: list[float | None] = [None] * len(steps)
    while None in after:
        for number, (error, value) in enumerate(_do(steps)):
            if after[number] is None and error is None and value == wanted[number]:
                after[number] = time.monotonic() - began
        if time.monotonic() - began > seconds:
            break
        _pause(0.02)
    return after


# over there: how fast


def _create(folder: str, seconds: float) -> float:
    """Small files made and synced in a second."""
    began, count = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        count += 1
        _make(f"{folder}/{count}", "x")
        _sync(f"{folder}/{count}")
    return count / (time.monotonic() - began)


def _pour(path: str, most: int, seconds: float) -> float:
    """MB written in a second, the sync at the end included."""
    block, began, blocks = os.urandom(BLOCK), time.monotonic(), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        while blocks < most and time.monotonic() - began < seconds:
            blocks += 1
            view = memoryview(block)
            while view:
                view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return blocks * BLOCK / 1e6 / (time.monotonic() - began)


def _locks(path: str, seconds: float) -> float:
    """Times in a second that a lock is opened, taken and given back."""
    began, count = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        descriptor = _try_lock(path)
        if descriptor >= 0:  # Gluster needs a moment to give one back
            os.close(descriptor)
            count += 1
    return count / (time.monotonic() - began)


# over there: who it is, where it stands, how it ends


def _become(uid: int, gid: int) -> None:
    """Be somebody else from now on; only root can."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def _who() -> dict[str, Any]:
    return {"uid": os.geteuid(), "host": os.uname().nodename, "time": time.time(), "python": sys.version.split()[0]}


_SWEPT: list[str] = []


def _begin(path: str) -> None:
    """Make a scratch folder, which is removed in the end, also when nobody is left to say so."""
    _SWEPT.append(path)
    os.mkdir(path, 0o700)
    os.chmod(path, 0o700)


def _enter(path: str) -> None:
    """Stand in a folder, which all later paths are seen from and which is removed in the end."""
    os.chdir(path)
    _SWEPT.append(path)


def _sweep() -> bool:
    """Remove the scratch folders; False when something of another's is left in them."""
    _kill()
    os.chdir("/")
    return all(_removed(path) for path in _SWEPT)


def _removed(path: str, beside: int | None = None) -> bool:
    """Whether a folder is gone, after removing in it what may be removed.

    By descriptors, so that a link which a neighbour puts in place of a folder meanwhile is not followed.
    """
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=beside)
        try:
            _empty(folder)
        finally:
            os.close(folder)
        os.rmdir(path, dir_fd=beside)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _empty(folder: int) -> None:
    status = os.fstat(folder)
    if status.st_uid == os.geteuid() and status.st_mode & 0o700 != 0o700:
        os.fchmod(folder, stat.S_IMODE(status.st_mode) | 0o700)
    for entry in list(os.scandir(folder)):
        if entry.is_dir(follow_symlinks=False):
            _removed(entry.name, folder)
        else:
            with suppress(OSError):
                os.unlink(entry.name, dir_fd=folder)


VERBS: dict[str, Callable[..., Any]] = {
    "do": _do,
    "hold": _hold,
    "kill": _kill,
    "grab": _grab,
    "count": _count,
    "swap": _swap,
    "look": _look,
    "wait": _wait,
    "create": _create,
    "pour": _pour,
    "locks": _locks,
    "become": _become,
    "who": _who,
    "begin": _begin,
    "enter": _enter,
    "sweep": _sweep,
}


def serve() -> None:
    """Answer until stdin ends; whatever takes longer than its limit is ended by the kernel."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.alarm(IDLE)
    os.write(1, READY + b"\n")
    with open(0, "rb", buffering=0, closefd=False) as asked:  # what lies in a buffer, select does not see
        for line in iter(asked.readline, b""):
            if line == ENOUGH:
                continue
            request = json.loads(line)
            signal.alarm(int(request["limit"]) + 1)
            try:
                answer: dict[str, Any] = {"value": VERBS[request["verb"]](*request["given"])}
            except OSError as error:
                answer = {"error": errno.errorcode.get(error.errno or 0, "?"), "text": str(error)}
            signal.alarm(IDLE)
            answer["number"] = request["number"]
            try:
                os.write(1, json.dumps(answer).encode() + b"\n")
            except BrokenPipeError:  # who asked is gone, and what he began is swept all the same
                break
    signal.alarm(30)
    deadline = time.monotonic() + PATIENCE
    while not _sweep() and time.monotonic() < deadline:
        time.sleep(0.05)
    os._exit(0)


# here: whom one asks


class Answer(NamedTuple):
    """What became of one step: the name of its error (``ENOENT``), or its value."""

    error: str | None
    value: Any


class Failed(OSError):
    """A verb met an error over there that it does not live with."""


class Peer:
    """One process that is asked; `prefix` is the command that runs a program on another host (``ssh host``).

    With `uid` and `gid` it is another user, which only root can ask for. Raises ToolMissing when there is nothing
    to run, LhubError when it does not come up, does not answer in time, or dies. Leaving the `with` ends it.
    """

    def __init__(
        self,
        prefix: Sequence[str] = (),
        *,
        name: str = "a second process",
        uid: int | None = None,
        gid: int | None = None,
        patience: float = 20.0,
    ) -> None:
        self.name, self.host = name, cast("dict[str, Any]", {})
        self._said, self._complaint, self._asked = b"", b"", 0
        self._process = self._started([*prefix, "python3"] if prefix else [sys.executable])
        self._stdin = cast("IO[bytes]", self._process.stdin)
        self._ears = [cast("IO[bytes]", self._process.stdout), cast("IO[bytes]", self._process.stderr)]
        os.set_blocking(self._stdin.fileno(), False)
        try:
            self._begin(patience)
            if uid is not None:
                self.ask("become", uid, uid if gid is None else gid)
            self.host = self.ask("who")
        except BaseException:
            self.close()
            raise

    def _started(self, command: list[str]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [*command, "-I", "-q", "-i"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for who asks, and ssh finds no terminal to ask for a password
            )
        except OSError as error:
            from lhub.errors import ToolMissing  # not over there

            raise ToolMissing(f"{command[0]} cannot be run: {error.strerror}", hint=_HINT) from None

    def _begin(self, patience: float) -> None:
        with open(__file__, encoding="ascii") as file:
            source = file.read() + "\nserve()\n"
        self._write(f"exec({source!r}, {{'__name__': 'peer'}})\n".encode("ascii"), patience)
        deadline = time.monotonic() + patience
        while self._line(deadline, "come up").strip() != READY:
            pass  # what a login shell has to say

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # asking

    def ask(self, verb: str, *given: Any, limit: float = 30.0) -> Any:
        """Ask and wait for the answer; Failed where the verb met an error."""
        self.start(verb, *given, limit=limit)
        return self.answer()

    def do(self, *steps: Sequence[Any], limit: float = 30.0) -> list[Answer]:
        """Let it do steps, whatever becomes of each."""
        return [Answer(*each) for each in self.ask("do", steps, limit=limit)]

    def start(self, verb: str, *given: Any, limit: float = 30.0) -> None:
        """Ask, and go on; the answer must be taken before the next question."""
        self._limit, self._asked = limit, self._asked + 1
        line = json.dumps({"number": self._asked, "verb": verb, "given": given, "limit": limit})
        self._write(line.encode() + b"\n", limit)

    def enough(self) -> Any:
        """End what was started and goes on until now; its answer."""
        self._write(ENOUGH, self._limit)
        return self.answer()

    def answer(self) -> Any:
        """The answer to what was started last; one to a question that was given up is passed over."""
        deadline = time.monotonic() + self._limit + 5
        answer = json.loads(self._line(deadline, "answer"))
        while answer["number"] != self._asked:
            answer = json.loads(self._line(deadline, "answer"))
        if "error" in answer:
            raise Failed(getattr(errno, answer["error"], 0), answer["text"])
        return answer["value"]

    def close(self) -> None:
        """End it, at once, and all that it started here; over there it ends when it hears no more."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._stdin, *self._ears):
            pipe.close()

    # the wire

    def _write(self, data: bytes, patience: float) -> None:
        """All of it; what comes back is taken meanwhile, lest two full pipes wait for one another."""
        deadline, view = time.monotonic() + patience, memoryview(data)
        while view:
            self._take(deadline, "listen", writing=True)
            try:
                view = view[os.write(self._stdin.fileno(), view) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._ended(deadline) from None

    def _line(self, deadline: float, what: str) -> bytes:
        while b"\n" not in self._said:
            self._take(deadline, what)
        line, _, self._said = self._said.partition(b"\n")
        return line

    def _take(self, deadline: float, what: str, *, writing: bool = False) -> None:
        """Wait until there is something to hear (or, if `writing`, until more can be said), and hear it."""
        with selectors.DefaultSelector() as selector:
            for ear in self._ears:
                selector.register(ear, selectors.EVENT_READ)
            if writing:
                selector.register(self._stdin, selectors.EVENT_WRITE)
            ready = [key.fileobj for key, _ in selector.select(max(0.0, deadline - time.monotonic()))]
        if not ready:
            raise self._silent(what)
        stdout = self._process.stdout
        for ear in [ear for ear in self._ears if ear in ready]:
            heard = os.read(ear.fileno(), 65536)
            if not heard and ear is stdout:
                raise self._ended(deadline)
            if not heard:
                self._ears.remove(ear)
                ear.close()
            elif ear is stdout:
                self._said += heard
            else:
                self._complaint = (self._complaint + heard)[-2000:]

    # what went wrong

    def _ended(self, deadline: float) -> Exception:
        from lhub.errors import LhubError, ToolMissing  # not over there

        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=max(0.0, min(1.0, deadline - time.monotonic())))
        code, words = self._process.returncode, self._last_words()
        if code == 127:
            return ToolMissing(f"{self.name} has no python3{words}", hint="install Python 3.8 or newer there")
        if code == -signal.SIGALRM:
            return self._silent("answer")
        return LhubError(f"{self.name} ended before it answered{words}", hint=_HINT)

    def _silent(self, what: str) -> Exception:
        from lhub.errors import LhubError  # not over there

        return LhubError(f"{self.name} did not {what} in time{self._last_words()}", hint=_HINT)

    def _last_words(self) -> str:
        """The last line of its stderr, without the prompts of Python."""
        for ear in [ear for ear in self._ears if ear is not self._process.stdout]:
            os.set_blocking(ear.fileno(), False)
            with suppress(BlockingIOError):
                self._complaint += os.read(ear.fileno(), 65536)
        said = self._complaint.decode(errors="replace").replace(">>> ", "").split("\n")
        lines = [line.strip() for line in said if line.strip()]
        return f": {lines[-1][:200]}" if lines else ""
