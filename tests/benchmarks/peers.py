"""lhub beside what people use now, each in an environment of its own and run as its users run it: from its start.

    python tests/benchmarks/peers.py [--rounds 5] [--at FOLDER] [--envs FOLDER] [--only lhub,git] [--scale 0.05]

Every number is a median of interleaved rounds, each after a sync; a get finds its store in the page cache. Read the
times with the last two columns: who syncs nothing returns before the disk has it. On "again", git, DVC and restic look
at the file's time and read no byte, the others read it all. `--scale` makes everything smaller, to try it out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # where it is run as a program

from tests.benchmarks.limits import PROJECT, Place, executor_in, fill, placed
from tests.benchmarks.measuring import MIB, Cost, Work, command, interleaved, machine, mib, seconds, table, tell

# Steps find their words in the environment: STORE; FROM, a folder to store; TO, which is not there yet, to get it back
# into. STORE.work lasts as long as STORE, and is not counted as store.
PINS_STORE = """import os, pathlib, pins
files = sorted(str(each) for each in pathlib.Path(os.environ["FROM"]).rglob("*") if each.is_file())
pins.board_folder(os.environ["STORE"]).pin_upload(files, name="thing")"""  # files, no folders: all lie in one
PINS_GET = """import os, pins, shutil
os.mkdir(os.environ["TO"])
for each in pins.board_folder(os.environ["STORE"]).pin_download("thing"):  # tells where they lie
    shutil.copy(each, os.environ["TO"])"""
DOCARRAY = """import os, pathlib
from docarray import BaseDoc, DocList
File = type("File", (BaseDoc,), {"__annotations__": {"path": str, "data": bytes}})
top, to, url = (os.environ["FROM"], os.environ["TO"], "file://" + os.environ["STORE"] + "/thing")
"""
DOCARRAY_STORE = f"""{DOCARRAY}
files = sorted(each for each in pathlib.Path(top).rglob("*") if each.is_file())
DocList[File](File(path=str(each.relative_to(top)), data=each.read_bytes()) for each in files).push(url)"""
DOCARRAY_GET = f"""{DOCARRAY}
for each in DocList[File].pull(url, local_cache=False):
    pathlib.Path(to, each.path).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(to, each.path).write_bytes(each.data)"""
BENTOML_STORE = """import bentoml, os, shutil
with bentoml.models.create("thing") as model:
    shutil.copytree(os.environ["FROM"], model.path, dirs_exist_ok=True)"""
BENTOML_GET = 'import bentoml, os, shutil; shutil.copytree(bentoml.models.get("thing:latest").path, os.environ["TO"])'
MLFLOW_STORE = 'import mlflow, os; mlflow.start_run(); mlflow.log_artifacts(os.environ["FROM"], "thing")'
MLFLOW_GET = """import mlflow, os
run = mlflow.search_runs(max_results=1, output_format="list")[0]
mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="thing", dst_path=os.environ["TO"])"""
DVC_START = """mkdir -p "$STORE/remote" "$STORE.work"; cd "$STORE.work"; git init -q; dvc init -q
dvc cache dir -q --local "$STORE/cache"; dvc remote add -q -d here "$STORE/remote";"""
DVC_STORE = 'cd "$STORE.work"; dvc add -q data; git add -A; git commit -q --allow-empty -m version; dvc push -q'

# nobody calls home, asks for a name, or goes on in the background while the next one is measured
SETTINGS = """BENTOML_DO_NOT_TRACK=True DVC_NO_ANALYTICS=1 MLFLOW_DISABLE_TELEMETRY=true MLFLOW_ALLOW_FILE_STORE=true
    RESTIC_PASSWORD=alice EMAIL=alice@example.com GIT_AUTHOR_NAME=alice GIT_COMMITTER_NAME=alice LANG=C.UTF-8
    GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=gc.auto GIT_CONFIG_VALUE_0=0"""
QUIET = dict(each.split("=") for each in SETTINGS.split())
NOT = Cost(wall=float("nan"), cpu=float("nan"))
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "lhub-peers")
SH, PY = ("sh", "-ec"), ("python", "-c")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """What people use: its steps, and what it guarantees."""

    store: tuple[str, ...]
    get: tuple[str, ...]
    start: tuple[str, ...] = (*SH, 'mkdir -p "$STORE"')  # makes the store, not timed
    bring: tuple[str, ...] = ("true",)  # lays FROM where the peer wants to find it, not timed
    promises: tuple[str, str] = ("no", "no")  # durable when it returns, verified on get


# Durable: `strace -f -y -e trace=fsync,fdatasync,syncfs,sync_file_range,sync,msync` of one store of 12 files, no file
# being opened with O_SYNC. lhub: 11 fsync, 2 syncfs. git 2.39: none, but the pack that it makes of a file over 512 MiB
# (asked with a lower core.bigFileThreshold). DVC: 77 fdatasync, all of SQLite's. restic: 10, each file and its folder.
# Verified: one bit of a stored 1 MiB file flipped, then a get. git and docarray: zlib and gzip told it; of another
# well-formed object for the blob a local clone tells nothing. Where it says no: exit 0, and the wrong byte was got.
PEERS = {
    "lhub": Peer(
        start=(*SH, 'mkdir -p "$STORE"; PYTHONPATH=$LHUB python -m lhub login alice'),
        store=(*SH, 'PYTHONPATH=$LHUB exec python -m lhub push "$FROM" alice/thing'),
        get=(*SH, 'PYTHONPATH=$LHUB exec python -m lhub pull alice/thing "$TO"'),
        promises=("yes", "SHA-256"),
    ),
    "git": Peer(
        start=(*SH, 'git init -q --bare "$STORE"'),
        store=(*SH, 'g="git --git-dir=$STORE --work-tree=$FROM"; $g add -A; $g commit -q --allow-empty -m version'),
        get=(*SH, 'exec git clone -q "$STORE" "$TO"'),
        promises=("only files over 512 MiB, without the commit", "Adler-32"),
    ),
    "dvc": Peer(
        start=(*SH, DVC_START),
        bring=(*SH, 'mkdir -p "$STORE.work/data"; cp -ru "$FROM/." "$STORE.work/data"'),
        store=(*SH, DVC_STORE),
        get=(*SH, 'git clone -q "$STORE.work" "$TO"; cd "$TO"; exec dvc pull -q'),
        promises=("no, only its own databases", "no"),
    ),
    "restic": Peer(
        start=(*SH, 'exec restic -q -r "$STORE" init'),
        store=(*SH, 'cd "$FROM"; exec restic -q -r "$STORE" backup .'),
        get=(*SH, 'exec restic -q -r "$STORE" restore latest --target "$TO"'),
        promises=("yes", "Poly1305"),
    ),
    "pins": Peer(store=(*PY, PINS_STORE), get=(*PY, PINS_GET)),
    "docarray": Peer(store=(*PY, DOCARRAY_STORE), get=(*PY, DOCARRAY_GET), promises=("no", "CRC-32")),
    "bentoml": Peer(store=(*PY, BENTOML_STORE), get=(*PY, BENTOML_GET)),
    # MLflow makes its first experiment only where there is no folder yet
    "mlflow": Peer(start=("true",), store=(*PY, MLFLOW_STORE), get=(*PY, MLFLOW_GET)),
}


class Desk:
    """Where a peer does one kind of work: a store at a time, each under a name of its own."""

    def __init__(self, place: Place, name: str, source: Path, programs: Path, *, tidy: bool = False) -> None:
        self.place, self.name, self.peer, self.programs, self.tidy = place, name, PEERS[name], programs, tidy
        self.source, self.folder = source, Path(f"{source}.of", name)
        (self.folder / "tmp").mkdir(parents=True)
        self.turn, self.at, self.cannot = 0, self.folder / "store0", False

    def step(self, words: tuple[str, ...], to: Path | None = None) -> Cost:
        env = QUIET | {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder / "tmp"),
            **dict.fromkeys(("STORE", "LHUB_HOME", "BENTOML_HOME"), str(self.at)),
            "FROM": str(self.source),
            "TO": str(to),
            "LHUB": str(PROJECT),
            "DVC_SITE_CACHE_DIR": str(self.folder / "site"),
            "MLFLOW_TRACKING_URI": self.at.as_uri(),
        }
        return command(*words, env=env, cwd=self.folder, before=os.sync, grows=self.at)()

    def anew(self) -> Cost:
        """Store in a new store."""
        if self.tidy:
            self.place.forget(self.at, Path(f"{self.at}.work"))
        self.turn += 1
        self.at = self.folder / f"store{self.turn}"
        self.step(self.peer.start)
        return self.store()

    def store(self) -> Cost:
        """Store what is there now."""
        self.step(self.peer.bring)
        return self.step(self.peer.store)

    def get(self) -> Cost:
        """Get it into a folder that was not there, and see that all of it came."""
        self.turn += 1
        to = self.folder / f"got{self.turn}"
        cost = self.step(self.peer.get, to)
        if missing := _names(self.source) - _names(to):
            raise SystemExit(f"{len(missing)} files did not come back, as {next(iter(missing))}")
        if self.tidy:
            self.place.forget(to)
        return cost

    def version(self) -> Cost:
        """Store one more version, of which one line is new."""
        self.turn += 1
        with (self.source / "executor.py").open("a") as file:
            file.write(f"# change {self.turn}\n")
        return self.store()

    def tried(self, how: Callable[[Desk], Cost]) -> Cost:
        """Its cost, or why there is none."""
        try:
            return NOT if self.cannot else how(self)
        except SystemExit as fault:
            self.cannot = True
            tell(f"{self.name} cannot: {how.__name__} {self.source.name}: {str(fault).strip().splitlines()[-1]}")
            return NOT


def _names(folder: Path) -> Counter[tuple[str, int]]:
    return Counter((each.name, each.stat().st_size) for each in folder.rglob("*") if each.is_file())


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Who is measured, how often, and how big."""

    place: Place
    programs: Mapping[str, Path]
    rounds: int
    scale: float

    def desks(self, source: Path, *, tidy: bool = False) -> dict[str, Desk]:
        return {name: Desk(self.place, name, source, each, tidy=tidy) for name, each in self.programs.items()}

    def measure(self, desks: Mapping[str, Desk], how: Callable[[Desk], Cost]) -> dict[str, Cost]:
        works: dict[str, Work] = {name: lambda desk=desk: desk.tried(how) for name, desk in desks.items()}
        return {name: NOT if desks[name].cannot else cost for name, cost in interleaved(works, self.rounds).items()}


