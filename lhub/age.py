"""Age: what only a key opens, in the format of age-encryption.org/v1. The only room that knows the library for it.

An identity is the text ``AGE-SECRET-KEY-1...``, which opens; its recipient ``age1...`` seals and tells nobody
anything. Payloads pass through piece by piece, sealed or opened by a thread of their own, so that whoever takes them
hashes and writes meanwhile.

>>> stretched("sanity@Check", bytes(16)).startswith("AGE-SECRET-KEY-1")
True
"""

from __future__ import annotations

import hashlib
import io
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import lru_cache
from typing import IO, TYPE_CHECKING, Any

from lhub.errors import Corrupt, Denied, LhubError, ToolMissing, UsageError
from lhub.seals import SCRYPT

if TYPE_CHECKING:
    from collections.abc import Buffer, Sequence  # type: ignore[attr-defined]  # Buffer since 3.12, for names only

PREFIX = "AGE-SECRET-KEY-1"
"""What an identity begins with."""
_LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_PATIENCE = 10.0
"""Seconds that are waited for a thread which has been told to end: it looks whenever it writes a piece."""
_PIECE, _AHEAD = 4 << 20, 2
"""Bytes that go from one thread to the other at once, and how many such: with pieces of 1 MiB the two wait for one
another (for the GIL) a third of the time, 2.9 s a GiB in place of 2.1.
"""
_LONGEST_KEY = 200
_LONGEST_HEADER = 64 << 10
"""Bytes: some four hundred recipients."""


class NoKey(Denied):
    """None of the identities opens it."""


def available() -> bool:
    """Whether the library is there."""
    try:
        import pyrage  # type: ignore[import-untyped]  # noqa: F401 (2 ms, for what is sealed)
    except ImportError:
        return False
    return True


def missing(what: str) -> ToolMissing:
    """The error of whoever needs the library and has it not."""
    return ToolMissing(f"{what} needs the library pyrage, which is not here", hint="pip install 'lhub[seal]'")


def _pyrage(what: str = "what is sealed") -> Any:
    try:
        import pyrage  # as above
    except ImportError:
        raise missing(what) from None
    return pyrage


# keys


def new_identity() -> str:
    """An identity of 256 bits of chance."""
    return str(_pyrage().x25519.Identity.generate())


def is_identity(secret: str) -> bool:
    """Whether a secret is meant to be an identity, and not a word of a person's choice."""
    return secret.upper().startswith(("AGE-SECRET-KEY-", "AGE-PLUGIN-", "-----BEGIN", "SSH-"))


@lru_cache(maxsize=64)
def recipient_of(identity: str) -> str:
    """The recipient of an identity; UsageError for what is none, or one of another kind than X25519."""
    pyrage = _pyrage()
    try:
        return str(pyrage.x25519.Identity.from_str(identity).to_public())
    except pyrage.IdentityError:
        raise UsageError(
            "the secret is no age identity of the kind that lhub takes",
            hint=f"it is one line, {PREFIX}..., as age-keygen writes it; a plugin's, ssh's or a cut one is none",
        ) from None


@lru_cache(maxsize=16)
def stretched(secret: str, salt: bytes) -> str:
    """The identity that a secret of a person's choice stands for: scrypt (RFC 7914), 32 bytes, in Bech32 (BIP 173)."""
    key = hashlib.scrypt(secret.encode(), salt=salt, **SCRYPT, dklen=32, maxmem=256 << 20)
    return _bech32("age-secret-key-", key).upper()


def _bech32(prefix: str, data: bytes) -> str:
    """Data as Bech32 spells it, with its checksum (BIP 173)."""
    bits = int.from_bytes(data, "big") << (-len(data) * 8 % 5)
    count = (len(data) * 8 + 4) // 5
    values = [bits >> 5 * (count - 1 - place) & 31 for place in range(count)]
    spread = [ord(letter) >> 5 for letter in prefix] + [0] + [ord(letter) & 31 for letter in prefix]
    sum_ = _polymod([*spread, *values, 0, 0, 0, 0, 0, 0]) ^ 1
    return f"{prefix}1" + "".join(_LETTERS[v] for v in [*values, *(sum_ >> 5 * (5 - i) & 31 for i in range(6))])


