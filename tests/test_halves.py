"""Many small files are shared with a second process, which can only save time: nothing depends on how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lhub.registry import Registry
from tests.conftest import PROJECT, Shell, write_tree

two = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="a helper needs a second processor (Linux, two cores)",
)
FILES = 1_500


def alone(script: str, *words: str | Path) -> dict[str, object]:
    """What a script answers in a process of its own: one with threads, as a test's may be, gets no helper."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, words)],
        cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "a helper says nothing of its own"
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


SHARING = """
import json, os, signal, sys
from lhub.halves import share
me, me_too, told, again = os.getpid(), os.getpid, {}, []
def done(item, result):
    told[item] = result
def anew(item):
    again.append(item)
    return work(item)
def share_all():
    share(range(2000), range(2000, 4000), work, done, anew=anew)
def tell(**more):
    alive = True
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        alive = False
    print(json.dumps({"items": len(told), "helped": sum(pid != me for _, pid in told.values()), "again": len(again),
                      "right": all(twice == 2 * item for item, (twice, _) in told.items()), "alive": alive, **more}))
"""


@two
def test_a_helper_does_its_half_and_is_gone() -> None:
    answer = alone(f"{SHARING}\ndef work(item): return 2 * item, os.getpid()\nshare_all(); tell()")
    assert answer == {"items": 4000, "helped": 2000, "again": 0, "right": True, "alive": False}


@two
@pytest.mark.parametrize("death", ["os.kill(os.getpid(), 9)", "os._exit(0)", "sys.exit()", "raise MemoryError"])
def test_what_a_helper_leaves_is_done_anew(death: str) -> None:
    answer = alone(
        f"{SHARING}\ndef work(item):\n    if me_too() != me and item == 2500: {death}\n"
        "    return 2 * item, me_too()\nshare_all(); tell()"
    )
    assert answer["items"] == 4000 and answer["right"] is True and answer["alive"] is False
    assert answer["helped"] == 448 and answer["again"] == 2000 - 448, "it tells of 64 at once"


@two
def test_what_stops_a_helper_is_told_by_who_called_it() -> None:
    answer = alone(
        f"{SHARING}\ndef work(item):\n    if item == 3999: raise LookupError('no more')\n"
        "    return 2 * item, me_too()\ntry: share_all()\nexcept LookupError as error: tell(said=str(error))"
    )
    assert answer["said"] == "no more" and answer["items"] == 3999 and answer["alive"] is False


@two
def test_a_helper_is_dead_before_its_caller_clears_away() -> None:
    answer = alone(
        f"{SHARING}\nimport time\n"
        "def work(item):\n    if os.getpid() != me: time.sleep(0.05)\n    return 2 * item, os.getpid()\n"
        "def done(item, result):\n    raise KeyboardInterrupt\n"
        "try: share_all()\nexcept KeyboardInterrupt: tell()"
    )
    assert answer["items"] == 0 and answer["alive"] is False


def test_a_process_with_threads_gets_no_helper() -> None:
    answer = alone(
        f"{SHARING}\nimport threading\nend = threading.Event()\n"
        "threading.Thread(target=end.wait, daemon=True).start()\n"
        "def work(item): return 2 * item, os.getpid()\nshare_all(); end.set(); tell()"
    )
    assert answer == {"items": 4000, "helped": 0, "again": 0, "right": True, "alive": False}


@two
def test_a_worker_of_a_pool_gets_no_helper_and_needs_none() -> None:
    answer = alone(
        f"{SHARING}\nimport multiprocessing\ndef work(item): return 2 * item, os.getpid()\n"
        "def all_of_it():\n    global me\n    me = os.getpid(); share_all(); tell()\n"
        "worker = multiprocessing.get_context('fork').Process(target=all_of_it, daemon=True)\n"
        "worker.start(); worker.join(); sys.exit(worker.exitcode)"
    )
    assert answer["items"] == 4000 and answer["helped"] == 0 and answer["right"] is True


