"""The diary: who pushed what, when, under which tags; a git repository that anybody reads and that executes nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from lhub import commits, history
from lhub.diary import Recorded
from lhub.errors import Corrupt, UsageError
from lhub.layout import link_to
from lhub.parcel import Shelved
from lhub.registry import Registry
from lhub.store import Resource
from tests.conftest import Shell, read_tree, snapshot, write_tree

MIB = 1 << 20


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with two pushes to alice/X, and the folder with a third, to be copied: no test writes here."""
    place = tmp_path_factory.mktemp("origin")
    registry = Registry(place / "registry", namespace="alice")
    folder = write_tree(place / "src", {"a.txt": "one\n", "sub/b.txt": "bee\n", "goes.txt": "x"})
    write_tree(folder, {".gitignore": "# one of its own is quicker to read than the built-in list\n"})
    registry.push(folder, "X", tags=["old", "v1"], protected_tags=["v1"], message="the first")
    (folder / "goes.txt").unlink()
    registry.push(write_tree(folder, {"a.txt": "two\n"}), "X")
    write_tree(folder, {"a.txt": "three\n"})
    return place


@pytest.fixture
def folder(origin: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(origin / "src", tmp_path / "src"))


@pytest.fixture
def pushed(origin: Path, registry: Registry) -> Registry:
    """A registry with two pushes to alice/X; the folder holds a third."""
    shutil.copytree(origin / "registry/alice/X", registry.root / "alice/X", symlinks=True)
    return registry


def resource(registry: Registry) -> Resource:
    return Resource(f"{registry.root}/alice/X", "alice/X")


def diary(registry: Registry) -> Path:
    return registry.root / "alice/X/.lhub/history.git"


