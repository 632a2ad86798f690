"""Deletion: one rename takes a resource away, another brings it back as it was, and nobody comes between the two."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lhub.errors import Conflict, Corrupt, Denied, LhubError, NotFound, UsageError
from lhub.registry import Registry
from tests import test_collection as collection
from tests import test_crowds as crowds
from tests.conftest import as_caller, by_hand, config_yml, executor_py, read_tree, snapshot, write_tree
from tests.test_collection import DAY, as_user, gc, later, meanwhile
from tests.test_crowds import needs_root, together
from tests.test_lock import held_elsewhere
from tests.test_staging import Hooked

SECRET = "sesame-sesame"
OWN: dict[str, str | bytes] = {".gitignore": ""}
"""An ignore list, since another user may not read where Python finds the built-in one."""
EXECUTOR = OWN | {"config.yml": config_yml("X"), "executor.py": executor_py("X")}
shared, team = crowds.shared, collection.team


@pytest.fixture(autouse=True)
def _cheap_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lhub.verifier._N", 2)  # a secret's cost is not what is measured here


@pytest.fixture
def trash(registry: Registry) -> Path:
    return registry.root / "alice/.trash"


@pytest.fixture
def place(registry: Registry, tmp_path: Path) -> Path:
    """`alice/X` with a text, a tag and a protected tag; its folder."""
    push(registry, "first", tags=["latest", "v1"], protected_tags=["v2"])
    return registry.root / "alice/X"


def push(registry: Registry, text: str, name: str = "X", **options: Any) -> str:
    """Push a folder with this text; its version."""
    folder = write_tree(registry.root.parent / f"src-{threading.get_ident()}-{os.getpid()}", OWN | {"a.txt": text})
    return registry.push(folder, name, **options).version


def text(registry: Registry, ref: str = "alice/X") -> str:
    with registry.opened(ref) as version, version.file("a.txt") as descriptor:
        return os.read(descriptor, 100).decode()


def at(registry: Registry, moment: float) -> Registry:
    """The same registry for who has this on his clock."""
    moved = as_caller(registry, registry.session.caller)
    moved.session = replace(moved.session, clock=lambda: moment)
    return moved


def delete(registry: Registry, name: str = "alice/X") -> None:
    registry.delete(name, unprotect=registry.show(name).protected_tags)


def without_diary(folder: Path) -> dict[str, tuple[int, bytes | str]]:
    """What a resource is, but for what tells of it."""
    told = ("history.git/objects", "history.git/refs", ".lhub/recorded.json", ".lhub/lock")
    return {name: it for name, it in snapshot(folder).items() if not any(part in name for part in told)}


# away and back


def test_a_resource_that_is_restored_is_as_it_was(registry: Registry, place: Path) -> None:
    before, shown = without_diary(place), registry.show("alice/X")
    stamps = {path: path.lstat().st_mtime_ns for path in place.rglob("*") if "history.git" not in str(path)}
    delete(registry)
    registry.restore("alice/X")
    assert without_diary(place) == before
    assert registry.show("alice/X") == shown
    assert {path for path, stamp in stamps.items() if path.lstat().st_mtime_ns != stamp} <= {
        place / ".lhub",
        place / ".lhub/versions",
        place / ".lhub/recorded.json",
        place / ".lhub/lock",
    }
    assert registry.verify().ok


def test_the_diary_tells_of_deletion_and_return(registry: Registry, place: Path) -> None:
    delete(registry)
    registry.restore("alice/X")
    assert [(entry.action, entry.name) for entry in registry.log("alice/X")][:2] == [
        ("restore", "alice"),
        ("delete", "alice"),
    ]
    then = registry.log_at("alice/X", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    assert sorted(then.tags) == ["latest", "v1", "v2"]


def test_what_is_deleted_is_seen_by_nobody(registry: Registry, place: Path, tmp_path: Path) -> None:
    version = registry.show("alice/X").version
    delete(registry)
    questions: list[Callable[[str], object]] = [
        registry.path,
        lambda ref: registry.pull(ref, tmp_path / "pulled"),
        registry.show,
        registry.log,
        registry.visibility,
        lambda ref: registry.tag(ref, "v3"),
        lambda ref: registry.untag(ref, "v1"),
        lambda ref: registry.rollback(ref, "v1"),
        registry.delete,
    ]
    for ref in ("alice/X", f"alice/X@{version}"):
        for ask in questions:
            with pytest.raises((NotFound, UsageError)) as refused:
                ask(ref)
            assert (
                refused.type is NotFound
                or "is a version" in str(refused.value)
                or "names a version" in str(refused.value)
            )
    assert (registry.list(), registry.search("X"), registry.verify().checked) == ([], [], 0)
    assert [oddity for oddity in registry.doctor() if "trash" in oddity.path] == []


@pytest.mark.parametrize("name", ["alice/X@12345678", "alice/X@{2020-01-01}"])
def test_only_a_tag_or_a_resource_as_it_stands_is_deleted(registry: Registry, place: Path, name: str) -> None:
    before = snapshot(registry.root)
    with pytest.raises(UsageError):
        registry.delete(name)
    assert snapshot(registry.root) == before


@pytest.mark.parametrize("unprotect", [[], ["v1"], ["v2", "v1"], ["v2", "v9"], ["V2"]])
def test_a_resource_goes_only_with_each_of_its_protected_tags_named(
    registry: Registry, place: Path, unprotect: list[str]
) -> None:
    before = snapshot(registry.root)
    with pytest.raises((Conflict, NotFound)):
        registry.delete("alice/X", unprotect=unprotect)
    assert snapshot(registry.root) == before


def test_a_resource_whose_tag_is_protected_while_one_is_asked_stays(registry: Registry, place: Path) -> None:
    with pytest.raises(Conflict, match="v3"):
        registry.delete(
            "alice/X", unprotect=["v2"], confirm=lambda name: registry.tag(name, "v3", protect=True) and None
        )
    assert text(registry, "alice/X:v3") == "first"


def test_a_resource_stays_whose_name_was_not_typed(registry: Registry, place: Path) -> None:
    before = snapshot(registry.root)

    def refuse(name: str) -> None:
        raise UsageError(f"{name} was not typed")

    with pytest.raises(UsageError, match="alice/X was not typed"):
        registry.delete("alice/X", unprotect=["v2"], confirm=refuse)
    assert snapshot(registry.root) == before


# several of one name


def three_of_one_second(registry: Registry, moment: float) -> None:
    for word in ("one", "two", "three"):
        push(registry, word)
        at(registry, moment).delete("alice/X")


def test_the_same_name_deleted_again_in_one_second_keeps_all(registry: Registry, trash: Path) -> None:
    three_of_one_second(registry, 1_700_000_000.9)
    assert sorted(os.listdir(trash)) == [f"170000000{n}.X" for n in range(3)]


def test_what_was_deleted_last_is_restored_first(registry: Registry, trash: Path) -> None:
    three_of_one_second(registry, 1_700_000_000)
    for word in ("three", "two", "one"):
        registry.restore("alice/X")
        assert text(registry) == word
        os.rename(registry.root / "alice/X", trash.parent / f"Y{word}")
    with pytest.raises(NotFound):
        registry.restore("alice/X")


def test_a_date_restores_what_was_deleted_until_then(registry: Registry) -> None:
    for day, word in ((1, "one"), (2, "two"), (3, "three")):
        push(registry, word)
        at(registry, 1_700_000_000 + day * DAY).delete("alice/X")  # of 2023-11-14
    with pytest.raises(NotFound):
        registry.restore("alice/X@{2023-11-14}")
    registry.restore("alice/X@{2023-11-16T23:59Z}")
    assert text(registry) == "two"
    at(registry, 1_700_000_000 + 4 * DAY).delete("alice/X")
    registry.restore("alice/X@{2023-11-15T23:59Z}")
    assert text(registry) == "one"


def test_a_resource_that_was_pushed_anew_is_not_replaced(registry: Registry, place: Path) -> None:
    delete(registry)
    push(registry, "anew")
    before = snapshot(registry.root)
    with pytest.raises(Conflict, match="pushed anew"):
        registry.restore("alice/X")
    assert snapshot(registry.root) == before


def test_a_resource_that_is_pushed_anew_just_before_the_rename_is_not_replaced(
    registry: Registry, place: Path, trash: Path
) -> None:
    delete(registry)
    pen = Hooked(lambda verb, path: verb == "rename" and path.endswith("alice/X"), lambda: push(registry, "anew"))
    with pytest.raises(Conflict, match="pushed anew"):
        as_caller(registry, "alice", pen=pen).restore("alice/X")
    assert text(registry) == "anew"
    assert len(os.listdir(trash)) == 1


def test_what_is_in_the_way_can_be_deleted_too_and_then_the_first_comes_back_by_its_date(
    registry: Registry, trash: Path
) -> None:
    """As the refusal says."""
    push(registry, "first")
    at(registry, 1_700_000_000).delete("alice/X")
    push(registry, "anew")
    registry.delete("alice/X")
    registry.restore("alice/X@{2023-11-15}")
    assert text(registry) == "first"


def test_a_name_that_differs_only_by_case_is_in_the_way(registry: Registry, place: Path) -> None:
    delete(registry)
    push(registry, "twin", "x")
    before = snapshot(registry.root)
    with pytest.raises(Conflict, match="differs only by case from x"):
        registry.restore("alice/X")
    assert snapshot(registry.root) == before


def test_a_name_that_differs_by_case_is_restored_by_its_own_spelling_only(registry: Registry, place: Path) -> None:
    delete(registry)
    with pytest.raises(NotFound):
        registry.restore("alice/x")
    registry.restore("alice/X")


@pytest.mark.parametrize("left", ["folder", "inside", "killed push"])
def test_what_a_first_push_left_that_got_nowhere_is_not_in_the_way(registry: Registry, place: Path, left: str) -> None:
    """It does not exist yet: it is not listed, and cannot be deleted."""
    delete(registry)
    if left == "killed push":

        def kill() -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        pen = Hooked(lambda verb, path: verb == "write_new" and path.endswith("SHA256SUMS"), kill)
        assert together(lambda: push(as_caller(registry, "alice", pen=pen), "anew")) == [-signal.SIGKILL]
    else:
        (place / ".lhub" if left == "inside" else place).mkdir(parents=True)
    assert registry.list() == []
    registry.restore("alice/X")
    assert text(registry) == "first"
    assert registry.verify().ok


@pytest.mark.parametrize("odd", ["file", "link", "dangling"])
def test_what_stands_there_and_is_no_resource_is_not_replaced(registry: Registry, place: Path, odd: str) -> None:
    delete(registry)
    if odd == "file":
        place.write_text("mine")
    else:
        place.symlink_to("/etc" if odd == "link" else "/nowhere")
    with pytest.raises(LhubError):
        registry.restore("alice/X")
    assert place.read_text() == "mine" if odd == "file" else place.is_symlink()


# privacy and secrets


def test_what_is_private_stays_private_in_the_trash(registry: Registry, trash: Path) -> None:
    push(registry, "first", private=True)
    registry.delete("alice/X")
    [deleted] = trash.iterdir()
    assert deleted.stat().st_mode & 0o777 == 0o700
    registry.restore("alice/X")
    assert (registry.visibility("alice/X"), registry.verify().ok) == ("private", True)


def test_a_private_deleted_resource_and_an_absent_one_give_a_stranger_the_same_answer(registry: Registry) -> None:
    push(registry, "first", private=True)
    registry.delete("alice/X")
    answers = set()
    for caller in ("bob", None):
        for name in ("X", "Y"):
            with pytest.raises(LhubError) as refused:
                as_caller(registry, caller).restore(f"alice/{name}")
            answers.add((caller, refused.value.code, str(refused.value).replace(name, "N"), refused.value.hint))
    assert len(answers) == 2
    assert {code for _, code, _, _ in answers} == {3}


@needs_root
def test_nobody_else_reads_what_lies_private_in_the_trash(shared: Path) -> None:
    def hide() -> None:
        registry = Registry(shared / "registry", namespace="alice")
        registry.push(write_tree(shared / "src", OWN | {"a.txt": "secret"}), "X", private=True)
        registry.delete("alice/X")

    def look() -> list[str]:
        found: list[str] = []
        for folder, _, files in os.walk(shared / "registry/alice"):
            found += [f"{folder}/{name}" for name in files]
        return found

    as_user(shared, 20001, hide)
    assert not any(".lhub" in path or "X" in path for path in as_user(shared, 20002, look))


def test_a_push_that_meets_its_private_resource_deleted_makes_no_public_one(registry: Registry, trash: Path) -> None:
    """He pushed to what was private when he began."""
    push(registry, "first", private=True)
    pen = Hooked(
        lambda verb, path: verb == "write_new" and path.endswith("SHA256SUMS"), lambda: registry.delete("alice/X")
    )
    push(as_caller(registry, "alice", pen=pen), "second")
    assert pen.done
    assert (text(registry), registry.visibility("alice/X")) == ("second", "private")


@pytest.fixture
def nobody(registry: Registry, tmp_path: Path) -> Registry:
    """Somebody without a login, who has pushed `X`, private, with a secret."""
    nobody = as_caller(registry, None)
    folder = write_tree(tmp_path / "unnamed", EXECUTOR | {"a.txt": "first"})
    nobody.push(folder, "X", secret=SECRET, private=True)
    return nobody


def test_a_resource_without_a_namespace_goes_and_comes_by_its_secret(nobody: Registry) -> None:
    assert nobody.delete(f"jinahub://X:{SECRET}").name == "X"
    with pytest.raises(NotFound):
        nobody.show(f"jinahub://X:{SECRET}")
    assert nobody.restore(f"jinahub://X:{SECRET}").name == "X"
    assert text(nobody, f"jinahub://X:{SECRET}") == "first"
    assert os.listdir(nobody.root / "_/.trash") == []


@pytest.mark.parametrize("ref", ["X", "jinahub://X:wrong-wrong", "jinahub://X"])
@pytest.mark.parametrize("verb", ["delete", "restore"])
def test_who_has_not_its_secret_learns_nothing_of_it(nobody: Registry, ref: str, verb: str) -> None:
    if verb == "restore":
        nobody.delete(f"jinahub://X:{SECRET}")
    before = snapshot(nobody.root)
    for caller in (None, "bob"):
        with pytest.raises(NotFound, match="X is not here"):
            getattr(as_caller(nobody, caller), verb)(ref)
    assert snapshot(nobody.root) == before


@pytest.mark.usefixtures("in_clear")
@pytest.mark.parametrize("verb", ["delete", "restore"])
def test_a_public_one_without_a_namespace_goes_and_comes_only_by_its_secret(nobody: Registry, verb: str) -> None:
    nobody.visibility(f"jinahub://X:{SECRET}", "public")
    if verb == "restore":
        nobody.delete(f"jinahub://X:{SECRET}")
    before = snapshot(nobody.root)
    for ref, code in (("X", 5), ("jinahub://X:wrong-wrong", 4)):
        with pytest.raises(LhubError) as refused:
            getattr(nobody, verb)(ref)
        assert (refused.value.code, SECRET in str(refused.value)) == (code, False)
    assert snapshot(nobody.root) == before


def test_a_new_one_of_its_name_has_its_own_secret_and_the_old_comes_back_with_the_old(
    nobody: Registry, tmp_path: Path
) -> None:
    at(nobody, 1_700_000_000).delete(f"jinahub://X:{SECRET}")
    nobody.push(write_tree(tmp_path / "unnamed", {"a.txt": "anew"}), "X", secret="other-other")
    with pytest.raises(LhubError):
        nobody.delete(f"jinahub://X:{SECRET}")
    nobody.delete("jinahub://X:other-other")
    nobody.restore(f"jinahub://X:{SECRET}")
    assert text(nobody, f"jinahub://X:{SECRET}") == "first"


# a trash that somebody planted


def file(trash: Path) -> None:
    trash.write_text("mine")


def link(trash: Path) -> None:
    (trash.parent.parent.parent / "elsewhere").mkdir()
    trash.symlink_to(trash.parent.parent.parent / "elsewhere")


def dangling(trash: Path) -> None:
    trash.symlink_to("/nowhere/at/all")


@pytest.mark.parametrize("plant", [file, link, dangling])
def test_nothing_is_deleted_into_what_is_no_folder(
    registry: Registry, place: Path, trash: Path, plant: Callable[[Path], None]
) -> None:
    plant(trash)
    before = snapshot(registry.root)
    with pytest.raises((Denied, Corrupt)):
        registry.delete("alice/X", unprotect=["v2"])
    assert text(registry) == "first"
    assert {name: it for name, it in snapshot(registry.root).items() if "/.lhub/" not in name} == {
        name: it for name, it in before.items() if "/.lhub/" not in name
    }


def test_a_trash_that_is_a_link_is_neither_restored_from_nor_collected(
    registry: Registry, place: Path, trash: Path, tmp_path: Path
) -> None:
    delete(registry)
    trash.rename(tmp_path / "elsewhere")
    trash.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotFound):
        registry.restore("alice/X")
    assert gc(registry, 400).deleted == ()
    assert len(os.listdir(tmp_path / "elsewhere")) == 1


@pytest.mark.parametrize("odd", ["file", "link", "empty"])
def test_what_stands_in_the_trash_by_just_that_name_is_not_in_the_way(
    registry: Registry, place: Path, trash: Path, odd: str
) -> None:
    trash.mkdir(mode=0o755)
    planted = trash / "1700000000.X"
    if odd == "file":
        planted.write_text("mine")
    elif odd == "link":
        planted.symlink_to("/etc")
    else:
        planted.mkdir()
    at(registry, 1_700_000_000).delete("alice/X", unprotect=["v2"])
    registry.restore("alice/X")
    assert text(registry) == "first"
    assert odd == "empty" or planted.is_symlink() or planted.read_text() == "mine"


@pytest.fixture
def unnamed(shared: Path) -> Callable[..., Any]:
    """What users of a shared registry do to `X`, a resource without a namespace; the place for such stands."""
    folder = write_tree(shared / "unnamed", {**EXECUTOR, "a.txt": "x"})
    Registry(shared / "registry").push(folder, "First", secret=SECRET)

    def do(uid: int, *verbs: str, secret: str = SECRET, moment: float = 1_700_000_000) -> str:
        def work() -> str:
            registry = at(Registry(shared / "registry"), moment)
            for verb in verbs:
                if verb == "push":
                    source = write_tree(shared / f"src-{uid}", {**EXECUTOR, "a.txt": f"{uid}"})
                    registry.push(source, "X", secret=secret)
                else:
                    getattr(registry, verb)(f"jinahub://X:{secret}")
            return text(registry, f"jinahub://X:{secret}") if verbs[-1] != "delete" else ""

        return str(as_user(shared, uid, work))

    return do


@needs_root
@pytest.mark.parametrize("second", [0, 100], ids=["in the same second", "later"])
def test_a_stranger_s_deletion_of_the_same_name_keeps_nobody_from_restoring_his_own(
    unnamed: Callable[..., str], second: float
) -> None:
    unnamed(20001, "push", "delete")
    unnamed(20002, "push", "delete", secret="other-other", moment=1_700_000_000 + second)
    assert unnamed(20001, "restore") == "20001"


@needs_root
def test_what_a_stranger_plants_in_the_trash_keeps_nobody_from_restoring_his_own(
    unnamed: Callable[..., str], shared: Path
) -> None:
    unnamed(20001, "push", "delete")

    def plant() -> None:
        for name in ("9999999999.X", "99999999999.X"):
            write_tree(shared / "registry/_/.trash" / name, {"resource.yaml": "format: 1\nkind: executor\n"})
        os.chmod(shared / "registry/_/.trash/9999999999.X", 0o700)

    as_user(shared, 20002, plant)
    assert unnamed(20001, "restore") == "20001"


@needs_root
def test_nothing_is_deleted_into_a_trash_that_another_user_made_and_could_empty(
    unnamed: Callable[..., str], shared: Path
) -> None:
    trash = shared / "registry/_/.trash"
    unnamed(20001, "push")
    trash.rmdir()

    def plant() -> None:
        trash.mkdir()
        trash.chmod(0o777)

    def attempt() -> list[object]:
        try:
            Registry(shared / "registry").delete(f"jinahub://X:{SECRET}")
        except LhubError as error:
            return [error.code, str(error)]
        return [0, ""]

    as_user(shared, 20002, plant)
    code, told = as_user(shared, 20001, attempt)
    assert (code, "made by somebody else" in told) == (4, True)
    assert os.listdir(trash) == []
    assert (shared / "registry/_/X/latest").is_symlink()


@needs_root
def test_nobody_takes_another_s_deleted_resource_out_of_the_shared_trash(
    unnamed: Callable[..., str], shared: Path
) -> None:
    unnamed(20001, "push", "delete")
    trash = shared / "registry/_/.trash"
    before = snapshot(trash)

    def steal() -> list[str]:
        [deleted] = trash.iterdir()
        refused = []
        for deed in (lambda: deleted.rename(shared / "loot"), (deleted / "latest").unlink, deleted.rmdir):
            try:
                deed()
            except OSError as error:
                refused.append(type(error).__name__)
        try:
            Registry(shared / "registry").restore(f"jinahub://X:{SECRET}")
        except LhubError as error:
            refused.append(str(error.code))
        return refused

    refused = as_user(shared, 20002, steal)
    assert len(refused) == 4
    assert refused[-1] in ("3", "4")
    assert snapshot(trash) == before


# a team


@needs_root
def test_in_a_team_only_who_made_a_resource_deletes_it_and_brings_it_back(shared: Path, team: Path) -> None:
    def make() -> None:
        push(Registry(shared / "registry", namespace="vision"), "hers")

    def attempt(verb: str) -> int:
        try:
            getattr(Registry(shared / "registry", namespace="vision"), verb)("vision/X")
        except LhubError as error:
            return error.code
        return 0

    codes = []
    os.chmod(shared, 0o1777)
    as_user(shared, 20001, make, 30001)
    for uid, verb in ((20002, "delete"), (20001, "delete"), (20002, "restore"), (20001, "restore")):
        codes.append(as_user(shared, uid, partial(attempt, verb), 30001))
    assert codes == [4, 0, 4, 0]
    assert Registry(shared / "registry", namespace="vision").verify().ok


def away_and_back(shared: Path, second: float) -> str:
    """Ann makes `vision/X` and deletes it, then Ben does, so many seconds later; what Ann then restores."""

    def away(word: str, moment: float) -> None:
        registry = Registry(shared / "registry", namespace="vision")
        push(registry, word)
        at(registry, moment).delete("vision/X")

    def back() -> str:
        registry = Registry(shared / "registry", namespace="vision")
        registry.restore("vision/X")
        return text(registry, "vision/X")

    as_user(shared, 20001, partial(away, "hers", 1_700_000_000), 30001)
    as_user(shared, 20002, partial(away, "his", 1_700_000_000 + second), 30001)
    return str(as_user(shared, 20001, back, 30001))


@needs_root
@pytest.mark.parametrize("second", [0, 100], ids=["in the same second", "later"])
def test_in_a_team_a_colleague_s_deletion_of_the_same_name_hides_nobody_s_own(
    shared: Path, team: Path, second: float
) -> None:
    assert away_and_back(shared, second) == "hers"


# who waits for the lock


def beside_a_deletion(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, verb: Callable[[Registry], object], after: str = ""
) -> object:
    """What a verb answers or raises that waits for the lock of a resource while that is deleted."""
    monkeypatch.setattr("lhub.lock._PATIENCE", 0.02)
    locked, waits = threading.Event(), threading.Event()

    def hold() -> None:
        locked.set()
        assert waits.wait(20)

    def away() -> None:
        pen = Hooked(lambda verb, path: verb == "rename" and "/.trash/" in path, hold)
        delete(as_caller(registry, "alice", pen=pen))

    thread = threading.Thread(target=away)
    thread.start()
    assert locked.wait(20)
    waiter = Registry(registry.root, namespace="alice", timeout=20, notes=lambda sentence: waits.set())
    try:
        return verb(waiter)
    except LhubError as error:
        return error
    finally:
        thread.join()


VERBS: dict[str, Callable[[Registry], object]] = {
    "tag": lambda registry: registry.tag("alice/X", "v9"),
    "protect": lambda registry: registry.tag("alice/X", "v1", protect=True),
    "untag": lambda registry: registry.untag("alice/X:v1"),
    "rollback": lambda registry: registry.rollback("alice/X", "v1"),
    "visibility": lambda registry: registry.visibility("alice/X", "private"),
    "delete": lambda registry: registry.delete("alice/X", unprotect=["v2"]),
    "delete a tag": lambda registry: registry.delete("alice/X:v1"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_who_waits_for_what_is_deleted_meanwhile_is_told_so(
    registry: Registry, place: Path, trash: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    answer = beside_a_deletion(registry, monkeypatch, VERBS[verb])
    assert isinstance(answer, NotFound)
    assert "deleted meanwhile" in str(answer)
    assert not place.exists()
    registry.restore("alice/X")
    assert sorted(registry.show("alice/X").tags) == ["latest", "v1", "v2"]
    assert registry.verify().ok


def test_a_push_that_waits_for_what_is_deleted_meanwhile_makes_it_anew(
    registry: Registry, place: Path, trash: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside_a_deletion(registry, monkeypatch, lambda waiter: push(waiter, "second"))
    assert text(registry) == "second"
    assert list(registry.show("alice/X").tags) == ["latest"]
    assert len(os.listdir(trash)) == 1
    assert registry.verify().ok


@pytest.mark.parametrize("options", [{"expect": "first"}, {"force_update": "alice/X"}])
def test_a_push_that_needs_what_is_deleted_meanwhile_is_refused(
    registry: Registry, place: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    if "expect" in options:
        options = {"expect": registry.show("alice/X").version}
    answer = beside_a_deletion(registry, monkeypatch, lambda waiter: push(waiter, "second", "alice/X", **options))
    assert isinstance(answer, (Conflict, NotFound))
    assert registry.list() == []


@pytest.mark.parametrize("verb", ["tag", "untag", "rollback", "delete"])
def test_what_is_deleted_just_when_one_asks_for_its_lock_is_not_made_again(
    registry: Registry, place: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """A library that locks may make the folders above a lock file that are missing."""
    meanwhile(monkeypatch, "lhub.lock._opened", lambda: delete(as_caller(registry, "alice")))
    with pytest.raises(NotFound):
        VERBS[verb](registry)
    assert not place.exists()
    registry.restore("alice/X")
    assert text(registry) == "first"


def test_who_waits_for_what_is_deleted_and_pushed_anew_meanwhile_changes_the_new(
    registry: Registry, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away_and_anew() -> None:
        delete(registry)
        push(registry, "anew")

    meanwhile(monkeypatch, "lhub.lock._acquired", away_and_anew)
    registry.tag("alice/X", "v9")
    assert text(registry, "alice/X:v9") == "anew"
    assert registry.verify().ok


def test_a_deletion_that_waits_for_a_protecting_push_is_refused(registry: Registry, place: Path) -> None:
    answers: list[object] = []
    held = threading.Event()

    def away() -> None:
        waiter = Registry(registry.root, namespace="alice", timeout=20)
        try:
            answers.append(waiter.delete("alice/X", unprotect=["v2"], confirm=lambda name: held.set()))
        except LhubError as error:
            answers.append(error)

    thread = threading.Thread(target=away)

    def begin() -> None:
        thread.start()
        assert held.wait(20)

    pen = Hooked(lambda verb, path: verb == "symlink" and ".protected." in path, begin)
    push(as_caller(registry, "alice", pen=pen), "second", protected_tags=["v3"])
    thread.join()
    assert isinstance(answers[0], Conflict)
    assert text(registry, "alice/X:v3") == "second"


# while others are at work


@pytest.mark.parametrize(
    "step",
    ["make_folder .lhub/versions", "make_folder .tmp.", "copy_in a.txt", "write_new manifest.yaml", "append events"],
)
def test_a_deletion_while_a_push_stages_takes_what_stood_and_the_push_makes_it_anew(
    registry: Registry, place: Path, trash: Path, step: str
) -> None:
    verb, part = step.split()
    pen = Hooked(lambda done, path: done == verb and part in path, lambda: delete(at(registry, 1_700_000_000)))
    push(as_caller(registry, "alice", pen=pen), "second")
    assert text(registry) == "second"
    delete(registry)
    registry.restore("alice/X@{2023-11-15}")
    assert text(registry) == "first"
    push(registry, "third")
    assert crowds.leftovers(registry) == []
    assert registry.verify().ok


def test_a_pull_that_has_begun_is_whole_though_the_resource_is_deleted(
    registry: Registry, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile(monkeypatch, "lhub.fetch.lay_out", lambda: delete(registry))
    pulled = registry.pull("alice/X", tmp_path / "pulled")
    assert read_tree(Path(pulled.path)) == {".gitignore": b"", "a.txt": b"first"}


def well(registry: Registry) -> None:
    assert [found.problem for found in registry.verify().findings] == []


READS: dict[str, Callable[[Registry, Path], object]] = {
    "pull": lambda registry, folder: registry.pull("alice/X", folder),
    "pull by digits": lambda registry, folder: registry.pull(f"alice/X@{registry.show('alice/X').version}", folder),
    "path": lambda registry, folder: registry.path("alice/X:v1"),
    "show": lambda registry, folder: registry.show("alice/X"),
    "log": lambda registry, folder: registry.log("alice/X"),
    "diff": lambda registry, folder: registry.diff("alice/X:latest", "alice/X:v1"),
    "visibility": lambda registry, folder: registry.visibility("alice/X"),
    "list": lambda registry, folder: registry.list(),
    "search": lambda registry, folder: registry.search("X"),
    "verify": lambda registry, folder: well(registry),
    "doctor": lambda registry, folder: registry.doctor(),
    "export": lambda registry, folder: registry.export("alice/X", path=folder.with_suffix(".tar")),
    "dry run": lambda registry, folder: registry.gc(dry_run=True),
}


@pytest.mark.parametrize("read", READS)
def test_whenever_a_resource_is_deleted_a_reader_has_it_whole_or_is_told_that_it_is_not_here(
    registry: Registry, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    """The folder goes just before each of the reader's looks at it, one after the other."""
    monkeypatch.setattr("lhub.checkup._PAUSE", 0.0)
    monkeypatch.setattr("lhub.store.time.sleep", lambda seconds: None)
    away = registry.root / "alice/.trash/1.X"
    away.parent.mkdir()
    looks, at_look = list[str](), 0

    def look(real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(path: Any = ".", *arguments: Any, **options: Any) -> Any:
            if isinstance(path, str) and path.startswith(str(place)):
                looks.append(f"{name} {path[len(str(place)) :]}")
                if len(looks) == at_look and place.exists():
                    os.rename(place, away)
            return real(path, *arguments, **options)

        return call

    troubles, ended = [], False
    for name in ("listdir", "scandir", "lstat", "open", "readlink", "stat"):
        monkeypatch.setattr(os, name, look(getattr(os, name), name))
    while not ended and at_look < 60:
        at_look, looks[:] = at_look + 1, []
        try:
            READS[read](registry, tmp_path / f"out-{at_look}")
        except NotFound:
            pass
        except Exception as error:
            troubles.append(f"{looks[at_look - 1]}: {type(error).__name__}: {str(error)[:200]}")
        ended = len(looks) < at_look
        if away.exists():
            os.rename(away, place)
    assert not troubles, "\n".join(troubles)


def test_two_deletions_at_once_take_it_once(registry: Registry, trash: Path) -> None:
    push(registry, "first")

    def away() -> None:
        registry.delete("alice/X")

    assert sorted(together(*[away] * 4)) == [0, 3, 3, 3]
    assert len(os.listdir(trash)) == 1


def test_two_restorations_at_once_bring_it_back_once(registry: Registry, trash: Path) -> None:
    push(registry, "first")
    registry.delete("alice/X")

    def back() -> None:
        registry.restore("alice/X")

    codes = sorted(together(*[back] * 4))
    assert codes[0] == 0
    assert set(codes[1:]) <= {3, 5}
    assert text(registry) == "first"
    assert os.listdir(trash) == []


def test_deletions_restorations_pushes_and_pulls_at_once_lose_and_tear_nothing(
    registry: Registry, trash: Path, tmp_path: Path
) -> None:
    """A push makes it anew or adds to it, in whichever order; what was ever pushed stands or lies in the trash."""
    push(registry, "begin")
    until = time.monotonic() + 1.2

    def loop(deed: Callable[[int], object], *codes: int) -> None:
        number = 0
        while time.monotonic() < until:
            number += 1
            try:
                deed(number)
            except LhubError as error:
                if error.code not in codes:
                    raise

    def pull(number: int) -> None:
        found = read_tree(Path(registry.pull("alice/X", tmp_path / "pulled", force=True).path))
        assert found.keys() == {".gitignore", "a.txt"}

    works: list[Callable[[], object]] = [
        partial(loop, lambda number: push(registry, f"{number}"), 3, 5),
        partial(loop, lambda number: registry.delete("alice/X"), 3),
        partial(loop, lambda number: registry.restore("alice/X"), 3, 5),
        partial(loop, pull, 3),
        partial(loop, lambda number: registry.tag("alice/X", f"v{number % 3}"), 3),
        partial(loop, lambda number: registry.gc(), 3),
    ]
    assert together(*works) == [0] * len(works)
    for deleted in sorted(trash.iterdir(), key=lambda path: int(path.name.partition(".")[0]), reverse=True):
        if registry.list():
            place = registry.root / "alice/X"
            place.rename(place.with_name(f"Y{deleted.name.partition('.')[0]}"))
        registry.restore("alice/X")
    for line in registry.list():
        registry.tag(line.name, "last") if "latest" in line.tags else None
    assert registry.verify().ok


# tags


def test_a_tag_comes_back_as_protected_as_it_was(registry: Registry, place: Path) -> None:
    version = registry.show("alice/X").version
    push(registry, "second")
    for tag, unprotect in (("v1", []), ("v2", ["v2"])):
        registry.delete(f"alice/X:{tag}", unprotect=unprotect)
        registry.restore(f"alice/X:{tag}")
    shown = registry.show("alice/X")
    assert ({shown.tags["v1"], shown.tags["v2"]}, shown.protected_tags) == ({version}, ("v2",))
    with pytest.raises(Conflict, match="protected"):
        registry.untag("alice/X:v2")


def test_a_tag_comes_back_where_it_was_last(registry: Registry) -> None:
    for word in ("one", "two"):
        push(registry, word, tags=["v1"])
        registry.delete("alice/X:v1")
    registry.restore("alice/X:v1")
    assert text(registry, "alice/X:v1") == "two"


def test_a_date_given_for_a_tag_is_not_passed_over_in_silence(registry: Registry) -> None:
    for day, word in ((1, "one"), (2, "two")):
        then = at(registry, 1_700_000_000 + day * DAY)
        push(then, word, tags=["v1"])
        then.delete("alice/X:v1")
    try:
        registry.restore("alice/X:v1@{2023-11-15T23:59Z}")
    except UsageError:
        assert registry.show(f"alice/X@{push(registry, 'three')}").tags.keys() == {"latest"}
    else:
        assert text(registry, "alice/X:v1") == "one"


def test_a_tag_that_stands_is_not_restored_over(registry: Registry, place: Path) -> None:
    registry.delete("alice/X:v1")
    push(registry, "second", tags=["v1"])
    before = snapshot(registry.root)
    with pytest.raises(Conflict, match="v1 stands"):
        registry.restore("alice/X:v1")
    assert text(registry, "alice/X:v1") == "second"
    after = snapshot(registry.root)
    assert {name for name, it in after.items() if before.get(name) != it} <= {"alice/X/.lhub/lock"}  # the time in it


def test_a_tag_that_never_was_is_not_here(registry: Registry, place: Path) -> None:
    with pytest.raises(NotFound, match="never had a tag v9"):
        registry.restore("alice/X:v9")


def test_a_tag_whose_version_lies_in_the_trash_brings_it_back(registry: Registry) -> None:
    push(registry, "one", tags=["v1"])
    push(registry, "two")
    registry.delete("alice/X:v1")
    gc(registry), gc(registry, 15)
    registry.restore("alice/X:v1")
    assert text(registry, "alice/X:v1") == "one"
    assert registry.verify().ok


def test_a_tag_whose_version_was_collected_is_told_so(registry: Registry, tmp_path: Path) -> None:
    push(registry, "one", tags=["v1"])
    push(registry, "two")
    registry.delete("alice/X:v1")
    gc(registry), gc(registry, 15), gc(registry, 30)
    with pytest.raises(NotFound, match="which a collection has removed"):
        registry.restore("alice/X:v1")
    assert list(registry.show("alice/X").tags) == ["latest"]


def test_a_tag_of_what_cannot_be_read_is_restored_and_verify_tells(registry: Registry, place: Path) -> None:
    version = registry.show("alice/X").version
    registry.delete("alice/X:v1")
    manifest = place / ".lhub/versions" / version / "manifest.yaml"
    with by_hand(manifest.parent):
        manifest.write_text("odd")
    registry.restore("alice/X:v1")
    with pytest.raises(Corrupt):
        registry.path("alice/X:v1")
    assert not registry.verify().ok


# until a collection


@pytest.mark.parametrize("host", [0, -15_000, -1, 400], ids=["right", "1984", "yesterday", "next year"])
def test_a_deleted_resource_stays_for_a_grace_whatever_the_clock_of_who_deleted_it(
    registry: Registry, trash: Path, host: float
) -> None:
    push(registry, "first")
    at(registry, time.time() + host * DAY).delete("alice/X")
    for days in (0, 13.9, 14.1, host + 14.1):
        lies, over = os.listdir(trash) != [], days > max(0, host) + 14
        assert gc(registry, max(days, 0)).deleted == (("alice/X",) if over and lies else ())
    assert os.listdir(trash) == []
    with pytest.raises(NotFound):
        registry.restore("alice/X")


def test_a_deleted_resource_with_protected_tags_goes_after_its_grace(
    registry: Registry, place: Path, trash: Path
) -> None:
    delete(registry)
    assert gc(registry, 15).deleted == ("alice/X",)
    assert os.listdir(trash) == []


def test_a_deleted_resource_that_is_being_restored_is_left_and_named(
    registry: Registry, place: Path, trash: Path
) -> None:
    delete(registry)
    [deleted] = trash.iterdir()
    with held_elsewhere(deleted / ".lhub/lock"):
        done = gc(registry, 20)
    assert (done.deleted, [name.split(",")[0] for name in done.left]) == ((), ["alice/X"])
    registry.restore("alice/X")
    assert text(registry) == "first"


def test_a_resource_that_is_restored_just_before_it_is_collected_stays(
    registry: Registry, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete(registry)
    meanwhile(monkeypatch, "lhub.collection.held", lambda: registry.restore("alice/X"))
    assert gc(registry, 20).deleted == ()
    monkeypatch.undo()
    assert text(registry) == "first"
    assert registry.verify().ok


def test_a_resource_that_is_collected_just_before_it_is_restored_is_not_here(
    registry: Registry, place: Path, trash: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete(registry)
    meanwhile(monkeypatch, "lhub.lock._acquired", lambda: gc(registry, 20))
    with pytest.raises(NotFound):
        registry.restore("alice/X")
    monkeypatch.undo()
    assert (registry.list(), os.listdir(trash), place.exists()) == ([], [], False)


def test_a_restored_resource_begins_a_new_grace_when_it_is_deleted_again(registry: Registry, place: Path) -> None:
    delete(registry)
    registry.restore("alice/X")
    moved = later(registry, 13)
    moved.delete("alice/X", unprotect=["v2"])
    assert gc(registry, 15).deleted == ()
    assert gc(registry, 28).deleted == ("alice/X",)


def test_what_else_lies_in_the_trash_is_left(registry: Registry, place: Path, trash: Path) -> None:
    delete(registry)
    (trash / "notes.txt").write_text("mine")
    (trash / "x.Y").mkdir()
    (trash / "1.Z").write_text("mine")
    (trash / "2.W").symlink_to("/etc")
    assert gc(registry, 20).deleted == ("alice/X",)
    assert sorted(os.listdir(trash)) == ["1.Z", "2.W", "notes.txt", "x.Y"]
