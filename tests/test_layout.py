"""Every path and every mode of the format, in the letters of the format."""

from __future__ import annotations

import ast

import pytest

from lhub import layout
from lhub.layout import (
    ONE_PERSON,
    TEAM,
    RegistryFolder,
    ResourceFolder,
    VersionFolder,
    is_private,
    is_version,
    link_to,
    modes_of,
    read_link,
    trash_name,
    trashed,
)
from tests.conftest import PROJECT

V = "0123456789abcdef" * 4
ROOT = RegistryFolder("/srv/r")
ALICE = ROOT.namespace("alice")
X = ALICE.resource("X")
VERSION = X.version(V)

TREE = {
    "registry.yaml": ROOT.file,
    "alice": ROOT.namespace("alice").path,
    "alice/namespace.yaml": ROOT.namespace("alice").file,
    "alice/.tokens.yaml": ALICE.tokens,
    "alice/.tokens.lock": ALICE.tokens_lock,
    "alice/.tokens.new": ALICE.tokens_scratch,
    "alice/.inbox.host-1-ab": ALICE.inbox("host-1-ab"),
    "alice/.bases": ALICE.bases,
    "alice/.trash": ALICE.trash,
    "alice/.trash/1700000000.X": ALICE.deleted("X", 1700000000.9).path,
    "alice/.trash/.gone.host-1-ab": ALICE.gone("host-1-ab"),
    "alice/X": X.path,
    "alice/X/resource.yaml": X.file,
    "alice/X/v1": X.tag("v1"),
    "alice/X/.protected.v1": X.pin("v1"),
    "alice/X/.lhub": X.inside,
    "alice/X/.lhub/versions": X.versions,
    f"alice/X/.lhub/versions/{V}": VERSION.path,
    f"alice/X/.lhub/versions/{V}/manifest.yaml": VERSION.manifest,
    f"alice/X/.lhub/versions/{V}/SHA256SUMS": VERSION.sums,
    f"alice/X/.lhub/versions/{V}/files": VERSION.files,
    f"alice/X/.lhub/versions/{V}/files/a/b.txt": VERSION.payload("a/b.txt"),
    "alice/X/.lhub/versions/.tmp.host-1-ab": X.scratch("host-1-ab"),
    f"alice/X/.lhub/versions/.seen.{V}": X.seen(V),
    f"alice/X/.lhub/versions/.gone.host-1-ab.{V}": X.gone("host-1-ab", V),
    "alice/X/.lhub/damaged": X.damaged,
    f"alice/X/.lhub/damaged/1700000000.{V}": X.quarantine(V, 1700000000.9),
    "alice/X/.lhub/history.git": X.history,
    "alice/X/.lhub/history.git/objects": X.objects,
    "alice/X/.lhub/history.git/refs/heads/main": X.branch,
    f"alice/X/.lhub/history.git/lfs/objects/01/23/{V}": X.blob(V),
    "alice/X/.lhub/recorded.json": X.recorded,
    "alice/X/.lhub/images": X.images,
    f"alice/X/.lhub/images/{V}": X.image(V),
    f"alice/X/.lhub/images/.old.{V}": X.old_image(V),
    "alice/X/.lhub/images/.gone.host-1-ab": X.gone_image("host-1-ab"),
    "alice/X/.lhub/builds": X.builds,
    "alice/X/.lhub/builds/65a0": X.build("65a0").path,
    "alice/X/.lhub/secret": X.secret,
    "alice/X/.lhub/seal.yaml": X.seal,
    "alice/X/.lhub/lock": X.lock,
    "_": ROOT.namespace(None).path,
    "_/X": ROOT.namespace(None).resource("X").path,
}


@pytest.mark.parametrize(("path", "born"), TREE.items())
def test_every_path_is_where_the_format_has_it(path: str, born: str) -> None:
    assert born == f"/srv/r/{path}"


def test_the_tree_above_has_every_path_that_is_born() -> None:
    kinds = (RegistryFolder, layout.NamespaceFolder, ResourceFolder, VersionFolder)
    methods = {f"{kind.__name__}.{name}" for kind in kinds for name in vars(kind) if not name.startswith("_")}
    assert len(methods) == len(TREE) - 2 + 2  # the last two are born as others are; `stores` are parts of a blob's path
    assert {"ResourceFolder.stores", "ResourceFolder.is_deleted"} <= methods  # which are no paths of their own


