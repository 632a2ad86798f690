"""Building: the image of a pushed Executor without an engine: what is in it, when there is none, who dies when."""

from __future__ import annotations

import gc
import gzip
import io
import os
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lhub.disk import Pen
from lhub.errors import BuildFailed, LhubError, NotFound, ToolMissing, UsageError
from lhub.images.oci import Image, Layout, parse_platform
from lhub.images.requirements import Installing, is_self_contained, tags
from lhub.images.rootfs import Base
from lhub.orders import ImageFailed, Pushed
from lhub.registry import Registry
from tests import test_crowds as crowds
from tests.basing import layout_files, layout_of, members_of, rootfs, see_whole, tarred, text_in, wheel
from tests.conftest import PROJECT, Shell, as_caller, by_hand, config_yml, executor_py, snapshot, write_tree
from tests.test_build_env import search
from tests.test_collection import later
from tests.test_crowds import become, needs_root, together
from tests.test_order import Ruler, in_a_child, kill

shared = crowds.shared
TINY, OTHER = tarred(rootfs()), tarred(rootfs(etc__other=b"another"))
PACKED = {"amd64": TINY, "arm64": tarred(rootfs("arm64"))}


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No engine and no package index: wheels are those of the test."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "git").symlink_to(next(f"{each}/git" for each in os.get_exec_path() if os.path.exists(f"{each}/git")))
    monkeypatch.setenv("PATH", str(programs))
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))


@pytest.fixture
def based(registry: Registry, tmp_path: Path) -> Registry:
    """A registry in which alice has a base."""
    give(registry, TINY, tmp_path)
    return registry


def give(registry: Registry, base: Any, folder: Path, name: str = "tiny") -> Pushed:
    source = folder / f"base-{name}"
    if isinstance(base, dict):
        write_tree(source, base)
    else:
        source.write_bytes(base)
    return registry.import_base(name, source)


def image_of(registry: Registry, ref: str = "alice/Hello") -> Image:
    (image,) = registry.image(ref).images
    return image


def steps_said(registry: Registry, pushed: Pushed) -> str:
    return "\n".join(str(event) for event in registry.build(task_id=pushed.task_id).follow(replay=True))


# what is in it


def test_the_files_lie_in_the_workspace_of_an_image_that_the_reader_takes(based: Registry, hello: Path) -> None:
    pushed = based.push(hello, image="always")
    image, layout = image_of(based), layout_of(based, "alice/Hello")
    see_whole(layout)
    assert pushed.image == "jinaai+docker://alice/Hello:latest"
    found = members_of(layout, image)
    assert list(found) == ["workspace", "workspace/config.yml", "workspace/executor.py"]
    assert {(info.uid, info.gid, info.mtime) for info in found.values()} == {(0, 0, 315532800)}
    assert text_in(layout, image, "workspace/config.yml") == (hello / "config.yml").read_text()
    assert image.runs["Entrypoint"] == ["jina", "executor", "--uses", "config.yml"]
    assert (image.runs["WorkingDir"], image.labels["lhub.version"]) == ("/workspace", pushed.version)
    assert "Cmd" not in image.runs
    assert all(each["created"] for each in image.settings["history"])


def test_the_same_version_and_base_give_the_same_digests_anywhere(tmp_path: Path, hello: Path) -> None:
    wheel(tmp_path / "wheels", "one")
    (hello / "requirements.txt").write_text("one\n")
    digests = set()
    for place in ("here", "there"):
        registry = Registry(tmp_path / place, namespace="alice")
        give(registry, TINY, tmp_path)
        registry.push(hello, image="always")
        digests.add(image_of(registry).manifest.digest)
        os.utime(hello / "executor.py", (1, 1))
    assert len(digests) == 1


def test_requirements_are_a_layer_below_the_code_with_programs_for_the_image(
    based: Registry, hello: Path, tmp_path: Path
) -> None:
    wheel(tmp_path / "wheels", "one")
    (hello / "requirements.txt").write_text("one\n")
    based.push(hello, image="always")
    image, layout = image_of(based), layout_of(based, "alice/Hello")
    see_whole(layout)
    place = "opt/lhub/site-packages"
    assert text_in(layout, image, f"{place}/bin/one", 1).splitlines()[0] == "#!/usr/bin/python3"
    assert members_of(layout, image, 1)[f"{place}/bin/one"].mode == 0o755
    assert sys.executable not in text_in(layout, image, f"{place}/one-1.0.dist-info/RECORD", 1)
    assert image.runs["Env"] == [
        f"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/{place}/bin",
        f"PYTHONPATH=/{place}",
    ]


