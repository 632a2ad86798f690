"""Two hosts, several users, one folder that all of them see: the ground on which `test_share` and the crowd stand.

`LHUB_TEST_HOST_A` and `LHUB_TEST_HOST_B` say where the hosts are: words that run a command there (``ssh nodea``),
and as the last word the mount. Without them both hosts are processes on this machine and the share is a local folder,
so the same tests run anywhere. On each host an agent, this very file, loads lhub once and forks a process for every
task, which becomes the user it is for. Nothing but `<words> python -q -i` is ever sent through a shell.

A task is a plain function of a test's module, sent as its source with all that it names; what it imports from
elsewhere must be there: the standard library, lhub, this file. Its first argument is :class:`Me`; the others and its
answer are what JSON can hold.

>>> with share_of({}) as share:
...     share.a().push("X", "one").get("tags"), share.b().mark("alice/X")
(['latest'], 'one')
"""

from __future__ import annotations
import __future__

import ctypes
import dataclasses
import inspect
import json
import os
import queue
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from lhub.disk import Pen
from lhub.errors import LhubError
from lhub.names import parse_ref
from lhub.registry import Registry
from tests.rooms import load_all

_PR_SET_PDEATHSIG = 1
LIMIT = 120.0
"""Seconds that a task may take, if not said otherwise: a slow cluster is no fault, a hang is one."""
FILES = 5
"""How many files the Executors have that are pushed here."""


class Broken(Exception):
    """A task ended in a way that no promise allows: a traceback, a kill, its time limit, its host."""


# users


@dataclass(frozen=True, kw_only=True)
class User:
    """Somebody whom the kernels know, and the namespace he logs in to."""

    name: str
    uid: int
    groups: tuple[int, ...] = ()


TEAM = 20100
ALICE = User(name="alice", uid=20001, groups=(TEAM,))
BOB = User(name="bob", uid=20002, groups=(TEAM,))
CAROL = User(name="carol", uid=20003, groups=(TEAM,))
DAVE = User(name="dave", uid=20004)
"""In no team."""
KEEPER = User(name="keeper", uid=20005)
"""Who made the registry, and whose its root is."""
PEOPLE = (ALICE, BOB, CAROL, DAVE, KEEPER)


# here: hosts and their tasks


class Host:
    """One host: runs many tasks at once, each in a process of its own and as the user it is for."""

    def __init__(self, name: str, prefix: list[str], mount: str, python: str) -> None:
        self.name, self.prefix, self.mount, self.python = name, prefix, mount, python
        self.tasks: dict[int, Task] = {}
        self.about: dict[str, Any] = {}
        self.start()

    def start(self) -> None:
        """Begin the agent there; returns when it is ready."""
        self.said = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the agent)
        self.agent = subprocess.Popen(
            [*self.prefix, self.python, "-q", "-i"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            start_new_session=True,
        )
        ready: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._listen, args=(self.agent, ready), daemon=True).start()
        text = Path(__file__).read_text()
        self._send_line(
            f"import sys, types; hosts = sys.modules['hosts'] = types.ModuleType('hosts');"
            f" exec(compile({text!r}, {__file__!r}, 'exec'), hosts.__dict__); hosts.serve()"
        )
        try:
            self.about = ready.get(timeout=LIMIT)
        except queue.Empty:
            self.about = {"lost": f"it did not answer for {LIMIT:g} seconds"}
        if "lost" in self.about:
            words = self._last_words()
            self.end()
            raise Broken(f"host {self.name} could not begin: {words}")

    def _last_words(self) -> str:
        self.said.seek(0)
        return self.said.read().decode(errors="replace")[-2000:]

    def _listen(self, agent: subprocess.Popen[bytes], ready: queue.SimpleQueue[dict[str, Any]]) -> None:
        assert agent.stdout is not None
        for line in agent.stdout:
            told = json.loads(line)
            if "task" in told:
                self.tasks[told["task"]].inbox.put(told)
            else:
                ready.put(told)
        ready.put({"lost": True})
        for task in [*self.tasks.values()]:
            task.inbox.put({"lost": f"host {self.name} went away"})

    def _send_line(self, line: str) -> None:
        assert self.agent.stdin is not None
        try:
            self.agent.stdin.write(line.encode() + b"\n")
            self.agent.stdin.flush()
        except OSError:
            raise Broken(f"host {self.name} went away: {self._last_words()}") from None

    def begin(
        self,
        function: Callable[..., Any],
        /,
        *arguments: object,
        user: User | None = None,
        limit: float = LIMIT,
        me: Mapping[str, object] | None = None,
        **named: object,
    ) -> Task:
        """Let a function run there (as root, or whoever the agent is, for no `user`); what it answers is awaited."""
        task = Task(self, len(self.tasks) + 1, limit)
        self.tasks[task.number] = task
        order = {
            "begin": task.number,
            "words": dataclasses.asdict(words_of(function)),
            "name": function.__name__,
            "arguments": arguments,
            "named": named,
            "user": dataclasses.asdict(user) if user else None,
            "limit": limit,
            "me": dict(me or {}),
        }
        self._send_line(json.dumps(order))
        return task

    def run(self, function: Callable[..., Any], /, *arguments: object, **options: Any) -> Any:
        """What a function answers that runs there."""
        return self.begin(function, *arguments, **options).result()

    def end(self) -> None:
        """End the agent and all its tasks; also of a host that is dead."""
        with suppress(ProcessLookupError):
            os.killpg(self.agent.pid, signal.SIGKILL)
        self.agent.wait()
        for stream in (self.agent.stdin, self.agent.stdout):
            with suppress(OSError, ValueError):
                stream.close() if stream else None
        self.said.close()

    def close(self) -> None:
        """Let the agent end, and its tasks with it."""
        assert self.agent.stdin is not None
        with suppress(OSError):
            self.agent.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self.agent.wait(timeout=10)
        self.end()


