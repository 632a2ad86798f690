"""The order of steps: whatever happens before any of them, a reader sees the old or the new, and the next writer mends.

Every verb that writes is run once with a pen that counts, then once for each step with a pen that kills, fails or
interrupts just before it. A kill before a step that comes after one without effect (a folder that stood, an fsync)
meets the disk as the kill before it did, and is left out. `LHUB_EVERY_STEP=1` tries every fault of every verb at every
step, where a common run takes turns.
"""

from __future__ import annotations

import errno
import gc
import os
import re
import signal
import stat
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lhub import commits, history
from lhub.diary import Recorded
from lhub.disk import Pen
from lhub.errors import LhubError, NotFound
from lhub.layout import is_private
from lhub.registry import Registry
from lhub.store import Resource
from tests.conftest import config_yml, executor_py, read_tree, write_tree
from tests.make_fixtures import FIXTURES

SAME = "# in both; also an ignore list that is quicker to read than the built-in one\n"
BOTH: dict[str, str | bytes] = {
    ".gitignore": SAME,
    "config.yml": config_yml("Hello"),
    "data/stays.txt": SAME,
    "run.sh": SAME,
}
BETWEEN = BOTH | {"executor.py": executor_py("Hello", "# between")}
OLD = BOTH | {"executor.py": executor_py("Hello", "# old"), "data/goes.txt": SAME}
NEW = BOTH | {"executor.py": executor_py("Hello", "# newer")}
EVERY = bool(os.environ.get("LHUB_EVERY_STEP"))


class Ruler(Pen):
    """A pen that counts its steps, and does a deed before one of them."""

    def __init__(self, at: int = 0, deed: Callable[[str], None] = lambda step: None, *, lasting: bool = False) -> None:
        self.at, self.deed, self.lasting = at, deed, lasting
        self.steps: list[str] = []
        self.idle: set[int] = set()
        """The numbers of steps that left the disk as it was."""

    def step(self, verb: str, path: str) -> None:
        self.steps.append(f"{verb} {path}")
        if verb.startswith("sync"):
            self.idle.add(len(self.steps))
        if len(self.steps) == self.at or (self.lasting and len(self.steps) > self.at):
            self.deed(f"{verb} {path}")

    def make_folder(self, path: str, mode: int) -> bool:
        number = len(self.steps) + 1
        made = super().make_folder(path, mode)
        if not made:
            self.idle.add(number)
        return made


