"""A portal for tests, and somebody who looks at it: by HTTP, byte by byte if need be, and all its pages one by one."""

from __future__ import annotations

import http.client
import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urlencode, urljoin, urlsplit

from lhub.gateway.server import beside, bound_to, server_of
from lhub.portal.app import application
from lhub.portal.desk import Portal
from lhub.registry import Registry
from tests.arrays import new_document, number, stream, tensor, text
from tests.conftest import as_caller, config_yml, executor_py, write_tree

_VOID = {"meta", "link", "img", "input", "rect"}


@dataclass(kw_only=True)
class Element:
    """An element of a page: its name, its attributes, and all text in it."""

    name: str
    attributes: dict[str, str]
    text: str = ""
    within: tuple[str, ...] = ()


class Seen(HTMLParser):
    """The elements of a page, as a browser reads them."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        within = tuple(each.name for each in self._open)
        element = Element(name=tag, attributes={key: value or "" for key, value in attrs}, within=within)
        assert len(attrs) == len(element.attributes), f"an attribute twice: {attrs}"
        self.elements.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        while self._open and self._open[-1].name != tag and self._open[-1].name in ("li", "p", "option"):
            self._open.pop()
        if self._open and self._open[-1].name == tag:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        for each in self._open:
            each.text += data

    def all(self, element: str, /, **attributes: str) -> list[Element]:
        """The elements of a name that have these attributes."""
        wanted = {key.strip("_").replace("_", "-"): value for key, value in attributes.items()}
        return [each for each in self.elements if each.name == element and wanted.items() <= each.attributes.items()]


@dataclass(frozen=True, kw_only=True)
class Got:
    """One answer."""

    code: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def html(self) -> str:
        assert self.headers["content-type"] == "text/html; charset=utf-8", self.headers
        return self.body.decode()

    @property
    def seen(self) -> Seen:
        return Seen(self.html)

    @property
    def text(self) -> str:
        """What a person reads in the middle of a page."""
        mains = self.seen.all("main")
        assert len(mains) == 1
        return " ".join(mains[0].text.split())


@dataclass(kw_only=True)
class Person:
    """Somebody with a browser; `cookie` is what it sends."""

    base: str
    cookie: str = ""
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return urlsplit(self.base).netloc

    def ask(self, verb: str, path: str, body: bytes = b"", **headers: str) -> Got:
        """Any request."""
        told = {"Cookie": self.cookie} if self.cookie else {}
        told |= self.extra | {key.replace("_", "-"): value for key, value in headers.items()}
        with closing(http.client.HTTPConnection(self.host, timeout=60)) as connection:
            connection.request(verb, path, body=body or None, headers=told)
            got = connection.getresponse()
            return Got(code=got.status, headers={k.lower(): v for k, v in got.headers.items()}, body=got.read())

    def get(self, path: str, code: int = 200, **headers: str) -> Got:
        """A page."""
        got = self.ask("GET", path, **headers)
        assert got.code == code, got.body.decode(errors="replace")
        return got

    def enter(self, path: str) -> Got:
        """Go in by a link, and keep the cookie."""
        got = self.get(path)
        self.cookie = got.headers["set-cookie"].partition(";")[0]
        return got

    def send(self, path: str, fields: Mapping[str, Any], **headers: str) -> Got:
        """A form as a browser sends it, whatever is in it."""
        told = {"Content_Type": "application/x-www-form-urlencoded", "Origin": self.base} | headers
        return self.ask("POST", path, urlencode(fields, doseq=True).encode() or b"x=", **told)

    def press(self, page: str, action: str, code: int = 200, **typed: Any) -> Got:
        """Fill in a form that a page shows, press its button, and look at what comes of it.

        Of several forms for one action it is the first that does not say otherwise itself.
        """
        found = [each for each in forms_of(self.get(page).seen) if each.action == action and each.takes(typed)]
        assert found, f"{page} shows no form for {action} with {typed}"
        got = self.send(action, {**found[0].fields, **typed})
        while got.code == 303:
            got = self.ask("GET", got.headers["location"])
        assert got.code == code, got.text
        return got

    def walk(self, start: str = "/") -> Iterator[tuple[str, Got]]:
        """Every page that links lead to, each once."""
        left, known = [start], {start}
        while left:
            path = left.pop()
            got = self.ask("GET", path)
            yield path, got
            if not got.headers["content-type"].startswith("text/html"):
                continue
            for element in got.seen.elements:
                link = element.attributes.get("href") or element.attributes.get("src") or ""
                target, _ = urldefrag(urljoin(f"{self.base}{path}", link))
                if link and target.startswith(f"{self.base}/"):
                    path_of = target.removeprefix(self.base)
                    if path_of not in known:
                        known.add(path_of)
                        left.append(path_of)


@dataclass(kw_only=True)
class Form:
    """A form that changes something: where it goes, what it says by itself, and what of that nobody can change."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)
    fixed: dict[str, str] = field(default_factory=dict)

    def takes(self, typed: Mapping[str, str]) -> bool:
        """Whether it says nothing else than what somebody wants."""
        return all(typed.get(name, value) == value for name, value in self.fixed.items())


