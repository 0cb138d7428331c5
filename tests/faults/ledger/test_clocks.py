"""Wall clocks that somebody sets, under load: limits and budgets hold, nothing is missing, no window is renewed twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.conftest import Gateway, at_once
from tests.faults.accounts import note
from tests.faults.hammer import Callers, figure, run
from tests.faults.ledger.crowd import Crowd
from tests.faults.ledger.gateways import PATIENT, Site, balanced
from tests.faults.streams import body
from tests.rig import Sim, until
from tests.servers.clock import MovedClock
from tests.servers.postgres import Postgres
from tests.servers.redis import Redis
from tests.stalls import Stopwatch

Start = Callable[..., Site]
LONG = [pytest.mark.slow, pytest.mark.long]
HOUR_S = 3_600
LIMIT = 240
COST = 10 * 1_000 + 3 * 2_000
"""Nano-dollars of a call of :class:`Callers`."""
AFFORDED = 20
BOUNDED_S = 1.0


@pytest.fixture
def clock() -> Iterator[MovedClock]:
    """A wall clock that the test sets."""
    made = MovedClock()
    yield made
    made.close()


@pytest.fixture
def moved_postgres(clock: MovedClock) -> Iterator[Postgres]:
    """A PostgreSQL that has it."""
    node = Postgres.create(environment=clock.environment)
    yield node
    node.close()


@pytest.fixture
def moved_redis(clock: MovedClock) -> Iterator[Redis]:
    """A Redis that has it."""
    node = Redis(environment=clock.environment)
    yield node
    node.close()


def _jumps(site: Site, sim: Sim, clock: MovedClock, jumping: Gateway, steady: Gateway) -> None:
    """An hour forward, back, and an hour back, while both gateways are busy."""
    for gateway in (jumping, steady):
        until(lambda gateway=gateway: figure(gateway, "penstock_quota_replicas") == 2, "both are known")  # type: ignore[misc]
    key, limited = steady.new_key(), steady.new_key(rpm_limit=LIMIT)
    since = sim.mark()
    seconds = 10.0
    events = {1.5: lambda: clock.move(HOUR_S), 4.0: lambda: clock.move(-HOUR_S), 6.5: lambda: clock.move(-HOUR_S)}
    with (
        Crowd(jumping, key, streams=10, unary=1, tokens=(5, 15)) as first,
        Crowd(steady, key, streams=10, unary=1, tokens=(5, 15)) as second,
    ):
        until(first.served(10), "answers")
        pace = 1.2 * LIMIT / seconds

        async def work(callers: Callers) -> None:
            await callers.hammer(pace, seconds, events)
            await callers.use_up()

        callers = run([jumping, steady], limited, work)
        for crowd in (first, second):
            until(crowd.served(10), "answers")
    _within(callers)
    for crowd in (first, second):
        bad = [seen for seen in crowd.seen if not (seen.whole and seen.status == 200)]
        assert bad == [], f"{len(bad)} of {len(crowd.seen)}: {bad[:3]}"
        held = sorted(seen.overhead_s for seen in crowd.seen)
        assert held[len(held) * 99 // 100] < BOUNDED_S
    balanced(site, sim, since, steady, first, second, also=limited)
    _rollups_agree(site)


def _within(callers: Callers) -> None:
    assert callers.others == []
    assert callers.answers[-1][0] - callers.answers[0][0] < 60
    note(f"{callers.admitted()} of {LIMIT} admitted, {len(callers.answers)} asked")
    assert 0.9 * LIMIT <= callers.admitted() <= LIMIT


def _rollups_agree(site: Site) -> None:
    """Every hour and every day has the sums of its own rows."""
    for period, length in (("hour", HOUR_S * 1000), ("day", 24 * HOUR_S * 1000)):
        start = f"started_at - started_at % {length}"
        rows = site.query(
            f"SELECT {start} AS at, COUNT(*) AS calls, SUM(cost) AS cost FROM usage GROUP BY 1 ORDER BY 1"
        )
        kept = site.query(
            "SELECT start_at AS at, calls, cost FROM usage_rollups"
            f" WHERE period = '{period}' AND dimension = 'all' ORDER BY 1"
        )
        assert [tuple(map(int, row)) for row in rows] == [tuple(map(int, row)) for row in kept]


@pytest.mark.slow
@pytest.mark.long
def test_the_clock_of_one_gateway_jumps(
    database_url: str, redis_url: str, clock: MovedClock, start_site: Start, sim: Sim
) -> None:
    site = start_site(database_url, redis_url)
    gateways = at_once(
        lambda: site.gateway("jumping", more=PATIENT, **clock.environment),
        lambda: site.gateway("steady", more=PATIENT),
    )
    _jumps(site, sim, clock, *gateways)


@pytest.mark.slow
@pytest.mark.parametrize("has_redis", [True, False])
def test_a_gateway_whose_clock_is_fast_begins_no_budget_window(
    database_url: str, redis_url: str, clock: MovedClock, start_site: Start, has_redis: bool
) -> None:
    """Its clock jumps beyond the end of the window while it runs, and another one is begun with such a clock."""
    site = start_site(database_url, redis_url if has_redis else None)
    fast = site.gateway("fast", more=PATIENT, **clock.environment)
    key = fast.new_key(max_budget=AFFORDED * COST / 1_000_000_000, budget_duration="1h")

    def window() -> tuple[int, int]:
        start, end = site.query("SELECT budget_window_start, budget_reset_at FROM keys")[0]
        return int(start), int(end)

    before = window()
    with fast.client() as client:
        served = sum(_calls(client, key) for _ in range(5))
        clock.move(2 * HOUR_S)
        served += _spend_all(client, key)
        assert served == AFFORDED
        later = site.gateway("later", more=PATIENT, **clock.environment)
        with later.client() as other:
            for _ in range(4):
                assert not _calls(client, key)
                assert not _calls(other, key)
                time.sleep(0.7)
    assert window() == before
    until(
        lambda: [int(row[0]) for row in site.query("SELECT spend FROM keys")] == [AFFORDED * COST],
        "what it spent is charged in the window that holds",
    )


@pytest.mark.slow
def test_the_clock_of_the_servers_jumps(
    moved_postgres: Postgres, moved_redis: Redis, clock: MovedClock, start_site: Start, sim: Sim
) -> None:
    site = start_site(moved_postgres.url(moved_postgres.new_database()), moved_redis.url)
    _jumps(site, sim, clock, *site.gateways("one", "two", more=PATIENT))


@pytest.mark.parametrize(
    "end, duration, zone, months",
    [
        ("2027-02-01T00:00:00", "1mo", "UTC", {"usage_2027_01", "usage_2027_02"}),
        pytest.param("2028-01-01T00:00:00", "1mo", "Pacific/Apia", {"usage_2027_12", "usage_2028_01"}, marks=LONG),
        # In New York it is three o'clock then, after one; and one o'clock for the second time.
        pytest.param("2027-03-14T07:00:00", "1h", "America/New_York", {"usage_2027_03"}, marks=LONG),
        pytest.param("2027-11-07T06:00:00", "1h", "America/New_York", {"usage_2027_11"}, marks=LONG),
    ],
)
def test_a_budget_is_renewed_once_when_its_window_ends(
    moved_postgres: Postgres,
    redis_url: str,
    clock: MovedClock,
    start_site: Start,
    end: str,
    duration: str,
    zone: str,
    months: set[str],
) -> None:
    ends = datetime.fromisoformat(end).replace(tzinfo=UTC)
    if duration == "1h":
        begins, next_end = ends - timedelta(hours=1), ends + timedelta(hours=1)
    else:
        begins, next_end = (ends - timedelta(days=1)).replace(day=1), (ends + timedelta(days=31)).replace(day=1)
    clock.move_to(begins)
    site = start_site(moved_postgres.url(moved_postgres.new_database()), redis_url)
    gateway = site.gateway(more=PATIENT, TZ=zone, **clock.environment)
    clock.move_to(begins)
    earliest = clock.now()
    key = gateway.new_key(max_budget=AFFORDED * COST / 1_000_000_000, budget_duration=duration)
    latest = clock.now()
    late_ms = int(site.query("SELECT budget_reset_at FROM keys")[0][0]) - _ms(ends)
    assert _ms(earliest) - _ms(begins) <= late_ms <= _ms(latest) - _ms(begins), (
        "by the calendar of UTC, from when the key was made"
    )
    ends, next_end = (moment + timedelta(milliseconds=late_ms) for moment in (ends, next_end))
    clock.move_to(ends - timedelta(seconds=7))
    with gateway.client() as client:
        first = _spend_all(client, key)
        assert clock.now() < ends, "the window is not over yet"
        until(lambda: clock.now() >= ends, "the window is over")
        watch = Stopwatch()
        until(lambda: _calls(client, key), "the budget is there again")
        assert watch.ran_s < 3
        assert all(_calls(client, key) for _ in range(4))
        until(
            lambda: site.query("SELECT budget_window_start FROM keys")[0][0] == _ms(ends), "the next window has begun"
        )
        # To before the window began; nothing is free for that.
        clock.move(-2 * HOUR_S)
        second = 5 + _spend_all(client, key)
    assert (first, second) == (AFFORDED, AFFORDED)

    def kept() -> tuple[int, ...]:
        return tuple(site.query("SELECT spend, total_spend, budget_window_start, budget_reset_at FROM keys")[0])

    right = (AFFORDED * COST, 2 * AFFORDED * COST, _ms(ends), _ms(next_end))
    until(lambda: kept() == right, f"the key is charged: {right}")
    parts = site.query("SELECT tableoid::regclass::text AS part, COUNT(*) AS n FROM usage GROUP BY 1")
    assert {row["part"] for row in parts} == months
    _rollups_agree(site)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _calls(client: httpx.Client, key: str) -> bool:
    """One call; False: the budget is spent."""
    headers = {"authorization": f"Bearer {key}"}
    answer = client.post("/v1/chat/completions", headers=headers, json=body("sim", max_tokens=3))
    assert answer.status_code == 200 or "udget" in answer.text, answer.text
    return answer.status_code == 200


def _spend_all(client: httpx.Client, key: str) -> int:
    """Call until the budget refuses; how many calls were served."""
    served = 0
    while _calls(client, key):
        served += 1
    return served
