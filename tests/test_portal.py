"""The portal, asked by HTTP: who is let in, what each page shows and hides, what each button does and refuses.

A browser looks at it in tests/test_browser.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lhub import commits
from lhub.kinds.shapes import Field, Kind
from lhub.portal import command
from lhub.portal.desk import ACTIONS, PAGES, Portal
from lhub.portal.entrance import Entrance
from lhub.portal.pictures import has_picture, histogram, media_of, numbers, picture_of, png, profile
from lhub.portal.readme import rendered
from lhub.portal.visit import Remembered
from lhub.registry import Registry
from tests.arrays import SAVED, array
from tests.conftest import Shell, as_caller, by_hand, snapshot, write_tree
from tests.portals import EVIL, Person, Seen, close_portals, forms_of, portal, push_hostile, push_items, push_pattern
from tests.test_builds import detached, wait_until, waiting
from tests.test_crowds import become, needs_root, together

HELLO = "/r/alice/Hello"


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_portals()


@pytest.fixture
def door(registry: Registry) -> Iterator[tuple[Portal, Person]]:
    """Alice's portal, and somebody before it."""
    with portal(registry) as (made, base):
        yield made, Person(base=base)


@pytest.fixture
def outside(door: tuple[Portal, Person]) -> Person:
    return door[1]


@pytest.fixture
def link(door: tuple[Portal, Person]) -> str:
    return door[0].way_in


