"""Executors: what makes a folder one, what it gains on the way, what its manifest tells, and all that is refused."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lhub.errors import UsageError
from lhub.folder import scan
from lhub.kinds import Recognised, described, name_of, recognise
from lhub.kinds.config import settings as settings_of
from lhub.registry import Registry
from tests.conftest import config_yml, executor_py, read_tree, snapshot, write_tree

LAW = settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
Files = dict[str, str | bytes]
X: Files = {"config.yml": config_yml("X"), "executor.py": executor_py("X")}
BARE: Files = {"executor.py": executor_py("X")}
"""One that does not say its name, nor which class it is."""

Look = Callable[[Mapping[str, str | bytes]], Recognised]


@pytest.fixture
def look(tmp_path: Path) -> Look:
    """What a folder with these files is; the folder itself must stay as it was."""

    def recognised(files: Mapping[str, str | bytes]) -> Recognised:
        folder = write_tree(tmp_path / "folder", files)
        before = snapshot(folder)
        try:
            return recognise(scan(str(folder)))
        finally:
            assert snapshot(folder) == before

    return recognised


def faults(look: Look, files: Mapping[str, str | bytes]) -> list[str]:
    """What is wrong with an Executor: one sentence a line, in one message."""
    with pytest.raises(UsageError, match="is no Executor that can be pushed") as told:
        look(files)
    assert told.value.hint
    first, *more = str(told.value).split("\n  ")
    return more or [first.partition("can be pushed: ")[2]]


def texts(found: Recognised) -> dict[str, str]:
    """The files that gained something, as they travel."""
    return {source.path: source.text.decode() for source in found.packing.sources if source.text is not None}


def about(found: Recognised) -> dict[str, Any]:
    return dict(found.about)


# what makes a folder an Executor


@pytest.mark.parametrize(
    "files",
    [
        X,
        BARE,
        {"config.yml": "jtype: X\npy_modules: x.py\n", "x.py": executor_py("X")},
        {"manifest.yml": "name: X\n", "x.py": executor_py("X")},
        {"x.py": executor_py("X")},
        {"executor/x.py": executor_py("X")},
    ],
    ids=" ".join,
)
def test_a_folder_is_an_executor_by_its_files(look: Look, files: Files) -> None:
    found = look(files)
    assert (found.kind, found.about["jtype"]) == ("executor", "X")


@pytest.mark.parametrize(
    "files",
    [
        {"manifest.yml": "name: X\n"},
        {"config.yml": "learning_rate: 1\n"},
        {"config.yml": "- a list\n"},
        {"config.yml": "a: b: c\n"},
        {"config.yml": "a: 1\n---\nb: 2\n"},
        {"config.yml": "learning_rate: 1\n", "train.py": "class Trainer: ...\n"},
        {"train.py": "class Trainer(Base): ...\n"},
        {"train.py": "print 'of Python 2'\n"},
        {"sub/x.py": executor_py("X")},
        {"executor.txt": executor_py("X")},
        {"weights.bin": b"\0"},
    ],
    ids=" ".join,
)
def test_any_other_folder_is_files_and_travels_as_it_is(look: Look, files: Files) -> None:
    found = look(files)
    assert (found.kind, found.name, texts(found), dict(found.about)) == ("files", None, {}, {})


@pytest.mark.parametrize(
    "files", [{"executor.py": ""}, {"config.yml": "jtype: X\n"}, {"config.yml": "metas: {a: b}\n"}]
)
def test_what_says_that_it_is_one_and_is_none_is_refused(look: Look, files: Files) -> None:
    assert faults(look, files)


# its name


@pytest.mark.parametrize(
    ("metas", "manifest", "name"),
    [
        ("name: A", "name: B", "A"),
        ("description: words", "name: B", "B"),
        ("name: ''", "name: B", "B"),
        ("name: ~", "alias: B", None),
        ("name: alice/A", "{}", "alice/A"),
    ],
)
def test_the_name_is_that_of_config_then_that_of_manifest(
    look: Look, metas: str, manifest: str, name: str | None
) -> None:
    config = f"jtype: X\npy_modules: executor.py\nmetas:\n  {metas}\n"
    found = look(X | {"config.yml": config, "manifest.yml": f"{manifest}\n"})
    assert (found.name, found.about.get("name")) == (name, name)


def test_without_a_config_the_name_is_that_of_manifest(look: Look) -> None:
    assert look(BARE | {"manifest.yml": "name: alice/A\n"}).name == "alice/A"


def test_a_name_is_asked_for_whatever_else_the_folder_holds(tmp_path: Path) -> None:
    folder = write_tree(
        tmp_path / "folder", {"config.yml": config_yml("X"), "executor.py": "def (\n", "back\nslash": ""}
    )
    os.mkfifo(folder / "fifo")
    assert name_of(str(folder)) == "X"


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"manifest.yml": "name: alice/M\n"}, "alice/M"),
        ({"config.yml": "jtype: X\n", "manifest.yml": "name: M\n"}, "M"),
        ({"config.yml": "jtype: X\n", "executor.py": ""}, None),
        ({"config.yml/x": "", "manifest.yml": "- a list\n"}, None),
        ({"executor.py": executor_py("X")}, None),
    ],
)
def test_a_name_is_only_what_the_settings_say(tmp_path: Path, files: Files, name: str | None) -> None:
    assert name_of(str(write_tree(tmp_path, files))) == name


def test_settings_that_are_no_files_name_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.yml")
    (tmp_path / "manifest.yml").symlink_to("nowhere")
    assert name_of(str(tmp_path)) is None


# with config.yml: the class


def test_a_config_must_say_which_class(look: Look) -> None:
    assert faults(look, X | {"config.yml": "py_modules: executor.py\nmetas: {name: X}\n"}) == [
        "config.yml has no jtype, which names the class"
    ]


@pytest.mark.parametrize("jtype", ["", "~", "[X]", "{X: Y}", "''"])
def test_what_names_no_class_is_no_jtype(look: Look, jtype: str) -> None:
    config = f"jtype: {jtype}\npy_modules: executor.py\n"
    assert faults(look, X | {"config.yml": config}) == ["config.yml has no jtype, which names the class"]


@pytest.mark.parametrize(
    "where",
    [
        "py_modules: executor.py",
        "py_modules: ./executor.py",
        "py_modules: [executor.py]",
        "py_modules:\n- other.py\n- executor.py",
        "metas:\n  py_modules: executor.py",
        "metas:\n  py_modules:\n  - executor.py\n  - other.py",
        "metas: {py_modules: [executor.py]}",
        "py_modules: executor.py\nmetas:\n  py_modules: []",
    ],
)
def test_the_class_is_looked_for_in_py_modules(look: Look, where: str) -> None:
    """A text or a list, at the root or under metas."""
    files = X | {"config.yml": f"jtype: X\n{where}\n", "other.py": "class Y: ...\n"}
    assert (look(files).about["jtype"], texts(look(files))) == ("X", {})


def test_py_modules_at_both_places_are_a_fault(look: Look) -> None:
    config = "jtype: X\npy_modules: executor.py\nmetas:\n  py_modules: executor.py\n"
    [fault] = faults(look, X | {"config.yml": config})
    assert "py_modules twice, at its root and under metas" in fault


@pytest.mark.parametrize("where", ["", "py_modules: []", "py_modules: ''", "py_modules:", "py_modules: {a: b}"])
def test_without_py_modules_there_is_nowhere_to_look(look: Look, where: str) -> None:
    [fault] = faults(look, X | {"config.yml": f"jtype: X\n{where}\n"})
    assert fault.startswith("config.yml has no py_modules")


@pytest.mark.parametrize("path", ["none.py", "../executor.py", "/executor.py", "sub", "executor", "executor.pyc"])
def test_a_module_that_does_not_travel_is_a_fault_with_its_line(look: Look, path: str) -> None:
    config = f"jtype: X\npy_modules:\n- executor.py\n- {path}\n"
    [fault] = faults(look, X | {"config.yml": config, "sub/x.py": "", "executor.pyc": ""})
    assert fault.startswith("config.yml line ")
    assert fault.endswith(f"{path}, of py_modules, does not travel")


def test_a_module_that_is_named_twice_and_does_not_travel_is_told_once(look: Look) -> None:
    config = "jtype: X\npy_modules: [none.py, ./none.py, executor.py]\n"
    assert len(faults(look, X | {"config.yml": config})) == 1


@pytest.mark.parametrize(
    ("start", "files"),
    [
        ("executor.py", {"executor.py": "from .impl import X\n", "impl.py": executor_py("X")}),
        ("executor.py", {"executor.py": "from impl import X\n", "impl.py": executor_py("X")}),
        ("executor.py", {"executor.py": "from impl import X as Y\n", "impl.py": executor_py("X")}),
        (
            "executor.py",
            {"executor.py": "from .a import X\n", "a.py": "from .b import X\n", "b.py": executor_py("X")},
        ),
        ("p/__init__.py", {"p/__init__.py": "from .impl import X\n", "p/impl.py": executor_py("X")}),
        ("p/__init__.py", {"p/__init__.py": "from ..impl import X\n", "impl.py": executor_py("X")}),
        (
            "executor.py",
            {"executor.py": "from p import X\n", "p/__init__.py": "from .q import X\n", "p/q.py": executor_py("X")},
        ),
        ("executor.py", {"executor.py": "try:\n    from a import X\nexcept E: ...\n", "a.py": executor_py("X")}),
        (
            "executor.py",
            {"executor.py": "try:\n    from .a import X\nexcept E:\n    from a import X\n", "a.py": executor_py("X")},
        ),
    ],
    ids=[
        "relative",
        "absolute",
        "alias",
        "chain",
        "package",
        "parent",
        "through a package",
        "tried",
        "tried both ways",
    ],
)
def test_the_class_is_followed_to_where_it_is_imported_from(look: Look, start: str, files: Files) -> None:
    found = look({"config.yml": f"jtype: X\npy_modules: {start}\n"} | files)
    assert about(found) == {"jtype": "X", "endpoints": [{"method": "serve"}]}


def test_imports_in_a_circle_end_where_they_began(look: Look) -> None:
    files = X | {"executor.py": "from a import X\n", "a.py": "from executor import X\n"}
    assert faults(look, files) == ["config.yml line 1: there is no class X in executor.py, a.py"]


def test_a_class_that_is_not_there_is_a_fault_that_names_where_it_was_looked_for(look: Look) -> None:
    config = "# mine\njtype: Y\npy_modules: [executor.py, other.py]\n"
    told = faults(look, X | {"config.yml": config, "other.py": ""})
    assert told == ["config.yml line 2: there is no class Y in executor.py, other.py"]


def test_a_class_that_a_config_names_need_not_say_that_it_is_an_executor(look: Look) -> None:
    assert look(X | {"executor.py": "class X(Base): ...\n"}).about["jtype"] == "X"


def test_two_classes_of_the_name_are_told_with_their_lines(look: Look) -> None:
    config = "jtype: X\npy_modules: [executor.py, other.py]\n"
    [fault] = faults(look, X | {"config.yml": config, "other.py": "\nclass X: ...\n"})
    assert "more than one class X: X (executor.py line 4), X (other.py line 2)" in fault


# without config.yml: the only Executor


def test_a_config_is_written_for_the_only_class_based_on_executor(look: Look) -> None:
    found = look(BARE | {"other.py": "class Y: ...\n", "tests/test_x.py": executor_py("Z")})
    assert settings_of(texts(found)["config.yml"]) == {"jtype": "X", "py_modules.0": "executor.py"}
    assert (len(found.gained), "config.yml" in found.gained[0]) == (1, True)


@pytest.mark.parametrize("path", ["anything.py", "executor/x.py", "executor/__init__.py", "__init__.py"])
def test_it_is_looked_for_at_the_top_and_in_executor(look: Look, path: str) -> None:
    written = settings_of(texts(look({path: executor_py("X")}))["config.yml"])
    assert written == {"jtype": "X", "py_modules.0": path}


def test_no_executor_is_a_fault(look: Look) -> None:
    [fault] = faults(look, {"executor.py": "class X(Base): ...\n", "sub/x.py": executor_py("X")})
    assert fault.startswith("no class based on Executor in *.py and executor/*.py")


def test_that_there_is_no_executor_is_told_beside_other_faults(look: Look) -> None:
    told = faults(look, {"executor.py": "x = 1\n", "manifest.yml": "- a list\n"})
    assert [fault.partition(" ")[0] for fault in told] == ["manifest.yml", "no"]


def test_several_executors_are_told_with_their_lines(look: Look) -> None:
    [fault] = faults(look, BARE | {"executor/y.py": "import jina\nclass Y(jina.Executor): ...\n"})
    assert "X (executor.py line 4)" in fault
    assert "Y (executor/y.py line 2)" in fault


def test_py_modules_are_written_so_that_each_finds_what_it_imports(look: Look) -> None:
    files: Files = {
        "executor.py": f"import b\nfrom a import f\n{executor_py('X')}",
        "a.py": "from c import g\n",
        "b.py": "import a\n",
        "c.py": "import os\n",
        "unused.py": "",
    }
    found = settings_of(texts(look(files))["config.yml"])
    order = [found[f"py_modules.{number}"] for number in range(4)]
    assert (sorted(order), order[-1]) == (["a.py", "b.py", "c.py", "executor.py"], "executor.py")
    assert order.index("c.py") < order.index("a.py") < order.index("b.py")
    assert "py_modules.4" not in found


@pytest.mark.parametrize(
    "line",
    [
        "from .x import X\n",
        "from executor.x import X\n",
        "from .x import X as Mine\n",
        "from .x import *\n",
        "from . import x\n",
    ],
)
def test_a_package_that_imports_the_class_is_loaded_as_one(look: Look, line: str) -> None:
    """By its own path a module has no package, and its relative imports fail."""
    files: Files = {"executor/__init__.py": line, "executor/x.py": f"from . import helper\n{executor_py('X')}"}
    written = settings_of(texts(look(files | {"executor/helper.py": ""}))["config.yml"])
    assert written == {"jtype": "X", "py_modules.0": "executor/__init__.py"}


def test_modules_in_a_circle_are_a_fault_with_the_line_that_closes_it(look: Look) -> None:
    files = BARE | {"executor.py": f"import a\n{executor_py('X')}", "a.py": "\nimport b\n", "b.py": "\n\nimport a\n"}
    assert faults(look, files) == ["b.py line 3 closes a circle: a.py imports b.py imports a.py"]


def test_a_circle_that_the_class_does_not_need_is_nobody_s_affair(look: Look) -> None:
    assert look(BARE | {"a.py": "import b\n", "b.py": "import a\n"}).kind == "executor"


# its constructor


@pytest.mark.parametrize("config", [True, False])
@pytest.mark.parametrize("arguments", ["", "*args", "self=None"])
def test_a_constructor_that_cannot_be_called_is_a_fault_with_its_line(look: Look, arguments: str, config: bool) -> None:
    files: Files = {"executor.py": f"class X(Executor):\n    def __init__({arguments}): ...\n"}
    told = faults(look, files | ({"config.yml": config_yml("X")} if config else {}))
    assert told == ["executor.py line 2: __init__ of X takes no self"]


# manifest.yml


def test_what_a_manifest_says_goes_into_metas(look: Look) -> None:
    manifest = "manifest_version: 1\nname: M\ndescription: 'new: words'\nurl: https://x\nkeywords: [a, b]\nalias: no\n"
    config = "jtype: X # the class\npy_modules: executor.py\nmetas:\n  name: X # mine\n  workspace: here\n"
    found = look(X | {"config.yml": config, "manifest.yml": manifest})
    assert settings_of(texts(found)["config.yml"]) == settings_of(config) | {
        "metas.description": "new: words",
        "metas.url": "https://x",
        "metas.keywords.0": "a",
        "metas.keywords.1": "b",
    }
    rest = iter(texts(found)["config.yml"].splitlines())
    assert [line for line in config.splitlines() if line not in rest] == []
    assert set(texts(found)) == {"config.yml"}


@pytest.mark.parametrize("files", [X, BARE], ids=["with a config", "without"])
def test_a_written_config_and_the_manifest_agree(look: Look, files: Files) -> None:
    found = look(files | {"manifest.yml": "name: M\ndescription: words\nkeywords: [a]\n"})
    written = settings_of(texts(found)["config.yml"])
    told = (found.about["name"], found.about["description"], found.about["keywords"])
    assert told == (written["metas.name"], written["metas.description"], [written["metas.keywords.0"]])


@pytest.mark.parametrize(
    "manifest",
    ["manifest_version: 1\nalias: X\n", "name: X\n", "name: ''\ndescription:\nkeywords: []\n", "name: [a]\nurl: {}\n"],
)
def test_a_manifest_that_says_nothing_new_changes_nothing(look: Look, manifest: str) -> None:
    assert texts(look(X | {"manifest.yml": manifest})) == {}


def test_keywords_may_be_one_text(look: Look) -> None:
    assert look(X | {"manifest.yml": "keywords: image\n"}).about["keywords"] == "image"


@pytest.mark.parametrize("manifest", ["- a list\n", "words\n", "", "a: b: c\n"])
def test_a_manifest_that_says_nothing_at_all_is_a_fault(look: Look, manifest: str) -> None:
    [fault] = faults(look, X | {"manifest.yml": manifest})
    assert fault.startswith("manifest.yml ")


# pyproject.toml


PROJECT = '[project]\nname = "x"\ndependencies = ["numpy>=1", "torch"]\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "numpy>=1\ntorch\n"),
        ("", "numpy>=1\ntorch\n"),
        ("jina\n", "jina\nnumpy>=1\ntorch\n"),
        ("jina  # mine", "jina  # mine\nnumpy>=1\ntorch\n"),
        ("# all\nNumPy>=1\n", "# all\nNumPy>=1\ntorch\n"),
    ],
)
def test_the_dependencies_of_a_project_are_added_to_the_requirements(
    look: Look, before: str | None, after: str
) -> None:
    found = look(X | {"pyproject.toml": PROJECT} | ({} if before is None else {"requirements.txt": before}))
    assert texts(found) == {"requirements.txt": after}


def test_a_project_that_adds_nothing_changes_nothing(look: Look) -> None:
    assert texts(look(X | {"pyproject.toml": PROJECT, "requirements.txt": "Torch\nnumpy>=1\n"})) == {}
    assert texts(look(X | {"pyproject.toml": "[tool.black]\nline-length = 120\n"})) == {}


def test_requirements_in_another_encoding_stay_in_it(look: Look) -> None:
    before = "jina # é".encode("utf-16")
    found = look(X | {"pyproject.toml": PROJECT, "requirements.txt": before})
    source = found.packing.source("requirements.txt")
    assert source is not None
    assert (source.text or b"").startswith(before)
    assert (source.text or b"").decode("utf-16") == "jina # é\nnumpy>=1\ntorch\n"


def test_what_the_encoding_of_the_requirements_cannot_hold_is_a_fault_of_theirs(look: Look) -> None:
    project = '[project]\ndependencies = ["a @ https://host/é.whl"]\n'
    [fault] = faults(look, X | {"requirements.txt": "# coding: ascii\n", "pyproject.toml": project})
    assert fault.startswith(("requirements.txt ", "pyproject.toml "))


def test_variables_of_a_project_count(look: Look) -> None:
    project = '[project]\ndependencies = ["a @ https://${TOKEN}@host/a.whl"]\n'
    found = look(X | {"pyproject.toml": project})
    assert (found.variables, found.about["build_env"]) == (("TOKEN",), ["TOKEN"])


@pytest.mark.parametrize("wish", ["a @ file:///a.whl", "-e .", "numpy\\n-r /etc/passwd", "./a"])
def test_a_project_asks_for_nothing_that_requirements_may_not(look: Look, wish: str) -> None:
    assert len(faults(look, X | {"pyproject.toml": f'[project]\ndependencies = ["{wish}"]\n'})) == 1


def test_a_project_that_does_not_parse_is_a_fault(look: Look) -> None:
    [fault] = faults(look, X | {"pyproject.toml": "[[\n"})
    assert fault.startswith("pyproject.toml does not parse")


# what travels


def digests(folder: Path) -> dict[str, str]:
    return {path: hashlib.sha256(data).hexdigest() for path, data in read_tree(folder).items()}


def published(registry: Registry, folder: Path) -> dict[str, str]:
    """The digests of a version's files, as its SHA256SUMS has them."""
    place = Path(registry.push(folder, "X").path or "").parent
    lines = (place / "SHA256SUMS").read_text().splitlines()
    assert digests(place / "files") == {path: digest for digest, _, path in (line.partition("  ") for line in lines)}
    return digests(place / "files")


