"""The stopwatch of the benchmarks: what something costs, and tables of it.

Whatever is measured is interleaved with its own limit, in rounds: the machine is another one every minute, and only
what was measured side by side can be divided.
"""

from __future__ import annotations

import contextlib
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

MIB = 1 << 20
_STARTED = (sys.executable, "-I", "-S", str(Path(__file__).with_name("started.py")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds on the clock and of processors, bytes of memory at most, bytes more on the disk; None: not looked at."""

    wall: float
    cpu: float
    memory: float | None = None
    disk: float | None = None


Work = Callable[[], Cost]
"""Does something once, and tells what it cost."""


def command(
    *words: str | os.PathLike[str],
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    before: Callable[[], object] = lambda: None,
    grows: Path | None = None,
) -> Work:
    """A program, from its start to its end, with what it starts itself; `grows` is where it writes.

    Its memory is that of its largest process.
    """

    def work() -> Cost:
        before()
        stood = on_disk(grows) if grows else 0
        done = subprocess.run([*_STARTED, *map(os.fspath, words)], env=env, cwd=cwd, capture_output=True, check=False)
        said, _, told = done.stderr.decode(errors="replace").rstrip().rpartition("\n")
        if done.returncode:
            raise SystemExit(f"{words}: exit {done.returncode}\n{said}")
        wall, cpu, memory = map(float, told.split())
        return Cost(wall=wall, cpu=cpu, memory=memory, disk=on_disk(grows) - stood if grows else None)

    return work


def call(function: Callable[[], object], *, before: Callable[[], object] = lambda: None) -> Work:
    """A call in this process."""

    def work() -> Cost:
        before()
        began, used = time.perf_counter(), processor()
        function()
        return Cost(wall=time.perf_counter() - began, cpu=processor() - used)

    return work


def processor() -> float:
    """Seconds of processors that this process and its ended children have used."""
    return sum(os.times()[:4])


def on_disk(path: Path) -> int:
    """Bytes as `du` counts them: blocks, a file with two names once."""
    seen: dict[tuple[int, int], int] = {}
    for folder, _, names in os.walk(path):
        for name in (".", *names):
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(f"{folder}/{name}")
                seen[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(seen.values())


def interleaved(works: Mapping[str, Work], rounds: int) -> dict[str, Cost]:
    """The median of each work's rounds, all works in turn in every round."""
    costs: dict[str, list[Cost]] = {name: [] for name in works}
    for turn in range(rounds):
        order = list(works.items())
        for name, work in order if turn % 2 == 0 else reversed(order):  # nobody always comes behind the same one
            costs[name].append(work())
    return {name: _median(each) for name, each in costs.items()}


def _median(costs: Sequence[Cost]) -> Cost:
    told = {}
    for each in fields(Cost):
        values = [value for cost in costs if (value := getattr(cost, each.name)) is not None]
        told[each.name] = statistics.median(values) if values else None
    return Cost(**told)


# tables


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as Markdown, their columns in line."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def seconds(value: float) -> str:
    """Seconds with three digits, of small ones as milliseconds."""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.3g} ms"


def mib(value: float | None) -> str:
    """Bytes as MiB, `-` where nobody looked."""
    return "-" if value is None else f"{value / MIB:.1f}" if abs(value) < 100 * MIB else f"{value / MIB:.0f}"


def machine(place: Path) -> str:
    """What was measured on: processors, memory, kernel, file system, Python, the day."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ""
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores ({model or platform.machine()}), {memory:.0f} GiB, "
        f"{platform.system()} {platform.release()}, {file_system(place)}, Python {platform.python_version()}"
    )


def file_system(place: Path) -> str:
    """The type of the file system that a folder lies on, as the kernel names it."""
    best, kind = "", "unknown"
    for line in _lines("/proc/mounts"):
        _, mount, told, *_ = line.split()
        if f"{place}/".startswith(f"{mount.rstrip('/')}/") and len(mount) >= len(best):
            best, kind = mount, told
    return kind


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def tell(line: str = "") -> None:
    """One line of the report."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
