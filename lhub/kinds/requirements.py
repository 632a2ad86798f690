"""Requirements: what an Executor asks pip for, read line by line as pip reads it, and what no other host could install.

pip reads a file in its byte order mark's or its cookie's encoding, else as UTF-8; a line goes on behind a backslash; a
comment starts with `#` behind a space. Of variables it expands ``${NAME}`` with capital letters, digits and `_`, and
leaves ``$NAME`` alone (pip, `req_file.py`).

>>> packages("Torch>=2.0  # the big one\\n\\njina[standard]==3.27\\n-r more.txt\\n")
{'torch': '>=2.0', 'jina': '[standard]==3.27', '-r more.txt': ''}
>>> asked = ask({"requirements.txt": b"private @ https://${TOKEN}@host/x.whl\\n"}.get)
>>> asked.variables, asked.faults
(('TOKEN',), ())
"""

from __future__ import annotations

import codecs
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lhub.names import VARIABLE

FILE, PROJECT = "requirements.txt", "pyproject.toml"
_LONG, _SHORT = ("--requirement", "--constraint", "--editable"), ("-r", "-c", "-e")
_DOTS = 200
"""Dots outside of quotes in a line of pyproject.toml: tomllib keeps all beginnings of a key, 16 GB for a MiB of one."""
_LOCAL = re.compile(r"[./~]|(?:[a-z]+\+)?file:|[a-z]:[\\/]", re.IGNORECASE)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks, the longer ones first: one of UTF-32 begins like one of UTF-16."""
_ENDS = {codecs.BOM_UTF16_LE: "-le", codecs.BOM_UTF16_BE: "-be", codecs.BOM_UTF32_LE: "-le", codecs.BOM_UTF32_BE: "-be"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the requirements of a folder ask for.

    `variables` are the names under ``${NAME}``, `bare` those under ``$NAME`` or with small letters, which pip leaves as
    they are; `files` all that were read; `faults` are sentences about what could be installed nowhere else.
    """

    variables: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def ask(read: Callable[[str], bytes | None], path: str = FILE) -> Asked:
    """What the requirements ask for, with all that they include; `read` gives a file of the folder, None of none."""
    variables: dict[str, None] = {}
    bare: dict[str, None] = {}
    faults: list[str] = []
    waiting, seen = [(path, "")], {path: ""}
    for name, asker in waiting:  # grows while it is read
        data = read(name)
        if data is None:
            faults += [f"{asker} asks for {name}, which does not travel"] if asker else []
            continue
        try:
            lines = list(_lines(decoded(data, name)))
        except ValueError as error:
            faults.append(str(error))
            continue
        for number, line in lines:
            where = f"{name} line {number}"
            variables |= dict.fromkeys(re.findall(r"\$\{([A-Z0-9_]+)\}", line))
            bare |= dict.fromkeys(re.findall(r"\$\{?([A-Za-z_]\w*)", re.sub(r"\$\{[A-Z0-9_]+\}", "", line)))
            included = _included(line)
            if fault := _fault(line, included, name):
                faults.append(f"{where} {fault}")
            elif included is not None and (other := _beside(name, included)) not in seen:
                seen[other] = where
                waiting.append((other, where))
    faults += [f"the requirements use ${{{name}}}, which is no name of a variable" for name in _odd(variables)]
    return Asked(variables=tuple(sorted(variables)), bare=tuple(bare), files=tuple(seen), faults=tuple(faults))


def _odd(variables: Mapping[str, None]) -> list[str]:
    return [name for name in variables if not VARIABLE.fullmatch(name)]


def _included(line: str) -> str | None:
    """The file that a line includes by -r or -c."""
    match = re.fullmatch(r"(?:-[rc]|--(?:requirement|constraint)(?=[\s=]))\s*=?\s*(.+)", line)
    return match[1].strip().strip("'\"") if match else None


def _beside(name: str, other: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), other))


def _fault(line: str, included: str | None, name: str) -> str:
    """Why a line asks for what is not in the folder nor on an index, or an empty text."""
    if included is not None:
        outside = "://" in included or posixpath.isabs(included) or _beside(name, included).startswith("..")
        return "includes what lies outside of the folder" if outside else ""
    option = re.match(r"-e|--ed[a-z]*", line)
    if option and (option[0] == "-e" or "--editable".startswith(option[0])):
        return "asks for an editable install, which no other host has"
    wish = re.sub(r"^(?:-[fi]|--(?:find-links|index-url|extra-index-url))[\s=]*", "", line)
    local = wish != line and "://" not in wish and "${" not in wish
    wish = re.split(r"\s@\s?|^[\w.-]+(?:\[[^]]*\])?@", wish, maxsplit=1)[-1].strip()
    if local or _LOCAL.match(wish) or _is_local(wish):
        return "asks for a local path, which no other host has"
    return ""


def _is_local(wish: str) -> bool:
    """Whether pip takes a wish for a file or a folder: it has a slash or ends like an archive, and is no URL."""
    word = re.split(r"[\s;]", wish, maxsplit=1)[0]
    archive = word.endswith((".whl", ".tar.gz", ".zip", ".tar.bz2", ".tgz"))
    return not word.startswith("-") and ":" not in word and "${" not in word and ("/" in word or archive)


