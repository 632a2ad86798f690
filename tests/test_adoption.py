"""Adoption: what the old cloud left in the caches is stored byte for byte, and what is broken is told, not stored."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lhub.adoption import Legacy
from lhub.disk import Pen
from lhub.errors import Conflict, Denied, LhubError, NotFound, UsageError
from lhub.names import is_name
from lhub.registry import Registry
from tests.arrays import array
from tests.conftest import Shell, as_caller, executor_py, read_tree, snapshot, write_tree
from tests.make_fixtures import FIXTURES
from tests.test_fixtures import unpack

Files = dict[str, str | bytes]
PACKAGES = "jina/hub-package"


def package(folder: str, name: str = "Enc", *tags: str, **files: str | bytes) -> Files:
    """The files of an Executor's package in the cache."""
    place = f"{PACKAGES}/{folder}"
    told: Files = {f"{place}/{tag}.dist-info/RECORD": "" for tag in tags or ("v1",)}
    own: Files = {"config.yml": f"jtype: {name}\nmetas:\n  name: {name}\n", "executor.py": f"# {folder}\n"}
    return told | {f"{place}/{path}": text for path, text in (own | files).items()}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An empty cache."""
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The caches that the old clients really wrote."""
    return unpack(FIXTURES / "old-cloud-cache.tar.gz", tmp_path / "old")


def names(listed: list[Legacy]) -> list[str]:
    return [each.name for each in listed]


# what the old clients left


def test_what_the_old_clients_left_is_listed(registry: Registry, old: Path) -> None:
    listed = registry.adoptable(old)
    assert [(each.name, each.kind, each.tag, each.bytes, each.fault) for each in listed] == [
        ("Encoder", "executor", "latest", 136, ""),
        ("Hello", "executor", "v1", 248, ""),
        ("alice_fashion_mnist", "docarray", "latest", 499, ""),
        ("greetings", "docarray", "latest", 77, ""),
    ]
    assert listed[1].to_dict() == {
        "name": "Hello",
        "kind": "executor",
        "tag": "v1",
        "path": f"{old}/jina/hub-package/h1x2y3z4",
        "bytes": 248,
        "fault": "",
    }


def test_every_byte_of_it_is_kept(registry: Registry, old: Path) -> None:
    registry.adopt(cache=old, every=True)
    for name, folder, info in (("Hello", "h1x2y3z4", "v1"), ("Encoder", "e5f6g7h8", "latest")):
        files = read_tree(old / PACKAGES / folder)
        assert read_tree(Path(registry.path(name))) == {
            path: data for path, data in files.items() if not path.startswith(f"{info}.dist-info/")
        }
    for name in ("alice_fashion_mnist", "greetings"):
        assert read_tree(Path(registry.path(name))) == {
            "documents.protobuf.gzip": (old / f"docarray/{name}.da").read_bytes()
        }
    assert registry.verify().ok


def test_what_its_kind_knows_is_told(registry: Registry, old: Path) -> None:
    registry.adopt(cache=old, every=True)
    told = [registry.show(name).manifest["about"] for name in ("greetings", "alice_fashion_mnist")]
    assert [(about["length"], about["docarray"], about["compress"]) for about in told] == [
        (1, "<0.30", "gzip"),
        (5, "<0.30", "gzip"),
    ]
    assert registry.show("Hello").manifest["about"]["jtype"] == "Hello"
    assert {line.name: (line.kind, line.visibility) for line in registry.list()} == {
        "Encoder": ("executor", "public"),
        "Hello": ("executor", "public"),
        "alice_fashion_mnist": ("docarray", "public"),
        "greetings": ("docarray", "public"),
    }


def test_the_old_tag_names_it_and_latest_too(registry: Registry, old: Path) -> None:
    carried = registry.adopt("Hello", "greetings", cache=old)
    assert [sorted(each.tags) for each in carried] == [["latest", "v1"], ["latest"]]
    assert len({registry.show(ref).version for ref in ("Hello", "Hello:v1", "jinahub://Hello/v1")}) == 1


