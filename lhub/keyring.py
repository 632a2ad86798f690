"""The keyring: the identities of one's own namespaces, in one's own home; their recipients stand in the registries.

`<home>/identities/<namespace>` is an age identity file, 0600, as age-keygen writes one: `age -d -i` takes it.

>>> Keyring(None).identity("alice") is None
True
"""

from __future__ import annotations

import os

from lhub.age import PREFIX, new_identity, recipient_of
from lhub.disk import Pen
from lhub.errors import Corrupt, UsageError
from lhub.identity import make_home
from lhub.opening import read_small

_LIMIT = 4096


class Keyring:
    """The identities in a home; none where `home` is None."""

    def __init__(self, home: str | None) -> None:
        self.home = home

    def path(self, namespace: str) -> str:
        """Where the identity of a namespace lies."""
        return f"{self.home}/identities/{namespace}"

    def identity(self, namespace: str | None) -> str | None:
        """The identity of a namespace, None where this home has none; Corrupt for a file that holds none."""
        if self.home is None or namespace is None:
            return None
        try:
            lines = read_small(self.path(namespace), limit=_LIMIT).decode(errors="replace").split()
        except (FileNotFoundError, NotADirectoryError):
            return None
        identity = next((line for line in lines if line.startswith(PREFIX)), None)
        try:
            recipient_of(identity or "")
        except UsageError:
            raise Corrupt(f"{self.path(namespace)} holds no identity", hint="put back the one that was there") from None
        return identity

    def make(self, namespace: str, pen: Pen) -> str | None:
        """The identity of a namespace, made if this home has none yet; None where there is no home to keep it in."""
        if self.home is None:
            return None
        if (standing := self.identity(namespace)) is not None:
            return standing
        identity = new_identity()
        text = (
            f"# lhub: the identity of the namespace {namespace}\n# public key: {recipient_of(identity)}\n{identity}\n"
        )
        make_home(self.home)
        folder, place = os.path.dirname(self.path(namespace)), self.path(namespace)
        pen.make_folder(folder, 0o700)
        if pen.create(place, text.encode(), 0o600, scratch=f"{folder}/.{namespace}.{os.getpid()}"):
            pen.sync_folder(folder)
            pen.sync_folder(self.home)
        return self.identity(namespace)  # that of another process, if it was quicker