@pytest.fixture
def alice(outside: Person, link: str) -> Person:
    """Alice, who has come in."""
    outside.enter(link)
    return outside


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pushed` is a copy of, which takes a tenth of the time."""
    return push_pattern(tmp_path_factory.mktemp("pattern"))


@pytest.fixture
def pushed(registry: Registry, pattern: Path) -> Registry:
    """alice/Hello with three versions: v1 (protected), v2, latest; bob/Open, and bob/Hidden, which is private."""
    shutil.rmtree(registry.root)
    shutil.copytree(pattern, registry.root, symlinks=True)
    for link in (path for path in registry.root.rglob("*") if path.is_symlink()):
        when = (pattern / link.relative_to(registry.root)).lstat().st_mtime_ns
        os.utime(link, ns=(when, when), follow_symlinks=False)
    return registry


def state(registry: Registry) -> Any:
    """All of a registry but who held a lock last."""
    return {path: held for path, held in snapshot(Path(registry.root)).items() if not path.endswith("lock")}


# the way in


def test_the_link_opens_once_and_lets_in(outside: Person, link: str) -> None:
    got = outside.enter(link)
    assert got.seen.all("meta", http_equiv="refresh")[0].attributes["content"] == "0; url=/"
    assert "Recent" in outside.get("/").text
    stranger = Person(base=outside.base)
    assert "works once" in stranger.get(link, 401).text
    assert outside.ask("GET", link).headers["location"] == "/"  # who is in may load it again


def test_the_cookie_is_the_browser_s_alone_and_of_this_site_only(outside: Person, link: str) -> None:
    said = outside.get(link).headers["set-cookie"]
    name, *flags = said.split("; ")
    assert re.fullmatch(r"lhub-portal-\d+=[0-9a-f]{64}", name)
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(flags)
    assert not any(flag.startswith("Domain") for flag in flags)


@pytest.mark.parametrize(
    "asked",
    [
        {"verb": "HEAD"},
        {"verb": "POST", "Origin": "http://127.0.0.1"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:80"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec_Purpose": "prefetch;prerender"},
        {"Purpose": "prefetch"},
        {"path": "/enter/wrong"},
        {"path": "/enter/" + 64 * "0"},
        {"path": "/enter/%00%ff"},
    ],
    ids=str,
)
def test_a_refused_request_does_not_use_the_link_up(outside: Person, link: str, asked: dict[str, str]) -> None:
    headers = {key: value for key, value in asked.items() if key not in ("verb", "path")}
    got = outside.ask(asked.get("verb", "GET"), asked.get("path", link), **headers)
    assert (got.code in (401, 403), "set-cookie" in got.headers) == (True, False)
    outside.enter(link)
    outside.get("/")


@needs_root
def test_another_user_of_the_machine_gets_nothing_though_he_knows_the_link(outside: Person, link: str) -> None:
    """Neither who waits for an answer nor who has gone when it is looked whose his connection was."""
    asked = f"GET {link} HTTP/1.1\r\nHost: {outside.host}\r\n\r\n".encode()
    parts = urlsplit(outside.base)
    where = parts.hostname or "", parts.port or 0

    def steal() -> None:
        become(20001)
        with socket.create_connection(where) as connection, suppress(OSError):
            connection.sendall(asked)
            assert connection.recv(100) == b""
        idle = [socket.create_connection(where) for _ in range(60)]  # so that the server is late
        for _ in range(60):
            with socket.create_connection(where) as connection, suppress(OSError):
                connection.sendall(asked)
        assert len(idle) == 60

    assert together(steal) == [0]
    outside.enter(link)


@pytest.mark.slow
@needs_root
def test_a_crowd_of_strangers_who_say_nothing_keeps_nobody_out(outside: Person, link: str) -> None:
    outside.enter(link)
    parts = urlsplit(outside.base)

    def crowd() -> None:
        become(20001)
        held = [socket.create_connection((parts.hostname or "", parts.port or 0)) for _ in range(300)]
        time.sleep(0.2)
        for each in held:  # all were shut
            each.settimeout(5)
            with suppress(ConnectionError):
                assert each.recv(1) == b""

    assert together(crowd) == [0]
    outside.get("/")


ANYWHERE = [*PAGES, *ACTIONS, "/nonsense", "/r/alice", "/static/../app.py"]


def filled(path: str) -> str:
    """An address of a page."""
    parts = {"space": "alice", "name": "Hello", "task": 24 * "0", "document": "0", "field": "0", "path:path": "a/b"}
    return re.sub(r"\{([^}]*)\}", lambda found: parts[found[1]], path)


@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_who_is_not_in_sees_nothing(outside: Person, pushed: Registry, verb: str) -> None:
    before = state(pushed)
    outside.cookie = f"lhub-portal-{urlsplit(outside.base).port}={64 * '0'}"
    for path in ANYWHERE:
        got = outside.ask(verb, filled(path), b"x=1" if verb == "POST" else b"", Origin=outside.base)
        assert got.code == 401, path
        assert not any(word in got.html for word in ("alice", "Hello", str(pushed.root)))
    assert state(pushed) == before


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "localhost.evil"])
def test_a_page_that_was_led_here_by_dns_gets_no_answer(alice: Person, pushed: Registry, host: str) -> None:
    got = alice.get("/", 403, Host=host)
    assert "Hello" not in got.html


def test_it_answers_to_both_names_of_the_loopback(alice: Person) -> None:
    port = urlsplit(alice.base).port
    alice.get("/", Host=f"localhost:{port}")
    alice.get("/", Host="127.0.0.1:1")  # as through `ssh -L`


# forms


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(ACTIONS))
@pytest.mark.parametrize(
    "forged",
    [
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": None},
        {"form_token": "0" * 64},
        {"form_token": None},
        {"kind": "text/plain"},
        {"kind": "application/json"},
    ],
    ids=str,
)
def test_a_form_of_another_page_changes_nothing(
    alice: Person, door: tuple[Portal, Person], pushed: Registry, path: str, forged: dict[str, str | None]
) -> None:
    before = state(pushed)
    fields = {"tag": "v2", "visibility": "private", "typed": "alice/Hello", "unprotect": "v1", "name": "laptop"}
    fields |= {"version": pushed.links("alice/Hello").tags["v2"].version, "form_token": door[0].entrance.form_token}
    if "form_token" in forged:
        fields.pop("form_token")
        fields |= {"form_token": forged["form_token"]} if forged["form_token"] else {}
    body = "&".join(f"{key}={quote(value, safe='')}" for key, value in fields.items()).encode()
    kind = forged.get("kind") or "application/x-www-form-urlencoded"
    origin = forged.get("Origin", alice.base)
    headers = {"Content_Type": kind} | ({"Origin": origin} if origin else {})
    got = alice.ask("POST", filled(path), body, **headers)
    assert got.code in (400, 403), got.text
    assert state(pushed) == before


def test_a_form_that_is_too_long_or_empty_is_refused(alice: Person) -> None:
    assert alice.send("/tokens/create", {"name": "x" * 70_000}).code == 413
    assert alice.ask("POST", "/tokens/create", Origin=alice.base).code == 403


POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/", 200),
        ("/static/portal.css", 200),
        ("/nothing", 404),
        ("/r/alice/None", 404),
        (HELLO, 200),
        ("/enter/x", 303),
    ],
)
def test_every_answer_carries_what_keeps_others_out(alice: Person, pushed: Registry, path: str, code: int) -> None:
    headers = alice.get(path, code).headers
    assert headers["content-security-policy"] == POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cache-control"] in ("no-store", "no-cache")
    assert "server" not in headers


# the tabs


def names(seen: Seen) -> list[str]:
    """The resources that a page lists."""
    return [each.text for each in seen.elements if each.attributes.get("class") == "name"]


def test_recent_tells_the_newest_pushes_of_all_that_one_may_see(alice: Person, pushed: Registry) -> None:
    page = alice.get("/")
    assert names(page.seen) == ["bob/Open", *["alice/Hello"] * 3]
    assert "bob pushed bob/Open" in page.text
    assert re.search(
        "alice pushed alice/Hello.*latest.*message 2.*v2.*message 1.*v1 [(]protected[)].*message 0", page.text
    )
    assert "Hidden" not in page.html
    assert "a hidden message" not in page.html


def test_recent_does_not_tell_what_was_no_push(alice: Person, pushed: Registry) -> None:
    pushed.tag("alice/Hello:v1", "more")
    assert len(names(alice.get("/").seen)) == 4


def test_executors_and_storage_are_one_s_own(alice: Person, pushed: Registry, tmp_path: Path) -> None:
    pushed.push(write_tree(tmp_path / "w", {"a": "12345"}), "alice/weights", private=True)
    (tmp_path / "docs.bin").write_bytes(array(b"one", b"two"))
    pushed.push(tmp_path / "docs.bin", "alice/docs")
    page = alice.get("/executors")
    assert names(page.seen) == ["alice/Hello"]
    assert re.search(r"1 resource .*alice/Hello executor public .*latest.*v1 [(]protected[)].*v2.* just now", page.text)
    page = alice.get("/storage")
    assert names(page.seen) == ["alice/docs", "alice/weights"]
    assert re.search(
        r"alice/docs docarray public latest [\d.]+ B 2 documents .*alice/weights files private latest 5 B", page.text
    )


def test_a_team_s_resources_are_one_s_own(
    registry: Registry, alice: Person, make_executor: Callable[..., Path]
) -> None:
    registry.create_namespace("team", group=str(os.getgid()))
    registry.push(make_executor("Shared"), "team/Shared")
    assert names(alice.get("/executors").seen) == ["team/Shared"]


def test_a_filter_finds_names_tags_and_what_is_private(alice: Person, registry: Registry, tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "w", {"a": "1"})
    registry.push(folder, "alice/one", tags=["v1"])
    registry.push(folder, "alice/two", tags=["v2"], private=True)
    for typed, found in [
        ("one", ["one"]),
        ("V2", ["two"]),
        ("private", ["two"]),
        ("alice v", ["one", "two"]),
        ("x", []),
    ]:
        page = alice.get(f"/storage?q={quote(typed)}")
        assert sorted(names(page.seen)) == [f"alice/{name}" for name in found]
        assert page.seen.all("input", id="q")[0].attributes["value"] == typed.lower()
    assert "Nothing of 2 resources matches x" in alice.get("/storage?q=x").text


def test_a_long_list_comes_in_pages(alice: Person, registry: Registry, tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "w", {"a": "1"})
    registry.push(folder, "alice/x0")
    first = registry.root / "alice/x0"
    for number_ in range(1, 120):
        subprocess.run(["cp", "-a", first, f"{registry.root}/alice/x{number_}"], check=True)
    found = [names(alice.get(f"/storage?page={page}").seen) for page in (1, 2, 3)]
    assert [len(each) for each in found] == [50, 50, 20]
    assert len({name for each in found for name in each}) == 120
    assert "page 3 of 3" in alice.get("/storage?page=99").text
    assert alice.get("/storage?q=x").seen.all("a", rel="next")[0].attributes["href"] == "/storage?q=x&page=2"
    assert names(alice.get("/?page=2").seen)


def test_what_is_typed_into_a_filter_lists_nothing_again(
    alice: Person, pushed: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    list_ = Registry.list
    monkeypatch.setattr(Registry, "list", lambda self, *names: asked.append(names) or list_(self, *names))
    for letters in range(1, len("hello") + 1):
        assert names(alice.get(f"/executors?q={'hello'[:letters]}").seen) == ["alice/Hello"]
    assert len(asked) == 1


def test_a_search_looks_into_descriptions_and_files(alice: Person, pushed: Registry) -> None:
    page = alice.get("/search?q=notes.txt")
    assert names(page.seen) == ["alice/Hello"]
    assert "file: notes.txt" in page.text
    assert "Nothing that you may see has hidden" in alice.get("/search?q=hidden").text


@pytest.mark.parametrize("path", ["/", "/executors", "/storage", "/tokens"])
def test_an_empty_registry_says_what_to_do_next(alice: Person, path: str) -> None:
    page = alice.get(path)
    lines = [each.text for each in page.seen.all("pre")]
    assert lines or path == "/tokens"
    assert all("lhub" in line for line in lines)


def test_who_is_not_logged_in_is_told_how(registry: Registry, pushed: Registry) -> None:
    with portal(as_caller(registry, None)) as (made, base):
        nobody = Person(base=base)
        nobody.enter(made.way_in)
        assert names(nobody.get("/").seen) == ["bob/Open", *["alice/Hello"] * 3]
        assert "Nobody is logged in" in nobody.get("/executors").text
        assert "nobody is logged in" in nobody.get("/tokens").text
        assert not forms_of(nobody.get("/tokens").seen)
        assert not forms_of(nobody.get(HELLO).seen)
        assert "Manage" not in nobody.get(HELLO).text


def test_where_there_is_no_registry_yet_it_says_how_to_begin(tmp_path: Path, shell: Shell) -> None:
    with portal(Registry(tmp_path / "none"), rooted=f" --root {tmp_path}/none") as (made, base):
        nobody = Person(base=base)
        nobody.enter(made.way_in)
        for path in ("/", "/executors", "/storage"):
            page = nobody.get(path)
            assert "There is no registry yet" in page.text
        begin = page.seen.all("pre")[0].text
        shell(*begin.split()[1:], check=True)
        assert "Nothing was pushed here yet" in nobody.get("/").text


def test_what_was_changed_here_is_seen_at_once(alice: Person, pushed: Registry) -> None:
    assert names(alice.get("/executors").seen) == ["alice/Hello"]
    alice.press(f"{HELLO}/manage", f"{HELLO}/delete", typed="alice/Hello", unprotect="v1")
    assert names(alice.get("/executors").seen) == []


def test_a_list_is_remembered_while_one_types_and_no_longer() -> None:
    now, asked = [0.0], []
    remembered = Remembered(clock=lambda: now[0])
    for moment, count in ((0.0, 1), (4.9, 1), (5.0, 2), (20.0, 3)):
        now[0] = moment
        remembered.lines(lambda: asked.append(1) or [])  # type: ignore[func-returns-value]
        assert len(asked) == count
    remembered.forget()
    remembered.lines(lambda: asked.append(1) or [])  # type: ignore[func-returns-value]
    assert len(asked) == 4
    now[0] = 40.0
    remembered.lines(lambda: remembered.forget() or [])  # type: ignore[func-returns-value]  # changed meanwhile
    remembered.lines(lambda: asked.append(1) or [])  # type: ignore[func-returns-value]
    assert len(asked) == 5


# what others hide


HIDDEN = ["", "/history", "/files", "/files/config.yml", "/raw/config.yml", "/builds", "/manage", "/documents"]


def test_a_private_resource_of_another_s_is_absent(alice: Person, pushed: Registry) -> None:
    for part in HIDDEN:
        hidden, absent = alice.get(f"/r/bob/Hidden{part}", 404), alice.get(f"/r/bob/Absent{part}", 404)
        assert hidden.html.replace("Hidden", "Absent") == absent.html


def test_it_is_in_no_list_search_or_count(alice: Person, pushed: Registry) -> None:
    page = alice.get("/n/bob")
    assert names(page.seen) == ["bob/Open"]
    assert "1 resource" in page.text
    for path, got in alice.walk():
        assert not re.search(b"Hidden|a hidden message", got.body), path


def test_what_becomes_private_is_gone_at_once(alice: Person, pushed: Registry) -> None:
    assert "bob/Open" in names(alice.get("/n/bob").seen)
    as_caller(pushed, "bob").visibility("bob/Open", "private")
    for path in ("/n/bob", "/", "/search?q=Open"):
        assert "bob/Open" not in names(alice.get(path).seen)
    alice.get("/r/bob/Open", 404)


def test_a_task_of_another_s_private_resource_is_absent(alice: Person, pushed: Registry) -> None:
    (task,) = os.listdir(pushed.root / "bob/Hidden/.lhub/builds")
    for name in ("alice/Hello", "bob/Open", "bob/Hidden"):
        assert "no build task" in alice.get(f"/r/{name}/builds/{task}", 404).text or name == "bob/Hidden"


# a resource


def test_a_page_tells_what_an_executor_is_and_how_it_is_used(alice: Person, pushed: Registry) -> None:
    page = alice.get(HELLO)
    version = pushed.links("alice/Hello").head
    folder = pushed.path("alice/Hello")
    assert [each.text for each in page.seen.all("h2")][:2] == ["Use it", "Read me"]
    assert "turn 2" in page.text
    for line in (
        "lhub pull jinaai://alice/Hello",
        'Flow().add(uses=lhub.uses("jinaai://alice/Hello"))',
        f"jtype: Flow\nexecutors:\n- uses: {folder}/config.yml",
        'Flow().add(uses="jinaai://alice/Hello")',
        "lhub pull jinaai+docker://alice/Hello",
    ):
        assert line in [each.text for each in page.seen.all("pre")]
    assert version in page.text
    assert re.search(r"Tags latest \w{12} just now v2 .*v1 [(]protected[)]", page.text)


def test_a_page_of_a_tag_or_a_version_is_of_that(alice: Person, pushed: Registry) -> None:
    old = pushed.links("alice/Hello").tags["v1"].version
    for suffix, typed in ((":v1", ":v1"), (f"@{old[:12]}", f"@{old[:12]}")):
        page = alice.get(f"{HELLO}?at={quote(suffix)}")
        assert "turn 0" in page.text
        assert f"lhub pull jinaai://alice/Hello{typed}" in page.text
        assert "turn 0" in alice.get(f"{HELLO}/files/notes.txt?at={quote(suffix)}").text
    chosen = [each.text for each in alice.get(f"{HELLO}?at=:v1").seen.all("option") if "selected" in each.attributes]
    assert chosen == [f"v1 ({old[:12]}) protected"]


def test_the_lines_of_a_page_are_such_as_work(alice: Person, pushed: Registry, shell: Shell) -> None:
    page = alice.get(f"{HELLO}?at=:v1")
    pull, python, yaml, *_ = [each.text for each in page.seen.all("pre")]
    shell(*pull.split()[1:], "--root", str(pushed.root), check=True)
    assert (shell.cwd / "Hello/config.yml").is_file()
    reference = re.findall(r'"(.*)"', python)[0]
    assert pushed.uses(reference) == yaml.rpartition(" ")[2]


def test_a_resource_without_a_tag_says_so(alice: Person, pushed: Registry) -> None:
    pushed.untag("alice/Hello", "latest", "v2")
    pushed.delete("alice/Hello:v1", unprotect=["v1"])
    assert "No tag names a version" in alice.get(HELLO).text
    assert "message 0" in alice.get(f"{HELLO}/history").text
    assert alice.get(f"{HELLO}/files", 404)
    assert alice.get(f"{HELLO}/manage")


@pytest.mark.parametrize("key", [True, False])
def test_what_is_sealed_is_shown_to_who_has_the_key_and_told_of_to_who_has_not(
    registry: Registry, make_executor: Callable[..., Path], key: bool
) -> None:
    secret = registry.push(make_executor("Shut"), "Shut", seal=True, tags=["v1"]).secret
    mine = Registry(registry.root, namespace="alice", secret=secret if key else None, timeout=20)
    with portal(mine) as (made, base):
        alice = Person(base=base)
        alice.enter(made.way_in)
        assert "alice/Shut" in alice.get("/executors").text
        code = 200 if key else 403
        pages = [alice.get(f"/r/alice/Shut{page}", code).text for page in ("", "/files", "/files/executor.py")]
        assert ["class Shut" in text for text in pages] == [False, False, key]
        assert [("is sealed, and nothing here opens it" in text) != key for text in pages] == [True] * 3
        assert "v1" in alice.get("/r/alice/Shut/history").text
        assert "Shut" in alice.get("/r/alice/Shut/manage").text


def test_one_without_a_namespace_has_a_page(
    alice: Person, registry: Registry, make_executor: Callable[..., Path]
) -> None:
    made = as_caller(registry, None).push(make_executor("Lone"), public=True)
    page = alice.get(f"/r/_/{made.name}")
    assert f"lhub pull jinahub://{made.name}" in page.text
    assert str(made.secret) not in "".join(got.body.decode(errors="replace") for _, got in alice.walk())
    assert "Manage" not in page.text


def test_the_history_tells_each_change_and_compares_any_two(alice: Person, pushed: Registry) -> None:
    pushed.tag("alice/Hello:v2", "stable", protect=True)
    pushed.visibility("alice/Hello", "private")
    page = alice.get(f"{HELLO}/history")
    assert re.search(
        "alice made it private .*alice protected stable .*alice pushed .*message 2.*message 1.*message 0", page.text
    )
    sides = [
        each for each in page.seen.all("option") if each.within[-2:] == ("span", "select") or "select" in each.within
    ]
    left, right = (sides[n * 3 + len(sides) - 6 : n * 3 + len(sides) - 3] for n in (0, 1))
    assert ["selected" in each.attributes for each in (*left, *right)] == [False, True, False, True, False, False]
    assert [each.text.rpartition(" ")[2] for each in left] == ["2", "1", "0"]  # the messages
    at = [each.attributes["value"] for each in left]
    found = alice.get(f"{HELLO}/diff?left={quote(at[2])}&right={quote(at[0])}")
    assert "changed notes.txt" in found.text
    assert {"-turn 0\n", "+turn 2\n"} <= {each.text for each in found.seen.all("span")}
    assert "There is no difference" in alice.get(f"{HELLO}/diff?left=:v1&right=:v1").text
    links = [each.attributes["href"] for each in page.seen.all("a") if each.text.startswith("what changed")]
    assert len(links) == 2
    assert "+turn 2" in alice.get(links[0]).text
    assert "+turn 1" in alice.get(links[1]).text


@pytest.mark.parametrize(
    "side", ["", ":", "x", "./fixtures", "/etc", "@zz", ":../x", "alice/Hello", "@" + "0" * 12, ":none"]
)
def test_a_diff_is_of_two_versions_of_the_resource_and_of_nothing_else(
    alice: Person, pushed: Registry, side: str
) -> None:
    assert alice.ask("GET", f"{HELLO}/diff?left={quote(side)}&right=:v1").code in (400, 404)


def test_files_are_listed_read_and_saved(alice: Person, registry: Registry, tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "a.txt": "one\ntwo <b>\n",
        "sub/deep/b.py": "pass\n",
        "logo.png": png(2, 2, 3, bytes(12)),
        "model.bin": b"\0\1\2" * 100,
        "empty": b"",
        "latin.txt": "é".encode("latin-1"),
        "page.html": "<script>alert(1)</script>",
        "evil.svg": "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    }
    registry.push(write_tree(tmp_path / "w", files), "alice/w")
    at = "/r/alice/w"
    page = alice.get(f"{at}/files")
    shown = [each.text for each in page.seen.all("a") if each.attributes.get("class", "").startswith("name")]
    assert shown == ["sub/", "a.txt", "empty", "evil.svg", "latin.txt", "logo.png", "model.bin", "page.html"]
    assert [each.text for each in alice.get(f"{at}/files/a.txt").seen.all("span", class_="l")] == ["one\n", "two <b>\n"]
    assert "deep/" in alice.get(f"{at}/files/sub").text
    assert "pass" in alice.get(f"{at}/files/sub/deep/b.py").text
    assert "This is no text" in alice.get(f"{at}/files/model.bin").text
    assert "This is no text" in alice.get(f"{at}/files/latin.txt").text
    assert "This file is empty" in alice.get(f"{at}/files/empty").text
    assert alice.get(f"{at}/files/logo.png").seen.all("img", src=f"{at}/raw/logo.png")
    for path, content in files.items():
        got = alice.get(f"{at}/raw/{path}")
        assert got.body == (content if isinstance(content, bytes) else content.encode())
        assert got.headers["content-security-policy"] == "default-src 'none'; sandbox; frame-ancestors 'none'"
        assert got.headers["x-content-type-options"] == "nosniff"
        how = "inline" if path == "logo.png" else "attachment"
        assert got.headers["content-disposition"] == f"{how}; filename*=UTF-8''{path.rpartition('/')[2]}"
        assert got.headers["content-type"] == ("image/png" if path == "logo.png" else "application/octet-stream")
    alice.get(f"{at}/files/none", 404)
    alice.get(f"{at}/raw/none", 404)
    alice.get(f"{at}/raw/../manifest.yaml", 404)


def test_a_long_text_is_shown_as_far_as_it_is_worth(alice: Person, registry: Registry, tmp_path: Path) -> None:
    registry.push(write_tree(tmp_path / "w", {"long.txt": "é" * 150_000, "huge.txt": "x" * (5 << 20)}), "alice/w")
    page = alice.get("/r/alice/w/files/long.txt")
    assert "This is its beginning" in page.text
    assert len(page.body) < 300_000
    assert "This is its beginning" in alice.get("/r/alice/w/files/huge.txt").text
    part = alice.ask("GET", "/r/alice/w/raw/huge.txt", Range="bytes=10-19")
    assert (part.code, part.body) == (206, b"x" * 10)


def test_a_folder_of_many_files_comes_in_pages(alice: Person, registry: Registry, tmp_path: Path) -> None:
    registry.push(write_tree(tmp_path / "w", {f"d/{n:03}": "" for n in range(120)}), "alice/w")
    assert "page 1 of 3" in alice.get("/r/alice/w/files/d").text
    assert "119" in alice.get("/r/alice/w/files/d?page=3").text


def test_what_is_not_what_was_published_is_not_shown(alice: Person, registry: Registry, tmp_path: Path) -> None:
    registry.push(write_tree(tmp_path / "w", {"a.txt": "one", "b.bin": b"\0\1"}), "alice/w")
    folder = Path(registry.path("alice/w"))
    with by_hand(folder):
        (folder / "a.txt").write_text("0ne")
        (folder / "b.bin").write_bytes(b"\0\2")
    assert "not what was published" in alice.get("/r/alice/w/files/a.txt", 422).text
    assert "not what was published" in alice.get("/r/alice/w/raw/b.bin", 422).text


# a README


def drawn(source: str) -> str:
    return str(rendered(source, lambda path, raw: f"/{'raw' if raw else 'files'}/{path}"))


@pytest.mark.parametrize(
    ("source", "html"),
    [
        ("# The *End*!", '<h2 id="readme-the-end">The <em>End</em>!</h2>\n'),
        ("###### Deep", '<h6 id="readme-deep">Deep</h6>\n'),
        ("**b** `c` ~~s~~", "<p><strong>b</strong> <code>c</code> <s>s</s></p>\n"),
        ("[a](b.md)", '<p><a href="/files/b.md">a</a></p>\n'),
        ("[a](./sub/../b%20c.md#x)", '<p><a href="/files/b c.md">a</a></p>\n'),
        ("[a](https://x.y)", '<p><a href="https://x.y" rel="noopener noreferrer nofollow">a</a></p>\n'),
        ("<https://x.y>", '<p><a href="https://x.y" rel="noopener noreferrer nofollow">https://x.y</a></p>\n'),
        ("![p](img/logo.png)", '<p><img src="/raw/img/logo.png" alt="p"></p>\n'),
        (
            "![p](https://x.y/z.png)",
            '<p><a href="https://x.y/z.png" rel="noopener noreferrer nofollow" '
            'title="a picture elsewhere, which is not loaded">p</a></p>\n',
        ),
        ("[a](#The%20End)", '<p><a href="#readme-the-end">a</a></p>\n'),
        (
            "|a|b|\n|-|-:|\n|1|2|",
            '<table>\n<thead>\n<tr>\n<th>a</th>\n<th class="right">b</th>\n</tr>\n</thead>\n'
            '<tbody>\n<tr>\n<td>1</td>\n<td class="right">2</td>\n</tr>\n</tbody>\n</table>\n',
        ),
        ("<b>x</b>", "<p>&lt;b&gt;x&lt;/b&gt;</p>\n"),
        ("a <!-- b --> c", "<p>a &lt;!-- b --&gt; c</p>\n"),
    ],
)
def test_a_readme_is_rendered(source: str, html: str) -> None:
    assert drawn(source) == html


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["javascript", "JavaScript", "data", "vbscript", "file", "blob", "ftp", "java\tscript", "ws"]
)
@pytest.mark.parametrize("form", ["[x]({})", "![x]({})", "<{}>", "[x]: {}\n\n[x] ![x]", '[x](<{}> "t")'])
def test_a_readme_leads_nowhere_else(form: str, kind: str) -> None:
    seen = Seen(drawn(form.format(f"{kind}:alert(1)")))
    assert not [each for each in seen.elements if {"href", "src"} & each.attributes.keys()]


@pytest.mark.parametrize(
    "target", ["/", "//evil.example", "/tokens", "../../../tokens", "a/../../b", "..", "#x", "\\\\evil", "?x"]
)
def test_a_link_of_a_readme_does_not_leave_the_version(target: str) -> None:
    for form in ("[x]({})", "![x]({})"):
        for each in Seen(drawn(form.format(target))).elements:
            for url in (each.attributes.get("href", ""), each.attributes.get("src", "")):
                assert url.startswith(("/files/", "/raw/", "#readme-")) or not url
                assert ".." not in url


@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    ["[" * 50_000, "![" * 1_900, "[" * 3_900, "[a](" * 3_900, "![" * 30_000,
     "*" * 100_000, "> " * 50_000, "`" * 100_000, "a**b" * 20_000, "- " * 40_000,
     "|" * 100_000, "[a](" * 30_000, "<" * 100_000, "\n" * 130_000, "&" * 100_000, "x" * 130_000, "1. " * 30_000,
     "|-|\n" * 20_000],
    ids=lambda source: source[:4],
)  # fmt: skip
def test_a_readme_that_is_meant_to_take_long_does_not(source: str) -> None:
    begun = time.process_time()
    rendered(source, lambda path, raw: path)
    assert time.process_time() - begun < 6


