"""A session: one person at one registry, or at several; what he may ask, and where it is found."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lhub.errors import Conflict, Corrupt, Denied, LhubError, NotFound, UsageError
from lhub.identity import person
from lhub.names import Ref, parse_ref
from lhub.registry import Registry
from lhub.session import Session, first_of
from lhub.spaces import claim, claim_unnamed, make_root, swept
from lhub.store import Resource, Vanished
from tests.conftest import snapshot, write_tree
from tests.test_order import as_nobody

QUICK: dict[str, str | bytes] = {".gitignore": "# one of its own is quicker to read than the built-in list\n"}


@pytest.fixture
def session(registry: Registry) -> Session:
    """alice at an empty registry."""
    return registry.session


@pytest.fixture
def version(registry: Registry, tmp_path: Path) -> str:
    """alice/X with one version, v1 and latest."""
    return registry.push(write_tree(tmp_path / "src", QUICK | {"a": "1"}), "X", tags=["v1", "latest"]).version


def at(root: Path, caller: str | None = "alice", notes: Callable[[str], None] = lambda sentence: None) -> Session:
    return Session(root=str(root), caller=caller, person=person(), notes=notes)


# the registry


def test_where_nothing_is_there_is_no_registry_and_none_is_made_by_looking(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no registry at") as told:
        at(tmp_path / "new").read_root()
    assert told.value.hint == f"lhub init {tmp_path}/new"
    assert os.listdir(tmp_path) == []


def test_a_folder_without_registry_yaml_is_no_registry(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"is not a registry, it has no registry\.yaml"):
        at(tmp_path).read_root()


def test_a_file_is_no_registry(tmp_path: Path) -> None:
    write_tree(tmp_path, {"file": "x"})
    with pytest.raises(UsageError, match="is not a folder"):
        at(tmp_path / "file").read_root()


@pytest.mark.parametrize(
    "text",
    [b"", b"format: 2\n", b"format: one\n", b"[", b"format: 1\nformat: 1\n", b"\xff", b"x" * 100_000, b"a: &a [*a]\n"],
)
def test_a_registry_yaml_that_is_not_ours_is_one_sentence(session: Session, text: bytes) -> None:
    Path(session.folder.file).write_bytes(text)
    with pytest.raises(LhubError) as told:
        session.read_root()
    assert (type(told.value) is not NotFound, str(told.value).isprintable()) == (True, True)


@pytest.mark.parametrize("kind", ["fifo", "link", "folder"])
def test_a_registry_yaml_that_is_no_file_hangs_nobody(session: Session, kind: str) -> None:
    file = Path(session.folder.file)
    aside = file.rename(file.parent / "aside")
    {"fifo": lambda: os.mkfifo(file), "link": lambda: file.symlink_to(aside), "folder": file.mkdir}[kind]()
    with pytest.raises(Corrupt):
        session.read_root()


def test_a_registry_is_made_once(tmp_path: Path) -> None:
    said: list[str] = []
    session = at(tmp_path / "new", notes=said.append)
    assert (make_root(session), make_root(session)) == (True, False)
    assert said == [f"made the registry {tmp_path}/new"]
    assert stat.S_IMODE(os.stat(tmp_path / "new").st_mode) == 0o755


def test_no_registry_is_made_without_a_parent_or_among_other_things(tmp_path: Path) -> None:
    write_tree(tmp_path, {"mine/thesis.txt": "x"})
    with pytest.raises(NotFound, match=r"cannot be made, .* is not there"):
        make_root(at(tmp_path / "no/new"))
    with pytest.raises(Conflict, match="holds other things and is not a registry"):
        make_root(at(tmp_path / "mine"))
    assert os.listdir(tmp_path / "mine") == ["thesis.txt"]


def test_scratch_of_one_s_own_is_swept_and_all_else_stays(session: Session) -> None:
    place = write_tree(Path(session.root), {".tmp.dead": "x", "README": "x", ".tmp": "x"})
    assert set(swept(session, session.root)) == set(os.listdir(place)) == {"README", ".tmp", "alice", "registry.yaml"}


def test_no_two_names_for_scratch_are_one(session: Session) -> None:
    names = {session.unique() for _ in range(1000)}
    assert len(names) == 1000
    assert all("/" not in name and " " not in name and len(name) < 100 for name in names)


@pytest.mark.parametrize("host", ["a/b", "../..", "x" * 300, "", "é\n", "\x1b[31m"])
def test_no_name_of_a_host_leads_out_of_a_folder(session: Session, host: str) -> None:
    name = replace(session, person=session.person._replace(host=host)).unique()
    assert (os.path.basename(name), name.isprintable()) == (name, True)


# namespaces


@pytest.mark.parametrize("name", ["_", "..", "a/b", "", "con", ".x", "x.lock"])
def test_what_is_no_name_is_claimed_by_nobody(session: Session, name: str) -> None:
    before = snapshot(Path(session.root))
    with pytest.raises(UsageError):
        claim(session, name)
    assert snapshot(Path(session.root)) == before


def test_a_namespace_that_differs_only_by_case_is_refused(session: Session) -> None:
    with pytest.raises(Conflict, match="Alice differs only by case from alice"):
        claim(session, "Alice")


def test_a_namespace_is_claimed_again_by_its_owner(session: Session) -> None:
    before = snapshot(Path(session.root))
    claim(session, "alice")
    assert snapshot(Path(session.root)) == before


@pytest.mark.parametrize("what", ["link", "file", "fifo"])
def test_what_stands_in_place_of_a_namespace_belongs_to_nobody(session: Session, tmp_path: Path, what: str) -> None:
    place = Path(session.root) / "bob"
    {"link": lambda: place.symlink_to(tmp_path), "file": place.touch, "fifo": lambda: os.mkfifo(place)}[what]()
    assert not session.owns("bob")
    assert not session.is_space("bob")
    with pytest.raises(LhubError):
        claim(replace(session, caller="bob"), "bob")
    assert not (tmp_path / "namespace.yaml").exists()


def test_namespaces_are_told_in_order_and_what_is_none_is_passed_over(registry: Registry, tmp_path: Path) -> None:
    claim_unnamed(registry.session)
    for name in ("zoe", "bob"):
        registry.login(name)
    write_tree(registry.root, {"a b/x": "", "file": "", ".hidden/x": ""})
    (registry.root / "link").symlink_to(tmp_path)
    assert list(registry.session.spaces()) == [None, "alice", "bob", "zoe"]


def test_one_s_own_is_the_namespace_of_the_login_only(registry: Registry, version: str) -> None:
    assert registry.session.place("alice", "X").own
    assert not replace(registry.session, caller="bob").place("alice", "X").own
    assert not replace(registry.session, caller=None).place("alice", "X").own


# what a reference means


@pytest.mark.parametrize("ref", ["alice/X", "alice/X:v1", "lhub://alice/X:v1", "alice/X@{2199-01-01}", "alice/X@{}"])
def test_a_reference_means_one_version(session: Session, version: str, ref: str) -> None:
    with session.reading(parse_ref(ref.replace("@{}", f"@{version[:8]}"))) as opened:
        assert opened.id == version


@pytest.mark.parametrize(
    "ref", ["alice/X:v9", "alice/X@0123456789", "alice/Y", "bob/X", "X", "jinahub://X", "alice/X@{2001-01-01}"]
)
def test_what_is_not_here_is_not_found(session: Session, version: str, ref: str) -> None:
    with pytest.raises(NotFound):
        session.find(parse_ref(ref))


def test_an_executor_is_asked_for_and_files_are_not_one(session: Session, version: str) -> None:
    with pytest.raises(NotFound, match="alice/X holds files, not an Executor") as told:
        session.find(parse_ref("jinaai://alice/X"))
    assert "lhub://alice/X" in told.value.hint


def test_an_image_that_there_is_not_hints_at_its_source(registry: Registry, hello: Path) -> None:
    registry.push(hello)
    with pytest.raises(NotFound, match="has no container image") as told:
        registry.session.find(parse_ref("jinaai+docker://alice/Hello:v1"))
    assert told.value.hint == "alice/Hello:v1 is its source"


def test_a_version_that_is_collected_between_two_looks_is_sought_again(
    registry: Registry, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tag moves and what it named is collected, after the tag was read."""
    opened, ref = Resource.opened, parse_ref("alice/X")
    calls: list[str] = []

    def meddling(self: Resource, wanted: str, **how: bool) -> object:
        calls.append(wanted)
        if len(calls) == 1:
            registry.push(write_tree(tmp_path / "src", {"a": "2"}), "X")
            registry.session.pen.remove_tree(self.folder.version(version).path)
        return opened(self, wanted, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Resource, "opened", meddling)
        with registry.session.reading(ref) as found:
            assert found.id != version
    assert calls[0] == version


