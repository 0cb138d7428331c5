"""The quota domain's public face: draw units of limits that all replicas share, give them back, hold budgets and slots.

A draw of many calls is one round trip: what waits while Redis is being asked goes together in the next one. When Redis does
not answer, the decision is taken by :mod:`penstock.quota.fallback`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple

import msgspec

from penstock.engine import background
from penstock.quota.beats import Beats
from penstock.quota.fallback import LocalShare
from penstock.quota.holds import Holds
from penstock.quota.leases import Demand, is_strict, largest_lease
from penstock.quota.link import Link, Op, now_ms
from penstock.quota.models import RATES, Ask, Grant, QuotaOptions
from penstock.quota.own_use import OwnUse, Rate
from penstock.quota.scripts import Command
from penstock.shared.redis import SharedRedis, SharedUnavailable

logger = logging.getLogger("penstock.quota")

SpentReader = Callable[[str], Awaitable[tuple[int, int] | None]]
"""What the owner of a budget has spent as the ledger has it: nano-dollars and the version of that figure; None: no such owner.
Raises `DatabaseUnavailable`."""
_TRIES = 6
_BATCH = 256


class Figures(msgspec.Struct):
    """Counters since the start, for metrics."""

    draws: int = 0
    granted: int = 0
    """Draws that were granted."""
    refused: int = 0
    granted_alone: int = 0
    """Draws that were granted without Redis."""
    refused_alone: int = 0
    outages: int = 0


class _Job(NamedTuple):
    tag: str
    asks: list[Ask]
    answer: asyncio.Future[list[Any]]


class QuotaService:
    """One per process. `start` it on the loop that uses it."""

    def __init__(
        self,
        shared: SharedRedis,
        incarnation: str,
        *,
        options: QuotaOptions | None = None,
        spent: SpentReader | None = None,
    ) -> None:
        self.options = options or QuotaOptions()
        settings = shared.settings
        self.figures = Figures()
        self._spent = spent
        self._deadline_s = shared.deadline_s
        self._own = OwnUse(self.options.counted_ms + self.options.length_ms)
        self._holds = Holds()
        self._demand: dict[Rate, Demand] = {}
        self._link = Link(shared, self.options, incarnation, self._epoch_ended)
        self._alone = LocalShare(self.options, self._own, settings.local_share_ms, settings.when_gone)
        self._beats = Beats(self._link, self._own, self._holds, self._alone, settings.expected_replicas)
        self._beats.lost = self._lost
        self._jobs: list[_Job] = []
        self._returns: list[tuple[str, Rate, int, int]] = []
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Enter the register of gateways if Redis is there; without it begin with this replica's share."""
        await self._beats.first()
        self._tasks = [
            background.Kept(self._pump, "quota.pump").task,
            background.Kept(lambda: self._beats.run(self._wake, self._tidy), "quota.beats").task,
        ]

    async def stop(self) -> None:
        """Give everything back and leave the register. Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for job in self._jobs:
            if not job.answer.done():
                job.answer.set_exception(SharedUnavailable("the gateway is stopping"))
        self._jobs.clear()
        if self._tasks:
            self._tasks = []
            await self._beats.leave()

    @property
    def state(self) -> Literal["shared", "local_share", "fail_open", "fail_closed"]:
        """How limits are kept now."""
        return "shared" if self._beats.is_up else self._alone.mode(now_ms())

    @property
    def round_trips(self) -> int:
        """How often Redis was asked."""
        return self._link.round_trips

    @property
    def sharing(self) -> int:
        """Gateways among which limits are divided."""
        return self._beats.sharing

    async def draw(self, asks: list[Ask]) -> list[Grant]:
        """Take units for every ask, or for none. The grants are in the order of the asks.

        Never raises for outside reasons: without Redis the fallback answers.
        """
        self.figures.draws += 1
        now = now_ms()
        for ask in asks:
            if ask.kind in RATES:
                rate = (ask.scope, ask.kind)
                self._own.tried(rate, now)
                self._demand.setdefault(rate, Demand(now)).add(ask.need, now)
        if not self._beats.is_up:
            return self._decide_alone(asks)
        groups: dict[str, list[int]] = {}
        for index, ask in enumerate(asks):
            groups.setdefault(self._link.group(self._link.home(ask.scope, ask.tag)), []).append(index)
        waited = 0
        for _ in range(_TRIES):
            began = now_ms()
            grants = await self._draw_groups(asks, groups)
            waited = now_ms() - began
            # Where several groups are asked in turn, what the first gave must still be good when the last has answered.
            if grants is None or len(groups) == 1 or waited < self.options.lease_ttl_ms // 2:
                break
            if not all(grant.granted for grant in grants):
                break
            self._roll_back(asks, dict(enumerate(grants)))
        else:
            grants = [Grant(granted=0, retry_after_ms=1_000, refused=True) for _ in asks]
        if grants is None:
            return self._decide_alone(asks)
        if all(grant.granted for grant in grants):
            self.figures.granted += 1
            if len(groups) > 1:
                ttl = max(0, self.options.lease_ttl_ms - waited)
                grants = [msgspec.structs.replace(grant, ttl_ms=min(grant.ttl_ms, ttl)) for grant in grants]
        else:
            self.figures.refused += 1
        return grants

    async def _draw_groups(self, asks: list[Ask], groups: dict[str, list[int]]) -> list[Grant] | None:
        """One script for each group, in order; what earlier ones took goes back when a later one refuses. None: alone."""
        grants: dict[int, Grant] = {}
        for tag, indices in groups.items():
            try:
                drawn = await self._draw_group(tag, [asks[index] for index in indices])
            except SharedUnavailable:
                self._roll_back(asks, grants)
                return None
            if any(not grant.granted for grant in drawn):
                self._roll_back(asks, grants)
                refused = dict(zip(indices, drawn, strict=True))
                return [refused.get(index, Grant(granted=0)) for index in range(len(asks))]
            grants.update(zip(indices, drawn, strict=True))
        return [grants[index] for index in range(len(asks))]

    def give_back(self, scope: str, kind: str, units: int, *, lease: int = 0, tag: str | None = None) -> None:
        """Units of a rate that were not used (``lease`` is the grant's), or of a hold that is needed no longer."""
        if units <= 0:
            return
        if kind not in RATES:
            self._holds.give_back((scope, kind), units)
        else:
            rate = (scope, kind)
            back = self._own.take_back(rate, units, lease)
            if back and lease:
                self._returns.append((self._link.home(scope, tag), rate, lease, back))
        self._wake.set()

    def hold(self, scope: str, kind: str, amount: int, drawn: int) -> None:
        """The whole amount that is needed, counted when ``drawn`` units of grants had arrived (shape of `quota.hold`)."""
        self._holds.restate((scope, kind), amount, drawn)
        self._wake.set()

    async def set_spent(self, scope: str, spent: int, version: int, *, tag: str | None = None) -> bool:
        """Tell everybody what the owner of a budget has spent as of a version of the ledger; older versions are ignored.

        Call it after the ledger's commit and before holds are lowered. False: Redis could not be told, or knew as much.
        """
        outcome: list[bool] = []
        op = self._spent_op(self._link.home(scope, tag), scope, spent, version, outcome.append)
        try:
            await self._link.call([op], self._deadline_s)
        except SharedUnavailable:
            return False
        return outcome == [True]

    async def bury(self, incarnation: str) -> None:
        """A gateway is known to have ended: its share of the rates is everybody's again. Its holds expire by themselves.

        Raises:
            SharedUnavailable: Redis could not be told; it forgets the gateway later by itself.
        """
        await self._beats.take_out(incarnation)

    # ---- drawing ----------------------------------------------------------------------------

    async def _draw_group(self, tag: str, asks: list[Ask]) -> list[Grant]:
        for attempt in range(_TRIES):
            answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
            self._jobs.append(_Job(tag, asks, answer))
            self._wake.set()
            sent = now_ms()
            try:
                settling, taken, *rows = await answer
            except SharedUnavailable:
                # A single slow answer is no outage; it is one when the breaker says so.
                if not self._beats.is_up or attempt == _TRIES - 1:
                    raise
                continue
            for ask, row in zip(asks, rows, strict=True):
                if ask.kind in RATES and not settling:
                    self._own.knew((ask.scope, ask.kind), sent, row[1])
            if taken:
                return [self._grant(row, sent) for row in rows]
            reasons = {row[4] for row in rows}
            if settling:
                await asyncio.sleep((settling + 5) / 1000)
            elif "unseeded" in reasons:
                missing = [ask for ask, row in zip(asks, rows, strict=True) if row[4] == "unseeded"]
                if not await self._seed(missing):
                    return [Grant(granted=0, retry_after_ms=1_000, refused=ask in missing) for ask in asks]
            elif "stale" not in reasons:
                return [self._grant(row, sent) for row in rows]
        return [Grant(granted=0, retry_after_ms=1_000, refused=True) for _ in asks]

    def _grant(self, row: list[Any], sent: int) -> Grant:
        granted, remaining, retry, lease, reason = row
        return Grant(
            granted=granted,
            # From when it was asked for: the units count from the moment Redis took them, which is later.
            ttl_ms=max(0, self.options.lease_ttl_ms - (now_ms() - sent)) if granted else 0,
            remaining=remaining,
            retry_after_ms=int(retry) if reason and retry >= 0 else None,
            refused=reason == "full",
            lease=lease,
        )

    async def _seed(self, asks: list[Ask]) -> bool:
        """Look up in the ledger what Redis does not know."""
        from penstock.persistence import DatabaseUnavailable

        if self._spent is None:
            logger.error("nobody told Redis what a budget's owner spent", extra={"event": "quota.unseeded"})
            return False
        ops = []
        for ask in asks:
            try:
                figure = await self._spent(ask.scope)
            except DatabaseUnavailable as error:
                logger.error("a budget cannot be read", extra={"event": "quota.unseeded", "reason": str(error)})
                return False
            spent, version = figure or (0, 0)
            ops.append(self._spent_op(self._link.home(ask.scope, ask.tag), ask.scope, spent, version, lambda _: None))
        try:
            await self._link.call(ops, self._deadline_s)
        except SharedUnavailable:
            return False
        return True

    def _spent_op(self, tag: str, scope: str, spent: int, version: int, done: Callable[[bool], None]) -> Op:
        keys = [self._link.epoch_key(tag), self._link.key(tag, "spent", scope)]
        request = {"amount": spent, "version": version, "ttl": self.options.spent_ttl_ms}
        return Op(Command("spent", keys, request), tag, lambda answer: done(bool(answer[0])), _log_failure)

    def _roll_back(self, asks: list[Ask], grants: dict[int, Grant]) -> None:
        for index, grant in grants.items():
            ask = asks[index]
            self.give_back(ask.scope, ask.kind, grant.granted, lease=grant.lease, tag=ask.tag)

    def _decide_alone(self, asks: list[Ask]) -> list[Grant]:
        now = now_ms()
        grants = [self._alone.decide(ask, now, self._holds.amount((ask.scope, ask.kind))) for ask in asks]
        if not all(grant.granted for grant in grants):
            self.figures.refused_alone += 1
            return [Grant(granted=0) if grant.granted else grant for grant in grants]
        self.figures.granted_alone += 1
        for ask in asks:
            tag = self._link.home(ask.scope, ask.tag)
            if ask.kind in RATES:
                self._own.add((ask.scope, ask.kind), tag, now, ask.need, is_known=False)
            else:
                self._holds.add((ask.scope, ask.kind), tag, ask.need, now, is_known=False)
        return grants

    # ---- the pump ---------------------------------------------------------------------------

    async def _pump(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._jobs or self._returns or self._beats.has_reports():
                if not self._beats.is_up:
                    self._refuse_jobs()
                    self._returns.clear()
                    break
                jobs, self._jobs = self._jobs[:_BATCH], self._jobs[_BATCH:]
                ops = [*self._beats.reports(_BATCH), *self._return_ops(), *(self._draw_op(job) for job in jobs)]
                try:
                    await self._link.call(ops, self._deadline_s)
                except SharedUnavailable as error:
                    self._beats.check(error)

    def _lost(self) -> None:
        self.figures.outages += 1
        self._refuse_jobs()

    def _refuse_jobs(self) -> None:
        jobs, self._jobs = self._jobs, []
        for job in jobs:
            if not job.answer.done():
                job.answer.set_exception(SharedUnavailable("Redis is gone"))

    def _return_ops(self) -> list[Op]:
        returns, self._returns = self._returns[:_BATCH], self._returns[_BATCH:]
        sizes = {"window": self.options.counted_ms, "length": self.options.length_ms}
        return [
            Op(
                Command(
                    "give_back",
                    [self._link.epoch_key(tag), self._link.key(tag, rate[1], rate[0])],
                    {**sizes, "lease": lease, "units": units},
                ),
                tag,
                lambda _: None,
                _log_failure,
            )
            for tag, rate, lease, units in returns
        ]

    def _draw_op(self, job: _Job) -> Op:
        link, options = self._link, self.options
        keys = [link.epoch_key(job.tag)]
        asks = []
        for ask in job.asks:
            tag = link.home(ask.scope, ask.tag)
            need = max(1, ask.need)
            packed: dict[str, Any] = {"limit": ask.limit, "need": need}
            if ask.kind in RATES:
                keys.append(link.key(tag, ask.kind, ask.scope))
                packed |= {
                    "kind": "rate",
                    "want": self._wanted(ask, need),
                    "spread": 2 * self._beats.sharing,
                    "reserve": self._beats.kept_back(ask.limit),
                    "window": options.counted_ms,
                    "length": options.length_ms,
                }
            else:
                keys.append(link.key(tag, "held", ask.kind, ask.scope))
                if ask.kind == "budget":
                    keys.append(link.key(tag, "spent", ask.scope))
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
            if answer[1]:
                self._took(job, answer[2:])
            if not job.answer.done():
                job.answer.set_result(answer)

        def failed(error: Exception) -> None:
            for ask in job.asks:
                if ask.kind not in RATES:
                    self._holds.doubt((ask.scope, ask.kind), link.home(ask.scope, ask.tag))
            if not job.answer.done():
                job.answer.set_exception(error)

        return Op(Command("draw", keys, {"asks": asks}), job.tag, done, failed)

    def _took(self, job: _Job, rows: list[list[Any]]) -> None:
        """Write down what Redis gave; when nobody waits for it any more it goes back."""
        # Later than Redis did: what is reported anew after a loss must not count for less time than it did.
        now = now_ms()
        for ask, (granted, _, _, lease, _) in zip(job.asks, rows, strict=True):
            tag = self._link.home(ask.scope, ask.tag)
            if ask.kind in RATES:
                self._own.add((ask.scope, ask.kind), tag, now, granted, lease=lease, is_known=True)
            else:
                self._holds.add((ask.scope, ask.kind), tag, granted, now, is_known=True)
            if job.answer.done():
                self.give_back(ask.scope, ask.kind, granted, lease=lease, tag=ask.tag)

    def _wanted(self, ask: Ask, need: int) -> int:
        sharing = self._beats.sharing
        if is_strict(ask.limit, sharing):
            return need
        want = ask.want or self._demand[ask.scope, ask.kind].within(self.options.lease_ttl_ms * 3 // 5)
        return max(need, min(want, largest_lease(ask.limit, need, sharing)))

    def _epoch_ended(self, tag: str | None) -> None:
        logger.error("Redis lost its data; limits are reported anew", extra={"event": "quota.epoch", "tag": tag})
        self._own.forgotten(tag)
        self._holds.forgotten(tag)
        self._wake.set()

    def _tidy(self, now: int) -> None:
        self._own.prune(now)
        self._holds.prune()
        before = now - self.options.counted_ms
        for rate in [rate for rate, demand in self._demand.items() if demand.at < before]:
            del self._demand[rate]


def _log_failure(error: Exception) -> None:
    if not isinstance(error, SharedUnavailable):
        logger.error("a quota command failed", extra={"event": "quota.command", "reason": str(error)})
