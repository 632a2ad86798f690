"""Redaction: a value is gone in whatever form a program prints it, and a text without it stays as it is."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus, unquote, unquote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lhub.redaction import Redaction

TEXT = st.text(st.characters(exclude_characters="*", exclude_categories=("Cs", "Cc")), max_size=20)
VALUE = st.text(st.characters(exclude_characters="*", exclude_categories=("Cs", "Cc")), min_size=3, max_size=20)
LONG = VALUE.filter(lambda value: len(value.encode()) >= 6)
"""Values of which base64 is looked for; of shorter ones it is a few letters, which any text has."""
COMMON = "a b!c/d&e<é'x"
few = settings(max_examples=40, deadline=None)


@few
@given(value=VALUE, before=TEXT, after=TEXT)
def test_a_value_is_gone_wherever_it_stands(value: str, before: str, after: str) -> None:
    assert value not in Redaction([value]).text(f"{before}{value}{after}{value}")


@few
@given(value=VALUE, safe=st.sampled_from(["", "/", "!'()*~", "!$&'()*+,;=:", "/:@"]), small=st.booleans())
def test_a_value_is_gone_however_a_url_quotes_it(value: str, safe: str, small: bool) -> None:
    """encodeURIComponent, urllib3 and pip leave each their own characters as they are, and write `%2f` or `%2F`."""
    quoted = re.sub("%..", lambda each: each[0].lower() if small else each[0], quote(value, safe=safe))
    assert value not in unquote(Redaction([value]).text(f"https://u:{quoted}@host/"))


@few
@given(value=VALUE)
def test_a_value_is_gone_in_a_form(value: str) -> None:
    assert value not in unquote_plus(Redaction([value]).text(f"a=1&token={quote_plus(value)}&b=2"))


DIALECTS: dict[str, Callable[[str], str]] = {
    "Python": json.dumps,
    "Python, as it is": lambda text: json.dumps(text, ensure_ascii=False),
    "Go": lambda text: re.sub("[<>&]", lambda each: f"\\u{ord(each[0]):04x}", json.dumps(text, ensure_ascii=False)),
    "PHP": lambda text: json.dumps(text).replace("/", "\\/"),
    "with large digits": lambda text: re.sub(r"(?<=\\u)[0-9a-f]{4}", lambda each: each[0].upper(), json.dumps(text)),
}


@few
@given(value=VALUE, others=st.text("xyz ", max_size=9), dialect=st.sampled_from(sorted(DIALECTS)))
def test_a_value_is_gone_in_json(value: str, others: str, dialect: str) -> None:
    assert value not in json.loads(Redaction([value]).text(DIALECTS[dialect](f"{others}{value}{others}")))


def in_base64(value: bytes, text: str) -> bool:
    """Whether somebody who tries each place of a text as the beginning of base64 finds a value."""
    for run in re.findall(r"[A-Za-z0-9+/_-]{4,}", text):
        letters = run.replace("-", "+").replace("_", "/")
        for start in range(4):
            whole = letters[start:]
            with_end = whole[: len(whole) - (len(whole) % 4 == 1)]
            if value in base64.b64decode(with_end + "=" * (-len(with_end) % 4)):
                return True
    return False


@few
@given(value=LONG, before=st.binary(max_size=9), after=st.binary(max_size=9), url=st.booleans())
def test_a_value_is_gone_in_base64_of_whatever_is_around_it(value: str, before: bytes, after: bytes, url: bool) -> None:
    encode = base64.urlsafe_b64encode if url else base64.b64encode
    text = encode(before + value.encode() + after).decode()
    assert in_base64(value.encode(), text)
    assert not in_base64(value.encode(), Redaction([value]).text(f"Authorization: Basic {text}"))


OTHERS: dict[str, Callable[[str], str]] = {
    "a shell": shlex.quote,
    "repr": repr,
    "repr of bytes": lambda value: repr(value.encode()),
    "HTML": html.escape,
    "urllib3's userinfo": lambda value: quote(value, safe="!$&'()*+,;=:"),
    "encodeURIComponent": lambda value: quote(value, safe="!'()*~"),
    "small hex digits": lambda value: re.sub("%..", lambda each: each[0].lower(), quote(value)),
    "Go's JSON": lambda value: json.dumps(value, ensure_ascii=False).replace("&", "\\u0026").replace("<", "\\u003c"),
    "PHP's JSON": lambda value: json.dumps(value).replace("/", "\\/"),
}


@pytest.mark.parametrize("program", OTHERS)
def test_a_value_is_gone_as_other_programs_print_it(program: str) -> None:
    printed = OTHERS[program](COMMON)
    middle = printed[len(printed) // 2 - 3 : len(printed) // 2 + 3]
    assert middle not in Redaction([COMMON]).text(f"<{printed}>")


@few
@given(values=st.lists(VALUE, min_size=2, max_size=4), data=st.data())
def test_of_several_values_each_is_gone(values: list[str], data: st.DataObject) -> None:
    text = " ".join(data.draw(st.permutations(values)))
    hidden = Redaction(values).text(text)
    assert [value for value in values if value in hidden] == []


def test_of_two_values_that_overlap_nothing_is_left() -> None:
    assert Redaction(["token-one", "one-secret"]).text("<token-one-secret>") == "<***>"


def test_a_value_of_several_lines_is_gone_though_it_is_printed_line_by_line() -> None:
    hide = Redaction(["-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA\n-----END KEY-----"])
    assert "MIIEpAIBAAKCAQEA" not in hide.text("lhub: read MIIEpAIBAAKCAQEA")


@pytest.mark.parametrize("value", ["s3cr3t-t0ken ", "\ts3cr3t-t0ken\n"])
def test_a_value_is_gone_without_the_space_around_it(value: str) -> None:
    assert Redaction([value]).text("reading s3cr3t-t0ken") == "reading ***"


def test_a_long_value_is_gone_in_base64_that_is_wrapped() -> None:
    """As base64(1) and MIME do it, at 76 letters."""
    value = "github_pat_" + "".join(f"A{n}b{n * 7}" for n in range(20))
    hide = Redaction([value])
    *lines, _ = base64.encodebytes(value.encode()).decode().splitlines()  # the rest at the end is a few bytes
    assert [hide.text(line) for line in lines] == ["***"] * len(lines)


@pytest.mark.parametrize("value", ["s3cr3t\udcff", "\udcff\udcfe\udcfd", "\ud800abc"])
def test_a_value_that_is_no_utf_8_is_gone_too(value: str) -> None:
    assert Redaction([value]).text(f"<{value}>") == "<***>"


# what stays


@few
@given(value=st.text("ghijkl/&é", min_size=3), text=st.text("0123456789abcdefABCDEF \n-_:.äöü", max_size=200))
def test_a_text_without_a_value_stays(value: str, text: str) -> None:
    assert Redaction([value]).text(text) == text


LINES = {"plain": "Collecting torch-2 \n" * 50_000, "of all ways to quote": "a%2Fb+\\u0041 &amp; '\\'' " * 800}


@pytest.mark.parametrize("line", LINES)
def test_a_long_line_is_read_in_good_time(line: str) -> None:
    began = time.process_time()
    assert Redaction(["s3cr3t-value", "other-value"]).text(LINES[line]) == LINES[line]
    assert time.process_time() - began < 1


@few
@given(text=TEXT)
def test_no_value_hides_nothing(text: str) -> None:
    assert Redaction().text(text) == text
    assert Redaction([""]).text(text) == text


def test_base64_of_a_short_value_is_not_looked_for() -> None:
    """It would be a few letters that stand in many a word."""
    word = base64.b64encode(b"abc").decode()
    assert Redaction(["abc"]).text(f"sha {word}") == f"sha {word}"


def test_a_value_is_gone_in_every_text_of_a_document_and_nothing_else_changes() -> None:
    document = {"message": "a s3cr3t", "lines": ["s3cr3t", 1, None, True, 1.5], "deep": {"more": ["s3cr3t b"]}}
    told = {"message": "a ***", "lines": ["***", 1, None, True, 1.5], "deep": {"more": ["*** b"]}}
    assert Redaction(["s3cr3t"]).value(document) == told


def test_what_hides_a_value_does_not_show_it_itself() -> None:
    hide = Redaction(["s3cr3t"])
    assert "s3cr3t" not in f"{hide} {hide!r}"
