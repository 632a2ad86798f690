"""Makes the registries that are kept and opened for ever: `python -m tests.make_fixtures`, with GNU tar.

`fixtures/registry-1.tar` is a whole registry of format 1. It was made once, by the lhub of that format, and is never
made again: what it holds must stay readable, and this script refuses to overwrite it. `fixtures/broken/<fear>.tar` is
one small damaged registry each, made when the fear was new and kept likewise; what it must be answered stands in
`fixtures/broken/answers.yaml`. A tar is a folder that is a registry (git keeps no modes, links or empty folders), the
broken ones gzipped.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from lhub.identity import Person
from lhub.kinds import described
from lhub.registry import Registry
from tests.conftest import PROJECT, without_pyrage, write_tree

FIXTURES = PROJECT / "fixtures"
SECRET = "old@se:cret"
"""Of `Unnamed` and `Hidden` in registry-1: as an old Executor has it."""
NOON, FUTURE = 1_767_225_600, 4_070_908_800
"""The first seconds of 2026 and of 2099."""
SOURCE: dict[str, str | bytes] = {
    "config.yml": "jtype: X\nmetas:\n  name: X\n  description: a small Executor\n",
    "executor.py": "class X:\n    pass\n",
}
"""What is in every broken registry, as alice/X."""


def registry_at(root: Path, namespace: str | None) -> Registry:
    """A registry for somebody whose account and clock say nothing of the machine that this runs on."""
    registry = Registry(root, namespace=namespace)
    person = Person(uid=os.geteuid(), groups=frozenset(), account=namespace or "somebody", host="example")
    seconds = count(1_767_225_600, 60)  # the first minutes of 2026
    registry.session = replace(registry.session, person=person, clock=lambda: float(next(seconds)))
    return registry


@contextmanager
def as_then() -> Iterator[None]:
    """Let a push take an Executor as it is: so did the lhub whose registries are kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lhub.publish.recognise", described)
        yield


def pack(root: Path, archive: Path, *more: str) -> None:
    """A tar of everything below `root`: modes, links, hard links, holes and empty folders kept, owners not."""
    options = ["--sort=name", "--format=gnu", "--sparse", "--owner=0", "--group=0", "--numeric-owner", "-b1", *more]
    archive.parent.mkdir(exist_ok=True)
    subprocess.run(["tar", "--create", f"--file={archive}", *options, f"--directory={root}", "."], check=True)


# the whole one


def make_whole(root: Path, scratch: Path) -> None:
    """Two namespaces and none, public and private, both kinds of folders, ordinary and protected tags, odd names."""
    alice, bob, nobody = (registry_at(root, name) for name in ("alice", "bob", None))
    hello = write_tree(scratch / "hello", {"config.yml": "jtype: Hello\nmetas:\n  name: Hello\n  keywords: [a, b]\n"})
    write_tree(hello, {"executor.py": "class Hello:\n    version = 1\n", "requirements.txt": "jina\n"})
    write_tree(hello, {"scripts/run.sh": "#!/bin/sh\necho hello\n", "weights.bin": bytes(range(256)) * 4, "empty": ""})
    (hello / "scripts" / "run.sh").chmod(0o755)
    alice.push(hello, tags=["v1", "latest"], protected_tags=["v1"], message="the first release")
    write_tree(hello, {"executor.py": "class Hello:\n    version = 2\n"})
    alice.push(hello, tags=["v2", "latest"], message="more than one line\n\nwith a paragraph, and: colons")
    alice.tag("alice/Hello:v1", "stable")
    alice.tag("alice/Hello:v1", "gone")
    alice.untag("alice/Hello:gone")
    alice.push(write_tree(scratch / "secret", {"notes.txt": "not for everybody\n"}), "Secret", private=True)
    odd = [
        "name with spaces",
        "-dash",
        "#hash",
        "back\\slash",
        "quo\"te'",
        "ünï/cödé",
        "日本語",
        "deep/er/and/deeper",
        "[a]*?",
    ]
    write_tree(scratch / "odd", {name: f"{name}\n" for name in odd})
    bob.push(scratch / "odd", "Odd-Names_1.0", tags=["2026.1"])
    small = write_tree(scratch / "small", {"config.yml": "jtype: Small\n"})
    nobody.push(small, "Unnamed", secret=SECRET)
    with without_pyrage():  # as before there were seals
        nobody.push(small, "Hidden", secret=SECRET, private=True, tags=["v1"], protected_tags=["v1"])


