"""Several gateways, one budget, through their public ports: together they never spend more, and can spend all of it."""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Any

import httpx
import msgspec
import pytest

from tests.conftest import Gateway, at_once
from tests.faults.accounts import BooksDiffer, note
from tests.faults.conftest import CONFIG
from tests.faults.hammer import again_after_an_outage, undone_when_it_fails
from tests.faults.streams import PROMPT_TOKENS
from tests.integration.quota.rig import OverTheLimit
from tests.rig import NO_TLS, Sim, until
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis
from tests.stalls import Stopwatch, again_after_a_stall

Start = Callable[..., Gateway]
_INPUT, _OUTPUT = 0.000001, 0.000002
"""US dollars per token, as the configuration has them."""
_REFUSED = (400, 402, 403, 422, 429)
_BUDGET = 0.05
_STOOD_S = 0.15
"""A machine that stands still for so long charges later, and asks less often, than these tests wait for."""


def worst(most: int) -> float:
    """What a call of so many output tokens at most is reserved."""
    return PROMPT_TOKENS * _INPUT + most * _OUTPUT


class Fleet:
    """Gateways that share everything."""

    def __init__(
        self, start: Start, database_url: str, redis_urls: list[str], more: str = "", deadline: str = "250ms"
    ) -> None:
        """``more``: sections of the configuration; ``deadline``: one that Redis keeps although everything shares a core or two
        with the tests of others."""
        self._config = CONFIG % (0, "60s", "60s") + f"  redis: {{deadline: {deadline}}}\n" + more
        self._start = start
        self._redis_urls = redis_urls
        self._shared = {
            "DATABASE_URL": database_url,
            "PENSTOCK_PEPPER": secrets.token_hex(32),
            "PENSTOCK_SECRET_KEY": secrets.token_hex(32),
            "PENSTOCK_MASTER_KEY": f"sk-{secrets.token_hex(24)}",
        }
        self.gateways = at_once(
            *(partial(start, config=self._config, environment=self._environment(url)) for url in redis_urls)
        )
        for gateway in self.gateways:
            gateway.admin_key = self._shared["PENSTOCK_MASTER_KEY"]
            until(lambda gateway=gateway: replicas(gateway) == len(redis_urls), "everybody is known")  # type: ignore[misc]

    def _environment(self, redis_url: str) -> dict[str, str]:
        return {**self._shared, "REDIS_URL": redis_url}

    def restart(self, which: int) -> Gateway:
        """Start a gateway that was killed again, where it was."""
        killed = self.gateways[which]
        environment = self._environment(self._redis_urls[which])
        gateway = self._start(directory=killed.directory, config=self._config, environment=environment)
        gateway.admin_key = self._shared["PENSTOCK_MASTER_KEY"]
        self.gateways[which] = gateway
        return gateway

    @property
    def first(self) -> Gateway:
        """One of them."""
        return self.gateways[0]

    def post(self, path: str, **fields: Any) -> dict[str, Any]:
        """An administrator's request."""
        with self.first.client() as client:
            answer = client.post(path, headers=self.first.admin, json=fields)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def key(self, **fields: Any) -> str:
        """A virtual key."""
        return str(self.post("/key/generate", **fields)["key"])


@pytest.fixture(scope="module")
def lasting_redis() -> Iterator[Redis]:
    """One that nobody stops."""
    node = Redis()
    yield node
    node.close()


@pytest.fixture(scope="module")
def pair(lasting_database_url: str, lasting_redis: Redis, start_lasting: Start) -> Fleet:
    """Two gateways for tests that stop nothing."""
    return Fleet(start_lasting, lasting_database_url, [lasting_redis.url] * 2, deadline="1s")


def replicas(gateway: Gateway) -> int:
    """Among how many it divides limits."""
    with gateway.client() as client:
        text = client.get("/metrics", headers=gateway.admin).text
    found = [line for line in text.splitlines() if line.startswith("penstock_quota_replicas ")]
    return int(float(found[0].split()[1])) if found else 0