def test_no_other_room_writes_a_path_of_the_inside() -> None:
    found = []
    for path in sorted((PROJECT / "lhub").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            inside = ".lhub/" in text.replace("~/.lhub/", "") or "history.git" in text
            if path.name != "layout.py" and "\n" not in text and inside:
                found.append((path.name, text))
    assert found == []


# links


def test_a_link_is_relative_to_its_resource() -> None:
    assert link_to(V) == f".lhub/versions/{V}"


def test_a_link_is_read_back() -> None:
    assert read_link(link_to(V)) == V


@pytest.mark.parametrize(
    "text",
    [
        "",
        V,
        f"versions/{V}",
        f"./.lhub/versions/{V}",
        f"/srv/r/alice/X/.lhub/versions/{V}",
        f"../Y/.lhub/versions/{V}",
        f"../../bob/X/.lhub/versions/{V}",
        f".lhub/versions/../versions/{V}",
        f".lhub/versions/.lhub/versions/{V}",
        f".lhub/versions//{V}",
        f".lhub/versions/{V}/",
        f".lhub/versions/{V}/files",
        f".lhub/versions/{V}\n",
        f" .lhub/versions/{V}",
        f".lhub/versions/{V[:-1]}",
        f".lhub/versions/{V}0",
        f".lhub/versions/{V.upper()}",
        f".lhub/versions/{V[:-1]}g",
        ".lhub/versions/" + "\u0661" * 64,
        ".lhub/versions/../../../../../etc",
        ".lhub/versions/",
        ".lhub/versions/.trash.1." + V,
        ".lhub/versions/.tmp.x",
        "/etc/passwd",
        "latest",
    ],
)
def test_a_link_that_leads_anywhere_else_is_no_link(text: str) -> None:
    assert read_link(text) is None


@pytest.mark.parametrize("name", ["", V[:63], V + "0", V.upper(), "g" * 64, "\u0661" * 64, ".tmp.x", f".trash.1.{V}"])
def test_only_64_hex_digits_are_a_version(name: str) -> None:
    assert is_version(V)
    assert not is_version(name)


def test_a_name_in_the_trash_tells_the_second_and_the_version() -> None:
    assert trash_name(V, 1700000000.9) == f".trash.1700000000.{V}"
    assert trashed(trash_name(V, 1700000000.9)) == V


@pytest.mark.parametrize(
    "name",
    [
        V,
        f".trash.{V}",
        f".trash..{V}",
        f".trash.x.{V}",
        f".trash.-1.{V}",
        f".trash.1.{V[1:]}",
        f".gone.1.{V}",
        ".trash.1.",
    ],
)
def test_what_is_not_in_the_trash_is_not_taken_from_it(name: str) -> None:
    assert trashed(name) is None


def test_no_name_under_versions_means_two_things() -> None:
    names = [
        V,
        trash_name(V, 1),
        X.scratch("host-1-ab").rpartition("/")[2],
        X.scratch("a").rpartition("/")[2] + ".lock",
        X.seen(V).rpartition("/")[2],
        X.gone("host-1-ab", V).rpartition("/")[2],
    ]
    known = (is_version, trashed, layout.seen_note, layout.is_gone, lambda name: name.startswith(layout.SCRATCH))
    assert [sum(bool(knows(name)) for knows in known) for name in names] == [1] * 6


def test_no_name_under_images_means_two_things() -> None:
    names = [path.rpartition("/")[2] for path in (X.image(V), X.old_image(V), X.gone_image("host-1-ab"))]
    assert [layout.image_of(name) for name in names] == [V, V, None]
    assert [layout.is_gone(name) for name in names] == [False, False, True]


@pytest.mark.parametrize(
    "name", ["", V[1:], V.upper(), f"{V}.old", f".old..{V}", f".trash.1.{V}", ".old.", "index.json"]
)
def test_what_is_no_image_is_not_taken_for_one(name: str) -> None:
    assert layout.image_of(name) is None


def test_a_deleted_resource_is_told_by_its_name() -> None:
    name = ALICE.deleted("X", 1700000000.9).path.rpartition("/")[2]
    assert (layout.deleted_name(name), layout.since_name(name)) == ("X", 1700000000.0)
    assert [layout.deleted_name(odd) for odd in ("X", ".X", "x.X", "1.", "1.a/b", ".gone.x", "\u0661.X")] == [None] * 7


def test_a_folder_knows_that_it_lies_in_the_trash() -> None:
    assert ALICE.deleted("X", 1).is_deleted
    assert not X.is_deleted


# modes


@pytest.mark.parametrize(
    ("mode", "modes"),
    [(0o755, ONE_PERSON), (0o700, ONE_PERSON), (0o775, ONE_PERSON), (0o2755, ONE_PERSON), (0o1777, ONE_PERSON),
     (0o3775, TEAM), (0o2775, TEAM), (0o2770, TEAM)],
)  # fmt: skip
def test_a_namespace_that_is_setgid_and_group_writable_is_a_teams(mode: int, modes: layout.Modes) -> None:
    assert modes_of(mode) is modes


def test_modes_are_those_of_the_format() -> None:
    assert tuple(map(oct, ONE_PERSON)) == ("0o755", "0o700", "0o1755", "0o755", "0o644", "0o600")
    assert tuple(map(oct, TEAM)) == ("0o2775", "0o2770", "0o2770", "0o2775", "0o664", "0o660")


def test_what_is_published_can_be_written_by_nobody() -> None:
    assert not (layout.VERSION_FOLDER | layout.PAYLOAD | layout.EXECUTABLE) & 0o222


def test_what_is_staged_can_be_seen_by_nobody_else() -> None:
    assert not layout.STAGING & 0o077


@pytest.mark.parametrize("modes", [ONE_PERSON, TEAM])
def test_a_mode_is_a_visibility(modes: layout.Modes) -> None:
    assert is_private(modes.private)
    assert not is_private(modes.public)


@pytest.mark.parametrize("modes", [ONE_PERSON, TEAM])
def test_a_lock_cannot_be_held_by_a_stranger(modes: layout.Modes) -> None:
    assert not modes.lock & 0o007


def test_a_teams_resource_is_not_sticky() -> None:
    assert not (TEAM.public | TEAM.private) & 0o1000
