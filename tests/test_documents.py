"""Documents into a version and out of one, with the docarray of this environment: whole, the same, and quick.

Each generation of docarray needs an environment of its own:

    $(sh tests/environment.sh docarray-old .venv-docarray-old) -m pytest -m docarray
    $(sh tests/environment.sh docarray-new .venv-docarray-new) -m pytest -m docarray
"""

from __future__ import annotations

import gc
import itertools
import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lhub.errors import Conflict, Corrupt, NotFound, ToolMissing, UsageError
from lhub.registry import Registry
from lhub.store import Vanished
from tests.arrays import SAVED
from tests.conftest import PROJECT, as_caller, snapshot
from tests.test_crowds import leftovers, together
from tests.test_staging import Hooked

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # docarray's own, of pydantic
    docarray = pytest.importorskip(
        "docarray", reason="needs docarray: sh tests/environment.sh docarray-new DIR makes an environment that has it"
    )
    import numpy as np

    OLD = docarray.__version__ < "0.30"
    VERSION = metadata.version("docarray")
    if OLD:
        from docarray import Document, DocumentArray
        from docarray.score import NamedScore
    else:
        from docarray import BaseDoc, DocList, DocVec
        from docarray.documents import TextDoc
        from docarray.typing import ID, ImageUrl, NdArray

        class MyDoc(BaseDoc):
            """A short text and a vector, as most have it."""

            text: str
            embedding: NdArray[128]


pytestmark = [pytest.mark.docarray, pytest.mark.filterwarnings("ignore")]
old_only = pytest.mark.skipif(not OLD, reason="of docarray before 0.30")
new_only = pytest.mark.skipif(OLD, reason="of docarray since 0.30")


def document(number: int, *, text: str = "a short text") -> Any:
    vector = np.random.default_rng(number).standard_normal(128).astype("f4")
    if OLD:
        return Document(id=f"{number:032x}", text=f"{text} {number}", embedding=vector)
    return MyDoc(id=f"{number:032x}", text=f"{text} {number}", embedding=vector)


def array(length: int, **how: Any) -> Any:
    documents = [document(number, **how) for number in range(length)]
    return DocumentArray(documents) if OLD else DocList[MyDoc](documents)


def load(registry: Registry, ref: str, **how: Any) -> Any:
    return registry.load(ref, **({} if OLD else {"doc_type": MyDoc}), **how)


def load_stream(registry: Registry, ref: str, **how: Any) -> Iterator[Any]:
    return registry.load_stream(ref, **({} if OLD else {"doc_type": MyDoc}), **how)


def content(documents: Any) -> list[tuple[str, str, bytes]]:
    return [(each.id, each.text, np.asarray(each.embedding).tobytes()) for each in documents]


def payload(registry: Registry, ref: str) -> Path:
    (file,) = Path(registry.path(ref)).iterdir()
    return file


# there and back


@pytest.mark.parametrize("length", [0, 1, 127, 128, 129, 1000])
def test_an_array_comes_back_as_it_was(registry: Registry, length: int) -> None:
    docs = array(length)
    registry.push(docs, "alice/x", tags=["v1"])
    back = load(registry, "alice/x:v1")
    assert type(back) is type(docs)
    assert content(back) == content(docs)
    assert all(type(mine) is type(its) for mine, its in zip(docs, back, strict=True))


def test_a_stream_gives_the_same_documents_one_by_one(registry: Registry) -> None:
    docs = array(300)
    registry.push(docs, "alice/x")
    stream = load_stream(registry, "alice/x")
    assert content([next(stream)]) == content(docs[:1])
    assert content(stream) == content(docs[1:])
    with pytest.raises(StopIteration):
        next(stream)


def test_docarray_itself_loads_the_payload_by_its_name(registry: Registry) -> None:
    for text in ("short", "a long text that says the same again and again " * 20):
        docs = array(200, text=text)
        registry.push(docs, "alice/x")
        file = registry.pull("alice/x", registry.root.parent / "pulled", force=True).path
        named = Path(file).with_name(payload(registry, "alice/x").name)
        Path(file).rename(named)
        kind = DocumentArray if OLD else DocList[MyDoc]
        assert content(kind.load_binary(str(named))) == content(docs)


