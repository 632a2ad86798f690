"""The diary's words: what was said is read back, and what a dead writer did not say is known from the links."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lhub.diary import ACTIONS, Entry, Recorded, missing, parse, read_entry, read_recorded, replay, write_recorded
from lhub.tags import Tag

LAW = settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
V1, V2, V3 = "1" * 64, "2" * 64, "3" * 64
NOW = 2_000_000_000.0

HOSTILE = [
    "Action: delete",
    "\n\nAction: delete\nVersion: " + V3,
    "words\n\nAction: delete\nTags: evil\nUntagged: latest\nVisibility: public\nRecorded: later\n",
    "words\n\n\n\nTags: evil\n\n",
    "Message: what?",
    "message: what?\n\nmessage: again",
    "push bob/Y: v9\n\nTags: v9",
    "a\r\n\r\nTags: evil\r\n",
    "\x1b[31mred\x1b[0m\x07",
    "\x1e\x1f\x0b\x0c inside \x1c\x1d",
    "commit " + "0" * 40,
    "data 5\nhello\ndeleteall\n",
    "Co-authored-by: x <y@z>",
    "日本語\n\n😀 e\u0301",
    "-m",
    ":",
    ": ",
    "x" * 10_000,
]


def entry(**fields: object) -> Entry:
    defaults: dict[str, object] = {"action": "push", "name": "alice", "address": "a@host", "when": 1.0}
    return Entry(**{**defaults, **fields})


def record(said: Entry, resource: str = "alice/X") -> str:
    """One record of `git log`, as it comes for this entry."""
    return f"{said.commit}\n{said.name}\n{said.address}\n{int(said.when)}\n{said.text(resource)}"


# what was said is read back


def test_the_first_line_is_for_people() -> None:
    assert entry(version=V1, tags=("latest", "v1")).text("alice/X").split("\n")[0] == "push alice/X: latest, v1"


@pytest.mark.parametrize(
    ("said", "head"),
    [
        (entry(action="untag", untagged=("v1", "v2")), "untag alice/X: v1, v2"),
        (entry(action="visibility", visibility="private"), "visibility alice/X: private"),
        (entry(action="delete"), "delete alice/X"),
    ],
)
def test_the_first_line_tells_what_changed(said: Entry, head: str) -> None:
    assert said.text("alice/X").split("\n")[0] == head


def test_the_text_is_that_of_the_format() -> None:
    said = entry(version=V1, tags=("latest", "v1"), protected=("v1",), visibility="public", message="first release")
    assert said.text("alice/X") == (
        "push alice/X: latest, v1\n\nfirst release\n\n"
        f"Action: push\nVersion: {V1}\nTags: latest, v1\nProtected: v1\nVisibility: public\n"
    )


@pytest.mark.parametrize("message", HOSTILE, ids=lambda message: ascii(message)[1:20])
def test_no_message_is_taken_for_what_lhub_says(message: str) -> None:
    said = entry(version=V1, tags=("v1",), message=message, commit="c" * 40)
    assert read_entry(record(said)) == replace(said, message=message.strip())


tags = st.lists(st.sampled_from(["latest", "v1", "v2", "a.b-c_d", "_x"]), unique=True, max_size=3).map(tuple)
entries = st.builds(
    Entry,
    action=st.sampled_from(ACTIONS),
    name=st.sampled_from(["alice", "a b", "日本"]),
    address=st.sampled_from(["a@host", "unknown"]),
    when=st.integers(0, 2**33).map(float),
    version=st.none() | st.sampled_from([V1, V2]),
    tags=tags,
    protected=tags,
    untagged=tags,
    visibility=st.sampled_from([None, "public", "private"]),
    message=st.text(st.sampled_from("ab: \n\r\t") | st.characters(exclude_categories=["Cs"]), max_size=40)
    | st.lists(st.sampled_from([*HOSTILE, "\n", "\n\n", " "]), max_size=3).map("".join),
    late=st.booleans(),
    commit=st.sampled_from(["a" * 40, "b" * 64]),
)


@LAW
@given(entries)
def test_every_entry_is_read_back_from_its_text(said: Entry) -> None:
    assert read_entry(record(said)) == replace(said, message=said.message.strip())


@LAW
@given(entries)
def test_the_words_of_lhub_are_one_paragraph_at_the_end(said: Entry) -> None:
    told = said.text("alice/X")
    assert told.endswith("\n")
    assert parse(told)["action"] == said.action
    assert told.rstrip("\n").rpartition("\n\n")[2].startswith("Action: ")


@pytest.mark.parametrize(
    "text", ["", "\n", "hello", "Action: rm -rf\nVersion: zzz", "Merge branch 'x'\n\nAction: evil\n"]
)
def test_a_commit_that_lhub_did_not_write_is_no_change(text: str) -> None:
    read = read_entry(f"{'a' * 40}\nbob\nb@host\n5\n{text}")
    assert (read.action, read.version, read.tags, read.name, read.when) == ("other", None, (), "bob", 5.0)


def test_json_of_an_entry_has_the_fields_of_the_log() -> None:
    said = entry(version=V1, tags=("v1",), message="first", commit="c" * 40, when=1_700_000_000.0)
    assert said.to_dict() == {
        "commit": "c" * 40,
        "when": "2023-11-14T22:13:20Z",
        "who": "alice",
        "message": "first",
        "tags": ["v1"],
        "version": V1,
        "action": "push",
    }


def test_json_of_an_untag_names_the_tags_that_went() -> None:
    assert entry(action="untag", untagged=("v1",)).to_dict()["tags"] == ["v1"]


# the state that an entry leads to

STATE = Recorded(
    tip="a" * 40,
    tags={"latest": V1, "v1": V1},
    pins=frozenset({"v1"}),
    visibility="public",
    tree=V1,
    pointers=frozenset({"m.bin"}),
)


def test_a_push_moves_its_tags_and_leaves_the_others() -> None:
    after = STATE.after(entry(version=V2, tags=("latest", "new")))
    assert after == replace(STATE, tags={"latest": V2, "v1": V1, "new": V2})


def test_a_protecting_push_pins_its_tags() -> None:
    after = STATE.after(entry(version=V2, tags=("v2",), protected=("v2",)))
    assert after == replace(STATE, tags={"latest": V1, "v1": V1, "v2": V2}, pins=frozenset({"v1", "v2"}))


def test_an_untag_takes_tags_and_their_pins_away() -> None:
    after = STATE.after(entry(action="untag", untagged=("v1", "never there")))
    assert after == replace(STATE, tags={"latest": V1}, pins=frozenset())


def test_a_visibility_changes_nothing_else() -> None:
    after = STATE.after(entry(action="visibility", visibility="private"))
    assert after == replace(STATE, visibility="private")


def test_an_entry_without_a_visibility_leaves_it() -> None:
    assert STATE.after(entry(version=V2, tags=("latest",))).visibility == "public"


def test_tags_without_a_version_are_not_believed() -> None:
    assert STATE.after(entry(version=None, tags=("latest",), protected=("latest",))).tags == STATE.tags


@LAW
@given(entries)
def test_a_state_is_not_changed_by_what_comes_after_it(said: Entry) -> None:
    before = repr(STATE)
    STATE.after(said)
    assert repr(STATE) == before


# a deletion of the whole


def test_a_deletion_of_the_whole_keeps_what_was_recorded() -> None:
    assert STATE.after(entry(action="delete")) == replace(STATE, deleted=True)


def test_a_deletion_of_a_tag_deletes_nothing_else() -> None:
    after = STATE.after(entry(action="delete", untagged=("v1",)))
    assert after == replace(STATE, tags={"latest": V1}, pins=frozenset())


def test_a_restored_resource_is_as_it_was() -> None:
    assert STATE.after(entry(action="delete")).after(entry(action="restore")) == STATE


def test_a_restored_tag_is_where_it_was_and_as_protected() -> None:
    gone = STATE.after(entry(action="delete", untagged=("v1",)))
    assert gone.after(entry(action="restore", version=V1, tags=("v1",), protected=("v1",))) == STATE


@pytest.mark.parametrize("action", [action for action in ACTIONS if action not in ("delete", "restore")])
def test_nothing_else_deletes_or_restores(action: str) -> None:
    for deleted in (False, True):
        assert replace(STATE, deleted=deleted).after(entry(action=action)).deleted is deleted


@pytest.mark.parametrize("text", ["", "\nAction: delete\nUntagged: \n"])
def test_a_word_of_a_pusher_deletes_nothing(text: str) -> None:
    read = read_entry(record(entry(version=V1, tags=("latest",), message=f"Action: delete{text}", commit="c" * 40)))
    assert not STATE.after(read).deleted


# the state at a moment


def told(when: float, version: str, *tags: str) -> Entry:
    return entry(when=when, version=version, tags=tags)


def test_what_was_told_later_did_not_happen_yet() -> None:
    past = [told(10, V1, "latest"), told(20, V2, "latest"), told(30, V3, "latest")]
    at = {until: replay(past, until=until).tags.get("latest") for until in (9, 10, 19, 20, 29, 30, 99)}
    assert at == {9: None, 10: V1, 19: V1, 20: V2, 29: V2, 30: V3, 99: V3}


def test_without_a_moment_everything_happened() -> None:
    past = [told(10, V1, "latest"), told(2.0**40, V2, "latest")]
    assert replay(past).tags == {"latest": V2}


def test_before_the_first_entry_there_was_nothing() -> None:
    assert replay([told(10, V1, "latest")], until=9) == Recorded()


def test_when_the_clock_ran_backwards_what_was_told_last_counts() -> None:
    past = [told(100, V1, "latest"), told(50, V2, "latest")]
    assert replay(past, until=60).tags == {"latest": V2}
    assert replay(past, until=100).tags == {"latest": V2}


def test_an_entry_of_the_future_hides_no_entry_of_the_past() -> None:
    past = [told(10, V1, "latest"), told(2.0**40, V2, "v2"), told(20, V3, "latest")]
    assert replay(past, until=30).tags == {"latest": V3}


actions = st.builds(
    Entry,
    action=st.sampled_from(ACTIONS),
    name=st.just("alice"),
    address=st.just("a@host"),
    when=st.integers(0, 20).map(float),
    version=st.sampled_from([V1, V2, V3]),
    tags=tags,
    untagged=tags,
)


@settings(LAW, max_examples=60)
@given(st.lists(actions, max_size=6), st.integers(-1, 21).map(float))
def test_the_state_at_a_moment_is_what_the_entries_until_then_lead_to(past: list[Entry], until: float) -> None:
    state = Recorded()
    for said in past:
        state = state.after(said) if said.when <= until else state
    assert replay(past, until=until) == state


@settings(LAW, max_examples=60)
@given(st.lists(actions, max_size=6), st.integers(-1, 21).map(float), st.sampled_from(["latest", "v1", "v2"]))
def test_a_tag_is_where_the_last_entry_that_tells_of_it_left_it(past: list[Entry], until: float, name: str) -> None:
    telling = [said for said in past if said.when <= until and said.concerns(name)]
    last = telling[-1] if telling else None
    expected = last.version if last and name in last.tags else None
    assert replay(past, until=until).tags.get(name) == expected


@settings(LAW, max_examples=60)
@given(st.lists(actions, max_size=5), st.integers(0, 20).map(float), st.integers(0, 20).map(float))
def test_nothing_changes_between_two_moments_in_which_nothing_was_told(
    past: list[Entry], one: float, other: float
) -> None:
    first, last = min(one, other), max(one, other)
    quiet = [said for said in past if not first < said.when <= last]
    assert replay(quiet, until=first) == replay(quiet, until=last)


# each way a diary lags


def tag(name: str, version: str, *, protected: bool = False, uid: int = 7, when: float = 100.0) -> Tag:
    return Tag(tag=name, version=version, protected=protected, uid=uid, when=when)


def lag(
    recorded: Recorded,
    *links: Tag,
    visibility: str = "public",
    account: Callable[[int], str] = "user{}".format,
    deleted: bool = False,
) -> list[Entry]:
    standing = {link.tag: link for link in links}
    return missing(recorded, standing, visibility, now=NOW, account=account, deleted=deleted)


LATEST, PINNED = tag("latest", V1), tag("v1", V1, protected=True)


def test_a_diary_that_does_not_lag_lacks_nothing() -> None:
    assert lag(STATE, LATEST, PINNED) == []


def test_an_empty_diary_of_an_empty_resource_lacks_nothing() -> None:
    assert lag(Recorded()) == []


def test_a_first_push_is_told_by_its_links() -> None:
    (lacking,) = lag(Recorded(), tag("latest", V1, when=50.0), tag("v1", V1, protected=True, when=40.0))
    told = replace(entry(name="user7", address="user7"), version=V1, tags=("latest", "v1"), protected=("v1",))
    assert lacking == replace(told, when=40.0, late=True, visibility="public")


def test_a_tag_that_moved_to_a_new_version_was_pushed() -> None:
    lacking = lag(STATE, tag("latest", V2), PINNED)
    assert [(e.action, e.version, e.tags, e.protected) for e in lacking] == [("push", V2, ("latest",), ())]


def test_a_new_tag_at_a_known_version_was_tagged() -> None:
    lacking = lag(STATE, LATEST, PINNED, tag("stable", V1))
    assert [(e.action, e.version, e.tags) for e in lacking] == [("tag", V1, ("stable",))]


def test_a_tag_that_only_became_protected_was_protected() -> None:
    lacking = lag(STATE, tag("latest", V1, protected=True), PINNED)
    assert [(e.action, e.tags, e.protected) for e in lacking] == [("protect", ("latest",), ("latest",))]


def test_a_tag_that_is_gone_was_untagged_by_nobody_knows_whom() -> None:
    (lacking,) = lag(STATE, PINNED)
    assert (lacking.action, lacking.untagged, lacking.tags, lacking.name, lacking.when) == (
        "untag", ("latest",), (), "unknown", NOW
    )  # fmt: skip


def test_a_visibility_that_changed_is_told_last() -> None:
    lacking = lag(STATE, tag("latest", V2), PINNED, visibility="private")
    assert [(e.action, e.visibility) for e in lacking] == [("push", None), ("visibility", "private")]


def test_a_visibility_that_was_never_recorded_is_no_change() -> None:
    assert lag(replace(STATE, visibility=None), LATEST, PINNED, visibility="private") == []


def test_what_two_people_did_is_told_apart_and_in_order() -> None:
    lacking = lag(STATE, tag("latest", V2, uid=8, when=200.0), PINNED, tag("new", V2, uid=9, when=150.0))
    assert [(e.name, e.tags, e.when) for e in lacking] == [("user9", ("new",), 150.0), ("user8", ("latest",), 200.0)]


def test_two_versions_are_two_pushes() -> None:
    lacking = lag(STATE, tag("latest", V3, when=300.0), PINNED, tag("v2", V2, when=200.0))
    assert [(e.version, e.tags) for e in lacking] == [(V2, ("v2",)), (V3, ("latest",))]


def test_what_is_told_late_is_marked_so_and_has_no_message() -> None:
    lacking = lag(STATE, tag("v2", V2), visibility="private")
    assert {(e.late, e.message) for e in lacking} == {(True, "")}
    assert all("Recorded: later\n" in e.text("alice/X") for e in lacking)


@pytest.mark.parametrize(("recorded", "lies", "action"), [(False, True, "delete"), (True, False, "restore")])
def test_a_move_to_the_trash_or_back_that_nobody_told_is_told(recorded: bool, lies: bool, action: str) -> None:
    state = replace(STATE, deleted=recorded)
    (lacking,) = lag(state, LATEST, PINNED, deleted=lies)
    assert lacking == entry(action=action, name="unknown", address="unknown", when=NOW, late=True)
    assert state.after(lacking).deleted is lies


@pytest.mark.parametrize("deleted", [False, True])
def test_what_lies_where_it_was_recorded_was_not_moved(deleted: bool) -> None:
    assert lag(replace(STATE, deleted=deleted), LATEST, PINNED, deleted=deleted) == []


def test_what_lags_before_a_deletion_is_told_before_it() -> None:
    lacking = lag(STATE, tag("latest", V2), PINNED, visibility="private", deleted=True)
    assert [said.action for said in lacking] == ["push", "visibility", "delete"]


def test_a_resource_that_was_deleted_before_its_diary_began_is_told_whole() -> None:
    lacking = lag(Recorded(), LATEST, deleted=True)
    assert [(said.action, said.tags, said.untagged) for said in lacking] == [
        ("push", ("latest",), ()),
        ("delete", (), ()),
    ]


links = st.dictionaries(
    st.sampled_from(["latest", "v1", "v2", "v3"]),
    st.tuples(st.sampled_from([V1, V2, V3]), st.booleans(), st.sampled_from([7, 8]), st.integers(0, 5).map(float)),
)


@LAW
@given(st.lists(entries, max_size=4), links, st.sampled_from(["public", "private"]), st.booleans())
def test_a_diary_that_was_caught_up_lacks_nothing(
    past: list[Entry], found: dict[str, tuple[str, bool, int, float]], visibility: str, deleted: bool
) -> None:
    recorded = replay(past)
    standing = [tag(name, v, protected=p, uid=u, when=w) for name, (v, p, u, w) in found.items()]
    for late in lag(recorded, *standing, visibility=visibility, deleted=deleted):
        recorded = recorded.after(late)
    assert lag(recorded, *standing, visibility=visibility, deleted=deleted) == []
    assert recorded.deleted is deleted
    assert recorded.tags == {link.tag: link.version for link in standing}
    assert recorded.pins >= {link.tag for link in standing if link.protected}


# the derived file


@pytest.mark.parametrize("state", [STATE, Recorded(), replace(STATE, deleted=True)], ids=["full", "empty", "deleted"])
def test_the_derived_file_is_read_back(state: Recorded) -> None:
    assert read_recorded(write_recorded(state)) == state


def test_the_derived_file_has_one_text_for_one_state() -> None:
    pins = [f"v{n}" for n in range(50)]
    one, other = (replace(STATE, pins=frozenset(names)) for names in (pins, pins[::-1]))
    assert write_recorded(one) == write_recorded(other)


def test_a_derived_file_from_before_resources_were_deleted_tells_of_one_that_stands() -> None:
    assert read_recorded(write_recorded(STATE).replace(b'"deleted": false, ', b"")) == STATE


@pytest.mark.parametrize("odd", [b"null", b"1", b'"true"', b"[]", b"{}"])
def test_a_derived_file_that_says_nothing_clear_of_a_deletion_tells_of_none(odd: bytes) -> None:
    text = write_recorded(replace(STATE, deleted=True)).replace(b'"deleted": true', b'"deleted": ' + odd)
    assert read_recorded(text).deleted is False


@pytest.mark.parametrize("end", range(len(write_recorded(STATE))))
def test_a_derived_file_that_is_cut_short_is_not_believed(end: int) -> None:
    with pytest.raises(ValueError):
        read_recorded(write_recorded(STATE)[:end])


@pytest.mark.parametrize(
    "text",
    [
        b"null",
        b"[]",
        b'"tags"',
        b"{}",
        b'{"tags": {}}',
        b'{"tags": []}',
        write_recorded(STATE).replace(b'"pins"', b'"pin"'),
        write_recorded(STATE).replace(b'["v1"]', b"null"),
        write_recorded(STATE).replace(b'["v1"]', b"[[]]"),
        b"\xff\xfe",
        b"\0" * 100,
        b"[" * 100_000,
        b'{"tags":' * 100_000,
    ],
    ids=lambda text: repr(text[:24]),
)
def test_a_derived_file_that_lhub_did_not_write_is_not_believed(text: bytes) -> None:
    with pytest.raises(ValueError):
        read_recorded(text)
