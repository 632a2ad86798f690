"""Power cuts on a local disk: every write that a command makes is recorded, then lost from any moment on.

A command runs in a small Linux of its own (User-Mode Linux) on a file system whose writes dm-log-writes records, in
the order in which the disk was sure of them. Then, for each moment at which the disk was flushed, and for some of the
writes between two such moments (a disk may keep any of them, in any order), the disk is built as a cut there leaves it,
mounted, and looked at: the promises are those of `tests/test_order.py` after a kill, and what was answered is there.

Each command is played twice: alone, so that nobody else makes durable what it forgot to; and beside a bystander, who
syncs a file of his own before each step, so that every name is on the disk while bytes that nobody synced are not.

    python3 tests/netfs/powercut.py push                          # each cut of each push, on ext4
    python3 tests/netfs/powercut.py all --fs xfs --most 100       # a hundred cuts of each command, on XFS
    python3 tests/netfs/powercut.py gc --keep cuts                # keep the disk of a cut that broke a promise

It needs root, loop devices and the mkfs of the file system; the kernel is fetched as `guests.py` tells. It leaves
nothing behind but what `--keep` names.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script: the lhub and the tests beside it

import lhub
from lhub.registry import Registry
from lhub.testing.places import QuickPen
from tests.conftest import PROJECT, write_tree
from tests.netfs.guests import NO_TOOL, Trouble, boot, memory_folder, modules, tool
from tests.test_order import NEW, VERBS, Ruler, Stage, Verb, in_a_child, pushed

# what is played: the verbs of test_order, by the names that a person gives them


def push_many(registry: Registry, new: Path) -> object:
    """So many files that one sync of the whole file system makes them durable."""
    folder = new.parent / "many"
    if not folder.exists():
        write_tree(folder, NEW | {f"part/{n}.txt": f"part {n}\n" * 900 for n in range(12)})
    return registry.push(folder, "Hello", tags=["latest", "v2"], message="words")


class Later(Ruler):
    """A pen some months later: the file that tells a collection the server's clock is made then."""

    months = 0

    def write_new(self, path: str, data: bytes, mode: int, *, sync: bool = True) -> None:
        super().write_new(path, data, mode, sync=sync)
        if self.months and not data and ".seen." not in path:
            os.utime(path, (self.when(), self.when()))

    def when(self) -> float:
        """What the clock says."""
        return time.time() + self.months * 30 * 86_400


def collect(registry: Registry, new: Path) -> None:
    """Collect month after month, until what began without a tag is gone, and what two graces ago was named as well."""
    pen = registry.session.pen if isinstance(registry.session.pen, Later) else Later()
    registry.session = replace(registry.session, pen=pen, clock=pen.when)
    for pen.months in range(1, 5):
        registry.gc()
    registry.login("alice")  # who claims a namespace sweeps what a killed one left there, as every push does


SCENES = VERBS | {
    "a push of many files": Verb(before=pushed(tags=["latest", "v1"]), act=push_many),
    "gc": replace(VERBS["gc"], act=collect),
}
COMMANDS = {
    "push": (
        "a first push",
        "a first push without a namespace",
        "a push that makes private, with tags",
        "a push that makes public",
        "a push of many files",
    ),
    "tag": ("tag", "untag"),
    "protect": ("tag --protect",),
    "rollback": ("rollback",),
    "visibility": ("visibility",),
    "delete": ("delete", "delete a protected tag"),
    "restore": ("restore",),
    "gc": ("gc",),
    "import": ("import", "import over what stands", "copy without a namespace", "adopt"),
}


# in the guest: a disk whose writes are recorded


class Recorder(Later):
    """A pen that marks in the record where each step begins, after the bystander, if there is one, had his turn."""

    def __init__(self, mark: Callable[[str], None], bystander: int | None) -> None:
        super().__init__()
        self.mark, self.bystander = mark, bystander

    def step(self, verb: str, path: str) -> None:
        if self.bystander is not None and len(self.steps) not in self.idle:
            os.write(self.bystander, b".")
            os.fsync(self.bystander)
        super().step(verb, path)
        self.mark(str(len(self.steps)))


class Careless(QuickPen, Recorder):
    """The same, but nothing is synced: what it leaves must be found torn, or the search for tears is blind."""