class Task:
    """Something that goes on at a host."""

    def __init__(self, host: Host, number: int, limit: float) -> None:
        self.host, self.number, self.limit = host, number, limit
        self.inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.last: dict[str, Any] | None = None

    def heard(self, limit: float | None = None) -> Any:
        """What it says next by `me.tell`; raises as `result` does when it ended instead."""
        told = self._next(limit)
        if "said" in told:
            return told["said"]
        self._ended(told)
        raise Broken(f"it ended and told nothing more, but answered {told['value']!r}")

    def result(self, limit: float | None = None) -> Any:
        """What the function answered; raises the LhubError that it raised, Broken for all else."""
        while "said" in (told := self._next(limit)):
            pass
        return self._ended(told)

    def _next(self, limit: float | None) -> dict[str, Any]:
        if self.last is None:
            try:  # the agent ends what takes too long; if even that is not heard of, the host hangs
                told = self.inbox.get(timeout=limit or self.limit + 30)
            except queue.Empty:
                raise Broken(f"host {self.host.name} did not answer") from None
            if "said" in told:
                return told
            self.last = told
        return self.last

    @staticmethod
    def _ended(told: dict[str, Any]) -> Any:
        if "value" in told:
            return told["value"]
        if "refused" in told:
            refused = told["refused"]
            raise _ERRORS.get(refused["code"], LhubError)(refused["message"], hint=refused["hint"])
        raise Broken(told.get("broken") or told.get("lost"))

    def say(self, value: object) -> None:
        """What its `me.hear` answers next."""
        self.host._send_line(json.dumps({"to": self.number, "say": value}))

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send its process a signal; `kill -9` if not said otherwise."""
        self.host._send_line(json.dumps({"kill": self.number, "signal": int(number)}))


_KINDS: tuple[type[LhubError], ...] = (LhubError, *LhubError.__subclasses__())
_ERRORS: dict[int, type[LhubError]] = {kind.code: kind for kind in _KINDS if kind.__module__ == "lhub.errors"}


@dataclass(frozen=True, kw_only=True)
class Words:
    """A function as another Python can have it: its text, and all that it names.

    `texts` are file, line and source of it and of those of its module that it uses; `modules` are imports by name,
    `names` what is taken from a module, `values` constants.
    """

    texts: list[tuple[str, int, str]] = field(default_factory=list)
    modules: dict[str, str] = field(default_factory=dict)
    names: dict[str, tuple[str, str]] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, function: FunctionType) -> None:
        """Add a function and what it names; one of this file is there already."""
        if function.__globals__ is globals():
            return
        self.values[name] = None  # so that it is not added twice
        lines, first = inspect.getsourcelines(function)
        self.texts.append((function.__code__.co_filename, first, "".join(lines)))
        for other in _names(function.__code__) - self.known:
            if other in function.__globals__:
                self._know(other, function.__globals__[other], function.__module__)

    @property
    def known(self) -> set[str]:
        """The names that are explained."""
        return {*self.modules, *self.names, *self.values}

    def _know(self, name: str, value: Any, module: str) -> None:
        if isinstance(value, ModuleType):
            self.modules[name] = value.__name__
        elif isinstance(value, FunctionType) and value.__module__ == module:
            self.add(name, value)
        elif hasattr(value, "__qualname__"):
            self.names[name] = (value.__module__, value.__qualname__)
        else:
            self.values[name] = value


def _names(code: CodeType) -> set[str]:
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def words_of(function: Callable[..., Any]) -> Words:
    """All that another Python must be told to run a function."""
    words = Words()
    assert isinstance(function, FunctionType)
    words.add(function.__name__, function)
    return words


def understood(words: Mapping[str, Any]) -> dict[str, Any]:
    """What `words` tell, as names for a function to run with; the other end of `words_of`."""
    known = {**globals(), **words["values"]}
    for name, module in words["modules"].items():
        known[name] = import_module(module)
    for name, (module, inside) in words["names"].items():
        found: Any = sys.modules[__name__] if module == "tests.hosts" else import_module(module)
        for part in inside.split("."):
            found = getattr(found, part)
        known[name] = found
    for file, line, text in words["texts"]:
        exec(_compiled(file, line, text), known)
    return known


# here: the share


@dataclass(frozen=True, kw_only=True)
class Seat:
    """One user at one host, at a registry; `but` is the same with something changed."""

    host: Host
    user: User
    root: str
    namespace: str | None
    umask: int = 0o022
    clock: float = 0.0
    timeout: float = 60.0

    def but(self, **changes: Any) -> Seat:
        """The same, with another `namespace`, `umask`, `clock` (seconds that it is off) or `timeout`."""
        return replace(self, **changes)

    def begin(self, function: Callable[..., Any], /, *arguments: object, **named: Any) -> Task:
        """Let a task begin as this user."""
        me = {
            "root": self.root,
            "namespace": self.namespace,
            "umask": self.umask,
            "clock": self.clock,
            "timeout": self.timeout,
        }
        user = self.user if self.host.about["root"] else None
        return self.host.begin(function, *arguments, user=user, me=me, **named)

    def run(self, function: Callable[..., Any], /, *arguments: object, **named: Any) -> Any:
        """What a task answers."""
        return self.begin(function, *arguments, **named).result()

    def do(self, verb: str, *arguments: object, **options: object) -> Any:
        """What a verb of the registry answers, as plain values."""
        return self.run(do, verb, list(arguments), options)

    def push(self, name: str, mark: str, **options: object) -> dict[str, Any]:
        """Push an Executor every file of which ends in the same mark."""
        pushed: dict[str, Any] = self.run(push, name, mark, options)
        return pushed

    def mark(self, ref: str) -> str:
        """Pull a version and answer its mark; Broken unless it is whole."""
        mark: str = self.run(mark_of, ref)
        return mark

    def code(self, verb: str, *arguments: object, **options: object) -> int:
        """The exit code of a verb."""
        code: int = self.run(code_of, verb, list(arguments), options)
        return code

    def tags(self, name: str) -> dict[str, str]:
        """Tag to mark, of all tags that are seen, each looked at as a whole."""
        tags: dict[str, str] = self.run(tags_of, name)
        return tags

    def told(self, name: str) -> list[str]:
        """The messages of the diary, oldest first."""
        told: list[str] = self.run(told_by, name)
        return told


@dataclass(frozen=True, kw_only=True)
class Share:
    """Two hosts with one folder that both see, and a registry in it."""

    hosts: Mapping[str, Host]
    folder: str

    @property
    def has_users(self) -> bool:
        """Whether tasks can be several users: the agents are root."""
        return all(host.about["root"] for host in self.hosts.values())

    def root(self, host: str = "A") -> str:
        """The registry's root as a host names it."""
        return f"{self.hosts[host].mount}/{self.folder}/registry"

    def at(self, host: str, user: User = ALICE) -> Seat:
        """A user at a host."""
        return Seat(host=self.hosts[host], user=user, root=self.root(host), namespace=user.name)

    def a(self, user: User = ALICE) -> Seat:
        """A user at host A."""
        return self.at("A", user)

    def b(self, user: User = ALICE) -> Seat:
        """A user at host B."""
        return self.at("B", user)

    def made(self, *, registry: bool = True) -> Share:
        """The same with its folder on the disk, and an empty registry in it that everybody may use."""
        self.hosts["A"].run(make_folder, f"{self.hosts['A'].mount}/{self.folder}")
        if registry:
            self.a(KEEPER).run(make_registry)
        return self

    def clear(self) -> None:
        """Remove the folder and all that every user put there."""
        host = self.hosts["A"]
        folder = f"{host.mount}/{self.folder.split('/')[0]}"
        for user in (*PEOPLE, *PEOPLE, None) if host.about["root"] else (None,):
            host.run(clear, folder, user=user)