def _polymod(values: list[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for place, generator in enumerate(_GENERATOR):
            check ^= generator if top >> place & 1 else 0
    return check


def is_recipient(text: object) -> bool:
    """Whether a text is a recipient that something can be sealed for."""
    if not isinstance(text, str) or len(text) > _LONGEST_KEY:
        return False
    pyrage = _pyrage()
    try:
        pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        return False
    return True


# sealing and opening


def seal(pieces: Iterable[bytes], recipients: Iterable[str]) -> Generator[bytes, None, None]:
    """What comes piece by piece, sealed for these recipients; Corrupt where one is none."""
    pyrage, source = _pyrage(), Source(iter(pieces))
    keys = _recipients(recipients)

    def work(target: IO[bytes]) -> None:
        try:
            pyrage.encrypt_io(io.BufferedReader(source, _PIECE), target, keys)
        except (pyrage.EncryptError, OSError) as error:
            raise source.failure or LhubError(f"it could not be sealed: {error}") from None

    return _beside(work)


def _recipients(texts: Iterable[str]) -> list[Any]:
    pyrage = _pyrage()
    try:
        return [pyrage.x25519.Recipient.from_str(each) for each in dict.fromkeys(texts)]
    except pyrage.RecipientError:
        raise Corrupt("it is sealed for somebody whose recipient is none", hint="its seal.yaml was altered") from None


def unseal(stream: IO[bytes], identities: Iterable[str], what: str) -> Generator[bytes, None, None]:
    """The content of a sealed stream; NoKey where none of the identities opens it, Corrupt where it was altered or cut.

    Each piece is authentic; that it is whole is known at the end.
    """
    pyrage = _pyrage()
    keys = [pyrage.x25519.Identity.from_str(each) for each in dict.fromkeys(identities)]
    _see_header(stream, what)

    def work(target: IO[bytes]) -> None:
        try:
            pyrage.decrypt_io(stream, target, keys)
        except pyrage.DecryptError as error:
            if "matching" in str(error):
                raise NoKey(f"{what} is sealed, and not for this key") from None
            raise Corrupt(f"{what} is no sealed file any more: {error}") from None
        except OSError as error:
            if error.errno is not None:
                raise
            raise Corrupt(f"{what} was altered or cut short since it was sealed") from None

    return _beside(work)


def _see_header(stream: IO[bytes], what: str) -> None:
    """Refuse a header without an end, over which the library ponders for minutes; the stream is at its begin again."""
    begun = stream.tell()
    head = stream.read(_LONGEST_HEADER)
    if b"\n--- " not in head:
        raise Corrupt(f"{what} is no sealed file any more: its header has no end")
    stream.seek(begun)


def seal_text(text: str, recipients: Iterable[str]) -> str:
    """A short text, sealed and armored."""
    pyrage, keys = _pyrage(), _recipients(recipients)
    return bytes(pyrage.encrypt(text.encode(), keys, armored=True)).decode()


def unseal_text(text: str, identities: Sequence[str]) -> str | None:
    """A short text, opened; None where none of the identities opens it."""
    pyrage = _pyrage()
    if len(text) > _LONGEST_HEADER:
        raise Corrupt(f"what is sealed in {len(text)} letters is no key")
    try:
        return bytes(
            pyrage.decrypt(text.encode(), [pyrage.x25519.Identity.from_str(each) for each in identities])
        ).decode()
    except (pyrage.DecryptError, OSError, UnicodeDecodeError):
        return None


class Source(io.RawIOBase):
    """Pieces as a file that is read; what goes wrong with them is kept, for the library tells only its text."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces, self.left = pieces, memoryview(b"")
        self.failure: Exception | None = None

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """The next bytes."""
        try:
            while not self.left:
                self.left = memoryview(next(self.pieces))
        except StopIteration:
            return 0
        except Exception as error:
            self.failure = error
            raise OSError("the source failed") from None
        count = min(len(self.left), len(memoryview(buffer)))
        memoryview(buffer)[:count], self.left = self.left[:count], self.left[count:]
        return count


class _Outlet(io.RawIOBase):
    """A file whose writer waits for its reader, and fails once he has left."""

    def __init__(self) -> None:
        self.made: queue.Queue[bytes | None] = queue.Queue(_AHEAD)
        self.deserted = False

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer) -> int:
        self.put(piece := bytes(data))
        return len(piece)

    def put(self, piece: bytes | None) -> None:
        while not self.deserted:
            try:
                self.made.put(piece, timeout=0.2)
            except queue.Full:
                continue
            return
        raise BrokenPipeError("nobody reads it")


def _beside(work: Callable[[IO[bytes]], None]) -> Generator[bytes, None, None]:
    """What `work` writes to the file that it is given, while a thread of its own is a few pieces ahead."""
    outlet = _Outlet()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            with io.BufferedWriter(outlet, _PIECE) as target:
                work(target)
        except BaseException as error:  # handed to who reads
            failures.append(error)
        finally:
            try:
                outlet.put(None)
            except BrokenPipeError:
                return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while (piece := outlet.made.get()) is not None:
            yield piece
    finally:
        outlet.deserted = True
        thread.join(_PATIENCE)
    if failures:
        raise failures[0]