def git(repository: Path, *arguments: str, **environment: str) -> str:
    """Git as a person runs it, with no configuration but the repository's."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    quiet = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments], env=kept | quiet | environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def fsck(registry: Registry) -> None:
    assert git(diary(registry), "fsck", "--full", "--strict", "--no-dangling") == ""


def tells_the_truth(registry: Registry) -> None:
    """The entries lead to the tags and pins that stand, git finds no fault, and the branch holds the newest files."""
    told, [line] = Recorded(), registry.list()
    for entry in reversed(registry.log("alice/X")):
        told = told.after(entry)
    assert (dict(told.tags), set(told.pins)) == (line.tags, set(line.protected_tags))
    assert told.visibility == line.visibility
    fsck(registry)


def newest_files(registry: Registry) -> dict[str, bytes]:
    """What the newest entry holds under `files/`, read by git."""
    listing = git(diary(registry), "ls-tree", "-r", "-z", "main", "files").split("\0")[:-1]
    found = {path: head for head, _, path in (line.partition("\t") for line in listing)}
    ids = "".join(f"{line.split()[2]}\n" for line in found.values())
    out = subprocess.run(
        ["git", "-C", diary(registry), "cat-file", "--batch"], input=ids.encode(), capture_output=True, check=True
    ).stdout
    contents = {}
    for path in found:
        head, _, out = out.partition(b"\n")
        size = int(head.split()[2])
        contents[path.removeprefix("files/")], out = out[:size], out[size + 1 :]
    return contents


# few packs, however many entries


def test_a_long_diary_has_few_packs_and_every_entry(pushed: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_PACKS", 5)
    packs = diary(pushed) / "objects/pack"
    before, most = [entry.when for entry in pushed.log("alice/X")], 0
    for turn in range(16):
        pushed.untag("alice/X", "again") if turn % 2 else pushed.tag("alice/X", "again")
        most = max(most, len(list(packs.glob("*.pack"))))
    assert most < 5
    assert sorted(path.stem for path in packs.glob("*.pack")) == sorted(path.stem for path in packs.glob("*.idx"))
    assert len(pushed.log("alice/X")) == len(before) + 16
    tells_the_truth(pushed)


def test_the_folder_of_a_killed_git_goes_after_a_day_and_what_else_lies_there_stays(
    pushed: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "temporary"
    for name in ("lhub-diary-old/objects", "lhub-diary-new", "others"):
        (place / name).mkdir(parents=True)
    for name in ("lhub-diary-old", "others"):
        os.utime(place / name, (time.time() - 100_000,) * 2)
    monkeypatch.setattr("tempfile.tempdir", str(place))
    pushed.tag("alice/X", "again")
    assert sorted(os.listdir(place)) == ["lhub-diary-new", "others"]


def test_a_pack_that_is_large_is_left_as_it_is(pushed: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_PACKS", 2)
    monkeypatch.setattr(history, "_SMALL", 1)
    stood = {path.name for path in (diary(pushed) / "objects/pack").iterdir()}
    pushed.tag("alice/X", "again")
    assert stood < {path.name for path in (diary(pushed) / "objects/pack").iterdir()}


def test_packs_that_cannot_be_made_one_stay_and_the_push_succeeds(
    pushed: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_PACKS", 2)
    monkeypatch.setattr(history, "_INDEX_PACK", ("index-pack", "--no-such-option"))
    packs = diary(pushed) / "objects/pack"
    stood = {path.name for path in packs.iterdir()}
    assert pushed.push(folder, "X").warnings == ()
    assert stood < {path.name for path in packs.iterdir()}
    tells_the_truth(pushed)


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[:-1], lambda data: data[:30] + b"?" + data[31:]]
)
def test_a_damaged_pack_stays_for_verify_to_tell_and_the_others_become_one(
    pushed: Registry, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(history, "_PACKS", 3)
    packs = diary(pushed) / "objects/pack"
    own = next(packs.glob("*.pack"))
    odd = own.with_stem(f"pack-{'0' * 40}")
    odd.write_bytes(damage(own.read_bytes()))
    for turn in range(6):
        pushed.tag("alice/X", f"t{turn}")
    assert odd.exists()
    assert len(list(packs.glob("*.pack"))) <= 3
    odd.unlink()
    tells_the_truth(pushed)


def test_a_diary_of_more_packs_than_may_be_open_comes_to_few_in_time(
    pushed: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for turn in range(12):
        pushed.tag("alice/X", f"t{turn}")
    monkeypatch.setattr(history, "_PACKS", 3)
    monkeypatch.setattr(history, "_AT_ONCE", 4)
    counts = []
    for turn in range(6):
        pushed.tag("alice/X", f"more{turn}")
        counts.append(len(list((diary(pushed) / "objects/pack").glob("*.pack"))))
    assert sorted(counts, reverse=True)[:4] == counts[:4]
    assert counts[-1] <= 3
    tells_the_truth(pushed)


def test_an_export_beside_packs_that_become_one_has_every_entry(
    pushed: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_PACKS", 5)
    pushed.tag("alice/X", "t1", "t2")
    listed, turns = Shelved._objects, iter("abc")

    def then_gathered(parcel: Shelved) -> list[str]:
        names = listed(parcel)
        for tag in [*turns]:  # once, between the listing and the first file
            pushed.tag("alice/X", tag)
        return names

    monkeypatch.setattr(Shelved, "_objects", then_gathered)
    before = [entry.action for entry in pushed.log("alice/X")]
    pushed.export("alice/X", path=tmp_path / "x.tar")
    assert len(list((diary(pushed) / "objects/pack").glob("*.pack"))) < 5, "none was gathered: nothing was tried"
    other = Registry(tmp_path / "other", namespace="alice")
    other.import_bundle(tmp_path / "x.tar")
    assert [entry.action for entry in other.log("alice/X")][-len(before) :] == before


def test_who_reads_the_diary_while_packs_become_one_reads_it_whole(
    pushed: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_PACKS", 5)
    pushed.tag("alice/X", "t1", "t2")
    entries = commits.log(resource(pushed))
    first = next(entries)
    for turn in range(4):
        pushed.untag("alice/X", "t1") if turn % 2 == 0 else pushed.tag("alice/X", "t1")
    assert len(list((diary(pushed) / "objects/pack").glob("*.pack"))) < 5
    assert [first.action, *(entry.action for entry in entries)] == ["tag", "push", "push"]


# one entry a change


def test_each_push_is_one_commit_with_the_pusher_the_tags_and_the_message(pushed: Registry) -> None:
    lines = git(diary(pushed), "log", "--format=%an|%s|%b").strip().split("\n")
    assert lines[0].startswith("alice|push alice/X: latest")
    [first] = [number for number, line in enumerate(lines) if line.startswith("alice|push alice/X: old, v1|")]
    assert any("the first" in line for line in lines[first:])
    assert git(diary(pushed), "rev-list", "--count", "main").strip() == "2"


def test_the_log_tells_what_was_pushed(pushed: Registry) -> None:
    newest, oldest = pushed.log("alice/X")
    tags = pushed.list()[0].tags
    assert (newest.action, newest.tags, newest.version) == ("push", ("latest",), tags["latest"])
    assert (oldest.tags, oldest.protected, oldest.version) == (("old", "v1"), ("v1",), tags["v1"])
    assert (oldest.name, oldest.message, oldest.visibility, oldest.late) == ("alice", "the first", "public", False)
    assert [entry.commit for entry in (newest, oldest)] == git(diary(pushed), "rev-list", "main").split()


def test_each_other_change_is_one_commit_too(pushed: Registry) -> None:
    pushed.tag("alice/X", "gpu", "cpu")
    pushed.tag("alice/X:gpu", "gpu", protect=True)
    pushed.untag("alice/X", "cpu", "old")
    pushed.visibility("alice/X", "private")
    entries = pushed.log("alice/X")
    assert [entry.action for entry in entries] == ["visibility", "untag", "protect", "tag", "push", "push"]
    assert [entry.tags or entry.untagged for entry in entries[1:4]] == [("cpu", "old"), ("gpu",), ("gpu", "cpu")]
    tells_the_truth(pushed)


def test_what_changes_nothing_makes_no_commit(pushed: Registry, folder: Path) -> None:
    write_tree(folder, {"a.txt": "two\n"})
    tip = history.tip_of(resource(pushed))
    pushed.push(folder, "X", message="again")
    pushed.push(folder, "X", public=True)
    pushed.tag("alice/X", "latest")
    pushed.tag("alice/X", "v1", protect=True)
    pushed.visibility("alice/X", "public")
    assert history.tip_of(resource(pushed)) == tip


def test_the_newest_entry_holds_the_newest_files(pushed: Registry, folder: Path) -> None:
    write_tree(folder, {"a.txt": "two\n"})
    assert newest_files(pushed) == read_tree(folder)
    version = Path(pushed.path("alice/X")).parent
    for name in ("manifest.yaml", "SHA256SUMS"):
        assert git(diary(pushed), "show", f"main:{name}") == (version / name).read_text()


CHANGES: dict[str, dict[str, str | bytes | None]] = {
    "a file becomes a folder": {"a.txt": None, "a.txt/inner": "x"},
    "a folder becomes a file": {"sub/b.txt": None, "sub": "x"},
    "a text becomes binary": {"a.txt": b"\0\1\2"},
    "a text becomes large": {"a.txt": "x" * (MIB + 1)},
    "a name changes": {"a.txt": None, "b.txt": "three\n"},
    "only a name's case changes": {"a.txt": None, "A.txt": "three\n"},
    "everything changes": {"a.txt": None, "sub/b.txt": None, "c.txt": "new"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_sort_of_change_is_in_the_newest_entry_and_back(pushed: Registry, folder: Path, change: str) -> None:
    before = read_tree(folder)
    for path, content in CHANGES[change].items():
        if content is None:
            (folder / path).unlink()
            if path.startswith("sub/"):
                (folder / "sub").rmdir()
        else:
            write_tree(folder, {path: content})
    pushed.push(folder, "X")
    assert newest_files(pushed).keys() == read_tree(folder).keys()
    shutil.rmtree(folder)
    pushed.push(write_tree(folder, dict(before)), "X")
    assert newest_files(pushed) == before
    tells_the_truth(pushed)


@pytest.mark.parametrize("at", [0, 4095, 4096, MIB - 1], ids="NUL at {}".format)
def test_a_file_with_a_nul_anywhere_is_a_pointer_to_its_content(pushed: Registry, folder: Path, at: int) -> None:
    """Whether its push has seen that or the diary must look for itself; what comes back, executable now, is one too."""
    data = bytearray(b"x" * MIB)
    data[at] = 0
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(data).hexdigest()}\nsize {MIB}\n"
    pushed.push(write_tree(folder, {"a.txt": bytes(data)}), "X")
    assert newest_files(pushed)["a.txt"] == pointer.encode()
    pushed.push(write_tree(folder, {"a.txt": "a text"}), "X")
    assert newest_files(pushed)["a.txt"] == b"a text"
    (write_tree(folder, {"a.txt": bytes(data)}) / "a.txt").chmod(0o755)
    pushed.push(folder, "X")
    assert newest_files(pushed)["a.txt"] == pointer.encode()
    assert git(diary(pushed), "ls-tree", "main", "files/a.txt").startswith("100755 ")


def test_an_execute_bit_is_in_the_diary(pushed: Registry, folder: Path) -> None:
    (folder / "a.txt").chmod(0o755)
    pushed.push(folder, "X")
    assert git(diary(pushed), "ls-tree", "main", "files/a.txt").startswith("100755 ")


MESSAGES = [
    "", "  spaces  ", "two\n\nparagraphs\n", "Action: delete\nTags: v9", "x\n\nAction: untag\nUntagged: v1\n",
    "é 日本 🙂", "nul\0inside", "-dash", "\udce9 half a character", "commit refs/heads/evil\n", "data 5\nhello",
    "x" * 100_000,
]  # fmt: skip


def test_no_message_forges_an_entry(pushed: Registry, folder: Path) -> None:
    for number, message in enumerate(MESSAGES):
        pushed.push(write_tree(folder, {"a.txt": f"{number}"}), "X", message=message)
    entries = pushed.log("alice/X")[: len(MESSAGES)]
    assert {(entry.action, entry.tags, entry.untagged) for entry in entries} == {("push", ("latest",), ())}
    kept = [message.strip().replace("\0", "").replace("\udce9", "?") for message in MESSAGES]
    assert [entry.message for entry in reversed(entries)] == kept
    tells_the_truth(pushed)


# a clone


@pytest.fixture
def lfs(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who has installed git-lfs."""
    if not shutil.which("git-lfs"):
        pytest.skip("git-lfs is not here: apt install git-lfs, or brew install git-lfs")
    config = tmp_path / "gitconfig"
    config.write_text(
        '[filter "lfs"]\n\tclean = git-lfs clean -- %f\n\tsmudge = git-lfs smudge -- %f\n'
        "\tprocess = git-lfs filter-process\n\trequired = true\n"
    )
    return {"GIT_CONFIG_GLOBAL": str(config), "HOME": str(tmp_path)}


