"""Who is at the other end of a connection: the kernel knows whose a socket on the loopback is.

Behind `lhub serve` everybody on the machine can connect. What lies in a folder that he could not enter himself is not
handed to him, and nothing is written in its owner's name, unless he shows a token.

>>> is_own(("127.0.0.1", 1), ("127.0.0.1", 2))
False
"""

from __future__ import annotations

import os

_TABLE = "/proc/net/tcp"  # proc(5): the addresses of each socket, and its owner
_LOCAL, _REMOTE, _UID = 1, 2, 7


def is_own(client: tuple[str, int], server: tuple[str, int]) -> bool:
    """Whether a connection comes from the user who runs this; False where no kernel tells."""
    wanted = _address(client), _address(server)
    try:
        with open(_TABLE, encoding="ascii") as table:
            for line in table:
                fields = line.split()
                if (fields[_LOCAL], fields[_REMOTE]) == wanted:
                    return int(fields[_UID]) in (os.geteuid(), 0)
    except OSError:
        return False
    return False


def _address(place: tuple[str, int]) -> str:
    """An IPv4 address and a port as the kernel writes them."""
    host, port = place
    return "".join(f"{int(part):02X}" for part in reversed(host.split("."))) + f":{port:04X}"