def test_it_is_pulled_by_its_old_name_by_everybody(registry: Registry, old: Path, tmp_path: Path) -> None:
    registry.adopt(cache=old, every=True)
    for caller in (None, "bob"):
        for ref in ("Hello:v1", "jinahub://Encoder", "alice_fashion_mnist", "greetings"):
            place = tmp_path / f"{caller} {ref.replace('/', ' ')}"
            pulled = Path(as_caller(registry, caller).pull(ref, place).path)
            assert pulled.is_dir() if ref.startswith(("Hello", "jina")) else pulled.is_file()


def test_nobody_need_be_logged_in(registry: Registry, old: Path) -> None:
    carried = as_caller(registry, None).adopt(cache=old, every=True)
    assert [each.name for each in carried] == ["Encoder", "Hello", "alice_fashion_mnist", "greetings"]


def test_a_registry_is_made_for_it(old: Path, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "new")
    registry.adopt("greetings", cache=old)
    assert registry.list()[0].name == "greetings"


def test_the_caches_are_left_as_they_are(registry: Registry, old: Path) -> None:
    before = snapshot(old)
    registry.adopt(cache=old, every=True)
    registry.adopt(cache=old, every=True, namespace="alice")
    assert snapshot(old) == before


def test_only_what_is_named_is_stored(registry: Registry, old: Path) -> None:
    registry.adopt("greetings", cache=old)
    assert [line.name for line in registry.list()] == ["greetings"]


@pytest.mark.parametrize("way", ["Hello", "h1x2y3z4", "{}/jina/hub-package/h1x2y3z4"])
def test_a_package_is_chosen_by_name_id_or_path(registry: Registry, old: Path, way: str) -> None:
    assert [each.name for each in registry.adopt(way.format(old), cache=old)] == ["Hello"]


@pytest.mark.parametrize("way", ["greetings", "greetings.da", "{}/docarray/greetings.da"])
def test_an_array_is_chosen_by_name_file_or_path(registry: Registry, old: Path, way: str) -> None:
    assert [each.name for each in registry.adopt(way.format(old), cache=old)] == ["greetings"]


def test_what_is_named_twice_is_stored_once(registry: Registry, old: Path) -> None:
    carried = registry.adopt("Hello", "Hello", "h1x2y3z4", cache=old)
    assert [each.name for each in carried] == ["Hello"]


def test_the_diary_tells_who_adopted_it(registry: Registry, old: Path) -> None:
    registry.adopt("Hello", cache=old)
    (entry,) = registry.log("Hello")
    assert (entry.action, entry.name, entry.tags, entry.visibility) == ("import", "alice", ("latest", "v1"), "public")


def test_what_no_push_would_take_is_kept_too(registry: Registry, cache: Path) -> None:
    """No ignore list is asked: the client ran with these files."""
    files: dict[str, str | bytes] = {
        ".gitignore": "*\n",
        "build/lib.so": b"\0\1",
        "__pycache__/executor.cpython-37.pyc": b"\0",
        ".hidden/.env": "x",
        "weights.bin": os.urandom(70_000),
        "é ü.txt": "",
        "v1.dist-info.txt": "no note of the client's",
        "sub/v1.dist-info/RECORD": "nor this",
    }
    write_tree(cache, package("aaaa", **files))
    (cache / PACKAGES / "aaaa/executor.py").chmod(0o755)
    (cache / PACKAGES / "aaaa/empty").mkdir()
    registry.adopt("Enc", cache=cache)
    place = Path(registry.path("Enc"))
    stored = read_tree(place)
    assert stored.keys() == files.keys() | {"config.yml", "executor.py"}
    assert all(stored[path] == (text if isinstance(text, bytes) else text.encode()) for path, text in files.items())
    assert [path.name for path in place.rglob("*") if path.is_file() and path.stat().st_mode & 0o100] == ["executor.py"]


def test_a_link_within_a_package_is_what_it_names(registry: Registry, cache: Path) -> None:
    write_tree(cache, package("aaaa", **{"model.bin": "x"}))
    (cache / PACKAGES / "aaaa/current").symlink_to("model.bin")
    registry.adopt("Enc", cache=cache)
    assert read_tree(Path(registry.path("Enc")))["current"] == b"x"


