"""The YAML of an Executor, `config.yml` and `manifest.yml`: what a user wrote, with tags and aliases of his own.

It is only composed, never constructed, and what is wanted is picked from its nodes. Where a text gains settings, they
are written between the user's own lines, which stay as they are, comments and all.

>>> settings(b"jtype: X\\nmetas:\\n  keywords: [a, b]\\n")
{'jtype': 'X', 'metas.keywords.0': 'a', 'metas.keywords.1': 'b'}
>>> print(with_metas("jtype: X # mine\\nmetas:\\n  name: X\\n", {"url": "https://x"}), end="")
jtype: X # mine
metas:
  url: "https://x"
  name: X
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lhub.errors import UsageError
from lhub.manifest import quoted

CONFIG, MANIFEST = "config.yml", "manifest.yml"
_MARK = "\ufeff"
_DEPTH = 64
Setting = str | Sequence[str]
"""A text, or a list of texts."""


def parse(text: bytes | str, path: str) -> Any:
    """The root node of a YAML text, None of an empty one; UsageError for what does not parse."""
    import yaml  # for pushes and diffs only

    try:
        _see_shallow(text, path)
        return yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or "not YAML"
        raise UsageError(f"{path}{line} does not parse: {reason}", hint="mend it, then push again") from None


def _see_shallow(text: bytes | str, path: str) -> None:
    """Refuse what composing would follow until the stack ends: 100,000 levels are a segmentation fault."""
    import yaml  # as above

    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEPTH:
            raise _too_deep(path)


def _too_deep(path: str) -> UsageError:
    return UsageError(f"{path} has more than {_DEPTH} levels", hint="mend it, then push again")


# what a node says


def is_mapping(node: Any) -> bool:
    """Whether a node has keys."""
    return getattr(node, "id", None) == "mapping"


def child(node: Any, key: str) -> Any:
    """The value of a key of a mapping node, or None; of a key that stands twice the last, as every loader has it."""
    pairs = node.value if is_mapping(node) else []
    return next((value for name, value in reversed(pairs) if getattr(name, "value", None) == key), None)


def text_of(node: Any) -> str | None:
    """The text of a scalar node; None for anything else, and for null."""
    text = node.value.strip() if getattr(node, "id", None) == "scalar" else None
    return None if text in (None, "", "null", "~") else text


def texts_of(node: Any) -> list[str]:
    """The texts of a sequence node."""
    return [text for item in node.value if (text := text_of(item))] if getattr(node, "id", None) == "sequence" else []


def line_of(node: Any) -> int:
    """The line of the file on which a node begins."""
    return int(node.start_mark.line) + 1


def settings(text: bytes | str, path: str = CONFIG) -> dict[str, str]:
    """Every value of an Executor's YAML file by its dotted key; UsageError for what does not parse."""
    found: dict[str, str] = {}
    for number, (key, value) in enumerate(_values(parse(text, path), "", 0)):
        if number > len(text):  # only aliases of aliases make more nodes than the text has letters
            raise UsageError(f"{path} repeats itself by too many aliases", hint="mend it, then push again")
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


# settings added between the lines


def with_metas(text: str, added: Mapping[str, Setting]) -> str:
    """The text with these keys under `metas`; UsageError where its style leaves no place for them."""
    body = text.removeprefix(_MARK)  # the marks of a parser do not count it
    edited = body
    wanted = {f"metas.{key}": setting for key, setting in added.items()}
    kept = {key: value for key, value in settings(body).items() if not _is_below(key, wanted)}
    try:
        for key, setting in reversed(list(added.items())):
            edited = _with(edited, key, setting)
        right = settings(edited) == kept | _flat(wanted) and _comments(edited) == _comments(body)
    except UsageError:
        right = False
    if not right:
        raise UsageError(
            f"{CONFIG} leaves no place for what {MANIFEST} says: {', '.join(added)}",
            hint=f"write them under metas of {CONFIG}, a key a line",
        )
    return text[: len(text) - len(body)] + edited


def _comments(text: str) -> list[str]:
    """The lines that hold a comment, as far as one can tell without a parser."""
    return [line.partition("#")[2] for line in text.splitlines() if line.lstrip().startswith("#")]


def _is_below(key: str, wanted: Mapping[str, Setting]) -> bool:
    return key == "metas" or any(key == name or key.startswith(f"{name}.") for name in wanted)


def _flat(wanted: Mapping[str, Setting]) -> dict[str, str]:
    """What `settings` tells of these."""
    found: dict[str, str] = {}
    for key, setting in wanted.items():
        found |= {key: setting} if isinstance(setting, str) else {f"{key}.{n}": text for n, text in enumerate(setting)}
    return found


def _with(text: str, key: str, setting: Setting) -> str:
    """The text with one key more under `metas`, or another value of one that stands."""
    root = parse(text, CONFIG)
    metas = child(root, "metas")
    line = f"{key}: {_written(setting)}"
    if metas is None:
        return f"{text}{'' if text.endswith(chr(10)) or not text else chr(10)}metas:\n  {line}\n"
    if not is_mapping(metas):  # `metas:` without a value, else there is no place
        if metas.value not in ("", "null", "~"):
            raise UsageError("metas is no mapping")
        return _spliced(text, _key(root, "metas").end_mark.index, metas.end_mark.index, f":\n  {line}")
    if (value := child(metas, key)) is not None:
        return _spliced(text, _key(metas, key).end_mark.index, _end(value), f": {_written(setting)}")
    start = metas.start_mark
    if metas.flow_style:
        return _spliced(text, start.index + 1, start.index + 1, f"{line}{', ' if metas.value else ''}")
    return _spliced(text, start.index, start.index, f"{line}\n{' ' * start.column}")


def _end(node: Any) -> int:
    """Where a value ends: a block's own mark stands at what comes behind it, comments and all."""
    if getattr(node, "id", None) == "scalar" or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(last, tuple) else last)


def _key(node: Any, key: str) -> Any:
    return next(name for name, _ in reversed(node.value) if getattr(name, "value", None) == key)


def _spliced(text: str, start: int, end: int, piece: str) -> str:
    """The text with a piece in place of what stands between two marks; a block ends with its newline."""
    newline = "\n" if text[start:end].endswith("\n") else ""
    return f"{text[:start]}{piece}{newline}{text[end:]}"


def _written(setting: Setting) -> str:
    return quoted(setting) if isinstance(setting, str) else f"[{', '.join(map(quoted, setting))}]"
