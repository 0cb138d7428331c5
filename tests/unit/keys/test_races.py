"""What happens to a key between its being read for a change and the change's being written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from penstock.keys.models import VirtualKey
from penstock.ledger.records import decode
from tests.conftest import FakeApp
from tests.unit.ledger.test_usage import record

pytestmark = pytest.mark.usefixtures("at_rest")


def between(fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Awaitable[Any]]) -> None:
    """Have something happen once, after a key was read and before it is written."""
    keys, left = fake_app.runtime.keys, [happens]

    async def admit(key: VirtualKey, names: set[str]) -> None:
        if left:
            await left.pop()()

    monkeypatch.setattr(keys, "_admit", admit)


async def test_a_block_is_not_undone_by_who_did_not_see_it(fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    token = (await fake_app.new_key())["token"]

    async def another_process_blocks() -> None:
        async with fake_app.runtime.database.transaction() as tx:
            await tx.execute("UPDATE keys SET blocked = 1, revision = revision + 1 WHERE token = ?", (token,))

    between(fake_app, monkeypatch, another_process_blocks)
    body = {"key": token, "rpm_limit": 3}
    answer = await fake_app.client.post("/key/update", headers=fake_app.admin, json=body)
    assert answer.status_code == 200, answer.text
    key = await fake_app.runtime.keys.get(token)
    assert (key.blocked, key.rpm_limit) == (True, 3)
    assert fake_app.engine.keys[token]["blocked"] is True


@pytest.mark.parametrize("path, more, spent", [("regenerate", {}, 700), ("update", {"spend": 0.000001}, 1_700)])
async def test_what_is_charged_meanwhile_is_not_lost(
    fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch, path: str, more: dict[str, Any], spent: int
) -> None:
    token = (await fake_app.new_key(max_budget=1))["token"]
    (one,) = decode(msgspec.json.encode([list(record(1, token, cost=700).values())]))

    async def settlement_charges() -> None:
        async with fake_app.runtime.database.transaction() as tx:
            await fake_app.runtime.keys.charge(tx, [one])

    between(fake_app, monkeypatch, settlement_charges)
    answer = await fake_app.client.post(f"/key/{path}", headers=fake_app.admin, json={"key": token, **more})
    assert answer.status_code == 200, answer.text
    present = answer.json()["token"] if path == "regenerate" else token
    key = await fake_app.runtime.keys.get(present)
    assert key.total_spend == spent, "what was spent ever only grows"
    assert key.spend == (700 if path == "regenerate" else 1_000)
