#!/usr/bin/env python3
"""Real network file systems on one machine: a server S and two client hosts A and B, each with a kernel of its own.

A promise between hosts is kept or broken by their kernels: what a client remembers of names, which lock reaches the
server, what a power cut leaves. Two processes or two containers share one kernel and show none of that, so each host
here is a User-Mode Linux guest on a private network in a namespace of its own. This room brings them up, runs
commands on them, kills them as a power cut does, and leaves nothing behind. Nothing is installed on the machine and
nothing is written in the checkout: kernel, packages and disks lie in a cache folder.

    $ eval "$(python3 tests/netfs/rig.py up nfs4.2)"      # LHUB_TEST_HOST_A='<command prefix> <mount>', and so on
    $ python3 tests/netfs/rig.py run A -u 20001 -- id -un
    u1
    $ python3 tests/netfs/rig.py down

What is peculiar to one file system is a file of shell functions in `filesystems/`. It needs root and Debian's apt.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import re
import select
import shlex
import shutil
import signal
import socket
import sys
import time
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a program: the rooms beside this one

from tests.netfs.calls import GONE, MACHINE, PORT, Call
from tests.netfs.guests import NO_TOOL, Trouble, apt, boot, cache, fresh, kernel, memory_folder, modules, say, tool

__all__ = ["NO_TOOL", "Trouble", "boot", "kernel", "memory_folder", "modules", "tool"]

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
ADDRESSES = {"S": "10.77.0.10", "A": "10.77.0.11", "B": "10.77.0.12"}
MOUNT = "/mnt/net"
USAGE = 2


# A file system: shell functions in a file of its own, run on the guests.

DISK = """
mkdir -p /disk
blkid /dev/ubda >/dev/null || mkfs.ext4 -q -O quota,project -E lazy_itable_init,lazy_journal_init /dev/ubda
mount -o acl,usrquota,grpquota,prjquota,noinit_itable /dev/ubda /disk
"""


@dataclass(frozen=True, kw_only=True)
class FileSystem:
    """A file of `filesystems/`: variables `packages`, `memory` and `exported`, functions `server` and `client`."""

    script: Path
    version: str

    @classmethod
    def named(cls, name: str) -> FileSystem:
        """`nfs4.2` is nfs.sh in version 4.2; `cephfs` is cephfs.sh."""
        family = name.rstrip("0123456789.")
        known = {path.stem: path for path in (HERE / "filesystems").glob("*.sh")}
        if family not in known:
            raise Trouble(f"{name} is none of {', '.join(sorted(known))} (nfs with its version, as in nfs4.2)", USAGE)
        return cls(script=known[family], version=name[len(family) :] or "4.2")

    def variable(self, name: str) -> str:
        """What the script sets a variable to; empty where it does not."""
        return tool("sh", "-c", f'. "$1"; printf %s "${name}"', "sh", self.script)

    def call(self, function: str, before: str = "") -> list[str]:
        """The command that runs one of its functions on a guest."""
        known = f"version={self.version} SERVER={ADDRESSES['S']}\n"
        return ["sh", "-ec", known + self.script.read_text() + before + function]


# The rig: three guests on a bridge in a network namespace.


@dataclass(frozen=True, kw_only=True)
class Rig:
    """One rig; several stand side by side, each under its name."""

    name: str
    state: Path

    @property
    def home(self) -> Path:
        """Its folder: rig.json, and for each host a console, a process id, settings and (the server) a disk."""
        return self.state / "rigs" / self.name

    @property
    def namespace(self) -> str:
        """The network namespace that holds its bridge; nothing leaves it. Another cache is another rig."""
        return f"rig-{self.name}-{zlib.crc32(str(self.state).encode()):x}"

    def up(self, wanted: str) -> None:
        """Bring server and clients up and mount the file system on both; when that fails, leave nothing behind."""
        file_system = FileSystem.named(wanted)
        if self.standing() == wanted and all(map(self.process, ADDRESSES)):
            return
        if any(map(self.process, ADDRESSES)):
            raise Trouble(f"the rig {self.name} stands, in part or with {self.standing()} (end it first: rig.py down)")
        self.down()  # what a reboot of the machine left
        self.require_machine()
        kernel(self.state)
        packages = self.unpack(file_system)
        try:
            self.home.mkdir(parents=True)
            (self.home / "rig.json").write_text(json.dumps({"file_system": wanted, "packages": str(packages)}))
            self.lay_network()
            for host in ADDRESSES:
                self.start(host)
            for host in ADDRESSES:
                self.mount(host)
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """End every guest and remove namespace, bridge, disks and settings; kernel and packages stay in the cache."""
        for host in ADDRESSES:
            self.crash(host)
            shutil.rmtree(self.state / "umid" / f"{self.name}-{host}", ignore_errors=True)
        if self.namespace_file.exists():
            tool("ip", "netns", "delete", self.namespace)
        shutil.rmtree(self.home, ignore_errors=True)

    def crash(self, host: str) -> None:
        """What a power cut does to a host: its kernel and all its processes are gone between two instructions."""
        if process := self.process(host):
            with contextlib.suppress(ProcessLookupError), os.fdopen(os.pidfd_open(process)) as watch:
                os.killpg(process, signal.SIGKILL)
                select.select([watch], [], [], 10)

    def run(self, host: str, what: dict[str, object]) -> int:
        """Run a command on a host with this process's own stdin, stdout and stderr."""
        call = self.call(host, what)
        self.enter()
        return call.talk(partial(write, 1), partial(write, 2), stdin=0)

    def boot(self, host: str) -> None:
        """Start a host that is down, and mount."""
        if self.process(host):
            raise Trouble(f"host {host} is up")
        self.enter()
        self.start(host)
        self.mount(host)

    def shell_lines(self) -> str:
        """What a test needs to know, for a shell to evaluate; the form is that of any two mounts (README.md)."""
        me = [sys.executable, __file__, "--rig", self.name, "--state", str(self.state)]
        exported = FileSystem.named(self.standing()).variable("exported") or MOUNT
        lines = {}
        for host in "ABS":
            lines[f"LHUB_TEST_HOST_{host}"] = [*me, "run", host, "--", exported if host == "S" else MOUNT]
        for host in "AB":
            lines[f"LHUB_TEST_CRASH_{host}"] = [*me, "crash", host]
            lines[f"LHUB_TEST_BOOT_{host}"] = [*me, "boot", host]
        return "".join(f"export {name}={shlex.quote(shlex.join(words))}\n" for name, words in lines.items())

    # what these consist of

    def standing(self) -> str:
        """The file system that the rig stands with; empty where it is down."""
        try:
            return str(json.loads((self.home / "rig.json").read_text())["file_system"])
        except FileNotFoundError:
            return ""

    def process(self, host: str) -> int | None:
        """The process of a host's kernel; None where it is down."""
        try:
            process, began = (self.home / host / "process").read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(process) if beginning(int(process)) == began else None

    def require_machine(self) -> None:
        """Refuse where no guest can run; fetch the two tools that the machine itself needs."""
        if os.geteuid() != 0:
            raise Trouble("network namespaces and guests need root (sudo, or a container with --privileged)", NO_TOOL)
        if not Path("/dev/net/tun").exists():
            raise Trouble("there is no /dev/net/tun, so guests cannot have a network", NO_TOOL)
        if not shutil.which("apt-get"):
            raise Trouble("there is no apt-get, which fetches the guests' kernel (Debian or Ubuntu)", NO_TOOL)
        for command, package in {"ip": "iproute2", "insmod": "kmod"}.items():
            if not shutil.which(command):
                say(f"installing {package}, for {command}")
                apt("install", "-y", "--no-install-recommends", package)

    def unpack(self, file_system: FileSystem) -> Path:
        """Unpack what the guests need and the machine has not. Installed, it would start servers on the machine."""
        target = self.state / "packages" / file_system.script.stem
        with fresh(target) as folder:
            if folder:
                say(f"fetching {file_system.variable('packages')} (unpacked for the guests, not installed)")
                (folder / "debs" / "partial").mkdir(parents=True)
                words = ["install", "-y", "--no-install-recommends", "--download-only", "-o"]
                apt(*words, f"Dir::Cache::archives={folder / 'debs'}", *file_system.variable("packages").split())
                for package in (folder / "debs").glob("*.deb"):
                    tool("dpkg", "-x", package, folder)
                shutil.rmtree(folder / "debs")
                for name in ("bin", "sbin", "lib", "lib64"):  # symlinks into /usr, which a folder would hide
                    if (folder / name).is_dir():
                        tool("cp", "-a", folder / name, folder / "usr")
                        shutil.rmtree(folder / name)
        return target

    @property
    def namespace_file(self) -> Path:
        """Where `ip netns` keeps it."""
        return Path("/run/netns") / self.namespace

    def lay_network(self) -> None:
        """Make the namespace and in it a bridge with a port for each host; this process moves in."""
        try:
            tool("ip", "netns", "add", self.namespace)
        except Trouble as trouble:
            raise Trouble(f"{trouble} (a container needs --privileged)", NO_TOOL) from None
        self.enter()
        tool("ip", "link", "set", "lo", "up")
        tool("ip", "link", "add", "bridge", "type", "bridge")
        tool("ip", "address", "add", f"{MACHINE}/24", "dev", "bridge")
        tool("ip", "link", "set", "bridge", "up")
        for host in ADDRESSES:
            tool("ip", "tuntap", "add", f"tap{host}", "mode", "tap")
            tool("ip", "link", "set", f"tap{host}", "master", "bridge", "up")

    def enter(self) -> None:
        """Move this process into the namespace (os.setns came with Python 3.12)."""
        try:
            with self.namespace_file.open() as file:
                if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0) != 0:
                    raise Trouble(f"entering {self.namespace} failed: {os.strerror(ctypes.get_errno())}", NO_TOOL)
        except FileNotFoundError:
            raise Trouble(f"the rig {self.name} is not up", GONE) from None

    def start(self, host: str) -> None:
        """Start a host's kernel; `mount` waits for it."""
        told = json.loads((self.home / "rig.json").read_text())
        folder = self.home / host
        folder.mkdir(exist_ok=True)
        settings = {"host": host, "address": ADDRESSES[host], "packages": told["packages"], "checkout": CHECKOUT}
        settings |= {"modules": modules(self.state), "python": sys.executable, "calls": HERE / "calls.py"}
        text = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in settings.items())
        (folder / "settings").write_text(f"{text}passages() {{ {shlex.join(['chmod', 'a+x', *passages()])}; }}\n")
        tap = f"vec0:transport=tap,ifname=tap{host},depth=128,gro=1,mac=52:54:00:00:77:{ADDRESSES[host][-2:]}"
        guest = boot(
            f"{self.name}-{host}",
            init=Path(shutil.copy(HERE / "init.sh", folder)),  # the path of a checkout may hold blanks, this must not
            disks=[self.disk()] if host == "S" else [],
            memory=FileSystem.named(told["file_system"]).variable("memory"),
            kernel_args=[tap, f"rig_settings={folder / 'settings'}"],
            console=folder / "console",
            state=self.state,
        )
        (folder / "process").write_text(f"{guest.pid} {beginning(guest.pid)}")

    def disk(self) -> Path:
        """The server's disk: 8 GiB, of which only what is written takes room."""
        disk = self.home / "disk"
        if not disk.exists():
            disk.touch()
            os.truncate(disk, 8 << 30)
        return disk

    def mount(self, host: str) -> None:
        """Wait for a host; on the server start serving, then mount (where the server itself is to see a mount)."""
        file_system = FileSystem.named(self.standing())
        self.wait(host)
        if host == "S":
            self.must(host, file_system.call("server", before=DISK))
        if host != "S" or not file_system.variable("exported"):
            self.must(host, file_system.call("client"))

    def wait(self, host: str) -> None:
        """Wait until a host answers; a kernel that died says why on its console."""
        deadline = time.monotonic() + 120
        while self.process(host) and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((ADDRESSES[host], PORT), timeout=0.3):
                return
            time.sleep(0.05)
        console = (self.home / host / "console").read_text(errors="replace").strip()
        ran = f"the kernel of host {host} runs" in console
        raise Trouble(f"host {host} did not come up; its console:\n{console[-2000:]}", 1 if ran else NO_TOOL)

    def call(self, host: str, what: dict[str, object]) -> Call:
        """A command for a host that is up."""
        if (process := self.process(host)) is None:
            raise Trouble(f"host {host} of the rig {self.name} is down", GONE)
        return Call(address=ADDRESSES[host], kernel=process, what=what)

    def must(self, host: str, command: list[str]) -> None:
        """Run a command on a host as root; its failure is trouble."""
        said = bytearray()
        if (code := self.call(host, {"args": command}).talk(said.extend, said.extend)) != 0:
            raise Trouble(f"on host {host}: {said.decode(errors='replace').strip()[-2000:]} (exit {code})")


