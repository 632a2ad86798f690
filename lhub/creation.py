"""Creation: a few new files of a person's own, all of them at their place or none, and nothing overwritten.

A folder that is not there appears by one rename, whole. One that stands stays the folder that it is (a shell may be in
it, a mount may lie on it, its mode and owner were chosen): all names are looked for first, then each file comes whole,
in the order given, and a failure takes back those that had come. Only a kill between two of them leaves the first ones.

>>> import tempfile
>>> place = tempfile.mkdtemp() + "/Greeter"
>>> create({"README.md": "# Greeter", "config.yml": "jtype: Greeter"}, place, unique="me")
>>> sorted(os.listdir(place)), os.listdir(os.path.dirname(place))
(['README.md', 'config.yml'], ['Greeter'])
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping

from lhub.disk import Pen
from lhub.errors import Conflict
from lhub.fetch import beside, new_file, refuse_inside

_STANDS = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR})


def create(
    files: Mapping[str, str], path: str, *, unique: str, registries: Iterable[str] = (), pen: Pen | None = None
) -> None:
    """Write new files into the folder at an absolute path, which is made if it is not there.

    `unique` is a name that nobody else gives to what is written beside. Raises Conflict, with every name in the way,
    UsageError for a place inside one of the registries, LhubError for one that takes no files.
    """
    refuse_inside(path, registries)
    if os.path.isdir(path):
        _add(pen or Pen(), files, path, unique)
    elif os.path.lexists(path):
        raise Conflict(f"{path} is not a folder", hint="name another place; it was left as it is")
    else:
        _make(pen or Pen(), files, path, unique)


def in_the_way(names: Iterable[str], path: str) -> list[str]:
    """Those names that a folder has already."""
    return [name for name in names if os.path.lexists(f"{path}/{name}")]


def _make(pen: Pen, files: Mapping[str, str], path: str, unique: str) -> None:
    """The whole folder at once."""
    with beside(pen, path, unique) as folder:
        for name, text in files.items():
            _write(pen, f"{folder}/{name}", text, unique)
        try:
            pen.rename(folder, path)
        except OSError as error:
            if error.errno not in _STANDS:
                raise
            raise Conflict(f"{path} appeared meanwhile", hint="name another place; it was left as it is") from None


def _add(pen: Pen, files: Mapping[str, str], path: str, unique: str) -> None:
    """Each file into a folder that stands, or none of them."""
    if standing := in_the_way(files, path):
        raise Conflict(f"{path} has {', '.join(standing)} already", hint="name another place; nothing was written")
    written: list[str] = []
    try:
        for name, text in files.items():
            _write(pen, f"{path}/{name}", text, unique)
            written.append(f"{path}/{name}")
    except BaseException:
        for each in written:
            pen.unlink(each)
        raise


def _write(pen: Pen, path: str, text: str, unique: str) -> None:
    with new_file(pen, path, unique, mode=0o666) as file:
        file.write(text.encode())
