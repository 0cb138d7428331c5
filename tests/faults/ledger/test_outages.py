"""Redis and PostgreSQL stop, hang, forget or change places under load: calls go on, and afterwards nothing is missing."""

from __future__ import annotations

import math
import select
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from penstock.ledger import wire
from tests.conftest import Gateway
from tests.faults.accounts import gauge, note, verdict
from tests.faults.ledger.crowd import Crowd
from tests.faults.ledger.gateways import Site, balanced
from tests.faults.streams import body
from tests.rig import Sim, until
from tests.servers.postgres import Postgres
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis

pytestmark = pytest.mark.alone

Start = Callable[..., Site]
LONG = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(400)]
STREAMS, UNARY = 60, 4
LIMITED = {"rpm_limit": 1_000_000, "tpm_limit": 1_000_000_000}
"""Limits that nobody reaches and that are kept in Redis. No budget: those are not given away while Redis is gone
(`tests/faults/test_shared_budgets.py`)."""
BOUNDED_S = 1.0
"""Of 99 in 100 calls, in the gateway."""
_REPLAYED = "SELECT pg_last_wal_replay_lsn() >= pg_last_wal_receive_lsn()"
SETTLED_S = 1.5
"""After Redis has forgotten everything calls wait so long, until every gateway has said what it used."""


def _hold(seconds: float) -> None:
    """An outage lasts as long as it is said to; nothing is waited for."""
    select.select([], [], [], seconds)


def _all_served(crowd: Crowd, since: float, until_: float = math.inf, *, settling: float = 0.0) -> None:
    """Every call that began in this time was answered to its end with 200, and waited for nothing in the gateway but
    ``settling`` seconds for Redis to know again what was used."""
    bad = [seen for seen in crowd.seen if since <= seen.began < until_ and not (seen.whole and seen.status == 200)]
    assert bad == [], f"{len(bad)} of {len(crowd.seen)}: {bad[:3]}"
    calls = [seen for seen in crowd.whole(since) if seen.began < until_]
    assert len(calls) > 100
    # Not what the client waited: on a machine with much to do that says more about the client.
    held = sorted(seen.overhead_s for seen in calls)
    took = sorted(seen.seconds for seen in calls if not seen.stream)
    place = len(held) * 99 // 100
    note(
        f"{len(held)} calls: in the gateway p99 {held[place] * 1000:.1f}, max {held[-1] * 1000:.1f} ms;"
        f" unary ones p50 {took[len(took) // 2] * 1000:.0f}, p99 {took[len(took) * 99 // 100] * 1000:.0f} ms"
    )
    assert held[place] < BOUNDED_S + settling


def _status(client: httpx.Client, key: str) -> int:
    """Of one call."""
    headers = {"authorization": f"Bearer {key}"}
    return client.post("/v1/chat/completions", headers=headers, json=body("sim", max_tokens=1)).status_code


def _makes_keys(gateway: Gateway) -> bool:
    """True: one was made; False: the database cannot be written."""
    with gateway.client() as client:
        answer = client.post("/key/generate", headers=gateway.admin, json={})
    assert answer.status_code in (200, 503), answer.text
    return answer.status_code == 200


def _waiting(redis: Redis) -> int:
    """Entries of the stream."""
    return int(redis.command("XLEN", wire.STREAM))


def _blocked(redis: Redis) -> bool:
    """Somebody waits for an entry."""
    with redis.client() as client:
        found: Any = client.info("clients")
    return int(found["blocked_clients"]) > 0


@pytest.mark.parametrize("fields", [pytest.param({}, marks=LONG), LIMITED], ids=["unlimited", "limited"])
def test_redis_is_killed_comes_back_and_forgets(
    database_url: str, own_redis: Redis, start_site: Start, sim: Sim, fields: dict[str, int]
) -> None:
    site = start_site(database_url, own_redis.url)
    gateways = site.gateways("one", "two")
    key, since = gateways[0].new_key(**fields), sim.mark()
    with (
        Crowd(gateways[0], key, streams=STREAMS, unary=UNARY, tokens=(5, 15)) as first,
        Crowd(gateways[1], key, streams=STREAMS, unary=UNARY, tokens=(5, 15)) as second,
    ):
        crowds = (first, second)
        for crowd in crowds:
            until(crowd.served(50), "answers")
        began = time.monotonic()
        own_redis.crash()
        for crowd in crowds:
            until(crowd.served(80), "answers without Redis")
        returned = time.monotonic()
        own_redis.start()
        for crowd in crowds:
            until(crowd.served(80), "answers after its return")
        own_redis.flush()
        for crowd in crowds:
            until(crowd.served(60), "answers after it was flushed")
    for crowd in crowds:
        _all_served(crowd, began, returned)
        _all_served(crowd, returned, settling=SETTLED_S if fields else 0.0)
    rows = balanced(site, sim, since, gateways[1], *crowds)
    assert {verdict(row)[0] for row in rows} == {"ok"}
    # What was read and not acknowledged is claimed after ten seconds; nothing waits for it.
    if not fields:
        until(lambda: _waiting(own_redis) == 0, "an empty stream", 30)


