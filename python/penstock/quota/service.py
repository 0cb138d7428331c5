"""The quota domain's public face: draw units of limits that all replicas share, give them back, hold budgets and slots.

A draw of many calls is one round trip: what waits while Redis is being asked goes together in the next one. When Redis does
not answer, the decision is taken by :mod:`penstock.quota.fallback`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Literal

import msgspec

from penstock.engine import background
from penstock.engine.snapshot import WhenGone
from penstock.payers import Figure
from penstock.quota.absences import Absences, Removal, Silent
from penstock.quota.beats import Beats
from penstock.quota.credit import Credit
from penstock.quota.draws import Draws
from penstock.quota.fallback import LocalShare
from penstock.quota.holds import Holds
from penstock.quota.link import Link, now_ms
from penstock.quota.models import RATES, Ask, Grant, QuotaOptions
from penstock.quota.own_use import OwnUse
from penstock.quota.questions import Questions
from penstock.quota.returns import Returns
from penstock.quota.spends import Spends, SpentReader
from penstock.quota.store import AbsenceStore
from penstock.shared.redis import SharedRedis, SharedUnavailable

logger = logging.getLogger("penstock.quota")

_TRIES = 6
_BATCH = 256
_GATHER_S = 0.005
"""What is returned waits so long for the draw that is on its way with it: then both go in one trip."""


class Figures(msgspec.Struct):
    """Counters since the start, for metrics."""

    draws: int = 0
    granted: int = 0
    """Draws that Redis granted."""
    refused: int = 0
    granted_alone: int = 0
    """Draws that were granted without Redis."""
    refused_alone: int = 0
    granted_ahead: int = 0
    """Draws that were granted before a slow Redis had counted them."""
    outages: int = 0


class QuotaService:
    """One per process. `start` it on the loop that uses it."""

    def __init__(
        self,
        shared: SharedRedis,
        incarnation: str,
        *,
        options: QuotaOptions | None = None,
        spent: SpentReader | None = None,
        waits_ms: int | None = None,
        absences: AbsenceStore | None = None,
    ) -> None:
        """``waits_ms``: how long who asks waits for an answer (`hook_timeout`); None: for ever. ``absences``: in the database of all
        gateways that share this Redis; None: each has its own, and who is silent may be counting alone."""
        self.options = options or QuotaOptions()
        settings = shared.settings
        self.figures = Figures()
        self._own = OwnUse(self.options.counted_ms + self.options.length_ms)
        self._holds = Holds()
        self._link = Link(shared, self.options, incarnation, self._epoch_ended)
        self._credit = Credit(self.options, settings.deadline_ms, round(self._link.patience_s * 1000))
        self._spends = Spends(self._link, self._holds, spent)
        self._holds_good_ms = min(settings.local_share_ms, self.options.budget_hold_ms * 3 // 4)
        """Without Redis what is held may be used for so long: it knows of it for longer."""
        self._absences = None if absences is None else Absences(absences, incarnation, self._take_out, waits_ms)
        self._alone = LocalShare(self.options, self._own, settings.local_share_ms, settings.when_gone, self._absences)
        self._returns = Returns(self._link, self.options)
        self._beats = Beats(
            self._link,
            self._own,
            self._holds,
            self._alone,
            self._credit,
            self._returns,
            settings.expected_replicas,
            self._absences,
        )
        self._beats.lost = self._lost
        self._draws = Draws(self._link, self.options, self._beats, self._own, self._holds, self._credit, self.give_back)
        self._questions = Questions(waits_ms, round(self._link.patience_s * 1000))
        self._wake = asyncio.Event()
        self._gathering: asyncio.TimerHandle | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Enter the register of gateways if Redis is there; without it begin with this replica's share."""
        await self._beats.first()
        self._tasks = [
            background.Kept(self._pump, "quota.pump").task,
            background.Kept(lambda: self._beats.run(self._wake, self._tidy), "quota.beats").task,
        ]
        if self._absences is not None:
            self._tasks.append(background.Kept(self._absences.write, "quota.absences").task)
            self._tasks.append(background.Kept(self._absences.watch, "quota.ended").task)

    async def stop(self, *, keeps_budgets: bool = False) -> None:
        """Give everything back and leave the register. Idempotent.

        ``keeps_budgets``: what is held of budgets stays until it expires, because the ledger does not have what was spent of it.
        """
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._gathering is not None:
            self._gathering.cancel()
        self._questions.refuse("the gateway is stopping")
        if self._tasks:
            self._tasks = []
            is_told = await self._beats.leave(self._spends, keeps_budgets=keeps_budgets)
            if self._absences is not None:
                await self._absences.stop(is_told=is_told)

    @property
    def state(self) -> Literal["shared"] | WhenGone:
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
        asked = now_ms()
        self._draws.tried(asks, asked)
        grants: list[Grant] | None = None
        while grants is None:
            if not await self._are_shared():
                return self._decide_alone(asks, asked)
            if self._credit.covers(asks, now_ms()):
                return self._grant_ahead(asks, asked)
            try:
                grants = await self._draw_shared(asks, asked)
            except SharedUnavailable:
                if self._questions.is_over(asked, now_ms()):
                    grants = [_undecided() for _ in asks]
        if all(grant.granted for grant in grants):
            self.figures.granted += 1
        else:
            self.figures.refused += 1
        return grants

    async def _are_shared(self) -> bool:
        """When that is decided, and without Redis whether this gateway has its share, too."""
        while True:
            is_up = await self._beats.decided()
            if is_up or self._absences is None or self._absences.is_decided:
                return is_up
            await self._absences.decided()

    async def _draw_shared(self, asks: list[Ask], asked: int) -> list[Grant]:
        grants: dict[int, Grant] = {}
        for attempt in range(_TRIES):
            groups: dict[str, list[int]] = {}
            for index, ask in enumerate(asks):
                if index not in grants:
                    groups.setdefault(self._link.group(self._link.home(ask.scope, ask.tag)), []).append(index)
            refused = await self._draw_groups(asks, groups, asked, grants)
            if refused:
                self._roll_back(asks, grants)
                return [refused.get(index, Grant(granted=0)) for index in range(len(asks))]
            # One group may have settled, or been read, while the rates of the others ran out. Slots and money do not.
            late = self._ending(asks, grants, asked) if attempt or len(groups) > 1 else {}
            if not late:
                return [grants[index] for index in range(len(asks))]
            self._roll_back(asks, late)
            grants = {index: grant for index, grant in grants.items() if index not in late}
        self._roll_back(asks, grants)
        return [_undecided() for _ in asks]

    async def _draw_groups(
        self, asks: list[Ask], groups: dict[str, list[int]], asked: int, grants: dict[int, Grant]
    ) -> dict[int, Grant]:
        """One script for each group, all at once. What was granted is added to ``grants``; returns the groups that were not."""
        draws = [self._draw_group(tag, [asks[index] for index in indices], asked) for tag, indices in groups.items()]
        answers = await asyncio.gather(*draws, return_exceptions=True)
        refused: dict[int, Grant] = {}
        failed: BaseException | None = None
        for indices, drawn in zip(groups.values(), answers, strict=True):
            if isinstance(drawn, BaseException):
                failed = drawn
            else:
                known = grants if all(grant.granted for grant in drawn) else refused
                known.update(zip(indices, drawn, strict=True))
        if failed is not None:
            self._roll_back(asks, grants)
            raise failed
        return refused

    def _ending(self, asks: list[Ask], grants: dict[int, Grant], asked: int) -> dict[int, Grant]:
        """Units of rates that can hardly be used any more."""
        by = now_ms() + self.options.lease_ttl_ms // 10
        return {
            index: grant for index, grant in grants.items() if asks[index].kind in RATES and asked + grant.ttl_ms <= by
        }

    def give_back(self, scope: str, kind: str, units: int, *, lease: int = 0) -> None:
        """Units of a rate that were not used (``lease`` is the grant's), or of a hold that is needed no longer."""
        if units <= 0:
            return
        if kind not in RATES:
            self._holds.give_back((scope, kind), units)
        else:
            rate = (scope, kind)
            self._returns.add(rate, self._own.take_back(rate, units, lease))
            if self._returns and self._gathering is None:
                self._gathering = asyncio.get_running_loop().call_later(_GATHER_S, self._gathered)
            return
        self._wake.set()

    def hold(self, scope: str, kind: str, amount: int, drawn: int) -> None:
        """The whole amount that is needed, counted when ``drawn`` units of grants had arrived (shape of `quota.hold`)."""
        self._holds.restate((scope, kind), amount, drawn)
        self._wake.set()

    def overdrawn(self, scope: str, units: int, *, tag: str | None = None) -> None:
        """More of a budget was spent than was granted: it is held all the same (shape of `quota.overdrawn`)."""
        held = (scope, "budget")
        home = self._holds.tag(held) or self._link.home(scope, tag)
        self._holds.add(held, home, units, now_ms(), is_known=False)
        self._wake.set()

    def holds_budget(self, scope: str) -> bool:
        """Whether this process holds money of a budget."""
        return self._holds.amount((scope, "budget")) > 0

    def held_budgets(self) -> list[str]:
        """Scopes of the budgets of which this process holds money."""
        return self._holds.of_kind("budget")

    def tell_spent(self, scope: str, figure: Figure, freed: int) -> None:
        """The ledger has what was spent of a budget: everybody is told its figure, and in the same moment ``freed`` nano-dollars
        less are held. What cannot be told stays held, and is told later."""
        self._spends.add(scope, figure, freed)
        self._wake.set()

    async def release(self, incarnation: str) -> int:
        """A gateway has ended and the ledger has all that it spent: what it held of budgets is everybody's again; returns of how
        many.

        Raises:
            SharedUnavailable: Redis cannot be asked; what is left expires.
            DatabaseUnavailable: the ledger cannot be; the same.
        """
        return await self._spends.release(incarnation)

    async def bury(self, incarnation: str) -> None:
        """A gateway is known to have ended: its share of the rates is everybody's again. Its slots expire by themselves, for its
        budgets see :meth:`release`. One that counted alone is left its share, because Redis was not told what it used.

        Raises:
            SharedUnavailable: Redis could not be told; it forgets the gateway later by itself.
            DatabaseUnavailable: the same.
        """
        if self._absences is None or not await self._absences.counts_alone(incarnation):
            await self._beats.take_out(incarnation)

    async def be_known(self) -> None:
        """Wait a moment until the gateways that are there know of this one."""
        await self._beats.be_known()

    # ---- drawing ----------------------------------------------------------------------------

    async def _draw_group(self, tag: str, asks: list[Ask], asked: int) -> list[Grant]:
        for attempt in range(_TRIES):
            question = self._questions.ask(tag, asks, asked)
            self._wake.set()
            try:
                answer = await question
            except SharedUnavailable:
                # A single broken connection is no outage; it is one when the breaker says so.
                if not self._beats.is_up or attempt == _TRIES - 1:
                    raise
                continue
            if answer is None:
                break
            sent, settling, taken, rows = answer
            if taken:
                return [self._grant(ask, row, sent - asked) for ask, row in zip(asks, rows, strict=True)]
            reasons = {row[4] for row in rows}
            if settling:
                await asyncio.sleep((settling + 5) / 1000)
            elif "unseeded" in reasons:
                missing = [ask for ask, row in zip(asks, rows, strict=True) if row[4] == "unseeded"]
                if not await self._spends.seed(missing):
                    return [_undecided() if ask in missing else Grant(granted=0) for ask in asks]
            elif "stale" not in reasons:
                return [self._grant(ask, row, sent - asked) for ask, row in zip(asks, rows, strict=True)]
        return [_undecided() for _ in asks]

    def _grant(self, ask: Ask, row: list[Any], waited: int) -> Grant:
        granted, remaining, retry, lease, reason, until = row
        ttl = self._holds_good_ms if ask.kind == "budget" else self.options.lease_ttl_ms
        return Grant(
            granted=granted,
            # From when Redis was asked: the units count from the moment it took them, which is later.
            ttl_ms=ttl + waited if granted else 0,
            remaining=remaining,
            retry_after_ms=int(retry) if reason and retry >= 0 else None,
            refused=reason == "full",
            lease=lease,
            until=until,
        )

    def _roll_back(self, asks: list[Ask], grants: dict[int, Grant]) -> None:
        for index, grant in grants.items():
            ask = asks[index]
            self.give_back(ask.scope, ask.kind, grant.granted, lease=grant.lease)

    def _decide_alone(self, asks: list[Ask], asked: int) -> list[Grant]:
        now = now_ms()
        grants = [self._alone.decide(ask, now, self._holds.amount((ask.scope, ask.kind))) for ask in asks]
        if not all(grant.granted for grant in grants):
            self.figures.refused_alone += 1
            grants = [Grant(granted=0) if grant.granted else grant for grant in grants]
            return [msgspec.structs.replace(grant, alone=True) for grant in grants]
        self.figures.granted_alone += 1
        granted = []
        for ask, grant in zip(asks, grants, strict=True):
            tag, lease = self._link.home(ask.scope, ask.tag), 0
            if ask.kind in RATES:
                lease = self._own.add((ask.scope, ask.kind), tag, now, ask.need, is_known=False)
            else:
                self._holds.add((ask.scope, ask.kind), tag, ask.need, now, is_known=False)
            granted.append(msgspec.structs.replace(grant, ttl_ms=grant.ttl_ms + now - asked, lease=lease, alone=True))
        return granted

    def _grant_ahead(self, asks: list[Ask], asked: int) -> list[Grant]:
        self.figures.granted_ahead += 1
        now, grants = now_ms(), []
        for ask in asks:
            self._credit.use(ask)
            rate, tag = (ask.scope, ask.kind), self._link.home(ask.scope, ask.tag)
            lease = self._own.add(rate, tag, now, ask.need, is_known=False)
            remaining = known.free if (known := self._own.known(rate)) is not None else 0
            ttl = self.options.lease_ttl_ms + now - asked
            grants.append(Grant(granted=ask.need, ttl_ms=ttl, remaining=remaining, lease=lease))
        self._wake.set()
        return grants

    # ---- the pump ---------------------------------------------------------------------------

    async def _pump(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._questions or self._returns or self._spends.are_waiting or self._beats.has_reports():
                # Draws whose callers were just told something else go with this trip, and after what those gave back.
                await asyncio.sleep(0)
                if not self._beats.is_up:
                    self._questions.refuse("Redis is gone")
                    break
                if self._questions:
                    try:
                        await self._beats.refresh()
                    except SharedUnavailable as error:
                        self._beats.check(error)
                        continue
                jobs = self._questions.cut(_BATCH, now_ms())
                # Nobody waits for these, but others for the draws.
                spends = self._spends.ops(_BATCH // 4 if jobs else _BATCH)
                ops = [*self._beats.reports(_BATCH), *spends, *self._returns.ops()]
                ops += [self._draws.op(job) for job in jobs]
                if not ops:
                    break
                began = now_ms()
                try:
                    await self._link.call(ops)
                except SharedUnavailable as error:
                    self._beats.check(error)
                else:
                    self._credit.answered(now_ms() - began, now_ms())

    def _gathered(self) -> None:
        self._gathering = None
        self._wake.set()

    def _lost(self) -> None:
        self.figures.outages += 1
        self._questions.refuse("Redis is gone")

    async def _take_out(self, silent: Silent) -> Removal:
        return await self._beats.take_out(silent.incarnation, silent.entry)

    def _epoch_ended(self, tag: str | None) -> None:
        logger.error("Redis lost its data; limits are reported anew", extra={"event": "quota.epoch", "tag": tag})
        self._own.forgotten(tag)
        self._holds.forgotten(tag)
        self._returns.forgotten(tag)
        self._credit.suspend(now_ms())
        self._beats.forgotten_at = now_ms()
        self._wake.set()

    def _tidy(self, now: int) -> None:
        self._own.prune(now)
        self._credit.prune(self._own)
        self._holds.prune()
        self._draws.prune(now)


def _undecided() -> Grant:
    return Grant(granted=0, retry_after_ms=1_000, refused=True, unknown=True)