def test_the_same_documents_are_the_same_version_in_whatever_way_they_come(registry: Registry) -> None:
    docs = array(300)
    pushed = [
        registry.push(docs, "alice/x"),
        registry.push(iter(docs), "alice/x"),
        registry.push_stream(docs, "alice/x"),
        registry.push((each for each in docs), "alice/x"),
        registry.push(list(docs), "alice/x"),
    ]
    assert len({each.version for each in pushed}) == 1
    assert [each.new for each in pushed] == [True, False, False, False, False]
    assert registry.verify().ok


def test_a_sealed_array_comes_back_and_is_nowhere_in_clear(registry: Registry) -> None:
    pytest.importorskip("pyrage")
    docs = array(300, text="marmalade-in-clear")
    pushed = registry.push(docs, "alice/x", seal=True)
    mine = Registry(registry.root, namespace="alice", secret=pushed.secret, timeout=20)
    assert content(load(mine, "alice/x")) == content(docs)
    assert (mine.push(iter(docs), "alice/x").version, mine.show("alice/x").length) == (pushed.version, 300)
    assert [path.name for path in registry.root.rglob("files/*")] == ["payload.age"]
    assert [path for path in registry.root.rglob("*") if path.is_file() and b"marmalade" in path.read_bytes()] == []


def test_the_manifest_tells_what_the_array_is(registry: Registry) -> None:
    registry.push(array(3), "alice/x")
    about = registry.show("alice/x").manifest["about"]
    fields = {field["name"]: field for field in about["fields"]}
    assert (about["length"], about["homogeneous"], about["protocol"]) == (3, True, "protobuf")
    assert about["docarray"] == VERSION
    assert fields["embedding"] == {"name": "embedding", "type": "ndarray", "dtype": "float32", "shape": [128]}
    assert (fields["text"]["type"], fields["id"]["type"]) == ("str", "str" if OLD else "id")
    [line] = registry.list(kind="docarray")
    assert (line.length, line.kind) == (3, "docarray")


def test_the_first_documents_can_be_shown(registry: Registry) -> None:
    registry.push(array(5), "alice/x")
    shown = [dict(each) for each in registry.documents("alice/x")]
    assert [each["text"] for each in shown] == ["a short text 0", "a short text 1", "a short text 2"]
    assert shown[0]["embedding"] == "float32[128]"


