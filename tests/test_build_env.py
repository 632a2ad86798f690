"""`--build-env`: what a name and a value may be, and that nobody finds a value anywhere, neither then nor later."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from lhub.errors import UsageError
from lhub.identity import remember
from lhub.orders import Order
from lhub.registry import Registry
from tests.conftest import Shell, snapshot, write_tree
from tests.test_builds import ended, until, waiting
from tests.test_stories import run_lhub

VALUE = "v4lue=of/a t0ken&more+é"
MARK = "lhub-search-finds-this"


@pytest.fixture
def source(make_executor: Callable[..., Path]) -> Path:
    """An Executor whose requirements use two variables."""
    return make_executor("Hello", requirements__txt="a @ https://u:${TOKEN}@host/a.whl\nb==${VERSION_2}\n")


# names


@pytest.mark.parametrize("name", ["TOKEN", "A", "2FA", "A_1_", "X" * 200])
def test_capital_letters_digits_and_underscores_are_a_name(registry: Registry, hello: Path, name: str) -> None:
    assert registry.push(hello, build_env={name: "value"}).new


@pytest.mark.parametrize("name", ["_TOKEN", "token", "Token", "TO-KEN", "TOKEN ", "ÄB", "A.B", "", "A\n", "A\0"])
def test_anything_else_is_none_and_is_not_repeated(registry: Registry, hello: Path, name: str) -> None:
    """For somebody may have typed a secret in its place."""
    before = snapshot(registry.root)
    with pytest.raises(UsageError, match="the name of variable 1 of --build-env") as caught:
        registry.push(hello, build_env={name: VALUE})
    assert (VALUE in str(caught.value), len(name) > 1 and name in str(caught.value)) == (False, False)
    assert snapshot(registry.root) == before


def test_every_fault_is_told_at_once(registry: Registry, hello: Path) -> None:
    with pytest.raises(UsageError) as caught:
        registry.push(hello, tags=["a b"], build_env={"_A": "1", "FINE": "2", "b": "3", "EMPTY": ""})
    assert [words in str(caught.value) for words in ("variable 1", "variable 3", "EMPTY", "a space")] == [True] * 4
    assert "variable 2" not in str(caught.value)


# what the requirements use


def test_what_is_missing_is_told_with_the_very_options_to_add(registry: Registry, source: Path) -> None:
    before = snapshot(registry.root)
    with pytest.raises(UsageError) as caught:
        registry.push(source)
    assert (caught.value.code, caught.value.hint) == (2, "add --build-env TOKEN=VALUE --build-env VERSION_2=VALUE")
    with pytest.raises(UsageError) as caught:
        registry.push(source, build_env={"TOKEN": VALUE})
    assert caught.value.hint == "add --build-env VERSION_2=VALUE"
    assert snapshot(registry.root) == before


def test_what_a_dry_run_refuses_is_what_the_push_refuses(registry: Registry, source: Path) -> None:
    with pytest.raises(UsageError, match=r"\$\{TOKEN\}, \$\{VERSION_2\}"):
        registry.plan(source)
    assert registry.plan(source, build_env={"TOKEN": "a", "VERSION_2": "b"}).new


def test_a_manifest_names_them(registry: Registry, source: Path) -> None:
    registry.push(source, build_env={"TOKEN": VALUE, "VERSION_2": "2", "UNUSED": "3"})
    assert registry.show("alice/Hello").manifest["about"]["build_env"] == ["TOKEN", "VERSION_2"]


def test_other_values_make_no_other_version(registry: Registry, source: Path) -> None:
    versions = {registry.push(source, build_env={"TOKEN": each, "VERSION_2": each}).version for each in ("1", "2")}
    assert len(versions) == 1


def test_a_bare_name_is_left_alone_with_a_warning(registry: Registry, make_executor: Callable[..., Path]) -> None:
    said: list[str] = []
    alice = Registry(registry.root, namespace="alice", notes=said.append)
    alice.push(make_executor("Hello", requirements__txt="a-$TOKEN\n"))
    assert said == ["the requirements use $TOKEN; pip expands only ${NAME}"]


# the command line


@pytest.fixture
def alice(shell: Shell, source: Path) -> Shell:
    """Somebody logged in, in whose current folder the Executor is."""
    remember(str(shell.home / ".lhub"), "alice")
    registry_of(shell).login("alice")
    source.rename(shell.cwd / "Hello")
    return shell


def registry_of(shell: Shell) -> Registry:
    return Registry(shell.home / ".lhub/registry", namespace="alice")


def test_a_value_may_hold_an_equals_sign(alice: Shell) -> None:
    words = ("push", "Hello", "--dry-run", "--build-env", "TOKEN=a=b=", "--build-env=VERSION_2==")
    assert run_lhub(words, alice.cwd, alice.environment()).code == 0


def test_a_name_alone_takes_its_value_from_the_environment(alice: Shell) -> None:
    words = ("push", "Hello", "--dry-run", "--build-env", "TOKEN", "--build-env=VERSION_2")
    missing, given = (
        run_lhub(words, alice.cwd, alice.environment(TOKEN="a", **more)) for more in ({}, {"VERSION_2": "b"})
    )
    assert (missing.code, "the 2. one is not written KEY=VALUE" in missing.err) == (2, True)
    assert given.code == 0


MISTYPED: dict[str, tuple[str, ...]] = {
    "a space for the sign": ("push", "--build-env", "TOKEN", VALUE),
    "no name": ("push", "Hello", "--build-env", VALUE.replace("=", "")),
    "twice": ("push", "Hello", "--build-env", f"TOKEN={VALUE}", "--build-env", "TOKEN=b"),
    "another fault": ("push", "nothing", "--build-env", f"TOKEN={VALUE}", "--nonsense"),
}


@pytest.mark.parametrize("fault", MISTYPED)
def test_no_sentence_repeats_what_may_be_a_value(alice: Shell, fault: str) -> None:
    answer = alice(*MISTYPED[fault], "--json")
    assert answer.code != 0
    said = f"{answer.out}{answer.err}".encode()
    assert (found(said, VALUE), found(said, VALUE.replace("=", ""))) == ([], [])


def test_a_path_behind_a_name_alone_is_told(alice: Shell) -> None:
    answer = run_lhub(("push", "--build-env", "TOKEN", "./nothing"), alice.cwd, alice.environment(TOKEN=VALUE))
    assert answer.err.startswith("lhub: ./nothing is not here\n")


def test_a_short_value_leaves_a_sentence_to_be_read(alice: Shell) -> None:
    answer = alice("push", "./nothing", "--build-env", "TOKEN=e")
    assert answer.err.startswith("lhub: ./nothing is not here\n")


def test_a_value_that_is_no_utf_8_is_taken(alice: Shell) -> None:
    words = ("push", "Hello", "--build-env", "TOKEN=a\udcff", "--build-env", "VERSION_2=2", "--verbose")
    assert run_lhub(words, alice.cwd, alice.environment()).code == 0


# nobody finds a value


def forms(value: str) -> dict[str, bytes]:
    """A value as it may have been written somewhere."""
    data = value.encode()
    found = {"plain": data, "quoted": quote(value).encode(), "quoted whole": quote(value, safe="").encode()}
    found["form"] = quote_plus(value).encode()
    for before in range(3):
        whole = base64.b64encode(bytes(before) + data)
        found[f"base64 at {before}"] = whole[(0, 2, 3)[before] : len(whole) - 4]
    found["hex"] = data.hex().encode()
    return found


def found(data: bytes, value: str) -> list[str]:
    return [form for form, written in forms(value).items() if written in data]


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every name below a folder, every file's bytes, every loose object of git inflated, and what is in packs."""
    for path in [folder, *folder.rglob("*")]:
        name = os.fsencode(path)
        yield str(path), name + (os.fsencode(os.readlink(path)) if path.is_symlink() else b"")
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            yield str(path), data
            for piece in _inflated(path, data):
                yield f"{path} (inflated)", piece


