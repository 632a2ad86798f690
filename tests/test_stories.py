"""Stories: what people type and what lhub answers, as files in `stories/`, each played in an empty home and folder.

A block begins with a prompt and ends at an empty line; what stands between blocks is prose::

    $ lhub push HelloExecutor            what is typed; `<<END` takes the lines up to END along
    tags: latest                         expected on stdout
    ! hint: lhub login NAME              expected on stderr
    [exit 4]                             expected exit code, 0 if it is not there

`$` is somebody with a home of his own; before `alice$` and `bob$` sit two people at one registry, each with his own
login (`guest$` has none). `[...]` stands for any text, and alone on a line for any lines; `[hex12]`, `[hex24]`,
`[hex32]`, `[hex40]`, `[hex64]`, `[date]`, `[time]`, `[n]` and `[word]` for just that; `[v1=hex12]` also remembers it,
and `[v1]` says it again. `[here]`, `[home]`, `[shared]` and `[fixtures]` are the folders of the story. A story that
begins with `needs: root` (or `linux`, or a program) is passed over where that is not to be had. Blocks of lhub alone
run in a fork of this process, all others in `sh`.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import pytest

from lhub.cli import main as program
from tests.conftest import HELLO, Answer
from tests.rooms import ROOMS

for room in ("filelock", "git", "pathspec", "yaml", *ROOMS):
    import_module(room)  # once here, not again in every fork

STORIES = sorted((Path(__file__).parent / "stories").glob("*.txt"))
KINDS = {
    "...": r".*",
    "hex12": r"[0-9a-f]{12}",
    "hex24": r"[0-9a-f]{24}",
    "hex32": r"[0-9a-f]{32}",
    "hex40": r"[0-9a-f]{40}",
    "hex64": r"[0-9a-f]{64}",
    "date": r"\d{4}-\d\d-\d\d \d\d:\d\d",
    "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    "n": r"\d+",
    "word": r"[^\s\"]+",
}
PROMPT = re.compile(r"(?P<who>[a-z]*)\$ (?P<command>.+)")
EXIT = re.compile(r"\[exit (\d+)\]")
SIMPLE = re.compile(r"(?P<settings>([A-Z_]+=(\"[^\"]*\"|\S+) )*)lhub(?P<words>( [^|&;<>$`*]*)?)")
HOLE = re.compile(r"\[(?:(?P<name>\w+)=)?(?P<kind>\.\.\.|\w+)\]")


@dataclass(kw_only=True)
class Block:
    """One thing typed, and the answer it must get."""

    line: int
    who: str
    command: str
    document: str = ""
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    code: int = 0


def read_story(text: str) -> Iterator[Block]:
    """The blocks of a story."""
    lines = iter(enumerate(text.split("\n"), start=1))
    block: Block | None = None
    for number, line in lines:
        if match := PROMPT.fullmatch(line):
            if block:
                yield block
            block = Block(line=number, who=match["who"], command=match["command"])
            if here := re.search(r"<<(\w+)$", block.command):
                document = list(iter(lambda: next(lines)[1], here[1]))
                block.document = "".join(f"{each}\n" for each in (*document, here[1]))
        elif block and not line:
            yield block
            block = None
        elif block and (match := EXIT.fullmatch(line)):
            block.code = int(match[1])
        elif block:
            (block.err if line.startswith("! ") else block.out).append(line.removeprefix("! "))
    if block:
        yield block


class Stage:
    """The folders of one story, and what it remembers."""

    def __init__(self, folder: Path) -> None:
        self.here, self.home, self.shared = folder / "work", folder / "home", folder / "shared"
        for each in (self.here, self.home):
            each.mkdir()
        shutil.copytree(HELLO, self.here / HELLO.name)
        program = folder / "bin" / "lhub"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m lhub "$@"\n')
        program.chmod(0o755)
        self.path = f"{program.parent}:{os.environ['PATH']}"
        self.memory = {"here": str(self.here), "home": str(self.home), "shared": str(self.shared)}
        self.memory["fixtures"] = str(HELLO.parent.parent)

    def environment(self, who: str) -> dict[str, str]:
        """What a process of this person sees."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("LHUB_", "GIT_", "XDG_"))}
        own = {"HOME": str(self.home), "PATH": self.path, "LC_ALL": "C.UTF-8", "TZ": "UTC", "COLUMNS": "100"}
        if who:
            own |= {"HOME": str(self.home / who), "LHUB_ROOT": str(self.shared)}
            (self.home / who).mkdir(exist_ok=True)
        return kept | own

    def play(self, block: Block) -> Answer:
        """Type a block; what it names of what was remembered is filled in."""
        command = HOLE.sub(lambda hole: self.memory.get(hole["kind"], hole[0]), block.command)
        return self.type(command, who=block.who, document=block.document)

    def type(self, command: str, *, who: str = "", document: str = "") -> Answer:
        """Type one line, as a shell takes it."""
        if simple := SIMPLE.fullmatch(command):
            settings = dict(each.split("=", 1) for each in shlex.split(simple["settings"]))
            return self.lhub(*shlex.split(simple["words"]), who=who, **settings)
        done = subprocess.run(
            ["/bin/sh", "-c", f"{command}\n{document}"],
            cwd=self.here,
            env=self.environment(who),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=60,
        )
        return Answer(code=done.returncode, out=done.stdout.decode(), err=done.stderr.decode())

    def lhub(self, *words: str, who: str = "", **settings: str) -> Answer:
        """Run lhub with these words."""
        return run_lhub(words, self.here, self.environment(who) | settings)

    def compare(self, expected: list[str], got: str) -> bool:
        """Whether an answer is as the story has it; what it names is remembered."""
        pattern = "".join(self._line(line) for line in expected)
        match = re.fullmatch(pattern, got)
        self.memory.update(match.groupdict() if match else {})
        return match is not None

    def _line(self, line: str) -> str:
        if line.strip() == "[...]":
            return r"(?:.*\n)*?"
        parts, end = [], 0
        for hole in HOLE.finditer(line):
            parts += [re.escape(line[end : hole.start()]), self._hole(hole)]
            end = hole.end()
        return "".join([*parts, re.escape(line[end:]), r"\n"])

    def _hole(self, hole: re.Match[str]) -> str:
        if hole["kind"] in self.memory:
            return re.escape(self.memory[hole["kind"]])
        if hole["kind"] not in KINDS:
            return re.escape(hole[0])
        return f"(?P<{hole['name']}>{KINDS[hole['kind']]})" if hole["name"] else KINDS[hole["kind"]]


