"""The README and FORMAT.md say what lhub does: their commands run, their examples are what is written."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lhub import history
from lhub.registry import Registry
from tests.basing import rootfs, tarred
from tests.conftest import HELLO, PROJECT, Shell, executor_py
from tests.test_crowds import Crowd

README = (PROJECT / "README.md").read_text()
FORMAT = (PROJECT / "lhub" / "FORMAT.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def as_pattern(expected: str) -> str:
    return ".*".join(re.escape(part) for part in expected.split("[...]"))


@pytest.fixture
def reader(shell: Shell, tmp_path: Path) -> Shell:
    """Somebody who types what the README says, in the project's folder, with an `lhub` on the PATH."""
    program = tmp_path / "bin" / "lhub"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lhub "$@"\n')
    program.chmod(0o755)
    (shell.cwd / "fixtures").symlink_to(PROJECT / "fixtures")
    return shell


def typed(reader: Shell, command: str) -> tuple[int, str]:
    path = f"{reader.home.parent / 'bin'}:{reader.environment()['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=reader.cwd, env=reader.environment(PATH=path, TZ="UTC"),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=60, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_every_console_block_answers_as_it_is_printed(reader: Shell) -> None:
    steps = [step for block in blocks(README, "console") for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    assert len(steps) >= 12
    for step in steps:
        command, _, expected = step.replace("--group ml", f"--group {os.getgid()}").partition("\n")
        expected = expected.replace("the group ml", f"the group {os.getgid()}")
        code = re.search(r"^\[exit (\d+)\]\n", expected, re.MULTILINE)
        expected = re.sub(r"^\[exit \d+\]\n", "", expected, flags=re.MULTILINE)
        got_code, got = typed(reader, command)
        assert got_code == (int(code[1]) if code else 0), got
        lines = expected.rstrip("\n")
        assert re.search(f"^{as_pattern(lines)}$", got.rstrip("\n"), re.MULTILINE | re.DOTALL), f"$ {command}\n{got}"


def test_the_first_command_runs_the_main_job(reader: Shell) -> None:
    line = blocks(README, "bash")[0].strip()
    venv, install, *job = [part.strip() for part in line.split("&&")]
    assert "\n" not in line
    assert (venv, install) == ("python3 -m venv .venv", ".venv/bin/pip install -q .")
    code, out = typed(reader, " && ".join(job).replace(".venv/bin/lhub", "lhub"))
    assert code == 0, out
    assert out.count("HelloExecutor") >= 3


def test_ci_runs_the_second_command_to_the_letter() -> None:
    line = blocks(README, "bash")[1].strip()
    assert shlex.split(line)[:4] == ["python3", "-m", "venv", ".venv"]
    assert line in (PROJECT / ".ci" / "run").read_text().splitlines()


def test_the_python_block_runs(reader: Shell) -> None:
    (block,) = (block for block in blocks(README, "python") if block not in tried_elsewhere())
    done = subprocess.run(
        [sys.executable, "-c", block],
        cwd=reader.cwd,
        env=reader.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("True ")
    assert "alice/HelloExecutor is not here" in done.stdout


def tried_elsewhere() -> list[str]:
    """What the README shows of tests, and of arrays, which tests/test_documents.py runs."""
    return [block for block in blocks(README, "python") if "def test_" in block or "docarray" in block]


def test_the_tests_that_are_shown_are_those_of_a_project_that_is_tried() -> None:
    """tests/test_downstream.py runs them."""
    (block,) = (block for block in blocks(README, "python") if "def test_" in block)
    project = (PROJECT / "fixtures" / "downstream" / "tests" / "test_weathervane.py").read_text()
    shown = [test.strip() for test in re.split(r"^(?=def )", block, flags=re.MULTILINE) if test.strip()]
    assert len(shown) == 3
    assert [test for test in shown if f"\n\n\n{test}\n\n\n" not in project] == []


def test_the_table_of_fixtures_has_them_all() -> None:
    rows = re.findall(r"^\| `(lhub_\w+)` \|", README, re.MULTILINE)
    plugin = (PROJECT / "lhub" / "pytest_plugin.py").read_text()
    assert sorted(rows) == sorted(re.findall(r"^def (lhub_\w+)", plugin, re.MULTILINE))


def test_the_way_to_remove_a_registry_by_hand_works(reader: Shell) -> None:
    reader("login", "alice", check=True)
    reader("push", HELLO, check=True)
    (way,) = (block for block in blocks(README, "bash") if "rm -rf" in block)
    code, out = typed(reader, way.strip())
    assert code == 0, out
    assert not (reader.home / ".lhub" / "registry").exists()


def test_the_format_page_shows_the_manifest_that_a_push_writes(registry: Registry) -> None:
    pushed = registry.push(HELLO)
    manifest = (Path(pushed.path).parent / "manifest.yaml").read_text()
    assert manifest in blocks(FORMAT, "yaml")
    assert pushed.version in FORMAT


@pytest.fixture
def imaged(registry: Registry, tmp_path: Path) -> Registry:
    """A registry with a base in it, and HelloExecutor with a container image that was made on it."""
    (tmp_path / "rootfs.tar").write_bytes(tarred(rootfs()))
    registry.import_base("tiny", tmp_path / "rootfs.tar")
    hello = shutil.copytree(HELLO, tmp_path / "hello")
    (hello / "requirements.txt").write_text("")
    registry.push(hello, image="always", builder="python", platforms=["linux/amd64"], protected_tags=["v1"])
    return registry


def test_the_format_page_shows_the_manifest_of_a_base(imaged: Registry) -> None:
    manifest = (Path(imaged.path("alice/tiny")).parent / "manifest.yaml").read_text()
    assert manifest in blocks(FORMAT, "yaml")


def test_the_format_page_shows_the_index_of_an_image(imaged: Registry) -> None:
    index = Path(imaged.image("alice/HelloExecutor:v1").layout.folder, "index.json").read_text()
    assert json.loads(index) in [json.loads(block) for block in blocks(FORMAT, "json")]
    assert index == json.dumps(json.loads(index), sort_keys=True, separators=(",", ":"))


def test_the_format_page_names_every_path_that_a_push_makes(imaged: Registry) -> None:
    registry = imaged
    registry.push(HELLO, protected_tags=["v2"])
    tree = "".join(blocks(FORMAT, ""))
    names = {path.name for path in registry.root.rglob("*") if not re.fullmatch(r"[0-9a-f-]{2,}|pack-.*", path.name)}
    ours = {"alice", "HelloExecutor", "tiny", "v1", "v2", ".protected.v1", ".protected.v2"}
    ours |= {path.name for path in HELLO.iterdir()}
    git = {"refs", "heads", "info", "pack", "lfs", "objects"}
    assert sorted(name for name in names - ours - git if name not in tree) == []


def test_a_backup_made_while_somebody_pushes_is_whole(
    registry: Registry, hello: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("rsync") is None:
        pytest.skip("rsync is not installed: apt install rsync")
    (way,) = (block for block in blocks(README, "bash") if "rsync" in block)
    copy = tmp_path / "copy"
    copy.mkdir()
    way = way.replace("/mnt/team/registry", str(registry.root)).replace("/backup/registry", str(copy))
    registry.push(hello, private=True, protected_tags=["v0"])
    monkeypatch.setattr(history, "_PACKS", 4)  # now and then a diary's packs become one under rsync's hands

    def push() -> None:
        for turn in range(12):
            (hello / "executor.py").write_text(executor_py("Hello", f"# {turn}"))
            registry.push(hello, tags=["latest", f"v{turn + 1}"])

    with Crowd(push) as crowd:
        while crowd.at_work():
            done = subprocess.run(["bash", "-c", way], capture_output=True, text=True, check=False)
            assert done.returncode in (0, 23, 24), done.stderr  # 23, 24: a file was gone that had been there
    registry.untag("alice/Hello:v3")
    done = subprocess.run(["bash", "-c", way], capture_output=True, text=True, check=True)
    backup = Registry(copy, namespace="alice")
    assert crowd.answers == [0]
    assert backup.verify().ok, backup.verify()
    assert [line.to_dict() for line in backup.list()] == [line.to_dict() for line in registry.list()]
