"""Ordering: what a caller says becomes an order, as `publish` takes it; UsageError for words that make none.

>>> order("X", None, tags="v1", protected_tags=(), expect="ABCDEF01", build_env=None).tags
('v1',)
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, cast

from lhub.errors import UsageError
from lhub.layout import BASE
from lhub.orders import Arriving, ImageOrder, Order

_MOST_METADATA, _MOST_LEVELS = 64 * 1024, 64
_WHEN, _BUILDERS = ("auto", "always", "never"), ("docker", "podman", "buildah", "python")


def order(
    what: str | os.PathLike[str] | Iterable[Any],
    name: str | None,
    *,
    tags: Iterable[str],
    protected_tags: Iterable[str],
    expect: str | None,
    build_env: Mapping[str, str] | None,
    show_progress: bool = False,
    **asked: Any,
) -> Order:
    """What is asked for, as `publish` takes it; what is no path is documents."""
    path: str = ""
    arriving: Arriving | None = None
    if isinstance(what, (str, os.PathLike)):
        path = os.fspath(what)
    elif getattr(what, "kind", None) == BASE:
        arriving = cast(Arriving, what)
    else:
        from lhub.documents import Documents  # with docarray

        arriving = Documents(what, show_progress=show_progress)
    return Order(
        path=path,
        arriving=arriving,
        name=name,
        tags=words(tags),
        protected_tags=words(protected_tags),
        expect=expect.lower() if expect else None,
        build_env=dict(build_env or {}),
        **asked,
    )


def image(
    when: str,
    builder: str | None,
    dockerfile: str | os.PathLike[str] | None,
    platforms: Iterable[str],
    *,
    no_cache: bool,
    base: str | None,
) -> ImageOrder | None:
    """What is asked for of an image; None where none shall be built."""
    if when not in _WHEN:
        raise UsageError(f"--image is {', '.join(_WHEN)}, not {when[:40]!r}", hint="leave it out for auto")
    if builder not in (None, *_BUILDERS):
        raise UsageError(f"--builder is {', '.join(_BUILDERS)}, not {str(builder)[:40]!r}", hint="leave it out")
    asked = ImageOrder(
        when=when,
        builder=builder,
        dockerfile=None if dockerfile is None else os.fspath(dockerfile),
        platforms=words(part for each in words(platforms) for part in each.split(",") if part.strip()),
        no_cache=no_cache,
        base=base,
    )
    if when == "never":
        if replace(asked, no_cache=False) != ImageOrder(when="never"):
            raise UsageError("what is said of an image has no use with --image never", hint="leave one of them out")
        return None
    return asked


def words(given: Iterable[str]) -> tuple[str, ...]:
    """Each of them once; a text is one, not its letters."""
    return (given,) if isinstance(given, str) else tuple(dict.fromkeys(given))


def metadata_text(metadata: Mapping[str, Any] | None) -> str | None:
    """Metadata as the manifest keeps it: one text for one value."""
    if metadata is None:
        return None
    import json  # 3 ms, for who has some

    try:
        text = json.dumps(metadata, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"the metadata is no JSON: {error}") from None
    if not isinstance(metadata, Mapping):
        raise UsageError("the metadata is no JSON object", hint='as in {"key": "value"}')
    if text.count("{") + text.count("[") > _MOST_LEVELS and _levels(text) > _MOST_LEVELS:
        raise UsageError(f"the metadata is nested in more than {_MOST_LEVELS} levels", hint="flatten it")
    if len(text) > _MOST_METADATA:
        raise UsageError(f"the metadata has {len(text)} letters of JSON, {_MOST_METADATA} are kept")
    return text


def _levels(text: str) -> int:
    """How deep a JSON text is nested; brackets in its strings count as well, which nobody needs by the dozen."""
    deepest = depth = 0
    for character in text:
        depth += (character in "{[") - (character in "}]")
        deepest = max(deepest, depth)
    return deepest


def visibility(public: bool | None, private: bool, *, seal: bool = False) -> str | None:
    """What a push says of it; None: what it was, public at first."""
    if public and (private or seal):
        other = "--private" if private else "--seal"
        raise UsageError(f"--public and {other} exclude each other", hint="give one of them, or none")
    if private or seal or public is False:  # as docarray's own push understood it
        return "private"
    return "public" if public else None
