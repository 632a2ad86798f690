"""The diary's commits, read: what is there is told, what does not read is said, nothing leads astray or executes."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import zlib
from collections.abc import Callable, Collection
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest

from lhub.commits import Texts, fault, is_readable, log, see_regular, tip_of
from lhub.errors import Corrupt
from lhub.opening import digest_text
from lhub.registry import Registry
from lhub.store import Resource
from tests import by_hand
from tests.by_hand import Kept, ended, instead, little_room, overwrite, remove_object

origin, kept = by_hand.origin, by_hand.kept


@pytest.fixture
def bare(tmp_path: Path) -> Kept:
    """A resource with an empty diary, to be filled object by object."""
    folder = tmp_path / "registry/alice/X"
    (folder / ".lhub/history.git/refs/heads").mkdir(parents=True)
    (folder / ".lhub/history.git/objects/pack").mkdir(parents=True)
    return kept_like(folder)


def kept_like(folder: Path) -> Kept:
    registry = Registry(folder.parent.parent, namespace="alice")
    return Kept(registry=registry, resource=Resource(str(folder), "alice/X"))


def branch(kept: Kept) -> Path:
    return kept.diary / "refs/heads/main"


def messages(kept: Kept) -> list[str]:
    return [entry.message for entry in log(kept.resource)]


def keep(kept: Kept, kind: str, data: bytes, *, name: str | None = None) -> str:
    """Put a loose object there, under its name or another."""
    whole = b"%b %d\0%b" % (kind.encode(), len(data), data)
    name = name or sha1(whole, usedforsecurity=False).hexdigest()
    place = kept.diary / "objects" / name[:2] / name[2:]
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(zlib.compress(whole, 1))
    return name


def keep_tree(kept: Kept, *entries: tuple[str, str, str]) -> str:
    return keep(kept, "tree", b"".join(f"{m} {n}".encode() + b"\0" + bytes.fromhex(o) for m, n, o in entries))


def keep_commit(kept: Kept, tree: str, *parents: str, message: str = "push alice/X\n\nwords\n\nAction: push\n") -> str:
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
    lines += ["author alice <a@b> 1767225600 +0000", "committer alice <a@b> 1767225600 +0000"]
    tip = keep(kept, "commit", ("\n".join(lines) + f"\n\n{message}").encode())
    branch(kept).write_text(f"{tip}\n")
    return tip


def find_texts(resource: Resource, wanted: Collection[str]) -> dict[str, bytes]:
    """Those of some texts that the diary holds."""
    texts = Texts(resource)
    return {digest: text for digest in wanted if (text := texts.get(digest)) is not None}


# the tip


def test_the_tip_is_what_the_branch_says(kept: Kept) -> None:
    assert tip_of(kept.resource) == branch(kept).read_text().strip()


def test_a_packed_branch_is_read(kept: Kept) -> None:
    tip = tip_of(kept.resource)
    subprocess.run(["git", "-C", kept.diary, "pack-refs", "--all"], check=True)
    assert not branch(kept).exists()
    assert tip_of(kept.resource) == tip
    assert messages(kept) == ["the second", "the first"]


def test_a_loose_branch_wins_over_a_packed_one(kept: Kept) -> None:
    (kept.diary / "packed-refs").write_text(f"{'0' * 40} refs/heads/main\n")
    assert tip_of(kept.resource) == branch(kept).read_text().strip()


def test_where_there_is_no_diary_there_is_no_tip_and_no_entry(tmp_path: Path) -> None:
    resource = Resource(str(tmp_path / "alice/X"), "alice/X")
    assert (tip_of(resource), list(log(resource)), find_texts(resource, {"0" * 64})) == (None, [], {})


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ESTALE])
def test_a_branch_that_another_host_is_just_replacing_is_read_again(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    errors, opened = [OSError(number, os.strerror(number))] * 2, os.open

    def replaced(path: str, *words: Any, **more: Any) -> int:
        if os.path.basename(path) == "main" and errors:
            raise errors.pop()
        return opened(path, *words, **more)

    monkeypatch.setattr(os, "open", replaced)
    assert tip_of(kept.resource) == branch(kept).read_text().strip()
    assert not errors


@pytest.mark.parametrize("text", ["", "\n", "ref: refs/heads/other\n", "0" * 39, "0" * 41, "xyz", "\0" * 41, "../x"])
def test_a_branch_that_names_nothing_has_no_tip(kept: Kept, text: str) -> None:
    branch(kept).write_text(text)
    assert tip_of(kept.resource) is None


@pytest.mark.parametrize("name", ["refs/heads/main", "packed-refs"])
def test_a_branch_that_is_no_file_is_refused_and_keeps_nobody_waiting(kept: Kept, name: str) -> None:
    branch(kept).unlink()
    for make in (os.mkfifo, lambda path: path.symlink_to("/etc/hostname"), Path.mkdir):
        make(kept.diary / name)
        assert ended(lambda: tip_of(kept.resource), 5)
        with pytest.raises(Corrupt, match="is not a regular file"):
            tip_of(kept.resource)
        shutil.rmtree(kept.diary / name) if (kept.diary / name).is_dir() else (kept.diary / name).unlink()


def test_a_branch_without_end_is_refused(kept: Kept) -> None:
    os.truncate(branch(kept), 1 << 40)
    with pytest.raises(Corrupt, match="at most"):
        tip_of(kept.resource)


# the log


def test_entries_are_told_newest_first(kept: Kept) -> None:
    assert messages(kept) == ["the second", "the first"]
    assert [entry.tags for entry in log(kept.resource)] == [("latest",), ("v1",)]


def test_a_diary_of_a_hundred_entries_is_told(bare: Kept) -> None:
    tree, tip = keep_tree(bare), ""
    for number in range(100):
        tip = keep_commit(bare, tree, *[tip] if tip else [], message=f"x\n\n{number}\n\nAction: push\n")
    assert messages(bare) == [str(number) for number in reversed(range(100))]


def test_of_a_merge_that_a_person_made_the_first_line_is_told(bare: Kept) -> None:
    tree = keep_tree(bare)
    first, second = (keep_commit(bare, tree, message=f"x\n\n{n}\n\nAction: push\n") for n in ("first", "second"))
    keep_commit(bare, tree, first, second)
    assert messages(bare) == ["words", "first"]


def test_what_a_message_says_of_parents_and_authors_is_only_words(bare: Kept) -> None:
    tree = keep_tree(bare)
    other = keep_commit(bare, tree, message="x\n\nnever\n\nAction: push\n")
    forged = f"x\n\nparent {other}\nauthor bob <b@c> 0 +0000\n\nAction: push\n"
    keep_commit(bare, tree, message=forged)
    [entry] = log(bare.resource)
    assert (entry.name, entry.when) == ("alice", 1_767_225_600)


@pytest.mark.parametrize("author", ["alice", "alice <a@b>", "alice <a@b> yesterday +0000", "", "\xff\xfe <> 1 +0000"])
def test_an_author_that_lhub_never_writes_is_nobody(bare: Kept, author: str) -> None:
    headers = f"tree {keep_tree(bare)}\nauthor {author}\n\npush alice/X\n\nAction: push\n"
    branch(bare).write_text(keep(bare, "commit", headers.encode("latin-1")))
    [entry] = log(bare.resource)
    assert (entry.action, entry.when) in (("push", 0.0), ("push", 1.0))


@pytest.mark.parametrize("when", ["-1", "99999999999", "999999999999999999999999"])
def test_a_time_beyond_every_clock_is_told_and_breaks_nothing(bare: Kept, when: str) -> None:
    headers = f"tree {keep_tree(bare)}\nauthor alice <a@b> {when} +0000\n\npush alice/X\n\nAction: push\n"
    branch(bare).write_text(keep(bare, "commit", headers.encode()))
    [entry] = log(bare.resource)
    assert isinstance(entry.to_dict()["when"], str)


def test_an_object_is_what_its_name_says_or_refused(bare: Kept) -> None:
    tip = keep_commit(bare, keep_tree(bare))
    for kind, data in (("commit", b"another"), ("blob", b"words"), ("tag", b"")):
        keep(bare, kind, data, name=tip)
        with pytest.raises(Corrupt, match="does not read"):
            list(log(bare.resource))


def test_a_commit_that_is_its_own_parent_ends(bare: Kept) -> None:
    """No object can name itself; one that does is not what its name says."""
    tree, name = keep_tree(bare), "1" * 40
    headers = f"tree {tree}\nparent {name}\nauthor alice <a@b> 1 +0000\n\npush\n"
    keep(bare, "commit", headers.encode(), name=name)
    branch(bare).write_text(f"{name}\n")
    assert ended(lambda: list(log(bare.resource)), 5)
    with pytest.raises(Corrupt, match="is not what its name says"):
        list(log(bare.resource))


def test_an_object_beyond_all_reason_is_not_read(bare: Kept) -> None:
    tip = keep_commit(bare, keep_tree(bare), message="x" * (65 << 20))
    with pytest.raises(Corrupt, match="does not read"):
        list(log(bare.resource))
    assert not is_readable(bare.resource, tip)


def test_entries_with_more_words_than_any_diary_has_are_not_all_read(
    bare: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, tip = keep_tree(bare, ("100644", "a.txt", keep(bare, "blob", b"x"))), ""
    for _ in range(10):
        tip = keep_commit(bare, keep_tree(bare), *[tip] if tip else [], message="x" * 1000)
    monkeypatch.setattr("lhub.commits._ALL", 8000)
    with pytest.raises(Corrupt, match="it has more words than any"):
        list(log(bare.resource))
    assert "it has more words than any" in fault(bare.resource)
    keep_commit(bare, tree, tip)
    assert find_texts(bare.resource, {digest_text(b"x"), "0" * 64}) == {digest_text(b"x"): b"x"}


def test_an_entry_without_a_tree_is_not_readable(bare: Kept) -> None:
    tip = keep(bare, "commit", b"author alice <a@b> 1 +0000\n\npush alice/X\n\nAction: push\n")
    branch(bare).write_text(tip)
    assert not is_readable(bare.resource, tip)
    assert "does not read" in fault(bare.resource)
    assert find_texts(bare.resource, {"0" * 64}) == {}


def test_an_object_that_says_less_than_it_unfolds_to_is_refused(bare: Kept) -> None:
    tip = keep_commit(bare, keep_tree(bare))
    place = bare.diary / "objects" / tip[:2] / tip[2:]
    place.write_bytes(zlib.compress(b"commit 10\0" + b"x" * (1 << 20)))
    with pytest.raises(Corrupt, match="does not read"):
        list(log(bare.resource))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "zeros": lambda path: overwrite(path, b"\0" * 40),
    "nothing": lambda path: overwrite(path, b""),
    "half": lambda path: overwrite(path, path.read_bytes()[: path.stat().st_size // 2]),
    "text": lambda path: overwrite(path, b"hello\n" * 100),
    "missing": Path.unlink,
}


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.parametrize("suffix", ["pack", "idx"])
def test_a_damaged_pack_is_one_sentence(kept: Kept, name: str, suffix: str) -> None:
    for path in kept.diary.glob(f"objects/pack/*.{suffix}"):
        DAMAGES[name](path)
    with pytest.raises(Corrupt, match="the diary of alice/X does not read") as error:
        list(log(kept.resource))
    assert "the versions are not concerned" in error.value.hint
    assert not is_readable(kept.resource, branch(kept).read_text().strip())


def test_an_index_of_another_pack_shows_no_other_object_for_one(kept: Kept) -> None:
    first, second = (path for path in kept.diary.glob("objects/pack/*.idx"))
    data = first.read_bytes()
    overwrite(first, second.read_bytes())
    overwrite(second, data)
    with pytest.raises(Corrupt, match="does not read"):
        list(log(kept.resource))


# nothing leads astray


def test_objects_of_another_repository_are_not_borrowed(kept: Kept, tmp_path: Path) -> None:
    """Not even where git's own alternates say so: it could be any file that the reader may read."""
    (kept.diary / "objects").rename(tmp_path / "objects")
    (kept.diary / "objects/info").mkdir(parents=True)
    (kept.diary / "objects/pack").mkdir()
    (kept.diary / "objects/info/alternates").write_text(f"{tmp_path}/objects\n")
    with pytest.raises(Corrupt, match="does not read"):
        list(log(kept.resource))


