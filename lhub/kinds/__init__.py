"""What a folder or file is (an Executor, an array of documents, files of any other sort), and what its manifest tells.

>>> from lhub.folder import Packing
>>> recognise(Packing(folder="/nowhere", sources=(), ignored=(), own_list=False)).kind
'files'
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import IO

import lhub.kinds.executor as executor
from lhub.folder import Packing, Source
from lhub.kinds.classes import Reading
from lhub.kinds.config import CONFIG, MANIFEST
from lhub.kinds.recognised import Recognised as Recognised


def recognise(packing: Packing) -> Recognised:
    """What a folder or file is; raises UsageError with every fault of an Executor's files, or of an array."""
    if packing.file is not None:
        return _file(packing)
    reading = Reading(packing)
    return executor.complete(reading) if executor.is_executor(reading) else files(packing)


def described(packing: Packing) -> Recognised:
    """What a folder is that was published elsewhere: taken as it is, whatever its faults."""
    if packing.file is not None:
        from lhub.kinds.forms import form_of  # with pickle and every compression, which no folder needs

        with _opened(packing) as file:
            return Recognised(kind="docarray", packing=packing) if form_of(file) else files(packing)
    reading = Reading(packing)
    if not executor.is_executor(reading):
        return files(packing)
    about = executor.describe(reading)
    return Recognised(kind="executor", packing=packing, name=about.get("name"), about=about)


def _file(packing: Packing) -> Recognised:
    """What one file is, by what it begins with."""
    import lhub.kinds.docarray as docarray  # as above

    with _opened(packing) as file:
        about = docarray.look(file, str(packing.file))
    form = docarray.form_told(about) if about is not None else None
    if about is None or form is None:
        return files(packing)
    payload = packing.sources[0]._replace(path=f"{docarray.STEM}{form.endings}")
    return Recognised(kind="docarray", packing=replace(packing, sources=(payload,)), about=about)


@contextmanager
def _opened(packing: Packing) -> Iterator[IO[bytes]]:
    """The one file that was pushed by itself."""
    with packing.sources[0].opened() as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
        yield file


def files(packing: Packing) -> Recognised:
    """Any folder or file as files; a file that is pushed by itself is pulled as one, so the manifest names it."""
    about = {} if packing.file is None else {"file": packing.file}
    return Recognised(kind="files", packing=packing, about=about)


def name_of(folder: str) -> str | None:
    """The name that an Executor's folder gives itself, by its two files of settings alone; None where it gives none."""
    sources = []
    for file in (CONFIG, MANIFEST):
        path = os.path.realpath(f"{folder}/{file}")
        if os.path.isfile(path):
            size = os.stat(path).st_size
            sources.append(Source(path=file, origin=path, size=size, executable=False, stamp=()))
    packing = Packing(folder=folder, sources=tuple(sources), ignored=(), own_list=True)
    name: str | None = executor.describe(Reading(packing)).get("name")
    return name