@pytest.mark.slow
def test_another_version_takes_the_layer_of_requirements_again(based: Registry, hello: Path, tmp_path: Path) -> None:
    one = wheel(tmp_path / "wheels", "one")
    (hello / "requirements.txt").write_text("one\n")
    based.push(hello, image="always")
    before = image_of(based).layers
    one.unlink()  # so that nothing could be installed
    (hello / "executor.py").write_text(executor_py("Hello", "# changed"))
    based.push(hello, image="always")
    after = image_of(based).layers
    assert [layer.digest for layer in after[:2]] == [layer.digest for layer in before[:2]]
    assert after[2].digest != before[2].digest
    with pytest.raises(ImageFailed):
        based.push(hello, image="always", no_cache=True)


def test_the_same_push_again_builds_nothing(based: Registry, hello: Path) -> None:
    based.push(hello, image="always")
    before = snapshot(based.root / "alice/Hello/.lhub/images")
    again = based.push(hello, image="always")
    assert "'new': False" in steps_said(based, again)
    assert snapshot(based.root / "alice/Hello/.lhub/images") == before


def test_a_base_is_stored_once_and_its_layers_have_several_names(based: Registry, make_executor: Any) -> None:
    for name in ("One", "Two"):
        based.push(make_executor(name), image="always")
    layer = image_of(based, "alice/One").layers[0].digest
    ref = ("alice/One", "alice/Two")
    inodes = {os.stat(layout_of(based, each).blob(layer)).st_ino for each in ref}
    inodes.add(os.stat(f"{based.path('lhub://alice/tiny')}/blobs/sha256/{layer[7:]}").st_ino)
    assert len(inodes) == 1
    assert based.verify().ok
    assert based.doctor() == []


def test_what_lies_in_the_registry_is_read_only(based: Registry, hello: Path) -> None:
    before = os.umask(0)
    try:
        based.push(hello, image="always")
    finally:
        os.umask(before)
    folder = Path(layout_of(based, "alice/Hello").folder)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}
    assert modes == {0o555, 0o444}


def test_an_image_on_a_base_of_somebody_else(based: Registry, hello: Path, make_executor: Any) -> None:
    bob = as_caller(based, "bob")
    bob.login("bob")
    bob.push(make_executor("Bobs"), image="always", base="alice/tiny")
    see_whole(layout_of(bob, "bob/Bobs"))
    based.visibility("alice/tiny", "private")
    with pytest.raises(NotFound, match="alice/tiny is not here"):
        bob.push(make_executor("More"), image="always", base="alice/tiny")
    assert [line.name for line in bob.list("bob")] == ["bob/Bobs"]


# platforms


@pytest.mark.slow
def test_two_platforms_get_the_wheels_of_each(registry: Registry, hello: Path, tmp_path: Path) -> None:
    give(registry, layout_files([(name, [layer]) for name, layer in PACKED.items()]), tmp_path)
    for machine in ("x86_64", "aarch64"):
        wheel(tmp_path / "wheels", "one", tag=f"cp311-cp311-manylinux_2_36_{machine}")
        wheel(tmp_path / "wheels", f"only_{machine}")
    lines = [f"only_{each}; platform_machine == '{each}'" for each in ("x86_64", "aarch64")]
    (hello / "requirements.txt").write_text("\n".join(["one", *lines, "none; python_version < '3.11'"]))
    registry.push(hello, image="always", platforms=["linux/amd64,arm64"])
    layout = layout_of(registry, "alice/Hello")
    see_whole(layout)
    for image, machine in zip(layout.images(), ("x86_64", "aarch64"), strict=True):
        found = set(members_of(layout, image, 1))
        assert f"opt/lhub/site-packages/only_{machine}.py" in found
        assert text_in(layout, image, "opt/lhub/site-packages/one.py", 1).startswith(
            f"word = 'cp311-cp311-manylinux_2_36_{machine}"
        )
        assert len([path for path in found if "/only_" in path and path.endswith(".py")]) == 1


def test_a_platform_that_the_base_has_not_is_named(based: Registry, hello: Path) -> None:
    with pytest.raises(
        NotFound, match=r"the base alice/tiny:latest has no image for linux/arm64, only for linux/amd64"
    ):
        based.push(hello, image="always", platforms=["linux/arm64"])
    assert [line.name for line in based.list()] == ["alice/tiny"]


@pytest.mark.parametrize(
    ("libc", "first", "last"),
    [
        ("glibc 2.36", "manylinux_2_36_x86_64", "linux_x86_64"),
        ("musl 1.2", "musllinux_1_2_x86_64", "linux_x86_64"),
        (None, "manylinux_2_17_x86_64", "linux_x86_64"),
    ],
)
def test_wheels_are_chosen_by_the_libc_of_the_base(libc: str | None, first: str, last: str) -> None:
    found = list(tags(parse_platform("linux/amd64"), libc))
    assert (found[0], found[-1]) == (first, last)
    assert ("manylinux2014_x86_64" in found) == ("musl" not in (libc or ""))


