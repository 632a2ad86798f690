"""docarray's own front door: what its tests ask of its file store (tests/integrations/store/test_file.py), of lhub's.

Its own tests pass too, with ``lhub://alice/`` for ``file://{tmp_path}/``, but for two: how a path is resolved, and that
the second of two pushers fails.
"""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lhub
from tests.conftest import PROJECT

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # docarray's own, of pydantic
    docarray = pytest.importorskip(
        "docarray", reason="needs docarray: sh tests/environment.sh docarray-new DIR makes an environment that has it"
    )
    OLD = docarray.__version__ < "0.30"
    if not OLD:
        from docarray import DocList
        from docarray.documents import TextDoc
        from docarray.store.abstract_doc_store import AbstractDocStore

        from lhub.docarray_store import LhubDocStore

pytestmark = [pytest.mark.docarray, pytest.mark.filterwarnings("ignore")]
new_only = pytest.mark.skipif(OLD, reason="docarray before 0.30 has no stores")
LENGTH = 500


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alice is logged in, in a home of her own."""
    monkeypatch.setenv("LHUB_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LHUB_ROOT", raising=False)
    lhub.login("alice")


def documents(length: int = LENGTH) -> Iterator[Any]:
    return (TextDoc(text=f"text {number}") for number in range(length))


@new_only
def test_a_doclist_is_pushed_and_pulled_by_its_own_methods(capsys: pytest.CaptureFixture[str]) -> None:
    docs = DocList[TextDoc](documents())
    capsys.readouterr()
    docs.push("lhub://alice/meow", show_progress=True)
    back = DocList[TextDoc].pull("lhub://alice/meow", show_progress=True)
    assert ([each.id for each in back], [each.text for each in back]) == (
        [each.id for each in docs],
        [each.text for each in docs],
    )
    loud = capsys.readouterr()
    back.push("lhub://alice/meow")
    assert DocList[TextDoc].pull("lhub://alice/meow:latest") == docs
    assert (bool(loud.out), loud.err, capsys.readouterr()) == (True, "", ("", ""))


@new_only
def test_streams_are_pushed_and_pulled_and_chained() -> None:
    DocList[TextDoc].push_stream(documents(), "lhub://alice/meow", show_progress=True)
    stream = DocList[TextDoc].pull_stream("lhub://alice/meow", show_progress=True)
    assert [each.text for each in stream] == [f"text {number}" for number in range(LENGTH)]
    with pytest.raises(StopIteration):
        next(stream)
    pulled = DocList[TextDoc].pull_stream("lhub://alice/meow")
    told = DocList[TextDoc].push_stream(pulled, "lhub://alice/meow2")
    assert (told["name"], told["uri"]) == ("alice/meow2", "lhub://alice/meow2:latest")
    assert lhub.path("alice/meow").rpartition("/")[0] != lhub.path("alice/meow2").rpartition("/")[0]


@new_only
def test_the_store_lists_and_deletes(capsys: pytest.CaptureFixture[str]) -> None:
    assert LhubDocStore.list("alice", show_table=False) == []
    for name in ("meow", "woof"):
        DocList[TextDoc].push_stream(documents(3), f"lhub://alice/{name}")
    lhub.push(PROJECT / "LICENSE", "alice/text")
    capsys.readouterr()
    assert LhubDocStore.list("alice", show_table=True) == ["meow", "woof"]
    table = capsys.readouterr().out
    assert re.search("You have 2 DocLists in lhub://alice", table)
    assert re.search(r"meow +3 +public +20\d\d-", table)
    assert LhubDocStore.delete("alice/meow") is True
    assert LhubDocStore.list("alice") == ["woof"]
    with pytest.raises(FileNotFoundError):
        LhubDocStore.delete("alice/meow", missing_ok=False)
    assert LhubDocStore.delete("alice/meow", missing_ok=True) is False


@new_only
@pytest.mark.parametrize("verb", ["pull", "pull_stream"])
def test_what_is_not_here_is_a_file_that_is_not_found(verb: str) -> None:
    with pytest.raises(FileNotFoundError) as told:
        getattr(DocList[TextDoc], verb)("lhub://alice/nothing")
    assert isinstance(told.value, lhub.NotFound)
    with pytest.raises(FileNotFoundError):
        LhubDocStore.list("nobody", show_table=False)


@new_only
def test_names_that_docarrays_file_store_takes_for_one_are_two() -> None:
    for name in ("m-1.0", "m-1.1"):
        DocList[TextDoc]([TextDoc(text=name)]).push(f"lhub://alice/{name}")
    assert [DocList[TextDoc].pull(f"lhub://alice/{name}")[0].text for name in ("m-1.0", "m-1.1")] == ["m-1.0", "m-1.1"]


@new_only
def test_it_is_a_store_as_docarray_has_them() -> None:
    assert issubclass(LhubDocStore, AbstractDocStore)
    assert DocList.get_pushpull_backend("lhub") is LhubDocStore
    assert DocList.resolve_url("file://x")[0] == "file"


def test_where_docarray_has_no_stores_the_sentence_says_what_to_install() -> None:
    hide = "" if OLD else "sys.modules['docarray.store.abstract_doc_store'] = None; "
    store = "try: import lhub.docarray_store\nexcept lhub.ToolMissing as error: print(error.hint)"
    code = f"import sys; {hide}import lhub\n{store}"
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False, capture_output=True, text=True)
    assert ran.stdout == 'pip install "lhub[docarray]"\n'


@new_only
def test_a_tag_in_the_name_is_the_tag_that_is_pushed_and_pulled() -> None:
    for tag in ("v1", "v2"):
        told = DocList[TextDoc]([TextDoc(text=tag)]).push(f"lhub://alice/x:{tag}")
        assert told["tags"] == [tag]
    assert [DocList[TextDoc].pull(f"lhub://alice/x:{tag}")[0].text for tag in ("v1", "v2")] == ["v1", "v2"]


@new_only
def test_nothing_but_arrays_is_deleted() -> None:
    lhub.push(PROJECT / "LICENSE", "alice/text")
    with pytest.raises(FileNotFoundError, match="alice/text is no array here"):
        LhubDocStore.delete("alice/text")
    assert LhubDocStore.delete("alice/text", missing_ok=True) is False
    assert lhub.path("alice/text")


@new_only
def test_a_name_with_a_tag_deletes_that_tag_only() -> None:
    for tag in ("v1", "v2"):
        DocList[TextDoc]([TextDoc(text=tag)]).push(f"lhub://alice/x:{tag}")
    assert LhubDocStore.delete("alice/x:v1") is True
    assert DocList[TextDoc].pull("lhub://alice/x:v2")[0].text == "v2"
    with pytest.raises(FileNotFoundError):
        DocList[TextDoc].pull("lhub://alice/x:v1")


@new_only
def test_what_older_docarrays_also_say_is_heeded() -> None:
    """docarray 0.30 gives its stores `public`, `show_progress` and `branding`."""
    docs = DocList[TextDoc]([TextDoc(text="a")])
    assert LhubDocStore.push(docs, "alice/x", False, False, None)["visibility"] == "private"
    assert LhubDocStore.push_stream(iter(docs), "alice/y", True, False, None)["visibility"] == "public"
