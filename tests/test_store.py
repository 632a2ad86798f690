"""A resource as it lies on disk, read: nothing is believed that no push can have written, and nothing is written."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from lhub.disk import Pen
from lhub.errors import Corrupt, LhubError, NotFound, UsageError
from lhub.layout import link_to
from lhub.names import parse_ref
from lhub.opening import digest_text
from lhub.registry import Registry
from lhub.store import Resource, again
from tests.conftest import read_tree, snapshot, write_tree


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with alice/X and its two versions, to be copied: no test writes in this one."""
    place = tmp_path_factory.mktemp("origin")
    registry = Registry(place / "registry", namespace="alice")
    for text in ("one", "two"):
        folder = write_tree(place / "src", {"a.txt": text, "sub/b.txt": "bee"})
        registry.push(folder, "X", protected_tags=["v1"] if text == "one" else [])
    return place


@pytest.fixture
def folder(origin: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(origin / "src", tmp_path / "src"))


@pytest.fixture
def place(origin: Path, registry: Registry) -> Path:
    """The resource alice/X with two versions: `v1` (protected), and `latest`."""
    return Path(shutil.copytree(origin / "registry/alice/X", registry.root / "alice/X", symlinks=True))


@pytest.fixture
def resource(place: Path) -> Resource:
    return Resource(str(place), "alice/X")


def version(resource: Resource, tag: str = "latest") -> str:
    return resource.resolve(parse_ref(f"alice/X:{tag}"))


def relink(path: Path, target: str) -> None:
    """Point a link elsewhere, by hand."""
    path.unlink(missing_ok=True)
    path.symlink_to(target)


# tags


def test_a_tag_is_what_its_link_says(resource: Resource, place: Path) -> None:
    links = resource.links()
    assert links.versions() == {tag: Path(os.readlink(place / tag)).name for tag in ("latest", "v1")}
    assert links.protected == ["v1"]
    assert links.odd == {}
    assert {tag.uid for tag in links.tags.values()} == {os.geteuid()}
    assert links.updated == (place / "latest").lstat().st_mtime


def test_the_head_is_latest_and_else_the_tag_that_moved_last(resource: Resource, place: Path) -> None:
    assert resource.links().head == version(resource, "latest")
    (place / "latest").unlink()
    assert resource.links().head == version(resource, "v1")
    relink(place / "newer", link_to("0" * 64))
    assert resource.links().head == "0" * 64


def test_a_pin_wins_over_its_tag(resource: Resource, place: Path) -> None:
    protected, other = version(resource, "v1"), version(resource)
    relink(place / "v1", link_to(other))
    assert version(resource, "v1") == protected
    assert resource.links().versions()["v1"] == protected
    (place / "v1").unlink()
    assert version(resource, "v1") == protected
    assert resource.links().versions()["v1"] == protected


def make_link(target: str) -> Callable[[Path], None]:
    return lambda path: relink(path, target)


