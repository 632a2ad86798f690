"""The past of a resource: its diary, what each tag was at a date, and a tag set back to where it was.

>>> then = Then(name="alice/X", at=0.0, tags={"latest": "0" * 64}, protected_tags=(), visibility="public")
>>> then.to_dict()["visibility"]
'public'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import lhub.commits as commits
from lhub.change import Change
from lhub.diary import Entry, replay
from lhub.errors import NotFound, UsageError
from lhub.moments import timestamp
from lhub.names import LATEST, Ref, is_version_prefix, parse_ref, parse_tag
from lhub.session import Session, seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Then:
    """A resource at a moment (`at`, seconds since 1970): tag to version, the protected of them, its visibility."""

    name: str
    at: float
    tags: dict[str, str]
    protected_tags: tuple[str, ...]
    visibility: str | None

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub log --at --json` prints it."""
        return {
            "name": self.name,
            "at": timestamp(self.at),
            "tags": self.tags,
            "protected_tags": list(self.protected_tags),
            "visibility": self.visibility,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolled:
    """What a rollback did: the `tags` of `name` (``alice/X``) that now name `version`, and where each was `before`."""

    name: str
    version: str
    tags: tuple[str, ...]
    before: dict[str, str]

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub rollback --json` prints it."""
        return {"name": self.name, "version": self.version, "tags": list(self.tags), "before": self.before}


def log(session: Session, ref: Ref, tag: str | None = None, most: int | None = None) -> Sequence[Entry]:
    """The diary, newest first; of one tag, or of one version, if the reference or `tag` names it."""
    resource, tag = session.seen(ref), _one_tag(ref, tag)
    entries = commits.told(resource, most)
    if ref.at is not None:
        until = seconds(ref.at)
        entries = [entry for entry in entries if entry.when <= until]
    if ref.version:
        entries = [entry for entry in entries if (entry.version or "").startswith(ref.version)]
    elif tag:
        entries = [entry for entry in entries if entry.concerns(tag)]
    if not entries and (tag or ref.version):
        raise NotFound(f"the diary of {resource.name} tells nothing of {tag or ref.version}", hint=_log(resource.name))
    return tuple(entries)


def then(session: Session, ref: Ref, at: str, tag: str | None = None) -> Then:
    """What each tag was at a moment; NotFound for one before the resource was, and for a tag that was not."""
    if ref.version or ref.at:
        raise UsageError(f"{ref} names a version or a date already", hint=f"lhub log {ref.name} --at DATE")
    until, tag = seconds(at), _one_tag(ref, tag)
    resource = session.seen(ref)
    entries = commits.told(resource)
    state = replay(reversed(entries), until=until)
    if state.deleted or (state.visibility is None and not state.tags):
        first = timestamp(min((entry.when for entry in entries), default=0.0))
        raise NotFound(
            f"{resource.name} did not stand at {at}", hint=f"its diary begins {first}" if first else _log(resource.name)
        )
    if tag and tag not in state.tags:
        raise NotFound(f"{resource.name}:{tag} did not stand at {at}", hint=_log(resource.name))
    tags = {name: state.tags[name] for name in sorted(state.tags) if tag in (None, name)}
    return Then(
        name=resource.name,
        at=until,
        tags=tags,
        protected_tags=tuple(sorted(state.pins & tags.keys())),
        visibility=state.visibility,
    )


def _one_tag(ref: Ref, tag: str | None) -> str | None:
    if tag is not None and ref.tag not in (None, tag):
        raise UsageError(f"{ref} names another tag than --tag {tag[:40]}", hint="give one of them")
    return parse_tag(tag) if tag is not None else ref.tag


def rollback(session: Session, ref: Ref, version: str, tags: Sequence[str]) -> Rolled:
    """Move tags back to a version that stands, whatever its size."""
    named = tuple(dict.fromkeys((*([ref.tag] if ref.tag else []), *map(parse_tag, tags)))) or (LATEST,)
    if ref.version or ref.at:
        raise UsageError(f"{ref} names a version already", hint="lhub rollback alice/X VERSION -t TAG")
    target = _target(ref, named[0], version)
    resource = session.permitted("push", ref)
    with session.changing(resource, ref.namespace) as locked:
        if absent := [tag for tag in named if tag not in locked.links.tags]:
            raise NotFound(
                f"{resource.name} has no tag {', '.join(absent)}",
                hint=f"-t names another, lhub tag {resource.name}@VERSION {absent[0]} makes it",
            )
        before = {tag: locked.links.tags[tag].version for tag in named}
        found = _found(session, locked, target, version)
        locked.refuse_protected(named, found)
        with resource.opened(found) as opened:
            opened.manifest()  # a tag is not moved to what cannot be read
        if locked.move(named, found):
            locked.record(replace(locked.entry("rollback"), version=found, tags=named))
    return Rolled(name=resource.name, version=found, tags=named, before=before)


def _target(ref: Ref, tag: str, text: str) -> Ref:
    """What VERSION means: digits, a date (as the tag was then), or another tag."""
    bare = Ref(resource=ref.resource, namespace=ref.namespace, secret=ref.secret)
    if text.startswith("@{"):
        return replace(bare, tag=tag, at=parse_ref(f"X{text}").at)
    digits = text.removeprefix("@").lower()
    if text.startswith("@") or is_version_prefix(digits):
        if not is_version_prefix(digits):
            raise UsageError(f"{text[:40]!r} is no version", hint="8 to 64 hex digits, a tag, or @{2026-03-01}")
        return replace(bare, version=digits)
    return replace(bare, tag=parse_tag(text.removeprefix(":")))


def _found(session: Session, locked: Change, target: Ref, text: str) -> str:
    """The version that is meant and stands; what was collected gets a sentence of its own."""
    digits = target.version
    try:
        return session.resolve(locked.resource, target)
    except NotFound:
        if digits and text in locked.links.tags:  # a tag that looks like digits
            return locked.links.tags[text].version
        told = {entry.version for entry in commits.log(locked.resource) if entry.version} if digits else set()
        if any(version.startswith(digits or "-") for version in told):
            raise NotFound(
                f"{locked.resource.name}@{digits} is not here any more, a collection has removed it",
                hint=f"a bundle or another registry may have it; {_log(locked.resource.name)} shows what it was",
            ) from None
        raise


def _log(name: str) -> str:
    return f"lhub log {name}"
