"""How values are put in words for a person, wherever he reads them: a terminal, a browser.

>>> size(1536), count(1, "file"), short("alice/X@" + 64 * "a")
('1.5 KiB', '1 file', 'alice/X@aaaaaaaaaaaa')
>>> list(about_lines("embedding", {"name": "embedding", "type": "ndarray", "dtype": "float32", "shape": [128]}))
['embedding:', '  embedding: ndarray float32[128]']
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any


def size(count: int) -> str:
    """Bytes as a person reads them."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def short(ref: str) -> str:
    """A reference with the first digits of its version only."""
    name, at, version = ref.partition("@")
    return f"{name}{at}{version[:12]}"


def count(number: int, what: str) -> str:
    """A number of things."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def day(seconds: float) -> str:
    """A time as a person reads it, in his zone."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else "-"
    except (OverflowError, OSError, ValueError):  # a link's mtime may be anything
        return "-"


def about_lines(key: str, value: Any) -> Iterator[str]:
    """What a manifest tells of one thing: arguments, endpoints and fields a line each."""
    items = value if isinstance(value, list) else [value]
    if not any(isinstance(item, dict) for item in items):
        yield f"{key}: {', '.join(map(_word, items))}"
        return
    yield f"{key}:"
    for item in items:
        yield f"  {_item(item)}"


def _word(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _item(item: Any) -> str:
    if not isinstance(item, dict):  # of somebody else's making
        return str(item)
    if "platform" in item:
        return _ground(item)
    if "name" not in item:
        return _endpoint(item)
    return _field(item) if "shape" in item or "dtype" in item else _argument(item)


def _ground(item: dict[str, Any]) -> str:
    """What a base has for a platform: ``linux/amd64: Python 3.11, glibc 2.36, 3 packages``."""
    packages = item.get("packages")
    told = [f"Python {item['python']}" if "python" in item else "no Python", item.get("libc")]
    told.append(count(len(packages), "package") if isinstance(packages, list) else None)
    return f"{item['platform']}: {', '.join(str(each) for each in told if each)}"


def _field(item: dict[str, Any]) -> str:
    """A tensor of an array's documents: ``embedding: ndarray float32[128]``."""
    return f"{item['name']}: {item.get('type')} {numbers(item)}"


def numbers(field: Mapping[str, Any]) -> str:
    """What the numbers of such a tensor are, ``float32[128]``, a star for a size that differs; empty for none."""
    shape = field.get("shape")
    sizes = ", ".join("*" if size is None else str(size) for size in shape) if isinstance(shape, list) else ""
    return f"{field.get('dtype', '')}" + (f"[{sizes}]" if shape is not None else "")


def _argument(item: dict[str, Any]) -> str:
    kind = f": {item['type']}" if "type" in item else ""
    default = f" = {item['default']}" if "default" in item else ""
    return f"{item['name']}{kind}{default}"


def _endpoint(item: dict[str, Any]) -> str:
    on = item.get("on", ["all other requests"])
    return f"{', '.join(map(str, on)) if isinstance(on, list) else on} -> {item.get('method')}"
