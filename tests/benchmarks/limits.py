"""What lhub promises of its speed, each work beside its own limit: what the disk, the digest or the interpreter takes.

    python tests/benchmarks/limits.py [--rounds 5] [--rows push,pull] [--at FOLDER]

Every number is a median of interleaved rounds, every promise a ratio within one run. lhub's writes are durable when
they return (fsync), and so are those they are divided by where it says fsync or sync.
"""

from __future__ import annotations

import argparse
import ctypes
import io
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # where it is run as a program

from lhub import Registry
from lhub.cli.progress import Progress
from lhub.errors import NotFound
from lhub.meter import Meter, event
from tests.benchmarks.measuring import (
    MIB,
    Cost,
    Work,
    call,
    command,
    interleaved,
    machine,
    mib,
    on_disk,
    processor,
    seconds,
    table,
    tell,
)

PROJECT = Path(__file__).parents[2]
PYTHON = sys.executable
LHUB = (PYTHON, "-m", "lhub")
BARE = (PYTHON, "-c", "import click")
SHA256 = """
import hashlib, sys
hasher, file = hashlib.sha256(), open(sys.argv[1], "rb", 0)
while piece := file.read(1 << 18):
    hasher.update(piece)
"""
COPYTREE = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2])"
WALK = """
import os, sys
for space in os.scandir(sys.argv[1]):
    for resource in os.scandir(space) if space.is_dir() else ():
        for entry in os.scandir(resource) if resource.is_dir() else ():
            entry.is_symlink() and os.readlink(entry)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A ratio, or a number with a unit of its own, that shall be no more than `most`; of which work it is."""

    own: str
    said: str
    of: Callable[[Mapping[str, Cost]], float]
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One promise of work: what is measured, and what is held against what."""

    works: Mapping[str, Work]
    promises: tuple[Promise, ...]


class Place:
    """A folder to measure in, with a home, a registry and what is pushed there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home, self.root = folder / "home", folder / "home" / "registry"
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LHUB_HOME": str(self.home),
            "PYTHONPATH": str(PROJECT),
            "LANG": "C.UTF-8",
        }
        self.lhub("login", "alice")
        self.big = folder / "big"
        self.turn = 0

    def lhub(self, *words: str) -> None:
        subprocess.run([*LHUB, *words], env=self.env, check=True, capture_output=True, cwd=self.folder)

    def registry(self) -> Registry:
        return Registry(self.root, namespace="alice", index=str(self.home / "index"))

    def forget(self, *paths: Path) -> None:
        """Remove what a round left, read-only folders too, and let the disk come to rest."""
        for path in paths:
            if path.is_dir():
                subprocess.run(["chmod", "-R", "u+w", path], check=True)
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        os.sync()

    def one_gib(self) -> Path:
        """1 GiB that does not compress, in the page cache."""
        if not self.big.exists():
            self.big.mkdir()
            with (self.big / "weights.bin").open("wb") as file:
                for _ in range(1024):
                    file.write(os.urandom(MIB))
            os.sync()
        return self.big / "weights.bin"

    def many(self) -> Path:
        """10,000 files of 4 KiB."""
        folder = self.folder / "many"
        if not folder.exists():
            fill(folder, 10_000)
        return folder

    def executor(self, name: str = "Executor") -> Path:
        """An Executor of 12 files."""
        folder = self.folder / name
        if not folder.exists():
            folder.mkdir()
            (folder / "executor.py").write_text(EXECUTOR)
            (folder / "config.yml").write_text(
                "jtype: MyExecutor\nmetas:\n  name: MyExecutor\npy_modules: executor.py\n"
            )
            (folder / "requirements.txt").write_text("numpy>=1.20\n")
            (folder / "helpers").mkdir()
            for number in range(9):
                (folder / "helpers" / f"part{number}.py").write_text(f"# part {number}\n" * 40)
        return folder


EXECUTOR = """from jina import Executor, requests


class MyExecutor(Executor):
    @requests
    def encode(self, docs, **kwargs):
        return docs
"""


def fill(folder: Path, number: int, size: int = 4096) -> None:
    """So many files, a hundred in a folder, none like another."""
    for each in range(number):
        if each % 100 == 0:
            (folder / f"{each // 100:04}").mkdir(parents=True)
        (folder / f"{each // 100:04}" / f"{each:06}.bin").write_bytes(os.urandom(size))
    os.sync()


# the rows


