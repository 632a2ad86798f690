"""`python -m lhub` and the program `lhub`: an interrupt is no traceback, however early or late it comes."""

from __future__ import annotations

import os
import sys


def run() -> None:
    """Run the command line; exit 130 when interrupted."""
    try:
        from lhub.cli.main import run as run_command  # here, since an interrupt may come while it loads

        run_command()
    except KeyboardInterrupt:
        os._exit(130)


if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # not what lies in the current folder
    run()