def big(bench: Bench) -> dict[str, dict[str, Cost]]:
    """1 GiB in one file that does not compress; deleted in between, for it is much."""
    source = bench.place.folder / "big"
    source.mkdir()
    with (source / "weights.bin").open("wb") as file:
        for _ in range(max(1, round(1024 * bench.scale))):
            file.write(os.urandom(MIB))
    desks = bench.desks(source, tidy=True)
    works = {f"{round(1024 * bench.scale):,} MiB": Desk.anew, "get": Desk.get, "again": Desk.store}
    costs = {name: bench.measure(desks, how) for name, how in works.items()}
    bench.place.forget(source, Path(f"{source}.of"))
    return costs


def small(bench: Bench) -> dict[str, dict[str, Cost]]:
    """12 files, and the 20th version of 12 files, with what comes after it in the next rounds."""
    folder, growing = bench.place.folder, {}
    for number, (name, programs) in enumerate(bench.programs.items(), 100):
        desk = growing[name] = Desk(bench.place, name, executor_in(folder, number), programs)
        for how in (Desk.anew, *[Desk.version] * (round(20 * bench.scale) - 2)):
            desk.tried(how)
    return {
        "12 files": bench.measure(bench.desks(executor_in(folder, 12)), Desk.anew),
        f"version {round(20 * bench.scale)}": bench.measure(growing, Desk.version),
    }


