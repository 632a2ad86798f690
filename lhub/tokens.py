"""Tokens: what a program shows in place of a login, kept in its namespace as a digest that expires.

A token is chance, 256 bits of it, so its SHA-256 tells nobody what it is. `.tokens.yaml` is 0600 and counts only where
the namespace's owner made it: in a team's namespace a colleague could put one there.

>>> token = new_token()
>>> len(token), token.startswith(PREFIX), digest_of_token(token) == digest_of_token(new_token())
(48, True, False)
"""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lhub.errors import Conflict, Corrupt, Denied, LhubError, NotFound, UsageError
from lhub.layout import NamespaceFolder
from lhub.lock import held
from lhub.manifest import FORMAT, SMALL, check_format, read_yaml, to_yaml
from lhub.moments import timestamp
from lhub.names import is_name
from lhub.opening import GONE, HIDDEN, digest_text, open_file, read_open, see_single
from lhub.session import Session
from lhub.spaces import claim

PREFIX = "lhub_"
"""By this a token that stands where it should not is recognised, by people and by those who search for secrets."""
DAYS = 30
"""How long one holds if nobody says (jina-hubble-sdk, `create_personal_access_token`)."""
_MOST_DAYS, _MOST, _LONGEST = 3650, 100, 128
_DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token that was made: `name`, `digest` (64 hex digits), `created` and `expires` in seconds since 1970."""

    name: str
    digest: str
    created: int
    expires: int

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub token list --json` prints it."""
        return {"name": self.name, "created": timestamp(self.created), "expires": timestamp(self.expires)}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """A token at the moment it is made: `token` is told this once; `expires` in seconds since 1970."""

    name: str
    token: str
    created: int
    expires: int

    def __repr__(self) -> str:
        return f"NewToken(name={self.name!r})"  # never the token

    def to_dict(self) -> dict[str, object]:
        """The value as `lhub token create --json` prints it."""
        return {"name": self.name, "token": self.token, "expires": timestamp(self.expires)}


def new_token() -> str:
    """256 bits from the kernel, with the prefix that tells what it is."""
    return PREFIX + base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")


def digest_of_token(token: str) -> str:
    """What is kept of a token."""
    return digest_text(token.encode(errors="surrogatepass"))


# of one's own namespace


def create(session: Session, name: str | None, days: int) -> NewToken:
    """Make a token for the namespace that the caller is logged in to."""
    faults = [f"a token holds 1 to {_MOST_DAYS} days, not {days}"] if not 1 <= days <= _MOST_DAYS else []
    if name is not None and (not name.strip() or len(name) > _LONGEST or not name.isprintable()):
        faults.append(f"a token's name has 1 to {_LONGEST} letters, none of them a control character")
    if faults:
        raise UsageError("; ".join(faults), hint="lhub token create --name laptop --days 30")
    folder = _own(session, claiming=True)
    token, now = new_token(), int(session.clock())
    with _changing(session, folder):
        standing = _valid(session, folder)
        taken = {each.name for each in standing}
        chosen = name or next(each for n in range(1, _MOST + 2) if (each := f"token-{n}") not in taken)
        if chosen in taken:
            raise Conflict(f"a token named {chosen} stands already", hint=f"lhub token delete {chosen}")
        if len(standing) >= _MOST:
            raise Conflict(f"{session.caller} has {_MOST} tokens, no more are kept", hint="lhub token delete NAME")
        made = Token(name=chosen, digest=digest_of_token(token), created=now, expires=now + days * _DAY)
        _write(session, folder, [*standing, made])
    return NewToken(name=chosen, token=token, created=now, expires=made.expires)


def tokens(session: Session) -> Sequence[Token]:
    """The tokens of the caller's namespace that hold still."""
    return _valid(session, _own(session))


def delete(session: Session, name: str) -> None:
    """Remove a token: from now on nobody is let in with it."""
    folder = _own(session)
    with _changing(session, folder):
        standing = _valid(session, folder)
        left = [each for each in standing if each.name != name]
        if len(left) == len(standing):
            raise NotFound(f"{session.caller} has no token of that name", hint="lhub token list")
        _write(session, folder, left)


