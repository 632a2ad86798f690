"""Python source, read and never run: its classes with their constructors and endpoints, and what it imports.

What a file does when it is imported is nobody's business here: a push must not run what somebody else wrote.

>>> [x] = read_module(b"class X(Executor):\\n    @requests(on='/index')\\n    def add(self, docs): ...", "x.py").classes
>>> x.name, x.is_executor, x.endpoints
('X', True, (Endpoint(method='add', on=('/index',)),))
"""

from __future__ import annotations

import ast
import posixpath
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

LIMIT = 1 << 20
"""Bytes of the longest module that is read: Python's own parser takes 100 times that much memory."""
_LONGEST = 400
"""Characters kept of a default or an annotation: who wants a table reads the source."""
_BASES = ("Executor",)
_MARK = "requests"
_PACKAGE = "__init__.py"


class Unreadable(ValueError):
    """A module that cannot be read; its words are a fault of the folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One argument of a constructor, as its source has it; without a default it must be given."""

    name: str
    annotation: str | None = None
    default: str | None = None

    def to_dict(self) -> dict[str, str]:
        """The value as a manifest has it."""
        named = {"name": self.name, "type": self.annotation, "default": self.default}
        return {key: value for key, value in named.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A method under ``@requests`` and the endpoints it answers; without any it answers all that nobody else does."""

    method: str
    on: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The value as a manifest has it."""
        return {"method": self.method} | ({"on": list(self.on)} if self.on else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A class that a module defines; `own`: its ``__init__``, on line `init` if it has one, takes an instance."""

    name: str
    path: str
    line: int
    bases: tuple[str, ...]
    init: int | None
    own: bool
    arguments: tuple[Argument, ...]
    endpoints: tuple[Endpoint, ...]

    @property
    def is_executor(self) -> bool:
        """Whether it says of itself that it is one (normalizer, `inspect_executors`)."""
        return any(base in _BASES for base in self.bases)

    @property
    def where(self) -> str:
        """Its place, as compilers tell it."""
        return f"{self.path} line {self.line}"


@dataclass(frozen=True)
class Module:
    """One file, parsed."""

    path: str
    tree: ast.Module

    @cached_property
    def classes(self) -> tuple[Found, ...]:
        """Every class, nested ones too, in the order of the file."""
        known = dict(_constants(self.tree))
        found = [node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)]
        return tuple(_class(node, self.path, known) for node in sorted(found, key=lambda node: node.lineno))

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """Every import, those inside functions too."""
        return tuple(one for node in ast.walk(self.tree) for one in _imports(node))

    def leads_to(self, name: str, among: Collection[str]) -> Iterator[str]:
        """The files from which this one imports a name."""
        for one in self.imports:
            if one.name == name and (path := one.module_file(self.path, among)):
                yield path

    def needs(self, among: Collection[str]) -> Iterator[tuple[str, int]]:
        """The files that this one imports, with the lines where it does."""
        for one in self.imports:
            yield from ((path, one.line) for path in one.files(self.path, among))


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """``from module import name`` (dots counted in `level`), or ``import module`` without a name."""

    module: str
    level: int
    name: str | None
    line: int

    def module_file(self, importer: str, among: Collection[str]) -> str | None:
        """The file of the module; the file's own folder is looked in first, as the Hub did."""
        base = posixpath.dirname(importer)
        for _ in range(self.level - 1):
            base = posixpath.dirname(base)
        places = [base] if self.level else dict.fromkeys([base, ""])
        return next((path for place in places if (path := _file(place, self.module, among))), None)

    def files(self, importer: str, among: Collection[str]) -> Iterator[str]:
        """The file of the module, and of the name where that is a module of its own.

        A package that the importer is a part of is being loaded already: it is nothing that must come first.
        """
        for one in (self, self._name_as_module()):
            path = one.module_file(importer, among) if one else None
            folder, name = posixpath.split(path or "")
            if path and not (name == _PACKAGE and importer.startswith(f"{folder}/" if folder else "")):
                yield path

    def _name_as_module(self) -> Import | None:
        if self.name is None:
            return None
        module = f"{self.module}.{self.name}" if self.module else self.name
        return Import(module=module, level=self.level, name=None, line=self.line)


def _file(base: str, module: str, among: Collection[str]) -> str | None:
    stem = posixpath.join(base, *module.split(".")) if module else base
    choices = (f"{stem}.py", f"{stem}/{_PACKAGE}" if stem else _PACKAGE)
    return next((path for path in choices if path in among), None)


def read_module(text: bytes, path: str) -> Module:
    """A module by its text; raises Unreadable."""
    if len(text) > LIMIT:
        raise Unreadable(f"{path} has {len(text)} bytes, at most {LIMIT} of a module are read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an author's escapes: they are not the pusher's
            return Module(path, ast.parse(text, filename=path))
    except SyntaxError as error:
        line = f" line {error.lineno}" if error.lineno else ""
        raise Unreadable(f"{path}{line} does not parse: {error.msg}") from None
    except ValueError as error:
        raise Unreadable(f"{path} does not parse: {error}") from None
    except (RecursionError, MemoryError):
        raise Unreadable(f"{path} does not parse: it is nested too deeply") from None


def in_order(first: str, modules: Mapping[str, Module]) -> list[str]:
    """A file and all that it imports, each behind what it needs; raises Unreadable for modules in a circle."""
    done: list[str] = []
    above: list[tuple[str, Iterator[tuple[str, int]]]] = [(first, modules[first].needs(modules))]
    while above:
        path, needs = above[-1]
        needed = next(((need, line) for need, line in needs if need not in done and need != path), None)
        if needed is None:
            done.append(path)
            above.pop()
        elif (need := needed[0]) in (way := [each for each, _ in above]):
            circle = " imports ".join([*way[way.index(need) :], need])
            raise Unreadable(f"{path} line {needed[1]} closes a circle: {circle}")
        else:
            above.append((need, modules[need].needs(modules)))
    return done


# classes


def _class(node: ast.ClassDef, path: str, known: Mapping[str, object]) -> Found:
    methods = [each for each in node.body if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))]
    init = next((each for each in methods if each.name == "__init__"), None)
    given = init.args if init else None
    own = given is None or len(given.posonlyargs + given.args) > len(given.defaults)
    endpoints = [endpoint for each in methods if (endpoint := _endpoint(each, known))]
    return Found(
        name=node.name,
        path=path,
        line=node.lineno,
        bases=tuple(filter(None, map(_last_name, node.bases))),
        init=init.lineno if init else None,
        own=own,
        arguments=tuple(_arguments(given))[1:] if given and own else (),
        endpoints=tuple(endpoints),
    )


def _arguments(given: ast.arguments) -> Iterator[Argument]:
    """The arguments by name, in order; ``*args`` and ``**kwargs`` have none."""
    named = [*given.posonlyargs, *given.args]
    without: list[ast.expr | None] = [None] * (len(named) - len(given.defaults))
    pairs = [*zip(named, [*without, *given.defaults], strict=True)]
    for each, default in [*pairs, *zip(given.kwonlyargs, given.kw_defaults, strict=True)]:
        yield Argument(name=each.arg, annotation=_source(each.annotation), default=_source(default))


def _last_name(node: ast.expr) -> str | None:
    """`Executor` of ``Executor`` and of ``jina.Executor``."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def _source(node: ast.expr | None) -> str | None:
    if node is None:
        return None
    try:
        text = " ".join(ast.unparse(node).split("\n"))
    except RecursionError:
        text = "..."
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


# endpoints


def _endpoint(method: ast.FunctionDef | ast.AsyncFunctionDef, known: Mapping[str, object]) -> Endpoint | None:
    """What ``@requests``, ``@jina.requests``, and either with ``(on=...)``, say of a method."""
    for decorator in method.decorator_list:
        call = decorator if isinstance(decorator, ast.Call) else None
        if _last_name(call.func if call else decorator) == _MARK:
            on = next((each.value for each in call.keywords if each.arg == "on"), None) if call else None
            return Endpoint(method=method.name, on=tuple(_texts(on, known)))
    return None


def _texts(node: ast.expr | None, known: Mapping[str, object]) -> Iterator[str]:
    """The endpoints under `on`: texts, constants of the module, else the words of the source."""
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        for each in node.elts:
            yield from _texts(each, known)
    elif node is not None:
        value: Any = _value(node, known)
        values = value if isinstance(value, (list, tuple)) else [value]
        yield from (each if isinstance(each, str) else _source(node) or "" for each in values if each is not None)


def _value(node: ast.expr, known: Mapping[str, object]) -> object:
    """What a literal says; of anything else its words, of ``None`` nothing."""
    if isinstance(node, ast.Name) and node.id in known:
        return known[node.id]
    return node.value if isinstance(node, ast.Constant) else _source(node)


def _constants(tree: ast.Module) -> Iterator[tuple[str, object]]:
    """The names to which a module gives a text, or a list of texts, at its top."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            items: Iterable[ast.expr] = node.value.elts if isinstance(node.value, (ast.List, ast.Tuple)) else ()
            texts = [each.value for each in items if isinstance(each, ast.Constant)]
            if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
                yield node.targets[0].id, node.value.value
            elif texts and all(isinstance(text, str) for text in texts):
                yield node.targets[0].id, texts


# imports


def _imports(node: ast.AST) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(module=alias.name, level=0, name=None, line=node.lineno)
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield Import(module=node.module or "", level=node.level, name=alias.name, line=node.lineno)
