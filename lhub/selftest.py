"""Selftest: does this mount keep what lhub builds on? Tried, not read from a manual, and told in plain words.

Everything happens in one scratch folder, which goes whatever comes between. The work is done by peers (a second
process, other users where root asks, another host where a command for it is given); this room only asks and judges.

A check is ``ok``; ``weak``, where something is slower or narrower than elsewhere, or where a named promise is
``lost``; ``broken``, where lhub cannot work; or ``unasked``.

>>> Check(name="links", verdict="weak", seen="92 names a file", means="the rest are copies").lost
''
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from lhub.disk import Pen
from lhub.errors import Denied, LhubError, NotFound
from lhub.layout import SCRATCH, link_to
from lhub.mounts import Mount, mount_of, weaknesses
from lhub.peer import PATIENCE, Answer, Failed, Peer

_STRANGERS = 65_533, 65_532, 65_531
"""Ordinary users whom nobody is, as far as can be: an owner, a stranger, and a colleague of the owner's group."""
_STALE = 5.0
"""Seconds for which a name that nobody listed is watched."""
_TICKS = 0.012
"""Seconds in which any server's clock ticks: NFS 3 knows a folder by a time that is no finer."""
_REFUSED = ("EACCES", "EPERM")
_ORDER = "between writers: --expect, and which of two pushes came last"
_USERS = "between users: that a namespace is its owner's, and that private is private"
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question: what was seen, what that means for lhub, and the promise that is not kept here (if any)."""

    name: str
    verdict: str
    seen: str
    means: str
    lost: str = ""

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub selftest --json` prints it."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that was asked of one folder; `peer` is the other host's name, None where none was asked."""

    root: str
    mount: Mount | None
    peer: str | None
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether lhub keeps here what it promises."""
        return not any(check.verdict == "broken" or check.lost for check in self.checks)

    @property
    def sentence(self) -> str:
        """What lhub promises here, in one sentence."""
        broken = [check.name for check in self.checks if check.verdict == "broken"]
        if broken:
            return f"lhub cannot keep a registry here: {', '.join(broken)} broken"
        if lost := dict.fromkeys(check.lost for check in self.checks if check.lost):
            return f"lhub works here, nothing tears or vanishes, but it does not promise {'; nor '.join(lost)}"
        where = (
            "on this host; --peer 'ssh HOST' asks between two" if self.peer is None else "also between the two hosts"
        )
        unasked = (
            " (what could not be asked is said above)" if any(each.verdict == "unasked" for each in self.checks) else ""
        )
        return f"lhub keeps all that it promises here, {where}{unasked}"

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub selftest --json` prints it."""
        mount = self.mount and {**self.mount._asdict(), "options": sorted(self.mount.options)}
        checks = [check.to_dict() for check in self.checks]
        return {
            "ok": self.ok,
            "root": self.root,
            "mount": mount,
            "peer": self.peer,
            "checks": checks,
            "promise": self.sentence,
        }


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The scratch folder, and who acts in it; all stand there, so every path is a name in it."""

    path: str
    here: Peer
    second: Peer
    far: Peer | None
    users: tuple[Peer, ...] = ()
    why_no_users: str = ""
    mixed_up: bool = False

    @property
    def everybody(self) -> list[Peer]:
        """All who race for names."""
        return [self.here, self.second, *([self.far] if self.far else [])]

    @property
    def other(self) -> Peer:
        """Who is furthest away."""
        return self.far or self.second

    @property
    def ordinary(self) -> Peer:
        """Somebody whom modes bind: not root, where there is another."""
        return self.users[0] if self.users else self.here

    def folder(self, name: str) -> str:
        """A new folder that all of `everybody` may write in."""
        among = {each.host["uid"] for each in self.everybody}
        _must(self.here, ["folder", name, 0o777 if len(among) > 1 else 0o700])
        return name

    def room(self, name: str) -> str:
        """A new folder that every user may write in, and nobody remove from: sticky."""
        _must(self.here, ["folder", name, 0o1777])
        return name


def run(
    root: str,
    *,
    unique: str,
    peer: Sequence[str] = (),
    peer_root: str | None = None,
    telling: Callable[[str], None] = lambda what: None,
) -> Report:
    """Try everything in a scratch folder of `root`; `peer` is a command that runs a program on another host.

    `peer_root` is where the same folder lies over there; `telling` is told what is asked next. Raises NotFound or
    Denied where there is no folder to write in, ToolMissing and LhubError for a peer that does not come up.
    """
    mount = mount_of(root)
    checks = list(_of_mount(mount))
    pen, path = Pen(), f"{root}/{SCRATCH}selftest.{unique}"
    with ExitStack() as ending:
        ending.callback(_end, pen, path)
        here = _joined(ending, Peer(name="the first process"))
        _begin(here, path, root)
        stage = _people(ending, here, path, peer, f"{peer_root or root}/{os.path.basename(path)}")
        for what, ask in ASKED.items():
            telling(what)
            checks += _asked(what, ask, stage)
        told = stage.far.host["host"] if stage.far else None
    return Report(root=root, mount=mount, peer=told, checks=tuple(checks))


def _asked(what: str, ask: Callable[[Stage], Iterable[Check]], stage: Stage) -> list[Check]:
    try:
        return list(ask(stage))
    except Failed as error:
        said = error.strerror or str(error)
        return [Check(name=what, verdict="broken", seen=said, means="lhub does this, and cannot do without")]


# the scratch folder and who acts in it


def _begin(here: Peer, path: str, root: str) -> None:
    """Make the scratch folder; by a peer, who removes it when this process is killed."""
    try:
        here.ask("begin", path)
    except Failed as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise NotFound(
                f"{root} is not there", hint="--root names a folder on the share, a registry or any other"
            ) from None
        why = f"{root} takes nothing new: {os.strerror(error.errno or 0)}"
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise Denied(why, hint="--root names a folder on the same share in which you may write") from None
        raise LhubError(why, hint="mend this and try again") from None


def _end(pen: Pen, path: str) -> None:
    """Remove the scratch; what was just killed may need a moment to let go of it."""
    deadline = time.monotonic() + PATIENCE
    while os.path.lexists(path):
        try:
            pen.remove_tree(path)
        except OSError as error:
            if time.monotonic() > deadline:
                raise LhubError(f"{path} could not be removed: {error.strerror}", hint="remove it by hand") from None
            time.sleep(0.05)


def _people(ending: ExitStack, here: Peer, path: str, prefix: Sequence[str], far_path: str) -> Stage:
    """Start everybody, and let them in: other users only where there are any."""
    far = _joined(ending, Peer(prefix, name="the peer")) if prefix else None
    second = _joined(ending, Peer(name="the second process"))
    users, why = _users(ending, path, here)
    if users or (far and far.host["uid"] != here.host["uid"]):
        Pen().set_mode(path, 0o755)  # to be listed by who sweeps in it
    for each in (here, second):
        each.ask("enter", path)
    if far:
        _enter_far(far, far_path)
    if not users and far and far.host["uid"] != here.host["uid"] and 0 not in (far.host["uid"], here.host["uid"]):
        users = (here, far)
    stage = Stage(path=path, here=here, second=second, far=far, users=users, why_no_users=why)
    return _with_users(stage, path) if users else stage


def _with_users(stage: Stage, path: str) -> Stage:
    """The stage with its other users, if they can come, and if the file system tells them apart at all."""
    room = stage.room("own")
    try:
        for user in stage.users:
            if user not in stage.everybody:
                user.ask("enter", path)
    except Failed:
        return replace(stage, users=(), why_no_users="an ordinary user cannot reach this folder")
    for number, user in enumerate(stage.users):
        made, status = user.do(["make", f"{room}/{number}"], ["status", f"{room}/{number}"])
        if made.error or status.value[1] != user.host["uid"]:
            return replace(stage, users=(), mixed_up=True)
    return stage


def _joined(ending: ExitStack, peer: Peer) -> Peer:
    """A peer that is ended in the end, after it has swept up what is its own."""
    ending.callback(peer.close)

    def sweep() -> None:
        with suppress(LhubError, Failed):
            peer.ask("sweep", limit=60)

    ending.callback(sweep)
    return peer


def _users(ending: ExitStack, path: str, here: Peer) -> tuple[tuple[Peer, ...], str]:
    if here.host["uid"] != 0:
        return (), "needs root, or a peer that is another user"
    owner, stranger, _ = _STRANGERS
    try:
        return tuple(
            _joined(ending, Peer(name=f"the user {uid}", uid=uid, gid=stranger if uid == stranger else owner))
            for uid in _STRANGERS
        ), ""
    except (LhubError, Failed):
        return (), "this root may not become another user"


def _enter_far(far: Peer, path: str) -> None:
    try:
        far.ask("enter", path)
    except Failed as error:
        raise LhubError(
            f"the peer does not find {path} on {far.host['host']}: {error.strerror}",
            hint="--peer-root DIR says where the same folder lies over there",
        ) from None


def _must(peer: Peer, *steps: Sequence[Any]) -> list[Any]:
    """The values of steps none of which may fail."""
    for step, answer in zip(steps, answers := peer.do(*steps), strict=True):
        if answer.error:
            raise Failed(0, f"{' '.join(map(str, step))}: {answer.error}")
    return [answer.value for answer in answers]


def _errors(answers: Iterable[Answer]) -> list[str | None]:
    return [answer.error for answer in answers]


# the checks


def _of_mount(mount: Mount | None) -> Iterator[Check]:
    """What the way it is mounted says by itself."""
    if mount is None:
        yield Check(
            name="mount", verdict="unasked", seen="this system does not tell", means="the questions below tell enough"
        )
        return
    found = [each for each in weaknesses(mount) if each.about != "root" and each.sure]  # the others are asked below
    losses = {"users": _USERS, "hosts": _ORDER, "data": "that what was pushed stays"}
    if not found:
        yield Check(name="mount", verdict="ok", seen=f"{mount.kind} at {mount.point}", means="nothing known against it")
    for weakness in found:
        lost = losses.get(weakness.about, "")
        yield Check(name="mount", verdict="weak", seen=weakness.text, means=weakness.hint, lost=lost)


def _names_race(stage: Stage) -> Iterator[Check]:
    """The same new names wanted by all at once, some at a time, so that they meet."""
    folder, tried, won = stage.folder("race"), 0, {0: 0, 2: 0}
    for turn in range(5):
        for verb in ("make", "mkdir", "link", "symlink"):
            names = [f"{folder}/{verb}-{turn}-{number}" for number in range(10)]
            winners = _race(stage, verb, names)
            tried += len(names)
            won[0] += winners.count(0)
            won[2] += sum(many > 1 for many in winners)
    who = f"{tried} names, {len(stage.everybody)} at each"
    if won[2]:
        yield Check(
            name="new names",
            verdict="broken",
            seen=f"{who}: {won[2]} had two winners",
            means="two could make one name: neither pins nor first pushes hold",
        )
    else:
        losers = f", {won[0]} were told to nobody" if won[0] else ""
        yield Check(
            name="new names",
            verdict="weak" if won[0] else "ok",
            seen=f"{who}: one winner each{losers}",
            means="protected tags, first pushes and --if-absent are safe",
        )


def _race(stage: Stage, verb: str, names: list[str]) -> list[int]:
    """How many made each name."""
    for number, each in enumerate(stage.everybody):
        source = f"{os.path.dirname(names[0])}/.{number}"
        each.do(["make", source])
        given = {"link": [source], "symlink": ["target"]}.get(verb, [])
        each.start("do", [[verb, *given, name] for name in names])
    made = [[error for error, _ in each.answer()] for each in stage.everybody]
    return [sum(error is None for error in errors) for errors in zip(*made, strict=True)]


def _links(stage: Stage) -> Iterator[Check]:
    here, folder = stage.here, stage.folder("links")
    (many, error), *_ = _must(here, ["make", "links/source"], ["links", "links/source", folder, 200])[1:]
    name, means = "hard links", "the same content is kept once"
    if many == 200:
        yield Check(name=name, verdict="ok", seen="200 to one file", means=means)
    else:
        yield Check(
            name=name,
            verdict="weak",
            seen=f"{many} to one file, then {error}",
            means="lhub copies instead: more room is needed, nothing is lost",
        )
    target = link_to("0" * 64)
    made = here.do(["symlink", target, "links/tag"], ["readlink", "links/tag"], ["symlink", "other", "links/tag"])
    right = _errors(made) == [None, None, "EEXIST"] and made[1].value == target
    yield Check(
        name="symbolic links",
        verdict="ok" if right else "broken",
        seen="made, read, and refused where one stands" if right else f"answers: {_words(made)}",
        means="a tag is one",
    )


def _words(answers: Iterable[Answer]) -> str:
    return ", ".join(answer.error or ("done" if answer.value is None else str(answer.value)[:20]) for answer in answers)


# locks


def _locks(stage: Stage) -> Iterator[Check]:
    folder = stage.folder("lock")
    _must(stage.here, ["make", f"{folder}/lock", "", 0o666], ["symlink", "0", f"{folder}/count"])
    pairs = [(stage.here, stage.second)]
    if stage.far:
        pairs += [(stage.here, stage.far), (stage.far, stage.here)]
    try:
        freed = [_freed(f"{folder}/lock", *pair) for pair in pairs]
    except Failed as error:
        yield Check(name="locks", verdict="broken", seen=str(error), means="no push works: mount it with locks")
        return
    slowest = max(freed)
    if min(freed) < 0:
        yield Check(
            name="locks",
            verdict="weak",
            seen="a lock that is held was given away again",
            means="nothing tears, but pushes may overtake each other",
            lost=_ORDER,
        )
    elif slowest >= 10:
        waiting = "that a push waits no longer than its neighbours work"
        yield Check(
            name="locks", verdict="weak", seen="a dead holder kept it for over 10 s", means="pushes wait", lost=waiting
        )
    else:
        seen = f"held against {'the peer too' if stage.far else 'a second process'}; free {slowest * 1e3:.0f} ms"
        yield Check(name="locks", verdict="ok", seen=f"{seen} after kill -9", means="one writer at a time")
    yield _counted(stage, folder)


def _freed(path: str, holder: Peer, other: Peer) -> float:
    """Seconds after which a lock is free when its holder was killed; -1 when it never kept the other out."""
    if holder.ask("hold", path) is None:
        raise Failed(0, "a lock that nobody holds cannot be taken, or there are none")
    held = other.ask("grab", path, 0.0) is None
    holder.ask("kill")
    waited = other.ask("grab", path, 10.0)
    return -1.0 if not held else 10.0 if waited is None else float(waited)


def _counted(stage: Stage, folder: str) -> Check:
    """A number that all add to, in a link, as tags are moved."""
    began = time.monotonic()
    for each in stage.everybody:
        each.start("count", folder, 100, 1.0)
    told = [each.answer() for each in stage.everybody]
    rate = sum(each["done"] for each in told) / (time.monotonic() - began)
    done, overlaps = sum(each["done"] for each in told), sum(each["overlaps"] for each in told)
    (number,) = (int(text) for text in _must(stage.here, ["list", folder], ["readlink", f"{folder}/count"])[1:])
    seen = f"{number} of {done} steps of {len(told)} counted, {rate:.0f}/s"
    if number == done and not overlaps:
        return Check(name="counting", verdict="ok", seen=seen, means="--expect holds, and no tag's move is lost")
    return Check(
        name="counting",
        verdict="weak",
        seen=f"{seen}; two at once {overlaps} times",
        means="the lock does not exclude; nothing tears, but pushes may overtake each other",
        lost=_ORDER,
    )


# renames


def _renames(stage: Stage) -> Iterator[Check]:
    folder = stage.folder("swap")
    _must(stage.here, ["make", "swap/file", "00000000" * 512, 0o644], ["symlink", "00000000", "swap/link"])
    readers = stage.everybody[1:]
    for reader in readers:
        reader.start("look", folder, 20.0)
    swapped = stage.here.ask("swap", folder, 25, 0.5)
    told = [reader.enough() for reader in readers]
    total = {key: sum(each[key] for each in told) for key in ("reads", "torn", "healed", "lasting")}
    faults = "/".join(sorted({fault for each in told for fault in each["faults"]}))
    seen = f"{total['reads']} reads beside {2 * swapped['turns']} renames"
    name, whole = "replacing", "a reader sees the old or the new, never a mixture"
    if total["torn"]:
        yield Check(name=name, verdict="broken", seen=f"{seen}: {total['torn']} torn", means="a pull may get a mixture")
    elif swapped["refused"]:
        yield Check(
            name=name,
            verdict="weak",
            seen=f"{seen}: {swapped['refused']} refused while somebody read",
            means="a push beside readers may fail, and works the next time",
            lost="that no push fails beside readers",
        )
    elif total["lasting"]:
        yield Check(
            name=name,
            verdict="weak",
            seen=f"{seen}: {total['lasting']} failed ({faults}), and again after a listing",
            means="a pull beside pushes may fail, and works the next time",
            lost="that no reader fails beside writers",
        )
    elif total["healed"]:
        seen = f"{seen}: {total['healed']} {faults}, healed by a listing"
        yield Check(name=name, verdict="weak", seen=seen, means=f"lhub lists and reads again: {whole}")
    else:
        yield Check(name=name, verdict="ok", seen=f"{seen}: none missing, none torn", means=whole)
    yield _folders(stage)


def _folders(stage: Stage) -> Check:
    """A version's folder: moved while it is read-only, never over one that stands."""
    who = stage.ordinary
    room = stage.room("folders")
    _must(who, ["folder", f"{room}/in"], ["folder", f"{room}/in/full"], ["make", f"{room}/in/full/file"])
    _must(who, ["folder", f"{room}/in/new", 0o555])
    onto, moved = who.do(["rename", f"{room}/in/new", f"{room}/in/full"], ["rename", f"{room}/in/new", f"{room}/in/n"])
    right = onto.error in ("ENOTEMPTY", "EEXIST") and moved.error is None
    return Check(
        name="folders",
        verdict="ok" if right else "broken",
        seen="a read-only one moved; onto a full one refused" if right else f"answers: {_words((onto, moved))}",
        means="a version is published whole, and never over another",
    )


