"""`lhub`: the group of commands, and the one place where an error becomes a sentence and an exit code.

A command's room is imported when the command is typed: `lhub path` loads nothing that only `lhub push` needs.
"""

from __future__ import annotations

import errno
import gc
import os
import re
import sys
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NoReturn

import click

from lhub import __version__
from lhub.errors import Corrupt, LhubError, clean
from lhub.names import BUILD_ENV

if TYPE_CHECKING:
    from lhub.redaction import Redaction

_BUILD_ENV = "--build-env"
_IN_REFERENCE = re.compile(r"jinahub(\+docker)?://[^/:]+:")
_TELLING = 4
"""Characters of a word that could be a secret: shorter ones any sentence has."""

SECTIONS: dict[str, dict[str, str]] = {
    "Everyday": {
        "login": "account",
        "logout": "account",
        "whoami": "account",
        "new": "new",
        "push": "everyday",
        "pull": "everyday",
        "path": "everyday",
        "uses": "builds",
        "list": "everyday",
        "show": "everyday",
        "search": "everyday",
        "status": "builds",
    },
    "Versions and tags": dict.fromkeys(
        ("log", "diff", "tag", "untag", "rollback", "visibility", "delete", "restore"), "versions"
    ),
    "Care": dict.fromkeys(("verify", "doctor", "gc", "export", "import", "copy", "adopt"), "care"),
    "Teams": {"init": "teams", "namespace": "teams", "share": "teams", "unshare": "teams", "selftest": "selftest"},
    "Doors": {
        "run": "gateway",
        "serve": "gateway",
        "portal": "gateway",
        "token": "tokens",
        "base": "containers",
        "image": "containers",
        "completion": "completion",
    },
    "Jina's names": {"auth": "jina", "hub": "jina"},
}


