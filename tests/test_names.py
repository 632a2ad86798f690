"""References: every form is parsed and printed by one room, and what is at fault is named without telling a secret."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, replace
from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lhub.errors import UsageError
from lhub.names import (
    Ref,
    is_inside,
    is_name,
    is_tag,
    is_version_prefix,
    name_faults,
    parse_name,
    parse_namespace,
    parse_ref,
    parse_tag,
    secret_faults,
    tag_faults,
    twin,
)

LAW = settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))

LETTERS = "ABCXYZabcxyz0189"
DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE | re.DOTALL)
ENDING = re.compile(r".*(\.lock|\.git|\.ya?ml|\.)", re.IGNORECASE | re.DOTALL)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def allowed(text: str, pattern: re.Pattern[str]) -> bool:
    """What the grammar says of a name, told a second time."""
    return bool(pattern.fullmatch(text)) and not DEVICE.fullmatch(text) and not ENDING.fullmatch(text)


def words(first: str, pattern: re.Pattern[str]) -> st.SearchStrategy[str]:
    rest = st.text(LETTERS + "._-", max_size=20) | st.text("a.-_", min_size=127, max_size=127)
    return st.builds(str.__add__, st.sampled_from(first), rest).filter(lambda text: allowed(text, pattern))


names, tags = words(LETTERS, NAME), words(LETTERS + "_", TAG)
versions = st.text("0123456789abcdef", min_size=8, max_size=64)
secrets = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"], exclude_characters="/"), min_size=1)
selectors = (
    st.fixed_dictionaries({}) | st.fixed_dictionaries({"tag": tags}) | st.fixed_dictionaries({"version": versions})
)
bare = st.builds(lambda name, chosen: Ref(resource=name, **chosen), names, selectors)
modern = st.builds(
    lambda space, name, scheme, docker, chosen: Ref(
        namespace=space, resource=name, scheme=scheme, docker=docker and scheme == "jinaai", **chosen
    ),
    names, names, st.sampled_from(["", "lhub", "jinaai"]), st.booleans(), selectors,
)  # fmt: skip
legacy = st.builds(
    lambda name, docker, tag, secret: Ref(resource=name, scheme="jinahub", docker=docker, tag=tag, secret=secret),
    names, st.booleans(), st.none() | tags, st.none() | secrets,
)  # fmt: skip

starts = st.sampled_from(["", "jinaai://", "jinahub://", "lhub://", "jinaai+docker://", "jinahub+docker://"])
noise = st.builds(str.__add__, starts, st.text(st.sampled_from("aX1:@/._-+ \n\0é") | st.characters(), max_size=24))


def refused(text: str) -> str:
    """The sentence that refuses a reference."""
    with pytest.raises(UsageError) as caught:
        parse_ref(text)
    assert caught.value.code == 2
    assert caught.value.hint
    return str(caught.value)


# every form, parsed and printed

FORMS = {
    "alice/X": Ref(namespace="alice", resource="X"),
    "alice/X:v1": Ref(namespace="alice", resource="X", tag="v1"),
    "alice/X@3f2a9c1d": Ref(namespace="alice", resource="X", version="3f2a9c1d"),
    f"alice/X@{'3f2a9c1d' * 8}": Ref(namespace="alice", resource="X", version="3f2a9c1d" * 8),
    "jinaai://alice/X": Ref(scheme="jinaai", namespace="alice", resource="X"),
    "jinaai://alice/X:v1": Ref(scheme="jinaai", namespace="alice", resource="X", tag="v1"),
    "jinaai://alice/X@3f2a9c1d": Ref(scheme="jinaai", namespace="alice", resource="X", version="3f2a9c1d"),
    "lhub://alice/X": Ref(scheme="lhub", namespace="alice", resource="X"),
    "lhub://alice/X:v1": Ref(scheme="lhub", namespace="alice", resource="X", tag="v1"),
    "lhub://alice/X@3f2a9c1d": Ref(scheme="lhub", namespace="alice", resource="X", version="3f2a9c1d"),
    "jinaai+docker://alice/X": Ref(scheme="jinaai", docker=True, namespace="alice", resource="X"),
    "jinaai+docker://alice/X:v1": Ref(scheme="jinaai", docker=True, namespace="alice", resource="X", tag="v1"),
    "jinahub://X": Ref(scheme="jinahub", resource="X"),
    "jinahub://X/v1": Ref(scheme="jinahub", resource="X", tag="v1"),
    "jinahub+docker://X": Ref(scheme="jinahub", docker=True, resource="X"),
    "jinahub+docker://X/v1": Ref(scheme="jinahub", docker=True, resource="X", tag="v1"),
    "X": Ref(resource="X"),
    "X:v1": Ref(resource="X", tag="v1"),
    "X@3f2a9c1d": Ref(resource="X", version="3f2a9c1d"),
}


@pytest.mark.parametrize(("text", "ref"), FORMS.items())
def test_every_form_is_read_and_printed_as_it_was_typed(text: str, ref: Ref) -> None:
    assert parse_ref(text) == ref
    assert str(ref) == text


@pytest.mark.parametrize(
    ("text", "secret", "printed"),
    [
        ("jinahub://X:s3cret", "s3cret", "jinahub://X"),
        ("jinahub://X:s3cret/v1", "s3cret", "jinahub://X/v1"),
        ("jinahub+docker://X:s3cret/v1", "s3cret", "jinahub+docker://X/v1"),
        ("jinahub://X:old@one:has-both/v1", "old@one:has-both", "jinahub://X/v1"),
        ("jinahub://X:::/v1", "::", "jinahub://X/v1"),
        ("jinahub://X:日本/v1", "日本", "jinahub://X/v1"),
    ],
)
def test_a_secret_runs_from_the_first_colon_to_the_slash_and_is_not_printed(
    text: str, secret: str, printed: str
) -> None:
    ref = parse_ref(text)
    assert (ref.secret, str(ref)) == (secret, printed)


def test_a_version_may_be_typed_in_capitals() -> None:
    assert parse_ref("alice/X@3F2A9C1D").version == "3f2a9c1d"


@pytest.mark.parametrize(("ref", "name"), [("jinaai://alice/X:v1", "alice/X"), ("jinahub://X:s/v1", "X")])
def test_the_name_of_a_reference_is_the_resource_alone(ref: str, name: str) -> None:
    assert parse_ref(ref).name == name


def test_a_reference_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        parse_ref("alice/X").tag = "v2"


@LAW
@given(modern | bare | legacy)
def test_what_is_printed_is_read_back_but_for_the_secret(ref: Ref) -> None:
    assert parse_ref(str(ref)) == replace(ref, secret=None)


@LAW
@given(legacy)
def test_a_legacy_reference_is_read_with_its_secret(ref: Ref) -> None:
    scheme = "jinahub+docker" if ref.docker else "jinahub"
    secret = f":{ref.secret}" if ref.secret else ""
    tag = f"/{ref.tag}" if ref.tag else ""
    assert parse_ref(f"{scheme}://{ref.resource}{secret}{tag}") == ref


@LAW
@given(noise)
def test_any_text_is_a_reference_or_refused_by_one_sentence(text: str) -> None:
    try:
        ref = parse_ref(text)
    except UsageError as error:
        assert all(line.isprintable() for line in str(error).split("\n"))
    else:
        assert parse_ref(str(ref)) == replace(ref, secret=None)
        assert ref.tag is None or ref.version is None


@LAW
@given(st.text(LETTERS + "._-:/ éK\n", max_size=6) | st.text("aA.", min_size=126, max_size=130))
def test_names_and_tags_are_exactly_those_of_the_grammar(text: str) -> None:
    assert is_name(text) == (not name_faults(text, "resource")) == allowed(text, NAME)
    assert is_tag(text) == (not tag_faults(text)) == allowed(text, TAG)


# a date

DATED = {
    "alice/X@{2026-03-01}": Ref(namespace="alice", resource="X", at="2026-03-01"),
    "alice/X@{2026-03}": Ref(namespace="alice", resource="X", at="2026-03"),
    "alice/X@{2026-03-01 12:00}": Ref(namespace="alice", resource="X", at="2026-03-01 12:00"),
    "alice/X@{2026-03-01T12:00:00Z}": Ref(namespace="alice", resource="X", at="2026-03-01T12:00:00Z"),
    "alice/X@{2026-03-01 12:00+02:00}": Ref(namespace="alice", resource="X", at="2026-03-01 12:00+02:00"),
    "alice/X:v1@{2026-03-01}": Ref(namespace="alice", resource="X", tag="v1", at="2026-03-01"),
    "X:v1@{2026-03-01}": Ref(resource="X", tag="v1", at="2026-03-01"),
    "X@{2026-03-01}": Ref(resource="X", at="2026-03-01"),
    "jinaai://alice/X:v1@{2026-03-01}": Ref(
        scheme="jinaai", namespace="alice", resource="X", tag="v1", at="2026-03-01"
    ),
    "lhub://alice/X@{2026-03-01}": Ref(scheme="lhub", namespace="alice", resource="X", at="2026-03-01"),
}


@pytest.mark.parametrize(("text", "ref"), DATED.items())
def test_a_reference_may_name_what_a_tag_was_at_a_date(text: str, ref: Ref) -> None:
    assert parse_ref(text) == ref
    assert str(ref) == text


def test_a_dated_reference_is_still_of_its_resource() -> None:
    assert parse_ref("alice/X:v1@{2026-03-01}").name == "alice/X"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("alice/X@{", "no closing brace"),
        ("alice/X@{2026-03-01", "no closing brace"),
        ("alice/X@{2026-03-01}:v1", "no closing brace"),
        ("alice/X@{2026-03-01} ", "no closing brace"),
        ("alice/X@{2026-03-01}/", "no closing brace"),
        ("alice/X@{}", "not a date"),
        ("alice/X@{yesterday}", "not a date"),
        ("alice/X@{2026-02-30}", "not a date"),
        ("alice/X@{2026-13}", "not a date"),
        ("alice/X@{2026-03-01}}", "not a date"),
        ("alice/X@{{2026-03-01}}", "not a date"),
        ("alice/X@{2026-03-01}@{2026-03-02}", "not a date"),
        ("alice/X@{2026-03-01\n}\n}", "not a date"),
        ("alice/X@{3f2a9c1d}", "not a date"),
        ("alice/X:@{2026-03-01}", "the tag is empty"),
        ("alice/@{2026-03-01}", "the resource is empty"),
        ("@{2026-03-01}", "the resource is empty"),
        ("alice/X@3f2a9c1d@{2026-03-01}", "a version is the same at every date"),
        ("jinaai+docker://alice/X@{2026-03-01}", "an image is the same at every date"),
        ("jinaai://X@{2026-03-01}", "needs a namespace"),
    ],
)
def test_the_sentence_names_what_is_wrong_with_a_date(text: str, part: str) -> None:
    assert part in refused(text)


def test_a_brace_in_an_old_secret_is_no_date() -> None:
    assert parse_ref("jinahub://X:a@{2026-03-01}/v1") == Ref(
        scheme="jinahub", resource="X", secret="a@{2026-03-01}", tag="v1"
    )


def test_braces_after_a_name_without_a_namespace_s_scheme_are_no_name() -> None:
    assert "the resource has '@'" in refused("jinahub://X@{2026-03-01}")


@settings(LAW, max_examples=50)
@given(
    modern.filter(lambda ref: not (ref.version or ref.docker)) | bare.filter(lambda ref: not ref.version), st.dates()
)
def test_every_dated_reference_is_read_back_from_its_print(ref: Ref, day: date) -> None:
    dated = replace(ref, at=day.isoformat())
    assert parse_ref(str(dated)) == dated


@LAW
@given(st.text(max_size=20))
def test_whatever_stands_in_braces_is_a_date_or_refused_by_a_printable_sentence(text: str) -> None:
    try:
        ref = parse_ref(f"alice/X@{{{text}}}")
    except UsageError as error:
        assert all(line.isprintable() for line in str(error).split("\n"))
    else:
        assert ref.at == text
        assert str(ref) == f"alice/X@{{{text}}}"


# refusals name the part at fault

LOOKALIKES = {
    "Cyrillic": "\u0430lice",
    "full width": "\uff41lice",
    "a dotless i": "al\u0131ce",
    "a zero width space": "alice\u200b",
    "a soft hyphen": "al\u00adice",
    "a change of direction": "alice\u202e",
    "an accent put on": "alice\u0301",
    "a circled one": "\u2460",
    "the Kelvin sign": "\u212aelvin",
    "a long s": "\u017fam",
    "a ligature": "\ufb01x",
    "a fraction slash": "alice\u2044b",
}
ODD = {
    "a space": "a b",
    "a leading space": " ab",
    "a trailing space": "ab ",
    "a newline": "a\nb",
    "a trailing newline": "ab\n",
    "NUL": "a\0b",
    "a tab": "a\tb",
    "a carriage return": "ab\r",
    "a backslash": "a\\b",
    "a quote": "a'b",
    "a tilde": "~",
    "a percent sign": "a%2fb",
    "a star": "*",
    "a dollar": "$HOME",
    "dots": "..",
    "a dot": ".",
    "a leading dot": ".a",
    "a leading dash": "-a",
    "129 characters": "a" * 129,
    "a trailing dot": "a.",
    **{f"the ending {end}": f"a{end}" for end in (".lock", ".git", ".yaml", ".yml", ".LOCK", ".Git", ".YAML", ".Yml")},
    **{f"the device {name}": name for name in ("con", "PRN", "aux", "NUL", "com1", "COM9", "lpt1", "Lpt9")},
    **{f"the device {name} with an ending": name for name in ("nul.txt", "CON.tar.gz", "com1.")},
    **LOOKALIKES,
}
odd = pytest.mark.parametrize("text", ODD.values(), ids=ODD)


@odd
def test_a_bad_namespace_is_refused_as_the_namespace(text: str) -> None:
    for form in ("{}/X", "jinaai://{}/X:v1", "lhub://{}/X@3f2a9c1d"):
        assert "the namespace " in refused(form.format(text))


@odd
def test_a_bad_resource_is_refused_as_the_resource(text: str) -> None:
    for form in ("alice/{}", "jinaai://alice/{}:v1", "lhub://alice/{}@3f2a9c1d", "{}", "jinahub://{}:s3cret/v1"):
        assert "the resource " in refused(form.format(text))


@odd
def test_a_bad_tag_is_refused_as_the_tag(text: str) -> None:
    for form in ("alice/X:{}", "jinaai://alice/X:{}", "lhub://alice/X:{}", "X:{}", "jinahub://X:s3cret/{}"):
        assert "the tag " in refused(form.format(text))


@odd
def test_what_is_no_name_in_a_reference_is_none_elsewhere(text: str) -> None:
    for parse in (parse_name, parse_namespace, parse_tag, lambda text: parse_name(f"alice/{text}")):
        with pytest.raises(UsageError):
            parse(text)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "the resource is empty"),
        ("/", "the namespace is empty"),
        ("/alice/X", "the namespace is empty"),
        ("/X", "the namespace is empty"),
        ("alice/", "the resource is empty"),
        ("alice/X/", "the resource has '/'"),
        ("alice//X", "the resource has '/'"),
        ("alice/X/v1", "the resource has '/'"),
        ("jinaai:///X", "the namespace is empty"),
        ("jinaai://alice/", "the resource is empty"),
        ("jinaai://alice/X/:v1", "the resource has '/'"),
        ("jinaai:///alice/X", "the namespace is empty"),
        ("jinahub:///X", "the resource is empty"),
        ("jinahub://X/", "the tag is empty"),
        ("jinahub://X//v1", "the tag has '/'"),
        ("jinahub://X:s3cret/v1/", "the tag has '/'"),
        ("alice/X:", "the tag is empty"),
        ("jinaai://alice/X:", "the tag is empty"),
        ("lhub://alice/X:", "the tag is empty"),
        ("X:", "the tag is empty"),
        ("alice/X:v1:v2", "two colons"),
        ("alice/X::v1", "two colons"),
        ("jinaai://alice/X:v1:v2", "two colons"),
        ("lhub://alice/X:v1:v2", "two colons"),
        ("jinaai://alice/X:s3cret:v1", "a secret belongs to a jinahub:// reference"),
        ("jinaai://alice/X:s3cret/v1", "a secret belongs to a jinahub:// reference"),
        ("jinaai+docker://alice/X:s3cret/v1", "a secret belongs to a jinahub:// reference"),
        ("jinaai://X:v1", "needs a namespace"),
        ("jinaai+docker://X", "needs a namespace"),
        ("lhub://X", "needs a namespace"),
        ("jinahub://X:", "the secret after the colon is empty"),
        ("jinahub://X:/v1", "the secret after the colon is empty"),
        ("jinahub://X:s3 cret/v1", "the secret has"),
        ("jinahub://X:s3\ncret/v1", "the secret has"),
        ("jinahub://X:s3\0cret", "the secret has"),
        ("jinahub://X:s3\udcffcret", "the secret has"),
        ("jinahub://X:s3cret/", "the tag is empty"),
        ("alice/X@", "the version after @"),
        ("alice/X@3f2a9c1", "the version after @"),
        ("alice/X@latest", "the version after @"),
        ("alice/X@" + "a" * 65, "the version after @"),
        ("alice/X@3f2a9c1d:v1", "the version after @"),
        ("alice/X@\uff13f2a9c1d", "the version after @"),
        ("alice/X:v1@3f2a9c1d", "the tag has '@'"),
        ("https://alice/X", "https://"),
        ("Jinaai://alice/X", "Jinaai://"),
        ("lhub+docker://alice/X", "lhub+docker://"),
        ("://alice/X", "does not start with"),
        ("\x1b[31m://alice/X", "does not start with"),
    ],
)
def test_the_sentence_names_the_part_at_fault(text: str, part: str) -> None:
    assert part in refused(text)


def test_128_characters_are_allowed_and_129_are_counted_for_the_typist() -> None:
    assert parse_ref(f"{'a' * 128}/{'b' * 128}:{'c' * 128}").tag == "c" * 128
    assert "129 characters, 128 are allowed" in refused(f"alice/{'a' * 129}")


def test_a_tag_may_begin_with_an_underscore_and_a_name_may_not() -> None:
    assert parse_ref("alice/X:_v1").tag == "_v1"
    assert "the namespace starts with '_'" in refused("_/X")
    assert "the resource starts with '_'" in refused("alice/_X")


@pytest.mark.parametrize("text", ["a.b", "a..b", "a-", "a_", "lock", "git", "console", "com10", "nulls.txt", "yaml"])
def test_what_only_resembles_a_refused_name_is_allowed(text: str) -> None:
    assert parse_ref(f"{text}/{text}:{text}") == Ref(namespace=text, resource=text, tag=text)


def test_a_look_alike_is_shown_by_its_code_point() -> None:
    assert "U+0430" in refused(f"{LOOKALIKES['Cyrillic']}/X")


def test_all_faults_of_a_reference_are_told_at_once() -> None:
    told = refused("al ice/.X:")
    assert all(part in told for part in ("3 faults", "the namespace has", "the resource starts", "the tag is empty"))


# a secret stays where it was typed

MARK = "Zq7Zq7"


@pytest.mark.parametrize(
    "text",
    [
        "jinahub://X:{}",
        "jinahub://X:{}/v1",
        "jinahub+docker://X:{}/v1",
    ],
)
def test_a_secret_is_in_no_printed_form(text: str) -> None:
    ref = parse_ref(text.format(MARK))
    assert ref.secret == MARK
    assert not [shown for shown in (str(ref), repr(ref), f"{ref}", f"{[ref]}", ref.name) if MARK in shown]


@pytest.mark.parametrize(
    "text",
    [
        "jinahub://X:{} /v1",
        "jinahub://X:{}\0/v1",
        "jinahub://X:{}/",
        "jinahub://X:{}/v1/",
        "jinahub://.X:{}/v1",
        "jinahub://:{}/v1",
        "jinahub://alice/X:{}",
        "jinahub://alice/X:{}/v1",
        "jinahub:X:{}/v1",
        "jinahub:/X:{}/v1",
        "jinahub//X:{}/v1",
        "jinahubb://X:{}/v1",
        "JINAHUB://X:{}/v1",
        "jinaai://X:{} ",
        "jinaai://X:{}/v1",
        "jinaai://alice/X:{}:v1",
        "jinaai://alice/X:{}/v1",
        "jinaai://alice/X:v1:{}",
        "alice/X:{}:v1",
        "alice/X:{}/v1",
        "alice/X:{}@v1",
        "X:{}:",
        "X:{}://v1",
        "X:{}://alice/X",
    ],
)
def test_no_refusal_repeats_a_secret(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_ref(text.format(MARK))
    shown = (str(caught.value), repr(caught.value), caught.value.hint, str(caught.value.__cause__))
    assert not [one for one in shown if MARK in one]


@LAW
@given(st.text(st.characters(exclude_characters="/"), max_size=8), st.text(":@ v1\n/.", max_size=4))
def test_no_secret_whatever_it_holds_is_told(around: str, rest: str) -> None:
    try:
        told = repr(parse_ref(f"jinahub://X:{around}{MARK}{rest}"))
    except UsageError as error:
        told = f"{error}{error!r}{error.hint}"
    assert MARK not in told


@pytest.mark.parametrize("secret", ["", " ", "a b", "a/b", "a\nb", "a\tb", "a\0b", "a\x1bb", "\udcff", "a\u2028b"])
def test_a_secret_that_could_not_be_typed_in_a_reference_is_refused(secret: str) -> None:
    assert secret_faults(secret)


@pytest.mark.parametrize("secret", ["a", "a@b:c", "%$#!", "é", "0" * 32])
def test_old_secrets_are_taken_as_they_are(secret: str) -> None:
    assert secret_faults(secret) == []


# the smaller words


@pytest.mark.parametrize(("text", "parts"), [("X", (None, "X")), ("alice/X", ("alice", "X"))])
def test_a_push_takes_a_name_with_or_without_a_namespace(text: str, parts: tuple[str | None, str]) -> None:
    assert parse_name(text) == parts


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("/X", "the namespace is empty"),
        ("alice/", "the resource is empty"),
        ("alice/X/", "the resource has '/'"),
        ("alice/X:v1", "the resource has ':'"),
        ("alice/X@3f2a9c1d", "the resource has '@'"),
        ("../X", "the namespace starts with '.'"),
        ("alice/..", "the resource starts with '.'"),
    ],
)
def test_a_push_refuses_a_name_by_its_part_at_fault(text: str, part: str) -> None:
    with pytest.raises(UsageError, match=re.escape(part)):
        parse_name(text)


@pytest.mark.parametrize("path", ["a", "a/b", ".hidden", "a/...", "a b", "a\nb", "..a", "a/b..", "-"])
def test_a_path_below_a_folder_is_inside(path: str) -> None:
    assert is_inside(path)


@pytest.mark.parametrize("path", ["", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/..", "a/../b", "a/./b", "a\0b"])
def test_a_path_that_climbs_or_is_rooted_is_not_inside(path: str) -> None:
    assert not is_inside(path)


def test_a_version_is_named_by_8_to_64_hex_digits() -> None:
    assert [n for n in range(70) if is_version_prefix("a" * n)] == list(range(8, 65))
    assert not is_version_prefix("3f2a9c1g")


def test_names_that_differ_only_by_case_are_twins() -> None:
    assert twin("Latest", ["v1", "latest"]) == "latest"
    assert twin("v2", ["v1", "latest"]) is None


def test_a_name_that_stands_has_no_twin() -> None:
    assert twin("latest", ["Latest", "latest"]) is None