# the broken ones


class Broken:
    """The registry of one fear, with the places that are damaged."""

    def __init__(self, root: Path, scratch: Path) -> None:
        self.root = root
        self.source = write_tree(scratch, SOURCE)
        self.pushed = registry_at(root, "alice").push(self.source, tags=["latest", "v1"], protected_tags=["v1"])
        self.resource = root / "alice" / "X"
        self.inside = self.resource / ".lhub"
        self.version = self.inside / "versions" / self.pushed.version
        self.payload = self.version / "files" / "executor.py"
        self.manifest = self.version / "manifest.yaml"

    @contextmanager
    def opened(self, *paths: Path) -> Iterator[None]:
        """Let files and the folders above them be changed; afterwards they have the modes that they had."""
        modes = {
            each: stat.S_IMODE(each.stat().st_mode)
            for path in paths
            for each in (path.parent.parent, path.parent, path)
        }
        for each, mode in modes.items():
            each.chmod(mode | 0o700)
        yield
        for each, mode in modes.items():
            if each.exists() and not each.is_symlink() and not each.is_fifo():
                each.chmod(mode)

    def write(self, path: Path, data: bytes) -> None:
        """Other content for a file that stands."""
        with self.opened(path):
            path.write_bytes(data)

    def remove(self, path: Path) -> None:
        """No file where one was."""
        with self.opened(path):
            path.unlink()

    def relink(self, path: Path, target: str) -> None:
        """A link where something else was."""
        path.unlink()
        path.symlink_to(target)

    def add(self, path: Path, data: bytes) -> None:
        """A read-only file where none was, with an inode of its own."""
        path.write_bytes(data)
        path.chmod(0o444)

    def blob(self, payload: Path) -> Path:
        """The blob that has the content of a file."""
        digest = hashlib.sha256(payload.read_bytes()).hexdigest()
        return self.inside / "history.git" / "lfs" / "objects" / digest[:2] / digest[2:4] / digest

    def push_another(self, files: dict[str, str | bytes], *executable: str) -> Path:
        """A second version, with more files; the tags `latest` and `v2` name it."""
        write_tree(self.source, files)
        for name in executable:
            (self.source / name).chmod(0o755)
        pushed = registry_at(self.root, "alice").push(self.source, "X", tags=["latest", "v2"])
        return self.inside / "versions" / pushed.version

    def publish_manifest(self, text: str) -> None:
        """A version whose id is right for a manifest that no lhub writes, and both tags on it."""
        self.write(self.manifest, text.encode())
        version = hashlib.sha256(text.encode()).hexdigest()
        self.version.chmod(0o755)
        self.version = self.version.rename(self.version.with_name(version))
        self.version.chmod(0o555)
        for name in ("latest", "v1", ".protected.v1"):
            self.relink(self.resource / name, f".lhub/versions/{version}")


def newer_format(broken: Broken) -> None:
    """A later lhub made it."""
    broken.write(broken.root / "registry.yaml", b"format: 2\nlayout: other\n")


def newer_manifest(broken: Broken) -> None:
    """A later lhub pushed into it."""
    text = broken.manifest.read_text().replace("format: 1", "format: 2")
    broken.publish_manifest(text)


def manifest_cut_short(broken: Broken) -> None:
    """The power went."""
    broken.write(broken.manifest, broken.manifest.read_bytes()[:60])


def manifest_huge(broken: Broken) -> None:
    """100 MiB, most of it a hole."""
    with broken.opened(broken.manifest):
        os.truncate(broken.manifest, 100 << 20)


def manifest_aliases(broken: Broken) -> None:
    """A billion laughs, under the right id."""
    rows = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    broken.publish_manifest("format: 1\nkind: executor\n" + "\n".join(rows) + "\nfiles: *a9\nexecutable: []\n")


def manifest_python_tag(broken: Broken) -> None:
    """Code, under the right id."""
    call = '!!python/object/apply:os.system ["touch pwned"]'
    broken.publish_manifest(f"format: 1\nkind: executor\nabout: {call}\nfiles: {call}\nexecutable: []\n")


def resource_yaml_cut(broken: Broken) -> None:
    """The power went at the first push."""
    broken.write(broken.resource / "resource.yaml", b"format: 1\nki")


def resource_yaml_python_tag(broken: Broken) -> None:
    """Code in the other document."""
    broken.write(
        broken.resource / "resource.yaml", b'format: 1\nkind: !!python/object/apply:os.system ["touch pwned"]\n'
    )


