"""Seals: what is private by a secret is unreadable without it, whoever reads the disk."""

from __future__ import annotations

import io
import os
import pty
import shutil
import stat
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lhub.age as age
from lhub.errors import Conflict, Corrupt, Denied, LhubError, NotFound, ToolMissing, UsageError
from lhub.orders import Pushed
from lhub.registry import Registry
from lhub.sealing import files
from lhub.seals import SCRYPT, Seal
from tests import test_crowds as crowds
from tests.conftest import (
    PROJECT,
    Answer,
    Shell,
    as_caller,
    by_hand,
    config_yml,
    executor_py,
    read_tree,
    snapshot,
    without_pyrage,
    write_tree,
)
from tests.test_build_env import search
from tests.test_collection import as_user
from tests.test_crowds import needs_root
from tests.test_deletion import Hooked
from tests.test_order import Ruler, in_a_child, kill

pyrage = pytest.importorskip("pyrage", reason="needs pyrage: pip install 'lhub[seal]'")
shared = crowds.shared
MARK = "marmalade-in-clear"
FILES = {
    "config.yml": config_yml("Hello"),
    "executor.py": executor_py("Hello", f"# {MARK}"),
    f"{MARK}/deep.txt": f"{MARK}\n",
    "empty.txt": "",
    "run.sh": "#!/bin/sh\n",
}
SECRET = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX"
"""age's own example of an identity (age-encryption.org/v1, its test vectors)."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a secret of one's own choice costs is not what is tried here."""
    monkeypatch.setitem(SCRYPT, "n", 2)
    age.stretched.cache_clear()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = write_tree(tmp_path / "source", FILES)
    (folder / "run.sh").chmod(0o755)
    return folder


@pytest.fixture
def nobody(tmp_path: Path) -> Registry:
    """A registry for who is not logged in."""
    return Registry(tmp_path / "registry", timeout=20)


def home(tmp_path: Path, who: str) -> str:
    (tmp_path / "homes").mkdir(exist_ok=True)
    return str(tmp_path / "homes" / who)


def person(tmp_path: Path, who: str, *, at_home: str | None = None) -> Registry:
    """Somebody with a home of his own, logged in."""
    registry = Registry(tmp_path / "registry", namespace=who, home=home(tmp_path, at_home or who), timeout=20)
    registry.login(who)
    return registry


def sealed(registry: Registry, source: Path, name: str = "Hello", **more: str) -> tuple[Pushed, str]:
    """What was pushed without a namespace, and how it is called with its secret."""
    pushed = registry.push(source, name, private=True, **more)  # type: ignore[arg-type]
    return pushed, f"jinahub://{name}:{pushed.secret}"


def payload(registry: Registry, pushed: Pushed) -> Path:
    space, _, name = pushed.name.rpartition("/")
    return registry.root / (space or "_") / name / f".lhub/versions/{pushed.version}/files/payload.age"


# what lies on the disk


def test_how_far_a_sealed_push_is_comes_to_all_that_travels(nobody: Registry, source: Path) -> None:
    told: list[Mapping[str, Any]] = []
    nobody.push(source, "Hello", private=True, telling=told.append)
    last = {event["subject"]: event["payload"] for event in told if event["type"] == "progress"}
    assert last.keys() == {"receive", "seal"}
    assert {(far["done"], far["bytes"]) for far in last.values()} == {
        (far["of"], far["of_bytes"]) for far in last.values()
    }


def test_nothing_of_the_content_is_in_clear_anywhere(nobody: Registry, source: Path) -> None:
    pushed, ref = sealed(nobody, source, message="words of one's own")
    nobody.tag(ref, "v1")
    assert search(nobody.root, MARK) == []
    assert search(nobody.root, str(pushed.secret)) == []
    assert os.listdir(payload(nobody, pushed).parent) == ["payload.age"]


def test_the_manifest_tells_kind_and_sizes_and_no_names(nobody: Registry, source: Path) -> None:
    pushed, ref = sealed(nobody, source)
    told = nobody.show(ref).manifest
    assert (told["kind"], told["sealed"]["count"], told["sealed"]["bytes"]) == ("executor", 5, nobody.show(ref).bytes)
    text = (payload(nobody, pushed).parent.parent / "manifest.yaml").read_text()
    assert [word for word in ("Hello", "run.sh", "config", "about") if word in text] == []


def test_logs_of_its_tasks_are_closed_to_others(nobody: Registry, source: Path) -> None:
    sealed(nobody, source)
    assert stat.S_IMODE((nobody.root / "_/Hello/.lhub/builds").stat().st_mode) == 0o700


def test_whoever_has_the_secret_lays_out_what_was_pushed(nobody: Registry, source: Path, tmp_path: Path) -> None:
    _, ref = sealed(nobody, source)
    pulled = Path(nobody.pull(ref, tmp_path / "out").path)
    assert read_tree(pulled) == read_tree(source)
    assert [name for name in os.listdir(pulled) if os.access(pulled / name, os.X_OK) and (pulled / name).is_file()] == [
        "run.sh"
    ]


@pytest.mark.skipif(shutil.which("age") is None, reason="needs the program age: apt-get install age")
@pytest.mark.parametrize("secret", [None, SECRET, "sanity@Check"])
def test_the_standard_program_opens_it(nobody: Registry, source: Path, tmp_path: Path, secret: str | None) -> None:
    pushed, _ = sealed(nobody, source, **({"secret": secret} if secret else {}))
    key = pushed.secret if secret != "sanity@Check" else _stretched(nobody, "sanity@Check")
    (tmp_path / "key").write_text(f"{key}\n")
    (tmp_path / "out").mkdir()
    opened = ["age", "-d", "-i", str(tmp_path / "key"), str(payload(nobody, pushed))]
    tar = subprocess.run(opened, capture_output=True, check=True).stdout
    subprocess.run(["tar", "x", "-C", tmp_path / "out"], input=tar, check=True)
    subprocess.run(["sha256sum", "--quiet", "-c", "../SHA256SUMS"], cwd=tmp_path / "out/files", check=True)
    assert read_tree(tmp_path / "out/files") == read_tree(source)


