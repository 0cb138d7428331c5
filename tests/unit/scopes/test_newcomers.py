"""Customers whom a call names for the first time, where the configuration has limits for all of them."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from penstock.scopes.models import ModelLimit
from penstock.scopes.service import Defaults, ScopeService
from tests.unit.scopes.rig import Rig


@pytest.fixture
async def scopes(rig: Rig) -> ScopeService:
    """Customers of whom nothing is stored get the budget `default`; there is another one, `vip`."""
    sql = "INSERT INTO budgets (budget_id, rpm, created_at, created_by, updated_at, updated_by) VALUES (?, ?, 0, '', 0, '')"
    async with rig.database.transaction() as tx:
        for budget_id, rpm in (("default", 5), ("vip", 500)):
            await tx.execute(sql, (budget_id, rpm))
    rig.scopes.defaults = Defaults(customer_budget_id="default")
    return rig.scopes


async def _asked(scopes: ScopeService, name: str) -> dict[str, object] | None:
    answers: list[bytes] = []
    await scopes.answer(name, answers.append)
    (answer,) = answers
    found: dict[str, object] | None = msgspec.json.decode(answer)
    return found


async def test_a_new_one_has_the_limits_for_all(scopes: ScopeService) -> None:
    first, again, tag = await asyncio.gather(*(_asked(scopes, name) for name in ("customer:c", "customer:c", "tag:t")))
    assert first == again
    assert first is not None
    assert first["rpm"] == 5
    assert tag is None


async def test_one_that_is_made_meanwhile_keeps_the_budget_it_was_given(rig: Rig, scopes: ScopeService) -> None:
    other = rig.another()
    async with rig.database.transaction() as tx:
        # The call finds nobody, and waits for this to be over before it makes the customer.
        asking = asyncio.ensure_future(_asked(scopes, "customer:c"))
        await asyncio.sleep(0.3)
        await other.put(tx, "customer:c", {"budget_id": "vip"})
    found = await asking
    assert found is not None
    assert found["rpm"] == 500


async def test_whoever_is_known_does_not_wait_for_a_new_one_to_be_made(rig: Rig, scopes: ScopeService) -> None:
    await rig.put("tag:known", max_budget=10)
    await rig.put("customer:known", max_budget=10)
    async with rig.database.transaction():
        new = asyncio.ensure_future(_asked(scopes, "customer:new"))
        known = [_asked(scopes, name) for name in ("tag:known", "customer:known")]
        assert None not in await asyncio.wait_for(asyncio.gather(*known), 30)
        assert not new.done()
    assert await new is not None


async def test_those_with_limits_for_single_models_alone_are_asked_for(rig: Rig) -> None:
    assert await rig.scopes.wanted() == (False, False)
    await rig.put("customer:c", {"m": ModelLimit(rpm=1)})
    assert await rig.scopes.wanted() == (True, False)
    await rig.put("tag:t", {"m": ModelLimit(rpm=1)})
    assert await rig.scopes.wanted() == (True, True)