def tag_points_outside(broken: Broken) -> None:
    """A link to a folder of the system."""
    broken.relink(broken.resource / "latest", "/etc")


def tag_to_parent_folder(broken: Broken) -> None:
    """A link that looks like one of ours and climbs."""
    broken.relink(broken.resource / "latest", f".lhub/versions/../versions/{broken.pushed.version}")


def version_without_manifest(broken: Broken) -> None:
    """Somebody cleaned up."""
    broken.remove(broken.manifest)


def flipped_byte(broken: Broken) -> None:
    """A disk that forgets: the version and its blob are one inode."""
    broken.write(broken.payload, broken.payload.read_bytes().replace(b"pass", b"qass"))


def missing_file(broken: Broken) -> None:
    """Somebody cleaned up."""
    broken.remove(broken.payload)


def sums_altered(broken: Broken) -> None:
    """Somebody changed a file and its line."""
    other = b"import os\n"
    lines = (broken.version / "SHA256SUMS").read_text().splitlines(keepends=True)
    lines[1] = f"{hashlib.sha256(other).hexdigest()}  executor.py\n"
    broken.remove(broken.payload)
    with broken.opened(broken.version / "SHA256SUMS"), broken.opened(broken.version / "files" / "config.yml"):
        broken.payload.write_bytes(other)
        broken.payload.chmod(0o444)
        (broken.version / "SHA256SUMS").write_text("".join(lines))


def payload_is_link(broken: Broken) -> None:
    """A way to read what is another's."""
    with broken.opened(broken.payload):
        broken.relink(broken.payload, "/etc/hostname")


def payload_is_fifo(broken: Broken) -> None:
    """A way to keep a reader waiting."""
    with broken.opened(broken.payload):
        broken.payload.unlink()
        os.mkfifo(broken.payload)


def unfinished_push(broken: Broken) -> None:
    """A kill in the middle of a push: staging, its lock that nobody holds, and scratch of the change."""
    staging = broken.inside / "versions" / ".tmp.example-7-0123456789ab"
    write_tree(staging, {"files/executor.py": "class X:\n    half = ", "files/deep/er/part": "x"})
    staging.chmod(0o700)
    for end, mode in ((".lock", 0o600), (".file", 0o644)):
        Path(f"{staging}{end}").write_text("alice (alice@example, process 7) since 1767225600")
        Path(f"{staging}{end}").chmod(mode)
    Path(f"{staging}.link").symlink_to(f".lhub/versions/{broken.pushed.version}")


def pin_without_tag(broken: Broken) -> None:
    """A kill between a pin and its tag."""
    (broken.resource / "v1").unlink()


def diary_unreadable(broken: Broken) -> None:
    """A power cut that took the diary's newest objects."""
    for pack_file in [
        *broken.inside.glob("history.git/objects/pack/*.pack"),
        *broken.inside.glob("history.git/objects/??/*"),
    ]:
        pack_file.chmod(0o644)
        pack_file.write_bytes(b"\0" * 40)


def junk_names(broken: Broken) -> None:
    """What desktops, file servers and people leave about."""
    junk: dict[str, str | bytes] = {
        ".DS_Store": b"\0",
        "lost+found/x": "",
        "notes.txt": "",
        "alice/.nfs0001": "",
        "alice/README": "",
        "alice/.trash/1.Y/resource.yaml": "",
        "alice/empty-folder/x": "",
        "alice/X/README.md": "",
        "alice/X/._latest": "",
        "alice/X/v9/deep/x": "",
        "alice/X/.lhub/versions/README": "",
        "alice/X/.lhub/versions/" + "0" * 63: "",
        "alice/X/.lhub/junk": "",
    }
    write_tree(broken.root, junk)
    os.mkfifo(broken.resource / "pipe")
    (broken.resource / "nowhere").symlink_to("nowhere")
    (broken.root / "alice" / "link").symlink_to("X")
    (broken.root / "zoe").symlink_to("alice")
    Path(os.fsdecode(os.fsencode(broken.root) + b"/alice/\xff\xfe")).mkdir()


def blob_flipped(broken: Broken) -> None:
    """A bad sector under the blob alone: the version has a copy of its own."""
    blob = broken.blob(broken.payload)
    blob.unlink()
    broken.add(blob, broken.payload.read_bytes().replace(b"pass", b"qass"))