@pytest.mark.parametrize("path", SAVED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_file_that_docarray_saved_is_loaded_or_the_sentence_says_why_not(registry: Registry, path: Path) -> None:
    registry.push(path, "alice/x")
    mine = (path.parent.name == "DocumentArray") is OLD
    safe = "pickle" not in path.name
    if mine and safe:
        back = registry.load("alice/x")
        assert [each.text for each in back] == ["text 0", "text 1", "text 2"]
        assert [list(each.embedding) for each in back][1] == [1, 2, 3, 4]
    elif mine:
        with pytest.raises(UsageError, match="pickle, which can run any code"):
            registry.load("alice/x")
    else:
        with pytest.raises(ToolMissing, match=r"wrote, docarray .* here reads a Doc\w+ only") as told:
            registry.load("alice/x")
        assert f'pip install "docarray{">=0.30" if OLD else "<0.30"}"' in told.value.hint


@old_only
@pytest.mark.parametrize("protocol", ["pickle", "pickle-array"])
def test_a_pickle_is_loaded_for_who_trusts_it(registry: Registry, protocol: str) -> None:
    registry.push(PROJECT / f"fixtures/arrays/DocumentArray/{protocol}-gzip.bin", "alice/x")
    assert [each.text for each in registry.load("alice/x", allow_pickle=True)] == ["text 0", "text 1", "text 2"]


@new_only
def test_an_array_of_the_other_generation_names_the_very_version_that_wrote_it(registry: Registry) -> None:
    about = {"length": 1, "docarray": "0.21.0", "protocol": "protobuf"}
    from lhub.documents import Loading
    from lhub.kinds.docarray import form_told

    form = form_told(about)
    assert form is not None
    with pytest.raises(ToolMissing, match=r"a DocumentArray that docarray 0\.21\.0 wrote") as told:
        Loading(name="alice/x", form=form, writer="0.21.0").see_readable()
    assert 'pip install "docarray==0.21.0"' in told.value.hint


# schemas


@new_only
def test_without_a_schema_documents_have_the_fields_that_they_have(registry: Registry) -> None:
    registry.push(array(2), "alice/x")
    back = registry.load("alice/x")
    assert (type(back), [each.text for each in back]) == (DocList, ["a short text 0", "a short text 1"])
    assert back[0].embedding.shape == (128,)


@new_only
def test_documents_that_do_not_fit_a_schema_are_a_sentence(registry: Registry) -> None:
    class Other(BaseDoc):
        title: str

    class Narrow(BaseDoc):
        text: str
        embedding: NdArray[64]

    registry.push(array(2), "alice/x")
    for schema in (Other, Narrow):
        with pytest.raises(UsageError, match=f"document 0 of alice/x does not fit {schema.__name__}"):
            registry.load("alice/x", doc_type=schema)
    for none in (int, "MyDoc", 3):
        with pytest.raises(UsageError, match="is no schema of documents"):
            registry.load("alice/x", doc_type=none)


@new_only
def test_a_schema_may_be_given_as_the_class_of_the_list(registry: Registry) -> None:
    docs = array(2)
    registry.push(docs, "alice/x")
    assert registry.load("alice/x", doc_type=DocList[MyDoc]) == docs


@old_only
def test_a_documentarray_has_no_schema(registry: Registry) -> None:
    registry.push(array(2), "alice/x")
    with pytest.raises(UsageError, match="doc_type is the schema of a DocList"):
        registry.load("alice/x", doc_type=Document)


if not OLD:

    class Inner(BaseDoc):
        """A document within one."""

        tensor: NdArray | None = None

    class Many(BaseDoc):
        """Most of what a document may hold."""

        text: str | None = None
        whole: int = 3
        real: float = 1.5
        yes: bool = True
        raw: bytes = b"\0\xff"
        url: ImageUrl | None = None
        other: ID | None = None
        image: NdArray | None = None
        inner: Inner | None = None
        inners: DocList[Inner] | None = None
        names: list[str] = ["a", "b"]  # noqa: RUF012 (pydantic copies it)
        more: dict[str, int] = {"k": 1}  # noqa: RUF012

    MANY = [
        Many(),
        Many(text="é\0\U0001f600", whole=-5, real=float("nan"), yes=False, raw=b"", url="http://x.org/a.png"),
        Many(other=ID("b"), image=np.arange(6, dtype="i8").reshape(2, 3), inner=Inner(tensor=np.ones(2))),
        Many(inners=DocList[Inner]([Inner(), Inner(tensor=np.zeros((1, 2), dtype="f2"))]), names=[], more={}),
        Many(image=np.zeros((0, 3), dtype="i2"), text=""),
        Many(image=np.asfortranarray(np.arange(6.0).reshape(2, 3))),
        Many(image=np.arange(12)[::3]),
    ]


@new_only
@pytest.mark.parametrize("first", range(7))
def test_whatever_a_document_holds_it_is_read_as_docarray_reads_it(registry: Registry, first: int) -> None:
    docs = DocList[Many](MANY[first:] + MANY[:first])
    registry.push(docs, "alice/x")
    file = payload(registry, "alice/x")
    own = DocList[Many].load_binary(str(file))
    for loaded in (registry.load("alice/x", doc_type=Many), list(registry.load_stream("alice/x", doc_type=Many))):
        for mine, its, pushed in zip(loaded, own, docs, strict=True):
            assert (type(mine), mine.id, repr(dict(mine))) == (type(its), its.id, repr(dict(its)))
            assert (mine.text, mine.raw, mine.url) == (pushed.text, pushed.raw, pushed.url)
            if pushed.image is not None and pushed.image.size:  # docarray forgets the dtype of an empty one
                assert (mine.image.dtype, mine.image.tolist()) == (pushed.image.dtype, pushed.image.tolist())
                mine.image[...] = 0  # a tensor of one's own, to be written to


@new_only
def test_a_documents_bytes_are_those_that_docarray_makes_of_it(registry: Registry) -> None:
    from docarray.proto import DocProto

    from lhub.documents.library import library

    codec = library().codec()
    for each in MANY:
        data, shape = codec.encode(each)
        assert DocProto.FromString(data) == each.to_protobuf() or each is MANY[1]  # a NaN is not equal to itself
        assert {name for name, _ in shape} == set(dict(each))


@new_only
def test_a_docvec_is_pushed_as_the_doclist_it_is(registry: Registry) -> None:
    docs = DocList[TextDoc]([TextDoc(text="a"), TextDoc(text="b")])
    registry.push(DocVec[TextDoc](docs), "alice/x")
    assert registry.load("alice/x", doc_type=TextDoc) == docs


@old_only
def test_nested_documents_and_tags_come_back(registry: Registry) -> None:
    docs = DocumentArray(
        [Document(text="a", tags={"k": [1, {"d": None}]}, chunks=[Document(blob=b"\0x"), Document(uri="http://x")])]
    )
    docs[0].matches.append(Document(tensor=np.ones((2, 3)), scores={"cos": NamedScore(value=0.5)}))
    registry.push(docs, "alice/x")
    [back] = registry.load("alice/x")
    assert (back.tags, back.chunks[0].blob, back.matches[0].scores["cos"].value) == (docs[0].tags, b"\0x", 0.5)


# what cannot be pushed


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (lambda: [document(0), 5], "item 1 is of type int, not a document of docarray"),
        (lambda: document(0), "this is one document, not an array of them"),
        (lambda: {"a": document(0)}, "a dict is neither a path nor documents"),
        (lambda: b"bytes", "a bytes is neither a path nor documents"),
        (lambda: 3, "a int is neither a path nor documents"),
    ],
)
def test_what_is_no_array_is_a_sentence_and_nothing_is_pushed(
    registry: Registry, what: Callable[[], Any], words: str
) -> None:
    registry.push(array(1), "alice/x")
    before = registry.show("alice/x").version
    with pytest.raises(UsageError, match=words):
        registry.push(what(), "alice/x")
    assert (registry.show("alice/x").version, leftovers(registry)) == (before, [])


