"""The container engines of this machine, each with storage and settings of the tests' own, gone at the end.

`sh .ci/run` installs what is wanted; by hand: ``apt-get install buildah runc skopeo umoci docker.io podman``. Runs as
root only: so do dockerd, and runc on an unpacked image.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

PACKAGES = {"dockerd": "docker.io"}
CONF = """\
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]
netns = "host"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
"""
"""For a machine that lets nobody raise limits, and whose cgroups crun does not know."""
DAEMON = "--iptables=false --ip6tables=false --oom-score-adjust=0"


def needs(*programs: str) -> None:
    """Skip where a program is missing, or who runs this is not root."""
    if os.geteuid() != 0:
        pytest.skip("needs root: dockerd, and runc on an unpacked image")
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}: apt-get install {PACKAGES.get(program, program)}")


@contextmanager
def emptied(folder: Path) -> Iterator[Path]:
    """A folder for an engine; what it mounted there is let go at the end, for pytest removes no mount."""
    try:
        yield folder
    finally:
        lines = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
        for place in sorted((line.split()[1] for line in lines), reverse=True):
            if place.startswith(f"{folder}/"):
                subprocess.run(["umount", "-l", place], check=False)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def engines(folder: Path) -> Iterator[dict[str, str]]:
    """The variables by which buildah, podman and skopeo keep to a folder."""
    (folder / "containers.conf").write_text(CONF)
    storage = f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/root"\nrunroot = "{folder}/run"\n'
    (folder / "storage.conf").write_text(storage)
    (folder / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    yield {
        "CONTAINERS_CONF": f"{folder}/containers.conf",
        "CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf",
        "BUILDAH_ISOLATION": "chroot",
        "PATH": f"/usr/bin:{os.environ['PATH']}",  # Debian's docker, which knows secret mounts, before any other
    }


@contextmanager
def dockerd(folder: Path) -> Iterator[dict[str, str]]:
    """A daemon of docker's own; the variables by which a client finds it."""
    place = f"unix://{folder}/sock"
    words = [*DAEMON.split(), "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "-H", place]
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(["dockerd", *words, "-p", f"{folder}/pid"], stdout=log, stderr=log)
    try:
        told = {"DOCKER_HOST": place, "PATH": f"/usr/bin:{os.environ['PATH']}"}
        for _ in range(300):
            asked = subprocess.run(["docker", "version"], env={**os.environ, **told}, capture_output=True, check=False)
            if asked.returncode == 0:
                break
            assert daemon.poll() is None, (folder / "log").read_text()[-2000:]
            time.sleep(0.1)
        yield told
    finally:
        daemon.terminate()
        daemon.wait(30)


def ran(*words: str, environment: Mapping[str, str] | None = None, timeout: float = 300) -> str:
    """What a program says that must end well."""
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def free_port() -> int:
    """One that nobody listens at."""
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        number: int = port.getsockname()[1]
        return number


def answered(port: int, patience: float = 30) -> dict[str, str]:
    """What a server at a port answers, once it does."""
    deadline = time.monotonic() + patience
    while True:
        with suppress(URLError, ConnectionError), urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            told: dict[str, str] = json.load(answer)
            return told
        assert time.monotonic() < deadline, "nobody answers"
        time.sleep(0.05)


@contextmanager
def run_unpacked(layout: str, name: str, folder: Path, *words: str) -> Iterator[None]:
    """An image of a layout, unpacked by umoci and run by runc in the network of this machine."""
    bundle = folder / "bundle"
    ran("umoci", "unpack", "--image", f"{layout}:{name}", str(bundle))
    settings = json.loads((bundle / "config.json").read_text())
    settings["process"] |= {"rlimits": [], "terminal": False}
    settings["process"]["args"] += list(words)
    settings["linux"]["namespaces"] = [each for each in settings["linux"]["namespaces"] if each["type"] != "network"]
    settings["mounts"] = [each for each in settings["mounts"] if each["type"] != "cgroup"]
    (bundle / "config.json").write_text(json.dumps(settings))
    called = f"lhub-{os.getpid()}-{time.monotonic_ns()}"
    running = subprocess.Popen(["runc", "run", "-b", str(bundle), called])
    try:
        yield
    finally:
        subprocess.run(["runc", "kill", called, "KILL"], capture_output=True, check=False)
        running.wait(20)
        subprocess.run(["runc", "delete", "-f", called], capture_output=True, check=False)
