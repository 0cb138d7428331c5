"""What was left of a rate for everybody, and how fast the others use it up, as far as Redis's answers show.

Apart from a gateway's own use because it is about everybody else: of what was left, a gateway that loses Redis must take for
used what the others may have drawn before they noticed.
"""

from __future__ import annotations

from typing import NamedTuple

_SPAN_MS = 500
"""Long enough for several leases of everybody."""


class Known(NamedTuple):
    """What Redis's last answer said of a rate. Monotonic milliseconds."""

    at: int
    """When Redis was asked."""
    free: int
    """Units that were left for everybody."""
    pace: float
    """Units per millisecond that the others used, where they were fastest lately."""

    def left_at(self, then: int, limit: int, window_ms: int) -> int:
        """Units that are left at a later time, if the others go on as lately, and use no less than the limit's own pace."""
        used = max(self.pace, limit / window_ms) * max(0, then - self.at)
        return max(0, self.free - int(used))


class Pace:
    """Of one rate."""

    __slots__ = ("_drawn", "_fastest", "_former", "_since", "_unused", "known")

    def __init__(self, at: int, free: int, kept: int, drawn: int) -> None:
        """``kept``: units that were kept back for gateways that are missing or slow, and are not among the free ones;
        ``drawn``: how much this gateway has used, ever."""
        self.known = Known(at, free, 0.0)
        self._former = self._fastest = 0.0
        self._begin(at, free + kept, drawn)

    def heard(self, at: int, free: int, kept: int, drawn: int) -> None:
        """Another answer."""
        # Nobody used what somebody begins to keep back.
        took, unused = at - self._since, free + kept
        present = max(0, self._unused - unused - (drawn - self._drawn)) / max(took, _SPAN_MS)
        self.known = Known(at, free, max(self._former, self._fastest, present))
        if took >= _SPAN_MS:
            self._former, self._fastest = self._fastest, present
            self._begin(at, unused, drawn)

    def _begin(self, at: int, unused: int, drawn: int) -> None:
        self._since, self._unused, self._drawn = at, unused, drawn
