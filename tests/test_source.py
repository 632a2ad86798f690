"""Source: classes, constructors, endpoints and imports of Python that is read and never run."""

from __future__ import annotations

import resource
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lhub.kinds.source import LIMIT, Found, Module, Unreadable, in_order, read_module
from tests.test_order import in_a_child

LAW = settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def module(text: str | bytes, path: str = "x.py") -> Module:
    return read_module(text if isinstance(text, bytes) else text.encode(), path)


def only(text: str) -> Found:
    """The only class of a text."""
    [found] = module(text).classes
    return found


def method(decorators: str, before: str = "", definition: str = "def f(self, docs): ...") -> str:
    """A module with one class that has one method under these decorators."""
    lines = [*decorators.splitlines(), definition]
    return "\n".join([before, "class X(Executor):", *(f"    {line}" for line in lines), ""])


# endpoints


@pytest.mark.parametrize(
    ("decorator", "on"),
    [
        ("@requests", ()),
        ("@requests()", ()),
        ("@jina.requests", ()),
        ("@jina.requests()", ()),
        ("@requests(on=None)", ()),
        ("@requests(on='/a')", ("/a",)),
        ("@requests(on='/a' '/b')", ("/a/b",)),
        ("@jina.requests(on='/a')", ("/a",)),
        ("@requests(on=['/a', '/b'])", ("/a", "/b")),
        ("@requests(on=('/a', '/b'))", ("/a", "/b")),
        ("@requests(on=['/a', ONE])", ("/a", "/one")),
        ("@requests(\n    on=[\n        '/a',\n    ],\n)", ("/a",)),
        ("@requests(on=ONE)", ("/one",)),
        ("@requests(on=TWO)", ("/one", "/two")),
        ("@requests(on=elsewhere.PATH)", ("elsewhere.PATH",)),
        ("@requests(on=f'/{version}')", ("f'/{version}'",)),
        ("@requests(on=UNKNOWN)", ("UNKNOWN",)),
        ("@monitor(name='m')\n@requests(on='/a')", ("/a",)),
        ("@requests(on='/a')\n@cached", ("/a",)),
    ],
)
def test_an_endpoint_is_what_its_decorator_says(decorator: str, on: tuple[str, ...]) -> None:
    [endpoint] = only(method(decorator, "ONE = '/one'\nTWO = ['/one', '/two']")).endpoints
    assert (endpoint.method, endpoint.on) == ("f", on)


@pytest.mark.parametrize("decorator", ["", "@staticmethod", "@requests.get('/a')", "@request", "@on.requests.other"])
def test_a_method_without_the_mark_is_no_endpoint(decorator: str) -> None:
    assert only(method(decorator)).endpoints == ()


@pytest.mark.parametrize("definition", ["async def f(self, docs): ...", "async def f(self, docs):\n        yield docs"])
def test_an_asynchronous_method_is_an_endpoint_too(definition: str) -> None:
    assert [each.method for each in only(method("@requests", definition=definition)).endpoints] == ["f"]


def test_endpoints_stand_in_the_order_of_the_source() -> None:
    methods = "".join(f"    @requests(on='/{name}')\n    def {name}(self): ...\n" for name in "cab")
    assert [each.method for each in only(f"class X(Executor):\n{methods}").endpoints] == ["c", "a", "b"]


def test_a_manifest_has_an_endpoint_that_answers_all_without_a_list() -> None:
    told = [only(method(decorator)).endpoints[0].to_dict() for decorator in ("@requests", "@requests(on='/a')")]
    assert told == [{"method": "f"}, {"method": "f", "on": ["/a"]}]


@pytest.mark.parametrize("text", ["\\ud800", "\\0", "\\x1b[2J", "\\u202e"])
def test_an_endpoint_may_hold_any_character(text: str) -> None:
    [endpoint] = only(method(f"@requests(on='{text}')")).endpoints
    assert endpoint.on == (text.encode().decode("unicode_escape"),)


