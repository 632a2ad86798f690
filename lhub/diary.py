"""The diary's words: one entry a change, its text as a commit's message, and what has been recorded so far.

Pure values; the room that keeps them in git is `history`.

>>> entry = Entry(action="push", name="alice", address="a@host", when=0, version="0" * 64, tags=("latest", "v1"))
>>> print(entry.text("alice/X").splitlines()[0])
push alice/X: latest, v1
>>> parse(entry.text("alice/X"))["tags"]
'latest, v1'
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from lhub.moments import timestamp
from lhub.tags import Tag

ACTIONS = ("push", "tag", "untag", "protect", "rollback", "visibility", "delete", "restore", "rename", "import",
           "share", "unshare")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One change as the diary tells it.

    `action` is one of `ACTIONS`; `name` and `address` are who, `when` is in seconds; `tags` were moved to `version`,
    `protected` of them pinned, `untagged` removed; `visibility` is set where it changed; `late`: written by a later
    writer, from the links.
    """

    action: str
    name: str
    address: str
    when: float
    version: str | None = None
    tags: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    untagged: tuple[str, ...] = ()
    visibility: str | None = None
    message: str = ""
    late: bool = False
    commit: str = ""

    def concerns(self, tag: str) -> bool:
        """Whether it tells of this tag."""
        return tag in self.tags or tag in self.protected or tag in self.untagged

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub log --json` prints it."""
        return {
            "commit": self.commit,
            "when": timestamp(self.when),
            "who": self.name,
            "message": self.message,
            "tags": list(self.tags or self.untagged),
            "version": self.version,
            "action": self.action,
        }

    def text(self, resource: str) -> str:
        """The commit's message: a line for people, the pusher's words, and a last paragraph for lhub."""
        what = ", ".join(self.tags or self.untagged) or self.visibility or ""
        head = f"{self.action} {resource}" + (f": {what}" if what else "")
        fields = {
            "Action": self.action,
            "Version": self.version,
            "Tags": ", ".join(self.tags),
            "Protected": ", ".join(self.protected),
            "Untagged": ", ".join(self.untagged),
            "Visibility": self.visibility,
            "Recorded": "later" if self.late else "",
        }
        tail = "".join(f"{key}: {value}\n" for key, value in fields.items() if value)
        words = f"\n{self.message.strip()}\n" if self.message.strip() else ""
        return f"{head}\n{words}\n{tail}"


def parse(text: str) -> dict[str, str]:
    """The fields of a commit's last paragraph, lower case, and the pusher's words under ``message``."""
    head, _, tail = text.rstrip("\n").rpartition("\n\n")
    fields = {}
    for line in tail.split("\n"):
        key, _, value = line.partition(": ")
        fields[key.lower()] = value
    fields["message"] = head.partition("\n")[2].strip()
    return fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What the diary was last told: its newest commit, every tag and pin, the visibility, the version its files are of.

    `deleted`: the whole resource was moved to its namespace's trash; `pointers` are the paths that stand as git-LFS
    pointers in that commit.
    """

    tip: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    pins: frozenset[str] = frozenset()
    visibility: str | None = None
    deleted: bool = False
    tree: str | None = None
    pointers: frozenset[str] = frozenset()

    def after(self, entry: Entry) -> Recorded:
        """The state that an entry leads to."""
        tags = {tag: version for tag, version in self.tags.items() if tag not in entry.untagged}
        if entry.version:
            tags |= dict.fromkeys((*entry.tags, *entry.protected), entry.version)
        pins = (self.pins | set(entry.protected)) - set(entry.untagged)
        deleted = {"delete": not entry.untagged, "restore": False}.get(entry.action, self.deleted)
        return replace(self, tags=tags, pins=pins, visibility=entry.visibility or self.visibility, deleted=deleted)


def replay(entries: Iterable[Entry], *, until: float = float("inf")) -> Recorded:
    """The state that entries, oldest first, led to; those dated later are passed over (a clock may have been wrong)."""
    state = Recorded()
    for entry in entries:
        if entry.when <= until:
            state = state.after(entry)
    return state


def missing(
    recorded: Recorded,
    tags: Mapping[str, Tag],
    visibility: str,
    *,
    now: float,
    account: Callable[[int], str],
    deleted: bool = False,
) -> list[Entry]:
    """The entries that a diary lacks, oldest first, as far as the links tell: who and when, not the message."""
    groups: dict[tuple[str, int], list[str]] = {}
    for name, tag in sorted(tags.items()):
        pinned = tag.protected and name not in recorded.pins
        if recorded.tags.get(name) != tag.version or pinned:
            groups.setdefault((tag.version, tag.uid), []).append(name)
    entries = [
        Entry(
            action=_likely(recorded, version, [tags[name] for name in names]),
            name=account(uid),
            address=account(uid),
            when=min(tags[tag].when for tag in names),
            version=version,
            tags=tuple(names),
            protected=tuple(tag for tag in names if tags[tag].protected),
            late=True,
        )
        for (version, uid), names in groups.items()
    ]
    entries.sort(key=lambda entry: entry.when)
    if entries and recorded.visibility is None:
        entries[0] = replace(entries[0], visibility=visibility)
    if gone := tuple(sorted(set(recorded.tags) - set(tags))):
        entries.append(Entry(action="untag", name="unknown", address="unknown", when=now, untagged=gone, late=True))
    if recorded.visibility not in (None, visibility):
        entries.append(
            Entry(action="visibility", name="unknown", address="unknown", when=now, visibility=visibility, late=True)
        )
    if recorded.deleted != deleted:
        action = "delete" if deleted else "restore"
        entries.append(Entry(action=action, name="unknown", address="unknown", when=now, late=True))
    return entries


def _likely(recorded: Recorded, version: str, tags: list[Tag]) -> str:
    """What made these links, as far as they tell."""
    if all(tag.protected and recorded.tags.get(tag.tag) == version for tag in tags):
        return "protect"
    return "tag" if version in recorded.tags.values() else "push"


def read_entry(record: str) -> Entry:
    """The entry in one commit: id, author's name, address and time in seconds, a line each, then the message."""
    commit, name, address, when, body = (record.split("\n", 4) + [""] * 4)[:5]
    fields = parse(body)
    version = fields.get("version", "")
    return Entry(
        action=fields["action"] if fields.get("action") in ACTIONS else "other",
        name=name,
        address=address,
        when=float(when or 0),
        version=version if re.fullmatch("[0-9a-f]{64}", version) else None,
        tags=_listed(fields.get("tags")),
        protected=_listed(fields.get("protected")),
        untagged=_listed(fields.get("untagged")),
        visibility=fields.get("visibility"),
        message=fields["message"],
        late=fields.get("recorded") == "later",
        commit=commit,
    )


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(text.split(", ")) if text else ()


def read_recorded(text: bytes) -> Recorded:
    """The state in a derived file; ValueError when it is not whole."""
    try:
        document = json.loads(text)
    except RecursionError:
        raise ValueError("not what lhub recorded: nested too deeply") from None
    if not isinstance(document, dict) or not isinstance(document.get("tags"), dict):
        raise ValueError("not what lhub recorded")
    try:
        state = Recorded(
            tip=document["tip"],
            tags=document["tags"],
            pins=frozenset(document["pins"]),
            visibility=document["visibility"],
            deleted=document.get("deleted") is True,
            tree=document["tree"],
            pointers=frozenset(document["pointers"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not what lhub recorded: {error}") from None
    texts = [*state.tags.values(), *state.pins, *state.pointers]
    if not all(isinstance(text, str) for text in (*texts, state.tip or "", state.visibility or "", state.tree or "")):
        raise ValueError("not what lhub recorded: what should be texts is none")
    return state


def write_recorded(state: Recorded) -> bytes:
    """The text of the derived file."""
    return json.dumps(
        {
            "tip": state.tip,
            "tags": dict(state.tags),
            "pins": sorted(state.pins),
            "visibility": state.visibility,
            "deleted": state.deleted,
            "tree": state.tree,
            "pointers": sorted(state.pointers),
        }
    ).encode()
