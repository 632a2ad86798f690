"""The YAML documents of a registry: canonical text out, frozen values in.

A version's id is the SHA-256 of its manifest, so the text must come out the same from every machine and
every release of any YAML library: it is written here, by one rule a line. Canonical text is read here too; any
other YAML is built from the events of PyYAML's C parser, behind guards: a size, a depth, no aliases, no tags, no
key twice (a document from another user must not hang or fill a reader).

>>> print(to_yaml({"format": 1, "kind": "executor", "executable": ["run.sh"]}), end="")
format: 1
kind: executor
executable:
- run.sh
>>> read_yaml(b"format: 1\\nkind: executor\\n", "resource.yaml")
{'format': 1, 'kind': 'executor'}
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lhub.errors import Corrupt, LhubError
from lhub.names import VARIABLE

if TYPE_CHECKING:
    from lhub.tree import Tree

FORMAT = 1
KINDS = ("executor", "docarray", "files", "base")
SMALL, LARGE = 64 * 1024, 1024 * 1024
"""Bytes: more than any honest registry.yaml or resource.yaml, and any honest manifest.yaml, has."""
HUGE = 512 * 1024 * 1024
"""Bytes of the longest SHA256SUMS: some five million files."""
METADATA = "metadata"
"""The key under `about` of what a pusher tells in his own words: JSON, as a text, since YAML here has no fractions."""
_DEPTH = 16

_PLAIN = r"[A-Za-z_][A-Za-z0-9_./-]*"
_WORDS = frozenset(["y", "n", "yes", "no", "true", "false", "on", "off", "null", "nan", "inf"])
_CONSTANTS: dict[str, Any] = {"true": True, "false": False, "null": None, "[]": [], "{}": {}}
_ESCAPED = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What a sealed version tells of its content: how many files and bytes, and the mark of `lhub.seals`."""

    count: int
    bytes: int
    mark: str

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], where: str) -> Sealed:
        """The value of a read document; raises Corrupt."""
        count, size = _natural(document, "sealed.count", where), _natural(document, "sealed.bytes", where)
        return cls(count=count, bytes=size, mark=_digest(document, "sealed.mark", where))


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a version is: content only, no time, no user, no parent.

    `about` is what the kind knows (for an Executor its name and description); `count` and `bytes` are of the
    payload; `sums` is the SHA-256 of SHA256SUMS; `executable` are the paths that may be executed. Of a sealed version,
    whose payload is one file that only a key opens, `sealed` tells what may be told of the content.
    """

    kind: str
    count: int
    bytes: int
    sums: str
    executable: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    sealed: Sealed | None = None

    def to_dict(self) -> dict[str, Any]:
        """The document, its keys in the order of FORMAT.md."""
        document: dict[str, Any] = {"format": FORMAT, "kind": self.kind}
        if self.about:
            document["about"] = dict(self.about)
        if self.sealed is not None:
            told = self.sealed
            document["sealed"] = {"count": told.count, "bytes": told.bytes, "mark": told.mark}
        document["files"] = {"count": self.count, "bytes": self.bytes, "sha256sums": self.sums}
        document["executable"] = list(self.executable)
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], where: str = "manifest.yaml") -> Manifest:
        """The value of a read document; Corrupt names the field at fault by its dotted path."""
        check_format(document, where)
        kind = _known_kind(document, where)
        files = _field(document, "files", dict, where)
        executable = _field(document, "executable", list, where)
        about = document.get("about", {})
        if not isinstance(about, dict):
            raise Corrupt(f"{where}: about is not a mapping")
        sealed = _field(document, "sealed", dict, where) if "sealed" in document else None
        for index, path in enumerate(executable):
            if not isinstance(path, str):
                raise Corrupt(f"{where}: executable.{index} is not a text")
        return cls(
            kind=kind,
            count=_natural(files, "files.count", where),
            bytes=_natural(files, "files.bytes", where),
            sums=_digest(files, "files.sha256sums", where),
            executable=tuple(executable),
            about=about,
            sealed=None if sealed is None else Sealed.from_dict(sealed, where),
        )

    def to_text(self) -> str:
        """The canonical text, whose SHA-256 is the version's id."""
        return to_yaml(self.to_dict())