def cloned(registry: Registry, place: Path, lfs: dict[str, str]) -> dict[str, bytes]:
    """The files of a clone."""
    git(place, "clone", "--quiet", str(diary(registry)), "clone", **lfs)
    return read_tree(place / "clone" / "files")


def test_a_clone_gives_the_latest_files_large_and_odd_ones_too(
    pushed: Registry, folder: Path, tmp_path: Path, lfs: dict[str, str]
) -> None:
    odd = ["two  spaces", '"quoted"', "back\\slash", "[b]*?", "é", "日本語", "#x", "!x", "-x", " x ", "a'b", "$x"]
    write_tree(folder, {"large.txt": "text\n" * 250_000, "binary": bytes(range(256)), "empty": "", "crlf": "\r\n"})
    write_tree(folder, {f"text {name}": name for name in odd})
    write_tree(folder, {f"{name}/binary {name}": b"\0" + name.encode() for name in odd})
    (folder / "binary").chmod(0o755)
    pushed.push(folder, "X")
    assert cloned(pushed, tmp_path, lfs) == read_tree(folder)
    assert (tmp_path / "clone/files/binary").stat().st_mode & 0o111
    assert git(tmp_path / "clone", "status", "--porcelain", **lfs) == ""
    fsck(pushed)


def test_a_clone_gives_a_file_that_looks_like_a_pointer_as_it_is(
    pushed: Registry, folder: Path, tmp_path: Path, lfs: dict[str, str]
) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 5\n"
    pushed.push(write_tree(folder, {"pointer": pointer}), "X")
    assert cloned(pushed, tmp_path, lfs) == read_tree(folder)


