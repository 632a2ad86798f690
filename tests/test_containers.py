"""Containers: every builder's image is taken by every tool, runs, and holds nothing that it must not; by real engines.

`pytest -m containers` with what `tests/engines.py` says installed; without, each test says what it needs.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from lhub.errors import Denied, NotFound, ToolMissing, UsageError
from lhub.images.oci import Layout
from lhub.orders import ImageFailed
from lhub.registry import Registry
from tests import machine
from tests.basing import layout_of, see_whole, wheel
from tests.conftest import PROJECT, Shell, config_yml, executor_py, write_tree
from tests.engines import answered, dockerd, emptied, engines, free_port, needs, ran, run_unpacked
from tests.test_build_env import search
from tests.test_leaks import Quiet
from tests.test_readme import README, blocks

pytestmark = pytest.mark.containers
JINA = os.environ.get("LHUB_TEST_JINA") or None
BUILDERS = ("docker", "podman", "buildah")
VALUE = "s3cr3t-of-mine-1234"
SERVER = """\
import http.server, json, os, sys
import one


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        told = {"word": one.word, "here": os.getcwd(), "token": os.environ.get("TOKEN", "")}
        self.wfile.write(json.dumps(told).encode())


http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""
DOCKERFILE = """\
FROM lhub.local/alice/tiny:latest
COPY one-1.0-py3-none-any.whl /tmp/
RUN python3 -m pip install --no-index --no-cache-dir /tmp/one-1.0-py3-none-any.whl
COPY . /workspace
WORKDIR /workspace
ENTRYPOINT ["python3", "server.py"]
"""


@pytest.fixture(scope="session")
def tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root folder of this machine's own packages."""
    try:
        return machine.rootfs(tmp_path_factory.mktemp("machine") / "machine.tar")
    except machine.NoRootfs as error:
        pytest.skip(f"needs Debian's own Python 3.11: {error}")


@pytest.fixture(scope="session")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The engines, with folders of their own."""
    needs()
    with emptied(tmp_path_factory.mktemp("engines")) as folder, engines(folder) as told:
        yield told


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory, around: dict[str, str]) -> Iterator[dict[str, str]]:
    """A docker daemon."""
    needs("dockerd", "docker")
    with emptied(tmp_path_factory.mktemp("docker")) as folder, dockerd(folder) as told:
        yield told


@pytest.fixture
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One engine, alone on this machine as far as lhub sees."""
    name: str = request.param
    told = request.getfixturevalue("around")
    if name == "docker":
        told = {**told, **request.getfixturevalue("daemon")}
    needs(name, "runc")
    for key, value in told.items():
        monkeypatch.setenv(key, value)
    return name


@pytest.fixture
def based(registry: Registry, tar: Path) -> Registry:
    """A registry with a base of this machine's packages."""
    registry.import_base("tiny", tar)
    return registry


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """An Executor that answers over HTTP, with a Dockerfile."""
    files = {"config.yml": config_yml("Hello"), "executor.py": executor_py("Hello"), "server.py": SERVER}
    wheel(tmp_path / "src", "one")
    return write_tree(tmp_path / "src", {**files, "Dockerfile": DOCKERFILE})


needs_jina = pytest.mark.skipif(
    JINA is None, reason="LHUB_TEST_JINA names no Python that has jina 3 (tests/test_clients.py)"
)
each_builder = pytest.mark.parametrize("engine", BUILDERS, indirect=True)
each_runner = pytest.mark.parametrize("engine", BUILDERS[:2], indirect=True)


def runs(engine: str, image: str, *words: str) -> str:
    return ran(engine, "run", "--rm", "--network", "none", *words[:-1], image.removeprefix("docker://"), words[-1])


@each_builder
def test_a_dockerfile_is_built_unpacked_run_and_answers(
    engine: str, based: Registry, server: Path, tmp_path: Path
) -> None:
    needs("skopeo", "umoci")
    based.push(server, image="always", builder=engine, tags=["v1"])
    layout = layout_of(based, "alice/Hello:v1")
    see_whole(layout)
    told = json.loads(ran("skopeo", "inspect", f"oci:{layout.folder}:image"))
    assert told["Labels"]["lhub.version"] == based.show("alice/Hello:v1").version
    assert len(ran("umoci", "stat", "--image", f"{layout.folder}:image").splitlines()) > len(layout.images()[0].layers)
    port = free_port()
    with run_unpacked(layout.folder, "image", tmp_path, str(port)):
        assert answered(port) == {"word": "py3-none-any", "here": "/workspace", "token": ""}
    base = Layout(f"{based.path('lhub://alice/tiny')}").images()[0].layers[0]
    (image,) = layout.images()
    assert image.layers[0].digest == base.digest, "the base is stored once"