def many(bench: Bench) -> dict[str, dict[str, Cost]]:
    """10,000 files of 4 KiB; nothing is deleted: for a minute ext4 is slow to make files after that."""
    source = bench.place.folder / "many"
    fill(source, round(10_000 * bench.scale))
    desks = bench.desks(source)
    return {
        f"{round(10_000 * bench.scale):,} files": bench.measure(desks, Desk.anew),
        "get them": bench.measure(desks, Desk.get),
    }


def ready(name: str, envs: Path) -> Path:
    """The folder of its programs, installed where they are not; OSError where they cannot be."""
    requirements, env = PROJECT / "tests" / "environments" / f"peer-{name}.txt", envs / f"peer-{name}"
    if not requirements.exists():
        if name != "lhub" and not shutil.which(name):
            raise OSError(f"no {name} is here (apt-get install {name})")
        return Path(sys.executable).parent
    made = env / "made-with.txt"
    if not made.exists() or made.read_bytes() != requirements.read_bytes():
        pip = [env / "bin" / "pip", "install", "-q", "-r", requirements]
        for each in ([sys.executable, "-m", "venv", "--clear", env], pip):
            if (done := subprocess.run(each, check=False, capture_output=True, text=True)).returncode:
                raise OSError((done.stderr or done.stdout).strip())
        shutil.copyfile(requirements, made)
    return env / "bin"


def found(names: Sequence[str], envs: Path) -> dict[str, Path]:
    """The programs of those who could be installed; of the others, why not."""
    programs = {}
    for name in names:
        try:
            programs[name] = ready(name, envs)
        except OSError as fault:
            tell(f"{name} is left out: {str(fault).splitlines()[-1]}")
    return programs


def report(costs: Mapping[str, Mapping[str, Cost]], names: Sequence[str]) -> None:
    """The table of times, with what they are worth, and that of processors."""
    rows, processors = [], []
    for name in names:
        each = [column[name] for column in costs.values()]
        disks = [costs[column][name].disk for column in (next(iter(costs)), "again")]
        walls = ["-" if cost is NOT else seconds(cost.wall) for cost in each]
        rows.append([name, *walls, mib(disks[0]), mib(None if None in disks else sum(disks)), *PEERS[name].promises])
        processors.append([name, *("-" if cost is NOT else seconds(cost.cpu) for cost in each)])
    tell("\n" + table(("", *costs, "MiB on disk", "after again", "durable on return", "verified on get"), rows))
    tell("\nOf processors:\n\n" + table(("", *costs), processors))


def main() -> None:
    """Measure those who were asked for, and tell."""
    words = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--at", type=Path, help="a folder of the file system to measure (default: that of TMPDIR)")
    words.add_argument("--envs", type=Path, default=CACHE, help="where the peers are installed (default: %(default)s)")
    words.add_argument("--only", default=",".join(PEERS), help="some of %(default)s")
    words.add_argument("--scale", type=float, default=1.0, help="less than 1 to try it out")
    given = words.parse_args()
    programs = found(given.only.split(","), given.envs.absolute())
    with placed(given.at) as place:
        tell(f"{machine(place.folder)}; medians of {given.rounds}, scale {given.scale:g}")
        bench = Bench(place=place, programs=programs, rounds=given.rounds, scale=given.scale)
        report(big(bench) | small(bench) | many(bench), list(programs))


if __name__ == "__main__":
    main()