def push(place: Place) -> Row:
    """Push 1 GiB, durable."""
    big, copy = place.one_gib(), place.folder / "copy"
    small = place.folder / "small"
    small.mkdir(exist_ok=True)
    (small / "note.txt").write_text("a note\n")
    where = place.root / "alice"

    def fresh() -> None:
        place.forget(copy, where / "big", where / "small")

    return Row(
        works={
            "lhub push": command(*LHUB, "push", place.big, "alice/big", env=place.env, before=fresh, grows=where),
            "cp + fsync": command("sh", "-c", 'cp "$0" "$1" && sync "$1"', big, copy, before=fresh, grows=copy.parent),
            "sha256": command(PYTHON, "-c", SHA256, big),
            "lhub push of 7 bytes": command(*LHUB, "push", small, "alice/small", env=place.env, before=fresh),
        },
        promises=(
            Promise(own="lhub push", said="cp + fsync", of=wall("lhub push", "cp + fsync"), most=2.0),
            Promise(
                own="lhub push",
                said="the slower of sha256, cp + fsync",
                of=wall("lhub push", "cp + fsync", "sha256"),
                most=1.25,
            ),
            Promise(
                own="lhub push",
                said="MiB above a push of 7 bytes",
                of=memory("lhub push", "lhub push of 7 bytes"),
                most=48,
            ),
        ),
    )


def pull(place: Place) -> Row:
    """Pull 1 GiB, verified."""
    big, copy, out = place.one_gib(), place.folder / "copy", place.folder / "out"
    ensure_pushed(place, place.big, "big")

    def fresh() -> None:
        place.forget(copy, out)

    return Row(
        works={
            "lhub pull": command(*LHUB, "pull", "alice/big", out, env=place.env, before=fresh, grows=place.folder),
            "cp": command("cp", big, copy, before=fresh),
            "sha256": command(PYTHON, "-c", SHA256, big, before=fresh),
        },
        promises=(
            Promise(own="lhub pull", said="the slower of sha256, cp", of=wall("lhub pull", "cp", "sha256"), most=1.1),
        ),
    )


def again(place: Place) -> Row:
    """Push 1 GiB again, nothing changed."""
    big = place.one_gib()
    ensure_pushed(place, place.big, "big")
    return Row(
        works={
            "lhub push again": command(*LHUB, "push", place.big, "alice/big", env=place.env, grows=place.root),
            "sha256": command(PYTHON, "-c", SHA256, big),
        },
        promises=(
            Promise(
                own="lhub push again",
                said="1.1 x sha256 + 200 ms",
                of=lambda told: told["lhub push again"].wall / (1.1 * told["sha256"].wall + 0.2),
                most=1.0,
            ),
            Promise(
                own="lhub push again",
                said="KiB more on the disk",
                of=lambda told: (told["lhub push again"].disk or 0) / 1024,
                most=64,
            ),
        ),
    )


def small(place: Place) -> Row:
    """Push a 12-file Executor, the whole command."""
    folder = place.executor()

    def fresh() -> None:
        place.forget(place.root / "alice" / "Executor")

    return Row(
        works={
            "lhub push": command(*LHUB, "push", folder, "alice/Executor", env=place.env, before=fresh),
            "import click": command(*BARE),
        },
        promises=(
            Promise(
                own="lhub push",
                said="ms of CPU above import click",
                of=lambda told: (told["lhub push"].cpu - told["import click"].cpu) * 1000,
                most=200,
            ),
        ),
    )


