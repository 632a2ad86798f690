"""The floors: imports go down, one outside tool has one room, one room holds the pen, and the doors read the outside.

The sources are read, not run: what a function imports, or a type checker, counts as well. A rule that knows exceptions
lists them by room and name, each with its reason; an exception that nobody needs any more is a fault of its own.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import PROJECT, write_tree
from tests.rooms import ROOMS

FLOORS: dict[str, set[str]] = {
    "GROUND": {
        "errors",
        "names",
        "moments",
        "tags",
        "tree",
        "access",
        "manifest",
        "layout",
        "diary",
        "verifier",
        "seals",
        "redaction",
    },
    "FIRST": {
        "ways",
        "opening",
        "meter",
        "disk",
        "mounts",
        "age",
        "keyring",
        "peer",
        "lock",
        "ignoring",
        "folder",
        "store",
        "staging",
        "commits",
        "packs",
        "history",
        "change",
        "identity",
        "index",
        "glance",
        "checkup",
        "repair",
    },
    "SECOND": {
        "kinds",
        "documents",
        "apart",
        "builds",
        "orders",
        "ordering",
        "installer",
        "images",
        "sealing",
        "sealed_images",
        "parcel",
        "packer",
        "bundle",
        "archive",
    },
    "THIRD": {
        "session",
        "spaces",
        "sharing",
        "tokens",
        "inbox",
        "secrecy",
        "publish",
        "imaging",
        "building",
        "containers",
        "tasks",
        "fetch",
        "loading",
        "creation",
        "shelf",
        "recent",
        "past",
        "deletion",
        "renaming",
        "collection",
        "comparison",
        "verification",
        "doctor",
        "exchange",
        "adoption",
        "selftest",
        "registry",
    },
    "ROOF": {
        "phrases",
        "door",
        "gateway",
        "portal",
        "cli",
        "docarray_store",
        "testing",
        "bounds",
        "pytest_plugin",
        "__init__",
        "__main__",
    },
}
HEIGHT = {room: height for height, rooms in enumerate(FLOORS.values()) for room in rooms}
DOORS = {"phrases", "door", "gateway", "portal", "cli", "testing", "bounds", "pytest_plugin"}

TOOLS: dict[str, set[str]] = {
    "git": set(),
    "gitdb": {"commits"},  # GitPython's object database
    "tarfile": {"packer", "bundle", "images"},  # images: layers, and what engines save
    "runpy": {"images"},  # pip, for another machine
    "difflib": {"comparison"},
    "subprocess": {"history", "peer", "installer", "images", "gateway"},  # gateway: the command of `lhub run`
    "zipfile": {"archive"},
    "starlette": {"gateway", "portal"},
    "jinja2": {"portal", "gateway"},  # gateway: only to say that it is missing
    "markdown_it": {"portal", "gateway"},  # a README as a page; as above
    "markupsafe": {"portal"},  # jinja2's own
    "webbrowser": {"portal"},
    "uvicorn": {"gateway"},
    "python_multipart": {"gateway"},
    "anyio": {"gateway", "portal"},  # starlette's own
    "multiprocessing": set(),
    "filelock": {"lock"},
    "pathspec": {"ignoring"},
    "yaml": {"manifest", "kinds"},
    "tomli": {"kinds"},  # where Python has no tomllib
    "click": {"cli"},
    "ctypes": {"disk", "images"},  # images: prctl(2), by which a keeper adopts what a builder leaves
    "pwd": {"identity"},
    "grp": {"identity"},
    "tempfile": {
        "history",
        "exchange",
        "folder",
        "gateway",
        "images",
        "sealing",
        "sealed_images",
        "testing",
        "bounds",
    },  # folder: texts that travel in place of a file; sealing: what is in the clear, without a name
    "pyrage": {"age"},
    "pytest": {"testing", "pytest_plugin"},
    "shutil": {"images"},  # which program an engine is
    "pathlib": {"registry"},
    "socket": {"gateway"},
    "urllib": {"gateway", "portal", "images"},  # forms and addresses; images: how a value is quoted
    "http": set(),
    "pickle": {"kinds", "documents"},  # a skeleton of which nothing runs; what the caller says he trusts
    "docarray": {"documents", "docarray_store"},
    "numpy": {"documents"},  # docarray's tensors
    "rich": {"documents", "docarray_store"},  # docarray's bar and tables
    "lz4": {"kinds"},  # of whoever saved an array with it
}
"""What is used in some rooms only; a package that is neither here nor Python's own is used nowhere."""

