"""Requirements of what was pulled: installed by pip in this environment, with variables that nobody gets to see."""

from __future__ import annotations

import hashlib
import os
import pty
import re
import sys
import venv
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import lhub
from lhub.cli import main as program
from lhub.errors import BuildFailed, NotFound, ToolMissing, UsageError
from lhub.installer import install
from lhub.registry import Registry
from tests.conftest import as_caller, by_hand, read_tree, write_tree
from tests.test_stories import Stage

SECRET = "s3cr3t-t0ken"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All that pip finds; it installs into `tmp_path / "site"`, never into the environment of the tests."""
    for version in ("1.0", "2.0"):
        wheel(tmp_path / "index", "demo", version)
    for name, value in {"FIND_LINKS": "index", "TARGET": "site", "CONFIG_FILE": "none", "CACHE_DIR": "cache"}.items():
        monkeypatch.setenv(f"PIP_{name}", str(tmp_path / value))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_NO_COMPILE", "1")
    return tmp_path / "index"


def wheel(folder: Path, name: str, version: str) -> None:
    """A wheel of one module, made by hand (PEP 427)."""
    folder.mkdir(exist_ok=True)
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", f"version = {version!r}\n")
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", f"{name}.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")


def installed(tmp_path: Path) -> str | None:
    found = tmp_path / "site/demo.py"
    return found.read_text().strip() if found.exists() else None


def pushed(registry: Registry, make_executor: Callable[..., Path], requirements: str, **given: str) -> None:
    registry.push(make_executor("Hello", requirements__txt=requirements), build_env=given)


# what pip is asked for


def test_a_variable_is_expanded_where_pip_reads_it(
    registry: Registry, make_executor: Callable[..., Path], tmp_path: Path, index: Path
) -> None:
    pushed(registry, make_executor, "demo == ${DEMO_VERSION}\n", DEMO_VERSION="2.0")
    pulled = registry.pull(
        "alice/Hello", tmp_path / "out", install_requirements=True, build_env={"DEMO_VERSION": "1.0"}
    )
    assert installed(tmp_path) == "version = '1.0'"
    assert read_tree(Path(pulled.path))["requirements.txt"] == b"demo == ${DEMO_VERSION}\n"


def test_what_pip_says_is_told_without_the_value(
    registry: Registry, make_executor: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names what it does not find, and where it looked; a program that says the same stands in for it."""
    script = (
        '#!/bin/sh\necho "Looking in https://u:$TOKEN@host"; echo "ERROR: nothing found for demo-$TOKEN" >&2; exit 1\n'
    )
    write_tree(tmp_path, {"python": script}).joinpath("python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    pushed(registry, make_executor, "demo-${TOKEN}\n", TOKEN="other")
    said: list[str] = []
    alice = Registry(registry.root, namespace="alice", notes=said.append)
    with pytest.raises(BuildFailed) as caught:
        alice.pull("alice/Hello", tmp_path / "out", install_requirements=True, build_env={"TOKEN": SECRET})
    assert said == ["Looking in https://u:***@host", "ERROR: nothing found for demo-***"]
    assert (str(caught.value).endswith("ERROR: nothing found for demo-***"), caught.value.code) == (True, 8)


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a program that stands in for this Python, and costs less, tells how it was called."""
    told = tmp_path / "told"
    script = f'#!/bin/sh\nprintf "%s\\n" "$*" "$ONE$TWO" "$(pwd)" > {told}\n'
    write_tree(tmp_path, {"python": script}).joinpath("python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    return told


def test_no_value_is_among_the_words_of_pip(
    registry: Registry, make_executor: Callable[..., Path], tmp_path: Path, told: Path
) -> None:
    """Every user of a machine reads the command lines of all."""
    pushed(registry, make_executor, "a-${ONE}\n", ONE="other")
    registry.pull("alice/Hello", tmp_path / "out", install_requirements=True, build_env={"ONE": SECRET})
    words, value, _ = told.read_text().splitlines()
    assert (value, SECRET in words) == (SECRET, False)


def test_to_use_one_where_it_is_installs_as_well(registry: Registry, hello: Path, told: Path) -> None:
    registry.push(write_tree(hello, {"requirements.txt": "demo\n"}))
    folder = registry.path("alice/Hello")
    assert registry.uses("alice/Hello", install_requirements=True) == f"{folder}/config.yml"
    assert told.read_text().splitlines()[0].endswith(f"-r {folder}/requirements.txt")


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python without pip, in place of this one."""
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare/bin/python"))
    return tmp_path / "bare/bin/python"


def test_no_module_of_what_was_pulled_is_taken_for_pip(
    tmp_path: Path, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python looks for modules in the current folder first; where there is no pip nothing else is found."""
    pulled = write_tree(tmp_path / "out", {"pip.py": "open('ran', 'w')", "requirements.txt": "demo\n"})
    monkeypatch.chdir(pulled)
    with pytest.raises(ToolMissing):
        install(str(pulled), {}, lambda line: None)
    assert not (pulled / "ran").exists()


def test_where_nothing_is_required_pip_is_not_needed(
    registry: Registry, hello: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.push(hello)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert Path(registry.pull("alice/Hello", tmp_path / "out", install_requirements=True).path).is_dir()


def test_a_python_without_pip_is_told_with_what_brings_it(tmp_path: Path, bare: Path) -> None:
    with pytest.raises(ToolMissing) as caught:
        install(str(write_tree(tmp_path / "out", {"requirements.txt": "demo\n"})), {}, lambda line: None)
    assert (caught.value.code, caught.value.hint) == (9, f"{bare} -m ensurepip")


def test_a_variable_that_is_missing_is_told_before_anything_is_pulled(
    registry: Registry, make_executor: Callable[..., Path], tmp_path: Path
) -> None:
    pushed(registry, make_executor, "a-${ONE} b-${TWO}\n", ONE="1", TWO="2")
    with pytest.raises(UsageError, match="ONE, TWO"):
        registry.pull("alice/Hello", tmp_path / "out", install_requirements=True)
    with pytest.raises(UsageError, match="TWO"):
        registry.uses("alice/Hello", build_env={"ONE": "1"})
    assert not (tmp_path / "out").exists()


# the command line


@pytest.fixture
def stage(tmp_path: Path, make_executor: Callable[..., Path]) -> Stage:
    """alice, with an Executor whose requirements use two variables, at a registry that others share."""
    stage = Stage(tmp_path.resolve())
    source = make_executor("Hello", requirements__txt="demo == ${ONE}${TWO}\n")
    Registry(stage.shared, namespace="alice").push(source, build_env={"ONE": "1", "TWO": ".0"})
    return stage


def test_a_pull_names_the_variables_and_goes_on(stage: Stage) -> None:
    answer = stage.lhub("pull", "alice/Hello", who="guest")
    assert (answer.code, answer.err) == (0, "lhub: its requirements use ONE, TWO: set them before you install\n")
    assert (stage.here / "Hello/config.yml").is_file()


@pytest.mark.parametrize("words", [("uses", "alice/Hello"), ("pull", "alice/Hello", "--install-requirements")])
def test_where_nobody_can_be_asked_a_missing_variable_exits_2(stage: Stage, words: tuple[str, ...]) -> None:
    answer = stage.lhub(*words, who="guest", ONE="1")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("lhub: its requirements use TWO, ")
    assert not (stage.here / "Hello").exists()


def test_variables_are_taken_from_the_environment(stage: Stage) -> None:
    config = stage.lhub("path", "alice/Hello", who="guest").out.strip() + "/config.yml"
    assert stage.lhub("uses", "alice/Hello", who="guest", ONE="1", TWO="2").out == f"{config}\n"
    assert stage.lhub("uses", "alice/Hello", "--json", who="guest", ONE="1", TWO="2").json == {"uses": config}


def typed(stage: Stage, words: tuple[str, ...], answers: dict[str, str]) -> tuple[str, int]:
    """What a terminal shows when somebody types the answers to the questions; and the exit code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside the threads of pytest-xdist
        child, terminal = pty.fork()
    if child == 0:
        _at_a_terminal(stage, words)
    shown, waiting = "", dict(answers)
    while True:
        try:
            piece = os.read(terminal, 1 << 16).decode()
        except OSError:  # the other end is closed
            break
        shown += piece
        for question in [each for each in waiting if shown.endswith(f"{each}: ")]:
            os.write(terminal, f"{waiting.pop(question)}\n".encode())
    os.close(terminal)
    return shown, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _at_a_terminal(stage: Stage, words: tuple[str, ...]) -> None:
    code = 70
    try:
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(each, mode) for each, mode in ((0, "r"), (1, "w"), (2, "w")))
        os.environ.clear()
        os.environ.update(stage.environment("guest"))
        os.chdir(stage.here)
        code = program.main(list(words))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def test_at_a_terminal_a_missing_variable_is_asked_for_by_name_and_not_shown(stage: Stage) -> None:
    shown, code = typed(stage, ("uses", "alice/Hello"), {"ONE": SECRET, "TWO": SECRET})
    assert re.fullmatch(r"ONE: \r\nTWO: \r\n/\S+/config\.yml\r\n", shown), shown
    assert code == 0


def test_what_was_typed_is_what_pip_gets(stage: Stage, told: Path) -> None:
    words = ("pull", "alice/Hello", "--install-requirements")
    shown, code = typed(stage, words, {"ONE": "first ", "TWO": "second"})
    assert (code, told.read_text().splitlines()[1]) == (0, "first second"), shown


def test_names_that_a_stranger_wrote_into_a_manifest_move_no_cursor(stage: Stage) -> None:
    names = ["ONE", "\x1b]0;title\x07", "A=B", "C\0D"]
    reseal(stage.shared / "alice/Hello", names)
    pulled = stage.lhub("pull", "alice/Hello", who="guest")
    shown, _ = typed(stage, ("uses", "alice/Hello"), dict.fromkeys(names, "1"))
    told = f"{pulled.err}{pulled.out}{shown}"
    assert [each for each in ("\x1b", "\x07", "\0") if each in told] == []
    assert "Traceback" not in told


def reseal(resource: Path, names: list[str]) -> None:
    """Let the manifest of `latest` name other variables, as its owner can by hand, and give it its new id."""
    version = (resource / "latest").resolve()
    with by_hand(version.parent):
        manifest = version / "manifest.yaml"
        quoted = ", ".join(
            '"' + name.replace("\x1b", r"\e").replace("\x07", r"\a").replace("\0", r"\0") + '"' for name in names
        )
        text = re.sub(
            r"(  build_env:).*\n(?:  - .*\n)+", lambda found: f"{found[1]} [{quoted}]\n", manifest.read_text()
        )
        assert quoted in text
        manifest.write_text(text)
        new = version.with_name(hashlib.sha256(text.encode()).hexdigest())
        version.rename(new)
    (resource / "latest").unlink()
    (resource / "latest").symlink_to(f".lhub/versions/{new.name}")


# from Python


def test_uses_is_the_config_inside_the_registry(
    registry: Registry, hello: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    registry.push(hello, tags=["v1"])
    monkeypatch.setenv("LHUB_ROOT", str(registry.root))
    monkeypatch.setenv("LHUB_HOME", str(tmp_path / "home"))
    assert lhub.uses("jinaai://alice/Hello:v1") == f"{registry.path('alice/Hello:v1')}/config.yml"


def test_uses_takes_variables_from_its_caller_and_then_from_the_environment(
    registry: Registry, make_executor: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pushed(registry, make_executor, "a-${ONE}-${TWO}\n", ONE="1", TWO="2")
    monkeypatch.setenv("LHUB_ROOT", str(registry.root))
    monkeypatch.setenv("LHUB_HOME", str(tmp_path / "home"))
    with pytest.raises(UsageError, match="TWO"):
        lhub.uses("alice/Hello", build_env={"ONE": "1"})
    monkeypatch.setenv("TWO", "2")
    assert lhub.uses("alice/Hello", build_env={"ONE": "1"}).endswith("/config.yml")


def test_uses_of_one_that_came_without_a_config_is_the_one_that_was_written(registry: Registry, hello: Path) -> None:
    (hello / "config.yml").unlink()
    registry.push(hello, "Hello")
    assert "jtype: Hello" in Path(registry.uses("alice/Hello")).read_text()


def test_there_is_no_use_for_what_is_no_executor(registry: Registry, tmp_path: Path) -> None:
    registry.push(write_tree(tmp_path / "weights", {"config.yml": "a: b\n"}), "weights")
    with pytest.raises(NotFound, match="not an Executor"):
        registry.uses("alice/weights")


def test_somebody_else_s_private_executor_is_not_to_be_used(registry: Registry, hello: Path) -> None:
    registry.push(hello, private=True)
    said = []
    for name in ("Hello", "Absent"):
        with pytest.raises(NotFound) as caught:
            as_caller(registry, "bob").uses(f"alice/{name}")
        said.append(f"{caught.value} {caught.value.hint}".replace(name, "X"))
    assert said[0] == said[1]
