"""Money that is held, told and let go of, by quota services on a real Redis."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from penstock.payers import Figure
from penstock.persistence import DatabaseUnavailable
from penstock.quota.models import QuotaOptions
from penstock.quota.service import QuotaService
from tests.integration.quota.rig import CALM, come_about, draw, gateway, scope
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis

_PATIENT: dict[str, Any] = {"deadline_ms": 2_000}
_LASTING = QuotaOptions(settle_ms=100, missing_after_ms=8_000, patience_ms=5_000)


class Ledger:
    """Figures by the scope."""

    def __init__(self) -> None:
        self.figures: dict[str, Figure] = {}
        self.asked: list[tuple[str, int]] = []
        self.is_down = False

    async def read(self, owner: str, ended: int) -> Figure | None:
        self.asked.append((owner, ended))
        await asyncio.sleep(0.01)
        if self.is_down:
            raise DatabaseUnavailable("it is down")
        return self.figures.get(owner)


async def money(service: QuotaService, name: str, need: int, **more: Any) -> int:
    """Nano-dollars drawn of a budget of 1,000."""
    return (await draw(service, name, "budget", 1_000, need=need, **more)).granted


async def test_what_was_spent_is_told_and_let_go_of_in_one_step(redis_url: str) -> None:
    ledger, name = Ledger(), scope()
    async with (
        gateway(redis_url, _LASTING, spent=ledger.read, **_PATIENT) as one,
        gateway(redis_url, _LASTING, spent=ledger.read, **_PATIENT) as two,
    ):
        assert await money(one, name, 800) == 800
        one.tell_spent(name, Figure(300, 1), 300)
        # Not a moment in which more is left for the others than there is.
        grants = [await money(two, name, 201) for _ in range(20)]
        assert sum(grants) == 0
        await come_about(lambda: not one.holds_budget(name) or one.held_budgets() == [name], "told")
        assert await money(two, name, 200) == 200
        one.give_back(name, "budget", 500)
        await draw(one, scope())
        assert not one.holds_budget(name)
        assert await money(two, name, 500) == 500


async def test_a_figure_that_cannot_be_told_waits_and_its_money_stays_held(
    redis: Redis, redis_url: str, start_proxy: Callable[[int], Proxy]
) -> None:
    ledger, name, proxy = Ledger(), scope(), start_proxy(redis.port)
    brief = msgspec.structs.replace(_LASTING, patience_ms=1_500)
    async with (
        gateway(f"redis://127.0.0.1:{proxy.port}/0", brief, spent=ledger.read, deadline_ms=1_000) as far,
        gateway(redis_url, _LASTING, spent=ledger.read, **_PATIENT) as near,
    ):
        assert await money(far, name, 900) == 900
        proxy.hang()
        far.tell_spent(name, Figure(100, 1), 100)
        far.tell_spent(name, Figure(150, 2), 50)
        await come_about(lambda: far.state == "local_share", "it is alone")
        assert far.held_budgets() == [name]
        grant = await draw(far, name, "budget", 1_000)
        assert (grant.granted, grant.refused, grant.unknown) == (0, True, True)
        assert await money(near, name, 101) == 0
        proxy.heal()
        await come_about(lambda: far.state == "shared", "it is back")
        # 150 are spent, 750 are held: as soon as Redis has answered that it knows.
        until = time.monotonic() + 10
        while await money(near, name, 100) != 100:
            assert await money(near, name, 101) == 0
            assert time.monotonic() < until, "it was not told"
            await asyncio.sleep(0.01)
        assert far._holds.amount((name, "budget")) == 750
        assert await money(near, name, 1) == 0


async def test_what_is_spent_beyond_every_grant_is_held_at_once(redis_url: str) -> None:
    ledger, name = Ledger(), scope()
    async with (
        gateway(redis_url, _LASTING, spent=ledger.read, **_PATIENT) as one,
        gateway(redis_url, _LASTING, spent=ledger.read, **_PATIENT) as two,
    ):
        assert await money(one, name, 900) == 900
        one.overdrawn(name, 80)
        await draw(one, scope())
        assert await money(two, name, 21) == 0
        assert await money(two, name, 20) == 20


async def test_a_window_that_is_over_is_looked_up_once_for_all_who_ask(redis_url: str) -> None:
    ledger, name = Ledger(), scope()
    ledger.figures[name] = Figure(1_000, 1, until=500)
    async with gateway(redis_url, _LASTING, spent=ledger.read, **_PATIENT) as one:
        assert await money(one, name, 1, version=1, spent=1_000, until=500) == 0
        ledger.asked.clear()
        ledger.figures[name] = Figure(0, 2, until=900)
        terms = {"version": 1, "spent": 1_000, "until": 500, "ended": 500}
        grants = await asyncio.gather(*(money(one, name, 10, **terms) for _ in range(50)))
        assert grants == [10] * 50
        assert ledger.asked == [(name, 500)]
        # Without the ledger nobody knows what the next one begins with.
        ledger.is_down = True
        grant = await draw(one, name, "budget", 1_000, ended=900)
        assert (grant.granted, grant.unknown) == (0, True)


async def test_a_gateway_that_ended_lets_go_of_everything_it_held(redis: Redis, redis_url: str) -> None:
    ledger, dead = Ledger(), secrets.token_hex(8)
    names = [scope("own") + "{x}:y" for _ in range(250)]
    async with gateway(redis_url, _LASTING, spent=ledger.read, **_PATIENT) as other:
        assert await money(other, names[0], 100) == 100
        async with gateway(redis_url, _LASTING, spent=ledger.read, incarnation=dead, **_PATIENT) as killed:
            for name in names:
                assert await money(killed, name, 900) == 900
            await killed.stop(keeps_budgets=True)
        assert await money(other, names[0], 1) == 0
        ledger.figures = dict.fromkeys(names, Figure(300, 5))
        assert await other.release(dead) == len(names)
        assert await other.release("0" * 16) == 0
        assert await money(other, names[0], 601) == 0
        assert await money(other, names[0], 600) == 600
        assert await money(other, names[-1], 700) == 700


@pytest.mark.parametrize("keeps", [False, True])
async def test_who_stops_leaves_what_was_told_and_holds_what_was_not(redis_url: str, keeps: bool) -> None:
    ledger, name = Ledger(), scope()
    async with gateway(redis_url, _LASTING, spent=ledger.read, **_PATIENT) as other:
        async with gateway(redis_url, _LASTING, spent=ledger.read, **_PATIENT) as one:
            assert await money(one, name, 900) == 900
            one.tell_spent(name, Figure(250, 1), 250)
            await one.stop(keeps_budgets=keeps)
        left = 1_000 - 250 - (650 if keeps else 0)
        assert await money(other, name, left + 1) == 0
        assert await money(other, name, left) == left


async def test_holds_are_renewed_while_their_gateway_lives(redis_url: str) -> None:
    ledger, name = Ledger(), scope()
    async with (
        gateway(redis_url, CALM, spent=ledger.read, **_PATIENT) as one,
        gateway(redis_url, CALM, spent=ledger.read, **_PATIENT) as two,
    ):
        assert await money(one, name, 900) == 900
        await asyncio.sleep(2 * CALM.budget_hold_ms / 1000)
        assert await money(two, name, 101) == 0


async def test_what_a_gateway_held_that_never_comes_back_is_free_after_its_time(redis_url: str) -> None:
    ledger, name = Ledger(), scope()
    async with gateway(redis_url, CALM, spent=ledger.read, **_PATIENT) as other:
        async with gateway(redis_url, CALM, spent=ledger.read, **_PATIENT) as killed:
            assert await money(killed, name, 700) == 700
            # As when it is killed, nothing is said.
            killed._beats.is_up = False
            ended = time.monotonic()
            await killed.stop()
        assert await money(other, name, 301) == 0
        while not await money(other, name, 1_000):
            assert time.monotonic() < ended + 3 * CALM.budget_hold_ms / 1000
        assert time.monotonic() > ended + CALM.budget_hold_ms / 2000
