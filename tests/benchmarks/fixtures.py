"""What the fixtures of the pytest plugin add to a test, and the plugin to a run, beside pytest's own tmp_path.

    python tests/benchmarks/fixtures.py [TESTS] [ROUNDS] [FOLDER]

Runs a file of TESTS empty tests with each fixture, in turn, each in a process of its own, and prints the medians, in
milliseconds for each test; then how long a run takes to begin with the plugin and without (`-p no:lhub`).
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORKS = {
    "nothing": "def test(n): pass",
    "tmp_path": "def test(n, tmp_path): pass",
    "lhub_registry": "def test(n, lhub_registry): pass",
    "lhub_login": "def test(n, lhub_login):\n    with lhub_login('bob'): pass",
    "lhub_executor": "def test(n, lhub_executor): lhub_executor()",
    "lhub_executor, another each time": "def test(n, lhub_executor): lhub_executor(files={'n.txt': str(n)})",
    "lhub_docs": "def test(n, lhub_docs): pass",
    "lhub_session_registry": "def test(n, lhub_session_registry): pass",
}


def seconds(text: str, number: int, folder: Path) -> float:
    """How long a run of so many tests takes."""
    file = folder / "test_cost.py"
    file.write_text(f"import pytest\n\n@pytest.mark.parametrize('n', range({number}))\n{text}\n")
    began = time.perf_counter()
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={folder}/base", str(file)]
    subprocess.run(words, check=True, capture_output=True, cwd=folder)
    return time.perf_counter() - began


def cpu(folder: Path, *options: str) -> float:
    """Processor seconds of a run of one test."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(folder / "test_cost.py")]
    subprocess.run(words, check=True, capture_output=True, cwd=folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def main() -> None:
    """Measure, and tell."""
    number, rounds = (int(word) for word in (*sys.argv[1:3], *("200", "3")[len(sys.argv[1:3]) :]))
    folder = Path(tempfile.mkdtemp(prefix="lhub-bench-", dir=next(iter(sys.argv[3:]), None)))
    each: dict[str, list[float]] = {name: [] for name in WORKS}
    for _ in range(rounds):
        for name, text in WORKS.items():  # of many tests less than of one, what is loaded once is no part of it
            each[name].append((seconds(text, number, folder) - seconds(text, 1, folder)) / (number - 1) * 1000)
    nothing = statistics.median(each["nothing"])
    for name, times in each.items():
        tell(f"{name:34} {statistics.median(times) - nothing:6.1f} ms a test")
    seconds(WORKS["nothing"], 1, folder)
    runs = [(cpu(folder), cpu(folder, "-p", "no:lhub")) for _ in range(10 * rounds)]
    more = statistics.median(with_it - without for with_it, without in runs) * 1000
    whole = statistics.median(run[0] for run in runs)
    tell(f"a run with the plugin takes {more:.1f} ms of CPU more, of {whole:.2f} s")


if __name__ == "__main__":
    main()
