"""What the pytest plugin hands out: registries that begin empty, belong to one test and end with it.

It is loaded when the first `lhub_*` fixture is used; its classes are here to be named in annotations::

    from lhub.testing import TemporaryRegistry

    def test_release(lhub_registry: TemporaryRegistry) -> None: ...

>>> "push" in VERBS, "root" in VERBS
(True, False)
"""

from __future__ import annotations

from lhub.testing.makers import MakeExecutor
from lhub.testing.places import VERBS, Login, SharedRegistry, TemporaryRegistry

__all__ = ["VERBS", "Login", "MakeExecutor", "SharedRegistry", "TemporaryRegistry"]
