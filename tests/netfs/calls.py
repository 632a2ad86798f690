"""Commands on a host from outside it: one connection for each, as with ssh but with no shell that reads its words.

The caller sends a line of JSON that tells what to run and as whom, then both sides send frames. A command whose caller
is gone is killed; a caller whose host is gone gets 255. Run as a program this is the host's side, which `init.sh`
starts in a guest.

    host = Call(address="10.77.0.11", kernel=4711, what={"args": ["id"], "user": 20001, "group": 20001})
    status = host.talk(out=said.extend, err=said.extend)
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import select
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

MACHINE = "10.77.0.1"
"""The machine's own address on a rig's bridge."""
PORT = 7777
GONE = 255
HEAD = struct.Struct(">cI")


def send(connection: socket.socket, kind: bytes, data: bytes = b"") -> None:
    """Send one frame: i, o or e with bytes of stdin, stdout or stderr (an empty i ends it), x with the exit status."""
    connection.sendall(HEAD.pack(kind, len(data)) + data)


def frames(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """The frames that arrive, until the other side is gone."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: closed meanwhile by another thread
        while len(head := stream.read(HEAD.size)) == HEAD.size:
            kind, size = HEAD.unpack(head)
            yield kind, stream.read(size)


def serve() -> None:
    """In the guest: run what the machine asks for, as root or as the user it names."""
    with socket.create_server(("0.0.0.0", PORT), backlog=64) as door:
        while True:
            connection, (caller, _) = door.accept()
            if caller == MACHINE:  # not for the guests' own users, whom it would make root
                threading.Thread(target=answer, args=[connection], daemon=True).start()
            else:
                connection.close()


def answer(connection: socket.socket) -> None:
    """Run one command and pass its streams and its exit status on."""
    with connection, connection.makefile("rb") as stream, contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not (line := stream.readline()):
            return  # somebody asked only whether this host is up
        try:
            process = begin(json.loads(line))
        except OSError as error:
            send(connection, b"e", f"{error.strerror}: {error.filename}\n".encode())
            send(connection, b"x", b"127")
            return
        lock = threading.Lock()
        printed = [(process.stdout, b"o"), (process.stderr, b"e")]
        pumps = [threading.Thread(target=pump, args=[*one, connection, lock], daemon=True) for one in printed]
        for thread in [*pumps, threading.Thread(target=feed, args=[process, stream], daemon=True)]:
            thread.start()
        status = process.wait()
        for thread in pumps:
            thread.join(2)  # a daemon that the command started may hold the pipes for ever
        with lock:
            send(connection, b"x", str(status if status >= 0 else 128 - status).encode())


def begin(told: dict[str, Any]) -> subprocess.Popen[bytes]:
    """Start what a caller asks for, as the user he names."""
    pipe, user = subprocess.PIPE, told.get("user")
    return subprocess.Popen(
        told["args"],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        bufsize=0,
        cwd="/",
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **home_of(user or 0)},
        user=user,
        group=told.get("group"),
        extra_groups=told.get("extra_groups"),
        start_new_session=True,
    )


def home_of(user: int) -> dict[str, str]:
    """What a login tells a user's programs about himself."""
    try:
        known = pwd.getpwuid(user)
    except KeyError:
        return {"HOME": "/", "USER": str(user)}
    return {"HOME": known.pw_dir, "USER": known.pw_name, "LOGNAME": known.pw_name}


def pump(pipe: BinaryIO, kind: bytes, connection: socket.socket, lock: threading.Lock) -> None:
    """Pass on what a command prints."""
    with contextlib.suppress(OSError):
        while data := pipe.read(65536):
            with lock:
                send(connection, kind, data)


def feed(process: subprocess.Popen[bytes], stream: BinaryIO) -> None:
    """Give a command its stdin; kill it and what it started when the caller is gone."""
    stdin = process.stdin
    assert stdin
    for _, data in frames(stream):
        with contextlib.suppress(OSError, ValueError):
            stdin.write(data) if data else stdin.close()
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@dataclass(frozen=True, kw_only=True)
class Call:
    """A command for a host: its address, the process of its kernel, and what `begin` is to start there."""

    address: str
    kernel: int
    what: dict[str, object]

    def talk(self, out: Callable[[bytes], object], err: Callable[[bytes], object], stdin: int | None = None) -> int:
        """Run it and return its exit status; GONE, as with ssh, when the host dies before it ends."""
        with socket.create_connection((self.address, PORT), timeout=10) as connection:
            connection.settimeout(None)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(json.dumps(self.what).encode() + b"\n")
            threading.Thread(target=self.feed, args=[connection, stdin], daemon=True).start()
            threading.Thread(target=self.watch, args=[connection], daemon=True).start()
            with connection.makefile("rb") as stream:
                for kind, data in frames(stream):
                    if kind == b"x":
                        return int(data)
                    (out if kind == b"o" else err)(data)
        return GONE

    def feed(self, connection: socket.socket, stdin: int | None) -> None:
        """Pass stdin on."""
        with contextlib.suppress(OSError):
            while stdin is not None and (data := os.read(stdin, 65536)):
                send(connection, b"i", data)
            send(connection, b"i")

    def watch(self, connection: socket.socket) -> None:
        """Hang up when the host's kernel is killed: it sends no farewell, so the connection would stand for ever."""
        with contextlib.suppress(ProcessLookupError), os.fdopen(os.pidfd_open(self.kernel)) as kernel:
            select.select([kernel], [], [])
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    serve()
