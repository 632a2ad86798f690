"""Config: the YAML of an Executor, read without being constructed, and settings added between a user's own lines."""

from __future__ import annotations

import resource
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lhub.errors import UsageError
from lhub.kinds import config
from lhub.kinds.config import child, is_mapping, line_of, parse, text_of, texts_of, with_metas
from tests.test_order import in_a_child

LAW = settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))

# the values


def test_every_value_has_its_dotted_key() -> None:
    text = (
        b"jtype: X\nwith:\n  size: 3\n  deep:\n    er: yes\npy_modules:\n- a.py\n- b.py\nmetas: {name: N, tags: [k]}\n"
    )
    assert config.settings(text) == {
        "jtype": "X",
        "with.size": "3",
        "with.deep.er": "yes",
        "py_modules.0": "a.py",
        "py_modules.1": "b.py",
        "metas.name": "N",
        "metas.tags.0": "k",
    }


@pytest.mark.parametrize("text", [b"", b"\n", b"# words\n", b"{}", b"[]", b"---\n"])
def test_a_file_without_values_has_none(text: bytes) -> None:
    assert config.settings(text) == {}


@pytest.mark.parametrize("text", [b"a: 1 # old\n", b"# new\na:   1", b"{a: 1}", b"a: '1'", b'"a": "1"\n'])
def test_how_a_value_is_written_does_not_matter(text: bytes) -> None:
    assert config.settings(text) == {"a": "1"}


def test_the_tags_of_a_user_s_settings_are_never_constructed() -> None:
    assert config.settings(b"a: !!python/object/apply:os.abort []\nb: !mine 1\n") == {"b": "1"}


def test_a_value_that_an_alias_repeats_has_both_keys() -> None:
    assert config.settings(b"a: &it\n  x: 1\nb: *it\n") == {"a.x": "1", "b.x": "1"}


@pytest.mark.parametrize(
    "text",
    [
        b"a: b: c",
        b"[",
        b"{a: 1",
        b"a: *b",
        b"a: 1\n---\nb: 2\n",
        b"\xff\xfe\xff",
        b"a: \0",
        b"[" * 100_000,
        b"{" * 100_000,
        b"? " * 5000,
        b"- " * 5000,
    ],
    ids=lambda text: repr(text[:8]),
)
def test_settings_that_do_not_parse_are_a_sentence(text: bytes) -> None:
    with pytest.raises(UsageError, match=r"config\.yml") as told:
        config.settings(text)
    assert told.value.hint


def test_what_does_not_parse_is_told_with_its_line() -> None:
    with pytest.raises(UsageError, match=r"^other\.yml line 2 does not parse"):
        parse("a: 1\nb: c: d\n", "other.yml")


@pytest.mark.parametrize("text", [b"a: &a [*a]\n", b"metas: &m\n  self: *m\n", b"&a {x: {y: [*a]}}\n"])
def test_an_alias_that_holds_itself_leads_in_no_circle(text: bytes) -> None:
    try:
        found = config.settings(text)
    except UsageError as error:
        assert error.hint
    else:
        assert len(found) < 100


def aliases(depth: int, leaf: str) -> bytes:
    """Lists of aliases of lists of aliases: nine times as many values with each line."""
    lines = [f"a0: &a0 [{', '.join([leaf] * 9)}]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, depth)]
    return "\n".join(lines).encode()


def test_aliases_of_aliases_do_not_multiply_without_an_end() -> None:
    """Ten lines more of these would be a thousand billion values."""
    text = aliases(5, "x")
    try:
        found = config.settings(text)
    except UsageError as error:
        assert error.hint
    else:
        assert len(found) < 20 * len(text)


def test_aliases_of_aliases_of_nothing_hold_nobody_up() -> None:
    """They are no values at all, and a billion to look at."""

    def deed() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (2, 2))
        with suppress(UsageError):
            config.settings(aliases(9, "[]"))

    config.settings(b"a: 1")
    assert in_a_child(deed) == 0


@LAW
@given(st.text(max_size=40) | st.text("ab:-[]{}&*!#'\"\n |>?%@,0", max_size=40))
def test_any_text_has_settings_or_is_a_sentence(text: str) -> None:
    try:
        found = config.settings(text.encode(errors="surrogatepass"))
    except UsageError as error:
        assert error.hint
    else:
        assert all(isinstance(value, str) for value in found.values())


# what a node says


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: x", "x"),
        ("a: 3", "3"),
        ("a: ' x '", "x"),
        ("a: !mine x", "x"),
        ("a: >\n  two\n  lines\n", "two lines"),
        ("a:", None),
        ("a: ~", None),
        ("a: null", None),
        ("a: ''", None),
        ("a: [x]", None),
        ("a: {x: y}", None),
        ("b: x", None),
        ("- a", None),
        ("a: old\na: new\n", "new"),
    ],
)
def test_a_text_is_what_stands_under_its_key(text: str, value: str | None) -> None:
    assert text_of(child(parse(text, "config.yml"), "a")) == value


