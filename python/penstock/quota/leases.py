"""How many units of a rate to draw at once: a few hundred milliseconds of what was asked for lately, or exactly the need.

Apart from the service because these are the two numbers that decide between round trips and fairness.
"""

from __future__ import annotations

import math

_LEASES_PER_REPLICA = 16
"""A replica's lease is at most this part of its even share, so that what lies idle in leases is a few percent."""
_SMALLEST_LEASE = 4
"""A lease of fewer units saves hardly a round trip and may be what another replica's caller waits for."""
_HALF_LIFE_S = 1.0


def is_strict(limit: int, sharing: int) -> bool:
    """Whether a limit is too small for leases: one of 16 for each of ``sharing`` replicas would be under 4 units."""
    return limit < _LEASES_PER_REPLICA * _SMALLEST_LEASE * sharing


def largest_lease(limit: int, need: int, sharing: int) -> int:
    """Bound of one draw."""
    return need if is_strict(limit, sharing) else max(need, limit // (_LEASES_PER_REPLICA * sharing))


class Demand:
    """Units per second that were asked for, fading with a half-life of a second."""

    __slots__ = ("_at", "_units")

    def __init__(self, now: int) -> None:
        self._at = now
        self._units = 0.0

    def add(self, units: int, now: int) -> None:
        """``units`` were wanted at monotonic millisecond ``now``."""
        self._units = self._units * 0.5 ** ((now - self._at) / 1000 / _HALF_LIFE_S) + units
        self._at = now

    def within(self, milliseconds: int) -> int:
        """Units to expect in a time."""
        per_second = self._units * math.log(2) / _HALF_LIFE_S
        return math.ceil(per_second * milliseconds / 1000)

    @property
    def at(self) -> int:
        """When something was last wanted."""
        return self._at
