"""The published clients themselves, not one line of them changed, at a gateway: by `lhub run`, in subprocesses.

They need Pythons and libraries of their time, so they have environments of their own:

    LHUB_TEST_JINA=$(sh tests/environment.sh jina .venv-jina) pytest -m clients
    LHUB_TEST_JAC=$(sh tests/environment.sh jac .venv-jac) pytest -m clients
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Answer, Shell, config_yml, write_tree
from tests.gateways import arrays

JINA, JAC = os.environ.get("LHUB_TEST_JINA"), os.environ.get("LHUB_TEST_JAC")
pytestmark = pytest.mark.clients
needs_jina = pytest.mark.skipif(
    JINA is None, reason="LHUB_TEST_JINA names no Python that has jina 3: sh tests/environment.sh jina DIR makes one"
)
needs_jac = pytest.mark.skipif(
    JAC is None,
    reason="LHUB_TEST_JAC names no Python with docarray 0.33: sh tests/environment.sh jac DIR makes one",
)
QUIET = {
    "LHUB_IMAGE": "never",
    "JINA_HIDE_SURVEY": "1",
    "JINA_LOG_LEVEL": "WARNING",
    "COLUMNS": "200",
    "SHOW_HUBBLE_HINT": "NEVER",
}

GREETER = '''\
from jina import Executor, requests


class Greeter(Executor):
    """Greets."""

    @requests
    def greet(self, docs, **kwargs):
        for doc in docs:
            doc.text = f"WORD {doc.text}"
'''


@pytest.fixture
def alice(shell: Shell) -> Shell:
    shell("login", "alice", check=True)
    return shell


def run(shell: Shell, *words: str | Path, code: int = 0, **extra: str) -> Answer:
    """`lhub run` of a program of the clients' environment."""
    done = subprocess.run(
        [sys.executable, "-m", "lhub", "run", "--", *map(str, words)],
        cwd=shell.cwd, env=shell.environment(**QUIET, **extra), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return Answer(code=code, out=done.stdout, err=" ".join(done.stderr.split()))


def jina(shell: Shell, *words: str | Path, code: int = 0, program: str = "jina") -> Answer:
    """`jina ...`, or another program beside it."""
    assert JINA is not None
    return run(shell, Path(JINA).parent / program, *words, code=code)


def script(shell: Shell, text: str, *, python: str | None = None, code: int = 0) -> Any:
    """What an old script prints at last, as JSON."""
    file = write_tree(shell.cwd, {"old_script.py": "import json\n" + textwrap.dedent(text)}) / "old_script.py"
    used = python or JINA
    assert used is not None
    answer = run(shell, used, file, code=code)
    return json.loads(answer.out.splitlines()[-1]) if code == 0 else answer


def greeter(folder: Path, word: str) -> Path:
    """An Executor of one file that matters."""
    config = config_yml("Greeter", "description: a Greeter [/red] with markup")
    return write_tree(folder / "Greeter", {"executor.py": GREETER.replace("WORD", word), "config.yml": config})


# DocumentArray, docarray 0.21


@needs_jina
def test_an_old_script_pushes_pulls_lists_and_deletes(alice: Shell) -> None:
    told = script(
        alice,
        """
        import docarray
        from docarray import Document, DocumentArray
        docarray.login()
        docs = DocumentArray(Document(text=f"text {n}", embedding=[n, 1.5]) for n in range(300))
        answer = docs.push("alice/fashion_mnist", show_progress=True)
        again = DocumentArray.pull("alice/fashion_mnist", show_progress=True)
        same = again == docs
        listed = DocumentArray.cloud_list(show_table=True)
        DocumentArray.cloud_delete("alice/fashion_mnist")
        print(json.dumps([answer["name"], same, listed, DocumentArray.cloud_list()]))
        """,
    )
    assert told == ["alice/fashion_mnist", True, ["alice/fashion_mnist"], []]


@needs_jina
def test_an_update_of_the_same_length_is_seen_at_the_next_pull(alice: Shell) -> None:
    told = script(
        alice,
        """
        from docarray import Document, DocumentArray
        seen = []
        for text in ("one", "two", "one"):
            DocumentArray([Document(id="x", text=text)]).push("alice/x")
            seen += [DocumentArray.pull("alice/x")[0].text, DocumentArray.pull("alice/x")[0].text]
        DocumentArray([Document(text="other")]).push("alice/x_y")
        print(json.dumps([seen, DocumentArray.pull("alice/x_y")[0].text]))
        """,
    )
    assert told == [["one", "one", "two", "two", "one", "one"], "other"]


@needs_jina
def test_the_exit_code_of_an_old_script_is_its_own(alice: Shell) -> None:
    script(alice, "raise SystemExit(5)", code=5)
    failed = script(alice, "from docarray import DocumentArray; DocumentArray.pull('alice/nothing')", code=1)
    assert "404" in failed.err


@needs_jina
def test_a_refusal_is_a_sentence_for_who_runs_the_script(alice: Shell) -> None:
    text = "from docarray import Document, DocumentArray; DocumentArray([Document()]).push(NAME)"
    assert "alice/fashion" in script(alice, text.replace("NAME", "'fashion'"), code=1).err
    assert "bob is not your namespace" in script(alice, text.replace("NAME", "'bob/x'"), code=1).err


@needs_jina
def test_what_is_private_another_does_not_pull(alice: Shell) -> None:
    one = "from docarray import Document, DocumentArray; docs = DocumentArray([Document()])"
    pull = "from docarray import DocumentArray; print(len(DocumentArray.pull('alice/x')))"
    script(alice, f"{one}; print(bool(docs.push('alice/x', public=False)) * 1)")
    assert script(alice, pull) == 1
    alice("login", "bob", check=True)
    assert "404" in script(alice, pull, code=1).err


@needs_jina
@pytest.mark.parametrize("form", ["protobuf-None", "protobuf-zlib", "protobuf-array-gzip", "protobuf-gzip"])
def test_an_array_that_lhub_pushed_is_pulled_by_the_clients(alice: Shell, form: str) -> None:
    alice("push", arrays() / "DocumentArray" / f"{form}.bin", "alice/x", check=True)
    texts = "from docarray import DocumentArray; print(json.dumps(DocumentArray.pull('alice/x').texts))"
    assert script(alice, texts) == ["text 0", "text 1", "text 2"]


@needs_jina
def test_an_array_that_the_clients_pushed_is_loaded_by_lhub(alice: Shell) -> None:
    one = "from docarray import Document, DocumentArray; docs = DocumentArray([Document(text='a')])"
    script(alice, f"{one}; print(json.dumps(docs.push('alice/x')))")
    assert "text: a" in alice("show", "alice/x", check=True).out
    loaded = script(alice, "import lhub; print(json.dumps(lhub.load('alice/x').texts))")
    assert loaded == ["a"]


# jina hub


@needs_jina
def test_jina_hub_does_what_it_did(alice: Shell) -> None:
    jina(alice, "hub", "new", "--name", "Greeter", "--path", "Greeter", "--advance-configuration",
         "--dockerfile", "cpu", "--description", "greets", "--keywords", "a,b", "--url", "https://x.y")  # fmt: skip
    pushed = jina(alice, "hub", "push", "Greeter", "-t", "v1", "-t", "latest")
    assert "jinaai://alice/Greeter:v1" in pushed.out
    assert "Found task_id" in jina(alice, "hub", "status", "Greeter").out
    assert "createExecutor" in jina(alice, "hub", "status", "Greeter", "--replay", "--verbose").out
    jina(alice, "hub", "pull", "jinaai://alice/Greeter:v1", "--install-requirements")
    listed = jina(alice, "hub", "list").out
    assert ("Greeter" in listed, "v1" in listed) == (True, True)
    assert "alice/Greeter" in alice("list", check=True).out


@needs_jina
def test_the_other_program_does_the_same(alice: Shell) -> None:
    greeter(alice.cwd, "hello")
    jina(alice, "push", "Greeter", "--private", program="jina-hub")
    assert alice("visibility", "alice/Greeter", check=True).out.strip() == "private"


@needs_jina
def test_markup_in_an_executor_kills_no_client(alice: Shell) -> None:
    folder = greeter(alice.cwd, "[/red]")
    write_tree(folder, {"requirements.txt": "# [/nope] $BARE\n"})
    for words in (["hub", "push", "Greeter"], ["hub", "push", "Greeter", "--verbose"]):
        assert "Published" in jina(alice, *words).out
    for words in ([], ["--replay"], ["--replay", "--verbose"]):
        assert "Published" in jina(alice, "hub", "status", "Greeter", *words).out


@needs_jina
def test_what_is_wrong_with_an_executor_is_told(alice: Shell) -> None:
    write_tree(greeter(alice.cwd, "hello"), {"executor.py": "x = (\n"})
    failed = jina(alice, "hub", "push", "Greeter", code=1)
    assert "executor.py" in failed.out + failed.err
    assert alice("list", "--json", check=True).json == []


@needs_jina
def test_a_protected_tag_is_refused_and_named(alice: Shell) -> None:
    greeter(alice.cwd, "hello")
    jina(alice, "hub", "push", "Greeter", "--protected-tag", "v1")
    greeter(alice.cwd, "goodbye")
    failed = jina(alice, "hub", "push", "Greeter", "-t", "v1", code=1)
    assert "protected: v1" in " ".join((failed.out + failed.err).split())


@needs_jina
def test_an_update_is_seen_at_the_next_pull_and_not_by_force_only(alice: Shell) -> None:
    word = """
        from hubble.executor.hubio import HubIO
        from hubble.executor.parsers import set_hub_pull_parser
        from pathlib import Path
        args = set_hub_pull_parser().parse_args(["jinaai://alice/Greeter"])
        print(json.dumps(Path(HubIO(args).pull()).with_name("executor.py").read_text().count("two")))
    """
    for number, text in enumerate(("one", "two")):
        greeter(alice.cwd, text)
        jina(alice, "hub", "push", "Greeter")
        assert script(alice, word) == number


@needs_jina
def test_one_home_is_no_way_to_another_s_private_executor(alice: Shell) -> None:
    greeter(alice.cwd, "hello")
    jina(alice, "hub", "push", "Greeter", "--private")
    jina(alice, "hub", "pull", "jinaai://alice/Greeter")
    alice("login", "bob", check=True)
    failed = jina(alice, "hub", "pull", "jinaai://alice/Greeter", code=1)
    assert "alice/Greeter is not here" in " ".join((failed.out + failed.err).split())
    assert "Greeter" not in jina(alice, "hub", "list").out


@needs_jina
def test_variables_are_asked_for_and_their_values_kept_nowhere(alice: Shell) -> None:
    write_tree(greeter(alice.cwd, "hello"), {"requirements.txt": "pip>=${PIP_VERSION}\n"})
    assert "PIP_VERSION" in jina(alice, "hub", "push", "Greeter", code=1).err
    jina(alice, "hub", "push", "Greeter", "--build-env", "PIP_VERSION=1.2.3")
    assert "PIP_VERSION" in jina(alice, "hub", "pull", "jinaai://alice/Greeter", code=1).out
    shown = alice("show", "alice/Greeter", "--json", check=True).json
    assert shown["manifest"]["about"]["build_env"] == ["PIP_VERSION"]


@needs_jina
def test_an_executor_of_old_is_pulled_and_updated_by_its_secret(alice: Shell) -> None:
    alice("logout", check=True)
    alice("push", greeter(alice.cwd, "hello"), "--secret", "sanity@Check", "--private", check=True)
    alice("login", "alice", check=True)
    jina(alice, "hub", "pull", "jinahub://Greeter:sanity@Check/latest")
    greeter(alice.cwd, "goodbye")
    updated = jina(alice, "hub", "push", "Greeter", "--force", "Greeter", "--secret", "sanity@Check", "--private")
    assert "jinahub://Greeter:sanity@Check" in updated.out
    assert alice("list", "--json", check=True).json == []


# served


@needs_jina
def test_a_flow_serves_what_was_pushed_and_answers(alice: Shell) -> None:
    for word, tag in (("hello", "v1"), ("goodbye", "v2")):
        greeter(alice.cwd, word)
        jina(alice, "hub", "push", "Greeter", "-t", tag)
    told = script(
        alice,
        """
        from docarray import Document, DocumentArray
        from jina import Executor, Flow
        seen = []
        for tag in ("v1", "v2"):
            with Flow().add(uses=f"jinaai://alice/Greeter:{tag}") as served:
                seen += served.post("/", DocumentArray([Document(text="world")])).texts
        executor = Executor.from_hub("jinaai://alice/Greeter:v1")
        docs = DocumentArray([Document(text="you")])
        executor.greet(docs)
        print(json.dumps([seen, docs.texts]))
        """,
    )
    assert told == [["hello world", "goodbye world"], ["hello you"]]


# jina auth


@needs_jina
def test_jina_auth_makes_lists_and_deletes_tokens(alice: Shell) -> None:
    made = jina(alice, "auth", "token", "create", "laptop", "-e", "3", "--format", "raw").out.split()[-1]
    assert "laptop" in jina(alice, "auth", "token", "list").out
    assert [each["name"] for each in alice("token", "list", "--json", check=True).json] == ["laptop"]
    assert made.startswith("lhub_")
    jina(alice, "auth", "token", "delete", "laptop")
    assert alice("token", "list", "--json", check=True).json == []


@needs_jina
def test_jina_auth_logs_in_and_out(alice: Shell) -> None:
    assert "already logged in as alice" in jina(alice, "auth", "login").out
    assert "Successfully logged in" in jina(alice, "auth", "login", "-f").out
    assert "successfully logged out" in jina(alice, "auth", "logout").out
    assert alice("whoami").code == 4
    assert "not logged in locally" in jina(alice, "auth", "logout").out


@needs_jina
def test_without_a_login_the_clients_say_so(shell: Shell) -> None:
    shell("init", check=True)
    failed = script(shell, "from docarray import DocumentArray; DocumentArray.cloud_list()", code=1)
    assert "jina auth login" in failed.err


# hubble.Client


@needs_jina
def test_artifacts_are_uploaded_told_changed_and_deleted(alice: Shell) -> None:
    write_tree(alice.cwd, {"model": b"\0\1 some bytes"})
    told = script(
        alice,
        """
        import io
        from hubble import Client
        from hubble.excepts import IdentifierNamespaceOccupiedError, RequestedEntityNotFoundError
        client = Client(jsonify=True)
        one = client.upload_artifact(f="model", name="one", show_progress=True)["data"]
        two = client.upload_artifact(f=io.BytesIO(b"other"), metadata={"foo": "bar"}, is_public=True)["data"]
        changed = client.update_artifact(id=one["_id"], is_public=True, metadata={"a": 1}, name="one")["data"]
        taken = gone = False
        try:
            client.update_artifact(id=two["_id"], name="one")
        except IdentifierNamespaceOccupiedError:
            taken = True
        found = client.list_artifacts(filter={"metaData.foo": "bar"}, sort={"type": -1})
        out = io.BytesIO()
        client.download_artifact(one["_id"], f=out, show_progress=True)
        client.download_artifact(two["_id"], f="copy")
        client.delete_artifact(name="one")
        client.delete_multiple_artifacts(ids=[two["_id"]], names=["never"])
        try:
            client.get_artifact_info(id=two["_id"])
        except RequestedEntityNotFoundError:
            gone = True
        print(json.dumps([
            one["visibility"], one.get("metaData"), changed["visibility"], changed["metaData"], taken, gone,
            [each["_id"] for each in found["data"]] == [two["_id"]], out.getvalue().decode(), open("copy").read(),
            client.list_artifacts()["meta"]["total"], client.username, client.get_raw_session()["code"],
            client.list_internal_docker_registries()["data"],
        ]))
        """,
    )
    expected = ["private", None, "public", {"a": 1}, True, True, True, "\0\1 some bytes", "other", 0, "alice", 200, []]
    assert told == expected


# DocList, docarray 0.33


@needs_jac
def test_jac_pushes_pulls_lists_and_deletes(alice: Shell) -> None:
    told = script(
        alice,
        """
        from docarray import BaseDoc, DocList
        from docarray.typing import NdArray

        class Item(BaseDoc):
            text: str
            embedding: NdArray[3]

        docs = DocList[Item](Item(text=f"text {n}", embedding=[n, 1, 2]) for n in range(300))
        docs.push("jac://alice/items", show_progress=True)
        again = DocList[Item].pull("jac://alice/items", show_progress=True)
        streamed = [doc.text for doc in DocList[Item].pull_stream("jac://alice/items")]
        DocList[Item].push_stream(iter(docs[:2]), "jac://alice/few")
        from docarray.store import JACDocStore
        listed = JACDocStore.list(show_table=True)
        deleted = [JACDocStore.delete("alice/items"), JACDocStore.delete("alice/items")]
        print(json.dumps([again.text == docs.text == streamed, again[7].embedding.tolist(), listed, deleted]))
        """,
        python=JAC,
    )
    assert told == [True, [7.0, 1.0, 2.0], ["alice/items", "alice/few"], [True, False]]


@needs_jac
def test_an_update_is_seen_at_the_next_pull_of_jac(alice: Shell) -> None:
    told = script(
        alice,
        """
        from docarray import BaseDoc, DocList

        class Item(BaseDoc):
            text: str

        seen = []
        for text in ("one", "two"):
            DocList[Item]([Item(id="x", text=text)]).push("jac://alice/x")
            seen += [DocList[Item].pull("jac://alice/x")[0].text, DocList[Item].pull("jac://alice/x")[0].text]
        print(json.dumps(seen))
        """,
        python=JAC,
    )
    assert told == ["one", "one", "two", "two"]


@needs_jac
@pytest.mark.parametrize("form", ["protobuf-None", "protobuf-zlib", "protobuf-array-None"])
def test_an_array_that_lhub_pushed_is_pulled_by_jac(alice: Shell, form: str) -> None:
    alice("push", arrays() / "DocList" / f"{form}.bin", "alice/x", check=True)
    text = """
        from docarray import DocList
        from docarray.documents import TextDoc
        print(json.dumps([doc.text for doc in DocList[TextDoc].pull("jac://alice/x")]))
    """
    assert script(alice, text, python=JAC) == ["text 0", "text 1", "text 2"]