def run_lhub(arguments: Sequence[str], cwd: Path, environment: dict[str, str], *, patience: int = 60) -> Answer:
    """`lhub` in a fork of this process, which spares it the start of Python; killed after `patience` seconds."""
    out, err = cwd.parent / "stdout", cwd.parent / "stderr"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside the threads of pytest-xdist
        child = os.fork()
    if child == 0:
        signal.alarm(patience)
        _be_lhub(arguments, cwd, environment, out, err)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return Answer(code=code, out=out.read_bytes().decode(), err=err.read_bytes().decode())


def _be_lhub(arguments: Sequence[str], cwd: Path, environment: dict[str, str], out: Path, err: Path) -> NoReturn:
    code = 70
    try:
        for descriptor, path, flags in ((0, Path(os.devnull), os.O_RDONLY), (1, out, os.O_RDWR), (2, err, os.O_RDWR)):
            os.dup2(os.open(path, flags | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
        os.umask(0o022)
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(environment)
        try:
            code = program.main(list(arguments))
        except SystemExit as end:  # how click ends a completion
            code = int(end.code or 0)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def missing_needs(text: str) -> str | None:
    """What a story says it needs, if it is not to be had here."""
    match = re.match(r"needs: (\S+)\n", text)
    need = match[1] if match else None
    found = {None: True, "root": os.geteuid() == 0, "linux": sys.platform == "linux"}
    return None if found.get(need) or (need and shutil.which(need)) else need


SLOW = ("delete", "diff", "export", "selftest", "tag", "without-a-login")
"""Stories of several seconds, of what shorter ones and the tests of the rooms tell as well."""


@pytest.mark.parametrize(
    "story", [pytest.param(each, id=each.stem, marks=[pytest.mark.slow] * (each.stem in SLOW)) for each in STORIES]
)
def test_story(story: Path, tmp_path: Path) -> None:
    text = story.read_text(encoding="utf-8")
    if missing := missing_needs(text):
        pytest.skip(f"this story needs {missing}")
    stage = Stage(tmp_path.resolve())
    for block in read_story(text):
        got = stage.play(block)
        where = f"{story.name}:{block.line}: {block.who}$ {block.command}"
        assert "Traceback" not in got.err, f"{where}\n{got.err}"
        right = stage.compare(block.out, got.out), stage.compare(block.err, got.err), got.code == block.code
        answer = f"{where}\n{got.out}" + "".join(f"! {line}\n" for line in got.err.splitlines()) + f"[exit {got.code}]"
        assert right == (True, True, True), f"stdout, stderr, exit code right: {right}, for this answer:\n{answer}"


def test_every_command_has_a_story() -> None:
    told = "\n".join(story.read_text(encoding="utf-8") for story in STORIES)
    commands = program.lhub.list_commands(program.lhub.make_context("lhub", [], resilient_parsing=True))
    assert [name for name in commands if not re.search(rf"(?m)^[a-z]*\$ lhub {name}\b", told)] == []


def test_a_story_that_is_wrong_is_noticed(tmp_path: Path) -> None:
    stage = Stage(tmp_path.resolve())
    (block,) = read_story("$ lhub whoami\n! lhub: nobody is logged in\n! hint: lhub login [kind=word]\n[exit 4]\n")
    got = stage.play(block)
    assert (got.code, stage.compare(block.out, got.out), stage.compare(block.err, got.err)) == (4, True, True)
    assert stage.memory["kind"] == "NAME"
    assert not stage.compare(["lhub: somebody is logged in", "[...]"], got.err)


def test_the_stories_folders_are_their_own(tmp_path: Path) -> None:
    stage = Stage(tmp_path.resolve())
    (block,) = read_story("alice$ lhub login alice\n[...]\n")
    assert stage.play(block).code == 0
    assert stat.S_ISDIR((stage.shared / "alice").lstat().st_mode)
    assert not (stage.home / ".lhub").exists()
