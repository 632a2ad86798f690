"""How cost grows: with pushes of one resource, resources, files of a version, and pushers at once.

    python tests/benchmarks/growth.py [--json FILE] [--at FOLDER] [--most SHARE]
    $(sh tests/environment.sh bench .venv-bench) tests/benchmarks/growth.py --draw FILE

The first measures (ten minutes) and prints tables; the second draws what was kept in FILE, a small PNG a table, beside
this program. Nothing should grow faster than what it counts, and what concerns one resource not at all with others.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # where it is run as a program

from tests.benchmarks.limits import EXECUTOR, Place, copy_loop, fill, placed, push_one, push_own, together
from tests.benchmarks.measuring import machine, table, tell

HERE = Path(__file__).parent
Rows = list[dict[str, float]]
WINDOW = 20
"""How many pushes a point is the median of."""


def seconds(work: Callable[[], object], times: int = 5) -> float:
    """The median of a few times."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def pushes(place: Place, most: int) -> Rows:
    """1 to 2,000 pushes of one resource, a line changed in each; what each verb then takes."""
    registry, folder = place.registry(), place.executor("Grown")
    points, took, rows = steps(1, 2000, most), [], Rows()
    for number in range(1, points[-1] + 1):
        (folder / "executor.py").write_text(f"{EXECUTOR}# push {number}\n")
        took.append(seconds(lambda: registry.push(folder, "alice/Grown"), 1))
        if number in points:
            rows.append(
                {
                    "pushes": number,
                    "push": statistics.median(took[-WINDOW:]),
                    "tag": seconds(lambda: registry.tag("alice/Grown", "again")),
                    "pull": seconds(lambda: registry.pull("alice/Grown", place.folder / "out", force=True)),
                    "path": seconds(lambda: registry.path("alice/Grown")),
                    "log": seconds(lambda: registry.log("alice/Grown")),
                }
            )
    return rows


def resources(place: Place, most: int) -> Rows:
    """10 to 10,000 resources of one namespace; what concerns one of them, and a listing of all."""
    registry, note, rows = place.registry(), place.folder / "note.txt", Rows()
    stands = 0
    for number in steps(10, 10_000, most):
        for each in range(stands, number):
            note.write_text(f"the note {each}\n")
            registry.push(note, f"alice/E{each:05}")
        stands = number
        time.sleep(2.5)  # a listing remembers what was at rest
        rows.append({"resources": number, **among_many(place)})
    return rows


def among_many(place: Place) -> dict[str, float]:
    """What a push, a pull, a look and a listing take, with however many others there are."""
    registry, folder, turns = place.registry(), place.executor("Other"), iter(range(100))
    return {
        "list, first": seconds(registry.list, 1),
        "list, then": seconds(registry.list),
        "push": seconds(lambda: registry.push(renewed(folder, next(turns)), "alice/Other"), 9),
        "pull": seconds(lambda: registry.pull("alice/E00005", place.folder / "one", force=True)),
        "path": seconds(lambda: registry.path("alice/E00005")),
    }


def renewed(folder: Path, *words: object) -> Path:
    """The folder, with a line that it never had."""
    (folder / "executor.py").write_text(f"{EXECUTOR}# {time.monotonic_ns()} {words}\n")
    return folder


def files(place: Place, most: int) -> Rows:
    """1 to 100,000 files of 4 KiB in a version; push, push again, pull, and a plain copy."""
    rows = Rows()
    for number in steps(1, 100_000, most):
        fill(place.folder / f"files{number}", number)
        rows.append({"files": number, **of_files(place, place.folder / f"files{number}", 5 if number < 10_000 else 1)})
        os.sync()
    return rows