class Commands(click.Group):
    """A group that imports a command's room when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the help."""
        return [name for names in SECTIONS.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, from its room."""
        room = next((names[cmd_name] for names in SECTIONS.values() if cmd_name in names), None)
        if room is None:
            return None
        command = getattr(import_module(f"lhub.cli.{room}"), f"{cmd_name}_command")
        assert isinstance(command, click.Command)  # noqa: S101 (the table above is ours)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands in their groups, as the design has them."""
        for section, names in SECTIONS.items():
            with formatter.section(section):
                rows = [
                    (name, command.get_short_help_str(80)) for name in names if (command := self.get_command(ctx, name))
                ]
                formatter.write_dl(rows)


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="lhub", message="%(prog)s %(version)s")
@click.option("--root", metavar="DIR", help="The registry (default: LHUB_ROOT, then ~/.lhub/registry).")
@click.pass_context
def lhub(ctx: click.Context, root: str | None) -> None:
    """A registry for Executors, arrays of documents and model files that is nothing but a directory tree.

    \b
    Example:
      lhub login alice
      lhub push ./MyExecutor -t v1
      lhub pull jinaai://alice/MyExecutor:v1
    """
    ctx.obj = root
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run() -> NoReturn:
    """The program `lhub`."""
    gc.set_threshold(50_000)  # of what a command makes nearly all is kept to its end: a tenth of a long listing
    _begin_anew()
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (it was closed: `lhub list >&-`)
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(errors="backslashreplace")  # a name must not break a pipe that knows ASCII only
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except OSError as error:  # stdout is full, or its reader has gone
        code = 1
        if error.errno != errno.EPIPE:
            sys.stderr.write(f"lhub: stdout takes no more: {error.strerror}\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    gc.freeze()  # at the end nothing need be collected: 3 ms of 50
    sys.exit(code)


def _begin_anew() -> None:
    """Start again where the locale is not UTF-8, in which names are, or a value stands in the command line.

    Every user of the machine reads the command lines of all; the environment of a process only its own user does.
    """
    own = _own(sys.argv[1:])
    arguments, environment = _taken_out(own)
    arguments += sys.argv[1 + len(own) :]
    if sys.getfilesystemencoding().lower() != "utf-8" and "PYTHONUTF8" not in os.environ:
        environment["PYTHONUTF8"] = "1"
    if environment:
        here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        code = f"import sys; sys.path[0] = {here!r}; from lhub.__main__ import run; run()"  # not the current folder
        os.execve(sys.executable, [sys.executable, "-c", code, *arguments], {**os.environ, **environment})  # noqa: S606


def _own(arguments: list[str]) -> list[str]:
    """The words that are lhub's to read: what stands behind `run` is another command."""
    for place, word in enumerate(arguments):
        if not word.startswith("-") and arguments[place - 1 : place] != ["--root"]:
            return arguments[: place + 1] if word == "run" else arguments
    return arguments


def _taken_out(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    """The arguments without the values of `--build-env`, and the environment in which these are found by name."""
    left, environment = [], {}
    for before, word in zip(["", *arguments], arguments, strict=False):
        option, given = f"{_BUILD_ENV}=", word.removeprefix(f"{_BUILD_ENV}=")
        key, equals, value = given.partition("=")
        named = before == _BUILD_ENV or word.startswith(option)
        if named and equals and value and "\0" not in word:
            environment[f"{BUILD_ENV}{key}"] = value
            left.append(f"{option}{key}" if word.startswith(option) else key)
        else:
            left.append(word)
    return left, environment


def _tell_history(arguments: list[str]) -> None:
    """Offer another way to a person who types a secret, which his shell keeps."""
    typed = any(_IN_REFERENCE.match(word) or word.startswith("--secret=") for word in arguments) or any(
        before == "--secret" and word != "-" for before, word in pairwise(arguments)
    )
    if typed and sys.stdin and sys.stdin.isatty():
        sys.stderr.write("lhub: your shell keeps the secret that you typed; LHUB_SECRET or --secret - hides it\n")


def _hide(arguments: list[str]) -> Redaction:
    """What no sentence repeats: the variables for requirements, and what was typed where the value of one belongs."""
    from lhub.door import variable  # for errors only
    from lhub.redaction import Redaction

    words = [value for name, value in os.environ.items() if name.startswith(BUILD_ENV)]
    for option, key, word in zip(["", "", *arguments], ["", *arguments], arguments, strict=False):
        if option == _BUILD_ENV and "=" not in key and variable(key) is None and not word.startswith("-"):
            words.append(word)
    return Redaction(word for word in words if len(word) >= _TELLING)


def main(arguments: list[str]) -> int:
    """Run one command; its exit code. No error leaves as a traceback (unless LHUB_TRACEBACK is set)."""
    _tell_history(_own(arguments))
    try:
        code = lhub.main(arguments, prog_name="lhub", standalone_mode=False)
        return code if isinstance(code, int) else 0  # of `ctx.exit`; a command itself answers nothing
    except click.exceptions.Exit as end:
        return end.exit_code
    except (click.Abort, KeyboardInterrupt):
        sys.stderr.write("lhub: interrupted\n")
        return 130
    except BrokenPipeError:
        raise
    except Exception as error:
        if os.environ.get("LHUB_TRACEBACK"):
            raise
        said, own = _sentence(error), _own(arguments)
        if _BUILD_ENV in " ".join(own):
            said = _without(said, _hide(own))
        return _say(said, as_json="--json" in own)


def _sentence(error: Exception) -> LhubError:
    """Any error as one of ours."""
    if isinstance(error, LhubError):
        return error
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        words = " ".join(error.format_message().split()).rstrip(".")
        said = LhubError(words[:1].lower() + words[1:], hint=f"{context.command_path} --help" if context else "")
        said.code = error.exit_code
        return said
    if isinstance(error, OSError):
        where = f"{error.filename}: " if isinstance(error.filename, str) else ""
        return LhubError(f"{where}{error.strerror or error}", hint="mend this and try again")
    if isinstance(error, UnicodeError):
        return Corrupt(f"a text is not UTF-8: {error.reason if isinstance(error, UnicodeDecodeError) else error}")
    return LhubError(
        f"an unexpected fault, {type(error).__name__}: {error}", hint="LHUB_TRACEBACK=1 shows where; please report it"
    )


def _without(error: LhubError, hide: Redaction) -> LhubError:
    """The same error, what is hidden taken out of its words."""
    said = LhubError(hide.text(str(error)), hint=hide.text(error.hint))
    said.code = error.code
    return said


def _say(error: LhubError, *, as_json: bool) -> int:
    if as_json:
        import json  # 3 ms

        sys.stdout.write(json.dumps({"error": error.to_dict()}, indent=2) + "\n")
    say(error)
    return error.code


def unforeseen(error: LhubError) -> None:
    """Raise what was behind an error and is none of ours, where somebody looks for the reason."""
    if os.environ.get("LHUB_TRACEBACK") and not isinstance(error.__cause__, (LhubError, OSError, KeyboardInterrupt)):
        raise error


def say(error: LhubError) -> None:
    """What failed, on stderr."""
    sys.stderr.write(f"lhub: {clean(str(error))}\n")
    if error.hint:
        sys.stderr.write(f"hint: {clean(error.hint)}\n")


def registry(ctx: click.Context, root: str | None, *, writes: bool = False, anonymous: bool = False) -> Any:
    """The registry that a command means: its own --root, that of `lhub --root`, or what the environment says."""
    from lhub.door import here

    return here(root=ctx.find_root().obj if root is None else root, writes=writes, anonymous=anonymous)
