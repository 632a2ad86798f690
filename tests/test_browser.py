"""The portal in a real browser: it looks as it should, is used by keyboard alone, and runs nothing of a stranger's.

It needs Chromium (apt install chromium) and an environment of its own:

    $(sh tests/environment.sh browser .venv-browser) -m pytest -q -m browser

With LHUB_TEST_SHOTS=DIR a picture of each page is left there.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from lhub.registry import Registry
from tests.conftest import as_caller, write_tree
from tests.portals import close_portals, portal, push_hostile, push_items, push_pattern
from tests.test_builds import detached, wait_until, waiting

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
try:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
except ImportError:
    playwright = False
else:
    playwright = True

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: apt install chromium"),
    pytest.mark.skipif(
        not playwright,
        reason="there is no playwright here: sh tests/environment.sh browser DIR makes an environment with it, that is "
        "python3 -m venv DIR && DIR/bin/pip install -r tests/environments/browser.txt -e .",
    ),
]
SHOTS = os.environ.get("LHUB_TEST_SHOTS")
LOOKS = [(theme, width) for theme in ("light", "dark") for width in (1440, 375)]
"""As what a page is looked at: the theme of the system, the pixels of the window."""
_QUIET = "--no-first-run --disable-background-networking --disable-component-update --disable-sync --disable-quic"
HELLO = "/r/alice/Hello"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The system's browser, which asks nothing of the network by itself."""
    with sync_playwright() as driver:
        sandbox = [] if os.geteuid() else ["--no-sandbox"]  # Chromium's own refuses root
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=[*_QUIET.split(), *sandbox])
        yield browser
        browser.close()


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_portals()


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return push_pattern(tmp_path_factory.mktemp("pattern"))


@pytest.fixture
def filled(registry: Registry, pattern: Path, tmp_path: Path) -> Registry:
    """Something of every kind: Executors, an array, files, another's."""
    shutil.rmtree(registry.root)
    shutil.copytree(pattern, registry.root, symlinks=True)
    push_items(registry, tmp_path)
    long = "a-name-that-is-as-long-as-names-may-be-" * 3
    files = {
        "notes.md": "# Notes\n",
        "sub/deep/values.json": "{}\n",
        f"{long}.txt": "long " * 400,
        "model.bin": b"\0" * 5000,
    }
    registry.push(write_tree(tmp_path / "w", files), f"alice/{long[:110]}", private=True, tags=["v1", long[:100]])
    return registry


@dataclass(kw_only=True)
class Seat:
    """Somebody at a browser, and what it complained of: an error on its console, a request to elsewhere."""

    base: str
    page: Page
    context: BrowserContext
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str, code: int = 200) -> None:
        """Type an address."""
        got = self.page.goto(self.base + path)
        assert got is not None
        assert got.status == code

    def press(self, name: str, **found: Any) -> None:
        """Press the button of this name."""
        self.page.get_by_role("button", name=name, exact=True, **found).click()


@pytest.fixture
def sit(chromium: Browser, request: pytest.FixtureRequest) -> Any:
    """Sit down before a portal of a registry, and go in by its link; nothing may be complained of at the end."""

    @contextmanager
    def down(registry: Registry, theme: str = "light", width: int = 1440, **asked: Any) -> Iterator[Seat]:
        with portal(registry) as (made, base):
            context = chromium.new_context(
                color_scheme=theme, viewport={"width": width, "height": 900}, reduced_motion="reduce", **asked
            )
            context.set_default_timeout(10_000)
            seat = Seat(base=base, page=context.new_page(), context=context)
            context.on("console", lambda said: seat.complaints.append(said.text) if said.type == "error" else None)
            context.on("weberror", lambda error: seat.complaints.append(str(error.error)))
            context.on(
                "dialog", lambda dialog: (seat.complaints.append(f"a dialog: {dialog.message}"), dialog.dismiss())
            )
            context.on(
                "request", lambda asked: None if asked.url.startswith(base) else seat.complaints.append(asked.url)
            )
            seat.page.goto(base + made.way_in)
            seat.page.wait_for_url(f"{base}/")
            yield seat
            assert seat.complaints == []
            context.close()

    return down


