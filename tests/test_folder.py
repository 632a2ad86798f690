"""A folder: what of it travels, what stays at home, and what is refused, all in one message."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec

import lhub
from lhub.errors import LhubError, NotFound, UsageError
from lhub.folder import Packing, changed, scan
from lhub.ignoring import IgnoreList
from lhub.registry import Registry
from tests import test_disk as disk_fears
from tests.conftest import HELLO, read_tree, snapshot, write_tree
from tests.test_order import as_nobody, in_a_child

no_hang = disk_fears.no_hang


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one file, to which each test adds its fear."""
    return write_tree(tmp_path / "folder", {"keep.txt": "hello"})


def paths(packing: Packing) -> list[str]:
    return [source.path for source in packing.sources]


def faults(folder: Path) -> str:
    """The one message that refuses a folder."""
    with pytest.raises(UsageError) as refused:
        scan(str(folder))
    assert refused.value.hint
    return str(refused.value)


def make_or_skip(path: bytes | Path) -> None:
    """A file of an odd name, where the file system has such names."""
    try:
        with open(path, "xb"):
            pass
    except OSError as error:
        pytest.skip(f"this file system has no such name: {error}")


# the ignore list


def test_without_a_list_of_its_own_the_built_in_python_list_counts(folder: Path) -> None:
    write_tree(
        folder,
        {
            "a.pyc": "",
            "__pycache__/x": "",
            "sub/__pycache__/y": "",
            ".venv/lib/z": "",
            "x.egg-info/PKG": "",
            ".env": "",
        },
    )
    packing = scan(str(folder))
    assert paths(packing) == ["keep.txt"]
    assert set(packing.ignored) == {"a.pyc", "__pycache__", "sub/__pycache__", ".venv", "x.egg-info", ".env"}
    assert not packing.own_list


def test_a_list_of_its_own_replaces_the_built_in_one(folder: Path) -> None:
    write_tree(folder, {".gitignore": "*.log\n", "a.pyc": "", "__pycache__/x": "", "a.log": ""})
    packing = scan(str(folder))
    assert paths(packing) == [".gitignore", "__pycache__/x", "a.pyc", "keep.txt"]
    assert packing.ignored == ("a.log",)
    assert packing.own_list


PATTERN = st.lists(
    st.sampled_from(["a", "b", "ab", ".py", "*", "**", "/", "?", "[ab]", "[!a]", "[a-b]", "[", "!", "\\*", " ", "#"]),
    min_size=1, max_size=5,
).map("".join)  # fmt: skip
PATH = st.lists(st.sampled_from(["a", "b", "ab", "a.py", "*", "x.pyc"]), min_size=1, max_size=3).map("/".join)


@pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")
@settings(max_examples=200, deadline=None)
@given(lines=st.lists(PATTERN, max_size=5), path=PATH, is_folder=st.booleans())
def test_patterns_that_are_not_compiled_are_those_that_do_not_match(
    lines: list[str], path: str, is_folder: bool
) -> None:
    """Only what can match is given to pathspec, which says the same of it as of the whole list."""
    path = f"{path}/" if is_folder else path
    try:
        whole = GitIgnoreSpec.from_lines(lines)
    except ValueError:
        with pytest.raises(ValueError, match="pattern"):
            IgnoreList("\n".join(lines))
        return
    assert IgnoreList("\n".join(lines)).has(path) == whole.match_file(path)


def test_the_built_in_list_is_the_same_word_by_word() -> None:
    text = (Path(lhub.__file__).parent / "python.gitignore").read_text()
    whole, few = GitIgnoreSpec.from_lines(text.splitlines()), IgnoreList(text)
    names = [line.strip("/!").replace("*", "x").replace("[codz]", "c") for line in text.splitlines()]
    for name in (*names, "executor.py", "config.yml", "lib.py", "builds", "x.spec.txt", "README.md"):
        for path in (name, f"{name}/", f"sub/{name}", f"sub/{name}/", f"{name}/below"):
            assert few.has(path) == whole.match_file(path), path


def test_an_executor_is_pushed_without_pathspec(tmp_path: Path) -> None:
    code = f"import lhub.folder, sys; lhub.folder.scan({str(HELLO)!r}); print('pathspec' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"


@pytest.mark.parametrize("pattern", ["foo[z-a]", "a/[9-0]x", "!b[z-a]*"])
def test_a_list_of_letters_that_is_none_is_told_with_its_place(folder: Path, pattern: str) -> None:
    write_tree(folder, {".gitignore": f"*.log\n{pattern}\n"})
    with pytest.raises(UsageError, match=r"\.gitignore has a pattern that cannot be read"):
        scan(str(folder))


