"""One gateway's part of a limit, as a process: asks as fast as it is told to and writes down what it was given.

    python -m tests.faults.quota_process URL SCOPE LIMIT WINDOW_MS SECONDS PER_SECOND INCARNATION [BUDGET COST CALLS]

Answers one JSON line: `{"admitted": [...], "asked": n, "round_trips": n, "alone": n}`, moments in seconds of the machine's
monotonic clock. Units of a lease that ran out before they were used are given back, as the data plane does it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from penstock.config.redis import RedisSettings
from penstock.config.secret import Secret
from penstock.payers import Figure
from penstock.quota.models import Ask, Grant, QuotaOptions
from penstock.quota.service import QuotaService
from penstock.shared.redis import connect


class Lease:
    """Units drawn ahead; concurrent callers wait for one draw."""

    def __init__(self, service: QuotaService, scope: str, limit: int) -> None:
        self._service = service
        self._ask = Ask(scope=scope, kind="rpm", limit=limit)
        self._grant = Grant(granted=0)
        self._left = 0
        self._ends = 0.0
        self._refused_until = 0.0

    async def take(self) -> float | None:
        """When a unit was used, if there is one: the moment at which its lease was seen to hold, however late this process goes on."""
        now = time.monotonic()
        if self._left and now >= self._ends:
            self._service.give_back(self._ask.scope, "rpm", self._left, lease=self._grant.lease)
            self._left = 0
        if not self._left:
            if now < self._refused_until:
                return None
            asked = time.monotonic()
            grant = await self._service.draw([self._ask])
            self._grant, self._left = grant[0], grant[0].granted
            self._ends = asked + self._grant.ttl_ms / 1000
            if not self._left:
                self._refused_until = time.monotonic() + min(self._grant.retry_after_ms or 10, 250) / 1000
                return None
            if (now := time.monotonic()) >= self._ends:
                return None
        self._left -= 1
        return now

    def close(self) -> None:
        """What is left goes back."""
        self._service.give_back(self._ask.scope, "rpm", self._left, lease=self._grant.lease)


async def rates(service: QuotaService, scope: str, limit: int, seconds: float, per_second: float) -> dict[str, Any]:
    """Hammer one rate."""
    lease, admitted, asked = Lease(service, scope, limit), [], 0
    begin = time.monotonic()
    while (now := time.monotonic()) < begin + seconds:
        for _ in range(int((now - begin) * per_second) - asked):
            asked += 1
            if (used := await lease.take()) is not None:
                admitted.append(used)
        await asyncio.sleep(0.005)
    lease.close()
    return {"admitted": admitted, "asked": asked}


async def budgets(service: QuotaService, scope: str, budget: int, cost: int, calls: int) -> dict[str, Any]:
    """So many calls at once, each of which costs ``cost`` in the end."""
    ask = Ask(scope=scope, kind="budget", limit=budget, need=cost)
    grants = await asyncio.gather(*(service.draw([ask]) for _ in range(calls)))
    return {"admitted": [time.monotonic() for (grant,) in grants if grant.granted], "asked": calls}


async def main(arguments: list[str]) -> None:
    """See the module."""
    url, scope, limit, window, seconds, per_second, incarnation, *money = arguments
    # A machine that stands still for a second has not lost its Redis.
    patience = {"patience_ms": 5_000, "missing_after_ms": 8_000}
    options = QuotaOptions(window_ms=int(window), lease_ttl_ms=max(200, int(window) // 120), **patience)

    async def ledger(*_: object) -> Figure:
        return Figure(0, 1)

    # A deadline that holds although all these processes share two cores.
    shared = await connect(RedisSettings(url=Secret(url), deadline_ms=500))
    service = QuotaService(shared, incarnation, options=options, spent=ledger)
    await service.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    before = service.round_trips
    if money:
        found = await budgets(service, scope, *(int(number) for number in money))
    else:
        found = await rates(service, scope, int(limit), float(seconds), float(per_second))
    found |= {"round_trips": service.round_trips - before, "alone": service.figures.granted_alone}
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    # Holds are kept until everybody has drawn.
    await asyncio.to_thread(sys.stdin.readline)
    await service.stop()
    await shared.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
