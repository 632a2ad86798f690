"""Diff: what changed between two versions or folders, by file, by line and by meaning; safe and in bounded time."""

from __future__ import annotations

import itertools
import resource
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lhub.comparison import Difference, changes
from lhub.errors import Corrupt, NotFound, UsageError
from lhub.registry import Registry
from tests.arrays import array
from tests.conftest import Shell, as_caller, by_hand, config_yml, executor_py, snapshot, write_tree
from tests.test_order import in_a_child

MIB = 1 << 20
QUICK: dict[str, str | bytes] = {".gitignore": "# one of its own is quicker to read than the built-in list\n"}
LAW = settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
def nowhere(tmp_path: Path) -> Registry:
    """A registry that does not stand: two folders need none."""
    return Registry(tmp_path / "nowhere")


Compare = Callable[[dict[str, str | bytes], dict[str, str | bytes]], Difference]


@pytest.fixture
def compare(nowhere: Registry, tmp_path: Path) -> Compare:
    """The difference of two folders with these files."""

    numbers = itertools.count()

    def compare(old: dict[str, str | bytes], new: dict[str, str | bytes]) -> Difference:
        place = tmp_path / str(next(numbers))
        left, right = (write_tree(place / name, QUICK | files) for name, files in (("old", old), ("new", new)))
        return nowhere.diff(str(left), str(right))

    return compare


@pytest.fixture
def lines(compare: Compare) -> Callable[[str | bytes, str | bytes], list[str]]:
    """The patch of one file."""
    return lambda old, new: list(compare({"a": old}, {"a": new}).patch)


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """alice/X with v1 and v2, and latest at v2. No test writes here."""
    place = tmp_path_factory.mktemp("origin")
    registry = Registry(place / "registry", namespace="alice")
    folder = write_tree(place / "X", QUICK | {"a.txt": "one\n", "goes.txt": "x\n"})
    registry.push(folder, "X", tags=["v1"])
    (folder / "goes.txt").unlink()
    registry.push(write_tree(folder, {"a.txt": "two\n", "comes.txt": "y\n"}), "X", tags=["v2", "latest"])
    return registry


@pytest.fixture
def own(pushed: Registry, registry: Registry) -> Registry:
    """The same, to be changed."""
    shutil.copytree(pushed.root / "alice/X", registry.root / "alice/X", symlinks=True)
    return registry


CHANGED = ((("comes.txt",), ("goes.txt",), ("a.txt",)), ("+two", "-one"))