@each_runner
def test_an_image_is_loaded_once_and_runs(engine: str, based: Registry, server: Path) -> None:
    based.push(server, image="always", builder=engine, tags=["v1"])
    said: list[str] = []
    told = Registry(based.root, namespace="alice", notes=said.append)
    for _ in range(2):
        assert told.pull("jinaai+docker://alice/Hello:v1").path == "docker://lhub.local/alice/hello:v1"
    assert [line.partition(" ")[0] for line in said] == ["loading", "lhub.local/alice/hello:v1"]
    assert told.uses("jinaai+docker://alice/Hello:v1") == "docker://lhub.local/alice/hello:v1"
    port = free_port()
    name = f"hello-{port}"
    image = "lhub.local/alice/hello:v1"
    ran(engine, "run", "-d", "--name", name, "--network", "host", image, str(port))
    try:
        assert answered(port)["word"] == "py3-none-any"
    finally:
        ran(engine, "kill", name)
        ran(engine, "rm", "-f", name)
    (server / "server.py").write_text("print('another')\n")
    based.push(server, image="always", builder=engine, tags=["v1"])
    told.pull("jinaai+docker://alice/Hello:v1")
    assert said[-1].startswith("loading")
    assert ran(engine, "run", "--rm", "--network", "none", image) == "another\n"


@each_runner
def test_the_image_of_what_is_sealed_is_built_loaded_and_runs_for_who_has_the_key(
    engine: str, based: Registry, server: Path
) -> None:
    (server / "server.py").write_text("print('marmalade-in-clear')\n")
    secret = based.push(server, image="always", builder=engine, seal=True, build_env={"TOKEN": "s3cr3t-of-mine"}).secret
    images = based.root / "alice/Hello/.lhub/images"
    assert [path.name for path in images.rglob("*") if path.is_file()] == ["image.age"]
    assert [path for path in images.rglob("*.age") if b"marmalade" in path.read_bytes()] == []
    with pytest.raises(Denied):
        based.pull("jinaai+docker://alice/Hello")
    mine = Registry(based.root, namespace="alice", secret=secret, timeout=20)
    path = mine.pull("jinaai+docker://alice/Hello").path.removeprefix("docker://")
    assert ran(engine, "run", "--rm", "--network", "none", path) == "marmalade-in-clear\n"
    assert mine.push(server, image="always", builder=engine, build_env={"TOKEN": "s3cr3t-of-mine"}).image


@each_runner
def test_what_python_assembled_is_loaded_and_runs(engine: str, based: Registry, server: Path) -> None:
    (server / "Dockerfile").unlink()
    based.push(server, image="always", builder="python", tags=["v1"])
    path = based.pull("jinaai+docker://alice/Hello:v1").path.removeprefix("docker://")
    assert ran(engine, "run", "--rm", "--network", "none", "--entrypoint", "ls", path).split() == sorted(
        os.listdir(server)
    )


