"""What a document holds, by its bytes: and that many of a kind are seen at a glance changes no answer."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lhub.kinds.shapes import NEW, OLD, Shapes, dtype_name, generation_of, shape_of, values_of
from tests.arrays import message, new_document, old_document

LAW = settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
SMALL = st.integers(0, 5)


def tensor(numbers: bytes, *shape: int, dtype: bytes = b"<f4") -> bytes:
    dense = message(1, numbers) + b"".join(bytes([0x10, size]) for size in shape) + message(3, dtype)
    return message(6, message(1, dense)) + message(13, b"ndarray")


NODES = st.one_of(
    st.text(max_size=4).map(lambda text: message(1, text.encode())),
    st.binary(max_size=4).map(lambda data: message(5, data)),
    st.sampled_from([b"\x10\1", b"\x10\2", b"\x10\x80\1", b"\x10\x80", b"\x20\1"]),
    st.tuples(st.binary(max_size=4), SMALL, st.sampled_from([b"<f4", b"<i8"])).map(
        lambda given: tensor(given[0], given[1], dtype=given[2])
    ),
    st.just(b""),
)
DOCUMENTS = st.lists(
    st.one_of(
        st.dictionaries(st.sampled_from("abc"), NODES, min_size=1).map(lambda values: new_document(**values)),
        st.binary(max_size=12),
    ),
    max_size=8,
)


def answer(ask: object, document: bytes) -> object:
    try:
        return ask(document)  # type: ignore[operator]
    except ValueError:
        return ValueError


@LAW
@given(DOCUMENTS)
def test_documents_seen_one_after_another_are_what_each_is_alone(documents: list[bytes]) -> None:
    shapes = Shapes(NEW)
    for document in documents:
        assert answer(shapes.of, document) == answer(lambda data: shape_of(data, NEW), document)


def test_a_document_that_is_as_long_as_one_before_is_looked_at_where_it_differs() -> None:
    shapes = Shapes(NEW)
    one = new_document(a=message(1, b"12"), e=tensor(b"1234", 2))
    same = new_document(a=message(1, b"34"), e=tensor(b"abcd", 2))
    other = new_document(a=message(5, b"12"), e=tensor(b"1234", 3))
    assert len(one) == len(same) == len(other)
    assert shapes.of(one) == shapes.of(same)
    assert shapes.of(other) == shape_of(other, NEW) != shapes.of(same)


@pytest.mark.parametrize(
    ("code", "name"),
    [("<f4", "float32"), (">i8", "int64"), ("|b1", "bool"), ("|u1", "uint8"), ("<c16", "complex128"), ("<U3", "<U3")],
)
def test_a_dtype_has_the_name_that_numpy_gives_it(code: str, name: str) -> None:
    assert dtype_name(code) == name


def test_whose_a_document_is() -> None:
    assert generation_of(old_document(b"hello")) == OLD
    assert generation_of(new_document(text=message(1, b"hello"))) == NEW
    assert [generation_of(data) for data in (b"", b"\xff", b"hello", message(21, b"x"))] == [None] * 4


def test_values_are_shown_short_and_safe() -> None:
    document = new_document(text=message(1, b"x" * 500), raw=message(5, b"\xff" * 9), odd=message(4, b""))
    shown = {field.name: field.shown for field in values_of(document, NEW)}
    assert (shown["text"], shown["raw"]) == ("x" * 80 + "...", "bytes, 9 bytes")