def seen(found: Difference) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """Which files, and the two lines of a.txt."""
    return (found.added, found.removed, found.changed), tuple(
        sorted(line for line in found.patch if line[1:] in ("one", "two"))
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


# which files

PATHS = ["a", "b/c", "b/d/e", "b.txt", "z z", "é", "B2/c", "-x", "e.sh", "'q'", "[x]", "config.yml", "requirements.txt"]
contents = st.sampled_from([b"", b"1\n", b"2\n", b"2", b"\0\1", b"\xff", b"a: [", b"a: 1\r\n"])
trees = st.dictionaries(st.sampled_from(PATHS), st.tuples(contents, st.booleans()), min_size=1, max_size=8)
Files = dict[str, tuple[bytes, bool]]


def lay_out(folder: str, files: Files) -> str:
    write_tree(Path(folder), {path: content for path, (content, _) in files.items()})
    for path, (_, executable) in files.items():
        Path(folder, path).chmod(0o755 if executable else 0o644)
    return folder


def ordered(paths: set[str]) -> tuple[str, ...]:
    return tuple(sorted(paths, key=str.encode))


@LAW
@given(trees, trees)
def test_of_any_two_folders_each_file_is_added_removed_changed_or_the_same(
    nowhere: Registry, old: Files, new: Files
) -> None:
    with tempfile.TemporaryDirectory(dir=nowhere.root.parent) as place:
        found = nowhere.diff(lay_out(f"{place}/old", old), lay_out(f"{place}/new", new))
    assert found.added == ordered(set(new) - set(old))
    assert found.removed == ordered(set(old) - set(new))
    assert found.changed == ordered({path for path in set(old) & set(new) if old[path] != new[path]})
    assert found.same == (old == new)
    assert found.same or not (found.meaning and not found.patch)
    if found.same:
        assert (found.meaning, found.patch) == ((), ())


@settings(LAW, max_examples=8)
@given(trees, trees)
def test_versions_differ_as_their_folders_do(registry: Registry, old: Files, new: Files) -> None:
    with tempfile.TemporaryDirectory(dir=registry.root.parent) as place:
        left, right = lay_out(f"{place}/old", old), lay_out(f"{place}/new", new)
        try:
            first = registry.push(left, "X", tags=["old"]).version
            second = registry.push(right, "X", tags=["new"]).version
        except UsageError:  # an Executor's file that does not parse is not pushed
            return
        sides = [(left, right), (f"alice/X@{first}", right), (left, "alice/X:new"), (f"alice/X@{first}", second)]
        asked = [registry.diff(*side) for side in sides]
    assert len({(each.added, each.removed, each.changed, each.patch) for each in asked}) == 1


@LAW
@given(trees, trees)
def test_backwards_what_was_added_is_removed(nowhere: Registry, old: Files, new: Files) -> None:
    with tempfile.TemporaryDirectory(dir=nowhere.root.parent) as place:
        left, right = lay_out(f"{place}/old", old), lay_out(f"{place}/new", new)
        there, back = nowhere.diff(left, right), nowhere.diff(right, left)
    assert (there.added, there.removed, there.changed) == (back.removed, back.added, back.changed)
    assert len(there.meaning) == len(back.meaning)


def test_paths_are_told_in_the_order_of_their_bytes(compare: Compare) -> None:
    names = ["b", "a/z", "a.txt", "Z", "é", "y", "a/b"]
    assert compare({}, dict.fromkeys(names, "1")).added == tuple(sorted(names, key=str.encode))


def test_a_file_that_became_a_folder_is_removed_and_what_is_in_it_added(compare: Compare) -> None:
    found = compare({"a": "1"}, {"a/b": "1"})
    assert (found.added, found.removed, found.changed) == (("a/b",), ("a",), ())


def test_an_execute_bit_alone_is_a_change_without_lines(nowhere: Registry, tmp_path: Path) -> None:
    old, new = (write_tree(tmp_path / name, QUICK | {"run.sh": "1\n"}) for name in ("old", "new"))
    (new / "run.sh").chmod(0o755)
    there, back = nowhere.diff(str(old), str(new)), nowhere.diff(str(new), str(old))
    assert (there.changed, there.patch) == (("run.sh",), ("run.sh: executable now",))
    assert (back.changed, back.patch) == (("run.sh",), ("run.sh: not executable now",))


def test_without_a_patch_all_but_the_lines_is_told(pushed: Registry) -> None:
    whole, short = (pushed.diff("alice/X:v1", "v2", patch=patch) for patch in (True, False))
    assert (short.added, short.removed, short.changed, short.meaning) == (
        whole.added, whole.removed, whole.changed, whole.meaning
    )  # fmt: skip
    assert (bool(whole.patch), short.patch) == (True, ())


def test_what_a_push_would_leave_out_is_no_difference(own: Registry, tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "X", {".gitignore": "*.log\n", ".git/config": "x", "noise.log": "x", "a": "1"})
    own.push(folder, "X")
    assert own.diff("alice/X", str(write_tree(folder, {"more.log": "y", ".git/HEAD": "y"}))).same


def test_json_has_the_paths_and_the_meaning(pushed: Registry) -> None:
    assert pushed.diff("alice/X:v1", "v2").to_dict() == {
        "added": ["comes.txt"],
        "removed": ["goes.txt"],
        "changed": ["a.txt"],
        "meaning": [],
    }


# line by line


def test_a_text_is_told_as_a_unified_diff(lines: Callable[..., list[str]]) -> None:
    old = "".join(f"{n}\n" for n in range(10))
    assert lines(old, old.replace("5\n", "five\n")) == [
        "--- a/a", "+++ b/a", "@@ -3,7 +3,7 @@", " 2", " 3", " 4", "-5", "+five", " 6", " 7", " 8"
    ]  # fmt: skip


texts = st.lists(st.sampled_from(["a", "b", "c", "", " ", "\r", "-", "+", "@@ -1 +1 @@", "\t"]), max_size=12).map(
    lambda some: "".join(f"{line}\n" for line in some)
)


@LAW
@given(texts, texts)
@example("", "\n")
@example("a\n", "")
def test_the_old_lines_without_the_minus_and_with_the_plus_ones_are_the_new(
    nowhere: Registry, old: str, new: str
) -> None:
    with tempfile.TemporaryDirectory(dir=nowhere.root.parent) as place:
        sides = [str(write_tree(Path(place, name), {"a": text})) for name, text in (("old", old), ("new", new))]
        patch = nowhere.diff(*sides).patch[2:]
    before, after = (Counter(text.split("\n")[:-1]) for text in (old, new))
    gone = Counter(line[1:] for line in patch if line.startswith("-"))
    came = Counter(line[1:] for line in patch if line.startswith("+"))
    assert before - gone + came == after
    assert gone <= before


@pytest.mark.parametrize(("old", "new"), [(b"a\0", b"b\0"), (b"\xff", b"\xfe"), (b"text\n", b"\0"), (b"\xc3", b"\n")])
def test_of_what_is_no_text_only_that_it_differs_is_told(
    lines: Callable[..., list[str]], old: bytes, new: bytes
) -> None:
    assert lines(old, new) == ["binary or large file a differs"]


def test_a_binary_file_that_comes_or_goes_is_told(compare: Compare) -> None:
    assert compare({"goes": b"\0"}, {"comes": b"\0"}).patch == (
        "binary or large file comes differs",
        "binary or large file goes differs",
    )


def test_a_text_over_a_mebibyte_is_not_compared_line_by_line(lines: Callable[..., list[str]]) -> None:
    large = "x" * 127 + "\n"
    assert lines(large * (MIB // 128) + "1", "1\n") == ["binary or large file a differs"]
    assert lines(large * (MIB // 128), large * (MIB // 128 - 1))[-1] == f"-{large[:-1]}"


def test_a_huge_file_is_compared_without_being_held_in_memory(nowhere: Registry, tmp_path: Path) -> None:
    """Two sparse files that are larger than the memory the child may use."""
    for name in ("old", "new"):
        write_tree(tmp_path / name, QUICK)
        with (tmp_path / name / "huge.bin").open("wb") as file:
            file.truncate(96 * MIB)
            file.write(name.encode())

    def deed() -> None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 48 * MIB, used + 48 * MIB))
        found = nowhere.diff(f"{tmp_path}/old", f"{tmp_path}/new")
        assert found.patch == ("binary or large file huge.bin differs",)

    nowhere.diff(f"{tmp_path}/old", f"{tmp_path}/old", patch=False)
    assert in_a_child(deed) == 0


def test_a_newline_at_the_end_is_a_difference_of_its_own(lines: Callable[..., list[str]]) -> None:
    assert lines("a\nb", "a\nb\n") == lines("a\nb\n", "a\nb") == ["a differs in the newline at its end only"]


def test_texts_without_a_newline_at_the_end_have_lines_all_the_same(lines: Callable[..., list[str]]) -> None:
    assert lines("a\nb", "a\nc") == ["--- a/a", "+++ b/a", "@@ -1,2 +1,2 @@", " a", "-b", "+c"]


def test_other_ends_of_lines_are_a_difference_in_every_line(lines: Callable[..., list[str]]) -> None:
    assert lines("a\nb\n", "a\r\nb\r\n")[3:] == ["-a", "-b", "+a\r", "+b\r"]


@pytest.mark.parametrize("odd", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\r"])
def test_only_a_newline_ends_a_line(lines: Callable[..., list[str]], odd: str) -> None:
    assert lines(f"a{odd}b\n", f"a{odd}c\n")[3:] == [f"-a{odd}b", f"+a{odd}c"]


def test_an_empty_file_that_comes_has_no_lines(compare: Compare) -> None:
    found = compare({"a": "1"}, {"a": "1", "b": ""})
    assert (found.added, found.patch) == (("b",), ())


UNIQUE = [f"{n:06x}" for n in range(MIB // 7 - 1)]
SHAPES: dict[str, tuple[list[str], list[str]]] = {
    "every second line changed": (UNIQUE, [f"{line[:5]}x" if n % 2 else line for n, line in enumerate(UNIQUE)]),
    "one line in a thousand changed": (UNIQUE, [line if n % 1000 else "x" for n, line in enumerate(UNIQUE)]),
    "all lines in the other order": (UNIQUE, UNIQUE[::-1]),
    "all lines equal": (["x"] * (MIB // 2), ["x"] * (MIB // 2 - 1) + ["y"]),
    "all lines empty": ([""] * (MIB // 4), [""] * (MIB // 4 - 9) + ["y"]),
    "fifteen hundred lines in turn": (
        [str(n % 1500) for n in range(MIB // 5)],
        [str(n % 1500) for n in range(1, MIB // 5)],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_a_mebibyte_of_lines_is_compared_in_a_moment(nowhere: Registry, tmp_path: Path, shape: str) -> None:
    """A vocabulary is such a text; and a text that was made for it must not hold anybody up."""
    for name, some in zip(("old", "new"), SHAPES[shape], strict=True):
        text = "".join(f"{line}\n" for line in some)
        assert len(text) <= MIB
        write_tree(tmp_path / name, QUICK | {"vocabulary.txt": text})

    def deed() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (3, 3))
        assert nowhere.diff(f"{tmp_path}/old", f"{tmp_path}/new").patch

    nowhere.diff(f"{tmp_path}/old", f"{tmp_path}/old")
    assert in_a_child(deed) == 0


# by meaning


def meaning(compare: Compare, path: str, old: str | bytes | None, new: str | bytes | None) -> tuple[str, ...]:
    sides = [{} if text is None else {path: text} for text in (old, new)]
    return compare({"a": ""} | sides[0], {"a": ""} | sides[1]).meaning


def test_a_config_is_told_by_its_keys(compare: Compare) -> None:
    old = "jtype: X\nmetas:\n  name: N\n  keywords: [a, b]\nwith: {gone: 1}\n"
    new = "jtype: X # the same\nmetas: {keywords: [a, c], name: M}\nwith: {came: 2}\n"
    assert meaning(compare, "config.yml", old, new) == (
        "config.yml: metas.keywords.1: b -> c",
        "config.yml: metas.name: N -> M",
        "config.yml: with.came: 2 added",
        "config.yml: with.gone: 1 removed",
    )


def test_a_config_that_means_the_same_has_lines_only(compare: Compare) -> None:
    found = compare({"config.yml": "a: 1\nb: 2\n"}, {"config.yml": "# in another order\nb: 2\na: '1'\n"})
    assert (found.changed, found.meaning, bool(found.patch)) == (("config.yml",), (), True)


def test_a_config_that_comes_or_goes_is_told_by_its_keys(compare: Compare) -> None:
    assert meaning(compare, "config.yml", None, "a: 1\n") == ("config.yml: a: 1 added",)
    assert meaning(compare, "config.yml", "a: 1\n", None) == ("config.yml: a: 1 removed",)


BROKEN = ["a: b: c\n", "[", "a: *b\n", b"\xff\xfe\n", "a: 1\n---\nb: 1\n", "[" * 5000]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda text: repr(text[:8]))
def test_of_a_config_that_does_not_parse_the_lines_tell(compare: Compare, broken: str | bytes) -> None:
    for old, new in ((broken, "a: 1\n"), ("a: 1\n", broken)):
        found = compare({"config.yml": old}, {"config.yml": new})
        assert (found.changed, found.meaning, bool(found.patch)) == (("config.yml",), (), True)


def test_an_executor_s_folder_whose_config_does_not_parse_is_compared(registry: Registry, hello: Path) -> None:
    """To see what broke it is what somebody asks a diff for."""
    registry.push(hello)
    found = registry.diff("alice/Hello", str(write_tree(hello, {"config.yml": "jtype: b: c\n"})))
    assert (found.changed, "+jtype: b: c" in found.patch) == (("config.yml",), True)


@pytest.mark.parametrize("text", ["a: &a [*a]\n", "metas: &m\n  self: *m\n"])
def test_a_config_that_holds_itself_is_compared(compare: Compare, text: str) -> None:
    assert compare({"config.yml": "a: 1\n"}, {"config.yml": text}).changed == ("config.yml",)


def test_requirements_are_told_by_package(compare: Compare) -> None:
    old = "torch==2.0\nNumPy>=1\nruamel.yaml\ngone\n-r more.txt\njina[standard]==3.27\n"
    new = "came; python_version<'3.12'\nnumpy>=2 # newer\nruamel_yaml\nTorch==2.0\n-r other.txt\njina==3.27\n"
    assert meaning(compare, "requirements.txt", old, new) == (
        "requirements.txt: -r more.txt removed",
        "requirements.txt: -r other.txt added",
        "requirements.txt: came: ; python_version<'3.12' added",
        "requirements.txt: gone removed",
        "requirements.txt: jina: [standard]==3.27 -> ==3.27",
        "requirements.txt: numpy: >=1 -> >=2",
    )


def test_a_requirement_that_is_no_longer_bound_asks_for_any(compare: Compare) -> None:
    assert meaning(compare, "requirements.txt", "torch==2\n", "torch\n") == ("requirements.txt: torch: ==2 -> any",)


@pytest.mark.parametrize("text", [b"\xff\xfe", b"t\0orch\n"])
def test_requirements_that_are_no_text_hurt_nothing(compare: Compare, text: bytes) -> None:
    assert compare({"requirements.txt": "a\n"}, {"requirements.txt": text}).changed == ("requirements.txt",)


@pytest.mark.parametrize(("path", "text"), [("requirements.txt", "torch\n"), ("config.yml", "a: 1\n")])
def test_of_a_file_too_large_to_read_nothing_false_is_told(compare: Compare, path: str, text: str) -> None:
    """Every requirement still stands in it."""
    large = text + "# words\n" * (MIB // 8)
    for old, new in ((text, large), (large, text)):
        found = meaning(compare, path, old, new)
        assert not [sentence for sentence in found if "removed" in sentence or "added" in sentence]


def test_only_those_at_the_top_of_a_folder_have_a_meaning(compare: Compare) -> None:
    assert meaning(compare, "sub/requirements.txt", "a\n", "b\n") == ()


def test_an_array_is_told_by_its_length(registry: Registry, tmp_path: Path) -> None:
    for documents in ([b"a"], [b"a", b"b", b"c"]):
        write_tree(tmp_path / "cache", {"docarray/docs.da": array(*documents)})
        registry.adopt("docs", cache=tmp_path / "cache", namespace="alice")
    new, old = (entry.version for entry in registry.log("alice/docs"))
    found = registry.diff(f"alice/docs@{old}", f"@{new}")
    assert (found.changed, found.meaning) == (("documents.protobuf.gzip",), ("manifest: length: 1 -> 3",))


VALUES = st.dictionaries(st.sampled_from(["a", "b.c", "d"]), st.sampled_from(["", "1", "2"]))


@LAW
@given(VALUES, VALUES)
def test_one_sentence_is_told_for_each_key_that_differs(old: dict[str, str], new: dict[str, str]) -> None:
    keys = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    told = changes(old, new)
    assert [sentence.replace(":", " ").split()[0] for sentence in told] == sorted(keys)


# what a side may be


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("alice/X:v1", "alice/X:v2"),
        ("alice/X:v1", "alice/X"),
        ("alice/X:v1", "v2"),
        ("alice/X:v1", ":v2"),
        ("alice/X:v1", "latest"),
        ("v1", "alice/X:v2"),
        (":v1", "alice/X:v2"),
        ("v1", "alice/X"),
        ("lhub://alice/X:v1", "v2"),
        ("alice/X:v1", "lhub://alice/X:v2"),
        ("alice/X:v1", "@{2199-01-01}"),
        ("v1", "alice/X@{2199-01-01}"),
        ("alice/X:v1@{2199-01-01}", "v2"),
    ],
)
def test_a_side_is_a_reference_or_a_tag_of_the_other_side(pushed: Registry, here: Path, left: str, right: str) -> None:
    assert seen(pushed.diff(left, right)) == CHANGED


@pytest.mark.parametrize("form", ["alice/X@{}", "@{}", "{}"])
@pytest.mark.parametrize("digits", [8, 64])
def test_a_side_is_a_version_by_its_digits(pushed: Registry, here: Path, form: str, digits: int) -> None:
    version = pushed.show("alice/X:v2").version[:digits]
    assert seen(pushed.diff("alice/X:v1", form.format(version))) == CHANGED
    assert seen(pushed.diff("alice/X:v1", form.format(version.upper()))) == CHANGED


def test_a_tag_that_looks_like_digits_is_a_side(own: Registry, here: Path) -> None:
    own.tag("alice/X:v2", "20260301")
    assert seen(own.diff("alice/X:v1", "20260301")) == CHANGED


def test_digits_of_two_versions_are_refused(own: Registry, here: Path) -> None:
    version = own.show("alice/X:v2").version
    other = version[:60] + ("0000" if version[60:] != "0000" else "1111")
    (own.root / "alice/X/.lhub/versions" / other).mkdir()
    with pytest.raises(UsageError, match="is not one version but 2"):
        own.diff("alice/X:v1", f"@{version[:8]}")


@pytest.mark.parametrize("form", ["./X", "X", "X/", "{}/X", "../here/X", "sub/dir", "sub/deep/er", "sub/../X"])
def test_a_side_is_a_folder(pushed: Registry, tmp_path: Path, here: Path, form: str) -> None:
    files = QUICK | {"a.txt": "two\n", "comes.txt": "y\n"}
    write_tree(
        here, {f"{place}/{name}": text for place in ("X", "sub/dir", "sub/deep/er") for name, text in files.items()}
    )
    assert seen(pushed.diff("alice/X:v1", form.format(here))) == CHANGED


@pytest.mark.parametrize("name", ["a b", "é", "x:y", "x@y", "-x", "[x]", "X:v9"])
def test_a_folder_may_have_any_name(pushed: Registry, here: Path, name: str) -> None:
    write_tree(here / name, QUICK | {"a.txt": "two\n", "comes.txt": "y\n"})
    assert seen(pushed.diff("alice/X:v1", f"./{name}")) == CHANGED


def test_a_tag_wins_over_a_folder_of_its_name_which_a_dot_and_a_slash_name(pushed: Registry, here: Path) -> None:
    """Nobody who compares v1 with v2 of a resource should get a folder that happens to lie here."""
    write_tree(here / "v2", QUICK | {"other.txt": "other\n"})
    assert seen(pushed.diff("alice/X:v1", "v2")) == CHANGED
    assert pushed.diff("alice/X:v1", "./v2").added == ("other.txt",)


def test_a_resource_wins_over_a_folder_of_its_name_which_a_dot_and_a_slash_name(pushed: Registry, here: Path) -> None:
    write_tree(here / "alice/X", QUICK | {"other.txt": "other\n"})
    assert seen(pushed.diff("alice/X:v1", "alice/X")) == CHANGED
    assert pushed.diff("alice/X:v1", "./alice/X").added == ("other.txt",)


def test_a_folder_counts_where_no_resource_of_its_name_is(pushed: Registry, here: Path) -> None:
    write_tree(here / "models/best", QUICK | {"a.txt": "two\n", "comes.txt": "y\n"})
    assert seen(pushed.diff("alice/X:v1", "models/best")) == CHANGED


def test_a_file_that_was_pushed_by_itself_is_compared_with_one(pushed: Registry, here: Path) -> None:
    write_tree(here, {"file.txt": "x\n"})
    pushed.push("file.txt", "alice/text")
    write_tree(here, {"file.txt": "y\n"})
    assert pushed.diff("alice/text", "./file.txt").changed == ("file.txt",)


@pytest.mark.parametrize(
    ("left", "right", "words"),
    [
        ("alice/X:v1", "v9", r"alice/X:v9 is not here"),
        ("v9", "alice/X:v1", r"alice/X:v9 is not here"),
        ("alice/X:v1", ":v9", r"alice/X:v9 is not here"),
        ("alice/X:v1", "@0123456789", r"alice/X@0123456789 is not here"),
        ("alice/X:v1", "alice/Y", r"alice/Y is not here"),
        ("alice/X:v1", "@{2001-01-01}", r"alice/X:latest did not stand at 2001-01-01"),
        ("alice/X:v1", "./nothing", r"\./nothing is not here"),
        ("v1", "v2", r"v1 is not here"),
    ],
)
def test_a_side_that_is_not_here_is_named(pushed: Registry, here: Path, left: str, right: str, words: str) -> None:
    with pytest.raises(NotFound, match=words):
        pushed.diff(left, right)


def test_a_folder_that_is_not_here_is_not_said_to_be_pushed(pushed: Registry, here: Path) -> None:
    with pytest.raises(NotFound) as told:
        pushed.diff("alice/X:v1", "./nothing")
    assert "push" not in told.value.hint


@pytest.mark.parametrize(
    "text", ["", ":", "@", "@{", "@{yesterday}", ":v1:v2", "alice/X:", "https://alice/X", "a\0b", "@v2"]
)
def test_what_means_nothing_is_one_sentence(pushed: Registry, here: Path, text: str) -> None:
    with pytest.raises((UsageError, NotFound)) as told:
        pushed.diff("alice/X:v1", text)
    assert str(told.value).isprintable()


def test_two_of_different_kinds_have_nothing_to_compare(own: Registry, hello: Path) -> None:
    own.push(hello)
    with pytest.raises(UsageError, match=r"holds files, .* holds executor: they cannot be compared"):
        own.diff("alice/X", "alice/Hello")


def test_a_folder_is_compared_with_any_kind(own: Registry, hello: Path) -> None:
    own.push(hello)
    assert own.diff("alice/X", str(hello)).added == ("config.yml", "executor.py")
    assert own.diff(str(hello), "alice/Hello").same


def test_a_folder_is_compared_with_what_it_gains_at_a_push(own: Registry, tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "bare", {"executor.py": executor_py("Bare")})
    own.push(folder, "Bare")
    assert own.diff("alice/Bare", str(folder)).same
    assert own.diff("alice/Bare", str(write_tree(folder, {"manifest.yml": "url: https://x\n"}))).meaning == (
        "config.yml: metas.url: https://x added",
    )


def test_two_resources_of_one_kind_are_compared(own: Registry, tmp_path: Path) -> None:
    own.push(write_tree(tmp_path / "Y", QUICK | {"a.txt": "one\n", "goes.txt": "x\n"}), "Y")
    assert seen(own.diff("alice/Y", "alice/X")) == CHANGED


def test_two_folders_need_no_registry(nowhere: Registry, here: Path) -> None:
    write_tree(here, {"one/a": "1", "two/a": "2"})
    assert nowhere.diff("one", "two").changed == ("a",)
    assert not nowhere.root.exists()


@pytest.fixture(scope="module")
def unnamed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Registry, dict[str, str]]:
    """A public and a private Executor without a namespace, each with v1 and v2; their secrets. No test writes here."""
    place = tmp_path_factory.mktemp("unnamed")
    anybody, secrets = Registry(place / "registry"), {}
    folder = write_tree(place / "src", QUICK | {"config.yml": config_yml("H"), "executor.py": executor_py("H")})
    for name in ("Public", "Private"):
        first = anybody.push(write_tree(folder, {"a.txt": "one\n"}), name, tags=["v1"], private=name == "Private")
        assert first.secret
        secrets[name] = first.secret
        anybody.push(write_tree(folder, {"a.txt": "two\n"}), force_update=name, secret=first.secret, tags=["v2"])
    return anybody, secrets


@pytest.mark.parametrize("left", ["Public:v1", "jinahub://Public/v1"])
@pytest.mark.parametrize("right", ["Public:v2", "jinahub://Public/v2", ":v2", "v2"])
def test_a_resource_without_a_namespace_is_a_side(
    unnamed: tuple[Registry, dict[str, str]], here: Path, left: str, right: str
) -> None:
    assert unnamed[0].diff(left, right).changed == ("a.txt",)


@pytest.mark.parametrize("right", ["jinahub://Private:{}/v2", ":v2", "v2"])
def test_a_secret_opens_both_sides_and_is_not_told(
    unnamed: tuple[Registry, dict[str, str]], here: Path, right: str
) -> None:
    secret = unnamed[1]["Private"]
    found = unnamed[0].diff(f"jinahub://Private:{secret}/v1", right.format(secret))
    assert found.changed == ("a.txt",)
    assert secret not in repr(found)


def test_without_its_secret_a_private_side_is_not_here(unnamed: tuple[Registry, dict[str, str]], here: Path) -> None:
    with pytest.raises(NotFound) as told:
        unnamed[0].diff("jinahub://Private/v1", f"jinahub://Private:{unnamed[1]['Private']}/v2")
    assert unnamed[1]["Private"] not in f"{told.value}{told.value.hint}"


def test_of_another_s_private_side_only_that_it_is_not_here_is_told(own: Registry, here: Path) -> None:
    own.visibility("alice/X", "private")
    bob = as_caller(own, "bob")
    for left, right in (("alice/X:v1", "v2"), ("v1", "alice/X:v2"), ("alice/X:v1", "."), ("alice/X:v9", ":v1")):
        write_tree(here, QUICK)
        with pytest.raises(NotFound, match="alice/X is not here"):
            bob.diff(left, right)


def test_a_diff_changes_nothing(pushed: Registry, here: Path) -> None:
    before = snapshot(pushed.root)
    as_caller(pushed, "bob").diff("alice/X:v1", "v2")
    assert snapshot(pushed.root) == before


def test_a_damaged_side_is_told(own: Registry, here: Path) -> None:
    version = own.root / "alice/X/v2"
    with by_hand(version.resolve()):
        (version / "SHA256SUMS").write_text("")
    with pytest.raises(Corrupt, match="SHA256SUMS of alice/X@"):
        own.diff("alice/X:v1", "v2")


# on a terminal

ESCAPES = "\x1b[2J\x07\u202e\x9b"


def printable(text: str) -> bool:
    return all(character.isprintable() or character == "\n" for character in text)


def test_nothing_in_a_file_or_its_name_moves_a_cursor(shell: Shell) -> None:
    """Names may turn the way of writing, contents may be anything."""
    config = 'jtype: X\nmetas: {"na\\e[2Jme": "\\e[2J\\u202e"}\n'
    write_tree(shell.cwd / "one", {"\u202egnp.exe": "1", "gone\u2066": "", "a.txt": "1"})
    write_tree(
        shell.cwd / "two",
        {"\u202egnp.exe": "2", "a.txt": ESCAPES, "config.yml": config, "requirements.txt": f"torch{ESCAPES}\n"},
    )
    answer = shell("diff", "one", "two", check=True)
    assert answer.out.count("gnp.exe") == 3
    assert "metas.na" in answer.out
    assert printable(answer.out)
    assert printable(shell("diff", "one", "two", "--json", check=True).out)


def test_nothing_in_the_name_of_a_side_moves_a_cursor(shell: Shell) -> None:
    write_tree(shell.cwd / "one", {"a.txt": "1"})
    write_tree(shell.cwd / f"two{ESCAPES}", {"a.txt": "2"})
    answers = [shell("diff", "one", f"./two{ESCAPES}"), shell("diff", "one", f"./nothing{ESCAPES}")]
    assert [answer.code for answer in answers] == [0, 3]
    assert all(printable(answer.out + answer.err) for answer in answers)
