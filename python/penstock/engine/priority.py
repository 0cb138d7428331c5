"""Which thread goes first when a core is short: the data plane's.

Apart from the threads themselves because a priority cannot be taken back without a privilege, so whoever lowers it has
to know what else the thread does. The event loop keeps its own: calls wait for its key lookups.
"""

from __future__ import annotations

import os
import sys
import threading

_LOWER_BY = 5
"""On a core that one data-plane thread keeps busy this leaves a quarter of it, which writes more records than such a
thread settles."""
_LOWEST = 19


def give_way() -> None:
    """Let the calling thread come after the process's others, from now on. Only on Linux, where threads have a niceness."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        niceness = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, min(_LOWEST, niceness + _LOWER_BY))
