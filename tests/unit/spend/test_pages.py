"""Pages hold every call once whatever is written meanwhile, sums agree with the ledger, and every question has an index."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.engine.events import UsageRecord
from penstock.errors import ApiError
from penstock.ledger.rollups import DAY_MS, rollups
from penstock.ledger.store import LedgerStore
from penstock.persistence import SqliteDatabase, Transaction
from penstock.spend.models import Cursor, Days, LogFilter, Sums
from penstock.spend.service import SpendService
from penstock.spend.store import SpendStore, logs_query

_ids = count()
NOW = 1_780_000_000_000
TOKENS = ("a" * 64, "b" * 64, "c" * 64)


def record(**fields: Any) -> UsageRecord:
    """A usage record; an event id of its own unless told."""
    number = next(_ids)
    values: dict[str, Any] = {
        name: 0 if kind == "int" else "" for name, kind in UsageRecord.__annotations__.items() if name != "seq"
    }
    values |= {"event_id": f"call-{number}:1", "call_id": f"call-{number}", "seq": number, "started_at": NOW}
    values |= {"token": TOKENS[0], "outcome": "ok", "tags": "[]", "ttft_us": -1, "cache": "off", "model": "m"}
    return UsageRecord(**{**values, **fields})


records = st.builds(
    record,
    started_at=st.integers(NOW - 3 * DAY_MS, NOW).map(lambda at: at - at % 7),
    token=st.sampled_from(TOKENS),
    user_id=st.sampled_from(("", "u1", "u2")),
    team_id=st.sampled_from(("", "t1")),
    model_group=st.sampled_from(("", "gpt", "claude")),
    provider=st.sampled_from(("", "openai")),
    outcome=st.sampled_from(("ok", "error")),
    cost=st.integers(0, 10**12),
    prompt_tokens=st.integers(0, 1000),
    completion_tokens=st.integers(0, 1000),
    tags=st.sampled_from(("[]", '["x"]', '["x","y"]')),
)


async def write(store: LedgerStore, batch: list[UsageRecord]) -> None:
    """As the ledger does: rows, and sums of what was new."""

    async def work(tx: Transaction) -> None:
        fresh = await store.insert(tx, batch)
        await store.add_rollups(tx, rollups(fresh))

    await store.database.run(work)


async def walked(
    spend: SpendService, where: LogFilter, size: int, meanwhile: Iterator[list[UsageRecord]], store: LedgerStore
) -> list[dict[str, Any]]:
    """Every row of every page, with something written between the pages."""
    seen: list[dict[str, Any]] = []
    cursor: Cursor | None = None
    while True:
        rows, following = await spend.logs(where, cursor, size)
        assert len(rows) <= size
        seen += rows
        if following is None:
            return seen
        await write(store, next(meanwhile, []))
        cursor = Cursor.decode(following)


@settings(max_examples=25, deadline=None)
@given(
    before=st.lists(records, min_size=1, max_size=40),
    meanwhile=st.lists(st.lists(records, max_size=3), max_size=6),
    size=st.integers(1, 9),
    tokens=st.sampled_from((None, [TOKENS[0]], [TOKENS[1], TOKENS[2]], list(TOKENS))),
)
def test_pages_hold_what_was_there_once_and_sums_agree(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[UsageRecord],
    meanwhile: list[list[UsageRecord]],
    size: int,
    tokens: list[str] | None,
) -> None:
    async def work() -> None:
        database = await SqliteDatabase.open(tmp_path_factory.mktemp("spend") / "penstock.db")
        try:
            store, spend = LedgerStore(database), SpendService(SpendStore(database))
            await write(store, before)
            await write(store, before)  # again: nothing counts twice
            seen = await walked(spend, LogFilter(tokens=tokens), size, iter(meanwhile), store)
            calls = [row["request_id"] for row in seen]
            assert len(set(calls)) == len(calls), "no row twice"
            there = {one.call_id for one in before if tokens is None or one.token in tokens}
            assert there <= set(calls), "no row left out"
            at = [(row["startTime"]) for row in seen]
            assert at == sorted(at, reverse=True)
            await agree(spend)
        finally:
            await database.close()

    asyncio.run(work())


async def agree(spend: SpendService) -> None:
    """Sums of the rollups are sums over the pages."""
    rows: list[dict[str, Any]] = []
    cursor: Cursor | None = None
    while True:
        page, following = await spend.logs(LogFilter(), cursor, 1000)
        rows += page
        if following is None:
            break
        cursor = Cursor.decode(following)
    within = Days(0, NOW + 10 * DAY_MS)
    expected: dict[str, dict[str, Sums]] = {}
    for row in rows:
        told = row["metadata"]
        sums = Sums(
            1,
            int(row["status"] != "success"),
            row["prompt_tokens"],
            row["completion_tokens"],
            told["cached_tokens"],
            told["reasoning_tokens"],
            told["cost_nanodollars"],
        )
        names = {"key": [row["api_key"]], "user": [row["user"]], "team": [row["team_id"]], "all": ["all"]}
        names |= {"model": [row["model_group"]], "provider": [row["custom_llm_provider"]], "tag": row["request_tags"]}
        for dimension, listed in names.items():
            for name in listed:
                if name:
                    expected.setdefault(dimension, {}).setdefault(name, Sums()).add(sums)
    for dimension in ("all", "key", "user", "team", "model", "provider", "tag"):
        found = dict(await spend.reports.top(dimension, within))  # type: ignore[arg-type]
        assert found == expected.get(dimension, {}), dimension
    for token, sums in expected["key"].items():
        by_model = await spend.reports.models_of("key", token, within)
        named = sum(
            row["metadata"]["cost_nanodollars"] for row in rows if row["api_key"] == token and row["model_group"]
        )
        assert sum(one.cost for _, one in by_model) == named
        assert sums.calls == sum(one.calls for _, one in await spend.reports.by_day("key", [token], within))


FILTERS: dict[str, LogFilter] = {
    "nothing": LogFilter(),
    "a key": LogFilter(tokens=[TOKENS[0]]),
    "a user": LogFilter(user_id="u"),
    "a range": LogFilter(start=1, end=2),
    "a key in a range": LogFilter(tokens=[TOKENS[0]], start=1, end=2),
    "a user in a range": LogFilter(user_id="u", start=1, end=2),
    "a team in a range": LogFilter(team_id="t", start=1, end=2),
    "everything in a range": LogFilter(
        start=1, end=2, end_user="e", model_group="m", is_ok=True, min_cost=1, max_cost=2
    ),
}


@pytest.mark.parametrize("is_later", [False, True])
@pytest.mark.parametrize("case", FILTERS)
async def test_a_page_is_read_off_an_index_in_its_order(tmp_path: Path, case: str, is_later: bool) -> None:
    database = await SqliteDatabase.open(tmp_path / "penstock.db")
    await database.close()
    where = FILTERS[case]
    cursor = Cursor(5, 5) if is_later else None
    sql, values = logs_query(where, where.tokens[0] if where.tokens else None, cursor, 100)
    plan = _plan(tmp_path / "penstock.db", sql, values)
    assert "USING INDEX usage_by" in plan, plan
    assert "B-TREE" not in plan, plan
    if is_later or case != "nothing":
        assert "SEARCH usage" in plan, plan


async def test_one_call_is_found_by_its_id(tmp_path: Path) -> None:
    database = await SqliteDatabase.open(tmp_path / "penstock.db")
    await database.close()
    sql, values = logs_query(LogFilter(call_id="x"), None, None, 100)
    assert "(event_id>? AND event_id<?)" in _plan(tmp_path / "penstock.db", sql, values)


async def test_sums_are_never_made_of_calls(tmp_path: Path) -> None:
    database = await SqliteDatabase.open(tmp_path / "penstock.db")
    asked: list[tuple[str, Any]] = []

    class Listening(SqliteDatabase):
        async def fetch_all(self, sql: str, parameters: Any = ()) -> Any:
            asked.append((sql, parameters))
            return await SqliteDatabase.fetch_all(database, sql, parameters)

    listening = object.__new__(Listening)
    spend = SpendService(SpendStore(listening))
    within = Days(0, NOW)
    try:
        await spend.reports.top("key", within)
        await spend.reports.names("tag", within)
        await spend.reports.teams(within)
        await spend.reports.activity(within)
        await spend.reports.activity_by_model(within)
        await spend.reports.summary("all", ["all"], within)
        await spend.reports.report("team", None, within)
        await spend.reports.report("team", "t", within)
        await spend.reports.by_day("key", ["k"], within)
    finally:
        await database.close()
    assert len(asked) > 8
    for sql, values in asked:
        plan = _plan(tmp_path / "penstock.db", sql, values)
        assert "SEARCH usage_rollups USING" in plan, (sql, plan)
        assert "SCAN" not in plan, (sql, plan)


def _plan(path: Path, sql: str, values: Any) -> str:
    with sqlite3.connect(path) as connection:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", tuple(values)).fetchall()
    connection.close()
    return "\n".join(row[3] for row in rows)


async def test_an_answer_is_refused_rather_than_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.spend.store.ROWS", 3)
    database = await SqliteDatabase.open(tmp_path / "penstock.db")
    try:
        spend, within = SpendService(SpendStore(database)), Days(0, NOW + DAY_MS)
        await write(LedgerStore(database), [record(token=f"{n}" * 64, model_group="m", cost=1) for n in range(3)])
        assert len(await spend.reports.top("key", within)) == 3
        await write(LedgerStore(database), [record(token="4" * 64, model_group="m", cost=1)])
        for question in (spend.reports.top("key", within), spend.reports.report("api_key", None, within)):
            with pytest.raises(ApiError, match="fewer days"):
                await question
        assert len(await spend.reports.top("key", within, 2)) == 2
    finally:
        await database.close()