def in_a_child(deed: Callable[[], object]) -> int:
    """Do something in a fork of this process, and wait: its exit status, as `os.wait` gives it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a test runner has threads; the child uses none of theirs
        child = os.fork()
    if child == 0:
        try:
            gc.disable()
            deed()
            os._exit(0)
        finally:
            os._exit(70)
    return os.waitpid(child, 0)[1]


NOBODY = 65_534


def as_nobody(deed: Callable[[], object]) -> int:
    """The same, once the fork has become another user of the machine."""
    if os.geteuid():
        pytest.skip("needs root, who can become somebody else")

    def become() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        deed()

    return in_a_child(become)


# the verbs


@dataclass(frozen=True, kw_only=True)
class Verb:
    """What stands before, who does what, and how he does it again when he was stopped."""

    act: Callable[[Registry, Path], object]
    before: Callable[[Registry, Path], object]
    caller: str | None = "alice"
    loses: tuple[str, ...] = ()
    """The protected tags that it is told to remove."""
    own: str = ""
    """The places where it takes other steps than a verb above, if a common run may leave out the rest."""

    @property
    def resource(self) -> str:
        return f"{self.caller}/Hello" if self.caller else "Hello"

    @property
    def folder(self) -> str:
        return f"{self.caller or '_'}/Hello"


def untag(registry: Registry, new: Path) -> None:
    """Remove two tags; those that are gone are gone, and then a writer comes who changes nothing."""
    standing = {tag for line in registry.list() for tag in line.tags}
    if gone := [tag for tag in ("v1", "v2") if tag in standing]:
        registry.untag("alice/Hello", *gone)
    else:
        registry.tag("alice/Hello", "latest")


def pushed(**options: Any) -> Callable[[Registry, Path], object]:
    return lambda registry, folder: registry.push(folder, "Hello", message="words", **options)


def with_a_lost_diary(registry: Registry, old: Path) -> None:
    """As a power cut may leave it: the branch stands, what it names does not."""
    registry.push(old, "Hello", tags=["latest", "v1"], protected_tags=["v1"])
    for path in (registry.root / "alice/Hello/.lhub/history.git/objects").rglob("*"):
        if path.is_file():
            path.unlink()


def with_many_packs(registry: Registry, old: Path) -> None:
    """A diary of as many packs as there may be before they are made one."""
    registry.push(old, "Hello")
    for turn in range(history._PACKS - 2):
        registry.untag("alice/Hello", "v1") if turn % 2 else registry.tag("alice/Hello", "v1")


def twice(**options: Any) -> Callable[[Registry, Path], object]:
    """Two versions: of the old folder, then of another that is no more like it than the new one."""

    def push(registry: Registry, old: Path) -> None:
        registry.push(old, "Hello", tags=["latest", "v1"])
        registry.push(write_tree(old.parent / "between", BETWEEN), "Hello", **options)

    return push


def gone(registry: Registry, old: Path) -> None:
    """A version that is noted, one in the trash, both for ages, each with a file of its own; and a deleted resource."""
    twice()(registry, old)
    registry.untag("alice/Hello", "v1")
    registry.push(write_tree(old.parent / "more", BETWEEN | {"executor.py": executor_py("Hello", "# more")}), "Hello")
    registry.gc()
    place = Resource(str(registry.root / "alice/Hello"), "alice/Hello").folder
    first = min(os.listdir(place.versions), key=lambda name: ("seen" not in name, name)).rpartition(".")[2]
    os.utime(place.seen(first), (1, 1))
    registry.gc()
    registry.push(old, "Other")
    registry.delete("alice/Other")


class Later(Ruler):
    """A ruler in a month when every grace is over: the file that tells the server's clock is made then."""

    def write_new(self, path: str, data: bytes, mode: int, *, sync: bool = True) -> None:
        super().write_new(path, data, mode, sync=sync)
        if not data and ".seen." not in path:
            os.utime(path, (time.time() + 30 * 86_400,) * 2)


def collect(registry: Registry, new: Path) -> None:
    """Collect in a month, with whatever pen was handed in."""
    pen = registry.session.pen
    later = Later(pen.at, pen.deed) if isinstance(pen, Ruler) else Later()
    if isinstance(pen, Ruler):
        later.steps, later.idle = pen.steps, pen.idle
    month = 30 * 86_400
    registry.session = replace(registry.session, pen=later, clock=lambda: time.time() + month)
    while not registry.gc().empty:
        pass
    registry.login("alice")  # who claims a namespace sweeps what a killed one left there, as every push does


def delete(registry: Registry, new: Path) -> None:
    """Delete it; what is gone is brought back first, so that a writer comes who mends it where it lies."""
    if not registry.list():
        registry.restore("alice/Hello")
    registry.delete("alice/Hello", unprotect=["v1"])


def deleted(registry: Registry, old: Path) -> None:
    """A resource with a protected tag, in the trash."""
    pushed(tags=["v1"], protected_tags=["v2"])(registry, old)
    registry.delete("alice/Hello", unprotect=["v2"])


def restore(registry: Registry, new: Path) -> None:
    """Bring it back; what is here is here, and then a writer comes who changes nothing."""
    if registry.list():
        registry.tag("alice/Hello:v1", "v1")
    else:
        registry.restore("alice/Hello")


def rename(registry: Registry, new: Path) -> None:
    """Give it another name if it has not got that, then a tag."""
    if "alice/Other" in [line.name for line in registry.list()]:
        registry.rename("alice/Other", "Hello")
    registry.tag("alice/Hello", "v1")


def unprotect(registry: Registry, new: Path) -> None:
    """Delete a protected tag, that then is gone."""
    standing = {tag for line in registry.list() for tag in line.tags}
    registry.delete("alice/Hello:v1", unprotect=["v1"]) if "v1" in standing else registry.tag("alice/Hello", "latest")