def make_file(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.write_text("0" * 64)


def make_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def make_fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


ODD: dict[str, Callable[[Path], None]] = {
    "out of the registry": make_link("/etc"),
    "up and down again": make_link("../X/.lhub/versions/" + "0" * 64),
    "to another resource": make_link("../Y/.lhub/versions/" + "0" * 64),
    "to a version's inside": make_link(f"{link_to('0' * 64)}/files"),
    "to staging": make_link(".lhub/versions/.tmp.host-1-aa"),
    "to the trash": make_link(f".lhub/versions/.trash.1.{'0' * 64}"),
    "to capital digits": make_link(link_to("A" * 64)),
    "to too few digits": make_link(link_to("0" * 63)),
    "to another tag": make_link("v1"),
    "a file": make_file,
    "a folder": make_folder,
    "a FIFO": make_fifo,
}


@pytest.mark.parametrize("odd", ODD)
def test_what_is_no_link_of_ours_is_told_and_not_followed(
    resource: Resource, place: Path, registry: Registry, tmp_path: Path, odd: str
) -> None:
    ODD[odd](place / "latest")
    with pytest.raises(Corrupt, match="the tag latest of alice/X"):
        version(resource)
    with pytest.raises(Corrupt):
        registry.pull("alice/X", tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_tag_spoils_no_other_tag_and_no_listing(
    resource: Resource, place: Path, registry: Registry, odd: str
) -> None:
    ODD[odd](place / "gpu")
    links = resource.links()
    assert links.versions() == {tag: version(resource, tag) for tag in ("latest", "v1")}
    assert list(links.odd) == ["gpu"]
    assert [line.tags for line in registry.list()] == [links.versions()]


@pytest.mark.parametrize("odd", ["out of the registry", "to another tag", "a file", "a folder"])
def test_a_pin_that_leads_elsewhere_still_protects(
    resource: Resource, place: Path, registry: Registry, folder: Path, odd: str
) -> None:
    """Somebody's hand made a protected tag unreadable; that must not set it free."""
    before = os.readlink(place / "v1")
    ODD[odd](place / ".protected.v1")
    write_tree(folder, {"a.txt": "three"})
    with pytest.raises(LhubError) as told:
        registry.push(folder, "X", tags=["v1"])
    assert told.value.code in (5, 6)
    assert os.readlink(place / "v1") == before
    with pytest.raises(Corrupt):
        version(resource, "v1")


def test_names_that_are_no_tags_are_passed_over(resource: Resource, place: Path) -> None:
    for name in (".hidden", ".protected.", "-dash", "a b", "x.lock", "é"):
        relink(place / name, link_to("0" * 64))
    links = resource.links()
    assert links.versions().keys() == {"latest", "v1"}
    assert links.odd == {}


def test_a_tag_that_is_not_there_is_not_found_and_the_others_are_named(resource: Resource) -> None:
    with pytest.raises(NotFound, match="alice/X:v9 is not here") as told:
        version(resource, "v9")
    assert told.value.hint == "its tags are latest, v1"


def test_a_version_is_found_by_its_first_digits(resource: Resource) -> None:
    full = version(resource)
    assert {resource.resolve(parse_ref(f"alice/X@{full[:digits]}")) for digits in (8, 12, 64)} == {full}
    with pytest.raises(NotFound):
        resource.resolve(parse_ref("alice/X@00000000"))


def test_digits_that_two_versions_share_are_refused(resource: Resource, place: Path) -> None:
    for end in "ab":
        (place / ".lhub/versions" / ("0" * 63 + end)).mkdir()
    with pytest.raises(UsageError, match="is not one version but 2"):
        resource.resolve(parse_ref("alice/X@00000000"))


def test_staging_is_no_version(resource: Resource, place: Path) -> None:
    (place / ".lhub/versions" / f".tmp.{'0' * 64}").mkdir()
    with pytest.raises(NotFound):
        resource.resolve(parse_ref("alice/X@00000000"))


# a network file system that lags


def fails(times: int, number: int) -> Callable[[], str]:
    left = [times]

    def read() -> str:
        if left[0]:
            left[0] -= 1
            raise OSError(number, os.strerror(number))
        return "read"

    return read


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited, without waiting."""
    waited: list[float] = []
    monkeypatch.setattr("lhub.store.time.sleep", waited.append)
    return waited


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ESTALE], ids=errno.errorcode.get)
def test_what_is_missing_or_stale_is_asked_for_three_times(pauses: list[float], number: int) -> None:
    assert again(fails(2, number)) == "read"
    assert len(pauses) == 2
    with pytest.raises(OSError, match=os.strerror(number)):
        again(fails(3, number))


def test_another_error_is_an_error_at_once(pauses: list[float]) -> None:
    with pytest.raises(PermissionError):
        again(fails(1, errno.EACCES))
    assert pauses == []


def test_an_empty_link_is_read_again(resource: Resource, pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Gluster shows one while it is replaced."""
    readlink, answers = os.readlink, ["", ""]
    monkeypatch.setattr("os.readlink", lambda path: answers.pop() if answers else readlink(path))
    assert version(resource) == os.path.basename(readlink(f"{resource.folder.path}/latest"))
    assert len(pauses) == 2


# versions


def test_a_version_in_the_trash_is_read_there(
    resource: Resource, place: Path, registry: Registry, folder: Path, tmp_path: Path
) -> None:
    full = version(resource)
    (place / ".lhub/versions" / full).rename(place / ".lhub/versions" / f".trash.1700000000.{full}")
    assert registry.pull("alice/X", tmp_path / "pulled").version == full
    assert registry.pull(f"alice/X@{full[:8]}", tmp_path / "pulled", force=True).version == full
    assert read_tree(tmp_path / "pulled") == read_tree(folder)


def test_a_version_that_goes_to_the_trash_while_it_is_open_is_read_on(resource: Resource, place: Path) -> None:
    full = version(resource)
    with resource.opened(full) as opened:
        (place / ".lhub/versions" / full).rename(place / ".lhub/versions" / f".trash.1700000000.{full}")
        assert opened.manifest().count == 2
        with opened.file("sub/b.txt") as descriptor:
            assert os.read(descriptor, 10) == b"bee"


def test_a_version_that_is_gone_is_told(resource: Resource, place: Path, pauses: list[float]) -> None:
    full = version(resource)
    Pen().remove_tree(str(place / ".lhub/versions" / full))
    with pytest.raises(Corrupt, match="is named, but it is not there"), resource.opened(full):
        pass
    assert not resource.has(full)


def test_a_version_that_is_a_link_is_not_followed(resource: Resource, place: Path, tmp_path: Path) -> None:
    full = version(resource)
    (place / ".lhub/versions" / full).chmod(0o755)  # a folder that one may not write keeps its parent
    (place / ".lhub/versions" / full).rename(tmp_path / "outside")
    (place / ".lhub/versions" / full).symlink_to(tmp_path / "outside")
    with pytest.raises(Corrupt), resource.opened(full):
        pass
    assert not resource.has(full)


def test_a_manifest_that_is_not_the_one_its_id_names_is_told(resource: Resource, place: Path) -> None:
    manifest = place / "latest" / "manifest.yaml"
    manifest.chmod(0o644)
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    with resource.opened(version(resource)) as opened, pytest.raises(Corrupt, match=r"manifest\.yaml of alice/X@"):
        opened.manifest()


def test_sums_that_are_not_those_the_manifest_names_are_told(resource: Resource, place: Path) -> None:
    sums = place / "latest" / "SHA256SUMS"
    sums.chmod(0o644)
    sums.write_bytes(sums.read_bytes()[:-1] + b"x\n")
    with resource.opened(version(resource)) as opened, pytest.raises(Corrupt, match="SHA256SUMS of alice/X@"):
        opened.sums()


def forge(place: Path, path: str) -> str:
    """A version whose documents agree with each other and name a path that no push writes."""
    sums = f"{'0' * 64}  {path}\n".encode()
    head = "format: 1\nkind: files\nfiles:\n  count: 1\n  bytes: 3\n"
    manifest = f'{head}  sha256sums: "{digest_text(sums)}"\nexecutable: []\n'.encode()
    folder = place / ".lhub/versions" / digest_text(manifest)
    write_tree(folder, {"manifest.yaml": manifest, "SHA256SUMS": sums, "files/x": "x"})
    relink(place / "forged", link_to(folder.name))
    return folder.name


@pytest.mark.parametrize("path", ["../../../../../../etc/passwd", "/etc/passwd", "a/../../x", "a//b", "./x", "a/"])
def test_a_forged_version_whose_paths_climb_is_refused(
    registry: Registry, place: Path, tmp_path: Path, path: str
) -> None:
    forge(place, path)
    with pytest.raises(Corrupt):
        registry.pull("alice/X:forged", tmp_path / "pulled")
    assert os.listdir(tmp_path) == ["registry"]


@pytest.mark.parametrize("part", ["files", "files/sub", "files/sub/b.txt"])
def test_a_link_anywhere_in_a_payload_is_not_followed(
    registry: Registry, resource: Resource, place: Path, tmp_path: Path, part: str
) -> None:
    root = place / ".lhub/versions" / version(resource)
    for folder in (root, root / "files", root / "files/sub"):
        folder.chmod(0o755)
    (root / part).rename(tmp_path / "outside")
    (root / part).symlink_to(tmp_path / "outside")
    with pytest.raises(Corrupt):
        registry.pull("alice/X", tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()


@pytest.mark.parametrize("name", ["manifest.yaml", "SHA256SUMS"])
@pytest.mark.parametrize("make", ["gone", "link", "fifo", "huge"])
def test_a_document_that_is_none_is_told_and_does_not_hang(
    registry: Registry, place: Path, tmp_path: Path, name: str, make: str
) -> None:
    root = place / "latest"
    root.resolve().chmod(0o755)
    path = root / name
    path.rename(tmp_path / "moved")
    if make == "link":
        path.symlink_to(tmp_path / "moved")
    elif make == "fifo":
        os.mkfifo(path)
    elif make == "huge":
        path.touch()
        os.truncate(path, 1 << 30)
    with pytest.raises(Corrupt) as told:
        registry.pull("alice/X", tmp_path / "pulled")
    assert "alice/X@" in str(told.value)
    assert told.value.hint


# the resource


def test_its_mode_is_its_visibility(resource: Resource, place: Path) -> None:
    seen = {}
    for mode in (0o755, 0o700, 0o2775, 0o2770):
        place.chmod(mode)
        seen[oct(mode)] = resource.visibility()
    assert seen == {"0o755": "public", "0o700": "private", "0o2775": "public", "0o2770": "private"}


def test_what_is_no_folder_does_not_stand(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    assert [Resource(f"{tmp_path}/{name}", name).status() for name in ("file", "link", "nothing", "file/x")] == [
        None
    ] * 4


def test_a_folder_without_a_kind_was_never_pushed(place: Path, resource: Resource) -> None:
    assert resource.kind() == "files"
    (place / "resource.yaml").unlink()
    assert resource.kind() is None


def test_a_kind_that_no_push_wrote_is_told(place: Path, resource: Resource) -> None:
    (place / "resource.yaml").chmod(0o644)
    for text in (b"", b"format: 1\n", b"format: 1\nkind: spaceship\n", b"x" * 100_000):
        (place / "resource.yaml").write_bytes(text)
        with pytest.raises(Corrupt, match=r"resource\.yaml"):
            resource.kind()


def test_reading_writes_nothing(registry: Registry, place: Path, tmp_path: Path) -> None:
    before = snapshot(registry.root)
    times = {path: path.lstat().st_mtime_ns for path in registry.root.rglob("*")}
    registry.list()
    registry.show("alice/X")
    registry.path("alice/X:v1")
    registry.pull("alice/X:v1", tmp_path / "pulled")
    registry.log("alice/X")
    assert snapshot(registry.root) == before
    assert {path: path.lstat().st_mtime_ns for path in registry.root.rglob("*")} == times
    assert stat.S_IMODE((tmp_path / "pulled").stat().st_mode) & 0o200