@pytest.mark.parametrize(
    ("text", "alone"),
    [
        ("one==1.0\ntwo>=2 ; python_version < '3.11'\n# -r x\n", True),
        ("one[extra]==1.0  # see /there\n", True),
        ("-r other.txt", False),
        ("--find-links wheels", False),
        ("./wheels/one.whl", False),
        ("one @ https://host/one.whl", False),
        ("git+https://host/one", False),
        ("wheels/one.whl", False),
    ],
)
def test_requirements_that_name_something_else_are_not_taken_again(text: str, alone: bool) -> None:
    assert is_self_contained(text) is alone


# when there is none


def test_nothing_is_loaded_and_nothing_said_where_there_is_no_reason(shell: Shell, hello: Path) -> None:
    shell("login", "alice", check=True)
    rooms = "[name for name in sys.modules if 'lhub.building' in name or 'lhub.images' in name]"
    code = f"import sys; from lhub.cli.main import main; main(sys.argv[1:]); print({rooms})"
    words = [sys.executable, "-c", code, "push", str(hello)]
    done = subprocess.run(words, env=shell.environment(), cwd=PROJECT, capture_output=True, text=True, check=True)
    assert (done.stdout.splitlines()[-1], done.stderr) == ("[]", "")


def test_auto_builds_where_the_namespace_has_a_base_and_no_more_when_that_is_gone(based: Registry, hello: Path) -> None:
    assert based.push(hello, image="auto").image is not None
    based.delete("alice/tiny")
    (hello / "executor.py").write_text(executor_py("Hello", "# changed"))
    assert based.push(hello, image="auto").image is None
    based.restore("alice/tiny")
    based.rename("alice/tiny", "small")
    (hello / "executor.py").write_text(executor_py("Hello", "# changed again"))
    assert "alice/small" in steps_said(based, based.push(hello, image="auto"))


def test_a_registry_builds_none_unless_it_is_asked(based: Registry, hello: Path) -> None:
    assert based.push(hello).image is None


def test_a_dockerfile_without_a_builder_is_one_line(registry: Registry, hello: Path) -> None:
    (hello / "Dockerfile").write_text("FROM scratch\n")
    said: list[str] = []
    teller = Registry(registry.root, namespace="alice", notes=said.append)
    assert teller.push(hello, image="auto").image is None
    assert len(said) == 1
    assert said[0].startswith(
        "no image was built: the image needs docker or podman or buildah to be built; found: none"
    )


def test_where_an_image_must_be_built_and_cannot_nothing_is_published(registry: Registry, hello: Path) -> None:
    before = snapshot(registry.root)
    with pytest.raises(NotFound, match="made on a base, and there is none"):
        registry.push(hello, image="always", builder="python")
    with pytest.raises(ToolMissing):
        registry.push(hello, image="always")
    (hello / "Dockerfile").write_text("FROM scratch\n")
    with pytest.raises(ToolMissing) as told:
        registry.push(hello, image="always", builder="podman")
    assert (told.value.code, "apt-get install podman" in told.value.hint or "install" in told.value.hint) == (9, True)
    assert snapshot(registry.root) == before


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"builder": "python", "dockerfile": "Dockerfile"}, "a Dockerfile is carried out by docker, podman, buildah"),
        ({"dockerfile": "../elsewhere"}, "../elsewhere is not in"),
        ({"platforms": ["linux/"]}, "is no platform"),
        ({"builder": "kaniko"}, "--builder is docker, podman, buildah, python"),
        ({"image": "perhaps"}, "--image is auto, always, never"),
        ({"image": "never", "builder": "python"}, "no use with --image never"),
    ],
)
def test_words_that_make_no_image_are_refused_before_anything_is_published(
    based: Registry, hello: Path, asked: dict[str, Any], said: str
) -> None:
    (hello / "Dockerfile").write_text("FROM scratch\n")
    before = snapshot(based.root)
    with pytest.raises(UsageError, match=re.escape(said)):
        based.push(hello, **{"image": "always", **asked})
    assert snapshot(based.root) == before


