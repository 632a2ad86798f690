"""The registry: the verbs a person says, at one root or at several, in which the first takes all that is written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lhub.door import here
from lhub.errors import Conflict, Denied, LhubError, NotFound, UsageError
from lhub.names import parse_ref
from lhub.registry import Registry
from tests.conftest import Shell, as_caller, read_tree, snapshot, write_tree

QUICK: dict[str, str | bytes] = {".gitignore": "# one of its own is quicker to read than the built-in list\n"}


def push(registry: Registry, name: str, text: str, *tags: str, **options: bool) -> str:
    """Push a folder with one text; the version."""
    folder = write_tree(registry.root.parent / "src", QUICK | {"a.txt": text})
    return registry.push(folder, name, tags=tags or ("latest",), **options).version


# one root


def test_a_registry_says_where_it_is_and_for_whom(registry: Registry) -> None:
    assert repr(registry) == f"Registry('{registry.root}', namespace='alice')"
    assert registry.root.is_dir()


def test_its_place_is_the_real_one(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(registry.root)
    monkeypatch.chdir(registry.root.parent)
    assert {Registry(place).root for place in ("registry", "link", "./registry/", str(registry.root))} == {
        registry.root
    }


def test_a_reference_may_be_parsed_already(registry: Registry) -> None:
    version = push(registry, "X", "1", "v1")
    ref = parse_ref("alice/X:v1")
    assert registry.show(ref).version == version
    assert registry.path(ref) == registry.path("alice/X:v1")


def test_tags_are_made_moved_and_protected(registry: Registry) -> None:
    first = push(registry, "X", "1", "v1")
    second = push(registry, "X", "2")
    assert registry.tag("alice/X:v1", "old", "prod") == {"latest": second, "old": first, "prod": first, "v1": first}
    assert registry.tag("alice/X", "prod")["prod"] == second
    assert registry.tag("alice/X", "prod", "v1", protect=True) == {
        "latest": second, "old": first, "prod": second, "v1": first
    }  # fmt: skip
    assert registry.show("alice/X").protected_tags == ("prod", "v1")
    with pytest.raises(Conflict, match="the tag is protected: v1"):
        registry.tag("alice/X", "v1")


def test_a_version_and_a_date_may_be_tagged(registry: Registry) -> None:
    first = push(registry, "X", "1")
    push(registry, "X", "2")
    assert registry.tag(f"alice/X@{first[:8]}", "old")["old"] == first
    assert registry.tag("alice/X:old@{2199-01-01}", "older")["older"] == first


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        (lambda registry: registry.tag("alice/X"), "no tag was given"),
        (lambda registry: registry.untag("alice/X"), "names no tag"),
        (lambda registry: registry.tag("alice/X", "a b"), "not a tag"),
        (lambda registry: registry.untag("alice/X", "a/b"), "not a tag"),
        (lambda registry: registry.visibility("alice/X", "secret"), "public or private, not 'secret'"),
        (lambda registry: registry.visibility("alice/X", ""), "public or private, not ''"),
        (lambda registry: registry.show("alice/X:"), "not a reference"),
        (lambda registry: registry.pull("alice/X", ""), "DEST is empty"),
        (lambda registry: registry.search(), "no term was given"),
        (lambda registry: registry.list(kind="x"), "there is no kind"),
    ],
)  # fmt: skip
def test_words_that_are_off_are_one_sentence_and_change_nothing(
    registry: Registry, verb: Callable[[Registry], object], words: str
) -> None:
    push(registry, "X", "1")
    before = snapshot(registry.root)
    with pytest.raises(UsageError, match=words) as told:
        verb(registry)
    assert told.value.hint
    assert snapshot(registry.root) == before


def test_tags_that_differ_only_by_case_are_refused(registry: Registry) -> None:
    push(registry, "X", "1", "v1")
    for tags in (("V1",), ("new", "NEW")):
        with pytest.raises(Conflict, match="differs only by case"):
            registry.tag("alice/X:v1", *tags)
    assert list(registry.show("alice/X:v1").tags) == ["v1"]


def test_a_tag_goes_and_its_version_stays(registry: Registry) -> None:
    version = push(registry, "X", "1", "v1", "v2")
    assert registry.untag("alice/X:v1") == {"v2": version}
    assert registry.untag("alice/X", "v2") == {}
    assert registry.show(f"alice/X@{version}").version == version


def test_visibility_is_told_and_changed(registry: Registry) -> None:
    push(registry, "X", "1")
    assert [registry.visibility("alice/X", how) for how in (None, "private", None, "private", "public", None)] == [
        "public", "private", "private", "private", "public", "public"
    ]  # fmt: skip
    assert [entry.visibility for entry in registry.log("alice/X")] == ["public", "private", "public"]


@pytest.mark.parametrize("caller", ["bob", None])
def test_nobody_else_changes_anything(registry: Registry, caller: str | None) -> None:
    version = push(registry, "X", "1")
    who, before = as_caller(registry, caller), snapshot(registry.root)
    for verb in (
        lambda: who.tag("alice/X", "v2"),
        lambda: who.untag("alice/X:latest"),
        lambda: who.rollback("alice/X", version),
        lambda: who.visibility("alice/X", "private"),
        lambda: who.delete("alice/X"),
        lambda: push(who, "alice/X", "2"),
    ):
        with pytest.raises(Denied):
            verb()
    assert snapshot(registry.root) == before


# several roots


@dataclass(frozen=True, kw_only=True)
class Two:
    """Mine, the team's, and both of them as one, with what was said."""

    mine: Registry
    team: Registry
    both: Registry
    said: list[str]

    def origins(self) -> list[str]:
        """Which registry each note names."""
        return [Path(sentence.rpartition(" ")[2]).parent.name for sentence in self.said]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """alice's registries, mine and the team's, to be copied: no test writes here."""
    place = tmp_path_factory.mktemp("origin")
    for name in ("mine", "team"):
        (place / name).mkdir()
        registry = Registry(place / name / "registry", namespace="alice")
        push(registry, "X", name)
        push(registry, name.capitalize(), name)
    push(registry, "X", "old", "v1")
    return place