def elsewhere(registry: Registry, new: Path) -> Registry:
    """Another registry of alice's, with the old and the new version of Hello, made at first use; the same pen."""
    place = new.parent / "elsewhere"
    if not place.exists():
        other = Registry(place, namespace="alice")
        other.push(new.parent / "old", "Hello", tags=["latest", "v1"], message="first")
        other.push(new, "Hello", protected_tags=["v2"], tags=["latest"], message="second")
        other.export("alice/Hello", path=new.parent / "hello.tar")
    return Registry(place, namespace="alice", pen=registry.session.pen, timeout=20)


def import_bundle(registry: Registry, new: Path) -> object:
    elsewhere(registry, new)
    return registry.import_bundle(new.parent / "hello.tar")


def copy_unnamed(registry: Registry, new: Path) -> object:
    """Copy what has no namespace, with its secret, under two tags."""
    place = new.parent / "unnamed"
    if not place.exists():
        Registry(place).push(new, "Hello", tags=["v1", "latest"], secret="sesame-sesame")
    other = Registry(place, pen=registry.session.pen, timeout=20)
    return other.copy("jinahub://Hello:sesame-sesame", to=registry.root)


def adopt(registry: Registry, new: Path) -> object:
    """Adopt an Executor of the old cloud, which gets two tags."""
    cache = new.parent / "cache"
    if not cache.exists():
        cache.mkdir()
        subprocess.run(["tar", "-xzf", FIXTURES / "old-cloud-cache.tar.gz", "-C", cache], check=True)
    return registry.adopt("Hello", cache=cache)


def damage(registry: Registry, old: Path) -> None:
    """A payload and its blob that flipped; the diary has the text."""
    registry.push(old, "Hello")
    payload = Path(registry.path("alice/Hello")) / "executor.py"
    payload.chmod(0o644)
    payload.write_bytes(b"odd\n")
    payload.chmod(0o444)


VERBS = {
    "init": Verb(before=lambda registry, old: None, act=lambda registry, new: registry.init()),
    "a first push": Verb(before=lambda registry, old: registry.init(), act=pushed(private=True)),
    "a first push without a namespace": Verb(
        before=lambda registry, old: registry.init(),
        act=pushed(secret="sesame-sesame"),
        caller=None,
        own=r"/_$|/_/[^/]*$|/_/Hello/[^/]*$|/secret$",
    ),
    "a push that makes public": Verb(before=pushed(private=True), act=pushed(public=True)),
    "a push that makes private, with tags": Verb(
        before=pushed(tags=["latest", "v1"], protected_tags=["v1"]),
        act=pushed(private=True, tags=["latest", "gpu"], protected_tags=["v2", "v3"]),
    ),
    "tag": Verb(before=pushed(), act=lambda registry, new: registry.tag("alice/Hello", "v1", "v2")),
    "untag": Verb(before=pushed(tags=["latest", "v1", "v2", "v3"], protected_tags=["v3"]), act=untag),
    "tag --protect": Verb(
        before=pushed(tags=["latest", "v1"]),
        act=lambda registry, new: registry.tag("alice/Hello", "v1", "v2", protect=True),
    ),
    "visibility": Verb(before=pushed(), act=lambda registry, new: registry.visibility("alice/Hello", "private")),
    "rollback": Verb(
        before=twice(tags=["latest", "v2"]), act=lambda registry, new: registry.rollback("alice/Hello", "v1")
    ),
    "delete": Verb(before=pushed(tags=["latest"], protected_tags=["v1"]), act=delete, loses=("v1",)),
    "restore": Verb(before=deleted, act=restore),
    "delete a protected tag": Verb(before=pushed(tags=["latest"], protected_tags=["v1"]), act=unprotect, loses=("v1",)),
    "rename": Verb(before=lambda registry, old: registry.push(old, "Other"), act=rename),
    "gc": Verb(before=gone, act=collect),
    "import": Verb(
        before=lambda registry, old: registry.init(), act=import_bundle, own=r"^(?!copy_in|write_new|make_folder)"
    ),
    "import over what stands": Verb(before=pushed(), act=import_bundle, own=r"^rename|^symlink|^unlink|^fast-import"),
    "copy": Verb(
        before=lambda registry, old: registry.init(),
        act=lambda registry, new: elsewhere(registry, new).copy("alice/Hello", to=registry.root),
        own=r"^rename|^symlink|^unlink|^fast-import",
    ),
    "copy without a namespace": Verb(
        before=lambda registry, old: registry.init(),
        act=copy_unnamed,
        caller=None,
        own=r"^rename|^symlink|^unlink|^fast-import|/_/",
    ),
    "adopt": Verb(
        before=lambda registry, old: registry.init(), act=adopt, caller=None, own=r"^rename|^symlink|^fast-import"
    ),
    "a push that makes one pack of many": Verb(before=with_many_packs, act=pushed(), own=r"index-pack|/pack/|^unlink"),
    "a push to a diary that does not read": Verb(
        before=with_a_lost_diary, act=pushed(tags=["latest", "v2"]), own=r"/history\.git"
    ),
    "a tag in a diary that does not read": Verb(
        before=with_a_lost_diary, act=lambda registry, new: registry.tag("alice/Hello", "v2"), own=r"/history\.git"
    ),
}


