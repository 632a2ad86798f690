"""Executors, as `jina hub push, pull, status` and `Flow().add(uses='jinaai://...')` ask for them."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from hashlib import md5
from itertools import chain
from threading import Thread
from typing import Any

from lhub.archive import MOST_ZIPPED, pack, unpack
from lhub.builds import Event
from lhub.door import image
from lhub.errors import BuildFailed, LhubError, UsageError
from lhub.gateway.answers import Answer, Broken, done, failed, plain, told
from lhub.gateway.calls import Call, Method, identity_of, ref_of
from lhub.gateway.forms import Fields
from lhub.gateway.uploads import Upload, receive
from lhub.manifest import variables
from lhub.names import LATEST, Ref, parse_tag, secret_faults
from lhub.orders import ImageFailed, Pushed
from lhub.shelf import Shown

Line = Mapping[str, Any]
"""What is told while something goes on, a JSON object a line."""
_SUBJECTS = {
    "receive": "extractZip",
    "normalise": "normalize",
    "check requirements": "normalize",
    "publish": "createExecutor",
    "image": "buildWorkspace",
    "push": "createExecutor",
}
"""What the clients call the steps of a push."""
_ARCHIVE = "archive.zip"
_TICK = 1.0
"""Seconds without a word after which is looked whether anybody listens still."""


# push


def push(call: Call) -> Answer:
    """A new version: the form's archive, unpacked, pushed as `lhub push` pushes a folder."""
    with ExitStack() as stack:
        hasher = md5(usedforsecurity=False)
        upload = receive(call, stack, name=_ARCHIVE, most=MOST_ZIPPED, also=hasher.update)
        wanted = upload.fields.text("md5sum")
        if wanted is not None and wanted.lower() != hasher.hexdigest():
            raise Broken("the archive is not the one whose MD5 was sent", hint="send it again")
        asked = _asked(upload.fields)
        folder = upload.inbox.sub("executor")
        unpack(upload.inbox.pen, upload.file.path, folder)
        pushing = _Pushing(call, upload, folder, asked)
        pushing.begin(stack.pop_all())
        return told(pushing.lines())


def _asked(fields: Fields) -> dict[str, Any]:
    """What `Registry.push` takes, in the words of the form."""
    name, secret = fields.wanted("id"), fields.text("secret")
    public, private = fields.flag("public"), fields.flag("private")
    build_env = fields.mapping("buildEnv") or {}
    if any(not isinstance(value, str) for value in build_env.values()):
        raise UsageError("buildEnv has a value that is no text")
    dockerfile, platforms = fields.text("dockerfile"), _tags(fields.text("platform"))
    asked: dict[str, Any] = {
        "image": image(None, dockerfile, platforms),
        "dockerfile": dockerfile,
        "platforms": platforms,
        "no_cache": bool(fields.flag("buildWithNoCache")),
        "tags": _tags(fields.text("tags")),
        "protected_tags": _tags(fields.text("immutableTags")),
        "public": public or None,
        "private": bool(private),
        "build_env": build_env,
        "whole": True,
        "kind": "executor",
    }
    return asked | ({"name": name} if secret is None else {"force_update": name, "secret": secret})


def _tags(text: str | None) -> list[str]:
    return [tag for each in text.split(",") if (tag := each.strip())] if text else []


class _Pushing:
    """A push that goes on in a thread of its own, and is told line by line."""

    def __init__(self, call: Call, upload: Upload, folder: str, asked: Mapping[str, Any]) -> None:
        self.call, self.folder, self.asked = call, folder, asked
        self.secret = upload.fields.text("secret")
        self.verbose = bool(upload.fields.flag("verbose"))
        self.said: queue.SimpleQueue[dict[str, Any] | Pushed | Exception] = queue.SimpleQueue()
        self.first: dict[str, Any] | Pushed | Exception = {}

    def begin(self, stack: ExitStack) -> None:
        """Push, and return once nothing is left that is refused early; `stack` is closed at the end."""
        Thread(target=self._push, args=(stack,), daemon=True).start()
        self.first = self.said.get()
        if isinstance(self.first, Exception):
            raise self.first

    def _push(self, stack: ExitStack) -> None:
        end: Pushed | Exception | None = None
        try:
            with stack:
                end = self._pushed()
        except LhubError as error:
            error.args, error.hint = (self._theirs(str(error)),), self._theirs(error.hint)
            end = end or error
        except Exception as error:  # told in the last line; published it is, if only the inbox could not be emptied
            end = end or error
        finally:
            self.said.put(end or BuildFailed("the push was broken off"))

    def _pushed(self) -> Pushed:
        """What was published; of an image that was not the clients are told in a warning, for the rest stands."""
        try:
            return self.call.registry.push(self.folder, telling=self._tell, **self.asked)
        except ImageFailed as error:
            self.call.notes.append(f"{error}; {error.hint}")
            return error.pushed

    def _theirs(self, words: str) -> str:
        """A sentence in the words of who sent the archive, who knows nothing of our folder."""
        return words.replace(self.folder, "the archive")

    def _tell(self, event: Event) -> None:
        if (line := _push_line(event, verbose=self.verbose)) is not None:
            self.said.put(line)

    def lines(self) -> Iterator[Line | None]:
        """What the push says, to its end."""
        said: dict[str, Any] | Pushed | Exception | None = self.first
        while said is None or isinstance(said, dict):
            yield said
            try:
                said = self.said.get(timeout=_TICK)
            except queue.Empty:
                said = None
        if isinstance(said, Pushed):
            for warning in self._warnings(said):
                yield {"type": "warning", "message": plain(warning)}
        yield self._end(said)

    def _warnings(self, pushed: Pushed) -> Iterator[str]:
        yield from map(self._theirs, dict.fromkeys((*self.call.notes, *pushed.warnings)))

    def _end(self, said: Pushed | Exception) -> Line:
        if isinstance(said, Pushed):
            secret = said.secret or self.secret
            told = _told(ref_of(said.name), said.visibility, str(said.version), list(said.tags))
            what = "published" if said.new else "already there"
            payload = told | ({"secret": secret} if secret is not None and "owner" not in told else {})
            return {"type": "complete", "subject": "createExecutor", "message": what, "payload": payload}
        body = failed(said, caller=self.call.caller).body
        return {"type": "error", "message": body["readableMessage"], "payload": body}


