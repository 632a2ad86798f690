"""Documents pushed and loaded beside docarray's own ways, interleaved, each in a process that has them in memory.

    $(sh tests/environment.sh docarray-new .venv-docarray-new) -W ignore tests/benchmarks/documents.py [LENGTH] [ROUNDS]
    $(sh tests/environment.sh docarray-old .venv-docarray-old) -W ignore tests/benchmarks/documents.py [LENGTH] [ROUNDS]

Beside docarray since 0.30 its file store, ``file://``; beside 0.21 `save_binary` and `load_binary`, which sync nothing
and verify nothing. Prints the medians, their ratio, and the bytes of each. The documents have a short text and 128
floats.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version  # that of 0.41.0 itself says 0.40.1
from pathlib import Path
from typing import Any

import docarray
import numpy as np

import lhub

Work = Callable[[], Any]


def seconds(work: Work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def new(length: int, numbers: Any, folder: Path) -> tuple[Any, str, Work, Work, Work]:
    """Documents with a schema, and docarray's way out, its way back, and ours."""
    from docarray.typing import NdArray

    class Item(docarray.BaseDoc):
        """As most have it."""

        text: str
        embedding: NdArray[128]

    docs = docarray.DocList[Item](Item(text=f"a short text {n}", embedding=numbers[n]) for n in range(length))
    place = f"file://{folder}/x"
    return (
        docs,
        "its file store",
        lambda: docs.push(place),
        lambda: docarray.DocList[Item].pull(place, local_cache=False),
        lambda: lhub.load("alice/x", doc_type=Item),
    )


def old(length: int, numbers: Any, folder: Path) -> tuple[Any, str, Work, Work, Work]:
    """The same of the generation before."""
    docs = docarray.DocumentArray(
        docarray.Document(text=f"a short text {n}", embedding=numbers[n]) for n in range(length)
    )
    file = str(folder / "x.docs")
    return (
        docs,
        "save_binary and load_binary",
        lambda: docs.save_binary(file),
        lambda: docarray.DocumentArray.load_binary(file),
        lambda: lhub.load("alice/x"),
    )


def main() -> None:
    """Measure, and tell."""
    length, rounds = (int(word) for word in (*sys.argv[1:], *("100000", "5")[len(sys.argv) - 1 :]))
    folder = Path(tempfile.mkdtemp(prefix="lhub-bench-"))
    os.environ["LHUB_HOME"] = str(folder / "home")
    lhub.login("alice")
    numbers = np.random.default_rng(0).standard_normal((length, 128)).astype("f4")
    docs, its, out, back, load = (new if hasattr(docarray, "BaseDoc") else old)(length, numbers, folder)
    works: dict[str, Work] = {
        "push, docarray": out,
        "push, lhub": lambda: lhub.push(docs, f"alice/x{time.monotonic_ns()}"),
        "load, docarray": back,
        "load, lhub": load,
    }
    lhub.push(docs, "alice/x")
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(seconds(work))
    medians = {name: statistics.median(each) for name, each in times.items()}
    tell(f"{length} documents, docarray {version('docarray')}, {its}; medians of {rounds}")
    for verb in ("push", "load"):
        own, other = medians[f"{verb}, lhub"], medians[f"{verb}, docarray"]
        tell(f"{verb}: lhub {own:.2f} s, docarray {other:.2f} s: {own / other:.2f} of its time")
    (payload,) = Path(lhub.path("alice/x")).iterdir()
    tell(f"bytes: lhub {payload.stat().st_size}, docarray {(folder / 'x.docs').stat().st_size}")


if __name__ == "__main__":
    main()
