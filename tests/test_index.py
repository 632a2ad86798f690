"""The index: disposable, of one user, and never wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lhub.index import Index, Known

V1, V2 = "1" * 64, "2" * 64
LINE = f"{V1} files 12 .\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index"


def test_what_was_saved_is_known_next_time(path: Path) -> None:
    index = Index(str(path))
    index.add(V1, Known("files", 12))
    index.save()
    assert Index(str(path)).get(V1) == Known("files", 12)
    assert path.read_text() == LINE


def test_what_was_not_seen_is_not_known(path: Path) -> None:
    assert Index(str(path)).get(V1) is None


def test_without_a_file_it_remembers_for_one_command() -> None:
    index = Index(None)
    index.add(V1, Known("executor", 3))
    index.save()
    assert index.get(V1) == Known("executor", 3)


def test_nothing_is_written_before_it_is_saved(path: Path) -> None:
    Index(str(path)).add(V1, Known("files", 12))
    assert not path.exists()


def test_nothing_new_writes_nothing(path: Path) -> None:
    Index(str(path)).save()
    assert not path.exists()


def test_what_is_new_is_noted_without_a_look_at_the_others(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(LINE)
    index = Index(str(path))
    with monkeypatch.context() as patch:
        patch.setattr(Index, "_text", lambda self: pytest.fail("it was read"))
        index.note(V2, Known("docarray", 5, 2))
        index.save()
    assert (index.get(V1), index.get(V2)) == (Known("files", 12), Known("docarray", 5, 2))


def test_what_is_known_is_not_written_again(path: Path) -> None:
    for _ in range(3):
        index = Index(str(path))
        index.add(V1, Known("files", 12))
        index.add(V1, Known("files", 12))
        index.save()
        index.save()
    assert path.read_text() == LINE


def test_it_is_its_users_alone(path: Path) -> None:
    index = Index(str(path))
    index.add(V1, Known("files", 12))
    index.save()
    assert oct(path.stat().st_mode & 0o777) == "0o600"


def test_two_commands_at_once_lose_nothing(path: Path) -> None:
    one, other = Index(str(path)), Index(str(path))
    one.add(V1, Known("files", 1))
    other.add(V2, Known("executor", 2))
    one.save()
    other.save()
    assert (Index(str(path)).get(V1), Index(str(path)).get(V2)) == (Known("files", 1), Known("executor", 2))


@pytest.mark.parametrize(
    "line",
    [
        f"{V1} files 1",
        f"{V1} files 1 \n",
        f"{V1} files 1 .",
        f"{V1} files\n",
        f"{V1[1:]} files 1 .\n",
        f"{V1.upper().replace('1', 'A')} files 1 .\n",
        f"{V1} Files 1 .\n",
        f"{V1} files -1 .\n",
        f"x{V1} files 1 .\n",
        f"{V1} files 1 . \n",
        f"{V1}\0files 1 .\n",
    ],
)
def test_a_line_that_is_not_whole_is_passed_over(path: Path, line: str) -> None:
    path.write_text(f"{V2} executor 7 .\n{line}")
    index = Index(str(path))
    assert index.get(V2) == Known("executor", 7)
    assert line.endswith(".") or index.get(V1) is None


def test_after_a_line_that_was_cut_short_the_index_still_learns(path: Path) -> None:
    path.write_text(LINE[:30])
    for _ in range(2):
        index = Index(str(path))
        if index.get(V2) is None:
            index.add(V2, Known("executor", 7))
        index.save()
    assert Index(str(path)).get(V2) == Known("executor", 7)


@settings(max_examples=80, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=80))
def test_garbage_is_an_empty_index(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "garbage"
    path.write_bytes(garbage)
    assert Index(str(path)).get(V1) is None


def unreadable(path: Path, what: str) -> None:
    if what == "a folder":
        path.mkdir()
    elif what == "a FIFO":
        os.mkfifo(path)
    elif what == "a link":
        (path.parent / "other").write_text(LINE)
        path.symlink_to("other")
    elif what == "too large":
        path.write_text(LINE)
        os.truncate(path, (64 << 20) + 1)


@pytest.mark.parametrize("what", ["a folder", "a FIFO", "a link", "too large"])
def test_what_is_no_index_is_not_read_and_hangs_nobody(path: Path, what: str) -> None:
    unreadable(path, what)
    index = Index(str(path))
    assert index.get(V1) is None
    index.add(V1, Known("files", 12))
    assert index.get(V1) == Known("files", 12)


def test_nothing_is_written_through_a_link(path: Path) -> None:
    unreadable(path, "a link")
    index = Index(str(path))
    index.add(V2, Known("files", 12))
    index.save()
    assert (path.parent / "other").read_text() == LINE


def test_a_home_that_takes_no_writes_serves_as_well(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("no folder")
    index = Index(str(tmp_path / "home" / "index"))
    index.add(V1, Known("files", 12))
    index.save()
    assert index.get(V1) == Known("files", 12)


def test_an_index_that_was_deleted_is_made_anew(path: Path) -> None:
    for _ in range(2):
        index = Index(str(path))
        assert index.get(V1) is None
        index.add(V1, Known("files", 12))
        index.save()
        assert path.read_text() == LINE
        path.unlink()


def test_an_index_that_grew_too_large_becomes_useful_again(path: Path) -> None:
    unreadable(path, "too large")
    index = Index(str(path))
    index.add(V2, Known("executor", 7))
    index.save()
    assert Index(str(path)).get(V2) == Known("executor", 7)
