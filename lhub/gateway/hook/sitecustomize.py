"""Gives the clients of Jina's cloud a cache of one caller's own, in every Python that `lhub run` starts.

jina-hubble-sdk and docarray keep what they pulled below ~/.cache, whoever asked, and have no setting for that. When one
of the two modules that say where has been loaded, it is told another place; all else stays as it is. Any Python runs
this file, so it is written for old ones and imports nothing of lhub.
"""

import os
import sys

_PLACES = {"hubble.executor.helper": "LHUB_JINA_CACHE", "docarray.helper": "DOCARRAY_CACHE"}
"""The modules, and the variables that say where; the second is docarray's own, which knows it since 0.30."""


class _Finder(object):
    """Finds nothing itself: it waits for the two modules."""

    def find_spec(self, name, path=None, target=None):
        """The spec that the others find, with a loader that goes on here."""
        if name not in _PLACES:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find is not None and finder is not self else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, _PLACES[name])
                return spec
        return None


class _Loader(object):
    """Loads a module, then tells it where its cache is."""

    def __init__(self, loader, place):
        self._loader, self._place = loader, place

    def create_module(self, spec):
        """As the loader does."""
        return self._loader.create_module(spec)

    def exec_module(self, module):
        """As the loader does; then the place."""
        self._loader.exec_module(module)
        if hasattr(module, "__cache_path__"):
            module.__cache_path__ = os.environ.get(self._place, module.__cache_path__)

    def __getattr__(self, name):
        if name.startswith("_"):  # of one that is being copied
            raise AttributeError(name)
        return getattr(self._loader, name)


def _behind():
    """The places in which one would be found without this one: those behind it, for another may stand before."""
    own = os.path.dirname(os.path.abspath(__file__))
    places = [os.path.abspath(place or os.curdir) for place in sys.path]
    return sys.path[places.index(own) + 1 :] if own in places else sys.path


def _next():
    """Load the sitecustomize that would have been found without this one."""
    import importlib.machinery
    import importlib.util

    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", _behind())
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _next_of_old():
    """The same for Python 2."""
    import imp

    try:
        found = imp.find_module("sitecustomize", _behind())
    except ImportError:
        return
    imp.load_module("sitecustomize", *found)


if sys.version_info < (3, 4):
    _next_of_old()
else:
    if os.environ.get("LHUB_JINA_CACHE"):
        sys.meta_path.insert(0, _Finder())
    _next()
