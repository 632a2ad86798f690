"""Executors: folders as Jina's Hub took them, read and never run, and made complete as its normalizer did.

The class is the one that `config.yml` names, or the only one based on `Executor`; a folder without `config.yml` gains
one in what travels, `manifest.yml` is merged into `metas`, the dependencies of `pyproject.toml` are added to the
requirements. The folder itself stays as it is, and what gains nothing travels byte for byte. All faults are told at
once (jina-ai/executor-normalizer, `core.py`; the name: jina-hubble-sdk, `extract_executor_name`).

>>> from lhub.folder import Packing
>>> is_executor(Reading(Packing(folder="/nowhere", sources=(), ignored=(), own_list=False)))
False
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import lhub.kinds.requirements as requirements
from lhub.errors import UsageError, listing
from lhub.folder import path_faults
from lhub.kinds.classes import Reading
from lhub.kinds.config import CONFIG, MANIFEST, Setting, child, text_of, texts_of, with_metas
from lhub.kinds.recognised import Recognised
from lhub.kinds.source import Found
from lhub.manifest import to_yaml

_TEXTS = ("name", "description", "url")
_LISTS = ("keywords",)


def is_executor(reading: Reading) -> bool:
    """Whether a folder says that it is an Executor.

    By `executor.py`, a `config.yml` with jtype or metas, a `manifest.yml` with a name beside Python, or a class.
    """
    if "executor.py" in reading.paths:
        return True
    try:
        config, manifest = reading.yaml(CONFIG), reading.yaml(MANIFEST)
    except UsageError:
        return reading.python  # of another folder, what stands under these names is its own affair
    if child(config, "jtype") or child(config, "metas") or (child(manifest, "name") and reading.python):
        return True
    return config is None and any(found.is_executor for found in reading.classes(reading.mentioning(), mild=True))


def describe(reading: Reading) -> dict[str, Any]:
    """What the files of an Executor say of it, whatever their faults: for one that was published elsewhere."""
    config, manifest = reading.yaml(CONFIG), reading.yaml(MANIFEST)
    about = {"jtype": text_of(child(config, "jtype"))} | _metas(config, manifest)
    return {key: value for key, value in about.items() if value}


def complete(reading: Reading) -> Recognised:
    """The Executor of a folder, with what it lacked; UsageError with every fault of its files."""
    packing, config, manifest = reading.packing, None, None
    with reading.noting():
        config = reading.mapping(CONFIG)
    with reading.noting():
        manifest = reading.mapping(MANIFEST)
    own = packing.source(CONFIG) is not None
    found = (reading.named_class(config) if config is not None else None) if own else reading.only_class()
    gains = _Gains(reading)
    with reading.noting():
        gains.complete_requirements()
    with reading.noting():
        if own and config is not None:
            gains.complete_config(config, manifest)
        elif found is not None and not own:
            gains.write_config(found, manifest)
    asked = requirements.ask(reading.noted(gains.content))
    reading.faults += [*asked.faults, *gains.faults()]
    if reading.faults or found is None:
        raise UsageError(
            listing(f"{packing.folder} is no Executor that can be pushed", reading.faults),
            hint="mend it, then push again; nothing was changed",
        )
    about = {"jtype": found.name, **_metas(config, manifest), **_told(reading.family(found))}
    about["build_env"] = list(asked.variables)
    return Recognised(
        kind="executor",
        packing=packing.rewritten(gains.written),
        name=about.get("name"),
        about={key: value for key, value in about.items() if value},
        variables=asked.variables,
        gained=tuple(gains.sentences),
        warnings=tuple(f"the requirements use ${name}; pip expands only ${{NAME}}" for name in asked.bare),
    )


def _said(manifest: Any) -> dict[str, Setting]:
    """What `manifest.yml` says that belongs under `metas`."""
    return {key: value for key in (*_TEXTS, *_LISTS) if (value := _setting(manifest, key))}


def _metas(config: Any, manifest: Any) -> dict[str, Setting]:
    """What the files say of the Executor: the name by `config.yml` first, all else by `manifest.yml` first."""
    metas = child(config, "metas")
    told: dict[str, Setting] = {}
    for key in (*_TEXTS, *_LISTS):
        here, there = _setting(metas, key), _setting(manifest, key)
        if value := (here or there) if key == "name" else (there or here):
            told[key] = value
    return told


def _setting(node: Any, key: str) -> Setting | None:
    value = child(node, key)
    return texts_of(value) or text_of(value) if key in _LISTS else text_of(value)


def _told(family: list[Found]) -> dict[str, Any]:
    """The constructor and the endpoints of a class, with what it has from its bases."""
    methods: dict[str, dict[str, object]] = {}
    for each in family:
        for endpoint in each.endpoints:
            methods.setdefault(endpoint.method, endpoint.to_dict())
    init = next((each for each in family if each.init), family[0])
    return {"arguments": [each.to_dict() for each in init.arguments], "endpoints": list(methods.values())}


# what the folder lacks


@dataclass
class _Gains:
    """What travels besides, or in place of, the folder's own files; and a sentence about each."""

    reading: Reading
    written: dict[str, bytes] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)

    def content(self, path: str) -> bytes | None:
        """A file as it will travel."""
        return self.written.get(path) or self.reading.content(path)

    def faults(self) -> list[str]:
        """Where what is written would stand in the place of something else, or beside its twin."""
        below = {path.partition("/")[0] for path in self.reading.paths if "/" in path}
        taken = [f"{path} is a folder, so none can be written" for path in self.written if path in below]
        return taken or path_faults(list(self.reading.paths.keys() | self.written.keys()))

    def complete_requirements(self) -> None:
        """Add the dependencies of `pyproject.toml` that the requirements do not have."""
        project = self.reading.content(requirements.PROJECT)
        if project is None:
            return
        before = self.reading.content(requirements.FILE) or b""
        text = requirements.decoded(before, requirements.FILE)
        stand = requirements.packages(text)
        lines = requirements.of_project(project)
        new = [line for line in lines if not requirements.packages(line).items() <= stand.items()]
        if new:
            begin = "" if not text or text.endswith(("\n", "\r")) else "\n"
            added = "".join(f"{line}\n" for line in new)
            try:
                self.written[requirements.FILE] = before + requirements.encoded(f"{begin}{added}", before)
            except UnicodeEncodeError:
                raise UsageError(
                    f"{requirements.FILE} is in an encoding that cannot hold what {requirements.PROJECT} asks for"
                ) from None
            self.sentences.append(f"{requirements.FILE} gained {len(new)} lines of {requirements.PROJECT}")

    def write_config(self, found: Found, manifest: Any) -> None:
        """A `config.yml` for a folder that has none."""
        said = _said(manifest)
        document = {"jtype": found.name, "py_modules": self.reading.order} | ({"metas": said} if said else {})
        self.written[CONFIG] = f"# written by lhub push: the folder had none\n{to_yaml(document)}".encode()
        self.sentences.append(f"{CONFIG} was written: jtype {found.name}")

    def complete_config(self, config: Any, manifest: Any) -> None:
        """Add to the folder's own `config.yml` what `manifest.yml` says and it does not."""
        metas = _metas(config, manifest)
        own = child(config, "metas")
        added = {key: metas[key] for key in _said(manifest) if metas[key] != _setting(own, key)}
        if added:
            try:
                text = (self.reading.content(CONFIG) or b"").decode()
            except UnicodeDecodeError:
                raise UsageError(f"{CONFIG} is not UTF-8, so nothing of {MANIFEST} can be added to it") from None
            self.written[CONFIG] = with_metas(text, added).encode()
            self.sentences.append(f"{CONFIG} gained {', '.join(added)} of {MANIFEST}")
