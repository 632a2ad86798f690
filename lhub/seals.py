"""Seals: the document that tells for whom the versions of a resource are sealed, and keeps its keys for those.

Each sealed resource has a SECRET, whose recipient stands here, and keys of its own: identities, the newest last, that
lie in the document sealed for the SECRET, for the namespace that it is in, and for each reader. A payload is sealed for
the SECRET, the namespace and the newest key. So a reader who is added opens all that stands, and one who is taken out,
after whom there is a new key, nothing that follows.

>>> seal = Seal(recipient="age1x", keys="-----BEGIN", proof="0", readers={"bob": "age1y"})
>>> Seal.read(seal.text()) == seal
True
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lhub.errors import Corrupt
from lhub.manifest import FORMAT, check_format, read_yaml, to_yaml
from lhub.names import is_name

SCRYPT = {"n": 1 << 17, "r": 8, "p": 1}
"""How a SECRET of a person's choice is stretched: 128 MiB, 0.4 s. Whoever reads the disk may guess as long as he likes
(what OWASP's cheat sheet on storing passwords gives for scrypt)."""
_LABEL = b"lhub sealed version 1"
_ANCHOR = b"lhub seal anchor 1 "
_SALT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """For whom a resource is sealed.

    `recipient` is that of its SECRET; `salt` (16 bytes) stands where a person chose that; `owner` is the recipient of
    the namespace it is in, if it has one; `readers` are namespaces and their recipients; `keys` is the age file, as
    text, with the identities of the resource. A recipient is no secret, so anybody could seal keys of his own for all
    of these: `anchors` (of the secret, of the owner) and `proof` are what only who has had the keys can make.
    """

    recipient: str
    keys: str
    anchors: Mapping[str, str] = field(default_factory=dict)
    proof: str = ""
    salt: bytes | None = None
    owner: str | None = None
    readers: Mapping[str, str] = field(default_factory=dict)

    @property
    def openers(self) -> tuple[str, ...]:
        """Every recipient that the keys are sealed for."""
        own = (self.owner,) if self.owner else ()
        return tuple(dict.fromkeys((self.recipient, *own, *self.readers.values())))

    def payload(self, newest: str) -> tuple[str, ...]:
        """Every recipient that a payload is sealed for, `newest` being that of the newest key."""
        own = (self.owner,) if self.owner else ()
        return tuple(dict.fromkeys((self.recipient, *own, newest)))

    def text(self) -> bytes:
        """seal.yaml."""
        return to_yaml(self._document() | {"proof": self.proof}).encode()

    def proven(self, first: str) -> str:
        """The proof that `first`, the oldest key, gives of all that the document says."""
        return hmac.digest(first.encode(), to_yaml(self._document()).encode(), "sha256").hex()

    def _document(self) -> dict[str, Any]:
        document: dict[str, Any] = {"format": FORMAT, "recipient": self.recipient}
        if self.salt is not None:
            document["scrypt"] = {**SCRYPT, "salt": self.salt.hex()}
        if self.owner is not None:
            document["owner"] = self.owner
        if self.readers:
            document["readers"] = [{"namespace": name, "recipient": key} for name, key in sorted(self.readers.items())]
        return {**document, "anchors": dict(self.anchors), "keys": self.keys}

    @classmethod
    def read(cls, text: bytes, where: str = "seal.yaml") -> Seal:
        """The document in `text`; Corrupt for what no push wrote."""
        document = read_yaml(text, where)
        check_format(document, where)
        scrypt, readers = document.get("scrypt"), document.get("readers", [])
        anchors = document.get("anchors")
        texts = [document.get("recipient"), document.get("keys"), document.get("owner", ""), document.get("proof")]
        texts += anchors.values() if isinstance(anchors, dict) else [None]
        good = all(isinstance(each, str) for each in texts) and isinstance(readers, list)
        if not good or not all(_is_reader(each) for each in readers):
            raise Corrupt(f"{where} is not what a push writes")
        return cls(
            recipient=document["recipient"],
            keys=document["keys"],
            anchors=anchors or {},
            proof=document["proof"],
            salt=None if scrypt is None else _salt(scrypt, where),
            owner=document.get("owner"),
            readers={each["namespace"]: each["recipient"] for each in readers},
        )


def _is_reader(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    name, recipient = value.get("namespace"), value.get("recipient")
    return isinstance(name, str) and is_name(name) and isinstance(recipient, str)


def _salt(scrypt: object, where: str) -> bytes:
    """The salt; other numbers than ours would let a stranger's document take all memory."""
    if not isinstance(scrypt, dict) or {**scrypt, "salt": None} != {**SCRYPT, "salt": None}:
        raise Corrupt(f"{where} stretches its secret otherwise than lhub does")
    try:
        salt = bytes.fromhex(scrypt["salt"])
    except (KeyError, TypeError, ValueError):
        raise Corrupt(f"{where} has no salt") from None
    if len(salt) != _SALT:
        raise Corrupt(f"{where} has no salt")
    return salt


def anchor(identity: str, first: str) -> str:
    """What binds the oldest key of a resource to an identity that opens it (64 hex digits)."""
    return hmac.digest(identity.encode(), _ANCHOR + first.encode(), "sha256").hex()


def mark(identity: str, manifest: bytes) -> str:
    """What tells who has the key, and nobody else, that two sealed versions are of one content (64 hex digits).

    HMAC-SHA256 of the manifest in clear, which names the digest of its SHA256SUMS, the execute bits and what the kind
    knows; the key is the HMAC-SHA256 of a label under the resource's newest identity.
    """
    return hmac.digest(hmac.digest(identity.encode(), _LABEL, "sha256"), manifest, "sha256").hex()
