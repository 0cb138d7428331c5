"""Units of rates that nobody needs any more, on their way back to Redis.

Apart from the service because they are added up: however many calls end, there is one number for each rate and segment. They go with
the next trips, ahead of their draws, as many as a trip has time for.
"""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from penstock.quota.link import Link, Op, log_failure
from penstock.quota.models import QuotaOptions
from penstock.quota.own_use import Back, Rate
from penstock.quota.scripts import Command

_MOST = 1_000
"""Of one trip: five thousand take a quarter of a second to write, and a trip is waited for half of one."""


class _Place(NamedTuple):
    tag: str
    rate: Rate
    segment: int


class Returns:
    """One per process."""

    def __init__(self, link: Link, options: QuotaOptions) -> None:
        self._link = link
        self._sizes = {"window": options.counted_ms, "length": options.length_ms}
        self._units: dict[_Place, int] = {}

    def __bool__(self) -> bool:
        return bool(self._units)

    def add(self, rate: Rate, backs: list[Back]) -> None:
        """Units that Redis counts."""
        for tag, segment, units in backs:
            place = _Place(tag, rate, segment)
            self._units[place] = self._units.get(place, 0) + units

    def forgotten(self, tag: str | None) -> None:
        """Redis lost everything (None) or everything of one tag: what is told anew is without these."""
        self._units = {} if tag is None else {place: n for place, n in self._units.items() if place.tag != tag}

    def ops(self) -> list[Op]:
        """The next ones. What does not arrive is not sent again: Redis may have counted it off, and would take the same from others."""
        places = list(islice(self._units, _MOST))
        return [self._op(place, self._units.pop(place)) for place in places]

    def _op(self, place: _Place, units: int) -> Op:
        link, (scope, kind) = self._link, place.rate
        keys = [link.epoch_key(place.tag), link.key(place.tag, kind, scope)]
        request = {**self._sizes, "lease": place.segment, "units": units, "of": link.epoch(place.tag)}
        return Op(Command("give_back", keys, request), place.tag, lambda _: None, log_failure)
