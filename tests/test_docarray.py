"""Arrays of documents, as a manifest tells of them: recognised by what they are, whole or refused, nothing run."""

from __future__ import annotations

import io
import time
import tracemalloc
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lhub.errors import UsageError
from lhub.kinds import docarray
from lhub.kinds.forms import Form, form_of
from lhub.kinds.shapes import NEW, OLD
from tests.arrays import SAVED, array, message, new_document, old_document, stream

LAW = settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
DOCUMENTS = st.lists(st.text(max_size=20).map(str.encode), min_size=1, max_size=6)
LZ4 = pytest.mark.skipif(find_spec("lz4") is None, reason="needs lz4 (pip install lz4)")


def look(data: bytes) -> dict[str, Any] | None:
    return docarray.look(io.BytesIO(data), "docs.bin")


def told(data: bytes) -> dict[str, Any]:
    about = look(data)
    assert about is not None
    return about


# what docarray saved


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=LZ4) if "lz4" in path.name else path for path in SAVED],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_what_docarray_saved_is_told_by_its_form_length_and_fields(path: Path) -> None:
    protocol, _, compress = path.stem.rpartition("-")
    about = told(path.read_bytes())
    assert (about["protocol"], about.get("compress", "None"), about["length"]) == (protocol, compress, 3)
    types = {field["name"]: field["type"] for field in about["fields"]}
    tensor = next(field for field in about["fields"] if field["name"] == "embedding")
    assert (tensor["dtype"], tensor["shape"]) == ("float32", [4])
    if path.parent.name == "DocumentArray":
        assert (about["docarray"], about["homogeneous"]) == ("<0.30", True)
        assert types == {"id": "str", "text": "str", "embedding": "ndarray", "tags": "dict"}
    else:
        assert (about["docarray"], about["homogeneous"]) == (">=0.30", False)  # one has no url
        assert (types["text"], types["embedding"], types["count"]) == ("str", "ndarray", "int")
        assert types["url"] == ("ImageUrl" if protocol == "pickle" else "none | image_url")


def test_every_form_that_docarray_has_was_saved() -> None:
    assert len(SAVED) == 44


@pytest.mark.parametrize(
    "path", [path for path in SAVED if "pickle" not in path.name and "lz4" not in path.name], ids=lambda path: path.stem
)
def test_the_first_documents_are_shown_with_their_values(path: Path) -> None:
    with path.open("rb") as file:
        form = docarray.form_told(docarray.look(file, path.name) or {})
        assert form is not None
        first = docarray.first_documents(file, form, 2)
        shown = [{field.name: field.shown for field in document} for document in first]
    assert [document["text"] for document in shown] == ["text 0", "text 1"]
    assert {document["embedding"] for document in shown} == {"float32[4]"}
    if path.parent.name == "DocList":
        first = {name: shown[0][name] for name in ("count", "score", "flag", "raw", "url")}
        assert first == {"count": "-3", "score": "0.5", "flag": "True", "raw": "bytes, 3 bytes", "url": "None"}
        assert shown[1]["url"] == "http://example.org/1.png"


@pytest.mark.parametrize("path", [path for path in SAVED if "pickle" in path.name and "lz4" not in path.name])
def test_of_a_pickle_no_document_is_shown(path: Path) -> None:
    with path.open("rb") as file:
        form = form_of(file)
        assert form is not None
        assert list(docarray.first_documents(file, form, 2)) == []


# what holds for every array


@pytest.mark.slow
@LAW
@given(DOCUMENTS)
def test_the_length_of_an_array_is_its_number_of_documents(texts: list[bytes]) -> None:
    assert told(array(*texts))["length"] == len(texts)


@LAW
@given(DOCUMENTS, st.data())
def test_an_array_that_is_cut_anywhere_is_not_taken_for_a_whole_one(texts: list[bytes], data: st.DataObject) -> None:
    whole = array(*texts)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        assert look(cut) is None  # before the end of its first document nothing tells what it is
    except UsageError as error:
        assert "docs.bin is an array of documents that is not whole" in str(error)


@LAW
@given(DOCUMENTS, st.binary(min_size=1, max_size=20))
def test_an_array_with_something_after_it_is_not_whole(texts: list[bytes], more: bytes) -> None:
    with pytest.raises(UsageError, match="not whole"):
        look(array(*texts) + more)


