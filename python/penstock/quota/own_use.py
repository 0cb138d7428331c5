"""What this process itself drew of every rate within the window, and which part of it Redis does not know.

Apart from the fallback because it is kept all the time: it is what a replica reports when Redis forgot, and what its share
is measured against when Redis is gone.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

Rate = tuple[str, str]
"""Scope and kind."""


class _Use:
    __slots__ = ("at", "is_known", "lease", "units")

    def __init__(self, at: int, units: int, lease: int, is_known: bool) -> None:
        self.at, self.units, self.lease, self.is_known = at, units, lease, is_known


class Report(NamedTuple):
    """What Redis is about to be told."""

    rate: Rate
    used: list[int]
    """Ages in milliseconds and units, alternating, oldest first."""
    uses: list[_Use]


class OwnUse:
    """Times are monotonic milliseconds."""

    def __init__(self, counted_ms: int) -> None:
        """``counted_ms``: how long a unit counts."""
        self._counted = counted_ms
        self._uses: dict[Rate, deque[_Use]] = {}
        self._tags: dict[Rate, str] = {}
        self._tried: dict[Rate, int] = {}
        self._unknown: set[Rate] = set()
        self._free: dict[Rate, tuple[int, int]] = {}

    def knew(self, rate: Rate, now: int, free: int) -> None:
        """Note what was left of a rate for everybody."""
        self._free[rate] = (now, free)

    def free_since(self, then: int) -> dict[Rate, int]:
        """What was left of the rates that Redis was asked about since."""
        return {rate: free for rate, (at, free) in self._free.items() if at >= then}

    def tried(self, rate: Rate, now: int) -> None:
        """Note that somebody wanted units."""
        self._tried[rate] = now

    def add(self, rate: Rate, tag: str, now: int, units: int, *, lease: int = 0, is_known: bool) -> None:
        """Units were drawn from Redis (``is_known``) or are used without it."""
        uses = self._uses.setdefault(rate, deque())
        self._tags[rate] = tag
        if not is_known:
            self._unknown.add(rate)
        if uses and uses[-1].at == now and uses[-1].lease == lease and uses[-1].is_known is is_known:
            uses[-1].units += units
        else:
            uses.append(_Use(now, units, lease, is_known))

    def take_back(self, rate: Rate, units: int, lease: int) -> int:
        """Forget up to ``units`` of one draw; returns how many there were."""
        back = 0
        for use in reversed(self._uses.get(rate, ())):
            if use.lease == lease and use.units:
                taken = min(use.units, units - back)
                use.units -= taken
                back += taken
                if back == units:
                    break
        return back

    def total(self, rate: Rate, now: int) -> int:
        """Units that count now."""
        uses = self._uses.get(rate)
        if uses is None:
            return 0
        while uses and uses[0].at + self._counted <= now:
            uses.popleft()
        return sum(use.units for use in uses)

    def totals_at(self, then: int) -> dict[Rate, int]:
        """Of all rates that somebody wanted lately, the units that will still count at ``then``."""
        totals = dict.fromkeys(self._tried, 0)
        for rate, uses in self._uses.items():
            totals[rate] = sum(use.units for use in uses if use.at + self._counted > then)
        return totals

    def report(self, rate: Rate, now: int) -> Report:
        """Everything of a rate that Redis does not know; it counts as known unless the report is undone."""
        uses = [use for use in self._uses.get(rate, ()) if not use.is_known and use.at + self._counted > now]
        for use in uses:
            use.is_known = True
        self._unknown.discard(rate)
        return Report(rate, [number for use in uses for number in (max(0, now - use.at), use.units)], uses)

    def undo(self, report: Report) -> None:
        """Redis did not get it."""
        for use in report.uses:
            use.is_known = False
        if report.uses:
            self._unknown.add(report.rate)

    def has_unknown(self) -> bool:
        """Whether there is something that Redis does not know."""
        return bool(self._unknown)

    def unknown(self) -> list[tuple[Rate, str]]:
        """Rates of which Redis does not know everything, with their tags."""
        return [(rate, self._tags[rate]) for rate in self._unknown if rate in self._tags]

    def forgotten(self, tag: str | None) -> None:
        """Redis lost everything (None) or everything of one tag."""
        for rate, uses in self._uses.items():
            if tag is None or self._tags[rate] == tag:
                for use in uses:
                    use.is_known = False
                self._unknown.add(rate)

    def tags(self) -> set[str]:
        """Of all rates in use."""
        return set(self._tags.values())

    def prune(self, now: int) -> None:
        """Let go of rates that nobody used for a window."""
        for rate in [rate for rate, at in self._tried.items() if at + self._counted <= now]:
            del self._tried[rate]
            self._free.pop(rate, None)
        for rate in list(self._uses):
            if not self.total(rate, now) and rate not in self._tried:
                del self._uses[rate]
                del self._tags[rate]
                self._unknown.discard(rate)
