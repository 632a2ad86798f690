"""`lhub run` and `lhub serve`: a gateway beside a command, or until somebody ends it; nobody's but who typed it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lhub.gateway.command import HOOK, surroundings
from lhub.registry import Registry
from tests.conftest import Answer, Shell, config_yml, executor_py, write_tree
from tests.gateways import Client, arrays

TELL = "import json, os; print(json.dumps(dict(os.environ)))"
ARRAY = (arrays() / "DocumentArray" / "protobuf-gzip.bin").read_bytes()
CALLER = """
import sys
from pathlib import Path
sys.path.insert(0, {project!r})
import os
from tests.gateways import Client
client = Client(base=os.environ["JINA_HUBBLE_REGISTRY"], token=os.environ["JINA_AUTH_TOKEN"] or None)
"""


@pytest.fixture
def alice(shell: Shell) -> Shell:
    shell("login", "alice", check=True)
    return shell


def python(shell: Shell, code: str, *words: str, **extra: str) -> Answer:
    """`lhub run` of a Python program."""
    return shell("run", "--", sys.executable, "-c", textwrap.dedent(code), *words, **extra)


def calling(shell: Shell, code: str, **extra: str) -> Answer:
    """`lhub run` of a program that calls the gateway as `client`."""
    project = str(Path(__file__).parent.parent)
    return python(shell, CALLER.format(project=project) + textwrap.dedent(code), **extra)


def environment(shell: Shell, **extra: str) -> dict[str, str]:
    answer = python(shell, TELL, **extra)
    assert answer.code == 0, answer.err
    told: dict[str, str] = answer.json
    return told


# the command


@pytest.mark.parametrize("code", [0, 7])
def test_the_exit_code_is_the_command_s_own(alice: Shell, code: int) -> None:
    assert python(alice, f"raise SystemExit({code})").code == code


def test_a_command_that_a_signal_ends_is_told_as_shells_do(alice: Shell) -> None:
    assert python(alice, "import os; os.kill(os.getpid(), 9)").code == 137


@pytest.mark.slow
def test_words_go_to_the_command_as_they_are(alice: Shell) -> None:
    words = ["--help", "-x", "a b", "--root", "", "--", "*", "--build-env", "TOKEN=x", "--build-env=A=b", "--json"]
    for before in (["run", "--"], ["run"]):
        answer = alice(*before, sys.executable, "-c", "import sys, json; print(json.dumps(sys.argv[1:]))", *words)
        assert answer.json == words
        assert (
            alice("--root", str(alice.cwd / "elsewhere"), *before, "echo", "--build-env=A=b").out == "--build-env=A=b\n"
        )


def test_a_word_for_the_command_is_none_for_our_own_sentences(alice: Shell) -> None:
    answer = alice("run", "no-such-program", "--json")
    assert (answer.code, answer.out) == (127, "")


def test_what_the_command_reads_and_writes_is_its_own(alice: Shell) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lhub", "run", "--", "sh", "-c", "cat; echo aside >&2"],
        input="hello", capture_output=True, text=True, cwd=alice.cwd, env=alice.environment(), check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr.splitlines()[-1], done.returncode) == ("hello", "aside", 0)


@pytest.mark.parametrize(("command", "code"), [("no-such-program", 127), ("./data", 126)])
def test_a_command_that_cannot_be_started_is_told(alice: Shell, command: str, code: int) -> None:
    (alice.cwd / "data").write_text("x")
    answer = alice("run", command)
    assert (answer.code, command in answer.err, len(answer.err.splitlines())) == (code, True, 2)


def test_without_a_command_nothing_is_run(alice: Shell) -> None:
    assert alice("run").code == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_the_command_and_its_answer_counts(alice: Shell, number: signal.Signals) -> None:
    code = f"""
        import signal, sys, time
        signal.signal({int(number)}, lambda *_: sys.exit(42))
        print("ready", flush=True)
        time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-m", "lhub", "run", "--", sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE, cwd=alice.cwd, env=alice.environment(), text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(30) == 42