class Crowd:
    """Clients of all gateways that pay with the same money."""

    def __init__(self, fleet: Fleet, *keys: str, headers: dict[str, str] | None = None) -> None:
        limits = httpx.Limits(max_connections=250)
        self.clients = [
            httpx.AsyncClient(base_url=each.url, timeout=40, trust_env=False, verify=NO_TLS, limits=limits)
            for each in fleet.gateways
        ]
        self.keys = keys
        self.headers = headers or {}
        self.statuses: list[int] = []
        self.texts: dict[int, str] = {}

    async def call(self, number: int, most: int = 100, *, at: int | None = None, **fields: Any) -> int:
        """One call through the gateway whose turn it is, or through a certain one; 0: it was cut."""
        client = self.clients[(number if at is None else at) % len(self.clients)]
        headers = {"authorization": f"Bearer {self.keys[number % len(self.keys)]}", **self.headers}
        content = {"model": "sim", "max_tokens": most, "messages": [{"role": "user", "content": "time river that"}]}
        try:
            answer = await client.post("/v1/chat/completions", headers=headers, json={**content, **fields})
        except httpx.TransportError:
            self.statuses.append(0)
            return 0
        self.statuses.append(answer.status_code)
        self.texts.setdefault(answer.status_code, answer.text)
        return answer.status_code

    async def burst(self, count: int, most: int = 100, **fields: Any) -> int:
        """So many at once; how many were served."""
        statuses = await asyncio.gather(*(self.call(number, most, **fields) for number in range(count)))
        return statuses.count(200)

    async def hammer(
        self, per_second: float, seconds: float, events: dict[float, Callable[[], object]] | None = None, **fields: Any
    ) -> None:
        """Calls at a steady pace, whether they are answered or not. ``events``: what else happens, by second."""
        begin, tasks, due = time.monotonic(), [], sorted((events or {}).items())
        for number in range(int(per_second * seconds)):
            await asyncio.sleep(max(0.0, begin + number / per_second - time.monotonic()))
            while due and time.monotonic() - begin >= due[0][0]:
                await asyncio.to_thread(due.pop(0)[1])
            tasks.append(asyncio.ensure_future(self.call(number, **fields)))
        await asyncio.gather(*tasks)

    @property
    def served(self) -> int:
        """Calls that were."""
        return self.statuses.count(200)

    @property
    def odd(self) -> dict[int, str]:
        """Answers that are neither one nor a refusal for the budget."""
        return {
            status: text
            for status, text in self.texts.items()
            if status != 200 and (status not in _REFUSED or "Budget has been exceeded" not in text)
        }


def run(fleet: Fleet, keys: list[str], work: Callable[[Crowd], Any], **options: Any) -> Crowd:
    """Have a crowd do something."""

    async def main() -> Crowd:
        crowd = Crowd(fleet, *keys, **options)
        try:
            await work(crowd)
        finally:
            for client in crowd.clients:
                await client.aclose()
        return crowd

    return asyncio.run(main())


def spent(sim: Sim, since: int) -> float:
    """What the upstream wants for everything after ``since``, in US dollars, when all is over."""

    def over() -> list[dict[str, Any]] | None:
        entries = sim.ledger(since)
        return None if any(entry["outcome"] == "open" for entry in entries) else entries

    total = 0.0
    for entry in until(over, "every answer has ended", 30) or []:
        completed = entry["outcome"] == "completed"
        if completed or entry["events_sent"] > 0:
            tokens = entry["completion_tokens"] if completed else entry["tokens_sent"]
            total += entry["prompt_tokens"] * _INPUT + tokens * _OUTPUT
    return round(total, 9)


def never_above(total: float, budget: float) -> None:
    """Whatever the machine did meanwhile."""
    if total > budget:
        raise OverTheLimit(f"${total} of ${budget}")


def held(redis: Redis) -> int:
    """Nano-dollars that all gateways hold of all budgets."""
    total = 0
    with redis.client() as client:
        for key in client.scan_iter(match="penstock:{*}:held:budget:*"):
            values: list[str] = client.hvals(key)
            total += sum(int(value.split()[0]) for value in values)
    return total


