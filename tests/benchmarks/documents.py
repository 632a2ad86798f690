"""Documents pushed and loaded beside docarray's own file store, interleaved, each in a process that has them in memory.

    $(sh tests/environment.sh docarray-new .venv-docarray-new) -W ignore tests/benchmarks/documents.py [LENGTH] [ROUNDS]

Prints the medians, their ratio, and the bytes of each. The documents have a short text and 128 floats.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from docarray import BaseDoc, DocList
from docarray.typing import NdArray

import lhub


class Item(BaseDoc):
    """As most have it."""

    text: str
    embedding: NdArray[128]


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def main() -> None:
    """Measure, and tell."""
    length, rounds = (int(word) for word in (*sys.argv[1:], *("100000", "5")[len(sys.argv) - 1 :]))
    folder = Path(tempfile.mkdtemp(prefix="lhub-bench-"))
    os.environ["LHUB_HOME"] = str(folder / "home")
    lhub.login("alice")
    numbers = np.random.default_rng(0).standard_normal((length, 128)).astype("f4")
    docs = DocList[Item](Item(text=f"a short text {n}", embedding=numbers[n]) for n in range(length))
    works: dict[str, Callable[[], Any]] = {
        "push file://": lambda: docs.push(f"file://{folder}/x"),
        "push lhub": lambda: lhub.push(docs, f"alice/x{time.monotonic_ns()}"),
        "load file://": lambda: DocList[Item].pull(f"file://{folder}/x", local_cache=False),
        "load lhub": lambda: lhub.load("alice/x", doc_type=Item),
    }
    lhub.push(docs, "alice/x")
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(seconds(work))
    medians = {name: statistics.median(each) for name, each in times.items()}
    for verb in ("push", "load"):
        own, its = medians[f"{verb} lhub"], medians[f"{verb} file://"]
        tell(f"{verb}: {own:.2f} s, docarray's file store {its:.2f} s: {its / own:.1f} times as fast")
    (payload,) = Path(lhub.path("alice/x")).iterdir()
    tell(f"bytes: {payload.stat().st_size}, docarray's file store {(folder / 'x.docs').stat().st_size}")


if __name__ == "__main__":
    main()