PAGES = {
    "recent": "/",
    "executors": "/executors",
    "storage": "/storage",
    "filtered": "/storage?q=nothing",
    "tokens": "/tokens",
    "namespace": "/n/bob",
    "search": "/search?q=hello",
    "executor": HELLO,
    "version": f"{HELLO}?at=:v1",
    "files": f"{HELLO}/files",
    "file": f"{HELLO}/files/executor.py",
    "history": f"{HELLO}/history",
    "diff": f"{HELLO}/diff?left=:v1&right=:latest",
    "builds": f"{HELLO}/builds",
    "manage": f"{HELLO}/manage",
    "another's": "/r/bob/Open",
    "array": "/r/alice/items",
    "documents": "/r/alice/items/documents",
    "long": f"/r/alice/{('a-name-that-is-as-long-as-names-may-be-' * 3)[:110]}",
    "long-manage": f"/r/alice/{('a-name-that-is-as-long-as-names-may-be-' * 3)[:110]}/manage",
    "long-files": f"/r/alice/{('a-name-that-is-as-long-as-names-may-be-' * 3)[:110]}/files",
}


def look(seat: Seat, name: str) -> None:
    """A page fits its window, and whoever reads it by ear or by keyboard finds nothing missing."""
    window = seat.page.viewport_size["width"]  # type: ignore[index]  # every window here has one
    with suppress(AssertionError):  # Playwright makes it wider for a moment to take a picture
        wait_until(lambda: seat.page.evaluate("document.documentElement.scrollWidth") <= window, within=2)
    width = seat.page.evaluate("document.documentElement.scrollWidth")
    beyond = "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
    wide = seat.page.evaluate(f"{beyond}.map(e => e.outerHTML.slice(0, 200)).slice(-3)")
    assert width <= window, f"{name} is {width} pixels wide: {wide}"
    found = Axe().run(seat.page)
    assert found.violations_count == 0, f"{name}: {found.generate_report()}"
    if SHOTS:
        theme = "dark" if seat.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") else "light"
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        seat.page.screenshot(path=f"{SHOTS}/{name}-{theme}-{window}.png", full_page=True)


@pytest.mark.parametrize(("theme", "width"), LOOKS)
def test_every_page_looks_as_it_should(filled: Registry, sit: Any, theme: str, width: int) -> None:
    with sit(filled, theme, width) as seat:
        for name, path in PAGES.items():
            seat.go(path)
            look(seat, name)
        (task,) = os.listdir(filled.root / "bob/Open/.lhub/builds")
        seat.go(f"/r/bob/Open/builds/{task}")
        look(seat, "task")
        seat.page.goto(f"{seat.base}/r/alice/None")
        look(seat, "refused")
        seat.complaints.clear()  # Chromium complains of the 404 itself
        seat.context.clear_cookies()
        seat.page.goto(f"{seat.base}/")
        expect(seat.page.get_by_role("heading")).to_have_text("Closed")
        look(seat, "closed")
        seat.complaints.clear()


@pytest.mark.parametrize(("theme", "width"), LOOKS)
def test_every_empty_page_says_what_to_do_next(registry: Registry, sit: Any, theme: str, width: int) -> None:
    for who in (registry, as_caller(registry, None)):
        with sit(who, theme, width) as seat:
            for path in ("/", "/executors", "/storage", "/tokens", "/search?q=x"):
                seat.go(path)
                look(seat, f"empty-{path.strip('/') or 'recent'}-{who.session.caller}")