def test_a_folder_with_nothing_to_add_travels_byte_for_byte(registry: Registry, tmp_path: Path) -> None:
    more: Files = {"requirements.txt": "jina\r\n", "manifest.yml": "name: X\n", "pyproject.toml": "[tool.x]\n"}
    files = X | more | {"weights.bin": bytes(range(256)), "é/y.txt": "\r\n"}
    folder = write_tree(tmp_path / "src", files)
    before = snapshot(folder)
    assert published(registry, folder) == digests(folder)
    assert snapshot(folder) == before


@pytest.mark.parametrize(
    ("more", "gains"),
    [
        ({"manifest.yml": "description: words\n"}, {"config.yml"}),
        ({"pyproject.toml": PROJECT, "requirements.txt": "jina\n"}, {"requirements.txt"}),
        ({"pyproject.toml": PROJECT}, {"requirements.txt"}),
        ({"manifest.yml": "url: https://x\n", "pyproject.toml": PROJECT}, {"config.yml", "requirements.txt"}),
    ],
    ids=["a manifest", "a project", "a project alone", "both"],
)
def test_only_what_gains_something_is_rewritten(
    registry: Registry, tmp_path: Path, more: Files, gains: set[str]
) -> None:
    folder = write_tree(tmp_path / "src", X | more | {"weights.bin": b"\0"})
    before, own = snapshot(folder), digests(folder)
    came = published(registry, folder)
    assert {path for path in came | own if came.get(path) != own.get(path)} == gains
    assert snapshot(folder) == before


