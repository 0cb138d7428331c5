"""Settlement: every record once, spend where it belongs, nothing lost when the database fails."""

from __future__ import annotations

import time
from typing import Any

import pytest

from penstock.persistence import DatabaseUnavailable
from tests.conftest import FakeApp

NOW = int(time.time() * 1000)


def record(number: int, token: str, cost: int = 1_000, **fields: Any) -> dict[str, Any]:
    """A usage record as the data plane writes it."""
    return {
        "event_id": f"c{number}:1",
        "call_id": f"c{number}",
        "seq": number,
        "started_at": NOW + number,
        "surface": "chat",
        "route": "/v1/chat/completions",
        "token": token,
        "key_alias": None,
        "user_id": None,
        "team_id": None,
        "org_id": None,
        "end_user": None,
        "model": "demo",
        "model_group": "demo",
        "deployment_id": "demo",
        "provider": "simulator",
        "upstream_model": "demo",
        "stream": False,
        "status": 200,
        "outcome": "ok",
        "error_code": None,
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "cached_tokens": 0,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
        "usage_source": "upstream",
        "cost": cost,
        "price_version": "v",
        "snapshot_version": 1,
        "ttft_us": 5,
        "duration_us": 6_000,
        "overhead_us": 7,
        "attempts": 1,
        "cache": "off",
        "tags": ["a"],
        "request_bytes": 8,
        "response_bytes": 9,
        **fields,
    }


async def test_records_are_counted_once_however_often_they_come(fake_app: FakeApp) -> None:
    key = await fake_app.new_key()
    batch = [record(number, key["token"]) for number in range(1, 2_501)]
    fake_app.engine.usage = list(batch)
    assert await fake_app.runtime.usage.flush() == 2_500
    assert fake_app.engine.usage == []
    fake_app.engine.usage = [*batch[-3:], record(2_501, key["token"], cost=5), record(2_501, key["token"], cost=5)]
    await fake_app.runtime.usage.flush()
    info = (await fake_app.client.get("/key/info", headers=fake_app.admin, params={"key": key["token"]})).json()["info"]
    assert info["spend"] == info["total_spend"] == 2_500_005 / 1e9
    totals = (await fake_app.client.get("/global/spend", headers=fake_app.admin)).json()
    assert (totals["calls"], totals["prompt_tokens"], totals["completion_tokens"]) == (2_501, 7_503, 10_004)


async def test_records_wait_for_a_database_that_fails(fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    key = await fake_app.new_key()
    fake_app.engine.usage = [record(1, key["token"])]

    async def fail(*_: object) -> None:
        raise DatabaseUnavailable("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(fake_app.runtime.usage, "_charge", fail)
        with pytest.raises(DatabaseUnavailable):
            await fake_app.runtime.usage.flush()
        assert len(fake_app.engine.usage) == 1
        assert await fake_app.runtime.database.fetch_all("SELECT * FROM usage") == []
    assert await fake_app.runtime.usage.flush() == 1
    assert len(await fake_app.runtime.database.fetch_all("SELECT * FROM usage")) == 1


async def test_a_lookup_contains_everything_settled_before(fake_app: FakeApp) -> None:
    key = await fake_app.new_key(max_budget=1)
    fake_app.engine.usage = [record(7, key["token"], cost=123)]
    answers: list[bytes] = []
    await fake_app.runtime.keys.answer_lookup(key["token"], answers.append)
    assert b'"spend":123,"spend_version":7' in answers[0]
    await fake_app.runtime.keys.answer_lookup("0" * 64, answers.append)
    assert answers[1] == b"null"


async def test_a_budget_window_is_reset_exactly_once(fake_app: FakeApp) -> None:
    key = await fake_app.new_key(max_budget=1, budget_duration="1h")
    token = key["token"]
    fake_app.engine.usage = [record(1, token, cost=500)]
    await fake_app.runtime.usage.flush()
    async with fake_app.runtime.database.transaction() as tx:
        await tx.execute("UPDATE keys SET budget_reset_at = ? WHERE token = ?", (NOW - 10, token))
    assert await fake_app.runtime.keys.sweep_windows() == 1
    told = fake_app.engine.keys[token]
    assert told["spend"] == 0
    assert told["budget_reset_at"] > NOW
    assert await fake_app.runtime.keys.sweep_windows() == 0
    late, new = (
        record(2, token, cost=7, started_at=NOW - 3_600_000),
        record(3, token, cost=9, started_at=NOW + 3_600_000),
    )
    fake_app.engine.usage = [late, new]
    await fake_app.runtime.usage.flush()
    found = await fake_app.runtime.keys.find(token)
    assert (found.spend, found.total_spend) == (9, 516)


async def test_settlement_begins_the_next_window_itself(fake_app: FakeApp) -> None:
    key = await fake_app.new_key(max_budget=1, budget_duration="1h")
    fake_app.engine.usage = [record(1, key["token"], cost=500)]
    await fake_app.runtime.usage.flush()
    async with fake_app.runtime.database.transaction() as tx:
        await tx.execute("UPDATE keys SET budget_reset_at = ?", (NOW - 10,))
    fake_app.engine.usage = [record(2, key["token"], cost=9, started_at=NOW + 3_600_000)]
    await fake_app.runtime.usage.flush()
    found = await fake_app.runtime.keys.find(key["token"])
    assert (found.spend, found.total_spend) == (9, 509)


async def test_calls_under_the_old_secret_are_still_the_key_s(fake_app: FakeApp) -> None:
    old = await fake_app.new_key()
    new = (await fake_app.client.post(f"/key/{old['key']}/regenerate", headers=fake_app.admin)).json()
    fake_app.engine.usage = [record(1, old["token"], cost=11), record(2, new["token"], cost=12)]
    await fake_app.runtime.usage.flush()
    assert (await fake_app.runtime.keys.find(new["token"])).spend == 23
    logs = await fake_app.client.get("/spend/logs", headers=fake_app.admin, params={"api_key": new["key"]})
    assert [row["request_id"] for row in logs.json()] == ["c2", "c1"]


async def test_logs_are_paged_by_cursor_and_filtered(fake_app: FakeApp) -> None:
    fake_app.engine.usage = [
        record(number, "t", started_at=NOW, user_id="u" if number == 3 else None) for number in range(1, 8)
    ]
    seen: list[str] = []
    parameters: dict[str, str] = {"limit": "3"}
    while True:
        answer = await fake_app.client.get("/spend/logs", headers=fake_app.admin, params=parameters)
        seen += [row["request_id"] for row in answer.json()]
        if "x-next-cursor" not in answer.headers:
            break
        parameters["cursor"] = answer.headers["x-next-cursor"]
    assert seen == [f"c{number}" for number in range(7, 0, -1)]
    for wanted, ids in (({"user_id": "u"}, ["c3"]), ({"request_id": "c5"}, ["c5"]), ({"end_date": "2020-01-01"}, [])):
        answer = await fake_app.client.get("/spend/logs", headers=fake_app.admin, params=wanted)
        assert [row["request_id"] for row in answer.json()] == ids
    for name, value in (("cursor", "nonsense"), ("start_date", "soon"), ("limit", "0")):
        answer = await fake_app.client.get("/spend/logs", headers=fake_app.admin, params={name: value})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, name)