# a stage on which a verb is played again and again


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What can be seen of a resource: its tags, the protected of them, and whether it is private."""

    tags: dict[str, str] = field(default_factory=dict)
    protected: tuple[str, ...] = ()
    private: bool | None = None


class Stage:
    """A registry as it was before a verb, to be copied, and all that is known of it before and after."""

    def __init__(self, verb: Verb, place: Path) -> None:
        self.verb, self.place = verb, place
        self.old, self.new = write_tree(place / "old", OLD), write_tree(place / "new", NEW)
        for folder in (self.old, self.new):
            (folder / "run.sh").chmod(0o755)
        self.origin = place / "origin"
        self.origin.mkdir()
        verb.before(self.registry(self.origin), self.old)
        self.before = self.look(self.origin)
        self.contents = self.payloads(self.origin)
        whole, ruler = self.copy("whole"), Ruler()
        verb.act(self.registry(whole, ruler), self.new)
        self.after, self.steps, self.idle = self.look(whole), ruler.steps, ruler.idle
        self.contents |= self.payloads(whole)
        self.shape = shape(whole)

    def steps_to_try(self, *, idle: bool = False) -> Iterator[int]:
        """The numbers of the steps before which something shall happen; `idle`: also after one without effect."""
        for number, step in enumerate(self.steps, start=1):
            seen = number - 1 in self.idle and (number in self.idle or not idle)
            if EVERY or (re.search(self.verb.own, step) and not seen):
                yield number

    def registry(self, place: Path, pen: Pen | None = None) -> Registry:
        return Registry(place / "registry", namespace=self.verb.caller, pen=pen, timeout=20)

    def resource(self, place: Path) -> Resource:
        return Resource(str(place / "registry" / self.verb.folder), self.verb.resource)

    def copy(self, name: str) -> Path:
        """The registry as it was before, hard links too."""
        target = self.place / name
        target.mkdir()
        if (self.origin / "registry").exists():
            clone(str(self.origin / "registry"), str(target / "registry"), {})
        return target

    def payloads(self, place: Path) -> dict[str, dict[str, bytes]]:
        """The files of each version that stands."""
        versions = Path(self.resource(place).folder.versions)
        return {path.parent.name: read_tree(path) for path in versions.glob("[0-9a-f]*/files")}

    def act(self, place: Path, pen: Pen | None = None) -> object:
        return self.verb.act(self.registry(place, pen), self.new)

    def look(self, place: Path) -> Sight:
        """What a listing tells, which must work whatever stands there."""
        try:
            lines = [line for line in self.registry(place).list() if line.name == self.verb.resource]
        except NotFound:
            lines = []
        if not lines:
            return Sight()
        [line] = lines
        return Sight(tags=line.tags, protected=line.protected_tags, private=line.visibility == "private")

    def read(self, place: Path) -> Sight:
        """What a reader sees: each tag as the old or the new whole version, no protected tag lost or moved."""
        sight, registry = self.look(place), self.registry(place)
        for tag in self.before.tags | self.after.tags | sight.tags:
            may = {self.before.tags.get(tag), self.after.tags.get(tag)}
            assert sight.tags.get(tag) in may, f"{tag} is at {sight.tags.get(tag)}, neither old nor new"
        for tag in set(self.before.protected) - set(self.verb.loses):
            assert tag in sight.protected and sight.tags[tag] == self.before.tags[tag], f"{tag} is protected no more"
        for version, tag in {version: tag for tag, version in sight.tags.items()}.items():
            ref = f"{self.verb.resource}:{tag}" if self.verb.caller else f"jinahub://Hello:sesame-sesame/{tag}"
            pulled = registry.pull(ref, place / f"pulled-{tag}", force=True)
            assert (pulled.version, registry.show(ref).version) == (version, version)
            assert read_tree(Path(pulled.path)) == self.contents[version], f"{tag} is not whole"
        return sight

    def hide(self, place: Path, sight: Sight) -> None:
        """New bytes of what shall be private lie in nobody's sight, nor old bytes of what was private."""
        folder = place / "registry" / self.verb.folder
        if self.after.private and folder.exists() and any(map(is_new, below(folder))):
            assert is_private(folder.stat().st_mode), "new bytes lie open that shall be private"
        if self.before.private and sight.private is False:
            assert sight.tags == self.after.tags, "it was made public before the new tags stood"

    def verify(self, place: Path) -> None:
        """Nothing is wrong but what the next change mends by itself."""
        registry = self.registry(place)
        if registry.root.joinpath("registry.yaml").exists():
            serious = [finding for finding in registry.verify().findings if not finding.hint.startswith("the next ")]
            assert serious == [], "verify finds what no change mends"

    def finish(self, place: Path, left: Sight) -> None:
        """The same once more succeeds, and then all is as if nothing had happened, whatever was left."""
        self.act(place)
        assert self.read(place) == self.after
        stands = shape(place)
        assert leftovers(stands) == [], "staging is left"
        assert stands - self.shape == set(), f"not so after an undisturbed run: {sorted(stands - self.shape)}"
        assert self.shape - stands == set(), f"so after an undisturbed run: {sorted(self.shape - stands)}"
        if self.after.tags and (EVERY or left != self.before):  # else it was a push as all others
            self.tell(place)

    def tell(self, place: Path) -> None:
        """The diary tells what the links tell, and each change once."""
        told, late = Recorded(), set()
        for entry in reversed(list(commits.log(self.resource(place)))):
            again = entry.action in ("import", "rename") or entry.version in late  # a past that came after a kill
            assert told.after(entry) != told or again, f"the diary tells the same twice: {entry}"
            late |= {entry.version} if entry.late else set()
            told = told.after(entry)
        assert told.tags == self.after.tags, "the diary tells other tags than the links"
        assert told.pins == set(self.after.protected), "the diary tells other protected tags than the pins"
        assert told.visibility == {True: "private", False: "public", None: None}[self.after.private]
        fsck = ["git", "-C", self.resource(place).folder.history, "fsck", "--full", "--strict", "--no-dangling"]
        done = subprocess.run(fsck, capture_output=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), "git finds a fault in the diary"