@LAW
@given(st.binary(max_size=200))
def test_whatever_a_file_holds_it_is_an_array_or_none_or_not_whole(data: bytes) -> None:
    for head in (b"", b"\1", b"\2", b"\n", b"\x80\4\x8c\x08docarray", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0"):
        try:
            about = look(head + data)
        except UsageError as error:
            assert "not whole" in str(error)
        else:
            assert about is None or about["length"] >= 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        b"\0" * 9,
        b"not an array at all",
        b"\nA text that begins with an empty line.\n",
        b"PK\x03\x04zip",
        b"\x80\x04pickle...",
        b"\x80\x04\x95\x0b\0\0\0\0\0\0\0\x8c\x05numpy\x8c\x01x\x93.",
        b"{}",
        b'[{"id": "a"}]',
        stream(1, b"\xff\xff"),
        stream(2, old_document(b"of the other generation")),
        stream(3, old_document(b"of none")),
    ],
    ids=repr,
)
def test_what_is_no_array_is_none(data: bytes) -> None:
    assert look(data) is None


@pytest.mark.parametrize(
    "data",
    [
        b"\x01" + b"\xff" * 8,
        b"\x01" + b"\xff" * 12,
        b"\x01" + (1).to_bytes(8, "big") + b"\xff" * 4 + b"short",
        b"\x01" + b"\x7f" + b"\xff" * 7 + b"\0" * 100_000,
        b"\x01" + b"\x7f" + b"\xff" * 7 + array(b"a")[9:],
        b"\n" + b"\xff" * 9 + b"\1" + b"x",
        b"\n\3\n\1a\n" + b"\xff" * 8 + b"\1" + b"x",
    ],
    ids=["count", "count and length", "length", "empty documents", "one of many", "a message", "a later message"],
)
def test_a_count_or_a_length_that_lies_is_found_out_in_a_moment(data: bytes) -> None:
    before = time.process_time()
    try:
        assert look(data) is None
    except UsageError as error:
        assert "not whole" in str(error)
    assert time.process_time() - before < 2


def test_a_document_may_be_larger_than_what_is_read_at_once() -> None:
    large = old_document(b"x" * (1 << 20))
    assert told(stream(1, large, old_document(b"y"), large))["length"] == 3
    assert told(message(1, large) + message(1, old_document(b"y")) + message(1, large))["length"] == 3


def test_an_empty_array_is_one() -> None:
    assert [told(stream(generation))["docarray"] for generation in (OLD, NEW)] == ["<0.30", ">=0.30"]


# nothing of a pickle is run