EXTRA = {"docarray", "numpy", "rich", "lz4", "pytest", "starlette", "uvicorn", "python_multipart", "anyio"} | {
    "jinja2",
    "markdown_it",
    "markupsafe",
    "pyrage",
}
"""What comes with the extras `docarray`, `serve`, `seal`, with whatever wrote an array, and what loads the plugin."""

PURE = {
    "__future__",
    "collections",
    "dataclasses",
    "datetime",
    "typing",
    "re",
    "json",
    "base64",
    "html",
    "functools",
    "hashlib",
    "hmac",
    "yaml",
    "os",
    "time",
    "unicodedata",
}
"""What the ground floor may import; of `os` and `time` only what GROUND_USES lists."""
GROUND_USES = {
    ("verifier", "os.urandom"): "a secret is chance; nothing is read that could differ by place",
    ("moments", "time.strftime"): "turns a number into a text, by UTC",
    ("moments", "time.gmtime"): "as above",
}

PROGRAMS = {"os.system", "os.popen", "os.startfile", "os.posix_spawn", "os.posix_spawnp", "os.fork", "os.forkpty"} | {
    f"os.{verb}{ending}" for verb in ("exec", "spawn") for ending in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")
}

OUTSIDE = {
    "os.environ",
    "os.environb",
    "os.getenv",
    "os.putenv",
    "os.getcwd",
    "os.chdir",
    "os.umask",
    "os.getlogin",
    "os.path.expanduser",
    "os.path.expandvars",
    "os.path.abspath",
    "os.path.realpath",
    "os.path.relpath",
    "time.time",
    "time.localtime",
    "time.ctime",
    "time.tzname",
    "datetime.datetime.now",
    "sys.argv",
    "sys.stdin",
    "sys.stdout",
    "sys.stderr",
    "sys.exit",
    "print",
    "input",
}
OUTSIDE_USES = {
    ("session", "time.time"): "the clock that a door may replace; registries made in Python have it by default",
    ("registry", "os.path.realpath"): "the root given in Python; kept whole, so that a later chdir changes nothing",
    ("fetch", "os.path.abspath"): "a destination is where the caller stands",
    ("fetch", "os.path.realpath"): "whether a destination lies in the registry or holds it, seen through links",
    ("folder", "os.path.realpath"): "the folder to push, and where its links lead",
    ("ignoring", "os.path.realpath"): "its .gitignore may be a link",
    ("history", "os.environ"): "PATH finds git",
    ("ways", "os.umask"): "a fake file system heeds none by itself",
    ("__main__", "os.path.abspath"): "where this lhub lies",
    ("peer", "os.chdir"): "a process of its own stands in the scratch folder",
    ("peer", "time.time"): "the clock of that host is what is asked for",
    ("mounts", "os.path.realpath"): "a path lies where its links lead",
    ("kinds", "os.path.realpath"): "the settings of a folder whose name is asked for may be links",
    ("builds", "time.time"): "the clock's default, as that of a session",
    ("installer", "os.environ"): "pip needs the user's: his proxy, his index, his certificates",
    ("imaging", "os.path.realpath"): "a Dockerfile may be named from where the caller stands",
    ("images", "os.environ"): "an engine and pip need the user's: where the daemon is, his proxy, his index",
    ("images", "os.getenv"): "by which pip asks for the variables of requirements",
    ("images", "sys.argv"): "programs of their own: the keeper of a build, and pip for another machine",
    ("images", "sys.exit"): "as above",
    ("images", "sys.stderr"): "as above",
    ("bundle", "os.path.realpath"): "the bundle to read, an argument: a link to it is followed",
}

