"""What a draw asks Redis, and what its answer teaches about the limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from penstock.quota.beats import Beats
from penstock.quota.credit import Credit, Mark
from penstock.quota.holds import Holds
from penstock.quota.leases import Demand, is_strict, largest_lease
from penstock.quota.link import Link, Op, now_ms
from penstock.quota.models import RATES, Ask, QuotaOptions
from penstock.quota.own_use import OwnUse, Rate
from penstock.quota.questions import Answer, Job
from penstock.quota.scripts import Command


class Draws:
    """One per process: knows how much is asked for of every rate, and so how large a lease is worth its trip."""

    def __init__(
        self,
        link: Link,
        options: QuotaOptions,
        beats: Beats,
        own: OwnUse,
        holds: Holds,
        credit: Credit,
        give_back: Callable[..., None],
    ) -> None:
        """``give_back``: the one of the service, for what nobody waits for any more."""
        self._link = link
        self._options = options
        self._beats = beats
        self._own = own
        self._holds = holds
        self._credit = credit
        self._give_back = give_back
        self._demand: dict[Rate, Demand] = {}

    def tried(self, asks: Sequence[Ask], asked: int) -> None:
        """A caller asks for so much, whatever it is answered."""
        for ask in asks:
            if ask.kind in RATES:
                rate = (ask.scope, ask.kind)
                self._own.tried(rate, asked)
                self._demand.setdefault(rate, Demand(asked)).add(ask.need, asked)

    def prune(self, now: int) -> None:
        """Forget rates that nobody has asked for in a window."""
        before = now - self._options.counted_ms
        for rate in [rate for rate, demand in self._demand.items() if demand.at < before]:
            del self._demand[rate]

    def op(self, job: Job) -> Op:
        """The script of one group's asks. Its answer is written down and then told to who waits for it."""
        link, options = self._link, self._options
        keys = [link.epoch_key(job.tag)]
        asks = []
        sent, marks = now_ms(), [self._mark(ask) for ask in job.asks]
        kept = [self._beats.kept_back(ask.limit) if ask.kind in RATES else 0 for ask in job.asks]
        for ask, reserve in zip(job.asks, kept, strict=True):
            tag = link.home(ask.scope, ask.tag)
            need = max(1, ask.need)
            packed: dict[str, Any] = {"limit": ask.limit, "need": need}
            if ask.kind in RATES:
                keys.append(link.key(tag, ask.kind, ask.scope))
                packed |= {
                    "kind": "rate",
                    "want": self._wanted(ask, need),
                    "spread": 2 * self._beats.sharing,
                    "reserve": reserve,
                    "window": options.counted_ms,
                    "length": options.length_ms,
                }
            else:
                keys.append(link.key(tag, "held", ask.kind, ask.scope))
                if ask.kind == "budget":
                    keys.append(link.key(tag, "spent", ask.scope))
                    packed |= {
                        "spent": ask.spent,
                        "version": ask.version,
                        "end": ask.until,
                        "ended": ask.ended,
                        "spent_ttl": options.spent_ttl_ms,
                    }
                packed |= {
                    "kind": ask.kind,
                    "want": max(need, ask.want),
                    "spread": 2 * self._beats.sharing,
                    "have": self._holds.amount((ask.scope, ask.kind)),
                    "ordinal": link.next_ordinal(),
                    "ttl": options.budget_hold_ms if ask.kind == "budget" else options.slot_hold_ms,
                }
            asks.append(packed)

        def done(answer: list[Any]) -> None:
            settling, taken, *rows = answer
            if taken:
                self._took(job, rows)
            if not settling:
                self._learn(job.asks, rows, marks, kept, sent)
            if not job.answer.done():
                job.answer.set_result(Answer(sent, settling, taken, rows))

        def failed(error: Exception) -> None:
            for ask in job.asks:
                if ask.kind not in RATES:
                    self._holds.doubt((ask.scope, ask.kind), link.home(ask.scope, ask.tag))
            if not job.answer.done():
                job.answer.set_exception(error)

        by = self._beats.good_until + options.patience_ms
        return Op(Command("draw", keys, {"asks": asks}), job.tag, done, failed, by)

    def _took(self, job: Job, rows: list[list[Any]]) -> None:
        """Write down what Redis gave; when nobody waits for it any more it goes back."""
        # Later than Redis did: what is reported anew after a loss must not count for less time than it did.
        now = now_ms()
        for ask, (granted, _, _, lease, *_) in zip(job.asks, rows, strict=True):
            tag = self._link.home(ask.scope, ask.tag)
            if ask.kind in RATES:
                self._own.add((ask.scope, ask.kind), tag, now, granted, lease=lease, is_known=True)
            else:
                self._holds.add((ask.scope, ask.kind), tag, granted, now, is_known=True)
            if job.answer.done():
                self._give_back(ask.scope, ask.kind, granted, lease=lease)

    def _mark(self, ask: Ask) -> Mark | None:
        rate = (ask.scope, ask.kind)
        if ask.kind not in RATES or self._own.is_unknown(rate):
            return None
        return self._credit.mark(rate, ask.limit, now_ms())

    def _learn(
        self, asks: list[Ask], rows: list[list[Any]], marks: list[Mark | None], kept: list[int], sent: int
    ) -> None:
        for ask, (_, remaining, _, _, reason, _), mark, reserve in zip(asks, rows, marks, kept, strict=True):
            if ask.kind in RATES and reason != "stale":
                self._own.knew((ask.scope, ask.kind), sent, remaining, reserve)
                self._credit.learn((ask.scope, ask.kind), ask.limit, mark, remaining)

    def _wanted(self, ask: Ask, need: int) -> int:
        sharing = self._beats.sharing
        if is_strict(ask.limit, sharing):
            return need
        demand = self._demand.get((ask.scope, ask.kind))
        # Forgotten of who has waited for longer than a window.
        want = ask.want or (need if demand is None else demand.within(self._options.lease_ttl_ms * 3 // 5))
        return max(need, min(want, largest_lease(ask.limit, need, sharing)))
