"""Who is at the other end of a connection: the kernel knows whose a socket on the loopback is.

Behind `lhub serve` everybody on the machine can connect. What lies in a folder that he could not enter himself is not
handed to him, and nothing is written in its owner's name, unless he shows a token.

>>> is_own(("127.0.0.1", 1), ("127.0.0.1", 2))
False
"""

from __future__ import annotations

import os

_TABLE = "/proc/net/tcp"  # proc(5): the addresses of each socket, and its owner
_LOCAL, _REMOTE, _STATE, _UID, _INODE = 1, 2, 3, 7, 9
_ESTABLISHED = "01"
_LOOKS = 3
"""The table is read while others connect and go, and a line may be missed."""


def is_own(client: tuple[str, int], server: tuple[str, int]) -> bool:
    """Whether a connection comes from the user who runs this, or from root; False where no kernel tells."""
    return tells() and any(_owner(client, server) in (os.geteuid(), 0) for _ in range(_LOOKS))


def tells() -> bool:
    """Whether the kernel of this machine tells whose a connection is."""
    return os.access(_TABLE, os.R_OK)


def _owner(client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """The uid of who connected; None once he has gone: the kernel tells what is left of a socket as root's."""
    wanted = _address(client), _address(server)
    with open(_TABLE, encoding="ascii") as table:
        for each in map(str.split, table):
            if (each[_LOCAL], each[_REMOTE]) == wanted and each[_STATE] == _ESTABLISHED and each[_INODE] != "0":
                return int(each[_UID])
    return None


def _address(place: tuple[str, int]) -> str:
    """An IPv4 address and a port as the kernel writes them."""
    host, port = place
    return "".join(f"{int(part):02X}" for part in reversed(host.split("."))) + f":{port:04X}"
