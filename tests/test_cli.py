"""The command line: exit codes, errors as sentences, help whose examples run, and what a pipe or Ctrl-C does to it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import lhub
from lhub.cli import main as program
from tests.basing import docker_save, rootfs, tarred
from tests.conftest import Shell, config_yml, executor_py, snapshot, write_tree
from tests.make_fixtures import FIXTURES
from tests.test_fixtures import unpack
from tests.test_stories import Stage


def commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below a group with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*words, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))


COMMANDS = dict(commands(program.lhub))


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """An empty home, and a folder with HelloExecutor in it."""
    return Stage(tmp_path.resolve())


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """Somebody logged in as alice, with HelloExecutor, weights, MyExecutor under five tags, and old caches."""
    stage = Stage(tmp_path_factory.mktemp("template").resolve())
    files = {"config.yml": config_yml("MyExecutor"), "executor.py": executor_py("MyExecutor")}
    write_tree(stage.here / "MyExecutor", files)
    assert stage.lhub("login", "alice").code == 0
    assert stage.lhub("push", "HelloExecutor", "-t", "v1", "-t", "latest").code == 0
    tags = [word for tag in ("v1", "v2", "latest", "nightly", "prod") for word in ("-t", tag)]
    assert stage.lhub("push", "MyExecutor", *tags).code == 0
    assert stage.lhub("push", str(write_tree(stage.here / "weights", {"w.bin": "1"})), "weights").code == 0
    unpack(FIXTURES / "old-cloud-cache.tar.gz", stage.home / ".cache")
    return stage


@pytest.fixture
def pushed(stage: Stage, template: Stage) -> Stage:
    """A copy of the template of one's own."""
    shutil.copytree(template.home, stage.home, symlinks=True, dirs_exist_ok=True)
    shutil.copytree(template.here, stage.here, symlinks=True, dirs_exist_ok=True)
    return stage


# exit codes


def test_what_works_exits_0(pushed: Stage) -> None:
    assert pushed.lhub("show", "alice/HelloExecutor").code == 0


def test_a_full_disk_exits_1_and_the_next_push_succeeds(pushed: Stage) -> None:
    write_tree(pushed.here / "HelloExecutor", {"big.bin": b"x" * 4_000_000})
    answer = pushed.type("trap '' XFSZ; ulimit -f 2000; lhub push HelloExecutor")
    assert (answer.code, answer.out, "File too large" in answer.err) == (1, "", True)
    assert "Traceback" not in answer.err
    assert pushed.lhub("push", "HelloExecutor").code == 0


@pytest.mark.parametrize(
    "words", [["nosuch"], ["push"], ["pull", "a b"], ["list", "--nosuch"], ["list", "--kind", "x"], ["show", "x", "y"]]
)
def test_words_that_are_off_exit_2(pushed: Stage, words: list[str]) -> None:
    answer = pushed.lhub(*words)
    assert (answer.code, answer.out, answer.err.startswith("lhub: ")) == (2, "", True)


def test_what_is_not_here_exits_3(pushed: Stage) -> None:
    assert pushed.lhub("show", "alice/HelloExecutor:v9").code == 3


def test_what_is_another_s_exits_4(pushed: Stage) -> None:
    assert pushed.lhub("push", "HelloExecutor", "bob/Hello").code == 4


def test_what_stands_in_the_way_exits_5(pushed: Stage) -> None:
    assert pushed.lhub("pull", "alice/HelloExecutor", "HelloExecutor").code == 5


def test_a_flipped_byte_exits_6_and_names_the_file(pushed: Stage) -> None:
    file = Path(pushed.lhub("path", "alice/HelloExecutor").out.strip()) / "executor.py"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes().replace(b"hello", b"hullo"))
    answer = pushed.lhub("pull", "alice/HelloExecutor", "out")
    assert (answer.code, "executor.py" in answer.err, (pushed.here / "out").exists()) == (6, True, False)


