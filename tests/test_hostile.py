"""Hostile and careless neighbours: three users with real uids in one shared registry, and a team of two of them.

What a neighbour may plant, by hand or at the worst moment, makes nobody else's lhub run code, hang, read or write
outside, fill a disk, end in a traceback, or tell a secret. A command that needs more than a few seconds hangs.
"""

from __future__ import annotations

import ctypes
import fcntl
import io
import json
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha1, sha256
from itertools import count
from pathlib import Path

import pytest

from lhub.cli.main import main
from lhub.disk import Pen
from lhub.errors import LhubError, clean
from lhub.manifest import LARGE, Manifest
from lhub.registry import Registry
from tests.conftest import PROJECT, Answer, config_yml, executor_py, snapshot, write_tree
from tests.test_collection import Future
from tests.test_crowds import Crowd, become, needs_root, together

pytestmark = [needs_root, pytest.mark.slow]

ALICE, MALLORY, CAROL, TEAM = 20001, 20002, 20003, 30001
GROUPS = {ALICE: (TEAM,), MALLORY: (TEAM,), CAROL: ()}
NAMES = {ALICE: "alice", MALLORY: "mallory", CAROL: "carol"}
SECRET = "what alice alone may read"
SECONDS, PATIENCE = 4.0, 25
"""Seconds of work after which a command counts as hanging, and of waiting."""
ROOM = 64 << 20
"""Bytes of the largest file that any command here has reason to write."""
TERABYTE = 1 << 40
PLACE = "/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp"

Deed = Callable[[Path], object]
"""What a neighbour does to a folder."""


@dataclass(frozen=True, kw_only=True)
class Town:
    """The registry, the homes of its three users, and a program that tells when anybody ran it."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "registry"

    @property
    def team(self) -> Path:
        return self.root / "vision"

    @property
    def theirs(self) -> Path:
        """What mallory pushed, and now does with as he likes."""
        return self.root / "mallory/X"

    @property
    def ran(self) -> Path:
        return self.folder / "canary/ran"

    @property
    def trap(self) -> Path:
        """A program that leaves its caller's uid behind."""
        return self.folder / "canary/trap"

    def home(self, uid: int) -> Path:
        return self.folder / "home" / NAMES[uid]

    def registry(self, uid: int, *, pen: Pen | None = None, login: bool = True) -> Registry:
        return Registry(self.root, namespace=NAMES[uid] if login else None, pen=pen, timeout=5)

    def be(self, uid: int, work: Callable[[], object]) -> int:
        """Let a user do something; how his process ended."""
        return together(partial(self._be, uid, work))[0]

    def _be(self, uid: int, work: Callable[[], object], ahead: Callable[[], object] = lambda: None) -> None:
        ahead()
        become(uid, *GROUPS[uid])
        os.umask(0o022)
        os.chdir(self.home(uid))
        for name in [name for name in os.environ if name.startswith(("LHUB_", "GIT_"))]:
            del os.environ[name]
        os.environ |= {"HOME": str(self.home(uid)), "LHUB_ROOT": str(self.root)}
        if uid != MALLORY:  # whom nobody keeps from anything
            limit()
        work()

    def plant(self, uid: int, deed: Deed, path: Path) -> None:
        """Let a user plant something; he is not kept from it."""
        assert self.be(uid, partial(deed, path)) == 0

    def lhub(self, uid: int, *words: str | Path, ahead: Callable[[], object] = lambda: None) -> Answer:
        """One command of a user."""
        return self.sweep(uid, [words], ahead)[0]

    def sweep(
        self, uid: int, commands: Sequence[Sequence[str | Path]], ahead: Callable[[], object] = lambda: None
    ) -> list[Answer]:
        """Commands of a user, one after the other in one process, in which root does `ahead` first."""
        into = Path(tempfile.mkdtemp(dir=self.folder))
        into.chmod(0o777)
        code = together(partial(self._be, uid, partial(_speak, commands, into), ahead))[0]
        told = [(into / f"{n}").read_text().split("\0") for n in range(len(os.listdir(into)))]
        answers = [Answer(code=int(code), out=out, err=err) for code, out, err in told]
        killed = " ".join(map(str, commands[len(answers)])) if len(answers) < len(commands) else ""
        assert code == 0, f"lhub {killed} was killed by signal {-code}"
        shutil.rmtree(into)
        return answers


def _speak(commands: Sequence[Sequence[str | Path]], into: Path) -> None:
    for number, words in enumerate(commands):
        out, err = io.StringIO(), io.StringIO()
        limit()
        with redirect_stdout(out), redirect_stderr(err):
            code = main([str(word) for word in words])
        (into / f"{number}").write_text(f"{code}\0{out.getvalue()}\0{err.getvalue()}")


def limit() -> None:
    """From now on a few seconds of work, some more of waiting, and files of a decent size; then this process dies."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(PATIENCE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, ROOM))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


# the town


@pytest.fixture(scope="module")
def model() -> Iterator[Path]:
    """The town as it is before anybody does anything, made once."""
    folder = Path(tempfile.mkdtemp(prefix="lhub-model-", dir=PLACE))
    folder.chmod(0o755)
    town = Town(folder=folder)
    for uid in NAMES:
        town.home(uid).mkdir(parents=True, mode=0o700)
        write_tree(town.home(uid), {"precious.txt": "years of work\n", "docs/thesis.txt": "years of work\n"})
        for path in [town.home(uid), *town.home(uid).rglob("*")]:
            os.chown(path, uid, uid)
    town.ran.parent.mkdir()
    town.ran.parent.chmod(0o777)
    town.trap.write_text(f"#!/bin/sh\nid -u >> {town.ran}\n")
    town.trap.chmod(0o755)
    Registry(town.root).init(shared=True)
    for number in (1, 2):
        config = config_yml("Hello", f"description: number {number}")
        files = {"config.yml": config, "executor.py": executor_py("Hello", f"# {number}"), "a/b.txt": "b\n"}
        write_tree(folder / f"src/{number}", files)
        private = {"config.yml": config, "executor.py": executor_py("Hello", f"# {SECRET} {number}")}
        write_tree(folder / f"src/private{number}", private)
    _learn(town)
    for uid in NAMES:
        assert town.be(uid, partial(_settle, town, uid)) == 0
    yield folder
    shutil.rmtree(folder)


def _settle(town: Town, uid: int) -> None:
    """What each has pushed, in two versions."""
    registry, source = town.registry(uid), town.folder / "src"
    assert main(["login", NAMES[uid]]) == 0
    for number in ("1", "2") if uid != CAROL else ("1",):
        tags = ["v1", "latest"] if number == "1" else ["latest"]
        registry.push(source / number, "X", tags=tags)
        if uid == ALICE:
            registry.push(source / f"private{number}", "Private", private=True, tags=tags)
    if uid != CAROL:
        if uid == ALICE:
            registry.create_namespace("vision", group=str(TEAM))
        registry.push(source / "1", f"vision/{NAMES[uid].title()}", tags=["v1", "latest"])


def _learn(town: Town) -> None:
    """Do everything once as root: what Python loads late lies where another user may not read."""
    import difflib
    import grp
    import queue
    import tarfile

    assert None not in (difflib, grp, queue, tarfile)
    registry = Registry(town.folder / "first", namespace="root")
    for number in ("1", "2"):
        registry.push(town.folder / f"src/{number}", "X", tags=[f"v{number}", "latest"])
    (registry.root / "root/X/resource.yaml").write_text("{format: 1, kind: executor}\n")
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        for words in (*everything("root/X", town.folder / "learnt"), *own("root", town.folder / "src/1")):
            main(["--root", str(registry.root), *map(str, words)])
    registry.copy("root/X", to=town.folder / "learnt.copy")


@pytest.fixture
def town(model: Path) -> Iterator[Town]:
    """A town of one's own."""
    folder = Path(tempfile.mkdtemp(prefix="lhub-town-", dir=PLACE))
    subprocess.run(["cp", "-a", f"{model}/.", folder], check=True)
    made = Town(folder=folder)
    made.trap.write_text(f"#!/bin/sh\nid -u >> {made.ran}\n")
    yield made
    shutil.rmtree(folder)


def copies(town: Town, names: Sequence[str], of: str = "mallory/X") -> dict[str, Path]:
    """As many resources of mallory's, all alike."""
    there = {name: (town.root / of).parent / f"C{number}" for number, name in enumerate(names)}
    for path in there.values():
        subprocess.run(["cp", "-a", town.root / of, path], check=True)
    return there


