"""The idempotency domain's public face: claim a request, say how it ended, and go on without Redis as the operator chose.

Claims that wait while Redis is being asked go together in the next round trip. How calls ended is told on a way of its own,
because an answer may be large and nobody waits for it: one that cannot be told is tried again for as long as a claim lasts,
after which others run the request anyway. Claims of calls that are running are renewed here, so that they end with the process.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import msgspec

from penstock.engine import background
from penstock.idempotency import scripts
from penstock.idempotency.models import Answered, Claim, Release, Reply, Verdict
from penstock.shared import scripts as lua
from penstock.shared.breaker import Breaker
from penstock.shared.redis import STREAM_DEADLINE_S, SharedRedis, SharedUnavailable, outside_reason
from penstock.shared.scripts import ScriptCall

logger = logging.getLogger("penstock.idempotency")

_TRIES = 4
_CLAIMS = 256
"""In one round trip."""
_ENDS = 64
_ENDS_BYTES = 4 * 1024 * 1024
_MOST_ENDS = 65_536
"""Notes that may wait for Redis; claims whose notes are dropped expire by themselves."""
_PAUSE_S = 0.25
_FETCH_S = 1.0
"""For an answer that is too large to come with a claim."""
_FETCHES = 4
_STOP_S = 1.0


class Figures(msgspec.Struct):
    """Counters since the start, for metrics."""

    claimed: int = 0
    replayed: int = 0
    """Claims that were told an answer."""
    running: int = 0
    """Claims that were told to come again, because the request runs."""
    alone: int = 0
    """Claims that were decided without Redis: run here."""
    refused_alone: int = 0
    """Claims that were refused without Redis."""
    answers: int = 0
    """Answers that Redis took."""
    lost: int = 0
    """Answers that it did not take: too late, or another had the request."""


class _Asked:
    """A claim that waits for Redis, once or several times."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.reply: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self.is_sent = False
        """Redis may have it, whether we heard of it or not."""


class _End(NamedTuple):
    call: ScriptCall
    size: int
    give_up_at: float
    done: Callable[[Any], None]
    """Gets the script's reply, the error that the server replied, or None: it was given up."""


class _Live(NamedTuple):
    """A claim of a call that is running."""

    claim: Claim
    renew_at: float