def test_an_empty_list_of_its_own_ignores_nothing(folder: Path) -> None:
    write_tree(folder, {".gitignore": "", "a.pyc": ""})
    assert paths(scan(str(folder))) == [".gitignore", "a.pyc", "keep.txt"]


@pytest.mark.parametrize(
    "text", ["", "!.jina\n!.git\n", "*\n!.jina\n!.git\n!*\n"], ids=["plain", "negated", "all negated"]
)
def test_git_and_jina_never_travel(folder: Path, text: str) -> None:
    write_tree(
        folder, {".gitignore": text, ".git/config": "", ".jina/secret.key": "", "sub/.jina/x": "", "sub/.git": ""}
    )
    write_tree(folder, {".JINA/x": "", "sub/.Git/x": "", "sub/keep": ""})
    assert paths(scan(str(folder))) == [".gitignore", "keep.txt", "sub/keep"]


def test_what_only_starts_like_git_travels(folder: Path) -> None:
    write_tree(folder, {".gitattributes": "", ".github/workflow.yml": "", ".jinaignore": "", "git": "", "x.git/y": ""})
    assert paths(scan(str(folder))) == [
        ".gitattributes", ".github/workflow.yml", ".jinaignore", "git", "keep.txt", "x.git/y",
    ]  # fmt: skip


def test_a_nested_list_is_a_file_like_any_other(folder: Path) -> None:
    write_tree(folder, {".gitignore": "*.log\n", "sub/.gitignore": "*\n!*.log\n", "sub/a.txt": "", "sub/a.log": ""})
    assert paths(scan(str(folder))) == [".gitignore", "keep.txt", "sub/.gitignore", "sub/a.txt"]


def test_the_list_is_read_as_git_reads_it(folder: Path) -> None:
    text = "# a comment\n\n*.log\n!important.log\n/top\nbuild/\ndocs/**/*.tmp\n\\#odd\ntrailing   \n"
    write_tree(
        folder, {".gitignore": text, "a.log": "", "sub/b.log": "", "sub/important.log": "", "top": "", "sub/top": ""}
    )
    write_tree(
        folder, {"build/x": "", "sub/build/x": "", "docs/a/b/c.tmp": "", "#odd": "", "trailing": "", "# a comment": ""}
    )
    assert paths(scan(str(folder))) == ["# a comment", ".gitignore", "keep.txt", "sub/important.log", "sub/top"]


def test_a_pattern_for_folders_leaves_a_file_of_that_name_alone(folder: Path) -> None:
    write_tree(folder, {".gitignore": "build/\n", "build": "a file"})
    assert paths(scan(str(folder))) == [".gitignore", "build", "keep.txt"]


def test_what_is_ignored_is_no_fault(folder: Path) -> None:
    write_tree(folder, {".gitignore": "run/\n*.sock\nbroken\n"})
    (folder / "run").mkdir()
    os.mkfifo(folder / "run" / "fifo")
    os.mkfifo(folder / "a.sock")
    (folder / "broken").symlink_to("nowhere")
    assert paths(scan(str(folder))) == [".gitignore", "keep.txt"]


@pytest.mark.usefixtures("no_hang")
def test_a_list_that_is_a_fifo_is_refused_without_waiting_for_it(folder: Path) -> None:
    os.mkfifo(folder / ".gitignore")
    assert ".gitignore is a FIFO" in faults(folder)


def test_a_folder_of_that_name_is_no_list(folder: Path) -> None:
    write_tree(folder, {".gitignore/x": "", "a.pyc": ""})
    assert paths(scan(str(folder))) == [".gitignore/x", "keep.txt"]


# links


def test_a_link_to_a_file_travels_as_the_file(folder: Path) -> None:
    write_tree(folder, {"real/script": "run"})
    (folder / "real" / "script").chmod(0o755)
    (folder / "link").symlink_to("real/script")
    (folder / "absolute").symlink_to(folder / "keep.txt")
    (folder / "chain").symlink_to("link")
    found = {source.path: (Path(source.origin).read_text(), source.executable) for source in scan(str(folder)).sources}
    assert found == {
        "absolute": ("hello", False),
        "chain": ("run", True),
        "keep.txt": ("hello", False),
        "link": ("run", True),
        "real/script": ("run", True),
    }


def test_a_link_to_a_folder_travels_as_the_folder(folder: Path) -> None:
    write_tree(folder, {"real/a/b": "x"})
    (folder / "link").symlink_to("real")
    assert paths(scan(str(folder))) == ["keep.txt", "link/a/b", "real/a/b"]