def as_bytes(files: dict[str, str | bytes]) -> dict[str, bytes]:
    return {path: content.encode() if isinstance(content, str) else content for path, content in files.items()}


def clone(source: str, target: str, seen: dict[int, str]) -> None:
    """A copy of a tree with its links, hard links and modes; what is read-only is shared by all copies."""
    os.mkdir(target)
    for entry in os.scandir(source):
        path, status = f"{target}/{entry.name}", entry.stat(follow_symlinks=False)
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), path)
        elif entry.is_dir():
            clone(entry.path, path, seen)
        elif status.st_ino in seen or not status.st_mode & 0o222:
            os.link(seen.get(status.st_ino, entry.path), path)
        else:
            seen[status.st_ino] = path
            Path(path).write_bytes(Path(entry.path).read_bytes())
            os.chmod(path, stat.S_IMODE(status.st_mode))
    os.chmod(target, stat.S_IMODE(os.stat(source).st_mode))


def below(folder: Path) -> Iterator[os.DirEntry[str]]:
    for entry in list(os.scandir(folder)):
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from below(Path(entry.path))


def is_new(entry: os.DirEntry[str]) -> bool:
    """Whether a name holds the bytes that only the new folder has."""
    return entry.is_file(follow_symlinks=False) and Path(entry.path).read_bytes() == as_bytes(NEW)["executor.py"]