def test_a_coworker_outlives_a_flush_while_it_waits(
    database_url: str, own_redis: Redis, start_site: Start, sim: Sim
) -> None:
    """Redis ends a read that is under way when the stream is gone, with an error of its own."""
    site = start_site(database_url, own_redis.url)
    gateway, coworker = site.gateway(ledger="{coworker: false}"), site.coworker()
    key, since = gateway.new_key(), sim.mark()
    for _ in range(5):
        until(lambda: _blocked(own_redis), "it waits")
        own_redis.flush()
    with Crowd(gateway, key, unary=2) as crowd:
        until(crowd.served(10), "answers")
    until(lambda: site.count() == len(crowd.seen), "every record in the ledger", 20)
    balanced(site, sim, since, gateway, crowd)
    assert coworker.stop() == 0, coworker.output()


@pytest.mark.parametrize("seconds", [5, pytest.param(30, marks=LONG)])
def test_redis_hangs(database_url: str, own_redis: Redis, start_site: Start, sim: Sim, seconds: int) -> None:
    site = start_site(database_url, own_redis.url)
    gateway = site.gateway()
    free, limited, since = gateway.new_key(), gateway.new_key(**LIMITED), sim.mark()
    with (
        Crowd(gateway, free, streams=STREAMS, unary=UNARY, tokens=(5, 15)) as first,
        Crowd(gateway, limited, streams=STREAMS, unary=UNARY, tokens=(5, 15)) as second,
    ):
        for crowd in (first, second):
            until(crowd.served(50), "answers")
        own_redis.freeze()
        began = time.monotonic()
        _hold(seconds)
        frozen = [len(crowd.whole(began)) for crowd in (first, second)]
        own_redis.resume()
        for crowd in (first, second):
            until(crowd.served(50), "answers after it")
    note(f"{frozen} answers while Redis hung for {seconds} s")
    for crowd in (first, second):
        _all_served(crowd, began)
    balanced(site, sim, since, gateway, first, second)


@pytest.mark.parametrize("seconds", [5, pytest.param(120, marks=LONG)])
def test_postgres_stops_for_a_while(
    own_postgres: Postgres, redis_url: str, start_site: Start, sim: Sim, seconds: int
) -> None:
    site = start_site(own_postgres.url(own_postgres.new_database()), redis_url)
    one, two = site.gateways("one", "two")
    key, revoked, since = one.new_key(), one.new_key(), sim.mark()
    streams = STREAMS if seconds < 60 else 10
    with (
        one.client() as manage,
        two.client() as calls,
        Crowd(one, key, streams=streams, unary=1, tokens=(5, 15)) as first,
        Crowd(two, key, streams=streams, unary=1, tokens=(5, 15)) as second,
    ):
        crowds = (first, second)
        for crowd in crowds:
            until(crowd.served(30), "answers")
        assert _status(calls, revoked) == 200
        assert manage.post("/key/delete", headers=one.admin, json={"keys": [revoked]}).status_code == 200
        until(lambda: _status(calls, revoked) != 200, "the key is revoked", 6)
        own_postgres.stop()
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            assert _status(calls, revoked) in (401, 503), "it revives"
            _hold(0.1)
        during = [len(crowd.whole(began)) for crowd in crowds]
        own_postgres.start()
        for crowd in crowds:
            until(crowd.served(50), "answers after it")
        until(lambda: _status(calls, revoked) == 401, "the revoked key is known to be", 20)
    note(f"{during} answers while PostgreSQL was away for {seconds} s")
    for crowd in crowds:
        _all_served(crowd, began)
    balanced(site, sim, since, two, *crowds, also=revoked)


def test_postgres_fails_over(
    own_postgres: Postgres, redis_url: str, start_proxy: Callable[[int], Proxy], start_site: Start, sim: Sim
) -> None:
    """The standby has every commit, takes the clients before it takes writes, and is promoted later."""
    name = own_postgres.new_database()
    standby = own_postgres.standby()
    own_postgres.sql("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
    proxy = start_proxy(own_postgres.port)
    site = start_site(own_postgres.url(name, port=proxy.port), redis_url)
    gateway = site.gateway()
    key, since = gateway.new_key(), sim.mark()

    def stored() -> int:
        return int(standby.sql("SELECT COUNT(*) FROM usage", database=name)[0][0])

    with Crowd(gateway, key, streams=STREAMS, unary=UNARY, tokens=(5, 15)) as crowd:
        until(crowd.served(100), "answers")
        until(lambda: stored() > 0, "the standby follows")
        began = time.monotonic()
        own_postgres.crash()
        proxy.target = ("127.0.0.1", standby.port)
        proxy.cut()
        # What it has got and not yet made visible is no new commit.
        until(lambda: standby.sql(_REPLAYED) == [["t"]], "the standby shows what it has")
        kept = stored()
        until(crowd.served(150), "answers while nobody takes writes")
        assert not _makes_keys(gateway), "not a success on a node that takes no writes"
        assert stored() == kept
        waiting = gauge(gateway, "penstock_usage_queue_records")
        assert waiting >= 150, "none is taken for written"
        standby.promote()
        until(lambda: _makes_keys(gateway), "keys are made again", 20)
        until(crowd.served(100), "answers after it")
    note(f"{waiting} records waited for a node that takes writes")
    _all_served(crowd, began)
    balanced(site, sim, since, gateway, crowd)
