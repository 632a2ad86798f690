"""The pages of one resource: what it is, how it is used, how it came about, what was built, what may be changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise

from lhub.diary import Entry
from lhub.errors import LhubError, NotFound, UsageError
from lhub.gateway.answers import code_of
from lhub.kinds.config import CONFIG
from lhub.manifest import Manifest
from lhub.phrases import about_lines
from lhub.portal.addresses import resource_address, selected, suffix_of
from lhub.portal.cards import Card, card_of, name_in, page
from lhub.portal.readme import rendered
from lhub.portal.tabs import sheet
from lhub.portal.texts import Text, read_text
from lhub.portal.uses import uses
from lhub.portal.visit import Page, Visit
from lhub.store import Version

_README = "readme.md"
_LONGEST_README = 64 << 10
"""Bytes of a README that are shown."""
_MOST_LINES, _MOST_ENTRIES = 3000, 2000
"""Lines of a diff, or of a log, on one page; entries of a diary that are gone through for one."""
_MOST_GONE = 20
"""Removed tags that are offered to be brought back."""


# what it is


def overview(visit: Visit) -> Page:
    """Description, README, the lines to copy, the tags."""
    card = card_of(visit)
    if card.version is None:
        return page(card, "overview.html", "overview", shown=None)
    with visit.registry.opened(card.at) as version:
        manifest, readme, configured = version.manifest(), _readme(version), CONFIG in version.sums()
        image, sealed = version.resource.image(version.id) is not None, version.stored is not None
    folder = visit.registry.path(card.at) if configured and not sealed else None
    about = dict(manifest.about)
    description = about.pop("description", None)
    return page(
        card,
        "overview.html",
        "overview",
        shown=manifest,
        description=description if isinstance(description, str) else "",
        facts=[line for key, value in about.items() for line in about_lines(str(key), value)],
        single=_is_single(card, manifest),
        readme=readme and rendered(readme.text, partial(_beside, card)),
        readme_whole=readme is None or readme.whole,
        uses=uses(card, about, folder, visit.rooted, image=image),
    )


def _is_single(card: Card, manifest: Manifest) -> bool:
    """Whether it is no folder, in which a README could stand."""
    return card.kind == "docarray" or "file" in manifest.about


def _readme(version: Version) -> Text | None:
    """The README of a version; None where there is none that reads."""
    path = next((path for path in version.sums() if path.lower() == _README), None)
    return None if path is None else read_text(version, path, _LONGEST_README)


def _beside(card: Card, path: str, raw: bool) -> str:
    """Where a file of the same version stands that a README names."""
    suffix = suffix_of(None, card.version)
    return resource_address(card.name, "raw" if raw else "files", path, at=suffix)


# how it came about


def history(visit: Visit) -> Page:
    """Who changed it, when, and under which tags; with two versions to choose for a diff."""
    card = card_of(visit)
    entries = visit.registry.log(card.ref, most=_MOST_ENTRIES)
    shown, more = sheet(entries, visit.fields.number("page", 1)), len(entries) == _MOST_ENTRIES
    versions = versions_of(entries)
    before = dict(pairwise(versions))
    return page(card, "history.html", "history", sheet=shown, versions=versions, before=before, more=more)


def versions_of(entries: Sequence[Entry]) -> dict[str, Entry]:
    """The versions that a diary tells of, the one that was pushed last first, each with its newest push."""
    pushes = [each for each in entries if each.action in ("push", "import")]
    found: dict[str, Entry] = {}
    for each in (*pushes, *entries):
        if each.version:
            found.setdefault(each.version, each)
    return found


def diff(visit: Visit) -> Page:
    """What changed from one version to another."""
    card = card_of(visit)
    sides = []
    for side in ("left", "right"):
        chosen = selected(card.ref, visit.fields.text(side) or "")
        if chosen is None:
            raise UsageError("two versions are to be chosen for a diff", hint="the history lists them")
        sides.append(chosen)
    found = visit.registry.diff(str(sides[0]), str(sides[1]), most=_MOST_LINES + 1)
    return page(card, "diff.html", "history", found=found, most=_MOST_LINES, left=sides[0], right=sides[1])


# what was built


def builds(visit: Visit) -> Page:
    """The build tasks, newest first."""
    card = card_of(visit)
    return page(card, "builds.html", "builds", tasks=visit.registry.builds(card.ref))


def build(visit: Visit) -> Page:
    """One task, with its log as far as it goes; that of a first push stands before the resource does."""
    watched = visit.registry.build(task_id=visit.parts["task"], within=name_in(visit.parts))
    told, events = watched.look(), watched.told()
    more = max(0, len(events) - _MOST_LINES)
    values = {"task": told, "events": events[more:], "more": more}
    try:
        return page(card_of(visit), "build.html", "builds", **values)
    except NotFound:
        return Page(template="first-build.html", values={"name": told.name, **values})


# what may be changed


def manage(visit: Visit) -> Page:
    """Visibility, tags, rollback, deletion: what the person may, and why he may not."""
    return manage_page(visit)


def manage_page(visit: Visit, error: LhubError | None = None) -> Page:
    """The same with what a change came to."""
    card = card_of(visit)
    entries: Sequence[Entry] = ()
    if card.push_refused is None:
        with suppress(LhubError):  # a diary that does not read is told by its own page
            entries = visit.registry.log(card.ref, most=_MOST_ENTRIES)
    versions: Mapping[str, Entry | None] = versions_of(entries) or dict.fromkeys(each.version for each in card.tags)
    typed = {name: visit.fields.text(name) or "" if error else "" for name in ("tag", "typed")}
    gone = [tag for each in entries for tag in each.untagged if tag not in card.links.tags]
    told = page(
        card,
        "manage.html",
        "manage",
        error=error,
        typed=typed,
        versions=versions,
        earlier=_earlier(card, list(versions)),
        gone=list(dict.fromkeys(gone))[:_MOST_GONE],
    )
    return replace(told, code=code_of(error)) if error else told


def _earlier(card: Card, versions: Sequence[str]) -> str | None:
    """What a rollback most likely means: the version before that which the first of the tags names."""
    now = next((each.version for each in card.tags if not each.protected), None)
    if now not in versions:
        return versions[0] if versions else None
    place = versions.index(now)
    return (*versions[place + 1 :], *reversed(versions[:place]), None)[0]