def test_what_was_pulled_goes_in_again_as_the_same_version(registry: Registry, tmp_path: Path) -> None:
    """What it gained is there now, and nothing is to be added."""
    folder = write_tree(
        tmp_path / "src", BARE | {"manifest.yml": "name: X\nurl: https://x\n", "pyproject.toml": PROJECT}
    )
    version = registry.push(folder).version
    again = registry.push(registry.pull("alice/X", tmp_path / "pulled").path)
    assert (again.version, again.new) == (version, False)


def test_an_executable_file_that_gains_something_stays_one(registry: Registry, tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "src", X | {"pyproject.toml": PROJECT, "requirements.txt": "jina\n"})
    (folder / "requirements.txt").chmod(0o755)
    assert os.access(Path(registry.path(registry.push(folder).uri)) / "requirements.txt", os.X_OK)


# what the manifest remembers


def test_a_manifest_remembers_what_the_source_says(registry: Registry, tmp_path: Path) -> None:
    text = """
import jina
from jina import Executor, requests

class X(Executor):
    def __init__(self, size: int, *, model: str = 'tiny', **kwargs):
        super().__init__(**kwargs)

    @requests(on=['/index', '/update'])
    async def add(self, docs): ...

    @jina.requests
    def rest(self, docs): ...
"""
    metas = ["description: does things", "keywords: [a, b]", "url: https://x"]
    folder = write_tree(tmp_path / "src", {"config.yml": config_yml("X", *metas), "executor.py": text})
    write_tree(folder, {"requirements.txt": "a==${VERSION}\n"})
    registry.push(folder, build_env={"VERSION": "1.0"})
    assert registry.show("alice/X").manifest["about"] == {
        "jtype": "X",
        "name": "X",
        "description": "does things",
        "url": "https://x",
        "keywords": ["a", "b"],
        "arguments": [{"name": "size", "type": "int"}, {"name": "model", "type": "str", "default": "'tiny'"}],
        "endpoints": [{"method": "add", "on": ["/index", "/update"]}, {"method": "rest"}],
        "build_env": ["VERSION"],
    }


