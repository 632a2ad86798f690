"""The YAML documents: one text for one value, and nothing that a stranger wrote hangs, fills or fools a reader."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lhub.errors import Corrupt, LhubError
from lhub.manifest import (
    KINDS,
    LARGE,
    SMALL,
    Manifest,
    format_text,
    manifest_of,
    read_canonical,
    read_format,
    read_kind,
    read_manifest,
    read_yaml,
    resource_text,
    to_yaml,
)
from lhub.tree import File, tree_of
from tests.conftest import PROJECT

LAW = settings(max_examples=120, deadline=None, database=None, suppress_health_check=list(HealthCheck))
D = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4
PLAIN = Manifest(kind="files", count=1, bytes=2, sums=D)
FULL = Manifest(
    kind="executor",
    count=4,
    bytes=587,
    sums=D,
    executable=("run.sh", "bin/a tool"),
    about={"jtype": "Hello", "name": "Hello", "description": "Greets: everybody", "keywords": ["hello", "2.0", "no"]},
)
FULL_TEXT = f"""format: 1
kind: executor
about:
  jtype: Hello
  name: Hello
  description: "Greets: everybody"
  keywords:
  - hello
  - "2.0"
  - "no"
files:
  count: 4
  bytes: 587
  sha256sums: "{D}"