def test_a_lock_that_somebody_holds_exits_7(pushed: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    from lhub.lock import held
    from lhub.registry import Registry

    registry = Registry(pushed.home / ".lhub" / "registry", namespace="alice", timeout=0.05)
    lock = registry.session.resource("alice", "HelloExecutor").folder.lock
    monkeypatch.setattr("lhub.door.here", lambda **_: registry)
    with held(lock, mode=0o600, timeout=1, note="bob (process 7)"):
        answer = pushed.lhub("tag", "alice/HelloExecutor:v1", "v2")
    assert (answer.code, "bob (process 7)" in answer.err) == (7, True)


def test_ctrl_c_exits_130_and_nothing_half_done_is_visible(pushed: Stage) -> None:
    place = pushed.home / ".lhub" / "registry/alice/Big"
    write_tree(pushed.here / "Big", {"one.txt": "1"})
    pushed.lhub("push", "Big", "Big")
    before = sorted(place.glob(".lhub/versions/*")), pushed.lhub("list").out
    write_tree(pushed.here / "Big", {"one.txt": "2"})
    lock = os.open(place / ".lhub/lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)  # so that the push waits, all of it staged
    with subprocess.Popen(
        [sys.executable, "-m", "lhub", "push", "Big", "Big"],
        cwd=pushed.here,
        env=pushed.environment(""),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as push:
        while push.poll() is None and not [*place.glob(".lhub/versions/.tmp.*/manifest.yaml")]:
            time.sleep(0.01)
        push.send_signal(signal.SIGINT)
        out, err = push.communicate(timeout=30)
    os.close(lock)
    assert push.returncode in (130, -signal.SIGINT)  # the same to a shell; Python's own end by the signal is the second
    assert (out, err.strip()) == ("", "lhub: interrupted")
    assert (sorted(place.glob(".lhub/versions/*")), pushed.lhub("list").out) == before
    assert [*place.glob(".lhub/versions/.tmp.*")] == []


@pytest.mark.parametrize("words", ["push HelloExecutor -t v2 -t V2", "tag alice/HelloExecutor v2 V2"])
def test_two_tags_that_differ_only_by_case_are_not_made_at_once(pushed: Stage, words: str) -> None:
    assert pushed.lhub(*words.split()).code in (2, 5)
    assert "v2" not in pushed.lhub("show", "alice/HelloExecutor").out.lower()


# errors


FAULTS = [
    ["push", "nowhere"],
    ["push", "HelloExecutor", "bob/X"],
    ["push", "HelloExecutor", "--expect", "00000000"],
    ["push", "HelloExecutor", "-t", "a b"],
    ["push", "HelloExecutor", "--nosuch"],
    ["pull", "alice/Nothing"],
    ["pull", "alice/HelloExecutor", "HelloExecutor"],
    ["path", "x://y"],
    ["list", "nobody"],
    ["show"],
    ["show", "alice/HelloExecutor:v9"],
    ["log", "alice/Nothing"],
    ["tag", "alice/HelloExecutor", "é"],
    ["untag", "alice/HelloExecutor"],
    ["visibility", "alice/HelloExecutor", "green"],
    ["login", "a/b"],
    ["push", "HelloExecutor", "--image", "maybe"],
    ["base", "import", "tiny", "nowhere.tar"],
    ["image", "inspect", "alice/HelloExecutor"],
    ["image", "export", "alice/HelloExecutor", "-o", "hello.tar"],
]


@pytest.mark.parametrize("words", FAULTS, ids=" ".join)
def test_an_error_with_json_is_the_same_sentence_on_stdout(pushed: Stage, words: list[str]) -> None:
    answer = pushed.lhub(*words, "--json")
    error = json.loads(answer.out)["error"]
    assert (sorted(error), error["code"]) == (["code", "hint", "message"], answer.code)
    assert answer.err == f"lhub: {error['message']}\n" + (f"hint: {error['hint']}\n" if error["hint"] else "")


def test_an_error_without_json_prints_nothing_on_stdout(pushed: Stage) -> None:
    answer = pushed.lhub("show", "alice/Nothing")
    assert (answer.code, answer.out) == (3, "")


@pytest.mark.parametrize("odd", ["\x1b[31mred", "a\x07b", "\u202eabc", "a\x9bb", "a\rb", "\udcff"])
def test_an_argument_with_terminal_escapes_is_said_without_them(pushed: Stage, odd: str) -> None:
    for words in (["pull", odd], ["push", odd], ["push", "HelloExecutor", "-t", odd], [odd], ["list", "--kind", odd]):
        answer = pushed.lhub(*words)
        assert answer.code in (2, 3)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", answer.out + answer.err)


@pytest.mark.parametrize("words", [["show"], ["push", "HelloExecutor"], ["push", "HelloExecutor", "-t"], ["login"]])
def test_a_name_cannot_forge_a_line_of_lhub_s_own(pushed: Stage, words: list[str]) -> None:
    answer = pushed.lhub(*words, "a\nlhub: all is well")
    assert answer.code in (2, 3)
    assert "\nlhub: all is well" not in answer.err


def test_a_message_with_terminal_escapes_is_logged_without_them(pushed: Stage) -> None:
    write_tree(pushed.here / "HelloExecutor", {"new.txt": "new"})
    assert pushed.lhub("push", "HelloExecutor", "-m", "\x1b]0;title\x07\u202edetsurt").code == 0
    log = pushed.lhub("log", "alice/HelloExecutor").out
    assert ("\x1b" in log, "\x07" in log, "\u202e" in log, "detsurt" in log) == (False, False, False, True)


def test_a_description_with_terminal_escapes_is_shown_without_them(pushed: Stage) -> None:
    config = config_yml("Evil", 'description: "\\u001b[2Jgone\\u202e"', 'url: "\\u0007"')
    write_tree(pushed.here / "Evil", {"config.yml": config, "executor.py": executor_py("Evil")})
    assert pushed.lhub("push", "Evil").code == 0
    shown = pushed.lhub("show", "alice/Evil").out
    assert ("\x1b" in shown, "\u202e" in shown, "\x07" in shown, "gone" in shown) == (False, False, False, True)


def test_a_file_name_with_terminal_escapes_is_refused_without_them(pushed: Stage) -> None:
    write_tree(pushed.here / "Evil", {"\x1b[31m.txt": "x"})
    answer = pushed.lhub("push", "Evil", "Evil")
    assert (answer.code, "\x1b" in answer.err, "control character" in answer.err) == (2, False, True)


def test_an_unexpected_fault_is_a_sentence_too(pushed: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> object:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("lhub.door.here", broken)
    answer = pushed.lhub("list")
    assert (answer.code, answer.out, "of all things" in answer.err, "Traceback" in answer.err) == (1, "", True, False)


def test_a_damaged_login_is_a_sentence(pushed: Stage) -> None:
    (pushed.home / ".lhub" / "login").write_bytes(b"\xff/../\n")
    answer = pushed.lhub("whoami")
    assert (answer.code, answer.out, "lhub login NAME" in answer.err) == (6, "", True)


# pipes


@pytest.mark.parametrize("words", ["list", "log alice/HelloExecutor", "--help", "list --json", "show a/b --json"])
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_a_reader_that_goes_away_is_no_fault(pushed: Stage, words: str, unbuffered: str) -> None:
    line = f"PYTHONUNBUFFERED={unbuffered} lhub {words} 2>stderr | head -0"
    answer = pushed.type(f"{line}; grep -E 'Traceback|Broken|Exception' stderr")
    assert (answer.out, answer.err) == ("", "")


@pytest.mark.parametrize("words", ["list", "show alice/HelloExecutor", "log alice/HelloExecutor", "--help", "nosuch"])
def test_there_is_no_colour_in_a_pipe(pushed: Stage, words: str) -> None:
    answer = pushed.lhub(*words.split(), TERM="xterm-256color", COLORTERM="truecolor")
    assert (bool(answer.out + answer.err), "\x1b" in answer.out + answer.err) == (True, False)


def test_notes_are_not_on_stdout(stage: Stage) -> None:
    answer = stage.lhub("login", "alice", "--json")
    assert (answer.json["namespace"], "made the registry" in answer.err) == ("alice", True)


def test_a_terminal_that_lacks_a_letter_gets_its_number(pushed: Stage) -> None:
    files = {"config.yml": config_yml("E", "description: œuvre"), "executor.py": executor_py("E")}
    write_tree(pushed.here / "Evil", files)
    assert pushed.lhub("push", "Evil").code == 0
    answer = pushed.type("PYTHONIOENCODING=latin-1 lhub show alice/E | cat")
    assert (answer.err, "description: \\u0153uvre" in answer.out) == ("", True)


# help


def test_the_help_shows_exactly_the_commands_that_exist(stage: Stage) -> None:
    text = stage.lhub("--help").out
    shown = re.findall(r"(?m)^  ([a-z]+)  ", text.partition("Everyday:")[2])
    assert shown == [words[0] for words in COMMANDS if len(words) == 1]


def test_the_help_shows_the_commands_in_their_groups(stage: Stage) -> None:
    headings = re.findall(r"(?m)^([A-Z][\w' ]+):$", stage.lhub("--help").out)
    assert headings == ["Options", *program.SECTIONS]


@pytest.mark.parametrize(
    "words", [[], ["hub"], ["auth"], ["base"], ["image"]], ids=lambda words: " ".join(words) or "lhub"
)
def test_a_group_alone_shows_its_help_line_by_line(stage: Stage, words: list[str]) -> None:
    alone, asked = stage.lhub(*words), stage.lhub(*words, "--help")
    assert asked.out in (alone.out, alone.err)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_help_has_usage_an_example_and_a_short_form(words: tuple[str, ...]) -> None:
    text = help_of(words)
    assert text.startswith(f"Usage: lhub {' '.join(words)} ")
    assert re.search(r"\n  Example:\n    .*\blhub ", text)
    assert "-h, --help" in text


def test_every_option_is_explained() -> None:
    silent = [
        (*words, option.name)
        for words, command in COMMANDS.items()
        for option in command.params
        if isinstance(option, click.Option) and not option.help
    ]
    assert silent == []


def test_every_command_takes_root_but_those_that_need_none() -> None:
    without = {words for words, command in COMMANDS.items() if not any(p.name == "root" for p in command.params)}
    groups = {("auth",), ("hub",), ("namespace",), ("token",), ("base",), ("image",)}
    assert without == groups | {("completion",), ("new",), ("hub", "new")}


def test_every_command_that_prints_a_value_takes_json() -> None:
    without = {words[-1] for words, command in COMMANDS.items() if not any(p.name == "as_json" for p in command.params)}
    groups = {"auth", "hub", "namespace", "token", "base", "image"}
    assert without == groups | {"init", "logout", "completion", "run", "serve", "portal"}


def test_the_same_commands_stand_under_jina_s_names() -> None:
    names = {"auth": ("login", "logout"), "hub": ("new", "push", "pull", "status", "list")}
    under = {words: command for words, command in COMMANDS.items() if len(words) == 2 and words[0] in names}
    assert set(under) == {(group, name) for group in names for name in names[group]}
    assert all(command is COMMANDS[words[-1:]] for words, command in under.items())


def help_of(words: tuple[str, ...]) -> str:
    """The help of a command, as `lhub ... --help` prints it."""
    context = click.Context(program.lhub, info_name="lhub", help_option_names=["-h", "--help"], max_content_width=100)
    for end in range(1, len(words) + 1):
        context = click.Context(COMMANDS[words[:end]], parent=context, info_name=words[end - 1])
    return context.get_help()


def examples_of(words: tuple[str, ...]) -> list[str]:
    """The example lines of a command's help."""
    block = re.search(r"\n  Example:\n((?:    .*\n)+)", help_of(words))
    return [line.strip() for line in block[1].splitlines()] if block else []


ROOT = "mkdir -p root/usr/bin && touch root/usr/bin/python3.11 && ln -s python3.11 root/usr/bin/python3"
ROOTFS = f"{ROOT} && tar -C root -c . > rootfs.tar"
BASE = f"{ROOTFS} && lhub base import tiny rootfs.tar"
IMAGE = f"{BASE} && lhub push MyExecutor -t v1 --image always --builder python"

SEALED = "lhub delete alice/MyExecutor --yes && lhub push MyExecutor --seal"
BEFORE = {
    "delete": "lhub tag alice/MyExecutor v1 --protect",
    "restore": "lhub delete alice/MyExecutor:nightly && lhub delete alice/MyExecutor --yes",
    "import": "lhub export alice/MyExecutor alice/weights -o all.tar",
    "verify": "lhub copy --all --to /mnt/backup/registry",
    "token delete": "lhub token create --name laptop",
    "share": f"{SEALED} && lhub login bob && lhub login alice",
    "unshare": f"{SEALED} && lhub login bob && lhub login alice && lhub share alice/MyExecutor --with bob",
    "run": "echo 'raise SystemExit' > old_script.py",
    "base": ROOTFS,
    "base list": BASE,
    "image": IMAGE,
    "image export": IMAGE,
    "image inspect": IMAGE,
}
"""What somebody has done who types the examples of a command."""


DOCKER = """#!/bin/sh
# an engine with one image, and no place for others: it looks whether it could take them
case "$*" in
version*) echo 28.2.2 ;;
"pull jinaai/jina:3.27") ;;
"save jinaai/jina:3.27") cat "$0.tar" ;;
"save jinaai/jina:3.27 -o "*) cp "$0.tar" "$4" ;;
"load -i "*) tar -xOf "$3" manifest.json | grep -q lhub.local/alice/myexecutor:v1 ;;
*) echo "docker: $*?" >&2; exit 125 ;;
esac
"""


def stand_in_for_docker(folder: Path) -> None:
    """Put a `docker` into a folder that knows what the examples type, and saves an image as docker does."""
    (folder / "docker.tar").write_bytes(tarred(docker_save([tarred(rootfs())], tags=["jinaai/jina:3.27"])))
    (folder / "docker").write_text(DOCKER)
    (folder / "docker").chmod(0o755)


ENDLESS = {("serve",), ("portal",)}
"""Their examples never end by themselves: tests/test_run.py and tests/test_portal.py run them."""


@pytest.mark.parametrize("words", [(), *sorted({*COMMANDS} - ENDLESS)], ids=lambda words: " ".join(words) or "lhub")
def test_the_examples_run(pushed: Stage, tmp_path: Path, words: tuple[str, ...]) -> None:
    for place in ("data", "team", "backup"):
        (tmp_path / "mnt" / place).mkdir(parents=True)
    version = json.loads(pushed.lhub("show", "alice/MyExecutor", "--json").out)["version"]
    meant = {"/mnt/": f"{tmp_path}/mnt/", "2026-03-01": time.strftime("%Y-%m-%d"), "3f2a9c1d": version[:8]}
    meant["ssh otherhost"] = "env"
    meant["--group ml"] = f"--group {os.getegid()}"
    for said in {words[-1:], words}:
        before = BEFORE.get(" ".join(said), "true")
        assert pushed.type(before.replace("/mnt/", meant["/mnt/"])).code == 0
    jina = tmp_path / "bin" / "jina"
    jina.write_text('#!/bin/sh\ntest "$1" = hub || { test "$1" = executor && test -f "$3"; }\n')
    jina.chmod(0o755)
    stand_in_for_docker(tmp_path / "bin")
    examples = examples_of(words)
    assert examples
    for example in examples:
        if " pull " in example:
            shutil.rmtree(pushed.here / "MyExecutor")
        answer = pushed.type(re.sub("|".join(meant), lambda said: meant[said[0]], example))
        assert (answer.code, "lhub" in example) == (0, True), f"{example}\n{answer.err}"


# the program


def test_python_m_lhub_is_lhub(shell: Shell) -> None:
    assert shell("--version", check=True).out == f"lhub {lhub.__version__}\n"


def test_the_installed_program_is_lhub(shell: Shell) -> None:
    installed = Path(sys.executable).parent / "lhub"
    if not installed.exists():
        pytest.skip("lhub is not installed beside this Python")
    done = subprocess.run([installed, "--version"], env=shell.environment(), capture_output=True, text=True, check=True)
    assert done.stdout == f"lhub {lhub.__version__}\n"


def test_help_and_version_and_what_only_asks_make_nothing(stage: Stage) -> None:
    for words in ("--help", "--version", "push --help", "completion fish", "whoami", "logout", "list", "show a/b"):
        stage.lhub(*words.split())
    assert snapshot(stage.home) == {}


def test_a_home_that_is_no_folder_serves_a_reader(pushed: Stage) -> None:
    home = pushed.home / "file"
    home.write_text("not a folder")
    answer = pushed.lhub("list", "--root", str(pushed.home / ".lhub" / "registry"), HOME=str(home))
    assert (answer.code, "alice/HelloExecutor" in answer.out) == (0, True)


def test_a_current_folder_that_is_gone_is_a_sentence(pushed: Stage) -> None:
    answer = pushed.type(f"mkdir gone && cd gone && rmdir ../gone && {shlex.join(['lhub', 'show', 'alice/Nothing'])}")
    assert (answer.code != 0, answer.out, "Traceback" in answer.err, "lhub: " in answer.err) == (True, "", False, True)