def test_the_namespace_in_an_old_name_is_left_out(registry: Registry, cache: Path) -> None:
    write_tree(cache, package("aaaa", "bob/Enc"))
    assert [each.name for each in registry.adopt(cache=cache, every=True)] == ["Enc"]


def test_a_package_without_a_name_is_called_by_its_class(registry: Registry, cache: Path) -> None:
    write_tree(cache, package("aaaa", **{"config.yml": "jtype: Clip\n"}) | package("bbbb", **{"config.yml": "a: 1\n"}))
    assert names(registry.adoptable(cache)) == ["Clip", "bbbb"]


def test_an_empty_array_is_an_array(registry: Registry, cache: Path) -> None:
    write_tree(cache, {"docarray/none.da": array()})
    registry.adopt("none", cache=cache)
    assert registry.show("none").manifest["about"]["length"] == 0


# never updated


def test_what_was_adopted_is_never_updated(registry: Registry, old: Path, hello: Path) -> None:
    registry.adopt(cache=old, every=True)
    version, before = registry.show("Hello").version, snapshot(registry.root)
    for caller in (None, "alice", "bob"):
        who = as_caller(registry, caller)
        for name in ("Hello", "greetings"):
            refused: list[Callable[[], object]] = [
                lambda who=who, name=name: who.push(hello, name, secret="guessed"),
                lambda who=who, name=name: who.push(hello, force_update=name, secret="guessed"),
                lambda who=who, name=name: who.tag(name, "v2"),
                lambda who=who, name=name: who.untag(f"{name}:latest"),
                lambda who=who, name=name: who.rollback(name, version),
                lambda who=who, name=name: who.visibility(name, "private"),
                lambda who=who, name=name: who.delete(f"{name}:latest"),
                lambda who=who, name=name: who.tag(f"jinahub://{name}:guessed", "v2"),
            ]
            for verb in refused:
                with pytest.raises(LhubError) as told:
                    verb()
                assert told.value.code in (3, 4, 5)
    with pytest.raises((Conflict, Denied)):
        as_caller(registry, None).push(hello)
    assert snapshot(registry.root) == before


def test_adopting_it_again_changes_nothing(registry: Registry, old: Path) -> None:
    registry.adopt(cache=old, every=True)
    told = [registry.log(line.name) for line in registry.list()]
    carried = registry.adopt(cache=old, every=True)
    assert [(each.new, each.moved) for each in carried] == [(0, {})] * 4
    assert [registry.log(line.name) for line in registry.list()] == told


def test_what_changed_in_the_cache_does_not_replace_it(registry: Registry, old: Path) -> None:
    registry.adopt(cache=old, every=True)
    write_tree(old, {"docarray/greetings.da": array(b"other"), f"{PACKAGES}/h1x2y3z4/executor.py": "# other\n"})
    before = snapshot(registry.root)
    for name in ("greetings", "Hello"):
        with pytest.raises(Conflict, match=f"{name} stands already, and is never updated so") as told:
            registry.adopt(name, cache=old)
        assert "--as" in told.value.hint
    assert snapshot(registry.root) == before


# under a namespace


def test_under_a_namespace_it_goes_on_as_anything_there(registry: Registry, old: Path, tmp_path: Path) -> None:
    carried = registry.adopt(cache=old, every=True, namespace="alice")
    assert [each.name for each in carried] == ["alice/Encoder", "alice/Hello", "alice/fashion_mnist", "alice/greetings"]
    folder = Path(registry.pull("alice/Hello", tmp_path / "Hello").path)
    registry.push(write_tree(folder, {"executor.py": executor_py("Hello")}))
    registry.tag("alice/fashion_mnist", "v2")
    registry.delete("alice/greetings")
    assert registry.diff("alice/Hello:v1", "latest").changed == ("executor.py",)
    assert registry.verify().ok


def test_a_name_loses_the_namespace_that_the_client_wrote_before_it(registry: Registry, cache: Path) -> None:
    write_tree(cache, {"docarray/alice_a.da": array(), "docarray/bob_b.da": array(), "docarray/alicec.da": array()})
    carried = registry.adopt(cache=cache, every=True, namespace="alice")
    assert [each.name for each in carried] == ["alice/a", "alice/alicec", "alice/bob_b"]


