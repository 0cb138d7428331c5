"""Quota services on a real Redis, as the tests of this folder need them."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from redis import Redis as Client

from penstock.config.redis import RedisSettings
from penstock.config.secret import Secret
from penstock.quota.models import Ask, Grant, QuotaOptions
from penstock.quota.service import QuotaService
from penstock.quota.spends import SpentReader
from penstock.quota.store import AbsenceStore
from penstock.shared.redis import SharedRedis, connect
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis
from tests.stalls import again_after_a_stall

FAST = QuotaOptions(
    window_ms=1_200,
    lease_ttl_ms=20,
    beat_ms=50,
    missing_after_ms=300,
    patience_ms=150,
    # Longer than the pause between two tries to come back.
    settle_ms=700,
    slot_hold_ms=800,
    budget_hold_ms=800,
)
"""The protocol with short times: what takes a minute takes a second."""
CALM = msgspec.structs.replace(
    FAST,
    window_ms=5_000,
    missing_after_ms=8_000,
    patience_ms=5_000,
    settle_ms=1_500,
    slot_hold_ms=2_400,
    budget_hold_ms=2_400,
)
"""The same where Redis is there all the time: a machine that stands still for a second is no outage, and nothing ends for that."""


def settings(url: str, **fields: Any) -> RedisSettings:
    """Of one test server; a deadline that a busy machine keeps."""
    return RedisSettings(url=Secret(url), **{"deadline_ms": 150, "connect_timeout_ms": 5_000, **fields})


@asynccontextmanager
async def connected(url: str, **fields: Any) -> AsyncIterator[SharedRedis]:
    """A connection."""
    shared = await connect(settings(url, **fields))
    try:
        yield shared
    finally:
        await shared.close()


@asynccontextmanager
async def gateway(
    url: str,
    options: QuotaOptions = CALM,
    *,
    spent: SpentReader | None = None,
    incarnation: str | None = None,
    waits_ms: int | None = None,
    absences: AbsenceStore | None = None,
    **fields: Any,
) -> AsyncIterator[QuotaService]:
    """A started service with a connection of its own, as one gateway has it."""
    if options.patience_ms >= CALM.patience_ms:
        # Who waits for so long before it gives Redis up has time for an answer, too: without one a draw is a refusal.
        fields = {"deadline_ms": 2_000, **fields}
    # As patient with new connections as with answers.
    timeout = max(RedisSettings(url=Secret(url)).connect_timeout_ms, options.patience_ms)
    async with connected(url, **{"connect_timeout_ms": timeout, **fields}) as shared:
        name = incarnation or secrets.token_hex(8)
        service = QuotaService(shared, name, options=options, spent=spent, waits_ms=waits_ms, absences=absences)
        await service.start()
        try:
            yield service
        finally:
            await service.stop()


async def draw(
    service: QuotaService, scope: str, kind: Any = "rpm", limit: int = 10, need: int = 1, **more: Any
) -> Grant:
    """One ask."""
    return (await service.draw([Ask(scope=scope, kind=kind, limit=limit, need=need, **more)]))[0]


def scope(kind: str = "key") -> str:
    """One that no other test uses."""
    return f"{kind}:{secrets.token_hex(6)}"


def most_in_a_window(admitted: list[float], window_s: float) -> int:
    """The most admissions in any window, of moments in order."""
    most, begin = 0, 0
    for end, at in enumerate(admitted):
        while admitted[begin] <= at - window_s:
            begin += 1
        most = max(most, end - begin + 1)
    return most


def _forget(redis: Redis | None = None, far_redis: Proxy | None = None, redis_url: str | None = None, **_: Any) -> None:
    """Nothing of the gateways before, which may have ended without a word."""
    if redis is not None:
        redis.flush()
    elif redis_url is not None:
        with Client.from_url(redis_url, socket_timeout=5) as client:
            client.flushall()
    if far_redis is not None:
        far_redis.heal()
        with Client(host="127.0.0.1", port=far_redis.target[1], socket_timeout=5) as client:
            client.flushall()


again = again_after_a_stall(0.03, _forget)
"""For tests of outages. In the time that Redis has to answer in them, it or they may have to wait for a core."""


class OverTheLimit(Exception):
    """What must not happen even on a machine that stands still."""


def never_over(admitted: list[float], window_s: float, limit: int) -> None:
    """No more than ``limit`` in any window, of moments in order.

    Raises:
        OverTheLimit: there were.
    """
    if (most := most_in_a_window(admitted, window_s)) > limit:
        raise OverTheLimit(f"{most} of {limit}")


async def come_about(probe: Callable[[], bool], what: str, seconds: float = 10) -> None:
    """Wait for what tasks of this loop or other processes bring about."""
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline, f"did not come about: {what}"
        await asyncio.sleep(0.01)
