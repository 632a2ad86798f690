"""Who may do what: the whole table, cell by cell, and the sentences below it, decided without a disk."""

from __future__ import annotations

import ast
import itertools
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from lhub.access import Place, Verb, absent, may_see, refusal
from lhub.errors import Conflict, Denied, LhubError, NotFound
from tests.conftest import PROJECT

YES = 0
NONE, WRONG, RIGHT = None, False, True
VERBS: tuple[Verb, ...] = ("pull", "push", "manage")

OWN = Place(resource="X", namespace="alice", own=True, stands=True)
OTHERS = Place(resource="X", namespace="bob", stands=True)
UNNAMED = Place(resource="X", stands=True)
PLACES = {
    "own namespace": OWN,
    "own namespace, private": OWN._replace(private=True),
    "own namespace, new": OWN._replace(stands=False),
    "a team's namespace": OWN._replace(namespace="team"),
    "a team's namespace, private": OWN._replace(namespace="team", private=True),
    "another's, public": OTHERS,
    "another's, private": OTHERS._replace(private=True),
    "another's, absent": OTHERS._replace(stands=False),
    "without namespace, public": UNNAMED,
    "without namespace, private": UNNAMED._replace(private=True),
    "without namespace, new": UNNAMED._replace(stands=False),
}

# Exit codes; three of them are those without a secret, with a wrong one and with the right one.
TABLE: dict[tuple[str, Verb], dict[str, int | tuple[int, int, int]]] = {
    ("logged in", "push"): {
        "own namespace": YES,
        "own namespace, private": YES,
        "own namespace, new": YES,
        "a team's namespace": YES,
        "a team's namespace, private": YES,
        "another's, public": 4,
        "another's, private": 4,
        "another's, absent": 4,
        "without namespace, public": (5, 4, YES),
        "without namespace, private": (5, 4, YES),
        "without namespace, new": (3, 3, 3),
    },
    ("logged in", "pull"): {
        "own namespace": YES,
        "own namespace, private": YES,
        "own namespace, new": 3,
        "a team's namespace": YES,
        "a team's namespace, private": YES,
        "another's, public": YES,
        "another's, private": 3,
        "another's, absent": 3,
        "without namespace, public": (YES, YES, YES),
        "without namespace, private": (3, 3, YES),
        "without namespace, new": (3, 3, 3),
    },
    ("logged in", "manage"): {
        "own namespace": YES,
        "own namespace, private": YES,
        "own namespace, new": 3,
        "a team's namespace": YES,
        "a team's namespace, private": YES,
        "another's, public": 4,
        "another's, private": 4,
        "another's, absent": 4,
        "without namespace, public": (5, 4, YES),
        "without namespace, private": (3, 3, YES),
        "without namespace, new": (3, 3, 3),
    },
    ("nobody", "push"): {
        "another's, public": 4,
        "another's, private": 4,
        "another's, absent": 4,
        "without namespace, public": (5, 4, YES),
        "without namespace, private": (5, 4, YES),
        "without namespace, new": (YES, YES, YES),
    },
    ("nobody", "pull"): {
        "another's, public": YES,
        "another's, private": 3,
        "another's, absent": 3,
        "without namespace, public": (YES, YES, YES),
        "without namespace, private": (3, 3, YES),
        "without namespace, new": (3, 3, 3),
    },
    ("nobody", "manage"): {
        "another's, public": 4,
        "another's, private": 4,
        "another's, absent": 4,
        "without namespace, public": (5, 4, YES),
        "without namespace, private": (3, 3, YES),
        "without namespace, new": (3, 3, 3),
    },
}


def cells() -> Iterator[Any]:
    for (who, verb), row in TABLE.items():
        for column, answer in row.items():
            codes = answer if isinstance(answer, tuple) else (answer,) * 3
            for secret, code in zip((NONE, WRONG, RIGHT), codes, strict=True):
                if secret is not NONE and not isinstance(answer, tuple):
                    continue
                given = {NONE: "no secret", WRONG: "a wrong secret", RIGHT: "the secret"}[secret]
                caller = "alice" if who == "logged in" else None
                place = PLACES[column]._replace(secret=secret)
                yield pytest.param(verb, place, caller, code, id=f"{who}: {verb}, {column}, {given}")


def code_of(error: LhubError | None) -> int:
    return error.code if error else YES


def told(error: LhubError | None) -> object:
    """All that a caller could learn from an answer."""
    return None if error is None else (type(error), error.to_dict())


