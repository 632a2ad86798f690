"""The benchmarks run: what they say is for people to look at, that they still can be asked is seen here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

pytestmark = pytest.mark.slow


def run(name: str, *words: str, at: Path) -> subprocess.CompletedProcess[str]:
    """A program of tests/benchmarks, as the README says it."""
    program = [sys.executable, PROJECT / "tests" / "benchmarks" / name, "--at", at, *words]
    return subprocess.run(program, capture_output=True, text=True, check=False, timeout=300, cwd=PROJECT)


def test_each_promise_is_told_with_its_ratio(tmp_path: Path) -> None:
    done = run("limits.py", "--rounds", "1", "--rows", "small,readers,warm", at=tmp_path)
    assert done.returncode in (0, 1), done.stderr  # 1: a promise was missed, on a machine with other things to do
    promises = done.stdout.partition("### Promises")[2]
    assert [line.split("|")[1].split(":")[0].strip() for line in promises.splitlines() if ":" in line] == [
        "small", "readers", "readers", "readers", "warm",
    ]  # fmt: skip


def test_lhub_and_git_are_told_side_by_side(tmp_path: Path) -> None:
    words = ("--rounds", "1", "--scale", "0.01", "--only", "lhub,git", "--envs", f"{tmp_path}/envs")
    done = run("peers.py", *words, at=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "cannot" not in done.stdout
    assert [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("| ")].count("lhub") == 2


def test_growth_is_kept_for_a_picture(tmp_path: Path) -> None:
    done = run("growth.py", "--most", "1", "--rows", "pushes,files", "--json", f"{tmp_path}/kept", at=tmp_path)
    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "kept").read_text())
    assert [row["pushes"] for row in kept["measured"]["pushes"]] == [1, 10, 20]
    assert all(row["push"] > 0 for row in kept["measured"]["files"])
