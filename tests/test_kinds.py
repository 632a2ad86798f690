"""Kinds: what makes a folder an Executor, what its manifest then tells of it, and what its files mean."""

from __future__ import annotations

import io
import resource
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lhub.errors import Corrupt, UsageError
from lhub.folder import scan
from lhub.kinds import Recognised, docarray, executor, recognise
from lhub.kinds.requirements import packages
from tests.conftest import write_tree
from tests.test_order import in_a_child

LAW = settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def kind_of(folder: Path, **files: str) -> Recognised:
    return recognise(scan(str(write_tree(folder, {name.replace("__", "."): text for name, text in files.items()}))))


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"executor__py": ""}, "executor"),
        ({"config__yml": "jtype: X\n"}, "executor"),
        ({"config__yml": "metas:\n  name: X\n"}, "executor"),
        ({"manifest__yml": "name: X\n", "x__py": ""}, "executor"),
        ({"manifest__yml": "name: X\n"}, "files"),
        ({"config__yml": "learning_rate: 1\n"}, "files"),
        ({"config__yml": "- a list\n"}, "files"),
        ({"weights__bin": ""}, "files"),
    ],
    ids=str,
)
def test_what_makes_a_folder_an_executor(tmp_path: Path, files: dict[str, str], kind: str) -> None:
    assert kind_of(tmp_path, **files).kind == kind


@pytest.mark.parametrize(
    ("config", "manifest", "name"),
    [
        ("jtype: J\nmetas:\n  name: A\n", "name: B\n", "A"),
        ("jtype: J\n", "name: B\n", "B"),
        ("jtype: J\nmetas:\n  name: ''\n", "name: B\n", "B"),
        ("jtype: J\n", "alias: B\n", None),
    ],
)
def test_the_name_is_that_of_config_then_that_of_manifest(
    tmp_path: Path, config: str, manifest: str, name: str | None
) -> None:
    assert kind_of(tmp_path, config__yml=config, manifest__yml=manifest, executor__py="").name == name


def test_a_manifest_tells_what_the_files_give(tmp_path: Path) -> None:
    config = "jtype: J\nmetas:\n  name: A\n  description: does\n  keywords: [x, y]\n"
    about: dict[str, Any] = dict(kind_of(tmp_path, config__yml=config, manifest__yml="url: https://x\n").about)
    assert about == {"jtype": "J", "name": "A", "description": "does", "url": "https://x", "keywords": ["x", "y"]}


def test_tags_and_aliases_of_a_user_s_yaml_are_never_constructed(tmp_path: Path) -> None:
    config = "jtype: !!python/object/apply:os.abort J\nmetas: &m\n  name: A\n  self: *m\n"
    assert kind_of(tmp_path, config__yml=config, executor__py="").about == {"jtype": "J", "name": "A"}


@pytest.mark.parametrize("config", ["jtype: [\n", "a: b: c\n", "{" * 100_000, "[" * 100_000], ids=lambda text: text[:8])
def test_an_executor_s_file_that_does_not_parse_is_a_sentence(tmp_path: Path, config: str) -> None:
    with pytest.raises(UsageError, match=r"config\.yml") as told:
        kind_of(tmp_path, config__yml=config, executor__py="")
    assert told.value.hint


def test_of_another_folder_such_a_file_is_its_own_affair(tmp_path: Path) -> None:
    assert kind_of(tmp_path, config__yml="a: b: c\n").kind == "files"


# the values of a config.yml


def test_every_value_has_its_dotted_key() -> None:
    text = (
        b"jtype: X\nwith:\n  size: 3\n  deep:\n    er: yes\npy_modules:\n- a.py\n- b.py\nmetas: {name: N, tags: [k]}\n"
    )
    assert executor.settings(text) == {
        "jtype": "X",
        "with.size": "3",
        "with.deep.er": "yes",
        "py_modules.0": "a.py",
        "py_modules.1": "b.py",
        "metas.name": "N",
        "metas.tags.0": "k",
    }


@pytest.mark.parametrize("text", [b"", b"\n", b"# words\n", b"{}", b"[]", b"---\n"])
def test_a_file_without_values_has_none(text: bytes) -> None:
    assert executor.settings(text) == {}


@pytest.mark.parametrize("text", [b"a: 1 # old\n", b"# new\na:   1", b"{a: 1}", b"a: '1'", b'"a": "1"\n'])
def test_how_a_value_is_written_does_not_matter(text: bytes) -> None:
    assert executor.settings(text) == {"a": "1"}


