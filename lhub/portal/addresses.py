"""Addresses: where each page stands; a name of a stranger's in one is quoted, whatever it is.

>>> resource_address("alice/X", "files", "a b/c?", at=":v1")
'/r/alice/X/files/a%20b/c%3F?at=%3Av1'
"""

from __future__ import annotations

from urllib.parse import quote, urlencode

from lhub.names import UNNAMED, Ref, is_tag, is_version_prefix


def address(*parts: str, **query: object) -> str:
    """An address from its parts; what is None or empty is left out of the query."""
    asked = urlencode({key: value for key, value in query.items() if value not in (None, "")})
    path = "/".join(quote(part, safe="/") for part in parts)
    return f"/{path}" + (f"?{asked}" if asked else "")


def resource_address(name: str, *parts: str, **query: object) -> str:
    """A page of a resource."""
    whole = name if "/" in name else f"{UNNAMED}/{name}"
    return address("r", whole, *parts, **query)


def suffix_of(tag: str | None, version: str | None) -> str:
    """What stands behind a name in a reference: ``:v1`` or ``@3f2a9c1d4e5f``."""
    return f"@{version[:12]}" if version else f":{tag}" if tag else ""


def selected(ref: Ref, suffix: str) -> Ref | None:
    """A reference with such a suffix; None for what is none."""
    head, rest = suffix[:1], suffix[1:]
    if head == ":" and is_tag(rest):
        return Ref(resource=ref.resource, namespace=ref.namespace, tag=rest)
    if head == "@" and is_version_prefix(rest.lower()):
        return Ref(resource=ref.resource, namespace=ref.namespace, version=rest.lower())
    return None