def leftovers(names: set[str]) -> list[str]:
    """What a dead writer may leave and a living one must sweep."""
    return [name for name in names if re.search(r"\.tmp\.|\.gone\.|\.trash\.|/main\.lock$|/tmp_", name)]


def shape(place: Path) -> set[str]:
    """Every name with its mode, but for those that chance or the number of tries makes."""
    found = set()
    for entry in below(place / "registry"):
        name = re.sub(r"\.trash/\d+\.", ".trash/N.", os.path.relpath(entry.path, place))
        if not re.search("/builds/|/unreadable|/objects/[0-9a-f]{2}(/|$)|/objects/pack/", name) or "/lfs/" in name:
            found.add(f"{entry.stat(follow_symlinks=False).st_mode:o} {name}")
    return found


class Troubles:
    """All that went wrong at any step, told at once."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.told = stage, list[str]()

    @contextmanager
    def before(self, number: int, what: str, place: Path) -> Iterator[None]:
        try:
            yield
            Pen().remove_tree(str(place))  # hundreds of registries would cost the next run a minute
        except (Exception, KeyboardInterrupt) as error:
            step = self.stage.steps[number - 1].replace(str(self.stage.place), "")
            first = next((line for line in str(error).replace(str(place), "").split("\n") if line), "")
            self.told.append(f"{what} before step {number}, {step}: {type(error).__name__}: {first[:300]}")

    def none(self) -> None:
        assert not self.told, "\n".join([f"{len(self.told)} troubles", *self.told])


@pytest.fixture
def stage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """The verb of this name, on a stage of its own."""
    monkeypatch.setattr("lhub.verifier._N", 2)  # a secret's cost is not what is measured here
    monkeypatch.setattr("lhub.checkup._PAUSE", 0.0)  # nobody else changes anything
    return Stage(VERBS[request.param], tmp_path)


def kill(step: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


SLOW = ("import", "copy", "adopt", "gc", "a diary that does not read", "makes private, with tags", "makes public")
SLOW += ("tag", "visibility", "delete", "without a namespace", "rename", "rollback", "restore", "one pack of many")
"""Parts of the names of verbs of many steps, of which each is killed, or of steps that others take as well."""
STAGES = [pytest.param(verb, marks=[pytest.mark.slow] if any(part in verb for part in SLOW) else []) for verb in VERBS]


@pytest.mark.parametrize("stage", STAGES, indirect=True)
def test_a_kill_at_any_step_leaves_the_old_or_the_new_and_the_next_writer_mends(stage: Stage) -> None:
    troubles = Troubles(stage)
    for number in stage.steps_to_try():
        place = stage.copy(f"{number}")
        with troubles.before(number, "killed", place):
            status = in_a_child(partial(stage.act, place, Ruler(number, kill)))
            assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, "it was not killed"
            left = stage.read(place)
            stage.hide(place, left)
            stage.verify(place)
            stage.finish(place, left)
            stage.verify(place)
    troubles.none()


def test_a_kill_at_any_step_of_a_repair_leaves_what_the_same_again_repairs(tmp_path: Path) -> None:
    origin = Registry(tmp_path / "origin" / "registry", namespace="alice")
    (tmp_path / "origin").mkdir()
    damage(origin, write_tree(tmp_path / "old", OLD))
    whole, ruler = tmp_path / "whole", Ruler()
    clone(str(origin.root), str(whole), {})
    assert Registry(whole, namespace="alice", pen=ruler).verify(repair=True).ok
    for number in range(1, len(ruler.steps) + 1):
        place = tmp_path / f"{number}"
        clone(str(origin.root), str(place), {})
        killed = Registry(place, namespace="alice", pen=Ruler(number, kill), timeout=20)
        assert os.WIFSIGNALED(in_a_child(partial(killed.verify, repair=True)))
        again = Registry(place, namespace="alice", timeout=20)
        assert again.verify(repair=True).ok, ruler.steps[number - 1]
        assert read_tree(Path(again.path("alice/Hello"))) == as_bytes(OLD), ruler.steps[number - 1]


def full(step: str) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), step.split(" ", 1)[1])


def broken(step: str) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO), step.split(" ", 1)[1])


def interrupted(step: str) -> None:
    raise KeyboardInterrupt


FAULTS: dict[str, Callable[[str], None]] = {"full disk": full, "disk error": broken, "Ctrl-C": interrupted}


@pytest.mark.parametrize("turn", range(len(FAULTS)) if EVERY else [1])
@pytest.mark.parametrize(
    "stage",
    VERBS if EVERY else [pytest.param("a push that makes private, with tags", marks=pytest.mark.slow), "tag --protect"],
    indirect=True,
)
def test_a_fault_at_any_step_leaves_the_old_or_the_new_and_the_next_push_succeeds(stage: Stage, turn: int) -> None:
    troubles, faults = Troubles(stage), list(FAULTS.items())
    for number in stage.steps_to_try(idle=True):
        what, deed = faults[(number + turn) % len(faults)]
        place = stage.copy(f"{number}")
        with troubles.before(number, what, place):
            try:
                stage.act(place, Ruler(number, deed))
            except (LhubError, OSError):
                assert deed is not interrupted, "Ctrl-C became an error"
            except KeyboardInterrupt:
                assert deed is interrupted
            else:
                assert deed is not interrupted, "Ctrl-C was not heard"
            stage.hide(place, stage.read(place))
            stage.act(place)
            assert stage.read(place) == stage.after
            assert leftovers(shape(place)) == [], "staging is left"
    troubles.none()


NEEDS_ROOM = ("make_folder", "write_new", "append", "copy_in", "link", "symlink", "fast-import")


def full_for_what_needs_room(step: str) -> None:
    if step.startswith(NEEDS_ROOM):
        full(step)


@pytest.mark.parametrize("stage", ["a push that makes public"], indirect=True)
def test_a_disk_that_is_full_from_any_step_on_fails_with_the_tags_as_before(stage: Stage) -> None:
    troubles = Troubles(stage)
    for number in stage.steps_to_try(idle=True):
        if not stage.steps[number - 1].startswith(NEEDS_ROOM):
            continue
        place = stage.copy(f"{number}")
        with troubles.before(number, "full disk", place):
            try:
                stage.act(place, Ruler(number, full_for_what_needs_room, lasting=True))
                want = stage.after
            except (LhubError, OSError):
                want = stage.before
            left = stage.read(place)
            assert left == want, "it failed, but the tags moved; or it did not fail, but they did not move"
            stage.finish(place, left)
    troubles.none()


def test_scratch_that_goes_while_it_is_swept_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two first pushes at once: what one has listed, the other has removed by now."""
    registry = Registry(tmp_path / "registry", namespace="alice")
    registry.login("alice")
    listdir = os.listdir

    def late(path: str) -> list[str]:
        names = listdir(path)
        if not path.endswith("versions"):
            names.append(".tmp.host-1-aa")
        return names

    monkeypatch.setattr("os.listdir", late)
    registry.push(write_tree(tmp_path / "new", NEW), "Hello")
    assert registry.list()[0].tags.keys() == {"latest"}


def test_a_root_that_somebody_makes_while_one_looks_for_it_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two first pushes at once: it was not there when one asked whether it is a folder, and is when one asks again."""
    isdir, root = os.path.isdir, tmp_path / "registry"

    def late(path: str) -> bool:
        found = isdir(path)
        if str(path) == str(root) and not found:
            root.mkdir(mode=0o755)
        return found

    monkeypatch.setattr("os.path.isdir", late)
    Registry(root, namespace="alice").push(write_tree(tmp_path / "new", NEW), "Hello")
    assert Registry(root).list()[0].tags.keys() == {"latest"}