@pytest.mark.parametrize("gateways", [2, 3])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@again_after_an_outage
def test_two_hundred_calls_at_once_share_a_budget(
    start_gateway: Start, database_url: str, own_redis: Redis, sim: Sim, gateways: int, stream: bool
) -> None:
    fleet = Fleet(start_gateway, database_url, [own_redis.url] * gateways)
    key, since = fleet.key(max_budget=_BUDGET), sim.mark()
    # All of them are there before the first ends, and each uses all that it may.
    crowd = run(
        fleet,
        [key],
        lambda crowd: crowd.burst(200, 500, stream=stream),
        headers={"x-sim-ttft": "800", "x-sim-tokens": "500"},
    )
    total = spent(sim, since)
    note(f"{crowd.served} served, ${total} of ${_BUDGET}")
    never_above(total, _BUDGET)
    assert not crowd.odd
    assert crowd.served >= int(_BUDGET / worst(500))


@pytest.mark.parametrize("level", ["key", "team", "user"])
@again_after_an_outage
def test_what_was_reserved_and_not_used_is_for_others(pair: Fleet, sim: Sim, level: str) -> None:
    fields: dict[str, Any] = {}
    if level == "key":
        fields["max_budget"] = 0.01
    elif level == "team":
        fields["team_id"] = pair.post("/team/new", team_alias="t", max_budget=0.01)["team_id"]
    elif level == "user":
        fields["user_id"] = pair.post("/user/new", max_budget=0.01, auto_create_key=False)["user_id"]
    uses_it_up(pair, sim, [pair.key(**fields) for _ in range(1 if level == "key" else 3)])


@again_after_an_outage
def test_what_was_reserved_of_everybody_s_budget_is_for_others(
    start_gateway: Start, database_url: str, own_redis: Redis, sim: Sim
) -> None:
    more = "litellm_settings: {max_budget: 0.01}\n"
    fleet = Fleet(start_gateway, database_url, [own_redis.url] * 2, more)
    uses_it_up(fleet, sim, [fleet.key() for _ in range(3)])


def uses_it_up(fleet: Fleet, sim: Sim, keys: list[str]) -> None:
    """Callers that are reserved much and use little spend most of a cent, and never more."""
    since = sim.mark()

    async def work(crowd: Crowd) -> None:
        # Each is reserved $0.00101 and costs $0.00003: nine at once, some hundreds altogether.
        watch = Stopwatch()
        while watch.ran_s < 60 and watch.seconds < 200 and crowd.served * 0.00003 < 0.007:
            await crowd.burst(20, 500)

    crowd = run(fleet, keys, work, headers={"x-sim-tokens": "10"})
    total = spent(sim, since)
    note(f"{crowd.served} of {len(crowd.statuses)} served, ${total} of $0.01")
    never_above(total, 0.01)
    assert not crowd.odd
    assert total >= 0.007, f"{crowd.served} of {len(crowd.statuses)} served"


@pytest.mark.long
def test_a_hold_does_not_leak(start_gateway: Start, database_url: str, own_redis: Redis, sim: Sim) -> None:
    fleet = Fleet(start_gateway, database_url, [own_redis.url] * 2)
    key, since = fleet.key(max_budget=_BUDGET), sim.mark()

    async def work(crowd: Crowd) -> None:
        await crowd.hammer(40, 20, most=100)
        until(lambda: held(own_redis) == 0, "nothing is held any more", 5)
        # What is left can all be spent through one of them.
        left = _BUDGET - spent(sim, since)
        count = int(left / worst(200))
        sizes = asyncio.gather(*(crowd.call(number, 200, at=1) for number in range(count)))
        assert (await sizes).count(200) == count

    crowd = run(fleet, [key], work, headers={"x-sim-tokens": "20"})
    assert not crowd.odd
    never_above(spent(sim, since), _BUDGET)


