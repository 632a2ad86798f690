"""Every room of lhub by its name, and all of them loaded: what Python loads late, another user may not read."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from pkgutil import walk_packages

import lhub

_OF_DOCARRAY = {"lhub.docarray_store", "lhub.documents.doclist", "lhub.documents.documentarray"}
"""What loads docarray, of one generation or the other; tests/test_documents.py walks it where that is installed."""

ROOMS = ["lhub", *(room.name for room in walk_packages(lhub.__path__, "lhub.") if room.name not in _OF_DOCARRAY)]


def load_all() -> None:
    """Load every room, once."""
    for room in ROOMS:
        import_module(room)
    with suppress(ImportError):
        import_module("pyrage")