def manifest_of(tree: Tree, kind: str, about: Mapping[str, Any], sums: str, sealed: Sealed | None = None) -> Manifest:
    """The manifest of a tree whose SHA256SUMS has the digest `sums`."""
    return Manifest(
        kind=kind,
        count=len(tree.files),
        bytes=tree.bytes,
        sums=sums,
        executable=tree.executable,
        about=about,
        sealed=sealed,
    )


def variables(about: Mapping[str, Any]) -> tuple[str, ...]:
    """The variables that the requirements of an Executor use, by what its manifest tells; what is no name is none."""
    names = about.get("build_env")
    texts = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return tuple(name for name in texts if VARIABLE.fullmatch(name))


def read_manifest(text: bytes, where: str) -> Manifest:
    """The manifest in `text`; raises Corrupt."""
    return Manifest.from_dict(read_yaml(text, where, limit=LARGE), where)


def resource_text(kind: str) -> str:
    """The text of resource.yaml."""
    return to_yaml({"format": FORMAT, "kind": kind})


def read_kind(text: bytes, where: str) -> str:
    """The kind in the text of a resource.yaml; raises Corrupt."""
    document = read_yaml(text, where)
    check_format(document, where)
    return _known_kind(document, where)


def format_text(*, require_mount: bool = False, recipient: str | None = None) -> str:
    """The text of registry.yaml (of a registry that must lie on a mount, if so asked) and namespace.yaml.

    A namespace tells the `recipient` by which others seal for it, if it has one.
    """
    document: dict[str, Any] = {"format": FORMAT} | ({"require_mount": True} if require_mount else {})
    return to_yaml(document | ({"recipient": recipient} if recipient else {}))


def read_format(text: bytes, where: str) -> bool:
    """Whether a registry must lie on a mount; raises unless `text` is a document of a format this lhub reads."""
    document = read_yaml(text, where)
    check_format(document, where)
    return document.get("require_mount") is True


def read_recipient(text: bytes, where: str) -> str | None:
    """The recipient that a namespace.yaml tells; raises Corrupt."""
    document = read_yaml(text, where)
    check_format(document, where)
    recipient = document.get("recipient")
    return recipient if isinstance(recipient, str) else None


def check_format(document: Mapping[str, Any], where: str) -> None:
    """Raise LhubError for a newer format, Corrupt for none."""
    number = _natural(document, "format", where)
    if number > FORMAT:
        raise LhubError(
            f"{where} has format {number}, this lhub reads format {FORMAT}", hint="pip install --upgrade lhub"
        )
    if number < 1:
        raise Corrupt(f"{where}: format is {number}")


def to_yaml(document: Mapping[str, Any]) -> str:
    """Canonical YAML: block style, keys in the given order, one text for one value.

    A text is plain if it matches ``[A-Za-z_][A-Za-z0-9_./-]*`` and is no word that YAML 1.1 reads as
    something else, else double-quoted; an empty mapping or list is ``{}`` or ``[]``.
    """
    return "".join(_mapping(document, ""))


def _mapping(document: Mapping[str, Any], indent: str) -> list[str]:
    lines = []
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{_scalar(key)}:\n", *_mapping(value, indent + "  ")]
        elif isinstance(value, (list, tuple)) and value:
            lines += [f"{indent}{_scalar(key)}:\n", *_sequence(value, indent)]
        else:
            lines.append(f"{indent}{_scalar(key)}: {_scalar(value)}\n")
    return lines