def test_a_clone_after_a_tag_of_something_old_gives_the_latest_files_still(
    pushed: Registry, folder: Path, tmp_path: Path, lfs: dict[str, str]
) -> None:
    write_tree(folder, {"a.txt": "two\n"})
    (pushed.root / "alice/X/.lhub/recorded.json").unlink()
    pushed.tag("alice/X:v1", "stable")
    assert cloned(pushed, tmp_path, lfs) == read_tree(folder)


ATTRIBUTES = {
    "line ends": "* text eol=crlf\n",
    "no filter": "* -filter\n",
    "their own lfs": "*.bin filter=lfs diff=lfs merge=lfs -text\n",
    "an encoding": "* ident working-tree-encoding=UTF-16\n",
}


@pytest.mark.parametrize("attributes", ATTRIBUTES)
def test_a_clone_gives_the_files_whatever_their_own_attributes_say(
    pushed: Registry, folder: Path, tmp_path: Path, lfs: dict[str, str], attributes: str
) -> None:
    """Folders from elsewhere bring a `.gitattributes` of their own; model folders nearly always do."""
    write_tree(folder, {".gitattributes": ATTRIBUTES[attributes], "text.txt": "a\nb $Id$\n"})
    write_tree(folder, {"x.bin": b"\0\1", "y.bin": "text"})
    pushed.push(folder, "X")
    assert cloned(pushed, tmp_path, lfs) == read_tree(folder)