WRITING = {
    "bytes": "write pwrite writev pwritev sendfile copy_file_range splice truncate ftruncate posix_fallocate dup2",
    "names": "rename replace renames link symlink unlink remove rmdir removedirs mkdir makedirs mkfifo mknod",
    "modes": "chmod fchmod lchmod chown fchown lchown chflags utime setxattr removexattr",
    "flags": "O_WRONLY O_RDWR O_CREAT O_TRUNC O_APPEND O_TMPFILE",
}
WRITES = {f"os.{name}" for names in WRITING.values() for name in names.split()} | {
    "open to write",
    "io.FileIO",
    "fcntl.flock",
    "fcntl.lockf",
}
WRITE_USES = {
    ("lock", "os.O_RDWR"): "the lock file, which filelock takes as a descriptor",
    ("lock", "os.O_CREAT"): "as above; it is no content of a registry",
    ("lock", "os.fchmod"): "as above, with a mode that no umask changes",
    ("lock", "os.chown"): "as above, of the group that its folder is of",
    ("lock", "fcntl.flock"): "a look at who holds it, shared with others who look; nothing is written",
    ("apart", "os.write"): "a word to the process that began a push which goes on by itself",
    ("lock", "os.pwrite"): "the note for those who wait, in the lock that is held; no content of a registry",
    ("fetch", "open to write"): "a bundle at its destination",
    ("gateway", "open to write"): "what clients fetch and does not lie in the registry so, in a folder of its own",
    ("folder", "open to write"): "what an Executor gained, in memory",
    (
        "building",
        "open to write",
    ): "the Dockerfile that is carried out, in a folder of its own that goes with the build",
    ("images", "open to write"): "what pip is told, and what it installed, in such a folder",
    ("images", "os.symlink"): "a name for a layout that buildah understands, outside of every registry",
    ("images", "os.unlink"): "as above",
    ("images", "os.write"): "what a secret mount shows, in memory alone",
    ("apart", "os.O_RDWR"): "/dev/null, in place of the terminal of a push that goes on by itself",
    ("apart", "os.dup2"): "as above",
    ("ways", "os.O_CREAT"): "what is made and what stands, a fake file system is told different modes for",
    ("cli", "os.O_WRONLY"): "/dev/null, when the reader of a pipe is gone",
    ("cli", "os.dup2"): "as above",
    ("cli", "open to write"): "/dev/null, for a stream that was closed",
}

PENS = {"disk", "peer"}
"""Who writes: the pen, and the peer, in a scratch folder only and where there may be no lhub."""

PROGRAM_USES = {
    ("cli", "os.execve"): "lhub itself once more, where the locale is not UTF-8",
    ("apart", "os.fork"): "a push that goes on by itself",
    ("peer", "os.fork"): "who holds a lock until it is killed",
}

DYNAMIC = {"importlib.import_module", "__import__", "eval", "exec", "compile", "runpy.run_module"}
DYNAMIC_USES = {
    ("cli", "importlib.import_module"): "a command's room is loaded when the command is typed, within cli",
    ("images", "runpy.run_module"): "a program of its own, which becomes pip",
}

REFUSED_NAMES = {"utils", "util", "helpers", "helper", "common", "core", "manager", "managers", "misc"}


@dataclass(frozen=True, kw_only=True)
class Module:
    """One file of the house: its dotted name, its room, its syntax."""

    name: str
    room: str
    path: str
    tree: ast.Module


@dataclass(kw_only=True)
class Import:
    """One import: the line, and all that it may mean, `a.b` for `from a import b` among it."""

    line: int
    meant: list[str] = field(default_factory=list)