def _stretched(registry: Registry, secret: str) -> str:
    seal = registry.session.resource(None, "Hello").seal()
    assert seal is not None
    assert seal.salt is not None
    return age.stretched(secret, seal.salt)


@given(st.binary(min_size=32, max_size=32))
def test_an_identity_is_spelt_as_the_library_spells_it(key: bytes) -> None:
    text = age._bech32("age-secret-key-", key).upper()
    assert str(pyrage.x25519.Identity.from_str(text)) == text


@settings(deadline=None, max_examples=30)
@given(st.lists(st.binary(max_size=70_000), max_size=5))
def test_what_is_sealed_opens_as_it_was_in_whatever_pieces_it_came(pieces: list[bytes]) -> None:
    text = b"".join(age.seal(iter(pieces), [age.recipient_of(SECRET)]))
    assert b"".join(age.unseal(io.BytesIO(text), [SECRET], "it")) == b"".join(pieces)


def test_who_stops_reading_stops_the_sealing_and_what_fails_on_its_way_is_raised() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(1 << 20)

    def broken() -> Iterator[bytes]:
        yield b"x"
        raise KeyError("mine")

    before = threading.active_count()
    sealing = age.seal(endless(), [age.recipient_of(SECRET)])
    next(sealing)
    sealing.close()
    with pytest.raises(KeyError, match="mine"):
        list(age.seal(broken(), [age.recipient_of(SECRET)]))
    assert threading.active_count() == before


# one content, one version


def test_the_same_content_is_one_version_though_it_is_sealed_by_chance(nobody: Registry, source: Path) -> None:
    pushed, ref = sealed(nobody, source)
    again = nobody.push(source, "Hello", secret=str(pushed.secret), tags=["v2"])
    assert (again.version, again.new, again.secret) == (pushed.version, False, None)
    assert nobody.show(ref).tags == {"latest": pushed.version, "v2": pushed.version}


@pytest.mark.parametrize("change", ["a byte", "an execute bit", "a name"])
def test_another_content_is_another_version(nobody: Registry, source: Path, change: str) -> None:
    pushed, ref = sealed(nobody, source)
    if change == "a byte":
        (source / "empty.txt").write_text("x")
    elif change == "an execute bit":
        (source / "run.sh").chmod(0o644)
    else:
        (source / "empty.txt").rename(source / "other.txt")
    again = nobody.push(source, "Hello", secret=str(pushed.secret))
    assert (again.new, again.version != pushed.version) == (True, True)
    assert len(nobody.log(ref)) == 2


def test_an_old_content_is_its_version_of_then(nobody: Registry, source: Path) -> None:
    pushed, _ = sealed(nobody, source)
    (source / "empty.txt").write_text("x")
    nobody.push(source, "Hello", secret=str(pushed.secret))
    (source / "empty.txt").write_text("")
    assert nobody.push(source, "Hello", secret=str(pushed.secret)).version == pushed.version


def test_what_stands_damaged_is_sealed_anew(nobody: Registry, source: Path, tmp_path: Path) -> None:
    pushed, ref = sealed(nobody, source)
    flip(nobody, pushed, 500)
    again = nobody.push(source, "Hello", secret=str(pushed.secret))
    assert again.version != pushed.version
    assert read_tree(Path(nobody.pull(ref, tmp_path / "out").path)) == read_tree(source)


def test_a_mark_tells_nothing_to_who_has_no_key(nobody: Registry, source: Path) -> None:
    one, other = (sealed(nobody, source, name)[1] for name in ("One", "Other"))
    marks = [nobody.show(ref).manifest["sealed"]["mark"] for ref in (one, other)]
    assert marks[0] != marks[1]


# who has no key, and what was altered


def flip(registry: Registry, pushed: Pushed, place: int) -> None:
    path = payload(registry, pushed)
    with by_hand(path.parent):
        data = bytearray(path.read_bytes())
        data[place] ^= 1
        path.write_bytes(data)


@pytest.mark.parametrize("secret", ["guess", "AGE-SECRET-KEY-1X", age.PREFIX, SECRET])
def test_a_wrong_secret_is_as_if_it_were_not_here(nobody: Registry, source: Path, secret: str) -> None:
    sealed(nobody, source)
    before = snapshot(nobody.root)
    for verb in (nobody.pull, nobody.show, nobody.log, nobody.delete):
        with pytest.raises(NotFound, match="Hello is not here"):
            verb(f"jinahub://Hello:{secret}")
    with pytest.raises(Denied, match="not the right one"):
        nobody.push(source, "Hello", secret=secret)
    assert snapshot(nobody.root) == before


