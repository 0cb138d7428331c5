"""How many CPU cores this process may use. Apart from everything because `--help` says it too, and imports nothing."""

from __future__ import annotations

import os


def available_cores() -> int:
    """Cores that the process may be scheduled on, which may be fewer than the machine has."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        # Not Linux.
        return os.cpu_count() or 1