# pushes


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A folder of many files: some alike, some executable, some of text, one larger than what a helper copies."""
    files: dict[str, str | bytes] = {
        f"{number % 7}/{number:04}.bin": os.urandom(64) + b"\0" if number % 3 else f"text {number // 30}\n"
        for number in range(FILES)
    }
    folder = write_tree(tmp_path / "many", files | {"large.bin": os.urandom(3 << 20)})
    for number in range(0, FILES, 250):
        (folder / f"{number % 7}" / f"{number:04}.bin").chmod(0o755)
    return folder


PUSHING = """
import json, os, signal, sys
import lhub.staging as staging
from lhub.registry import Registry
me, helped = os.getpid(), []
def lapsing(verb):
    plain = getattr(staging.Staging, verb)
    def lapsed(self, *words, **more):
        if os.getpid() != me:
            helped.append(1)
            if len(helped) == 200:
                plain(self, *words, **more)  # it is done, and nobody knows
                os.kill(os.getpid(), signal.SIGKILL)
        return plain(self, *words, **more)
    setattr(staging.Staging, verb, lapsed)
for verb in sys.argv[3:]:
    lapsing(verb)
shared = staging.share
def counted(mine, others, *words, **more):
    shares.append(len(others))
    shared(mine, others, *words, **more)
staging.share, shares = counted, []
registry = Registry(sys.argv[1], namespace="alice")
pushed = registry.push(sys.argv[2], "many")
print(json.dumps({"version": pushed.version, "new": pushed.new, "shares": shares,
                  "found": [str(each) for each in registry.verify("alice/many").findings],
                  "left": [name for name in os.listdir(f"{sys.argv[1]}/alice/many/.lhub/versions") if name[0] == "."]}))
"""


@two
@pytest.mark.parametrize("lapses", [(), ("_taken", "_place")], ids=["well", "killed"])
def test_a_shared_push_is_the_same_version_however_its_helpers_end(
    many: Path, tmp_path: Path, registry: Registry, lapses: tuple[str, ...]
) -> None:
    plain = registry.push(many, "many").version
    answer = alone(PUSHING, tmp_path / "shared", many, *lapses)
    assert answer["version"] == plain and answer["new"] is True
    assert answer["found"] == [] and answer["left"] == []
    assert min(answer["shares"]) > FILES / 3, "both halves are worth a helper"  # type: ignore[call-overload]


@two
def test_a_shared_push_of_a_few_changes_links_the_rest(many: Path, tmp_path: Path) -> None:
    first = alone(PUSHING, tmp_path / "shared", many)
    (many / "3" / "0003.bin").write_bytes(b"\0 changed")
    second = alone(PUSHING, tmp_path / "shared", many, "_place")
    assert second["version"] != first["version"] and second["found"] == []
    third = alone(PUSHING, tmp_path / "shared", many, "_taken")
    assert third["version"] == second["version"] and third["new"] is False


@two
@pytest.mark.slow
@pytest.mark.parametrize("texts", [True, False], ids=["texts too", "none but pointers"])
def test_the_diary_of_many_files_is_what_git_reads(many: Path, tmp_path: Path, shell: Shell, *, texts: bool) -> None:
    """A clone has texts as they are and a pointer for each of the rest, deflated or not."""
    for path in many.rglob("*.bin"):
        if not texts:
            path.write_bytes(os.urandom(64) + b"\0")
    alone(PUSHING, tmp_path / "shared", many)
    history = tmp_path / "shared" / "alice" / "many" / ".lhub" / "history.git"
    clone = tmp_path / "clone"
    env = shell.environment() | {"GIT_CONFIG_NOSYSTEM": "1", "GIT_LFS_SKIP_SMUDGE": "1"}
    subprocess.run(["git", "clone", "-q", history, clone], check=True, env=env, capture_output=True)
    for path in sorted(many.rglob("*.bin")):
        data, kept = path.read_bytes(), (clone / "files" / path.relative_to(many)).read_bytes()
        assert kept == data if data.startswith(b"text") else kept.startswith(b"version https://git-lfs")
    assert len(list((clone / "files").rglob("*.bin"))) == FILES + 1