class Mapped:
    """A device of the device mapper, by the ioctls of linux/dm-ioctl.h."""

    CREATE, REMOVE, RESUME, LOAD, MESSAGE = 3, 4, 6, 9, 14

    def __init__(self, name: str, sectors: int, target: str, options: str) -> None:
        self.name, self.control = name, os.open("/dev/mapper/control", os.O_RDWR)
        self._ask(self.CREATE)
        table = struct.pack("=QQiI16s", 0, sectors, 0, 0, target.encode()) + options.encode() + b"\0"
        self._ask(self.LOAD, table + b"\0" * (-len(table) % 8), targets=1)
        self._ask(self.RESUME)

    def say(self, words: str) -> None:
        """Send the target a message."""
        self._ask(self.MESSAGE, struct.pack("=Q", 0) + words.encode() + b"\0")

    def remove(self) -> None:
        """Take it away; a record then gets its end."""
        self._ask(self.REMOVE)
        os.close(self.control)

    def _ask(self, command: int, data: bytes = b"", *, targets: int = 0) -> None:
        sizes = (4, 0, 0, 312 + len(data), 312, targets, 0, 0, 0, 0, 0)
        head = struct.pack("=10IQ128s136x", *sizes, self.name.encode())
        fcntl.ioctl(self.control, 3 << 30 | 312 << 16 | 0xFD << 8 | command, bytearray(head + data))


@dataclass(frozen=True, kw_only=True)
class Play:
    """What is to be played: the scene, on which file system, beside a bystander or not, without syncs or not.

    `new` is the folder that a push takes.
    """

    scene: str
    fs: str
    beside: bool = True
    careless: bool = False
    new: str = ""

    def __str__(self) -> str:
        return f"{self.scene}, {'beside a bystander' if self.beside else 'alone'}, on {self.fs}"


