"""What a command costs before it does anything (processor time, modules), and where a gigabyte costs no bytes."""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lhub.registry import Registry
from tests.conftest import HELLO, Shell

COMMANDS = ["pull", "list", "path"]
WORDS = {
    "pull": ["pull", "alice/HelloExecutor", "out", "--force"],
    "list": ["list"],
    "path": ["path", "alice/HelloExecutor"],
}
BARE = "import click"
ALLOWED = 1.5
RUNS, ATTEMPTS = 11, 3
HEAVY = {
    "yaml", "filelock", "pathspec", "git", "json", "ctypes", "subprocess", "pathlib", "importlib.metadata",
    "asyncio", "http", "logging", "shutil", "socket", "sqlite3", "ssl", "tempfile", "threading", "urllib", "zipfile",
}  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A shell with one small Executor pushed; what follows only reads."""
    folder = tmp_path_factory.mktemp("small")
    shell = Shell(home=folder / "home", cwd=folder / "work")
    shell.home.mkdir()
    shutil.copytree(HELLO, shell.cwd / HELLO.name)
    shell("login", "alice", check=True)
    shell("push", HELLO.name, check=True)
    return shell


def loaded_by(shell: Shell, code: str) -> set[str]:
    """The modules that a Python process has loaded at its end."""
    script = f"import atexit, sys; atexit.register(lambda: sys.stderr.write('\\n' + ' '.join(sys.modules))); {code}"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=shell.cwd,
        env=shell.environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stderr.rpartition("\n")[2].split())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_loads_nothing_heavy(small: Shell, command: str) -> None:
    bare = loaded_by(small, BARE)
    code = f"sys.argv = ['lhub', *{json.dumps(WORDS[command])}]; from lhub.cli.main import run; run()"
    modules = loaded_by(small, code)
    assert "lhub.cli.everyday" in modules
    assert sorted((HEAVY & modules) - bare) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_does_not_load_the_rooms_of_writers(small: Shell, command: str) -> None:
    code = f"sys.argv = ['lhub', *{json.dumps(WORDS[command])}]; from lhub.cli.main import run; run()"
    writers = {"publish", "staging", "change", "history", "diary", "builds", "lock", "folder", "kinds"}
    assert {f"lhub.{room}" for room in writers} & loaded_by(small, code) == set()


def test_lhub_alone_is_imported_without_its_rooms(small: Shell) -> None:
    modules = loaded_by(small, "import lhub")
    assert {name for name in modules if name.startswith("lhub.")} == set()


def cpu(words: list[str], shell: Shell, environment: dict[str, str]) -> float:
    """Processor seconds of one process and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, cwd=shell.cwd, env=environment, stdout=subprocess.DEVNULL, check=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.slow
def test_a_reader_costs_at_most_half_more_than_click_alone(small: Shell, tmp_path: Path) -> None:
    environment = {**small.environment(PYTHONPYCACHEPREFIX=str(tmp_path / "bytecode"))}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    python = [sys.executable, "-c"]
    candidates = {name: [sys.executable, "-m", "lhub", *WORDS[name]] for name in COMMANDS} | {"click": [*python, BARE]}
    for words in candidates.values():
        cpu(words, small, environment)  # writes the bytecode
    assert os.path.isdir(environment["PYTHONPYCACHEPREFIX"])
    best: dict[str, float] = {}
    for _ in range(ATTEMPTS):
        times: dict[str, list[float]] = {name: [] for name in candidates}
        for _ in range(RUNS):
            for name, words in candidates.items():
                times[name].append(cpu(words, small, environment))
        bare = statistics.median(times["click"])
        for name in COMMANDS:
            best[name] = min(best.get(name, 99.0), statistics.median(times[name]) / bare)
        if max(best.values()) <= ALLOWED:
            break
    assert {name: round(ratio, 2) for name, ratio in best.items() if ratio > ALLOWED} == {}


# reflinks

REFLINKS = {"btrfs": ("mkfs.btrfs", "btrfs-progs"), "xfs": ("mkfs.xfs", "xfsprogs")}


@pytest.fixture(params=REFLINKS)
def sharing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system on which copies share their bytes, on a loop device."""
    make, package = REFLINKS[request.param]
    if shutil.which(make) is None:
        pytest.skip(f"{make} is not installed: apt install {package}")
    image, place = tmp_path / "image", tmp_path / "mounted"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(512 << 20)
    subprocess.run([make, image], check=True, capture_output=True)
    mounted = subprocess.run(["mount", "-o", "loop", image, place], check=False, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(
            f"{request.param} cannot be mounted here (it needs root, and the kernel's module): {mounted.stderr}"
        )
    yield place
    subprocess.run(["umount", place], check=True)


def used(place: Path) -> int:
    """Bytes that a file system holds, with all that was written on the disk."""
    os.sync()
    status = os.statvfs(place)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


@pytest.mark.slow
def test_where_copies_share_their_bytes_a_push_and_a_pull_take_none(sharing: Path) -> None:
    registry = Registry(sharing / "registry", namespace="alice")
    weights = sharing / "weights" / "weights.bin"
    weights.parent.mkdir()
    weights.write_bytes(os.urandom(100 << 20))
    before = used(sharing)
    assert before > 100 << 20
    registry.push(weights.parent, "X")
    registry.pull("alice/X", sharing / "out")
    assert (sharing / "out" / "weights.bin").stat().st_size == 100 << 20
    assert used(sharing) - before < 4 << 20  # manifests, folders, and what the file system writes about them
