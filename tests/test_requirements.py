"""Requirements: what is asked of pip, by whom and how, and what no other host could install."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lhub.kinds.requirements import Asked, ask, decoded, encoded, of_project, packages

LAW = settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def asked(text: str | bytes, more: Mapping[str, str] | None = None) -> Asked:
    """What a requirements.txt asks for, with these files beside it."""
    files = {name: content.encode() for name, content in (more or {}).items()}
    data = text if isinstance(text, bytes) else text.encode()
    return ask({"requirements.txt": data, **files}.get)


# variables


@pytest.mark.parametrize(
    ("text", "variables", "bare"),
    [
        ("torch", (), ()),
        ("torch==${TORCH}", ("TORCH",), ()),
        ("a @ https://${USER_1}:${TOKEN}@host/a.whl\nb==${TOKEN}\n", ("TOKEN", "USER_1"), ()),
        ("--extra-index-url https://${TOKEN}@host/simple", ("TOKEN",), ()),
        ("torch==${2X}", ("2X",), ()),
        ("torch==$TORCH", (), ("TORCH",)),
        ("torch==${torch}", (), ("torch",)),
        ("torch==$TORCH.${MINOR}", ("MINOR",), ("TORCH",)),
        ("torch==${TORCH", (), ("TORCH",)),
        ("# ${NOT}\ntorch # $NEITHER ${NOT}\n", (), ()),
        ("a @ https://host/a#${TOKEN}", ("TOKEN",), ()),
        ("torch==${}", (), ()),
        ("torch==$1", (), ()),
        ("torch \\\n    ==${TORCH}\n", ("TORCH",), ()),
    ],
)
def test_variables_are_those_that_pip_expands(text: str, variables: tuple[str, ...], bare: tuple[str, ...]) -> None:
    found = asked(text)
    assert (found.variables, found.bare, found.faults) == (variables, bare, ())


@pytest.mark.parametrize("name", ["_X", "_", "__TOKEN"])
def test_a_variable_that_no_build_env_can_name_is_a_fault(name: str) -> None:
    [fault] = asked(f"numpy\ntorch==${{{name}}}\n").faults
    assert f"${{{name}}}" in fault


def test_variables_of_an_included_file_count() -> None:
    assert asked("-r more.txt\n", {"more.txt": "torch==${TORCH}\nnumpy==$NUMPY"}).variables == ("TORCH",)


# what is included


@pytest.mark.parametrize(
    "line",
    [
        "-r sub/more.txt",
        "-rsub/more.txt",
        "--requirement sub/more.txt",
        "--requirement=sub/more.txt",
        "--requirement\tsub/more.txt",
        "-c sub/more.txt",
        "--constraint=sub/more.txt",
        "-r ./sub/../sub/more.txt  # with a word",
        "-r \\\n  sub/more.txt",
    ],
)
def test_a_file_that_is_included_is_read(line: str) -> None:
    found = asked(line, {"sub/more.txt": "torch==${TORCH}"})
    assert (found.variables, found.faults) == (("TORCH",), ())
    assert sorted(found.files) == ["requirements.txt", "sub/more.txt"]


def test_what_an_included_file_includes_is_looked_for_beside_it() -> None:
    files = {"sub/more.txt": "-r most.txt\n-r ../less.txt\n", "sub/most.txt": "a==${A}", "less.txt": "b==${B}"}
    found = asked("-r sub/more.txt", files)
    assert (found.variables, found.faults) == (("A", "B"), ())


@pytest.mark.parametrize(
    "more",
    [{}, {"a.txt": "-r requirements.txt"}, {"a.txt": "-r b.txt", "b.txt": "-r a.txt\n-r ./requirements.txt\n"}],
    ids=["itself", "in turn", "in a circle"],
)
def test_files_that_include_each_other_are_read_once(more: dict[str, str]) -> None:
    found = asked("-r requirements.txt\n" + "".join(f"-r {name}\n" for name in more), more)
    assert (sorted(found.files), found.faults) == ([*more, "requirements.txt"], ())


def test_a_chain_of_a_thousand_files_is_followed() -> None:
    files = {f"r{n}.txt": f"-r r{n + 1}.txt" for n in range(1000)} | {"r1000.txt": "torch==${TORCH}"}
    assert asked("-r r0.txt", files).variables == ("TORCH",)


def test_a_file_that_is_included_and_does_not_travel_is_told_with_who_asks_for_it() -> None:
    found = asked("numpy\n-r more.txt\n", {"more.txt": "\n\n--requirement=none.txt"})
    assert found.faults == ("more.txt line 3 asks for none.txt, which does not travel",)


def test_no_requirements_ask_for_nothing() -> None:
    assert ask({}.get) == Asked(files=("requirements.txt",))


OUTSIDE = ["-r ../x.txt", "-r sub/../../x.txt", "-r /etc/passwd", "-r https://host/x.txt", "-c file:///x.txt", "-r../x"]


@pytest.mark.parametrize("line", OUTSIDE)
def test_a_file_outside_of_the_folder_is_never_asked_for(line: str) -> None:
    seen: list[str] = []

    def read(path: str) -> bytes | None:
        seen.append(path)
        return f"numpy\n{line}\n".encode() if path == "requirements.txt" else None

    assert ask(read).faults == ("requirements.txt line 2 includes what lies outside of the folder",)
    assert seen == ["requirements.txt"]


# what no other host has


@pytest.mark.parametrize("line", ["-e .", "-e.", "-e ./pkg", "--editable .", "--editable=git+https://host/a.git#egg=a"])
def test_an_editable_install_is_a_fault(line: str) -> None:
    assert asked(f"numpy\n{line}").faults == (
        "requirements.txt line 2 asks for an editable install, which no other host has",
    )


@pytest.mark.parametrize(
    "line",
    [
        ".",
        "..",
        "./x.whl",
        "../x",
        "x.whl",
        "x-1.0-py3-none-any.whl",
        "x.tar.gz",
        "sub/x",
        "sub/x.zip ; python_version < '3'",
        "/x.whl",
        "~/x",
        "file:///x.whl",
        "FILE:///x.whl",
        "file:x.whl",
        "C:\\x.whl",
        "x @ file:///x.whl",
        "x@file:///x.whl",
        "x[a,b] @ ./x",
        "x @ ../x",
        "git+file:///home/me/x.git",
        "x @ git+file:///home/me/x.git",
        "-f ./wheels",
        "--find-links=../wheels",
        "--index-url file:///wheels",
    ],
)
def test_a_local_path_is_a_fault(line: str) -> None:
    assert asked(f"numpy\n{line}").faults == ("requirements.txt line 2 asks for a local path, which no other host has",)


@pytest.mark.parametrize(
    "line",
    [
        "torch==2.0+cu118",
        "torch; platform_machine != 'arm64/v8'",
        "x @ https://host/x.whl",
        "x@https://host/sub/x.whl#sha256=0",
        "https://host/x.whl",
        "git+https://host/a/b.git@v1#egg=b",
        "git+ssh://git@host/a/b.git",
        "--extra-index-url https://host/simple/",
        "--find-links https://host/wheels/",
        "--index-url ${INDEX}",
        "--extra-index-url=${INDEX}",
        "-i ${INDEX}",
        "-f ${WHEELS}",
        "--hash=sha256:0/0",
        "--no-binary :all:",
        "https://${TOKEN}@host/x/y.whl",
        "torch # ./not/this",
    ],
)
def test_what_every_host_can_fetch_is_none(line: str) -> None:
    assert asked(line).faults == ()


def test_all_faults_of_all_files_are_told_with_their_lines() -> None:
    found = asked("-e .\n-r more.txt\n\n./x.whl\n-r none.txt\n", {"more.txt": "numpy \\\n  ==1\n../y\n"})
    assert [fault.partition(" asks")[0] for fault in found.faults] == [
        "requirements.txt line 1",
        "requirements.txt line 4",
        "more.txt line 3",
        "requirements.txt line 5",
    ]


# encodings


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"torch\n", "torch\n"),
        ("é\n".encode(), "é\n"),
        (b"\xef\xbb\xbftorch", "torch"),
        ("é".encode("utf-16"), "é"),
        (b"\xfe\xff" + "é".encode("utf-16-be"), "é"),
        ("é".encode("utf-32"), "é"),
        ("# coding: latin-1\né".encode("latin-1"), "# coding: latin-1\né"),
        ("\n# vim: set fileencoding=latin-1 :\né".encode("latin-1"), "\n# vim: set fileencoding=latin-1 :\né"),
    ],
)
def test_a_file_is_read_in_its_mark_s_or_its_cookie_s_encoding_else_in_utf_8(data: bytes, text: str) -> None:
    assert decoded(data, "requirements.txt") == text


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"# coding: klingon\n", "requirements.txt says that it is in klingon, an encoding that nobody knows"),
        (b"# coding: hex\n00", "requirements.txt says that it is in hex, an encoding that nobody knows"),
        (b"# coding: " + b"x" * 5000, f"requirements.txt says that it is in {'x' * 40}, an encoding that nobody knows"),
        (b"torch \xff", "requirements.txt is not in utf-8"),
        (b"# coding: ascii\n\xe9", "requirements.txt is not in ascii"),
        (b"\n\n# coding: latin-1\n\xe9", "requirements.txt is not in utf-8"),
        (b"\xff\xfea", "requirements.txt is not in utf-16"),
        (b"# coding: undefined\n", "requirements.txt is not in undefined"),
    ],
    ids=lambda each: ascii(each[:24]),
)
def test_an_unknown_encoding_or_another_is_a_fault_of_its_file(data: bytes, words: str) -> None:
    assert asked(data).faults == (words,)


MARKS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-32-be"]
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff#"), min_size=1, max_size=20)


def marked(text: str, encoding: str) -> bytes:
    """A text with the byte order mark of its encoding."""
    return ("\ufeff" + text if encoding.endswith("be") else text).encode(encoding)


@LAW
@given(TEXTS, TEXTS, st.sampled_from(MARKS))
def test_what_is_added_to_a_file_is_in_its_encoding(text: str, more: str, encoding: str) -> None:
    assume(not (encoding == "utf-16" and text.startswith("\0")))  # its mark and a NUL are the mark of UTF-32
    before = marked(text, encoding)
    assert decoded(before, "x") == text
    assert decoded(before + encoded(more, before), "x") == text + more


def test_what_is_added_to_a_file_with_a_cookie_is_in_the_encoding_of_the_cookie() -> None:
    before = "# coding: latin-1\n# é\n".encode("latin-1")
    assert decoded(before + encoded("b @ https://host/é.whl", before), "x").endswith("/é.whl")


@LAW
@given(st.binary(max_size=40) | st.text("#coding:= latin-1utf8\n\r\\${A}-re./@", max_size=60).map(str.encode))
def test_any_bytes_are_asked_for_or_told_as_faults(data: bytes) -> None:
    found = asked(data)
    assert all("\n" not in fault for fault in found.faults)


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

    assert cost("a==1.0\n" * 50_000) < 3 * cost("".join(f"a{number:06}\n" for number in range(50_000)))


# pyproject.toml


def project(dependencies: str) -> list[str]:
    return of_project(f"[project]\nname = 'x'\ndependencies = {dependencies}\n".encode())


def poetry(dependencies: str) -> list[str]:
    return of_project(f"[tool.poetry.dependencies]\npython = '^3.8'\n{dependencies}\n".encode())


@pytest.mark.parametrize(
    ("dependencies", "lines"),
    [
        ("[]", []),
        ("['torch', 'numpy>=1,<2']", ["torch", "numpy>=1,<2"]),
        ("[\"a[x]; python_version < '3.9'\"]", ["a[x]; python_version < '3.9'"]),
        ("['a @ https://${TOKEN}@host/a.whl']", ["a @ https://${TOKEN}@host/a.whl"]),
        ("'torch'", []),
        ("[1, 'torch']", ["torch"]),
    ],
)
def test_the_dependencies_of_a_project_are_lines(dependencies: str, lines: list[str]) -> None:
    assert project(dependencies) == lines


@pytest.mark.parametrize(
    ("dependency", "line"),
    [
        ("a = '*'", "a"),
        ("a = ''", "a"),
        ("a = '1.2'", "a==1.2"),
        ("a = '1.*'", "a==1.*"),
        ("a = '>=1.2,<2'", "a>=1.2,<2"),
        ("a = '>=1.2, !=1.5'", "a>=1.2,!=1.5"),
        ("a = '~=1.2'", "a~=1.2"),
        ("a = '^1.2.3'", "a>=1.2.3,<2"),
        ("a = '^1'", "a>=1,<2"),
        ("a = '^0.2.3'", "a>=0.2.3,<0.3"),
        ("a = '^0.0.3'", "a>=0.0.3,<0.0.4"),
        ("a = '^0.0'", "a>=0.0,<0.1"),
        ("a = '^0'", "a>=0,<1"),
        ("a = '~1.2.3'", "a>=1.2.3,<1.3"),
        ("a = '~1.2'", "a>=1.2,<1.3"),
        ("a = '~1'", "a>=1,<2"),
        ("a = {version = '^1.2', extras = ['x', 'y']}", "a[x,y]>=1.2,<2"),
        ("a = {version = '1', markers = \"python_version < '3.9'\"}", "a==1 ; python_version < '3.9'"),
        ("a = {git = 'https://host/a.git'}", "a @ git+https://host/a.git"),
        ("a = {git = 'https://host/a.git', rev = '1a2b'}", "a @ git+https://host/a.git@1a2b"),
        ("a = {git = 'https://host/a.git', tag = 'v1', extras = ['x']}", "a[x] @ git+https://host/a.git@v1"),
        ("a = {url = 'https://host/a.whl'}", "a @ https://host/a.whl"),
        ("a = {path = '../a'}", "a @ ../a"),
    ],
)
def test_a_wish_of_poetry_s_is_one_of_pip_s(dependency: str, line: str) -> None:
    assert poetry(dependency) == [line]


@pytest.mark.parametrize("dependency", ["a = {version = '1', optional = true}", "", "[tool.poetry.group.dev]\nb = 1"])
def test_what_poetry_does_not_install_is_left_out(dependency: str) -> None:
    assert poetry(dependency) == []


def test_a_package_that_poetry_asks_for_in_several_ways_has_several_lines() -> None:
    wishes = "[{version = '1', markers = 'os_name == \"nt\"'}, {version = '2', markers = 'os_name != \"nt\"'}]"
    assert poetry(f"a = {wishes}") == ['a==1 ; os_name == "nt"', 'a==2 ; os_name != "nt"']


@pytest.mark.parametrize(
    "text", ["", "[project]\nname = 'x'", "project = 1\ntool = []", "[tool]\npoetry = 'x'", "[build-system]"]
)
def test_a_project_that_says_nothing_of_it_has_no_dependencies(text: str) -> None:
    assert of_project(text.encode()) == []


@pytest.mark.parametrize(
    "data",
    [b"[[", b"a = ", b"a = 1\na = 2", b"\xff", b"\0", "a = 1".encode("utf-16"), b"a = " + b"[" * 50_000],
    ids=lambda data: ascii(data[:8]),
)
def test_a_project_that_does_not_parse_is_a_sentence(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^pyproject\.toml .*does not parse"):
        of_project(data)


@pytest.mark.parametrize("words", [f"# {'.' * 300}", f'description = """\n{"." * 300}\n"""', f"x = '{'.' * 300}'"])
def test_a_line_of_dots_in_a_project_hurts_nobody(words: str) -> None:
    assert of_project(f"[project]\n{words}\ndependencies = ['a']\n".encode()) == ["a"]


@pytest.mark.parametrize(
    "data", [b"a." * 20_000 + b"b = 1", b"[" + b"a." * 20_000 + b"b]", b"a = {" + b"a." * 20_000 + b"b = 1}"]
)
def test_a_project_that_was_made_to_be_slow_is_read_or_refused_in_a_moment(data: bytes) -> None:
    before = time.process_time()
    try:
        assert of_project(data) == []
    except ValueError as error:
        assert "pyproject.toml" in str(error)
    assert time.process_time() - before < 1
