"""Settlement: every record once, spend where it belongs, nothing lost when the database fails."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.engine.events import UsageRecord
from penstock.engine.readiness import StoreHealth
from penstock.ledger import direct
from penstock.ledger.apply import Ledger
from penstock.ledger.direct import UsageWriter
from penstock.ledger.queue import EngineQueue
from penstock.ledger.rejected import Rejected
from penstock.ledger.store import LedgerStore
from penstock.persistence import DatabaseUnavailable, SqliteDatabase, Transaction
from penstock.spend.service import SpendService
from penstock.spend.store import SpendStore
from tests.conftest import FakeApp

pytestmark = pytest.mark.usefixtures("at_rest")

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
        "key_alias": "",
        "user_id": "",
        "team_id": "",
        "org_id": "",
        "end_user": "",
        "model": "demo",
        "model_group": "demo",
        "deployment_id": "demo",
        "provider": "simulator",
        "upstream_model": "demo",
        "stream": 0,
        "status": 200,
        "outcome": "ok",
        "error_code": "",
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
        "tags": '["a"]',
        "request_bytes": 8,
        "response_bytes": 9,
        **fields,
    }


async def test_what_waits_to_be_charged_is_bounded_however_much_is_queued(fake_app: FakeApp) -> None:
    key = await fake_app.new_key()
    fake_app.engine.usage = [record(number, key["token"]) for number in range(1, 10_001)]
    # Somebody else's figures: what is written for them need not be charged yet.
    await fake_app.runtime.usage.catch_up(["0" * 64])
    waiting = await fake_app.runtime.database.fetch_one(
        "SELECT SUM(last_id - first_id + 1) AS records FROM ledger_pending"
    )
    assert waiting is not None
    assert 0 < waiting["records"] <= 4_096
    spent = await fake_app.runtime.database.fetch_one("SELECT spend FROM keys WHERE token = ?", (key["token"],))
    assert spent is not None
    assert spent["spend"] == (10_000 - waiting["records"]) * 1_000
    await fake_app.runtime.usage.flush()
    assert (await fake_app.runtime.keys.find(key["token"])).spend == 10_000_000


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


async def test_records_that_are_there_already_are_told_from_those_between_them(fake_app: FakeApp) -> None:
    key = await fake_app.new_key()
    fake_app.engine.usage = [record(number, key["token"]) for number in range(1, 600, 3)]
    await fake_app.runtime.usage.flush()
    fake_app.engine.usage = [record(number, key["token"]) for number in range(1, 600)]
    assert await fake_app.runtime.usage.flush() == 599
    assert (await fake_app.runtime.keys.find(key["token"])).spend == 599_000
    rows = await fake_app.runtime.database.fetch_all("SELECT event_id FROM usage")
    assert {row["event_id"] for row in rows} == {f"c{number}:1" for number in range(1, 600)}
    assert len(rows) == fake_app.runtime.usage.written == 599
    assert (await fake_app.runtime.spend.totals()).calls == 599


async def test_every_key_of_a_batch_pays_its_own(fake_app: FakeApp) -> None:
    keys = [(await fake_app.new_key())["token"] for _ in range(75)]
    await fake_app.client.post("/key/delete", headers=fake_app.admin, json={"keys": keys[:1]})
    fake_app.engine.usage = [
        record(number, keys[number % 75], cost=number % 75, started_at=NOW + number) for number in range(1, 301)
    ]
    await fake_app.runtime.usage.flush()
    found = [await fake_app.runtime.keys.find(token) for token in keys]
    assert found[0] is None
    assert [key.spend for key in found[1:]] == [4 * place for place in range(1, 75)]
    assert found[1].last_active_at == NOW + 226


async def test_what_is_absent_is_null_in_the_ledger(fake_app: FakeApp) -> None:
    fake_app.engine.usage = [record(1, "t", ttft_us=-1), record(2, "t", ttft_us=0, end_user="u", error_code="e")]
    await fake_app.runtime.usage.flush()
    columns = "key_alias, user_id, team_id, org_id, end_user, error_code, ttft_us"
    rows = await fake_app.runtime.database.fetch_all(f"SELECT {columns} FROM usage ORDER BY id")
    assert [list(row.values()) for row in rows] == [[None] * 7, [None, None, None, None, "u", "e", 0]]


async def test_every_column_comes_back_whoever_called_beside_whom(fake_app: FakeApp) -> None:
    """Rows that agree are written together, and what they agree in is bound once."""
    kinds: list[dict[str, Any]] = [
        {"token": "one"},
        {"token": "two", "key_alias": "alias", "user_id": "u", "team_id": "t", "org_id": "o", "end_user": "e"},
        {"token": "one", "model": "m", "model_group": "g", "upstream_model": "um", "deployment_id": "d", "tags": "[]"},
        {"token": "", "status": 500, "outcome": "error", "error_code": "c", "provider": "p", "cache": "miss"},
        {"token": "two", "stream": 1, "attempts": 3, "usage_source": "none", "price_version": "w", "route": "/r"},
    ]
    expected = []
    # Long and short runs, and such as are interleaved with others.
    for number in range(1, 501):
        kind = kinds[0] if number <= 150 else kinds[1 + number % 4] if number <= 300 else kinds[number // 20 % 5]
        own = {"prompt_tokens": number, "cost": 7 * number, "request_bytes": number % 3, "ttft_us": number % 5 - 1}
        expected.append(record(number, **{"token": "one", **own, **kind}))
    fake_app.engine.usage = list(expected)
    assert await fake_app.runtime.usage.flush() == 500
    rows = await fake_app.runtime.database.fetch_all("SELECT * FROM usage ORDER BY seq")
    found = [{name: value for name, value in row.items() if name != "id"} for row in rows]
    nullable = ("key_alias", "user_id", "team_id", "org_id", "end_user", "error_code")
    for one in expected:
        one.update({name: None for name in nullable if one[name] == ""})
        one["ttft_us"] = None if one["ttft_us"] == -1 else one["ttft_us"]
    assert found == expected


@pytest.mark.parametrize(
    "written, within_s, pause",
    [(0, 1.0, 0.25), (3, 0.25, 0.25), (512, 0.1, 0.1), (6_000, 0.25, 512 / 24_000), (100_000, 0.25, 0.02)],
)
def test_the_writer_waits_for_about_a_batch_within_bounds(written: int, within_s: float, pause: float) -> None:
    assert direct._pause(written, within_s, 0.25) == pytest.approx(pause)


async def test_records_wait_for_a_database_that_fails(fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    key = await fake_app.new_key()
    fake_app.engine.usage = [record(1, key["token"])]

    async def fail(*_: object) -> None:
        raise DatabaseUnavailable("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(fake_app.runtime.ledger.store, "postpone", fail)
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
    assert b'"spend":123,"spend_version":1' in answers[0]
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
        record(number, "t", started_at=NOW, user_id="u" if number == 3 else "") for number in range(1, 8)
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
    fake_app.engine.usage = [record(55, "t", started_at=NOW - 1), record(8, "t", event_id="c5:2", call_id="c5")]
    for wanted, ids in (
        ({"user_id": "u"}, ["c3"]),
        ({"request_id": "c5"}, ["c5", "c5"]),
        ({"end_date": "2020-01-01"}, []),
    ):
        answer = await fake_app.client.get("/spend/logs", headers=fake_app.admin, params=wanted)
        assert [row["request_id"] for row in answer.json()] == ids
    for name, value in (("cursor", "nonsense"), ("start_date", "soon"), ("limit", "0")):
        answer = await fake_app.client.get("/spend/logs", headers=fake_app.admin, params={name: value})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, name)


@pytest.mark.parametrize("keeps_logs", [True, False])
@pytest.mark.parametrize("postpones", [True, False])
@pytest.mark.parametrize("turns", range(1, 6))
async def test_who_is_cancelled_leaves_no_record_to_be_counted_twice(
    tmp_path: Path, keeps_logs: bool, postpones: bool, turns: int
) -> None:
    class Queue:
        """One batch, until it is acknowledged."""

        def __init__(self) -> None:
            rows = [
                [record(seq, "")[field] if field != "seq" else seq for field in UsageRecord.__struct_fields__]
                for seq in range(1, 101)
            ]
            self.waiting = [msgspec.json.encode(rows)]

        def take_usage(self, limit: int, after: int = 0) -> bytes:
            return self.waiting[0] if self.waiting else b"[]"

        def ack_usage(self, seq: int) -> None:
            self.waiting.clear()

        def recovered_usage(self, after: int = 0) -> bytes:
            return b"[]"

        def recovered_damage(self) -> int:
            return 0

        def forget_recovered(self) -> None:
            return

    charged: list[int] = []

    async def charge(tx: Transaction, records: list[UsageRecord]) -> None:
        charged.append(len(records))

    database = await SqliteDatabase.open(tmp_path / "a.db")
    try:
        store = LedgerStore(database)
        ledger = Ledger(store, Rejected(store.put_aside, tmp_path), postpones=postpones)
        ledger.keeps_rows = keeps_logs
        ledger.attach(charge)
        writer = UsageWriter(EngineQueue(Queue(), "i"), ledger, StoreHealth())
        task = asyncio.ensure_future(writer.flush())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await writer.flush()
        assert (await SpendService(SpendStore(database)).totals()).calls == 100
        assert sum(charged) == 100
    finally:
        await database.close()


async def test_a_journal_that_cannot_be_removed_does_not_hinder_the_start(
    fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    token = (await fake_app.new_key())["token"]
    fake_app.engine.recovered = [{"incarnation": "former", "row": list(record(1, token, cost=70).values())}]

    def refuse() -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(fake_app.engine, "forget_recovered", refuse)
    for _ in range(2):
        await fake_app.runtime.accounting.replay()
    assert "cannot be removed" in caplog.text
    assert (await fake_app.runtime.keys.find(token)).spend == 70
