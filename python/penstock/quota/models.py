"""What crosses the borders of this package: asks and grants, the payloads of the data plane, and the times of the protocol."""

from __future__ import annotations

from typing import Literal

import msgspec

from penstock.engine.snapshot import WhenGone

Kind = Literal["rpm", "tpm", "parallel", "budget"]
RATES = frozenset({"rpm", "tpm"})
LATE_MS = 100
"""By how much the estimate of Redis' clock may be behind it: an answer is taken for given when it arrives, and was given before."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One limit that a call, or a data-plane thread for its next calls, needs units of."""

    scope: str
    """`kind:id`, as in a scope record."""
    kind: Kind
    limit: int
    """Calls or tokens per window, calls in flight, or nano-dollars per budget window."""
    want: int = 0
    """Units that would be welcome; 0 for rates: as many as the observed rate suggests."""
    need: int = 1
    """Units without which the call is refused."""
    tag: str | None = None
    """Organization, else team, else key of the caller: what is drawn together is kept together."""
    spent: int = 0
    """Budgets: what the asker last heard that their owner has spent, nano-dollars."""
    version: int = 0
    """Of that figure; 0: it heard of none."""
    until: int = 0
    """The end of the budget window of that figure, Unix milliseconds; 0: there is no window."""
    ended: int = 0
    """The end of the last budget window that is over for the asker; 0: none is."""
    when_gone: WhenGone | None = None
    """What the strictest of those chose who pay for the call; None: nobody chose."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one ask."""

    granted: int
    """0: nothing was taken, for this ask or for any other of the same draw."""
    ttl_ms: int = 0
    """Since it was asked for. Rates: units not used within this time are no longer the holder's. Slots are held until they are
    given back. Budgets: how long what is held may be used without asking again."""
    remaining: int = 0
    """What is left for everybody."""
    retry_after_ms: int | None = None
    """When enough may be free again; None: nobody knows, or this ask was not what failed."""
    refused: bool = False
    """This ask is why nothing was granted."""
    unknown: bool = False
    """Nobody can say whether there is enough: Redis does not answer, or the ledger."""
    lease: int = 0
    """Names the draw when units of a rate are given back."""
    until: int = 0
    """Budgets: the end of the window that the units are from, Unix milliseconds; 0: there is none. The call is charged to it, even
    where its gateway has not heard that it began."""
    alone: bool = False
    """Decided without Redis, as those chose who pay for the call: the units are for it and for no other, and a refusal is nothing to those
    who chose otherwise."""


class QuotaAsked(msgspec.Struct, frozen=True):
    """`hook.quota`."""

    asks: list[Ask]


class QuotaAnswer(msgspec.Struct, frozen=True):
    """The answer to `hook.quota`, one grant for each ask in order."""

    grants: list[Grant]


class Returned(msgspec.Struct, frozen=True, kw_only=True):
    """`quota.return`: units of a rate that were not used, or of a hold that is no longer needed. `quota.overdrawn`: of a budget,
    what was spent beyond every grant."""

    scope: str
    kind: Kind
    units: int
    lease: int = 0
    """The grant's; 0 for holds."""
    tag: str | None = None
    """The ask's."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """`quota.hold`: the whole amount that the data plane needs to have held."""

    scope: str
    kind: Literal["parallel", "budget"]
    amount: int
    drawn: int = 0
    """Sum of the grants for this hold that the data plane had received when it counted `amount`."""


class QuotaOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Times of the protocol, milliseconds. Every replica must use the same."""

    window_ms: int = 60_000
    lease_ttl_ms: int = 1_000
    """Within which drawn units of a rate are used; twice as long as an answer may take."""
    beat_ms: int = 300
    missing_after_ms: int = 1_000
    """A gateway that was silent for so long may be going on with its share alone: it is kept for it."""
    ended_after_ms: int = 5_000
    """A gateway that was silent for so long has ended, unless the database says that it counts limits without Redis."""
    patience_ms: int = 500
    """An answer of Redis that takes longer is none. Shorter than the silence that makes a gateway missing, less a beat."""
    settle_ms: int = 1_500
    """After a loss of data, the time in which everybody reports what it knows and nobody draws."""
    slot_hold_ms: int = 30_000
    """Slots of a gateway that ended without a word are free after this time."""
    budget_hold_ms: int = 120_000
    """The same for money: longer than calls take and than a journal takes to be replayed."""
    spent_ttl_ms: int = 7 * 86_400_000
    clock_offset_ms: int = 0
    """Added to Redis's clock; for tests."""

    @property
    def length_ms(self) -> int:
        """Of a segment of the window: the precision to which units are forgotten."""
        return max(1, self.window_ms // 120)

    @property
    def counted_ms(self) -> int:
        """How long a unit counts after its segment ended. Units may be used until their lease is over, so that the uses of
        any window were drawn within a window and a lease."""
        return self.window_ms + self.lease_ttl_ms

    @property
    def knowledge_ms(self) -> int:
        """So old is what a gateway knows of the others at most, from when it asked: an interval and two answers."""
        return self.beat_ms + 2 * self.patience_ms

    @property
    def late_ms(self) -> int:
        """A command that was sent so long ago takes no effect any more."""
        return self.patience_ms + LATE_MS

    @property
    def known_missing_ms(self) -> int:
        """After its last beat was sent, whatever another gateway draws leaves this one its share."""
        # Its beat may have come late, they ask now and then, and what they drew by what they knew may come late, too.
        return self.late_ms + self.missing_after_ms + self.knowledge_ms + self.late_ms