def both_of(place: Path) -> Two:
    mine, team = (Registry(place / name / "registry", namespace="alice") for name in ("mine", "team"))
    said: list[str] = []
    both = Registry(mine.root, also=[team.root], namespace="alice", notes=said.append)
    return Two(mine=mine, team=team, both=both, said=said)


@pytest.fixture
def look(origin: Path) -> Two:
    """alice's registries: X in both (v1 in the team's only), Mine and Team in one each. No test writes here."""
    return both_of(origin)


@pytest.fixture
def two(origin: Path, tmp_path: Path) -> Two:
    """The same, to be changed."""
    shutil.copytree(origin, tmp_path, symlinks=True, dirs_exist_ok=True)
    return both_of(tmp_path)


READ: dict[str, Callable[[Registry, str, Path], object]] = {
    "show": lambda registry, ref, out: registry.show(ref),
    "path": lambda registry, ref, out: registry.path(ref),
    "pull": lambda registry, ref, out: registry.pull(ref, out),
    "log": lambda registry, ref, out: registry.log(ref),
    "log --at": lambda registry, ref, out: registry.log_at(ref, "2199-01-01"),
    "diff": lambda registry, ref, out: registry.diff(ref, str(write_tree(out, {"a": "1"}))),
    "verify": lambda registry, ref, out: registry.verify(ref),
    "visibility": lambda registry, ref, out: registry.visibility(ref),
    "export": lambda registry, ref, out: registry.export(ref, path=f"{out}.tar"),
}


@pytest.mark.parametrize("verb", READ)
def test_what_reads_looks_in_each_and_says_where_it_was(look: Two, tmp_path: Path, verb: str) -> None:
    for number, (ref, origin) in enumerate((("alice/Mine", "mine"), ("alice/Team", "team"), ("alice/X", "mine"))):
        look.said.clear()
        READ[verb](look.both, ref, tmp_path / str(number))
        assert look.origins() == [origin]
        assert look.said[0].startswith(f"{ref} is from ")