@pytest.mark.parametrize(("theme", "width"), LOOKS)
def test_every_action_works(filled: Registry, sit: Any, theme: str, width: int) -> None:
    old = filled.links("alice/Hello").tags["v1"].version
    with sit(filled, theme, width) as seat:
        page = seat.page
        status = page.get_by_role("status").first
        seat.go(f"{HELLO}/manage")
        seat.press("Make it private")
        expect(status).to_have_text("alice/Hello is private now")
        seat.press("Make it public")
        expect(status).to_have_text("alice/Hello is public now")
        page.get_by_label("Tag", exact=True).first.fill("gpu")
        page.locator('form[action$="/tag"] select').select_option(old)
        seat.press("Set the tag")
        expect(status).to_contain_text("the tag gpu names")
        page.locator("summary", has_text="Protect gpu").click()
        look(seat, "protect")
        seat.press("Protect gpu for good")
        expect(status).to_have_text("the tag gpu never moves again")
        look(seat, "said")
        seat.press("Remove v2")
        expect(status).to_contain_text("the tag v2 is gone")
        seat.press("Bring v2 back")
        expect(status).to_contain_text("the tag v2 is back")
        seat.press("Remove v2")
        page.get_by_label("Type gpu to remove it").fill("gpu")
        seat.press("Remove the protected tag gpu")
        expect(status).to_contain_text("the tag gpu is gone")
        page.locator('form[action$="/rollback"] select[name=version]').select_option(index=0)
        seat.press("Roll back")
        expect(status).to_contain_text("the tag latest names")
        page.get_by_label("the protected tag v1 goes too").check()
        page.get_by_label("Type alice/Hello to delete it").fill("alice/Hell")
        seat.press("Delete alice/Hello")
        assert page.url.split("?")[0] == f"{seat.base}{HELLO}/manage"  # the browser itself asks for the whole name
        page.get_by_label("Type alice/Hello to delete it").fill("alice/Hello")
        seat.press("Delete alice/Hello")
        expect(status).to_contain_text("alice/Hello is deleted")
        look(seat, "deleted")
        seat.press("Bring back alice/Hello")
        expect(status).to_have_text("alice/Hello is back, as it was")
        seat.go("/tokens")
        page.get_by_label("Name").fill("laptop")
        seat.press("Make a token")
        token = page.locator("section.made pre").inner_text()
        assert filled.holder(token) == "alice"
        look(seat, "token")
        seat.press("Delete the token laptop")
        expect(status).to_contain_text("lets nobody in any more")
        assert filled.holder(token) is None


def test_a_refusal_is_shown_where_it_was_asked(filled: Registry, sit: Any) -> None:
    with sit(filled) as seat:
        seat.go(f"{HELLO}/manage")
        filled.tag("alice/Hello", "v2", protect=True)
        seat.press("Remove v2")
        alert = seat.page.get_by_role("alert")
        expect(alert).to_contain_text("v2 was not typed")
        look(seat, "refused-action")
        seat.complaints.clear()  # Chromium complains of the 400 itself


def test_a_list_follows_what_is_typed(filled: Registry, sit: Any) -> None:
    with sit(filled) as seat:
        seat.go("/storage")
        seat.page.evaluate("window.still = true")
        typed = seat.page.get_by_label("Filter", exact=True)
        typed.press_sequentially("items")
        expect(seat.page.locator("#results tbody tr")).to_have_count(1)
        assert seat.page.url == f"{seat.base}/storage?q=items"
        expect(seat.page.get_by_role("status")).to_have_text("1 of 2 resources")
        typed.fill("nothing at all")
        expect(seat.page.get_by_role("status")).to_contain_text("Nothing of 2 resources matches")
        typed.fill("")
        expect(seat.page.locator("#results tbody tr")).to_have_count(2)
        assert seat.page.evaluate("window.still && document.activeElement.id") == "q"


@pytest.mark.parametrize("scripts", [True, False])
def test_the_log_of_a_task_is_live(filled: Registry, sit: Any, make_executor: Any, scripts: bool) -> None:
    with sit(filled, java_script_enabled=scripts) as seat:
        with waiting(filled):
            task = detached(filled, make_executor("Hello", folder="again", more__txt="more"))
            seat.go(f"{HELLO}/builds/{task}")
            expect(seat.page.get_by_role("log")).to_contain_text("publish")
            expect(seat.page.get_by_text("running")).to_be_visible()
            if scripts:
                seat.page.evaluate("window.still = true")
        expect(seat.page.locator("h2 .badge")).to_have_text("succeeded")
        expect(seat.page.get_by_role("log")).to_contain_text("succeeded")
        if scripts:
            assert seat.page.evaluate("window.still")