# freshness


_AT_ONCE = "at once"
_WAYS = {_AT_ONCE: "stat", "after a stat": "stat", "after an open": "opendir", "after a listing": "list"}


def _fresh(stage: Stage) -> Iterator[Check]:
    """What one side remembers of names, after the other side changed them."""
    here, other = stage.here, stage.other
    folders = {way: stage.folder(f"fresh-{number}") for number, way in enumerate(_WAYS)}
    looks = {way: _looks(folder) for way, folder in folders.items()}
    for folder in folders.values():
        _must(here, ["make", f"{folder}/file", "old", 0o644], ["symlink", "old", f"{folder}/link"])
    for look in looks.values():
        other.do(*look)
    for folder in reversed(folders.values()):
        _must(here, *_changed(folder))
    changed = time.monotonic()
    new = {way: _seen(other, folder, way, looks[way]) for way, folder in folders.items()}
    enough = next((way for way in _WAYS if all(new[way])), "never")
    times = "" if enough == _AT_ONCE else _times(other, looks[_AT_ONCE], changed)
    hidden, late = _rounds(stage, "quick", touched=False), _rounds(stage, "touched", touched=True)
    seen = f"{'the peer' if stage.far else 'a second process'} sees what changed {enough}{times}"
    if late or not all(new["after a listing"]):
        yield Check(
            name="freshness",
            verdict="broken",
            seen=f"{seen}; {late} of 20 moves of a tag not seen after a listing",
            means="a reader may get the tag of before, however he looks",
        )
    elif hidden:
        yield Check(
            name="freshness",
            verdict="weak",
            seen=f"{seen}; {hidden} of 20 moves hidden by a listing in the same tick of the server's clock",
            means="a writer touches the folder when he is done, and the next listing sees it",
        )
    else:
        yield Check(
            name="freshness",
            verdict="ok",
            seen=seen,
            means="lhub lists before it believes a name: a pull sees the push before it",
        )


