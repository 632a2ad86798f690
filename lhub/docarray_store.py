"""docarray's own front door: ``DocList[MyDoc].push('lhub://alice/x')``, `.pull`, `.push_stream` and `.pull_stream`.

    import lhub.docarray_store
    docs.push("lhub://alice/x")
    docs = DocList[MyDoc].pull("lhub://alice/x")

docarray (0.41) offers no entry point for a store, so the import is what makes it known. It needs docarray 0.30 or
newer.
"""

from __future__ import annotations

from builtins import list as names
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import lhub
import lhub.door as door
from lhub.errors import NotFound, ToolMissing
from lhub.names import parse_namespace, parse_ref

try:
    from docarray.array.doc_list import pushpull
    from docarray.store.abstract_doc_store import AbstractDocStore
except ImportError as error:
    raise ToolMissing(
        f"docarray 0.30 or newer is not installed here ({error})", hint='pip install "lhub[docarray]"'
    ) from None

if TYPE_CHECKING:
    from collections.abc import Sequence

    from docarray import DocList

    from lhub.shelf import Listed

PROTOCOL = "lhub"


class Absent(NotFound, FileNotFoundError):
    """What is not here, for who expects of a store what `FileDocStore` raises."""


class LhubDocStore(AbstractDocStore):  # type: ignore[misc]  # docarray is not typed
    """DocLists in the registry that `LHUB_ROOT` names, for whoever is logged in; a name is any reference."""

    @staticmethod
    def list(namespace: str, show_table: bool = False) -> names[str]:
        """The names of the arrays in a namespace that one may see; NotFound (a FileNotFoundError too) without it."""
        namespace = parse_namespace(namespace.strip("/"))
        try:
            lines = door.here().list(namespace, kind="docarray")
        except NotFound as error:
            raise Absent(str(error), hint=error.hint) from None
        if show_table:
            _print(namespace, lines)
        return [line.name.partition("/")[2] for line in lines]

    @staticmethod
    def delete(name: str, missing_ok: bool = False) -> bool:
        """Delete an array, or only the tag in its name; whether it was there. NotFound unless `missing_ok`.

        `lhub restore` brings it back.
        """
        here, ref = door.here(writes=True), parse_ref(name)
        try:
            if ref.name not in {line.name for line in here.list(ref.namespace, kind="docarray")}:
                raise NotFound(f"{ref.name} is no array here", hint="lhub list --kind docarray shows what there is")
            here.delete(ref)
        except NotFound as error:
            if missing_ok:
                return False
            raise Absent(str(error), hint=error.hint) from None
        return True

    @staticmethod
    def push(docs: DocList[Any], name: str, *asked: Any) -> dict[str, Any]:
        """Push a DocList; what `lhub push --json` prints. The tag in the name, else `latest`, names it.

        `asked` is `show_progress`; docarray 0.30 gives `public`, `show_progress`, `branding`.
        """
        ref = parse_ref(name)
        public, show_progress = (asked[0], asked[1]) if len(asked) > 1 else (None, *asked, False)[:2]
        pushed = lhub.push(
            docs, ref.name, tags=[ref.tag] if ref.tag else [], public=public, show_progress=bool(show_progress)
        )
        return pushed.to_dict()

    @staticmethod
    def push_stream(docs: Iterator[Any], url: str, *asked: Any, show_progress: bool = False) -> dict[str, Any]:
        """Push documents as they come, else as `push`."""
        return LhubDocStore.push(iter(docs), url, *(asked or (show_progress,)))

    @staticmethod
    def pull(docs_cls: type[DocList[Any]], name: str, show_progress: bool, local_cache: bool) -> DocList[Any]:
        """A DocList of a schema; a version is local already, so there is no other cache."""
        return _found(lambda: lhub.load(name, doc_type=docs_cls.doc_type, show_progress=show_progress))

    @staticmethod
    def pull_stream(docs_cls: type[DocList[Any]], name: str, show_progress: bool, local_cache: bool) -> Iterator[Any]:
        """Its documents one by one."""
        documents: Iterator[Any] = _found(
            lambda: lhub.load_stream(name, doc_type=docs_cls.doc_type, show_progress=show_progress)
        )
        return documents


def _found(load: Any) -> Any:
    try:
        return load()
    except NotFound as error:
        raise Absent(str(error), hint=error.hint) from None


def _print(namespace: str, lines: Sequence[Listed]) -> None:
    """A table as docarray's own stores print it."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from lhub.moments import timestamp

    table = Table(title=f"You have {len(lines)} DocLists in {PROTOCOL}://{namespace}", box=box.SIMPLE, highlight=True)
    for column in ("Name", "Length", "Access", "Created at", "Updated at"):
        table.add_column(column)
    for line in lines:
        name, length = line.name.partition("/")[2], "-" if line.length is None else str(line.length)
        table.add_row(name, length, line.visibility, timestamp(line.created or 0.0), timestamp(line.updated))
    Console().print(table)


def _make_known() -> None:
    """Let docarray find it by its protocol."""
    known = pushpull.SUPPORTED_PUSH_PULL_PROTOCOLS
    if PROTOCOL not in known:
        pushpull.SUPPORTED_PUSH_PULL_PROTOCOLS = (*known, PROTOCOL)
    pushpull.PushPullMixin.__backends__[PROTOCOL] = LhubDocStore


_make_known()
