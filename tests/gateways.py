"""A gateway for tests, and a client that says exactly what a test wants said, byte by byte if need be."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import socket
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from lhub.gateway.caches import ClientCache
from lhub.gateway.server import answering, beside, bound_to, server_of
from lhub.gateway.sessions import Sessions
from lhub.registry import Registry

BOUNDARY = "a-boundary-of-tests"
KNOWN = {40001, 40002, 40003, 40004, 40101, 40102, 40103, 40301, 40401, 40402, 40403, 40501, 40502, 40901, 41301, 41302}
KNOWN |= {42201, 42202, 42203, 42204, 50001, 50002, 50003, 50004, 50005, 50006}
"""What jina-hubble-sdk 0.39.0 can look up (hubble/excepts.py); another number is a KeyError there."""

Form = Sequence[tuple[str, str | bytes] | tuple[str, str, bytes]]
"""Fields (name, text) and files (name, filename, bytes), in the order in which they are sent."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer."""

    code: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        """What was asked for, of an answer that is well."""
        assert self.code == 200, self.body
        told = self.json
        assert (told["code"], told["status"]) == (200, 20000)
        return told["data"]

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The lines of a stream; a blank one kills the clients."""
        assert self.code == 200, self.body
        assert self.body.endswith(b"\n")
        return [json.loads(line) for line in self.body[:-1].split(b"\n")]

    @property
    def refusal(self) -> tuple[int, int]:
        """The two numbers of an answer that says no, in an envelope that the clients can read."""
        told = self.json
        assert 400 <= self.code < 500, self.body
        assert (told["code"], told["data"]) == (self.code, {})
        assert told["status"] in KNOWN
        assert told["message"]
        assert told["readableMessage"]
        return self.code, told["status"]


@dataclass(frozen=True, kw_only=True)
class Client:
    """Somebody who calls a gateway, with a token or without."""

    base: str
    token: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    def by(self, token: str | None, **extra: str) -> Client:
        """Somebody else."""
        return replace(self, token=token, extra=extra)

    def ask(self, verb: str, url: str, body: bytes | Iterator[bytes] | None = None, **headers: str) -> Reply:
        parts = urlsplit(url)
        assert parts.hostname is not None
        told = {key.replace("_", "-"): value for key, value in headers.items()} | dict(self.extra)
        with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)) as connection:
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request(verb, path, body=body, headers=told, encode_chunked=isinstance(body, Iterator))
            got = connection.getresponse()
            return Reply(code=got.status, headers={k.lower(): v for k, v in got.headers.items()}, body=got.read())

    def call(
        self, method: str, body: bytes | Iterator[bytes] | None = b"", kind: str = "", verb: str = "POST"
    ) -> Reply:
        """A call with any body."""
        headers = {"Content_Type": kind} if kind else {}
        if self.token is not None:
            headers["Authorization"] = f"token {self.token}"
        if isinstance(body, Iterator):
            headers["Transfer_Encoding"] = "chunked"
        return self.ask(verb, f"{self.base}/v2/rpc/{method}", body, **headers)

    def form(self, method: str, **fields: Any) -> Reply:
        """A call with an urlencoded form."""
        return self.call(method, urlencode(fields, doseq=True).encode(), "application/x-www-form-urlencoded")

    def json(self, method: str, value: Any) -> Reply:
        """A call with JSON."""
        return self.call(method, json.dumps(value).encode(), "application/json")

    def multipart(self, method: str, form: Form) -> Reply:
        """A call with parts."""
        return self.call(method, multipart(form), f"multipart/form-data; boundary={BOUNDARY}")

    # what the clients do

    def push(self, name: str, files: Mapping[str, str | bytes], **fields: str) -> Reply:
        """`jina hub push`: a zip, its MD5, and what the command line said."""
        return self.push_zip(name, zipped(files), **fields)

    def push_zip(self, name: str, archive: bytes, **fields: str) -> Reply:
        md5 = hashlib.md5(archive, usedforsecurity=False).hexdigest()
        told = {"public": "False", "private": "False", "md5sum": md5, "id": name} | fields
        return self.multipart("executor.push", [*told.items(), ("file", "filename", archive)])

    def upload(self, name: str, data: bytes, *, public: bool = True, more: Form = ()) -> Reply:
        """`DocumentArray.push`: the file comes first, in chunks, and its name behind it."""
        told = [("name", name), ("type", "documentArray"), ("public", str(public)), *more]
        body = multipart([("file", "DocumentArray", data), *told])
        pieces = iter([body[at : at + 1000] for at in range(0, len(body), 1000)])
        return self.call("artifact.upload", pieces, f"multipart/form-data; boundary={BOUNDARY}")

    def link(self, name: str) -> str:
        """Where an array is fetched."""
        found = self.call(f"artifact.getDownloadUrl?name={name}", None, verb="GET").data["download"]
        assert isinstance(found, str)
        return found

    def fetch(self, name: str) -> bytes:
        """`DocumentArray.pull`."""
        got = self.ask("GET", self.link(name))
        assert (got.code, got.headers["content-length"]) == (200, str(len(got.body)))
        return got.body

    def package(self, name: str, **more: Any) -> Reply:
        """What `jina hub pull` asks first."""
        return self.json("executor.getPackage", {"id": name, "include": ["code"], "rebuildImage": True} | more)

    def pull(self, name: str, **more: Any) -> dict[str, bytes]:
        """`jina hub pull`: the files of the archive."""
        package = self.package(name, **more).data["package"]
        head, got = self.ask("HEAD", package["download"]), self.ask("GET", package["download"])
        assert head.headers["content-length"] == got.headers["content-length"] == str(len(got.body))
        assert hashlib.md5(got.body, usedforsecurity=False).hexdigest() == package["md5"]
        with zipfile.ZipFile(io.BytesIO(got.body)) as archive:
            return {info.filename: archive.read(info) for info in archive.infolist()}


def multipart(form: Form, boundary: str = BOUNDARY) -> bytes:
    """A form, as urllib3 writes it."""
    body = b""
    for name, *rest in form:
        value = rest[-1]
        named = f'; filename="{rest[0]}"\r\nContent-Type: application/octet-stream' if len(rest) == 2 else ""
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode()
        body += (value if isinstance(value, bytes) else value.encode()) + b"\r\n"
    return body + f"--{boundary}--\r\n".encode()


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    """A zip of these files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