@pytest.mark.parametrize("rest", ["", "_x", ".trash", ".lhub", ".x", "-x", "con", "nul.x", "X"])
def test_a_name_without_its_namespace_is_a_name_or_nothing_is_stored(
    registry: Registry, cache: Path, rest: str
) -> None:
    """The folder of the namespace itself, and that of what was deleted, are no resources."""
    write_tree(cache, {f"docarray/alice_{rest}.da": array(b"x")})
    before = snapshot(registry.root)
    try:
        carried = registry.adopt(cache=cache, every=True, namespace="alice")
    except LhubError:
        assert snapshot(registry.root) == before
    else:
        assert [line.name for line in registry.list()] == [each.name for each in carried]
        assert all(registry.show(each.name).version for each in carried)
    inside = set(os.listdir(registry.root / "alice")) - {"namespace.yaml"}
    assert all(is_name(name) for name in inside)


def test_two_that_would_have_one_name_are_both_refused(registry: Registry, cache: Path) -> None:
    write_tree(cache, {"docarray/alice_a.da": array(b"1"), "docarray/a.da": array(b"2")})
    before = snapshot(registry.root)
    with pytest.raises(Conflict, match="two resources would both be alice/a"):
        registry.adopt(cache=cache, every=True, namespace="alice")
    assert snapshot(registry.root) == before


@pytest.mark.parametrize(("caller", "namespace"), [("bob", "alice"), (None, "alice"), ("alice", "bob")])
def test_nothing_is_stored_under_another_s_namespace(
    registry: Registry, old: Path, caller: str | None, namespace: str
) -> None:
    before = snapshot(registry.root)
    with pytest.raises(Denied) as told:
        as_caller(registry, caller).adopt("greetings", cache=old, namespace=namespace)
    assert told.value.hint
    assert snapshot(registry.root) == before


@pytest.mark.parametrize("namespace", ["", "..", "../shared", "a/b", "_", "alice/", "con"])
def test_what_is_no_namespace_takes_nothing(registry: Registry, old: Path, tmp_path: Path, namespace: str) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o2775)
    before = snapshot(tmp_path)
    with pytest.raises(LhubError) as told:
        registry.adopt("greetings", cache=old, namespace=namespace)
    assert told.value.code in (2, 4)
    assert snapshot(tmp_path) == before


def test_what_stands_there_of_another_kind_stays(registry: Registry, old: Path, tmp_path: Path) -> None:
    registry.push(write_tree(tmp_path / "src", {"a": "1"}), "greetings")
    before = snapshot(registry.root)
    with pytest.raises(Conflict, match="alice/greetings holds files, what comes is docarray"):
        registry.adopt(cache=old, every=True, namespace="alice")
    assert snapshot(registry.root) == before


def test_a_protected_tag_there_stays(registry: Registry, old: Path, make_executor: Callable[..., Path]) -> None:
    registry.push(make_executor("Hello"), protected_tags=["v1"])
    before = snapshot(registry.root)
    with pytest.raises(Conflict, match="alice/Hello: the tag is protected: v1"):
        registry.adopt(cache=old, every=True, namespace="alice")
    assert snapshot(registry.root) == before


def test_a_tag_that_it_moves_there_is_told(registry: Registry, old: Path, make_executor: Callable[..., Path]) -> None:
    mine = registry.push(make_executor("Hello")).version
    (carried,) = registry.adopt("Hello", cache=old, namespace="alice")
    assert carried.moved == {"latest": mine}
    assert carried.tags.keys() == {"latest", "v1"}


def test_a_name_that_differs_only_by_case_is_refused(registry: Registry, cache: Path) -> None:
    write_tree(cache, {"docarray/Docs.da": array(), "docarray/docs.da": array(b"1")})
    registry.adopt("Docs", cache=cache)
    before = snapshot(registry.root)
    with pytest.raises(Conflict, match="differs only by case"):
        registry.adopt("docs", cache=cache)
    assert snapshot(registry.root) == before


# broken caches


