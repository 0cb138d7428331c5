"""The limit holds over what was really used, however much of what was granted is not needed and goes back."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import pytest

from penstock.quota.models import QuotaOptions
from penstock.quota.service import QuotaService
from tests.integration.quota.rig import again, come_about, draw, gateway, never_over, scope
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis

_OPTIONS = QuotaOptions(
    window_ms=2_400, lease_ttl_ms=500, beat_ms=100, missing_after_ms=1_200, patience_ms=500, settle_ms=600
)
_LIMIT = 6_400
_NEED = 20


async def _calls(service: QuotaService, name: str, end: float, used: list[float], dice: random.Random) -> None:
    """Calls one after the other, which use a part of what they reserve; the moments of the units that they used."""
    while (asked := time.monotonic()) < end:
        grant = await draw(service, name, "tpm", limit=_LIMIT, need=_NEED, want=1)
        now = time.monotonic()
        needed = dice.randrange(1, _NEED + 1) if now < asked + grant.ttl_ms / 1000 else 0
        if grant.granted:
            used += [now] * needed
            await asyncio.sleep(dice.random() * 0.4)
            service.give_back(name, "tpm", grant.granted - needed, lease=grant.lease)
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("fault", ["slow", "flush", "freeze"])
@again
async def test_the_limit_holds_for_what_is_used(fault: str, start_proxy: Callable[[int], Proxy]) -> None:
    node, name, used = Redis(), scope(), list[float]()
    try:
        proxy = start_proxy(node.port)
        url = f"redis://127.0.0.1:{proxy.port}/0"
        async with gateway(url, _OPTIONS, deadline_ms=20) as one, gateway(url, _OPTIONS, deadline_ms=20) as two:
            await come_about(lambda: one.sharing == two.sharing == 2, "two share")
            proxy.delay(0.03)
            end = time.monotonic() + 9
            dice = random.Random(7)
            calls = [asyncio.ensure_future(_calls(service, name, end, used, dice)) for service in [one, two] * 60]
            await asyncio.sleep(5)
            if fault == "flush":
                node.flush()
            elif fault == "freeze":
                node.freeze()
                await asyncio.sleep(1)
                node.resume()
            await asyncio.gather(*calls)
            proxy.delay(0.0)
            assert one.figures.granted_ahead + two.figures.granted_ahead > 0
            if fault == "freeze":
                assert one.figures.outages + two.figures.outages > 0
        used.sort()
        never_over(used, _OPTIONS.window_ms / 1000, _LIMIT)
        # How much of it is used says as much about the machine.
        assert len(used) > _LIMIT / 2
    finally:
        node.close()
