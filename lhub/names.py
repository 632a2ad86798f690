"""References and names: what a person types, read at the door and printed again, in one room.

A :class:`Ref` is the only form of a reference inside the house. It never prints its secret.

>>> ref = parse_ref("jinaai://alice/MyExecutor:v1")
>>> ref.namespace, ref.resource, ref.tag
('alice', 'MyExecutor', 'v1')
>>> str(parse_ref("jinahub://Indexer:s3cret/v2"))
'jinahub://Indexer/v2'

The grammar is that of Jina's own references (``jinaai://``, ``jinahub://``), with
``lhub://`` for resources of any kind and ``@`` for a version.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from lhub.errors import UsageError, listing

LATEST = "latest"
UNNAMED = "_"
"""The folder of resources without a namespace; no namespace can have this name."""

BUILD_ENV = "LHUB_BUILD_ENV_"
"""What stands before the name of a variable for requirements that was taken out of lhub's own command line."""

VARIABLE = re.compile(r"[A-Z0-9][A-Z0-9_]*")
"""The name of such a variable (Jina's Hub: capital letters, digits and `_`, not starting with `_`)."""

_FIRST = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_LETTERS = _FIRST | frozenset("._-")
_HEX = frozenset("0123456789abcdef")
_ENDINGS = (".lock", ".git", ".yaml", ".yml", ".")
_DEVICES = frozenset(("con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))))
_LONGEST = 128
_SCHEMES = ("jinaai", "jinaai+docker", "jinahub", "jinahub+docker", "lhub")
_FORMS = "a reference is alice/X, alice/X:tag, alice/X@version, jinaai://alice/X:tag or jinahub://X:secret/tag"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """A parsed reference.

    `scheme` is ``""``, ``"lhub"``, ``"jinaai"`` or ``"jinahub"``; `docker` asks for the container image;
    `namespace` is None for a resource without one; at most one of `tag` and `version` (8 to 64 hex digits)
    is given; `at` asks where the tag stood then (a date as `moments` reads it); `secret` opens a private resource
    without a namespace and is in no printed form.
    """

    resource: str
    namespace: str | None = None
    tag: str | None = None
    version: str | None = None
    at: str | None = None
    scheme: str = ""
    docker: bool = False
    secret: str | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The resource alone: ``alice/X``, or ``X`` without a namespace."""
        return f"{self.namespace}/{self.resource}" if self.namespace else self.resource

    def __str__(self) -> str:
        prefix = f"{self.scheme}{'+docker' if self.docker else ''}://" if self.scheme else ""
        if self.scheme == "jinahub":
            return f"{prefix}{self.resource}" + (f"/{self.tag}" if self.tag else "")
        chosen = (f":{self.tag}" if self.tag else "") + (f"@{self.version}" if self.version else "")
        return f"{prefix}{self.name}{chosen}" + (f"@{{{self.at}}}" if self.at else "")


def parse_ref(text: str) -> Ref:
    """The reference that `text` spells; every form of `lhub/FORMAT.md`, section "References".

    Raises UsageError (2) with a sentence for each part at fault; what may be a secret is not repeated.
    """
    scheme, separator, body = text.partition("://")
    if not separator:
        scheme, body = "", text
    elif scheme not in _SCHEMES:
        start = f"{scheme[:20]}://" if scheme.isascii() and scheme.replace("+", "").isalpha() else "that"
        raise UsageError(f"a reference does not start with {start}", hint=_FORMS)
    base, _, docker = scheme.partition("+")
    ref, faults = (_legacy if base == "jinahub" else _modern)(body, base, bool(docker))
    if faults:
        raise UsageError(listing("not a reference", faults), hint=_FORMS)
    return ref


def _modern(body: str, scheme: str, docker: bool) -> tuple[Ref, list[str]]:
    """``[alice/]X``, then ``:tag`` or ``@version``; a tag, or nothing, may be followed by ``@{date}``."""
    body, dated, date = body.partition("@{")
    end = min((place for place in (body.find(":"), body.find("@")) if place >= 0), default=len(body))
    head, selector, rest = body[:end], body[end : end + 1], body[end + 1 :]
    namespace, slash, resource = head.partition("/")
    if not slash:
        namespace, resource = "", head
    faults = []
    if not slash and scheme:
        faults.append(f"a {scheme}:// reference needs a namespace, as in {scheme}://alice/{_shown(resource) or 'X'}")
    if slash:
        faults += name_faults(namespace, "namespace")
    faults += name_faults(resource, "resource")
    if selector == ":" and ":" in rest:
        secret = " (a secret belongs to a jinahub:// reference)" if scheme == "jinaai" else ""
        faults.append(f"two colons; one is for the tag{secret}")
    elif selector == ":" and "/" in rest and scheme == "jinaai":
        faults.append(
            "what follows the colon is not a tag, it has a slash (a secret belongs to a jinahub:// reference)"
        )
    elif selector == ":":
        faults += tag_faults(rest)
    elif selector and not is_version_prefix(rest.lower()):
        faults.append("the version after @ is not 8 to 64 hex digits")
    if dated:
        faults += _date_faults(date, version=selector == "@", docker=docker)
    return Ref(
        resource=resource,
        namespace=namespace or None,
        tag=rest if selector == ":" else None,
        version=rest.lower() if selector == "@" else None,
        at=date[:-1] if dated else None,
        scheme=scheme,
        docker=docker,
    ), faults


def _date_faults(date: str, *, version: bool, docker: bool) -> list[str]:
    from lhub.moments import parse_moment  # only for who asks about the past

    if not date.endswith("}"):
        return ["the date after @{ has no closing brace"]
    if version or docker:
        return [f"{'a version' if version else 'an image'} is the same at every date"]
    try:
        parse_moment(date[:-1])
    except UsageError:
        return ["what stands in the braces is not a date, as 2026-03-01 or 2026-03-01 12:00"]
    return []


def _legacy(body: str, scheme: str, docker: bool) -> tuple[Ref, list[str]]:
    """``X[:secret][/tag]``; the secret runs from the first colon to the slash and may hold ``@`` and ``:``."""
    head, slash, tag = body.partition("/")
    resource, colon, secret = head.partition(":")
    faults = name_faults(resource, "resource")
    if colon:
        faults += secret_faults(secret)
    if slash:
        faults += tag_faults(tag)
    return Ref(
        resource=resource, tag=tag if slash else None, scheme=scheme, docker=docker, secret=secret or None
    ), faults


def parse_name(text: str) -> tuple[str | None, str]:
    """Namespace (or None) and resource of ``alice/X`` or ``X``, as push takes them; raises UsageError."""
    namespace, slash, resource = text.partition("/")
    if not slash:
        namespace, resource = "", text
    faults = (name_faults(namespace, "namespace") if slash else []) + name_faults(resource, "resource")
    if faults:
        raise UsageError(
            listing("not a name", faults), hint="a name is X or alice/X; tags are given with -t, as in -t v1"
        )
    return namespace or None, resource


def parse_tag(text: str) -> str:
    """`text` itself when it is a tag; raises UsageError."""
    if faults := tag_faults(text):
        raise UsageError(listing("not a tag", faults), hint="a tag is letters, digits, '_', '.', '-', as in v1.0.0")
    return text


def parse_namespace(text: str) -> str:
    """`text` itself when it is the name of a namespace; raises UsageError."""
    if faults := name_faults(text, "namespace"):
        raise UsageError(
            listing("not a name", faults), hint="a namespace is letters, digits, '.', '_', '-', as in alice"
        )
    return text


def name_faults(name: str, part: str) -> list[str]:
    """A sentence for each thing wrong with the name of a namespace or resource."""
    return _faults(name, f"the {part}", _FIRST, "a letter or digit")


def tag_faults(tag: str) -> list[str]:
    """A sentence for each thing wrong with a tag."""
    return _faults(tag, "the tag", _FIRST | {"_"}, "a letter, digit or '_'")


def secret_faults(secret: str) -> list[str]:
    """A sentence for each thing wrong with a secret; it is never repeated."""
    if not secret:
        return ["the secret after the colon is empty"]
    if any(character.isspace() or character == "/" or not character.isprintable() for character in secret):
        return ["the secret has a slash, white space or a control character"]
    return []


def is_name(name: str) -> bool:
    """Whether a folder found on disk can be a namespace or a resource."""
    return bool(name) and not name_faults(name, "")


def is_space(name: str) -> bool:
    """Whether a folder found in a root can be a namespace, or the place of what has none."""
    return name == UNNAMED or is_name(name)


@lru_cache(maxsize=4096)
def is_tag(name: str) -> bool:
    """Whether a link found on disk can be a tag; a listing of 10,000 resources asks it of the same few names."""
    return bool(name) and not tag_faults(name)


def is_version_prefix(text: str) -> bool:
    """Whether a text can name a version: 8 to 64 hex digits."""
    return 8 <= len(text) <= 64 and _HEX.issuperset(text)


NEVER = (".git", ".jina")
"""Names that never travel, in any case of letters: they would act where they are laid out."""


DEEPEST = 200
"""Folders in which a file of a version may lie: whoever walks one does so by recursion."""


def is_inside(path: str) -> bool:
    """Whether a path stays below the folder it is laid out in: relative, no empty, '.' or '..' part, no NUL."""
    return "\0" not in path and all(part not in ("", ".", "..") for part in path.split("/"))


def twin(name: str, siblings: list[str]) -> str | None:
    """The sibling that differs from `name` only by case, which some file systems cannot tell apart."""
    if name in siblings:
        return None
    return next((other for other in siblings if other.lower() == name.lower()), None)


def _faults(name: str, what: str, first: frozenset[str], first_words: str) -> list[str]:
    if not name:
        return [f"{what} is empty"]
    if len(name) > _LONGEST:
        return [f"{what} has {len(name)} characters, {_LONGEST} are allowed"]
    if not _LETTERS.issuperset(name):
        place, odd = next((place, character) for place, character in enumerate(name) if character not in _LETTERS)
        return [f"{what} has {_character(odd)} at position {place + 1}, allowed are A-Z a-z 0-9 . _ -"]
    if name[0] not in first:
        return [f"{what} starts with '{name[0]}', it must start with {first_words}"]
    if name.lower().endswith(_ENDINGS):
        return [f"{what} ends in '{next(end for end in _ENDINGS if name.lower().endswith(end))}'"]
    return [f"{what} is the name of a Windows device"] if name.lower().partition(".")[0] in _DEVICES else []


def _character(character: str) -> str:
    known = {" ": "a space", "\n": "a newline", "\0": "a NUL", "\t": "a tab"}
    if character in known:
        return known[character]
    return f"'{character}'" if " " < character <= "~" else f"the character U+{ord(character):04X}"


def _shown(text: str) -> str:
    """Text of a stranger, made safe and short enough to stand in a sentence."""
    return "".join(c if " " <= c <= "~" else "?" for c in text[:40])