def _own(session: Session, *, claiming: bool = False) -> NamespaceFolder:
    """The namespace that the caller is logged in to, which must be his on disk: a team's tokens are its maker's."""
    if session.caller is None:
        raise Denied("tokens belong to a namespace, and nobody is logged in", hint="lhub login NAME")
    if claiming:
        claim(session, session.caller)
    session.read_root()
    folder = session.folder.namespace(session.caller)
    try:
        status = os.lstat(folder.path)
    except FileNotFoundError:
        raise NotFound(f"there is no namespace {session.caller} here", hint=f"lhub login {session.caller}") from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != session.uid:
        raise Denied(
            f"the namespace {session.caller} was made by another user, who alone makes tokens for it",
            hint="lhub login with a namespace of your own",
        )
    return folder


@contextmanager
def _changing(session: Session, folder: NamespaceFolder) -> Iterator[None]:
    """One change after the other."""
    with held(folder.tokens_lock, mode=0o600, timeout=session.timeout, note=session.writer().note):
        yield


def _write(session: Session, folder: NamespaceFolder, tokens: Sequence[Token]) -> None:
    document = {
        "format": FORMAT,
        "tokens": [
            {"name": each.name, "digest": each.digest, "created": each.created, "expires": each.expires}
            for each in tokens
        ],
    }
    session.pen.unlink(folder.tokens_scratch)  # of one who was killed: the lock is ours
    session.pen.replace(folder.tokens, to_yaml(document).encode(), 0o600, scratch=folder.tokens_scratch)
    session.pen.sync_folder(folder.path)


# whose a token is


def holder(session: Session, token: str, *, likely: str | None = None) -> str | None:
    """The namespace, owned by the user who runs this, that a token lets in to; None for one that holds nowhere.

    `likely` is looked at first.
    """
    session.read_root()
    digest = digest_of_token(token)
    names = [likely] if likely is not None else []
    names += [name for name in sorted(filter(is_name, os.listdir(session.root))) if name != likely]
    for name in names:
        folder = session.folder.namespace(name)
        try:
            status = os.lstat(folder.path)
            own = stat.S_ISDIR(status.st_mode) and status.st_uid == session.uid
            if own and any(each.digest == digest for each in _valid(session, folder)):
                return name
        except LhubError as error:  # of one namespace, and no reason to shut out the others
            session.notes(str(error))
        except OSError as error:
            if error.errno not in GONE | HIDDEN:
                raise
    return None


def _valid(session: Session, folder: NamespaceFolder) -> list[Token]:
    """What the file tells, without what has expired."""
    now = session.clock()
    return [each for each in _read(session, folder) if now < each.expires]


def _read(session: Session, folder: NamespaceFolder) -> list[Token]:
    try:
        descriptor = open_file(folder.tokens)
    except OSError as error:
        if error.errno not in GONE:
            raise
        return []
    try:
        status = os.fstat(descriptor)
        if status.st_uid != session.uid or status.st_mode & 0o077:
            raise Corrupt(
                f"{folder.tokens} is not the namespace owner's alone, so it lets nobody in",
                hint="its owner looks who put it there, and removes it",
            )
        see_single(descriptor, folder.tokens)  # by a hard link it could be that of another namespace
        document = read_yaml(read_open(descriptor, folder.tokens, limit=SMALL), folder.tokens)
    finally:
        os.close(descriptor)
    check_format(document, folder.tokens)
    listed = document.get("tokens")
    if not isinstance(listed, list):
        raise Corrupt(f"{folder.tokens}: tokens is not a list")
    return [_token(each, f"{folder.tokens}: tokens.{number}") for number, each in enumerate(listed)]


def _token(given: Any, where: str) -> Token:
    name, digest, created, expires = (
        (given.get(key) for key in ("name", "digest", "created", "expires")) if isinstance(given, dict) else [None] * 4
    )
    whole = isinstance(name, str) and isinstance(digest, str) and type(created) is type(expires) is int
    if not whole:
        raise Corrupt(f"{where} is not what lhub writes")
    return Token(name=str(name), digest=str(digest), created=int(created or 0), expires=int(expires or 0))
