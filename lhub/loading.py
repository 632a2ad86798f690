"""Load: a version becomes an array of documents again, every byte verified before the first is read as one.

>>> How(allow_pickle=True).doc_type is None
True
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Any

from lhub.documents import Loading
from lhub.errors import Corrupt, UsageError
from lhub.kinds.docarray import WRITERS, form_told
from lhub.kinds.forms import form_of
from lhub.names import Ref
from lhub.opening import digest_of
from lhub.session import Session
from lhub.store import DAMAGED


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How documents are wanted: of which schema, with a bar, and whether a pickle may be loaded."""

    doc_type: Any = None
    show_progress: bool = False
    allow_pickle: bool = False


def load(session: Session, ref: Ref, how: How) -> Any:
    """The array of a version; see `lhub.load`."""
    with _opened(session, ref, how) as (file, loading):
        return loading.array(file)


def stream(session: Session, ref: Ref, how: How) -> Iterator[Any]:
    """The documents of a version, one by one; all that can be refused is refused before the first is asked for."""
    with ExitStack() as stack:
        file, loading = stack.enter_context(_opened(session, ref, how))
        kept = stack.pop_all()
    return _closing(kept, loading.stream(file))


def _closing(kept: ExitStack, documents: Iterator[Any]) -> Iterator[Any]:
    with kept:
        yield from documents


@contextmanager
def _opened(session: Session, ref: Ref, how: How) -> Iterator[tuple[IO[bytes], Loading]]:
    """The payload of a version, open and verified, and how it is read."""
    with session.reading(ref) as version:
        manifest, path = version.manifest(), version.single()
        if manifest.kind != "docarray" or path is None:
            raise UsageError(
                f"{ref.name} holds {manifest.kind}, no array of documents", hint=f"lhub pull {ref} gives its files"
            )
        with version.file(path) as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
            told = form_told(manifest.about)
            form = told or form_of(file)  # where the manifest does not tell it, or tells nonsense
            if form is None:
                raise Corrupt(f"{version.where} is no array of docarray's", hint=f"lhub pull {ref} gives its file")
            length = manifest.about.get("length")
            loading = Loading(
                name=ref.name,
                form=form,
                writer=str(manifest.about["docarray"]) if told else WRITERS[form.generation],
                length=length if isinstance(length, int) else None,
                doc_type=how.doc_type,
                allow_pickle=how.allow_pickle,
                show_progress=how.show_progress,
            )
            loading.see_readable()
            os.lseek(descriptor, 0, os.SEEK_SET)
            if digest_of(descriptor)[0] != version.sums()[path]:
                raise Corrupt(f"{path} of {version.where} is not what was published", hint=DAMAGED)
            file.seek(0)
            yield file, loading