def _times(other: Peer, look: list[list[str]], since: float) -> str:
    """How long each is seen as it was by one who only looks again."""
    began = time.monotonic()
    after = other.ask("wait", look, ["new"] * 3, max(0.0, _STALE - (began - since)), limit=_STALE + 20)
    told = [
        f"{what} for {f'over {_STALE:.0f}' if late is None else f'{late + began - since:.1f}'} s"
        for what, late in zip(("an absent name", "a link", "a file"), after, strict=True)
        if late is None or late > 0.01
    ]
    return f"; without, {', '.join(told)} old" if told else ""


def _looks(folder: str) -> list[list[str]]:
    return [["readlink", f"{folder}/absent"], ["readlink", f"{folder}/link"], ["read", f"{folder}/file"]]


def _changed(folder: str) -> list[list[Any]]:
    """The three things that a push does to names: a new one, a link and a file that are replaced."""
    return [
        ["symlink", "new", f"{folder}/absent"],
        ["symlink", "new", f"{folder}/.link"],
        ["rename", f"{folder}/.link", f"{folder}/link"],
        ["make", f"{folder}/.file", "new", 0o644],
        ["rename", f"{folder}/.file", f"{folder}/file"],
    ]


def _seen(other: Peer, folder: str, way: str, look: list[list[str]]) -> list[bool]:
    first = [] if way == _AT_ONCE else [[_WAYS[way], folder]]
    return [answer.value == "new" for answer in other.do(*first, *look)[len(first) :]]