def ref(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def everything(name: str, out: Path) -> list[tuple[str | Path, ...]]:
    """What can be asked of all, and of another's resource."""
    return [*looks(), *asks(name, out)]


def looks() -> list[tuple[str, ...]]:
    return [
        ("list",),
        ("search", "number"),
        ("namespace", "list"),
        ("doctor", "--fix"),
        ("gc", "--dry-run"),
        ("gc", "--yes"),
        ("verify",),
    ]


def asks(name: str, out: Path) -> list[tuple[str | Path, ...]]:
    return [
        ("show", name),
        ("pull", name, out / "pulled"),
        ("path", name),
        ("log", name),
        ("diff", f"{name}:v1", "latest"),
        ("export", name, "-o", out / "exported.tar"),
        ("copy", name, "--to", out / "copied", "--as", "alice"),
    ]


def own(mine: str, source: Path) -> list[tuple[str | Path, ...]]:
    """What a user does with what is his."""
    return [
        ("login", mine),
        ("push", source, "X", "-t", "mine", "-t", "latest"),
        ("tag", f"{mine}/X", "again"),
        ("delete", f"{mine}/X", "--yes"),
        ("restore", f"{mine}/X"),
    ]


def see_harmless(commands: Sequence[Sequence[str | Path]], answers: Sequence[Answer]) -> None:
    """Every command ended as lhub ends one, in words that move no cursor."""
    spoken = [(" ".join(map(str, words)), answer) for words, answer in zip(commands, answers, strict=True)]
    odd = [(words, answer.err) for words, answer in spoken if "unexpected fault" in answer.err]
    assert odd == []
    assert [words for words, answer in spoken for text in (answer.out, answer.err) if clean(text) != text] == []


def see_all_well(town: Town, *names: str, ahead: Callable[[], object] = lambda: None) -> None:
    """Alice asks for everything, of what mallory did too, and goes on with her own work: nothing comes of it."""
    home, private = snapshot(town.home(ALICE)), snapshot(town.root / "alice/Private")
    out = Path(tempfile.mkdtemp(dir=town.folder))
    os.chown(out, ALICE, ALICE)
    outs = [out / str(number) for number in range(len(names))]
    for each in outs:
        each.mkdir()
        os.chown(each, ALICE, ALICE)
    mine = own("alice", town.folder / "src/1")
    asked = [command for name, each in zip(names, outs, strict=True) for command in asks(name, each)]
    commands = [*looks(), *asked, *mine, ("list",)]
    answers = town.sweep(ALICE, commands, ahead)
    see_harmless(commands, answers)
    looked, did = answers[: len(looks())], answers[-len(mine) - 1 :]
    assert [answer.err for answer in looked if answer.code not in (0, 6)] == []
    assert [answer.code for answer in looked[:-1]] == [0] * (len(looked) - 1)
    assert [answer.err for answer in did if answer.code != 0] == []
    assert "alice/X" in did[-1].out
    assert not town.ran.exists()
    assert [answer for answer in answers if SECRET in answer.out + answer.err] == []
    assert [path for path in out.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()] == []
    assert {name: home[name] for name in home if not name.startswith(".lhub")} == {
        name: each for name, each in snapshot(town.home(ALICE)).items() if not name.startswith(".lhub")
    }
    assert snapshot(town.root / "alice/Private") == private


# what mallory plants in his own


def unlock(path: Path) -> None:
    """As an owner does who wants to change what cannot be changed."""
    for folder in (path, *path.parents[:5]):
        status = os.lstat(folder) if os.path.lexists(folder) else None
        if status and stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
            folder.chmod(status.st_mode | 0o200)


def remove(path: Path) -> None:
    unlock(path)
    if not path.is_symlink() and path.is_dir():
        for folder, _, _ in os.walk(path):
            os.chmod(folder, 0o755)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def a_link_to(target: str | Path) -> Deed:
    def plant(path: Path) -> None:
        remove(path)
        path.symlink_to(target)

    return plant


def a_fifo(path: Path) -> None:
    remove(path)
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    remove(path)
    os.chdir(path.parent)  # the name of a socket is short
    socket.socket(socket.AF_UNIX).bind(path.name)


def a_folder(path: Path) -> None:
    remove(path)
    path.mkdir()
    (path / "inner").write_text("x")


def a_closed_one(path: Path) -> None:
    unlock(path.parent)
    path.touch()
    path.chmod(0)


def a_sparse_terabyte(path: Path) -> None:
    if path.is_symlink() or not path.is_file():
        remove(path)
    unlock(path.parent)
    path.touch()
    path.chmod(0o644)
    with path.open("ab") as file:
        file.truncate(TERABYTE)


def a_file_of(content: bytes) -> Deed:
    def plant(path: Path) -> None:
        remove(path)
        path.write_bytes(content)

    return plant


SHAPES: dict[str, Deed] = {
    "a link to a victim's file": a_link_to("{home}/precious.txt"),
    "a link to what has no end": a_link_to("/dev/zero"),
    "a FIFO": a_fifo,
    "a socket": a_socket,
    "a folder": a_folder,
    "closed": a_closed_one,
    "a sparse terabyte": a_sparse_terabyte,
}


def shaped(town: Town, shape: str, path: Path) -> Deed:
    """What is planted at a path; a link to a victim's file is one to alice's."""
    if shape == "a link to a victim's file":
        return a_link_to(town.home(ALICE) / "precious.txt")
    return SHAPES[shape]


DOCUMENTS = (
    "resource.yaml",
    "latest",
    ".protected.latest",
    "latest/manifest.yaml",
    "latest/SHA256SUMS",
    "latest/files",
    "latest/files/executor.py",
    ".lhub/lock",
    ".lhub/recorded.json",
    ".lhub/damaged",
    ".lhub/versions/.tmp.x.lock",
    ".lhub/history.git/config",
    ".lhub/history.git/packed-refs",
    ".lhub/history.git/refs/heads/main",
    ".lhub/history.git/objects/pack/pack-x.pack",
    ".lhub/history.git/objects/info/alternates",
    ".lhub/history.git/lfs/objects/aa",
)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_odd_thing_in_the_place_of_a_file_does_anything_to_a_stranger(town: Town, shape: str) -> None:
    places = copies(town, DOCUMENTS)
    for document, resource_folder in places.items():
        top, _, below = document.partition("/")
        folder = resource_folder / (os.readlink(resource_folder / "latest") if top == "latest" and below else top)
        path = folder / below if below else folder
        town.plant(MALLORY, shaped(town, shape, path), path)
    out = town.home(ALICE) / "docs"
    asked = [words for path in places.values() for words in asks(ref(path), out / path.name)]
    wanted = [words for words in asked if words[0] in ("show", "pull", "log")]
    see_harmless(wanted, town.sweep(ALICE, wanted))
    shutil.rmtree(out)
    see_all_well(town, *(ref(places[name]) for name in ("latest", "latest/manifest.yaml")))


FOLDERS = (
    ".lhub",
    ".lhub/versions",
    ".lhub/builds",
    ".lhub/history.git",
    ".lhub/history.git/objects",
    ".lhub/history.git/objects/pack",
    ".lhub/history.git/refs",
    ".lhub/history.git/refs/heads",
    ".lhub/history.git/lfs",
    ".lhub/history.git/lfs/objects",
)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_that_is_a_link_to_a_victim_s_gives_nothing_of_his_away(town: Town, folder: str) -> None:
    """What alice then pulls, exports or copies under mallory's name would go where her private bytes may not."""
    target = town.root / "alice/Private"

    def plant(path: Path) -> None:
        a_link_to(target / folder)(path / folder)
        for tag in ("latest", "v1"):  # he cannot read it, but a version's id may be known
            a_link_to(ids[tag])(path / tag)

    ids = {tag: os.readlink(target / tag) for tag in ("latest", "v1")}
    town.plant(MALLORY, plant, town.theirs)
    see_all_well(town, "mallory/X")


@pytest.mark.parametrize("target", ["alice/Private", "alice", "../home/alice", "."])
def test_a_link_in_the_place_of_a_resource_or_a_namespace_leads_nobody_anywhere(town: Town, target: str) -> None:
    def plant(root: Path) -> None:
        for place in ("mallory/Y", "Zoe", "_/Y", "mallory/X/Y", "_/.trash/1.Y", "mallory/.trash"):
            a_link_to(root / target)(root / place)

    town.plant(MALLORY, plant, town.root)
    commands = [*looks()[:4], *asks("mallory/Y", town.home(ALICE) / "out"), ("list", "Zoe"), ("pull", "Y")]
    home = snapshot(town.home(ALICE) / "docs")
    answers = town.sweep(ALICE, commands)
    see_harmless(commands, answers)
    assert [answer.code for answer in answers[4:-2]] == [3] * 7
    assert [answer.code for answer in answers[-2:]] == [3, 3]
    assert snapshot(town.home(ALICE) / "docs") == home


# documents that are too much


def manifest(about: bytes = b"", size: int = 1, sums: bytes = b"") -> bytes:
    """A manifest whose `about` is anything."""
    head = b"format: 1\nkind: executor\n"
    files = f'files: {{count: 1, bytes: {size}, sha256sums: "{sha256(sums).hexdigest()}"}}\nexecutable: []\n'.encode()
    return head + about + files


def laughs(depth: int = 60) -> bytes:
    lines = ["a0: &a0 [x, x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, depth))]
    return "\n".join(lines).encode() + b"\n"


def merges(depth: int = 60) -> bytes:
    lines = ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}, *a{n - 1}]}}" for n in range(1, depth))]
    return "\n".join(lines).encode() + b"\n"


BOMBS: dict[str, Callable[[], bytes]] = {
    "aliases of aliases": lambda: laughs() + manifest(),
    "merge keys of merge keys": lambda: merges() + manifest(),
    "a key twice": lambda: manifest(b"kind: files\n"),
    "100,000 levels": lambda: b"about: " + b"[" * 100_000,
    "100,000 levels of keys": lambda: b"about:\n" + b"".join(b" " * n + b"a:\n" for n in range(1, 2_000)),
    "a program": lambda: b"about: !!python/object/apply:os.system [id]\n" + manifest(),
    "4 MiB of keys": lambda: manifest(b"about: {" + b"".join(b"k%07d: 1, " % n for n in range(300_000)) + b"}\n"),
    "4 MiB of values": lambda: manifest(b"about: {a: [" + b"1," * 1_900_000 + b"1]}\n"),
    "4 MiB of values and no kind": lambda: b"format: 1\nabout: [" + b"1," * 1_900_000 + b"1]\n",
    "4 MiB of directives": lambda: b"".join(b"%%TAG !%d! x:y\n" % n for n in range(230_000)) + b"--- {a: 1}\n",
    "4 MiB of our own form": lambda: b"format: 1\nkind: executor\nabout:\n  a:\n" + b"  - x\n" * 690_000,
    "not UTF-8": lambda: b"about: \xff\xfe\n",
    "NULs": lambda: bytes(LARGE),
}