@pytest.mark.parametrize(
    ("text", "values"),
    [("a: [x, 3]", ["x", "3"]), ("a:\n- x\n- y\n", ["x", "y"]), ("a: [x, ~, [y], '']", ["x"]), ("a: x", []), ("", [])],
)
def test_texts_are_those_of_a_list(text: str, values: list[str]) -> None:
    assert texts_of(child(parse(text, "config.yml"), "a")) == values


def test_a_node_tells_the_line_on_which_it_begins() -> None:
    root = parse("# words\na:\n- x\nb: y\n", "config.yml")
    assert (line_of(child(root, "b")), line_of(child(root, "a")), is_mapping(root)) == (4, 3, True)


# settings added between the lines

HEAD = "jtype: X # the class\npy_modules: x.py\n"
NEW = {"description": "new: words", "keywords": ("a", "b")}
FLAT = {"metas.description": "new: words", "metas.keywords.0": "a", "metas.keywords.1": "b"}
TAKEN = {
    "none": HEAD,
    "none, without a newline": HEAD.rstrip(),
    "an empty file": "",
    "a comment": "# mine\n",
    "block": f"{HEAD}metas:\n  name: N # mine\n",
    "block in the middle": f"metas:\n  # about it\n  name: N\n\n# the class\n{HEAD}",
    "deeper block": f"{HEAD}metas:\n        name: N\n        deep:\n            er: 1\n",
    "flow": f"{HEAD}metas: {{name: N}} # mine\n",
    "flow over lines": f'{HEAD}metas: {{\n  "name": "N",\n  "more": [1, 2]\n}}\n',
    "JSON": '{"jtype": "X", "metas": {"name": "N"}}\n',
    "empty flow": f"{HEAD}metas: {{}} # nothing\n",
    "null": f"{HEAD}metas: # nothing\n",
    "a tilde": f"metas: ~ # nothing\n{HEAD}",
    "in quotes": f"{HEAD}\"metas\":\n  'name': N\n",
    "CRLF": f"{HEAD}metas:\n  name: N\n".replace("\n", "\r\n"),
    "a document of its own": f"---\n{HEAD}metas:\n  name: N\n...\n",
    "other letters": f"# ünï 日本 😀\n{HEAD}metas: # 😀\n  name: é # 😀\n  alias: 日本\n",
    "other values": f"{HEAD}metas:\n  keywords: [c]\n  description: old # words\n",
    "a value of many lines": f"{HEAD}metas:\n  description: |\n    old\n    words\n  name: N\n",
    "a value that is folded": f"{HEAD}metas:\n  description: old\n    words\n  name: N # mine\n",
    "a value that stands twice": f"{HEAD}metas:\n  description: one\n  description: two\n",
    "a comment at the end": f"{HEAD}metas:\n  name: N\n# the end",
}


def kept(text: str) -> dict[str, str]:
    """What a text says beside the settings that are added to it."""
    gone = ("metas.description", "metas.keywords")
    return {key: value for key, value in stood(text).items() if not key.startswith(gone)}


def stood(text: str) -> dict[str, str]:
    """The settings of a text; ``metas:`` without a value is none."""
    nothing = ("", "~", "null")
    return {key: value for key, value in config.settings(text).items() if key != "metas" or value not in nothing}


@pytest.mark.parametrize("style", TAKEN)
def test_a_text_takes_settings_in_this_style(style: str) -> None:
    text = TAKEN[style]
    assert config.settings(with_metas(text, NEW)) == kept(text) | FLAT


@pytest.mark.parametrize(
    "style", [style for style in TAKEN if "value" not in style and style not in ("null", "a tilde")]
)
def test_the_lines_of_a_text_stay_in_their_order_with_their_comments(style: str) -> None:
    before, after = (
        each.replace("{", " { ").replace("}", " } ").split() for each in (TAKEN[style], with_metas(TAKEN[style], NEW))
    )
    rest = iter(after)
    assert [word for word in before if word not in rest] == []