def test_the_tags_of_a_user_s_settings_are_never_constructed() -> None:
    assert executor.settings(b"a: !!python/object/apply:os.abort []\nb: !mine 1\n") == {"b": "1"}


def test_a_value_that_an_alias_repeats_has_both_keys() -> None:
    assert executor.settings(b"a: &it\n  x: 1\nb: *it\n") == {"a.x": "1", "b.x": "1"}


@pytest.mark.parametrize(
    "text",
    [
        b"a: b: c",
        b"[",
        b"{a: 1",
        b"a: *b",
        b"a: 1\n---\nb: 2\n",
        b"\xff\xfe\xff",
        b"a: \0",
        b"[" * 100_000,
        b"? " * 5000,
    ],
    ids=lambda text: repr(text[:8]),
)
def test_settings_that_do_not_parse_are_a_sentence(text: bytes) -> None:
    with pytest.raises(UsageError, match=r"config\.yml") as told:
        executor.settings(text)
    assert told.value.hint


@pytest.mark.parametrize("text", [b"a: &a [*a]\n", b"metas: &m\n  self: *m\n", b"&a {x: {y: [*a]}}\n"])
def test_an_alias_that_holds_itself_leads_in_no_circle(text: bytes) -> None:
    try:
        found = executor.settings(text)
    except UsageError as error:
        assert error.hint
    else:
        assert len(found) < 100


