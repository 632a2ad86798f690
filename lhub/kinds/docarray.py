"""DocumentArrays as the old clients wrote them: a version byte, a count, and each document with its length before it.

The bytes are kept as they are (docarray 0.21, `BinaryIOMixin`, "V1 DocArray streaming serialization format"); nothing
here needs docarray.

>>> import io
>>> length_of(io.BytesIO(bytes([1]) + (1).to_bytes(8, "big") + (3).to_bytes(4, "big") + b"abc"))
1
"""

from __future__ import annotations

import os
from typing import IO

from lhub.errors import Corrupt

PAYLOAD = "documents.da"
"""The name of the one file of such a version."""


def length_of(file: IO[bytes]) -> int:
    """The number of documents; Corrupt unless the file is a whole array: its lengths lead to its very end."""
    header = file.read(9)
    if len(header) < 9 or header[0] != 1:
        raise Corrupt("it is no DocumentArray of the old cloud: its first byte is not 1")
    count, place = int.from_bytes(header[1:], "big"), 9
    end = file.seek(0, os.SEEK_END)
    for number in range(count):
        file.seek(place)
        length = file.read(4)
        if len(length) < 4:
            raise Corrupt(f"it is cut short: {count} documents were written, {number} are there")
        place += 4 + int.from_bytes(length, "big")
    if place != end:
        raise Corrupt(f"it is not whole: {place} bytes were written, {end} are there")
    return count
