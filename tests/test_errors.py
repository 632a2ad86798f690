"""Errors: one tree, one exit code each, and sentences for a person at night."""

from __future__ import annotations

import ast
import pickle

import pytest

import lhub
from lhub import errors
from lhub.errors import LhubError, NotFound, listing
from tests.conftest import PROJECT

CODES = {
    "LhubError": 1,
    "UsageError": 2,
    "NotFound": 3,
    "Denied": 4,
    "Conflict": 5,
    "Corrupt": 6,
    "LockTimeout": 7,
    "BuildFailed": 8,
    "ToolMissing": 9,
}


def sentences() -> list[tuple[str, list[str | None]]]:
    """Where an error is made in lhub, and its sentence in pieces; None stands for a value that is filled in."""
    found = []
    for path in sorted((PROJECT / "lhub").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") not in CODES or not node.args:
                continue
            said = node.args[0]
            parts = said.values if isinstance(said, ast.JoinedStr) else [said]
            pieces = [
                part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else None for part in parts
            ]
            found.append((f"{path.name}:{node.lineno}", pieces))
    return found


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_every_error_has_its_exit_code(name: str, code: int) -> None:
    assert getattr(errors, name)("what, which").code == code


def test_no_two_errors_share_a_code() -> None:
    made = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LhubError)]
    assert sorted(kind.__name__ for kind in made) == sorted(CODES)
    assert len({kind.code for kind in made}) == len(made)


@pytest.mark.parametrize("name", CODES)
def test_every_error_can_be_caught_as_lhubs_own_by_its_public_name(name: str) -> None:
    assert issubclass(getattr(lhub, name), lhub.LhubError)
    assert name in lhub.__all__


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = dict(
        line.replace("├──", "").replace("└──", "").split()[:2]
        for line in (errors.__doc__ or "").splitlines()
        if any(f" {name} " in line for name in CODES) and ">>>" not in line
    )
    assert drawn == {name: str(code) for name, code in CODES.items()}


def test_an_error_is_its_sentence_and_keeps_its_hint_apart() -> None:
    error = NotFound("alice/X:v9 is not here", hint="lhub show alice/X lists its tags")
    assert (str(error), error.hint) == ("alice/X:v9 is not here", "lhub show alice/X lists its tags")


def test_a_hint_may_be_missing() -> None:
    assert NotFound("alice/X is not here").hint == ""


def test_json_of_an_error_has_code_message_and_hint() -> None:
    told = NotFound("alice/X is not here", hint="lhub list").to_dict()
    assert told == {"code": 3, "message": "alice/X is not here", "hint": "lhub list"}


@pytest.mark.parametrize("name", CODES)
def test_an_error_survives_the_way_to_another_process(name: str) -> None:
    error = getattr(errors, name)("what, which", hint="what now")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.to_dict()) == (type(error), error.to_dict())


def test_one_fault_is_told_in_one_line() -> None:
    assert listing("not a name", ["the tag is empty"]) == "not a name: the tag is empty"


def test_several_faults_are_told_together() -> None:
    assert listing("not a name", iter(["a", "b"])) == "not a name, 2 faults:\n  a\n  b"


def test_a_thousand_faults_do_not_fill_the_terminal() -> None:
    told = listing("this folder", (f"fault {number}" for number in range(1000))).splitlines()
    assert told[0] == "this folder, 1000 faults:"
    assert told[-1].strip() == "and 800 more"
    assert len(told) == 202


def test_no_sentence_ends_in_a_full_stop() -> None:
    said = sentences()
    assert len(said) > 50
    assert [where for where, pieces in said if (pieces[-1] or "").endswith(".")] == []


def test_no_sentence_begins_with_a_capital() -> None:
    begins = {where: (pieces[0] or "").partition(" ")[0] for where, pieces in sentences()}
    assert {where: word for where, word in begins.items() if word[:1].isupper() and word[1:].islower()} == {}