def test_a_link_is_ignored_by_its_own_name(folder: Path) -> None:
    write_tree(folder, {".gitignore": "/real/\n/gone\n", "real/a": "x", "other": "y"})
    (folder / "link").symlink_to("real")
    (folder / "gone").symlink_to("other")
    assert paths(scan(str(folder))) == [".gitignore", "keep.txt", "link/a", "other"]


def test_the_folder_itself_may_be_a_link(folder: Path) -> None:
    link = folder.with_name("link")
    link.symlink_to(folder)
    assert paths(scan(str(link))) == ["keep.txt"]


@pytest.mark.parametrize("target", ["/etc/hostname", "../outside", "..", "/", "../folder-2/x", "../nowhere"])
def test_a_link_that_leaves_the_folder_is_refused(folder: Path, target: str) -> None:
    write_tree(folder.parent, {"outside": "secret", "folder-2/x": "secret"})
    (folder / "link").symlink_to(target)
    message = faults(folder)
    assert "link" in message
    assert "leads out of the folder" in message or "leads nowhere" in message


def test_a_link_out_through_a_link_in_is_refused(folder: Path) -> None:
    write_tree(folder, {"sub/x": ""})
    (folder.parent / "outside").mkdir()
    (folder / "sub" / "out").symlink_to("../../outside")
    (folder / "link").symlink_to("sub/out")
    message = faults(folder)
    assert "sub/out is a link that leads out of the folder" in message
    assert "link is a link that leads out of the folder" in message


@pytest.mark.parametrize("target", [".git/config", ".jina"])
def test_a_link_to_what_never_travels_is_refused(folder: Path, target: str) -> None:
    write_tree(folder, {".git/config": "token", ".jina/key": "secret"})
    (folder / "link").symlink_to(target)
    assert "link is a link that leads out of the folder" in faults(folder)


def test_a_broken_link_is_refused(folder: Path) -> None:
    (folder / "link").symlink_to("nowhere")
    assert "link leads nowhere" in faults(folder)


def test_links_in_a_circle_are_refused(folder: Path) -> None:
    (folder / "self").symlink_to("self")
    (folder / "there").symlink_to("back")
    (folder / "back").symlink_to("there")
    message = faults(folder)
    assert all(f"{name} leads nowhere" in message for name in ("self", "there", "back"))


def test_a_link_to_a_folder_above_itself_is_refused(folder: Path) -> None:
    write_tree(folder, {"a/b/c": ""})
    (folder / "a" / "b" / "up").symlink_to("..")
    (folder / "a" / "top").symlink_to("../../folder")
    message = faults(folder)
    assert "a/b/up is a link" in message
    assert "a/top is a link" in message


def test_two_folders_that_link_to_each_other_are_refused(folder: Path) -> None:
    write_tree(folder, {"a/x": "", "b/y": ""})
    (folder / "a" / "to-b").symlink_to("../b")
    (folder / "b" / "to-a").symlink_to("../a")
    message = faults(folder)
    assert "a/to-b/to-a is a link to a folder above itself" in message
    assert "b/to-a/to-b is a link to a folder above itself" in message


# what is no file


def test_fifos_sockets_and_devices_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(folder / "fifo")
    monkeypatch.chdir(folder)  # a socket's path may have 107 bytes only
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    message = faults(folder)
    assert "fifo is a FIFO" in message
    assert "socket is a socket" in message


def test_a_device_is_refused(folder: Path) -> None:
    if os.geteuid():
        pytest.skip("only root makes devices")
    os.mknod(folder / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(folder / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 200))
    message = faults(folder)
    assert "null is a device" in message
    assert "disk is a device" in message


def test_what_may_not_be_read_is_refused_with_all_else(square: Path) -> None:
    write_tree(square, {"in/a": "", "in/shut": "", "in/sub/shut": ""})
    os.mkfifo(square / "in/pipe")
    for shut in (square / "in/shut", square / "in/sub/shut"):
        shut.chmod(0o200)

    def deed() -> None:
        told = faults(square / "in")
        assert set(told.splitlines()[1:]) == {
            "  pipe is a FIFO",
            "  shut may not be read by you",
            "  sub/shut may not be read by you",
        }
        assert "shut may not be read by you" in faults(square / "in/shut")

    assert (in_a_child if os.geteuid() else as_nobody)(deed) == 0