@pytest.mark.parametrize("size", [0, 1, 8, 9, 12, 15, 16, 33])
def test_an_array_that_was_cut_is_told_and_not_stored(registry: Registry, cache: Path, size: int) -> None:
    write_tree(cache, {"docarray/cut.da": array(b"abc", b"x" * 15)[:size], "docarray/whole.da": array(b"1")})
    cut, whole = registry.adoptable(cache)
    assert (bool(cut.fault), whole.fault, cut.bytes) == (True, "", size)
    with pytest.raises(UsageError, match="cut cannot be adopted: it is"):
        registry.adopt("cut", cache=cache)
    assert [each.name for each in registry.adopt(cache=cache, every=True)] == ["whole"]


def odd_arrays(place: Path) -> None:
    """What may lie among the arrays and is none."""
    place.mkdir(parents=True)
    (place / "link.da").symlink_to("/etc/passwd")
    (place / "dangling.da").symlink_to("nowhere")
    (place / "circle.da").symlink_to("circle.da")
    os.mkfifo(place / "fifo.da")
    (place / "folder.da").mkdir()
    here = os.getcwd()
    os.chdir(place)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.da")
    os.chdir(here)
    for name in ("", ".hidden", "a b", "é", "-x", "con", "x.lock", "a" * 129, "\x1b[31mred", "new\nline"):
        (place / f"{name}.da").write_bytes(array())
    Path(os.fsdecode(os.fsencode(place) + b"/\xff.da")).write_bytes(array())
    (place / "more.da").write_bytes(array() + b"!")
    (place / "pickle.da").write_bytes(b"\x80\x04not one of ours")
    (place / "no array.txt").write_text("passed over")


def test_what_is_no_array_is_told_and_not_stored(registry: Registry, cache: Path) -> None:
    odd_arrays(cache / "docarray")
    write_tree(cache, {"docarray/whole.da": array(b"1")})
    listed = registry.adoptable(cache)
    assert [each.name for each in listed if not each.fault] == ["whole"]
    assert len(listed) == 20
    for each in listed:
        if each.fault:
            with pytest.raises(UsageError) as told:
                registry.adopt(each.path, cache=cache)
            assert each.fault in str(told.value)
    assert [each.name for each in registry.adopt(cache=cache, every=True)] == ["whole"]
    assert [line.name for line in registry.list()] == ["whole"]


def odd_packages(place: Path) -> None:
    """Packages that cannot be adopted, each named by what is wrong."""
    files: Files = {}
    for name in ("link out", "fifo inside", "dangling link", "control", "circle"):
        files |= package(name, "Fine")
    files |= package("no yaml", **{"config.yml": "a: b: c\n"})
    files |= package("odd name", "A b")
    files |= package("odd tag", "Fine", "v 1")
    files |= package("empty tag", "Fine", "")
    files |= {f"{PACKAGES}/no Executor/{name}": "" for name in ("v1.dist-info/RECORD", "readme.txt")}
    files |= {f"{PACKAGES}/only notes/v1.dist-info/RECORD": ""}
    write_tree(place, files)
    packages = place / PACKAGES
    (packages / "link out/link").symlink_to("/etc/passwd")
    (packages / "dangling link/link").symlink_to("nowhere")
    (packages / "circle/link").symlink_to(".")
    os.mkfifo(packages / "fifo inside/pipe")
    (packages / "control/a\x1b[2Jb").write_text("")


def test_what_is_no_package_is_told_and_not_stored(registry: Registry, cache: Path) -> None:
    odd_packages(cache)
    write_tree(cache, package("whole", "Whole"))
    listed = registry.adoptable(cache)
    assert [each.name for each in listed if not each.fault] == ["Whole"]
    assert len(listed) == 12
    assert [each.name for each in registry.adopt(cache=cache, every=True)] == ["Whole"]
    with pytest.raises(UsageError, match=r"link out cannot be adopted: .* leads out of the folder"):
        registry.adopt("link out", cache=cache)


@pytest.mark.parametrize("left", ["", "v1.dist-info"])
def test_a_package_without_its_dist_info_was_not_installed_and_is_not_stored(
    registry: Registry, cache: Path, left: str
) -> None:
    """A killed client left it, or a file where a folder should be."""
    write_tree(cache, {path: text for path, text in package("aaaa").items() if "dist-info" not in path})
    write_tree(cache / PACKAGES / "aaaa", {left: "a file"} if left else {})
    assert not [each for each in registry.adoptable(cache) if not each.fault]
    with pytest.raises(LhubError):
        registry.adopt(cache=cache, every=True)
    assert registry.list() == []


