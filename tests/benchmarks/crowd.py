"""A crowd on one registry: eight writers, four readers, a collector and a deleter, on two hosts at once.

It asks what a team asks of a share: does anything tear, is anything lost that was acknowledged, does a reader ever
fail, and how long does a writer wait. Four writers push to one name, two to names of their own, two to a name that
somebody deletes and restores all the while; what no tag names is collected after seconds instead of days.

    python tests/benchmarks/crowd.py [--seconds 60] [--json FILE]

runs it on the hosts that `LHUB_TEST_HOST_A` and `LHUB_TEST_HOST_B` name (see `tests/hosts.py`), on one of them alone,
and on this machine's own disk, and prints one table. `tests/test_share.py` runs the same for a few seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # where it is run as a program

from lhub import change, collection, commits
from lhub.errors import Conflict, LhubError, NotFound
from lhub.layout import deleted_name
from lhub.lock import held
from lhub.store import Resource
from tests.hosts import ALICE, Me, Seat, Share, mark_of, push, share_of

DELETED = "other/X"
"""What somebody deletes and restores again and again, in a namespace where nobody collects: all of it can be found."""
WRITERS = (*["alice/X"] * 4, "alice/own-1", "alice/own-2", DELETED, DELETED)
READ = ("alice/X", "alice/X:kept", "alice/own-1", DELETED)
GRACE = 3.0
"""Seconds after which the collector takes what no tag names; ten minutes is the least that lhub allows a person."""


# what each of the crowd does, on a host


def write_on(me: Me, who: str, name: str) -> dict[str, Any]:
    """Push and roll back until told to stop; each push that was acknowledged, how long it took and waited.

    A push is refused when its resource is deleted and restored under its hands again and again.
    """
    waits: list[float] = []
    vars(change)["held"] = timed(waits)
    done: list[dict[str, Any]] = []
    refused, failed = 0, list[str]()
    me.tell("ready")
    me.hear()
    while not me.stopped():
        turn = len(done)
        mark, tags = f"{who} {turn}", [f"{who}-{turn}", "latest"] if turn % 3 else ["latest"]
        waits.clear()
        began = time.monotonic()
        try:
            version = push(me, name, mark, {"tags": tags})["version"]
        except Conflict:
            refused += 1
            continue
        except Exception as error:
            failed.append(f"{name}: push {mark}: {type(error).__name__}: {error}")
            continue
        took = time.monotonic() - began
        done.append({"mark": mark, "version": version, "tag": tags[0], "took": took, "waited": sum(waits)})
        if turn % 5 == 4 and name != DELETED:
            me.registry.rollback(name, f"{who}-1")
    return {"done": done, "refused": refused, "failed": failed}


def timed(waits: list[float]) -> Any:
    """The lock, noting how many seconds it was waited for."""

    @contextmanager
    def waited(path: str, **options: Any) -> Iterator[None]:
        began = time.monotonic()
        with held(path, **options):
            waits.append(time.monotonic() - began)
            yield

    return waited


def read_on(me: Me, refs: list[str]) -> dict[str, Any]:
    """Pull each reference until told to stop: how often, what failed, what was not here."""
    failed: list[str] = []
    absent: Counter[str] = Counter()
    reads, worst = 0, 0.0
    me.tell("ready")
    me.hear()
    while not me.stopped():
        for ref in refs:
            began = time.monotonic()
            try:
                mark_of(me, ref)
            except NotFound:
                absent[ref] += 1
            except Exception as error:
                failed.append(f"{ref}: {type(error).__name__}: {error}")
            reads += 1
            worst = max(worst, time.monotonic() - began)
    return {"reads": reads, "failed": failed, "absent": dict(absent), "worst": worst}


def collect_on(me: Me) -> dict[str, int]:
    """Collect, with a grace of seconds, until told to stop; how much went."""
    collection.SHORTEST = 0.0
    told: Counter[str] = Counter()
    me.tell("ready")
    me.hear()
    while not me.stopped():
        went = me.registry.gc(grace=GRACE)
        told.update(turns=1, trashed=len(went.trashed), removed=len(went.removed), blobs=went.blobs)
    return dict(told)


def delete_on(me: Me, name: str) -> dict[str, int]:
    """Delete and restore until told to stop; how often."""
    told: Counter[str] = Counter()
    me.tell("ready")
    me.hear()
    while not me.stopped():
        for verb in ("delete", "restore"):
            try:
                getattr(me.registry, verb)(name)
                told[verb] += 1
            except (NotFound, Conflict):  # not pushed yet, or pushed anew meanwhile
                told[f"no {verb}"] += 1
    return dict(told)


def account(me: Me, name: str, pushed: list[dict[str, Any]]) -> list[str]:
    """What is lost of all that was acknowledged under a name, wherever it lies now."""
    space, _, own = name.partition("/")
    trash = f"{me.root}/{space}/.trash"
    places = [f"{me.root}/{name}", *(f"{trash}/{each}" for each in listed(trash) if deleted_name(each) == own)]
    tags: dict[str, str] = {}
    told: Counter[str] = Counter()
    lost = []
    for path in places:
        resource = Resource(path, name)
        if resource.status() is None:
            continue
        try:
            told.update(entry.message for entry in commits.log(resource))
            for tag, version in resource.links().versions().items():
                with resource.opened(version) as opened:
                    opened.manifest()
                tags[tag] = version
        except (LhubError, OSError) as error:
            lost.append(f"{path}: {error}")
    for each in pushed:
        if told[each["mark"]] != 1:
            lost.append(f"{name}: {each['mark']} is {told[each['mark']]} times in the diary")
        if each["tag"] != "latest" and tags.get(each["tag"]) != each["version"]:
            lost.append(f"{name}:{each['tag']} is {tags.get(each['tag'])}, not {each['version']}")
    return lost


def listed(path: str) -> list[str]:
    """The names in a folder, none where there is none."""
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []


# the crowd, from here


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a crowd did: `faults` are sentences, and there should be none.

    `push` is how long a push took and `wait` how long of that it waited for the lock: seconds at the median, of the
    slowest in a hundred, at worst.
    """

    where: str
    seconds: float
    pushes: int
    refused: int
    per_second: float
    push: tuple[float, float, float]
    wait: tuple[float, float, float]
    reads: int
    slowest_read: float
    absent: int
    trashed: int
    removed: int
    deleted: int
    restored: int
    torn: int
    lost: int
    failed: int
    faults: list[str]


