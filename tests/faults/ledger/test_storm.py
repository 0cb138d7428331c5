"""A thousand clients that leave in mid-stream, on PostgreSQL and Redis: each is one row, and both books agree."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from tests.faults.accounts import note, usage, verdict
from tests.faults.ledger.crowd import Crowd
from tests.faults.ledger.gateways import Site, balanced
from tests.faults.raw import Client, ask
from tests.faults.streams import SURFACES, body
from tests.rig import Sim

pytestmark = pytest.mark.alone

AT_ONCE = 150


@pytest.mark.parametrize(
    "clients", [1_000, pytest.param(5_000, marks=[pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(500)])]
)
def test_clients_that_leave_are_each_one_row(
    database_url: str, redis_url: str, start_site: Callable[..., Site], sim: Sim, clients: int
) -> None:
    site = start_site(database_url, redis_url)
    gateway = site.gateway()
    key, since = gateway.new_key(), sim.mark()
    choose = random.Random(clients)

    async def leave(places: asyncio.Semaphore) -> bool:
        path, model = SURFACES[choose.choice(list(SURFACES))]
        control = {"x-sim-tps": "40", "x-sim-tokens": "400", "x-sim-ttft": str(choose.choice([0, 0, 20]))}
        stay, reset = choose.uniform(0.02, 0.8), choose.random() < 0.3
        async with places:
            client = await Client.connect(gateway)
            client.writer.write(ask(path, key, body(model, stream=True), control))
            assert not await client.read_for(stay), "it is far from its end"
            client.leave(reset=reset)
            return client.call_id is not None

    async def storm() -> list[bool]:
        places = asyncio.Semaphore(AT_ONCE)
        return await asyncio.gather(*(leave(places) for _ in range(clients)))

    begun = sum(asyncio.run(storm()))
    with Crowd(gateway, key) as nobody:
        rows = balanced(site, sim, since, gateway, nobody)
    note(f"{clients} clients, {begun} saw the answer begin, {len(rows)} rows")
    assert [(verdict(row), usage(row)) for row in rows if verdict(row)[0] != "client_disconnect"] == []
    # Those that left before the gateway had their request are not calls.
    assert max(begun, clients * 0.9) <= len(rows) <= clients