BASE = """class Base(Executor):
    def __init__(self, size=1): ...
    @requests(on='/base')
    def base(self): ...
    @requests(on='/old')
    def both(self): ...
"""
CHILD = """class X(Base):
    @requests(on='/new')
    def both(self): ...
"""


@pytest.mark.parametrize(
    "files",
    [
        {"executor.py": BASE + CHILD},
        {"executor.py": CHILD, "base.py": BASE, "config.yml": "jtype: X\npy_modules: [base.py, executor.py]\n"},
        {"executor.py": f"from base import Base\n{CHILD}", "base.py": BASE},
        {"executor.py": f"from .p.base import Base\n{CHILD}", "p/base.py": BASE},
    ],
    ids=["one file", "two modules", "imported", "imported from a package"],
)
def test_what_a_class_inherits_in_the_folder_is_its_own(look: Look, files: Files) -> None:
    found = look({"config.yml": config_yml("X")} | files)
    assert found.about["arguments"] == [{"name": "size", "default": "1"}]
    told = {each["method"]: each["on"] for each in found.about["endpoints"]}
    assert told == {"both": ["/new"], "base": ["/base"]}


@pytest.mark.parametrize("text", ["class X(X): ...\n", "class A(B): ...\nclass B(A): ...\nclass X(A): ...\n"])
def test_bases_in_a_circle_lead_nowhere(look: Look, text: str) -> None:
    assert look(X | {"executor.py": text}).about["jtype"] == "X"