@new_only
@pytest.mark.parametrize("value", [1 << 40, np.array([object()])], ids=["a number", "objects"])
def test_a_document_that_no_file_can_hold_is_a_sentence(registry: Registry, value: object) -> None:
    class Odd(BaseDoc):
        number: int = 1
        tensor: NdArray | None = None

    odd = Odd(number=value) if isinstance(value, int) else Odd(tensor=value)
    with pytest.raises(UsageError, match="document 1 cannot be written"):
        registry.push([Odd(), odd], "alice/x")
    assert registry.list() == []


def test_what_a_generator_raises_is_raised_and_nothing_is_published(registry: Registry) -> None:
    def broken() -> Iterator[Any]:
        yield from (document(number) for number in range(500))
        raise ZeroDivisionError("my own")

    registry.push(array(1), "alice/x")
    before = registry.show("alice/x").version
    with pytest.raises(ZeroDivisionError, match="my own"):
        registry.push_stream(broken(), "alice/x")
    assert (registry.show("alice/x").version, leftovers(registry)) == (before, [])


def test_a_new_array_has_a_namespace(registry: Registry) -> None:
    for who in (registry, as_caller(registry, None)):
        with pytest.raises(UsageError, match="an array of documents is named NAMESPACE/NAME now, not x") as told:
            who.push(array(1), "x")
        assert "alice/x" in told.value.hint
    assert registry.list() == []


def test_documents_do_not_go_on_as_files(registry: Registry, hello: Path) -> None:
    registry.push(hello, "alice/hello")
    with pytest.raises(Conflict, match="alice/hello holds executor, this is docarray"):
        registry.push(array(1), "alice/hello")
    registry.push(PROJECT / "LICENSE", "alice/text")
    with pytest.raises(Conflict, match="alice/text holds files, this is docarray"):
        registry.push(array(1), "alice/text")


def test_a_protected_tag_takes_the_same_documents_and_no_others(registry: Registry) -> None:
    docs = array(200)
    registry.push(docs, "alice/x", protected_tags=["v1"])
    before = snapshot(registry.root / "alice/x/v1/")
    assert registry.push(docs, "alice/x", protected_tags=["v1"]).new is False
    with pytest.raises(Conflict, match="v1"):
        registry.push(array(201), "alice/x", tags=["v1", "latest"])
    assert (snapshot(registry.root / "alice/x/v1/"), registry.show("alice/x:v1").tags.keys()) == (before, {"v1"})


