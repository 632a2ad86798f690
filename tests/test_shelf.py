"""The shelf: all that one may see is listed and found, nothing else is, and what is damaged stops nobody."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lhub.errors import Corrupt, LhubError, NotFound, UsageError
from lhub.registry import Registry
from lhub.shelf import Found
from tests.conftest import Shell, as_caller, by_hand, config_yml, executor_py, snapshot, write_tree

QUICK: dict[str, str | bytes] = {".gitignore": "# one of its own is quicker to read than the built-in list\n"}
LAW = settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def executor(name: str, description: str = "", keywords: str = "") -> dict[str, str | bytes]:
    """The files of an Executor that tells these things of itself."""
    told = [f"description: {description}"] if description else []
    told += [f"keywords: [{keywords}]"] if keywords else []
    return {"config.yml": config_yml(name, *told), "executor.py": executor_py(name)}


def push(registry: Registry, name: str, files: dict[str, str | bytes], **options: bool) -> str:
    """Push a folder with these files; the version."""
    folder = write_tree(registry.root.parent / f"src of {name}", QUICK | files)
    return registry.push(folder, name, **options).version


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that a shelf may hold, to be copied: no test writes here."""
    root = tmp_path_factory.mktemp("origin") / "registry"
    alice, bob, nobody = (Registry(root, namespace=name) for name in ("alice", "bob", None))
    push(alice, "Encoder", executor("Encoder", "Straße und Bild", "Image, CLIP"))
    push(alice, "weights", {"Deep/needle.BIN": b"\0" * 100})
    push(alice, "secret", {"needle.txt": "1"}, private=True)
    push(bob, "Encoder", executor("Encoder", "needle in a description"))
    push(bob, "hidden", {"needle.txt": "1"}, private=True)
    push(nobody, "Loose", executor("Loose", keywords="Needle"))
    push(nobody, "Sealed", executor("Sealed", keywords="needle"), private=True)
    return root


@pytest.fixture
def shelf(origin: Path) -> Registry:
    """That registry, for alice, who only looks."""
    return Registry(origin, namespace="alice")


@pytest.fixture
def own(origin: Path, tmp_path: Path) -> Registry:
    """A copy of it, for alice, who changes it."""
    shutil.copytree(origin, tmp_path / "registry", symlinks=True)
    return Registry(tmp_path / "registry", namespace="alice")


def names(found: list[object]) -> list[str]:
    return [each.name for each in found if hasattr(each, "name")]


# listing


def test_all_that_one_may_see_is_listed_by_name(shelf: Registry) -> None:
    told = [(line.name, line.kind, line.visibility, list(line.tags)) for line in shelf.list()]
    assert told == [
        ("Loose", "executor", "public", ["latest"]),
        ("alice/Encoder", "executor", "public", ["latest"]),
        ("alice/secret", "files", "private", ["latest"]),
        ("alice/weights", "files", "public", ["latest"]),
        ("bob/Encoder", "executor", "public", ["latest"]),
    ]


@pytest.mark.parametrize(
    ("caller", "hidden"),
    [
        ("alice", {"bob/hidden"}),
        ("bob", {"alice/secret"}),
        (None, {"alice/secret", "bob/hidden"}),
        ("carol", {"alice/secret", "bob/hidden"}),
    ],
)
def test_what_is_private_is_listed_for_its_owner_only(shelf: Registry, caller: str | None, hidden: set[str]) -> None:
    everything = {"Loose", "alice/Encoder", "alice/secret", "alice/weights", "bob/Encoder", "bob/hidden"}
    assert set(names([*as_caller(shelf, caller).list()])) == everything - hidden


def test_of_one_namespace_or_kind_only_that_is_listed(shelf: Registry) -> None:
    assert names([*shelf.list("bob")]) == ["bob/Encoder"]
    assert names([*shelf.list("_")]) == ["Loose"]
    assert names([*shelf.list(kind="files")]) == ["alice/secret", "alice/weights"]
    assert names([*shelf.list("alice", kind="executor")]) == ["alice/Encoder"]
    assert shelf.list(kind="docarray") == []


@pytest.mark.parametrize("namespace", ["carol", "..", "", "alice/Encoder", ".trash", "Alice"])
def test_a_namespace_that_is_not_here_is_not_found(shelf: Registry, namespace: str) -> None:
    with pytest.raises(NotFound, match=r"there is no namespace"):
        shelf.list(namespace)


