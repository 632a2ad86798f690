"""Images: layouts are read strictly, what others wrote becomes one of ours byte for byte, nothing is believed."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lhub.errors import LhubError, NotFound, UsageError
from lhub.images.base import told_of
from lhub.images.engines import local_name
from lhub.images.layers import Entry
from lhub.images.layers import tarred as layered
from lhub.images.oci import Layout, Platform, choose, faults, parse_platform
from lhub.images.rootfs import Base, Rootfs
from lhub.opening import digest_of
from lhub.orders import Pushed
from lhub.registry import Registry
from tests.basing import docker_save, layout_files, program, rootfs, see_whole, settings, sha, tarred, wheel
from tests.conftest import by_hand, read_tree, snapshot, write_tree

BASE = tarred(rootfs())


@pytest.fixture
def bring(registry: Registry, tmp_path: Path) -> Callable[..., Pushed]:
    """Import something as the base alice/tiny: bytes as a file, a mapping as a folder."""

    def bring(source: Any, **asked: Any) -> Pushed:
        place = tmp_path / "source"
        if isinstance(source, dict):
            write_tree(place, source)
        else:
            place.write_bytes(source)
        return registry.import_base("tiny", place, **asked)

    return bring


def layout_of(pushed: Pushed) -> Layout:
    return Layout(str(pushed.path))


# words


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", Platform("linux", "amd64")),
        ("amd64", Platform("linux", "amd64")),
        ("x86_64", Platform("linux", "amd64")),
        ("linux/arm64/v8", Platform("linux", "arm64", "v8")),
        ("arm64/v8", Platform("linux", "arm64", "v8")),
        ("Linux/AArch64", Platform("linux", "arm64")),
    ],
)
def test_a_platform_is_what_a_person_types(text: str, platform: Platform) -> None:
    assert parse_platform(text) == platform


@pytest.mark.parametrize("text", ["", "/", "a/b/c/d", "linux/", "linux amd64", "linux/../etc", "x" * 100, "--help\n"])
def test_what_is_no_platform_is_a_sentence(text: str) -> None:
    with pytest.raises(UsageError, match="is no platform"):
        parse_platform(text)


def test_arm64_without_a_variant_is_v8() -> None:
    assert Platform("linux", "arm64").suits(parse_platform("linux/arm64/v8"))
    assert Platform("linux", "arm64", "v8").suits(parse_platform("linux/arm64"))
    assert not Platform("linux", "arm", "v6").suits(parse_platform("linux/arm/v7"))


@pytest.mark.parametrize(
    ("space", "name", "called"),
    [
        ("alice", "MyExecutor", "lhub.local/alice/myexecutor:v1"),
        (None, "X", "lhub.local/x:v1"),
        ("alice", "a.b_c--d", "lhub.local/alice/a.b_c--d:v1"),
    ],
)
def test_an_image_has_a_name_that_engines_take(space: str | None, name: str, called: str) -> None:
    assert local_name(space, name, "v1") == called


def test_names_that_engines_do_not_take_stay_apart() -> None:
    names = {local_name("alice", name, "v1") for name in ("a..b", "a.-b", "a-b-", "a___b", "x" * 128, "y" * 128, "Z_")}
    assert len(names) == 7
    assert all(len(name) < 255 and not name.endswith(("-:v1", "_:v1")) and ".." not in name for name in names)


# layers


@given(
    st.dictionaries(
        st.from_regex(r"[a-zé]{1,9}(/[a-z]{1,120}){0,2}", fullmatch=True), st.binary(max_size=2000), max_size=5
    )
)
def test_a_layer_is_a_tar_and_the_same_at_any_time(files: dict[str, bytes]) -> None:
    def entries() -> list[Entry]:
        return [Entry(path=path, size=len(data), pieces=lambda data=data: iter([data])) for path, data in files.items()]  # type: ignore[misc]

    once, again = b"".join(layered(entries())), b"".join(layered(entries()))
    assert once == again
    with tarfile.open(fileobj=io.BytesIO(once)) as tar:
        found = {info.name: (tar.extractfile(info) or io.BytesIO()).read() for info in tar}
        assert all((info.uid, info.gid, info.mode, info.mtime) == (0, 0, 0o644, 315532800) for info in tar)
    assert found == files


def test_a_file_that_changes_its_length_while_it_is_packed_is_refused() -> None:
    entry = Entry(path="a", size=5, pieces=lambda: iter([b"four"]))
    with pytest.raises(LhubError, match="a changed its length"):
        b"".join(layered([entry]))


# what is in a root folder


def looked_at(*layers: dict[str, Any]) -> Rootfs:
    seen = Rootfs()
    for layer in layers:
        seen.add(io.BytesIO(tarred(layer)))
    return seen


def test_it_tells_python_libc_packages_and_the_machine() -> None:
    seen = looked_at(rootfs("arm64"))
    assert (seen.python, seen.libc, seen.architecture) == (("/usr/bin/python3", "3.11"), "glibc 2.36", "arm64")
    assert set(seen.packages.values()) == {"pip==23.0.1"}


@pytest.mark.parametrize(
    ("members", "python"),
    [
        ({"usr/local/bin/python3": "python3.12", "usr/local/bin/python3.12": b"x"}, ("/usr/local/bin/python3", "3.12")),
        ({"usr/local/bin/python3": b"x", "usr/local/bin/python3.10": b"x"}, ("/usr/local/bin/python3", "3.10")),
        ({"bin": "usr/bin", "usr/bin/python3": "/usr/bin/python3.9"}, ("/usr/bin/python3", "3.9")),
        ({"usr/bin/python3": b"x"}, None),
        ({"usr/bin/python3": b"x", "usr/bin/python3.9": b"x", "usr/bin/python3.10": b"x"}, None),
        ({"usr/bin/python2": b"x"}, None),
    ],
)
def test_the_first_python_of_the_path_counts_if_its_version_is_sure(members: Any, python: Any) -> None:
    assert looked_at(members).python == python


def test_musl_is_told_by_its_loader() -> None:
    assert looked_at({"lib/ld-musl-x86_64.so.1": b"x"}).libc == "musl 1.2"


def test_what_a_later_layer_takes_away_is_gone() -> None:
    taken = looked_at(rootfs(), {"usr/bin/.wh.python3": b"", "usr/lib/python3/dist-packages/.wh..wh..opq": b""})
    assert (taken.python, taken.packages) == (None, {})


# bases: whatever others wrote


def test_a_root_folder_becomes_a_layout_of_one_layer(bring: Callable[..., Pushed], registry: Registry) -> None:
    pushed = bring(BASE)
    layout = layout_of(pushed)
    (image,) = layout.images()
    assert (pushed.kind, str(image.platform), image.diff_ids) == ("base", "linux/amd64", (sha(BASE),))
    see_whole(layout)
    (base,) = told_of(registry.show("alice/tiny").manifest["about"])
    assert (base.python, base.interpreter, base.libc) == ("3.11", "/usr/bin/python3", "glibc 2.36")
    assert registry.verify().ok


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, bytes])
def test_a_compressed_root_folder_is_the_same_version(registry: Registry, tmp_path: Path, compress: Any) -> None:
    (tmp_path / "a").write_bytes(BASE)
    (tmp_path / "b").write_bytes(compress(BASE))
    assert registry.import_base("tiny", tmp_path / "a").version == registry.import_base("tiny", tmp_path / "b").version


ARCHIVES: dict[str, Any] = {
    "docker save": tarred(docker_save([BASE, tarred({"etc/more": b"x"})])),
    "docker save, with links": tarred({**docker_save([BASE]), "1/layer.tar": "../0/layer.tar"}),
    "docker save, zipped layers": None,
    "a layout": layout_files([("amd64", [BASE])]),
    "a layout, plain": layout_files([("amd64", [BASE])], zipped=False),
    "a layout in a tar": tarred(layout_files([("amd64", [BASE])])),
    "a layout in Docker's words": layout_files([("amd64", [BASE])], docker=True),
    "a zipped tar of a layout": gzip.compress(tarred(layout_files([("amd64", [BASE])]))),
}
ZIPPED_SAVE = docker_save([BASE])
ZIPPED_SAVE["0/layer.tar"] = gzip.compress(BASE)
ARCHIVES["docker save, zipped layers"] = tarred(ZIPPED_SAVE)


@pytest.mark.parametrize("source", ARCHIVES.values(), ids=ARCHIVES)
def test_every_way_to_keep_an_image_becomes_a_layout(bring: Callable[..., Pushed], source: Any) -> None:
    pushed = bring(source)
    layout = layout_of(pushed)
    (image,) = layout.images()
    assert image.diff_ids[0] == sha(BASE)
    assert {path.split("/")[0] for path in read_tree(Path(str(pushed.path)))} == {"blobs", "index.json", "oci-layout"}
    named = {blob.digest for blob in image.blobs}
    assert {f"sha256:{name}" for name in os.listdir(f"{pushed.path}/blobs/sha256")} == named


def test_the_configuration_keeps_its_bytes(bring: Callable[..., Pushed]) -> None:
    text = json.dumps(settings([BASE], Cmd=["sh"])).encode()
    (image,) = layout_of(bring(tarred(docker_save([BASE], Cmd=["sh"])))).images()
    assert image.config.digest == sha(text)


def test_several_platforms_are_a_nested_index_and_a_name_each(bring: Callable[..., Pushed]) -> None:
    arm = tarred(rootfs("arm64"))
    pushed = bring(layout_files([("amd64", [BASE]), ("arm64", [arm])]))
    layout = layout_of(pushed)
    see_whole(layout)
    names = [each["annotations"]["org.opencontainers.image.ref.name"] for each in layout.index()["manifests"]]
    assert names == ["image", "image-linux-amd64", "image-linux-arm64"]
    assert [str(image.platform) for image in layout.images()] == ["linux/amd64", "linux/arm64"]
    assert choose(layout.images(), parse_platform("arm64"), "it").diff_ids == (sha(arm),)
    with pytest.raises(NotFound, match="it has no image for linux/s390x, only for linux/amd64, linux/arm64"):
        choose(layout.images(), parse_platform("s390x"), "it")


def broken(path: str, content: bytes) -> dict[str, bytes]:
    return {**layout_files([("amd64", [BASE])], zipped=False), path: content}


def other_layer() -> dict[str, bytes]:
    """A layout whose layer is another than its name says."""
    layer = gzip.compress(BASE, mtime=0)
    return {**layout_files([("amd64", [BASE])]), f"blobs/sha256/{sha(layer)[7:]}": gzip.compress(BASE + bytes(10240))}


REFUSED: dict[str, tuple[Any, str]] = {
    "no tar": (b"hello", "no tar"),
    "an empty file": (b"", "no tar|neither"),
    "half a tar": (BASE[: len(BASE) // 2 - 700], "no whole tar|no tar|does not unpack"),
    "a tar of something else": (tarred({"a.txt": b"x"}), "neither an image nor a root folder"),
    "a folder without a layout": ({"a.txt": b"x"}, "no OCI layout"),
    "a layout of nothing": (broken("index.json", b'{"schemaVersion": 2, "manifests": []}'), "holds no image"),
    "an index that is no JSON": (broken("index.json", b"{"), "index.json is no JSON"),
    "an index too deep": (broken("index.json", b"[" * 100_000), "index.json is no JSON"),
    "a blob that is another": (other_layer(), "is not what its digest says"),
    "two for one platform": (
        layout_files([("amd64", [BASE]), ("amd64", [BASE, BASE])]),
        "several images for linux/amd64",
    ),
    "two images": (
        tarred({**docker_save([BASE]), "manifest.json": b'[{"RepoTags": ["a:1"]}, {"RepoTags": ["b:1"]}]'}),
        "2 images .a:1, b:1., not one",
    ),
    "a manifest that names nothing": (tarred({"manifest.json": b'[{"Config": "no.json"}]'}), "not whole"),
    "a layer that is missing": (
        tarred({path: data for path, data in docker_save([BASE]).items() if not path.endswith("layer.tar")}),
        "not whole",
    ),
    "a layer that was changed": (tarred({**docker_save([BASE]), "0/layer.tar": BASE + bytes(10240)}), "not what its"),
    "links in a circle": (tarred({**docker_save([BASE]), "0/layer.tar": "layer.tar"}), "not whole"),
}


@pytest.mark.parametrize(("source", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_image_is_a_sentence_and_leaves_nothing(
    bring: Callable[..., Pushed], registry: Registry, source: Any, said: str
) -> None:
    with pytest.raises(UsageError, match=said) as told:
        bring(source)
    assert "\n" not in str(told.value).strip()
    assert registry.list() == []
    left = {path for path in snapshot(registry.root) if "/.lhub/versions/" in path or "lfs/objects/" in path}
    assert left == set()


def test_a_layer_in_zstandard_is_refused_with_a_way_out(bring: Callable[..., Pushed]) -> None:
    files = layout_files([("amd64", [BASE])])
    text = files["index.json"]
    manifest = json.loads(text)["manifests"][0]["digest"]
    document = json.loads(files[f"blobs/sha256/{manifest[7:]}"])
    document["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.v1.tar+zstd"
    changed = json.dumps(document).encode()
    files[f"blobs/sha256/{sha(changed)[7:]}"] = changed
    index = json.loads(text)
    index["manifests"][0] |= {"digest": sha(changed), "size": len(changed)}
    files["index.json"] = json.dumps(index).encode()
    with pytest.raises(UsageError, match=r"tar\+zstd") as told:
        bring(files)
    assert "skopeo copy" in told.value.hint


def test_what_a_builder_notes_beside_an_image_is_no_image(bring: Callable[..., Pushed]) -> None:
    files = layout_files([("amd64", [BASE])])
    index = json.loads(files["index.json"])
    note = {
        **index["manifests"][0],
        "digest": "sha256:" + 64 * "0",
        "platform": {"os": "unknown", "architecture": "unknown"},
    }
    index["manifests"].append(note)
    assert len(layout_of(bring({**files, "index.json": json.dumps(index).encode()})).images()) == 1


def test_a_name_that_climbs_out_writes_nothing_there(bring: Callable[..., Pushed], tmp_path: Path) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    bring(tarred({**docker_save([BASE]), "../../climbed": b"x", "/tmp/lhub-climbed": b"x"}))
    assert {path.name for path in tmp_path.iterdir()} - before <= {"source"}
    assert not os.path.lexists("/tmp/lhub-climbed")


# the reader


def damaged(folder: Path, what: str) -> None:
    """Do something to a layout."""
    blobs = folder / "blobs" / "sha256"
    layer = max(blobs.iterdir(), key=lambda path: path.stat().st_size)
    if what == "missing":
        layer.unlink()
    elif what == "flipped":
        data = bytearray(layer.read_bytes())
        data[1000] ^= 1
        layer.chmod(0o644)
        layer.write_bytes(data)
    elif what == "shorter":
        os.truncate(layer, 1000)
    elif what == "a link":
        layer.unlink()
        layer.symlink_to("/etc/passwd")
    elif what == "an index of nothing":
        (folder / "index.json").unlink()
    else:
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "2.0.0"}')


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("missing", "is missing, or no file"),
        ("flipped", "is not what its digest says"),
        ("shorter", "has 1000 bytes, not"),
        ("a link", "is missing, or no file"),
        ("an index of nothing", "index.json is not in the layout"),
        ("another version", "oci-layout tells no version 1.0.0"),
    ],
)
def test_the_reader_finds_what_was_damaged(bring: Callable[..., Pushed], what: str, said: str) -> None:
    folder = Path(str(bring(BASE).path))
    with by_hand(folder):
        damaged(folder, what)
        found = list(faults(Layout(str(folder)), lambda descriptor, status: digest_of(descriptor)[0]))
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"history": []}, "a history of another number of layers"),
        ({"rootfs": {"diff_ids": []}}, "diff_ids has 0 entries for 1 layers"),
        ({"rootfs": None}, "rootfs is no mapping"),
        ({"architecture": 5}, "names no platform"),
    ],
)
def test_the_reader_finds_what_a_configuration_lacks(tmp_path: Path, change: Any, said: str) -> None:
    files = layout_files([("amd64", [BASE])], zipped=False)
    old = json.dumps(settings([BASE])).encode()
    new = json.dumps({**settings([BASE]), "history": [{"created": "1980-01-01T00:00:00Z"}], **change}).encode()
    files[f"blobs/sha256/{sha(new)[7:]}"] = new
    manifest = next(data for path, data in files.items() if b"manifest.v1" in data and "blobs" in path)
    other = manifest.replace(sha(old).encode(), sha(new).encode()).replace(
        b'"size": %d}' % len(old), b'"size": %d}' % len(new)
    )
    files[f"blobs/sha256/{sha(other)[7:]}"] = other
    files["index.json"] = files["index.json"].replace(sha(manifest).encode(), sha(other).encode())
    files["index.json"] = files["index.json"].replace(b'"size": %d' % len(manifest), b'"size": %d' % len(other))
    write_tree(tmp_path, files)
    assert said in "; ".join(faults(Layout(str(tmp_path)), None))


def mutated(document: Any, value: Any) -> Iterator[Any]:
    """A document with each of its values in turn replaced by another."""
    if isinstance(document, dict):
        for key, each in document.items():
            yield {**document, key: value}
            yield from ({**document, key: other} for other in mutated(each, value))
    elif isinstance(document, list):
        for number, each in enumerate(document):
            yield [*document[:number], value, *document[number + 1 :]]
            yield from ([*document[:number], other, *document[number + 1 :]] for other in mutated(each, value))


@pytest.mark.parametrize("value", [5, -1, [], {}, None, "x", True, [[]], "a" + 60 * "-" + "!"])
def test_no_document_of_a_stranger_is_more_than_a_sentence(tmp_path: Path, value: Any) -> None:
    files = layout_files([("amd64", [BASE])], zipped=False)
    config = {**settings([BASE], Labels={"a": "b"}, Cmd=["sh"]), "history": [{"created": "1980-01-01T00:00:00Z"}]}
    index = json.loads(files["index.json"])
    index["manifests"][0]["annotations"] = {"org.opencontainers.image.ref.name": "image"}
    manifest = json.loads(next(data for path, data in files.items() if b"manifest.v1" in data and "blobs" in path))

    def laid(number: int, index: Any, manifest: Any, config: Any) -> Layout:
        blobs = {"oci-layout": files["oci-layout"]}
        blobs |= {path: data for path, data in files.items() if data == BASE}
        if isinstance(manifest, dict) and isinstance(manifest.get("config"), dict):
            data = json.dumps(config).encode()
            manifest = {**manifest, "config": {**manifest["config"], "digest": sha(data), "size": len(data)}}
            blobs[f"blobs/sha256/{sha(data)[7:]}"] = data
        data = json.dumps(manifest).encode()
        blobs[f"blobs/sha256/{sha(data)[7:]}"] = data
        text = (
            json.dumps(index).replace(index_digest, sha(data)).replace(f'"size": {index_size}', f'"size": {len(data)}')
        )
        return Layout(str(write_tree(tmp_path / str(number), {**blobs, "index.json": text})))

    index_digest, index_size = index["manifests"][0]["digest"], index["manifests"][0]["size"]
    cases = [(each, manifest, config) for each in mutated(index, value)]
    cases += [(index, each, config) for each in mutated(manifest, value)]
    cases += [(index, manifest, each) for each in mutated(config, value)]
    for number, case in enumerate(cases):
        layout = laid(number, *case)
        assert all(isinstance(fault, str) for fault in faults(layout, None))
        with suppress(LhubError):
            images = layout.images()
            assert choose(images, parse_platform("linux/amd64"), "it").labels is not None
            assert [Base.of(image, []).to_dict()["platform"] for image in images]


def test_indexes_that_name_one_another_are_walked_once(tmp_path: Path) -> None:
    kind = "application/vnd.oci.image.index.v1+json"
    files = layout_files([("amd64", [BASE])], zipped=False)
    data = files.pop("index.json")
    for _ in range(4):
        files[f"blobs/sha256/{sha(data)[7:]}"] = data
        each = {"mediaType": kind, "digest": sha(data), "size": len(data)}
        data = json.dumps({"schemaVersion": 2, "manifests": [each] * 256}).encode()
    assert len(Layout(str(write_tree(tmp_path, {**files, "index.json": data}))).images()) == 1


def test_a_tar_that_is_a_bomb_is_refused(bring: Callable[..., Pushed]) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("usr/bin/x")
        info.pax_headers = {"comment": "x" * (2 << 20)}
        tar.addfile(info)
    with pytest.raises(UsageError, match="a header of"):
        bring(out.getvalue())


def test_a_sparse_file_is_refused(bring: Callable[..., Pushed]) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("usr/bin/x")
        info.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 40), "GNU.sparse.name": "usr/bin/x"}
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(UsageError, match="sparse"):
        bring(out.getvalue())


def test_an_image_is_found_to_be_damaged_by_verify_and_named(bring: Callable[..., Pushed], registry: Registry) -> None:
    folder = Path(str(bring(BASE).path))
    with by_hand(folder):
        damaged(folder, "flipped")
    assert not registry.verify().ok


def test_a_base_is_like_any_resource(bring: Callable[..., Pushed], registry: Registry) -> None:
    first = bring(BASE, tags=["v1"], protected_tags=["v1"], private=True, message="the first")
    assert first.visibility == "private"
    with pytest.raises(LhubError, match="protected"):
        bring(tarred(rootfs("arm64")), tags=["v1"])
    assert registry.log("alice/tiny")[0].message == "the first"
    pulled = Path(registry.pull("lhub://alice/tiny:v1", registry.root.parent / "here").path)
    see_whole(Layout(str(pulled)))
    assert [base.name for base in registry.bases()] == ["alice/tiny"]


def test_a_base_has_a_namespace(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(BASE)
    anonymous = Registry(registry.root, namespace=None)
    with pytest.raises(LhubError):
        anonymous.import_base("tiny", tmp_path / "a")
    assert registry.list() == []


def test_helpers_are_what_they_say(tmp_path: Path) -> None:
    assert program()[:4] == b"\x7fELF"
    assert wheel(tmp_path, "one").name == "one-1.0-py3-none-any.whl"
