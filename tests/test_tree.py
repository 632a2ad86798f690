"""A tree and SHA256SUMS: what coreutils prints and checks, and nothing that no push wrote is read."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lhub.errors import Corrupt
from lhub.tree import File, Tree, read_sums, tree_of

LAW = settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
D = "0123456789abcdef" * 4

ODD_NAMES = [
    "plain.txt",
    "two  spaces",
    " leading",
    "trailing ",
    "-dash",
    "--check",
    "back\\slash",
    "\\leading backslash",
    "trailing backslash\\",
    "\\n is no newline",
    "new\nline",
    "both\\and\nnewline",
    "*star",
    "?[a-z]{x}",
    "tab\there",
    "quote\"quote'",
    "$HOME `id` ;&|<>#~",
    "deep/er/and deeper/x",
    "deep.txt",
    "deep-er",
    "é",
    "日本語/ファイル",
    "😀",
    "Z",
    "a",
    "A",
    "~",
    "...",
    f"{D}  looks like a line",
]
SUMS = shutil.which("sha256sum")
VERSION = subprocess.run([SUMS, "--version"], capture_output=True, check=False).stdout.decode() if SUMS else ""
COREUTILS = re.search(r"coreutils\) (\d+)\.(\d+)", VERSION)
needs_coreutils = pytest.mark.skipif(not COREUTILS, reason="the sha256sum of coreutils is not installed")
if COREUTILS and int(COREUTILS[1]) >= 9:  # from then on it escapes a carriage return too
    ODD_NAMES += ["carriage\rreturn", "all\\three\r\n"]


def file(path: str, digest: str = D, size: int = 0, executable: bool = False) -> File:
    return File(path=path, digest=digest, size=size, executable=executable)


@pytest.fixture
def odd(tmp_path: Path) -> tuple[Path, Tree]:
    """A folder of oddly named files, and its tree."""
    folder = tmp_path / "version" / "files"
    files = []
    for number, name in enumerate(ODD_NAMES):
        content = f"{number}".encode()
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        files.append(file(name, hashlib.sha256(content).hexdigest(), len(content)))
    return folder, tree_of(files)


@needs_coreutils
def test_the_text_is_what_sha256sum_prints(odd: tuple[Path, Tree]) -> None:
    folder, tree = odd
    done = subprocess.run(
        ["sha256sum", "--", *(f.path for f in tree.files)], cwd=folder, capture_output=True, check=True
    )
    assert tree.to_sums().encode() == done.stdout


@needs_coreutils
def test_sha256sum_checks_every_odd_name(odd: tuple[Path, Tree]) -> None:
    folder, tree = odd
    (folder.parent / "SHA256SUMS").write_bytes(tree.to_sums().encode())
    command = ["sha256sum", "--check", "--strict", "--quiet", "../SHA256SUMS"]
    done = subprocess.run(command, cwd=folder, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@needs_coreutils
def test_sha256sum_finds_a_flipped_byte_under_an_odd_name(odd: tuple[Path, Tree]) -> None:
    folder, tree = odd
    (folder.parent / "SHA256SUMS").write_bytes(tree.to_sums().encode())
    (folder / "both\\and\nnewline").write_bytes(b"x")
    done = subprocess.run(["sha256sum", "--check", "../SHA256SUMS"], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stdout.count(b"FAILED") == 1


@needs_coreutils
def test_what_sha256sum_prints_is_read(odd: tuple[Path, Tree]) -> None:
    folder, tree = odd
    done = subprocess.run(
        ["sha256sum", "--", *(f.path for f in tree.files)], cwd=folder, capture_output=True, check=True
    )
    assert read_sums(done.stdout.decode()) == {f.path: f.digest for f in tree.files}


def test_lines_are_sorted_by_the_bytes_of_the_path() -> None:
    paths = ["b", "a/b", "a.b", "a-b", "Z", "é", "\uffff", "😀", "aa"]
    assert [f.path for f in tree_of(list(map(file, paths))).files] == sorted(paths, key=os.fsencode)


def test_the_order_in_which_files_were_found_does_not_matter() -> None:
    files = [file("a"), file("b/c"), file("b.c")]
    assert tree_of(files) == tree_of(files[::-1])


def test_a_tree_knows_its_size_and_what_may_be_executed() -> None:
    tree = tree_of([file("b", size=3, executable=True), file("a", size=4), file("c", size=0, executable=True)])
    assert (tree.bytes, tree.executable) == (7, ("b", "c"))


def test_no_files_are_an_empty_text() -> None:
    assert (tree_of([]).to_sums(), read_sums("")) == ("", {})


letters = st.sampled_from("ab.\\\n\r *-é😀") | st.characters(exclude_characters="/\0", exclude_categories=["Cs"])
parts = st.text(letters, min_size=1, max_size=8).filter(lambda part: part.lower() not in (".", "..", ".git", ".jina"))
paths = st.lists(parts, min_size=1, max_size=3).map("/".join)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)


@LAW
@given(st.dictionaries(paths, digests, max_size=6))
def test_every_tree_is_read_back_from_its_text(sums: dict[str, str]) -> None:
    assume(not any(other.startswith(f"{path}/") for path in sums for other in sums))
    tree = tree_of([file(path, digest) for path, digest in sums.items()])
    again = read_sums(tree.to_sums())
    assert again == sums
    assert list(again) == [f.path for f in tree.files]


@LAW
@given(paths, digests)
def test_every_file_is_one_line_that_ends_in_a_newline(path: str, digest: str) -> None:
    text = tree_of([file(path, digest)]).to_sums()
    assert (text.count("\n"), text[-1], "\r" in text) == (1, "\n", False)


@LAW
@given(st.text(st.sampled_from(f"0a \\\n\r\0/.{D}") | st.characters(), max_size=200))
def test_any_text_is_read_or_refused_as_corrupt(text: str) -> None:
    try:
        assert isinstance(read_sums(text), dict)
    except Corrupt as error:
        assert error.code == 6


HOSTILE = {
    "it climbs": f"{D}  ../a\n",
    "it climbs in the middle": f"{D}  a/../../b\n",
    "it is the folder above": f"{D}  ..\n",
    "it is the folder": f"{D}  .\n",
    "it is rooted": f"{D}  /etc/passwd\n",
    "a part is empty": f"{D}  a//b\n",
    "it ends in a slash": f"{D}  a/\n",
    "it has a NUL": f"{D}  a\0b\n",
    "its name is empty": f"{D}  \n",
    "its digest is short": f"{D[:63]}  a\n",
    "its digest is long": f"{D}0  a\n",
    "its digest has capitals": f"{D.upper()}  a\n",
    "its digest has no hex digits": f"{'g' * 64}  a\n",
    "its digest has digits of another script": f"{chr(0x661) * 64}  a\n",
    "one space": f"{D} a\n",
    "the binary mark": f"{D} *a\n",
    "a tab": f"{D}\ta\n",
    "an empty line": f"{D}  a\n\n{D}  b\n",
    "an empty line first": f"\n{D}  a\n",
    "the BSD form": f"SHA256 (a) = {D}\n",
    "a comment": "# hello\n",
    "no newline at the end": f"{D}  a",
    "cut short in a digest": f"{D}  a\n{D[:20]}",
    "the same path twice": f"{D}  a\n{D}  a\n",
    "the same path twice, once escaped": f"{D}  a\\b\n\\{D}  a\\\\b\n",
    "an unknown escape": f"\\{D}  a\\tb\n",
    "a lone backslash at the end": f"\\{D}  a\\\n",
    "it climbs through an escape": f"\\{D}  ../\\n\n",
    "two backslashes before the digest": f"\\\\{D}  a\n",
    "a byte order mark": f"\ufeff{D}  a\n",
    "Windows' line ends in front": f"\r{D}  a\n",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_line_that_no_push_wrote_is_refused(text: str) -> None:
    with pytest.raises(Corrupt, match="SHA256SUMS"):
        read_sums(text)


@pytest.mark.parametrize("path", [".git/config", "a/.git/hooks/post-checkout", ".GIT/config", ".jina/x", ".git"])
def test_what_never_travels_is_not_read_from_a_stranger_either(path: str) -> None:
    with pytest.raises(Corrupt, match="SHA256SUMS"):
        read_sums(f"{D}  {path}\n")


@pytest.mark.parametrize("text", [f"{D}  a\n{D}  a/b\n", f"{D}  a\n{D}  a.b\n{D}  a/b/c\n"])
def test_a_file_that_is_a_folder_too_is_refused(text: str) -> None:
    with pytest.raises(Corrupt, match="SHA256SUMS"):
        read_sums(text)


def test_the_line_at_fault_is_named() -> None:
    with pytest.raises(Corrupt, match="line 3"):
        read_sums(f"{D}  a\n{D}  b\nhello\n{D}  c\n")