@pytest.mark.parametrize("part", ["header", "documents", "content", "end"])
@pytest.mark.parametrize("how", ["flipped", "cut"])
def test_what_was_altered_lays_out_nothing(nobody: Registry, source: Path, tmp_path: Path, part: str, how: str) -> None:
    (source / "large.bin").write_bytes(os.urandom(300_000))
    pushed, ref = sealed(nobody, source)
    size = payload(nobody, pushed).stat().st_size
    place = {"header": 60, "documents": 1000, "content": size // 2, "end": size - 1}[part]
    if how == "flipped":
        flip(nobody, pushed, place)
    else:
        path = payload(nobody, pushed)
        with by_hand(path.parent):
            os.truncate(path, place)
    with pytest.raises((Corrupt, Denied)) as told:
        nobody.pull(ref, tmp_path / "out")
    assert told.value.code == 6 or part == "header"
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


def test_what_another_sealed_for_the_same_recipient_is_not_believed(
    nobody: Registry, source: Path, tmp_path: Path
) -> None:
    """A recipient is no secret: whoever may write there could seal something else for it."""
    pushed, ref = sealed(nobody, source)
    (source / "run.sh").write_text("other\n")
    other, _ = sealed(nobody, source, "Other", secret=str(pushed.secret))
    forged = payload(nobody, other).read_bytes()
    path = payload(nobody, pushed)
    with by_hand(path.parent):
        path.write_bytes(forged)
    with pytest.raises((Corrupt, Denied)):
        nobody.pull(ref, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_verify_finds_sealed_bytes_that_flipped_without_the_secret(nobody: Registry, source: Path) -> None:
    registry = as_caller(nobody, None)
    pushed, _ = sealed(registry, source)
    assert registry.verify().ok
    flip(registry, pushed, 5000)
    assert registry.verify().findings[0].ref.startswith(f"Hello@{str(pushed.version)[:12]}")


def test_verify_opens_the_content_for_who_has_the_key(nobody: Registry, source: Path) -> None:
    """The sealed bytes are as they were, but the keys beside them are others: only who has the secret can tell."""
    pushed, ref = sealed(nobody, source, secret=SECRET)
    other, _ = sealed(nobody, source, "Other", secret=SECRET)
    mine = Registry(nobody.root, secret=SECRET, timeout=20)
    assert (mine.verify().ok, mine.verify(ref).ok, nobody.verify().ok) == (True, True, True)
    seal = nobody.root / "_/Hello/.lhub/seal.yaml"
    seal.write_bytes((nobody.root / "_/Other/.lhub/seal.yaml").read_bytes())
    for found in (mine.verify().findings, nobody.verify(ref).findings):
        assert ["its content" in finding.problem for finding in found] == [True]
    assert nobody.verify().ok
    assert pushed.version != other.version


def test_what_has_lost_its_seal_takes_nothing_in_clear(nobody: Registry, source: Path) -> None:
    pushed, _ = sealed(nobody, source)
    (nobody.root / "_/Hello/.lhub/seal.yaml").unlink()
    before = snapshot(nobody.root)
    with pytest.raises(LhubError):
        nobody.push(source, "Hello", secret=str(pushed.secret))
    assert snapshot(nobody.root) == before
    for found in (nobody.verify(), nobody.verify(repair=True)):
        assert (["its seal" in each.problem for each in found.findings], found.repaired) == ([True], ())


def test_a_dry_run_tells_what_would_be_sealed_and_writes_nothing(nobody: Registry, source: Path) -> None:
    planned = nobody.plan(source, private=True)
    assert (planned.version, planned.new, nobody.root.exists()) == (None, True, False)
    pushed, _ = sealed(nobody, source)
    again = nobody.plan(source, "Hello", secret=str(pushed.secret))
    assert (again.version, again.new) == (pushed.version, False)
    with without_pyrage(), pytest.raises(ToolMissing):
        as_caller(nobody, "alice").plan(source, seal=True)


@pytest.mark.parametrize(
    "secret", ["AGE-PLUGIN-YUBIKEY-1QQQ", "AGE-SECRET-KEY-1QQQ", "AGE-SECRET-KEY-PQ-1QQQ", "ssh-ed25519AAAA"]
)
def test_an_identity_of_another_kind_is_refused_before_anything_is_written(
    nobody: Registry, source: Path, secret: str
) -> None:
    with pytest.raises(UsageError, match="no age identity") as told:
        nobody.push(source, private=True, secret=secret)
    assert secret not in f"{told.value}{told.value.hint}"
    assert not (nobody.root / "_/Hello").exists()


@pytest.mark.parametrize(
    "text",
    [b"", b"format: 1\n", b"format: 1\nrecipient: 1\nkeys: x\n", b"format: 1\nrecipient: a\nkeys: x\nreaders: 1\n",
     b"format: 1\nrecipient: a\nscrypt:\n  \"n\": 1073741824\n  r: 8\n  p: 1\n  salt: \"00\"\nkeys: x\n",
     b"format: 1\nrecipient: a\nkeys: x\nreaders:\n- namespace: ../x\n  recipient: b\n"],
)  # fmt: skip
def test_a_seal_that_lhub_did_not_write_is_corrupt(text: bytes) -> None:
    with pytest.raises(Corrupt):
        Seal.read(text)


# one's own, and readers


def test_the_owner_s_home_opens_what_is_his_and_no_other_does(source: Path, tmp_path: Path) -> None:
    alice = person(tmp_path, "alice")
    pushed = alice.push(source, seal=True)
    assert read_tree(Path(alice.pull("alice/Hello", tmp_path / "out").path)) == read_tree(source)
    elsewhere = person(tmp_path, "alice", at_home="laptop")
    with pytest.raises(Denied, match="is sealed, and nothing here opens it"):
        elsewhere.pull("alice/Hello", tmp_path / "no")
    assert elsewhere.show("alice/Hello").manifest["kind"] == "executor"
    shutil.copy(tmp_path / "homes/alice/identities/alice", tmp_path / "homes/laptop/identities/alice")
    assert elsewhere.pull("alice/Hello", tmp_path / "copied").version == pushed.version
    for odd in ("old@Check", "AGE-SECRET-KEY-1X", SECRET):  # meant for something else
        mine = Registry(alice.root, namespace="alice", home=home(tmp_path, "alice"), secret=odd, timeout=20)
        assert mine.show("alice/Hello").manifest["about"]["jtype"] == "Hello"
    by_secret = Registry(tmp_path / "registry", namespace="alice", secret=pushed.secret, timeout=20)
    assert by_secret.pull("alice/Hello", tmp_path / "yes").version == pushed.version
    assert by_secret.push(source).version == pushed.version


def test_an_identity_is_readable_by_its_owner_alone_and_made_once(tmp_path: Path, source: Path) -> None:
    alice = person(tmp_path, "alice")
    path = tmp_path / "homes/alice/identities/alice"
    text = path.read_text()
    alice.login("alice")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (text, 0o600)
    told = (alice.root / "alice/namespace.yaml").read_text()
    assert age.recipient_of(text.split()[-1]) in told
    assert text.split()[-1] not in told


def test_a_reader_opens_what_stood_before_he_was_one(source: Path, tmp_path: Path) -> None:
    alice, bob = person(tmp_path, "alice"), person(tmp_path, "bob")
    alice.push(source, seal=True, tags=["v1"])
    with pytest.raises(NotFound):
        bob.pull("alice/Hello:v1", tmp_path / "no")
    assert alice.share("alice/Hello", "bob").readers == ("bob",)
    assert read_tree(Path(bob.pull("alice/Hello:v1", tmp_path / "out").path)) == read_tree(source)
    assert [line.name for line in bob.list()] == ["alice/Hello"]
    assert bob.diff("alice/Hello:v1", str(source)).same


def test_who_is_a_reader_no_more_opens_nothing_that_follows_even_with_the_keys_of_before(
    source: Path, tmp_path: Path
) -> None:
    alice, bob = person(tmp_path, "alice"), person(tmp_path, "bob")
    alice.push(source, seal=True, tags=["v1"])
    alice.share("alice/Hello", "bob")
    keys = bob.session.locked(bob.session.resource("alice", "Hello"), None).keys
    assert alice.unshare("alice/Hello", "bob").readers == ()
    (source / "empty.txt").write_text("new")
    pushed = alice.push(source, tags=["v2"])
    for tag in ("v1", "v2"):
        with pytest.raises(NotFound):
            bob.pull(f"alice/Hello:{tag}", tmp_path / "no")
    with payload(alice, pushed).open("rb") as file, pytest.raises(age.NoKey):
        list(age.unseal(file, keys, "it"))
    assert alice.pull("alice/Hello:v1", tmp_path / "one").version
    assert alice.pull("alice/Hello:v2", tmp_path / "two").version


def test_a_reader_updates_shares_and_deletes_nothing(source: Path, tmp_path: Path) -> None:
    alice, bob, carol = (person(tmp_path, who) for who in ("alice", "bob", "carol"))
    alice.push(source, seal=True)
    alice.share("alice/Hello", "bob")
    before = snapshot(alice.root)
    for deed in (
        lambda: bob.push(source, "alice/Hello"),
        lambda: bob.share("alice/Hello", "carol"),
        lambda: bob.unshare("alice/Hello", "bob"),
        lambda: bob.delete("alice/Hello"),
        lambda: bob.tag("alice/Hello", "v2"),
    ):
        with pytest.raises(Denied):
            deed()
    assert snapshot(alice.root) == before
    with pytest.raises(NotFound):
        carol.show("alice/Hello")


@pytest.mark.parametrize(
    ("name", "error"), [("carol", NotFound), ("alice", UsageError), ("../x", UsageError), ("dave", NotFound)]
)
def test_what_cannot_be_shared_changes_nothing(source: Path, tmp_path: Path, name: str, error: type[LhubError]) -> None:
    """carol has told no key, dave is nobody."""
    alice = person(tmp_path, "alice")
    Registry(tmp_path / "registry", namespace="carol").login("carol")
    alice.push(source, seal=True)
    before = snapshot(alice.root)
    with pytest.raises(error):
        alice.share("alice/Hello", name)
    assert snapshot(alice.root) == before


def test_what_is_not_sealed_is_not_shared(source: Path, tmp_path: Path) -> None:
    alice, _ = person(tmp_path, "alice"), person(tmp_path, "bob")
    alice.push(source, "Open")
    alice.push(source, "Closed", private=True)
    for name in ("Open", "Closed"):
        with pytest.raises(Conflict, match="is not sealed"):
            alice.share(f"alice/{name}", "bob")


# what sealing refuses


def test_what_has_versions_in_clear_is_not_sealed_later(source: Path, tmp_path: Path) -> None:
    alice = person(tmp_path, "alice")
    alice.push(source)
    before = snapshot(alice.root)
    with pytest.raises(Conflict, match="has versions in clear"):
        alice.push(source, seal=True)
    assert snapshot(alice.root) == before


def test_what_is_sealed_is_not_made_public(source: Path, tmp_path: Path) -> None:
    alice = person(tmp_path, "alice")
    alice.push(source, seal=True)
    before = snapshot(alice.root)
    with pytest.raises(Conflict, match="sealed"):
        alice.push(source, public=True)
    with pytest.raises(Conflict, match="sealed"):
        alice.visibility("alice/Hello", "public")
    with pytest.raises(UsageError, match="exclude each other"):
        alice.push(source, "Other", public=True, seal=True)
    assert snapshot(alice.root) == before


def test_without_the_library_one_person_s_registry_keeps_it_in_clear_and_says_so(source: Path, tmp_path: Path) -> None:
    said: list[str] = []
    nobody = Registry(tmp_path / "registry", notes=said.append)
    with without_pyrage():
        pushed = nobody.push(source, private=True)
        ref = f"jinahub://Hello:{pushed.secret}"
        assert Path(nobody.path(ref), "executor.py").read_bytes() == (source / "executor.py").read_bytes()
    assert ["pyrage is not here" in sentence for sentence in said if "stored" in sentence] == [True]
    assert (pushed.sealed, stat.S_IMODE((nobody.root / "_/Hello").stat().st_mode)) == (False, 0o700)
    (source / "empty.txt").write_text("x")
    assert not nobody.push(source, "Hello", secret=pushed.secret).sealed  # as it began, so it goes on


def test_without_the_library_a_shared_registry_takes_no_secret_s_word_for_it(source: Path, tmp_path: Path) -> None:
    nobody = Registry(tmp_path / "registry")
    nobody.init(shared=True)
    before = snapshot(nobody.root)
    with without_pyrage():
        with pytest.raises(ToolMissing) as told:
            nobody.push(source, private=True)
        assert (told.value.code, told.value.hint) == (9, "pip install 'lhub[seal]'")
        assert snapshot(nobody.root) == before
        assert nobody.push(source).visibility == "public"
    alice = as_caller(nobody, "alice")
    with without_pyrage(), pytest.raises(ToolMissing):
        alice.push(source, seal=True)


def test_without_the_library_what_is_sealed_is_told_to_need_it(nobody: Registry, source: Path, tmp_path: Path) -> None:
    _, ref = sealed(nobody, source)
    age.recipient_of.cache_clear()
    with without_pyrage(), pytest.raises(ToolMissing, match="pyrage"):
        nobody.pull(ref, tmp_path / "out")


# what a hostile writer puts there


def rewritten(registry: Registry, name: str, change: Callable[[Seal], Seal]) -> None:
    path = registry.root / name / ".lhub/seal.yaml"
    path.write_bytes(change(Seal.read(path.read_bytes())).text())


def own_keys(seal: Seal) -> Seal:
    """What anybody can make who may write there: keys of his own, sealed for all whom it names."""
    mine = age.new_identity()
    forged = replace(seal, keys=age.seal_text(f"{mine}\n", seal.openers))
    return replace(forged, proof=forged.proven(mine))


def test_keys_that_another_sealed_for_one_are_not_taken_for_one_s_own(source: Path, tmp_path: Path) -> None:
    """Else what is pushed next would be sealed for him."""
    alice = person(tmp_path, "alice")
    pushed = alice.push(source, seal=True)
    by_secret = Registry(alice.root, namespace="alice", secret=pushed.secret, timeout=20)
    rewritten(alice, "alice/Hello", own_keys)
    before = snapshot(alice.root)
    for registry in (alice, by_secret):
        for deed in (lambda r: r.push(source), lambda r: r.pull("alice/Hello", tmp_path / "out")):
            with pytest.raises(Corrupt, match="not written by who has its keys"):
                deed(registry)
    assert snapshot(alice.root) == before


@pytest.mark.parametrize("secret", [SECRET, "sanity@Check"])
def test_a_forger_who_names_one_a_reader_is_not_believed_by_who_has_the_secret(
    nobody: Registry, source: Path, tmp_path: Path, secret: str
) -> None:
    """He knows recipients only; what he seals would be taken for what the secret has always opened."""
    bob = Registry(tmp_path / "bob", namespace="bob", home=home(tmp_path, "bob"), secret=secret)
    bob.login("bob")
    bob.push(source, "Other", seal=True)  # so that he has an identity
    _, ref = sealed(nobody, source, secret=secret)
    nobody.export(ref, path=tmp_path / "genuine.tar")
    theirs = age.recipient_of(bob.session.identities()[0])
    rewritten(nobody, "_/Hello", lambda seal: own_keys(replace(seal, readers={"zoe": theirs})))
    nobody.export(ref, path=tmp_path / "x.tar")
    before = snapshot(bob.root)
    with pytest.raises(Corrupt, match="not written by who has its keys"):
        bob.import_bundle(tmp_path / "x.tar", namespace="bob")
    assert snapshot(bob.root) == before
    assert bob.import_bundle(tmp_path / "genuine.tar", namespace="bob")


def test_a_reader_who_is_added_by_another_hand_is_noticed(source: Path, tmp_path: Path) -> None:
    alice = person(tmp_path, "alice")
    alice.push(source, seal=True)
    rewritten(alice, "alice/Hello", lambda seal: replace(seal, readers={"eve": age.recipient_of(SECRET)}))
    with pytest.raises(Corrupt):
        alice.push(source)


@pytest.mark.parametrize("keys", ["", " ", "garbage\n", "AGE-SECRET-KEY-1QQQ\n"])
def test_keys_that_are_none_are_a_sentence(source: Path, tmp_path: Path, keys: str) -> None:
    alice, bob = person(tmp_path, "alice"), person(tmp_path, "bob")
    alice.push(source, seal=True)
    alice.share("alice/Hello", "bob")
    rewritten(alice, "alice/Hello", lambda seal: replace(seal, keys=age.seal_text(keys, seal.openers)))
    with pytest.raises(Corrupt):
        alice.push(source)
    with pytest.raises(LhubError):
        bob.pull("alice/Hello", tmp_path / "out")
    assert bob.verify().checked >= 0


@pytest.mark.parametrize("recipient", ["age1x", "", "age1" + "q" * 58])
def test_a_recipient_that_is_none_is_a_sentence(source: Path, tmp_path: Path, recipient: str) -> None:
    alice = person(tmp_path, "alice")
    alice.push(source, seal=True)
    rewritten(alice, "alice/Hello", lambda seal: replace(seal, owner=recipient))
    with pytest.raises(LhubError):
        alice.push(write_tree(source, {"empty.txt": "x"}))


def test_a_header_without_an_end_costs_nobody_a_minute(source: Path, tmp_path: Path) -> None:
    hostile = b"age-encryption.org/v1\n-> foo bar\n" + (b"A" * 64 + b"\n") * 100_000
    begun = time.monotonic()
    with pytest.raises(Corrupt, match="no end"):
        list(age.unseal(io.BytesIO(hostile), [SECRET], "it"))
    assert age.unseal_text("x" * 60_000, [SECRET]) is None
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("sort", ["long", "chained"])
def test_a_tar_made_to_be_slow_is_refused_at_once(sort: str) -> None:
    info = tarfile.TarInfo("x")
    if sort == "long":
        info.type, info.size = tarfile.XHDTYPE, 1 << 20
        tar = info.tobuf(tarfile.USTAR_FORMAT) + b"1" * (1 << 20)
    else:
        info.pax_headers = {"comment": "x"}
        tar = info.tobuf(tarfile.PAX_FORMAT)[:1024] * 3000
    begun = time.monotonic()
    text = b"".join(age.seal([tar, bytes(20_000)], [age.recipient_of(SECRET)]))
    with pytest.raises(Corrupt), files(io.BytesIO(text), [SECRET], "it") as found:
        list(found)
    assert time.monotonic() - begun < 5


def test_another_s_seal_is_not_taken_into_one_s_own_namespace(source: Path, tmp_path: Path) -> None:
    """He would read all that is pushed to it there."""
    alice, bob = person(tmp_path, "alice"), person(tmp_path, "bob")
    pushed = bob.push(source, seal=True)
    bob.share("bob/Hello", "alice")
    bob.export("bob/Hello", path=tmp_path / "x.tar")
    before = snapshot(alice.root)
    with pytest.raises(Denied, match="sealed for another owner"):
        alice.import_bundle(tmp_path / "x.tar", namespace="alice")
    assert snapshot(alice.root) == before
    there = Registry(tmp_path / "there", namespace="alice", secret=pushed.secret, timeout=20)
    there.login("alice")
    assert there.import_bundle(tmp_path / "x.tar", namespace="alice")  # who has its secret may take it


@pytest.mark.parametrize("text", ["", "garbage\n", "AGE-SECRET-KEY-1AAAA\n"])
def test_an_identity_that_is_damaged_is_told_with_its_place_and_stops_nothing_else(
    source: Path, tmp_path: Path, text: str
) -> None:
    alice = person(tmp_path, "alice")
    alice.push(source, seal=True)
    alice.push(source, "Open")
    (tmp_path / "homes/alice/identities/alice").write_text(text)
    assert [line.name for line in alice.list()] == ["alice/Hello", "alice/Open"]
    assert alice.pull("alice/Open", tmp_path / "open").version
    with pytest.raises(Corrupt, match="identities/alice holds no identity"):
        alice.pull("alice/Hello", tmp_path / "out")


def test_what_was_lost_of_it_by_a_copy_by_hand_comes_back_or_is_refused(source: Path, tmp_path: Path) -> None:
    alice, bob = person(tmp_path, "alice"), person(tmp_path, "bob")
    alice.push(source, seal=True)
    place = alice.root / "alice/Hello"
    place.chmod(0o755)
    with pytest.raises(NotFound):
        bob.show("alice/Hello")
    assert ["should be 1755" in oddity.hint for oddity in alice.doctor() if oddity.path == "alice/Hello"] == [True]
    alice.push(source)
    assert stat.S_IMODE(place.stat().st_mode) == 0o1755
    place.chmod(0o755)
    (place / ".lhub/seal.yaml").unlink()
    for deed in (lambda: alice.push(source), lambda: alice.visibility("alice/Hello", "public"),
                 lambda: alice.copy("alice/Hello", to=tmp_path / "there")):  # fmt: skip
        with pytest.raises(Corrupt, match=r"its seal\.yaml is not there"):
            deed()


def test_unchanged_content_stays_its_version_when_somebody_is_a_reader_no_more(source: Path, tmp_path: Path) -> None:
    alice, _ = person(tmp_path, "alice"), person(tmp_path, "bob")
    pushed = alice.push(source, seal=True, protected_tags=["v1"])
    alice.share("alice/Hello", "bob")
    alice.unshare("alice/Hello", "bob")
    assert alice.push(source, protected_tags=["v1"]).version == pushed.version
    with pytest.raises(UsageError):
        alice.unshare("alice/Hello", "alice")


def test_what_is_sealed_is_found_by_its_words_by_who_has_the_key(source: Path, tmp_path: Path) -> None:
    alice, bob = person(tmp_path, "alice"), person(tmp_path, "bob")
    alice.push(source, seal=True)
    assert [found.name for found in alice.search(MARK)] == ["alice/Hello"]
    assert (alice.search("payload"), bob.search(MARK)) == ([], [])


# everything else works on it


def test_it_travels_sealed_and_opens_there(nobody: Registry, source: Path, tmp_path: Path) -> None:
    pushed, ref = sealed(nobody, source)
    nobody.export(ref, path=tmp_path / "x.tar")
    assert MARK.encode() not in (tmp_path / "x.tar").read_bytes()
    there, copied = Registry(tmp_path / "there"), tmp_path / "copied"
    there.init()
    there.import_bundle(tmp_path / "x.tar")
    nobody.copy(ref, to=copied)
    for number, registry in enumerate((there, Registry(copied))):
        pulled = registry.pull(ref, tmp_path / f"out{number}")
        assert (pulled.version, read_tree(Path(pulled.path))) == (pushed.version, read_tree(source))
        with pytest.raises(NotFound):
            registry.pull("jinahub://Hello", tmp_path / "no")
        (source / "empty.txt").write_text(f"{number}")
        assert registry.push(source, "Hello", secret=str(pushed.secret)).new
        (source / "empty.txt").write_text("")


def test_it_is_deleted_restored_rolled_back_collected_and_repaired_as_any(source: Path, tmp_path: Path) -> None:
    alice = person(tmp_path, "alice")
    first = alice.push(source, seal=True)
    (source / "empty.txt").write_text("x")
    alice.push(source)
    assert alice.rollback("alice/Hello", str(first.version))
    alice.delete("alice/Hello")
    alice.restore("alice/Hello")
    alice.rename("alice/Hello", "Other")
    assert alice.verify().ok
    assert [oddity for oddity in alice.doctor() if "root" not in oddity.problem] == []
    assert read_tree(Path(alice.pull("alice/Other", tmp_path / "out").path))["empty.txt"] == b""
    alice.copy("alice/Other", to=tmp_path / "backup")
    flip(alice, replace(first, name="alice/Other"), 300)
    assert alice.verify(repair=True, good=str(tmp_path / "backup")).ok
    assert read_tree(Path(alice.pull("alice/Other", tmp_path / "again").path))["empty.txt"] == b""


def test_what_was_in_the_clear_for_a_moment_has_no_name(
    nobody: Registry, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    _, ref = sealed(nobody, source)
    with nobody.opened(ref) as version, version.file("executor.py") as descriptor:
        assert os.read(descriptor, 10_000) == (source / "executor.py").read_bytes()
        assert os.listdir(place) == []


def typed(shell: Shell, keys: str, *words: str) -> Answer:
    """lhub at a terminal where somebody types this, once he is asked for a SECRET."""
    person, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "lhub", *words], stdin=terminal, cwd=shell.cwd, env=shell.environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    ) as lhub:  # fmt: skip
        assert lhub.stderr is not None
        said = b""
        while keys and (more := lhub.stderr.read(1)):
            said += more
            if said.endswith(b"SECRET: "):
                time.sleep(0.2)  # until the echo is off
                os.write(person, keys.encode())
                break
        out, err = lhub.communicate(timeout=60)
    os.close(person)
    os.close(terminal)
    return Answer(code=lhub.returncode, out=out.decode(), err=(said + err).decode())


def test_who_types_a_secret_is_told_how_to_hide_it_and_may_be_asked(shell: Shell, source: Path) -> None:
    asked = typed(shell, "correct-horse-battery\n", "push", str(source), "--private", "--secret", "-")
    assert (asked.code, "SECRET: correct-horse-battery" in asked.out, "keeps" in asked.err) == (0, True, False)
    assert asked.err.count("correct") == 0
    for words in (
        ["push", str(source), "--force-update", "Hello", "--secret", "correct-horse-battery"],
        ["pull", "jinahub://Hello:correct-horse-battery", "out"],
    ):
        told = typed(shell, "", *words)
        assert (told.code, "LHUB_SECRET" in told.err, "correct" in told.err) == (0, True, False), told.err
    odd = shell("pull", "Hello", "odd", LHUB_SECRET="a b")
    assert (odd.code, "LHUB_SECRET is no secret" in odd.err, "a b" in odd.err) == (2, True, False)
    hidden = shell("pull", "Hello", "again", LHUB_SECRET="correct-horse-battery")
    assert (hidden.code, hidden.err) == (0, "")


SPEND = """
import resource, sys
from lhub.registry import Registry
registry = Registry(sys.argv[1], namespace="alice", home=sys.argv[1] + "-home", timeout=20)
registry.login("alice")
registry.push(sys.argv[2], "alice/large", seal=True)
registry.pull("alice/large", sys.argv[2] + ".out")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_a_gibibyte_goes_in_and_out_without_a_gibibyte_of_memory(tmp_path: Path) -> None:
    spent = []
    for size in (1 << 20, 1 << 30):
        large = tmp_path / f"large{size}"
        with large.open("wb") as file:
            file.truncate(size)
        words = [sys.executable, "-c", SPEND, str(tmp_path / f"registry{size}"), str(large)]
        spent.append(int(subprocess.run(words, capture_output=True, text=True, check=True, cwd=PROJECT).stdout))
        assert (tmp_path / f"large{size}.out").stat().st_size == size
        for path in (large, tmp_path / f"large{size}.out"):
            path.unlink()
    assert (spent[1] - spent[0]) * 1024 < 64 << 20


# crashes, and others


def pushes(place: Path, source: Path, pen: Ruler | None = None) -> None:
    Registry(place, pen=pen, timeout=20).push(source, "Hello", private=True, secret=SECRET)


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False])
def test_a_kill_at_any_step_leaves_the_old_or_the_new_and_nothing_in_clear(
    tmp_path: Path, source: Path, first: bool
) -> None:
    origin, steps = tmp_path / "origin", Ruler()
    Registry(origin).init()
    old, new = read_tree(source), {**read_tree(source), "empty.txt": b"new"}
    if not first:
        pushes(origin, source)
        (source / "empty.txt").write_text("new")
    measured = tmp_path / "measured"
    shutil.copytree(origin, measured, symlinks=True)
    pushes(measured, source, steps)
    for number in range(1, len(steps.steps) + 1):
        place = tmp_path / f"{number}"
        shutil.copytree(origin, place, symlinks=True)
        in_a_child(partial(pushes, place, source, Ruler(number, kill)))
        registry = Registry(place, timeout=20)
        with suppress(NotFound):
            left = read_tree(Path(registry.pull(f"jinahub://Hello:{SECRET}", tmp_path / f"left{number}").path))
            assert left in (old, new), steps.steps[number - 1]
        assert search(place, MARK) == [], steps.steps[number - 1]
        again = registry.push(source, "Hello", private=True, secret=SECRET)
        assert registry.pull(f"jinahub://Hello:{SECRET}", tmp_path / f"out{number}").version == again.version
        assert registry.verify().ok, steps.steps[number - 1]
        assert list(place.rglob(".tmp.*")) == [], steps.steps[number - 1]


@pytest.mark.parametrize("verb", [pytest.param("share", marks=pytest.mark.slow), "unshare"])
def test_a_kill_while_it_is_shared_leaves_it_shared_or_not(tmp_path: Path, source: Path, verb: str) -> None:
    alice, bob = person(tmp_path, "alice"), person(tmp_path, "bob")
    alice.push(source, seal=True)
    if verb == "unshare":
        alice.share("alice/Hello", "bob")
    ruler = Ruler()
    stood = tmp_path / "stood"
    shutil.copytree(alice.root, stood, symlinks=True)
    deed = lambda registry: getattr(registry, verb)("alice/Hello", "bob")  # noqa: E731
    deed(_at(alice, alice.root, ruler))
    for number in range(1, len(ruler.steps) + 1):
        place = tmp_path / f"{number}"
        shutil.copytree(stood, place, symlinks=True)
        in_a_child(partial(deed, _at(alice, place, Ruler(number, kill))))
        mine, his = _at(alice, place), _at(bob, place)
        assert mine.pull("alice/Hello", tmp_path / f"mine{number}").version
        readers = mine.shared("alice/Hello").readers
        opens = bool([line for line in his.list() if line.name == "alice/Hello"])
        assert opens == ("bob" in readers), ruler.steps[number - 1]
        with suppress(NotFound):
            deed(mine)
        assert mine.shared("alice/Hello").readers == (("bob",) if verb == "share" else ())


def _at(registry: Registry, place: Path, pen: Ruler | None = None) -> Registry:
    session = registry.session
    return Registry(place, namespace=session.caller, home=session.home, pen=pen, timeout=20)


def test_two_first_pushes_at_once_are_sealed_by_one_seal(tmp_path: Path, source: Path) -> None:
    person(tmp_path, "alice")

    def push(number: int) -> None:
        Registry(tmp_path / "registry", namespace="alice", home=home(tmp_path, "alice"), timeout=20).push(
            write_tree(tmp_path / f"src{number}", {**FILES, "empty.txt": f"{number}"}), seal=True, tags=[f"t{number}"]
        )

    assert crowds.together(*(partial(push, number) for number in range(4))) == [0] * 4
    alice = person(tmp_path, "alice")
    for number in range(4):
        pulled = Path(alice.pull(f"alice/Hello:t{number}", tmp_path / f"out{number}").path)
        assert (pulled / "empty.txt").read_text() == f"{number}"
    assert alice.verify().ok


@pytest.mark.parametrize("meanwhile", ["deleted", "shared"])
def test_a_push_that_meets_it_changed_begins_anew_and_stays_sealed(
    tmp_path: Path, source: Path, meanwhile: str
) -> None:
    """Deleted, it is made anew, with a new secret; shared no more, it is sealed by the new key."""
    alice, bob = person(tmp_path, "alice"), person(tmp_path, "bob")
    alice.push(source, seal=True)
    alice.share("alice/Hello", "bob")
    keys = bob.session.locked(bob.session.resource("alice", "Hello"), None).keys
    (source / "empty.txt").write_text("new")

    def change() -> None:
        alice.delete("alice/Hello") if meanwhile == "deleted" else alice.unshare("alice/Hello", "bob")

    pen = Hooked(lambda verb, path: verb == "write_new" and path.endswith("SHA256SUMS"), change)
    slow = Registry(alice.root, namespace="alice", home=home(tmp_path, "alice"), pen=pen, timeout=20)
    pushed = slow.push(source)
    assert (pen.done, pushed.sealed, pushed.visibility) == (True, True, "private")
    assert (pushed.secret is not None) == (meanwhile == "deleted")
    assert search(alice.root / "alice/Hello", MARK) == []
    assert alice.pull("alice/Hello", tmp_path / "out").version == pushed.version
    with payload(alice, pushed).open("rb") as file, pytest.raises(age.NoKey):
        list(age.unseal(file, keys, "it"))


@pytest.fixture
def three(shared: Path) -> Iterator[Callable[..., object]]:
    """Three users of the machine at a shared registry: what one does, and what it answers."""
    Registry(shared / "registry").init(shared=True)
    source = write_tree(shared / "source", FILES)
    for path in [source, *source.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    for uid in (20001, 20002, 20003):
        (shared / f"home{uid}").mkdir()
        os.chown(shared / f"home{uid}", uid, uid)

    def does(uid: int, deed: Callable[[Registry, Path], object], *, named: bool = True) -> object:
        def work() -> object:
            own = shared / f"home{uid}"
            registry = Registry(
                shared / "registry", namespace=f"user{uid}" if named else None, home=str(own / ".lhub"), timeout=20
            )
            if named:
                registry.login(f"user{uid}")
            return deed(registry, own)

        return as_user(shared, uid, work)

    yield does


@needs_root
def test_three_users_read_from_the_disk_what_their_keys_open_and_no_more(
    three: Callable[..., object], shared: Path
) -> None:
    """Not through lhub: each reads every file that the kernel gives him, and tries the keys that lie in his home."""
    alice, bob, carol = 20001, 20002, 20003
    for uid in (bob, carol):
        three(uid, lambda registry, own: None)
    secret = three(alice, lambda registry, own: registry.push(shared / "source", seal=True).secret)
    unnamed = three(alice, lambda registry, own: registry.push(shared / "source", private=True).secret, named=False)
    three(alice, lambda registry, own: registry.share("user20001/Hello", "user20002").to_dict())

    def reads(registry: Registry, own: Path) -> list[str]:
        keys = [path.read_text().split()[-1] for path in (own / ".lhub/identities").iterdir()]
        return sorted(opened(shared / "registry", keys))

    assert three(alice, reads) == ["user20001/Hello"]
    assert three(bob, reads) == ["user20001/Hello"]
    assert three(carol, reads) == []
    by_secret = [sorted(opened(shared / "registry", [str(key)])) for key in (secret, unnamed)]
    assert by_secret == [["user20001/Hello"], ["_/Hello"]]
    assert three(carol, lambda registry, own: in_clear(shared / "registry")) == []
    pulled = three(carol, lambda registry, own: registry.pull(f"jinahub://Hello:{unnamed}", own / "out").name)
    assert pulled == "Hello"
    assert three(carol, lambda registry, own: [line.name for line in registry.list()]) == []


def opened(root: Path, keys: list[str]) -> set[str]:
    """The resources whose payload opens by these keys, or by what opens by them."""
    found = set()
    for path in root.glob("*/*/.lhub/seal.yaml"):
        known = [*keys, *str(age.unseal_text(Seal.read(path.read_bytes()).keys, keys) or "").split()]
        for payload in path.parent.glob("versions/*/files/payload.age"):
            with payload.open("rb") as file, suppress(age.NoKey):
                assert MARK.encode() in b"".join(age.unseal(file, known, "it"))
                found.add("/".join(path.parts[-4:-2]))
    return found


def in_clear(root: Path) -> list[str]:
    """Every file that may be read and has the mark in it."""
    found = []
    for folder, _, names in os.walk(root):
        for name in names:
            with suppress(PermissionError, FileNotFoundError):
                if MARK.encode() in Path(folder, name).read_bytes() or MARK in name:
                    found.append(f"{folder}/{name}")
    return found