# arrays


def field(dtype: str, shape: tuple[int, ...], data: bytes) -> Field:
    return Field("x", Kind("ndarray", dtype, shape), "", data)


def pixels(data: bytes) -> tuple[int, int, int, bytes]:
    """What a PNG says: width, height, the sort of colour, the bytes of its pixels."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, _, colour = struct.unpack(">IIBB", data[16:26])
    at, raw = 8, b""
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0] == zlib.crc32(kind + body)
        raw += body if kind == b"IDAT" else b""
        at += 12 + size
    lines = zlib.decompress(raw)
    step = len(lines) // height
    assert all(lines[row * step] == 0 for row in range(height))
    return width, height, colour, b"".join(lines[row * step + 1 : (row + 1) * step] for row in range(height))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (field("uint8", (4, 5), bytes(range(20))), (5, 4, 0, bytes(range(20)))),
        (field("uint8", (4, 4, 3), bytes(range(48))), (4, 4, 2, bytes(range(48)))),
        (field("uint8", (4, 4, 4), bytes(range(64))), (4, 4, 6, bytes(range(64)))),
        (field("uint8", (1, 4, 5), bytes(range(20))), (5, 4, 0, bytes(range(20)))),
        (field("uint8", (3, 4, 5), bytes(range(60))), (5, 4, 2, bytes(n + c for n in range(20) for c in (0, 20, 40)))),
        (field("float32", (4, 4), struct.pack("<16f", *[0.0, 1.0] * 8)), (4, 4, 0, bytes([0, 255] * 8))),
        (field("float64", (4, 4), struct.pack("<16d", *[-1.0, 3.0] * 8)), (4, 4, 0, bytes([0, 255] * 8))),
        (field("float16", (4, 4), struct.pack("<16e", *[0.0, 0.5] * 8)), (4, 4, 0, bytes([0, 127] * 8))),
        (field("bool", (4, 4), bytes([0, 1] * 8)), (4, 4, 0, bytes([0, 255] * 8))),
        (field("float32", (4, 4), struct.pack("<16f", *[float("nan"), float("inf")] * 8)), (4, 4, 0, bytes(16))),
    ],
    ids=lambda given: str(given.kind) if isinstance(given, Field) else "",
)  # fmt: skip
def test_a_tensor_that_is_a_picture_is_drawn(given: Field, told: tuple[int, int, int, bytes]) -> None:
    made = picture_of(given)
    assert made is not None
    assert made[1] == "image/png"
    assert pixels(made[0]) == told
    assert has_picture(given)


@pytest.mark.parametrize(
    "given",
    [
        field("uint8", (3, 5), bytes(15)),
        field("uint8", (128,), bytes(128)),
        field("uint8", (4, 4), bytes(15)),
        field("uint8", (4, 4, 2), bytes(32)),
        field("uint8", (2, 4, 4, 3), bytes(96)),
        field("uint8", (9000, 4), bytes(36000)),
        field("complex64", (4, 4), bytes(128)),
        field("object", (4, 4), bytes(16)),
        Field("x", Kind("str", None, None), "", b"<svg onload=alert(1)>"),
        Field("x", Kind("str", None, None), "", b"data:image/svg+xml;base64,PHN2Zz4="),
    ],
    ids=lambda given: str(given.kind),
)
def test_what_is_no_picture_is_not(given: Field) -> None:
    assert picture_of(given) is None


def test_a_large_picture_is_made_small() -> None:
    made = picture_of(field("uint8", (1200, 600, 3), bytes(1200 * 600 * 3)))
    assert made is not None
    assert pixels(made[0])[:2] == (200, 400)


def test_bytes_and_texts_that_hold_a_picture_are_shown_as_one() -> None:
    made = png(4, 4, 1, bytes(16))
    assert picture_of(Field("b", Kind("bytes"), "", made)) == (made, "image/png")
    import base64

    url = b"data:image/png;base64," + base64.b64encode(made)
    assert picture_of(Field("u", Kind("str"), "", url)) == (made, "image/png")


def test_only_what_browsers_never_run_is_a_picture() -> None:
    heads = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff\xe0": "jpeg", b"GIF89a": "gif", b"RIFF\0\0\0\0WEBP": "webp"}
    assert all(media_of(head) == f"image/{name}" for head, name in heads.items())
    assert not any(map(media_of, (b"", b"<svg", b"<!doctype html>", b"%PDF-1.7", b"RIFF\0\0\0\0WAVE", b"\0asm")))


@given(st.lists(st.floats(width=64), max_size=40))
@example([1.7e308, -1.7e308])
@example([1.7e308, 1.7e308, 1.6e308])
@example([5e-324, -5e-324])
def test_every_number_is_drawn_within_its_box(values: list[float]) -> None:
    for drawn in (histogram("x", values), profile("x", values)):
        for x, y, width, height in drawn.bars if drawn else ():
            assert 0 <= x <= x + width <= 320.01
            assert 0 <= y <= y + height <= 80.51
    square = [*values, *[0.0] * 40][:16]
    made = picture_of(field("float64", (4, 4), struct.pack("<16d", *square)))
    assert made is not None
    assert len(pixels(made[0])[3]) == 16


def test_numbers_are_told_as_bars() -> None:
    told = histogram("price", [1.0, 1.0, 2.0, float("nan")])
    assert told is not None
    assert told.words == "price: 3 values from 1 to 2, mean 1.33333"
    assert len(told.bars) == 24
    assert histogram("x", [1.0, 1.0]) is histogram("x", []) is histogram("x", [float("nan")]) is None
    line = profile("e", [-1.0, 0.0, 1.0])
    assert line is not None
    assert line.words == "e: 3 numbers from -1 to 1"
    assert [bar[1] for bar in line.bars] == [40.0, 40.0, 0.0]
    assert len(profile("e", range(10_000)).bars) <= 128  # type: ignore[union-attr]
    assert profile("e", []) is None
    assert list(numbers(field("int16", (2,), b"\1\0\2\0\3"))) == [1, 2]


@pytest.fixture
def docs(registry: Registry, tmp_path: Path) -> Registry:
    push_items(registry, tmp_path)
    return registry


def test_an_array_is_shown_by_its_summary_its_numbers_and_its_first_documents(alice: Person, docs: Registry) -> None:
    page = alice.get("/r/alice/items/documents")
    assert re.search(r"length 20 homogeneous yes", page.text)
    assert re.search(r"embedding ndarray float32\[8\].*image ndarray uint8\[4, 4, 3\].*price float", page.text)
    assert "price: 20 values from 0 to 19, mean 9.5" in page.text
    assert len(page.seen.all("article")) == 12
    assert "item 11" in page.text
    assert "item 12" not in page.text
    (source, *more) = [each.attributes["src"] for each in page.seen.all("img") if "picture" in each.attributes["src"]]
    assert len(more) == 11
    got = alice.get(more[0])
    assert pixels(got.body) == (4, 4, 2, bytes((1 + n) % 256 for n in range(48)))
    assert (got.headers["content-type"], got.headers["x-content-type-options"]) == ("image/png", "nosniff")
    for wrong in ("99/0", "0/99", "0/0", "x/0", "-1/0", "0/" + 50 * "9"):
        alice.get(f"/r/alice/items/picture/{wrong}", 404)
    assert source.startswith("/r/alice/items/picture/0/")


def test_an_array_has_the_lines_that_load_it(alice: Person, docs: Registry, tmp_path: Path) -> None:
    lines = [each.text for each in alice.get("/r/alice/items?at=:v1").seen.all("pre")]
    assert 'docs = lhub.load("alice/items:v1")' in lines
    assert 'import lhub.docarray_store\n\ndocs = DocList[MyDoc].pull("lhub://alice/items:v1")' in lines
    (tmp_path / "old.bin").write_bytes(array(b"one"))
    docs.push(tmp_path / "old.bin", "alice/old")
    assert 'docs = DocumentArray.pull("alice/old")' in [each.text for each in alice.get("/r/alice/old").seen.all("pre")]


@pytest.mark.slow
@pytest.mark.parametrize("path", SAVED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_form_of_an_array_has_its_page(alice: Person, registry: Registry, path: Path) -> None:
    pytest.importorskip("lz4") if "lz4" in path.name else None
    registry.push(path, "alice/saved")
    page = alice.get("/r/alice/saved/documents")
    looked_into = "pickle" not in path.name
    assert bool(page.seen.all("article")) == looked_into
    assert ("would run what is in it" in page.text) != looked_into


def test_what_is_no_array_has_no_documents(alice: Person, pushed: Registry) -> None:
    assert "holds executor, not documents" in alice.get(f"{HELLO}/documents", 404).text


# builds


def test_builds_are_listed_with_their_logs(alice: Person, pushed: Registry) -> None:
    page = alice.get(f"{HELLO}/builds")
    tasks = [each.text for each in page.seen.all("code") if "th" in each.within]
    assert tasks == [each.task_id for each in pushed.builds("alice/Hello")]
    assert len(tasks) == 3
    assert page.text.count("succeeded") == 3
    told = alice.get(f"{HELLO}/builds/{tasks[0]}")
    assert re.search(r"start receive .*done receive .*succeeded push", told.text)
    assert not told.seen.all("div", data_follow="")
    alice.get(f"{HELLO}/builds/{24 * '0'}", 404)
    alice.get(f"{HELLO}/builds/x", 400)


def test_a_task_that_runs_is_live_and_can_be_cancelled(alice: Person, pushed: Registry, make_executor: Any) -> None:
    folder = make_executor("Hello", folder="again", more__txt="more")
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        stack.enter_context(waiting(pushed))
        task = detached(pushed, folder)
        at = f"{HELLO}/builds/{task}"
        page = wait_until(lambda: "start publish" in (got := alice.get(at)).text and got)
        assert page.seen.all("div", data_follow="")
        assert page.seen.all("meta", http_equiv="refresh")[0].within[-1] == "noscript"
        assert "running" in page.text
        pressed = pool.submit(alice.press, at, f"{at}/cancel")
        wait_until((pushed.root / f"alice/Hello/.lhub/builds/{task}/cancel").exists)
        stack.close()
        assert "the task is cancelled" in pressed.result().text
    page = alice.get(at)
    assert "cancelled" in page.text
    assert not forms_of(page.seen)
    assert not page.seen.all("div", data_follow="")


def test_a_log_of_many_lines_shows_its_end(alice: Person, pushed: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lhub.portal.resources._MOST_LINES", 100)
    task = pushed.builds("alice/Hello")[0].task_id
    with (pushed.root / f"alice/Hello/.lhub/builds/{task}/events.jsonl").open("a") as log:
        for line in range(200):
            log.write(json.dumps({"time": 1, "type": "console", "subject": "x", "payload": f"line {line}"}) + "\n")
    page = alice.get(f"{HELLO}/builds/{task}")
    assert "line 199" in page.text
    assert len(page.seen.all("li", class_="console")) == 100
    assert "lines before" in page.text


# what may be changed


MANAGE = f"{HELLO}/manage"


def test_visibility_is_changed(alice: Person, pushed: Registry) -> None:
    assert "alice/Hello is private now" in alice.press(MANAGE, f"{HELLO}/visibility").text
    assert pushed.visibility("alice/Hello") == "private"
    assert "alice/Hello is public now" in alice.press(MANAGE, f"{HELLO}/visibility").text


def test_tags_are_added_moved_protected_and_removed(alice: Person, pushed: Registry) -> None:
    old, two, new = (pushed.links("alice/Hello").tags[tag].version for tag in ("v1", "v2", "latest"))
    assert f"the tag gpu names {old[:12]}" in alice.press(MANAGE, f"{HELLO}/tag", tag="gpu", version=old).text
    alice.press(MANAGE, f"{HELLO}/tag", tag="gpu", version=new)
    assert pushed.links("alice/Hello").tags["gpu"].version == new
    alice.press(MANAGE, f"{HELLO}/tag", tag="v3", version=two, protect="yes")
    assert "the tag gpu never moves again" in alice.press(MANAGE, f"{HELLO}/protect", tag="gpu").text
    assert pushed.links("alice/Hello").protected == ["gpu", "v1", "v3"]
    alice.press(MANAGE, f"{HELLO}/untag", tag="v2")
    page = alice.press(MANAGE, f"{HELLO}/untag", tag="v3", typed="v3")
    assert "the tag v3 is gone" in page.text
    alice.press(MANAGE, f"{HELLO}/restore-tag", tag="v3")
    assert pushed.links("alice/Hello").protected == ["gpu", "v1", "v3"]
    alice.press(MANAGE, f"{HELLO}/untag", tag="v3", typed="v3")
    assert sorted(pushed.links("alice/Hello").tags) == ["gpu", "latest", "v1"]


def test_a_tag_is_rolled_back(alice: Person, pushed: Registry) -> None:
    old = pushed.links("alice/Hello").tags["v2"].version
    assert (
        f"the tag latest names {old[:12]} again"
        in alice.press(MANAGE, f"{HELLO}/rollback", tag="latest", version=old).text
    )
    assert pushed.links("alice/Hello").tags["latest"].version == old


def test_a_resource_is_deleted_after_its_name_was_typed_and_comes_back(alice: Person, pushed: Registry) -> None:
    before = pushed.links("alice/Hello").versions()
    page = alice.press(MANAGE, f"{HELLO}/delete", typed="alice/Hello", unprotect="v1")
    assert "alice/Hello is deleted" in page.text
    assert "/deleted" in [each.attributes["href"] for each in alice.get(HELLO, 404).seen.all("a")]
    assert [each.text for each in alice.get("/deleted").seen.all("th", scope="row")] == ["alice/Hello"]
    assert "alice/Hello is back" in alice.press("/deleted", f"{HELLO}/restore").text
    assert pushed.links("alice/Hello").versions() == before
    assert "Nothing of yours is deleted" in alice.get("/deleted").text


def test_what_another_deleted_is_not_told(alice: Person, pushed: Registry) -> None:
    as_caller(pushed, "bob").delete("bob/Open")
    assert "Open" not in alice.get("/deleted").text


def test_the_address_of_an_action_leads_to_its_form(alice: Person, pushed: Registry) -> None:
    before = state(pushed)
    for path in ACTIONS:
        if path not in PAGES:
            got = alice.ask("GET", f"{filled(path)}?tag=v2&typed=alice/Hello&name=x")
            assert got.code == 303
            assert alice.ask("GET", got.headers["location"]).code in (200, 404)
    assert state(pushed) == before


def test_what_was_done_is_told_once_on_its_page(alice: Person, pushed: Registry) -> None:
    alice.press(MANAGE, f"{HELLO}/visibility")
    token = forms_of(alice.get(MANAGE).seen)[0].fields["form_token"]
    got = alice.send(f"{HELLO}/visibility", {"visibility": "public", "form_token": token})
    assert "is public now" in alice.get(got.headers["location"]).text
    for again in (got.headers["location"], MANAGE, f"{MANAGE}?done=x"):
        assert "is public now" not in alice.get(again).text


REFUSED: list[tuple[str, str, dict[str, str], int, str]] = [
    (HELLO, "tag", {"tag": "v1", "version": "{latest}"}, 409, "v1"),
    (HELLO, "tag", {"tag": "../x", "version": "{latest}"}, 400, "the tag has '/' at position 3"),
    (HELLO, "tag", {"tag": "new", "version": "0" * 64}, 404, "is not here"),
    (HELLO, "tag", {"tag": "new", "version": ":v1"}, 400, "not a reference"),
    (HELLO, "tag", {"tag": "new"}, 400, "version is missing"),
    (HELLO, "protect", {"tag": "none"}, 404, "has no tag none"),
    (HELLO, "untag", {"tag": "v1"}, 400, "v1 was not typed"),
    (HELLO, "untag", {"tag": "v1", "typed": "v2"}, 400, "v1 was not typed"),
    (HELLO, "untag", {"tag": "none"}, 404, "none"),
    (HELLO, "rollback", {"tag": "v1", "version": "{latest}"}, 409, "v1"),
    (HELLO, "rollback", {"tag": "none", "version": "{v1}"}, 404, "has no tag none"),
    (HELLO, "delete", {"typed": "alice/Hello"}, 409, "v1"),
    (HELLO, "delete", {"unprotect": "v1"}, 400, "alice/Hello was not typed"),
    (HELLO, "delete", {"unprotect": "v1", "typed": "Hello"}, 400, "alice/Hello was not typed"),
    (HELLO, "visibility", {"visibility": "secret"}, 400, "public or private"),
    (HELLO, "restore", {"x": "y"}, 409, "stands"),
    (HELLO, "restore-tag", {"tag": "v1"}, 409, "stands"),
    (HELLO, "restore-tag", {"tag": "none"}, 404, "never had a tag none"),
    ("/r/bob/Open", "tag", {"tag": "mine", "version": "{open}"}, 403, "bob is not your namespace, you are alice"),
    ("/r/bob/Open", "protect", {"tag": "latest"}, 403, "bob is not your namespace, you are alice"),
    ("/r/bob/Open", "untag", {"tag": "latest"}, 403, "bob is not your namespace, you are alice"),
    ("/r/bob/Open", "rollback", {"tag": "latest", "version": "{open}"}, 403, "bob is not your namespace"),
    ("/r/bob/Open", "visibility", {"visibility": "private"}, 403, "bob is not your namespace, you are alice"),
    ("/r/bob/Open", "delete", {"typed": "bob/Open"}, 403, "bob is not your namespace, you are alice"),
    ("/r/bob/Open", "restore", {"x": "y"}, 403, "bob is not your namespace, you are alice"),
    ("/r/bob/Hidden", "visibility", {"visibility": "public"}, 404, "bob/Hidden is not here"),
    ("/r/bob/Hidden", "delete", {"typed": "bob/Hidden"}, 404, "bob/Hidden is not here"),
    ("/r/alice/None", "visibility", {"visibility": "public"}, 404, "alice/None is not here"),
    ("/r/alice/None", "restore", {"x": "y"}, 404, "alice/None is not here"),
]  # fmt: skip


@pytest.mark.parametrize(("at", "action", "typed", "code", "sentence"), REFUSED)
def test_what_is_not_allowed_is_refused_with_the_registry_s_own_sentence(
    alice: Person,
    door: tuple[Portal, Person],
    pushed: Registry,
    at: str,
    action: str,
    typed: dict[str, str],
    code: int,
    sentence: str,
) -> None:
    known = {tag: each.version for tag, each in pushed.links("alice/Hello").tags.items()}
    known["open"] = str(pushed.links("bob/Open").head)
    fields = {key: value.format(**known) for key, value in typed.items()}
    before = state(pushed)
    got = alice.send(f"{at}/{action}", fields | {"form_token": door[0].entrance.form_token})
    assert got.code == code, got.text
    assert sentence in got.text
    assert got.seen.all("div", role="alert")
    assert state(pushed) == before


def test_what_is_not_allowed_is_not_shown(alice: Person, pushed: Registry) -> None:
    page = alice.get("/r/bob/Open")
    assert "Manage" not in page.text
    assert not forms_of(page.seen)
    page = alice.get("/r/bob/Open/manage")
    assert not forms_of(page.seen)
    assert "bob is not your namespace, you are alice" in page.text
    assert not [each for each in alice.get(MANAGE).seen.all("option") if each.text == "v1"]  # no rollback of it


def test_a_disk_that_takes_no_writes_shows_no_button(alice: Person, pushed: Registry, monkeypatch: Any) -> None:
    monkeypatch.setattr("lhub.session.Session.may_write", staticmethod(lambda folder: False))
    page = alice.get(MANAGE)
    assert not forms_of(page.seen)
    assert "takes no writes from you" in page.text


def test_a_lock_that_is_held_is_told(registry: Registry, pushed: Registry) -> None:
    hasty = as_caller(registry, "alice", timeout=0.1)
    with portal(hasty) as (made, base), waiting(pushed):
        person = Person(base=base)
        person.enter(made.way_in)
        got = person.press(MANAGE, f"{HELLO}/visibility", 409)
        assert got.seen.all("div", role="alert")
    assert pushed.visibility("alice/Hello") == "public"


# tokens


def test_a_token_is_shown_once_and_ends(alice: Person, registry: Registry) -> None:
    page = alice.press("/tokens", "/tokens/create", name="laptop", days="7")
    token = page.seen.all("pre")[0].text
    assert registry.holder(token) == "alice"
    assert token not in alice.get("/tokens").html
    assert "laptop" in alice.get("/tokens").text
    assert "lets nobody in any more" in alice.press("/tokens", "/tokens/delete", name="laptop").text
    assert registry.holder(token) is None


@pytest.mark.parametrize(
    "typed", [{"days": "0"}, {"days": "x"}, {"days": "99999"}, {"name": "x" * 200}, {"name": "a\x07b"}]
)
def test_a_token_that_cannot_be_is_refused(alice: Person, registry: Registry, typed: dict[str, str]) -> None:
    got = alice.press("/tokens", "/tokens/create", 400, **typed)
    assert got.seen.all("div", role="alert")
    assert list(registry.tokens()) == []


def test_a_name_that_stands_is_a_conflict(alice: Person) -> None:
    alice.press("/tokens", "/tokens/create", name="laptop")
    assert "stands already" in alice.press("/tokens", "/tokens/create", 409, name="laptop").text


# nothing of a stranger's is markup

ALLOWED = set(
    re.split(
        " ",
        "html head meta title link script body a header div nav ul ol li form label input main p footer code span img "
        "h1 h2 h3 h4 h5 h6 strong em s section aside dl dt dd pre button table caption thead tbody tr th td time "
        "select option figure figcaption svg rect article q noscript blockquote hr br",
    )
)


def plain(seen: Seen) -> None:
    """Raise for whatever a page of ours does not have."""
    for each in seen.elements:
        assert each.name in ALLOWED, each
        assert not [key for key in each.attributes if key.startswith("on") or key == "style"], each
        for key in ("href", "src", "action"):
            url = each.attributes.get(key)
            assert url is None or url.startswith(("/", "#main", "http://127.0.0.1", "https://evil.example/")), each
        if each.name == "script":
            assert each.attributes == {"src": "/static/portal.js", "defer": ""}
            assert not each.text
        if each.name == "img":
            assert each.attributes["src"].startswith(("/static/icon.svg", "/r/")), each
        if each.attributes.get("href", "").startswith("https:"):
            assert each.attributes["rel"] == "noopener noreferrer nofollow"


@pytest.fixture
def hostile(registry: Registry, tmp_path: Path) -> Registry:
    """What a hostile colleague pushes, everywhere that a text of his can stand."""
    return push_hostile(registry, tmp_path)


def test_nothing_of_a_stranger_s_is_ever_markup(alice: Person, hostile: Registry) -> None:
    seen = 0
    for path, got in alice.walk():
        assert got.code in (200, 303), (path, got.code)
        if got.headers["content-type"].startswith("text/html"):
            plain(got.seen)
            assert "\u202e" not in got.html, path
            assert "49.md" not in got.html
            seen += "alert(1)" in got.html
    assert seen >= 30
    for query in ("/search?q=", "/storage?q=", "/n/bob?q=", "/r/bob/Bad?at=", "/r/bob/Bad/files/", "/r/", "/"):
        plain(alice.ask("GET", query + quote(EVIL, safe="")).seen)


def test_tokens_of_any_name_are_no_markup(alice: Person) -> None:
    name = EVIL.replace("\u202e", "")[:120]
    plain(alice.press("/tokens", "/tokens/create", name=name).seen)
    plain(alice.get("/tokens").seen)
    plain(alice.press("/tokens", "/tokens/delete", name=name).seen)


# bad input

ODD = [
    "%00",
    "%ff",
    "%0a",
    "..",
    "%2e%2e%2f",
    "x" * 300,
    "%F0%9F%98%80",
    "a%20b",
    "@",
    ":",
    "-1",
    "1e9",
    "%E2%80%AE",
    "_",
    "'",
]


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(PAGES))
def test_no_address_breaks_a_page(alice: Person, pushed: Registry, path: str) -> None:
    for odd in ODD:
        for part in ("{space}", "{name}", "{task}", "{path:path}", "{document}", "{field}"):
            if part in path:
                got = alice.ask("GET", filled(path.replace(part, odd)))
                assert got.code < 500, (path, part, odd, got.body[:2000])
        for key in ("at", "page", "q", "left", "right", "done"):
            got = alice.ask("GET", f"{filled(path)}?{key}={odd}")
            assert got.code < 500, (path, key, odd, got.body[:2000])
    for query in ("a=1&" * 2000, "page=1&page=2", "q=a&q=b", "%", "&&&=", "at=:v1&at=:v2"):
        assert alice.ask("GET", f"{filled(path)}?{query}").code < 500


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(ACTIONS))
def test_no_form_breaks_a_page(alice: Person, door: tuple[Portal, Person], pushed: Registry, path: str) -> None:
    before = state(pushed)
    for odd in ["", "\0", "\ud800", "x" * 5000, "../..", EVIL, "\n", "-1", "@{2026-01-01}"]:
        fields = dict.fromkeys(("tag", "version", "typed", "name", "visibility", "days", "unprotect", "protect"), odd)
        body = b"&".join(
            f"{key}=".encode() + quote(value.encode(errors="surrogatepass"), safe="").encode()
            for key, value in (fields | {"form_token": door[0].entrance.form_token}).items()
        )
        kind = {"Content_Type": "application/x-www-form-urlencoded"}
        got = alice.ask("POST", filled(path), body, Origin=alice.base, **kind)
        assert 400 <= got.code < 500 or path == "/tokens/create", (odd, got.code)
    if path != "/tokens/create":
        assert state(pushed) == before


# what is damaged


def test_a_damaged_resource_is_told_and_the_rest_is_shown(alice: Person, pushed: Registry) -> None:
    version = pushed.root / "alice/Hello" / os.readlink(pushed.root / "alice/Hello/latest")
    with by_hand(version):
        (version / "manifest.yaml").write_text("format: 1\n")
    assert "not what was published" in alice.get(HELLO, 422).text
    assert names(alice.get("/executors").seen) in ([], ["alice/Hello"])
    assert "message 1" in alice.get(f"{HELLO}/history").text
    alice.get(f"{HELLO}?at=:v1")
    alice.get(MANAGE)


def test_a_file_that_has_grown_is_not_read_to_its_end(alice: Person, registry: Registry, tmp_path: Path) -> None:
    registry.push(write_tree(tmp_path / "w", {"a.bin": b"\0"}), "alice/w")
    folder = Path(registry.path("alice/w"))
    with by_hand(folder):
        os.truncate(folder / "a.bin", 1 << 40)
    before = time.monotonic()
    assert "not what was published" in alice.get("/r/alice/w/raw/a.bin", 422).text
    assert time.monotonic() - before < 5


def forged(registry: Registry, about: str) -> None:
    """alice/w's version with another `about`, its id as its manifest has it."""
    home = registry.root / "alice/w"
    old = home / os.readlink(home / "latest")
    manifest = (old / "manifest.yaml").read_text()
    text_ = re.sub(r"(?s)about:.*?files:", f"about:\n{about}files:", manifest)
    version = hashlib.sha256(text_.encode()).hexdigest()
    shutil.copytree(old, old.parent / version, symlinks=True)
    with by_hand(old.parent / version):
        (old.parent / version / "manifest.yaml").write_text(text_)
    (home / "latest").unlink()
    (home / "latest").symlink_to(f".lhub/versions/{version}")