@pytest.mark.parametrize("value", ["\\ud800", "\\0", "\\x1b[2J\\u202e", "\\n", "'", '\\"'])
def test_whatever_an_endpoint_or_a_default_is_the_manifest_keeps_it(
    registry: Registry, tmp_path: Path, value: str
) -> None:
    lines = [f'def __init__(self, a="{value}"): ...', f'@requests(on="{value}")', "def f(self): ..."]
    text = "\n    ".join(["class X(Executor):", *lines])
    version = registry.push(write_tree(tmp_path / "src", X | {"executor.py": text})).version
    [endpoint] = registry.show("alice/X").manifest["about"]["endpoints"]
    assert endpoint["on"] == [value.encode().decode("unicode_escape")]
    assert (registry.verify().ok, registry.push(tmp_path / "src").version) == (True, version)


def test_tags_and_aliases_of_a_user_s_yaml_are_never_constructed(look: Look) -> None:
    config = "jtype: !!python/object/apply:os.abort X\npy_modules: executor.py\nmetas: &m\n  name: A\n  self: *m\n"
    assert look(X | {"config.yml": config}).about["jtype"] == "X"


def test_what_was_published_elsewhere_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = write_tree(
        tmp_path, {"config.yml": "jtype: X\nmetas: {name: N}\n", "executor.py": "print 'of Python 2'\n"}
    )
    found = described(scan(str(folder)))
    assert (found.kind, found.name, dict(found.about), texts(found)) == (
        "executor",
        "N",
        {"jtype": "X", "name": "N"},
        {},
    )