def test_of_two_packages_of_one_name_one_is_chosen_by_its_id(registry: Registry, cache: Path) -> None:
    write_tree(cache, package("aaaa") | package("bbbb"))
    with pytest.raises(UsageError, match=r"Enc is 2 things: .*aaaa, .*bbbb") as told:
        registry.adopt("Enc", cache=cache)
    assert told.value.hint == "name one by its path"
    registry.adopt("bbbb", cache=cache)
    assert read_tree(Path(registry.path("Enc")))["executor.py"] == b"# bbbb\n"


def test_two_packages_of_one_name_are_not_stored_as_one(registry: Registry, cache: Path) -> None:
    write_tree(cache, package("aaaa") | package("bbbb"))
    before = snapshot(registry.root)
    with pytest.raises(Conflict, match="two resources would both be Enc") as told:
        registry.adopt(cache=cache, every=True)
    assert "without --as" not in told.value.hint
    assert snapshot(registry.root) == before


def test_a_package_with_two_tags_is_stored_under_both(registry: Registry, cache: Path) -> None:
    """The same files, installed twice."""
    write_tree(cache, package("aaaa", "Enc", "v1", "v2"))
    (carried,) = registry.adopt("aaaa", cache=cache)
    assert set(carried.tags) == {"latest", "v1", "v2"}
    assert read_tree(Path(registry.path("Enc"))).keys() == {"config.yml", "executor.py"}


def test_a_cache_that_is_not_there_holds_nothing(registry: Registry, tmp_path: Path) -> None:
    assert registry.adoptable(tmp_path / "nowhere") == []
    with pytest.raises(NotFound, match="there is nothing to adopt"):
        registry.adopt(cache=tmp_path / "nowhere", every=True)


@pytest.mark.parametrize("place", ["docarray", "jina", "jina/hub-package"])
def test_a_file_where_a_cache_should_be_holds_nothing(registry: Registry, cache: Path, place: str) -> None:
    write_tree(cache, {place: "a file"})
    assert registry.adoptable(cache) == []


def test_what_is_not_in_the_caches_is_not_found_and_nothing_else_is_stored(registry: Registry, old: Path) -> None:
    with pytest.raises(NotFound, match="Nothing is not in the caches"):
        registry.adopt("greetings", "Nothing", cache=old)
    assert registry.list() == []


class Meddler(Pen):
    """A pen before whose first copy somebody changes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def step(self, verb: str, path: str) -> None:
        if verb == "copy_in":
            self.path.write_bytes(self.path.read_bytes()[:-1] + b"?")


@pytest.mark.parametrize("path", ["docarray/greetings.da", f"{PACKAGES}/h1x2y3z4/executor.py"])
def test_a_file_that_changes_meanwhile_is_not_stored(registry: Registry, old: Path, path: str) -> None:
    name = "greetings" if path.endswith(".da") else "Hello"
    with pytest.raises(LhubError, match=r"is not what|changed"):
        as_caller(registry, "alice", pen=Meddler(old / path)).adopt(name, cache=old)
    with pytest.raises(NotFound):
        registry.path(name)
    assert registry.list() == []


def test_nothing_in_a_cache_moves_a_cursor(shell: Shell, tmp_path: Path) -> None:
    cache = shell.cwd / "cache"
    odd_arrays(cache / "docarray")
    odd_packages(cache)
    write_tree(cache, package("turned", "Fine", "v\u202e1") | package("red\x1b[31m", "\x1b]0;x\x07"))
    for words in (["adopt"], ["adopt", "--json"], ["adopt", "--all"], ["adopt", "\x1b[31mred"]):
        answer = shell(*words, "--cache", "cache")
        text = answer.out + answer.err
        assert all(character.isprintable() or character == "\n" for character in text), ascii(text)


def test_values_that_were_listed_cannot_be_changed(registry: Registry, old: Path) -> None:
    first = registry.adoptable(old)[0]
    assert replace(first, name="other") != first
    with pytest.raises(AttributeError):
        first.name = "other"
