"""A project that uses lhub's fixtures (fixtures/downstream), tested as its own author does, with lhub from a wheel.

It needs an environment of its own, in which lhub's sources are not at hand:

    LHUB_TEST_DOWNSTREAM=$(sh tests/environment.sh downstream .venv-downstream) pytest -m downstream
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lhub.registry import Registry
from tests.conftest import PROJECT, snapshot

PYTHON = os.environ.get("LHUB_TEST_DOWNSTREAM")
pytestmark = [
    pytest.mark.downstream,
    pytest.mark.skipif(
        PYTHON is None,
        reason="LHUB_TEST_DOWNSTREAM names no Python with lhub from a wheel: sh tests/environment.sh downstream DIR "
        "makes one, which is python3 -m venv DIR && DIR/bin/pip install -r tests/environments/downstream.txt .",
    ),
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project, checked out somewhere."""
    return Path(shutil.copytree(PROJECT / "fixtures" / "downstream", tmp_path / "weathervane"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of its author, with a registry in it that no test may touch."""
    registry = Registry(tmp_path / "home" / ".lhub" / "registry", namespace="alice")
    registry.root.parent.mkdir(parents=True)
    (tmp_path / "weights.json").write_text('{"Oslo": "real"}')
    registry.push(tmp_path / "weights.json", "weather", tags=["prod"])
    return tmp_path / "home"


def run_its_tests(project: Path, home: Path, *options: str) -> tuple[dict[str, int], str]:
    """What its own tests say: how many passed and so on, and all that was printed."""
    assert PYTHON is not None
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LHUB_", "PYTEST_"))}
    done = subprocess.run(
        [PYTHON, "-m", "pytest", "-p", "no:cacheprovider", *options], cwd=project, env={**kept, "HOME": str(home)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=120,
    )  # fmt: skip
    counted = re.findall(r"(\d+) (passed|failed|skipped|errors?|warnings?)", done.stdout.splitlines()[-1])
    return {what: int(number) for number, what in counted}, done.stdout


def test_lhub_is_there_as_a_wheel() -> None:
    assert PYTHON is not None
    words = [PYTHON, "-c", "import lhub; print(lhub.__file__)"]
    where = Path(subprocess.run(words, cwd="/", capture_output=True, text=True, check=True).stdout.strip())
    assert "site-packages" in where.parts and not where.is_relative_to(PROJECT / "lhub")


@pytest.mark.parametrize("seed", ["1", "2"])
@pytest.mark.parametrize("workers", ["0", "2"])
def test_its_tests_pass_in_any_order_alone_and_in_parallel(project: Path, home: Path, workers: str, seed: str) -> None:
    before = snapshot(home)
    outcomes, told = run_its_tests(project, home, "-n", workers, f"--randomly-seed={seed}")
    assert outcomes == {"passed": 11, "skipped": 1}, told
    assert "pytest --lhub-root DIR names it" in told
    assert snapshot(home) == before, "the author's own registry was touched"


def test_with_a_real_registry_named_what_is_there_is_tried_too(project: Path, home: Path) -> None:
    before = snapshot(home)
    outcomes, told = run_its_tests(project, home, f"--lhub-root={home}/.lhub/registry")
    assert outcomes == {"passed": 12}, told
    assert snapshot(home) == before


def test_a_run_that_uses_none_of_it_pays_next_to_nothing(project: Path, home: Path) -> None:
    (project / "tests" / "test_weathervane.py").write_text(
        "import sys\n\n\ndef test_none():\n"
        "    loaded = [name for name in sys.modules if name.split('.')[0] == 'lhub']\n"
        "    assert sorted(loaded) == ['lhub', 'lhub.pytest_plugin']\n"
    )
    outcomes, told = run_its_tests(project, home)
    assert outcomes == {"passed": 1}, told