# all faults at once, and nothing published


def test_every_fault_is_in_one_message_with_its_file_and_line(look: Look) -> None:
    told = faults(
        look,
        {
            "config.yml": "jtype: X\npy_modules:\n- executor.py\n- none.py\n- broken.py\n",
            "executor.py": "class X(Executor):\n    def __init__(): ...\n",
            "broken.py": "x = 1\nprint 'x'\n",
            "manifest.yml": "- a list\n",
            "requirements.txt": "-e .\n-r more.txt\ntorch==${_X}\n",
            "more.txt": "# words\n./x.whl\n-r ../x.txt\n",
            "pyproject.toml": "[[\n",
        },
    )
    for words in (
        "config.yml line 3: none.py",
        "executor.py line 2: __init__ of X",
        "broken.py line 2 does not parse",
        "manifest.yml is not a mapping",
        "requirements.txt line 1 asks for an editable",
        "more.txt line 2 asks for a local path",
        "more.txt line 3 ",
        "${_X}",
        "pyproject.toml does not parse",
    ):
        assert len([fault for fault in told if words in fault]) == 1, words
    assert len(told) == 9


def test_what_does_not_parse_is_told_though_nothing_names_the_class(look: Look) -> None:
    told = faults(look, {"config.yml": "py_modules: [executor.py, none.py]\n", "executor.py": "def (\n"})
    assert len(told) == 3
    assert any(fault.startswith("executor.py line 1 does not parse") for fault in told)


