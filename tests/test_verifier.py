"""Secrets: made by chance, proved without being kept."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from lhub.errors import Corrupt
from lhub.manifest import read_yaml, to_yaml
from lhub.names import secret_faults
from lhub.verifier import matches, new_secret, verifier

SECRET = "s3cret-0f-old"
KEPT = verifier(SECRET)
"""Made once for all tests: stretching costs 40 ms."""


def changed(**fields: object) -> bytes:
    """The verifier with some fields of `scrypt` replaced; None takes one out."""
    document: dict[str, Any] = read_yaml(KEPT, "secret")
    scrypt = {key: value for key, value in {**document["scrypt"], **fields}.items() if value is not None}
    return to_yaml({**document, "scrypt": scrypt}).encode()


def test_a_new_secret_has_128_bits_in_hex() -> None:
    assert re.fullmatch("[0-9a-f]{32}", new_secret())


def test_no_two_new_secrets_are_the_same() -> None:
    assert len({new_secret() for _ in range(2000)}) == 2000


def test_a_new_secret_can_be_typed_in_a_reference() -> None:
    assert secret_faults(new_secret()) == []


def test_the_right_secret_matches() -> None:
    assert matches(SECRET, KEPT)


@pytest.mark.parametrize("guess", ["", SECRET[:-1], SECRET + " ", SECRET.upper(), f" {SECRET}"])
def test_no_other_secret_matches(guess: str) -> None:
    assert not matches(guess, KEPT)


def test_a_secret_in_any_script_matches() -> None:
    assert matches("пароль-密码", verifier("пароль-密码"))


def test_the_verifier_does_not_tell_the_secret() -> None:
    assert SECRET.encode() not in KEPT
    assert SECRET.encode().hex().encode() not in KEPT


def test_two_verifiers_of_one_secret_differ() -> None:
    assert verifier(SECRET) != KEPT


def test_the_verifier_is_that_of_the_format() -> None:
    document = read_yaml(KEPT, "secret")
    assert list(document) == ["format", "scrypt"]
    assert list(document["scrypt"]) == ["n", "r", "p", "salt", "digest"]
    assert (document["scrypt"]["n"], document["scrypt"]["r"], document["scrypt"]["p"]) == (16384, 8, 1)
    assert len(bytes.fromhex(document["scrypt"]["digest"])) == 32


FOREIGN = {
    "nothing": b"",
    "a text": b"hello",
    "no scrypt": b"format: 1\n",
    "a list as scrypt": b"format: 1\nscrypt: []\n",
    "cut short": KEPT[: len(KEPT) // 2],
    "no n": changed(n=None),
    "no salt": changed(salt=None),
    "no digest": changed(digest=None),
    "a salt that is not hex": changed(salt="zz"),
    "a number as salt": changed(salt=5),
    "a list as digest": changed(digest=["aa"]),
    "half a byte as digest": changed(digest="a"),
    "1 MiB of NULs": bytes(1 << 20),
}


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN)
def test_a_verifier_that_lhub_did_not_write_is_corrupt(text: bytes) -> None:
    with pytest.raises(Corrupt):
        matches(SECRET, text)


@pytest.mark.parametrize("costs", [{"n": 1 << 40}, {"r": 1 << 30}, {"p": 1 << 30}, {"n": 2}])
def test_nobody_chooses_how_long_a_reader_computes(costs: dict[str, object]) -> None:
    began = time.process_time()
    with pytest.raises(Corrupt):
        matches(SECRET, changed(**costs))
    assert time.process_time() - began < 1


def test_what_is_corrupt_is_told_without_the_secret() -> None:
    with pytest.raises(Corrupt) as caught:
        matches(SECRET, changed(n=2))
    assert SECRET not in f"{caught.value}{caught.value!r}{caught.value.hint}"
