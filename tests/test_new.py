"""`lhub new`: what it makes can be pushed, nothing is overwritten or half there, any words are safe in its files."""

from __future__ import annotations

import ast
import errno
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lhub import creation
from lhub.disk import Pen
from lhub.errors import Conflict, LhubError
from lhub.folder import scan
from lhub.kinds import executor
from lhub.kinds.classes import Reading
from lhub.kinds.scaffold import ALWAYS, DOCKERFILES, plan
from tests.conftest import Answer, Shell, read_tree, snapshot, write_tree
from tests.test_order import in_a_child
from tests.test_stories import Stage

LAW = settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """An empty home, and a folder to work in."""
    return Stage(tmp_path.resolve())


def made(stage: Stage, *words: str) -> Path:
    """The folder of a new Executor named Greeter."""
    answer = stage.lhub("new", "--name", "Greeter", *words)
    assert (answer.code, answer.err) == (0, "")
    return stage.here / "Greeter"


# what it makes


def test_what_is_made_is_pushed_and_shown_as_it_was_described(stage: Stage) -> None:
    made(stage, "--description", "Greets", "--keywords", " a, b b ,,c", "--url", "https://example.com")
    stage.lhub("login", "alice")
    assert stage.lhub("push", "Greeter").code == 0
    shown = stage.lhub("show", "alice/Greeter", "--json").json
    about = shown["manifest"]["about"]
    assert (shown["kind"], about["jtype"], about["name"], about["description"], about["url"]) == (
        "executor", "Greeter", "Greeter", "Greets", "https://example.com",
    )  # fmt: skip
    assert about["keywords"] == ["a", "b b", "c"]


def test_a_name_with_a_namespace_is_pushed_to_it_and_its_class_has_none(stage: Stage) -> None:
    assert stage.lhub("new", "--name", "alice/Greeter").code == 0
    stage.lhub("login", "alice")
    assert stage.lhub("push", "Greeter", "--json").json["name"] == "alice/Greeter"
    assert "class Greeter(Executor):" in (stage.here / "Greeter" / "executor.py").read_text()


def test_the_code_is_one_executor_with_an_endpoint_for_every_request(stage: Stage) -> None:
    tree = ast.parse((made(stage) / "executor.py").read_text())
    (class_,) = (node for node in tree.body if isinstance(node, ast.ClassDef))
    (method,) = (node for node in class_.body if isinstance(node, ast.FunctionDef))
    assert (class_.name, ast.unparse(class_.bases[0])) == ("Greeter", "Executor")
    assert [ast.unparse(decorator) for decorator in method.decorator_list] == ["requests"]
    assert ast.get_docstring(class_)


def test_the_code_says_no_type_that_only_one_docarray_has(stage: Stage) -> None:
    text = (made(stage) / "executor.py").read_text()
    assert ("DocumentArray" in text, "DocList" in text) == (False, False)