def _inflated(path: Path, data: bytes) -> Iterator[bytes]:
    """What zlib makes of a loose object, and of every place in a pack at which a stream begins."""
    if path.suffix == ".pack":
        starts = [match.start() for match in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", data)]
    else:
        starts = [0] if data[:1] == b"\x78" else []
    for start in starts:
        try:
            yield zlib.decompressobj().decompress(data[start:])
        except zlib.error:
            continue


def search(folder: Path, value: str) -> list[str]:
    return [f"{where}: {form}" for where, data in contents(folder) for form in found(data, value)]


def command_lines(value: str) -> list[bytes]:
    """The command lines of all processes of this machine that hold a value."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes())
        except OSError:  # it has ended, or is another's
            continue
    assert any(sys.executable.encode() in line for line in lines)
    return [line for line in lines if found(line, value)]


def test_this_search_would_find_a_value(registry: Registry, hello: Path) -> None:
    """In a file, a name, a link, a loose object and a pack; plain, quoted, and in base64 of something longer."""
    registry.push(write_tree(hello, {"notes.txt": f"a {MARK} b"}), message=MARK)
    where = "\n".join(search(registry.root, MARK))
    assert [part in where for part in ("/versions/", "/objects/", "(inflated)", ".pack (inflated)")] == [True] * 4
    assert found(quote(VALUE).encode(), VALUE) == ["quoted"]
    for before in range(4):
        assert len(found(base64.b64encode(b"x" * before + VALUE.encode() + b"yz"), VALUE)) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the command lines of processes are read under /proc")
@pytest.mark.parametrize("detached", [(), ("--detach",)])
def test_nobody_finds_a_value_while_a_push_runs_nor_later(alice: Shell, detached: tuple[str, ...]) -> None:
    """Looked for while the push waits for the lock of its resource: all is staged then, and nothing published."""
    registry, source = registry_of(alice), alice.cwd / "Hello"
    first = registry.push(source, build_env={"TOKEN": "before", "VERSION_2": "2"}).task_id
    (source / "notes.txt").write_text("changed")
    words = ["push", "Hello", "--build-env", f"TOKEN={VALUE}", f"--build-env=VERSION_2={VALUE}", "--verbose", "--json"]
    with waiting(registry):
        pushing = subprocess.Popen(
            [sys.executable, "-m", "lhub", *words, *detached],
            cwd=alice.cwd,
            env=alice.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        task = another_than(first, registry)
        until(registry, task, "start", "publish")
        assert command_lines(VALUE) == []
        assert search(alice.home, VALUE) == []
    said = b"".join(pushing.communicate())
    assert ended(registry, task).state == "succeeded"
    assert search(alice.home, VALUE) == []
    assert found(said + "".join(map(str, registry.build(task_id=task).follow(replay=True))).encode(), VALUE) == []


def another_than(first: str, registry: Registry) -> str:
    """The task of the push that was begun after another."""
    deadline = time.monotonic() + 30
    while (task := registry.build("alice/Hello").task) == first:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return task


def test_a_failed_push_leaves_no_value_either(alice: Shell) -> None:
    """Not even one whose failure tells it."""
    place = alice.cwd / VALUE.replace("/", "-")
    (alice.cwd / "Hello").rename(place)
    value = place.name
    given = ("--build-env", f"TOKEN={value}", "--build-env", "VERSION_2=2")
    (place / "executor.py").unlink()
    answer = alice("push", place, *given, "--json")
    assert (answer.code, "no Executor" in answer.err) == (2, True)
    assert found(f"{answer.out}{answer.err}".encode(), value) == []
    assert search(alice.home, value) == []


def test_what_asks_for_a_push_does_not_show_its_values() -> None:
    assert VALUE not in repr(Order(path=".", build_env={"TOKEN": VALUE}))