def progress(place: Place) -> Row:
    """Tell how far 10,000 files are: all that a pull says to a terminal, beside the pull."""
    registry, many = place.registry(), place.many()
    ensure_pushed(place, many, "many")
    size, names = sum(path.stat().st_size for path in many.rglob("*.bin")), iter(range(1_000_000))

    def meter() -> None:
        shown = Progress(stream=Terminal())
        meter = Meter(10_000, size, lambda payload: shown(event(time.time(), "pull", payload)))
        for number in range(10_000):
            meter.moved(size // 10_000)
            meter.reached(number + 1)
        for _ in range(20):  # lines as many as two seconds have
            shown(event(time.time(), "pull", {"done": 1, "of": 2, "bytes": 1, "of_bytes": 2}))

    return Row(
        works={
            "what tells": call(meter),
            "Registry.pull": call(
                lambda: registry.pull("alice/many", place.folder / f"told{next(names)}"), before=os.sync
            ),
        },
        promises=(
            Promise(
                own="what tells",
                said="hundredth of the pull",
                of=lambda told: 100 * told["what tells"].wall / told["Registry.pull"].wall,
                most=1.0,
            ),
        ),
    )


class Terminal(io.StringIO):
    """A terminal, as far as anybody asks."""

    def isatty(self) -> bool:
        return True


def readers(place: Place) -> Row:
    """Pull, list, path: the whole command."""
    ensure_pushed(place, place.executor(), "Executor")
    out = place.folder / "out"
    words = {
        "lhub pull": ("pull", "alice/Executor", str(out), "--force"),
        "lhub list": ("list",),
        "lhub path": ("path", "alice/Executor"),
    }
    return Row(
        works={name: command(*LHUB, *each, env=place.env) for name, each in words.items()}
        | {"import click": command(*BARE)},
        promises=tuple(
            Promise(own=name, said=f"import click ({name.split()[1]}, CPU)", of=cpu(name, "import click"), most=1.5)
            for name in words
        ),
    )


def listing(place: Place) -> Row:
    """List 10,000 resources, the second time: the command, and in a warm process beside `find`."""
    other = of_ten_thousand(place)
    registry = other.registry()
    registry.list()
    return Row(
        works={
            "lhub list": command(*LHUB, "list", env=other.env),
            "scandir + readlink": command(PYTHON, "-c", WALK, other.root),
            "Registry.list": call(registry.list),
            "Registry.path": call(lambda: registry.path("alice/E05000")),
            "find -maxdepth 3": command("find", other.root, "-maxdepth", "3"),
        },
        promises=(
            Promise(own="lhub list", said="scandir + readlink", of=wall("lhub list", "scandir + readlink"), most=2.0),
            Promise(
                own="Registry.list",
                said="find (Registry.list)",
                of=wall("Registry.list", "find -maxdepth 3"),
                most=100 / 160,
            ),
            Promise(
                own="Registry.path",
                said="find (resolve one)",
                of=wall("Registry.path", "find -maxdepth 3"),
                most=5 / 160,
            ),
        ),
    )


def files(place: Place) -> Row:
    """Push 10,000 files of 4 KiB, durable and hashed."""
    many, copies = place.many(), place.folder / "copies"
    place.lhub("push", str(many), "alice/pulled")
    copies.mkdir(exist_ok=True)
    numbers = iter(
        range(1_000_000)
    )  # nothing is removed on the way: for a minute ext4 is slow to make files after that

    def one(*words: str | Path, grows: Path | None = None) -> Work:
        """The same under another name each time, for the last word."""
        *most, last = words

        def work() -> Cost:
            os.sync()
            return command(*most, f"{last}{next(numbers)}", env=place.env, grows=grows)()

        return work

    return Row(
        works={
            "lhub push": one(*LHUB, "push", many, "alice/many", grows=place.root),
            "cp -r": one("cp", "-r", many, copies / "a", grows=copies),
            "cp -r + sync": one("sh", "-c", 'cp -r "$0" "$1" && sync -f "$1"', many, copies / "b"),
            "shutil.copytree": one(PYTHON, "-c", COPYTREE, many, copies / "c"),
            "lhub pull": one(*LHUB, "pull", "alice/pulled", copies / "d"),
        },
        promises=tuple(
            Promise(own="lhub push", said=said, of=wall("lhub push", copy), most=2.5)
            for copy, said in (
                ("cp -r", "cp -r, not synced"),
                ("cp -r + sync", "cp -r + sync"),
                ("shutil.copytree", "a plain copy in Python (shutil.copytree), not synced"),
            )
        ),
    )


def warm(place: Place) -> Row:
    """Push a 12-file Executor through `Registry`, in a warm process, durable."""
    folder, registry, copies = place.executor(), place.registry(), place.folder / "copies"
    copies.mkdir(exist_ok=True)
    numbers = iter(range(1_000_000))
    registry.push(folder, "alice/warm")
    return Row(
        works={
            "Registry.push": call(lambda: registry.push(folder, f"alice/Warm{next(numbers)}"), before=os.sync),
            "cp -a + syncfs": call(lambda: copied_durably(folder, copies / str(next(numbers))), before=os.sync),
        },
        promises=(
            Promise(own="Registry.push", said="cp -a + syncfs", of=wall("Registry.push", "cp -a + syncfs"), most=8.0),
        ),
    )


def copied_durably(folder: Path, copy: Path) -> None:
    """`cp -a`, then syncfs(2)."""
    subprocess.run(["cp", "-a", folder, copy], check=True)
    descriptor = os.open(copy, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            raise OSError(ctypes.get_errno(), "syncfs")
    finally:
        os.close(descriptor)


def crowd(place: Place) -> Row:
    """8 processes pushing such Executors: to names of their own, to one name."""
    own, one, copy = place.folder / "own", place.folder / "one", place.folder / "rate"
    place.registry().push(place.executor(), "alice/loaded")  # so that who is forked has all that a push imports
    each, numbers = 10, iter(range(1_000_000))  # fresh names, as above

    def rate(work: Callable[[Path, int, int], None], where: Path) -> Work:
        def crowded() -> Cost:
            fresh = Path(f"{where}{next(numbers)}")
            fresh.mkdir()
            os.sync()
            return together(work, fresh, each)

        return crowded

    return Row(
        works={
            "own names": rate(push_own, own),
            "one name": rate(push_one, one),
            "cp -a + sync": rate(copy_loop, copy),
        },
        promises=(
            Promise(
                own="own names",
                said="cp -a + sync (own names: times as long)",
                of=wall("own names", "cp -a + sync"),
                most=5.0,
            ),
            Promise(
                own="one name",
                said="cp -a + sync (one name: times as long)",
                of=wall("one name", "cp -a + sync"),
                most=10.0,
            ),
        ),
    )


def together(work: Callable[[Path, int, int], None], where: Path, each: int, number: int = 8) -> Cost:
    """So many processes at the same work, each so many times; a fault of one is a fault of all."""
    began, used = time.perf_counter(), processor()
    many = multiprocessing.get_context("fork")
    processes = [many.Process(target=work, args=(where, who, each)) for who in range(number)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if faults := [process.exitcode for process in processes if process.exitcode]:
        raise SystemExit(f"{work.__name__}: {len(faults)} of {number} failed")
    return Cost(wall=time.perf_counter() - began, cpu=processor() - used)


def executor_in(folder: Path, turn: int) -> Path:
    """An Executor of 12 files that is like no other."""
    made = Place.executor(_Bare(folder), f"E{turn}")
    (made / "executor.py").write_text(EXECUTOR + f"# {folder} {turn}\n")
    return made


class _Bare(Place):
    def __init__(self, folder: Path) -> None:
        self.folder = folder


def push_own(where: Path, who: int, each: int) -> None:
    """Push to names of one's own."""
    registry = Registry(where / "registry", namespace=f"user{who}")
    scratch = where / f"scratch{who}"
    scratch.mkdir()
    for turn in range(each):
        registry.push(executor_in(scratch, turn), f"user{who}/X")


def push_one(where: Path, who: int, each: int) -> None:
    """Push to one name, and see that what is read is one whole push."""
    registry = Registry(where / "registry", namespace="team")
    scratch = where / f"scratch{who}"
    scratch.mkdir()
    for turn in range(each):
        registry.push(executor_in(scratch, turn), "team/X")
    read = registry.pull("team/X", scratch / "read")
    assert len(list(Path(read.path).rglob("*.py"))) == 10


def copy_loop(where: Path, who: int, each: int) -> None:
    """`cp -a` and sync, in the same loop."""
    scratch = where / f"scratch{who}"
    scratch.mkdir()
    for turn in range(each):
        copied_durably(executor_in(scratch, turn), where / f"{who}-{turn}")


def growing(place: Place) -> Row:
    """The 200th push of a growing resource, beside the first; a line is changed, the rest stays."""
    registry, folder = place.registry(), place.executor("Growing")
    where = place.root / "alice"
    turns = iter(range(10**6))

    def pushed(name: str, before: Callable[[], object]) -> Work:
        def work() -> Cost:
            before()
            (folder / "executor.py").write_text(EXECUTOR + f"# change {next(turns)}\n")
            os.sync()
            stood = on_disk(where / name)
            cost = call(lambda: registry.push(folder, f"alice/{name}"))()
            return Cost(wall=cost.wall, cpu=cost.cpu, disk=on_disk(where / name) - stood)

        return work

    def first() -> Cost:
        return pushed(f"First{next(turns)}", lambda: None)()

    for turn in range(199):
        (folder / "executor.py").write_text(EXECUTOR + f"# grown {turn}\n")
        registry.push(folder, "alice/Grown")
    return Row(
        works={
            "200th push": pushed("Grown", lambda: None),
            "first push": first,
        },
        promises=(
            Promise(own="200th push", said="the first", of=wall("200th push", "first push"), most=1.1),
            Promise(
                own="200th push",
                said="KiB more on the disk",
                of=lambda told: (told["200th push"].disk or 0) / 1024,
                most=64,
            ),
        ),
    )


ROWS: dict[str, Callable[[Place], Row]] = {
    "push": push,
    "pull": pull,
    "again": again,
    "small": small,
    "readers": readers,
    "listing": listing,
    "files": files,
    "warm": warm,
    "crowd": crowd,
    "growing": growing,
    "progress": progress,
}


# how one is held against another


def wall(own: str, *limits: str) -> Callable[[Mapping[str, Cost]], float]:
    """Its time by that of the slowest of the others."""
    return lambda told: told[own].wall / max(told[each].wall for each in limits)


def cpu(own: str, limit: str) -> Callable[[Mapping[str, Cost]], float]:
    """Its processor time by that of another."""
    return lambda told: told[own].cpu / told[limit].cpu


def memory(own: str, least: str) -> Callable[[Mapping[str, Cost]], float]:
    """MiB that it takes at most above another."""
    return lambda told: ((told[own].memory or 0) - (told[least].memory or 0)) / MIB


# what stands already


def ensure_pushed(place: Place, folder: Path, name: str) -> None:
    """See that a folder is pushed."""
    try:
        place.registry().path(f"alice/{name}")
    except NotFound:
        place.lhub("push", str(folder), f"alice/{name}")


def of_ten_thousand(place: Place) -> Place:
    """Another home, whose registry has 10,000 resources of three tags."""
    folder = place.folder / "listing"
    folder.mkdir(exist_ok=True)
    other = Place(folder)
    if not (other.root / "alice" / "E00000").exists():
        together(push_numbered, other.folder, 5_000, number=2)
    return other


def push_numbered(where: Path, who: int, each: int) -> None:
    """Push so many resources of one file, none like another, under three tags."""
    registry = Registry(where / "home" / "registry", namespace="alice")
    note = where / f"note{who}.txt"
    for number in range(who * each, (who + 1) * each):
        note.write_text(f"the note {number}\n")
        registry.push(note, f"alice/E{number:05}", tags=["latest", "v1", "gpu"])


@contextmanager
def placed(at: Path | None) -> Iterator[Place]:
    """A folder to measure in, gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="lhub-bench-", dir=at)).resolve()
    place = Place(folder)
    try:
        yield place
    finally:
        place.forget(folder)


HEAD = ("work", "time", "CPU", "MiB of memory", "MiB on disk")


def figures(name: str, cost: Cost) -> list[str]:
    """A line of what was measured."""
    return [name, seconds(cost.wall), seconds(cost.cpu), mib(cost.memory), mib(cost.disk)]


def held(what: str, row: Row, told: Mapping[str, Cost]) -> list[list[str]]:
    """A line for each promise of a row: its work's figures, and the ratio."""
    lines = []
    for promise in row.promises:
        ratio = promise.of(told)
        kept = "yes" if ratio <= promise.most else "NO"
        own = figures(f"{what}: {promise.own}", told[promise.own])
        lines.append([*own, promise.said, f"{ratio:.2f}", f"{promise.most:.3g}", kept])
    return lines


def documents(envs: Path, rounds: int) -> None:
    """Push and load 100,000 documents with 128 floats, at most half the time of docarray 0.41's file store."""
    tell(f"\n### {documents.__doc__}\n")
    for generation in ("docarray-new", "docarray-old"):
        made = ["sh", PROJECT / "tests" / "environment.sh", generation, envs / generation]
        done = subprocess.run(made, capture_output=True, text=True, check=False)
        if done.returncode:
            tell(f"{generation} is left out: {done.stderr.strip().splitlines()[-1]}")
            continue
        python = done.stdout.split()[-1]
        program = [python, "-W", "ignore", PROJECT / "tests" / "benchmarks" / "documents.py", "100000", str(rounds)]
        tell(subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True).stdout)


def main() -> int:
    """Measure the rows that were asked for, and tell; 1 where a promise was not held."""
    words = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--rows", default=",".join(ROWS), help=f"some of {','.join(ROWS)}")
    words.add_argument("--at", type=Path, help="a folder of the file system to measure (default: that of TMPDIR)")
    words.add_argument("--envs", type=Path, help="also push and load documents, in environments that are made there")
    given = words.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    promises = []
    with placed(given.at) as place:
        tell(machine(place.folder))
        for name in given.rows.split(","):
            row = ROWS[name](place)
            told = interleaved(row.works, given.rounds)
            tell(f"\n### {(ROWS[name].__doc__ or '').strip()}\n")
            tell(table(HEAD, [figures(each, cost) for each, cost in told.items()]))
            promises += held(name, row, told)
    if given.envs is not None:
        documents(given.envs, given.rounds)
    tell(f"\n### Promises\n\n{table((*HEAD, 'divided by', 'is', 'at most', 'kept'), promises)}")
    return 0 if all(line[-1] == "yes" for line in promises) else 1


if __name__ == "__main__":
    sys.exit(main())
