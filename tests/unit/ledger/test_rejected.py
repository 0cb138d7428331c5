"""A record that the ledger refuses is put aside; every other one is accounted for."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from penstock.ledger.rejected import FILE_NAME
from penstock.persistence import DatabaseUnavailable
from tests.conftest import FakeApp
from tests.unit.ledger.test_usage import record

pytestmark = pytest.mark.usefixtures("at_rest")


async def _rejected(fake_app: FakeApp) -> list[dict[str, Any]]:
    return [dict(row) for row in await fake_app.runtime.database.fetch_all("SELECT * FROM usage_rejected ORDER BY at")]


async def _written(fake_app: FakeApp) -> list[str]:
    rows = await fake_app.runtime.database.fetch_all("SELECT call_id FROM usage ORDER BY id")
    return [str(row["call_id"]) for row in rows]


# What SQLite cannot hold, what its column does not take, what is not text, what the decoder refuses, what lacks a field.
BAD: list[dict[str, Any]] = [
    {"cost": 2**63},
    {"call_id": None},
    {"end_user": "planted-\ud800"},
    {"prompt_tokens": "planted"},
    {"tags": ["planted"]},
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: next(iter(bad)))
async def test_one_bad_record_stops_no_other(
    fake_app: FakeApp, bad: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    key = await fake_app.new_key()
    token = key["token"]
    fake_app.engine.usage = [record(1, token), {**record(2, token), **bad}, record(3, token)]
    with caplog.at_level(logging.CRITICAL):
        await fake_app.runtime.usage.flush()
    assert fake_app.engine.usage == []
    assert await _written(fake_app) == ["c1", "c3"]
    (kept,) = await _rejected(fake_app)
    assert json.loads(kept["record"])[0]["event_id"] == "c2:1"
    assert kept["reason"]
    info = await fake_app.client.get("/key/info", headers=fake_app.admin, params={"key": token})
    assert info.json()["info"]["spend"] == 2_000 / 1e9
    (line,) = [line for line in caplog.records if vars(line).get("event") == "usage.rejected"]
    assert (vars(line)["records"], vars(line)["kept_in"]) == (1, ["table usage_rejected"])
    assert "planted" not in str(vars(line)), "what a client wrote is not logged"
    assert token not in str(vars(line))
    metrics = (await fake_app.client.get("/metrics", headers=fake_app.admin)).text
    assert "\npenstock_usage_rejected_total 1\n" in metrics


async def test_a_key_whose_spend_cannot_grow_stops_no_other(fake_app: FakeApp) -> None:
    full, other = await fake_app.new_key(), await fake_app.new_key()
    async with fake_app.runtime.database.transaction() as tx:
        await tx.execute(
            "UPDATE keys SET spend = ?, total_spend = ? WHERE token = ?", (*[2**63 - 1] * 2, full["token"])
        )
    fake_app.engine.usage = [record(number, (full, other)[number % 2]["token"]) for number in range(1, 601)]
    await fake_app.runtime.usage.flush()
    assert fake_app.engine.usage == []
    assert len(await _written(fake_app)) == 600, "they are in the ledger, but nobody could be charged"
    assert len(await _rejected(fake_app)) == 300
    assert (await fake_app.runtime.keys.find(other["token"])).spend == 300_000
    assert await fake_app.runtime.database.fetch_all("SELECT * FROM ledger_pending") == []
    assert (await fake_app.runtime.spend.totals()).calls == 600


async def test_a_record_that_comes_twice_is_kept_once(fake_app: FakeApp) -> None:
    for _ in range(2):
        fake_app.engine.usage = [record(1, "t", cost=2**63)]
        await fake_app.runtime.usage.flush()
    assert len(await _rejected(fake_app)) == 1


async def test_without_the_table_a_private_file_takes_it(fake_app: FakeApp) -> None:
    async with fake_app.runtime.database.transaction() as tx:
        await tx.execute("DROP TABLE usage_rejected")
    fake_app.engine.usage = [record(1, "t", cost=2**63), record(2, "t"), record(3, "t", cost=2**64)]
    await fake_app.runtime.usage.flush()
    assert await _written(fake_app) == ["c2"]
    file = fake_app.runtime.settings.data_dir / FILE_NAME
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [json.loads(line["record"])[0]["call_id"] for line in lines] == ["c1", "c3"]
    assert file.stat().st_mode & 0o777 == 0o600


async def test_the_file_has_a_record_once_however_often_it_comes(fake_app: FakeApp) -> None:
    async with fake_app.runtime.database.transaction() as tx:
        await tx.execute("DROP TABLE usage_rejected")
    for _ in range(3):
        place = await fake_app.runtime.rejected.keep(b"[1]", ValueError("no"))
        assert place == FILE_NAME
    await fake_app.runtime.rejected.keep(b"[2]", ValueError("no"))
    assert len((fake_app.runtime.settings.data_dir / FILE_NAME).read_text().splitlines()) == 2
    assert fake_app.runtime.rejected.count == 2


async def test_what_can_be_kept_nowhere_stays_in_the_queue(fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    await fake_app.runtime.usage.stop()
    async with fake_app.runtime.database.transaction() as tx:
        await tx.execute("DROP TABLE usage_rejected")
    file = fake_app.runtime.settings.data_dir / FILE_NAME
    file.mkdir()
    fake_app.engine.usage = [record(1, "t"), record(2, "t", cost=2**63), record(3, "t")]
    with pytest.raises(DatabaseUnavailable, match="nowhere"):
        await fake_app.runtime.usage.flush()
    assert [waiting["call_id"] for waiting in fake_app.engine.usage] == ["c2", "c3"]
    file.rmdir()
    await fake_app.runtime.usage.flush()
    assert await _written(fake_app) == ["c1", "c3"]
    assert fake_app.runtime.rejected.count == 1