def hosts_of(environment: Mapping[str, str], folder: str) -> dict[str, Host]:
    """The two hosts that the environment names, or two agents here that share a local folder."""
    python = environment.get("LHUB_TEST_PYTHON") or sys.executable
    hosts: dict[str, Host] = {}
    try:
        for name in "AB":
            *prefix, mount = shlex.split(environment.get(f"LHUB_TEST_HOST_{name}") or shlex.quote(folder))
            hosts[name] = Host(name, prefix, mount, python)
    except BaseException:
        for host in hosts.values():
            host.close()
        raise
    return hosts


@contextmanager
def share_of(environment: Mapping[str, str]) -> Iterator[Share]:
    """A fresh share with a registry; all of it is gone afterwards."""
    with folder_for_all() as folder:
        hosts = hosts_of(environment, folder)
        share = Share(hosts=hosts, folder=f"lhub-test-{os.urandom(5).hex()}")
        try:
            yield share.made()
            share.clear()
        finally:
            for host in hosts.values():
                host.close()


@contextmanager
def folder_for_all() -> Iterator[str]:
    """A folder on this machine that every user may enter and write; a runner's own is often 0700."""
    folder = tempfile.mkdtemp(prefix="lhub-share-", dir=_for_all())
    Path(folder).chmod(0o1777)
    try:
        yield folder
    finally:
        clear(Me(folder=folder), folder)


