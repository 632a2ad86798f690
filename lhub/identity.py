"""Who is here: the person the kernel knows, and the namespace he logged in to.

A login is one line in `<home>/login`, for all registries. The kernel's answers (uid, groups) decide what a
login may claim.

>>> import tempfile
>>> home = tempfile.mkdtemp()
>>> remember(home, "alice"); recall(home)
'alice'
"""

from __future__ import annotations

import os
from typing import NamedTuple

from lhub.disk import Pen
from lhub.errors import Corrupt, LhubError
from lhub.names import is_name
from lhub.opening import read_small


class Person(NamedTuple):
    """The caller as the kernel sees him: effective uid, all his groups, his account's name and host."""

    uid: int
    groups: frozenset[int]
    account: str
    host: str

    @property
    def address(self) -> str:
        """``account@host``, for the diary."""
        return f"{self.account}@{self.host}"


def person() -> Person:
    """Who runs this process."""
    uid = os.geteuid()
    return Person(
        uid=uid, groups=frozenset((os.getegid(), *os.getgroups())), account=account_of(uid), host=os.uname().nodename
    )


def account_of(uid: int) -> str:
    """The account's name of a uid, or ``uid-1000`` where the system knows none."""
    import pwd  # not on every system, and not for readers

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"


def group_of(gid: int) -> str:
    """The name of a group, or ``gid-1000`` where the system knows none."""
    import grp  # as above

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"gid-{gid}"


def gid_of(group: str) -> int | None:
    """The number of a group by its name, or by the number itself; None for a name that the system does not know."""
    import grp  # as above

    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return int(group) if group.isdecimal() and group.isascii() and int(group) < 1 << 32 else None


def remember(home: str, namespace: str, pen: Pen | None = None) -> None:
    """Log in: keep the namespace in `<home>/login`."""
    pen = pen or Pen()
    make_home(home)
    pen.replace(f"{home}/login", f"{namespace}\n".encode(), 0o600, scratch=f"{home}/.login.{os.getpid()}")


def forget(home: str) -> bool:
    """Log out; False when nobody was logged in."""
    if not os.path.lexists(f"{home}/login"):
        return False
    Pen().unlink(f"{home}/login")
    return True


def recall(home: str) -> str | None:
    """The namespace that was logged in to, or None; Corrupt when the file holds no name."""
    try:
        name = read_small(f"{home}/login", limit=1024).decode(errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not is_name(name):
        raise Corrupt(f"{home}/login holds no namespace", hint="lhub login NAME writes it anew")
    return name


def remember_mount(home: str, root: str, point: str) -> None:
    """Keep in `<home>/mounts` where the mount of a registry begins."""
    kept = {**recall_mounts(home), root: point}
    text = "".join(f"{point}\t{root}\n" for root, point in sorted(kept.items()) if "\n" not in root + point)
    make_home(home)
    Pen().replace(f"{home}/mounts", text.encode(), 0o600, scratch=f"{home}/.mounts.{os.getpid()}")


def recall_mounts(home: str) -> dict[str, str]:
    """Root to the place where its mount begins, of every registry that must lie on one."""
    try:
        lines = read_small(f"{home}/mounts", limit=1 << 20).decode(errors="surrogateescape").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {root: point for point, _, root in (line.partition("\t") for line in lines) if root}


def make_home(home: str) -> None:
    """Make the folder of lhub's own state, 0700, if it is not there."""
    try:
        pen = Pen()
        pen.make_way(os.path.dirname(home) or "/")
        pen.make_folder(home, 0o700)
    except OSError as error:
        raise LhubError(f"{home} cannot be made: {error.strerror}", hint="LHUB_HOME names another place") from None
