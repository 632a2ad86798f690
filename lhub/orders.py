"""Orders: what a pusher asks for, and what he is told.

>>> Order(path="X", tags=("v1",), protected_tags=("v1", "v2")).all_tags
('v1', 'v2')
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from lhub.builds import Cancelled, Event, Task
from lhub.errors import BuildFailed
from lhub.names import LATEST
from lhub.staging import Staging


class Arriving(Protocol):
    """What is pushed where there is no folder or file: it is written where it will lie."""

    @property
    def kind(self) -> str:
        """What it is."""

    @property
    def gone(self) -> bool:
        """Whether it has been written, and may not give the same again."""

    @property
    def about(self) -> Mapping[str, Any]:
        """What the manifest tells; known once it was received."""

    def receive(self, stage: Staging, task: Task) -> Mapping[str, object]:
        """Write it into a staging folder, looking often whether the task shall stop; what its step tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOrder:
    """What a pusher asks for of the container image of an Executor, as he said it.

    `when` is ``auto`` (if there is something to build it of) or ``always``; `builder` ``docker``, ``podman``,
    ``buildah`` or ``python``; `dockerfile` a path; `platforms` as in ``linux/amd64``; `base` the reference of one.
    """

    when: str
    builder: str | None = None
    dockerfile: str | None = None
    platforms: tuple[str, ...] = ()
    no_cache: bool = False
    base: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a pusher asks for, as he said it; `build_env` holds what nobody may read, `telling` is told each event.

    `arriving` is what is pushed where there is no folder or file at `path`; `given` is the SHA-256 of a file there
    that may be kept as it is, by a second name; `seal`: only a key shall open it; `whole`: nothing of the folder is
    left out by an ignore list; `metadata` is what else the manifest tells, as JSON; `kind` is what it must turn out to
    be; `image` is None where none is to be built.
    """

    path: str
    name: str | None = None
    tags: tuple[str, ...] = ()
    protected_tags: tuple[str, ...] = ()
    visibility: str | None = None
    force_update: str | None = None
    secret: str | None = field(default=None, repr=False)
    seal: bool = False
    message: str = ""
    expect: str | None = None
    if_absent: bool = False
    build_env: Mapping[str, str] = field(default_factory=dict, repr=False)
    detach: bool = False
    telling: Callable[[Event], None] = lambda event: None
    arriving: Arriving | None = None
    given: str | None = None
    whole: bool = False
    metadata: str | None = None
    kind: str | None = None
    image: ImageOrder | None = None

    @property
    def all_tags(self) -> tuple[str, ...]:
        """Every tag that will name the version; `latest` only when no other is given."""
        return tuple(dict.fromkeys((*self.tags, *self.protected_tags))) or (LATEST,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What a push did.

    `name` is ``alice/X``, `kind` what it holds; `uri` the reference to pull it by; `version` 64 hex digits; `tags`
    those this push named, `protected_tags` the protected of them; `visibility` ``public`` or ``private``; `new`: this
    content was not there before; `task_id` 24 hex digits; `secret` is given once, at the first push without a
    namespace and of what is sealed; `path` is the immutable folder, None of what is `sealed`; `image` the reference of
    its container image, where it has one; `warnings` are sentences about what did not work but lost nothing. Of a push
    that goes on by itself `version`, `new` and `path` are None: its task tells them.
    """

    name: str
    kind: str
    uri: str
    version: str | None
    tags: tuple[str, ...]
    protected_tags: tuple[str, ...]
    visibility: str
    new: bool | None
    task_id: str
    path: str | None
    secret: str | None = None
    image: str | None = None
    sealed: bool = False
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Pushed(uri={self.uri!r}, version={(self.version or '')[:12]!r})"  # never the secret

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub push --json` prints it."""
        told: dict[str, object] = {
            "name": self.name,
            "uri": self.uri,
            "version": self.version,
            "tags": list(self.tags),
            "protected_tags": list(self.protected_tags),
            "visibility": self.visibility,
            "new": self.new,
            "task_id": self.task_id,
            "secret": self.secret,
            "path": self.path,
        }
        told |= {"image": self.image} if self.image else {}
        return told | ({"sealed": True} if self.sealed else {})


class ImageFailed(BuildFailed):
    """The version was published, its container image was not; `pushed` tells what stands."""

    def __init__(self, message: str, *, hint: str, pushed: Pushed) -> None:
        super().__init__(message, hint=hint)
        self.pushed = pushed


class ImageCancelled(ImageFailed, Cancelled):
    """The same, since somebody asked for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What a push would do: `files` are its paths and bytes, `gained` sentences about what lhub adds, `ignored` paths.

    `version` is the id that it would have (None: what is sealed anew has none before), `new` whether it would be a new
    one of the resource.
    """

    name: str
    kind: str
    version: str | None
    new: bool
    visibility: str
    tags: tuple[str, ...]
    protected_tags: tuple[str, ...]
    files: Mapping[str, int]
    gained: tuple[str, ...]
    ignored: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """All files together."""
        return sum(self.files.values())

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub push --dry-run --json` prints it."""
        return {
            "name": self.name,
            "kind": self.kind,
            "version": self.version,
            "new": self.new,
            "visibility": self.visibility,
            "tags": list(self.tags),
            "protected_tags": list(self.protected_tags),
            "bytes": self.bytes,
            "files": dict(self.files),
            "gained": list(self.gained),
            "ignored": list(self.ignored),
        }