# constructors


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("self", []),
        ("self, a", [{"name": "a"}]),
        ("self, a: int", [{"name": "a", "type": "int"}]),
        ("self, a=1", [{"name": "a", "default": "1"}]),
        ("self, a: str = 'x'", [{"name": "a", "type": "str", "default": "'x'"}]),
        ("self, a: 'Optional[int]' = None", [{"name": "a", "type": "'Optional[int]'", "default": "None"}]),
        ("self, a, b=2", [{"name": "a"}, {"name": "b", "default": "2"}]),
        ("self, *, a, b=2", [{"name": "a"}, {"name": "b", "default": "2"}]),
        ("self, a, /, b", [{"name": "a"}, {"name": "b"}]),
        ("self, a=1, *args, b: int, **kwargs", [{"name": "a", "default": "1"}, {"name": "b", "type": "int"}]),
        ("self, a=[\n        1,\n        2,\n    ]", [{"name": "a", "default": "[1, 2]"}]),
        ("me, a=lambda x: x", [{"name": "a", "default": "lambda x: x"}]),
    ],
)
def test_arguments_are_told_by_name_type_and_default(arguments: str, told: list[dict[str, str]]) -> None:
    found = only(f"class X(Executor):\n    def __init__({arguments}): ...\n")
    assert (found.own, [each.to_dict() for each in found.arguments]) == (True, told)


@pytest.mark.parametrize("arguments", ["", "*args", "*args, **kwargs", "self=None", "*, self", "a=1, b=2"])
def test_a_constructor_that_takes_no_self_is_not_its_own(arguments: str) -> None:
    found = only(f"class X(Executor):\n\n    def __init__({arguments}): ...\n")
    assert (found.own, found.init, found.arguments) == (False, 3, ())


def test_a_class_without_a_constructor_is_in_order() -> None:
    found = only("class X(Executor): ...")
    assert (found.own, found.init, found.arguments) == (True, None, ())


def test_a_default_as_long_as_a_table_is_cut() -> None:
    [argument] = only(f"class X(Executor):\n    def __init__(self, a={list(range(1000))}): ...\n").arguments
    assert (argument.default or "").startswith("[0, 1, 2")
    assert len(argument.default or "") < 500


# classes


@pytest.mark.parametrize(
    ("bases", "is_executor"),
    [
        ("(Executor)", True),
        ("(jina.Executor)", True),
        ("(Mixin, Executor)", True),
        ("(Executor, metaclass=Meta)", True),
        ("", False),
        ("()", False),
        ("(MyExecutor)", False),
        ("(executor)", False),
        ("(Executor())", False),
    ],
)
def test_an_executor_says_of_itself_that_it_is_one(bases: str, is_executor: bool) -> None:
    assert only(f"class X{bases}: ...").is_executor is is_executor


def test_classes_are_found_wherever_they_stand_in_the_order_of_the_file() -> None:
    text = (
        "try:\n    class A: ...\nexcept E:\n    class B: ...\ndef f():\n    class C: ...\nclass D:\n    class E: ...\n"
    )
    found = module(text, "sub/x.py").classes
    assert [each.name for each in found] == ["A", "B", "C", "D", "E"]
    assert found[2].where == "sub/x.py line 6"


def test_what_only_looks_like_a_class_is_none() -> None:
    assert module("text = '''\nclass X(Executor): ...\n'''\n# class Y(Executor): ...\n").classes == ()


def test_nothing_of_a_module_is_run() -> None:
    assert only("import os\nos.abort()\nclass X(Executor, key=os.abort()):\n    y = os.abort()\n").name == "X"


# imports


