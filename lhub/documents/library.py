"""The docarray that is installed: which generation it is, and how that writes and reads a document."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from lhub.errors import ToolMissing
from lhub.kinds.docarray import generation_of_writer
from lhub.kinds.shapes import NEW, OLD

if TYPE_CHECKING:
    from lhub.documents.codec import Codec

NAMES = {OLD: "DocumentArray", NEW: "DocList"}
"""What each generation calls an array."""


@dataclass(frozen=True, slots=True)
class Library:
    """The docarray that is installed: its version, and which generation it reads and writes."""

    version: str
    generation: int

    def codec(self) -> Codec:
        """How it writes and reads a document; ToolMissing where it lacks a library of its own."""
        try:
            if self.generation == OLD:
                from lhub.documents.documentarray import DocumentArrayCodec

                return DocumentArrayCodec()
            from lhub.documents.doclist import DocListCodec

            return DocListCodec()
        except ImportError as error:
            why = str(error).splitlines()[0].strip()
            raise ToolMissing(
                f"docarray {self.version} here lacks a library: {why}", hint="pip install protobuf"
            ) from None


@cache
def library() -> Library:
    """The docarray that is installed; ToolMissing where there is none that can be loaded."""
    try:
        from docarray import __version__ as known  # a second or two
    except ImportError as error:
        raise ToolMissing(
            f"docarray is not installed here, or cannot be loaded ({error})", hint='pip install "lhub[docarray]"'
        ) from None
    from importlib import metadata  # docarray costs ten times as much

    try:
        version = metadata.version("docarray")  # 0.41.0 says of itself that it is 0.40.1
    except metadata.PackageNotFoundError:
        version = known
    return Library(version, generation_of_writer(version))