def beginning(process: int) -> str:
    """When a process began (its id may be anybody's after a reboot); empty for one that is gone or a zombie."""
    try:
        words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if words[0] in "ZX" else words[19]


def passages() -> list[str]:
    """The folders on the way to checkout and interpreters that an ordinary user cannot pass: /root is 0700."""
    interpreter = (CHECKOUT / ".venv" / "bin" / "python").resolve()
    ends = {CHECKOUT, Path.home() / "any", Path(sys.prefix), Path(sys.base_prefix), interpreter}
    way = {folder for end in ends for folder in end.parents if folder.exists()}
    return ["/", *sorted(str(folder) for folder in way if not folder.stat().st_mode & 0o001)]


def write(descriptor: int, data: bytes) -> None:
    """Write all of it."""
    while data:
        data = data[os.write(descriptor, data) :]


# The command line.


def parser() -> argparse.ArgumentParser:
    """The words of the command line, but for a command after `--`."""
    top = argparse.ArgumentParser(prog="rig.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    top.add_argument("--rig", default=os.environ.get("LHUB_RIG", "lhub"), help="its name (LHUB_RIG; default: lhub)")
    top.add_argument("--state", type=Path, default=cache(), help=f"where kernel and disks lie (default: {cache()})")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="up|down|run|crash|boot")
    verbs.add_parser("up", help="bring it up; prints lines for a shell to evaluate").add_argument("file_system")
    verbs.add_parser("down", help="end it and remove every trace")
    run = verbs.add_parser("run", help="run HOST [-u UID] [-g GID] [-G GID,GID] -- COMMAND...")
    run.add_argument("host", choices=ADDRESSES)
    run.add_argument("-u", dest="user", type=int)
    run.add_argument("-g", dest="group", type=int)
    run.add_argument("-G", dest="extra_groups", type=lambda text: [int(group) for group in text.split(",") if group])
    verbs.add_parser("crash", help="cut a host's power").add_argument("host", choices=ADDRESSES)
    verbs.add_parser("boot", help="start it again, and mount").add_argument("host", choices=ADDRESSES)
    return top


