"""Wakes up on each core all the time, and says when it was late: nothing ran there meanwhile.

    python watchman.py PARENT CORE...

A process of its own and not threads of the tests: the interpreter's lock, which a call of the extension may hold for a second, is
no standstill of the machine. Ends with whom it watches for.
"""

import os
import sys
import threading
import time

LOOK_S = 0.01
_LATE_S = 0.02
"""A thread that is woken later than so much says that nothing ran."""
_PARENT_S = 0.5
READY = b"ready"
"""The line that says so; each other one is a core, and from when to when nothing ran there (monotonic seconds, which are the same
in all processes)."""


def _watch(core: int, begun: threading.Barrier) -> None:
    if hasattr(os, "sched_setaffinity"):
        # Of this thread alone.
        os.sched_setaffinity(0, {core})
    begun.wait()
    before = time.monotonic()
    while True:
        time.sleep(LOOK_S)
        now = time.monotonic()
        if now - before > LOOK_S + _LATE_S:
            os.write(1, f"{core} {before + LOOK_S!r} {now!r}\n".encode())
        before = now


def main() -> None:
    """See the module."""
    parent, *cores = (int(argument) for argument in sys.argv[1:])
    begun = threading.Barrier(len(cores) + 1)
    for core in cores:
        threading.Thread(target=_watch, args=[core, begun], daemon=True).start()
    begun.wait()
    os.write(1, READY + b"\n")
    while os.getppid() == parent:
        time.sleep(_PARENT_S)


if __name__ == "__main__":
    main()
