"""The master of a Redis that a sentinel watches goes, and its replica takes over: gateways go on, and neither a limit nor a budget is
exceeded over all of it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import Gateway
from tests.faults import hammer
from tests.faults.accounts import note
from tests.faults.conftest import CONFIG
from tests.faults.hammer import Callers, figure
from tests.faults.test_shared_budgets import Crowd, Fleet, never_above, run, spent
from tests.faults.test_shared_gateways import never_over_in
from tests.rig import Sim, until
from tests.servers.redis import MASTER_NAME, RedisSentinel
from tests.stalls import Stopwatch, again_after_a_stall

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]

Watched = Callable[[], RedisSentinel]
_STOOD_S = 0.15
_PATIENCE_S = 60.0
"""A sentinel takes some seconds to be sure, and gateways some more to be back."""
_FAULTS = ["crash", pytest.param("freeze", marks=pytest.mark.long)]


@pytest.fixture
def start_sentinel() -> Iterator[Watched]:
    """Starts masters with a replica and a sentinel."""
    started: list[RedisSentinel] = []

    def start() -> RedisSentinel:
        started.append(RedisSentinel())
        return started[-1]

    yield start
    for each in started:
        each.close()


def _pair(start: Callable[..., Gateway], database_url: str, sentinel: RedisSentinel) -> Fleet:
    """Gateways that share everything, told of the sentinel by LiteLLM's names."""
    host, port = sentinel.address
    watched = f"type: redis, service_name: {MASTER_NAME}, sentinel_nodes: [[{host}, '{port}']]"
    more = f"litellm_settings: {{cache_params: {{{watched}}}}}\n"
    # Of the address only login, database and TLS would count.
    return Fleet(start, database_url, ["redis://ignored"] * 2, more, deadline="1s")


def _fail_over(pair: Fleet, sentinel: RedisSentinel) -> None:
    """Wait until the replica is the master and everybody shares limits there."""
    until(lambda: sentinel.master_port() == sentinel.replica.port, "the replica is the master", _PATIENCE_S)
    for gateway in pair.gateways:
        until(lambda gateway=gateway: _is_back(gateway), "limits are shared again", _PATIENCE_S)  # type: ignore[misc]


def _is_back(gateway: Gateway) -> bool:
    return figure(gateway, "penstock_quota_outages_total") > 0 and figure(gateway, "penstock_quota_shared") == 1


@pytest.mark.parametrize("fault", _FAULTS)
@again_after_a_stall(_STOOD_S)
def test_a_limit_holds_over_a_failover(
    database_url: str, start_sentinel: Watched, start_gateway: Callable[..., Gateway], fault: str
) -> None:
    sentinel, limit = start_sentinel(), 240
    pair = _pair(start_gateway, database_url, sentinel)
    key = pair.key(rpm_limit=limit)
    admitted: list[int] = []

    async def burst(crowd: Callers, count: int) -> None:
        await asyncio.gather(*(crowd.call(number) for number in range(count)))
        admitted.append(crowd.admitted())

    async def work(crowd: Callers) -> None:
        await burst(crowd, 80)
        await asyncio.to_thread(getattr(sentinel.master, fault))
        await burst(crowd, 40)
        await asyncio.to_thread(_fail_over, pair, sentinel)
        await burst(crowd, 80)
        await crowd.use_up()

    watch = Stopwatch()
    crowd = hammer.run(pair.gateways, key, work)
    note(f"{admitted} and then {crowd.admitted()} of {limit} admitted in {watch.seconds:.0f} s")
    never_over_in(watch.seconds, crowd.admitted(), limit)
    assert not crowd.others
    assert admitted[0] == 80
    assert admitted[2] > admitted[1], "calls are admitted after it"
    assert crowd.admitted() >= 0.9 * limit


@pytest.mark.parametrize("fault", _FAULTS)
@again_after_a_stall(_STOOD_S)
def test_a_budget_holds_over_a_failover(
    database_url: str, start_sentinel: Watched, start_gateway: Callable[..., Gateway], sim: Sim, fault: str
) -> None:
    sentinel, budget = start_sentinel(), 0.02
    pair = _pair(start_gateway, database_url, sentinel)
    key, since = pair.key(max_budget=budget), sim.mark()
    served: list[int] = []

    async def work(crowd: Crowd) -> None:
        # Each is reserved $0.00041 and costs $0.00021.
        served.append(await crowd.burst(30, 200))
        # Under way when the master goes.
        flying = asyncio.ensure_future(crowd.burst(20, 200))
        await asyncio.to_thread(getattr(sentinel.master, fault))
        await flying
        await crowd.burst(20, 200)
        await asyncio.to_thread(_fail_over, pair, sentinel)
        served.append(crowd.served)
        watch = Stopwatch()
        while watch.ran_s < 60 and watch.seconds < 200 and crowd.served * 0.00021 < 0.9 * budget:
            await crowd.burst(20, 200)

    crowd = run(pair, [key], work, headers={"x-sim-tokens": "100", "x-sim-ttft": "300"})
    total = spent(sim, since)
    note(f"{served} and then {crowd.served} of {len(crowd.statuses)} served, ${total} of ${budget}")
    never_above(total, budget)
    # Who cannot know what is left says so.
    assert set(crowd.odd) <= {503}, crowd.odd
    assert served[0] == 30
    assert total >= 0.9 * budget


def test_passwords_are_not_in_what_is_said_of_sentinels_that_are_gone(start_gateway: Callable[..., Gateway]) -> None:
    password, other = secrets.token_hex(24), secrets.token_hex(24)
    watched = f"{{service: {MASTER_NAME}, nodes: ['127.0.0.1:1'], password: {other}}}"
    config = CONFIG % (0, "60s", "60s") + f"  redis: {{sentinel: {watched}}}\n"
    environment = {"REDIS_URL": f"redis://gateway:{password}@ignored"}
    gateway = start_gateway(config=config, environment=environment, arguments=["--log-level", "debug"])
    until(lambda: '"quota.alone"' in gateway.process.output(), "it says that it is alone")
    assert gateway.process.stop() == 0
    output = gateway.process.output()
    assert password not in output
    assert other not in output
