"""The register of gateways, and the way out of an outage and back.

A gateway says every 300 ms that it is there. One that was silent for a second may be going on with its share of the rates
alone, and the others leave that share to it. Coming back it first reports what it used alone, then says that it is there,
and only then draws: in any other order the same units could be given twice. Between its last report and the answer to that it
uses nothing, for the others may hear first that they need not leave it anything any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from penstock.quota.absences import Absences, Removal, Silent
from penstock.quota.credit import Credit, credit_of
from penstock.quota.fallback import LocalShare
from penstock.quota.holds import Assertion, Holds
from penstock.quota.link import Link, Op, now_ms
from penstock.quota.own_use import OwnUse, Report
from penstock.quota.returns import Returns
from penstock.quota.scripts import Command
from penstock.quota.spends import Spends
from penstock.shared.redis import SharedUnavailable

logger = logging.getLogger("penstock.quota")

_CHUNK = 1_000
"""In one trip, which must not take longer for it than an answer may."""
_TRIES = 5
_TIDY_EVERY_MS = 5_000
_EVER_MS = 10**12


class Beats:
    """Whether limits are shared now, and among how many."""

    def __init__(
        self,
        link: Link,
        own: OwnUse,
        holds: Holds,
        alone: LocalShare,
        credit: Credit,
        returns: Returns,
        expected_replicas: int,
        absences: Absences | None,
    ) -> None:
        self._link = link
        self._absences = absences
        self._credit = credit
        self._own = own
        self._holds = holds
        self._alone = alone
        self._returns = returns
        self.is_up = False
        """Redis answers and knows everything that this gateway uses."""
        self.sharing = expected_replicas
        """Gateways among which limits are divided."""
        self.present = 1
        """Gateways that answer."""
        self.lost: Callable[[], None] = lambda: None
        """Called when Redis is given up."""
        self._met_at = 0
        """When the last beat was sent that was answered."""
        self.forgotten_at = -_EVER_MS
        """When Redis was last seen to have lost data, monotonic milliseconds."""
        self._entered_at = 0
        """The same of those that were entered in the register."""
        self._beating = asyncio.Lock()
        self._least_known = 0
        self._is_news = False
        self._missing: list[int] = []
        self._slow: list[int] = []
        self._sent_at = 0
        self._tidied_at = 0
        self._returning: asyncio.Event | None = None

    def kept_back(self, limit: int) -> int:
        """Units of a rate that are left to gateways that may be using their share alone, or a little ahead."""
        alone = sum(limit // known for known in self._missing)
        return alone + sum(credit_of(limit, known) for known in self._slow)

    async def decided(self) -> bool:
        """Whether limits are shared, when that is decided: on the way back from an outage it is not for a moment."""
        while (returning := self._returning) is not None:
            await returning.wait()
        return self.is_up

    @property
    def good_until(self) -> int:
        """Until when what is known of the others may be gone by."""
        return self._met_at + self._link.options.knowledge_ms

    async def refresh(self) -> None:
        """Hear who is there unless that is known; it is old when this process stood still.

        Raises:
            SharedUnavailable: Redis cannot be asked.
        """
        if now_ms() > self.good_until:
            await self._meet(anew=False)

    async def first(self) -> None:
        """Come up if Redis is there, else begin alone."""
        try:
            await self._come_back()
        except SharedUnavailable as error:
            self._go_alone(error)

    async def run(self, wake: asyncio.Event, tidy: Callable[[int], None]) -> None:
        """Beat until cancelled."""
        every = self._link.options.beat_ms / 1000
        while True:
            # Others wait to hear that this one knows how many they are.
            await asyncio.sleep(0 if self._is_news else every if self.is_up else every / 3)
            self._is_news = False
            now = now_ms()
            self._credit.pass_time(now)
            if now - self._tidied_at > _TIDY_EVERY_MS:
                self._tidied_at = now
                tidy(now)
            try:
                if self.is_up:
                    self._holds.ageing(now - self._link.options.slot_hold_ms // 4)
                    await self._meet()
                    wake.set()
                elif self._link.breaker.allows():
                    await self._come_back()
                    wake.set()
                else:
                    self._alone.mode(now)
            except SharedUnavailable as error:
                self.check(error)

    async def be_known(self) -> None:
        """Wait a moment until the others divide limits by as many as there are now: one that went silent before that would take its
        larger share with it, all of a limit if it was the only one."""
        options = self._link.options
        ends = now_ms() + options.missing_after_ms + options.beat_ms
        try:
            while self.is_up and self._least_known < self.sharing and now_ms() < ends:
                await asyncio.sleep(options.beat_ms / 3000)
                await self._meet()
        except SharedUnavailable as error:
            self.check(error)

    async def leave(self, spends: Spends, *, keeps_budgets: bool) -> bool:
        """Report, release and leave the register; False: Redis could not be told everything."""
        is_told = False
        try:
            if self.is_up:
                while ops := spends.ops(_CHUNK):
                    await self._link.call(ops)
                self._holds.release_all(but="budget" if keeps_budgets else None)
                await self._report_until(lambda: not self.has_reports())
                while ops := self._returns.ops():
                    await self._link.call(ops)
                if is_told := not self._own.has_unknown():
                    await self._link.call([self._beat(is_leaving=True)])
        except SharedUnavailable as error:
            is_told = False
            logger.warning(
                "Redis was not told that this gateway ends", extra={"event": "quota.leave", "reason": str(error)}
            )
        self.is_up = False
        return is_told

    async def take_out(self, incarnation: str, entry: str | None = None) -> Removal:
        """Take another gateway out of the register. ``entry``: only if it is still this.

        Raises:
            SharedUnavailable: Redis cannot be asked.
        """
        removals: list[Removal] = []
        op = self._beat(is_leaving=True)
        request = {**op.command.request, "incarnation": incarnation, "is_ended": True}
        if entry is not None:
            request["judged"] = entry
        command = op.command._replace(request=request)
        await self._link.call([op._replace(command=command, done=lambda answer: removals.append(answer[-1]))])
        # A server that does not understand the command says so in the log, and removes nothing.
        return removals[0] if removals else "gone"

    def check(self, error: SharedUnavailable) -> None:
        """Something failed: give Redis up when the breaker says so."""
        if self.is_up and self._link.breaker.state != "closed":
            self._go_alone(error)

    def has_reports(self) -> bool:
        """Whether there is something that Redis does not know."""
        return self._holds.changed() > 0 or self._own.has_unknown()

    def reports(self, limit: int) -> list[Op]:
        """What Redis does not know of this gateway: holds that changed, and units it was not told of."""
        now = now_ms()
        ops = [self._hold_op(assertion) for assertion in self._holds.take_dirty(now, limit)]
        for rate, tag in self._own.unknown()[:limit]:
            report = self._own.report(rate, now)
            if report.used:
                ops.append(self._carry_op(report, tag))
        return ops

    def _go_alone(self, error: SharedUnavailable) -> None:
        self.is_up = False
        self._credit.end()
        logger.error("Redis is given up for now", extra={"event": "quota.alone", "reason": str(error)})
        if self._absences is not None:
            self._absences.begin(heard_at=self._entered_at if self._sent_at else None)
        self._alone.begin(now_ms(), self._sent_at, self.sharing)
        self.lost()

    async def _come_back(self) -> None:
        link = self._link
        if self._alone.outage is not None or not self._sent_at:
            # With the time that a new connection takes; the deadline of calls is for connections that are there.
            await link.breaker.call(link.shared.ping)
            await link.breaker.call(link.load)
        # Quiet: it only shows whether data was lost. Until everything is reported the others must go on missing us.
        await link.call([*self._polls(), self._beat(is_quiet=True)])
        # Calls go on meanwhile, for as long as what is left to report gets less; what they use then is reported while they wait.
        left = self._unreported()
        while left:
            for _ in range(self._reports_left()):
                await self._report()
            before, left = left, self._unreported()
            if left >= before:
                break
        was_alone = self._alone.outage is not None
        self._returning = returning = asyncio.Event()
        try:
            # Holds go with the first draws, before them.
            if not await self._report_until(lambda: not self._own.has_unknown()):
                raise SharedUnavailable("Redis does not count what was used without it")
            try:
                await self._meet()
            except SharedUnavailable:
                self._alone.resume(now_ms(), self._sent_at)
                if self._absences is not None:
                    self._absences.may_be_heard()
                raise
            self.is_up = True
            self._alone.end()
            if self._absences is not None:
                self._absences.end()
        finally:
            self._returning = None
            returning.set()
        if was_alone:
            logger.warning("limits are shared again", extra={"event": "quota.mode", "mode": "shared"})

    async def _meet(self, *, anew: bool = True) -> None:
        # One at a time: what is known and what the register says of it come from the same answer.
        async with self._beating:
            if not anew and not self.is_up:
                raise SharedUnavailable("Redis was given up meanwhile")
            if anew or now_ms() > self.good_until:
                await self._link.call([*self._polls(), self._beat()])

    def _unreported(self) -> int:
        return max(len(self._own.unknown()), self._holds.changed())

    def _reports_left(self) -> int:
        return self._unreported() // _CHUNK + 1

    async def _report_until(self, is_enough: Callable[[], bool]) -> bool:
        """Report what there is while nothing, or hardly anything, comes to it; whether it was enough. Redis may not count a
        report that came late, and what it does not count is reported again."""
        for _ in range(self._reports_left() + _TRIES):
            if is_enough():
                return True
            await self._report()
        return is_enough()

    async def _report(self) -> None:
        if ops := self.reports(_CHUNK):
            await self._link.call(ops)

    def _polls(self) -> list[Op]:
        """In a cluster each tag may be lost by itself: look after those that matter to this gateway."""
        if not self._link.shared.is_cluster:
            return []
        key = self._link.key
        tags = sorted(self._own.tags() | self._holds.tags())
        return [
            self._register_op(tag, (key(tag, "live"), key(tag, "slow")), {"is_quiet": True}, _nothing) for tag in tags
        ]

    def _beat(self, *, is_quiet: bool = False, is_leaving: bool = False) -> Op:
        sent = now_ms()
        if not (is_quiet or is_leaving):
            self._sent_at = sent
        is_slow = self._credit.is_asked_for
        # Without Redis limits are divided as when it was lost.
        divides_by = outage.sharing if (outage := self._alone.outage) is not None else self.sharing
        request = {"divides_by": divides_by, "is_quiet": is_quiet, "is_leaving": is_leaving, "is_slow": is_slow}

        def met(answer: list[Any]) -> None:
            _, sharing, self.present, self._missing, late, self._slow, self._least_known, silent, _ = answer
            self._met_at = sent
            if is_quiet or not late:
                self.sharing = sharing
            if not (is_quiet or late):
                self._is_news = sharing != divides_by
                if 0 < self._entered_at < sent - self._link.options.ended_after_ms:
                    # The others may have taken it for ended, and have kept nothing back for it.
                    self._credit.end()
                self._entered_at = sent
                if is_slow:
                    self._credit.told(sharing, sent, now_ms())
            if self._absences is not None:
                # What was lost of a tag, its gateways had to have time to report.
                most = now_ms() - self.forgotten_at - self._link.options.settle_ms
                known = [Silent(*each) for each in silent]
                self._absences.heard_nothing_of([each for each in known if each.silence_ms <= most])

        return self._register_op("quota", self._link.register_keys, request, _nothing if is_leaving else met)

    def _register_op(
        self, tag: str, keys: tuple[str, str], request: dict[str, Any], done: Callable[[list[Any]], None]
    ) -> Op:
        options = self._link.options
        times = {
            "missing_after": options.missing_after_ms,
            "ended_after": options.ended_after_ms,
            # Until it has surely stopped using its share and those uses no longer count.
            "forget_after": self._link.shared.settings.local_share_ms
            + options.counted_ms
            + 2 * options.missing_after_ms,
        }
        command = Command("beat", [self._link.epoch_key(tag), *keys], {**times, **request})
        return Op(command, tag, done, _ignore)

    def _carry_op(self, report: Report, tag: str) -> Op:
        link, options = self._link, self._link.options
        request = {"used": report.used, "window": options.counted_ms, "length": options.length_ms}
        rate, limit = report.rate, self._credit.limit(report.rate)
        mark = None if limit is None else self._credit.mark(rate, limit, now_ms())
        kept_back = 0 if limit is None else self.kept_back(limit)

        def done(answer: list[Any]) -> None:
            counted, total, segments = answer
            if not counted:
                self._own.undo(report)
                return
            self._returns.add(rate, self._own.told(report, segments))
            if limit is not None:
                self._credit.learn(rate, limit, mark, limit - kept_back - total)

        command = Command("carry", [link.epoch_key(tag), link.key(tag, rate[1], rate[0])], request)
        return Op(command, tag, done, lambda error: _again(error, lambda: self._own.undo(report)))

    def _hold_op(self, assertion: Assertion) -> Op:
        link, options = self._link, self._link.options
        (scope, kind), tag, amount = assertion
        request = {
            "amount": amount,
            "ordinal": link.next_ordinal(),
            "ttl": options.budget_hold_ms if kind == "budget" else options.slot_hold_ms,
        }
        command = Command("hold", [link.epoch_key(tag), link.key(tag, "held", kind, scope)], request)
        return Op(command, tag, _nothing, lambda error: _again(error, lambda: self._holds.doubt((scope, kind), tag)))


def _nothing(_: list[Any]) -> None:
    """The answer says nothing that is not known."""


def _again(error: Exception, undo: Callable[[], None]) -> None:
    """What did not arrive is reported once more; what the server does not understand would not be the next time either."""
    if isinstance(error, SharedUnavailable):
        undo()
    else:
        logger.error("a quota report was refused", extra={"event": "quota.command", "reason": str(error)})


def _ignore(_: Exception) -> None:
    """The call's own error says it."""