def test_a_version_that_is_gone_for_good_is_told_after_three_looks(registry: Registry, version: str) -> None:
    registry.session.pen.remove_tree(f"{registry.root}/alice/X/.lhub/versions/{version}")
    with pytest.raises(Vanished, match="is named, but it is not there"), registry.session.reading(parse_ref("alice/X")):
        pass


def test_an_error_of_the_reader_is_not_taken_for_a_version_that_vanished(session: Session, version: str) -> None:
    reads = []
    with pytest.raises(Vanished), session.reading(parse_ref("alice/X")):
        reads.append(1)
        raise Vanished("of somebody else's")
    assert reads == [1]


def test_a_name_that_differs_only_by_case_from_one_that_stands_is_a_twin(session: Session, version: str) -> None:
    with pytest.raises(Conflict, match="x differs only by case from X"):
        session.no_twin("alice", "x")
    session.no_twin("alice", "X")
    session.no_twin("alice", "Y")
    session.no_twin("nobody", "x")


# what is hidden


def test_the_facts_of_a_hidden_resource_tell_nothing_of_what_it_holds(registry: Registry, version: str) -> None:
    registry.visibility("alice/X", "private")
    (registry.root / "alice/X/resource.yaml").write_text("kind: [\n")
    place = replace(registry.session, caller="bob").place("alice", "X")
    assert (place.private, place.own, place.kind) == (True, False, "executor")


