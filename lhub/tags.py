"""Tags: movable names for versions, as the links on disk tell them.

>>> tag = Tag(tag="v1", version="0" * 64, protected=True, uid=0, when=0.0)
>>> Links(tags={"v1": tag}, odd={}).head == "0" * 64
True
"""

from __future__ import annotations

from typing import NamedTuple

from lhub.layout import PIN
from lhub.names import LATEST


class Tag(NamedTuple):
    """One tag: the version, whether a pin holds it, who moved it (uid) and when (seconds since 1970).

    No dataclass: a listing of 10,000 resources makes 30,000, in a third of the time.
    """

    tag: str
    version: str
    protected: bool
    uid: int
    when: float


class Links(NamedTuple):
    """All tags of a resource by name; `odd` are names that are no links of ours, with what is wrong."""

    tags: dict[str, Tag]
    odd: dict[str, str]

    @property
    def updated(self) -> float:
        """When a tag last moved, seconds since 1970; 0.0 without any."""
        return max([tag.when for tag in self.tags.values()], default=0.0)

    @property
    def head(self) -> str | None:
        """The version that stands for the resource: that of `latest`, else of the tag moved last."""
        if LATEST in self.tags:
            return self.tags[LATEST].version
        newest = max(self.tags.values(), key=lambda tag: (tag.when, tag.tag), default=None)
        return newest.version if newest else None

    def standing(self, tag: str) -> str | None:
        """Where a tag is held by a pin: its version, or an empty text for a pin that cannot be read; None: by none."""
        if f"{PIN}{tag}" in self.odd:
            return ""
        found = self.tags.get(tag)
        return found.version if found and found.protected else None

    @property
    def protected(self) -> list[str]:
        """The tags that never move."""
        return sorted([name for name, tag in self.tags.items() if tag.protected])

    def versions(self) -> dict[str, str]:
        """Tag to version, sorted by name."""
        return {name: self.tags[name].version for name in sorted(self.tags)}
