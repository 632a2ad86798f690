"""Sealing: the content of a version becomes one file that only a key opens, and that file its content again.

Inside of ``payload.age`` lies a plain tar of what an unsealed version has, with plain tools to be used:
``age -d -i KEY payload.age | tar x`` lays out ``manifest.yaml``, ``SHA256SUMS`` and ``files/``.

>>> PAYLOAD
'payload.age'
"""

from __future__ import annotations

import hmac
import io
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import IO, Any

import lhub.age as age
from lhub.errors import Corrupt, LhubError, UsageError
from lhub.folder import Packing, Source
from lhub.images.layers import Entry, streamed, tarred
from lhub.layout import FILES, MANIFEST, SUMS
from lhub.manifest import HUGE, LARGE, Manifest, Sealed, manifest_of, read_manifest
from lhub.opening import PIECE, Moved, digest_of, digest_text, listed, unmoved
from lhub.seals import Seal, anchor, mark
from lhub.staging import Opener, Staged, Staging, agrees, changed_error, known, opened_source
from lhub.store import DAMAGED, Resource, Version
from lhub.tree import File, tree_of

PAYLOAD = "payload.age"
_SALT = 16
_SHORT = 16
"""Letters under which a secret of a person's choice is worth a warning."""
Taken = tuple[File, Opener]
"""A file that shall be sealed, and how to open it anew."""
Member = tuple[str, int, Iterator[bytes]]
"""A file of a tar: its path there, its size, its bytes, which are to be read before the next is asked for."""
_NOTHING: Member = ("", 0, iter(()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A seal that one may seal by: the document, as it stood (None: it is new), and its keys in clear, newest last."""

    seal: Seal
    stood: bytes | None
    keys: tuple[str, ...]

    @classmethod
    def new(cls, secret: str, owner: str | None) -> Lock:
        """The seal of a new resource with this SECRET, in a namespace of this identity."""
        salt = None if age.is_identity(secret) else os.urandom(_SALT)
        identity = secret.upper() if salt is None else age.stretched(secret, salt)
        first = age.new_identity()
        anchors = {"secret": anchor(identity, first)} | ({"owner": anchor(owner, first)} if owner else {})
        whose = age.recipient_of(owner) if owner else None
        blank = Seal(recipient=age.recipient_of(identity), salt=salt, owner=whose, keys="", anchors=anchors)
        return cls(seal=blank, stood=None, keys=(first,)).resealed(blank)

    @classmethod
    def opened(cls, resource: Resource, secrets: Sequence[str], identities: Sequence[str]) -> Lock:
        """That of a resource that is sealed, by whichever of these opens it; `NoKey` (Denied) where none does."""
        text = resource.seal_text()
        if text is None:
            raise Corrupt(f"{resource.name} has sealed versions, and no {resource.folder.seal}", hint=DAMAGED)
        return cls.read(text, resource.name, secrets, identities)

    @classmethod
    def read(cls, text: bytes, name: str, secrets: Sequence[str], identities: Sequence[str]) -> Lock:
        """The same of a document that may come from elsewhere; Corrupt where another has written it."""
        seal = Seal.read(text, f"seal.yaml of {name}")
        mine = list(identities)  # first, for a secret may have to be stretched
        opened = age.unseal_text(seal.keys, mine)
        if opened is None or not _bound(seal, mine):  # a reader's binds nothing: a secret that he has as well might
            mine += [identity for secret in secrets if (identity := identity_of(seal, secret))]
            opened = age.unseal_text(seal.keys, mine)
        if opened is None:
            raise no_key(name, tried=bool(secrets))
        keys = tuple(opened.split())
        if not (_are_keys(keys) and _is_anchored(seal, keys[0], mine)):
            raise Corrupt(f"seal.yaml of {name} was not written by who has its keys", hint="put back a copy of it")
        return cls(seal=seal, stood=text, keys=keys)

    def with_new_key(self) -> Lock:
        """The same with one more key, for all that follows."""
        return self.resealed(self.seal, (*self.keys, age.new_identity()))

    def resealed(self, seal: Seal, keys: tuple[str, ...] | None = None) -> Lock:
        """The keys, sealed for whoever `seal` names."""
        kept = self.keys if keys is None else keys
        text = age.seal_text("".join(f"{key}\n" for key in kept), seal.openers)
        whole = replace(seal, keys=text)
        return replace(self, seal=replace(whole, proof=whole.proven(kept[0])), keys=kept)

    @property
    def recipients(self) -> tuple[str, ...]:
        """For whom a payload is sealed."""
        return self.seal.payload(age.recipient_of(self.keys[-1]))

    def mark(self, manifest: bytes) -> str:
        """The mark of a content."""
        return mark(self.keys[-1], manifest)

    def marks(self, manifest: bytes) -> frozenset[str]:
        """Every mark that it may have been given."""
        return frozenset(mark(key, manifest) for key in self.keys)

    def is_marked(self, manifest: bytes, wanted: str) -> bool:
        """Whether a mark is of this content, by whichever key was the newest then."""
        return any(hmac.compare_digest(mark(key, manifest), wanted) for key in self.keys)


def _are_keys(keys: Sequence[str]) -> bool:
    try:
        return bool([age.recipient_of(key) for key in keys])
    except UsageError:
        return False


def _is_anchored(seal: Seal, first: str, mine: Sequence[str]) -> bool:
    """Whether a seal is that of these keys, and they those that one's own identity has always opened."""
    true = all(
        hmac.compare_digest(seal.anchors.get(name, ""), anchor(each, first)) for name, each in _bound(seal, mine)
    )
    return true and hmac.compare_digest(seal.proof, seal.proven(first))


def _bound(seal: Seal, mine: Sequence[str]) -> list[tuple[str, str]]:
    """Which anchors are of one's own identities."""
    whose = {seal.recipient: "secret", seal.owner: "owner"}
    return [(whose[key], each) for each in mine if (key := age.recipient_of(each)) in whose]


def no_key(name: str, *, tried: bool) -> age.NoKey:
    """The error of who may see what is sealed, and has no key for it."""
    if tried:
        return age.NoKey(
            f"{name} is sealed, and the secret that was given does not open it", hint="look for the right one"
        )
    return age.NoKey(
        f"{name} is sealed, and nothing here opens it",
        hint="LHUB_SECRET takes its secret; without that or an identity that it is sealed for there is no way in",
    )


def identity_of(seal: Seal, secret: str) -> str | None:
    """The identity that a secret stands for, as this seal has it; None for one that stands for none."""
    if seal.salt is not None and not age.is_identity(secret):
        return age.stretched(secret, seal.salt)
    return secret.upper() if _are_keys([secret]) else None


def proves(seal: Seal, secret: str) -> bool:
    """Whether a secret is that of a seal: whether it has the recipient that stands there."""
    identity = identity_of(seal, secret)
    return identity is not None and age.recipient_of(identity) == seal.recipient


def new_secret() -> str:
    """The SECRET of what is sealed: an identity, so that `age` itself opens it."""
    return age.new_identity()


def weakness(secret: str) -> str | None:
    """What a person should know of the secret that he chose."""
    if age.is_identity(secret) or len(secret) >= _SHORT:
        return None
    return (
        f"a secret of {len(secret)} letters can be guessed by whoever reads the disk; without --secret one is made "
        "that cannot"
    )


# a content becomes a payload


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What shall be sealed: its files, and its documents as they would be in clear."""

    taken: tuple[Taken, ...]
    manifest: Manifest
    manifest_text: bytes
    sums_text: bytes

    @classmethod
    def of(cls, taken: Sequence[Taken], kind: str, about: Mapping[str, Any]) -> Content:
        """That of these files."""
        tree = tree_of([file for file, _ in taken])
        sums = tree.to_sums().encode()
        manifest = manifest_of(tree, kind, about, digest_text(sums))
        ordered = tuple(sorted(taken, key=lambda each: each[0].path.encode()))
        return cls(taken=ordered, manifest=manifest, manifest_text=manifest.to_text().encode(), sums_text=sums)

    def pieces(self) -> Iterator[bytes]:
        """The tar that is sealed: the documents first, so that they can be had without the rest."""
        return tarred(self._entries())

    def _entries(self) -> Iterator[Entry]:
        for name, text in ((MANIFEST, self.manifest_text), (SUMS, self.sums_text)):
            yield Entry(path=name, size=len(text), pieces=partial(iter, (text,)))
        for file, opener in self.taken:
            path = f"{FILES}/{file.path}"
            yield Entry(path=path, size=file.size, executable=file.executable, pieces=partial(_read, opener))


class Clear:
    """What takes the place of a staging folder for what shall not lie in one: `taken` is what was taken so far."""

    def __init__(self) -> None:
        self.taken: list[Taken] = []

    def write(self, pieces: Iterator[bytes], path: Callable[[], str], head: Callable[[], bytes] | None = None) -> File:
        """Write and hash what comes piece by piece, as `Staging` does, into a file without a name."""
        import tempfile  # for documents that are sealed

        spool = tempfile.TemporaryFile()  # noqa: SIM115 (closed with what was taken)
        begun, hasher = b"", sha256()
        for piece in pieces:
            begun = begun or piece
            hasher.update(piece)
            spool.write(piece)
        digest, size = hasher.hexdigest(), spool.tell()
        if head is not None and (known := head()) != begun:
            spool.seek(0)
            spool.write(known)
            spool.seek(0)
            digest = digest_of(spool.fileno())[0]
        spool.flush()
        file = File(path=path(), digest=digest, size=size)
        self.taken.append((file, partial(_rewound, spool)))
        return file


@contextmanager
def _rewound(spool: IO[bytes]) -> Iterator[int]:
    os.lseek(spool.fileno(), 0, os.SEEK_SET)
    yield spool.fileno()


def take(source: Source, moved: Moved = unmoved) -> Taken:
    """A file of the folder that is pushed, hashed where it lies."""
    opener = partial(opened_source, source)
    with opener() as descriptor:
        digest, size = digest_of(descriptor, moved)
    if size != source.size:
        raise changed_error([source.path])
    return File(path=source.path, digest=digest, size=size, executable=source.executable), opener


def taken(packing: Packing) -> list[Taken]:
    """All that would travel."""
    return [take(source) for source in packing.sources]


def _read(opener: Opener) -> Iterator[bytes]:
    with opener() as descriptor:
        while piece := os.read(descriptor, PIECE):
            yield piece


def standing(resource: Resource, content: Content, lock: Lock) -> Staged | None:
    """The version that has this content already, sealed whole; None where there is none."""
    version = version_of(resource, lock.marks(content.manifest_text))
    if version is None:
        return None
    with resource.opened(version) as opened:
        manifest, sums = opened.manifest(), opened.sums()
        with opened.file(PAYLOAD) as descriptor:
            size = os.fstat(descriptor).st_size
        files = [File(path=path, digest=digest, size=size) for path, digest in sums.items()]
        staged = known(manifest, opened.manifest_text(), opened.sums_text(), files)
    return staged if agrees(resource, staged) else None


def version_of(resource: Resource, wanted: Collection[str]) -> str | None:
    """The version whose manifest has one of these marks: the newest is asked first, for it is mostly that one."""
    head = resource.links().head
    names = [entry.name for entry in listed(resource.folder.versions) if resource.has(entry.name)]
    for name in sorted(names, key=lambda name: name != head):
        try:
            with resource.opened(name, patient=False) as opened:
                sealed = opened.manifest().sealed
        except (OSError, LhubError):
            continue  # damaged, or collected meanwhile: it is not that one
        if sealed is not None and sealed.mark in wanted:
            return name
    return None


def stage(staging: Staging, content: Content, lock: Lock, moved: Moved) -> Staged:
    """The sealed version of a content, durable and immutable; that which stands already where there is one.

    `moved` is told of the bytes as they are sealed.
    """
    if lock.stood is not None and (stands := standing(staging.resource, content, lock)):
        return stands

    def pieces() -> Iterator[bytes]:
        for piece in age.seal(content.pieces(), lock.recipients):
            moved(len(piece))
            yield piece

    staging.write(pieces(), lambda: PAYLOAD)
    manifest = content.manifest
    sealed = Sealed(count=manifest.count, bytes=manifest.bytes, mark=lock.mark(content.manifest_text))
    return staging.conclude(manifest.kind, {}, sealed)


# a payload becomes its content again


class Unsealed(Version):
    """A sealed version, open: read as if it were in clear.

    Its documents are had from the first pieces of the payload; the rest is opened when a file of it is asked for, into
    a file without a name, so that a kill leaves nothing of it.
    """

    def __init__(self, sealed: Version, opens: Callable[[], Lock]) -> None:
        super().__init__(sealed.resource, sealed.id, sealed.descriptor)
        self.stored = self._sealed = sealed
        self._opens = opens
        self._lock: Lock | None = None
        self._content: tuple[Manifest, bytes, bytes] | None = None
        self._spool: tuple[IO[bytes], dict[str, tuple[int, int]]] | None = None

    @property
    def lock(self) -> Lock:
        """The keys; `NoKey` (Denied) where the caller has none."""
        if self._lock is None:
            self._lock = self._opens()
        return self._lock

    def manifest(self) -> Manifest:
        """The manifest of the content."""
        return self._documents()[0]

    def manifest_text(self) -> bytes:
        """The text of that."""
        return self._documents()[1]

    def sums_text(self) -> bytes:
        """SHA256SUMS of the content."""
        return self._documents()[2]

    def folder(self) -> str:
        """No folder holds it in clear."""
        raise UsageError(
            f"{self.where} is sealed, so no folder holds its files",
            hint=f"lhub pull {self.resource.name} DEST lays them out",
        )

    def close(self) -> None:
        """Let go of what was opened."""
        if self._spool is not None:
            self._spool[0].close()

    @contextmanager
    def file(self, path: str) -> Iterator[int]:
        """One file of the content, open, without a name."""
        import tempfile  # for what is sealed

        if self._spool is None:
            self._spool = self._opened()
        spool, places = self._spool
        if path not in places:
            raise Corrupt(f"{path} of {self.where} is missing", hint=DAMAGED)
        offset, size = places[path]
        with tempfile.TemporaryFile() as copy:
            while size and (piece := os.pread(spool.fileno(), min(PIECE, size), offset)):
                copy.write(piece)
                offset, size = offset + len(piece), size - len(piece)
            copy.seek(0)
            yield copy.fileno()

    def entries(self) -> Iterator[Member]:
        """Each file of the content, as it comes, verified when the next is asked for; Corrupt, NoKey."""
        manifest, sums = self.manifest(), self.sums()
        left = manifest.bytes
        with self._walk() as found:
            next(found), next(found)  # its documents, which are known
            for expected, digest in sums.items():
                path, size, pieces = next(found, _NOTHING)
                left -= size
                if path != f"{FILES}/{expected}" or left < 0:
                    raise self._odd(f"{expected} is missing")
                hasher = sha256()
                yield expected, size, _hashed(pieces, hasher.update)
                if hasher.hexdigest() != digest:
                    raise self._odd(f"{expected} is not what was published")
            if next(found, _NOTHING) is not _NOTHING:
                raise self._odd("it holds more than was published")

    def see_whole(self) -> None:
        """Read all of it; Corrupt where it is not what was published."""
        for _, _, pieces in self.entries():
            for _ in pieces:
                pass

    def _documents(self) -> tuple[Manifest, bytes, bytes]:
        if self._content is None:
            with self._walk() as found:
                self._content = self._read_documents(found)
        return self._content

    def _read_documents(self, found: Iterator[Member]) -> tuple[Manifest, bytes, bytes]:
        text, sums = self._document(found, MANIFEST, LARGE), self._document(found, SUMS, HUGE)
        sealed = self._sealed.manifest().sealed
        if sealed is None or not self.lock.is_marked(text, sealed.mark):
            raise self._odd("it was not sealed by who has the key")
        manifest = read_manifest(text, f"the sealed manifest.yaml of {self.where}")
        told = (manifest.kind, manifest.count, manifest.bytes, manifest.sums)
        if told != (self._sealed.manifest().kind, sealed.count, sealed.bytes, digest_text(sums)):
            raise self._odd("its documents disagree")
        return manifest, text, sums

    def _document(self, found: Iterator[Member], name: str, most: int) -> bytes:
        path, size, pieces = next(found, _NOTHING)
        if path != name or size > most:
            raise self._odd(f"it does not begin with {name}")
        return b"".join(pieces)

    def _odd(self, what: str) -> Corrupt:
        return Corrupt(f"{PAYLOAD} of {self.where}: {what}", hint=DAMAGED)

    @contextmanager
    def _walk(self) -> Iterator[Iterator[Member]]:
        """The files in the payload, each to be read before the next."""
        with (
            self._sealed.file(PAYLOAD) as descriptor,
            os.fdopen(os.dup(descriptor), "rb") as file,
            files(file, self.lock.keys, f"{PAYLOAD} of {self.where}") as found,
        ):
            yield found

    def _opened(self) -> tuple[IO[bytes], dict[str, tuple[int, int]]]:
        """All files in one file without a name, and where each begins there."""
        import tempfile  # as above

        spool, places = tempfile.TemporaryFile(), {}  # noqa: SIM115 (closed with the version)
        for path, _, pieces in self.entries():
            begun = spool.tell()
            for piece in pieces:
                spool.write(piece)
            places[path] = (begun, spool.tell() - begun)
        spool.flush()
        return spool, places


def _hashed(pieces: Iterator[bytes], update: Callable[[bytes], None]) -> Iterator[bytes]:
    for piece in pieces:
        update(piece)
        yield piece


@contextmanager
def files(file: IO[bytes], keys: Sequence[str], what: str) -> Iterator[Iterator[Member]]:
    """The files of a tar that was sealed, each to be read before the next; NoKey, Corrupt for one that is not whole.

    Behind the last it is read to its end, where a cut one tells.
    """
    with closing(age.unseal(file, keys, what)) as stream:
        source = age.Source(stream)
        yield _members(io.BufferedReader(source, PIECE), source, what)


def _members(stream: IO[bytes], source: age.Source, what: str) -> Iterator[Member]:
    with _telling(source):
        for info, pieces in streamed(stream, what):
            yield info.name, info.size, _pieces(pieces, source)
        while stream.read(PIECE):
            pass


def _pieces(pieces: Iterator[bytes], source: age.Source) -> Iterator[bytes]:
    with _telling(source):
        yield from pieces


@contextmanager
def _telling(source: age.Source) -> Iterator[None]:
    """Say why it did not open, of which the tar's reader knows only that it did not."""
    try:
        yield
    except (Corrupt, OSError):
        if source.failure is not None:
            raise source.failure from None
        raise
