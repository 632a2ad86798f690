"""Push: what an order means, what it answers, and all that is refused before the first byte."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lhub.errors import Conflict, Denied, LhubError, NotFound, UsageError
from lhub.names import parse_ref
from lhub.orders import Order, Pushed
from lhub.registry import Registry
from tests.conftest import as_caller, by_hand, config_yml, read_tree, snapshot, write_tree

QUICK: dict[str, str | bytes] = {".gitignore": "# one of its own is quicker to read than the built-in list\n"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that is no Executor."""
    return write_tree(tmp_path / "src", QUICK | {"a.txt": "one\n"})


def refused(registry: Registry, push: Callable[[], object], error: type[LhubError], words: str) -> None:
    """See that a push is refused by these words and leaves every byte."""
    before = snapshot(registry.root)
    with pytest.raises(error, match=words) as told:
        push()
    assert told.value.hint
    assert snapshot(registry.root) == before


# where it goes


def test_a_bare_name_is_one_s_own_namespace(registry: Registry, folder: Path) -> None:
    assert registry.push(folder, "X").name == registry.push(folder, "alice/X").name == "alice/X"


def test_without_a_name_the_folder_says_it(registry: Registry, hello: Path) -> None:
    assert registry.push(hello).name == "alice/Hello"


def test_a_name_that_is_given_wins_over_the_folder_s(registry: Registry, hello: Path) -> None:
    assert registry.push(hello, "Other").name == "alice/Other"
    assert registry.push(hello, force_update="alice/Other").name == "alice/Other"
    assert [line.name for line in registry.list()] == ["alice/Other"]


def test_a_folder_that_says_another_s_namespace_is_refused(
    registry: Registry, make_executor: Callable[..., Path]
) -> None:
    folder = make_executor("Hello", config__yml=config_yml("Hello").replace("name: ", "name: bob/"))
    refused(registry, lambda: registry.push(folder), Denied, "bob is not your namespace, you are alice")


def test_a_folder_without_a_name_is_refused_and_told_where_one_would_stand(registry: Registry, folder: Path) -> None:
    refused(registry, lambda: registry.push(folder), UsageError, "does not say its name")


@pytest.mark.parametrize("name", ["", "/", "alice/", "/X", "a b", "alice/X/Y", "alice/X:v1", "../X", "X.lock", "con"])
def test_what_is_no_name_is_refused(registry: Registry, folder: Path, name: str) -> None:
    refused(registry, lambda: registry.push(folder, name), UsageError, "not a name")


def test_a_name_that_differs_only_by_case_from_a_sibling_is_refused(registry: Registry, folder: Path) -> None:
    registry.push(folder, "X")
    refused(registry, lambda: registry.push(folder, "x"), Conflict, "x differs only by case from X")


def test_a_registry_is_made_by_a_push_that_nothing_refuses(folder: Path, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "new", namespace="alice")
    with pytest.raises(UsageError):
        registry.push(folder, "X", tags=["a b"])
    assert not registry.root.exists()
    assert registry.push(folder, "X").new


def test_the_registry_is_not_pushed_into_itself(registry: Registry, tmp_path: Path) -> None:
    refused(registry, lambda: registry.push(tmp_path, "X"), UsageError, "holds the registry itself")
    refused(registry, lambda: registry.push(registry.root, "X"), UsageError, "holds the registry itself")


# under which tags


@pytest.mark.parametrize(
    ("tags", "protected", "expected"),
    [
        ([], [], ("latest",)),
        (["v1"], [], ("v1",)),
        (["v1", "latest"], [], ("v1", "latest")),
        ([], ["v1"], ("v1",)),
        (["latest"], ["v1"], ("latest", "v1")),
        (["v1", "v1"], ["v1"], ("v1",)),
    ],
)
def test_latest_moves_when_it_is_named_or_no_other_is(
    registry: Registry, folder: Path, tags: list[str], protected: list[str], expected: tuple[str, ...]
) -> None:
    pushed = registry.push(folder, "X", tags=tags, protected_tags=protected)
    assert pushed.tags == expected
    shown = registry.show(f"alice/X:{expected[0]}")
    assert (set(shown.tags), shown.protected_tags) == (set(expected), tuple(protected))