class Bait:
    """Says by a file that it was loaded."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.place,))


@pytest.mark.parametrize("how", ["array", "stream"])
def test_nothing_in_a_pickle_is_run(tmp_path: Path, how: str) -> None:
    import pickle

    bait = tmp_path / "sprung"
    head = b"\x80\x04\x8c\x15docarray.array.memory\x8c\x01X\x930"  # a class of docarray's, taken off the stack again
    data = head + pickle.dumps(Bait(bait), protocol=4)[2:]
    with pytest.raises(UsageError, match="not whole"):
        look(data if how == "array" else stream(1, data))
    assert not bait.exists()


# what differs between documents


def test_what_differs_between_documents_is_told() -> None:
    def tensor(*shape: int) -> bytes:
        dense = b"".join(bytes([0x10, size]) for size in shape) + message(3, b"<f8")
        return message(6, message(1, dense)) + message(13, b"ndarray")

    text = message(1, b"hello")
    about = told(stream(2, new_document(a=text, e=tensor(2, 3)), new_document(a=bytes([0x10, 5]), e=tensor(2, 4))))
    assert about["homogeneous"] is False
    assert about["fields"] == [
        {"name": "a", "type": "str | int"},
        {"name": "e", "type": "ndarray", "dtype": "float64", "shape": [2, None]},
    ]
    same = told(stream(2, new_document(e=tensor(2, 3)), new_document(e=tensor(2, 4))))
    assert same["homogeneous"] is True  # of one structure, whatever the sizes


def test_a_document_without_a_field_that_others_have_is_of_another_structure() -> None:
    both, one = new_document(a=message(1, b"x"), b=message(1, b"y")), new_document(a=message(1, b"x"))
    assert [told(stream(2, *documents))["homogeneous"] for documents in ((both, one), (one, both), (one, one))] == [
        False,
        False,
        True,
    ]


# who can read it


@pytest.mark.parametrize(
    ("writer", "generation"),
    [("0.21.0", OLD), ("0.13", OLD), ("0.30.0", NEW), ("0.41.0", NEW), ("1.0", NEW), ("<0.30", OLD), (">=0.30", NEW)],
)
def test_a_version_of_docarray_tells_its_generation(writer: str, generation: int) -> None:
    assert docarray.generation_of_writer(writer) == generation


@pytest.mark.parametrize(
    "about", [{}, {"length": 1}, {"docarray": 3, "protocol": "protobuf"}, {"docarray": "0.41.0", "protocol": "x"}]
)
def test_a_manifest_that_does_not_tell_the_form_tells_none(about: dict[str, Any]) -> None:
    assert docarray.form_told(about) is None
    assert docarray.form_told({"docarray": "0.41.0", "protocol": "protobuf"}) == Form(NEW, "protobuf")


# what strangers may have written


def pickle_of(*opcodes: bytes) -> bytes:
    """A pickle that begins as one of a DocumentArray."""
    return b"\x80\x04cdocarray.array.memory\nDocumentArrayInMemory\n)\x81" + b"".join(opcodes)


@pytest.mark.parametrize(
    "data",
    [
        pickle_of(b"}N0})", b"2\x86" * 60, b"Nsb."),
        pickle_of(b"\x8f(})", b"2\x86" * 60, b"\x90b."),
        pickle_of(b"Nr" + (150_000_000).to_bytes(4, "little") + b"b."),
        pickle_of(b"]" * 10_000, b"a" * 9_999, b"b."),
        pickle_of(b"\x8e" + (1 << 40).to_bytes(8, "little") + b"b."),
        pickle_of(b"\x8b" + (1 << 30).to_bytes(4, "little") + b"b."),
        pickle_of(b"(" * 10_000, b"t" * 10_000, b"b."),
        b"\x80\x04\x95" + b"\xff" * 7 + b"\x7f" + pickle_of(b"Nb.")[2:],
    ],
    ids=["hashes", "hashes in a set", "memo", "lists in lists", "bytes", "a number", "tuples in tuples", "frame"],
)
def test_a_pickle_takes_no_more_time_or_memory_than_it_has_bytes(data: bytes) -> None:
    before = time.process_time()
    tracemalloc.start()
    try:
        assert look(data) is None
    except UsageError as error:
        assert "not whole" in str(error)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (time.process_time() - before < 2, peak < 16 << 20) == (True, True)


@pytest.mark.parametrize(
    "data",
    [
        b"\n\n0 0 0 0 0 0 0 0\n1 0 0 0\n",
        message(1, message(1, b"init") + message(2, b"NoOp")) + message(1, message(5, b"attribute")),
        b"\x80\x04cdocarrayx\nThing\n)\x81.",
        b"\x80\x04cdocarray.document\nDocument\n)\x81.",
        "\n中文中\n".encode() * 1000,
    ],
    ids=["numbers", "a graph", "another package", "one document", "a text"],
)
def test_what_begins_like_an_array_and_is_none_goes_as_files(data: bytes) -> None:
    assert look(data) is None


def test_what_says_that_it_is_huge_is_not_believed(tmp_path: Path) -> None:
    """A sparse file of many gigabytes, whose first document would be all of it."""
    path = tmp_path / "sparse.bin"
    with path.open("wb") as file:
        file.write(b"\1" + bytes(8) + b"\xff\xff\xff\x00")
        file.truncate(6 << 30)
    before = time.process_time()
    with path.open("rb") as file:
        assert form_of(file) is None
    assert time.process_time() - before < 2


def test_a_document_that_expands_to_gigabytes_is_not_expanded_to_be_looked_at() -> None:
    bomb = zlib.compress(message(1, b"a") + bytes([4 << 3 | 2]) + b"\x80\x80\x80\x80\x04" + bytes(1 << 28))
    data = b"\1" + (1).to_bytes(8, "big") + len(bomb).to_bytes(4, "big") + bomb
    tracemalloc.start()
    shown = docarray.first_documents(io.BytesIO(data), Form(OLD, "protobuf", "zlib"), 3)
    with pytest.raises(ValueError, match=r"short|whole"):
        list(shown)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


@pytest.mark.parametrize("size", [1 << 32, 10**18, 1 << 63])
def test_a_size_that_no_tensor_has_is_not_told(size: int) -> None:
    number, varint = size, b""
    while number > 127:
        varint, number = varint + bytes([number & 127 | 128]), number >> 7
    dense = b"\x10" + varint + bytes([number]) + message(3, b"<f8")
    whole = stream(2, new_document(a=message(1, b"x")))
    assert look(stream(2, new_document(e=message(6, message(1, dense))))) is None
    assert told(whole)["length"] == 1


@pytest.mark.parametrize(
    "writer", ['0.21.0" evil "', "0." + "9" * 5000, "0.21.0\x1b[31m", "latest", "0.21.0 --index-url http://x"]
)
def test_a_writer_that_is_no_version_is_not_repeated(writer: str) -> None:
    assert docarray.form_told({"docarray": writer, "protocol": "protobuf"}) is None


def test_names_that_are_too_long_are_not_told_and_many_fields_are_of_one_structure() -> None:
    long = new_document(**{"n" * 300: message(1, b"x"), "short": message(1, b"y")})
    assert [field["name"] for field in told(stream(2, long))["fields"]] == ["short"]
    many = new_document(**{f"f{number}": message(1, b"x") for number in range(300)})
    about = told(stream(2, many, many))
    assert (len(about["fields"]), about["homogeneous"]) == (256, True)
