"""Which thread goes first when a core is short, and how soon: the data plane's.

Apart from the threads themselves because a priority cannot be taken back without a privilege, so whoever lowers it has
to know what else the thread does. The event loop keeps its own: calls wait for its key lookups.
"""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import sys
import threading
from pathlib import Path

logger = logging.getLogger("penstock")

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


_SLICE_NS = 100_000
"""The kernel's least. A thread that asks for short slices has nearer deadlines, so a wake-up of it is served sooner than
one of a thread with the usual 3 ms; it gets no more of the core."""
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
_TASKS = Path("/proc/self/task")
_DATA_PLANE = "penstock-"


class _SchedAttr(ctypes.Structure):
    """`struct sched_attr` of Linux, first version."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime_ns", ctypes.c_uint64),
        ("deadline_ns", ctypes.c_uint64),
        ("period_ns", ctypes.c_uint64),
    )


def serve_soon() -> int:
    """Ask for short time slices for the data plane's threads; how many got them.

    Only on Linux: 6.12 and newer honour it, older kernels take it and change nothing.
    """
    call = _SCHED_SETATTR.get(platform.machine()) if sys.platform == "linux" else None
    if call is None:
        return 0
    library = ctypes.CDLL(None, use_errno=True)
    served = 0
    for task in _TASKS.iterdir():
        thread = int(task.name)
        try:
            if not (task / "comm").read_text().startswith(_DATA_PLANE):
                continue
            niceness = os.getpriority(os.PRIO_PROCESS, thread)
        except OSError:
            # It has ended meanwhile.
            continue
        attr = _SchedAttr(size=ctypes.sizeof(_SchedAttr), nice=niceness, runtime_ns=_SLICE_NS)
        if library.syscall(call, thread, ctypes.byref(attr), 0) == 0:
            served += 1
        else:
            # A sandbox may forbid it: calls are served all the same, a little later under load.
            reason = os.strerror(ctypes.get_errno())
            logger.debug("no short time slices", extra={"event": "priority", "reason": reason})
    return served
