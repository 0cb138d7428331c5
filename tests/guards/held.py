"""`penstock serve` with a thread that takes the GIL and keeps it: `python -m tests.guards.held serve ...`.

It makes a pipe named `hold` in the current directory. On a line with milliseconds it sleeps in C for so long without
giving the GIL up, and then says when that was: `held FROM TO`, in nanoseconds of the monotonic clock. Both are on the
safe side: the GIL was held at least from FROM to TO.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from pathlib import Path

from penstock.cli import main

PIPE = "hold"


def _hold(milliseconds: int) -> str:
    # PyDLL, unlike CDLL, calls with the GIL held.
    sleep = ctypes.PyDLL(None).usleep
    before = time.monotonic_ns()
    sleep(milliseconds * 1_000)
    after = time.monotonic_ns()
    # The sleep began after `before`, ended before `after`, and lasted as long as it was told to.
    return f"held {after - milliseconds * 1_000_000} {before + milliseconds * 1_000_000}\n"


def _listen() -> None:
    while True:
        for line in Path(PIPE).read_text(encoding="ascii").splitlines():
            os.write(1, _hold(int(line)).encode())


if __name__ == "__main__":
    os.mkfifo(PIPE)
    threading.Thread(target=_listen, name="holder", daemon=True).start()
    main()