@pytest.mark.parametrize(
    "fields",
    ["- a", "- name: 1", "- name: a\n    shape: x", "- type: x", "- {}", "- name: a\n    shape:\n    - null\n    - x"],
)
def test_fields_of_somebody_s_making_break_no_page(alice: Person, docs: Registry, fields: str, tmp_path: Path) -> None:
    docs.push(tmp_path / "items.bin", "alice/w")
    forged(docs, f'  length: x\n  docarray: ">=0.30"\n  protocol: protobuf\n  fields:\n  {fields}\n')
    assert alice.ask("GET", "/r/alice/w/documents").code in (200, 422)
    assert alice.ask("GET", "/r/alice/w").code in (200, 422)


def test_a_log_of_somebody_s_making_breaks_no_page(alice: Person, pushed: Registry) -> None:
    task = pushed.builds("alice/Hello")[0].task_id
    deep: object = []
    for _ in range(900):
        deep = [deep]
    with (pushed.root / f"alice/Hello/.lhub/builds/{task}/events.jsonl").open("a") as log:
        for payload in (deep, list(range(5000)), "x" * 100_000, {"a": {"b": {"c": 1}}}):
            log.write(json.dumps({"time": 1, "type": "console", "subject": "x", "payload": payload}) + "\n")
    page = alice.get(f"{HELLO}/builds/{task}")
    assert "a: b: c: 1" in page.text
    assert len(page.body) < 20_000