class IdempotencyService:
    """One per process. `start` it on the loop that uses it."""

    def __init__(self, shared: SharedRedis) -> None:
        self.figures = Figures()
        self._shared = shared
        self._is_open_without = shared.settings.when_gone == "fail_open"
        self._breaker = Breaker("idempotency", failures=_TRIES, pause_s=0.25, longest_pause_s=0.5)
        self._asked: list[_Asked] = []
        self._ends: deque[_End] = deque()
        self._live: dict[str, _Live] = {}
        self._fetching = asyncio.Semaphore(_FETCHES)
        self._wake_claims, self._wake_ends = asyncio.Event(), asyncio.Event()
        self._kept: list[background.Kept] = []
        self._is_stopping = False

    async def start(self) -> None:
        """Begin. Redis may come later."""
        self._kept = [
            background.Kept(self._ask, "idempotency.claims"),
            background.Kept(self._tell, "idempotency.ends"),
            background.Kept(self._renew, "idempotency.renewal"),
        ]
        try:
            # Connections take longer than a claim may.
            await self._shared.ping()
        except SharedUnavailable as error:
            logger.warning("Redis is not there yet", extra={"event": "idempotency.start", "reason": str(error)})

    def finish(self) -> None:
        """From now on nothing is tried again, so that whoever waits for an end is told soon."""
        self._is_stopping = True
        self._wake_ends.set()

    async def stop(self) -> None:
        """Tell what is left to be told, within a second. Idempotent."""
        self.finish()
        if not self._kept:
            return
        try:
            async with asyncio.timeout(_STOP_S):
                while self._ends:
                    await self._tell_some()
        except TimeoutError:
            logger.warning("claims are left to expire", extra={"event": "idempotency.stop", "count": len(self._ends)})
        for kept in self._kept:
            await kept.stop()
        self._kept = []
        _fail(self._asked, SharedUnavailable("the gateway is stopping"))
        self._asked.clear()

    # ---- claims -------------------------------------------------------------------------------

    async def claim(self, claim: Claim) -> Reply | None:
        """May this gateway run the request? None: nobody can say, and the operator chose that it is not run then.

        Never raises for outside reasons.
        """
        asked = _Asked(claim)
        try:
            reply = await self._reply(asked)
        except SharedUnavailable:
            return self._decide_alone(asked)
        if reply.verdict == "run":
            self.figures.claimed += 1
            self._hold(claim)
        elif reply.verdict == "answered":
            self.figures.replayed += 1
        elif reply.verdict == "running":
            self.figures.running += 1
        return reply

    async def _reply(self, asked: _Asked) -> Reply:
        for attempt in range(_TRIES):
            asked.reply = asyncio.get_running_loop().create_future()
            self._asked.append(asked)
            self._wake_claims.set()
            try:
                word, length, sealed = scripts.verdict(await asked.reply)
                if word == "answered" and sealed is None:
                    sealed = await self._fetch(asked.claim.id)
                    if sealed is None or len(sealed) != length:
                        # It has gone, or another took its place.
                        continue
            except SharedUnavailable:
                # A single slow answer is no outage; it is one when the breaker says so. Asking again is the same claim.
                if attempt == _TRIES - 1 or not self._breaker.allows():
                    raise
                continue
            return Reply(msgspec.convert(word, Verdict), sealed or b"")
        raise SharedUnavailable("the answer changes again and again")

    async def _fetch(self, id: str) -> bytes | None:
        async with self._fetching:
            return await self._shared.run(scripts.fetch(self._shared, id), _FETCH_S)

    def _decide_alone(self, asked: _Asked) -> Reply | None:
        claim = asked.claim
        if self._is_open_without:
            self.figures.alone += 1
            self._hold(claim)
            return Reply("run")
        self.figures.refused_alone += 1
        if asked.is_sent:
            self._tell_soon(scripts.release(Release(id=claim.id, owner=claim.owner)), 0, claim, lambda _: None)
        return None

    def _hold(self, claim: Claim) -> None:
        self._live[claim.owner] = _Live(claim, time.monotonic() + claim.ttl_ms / 3000)

    async def _ask(self) -> None:
        while True:
            await self._wake_claims.wait()
            self._wake_claims.clear()
            while self._asked:
                batch, self._asked = self._asked[:_CLAIMS], self._asked[_CLAIMS:]
                try:
                    replies = await self._breaker.call(partial(self._send, batch))
                except SharedUnavailable as error:
                    _fail(batch, error)
                    continue
                except BaseException:
                    _fail(batch, SharedUnavailable("the question was broken off"))
                    raise
                for asked, reply in zip(batch, replies, strict=True):
                    if asked.reply.done():
                        continue
                    if isinstance(reply, Exception):
                        asked.reply.set_exception(reply)
                    else:
                        asked.reply.set_result(reply)

    async def _send(self, batch: list[_Asked]) -> list[Any]:
        for asked in batch:
            asked.is_sent = True
        return await self._call([scripts.claim(asked.claim) for asked in batch], self._shared.deadline_s)

    async def _call(self, calls: list[ScriptCall], deadline_s: float) -> list[Any]:
        replies = await self._shared.run(lua.execute(self._shared, calls), deadline_s)
        for reply in replies:
            if isinstance(reply, Exception) and (reason := outside_reason(reply)) is not None:
                raise SharedUnavailable(reason) from reply
        return replies

    # ---- how calls ended ----------------------------------------------------------------------

    async def answered(self, end: Answered, sealed: bytes) -> bool:
        """A claimed request has this answer. False: it is not kept, because another has the request or Redis is gone."""
        told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        live = self._live.pop(end.owner, None)

        def done(reply: Any) -> None:
            if not told.done():
                told.set_result(reply == 1)

        # The answer of a claim that nobody has any more is as good as that of any later one.
        self._tell_soon(scripts.answered(end, sealed), len(sealed), live and live.claim, done)
        is_kept = await told
        if is_kept:
            self.figures.answers += 1
        else:
            self.figures.lost += 1
        return is_kept

    def release(self, end: Release) -> None:
        """A claim ended without an answer, or its answer is to make room: whoever asks next runs the request."""
        live = self._live.pop(end.owner, None)
        self._tell_soon(scripts.release(end), 0, live and live.claim, lambda _: None)

    def _tell_soon(self, call: ScriptCall, size: int, claim: Claim | None, done: Callable[[Any], None]) -> None:
        """``claim``: what it ends; it is worth telling as long as that lasts."""
        if len(self._ends) >= _MOST_ENDS:
            done(None)
            return
        lasts_s = claim.ttl_ms / 1000 if claim is not None else _STOP_S
        self._ends.append(_End(call, size, time.monotonic() + lasts_s, done))
        self._wake_ends.set()

    async def _tell(self) -> None:
        while True:
            await self._wake_ends.wait()
            self._wake_ends.clear()
            while self._ends:
                if not await self._tell_some():
                    await asyncio.sleep(_PAUSE_S)

    async def _tell_some(self) -> bool:
        """One round trip; False: Redis is not there."""
        batch: list[_End] = []
        size = 0
        while self._ends and len(batch) < _ENDS and (not batch or size + self._ends[0].size <= _ENDS_BYTES):
            batch.append(self._ends.popleft())
            size += batch[-1].size
        deadline_s = _STOP_S if self._is_stopping else STREAM_DEADLINE_S
        try:
            replies = await self._call([end.call for end in batch], deadline_s)
        except SharedUnavailable as error:
            now = time.monotonic()
            again: list[_End] = []
            given_up: list[_End] = []
            for end in (*batch, *self._ends):
                (given_up if self._is_stopping or end.give_up_at <= now else again).append(end)
            self._ends = deque(again)
            for end in given_up:
                end.done(None)
            if given_up:
                logger.warning(
                    "ends of calls with an idempotency key are not told",
                    extra={"event": "idempotency.lost", "count": len(given_up), "reason": str(error)},
                )
            return False
        except BaseException:
            for end in batch:
                end.done(None)
            raise
        for end, reply in zip(batch, replies, strict=True):
            if isinstance(reply, Exception):
                logger.error("Redis refuses", extra={"event": "idempotency.refused", "reason": str(reply)})
            end.done(reply)
        return True

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_PAUSE_S)
            now = time.monotonic()
            # All claims last equally long, so that the first are due first.
            while self._live and (live := next(iter(self._live.values()))).renew_at <= now:
                del self._live[live.claim.owner]
                self._hold(live.claim)
                renewed = partial(self._renewed, live.claim.owner)
                self._tell_soon(scripts.claim(live.claim), 0, None, renewed)

    def _renewed(self, owner: str, reply: Any) -> None:
        """Another has it, or it has an answer: there is nothing to hold any more."""
        if isinstance(reply, list) and scripts.verdict(reply)[0] != "run":
            self._live.pop(owner, None)


def _fail(asked: list[_Asked], error: SharedUnavailable) -> None:
    for each in asked:
        if not each.reply.done():
            each.reply.set_exception(error)