def test_a_log_that_is_longer_than_its_page_is_live_too(
    filled: Registry, sit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lhub.portal.resources._MOST_LINES", 5)
    (task,) = os.listdir(filled.root / "bob/Open/.lhub/builds")
    events = filled.root / f"bob/Open/.lhub/builds/{task}/events.jsonl"
    place = filled.root / f"bob/Open/.lhub/builds/{task}/task.yaml"
    place.chmod(0o644)
    place.write_text(re.sub("(?m)^host: .*$", "host: elsewhere", place.read_text()))
    with sit(filled) as seat:
        with events.open("a") as log:
            for line in range(3):
                log.write(f'{{"time": 1, "type": "console", "subject": "s", "payload": "line {line}"}}\n')
        seat.go(f"/r/bob/Open/builds/{task}")
        expect(seat.page.get_by_role("log")).to_contain_text("line 2")
        with events.open("a") as log:
            log.write('{"time": 2, "type": "console", "subject": "s", "payload": "line 3"}\n')
        expect(seat.page.get_by_role("log")).to_contain_text("line 3")


def test_who_follows_a_portal_that_has_ended_is_told(filled: Registry, sit: Any) -> None:
    with sit(filled) as seat:
        seat.go(f"{HELLO}/builds")
        seat.context.set_offline(True)
        expect(seat.page.get_by_role("alert")).to_contain_text("The portal does not answer")
        seat.context.set_offline(False)
        expect(seat.page.get_by_role("alert")).to_have_count(0)
        seat.complaints.clear()  # Chromium complains of what failed itself


def test_going_back_shows_what_is_now(filled: Registry, sit: Any) -> None:
    with sit(filled) as seat:
        seat.go(f"{HELLO}/manage")
        seat.press("Make it private")
        expect(seat.page.get_by_role("status").first).to_have_text("alice/Hello is private now")
        seat.page.go_back()
        expect(seat.page.get_by_role("button", name="Make it public")).to_be_visible()


def test_lines_are_copied(filled: Registry, sit: Any) -> None:
    with sit(filled, permissions=["clipboard-read", "clipboard-write"]) as seat:
        seat.go(f"{HELLO}?at=:v1")
        seat.press("Copy Pull")
        expect(seat.page.get_by_role("button", name="Copied")).to_be_visible()
        assert seat.page.evaluate("navigator.clipboard.readText()") == "lhub pull jinaai://alice/Hello:v1"


def test_it_works_without_javascript(filled: Registry, sit: Any) -> None:
    with sit(filled, java_script_enabled=False) as seat:
        page = seat.page
        page.get_by_role("link", name="Storage").click()
        page.get_by_label("Filter", exact=True).fill("items")
        seat.press("Filter")
        expect(page.locator("#results tbody tr")).to_have_count(1)
        page.get_by_role("link", name="alice/items").click()
        expect(page.get_by_role("button", name="Copy")).to_have_count(0)
        seat.go(HELLO)
        page.get_by_label("Version", exact=True).select_option(":v1")
        seat.press("Show")
        expect(page.get_by_text("turn 0")).to_be_visible()
        page.get_by_role("link", name="History").click()
        page.get_by_label("From").select_option(index=2)
        seat.press("Compare")
        expect(page.get_by_text("-turn 0").first).to_be_visible()
        page.get_by_role("link", name="Manage").click()
        seat.press("Make it private")
        expect(page.get_by_role("status").first).to_have_text("alice/Hello is private now")


def focused(page: Page) -> str:
    """What has the focus, as it is read out."""
    return " ".join(page.evaluate("document.activeElement.innerText || document.activeElement.id").split())


def tab_to(page: Page, wanted: str, most: int = 80) -> None:
    """Press the tabulator until something has the focus, which must be seen wherever it is."""
    page.wait_for_load_state()
    for _ in range(most):
        page.keyboard.press("Tab")
        style = page.evaluate(
            "(() => { const s = getComputedStyle(document.activeElement); return s.outlineStyle + s.outlineWidth; })()"
        )
        assert style not in ("none0px", "none3px"), f"nobody sees that {focused(page)} has the focus"
        if re.search(wanted, focused(page)):
            return
    raise AssertionError(f"no way to {wanted}")


def test_it_is_used_by_keyboard_alone(filled: Registry, sit: Any) -> None:
    with sit(filled) as seat:
        page = seat.page
        page.keyboard.press("Tab")
        assert focused(page) == "Skip to the content"
        page.keyboard.press("Enter")
        tab_to(page, "^alice/a-name", most=1)  # the first that is not at the top
        seat.go("/")
        tab_to(page, "^Executors$")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{seat.base}/executors")
        tab_to(page, "^q$")
        page.keyboard.type("hello")
        page.wait_for_url(f"{seat.base}/executors?q=hello")
        tab_to(page, "^alice/Hello$")
        page.keyboard.press("Enter")
        page.wait_for_url(seat.base + HELLO)
        tab_to(page, "^Manage$")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{seat.base}{HELLO}/manage")
        tab_to(page, "^Protect v2 ?…$")
        page.keyboard.press("Enter")
        tab_to(page, "^Protect v2 for good$")
        page.keyboard.press("Space")
        expect(page.get_by_role("status").first).to_have_text("the tag v2 never moves again")
    assert filled.links("alice/Hello").protected == ["v1", "v2"]


def test_nothing_of_a_stranger_s_runs(registry: Registry, sit: Any, tmp_path: Path) -> None:
    push_hostile(registry, tmp_path)
    with sit(registry) as seat:
        left, known = ["/"], {"/"}
        while left:
            path = left.pop()
            if "/raw/" in path:  # which is saved; tests/test_portal.py has what it says
                continue
            seat.page.goto(seat.base + path)
            assert seat.page.locator("img[src=x], script:not([src]), [onerror], [onmouseover]").count() == 0, path
            for link in seat.page.eval_on_selector_all("a[href]", "links => links.map(link => link.href)"):
                target = link.partition("#")[0].removeprefix(seat.base)
                if link.startswith(seat.base) and target not in known:
                    known.add(target)
                    left.append(target)
        assert len(known) > 30
        assert seat.page.locator("html").inner_text()


def elsewhere(seat: Seat, body: str) -> Page:
    """A page of another site, in the same browser."""
    page = seat.context.new_page()
    seat.context.route("http://elsewhere.test/", lambda route: route.fulfill(body=body, content_type="text/html"))
    page.goto("http://elsewhere.test/")
    return page


def test_a_click_on_the_link_in_another_site_s_page_goes_in_too(filled: Registry, chromium: Browser) -> None:
    with portal(filled) as (made, base):
        context = chromium.new_context()
        seat = Seat(base=base, page=context.new_page(), context=context)
        page = elsewhere(seat, f'<a href="{base}{made.way_in}">the portal</a>')
        page.get_by_text("the portal").click()
        page.wait_for_url(f"{base}/")
        expect(page.get_by_role("heading", level=1)).to_have_text("Recent")
        (cookie,) = context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
        context.close()


def test_another_site_can_neither_act_nor_look_in(filled: Registry, sit: Any) -> None:
    with sit(filled) as seat:
        form = f'<form method=post action="{seat.base}{HELLO}/visibility"><input name=visibility value=private>'
        page = elsewhere(seat, f"{form}<button>Win a prize</button></form><iframe src='{seat.base}/'></iframe>")
        assert "Recent" not in "".join(frame.content() for frame in page.frames)
        page.get_by_text("Win a prize").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Closed")
        seat.complaints.clear()  # of elsewhere.test itself, and that it was refused
    assert filled.visibility("alice/Hello") == "public"


def test_the_way_to_a_version_is_one_choice(filled: Registry, sit: Any) -> None:
    with sit(filled) as seat:
        seat.go(HELLO)
        seat.page.get_by_label("Version", exact=True).select_option(":v1")
        seat.page.wait_for_url(f"{seat.base}{HELLO}?at={quote(':v1', safe='')}")
        expect(seat.page.get_by_text("turn 0")).to_be_visible()
        assert urlsplit(seat.page.url).path == HELLO


def test_pictures_of_an_array_are_drawn(filled: Registry, sit: Any) -> None:
    with sit(filled) as seat:
        seat.go("/r/alice/items/documents")
        first = seat.page.get_by_alt_text("image of document 0")
        first.scroll_into_view_if_needed()
        wait_until(lambda: first.evaluate("image => image.complete && image.naturalWidth") == 4)
        expect(seat.page.get_by_role("img", name=re.compile("price: 20 values"))).to_be_visible()