@pytest.mark.parametrize(("verb", "place", "caller", "code"), list(cells()))
def test_every_cell_of_the_table(verb: Verb, place: Place, caller: str | None, code: int) -> None:
    assert code_of(refusal(verb, place, caller=caller)) == code


def test_no_cell_was_left_out() -> None:
    named_of_ones_own = {column for column, place in PLACES.items() if place.own}
    assert set(TABLE) == set(itertools.product(("logged in", "nobody"), VERBS))
    for (who, _), row in TABLE.items():
        assert set(row) == set(PLACES) - (named_of_ones_own if who == "nobody" else set())


def all_facts() -> Iterator[tuple[Verb, Place, str | None]]:
    """Every combination of facts, be it likely or not."""
    no_yes = (False, True)
    facts = {
        "namespace": (None, "alice", "bob"),
        "own": no_yes,
        "stands": no_yes,
        "private": no_yes,
        "maker": no_yes,
        "kind": ("executor", "docarray", "files"),
        "secret": (NONE, WRONG, RIGHT),
    }
    for verb, caller, *values in itertools.product(VERBS, (None, "alice"), *facts.values()):
        yield verb, Place(resource="X", **dict(zip(facts, values, strict=True))), caller


def test_every_combination_of_facts_is_decided_by_yes_or_by_a_sentence_with_a_hint() -> None:
    answers = [refusal(verb, place, caller=caller) for verb, place, caller in all_facts()]
    errors = [error for error in answers if error is not None]
    assert {type(error) for error in errors} == {NotFound, Denied, Conflict}
    assert [error for error in errors if not str(error) or not error.hint] == []
    assert len(errors) < len(answers)


def test_the_same_facts_get_the_same_answer() -> None:
    for verb, place, caller in all_facts():
        assert told(refusal(verb, place, caller=caller)) == told(refusal(verb, place, caller=caller))


def test_nobody_logged_in_never_changes_what_has_a_namespace() -> None:
    facts = [
        (verb, place) for verb, place, caller in all_facts() if caller is None and place.namespace and verb != "pull"
    ]
    assert {code_of(refusal(verb, place, caller=None)) for verb, place in facts} == {4}


def test_what_one_may_change_one_may_see() -> None:
    for verb, place, caller in all_facts():
        if place.stands and refusal(verb, place, caller=caller) is None:
            assert may_see(place)


# a private resource and an absent one give the same answer

STRANGER = [
    pytest.param(OTHERS._replace(private=True, maker=False), id="another's"),
    pytest.param(UNNAMED._replace(private=True), id="without namespace, no secret"),
    pytest.param(UNNAMED._replace(private=True, secret=WRONG), id="without namespace, a wrong secret"),
]


@pytest.mark.parametrize("caller", ["alice", None])
@pytest.mark.parametrize("private", STRANGER)
@pytest.mark.parametrize("verb", ["pull", "manage"])
def test_who_may_not_see_a_private_resource_cannot_tell_it_from_an_absent_one(
    verb: Verb, private: Place, caller: str | None
) -> None:
    hidden = refusal(verb, private, caller=caller)
    assert told(hidden) == told(refusal(verb, private._replace(stands=False, private=False), caller=caller))
    assert hidden is not None


@pytest.mark.parametrize("caller", ["alice", None])
def test_a_push_to_anothers_namespace_does_not_tell_what_stands_there(caller: str | None) -> None:
    answers = [
        told(refusal("push", OTHERS._replace(stands=stands, private=private, maker=False, kind=kind), caller=caller))
        for stands, private, kind in itertools.product((False, True), (False, True), ("executor", "files"))
    ]
    assert answers.count(answers[0]) == len(answers)


@pytest.mark.parametrize("caller", ["alice", None])
def test_what_a_pull_hides_a_listing_hides(caller: str | None) -> None:
    for verb, place, asks in all_facts():
        if verb == "pull" and asks == caller and place.stands:
            assert may_see(place) == (refusal("pull", place, caller=caller) is None)


def test_absent_is_the_answer_of_a_refused_pull() -> None:
    assert told(refusal("pull", OTHERS._replace(private=True), caller="alice")) == told(absent("bob/X", caller="alice"))


# the sentences below the table


def test_a_new_resource_without_a_namespace_is_for_executors_only() -> None:
    new = UNNAMED._replace(stands=False)
    codes = {
        kind: code_of(refusal("push", new._replace(kind=kind), caller=None))
        for kind in ("executor", "files", "docarray")
    }
    assert codes == {"executor": YES, "files": 4, "docarray": 4}


