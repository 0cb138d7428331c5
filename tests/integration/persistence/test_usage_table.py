"""The table of calls in PostgreSQL: a partition per month, and each event once."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from penstock.persistence import Conflict, Database
from tests.integration.persistence.conftest import Open

COLUMNS = (
    "event_id, call_id, seq, started_at, surface, route, token, model, model_group, deployment_id, provider, upstream_model,"
    " stream, status, outcome, prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, reasoning_tokens,"
    " usage_source, cost, price_version, snapshot_version, duration_us, overhead_us, attempts, cache, tags, request_bytes,"
    " response_bytes"
)
INSERT = (
    f"INSERT INTO usage ({COLUMNS}) VALUES (?, 'c', 1, ?, '', '', 't', '', '', '', '', '', 0, 200, 'ok', 1, 2, 0, 0, 0, '',"
    " 5, '', 1, 1, 1, 1, '', '[]', 1, 1)"
)


def at(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 1000


async def add(database: Database, event: str, started_at: int, more: str = "") -> int:
    return await database.run(lambda tx: tx.execute(INSERT + more, (event, started_at)))


async def place_of(database: Database, event: str) -> object:
    row = await database.fetch_one("SELECT tableoid::regclass::text AS place FROM usage WHERE event_id = ?", (event,))
    return row and row["place"]


async def test_records_are_in_their_month(database_url: str, open_postgres: Open) -> None:
    database = await open_postgres(database_url)
    now = datetime.now(UTC)
    year, month = (now.year, now.month + 1) if now.month < 12 else (now.year + 1, 1)
    next_month = at(year, month)
    await add(database, "now:1", int(now.timestamp() * 1000))
    await add(database, "last:1", next_month - 1)
    await add(database, "next:1", next_month)
    await add(database, "far:1", at(2999, 1))
    places = [await place_of(database, f"{event}:1") for event in ("now", "last", "next", "far")]
    this = f"usage_{now:%Y_%m}"
    assert places == [this, this, f"usage_{year}_{month:02}", "usage_default"]


async def test_an_event_is_in_the_ledger_once(database_url: str, open_postgres: Open) -> None:
    database = await open_postgres(database_url)
    assert await add(database, "a:1", at(2026, 5)) == 1
    with pytest.raises(Conflict) as caught:
        await add(database, "a:1", at(2026, 5))
    assert "a:1" not in str(caught.value), "the row is nobody's business"
    for conflict in ("", " (event_id, started_at)"):
        assert await add(database, "a:1", at(2026, 5), f" ON CONFLICT{conflict} DO NOTHING") == 0


async def test_the_events_of_a_call_are_found_by_the_bytes_of_their_beginning(
    database_url: str, open_postgres: Open
) -> None:
    database = await open_postgres(database_url)
    # By the rules of most languages a hyphen hardly counts, and capitals stand beside small letters.
    for event in ("ab-c:1", "ab-c:2", "abc:1", "AB-C:1", "ab-cd:1"):
        await add(database, event, at(2026, 5))
    rows = await database.fetch_all(
        "SELECT event_id FROM usage WHERE event_id > ? AND event_id < ? ORDER BY event_id", ("ab-c:", "ab-c;")
    )
    assert [row["event_id"] for row in rows] == ["ab-c:1", "ab-c:2"]
