"""Served for real: jina itself starts what was pushed where it lies in the registry, and its answers are right.

jina needs a Python of 3.11 or older and takes minutes to install, so it has an environment of its own:

    LHUB_TEST_JINA=$(sh tests/environment.sh jina .venv-jina) pytest -m served
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from lhub.kinds.scaffold import plan
from tests.conftest import PROJECT, Shell, snapshot, write_tree

JINA = os.environ.get("LHUB_TEST_JINA")
pytestmark = [
    pytest.mark.served,
    pytest.mark.skipif(
        JINA is None,
        reason="LHUB_TEST_JINA names no Python that has jina: sh tests/environment.sh jina DIR makes one, "
        "which is python3.11 -m venv DIR && DIR/bin/pip install -r tests/environments/jina.txt -e .",
    ),
]
SERVING = PROJECT / "tests" / "serving.py"
QUIET = {"JINA_OPTOUT_TELEMETRY": "1", "JINA_HIDE_SURVEY": "1", "JINA_LOG_LEVEL": "WARNING"}
PATIENCE = 60


def heeding_modes() -> list[str]:
    """What makes root a user like others, who cannot write where a mode says so."""
    program = shutil.which("setpriv") if os.geteuid() == 0 else None
    return [program, "--inh-caps=-dac_override", "--bounding-set=-dac_override"] if program else []


@contextmanager
def running(shell: Shell, words: Sequence[str | Path]) -> Iterator[subprocess.Popen[str]]:
    """A process of the interpreter that has jina; neither it nor those it starts outlive this."""
    assert JINA is not None
    process = subprocess.Popen(
        [*heeding_modes(), JINA, *map(str, words)], cwd=shell.cwd, env=shell.environment(**QUIET),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def serving(shell: Shell, *words: str | Path) -> Any:
    """What `serving.py` answers to these words."""
    with running(shell, [SERVING, *words]) as process:
        out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out
    return json.loads(out.splitlines()[-1])


WORDED = '''\
from pathlib import Path

from jina import Executor, requests

from wording import worded


class Worded(Executor):
    """Says the word of its own file, and what it was started with."""

    def __init__(self, mark: str = "?", **kwargs):
        super().__init__(**kwargs)
        self.word, self.mark = (Path(__file__).parent / "word.txt").read_text(), mark

    @requests
    def say(self, docs, **kwargs):
        for doc in docs:
            doc.text = worded(doc.text, self.word, self.mark)
'''
WORDING = """\
def worded(text, word, mark):
    return f"{word} {text}{mark}"
"""
CONFIG = """\
jtype: Worded
with:
  mark: "!"
py_modules:
  - wording.py
  - executor.py
metas:
  name: Worded
"""


@pytest.fixture
def worded(shell: Shell) -> Path:
    """An Executor of two modules, a file that it reads, and an argument; alice is logged in."""
    shell("login", "alice", check=True)
    files: dict[str, str | bytes] = {
        "executor.py": WORDED,
        "wording.py": WORDING,
        "config.yml": CONFIG,
        "word.txt": "hello",
    }
    return write_tree(shell.cwd / "Worded", files)


def test_a_pushed_executor_answers_a_request_where_it_lies(shell: Shell, worded: Path) -> None:
    shell("push", worded, "-t", "v1", check=True)
    assert serving(shell, "flow", "jinaai://alice/Worded:v1", "--", "world", "all") == ["hello world!", "hello all!"]


def test_each_tag_is_served_as_it_was_pushed(shell: Shell, worded: Path) -> None:
    shell("push", worded, "-t", "v1", check=True)
    (worded / "word.txt").write_text("goodbye")
    shell("push", worded, "-t", "v2", check=True)
    answer = serving(shell, "flow", "jinaai://alice/Worded:v1", "jinaai://alice/Worded:v2", "--", "world")
    assert answer == ["goodbye hello world!!"]


def test_serving_leaves_nothing_in_a_version(shell: Shell, worded: Path) -> None:
    if os.geteuid() == 0 and not heeding_modes():
        pytest.skip("root writes into read-only folders; setpriv (util-linux) would make it heed them")
    shell("push", worded, check=True)
    version = Path(shell("path", "alice/Worded", check=True).out.strip()).parent
    before = snapshot(version)
    serving(shell, "flow", "jinaai://alice/Worded", "--", "world")
    assert snapshot(version) == before


def test_what_new_makes_is_pushed_pulled_and_served(shell: Shell) -> None:
    shell("login", "alice", check=True)
    shell("new", "--name", "Greeter", "--description", 'Greets: "all" {of} us', "--keywords", "a,b", check=True)
    shell("push", "Greeter", "-t", "v1", check=True)
    shell("pull", "jinaai://alice/Greeter:v1", "pulled", check=True)
    answer = serving(shell, "flow", shell.cwd / "Greeter", shell.cwd / "pulled", "jinaai://alice/Greeter:v1", "--", "w")
    assert answer == ["hello, hello, hello, w"]


def test_what_new_makes_for_a_namespace_is_served(shell: Shell) -> None:
    shell("login", "alice", check=True)
    shell("new", "--name", "alice/Greeter", "--dockerfile", "cpu", check=True)
    shell("push", "Greeter", "--image", "never", check=True)
    assert serving(shell, "flow", "jinaai://alice/Greeter", "--", "world") == ["hello, world"]


ODD = [
    {"description": "", "url": ""},
    {"description": 'a: "b" # c', "url": "https://example.com/?a=1&b=%20#c"},
    {"description": " two\n lines\r\n", "keywords": "{x},[y],{{z}},$HOME,${{ ENV.HOME }}"},
    {"description": "{x} {0} {", "url": "{root.jtype}"},
    {"description": "null", "url": "true", "keywords": "1,2.0,~"},
    {"description": "1e5", "url": "[1, 2]"},
    {"description": "œuvre 🚀 \u2028\u202e\x00\x1b[31m", "url": "'quoted'"},
    {"description": '"""', "url": '\\"'},
]


def test_whatever_is_said_to_new_jina_starts_what_it_makes(shell: Shell) -> None:
    names = [f"Odd{number}" for number in range(len(ODD))]
    folders = [
        write_tree(shell.cwd / name, {**plan(name, **said).files()}) for name, said in zip(names, ODD, strict=True)
    ]
    assert serving(shell, "load", *folders) == names


def test_jina_s_own_command_serves_the_path_of_a_version(shell: Shell, worded: Path) -> None:
    shell("push", worded, "-t", "v1", check=True)
    path = shell("path", "alice/Worded:v1", check=True).out.strip()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with running(shell, ["-m", "jina", "executor", "--uses", f"{path}/config.yml", "--port", str(port)]) as process:
        deadline = time.monotonic() + PATIENCE
        while not listens(port):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        assert serving(shell, "executor", str(port), "--", "world") == ["hello world!"]


def listens(port: int) -> bool:
    """Whether somebody answers at a port of this machine."""
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0