@pytest.mark.timeout(500)
@pytest.mark.parametrize("fault", ["crash", "flush", "freeze", "cut off"])
@again_after_a_stall(_STOOD_S)
@undone_when_it_fails
def test_a_budget_holds_whatever_redis_does(
    start_gateway: Start,
    database_url: str,
    own_redis: Redis,
    sim: Sim,
    fault: str,
    start_proxy: Callable[[int], Proxy],
) -> None:
    proxy = start_proxy(own_redis.port)
    far = own_redis.url.replace(str(own_redis.port), str(proxy.port))
    fleet = Fleet(start_gateway, database_url, [own_redis.url, far])
    key, since = fleet.key(max_budget=_BUDGET), sim.mark()
    begin, end = {
        "crash": (own_redis.crash, own_redis.start),
        "flush": (own_redis.flush, own_redis.flush),
        "freeze": (own_redis.freeze, own_redis.resume),
        "cut off": (proxy.hang, proxy.heal),
    }[fault]
    before = []

    async def work(crowd: Crowd) -> None:
        # Each is reserved $0.00041 and costs $0.00021, so that about 240 fit; 60 a second want to.
        events: dict[float, Callable[[], object]] = {2.0: begin, 2.01: lambda: before.append(crowd.served), 6.0: end}
        await crowd.hammer(60, 14, events, most=200)

    crowd = run(fleet, [key], work, headers={"x-sim-tokens": "100", "x-sim-ttft": "300"})
    total = spent(sim, since)
    note(f"{before} and then {crowd.served} of {len(crowd.statuses)} served, ${total} of ${_BUDGET}")
    never_above(total, _BUDGET)
    # Who cannot know what is left says so.
    assert set(crowd.odd) <= {503}, crowd.odd
    assert total >= 0.9 * _BUDGET
    assert 0 < before[0] < crowd.served


@pytest.mark.timeout(500)
@again_after_a_stall(_STOOD_S)
@again_after_an_outage
def test_a_new_window_begins_for_everybody_at_once(pair: Fleet, sim: Sim) -> None:
    key, since = pair.key(max_budget=0.005, budget_duration="5s"), sim.mark()
    with pair.first.client() as client:
        info = client.get("/key/info", headers=pair.first.admin, params={"key": key}).json()["info"]
    assert info["budget_reset_at"], info
    moments: list[tuple[float, int]] = []

    async def work(crowd: Crowd) -> None:
        async def one(number: int) -> None:
            sent = time.time()
            moments.append((sent, await crowd.call(number, 100)))

        begin, tasks = time.monotonic(), []
        for number in range(12 * 50):
            await asyncio.sleep(max(0.0, begin + number / 50 - time.monotonic()))
            tasks.append(asyncio.ensure_future(one(number)))
        await asyncio.gather(*tasks)

    crowd = run(pair, [key], work, headers={"x-sim-tokens": "100"})
    # Twelve seconds touch three or four windows, each of which takes 23 calls of $0.00021.
    served = [sent for sent, status in moments if status == 200]
    bursts = [[served[0]]]
    for sent in served[1:]:
        if sent - bursts[-1][-1] > 1.0:
            bursts.append([])
        bursts[-1].append(sent)
    note(f"served in bursts of {[len(burst) for burst in bursts]}")
    never_above(max(map(len, bursts)) * worst(100), 0.005)
    never_above(spent(sim, since), 0.005 * len(bursts))
    assert not crowd.odd
    assert 3 <= len(bursts) <= 4
    assert all(len(burst) == int(0.005 / worst(100)) for burst in bursts[1:-1])


@pytest.mark.timeout(500)
@again_after_a_stall(_STOOD_S)
@again_after_an_outage
def test_calls_that_began_before_a_window_are_charged_to_it_when_it_lets_them_in(pair: Fleet, sim: Sim) -> None:
    # Three calls fit.
    key, since = pair.key(max_budget=0.0007, budget_duration="6s"), sim.mark()
    with pair.first.client() as client:
        info = client.get("/key/info", headers=pair.first.admin, params={"key": key}).json()["info"]
    end = datetime.fromisoformat(info["budget_reset_at"]).timestamp()
    content = {"model": "sim", "max_tokens": 100, "messages": [{"role": "user", "content": "time river that"}]}
    body = msgspec.json.encode(content)

    async def work(crowd: Crowd) -> None:
        async def slow(number: int, go: asyncio.Event) -> int:
            async def pieces() -> AsyncIterator[bytes]:
                yield body[:10]
                await go.wait()
                yield body[10:]

            headers = {"authorization": f"Bearer {key}", **crowd.headers}
            client = crowd.clients[number % len(crowd.clients)]
            return (await client.post("/v1/chat/completions", headers=headers, content=pieces())).status_code

        soon, later = asyncio.Event(), asyncio.Event()
        first = [asyncio.ensure_future(slow(number, soon)) for number in range(8)]
        second = [asyncio.ensure_future(slow(number, later)) for number in range(8)]
        await asyncio.sleep(end + 0.1 - time.time())
        soon.set()
        served = (await asyncio.gather(*first)).count(200)
        never_above(served * worst(100), 0.0007)
        assert served == 3
        # By then everybody has heard what they cost.
        await asyncio.sleep(2.5)
        later.set()
        served += (await asyncio.gather(*second)).count(200)
        assert time.time() < end + 6, "all of it was one window"
        never_above(served * worst(100), 0.0007)
        assert served == 3

    run(pair, [key], work, headers={"x-sim-tokens": "100"})
    never_above(spent(sim, since), 0.0007)