def _for_all() -> str:
    """Where temporary files go, if every user may enter there."""
    folder = Path(tempfile.gettempdir())
    open_to_all = all(each.stat().st_mode & 0o001 for each in (folder, *folder.parents))
    return str(folder) if open_to_all else "/tmp"


# there: the agent


def serve() -> None:
    """Be the agent: obey what comes in on stdin, line by line, until it ends."""
    folder = tempfile.mkdtemp(prefix="lhub-host-", dir=_for_all())
    Path(folder).chmod(0o1777)
    try:
        _load_everything(folder)
        _Agent(folder).live()
    except BaseException:
        traceback.print_exc()
    finally:
        clear(Me(folder=folder), folder)
        os._exit(0)


def _load_everything(folder: str) -> None:
    """Do it all once, for what Python loads late may lie where another user may not read."""
    load_all()
    Path(f"{folder}/first").mkdir()
    me = Me(folder=f"{folder}/first", root=f"{folder}/first/registry", namespace="first")
    push(me, "X", "one", {})
    mark_of(me, "first/X")
    told_by(me, "first/X")
    for verb in ("list", "verify", "doctor", "gc"):
        getattr(me.registry, verb)()


class _Agent:
    """Forks a process for each task and carries what is said to and fro."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.children: dict[int, _Child] = {}
        self.rest = b""

    def live(self) -> None:
        root = os.geteuid() == 0
        self.send({"host": socket.gethostname(), "root": root, "uid": os.geteuid(), "cores": os.cpu_count()})
        with selectors.DefaultSelector() as self.selector:
            self.selector.register(0, selectors.EVENT_READ, None)
            try:
                while self._turn():
                    pass
            finally:
                for child in self.children.values():
                    child.kill()

    def send(self, told: dict[str, Any]) -> None:
        data = json.dumps(told).encode() + b"\n"
        while data:
            data = data[os.write(1, data) :]

    def _turn(self) -> bool:
        for key, _ in self.selector.select(timeout=0.2):
            data = os.read(key.fd, 1 << 16)
            if key.data is not None:
                self._hear(key.data, data)
            elif data:
                *lines, self.rest = (self.rest + data).split(b"\n")
                for line in lines:
                    self._obey(json.loads(line))
            else:
                return False
        for child in [*self.children.values()]:
            if time.monotonic() > child.deadline:
                child.kill()
                self._bury(child, {"broken": f"it took more than {child.limit:g} seconds; it was at {child.place()}"})
        return True

    def _obey(self, order: dict[str, Any]) -> None:
        if "begin" in order:
            child = _Child(order, self)
            self.children[child.number] = child
            self.selector.register(child.answers, selectors.EVENT_READ, child)
        elif "say" in order and order["to"] in self.children:  # else it has ended
            with suppress(BrokenPipeError):
                os.write(self.children[order["to"]].orders, json.dumps(order["say"]).encode() + b"\n")
        elif "kill" in order and order["kill"] in self.children:
            os.kill(self.children[order["kill"]].pid, order["signal"])

    def _hear(self, child: _Child, data: bytes) -> None:
        *lines, child.rest = (child.rest + data).split(b"\n")
        for line in lines:
            told = json.loads(line)
            child.ended = child.ended or "said" not in told
            self.send({"task": child.number} | told)
        if not data:
            code = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
            self._bury(child, {"broken": f"it ended with {code}"})

    def _bury(self, child: _Child, told: dict[str, Any]) -> None:
        self.selector.unregister(child.answers)
        os.close(child.answers)
        os.close(child.orders)
        del self.children[child.number]
        if not child.ended:
            self.send({"task": child.number} | told)


class _Child:
    """The process of one task."""

    def __init__(self, order: dict[str, Any], agent: _Agent) -> None:
        self.number, self.limit = order["begin"], float(order["limit"])
        self.deadline = time.monotonic() + self.limit
        self.ended, self.rest = False, b""
        self.answers, answers = os.pipe()
        orders, self.orders = os.pipe()
        folder = tempfile.mkdtemp(prefix=f"task-{self.number}-", dir=agent.folder)
        known = understood(order["words"])  # here, since what it imports may lie where its user cannot read
        self.pid = os.fork()
        if self.pid == 0:
            for other in agent.children.values():
                os.close(other.answers)
                os.close(other.orders)
            os.close(self.answers)
            os.close(self.orders)
            _be(order, known, Me(folder=folder, answers=answers, orders=orders, **order["me"]))
        os.close(answers)
        os.close(orders)

    def kill(self) -> None:
        for kill in (os.killpg, os.kill):
            with suppress(ProcessLookupError, PermissionError):
                kill(self.pid, signal.SIGKILL)

    def place(self) -> str:
        """Where in the kernel it hangs, where that can be read."""
        with suppress(OSError):
            return Path(f"/proc/{self.pid}/wchan").read_text() or "no system call"
        return "a place unknown"


def _be(order: dict[str, Any], known: dict[str, Any], me: Me) -> None:
    """Be one task, in a process of its own, and end with it."""
    try:
        os.setpgid(0, 0)
        for descriptor in range(3):  # the agent's own, which are to close when it ends
            os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
        _become(order["user"], me)
        with suppress(AttributeError):  # not on macOS
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # an agent that is killed leaves no task
        value = plain(known[order["name"]](me, *order["arguments"], **order["named"]))
        me._answer({"value": value})
    except LhubError as error:
        me._answer({"refused": {"code": error.code, "message": str(error), "hint": error.hint}})
    except BaseException:
        me._answer({"broken": traceback.format_exc()})
    finally:
        os._exit(0)


def _become(user: dict[str, Any] | None, me: Me) -> None:
    os.umask(me.umask)
    Path(me.folder).chmod(0o700)
    if user:
        os.chown(me.folder, user["uid"], user["uid"])
        os.setgroups(user["groups"])
        os.setgid(user["uid"])
        os.setuid(user["uid"])
    os.environ.update(HOME=me.folder, TMPDIR=me.folder)
    tempfile.tempdir = None  # that of the agent may not be this user's
    os.chdir(me.folder)


def _compiled(file: str, line: int, text: str) -> CodeType:
    """Code of a function as it stands in its file, so that a traceback names the line."""
    flag = __future__.annotations.compiler_flag
    code: CodeType = compile("\n" * (line - 1) + text, file, "exec", flag, dont_inherit=True)
    return code


def plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, Collection) and not isinstance(value, str | bytes):
        return [plain(each) for each in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


# there: what tasks do


@dataclass(kw_only=True)
class Me:
    """A task's own place: a folder on the host's own disk, a registry, and the way to who began it."""

    folder: str
    root: str = ""
    namespace: str | None = None
    umask: int = 0o022
    clock: float = 0.0
    timeout: float = 60.0
    answers: int = -1
    orders: int = -1
    notes: list[str] = field(default_factory=list)
    turn: int = 0

    @property
    def registry(self) -> Registry:
        """The registry as this user has it."""
        registry = Registry(self.root, namespace=self.namespace, notes=self.notes.append, timeout=self.timeout)
        if self.clock:
            registry.session = replace(registry.session, clock=lambda: time.time() + self.clock)
            registry.sessions = tuple(replace(each, clock=registry.session.clock) for each in registry.sessions)
        return registry

    def executor(self, mark: str) -> str:
        """A folder with an Executor every file of which ends in the same mark."""
        self.turn += 1
        folder = Path(self.folder, f"source-{self.turn}")
        (folder / "deep").mkdir(parents=True)
        begun = {"config.yml": "jtype: X\npy_modules: executor.py\n", "executor.py": "class X(Executor): ...\n"}
        for name in (*begun, *(f"deep/part-{n}.txt" for n in range(FILES - 2))):
            (folder / name).write_text(f"{begun.get(name, '')}# {mark}\n")
        return str(folder)

    def tell(self, value: object) -> None:
        """Say something to who began the task, while it goes on."""
        self._answer({"said": plain(value)})

    def _answer(self, told: dict[str, Any]) -> None:
        data = json.dumps(told).encode() + b"\n"
        while data:
            data = data[os.write(self.answers, data) :]

    def hear(self) -> Any:
        """Wait for what is said to this task."""
        data = b""
        while not data.endswith(b"\n"):
            if not (piece := os.read(self.orders, 1)):
                raise EOFError("nobody is there any more")
            data += piece
        return json.loads(data)

    def stopped(self) -> bool:
        """Whether something was said to this task meanwhile."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.orders, selectors.EVENT_READ)
            return bool(selector.select(timeout=0))


