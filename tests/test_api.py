"""`import lhub`: the verbs for whoever is logged in, a registry without global state, and errors with code and hint."""

from __future__ import annotations

import doctest
import os
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

import lhub
from lhub.cli.main import SECTIONS
from tests.conftest import config_yml, executor_py, read_tree, snapshot, write_tree
from tests.rooms import ROOMS

ERRORS = {
    lhub.LhubError: 1,
    lhub.UsageError: 2,
    lhub.NotFound: 3,
    lhub.Denied: 4,
    lhub.Conflict: 5,
    lhub.Corrupt: 6,
    lhub.LockTimeout: 7,
    lhub.BuildFailed: 8,
    lhub.ToolMissing: 9,
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and current folder, of this process."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    for name in [name for name in os.environ if name.startswith("LHUB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)
    return home


# the front door, for whoever is logged in


def test_login_push_pull_and_path_as_the_documentation_has_them(home: Path, hello: Path) -> None:
    lhub.login("alice")
    pushed = lhub.push(hello, tags=["v1", "latest"], protected_tags=["v1"])
    pulled = lhub.pull("jinaai://alice/Hello:v1", "here")
    assert (pushed.uri, pushed.tags, pushed.protected_tags) == ("jinaai://alice/Hello:v1", ("v1", "latest"), ("v1",))
    assert read_tree(Path(pulled.path)) == read_tree(hello) == read_tree(Path(lhub.path("alice/Hello")))
    assert pulled.version == pushed.version


def test_the_default_registry_lies_in_the_home(home: Path) -> None:
    lhub.login("alice")
    assert (home / ".lhub" / "registry" / "alice").is_dir()


def test_a_login_is_remembered_until_the_logout(home: Path, hello: Path) -> None:
    lhub.login("alice")
    assert lhub.push(hello).name == "alice/Hello"
    lhub.logout()
    assert lhub.push(hello, "Other").name == "Other"
    lhub.logout()
    with pytest.raises(lhub.Denied):
        lhub.push(hello, "alice/Hello")


def test_a_refused_login_is_not_remembered(home: Path, hello: Path) -> None:
    with pytest.raises(lhub.UsageError):
        lhub.login("a/b")
    assert not (home / ".lhub" / "login").exists()


