"""What the clients keep for themselves, in a folder that `lhub run` gives them.

docarray keeps each array that it pulled, and takes that again where the new one has as many bytes; so what it kept is
removed when another version is about to be fetched. jina-hubble-sdk keeps what it was told of an Executor by its name
alone, whoever asks; its file for that is a link that leads nowhere, and it goes on without.
"""

from __future__ import annotations

import os
from threading import Lock

from lhub.disk import Pen

_ENDINGS = (".da", ".docs")
_SHELVES = ("disk_cache.db", "disk_cache.db.db", "disk_cache.db.dat", "disk_cache.db.dir", "disk_cache.db.pag")
"""The names under which Python's dbm, of whatever sort is there, would begin that file."""
_NOWHERE = "nowhere/kept"


class ClientCache:
    """The folder of what docarray keeps, and which version each file in it is of."""

    def __init__(self, folder: str) -> None:
        self.folder, self._kept, self._lock = folder, dict[str, tuple[str, str]](), Lock()

    def about_to_fetch(self, asked: str, name: str, version: str) -> None:
        """Forget what was kept under the name that is asked for, unless it is of this version."""
        file = asked.replace("/", "_")
        with self._lock:
            if self._kept.get(file) == (name, version):
                return
            self._kept[file] = (name, version)
            for ending in _ENDINGS:
                Pen().unlink(f"{self.folder}/{file}{ending}")


def make_jina_cache(folder: str) -> None:
    """A folder for what jina-hubble-sdk pulls, in which it cannot keep what it was told."""
    pen = Pen()
    for each in (os.path.dirname(folder), folder):  # what jina pulled may be private
        pen.make_folders([each], 0o700)
    for name in _SHELVES:
        if not os.path.lexists(f"{folder}/{name}"):
            try:
                pen.symlink(_NOWHERE, f"{folder}/{name}")
            except FileExistsError:  # another `lhub run` begins as well
                continue
