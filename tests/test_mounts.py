"""Mounts: the one that a path lies on is found as the kernel finds it, and what it cannot keep is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lhub import mounts
from lhub.mounts import Mount, covering, mount_of, parse, point_of, weaknesses

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of its mounts")
ROOT = "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
NFS = "30 21 0:40 / /mnt/team rw,nosuid shared:5 master:2 - nfs4 nas:/team rw,vers=4.2,hard,local_lock=none\n"


def at(text: str, path: str) -> str | None:
    """The source of the mount that a path lies on."""
    found = covering(parse(text), path)
    return found.source if found else None


# which mount


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("/mnt/team", "nas:/team"),
        ("/mnt/team/registry/alice", "nas:/team"),
        ("/mnt/teams", "/dev/sda1"),
        ("/mnt", "/dev/sda1"),
        ("/", "/dev/sda1"),
    ],
)
def test_a_path_lies_on_the_mount_above_it(path: str, source: str) -> None:
    assert at(ROOT + NFS, path) == source


def test_a_mount_is_told_with_the_options_of_the_mount_and_of_the_file_system() -> None:
    [_, line] = parse(ROOT + NFS)
    options = frozenset({"rw", "nosuid", "vers=4.2", "hard", "local_lock=none"})
    assert line.mount == Mount(point="/mnt/team", kind="nfs4", source="nas:/team", options=options)


def test_names_with_spaces_tabs_newlines_and_backslashes_are_read() -> None:
    text = ROOT + r"30 21 0:40 / /mnt/a\040b\011c\012d\134e rw - nfs nas:/a\040b rw" + "\n"
    assert at(text, "/mnt/a b\tc\nd\\e/registry") == "nas:/a b"


def test_a_name_that_is_no_utf_8_is_read() -> None:
    text = os.fsdecode(ROOT.encode() + b"30 21 0:40 / /mnt/\xff rw - nfs nas:/x rw\n")
    assert at(text, os.fsdecode(b"/mnt/\xff/y")) == "nas:/x"


def test_of_two_mounts_at_one_point_the_later_is_meant() -> None:
    assert at(ROOT + NFS + "31 30 0:41 / /mnt/team rw - tmpfs later rw\n", "/mnt/team/x") == "later"


def test_a_mount_below_a_folder_that_was_covered_later_is_out_of_reach() -> None:
    covered = ROOT + NFS + "31 21 0:41 / /mnt rw - tmpfs above rw\n"
    assert at(covered, "/mnt/team/x") == "above"


def test_a_mount_inside_a_mount_is_found() -> None:
    assert at(ROOT + NFS + "31 30 0:41 / /mnt/team/fast rw - ext4 /dev/fast rw\n", "/mnt/team/fast/x") == "/dev/fast"


def test_a_bind_mount_is_of_the_file_system_it_shows() -> None:
    bind = "32 21 0:40 /sub /srv/registry rw - nfs4 nas:/team rw\n"
    assert at(ROOT + NFS + bind, "/srv/registry/alice") == "nas:/team"


def test_a_container_that_sees_no_root_mount_still_finds_its_own() -> None:
    assert at("40 39 0:40 / /data rw - nfs4 nas:/team rw\n", "/data/x") == "nas:/team"
    assert at("40 39 0:40 / /data rw - nfs4 nas:/team rw\n", "/other") is None


@pytest.mark.parametrize("line", ["", "nonsense", "30 x 0:40 / /mnt rw - nfs a rw", "30 21 0:40 / /mnt rw - nfs"])
def test_a_line_that_cannot_be_read_is_left_out(line: str) -> None:
    assert at(f"{line}\n{ROOT}", "/mnt") == "/dev/sda1"


def test_a_mount_without_a_source_or_options_of_its_own_is_read() -> None:
    [line] = parse("40 39 0:40 / /data rw - tmpfs  \n")
    assert (line.mount.kind, line.mount.source, line.mount.options) == ("tmpfs", "", frozenset({"rw"}))


def test_moosefs_is_known_by_its_source() -> None:
    [line] = parse("40 39 0:40 / /data rw - fuse mfs\\043nas:9421 rw,allow_other\n")
    assert (line.mount.kind, line.mount.source) == ("fuse.mfs", "mfs#nas:9421")


@linux
def test_the_mounts_of_this_machine_are_told_as_it_tells_them_itself() -> None:
    for path in ("/", "/proc", "/proc/self", "/dev", str(Path(__file__).resolve())):
        found = mount_of(path)
        assert found is not None
        told = subprocess.run(["stat", "-c", "%m", path], capture_output=True, text=True, check=True)
        assert found.point == told.stdout.strip()


@linux
def test_a_path_that_is_not_there_has_the_mount_of_what_is_above_it() -> None:
    assert point_of("/proc/nowhere/at/all") == "/proc"
    assert point_of("/nowhere/at/all") == "/"


@linux
def test_a_link_is_followed_to_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "share").symlink_to("/proc")
    assert point_of(str(tmp_path / "share" / "registry")) == "/proc"


def test_a_circle_of_links_or_a_pipe_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    os.mkfifo(tmp_path / "pipe")
    assert point_of(str(tmp_path / "a" / "x")) == point_of(str(tmp_path))
    assert point_of(str(tmp_path / "pipe")) == point_of(str(tmp_path))


def test_where_the_system_does_not_tell_only_the_point_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "_TABLE", "/nowhere/mountinfo")
    assert mount_of("/") is None
    assert point_of("/") == "/"
    assert point_of("/proc/self") == ("/proc" if os.path.ismount("/proc") else "/")


def test_a_folder_that_is_mounted_when_it_is_entered_is_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first look finds the automounter only, a second what it has mounted."""
    folder = os.path.realpath(tmp_path)
    waiting = parse(ROOT + f"30 21 0:40 / {folder} rw - autofs systemd-1 rw\n")
    entered = [*waiting, *parse(f"31 30 0:41 / {folder} rw - nfs4 nas:/team rw\n")]
    tables = iter([waiting, entered])
    monkeypatch.setattr(mounts, "_table", lambda: next(tables))
    found = mount_of(folder)
    assert found is not None
    assert found.source == "nas:/team"