def test_the_front_door_goes_where_lhub_root_says(
    home: Path, hello: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LHUB_ROOT", str(tmp_path / "team"))
    monkeypatch.setenv("LHUB_HOME", str(tmp_path / "state"))
    lhub.login("alice")
    assert lhub.push(hello).path.startswith(f"{tmp_path}/team/alice/Hello/")
    assert snapshot(home) == {}


def test_a_pull_without_a_destination_is_a_folder_of_the_resource_s_name_here(home: Path, hello: Path) -> None:
    lhub.login("alice")
    lhub.push(hello, "Renamed")
    assert lhub.pull("alice/Renamed").path == str(Path.cwd() / "Renamed")


def test_a_push_without_a_login_returns_name_and_secret_that_update_it(home: Path, hello: Path) -> None:
    first = lhub.push(hello, private=True)
    assert first.secret is not None
    assert re.fullmatch("AGE-SECRET-KEY-1[0-9A-Z]{58}", first.secret)
    write_tree(hello, {"more.txt": "more"})
    second = lhub.push(hello, force_update=first.name, secret=first.secret)
    assert (second.version != first.version, second.secret) == (True, None)
    assert lhub.pull(f"jinahub://{first.name}:{first.secret}").version == second.version


def test_a_push_s_secret_is_in_no_printed_form(home: Path, hello: Path) -> None:
    pushed = lhub.push(hello)
    assert pushed.secret is not None
    assert pushed.secret not in repr(pushed) + str(pushed) + pushed.uri


# one registry, without global state


def test_a_registry_needs_no_home_and_no_login(home: Path, hello: Path, tmp_path: Path) -> None:
    registry = lhub.Registry(tmp_path / "registry", namespace="alice")
    registry.push(hello)
    assert [line.name for line in registry.list()] == ["alice/Hello"]
    assert snapshot(home) == {}


def test_two_registries_live_side_by_side(hello: Path, tmp_path: Path) -> None:
    one = lhub.Registry(tmp_path / "one", namespace="alice")
    two = lhub.Registry(str(tmp_path / "two"), namespace="bob")
    assert (one.push(hello).name, two.push(hello).name) == ("alice/Hello", "bob/Hello")
    assert [[line.name for line in each.list()] for each in (one, two)] == [["alice/Hello"], ["bob/Hello"]]


def test_the_same_bytes_are_the_same_version_in_every_registry(hello: Path, tmp_path: Path) -> None:
    pushes = [lhub.Registry(tmp_path / name, namespace=name).push(hello) for name in ("alice", "bob")]
    assert pushes[0].version == pushes[1].version


def test_registry_offers_the_verbs_of_the_command_line(tmp_path: Path) -> None:
    """But for the commands of a shell; `import` is a word of Python's own, `status` a value, options are verbs too."""
    shells = {"logout", "whoami", "completion", "auth", "hub", "import", "namespace", "status", "new"}
    shells |= {"run", "serve", "portal", "token", "base"}
    commands = {name for names in SECTIONS.values() for name in names} - shells
    offered = {name for name in dir(lhub.Registry) if not name.startswith("_")}
    verbs = {"import_bundle", "log_at", "adoptable", "create_namespace", "namespaces", "plan", "build", "variables"}
    verbs |= {"load", "load_stream", "push_stream", "documents", "kind", "opened", "rename", "logged_in"}
    verbs |= {"create_token", "tokens", "delete_token", "holder", "inbox", "push_received"}
    verbs |= {"load_image", "export_image", "import_base", "base_from_engine", "bases"}
    verbs |= {"shared", "recent", "links", "fields", "refusal", "builds", "deleted", "last_push", "narrowed"}
    assert offered == commands | verbs | {"root"}


def test_a_registry_says_where_it_is_and_for_whom(tmp_path: Path) -> None:
    registry = lhub.Registry(tmp_path / "registry", namespace="alice")
    assert (registry.root, repr(registry)) == (
        tmp_path / "registry",
        f"Registry('{tmp_path}/registry', namespace='alice')",
    )


def test_values_become_the_json_of_the_command_line(hello: Path, tmp_path: Path) -> None:
    registry = lhub.Registry(tmp_path / "registry", namespace="alice")
    pushed = registry.push(hello)
    pulled = registry.pull("alice/Hello", tmp_path / "out")
    (listed,), (entry,) = registry.list(), registry.log("alice/Hello")
    shown = registry.show("alice/Hello")
    fields = {type(value).__name__: " ".join(value.to_dict()) for value in (pushed, pulled, listed, shown, entry)}
    assert fields == {
        "Pushed": "name uri version tags protected_tags visibility new task_id secret path",
        "Pulled": "ref name version path",
        "Listed": "name kind visibility tags updated bytes",
        "Shown": "name kind visibility version tags protected_tags updated bytes manifest",
        "Entry": "commit when who message tags version action",
    }
    assert (len(pushed.version), len(pushed.task_id)) == (64, 24)


# errors


def test_each_error_has_the_code_of_the_command_line() -> None:
    assert {error: error("x").code for error in ERRORS} == ERRORS


def test_every_error_is_a_lhub_error_with_message_and_hint() -> None:
    for error in ERRORS:
        raised = error("what, which", hint="what now")
        assert (isinstance(raised, lhub.LhubError), str(raised), raised.hint) == (True, "what, which", "what now")


def refusals(home: Path, hello: Path) -> dict[str, Callable[[], object]]:
    """Calls that are refused, one a reason."""
    lhub.login("alice")
    lhub.push(hello, tags=["v1"], protected_tags=["v1"])
    empty = home / "empty"
    empty.mkdir()
    return {
        "a bad reference": lambda: lhub.pull("a b"),
        "two options that exclude each other": lambda: lhub.push(hello, public=True, private=True),
        "an empty folder": lambda: lhub.push(empty, "X"),
        "an absent folder": lambda: lhub.push(home / "absent"),
        "an absent resource": lambda: lhub.pull("alice/X"),
        "an absent tag": lambda: lhub.path("alice/Hello:v2"),
        "another's namespace": lambda: lhub.push(hello, "bob/X"),
        "a protected tag": lambda: lhub.push(write_tree(hello, {"x": "x"}), tags=["v1"]),
        "a destination that stands": lambda: lhub.pull("alice/Hello:v1", hello),
        "a failed expectation": lambda: lhub.push(hello, expect="00000000"),
        "no name at all": lambda: lhub.login(""),
    }


REASONS = {
    "a bad reference": 2,
    "two options that exclude each other": 2,
    "an empty folder": 2,
    "an absent folder": 3,
    "an absent resource": 3,
    "an absent tag": 3,
    "another's namespace": 4,
    "a protected tag": 5,
    "a destination that stands": 5,
    "a failed expectation": 5,
    "no name at all": 2,
}


@pytest.mark.parametrize("reason", REASONS)
def test_a_refusal_has_its_code_a_sentence_and_a_hint(home: Path, hello: Path, reason: str) -> None:
    call = refusals(home, hello)[reason]
    with pytest.raises(lhub.LhubError) as caught:
        call()
    error, sentence = caught.value, str(caught.value)
    assert (error.code, bool(error.hint)) == (REASONS[reason], True)
    assert (sentence[:1].isupper(), sentence.endswith(".")) == (False, False)


@pytest.mark.parametrize("reason", REASONS)
def test_a_refused_call_leaves_all_but_the_log_of_tasks_as_it_was(home: Path, hello: Path, reason: str) -> None:
    call = refusals(home, hello)[reason]
    before = without_tasks(snapshot(home / ".lhub"))
    with pytest.raises(lhub.LhubError):
        call()
    assert without_tasks(snapshot(home / ".lhub")) == before


def without_tasks(found: dict[str, tuple[int, bytes | str]]) -> dict[str, tuple[int, bytes | str]]:
    """A snapshot without what a push that failed tells of itself."""
    return {
        path: what for path, what in found.items() if "/.lhub/builds/" not in path and not path.endswith("/.lhub/lock")
    }


# what is written of it


def test_the_front_door_offers_what_it_says_and_nothing_is_missing() -> None:
    assert all(getattr(lhub, name) for name in lhub.__all__)
    assert lhub.__all__ == sorted(lhub.__all__)


def test_an_absent_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        getattr(lhub, "nonsense")  # noqa: B009 (mypy knows that it is not there)


def test_the_version_is_that_of_the_package() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+([a-z]+\d+)?", lhub.__version__)


@pytest.mark.parametrize("room", ROOMS)
def test_the_examples_of_a_room_run(room: str, home: Path) -> None:
    result = doctest.testmod(import_module(room))
    assert result.failed == 0


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_opens_by_telling_why_it_exists(room: str) -> None:
    opening = (import_module(room).__doc__ or "").split("\n")[0]
    assert len(opening) > 20


def test_the_example_at_the_front_door_runs(home: Path, tmp_path: Path) -> None:
    write_tree(Path("MyExecutor"), {"config.yml": config_yml("MyExecutor"), "executor.py": executor_py("MyExecutor")})
    example = re.search(r"((?:    .+\n)+)", lhub.__doc__ or "")
    assert example is not None
    code = re.sub(r"(?m)^    ", "", example[1]).replace("/mnt/team/registry", f"{tmp_path}/team")
    exec(compile(code, "lhub.__doc__", "exec"), {})
    assert sorted(read_tree(Path("here"))) == ["config.yml", "executor.py"]