def test_replaced_and_grafted_commits_are_not_believed(kept: Kept) -> None:
    tip = branch(kept).read_text().strip()
    (kept.diary / "refs/replace").mkdir()
    (kept.diary / f"refs/replace/{tip}").write_text(f"{'1' * 40}\n")
    (kept.diary / "info").mkdir(exist_ok=True)
    (kept.diary / "info/grafts").write_text(f"{tip}\n")
    assert messages(kept) == ["the second", "the first"]


def test_no_config_hook_or_variable_of_anybody_runs(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    script.chmod(0o755)
    (kept.diary / "config").write_text(
        f"[core]\n\tfsmonitor = {script}\n\tpager = {script}\n[diff]\n\texternal = {script}\n"
    )
    for name in ("GIT_EXTERNAL_DIFF", "GIT_PAGER", "GIT_SSH", "GIT_CONFIG_GLOBAL"):
        monkeypatch.setenv(name, str(script))
    monkeypatch.setenv("PATH", str(tmp_path))  # no git is to be had either
    assert messages(kept) == ["the second", "the first"]
    assert find_texts(kept.resource, {digest_text(b"one\n")})
    assert not (tmp_path / "ran").exists()


def a_link_to_a_folder(path: Path) -> None:
    path.symlink_to(path.parent.parent / "lfs")


@pytest.mark.parametrize("name", ["objects/pack/pack-1.pack", "objects/pack/x", "objects/ab/cd"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/etc/hostname"), a_link_to_a_folder])
def test_what_is_no_regular_file_among_the_objects_is_refused(
    kept: Kept, name: str, make: Callable[[Path], object]
) -> None:
    (kept.diary / name).parent.mkdir(exist_ok=True)
    make(kept.diary / name)
    with pytest.raises(Corrupt, match="is not a regular file"):
        see_regular(kept.resource)
    with pytest.raises(Corrupt, match="is not a regular file"):
        list(log(kept.resource))


@pytest.mark.parametrize("name", ["objects", "objects/pack", "objects/ab"])
def test_a_folder_of_objects_that_is_a_link_is_refused(kept: Kept, tmp_path: Path, name: str) -> None:
    (kept.diary / name).mkdir(exist_ok=True)
    (kept.diary / name).rename(tmp_path / "elsewhere")
    (kept.diary / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Corrupt):
        list(log(kept.resource))


def test_a_missing_folder_of_objects_is_one_sentence(kept: Kept) -> None:
    shutil.rmtree(kept.diary / "objects")
    with pytest.raises(Corrupt, match="the diary of alice/X does not read"):
        list(log(kept.resource))


def test_objects_that_are_a_file_are_one_sentence(kept: Kept) -> None:
    instead(kept.diary / "objects", lambda path: path.write_text(""))
    with pytest.raises(Corrupt, match="the diary of alice/X does not read"):
        list(log(kept.resource))


# whether all of an entry reads


def test_a_whole_entry_is_readable(kept: Kept) -> None:
    assert all(is_readable(kept.resource, entry.commit) for entry in log(kept.resource))


@pytest.mark.parametrize("name", ["main:files/a.txt", "main:files", "main^{tree}", "main"])
def test_an_entry_is_not_readable_if_any_of_it_is_missing(kept: Kept, name: str) -> None:
    tip = branch(kept).read_text().strip()
    remove_object(kept, name)
    assert not is_readable(kept.resource, tip)


def unfolding(kept: Kept, *, wide: int = 10, deep: int = 10) -> str:
    """A commit of a few small trees that unfold into ten thousand million files."""
    mode, entry = "100644", keep(kept, "blob", b"x")
    for _ in range(deep):
        entry = keep_tree(kept, *[(mode, f"f{number}", entry) for number in range(wide)])
        mode = "40000"
    return keep_commit(kept, entry)


def test_trees_that_unfold_without_end_are_read_once_each(bare: Kept) -> None:
    tip = unfolding(bare)
    assert ended(lambda: is_readable(bare.resource, tip), 3)
    assert ended(lambda: find_texts(bare.resource, {"0" * 64}), 3)


def test_trees_within_trees_are_read_however_deep(bare: Kept) -> None:
    tip = unfolding(bare, wide=1, deep=120)
    assert is_readable(bare.resource, tip)
    with little_room(100):
        assert is_readable(bare.resource, tip)
        assert find_texts(bare.resource, {digest_text(b"x")}) == {digest_text(b"x"): b"x"}


# texts


def test_a_text_is_found_in_whatever_entry_holds_it(kept: Kept) -> None:
    wanted = {digest_text(text): text for text in (b"one\n", b"two\n", b"bee\n", b"#!/bin/sh\n")}
    assert find_texts(kept.resource, wanted) == wanted


def test_what_no_entry_holds_is_not_found(kept: Kept) -> None:
    assert find_texts(kept.resource, {"0" * 64, digest_text(b"one\n")}) == {digest_text(b"one\n"): b"one\n"}
    assert find_texts(kept.resource, set()) == {}


def test_a_large_file_is_no_text_of_the_diary(kept: Kept) -> None:
    weights = kept.payload("weights.bin").read_bytes()
    assert find_texts(kept.resource, {digest_text(weights)}) == {}


@pytest.mark.parametrize("name", ["main:files/sub/b.txt", "main:files/a.txt", "main:files"])
def test_a_text_is_found_beside_what_does_not_read(kept: Kept, name: str) -> None:
    remove_object(kept, name)
    assert find_texts(kept.resource, {digest_text(b"one\n")}) == {digest_text(b"one\n"): b"one\n"}


def test_a_diary_is_walked_once_however_many_texts_are_asked_for(kept: Kept) -> None:
    texts = Texts(kept.resource)
    assert texts.get("0" * 64) is None
    branch(kept).unlink()
    assert texts.get(digest_text(b"one\n")) == b"one\n"


def test_beyond_an_entry_that_does_not_read_nothing_is_found_and_nothing_raised(kept: Kept) -> None:
    remove_object(kept, "main~1")
    assert find_texts(kept.resource, {digest_text(b"one\n"), digest_text(b"two\n")}) == {
        digest_text(b"two\n"): b"two\n"
    }


def test_nothing_is_read_beyond_what_was_wanted(kept: Kept) -> None:
    remove_object(kept, "main~1")
    assert list(find_texts(kept.resource, {digest_text(b"two\n")})) == [digest_text(b"two\n")]


def test_texts_are_found_under_names_of_any_bytes(bare: Kept) -> None:
    names = ["with space", "new\nline", "40000 forged", "ünï", "\x01"]
    blobs = [keep(bare, "blob", name.encode()) for name in names]
    tip = keep_commit(bare, keep_tree(bare, *[("100644", *each) for each in zip(names, blobs, strict=True)]))
    assert is_readable(bare.resource, tip)
    wanted = {digest_text(name.encode()): name.encode() for name in names}
    assert find_texts(bare.resource, wanted) == wanted