def _rounds(stage: Stage, name: str, *, touched: bool) -> int:
    """How many of twenty moves of a tag were not seen after a listing, without or with a touch some ticks later."""
    late, folder = 0, stage.folder(name)
    for turn in range(20):
        _must(stage.here, ["symlink", str(turn), f"{folder}/.new"], ["rename", f"{folder}/.new", f"{folder}/tag"])
        if touched:
            time.sleep(_TICKS)
            _must(stage.here, ["touch", folder])
        late += stage.other.do(["list", folder], ["readlink", f"{folder}/tag"])[1].value != str(turn)
    return late


# who may what


_NOBODY = 65534
_FOLDER_MODES = 0o700, 0o755, 0o2775, 0o2770, 0o3775, 0o1777, 0o555
_FILE_MODES = 0o444, 0o555, 0o600, 0o660


def _owners(stage: Stage) -> Iterator[Check]:
    """Whose the file system takes one's files to be: all_squash, or SMB's uid=, give them to another."""
    mine, path = int(stage.here.host["uid"]), f"{stage.room('owners')}/file"
    owner = int(_must(stage.here, ["make", path], ["status", path])[1][1])
    if owner == mine or (mine == 0 and owner == _NOBODY):
        nobody = "" if owner == mine else ", who is nobody here"
        seen = f"what uid {mine}{nobody} makes belongs to uid {owner}"
        yield Check(name="owners", verdict="ok", seen=seen, means="a namespace belongs to who makes it")
        return
    yield Check(
        name="owners",
        verdict="broken",
        seen=f"what uid {mine} makes belongs to uid {owner}",
        means="lhub takes your own folders for another user's, and refuses to push there",
    )