# what it cannot keep


def said(kind: str, *options: str, uid: int = 1000) -> list[str]:
    """What is said of such a mount: about what, and its first words."""
    mount = Mount("/mnt", kind, "server:/", frozenset(options))
    return [weakness.about for weakness in weaknesses(mount, uid=uid)]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ext4", ("rw", "relatime", "noexec")),
        ("xfs", ("rw",)),
        ("nfs4", ("rw", "vers=4.2", "hard", "local_lock=none", "noac", "actimeo=1")),
        ("nfs", ("rw", "vers=3", "hard", "local_lock=none")),
        ("ceph", ("rw", "acl")),
        ("fuse.mfs", ("rw", "allow_other")),
        ("fuse.ceph-fuse", ("rw", "allow_other", "default_permissions")),
        ("lustre", ("rw", "flock")),
        ("btrfs", ("rw",)),
    ],
)
def test_a_mount_that_keeps_everything_has_no_weakness(kind: str, options: tuple[str, ...]) -> None:
    assert said(kind, *options) == []


@pytest.mark.parametrize(
    ("kind", "options", "about"),
    [
        ("cifs", ("rw",), ["users", "hosts"]),
        ("cifs", ("rw", "multiuser"), ["hosts"]),
        ("fuse.sshfs", ("rw", "allow_other", "default_permissions"), ["users", "hosts", "data"]),
        ("nfs", ("rw", "nolock", "local_lock=all"), ["hosts"]),
        ("nfs4", ("rw", "local_lock=flock"), ["hosts"]),
        ("nfs", ("rw", "local_lock=posix"), []),
        ("nfs4", ("rw", "soft"), ["data"]),
        ("nfs4", ("rw", "softerr", "nocto"), ["hosts", "data"]),
        ("nfs4", ("ro",), ["data"]),
        ("fuse.x", ("rw",), ["users"]),
        ("fuse", ("rw", "allow_other"), ["users"]),
        ("fuse.x", ("rw", "allow_other", "default_permissions"), []),
        ("fuse.glusterfs", ("rw", "allow_other"), ["users"]),
        ("vfat", ("rw",), ["users"]),
        ("lustre", ("rw",), ["hosts"]),
        ("gfs2", ("rw", "localflocks"), ["hosts"]),
        ("tmpfs", ("rw",), ["staying"]),
        ("overlay", ("rw",), ["staying"]),
    ],
)
def test_what_a_mount_cannot_keep_is_said(kind: str, options: tuple[str, ...], about: list[str]) -> None:
    assert said(kind, *options) == about


@pytest.mark.parametrize(("kind", "sees"), [("ext4", True), ("ceph", True), ("fuse.mfs", True), ("nfs4", False)])
def test_that_root_sees_all_is_said_to_root_where_it_is_so(kind: str, sees: bool) -> None:
    assert ("root" in said(kind, "rw", uid=0), "root" in said(kind, "rw", uid=1000)) == (sees, False)


def test_every_weakness_has_a_sentence_and_says_what_now() -> None:
    kinds = ("cifs", "vfat", "fuse.x", "fuse.sshfs", "fuse.glusterfs", "nfs", "lustre", "tmpfs", "ext4")
    options = frozenset({"nolock", "soft", "nocto", "ro"})
    found = [each for kind in kinds for each in weaknesses(Mount("/mnt", kind, "s", options), uid=0)]
    assert [each for each in found if not each.hint or each.text[0].isupper() or each.text.endswith(".")] == []