def forms_of(seen: Seen) -> list[Form]:
    """The forms of a page that change something."""
    found: list[Form | None] = []
    for each in seen.elements:
        given = each.attributes
        if each.name == "form":
            found.append(Form(action=given.get("action", "")) if given.get("method") == "post" else None)
        elif each.name in ("input", "select") and "form" in each.within and found[-1] is not None:
            if given.get("type") == "hidden":
                found[-1].fixed[given["name"]] = given["value"]
            if given.get("type") not in ("checkbox", "radio"):
                found[-1].fields[given["name"]] = given.get("value", "")
    return [each for each in found if each is not None]


class Board:
    """One server for all tests of a process, at which the portal of the test that runs stands.

    Starting and ending a server takes a quarter of a second.
    """

    def __init__(self) -> None:
        self.stack = ExitStack()
        bound, self.address = self.stack.enter_context(bound_to(0))
        self.door: Any = None
        self.stack.enter_context(beside(server_of(self.answer, strangers=False), bound))

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        await self.door(scope, receive, send)


_boards: list[Board] = []


@contextmanager
def portal(registry: Registry, *, rooted: str = "") -> Iterator[tuple[Portal, str]]:
    """A portal in this process, and its address."""
    if not _boards:
        _boards.append(Board())
    made = Portal(registry, port=urlsplit(_boards[0].address).port or 0, rooted=rooted)
    _boards[0].door = application(made)
    yield made, _boards[0].address


def close_portals() -> None:
    """At the end of all tests."""
    while _boards:
        _boards.pop().stack.close()


# what is looked at

EVIL = """"'><img src=x onerror=alert(1)><script>alert(1)</script></pre></textarea>{{7*7}}\u202e"""
"""What would run, or deceive, wherever it was taken for markup."""


def push_pattern(place: Path) -> Path:
    """alice/Hello with three versions: v1 (protected), v2, latest; bob/Open, and bob/Hidden, which is private."""
    alice = Registry(place / "registry", namespace="alice")
    alice.login("alice")
    for turn, tags in enumerate((["v1"], ["v2"], ["latest"])):
        source = {"config.yml": config_yml("Hello"), "executor.py": executor_py("Hello")}
        told = {"README.md": f"# Read me\n\nturn {turn}\n", "notes.txt": f"turn {turn}\n"}
        folder = write_tree(place / "Hello", source | told)
        alice.push(folder, tags=tags, protected_tags=tags[:1] if not turn else [], message=f"message {turn}")
    bob = as_caller(alice, "bob")
    bob.login("bob")
    for name, private in (("Open", False), ("Hidden", True)):
        folder = write_tree(place / name, {"config.yml": config_yml(name), "executor.py": executor_py(name)})
        bob.push(folder, private=private, message="a hidden message" if private else "")
    return place / "registry"


def push_items(registry: Registry, place: Path, count: int = 20) -> None:
    """alice/items, a DocList with texts, numbers, vectors and pictures."""
    documents = []
    for item in range(count):
        vector = struct.pack("<8f", *(float(item + n) for n in range(8)))
        documents.append(
            new_document(
                caption=text(f"item {item}"),
                embedding=tensor("<f4", (8,), vector),
                image=tensor("|u1", (4, 4, 3), bytes((item + n) % 256 for n in range(48))),
                price=number(float(item)),
            )
        )
    (place / "items.bin").write_bytes(stream(2, *documents))
    registry.push(place / "items.bin", "alice/items", tags=["v1"])


def push_hostile(registry: Registry, place: Path) -> Registry:
    """What a hostile colleague pushes, everywhere that a text of his can stand."""
    quoted = json.dumps(EVIL, ensure_ascii=False)
    config = f"jtype: Bad\npy_modules:\n- executor.py\nmetas:\n  name: Bad\n  description: {quoted}\n"
    config += f"  url: {json.dumps('javascript:alert(1)')}\n  keywords:\n  - {quoted}\n"
    source = executor_py("Bad").replace("@requests", f"@requests(on={EVIL!r})")
    source += f"    def __init__(self, evil: str = {EVIL!r}, **kwargs): super().__init__(**kwargs)\n"
    odd = [
        EVIL.replace("/", "|"),
        "' onmouseover='alert(1)",
        "javascript:alert(1)",
        "%2e%2e",
        "a?b#c",
        "{{7*7}}.md",
    ]
    files = {"config.yml": config, "executor.py": source, **dict.fromkeys(odd, EVIL)}
    files["README.md"] = (
        f"# {EVIL}\n\n[a](javascript:alert(1)) <{EVIL}> ![x](https://evil.example/x.png)\n\n{EVIL}\n\n```{EVIL}\n"
    )
    bob = as_caller(registry, "bob")
    bob.login("bob")
    folder = write_tree(place / "bad", files)
    bob.push(folder, message=EVIL, metadata={EVIL: EVIL})
    bob.push(write_tree(folder, {"executor.py": source + f"# {EVIL}\n", "new": EVIL}), message=EVIL)
    named = {EVIL: text(EVIL)}
    (place / "docs.bin").write_bytes(stream(2, new_document(**named), new_document(**named, b=number(1.0))))
    bob.push(place / "docs.bin", "bob/docs", message=EVIL)
    for task in (registry.root / "bob/Bad/.lhub/builds").iterdir():
        with (task / "events.jsonl").open("a") as log:
            for kind in ("console", EVIL):
                log.write(json.dumps({"time": 1, "type": kind, "subject": EVIL, "payload": {EVIL: [EVIL]}}) + "\n")
        (task / "task.yaml").write_text(f"format: 1\ntask: x\nwho: {quoted}\nhost: {quoted}\nstarted: 1\n")
    return registry