def crowd(share: Share, where: str, seconds: float, hosts: str = "AB") -> Report:
    """Let a crowd loose on these hosts, in turn; what became of it."""
    seats = [share.at(host, ALICE) for host in hosts]
    prepare(seats[0])
    limit = seconds + 300

    def at(number: int, name: str = "alice/") -> Seat:
        return seats[number % len(seats)].but(namespace=name.partition("/")[0])

    writers = [(name, at(n, name).begin(write_on, f"w{n}", name, limit=limit)) for n, name in enumerate(WRITERS)]
    readers = [at(n).begin(read_on, list(READ), limit=limit) for n in range(4)]
    collector = at(0).begin(collect_on, limit=limit)
    deleter = at(1, DELETED).begin(delete_on, DELETED, limit=limit)
    everybody = [task for _, task in writers] + [*readers, collector, deleter]
    for task in everybody:
        task.heard()
    for task in everybody:
        task.say("go")
    began = time.monotonic()
    time.sleep(seconds)
    for task in everybody:
        task.say("stop")
    written = [(name, task.result()) for name, task in writers]
    took = time.monotonic() - began
    pushed = [(name, told["done"]) for name, told in written]
    refused = {name: sum(told["refused"] for each, told in written if each == name) for name, _ in written}
    read = [task.result() for task in readers]
    collected, deleted = collector.result(), deleter.result()
    lost = missed(seats[-1], pushed)
    failed = [fault for each in read for fault in each["failed"] if "torn" not in fault]
    torn = [fault for each in read for fault in each["failed"] if "torn" in fault]
    torn += [f"{each['ref']}: {each['problem']}" for each in seats[-1].do("verify")["findings"]]
    failed += [f"{ref} was not here {n} times" for each in read for ref, n in each["absent"].items() if ref != DELETED]
    failed += [fault for _, told in written for fault in told["failed"]]
    failed += [f"{n} pushes to {name} were refused" for name, n in refused.items() if n and name != DELETED]
    every = [each for _, done in pushed for each in done]
    return Report(
        where=where,
        seconds=took,
        pushes=len(every),
        refused=refused[DELETED],
        per_second=len(every) / took,
        push=quantiles([each["took"] for each in every]),
        wait=quantiles([each["waited"] for each in every]),
        reads=sum(each["reads"] for each in read),
        slowest_read=max(each["worst"] for each in read),
        absent=sum(each["absent"].get(DELETED, 0) for each in read),
        trashed=collected.get("trashed", 0),
        removed=collected.get("removed", 0),
        deleted=deleted.get("delete", 0),
        restored=deleted.get("restore", 0),
        torn=len(torn),
        lost=len(lost),
        failed=len(failed),
        faults=[*torn, *lost, *failed],
    )


