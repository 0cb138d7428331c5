"""What this process itself drew of every rate within the window, and which part of it Redis does not know.

Apart from the fallback because it is kept all the time: it is what a replica reports when Redis forgot, and what its share
is measured against when Redis is gone.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from penstock.quota.pace import Known, Pace

Rate = tuple[str, str]
"""Scope and kind."""


_OWN_LEASES = 2**52
"""Leases from here on were not named by Redis, whose names are segments of its clock."""


class _Use:
    __slots__ = ("at", "is_known", "lease", "report", "segment", "tag", "units")

    def __init__(self, at: int, tag: str, units: int, lease: int, is_known: bool) -> None:
        self.at, self.tag, self.units, self.lease, self.is_known = at, tag, units, lease, is_known
        self.segment = lease if is_known else None
        """In which Redis counts it; None: it does not, or has not answered yet."""
        self.report = 0
        """The last one that it was in."""

    def is_as(self, other: _Use) -> bool:
        """Whether both may be counted as one."""
        mine = (self.at, self.tag, self.lease, self.is_known, self.segment)
        return mine == (other.at, other.tag, other.lease, other.is_known, other.segment)


class Report(NamedTuple):
    """What Redis is about to be told."""

    rate: Rate
    used: list[int]
    """Ages in milliseconds and units, alternating, oldest first."""
    uses: list[_Use]
    tag: str
    number: int


class Back(NamedTuple):
    """Units that Redis counts and nobody needs."""

    tag: str
    segment: int
    units: int


class OwnUse:
    """Times are monotonic milliseconds."""

    def __init__(self, counted_ms: int) -> None:
        """``counted_ms``: how long a unit counts."""
        self._counted = counted_ms
        self._uses: dict[Rate, deque[_Use]] = {}
        self._of_lease: dict[tuple[Rate, int], deque[_Use]] = {}
        """The same uses by lease, in the same order."""
        self._tags: dict[Rate, str] = {}
        self._tried: dict[Rate, int] = {}
        self._unknown: set[Rate] = set()
        self._ever: dict[Rate, int] = {}
        """Units used, of rates that were."""
        self._paces: dict[Rate, Pace] = {}
        self._reports = 0

    def knew(self, rate: Rate, now: int, free: int, kept: int = 0) -> None:
        """Note what was left of a rate for everybody, beside what was kept back for gateways that are missing or slow."""
        ever = self._ever.get(rate, 0)
        if (pace := self._paces.get(rate)) is None:
            self._paces[rate] = Pace(now, free, kept, ever)
        else:
            pace.heard(now, free, kept, ever)

    def known(self, rate: Rate) -> Known | None:
        """What is known of what is left of a rate for everybody."""
        pace = self._paces.get(rate)
        return None if pace is None else pace.known

    def all_known(self) -> dict[Rate, Known]:
        """The same of all rates."""
        return {rate: pace.known for rate, pace in self._paces.items()}

    def tried(self, rate: Rate, now: int) -> None:
        """Note that somebody wanted units."""
        self._tried[rate] = now

    def add(self, rate: Rate, tag: str, now: int, units: int, *, lease: int = 0, is_known: bool) -> int:
        """Units were drawn from Redis (``is_known``, of its ``lease``) or are used without it; returns the lease to give them back to."""
        self._ever[rate] = self._ever.get(rate, 0) + units
        uses = self._uses.setdefault(rate, deque())
        self._tags[rate] = tag
        if not is_known:
            self._unknown.add(rate)
            # Of this moment, so that what is not needed is forgotten of the moment in which it was used, and of no later one.
            lease = lease or _OWN_LEASES + now
        use = _Use(now, tag, units, lease, is_known)
        if uses and uses[-1].is_as(use):
            uses[-1].units += units
        else:
            uses.append(use)
            self._of_lease.setdefault((rate, lease), deque()).append(use)
        return lease

    def take_back(self, rate: Rate, units: int, lease: int) -> list[Back]:
        """Forget up to ``units`` of one lease; returns which of them Redis counts. What it is being told of at the moment comes with
        :meth:`told`."""
        backs, left = [], units
        for use in reversed(self._of_lease.get((rate, lease), ())):
            if not left:
                break
            if use.units:
                taken = min(use.units, left)
                use.units -= taken
                left -= taken
                if use.is_known and use.segment is not None:
                    backs.append(Back(use.tag, use.segment, taken))
        if left < units:
            self._ever[rate] = self._ever.get(rate, 0) - (units - left)
        return backs

    def total(self, rate: Rate, now: int) -> int:
        """Units that count now."""
        uses = self._uses.get(rate)
        if uses is None:
            return 0
        while uses and uses[0].at + self._counted <= now:
            self._forget(rate, uses.popleft())
        return sum(use.units for use in uses)

    def _forget(self, rate: Rate, oldest: _Use) -> None:
        same = self._of_lease[rate, oldest.lease]
        same.popleft()
        if not same:
            del self._of_lease[rate, oldest.lease]

    def totals_at(self, then: int) -> dict[Rate, int]:
        """Of all rates that somebody wanted lately, the units that will still count at ``then``."""
        totals = dict.fromkeys(self._tried, 0)
        for rate, uses in self._uses.items():
            totals[rate] = sum(use.units for use in uses if use.at + self._counted > then)
        return totals

    def report(self, rate: Rate, now: int) -> Report:
        """Everything of a rate that Redis does not know; it counts as known unless the report is undone."""
        uses = [use for use in self._uses.get(rate, ()) if not use.is_known and use.at + self._counted > now]
        self._reports += 1
        for use in uses:
            use.is_known, use.segment, use.report = True, None, self._reports
        self._unknown.discard(rate)
        used = [number for use in uses for number in (max(0, now - use.at), use.units)]
        return Report(rate, used, uses, self._tags.get(rate, ""), self._reports)

    def told(self, report: Report, segments: list[int]) -> list[Back]:
        """Redis counts a report, each of its uses in one of these segments; returns what was taken back meanwhile."""
        backs = []
        for use, told, segment in zip(report.uses, report.used[1::2], segments, strict=True):
            # What was lost since, or is being told again, is not to be taken off what this report brought.
            if use.is_known and use.report == report.number:
                use.tag, use.segment = report.tag, segment
                if told > use.units:
                    backs.append(Back(report.tag, segment, told - use.units))
        return backs

    def undo(self, report: Report) -> None:
        """Redis did not get it."""
        for use in report.uses:
            use.is_known, use.segment = False, None
        # Nobody has to be told of what has ceased to count meanwhile.
        if report.uses and report.rate in self._uses:
            self._unknown.add(report.rate)

    def is_unknown(self, rate: Rate) -> bool:
        """Whether there is something of a rate that Redis does not know."""
        return rate in self._unknown

    def has_unknown(self) -> bool:
        """Whether there is something that Redis does not know."""
        return bool(self._unknown)

    def unknown(self) -> list[tuple[Rate, str]]:
        """Rates of which Redis does not know everything, with their tags."""
        return [(rate, self._tags[rate]) for rate in self._unknown if rate in self._tags]

    def __contains__(self, rate: object) -> bool:
        """Whether something of a rate was used, or wanted, within a window."""
        return rate in self._uses or rate in self._tried

    def forgotten(self, tag: str | None) -> None:
        """Redis lost everything (None) or everything of one tag."""
        for rate, uses in self._uses.items():
            for use in uses:
                if tag is None or tag in (use.tag, self._tags[rate]):
                    use.is_known, use.segment = False, None
                    self._unknown.add(rate)

    def tags(self) -> set[str]:
        """Of all rates in use."""
        return set(self._tags.values())

    def prune(self, now: int) -> None:
        """Let go of rates that nobody used for a window."""
        for rate in [rate for rate, at in self._tried.items() if at + self._counted <= now]:
            del self._tried[rate]
            self._paces.pop(rate, None)
        for rate in list(self._uses):
            if not self.total(rate, now) and rate not in self._tried:
                for use in self._uses.pop(rate):
                    self._forget(rate, use)
                del self._tags[rate]
                self._ever.pop(rate, None)
                self._unknown.discard(rate)