def test_what_is_ignored_stays_so_for_the_command(alice: Shell) -> None:
    code = "import signal; print(signal.getsignal(signal.SIGHUP).name, signal.getsignal(signal.SIGTERM).name)"
    done = subprocess.run(
        ["sh", "-c", f"trap '' HUP; exec {sys.executable} -m lhub run {sys.executable} -c '{code}'"],
        capture_output=True, text=True, cwd=alice.cwd, env=alice.environment(), check=False,
    )  # fmt: skip
    assert done.stdout == "SIG_IGN SIG_DFL\n"


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/usr/bin/setpriv").exists(), reason="root writes everywhere")
def test_a_home_that_takes_no_writes_serves_as_well(alice: Shell) -> None:
    alice("init", "elsewhere", check=True)
    own = alice.home / ".lhub"
    (own / "index").touch()
    own.chmod(0o500)
    words = [sys.executable, "-m", "lhub", "--root", "elsewhere", "run", sys.executable, "-c", TELL]
    plain = ["setpriv", "--inh-caps=-dac_override", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*plain, *words], capture_output=True, text=True, cwd=alice.cwd, env=alice.environment(), check=False
    )
    own.chmod(0o700)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["LHUB_JINA_CACHE"].startswith(told["JINA_HUB_ROOT"])