def test_without_a_config_every_file_that_does_not_parse_is_told(look: Look) -> None:
    told = faults(look, {"executor.py": "def (\n", "b.py": "\nprint 'x'\n", "executor/c.py": "x = = 1\n"})
    assert sorted(fault.partition(" does")[0] for fault in told) == [
        "b.py line 2",
        "executor.py line 1",
        "executor/c.py line 1",
    ]


REFUSED: dict[str, Files] = {
    "no class": {"executor.py": "x = 1\n"},
    "two classes": BARE | {"other.py": executor_py("Y")},
    "a circle": {"executor.py": f"import a\n{executor_py('X')}", "a.py": "import executor\n"},
    "Python 2": {"executor.py": f"print 'x'\n{executor_py('X')}"},
    "a NUL": {"executor.py": f"\0{executor_py('X')}"},
    "an unknown encoding of source": X | {"executor.py": b"# coding: klingon\n"},
    "deep source": X | {"executor.py": f"x = {'-' * 100_000}1\n"},
    "a config that is a list": X | {"config.yml": "- jtype: X\n"},
    "a config that is a text": X | {"config.yml": "jtype X\n"},
    "an empty config": X | {"config.yml": ""},
    "a config that does not parse": X | {"config.yml": "jtype: X: Y\n"},
    "a config of two documents": X | {"config.yml": "jtype: X\n---\njtype: Y\n"},
    "a deep config": X | {"config.yml": f"jtype: X\nwith: {'[' * 100}\n"},
    "aliases that are not there": X | {"config.yml": "jtype: *X\n"},
    "a config of a MiB": X | {"config.yml": f"jtype: X\n# {'x' * (1 << 20)}\n"},
    "requirements of a MiB": X | {"requirements.txt": "#" * ((1 << 20) + 1)},
    "an editable install": X | {"requirements.txt": "-e .\n"},
    "a local path": X | {"requirements.txt": "./x.whl\n"},
    "another folder's requirements": X | {"requirements.txt": "-r ../x.txt\n"},
    "requirements from the net": X | {"requirements.txt": "-r https://host/x.txt\n"},
    "an unknown encoding of requirements": X | {"requirements.txt": "# coding: klingon\n"},
    "requirements in latin-1": X | {"requirements.txt": "# é\n".encode("latin-1")},
    "a variable without a name": X | {"requirements.txt": "torch==${_X}\n"},
    "a variable without a value": X | {"requirements.txt": "torch==${X}\n"},
    "a project that does not parse": X | {"pyproject.toml": "[[\n"},
    "a name with two slashes": X | {"config.yml": config_yml("X").replace("name: X", "name: alice/X/Y")},
    "a name with a tag": X | {"config.yml": config_yml("X").replace("name: X", "name: X:v1")},
    "a name with dots": X | {"config.yml": config_yml("X").replace("name: X", "name: ../X")},
    "a folder where a config would be written": BARE | {"config.yml/x": "1"},
    "a twin of what would be written": BARE | {"Config.yml": "1", "manifest.yml": "name: X\n"},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_a_sentence_and_publishes_nothing(registry: Registry, tmp_path: Path, name: str) -> None:
    folder = write_tree(tmp_path / "src", REFUSED[name])
    before = snapshot(registry.root), snapshot(folder)
    with pytest.raises(UsageError) as told:
        registry.push(folder, None if name.startswith("a name") else "X")
    assert len(str(told.value)) < 500
    assert told.value.hint
    assert (snapshot(registry.root), snapshot(folder)) == before


def test_an_executor_py_of_200_megabytes_is_refused_in_a_moment(registry: Registry, tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "src", X)
    os.truncate(folder / "executor.py", 200_000_000)
    before, began = snapshot(registry.root), time.process_time()
    with pytest.raises(UsageError, match=r"executor\.py has 200000000 bytes, at most 1048576"):
        registry.push(folder)
    assert time.process_time() - began < 1
    assert snapshot(registry.root) == before


def test_what_stands_as_files_goes_on_as_files_whatever_is_wrong_with_it(registry: Registry, tmp_path: Path) -> None:
    """An Executor's files beside a model's are not what its owner pushes."""
    folder = write_tree(tmp_path / "src", {"weights.bin": b"\0"})
    registry.push(folder, "weights")
    assert registry.push(write_tree(folder, {"executor.py": "def (\n"}), "weights").new
    assert registry.show("alice/weights").kind == "files"


def test_aliases_of_aliases_hold_no_push_up(look: Look) -> None:
    """Nine lists of nine lists of nine...: a billion values."""
    lines = [f"a0: &a0 [{', '.join('x' * 9)}]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    files = X | {"config.yml": "\n".join([*lines, config_yml("X")]), "manifest.yml": "url: https://x\n"}
    began = time.process_time()
    with pytest.raises(UsageError, match=r"config\.yml"):
        look(files)
    assert time.process_time() - began < 2


PIECES = st.sampled_from(
    [
        "jtype: X",
        "py_modules: executor.py",
        "metas:",
        "name: X",
        "- a",
        "[",
        "{",
        "&a ",
        "*a",
        "class X(Executor):",
        "-r ",
    ]
)
ANY = st.lists(PIECES | st.text(max_size=3), max_size=8).map("\n".join) | st.binary(max_size=20)


@LAW
@given(st.dictionaries(st.sampled_from(["config.yml", "manifest.yml", "executor.py", "requirements.txt"]), ANY))
def test_any_files_are_something_or_a_sentence(tmp_path_factory: pytest.TempPathFactory, files: dict[str, Any]) -> None:
    texts = {name: text if isinstance(text, bytes) else text.encode(errors="replace") for name, text in files.items()}
    folder = write_tree(tmp_path_factory.mktemp("any"), texts | {"x.txt": ""})
    try:
        found = recognise(scan(str(folder)))
    except UsageError as error:
        assert error.hint
    else:
        assert found.kind in ("executor", "files")