@pytest.mark.parametrize(
    ("importer", "line", "file"),
    [
        ("x.py", "from y import X", "y.py"),
        ("x.py", "from .y import X", "y.py"),
        ("x.py", "from .y import (\n    Z,\n    X,\n)", "y.py"),
        ("x.py", "from .y import X as Other", "y.py"),
        ("x.py", "if 1:\n    from y import X", "y.py"),
        ("x.py", "from p import X", "p/__init__.py"),
        ("x.py", "from p.z import X", "p/z.py"),
        ("x.py", "from . import X", "__init__.py"),
        ("p/z.py", "from . import X", "p/__init__.py"),
        ("p/z.py", "from .z import X", "p/z.py"),
        ("p/z.py", "from ..y import X", "y.py"),
        ("p/q/w.py", "from ..z import X", "p/z.py"),
        ("p/q/w.py", "from ...y import X", "y.py"),
        ("p/z.py", "from y import X", "y.py"),
        ("p/z.py", "from z import X", "p/z.py"),
        ("x.py", "from .y import Y as X", None),
        ("x.py", "from .y import Other", None),
        ("x.py", "from jina import X", None),
        ("x.py", "import X", None),
        ("x.py", "from .nowhere import X", None),
    ],
)
def test_an_import_of_a_name_leads_to_its_file(importer: str, line: str, file: str | None) -> None:
    files = {"x.py", "y.py", "__init__.py", "p/__init__.py", "p/z.py", "p/q/__init__.py", "p/q/w.py"}
    assert list(module(line, importer).leads_to("X", files)) == ([file] if file else [])


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("import y", ["y.py"]),
        ("import y, p.z as z", ["y.py", "p/z.py"]),
        ("from p import z", ["p/__init__.py", "p/z.py"]),
        ("from p.z import anything", ["p/z.py"]),
        ("from . import y", ["y.py"]),
        ("from .p import *", ["p/__init__.py"]),
        ("def f():\n    import y", ["y.py"]),
        ("import os, json", []),
    ],
)
def test_a_module_needs_the_files_that_it_imports(line: str, files: list[str]) -> None:
    assert [path for path, _ in module(line).needs({"x.py", "y.py", "p/__init__.py", "p/z.py"})] == files


def ordered(first: str, **texts: str) -> list[str]:
    """The order of modules that are given as ``y="import z"``; two underscores are a slash."""
    paths = {name.replace("__", "/") + ".py": text for name, text in texts.items()}
    return in_order(first, {path: module(text, path) for path, text in paths.items()})


def test_what_is_imported_comes_before_what_imports_it() -> None:
    order = ordered("x.py", x="import y, z", y="import w", z="import w", w="", other="import x")
    assert order == ["w.py", "y.py", "z.py", "x.py"]


def test_a_module_that_imports_itself_is_no_circle() -> None:
    assert ordered("x.py", x="import x, y", y="import y") == ["y.py", "x.py"]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"x": "\nimport y", "y": "import x"}, "y.py line 1 closes a circle: x.py imports y.py imports x.py"),
        ({"x": "import y", "y": "\n\nfrom z import a", "z": "import y"}, "z.py line 1 closes a circle: y.py imports "),
    ],
    ids=["of all", "behind the first"],
)
def test_modules_in_a_circle_are_named_with_the_line_that_closes_it(texts: dict[str, str], words: str) -> None:
    with pytest.raises(Unreadable) as told:
        ordered("x.py", **texts)
    assert words in str(told.value)


def test_a_module_of_a_package_may_import_its_neighbour() -> None:
    """``from . import`` names the package, which imports it: every package does so, and Python minds nothing."""
    texts = {"p/__init__.py": "from .z import a", "p/z.py": "from . import w", "p/w.py": "", "x.py": "from p import a"}
    order = in_order("x.py", {path: module(text, path) for path, text in texts.items()})
    assert order.index("p/w.py") < order.index("p/z.py") < order.index("x.py")


def test_a_chain_of_a_thousand_modules_is_put_in_order() -> None:
    texts = {f"m{number}": f"import m{number + 1}" for number in range(1000)} | {"m1000": ""}
    order = ordered("m0.py", **texts)
    assert (order[0], order[-1], len(order)) == ("m1000.py", "m0.py", 1001)


# what cannot be read