@pytest.mark.parametrize(
    "text",
    [
        "metas:\n  keywords: [c] # some\n  # about the name\n  name: N # mine\n# the end\n",
        "metas:\n  description: old # some\n# about the rest\nwith:\n  a: 1 # one\n",
        "metas:\n  name: N\n  keywords:\n  - c # some\n# about the rest\nwith:\n  a: 1\n",
        "metas:\n  keywords:\n  - c\n  # about the name\n  name: N # mine\n",
        "metas:\n  description: |\n    old\n\n  # about the name\n  name: N\n",
    ],
    ids=["a flow list", "a text", "a block list at the end", "a block list before others", "a text of many lines"],
)
def test_what_stands_behind_a_value_that_is_replaced_stays(text: str) -> None:
    try:
        edited = with_metas(text, NEW)
    except UsageError as error:
        assert "leaves no place" in str(error)
    else:
        assert [line for line in text.splitlines() if "about" in line or "end" in line or "name" in line] == [
            line for line in edited.splitlines() if "about" in line or "end" in line or "name" in line
        ]


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD}metas: &m\n  name: N\n",
        f"{HEAD}metas: !!map\n  name: N\n",
        f"x: &m\n  name: N\n{HEAD}metas: *m\n",
        f"d: &d old\n{HEAD}metas:\n  description: *d\n",
        f"{HEAD}metas: [a, b]\n",
        f"{HEAD}metas: words\n",
        '{"jtype": "X"}\n',
        f"{HEAD}...\n",
        "  jtype: X\n  py_modules: x.py\n",
        f"{HEAD}with:\n  a: |\n    b",
        f"\ufeff{HEAD}metas:\n  name: N\n",
        f"\ufeff{HEAD}",
    ],
    ids=ascii,
)
def test_a_style_that_leaves_no_place_is_told_so_and_not_blamed_for_what_it_is_not(text: str) -> None:
    """The text parses: it would be a lie to say that it does not."""
    try:
        edited = with_metas(text, NEW)
    except UsageError as error:
        assert "leaves no place for what manifest.yml says: description, keywords" in str(error)
        assert "under metas" in error.hint
    else:
        assert config.settings(edited) == kept(text) | FLAT


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
ADDED = st.dictionaries(st.sampled_from(["name", "description", "url"]), WORDS, max_size=3).flatmap(
    lambda texts: st.lists(WORDS, max_size=3).map(lambda words: texts | ({"keywords": words} if words else {}))
)
KEYS = ["name", "description", "url", "keywords", "other"]
VALUES = ["x", "'x: y'", '"x"', "", "~", "3", "[a, b]", "[]", "{a: b}", "&v x", "!t x", "*v"]


@st.composite
def written(draw: st.DrawFn) -> str:
    """A config.yml as somebody may have written it: any style of metas, any comments, any ends of lines."""
    pairs = draw(st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES)), max_size=3))
    comment = st.sampled_from(["", "", " # why", " # 日本 😀"])
    style = draw(st.sampled_from(["none", "block", "flow", "null", "anchored", "alias", "text"]))
    indent = draw(st.sampled_from(["  ", "    ", " "]))
    block = "".join(f"{indent}{key}: {value}{draw(comment)}\n" for key, value in pairs)
    flow = ", ".join(f"{key}: {value or '~'}" for key, value in pairs)
    metas = {
        "none": "",
        "block": f"metas:{draw(comment)}\n{block}",
        "flow": f"metas: {{{flow}}}{draw(comment)}\n",
        "null": f"metas: {draw(st.sampled_from(['', '~', 'null']))}{draw(comment)}\n",
        "anchored": f"metas: &m\n{block}",
        "alias": f"x: &m\n{block}metas: *m\n",
        "text": f"metas: {draw(st.sampled_from(VALUES))}\n",
    }
    parts = [draw(st.sampled_from(["", "# top\n", "---\n", "v: &v 1\n"])), *draw(st.permutations([metas[style], HEAD]))]
    text = "".join([*parts, draw(st.sampled_from(["", "...\n", "# end", "z: |\n  1\n\n", "z:\n- 1\n"]))])
    return draw(st.sampled_from(["", "\ufeff"])) + text.replace("\n", draw(st.sampled_from(["\n", "\r\n"])))


@LAW
@given(written(), ADDED)
@example("metas: words\n", {"name": "x"})
@example(HEAD, {"name": "\u0085\u2028\x7f\ufeff'\"\\:#"})
@example(HEAD, {"keywords": ["- a", "[b]", "{c", "*d", "&e", "!f", "%g", "@h", "null", ""]})
def test_what_is_added_is_there_and_all_else_as_it_was(text: str, added: dict[str, str | list[str]]) -> None:
    try:
        before = stood(text)
        edited = with_metas(text, added)
    except UsageError as error:
        assert error.hint
    else:
        flat: dict[str, str] = {}
        for key, value in added.items():
            values = {f"metas.{key}": value} if isinstance(value, str) else {}
            flat |= values or {f"metas.{key}.{number}": word for number, word in enumerate(value)}
        gone = tuple(f"metas.{key}" for key in added)
        rest = {key: value for key, value in before.items() if not key.startswith(gone)}
        assert stood(edited) == rest | flat