@pytest.mark.parametrize("verb", READ)
def test_what_is_in_none_is_not_here(look: Two, tmp_path: Path, verb: str) -> None:
    with pytest.raises(NotFound, match="alice/Nowhere is not here"):
        READ[verb](look.both, "alice/Nowhere", tmp_path / "out")
    assert look.said == []


@pytest.mark.parametrize("verb", READ)
def test_a_registry_that_is_missing_is_passed_over(look: Two, tmp_path: Path, verb: str) -> None:
    no = tmp_path / "no"
    for roots in ([no, look.team.root], [look.mine.root, no, look.team.root]):
        registry = Registry(roots[0], also=roots[1:], namespace="alice", notes=look.said.append)
        READ[verb](registry, "alice/Team", tmp_path / f"out {len(roots)}")
    assert look.origins() == ["team", "team"]
    assert not no.exists()


def test_what_is_not_here_is_told_rather_than_which_registry_is_missing(look: Two, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "no", also=[look.team.root], namespace="alice")
    with pytest.raises(NotFound, match="alice/Nowhere is not here"):
        registry.show("alice/Nowhere")


def test_a_tag_that_only_the_second_has_is_found_there(look: Two) -> None:
    assert look.both.path("alice/X:v1").startswith(f"{look.team.root}/")
    assert look.both.path("alice/X").startswith(f"{look.mine.root}/")


def test_a_version_is_found_wherever_it_is(look: Two) -> None:
    version = look.team.show("alice/X:v1").version
    assert look.both.show(f"alice/X@{version[:8]}").version == version
    assert look.origins() == ["team"]


def test_what_is_hidden_in_the_first_and_public_in_the_second_is_the_second_s(two: Two) -> None:
    two.mine.visibility("alice/X", "private")
    bob = Registry(two.mine.root, also=[two.team.root], namespace="bob", notes=two.said.append)
    assert bob.path("alice/X").startswith(f"{two.team.root}/")
    assert {line.name: line.root for line in bob.list()}["alice/X"] == str(two.team.root)
    assert len(bob.log("alice/X")) == 2
    assert {*two.origins()} == {"team"}


def test_what_is_public_in_the_first_and_hidden_in_the_second_is_the_first_s(two: Two) -> None:
    two.team.visibility("alice/X", "private")
    bob = Registry(two.mine.root, also=[two.team.root], namespace="bob")
    assert bob.show("alice/X").version == two.mine.show("alice/X").version
    with pytest.raises(NotFound):
        bob.show("alice/X:v1")


def test_two_sides_of_a_diff_may_be_from_two_registries(look: Two) -> None:
    found = look.both.diff("alice/Mine", "alice/Team")
    assert found.changed == ("a.txt",)
    assert look.origins() == ["mine", "team"]


def changed(root: Path, deed: Callable[[], object]) -> bool:
    """Whether a deed changes anything there."""
    before = snapshot(root)
    deed()
    return snapshot(root) != before


def test_all_that_is_written_goes_to_the_first(two: Two, tmp_path: Path) -> None:
    before = snapshot(two.team.root)
    old = two.mine.show("alice/X").version
    deeds: list[Callable[[], object]] = [
        lambda: push(two.both, "X", "new"),
        lambda: push(two.both, "Team", "new"),
        lambda: two.both.tag("alice/X", "v2"),
        lambda: two.both.rollback("alice/X", old),
        lambda: two.both.untag("alice/X:v2"),
        lambda: two.both.visibility("alice/X", "private"),
        lambda: two.both.delete("alice/Mine"),
        lambda: two.both.restore("alice/Mine"),
        lambda: two.both.login("zoe"),
    ]
    assert [changed(two.mine.root, deed) for deed in deeds] == [True] * len(deeds)
    assert snapshot(two.team.root) == before