@pytest.mark.parametrize("caller", ["alice", None])
def test_an_old_docarray_without_a_namespace_is_pulled_by_its_name(caller: str | None) -> None:
    assert refusal("pull", UNNAMED._replace(kind="docarray"), caller=caller) is None


@pytest.mark.parametrize("caller", ["alice", None])
@pytest.mark.parametrize("secret", [NONE, WRONG, RIGHT])
@pytest.mark.parametrize("private", [False, True])
def test_an_old_docarray_without_a_namespace_is_never_updated(
    caller: str | None, secret: bool | None, private: bool
) -> None:
    error = refusal("push", UNNAMED._replace(kind="docarray", secret=secret, private=private), caller=caller)
    assert isinstance(error, Denied)
    assert "namespace" in error.hint


def test_a_push_without_the_secret_of_a_name_that_stands_hints_at_force_update() -> None:
    for caller in ("alice", None):
        error = refusal("push", UNNAMED, caller=caller)
        assert isinstance(error, Conflict)
        assert "--force-update X" in error.hint


def test_a_wrong_secret_is_not_taken_for_a_missing_one() -> None:
    error = refusal("push", UNNAMED._replace(secret=WRONG), caller=None)
    assert isinstance(error, Denied)
    assert "secret" in str(error)


def test_a_secret_opens_nothing_that_has_a_namespace() -> None:
    for verb in VERBS:
        with_secret = OTHERS._replace(private=True, secret=RIGHT)
        assert code_of(refusal(verb, with_secret, caller="alice")) in (3, 4)


def test_a_secret_of_a_name_that_does_not_stand_names_the_way_without_it() -> None:
    error = refusal("push", UNNAMED._replace(stands=False, secret=WRONG), caller="alice")
    assert isinstance(error, NotFound)
    assert "alice/X" in error.hint


def test_a_colleague_pushes_to_what_another_made_but_does_not_manage_it() -> None:
    theirs = OWN._replace(namespace="team", maker=False)
    assert {verb: code_of(refusal(verb, theirs, caller="alice")) for verb in VERBS} == {
        "pull": YES,
        "push": YES,
        "manage": 4,
    }


@pytest.mark.parametrize("verb", ["push", "manage"])
@pytest.mark.parametrize("secret", [WRONG, RIGHT])
def test_only_its_maker_changes_what_has_no_namespace(verb: Verb, secret: bool) -> None:
    assert isinstance(refusal(verb, UNNAMED._replace(maker=False, secret=secret), caller="alice"), Denied)


def test_another_namespace_is_refused_by_a_sentence_that_names_it_and_oneself() -> None:
    error = refusal("push", OTHERS, caller="alice")
    assert error is not None
    assert "bob" in str(error)
    assert "alice" in str(error)
    assert "lhub namespace list" in error.hint


def test_who_is_not_logged_in_is_told_to_log_in() -> None:
    error = refusal("push", OTHERS, caller=None)
    assert error is not None
    assert error.hint.startswith("lhub login")


def test_a_bare_name_that_is_absent_hints_at_ones_own_namespace() -> None:
    error = refusal("pull", UNNAMED._replace(stands=False), caller="alice")
    assert error is not None
    assert "in your namespace it is alice/X" in error.hint


# without a disk

PURE = {"__future__", "collections", "dataclasses", "typing", "unicodedata"}


def imported_by(module: str) -> set[str]:
    """All that a module of lhub imports, and what those of lhub among it import."""
    found = set()
    for node in ast.walk(ast.parse((PROJECT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            found |= {name, *(imported_by(name) if name.startswith("lhub.") else ())}
    return found


def test_access_imports_nothing_that_touches_a_disk() -> None:
    assert {name.partition(".")[0] for name in imported_by("lhub.access")} <= PURE | {"lhub"}
    assert {name for name in imported_by("lhub.access") if name.startswith("lhub")} == {"lhub.errors"}


def test_access_decides_every_combination_without_asking_the_system() -> None:
    program = """
import sys
from tests.test_access import all_facts, refusal
asked = []
facts = list(all_facts())
sys.addaudithook(lambda event, arguments: asked.append(event))
answers = [refusal(verb, place, caller=caller) for verb, place, caller in facts]
told = sorted(set(asked))
print(len(answers) > 1000, told)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True []\n", "")
