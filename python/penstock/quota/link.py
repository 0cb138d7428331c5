"""The protocol's side of the connection: script calls with a deadline, the server's clock, and which epoch it is in.

Apart from the service because every answer teaches the same three things, whichever command it answers.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from penstock.quota import scripts
from penstock.quota.models import LATE_MS, QuotaOptions
from penstock.shared.breaker import Breaker
from penstock.shared.redis import SharedRedis, SharedTooSlow, SharedUnavailable, outside_reason

logger = logging.getLogger("penstock.quota")

_JUMP_MS = 1_000
"""By how much the server's clock may get ahead of ours from one answer to the next. Commands that draw have shorter deadlines, so
that those which meet a clock that went further are late, and take nothing."""
_DAY_MS = 86_400_000
REGISTER_TAG = "quota"
"""Of what belongs to no tenant."""

EpochEnded = Callable[[str | None], None]
"""Told the tag whose data the server lost; None: all of them."""


class Op(NamedTuple):
    """One script call and who is told of its end."""

    command: scripts.Command
    tag: str
    done: Callable[[list[Any]], None]
    """Gets the answer."""
    failed: Callable[[Exception], None]
    """The server refused the command, or it came to an unknown end."""
    by: int | None = None
    """When the server must not carry it out any more, monotonic milliseconds; None: when its deadline has passed."""


def now_ms() -> int:
    """Monotonic milliseconds."""
    return time.monotonic_ns() // 1_000_000


class Link:
    """Calls scripts. One per process."""

    def __init__(self, shared: SharedRedis, options: QuotaOptions, incarnation: str, ended: EpochEnded) -> None:
        self.shared = shared
        self.options = options
        self.incarnation = incarnation
        self.patience_s = options.patience_ms / 1000
        """Of a round trip. What is answered later than calls like to wait is answered all the same (:mod:`penstock.quota.credit`)."""
        # Broken connections are opened anew, but a server that says nothing for so long is gone.
        self.breaker = Breaker("quota", pause_s=0.25, longest_pause_s=0.5, final=SharedTooSlow)
        self.round_trips = 0
        """How often the server was asked."""
        self._ended = ended
        self._epochs: dict[str, str] = {}
        self._clocks: dict[str, tuple[int, int, int]] = {}
        """By group, of which each may be another server's: its time, ours when it said so, and ours when it was asked."""
        self._void: dict[str, str] = {}
        """Epochs in which the server's clock was set forward."""
        self._ordinal = 0

    def home(self, scope: str, tag: str | None) -> str:
        """The hash tag under which a scope's keys are. A user, a customer, a request tag or the whole proxy may meet several
        organizations, so that it is at home only with itself; everybody else is at home with the caller's organization, team or key.
        """
        kind = scope.removeprefix("model:").partition(":")[0]
        return scope if tag is None or kind in {"user", "customer", "tag", "global"} else tag

    def group(self, tag: str) -> str:
        """What one script may reach: everything, but in a cluster only one tag."""
        return tag if self.shared.is_cluster else REGISTER_TAG

    def key(self, tag: str, *parts: str) -> str:
        """A key of a tag."""
        return self.shared.key(*parts, tag=tag)

    def epoch_key(self, tag: str) -> str:
        """The key whose loss tells that others were lost."""
        return self.shared.key("epoch", tag=self.group(tag))

    def epoch(self, tag: str) -> str | None:
        """That of a tag's keys, as the last answer had it."""
        return self._epochs.get(self.group(tag))

    @property
    def register_keys(self) -> tuple[str, str]:
        """The gateways that are there, and those of them that are slow to hear from the server."""
        return self.shared.key("live", tag=REGISTER_TAG), self.shared.key("slow", tag=REGISTER_TAG)

    def next_ordinal(self) -> int:
        """Numbers commands that change holds."""
        self._ordinal += 1
        return self._ordinal

    async def load(self) -> None:
        """Have the server know the scripts.

        Raises:
            SharedUnavailable: it cannot be asked.
        """
        await self.shared.run(scripts.load(self.shared), self.shared.connect_timeout_s)

    async def call(self, ops: list[Op], deadline_s: float | None = None) -> None:
        """Run them in one round trip; each op is told of its end before this returns.

        Raises:
            SharedUnavailable: it is not known which of them took effect; every op was told that it failed.
        """
        if not ops:
            return
        deadline_s = self.patience_s if deadline_s is None else deadline_s
        commands = [op.command._replace(request=self._request(op, deadline_s)) for op in ops]
        asked_at = now_ms()
        try:
            answers = await self.breaker.call(lambda: self._round_trip(commands, deadline_s))
        except BaseException as error:
            reason = error if isinstance(error, SharedUnavailable) else SharedUnavailable("the command was broken off")
            for op in ops:
                op.failed(reason)
            raise
        for op, answer in zip(ops, answers, strict=True):
            if isinstance(answer, Exception):
                op.failed(answer)
            else:
                self._learn(op.tag, answer, asked_at)
                op.done(answer[2:])

    async def _round_trip(self, commands: list[scripts.Command], deadline_s: float) -> list[Any]:
        self.round_trips += 1
        answers = await self.shared.run(scripts.execute(self.shared, commands), deadline_s)
        for answer in answers:
            if isinstance(answer, Exception) and (reason := outside_reason(answer)) is not None:
                raise SharedUnavailable(reason) from answer
        return answers

    def _request(self, op: Op, deadline_s: float) -> dict[str, Any]:
        options = self.options
        common: dict[str, Any] = {
            "candidate": secrets.token_hex(8),
            "incarnation": self.incarnation,
            "settle": options.settle_ms,
        }
        if options.clock_offset_ms:
            common["offset"] = options.clock_offset_ms
        if self.shared.is_cluster:
            common["epoch_ttl"] = _DAY_MS
        group = self.group(op.tag)
        if (clock := self._clocks.get(group)) is not None:
            theirs, ours, _ = clock
            by = now_ms() + int(deadline_s * 1000)
            common["not_after"] = theirs - ours + (by if op.by is None else min(by, op.by)) + LATE_MS
        if (void := self._void.get(group)) is not None:
            common["void"] = void
        return {**common, **op.command.request}

    def _learn(self, tag: str, answer: list[Any], asked_at: int) -> None:
        theirs, ours = int(answer[0]), now_ms()
        group, epoch = self.group(tag), str(answer[1])
        before, clock = self._epochs.get(group), self._clocks.get(group)
        if before is not None and clock is not None and theirs - clock[0] > ours - clock[2] + _JUMP_MS:
            logger.error(
                "the clock of Redis was set forward; what it forgot is reported", extra={"event": "quota.clock"}
            )
            self._void[group] = before
        self._clocks[group] = (theirs, ours, asked_at)
        self._epochs[group] = epoch
        if before is not None and before != epoch:
            self._ended(tag if self.shared.is_cluster else None)


def log_failure(error: Exception) -> None:
    """What an :class:`Op` does about an error that is nobody's but the command's own; an outage says itself elsewhere."""
    if not isinstance(error, SharedUnavailable):
        logger.error("a quota command failed", extra={"event": "quota.command", "reason": str(error)})