def test_aliases_of_aliases_do_not_multiply_without_an_end() -> None:
    """Ten lines more of these would be a thousand billion values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 5)]
    text = "\n".join(lines).encode()
    try:
        found = executor.settings(text)
    except UsageError as error:
        assert error.hint
    else:
        assert len(found) < 20 * len(text)


def test_aliases_of_aliases_of_nothing_hold_nobody_up() -> None:
    """They are no values at all, and a billion to look at."""
    lines = ["a0: &a0 [[], [], [], [], [], [], [], [], []]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]

    def deed() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (2, 2))
        with suppress(UsageError):
            executor.settings("\n".join(lines).encode())

    executor.settings(b"a: 1")
    assert in_a_child(deed) == 0


@LAW
@given(st.text(max_size=40) | st.text("ab:-[]{}&*!#'\"\n |>?%@,0", max_size=40))
def test_any_text_has_settings_or_is_a_sentence(text: str) -> None:
    try:
        found = executor.settings(text.encode(errors="surrogatepass"))
    except UsageError as error:
        assert error.hint
    else:
        assert all(isinstance(value, str) for value in found.values())


# the packages of a requirements.txt


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("torch", {"torch": ""}),
        ("torch==2.0", {"torch": "==2.0"}),
        ("torch >= 2.0, < 3", {"torch": ">= 2.0, < 3"}),
        ("torch>=2,!=2.1,<3", {"torch": ">=2,!=2.1,<3"}),
        ("torch~=2.0", {"torch": "~=2.0"}),
        ("torch===2.0+cu118", {"torch": "===2.0+cu118"}),
        ("torch\t==2.0", {"torch": "==2.0"}),
        ("torch (>=2.0)", {"torch": "(>=2.0)"}),
        ("  torch==2.0  ", {"torch": "==2.0"}),
        ("jina[standard]==3.27", {"jina": "[standard]==3.27"}),
        ("jina[standard, devel] == 3.27", {"jina": "[standard, devel] == 3.27"}),
        ("jina [standard]", {"jina": "[standard]"}),
        ("torch; python_version < '3.12'", {"torch": "; python_version < '3.12'"}),
        ("torch==2.0 ; sys_platform == 'linux'", {"torch": "==2.0 ; sys_platform == 'linux'"}),
        ("torch @ https://a/b.whl#sha256=0", {"torch": "@ https://a/b.whl#sha256=0"}),
        ("torch@https://a/b.whl", {"torch": "@https://a/b.whl"}),
        ("torch==2.0 --hash=sha256:0", {"torch": "==2.0 --hash=sha256:0"}),
        ("a", {"a": ""}),
        ("7zip==1", {"7zip": "==1"}),
        ("https://a/b.whl", {"https://a/b.whl": ""}),
        ("git+https://a/b.git@v1#egg=b", {"git+https://a/b.git@v1#egg=b": ""}),
        ("./wheels/b.whl", {"./wheels/b.whl": ""}),
        ("-r more.txt", {"-r more.txt": ""}),
        ("-c limits.txt", {"-c limits.txt": ""}),
        ("-e .", {"-e .": ""}),
        ("--extra-index-url https://a/b", {"--extra-index-url https://a/b": ""}),
        ("${NAME}==1", {"${NAME}==1": ""}),
    ],
)
def test_a_line_is_told_by_its_package_or_stands_for_itself(line: str, told: dict[str, str]) -> None:
    assert packages(line) == told


@pytest.mark.parametrize("name", ["ruamel.yaml", "Ruamel_YAML", "ruamel-yaml", "RUAMEL.-_yaml", "ruamel__yaml"])
def test_a_package_is_one_however_its_name_is_spelt(name: str) -> None:
    assert packages(f"{name}==1") == {"ruamel-yaml": "==1"}


@pytest.mark.parametrize("text", ["", "\n\n", "# only words", "   # torch==2.0", "\t\n", "#torch\r\n"])
def test_comments_and_empty_lines_ask_for_nothing(text: str) -> None:
    assert packages(text) == {}


def test_a_comment_after_a_requirement_is_left_out() -> None:
    assert packages("torch==2.0 # the big one\nnumpy\t#the other\n") == {"torch": "==2.0", "numpy": ""}


def test_a_number_sign_within_an_address_is_no_comment() -> None:
    assert packages("b @ git+https://a/b#subdirectory=c") == {"b": "@ git+https://a/b#subdirectory=c"}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_that_goes_on_is_one(end: str) -> None:
    text = f"torch==2.0 \\{end}    --hash=sha256:1 \\{end}    --hash=sha256:2{end}numpy{end}"
    told = packages(text)
    assert list(told) == ["torch", "numpy"]
    assert told["torch"].split() == ["==2.0", "--hash=sha256:1", "--hash=sha256:2"]


def test_a_comment_does_not_go_on() -> None:
    """As pip reads it: the backslash at the end of a comment is a part of it."""
    assert packages("# pinned below \\\nnumpy==1\n") == {"numpy": "==1"}


def test_a_backslash_at_the_very_end_hurts_nothing() -> None:
    assert set(packages("torch \\")) == {"torch"}


def test_a_package_that_stands_twice_has_both_lines() -> None:
    text = "torch==1; python_version < '3.9'\nnumpy\nTorch==2; python_version >= '3.9'\n"
    assert packages(text)["torch"] == "==1; python_version < '3.9', ==2; python_version >= '3.9'"


@LAW
@given(
    st.dictionaries(
        st.builds("{}-{}".format, st.sampled_from("ab1"), st.text("xy2", min_size=1, max_size=4))
        | st.text("az0", min_size=1),
        st.sampled_from(["", "==1", "[x]>=2", "; python_version<'3'", "@ https://a/b"]),
    ),
    st.sampled_from(["\n", "\r\n", "\n\n", "\n# words\n", "   \n\t"]),
)
def test_each_package_is_told_with_what_is_asked_of_it(asked: dict[str, str], end: str) -> None:
    text = end.join(f"{name}{wish if wish[:1] != '@' else f' {wish}'}" for name, wish in asked.items())
    assert packages(text) == asked


@LAW
@given(st.text(max_size=60) | st.text("aB-_.=[]#\\\r\n ;@:/", max_size=60))
def test_any_text_has_packages(text: str) -> None:
    assert all(name.strip() == name != "" for name in packages(text))


@pytest.mark.parametrize(
    "line",
    [f"a=={'1' * 50}\n", f"-{'r' * 50}\n", f"{'a' * 50}:\n", f"{' ' * 50}#\n", f"{' ' * 50}\\\n", f"{'a' * 50}\\\n"],
    ids=lambda line: ascii(line[:1] + line[-3:]),
)
def test_a_text_that_was_made_to_be_slow_is_read_in_a_moment(line: str) -> None:
    before = time.process_time()
    packages(line * ((1 << 20) // len(line)))
    packages(line[:-1] * ((1 << 20) // len(line)))
    assert time.process_time() - before < 2


def test_a_package_that_stands_a_hundred_thousand_times_costs_no_more_than_as_many_packages() -> None:
    def cost(text: str) -> float:
        before = time.process_time()
        packages(text)
        return time.process_time() - before

    assert cost("a==1.0\n" * 150_000) < 3 * cost("".join(f"a{number:06}\n" for number in range(150_000)))


# DocumentArrays of the old cloud


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