def test_a_diary_of_very_many_changes_is_gone_through_no_further_than_it_takes(
    alice: Person, pushed: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    entry = commits.read_entry
    monkeypatch.setattr(commits, "read_entry", lambda text: read.append(text) or entry(text))
    monkeypatch.setattr("lhub.portal.resources._MOST_ENTRIES", 2)
    monkeypatch.setattr("lhub.recent._MOST_ENTRIES", 1)
    for path, most in ((f"{HELLO}/history", 2), (MANAGE, 2), ("/", 2), ("/executors", 1)):
        read.clear()
        alice.get(path)
        assert len(read) <= most, path
    assert "These are the newest 2 changes: lhub log alice/Hello" in alice.get(f"{HELLO}/history").text


def test_a_fault_of_our_own_is_a_page_too(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(registry: Registry, most: int) -> None:
        raise RuntimeError("a secret of ours")

    monkeypatch.setattr(Registry, "recent", broken)
    page = alice.get("/", 500)
    assert "an unexpected fault, RuntimeError" in page.text
    assert "a secret of ours" not in page.html
    assert page.headers["content-security-policy"] == POLICY


# several registries, and another than a plain command means


def test_of_several_registries_each_page_is_of_one(registry: Registry, tmp_path: Path) -> None:
    other = Registry(tmp_path / "other", namespace="alice")
    other.login("alice")
    for place, words in ((registry, "one"), (other, "two")):
        place.push(write_tree(tmp_path / words, {"a.txt": words}), "alice/both", tags=["latest", words])
    other.push(tmp_path / "two", "alice/second")
    with portal(Registry(registry.root, also=[other.root], namespace="alice")) as (made, base):
        alice = Person(base=base)
        alice.enter(made.way_in)
        page = alice.get("/storage")
        assert sorted(names(page.seen)) == ["alice/both", "alice/second"]
        assert "is from" not in page.text
        alice.get("/r/alice/both?at=:one")
        alice.get("/r/alice/both?at=:two", 404)
        page = alice.get("/r/alice/second")
        assert page.text.count(f"is from {other.root}") == 1
        alice.press("/r/alice/second/manage", "/r/alice/second/visibility")
        assert other.visibility("alice/second") == "private"


def test_the_lines_of_another_registry_than_the_usual_say_so(pushed: Registry, shell: Shell) -> None:
    with portal(pushed, rooted=f" --root {pushed.root}") as (made, base):
        alice = Person(base=base)
        alice.enter(made.way_in)
        pull, python, *_ = [each.text for each in alice.get(f"{HELLO}?at=:v1").seen.all("pre")]
        assert pull == f"lhub pull jinaai://alice/Hello:v1 --root {pushed.root}"
        assert python == f"Flow().add(uses=lhub.Registry('{pushed.root}').uses(\"jinaai://alice/Hello:v1\"))"
        shell(*pull.split()[1:], check=True)
        assert alice.get("/storage").seen.all("pre")[-1].text.endswith(f" --root {pushed.root}")


def test_the_command_knows_which_registry_a_plain_command_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LHUB_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LHUB_ROOT", raising=False)
    assert command._rooted(Registry(tmp_path / "home/registry")) == ""
    assert command._rooted(Registry(tmp_path / "a b")) == f" --root '{tmp_path}/a b'"
    monkeypatch.setenv("LHUB_ROOT", str(tmp_path / "a b"))
    assert command._rooted(Registry(tmp_path / "a b")) == ""


def test_the_log_of_a_first_push_is_there_before_the_resource(alice: Person, registry: Registry) -> None:
    place = registry.root / "alice/New/.lhub/builds" / ("6" * 24)
    place.mkdir(parents=True)
    (place / "task.yaml").write_text(f"format: 1\ntask: {'6' * 24}\nwho: alice\nhost: elsewhere\nstarted: 1\n")
    line = {"time": 1, "type": "start", "subject": "receive", "payload": None}
    (place / "events.jsonl").write_text(json.dumps(line) + "\n")
    page = alice.get(f"/r/alice/New/builds/{'6' * 24}")
    assert "Its first push" in page.text
    assert "start receive" in page.text
    assert alice.ask("GET", f"/search?q={'6' * 24}").headers["location"] == f"/r/alice/New/builds/{'6' * 24}"
    alice.get("/r/alice/New", 404)


def test_a_diary_that_does_not_read_is_told_and_the_rest_is_shown(alice: Person, pushed: Registry) -> None:
    branch = pushed.root / "alice/Hello/.lhub/history.git/refs/heads/main"
    branch.write_text("0" * 40 + "\n")
    alice.get(f"{HELLO}/history", 422)
    alice.get(HELLO)
    alice.get(MANAGE)
    assert names(alice.get("/").seen) == ["alice/Hello", "bob/Open"] or names(alice.get("/").seen) == [
        "bob/Open",
        "alice/Hello",
    ]


# the command


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_its_link_at_once_and_ends_when_it_is_told(shell: Shell, how: signal.Signals) -> None:
    shell("login", "alice", check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "lhub", "portal", "--no-browser", "--port", str(port)]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=shell.environment()
    ) as process:
        link = urlsplit(first_line(process))
        assert (link.scheme, link.hostname, link.port) == ("http", "127.0.0.1", port)
        person = Person(base=f"http://{link.netloc}")
        person.enter(link.path)
        assert "alice has no Executor yet" in person.get("/executors").text
        found = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        listening = [line.split()[1] for line in found.splitlines() if f":{link.port:04X} " in line and " 0A " in line]
        assert listening == [f"0100007F:{link.port:04X}"]
        process.send_signal(how)
        out, err = process.communicate(timeout=20)
        assert (out, "Traceback" in err) == ("", False)
        assert process.returncode in (0, 130, 143)  # uvicorn 0.23 keeps to itself that there was a signal
        with pytest.raises(ConnectionRefusedError), socket.create_connection((link.hostname or "", link.port or 0)):
            pass


def test_the_command_opens_the_browser_that_one_has(shell: Shell) -> None:
    browser, opened = shell.cwd / "browser", shell.cwd / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}.new; mv {opened}.new {opened}\n')
    browser.chmod(0o755)
    words = [sys.executable, "-m", "lhub", "portal"]
    environment = shell.environment(BROWSER=f"{browser} %s")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        wait_until(opened.exists)
        link = urlsplit(opened.read_text().strip())
        assert re.fullmatch("/enter/[0-9a-f]{64}", link.path)
        assert Person(base=f"http://{link.netloc}").enter(link.path)
        process.terminate()
        out, err = process.communicate(timeout=20)
        assert out == ""
        assert "is in your browser" in err
        assert f"if no window came up: {link.geturl()}" in err