def _modes(stage: Stage) -> Iterator[Check]:
    who, room = stage.ordinary, stage.room("modes")
    wrong = []
    for mode in _FOLDER_MODES:
        path = f"{room}/folder-{mode:o}"
        got = _must(who, ["folder", path, mode], ["mode", path])[1]
        wrong += [f"{mode:04o} became {got:04o}"] if got != mode else []
    for mode in _FILE_MODES:
        path = f"{room}/file-{mode:o}"
        got = _must(who, ["make", path, "", mode], ["mode", path])[1]
        wrong += [f"{mode:04o} became {got:04o}"] if got != mode else []
    if wrong:
        yield Check(
            name="modes",
            verdict="weak",
            seen=f"{len(wrong)} of {len(_FOLDER_MODES + _FILE_MODES)}: {wrong[0]}",
            means="push --private is refused where 0700 does not stick",
            lost=_USERS,
        )
    else:
        yield Check(
            name="modes", verdict="ok", seen="all 11 stick", means="what is private is private from its first byte"
        )
    team, inner = f"{room}/folder-2775", f"{room}/folder-2775/inner"
    above, below = _must(who, ["mkdir", inner], ["status", team], ["status", inner])[1:]
    inherited = bool(int(below[0]) & stat.S_ISGID) and below[2] == above[2]
    yield Check(
        name="a team's group",
        verdict="ok" if inherited else "weak",
        seen="what is made in a setgid folder has its group" if inherited else "what is made in it has another group",
        means="colleagues can go on with each other's work"
        if inherited
        else "set the group by hand, or one owner a name",
        lost="" if inherited else "that a team's members can push to each other's resources",
    )


