"""Secrets of resources without a namespace: made, stretched, compared; never stored and never printed twice.

The registry keeps a verifier, scrypt over the secret and a salt, so that an old Executor's short secret is not
read back from a stolen disk.

>>> secret = new_secret()
>>> matches(secret, verifier(secret)), matches("guess", verifier(secret))
(True, False)
"""

from __future__ import annotations

import hashlib
import hmac
import os

from lhub.errors import Corrupt
from lhub.manifest import FORMAT, read_yaml, to_yaml

_N, _R, _P = 1 << 14, 8, 1
"""16 MiB and 40 ms: what RFC 7914 gives for interactive use."""


def new_secret() -> str:
    """32 hex digits, 128 bits from the kernel."""
    return os.urandom(16).hex()


def verifier(secret: str) -> bytes:
    """The text of the file `secret` that proves it without telling it."""
    salt = os.urandom(16)
    digest = _stretched(secret, salt)
    return to_yaml(
        {"format": FORMAT, "scrypt": {"n": _N, "r": _R, "p": _P, "salt": salt.hex(), "digest": digest.hex()}}
    ).encode()


def matches(secret: str, text: bytes) -> bool:
    """Whether a secret is the one behind a verifier; raises Corrupt for a verifier that lhub did not write."""
    scrypt = read_yaml(text, "secret").get("scrypt")
    if not isinstance(scrypt, dict) or (scrypt.get("n"), scrypt.get("r"), scrypt.get("p")) != (_N, _R, _P):
        raise Corrupt("the file secret is not a verifier that lhub writes")
    try:
        salt, digest = bytes.fromhex(scrypt["salt"]), bytes.fromhex(scrypt["digest"])
    except (KeyError, TypeError, ValueError):
        raise Corrupt("the file secret is not a verifier that lhub writes") from None
    return hmac.compare_digest(_stretched(secret, salt), digest)


def _stretched(secret: str, salt: bytes) -> bytes:
    return hashlib.scrypt(secret.encode(), salt=salt, n=_N, r=_R, p=_P, dklen=32, maxmem=64 << 20)
