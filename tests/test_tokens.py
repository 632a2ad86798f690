"""Tokens: told once, kept as digests, of whom the namespace is on disk, for as long as was said."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lhub.disk import Pen
from lhub.errors import Conflict, Denied, LhubError, NotFound, UsageError
from lhub.registry import Registry
from tests.conftest import Shell, as_caller, read_tree

DAY = 86_400


def at(registry: Registry, days: float) -> Registry:
    """The same registry, so many days later."""
    later = registry.logged_in(registry.session.caller)
    later.session = replace(later.session, clock=lambda: time.time() + days * DAY)
    return later


def test_a_token_is_told_once_and_kept_nowhere(registry: Registry) -> None:
    made = registry.create_token("laptop")
    assert made.token not in repr(made)
    assert not any(made.token.encode() in content for content in read_tree(registry.root).values())
    assert registry.holder(made.token) == "alice"
    assert made.token not in str(registry.tokens())


def test_the_file_is_its_owner_s_alone_and_whole_at_every_moment(registry: Registry) -> None:
    for mask in (0o022, 0o777):
        before = os.umask(mask)
        try:
            registry.create_token()
        finally:
            os.umask(before)
        assert Path(registry.root, "alice/.tokens.yaml").stat().st_mode & 0o7777 == 0o600
    assert sorted(os.listdir(registry.root / "alice")) == [".tokens.lock", ".tokens.yaml", "namespace.yaml"]


def test_a_token_holds_as_long_as_was_said(registry: Registry) -> None:
    made = registry.create_token(days=7)
    assert made.expires - made.created == 7 * DAY
    assert [at(registry, days).holder(made.token) for days in (0, 6.9, 7.1)] == ["alice", "alice", None]
    assert at(registry, 8).tokens() == []


def test_what_has_expired_gives_way(registry: Registry) -> None:
    registry.create_token("laptop", days=1)
    with pytest.raises(Conflict, match="stands already"):
        registry.create_token("laptop")
    later = at(registry, 2)
    assert later.create_token("laptop").name == "laptop"
    assert len(later.tokens()) == 1


def test_without_a_name_each_gets_one(registry: Registry) -> None:
    assert [registry.create_token().name for _ in range(3)] == ["token-1", "token-2", "token-3"]
    registry.delete_token("token-2")
    assert registry.create_token().name == "token-2"


@pytest.mark.parametrize("days", [0, -1, 3651, 10**12])
def test_days_that_cannot_be_are_refused(registry: Registry, days: int) -> None:
    with pytest.raises(UsageError, match="1 to 3650 days"):
        registry.create_token(days=days)
    assert not (registry.root / "alice/.tokens.yaml").exists()


@pytest.mark.parametrize("name", ["", " ", "a\nb", "\x1b[31m", "x" * 129, "\ud800"])
def test_names_that_cannot_be_are_refused(registry: Registry, name: str) -> None:
    with pytest.raises(UsageError, match="a token's name"):
        registry.create_token(name)


def test_any_other_name_is_kept_as_it_is(registry: Registry) -> None:
    for name in ("my laptop", "é: {}", "true", "- x", "'\"\\"):
        registry.create_token(name)
    assert [each.name for each in registry.tokens()] == ["my laptop", "é: {}", "true", "- x", "'\"\\"]


def test_more_than_a_hundred_are_not_kept(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lhub.tokens._MOST", 3)
    for _ in range(3):
        registry.create_token()
    with pytest.raises(Conflict, match="no more are kept"):
        registry.create_token("one more")


def test_there_is_room_for_a_hundred_with_the_longest_names(registry: Registry) -> None:
    from lhub.manifest import SMALL
    from lhub.tokens import _MOST

    for number in range(10):
        registry.create_token(f"{number:03}".ljust(128, "é"))
    assert len(registry.tokens()) == 10
    assert (registry.root / "alice/.tokens.yaml").stat().st_size * _MOST / 10 < SMALL


def test_nobody_makes_tokens_for_a_namespace_that_is_not_his(registry: Registry) -> None:
    for verb in (Registry.create_token, Registry.tokens, lambda each: each.delete_token("x")):
        with pytest.raises(Denied, match="nobody is logged in"):
            verb(as_caller(registry, None))
    with pytest.raises(NotFound):
        registry.delete_token("x")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a folder away: run as root")
def test_only_tokens_of_the_namespace_s_owner_let_in(registry: Registry) -> None:
    made = registry.create_token()
    file = registry.root / "alice/.tokens.yaml"
    os.chown(file, 12345, -1)  # as a colleague would put one there
    notes: list[str] = []
    assert registry.logged_in("alice", notes=notes.append).holder(made.token) is None
    assert "lets nobody in" in notes[0]
    os.chown(file, 0, -1)
    os.chown(registry.root / "alice", 12345, -1)  # the namespace is somebody else's
    assert registry.holder(made.token) is None
    with pytest.raises(Denied, match=r"another user|somebody else"):
        registry.create_token()


@pytest.mark.parametrize("text", ["", "[]", "format: 2\n", "format: 1\n", "format: 1\ntokens: x\n", "a: &x 1"])
def test_a_file_that_nobody_wrote_lets_nobody_in_and_keeps_no_other_out(registry: Registry, text: str) -> None:
    bob = as_caller(registry, "bob")
    bob.login("bob")
    made = bob.create_token()
    file = registry.root / "alice/.tokens.yaml"
    file.write_text(text)
    file.chmod(0o600)
    assert (registry.holder(made.token), registry.holder("lhub_x")) == ("bob", None)
    with pytest.raises(LhubError):
        registry.tokens()


def test_a_link_in_its_place_is_not_read(registry: Registry, tmp_path: Path) -> None:
    made = registry.create_token()
    file = registry.root / "alice/.tokens.yaml"
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert registry.holder(made.token) is None


def test_the_file_of_another_namespace_by_a_hard_link_lets_nobody_in(registry: Registry) -> None:
    made = registry.create_token()
    as_caller(registry, "aaa").login("aaa")
    os.link(registry.root / "alice/.tokens.yaml", registry.root / "aaa/.tokens.yaml")
    assert registry.holder(made.token) is None


def test_many_made_at_once_are_all_there(registry: Registry) -> None:
    threads = [threading.Thread(target=registry.create_token, args=(f"t{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(each.name for each in registry.tokens()) == [f"t{n}" for n in range(8)]


def test_a_kill_at_any_step_leaves_the_old_or_the_new(registry: Registry) -> None:
    class Killed(BaseException):
        """Stands for a kill: nothing catches it."""

    class Killing(Pen):
        def __init__(self, at: int) -> None:
            self.left = at

        def step(self, verb: str, path: str) -> None:
            if self.left == 0:
                raise Killed
            self.left -= 1

    registry.create_token("first")
    steps = 0
    while True:
        try:
            as_caller(registry, "alice", pen=Killing(steps)).create_token("second")
        except Killed:
            steps += 1
            assert [each.name for each in registry.tokens()] in (["first"], ["first", "second"])
            if len(registry.tokens()) == 2:
                registry.delete_token("second")
        else:
            break
    assert steps >= 4


# the commands


def test_the_commands_make_list_and_delete(shell: Shell) -> None:
    shell("login", "alice", check=True)
    made = shell("token", "create", "--name", "laptop", "--days", "7", "--json", check=True).json
    assert set(made) == {"name", "token", "expires"}
    listed = shell("token", "list", "--json", check=True).json
    assert listed == [{"name": "laptop", "created": listed[0]["created"], "expires": made["expires"]}]
    assert "laptop" in shell("token", "list", check=True).out
    assert shell("token", "delete", "laptop", check=True).out == "deleted the token laptop\n"
    assert shell("token", "list", "--json", check=True).json == []


def test_a_pipe_gets_the_token_and_nothing_else(shell: Shell) -> None:
    shell("login", "alice", check=True)
    answer = shell("token", "create", check=True)
    assert (answer.out.startswith("lhub_"), len(answer.out.split()), "token-1" in answer.err) == (True, 1, True)


@pytest.mark.parametrize("words", [["create", "--days", "x"], ["create", "--days", "0"], ["create", "--name", ""]])
def test_words_that_are_off_exit_2(shell: Shell, words: list[str]) -> None:
    shell("login", "alice", check=True)
    assert shell("token", *words).code == 2


def test_without_a_login_the_commands_exit_4(shell: Shell) -> None:
    shell("init", check=True)
    for words in (["create"], ["list"], ["delete", "x"]):
        answer = shell("token", *words, "--json")
        assert (answer.code, json.loads(answer.out)["error"]["code"]) == (4, 4)