def make_folder(me: Me, folder: str) -> None:
    """Make a folder for everybody."""
    Path(folder).mkdir(parents=True)
    Path(folder).chmod(0o1777)


def make_registry(me: Me) -> None:
    """Make a registry that everybody may use."""
    me.registry.init(shared=True)


def clear(me: Me, folder: str) -> None:
    """Remove what one may of a folder and all in it."""
    for _ in range(3):  # a name that another user removes meanwhile ends a turn
        with suppress(OSError):
            Pen().remove_tree(folder)
    shutil.rmtree(folder, ignore_errors=True)


def do(me: Me, verb: str, arguments: list[Any], options: dict[str, Any]) -> Any:
    """One verb of the registry."""
    return getattr(me.registry, verb)(*arguments, **options)


def code_of(me: Me, verb: str, arguments: list[Any], options: dict[str, Any]) -> int:
    """The exit code of a verb."""
    try:
        do(me, verb, arguments, options)
    except LhubError as error:
        return error.code
    return 0


def push(me: Me, name: str, mark: str, options: dict[str, Any]) -> dict[str, object]:
    """Push an Executor with a mark, under it as message; what lagged is told in `warnings`."""
    source = me.executor(mark)
    pushed = me.registry.push(source, name, **({"message": mark} | options))
    shutil.rmtree(source)
    return {**pushed.to_dict(), "warnings": list(pushed.warnings), "notes": me.notes}


def mark_of(me: Me, ref: str) -> str:
    """The mark of a version, pulled and looked at as a whole."""
    me.turn += 1
    folder = Path(me.registry.pull(ref, f"{me.folder}/pulled-{me.turn}").path)
    mark = whole(folder, ref)
    shutil.rmtree(folder)
    return mark


def whole(folder: Path, ref: str) -> str:
    """The one mark in which every file of a folder ends."""
    texts = [(path.read_text().splitlines() or [""])[-1] for path in folder.rglob("*") if path.is_file()]
    if len(texts) != FILES or len(set(texts)) != 1:
        raise AssertionError(f"{ref} is torn: {len(texts)} files, {sorted(set(texts))}")
    return texts[0].removeprefix("# ").rstrip()


def tags_of(me: Me, name: str) -> dict[str, str]:
    """Tag to mark."""
    return {tag: mark_of(me, f"{name}:{tag}") for tag in me.registry.session.seen(parse_ref(name)).links().versions()}


def told_by(me: Me, name: str) -> list[str]:
    """The messages of a diary, oldest first."""
    return [entry.message for entry in reversed(me.registry.log(name))]