@pytest.mark.parametrize("tag", ["", "a b", "v1,v2", ".x", "a/b", "x" * 129, "v1.lock", "v:1", "-t", "\x1b[31m"])
@pytest.mark.parametrize("how", ["tags", "protected_tags"])
def test_what_is_no_tag_is_refused(registry: Registry, folder: Path, tag: str, how: str) -> None:
    options = {how: ["fine", tag]}
    refused(registry, lambda: registry.push(folder, "X", **options), UsageError, "this push cannot be")


def test_tags_with_a_comma_hint_at_one_t_each(registry: Registry, folder: Path) -> None:
    with pytest.raises(UsageError) as told:
        registry.push(folder, "X", tags=["v1,v2"])
    assert told.value.hint == "give -t for each tag, as in -t v1 -t v2"


def test_tags_that_differ_only_by_case_are_refused(registry: Registry, folder: Path) -> None:
    push = registry.push
    refused(registry, lambda: push(folder, "X", tags=["v1", "V1"]), UsageError, "V1 differ only by case|differ only by")
    push(folder, "X", tags=["v1"])
    refused(registry, lambda: push(folder, "X", tags=["V1"]), Conflict, "V1 differs only by case from v1")


def test_all_that_is_wrong_with_an_order_is_told_at_once(registry: Registry, folder: Path) -> None:
    with pytest.raises(UsageError) as told:
        registry.push(folder, "X", tags=["a b"], secret="a/b", expect="xyz", if_absent=True, force_update="Y")
    assert all(
        part in str(told.value)
        for part in ("5 faults", "the tag has a space", "the secret has", "--expect takes", "exclude", "different")
    )


def test_public_and_private_exclude_each_other(registry: Registry, folder: Path) -> None:
    push = registry.push
    refused(registry, lambda: push(folder, "X", public=True, private=True), UsageError, "exclude each other")


# what is answered


def test_a_push_answers_what_it_did(registry: Registry, folder: Path) -> None:
    pushed = registry.push(folder, "X", tags=["v1"], protected_tags=["v2"])
    assert (pushed.name, pushed.uri, pushed.visibility, pushed.new, pushed.secret, pushed.warnings) == (
        "alice/X", "lhub://alice/X:v1", "public", True, None, ()
    )  # fmt: skip
    assert (pushed.tags, pushed.protected_tags) == (("v1", "v2"), ("v2",))
    assert registry.show(pushed.uri).version == pushed.version
    assert read_tree(Path(pushed.path)) == read_tree(folder)
    assert len(pushed.task_id) == 24
    assert list(pushed.to_dict()) == [
        "name", "uri", "version", "tags", "protected_tags", "visibility", "new", "task_id", "secret", "path"
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "uri"), [("Hello", "jinaai://alice/Hello:v1"), (None, "jinaai://alice/Hello:v1")])
def test_the_uri_of_an_executor_is_jina_s(registry: Registry, hello: Path, name: str | None, uri: str) -> None:
    pushed = registry.push(hello, name, tags=["v1"])
    assert pushed.uri == uri
    assert parse_ref(pushed.uri).name == pushed.name


def test_the_same_bytes_are_not_new_a_second_time(registry: Registry, folder: Path) -> None:
    first, second = registry.push(folder, "X"), registry.push(folder, "X", tags=["v1"])
    assert (first.new, second.new, first.version == second.version) == (True, False, True)
    assert len(registry.log("alice/X")) == 2


def test_what_changes_nothing_is_not_in_the_diary(registry: Registry, folder: Path) -> None:
    registry.push(folder, "X", tags=["v1"])
    registry.push(folder, "X", tags=["v1"], message="again", public=True)
    assert len(registry.log("alice/X")) == 1


def test_the_message_is_in_the_diary(registry: Registry, folder: Path) -> None:
    registry.push(folder, "X", message="the first\n\nof many")
    assert registry.log("alice/X")[0].message == "the first\n\nof many"


