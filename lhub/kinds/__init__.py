"""What a folder is: an Executor, or files of any other sort; and what its manifest then tells.

>>> from lhub.folder import Packing
>>> recognise(Packing(folder="/nowhere", sources=(), ignored=(), own_list=False)).kind
'files'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lhub.folder import Packing
from lhub.kinds import executor


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """The kind of a folder, the name it gives itself (if any), and what its manifest says of it."""

    kind: str
    name: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


def recognise(packing: Packing) -> Recognised:
    """What a folder is; raises UsageError for an Executor's file that does not parse."""
    if executor.is_executor(packing):
        about = executor.describe(packing)
        return Recognised(kind="executor", name=about.get("name"), about=about)
    return Recognised(kind="files")