FEARED = ["git~1", ".git ", ".git.", ".git::$INDEX_ALLOCATION", ".g\u200cit", ".gitmodules", ".lfsconfig"]


@pytest.mark.parametrize("name", FEARED)
def test_a_name_that_git_fears_is_refused_or_spoils_no_diary(
    pushed: Registry, folder: Path, tmp_path: Path, lfs: dict[str, str], name: str
) -> None:
    """Some file systems take these for `.git`, which never travels; git checks none of them out."""
    write_tree(folder, {f"sub/{name}": '[submodule "x"]\n\tpath = x\n\turl = -u./payload\n'})
    try:
        assert pushed.push(folder, "X").warnings == ()
    except UsageError as refused:
        assert "sub/" in str(refused)
        return
    assert cloned(pushed, tmp_path, lfs) == read_tree(folder)
    tells_the_truth(pushed)


# nothing of a stranger's is executed


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A program that leaves a mark beside itself when anybody runs it."""
    program = tmp_path / "trap"
    program.write_text(f"#!/bin/sh\necho \"$0 $@\" >> '{tmp_path}/executed'\n")
    program.chmod(0o755)
    return program


def executed(trap: Path) -> bool:
    return trap.with_name("executed").exists()


def everything(registry: Registry, folder: Path) -> None:
    """Each verb that writes or reads the diary, also where it must be rebuilt from git."""
    registry.push(folder, "X", message="under threat")
    registry.tag("alice/X", "gpu")
    (registry.root / "alice/X/.lhub/recorded.json").unlink()
    registry.untag("alice/X:gpu")
    registry.visibility("alice/X", "private")
    registry.log("alice/X")


def test_the_trap_works(pushed: Registry, trap: Path) -> None:
    """Git itself falls into it, so what stays out of it below has avoided it."""
    git(diary(pushed), "config", "log.showSignature", "true")
    git(diary(pushed), "config", "core.pager", str(trap))
    git(diary(pushed), "config", "alias.fall", f"!{trap}")
    git(diary(pushed), "fall")
    assert executed(trap)


def test_neither_config_nor_hooks_of_the_diary_execute_anything(pushed: Registry, folder: Path, trap: Path) -> None:
    place = diary(pushed)
    (place / "config").write_text(
        "[core]\n\trepositoryformatversion = 0\n\tbare = false\n"
        f"\tfsmonitor = {trap}\n\thooksPath = {place}/hooks\n\tpager = {trap}\n\tsshCommand = {trap}\n"
        f"\talternateRefsCommand = {trap}\n\tworktree = {place}\n\teditor = {trap}\n"
        f"[diff]\n\texternal = {trap}\n[gpg]\n\tprogram = {trap}\n[log]\n\tshowSignature = true\n"
        f'[filter "lfs"]\n\tprocess = {trap}\n\tclean = {trap}\n\tsmudge = {trap}\n[diff "lfs"]\n\ttextconv = {trap}\n'
        f"[include]\n\tpath = {place}/more\n[uploadpack]\n\tpackObjectsHook = {trap}\n"
    )
    (place / "more").write_text(f"[core]\n\tfsmonitor = {trap}\n")
    write_tree(place, {"info/attributes": "* diff=lfs filter=lfs\n"})
    for hook in ("pre-commit", "post-commit", "reference-transaction", "post-index-change", "update", "post-update"):
        write_tree(place, {f"hooks/{hook}": trap.read_bytes()})
        (place / "hooks" / hook).chmod(0o755)
    before = {name: value for name, value in snapshot(place).items() if not name.startswith(("objects", "refs", "lfs"))}
    everything(pushed, folder)
    assert not executed(trap)
    after = snapshot(place)
    assert {name: after[name] for name in before} == before
    assert [entry.action for entry in pushed.log("alice/X")[:4]] == ["visibility", "untag", "tag", "push"]


def test_no_variable_of_the_caller_executes_or_changes_anything(
    pushed: Registry, folder: Path, trap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when lhub is called by a git hook, or with a stranger's environment."""
    elsewhere = tmp_path / "elsewhere"
    git(tmp_path, "init", "--quiet", str(elsewhere))
    before = snapshot(elsewhere)
    config = tmp_path / "evil"
    config.write_text(
        f"[core]\n\tfsmonitor = {trap}\n\tpager = {trap}\n\thooksPath = {tmp_path}\n[gpg]\n\tprogram = {trap}\n"
        f"[log]\n\tshowSignature = true\n[diff]\n\texternal = {trap}\n[i18n]\n\tlogOutputEncoding = UTF-16\n"
    )
    write_tree(tmp_path, {".gitconfig": config.read_bytes(), ".config/git/config": config.read_bytes()})
    variables = {
        "HOME": tmp_path, "XDG_CONFIG_HOME": tmp_path / ".config", "PAGER": trap, "EDITOR": trap,
        "GIT_DIR": elsewhere / ".git", "GIT_WORK_TREE": elsewhere, "GIT_INDEX_FILE": elsewhere / ".git/index",
        "GIT_OBJECT_DIRECTORY": elsewhere / ".git/objects", "GIT_COMMON_DIR": elsewhere / ".git",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": elsewhere / ".git/objects", "GIT_NAMESPACE": "evil",
        "GIT_CONFIG": config, "GIT_CONFIG_GLOBAL": config, "GIT_CONFIG_SYSTEM": config, "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "core.fsmonitor", "GIT_CONFIG_VALUE_0": trap,
        "GIT_CONFIG_KEY_1": "i18n.logOutputEncoding", "GIT_CONFIG_VALUE_1": "UTF-16",
        "GIT_CONFIG_PARAMETERS": f"'core.fsmonitor'='{trap}' 'i18n.logOutputEncoding'='UTF-16'",
        "GIT_EXTERNAL_DIFF": trap, "GIT_PAGER": trap, "GIT_EDITOR": trap, "GIT_SSH_COMMAND": trap, "GIT_ASKPASS": trap,
        "GIT_TEMPLATE_DIR": tmp_path, "GIT_SHALLOW_FILE": tmp_path / "tip", "GIT_GRAFT_FILE": tmp_path / "tip",
        "GIT_REPLACE_REF_BASE": "refs/evil/", "GIT_QUARANTINE_PATH": tmp_path, "GIT_AUTHOR_NAME": "mallory",
        "GIT_AUTHOR_DATE": "2001-01-01", "GIT_COMMITTER_NAME": "mallory", "GIT_COMMITTER_EMAIL": "m@evil",
        "GIT_DEFAULT_HASH": "sha256", "GIT_LITERAL_PATHSPECS": "1", "GIT_CEILING_DIRECTORIES": "/", "GIT_PREFIX": "x/",
    }  # fmt: skip
    (tmp_path / "tip").write_text(f"{history.tip_of(resource(pushed))}\n")
    with monkeypatch.context() as threatened:
        for name, value in variables.items():
            threatened.setenv(name, str(value))
        everything(pushed, folder)
        seen = pushed.log("alice/X")
    assert not executed(trap)
    assert snapshot(elsewhere) == before
    assert seen == pushed.log("alice/X")
    assert [entry.action for entry in seen] == ["visibility", "untag", "tag", "push", "push", "push"]
    assert seen[3].name == "alice"
    tells_the_truth(pushed)


