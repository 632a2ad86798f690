"""Leaks: what `--build-env` gave stays out of every image, and one that it got into is never published."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lhub.errors import BuildFailed, NotFound, UsageError
from lhub.images.dockerfile import generated, hidden_images, names_arguments, secret_file, with_secrets
from lhub.images.leaks import SHORTEST, Secrets
from lhub.images.oci import Layout
from lhub.orders import ImageFailed
from lhub.registry import Registry
from tests.basing import layout_files, layout_of, rootfs, see_whole, tarred, wheel
from tests.conftest import Shell, write_tree
from tests.test_build_env import command_lines, search

VALUE = "s3cr3t+V@lue/of.mine"


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The only place with wheels, one that takes any login: what stands before its host."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    wheel(tmp_path / "wheels", "one")
    handler = partial(Quiet, directory=str(tmp_path / "wheels"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    """Says nothing of who asked for what."""

    def log_message(self, *words: object) -> None:
        """As above."""


@pytest.fixture
def based(registry: Registry, tmp_path: Path, hello: Path, index: str) -> Registry:
    """A registry with a base, and an Executor that asks for a variable."""
    (tmp_path / "base.tar").write_bytes(tarred(rootfs()))
    registry.import_base("tiny", tmp_path / "base.tar")
    (hello / "requirements.txt").write_text(f"--find-links http://user:${{TOKEN}}@{index}/\none\n")
    return registry


def forms(value: str) -> Iterator[bytes]:
    """A value as programs write it."""
    yield value.encode()
    yield quote(value, safe="").encode()
    yield json.dumps(value)[1:-1].encode()
    for before in (b"", b"u", b"us", b"user:"):
        yield base64.b64encode(before + value.encode() + b"..")


@given(st.text(st.characters(codec="utf-8"), min_size=SHORTEST, max_size=40), st.integers(0, 60), st.integers(1, 9))
def test_a_value_is_found_in_every_form_wherever_it_is_cut(value: str, at: int, size: int) -> None:
    secrets = Secrets({"TOKEN": value})
    for form in forms(value):
        text = bytes(at) + form + bytes(20)
        assert secrets.found_in([text[start : start + size] for start in range(0, len(text), size)]) == "TOKEN"


@pytest.mark.parametrize("value", ["s3cr3t-value\n", "first-line-of-it\nsecond-line-of-it", "  s3cr3t-value "])
def test_a_value_is_found_without_what_a_file_or_shell_takes_away(value: str) -> None:
    for part in (value.strip(), value.split("\n", maxsplit=1)[0].strip(), value.strip().encode().hex()):
        assert Secrets({"TOKEN": value}).found_in([b"..." + part.encode() + b"..."]) == "TOKEN"


def test_a_value_beside_a_name_that_is_no_text_is_found(tmp_path: Path) -> None:
    layer = tarred({"caf\udce9": b"x", "kept": VALUE.encode()})
    layout = Layout(str(write_tree(tmp_path, layout_files([("amd64", [layer])]))))
    (image,) = layout.images()
    with pytest.raises(BuildFailed, match="the value of TOKEN stands in layer 1, /kept"):
        Secrets({"TOKEN": VALUE}).see(image, layout, breathe=lambda: None)


@pytest.mark.parametrize(
    "line",
    [
        "FROM $B",
        "FROM ${A}.local/bob/x",
        "ARG B=lhub.local/bob/x",
        "COPY --from=lhub.local/bob/x / /x",
        "COPY --from=$B / /x",
        "RUN --mount=from=$B,target=/x true",
        "RUN --mount=type=bind,from=lhub.local/bob/x,target=/x true",
    ],
)
def test_an_image_that_is_named_in_a_hidden_way_is_refused(line: str) -> None:
    assert hidden_images(f"FROM scratch\n{line}\n") is not None


@pytest.mark.parametrize(
    "line",
    ["FROM jinaai/jina:${V}", "FROM lhub.local/alice/x:v1 AS one", "COPY --from=one /a /b", "# lhub.local/bob/x"],
)
def test_an_image_that_is_named_openly_is_not(line: str) -> None:
    assert hidden_images(f"ARG V=1\n{line}\n") is None


def test_of_no_value_nothing_is_found_and_nothing_shows_one() -> None:
    assert Secrets({}).found_in([b"anything"]) is None
    assert Secrets({"A": VALUE}).found_in([b"nothing of it"]) is None
    assert VALUE not in repr(Secrets({"A": VALUE}))


def test_a_value_reaches_pip_and_nothing_else(based: Registry, hello: Path) -> None:
    value = "s3cr3t-of-mine"
    pushed = based.push(hello, builder="python", image="always", build_env={"TOKEN": value})
    see_whole(layout_of(based, "alice/Hello"))
    assert search(based.root, value) == []
    said = str(list(based.build(task_id=pushed.task_id).follow(replay=True)))
    assert ("***" in said, value in said) == (True, False)


def test_what_a_variable_is_called_tells_no_program_what_to_do(based: Registry, hello: Path, tmp_path: Path) -> None:
    """Each of these would break pip, its Python or the loader, or let pip write a file; here they are words."""
    mine = tmp_path / "written"
    names = ("LD_PRELOAD", "PYTHONHOME", "PATH", "HOME", "PIP_LOG", "PIP_TARGET", "PIP_REPORT", "XDG_CONFIG_HOME")
    given = dict.fromkeys(names, str(mine)) | {"TOKEN": "s3cr3t-of-mine"}
    pushed = based.push(hello, builder="python", image="always", build_env=given)
    assert (pushed.image is not None, mine.exists()) == (True, False)


@pytest.mark.parametrize("where", ["code", "a module of a wheel", "a name of a file", "an address that pip keeps"])
def test_a_value_in_what_would_be_published_fails_the_image(
    based: Registry, hello: Path, tmp_path: Path, index: str, where: str
) -> None:
    value = "s3cr3t-of-mine"
    if where == "code":
        (hello / "notes.txt").write_text(f"it is {base64.b64encode(value.encode()).decode()}")
    elif where == "a module of a wheel":
        wheel(tmp_path / "wheels", "one", files={"kept.py": f"token = '{value}'"})
    elif where == "a name of a file":
        wheel(tmp_path / "wheels", "one", files={f"{value}.py": ""})
    else:
        (hello / "requirements.txt").write_text(f"one @ http://{index}/one-1.0-py3-none-any.whl?tok=${{TOKEN}}\n")
    with pytest.raises(ImageFailed, match="the value of TOKEN stands in") as told:
        based.push(hello, builder="python", image="always", build_env={"TOKEN": value})
    assert value not in f"{told.value} {told.value.hint}"
    with pytest.raises(NotFound, match="has no container image"):
        based.image("alice/Hello")
    if where != "code":  # whose source was published before, as any
        assert search(based.root, value) == []


def test_too_short_a_value_cannot_be_searched_for_and_makes_no_image(based: Registry, hello: Path) -> None:
    with pytest.raises(UsageError, match="TOKEN has 2 bytes"):
        based.push(hello, builder="python", image="always", build_env={"TOKEN": "ab"})
    assert [line.kind for line in based.list()] == ["base"]
    assert based.push(hello, image="never", build_env={"TOKEN": "ab"}).image is None


def test_no_list_of_processes_shows_a_value(based: Registry, hello: Path, shell: Shell) -> None:
    value = "s3cr3t-in-nobodys-list"
    shell("login", "alice", "--root", str(based.root), check=True)
    words = (
        "push",
        hello,
        "--builder",
        "python",
        "--detach",
        "--build-env",
        f"TOKEN={value}",
        "--root",
        str(based.root),
    )
    answer = shell(*words, check=True)
    task = answer.out.partition("TASK_ID: ")[2].split()[0]
    watched, seen = based.build(task_id=task), 0
    while not watched.look().ended:
        seen += 1
        assert command_lines(value) == []
        time.sleep(0.01)
    assert (watched.look().state, seen > 3) == ("succeeded", True)
    assert search(based.root, value) == []


# Dockerfiles


def test_each_run_line_reads_the_variables_from_a_mount() -> None:
    text = "FROM x\n# RUN no\nRUN pip install \\\n  # why\n  one\nrun --mount=type=cache,target=/c echo hi\nCOPY . /a\n"
    lines = with_secrets(text).splitlines()
    mount = "--mount=type=secret,id=lhub_build_env,target=/run/secrets/lhub_build_env"
    read = "set -a && . /run/secrets/lhub_build_env && set +a && "
    assert lines == [
        "FROM x",
        "# RUN no",
        f"RUN {mount} {read}pip install \\",
        "  # why",
        "  one",
        f"RUN {mount} --mount=type=cache,target=/c {read}echo hi",
        "COPY . /a",
    ]


def test_run_lines_that_no_shell_reads_are_refused_all_at_once() -> None:
    with pytest.raises(UsageError, match="2 faults") as told:
        with_secrets('FROM x\nRUN ["pip", "install"]\nRUN <<EOF\npip install one\nEOF\nRUN true\n')
    assert "line 2: RUN [...]" in str(told.value)
    assert "line 3: RUN <<EOF" in str(told.value)


def test_a_here_document_of_a_copy_is_no_instruction() -> None:
    text = "FROM x\nCOPY <<EOF /a\nRUN no\nEOF\nRUN true\n"
    assert with_secrets(text).count("--mount") == 1


def test_an_arg_or_env_of_that_name_is_found() -> None:
    text = "FROM x\nARG TOKEN\nENV OTHER=$TOKEN\narg  mine=1\nRUN ARG NOT\n"
    assert names_arguments(text, ["TOKEN", "OTHER", "NOT", "NONE"]) == ["TOKEN", "OTHER"]


@pytest.mark.parametrize(
    "value", [VALUE, "two\nlines", 'it\'s "quoted" `id` $HOME \\\\ !', " spaces ", "-n", "é\udcff"]
)
def test_a_shell_reads_the_very_value(tmp_path: Path, value: str) -> None:
    (tmp_path / "secret").write_bytes(secret_file({"TOKEN": value, "OTHER": "x"}))
    script = 'set -a && . ./secret && set +a && exec "$0" -c "$1"'
    code = "import os, sys; sys.stdout.buffer.write(os.environb[b'TOKEN'])"
    done = subprocess.run(
        ["/bin/sh", "-c", script, sys.executable, code], cwd=tmp_path, capture_output=True, check=True
    )
    assert done.stdout == value.encode(errors="surrogateescape")


def test_the_generated_dockerfile_is_the_hubs() -> None:
    text = generated("jinaai/jina:latest", ["requirements.txt"], "one @ git+https://host/one")
    assert [line.split()[0] for line in text.splitlines()] == [
        "#",
        "FROM",
        "COPY",
        "WORKDIR",
        "RUN",
        "RUN",
        "ENTRYPOINT",
    ]
    assert "RUN" not in generated("x", [], "")
    assert "ARG" not in text