def test_what_the_built_in_list_leaves_out_is_told_but_for_python_s_own(
    registry: Registry, hello: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    write_tree(hello, {"__pycache__/x.pyc": "", **{f"{name}.egg-info/x": "" for name in "abcdefg"}})
    Registry(registry.root, namespace="alice", notes=said.append).push(hello)
    assert said == [
        "left out: a.egg-info, b.egg-info, c.egg-info, d.egg-info, e.egg-info and 2 more "
        "(a .gitignore in the folder replaces the built-in list)"
    ]


def test_of_what_a_list_of_one_s_own_leaves_out_nothing_is_said(registry: Registry, folder: Path) -> None:
    said: list[str] = []
    write_tree(folder, {".gitignore": "*.log\n", "x.log": ""})
    Registry(registry.root, namespace="alice", notes=said.append).push(folder, "X")
    assert said == []


# who sees it


def test_a_first_push_is_public_and_later_ones_leave_it_as_it_is(registry: Registry, folder: Path) -> None:
    assert registry.push(folder, "X").visibility == "public"
    assert registry.push(folder, "Y", private=True).visibility == "private"
    assert registry.push(write_tree(folder, {"a.txt": "two\n"}), "Y").visibility == "private"
    assert registry.push(folder, "Y", public=True).visibility == "public"


def test_a_push_that_says_what_holds_already_changes_nothing(registry: Registry, folder: Path) -> None:
    registry.push(folder, "X", private=True)
    told = registry.log("alice/X")
    assert registry.push(folder, "X", private=True).visibility == "private"
    assert registry.log("alice/X") == told


# of which kind


def test_a_kind_is_fixed_and_another_refused(registry: Registry, folder: Path, hello: Path) -> None:
    registry.push(hello)
    refused(registry, lambda: registry.push(folder, "Hello"), Conflict, "alice/Hello holds executor, this is files")


def test_any_folder_goes_on_as_files(registry: Registry, folder: Path, hello: Path) -> None:
    registry.push(folder, "X")
    assert registry.push(hello, "X").new
    shown = registry.show("alice/X")
    assert (shown.kind, "about" in shown.manifest) == ("files", False)
    assert registry.push(hello, "X").new is False


# what stands is not run over


def test_a_protected_tag_refuses_another_version_and_takes_the_same(registry: Registry, folder: Path) -> None:
    registry.push(folder, "X", protected_tags=["v1"])
    assert registry.push(folder, "X", tags=["v1"]).new is False
    write_tree(folder, {"a.txt": "two\n"})
    for options in ({"tags": ["v1"]}, {"protected_tags": ["v1"]}, {"tags": ["new", "v1"]}):
        refused(
            registry,
            lambda options=options: registry.push(folder, "X", **options),
            Conflict,
            "the tag is protected: v1",
        )


@pytest.mark.parametrize("expect", ["", "0123456", "latest", "g" * 8, "0" * 65])
def test_what_is_expected_is_digits(registry: Registry, folder: Path, expect: str) -> None:
    registry.push(folder, "X")
    if expect:
        refused(registry, lambda: registry.push(folder, "X", expect=expect), UsageError, "--expect takes 8 to 64 hex")
    else:
        assert registry.push(folder, "X", expect=expect).new is False


def test_digits_may_be_expected_in_capitals(registry: Registry, folder: Path) -> None:
    version = registry.push(folder, "X").version
    assert registry.push(write_tree(folder, {"a.txt": "2"}), "X", expect=version[:12].upper()).new


def test_nothing_is_expected_of_what_does_not_stand(registry: Registry, folder: Path) -> None:
    push = registry.push
    refused(registry, lambda: push(folder, "X", expect="01234567"), Conflict, "alice/X does not stand")


def test_a_resource_that_does_not_stand_is_not_updated(registry: Registry, folder: Path) -> None:
    refused(registry, lambda: registry.push(folder, force_update="X"), NotFound, "alice/X is not here")


# somebody else's, and nobody's


@pytest.mark.parametrize("caller", ["bob", None])
def test_nobody_else_pushes_to_a_namespace(registry: Registry, folder: Path, caller: str | None) -> None:
    registry.push(folder, "X", private=True)
    who = as_caller(registry, caller)
    for name in ("alice/X", "alice/Y"):
        refused(registry, lambda name=name: who.push(folder, name), Denied, "alice")


def test_without_a_login_an_executor_gets_a_secret_once(registry: Registry, hello: Path) -> None:
    anybody = as_caller(registry, None)
    pushed = anybody.push(hello, tags=["v1"])
    assert pushed.secret
    assert (pushed.name, pushed.uri) == ("Hello", "jinahub://Hello/v1")
    assert pushed.secret not in repr(pushed)
    assert pushed.secret not in repr(Order(path="x", secret=pushed.secret))
    again = anybody.push(write_tree(hello, {"new.txt": ""}), force_update="Hello", secret=pushed.secret)
    assert (again.new, again.secret) == (True, None)
    kept = {path: data for path, data in read_tree(registry.root).items() if pushed.secret.encode() in data}
    assert kept == {}


def test_a_secret_may_be_one_s_own(registry: Registry, hello: Path) -> None:
    anybody = as_caller(registry, None)
    assert anybody.push(hello, secret="of@my:own").secret == "of@my:own"
    assert anybody.show("jinahub://Hello:of@my:own").version


@pytest.mark.parametrize("secret", [None, "wrong"])
def test_without_its_secret_what_stands_is_not_updated(registry: Registry, hello: Path, secret: str | None) -> None:
    anybody = as_caller(registry, None)
    anybody.push(hello)
    write_tree(hello, {"new.txt": ""})
    before = read_tree(registry.root)
    for name in ({"name": "Hello"}, {"force_update": "Hello"}, {}):
        with pytest.raises((Conflict, Denied)):
            anybody.push(hello, secret=secret, **name)
    assert read_tree(registry.root) == before


def test_without_a_login_only_an_executor_is_pushed(registry: Registry, folder: Path) -> None:
    anybody = as_caller(registry, None)
    refused(registry, lambda: anybody.push(folder, "X"), Denied, "only an Executor can be pushed")


def test_logged_in_a_secret_names_what_has_no_namespace(registry: Registry, hello: Path) -> None:
    secret = as_caller(registry, None).push(hello).secret
    assert registry.push(write_tree(hello, {"new.txt": ""}), secret=secret).name == "Hello"
    assert registry.push(hello).name == "alice/Hello"


# the folder


def test_what_is_not_here_is_refused(registry: Registry, tmp_path: Path) -> None:
    refused(registry, lambda: registry.push(tmp_path / "no", "X"), NotFound, "is not here")


def test_a_file_without_a_name_to_push_it_under_is_refused(registry: Registry, tmp_path: Path) -> None:
    write_tree(tmp_path, {"file": ""})
    refused(registry, lambda: registry.push(tmp_path / "file"), UsageError, "file does not say its name")


def test_an_executor_whose_config_does_not_parse_is_refused(registry: Registry, hello: Path) -> None:
    write_tree(hello, {"config.yml": "a: b: c\n"})
    refused(registry, lambda: registry.push(hello, "X"), UsageError, r"config\.yml line 1 does not parse")


def test_what_is_pushed_is_what_was_there(registry: Registry, folder: Path) -> None:
    files: dict[str, str | bytes] = {"b/c d/é.txt": "x", "empty": "", "nul": b"\0" * 70_000, "-": "x", "b/-x": "\r\n"}
    del files["-"]
    (write_tree(folder, files) / "a.txt").chmod(0o755)
    pushed = registry.push(folder, "X")
    assert read_tree(Path(pushed.path)) == read_tree(folder)
    assert [path.name for path in Path(pushed.path).rglob("*") if path.is_file() and os.access(path, os.X_OK)] == [
        "a.txt"
    ]


def test_a_push_mends_what_was_damaged(registry: Registry, folder: Path) -> None:
    path = Path(registry.push(folder, "X").path)
    with by_hand(path.parent):
        (path / "a.txt").write_text("0ne\n")
    assert not registry.verify().ok
    registry.push(folder, "X")
    assert registry.verify().ok


def test_a_value_that_was_answered_cannot_be_changed(registry: Registry, folder: Path) -> None:
    pushed: Pushed = registry.push(folder, "X")
    with pytest.raises(AttributeError):
        pushed.version = "other"