def test_a_folder_that_is_a_git_repository_is_left_alone(
    pushed: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its `.git` is not read, not written, and does not travel, also when one pushes from inside it."""
    git(folder, "init", "--quiet")
    before = snapshot(folder / ".git")
    monkeypatch.chdir(folder)
    pushed.push(".", "X")
    assert snapshot(folder / ".git") == before
    assert ".git" not in os.listdir(pushed.path("alice/X"))


# a person's own git


def test_packed_refs_are_read(pushed: Registry, folder: Path) -> None:
    log = pushed.log("alice/X")
    git(diary(pushed), "pack-refs", "--all")
    assert not (diary(pushed) / "refs/heads/main").exists()
    assert pushed.log("alice/X") == log
    pushed.push(folder, "X")
    assert pushed.log("alice/X")[1:] == log
    tells_the_truth(pushed)


def test_a_diary_that_a_person_has_collected_is_read(pushed: Registry, folder: Path) -> None:
    log = pushed.log("alice/X")
    git(diary(pushed), "gc", "--quiet", "--prune=now")
    pushed.push(folder, "X")
    assert pushed.log("alice/X")[1:] == log
    tells_the_truth(pushed)


def test_a_lock_of_the_branch_that_was_left_behind_is_overcome(
    pushed: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("lhub.history.time.sleep", waited.append)
    (diary(pushed) / "refs/heads/main.lock").write_text("")
    result = pushed.push(folder, "X")
    assert result.warnings == ()
    assert 0 < sum(waited) < 5, "a person's git was given time, not too much"
    assert not (diary(pushed) / "refs/heads/main.lock").exists()
    tells_the_truth(pushed)


# a diary that was lost


def lose_objects(place: Path) -> None:
    shutil.rmtree(place / "objects")
    (place / "objects" / "pack").mkdir(parents=True)


def cut_objects(place: Path) -> None:
    for path in [*(place / "objects").rglob("*.pack"), *(place / "objects").glob("??/*")]:
        path.chmod(0o644)
        os.truncate(path, 20)


def pack_and_lose(place: Path) -> None:
    git(place, "pack-refs", "--all")
    lose_objects(place)


LOSSES: dict[str, Callable[[Path], object]] = {
    "its objects are gone": lose_objects,
    "its objects are cut short": cut_objects,
    "its objects are gone and its branch is packed": pack_and_lose,
    "its branch is empty": lambda place: (place / "refs/heads/main").write_text(""),
    "its branch is garbage": lambda place: (place / "refs/heads/main").write_bytes(b"\0" * 41),
    "its branch names nothing": lambda place: (place / "refs/heads/main").write_text("0123456789" * 4 + "\n"),
    "its branch is gone": lambda place: (place / "refs/heads/main").unlink(),
}


@pytest.mark.parametrize("record", ["kept", "lost"])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_diary_that_does_not_read_is_begun_anew_with_every_tag(
    pushed: Registry, folder: Path, loss: str, record: str
) -> None:
    """A power cut: the branch was written, what it names was not, or the other way round."""
    LOSSES[loss](diary(pushed))
    if record == "lost":
        (pushed.root / "alice/X/.lhub/recorded.json").unlink()
    pushed.push(folder, "X", tags=["third"])
    assert pushed.push(folder, "X", tags=["fourth"]).warnings == ()
    assert newest_files(pushed) == read_tree(folder)
    tells_the_truth(pushed)


def test_the_name_of_a_tip_that_does_not_read_is_kept(pushed: Registry, folder: Path) -> None:
    tip = str(history.tip_of(resource(pushed)))
    lose_objects(diary(pushed))
    pushed.push(folder, "X")
    (aside,) = diary(pushed).glob(f"unreadable.{tip[:12]}.*")
    assert (aside / "main").read_text() == f"{tip}\n"


def test_a_diary_that_does_not_read_says_what_now(pushed: Registry) -> None:
    lose_objects(diary(pushed))
    with pytest.raises(Corrupt, match="the diary of alice/X does not read") as told:
        pushed.log("alice/X")
    assert "lhub verify alice/X --repair begins it anew" in told.value.hint


def test_a_diary_that_was_never_begun_is_begun(pushed: Registry, folder: Path) -> None:
    shutil.rmtree(diary(pushed))
    pushed.push(folder, "X")
    tells_the_truth(pushed)


def test_a_lost_version_keeps_no_other_change_out_of_the_diary(pushed: Registry, folder: Path) -> None:
    """Somebody removed a version by hand, of which the diary does not know yet."""
    (pushed.root / "alice/X/ghost").symlink_to(link_to("0" * 64))
    result = pushed.push(folder, "X", message="still told")
    assert "still told" in [entry.message for entry in pushed.log("alice/X")]
    assert result.warnings == ()


# what was recorded last


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path, old: path.unlink(),
        lambda path, old: path.write_bytes(old),
        lambda path, old: path.write_bytes(b""),
        lambda path, old: path.write_bytes(b"{}"),
        lambda path, old: path.write_bytes(b"\xff\0not json"),
        lambda path, old: path.write_bytes(json.dumps({"tip": None, "tags": [], "pins": 5}).encode()),
        lambda path, old: (path.unlink(), path.symlink_to("/etc/hostname")),
    ],
    ids=["gone", "lagging", "empty", "empty object", "garbage", "odd", "a link"],
)
def test_the_record_is_rebuilt_from_the_diary(
    pushed: Registry, folder: Path, spoil: Callable[[Path, bytes], object]
) -> None:
    path = pushed.root / "alice/X/.lhub/recorded.json"
    old = path.read_bytes()
    pushed.tag("alice/X", "gpu", protect=True)
    log, whole = pushed.log("alice/X"), json.loads(path.read_text())
    spoil(path, old)
    pushed.visibility("alice/X", "public")
    assert pushed.log("alice/X") == log
    rebuilt = json.loads(path.read_text())
    assert {key: rebuilt[key] for key in ("tip", "tags", "pins", "visibility")} == {
        key: whole[key] for key in ("tip", "tags", "pins", "visibility")
    }
    assert not path.is_symlink()
    pushed.push(folder, "X")
    assert newest_files(pushed) == read_tree(folder)
    tells_the_truth(pushed)


# no git


@pytest.fixture(params=["missing", "failing"])
def without_git(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A machine without git, or with one that fails; the call gives git back."""
    place = tmp_path / "bin"
    place.mkdir()
    if request.param == "failing":
        (place / "git").write_text("#!/bin/sh\necho 'fatal: no' >&2\nexit 128\n")
        (place / "git").chmod(0o755)
    before = os.environ["PATH"]
    monkeypatch.setenv("PATH", str(place))
    return lambda: monkeypatch.setenv("PATH", before)


def test_without_git_a_push_succeeds_and_the_next_one_completes_the_diary(
    registry: Registry, folder: Path, without_git: Callable[[], None]
) -> None:
    first = registry.push(folder, "X", tags=["v1"], message="lost")
    second = registry.push(write_tree(folder, {"a.txt": "two\n"}), "X", protected_tags=["v2"])
    registry.tag("alice/X:v1", "old")
    assert all("the diary of alice/X lags" in warning for warning in (*first.warnings, *second.warnings))
    assert len(first.warnings) == len(second.warnings) == 1
    without_git()
    third = registry.push(write_tree(folder, {"a.txt": "three\n"}), "X", message="told")
    assert third.warnings == ()
    entries = registry.log("alice/X")
    assert (entries[0].message, entries[0].late) == ("told", False)
    assert {tag for entry in entries[1:] for tag in entry.tags} == {"v1", "v2", "old"}
    assert all(entry.late for entry in entries[1:])
    assert newest_files(registry) == read_tree(folder)
    tells_the_truth(registry)


def test_without_git_a_standing_diary_is_completed_later(
    pushed: Registry, folder: Path, without_git: Callable[[], None]
) -> None:
    without_git()
    log = pushed.log("alice/X")
    os.environ["PATH"] = str(folder)
    assert len(pushed.push(folder, "X").warnings) == 1
    without_git()
    pushed.visibility("alice/X", "private")
    entries = pushed.log("alice/X")
    assert entries[2:] == log
    assert [(entry.action, entry.late) for entry in entries[:2]] == [("visibility", False), ("push", True)]
    tells_the_truth(pushed)


def test_in_a_new_process_too_a_push_needs_no_git(
    pushed: Registry, folder: Path, shell: Shell, without_git: Callable[[], None]
) -> None:
    """With a record that was lost, a library that reads the diary is loaded, and it tries git as it loads."""
    (pushed.root / "alice/X/.lhub/recorded.json").unlink()
    root, path = str(pushed.root), os.environ["PATH"]
    assert shell("login", "alice", LHUB_ROOT=root, PATH=path).code == 0
    answer = shell("push", folder, "X", LHUB_ROOT=root, PATH=path)
    assert (answer.code, "the diary of alice/X lags" in answer.err) == (0, True)
    without_git()
    pushed.visibility("alice/X", "public")
    tells_the_truth(pushed)


def test_the_log_needs_no_git_or_says_that_it_is_broken(
    pushed: Registry, shell: Shell, without_git: Callable[[], None]
) -> None:
    answer = shell("log", "alice/X", LHUB_ROOT=str(pushed.root), PATH=os.environ["PATH"])
    broken = (answer.code, "git does not run" in answer.err, "hint: " in answer.err)
    assert broken == (9, True, True) or (answer.code, answer.out.count("push")) == (0, 2)


def test_reading_needs_no_git(pushed: Registry, tmp_path: Path, without_git: Callable[[], None]) -> None:
    assert pushed.list()[0].name == "alice/X"
    assert pushed.show("alice/X:v1").version == pushed.pull("alice/X:v1", tmp_path / "pulled").version
