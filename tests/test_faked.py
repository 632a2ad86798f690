"""On a fake file system (pyfakefs) the verbs answer what they answer on a real one, and nothing reaches the real one.

The diary alone is missing there: git is a program of its own. `verify` says so, and nothing else fails for it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import pytest

import lhub
from lhub.commits import NOT_KEPT
from lhub.registry import Registry
from tests.conftest import config_yml, executor_py, write_tree

VOLATILE = {"task_id", "updated", "created", "secret", "when", "at", "root", "path", "free"}


def plain(value: Any, place: Path) -> Any:
    """A result without what differs by place and time."""
    if is_dataclass(value) and not isinstance(value, type):
        return {k: plain(v, place) for k, v in asdict(value).items() if k not in VOLATILE}
    if isinstance(value, dict):
        return {k: plain(v, place) for k, v in value.items() if k not in VOLATILE}
    if isinstance(value, (list, tuple)):
        return [plain(each, place) for each in value]
    if isinstance(value, str):
        return value.replace(str(place), "PLACE")
    return value


def story(place: Path) -> Iterator[tuple[str, Any]]:
    """A day in the life of a registry, verb by verb, with what each answers."""
    root = place / "registry"
    registry = Registry(root, namespace="alice", timeout=5)
    source = write_tree(place / "src", {"config.yml": config_yml("Hello"), "executor.py": executor_py("Hello")})
    (source / "run.sh").write_text("#!/bin/sh\n")
    (source / "run.sh").chmod(0o755)
    yield "init", registry.init()
    yield "login", registry.login("alice")
    yield "push", registry.push(source, tags=["v1", "latest"], protected_tags=["v1"])
    yield "again", registry.push(source)
    (source / "executor.py").write_text(executor_py("Hello", "", "# changed"))
    yield "second", registry.push(source, tags=["v2", "latest"], message="changed")
    yield "plan", registry.plan(source)
    try:
        registry.push(source, protected_tags=["v1"])
    except lhub.Conflict as error:
        yield "protected", str(error)
    yield "tag", registry.tag("alice/Hello:v2", "prod", "old")
    yield "untag", registry.untag("alice/Hello:old")
    yield "protect", registry.tag("alice/Hello:v2", "v2", protect=True)
    yield "rollback", registry.rollback("alice/Hello", "v1", "prod")
    yield "list", registry.list()
    yield "show", registry.show("alice/Hello")
    yield "search", registry.search("hello")
    yield "diff", registry.diff("alice/Hello:v1", "v2")
    pulled = registry.pull("alice/Hello:v2", place / "out")
    yield "pull", (pulled, sorted(os.listdir(place / "out")), (place / "out" / "executor.py").read_text())
    yield "pull modes", [oct((place / "out" / name).stat().st_mode) for name in ("run.sh", "config.yml")]
    yield "path", registry.path("alice/Hello:v1").replace(str(place), "PLACE")
    (place / "weights.bin").write_bytes(bytes(range(256)) * 40_000)
    yield "large", registry.push(place / "weights.bin", "weights", private=True)
    yield "large pulled", (registry.pull("alice/weights", place / "w"), (place / "w").read_bytes()[-3:])
    yield "visibility", registry.visibility("alice/weights", "public")
    yield "bob", [listed.name for listed in Registry(root, namespace="bob").list()]
    yield "delete", registry.delete("alice/weights")
    yield "restore", registry.restore("alice/weights")
    yield "status", registry.build("alice/Hello").look().state
    yield "nobody", Registry(root).push(source)
    nobody = Registry(place / "nobody")
    sealed = nobody.push(source, "Sealed", private=True)
    yield "sealed", nobody.pull(f"jinahub://Sealed:{sealed.secret}", place / "s").name
    yield "unsealed", {path.name: path.read_text() for path in sorted((place / "s").iterdir()) if path.is_file()}
    yield "verify", without_remarks(registry.verify())
    yield "export", registry.export("alice/Hello", path=place / "x.tar")
    other = Registry(place / "other", namespace="alice", timeout=5)
    other.init()
    yield "import", other.import_bundle(place / "x.tar")
    yield "import verified", without_remarks(other.verify())
    yield "copy", registry.copy("alice/Hello", to=place / "third")
    yield "gc", registry.gc()
    yield "doctor", registry.doctor()
    payload = Path(registry.path("alice/Hello:v2")) / "executor.py"
    payload.chmod(0o644)
    payload.write_text("flipped")
    yield "damaged", without_remarks(registry.verify())
    try:
        registry.pull("alice/Hello:v2", place / "damaged")
    except lhub.Corrupt as error:
        yield "refused", str(error)
    yield "nothing left", sorted(os.listdir(place))
    yield "repaired", without_remarks(registry.verify(repair=True, good=other.root))


def without_remarks(verified: Any) -> Any:
    return {key: value for key, value in verified.to_dict().items() if key != "remarks"}


def told(place: Path) -> list[tuple[str, Any]]:
    return [(verb, plain(answer, place)) for verb, answer in story(place)]


@pytest.mark.slow
def test_every_verb_answers_on_a_fake_file_system_what_it_answers_on_a_real_one(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    real = told(tmp_path)
    request.getfixturevalue("fs")
    os.makedirs(tmp_path)
    fake = told(Path(str(tmp_path)))  # in 3.10 a path that was made before stays on the real one
    for one, other in zip(real, fake, strict=True):
        assert one == other


def test_verify_says_that_no_diary_is_kept_there_and_finds_nothing_wrong(fs: Any) -> None:
    fs.create_dir("/data")
    told: list[str] = []
    registry = Registry("/data/registry", namespace="alice", notes=told.append)
    registry.push(write_tree(Path("/data/src"), {"note.txt": "hello"}), "X")
    verified = registry.verify()
    assert verified.ok
    assert told == ["made the registry /data/registry"], "a push has nothing to complain of"
    assert verified.remarks == (NOT_KEPT,)
    for asked in (lambda: registry.log("alice/X"), lambda: registry.pull("alice/X@{2026-01-01}", "/out")):
        with pytest.raises(lhub.LhubError, match="no diary is kept here"):
            asked()


def test_on_a_real_file_system_there_is_nothing_to_remark(registry: Registry, hello: Path) -> None:
    registry.push(hello)
    assert registry.verify().remarks == ()


PROJECT_OF_TWO = """
import os
import subprocess
from pathlib import Path