def house(package: Path) -> list[Module]:
    """All modules of a package."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        dotted = [package.name, *(part for part in parts if part != "__init__")]
        found.append(
            Module(
                name=".".join(dotted),
                room=parts[0],
                path="/".join(parts) + ".py",
                tree=ast.parse(path.read_text(encoding="utf-8")),
            )
        )
    return found


def imports(module: Module) -> Iterator[Import]:
    """Every import of a module, wherever it stands."""
    parent = module.name if module.path.endswith("__init__.py") else module.name.rpartition(".")[0]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (Import(line=node.lineno, meant=[alias.name]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = parent.split(".")[: len(parent.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (Import(line=node.lineno, meant=[f"{base}.{alias.name}", base]) for alias in node.names)


def inside(modules: list[Module]) -> Iterator[tuple[Module, Module, int]]:
    """Who imports whom, at which line: the most exact module that an import can mean."""
    known = {module.name: module for module in modules}
    for module in modules:
        for found in imports(module):
            target = next((known[name] for name in found.meant if name in known), None)
            if target is not None and target is not module:
                yield module, target, found.line


@cache
def used(module: Module) -> tuple[tuple[str, int], ...]:
    """Every dotted name of another module, or of Python itself, that a module uses, and files opened to write."""
    names: dict[str, str] = {}
    found: list[tuple[str, int]] = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found += [(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
    for node in ast.walk(module.tree):
        if isinstance(node, (ast.Attribute, ast.Name)) and (dotted := _dotted(node, names)):
            found.append((dotted, node.lineno))
        if isinstance(node, ast.Call) and _opens_to_write(node, names):
            found.append(("open to write", node.lineno))
    return tuple(found)


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute) and (base := _dotted(node.value, names)):
        return f"{base}.{node.attr}"
    return ""


def _opens_to_write(node: ast.Call, names: dict[str, str]) -> bool:
    called = _dotted(node.func, names)
    if called not in ("open", "io.open", "os.fdopen") and not called.endswith(
        (".write_text", ".write_bytes", ".touch")
    ):
        return False
    modes = [*node.args[1:2], *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
    if "open" not in called:
        return True
    return any(not isinstance(mode, ast.Constant) or bool(set(str(mode.value)) & set("wax+")) for mode in modes)


# the rules: each answers with one line a fault


def every_file_has_its_floor(modules: list[Module]) -> list[str]:
    return [f"{module.path} stands on no floor" for module in modules if module.room not in HEIGHT]


def imports_go_down(modules: list[Module]) -> list[str]:
    return [
        f"{module.path}:{line} imports {target.name}, which is above"
        for module, target, line in inside(modules)
        if HEIGHT.get(target.room, 99) > HEIGHT.get(module.room, 99)
    ]


def no_circles(modules: list[Module]) -> list[str]:
    """Neither modules nor rooms import each other in a circle."""
    graphs: list[dict[str, set[str]]] = [{}, {}]
    for module, target, _ in inside(modules):
        graphs[0].setdefault(module.name, set()).add(target.name)
        if module.room != target.room:
            graphs[1].setdefault(module.room, set()).add(target.room)
    return [f"a circle: {' -> '.join(circle)}" for graph in graphs if (circle := _circle(graph))]


def _circle(graph: dict[str, set[str]]) -> list[str]:
    done: set[str] = set()

    def visit(name: str, way: list[str]) -> list[str]:
        if name in way:
            return _turned(way[way.index(name) :])
        if name not in done:
            for target in sorted(graph.get(name, ())):
                if circle := visit(target, [*way, name]):
                    return circle
            done.add(name)
        return []

    return next((circle for name in sorted(graph) if (circle := visit(name, []))), [])


def _turned(circle: list[str]) -> list[str]:
    """A circle that begins and ends with the first of its names."""
    start = circle.index(min(circle))
    return [*circle[start:], *circle[:start], circle[start]]


def one_tool_has_one_room(modules: list[Module]) -> list[str]:
    faults = []
    for module in modules:
        for found in imports(module):
            top = found.meant[-1].partition(".")[0]
            own = top == modules[0].name.partition(".")[0]
            allowed = module.room in TOOLS[top] if top in TOOLS else own or top in sys.stdlib_module_names
            if not allowed:
                faults.append(f"{module.path}:{found.line} imports {top}")
    return faults


def only_history_runs_a_program(modules: list[Module]) -> list[str]:
    return _refused(modules, PROGRAMS, PROGRAM_USES)


def the_ground_is_pure(modules: list[Module]) -> list[str]:
    ground = [module for module in modules if module.room in FLOORS["GROUND"]]
    faults = []
    for module in ground:
        for found in imports(module):
            top = found.meant[-1].partition(".")[0]
            if top not in PURE and top != module.name.partition(".")[0]:
                faults.append(f"{module.path}:{found.line} imports {top}")
        for name, line in used(module):
            outside = name in ("open", "print", "input") or (name.startswith(("os.", "time.")))
            if outside and (module.room, name) not in GROUND_USES:
                faults.append(f"{module.path}:{line} uses {name}")
    return faults


def only_doors_read_the_outside(modules: list[Module]) -> list[str]:
    return _refused([module for module in modules if module.room not in DOORS], OUTSIDE, OUTSIDE_USES)


def only_the_disk_writes(modules: list[Module]) -> list[str]:
    return _refused([module for module in modules if module.room not in PENS], WRITES, WRITE_USES)


def nothing_is_imported_by_a_text(modules: list[Module]) -> list[str]:
    return _refused(modules, DYNAMIC, DYNAMIC_USES)


def no_module_is_had_from_its_package(modules: list[Module]) -> list[str]:
    """What was loaded on a fake file system is forgotten afterwards, but for what its package still knows of it."""
    known = {module.name for module in modules}
    return [
        f"{module.path}:{found.line} has {found.meant[0]} from its package, not from an import of its own"
        for module in modules
        for found in imports(module)
        if len(found.meant) == 2 and found.meant[0] in known
    ]


def rooms_are_named_for_what_they_are(modules: list[Module]) -> list[str]:
    return [
        f"{module.path} has a name that says nothing"
        for module in modules
        if REFUSED_NAMES & set(module.path.removesuffix(".py").replace("/", "_").split("_"))
    ]


def every_module_tells_why_it_exists(modules: list[Module]) -> list[str]:
    return [
        f"{module.path} has no docstring" for module in modules if not (ast.get_docstring(module.tree) or "").strip()
    ]


def _refused(modules: list[Module], names: set[str], exceptions: dict[tuple[str, str], str]) -> list[str]:
    return [
        f"{module.path}:{line} uses {name}"
        for module in modules
        for name, line in used(module)
        if name in names and (module.room, name) not in exceptions
    ]


RULES: list[Callable[[list[Module]], list[str]]] = [
    every_file_has_its_floor,
    imports_go_down,
    no_circles,
    one_tool_has_one_room,
    only_history_runs_a_program,
    the_ground_is_pure,
    only_doors_read_the_outside,
    only_the_disk_writes,
    nothing_is_imported_by_a_text,
    no_module_is_had_from_its_package,
    rooms_are_named_for_what_they_are,
    every_module_tells_why_it_exists,
]
HOUSE = house(PROJECT / "lhub")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_the_rule(rule: Callable[[list[Module]], list[str]]) -> None:
    assert rule(HOUSE) == []


def test_every_room_of_the_table_stands() -> None:
    assert {module.room for module in HOUSE} == set(HEIGHT)


def test_no_room_stands_on_two_floors() -> None:
    assert len(HEIGHT) == sum(map(len, FLOORS.values()))


@pytest.mark.parametrize("exceptions", [OUTSIDE_USES, WRITE_USES, DYNAMIC_USES, GROUND_USES])
def test_no_exception_outlives_its_reason(exceptions: dict[tuple[str, str], str]) -> None:
    uses = {(module.room, name) for module in HOUSE for name, _ in used(module)}
    assert [exception for exception in exceptions if exception not in uses] == []


def test_no_tool_has_a_room_that_does_not_use_it() -> None:
    uses = {(found.meant[-1].partition(".")[0], module.room) for module in HOUSE for found in imports(module)}
    assert [(tool, room) for tool, rooms in TOOLS.items() for room in rooms if (tool, room) not in uses] == []


PACKAGES = {"yaml": "PyYAML", "git": "GitPython", "gitdb": "GitPython"}
"""What a module is called on PyPI, where that is not its own name."""


def test_whoever_installs_the_house_gets_every_tool_that_it_uses() -> None:
    """On any Python that it is for: what the newest brings along, the oldest may lack."""
    [asked] = re.findall(r"(?ms)^dependencies = \[$(.*?)^\]", (PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    installed = set(re.findall(r'^    "([A-Za-z0-9_.-]+)', asked, re.MULTILINE))
    used = {found.meant[-1].partition(".")[0] for module in HOUSE for found in imports(module)} - {"lhub"}
    missing = {PACKAGES.get(tool, tool) for tool in used & TOOLS.keys() - sys.stdlib_module_names - EXTRA} - installed
    assert missing == set()


# the rules find what they are for

SMALL_HOUSE = {
    "__init__": "from __future__ import annotations\nfrom lhub.errors import Fault\n",
    "errors": "from dataclasses import dataclass\nclass Fault(Exception): pass\n",
    "names": "import re\nfrom lhub.errors import Fault\n",
    "disk": "import os\nimport lhub.names as names\n\ndef write(path):\n    os.rename(path, open(path, 'w').name)\n",
    "store": "import os\nfrom lhub.disk import write\n\ndef read(path):\n    return open(path), os.listdir()\n",
    "history": "import subprocess\nfrom lhub.store import read\n",
    "kinds/__init__": "import lhub.kinds.executor as executor\n",
    "kinds/executor": "import yaml\nfrom lhub.disk import write\n",
    "registry": "import lhub.history as history\nimport lhub.kinds as kinds\n",
    "door": "import os, sys\nfrom lhub.registry import history\nhome = os.environ['HOME'], sys.argv\n",
    "cli/main": "import click\nfrom lhub.door import home\n",
}


def small_house(folder: Path, extra: dict[str, str]) -> list[Module]:
    """A house that keeps every rule, with something added to some of its modules."""
    texts = {name: SMALL_HOUSE.get(name, "") + extra.get(name, "") for name in {**SMALL_HOUSE, **extra}}
    files: dict[str, str | bytes] = {
        f"{name}.py": f'"""Why {name} exists."""\n\n{text}' for name, text in texts.items()
    }
    return house(write_tree(folder / "lhub", files))


def faults(modules: list[Module]) -> list[tuple[str, str]]:
    return [(rule.__name__, fault) for rule in RULES for fault in rule(modules)]


def test_a_house_that_keeps_the_rules_has_no_fault(tmp_path: Path) -> None:
    assert faults(small_house(tmp_path, {})) == []


FUNCTION = "def later():\n    "
CHECKED = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "
PLANTED: list[tuple[str, str, str, str]] = [
    ("imports_go_down", "names", "import lhub.disk\n", "names.py:5 imports lhub.disk"),
    ("imports_go_down", "errors", "from lhub import registry\n", "errors.py:5 imports lhub.registry"),
    ("imports_go_down", "store", "from lhub.kinds.executor import write as _w\n", "imports lhub.kinds.executor"),
    ("imports_go_down", "kinds/executor", "from lhub.registry import kinds\n", "executor.py:5 imports lhub.registry"),
    ("imports_go_down", "disk", f"{FUNCTION}from lhub.door import home\n", "disk.py:9 imports lhub.door"),
    ("imports_go_down", "store", f"{FUNCTION}from .registry import kinds\n", "store.py:9 imports lhub.registry"),
    ("imports_go_down", "names", "from . import store\n", "names.py:5 imports lhub.store"),
    ("imports_go_down", "kinds/executor", "from ..registry import kinds\n", "imports lhub.registry"),
    ("imports_go_down", "errors", "from lhub import Registry\n", "errors.py:5 imports lhub,"),
    ("imports_go_down", "disk", f"{CHECKED}from lhub.registry import kinds\n", "disk.py:10 imports lhub.registry"),
    ("no_circles", "disk", f"{FUNCTION}from lhub import store\n", "lhub.disk -> lhub.store -> lhub.disk"),
    ("no_circles", "kinds/executor", "import lhub.kinds\n", "lhub.kinds -> lhub.kinds.executor -> lhub.kinds"),
    ("one_tool_has_one_room", "store", "import git\n", "store.py:8 imports git"),
    ("one_tool_has_one_room", "store", f"{FUNCTION}from git.exc import GitError\n", "store.py:9 imports git"),
    ("one_tool_has_one_room", "kinds/executor", "import subprocess\n", "imports subprocess"),
    ("one_tool_has_one_room", "registry", "from filelock import FileLock\n", "imports filelock"),
    ("one_tool_has_one_room", "store", "import pathspec\n", "imports pathspec"),
    ("one_tool_has_one_room", "disk", "import yaml.nodes\n", "imports yaml"),
    ("one_tool_has_one_room", "door", "import click\n", "imports click"),
    ("one_tool_has_one_room", "disk", "import shutil\n", "imports shutil"),
    ("one_tool_has_one_room", "disk", "import requests\n", "imports requests"),
    ("only_history_runs_a_program", "disk", "os.system('git gc')\n", "uses os.system"),
    ("only_history_runs_a_program", "history", "from os import execvp as run\n", "uses os.execvp"),
    ("the_ground_is_pure", "names", "import io\n", "names.py:5 imports io"),
    ("the_ground_is_pure", "names", "import os\nhere = os.listdir('.')\n", "names.py:6 uses os.listdir"),
    ("the_ground_is_pure", "names", "text = open('a').read()\n", "names.py:5 uses open"),
    ("the_ground_is_pure", "names", "import time\nnow = time.monotonic()\n", "uses time.monotonic"),
    ("only_doors_read_the_outside", "store", "home = os.environ['HOME']\n", "store.py:8 uses os.environ"),
    ("only_doors_read_the_outside", "store", "from os import environ\n", "uses os.environ"),
    ("only_doors_read_the_outside", "store", "import os as system\nhere = system.getcwd()\n", "uses os.getcwd"),
    ("only_doors_read_the_outside", "store", "from os import path as p\np.expanduser('~')\n", "os.path.expanduser"),
    ("only_doors_read_the_outside", "registry", "import sys\nsys.stderr.write('hello')\n", "uses sys.stderr"),
    ("only_doors_read_the_outside", "registry", "import time\nday = time.localtime()\n", "uses time.localtime"),
    ("only_doors_read_the_outside", "registry", "print('hello')\n", "uses print"),
    ("only_the_disk_writes", "store", "os.unlink('a')\n", "store.py:8 uses os.unlink"),
    ("only_the_disk_writes", "store", "open('a', 'a')\n", "uses open to write"),
    ("only_the_disk_writes", "store", "open('a', mode='r+b')\n", "uses open to write"),
    ("only_the_disk_writes", "store", "mode = 'w'\nopen('a', mode)\n", "uses open to write"),
    ("only_the_disk_writes", "store", "os.open('a', os.O_CREAT)\n", "uses os.O_CREAT"),
    ("only_the_disk_writes", "store", "from os import rename\n", "uses os.rename"),
    ("only_the_disk_writes", "store", "def save(place): place.write_text('a')\n", "uses open to write"),
    ("nothing_is_imported_by_a_text", "store", "import importlib as i\ni.import_module('a')\n", "import_module"),
    ("nothing_is_imported_by_a_text", "store", "git = __import__('git')\n", "uses __import__"),
    ("no_module_is_had_from_its_package", "store", "from lhub import names\n", "has lhub.names from its package"),
    ("no_module_is_had_from_its_package", "registry", f"{FUNCTION}from .kinds import executor\n", "kinds.executor"),
    ("every_file_has_its_floor", "cellar", "", "cellar.py stands on no floor"),
    ("every_file_has_its_floor", "attic/spiders", "", "attic/spiders.py stands on no floor"),
    ("rooms_are_named_for_what_they_are", "kinds/utils", "", "kinds/utils.py has a name that says nothing"),
    ("rooms_are_named_for_what_they_are", "cli/tag_helpers", "", "cli/tag_helpers.py has a name that says nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "room", "text", "fault"), PLANTED, ids=[f"{one[0]}-{one[3]}" for one in PLANTED])
def test_a_planted_fault_is_found(tmp_path: Path, rule: str, room: str, text: str, fault: str) -> None:
    found = faults(small_house(tmp_path, {room: text}))
    assert [said for broken, said in found if broken == rule and fault in said] != []


def test_a_module_without_a_docstring_is_found(tmp_path: Path) -> None:
    write_tree(tmp_path / "lhub", {"disk.py": "# nothing to say\n"})
    assert every_module_tells_why_it_exists(house(tmp_path / "lhub")) == ["disk.py has no docstring"]


def test_every_rule_is_broken_by_a_planted_fault() -> None:
    proved = {one[0] for one in PLANTED} | {"every_module_tells_why_it_exists"}
    assert proved == {rule.__name__ for rule in RULES}


# what modules show, runs


@pytest.mark.parametrize("name", ROOMS)
def test_every_example_in_a_docstring_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_most_rooms_open_with_an_example() -> None:
    shown = {module.room for module in HOUSE if ">>>" in (ast.get_docstring(module.tree) or "")}
    assert FLOORS["GROUND"] <= shown