def _sequence(values: Sequence[Any], indent: str) -> list[str]:
    lines = []
    for value in values:
        if isinstance(value, Mapping) and value:
            first, *rest = _mapping(value, indent + "  ")
            lines += [f"{indent}- {first[len(indent) + 2 :]}", *rest]
        else:
            lines.append(f"{indent}- {_scalar(value)}\n")
    return lines


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return value if re.fullmatch(_PLAIN, value) and value.lower() not in _WORDS else quoted(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if value in ({}, [], ()):
        return "[]" if isinstance(value, (list, tuple)) else "{}"
    raise TypeError(
        f"a registry document holds texts, whole numbers, true, false, null, lists and mappings, not {value!r}"
    )


def quoted(text: str) -> str:
    """A text as YAML and JSON readers alike take it: double-quoted, what is not printable escaped."""
    return '"' + "".join(_ESCAPED.get(c) or (c if _printable(c) else f"\\U{ord(c):08X}") for c in text) + '"'


def _printable(character: str) -> bool:
    """What YAML lets stand as itself and no editor or `git diff` takes for a line's end."""
    code = ord(character)
    return (
        0x20 <= code <= 0x7E
        or (0xA0 <= code <= 0xD7FF and code not in (0x2028, 0x2029))
        or (0xE000 <= code <= 0xFFFD and code != 0xFEFF)
        or 0x10000 <= code <= 0x10FFFF
    )


# reading


def read_yaml(text: bytes, where: str, *, limit: int = SMALL) -> dict[str, Any]:
    """The mapping in `text`; Corrupt for anything a registry's own document never holds.

    Canonical text, which is all that lhub writes, is read here; any other YAML by PyYAML, event by event.
    """
    if len(text) > limit:
        raise Corrupt(f"{where} has {len(text)} bytes or more, at most {limit} are read")
    document = read_canonical(text)
    if document is not None:
        return document
    if len(text) > SMALL:  # libyaml takes seconds, or minutes, for what is made to be slow
        raise Corrupt(
            f"{where} has {len(text)} bytes and is not in lhub's own form, of others at most {SMALL} are read"
        )
    return _read_any(text, where)


def read_canonical(text: bytes) -> dict[str, Any] | None:
    """The document whose canonical text this is; None for any other text.

    It spares list, show and pull the 15 ms of loading PyYAML. Writing the answer again and comparing proves it.
    """
    try:
        lines = text.decode().split("\n")[:-1]
        document, end = _read_mapping(lines, 0, "", 1)
        return document if document and end == len(lines) and to_yaml(document).encode() == text else None
    except (ValueError, IndexError):
        return None


def _read_mapping(lines: list[str], at: int, indent: str, depth: int) -> tuple[dict[str, Any], int]:
    """The mapping that starts at a line, and the number of the line behind it."""
    document: dict[str, Any] = {}
    while at < len(lines) and lines[at].startswith(indent) and lines[at][len(indent)] not in " -":
        key, value = _read_pair(lines[at][len(indent) :])
        at += 1
        if value:
            document[key] = _read_scalar(value)
        elif depth >= _DEPTH:
            raise ValueError("too deep")
        elif lines[at].startswith(f"{indent}- "):
            document[key], at = _read_sequence(lines, at, indent, depth + 1)
        else:
            document[key], at = _read_mapping(lines, at, indent + "  ", depth + 1)
    return document, at


def _read_sequence(lines: list[str], at: int, indent: str, depth: int) -> tuple[list[Any], int]:
    values: list[Any] = []
    while at < len(lines) and lines[at].startswith(f"{indent}- "):
        value = lines[at][len(indent) + 2 :]
        if _is_pair(value):
            lines[at] = f"{indent}  {value}"
            item, at = _read_mapping(lines, at, indent + "  ", depth + 1)
            values.append(item)
        else:
            values.append(_read_scalar(value))
            at += 1
    return values, at


def _is_pair(text: str) -> bool:
    return re.fullmatch(rf'({_PLAIN}|"([^"\\]|\\.)*"):( .*)?', text) is not None


def _read_pair(text: str) -> tuple[str, str]:
    match = re.fullmatch(rf'({_PLAIN}|"(?:[^"\\]|\\.)*"):(?: (.*))?', text)
    if match is None:
        raise ValueError("not a pair")
    return str(_read_scalar(match[1])), match[2] or ""


def _read_scalar(text: str) -> Any:
    if text.startswith('"'):
        return re.sub(r"\\(U[0-9A-F]{8}|.)", lambda match: _unescaped(match[1]), text[1:-1])
    if text in _CONSTANTS:
        return type(_CONSTANTS[text])() if text in ("[]", "{}") else _CONSTANTS[text]
    return int(text) if re.fullmatch("-?[0-9]{1,18}", text) else text


def _unescaped(escape: str) -> str:
    return chr(int(escape[1:], 16)) if len(escape) > 1 else {"n": "\n", "t": "\t", "r": "\r"}.get(escape, escape)


def _read_any(text: bytes, where: str) -> dict[str, Any]:
    """YAML of any style, built from events: nothing that costs more to build than to read is ever built."""
    import yaml  # 15 ms that documents of our own do not cost

    if text.startswith(b"%") or b"\n%" in text:
        raise Corrupt(f"{where} has directives, which are refused")
    try:
        document = _Builder(where).build(yaml.parse(text, Loader=yaml.CSafeLoader))
    except yaml.YAMLError as error:
        raise Corrupt(f"{where} is not YAML: {_first_line(error)}") from None
    except UnicodeError as error:
        raise Corrupt(f"{where} is not a document of a registry: {_first_line(error)}") from None
    if not isinstance(document, dict):
        raise Corrupt(f"{where} is not a mapping" if text.strip() else f"{where} is empty")
    return document


class _Builder:
    """A document from PyYAML's events, with every guard in one place."""

    def __init__(self, where: str) -> None:
        import yaml  # loaded by the caller

        self.yaml, self.where, self.line = yaml, where, 0
        self.resolve: Any = yaml.resolver.Resolver().resolve
        self.open: list[tuple[Any, list[str]]] = []  # containers, each with the key that waits for its value
        self.document: Any = None
        self.count = 0

    def build(self, events: Any) -> Any:
        for event in events:
            self.line = event.start_mark.line + 1
            if isinstance(event, self.yaml.AliasEvent) or getattr(event, "anchor", None):
                raise self.refused("aliases are refused")
            if getattr(event, "tag", None):
                raise self.refused(f"the tag {str(event.tag)[:60]!r} is refused")
            self.take(event)
        return self.document

    def take(self, event: Any) -> None:
        """One event: open, close, or put a value where it belongs."""
        if isinstance(event, self.yaml.DocumentStartEvent):
            self.count += 1
            if self.count > 1:
                raise self.refused("a second document is refused")
        elif isinstance(event, self.yaml.ScalarEvent):
            self.put(self.scalar(event))
        elif isinstance(event, self.yaml.CollectionStartEvent):
            if len(self.open) == _DEPTH:
                raise self.refused(f"more than {_DEPTH} levels are refused")
            self.open.append(({} if isinstance(event, self.yaml.MappingStartEvent) else [], []))
        elif isinstance(event, self.yaml.CollectionEndEvent):
            self.put(self.open.pop()[0])

    def put(self, value: Any) -> None:
        if not self.open:
            self.document = value
            return
        container, waiting = self.open[-1]
        if isinstance(container, list):
            container.append(value)
        elif waiting:
            container[waiting.pop()] = value
        elif not isinstance(value, str) or value == "<<":
            raise self.refused(f"the key {str(value)[:40]!r} is not a text")
        elif value in container:
            raise self.refused(f"the key {value[:40]!r} stands twice")
        else:
            waiting.append(value)

    def scalar(self, event: Any) -> Any:
        """A text, whole number, true, false or null; a registry's document holds nothing else."""
        if not event.implicit[0]:
            return event.value
        tag = self.resolve(self.yaml.ScalarNode, event.value, (True, False)).rpartition(":")[2]
        if tag == "str" or event.value == "<<":
            return event.value
        if tag == "null":
            return None
        if tag == "bool" and event.value.lower() in ("true", "false"):
            return event.value.lower() == "true"
        if tag == "int" and re.fullmatch("-?(0|[1-9][0-9]{0,17})", event.value):
            return int(event.value)
        raise self.refused(f"the value {event.value[:40]!r} is refused")

    def refused(self, why: str) -> Corrupt:
        return Corrupt(f"{self.where} line {self.line}: {why}")


def _first_line(error: Exception) -> str:
    problem = getattr(error, "problem", None) or str(error) or type(error).__name__
    mark = getattr(error, "problem_mark", None)
    return str(problem).split("\n")[0][:120] + (f" (line {mark.line + 1})" if mark else "")


def _field(document: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    value = document.get(key)
    if not isinstance(value, kind):
        wanted = "a mapping" if kind is dict else "a list"
        raise Corrupt(f"{where}: {key} is {'missing' if value is None else f'not {wanted}'}")
    return value


def _known_kind(document: Mapping[str, Any], where: str) -> str:
    kind = document.get("kind")
    if not isinstance(kind, str):
        raise Corrupt(f"{where}: kind is {'missing' if kind is None else 'not a text'}")
    if kind not in KINDS:
        raise Corrupt(f"{where}: kind is {kind[:40]!r}, known are {', '.join(KINDS)}", hint="a newer lhub may know it")
    return kind


def _natural(document: Mapping[str, Any], key: str, where: str) -> int:
    value = document.get(key.rpartition(".")[2])
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Corrupt(f"{where}: {key} is {'missing' if value is None else 'not a whole number'}")
    return value


def _digest(document: Mapping[str, Any], key: str, where: str) -> str:
    value = document.get(key.rpartition(".")[2])
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise Corrupt(f"{where}: {key} is not 64 hex digits")
    return value