def _permissions(stage: Stage) -> Iterator[Check]:
    """What the kernel, or the server, refuses to another user."""
    if stage.mixed_up:
        yield Check(
            name="privacy",
            verdict="weak",
            seen="what one user makes belongs to another",
            means="mount it for one person (uid=, gid=), or choose a file system that knows its users",
            lost=_USERS,
        )
        return
    if not stage.users:
        seen = f"not asked: {stage.why_no_users}"
        yield Check(name="privacy", verdict="unasked", seen=seen, means="run it once as root")
        return
    owner, stranger, *colleagues = stage.users
    room = stage.room("users")
    _must(
        owner,
        ["folder", f"{room}/private", 0o700],
        ["make", f"{room}/private/file", "secret", 0o644],
        ["folder", f"{room}/public", 0o755],
        ["make", f"{room}/public/lock", "", 0o600],
        ["make", f"{room}/public/file", "", 0o444],
        ["make", f"{room}/name", "", 0o644],
        ["folder", f"{room}/team", 0o2770],
    )
    _must(owner, ["read", f"{room}/private/file"])  # what its host remembers of that must open it to nobody else
    yield _refused(stranger, "privacy", "a 0700 folder", "private is private", _forbidden(f"{room}/private", "file"))
    yield _refused(stranger, "others' names", "a sticky folder", "a namespace is its owner's", _takeovers(room))
    yield _refused(
        stranger, "others' files", "an 0600 lock, modes, owners", "nobody else holds a lock", _seizures(room)
    )
    if colleagues:
        yield _team(stranger, colleagues[0], f"{room}/team")
    linked = stranger.do(["link", f"{room}/public/file", f"{room}/linked"])[0].error
    yield Check(
        name="others' links",
        verdict="ok",
        seen="a link to another's file is refused" if linked in _REFUSED else "a link to another's file can be made",
        means="lhub relies on neither",
    )
    if stage.users[0] is not stage.here:
        sees = stage.here.do(["list", f"{room}/private"])[0].error is None
        yield Check(
            name="root",
            verdict="ok",
            seen="root reads what is private" if sees else "root is nobody here, and reads nothing private",
            means="push and pull as an ordinary user; nothing needs root",
        )


