"""Dockerfile: the one that Jina's Hub wrote for an Executor without, and how `--build-env` gets into RUN lines.

A value in an ARG or ENV stands in the image's history for ever (measured with buildah, podman, docker); a secret mount
leaves nothing. So each RUN line of a Dockerfile is given one, and reads the variables from it before its own command.

>>> print(generated("lhub.local/alice/tiny:latest", ["requirements.txt"], "numpy").splitlines()[1])
FROM lhub.local/alice/tiny:latest
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping

from lhub.errors import UsageError, listing
from lhub.kinds.requirements import FILE

LOCAL_HOST = "lhub.local"
"""The host in the names of our images: there is none, so that no engine looks for one elsewhere."""
SECRET = "lhub_build_env"  # noqa: S105 (a name, not a value)
"""The id of the secret mount."""
_TARGET = f"/run/secrets/{SECRET}"
_MOUNT = f"--mount=type=secret,id={SECRET},target={_TARGET}"
_READ = f"set -a && . {_TARGET} && set +a && "
_FLAG = re.compile(r"--[a-z]+=\S+\s+")
_FROM = re.compile(r"(?i)[ \t]*FROM\s+(?:--\S+\s+)*(\S+)")
_OTHER = re.compile(r"(?i)--from=(\S+)|[,=]from=([^,\s]+)")
_HERE = re.compile(r"<<-?\s*[\"']?([A-Za-z_][A-Za-z0-9_]*)")


def generated(base: str, paths: Iterable[str], requirements: str) -> str:
    """The Dockerfile of an Executor that has none (jina-ai/executor-normalizer: `/workspace`, pip, `jina executor`)."""
    lines = [
        "# written by lhub push: the Executor has no Dockerfile",
        f"FROM {base}",
        "COPY . /workspace",
        "WORKDIR /workspace",
    ]
    if FILE in paths:
        if "git+" in requirements:
            lines.append(
                "RUN apt-get update && apt-get install --no-install-recommends -y git && rm -rf /var/lib/apt/lists/*"
            )
        lines.append(f"RUN python3 -m pip install --default-timeout=1000 --no-cache-dir --compile -r {FILE}")
    lines.append('ENTRYPOINT ["jina", "executor", "--uses", "config.yml"]')
    return "\n".join(lines) + "\n"


def bases(text: str) -> list[str]:
    """The images that the FROM lines name, as they are written."""
    return [found[1] for _, line in _instructions(text) if (found := _FROM.match(line))]


def hidden_images(text: str) -> str | None:
    """What names an image of ours otherwise than by a FROM as it stands, or could: an engine has others' images too.

    Which of them one may see is decided by lhub, of what it can read: a variable in the place of a host could be any.
    """
    for _, line in _instructions(text):
        found = _FROM.match(line)
        names = [found[1]] if found else [one or other for one, other in _OTHER.findall(line)]
        for name in names:
            if "$" in re.split(r"[/:@]", name, maxsplit=1)[0]:
                return name[:80]
        if not found and LOCAL_HOST in line.lower() and not line.lstrip().startswith("#"):
            return line.strip()[:80]
    return None


def with_secrets(text: str) -> str:
    """The same Dockerfile, each RUN with the variables; UsageError for what cannot be given them."""
    written, faults = [], []
    for number, instruction in _instructions(text):
        found = re.match(r"(?is)\s*RUN\s+(.*)", instruction)
        if found is None:
            written.append(instruction)
            continue
        flags, command = _flags(found[1])
        if command.startswith("["):
            faults.append(f"line {number}: RUN [...] has no shell that could read them")
        elif _HERE.match(command):
            faults.append(f"line {number}: RUN <<EOF has no place for them")
        written.append(f"RUN {_MOUNT} {flags}{_READ}{command}")
    if faults:
        raise UsageError(
            listing("this Dockerfile cannot be given --build-env", faults), hint="write RUN COMMAND, for a shell"
        )
    return "\n".join(written) + "\n"


def secret_file(variables: Mapping[str, str]) -> bytes:
    """What a RUN line reads: each variable as a shell takes it."""
    lines = (f"{name}={shlex.quote(value)}\n" for name, value in sorted(variables.items()))
    return "".join(lines).encode(errors="surrogateescape")


def names_arguments(text: str, names: Iterable[str]) -> list[str]:
    """The variables that an ARG or ENV of a Dockerfile names: a value there would stay in the image."""
    said = " ".join(line for _, line in _instructions(text) if re.match(r"(?i)\s*(?:ARG|ENV)\s", line))
    return [name for name in names if re.search(rf"(?<![A-Za-z0-9_${{]){name}(?![A-Za-z0-9_])", said)]


def _flags(rest: str) -> tuple[str, str]:
    flags = ""
    while found := _FLAG.match(rest):
        flags, rest = flags + found[0], rest[found.end() :]
    return flags, rest


def _instructions(text: str) -> Iterator[tuple[int, str]]:
    """Each instruction with the number of its first line: continued lines belong to it, and here-documents."""
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            yield number, line
            continue
        whole = [line]
        while whole[-1].rstrip().endswith("\\") or _is_comment(whole):
            _, more = next(lines, (0, ""))
            whole.append(more)
        word = line.split()[0].upper()
        if word in ("RUN", "COPY", "ADD") and (found := _HERE.search(" ".join(whole))):
            for _, more in lines:
                whole.append(more)
                if more.strip() == found[1]:
                    break
        yield number, "\n".join(whole)


def _is_comment(whole: list[str]) -> bool:
    """Whether the last line is a comment between continued ones, which the builder leaves out."""
    return len(whole) > 1 and whole[-1].lstrip().startswith("#")
