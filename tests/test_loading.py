"""Load, as far as no docarray is needed: what is no array, or cannot be read here, is a sentence."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from lhub.errors import NotFound, ToolMissing, UsageError
from lhub.registry import Registry
from tests.conftest import PROJECT, as_caller

OLD = PROJECT / "fixtures/arrays/DocumentArray/protobuf-gzip.bin"


def printed(code: str, registry: Registry) -> str:
    """What a Python of its own prints, given the root of a registry."""
    words = [sys.executable, "-W", "ignore", "-c", code, registry.root]
    return subprocess.run(words, check=True, capture_output=True, text=True, cwd=PROJECT).stdout


@pytest.mark.parametrize("verb", ["load", "load_stream"])
def test_what_is_no_array_is_not_loaded(registry: Registry, hello: Path, verb: str) -> None:
    registry.push(hello, "alice/hello")
    registry.push(PROJECT / "LICENSE", "alice/text")
    for name, kind in (("alice/hello", "executor"), ("alice/text", "files")):
        with pytest.raises(UsageError, match=f"{name} holds {kind}, no array of documents"):
            getattr(registry, verb)(name)


@pytest.mark.parametrize("verb", ["load", "load_stream"])
def test_what_one_may_not_see_is_not_here(registry: Registry, verb: str) -> None:
    registry.push(OLD, "alice/x", private=True)
    for name in ("alice/x", "alice/nothing"):
        with pytest.raises(NotFound, match="is not here"):
            getattr(as_caller(registry, "bob"), verb)(name)


def test_a_manifest_cannot_write_the_hint(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says of its writer is a stranger's text, and the hint is a line to be pasted into a shell."""
    told = {"length": 3, "docarray": '9.0" evil-package "', "protocol": "protobuf"}
    monkeypatch.setattr("lhub.kinds.docarray.Summary.about", lambda *_: told)
    registry.push(PROJECT / "fixtures/arrays/DocList/protobuf-gzip.bin", "alice/x")
    with pytest.raises((ToolMissing, UsageError)) as said:
        registry.load("alice/x", doc_type=int)
    assert "evil" not in f"{said.value} {said.value.hint}"


def test_without_docarray_the_sentence_says_what_to_install(registry: Registry) -> None:
    registry.push(OLD, "alice/x")
    code = (
        "import sys; sys.modules['docarray'] = None\n"
        "from lhub import Registry, ToolMissing\n"
        "registry = Registry(sys.argv[1], namespace='alice')\n"
        "for verb in (lambda: registry.load('alice/x'), lambda: registry.push(iter([]), 'alice/y')):\n"
        "    try: verb()\n"
        "    except ToolMissing as error: print(error.code, error.hint)\n"
    )
    assert printed(code, registry) == '9 pip install "lhub[docarray]"\n' * 2


def test_where_docarray_lacks_what_it_writes_with_the_sentence_says_so(registry: Registry) -> None:
    """docarray asks for protobuf only by an extra of its own."""
    registry.push(OLD, "alice/x")
    code = (
        "import sys; sys.modules['google'] = sys.modules['google.protobuf'] = None\n"
        "from lhub import Registry, ToolMissing\n"
        "try: Registry(sys.argv[1], namespace='alice').load('alice/x')\n"
        "except ToolMissing as error: print(error.hint)\n"
    )
    said = printed(code, registry)
    here = find_spec("docarray") is not None
    assert ("pip install" in said, "lhub[docarray]" in said) == (True, not here)


@pytest.mark.skipif(find_spec("docarray") is not None, reason="docarray is here, tests/test_documents.py loads with it")
def test_where_there_is_no_docarray_it_is_a_tool_that_is_missing(registry: Registry) -> None:
    registry.push(OLD, "alice/x")
    with pytest.raises(ToolMissing, match="docarray is not installed here"):
        registry.load("alice/x")
