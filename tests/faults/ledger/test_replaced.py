"""Gateways that were killed, or stand still, are no reason to refuse what the ones beside them could serve; those that are cut off are
left their share.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from tests.conftest import Gateway
from tests.faults.accounts import note
from tests.faults.hammer import figure, run
from tests.faults.ledger.gateways import Site
from tests.faults.test_outage import status
from tests.integration.quota.rig import OverTheLimit
from tests.rig import until
from tests.servers.postgres import Postgres
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis
from tests.stalls import again_after_a_stall

Start = Callable[..., Site]
LIMIT = 600
SETTLED_S = 3.0
ENDED_S = 5.0
"""Of silence, after which a gateway that did not say that it counts alone has ended."""


def _serves(gateway: Gateway, key: str) -> bool:
    with gateway.client() as client:
        return status(client, key) == 200


@pytest.mark.slow
def test_killed_gateways_are_replaced_on_other_machines(database_url: str, redis_url: str, start_site: Start) -> None:
    site = start_site(database_url, redis_url)
    first = site.gateways("one", "two")
    key = first[0].new_key(rpm_limit=LIMIT, max_parallel_requests=50, max_budget=1)
    until(lambda: all(_serves(gateway, key) for gateway in first), "both serve")
    # To whom is killed as soon as there is a Redis more is left, and for longer: it may have used what nobody told there.
    time.sleep(SETTLED_S)
    site.kill(*(gateway.process for gateway in first))
    killed = time.monotonic()
    # What the killed ones knew is on their disks: nobody can tell that they ended.
    for gateway in site.gateways("three", "four"):
        until(lambda gateway=gateway: _serves(gateway, key), "calls are served", 20)  # type: ignore[misc]
        until(lambda gateway=gateway: figure(gateway, "penstock_quota_replicas") == 2, "the killed are forgotten", 20)  # type: ignore[misc]
    note(f"the whole limit is there {time.monotonic() - killed:.1f} s after the kill")


@pytest.mark.slow
def test_who_comes_is_served_although_the_only_other_one_stands_still(
    database_url: str, redis_url: str, start_site: Start
) -> None:
    site = start_site(database_url, redis_url)
    one = site.gateway("one")
    key = one.new_key(rpm_limit=LIMIT)
    until(lambda: _serves(one, key), "it serves")
    two = site.gateway("two")
    # It believed that all of the limit was its own until a moment ago.
    one.process.process.send_signal(signal.SIGSTOP)
    try:
        stopped = time.monotonic()
        while time.monotonic() - stopped < 3:
            assert _serves(two, key)
            time.sleep(0.05)
    finally:
        one.process.process.send_signal(signal.SIGCONT)
    until(lambda: figure(two, "penstock_quota_replicas") == 2, "both are there")


@pytest.mark.slow
@pytest.mark.parametrize("database_too", [False, True])
@again_after_a_stall(0.15)
def test_who_is_cut_off_for_long_is_not_taken_for_ended(
    postgres: Postgres,
    redis: Redis,
    database_url: str,
    redis_url: str,
    start_proxy: Callable[[int], Proxy],
    start_site: Start,
    database_too: bool,
) -> None:
    ways = [start_proxy(redis.port), start_proxy(postgres.port)]
    far = {"REDIS_URL": f"redis://127.0.0.1:{ways[0].port}/0"}
    far |= {"DATABASE_URL": postgres.url(database_url.rpartition("/")[2], port=ways[1].port)}
    site = start_site(database_url, redis_url)
    try:
        cut_off, other = site.gateway("cut-off", **far), site.gateway("other")
        for gateway in (cut_off, other):
            until(lambda gateway=gateway: figure(gateway, "penstock_quota_replicas") == 2, "both are known")  # type: ignore[misc]
        _cut_off(cut_off, other, ways if database_too else ways[:1], is_told=not database_too)
    finally:
        for way in ways:
            way.heal()
        site.close()


def _cut_off(cut_off: Gateway, other: Gateway, ways: list[Proxy], *, is_told: bool) -> None:
    key, limit = other.new_key(rpm_limit=60), 60
    # Whoever hears of a key that was made looks it up once more.
    time.sleep(1.5)
    assert _serves(cut_off, key)
    for way in ways:
        way.hang()
    until(lambda: figure(cut_off, "penstock_quota_shared") == 0, "Redis is given up")
    alone = run([cut_off], key, lambda callers: callers.hammer(20, ENDED_S + 2))
    assert alone.others == []
    if not is_told:
        until(lambda: figure(other, "penstock_quota_replicas") == 1, "it is taken for ended")
    rest = run([other], key, lambda callers: callers.use_up())
    again = run([cut_off], key, lambda callers: callers.hammer(20, 1))
    admitted = [1, alone.admitted(), rest.admitted(), again.admitted()]
    note(f"{admitted} of {limit}")
    if sum(admitted) > limit:
        raise OverTheLimit(str(admitted))
    # Who can say so is left its share; the others do not hear of who cannot, and so it has none.
    if is_told:
        assert 5 < alone.admitted() <= limit // 2
        assert rest.admitted() >= limit // 2 - 1
    else:
        assert alone.admitted() == again.admitted() == 0
        assert rest.admitted() == limit - 1