UNREADABLE: dict[str, tuple[bytes, str]] = {
    "nonsense": (b"x = 1\ndef (", r"x\.py line 2 does not parse"),
    "Python 2": (b"import os\nprint 'hello'\n", r"x\.py line 2 does not parse"),
    "tabs and spaces": (b"if 1:\n\tx = 1\n        y = 2\n", r"x\.py line 3 does not parse"),
    "a NUL": (b"x = 1\0\n", r"x\.py .*does not parse"),
    "UTF-16": ("x = 1\n".encode("utf-16"), r"x\.py .*does not parse"),
    "an unknown encoding": (b"# -*- coding: klingon -*-\n", r"x\.py .*does not parse.*klingon"),
    "not its encoding": (b"# -*- coding: utf-8 -*-\nx = '\xff'\n", r"x\.py .*does not parse"),
    "an endless text": (b"x = '''\n" * 3, r"x\.py line \d does not parse"),
    "a number of 100,000 digits": (b"x = " + b"9" * 100_000, r"x\.py line 1 does not parse"),
    "too long": (b"#" * (LIMIT + 1), rf"x\.py has {LIMIT + 1} bytes, at most {LIMIT} of a module are read"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_does_not_parse_is_a_sentence_with_its_file_and_line(name: str) -> None:
    text, words = UNREADABLE[name]
    with pytest.raises(Unreadable, match=words) as told:
        module(text)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "text",
    [
        "# -*- coding: latin-1 -*-\nclass X: 'é'\n".encode("latin-1"),
        "\ufeffclass X: ...\n".encode(),
        b"class X: ...\r\n",
        b"class X: ...",
        b'class X:\n    "\\d \\invalid"\n',
    ],
    ids=["an encoding of its own", "a byte order mark", "CRLF", "no newline", "an unknown escape"],
)
def test_what_python_reads_is_read_without_a_word(text: bytes) -> None:
    assert [each.name for each in module(text).classes] == ["X"]


DEEP = {
    "parentheses": "x = " + "(" * 5000 + ")" * 5000,
    "open brackets": "[" * 100_000,
    "signs": "x = " + "-" * 100_000 + "1",
    "sums": "x = " + "+".join("1" * 30_000),
    "powers": "x = " + "**".join("1" * 10_000),
    "attributes": "x" + ".a" * 30_000,
    "calls": "x" + "()" * 30_000,
    "nots": "x = " + "not " * 30_000 + "1",
    "lambdas": "x = " + "lambda: " * 5000 + "1",
    "choices": "x = " + "1 if 1 else " * 5000 + "1",
    "branches": "if 1: pass\n" + "elif 1: pass\n" * 5000,
    "blocks": "".join(f"{' ' * depth}if 1:\n" for depth in range(200)) + " " * 200 + "pass",
    "classes": "".join(f"{' ' * depth}class X{depth}:\n" for depth in range(95)) + " " * 95 + "pass",
    "a default": f"class X(Executor):\n    def __init__(self, a={'-' * 900}1): ...",
    "an endpoint": f"class X(Executor):\n    @requests(on={'[' * 90}'/a'{']' * 90})\n    def f(self): ...",
}


@pytest.mark.parametrize("name", DEEP)
def test_source_that_is_deep_is_read_or_refused_in_a_moment(name: str) -> None:
    """In a process of its own: a parser that is driven too deep ends with the stack."""

    def deed() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (4, 4))
        try:
            assert all(each.name for each in module(DEEP[name]).classes)
        except Unreadable as error:
            assert len(str(error)) < 200

    assert in_a_child(deed) == 0


def test_a_module_as_long_as_may_be_is_read() -> None:
    text = b"class X(Executor): ...\n"
    assert [each.name for each in module(text + b"#" * (LIMIT - len(text))).classes] == ["X"]


PIECES: Sequence[str] = [
    "class X(Executor):\n",
    "    def __init__(self, a=1): ...\n",
    "    @requests(on='/a')\n",
    "    def f(self): ...\n",
    "from .y import X\n",
    "import",
    "(",
    ")",
    "'",
    "\n",
    "    ",
    "\\",
    "# coding: ",
    "\0",
    "é",
    "@",
    ":",
]


@LAW
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join) | st.binary(max_size=30))
def test_any_text_is_a_module_or_a_sentence(text: str | bytes) -> None:
    data = text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
    try:
        found = module(data)
    except Unreadable as error:
        assert str(error).startswith("x.py")
    else:
        assert all(each.path == "x.py" and each.line >= 1 for each in found.classes)
        assert all(one.line >= 1 for one in found.imports)
