"""Makes fixtures/arrays: three documents, saved by `save_binary` of docarray 0.21.0 and 0.41.0 in each of its forms.

Run by hand with each generation (numpy and lz4 beside it): python tests/make_arrays.py fixtures/arrays/DocList
The files differ from run to run in the ids of the documents only.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any, Optional

import numpy as np

PROTOCOLS = ("protobuf", "pickle", "protobuf-array", "pickle-array")
COMPRESSIONS = (None, "gzip", "bz2", "lzma", "lz4", "zlib")


def old() -> Any:
    """A DocumentArray: a text, a tensor, tags."""
    from docarray import Document, DocumentArray

    return DocumentArray(
        Document(text=f"text {n}", embedding=np.arange(4, dtype="f4") + n, tags={"n": n}) for n in range(3)
    )


def new() -> Any:
    """A DocList of a schema with most of what there is."""
    from docarray import BaseDoc, DocList
    from docarray.typing import ImageUrl, NdArray

    class MyDoc(BaseDoc):
        text: str
        embedding: NdArray[4]
        url: Optional[ImageUrl] = None  # noqa: UP045 (docarray knows this form)
        count: int = -3
        score: float = 0.5
        flag: bool = True
        raw: bytes = b"raw"
        names: list[str] = ["a"]  # noqa: RUF012 (pydantic copies it)
        more: dict[str, int] = {"k": 1}  # noqa: RUF012

    globals()["MyDoc"] = MyDoc  # pickle looks for it here
    MyDoc.__qualname__ = "MyDoc"
    vectors = [np.arange(4, dtype="f4") + n for n in range(3)]
    urls = [None, "http://example.org/1.png", "http://example.org/2.png"]
    return DocList[MyDoc](MyDoc(text=f"text {n}", embedding=vectors[n], url=urls[n]) for n in range(3))


def main() -> None:
    """Save them."""
    import docarray

    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    array = old() if docarray.__version__ < "0.30" else new()
    for protocol, compress in itertools.product(PROTOCOLS, COMPRESSIONS):
        if compress != "zlib" or not protocol.endswith("-array"):  # docarray leaves those as they are
            array.save_binary(folder / f"{protocol}-{compress}.bin", protocol=protocol, compress=compress)


if __name__ == "__main__":
    main()