def test_the_requirements_ask_for_nothing(stage: Stage) -> None:
    lines = (made(stage) / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == []


def test_the_readme_tells_the_name_and_what_it_does(stage: Stage) -> None:
    text = (made(stage, "--description", "Greets everybody") / "README.md").read_text()
    assert text.startswith("# Greeter\n\nGreets everybody\n")


@pytest.mark.parametrize(
    ("words", "dockerfile"),
    [
        ([], False),
        (["--description", "x"], False),
        (["--advance-configuration"], True),
        (["--dockerfile", "cpu"], True),
    ],
    ids=str,
)
def test_a_dockerfile_is_made_for_who_asks_for_more(stage: Stage, words: list[str], dockerfile: bool) -> None:
    assert sorted(read_tree(made(stage, *words))) == sorted([*ALWAYS, *(["Dockerfile"] if dockerfile else [])])


OWN = {"cpu": "jinaai/jina", "torch-gpu": "pytorch/pytorch", "tf-gpu": "tensorflow/tensorflow", "jax-gpu": "jax[cuda"}


@pytest.mark.parametrize("sort", DOCKERFILES)
def test_each_dockerfile_is_of_its_own_sort(stage: Stage, sort: str) -> None:
    text = (made(stage, "--dockerfile", sort) / "Dockerfile").read_text()
    assert [each for each, sign in OWN.items() if sign in text] == [sort]


@pytest.mark.parametrize("sort", DOCKERFILES)
def test_a_dockerfile_starts_the_executor_after_its_requirements_are_installed(stage: Stage, sort: str) -> None:
    lines = (made(stage, "--dockerfile", sort) / "Dockerfile").read_text().splitlines()
    steps = [line.split()[0] for line in lines if line and not line.startswith(("#", " "))]
    assert lines[-1] == 'ENTRYPOINT ["jina", "executor", "--uses", "config.yml"]'
    assert steps[-5:] == ["COPY", "RUN", "COPY", "WORKDIR", "ENTRYPOINT"]
    assert steps.count("FROM") == 1


def test_the_files_have_the_modes_that_the_umask_leaves(stage: Stage) -> None:
    assert stage.type("umask 027 && lhub new --name Greeter").code == 0
    folder = stage.here / "Greeter"
    assert {oct(path.stat().st_mode & 0o777) for path in folder.iterdir()} == {"0o640"}
    assert oct(folder.stat().st_mode & 0o777) == "0o750"


@pytest.mark.parametrize("place", ["./a b", "-dash", "deep/er/X", "it's", "../beside"])
def test_the_line_to_type_next_works_as_it_is_printed(stage: Stage, place: str) -> None:
    answer = stage.lhub("new", "--name", "Greeter", f"--path={place}")
    *_, line = answer.out.splitlines()
    stage.lhub("login", "alice")
    assert line.startswith("next: lhub push ")
    assert stage.type(line.removeprefix("next: ")).code == 0


def test_json_tells_name_path_and_files(stage: Stage) -> None:
    answer = stage.lhub("new", "--name", "alice/Greeter", "--path", "./here", "--json")
    assert answer.json == {"name": "alice/Greeter", "path": str(stage.here / "here"), "files": sorted(ALWAYS)}


def test_nobody_need_be_logged_in_and_no_registry_is_made(stage: Stage) -> None:
    made(stage)
    assert snapshot(stage.home) == {}


# any words


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(description=TEXTS, keywords=TEXTS, url=TEXTS)
@example(description='a: "b" # c', keywords="on,no,1e3,null,~", url="https://example.com/#x?y=1&z='")
@example(description=" two\n lines \r\n", keywords="\u2028,\x85,\ufeff", url="\x00\x1b[31m\U0001f680")
@example(description="a'\x85", keywords="\x85b", url="\u2029'\x85")
@example(description="'", keywords="- a,&b,*c,!d,%e,@f,`g,{h},[i]", url='\\"')
@LAW
def test_whatever_is_said_is_what_config_yml_says(description: str, keywords: str, url: str) -> None:
    description, url = description.replace("$", ""), url.replace("$", "")
    text = plan("Greeter", description=description, keywords=keywords, url=url).files()["config.yml"]
    words = [word.strip() for word in keywords.split(",") if word.strip()]
    metas = {"name": "Greeter", "description": description, "url": url, "keywords": words}
    for loader in (yaml.SafeLoader, yaml.CSafeLoader, yaml.FullLoader):
        assert yaml.load(text.encode(), loader) == {"jtype": "Greeter", "py_modules": ["executor.py"], "metas": metas}


@given(description=TEXTS)
@example(description='ends in "quotes"')
@example(description='"""')
@example(description='a backslash and a quote \\"')
@example(description="\\")
@example(description="two\n    lines\n\n  and \\n more\x00")
@LAW
def test_whatever_is_said_the_code_is_python_and_its_docstring_says_it(description: str) -> None:
    description = description.replace("$", "")
    tree = ast.parse(plan("Greeter", description=description).files()["executor.py"].encode())
    assert isinstance(tree.body[-1], ast.ClassDef)
    docstring = ast.get_docstring(tree.body[-1], clean=False)
    assert docstring is not None
    assert docstring.split() == (description.split() or ["What", "Greeter", "does."])


def test_what_was_said_is_what_a_push_reads(tmp_path: Path) -> None:
    said = {"description": 'On: "œuvre" 🚀, it\'s', "url": "no", "keywords": "yes,1.0,a: b"}
    folder = write_tree(tmp_path / "X", {**plan("alice/X", **said).files()})
    about = executor.describe(Reading(scan(str(folder))))
    assert (about["jtype"], about["name"]) == ("X", "alice/X")
    assert (about["description"], about["url"], about["keywords"]) == (
        said["description"], "no", ["yes", "1.0", "a: b"],
    )  # fmt: skip


# what it refuses


NAMES = [
    ("", "the name is empty"),
    ("my-executor", "my-executor cannot name a class"),
    ("3D", "3D cannot name a class"),
    ("Größe", "the name has the character U+00F6"),
    ("_X", "the name starts with '_'"),
    ("a b", "the name has a space"),
    ("../X", "the namespace"),
    ("/X", "the namespace is empty"),
    ("alice/", "the name is empty"),
    ("alice/X/Y", "the name has '/'"),
    ("alice.git/X", "the namespace ends in '.git'"),
    ("jinaai://alice/X", "the namespace has ':'"),
    ("class", "class is a word of Python's own, as a class call it MyClass"),
    ("None", "None is a word of Python's own"),
    ("print", "print is a word of Python's own"),
    ("Executor", "Executor already means something to jina, call it MyExecutor"),
    ("requests", "requests already means something to jina, call it MyRequests"),
    ("Null", "Null already means something to jina"),
    ("NO", "NO already means something to jina"),
    ("nan", "nan already means something to jina"),
    ("con", "the name is the name of a Windows device"),
    ("X" * 200, "the name has 200 characters"),
]


@pytest.mark.parametrize(("name", "sentence"), NAMES, ids=[name[:20] for name, _ in NAMES])
def test_a_name_that_cannot_be_a_class_and_a_resource_is_refused(stage: Stage, name: str, sentence: str) -> None:
    before = snapshot(stage.here)
    answer = stage.lhub("new", "--name", name, "--path", "here")
    assert (answer.code, answer.out, sentence in answer.err) == (2, "", True), answer.err
    assert snapshot(stage.here) == before


@pytest.mark.parametrize("name", ["X", "My_Executor2", "match", "alice/X", "executor", "y", "Onward", "team.one/X"])
def test_a_name_that_both_can_have_is_taken(stage: Stage, name: str) -> None:
    assert stage.lhub("new", "--name", name).code == 0


def test_the_name_is_needed_where_nobody_can_be_asked(stage: Stage) -> None:
    answer = stage.lhub("new")
    assert (answer.code, "--name is not given" in answer.err, "hint: lhub new --name" in answer.err) == (2, True, True)


def test_everything_that_is_wrong_is_said_at_once(stage: Stage) -> None:
    said = ["--name", "a-b", "--path", "", "--description", "$1", "--url", "\udcff", "--dockerfile", "gpu"]
    answer = stage.lhub("new", *said, "--json")
    error = answer.json["error"]
    assert (error["code"], error["message"].count("\n")) == (2, 5)
    assert all(word in error["message"] for word in ("a-b", "path", "description", "url", "'gpu'"))


@pytest.mark.parametrize("what", ["description", "url"])
def test_a_dollar_that_would_keep_jina_from_starting_is_refused(stage: Stage, what: str) -> None:
    answer = stage.lhub("new", "--name", "X", f"--{what}", "it costs $5")
    assert (answer.code, f"the {what} has a '$'" in answer.err) == (2, True)


@pytest.mark.parametrize("what", ["description", "keywords", "url"])
def test_bytes_that_are_no_text_are_refused(stage: Stage, what: str) -> None:
    answer = stage.lhub("new", "--name", "X", f"--{what}", "caf\udce9")
    assert (answer.code, f"the {what} has bytes that are not UTF-8" in answer.err) == (2, True)


# nothing is overwritten


@pytest.mark.parametrize("name", [*ALWAYS, "Dockerfile"])
@pytest.mark.parametrize("sort", ["file", "folder", "dangling link"])
def test_a_folder_that_has_one_of_the_names_is_left_as_it_was(stage: Stage, name: str, sort: str) -> None:
    folder = stage.here / "Greeter"
    write_tree(folder, {"mine.txt": "mine"})
    make: dict[str, Callable[[], Any]] = {
        "file": lambda: (folder / name).write_text("mine"),
        "folder": (folder / name).mkdir,
        "dangling link": lambda: (folder / name).symlink_to("nowhere"),
    }
    make[sort]()
    before = snapshot(stage.here)
    answer = stage.lhub("new", "--name", "Greeter", "--dockerfile", "cpu")
    assert (answer.code, answer.out, f"has {name} already" in answer.err) == (5, "", True)
    assert snapshot(stage.here) == before


def test_all_names_in_the_way_are_told(stage: Stage) -> None:
    write_tree(stage.here / "Greeter", {"README.md": "mine", "config.yml": "mine"})
    assert "has README.md, config.yml already" in stage.lhub("new", "--name", "Greeter").err


def test_what_is_made_twice_is_refused_the_second_time(stage: Stage) -> None:
    before = snapshot(made(stage))
    assert stage.lhub("new", "--name", "Greeter", "--description", "other").code == 5
    assert snapshot(stage.here / "Greeter") == before


def test_a_folder_with_other_files_takes_the_new_ones_beside_them(stage: Stage) -> None:
    write_tree(stage.here / "Greeter", {"mine.txt": "mine", ".git/HEAD": "ref"})
    assert sorted(read_tree(made(stage))) == sorted([*ALWAYS, "mine.txt", ".git/HEAD"])


def test_an_empty_folder_stays_the_folder_that_it_was(stage: Stage) -> None:
    folder = stage.here / "Greeter"
    folder.mkdir(mode=0o700)
    before = folder.stat()
    made(stage)
    assert (folder.stat().st_ino, folder.stat().st_mode) == (before.st_ino, before.st_mode)
    assert sorted(read_tree(folder)) == sorted(ALWAYS)


def test_the_folder_one_stands_in_may_be_meant(stage: Stage) -> None:
    assert stage.type("mkdir Greeter && cd Greeter && lhub new --name Greeter --path . && cat config.yml").code == 0


def test_a_link_to_a_folder_leads_to_it(stage: Stage) -> None:
    (stage.here / "elsewhere").mkdir()
    (stage.here / "Greeter").symlink_to("elsewhere")
    made(stage)
    assert sorted(read_tree(stage.here / "elsewhere")) == sorted(ALWAYS)


@pytest.mark.parametrize("sort", ["file", "dangling link"])
def test_what_is_no_folder_is_left_as_it_was(stage: Stage, sort: str) -> None:
    place = stage.here / "Greeter"
    place.write_text("mine") if sort == "file" else place.symlink_to("nowhere")
    before = snapshot(stage.here)
    answer = stage.lhub("new", "--name", "Greeter")
    assert (answer.code, "is not a folder" in answer.err) == (5, True)
    assert snapshot(stage.here) == before


@pytest.mark.parametrize("place", ["HelloExecutor/config.yml/X", "/proc/nowhere/X", "x" * 300])
def test_a_place_that_takes_no_folder_is_a_sentence(stage: Stage, place: str) -> None:
    before = snapshot(stage.here)
    answer = stage.lhub("new", "--name", "Greeter", "--path", place)
    assert (answer.code, answer.out, "cannot be written" in answer.err) == (1, "", True), answer.err
    assert snapshot(stage.here) == before


def test_a_place_in_a_registry_is_refused(stage: Stage) -> None:
    stage.lhub("login", "alice")
    before = snapshot(stage.home)
    answer = stage.lhub("new", "--name", "X", "--path", str(stage.home / ".lhub" / "registry" / "alice" / "X"))
    assert (answer.code, "lies in the registry" in answer.err) == (2, True)
    assert snapshot(stage.home) == before


# nothing is half there

FILES = plan("Greeter", dockerfile="cpu").files()
WRITES = ("mkdir", "open", "link", "rename")


def create(place: Path) -> None:
    creation.create(FILES, str(place), unique="me")


def at_call(number: int, act: Callable[[], None], *calls: str) -> list[int]:
    """Let something happen, in this process for good, before one of these calls; how many there are till then."""
    left = [number]

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def before(*words: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                act()
            return call(*words, **more)

        return before

    for name in calls:
        setattr(os, name, counted(getattr(os, name)))
    return left


def killed_at(number: int, place: Path) -> int:
    """The exit code of a process that makes an Executor and is killed before its call of this number."""

    def deed() -> None:
        at_call(number, lambda: os._exit(9), *WRITES, "unlink")
        create(place)

    return os.waitstatus_to_exitcode(in_a_child(deed))


def test_a_kill_at_any_moment_leaves_no_folder_or_the_whole_one(tmp_path: Path) -> None:
    number, seen = 0, set()
    while True:
        number += 1
        place = tmp_path / str(number) / "Greeter"
        place.parent.mkdir()
        code = killed_at(number, place)
        seen.add(place.exists())
        assert not place.exists() or read_tree(place) == {name: text.encode() for name, text in FILES.items()}
        if code == 0:
            break
    assert (number > 2 * len(FILES), seen) == (True, {False, True})


def test_after_a_kill_the_same_again_succeeds(tmp_path: Path) -> None:
    assert killed_at(8, tmp_path / "Greeter") == 9
    assert not (tmp_path / "Greeter").exists()
    creation.create(FILES, str(tmp_path / "Greeter"), unique="another")
    assert sorted(read_tree(tmp_path / "Greeter")) == sorted(FILES)


def test_a_kill_leaves_no_config_yml_of_an_executor_that_is_not_whole(tmp_path: Path) -> None:
    number, code = 0, 9
    while code:
        number += 1
        place = tmp_path / str(number)
        place.mkdir()
        code = killed_at(number, place)
        found = {name for name in read_tree(place) if not name.startswith(".")}
        assert "config.yml" not in found or found == set(FILES)
    assert number > 2 * len(FILES)


def failed_at(number: int, place: Path) -> int:
    """0: an Executor was made though this call failed; 1: it was not; 2: there was no call of this number."""

    def broken() -> None:
        raise OSError(errno.EIO, "Input/output error")

    def deed() -> None:
        left = at_call(number, broken, *WRITES)
        try:
            create(place)
        except (OSError, LhubError):
            os._exit(1)
        os._exit(0 if left[0] <= 0 else 2)

    return os.waitstatus_to_exitcode(in_a_child(deed))


@pytest.mark.parametrize("stands", [False, True], ids=["no folder", "a folder"])
def test_a_fault_at_any_moment_leaves_the_place_as_it_was_or_all_of_it_there(tmp_path: Path, stands: bool) -> None:
    codes = []
    while 2 not in codes:
        place = tmp_path / str(len(codes)) / "Greeter"
        write_tree(place, {"mine.txt": "mine"}) if stands else place.parent.mkdir()
        before = snapshot(place.parent)
        codes.append(failed_at(len(codes) + 1, place))
        if codes[-1] == 1:
            assert snapshot(place.parent) == before
        else:
            assert set(read_tree(place)) - {"mine.txt"} == set(FILES)
    assert codes.count(1) >= 2 * len(FILES)


def test_a_folder_that_appears_meanwhile_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, rename = tmp_path / "Greeter", Pen.rename

    def late(pen: Pen, source: str, target: str) -> None:
        write_tree(place, {"mine.txt": "mine"})
        rename(pen, source, target)

    monkeypatch.setattr(Pen, "rename", late)
    with pytest.raises(Conflict, match="appeared meanwhile"):
        create(place)
    assert {**read_tree(tmp_path)} == {"Greeter/mine.txt": b"mine"}


# at a terminal


def typed(shell: Shell, keys: str, *words: str) -> Answer:
    """`lhub new` at a terminal where somebody types this; the questions are on stderr."""
    person, terminal = pty.openpty()
    try:
        os.write(person, keys.encode())
        done = subprocess.run(
            [sys.executable, "-m", "lhub", "new", *words],
            stdin=terminal, cwd=shell.cwd, env=shell.environment(), capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
    finally:
        os.close(person)
        os.close(terminal)
    return Answer(code=done.returncode, out=done.stdout, err=done.stderr)


def config(folder: Path) -> Any:
    return yaml.safe_load((folder / "config.yml").read_bytes())


def test_a_person_is_asked_for_everything(shell: Shell) -> None:
    answer = typed(shell, "alice/Greeter\nhere\ny\ntorch-gpu\nGreets: all\nimage, cv\nhttps://a.org\n")
    assert (answer.code, answer.out.splitlines()[-1]) == (0, "next: lhub push ./here")
    assert config(shell.cwd / "here")["metas"] == {
        "name": "alice/Greeter", "description": "Greets: all", "url": "https://a.org", "keywords": ["image", "cv"],
    }  # fmt: skip
    assert "pytorch" in (shell.cwd / "here" / "Dockerfile").read_text()
    assert answer.err.count("?") == 7


def test_who_presses_enter_only_gets_the_defaults(shell: Shell) -> None:
    answer = typed(shell, "\n\n\n")
    assert (answer.code, sorted(read_tree(shell.cwd / "MyExecutor"))) == (0, sorted(ALWAYS))


def test_what_the_options_say_is_not_asked(shell: Shell) -> None:
    said = ["--name", "X", "--path", "x", "--description", "d", "--keywords", "k", "--url", "u", "--dockerfile", "cpu"]
    answer = typed(shell, "", *said)
    assert (answer.code, answer.err, (shell.cwd / "x" / "Dockerfile").exists()) == (0, "", True)


def test_who_wants_more_may_have_it_without_a_dockerfile(shell: Shell) -> None:
    answer = typed(shell, "none\nGreets\n\n\n", "--name", "X", "--path", "x", "--advance-configuration")
    assert (answer.code, sorted(read_tree(shell.cwd / "x"))) == (0, sorted(ALWAYS))
    assert config(shell.cwd / "x")["metas"]["description"] == "Greets"


def test_an_answer_that_will_not_do_is_asked_for_again(shell: Shell) -> None:
    write_tree(shell.cwd / "Mine", {"README.md": "mine"})
    answer = typed(shell, "my-executor\nMine\n\nother\nmaybe\nyes\ngpu\ncpu\n$5\nFive\n\n\n")
    wrong = [line for line in answer.err.splitlines() if "will not do" in line]
    assert (answer.code, len(wrong)) == (0, 5)
    assert ("README.md" in wrong[1], config(shell.cwd / "other")["jtype"]) == (True, "Mine")
    assert read_tree(shell.cwd / "Mine") == {"README.md": b"mine"}


def test_a_wrong_option_is_refused_before_anything_is_asked(shell: Shell) -> None:
    answer = typed(shell, "", "--name", "a-b", "--dockerfile", "gpu")
    assert (answer.code, "a-b" in answer.err, "'gpu'" in answer.err, "?" in answer.err) == (2, True, True, False)


def test_the_end_of_what_is_typed_ends_it_with_nothing_written(shell: Shell) -> None:
    answer = typed(shell, "Greeter\n\x04")
    assert (answer.code, answer.err.endswith("\nlhub: interrupted\n"), os.listdir(shell.cwd)) == (130, True, [])


def test_a_home_that_is_typed_is_the_person_s_own(shell: Shell) -> None:
    assert typed(shell, "~/Greeter\n\n", "--name", "Greeter").code == 0
    assert (shell.home / "Greeter" / "config.yml").exists()


def test_the_questions_are_not_in_the_json(shell: Shell) -> None:
    answer = typed(shell, "Greeter\n\n\n", "--json")
    assert answer.json["name"] == "Greeter"
