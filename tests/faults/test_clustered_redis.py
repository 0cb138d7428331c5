"""Two gateways on a Redis Cluster, through their public ports: limits and budgets hold, also where one call has some on several nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import Gateway
from tests.faults import hammer
from tests.faults.accounts import note
from tests.faults.hammer import Callers, again_after_an_outage
from tests.faults.test_shared_budgets import Crowd, Fleet, run, uses_it_up
from tests.faults.test_shared_gateways import never_over_in
from tests.rig import Sim
from tests.servers.redis import RedisCluster
from tests.stalls import Stopwatch

_NODES = 3
_KEYS = 4


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    """Masters that nobody stops."""
    made = RedisCluster(_NODES)
    yield made
    made.close()


@pytest.fixture(scope="module")
def pair(lasting_database_url: str, cluster: RedisCluster, start_lasting: Callable[..., Gateway]) -> Fleet:
    """Gateways that share everything, told of the cluster by LiteLLM's names."""
    nodes = ", ".join(f"{{host: 127.0.0.1, port: {node.port}}}" for node in cluster.nodes)
    more = f"litellm_settings: {{cache_params: {{type: redis, redis_startup_nodes: [{nodes}]}}}}\n"
    return Fleet(start_lasting, lasting_database_url, [cluster.url] * 2, more, deadline="1s")


@pytest.mark.parametrize("limit", [100, pytest.param(300, marks=pytest.mark.slow)])
@again_after_an_outage
def test_a_limit_is_one_limit_for_both(pair: Fleet, limit: int) -> None:
    key = pair.key(rpm_limit=limit)

    async def work(crowd: Callers) -> None:
        await asyncio.gather(*(crowd.call(number) for number in range(limit + limit // 4)))
        await crowd.use_up()

    watch = Stopwatch()
    crowd = hammer.run(pair.gateways, key, work)
    note(f"{crowd.admitted()} of {limit} admitted, {len(crowd.answers)} asked")
    never_over_in(watch.seconds, crowd.admitted(), limit)
    assert not crowd.others
    assert crowd.admitted() >= 0.97 * limit


@again_after_an_outage
def test_a_limit_of_a_user_holds_over_keys_that_are_on_other_nodes(pair: Fleet, cluster: RedisCluster) -> None:
    limit, most = 60, 25
    user = pair.post("/user/new", rpm_limit=limit, auto_create_key=False)["user_id"]
    keys = [pair.key(user_id=user, rpm_limit=most) for _ in range(_KEYS)]
    by_key: dict[int, int] = dict.fromkeys(range(_KEYS), 0)

    async def work(crowd: Crowd) -> None:
        async def one(number: int) -> None:
            # Each key through both gateways.
            status = await crowd.call(number, 3, at=number // _KEYS)
            by_key[number % _KEYS] += status == 200

        # Once nobody gets anything, what calls have taken on one node and were refused on another is back with the next.
        idle = 0
        while idle < 3:
            before = crowd.served
            await asyncio.gather(*(one(number) for number in range(6 * _KEYS)))
            idle = 0 if crowd.served > before else idle + 1

    watch = Stopwatch()
    crowd = run(pair, keys, work)
    seconds = watch.seconds
    note(f"{crowd.served} of {limit} admitted, by key {list(by_key.values())} of {most}")
    never_over_in(seconds, crowd.served, limit)
    for served in by_key.values():
        never_over_in(seconds, served, most)
    assert set(crowd.statuses) == {200, 429}
    assert crowd.served >= 0.9 * limit


@pytest.mark.parametrize("level", ["key", "user"])
@again_after_an_outage
def test_a_budget_is_one_budget_for_both(pair: Fleet, sim: Sim, level: str) -> None:
    if level == "key":
        keys = [pair.key(max_budget=0.01)]
    else:
        user = pair.post("/user/new", max_budget=0.01, auto_create_key=False)["user_id"]
        keys = [pair.key(user_id=user) for _ in range(_KEYS)]
    uses_it_up(pair, sim, keys)
