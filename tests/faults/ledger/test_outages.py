"""Redis and PostgreSQL stop, hang, forget or change places under load: calls go on, and afterwards nothing is missing."""

from __future__ import annotations

import select
import time
from collections.abc import Callable

import httpx
import pytest

from tests.conftest import Gateway
from tests.faults.accounts import gauge, note, verdict
from tests.faults.ledger.crowd import Crowd
from tests.faults.ledger.gateways import Site, balanced
from tests.faults.streams import body
from tests.rig import Sim, until
from tests.servers.postgres import Postgres
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis

# Servers are the first parameters of each test: what is made first is closed last, when nobody needs it any more.
Start = Callable[..., Site]
LONG = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(400)]
STREAMS, UNARY = 60, 4
LIMITED = {"rpm_limit": 1_000_000, "tpm_limit": 1_000_000_000, "max_budget": 100}
"""Limits that nobody reaches and that are kept in Redis."""
BOUNDED_S = 1.0


def _hold(seconds: float) -> None:
    """An outage lasts as long as it is said to; nothing is waited for."""
    select.select([], [], [], seconds)


def _all_served(crowd: Crowd, since: float) -> None:
    """Every call that began since then was answered to its end with 200, the unary ones within a bound."""
    bad = [seen for seen in crowd.seen if seen.began >= since and not (seen.whole and seen.status == 200)]
    assert bad == [], f"{len(bad)} of {len(crowd.seen)}: {bad[:3]}"
    took = sorted(seen.seconds for seen in crowd.whole(since) if not seen.stream)
    p99 = took[int(len(took) * 0.99)]
    note(f"{len(took)} unary calls: p50 {took[len(took) // 2] * 1000:.0f}, p99 {p99 * 1000:.0f}, max {took[-1] * 1000:.0f} ms")
    assert len(took) > 100
    assert p99 < BOUNDED_S


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


def _settled_by_then(gateway: Gateway) -> None:
    until(lambda: gauge(gateway, "penstock_usage_queue_records") == 0, "the queue is written", 60)


@pytest.mark.parametrize("fields", [{}, LIMITED], ids=["unlimited", "limited"])
def test_redis_is_killed_comes_back_and_forgets(
    database_url: str, own_redis: Redis, start_site: Start, sim: Sim, fields: dict[str, int]
) -> None:
    site = start_site(database_url, own_redis.url)
    gateways = [site.gateway("one"), site.gateway("two")]
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
            until(crowd.served(150), "answers without Redis")
        own_redis.start()
        for crowd in crowds:
            until(crowd.served(150), "answers after its return")
        own_redis.flush()
        for crowd in crowds:
            until(crowd.served(100), "answers after it was flushed")
    for crowd in crowds:
        _all_served(crowd, began)
    rows = balanced(site, sim, since, gateways[1], *crowds)
    assert {verdict(row)[0] for row in rows} == {"ok"}
    try:
        until(lambda: own_redis.command("XLEN", "penstock:{usage}:stream") == 0, "an empty stream", 15)
    except AssertionError:
        import sys
        for c in (("XLEN", "penstock:{usage}:stream"), ("XINFO", "GROUPS", "penstock:{usage}:stream"), ("XINFO","CONSUMERS","penstock:{usage}:stream","ledger"), ("XPENDING", "penstock:{usage}:stream", "ledger")):
            print("DBG", c, own_redis.command(*c), file=sys.stderr)
        for i, f in own_redis.command("XRANGE", "penstock:{usage}:stream", "-", "+", "COUNT", 5): print("DBG", i, {k: (v if k != "r" else len(v)) for k,v in (f.items() if isinstance(f, dict) else zip(f[::2], f[1::2]))}, file=sys.stderr)
        for g in gateways: print("DBG", g.process.output()[-6000:], file=sys.stderr)
        raise


@pytest.mark.parametrize("seconds", [10, pytest.param(30, marks=LONG)])
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
    _settled_by_then(gateway)
    balanced(site, sim, since, gateway, first, second)


@pytest.mark.parametrize("seconds", [10, pytest.param(120, marks=LONG)])
def test_postgres_stops_for_a_while(
    own_postgres: Postgres, redis_url: str, start_site: Start, sim: Sim, seconds: int
) -> None:
    site = start_site(own_postgres.url(own_postgres.new_database()), redis_url)
    one, two = site.gateway("one"), site.gateway("two")
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
        until(lambda: _status(calls, revoked) != 200, "the key is revoked", 2)
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
        kept = stored()
        until(crowd.served(300), "answers while nobody takes writes")
        assert not _makes_keys(gateway), "not a success on a node that takes no writes"
        assert stored() == kept
        waiting = gauge(gateway, "penstock_usage_queue_records")
        assert waiting >= 300, "none is taken for written"
        standby.promote()
        until(lambda: _makes_keys(gateway), "keys are made again", 20)
        until(crowd.served(100), "answers after it")
    note(f"{waiting} records waited for a node that takes writes")
    _all_served(crowd, began)
    balanced(site, sim, since, gateway, crowd)