def test_an_interrupt_is_the_command_s_to_answer(alice: Shell) -> None:
    code = """
        import sys, time
        try:
            print("ready", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            sys.exit(43)
    """
    with subprocess.Popen(
        [sys.executable, "-m", "lhub", "run", "--", sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE, cwd=alice.cwd, env=alice.environment(), text=True, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        assert process.wait(30) == 43


# what it finds


def test_the_clients_find_the_gateway_and_who_they_are(alice: Shell) -> None:
    told = environment(alice, JINA_AUTH_TOKEN="of the old cloud", JINA_HUBBLE_REGISTRY="https://api.hubble.jina.ai")
    assert told["JINA_HUBBLE_REGISTRY"].startswith("http://127.0.0.1:")
    assert not told["JINA_HUBBLE_REGISTRY"].endswith("/")
    assert told["JINA_AUTH_TOKEN"].startswith("lhub_")
    assert told["HOME"] == str(alice.home)


def test_it_acts_as_who_typed_it(alice: Shell) -> None:
    assert calling(alice, "print(client.call('user.identity.whoami').data['name'])").out == "alice\n"


def test_without_a_login_it_acts_as_nobody_whatever_the_old_cloud_left(shell: Shell) -> None:
    write_tree(shell.home, {".jina/config.json": '{"auth_token": "of the old cloud"}'})
    told = environment(shell, JINA_AUTH_TOKEN="of the old cloud")
    assert (told["JINA_AUTH_TOKEN"], os.path.exists(f"{told['JINA_HUB_ROOT']}/config.json")) == ("", False)
    assert calling(shell, "print(client.call('user.identity.whoami').refusal)").out == "(401, 40103)\n"


def test_a_logout_of_the_clients_is_a_logout(alice: Shell) -> None:
    calling(alice, "print(client.call('user.session.dismiss').data)")
    assert alice("whoami").code == 4


def test_the_address_and_the_token_end_with_the_command(alice: Shell) -> None:
    told = environment(alice)
    with pytest.raises(OSError, match="refused"):
        Client(base=told["JINA_HUBBLE_REGISTRY"], token=told["JINA_AUTH_TOKEN"]).call("user.identity.whoami")
    assert not os.path.exists(told["JINA_HUB_ROOT"])
    assert told["JINA_AUTH_TOKEN"] not in str(Registry(alice.home / ".lhub/registry", namespace="alice").tokens())


def test_the_port_is_nobody_else_s_while_a_child_of_the_command_lives(alice: Shell) -> None:
    code = "(sleep 20 >/dev/null 2>&1 & echo $! $JINA_HUBBLE_REGISTRY)"
    child, base = alice("run", "sh", "-c", code).out.split()
    port = int(base.split(":")[2].split("/")[0])
    try:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", port))
            other.listen()
        with pytest.raises(OSError, match="refused"):
            Client(base=base).call("user.identity.whoami")
    finally:
        os.kill(int(child), signal.SIGKILL)


def test_a_proxy_is_not_asked_for_it() -> None:
    for name in ("NO_PROXY", "no_proxy"):
        told = surroundings({name: "example.com"}, base="b", token="t", home="h", jina="j", docarray="d")
        assert told[name] == "example.com,127.0.0.1,localhost"


@pytest.mark.slow
def test_another_root_is_served_as_elsewhere(alice: Shell) -> None:
    code = (
        f"client.upload('alice/x', open({str(arrays() / 'DocumentArray' / 'protobuf-gzip.bin')!r}, 'rb').read()).data"
    )
    project = str(Path(__file__).parent.parent)
    alice("init", "elsewhere", check=True)
    script = write_tree(alice.cwd, {"old.py": CALLER.format(project=project) + code}) / "old.py"
    alice("--root", "elsewhere", "run", sys.executable, script, check=True)
    assert [each["name"] for each in alice("list", "--root", "elsewhere", "--json", check=True).json] == ["alice/x"]


@pytest.mark.slow
def test_what_it_pushes_lhub_lists_and_the_other_way_round(alice: Shell, tmp_path: Path) -> None:
    files = {"config.yml": config_yml("Hello"), "executor.py": executor_py("Hello")}
    alice("push", write_tree(tmp_path / "Hello", dict(files)), "--private", check=True)
    assert calling(alice, "print(sorted(client.pull('alice/Hello')))").out == "['config.yml', 'executor.py']\n"
    calling(alice, f"client.push('Other', {dict(files)!r}).lines")
    assert [each["name"] for each in alice("list", "--json", check=True).json] == ["alice/Hello", "alice/Other"]


# the clients' caches

HELPER = """
import os
__cache_path__ = f'{os.path.expanduser("~")}/.cache/NAME'
from os.path import join
def where():
    return join(__cache_path__, "x")
"""
CLIENTS: dict[str, str | bytes] = {
    "hubble/__init__.py": "",
    "hubble/executor/__init__.py": "",
    "hubble/executor/helper.py": HELPER.replace("NAME", "jina"),
    "docarray/__init__.py": "from docarray.helper import __cache_path__",
    "docarray/helper.py": HELPER.replace("NAME", "docarray"),
    "jina/constants.py": HELPER.replace("NAME", "jina"),
}
WHERE = """
import hubble.executor.helper, docarray, docarray.helper, jina.constants
print(hubble.executor.helper.where(), docarray.__cache_path__, docarray.helper.where(), jina.constants.where())
"""


def places(shell: Shell, tmp_path: Path, **extra: str) -> list[str]:
    """Where stand-ins for the clients would keep what they pull."""
    folder = write_tree(tmp_path / "clients", CLIENTS)
    answer = python(shell, WHERE, PYTHONPATH=str(folder), **extra)
    assert answer.code == 0, answer.err
    return answer.out.split()


@pytest.mark.slow
def test_each_caller_has_a_cache_of_his_own_and_his_home_stays_his(alice: Shell, tmp_path: Path) -> None:
    first, again = places(alice, tmp_path), places(alice, tmp_path)
    alice("login", "bob", check=True)
    bob = places(alice, tmp_path)
    home = f"{alice.home}/.cache/"
    assert not any(place.startswith(home) for place in (*first[:3], *bob[:3]))
    assert first[0] == again[0] != bob[0]  # what jina pulled is there at the next run, for alice
    assert first[1] != again[1]  # what docarray keeps goes with each run
    assert first[3] == f"{home}jina/x"  # the workspaces of Executors are nobody's cache
    assert places(alice, tmp_path, LHUB_ROOT=str(tmp_path / "other"))[0] != bob[0]


def test_the_file_in_which_jina_would_remember_cannot_be_made(alice: Shell, tmp_path: Path) -> None:
    folder = os.path.dirname(places(alice, tmp_path)[0])
    code = """
        import dbm, importlib, shelve, sys
        for name in ("dbm.gnu", "dbm.ndbm", "dbm.dumb", "dbm.sqlite3", None):
            try:
                dbm._defaultmod = importlib.import_module(name) if name else None
            except ImportError:
                continue
            try:
                shelve.open(sys.argv[1], protocol=4, writeback=True)
            except Exception as error:
                print(name, type(error).__name__)
            else:
                sys.exit(f"{name} remembers")
    """
    done = python(alice, code, f"{folder}/disk_cache.db")
    assert (done.code, done.out.count("\n") >= 2) == (0, True), done.err
    assert not os.path.exists(f"{folder}/disk_cache.db")


def test_a_sitecustomize_that_stood_there_is_loaded_as_well(alice: Shell, tmp_path: Path) -> None:
    own = write_tree(tmp_path / "own", {"sitecustomize.py": "import os; os.environ['MINE'] = __file__"})
    assert environment(alice, PYTHONPATH=str(own))["MINE"] == str(own / "sitecustomize.py")


@pytest.mark.slow
def test_two_hooks_in_a_row_load_what_stands_behind_both(alice: Shell, tmp_path: Path) -> None:
    own = write_tree(tmp_path / "own", {"sitecustomize.py": "import os; os.environ['MINE'] = __file__"})
    other = write_tree(tmp_path / "other", {"sitecustomize.py": Path(HOOK, "sitecustomize.py").read_text()})
    told = environment(alice, PYTHONPATH=f"{other}{os.pathsep}{own}")
    assert told["MINE"] == str(own / "sitecustomize.py")


def test_a_home_that_jina_cannot_read_a_path_of_gets_another_place(alice: Shell, tmp_path: Path) -> None:
    answer = environment(alice, LHUB_HOME=str(tmp_path / "my home"), LHUB_ROOT=str(alice.home / ".lhub/registry"))
    assert " " not in answer["LHUB_JINA_CACHE"]


def test_the_hook_is_silent_where_there_is_no_client_and_without_lhub_run(alice: Shell) -> None:
    for variables in ({}, {"LHUB_JINA_CACHE": "/nowhere"}):
        done = subprocess.run(
            [sys.executable, "-c", "import json, sys; print('lhub' in sys.modules)"],
            env={"PYTHONPATH": HOOK, **variables}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.stdout, done.stderr) == ("False\n", "")


def test_the_hook_is_written_for_old_pythons_and_imports_nothing_of_lhub() -> None:
    import ast

    tree = ast.parse(Path(HOOK, "sitecustomize.py").read_text(), feature_version=(3, 4))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert names == {"os", "sys", "importlib.machinery", "importlib.util", "imp"}
    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(tree))


# serve


@contextmanager
def serving(shell: Shell, *words: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A gateway that stays, its address and its process."""
    scratch = shell.cwd.parent / "tmp"
    scratch.mkdir(exist_ok=True)
    with subprocess.Popen(
        [sys.executable, "-m", "lhub", "serve", *words],
        stdout=subprocess.PIPE, cwd=shell.cwd, env=shell.environment(TMPDIR=str(scratch)), text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1], process
        finally:
            process.terminate()
            process.wait(20)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_says_where_it_is_and_ends_in_peace(alice: Shell, number: signal.Signals) -> None:
    with serving(alice) as (base, process):
        assert Client(base=base).call("user.identity.whoami").refusal == (401, 40103)
        process.send_signal(number)
        assert process.wait(20) in (0, 128 + number)
    assert [path.name for path in alice.cwd.parent.glob("tmp/lhub-*")] == []


def test_serve_knows_programs_by_their_tokens(alice: Shell) -> None:
    token = alice("token", "create", "--json", check=True).json["token"]
    with serving(alice) as (base, _):
        client = Client(base=base, token=token)
        client.upload("alice/x", ARRAY, public=False).data
        assert client.fetch("alice/x") == ARRAY
        alice("token", "delete", "token-1", check=True)
        assert client.call("artifact.list").refusal == (401, 40103)


def test_a_port_that_is_taken_is_told(alice: Shell) -> None:
    with serving(alice) as (base, _):
        port = base.rpartition(":")[2]
        answer = alice("serve", "--port", port)
        assert (answer.code, f"port {port} cannot be used" in answer.err) == (5, True)


@pytest.mark.parametrize("words", [["--port", "x"], ["--port", "65536"], ["--port", "-1"], ["--host", "0.0.0.0"]])
def test_serve_takes_no_other_host_and_no_other_port(alice: Shell, words: list[str]) -> None:
    assert alice("serve", *words).code == 2


def test_without_the_extra_a_sentence_says_what_to_install(alice: Shell, tmp_path: Path) -> None:
    stub = write_tree(tmp_path / "stub", {"uvicorn.py": "raise ImportError('gone', name='uvicorn')"})
    for words in (["run", "true"], ["serve"]):
        answer = alice(*words, PYTHONPATH=str(stub))
        assert (answer.code, "pip install 'lhub[serve]'" in answer.err) == (9, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_of_the_machine_needs_a_token(alice: Shell) -> None:
    alice("push", write_tree(alice.cwd, {"x.txt": "x"}) / "x.txt", "alice/x", check=True)
    token = alice("token", "create", "--json", check=True).json["token"]
    code = """
import encodings.idna, os, sys, urllib.error, urllib.request
os.setuid(65534)
asked = urllib.request.Request(sys.argv[1] + "/v2/rpc/artifact.getDownloadUrl?name=alice/x")
if sys.argv[2:]:
    asked.add_header("Authorization", "token " + sys.argv[2])
try:
    print(urllib.request.urlopen(asked).status)
except urllib.error.HTTPError as error:
    print(error.code, "ask him for a token" in error.read().decode())
"""
    with serving(alice) as (base, _):
        for words, said in (((), "401 True\n"), ((token,), "200\n")):
            program = [sys.executable, "-c", code, base, *words]
            done = subprocess.run(program, capture_output=True, text=True, check=False)
            assert done.stdout == said, done.stderr
        assert Client(base=base).call("artifact.getDownloadUrl?name=alice/x", verb="GET").code == 200


@pytest.mark.slow
def test_four_gibibytes_take_no_memory(alice: Shell) -> None:
    """Up and down again; the file is random once and then repeated, so that no disk need be filled with chance."""
    size = 4 << 30
    room = os.statvfs(alice.home)
    if room.f_bavail * room.f_frsize < 2 * size:
        pytest.skip("8 GiB of room are needed: TMPDIR=/some/disk")
    token = alice("token", "create", "--json", check=True).json["token"]
    with serving(alice) as (base, process):
        client = Client(base=base, token=token)
        client.upload("alice/warm", ARRAY).data
        before = memory(process.pid)
        piece = os.urandom(1 << 20)
        begin = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        end = b'\r\n--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nbig\r\n--b--\r\n'
        pieces = iter([begin, *([piece] * (size >> 20)), end])
        assert client.call("artifact.upload", pieces, "multipart/form-data; boundary=b").code == 200
        link = client.form("artifact.getDownloadUrl", name="big").data["download"]
        assert drained(link) == size
        assert memory(process.pid) - before < 64 << 20


def drained(link: str) -> int:
    from urllib.request import urlopen

    count = 0
    with urlopen(link, timeout=60) as stream:
        while piece := stream.read(1 << 20):
            count += len(piece)
    return count


def memory(process: int) -> int:
    """The most bytes of memory that a process ever had."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def test_the_help_s_own_example_serves(alice: Shell) -> None:
    with serving(alice, "--port", "0") as (base, _):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            answer = Client(base=base).ask("GET", f"{base}/v2/.well-known/jwks.json")
            if answer.code == 200:
                break
        assert json.loads(answer.body) == {"keys": []}
