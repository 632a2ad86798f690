"""Executors: folders with `config.yml`, `manifest.yml` or `executor.py`, as Jina's Hub knew them.

Their YAML is a user's, with tags and aliases of his own: it is only composed, never constructed, and the few
texts that are wanted are picked from its nodes. The name is `metas.name` of `config.yml`, then `name` of
`manifest.yml` (jina-hubble-sdk, `extract_executor_name`).

>>> from lhub.folder import Packing
>>> is_executor(Packing(folder="/nowhere", sources=(), ignored=(), own_list=False))
False
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from lhub.errors import Corrupt, UsageError
from lhub.folder import Packing
from lhub.opening import open_file, read_open

CONFIG, MANIFEST = "config.yml", "manifest.yml"
_LIMIT = 1 << 20
_DEPTH = 64
_TEXTS = ("name", "description", "url")


def is_executor(packing: Packing) -> bool:
    """Whether a folder has `executor.py`, a `config.yml` with jtype or metas, or a `manifest.yml` with a name."""
    if packing.source("executor.py"):
        return True
    try:
        config, manifest = _compose(packing, CONFIG), _compose(packing, MANIFEST)
    except UsageError:
        return _python(packing)  # of another folder, what stands under these names is its own affair
    return bool(_child(config, "jtype") or _child(config, "metas") or (_child(manifest, "name") and _python(packing)))


def describe(packing: Packing) -> dict[str, Any]:
    """What the manifest of an Executor tells: jtype, name, description, url, keywords, if its files give them."""
    config, manifest = _compose(packing, CONFIG), _compose(packing, MANIFEST)
    metas = _child(config, "metas")
    about: dict[str, Any] = {}
    if jtype := _text(_child(config, "jtype")):
        about["jtype"] = jtype
    for key in _TEXTS:
        if value := _text(_child(metas, key)) or _text(_child(manifest, key)):
            about[key] = value
    if keywords := _texts(_child(metas, "keywords")) or _texts(_child(manifest, "keywords")):
        about["keywords"] = keywords
    return about


def settings(text: bytes) -> dict[str, str]:
    """Every value of an Executor's YAML file by its dotted key; UsageError for what does not parse."""
    found: dict[str, str] = {}
    for number, (key, value) in enumerate(_values(_parse(text, CONFIG), "", 0)):
        if number > len(text):  # only aliases of aliases make more nodes than the text has letters
            raise UsageError(f"{CONFIG} repeats itself by too many aliases", hint="mend it, then push again")
        if key and value is not None:  # a file that is one value has no keys
            found[key] = value
    return found


def _values(node: Any, key: str, depth: int) -> Iterator[tuple[str, str | None]]:
    """Each node below one with its dotted key; of a scalar its text too."""
    if depth > _DEPTH:  # an alias that holds itself
        raise _too_deep(CONFIG)
    kind = getattr(node, "id", None)
    yield key, node.value if kind == "scalar" else None
    if kind in ("mapping", "sequence"):
        pairs = node.value if kind == "mapping" else enumerate(node.value)
        for name, value in pairs:
            word = str(name) if kind == "sequence" else str(getattr(name, "value", "?"))
            yield from _values(value, f"{key}.{word}" if key else word, depth + 1)


def _too_deep(path: str) -> UsageError:
    return UsageError(f"{path} has more than {_DEPTH} levels", hint="mend it, then push again")


def _python(packing: Packing) -> bool:
    return any(source.path.endswith(".py") for source in packing.sources)


def _compose(packing: Packing, path: str) -> Any:
    """The root node of a YAML file of the folder; None when it is not there."""
    source = packing.source(path)
    if source is None:
        return None
    try:
        descriptor = open_file(source.origin)
        try:
            text = read_open(descriptor, path, limit=_LIMIT)
        finally:
            os.close(descriptor)
    except Corrupt as error:
        raise UsageError(str(error), hint="an Executor's configuration is smaller") from None
    return _parse(text, path)


def _parse(text: bytes, path: str) -> Any:
    """The root node of a YAML text."""
    import yaml  # for pushes and diffs only

    try:
        _see_shallow(text, path)
        return yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or "not YAML"
        raise UsageError(f"{path}{line} does not parse: {reason}", hint="mend it, then push again") from None


def _see_shallow(text: bytes, path: str) -> None:
    """Refuse what composing would follow until the stack ends: 100,000 levels are a segmentation fault."""
    import yaml  # as above

    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEPTH:
            raise _too_deep(path)


def _child(node: Any, key: str) -> Any:
    """The value of a key of a mapping node, or None."""
    pairs = node.value if getattr(node, "id", None) == "mapping" else []
    return next((value for name, value in pairs if getattr(name, "value", None) == key), None)


def _text(node: Any) -> str | None:
    text = node.value.strip() if getattr(node, "id", None) == "scalar" else None
    return None if text in (None, "", "null", "~") else text


def _texts(node: Any) -> list[str]:
    return [text for item in node.value if (text := _text(item))] if getattr(node, "id", None) == "sequence" else []
