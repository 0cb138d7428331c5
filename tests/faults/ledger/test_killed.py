"""Gateways and coworkers that are killed, or told to stop, in the middle of hundreds of streams."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from penstock.ledger import wire
from tests.faults.accounts import gauge, note, verdict
from tests.faults.ledger.crowd import Crowd
from tests.faults.ledger.gateways import Site, balanced
from tests.rig import Sim, until
from tests.servers.redis import Redis

pytestmark = pytest.mark.alone

Start = Callable[..., Site]
STREAMS, UNARY = 500, 6
LONG = [pytest.mark.slow, pytest.mark.long]


def _under_way(*crowds: Crowd, streams: int = STREAMS) -> None:
    """Some came to their end, and most are in flight: of the others the client is not done with the last call."""
    for crowd in crowds:
        until(crowd.served(streams // 3), "answers", 20)

    def in_flight() -> bool:
        return all(gauge(crowd.gateway, "penstock_in_flight_requests") > streams * 0.6 for crowd in crowds)

    until(in_flight, "calls in flight", 30)


def _has(site: Site, calls: set[str]) -> None:
    """At once: a gateway is ready when what its predecessor left is in the ledger."""
    stored = {row["call_id"] for row in site.query("SELECT call_id FROM usage")}
    assert calls <= stored, f"{len(calls - stored)} of {len(calls)} are missing after the start"


@pytest.mark.parametrize("rounds", [1, pytest.param(5, marks=LONG)])
def test_a_killed_gateway_loses_no_call_on_sqlite(start_site: Start, sim: Sim, rounds: int) -> None:
    site = start_site()
    gateway = site.gateway()
    key, since = gateway.new_key(), sim.mark()
    with Crowd(gateway, key, streams=STREAMS, unary=UNARY) as crowd:
        for _ in range(rounds):
            _under_way(crowd)
            site.kill(gateway.process)
            began = time.monotonic()
            gateway = site.gateway()
            _has(site, {seen.call_id for seen in crowd.whole()})
            note(f"what was known is in the ledger {time.monotonic() - began:.1f} s after the start began")
            crowd.gateway = gateway
        until(crowd.served(20), "calls are served again")
    rows = balanced(site, sim, since, gateway, crowd)
    lost = [row for row in rows if verdict(row)[0] == "gateway_lost"]
    assert len(lost) > rounds * STREAMS * 0.4
    assert {verdict(row)[0] for row in rows} == {"ok", "gateway_lost"}


@pytest.mark.parametrize("half", [STREAMS // 5, pytest.param(STREAMS // 2, marks=LONG)])
def test_a_killed_gateway_does_not_concern_the_other(
    database_url: str, redis_url: str, start_site: Start, sim: Sim, half: int
) -> None:
    site = start_site(database_url, redis_url)
    victim, other = site.gateways("victim", "other")
    key, since = victim.new_key(), sim.mark()
    with (
        Crowd(victim, key, streams=half, unary=UNARY // 2) as cut,
        Crowd(other, key, streams=half, unary=UNARY // 2) as unaffected,
    ):
        _under_way(cut, unaffected, streams=half)
        site.kill(victim.process)
        until(unaffected.served(50), "the other goes on")
        cut.gateway = site.gateway("victim")
        until(cut.served(20), "calls are served again")
    rows = balanced(site, sim, since, other, cut, unaffected)
    assert all(seen.whole and seen.status == 200 for seen in unaffected.seen)
    lost = {row["request_id"] for row in rows if verdict(row)[0] == "gateway_lost"}
    assert len(lost) > half * 0.4
    assert lost.isdisjoint(seen.call_id for seen in unaffected.seen)


@pytest.mark.parametrize("shared", [False, pytest.param(True, marks=LONG)], ids=["sqlite", "postgres"])
def test_a_stop_waits_for_500_streams(
    start_site: Start, sim: Sim, shared: bool, request: pytest.FixtureRequest
) -> None:
    urls = [request.getfixturevalue(name) for name in ("database_url", "redis_url")] if shared else []
    site = start_site(*urls)
    gateway = site.gateway()
    key, since = gateway.new_key(), sim.mark()
    with Crowd(gateway, key, streams=STREAMS, unary=UNARY) as crowd:
        _under_way(crowd)
        gateway.process.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        until(lambda: "draining" in gateway.process.output(), "it drains")
        crowd.stop()
        assert gateway.process.wait() == 0, gateway.process.output()
        note(f"{STREAMS} streams were over {time.monotonic() - began:.1f} s after the signal")
    again = site.gateway()
    rows = balanced(site, sim, since, again, crowd)
    assert {verdict(row)[0] for row in rows} == {"ok"}
    unfinished = [seen for seen in crowd.seen if seen.status == 200 and not seen.whole]
    assert unfinished == []


@pytest.mark.parametrize("rounds", [1, pytest.param(5, marks=LONG)])
def test_a_gateway_and_the_coworker_killed_together(
    database_url: str, redis: Redis, redis_url: str, start_site: Start, sim: Sim, rounds: int
) -> None:
    site = start_site(database_url, redis_url)
    alone = "{coworker: false}"
    gateway, coworker = site.gateway(ledger=alone), site.coworker()
    key, since = gateway.new_key(), sim.mark()
    with Crowd(gateway, key, streams=100, unary=20, tokens=(5, 20)) as crowd:
        for _ in range(rounds):
            _under_way(crowd, streams=100)
            site.kill(gateway.process, coworker)
            gateway = crowd.gateway = site.gateway(ledger=alone)
            coworker = site.coworker()
        until(crowd.served(100), "calls are served again")
    rows = balanced(site, sim, since, gateway, crowd)
    assert {verdict(row)[0] for row in rows} == {"ok", "gateway_lost"}
    if rounds > 1:
        # What the last one had read is claimed after ten seconds; nothing waits for it.
        until(lambda: redis.command("XLEN", wire.STREAM) == 0, "an empty stream", 30)
    assert coworker.stop() == 0, coworker.output()
