"""Limits without Redis: each replica's share of a rate for some time, then what the strictest of those chose who pay, or else
the operator. Never silently unlimited.

Apart from the service because this is the promise that limits hold over the change: in the first window after Redis is lost
a replica may use what it was already using and its part of what was left for everybody (the others may have used the rest), from
then on its even share. Redis
keeps the share of a replica that it misses, so that one replica cut off from it and those that are not stay under the limit
together. That window begins when all of them have noticed: until then they draw as if nobody were missing, and what they drew counts
for a window. A replica that they may have taken for ended, because it could not say that it is alone, has no share.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from penstock.engine.snapshot import WhenGone
from penstock.quota.absences import Absences
from penstock.quota.models import RATES, Ask, Grant, QuotaOptions
from penstock.quota.own_use import OwnUse, Rate
from penstock.quota.pace import Known

logger = logging.getLogger("penstock.quota")

_RETRY_MS = 1_000


class Alone(NamedTuple):
    """One outage. Times are monotonic milliseconds."""

    since: int
    noticed: int
    """By when everybody has noticed that this replica is gone."""
    sharing: int
    """Replicas that share the limits."""
    base: dict[Rate, int]
    """By rate that was in demand: units of the last window that are still this replica's when everybody has noticed that it is gone."""
    known: dict[Rate, Known]
    """By rate what Redis's last answer said."""

    def left(self, rate: Rate, limit: int, window_ms: int) -> int:
        """Units that are left for everybody when everybody has noticed."""
        known = self.known.get(rate)
        return 0 if known is None else known.left_at(self.noticed, limit, window_ms)


class LocalShare:
    """Decides rates and slots while Redis is gone."""

    def __init__(
        self,
        options: QuotaOptions,
        own: OwnUse,
        share_ms: int,
        when_gone: WhenGone,
        absences: Absences | None = None,
    ) -> None:
        """``absences``: what says whether the others leave this replica its share; None: they do."""
        self._options = options
        self._own = own
        self._absences = absences
        self._share_ms = share_ms
        self._when_gone = when_gone
        self._outage: Alone | None = None
        self._told: WhenGone | None = None

    @property
    def outage(self) -> Alone | None:
        """The present one."""
        return self._outage

    def begin(self, now: int, last_beat: int, sharing: int) -> None:
        """Redis is gone; ``last_beat`` is when it was last told that this replica is here."""
        self._outage = self._lost(now, now, last_beat, max(1, sharing))
        self._told = None
        self.mode(now)

    def resume(self, now: int, last_beat: int) -> None:
        """Redis is gone as before, but may have heard at ``last_beat`` that this replica is back: then the others take it for present,
        and leave nothing to it, until they miss it again."""
        if (outage := self._outage) is not None and last_beat + self._options.known_missing_ms > outage.noticed:
            # What was left is for the others now, and the part of it that was this one's is among what it has in use.
            self._outage = self._lost(outage.since, now, last_beat, outage.sharing)._replace(known={})

    def _lost(self, since: int, now: int, last_beat: int, sharing: int) -> Alone:
        noticed = max(now, last_beat + self._options.known_missing_ms)
        return Alone(since, noticed, sharing, self._own.totals_at(noticed), self._own.all_known())

    def end(self) -> None:
        """Redis is back."""
        self._outage = None

    def mode(self, now: int) -> WhenGone:
        """What holds now where nobody chose; a change is logged."""
        outage = self._outage
        mode = self._mode_of(None, now)
        if mode != self._told and outage is not None and (self._absences is None or self._absences.is_decided):
            self._told = mode
            logger.error(
                "limits are kept without Redis",
                extra={"event": "quota.mode", "mode": mode, "sharing": outage.sharing},
            )
        return mode

    def decide(self, ask: Ask, now: int, held: int) -> Grant:
        """Grant an ask its need, or refuse it; ``held`` is what is held of a slot limit. Nothing is noted down here."""
        outage = self._outage
        if outage is None:
            return Grant(granted=0, retry_after_ms=_RETRY_MS, refused=True, unknown=True)
        self.mode(now)
        mode = self._mode_of(ask.when_gone, now)
        if ask.kind == "budget":
            # What others spend cannot be known, and money that was spent does not come back as a rate does.
            return Grant(granted=0, retry_after_ms=_RETRY_MS, refused=True, unknown=True)
        if mode == "fail_closed":
            return _refused(_RETRY_MS)
        if mode == "fail_open":
            return self._granted(ask, 0)
        share = ask.limit // outage.sharing
        if ask.kind not in RATES:
            return self._granted(ask, share - held - ask.need) if held + ask.need <= share else _refused(_RETRY_MS)
        rate = (ask.scope, ask.kind)
        used = self._own.total(rate, now)
        cap = min(share, self._cap(rate, now, outage, ask.limit))
        return self._granted(ask, cap - used - ask.need) if used + ask.need <= cap else _refused(_RETRY_MS)

    def _mode_of(self, choice: WhenGone | None, now: int) -> WhenGone:
        if self._outage is None:
            return "local_share"
        if now < self._outage.since + self._share_ms and (self._absences is None or self._absences.has_share):
            return "local_share"
        return self._when_gone if choice is None else choice

    def _cap(self, rate: Rate, now: int, outage: Alone, limit: int) -> int:
        share = limit // outage.sharing
        if now >= outage.noticed + self._options.counted_ms + self._options.length_ms:
            return share
        # Nobody asked this replica for it in the last window, so that it is most likely not in use anywhere.
        base = outage.base.get(rate)
        return share if base is None else base + outage.left(rate, limit, self._options.window_ms) // outage.sharing

    def _granted(self, ask: Ask, remaining: int) -> Grant:
        return Grant(granted=ask.need, ttl_ms=self._options.lease_ttl_ms, remaining=max(0, remaining))


def _refused(retry_ms: int) -> Grant:
    return Grant(granted=0, retry_after_ms=retry_ms, refused=True)
