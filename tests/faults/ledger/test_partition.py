"""One of two gateways cannot reach Redis, PostgreSQL or either, and the other can: keys go on, limits hold, both books are equal."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.conftest import Gateway, at_once
from tests.faults.accounts import note, rows_of
from tests.faults.hammer import Callers, figure, run
from tests.faults.ledger.crowd import Crowd
from tests.faults.ledger.gateways import PATIENT, Site, balanced
from tests.rig import Sim, until
from tests.servers.postgres import Postgres
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis

LONG = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(500)]
LIMIT = 240
BEGINS_S = 1.5
AFTERWARDS_S = 3.0
BOUNDED_S = 1.0


@pytest.mark.slow
@pytest.mark.parametrize(
    "what, seconds",
    [
        ("redis", 3),
        pytest.param("both", 4, marks=LONG),
        pytest.param("postgres", 4, marks=LONG),
        pytest.param("redis", 30, marks=LONG),
        pytest.param("both", 30, marks=LONG),
    ],
)
def test_one_gateway_is_cut_off(
    postgres: Postgres,
    redis: Redis,
    database_url: str,
    redis_url: str,
    start_proxy: Callable[[int], Proxy],
    start_site: Callable[..., Site],
    sim: Sim,
    what: str,
    seconds: int,
) -> None:
    # What was on its way goes on when the network heals, as in a real one.
    ways = {"redis": start_proxy(redis.port), "postgres": start_proxy(postgres.port)}
    site = start_site(database_url, redis_url)
    name = database_url.rpartition("/")[2]
    far = {
        "DATABASE_URL": postgres.url(name, port=ways["postgres"].port),
        "REDIS_URL": f"redis://127.0.0.1:{ways['redis'].port}/0",
    }
    cut_off, other = at_once(
        lambda: site.gateway("cut-off", more=PATIENT, **far), lambda: site.gateway("other", more=PATIENT)
    )
    for gateway in (cut_off, other):
        until(lambda gateway=gateway: figure(gateway, "penstock_quota_replicas") == 2, "both are known")  # type: ignore[misc]
    key, limited, since = other.new_key(), other.new_key(rpm_limit=LIMIT), sim.mark()
    chosen = list(ways.values()) if what == "both" else [ways[what]]
    began, healed, shared = 0.0, 0.0, (-1.0, -1.0)

    def begin() -> None:
        nonlocal began
        for way in chosen:
            way.hang()
        began = time.monotonic()

    def heal() -> None:
        nonlocal healed, shared
        # The one has found out by then, on a slow machine too; the other may have lost it for the moment in which that stood still.
        if what != "postgres":
            until(lambda: not _shares(cut_off), "Redis is given up")
        shared = (_shares(cut_off), until(lambda: _shares(other), "the other has Redis"))
        for way in chosen:
            way.heal()
        healed = time.monotonic()

    # A fifth more than the limit altogether: units are left when the network breaks, and refused at the end.
    lasts = BEGINS_S + seconds + AFTERWARDS_S
    per_second = 1.2 * LIMIT / min(lasts, 60)
    with (
        Crowd(cut_off, key, streams=10, unary=2, tokens=(5, 10)) as first,
        Crowd(other, key, streams=10, unary=2, tokens=(5, 10)) as second,
    ):
        until(first.served(20), "answers")
        events = {BEGINS_S: begin, BEGINS_S + seconds: heal}

        async def work(callers: Callers) -> None:
            await callers.hammer(per_second, lasts, events)
            await callers.use_up()

        callers = run([cut_off, other], limited, work)
        for crowd in (first, second):
            until(crowd.served(10), "answers after it")
    _within(callers, began, healed)
    if what != "postgres":
        assert shared == (0.0, 1.0), "only one of them lost Redis"
    for crowd in (first, second):
        _all_served(crowd, began)
    balanced(site, sim, since, other, first, second, also=limited)
    # Without a restart: limits are shared again, and keys of either are known to the other.
    until(lambda: _shares(cut_off) == _shares(other) == 1, "limits are shared again", 10)
    for maker, user in ((cut_off, other), (other, cut_off)):
        made = maker.new_key(max_budget=1)
        until(lambda user=user, made=made: _serves(user, made), "a new key of the one works with the other")  # type: ignore[misc]
        _settled_everywhere(made, maker, user)


def _shares(gateway: Gateway) -> float:
    return figure(gateway, "penstock_quota_shared")


def _serves(gateway: Gateway, key: str) -> bool:
    callers = run([gateway], key, lambda callers: callers.call(0))
    return callers.admitted() == 1


def _settled_everywhere(key: str, *gateways: Gateway) -> None:
    """What was spent with it is the same wherever it is asked for."""
    rows = until(lambda: rows_of(gateways[0], key), "the call is in the ledger")
    for gateway in gateways:
        with gateway.client() as client:
            info = client.get("/key/info", headers=gateway.admin, params={"key": key}).json()["info"]
        assert info["spend"] == sum(row["spend"] for row in rows) > 0


def _within(callers: Callers, began: float, healed: float) -> None:
    """Never over the limit, and the network's break ends nobody's calls."""
    assert callers.others == []
    assert callers.answers[-1][0] - callers.answers[0][0] < 60
    admitted = [sent for sent, status in callers.answers if status == 200]
    parts = [sum(1 for sent in admitted if a <= sent < b) for a, b in ((0, began), (began, healed), (healed, 1e18))]
    note(f"{len(admitted)} of {LIMIT} admitted: {parts} before, during and after; {len(callers.answers)} asked")
    assert len(admitted) <= LIMIT
    assert len(admitted) >= 0.8 * LIMIT
    assert parts[1] > 0


def _all_served(crowd: Crowd, since: float) -> None:
    """Every call was answered to its end with 200, and those since then waited for nothing in the gateway."""
    bad = [seen for seen in crowd.seen if not (seen.whole and seen.status == 200)]
    assert bad == [], f"{len(bad)} of {len(crowd.seen)}: {bad[:3]}"
    held = sorted(seen.overhead_s for seen in crowd.whole(since))
    assert len(held) > 50
    assert held[len(held) * 99 // 100] < BOUNDED_S
