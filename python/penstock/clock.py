"""What time it is for everything that is stored or shown; intervals are measured with `time.monotonic`.

Apart from the domains because all of them ask, and a test that turns the clock must find one place.
"""

from __future__ import annotations

import time


def now_ms() -> int:
    """Unix milliseconds, by this machine."""
    return time.time_ns() // 1_000_000
