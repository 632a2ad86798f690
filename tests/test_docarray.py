"""DocumentArrays of the old cloud: how long they are, and whether they are whole."""

from __future__ import annotations

import io
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lhub.errors import Corrupt
from lhub.kinds import docarray

LAW = settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def array(*documents: bytes) -> bytes:
    """As the old clients wrote it: a version, a count, and each document with its length before it."""
    lengths = (len(document).to_bytes(4, "big") + document for document in documents)
    return b"\x01" + len(documents).to_bytes(8, "big") + b"".join(lengths)


@LAW
@given(st.lists(st.binary(max_size=40), max_size=6))
def test_the_length_of_an_array_is_its_number_of_documents(documents: list[bytes]) -> None:
    assert docarray.length_of(io.BytesIO(array(*documents))) == len(documents)


@LAW
@given(st.lists(st.binary(max_size=40), max_size=4), st.data())
def test_an_array_that_is_cut_anywhere_is_not_taken_for_a_whole_one(
    documents: list[bytes], data: st.DataObject
) -> None:
    whole = array(*documents)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(Corrupt):
        docarray.length_of(io.BytesIO(whole[:cut]))


@LAW
@given(st.lists(st.binary(max_size=40), max_size=4), st.binary(min_size=1, max_size=20))
def test_an_array_with_something_after_it_is_not_whole(documents: list[bytes], more: bytes) -> None:
    with pytest.raises(Corrupt):
        docarray.length_of(io.BytesIO(array(*documents) + more))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        b"\0" * 9,
        b"\x02" + b"\0" * 8,
        b"not an array at all",
        b"PK\x03\x04zip",
        b"\x80\x04pickle...",
        b"{}",
    ],
    ids=repr,
)
def test_what_is_no_array_of_the_old_cloud_is_a_sentence(data: bytes) -> None:
    with pytest.raises(Corrupt, match=r"no DocumentArray|cut short|not whole"):
        docarray.length_of(io.BytesIO(data))


@pytest.mark.parametrize(
    "data",
    [
        b"\x01" + b"\xff" * 8,
        b"\x01" + b"\xff" * 12,
        b"\x01" + (1).to_bytes(8, "big") + b"\xff" * 4 + b"short",
        b"\x01" + b"\x7f" + b"\xff" * 7 + b"\0" * 100_000,
    ],
    ids=["count", "count and length", "length", "empty documents"],
)
def test_a_count_or_a_length_that_lies_is_found_out_in_a_moment(data: bytes) -> None:
    before = time.process_time()
    with pytest.raises(Corrupt):
        docarray.length_of(io.BytesIO(data))
    assert time.process_time() - before < 2


def test_a_document_may_be_larger_than_what_is_read_at_once() -> None:
    assert docarray.length_of(io.BytesIO(array(b"x" * 300_000, b"", b"y" * 300_000))) == 3