def test_what_only_the_second_has_is_not_changed_there(two: Two) -> None:
    before, version = snapshot(two.team.root), two.team.show("alice/Team").version
    deeds: list[Callable[[], object]] = [
        lambda: two.both.tag("alice/Team", "v2"),
        lambda: two.both.untag("alice/Team:latest"),
        lambda: two.both.rollback("alice/Team", version),
        lambda: two.both.visibility("alice/Team", "private"),
        lambda: two.both.delete("alice/Team"),
        lambda: two.both.restore("alice/Team"),
    ]
    for deed in deeds:
        with pytest.raises(NotFound):
            deed()
    assert snapshot(two.team.root) == before


@pytest.mark.parametrize(
    "place", ["mine/registry", "team/registry", "mine", "team", "mine/registry/alice", "team/registry/new"]
)
@pytest.mark.parametrize("ref", ["alice/Mine", "alice/Team"])
def test_a_pull_replaces_none_of_the_registries(two: Two, tmp_path: Path, place: str, ref: str) -> None:
    """Least of all one that the reference was not found in."""
    before = read_tree(tmp_path)
    with pytest.raises(UsageError):
        two.both.pull(ref, tmp_path / place, force=True)
    assert read_tree(tmp_path) == before


def test_the_same_registry_named_twice_is_one(look: Two, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(look.mine.root)
    registry = Registry(
        look.mine.root, also=[look.mine.root, tmp_path / "link"], namespace="alice", notes=look.said.append
    )
    registry.show("alice/Mine")
    assert (look.said, [line.root for line in registry.list()]) == ([], [None, None])


def test_the_order_decides(look: Two) -> None:
    other = Registry(look.team.root, also=[look.mine.root], namespace="alice")
    assert other.path("alice/X").startswith(f"{look.team.root}/")


# by LHUB_ROOT


@pytest.mark.parametrize(
    ("value", "roots"),
    [
        ("/a", ["/a"]),
        ("/a:/b", ["/a", "/b"]),
        ("/a:/b:/c", ["/a", "/b", "/c"]),
        ("/b:/a:/b", ["/b", "/a"]),
        (":/a::/b:", ["/a", "/b"]),
        ("/a b:/é", ["/a b", "/é"]),
        ("", ["/h/registry"]),
        (":", ["/h/registry"]),
    ],
)
def test_lhub_root_names_one_registry_or_several(value: str, roots: list[str]) -> None:
    found = here(environment={"LHUB_HOME": "/h", "LHUB_ROOT": value})
    assert [session.root for session in found.sessions] == roots
    assert found.session.root == roots[0]


def test_an_option_names_one_whatever_it_holds() -> None:
    found = here(root="/a:/b", environment={"LHUB_HOME": "/h", "LHUB_ROOT": "/c:/d"})
    assert [session.root for session in found.sessions] == ["/a:/b"]


def test_from_the_command_line_too_a_second_registry_is_read_and_never_written(two: Two, shell: Shell) -> None:
    roots = os.pathsep.join([str(two.mine.root), str(two.team.root)])
    write_tree(shell.home, {".lhub/login": "alice\n"})
    before = snapshot(two.team.root)
    pulled = shell("pull", "alice/X:v1", "out", check=True, LHUB_ROOT=roots)
    assert pulled.err == f"lhub: alice/X:v1 is from {two.team.root}\n"
    assert shell("push", "out", "Y", check=True, LHUB_ROOT=roots).code == 0
    refused = shell("tag", "alice/Team", "v2", LHUB_ROOT=roots)
    assert (refused.code, "alice/Team is not here" in refused.err) == (3, True)
    assert [line["name"] for line in shell("list", "--json", check=True, LHUB_ROOT=roots).json] == [
        "alice/Mine", "alice/Team", "alice/X", "alice/Y"
    ]  # fmt: skip
    assert (two.mine.root / "alice/Y/latest").exists()
    assert snapshot(two.team.root) == before


def test_a_registry_of_a_format_to_come_is_one_sentence(two: Two) -> None:
    (two.mine.root / "registry.yaml").write_text("format: 2\n")
    with pytest.raises(LhubError, match="2"):
        two.both.show("alice/Team")
