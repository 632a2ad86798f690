"""Artifacts: arrays of documents (`DocumentArray.push, pull`, `jac://`) and files (`hubble.Client`).

A bare name is one of the caller's namespace, as it is when he pushes; if there is none, an old array without one.
Executors are no artifacts: here they are not found.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import IO, Any

from lhub.errors import Conflict, Corrupt, LhubError, NotFound, UsageError
from lhub.gateway.answers import Answer, done
from lhub.gateway.calls import Call, Method, identity_of, ref_of
from lhub.gateway.forms import Fields, parsed
from lhub.gateway.uploads import receive
from lhub.kinds.docarray import form_told
from lhub.kinds.forms import Form
from lhub.kinds.streamed import is_streamed, restream
from lhub.manifest import METADATA
from lhub.moments import timestamp
from lhub.names import Ref
from lhub.orders import Pushed
from lhub.renaming import Taken, new_name
from lhub.shelf import Listed, Shown
from lhub.store import DAMAGED, Version

_ARRAY = "documentArray"
_TYPES = {"docarray": _ARRAY, "files": "file"}
"""What the clients call a kind."""
_CLASSES = {1: "DocumentArray", 2: "DocList"}


# whom a call is about


def _found(call: Call, fields: Fields) -> Ref:
    """The resource of an `id` or `name`, that stands and is an artifact."""
    given = fields.text("id") or fields.text("name")
    if given is None:
        raise UsageError("neither id nor name is given")
    return call.own_first(ref_of(given), partial(_artifact, call))


def _artifact(call: Call, ref: Ref) -> Ref:
    if call.registry.kind(ref) not in _TYPES:
        raise NotFound(f"{ref.name} is an Executor, no artifact", hint="jina hub and lhub know it")
    return ref


# upload


def upload(call: Call) -> Answer:
    """A new version of an array or a file; the same name again replaces what `latest` is."""
    caller = call.login()
    with ExitStack() as stack:
        sent = receive(call, stack)
        name = sent.fields.text("id") or sent.fields.text("name")
        array = sent.fields.text("type") == _ARRAY
        if array and name is None:
            raise UsageError("an array of documents has no name", hint=f"push it as {caller}/NAME")
        ref = ref_of(name) if name is not None else Ref(resource=f"artifact-{os.urandom(6).hex()}")
        if not array and ref.namespace is None:
            ref = replace(ref, namespace=caller)
        pushed = call.registry.push_received(
            sent.file,
            ref.name,
            public=bool(sent.fields.flag("public")),
            metadata=None if array else sent.fields.mapping("metaData"),
            kind="docarray" if array else None,
        )
    return done(_told_of(call, pushed, sent.fields.text("name")))


def _told_of(call: Call, pushed: Pushed, asked: str | None) -> Mapping[str, Any]:
    """What was pushed; of what somebody has deleted since, what the push itself told."""
    ref = ref_of(pushed.name)
    try:
        return _told(call.registry.show(replace(ref, version=pushed.version)), asked)
    except LhubError:
        told = {"_id": identity_of(ref), "name": asked or pushed.name, "type": _TYPES[pushed.kind]}
        return told | {"visibility": pushed.visibility, "commit": {"id": pushed.version}}


# look


def get_detail(call: Call) -> Answer:
    """What is known of one."""
    fields = call.fields()
    return done(_told(call.registry.show(_found(call, fields)), fields.text("name")))


def list_artifacts(call: Call) -> Answer:
    """The caller's own, filtered, sorted, page by page; without a page size all of them."""
    caller, fields = call.login(), call.fields()
    wanted, order = fields.mapping("filter") or {}, fields.mapping("sort") or {}
    found = [each for each in _all(call, caller) if _matches(each, wanted)]
    for key, way in reversed(list(order.items())):
        found.sort(key=lambda each: _sortable(each, key), reverse=way in (-1, "-1", "desc"))
    size = fields.number("pageSize", 0) or len(found)
    start = max(0, fields.number("pageIndex", 1) - 1) * size
    return done(found[start : start + size], meta={"total": len(found)})


def _all(call: Call, caller: str) -> Iterator[dict[str, Any]]:
    with suppress(NotFound):  # nothing was ever pushed there
        for line in call.registry.list(caller):
            if line.kind == "docarray":
                yield _listed(line)
            elif line.kind == "files":
                with suppress(LhubError, OSError):  # deleted since, or damaged
                    yield _told(call.registry.show(ref_of(line.name)), None)