def publish(path: Path, document: bytes, sums: bytes = b"", tag: str = "latest") -> None:
    """A version by hand: its id is right, so that its documents are read."""
    version = path / ".lhub/versions" / sha256(document).hexdigest()
    (version / "files").mkdir(parents=True)
    (version / "manifest.yaml").write_bytes(document)
    (version / "SHA256SUMS").write_bytes(sums)
    remove(path / tag)
    (path / tag).symlink_to(f".lhub/versions/{version.name}")


@pytest.mark.parametrize("bomb", BOMBS)
def test_no_manifest_keeps_a_stranger_waiting(town: Town, bomb: str) -> None:
    """The listing reads it, so what it costs everybody pays with every command."""
    town.plant(MALLORY, partial(publish, document=BOMBS[bomb]()), town.theirs)
    one = [("show", "mallory/X"), ("pull", "mallory/X", "out"), ("log", "mallory/X")]
    commands = [("list",), ("search", "number"), ("doctor",), ("verify",), *one]
    answers = town.sweep(ALICE, commands)
    see_harmless(commands, answers)
    assert "alice/X" in answers[0].out


@pytest.mark.parametrize("document", ["resource.yaml", "namespace.yaml"])
def test_no_small_document_keeps_a_stranger_waiting(town: Town, document: str) -> None:
    places = copies(town, list(BOMBS)) if document == "resource.yaml" else dict.fromkeys(BOMBS, town.theirs)
    for bomb, path in places.items():
        planted = (path if document == "resource.yaml" else path.parent) / document
        town.plant(MALLORY, a_file_of(BOMBS[bomb]()), planted)
        if document == "resource.yaml" or bomb == list(BOMBS)[-1]:
            commands = [("show", ref(path)), ("log", ref(path)), ("pull", ref(path), town.home(ALICE) / path.name)]
            see_harmless(commands, town.sweep(ALICE, commands))
    commands = [("list",), ("search", "number"), ("verify",), ("doctor",), ("list", "alice")]
    answers = town.sweep(ALICE, commands)
    see_harmless(commands, answers)
    assert "alice/X" in answers[0].out


def test_no_registry_yaml_of_another_s_keeps_a_stranger_waiting(town: Town) -> None:
    (town.folder / "square").mkdir()
    commands = list[tuple[str | Path, ...]]()
    for number, bomb in enumerate(BOMBS):
        root = write_tree(town.folder / f"square/{number}", {"registry.yaml": BOMBS[bomb]()})
        commands += [("--root", root, "list"), ("--root", root, "pull", "mallory/X")]
    answers = town.sweep(ALICE, commands)
    see_harmless(commands, answers)
    assert [answer.code for answer in answers if answer.code not in (1, 3, 6)] == []


def sums_of(paths: Sequence[bytes], content: bytes = b"x") -> bytes:
    return b"".join(b"%s  %s\n" % (sha256(content).hexdigest().encode(), path) for path in paths)


@pytest.mark.parametrize(
    "path", ["../../up.txt", "/tmp/absolute.txt", "a/../../b.txt", ".git/hooks/post-checkout", "a//b"]
)
def test_no_path_of_a_version_leads_out_of_where_it_is_laid_out(town: Town, path: str) -> None:
    sums = sums_of([path.encode()])

    def plant(folder: Path) -> None:
        publish(folder, manifest(sums=sums), sums)

    town.plant(MALLORY, plant, town.theirs)
    commands = everything("mallory/X", town.home(ALICE) / "out")
    answers = town.sweep(ALICE, commands)
    see_harmless(commands, answers)
    assert answers[len(looks()) + 1].code == 6
    assert not (town.home(ALICE) / "out/pulled").exists()
    assert not (town.home(ALICE) / "up.txt").exists()


def test_an_odd_name_in_a_version_moves_no_cursor_of_a_stranger(town: Town) -> None:
    names = ["a\x1b]0;owned\x07b", "a\x1b[2Jb", "a\u202eb", "a\u200bb", "-rf", "A\u0130"]
    sums = sums_of([each.encode() for each in (*names, "number.txt")])

    def plant(folder: Path) -> None:
        publish(folder, manifest(b"about: {description: number}\n", 7, sums), sums)
        for each in (*names, "number.txt"):
            (folder / os.readlink(folder / "latest") / "files" / each).write_text("x")

    town.plant(MALLORY, plant, town.theirs)
    commands = [*looks(), *asks("mallory/X", town.home(ALICE) / "out"), ("search", "a")]
    see_harmless(commands, town.sweep(ALICE, commands))


def test_a_description_moves_no_cursor_of_a_stranger(town: Town) -> None:
    words = b'"\\e]0;owned\\a\\e[2J\\u202Enumber"'
    about = b"about: {description: " + words + b", keywords: [" + words + b"], " + words + b": x}\n"
    town.plant(MALLORY, partial(publish, document=manifest(about)), town.theirs)
    commands = everything("mallory/X", town.home(ALICE) / "out")
    answers = town.sweep(ALICE, commands)
    see_harmless(commands, answers)
    assert "number" in answers[len(looks())].out


# payloads


def test_a_file_that_is_larger_than_its_manifest_says_is_not_read_to_its_end(town: Town) -> None:
    files = town.theirs / os.readlink(town.theirs / "latest") / "files"
    town.plant(MALLORY, a_sparse_terabyte, files / "executor.py")
    commands = everything("mallory/X", town.home(ALICE) / "out")
    answers = town.sweep(ALICE, commands)
    see_harmless(commands, answers)
    assert answers[len(looks()) - 1].code == answers[len(looks()) + 1].code == 6


def test_a_blob_of_a_terabyte_is_not_read_to_its_end(town: Town) -> None:
    place = town.theirs / ".lhub/history.git/lfs/objects/aa/aa"
    town.plant(MALLORY, lambda path: path.mkdir(parents=True), place)
    town.plant(MALLORY, a_sparse_terabyte, place / ("a" * 64))
    see_all_well(town, "mallory/X")


def test_a_version_that_promises_a_terabyte_fills_no_disk(town: Town) -> None:
    """It is refused where there is no room; where there is, nothing is written that is not there."""
    sums = sums_of([b"weights"])

    def plant(folder: Path) -> None:
        publish(folder, manifest(b"", 1 << 62, sums), sums)
        a_sparse_terabyte(folder / os.readlink(folder / "latest") / "files/weights")

    town.plant(MALLORY, plant, town.theirs)
    commands = [*looks()[:-1], *asks("mallory/X", town.home(ALICE) / "out")]
    see_harmless(commands, town.sweep(ALICE, commands))


