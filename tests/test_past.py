"""The past: what each tag was at any moment, and a tag set back to where it was, in one step."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lhub.disk import Pen
from lhub.errors import Conflict, Corrupt, Denied, LhubError, NotFound, UsageError
from lhub.past import Then
from lhub.registry import Registry
from tests.conftest import Shell, as_caller, by_hand, read_tree, snapshot, write_tree
from tests.test_order import NOBODY, as_nobody

MARCH = datetime(2026, 3, 1, 12, tzinfo=timezone.utc).timestamp()
DAY = 86_400.0


@dataclass
class Clock:
    """A clock that stands until it is moved."""

    now: float = MARCH

    def __call__(self) -> float:
        return self.now


def with_clock(registry: Registry, clock: Callable[[], float]) -> Registry:
    registry.session = replace(registry.session, clock=clock)
    registry.sessions = (registry.session,)
    return registry


@pytest.fixture
def clock(registry: Registry) -> Clock:
    """The clock of `registry`."""
    clock = Clock()
    with_clock(registry, clock)
    return clock


@pytest.fixture
def push(registry: Registry, tmp_path: Path) -> Callable[..., str]:
    """Push a text as alice/X under tags; the version."""

    def push(text: str, *tags: str, **options: bool) -> str:
        folder = write_tree(tmp_path / "src", {"a.txt": text, ".gitignore": "# quick to read\n"})
        return registry.push(folder, "X", tags=tags, **options).version

    return push


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, str, str]]:
    """A resource with three versions, pushed at one moment in March, to be copied: no test writes here."""
    place = tmp_path_factory.mktemp("origin")
    registry = with_clock(Registry(place / "registry", namespace="alice"), Clock())
    versions = []
    for text, tags in (("one", ["latest", "v1"]), ("two", ["latest"]), ("three", ["latest", "prod"])):
        folder = write_tree(place / "src", {"a.txt": text, ".gitignore": "# quick to read\n"})
        versions.append(registry.push(folder, "X", tags=tags).version)
    first, second, third = versions
    return place / "registry/alice/X", (first, second, third)


@pytest.fixture
def three(origin: tuple[Path, tuple[str, str, str]], registry: Registry) -> tuple[str, str, str]:
    """Three versions of alice/X: the first is v1, the last latest and prod."""
    shutil.copytree(origin[0], registry.root / "alice/X", symlinks=True)
    return origin[1]


def moment(when: float) -> str:
    """A second, as a person types it."""
    return datetime.fromtimestamp(when, timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")


def tags_at(registry: Registry, when: float) -> dict[str, str]:
    """Tag to version at a moment; nothing where the resource did not stand."""
    try:
        return registry.log_at("alice/X", moment(when)).tags
    except NotFound:
        return {}


def standing(registry: Registry) -> tuple[object, ...]:
    """What a refused verb must leave: every tag and pin, and all that the diary tells."""
    shown = registry.show("alice/X:v1")
    return shown.tags, shown.protected_tags, shown.visibility, registry.log("alice/X")


# what each tag was


def test_a_date_tells_what_each_tag_was_at_its_end(registry: Registry, clock: Clock, push: Callable[..., str]) -> None:
    first = push("one", "latest", "prod")
    clock.now += DAY
    second = push("two", "latest")
    clock.now += DAY
    registry.untag("alice/X:prod")
    told = [tags_at(registry, MARCH + days * DAY) for days in (-1, 0, 1, 2)]
    assert told == [{}, {"latest": first, "prod": first}, {"latest": second, "prod": first}, {"latest": second}]


def test_a_month_tells_what_each_tag_was_at_its_end(registry: Registry, clock: Clock, push: Callable[..., str]) -> None:
    clock.now = datetime(2026, 3, 31, 23, 59, 59).timestamp()
    first = push("one")
    clock.now += 1
    push("two")
    assert registry.log_at("alice/X", "2026-03").tags == {"latest": first}


def test_protection_and_visibility_are_those_of_then(
    registry: Registry, clock: Clock, push: Callable[..., str]
) -> None:
    version = push("one", "v1", private=True)
    clock.now += DAY
    registry.tag("alice/X", "v1", protect=True)
    registry.visibility("alice/X", "public")
    then, now = (registry.log_at("alice/X", moment(when)) for when in (MARCH, clock.now))
    assert then == Then(name="alice/X", at=MARCH, tags={"v1": version}, protected_tags=(), visibility="private")
    assert now == replace(then, at=clock.now, protected_tags=("v1",), visibility="public")


def test_one_tag_is_told_alone(registry: Registry, clock: Clock, three: tuple[str, str, str]) -> None:
    for told in (
        registry.log_at("alice/X:v1", moment(MARCH)),
        registry.log_at("alice/X", moment(MARCH), tag="v1"),
        registry.log_at("alice/X:v1", moment(MARCH), tag="v1"),
    ):
        assert told.tags == {"v1": three[0]}


def test_a_tag_that_did_not_stand_then_is_not_found_by_its_name(
    registry: Registry, clock: Clock, push: Callable[..., str]
) -> None:
    push("one", "v1")
    clock.now += DAY
    push("two", "v2")
    with pytest.raises(NotFound, match=r"alice/X:v2 did not stand at 2026-03-01 12:00Z"):
        registry.log_at("alice/X", "2026-03-01 12:00Z", tag="v2")


def test_before_its_first_entry_a_resource_did_not_stand(registry: Registry, clock: Clock, hello: Path) -> None:
    registry.push(hello)
    with pytest.raises(NotFound, match="did not stand at 2026-02") as told:
        registry.log_at("alice/Hello", "2026-02")
    assert told.value.hint == "its diary begins 2026-03-01T12:00:00Z"


def test_while_it_lay_in_the_trash_a_resource_did_not_stand(
    registry: Registry, clock: Clock, push: Callable[..., str]
) -> None:
    push("one")
    clock.now += DAY
    registry.delete("alice/X")
    clock.now += DAY
    registry.restore("alice/X")
    assert [bool(tags_at(registry, MARCH + days * DAY)) for days in (0, 1, 2)] == [True, False, True]
    with pytest.raises(NotFound):
        registry.path(f"alice/X@{{{moment(MARCH + DAY)}}}")


def test_a_clock_that_ran_backwards_leaves_what_was_done_last(
    registry: Registry, clock: Clock, push: Callable[..., str]
) -> None:
    push("one")
    clock.now -= DAY
    second = push("two")
    assert tags_at(registry, MARCH) == tags_at(registry, MARCH - DAY) == {"latest": second}


def test_what_a_clock_of_the_future_dated_is_of_the_future(
    registry: Registry, clock: Clock, push: Callable[..., str]
) -> None:
    first = push("one")
    clock.now = datetime(2199, 1, 1, tzinfo=timezone.utc).timestamp()
    second = push("two", "v2")
    clock.now = MARCH + DAY
    third = push("three")
    assert tags_at(registry, MARCH) == {"latest": first}
    assert tags_at(registry, MARCH + 2 * DAY) == {"latest": third}
    assert registry.log_at("alice/X", "2199-12-31").tags == {"latest": third, "v2": second}
    assert registry.path("alice/X:v2").endswith(f"{second}/files")


@pytest.mark.parametrize("now", [0.0, -5.0, 1.0, 2.0**33, 0.5])
def test_a_clock_that_is_quite_wrong_spoils_no_diary(
    registry: Registry, clock: Clock, push: Callable[..., str], now: float
) -> None:
    clock.now = now
    first = push("one")
    clock.now = MARCH
    push("two")
    assert [entry.version for entry in registry.log("alice/X", tag="latest")][-1] == first
    assert [entry.late for entry in registry.log("alice/X")] == [False, False]


# at any moment, over random histories

TAGS = ("latest", "v1", "v2")
names = st.sampled_from(TAGS)
deeds = st.one_of(
    st.tuples(st.just("push"), st.sampled_from("abc"), names, st.booleans()),
    st.tuples(st.just("tag"), names, names, st.booleans()),
    st.tuples(st.just("untag"), names),
    st.tuples(st.just("rollback"), names, st.sampled_from("abc")),
    st.tuples(st.just("delete"), names),
    st.tuples(st.just("restore"), names),
    st.tuples(st.just("visibility"), st.booleans()),
)


class Keeper:
    """Somebody who does deeds, and remembers what stood after each: by the links, not by the diary."""

    def __init__(self, place: Path) -> None:
        self.clock, self.place = Clock(), place
        self.registry = with_clock(Registry(place / "registry", namespace="alice"), self.clock)
        self.versions: dict[str, str] = {}
        self.history: list[tuple[float, dict[str, str], tuple[str, ...], str]] = []
        self.do("push", "a", "latest", False)

    def do(self, what: str, *how: str | bool) -> None:
        with suppress(LhubError):  # what is refused changes nothing, which is what is looked at
            getattr(self, what)(*how)
        line = self.registry.list()[0]
        self.history.append((self.clock.now, line.tags, line.protected_tags, line.visibility))

    def push(self, text: str, tag: str, protect: bool) -> None:
        folder = write_tree(self.place / text, {"a.txt": text, ".gitignore": "# quick to read\n"})
        tags = {"protected_tags": [tag]} if protect else {"tags": [tag]}
        self.versions[text] = self.registry.push(folder, "X", **tags).version

    def tag(self, of: str, tag: str, protect: bool) -> None:
        self.registry.tag(f"alice/X:{of}", tag, protect=protect)

    def untag(self, tag: str) -> None:
        self.registry.untag(f"alice/X:{tag}")

    def rollback(self, tag: str, text: str) -> None:
        self.registry.rollback("alice/X", self.versions.get(text, "0" * 64), tag)

    def delete(self, tag: str) -> None:
        self.registry.delete(f"alice/X:{tag}", unprotect=[tag] if tag in self.history[-1][2] else [])

    def restore(self, tag: str) -> None:
        self.registry.restore(f"alice/X:{tag}")

    def visibility(self, private: bool) -> None:
        self.registry.visibility("alice/X", "private" if private else "public")


@settings(max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(0, 2), deeds), min_size=3, max_size=9))
def test_at_any_moment_the_diary_tells_what_stood_then(
    tmp_path: Path, history: list[tuple[int, tuple[str, ...]]]
) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path) as place:
        keeper = Keeper(Path(place))
        for later, deed in history:
            keeper.clock.now += later
            keeper.do(*deed)
        for when in range(int(MARCH), int(keeper.clock.now) + 2):
            _, tags, protected, visibility = [was for was in keeper.history if was[0] <= when][-1]
            told = keeper.registry.log_at("alice/X", moment(when))
            assert (told.tags, told.protected_tags, told.visibility) == (tags, protected, visibility)
            for tag in tags:
                assert keeper.registry.path(f"alice/X:{tag}@{{{moment(when)}}}").endswith(f"{tags[tag]}/files")


# the diary, whole and in parts


def test_the_life_of_a_tag_is_every_entry_that_tells_of_it(
    registry: Registry, clock: Clock, three: tuple[str, str, str]
) -> None:
    registry.rollback("alice/X", three[0], "prod")
    registry.delete("alice/X:prod")
    registry.restore("alice/X:prod")
    registry.tag("alice/X", "prod", protect=True)
    registry.untag("alice/X:latest")
    life = registry.log("alice/X", tag="prod")
    assert [(entry.action, entry.version) for entry in life] == [
        ("protect", three[0]),
        ("restore", three[0]),
        ("delete", None),
        ("rollback", three[0]),
        ("push", three[2]),
    ]


def test_a_tag_in_the_reference_says_the_same_as_one_beside_it(registry: Registry, three: tuple[str, str, str]) -> None:
    assert registry.log("alice/X:v1") == registry.log("alice/X", tag="v1") == registry.log("alice/X:v1", tag="v1")


def test_the_life_of_a_version_is_every_entry_that_names_it(registry: Registry, three: tuple[str, str, str]) -> None:
    registry.rollback("alice/X", three[0], "prod")
    assert [entry.action for entry in registry.log(f"alice/X@{three[0][:8]}")] == ["rollback", "push"]


def test_a_date_in_the_reference_leaves_out_what_came_later(
    registry: Registry, clock: Clock, push: Callable[..., str]
) -> None:
    versions = []
    for text in ("one", "two", "three"):
        versions.append(push(text))
        clock.now += DAY
    told = registry.log(f"alice/X@{{{moment(MARCH + DAY)}}}")
    assert [entry.version for entry in told] == [versions[1], versions[0]]


@pytest.mark.parametrize("what", ["alice/X:never", "alice/X@0123456789"])
def test_what_the_diary_never_told_of_is_not_found(registry: Registry, three: tuple[str, str, str], what: str) -> None:
    with pytest.raises(NotFound, match="the diary of alice/X tells nothing of"):
        registry.log(what)


def test_two_tags_exclude_each_other(registry: Registry, three: tuple[str, str, str]) -> None:
    for ask in (registry.log, lambda ref, tag: registry.log_at(ref, "2026-03", tag=tag)):
        with pytest.raises(UsageError, match="names another tag than --tag v1"):
            ask("alice/X:latest", tag="v1")


@pytest.mark.parametrize("what", ["alice/X@{version}", "alice/X@{{2026-01-01}}", "alice/X:v1@{{2026-01-01}}"])
def test_a_reference_that_names_a_version_or_a_moment_already_takes_no_other_date(
    registry: Registry, three: tuple[str, str, str], what: str
) -> None:
    with pytest.raises(UsageError):
        registry.log_at(what.format(version=three[0]), "2199-01-01")


@pytest.mark.parametrize("at", ["yesterday", "", "2026-02-30", "2026-13", "0001-01-01x"])
def test_what_is_no_date_is_one_sentence(registry: Registry, three: tuple[str, str, str], at: str) -> None:
    with pytest.raises(UsageError, match="is not a date"):
        registry.log_at("alice/X", at)


@pytest.mark.parametrize("at", ["0001-01-01", "0001-01", "1969-12-31", "1970-01-01"])
def test_long_before_all_registries_nothing_stood(registry: Registry, three: tuple[str, str, str], at: str) -> None:
    with pytest.raises((NotFound, UsageError)):
        registry.log_at("alice/X", at)
    with pytest.raises((NotFound, UsageError)):
        registry.path(f"alice/X@{{{at}}}")


def test_a_version_that_a_tag_was_and_that_is_gone_is_told_so(
    registry: Registry, clock: Clock, push: Callable[..., str]
) -> None:
    first = push("one")
    clock.now += DAY
    push("two")
    Pen().remove_tree(f"{registry.root}/alice/X/.lhub/versions/{first}")
    assert tags_at(registry, MARCH) == {"latest": first}
    with pytest.raises(NotFound, match=f"was {first[:12]} at .*, which a collection has removed"):
        registry.path(f"alice/X@{{{moment(MARCH)}}}")


# whose past it is


def test_the_past_of_what_is_hidden_is_that_of_what_is_absent(registry: Registry, three: tuple[str, str, str]) -> None:
    registry.visibility("alice/X", "private")
    bob = as_caller(registry, "bob")
    asked: list[Callable[[str], object]] = [
        bob.log,
        lambda ref: bob.log(ref, tag="v1"),
        lambda ref: bob.log_at(ref, "2199-01-01"),
        lambda ref: bob.path(f"{ref}@{{2199-01-01}}"),
        lambda ref: bob.rollback(ref, three[0]),
    ]
    for ask in asked:
        told = []
        for ref in ("alice/X", "alice/Y"):
            with pytest.raises(NotFound) as answer:
                ask(ref)
            told.append((str(answer.value).replace(ref, "?"), answer.value.hint))
        assert told[0] == told[1]


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `git` before all others on PATH that fails; the file says whether it was run."""
    marker, place = tmp_path / "git was run", tmp_path / "bin"
    write_tree(place, {"git": f"#!/bin/sh\necho \"$@\" >> '{marker}'\nexit 128\n"})
    (place / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    return marker


def test_the_trap_works(trap: Path) -> None:
    assert subprocess.run(["git", "log"], check=False, capture_output=True).returncode == 128
    assert trap.read_text() == "log\n"


def test_the_past_of_another_s_resource_is_read_without_git_and_changes_nothing(
    registry: Registry, three: tuple[str, str, str], trap: Path
) -> None:
    bob, before = as_caller(registry, "bob"), snapshot(registry.root)
    assert len(bob.log("alice/X")) == 3
    assert bob.log("alice/X", tag="v1")[0].version == three[0]
    assert bob.log_at("alice/X", "2199-01-01").tags["prod"] == three[2]
    assert bob.show("alice/X:v1@{2199-01-01}").version == three[0]
    assert bob.diff("alice/X:v1@{2199-01-01}", "prod").changed == ("a.txt",)
    assert (trap.exists(), snapshot(registry.root)) == (False, before)


def test_another_user_of_the_machine_reads_the_past_without_git_ever_run(
    square: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fork becomes somebody else; a trap at the head of PATH tells whether he ran git."""
    if os.geteuid():
        pytest.skip("needs root, who can become somebody else")
    registry = Registry(square / "registry", namespace="alice")
    version = registry.push(write_tree(square / "src", {"a.txt": "one"}), "X", tags=["v1"], message="first").version
    write_tree(square / "bin", {"git": f"#!/bin/sh\necho run >> {square}/home/marker\nexit 128\n"})
    (square / "bin/git").chmod(0o755)
    (square / "home").mkdir()
    os.chown(square / "home", NOBODY, NOBODY)

    def past(who: Registry) -> list[object]:
        at = "2199-01-01"
        return [who.log("alice/X")[0].message, who.log_at("alice/X", at).tags, who.path(f"alice/X:v1@{{{at}}}")]

    def read() -> None:
        told = past(Registry(registry.root, namespace="bob"))
        (square / "home/told").write_text(repr(told))

    expected, before = past(registry), snapshot(registry.root)
    monkeypatch.setenv("PATH", f"{square}/bin")
    assert as_nobody(read) == 0
    assert (square / "home/told").read_text() == repr(expected)
    assert expected[:2] == ["first", {"v1": version}]
    assert (snapshot(registry.root), (square / "home/marker").exists()) == (before, False)


@pytest.mark.parametrize("field", ["Visibility", "Tags"])
def test_what_a_stranger_wrote_into_his_diary_moves_no_cursor(
    registry: Registry, three: tuple[str, str, str], shell: Shell, field: str
) -> None:
    diary = str(registry.root / "alice/X/.lhub/history.git")
    fields = {"Action": "push", "Version": three[0], "Tags": "evil", "Visibility": "public"}
    fields[field] = "\x1b[2Jevil\x07"
    text = "push\n\n" + "".join(f"{key}: {value}\n" for key, value in fields.items())
    quiet = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "PATH": os.environ["PATH"]}
    who = {f"GIT_{role}_{what}": "a" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    run = ["git", "-C", diary]
    tip = subprocess.run(
        [*run, "commit-tree", "main^{tree}", "-p", "main"],
        input=text.encode(), env=quiet | who, check=True, capture_output=True,
    ).stdout.decode()  # fmt: skip
    subprocess.run([*run, "update-ref", "refs/heads/main", tip.strip()], env=quiet, check=True)
    told = shell("log", "alice/X", "--at", "2199-01-01", check=True, LHUB_ROOT=str(registry.root)).out
    assert "evil" in told
    assert all(character.isprintable() or character == "\n" for character in told)


# back to where it was


def test_a_rollback_lets_latest_name_an_earlier_version(
    registry: Registry, three: tuple[str, str, str], tmp_path: Path
) -> None:
    rolled = registry.rollback("alice/X", three[0])
    assert (rolled.version, rolled.tags, rolled.before) == (three[0], ("latest",), {"latest": three[2]})
    assert registry.show("alice/X").tags == {"latest": three[0], "prod": three[2], "v1": three[0]}
    assert read_tree(Path(registry.pull("alice/X", tmp_path / "out").path))["a.txt"] == b"one"


def test_a_rollback_is_in_the_diary(registry: Registry, three: tuple[str, str, str]) -> None:
    before = registry.log("alice/X")
    registry.rollback("alice/X", three[0], "latest", "prod")
    newest, *rest = registry.log("alice/X")
    assert (newest.action, newest.name, newest.version, newest.tags, newest.late) == (
        "rollback", "alice", three[0], ("latest", "prod"), False
    )  # fmt: skip
    assert tuple(rest) == tuple(before)


def test_the_tag_of_the_reference_is_the_one_that_moves(registry: Registry, three: tuple[str, str, str]) -> None:
    assert registry.rollback("alice/X:prod", three[1]).before == {"prod": three[2]}
    assert registry.show("alice/X").version == three[2]


def test_several_tags_go_back_together_each_from_where_it_was(registry: Registry, three: tuple[str, str, str]) -> None:
    registry.rollback("alice/X", three[1], "prod")
    rolled = registry.rollback("alice/X:prod", three[0], "latest", "prod")
    assert rolled.before == {"prod": three[1], "latest": three[2]}


def test_a_rollback_to_where_a_tag_stands_changes_nothing(registry: Registry, three: tuple[str, str, str]) -> None:
    before = standing(registry)
    assert registry.rollback("alice/X", three[2]).before == {"latest": three[2]}
    assert standing(registry) == before


def test_a_rollback_and_one_back_again_end_where_they_began(registry: Registry, three: tuple[str, str, str]) -> None:
    registry.rollback("alice/X", three[0])
    registry.rollback("alice/X", three[2])
    assert registry.show("alice/X").version == three[2]
    assert registry.verify().ok


def test_a_rollback_to_a_date_is_to_what_the_tag_was_then(
    registry: Registry, clock: Clock, push: Callable[..., str]
) -> None:
    first = push("one", "latest", "prod")
    clock.now += DAY
    second = push("two", "latest")
    clock.now += DAY
    push("three", "latest", "prod")
    then = f"@{{{moment(MARCH + DAY)}}}"
    assert registry.rollback("alice/X", then).version == second
    assert registry.rollback("alice/X", then, "prod").version == first


def test_a_rollback_to_a_date_before_all_moves_nothing(registry: Registry, three: tuple[str, str, str]) -> None:
    before = standing(registry)
    with pytest.raises(NotFound, match="did not stand at 2001-01-01"):
        registry.rollback("alice/X", "@{2001-01-01}")
    assert standing(registry) == before


@pytest.mark.parametrize("word", ["v1", ":v1"])
def test_a_rollback_may_name_another_tag(registry: Registry, three: tuple[str, str, str], word: str) -> None:
    assert registry.rollback("alice/X", word).version == three[0]


@pytest.mark.parametrize("digits", [8, 12, 63, 64])
@pytest.mark.parametrize("form", ["{}", "@{}"])
def test_a_version_is_named_by_enough_of_its_digits(
    registry: Registry, three: tuple[str, str, str], digits: int, form: str
) -> None:
    assert registry.rollback("alice/X", form.format(three[0][:digits])).version == three[0]
    assert registry.rollback("alice/X", form.format(three[1][:digits].upper())).version == three[1]


@pytest.mark.parametrize("tag", ["20260301", "deadbeef", "DEADBEEF", "1234567890"])
def test_a_tag_that_looks_like_digits_is_found(registry: Registry, three: tuple[str, str, str], tag: str) -> None:
    registry.tag("alice/X:v1", tag)
    assert registry.rollback("alice/X", tag).version == three[0]
    registry.rollback("alice/X", three[2])
    assert registry.rollback("alice/X", f":{tag}").version == three[0]


def test_of_a_version_and_a_tag_of_its_digits_each_can_be_named(
    registry: Registry, three: tuple[str, str, str]
) -> None:
    digits = three[1][:8]
    registry.tag("alice/X:v1", digits)
    assert registry.rollback("alice/X", f"@{digits}").version == three[1]
    assert registry.rollback("alice/X", f":{digits}").version == three[0]
    assert registry.rollback("alice/X", digits).version == three[1]


def test_digits_of_two_versions_move_nothing(registry: Registry, three: tuple[str, str, str]) -> None:
    other = three[0][:60] + ("0000" if three[0][60:] != "0000" else "1111")
    (registry.root / "alice/X/.lhub/versions" / other).mkdir()
    before = standing(registry)
    with pytest.raises(UsageError, match="is not one version but 2"):
        registry.rollback("alice/X", three[0][:12])
    assert standing(registry) == before


@pytest.mark.parametrize(
    "word",
    ["", "a b", "@", "@0123456", "@xyzxyzxyz", "@{", "@{yesterday}", "@{2026-03-01", "../v1", "alice/X:v1", "-t", ":"],
)
def test_what_is_no_version_is_one_sentence_and_moves_nothing(
    registry: Registry, three: tuple[str, str, str], word: str
) -> None:
    before = standing(registry)
    with pytest.raises(UsageError):
        registry.rollback("alice/X", word)
    assert standing(registry) == before


@pytest.mark.parametrize("word", ["v9", ":v9", "0123456789", "@0123456789", "0" * 64])
def test_a_version_that_never_was_is_not_found_and_moves_nothing(
    registry: Registry, three: tuple[str, str, str], word: str
) -> None:
    before = standing(registry)
    with pytest.raises(NotFound, match=r"is not here$"):
        registry.rollback("alice/X", word)
    assert standing(registry) == before


@pytest.mark.parametrize("ref", ["alice/X@{0}", "alice/X@{{2026-03-01}}"])
def test_what_is_rolled_back_is_a_tag_and_no_version(registry: Registry, three: tuple[str, str, str], ref: str) -> None:
    with pytest.raises(UsageError, match="names a version already"):
        registry.rollback(ref.format(three[0]), three[1])


def test_a_protected_tag_is_not_rolled_back(registry: Registry, three: tuple[str, str, str]) -> None:
    registry.tag("alice/X", "prod", protect=True)
    before = standing(registry)
    with pytest.raises(Conflict, match="the tag is protected: prod"):
        registry.rollback("alice/X", three[0], "latest", "prod")
    assert standing(registry) == before


def test_a_protected_tag_may_be_rolled_back_to_where_it_stands(registry: Registry, three: tuple[str, str, str]) -> None:
    registry.tag("alice/X", "prod", protect=True)
    assert registry.rollback("alice/X", three[2], "prod").before == {"prod": three[2]}


def test_a_tag_that_does_not_stand_is_not_made_and_the_others_stay(
    registry: Registry, three: tuple[str, str, str]
) -> None:
    before = standing(registry)
    with pytest.raises(NotFound, match="alice/X has no tag nightly, weekly"):
        registry.rollback("alice/X", three[0], "latest", "nightly", "weekly")
    assert standing(registry) == before


@pytest.mark.parametrize("form", ["{:.8}", "@{}", "{}"])
def test_a_version_that_was_collected_is_told_so_and_moves_nothing(
    registry: Registry, three: tuple[str, str, str], form: str
) -> None:
    registry.session.pen.remove_tree(f"{registry.root}/alice/X/.lhub/versions/{three[1]}")
    before = standing(registry)
    with pytest.raises(NotFound, match="is not here any more, a collection has removed it") as told:
        registry.rollback("alice/X", form.format(three[1]))
    assert "lhub log alice/X" in told.value.hint
    assert standing(registry) == before


def test_a_version_in_the_trash_comes_back(registry: Registry, three: tuple[str, str, str]) -> None:
    versions = registry.root / "alice/X/.lhub/versions"
    (versions / three[1]).rename(versions / f".trash.1700000000.{three[1]}")
    registry.rollback("alice/X", three[1][:12])
    assert (versions / three[1]).is_dir()
    assert registry.verify().ok


def test_a_tag_is_not_moved_to_what_cannot_be_read(registry: Registry, three: tuple[str, str, str]) -> None:
    version = registry.root / "alice/X/.lhub/versions" / three[1]
    with by_hand(version):
        (version / "manifest.yaml").write_bytes(b"format: 1\n")
    before = standing(registry)
    with pytest.raises(Corrupt):
        registry.rollback("alice/X", three[1])
    assert standing(registry) == before


class Steps(Pen):
    """A pen that counts."""

    count = 0

    def step(self, verb: str, path: str) -> None:
        self.count += 1


def test_a_rollback_takes_as_many_steps_whatever_the_size(registry: Registry, tmp_path: Path) -> None:
    sizes: list[dict[str, str | bytes]] = [
        {"a.txt": "1"},
        {"big.bin": b"\0" * (24 << 20)},
        {f"{folder}/{file}.txt": "x" for folder in range(20) for file in range(10)},
    ]
    counts = []
    for number, files in enumerate(sizes):
        name = f"X{number}"
        folder = write_tree(tmp_path / name, {".gitignore": "# quick to read\n", **files})
        first = registry.push(folder, name).version
        registry.push(write_tree(folder, {"more.txt": "more"}), name)
        pen = Steps()
        as_caller(registry, "alice", pen=pen).rollback(f"alice/{name}", first)
        counts.append(pen.count)
    assert counts[0] == counts[1] == counts[2] < 40


def test_a_rollback_leaves_visibility_and_protection_alone(registry: Registry, three: tuple[str, str, str]) -> None:
    registry.tag("alice/X", "v1", protect=True)
    registry.visibility("alice/X", "private")
    registry.rollback("alice/X", three[0], "prod")
    shown = registry.show("alice/X")
    assert (shown.visibility, shown.protected_tags) == ("private", ("v1",))


@pytest.mark.parametrize("caller", ["bob", None])
def test_only_its_owner_rolls_a_resource_back(
    registry: Registry, three: tuple[str, str, str], caller: str | None
) -> None:
    before = standing(registry)
    with pytest.raises(Denied):
        as_caller(registry, caller).rollback("alice/X", three[0])
    assert standing(registry) == before


def test_without_git_a_tag_goes_back_and_the_diary_catches_up(
    registry: Registry, three: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    alice = Registry(registry.root, namespace="alice", notes=said.append)
    with monkeypatch.context() as nowhere:
        nowhere.setenv("PATH", str(tmp_path))
        alice.rollback("alice/X", three[0])
    assert alice.show("alice/X").version == three[0]
    assert [sentence[:29] for sentence in said] == ["the diary of alice/X lags, th"]
    alice.tag("alice/X", "next")
    assert [entry.late for entry in alice.log("alice/X")[:2]] == [False, True]
    assert alice.log_at("alice/X", "2199-01-01").tags["latest"] == three[0]