# safe


def test_a_flipped_byte_is_found_before_the_first_document_is_given(registry: Registry) -> None:
    registry.push(array(500), "alice/x")
    file = payload(registry, "alice/x")
    data = bytearray(file.read_bytes())
    data[-20] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)
    for read in (load, load_stream):
        with pytest.raises(Corrupt, match="is not what was published"):
            read(registry, "alice/x")


def test_what_is_not_here_is_not_found(registry: Registry) -> None:
    for read in (load, load_stream):
        with pytest.raises(NotFound):
            read(registry, "alice/nothing")


def test_a_list_that_is_pushed_while_its_resource_is_deleted_makes_it_anew(registry: Registry, tmp_path: Path) -> None:
    registry.push(array(1), "alice/x")

    def deed() -> None:
        (registry.root / "alice/x").rename(tmp_path / "trash")

    slow = as_caller(registry, "alice", pen=Hooked(lambda verb, path: path.endswith("manifest.yaml"), deed))
    slow.push(array(5), "alice/x")
    assert len(load(registry, "alice/x")) == 5


def test_a_stream_whose_resource_is_deleted_meanwhile_is_told_to_come_again(registry: Registry, tmp_path: Path) -> None:
    registry.push(array(1), "alice/x")

    def deed() -> None:
        (registry.root / "alice/x").rename(tmp_path / "trash")

    slow = as_caller(registry, "alice", pen=Hooked(lambda verb, path: path.endswith("manifest.yaml"), deed))
    with pytest.raises(Conflict, match="was deleted while the documents were on their way"):
        slow.push_stream(iter(array(5)), "alice/x")


def test_two_pushers_and_a_reader_of_one_name_hurt_nobody(registry: Registry) -> None:
    """In docarray's own store 71 of 312 reads were corrupt in such a test."""
    arrays = [array(300, text="one"), array(400, text="other")]
    whole = [content(each) for each in arrays]
    registry.push(arrays[0], "alice/x")
    end = time.monotonic() + 3

    def pusher(mine: Any) -> Callable[[], object]:
        def push() -> None:
            while time.monotonic() < end:
                as_caller(registry, "alice").push(mine, "alice/x")

        return push

    def read() -> None:
        reads = 0
        while time.monotonic() < end:
            assert content(load(as_caller(registry, "bob"), "alice/x")) in whole
            reads += 1
        assert reads > 2

    assert together(pusher(arrays[0]), pusher(arrays[1]), read) == [0, 0, 0]
    assert registry.verify().ok


def test_a_pusher_that_is_killed_at_any_step_leaves_nothing_that_blocks_the_next(registry: Registry) -> None:
    old, new = array(3), array(300)
    registry.push(old, "alice/x")
    pen = Hooked(lambda verb, path: False, lambda: None)
    as_caller(registry, "alice", pen=pen).push(array(299), "alice/x")
    assert ("write_pieces", "documents.protobuf") in {(verb, path.rpartition("/")[2]) for verb, path in pen.steps}
    for step in range(len(pen.steps)):
        registry.push(old, "alice/x")

        def push(step: int = step) -> None:
            counted = itertools.count()
            deadly = Hooked(lambda verb, path: next(counted) == step, lambda: os.kill(os.getpid(), signal.SIGKILL))
            as_caller(registry, "alice", pen=deadly).push(new, "alice/x")

        assert together(push) in ([-signal.SIGKILL], [0])  # what stands already takes fewer steps
        assert content(load(registry, "alice/x")) in (content(old), content(new))
        registry.push(old, "alice/x")
        assert content(load(registry, "alice/x")) == content(old)
    assert leftovers(registry) == []
    assert registry.verify().ok


def test_a_push_may_go_on_by_itself(registry: Registry) -> None:
    docs = array(300)

    def push() -> None:
        as_caller(registry, "alice").push(iter(docs), "alice/x", detach=True)

    assert together(push) == [0]
    for _ in registry.build("alice/x").follow():
        pass
    assert (registry.build("alice/x").look().state, content(load(registry, "alice/x"))) == ("succeeded", content(docs))


# how much, how fast