def test_what_is_no_executor_has_no_image(based: Registry, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only an Executor has a container image, this is of kind files"):
        based.push(write_tree(tmp_path / "notes", {"a.txt": "x"}), "notes", image="always")
    assert based.push(tmp_path / "notes", "notes", image="auto").image is None


def test_what_is_no_base_is_refused(based: Registry, hello: Path) -> None:
    with pytest.raises(UsageError, match="alice/Hello holds executor, not a base"):
        based.push(hello)
        based.push(hello, image="always", base="alice/Hello")


def test_auto_leaves_an_image_alone_that_stands(based: Registry, hello: Path, tmp_path: Path) -> None:
    based.push(hello, image="always")
    before = image_of(based).manifest.digest
    give(based, OTHER, tmp_path, "newer")
    assert based.push(hello, tags=["another"], image="auto").image is not None
    assert image_of(based).manifest.digest == before
    based.push(hello, image="always")
    assert image_of(based).manifest.digest != before


def test_the_image_of_a_protected_tag_stays_as_the_tag_does(based: Registry, hello: Path, tmp_path: Path) -> None:
    based.push(hello, image="always", protected_tags=["v1"])
    before = image_of(based, "alice/Hello:v1").manifest.digest
    give(based, OTHER, tmp_path, "newer")
    assert based.push(hello, tags=["other"], image="auto").image is not None
    for asked in ({"base": "alice/newer"}, {"no_cache": True}):
        with pytest.raises(ImageFailed, match="the image of v1 is protected as the tag is"):
            based.push(hello, tags=["other"], image="always", **asked)
    assert image_of(based, "alice/Hello:v1").manifest.digest == before


# strangers


def evil_sdist(folder: Path, mark: Path) -> Path:
    """A source distribution whose build leaves a mark."""
    folder.mkdir(parents=True, exist_ok=True)
    setup = f"open({str(mark)!r}, 'w').write('ran')\nfrom setuptools import setup\nsetup(name='evil', version='1.0')\n"
    files = {
        "evil-1.0/setup.py": setup.encode(),
        "evil-1.0/PKG-INFO": b"Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n",
    }
    path = folder / "evil-1.0.tar.gz"
    path.write_bytes(gzip.compress(tarred(files)))
    return path


@pytest.mark.parametrize("lines", ["--no-binary :all:\nevil", "evil @ file://{sdist}"])
def test_no_code_of_a_requirement_runs_on_this_machine(
    based: Registry, hello: Path, tmp_path: Path, lines: str
) -> None:
    mark = tmp_path / "mark"
    sdist = evil_sdist(tmp_path / "wheels", mark)
    work = tmp_path / "installing"
    (work / "files").mkdir(parents=True)
    (work / "files" / "requirements.txt").write_text(lines.format(sdist=sdist))
    said: list[str] = []
    installing = Installing(
        folder=str(work / "files"),
        base=Base(platform="linux/amd64", python="3.11", interpreter="/usr/bin/python3"),
        platform=parse_platform("linux/amd64"),
        variables={},
        say=said.append,
        breathe=lambda: None,
    )
    with pytest.raises(BuildFailed):
        installing.install(str(work))
    assert not mark.exists(), said


def test_what_the_manifest_of_a_base_says_is_believed_only_as_far_as_it_can_be() -> None:
    told = {
        "platform": "linux/amd64",
        "python": "3.11\n--index-url x",
        "interpreter": "/bin/sh -c x",
        "libc": "glibc 2.30000000",
        "packages": ["one==1.0", "two @ file:///two.tar.gz", "three==1\n--index-url http://x", 4],
    }
    base = Base.from_dict(told)
    assert (base.python, base.interpreter, base.libc, base.packages) == (None, None, None, ("one==1.0",))


class Colleague(Pen):
    """A pen beside which somebody changes a published file, once it was published."""

    def __init__(self, versions: Path) -> None:
        self.versions = versions

    def step(self, verb: str, path: str) -> None:
        if verb == "make_new" and path.endswith("/scratch"):
            (folder,) = (each for each in self.versions.iterdir() if not each.name.startswith("."))
            with by_hand(folder):
                text = (folder / "files/executor.py").read_text()
                (folder / "files/executor.py").write_text(text.replace("serve", "sXrve"))


def test_files_that_are_not_those_published_make_no_image(based: Registry, hello: Path) -> None:
    inside = based.root / "alice/Hello/.lhub"
    with pytest.raises(ImageFailed, match=r"executor.py of .* is not what was published"):
        as_caller(based, "alice", pen=Colleague(inside / "versions")).push(hello, image="always")
    assert not list(inside.glob("images/*"))


@pytest.mark.slow
def test_a_killed_build_leaves_nothing_outside_of_the_registry(endless: Registry, hello: Path, tmp_path: Path) -> None:
    own = tmp_path / "own-tmp"
    own.mkdir()
    pushing, _, below = started(endless, hello, TMPDIR=str(own))
    pushing.kill()
    pushing.wait(20)
    assert gone(below)
    assert list(own.iterdir()) == []


# what fails


def test_a_failed_image_leaves_the_source_and_the_secret(registry: Registry, hello: Path, shell: Shell) -> None:
    (hello / "requirements.txt").write_text("nowhere-to-be-found\n")
    give(registry, TINY, hello.parent)
    with pytest.raises(
        ImageFailed, match=r"alice/Hello is published, version .*; its image is not: pip could not"
    ) as told:
        registry.push(hello, image="always")
    assert registry.show("alice/Hello").version == told.value.pushed.version
    build = registry.build(task_id=told.value.pushed.task_id).look()
    assert (build.state, "its image is not" in build.message) == ("failed", True)
    answer = shell("push", hello, "--base", "alice/tiny", "--root", str(registry.root))
    assert (answer.code, "SECRET: " in answer.out, "its image is not" in answer.err) == (8, True, True)


def test_a_base_without_python_takes_an_executor_without_requirements(registry: Registry, hello: Path) -> None:
    give(registry, tarred({"usr/bin/sh": b"\x7fELF"}), hello.parent)
    registry.push(hello, image="always")
    (hello / "requirements.txt").write_text("one\n")
    with pytest.raises(BuildFailed, match="the base has no python3"):
        registry.push(hello, image="always")


def test_a_damaged_base_layer_is_not_laid_under_an_image(based: Registry, hello: Path) -> None:
    folder = Path(based.path("lhub://alice/tiny"))
    with by_hand(folder):
        layer = max((folder / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
        data = bytearray(layer.read_bytes())
        data[700] ^= 1
        layer.write_bytes(data)
    with pytest.raises(ImageFailed, match="is not what its digest says"):
        based.push(hello, image="always")


# care


def test_verify_finds_what_happened_to_an_image(based: Registry, hello: Path) -> None:
    based.push(hello, image="always")
    folder = Path(layout_of(based, "alice/Hello").folder)
    with by_hand(folder):
        (folder / "index.json").write_text("{}")
    findings = based.verify("alice/Hello").findings
    assert any("the container image of version" in each.problem and "--no-cache" in each.hint for each in findings)
    with pytest.raises(LhubError, match="no list"):
        based.image("alice/Hello")
    based.push(hello, image="always")
    see_whole(layout_of(based, "alice/Hello"))


def test_an_image_goes_with_its_version_and_its_layers_with_it(based: Registry, hello: Path) -> None:
    first = based.push(hello, image="always").version
    (hello / "executor.py").write_text(executor_py("Hello", "# changed"))
    based.push(hello, image="always")
    old = Layout(str(based.root / f"alice/Hello/.lhub/images/{first}")).images()[0].layers
    blobs = [
        Path(f"{based.root}/alice/Hello/.lhub/history.git/lfs/objects/{d[:2]}/{d[2:4]}/{d}")
        for d in (each.digest[7:] for each in old)
    ]
    for days in (0, 20, 40, 60):
        later(based, days).gc()
    assert not (based.root / f"alice/Hello/.lhub/images/{first}").exists()
    assert [blob.exists() for blob in blobs] == [True, False]
    see_whole(layout_of(based, "alice/Hello"))
    assert based.verify().ok


# who dies, and when


def pictured(registry: Registry) -> str | None:
    """The base layer of the image that a reader gets, whole; None where there is none."""
    try:
        layout = layout_of(registry, "alice/Hello")
    except NotFound:
        return None
    see_whole(layout)
    return image_of(registry).layers[0].digest


@pytest.mark.slow
@pytest.mark.parametrize(
    "replaced",
    [
        pytest.param(False, id="a first image"),
        pytest.param(True, id="one in place of another"),
    ],
)
def test_a_kill_at_any_step_leaves_the_old_image_or_the_new(tmp_path: Path, hello: Path, replaced: bool) -> None:
    template = Registry(tmp_path / "template", namespace="alice")
    give(template, TINY, tmp_path)
    template.push(hello, image="always" if replaced else "never")
    give(template, OTHER, tmp_path)

    def prepared(name: str) -> Registry:
        subprocess.run(["/bin/cp", "-a", template.root, tmp_path / name], check=True)
        return Registry(tmp_path / name, namespace="alice", timeout=5)

    counted = prepared("counted")
    ruler = Ruler()
    before = pictured(counted)
    as_caller(counted, "alice", pen=ruler).push(hello, image="always")
    after = pictured(counted)
    assert (before is not None, before != after) == (replaced, True)
    steps = [number for number in range(1, len(ruler.steps) + 1) if number - 1 not in ruler.idle]
    seen = set()
    for number in steps:
        registry = prepared(f"step-{number}")
        dying = as_caller(registry, "alice", pen=Ruler(number, kill))
        in_a_child(lambda dying=dying: dying.push(hello, image="always"))  # type: ignore[misc]
        seen.add(pictured(registry))
        assert pictured(registry) in (before, after), ruler.steps[number - 1]
        registry.push(hello, image="always")
        assert pictured(registry) == after, ruler.steps[number - 1]
        registry.gc()
        left = {path.name for path in (registry.root / "alice/Hello/.lhub/images").iterdir()}
        assert left == {registry.show("alice/Hello").version}, ruler.steps[number - 1]
        assert not [
            path for path in (registry.root / "alice/Hello/.lhub/versions").iterdir() if path.name.startswith(".tmp")
        ]
    assert seen == {before, after}


@contextmanager
def hanging(port: socket.socket) -> Iterator[str]:
    """A package index that never answers."""
    kept = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                kept.append(port.accept())

    port.bind(("127.0.0.1", 0))
    port.listen()
    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{port.getsockname()[1]}/simple"
    port.close()


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch, based: Registry, hello: Path) -> Iterator[Registry]:
    """A registry in which the image of hello is never finished."""
    (hello / "requirements.txt").write_text("one\n")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with socket.socket() as port, hanging(port) as address:
        monkeypatch.setenv("PIP_INDEX_URL", address)
        yield based


def children_of(process: int) -> list[int]:
    found = subprocess.run(["/bin/ps", "-eo", "pid=,ppid=,stat="], capture_output=True, text=True, check=True).stdout
    parents = {
        int(pid): int(parent) for pid, parent, state in (line.split() for line in found.splitlines()) if state[0] != "Z"
    }
    below, wave = [], {process}
    while wave := {pid for pid, parent in parents.items() if parent in wave}:
        below += wave
    return below


def started(registry: Registry, hello: Path, **more: str) -> tuple[subprocess.Popen[bytes], str, list[int]]:
    """A push whose pip is running: its process, its task, its children."""
    words = [sys.executable, "-m", "lhub", "push", str(hello), "--image", "always", "--root", str(registry.root)]
    home = hello.parent / "home"
    (home / ".lhub").mkdir(parents=True)
    environment = {**os.environ, "HOME": str(home), "LHUB_HOME": str(home / ".lhub"), **more}
    subprocess.run(
        [*words[:3], "login", "alice", "--root", str(registry.root)], env=environment, cwd=PROJECT, check=True
    )
    pushing = subprocess.Popen(
        words, env=environment, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 20
    while len(below := children_of(pushing.pid)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)
    return pushing, registry.build("alice/Hello").task, below


def gone(processes: list[int]) -> bool:
    """Whether all of these have ended, or do so in a few seconds."""
    deadline = time.monotonic() + 10
    while any(os.path.exists(f"/proc/{each}") for each in processes) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(os.path.exists(f"/proc/{each}") for each in processes)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc, to see who lives")
def test_a_cancelled_build_takes_its_children_with_it(endless: Registry, hello: Path) -> None:
    pushing, task, below = started(endless, hello)
    build = endless.build(task_id=task).cancel()
    assert (build.state, "its image is not" in build.message) == ("cancelled", True)
    assert pushing.wait(20) == 8
    assert gone(below)
    assert endless.show("alice/Hello").version


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc, to see who lives")
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_build_takes_its_children_with_it(endless: Registry, hello: Path, number: int) -> None:
    pushing, task, below = started(endless, hello)
    pushing.send_signal(number)
    pushing.wait(20)
    assert gone(below)
    build = endless.build(task_id=task).look()
    assert (build.state, build.version) == ("failed", None)
    assert endless.verify().ok


def test_a_process_with_many_files_open_builds_too(based: Registry, hello: Path, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip("needs 2,048 descriptors")
    wheel(tmp_path / "wheels", "one")
    (hello / "requirements.txt").write_text("one\n")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        based.push(hello, image="always")
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    see_whole(layout_of(based, "alice/Hello"))


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc, to see who lives")
def test_an_engine_that_never_stops_talking_is_cancelled_too(based: Registry, hello: Path, tmp_path: Path) -> None:
    cases = "version) echo 20.10;; save) exec cat /dev/zero;; image) exit 1;; *) exit 0"
    (tmp_path / "programs" / "docker").write_text(f'#!/bin/sh\ncase "$1" in {cases};; esac\n')
    (tmp_path / "programs" / "docker").chmod(0o755)
    (tmp_path / "programs" / "cat").symlink_to("/bin/cat")
    (hello / "Dockerfile").write_text("FROM scratch\n")
    with pytest.raises(ImageFailed, match="docker could not give"):
        based.push(hello, image="always")
    (tmp_path / "programs" / "cat").unlink()
    (tmp_path / "programs" / "cat").write_text(f'#!/bin/sh\nexec {sys.executable} -c "{TALKER}"\n')
    (tmp_path / "programs" / "cat").chmod(0o755)
    pushing, task, below = started(based, hello)
    assert based.build(task_id=task).cancel().state == "cancelled"
    assert pushing.wait(20) == 8
    assert gone(below)


TALKER = """
import io, sys, tarfile, time
out = io.BytesIO()
info = tarfile.TarInfo('a')
info.size = 1 << 40
sys.stdout.buffer.write(info.tobuf())
while True:
    sys.stdout.buffer.write(bytes(1 << 16))
    time.sleep(0.05)
"""


def test_a_push_that_goes_on_by_itself_builds_too(based: Registry, hello: Path) -> None:
    pushed = based.push(hello, image="always", detach=True)
    assert list(based.build(task_id=pushed.task_id).follow(replay=True))[-1]["type"] == "succeeded"
    see_whole(layout_of(based, "alice/Hello"))


def test_two_who_build_the_same_image_at_once_both_end_well(based: Registry, hello: Path) -> None:
    based.push(hello)
    threads = [
        threading.Thread(target=lambda: as_caller(based, "alice").push(hello, image="always", no_cache=True))
        for _ in range(4)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    see_whole(layout_of(based, "alice/Hello"))
    assert [path.name[0] for path in (based.root / "alice/Hello/.lhub/images").iterdir()] != ["."]
    assert based.verify().ok


@needs_root
def test_colleagues_of_a_team_take_turns_with_the_image_of_a_version(shared: Path, tmp_path: Path) -> None:
    registry, gid = Registry(shared / "registry"), 21000
    source = write_tree(shared / "source", {"config.yml": config_yml("Hello"), "executor.py": executor_py("Hello")})
    for name, base in (("tiny", TINY), ("other", OTHER)):
        (shared / f"{name}.tar").write_bytes(base)

    def make(uid: int) -> None:
        become(uid, gid)
        Registry(registry.root, namespace="ml").create_namespace("ml", group=str(gid))
        for name in ("tiny", "other"):
            Registry(registry.root, namespace="ml").import_base(name, shared / f"{name}.tar")

    def push(uid: int, base: str) -> None:
        become(uid, gid)
        Registry(registry.root, namespace="ml").push(source, image="always", base=f"ml/{base}", builder="python")

    assert together(partial(make, 20001)) == [0]
    for uid, base in ((20001, "tiny"), (20002, "other"), (20001, "tiny")):
        assert together(partial(push, uid, base)) == [0]
        layout = layout_of(Registry(registry.root, namespace=None), "ml/Hello")
        see_whole(layout)
        assert os.stat(layout.folder).st_uid == uid
        assert stat.S_IMODE(os.stat(layout.folder).st_mode) == 0o555


@pytest.mark.slow
def test_an_image_of_gigabytes_does_not_pass_through_memory(shell: Shell, hello: Path, tmp_path: Path) -> None:
    size = 3 << 30
    if shutil.disk_usage(tmp_path).free < 5 * size:
        pytest.skip("15 GiB of room are needed: TMPDIR=/some/disk")
    with tarfile.open(tmp_path / "base.tar", "w") as tar:
        info = tarfile.TarInfo("usr/share/large")
        info.size = size
        tar.addfile(info, Endless(size))
    shell("login", "alice", check=True)
    quiet = peak(shell, "whoami")
    for words in (
        ("base", "import", "large", str(tmp_path / "base.tar")),
        ("push", str(hello), "--builder", "python"),
        ("image", "export", "alice/Hello", "-o", str(tmp_path / "out.tar")),
    ):
        assert peak(shell, *words) - quiet < 64 << 20, words
    assert (tmp_path / "out.tar").stat().st_size > size


class Endless(io.RawIOBase):
    """Bytes that no disk has to keep."""

    def __init__(self, size: int) -> None:
        self.left, self.piece = size, os.urandom(1 << 20)

    def read(self, size: int = -1) -> bytes:
        data = self.piece[: min(self.left, size if size >= 0 else self.left)]
        self.left -= len(data)
        return data


def peak(shell: Shell, *words: str) -> int:
    """The most bytes of memory that a command had, itself and its children."""
    code = (
        "import resource, subprocess, sys; "
        "code = subprocess.call([sys.executable, '-m', 'lhub', *sys.argv[1:]], stdout=subprocess.DEVNULL); "
        "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env=shell.environment(),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    status, most = done.stdout.split()
    assert status == "0", done.stderr
    return int(most) * 1024


# exported


def test_what_is_exported_is_one_tar_for_docker_and_podman_and_can_be_a_base_again(
    based: Registry, hello: Path, tmp_path: Path
) -> None:
    based.push(hello, image="always", tags=["v1"])
    written = based.export_image("alice/Hello:v1", tmp_path / "my.tar")
    with tarfile.open(tmp_path / "my.tar") as tar:
        assert tar.getnames()[-3:] == ["index.json", "oci-layout", "manifest.json"]
    assert written.name == "lhub.local/alice/hello:v1"
    again = based.import_base("again", tmp_path / "my.tar")
    (image,) = Layout(str(again.path)).images()
    assert image.config.digest == image_of(based, "alice/Hello:v1").config.digest
    with pytest.raises(LhubError, match="exists already"):
        based.export_image("alice/Hello:v1", tmp_path / "my.tar")


def test_a_damaged_layer_is_not_exported(based: Registry, hello: Path, tmp_path: Path) -> None:
    based.push(hello, image="always")
    layout = layout_of(based, "alice/Hello")
    layer = Path(layout.blob(image_of(based).layers[-1].digest))
    with by_hand(Path(layout.folder)):
        data = bytearray(layer.read_bytes())
        data[700] ^= 1
        layer.write_bytes(data)
    with pytest.raises(LhubError, match="is damaged") as told:
        based.export_image("alice/Hello", tmp_path / "my.tar")
    assert (told.value.code, os.listdir(tmp_path).count("my.tar")) == (6, 0)


def test_the_image_of_something_private_is_its_makers_file(based: Registry, hello: Path, tmp_path: Path) -> None:
    based.push(hello, image="always", private=True)
    before = os.umask(0)
    try:
        based.export_image("alice/Hello", tmp_path / "my.tar")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "my.tar").stat().st_mode) == 0o600
    with pytest.raises(NotFound):
        as_caller(based, "bob").image("alice/Hello")


def test_who_has_no_engine_is_told_what_to_install_and_two_ways_without(based: Registry, hello: Path) -> None:
    based.push(hello, image="always", tags=["v1"])
    with pytest.raises(ToolMissing, match=re.escape("jinaai+docker://alice/Hello:v1 needs a container engine")) as told:
        based.pull("jinaai+docker://alice/Hello:v1")
    assert told.value.code == 9
    assert "jinaai://alice/Hello:v1 is its source" in told.value.hint
    assert "lhub image export jinaai://alice/Hello:v1 -o FILE" in told.value.hint


def test_a_client_whose_daemon_does_not_answer_is_no_engine_and_is_named(
    based: Registry, hello: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = tmp_path / "programs" / "docker"
    client.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2; exit 1\n")
    client.chmod(0o755)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    based.push(hello, image="always")
    with pytest.raises(
        ToolMissing, match=re.escape(f"the docker client {client}, whose daemon does not answer at unix:///nowhere")
    ):
        based.pull("jinaai+docker://alice/Hello")


def test_an_image_has_no_place_to_be_pulled_to(based: Registry, hello: Path, tmp_path: Path) -> None:
    based.push(hello, image="always")
    with pytest.raises(UsageError, match="has no DEST"):
        based.pull("jinaai+docker://alice/Hello", tmp_path / "here")
    with pytest.raises(UsageError, match="is of images"):
        based.pull("jinaai://alice/Hello", tmp_path / "here", prefer_platform="linux/amd64")


def test_no_image_is_told_with_the_way_to_one(registry: Registry, hello: Path) -> None:
    registry.push(hello)
    with pytest.raises(NotFound, match="has no container image") as told:
        registry.pull("jinaai+docker://alice/Hello")
    assert told.value.hint == "push it again with --image always"


def test_config_is_what_the_test_says() -> None:
    assert "Hello" in config_yml("Hello")


# what is sealed


def test_the_image_of_what_is_sealed_is_sealed_by_the_same_key(
    based: Registry, hello: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(write_tree(tmp_path / "temporary", {"x": ""})))
    (hello / "notes.txt").write_text("marmalade-in-clear")
    in_clear = based.push(hello, "Open", image="always", builder="python")
    pushed = based.push(hello, "Shut", image="always", builder="python", seal=True)
    layout = based.root / f"alice/Shut/.lhub/images/{pushed.version}"
    assert (os.listdir(layout), pushed.image) == (["image.age"], "jinaai+docker://alice/Shut:latest")
    assert search(based.root / "alice/Shut", "marmalade-in-clear") == []
    with pytest.raises(LhubError, match="is sealed, and nothing here opens it"):
        based.image("alice/Shut")
    mine = Registry(based.root, namespace="alice", secret=pushed.secret, timeout=20)
    assert mine.image("alice/Shut").to_dict()["layout"] is None
    assert layers(mine, "alice/Shut") == layers(based, "alice/Open")
    mine.export_image("alice/Shut", tmp_path / "shut.tar")
    assert b"marmalade-in-clear" in (tmp_path / "shut.tar").read_bytes()
    stood = layout.stat().st_ino
    assert mine.push(hello, "Shut", image="always", builder="python").image
    assert (layout.stat().st_ino, in_clear.new) == (stood, True)
    assert mine.verify().ok
    mine.image("alice/Shut")
    gc.collect()
    assert os.listdir(tmp_path / "temporary") == ["x"]


@pytest.mark.slow
def test_nothing_of_what_is_sealed_is_in_clear_in_the_registry_while_its_image_is_built(
    based: Registry, hello: Path
) -> None:
    (hello / "notes.txt").write_text("marmalade-in-clear")
    (hello / "requirements.txt").write_text("marmalade-in-clear\n")
    seen: list[list[str]] = []

    def look(event: Mapping[str, Any]) -> None:
        seen.append(search(based.root / "alice/Shut", "marmalade-in-clear"))

    with pytest.raises(ImageFailed, match="marmalade") as failed:
        based.push(hello, "Shut", image="always", builder="python", seal=True, telling=look)
    assert (len(seen) > 5, [each for each in seen if each]) == (True, [])
    mine = Registry(based.root, namespace="alice", secret=failed.value.pushed.secret, timeout=20)
    told = str(list(mine.build("alice/Shut").follow(replay=True)))
    assert ("told to its pusher alone" in told, "marmalade" in told) == (True, False)


def layers(registry: Registry, ref: str) -> list[str]:
    return [layer.digest for layer in image_of(registry, ref).layers]