@again_after_a_stall(_STOOD_S)
@again_after_an_outage
def test_a_spend_that_is_set_back_lets_calls_through(pair: Fleet) -> None:
    key = pair.key(max_budget=0.002)

    async def work(crowd: Crowd) -> None:
        served = await crowd.burst(40, 100)
        never_above(served * worst(100), 0.002)
        assert served == int(0.002 / worst(100))
        for change, left in (({"spend": 0}, 0.002), ({"max_budget": 0.004}, 0.004 - 9 * worst(100))):
            await asyncio.sleep(1.0)
            assert await crowd.call(0, 100, at=1) != 200
            await asyncio.to_thread(lambda change=change: pair.post("/key/update", key=key, **change))  # type: ignore[misc]
            begin = time.monotonic()
            while await crowd.call(0, 100, at=1) != 200:
                assert time.monotonic() - begin < 2
            # Until it is charged: on the way it may be counted twice, in what was spent and in what is held.
            await asyncio.sleep(1.5)
            served = 1 + await crowd.burst(40, 100)
            never_above(served * worst(100), left)
            assert served == int(left / worst(100))

    crowd = run(pair, [key], work, headers={"x-sim-tokens": "100"})
    assert not crowd.odd


@again_after_an_outage
def test_what_a_killed_gateway_held_is_free_when_it_is_back(
    start_gateway: Start, database_url: str, own_redis: Redis, sim: Sim
) -> None:
    fleet = Fleet(start_gateway, database_url, [own_redis.url] * 2)
    key, since = fleet.key(max_budget=0.01), sim.mark()

    async def work(crowd: Crowd) -> None:
        assert await crowd.burst(5, 100, at=0) == 5
        crowd.headers["x-sim-ttft"] = "6000"
        running = asyncio.gather(*(crowd.call(number, 1_000, at=0) for number in range(4)))
        await asyncio.to_thread(lambda: until(lambda: held(own_redis) >= 4 * worst(1_000) * 1e9, "they are reserved"))
        fleet.first.process.process.send_signal(signal.SIGKILL)
        fleet.first.process.wait()
        assert await running == [0] * 4
        del crowd.headers["x-sim-ttft"]
        # Nobody knows yet what they cost.
        assert await crowd.call(0, 1_000, at=1) != 200
        await asyncio.to_thread(fleet.restart, 0)
        await asyncio.to_thread(lambda: until(lambda: held(own_redis) == 0, "it holds nothing any more", 10))
        left = 0.01 - spent(sim, since)
        count = int((left - 0.0005) / worst(100))
        assert sum([await crowd.call(0, 100, at=1) == 200 for _ in range(count)]) == count

    crowd = run(fleet, [key], work, headers={"x-sim-tokens": "100"})
    assert not set(crowd.odd) - {0}
    never_above(spent(sim, since), 0.01)


@again_after_an_outage
def test_a_gateway_that_stops_leaves_nothing_held(
    start_gateway: Start, database_url: str, own_redis: Redis, sim: Sim
) -> None:
    fleet = Fleet(start_gateway, database_url, [own_redis.url] * 2)
    key, since = fleet.key(max_budget=_BUDGET), sim.mark()
    run(fleet, [key], lambda crowd: crowd.burst(60, 100), headers={"x-sim-tokens": "50"})
    total = spent(sim, since)
    for gateway in fleet.gateways:
        assert gateway.process.stop() == 0
    if left := held(own_redis):
        raise BooksDiffer(f"{left} nano-dollars are held by nobody")
    with own_redis.client() as client:
        (figure,) = [client.get(name) for name in client.scan_iter(match="penstock:{*}:spent:*")]
    if (told := int(str(figure).split()[0])) != round(total * 1e9):
        raise BooksDiffer(f"Redis knows of {told} nano-dollars and the upstream wants ${total}")
