"""The door and who comes in: LHUB_HOME, LHUB_ROOT, the login that is remembered."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lhub import identity
from lhub.door import here, home
from lhub.errors import Corrupt, UsageError


@pytest.mark.parametrize(
    ("environment", "root", "expected"),
    [
        ({"LHUB_HOME": "/h"}, None, "/h/registry"),
        ({"LHUB_HOME": "/h", "LHUB_ROOT": "/r"}, None, "/r"),
        ({"LHUB_HOME": "/h", "LHUB_ROOT": "/r"}, "/given", "/given"),
    ],
)
def test_the_root_is_the_option_then_the_variable_then_the_home_s(
    environment: dict[str, str], root: str | None, expected: str
) -> None:
    assert here(root=root, environment=environment).session.root == expected


def test_reading_makes_no_home(tmp_path: Path) -> None:
    here(environment={"LHUB_HOME": str(tmp_path / "home")})
    assert os.listdir(tmp_path) == []


def test_without_a_home_lhub_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    with pytest.raises(UsageError, match="no home") as told:
        home({})
    assert "LHUB_HOME" in told.value.hint


def test_a_login_is_remembered_for_its_owner_alone(tmp_path: Path) -> None:
    place = str(tmp_path / "home")
    identity.remember(place, "alice")
    assert identity.recall(place) == "alice"
    assert stat.S_IMODE(os.stat(f"{place}/login").st_mode) == 0o600
    assert stat.S_IMODE(os.stat(place).st_mode) == 0o700
    assert (identity.forget(place), identity.forget(place), identity.recall(place)) == (True, False, None)


@pytest.mark.parametrize("text", [b"", b"../x\n", b"\xff", b"a b\n"])
def test_a_damaged_login_is_told_and_can_be_mended(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "login").write_bytes(text)
    with pytest.raises(Corrupt, match="holds no namespace"):
        identity.recall(str(tmp_path))
    identity.remember(str(tmp_path), "bob")
    assert identity.recall(str(tmp_path)) == "bob"


def test_a_uid_without_an_account_has_a_name_all_the_same() -> None:
    assert identity.account_of(4_000_000) == "uid-4000000"
