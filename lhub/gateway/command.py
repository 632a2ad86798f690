"""`lhub run`: a command that finds a gateway where it looks for Jina's cloud, for as long as it lives.

Nothing of the command is changed: what it reads of the environment is. Its Python finds a hook on its path, which gives
the clients a cache of this caller's own (`hook/sitecustomize.py`).
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from hashlib import sha256
from typing import Any

import lhub.door as door
import lhub.identity as identity
from lhub.disk import Pen
from lhub.errors import LhubError
from lhub.gateway.caches import ClientCache, make_jina_cache
from lhub.gateway.server import answering, beside, bound_to, new_prefix, server_of
from lhub.gateway.sessions import Sessions, Typist
from lhub.registry import Registry

HOOK = f"{os.path.dirname(os.path.abspath(__file__))}/hook"
_LOCAL = ("127.0.0.1", "localhost")
_TMP = "/tmp"  # noqa: S108 (docarray's own word)
_OF_TERMINALS, _SENT = (signal.SIGINT, signal.SIGQUIT), (signal.SIGTERM, signal.SIGHUP)


def run(registry: Registry, command: Sequence[str]) -> int:
    """Run a command beside a gateway; its exit code, 128 and the signal if one killed it."""
    caller = registry.session.caller
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="lhub-run-"))
        docarray = stack.enter_context(tempfile.TemporaryDirectory(prefix="lhub-docarray-", dir=_renamed_to()))
        sessions, cache, prefix = Sessions(_typist(registry)), ClientCache(docarray), new_prefix()
        bound, address = stack.enter_context(bound_to(0))
        answers = stack.enter_context(answering(registry, address, sessions, prefix=prefix, cache=cache))
        stack.enter_context(beside(server_of(answers), bound))
        token = sessions.issue(caller) if caller is not None else ""
        _remember(home, token)
        environment = surroundings(
            os.environ,
            base=f"{address}{prefix}",
            token=token,
            home=home,
            jina=_jina_cache(registry, otherwise=f"{home}/clients/jina"),
            docarray=docarray,
        )
        return _ended(command, environment, bound)


def surroundings(
    before: Mapping[str, str], *, base: str, token: str, home: str, jina: str, docarray: str
) -> dict[str, str]:
    """The environment of the command: where the cloud is, who one is there, where the clients keep what is theirs."""
    path = [HOOK, *([before["PYTHONPATH"]] if before.get("PYTHONPATH") else [])]
    told = {
        "JINA_HUBBLE_REGISTRY": base,
        "JINA_AUTH_TOKEN": token,
        "JINA_HUB_ROOT": home,
        "LHUB_JINA_CACHE": jina,
        "DOCARRAY_CACHE": docarray,
        "PYTHONPATH": os.pathsep.join(path),
    }
    for name in ("NO_PROXY", "no_proxy"):  # else a proxy would be asked for the gateway
        told[name] = ",".join(filter(None, (before.get(name), *_LOCAL)))
    return {**before, "JINA_OPTOUT_TELEMETRY": before.get("JINA_OPTOUT_TELEMETRY", "1"), **told}


def _typist(registry: Registry) -> Typist:
    """Who typed it, as `lhub login` and `lhub logout` know him."""
    home = door.home()

    def login(namespace: str) -> None:
        door.login(registry.logged_in(namespace), namespace)

    return Typist(
        namespace=partial(identity.recall, home),
        login=login,
        logout=lambda: _logout(home),
        account=registry.session.person.account,
    )


def _logout(home: str) -> None:
    identity.forget(home)


def _remember(home: str, token: str) -> None:
    """What `jina auth login` would have left."""
    if token:
        Pen().write_new(f"{home}/config.json", f'{{"auth_token": "{token}"}}'.encode(), 0o600, sync=False)


def _renamed_to() -> str | None:
    """Where docarray keeps what it pulled: 0.33 writes it in /tmp, whatever TMPDIR says, and renames it."""
    return _TMP if os.access(_TMP, os.W_OK | os.X_OK) else None


def _jina_cache(registry: Registry, *, otherwise: str) -> str:
    """Where what jina pulls stays, for this caller of this registry alone; `jina hub list` lists it.

    In a home that takes no writes, or whose path jina would not take for one of YAML, it goes with the run.
    """
    whose = f"{registry.session.caller or ''}\n{registry.session.root}"
    kept = f"{door.home()}/clients/{sha256(whose.encode()).hexdigest()[:32]}"
    if re.fullmatch(r"[/\w.-]+", kept):
        with suppress(LhubError, OSError):
            identity.make_home(door.home())
            make_jina_cache(kept)
            return kept
    make_jina_cache(otherwise)
    return otherwise


# the command


def _ended(command: Sequence[str], environment: Mapping[str, str], bound: socket.socket) -> int:
    """The exit code of the command.

    It holds the socket as well: what it leaves behind goes on asking that port, and who had it then could answer with
    code.
    """
    with _signals() as passed_on:
        try:
            process = subprocess.Popen(list(command), env=dict(environment), pass_fds=(bound.fileno(),))
        except FileNotFoundError:
            raise _Unstarted(f"{command[0]} is not found", 127) from None
        except OSError as error:
            raise _Unstarted(f"{command[0]} cannot be started: {error.strerror}", 126) from None
        passed_on(process)
        code = process.wait()
    return code if code >= 0 else 128 - code


class _Unstarted(LhubError):
    """A command that cannot be started; the codes are those of `env`."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message, hint="lhub run -- COMMAND [WORD...]")
        self.code = code


@contextmanager
def _signals() -> Iterator[Callable[[subprocess.Popen[Any]], None]]:
    """Let the command have the signals that are sent to us, also those that come before it has begun.

    What the terminal sends it gets by itself, once it is there. What we were told to ignore (nohup), it ignores too.
    """
    early: list[int] = []
    started: list[subprocess.Popen[Any]] = []

    def forward(number: int, frame: object) -> None:
        if not started:
            early.append(number)
        elif number not in _OF_TERMINALS:
            with suppress(ProcessLookupError):
                started[0].send_signal(number)

    def begun(process: subprocess.Popen[Any]) -> None:
        started.append(process)
        for number in early:
            with suppress(ProcessLookupError):
                process.send_signal(number)

    heeded = [each for each in (*_OF_TERMINALS, *_SENT) if signal.getsignal(each) is not signal.SIG_IGN]
    before = {number: signal.signal(number, forward) for number in heeded}
    try:
        yield begun
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
