"""A new Executor, from nothing: new. What the options do not say, a person at a terminal is asked."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping

import click

import lhub.cli.show as show
from lhub.cli.main import registry
from lhub.cli.options import json_option
from lhub.errors import UsageError, listing

_SORTS = "cpu|torch-gpu|tf-gpu|jax-gpu"
_YES, _NO = ("y", "yes", "Y", "Yes"), ("n", "no", "N", "No")


@click.command("new")
@click.option("--name", help="That of its class, as in MyExecutor or alice/MyExecutor.")
@click.option("--path", metavar="DIR", help="The folder to make, or to write into. [./NAME]")
@click.option("--advance-configuration", "advanced", is_flag=True, help="With a Dockerfile, [cpu] if none is named.")
@click.option("--description", metavar="TEXT", help="What it does, in a sentence.")
@click.option("--keywords", metavar="WORDS", help="What to find it by, with commas between.")
@click.option("--url", help="Where its source lives.")
@click.option("--dockerfile", metavar=_SORTS, help="With this Dockerfile; implies --advance-configuration.")
@json_option
@click.pass_context
def new_command(ctx: click.Context, /, path: str | None, advanced: bool, as_json: bool, **said: str | None) -> None:
    """Make the folder of a new Executor, which can be served and pushed as it is.

    At a terminal you are asked for what the options do not say; elsewhere --name is needed, and all else has a
    default. Nothing is overwritten: a folder that has one of the files already is left as it was.

    \b
    Example:
      lhub new --name Greeter --description "Greets every document"
      lhub new --name vision/Detector --path ./detector --keywords image,cv --dockerfile torch-gpu
    """
    from lhub.creation import create
    from lhub.kinds.scaffold import plan

    session = registry(ctx, None, anonymous=True).session
    words = {what: text for what, text in {**said, "path": path}.items() if text is not None}
    advanced = advanced or "dockerfile" in words
    (_ask if show.can_ask() else _assume)(words, advanced=advanced)
    place = words.pop("path")
    scaffold = plan(**words)
    files, where = scaffold.files(), os.path.abspath(place)
    create(files, where, unique=session.unique(), registries=(session.root, *session.roots))
    if as_json:
        show.as_json({"name": scaffold.full_name, "path": where, "files": sorted(files)})
        return
    shown = place if place.startswith(("/", ".")) else f"./{place}"  # as a word that no shell takes for an option
    click.echo(f"made {scaffold.full_name} in {show.clean(shown)}: {', '.join(sorted(files))}")
    click.echo(f"next: lhub push {show.clean(shlex.quote(shown))}")


def _assume(words: dict[str, str], *, advanced: bool) -> None:
    """Add the defaults to what was said, where nobody can be asked."""
    _refuse(words, also=[] if "name" in words else ["--name is not given, and nobody can be asked for it"])
    words.setdefault("path", _folder(words["name"]))
    if advanced:
        words.setdefault("dockerfile", "cpu")


def _ask(words: dict[str, str], *, advanced: bool) -> None:
    """Add to what was said what a person answers, in the order in which `jina hub new` asks."""
    _refuse(words)
    if "name" not in words:
        words["name"] = _answer("What is its name, that of its class?", "MyExecutor", _faults_in("name"))
    if "path" not in words:
        place = _answer("In which folder shall it be?", _folder(words["name"]), _place_faults)
        words["path"] = os.path.expanduser(place)  # which a shell does for an option
    if not advanced and _answer("Will you describe it, and have a Dockerfile? (y/n)", "n", _unclear) in _NO:
        return
    sort = words.get("dockerfile") or _answer(f"Which Dockerfile? ({_SORTS}|none)", "cpu", _sort_faults)
    if sort != "none":
        words["dockerfile"] = sort
    for what, question in _QUESTIONS.items():
        if what not in words:
            words[what] = _answer(question, "", _faults_in(what))


_QUESTIONS = {
    "description": "What does it do, in a sentence?",
    "keywords": "What should people find it by? (words with commas between)",
    "url": "Where does its source live? (a URL)",
}


def _answer(question: str, default: str, faults: Callable[[str], list[str]]) -> str:
    """What a person types, asked again until it will do; the end of what he types is the end of it all."""
    while True:
        click.echo(f"{question} [{default}] " if default else f"{question} ", nl=False, err=True)
        line = sys.stdin.readline()
        if not line:
            click.echo(err=True)
            raise click.Abort
        answer = line.strip() or default
        wrong = faults(answer)
        if not wrong:
            return answer
        click.echo(f"lhub: {show.clean(listing('that will not do', wrong))}", err=True)


# what will not do


def _refuse(words: Mapping[str, str], *, also: Iterable[str] = ()) -> None:
    """Raise UsageError with every fault of what was said, and of what was not."""
    faults = [*also, *(fault for what, text in words.items() for fault in _faults_in(what)(text))]
    if faults:
        raise UsageError(listing("no Executor was made", faults), hint="lhub new --name MyExecutor is enough")


def _faults_in(what: str) -> Callable[[str], list[str]]:
    """The function that finds what is wrong with an answer."""
    from lhub.kinds.scaffold import faults_of

    return _path_faults if what == "path" else lambda text: faults_of(what, text)


def _path_faults(place: str) -> list[str]:
    return [f"the path {'has a NUL' if place else 'is empty'}"] if not place or "\0" in place else []


def _place_faults(place: str) -> list[str]:
    """Of a folder that is asked for also what stands there: nobody answers six questions to learn it."""
    from lhub.creation import in_the_way
    from lhub.kinds.scaffold import ALWAYS

    return _path_faults(place) or [
        f"{place} has already {name}" for name in in_the_way(ALWAYS, os.path.expanduser(place))
    ]


def _sort_faults(sort: str) -> list[str]:
    return [] if sort == "none" else _faults_in("dockerfile")(sort)


def _unclear(answer: str) -> list[str]:
    return [] if answer in _YES + _NO else ["y is yes, n is no"]


def _folder(name: str) -> str:
    return f"./{name.rpartition('/')[2]}"
