"""What a gateway may use of a rate before a slow Redis has counted it, so that calls need not wait for its answers.

Apart from the service because of one promise: limits hold all the same. A gateway that gets its answers late says so, and
everybody keeps a little of every rate back for it (:func:`credit_of`). When all of them do, it may use so much that Redis was not
told of, as long as Redis said last that there is something left beside what is kept back; then so much again when Redis was told.
So the last units that are given out are never more than those that were kept back for whoever gives them. Limits that are too small
for that wait for Redis.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable
from typing import NamedTuple

from penstock.quota.models import RATES, Ask, QuotaOptions
from penstock.quota.own_use import Rate

logger = logging.getLogger("penstock.quota")

_PART = 64
"""All gateways together keep back this part of a limit at most."""
_LATE_ANSWERS = 3
"""In a row: a single one is a pause of this process, or of the network."""
_CALM_MS = 5_000
"""Without a late answer, after which answers are waited for again."""
_FAREWELL_MS = 2_000
"""For which more is kept back after that: until what was used is told."""


def credit_of(limit: int, sharing: int) -> int:
    """Units of a rate that are kept back for one of ``sharing`` gateways that is slow to hear from Redis."""
    return limit // (_PART * max(1, sharing))


class Mark(NamedTuple):
    """How far a rate was used when Redis was told of it."""

    since: int
    used: int
    credit: int


class Credit:
    """One per process. Times are monotonic milliseconds."""

    def __init__(self, options: QuotaOptions, deadline_ms: int, patience_ms: int) -> None:
        """``deadline_ms``: an answer that takes longer is late."""
        self._deadline_ms = deadline_ms
        # Beats follow each other within a pause and an answer; draws that were sent before the last of them arrive within another.
        self._heard_ms = options.beat_ms + 3 * patience_ms + 100
        self._settle_ms = options.settle_ms + patience_ms
        self._knowledge_ms = options.knowledge_ms
        self._row = 0
        self._late_at: int | None = None
        self._since: int | None = None
        self._told_at = 0
        self._sharing = 0
        self._used: dict[Rate, int] = {}
        self._most: dict[Rate, tuple[int, int]] = {}

    @property
    def is_asked_for(self) -> bool:
        """Whether the others are to keep something back."""
        return self._late_at is not None

    def answered(self, took: int, now: int) -> None:
        """An answer that calls waited for took so long."""
        late = took > self._deadline_ms
        self._row = self._row + 1 if late else 0
        if self._late_at is None and self._row >= _LATE_ANSWERS:
            logger.warning("Redis is slow to answer", extra={"event": "quota.slow", "milliseconds": took})
            self._late_at = now
        elif self._late_at is not None and late:
            self._late_at = now

    def told(self, sharing: int, asked: int, now: int) -> None:
        """The register has it that this gateway is slow to hear, and one of so many: by that number the others keep back when all
        of them have heard it. With another number it all begins again. ``asked``: when the register was."""
        self._told_at = asked
        if self._is_late(now) and (self._since is None or sharing != self._sharing):
            self._close()
            self._since, self._sharing = now + self._heard_ms, sharing

    def pass_time(self, now: int) -> None:
        """Call it some times a second."""
        if self._late_at is None or self._is_late(now):
            return
        self._close()
        if now >= self._late_at + _CALM_MS + _FAREWELL_MS:
            logger.warning("Redis answers in time again", extra={"event": "quota.in_time"})
            self._late_at, self._row = None, 0

    def suspend(self, now: int) -> None:
        """Redis lost its data: until everybody has told what was used, what is left is not known."""
        self._most.clear()
        if self._since is not None:
            self._since = max(self._since, now + self._settle_ms)

    def end(self) -> None:
        """Redis was given up; who comes back begins anew."""
        self._close()

    def covers(self, asks: Iterable[Ask], now: int) -> bool:
        """Whether all of it may be used at once."""
        if self._since is None or now < self._since or not self._is_late(now):
            return False
        if now - self._told_at > self._knowledge_ms:
            # This process stood still, and the others may think that it has ended.
            return False
        for ask in asks:
            rate = (ask.scope, ask.kind)
            limit, most = self._most.get(rate, (0, 0))
            if ask.kind not in RATES or limit != ask.limit or self._used.get(rate, 0) + ask.need > most:
                return False
        return True

    def use(self, ask: Ask) -> None:
        """Of what is covered."""
        rate = (ask.scope, ask.kind)
        self._used[rate] = self._used.get(rate, 0) + ask.need

    def limit(self, rate: Rate) -> int | None:
        """That of a rate some of which is used in this way."""
        found = self._most.get(rate)
        return found[0] if found is not None else None

    def mark(self, rate: Rate, limit: int, now: int) -> Mark | None:
        """Redis is about to be told of everything that was used of a rate."""
        if self._since is None or now < self._since:
            return None
        return Mark(self._since, self._used.get(rate, 0), credit_of(limit, self._sharing))

    def learn(self, rate: Rate, limit: int, mark: Mark | None, free: int) -> None:
        """It was, and so much was left then beside what is kept back for everybody who is slow to hear."""
        if mark is not None and mark.since == self._since:
            self._most[rate] = (limit, mark.used + (mark.credit if free > 0 else 0))

    def prune(self, rates: Container[Rate]) -> None:
        """Let go of rates that are not among these: nobody has used them for a window."""
        for gone in [rate for rate in self._used.keys() | self._most.keys() if rate not in rates]:
            self._used.pop(gone, None)
            self._most.pop(gone, None)

    def _is_late(self, now: int) -> bool:
        return self._late_at is not None and now < self._late_at + _CALM_MS

    def _close(self) -> None:
        self._since = None
        self._used.clear()
        self._most.clear()