@pytest.mark.parametrize("kind", ["", "Executor", "models", "\x1b[31m"])
def test_a_kind_that_there_is_not_is_refused(shelf: Registry, kind: str) -> None:
    with pytest.raises(UsageError, match="there is no kind") as told:
        shelf.list(kind=kind)
    assert str(told.value).isprintable()


def test_the_size_is_that_of_latest_or_of_the_tag_moved_last(registry: Registry) -> None:
    push(registry, "X", {"a": "1234"})
    registry.tag("alice/X", "small")
    push(registry, "X", {"a": "1" * 1000})
    large, small = (registry.show(f"alice/X:{tag}").bytes for tag in ("latest", "small"))
    assert registry.list()[0].bytes == large > small
    os.utime(registry.root / "alice/X/small", (1, 1), follow_symlinks=False)
    registry.untag("alice/X:latest")
    assert registry.list()[0].bytes == small


def test_it_was_updated_when_a_tag_moved_last(own: Registry) -> None:
    os.utime(own.root / "alice/weights/latest", (1_700_000_000, 1_700_000_000), follow_symlinks=False)
    line = next(line for line in own.list("alice") if line.name == "alice/weights")
    assert line.to_dict()["updated"] == "2023-11-14T22:13:20Z"


@pytest.mark.parametrize("when", [-1e10, 0, 2**40])
def test_a_time_that_no_clock_gave_stops_no_listing(own: Registry, when: int) -> None:
    os.utime(own.root / "alice/weights/latest", (when, when), follow_symlinks=False)
    assert len(own.list()) == 5
    assert all(line.to_dict() for line in own.list())


def test_without_tags_a_resource_is_listed_without_tags(own: Registry) -> None:
    own.untag("alice/weights:latest")
    line = next(line for line in own.list("alice") if line.name == "alice/weights")
    assert (line.kind, line.tags, line.bytes, line.to_dict()["updated"]) == ("files", {}, 0, None)


def test_what_is_no_resource_is_passed_over(own: Registry, tmp_path: Path) -> None:
    expected, space = names([*own.list()]), own.root / "alice"
    write_tree(space, {"notes.txt": "x", "empty/notes.txt": "x", "a b/latest": "x", ".hidden/latest": "x", "con/x": ""})
    (space / "link").symlink_to(space / "weights")
    (space / "away").symlink_to(tmp_path)
    (own.root / "elsewhere").symlink_to(tmp_path)
    (own.root / "same").symlink_to(space)
    write_tree(own.root, {"README": "x", "a b/X/latest": "x"})
    os.mkfifo(space / "fifo")
    assert names([*own.list()]) == expected
    assert names([*own.search("weights")]) == ["alice/weights"]


def test_what_was_deleted_is_not_listed_and_not_found(own: Registry) -> None:
    own.delete("alice/weights")
    assert "alice/weights" not in names([*own.list()])
    assert own.search("weights") == []


