"""What the tests share: a registry of one's own, folders to push, and the command line in an empty home."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lhub.disk import Pen
from lhub.registry import Registry

pytest_plugins = ["pytester"]
PROJECT = Path(__file__).parent.parent
HELLO = PROJECT / "fixtures" / "executors" / "HelloExecutor"
MEMORY, ROOM = "/dev/shm", 2 << 30


def _work_in_memory() -> None:
    """Let temporary folders lie where syncing takes no time, which is most of what the tests wait for.

    `TMPDIR=/tmp pytest` tries them on a disk.
    """
    if "TMPDIR" not in os.environ and os.path.ismount(MEMORY) and os.access(MEMORY, os.W_OK):
        disk = os.statvfs(MEMORY)
        if disk.f_bavail * disk.f_frsize > ROOM:
            os.environ["TMPDIR"], tempfile.tempdir = MEMORY, None


_work_in_memory()
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell; all that tests start inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """An empty registry, logged in as alice."""
    registry = Registry(tmp_path / "registry", namespace="alice", timeout=20)
    registry.login("alice")
    return registry


@pytest.fixture
def square() -> Iterator[Path]:
    """A folder that every user of the machine may enter, as those of pytest are not."""
    place = Path(tempfile.mkdtemp(prefix="lhub-square-"))
    place.chmod(0o755)
    yield place
    subprocess.run(["chmod", "-R", "u+w", place], check=True)
    shutil.rmtree(place)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: some tests wait for others' processes."""
    return len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1) + 1


@contextmanager
def without_pyrage() -> Iterator[None]:
    """As on a machine that has no library to seal with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pyrage", None)
        yield


@pytest.fixture
def in_clear() -> Iterator[None]:
    """What is private without a namespace is stored as it is, since nothing here could seal it."""
    with without_pyrage():
        yield


def as_caller(registry: Registry, namespace: str | None, *, pen: Pen | None = None, timeout: float = 20) -> Registry:
    """The same registry for somebody else (of the same OS user), or with another pen."""
    return Registry(registry.root, namespace=namespace, pen=pen, timeout=timeout)


def write_tree(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Make a folder with these files."""
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def read_tree(folder: Path) -> dict[str, bytes]:
    """All files of a folder with their content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@contextmanager
def by_hand(folder: Path) -> Iterator[None]:
    """Make a read-only tree writable, as somebody does who wants to damage it, and put its modes back."""
    modes = {path: path.lstat().st_mode for path in [folder, *folder.rglob("*")] if not path.is_symlink()}
    for path, mode in modes.items():
        path.chmod(mode | 0o200)
    yield
    for path, mode in modes.items():
        if path.exists() and not path.is_symlink():
            path.chmod(mode & 0o7777)


def snapshot(folder: Path) -> dict[str, tuple[int, bytes | str]]:
    """Everything below a folder, byte by byte: what a refused verb must leave as it was."""
    found: dict[str, tuple[int, bytes | str]] = {}
    for path in sorted(folder.rglob("*")):
        name, status = str(path.relative_to(folder)), path.lstat()
        content: bytes | str = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        found[name] = (status.st_mode, content)
    return found


def executor_py(name: str, *more: str) -> str:
    """The source of a small Executor, with lines more at its end."""
    lines = ["from jina import Executor, requests", "", "", f"class {name}(Executor):", "    @requests"]
    return "\n".join([*lines, "    def serve(self, docs, **kwargs): ...", *more, ""])


def config_yml(name: str, *more: str) -> str:
    """The config.yml of such an Executor, with lines more under its metas."""
    lines = [f"jtype: {name}", "py_modules:", "- executor.py", "metas:", f"  name: {name}"]
    return "\n".join([*lines, *(f"  {line}" for line in more), ""])


@pytest.fixture
def make_executor(tmp_path: Path) -> Callable[..., Path]:
    """Make an Executor folder; `files` are added to it."""

    def make(name: str = "Hello", folder: str | None = None, **files: str | bytes) -> Path:
        base: dict[str, str | bytes] = {"config.yml": config_yml(name), "executor.py": executor_py(name)}
        return write_tree(
            tmp_path / (folder or f"src-{name}"), base | {k.replace("__", "."): v for k, v in files.items()}
        )

    return make


@pytest.fixture
def hello(make_executor: Callable[..., Path]) -> Path:
    """A small Executor named Hello."""
    return make_executor("Hello")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The JSON on stdout."""
        return json.loads(self.out)


@dataclass(frozen=True, kw_only=True)
class Shell:
    """The command line as a user has it, with a home and a current folder of its own."""

    home: Path
    cwd: Path

    def environment(self, **extra: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("LHUB_", "GIT_", "XDG_"))}
        return {**kept, "HOME": str(self.home), "LC_ALL": "C.UTF-8", **extra}

    def __call__(self, *arguments: str | Path, check: bool = False, **extra: str) -> Answer:
        """Run `lhub` with these words in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "lhub", *map(str, arguments)],
            cwd=self.cwd,
            env=self.environment(**extra),
            capture_output=True,
            check=False,
            timeout=120,
        )
        answer = Answer(code=done.returncode, out=done.stdout.decode(), err=done.stderr.decode())
        assert "Traceback" not in answer.err, answer.err
        assert not check or answer.code == 0, answer.err
        return answer


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """The command line in an empty home."""
    home, cwd = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    cwd.mkdir()
    yield Shell(home=home, cwd=cwd)
