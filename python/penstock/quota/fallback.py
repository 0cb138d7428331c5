"""Limits without Redis: each replica's share of a rate for some time, then the operator's choice. Never silently unlimited.

Apart from the service because this is the promise that limits hold over the change: in the first window after Redis is lost
a replica may use what it was already using and its part of what was left for everybody (the others may have used the rest), from
then on its even share. Redis
keeps the share of a replica that it misses, so that one replica cut off from it and those that are not stay under the limit
together.
"""

from __future__ import annotations

import logging
from typing import Literal, NamedTuple

from penstock.quota.models import RATES, Ask, Grant, QuotaOptions
from penstock.quota.own_use import OwnUse, Rate

logger = logging.getLogger("penstock.quota")

Mode = Literal["local_share", "fail_open", "fail_closed"]
_RETRY_MS = 1_000
_FRESH_MS = 2_000
"""How old what was left for everybody may be: others may have used of it since."""


class Alone(NamedTuple):
    """One outage. Times are monotonic milliseconds."""

    since: int
    sharing: int
    """Replicas that share the limits."""
    base: dict[Rate, int]
    """By rate that was in demand: units of the last window that are still this replica's when everybody has noticed that it is gone."""
    free: dict[Rate, int]
    """By rate: units that were left for everybody just before."""


class LocalShare:
    """Decides rates and slots while Redis is gone."""

    def __init__(
        self, options: QuotaOptions, own: OwnUse, share_ms: int, when_gone: Literal["fail_open", "fail_closed"]
    ) -> None:
        self._options = options
        self._own = own
        self._share_ms = share_ms
        self._when_gone = when_gone
        self._outage: Alone | None = None
        self._told: Mode | None = None

    @property
    def outage(self) -> Alone | None:
        """The present one."""
        return self._outage

    def begin(self, now: int, last_beat: int, sharing: int) -> None:
        """Redis is gone; ``last_beat`` is when it was last told that this replica is here."""
        noticed = max(now, last_beat + self._options.known_missing_ms)
        free = self._own.free_since(now - _FRESH_MS)
        self._outage = Alone(now, max(1, sharing), self._own.totals_at(noticed), free)
        self._told = None
        self.mode(now)

    def end(self) -> None:
        """Redis is back."""
        self._outage = None

    def mode(self, now: int) -> Mode:
        """What holds now; a change is logged."""
        outage = self._outage
        mode: Mode = "local_share"
        if outage is not None and now >= outage.since + self._share_ms:
            mode = self._when_gone
        if mode != self._told and outage is not None:
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
            return _refused(_RETRY_MS)
        mode = self.mode(now)
        if ask.kind == "budget" or mode == "fail_closed":
            return _refused(_RETRY_MS)
        if mode == "fail_open":
            return self._granted(ask, 0)
        share = ask.limit // outage.sharing
        if ask.kind not in RATES:
            return self._granted(ask, share - held - ask.need) if held + ask.need <= share else _refused(_RETRY_MS)
        rate = (ask.scope, ask.kind)
        used = self._own.total(rate, now)
        cap = min(share, self._cap(rate, now, outage, share))
        return self._granted(ask, cap - used - ask.need) if used + ask.need <= cap else _refused(_RETRY_MS)

    def _cap(self, rate: Rate, now: int, outage: Alone, share: int) -> int:
        if now >= outage.since + self._options.counted_ms + self._options.length_ms:
            return share
        # Nobody asked this replica for it in the last window, so that it is most likely not in use anywhere.
        base = outage.base.get(rate)
        return share if base is None else base + outage.free.get(rate, 0) // outage.sharing

    def _granted(self, ask: Ask, remaining: int) -> Grant:
        return Grant(granted=ask.need, ttl_ms=self._options.lease_ttl_ms, remaining=max(0, remaining))


def _refused(retry_ms: int) -> Grant:
    return Grant(granted=0, retry_after_ms=retry_ms, refused=True)
