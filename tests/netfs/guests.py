"""Linux guests on this machine: the kernel, what it needs, and starting one.

A guest is a User-Mode Linux kernel, an ordinary process whose root is the machine's own `/`, read-only. Killing the
process group is a power cut. Kernel and packages are fetched by apt and unpacked in a cache folder, never installed.

    guest = boot("try", init=Path("init.sh"), disks=[Path("disk.img")], memory="256M")
    os.killpg(guest.pid, signal.SIGKILL)
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

NO_TOOL = 9
"""The exit code which says that something is missing here, not broken."""


class Trouble(Exception):
    """What went wrong, in one sentence, with the exit code that tells it to a script."""

    def __init__(self, sentence: str, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code


def say(sentence: str) -> None:
    """Tell a person what is being done; stdout is for the lines a shell evaluates."""
    sys.stderr.write(f"rig: {sentence}\n")


def cache() -> Path:
    """Where kernel, packages and disks lie unless --state says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lhub-rig"


def tool(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a tool of the machine and return what it said; a failure is its last line."""
    try:
        done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Trouble(f"{command[0]} is not on this machine", NO_TOOL) from None
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no word of why").splitlines()[-1]
        raise Trouble(f"{' '.join(map(str, command))} failed: {last}")
    return done.stdout


def apt(*words: str | Path, cwd: Path | None = None) -> str:
    """Run apt-get; when it fails, once more with fresh package lists (an image often ships without any)."""
    try:
        return tool("apt-get", "-q", *words, cwd=cwd)
    except Trouble as trouble:
        if trouble.code == NO_TOOL:
            raise
    try:
        tool("apt-get", "-q", "update")
        return tool("apt-get", "-q", *words, cwd=cwd)
    except Trouble as trouble:
        raise Trouble(str(trouble), NO_TOOL) from None


@contextlib.contextmanager
def fresh(target: Path) -> Iterator[Path | None]:
    """A folder to fill which becomes the target when all went well; None where somebody has filled it already."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            yield None
            return
        filling = target.with_suffix(".filling")
        shutil.rmtree(filling, ignore_errors=True)
        filling.mkdir()
        yield filling
        filling.rename(target)


def kernel(state: Path | None = None) -> Path:
    """The User-Mode Linux kernel, fetched (41 MB) at the first call; its modules are in `modules()`."""
    home = (state or cache()) / "uml"
    with fresh(home) as folder:
        if folder:
            say("fetching the package user-mode-linux (41 MB, unpacked in the cache, not installed)")
            apt("download", "user-mode-linux", cwd=folder)
            (package,) = folder.glob("*.deb")
            tool("dpkg", "-x", package, folder)
            package.unlink()
    return home / "usr" / "bin" / "linux.uml"


def modules(state: Path | None = None) -> Path:
    """The folder of that kernel's modules, named after its release: `insmod <modules>/kernel/fs/.../x.ko`."""
    (folder,) = (kernel(state).parent.parent / "lib" / "uml" / "modules").iterdir()
    return folder


def boot(
    name: str,
    *,
    init: Path,
    disks: Sequence[Path] = (),
    memory: str = "512M",
    kernel_args: Sequence[str] = (),
    console: Path | None = None,
    state: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start one guest and return its process; the process group is the whole guest, so killing it is a power cut.

    Its root is the machine's own `/`, read-only; `init` is a program there, which runs as process 1; the disks are
    /dev/ubda, /dev/ubdb, ... What it prints goes to the console file, or can be read from `.stdout`.
    """
    home = (state or cache()) / "umid"
    home.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(home / name, ignore_errors=True)
    words = [str(kernel(state)), f"mem={memory}", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "quiet"]
    words += [f"init={init}", "con=null", "con0=null,fd:1", f"umid={name}", f"uml_dir={home}/"]
    words += [f"ubd{number}={disk}" for number, disk in enumerate(disks)]
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(console.open("wb")) if console else subprocess.PIPE
        return subprocess.Popen(
            [*words, *kernel_args],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "TMPDIR": str(memory_folder(home))},
            start_new_session=True,
        )


def memory_folder(otherwise: Path) -> Path:
    """Where guests keep their memory: /dev/shm, unless it is small as in many containers (they would die of SIGBUS)."""
    shm = Path("/dev/shm")
    return shm if shm.is_dir() and shutil.disk_usage(shm).free > 2 << 30 else otherwise