def identity(words: argparse.Namespace) -> dict[str, object]:
    """Whom a command runs as: a user without groups is in his own group only, whatever root is in."""
    if words.user is None:
        return {}
    group = words.user if words.group is None else words.group
    return {"user": words.user, "group": group, "extra_groups": words.extra_groups or []}


def main(arguments: list[str]) -> int:
    """Do what the words say and return the exit status."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"  # where ip, insmod and mount.nfs are
    words, command = parser().parse_args(arguments[:end]), arguments[end + 1 :]
    rig = Rig(name=words.rig, state=words.state.absolute())
    if not re.fullmatch(r"[A-Za-z0-9_-]+", rig.name):
        raise Trouble(f"{rig.name!r} is no name for a rig (letters, digits, - and _)", USAGE)
    if not re.fullmatch(r"/(?!dev/|run/|mnt/|proc/|sys/)[\w./+-]+", str(rig.state)):
        raise Trouble(
            f"{rig.state} cannot hold a rig: guests see no blanks in a path, nor what is in /dev, /run, /mnt", USAGE
        )
    if words.verb == "run":
        return rig.run(words.host, {"args": command, **identity(words)})
    if words.verb == "up":
        rig.up(words.file_system)
        sys.stdout.write(rig.shell_lines())
    elif words.verb == "down":
        rig.down()
    else:
        (rig.crash if words.verb == "crash" else rig.boot)(words.host)
    return 0


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except Trouble as trouble:
        say(str(trouble))
        code = trouble.code
    except OSError as error:
        say(str(error))
        code = GONE
    except KeyboardInterrupt:
        code = 130
    sys.stdout.flush()
    os._exit(code)  # a thread that reads stdin would hold the interpreter until the terminal is closed
