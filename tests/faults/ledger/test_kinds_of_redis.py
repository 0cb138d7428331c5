"""Usage goes through the stream of a Redis Cluster, and of a Redis that fails over, as through that of one server: both books agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis as Client
from redis.cluster import RedisCluster as ClusterClient

from penstock.ledger import wire
from tests.conftest import Gateway
from tests.faults.accounts import note, verdict
from tests.faults.hammer import figure
from tests.faults.ledger.crowd import Crowd
from tests.faults.ledger.gateways import Site, balanced
from tests.rig import Sim, until
from tests.servers.redis import MASTER_NAME, RedisCluster, RedisSentinel

Start = Callable[..., Site]
_LIMITED = {"rpm_limit": 1_000_000, "tpm_limit": 1_000_000_000}
"""That nobody reaches and that are kept in Redis."""
_PATIENCE_S = 60.0


@pytest.fixture
def cluster() -> Iterator[RedisCluster]:
    made = RedisCluster(3)
    yield made
    made.close()


@pytest.fixture
def sentinel() -> Iterator[RedisSentinel]:
    made = RedisSentinel()
    yield made
    made.close()


def _progress(client: Any) -> dict[bytes, int]:
    """How far coworkers have written each gateway's records down. What a gateway writes past Redis is not told here."""
    return {name: int(seq) for name, seq in client.hgetall(wire.PROGRESS).items()}


def _shares(gateway: Gateway) -> bool:
    return figure(gateway, "penstock_quota_replicas") == 2 and figure(gateway, "penstock_quota_shared") == 1


@pytest.mark.slow
def test_records_arrive_over_a_cluster(database_url: str, cluster: RedisCluster, start_site: Start, sim: Sim) -> None:
    site = start_site(database_url, cluster.url)
    # One brings its own records and the other's.
    settings = {"more": "  redis: {deadline: 1s, cluster: true}\n"}
    one, two = site.gateway("one", **settings), site.gateway("two", ledger="{coworker: false}", **settings)
    for gateway in (one, two):
        until(lambda gateway=gateway: _shares(gateway), "both are known")  # type: ignore[misc]
    key, since = one.new_key(**_LIMITED), sim.mark()
    with (
        Crowd(one, key, streams=10, unary=2, tokens=(5, 10)) as first,
        Crowd(two, key, streams=10, unary=2, tokens=(5, 10)) as second,
        ClusterClient.from_url(cluster.url) as client,
    ):
        for crowd in (first, second):
            until(crowd.served(60), "answers")
        told = until(lambda: found if len(found := _progress(client)) == 2 else None, "records of both came through")
        for crowd in (first, second):
            until(crowd.served(30), "further answers")
        until(lambda: all(seq > told[name] for name, seq in _progress(client).items()), "further ones came through")
    rows = balanced(site, sim, since, two, first, second)
    assert {verdict(row)[0] for row in rows} == {"ok"}
    with ClusterClient.from_url(cluster.url) as client:
        until(lambda: client.xlen(wire.STREAM) == 0, "an empty stream")


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("fault", ["crash", pytest.param("freeze", marks=pytest.mark.long)])
def test_records_are_complete_after_a_failover(
    database_url: str, sentinel: RedisSentinel, start_site: Start, sim: Sim, fault: str
) -> None:
    site = start_site(database_url)
    host, port = sentinel.address
    watched = f"sentinel: {{service: {MASTER_NAME}, nodes: ['{host}:{port}']}}"
    gateways = site.gateways("one", "two", more=f"  redis: {{deadline: 1s, {watched}}}\n")
    for gateway in gateways:
        until(lambda gateway=gateway: _shares(gateway), "both are known")  # type: ignore[misc]
    key, since = gateways[0].new_key(**_LIMITED), sim.mark()
    replica = sentinel.replica
    with (
        Crowd(gateways[0], key, streams=10, unary=2, tokens=(5, 10)) as first,
        Crowd(gateways[1], key, streams=10, unary=2, tokens=(5, 10)) as second,
        Client(host="127.0.0.1", port=replica.port, socket_timeout=20) as client,
    ):
        crowds = (first, second)
        for crowd in crowds:
            until(crowd.served(40), "answers")
        until(lambda: len(_progress(client)) == 2, "records of both came through")
        getattr(sentinel.master, fault)()
        for crowd in crowds:
            until(crowd.served(40), "answers without a master")
        until(lambda: sentinel.master_port() == replica.port, "the replica is the master", _PATIENCE_S)
        for gateway in gateways:
            until(lambda gateway=gateway: _shares(gateway), "limits are shared again", _PATIENCE_S)  # type: ignore[misc]
        told = _progress(client)
        for crowd in crowds:
            until(crowd.served(40), "answers after it")
        until(
            lambda: all(seq > told[name] for name, seq in _progress(client).items()),
            "records of both come through the new master",
            _PATIENCE_S,
        )
    for crowd in crowds:
        assert {seen.status for seen in crowd.seen} == {200}, "calls go on all the time"
    rows = balanced(site, sim, since, gateways[1], *crowds)
    assert {verdict(row)[0] for row in rows} == {"ok"}
    note(f"{len(rows)} records over a failover")
