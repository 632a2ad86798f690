"""Documents: an array on its way into a version, and out of one. The only room that loads docarray.

The caller's docarray decides what is written and what comes back: `DocumentArray` before 0.30, `DocList` since. A
version's payload is docarray's own stream (``documents.protobuf``, or ``documents.protobuf.zlib`` where that is
smaller), which its `load_binary` reads as well; it is written and read document by document.
"""

from __future__ import annotations

from lhub.documents.reading import Loading
from lhub.documents.writing import Documents

__all__ = ["Documents", "Loading"]