executable:
- run.sh
- "bin/a tool"
"""

LOOKS_LIKE_SOMETHING_ELSE = [
    "", " ", "y", "N", "yes", "No", "TRUE", "false", "on", "OFF", "null", "Null", "~", "nan", ".nan", ".inf", "-.INF",
    "1", "-1", "+1", "0o7", "010", "0x1F", "0b1", "1_000", "1.5", ".5", "5.", "1e3", "1.0e+3", "1:30", "1:30.5",
    "2001-01-01", "2001-01-01T00:00:00Z", "=", "<<", "- a", "-", "---", "...", "?", "? a", ": a", "a: b", "a:", "a #b",
    "#", "&a", "*a", "!a", "!!str a", "|", ">", "%TAG", "@a", "`a", "'a'", '"a"', "[a]", "{a: b}", "[]", "{}", ",",
    "a\nb", "\n", "a\n", "\ta", "a ", "\r\n", "\0", "\x07", "\x1b[31m", "\x7f", "\x80", "\x85", "\xa0", "\xad", "é",
    "e\u0301", "\u2028", "\u2029", "\u202e", "\ufeff", "a\ufeff", "\ufffd", "\ufffe", "\uffff", "😀", "\U0010ffff",
    "日本", "\\", "\\n", "\\U0001F600", '\\"', "a" * 300, "_", "_1", "/", "a/b.c-d_e", "-a", ".a", "e1", "infinity",
]  # fmt: skip
texts = st.sampled_from(LOOKS_LIKE_SOMETHING_ELSE) | st.text(max_size=12)
scalars = st.none() | st.booleans() | st.integers(1 - 10**18, 10**18 - 1) | texts
values = st.recursive(
    scalars,
    lambda inner: (
        st.dictionaries(texts, inner, max_size=3)
        | st.lists(inner.filter(lambda value: not (isinstance(value, list) and value)), max_size=3)
    ),
    max_leaves=8,
)
documents = st.dictionaries(texts, values, min_size=1, max_size=4)
manifests = st.builds(
    Manifest,
    kind=st.sampled_from(KINDS),
    count=st.integers(0, 10**9),
    bytes=st.integers(0, 10**18 - 1),
    sums=st.text("0123456789abcdef", min_size=64, max_size=64),
    executable=st.lists(texts, max_size=3).map(tuple),
    about=st.dictionaries(texts, scalars | st.lists(texts, max_size=3), max_size=3),
)


def corrupt(text: bytes | str, read: Callable[..., Any] = read_yaml) -> str:
    """The sentence that refuses a document, which comes within a second."""
    began = time.process_time()
    with pytest.raises(Corrupt) as caught:
        read(text.encode() if isinstance(text, str) else text, "m.yaml")
    assert time.process_time() - began < 1
    assert caught.value.code == 6
    assert str(caught.value).startswith("m.yaml")
    assert len(str(caught.value)) < 300
    return str(caught.value)


# one text for one value


def test_the_canonical_text_is_what_the_format_says() -> None:
    assert FULL.to_text() == FULL_TEXT


def test_the_id_of_a_version_is_the_same_for_ever() -> None:
    digest = hashlib.sha256(FULL.to_text().encode()).hexdigest()
    assert digest == "1039f0acc0fac52f26331c08633de976f9adb0f066582a03180b63610d48bbb2"


EXAMPLES = re.findall(r"```yaml\n(.*?)```", (PROJECT / "lhub" / "FORMAT.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_of_the_format_is_canonical(text: str) -> None:
    assert to_yaml(read_yaml(text.encode(), "m.yaml")) == text


def test_the_format_shows_every_document() -> None:
    assert {read_yaml(text.encode(), "m.yaml")["format"] for text in EXAMPLES} == {1}
    assert len(EXAMPLES) >= 4


@LAW
@given(documents)
def test_every_document_is_read_back_from_its_text(document: dict[str, Any]) -> None:
    assert repr(read_yaml(to_yaml(document).encode(), "m.yaml")) == repr(document)


@LAW
@given(documents)
def test_pyyaml_reads_the_same_from_the_text(document: dict[str, Any]) -> None:
    assert repr(yaml.safe_load(to_yaml(document))) == repr(document)


@pytest.mark.parametrize("text", LOOKS_LIKE_SOMETHING_ELSE, ids=ascii)
def test_a_text_stays_a_text_as_key_as_value_and_in_a_list(text: str) -> None:
    document = {text: text, "list": [text, {text: [text]}]}
    written = to_yaml(document)
    assert read_yaml(written.encode(), "m.yaml") == yaml.safe_load(written) == document


@LAW
@given(documents)
def test_one_value_has_one_text_of_lines_that_any_editor_keeps(document: dict[str, Any]) -> None:
    text = to_yaml(document)
    assert to_yaml(read_yaml(text.encode(), "m.yaml")) == text
    assert text.splitlines(keepends=True) == re.findall(r"[^\n]+\n", text)


def test_a_tuple_and_a_list_have_one_text() -> None:
    assert to_yaml({"a": ("b",), "c": ()}) == to_yaml({"a": ["b"], "c": []})


@pytest.mark.parametrize("value", [1.5, b"bytes", {1, 2}, object()], ids=["float", "bytes", "set", "object"])
def test_what_has_no_canonical_text_is_not_written(value: object) -> None:
    with pytest.raises(TypeError, match="registry document"):
        to_yaml({"a": [value]})


@LAW
@given(manifests)
def test_every_manifest_is_read_back_from_its_text(manifest: Manifest) -> None:
    assert read_manifest(manifest.to_text().encode(), "m.yaml") == manifest


@LAW
@given(manifests, manifests)
def test_two_manifests_have_two_texts(one: Manifest, other: Manifest) -> None:
    assert (one.to_text() == other.to_text()) == (repr(one) == repr(other))  # 1 == True, and they are two texts


def test_a_manifest_tells_of_a_tree_what_the_tree_holds() -> None:
    tree = tree_of([File(path="b", digest=D, size=3, executable=True), File(path="a", digest=D, size=4)])
    made = manifest_of(tree, "files", {}, OTHER)
    assert made == Manifest(kind="files", count=2, bytes=7, sums=OTHER, executable=("b",))


# canonical text is read without PyYAML, and means the same to PyYAML


def agrees(text: str) -> bool:
    """Whether the quick reader passes a text on, or reads what PyYAML reads."""
    quick = read_canonical(text.encode())
    try:
        return quick is None or repr(quick) == repr(yaml.safe_load(text))
    except yaml.YAMLError:
        return False


@LAW
@given(documents)
def test_canonical_text_is_read_without_pyyaml(document: dict[str, Any]) -> None:
    assert repr(read_canonical(to_yaml(document).encode())) == repr(document)


@LAW
@given(documents | manifests.map(Manifest.to_dict), st.data())
def test_a_text_with_a_slip_is_passed_on_or_means_the_same(document: dict[str, Any], data: st.DataObject) -> None:
    text = to_yaml(document)
    at = data.draw(st.integers(0, len(text)))
    slip = data.draw(
        st.sampled_from(["", " ", "  ", "\n", "- ", ":", ": ", '"', "\\", "#", "[]", "0", "a", "\t", "\r", "\0"])
    )
    assert agrees(text[:at] + slip + text[at + data.draw(st.integers(0, 2)) :])


ELSEWHERE = f"files: {{count: 1, bytes: 3, sha256sums: {OTHER}}}\n"
CANONICAL = PLAIN.to_text()
LINES = f'files:\n  count: 1\n  bytes: 2\n  sha256sums: "{D}"\n'
COMMENT = "".join(f"#{line}\n" for line in LINES.splitlines())
FOOLING = {
    "in another style": CANONICAL.replace(LINES, ELSEWHERE),
    "in another order": f"{LINES}kind: files\nexecutable: []\nformat: 1\n",
    "of a newer format": CANONICAL.replace("format: 1", "format: 2"),
    "without a format": CANONICAL.replace("format: 1\n", ""),
    "with files twice": CANONICAL + ELSEWHERE,
    "with files twice in one style": CANONICAL + LINES.replace("bytes: 2", "bytes: 3"),
    "with files inside a text": f"format: 1\nkind: files\nabout:\n  x: '\n{LINES}'\n{ELSEWHERE}executable: []\n",
    "with files inside a comment": f"format: 1\nkind: files\n{COMMENT}{ELSEWHERE}executable: []\n",
    "with an octal number": CANONICAL.replace("bytes: 2", "bytes: 010"),
    "with a number in sixties": CANONICAL.replace("bytes: 2", "bytes: 1:30"),
    "with a digest that is a number": CANONICAL.replace(f'"{D}"', "1" * 64),
    "with half a character": 'a: "\\U0000D800"\n',
    "with a character beyond the last": 'a: "\\U00110000"\n',
    "with an unknown escape": 'a: "\\q"\n',
    "with a merge key": "<<: a\n",
    "with a word that is none": "a: yes\nno: b\n",
    "with garbage behind": CANONICAL + "}}}",
    "with a tag behind": CANONICAL + "x: !!python/object:os.system a\n",
    "with an alias": "a: &x b\nc: *x\n",
    "in another style, with Windows' line ends": CANONICAL.replace("\n", "\r\n"),
    "in another style, with a byte order mark": "\ufeff" + CANONICAL,
}


@pytest.mark.parametrize("text", FOOLING.values(), ids=FOOLING)
def test_the_quick_reader_is_not_fooled_by_a_document(text: str) -> None:
    assert agrees(text)


@pytest.mark.parametrize("name", [name for name in FOOLING if "another" not in name])
def test_no_such_document_is_a_manifest(name: str) -> None:
    if "comment" in name or "inside a text" in name:
        assert read_manifest(FOOLING[name].encode(), "m.yaml").sums == OTHER
    else:
        with pytest.raises(LhubError):
            read_manifest(FOOLING[name].encode(), "m.yaml")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_back_from_resource_yaml(kind: str) -> None:
    assert read_kind(resource_text(kind).encode(), "m.yaml") == kind


@pytest.mark.parametrize(
    "text", ["kind: files\nformat: 1\n", "{format: 1, kind: files}", "format: 1\nkind: 'files'\nx: 1"]
)
def test_a_resource_yaml_in_another_style_is_read_too(text: str) -> None:
    assert read_kind(text.encode(), "m.yaml") == "files"


def test_the_format_is_read_in_any_style() -> None:
    assert [read_format(text, "m.yaml") for text in (format_text().encode(), b"{format: 1}", b"format: 1 # one")] == [
        False
    ] * 3


def test_a_registry_may_ask_for_its_mount() -> None:
    text = format_text(require_mount=True)
    assert (text, read_format(text.encode(), "registry.yaml")) == ("format: 1\nrequire_mount: true\n", True)


# bad documents get a clear error, and quickly


@pytest.mark.parametrize("end", range(len(CANONICAL) - 1))
def test_a_manifest_that_is_cut_short_is_corrupt(end: int) -> None:
    corrupt(CANONICAL[:end], read_manifest)


@pytest.mark.parametrize("end", range(len(resource_text("executor")) - 1))
def test_a_resource_yaml_that_is_cut_short_is_corrupt(end: int) -> None:
    corrupt(resource_text("executor")[:end], read_kind)


@pytest.mark.parametrize("end", range(len(format_text()) - 1))
def test_a_registry_yaml_that_is_cut_short_is_corrupt(end: int) -> None:
    corrupt(format_text()[:end], read_format)


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
REFUSED: dict[str, tuple[bytes | str, str]] = {
    "nothing": (b"", "is empty"),
    "white space": (b" \n\n", "is empty"),
    "a list": (b"- a\n", "is not a mapping"),
    "a text": (b"hello\n", "is not a mapping"),
    "a number": (b"1\n", "is not a mapping"),
    "null": (b"null\n", "is not a mapping"),
    "NULs": (b"\0" * 100, "is not YAML"),
    "a NUL inside": (b"a: b\0c\n", "is not YAML"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is not YAML"),
    "no UTF-8": (b"a: \xff\xfe\n", "is not YAML"),
    "an open list": (b"a: [b\n", "is not YAML"),
    "an open text": (b'a: "b\n', "is not YAML"),
    "a tab": (b"\ta: b\n", "is not YAML"),
    "two documents": (b"a: b\n---\nc: d\n", "a second document is refused"),
    "more than 64 KiB": (b"a: b\n" + b"#" * SMALL, "at most 65536 are read"),
    "100 MB": (bytes(100 << 20), "at most 65536 are read"),
    "an alias": (b"a: &x b\nc: *x\n", "aliases are refused"),
    "an anchor alone": (b"a: &x b\n", "aliases are refused"),
    "an anchor on a list": (b"a: &x\n- b\n", "aliases are refused"),
    "an anchor on a key": (b"&x a: b\n", "aliases are refused"),
    "an unknown alias": (b"a: *x\n", "aliases are refused"),
    "a list within itself": (b"a: &x [*x]\n", "aliases are refused"),
    "a billion laughs": (LAUGHS, "aliases are refused"),
    "a Python object": (b"a: !!python/object/apply:os.system ['true']\n", "python/object/apply:os.system' is refused"),
    "a Python name": (b"a: !!python/name:os.system\n", "python/name:os.system' is refused"),
    "a Python key": (b"!!python/tuple [a]: b\n", "python/tuple' is refused"),
    "a Python document": (b"!!python/object:object {a: b}\n", "python/object:object' is refused"),
    "a tag of one's own": (b"a: !mine b\n", "the tag '!mine' is refused"),
    "a harmless tag": (b"a: !!str b\n", "is refused"),
    "a tag behind a directive": (b"%TAG ! tag:yaml.org,2002:\n---\na: !python/name:os.system\n", "are refused"),
    "binary": (b"a: !!binary aGVsbG8=\n", "binary' is refused"),
    "a key twice": (b"a: 1\nb: 2\na: 3\n", "the key 'a' stands twice"),
    "a key twice, once quoted": (b'a: 1\n"a": 2\n', "the key 'a' stands twice"),
    "a key twice, once escaped": (b'a: 1\n"\\x61": 2\n', "the key 'a' stands twice"),
    "a key twice below": (b"x:\n- y: {a: 1, a: 2}\n", "the key 'a' stands twice"),
    "a key twice in a list": (b"[{a: 1, a: 2}]\n", "the key 'a' stands twice"),
    "15,000 lists": (b"[" * 15_000, "more than 16 levels are refused"),
    "15,000 mappings": (b"{a: " * 15_000, "more than 16 levels are refused"),
    "15,000 dashes": (b"- " * 15_000, "more than 16 levels are refused"),
    "15,000 complex keys": (b"? " * 15_000, "more than 16 levels are refused"),
    "17 levels": (b"a: " + b"[" * 16 + b"]" * 16, "more than 16 levels are refused"),
    "a list as key": (b"? [a]\n: b\n", "is not a text"),
    "a mapping as key": (b"? {a: b}\n: c\n", "is not a text"),
    "60,000 digits": (b"a: " + b"9" * 60_000, "m.yaml "),
    "a day that is none": (b"a: 2001-13-45\n", "m.yaml "),
}  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_no_registry_holds_is_refused_with_its_reason(text: bytes | str, reason: str) -> None:
    limit = SMALL if "at most" in reason else LARGE
    assert reason in corrupt(text, lambda text, where: read_yaml(text, where, limit=limit))


@pytest.mark.parametrize(
    "text",
    [
        "a: 1.5\n",
        "a: .inf\n",
        "a: 2001-01-01\n",
        "a: 2001-01-01T00:00:00Z\n",
        f"a: 1{':59' * 20_000}\n",
        f"a: 1{':59' * 400}.5\n",
        f"a: 0x{'f' * 60_000}\n",
        "0: a\n",
        "1: a\n",
        "null: a\n",
        "~: a\n",
        "false: a\n",
        "true: a\n",
        "x: {1: a}\n",
        "x: {null: a}\n",
        "<<: {a: b}\n",
        "x: {<<: {a: b}, a: c}\n",
    ],
    ids=lambda text: text[:24].strip(),
)
def test_a_value_that_no_registry_writes_is_refused(text: str) -> None:
    corrupt(text)


def test_16_levels_are_read() -> None:
    document: dict[str, Any] = {"a": "b"}
    for _ in range(15):
        document = {"a": document}
    assert read_yaml(to_yaml(document).encode(), "m.yaml") == document


def test_exactly_64_kib_are_read() -> None:
    assert read_yaml(b"a: b\n".ljust(SMALL, b"#"), "m.yaml") == {"a": "b"}


@LAW
@given(
    st.binary(max_size=60) | st.text(st.sampled_from("aé:-[]{}&*!'\"|>%@#?,.0123\n \t<=~"), max_size=40).map(str.encode)
)
def test_any_bytes_are_a_document_or_corrupt(text: bytes) -> None:
    with suppress(Corrupt):
        assert all(isinstance(key, str) for key in read_yaml(text, "m.yaml"))


# the field at fault is named by its dotted path


def broken(**fields: object) -> str:
    """A manifest in which some fields are something else; `files__count` is `files.count`, None takes it out."""
    document = PLAIN.to_dict()
    for name, value in fields.items():
        *above, key = name.split("__")
        target = document[above[0]] if above else document
        if value is None:
            del target[key]
        else:
            target[key] = value
    return to_yaml(document)


FIELDS: dict[str, tuple[str, str]] = {
    "no format": (broken(format=None), "m.yaml: format is missing"),
    "a text as format": (broken(format="1"), "m.yaml: format is not a whole number"),
    "true as format": (broken(format=True), "m.yaml: format is not a whole number"),
    "a list as format": (broken(format=[1]), "m.yaml: format is not a whole number"),
    "format 0": (broken(format=0), "m.yaml: format is 0"),
    "format -1": (broken(format=-1), "m.yaml: format is not a whole number"),
    "no kind": (broken(kind=None), "m.yaml: kind is missing"),
    "an unknown kind": (broken(kind="image"), "m.yaml: kind is 'image'"),
    "a number as kind": (broken(kind=1), "m.yaml: kind is not a text"),
    "a list as kind": (broken(kind=["files"]), "m.yaml: kind is not a text"),
    "no files": (broken(files=None), "m.yaml: files is missing"),
    "a list as files": (broken(files=["a"]), "m.yaml: files is not a mapping"),
    "a text as files": (broken(files="a"), "m.yaml: files is not a mapping"),
    "no count": (broken(files__count=None), "m.yaml: files.count is missing"),
    "a text as count": (broken(files__count="1"), "m.yaml: files.count is not a whole number"),
    "a negative count": (broken(files__count=-1), "m.yaml: files.count is not a whole number"),
    "true as count": (broken(files__count=True), "m.yaml: files.count is not a whole number"),
    "no bytes": (broken(files__bytes=None), "m.yaml: files.bytes is missing"),
    "a mapping as bytes": (broken(files__bytes={"a": 1}), "m.yaml: files.bytes is not a whole number"),
    "no digest": (broken(files__sha256sums=None), "m.yaml: files.sha256sums is"),
    "a short digest": (broken(files__sha256sums=D[:63]), "m.yaml: files.sha256sums is not 64 hex digits"),
    "a digest in capitals": (broken(files__sha256sums=D.upper()), "m.yaml: files.sha256sums is not 64 hex digits"),
    "a digest with a newline": (broken(files__sha256sums=f"{D}\n"), "m.yaml: files.sha256sums is not 64 hex digits"),
    "a number as digest": (broken(files__sha256sums=5), "m.yaml: files.sha256sums is not 64 hex digits"),
    "no executable": (broken(executable=None), "m.yaml: executable is missing"),
    "a text as executable": (broken(executable="run.sh"), "m.yaml: executable is not a list"),
    "a mapping as executable": (broken(executable={"a": "b"}), "m.yaml: executable is not a list"),
    "a number in executable": (broken(executable=["a", 1]), "m.yaml: executable.1 is not a text"),
    "a text as about": (broken(about="a"), "m.yaml: about is not a mapping"),
    "a list as about": (broken(about=["a"]), "m.yaml: about is not a mapping"),
}


@pytest.mark.parametrize(("text", "sentence"), FIELDS.values(), ids=FIELDS)
def test_a_field_that_is_not_what_it_should_be_is_named(text: str, sentence: str) -> None:
    assert corrupt(text, read_manifest).startswith(sentence)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (read_manifest, broken(format=2)),
        (read_kind, "format: 2\nkind: something-new\n"),
        (read_format, "format: 2\n"),
        (read_format, "format: 2\nlayout: something-new\n"),
        (read_format, "format: 1000000\n"),
    ],
)
def test_a_newer_format_is_refused_by_a_sentence_with_both_numbers(read: Callable[..., Any], text: str) -> None:
    with pytest.raises(LhubError) as caught:
        read(text.encode(), "m.yaml")
    assert not isinstance(caught.value, Corrupt)
    assert re.fullmatch(r"m\.yaml has format \d+, this lhub reads format 1", str(caught.value))
    assert "upgrade" in caught.value.hint