def peak(work: Callable[[], object]) -> int:
    """Bytes that a work has allocated at its worst."""
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_length_of_a_stream(registry: Registry) -> None:
    def push(length: int) -> int:
        return peak(lambda: registry.push_stream((document(n) for n in range(length)), f"alice/x{length}"))

    def read(length: int) -> int:
        return peak(lambda: sum(1 for _ in load_stream(registry, f"alice/x{length}")))

    push(100), read(100)  # what is loaded and kept once
    assert push(8000) < 1.5 * push(1000)  # eight times as many; the rest is what waits for the garbage collector
    assert read(8000) < 1.5 * read(1000)


@new_only
@pytest.mark.parametrize("text", ["short", "a long text that says the same again and again " * 20])
def test_it_needs_no_more_bytes_than_docarrays_own_store(registry: Registry, tmp_path: Path, text: str) -> None:
    docs = array(500, text=text)
    docs.push(f"file://{tmp_path}/own")
    registry.push(docs, "alice/x")
    assert payload(registry, "alice/x").stat().st_size <= (tmp_path / "own.docs").stat().st_size


@new_only
def test_it_is_twice_as_fast_as_docarrays_own_store(registry: Registry, tmp_path: Path) -> None:
    """Four times, by tests/benchmarks/documents.py; here with room for a machine that does other things beside."""
    docs = array(3000)

    def seconds(work: Callable[[], object]) -> float:
        began = time.process_time()
        work()
        return time.process_time() - began

    registry.push(docs, "alice/x")
    pushed, loaded = [], []
    for number in range(3):
        its = seconds(lambda: docs.push(f"file://{tmp_path}/own"))
        pushed.append(its / seconds(lambda name=f"alice/x{number}": registry.push(docs, name)))
        its = seconds(lambda: DocList[MyDoc].pull(f"file://{tmp_path}/own", local_cache=False))
        loaded.append(its / seconds(lambda: load(registry, "alice/x")))
    assert sorted(pushed)[1] > 2
    assert sorted(loaded)[1] > 2