def test_a_registry_that_may_not_be_read_is_denied_by_its_name(square: Path) -> None:
    root = square / "registry"
    make_root(at(root))
    root.chmod(0o700)

    def deed() -> None:
        with pytest.raises(Denied, match="may not be read by you"):
            at(root, "bob").read_root()

    assert as_nobody(deed) == 0


def test_another_user_s_namespace_is_not_claimed_and_not_one_s_own(square: Path) -> None:
    session = at(square / "registry")
    claim(session, "alice")

    def deed() -> None:
        theirs = at(square / "registry")
        assert not theirs.owns("alice")
        assert not theirs.place("alice", "X").own
        for name, words in (("alice", "belongs to somebody else"), ("bob", "you may not make the namespace bob")):
            with pytest.raises(Denied, match=words):
                claim(theirs, name)

    assert as_nobody(deed) == 0


# several registries


def answering(answers: dict[str, object]) -> Callable[[Session], object]:
    """A question to which each registry answers or raises what is given by its root's name."""

    def read(session: Session) -> object:
        answer = answers[Path(session.root).name]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return read


@pytest.fixture
def three(tmp_path: Path) -> tuple[list[Session], list[str]]:
    """Three sessions, and what they say."""
    said: list[str] = []
    return [at(tmp_path / name, notes=said.append) for name in ("a", "b", "c")], said


MISSING = NotFound("alice/X is not here")


@pytest.mark.parametrize(
    ("answers", "expected", "root"),
    [
        ({"a": 1, "b": 2, "c": 3}, 1, "a"),
        ({"a": MISSING, "b": 2, "c": 3}, 2, "b"),
        ({"a": MISSING, "b": MISSING, "c": 3}, 3, "c"),
        ({"a": None, "b": 2, "c": 3}, None, "a"),
        ({"a": 0, "b": 2, "c": 3}, 0, "a"),
    ],
)
def test_the_first_that_has_it_answers_and_says_so(
    three: tuple[list[Session], list[str]], answers: dict[str, object], expected: object, root: str
) -> None:
    sessions, said = three
    assert first_of(sessions, "alice/X", answering(answers)) == expected
    assert [sentence.split("/")[-1] for sentence in said] == [root]
    assert said[0].startswith("alice/X is from ")


@pytest.mark.parametrize("error", [Denied("no"), Corrupt("bad"), UsageError("odd"), OSError(5, "Input/output error")])
def test_what_is_wrong_in_one_is_not_covered_by_the_next(
    three: tuple[list[Session], list[str]], error: Exception
) -> None:
    with pytest.raises(type(error)):
        first_of(three[0], "alice/X", answering({"a": error, "b": 2, "c": 3}))
    assert three[1] == []


def test_where_none_has_it_the_first_answers(three: tuple[list[Session], list[str]]) -> None:
    answers = {name: NotFound(f"not in {name}") for name in "abc"}
    with pytest.raises(NotFound, match="not in a"):
        first_of(three[0], "alice/X", answering({**answers}))
    assert three[1] == []


def test_of_one_registry_nothing_is_said(three: tuple[list[Session], list[str]]) -> None:
    assert first_of(three[0][:1], "alice/X", answering({"a": 1})) == 1
    assert three[1] == []


def test_no_registry_at_all_is_one_sentence() -> None:
    with pytest.raises(NotFound, match="no registry was named"):
        first_of([], "alice/X", lambda session: session)


def test_a_secret_is_not_told_with_where_something_is_from(three: tuple[list[Session], list[str]]) -> None:
    ref = Ref(resource="X", scheme="jinahub", secret="Zq7Zq7")
    first_of(three[0], ref, answering({"a": 1}))
    assert three[1][0].startswith("jinahub://X is from ")