def prepare(seat: Seat) -> None:
    """What stands before the crowd comes, so that each of its names may be asked for at once."""
    for name in dict.fromkeys(WRITERS):
        seat.but(namespace=name.partition("/")[0]).push(name, "before", tags=["latest", "kept"])


def missed(seat: Seat, pushed: list[tuple[str, list[dict[str, Any]]]]) -> list[str]:
    """What is lost of all that was acknowledged."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for name, done in pushed:
        by_name.setdefault(name, []).extend(done)
    return [fault for name, done in by_name.items() for fault in seat.run(account, name, done)]


def quantiles(seconds: list[float]) -> tuple[float, float, float]:
    """The median, the slowest in a hundred, the slowest."""
    ordered = sorted(seconds) or [0.0]
    return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)], ordered[-1]


# the program

ROWS = (
    ("pushes", "{0.pushes}"),
    ("pushes per second", "{0.per_second:.2f}"),
    ("a push took, seconds: median, p99, worst", "{0.push[0]:.2f}, {0.push[1]:.2f}, {0.push[2]:.2f}"),
    ("of that it waited for others", "{0.wait[0]:.2f}, {0.wait[1]:.2f}, {0.wait[2]:.2f}"),
    ("reads, and the slowest, seconds", "{0.reads}, {0.slowest_read:.2f}"),
    ("of what is deleted all the while: reads in vain, pushes refused", "{0.absent}, {0.refused}"),
    ("deleted, restored", "{0.deleted}, {0.restored}"),
    ("collected: to the trash, for good", "{0.trashed}, {0.removed}"),
    ("torn, lost, failed", "{0.torn}, {0.lost}, {0.failed}"),
)


def table(reports: list[Report]) -> str:
    """The reports side by side, as Markdown."""
    lines = [["", *(report.where for report in reports)], ["---"] * (len(reports) + 1)]
    lines += [[what, *(form.format(report) for report in reports)] for what, form in ROWS]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    """Run the crowd on two hosts, on one, on this machine's disk; 1 if anything was torn, lost or failed."""
    words = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    words.add_argument("--seconds", type=float, default=60.0, help="how long each crowd works (default: 60)")
    words.add_argument("--json", metavar="FILE", help="also write all figures there")
    given = words.parse_args()
    reports = []
    places = (
        [("two hosts", "AB", os.environ), ("one host", "A", os.environ)] if "LHUB_TEST_HOST_A" in os.environ else []
    )
    for where, hosts, environment in (*places, ("this machine's disk", "AB", {})):
        with share_of(environment) as share:
            reports.append(crowd(share, where, given.seconds, hosts))
        sys.stderr.write(f"{where}: {reports[-1].pushes} pushes, {len(reports[-1].faults)} faults\n")
    sys.stdout.write(table(reports) + "\n")
    for report in reports:
        sys.stdout.writelines(f"{report.where}: {fault}\n" for fault in report.faults)
    if given.json:
        Path(given.json).write_text(json.dumps([asdict(report) for report in reports], indent=2) + "\n")
    return 1 if any(report.faults for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