class Switchboard:
    """One server for all tests of a process: each test's gateway stands at a prefix of its own, so none waits for one.

    Starting and ending a server takes a quarter of a second.
    """

    def __init__(self) -> None:
        self.stack, self.doors, self.numbers = ExitStack(), dict[str, Any](), count()
        bound, self.address = self.stack.enter_context(bound_to(0))
        self.stack.enter_context(beside(server_of(self.answer), bound))

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        prefix = "/" + scope["path"].split("/")[1]
        await self.doors[prefix if prefix in self.doors else ""](scope, receive, send)


_switchboards: list[Switchboard] = []


@contextmanager
def gateway(registry: Registry, sessions: Sessions | None = None, cache: ClientCache | None = None) -> Iterator[str]:
    """A gateway in this process; its address."""
    if not _switchboards:
        _switchboards.append(Switchboard())
    board = _switchboards[0]
    prefix = f"/gateway-{next(board.numbers)}"
    with answering(registry, board.address, sessions or Sessions(), prefix=prefix, cache=cache) as answers:
        board.doors[prefix] = board.doors[""] = answers
        yield f"{board.address}{prefix}"
        del board.doors[prefix]


def close_gateways() -> None:
    """At the end of all tests."""
    while _switchboards:
        _switchboards.pop().stack.close()


def arrays() -> Path:
    """Arrays that both generations of docarray have saved."""
    from tests.conftest import PROJECT

    return PROJECT / "fixtures" / "arrays"


def said(base: str, request: bytes, *, then: float = 0.0) -> bytes:
    """What a gateway answers to these very bytes; with `then`, who asks hangs up after so many seconds."""
    parts = urlsplit(base)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as connection:
        connection.sendall(request)
        if then:
            time.sleep(then)
            return b""
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
        return answer