def _forbidden(folder: str, name: str) -> list[list[Any]]:
    """What nobody but its owner may do with a private folder."""
    inside = f"{folder}/{name}"
    return [["list", folder], ["read", inside], ["make", f"{folder}/new"], ["rename", inside, f"{folder}/moved"]]


def _takeovers(room: str) -> list[list[Any]]:
    return [
        ["rename", f"{room}/name", f"{room}/taken"],
        ["unlink", f"{room}/name"],
        ["rename", f"{room}/public", f"{room}/taken"],
        ["make", f"{room}/public/new"],
        ["unlink", f"{room}/public/file"],
    ]


def _seizures(room: str) -> list[list[Any]]:
    return [
        ["open", f"{room}/public/lock"],
        ["open", f"{room}/public/lock", True],
        ["open", f"{room}/public/file", True],
        ["chmod", f"{room}/public", 0o777],
        ["chown", f"{room}/public", 65_532, 65_532],
    ]


def _refused(stranger: Peer, name: str, what: str, means: str, steps: list[list[Any]]) -> Check:
    """All of it must be refused."""
    allowed = [step for step, answer in zip(steps, stranger.do(*steps), strict=True) if answer.error not in _REFUSED]
    if not allowed:
        seen = f"{what}: {len(steps)} tries of another user refused"
        return Check(name=name, verdict="ok", seen=seen, means=means)
    deeds = ", ".join(str(step[0]) for step in allowed)
    return Check(
        name=name,
        verdict="weak",
        seen=f"{what}: another user was let do {deeds}",
        means="the file system does not tell its users apart, or does not care",
        lost=_USERS,
    )


def _team(stranger: Peer, colleague: Peer, folder: str) -> Check:
    """A folder of a group, private to it."""
    let_in = colleague.do(["list", folder], ["make", f"{folder}/new"])
    kept_out = stranger.do(["list", folder])[0].error in _REFUSED
    groups = _errors(let_in) == [None, None]
    return Check(
        name="groups",
        verdict="ok" if groups and kept_out else "weak",
        seen=f"a colleague may {'' if groups else 'not '}write, a stranger may {'not ' if kept_out else ''}look",
        means="a team's namespace works" if groups else "the server must know a team's group (manage-gids)",
        lost="" if groups and kept_out else "that a team's members, and only they, push to its namespace",
    )


