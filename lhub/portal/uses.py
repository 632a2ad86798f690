"""The lines to copy by which a version is used: pulled, loaded, in a Flow, in old code."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lhub.kinds.config import CONFIG
from lhub.kinds.docarray import form_told
from lhub.kinds.shapes import OLD
from lhub.names import LATEST
from lhub.portal.cards import Card


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """Something to copy: what for, and the lines; without `ready` it does not work yet, as its note says."""

    what: str
    text: str
    note: str = ""
    ready: bool = True


def uses(card: Card, about: Mapping[str, Any], folder: str | None, rooted: str, *, image: bool) -> Sequence[Use]:
    """The lines by which a version is used; `folder` is where an Executor's config.yml lies.

    `rooted` is what a command needs to mean this registry, `image` whether the version has one.
    """
    if card.kind == "executor":
        return _executor_uses(card, folder, rooted, image=image)
    if card.kind == "docarray":
        return _array_uses(card, about, rooted)
    pull, path = (f"lhub {verb} {card.reference}{rooted}" for verb in ("pull", "path"))
    return [Use(what="Pull", text=pull), Use(what="Path", text=path)]


def _python(rooted: str) -> str:
    """The registry in Python."""
    return f"lhub.Registry({shlex.split(rooted)[1]!r})" if rooted else "lhub"


def _executor_uses(card: Card, folder: str | None, rooted: str, *, image: bool) -> Sequence[Use]:
    scheme = "jinaai" if card.ref.namespace else "jinahub"
    source = replace(card.asked, scheme=scheme)
    lines = [
        Use(what="Pull", text=f"lhub pull {source}{rooted}"),
        Use(what="Flow, in Python", text=f'Flow().add(uses={_python(rooted)}.uses("{source}"))'),
    ]
    if folder is not None:  # without a config.yml no Flow takes it
        text = f"jtype: Flow\nexecutors:\n- uses: {folder}/{CONFIG}"
        lines.append(Use(what="Flow, in YAML", text=text, note="this very version, wherever the tag moves"))
    if source.version is None:
        old = f'Flow().add(uses="{source}")'
        lines.append(Use(what="In old code", text=old, note=_old_code(rooted)))
        note = "" if image else "no image of it has been built"
        text = f"lhub pull {replace(source, docker=True)}{rooted}"
        lines.append(Use(what="As a container", text=text, note=note, ready=image))
    return lines


def _old_code(rooted: str) -> str:
    return f"which runs behind lhub run{rooted}, not one line changed"


def _array_uses(card: Card, about: Mapping[str, Any], rooted: str) -> Sequence[Use]:
    name, form = card.reference, form_told(about)
    lines = [Use(what="Load, in Python", text=f'docs = {_python(rooted)}.load("{name}")')]
    if form is not None and form.generation == OLD:
        if card.tag == LATEST:  # the old clients know no tags of an array
            text = f'docs = DocumentArray.pull("{card.name}")'
            lines.append(Use(what="In old code", text=text, note=_old_code(rooted)))
    else:
        pull = f'import lhub.docarray_store\n\ndocs = DocList[MyDoc].pull("lhub://{name}")'
        note = f"with LHUB_ROOT={shlex.split(rooted)[1]}" if rooted else ""
        lines.append(Use(what="DocList.pull", text=pull, note=note))
    return [*lines, Use(what="Pull its file", text=f"lhub pull {name}{rooted}")]
