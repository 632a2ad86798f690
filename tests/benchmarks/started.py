"""Starts a program and tells what it cost: a small process, whose own memory is not taken for the program's.

Run by itself, without site and without the environment: ``python -I -S started.py WORDS...``; the last line on
standard error is seconds on the clock, of processors, and bytes of memory at most, of it and what it started.
"""

import os
import sys
import time

quiet = os.open(os.devnull, os.O_WRONLY)
began = time.perf_counter()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, quiet, 1)])
_, status, used = os.wait4(child, 0)
took = time.perf_counter() - began
sys.stderr.write(f"\n{took} {used.ru_utime + used.ru_stime} {used.ru_maxrss * 1024}\n")
sys.exit(os.waitstatus_to_exitcode(status))