def test_without_a_screen_the_link_is_printed_and_no_browser_takes_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda link: asked.append(link) or True)  # type: ignore[func-returns-value]
    monkeypatch.setattr(sys, "platform", "linux")
    assert command.open_browser("http://x", {"TERM": "xterm"}) is False
    assert command.open_browser("http://x", {"DISPLAY": ":0"}) is True
    assert command.open_browser("http://x", {"BROWSER": "firefox"}) is True
    assert asked == ["http://x"] * 2


def test_without_the_extra_it_says_what_to_install(shell: Shell) -> None:
    code = "import sys; sys.modules['jinja2'] = None; sys.argv = ['lhub', 'portal', '--no-browser']; "
    code += "from lhub.cli.main import run; run()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=shell.environment(), check=False, timeout=60
    )
    assert done.returncode == 9
    assert "this server needs jinja2" in done.stderr
    assert "pip install 'lhub[serve]'" in done.stderr


def test_a_second_key_is_another() -> None:
    one, other = Entrance(), Entrance()
    assert one.key != other.key
    assert other.admit(one.key) is None
    session = one.admit(one.key)
    assert not other.knows(session)
    assert not one.knows(None)
    assert not one.knows("\ud800")
    assert not one.made(None)
    assert not one.made(other.form_token)