# durability, clocks, names, room, speed


def _durable(stage: Stage) -> Iterator[Check]:
    _must(stage.here, ["make", "synced", "x"], ["sync", "synced"], ["sync", "."])
    with Pen().synced(stage.path) as sync:
        whole = sync()
    yield Check(
        name="syncing",
        verdict="ok",
        seen=f"fsync of files and folders{', syncfs' if whole else '; syncfs does not tell its errors'}",
        means="what is named is on the disk of the server" if whole else "as safe; pushes of many files are slower",
    )


def _clocks(stage: Stage) -> Iterator[Check]:
    """What the clocks differ by, from that of whoever stamps the files."""
    skews, folder = {}, stage.folder("clocks")
    people = {"this host": stage.here, **({"the peer": stage.far} if stage.far else {})}
    for number, (who, peer) in enumerate(people.items()):
        before = peer.ask("who")["time"]
        status = _must(peer, ["make", f"{folder}/{number}"], ["status", f"{folder}/{number}"])[1]
        skews[who] = (before + peer.ask("who")["time"]) / 2 - status[3]
    told = ", ".join(f"{who} {skew:+.1f} s" for who, skew in skews.items())
    worst = max(abs(skew) for skew in [*skews.values(), max(skews.values()) - min(skews.values())])
    yield Check(
        name="clocks",
        verdict="ok" if worst <= 60 else "weak",
        seen=f"against the files' own time: {told}",
        means="times in lhub log can be compared" if worst <= 60 else "lhub log tells odd times; set the clocks (NTP)",
    )


_COMPOSED, _DECOMPOSED = "\u00e9", "e\u0301"


def _odd_names(stage: Stage) -> Iterator[Check]:
    folder = stage.folder("names")
    wanted = {
        "upper and lower case": ["Case", "case"],
        "letters as they are typed": [_COMPOSED, _DECOMPOSED],
        "255 bytes": ["n" * 255],
        "a line break": ["a\nb"],
    }
    made = {name: stage.here.do(["make", f"{folder}/{name}"])[0].error for names in wanted.values() for name in names}
    listed = set(stage.other.do(["list", folder])[0].value or [])
    lacking = [what for what, names in wanted.items() if any(made[each] or each not in listed for each in names)]
    yield Check(
        name="names",
        verdict="weak" if lacking else "ok",
        seen=f"not kept apart or whole: {', '.join(lacking)}"
        if lacking
        else "case, Unicode, 255 bytes, line breaks kept",
        means="files whose names need that cannot be stored here" if lacking else "any name that lhub takes is kept",
    )


def _space(stage: Stage) -> Iterator[Check]:
    found = os.statvfs(stage.path)
    free = found.f_bavail * found.f_frsize
    nodes = f", {found.f_favail} files" if found.f_files else ""
    few = free < 100 * _MIB or (found.f_files > 0 and found.f_favail < 1000)
    yield Check(
        name="space",
        verdict="weak" if few else "ok",
        seen=f"{free / 1e9:.1f} GB{nodes} free",
        means="pushes will soon be refused; lhub gc" if few else "a full disk refuses a push and harms nothing",
    )


def _speed(stage: Stage) -> Iterator[Check]:
    here, folder = stage.here, stage.folder("speed")
    files = here.ask("create", folder, 0.3)
    written = here.ask("pour", f"{folder}/large", 16, 1.0, limit=60)
    locks = here.ask("locks", "lock/lock", 0.2)
    yield Check(
        name="speed",
        verdict="ok",
        seen=f"{files:.0f} files made and synced/s, {written:.0f} MB/s, {locks:.0f} locks/s",
        means="what pushes and pulls are made of",
    )


ASKED: dict[str, Callable[[Stage], Iterable[Check]]] = {
    "owners": _owners,
    "new names": _names_race,
    "links": _links,
    "locks": _locks,
    "replacing": _renames,
    "freshness": _fresh,
    "modes": _modes,
    "privacy": _permissions,
    "syncing": _durable,
    "clocks": _clocks,
    "names": _odd_names,
    "space": _space,
    "speed": _speed,
}