def blob_missing(broken: Broken) -> None:
    """Somebody cleaned up where git-lfs keeps its files."""
    broken.blob(broken.payload).unlink()


def executable_bit_lost(broken: Broken) -> None:
    """A copy through a file system that knows no modes."""
    run = broken.push_another({"run.sh": "#!/bin/sh\n"}, "run.sh") / "files" / "run.sh"
    run.chmod(0o444)


def foreign_file_in_version(broken: Broken) -> None:
    """Python left its cache there, which only root can."""
    with broken.opened(broken.payload):
        write_tree(broken.version / "files", {"__pycache__/executor.cpython-310.pyc": b"\0"})


def version_in_trash_only(broken: Broken) -> None:
    """A kill between a collection and what brings back what was tagged meanwhile."""
    broken.version.rename(broken.version.with_name(f".trash.{NOON}.{broken.pushed.version}"))


def seen_note_of_tagged_version(broken: Broken) -> None:
    """A collection noted a version that somebody tagged, with a lock that did not hold."""
    note = broken.version.with_name(f".seen.{broken.pushed.version}")
    broken.add(note, b"")
    os.utime(note, (NOON, NOON))


def unfinished_collection(broken: Broken) -> None:
    """A kill while a version was being removed."""
    gone = broken.version.with_name(".gone.example-7-0123456789ab")
    write_tree(gone, {"SHA256SUMS": f"{'0' * 64}  executor.py\n", "files/config.yml": "jtype: Old\n"})
    for path in (gone, *gone.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o444)


def quarantined_blob(broken: Broken) -> None:
    """What a repair took out of the way."""
    blob = broken.blob(broken.payload)
    (broken.inside / "damaged").mkdir()
    broken.add(broken.inside / "damaged" / f"{NOON}.{blob.name}", b"class X:\n    qass\n")


def diary_lags(broken: Broken) -> None:
    """A kill between a tag and the diary."""
    (broken.resource / "v2").symlink_to(f".lhub/versions/{broken.pushed.version}")


def deleted_resource_in_trash(broken: Broken) -> None:
    """Somebody deleted what stood beside."""
    alice = registry_at(broken.root, "alice")
    alice.push(broken.source, "Y")
    alice.delete("alice/Y")


def version_missing(broken: Broken) -> None:
    """Somebody cleaned up: two tags and a pin name a version that is not there."""
    for path in (broken.version, broken.version / "files"):
        path.chmod(0o755)
    shutil.rmtree(broken.version)


def clock_in_the_future(broken: Broken) -> None:
    """A machine whose clock was in the year 2099 pushed."""
    for path in (broken.version, broken.resource / "latest"):
        os.utime(path, (FUTURE, FUTURE), follow_symlinks=False)


FEARS: tuple[Callable[[Broken], None], ...] = (
    newer_format,
    newer_manifest,
    manifest_cut_short,
    manifest_huge,
    manifest_aliases,
    manifest_python_tag,
    resource_yaml_cut,
    resource_yaml_python_tag,
    tag_points_outside,
    tag_to_parent_folder,
    version_without_manifest,
    flipped_byte,
    missing_file,
    sums_altered,
    payload_is_link,
    payload_is_fifo,
    unfinished_push,
    pin_without_tag,
    diary_unreadable,
    junk_names,
    blob_flipped,
    blob_missing,
    executable_bit_lost,
    foreign_file_in_version,
    version_in_trash_only,
    seen_note_of_tagged_version,
    unfinished_collection,
    quarantined_blob,
    diary_lags,
    deleted_resource_in_trash,
    version_missing,
    clock_in_the_future,
)


def main() -> int:
    """Make what is not there yet: a kept one stays as the lhub of its day made it, byte for byte."""
    os.umask(0o022)
    with tempfile.TemporaryDirectory() as name, as_then():
        scratch = Path(name)
        for fear in FEARS:
            archive = FIXTURES / "broken" / f"{fear.__name__.replace('_', '-')}.tar"
            if not archive.exists():
                root = scratch / fear.__name__
                fear(Broken(root, scratch / f"{fear.__name__}-source"))
                pack(root, archive, "--gzip")
        whole = FIXTURES / "registry-1.tar"
        if whole.exists():
            sys.stderr.write(f"{whole} stands, and is never made again\n")
            return 1
        make_whole(scratch / "whole", scratch / "sources")
        pack(scratch / "whole", whole)
    return 0


if __name__ == "__main__":
    sys.exit(main())