@pytest.mark.parametrize("kind", ["pack", "idx", "loose"])
def test_an_object_of_a_terabyte_fills_no_bundle(town: Town, kind: str) -> None:
    objects = town.theirs / ".lhub/history.git/objects"
    name = f"pack/pack-{'a' * 40}.{kind}" if kind != "loose" else f"aa/{'a' * 38}"

    def plant(path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        a_sparse_terabyte(path)

    town.plant(MALLORY, plant, objects / name)
    see_all_well(town, "mallory/X")


def test_a_file_that_grows_while_it_is_pulled_fills_no_disk(town: Town) -> None:
    """It has its honest size whenever somebody asks for it, and a terabyte whenever somebody reads."""
    file = town.theirs / os.readlink(town.theirs / "latest") / "files/executor.py"
    honest = file.stat().st_size

    def breathe() -> None:
        unlock(file)
        file.chmod(0o644)
        descriptor, end = os.open(file, os.O_RDWR), time.monotonic() + 1.5
        while time.monotonic() < end:
            os.truncate(descriptor, TERABYTE)
            os.truncate(descriptor, honest)

    commands = [("pull", "mallory/X", town.home(ALICE) / f"out{n}") for n in range(20)]
    with Crowd(partial(town._be, MALLORY, breathe)):
        answers = town.sweep(ALICE, commands)
    see_harmless(commands, answers)


def test_a_setuid_file_is_pulled_and_pushed_as_an_ordinary_one(town: Town) -> None:
    file = town.theirs / os.readlink(town.theirs / "latest") / "files/executor.py"

    def plant(path: Path) -> None:
        unlock(path)
        path.chmod(0o6755)

    town.plant(MALLORY, plant, file)
    out = town.home(ALICE) / "out"
    answers = town.sweep(ALICE, [("pull", "mallory/X", out), ("push", out, "Mine"), ("push", file.parent, "Hers")])
    assert [answer.code for answer in answers] == [0, 0, 0]
    found = [path for place in (out, town.root / "alice") for path in place.rglob("*") if not path.is_symlink()]
    assert [path for path in found if path.stat().st_mode & 0o6000] == []


# the diary


def an_object(path: Path, kind: bytes, content: bytes) -> str:
    """A loose object of a diary by hand, which is what its name says; the name."""
    text = b"%b %d\0%b" % (kind, len(content), content)
    name = sha1(text, usedforsecurity=False).hexdigest()
    place = path / ".lhub/history.git/objects" / name[:2]
    place.mkdir(exist_ok=True)
    (place / name[2:]).write_bytes(zlib.compress(text, 1))
    return name


def tip(path: Path, commit: bytes) -> None:
    (path / ".lhub/history.git/refs/heads/main").write_text(an_object(path, b"commit", commit) + "\n")


def commit_of(tree: str, *, author: bytes = b"m <m@m> 1 +0000", message: bytes = b"x\n") -> bytes:
    return b"tree %b\nauthor %b\ncommitter %b\n\n%b" % (tree.encode(), author, author, message)


def a_branch_of(content: bytes) -> Deed:
    return lambda path: (path / ".lhub/history.git/refs/heads/main").write_bytes(content)


def packed_refs(path: Path) -> None:
    (path / ".lhub/history.git/refs/heads/main").unlink()
    (path / ".lhub/history.git/packed-refs").write_bytes(b"a" * (4 << 20))


def an_author_of(line: bytes) -> Deed:
    return lambda path: tip(path, commit_of(an_object(path, b"tree", b""), author=line))


def a_tree_of(content: bytes) -> Deed:
    return lambda path: tip(path, commit_of(an_object(path, b"tree", content)))


def a_message_of(content: bytes) -> Deed:
    return lambda path: tip(path, commit_of(an_object(path, b"tree", b""), message=content))


def a_chain_of(length: int) -> Deed:
    def plant(path: Path) -> None:
        tree, parent = an_object(path, b"tree", b""), b""
        for _ in range(length):
            name = an_object(path, b"commit", commit_of(tree).replace(b"\nauthor", parent + b"\nauthor", 1))
            parent = b"\nparent " + name.encode()
        (path / ".lhub/history.git/refs/heads/main").write_text(f"{name}\n")

    return plant


def many_deep_trees(path: Path) -> None:
    tree = an_object(path, b"tree", b"")
    for _ in range(1_100):
        tree = an_object(path, b"tree", b"40000 a\0" + bytes.fromhex(tree))
    tip(path, commit_of(tree))


WORDS = (
    b"push x\n\n\x1b]0;owned\x07\x1b[2J\n\nAction: push\nVersion: %b\n"
    b"Tags: \x1b[31mred, \xe2\x80\xaeevil\nVisibility: \x1b[0m\n"
)

DIARIES: dict[str, Deed] = {
    "a branch of 200,000 digits": a_branch_of(b"a" * 200_000 + b"!"),
    "packed refs of 4 MiB of digits": packed_refs,
    "an author of many brackets": an_author_of(b" <" * 40_000),
    "an author of many pairs": an_author_of(b" <> " * 20_000),
    "a tree of digits": a_tree_of(b"7" * (4 << 20)),
    "a tree of one long name": a_tree_of((b"100644 " + b"a" * 50) * 80_000),
    "a tree of itself in many": many_deep_trees,
    "a large text in little": a_tree_of(bytes(16 << 20)),
    "a message of commands": a_message_of(WORDS % (b"0" * 64)),
    "a message of a date": an_author_of(b"m <m@m> 99999999999 +0000"),
    "a date before all": an_author_of(b"m <m@m> -99999999999 +0000"),
    "500 entries": a_chain_of(500),
}


@pytest.mark.parametrize("diary", DIARIES)
def test_no_diary_keeps_a_stranger_waiting(town: Town, diary: str) -> None:
    town.plant(MALLORY, DIARIES[diary], town.theirs)
    see_all_well(town, "mallory/X")


def traps(git: Path, trap: Path) -> None:
    """All that git would run in a repository: its config's programs, and its hooks."""
    names = ("core.fsmonitor", "core.sshCommand", "core.editor", "core.pager", "diff.external", "gpg.program")
    lines = [f"[{section}]\n\t{key} = {trap}\n" for section, key in (name.split(".") for name in names)]
    filters = f'[filter "lfs"]\n\tclean = {trap}\n\tsmudge = {trap}\n\tprocess = {trap}\n\trequired\n'
    (git / "config").write_text("".join(lines) + filters + '[diff "x"]\n\ttextconv = ' + str(trap) + "\n")
    (git / "hooks").mkdir(exist_ok=True)
    for hook in ("reference-transaction", "post-index-change", "post-checkout", "pre-push", "update", "pre-auto-gc"):
        shutil.copy(trap, git / "hooks" / hook)


def test_no_config_and_no_hook_of_a_stranger_s_diary_runs(town: Town) -> None:
    town.plant(MALLORY, lambda path: traps(path, town.trap), town.theirs / ".lhub/history.git")
    see_all_well(town, "mallory/X")


@pytest.mark.parametrize("place", ["alice/X", "vision/Mallory"])
def test_no_config_and_no_hook_of_a_diary_runs_for_who_writes_in_it(town: Town, place: str) -> None:
    maker = ALICE if place == "alice/X" else MALLORY
    town.plant(maker, lambda path: traps(path, town.trap), town.root / place / ".lhub/history.git")
    commands = [
        ("push", town.folder / "src/2", place, "-t", "new"),
        ("tag", place, "newer"),
        ("untag", f"{place}:newer"),
        ("rollback", place, "v1"),
        ("log", place),
        ("verify", place, "--repair"),
        ("gc", "--yes"),
    ]
    answers = town.sweep(ALICE, commands)
    assert [answer.err for answer in answers if answer.code != 0] == []
    assert not town.ran.exists()


def test_no_variable_and_no_config_of_one_s_own_reaches_git(town: Town) -> None:
    """What a neighbour gets into a victim's environment or home must not run when he only pushes."""
    home = town.home(ALICE)
    traps(home / "docs", town.trap)
    shutil.copy(home / "docs/config", home / ".gitconfig")
    with (home / ".gitconfig").open("a") as config:
        config.write(f"[core]\n\thooksPath = {home}/docs/hooks\n[safe]\n\tdirectory = *\n[gc]\n\tauto = 1\n")

    def work() -> None:
        os.environ |= {
            "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "core.hooksPath",
            "GIT_CONFIG_VALUE_0": str(home / "docs/hooks"),
            "GIT_CONFIG_PARAMETERS": f"'core.hooksPath'='{home}/docs/hooks'",
            "GIT_TEMPLATE_DIR": str(home / "docs"),
            "GIT_EXEC_PATH": str(town.trap.parent),
            "GIT_SSH_COMMAND": str(town.trap),
            "GIT_DIR": str(home / "docs"),
            "GIT_OBJECT_DIRECTORY": str(home / "docs"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(home / "docs"),
            "GIT_TRACE2": str(home / "docs/trace"),
            "GIT_TRACE": str(home / "docs/trace"),
        }
        registry = town.registry(ALICE)
        registry.push(town.folder / "src/2", "X", tags=["new"])
        registry.tag("alice/X", "newer")
        assert [entry.action for entry in registry.log("alice/X")][:2] == ["tag", "push"]

    assert town.be(ALICE, work) == 0
    assert not town.ran.exists()
    assert not (home / "docs/trace").exists()


def test_what_lies_in_the_current_folder_is_not_run(tmp_path: Path) -> None:
    """Where the locale is not UTF-8 lhub starts itself again; a folder of a neighbour's may be the current one."""
    script = tmp_path / "bin/lhub"
    write_tree(script.parent, {"lhub": "from lhub.__main__ import run\nrun()\n"})
    ran = f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    write_tree(tmp_path / "there", {f"{name}.py": ran for name in ("click", "yaml", "lhub", "errno", "typing")})
    environment = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "HOME": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", str(script), "--version"],
        cwd=tmp_path / "there", env=environment, capture_output=True, timeout=20, check=False,
    )  # fmt: skip
    assert not (tmp_path / "ran").exists()
    assert done.stdout.startswith(b"lhub ")


# names


ODD = (
    b"new\nline", b"\x1b]0;owned\x07", b"\x1b[2J", "\u202emoc.evil".encode(), "\u0430lice".encode(), b"-rf",
    b"--root=x", b"ALICE", b"Alice.lock", b"x.git", b"con", b"x.yaml", b".tmp.x", b".tmp.x.lock", b".trash",
    b".lhub", b".protected.x", b"\xff\xfe", b"n" * 255, b" ", b"...",
    b".hidden", b"%s%n", b"$(id)", b"a b", b"\xe2\x80\xa8", b"null", b"~root",
)  # fmt: skip
KINDS_OF_JUNK: dict[str, Callable[[bytes], object]] = {
    "files": lambda path: os.close(os.open(path, os.O_CREAT | os.O_WRONLY)),
    "folders": os.mkdir,
    "closed folders": lambda path: os.mkdir(path, 0),
    "links": lambda path: os.symlink("/", path),
    "FIFOs": os.mkfifo,
}


@pytest.mark.parametrize("kind", KINDS_OF_JUNK)
def test_odd_names_anywhere_do_nothing_to_a_stranger(town: Town, kind: str) -> None:
    def plant(root: Path) -> None:
        inner = ("mallory/X/.lhub", "mallory/X/.lhub/versions", "mallory/X/.lhub/builds")
        for place in ("", "_", "_/.trash", "mallory", "mallory/X", *inner):
            for name in ODD:
                path = os.fsencode(root / place) + b"/" + name
                if not os.path.lexists(path):
                    KINDS_OF_JUNK[kind](path)

    town.plant(MALLORY, plant, town.root)
    see_all_well(town, "mallory/X")


@pytest.mark.parametrize("place", ["", "_", "_/.trash", "mallory/X"])
def test_2000_junk_names_keep_nobody_waiting(town: Town, place: str) -> None:
    def plant(folder: Path) -> None:
        for n in range(1000):
            (folder / f"junk{n}").mkdir()
            (folder / f"1.junk{n}").symlink_to("/etc")

    town.plant(MALLORY, plant, town.root / place)
    see_all_well(town, "mallory/X")


def nested(folder: Path, depth: int = 1_200) -> None:
    """Folders in folders, deeper than any path is long and than Python's stack is."""
    os.chdir(folder)
    for _ in range(depth):
        os.mkdir("n")
        os.chdir("n")


def unnest(folder: Path) -> None:
    subprocess.run(["rm", "-rf", folder / "n"], check=True)


@pytest.mark.parametrize("place", ["", "mallory/X", "versions", "lfs", "objects", "files", "_/.trash"])
def test_folders_without_a_bottom_end_nobody_s_command(town: Town, place: str) -> None:
    inside = {"versions": "versions", "lfs": "history.git/lfs/objects", "objects": "history.git/objects"}
    folder = town.theirs / ".lhub" / inside[place] if place in inside else town.root / place
    if place == "files":
        folder = town.theirs / os.readlink(town.theirs / "latest") / "files/a"

    def plant(path: Path) -> None:
        unlock(path)
        nested(path)

    town.plant(MALLORY, plant, folder)
    try:
        see_all_well(town, "mallory/X")
    finally:
        unnest(folder)


# time


@pytest.mark.parametrize("when", [-(1 << 31), -1.0, 1.0, 2_000_000_000.0, (1 << 33) + 5.0])
def test_no_time_of_a_stranger_s_files_does_anything(town: Town, when: float) -> None:
    def plant(path: Path) -> None:
        (path.parent / ".trash").mkdir()
        (path.parent / f".trash/{abs(int(when))}.Y").mkdir()
        for each in [*path.rglob("*"), path, path.parent, *(path.parent / ".trash").iterdir()]:
            os.utime(each, (when, when), follow_symlinks=False)

    town.plant(MALLORY, plant, town.theirs)
    see_all_well(town, "mallory/X")


# locks


@contextmanager
def neighbour(town: Town, work: Callable[[], object]) -> Iterator[None]:
    """Mallory, who has done something and stays while others go on."""
    ready, told = os.pipe()
    end, ended = os.pipe()

    def stay() -> None:
        os.close(ended)
        kept = work()
        os.write(told, b"x")
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(200)
        os.read(end, 1)
        assert kept is not end

    with Crowd(partial(town._be, MALLORY, stay)) as crowd:
        os.close(told)
        assert os.read(ready, 1) == b"x"
        try:
            yield
        finally:
            os.close(ended)
    for descriptor in (ready, end):
        os.close(descriptor)
    assert crowd.answers == [0]


def hold(*paths: Path) -> list[int]:
    held = [os.open(path, os.O_RDWR | os.O_CREAT, 0o666) for path in paths]
    for descriptor in held:
        os.fchmod(descriptor, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return held


def test_a_stranger_s_locks_held_for_ever_keep_nobody_waiting(town: Town) -> None:
    """His diaries lag too, so that who verifies may take them for those of one who is just writing."""
    places = list(copies(town, ["a", "b", "c"]).values())

    def work() -> list[int]:
        for path in places:
            (path / "moved").symlink_to(os.readlink(path / "v1"))
        inside = [path / ".lhub" / name for path in places for name in ("lock", "versions/.tmp.x.lock")]
        return hold(*inside, town.root / ".lock", town.root / ".tmp.x.lock", town.root / "_/.tmp.x.lock")

    with neighbour(town, work):
        begun = time.monotonic()
        assert town.lhub(ALICE, "verify").code in (0, 6)
        assert time.monotonic() - begun < 12
        see_all_well(town, ref(places[0]))


def test_a_lock_that_a_stranger_closed_stands_in_nobody_s_way(town: Town) -> None:
    def plant(root: Path) -> None:
        for place in (
            "lock",
            ".lock",
            "_/lock",
            "_/.lock",
            "registry.yaml.lock",
            "alice.lock",
            "_/X.lock",
            ".tmp.lock",
        ):
            a_closed_one(root / place)

    town.plant(MALLORY, plant, town.root)
    see_all_well(town)


@pytest.mark.parametrize("place", ["resource.yaml", "refs", "pack", "latest/manifest.yaml"])
def test_a_lease_on_a_file_keeps_no_reader_waiting(town: Town, place: str) -> None:
    """Whoever opens a file on which its owner has a lease waits for 45 seconds."""
    inside = town.theirs / ".lhub/history.git"
    latest = town.theirs / os.readlink(town.theirs / "latest")
    paths = {
        "refs": inside / "refs/heads/main",
        "pack": next(inside.glob("objects/pack/*.idx")),
        "latest/manifest.yaml": latest / "manifest.yaml",
    }
    path = paths.get(place, town.theirs / place)

    def work() -> int:
        unlock(path)
        path.chmod(0o644)
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        descriptor = os.open(path, os.O_RDWR)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        return descriptor

    with neighbour(town, work):
        see_all_well(town, "mallory/X")


# another file system in one's own folder


def mount_fuse(path: Path) -> None:
    """What `sshfs` makes of a folder for its owner: to everybody else the kernel does not even say that it is one."""
    library = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={descriptor},rootmode=40000,user_id={MALLORY},group_id={MALLORY}".encode()
    if library.unshare(0x20000) or library.mount(b"none", b"/", None, 0x4000 | 0x40000, None):
        raise OSError(ctypes.get_errno(), "unshare")
    if library.mount(b"fuse", os.fsencode(path), b"fuse", 6, options):
        raise OSError(ctypes.get_errno(), "mount")


@pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="there is no FUSE here")
@pytest.mark.parametrize("place", ["mallory", "mallory/X", "mallory/X/.lhub", "_/M", "_/.trash/1.M", ".tmp.m", "Mount"])
def test_a_folder_that_its_owner_mounted_something_on_ends_nobody_s_command(town: Town, place: str) -> None:
    town.plant(MALLORY, lambda path: path.mkdir(exist_ok=True), town.root / place)
    see_all_well(town, "mallory/X", ahead=partial(mount_fuse, town.root / place))


# names that were taken first


def an_open_folder(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


SQUATS: dict[str, Deed] = {
    "a folder": Path.mkdir,
    "a closed folder": lambda path: path.mkdir(0o700),
    "an open folder": an_open_folder,
    "a file": Path.touch,
    "a FIFO": os.mkfifo,
    "a link": lambda path: path.symlink_to(path.parent / "carol"),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "its twin": lambda path: path.with_name(path.name.upper()).mkdir(),
}


def squat(town: Town, place: Path) -> dict[str, str]:
    """Mallory takes a name in every way; which name in which."""
    names = {way: f"zoe{number}" for number, way in enumerate(SQUATS)}
    for way, name in names.items():
        town.plant(MALLORY, SQUATS[way], place / name)
    return names


def test_a_namespace_that_was_squatted_is_refused_with_a_sentence(town: Town) -> None:
    names, before = squat(town, town.root), snapshot(town.root / "carol")
    commands = list[tuple[str | Path, ...]](("login", name) for name in names.values())
    commands += [("push", town.folder / "src/1", f"{name}/X") for name in names.values()]
    answers = town.sweep(CAROL, [*commands, ("list",)])
    see_harmless([*commands, ("list",)], answers)
    refused = [5 if way == "its twin" else 4 for way in SQUATS]
    assert [answer.code for answer in answers] == [*refused, *[4] * len(SQUATS), 0]
    assert snapshot(town.root / "carol") == before


def test_a_name_without_a_namespace_that_was_squatted_is_refused_with_a_sentence(town: Town) -> None:
    names = [name for way, name in squat(town, town.root / "_").items() if way != "its twin"]
    (town.root / "_/carol").mkdir()
    os.chown(town.root / "_/carol", CAROL, CAROL)
    source, privacies = town.folder / "src/1", list[tuple[str, ...]]([(), ("--private",)])
    commands = list[tuple[str | Path, ...]](("push", source, name, *privacy) for name in names for privacy in privacies)
    assert town.be(CAROL, lambda: main(["logout"])) == 0
    answers = town.sweep(CAROL, commands)
    see_harmless(commands, answers)
    assert [answer.err for answer in answers if answer.code not in (4, 5, 6)] == []
    assert list((town.root / "_/carol").iterdir()) == []


@pytest.mark.parametrize("way", [way for way in SQUATS if way != "its twin"])
def test_a_squatted_trash_takes_nothing_and_ends_nothing(town: Town, way: str) -> None:
    """What has no namespace is deleted into a place that all share; whoever owned it could empty it."""
    shutil.rmtree(town.root / "_/.trash")
    town.plant(MALLORY, SQUATS[way], town.root / "_/.trash")
    source = town.folder / "src/1"
    assert town.be(CAROL, lambda: main(["logout"])) == 0
    commands = [("push", source, "Zoe", "--secret", "s3cret"), ("delete", "jinahub://Zoe:s3cret", "--yes"), *looks()]
    answers = town.sweep(CAROL, commands)
    see_harmless(commands, answers)
    assert [answer.code for answer in answers[:2]] in ([0, 4], [0, 6])
    assert (town.root / "_/Zoe/latest").is_symlink()


@pytest.mark.parametrize("way", [way for way in SQUATS if way not in ("its twin", "a link to nothing")])
def test_a_squatted_place_of_what_has_no_namespace_takes_nothing(town: Town, way: str) -> None:
    shutil.rmtree(town.root / "_")
    town.plant(MALLORY, SQUATS[way], town.root / "_")
    assert town.be(CAROL, lambda: main(["logout"])) == 0
    commands = [("push", town.folder / "src/1", "Zoe"), ("list",), ("pull", "Zoe"), ("verify",), ("doctor",)]
    answers = town.sweep(CAROL, commands)
    see_harmless(commands, answers)
    assert [answer.code for answer in answers] == [4, 0, 3, 0, 0]


class Watched(Pen):
    """A pen whose next step somebody knows of, who acts before it is done: the worst moment."""

    def __init__(self, when: Callable[[str, str], bool]) -> None:
        self.when = when
        self.call, self.calls = os.pipe()
        self.answers, self.answer = os.pipe()

    def step(self, verb: str, path: str) -> None:
        if self.when(verb, path):
            os.write(self.calls, f"{path}\n".encode())
            os.read(self.answers, 1)

    def act(self, deed: Callable[[str], object]) -> None:
        """What the neighbour does, each time that he is called, until nobody calls any more."""
        os.close(self.calls)
        for path in os.fdopen(self.call):
            deed(path.rstrip("\n"))
            os.write(self.answer, b"x")


def beside(town: Town, pen: Watched, victim: int, work: Callable[[], object], deed: Callable[[str], object]) -> int:
    """A victim's work with mallory's deeds at the worst moments, of which there is one; how it ended."""

    def attempt(path: str) -> None:
        (town.folder / "canary/called").touch()
        with suppress(OSError):  # the kernel may keep him from it
            deed(path)

    with Crowd(partial(town._be, victim, work), partial(town._be, MALLORY, partial(pen.act, attempt))) as crowd:
        os.close(pen.calls)
        os.close(pen.answer)
    assert crowd.answers[1] == 0
    assert (town.folder / "canary/called").exists()
    return crowd.answers[0]


@pytest.mark.parametrize("name", ["registry.yaml", "_", "_/.trash", ".tmp.x"])
def test_nobody_gets_into_a_shared_registry_before_it_is_made(town: Town, name: str) -> None:
    """Whoever owns registry.yaml could end every command of everybody at any later time."""
    root, mine = town.folder / "square/new", str(town.folder / "square")
    root.parent.mkdir()
    os.chown(root.parent, CAROL, CAROL)
    pen = Watched(lambda verb, path: path.startswith(mine))

    def plant(path: str) -> None:
        if name.startswith(("registry", ".tmp")):
            (root / name).write_text("format: 1\n")
        else:
            (root / name).mkdir()

    beside(town, pen, CAROL, lambda: Registry(root, pen=pen).init(shared=True), plant)
    if name != ".tmp.x":
        assert (root / name).stat().st_uid == CAROL
    assert (root / "registry.yaml").stat().st_uid == CAROL
    assert town.be(ALICE, lambda: Registry(root, namespace="alice").push(town.folder / "src/1", "X")) == 0


# what the kernel stops


def rename(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def rmdir(path: Path) -> None:
    path.rename(path.with_name(".elsewhere"))
    path.rmdir()


def write(path: Path) -> None:
    with (path / "resource.yaml").open("a") as file:
        file.write("x")


def move_tag(path: Path) -> None:
    (path / ".evil").symlink_to(os.readlink(path / "v1"))
    (path / ".evil").rename(path / "latest")


def replace_by_link(path: Path) -> None:
    link = path.with_name(f"evil-{path.name}")
    link.symlink_to("/etc")
    link.rename(path)


def take_lock(path: Path) -> None:
    descriptor = os.open(path / ".lhub/lock", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def hide(path: Path) -> None:
    path.chmod(0)


def give_away(path: Path) -> None:
    os.chown(path, MALLORY, -1)


DEEDS: tuple[Deed, ...] = (
    rename, rmdir, write, move_tag, replace_by_link, take_lock, hide, give_away,
    lambda path: (path / "added").touch(), lambda path: (path / ".lhub/versions/added").mkdir(),
    lambda path: (path / "latest").unlink(), lambda path: os.utime(path, (1, 1)),
    lambda path: (path / "latest/manifest.yaml").chmod(0o644), lambda path: (path / "latest/new").touch(),
    lambda path: (path / ".lhub/history.git/refs/heads/main").write_text("x"), shutil.rmtree,
)  # fmt: skip


OWNERS: tuple[Deed, ...] = (rename, rmdir, replace_by_link, hide, give_away)
"""What only the owner of a folder may do to it, or of the folder that it is in."""


def kept_from(town: Town, uid: int, deeds: Sequence[Deed], *paths: Path) -> None:
    """The kernel keeps a user from all these deeds at all these places."""

    def attempt() -> None:
        done = [(deed.__name__, path) for path in paths for deed in deeds if not refused(deed, path)]
        if done:
            raise AssertionError(f"nothing kept him from {done}")

    assert town.be(uid, attempt) == 0


def refused(deed: Deed, path: Path) -> bool:
    try:
        deed(path)
    except PermissionError:
        return True
    return False


@pytest.mark.parametrize("place", ["alice/X", "alice/Private"])
def test_the_kernel_keeps_a_stranger_from_another_s_resource(town: Town, place: str) -> None:
    before = snapshot(town.root)
    kept_from(town, MALLORY, DEEDS, town.root / place)
    assert snapshot(town.root) == before


def test_the_kernel_keeps_a_stranger_from_another_s_namespace(town: Town) -> None:
    places = [town.root / name for name in ("alice", "vision")]
    kept_from(town, CAROL, [*OWNERS, lambda path: (path / "Y").mkdir()], *places)


def test_the_kernel_keeps_users_from_what_all_of_them_share(town: Town) -> None:
    places = [town.root / name for name in ("_", "_/.trash", "registry.yaml", "_/namespace.yaml")]
    kept_from(town, CAROL, OWNERS, *places)


def test_the_kernel_lets_nobody_read_what_is_private(town: Town) -> None:
    def read(path: Path) -> None:
        os.listdir(path) if path == town.root / "alice/Private" else path.read_bytes()

    inside = ("", "latest", "resource.yaml", ".lhub/lock", ".lhub/history.git/refs/heads/main", "latest/SHA256SUMS")
    kept_from(town, MALLORY, [read, os.lstat], *(town.root / "alice/Private" / name for name in inside[1:]))
    kept_from(town, MALLORY, [read], town.root / "alice/Private")


def test_the_kernel_keeps_a_colleague_from_removing_or_closing_what_another_made(town: Town) -> None:
    kept_from(town, MALLORY, OWNERS, town.team, town.root / "vision/Alice")


def test_the_kernel_keeps_who_is_not_of_the_team_from_its_resources(town: Town) -> None:
    kept_from(town, CAROL, DEEDS, town.root / "vision/Alice")


# what nobody is told


def test_a_private_resource_answers_a_stranger_as_an_absent_one(town: Town) -> None:
    def questions(name: str) -> list[tuple[str | Path, ...]]:
        out, source = town.home(MALLORY) / "out", town.folder / "src/1"
        return [
            *asks(name, out),
            ("show", f"{name}@12345678"),
            ("pull", f"{name}:v1", out),
            ("log", name, "--at", "2026-01-01"),
            ("diff", "mallory/X", name),
            ("tag", name, "x"),
            ("untag", f"{name}:v1"),
            ("rollback", name, "v1"),
            ("visibility", name),
            ("visibility", name, "public"),
            ("delete", name, "--yes"),
            ("delete", f"{name}:v1"),
            ("restore", name),
            ("restore", f"{name}:v1"),
            ("push", source, name),
            ("push", source, name, "--expect", "12345678"),
            ("verify", name, "--repair"),
        ]

    found = town.sweep(MALLORY, questions("alice/Private"))
    absent = town.sweep(MALLORY, questions("alice/Missing"))
    told = [
        (each.code, each.out.replace("Private", "Missing"), each.err.replace("Private", "Missing")) for each in found
    ]
    assert told == [(each.code, each.out, each.err) for each in absent]
    assert {each.code for each in found} == {3, 4}


def test_no_listing_names_what_is_private(town: Town) -> None:
    commands = [
        *looks(),
        ("search", "Private"),
        ("list", "alice"),
        ("copy", "--all", "--to", town.home(MALLORY) / "all"),
    ]
    answers = town.sweep(MALLORY, commands)
    see_harmless(commands, answers)
    assert [answer for answer in answers if "alice/Private" in answer.out + answer.err] == []


def readable(root: Path, words: bytes) -> None:
    """Raise when this user can read some words anywhere below a folder."""
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            if os.access(path, os.R_OK) and path.is_file() and words in path.read_bytes():
                raise AssertionError(f"{path} tells")


def test_nothing_in_the_registry_tells_a_secret_or_a_private_byte(town: Town) -> None:
    source, name = town.folder / "src/private1", "jinahub://Hush:s3cretword"
    assert town.be(ALICE, lambda: main(["logout"])) == 0
    commands = [
        ("push", source, "Hush", "--private", "--secret", "s3cretword", "-m", "first"),
        ("pull", name, town.home(ALICE) / "hush"),
        ("push", source, "Hush", "--secret", "wrong", "--force-update", "Hush"),
        ("push", source, "Hush", "--secret", "s3cretword", "-t", "v2"),
        ("delete", name, "--yes"),
        ("restore", name),
        ("login", "alice"),
        ("visibility", "alice/X", "private"),
        ("push", town.folder / "src/private2", "X"),
        ("delete", "alice/Private", "--yes"),
    ]
    answers = town.sweep(ALICE, commands)
    assert [answer.code for answer in answers] == [0, 0, 4, 0, 0, 0, 0, 0, 0, 0]
    assert [answer.out + answer.err for answer in answers if "wrong" in answer.out + answer.err] == []
    for uid in (MALLORY, CAROL):
        for words in (b"s3cretword", SECRET.encode()):
            assert town.be(uid, partial(readable, town.root, words)) == 0


# a colleague


def aside(path: Path) -> None:
    """Out of the way, as whoever may write in a folder can do with all in it."""
    path.rename(path.with_name(f"{path.name}.aside"))


def swapped_for(target: Path) -> Deed:
    def plant(path: Path) -> None:
        if os.path.lexists(path):
            aside(path)
        path.symlink_to(target)

    return plant


def team_work(place: str, source: Path) -> list[tuple[str | Path, ...]]:
    """What a member does with a team's resource."""
    return [
        ("tag", f"{place}:v1", "new"),
        ("untag", f"{place}:new"),
        ("push", source, place, "-t", "newer"),
        ("rollback", place, "v1"),
        ("verify", place, "--repair"),
        ("doctor", "--fix"),
        ("gc", "--yes"),
        ("export", place, "-o", "exported.tar"),
        ("pull", place, "pulled"),
    ]


def see_nothing_outside(town: Town, place: str) -> None:
    """Alice works in the team's resource as ever: nothing of hers outside it changes, nothing of it is told."""
    before = {part: snapshot(town.root / part) for part in ("alice/Private", "alice/X")}
    home = {name: each for name, each in snapshot(town.home(ALICE)).items() if name[0] != "."}
    work = team_work(place, town.folder / "src/2")
    answers = town.sweep(ALICE, work)
    see_harmless(work, answers)
    assert {part: snapshot(town.root / part) for part in before} == before
    made = ("exported.tar", "pulled")
    now = {name: each for name, each in snapshot(town.home(ALICE)).items() if name[0] != "."}
    assert {name: each for name, each in now.items() if name.partition("/")[0] not in made} == home
    for name in ("exported.tar", "pulled"):
        told = [path for path in [town.home(ALICE) / name, *(town.home(ALICE) / name).rglob("*")] if path.is_file()]
        assert [path for path in told if SECRET.encode() in path.read_bytes()] == []
    assert not town.ran.exists()


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_colleague_s_link_to_a_private_resource_of_mine_changes_nothing_there(town: Town, folder: str) -> None:
    """In what I made myself: all in it is the group's to rename."""
    deed = swapped_for(town.root / "alice/Private" / folder)
    town.plant(MALLORY, deed, town.root / "vision/Alice" / folder)
    see_nothing_outside(town, "vision/Alice")


@pytest.mark.parametrize("folder", [*FOLDERS, ".lhub/damaged"])
def test_a_colleague_s_link_to_my_home_changes_nothing_there(town: Town, folder: str) -> None:
    """Old files, a git repository with a `tmp_` file in it: all that a sweep or a collection would look for."""
    work = town.home(ALICE) / "docs"
    git = {**os.environ, "HOME": str(town.home(ALICE))}
    subprocess.run(["git", "init", "-q", "-b", "main", work], check=True, env=git)
    write_tree(work, {".git/objects/pack/tmp_pack_x": "x", "sub/tmp_results.txt": "x", "aa/bb/" + "a" * 64: "x"})
    for path in [work, *work.rglob("*")]:
        os.utime(path, (1, 1))
        os.chown(path, ALICE, ALICE)
    target = work / ".git" if folder.endswith("history.git") else work
    town.plant(MALLORY, swapped_for(target), town.root / "vision/Mallory" / folder)
    before = snapshot(work)

    def collect() -> None:
        registry = town.registry(ALICE)
        registry.session = replace(registry.session, pen=Future(60))
        try:
            registry.gc()
            registry.tag("vision/Mallory:v1", "late")
        except LhubError:
            return  # refused is well

    assert town.be(ALICE, collect) == 0
    see_nothing_outside(town, "vision/Mallory")
    assert snapshot(work) == before


@pytest.mark.parametrize("name", ["aa", "aa/bb"])
def test_a_colleague_s_link_among_the_blobs_is_not_written_through(town: Town, name: str) -> None:
    blobs, fresh = town.root / "vision/Mallory/.lhub/history.git/lfs/objects", sha256(b"never seen\n").hexdigest()

    def plant(path: Path) -> None:
        for n in range(256):
            first = path / f"{n:02x}"
            if name == "aa":
                swapped_for(town.home(ALICE))(first)
                continue
            first.mkdir(exist_ok=True)
            first.chmod(0o2775)
            if first.name == fresh[:2]:
                swapped_for(town.home(ALICE))(first / fresh[2:4])

    town.plant(MALLORY, plant, blobs)
    write_tree(town.folder / "src/2", {"fresh.txt": "never seen\n"})
    see_nothing_outside(town, "vision/Mallory")


@pytest.mark.parametrize(
    "name", [".lhub/lock", ".lhub/versions/.tmp.x.lock", ".lhub/recorded.json", ".lhub/history.git/HEAD"]
)
def test_a_colleague_s_hard_link_to_a_file_of_mine_is_not_written_to(town: Town, name: str) -> None:
    """Where the system lets everybody link to everything (fs.protected_hardlinks=0)."""
    path = town.root / "vision/Mallory" / name
    path.unlink(missing_ok=True)
    os.link(town.home(ALICE) / "precious.txt", path)
    see_nothing_outside(town, "vision/Mallory")


def fifos(folder: Path) -> Deed:
    """A folder of objects in which git would wait for ever."""

    def plant(path: Path) -> None:
        (folder / "pack").mkdir(parents=True)
        for n in range(2):
            pack = folder / f"pack/pack-{str(n) * 40}"
            pack.with_suffix(".pack").write_bytes(b"PACK" + bytes(100))
            os.mkfifo(pack.with_suffix(".idx"))
            os.utime(pack.with_suffix(".pack"), (2e9, 2e9))
        (path / "info/alternates").write_text(f"{folder}\n")

    return plant


def test_objects_that_a_colleague_borrows_from_elsewhere_keep_nobody_waiting(town: Town) -> None:
    place = town.folder / "canary/objects"
    town.plant(MALLORY, fifos(place), town.root / "vision/Mallory/.lhub/history.git/objects")
    see_nothing_outside(town, "vision/Mallory")


DERIVED = ('{"pins": [1, "x"]}', '{"tags": {"a": 1}}', '{"tree": "../../../../alice/Private"}', '{"tip": 7}',
           '{"pointers": [1, "x"]}', '{"visibility": 5}', "[" * 100_000)  # fmt: skip


@pytest.mark.parametrize("document", DERIVED)
def test_a_colleague_s_derived_file_ends_no_push(town: Town, document: str) -> None:
    place = town.root / "vision/Mallory"

    def plant(path: Path) -> None:
        state: dict[str, object] = {"tip": (path / "history.git/refs/heads/main").read_text().strip(), "tags": {}}
        state |= {"pins": [], "visibility": "public", "tree": None, "pointers": []}
        text = json.dumps(state | json.loads(document)) if document[0] == "{" else document
        (path / "recorded.json").write_text(text)

    town.plant(MALLORY, plant, place / ".lhub")
    see_nothing_outside(town, "vision/Mallory")
    assert town.lhub(ALICE, "tag", "vision/Mallory:v1", "after").code == 0


@pytest.mark.parametrize("verb", ["tag", "push"])
def test_a_colleague_s_folder_in_the_place_of_my_own_repository_runs_nothing(town: Town, verb: str) -> None:
    """Git runs hooks of the repository that it is told to work in; where that stands, nobody else may write."""
    pen = Watched(lambda step, path: step == "fast-import")

    def work() -> None:
        registry = town.registry(ALICE, pen=pen)
        if verb == "tag":
            registry.tag("vision/Mallory:v1", "new")
        else:
            registry.push(town.folder / "src/2", "vision/Mallory")

    def swap(path: str) -> None:
        for repository in (town.root / "vision/Mallory/.lhub/versions").glob(".tmp.*.git"):
            aside(repository)
            (repository / "refs").mkdir(parents=True)
            (repository / "objects").mkdir()
            (repository / "HEAD").write_text("ref: refs/heads/main\n")
            traps(repository, town.trap)

    assert beside(town, pen, ALICE, work, swap) == 0
    assert not town.ran.exists()


def test_a_colleague_s_folder_that_becomes_a_link_while_it_is_removed_takes_nothing_along(town: Town) -> None:
    """He has left something half removed in the team's trash; whoever collects goes on with it."""
    gone, docs = town.team / ".trash/.gone.x/sub", town.home(ALICE) / "docs"
    assert town.be(MALLORY, lambda: town.registry(MALLORY).delete("vision/Mallory")) == 0

    def plant(path: Path) -> None:
        path.mkdir(parents=True)
        for folder in (path, path.parent):
            folder.chmod(0o777)
        (path / "thesis.txt").touch()

    town.plant(MALLORY, plant, gone)
    pen = Watched(lambda verb, path: verb == "unlink" and "/.gone." in path)

    def swap(path: str) -> None:
        aside(gone)
        gone.symlink_to(docs)

    def work() -> None:
        try:
            town.registry(ALICE, pen=pen).gc()
        except (LhubError, OSError):
            return  # refused is well

    assert beside(town, pen, ALICE, work, swap) == 0
    assert (docs / "thesis.txt").read_text() == "years of work\n"


@pytest.mark.parametrize("verb", ["make_folder", "copy_in", "set_mode", "sync_file"])
def test_a_colleague_s_link_in_the_place_of_my_staging_is_not_written_through(town: Town, verb: str) -> None:
    versions, home = town.root / "vision/Mallory/.lhub/versions", town.home(ALICE)
    (home / "files").mkdir()
    os.chown(home / "files", ALICE, ALICE)
    pen = Watched(lambda step, path: step == verb and "/.tmp." in path)
    before = snapshot(home)

    def swap(path: str) -> None:
        for staged in versions.glob(".tmp.*"):
            if staged.is_dir() and not staged.is_symlink() and staged.suffix not in (".git", ".aside"):
                swapped_for(home)(staged)

    def work() -> None:
        try:
            town.registry(ALICE, pen=pen).push(town.folder / "src/2", "vision/Mallory")
        except (LhubError, OSError):
            return  # refused is well

    assert beside(town, pen, ALICE, work, swap) == 0
    assert snapshot(home) == before


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_a_colleague_s_fifo_in_the_place_of_my_log_keeps_me_not_waiting(
    town: Town, make: Callable[[str], object]
) -> None:
    pen = Watched(lambda verb, path: verb == "append")

    def swap(path: str) -> None:
        if os.path.lexists(path):
            os.unlink(path)
        make(path)

    def work() -> None:
        town.registry(ALICE, pen=pen).push(town.folder / "src/2", "vision/Mallory", tags=["new"])

    assert beside(town, pen, ALICE, work, swap) == 0
    assert town.lhub(ALICE, "show", "vision/Mallory:new").code == 0


def test_a_colleague_s_hard_link_in_the_place_of_my_log_is_not_written_to(town: Town) -> None:
    builds, precious = town.root / "vision/Mallory/.lhub/builds", town.home(ALICE) / "precious.txt"

    class Linking(Pen):
        """Mallory at work where the system lets everybody link to everything."""

        def step(self, verb: str, path: str) -> None:
            if verb == "append" and path.startswith(str(builds)):
                if os.path.lexists(path):
                    os.unlink(path)
                os.link(precious, path)

    def work() -> None:
        try:
            town.registry(ALICE, pen=Linking()).push(town.folder / "src/2", "vision/Mallory")
        except LhubError:
            return  # refused is well

    assert town.be(ALICE, work) == 0
    assert precious.read_text() == "years of work\n"


@pytest.mark.parametrize("place", ["versions/0", "builds/x", "history.git/objects/aa", "damaged", "versions/.tmp.y"])
def test_a_colleague_s_closed_folder_ends_nobody_s_work(town: Town, place: str) -> None:
    town.plant(MALLORY, lambda path: path.mkdir(0), town.root / "vision/Mallory/.lhub" / place)
    work = team_work("vision/Mallory", town.folder / "src/2")
    answers = town.sweep(ALICE, work)
    see_harmless(work, answers)
    assert [answer.err for answer in answers if answer.code not in (0, 6)] == []


def test_what_a_colleague_closed_keeps_nothing_else_from_being_copied(town: Town) -> None:
    town.plant(MALLORY, hide, town.root / "vision/Mallory/.lhub")
    assert town.lhub(ALICE, "namespace", "create", "vision", "--group", str(TEAM), "--root", "copied").code == 0
    answer = town.lhub(ALICE, "copy", "--all", "--to", "copied")
    assert "alice/X" in answer.out
    assert "vision/Alice" in answer.out
    assert "vision/Mallory was not copied" in answer.err


@pytest.mark.parametrize("place", ["versions/n0", "builds", "damaged", "../../.trash/.gone.x", "../../.trash/1.Y"])
def test_a_colleague_s_folders_without_a_bottom_end_nobody_s_work(town: Town, place: str) -> None:
    assert town.be(MALLORY, lambda: town.registry(MALLORY).push(town.folder / "src/1", "vision/D")) == 0
    assert town.be(MALLORY, lambda: town.registry(MALLORY).delete("vision/D")) == 0
    folder = town.root / "vision/Mallory/.lhub" / place

    def plant(path: Path) -> None:
        path.mkdir(exist_ok=True)
        nested(path)

    town.plant(MALLORY, plant, folder)
    work = team_work("vision/Mallory", town.folder / "src/2")
    try:
        answers = town.sweep(ALICE, work)
        see_harmless(work, answers)
        assert [answer.err for answer in answers if answer.code not in (0, 6)] == []
    finally:
        unnest(folder)


def test_a_colleague_who_lets_nobody_in_by_his_umask_locks_nobody_out(town: Town) -> None:
    def push() -> None:
        os.umask(0o077)
        town.registry(MALLORY).push(town.folder / "src/2", "vision/New", tags=["a"], private=True)

    assert town.be(MALLORY, push) == 0
    work = team_work("vision/New", town.folder / "src/1")
    answers = town.sweep(ALICE, [("tag", "vision/New:a", "v1"), ("tag", "vision/New:a", "latest"), *work])
    assert [answer.err for answer in answers if answer.code != 0] == []
    assert town.lhub(CAROL, "show", "vision/New:a").code == 3


def test_a_version_that_a_colleague_replaced_is_not_pulled(town: Town) -> None:
    latest = town.root / "vision/Alice" / os.readlink(town.root / "vision/Alice/latest")

    def forge(path: Path) -> None:
        shutil.copytree(path, path.with_name("forged"), copy_function=shutil.copyfile)
        forged = path.with_name("forged")
        for folder in (forged, forged / "files"):
            folder.chmod(0o755)
        (forged / "files/executor.py").unlink()
        (forged / "files/executor.py").write_text("import evil\n")
        aside(path)
        forged.rename(path)

    town.plant(MALLORY, forge, latest)
    assert town.lhub(ALICE, "pull", "vision/Alice", "out").code == 6
    assert town.lhub(ALICE, "verify", "vision/Alice").code == 6
    assert not (town.home(ALICE) / "out").exists()


def test_a_colleague_neither_opens_nor_hides_nor_deletes_what_another_made(town: Town) -> None:
    commands = [
        ("visibility", "vision/Alice", "private"),
        ("push", town.folder / "src/2", "vision/Alice", "--private"),
        ("delete", "vision/Alice", "--yes"),
    ]
    answers = town.sweep(MALLORY, commands)
    assert [answer.code for answer in answers] == [4, 4, 4]
    assert stat.S_IMODE((town.root / "vision/Alice").stat().st_mode) == 0o2775


def test_who_made_a_team_s_namespace_may_close_it_and_nobody_s_command_ends_by_that(town: Town) -> None:
    town.plant(ALICE, hide, town.team)
    commands = [*looks(), *team_work("vision/Mallory", town.folder / "src/2")]
    answers = town.sweep(MALLORY, commands)
    see_harmless(commands, answers)
    assert [answer.err for answer in answers[: len(looks())] if answer.code not in (0, 6)] == []


# what it costs others


def test_tags_that_name_nothing_keep_no_listing_waiting(town: Town) -> None:
    """A reader asks three times for what a network file system may not show yet; not so for each of a stranger's."""

    def plant(root: Path) -> None:
        for n in range(60):
            (root / f"D{n}").mkdir()
            (root / f"D{n}/latest").symlink_to(f".lhub/versions/{n:064x}")

    town.plant(MALLORY, plant, town.root / "mallory")
    commands = [("list",), ("search", "number")]
    begun = time.monotonic()
    answers = town.sweep(ALICE, commands)
    see_harmless(commands, answers)
    assert time.monotonic() - begun < 4


def test_many_tags_that_name_nothing_keep_nobody_waiting(town: Town) -> None:
    def plant(path: Path) -> None:
        for n in range(1500):
            (path / f"t{n}").symlink_to(f".lhub/versions/{n:064x}")
            (path / f".lhub/versions/{n + 5000:064x}").mkdir()

    town.plant(MALLORY, plant, town.theirs)
    see_all_well(town)


def test_many_lagging_diaries_keep_no_verification_waiting(town: Town) -> None:
    places = copies(town, [str(n) for n in range(12)])

    def plant(root: Path) -> None:
        for path in places.values():
            (path / "moved").symlink_to(os.readlink(path / "v1"))

    town.plant(MALLORY, plant, town.root)
    begun = time.monotonic()
    assert town.lhub(ALICE, "verify").code in (0, 6)
    assert time.monotonic() - begun < 4


def test_a_manifest_of_ours_is_what_these_tests_forge() -> None:
    """Else they would all be refused for the wrong reason."""
    from lhub.manifest import read_manifest

    assert read_manifest(manifest(b"about: {a: b}\n", 7, b"x"), "it") == Manifest(
        kind="executor", count=1, bytes=7, sums=sha256(b"x").hexdigest(), about={"a": "b"}
    )


def test_a_hanging_command_is_told_from_one_that_ends(town: Town) -> None:
    """The measure itself: work without end, and a file without end, are both seen."""

    def work() -> None:
        signal.setitimer(signal.ITIMER_PROF, 0.1)
        next(n for n in count() if n < 0)

    assert town.be(ALICE, work) == -signal.SIGPROF
    assert town.be(ALICE, lambda: (town.home(ALICE) / "big").open("wb").truncate(TERABYTE)) == -signal.SIGXFSZ