def test_a_bar_is_shown_to_who_asks_for_one_and_nothing_else(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.push(array(10), "alice/x")
    load(registry, "alice/x")
    assert capsys.readouterr() == ("", "")
    registry.push(array(10), "alice/x", show_progress=True)
    pushing = capsys.readouterr()
    load(registry, "alice/x", show_progress=True)
    loading = capsys.readouterr()
    assert ("Pushing" in pushing.out, "Loading" in loading.out, pushing.err + loading.err) == (True, True, "")


def test_the_example_of_arrays_at_the_front_door_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lhub

    monkeypatch.setenv("LHUB_HOME", str(tmp_path / "home"))
    lhub.login("alice")
    example = (lhub.__doc__ or "").partition("it comes back as one:\n")[2].partition("Every error")[0]
    names = {"lhub": lhub, "docs": array(3)}
    exec(compile(example.replace("\n    ", "\n"), "lhub.__doc__", "exec"), names)
    assert len(names["docs"]) == 3


def test_the_block_in_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LHUB_HOME", str(tmp_path / "home"))
    blocks = re.findall(r"^```python\n(.*?)^```$", (PROJECT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (block,) = (block for block in blocks if ("DocumentArray" if OLD else "DocList") in block)
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(block, "README.md", "exec", dont_inherit=True), names)
    assert len(names["docs"]) == 1000


@pytest.mark.parametrize("word", ["lhub", "lhub.documents", "lhub.loading", "lhub.registry"])
def test_docarray_is_loaded_for_arrays_only(word: str) -> None:
    code = f"import sys, {word}; sys.exit('docarray' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# what a caller may bring


class Once:
    """An iterable that is not its own iterator and yet goes once only, as a bar around a generator."""

    def __init__(self, documents: Iterator[Any]) -> None:
        self.documents = documents

    def __iter__(self) -> Iterator[Any]:
        yield from self.documents

    def __len__(self) -> int:
        raise TypeError("object of type 'generator' has no len()")


def test_what_may_go_once_only_is_never_published_half_or_empty(registry: Registry, tmp_path: Path) -> None:
    registry.push(Once(iter(array(3))), "alice/x")
    assert len(load(registry, "alice/x")) == 3

    def deed() -> None:
        (registry.root / "alice/x").rename(tmp_path / "trash")

    slow = as_caller(registry, "alice", pen=Hooked(lambda verb, path: path.endswith("manifest.yaml"), deed))
    with pytest.raises(Conflict, match="was deleted while the documents were on their way"):
        slow.push(Once(iter(array(5))), "alice/x")
    assert registry.list() == []


def test_what_the_callers_own_generator_meets_is_not_taken_for_this_push(registry: Registry) -> None:
    registry.push(array(1), "alice/x")

    def reading() -> Iterator[Any]:
        yield document(1)
        raise Vanished("alice/other went away")

    with pytest.raises(Conflict, match="alice/other went away"):
        registry.push_stream(reading(), "alice/x")
    assert len(load(registry, "alice/x")) == 1


def test_public_false_is_private_as_docarray_had_it(registry: Registry) -> None:
    assert registry.push(array(1), "alice/x", public=False).visibility == "private"
    assert registry.push(array(2), "alice/x").visibility == "private"
    assert registry.push(array(3), "alice/x", public=True).visibility == "public"


def test_a_tag_that_is_a_text_is_one_tag(registry: Registry) -> None:
    assert registry.push(array(1), "alice/x", tags="v1", protected_tags="v1").tags == ("v1",)


def test_documents_without_a_name_are_told_how_they_are_pushed(registry: Registry) -> None:
    with pytest.raises(UsageError, match="documents are pushed under a name"):
        registry.push(array(1))


def test_a_manifest_that_lies_about_the_length_is_found_out(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lhub.kinds.docarray.Summary.about", lambda summary, form, writer: {
        "length": 7, "docarray": writer, "protocol": form.protocol,
    })  # fmt: skip
    registry.push(array(2), "alice/x")
    with pytest.raises(Corrupt, match="tells of 7 documents, 2 are there"):
        load(registry, "alice/x")


@new_only
def test_documents_that_were_loaded_without_a_schema_are_one_version_whenever_they_are_pushed(
    registry: Registry,
) -> None:
    registry.push(array(3), "alice/x")
    for _ in range(2):
        registry.push(registry.load("alice/x"), "alice/y")
    names = [field["name"] for field in registry.show("alice/y").manifest["about"]["fields"]]
    assert (names, len(registry.log("alice/y"))) == (sorted(names), 1)


@new_only
def test_a_schema_that_writes_and_reads_in_its_own_way_keeps_it(registry: Registry) -> None:
    class Doubled(BaseDoc):
        number: int

        def to_protobuf(self) -> Any:
            return BaseDoc.to_protobuf(Plain(id=self.id, number=self.number * 2))

    class Plain(BaseDoc):
        number: int

    class Halved(BaseDoc):
        number: int

        @classmethod
        def from_protobuf(cls, pb_msg: Any) -> Any:
            return cls(number=BaseDoc.from_protobuf.__func__(Plain, pb_msg).number // 2)

    registry.push([Doubled(number=0), Doubled(number=5)], "alice/x")
    assert [each.number for each in registry.load("alice/x", doc_type=Plain)] == [0, 10]
    assert [each.number for each in registry.load("alice/x", doc_type=Halved)] == [0, 5]


@new_only
def test_a_schema_may_have_a_word_of_its_own_that_docarray_uses(registry: Registry) -> None:
    class Invoice(BaseDoc):
        doc_type: ClassVar[str] = "invoice"
        text: str

    registry.push([Invoice(text="a")], "alice/x")
    assert registry.load("alice/x", doc_type=Invoice)[0].text == "a"


@new_only
def test_what_does_not_fit_or_cannot_be_written_is_told_by_its_field_without_the_value(registry: Registry) -> None:
    class Title(BaseDoc):
        title: int

    registry.push([TextDoc(text="hidden")], "alice/x")
    with pytest.raises(UsageError, match=r"does not fit Title: title: Field required"):
        registry.load("alice/x", doc_type=Title)
    with pytest.raises(UsageError, match=r"document 0 cannot be written: Field `text` .*no Unicode") as told:
        registry.push([TextDoc(text="hidden \ud800")], "alice/x")
    assert "hidden" not in str(told.value)
    str(told.value).encode()
