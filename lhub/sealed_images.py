"""Sealed images: the layout of a sealed version is one file too, that only its key opens.

``image.age`` holds a plain tar: a mark, by which only who has the keys says that this is the image of this version,
and the layout, ``index.json`` first, so that how an image was made is had without the rest. While it is made and used
it lies in a folder of one's own for temporary files, which is gone at the end.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import IO
from weakref import finalize

import lhub.age as age
from lhub.change import prepare
from lhub.disk import Pen
from lhub.errors import Corrupt, LhubError
from lhub.images.layers import Entry, breathing, read, tarred
from lhub.images.oci import BUILDER, MADE_OF, Layout, parsed
from lhub.layout import ONE_PERSON
from lhub.names import is_inside
from lhub.opening import free_bytes, open_file, paths_below, read_small
from lhub.sealing import Lock, files
from lhub.staging import Staging, staging
from lhub.store import Resource

FILE = "image.age"
_WHAT = "image.age of its image"
_INDEX, _MARK = "index.json", "mark"
_LONGEST_MARK = 64
_LARGEST = 4 << 20


def lies_sealed(folder: str) -> bool:
    """Whether the image in a folder is sealed."""
    return os.path.lexists(f"{folder}/{FILE}")


@contextmanager
def clear_stage(pen: Pen, name: str, unique: str, note: str) -> Iterator[Staging]:
    """A staging folder in a folder for temporary files: nothing of what is sealed lies in the registry in clear."""
    place = tempfile.mkdtemp(prefix="lhub-build-")
    try:
        resource = Resource(f"{place}/resource", name)
        mode = ONE_PERSON.private
        prepare(pen, resource.folder, ONE_PERSON, uid=os.lstat(place).st_uid, mode=mode)
        with staging(pen, resource, ONE_PERSON, unique, note) as stage:
            yield stage
    finally:
        pen.remove_tree(place)


def seal_layout(stage: Staging, folder: str, version: str, lock: Lock, breathe: Callable[[], None]) -> None:
    """Stage one sealed file that holds the layout in a folder."""
    paths = sorted(paths_below(folder), key=lambda path: (path != _INDEX, path))
    entries = [
        Entry(path=path, size=os.lstat(f"{folder}/{path}").st_size, pieces=partial(read, f"{folder}/{path}"))
        for path in paths
    ]
    mark = lock.mark(_marked(version, f"{folder}/{_INDEX}")).encode()
    entries.insert(0, Entry(path=_MARK, size=len(mark), pieces=partial(iter, (mark,))))
    stage.write(breathing(age.seal(tarred(entries), lock.recipients), breathe), lambda: FILE)


def _marked(version: str, index: str) -> bytes:
    """What the mark of an image is of: its version, and all of it by the digests that its index leads to."""
    return f"image of {version}\n".encode() + read_small(index, limit=_LARGEST)


class Opened:
    """The layout of a sealed image, in the clear for as long as this is kept, or the process lives."""

    def __init__(self, folder: str, version: str, lock: Lock, pen: Pen) -> None:
        place = tempfile.mkdtemp(prefix="lhub-image-")
        finalize(self, pen.remove_tree, place)
        self.layout = Layout(place)
        with _opened(folder) as file, files(file, lock.keys, _WHAT) as found:
            if os.fstat(file.fileno()).st_size > free_bytes(place):
                raise LhubError(f"there is no room for {_WHAT} at {place}", hint="TMPDIR names another place")
            path, size, pieces = next(found, ("", 0, iter(())))
            mark = b"".join(pieces).decode(errors="replace") if path == _MARK and size <= _LONGEST_MARK else ""
            for path, _, pieces in found:
                if not is_inside(path):
                    raise Corrupt(f"{_WHAT} has a file that lies outside of it")
                target = f"{place}/{path}"
                pen.make_way(os.path.dirname(target))
                pen.write_out(pieces, target, 0o600)
        if not lock.is_marked(_marked(version, f"{place}/{_INDEX}"), mark):
            raise Corrupt(f"{_WHAT} is not the one that was built of {version[:12]}", hint="push it with --no-cache")


def notes(folder: str, keys: Sequence[str]) -> tuple[str | None, str | None]:
    """By what a sealed image was made, and by which builder."""
    with _opened(folder) as file, files(file, keys, _WHAT) as found:
        next(found, None)  # its mark
        path, size, pieces = next(found, ("", 0, iter(())))
        text = b"".join(pieces) if path == _INDEX and size <= _LARGEST else b""
    told = parsed(text, _INDEX).get("annotations") if text else None
    if not isinstance(told, dict):
        return None, None
    return told.get(MADE_OF), told.get(BUILDER)


def _opened(folder: str) -> IO[bytes]:
    return os.fdopen(open_file(f"{folder}/{FILE}"), "rb")
