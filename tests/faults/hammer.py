"""One key used by many clients of several gateways at a steady pace, and what the gateways say about limits that they share."""

from __future__ import annotations

import asyncio
import functools
import re
import time
from collections.abc import Callable
from typing import Any

import httpx

from tests.conftest import Gateway
from tests.faults.accounts import note
from tests.faults.streams import body
from tests.rig import NO_TLS, until
from tests.servers.proxy import Proxy
from tests.stalls import Started, Stopwatch

_NOTHING_LEFT_S = 1.5
"""Longer than leases last that somebody may still hold."""
_AGAIN_S = 0.02
_TRIES = 3
_STOOD_S = 0.15
"""Of one process, which is not the one that waited for Redis, and longest in one piece."""


def figure(gateway: Gateway, name: str) -> float:
    """One metric of the control plane."""
    with gateway.client() as client:
        text = client.get("/metrics", headers=gateway.admin).text
    found = re.search(rf"^{name} ([0-9.e+-]+)$", text, re.M)
    assert found is not None, f"{name} is not among the metrics"
    return float(found[1])


class Callers:
    """Clients of all gateways that use one key."""

    def __init__(self, gateways: list[Gateway], key: str) -> None:
        limits = httpx.Limits(max_connections=200)
        self._clients = [
            httpx.AsyncClient(base_url=each.url, timeout=30, trust_env=False, verify=NO_TLS, limits=limits)
            for each in gateways
        ]
        self._headers = {"authorization": f"Bearer {key}"}
        self.answers: list[tuple[float, int]] = []
        """When each call was sent, and its status."""
        self.others: list[str] = []

    async def call(self, number: int, most: int = 3, headers: dict[str, str] | None = None) -> int:
        """One call through the gateway whose turn it is."""
        client = self._clients[number % len(self._clients)]
        sent = time.monotonic()
        answer = await client.post(
            "/v1/chat/completions", headers={**self._headers, **(headers or {})}, json=body("sim", max_tokens=most)
        )
        self.answers.append((sent, answer.status_code))
        if answer.status_code not in (200, 429):
            self.others.append(answer.text)
        return answer.status_code

    async def hammer(
        self,
        per_second: float,
        seconds: float,
        at: dict[float, Callable[[], None]] | None = None,
        most: int = 3,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Calls at a steady pace, whether they are answered or not. ``at``: what else happens, by second."""
        begin, tasks, events = time.monotonic(), [], sorted((at or {}).items())
        for number in range(int(per_second * seconds)):
            await asyncio.sleep(max(0.0, begin + number / per_second - time.monotonic()))
            while events and time.monotonic() - begin >= events[0][0]:
                await asyncio.to_thread(events.pop(0)[1])
            tasks.append(asyncio.ensure_future(self.call(number, most, headers)))
        await asyncio.gather(*tasks)

    async def use_up(self) -> None:
        """Call on, one after the other through all gateways, until nobody has been served for a while: nothing is left then.

        How much of a limit a steady pace takes says as much about the machine as about the limit.
        """
        served_at, number = time.monotonic(), 0
        while time.monotonic() - served_at < _NOTHING_LEFT_S:
            if await self.call(number) == 200:
                served_at = time.monotonic()
            number += 1
            await asyncio.sleep(_AGAIN_S)

    def admitted(self) -> int:
        """Calls that were served."""
        return sum(1 for _, status in self.answers if status == 200)

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.aclose()


def run(gateways: list[Gateway], key: str, work: Callable[[Callers], Any]) -> Callers:
    """Have a crowd do something."""

    async def main() -> Callers:
        crowd = Callers(gateways, key)
        try:
            await work(crowd)
        finally:
            await crowd.close()
        return crowd

    return asyncio.run(main())


def outages(gateways: list[Gateway]) -> dict[str, float]:
    """How often each of those that run gave Redis up so far."""
    return {gateway.url: figure(gateway, "penstock_quota_outages_total") for gateway in _running(gateways)}


def _running(gateways: list[Gateway]) -> list[Gateway]:
    return [gateway for gateway in gateways if gateway.process.process.poll() is None]


def _named(given: dict[str, Any]) -> list[Gateway]:
    """Those that a test got from its fixtures."""
    found = [getattr(value, "gateways", value) for value in given.values()]
    return [each for value in found if isinstance(value, list) for each in value if isinstance(each, Gateway)]


def _undo(given: dict[str, Any], started: Started) -> None:
    """Redis is there and empty, gateways that the test started are ended, and the others share limits: as it was found."""
    redis = given.get("own_redis")
    if redis is not None:
        redis.resume() if redis.child.is_running else redis.start()
    for value in given.values():
        if isinstance(value, Proxy):
            value.heal()
    started.end()
    if redis is not None:
        redis.flush()
    for gateway in _running(_named(given)):
        until(lambda gateway=gateway: figure(gateway, "penstock_quota_shared") == 1, "limits are shared again")  # type: ignore[misc]


def again_after_an_outage(test: Callable[..., None]) -> Callable[..., None]:
    """For tests in which Redis answers all the time, be it late or that it forgot everything: one that failed is made again when a
    gateway gave Redis up all the same while the machine stood still, which looks like that from inside.

    Not for those that take Redis away, in which it is given up in any case: they are made again after a stall, see
    :func:`undone_when_it_fails`.
    """

    @functools.wraps(test)
    def tried(**given: Any) -> None:
        started = Started(given)
        for attempt in range(1, _TRIES + 1):
            before, watch = outages(_named(given)), Stopwatch()
            try:
                return test(**started.named)
            except AssertionError:
                now = outages([*_named(given), *(value for value in started.made if isinstance(value, Gateway))])
                is_calm = watch.longest_s < _STOOD_S or all(now[url] == before.get(url, 0.0) for url in now)
                if attempt == _TRIES or is_calm:
                    raise
            note("made again: Redis was given up although it was there")
            _undo(given, started)
        return None

    return tried


def undone_when_it_fails(test: Callable[..., None]) -> Callable[..., None]:
    """For tests that take Redis away, inside of `again_after_a_stall`: the next try finds nothing of one that failed, whose
    gateways would share the limits of its own."""

    @functools.wraps(test)
    def tried(**given: Any) -> None:
        started = Started(given)
        try:
            test(**started.named)
        except (AssertionError, TimeoutError):
            _undo(given, started)
            raise

    return tried


def trips(gateways: list[Gateway]) -> float:
    """Round trips to Redis so far for the sake of limits."""
    return sum(figure(gateway, "penstock_quota_round_trips_total") for gateway in gateways)