def test_what_python_assembled_is_unpacked_run_and_answers(
    around: dict[str, str], based: Registry, server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("umoci", "runc", "skopeo")
    (server / "Dockerfile").unlink()
    wheel(tmp_path / "wheels", "one")
    (server / "requirements.txt").write_text("one\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    based.push(server, image="always", builder="python")
    layout = layout_of(based, "alice/Hello")
    port = free_port()
    bundle = tmp_path / "run"
    bundle.mkdir()
    ran("skopeo", "copy", f"oci:{layout.folder}:image", f"oci:{tmp_path}/copied:image")
    with run_unpacked(layout.folder, "image", bundle):  # whose entrypoint is jina's, which is not in it
        pass
    ran(
        "umoci",
        "config",
        "--image",
        f"{tmp_path}/copied:image",
        "--config.entrypoint",
        "python3",
        "--config.entrypoint",
        "server.py",
    )
    again = tmp_path / "again"
    again.mkdir()
    with run_unpacked(f"{tmp_path}/copied", "image", again, str(port)):
        assert answered(port)["word"] == "py3-none-any"


@each_builder
def test_an_executor_without_a_dockerfile_is_built_as_the_hub_did(engine: str, based: Registry, server: Path) -> None:
    (server / "Dockerfile").unlink()
    based.push(server, image="always", builder=engine)
    (image,) = layout_of(based, "alice/Hello").images()
    assert (image.runs["WorkingDir"], image.runs["Entrypoint"][:2]) == ("/workspace", ["jina", "executor"])


@each_builder
def test_what_an_engine_has_becomes_a_base_and_keeps_its_configuration(
    engine: str, based: Registry, server: Path, tmp_path: Path
) -> None:
    based.push(server, image="always", builder=engine)
    if engine == "buildah":
        with pytest.raises(UsageError, match="is no engine that a base is taken from"):
            based.base_from_engine("lhub.local/alice/hello", engine="buildah")
        return
    name = based.pull("jinaai+docker://alice/Hello").path.removeprefix("docker://")
    taken = based.base_from_engine(name, "served", engine=engine)
    assert (taken.name, taken.tags) == ("alice/served", ("latest",))
    see_whole(Layout(str(taken.path)))
    (image,) = Layout(str(taken.path)).images()
    assert image.runs["Entrypoint"] == ["python3", "server.py"]
    saved = tmp_path / "saved.tar"
    ran(engine, "save", "-o", str(saved), name)
    assert based.import_base("served", saved).new is False


# secrets


@pytest.fixture
def private(based: Registry, server: Path, tmp_path: Path) -> Iterator[Path]:
    """The same Executor, whose module has to be fetched with a token."""
    wheels = tmp_path / "wheels"
    wheel(wheels, "one")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(wheels))) as index:
        Thread(target=index.serve_forever, daemon=True).start()
        address = f"http://user:${{TOKEN}}@127.0.0.1:{index.server_address[1]}/one-1.0-py3-none-any.whl"
        (server / "requirements.txt").write_text(f"one @ {address}\n")
        copied = "COPY requirements.txt /tmp/\nRUN python3 -m pip install --no-cache-dir -r /tmp/requirements.txt\n"
        (server / "Dockerfile").write_text(re.sub(r"COPY one.*\nRUN.*\n", copied, DOCKERFILE))
        yield server
        index.shutdown()


@each_builder
def test_a_value_reaches_the_build_and_is_in_nothing(engine: str, based: Registry, private: Path) -> None:
    pushed = based.push(private, image="always", builder=engine, build_env={"TOKEN": VALUE})
    layout = layout_of(based, "alice/Hello")
    see_whole(layout)
    assert search(based.root, VALUE) == []
    said = str(list(based.build(task_id=pushed.task_id).follow(replay=True)))
    assert ("user:***@" in said, VALUE in said) == (True, False)


@each_builder
@pytest.mark.parametrize("way", ["a file", "an ARG", "base64 in a file"])
def test_a_value_that_would_be_kept_fails_the_image_and_the_engine_forgets_it(
    engine: str, based: Registry, private: Path, way: str
) -> None:
    line = {
        "a file": "RUN echo $TOKEN > /kept",
        "an ARG": "ARG TOKEN",
        "base64 in a file": "RUN printf u:$TOKEN | base64 > /kept",
    }[way]
    text = (private / "Dockerfile").read_text()
    (private / "Dockerfile").write_text(text.replace("WORKDIR", f"{line}\nWORKDIR"))
    with pytest.raises(ImageFailed, match="TOKEN") as told:
        based.push(private, image="always", builder=engine, build_env={"TOKEN": VALUE})
    assert VALUE not in f"{told.value}{told.value.hint}"
    with pytest.raises(NotFound):
        based.image("alice/Hello")
    assert search(based.root, VALUE) == []
    assert based.show("alice/Hello").version[:12] not in ran(engine, "images")


