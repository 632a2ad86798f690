"""The skeleton of a pickle: what it is made of, and nothing of it run.

Every class and function that a pickle names is a stand-in here, which keeps what it was given and does nothing.

>>> import pickle
>>> skeleton(pickle.dumps(ValueError("x")))
Stub('builtins.ValueError', ('x',))
"""

from __future__ import annotations

import io
import pickle
import re
from typing import Any

_DOCARRAY = re.compile(rb"\x80[\x02-\x05](\x95.{8})?(\x8c.|c|X....)docarray", re.DOTALL)


def is_docarray(head: bytes) -> bool:
    """Whether a file that begins so is a pickle of which docarray's classes are the first."""
    return _DOCARRAY.match(head) is not None


def is_document(data: bytes) -> bool:
    """Whether a pickle is one document: of docarray's own class, or of a model of pydantic's."""
    if is_docarray(data):
        return True
    try:
        state = getattr(skeleton(data), "state", None) if data[:1] == b"\x80" else None
    except ValueError:
        return False
    return isinstance(state, dict) and any(str(key).endswith("fields_set__") for key in state)


class Stub:
    """What a pickle makes by calling something: the `name` of that, what it was given, and the state it got."""

    def __init__(self, name: str, *given: Any) -> None:
        self.name, self.given = name, given
        self.state: Any = None
        self.items: list[Any] = []

    def __repr__(self) -> str:
        return f"Stub({self.name!r}, {self.given})"

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def append(self, item: Any) -> None:
        """An item of what behaves as a list."""
        self.items.append(item)

    def extend(self, items: Any) -> None:
        """Items of what behaves as a list."""
        self.items.extend(items)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))

    def __hash__(self) -> int:
        return id(self)


class _Named:
    """A class or function by its name alone; to call it, or to make one, gives a Stub."""

    name = ""

    def __new__(cls, *given: Any, **named: Any) -> Any:
        return Stub(cls.name, *given, *named.values())


class _Skeleton(pickle.Unpickler):
    """Finds a stand-in for whatever a pickle names."""

    def find_class(self, module: str, name: str) -> Any:
        return type("Named", (_Named,), {"name": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> Any:
        return Stub("persistent", pid)


def skeleton(data: bytes) -> Any:
    """What a pickle would become, of stand-ins; ValueError for what is no pickle."""
    try:
        return _Skeleton(io.BytesIO(data)).load()
    except Exception as error:  # whatever bytes that are none lead to
        raise ValueError(f"it is no whole pickle: {error}") from None