def of_files(place: Place, folder: Path, times: int) -> dict[str, float]:
    """What a push, a pull and a copy of a folder take."""
    registry, names = place.registry(), iter(range(100))
    return {
        "push": seconds(lambda: registry.push(folder, f"alice/{folder.name}-{next(names)}"), times),
        "push again": seconds(lambda: registry.push(folder, f"alice/{folder.name}-0"), times),
        "pull": seconds(lambda: registry.pull(f"alice/{folder.name}-0", f"{folder}-out{next(names)}"), times),
        "cp -r": seconds(lambda: subprocess.run(["cp", "-r", folder, f"{folder}-{next(names)}"], check=True), times),
    }


def pushers(place: Place, most: int) -> Rows:
    """1 to 32 processes at once, to names of their own and to one name: pushes a second of all together."""
    rows = Rows()
    for number in steps(1, 32, most, by=2):
        each, told = max(2, 40 // number), {}
        for name, work in (("own names", push_own), ("one name", push_one), ("cp -a + sync", copy_loop)):
            where = place.folder / f"{name.replace(' ', '')}{number}"
            where.mkdir()
            told[name] = number * each / together(work, where, each, number=number).wall
        rows.append({"pushers": number, **told})
    return rows


def steps(least: int, most: int, share: int, by: int = 10) -> list[int]:
    """`least`, ten times (or twice) as many, and so on, up to a share of `most`, in percent."""
    most, points = max(least, most * share // 100), [least]
    while points[-1] * by <= most:
        points.append(points[-1] * by)
    return points if points[-1] == most else [*points, most]


MEASURED: dict[str, Callable[[Place, int], Rows]] = {
    "pushes": pushes,
    "resources": resources,
    "files": files,
    "pushers": pushers,
}


def shown(rows: Rows) -> str:
    """A table of one measurement; seconds as milliseconds, what is no time as it is."""
    names = list(rows[0])
    rate = names[0] == "pushers"
    form = "{:.1f}".format if rate else lambda value: f"{value * 1000:.3g}"
    lines = [[f"{int(row[names[0]])}", *(form(row[name]) for name in names[1:])] for row in rows]
    return table([names[0], *(f"{name} ({'a second' if rate else 'ms'})" for name in names[1:])], lines)


def draw(kept: dict[str, Any]) -> None:
    """A small picture of each measurement, both axes logarithmic: what is linear rises at 45 degrees at most."""
    from matplotlib import pyplot  # of the environment `bench` only

    for name, rows in kept["measured"].items():
        figure, axes = pyplot.subplots(figsize=(4.6, 3.0), dpi=80)
        first, *others = rows[0]
        for other in others:
            axes.plot([row[first] for row in rows], [row[other] for row in rows], marker=".", linewidth=1, label=other)
        axes.set(xscale="log", yscale="log", xlabel=first, ylabel="a second" if name == "pushers" else "seconds")
        axes.grid(visible=True, which="major", linewidth=0.3)
        axes.legend(fontsize=6, frameon=False)
        figure.tight_layout()
        figure.savefig(HERE / f"growth-{name}.png", metadata={"Software": None})
        pyplot.close(figure)


def main(words: Sequence[str] | None = None) -> int:
    """Measure and tell, or draw what was kept."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asked.add_argument("--json", type=Path, help="also keep the figures there")
    asked.add_argument("--draw", type=Path, metavar="FILE", help="draw what a run has kept, and measure nothing")
    asked.add_argument("--rows", default=",".join(MEASURED), help=f"some of {','.join(MEASURED)}")
    asked.add_argument("--most", type=int, default=100, metavar="SHARE", help="percent of the largest numbers")
    asked.add_argument("--at", type=Path, help="a folder of the file system to measure (default: that of TMPDIR)")
    given = asked.parse_args(words)
    if given.draw:
        draw(json.loads(given.draw.read_text()))
        return 0
    measured = {}
    for name in given.rows.split(","):
        with placed(given.at) as place:
            where = machine(place.folder)
            measured[name] = MEASURED[name](place, given.most)
        tell(f"\n### {(MEASURED[name].__doc__ or '').strip()}\n\n{shown(measured[name])}")
        if given.json:
            given.json.write_text(json.dumps({"machine": where, "measured": measured}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