def _push_line(event: Event, *, verbose: bool) -> dict[str, Any] | None:
    """An event of the task as a line; rich reads what is told without --verbose as its own markup."""
    kind, subject = event["type"], _SUBJECTS.get(event["subject"], "createExecutor")
    if kind in ("start", "done"):
        return {"type": kind, "subject": subject, "payload": ""}
    if kind == "console" and verbose:
        return {"type": kind, "subject": subject, "payload": str(event["payload"])}
    return None


def _told(ref: Ref, visibility: str, version: str, tags: list[str]) -> dict[str, Any]:
    """An Executor as the clients show it."""
    told: dict[str, Any] = {"id": identity_of(ref), "name": ref.resource, "visibility": visibility}
    if ref.namespace:  # without one the clients write jinahub://
        told["owner"] = {"name": ref.namespace}
    return told | {"commit": {"id": version, "tags": tags}}


# pull


def get_package(call: Call) -> Answer:
    """Where the archive of a version is fetched, and what it is."""
    fields = call.fields()
    secret = fields.text("secret")
    if secret is not None and secret_faults(secret):
        raise UsageError("the secret cannot be one")
    ref = replace(ref_of(fields.wanted("id")), tag=parse_tag(fields.text("tag") or LATEST), secret=secret)
    ref = replace(ref, scheme="jinaai" if ref.namespace else "jinahub")
    shown = call.registry.show(ref)
    at = replace(ref, tag=None, version=shown.version)
    link, digest = call.links.to_made(call.registry, at, f"{ref.resource}.zip", "zip", pack)
    executor = _told(ref, shown.visibility, shown.version, _tags_of(shown, ref.tag))
    executor["commit"]["commitParams"] = {"buildEnv": dict.fromkeys(variables(shown.manifest.get("about", {})), "")}
    containers = [_loaded(call, ref, fields.text("preferPlatform"))] if "docker" in fields.texts("include") else []
    return done(executor | {"package": {"containers": containers, "download": link, "md5": digest}})


def _loaded(call: Call, ref: Ref, platform: str | None) -> str:
    """The name of the image, in the engine by now: the client looks for it there, and pulls it nowhere."""
    return call.registry.load_image(replace(ref, docker=True), prefer_platform=platform).path.removeprefix("docker://")


def _tags_of(shown: Shown, asked: str | None) -> list[str]:
    """The tags of a version, that which was asked for first; never none, for the clients take the first."""
    named = [tag for tag, version in shown.tags.items() if version == shown.version]
    return list(dict.fromkeys([*([asked] if asked else []), *named])) or [LATEST]


# status


def list_tasks(call: Call) -> Answer:
    """The newest build of an Executor."""
    ref = ref_of(call.fields().wanted("id"))
    watched = call.own_first(ref, lambda each: call.registry.build(each.name))
    return done([{"_id": watched.task, "name": ref.resource}])


def query_progress(call: Call) -> Answer:
    """A build as it goes, or went."""
    fields = call.fields()
    task, replay = fields.wanted("id"), bool(fields.flag("replay"))
    watched = call.registry.build(task_id=task)
    pending: list[Line | None] = [{"type": "report", "status": "pending", "task": {"_id": task}}]
    lines = _progress_lines(call, task, watched.follow_ticking(replay=replay), watched.look)
    return told(chain([] if watched.look().ended else pending, lines))


def _progress_lines(
    call: Call, task: str, events: Iterator[Event | None], look: Callable[[], Any]
) -> Iterator[Line | None]:
    try:
        for number, event in enumerate(events, 1):
            if event is None:
                yield None
                continue
            kind = event["type"] if event["type"] in ("start", "done", "console") else None
            if kind is not None:
                text = plain(str(event["payload"])) if kind == "console" else ""
                data = {"type": kind, "subject": _SUBJECTS.get(event["subject"], "createExecutor"), "payload": text}
                yield {"type": "progress", "data": {"sn": number, "dt": event["time"], "data": data}}
        yield _report(call, task, look())
    except Exception as error:  # the last line tells it, whatever it is
        yield {"type": "error", "message": plain(failed(error, caller=call.caller).body["message"])}


def _report(call: Call, task: str, build: Any) -> Line:
    """How a build has ended."""
    about = {"type": "report", "task": {"_id": task}}
    if build.state != "succeeded" or build.version is None:
        raise BuildFailed(f"the build {build.state}: {build.message}" if build.message else f"the build {build.state}")
    ref = ref_of(build.name)
    try:
        shown = call.registry.show(replace(ref, version=build.version))
    except LhubError:  # hidden since, or collected: that it succeeded stays true
        return about | {"status": "succeeded"}
    result = _told(ref, shown.visibility, shown.version, _tags_of(shown, None))
    return about | {"status": "succeeded", "result": result}


METHODS = {
    "executor.push": Method(answer=push, upload=True),
    "executor.update": Method(answer=push, upload=True),
    "executor.getPackage": Method(answer=get_package),
    "executor.listAsyncTasks": Method(answer=list_tasks),
    "executor.queryProgress": Method(answer=query_progress),
}