def _matches(told: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(_value(told, path) == value for path, value in wanted.items())


def _value(told: Mapping[str, Any], path: str) -> Any:
    """What is at a dotted path, as in ``metaData.foo``."""
    found: Any = told
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _sortable(told: Mapping[str, Any], path: str) -> tuple[int, float, str]:
    """Nothing first, then numbers, then all else as texts."""
    value = _value(told, path)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return 1, value, ""
    return (0, 0.0, "") if value is None else (2, 0.0, str(value))


def _listed(line: Listed) -> dict[str, Any]:
    """One line, of what a listing knows without opening anything."""
    ref = ref_of(line.name)
    told: dict[str, Any] = {"_id": identity_of(ref), "name": line.name if line.kind == "docarray" else ref.resource}
    told |= {"type": _TYPES[line.kind], "visibility": line.visibility}
    if line.kind == "docarray":
        told["metaData"] = {"summary": _summary({"length": line.length})}
    return told | {"createdAt": _moment(line.created or line.updated), "updatedAt": _moment(line.updated)}


def _moment(seconds: float) -> str:
    """A moment to the millisecond, by which the clients sort."""
    return f"{(timestamp(seconds) or '').removesuffix('Z')}.{int(seconds % 1 * 1000):03}Z"


def _told(shown: Shown, asked: str | None) -> dict[str, Any]:
    """One in full, by the name by which it was asked for."""
    told = _listed(shown)
    about = shown.manifest.get("about", {})
    if (kept := about.get(METADATA)) is not None:
        told["metaData"] = parsed(kept, "the metadata")
    if shown.kind == "docarray":
        told["metaData"] = {**told["metaData"], "summary": _summary(about)}
    return told | {"name": asked or told["name"], "size": shown.bytes, "commit": {"id": shown.version}}


def _summary(about: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """What docarray's own summary has, as far as the manifest tells it."""
    form = form_told(about)
    told: list[tuple[str, Any]] = [("Type", _CLASSES[form.generation])] if form else []
    told.append(("Length", about.get("length")))
    if "homogeneous" in about:
        told.append(("Homogenous Documents", about["homogeneous"]))
        told.append(("Fields", [each.get("name") for each in about.get("fields", ()) if isinstance(each, dict)]))
    return [{"name": name, "value": value} for name, value in told]


# download


def get_download_url(call: Call) -> Answer:
    """Where the bytes of one are fetched."""
    fields = call.fields()
    ref = _found(call, fields)
    with call.registry.opened(ref) as version:
        at = replace(ref, version=version.id)
        link = _link(call, at, version)
        if call.cache is not None and fields.text("id") is None:
            call.cache.about_to_fetch(fields.wanted("name"), ref.name, version.id)
    return done({"download": link})


def _link(call: Call, ref: Ref, version: Version) -> str:
    path = version.single()
    if path is None:
        raise _no_artifact(ref)
    form = form_told(version.manifest().about) if version.manifest().kind == "docarray" else None
    if form is None or is_streamed(form) or version.manifest().about.get("length") == 0:
        return call.links.to_payload(call.registry, ref, version, path)
    call.links.verify(version, path)
    return call.links.to_made(call.registry, ref, ref.resource, "array", partial(_restream, path, form))[0]


def _no_artifact(ref: Ref) -> UsageError:
    return UsageError(f"{ref.name} is a folder, which is no artifact", hint=f"lhub pull {ref.name} gives its files")


def _restream(path: str, form: Form, version: Version, out: IO[bytes]) -> None:
    """The array as the clients read it."""
    with version.file(path) as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
        try:
            restream(file, form, out)
        except ValueError as error:
            raise Corrupt(f"{path} of {version.where} is not whole: {error}", hint=DAMAGED) from None


# change


def delete(call: Call) -> Answer:
    """Delete one; `lhub restore` brings it back."""
    call.login()
    ref = _found(call, call.fields())
    call.registry.delete(ref)
    return done({"_id": identity_of(ref)})


def delete_many(call: Call) -> Answer:
    """Delete several, those that are there."""
    call.login()
    fields, deleted = call.fields(), []
    for name in dict.fromkeys((*fields.texts("ids"), *fields.texts("names"))):
        with suppress(NotFound):
            ref = _found(call, Fields(values={"name": [name]}))
            call.registry.delete(ref)
            deleted.append(identity_of(ref))
    return done({"ids": deleted})


def update(call: Call) -> Answer:
    """Another name, visibility or metadata; the bytes stay. A name that is taken is told before anything is changed."""
    call.login()
    fields = call.fields()
    ref = _found(call, Fields(values={"id": fields.values.get("id", ())}))
    name, metadata, public = fields.text("name"), fields.mapping("metaData"), fields.flag("public")
    if name is not None:
        _refuse_taken(call, ref, name)
    if metadata is not None:
        _retell(call, ref, metadata)
    if public is not None:
        call.registry.visibility(ref, "public" if public else "private")
    if name is not None:
        ref = ref_of(call.registry.rename(ref, name))
    return done(_told(call.registry.show(ref), name))


def _refuse_taken(call: Call, ref: Ref, name: str) -> None:
    wanted = replace(ref, resource=new_name(ref, name))
    if wanted == ref:
        return
    with suppress(NotFound):
        call.registry.kind(wanted)
        raise Taken(f"{wanted.name} stands already", hint="choose another name")


def _retell(call: Call, ref: Ref, metadata: Mapping[str, Any]) -> None:
    """The same file with other metadata, which is another version; what was pushed meanwhile is looked at again."""
    for last in (False, False, True):
        with call.registry.opened(ref) as version:
            path = version.single()
            if path is None:
                raise _no_artifact(ref)
            try:
                call.registry.push(f"{version.folder()}/{path}", ref.name, metadata=metadata, expect=version.id)
            except Conflict:
                if last:
                    raise
            else:
                return


METHODS = {
    "artifact.upload": Method(answer=upload, upload=True),
    "artifact.getDetail": Method(answer=get_detail),
    "artifact.list": Method(answer=list_artifacts),
    "artifact.getDownloadUrl": Method(answer=get_download_url, verbs=frozenset({"GET", "POST"})),
    "artifact.delete": Method(answer=delete),
    "artifact.deleteMany": Method(answer=delete_many),
    "artifact.update": Method(answer=update),
}
