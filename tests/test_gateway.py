"""The gateway, asked byte by byte: what Jina's published clients send, and what nobody should.

The clients themselves are driven by tests/test_clients.py.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import socket
import stat
import struct
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lhub.archive
from lhub.disk import Pen
from lhub.errors import NotFound
from lhub.gateway import answers
from lhub.gateway.caches import ClientCache
from lhub.gateway.calls import identity_of, ref_of
from lhub.gateway.desk import METHODS
from lhub.gateway.links import HOUR, Links
from lhub.gateway.sessions import Sessions, Typist
from lhub.names import Ref, is_name
from lhub.registry import Registry
from tests.conftest import as_caller, by_hand, config_yml, executor_py, read_tree, write_tree
from tests.gateways import BOUNDARY, KNOWN, Client, arrays, close_gateways, gateway, multipart, said, zipped

SECRET = "sanity@Check"
HELLO = {"config.yml": config_yml("Hello"), "executor.py": executor_py("Hello")}
ARRAY = (arrays() / "DocumentArray" / "protobuf-gzip.bin").read_bytes()
OTHER = (arrays() / "DocList" / "protobuf-gzip.bin").read_bytes()
FORM = f"multipart/form-data; boundary={BOUNDARY}"


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_gateways()


@pytest.fixture
def sessions() -> Sessions:
    return Sessions()


@pytest.fixture
def client(registry: Registry, sessions: Sessions) -> Iterator[Client]:
    """Alice, at a gateway of her own."""
    with gateway(registry, sessions) as base:
        yield Client(base=base, token=sessions.issue("alice"))


@pytest.fixture
def bob(client: Client, registry: Registry, sessions: Sessions) -> Client:
    as_caller(registry, "bob").login("bob")
    return client.by(sessions.issue("bob"))


@pytest.fixture
def nobody(client: Client) -> Client:
    return client.by(None)


# who asks


def test_a_token_names_who_one_is(client: Client) -> None:
    assert client.call("user.identity.whoami").data == {"_id": "alice", "name": "alice", "nickname": "alice"}


@pytest.mark.parametrize("token", [None, "None", "wrong", "a.b.c", "x" * 5000])
def test_without_a_token_that_holds_the_clients_are_told_to_log_in(client: Client, token: str | None) -> None:
    assert client.by(token).call("user.identity.whoami").refusal == (401, 40103)


def test_a_token_of_the_namespace_lets_in_and_ends(client: Client, registry: Registry) -> None:
    made = registry.create_token("laptop", days=1)
    assert client.by(made.token).call("user.identity.whoami").data["name"] == "alice"
    registry.delete_token("laptop")
    assert client.by(made.token).call("user.identity.whoami").refusal == (401, 40103)


def test_a_token_that_has_expired_lets_nobody_in(registry: Registry) -> None:
    made = registry.create_token(days=2)
    for days, code in ((1, 200), (3, 401)):
        later = registry.logged_in("alice")
        later.session = replace(later.session, clock=lambda days=days: time.time() + days * 86_400)
        with gateway(later) as base:
            assert Client(base=base, token=made.token).call("artifact.list").code == code


def test_a_bearer_is_a_token_too_and_another_word_none(client: Client) -> None:
    for word, code in (("Bearer", 200), ("token", 200), ("Basic", 401)):
        asked = client.by(None, Authorization=f"{word} {client.token}")
        assert asked.call("user.identity.whoami").code == code


def test_a_person_sees_what_his_token_may_at_each_call(client: Client, registry: Registry, bob: Client) -> None:
    registry.push(write_tree(registry.root.parent / "x", {"a": "1"}), "alice/hidden", private=True)
    assert [each["name"] for each in client.call("artifact.list").data] == ["hidden"]
    assert bob.call("artifact.list").data == []
    assert bob.form("artifact.getDetail", name="alice/hidden").refusal == (404, 40403)


# tokens over HTTP, logins


def test_tokens_are_made_listed_and_deleted_over_http(client: Client) -> None:
    made = client.form("user.pat.create", name="laptop", expirationDays=7).data
    assert client.by(made["token"]).call("user.identity.whoami").data["name"] == "alice"
    (listed,) = client.call("user.pat.list").data["personal_access_tokens"]
    assert all(isinstance(value, str) for value in listed.values())
    assert {"name", "type", "createdAt", "expireAt", "updatedAt"} == set(listed)
    assert made["token"] not in json.dumps(listed)
    assert client.form("user.pat.delete", name="laptop").code == 200
    assert client.form("user.pat.delete", name="laptop").refusal == (404, 40403)


def test_a_login_behind_serve_takes_a_token_and_gives_it(client: Client, nobody: Client, registry: Registry) -> None:
    made = registry.create_token()
    told: list[dict[str, Any]] = []
    waiting = threading.Thread(target=lambda: told.extend(log_in(nobody)))
    waiting.start()
    page = where(registry, nobody)
    assert b"password" in nobody.ask("GET", page).body
    wrong = nobody.ask("POST", page, b"token=wrong", Content_Type="application/x-www-form-urlencoded")
    assert (wrong.code, b"lets nobody in" in wrong.body) == (400, True)
    assert nobody.ask("POST", page, f"token={made.token}".encode()).code == 200
    waiting.join(20)
    assert [line["event"] for line in told] == ["redirect", "authorize"]
    granted = nobody.json("user.identity.grant.auto", told[-1]["data"]).data
    assert (granted["token"] == made.token, granted["user"]["name"]) == (False, "alice")
    assert nobody.by(granted["token"]).call("user.session.dismiss").code == 200
    assert [nobody.by(each).call("user.identity.whoami").code for each in (granted["token"], made.token)] == [401, 200]
    assert nobody.json("user.identity.grant.auto", told[-1]["data"]).refusal == (401, 40103)
    assert nobody.ask("GET", page).code == 404


_pages: list[str] = []


def log_in(client: Client) -> list[dict[str, Any]]:
    """What `jina auth login` does: read the stream to its end, and tell of the page on the way."""
    from urllib.request import urlopen

    lines = []
    with urlopen(f"{client.base}/v2/rpc/user.identity.proxiedAuthorize?prompt=login", timeout=30) as stream:
        for line in stream:
            lines.append(json.loads(line))
            if lines[-1]["event"] == "redirect":
                _pages.append(lines[-1]["data"]["redirectTo"])
    return lines


def where(registry: Registry, client: Client) -> str:
    """The page that a login waits at."""
    deadline = time.monotonic() + 20
    while not (found := [page for page in _pages if page.startswith(client.base)]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found[-1]


def typist(registry: Registry, name: str | None) -> tuple[Typist, list[str]]:
    """Who typed `lhub run`, and what was done to his login."""
    did: list[str] = []
    who = [name]

    def log(what: str, namespace: str | None) -> None:
        did.append(f"{what} {namespace}")
        who[0] = namespace

    def login(namespace: str) -> None:
        registry.logged_in(namespace).login(namespace)
        log("login", namespace)

    return Typist(namespace=lambda: who[0], login=login, logout=lambda: log("logout", None), account="carol"), did


def test_in_run_who_typed_it_is_logged_in_at_once(registry: Registry) -> None:
    person, did = typist(registry, "alice")
    sessions = Sessions(person)
    with gateway(registry, sessions) as base:
        (line,) = log_in(Client(base=base))
        granted = Client(base=base).json("user.identity.grant.auto", line["data"]).data
        logged = Client(base=base, token=granted["token"])
        assert logged.call("user.identity.whoami").data["name"] == "alice"
        assert logged.call("user.session.dismiss").json["code"] == 200
        assert logged.call("user.session.dismiss").json["code"] == 401
    assert did == ["logout None"]


def test_in_run_nobody_becomes_who_his_account_is(registry: Registry) -> None:
    person, did = typist(registry, None)
    with gateway(registry, Sessions(person)) as base:
        (line,) = log_in(Client(base=base))
        assert line["event"] == "authorize"
        assert Client(base=base).json("user.identity.grant.auto", line["data"]).data["user"]["name"] == "carol"
    assert did == ["login carol"]


def test_the_secret_address_of_run_is_in_no_link_that_a_browser_opens(registry: Registry) -> None:
    for name in ("alice", None):
        with gateway(registry, Sessions(typist(registry, name)[0])) as base:
            assert base not in json.dumps(log_in(Client(base=base)))


def test_a_login_that_nobody_waits_for_is_forgotten(client: Client, nobody: Client, sessions: Sessions) -> None:
    for _ in range(40):  # more than may wait at once
        said(
            client.base,
            (post(client, "x").replace("POST", "GET").replace("rpc/x", f"rpc/{AUTHORIZE}") + HERE).encode(),
            then=0.01,
        )
    deadline = time.monotonic() + 20
    while sessions.count_waiting() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sessions.count_waiting() == 0


AUTHORIZE, HERE = "user.identity.proxiedAuthorize", "Host: 127.0.0.1\r\n\r\n"


def test_an_address_with_a_prefix_answers_nobody_without_it(registry: Registry) -> None:
    with gateway(registry) as base:
        bare = Client(base=base.rpartition("/")[0])
        assert bare.call("user.identity.whoami").refusal == (404, 40402)
        assert Client(base=base).call("user.identity.whoami").refusal == (401, 40103)


def test_a_pat_outlives_a_logout(client: Client, registry: Registry) -> None:
    made = registry.create_token()
    assert client.by(made.token).call("user.session.dismiss").code == 200
    assert client.by(made.token).call("user.identity.whoami").code == 200


# where it answers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_a_page_that_was_led_here_by_dns_gets_no_answer(client: Client, host: str) -> None:
    asked = f"{post(client, 'user.identity.whoami')}Host: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    assert said(client.base, asked.encode()).split()[1] == b"403"


def post(client: Client, method: str) -> str:
    """The first line of a request that a test writes itself."""
    return f"POST {urlsplit(client.base).path}/v2/rpc/{method} HTTP/1.1\r\n"


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1.evil.example", "null"])
def test_a_page_of_another_site_gets_no_answer(client: Client, origin: str) -> None:
    assert client.by(client.token, Origin=origin).call("user.identity.whoami").refusal == (403, 40301)


def test_it_listens_on_the_loopback_only(client: Client) -> None:
    port = urlsplit(client.base).port
    found = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    listening = [line.split()[1] for line in found.splitlines() if f":{port:04X} " in line and " 0A " in line]
    assert listening == [f"0100007F:{port:04X}"]


# errors


def test_every_error_is_one_that_the_clients_know() -> None:
    from lhub import errors

    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.LhubError)]
    kinds += [each for each in vars(answers).values() if isinstance(each, type) and issubclass(each, errors.LhubError)]
    for kind in {*kinds}:
        for caller in ("alice", None):
            answer = answers.failed(kind("no", hint="try"), caller=caller)
            assert answer.body["status"] in KNOWN
            assert answer.body["readableMessage"] == "no; try"
            assert answer.code == answer.body["code"] == int(str(answer.body["status"])[:3])


@pytest.mark.parametrize("method", ["nonsense", "payment.app.list", "sandbox.create", "executor.create", "%2e", "a/b"])
def test_a_call_that_nobody_knows_is_none(client: Client, method: str) -> None:
    assert client.call(method).refusal == (404, 40402)


@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_a_call_by_another_verb_is_refused(client: Client, verb: str) -> None:
    assert client.call("user.identity.whoami", verb=verb).refusal == (405, 40502)


def test_there_is_no_key_for_tokens_that_are_none(client: Client) -> None:
    assert client.ask("GET", f"{client.base}/v2/.well-known/jwks.json").json == {"keys": []}


def test_two_hundred_headers_with_underscores_are_passed_over(client: Client) -> None:
    told = "".join(f"JINA_SETTING_{n}: (unset)\r\njinameta-{n}: x\r\n" for n in range(100))
    head = f"{post(client, 'user.identity.whoami')}Host: 127.0.0.1\r\nAuthorization: token {client.token}\r\n"
    answer = said(client.base, f"{head}{told}Connection: close\r\nContent-Length: 0\r\n\r\n".encode())
    assert (answer.split()[1], b'"alice"' in answer) == (b"200", True)


@pytest.mark.parametrize(
    "request_line",
    [b"nonsense", b"POST", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nBad Header: x", b"\x16\x03\x01\x00"],
)
def test_what_is_no_http_gets_the_envelope_too(client: Client, request_line: bytes) -> None:
    head, _, body = said(client.base, request_line + b"\r\n\r\n").partition(b"\r\n\r\n")
    assert (head.split()[1], json.loads(body)["status"]) == (b"400", 40001)


BODIES: list[tuple[str, bytes]] = [
    ("application/json", b"{"),
    ("application/json", b"[1]"),
    ("application/json", b'"x"'),
    ("application/json", b"\xff\xfe"),
    ("application/json", b"[" * 100_000),
    ("application/json", b'{"a":' * 100_000),
    ("application/json", b'{"id": {"$ne": 1}, "name": [1, {}]}'),
    ("application/json", b'{"id": ' + b"9" * 10_000 + b"}"),
    ("application/json", b" " * (2 << 20)),
    ("application/x-www-form-urlencoded", b"id=%ff%fe&name=%00"),
    ("application/x-www-form-urlencoded", b"&".join([b"ids=x"] * 5000)),
    ("application/x-www-form-urlencoded", b"id=a&id=b"),
    ("text/plain", b"hello"),
    ("multipart/form-data", b"hello"),
    (FORM, b"hello"),
    (FORM, b"--" + BOUNDARY.encode()),
    ("multipart/form-data; boundary=" + "x" * 1000, b"hello"),
]


@pytest.mark.parametrize("method", sorted({*METHODS} - {"user.identity.proxiedAuthorize"}))
def test_no_body_makes_it_fail(client: Client, method: str) -> None:
    for verb in METHODS[method].verbs:
        for kind, body in BODIES:
            reply = client.call(method, body, kind, verb=verb)
            assert reply.code == 200 or reply.refusal


NAMES = ["", "..", "../x", "a/b/c", "/", "alice/", "/x", "alice/..", "a\0b", "alice/x:v1", "~", "_x", "__x_y", "_/x"]
NAMES += ["alice/X.lock", "alice/con", "[/red]", "<script>", "\u202e", "alice/é", "alice/x@0123456789", "x" * 300, ".x"]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_name_finds_and_makes_nothing(client: Client, registry: Registry, name: str) -> None:
    before = read_tree(registry.root)
    for reply in (
        client.form("artifact.getDetail", name=name),
        client.form("artifact.delete", id=name),
        client.json("artifact.update", {"id": name, "name": "y"}),
        client.package(name),
        client.form("executor.listAsyncTasks", id=name),
        client.multipart("executor.queryProgress", [("id", name), ("replay", "True")]),
        client.upload(name, ARRAY),
        client.push(name, HELLO),
    ):
        assert reply.refusal
    assert read_tree(registry.root) == before


@pytest.mark.parametrize("tag", ["", " ", "../x", "a b", "x" * 200, "-v", "[/red]", "v1.lock", "V1,v1"])
def test_what_is_no_tag_makes_nothing(client: Client, registry: Registry, tag: str) -> None:
    reply = client.push("Hello", HELLO, tags=tag, immutableTags=tag)
    assert reply.refusal if tag.strip() else reply.lines
    assert client.package("alice/Hello", tag=f"{tag}x y").refusal


# arrays


def test_an_array_comes_back_byte_for_byte(client: Client, registry: Registry) -> None:
    told = client.upload("alice/x", ARRAY).data
    assert (told["name"], told["visibility"], told["type"]) == ("alice/x", "public", "documentArray")
    assert client.fetch("alice/x") == ARRAY
    assert registry.show("alice/x").kind == "docarray"


def test_an_upload_is_linked_into_the_registry_not_copied(client: Client, registry: Registry) -> None:
    copied: list[str] = []

    class Counting(Pen):
        def step(self, verb: str, path: str) -> None:
            copied.extend([path] if verb == "copy_in" and "/files/" in path else [])

    with gateway(as_caller(registry, None, pen=Counting()), sessions := Sessions()) as base:
        Client(base=base, token=sessions.issue("alice")).upload("alice/x", ARRAY).data
    assert copied == []
    (file,) = Path(registry.path("alice/x")).iterdir()
    assert (stat.S_IMODE(file.stat().st_mode), file.stat().st_nlink) == (0o444, 2)
    assert registry.verify().ok


def test_an_upload_where_there_are_no_hard_links_is_copied(registry: Registry) -> None:
    class Linkless(Pen):
        def step(self, verb: str, path: str) -> None:
            if verb == "link":
                raise OSError(1, "Operation not permitted", path)

    with gateway(as_caller(registry, None, pen=Linkless()), sessions := Sessions()) as base:
        client = Client(base=base, token=sessions.issue("alice"))
        client.upload("alice/x", ARRAY).data
        assert client.fetch("alice/x") == ARRAY
    assert registry.verify().ok


def test_the_same_array_twice_is_one_version_and_another_replaces_it(client: Client, registry: Registry) -> None:
    versions = [client.upload("alice/x", data).data["commit"]["id"] for data in (ARRAY, ARRAY, OTHER)]
    assert (versions[0], versions[1] == versions[2]) == (versions[1], False)
    assert client.fetch("alice/x") == OTHER


def test_public_is_said_at_each_upload_and_each_time_it_counts(client: Client, nobody: Client) -> None:
    for public, code in ((False, 404), (True, 200), (False, 404)):
        assert client.upload("alice/x", ARRAY, public=public).data["visibility"] == ("public" if public else "private")
        assert nobody.call("artifact.getDownloadUrl?name=alice/x", verb="GET").code == code


def test_the_list_tells_what_cloud_list_shows(client: Client) -> None:
    for name in ("alice/b", "alice/a"):
        client.upload(name, ARRAY)
    client.push("Hello", HELLO)
    reply = client.json("artifact.list", {"filter": {"type": "documentArray"}, "sort": {"name": 1}})
    assert reply.json["meta"] == {"total": 2}
    assert [each["name"] for each in reply.data] == ["alice/a", "alice/b"]
    assert {"name": "Length", "value": 3} in reply.data[0]["metaData"]["summary"]
    assert all(re.fullmatch(r"[0-9T:-]{19}\.[0-9]{3}Z", reply.data[0][key]) for key in ("createdAt", "updatedAt"))
    newest = client.json("artifact.list", {"sort": {"createdAt": -1}}).data
    assert [each["name"] for each in newest] == ["alice/a", "alice/b"]


def test_a_list_without_a_page_size_is_whole_and_with_one_a_page(client: Client, registry: Registry) -> None:
    source = write_tree(registry.root.parent / "s", {"a": "1"}) / "a"
    for number in range(25):
        registry.push(source, f"alice/f{number:02}")
    assert len(client.call("artifact.list").data) == 25
    for index, first in ((0, "f00"), (1, "f00"), (2, "f10"), (3, "f20"), (4, None)):
        page = client.json("artifact.list", {"pageIndex": index, "pageSize": 10, "sort": {"name": 1}})
        assert page.json["meta"]["total"] == 25
        assert next((each["name"] for each in page.data), None) == first


def test_another_s_namespace_takes_no_array(client: Client, bob: Client) -> None:
    assert client.upload("bob/x", ARRAY).refusal == (403, 40301)
    assert bob.upload("alice/x", ARRAY).refusal == (403, 40301)


def test_without_a_login_nothing_is_uploaded(nobody: Client, registry: Registry) -> None:
    before = read_tree(registry.root)
    assert nobody.upload("alice/x", ARRAY).refusal == (401, 40103)
    assert read_tree(registry.root) == before


def test_a_bare_name_of_an_array_is_refused_with_its_new_one(client: Client) -> None:
    reply = client.upload("fashion", ARRAY)
    assert (reply.refusal, "alice/fashion" in reply.json["readableMessage"]) == ((400, 40001), True)


def test_an_old_array_without_a_namespace_is_pulled_by_its_name_and_never_updated(
    client: Client, nobody: Client, registry: Registry, tmp_path: Path
) -> None:
    write_tree(tmp_path / "cache", {"docarray/fashion.da": ARRAY})
    registry.adopt("fashion", cache=tmp_path / "cache")
    assert client.fetch("fashion") == nobody.fetch("fashion") == ARRAY
    assert client.upload("fashion", OTHER).refusal == (403, 40301)
    assert nobody.fetch("fashion") == ARRAY


@pytest.mark.parametrize("data", [b"", b"hello", ARRAY[:-1], ARRAY + b"x", ARRAY[:5], bytes(9)], ids=len)
def test_what_is_no_whole_array_is_not_published(client: Client, registry: Registry, data: bytes) -> None:
    assert client.upload("alice/x", data).refusal == (400, 40001)
    assert registry.list() == []


@pytest.mark.parametrize("generation", ["DocumentArray", "DocList"])
@pytest.mark.parametrize("form", ["protobuf-None", "protobuf-zlib", "protobuf-array-None", "protobuf-array-gzip"])
def test_an_array_of_another_form_is_fetched_as_the_clients_read_it(
    client: Client, registry: Registry, generation: str, form: str
) -> None:
    from lhub.kinds.forms import documents, form_of

    registry.push(arrays() / generation / f"{form}.bin", "alice/x")
    streamed = io.BytesIO(client.fetch("alice/x"))
    found = form_of(streamed)
    assert found is not None
    assert (found.protocol, found.compress) == ("protobuf", "gzip")
    with (arrays() / generation / f"{form}.bin").open("rb") as file:
        own = form_of(file)
        assert own is not None
        assert list(documents(streamed, found)) == list(documents(file, own))
    assert client.fetch("alice/x") == streamed.getvalue()


def test_a_pickled_array_is_not_fetched_and_the_sentence_says_why(client: Client, registry: Registry) -> None:
    registry.push(arrays() / "DocumentArray" / "pickle-None.bin", "alice/x")
    reply = client.call("artifact.getDownloadUrl?name=alice/x", verb="GET")
    assert (reply.refusal, "pickle" in reply.json["readableMessage"]) == ((400, 40001), True)


# downloads


def test_a_download_is_resumed_from_where_it_broke_off(client: Client) -> None:
    client.upload("alice/x", ARRAY)
    link, size = client.link("alice/x"), len(ARRAY)
    head = client.ask("HEAD", link)
    assert (head.headers["content-length"], head.headers["accept-ranges"], head.body) == (str(size), "bytes", b"")
    for span, want in (("5-", ARRAY[5:]), ("5-9", ARRAY[5:10]), ("-7", ARRAY[-7:]), ("0-999999", ARRAY)):
        got = client.ask("GET", link, Range=f"bytes={span}")
        start = size - len(want) if span in ("5-", "-7", "0-999999") else 5
        assert (got.code, got.body) == (206, want)
        assert got.headers["content-range"] == f"bytes {start}-{start + len(want) - 1}/{size}"


@pytest.mark.parametrize("span", [f"bytes={len(ARRAY)}-", "bytes=999999999999-", "bytes=-0"])
def test_a_range_behind_the_end_cannot_be_had(client: Client, span: str) -> None:
    client.upload("alice/x", ARRAY)
    got = client.ask("GET", client.link("alice/x"), Range=span)
    assert (got.code, got.headers["content-range"]) == (416, f"bytes */{len(ARRAY)}")


@pytest.mark.parametrize("span", ["bytes=-", "bytes=9-5", "bytes=a-b", "bytes=0-1,5-6", "lines=1-2", "bytes=99999"])
def test_a_range_that_is_none_gives_all(client: Client, span: str) -> None:
    client.upload("alice/x", ARRAY)
    got = client.ask("GET", client.link("alice/x"), Range=span)
    assert (got.code, got.body) == (200, ARRAY)


def test_a_range_of_another_version_gives_all(client: Client) -> None:
    client.upload("alice/x", ARRAY)
    link = client.link("alice/x")
    tag = client.ask("HEAD", link).headers["etag"]
    for only_if, code in ((tag, 206), ('"other"', 200)):
        assert client.ask("GET", link, Range="bytes=5-", If_Range=only_if).code == code


def test_a_link_cannot_be_guessed_and_ends(registry: Registry, hello: Path, tmp_path: Path) -> None:
    now = [0.0]
    pushed = registry.push(hello)
    ref = Ref(namespace="alice", resource="Hello", version=pushed.version)
    links = Links("http://here", str(tmp_path), clock=lambda: now[0])
    made = {links.to_made(registry, ref, "f", "x", lambda _, out: out.write(b"x") and None)[0] for _ in range(100)}
    assert len(made) == 100
    names = [each.split("/")[-2] for each in made]
    assert min(map(len, names)) == 48
    assert links.find(names[0]) is not None
    now[0] = HOUR
    assert links.find(names[0]) is None
    assert links.find("0" * 48) is None


def test_a_link_to_nothing_is_told(client: Client) -> None:
    assert client.ask("GET", f"{client.base}/download/{'0' * 48}/x").refusal == (404, 40402)


def test_a_link_ends_when_its_array_is_deleted_or_hidden(client: Client, registry: Registry, bob: Client) -> None:
    client.upload("alice/x", ARRAY)
    link = bob.link("alice/x")
    registry.visibility("alice/x", "private")
    assert bob.ask("GET", link).refusal == (404, 40403)
    registry.visibility("alice/x", "public")
    assert bob.ask("GET", link).body == ARRAY
    registry.delete("alice/x")
    assert bob.ask("GET", link).refusal == (404, 40403)


def test_a_link_to_an_archive_ends_when_it_is_hidden(client: Client, registry: Registry, nobody: Client) -> None:
    client.push("Hello", HELLO)
    link = nobody.package("alice/Hello").data["package"]["download"]
    registry.visibility("alice/Hello", "private")
    assert nobody.ask("GET", link).refusal == (404, 40403)
    assert client.ask("GET", client.package("alice/Hello").data["package"]["download"]).code == 200


def test_an_archive_that_gave_way_to_others_is_made_again(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lhub.gateway.links._ROOM", 100)
    links = []
    for name in ("A", "B", "C"):
        client.push(name, named(name))
        links.append(client.package(f"alice/{name}").data["package"])
    for package in (*links, *links):
        got = client.ask("GET", package["download"]).body
        assert hashlib.md5(got, usedforsecurity=False).hexdigest() == package["md5"]


def test_many_who_pull_one_version_at_once_share_one_archive(registry: Registry, tmp_path: Path) -> None:
    made: list[str] = []
    release = threading.Event()
    registry.push(write_tree(tmp_path / "src", dict(HELLO)))
    links, ref = Links("http://here", str(tmp_path / "src")), Ref(namespace="alice", resource="Hello")

    def make(version: Any, out: Any) -> None:
        made.append(version.id)
        release.wait(10)
        out.write(b"x")

    threads = [threading.Thread(target=links.to_made, args=(registry, ref, "f", "x", make)) for _ in range(6)]
    for thread in threads:
        thread.start()
    release.set()
    for thread in threads:
        thread.join(20)
    assert len(made) == 1


def test_a_flipped_byte_is_told_before_anything_is_sent(client: Client, registry: Registry) -> None:
    client.upload("alice/x", ARRAY)
    client.push("Hello", HELLO)
    assert client.fetch("alice/x") == ARRAY
    for name in ("alice/x", "alice/Hello"):
        version = Path(registry.path(name)).parent
        with by_hand(version):
            file = next(path for path in (version / "files").iterdir() if path.name != "config.yml")
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 1
            file.write_bytes(content)
    assert client.call("artifact.getDownloadUrl?name=alice/x", verb="GET").refusal == (422, 42201)
    assert client.package("alice/Hello").refusal == (422, 42201)


def test_a_link_in_place_of_a_file_is_not_followed(client: Client, registry: Registry, tmp_path: Path) -> None:
    client.upload("alice/x", ARRAY)
    url = client.link("alice/x")
    (file,) = Path(registry.path("alice/x")).iterdir()
    (tmp_path / "secret").write_bytes(ARRAY)
    with by_hand(file.parent.parent):
        file.unlink()
        file.symlink_to(tmp_path / "secret")
    assert client.ask("GET", url).refusal == (422, 42201)


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "../../x", "\ud800"])
def test_no_name_beside_an_id_reaches_a_path(registry: Registry, tmp_path: Path, name: str) -> None:
    (tmp_path / "x.da").touch()
    cache, sessions = ClientCache(str(tmp_path / "a/b")), Sessions()
    with gateway(registry, sessions, cache=cache) as base:
        client = Client(base=base, token=sessions.issue("alice"))
        client.upload("alice/x", ARRAY)
        assert client.json("artifact.getDownloadUrl", {"id": "_alice_x", "name": name}).code == 200
    assert (tmp_path / "x.da").exists()


def test_what_docarray_keeps_is_forgotten_when_another_version_is_asked_for(registry: Registry, tmp_path: Path) -> None:
    cache, sessions = ClientCache(str(tmp_path)), Sessions()
    with gateway(registry, sessions, cache=cache) as base:
        client = Client(base=base, token=sessions.issue("alice"))
        kept = []
        for data in (ARRAY, ARRAY, OTHER):
            client.upload("alice/x", data)
            client.fetch("alice/x")
            kept.append((tmp_path / "alice_x.da").exists())
            (tmp_path / "alice_x.da").touch()
    assert kept == [False, True, False]


# files, as hubble.Client keeps them


def artifact(client: Client, data: bytes, **fields: str) -> Any:
    """`Client.upload_artifact`."""
    return client.multipart("artifact.upload", [("public", "False"), ("file", "file", data), *fields.items()])


def test_a_file_is_private_unless_said_and_keeps_its_metadata(client: Client, nobody: Client) -> None:
    told = artifact(client, b"\0\1data", name="my-artifact").data
    assert (told["name"], told["visibility"], "metaData" in told) == ("my-artifact", "private", False)
    asked = {"id": told["_id"], "public": True, "metaData": json.dumps({"a": 1.5})}
    changed = client.json("artifact.update", asked).data
    assert (changed["visibility"], changed["metaData"], changed["name"]) == ("public", {"a": 1.5}, "my-artifact")
    assert client.form("artifact.getDetail", id=told["_id"]).data["metaData"] == {"a": 1.5}
    assert (
        nobody.ask("GET", nobody.form("artifact.getDownloadUrl", id=told["_id"]).data["download"]).body == b"\0\1data"
    )


def test_any_json_comes_back_as_metadata(client: Client) -> None:
    metadata = {"a": ["\ud800", "\0", 1e308, -0.0, 10**40, [], {"": {}}, None, True, "é", "}" * 100]}
    assert artifact(client, b"x", name="f", metaData=json.dumps(metadata)).data["metaData"] == metadata
    assert client.form("artifact.getDetail", name="f").data["metaData"] == metadata
    assert client.call("artifact.list").data[0]["metaData"] == metadata


def test_files_without_a_name_are_several(client: Client) -> None:
    ids = {artifact(client, b"same").data["_id"] for _ in range(3)}
    assert len(ids) == 3
    assert len(client.call("artifact.list").data) == 3


@given(
    namespace=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True).filter(is_name),
    resource=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True).filter(is_name),
)
def test_an_id_is_of_one_resource_only_and_a_path_of_yaml_for_jina(namespace: str, resource: str) -> None:
    ref = Ref(namespace=namespace, resource=resource)
    identity = identity_of(ref)
    assert ref_of(identity) == ref_of(ref.name) == ref
    assert not is_name(identity)
    assert re.match(r"^[/\w\-\_\.]+.ya?ml$", f"/home/{identity}/config.yml")


def test_files_are_found_by_their_metadata(client: Client) -> None:
    for name, number in (("f9", 9), ("f10", 10), ("f11", 11), ("huge", 10**400)):
        artifact(client, b"x", name=name, metaData=json.dumps({"foo": {"bar": number % 2}, "n": number}))
    found = client.json("artifact.list", {"filter": {"metaData.foo.bar": 0}, "sort": {"metaData.n": -1}})
    assert [each["name"] for each in found.data] == ["huge", "f10"]


def test_a_file_is_renamed_with_all_it_was(client: Client, registry: Registry) -> None:
    one = artifact(client, b"x", name="one").data["_id"]
    artifact(client, b"y", name="two")
    assert client.json("artifact.update", {"id": one, "name": "two"}).refusal == (422, 42202)
    renamed = client.json("artifact.update", {"id": one, "name": "three"}).data
    assert renamed["name"] == "three"
    assert client.form("artifact.getDetail", name="three").data["_id"] == renamed["_id"]
    assert client.form("artifact.getDetail", name="one").refusal == (404, 40403)
    assert [entry.action for entry in registry.log("alice/three")] == ["rename", "push"]


def test_an_update_that_is_refused_changed_nothing(client: Client, registry: Registry) -> None:
    one = artifact(client, b"x", name="one").data["_id"]
    artifact(client, b"y", name="two")
    before = client.form("artifact.getDetail", id=one).data
    asked = {"id": one, "metaData": json.dumps({"a": 1}), "public": True}
    assert client.json("artifact.update", {**asked, "name": "two"}).refusal == (422, 42202)
    assert client.json("artifact.update", {**asked, "name": "bob/x"}).refusal == (400, 40001)
    too_long = json.dumps({"a": "x" * 70_000})
    assert client.json("artifact.update", {**asked, "name": "three", "metaData": too_long}).refusal == (400, 40001)
    assert client.form("artifact.getDetail", id=one).data == before


def test_new_metadata_undoes_no_upload_that_came_meanwhile(client: Client) -> None:
    told = artifact(client, b"x" * 3_000_000, name="f").data
    threads = [
        threading.Thread(target=artifact, args=(client, b"y" * 3_000_000), kwargs={"name": "f"}),
        threading.Thread(
            target=client.json, args=("artifact.update", {"id": told["_id"], "metaData": json.dumps({"a": 1})})
        ),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert client.fetch("f")[:1] == b"y"


def test_several_are_deleted_at_once_those_that_are_there(client: Client) -> None:
    ids = [artifact(client, b"x").data["_id"] for _ in range(2)]
    artifact(client, b"x", name="named")
    assert client.form("artifact.deleteMany", ids=[*ids, "_alice_gone"], names=["named", "never"]).json["code"] == 200
    assert client.call("artifact.list").data == []


def test_what_is_not_there_cannot_be_deleted_and_the_clients_know_the_number(client: Client) -> None:
    assert client.form("artifact.delete", name="alice/nothing").refusal == (404, 40403)


def test_an_executor_is_no_artifact(client: Client, registry: Registry) -> None:
    client.push("Hello", HELLO)
    for method in ("artifact.delete", "artifact.getDetail", "artifact.getDownloadUrl"):
        assert client.form(method, name="alice/Hello").refusal == (404, 40403)
    assert [each.name for each in registry.list()] == ["alice/Hello"]


DEEP = ['{"a":' * levels + "1" + "}" * levels for levels in (65, 960)]


@pytest.mark.parametrize("metadata", ["{", "[1]", '{"a": NaN}', '"x"', json.dumps({"a": "x" * 70_000}), *DEEP])
def test_metadata_that_is_none_is_refused(client: Client, registry: Registry, metadata: str) -> None:
    assert artifact(client, b"x", name="f", metaData=metadata).refusal == (400, 40001)
    assert registry.list() == []


@pytest.mark.parametrize("filename", ["../../etc/passwd", "/etc/passwd", "..", "", "a\0b", ".rc", "C:\\x", "x" * 300])
def test_no_name_of_a_file_leads_anywhere(client: Client, registry: Registry, filename: str) -> None:
    reply = client.multipart("artifact.upload", [("file", filename, b"data"), ("name", "f")])
    assert reply.data["name"] == "f"
    assert [path.name for path in Path(registry.path("alice/f")).iterdir()] in (["file"], ["passwd"], ["x"])
    assert registry.verify().ok


# Executors


def test_an_executor_is_the_version_that_lhub_push_makes(client: Client, registry: Registry, tmp_path: Path) -> None:
    *_, end = client.push("Hello", HELLO, tags="v1,latest").lines
    native = registry.push(write_tree(tmp_path / "Hello", dict(HELLO)))
    assert (end["payload"]["commit"]["id"], native.new) == (native.version, False)
    assert end["payload"] == {
        "id": "_alice_Hello",
        "name": "Hello",
        "visibility": "public",
        "owner": {"name": "alice"},
        "commit": {"id": native.version, "tags": ["v1", "latest"]},
    }
    assert registry.show("alice/Hello").tags == {"latest": native.version, "v1": native.version}


def test_an_executor_is_pulled_as_it_was_pushed(client: Client) -> None:
    client.push("Hello", HELLO | {"data/weights.bin": b"\0" * 1000}, tags="v1")
    got = client.pull("alice/Hello", tag="v1")
    assert got == {key: value.encode() if isinstance(value, str) else value for key, value in HELLO.items()} | {
        "data/weights.bin": b"\0" * 1000
    }
    assert client.package("_alice_Hello", tag="v1").data["commit"]["tags"] == ["v1"]


def test_all_that_was_sent_is_kept_whatever_a_list_says(client: Client) -> None:
    files = HELLO | {".env": "A=1", "build/x": "1", "a.log": "2", ".gitignore": "*.log\n"}
    client.push("Hello", files)
    assert set(client.pull("alice/Hello")) == set(files)


def test_what_can_be_executed_stays_so(client: Client, registry: Registry) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in HELLO.items():
            archive.writestr(name, content)
        info = zipfile.ZipInfo("run.sh")
        info.external_attr = (stat.S_IFREG | 0o755) << 16
        archive.writestr(info, "#!/bin/sh\n")
    client.push_zip("Hello", out.getvalue())
    assert registry.show("alice/Hello").manifest["executable"] == ["run.sh"]
    link = client.package("alice/Hello").data["package"]["download"]
    with zipfile.ZipFile(io.BytesIO(client.ask("GET", link).body)) as archive:
        assert {info.filename: info.external_attr >> 16 & 0o777 for info in archive.infolist()}["run.sh"] == 0o755


def test_the_archive_of_a_version_is_the_same_each_time(client: Client, registry: Registry) -> None:
    client.push("Hello", HELLO)
    first = client.package("alice/Hello").data["package"]
    with gateway(registry, sessions := Sessions()) as base:
        other = Client(base=base, token=sessions.issue("alice")).package("alice/Hello").data["package"]
    assert (first["md5"], first["download"] == other["download"]) == (other["md5"], False)


def test_a_wrong_md5_is_refused(client: Client, registry: Registry) -> None:
    assert client.push("Hello", HELLO, md5sum="0" * 32).refusal == (400, 40003)
    assert registry.list() == []


def test_without_a_flag_the_visibility_stays(client: Client, registry: Registry) -> None:
    for flag, want in ((None, "public"), ("private", "private"), (None, "private"), ("public", "public")):
        *_, end = client.push("Hello", HELLO, **({flag: "True"} if flag else {})).lines
        assert end["payload"]["visibility"] == registry.visibility("alice/Hello") == want
    assert client.push("Hello", HELLO, public="True", private="True").refusal == (400, 40001)


def test_a_protected_tag_never_moves(client: Client, registry: Registry) -> None:
    client.push("Hello", HELLO, immutableTags="v1")
    changed = HELLO | {"more.txt": "x"}
    reply = client.push("Hello", changed, tags="v1,v2")
    assert (reply.refusal, "v1" in reply.json["readableMessage"]) == ((409, 40901), True)
    assert list(registry.show("alice/Hello:v1").tags) == ["v1"]
    assert client.push("Hello", HELLO, tags="v1").lines[-1]["type"] == "complete"


def test_only_the_names_of_variables_come_back(client: Client, registry: Registry) -> None:
    files = HELLO | {"requirements.txt": "numpy==${TOKEN_9}\n"}
    refused = client.push("Hello", files)
    assert (refused.refusal, "TOKEN_9" in refused.json["readableMessage"]) == ((400, 40001), True)
    lines = client.push("Hello", files, buildEnv=json.dumps({"TOKEN_9": "s3cr3tvalue"}), verbose="True").lines
    package = client.package("alice/Hello")
    assert package.data["commit"]["commitParams"]["buildEnv"] == {"TOKEN_9": ""}
    everything = json.dumps(lines).encode() + package.body + b"".join(read_tree(registry.root).values())
    assert b"s3cr3tvalue" not in everything


@pytest.mark.parametrize("build_env", ["{", "[]", '{"a": "x"}', '{"_A": "x"}', '{"A": 1}', '{"A": ""}'])
def test_variables_that_are_none_are_refused(client: Client, build_env: str) -> None:
    assert client.push("Hello", HELLO, buildEnv=build_env).refusal == (400, 40001)


def test_all_faults_of_an_executor_are_told_at_once(client: Client, registry: Registry) -> None:
    reply = client.push("Hello", {"config.yml": "jtype: Nope\npy_modules: gone.py\n", "executor.py": "x = (\n"})
    assert reply.refusal == (400, 40001)
    assert {"gone.py", "config.yml"} <= set(re.findall(r"[a-z]+\.[a-z]+", reply.json["readableMessage"]))
    assert reply.json["readableMessage"].startswith("the archive is no Executor that can be pushed")
    assert registry.list() == []


def test_what_is_no_executor_is_not_published_as_files(client: Client, registry: Registry) -> None:
    for files in ({"notes.txt": "x"}, {"manifest.yml": "name: X\n"}):
        reply = client.push("X", files)
        assert (reply.refusal, "the archive is of kind files" in reply.json["readableMessage"]) == ((400, 40001), True)
    assert registry.list() == []


@pytest.mark.parametrize("filename", ["executor", "lock", "files", "../x", "archive.zip"])
def test_an_archive_may_be_called_anything(client: Client, filename: str) -> None:
    form = [("id", "Hello"), ("file", filename, zipped(HELLO))]
    assert client.multipart("executor.push", form).lines[-1]["type"] == "complete"


def test_a_build_without_a_namespace_is_found_by_who_is_logged_in_too(client: Client, nobody: Client) -> None:
    nobody.push("Hello", HELLO)
    assert len(client.form("executor.listAsyncTasks", id="Hello").data) == 1


def test_an_upload_that_was_deleted_at_once_was_an_upload(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(self: Registry, ref: object) -> None:
        raise NotFound("it is not here")

    monkeypatch.setattr(Registry, "show", gone)
    told = client.upload("alice/x", ARRAY).data
    assert (told["name"], told["visibility"], len(told["commit"]["id"])) == ("alice/x", "public", 64)


def test_no_line_of_a_stream_is_blank_and_it_ends_with_its_end(client: Client) -> None:
    lines = client.push("Hello", HELLO, verbose="True").lines
    assert [line["type"] for line in lines if line["type"] in ("start", "done")][:2] == ["start", "done"]
    assert [line["type"] for line in lines].index("complete") == len(lines) - 1
    assert all(isinstance(line["payload"], str) for line in lines[:-1])


def test_markup_in_what_was_pushed_is_none_for_who_prints_it(client: Client) -> None:
    name = "[/red]"
    files = HELLO | {"executor.py": executor_py("Hello"), "requirements.txt": f"numpy  # {name} $BARE\n"}
    client.push("Hello", files)
    (task,) = client.form("executor.listAsyncTasks", id="Hello").data
    lines = client.multipart(
        "executor.queryProgress", [("id", task["_id"]), ("replay", "True"), ("verbose", "True")]
    ).lines
    assert "[" not in re.sub(r"^\[|\]$", "", "".join(str(line.get("message", "")) for line in lines))
    said_aloud = [line["data"]["data"]["payload"] for line in lines if line["type"] == "progress"]
    assert not any("[" in each for each in said_aloud)


def test_an_image_that_cannot_be_had_is_refused_where_it_is_asked_for(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "git").symlink_to(str(shutil.which("git")))
    monkeypatch.setenv("PATH", str(tmp_path))  # without any engine
    files = HELLO | {"Dockerfile": "FROM scratch\n"}
    asked = {"platform": "linux/arm64", "buildWithNoCache": "True", "dockerfile": "Dockerfile"}
    assert "needs docker or podman or buildah" in client.push("Hello", files, **asked).json["message"]
    lines = client.push("Hello", files).lines
    (warning,) = [line["message"] for line in lines if line["type"] == "warning"]
    assert ("no image was built" in warning, lines[-1]["type"]) == (True, "complete")


def test_a_name_with_a_namespace_is_checked_here(client: Client, bob: Client) -> None:
    assert client.push("alice/Hello", HELLO).lines[-1]["payload"]["owner"] == {"name": "alice"}
    assert bob.push("alice/Hello", HELLO).refusal == (403, 40301)


def test_status_tells_how_a_build_went(client: Client) -> None:
    client.push("Hello", HELLO)
    (task,) = client.form("executor.listAsyncTasks", id="Hello", sort="-createdAt", pageSize=1).data
    form = [("id", task["_id"]), ("replay", "True"), ("verbose", "True")]
    lines = client.multipart("executor.queryProgress", form).lines
    assert {line["type"] for line in lines} == {"progress", "report"}
    assert (lines[-1]["status"], lines[-1]["result"]["name"]) == ("succeeded", "Hello")
    brief = client.multipart("executor.queryProgress", [("id", task["_id"]), ("replay", "False")]).lines
    assert [line["type"] for line in brief] == ["report"]


def test_a_build_that_nobody_knows_is_told_so(client: Client) -> None:
    assert client.form("executor.listAsyncTasks", id="Never").refusal == (404, 40403)
    for task in ("0" * 24, "nonsense"):
        reply = client.multipart("executor.queryProgress", [("id", task)])
        assert reply.json["code"] >= 400


def test_a_failed_build_says_why(client: Client, registry: Registry) -> None:
    class Full(Pen):
        def step(self, verb: str, path: str) -> None:
            if verb == "write_new" and path.endswith("SHA256SUMS"):
                raise OSError(28, "No space left on device", path)

    with gateway(as_caller(registry, None, pen=Full()), sessions := Sessions()) as base:
        alice = Client(base=base, token=sessions.issue("alice"))
        *_, end = alice.push("Hello", HELLO).lines
    assert (end["type"], end["payload"]["status"], "No space left" in end["message"]) == ("error", 41302, True)
    (task,) = client.form("executor.listAsyncTasks", id="Hello").data
    *_, end = client.multipart("executor.queryProgress", [("id", task["_id"]), ("replay", "True")]).lines
    assert (end["type"], "No space left" in end["message"]) == ("error", True)
    assert registry.list() == []


# without a namespace


def test_without_a_login_a_new_executor_gets_a_secret_and_is_updated_by_it(nobody: Client, client: Client) -> None:
    *_, end = nobody.push("Hello", HELLO, private="True").lines
    secret = end["payload"]["secret"]
    assert (end["payload"]["name"], "owner" in end["payload"]) == ("Hello", False)
    for who in (nobody, client):
        assert set(who.pull("Hello", secret=secret)) == set(HELLO)
        assert who.package("Hello").refusal == (404, 40403)
        assert who.package("Hello", secret="wrong").refusal == (404, 40403)
        *_, end = who.multipart("executor.update", update("Hello", HELLO, secret)).lines
        assert end["payload"]["secret"] == secret
    refused = nobody.multipart("executor.update", update("Hello", HELLO, "wrong"))
    assert refused.code in (401, 403)


def update(name: str, files: dict[str, str], secret: str) -> list[Any]:
    return [("id", name), ("secret", secret), ("file", "filename", zipped(files))]


def test_an_old_secret_holds_what_a_secret_may(nobody: Client, registry: Registry, tmp_path: Path) -> None:
    as_caller(registry, None).push(write_tree(tmp_path / "Old", named("SanityCheck")), secret=SECRET, private=True)
    assert nobody.pull("SanityCheck", secret=SECRET, tag="latest")


# who may do what: section 4 of the design, over HTTP

CODES = {"yes": 200, "not found": 404, "no": 403, "log in": 401, "conflict": 409}
PLACES = ("alice/X", "alice/P", "bob/X", "bob/P", "X", "P")
TABLE: dict[tuple[str, str, bool], tuple[str, ...]] = {
    ("alice", "push", False): ("yes", "yes", "no", "no", "-", "-"),
    ("alice", "push", True): ("-", "-", "-", "-", "yes", "yes"),
    ("alice", "pull", False): ("yes", "yes", "yes", "not found", "yes", "not found"),
    ("alice", "pull", True): ("-", "-", "-", "-", "yes", "yes"),
    ("nobody", "push", False): ("log in", "log in", "log in", "log in", "conflict", "conflict"),
    ("nobody", "push", True): ("-", "-", "-", "-", "yes", "yes"),
    ("nobody", "pull", False): ("yes", "not found", "yes", "not found", "yes", "not found"),
    ("nobody", "pull", True): ("-", "-", "-", "-", "yes", "yes"),
}


@pytest.fixture
def peopled(registry: Registry, bob: Client, tmp_path: Path) -> None:
    for name in ("X", "P"):
        files = {"config.yml": config_yml(name), "executor.py": executor_py(name)}
        folder = write_tree(tmp_path / name, files)
        for who in ("alice", "bob", None):
            secret = SECRET if who is None else None
            as_caller(registry, who).push(folder, private=name == "P", secret=secret)


@pytest.mark.usefixtures("peopled")
@pytest.mark.parametrize(("who", "verb", "with_secret"), TABLE)
def test_the_table_holds_over_http(client: Client, who: str, verb: str, with_secret: bool) -> None:
    asking = client if who == "alice" else client.by(None)
    for place, want in zip(PLACES, TABLE[who, verb, with_secret], strict=True):
        if want == "-":
            continue
        secret = {"secret": SECRET} if with_secret else {}
        if verb == "pull":
            reply = asking.package(place, **secret)
        elif with_secret:
            reply = asking.multipart("executor.update", update(place, named(place), SECRET))
        else:
            reply = asking.push(place, named(place))
        assert reply.code == CODES[want], (place, reply.body)


def named(place: str) -> dict[str, str]:
    name = place.rpartition("/")[2]
    return {"config.yml": config_yml(name), "executor.py": executor_py(name), "more.txt": "x"}


# hostile archives


def archive(*members: tuple[str, str | bytes], change: Callable[[zipfile.ZipInfo], None] = lambda info: None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as zipping:
        for name, content in [*HELLO.items(), *members]:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if (name, content) in members:
                change(info)
            zipping.writestr(info, content)
    return out.getvalue()


def as_link(info: zipfile.ZipInfo) -> None:
    info.external_attr = (stat.S_IFLNK | 0o777) << 16


def as_device(info: zipfile.ZipInfo) -> None:
    info.external_attr = (stat.S_IFCHR | 0o666) << 16


def end_record(count: int, size: int) -> bytes:
    return struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count, count, size, 0, 0)


WHOLE = archive()
HOSTILE = {
    "nothing": b"",
    "text": b"hello",
    "cut": WHOLE[:-5],
    "head gone": WHOLE[40:],
    "climbs": archive(("../evil", "x")),
    "climbs inside": archive(("a/../../evil", "x")),
    "absolute": archive(("/etc/evil", "x")),
    "a dot": archive(("./evil", "x")),
    "empty part": archive(("a//evil", "x")),
    "a link": archive(("evil", "/etc/passwd"), change=as_link),
    "a link to a folder": archive(("evil", ".."), change=as_link),
    "a device": archive(("evil", "x"), change=as_device),
    "a file in a file": archive(("executor.py/evil", "x")),
    "twins": archive(("A.txt", "x"), ("a.txt", "y")),
    ".git to others": archive((".GIT ./config", "x")),
    "control": archive(("a\nb", "x")),
    "long": archive(("x" * 300, "x")),
    "deep": archive(("/".join("a" * 300), "x")),
    "encrypted": WHOLE[:6] + b"\1" + WHOLE[7:].replace(b"PK\1\2\x14\3\x14\0\0", b"PK\1\2\x14\3\x14\0\1"),
    "many": end_record(65_534, 100),
    "a list without end": end_record(5, 0xFFFFFFF0),
    "zip64": b"PK\6\7" + bytes(16) + end_record(1, 100),
    "flipped": WHOLE[:60] + bytes([WHOLE[60] ^ 255]) + WHOLE[61:],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(client: Client, registry: Registry, name: str) -> None:
    before = read_tree(registry.root.parent)
    reply = client.push_zip("Hello", HOSTILE[name])
    assert reply.refusal in ((400, 40001), (413, 41301))
    assert read_tree(registry.root.parent) == before


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_all_faults_of_an_archive_are_told_at_once(client: Client) -> None:
    told = client.push_zip("Hello", archive(("../one", "x"), ("/two", "x"), ("executor.py", "x"))).json["message"]
    assert all(each in told for each in ("one", "two", "executor.py is there 2 times"))


def test_long_names_and_forged_counts_cost_no_memory_and_no_time(client: Client) -> None:
    import resource

    deep = archive(*((f"{number}{'/a' * 30_000}", "") for number in range(40)))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zipping:
        for number in range(20_000):
            zipping.writestr(f"f{number}", "")
    many = out.getvalue()
    forged = many[:-14] + struct.pack("<HH", 1, 1) + many[-10:]
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    assert client.push_zip("Hello", deep).refusal
    assert client.push_zip("Hello", many).refusal == (413, 41301)
    assert client.push_zip("Hello", forged).refusal == (413, 41301)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB
    assert time.process_time() - begun < 5


def test_a_bomb_ends_where_it_is_said(client: Client, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lhub.archive, "MOST_BYTES", 1 << 20)
    bomb = archive(("bomb", b"\0" * (2 << 20)))
    assert client.push_zip("Hello", bomb).refusal == (413, 41301)
    lying = bomb.replace(struct.pack("<I", 2 << 20), struct.pack("<I", 10))
    assert client.push_zip("Hello", lying).refusal[0] in (400, 413)
    monkeypatch.setattr(lhub.archive, "MOST_FILES", 5)
    assert client.push_zip("Hello", archive(*((f"f{n}", "x") for n in range(4)))).refusal == (413, 41301)
    assert registry.list() == []


def test_an_archive_that_is_too_long_is_not_taken(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lhub.gateway.executors.MOST_ZIPPED", 100)
    assert client.push("Hello", HELLO).refusal == (413, 41301)


# forms that are none


def part(name: str, value: str, filename: str | None = None) -> bytes:
    return multipart([(name, filename, value.encode()) if filename is not None else (name, value)])


CUT = multipart([("file", "f", b"x" * 1000), ("name", "f")])
FORMS = {
    "empty": b"",
    "no end": CUT[: -len(BOUNDARY) - 6],
    "half a file": CUT[:500],
    "another boundary": CUT.replace(BOUNDARY.encode(), b"other"),
    "no name": CUT.replace(b' name="file";', b""),
    "no disposition": CUT.replace(b"Content-Disposition: ", b"X: "),
    "two files": multipart([("file", "a", b"x"), ("file", "b", b"y"), ("name", "f")]),
    "another file": multipart([("payload", "a", b"x"), ("name", "f")]),
    "no file": multipart([("name", "f")]),
    "the file is a field": multipart([("file", "x"), ("name", "f")]),
    "a field without end": multipart([("name", "f" * (2 << 20)), ("file", "a", b"x")]),
    "many fields": multipart([*((f"n{n}", "x") for n in range(1100)), ("file", "a", b"x")]),
    "not UTF-8": multipart([("name", b"\xff\xfe"), ("file", "a", b"x")]),
    "a name twice": multipart([("name", "f"), ("name", "g"), ("file", "a", b"x")]),
    "a long header": CUT.replace(b"name=", b"x" * (2 << 20) + b"; name=", 1),
    "a header without end": b"--" + BOUNDARY.encode() + b"\r\n" + b"a" * 10_000,
    "public is neither": multipart([("public", "maybe"), ("file", "a", b"x"), ("name", "f")]),
}


@pytest.mark.parametrize("method", ["artifact.upload", "executor.push"])
@pytest.mark.parametrize("name", FORMS)
def test_a_form_that_is_none_is_refused_and_leaves_nothing(
    client: Client, registry: Registry, method: str, name: str
) -> None:
    before = read_tree(registry.root)
    assert client.call(method, FORMS[name], FORM).refusal
    assert read_tree(registry.root) == before
    assert inboxes(registry) == []


def inboxes(registry: Registry) -> list[str]:
    return [path.name for path in registry.root.glob("*/.inbox.*")]


def test_a_client_that_hangs_up_in_the_middle_leaves_nothing(client: Client, registry: Registry) -> None:
    head = (
        f"{post(client, 'artifact.upload')}Host: 127.0.0.1\r\nAuthorization: token {client.token}\r\n"
        f"Content-Type: {FORM}\r\nContent-Length: 10000000\r\n\r\n"
    )
    body = multipart([("file", "f", b"x" * 3_000_000)])[:2_500_000]
    said(client.base, head.encode() + body, then=0.2)
    deadline = time.monotonic() + 20
    while inboxes(registry) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (inboxes(registry), registry.list()) == ([], [])
    assert client.upload("alice/x", ARRAY).data


def slowly(client: Client, method: str, token: str | None) -> socket.socket:
    """Somebody who says that a body comes, and sends a byte of it."""
    parts = urlsplit(client.base)
    known = f"Authorization: token {token}\r\n" if token else ""
    head = f"{post(client, method)}Host: 127.0.0.1\r\n{known}Content-Type: {FORM}\r\nContent-Length: 1000\r\n\r\n-"
    connection = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20)
    connection.sendall(head.encode())
    return connection


def test_who_sends_nothing_keeps_nobody_waiting(client: Client) -> None:
    with ExitStack() as stack:
        for method in ("user.identity.whoami", "executor.push", "artifact.upload"):
            for _ in range(100):
                stack.callback(slowly(client, method, None).close)
        assert client.call("user.identity.whoami").code == 200
        assert client.upload("alice/x", ARRAY).code == 200


def test_who_stops_sending_is_told_so_after_a_while(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lhub.gateway.bodies._PATIENCE", 0.1)
    for method, token in (("user.identity.whoami", None), ("artifact.upload", client.token)):
        with slowly(client, method, token) as connection:
            answer = b""
            while piece := connection.recv(65_536):
                answer += piece
                if b"}" in piece:
                    break
        assert (answer.split()[1], b'"status": 40003' in answer) == (b"400", True)


def test_two_pushes_of_one_tag_at_once_are_one_after_the_other(client: Client, registry: Registry) -> None:
    replies: list[Any] = []
    threads = [
        threading.Thread(target=lambda n=n: replies.append(client.push("Hello", HELLO | {"n.txt": str(n)}, tags="v1")))
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    versions = {reply.lines[-1]["payload"]["commit"]["id"] for reply in replies}
    assert len(versions) == 6
    assert registry.show("alice/Hello:v1").version in versions
    assert registry.verify().ok


def test_a_first_array_is_pushed_by_many_at_once(client: Client, registry: Registry) -> None:
    codes: list[int] = []
    threads = [
        threading.Thread(target=lambda data=data: codes.append(client.upload("alice/x", data).code))
        for data in (ARRAY, OTHER) * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert codes == [200] * 6
    assert client.fetch("alice/x") in (ARRAY, OTHER)
    assert inboxes(registry) == []


def test_a_full_disk_is_told_and_leaves_nothing(registry: Registry) -> None:
    class Full(Pen):
        def step(self, verb: str, path: str) -> None:
            if verb == "write_pieces":
                raise OSError(28, "No space left on device", path)

    with gateway(as_caller(registry, None, pen=Full()), sessions := Sessions()) as base:
        client = Client(base=base, token=sessions.issue("alice"))
        assert client.upload("alice/x", ARRAY).refusal == (413, 41302)
    assert (inboxes(registry), registry.list()) == ([], [])


@pytest.mark.parametrize(("number", "refusal"), [(30, (403, 40301)), (13, (403, 40301)), (122, (413, 41302))])
def test_a_registry_that_takes_no_writes_is_no_fault_of_ours(
    registry: Registry, number: int, refusal: tuple[int, int]
) -> None:
    class Shut(Pen):
        def step(self, verb: str, path: str) -> None:
            raise OSError(number, os.strerror(number), path)

    with gateway(as_caller(registry, None, pen=Shut()), sessions := Sessions()) as base:
        client = Client(base=base, token=sessions.issue("alice"))
        for reply in (client.upload("alice/x", ARRAY), client.push("X", HELLO), client.form("user.pat.create")):
            assert reply.refusal == refusal


def test_a_fault_of_our_own_is_an_envelope_too(
    client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("s3cr3t")

    monkeypatch.setattr(Registry, "tokens", broken)
    reply = client.call("user.pat.list")
    assert (reply.code, reply.json["status"], b"s3cr3t" in reply.body) == (500, 50001, False)
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_the_bytes_that_were_sent_are_those_that_lie_there(client: Client, registry: Registry) -> None:
    data = os.urandom(3_000_000)
    artifact(client, data, name="noise")
    (file,) = Path(registry.path("alice/noise")).iterdir()
    assert hashlib.sha256(file.read_bytes()).digest() == hashlib.sha256(data).digest()
    assert registry.verify().ok