from lhub.registry import Registry


def push(place):
    Path(place).mkdir(parents=True, exist_ok=True)
    Path(place, "note.txt").write_text("hello")
    registry = Registry(f"{place}.registry", namespace="alice")
    registry.push(place, "X", tags=["v1"], protected_tags=["v1"])
    registry.tag("alice/X:v1", "prod")
    assert registry.pull("alice/X:prod", f"{place}.out").version == registry.show("alice/X:v1").version
    return registry


def test_fake(fs):
    registry = push("PLACE")
    assert registry.verify().remarks and not registry.gc().removed
    assert subprocess.run(["test", "-e", "PLACE.registry"]).returncode == 1


def test_real():
    registry = push("PLACE")
    assert [entry.action for entry in registry.log("alice/X")] == ["tag", "push"]
    assert subprocess.run(["test", "-e", "PLACE.registry/alice/X/v1"]).returncode == 0
"""


def test_what_was_loaded_on_a_fake_file_system_works_on_the_real_one_afterwards(tmp_path: Path) -> None:
    """pyfakefs forgets such modules, but for what a package knows of them: hence no `from lhub import room`."""
    place = tmp_path / "src"
    (tmp_path / "test_two.py").write_text(PROJECT_OF_TWO.replace("PLACE", str(place)))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_two.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_a_push_by_itself_is_refused_there(fs: Any) -> None:
    fs.create_dir("/data")
    registry = Registry("/data/registry", namespace="alice")
    with pytest.raises(lhub.LhubError, match="cannot go on by itself, there is no process for it"):
        registry.push(write_tree(Path("/data/src"), {"note.txt": "hello"}), "X", detach=True)
