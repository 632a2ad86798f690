"""The skeleton of a pickle: what it is made of, and nothing of it run.

Every class and function that a pickle names is a stand-in here, which keeps what it was given and does nothing. What
could be made to take all time or memory is not done: long bytes are passed over, nothing but texts is hashed.

>>> import io, pickle
>>> skeleton(io.BytesIO(pickle.dumps(ValueError("x"))))
Stub('builtins.ValueError', ('x',))
"""

from __future__ import annotations

import pickle
import re
import struct
from collections.abc import Callable
from io import BytesIO
from typing import IO, Any, ClassVar

from lhub.kinds.shapes import pickled_shape

DATA = "docarray.document.data.DocumentData"
"""What holds the fields of a Document of docarray 0.21; of an array of many only their shapes are kept."""
KEPT = 64 << 20
"""Bytes of one value that are kept; a tensor's numbers are of no interest, the stream of a DocList is."""
_LONG = 1 << 10
_FIRST = re.compile(
    rb"\x80[\x02-\x05](?:\x95.{8})?"
    rb"(?:c(?P<module>[^\n]{1,200})\n(?P<name>[^\n]{1,200})\n|"
    rb"(?:\x8c.|X.{4})(?P<module4>docarray[\w.]*)(?:\x94|q.)?(?:\x8c.|X.{4})(?P<name4>\w+))",
    re.DOTALL,
)


def first_named(head: bytes) -> str:
    """The first class or function of a pickle that begins so, of docarray's; else an empty text."""
    match = _FIRST.match(head)
    if match is None:
        return ""
    return b".".join(filter(None, match.groups())).decode(errors="replace")


def is_document(data: bytes) -> bool:
    """Whether a pickle is one document: of docarray's own class, or of a model of pydantic's."""
    if data[:1] != b"\x80":
        return False
    if first_named(data[:512]).startswith("docarray."):
        return True
    try:
        state = getattr(skeleton(BytesIO(data)), "state", None)
    except ValueError:
        return False
    return isinstance(state, dict) and any(str(key).endswith("fields_set__") for key in state)


class Stub:
    """What a pickle makes by calling something: the `name` of that, what it was given, and the state it got."""

    def __init__(self, name: str, *given: Any) -> None:
        self.name, self.given = name, given
        self.state: Any = None

    def __repr__(self) -> str:
        return f"Stub({self.name!r}, {self.given})"

    def __setstate__(self, state: Any) -> None:
        self.state = pickled_shape(state) if self.name == DATA and isinstance(state, dict) else state

    def append(self, item: Any) -> None:
        """What is put into it is of no interest."""

    extend = append

    def __setitem__(self, key: Any, value: Any) -> None:
        """As above."""


class Begun(Stub):
    """Bytes of which only the first are kept."""


class _Named:
    """A class or function by its name alone; to call it, or to make one, gives a Stub."""

    name = ""

    def __new__(cls, *given: Any, **named: Any) -> Any:
        return Stub(cls.name, *given, *named.values())


class _Skeleton(pickle._Unpickler):  # C's own would hash whatever it is given
    """Finds a stand-in for whatever a pickle names."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    read: Callable[[int], bytes]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    stack: list[Any]

    def find_class(self, module: str, name: str) -> Any:
        return type("Named", (_Named,), {"name": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> Any:
        return Stub("persistent", pid)

    def _bytes(self, size: int) -> None:
        kept = self.read(min(size, KEPT if self._holds_documents() else _LONG))
        left = size - len(kept)
        while left > 0:
            passed = len(self.read(min(left, 1 << 20)))
            if not passed:
                raise EOFError
            left -= passed
        self.append(kept if len(kept) == size else Begun("bytes", kept))

    def _holds_documents(self) -> bool:
        """Whether what comes is the stream of a DocList: `docarray.unpickle_doclist(type, stream)`."""
        return len(self.stack) == 2 and getattr(self.stack[0], "name", "").startswith("docarray.unpickle_")

    def _put(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set(self.stack[-1], [key, value])

    def _put_many(self) -> None:
        items = self.pop_mark()
        self._set(self.stack[-1], items)

    def _set(self, target: Any, items: list[Any]) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) in (str, int):  # to hash a tuple of tuples may take for ever
                target[key] = value

    def _dict(self) -> None:
        items = self.pop_mark()
        made: dict[Any, Any] = {}
        self._set(made, items)
        self.append(made)

    def _as_list(self) -> None:
        """A set, whose items need not be hashed."""
        self.append(list(self.pop_mark()))

    def _empty_list(self) -> None:
        self.append([])

    def _extend(self) -> None:
        items = self.pop_mark()
        self.stack[-1].extend(items)

    def _number(self, size: int) -> None:
        """A whole number of any length."""
        self.append(int.from_bytes(self.read(min(size, _LONG)), "little", signed=True))
        self.read(max(0, size - _LONG))


def _sized(form: str, read: str) -> Callable[[_Skeleton], None]:
    """Reads a length, then what is behind it."""
    width = struct.calcsize(form)

    def load(skeleton: _Skeleton) -> None:
        getattr(skeleton, read)(struct.unpack(form, skeleton.read(width))[0])

    return load


_Skeleton.dispatch |= {
    pickle.SHORT_BINBYTES[0]: _sized("<B", "_bytes"),
    pickle.BINBYTES[0]: _sized("<I", "_bytes"),
    pickle.BINBYTES8[0]: _sized("<Q", "_bytes"),
    pickle.BYTEARRAY8[0]: _sized("<Q", "_bytes"),
    pickle.LONG1[0]: _sized("<B", "_number"),
    pickle.LONG4[0]: _sized("<i", "_number"),
    pickle.SETITEM[0]: _Skeleton._put,
    pickle.SETITEMS[0]: _Skeleton._put_many,
    pickle.DICT[0]: _Skeleton._dict,
    pickle.EMPTY_SET[0]: _Skeleton._empty_list,
    pickle.ADDITEMS[0]: _Skeleton._extend,
    pickle.FROZENSET[0]: _Skeleton._as_list,
}


def skeleton(file: IO[bytes]) -> Any:
    """What the pickle in a file would become, of stand-ins; ValueError for what is no whole pickle."""
    try:
        return _Skeleton(file).load()
    except Exception as error:  # whatever bytes that are none lead to
        raise ValueError(f"it is no whole pickle: {str(error)[:200] or type(error).__name__}") from None