def decoded(data: bytes, path: str) -> str:
    """The text of a requirements file; ValueError, with a sentence, for an encoding that is none or is not kept."""
    encoding = _encoding(data)
    try:
        return data.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except LookupError:
        raise ValueError(f"{path} says that it is in {encoding[:40]}, an encoding that nobody knows") from None
    except UnicodeError:
        raise ValueError(f"{path} is not in {encoding[:40]}") from None


def encoded(text: str, like: bytes) -> bytes:
    """A text to be added to a requirements file, in its encoding."""
    mark = next((mark for mark, _ in _MARKS if like.startswith(mark)), b"")
    return text.encode(_encoding(like) + _ENDS.get(mark, ""))


def _encoding(data: bytes) -> str:
    """By its byte order mark, its cookie, else UTF-8."""
    if name := next((name for mark, name in _MARKS if data.startswith(mark)), None):
        return name
    cookie = re.search(rb"^[ \t]*#.*?coding[:=][ \t]*([-\w.]+)", b"\n".join(data.split(b"\n")[:2]), re.MULTILINE)
    return cookie[1].decode() if cookie else "utf-8"


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Each line that asks for something, whole and without its comment, with the number of its first one."""
    begun, number, parts = 0, 0, list[str]()
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), 1):
        comment = re.match(r"[ \t]*#", line)  # as pip has it, one that ends in a backslash does not go on
        begun = begun if parts else number
        parts.append("" if comment else line.removesuffix("\\"))
        if comment or not line.endswith("\\"):
            if whole := re.sub(r"(^|\s)#.*", "", " ".join(parts)).strip():
                yield begun, whole
            parts = []
    if whole := " ".join(parts).strip():
        yield begun, whole


def packages(text: str) -> dict[str, str]:
    """What is asked of each package, by its name as PyPI compares it; a line without a name stands for itself.

    Names are compared as PEP 503 has it; a package that stands twice has both lines.
    """
    found: dict[str, list[str]] = {}
    for _, line in _lines(text):
        match = re.match(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?=$|[\[(<>=!~;@, ])(.*)", line)
        name, rest = (re.sub(r"[-_.]+", "-", match[1]).lower(), match[2].strip()) if match else (line, "")
        found.setdefault(name, []).append(rest)
    return {name: ", ".join(rests) for name, rests in found.items()}


# pyproject.toml


def of_project(data: bytes) -> list[str]:
    """The dependencies of a `pyproject.toml`, PEP 621's or Poetry's, as lines; ValueError where it does not parse."""
    document = _toml(data)
    project = _table(document, "project").get("dependencies")
    if isinstance(project, list):
        return [line for line in project if isinstance(line, str)]
    poetry = _table(_table(_table(document, "tool"), "poetry"), "dependencies")
    return [line for name, wish in poetry.items() if name != "python" for line in _poetry(name, wish)]


def _toml(data: bytes) -> Mapping[str, Any]:
    import sys  # for projects only

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    for number, line in enumerate(re.sub(rb"\"[^\"\n]*\"|'[^'\n]*'", b"_", data).split(b"\n"), 1):
        if len(re.findall(rb"\.[ \t]*[\w-]", line.partition(b"#")[0])) > _DOTS:
            raise ValueError(f"{PROJECT} line {number} has a key of more than {_DOTS} parts")
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{PROJECT} does not parse: {error}") from None


def _table(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    table = document.get(key)
    return table if isinstance(table, dict) else {}


def _poetry(name: str, wish: object) -> Iterator[str]:
    """Poetry's ways to ask for a package, in PEP 508's (python-poetry.org, "Dependency specification")."""
    if isinstance(wish, str):
        yield f"{name}{_specifier(wish)}"
    elif isinstance(wish, dict) and not wish.get("optional"):
        extras = wish.get("extras")
        full = f"{name}[{','.join(map(str, extras))}]" if isinstance(extras, list) and extras else name
        marker = f" ; {wish['markers']}" if isinstance(wish.get("markers"), str) else ""
        place = wish.get("url") or wish.get("path")
        if isinstance(wish.get("git"), str):
            at = next((f"@{wish[key]}" for key in ("rev", "tag", "branch") if isinstance(wish.get(key), str)), "")
            yield f"{full} @ git+{wish['git']}{at}{marker}"
        elif isinstance(place, str):
            yield f"{full} @ {place}{marker}"
        else:
            yield f"{full}{_specifier(str(wish.get('version', '*')))}{marker}"
    elif isinstance(wish, list):
        for each in wish:
            yield from _poetry(name, each)


def _specifier(wish: str) -> str:
    """`^1.2` and `~1.2` as a range, `1.2` as itself, `*` as nothing."""
    parts = [part.strip() for part in wish.split(",")]
    return ",".join(filter(None, map(_range, parts)))


def _range(wish: str) -> str:
    match = re.fullmatch(r"(\^|~)\s*(\d+(?:\.\d+)*)(.*)", wish)
    if match is None:
        return "" if wish in ("*", "") else wish if wish[0] in "<>=!~" else f"=={wish}"
    numbers = [int(number) for number in match[2].split(".")]
    caret = next((at for at, number in enumerate(numbers) if number), len(numbers) - 1)
    last = caret if match[1] == "^" else min(1, len(numbers) - 1)
    above = [*numbers[:last], numbers[last] + 1]
    return f">={match[2]}{match[3]},<{'.'.join(map(str, above))}"
