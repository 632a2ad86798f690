"""An array as the cloud's clients read it: one document after the other, each compressed with gzip.

`DocumentArray.pull` (docarray 0.21) and `jac://` (0.30 to 0.33) ask for no other form, so one that was pushed in
another is written anew. docarray is not needed: a document's bytes are the same in all forms that are no pickle.

>>> import io
>>> file, out = io.BytesIO(bytes([1]) + (1).to_bytes(8, "big") + (3).to_bytes(4, "big") + bytes([10, 1, 97])), io.BytesIO()
>>> restream(file, Form(1, "protobuf"), out)
>>> list(documents(out, Form(1, "protobuf", "gzip")))
[b'\\n\\x01a']
"""  # noqa: E501

from __future__ import annotations

import gzip
from typing import IO

from lhub.errors import UsageError
from lhub.kinds.forms import HEADER, Form, documents

_LEVEL = 6
_COUNT = HEADER - 1


def is_streamed(form: Form) -> bool:
    """Whether an array lies in that form already."""
    return form.protocol == "protobuf" and form.compress == "gzip"


def restream(file: IO[bytes], form: Form, out: IO[bytes]) -> None:
    """Write an array in that form; UsageError for a pickle, ValueError for what is not whole."""
    if form.is_pickle:
        raise UsageError(
            "it was pushed as a pickle, which can run any code",
            hint="lhub pull gives its file, as it was pushed; push the array itself",
        )
    out.write(bytes([form.generation]) + bytes(_COUNT))
    count = 0
    for document in documents(file, form):
        data = gzip.compress(document, compresslevel=_LEVEL, mtime=0)
        out.write(len(data).to_bytes(4, "big") + data)
        count += 1
    out.seek(1)
    out.write(count.to_bytes(_COUNT, "big"))