DAMAGE: dict[str, Callable[[Path], object]] = {
    "manifest": lambda version: (version / "manifest.yaml").write_text("format: 1\n"),
    "manifest gone": lambda version: (version / "manifest.yaml").unlink(),
    "sums": lambda version: (version / "SHA256SUMS").write_text(""),
    "version gone": shutil.rmtree,
    "kind": lambda version: (version.parents[2] / "resource.yaml").write_text("kind: [\n"),
    "kind is a folder": lambda version: [
        (version.parents[2] / "resource.yaml").unlink(), (version.parents[2] / "resource.yaml").mkdir()
    ],
    "tag leads out": lambda version: [
        (version.parents[2] / "latest").unlink(), (version.parents[2] / "latest").symlink_to("/etc")
    ],
    "tag is a file": lambda version: [
        (version.parents[2] / "latest").unlink(), (version.parents[2] / "latest").write_text("x")
    ],
    "manifest is a fifo": lambda version: [
        (version / "manifest.yaml").unlink(), os.mkfifo(version / "manifest.yaml")
    ],
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_keeps_nothing_else_from_being_listed_and_found(own: Registry, damage: str) -> None:
    version = (own.root / "alice/weights/latest").resolve()
    with by_hand(version):
        DAMAGE[damage](version)
    assert {"Loose", "alice/Encoder", "bob/Encoder"} <= set(names([*own.list()]))
    assert {"Loose", "bob/Encoder"} <= set(names([*own.search("needle")]))
    assert "alice/Encoder" in names([*own.search("e")])


def test_a_damaged_version_is_listed_as_damaged(own: Registry) -> None:
    version = (own.root / "alice/weights/latest").resolve()
    with by_hand(version):
        (version / "manifest.yaml").write_text("format: 1\n")
    assert next(line for line in own.list() if line.name == "alice/weights").kind == "damaged"


def test_looking_changes_nothing(shelf: Registry) -> None:
    before = snapshot(shelf.root)
    shelf.list()
    shelf.search("needle")
    shelf.show("alice/Encoder")
    assert snapshot(shelf.root) == before


def test_json_of_a_line_has_its_fields(shelf: Registry) -> None:
    line = shelf.list("bob")[0]
    assert line.to_dict() == {
        "name": "bob/Encoder",
        "kind": "executor",
        "visibility": "public",
        "tags": line.tags,
        "updated": line.to_dict()["updated"],
        "bytes": line.bytes,
    }


# showing


def test_one_resource_is_shown_at_the_version_that_is_meant(registry: Registry) -> None:
    first = push(registry, "X", {"a": "1"})
    registry.tag("alice/X", "v1", protect=True)
    second = push(registry, "X", {"a": "22"})
    shown = registry.show("alice/X:v1")
    assert (shown.version, shown.tags, shown.protected_tags) == (first, {"latest": second, "v1": first}, ("v1",))
    assert registry.show("alice/X").version == second
    assert registry.show(f"alice/X@{first[:8]}").bytes == shown.bytes == registry.show("alice/X").bytes - 1


def test_json_of_what_is_shown_has_its_fields_and_the_manifest(shelf: Registry) -> None:
    told = shelf.show("bob/Encoder").to_dict()
    assert list(told) == [
        "name", "kind", "visibility", "version", "tags", "protected_tags", "updated", "bytes", "manifest"
    ]  # fmt: skip
    assert isinstance(told["manifest"], dict)
    assert told["manifest"]["about"]["description"] == "needle in a description"


@pytest.mark.parametrize(
    "ref", ["bob/hidden", "bob/nothing", "carol/X", "Sealed", "jinahub://Sealed", "jinahub://Sealed:x"]
)
def test_what_is_hidden_is_shown_as_what_is_absent(shelf: Registry, ref: str) -> None:
    with pytest.raises(NotFound, match="is not here") as told:
        shelf.show(ref)
    assert "lhub list" in told.value.hint


def test_what_is_damaged_is_not_shown(own: Registry) -> None:
    version = (own.root / "alice/weights/latest").resolve()
    with by_hand(version):
        (version / "manifest.yaml").write_text("format: 1\n")
    with pytest.raises(Corrupt):
        own.show("alice/weights")


# searching


@pytest.mark.parametrize(
    ("terms", "found"),
    [
        (["encoder"], ["alice/Encoder", "bob/Encoder"]),
        (["ENCODER"], ["alice/Encoder", "bob/Encoder"]),
        (["clip"], ["alice/Encoder"]),
        (["STRASSE"], ["alice/Encoder"]),
        (["straße"], ["alice/Encoder"]),
        (["bild"], ["alice/Encoder"]),
        (["deep/needle"], ["alice/weights"]),
        ([".bin"], ["alice/weights"]),
        (["alice/"], ["alice/Encoder", "alice/secret", "alice/weights"]),
        (["loose"], ["Loose"]),
        (["encoder", "image"], ["alice/Encoder"]),
        (["image", "encoder", "straße"], ["alice/Encoder"]),
        (["image", "needle"], []),
        (["encoder", "", " "], ["alice/Encoder", "bob/Encoder"]),
        (["e", "e", "E"], None),
        (["nothing has this"], []),
        (["*"], []),
        (["%"], []),
        ([".*"], []),
        (["[a-z]"], []),
        (["\\"], []),
        (["\0"], []),
        (["\ud800"], []),
    ],
    ids=repr,
)
def test_what_has_every_term_is_found_whatever_its_case(
    shelf: Registry, terms: list[str], found: list[str] | None
) -> None:
    told = names([*shelf.search(*terms)])
    assert told == found if found is not None else len(told) == len(set(told)) >= 4


@pytest.mark.parametrize("terms", [[], [""], ["  ", "\t"]])
def test_without_a_term_nothing_is_sought(shelf: Registry, terms: list[str]) -> None:
    with pytest.raises(UsageError, match="no term was given"):
        shelf.search(*terms)


def test_what_a_file_holds_is_not_sought(shelf: Registry) -> None:
    assert shelf.search("executor.py") != []
    assert shelf.search("one of its own is quicker") == []


def test_names_come_first_then_keywords_descriptions_and_files(own: Registry) -> None:
    push(own, "needles", {"a": "1"})
    assert names([*own.search("needle")]) == [
        "alice/needles", "Loose", "bob/Encoder", "alice/secret", "alice/weights"
    ]  # fmt: skip


def test_a_match_says_where_it_is(shelf: Registry) -> None:
    told = {each.name: each.matches for each in shelf.search("needle")}
    assert told == {
        "Loose": ("keywords: Needle",),
        "alice/secret": ("file: needle.txt",),
        "alice/weights": ("file: Deep/needle.BIN",),
        "bob/Encoder": ("description: needle in a description",),
    }


def test_every_term_s_match_is_told_once(shelf: Registry) -> None:
    (found,) = shelf.search("image", "clip", "IMAGE")
    assert found.matches == ("keywords: Image", "keywords: CLIP")
    assert found.to_dict() == {
        "name": "alice/Encoder",
        "kind": "executor",
        "visibility": "public",
        "matches": ["keywords: Image", "keywords: CLIP"],
    }


def test_of_many_files_that_match_a_few_are_told(own: Registry) -> None:
    push(own, "many", {f"part-{number}.bin": "1" for number in range(50)})
    (found,) = own.search("part-")
    assert len(found.matches) == 3


def test_the_newest_is_sought_and_not_what_was(own: Registry) -> None:
    push(own, "weights", {"Deep/needle.BIN": "1", "more.txt": ""})
    (own.root.parent / "src of weights/Deep/needle.BIN").unlink()
    push(own, "weights", {"more.txt": "2"})
    assert "alice/weights" not in names([*own.search("needle")])


@pytest.mark.parametrize("caller", ["alice", "bob", "carol", None])
@pytest.mark.parametrize("term", ["needle", "hidden", "sealed", "secret", "e", "txt"])
def test_what_is_hidden_is_never_found(shelf: Registry, caller: str | None, term: str) -> None:
    who = as_caller(shelf, caller)
    hidden = {"alice/secret", "bob/hidden", "Sealed"} - {f"{caller}/secret", f"{caller}/hidden"}
    assert not hidden & set(names([*who.search(term)]))


def test_what_is_hidden_is_not_even_opened(own: Registry) -> None:
    """Where one account holds all, only lhub hides: a damaged one would tell of itself."""
    version = (own.root / "bob/hidden/latest").resolve()
    with by_hand(version):
        (version / "manifest.yaml").unlink()
        os.mkfifo(version / "manifest.yaml")
    assert "bob/hidden" not in names([*own.search("needle")])


words = st.sampled_from(["encoder", "image", "needle", "alice", "bin", "e", "zzz"])


@LAW
@given(st.lists(words, min_size=1, max_size=3), words, st.randoms())
def test_another_term_finds_no_more_and_their_order_finds_the_same(
    origin: Path, terms: list[str], more: str, chance: object
) -> None:
    alice = Registry(origin, namespace="alice")
    found = {each.name for each in alice.search(*terms)}
    assert {each.name for each in alice.search(*terms, more)} <= found
    assert {each.name for each in alice.search(*reversed(terms))} == found
    assert {each.name for each in alice.search(*(term.upper() for term in terms))} == found


def test_nothing_that_is_found_moves_a_cursor(shell: Shell, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry", namespace="alice")
    described = '"\\e[2Jneedle\\u202e"'
    push(registry, "X", executor("X", described, described) | {"\u202eneedle": ""})
    for words in (["search", "needle"], ["search", "needle", "--json"], ["list"], ["show", "alice/X"]):
        out = shell(*words, check=True, LHUB_ROOT=str(registry.root)).out
        assert all(character.isprintable() or character == "\n" for character in out)
        assert "alice/X" in out


# several registries


@pytest.fixture
def several(tmp_path: Path) -> Registry:
    """Mine and the team's, for alice: X in both, One in mine, Two in the team's; private X of bob's in mine only."""
    mine, team = (Registry(tmp_path / name / "registry", namespace="alice") for name in ("mine", "team"))
    for registry in (mine, team):
        registry.root.parent.mkdir()
    push(mine, "X", {"a": "mine"})
    push(mine, "One", {"a": "1"})
    push(as_caller(mine, "bob"), "X", {"a": "mine"}, private=True)
    push(team, "X", {"needle": "team"})
    push(team, "Two", {"a": "2"})
    push(as_caller(team, "bob"), "X", {"needle": "team"})
    return Registry(mine.root, also=[team.root], namespace="alice")


def places(registry: Registry) -> dict[str, str]:
    """Which resource is listed from where."""
    return {line.name: Path(line.root or "").parent.name for line in registry.list()}


def test_the_listings_of_several_are_one_in_which_the_first_wins(several: Registry) -> None:
    assert places(several) == {"alice/One": "mine", "alice/Two": "team", "alice/X": "mine", "bob/X": "team"}
    assert names([*several.list()]) == ["alice/One", "alice/Two", "alice/X", "bob/X"]


def test_in_the_other_order_the_other_wins(several: Registry) -> None:
    team, mine = (session.root for session in reversed(several.sessions))
    other = Registry(team, also=[mine], namespace="alice")
    assert places(other) == {"alice/One": "mine", "alice/Two": "team", "alice/X": "team", "bob/X": "team"}


def test_one_that_is_missing_is_passed_over(several: Registry, tmp_path: Path) -> None:
    mine, team = (session.root for session in several.sessions)
    for roots in ([tmp_path / "no", mine, team], [mine, tmp_path / "no", team], [mine, team, tmp_path / "no"]):
        told = Registry(roots[0], also=roots[1:], namespace="alice")
        assert places(told) == places(several)
        assert names([*told.search("two")]) == ["alice/Two"]
    assert not (tmp_path / "no").exists()


def test_where_none_stands_that_is_said(tmp_path: Path) -> None:
    nowhere = Registry(tmp_path / "a", also=[tmp_path / "b"])
    for look in (nowhere.list, lambda: nowhere.search("x"), lambda: nowhere.show("alice/X")):
        with pytest.raises(NotFound, match="there is no registry at"):
            look()


def test_a_namespace_that_none_has_is_not_found(several: Registry) -> None:
    assert names([*several.list("bob")]) == ["bob/X"]
    with pytest.raises(NotFound, match="there is no namespace carol"):
        several.list("carol")


def test_a_namespace_that_only_the_second_has_is_listed(several: Registry, tmp_path: Path) -> None:
    carol = Registry(several.sessions[1].root, namespace="carol")
    push(carol, "Z", {"a": "1"})
    assert names([*several.list("carol")]) == ["carol/Z"]


def test_a_line_says_where_it_is_from_only_among_several(several: Registry) -> None:
    assert several.list()[0].to_dict()["root"] == several.sessions[0].root
    assert "root" not in Registry(several.root).list()[0].to_dict()


def test_what_is_found_is_what_its_name_means(several: Registry) -> None:
    """alice/X is mine; that the team's has the term is of no use to who asks for it by its name."""
    assert names([*several.search("needle")]) == ["bob/X"]
    assert names([*several.search("alice/x")]) == ["alice/X"]


def test_a_damaged_one_among_several_is_one_sentence_or_passed_over(several: Registry) -> None:
    (Path(several.sessions[1].root) / "registry.yaml").write_text("format: 99\n")
    try:
        assert names([*several.list()]) == ["alice/One", "alice/X"]
    except LhubError as error:
        assert "99" in str(error)


def test_values_of_a_search_are_what_they_say() -> None:
    found = Found(name="alice/X", kind="files", visibility="public", matches=("name: alice/X",))
    assert found.to_dict() == {"name": "alice/X", "kind": "files", "visibility": "public", "matches": ["name: alice/X"]}
