"""Which class of a folder is its Executor, and which files a loader needs for it; every fault of them is gathered.

With a `config.yml` it is the class that this names, in the files that it names or from which those import it; without,
the only one based on `Executor` in ``*.py`` and ``executor/*.py`` (jina-ai/executor-normalizer, `core.py`).

>>> from lhub.folder import Packing
>>> reading = Reading(Packing(folder="/nowhere", sources=(), ignored=(), own_list=False))
>>> reading.only_class(), reading.faults
(None, ['no class based on Executor in *.py and executor/*.py, and no config.yml that names one'])
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lhub.errors import Corrupt, UsageError
from lhub.folder import Packing, Source
from lhub.kinds.config import CONFIG, child, is_mapping, line_of, parse, text_of, texts_of
from lhub.kinds.source import LIMIT, Found, Module, Unreadable, in_order, read_module

_LIMIT = 1 << 20
"""Bytes of the longest file of settings or requirements that is read."""
_PY = ".py"
_BASE = b"Executor"


@dataclass
class Reading:
    """One look at a folder: each file parsed once, every fault kept. `order` are the files that a loader needs."""

    packing: Packing
    faults: list[str] = field(default_factory=list)
    modules: dict[str, Module | Unreadable] = field(default_factory=dict)
    documents: dict[str, Any] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)

    @cached_property
    def paths(self) -> dict[str, Source]:
        """Every file that travels, by its path."""
        return {source.path: source for source in self.packing.sources}

    @property
    def python(self) -> bool:
        """Whether any of them is Python."""
        return any(path.endswith(_PY) for path in self.paths)

    @cached_property
    def candidates(self) -> list[str]:
        """Where the class of a folder without `config.yml` is looked for: ``*.py`` and ``executor/*.py``."""
        return sorted(path for path in self.paths if path.endswith(_PY) and posixpath.dirname(path) in ("", "executor"))

    def mentioning(self) -> Iterator[str]:
        """Those of the candidates that say `Executor` at all: to parse ten thousand others would take a minute."""
        for path in self.candidates:
            with suppress(UsageError):
                if _BASE in (self.content(path) or b""):
                    yield path

    def noting(self) -> Noting:
        """Makes a fault of what goes wrong inside."""
        return Noting(self.faults)

    # files

    def content(self, path: str, *, limit: int = _LIMIT) -> bytes | None:
        """The content of a file that travels, None where none does; UsageError for one that is too long."""
        source = self.paths.get(path)
        if source is None:
            return None
        if source.size > limit:
            raise UsageError(
                f"{path} has {source.size} bytes, at most {limit} of it are read", hint="a push reads shorter ones"
            )
        try:
            return source.read(limit=limit)
        except Corrupt as error:
            raise UsageError(str(error)) from None

    def noted(self, read: Callable[[str], bytes | None]) -> Callable[[str], bytes | None]:
        """The same, but what may not be read is a fault and reads as nothing."""

        def reading(path: str) -> bytes | None:
            with self.noting():
                return read(path)
            return b""

        return reading

    def yaml(self, path: str) -> Any:
        """The root node of a YAML file, None where there is none; UsageError for what does not parse."""
        if path not in self.documents:
            text = self.content(path)
            self.documents[path] = None if text is None else parse(text, path)
        return self.documents[path]

    def mapping(self, path: str) -> Any:
        """A YAML file's root, a mapping; None where there is no file."""
        node = self.yaml(path)
        if path in self.paths and not is_mapping(node):
            raise UsageError(f"{path} is not a mapping of keys to values")
        return node

    # the class

    def module(self, path: str) -> Module:
        """A module, parsed once; raises Unreadable."""
        if path not in self.modules:
            try:
                self.modules[path] = read_module(self.content(path, limit=LIMIT) or b"", path)
            except UsageError as error:
                self.modules[path] = Unreadable(str(error))
            except Unreadable as error:
                self.modules[path] = error
            self.read.append(path)
        module = self.modules[path]
        if isinstance(module, Unreadable):
            raise module
        return module

    def classes(self, paths: Iterable[str], *, mild: bool = False) -> Iterator[Found]:
        """The classes of these modules; what does not read is a fault, or passed over where one is `mild`."""
        for path in [*paths]:
            try:
                yield from self.module(path).classes
            except Unreadable as error:
                if not mild and str(error) not in self.faults:
                    self.faults.append(str(error))

    def only_class(self) -> Found | None:
        """The one class based on Executor, of a folder that does not say which."""
        before = len(self.faults)
        found = [each for each in self.classes(self.candidates) if each.is_executor]
        if not found and len(self.faults) == before:
            self.faults.append("no class based on Executor in *.py and executor/*.py, and no config.yml that names one")
        chosen = self.one(found, "the folder has more than one Executor; a config.yml with jtype says which")
        if chosen is not None:
            with self.noting():
                self.order = self.imported_first(chosen)
        return chosen

    def named_class(self, config: Any) -> Found | None:
        """The class that `config.yml` names, in the modules that it names and those from which they import it."""
        jtype = text_of(child(config, "jtype"))
        if jtype is None:
            self.faults.append(f"{CONFIG} has no jtype, which names the class")
        places = self.py_modules(config)
        if jtype is None:
            list(self.classes(places))  # what does not parse is told all the same
        if jtype is None or not places:
            return None
        known = len(self.faults)
        for path in places:  # grows while it is read
            with self.noting():
                leads = dict.fromkeys(self.module(path).leads_to(jtype, self.paths))
                places += [each for each in leads if each not in places]
        found = [each for each in self.classes(places) if each.name == jtype]
        if not found and len(self.faults) == known:
            line = line_of(child(config, "jtype"))
            self.faults.append(f"{CONFIG} line {line}: there is no class {jtype} in {', '.join(places)}")
        return self.one(found, f"there is more than one class {jtype}")

    def py_modules(self, config: Any) -> list[str]:
        """The paths under `py_modules`, at the root or under `metas`."""
        nodes = [node for node in (child(config, "py_modules"), child(child(config, "metas"), "py_modules")) if node]
        named = [texts_of(node) or [text for text in [text_of(node)] if text] for node in nodes]
        lists = [each for each in named if each]
        if len(lists) > 1:
            self.faults.append(f"{CONFIG} has py_modules twice, at its root and under metas: one must go")
        if not lists:
            self.faults.append(f"{CONFIG} has no py_modules, which name the files of the class")
            return []
        paths = [posixpath.normpath(path) for path in lists[0]]
        absent = [path for path in dict.fromkeys(paths) if path not in self.paths]
        line = line_of(nodes[named.index(lists[0])])
        self.faults += [f"{CONFIG} line {line}: {path}, of py_modules, does not travel" for path in absent]
        return [path for path in dict.fromkeys(paths) if path in self.paths]

    def one(self, found: list[Found], otherwise: str) -> Found | None:
        """The only one of these, whose constructor can be called; a fault where it is not so."""
        if len(found) > 1:
            self.faults.append(f"{otherwise}: {', '.join(f'{each.name} ({each.where})' for each in found)}")
            return None
        chosen = next(iter(found), None)
        if chosen is not None and not chosen.own:
            self.faults.append(f"{chosen.path} line {chosen.init}: __init__ of {chosen.name} takes no self")
            return None
        return chosen

    def family(self, found: Found) -> list[Found]:
        """A class and those of its bases that the folder defines, nearest first."""
        family = [found]
        for each in family:  # grows while it is read
            for name in each.bases:
                base = self.base(each, name)
                if base is not None and base not in family:
                    family.append(base)
        return family

    def base(self, found: Found, name: str) -> Found | None:
        """A class by its name: of the same file, of one from which that imports it, or of any that was read."""
        with suppress(Unreadable):
            places = [found.path, *self.module(found.path).leads_to(name, self.paths), *self.read]
            return next((each for each in self.classes(places, mild=True) if each.name == name), None)
        return None

    def imported_first(self, found: Found) -> list[str]:
        """The files that a loader needs for a class, each after what it imports: a package by its `__init__`.

        Loaded by its own path a module has no package, so that its relative imports fail.
        """
        package = posixpath.join(posixpath.dirname(found.path), "__init__.py")
        if posixpath.dirname(found.path) and package in self.paths and found.path in self.reached(package):
            return [package]
        modules = self.reached(found.path)
        return [path for path in in_order(found.path, modules) if path == found.path or not self.in_package(path)]

    def reached(self, first: str) -> dict[str, Module]:
        """A file and all that it imports, however many steps away; raises Unreadable."""
        modules: dict[str, Module] = {}
        waiting = [first]
        for path in waiting:  # grows while it is read
            modules[path] = self.module(path)
            waiting += [need for need, _ in modules[path].needs(self.paths) if need not in waiting]
        return modules

    def in_package(self, path: str) -> bool:
        """Whether a file is found by those that import it, as a part of a package: a loader need not know it."""
        folder = posixpath.dirname(path)
        return bool(folder) and f"{folder}/__init__.py" in self.paths


@dataclass
class Noting:
    """Makes a fault of what goes wrong inside, so that all of them are told together."""

    faults: list[str]

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, (UsageError, Unreadable, ValueError)):
            if str(error) not in self.faults:
                self.faults.append(str(error))
            return True
        return False
