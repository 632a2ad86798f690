"""Sealed images: the layout of a sealed version is one file too, that only its key opens.

``image.age`` holds a plain tar of the layout, ``index.json`` first, so that how an image was made is had without the
rest. While it is used it lies in a folder of one's own for temporary files, which is gone at the end.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import IO
from weakref import finalize

import lhub.age as age
from lhub.disk import Pen
from lhub.errors import Corrupt
from lhub.images.layers import Entry, breathing, read, streamed, tarred
from lhub.images.oci import BUILDER, MADE_OF, Layout, parsed
from lhub.names import is_inside
from lhub.opening import PIECE, open_file, paths_below
from lhub.staging import Staging

FILE = "image.age"
Member = tuple[str, int, Iterator[bytes]]
"""A file of a tar: its path there, its size, its bytes, which are to be read before the next is asked for."""
_WHAT = "image.age of its image"
_INDEX = "index.json"
_LARGEST = 4 << 20


def is_sealed(folder: str) -> bool:
    """Whether the image in a folder is sealed."""
    return os.path.lexists(f"{folder}/{FILE}")


def seal_layout(stage: Staging, recipients: Sequence[str], breathe: Callable[[], None]) -> None:
    """Put one sealed file in the place of the layout that was made in a staging folder."""
    folder = stage.folder.files
    paths = sorted(paths_below(folder), key=lambda path: (path != _INDEX, path))
    entries = [
        Entry(path=path, size=os.lstat(f"{folder}/{path}").st_size, pieces=partial(read, f"{folder}/{path}"))
        for path in paths
    ]
    file = stage.write(breathing(age.seal(tarred(entries), recipients), breathe), lambda: FILE)
    stage.leave_only(file)


class Opened:
    """The layout of a sealed image, in the clear for as long as this is kept, or the process lives."""

    def __init__(self, folder: str, keys: Sequence[str], pen: Pen) -> None:
        place = tempfile.mkdtemp(prefix="lhub-image-")
        finalize(self, pen.remove_tree, place)
        self.layout = Layout(place)
        with _opened(folder) as file, files(file, keys, _WHAT) as found:
            for path, _, pieces in found:
                if not is_inside(path):
                    raise Corrupt(f"{_WHAT} has a file that lies outside of it")
                target = f"{place}/{path}"
                pen.make_way(os.path.dirname(target))
                pen.write_out(pieces, target, 0o600)


def notes(folder: str, keys: Sequence[str]) -> tuple[str | None, str | None]:
    """By what a sealed image was made, and by which builder."""
    with _opened(folder) as file, files(file, keys, _WHAT) as found:
        path, size, pieces = next(found, ("", 0, iter(())))
        text = b"".join(pieces) if path == _INDEX and size <= _LARGEST else b""
    told = parsed(text, _INDEX).get("annotations") if text else None
    if not isinstance(told, dict):
        return None, None
    return told.get(MADE_OF), told.get(BUILDER)


def _opened(folder: str) -> IO[bytes]:
    return os.fdopen(open_file(f"{folder}/{FILE}"), "rb")


@contextmanager
def files(file: IO[bytes], keys: Sequence[str], what: str) -> Iterator[Iterator[Member]]:
    """The files of a tar that was sealed, each to be read before the next; NoKey, Corrupt for one that is not whole.

    Behind the last it is read to its end, where a cut one tells.
    """
    with closing(age.unseal(file, keys, what)) as stream:
        source = age.Source(stream)
        yield _members(io.BufferedReader(source, PIECE), source, what)


def _members(stream: IO[bytes], source: age.Source, what: str) -> Iterator[Member]:
    with _telling(source):
        for info, pieces in streamed(stream, what):
            yield info.name, info.size, _pieces(pieces, source)
        while stream.read(PIECE):
            pass


def _pieces(pieces: Iterator[bytes], source: age.Source) -> Iterator[bytes]:
    with _telling(source):
        yield from pieces


@contextmanager
def _telling(source: age.Source) -> Iterator[None]:
    """Say why it did not open, of which the tar's reader knows only that it did not."""
    try:
        yield
    except (Corrupt, OSError):
        if source.failure is not None:
            raise source.failure from None
        raise