def play(told: Path) -> None:
    """In the guest: play a scene on the first disk, with the record on the second; tell the steps."""
    what = Play(**json.loads((told / "play.json").read_text()))
    sectors = int(Path("/sys/block/ubda/size").read_text())
    disk = Mapped("recorded", sectors, "log-writes", "/dev/ubda /dev/ubdb")
    place, verb = Path("/mnt/disk"), SCENES[what.scene]
    place.mkdir()
    subprocess.run(["mount", "-t", what.fs, "/dev/dm-0", place], check=True)
    bystander = os.open(place / "bystander", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.sync()
    kind = Careless if what.careless else Recorder
    pen = kind(lambda words: disk.say(f"mark {words}"), bystander if what.beside else None)
    with unhurried():
        disk.say("mark begun")
        verb.act(Registry(place / "registry", namespace=verb.caller, pen=pen, timeout=20), Path(what.new))
        disk.say("mark answered")
    (told / "steps.json").write_text(json.dumps(pen.steps))
    os.close(bystander)
    subprocess.run(["umount", place], check=True)
    disk.remove()


INIT = """#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/nowhere TMPDIR=/dev/shm
export PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
[ -e /dev/ubda ] || mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/mapper
mount -t tmpfs memory /dev/shm
mount -t tmpfs memory /mnt
mount -t hostfs none {told} -o {told}
insmod {modules}/dm-mod.ko
insmod {modules}/dm-log-writes.ko
[ -e /dev/mapper/control ] || mknod /dev/mapper/control c 10 236
cd {project} && {python} {script} --guest {told} >{told}/said 2>&1
{python} -c 'import ctypes; ctypes.CDLL(None).reboot(0x4321FEDC)'  # power off
"""


def record(what: Play, told: Path, disk: Path, log: Path) -> list[str]:
    """Have a guest play a scene on `disk` and record its writes in `log`; the steps that were taken."""
    told.mkdir()
    (told / "play.json").write_text(json.dumps(asdict(what)))
    init = told / "init"
    mapper = modules() / "kernel/drivers/md"
    places = {"told": told, "modules": mapper, "project": PROJECT, "python": sys.executable, "script": __file__}
    init.write_text(INIT.format(**places))
    init.chmod(0o755)
    guest = boot(told.parent.name, init=init, disks=[disk, log], memory="1G", console=told / "console")
    try:
        with suppress(subprocess.TimeoutExpired):
            guest.wait(timeout=300)
    finally:
        if guest.poll() is None:
            os.killpg(guest.pid, signal.SIGKILL)
            guest.wait()
    if not (told / "steps.json").exists():
        words = [path.read_text(errors="replace") for path in (told / "said", told / "console") if path.exists()]
        raise Trouble(f"the guest did not play {what}: {''.join(words)[-3000:]}")
    steps: list[str] = json.loads((told / "steps.json").read_text())
    return [step.replace("/mnt/disk/registry/", "") for step in steps]


# the record, and the cuts in it

PIECE = 4096
"""Bytes that a disk writes wholly or not at all: the block of these file systems."""
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
Pieces = Sequence[tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class Epoch:
    """The writes between two moments at which the disk was sure of all before, in pieces any of which a cut may lose.

    `mark` is the last one before the second moment: the number of the step that had begun, or `answered`.
    """

    pieces: Pieces
    mark: str


def entries(log: Path) -> Iterator[tuple[int, int, bytes]]:
    """Flags, offset on the disk, and data of each entry of a record, in the format of drivers/md/dm-log-writes.c."""
    with log.open("rb") as file:
        magic, version, count, size = struct.unpack("<QQQI", file.read(28))
        if (magic, version) != (0x6A736677736872, 1):
            raise ValueError(f"{log} is no record of dm-log-writes, version 1")
        place = size
        for _ in range(count):
            file.seek(place)
            sector, sectors, flags, length = struct.unpack("<4Q", file.read(32))
            if flags & MARK:
                data = file.read(length)  # in the entry's own sector
            elif flags & DISCARD:
                data = b""
            else:
                file.seek(place + size)
                data = file.read(sectors * size)
                place += sectors * size
            place += size
            yield flags, sector * size, data


def epochs(log: Path) -> Iterator[Epoch]:
    """The record in epochs. A flush ends one, and so does a write of which the disk is sure when it answers (FUA)."""
    pieces: list[tuple[int, bytes]] = []
    mark = ""
    for flags, offset, data in entries(log):
        if flags & MARK:
            mark = data.decode().rstrip("\0") if mark != "answered" else mark
            continue
        if flags & FLUSH and pieces:
            yield Epoch(pieces, mark)
            pieces = []
        pieces += [(offset + at, data[at : at + PIECE]) for at in range(0, len(data), PIECE)]
        if flags & FUA and pieces:
            yield Epoch(pieces, mark)
            pieces = []
    yield Epoch(pieces, mark)


@dataclass(frozen=True, slots=True)
class Cut:
    """A moment at which the power went: all epochs before `epoch` are on the disk, and of that one these pieces."""

    epoch: int
    mark: str
    pieces: Pieces
    of: int

    def told(self, steps: Sequence[str]) -> str:
        """Where it is, for a person."""
        step = steps[int(self.mark) - 1] if self.mark.isdigit() else ""
        when = f"after step {self.mark} began, {step}" if step else f"after it had {self.mark}"
        return f"{when}: {len(self.pieces)} of {self.of} pieces of epoch {self.epoch} written"


def cuts(parts: Sequence[Epoch], *, seed: int, tries: int, most: int) -> list[Cut]:
    """A cut at each epoch's begin, and `tries` with some of its pieces; of all of them at most `most`, if not 0."""
    chance = random.Random(seed)
    found = []
    for number, epoch in enumerate(parts):
        if not epoch.mark:
            continue  # the command had not begun
        found.append(Cut(number, epoch.mark, [], len(epoch.pieces)))
        for _ in range(tries):
            share = chance.choice((0.1, 0.5, 0.9))
            kept = [piece for piece in epoch.pieces if chance.random() < share]
            if 0 < len(kept) < len(epoch.pieces):
                found.append(Cut(number, epoch.mark, kept, len(epoch.pieces)))
    chosen = chance.sample(range(len(found)), most) if 0 < most < len(found) else range(len(found))
    return [found[number] for number in sorted(chosen)]


# what a cut leaves

SIZES = {"ext4": 48 << 20, "xfs": 320 << 20, "btrfs": 128 << 20}
MKFS = {
    "ext4": ("-q", "-F", "-b", str(PIECE), "-E", "lazy_itable_init=0,lazy_journal_init=0"),
    "xfs": ("-q", "-f"),
    "btrfs": ("-q", "-f"),
}
OPTIONS = {"xfs": ",nouuid"}


def mount(image: Path, place: Path, fs: str) -> None:
    """Mount an image; what its file system has to mend after a cut it mends now."""
    tool("mount", "-t", fs, "-o", f"loop{OPTIONS.get(fs, '')}", image, place)


def apart() -> None:
    """Give this process mounts of its own, which go with it."""
    if ctypes.CDLL(None, use_errno=True).unshare(0x20000) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    tool("mount", "--make-rprivate", "/")


def look(stage: Stage, place: Path, *, answered: bool) -> None:
    """See that every promise is kept; AssertionError tells which is not."""
    left = stage.read(place)
    stage.hide(place, left)
    if answered:
        assert left == stage.after, f"it had answered, and now it is {left}, not {stage.after}"
        found = stage.registry(place).verify().findings
        assert not found, f"it had answered, and verify finds {found[0].problem}"
    stage.verify(place)
    if (place / "registry" / "registry.yaml").exists():
        stage.registry(place).doctor()
    stage.finish(place, left)
    stage.verify(place)
    odd = stage.registry(place).doctor()
    assert not odd, f"doctor finds {odd[0].problem} in {odd[0].path}, though the same was done again"


def write(image: Path, pieces: Pieces) -> None:
    """Put pieces where they belong."""
    with image.open("r+b") as file:
        for offset, data in pieces:
            file.seek(offset)
            file.write(data)


# trying them


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What came of the cuts of one scene; `broken` is what was found, with the cuts that showed it."""

    what: Play
    steps: list[str]
    flushes: int
    cuts: int
    seconds: float
    broken: dict[str, list[Cut]] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """For a person."""
        found = sum(map(len, self.broken.values()))
        end = f"{found} BROKE A PROMISE" if found else "every promise kept"
        seen = f"{len(self.steps)} steps, {self.flushes} flushes, {self.cuts} cuts"
        yield f"{self.what}: {seen}, {end}, {self.seconds:.0f} s"
        for fault, cut in self.broken.items():
            yield f"    {fault}"
            yield f"        {len(cut)} cuts, the first {cut[0].told(self.steps)}"


@contextmanager
def unhurried() -> Iterator[None]:
    """Without what costs time and is not looked at: a secret's cost, a pause for others, of whom there are none."""
    with mock.patch("lhub.verifier._N", 2), mock.patch("lhub.checkup._PAUSE", 0.0):
        yield


@contextmanager
def folders() -> Iterator[tuple[Path, Path]]:
    """A folder that a guest sees, too, and one in memory if there is room, for the disks; both go at the end."""
    with ExitStack() as stack:

        def folder(place: str) -> Path:
            return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lhub-powercut-", dir=place)))

        shown = folder("/var/tmp")  # wherever TMPDIR leads: a guest has a /dev of its own
        yield shown, folder(str(memory_folder(shown)))


class TimedStage(Stage):
    """A stage whose copies keep every time: by it a collection knows the newest version, which never goes."""

    def copy(self, name: str) -> Path:
        target = self.place / name
        target.mkdir()
        if (self.origin / "registry").exists():
            tool("cp", "-a", self.origin / "registry", target)
        return target


class Trial:
    """One scene on disks of its own: played once, cut again and again."""

    def __init__(self, what: Play, shown: Path, memory: Path) -> None:
        self.shown, self.memory, self.fs = shown, memory, what.fs
        self.place, self.verdict = shown / "place", shown / "verdict"
        for folder in (self.place, shown / "stage"):
            folder.mkdir()
        self.stage = TimedStage(SCENES[what.scene], shown / "stage")
        self.what = replace(what, new=str(self.stage.new))
        self.disk, self.written = self._furnished(), 0
        self.steps, self.epochs = self._record()

    def _furnished(self) -> Path:
        """A disk with the registry as it was before the scene."""
        raw, disk = self.memory / "raw", self.memory / "disk"
        raw.touch()
        os.truncate(raw, SIZES[self.fs])
        tool(f"mkfs.{self.fs}", *MKFS[self.fs], raw)
        if in_a_child(partial(self._furnish, raw)):
            raise Trouble(f"no image with {self.fs} can be mounted here: {self.verdict.read_text()}", NO_TOOL)
        tool("cp", "--sparse=always", raw, disk)  # mkfs writes zeroes
        raw.unlink()
        return disk

    def _furnish(self, raw: Path) -> None:
        with self._told():
            apart()
            mount(raw, self.place, self.fs)
            if (self.stage.origin / "registry").exists():
                tool("cp", "-a", self.stage.origin / "registry", self.place)
            tool("umount", self.place)

    def _record(self) -> tuple[list[str], list[Epoch]]:
        played, log = self.memory / "played", self.memory / "log"
        tool("cp", self.disk, played)
        log.touch()
        os.truncate(log, 4 << 30)
        try:
            return record(self.what, self.shown / "told", played, log), list(epochs(log))
        finally:
            played.unlink()
            log.unlink()

    def leave(self, cut: Cut, image: Path) -> None:
        """The disk as a cut leaves it; cuts are left in their order."""
        for epoch in self.epochs[self.written : cut.epoch]:
            write(self.disk, epoch.pieces)
        self.written = cut.epoch
        tool("cp", self.disk, image)
        write(image, cut.pieces)

    def fault(self, cut: Cut, image: Path) -> str:
        """What promise a cut broke; an empty text when all were kept."""
        self.verdict.unlink(missing_ok=True)
        status = in_a_child(partial(self._judge, cut, image))
        if self.verdict.exists():
            return self.verdict.read_text()
        return f"the look at it ended with status {status}" if status else ""

    def _judge(self, cut: Cut, image: Path) -> None:
        signal.alarm(120)
        with self._told():
            apart()
            mount(image, self.place, self.fs)
            look(self.stage, self.place, answered=cut.mark == "answered")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Write down, for the process that waits, why this one failed."""
        try:
            yield
        except Exception as error:
            first = next((line for line in str(error).replace(f"{self.place}/", "").split("\n") if line), "")
            self.verdict.write_text(f"{type(error).__name__}: {first[:400]}")
            raise


def attempt(what: Play, *, seed: int = 0, tries: int = 2, most: int = 0, keep: Path | None = None) -> Tried:
    """Play a scene, cut its record, and look at what each cut leaves; the disk of the first of a kind is kept."""
    began, broken = time.monotonic(), dict[str, list[Cut]]()
    for room in walk_packages(lhub.__path__, "lhub."):
        import_module(room.name)  # once here, not in each process that looks
    with folders() as (shown, memory), unhurried():
        trial = Trial(what, shown, memory)
        chosen = cuts(trial.epochs, seed=seed, tries=tries, most=most)
        for number, cut in enumerate(chosen):
            image = memory / f"cut-{number}"  # a new name each: the last one may be mounted for a moment longer
            trial.leave(cut, image)
            if fault := trial.fault(cut, image):
                broken.setdefault(fault, []).append(cut)
                if keep and len(broken[fault]) == 1:
                    trial.leave(cut, keep / f"{what}, cut {number}.img")
            image.unlink()
    return Tried(
        what=what,
        steps=trial.steps,
        flushes=sum(1 for epoch in trial.epochs if epoch.mark),
        cuts=len(chosen),
        seconds=time.monotonic() - began,
        broken=broken,
    )


def missing(fs: str) -> str:
    """Why no disk can be cut here; an empty text when it can."""
    if os.geteuid() != 0:
        return "images are mounted by root alone"
    needed = {f"mkfs.{fs}": {"ext4": "e2fsprogs", "xfs": "xfsprogs", "btrfs": "btrfs-progs"}[fs], "insmod": "kmod"}
    absent = [package for command, package in needed.items() if not shutil.which(command)]
    return f"it needs Debian's {' and '.join(absent)}" if absent else ""


def main(words: Sequence[str]) -> int:
    """The command line; the exit code is 1 when a promise was broken."""
    if words[:1] == ["--guest"]:
        play(Path(words[1]))
        return 0
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # what was made goes then, too
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", default="all", choices=[*COMMANDS, "all"])
    parser.add_argument("--fs", default="ext4", choices=SIZES)
    parser.add_argument("--seed", type=int, default=0, help="of the choice which writes a cut keeps")
    parser.add_argument("--tries", type=int, default=2, help="choices for each moment between two flushes")
    parser.add_argument("--most", type=int, default=0, help="cuts of one scene at most (0: all)")
    parser.add_argument("--keep", type=Path, help="a folder for the disks of cuts that broke a promise")
    asked = parser.parse_args(words)
    if why := missing(asked.fs):
        raise Trouble(why, NO_TOOL)
    if asked.keep:
        asked.keep.mkdir(exist_ok=True)
    scenes = [scene for name, found in COMMANDS.items() if asked.command in (name, "all") for scene in found]
    total = broken = 0
    for what in (Play(scene=scene, fs=asked.fs, beside=beside) for scene in scenes for beside in (False, True)):
        tried = attempt(what, seed=asked.seed, tries=asked.tries, most=asked.most, keep=asked.keep)
        total, broken = total + tried.cuts, broken + sum(map(len, tried.broken.values()))
        sys.stdout.write("".join(f"{line}\n" for line in tried.lines()))
        sys.stdout.flush()
    sys.stdout.write(f"{total} cuts with seed {asked.seed}, {broken} broke a promise\n")
    if broken and not asked.keep:
        sys.stdout.write("the same with --keep FOLDER keeps the disk of the first cut of each kind: mount -o loop\n")
    return 1 if broken else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Trouble as trouble:
        sys.stderr.write(f"powercut: {trouble}\n")
        sys.exit(trouble.code)
