"""What a push has recognised: the answer that every kind gives.

>>> from lhub.folder import Packing
>>> Recognised(kind="files", packing=Packing(folder="/nowhere", sources=(), ignored=(), own_list=False)).name
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lhub.folder import Packing


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """What a folder is: its kind, the name it gives itself (if any), and what its manifest says of it.

    `packing` is what travels, complete; `variables` are the names that its requirements need at `--build-env`;
    `gained` and `warnings` are sentences about it.
    """

    kind: str
    packing: Packing
    name: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    variables: tuple[str, ...] = ()
    gained: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