def test_a_docker_without_secret_mounts_is_passed_over_with_a_reason(
    daemon: dict[str, str], based: Registry, private: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = tmp_path / "bin" / "docker"
    client.parent.mkdir()
    cases = '*Client.Version*) echo 28.2.2;; "buildx version") exit 1;; *) exec /usr/bin/docker "$@"'
    client.write_text(f'#!/bin/sh\ncase "$*" in {cases};; esac\n')
    client.chmod(0o755)
    monkeypatch.setenv("DOCKER_HOST", daemon["DOCKER_HOST"])
    monkeypatch.setenv("PATH", f"{client.parent}:/usr/sbin:/usr/bin:/bin")
    with pytest.raises(ToolMissing, match="whose builder mounts no secrets"):
        based.push(private, image="always", builder="docker", build_env={"TOKEN": VALUE})


# who dies


def working() -> set[str]:
    """The working containers of builders."""
    return {each["id"] for each in json.loads(ran("buildah", "containers", "--json") or "[]") or []}


def sleepers(mark: str) -> list[str]:
    """The processes of a RUN line that sleeps, itself and what started it, dead ones left out."""
    return [line for line in ran("ps", "-eo", "stat=,args=").splitlines() if f"sleep {mark}" in line and line[0] != "Z"]


def asleep(mark: str) -> bool:
    """Whether it has come as far as that."""
    return any(line.split()[1] == "sleep" for line in sleepers(mark))


@each_builder
@pytest.mark.parametrize("how", ["cancel", "kill -9"])
def test_a_build_that_ends_early_takes_everything_with_it(
    engine: str, based: Registry, server: Path, tmp_path: Path, how: str
) -> None:
    mark = f"9{os.getpid()}{time.monotonic_ns() % 10_000}"
    (server / "Dockerfile").write_text(f"FROM lhub.local/alice/tiny:latest\nRUN sleep {mark}\n")
    home = tmp_path / "home" / ".lhub"
    home.mkdir(parents=True)
    environment = {**os.environ, "LHUB_HOME": str(home), "LHUB_ROOT": str(based.root)}
    words = [sys.executable, "-m", "lhub"]
    before = working() if engine != "docker" else set()
    subprocess.run([*words, "login", "alice"], env=environment, cwd=PROJECT, check=True, capture_output=True)
    pushing = subprocess.Popen(
        [*words, "push", str(server), "--builder", engine],
        env=environment,
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait(lambda: asleep(mark))
    if how == "cancel":
        assert based.build("alice/Hello").cancel().state == "cancelled"
    else:
        pushing.send_signal(signal.SIGKILL)
    pushing.wait(60)
    wait(lambda: not sleepers(mark))
    if engine != "docker":
        wait(lambda: not working() - before, say=lambda: ran("buildah", "containers", "--json"))
    assert based.show("alice/Hello").version
    assert based.build("alice/Hello").look().state == ("cancelled" if how == "cancel" else "failed")
    assert based.verify().ok


def wait(for_what: Callable[[], Any], patience: float = 20, say: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + patience
    while not for_what():
        assert time.monotonic() < deadline, say()
        time.sleep(0.1)


# platforms


def test_each_tool_finds_the_image_of_a_platform(
    around: dict[str, str], registry: Registry, server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("skopeo", "umoci")
    from tests.basing import layout_files
    from tests.test_building import PACKED

    (server / "Dockerfile").unlink()
    write_tree(tmp_path / "base", layout_files([(name, [layer]) for name, layer in PACKED.items()]))
    registry.import_base("tiny", tmp_path / "base")
    registry.push(server, builder="python", image="always", platforms=["linux/amd64,linux/arm64"])
    layout = layout_of(registry, "alice/Hello")
    for architecture in ("amd64", "arm64"):
        told = json.loads(ran("skopeo", "--override-arch", architecture, "inspect", f"oci:{layout.folder}:image"))
        assert told["Architecture"] == architecture
        ran("umoci", "unpack", "--image", f"{layout.folder}:image-linux-{architecture}", str(tmp_path / architecture))
        assert (tmp_path / architecture / "rootfs" / "workspace" / "config.yml").exists()


# what the README shows


@needs_jina
def test_the_commands_of_the_readme_run(daemon: dict[str, str], shell: Shell, tmp_path: Path) -> None:
    """To the letter, but that its image is pulled from nowhere: it is one of this machine's packages, with jina."""
    (block,) = (each for each in blocks(README, "bash") if "base from-engine" in each)
    programs = write_tree(
        tmp_path / "bin",
        {
            "lhub": f'#!/bin/sh\nexec "{sys.executable}" -m lhub "$@"\n',
            "docker": '#!/bin/sh\ntest "$1" = pull || exec /usr/bin/docker "$@"\n',
        },
    )
    for program in programs.iterdir():
        program.chmod(0o755)
    environment = shell.environment(**daemon)
    environment |= {"PATH": f"{programs}:{environment['PATH']}", "PYTHONPATH": str(PROJECT)}
    tar = str(with_jina(tmp_path / "jina.tar"))
    ran("docker", "import", tar, "python:3.11-slim", environment=environment)
    (shell.cwd / "fixtures").symlink_to(PROJECT / "fixtures")
    shell("login", "alice", check=True)
    done = subprocess.run(
        ["sh", "-e", "-c", block], env=environment, cwd=shell.cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "docker://lhub.local/alice/helloexecutor:c1\n" in done.stdout
    assert "Loaded image: lhub.local/alice/helloexecutor:c1\n" in done.stdout


# the real jina

FLOW = """\
import sys
from jina import Document, DocumentArray, Flow

if __name__ == "__main__":
    with Flow().add(uses=sys.argv[1], timeout_ready=60_000) as flow:
        print("answer:", flow.post("/", DocumentArray([Document(text="world")]))[0].text)
"""
GREETER = """\
from jina import DocumentArray, Executor, requests


class Hello(Executor):
    @requests
    def greet(self, docs: DocumentArray, **kwargs):
        for doc in docs:
            doc.text = f"hello {doc.text}"
"""


@needs_jina
def test_a_flow_of_the_real_jina_runs_an_image(
    daemon: dict[str, str], shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("unshare")
    if "bridge" not in ran("docker", "network", "ls", "--format", "{{.Name}}", environment={**os.environ, **daemon}):
        pytest.skip("needs a docker daemon that has a bridge, as jina connects containers")
    assert shell("login", "alice", check=True).code == 0
    assert shell("base", "import", "jina", with_jina(tmp_path / "jina.tar"), check=True).code == 0
    source = write_tree(tmp_path / "src", {"config.yml": config_yml("Hello"), "executor.py": GREETER})
    shell("push", source, "-t", "v1", "--builder", "python", check=True)
    (tmp_path / "flow.py").write_text(FLOW)
    hosts = Path("/etc/hosts").read_text(encoding="utf-8") + "127.0.0.1 host.docker.internal\n"  # so jina's gateway
    (tmp_path / "hosts").write_text(hosts)
    words = [
        sys.executable,
        "-m",
        "lhub",
        "run",
        str(JINA),
        str(tmp_path / "flow.py"),
        "jinaai+docker://alice/Hello:v1",
    ]
    script = f'mount --bind {tmp_path}/hosts /etc/hosts && exec "$@"'
    environment = shell.environment(**daemon, JINA_HIDE_SURVEY="1", PYTHONPATH=str(PROJECT))
    said = ran("unshare", "-m", "sh", "-c", script, "sh", *words, environment=environment)
    assert "answer: hello world" in said
    listed = ran("docker", "images", "--format", "{{.Repository}}:{{.Tag}}", environment={**os.environ, **daemon})
    assert "lhub.local/alice/hello:v1" in listed.splitlines()


def with_jina(path: Path) -> Path:
    """A root folder of this machine's packages, and of what the jina of the tests is made of."""
    code = "import sys, sysconfig; print(sys.version_info[:2] == (3, 11), sysconfig.get_path('purelib'))"
    same, site = ran(str(JINA), "-c", code).split()
    if same != "True":
        pytest.skip("the jina of LHUB_TEST_JINA is of another Python than Debian's 3.11")
    try:
        machine.rootfs(path, "libstdc++6")
    except machine.NoRootfs as error:
        pytest.skip(f"needs Debian's own Python 3.11: {error}")

    def kept(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        info.uid = info.gid = 0
        return None if "__pycache__" in info.name else info

    with tarfile.open(path, "a", format=tarfile.GNU_FORMAT) as tar:
        tar.add(site, "usr/local/lib/python3.11/dist-packages", filter=kept)
        program = b"#!/usr/bin/python3\nfrom jina_cli import main\nmain()\n"
        info = tarfile.TarInfo("usr/local/bin/jina")
        info.size, info.mode = len(program), 0o755
        tar.addfile(info, io.BytesIO(program))
    return path
