"""Kinds: what makes a folder an Executor, and what its manifest then tells of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lhub.errors import UsageError
from lhub.folder import scan
from lhub.kinds import Recognised, recognise
from tests.conftest import write_tree


def kind_of(folder: Path, **files: str) -> Recognised:
    return recognise(scan(str(write_tree(folder, {name.replace("__", "."): text for name, text in files.items()}))))


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"executor__py": ""}, "executor"),
        ({"config__yml": "jtype: X\n"}, "executor"),
        ({"config__yml": "metas:\n  name: X\n"}, "executor"),
        ({"manifest__yml": "name: X\n", "x__py": ""}, "executor"),
        ({"manifest__yml": "name: X\n"}, "files"),
        ({"config__yml": "learning_rate: 1\n"}, "files"),
        ({"config__yml": "- a list\n"}, "files"),
        ({"weights__bin": ""}, "files"),
    ],
    ids=str,
)
def test_what_makes_a_folder_an_executor(tmp_path: Path, files: dict[str, str], kind: str) -> None:
    assert kind_of(tmp_path, **files).kind == kind


@pytest.mark.parametrize(
    ("config", "manifest", "name"),
    [
        ("jtype: J\nmetas:\n  name: A\n", "name: B\n", "A"),
        ("jtype: J\n", "name: B\n", "B"),
        ("jtype: J\nmetas:\n  name: ''\n", "name: B\n", "B"),
        ("jtype: J\n", "alias: B\n", None),
    ],
)
def test_the_name_is_that_of_config_then_that_of_manifest(
    tmp_path: Path, config: str, manifest: str, name: str | None
) -> None:
    assert kind_of(tmp_path, config__yml=config, manifest__yml=manifest, executor__py="").name == name


def test_a_manifest_tells_what_the_files_give(tmp_path: Path) -> None:
    config = "jtype: J\nmetas:\n  name: A\n  description: does\n  keywords: [x, y]\n"
    about: dict[str, Any] = dict(kind_of(tmp_path, config__yml=config, manifest__yml="url: https://x\n").about)
    assert about == {"jtype": "J", "name": "A", "description": "does", "url": "https://x", "keywords": ["x", "y"]}


def test_tags_and_aliases_of_a_user_s_yaml_are_never_constructed(tmp_path: Path) -> None:
    config = "jtype: !!python/object/apply:os.abort J\nmetas: &m\n  name: A\n  self: *m\n"
    assert kind_of(tmp_path, config__yml=config, executor__py="").about == {"jtype": "J", "name": "A"}


@pytest.mark.parametrize("config", ["jtype: [\n", "a: b: c\n", "{" * 100_000, "[" * 100_000], ids=lambda text: text[:8])
def test_an_executor_s_file_that_does_not_parse_is_a_sentence(tmp_path: Path, config: str) -> None:
    with pytest.raises(UsageError, match=r"config\.yml") as told:
        kind_of(tmp_path, config__yml=config, executor__py="")
    assert told.value.hint


def test_of_another_folder_such_a_file_is_its_own_affair(tmp_path: Path) -> None:
    assert kind_of(tmp_path, config__yml="a: b: c\n").kind == "files"