def test_what_goes_away_while_a_folder_is_looked_at_is_not_said_to_be_shut(
    registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that writes there has files that live for a moment: to try again is what helps."""
    write_tree(folder, {"passing": ""})
    walk = lhub.folder._walked

    def walked(*words: Any) -> Any:
        met = walk(*words)
        (folder / "passing").unlink(missing_ok=True)
        return met

    monkeypatch.setattr(lhub.folder, "_walked", walked)
    with pytest.raises(LhubError, match="changed while it was pushed") as told:
        registry.push(folder, "X")
    assert "passing" in str(told.value)
    assert registry.list() == []


def test_empty_folders_are_dropped(folder: Path) -> None:
    (folder / "empty" / "too").mkdir(parents=True)
    write_tree(folder, {"only-ignored/x.pyc": ""})
    assert paths(scan(str(folder))) == ["keep.txt"]


def test_a_folder_without_anything_to_send_is_refused(tmp_path: Path) -> None:
    write_tree(tmp_path / "folder", {".gitignore": "*\n", "a": ""})
    assert "holds no file that would travel" in faults(tmp_path / "folder")


def test_a_file_travels_by_itself_under_its_own_name(folder: Path) -> None:
    packing = scan(f"{folder}/keep.txt")
    assert (packing.file, [source.path for source in packing.sources]) == ("keep.txt", ["keep.txt"])


def test_a_link_to_a_file_travels_under_the_name_of_the_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link.txt").symlink_to(folder / "keep.txt")
    (source,) = scan(f"{tmp_path}/link.txt").sources
    assert (source.path, source.origin) == ("link.txt", f"{folder}/keep.txt")


def test_a_file_that_cannot_travel_by_itself_is_a_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    write_tree(tmp_path, {"-": "x", "new\nline": "x", "git~1": "x"})
    said = [faults(tmp_path / name) for name in ("fifo", "-", "new\nline", "git~1")]
    assert ["is a FIFO" in said[0], "sha256sum" in said[1], "control" in said[2], ".git" in said[3]] == [True] * 4


def test_a_file_that_changed_since_is_told(folder: Path) -> None:
    packing = scan(f"{folder}/keep.txt")
    assert changed(packing) == []
    (folder / "keep.txt").write_text("other, and longer")
    assert changed(packing) == ["keep.txt"]
    (folder / "keep.txt").unlink()
    assert changed(packing) == [f"{folder}/keep.txt"]


def test_a_missing_folder_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="is not here"):
        scan(f"{tmp_path}/nothing")


# modes


def test_execute_bits_are_kept_and_setuid_never(folder: Path, registry: Registry, tmp_path: Path) -> None:
    for name, mode in {"run": 0o755, "mine": 0o700, "setuid": 0o6755, "theirs": 0o655, "sticky": 0o1644}.items():
        (folder / name).write_text(name)
        (folder / name).chmod(mode)
    registry.push(folder, "X")
    pulled = Path(registry.pull("alice/X", tmp_path / "pulled").path)
    version = Path(registry.path("alice/X"))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in version.iterdir()}
    assert modes == {"run": 0o555, "mine": 0o555, "setuid": 0o555, "theirs": 0o444, "sticky": 0o444, "keep.txt": 0o444}
    executable = {path.name for path in pulled.iterdir() if path.stat().st_mode & 0o111}
    assert executable == {"run", "mine", "setuid"}
    assert not any(path.stat().st_mode & 0o7000 for path in pulled.iterdir())


# names


ODD_NAMES = [
    " leading", "trailing ", "two  spaces", "-rf", "--help", "~", "$HOME", "`id`", "a;b", "a|b", "a&b", "'quoted'",
    '"double"', "back\\slash", "star*", "question?", "[bracket]", "{brace}", "#hash", "!bang", "%41", "a:b", "a=b", "é",
    "日本語", "🙂", "\u202eright-to-left", "ß", "x" * 255, ".hidden", "...", "nul", "con.txt", "a.lock",
]  # fmt: skip


def test_odd_names_travel_as_they_are(registry: Registry, tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {name: name for name in ODD_NAMES}
    files |= {f"folder {name}/inner": name for name in ODD_NAMES if len(name) < 240}
    folder = write_tree(tmp_path / "folder", files)
    registry.push(folder, "X")
    assert read_tree(Path(registry.pull("alice/X", tmp_path / "pulled").path)) == read_tree(folder)


def test_a_name_that_is_not_utf_8_is_refused(folder: Path) -> None:
    make_or_skip(os.fsencode(folder) + b"/caf\xe9")
    assert "caf\\udce9 has a name that is not UTF-8" in faults(folder)


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "a\rb", "\x1b[31mred", "bell\a", "del\x7f", "c1\x85"])
def test_a_name_with_a_control_character_is_refused_and_never_printed_raw(folder: Path, name: str) -> None:
    make_or_skip(folder / name)
    message = faults(folder)
    assert "has a control character in its name" in message
    assert name not in message


@pytest.mark.parametrize(
    ("one", "other"),
    [("File", "file"), ("é", "e\u0301"), ("É", "e\u0301"), ("ÿ", "y\u0308"), ("Ωmega", "ωmega")],
    ids=["case", "normalisation", "both", "latin", "greek"],
)
def test_names_that_some_file_systems_cannot_keep_apart_are_refused(folder: Path, one: str, other: str) -> None:
    make_or_skip(folder / one)
    make_or_skip(folder / other)
    message = faults(folder)
    assert "differ only by case or Unicode form" in message
    assert one in message
    assert other in message


def test_folders_that_some_file_systems_cannot_keep_apart_are_refused(folder: Path) -> None:
    write_tree(folder, {"Data/a": "", "data/b": ""})
    if len(os.listdir(folder)) == 2:
        pytest.skip("this file system does not keep them apart")
    assert "data and Data differ only by case" in faults(folder)


def test_a_file_and_a_folder_that_differ_only_by_case_are_refused(folder: Path) -> None:
    write_tree(folder, {"Data": "", "data/b": ""})
    assert "differ only by case" in faults(folder)


def test_a_twin_that_does_not_travel_is_no_fault(folder: Path) -> None:
    write_tree(folder, {".gitignore": "/KEEP.TXT\n/Empty/\n", "KEEP.TXT": ""})
    (folder / "Keep.txt").mkdir()
    assert paths(scan(str(folder))) == [".gitignore", "keep.txt"]


def test_all_faults_are_told_in_one_message(folder: Path) -> None:
    make_or_skip(os.fsencode(folder) + b"/caf\xe9")
    os.mkfifo(folder / "fifo")
    write_tree(
        folder, {"Data/A": "", "data/a": "", "a\nb": "", "deep/er/X": "", "deep/er/x": "", "e\u0301": "", "é": ""}
    )
    (folder / "out").symlink_to("/etc/hostname")
    (folder / "broken").symlink_to("nowhere")
    (folder / "deep" / "up").symlink_to("..")
    message = faults(folder)
    told = message.split("\n")[1:]
    for fear in ("caf", "fifo", "data", "data/a", "a\\nb", "deep/er/x", "é", "out", "broken", "deep/up"):
        assert any(fear in line for line in told), f"{fear} is not told in {message}"
    assert f"{len(told)} faults" in message


def test_a_folder_with_faults_is_pushed_nowhere(folder: Path, registry: Registry) -> None:
    os.mkfifo(folder / "fifo")
    before = snapshot(registry.root)
    with pytest.raises(UsageError):
        registry.push(folder, "X")
    assert snapshot(registry.root) == before


# holding still


def grow(folder: Path) -> str:
    with (folder / "keep.txt").open("a") as file:
        file.write("more")
    return "keep.txt"


def rewrite_with_the_same_size_and_time(folder: Path) -> str:
    path = folder / "keep.txt"
    status = path.stat()
    path.write_text("olleh")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return "keep.txt"


def replace(folder: Path) -> str:
    write_tree(folder, {"new": "hello"})
    (folder / "new").rename(folder / "keep.txt")
    return "keep.txt"


def add(folder: Path) -> str:
    write_tree(folder, {"sub/new": ""})
    return "sub/new"


def remove(folder: Path) -> str:
    (folder / "also.txt").unlink()
    return "also.txt"


def make_executable(folder: Path) -> str:
    (folder / "keep.txt").chmod(0o755)
    return "keep.txt"


@pytest.mark.parametrize("change", [grow, rewrite_with_the_same_size_and_time, replace, add, remove, make_executable])
def test_a_change_after_the_scan_is_noticed(folder: Path, change: Callable[[Path], str]) -> None:
    write_tree(folder, {"also.txt": "x"})
    packing = scan(str(folder))
    assert changed(packing) == []
    name = change(folder)
    assert changed(packing) == [name]


def test_a_change_of_what_does_not_travel_is_no_change(folder: Path) -> None:
    packing = scan(str(folder))
    write_tree(folder, {"__pycache__/x.pyc": "", ".git/index": ""})
    assert changed(packing) == []


def test_a_folder_that_is_gone_has_changed(folder: Path) -> None:
    packing = scan(str(folder))
    folder.rename(folder.with_name("moved"))
    assert changed(packing) == [str(folder)]
