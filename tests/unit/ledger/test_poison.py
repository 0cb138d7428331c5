"""A record that the database always refuses: how often it is tried, and that it costs no other one anything."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import asyncpg
import pytest

from penstock.ledger import coworker, wire
from penstock.ledger.apply import Applied, Ledger
from penstock.ledger.coworker import Coworker
from penstock.ledger.records import Batch
from penstock.persistence import DatabaseUnavailable
from penstock.shared.redis import SharedRedis
from tests.unit.ledger.test_apply import numbered

Refusals = Callable[[], Awaitable[int]]

_TRIES = 5
"""Of a transaction, before its entries are written apart from each other."""
_BAD = "b3"
_OTHERS = ["a1", "a2", "a3", "a4", "b1", "b2", "b4", "b5"]
_REFUSING = f"""
CREATE SEQUENCE refusals;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('refusals');
    RAISE check_violation;
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON usage FOR EACH ROW WHEN (NEW.call_id = '{_BAD}') EXECUTE FUNCTION refuse();
"""
"""What a sequence counts stays counted when the transaction is rolled back."""
_REFUSED = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM refusals"
_LONGEST = 100


@pytest.fixture
async def refusals(ledger: Ledger, database_url: str) -> AsyncIterator[Refusals]:
    """From now on the database refuses one record; how often it did."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(_REFUSING)

    async def count() -> int:
        return int(await connection.fetchval(_REFUSED))

    yield count
    await connection.close()


async def _written(ledger: Ledger) -> list[str]:
    rows = await ledger.store.database.fetch_all("SELECT call_id FROM usage ORDER BY call_id")
    return [str(row["call_id"]) for row in rows]


async def _totals(ledger: Ledger) -> tuple[int, int]:
    """Calls and cost of the sums."""
    row = await ledger.store.database.fetch_one("SELECT calls, cost FROM spend_totals WHERE scope = 'all'")
    assert row is not None
    return int(row["calls"] or 0), int(row["cost"] or 0)


async def _put_aside(ledger: Ledger) -> list[str]:
    """The calls of the records that were."""
    rows = await ledger.store.database.fetch_all("SELECT record FROM usage_rejected")
    return [str(one["call_id"]) for row in rows for one in json.loads(str(row["record"]))]


async def _left(shared: SharedRedis) -> tuple[int, int]:
    """Entries of the stream, and those that somebody has and did not acknowledge."""
    waiting = await shared.client.xpending(wire.STREAM, wire.GROUP)
    return int(await shared.client.xlen(wire.STREAM)), int(waiting["pending"])


async def _marks(shared: SharedRedis, *incarnations: str) -> list[int]:
    return [await wire.progress_of(shared, one) for one in incarnations]


def _told(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    return [vars(line) for line in caplog.records if vars(line).get("event") == event]


def _transactions(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[str, int]]]:
    """What is tried together from now on: incarnations and how many records of each."""
    tried: list[list[tuple[str, int]]] = []
    commit = ledger.commit

    async def noted(batches: Sequence[Batch], *, gently: bool = False) -> Applied:
        tried.append([(batch.incarnation, batch.count) for batch in batches])
        return await commit(batches, gently=gently)

    monkeypatch.setattr(ledger, "commit", noted)
    return tried


async def test_a_refused_record_is_put_aside_after_so_many_tries_and_all_others_are_written(
    shared: SharedRedis, ledger: Ledger, refusals: Refusals, caplog: pytest.LogCaptureFixture
) -> None:
    for batch in (numbered("a", 1, 4), numbered("b", 1, 5)):
        assert await wire.add(shared, batch, _LONGEST)
    one = Coworker(shared, ledger)
    assert await one.drain() == 2
    assert len(_told(caplog, "coworker.refused")) == _TRIES
    assert await refusals() == _TRIES + 2, "then with its own entry, and then alone"
    assert one.applied == len(_OTHERS)
    assert await _written(ledger) == _OTHERS
    assert await _put_aside(ledger) == [_BAD]
    assert await _totals(ledger) == (8, 10 + 15 - 3)
    assert await _left(shared) == (0, 0)
    assert await _marks(shared, "a", "b") == [4, 5]
    (told,) = _told(caplog, "usage.rejected")
    assert (told["records"], told["call_ids"]) == (1, [_BAD])
    # Its gateway has not heard of it, and brings it again.
    assert await wire.add(shared, numbered("b", 1, 5), _LONGEST)
    assert await Coworker(shared, ledger).drain() == 1
    assert await refusals() == _TRIES + 2, "what was put aside is not tried any more"
    assert await _put_aside(ledger) == [_BAD]
    assert await _totals(ledger) == (8, 10 + 15 - 3)


async def test_a_record_is_put_aside_once_by_two_coworkers_of_which_the_first_came_no_further(
    shared: SharedRedis, ledger: Ledger, refusals: Refusals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coworker, "_CLAIM_IDLE_MS", 0)
    assert await wire.add(shared, numbered("b", 1, 5), _LONGEST)

    async def lost(batch: Batch) -> Applied:
        raise DatabaseUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "_commit_skip", lost)
        with pytest.raises(DatabaseUnavailable):
            await Coworker(shared, ledger).drain()
    assert await _put_aside(ledger) == [_BAD]
    assert await _left(shared) == (1, 1), "it is not acknowledged"
    other = Coworker(shared, ledger)
    assert await other.drain() == 1
    assert await _put_aside(ledger) == [_BAD]
    assert await _written(ledger) == ["b1", "b2", "b4", "b5"]
    assert other.applied == 2, "what the first has written changes nothing"
    assert await _totals(ledger) == (4, 15 - 3)
    assert await _left(shared) == (0, 0)


@pytest.mark.parametrize("deaths", [_TRIES - 1, _TRIES])
async def test_an_entry_that_coworkers_died_of_is_written_apart_and_not_tried_again(
    shared: SharedRedis,
    ledger: Ledger,
    refusals: Refusals,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    deaths: int,
) -> None:
    monkeypatch.setattr(coworker, "_CLAIM_IDLE_MS", 0)
    for batch in (numbered("a", 1, 4), numbered("b", 1, 5), numbered("c", 1, 3)):
        assert await wire.add(shared, batch, _LONGEST)
    await _taken_by_the_dead(shared, deaths)
    tried = _transactions(ledger, monkeypatch)
    await Coworker(shared, ledger).drain()
    together = [("a", 4), ("b", 5), ("c", 3)]
    singly = [[("b", 5)]] + [[("b", 1)]] * 5
    if deaths < _TRIES:
        assert tried == [together] * _TRIES + [[("a", 4)], *singly, [("c", 3)]]
    else:
        assert tried == [*singly, [("a", 4), ("c", 3)]]
    assert len(_told(caplog, "coworker.refused")) == (_TRIES if deaths < _TRIES else 0)
    assert await refusals() == (_TRIES if deaths < _TRIES else 0) + 2
    assert await _written(ledger) == sorted([*_OTHERS, "c1", "c2", "c3"])
    assert await _put_aside(ledger) == [_BAD]
    assert await _left(shared) == (0, 0)
    assert await _marks(shared, "a", "b", "c") == [4, 5, 3]


async def _taken_by_the_dead(shared: SharedRedis, deaths: int) -> None:
    """All entries were read by one, and the second of them was taken over again and again."""
    await shared.client.xgroup_create(wire.STREAM, wire.GROUP, id="0")
    found = await shared.client.xreadgroup(wire.GROUP, "dead-1", {wire.STREAM: ">"}, count=10)
    entries = [id for id, _ in found[0][1]]
    for number in range(2, deaths + 1):
        await shared.client.xclaim(wire.STREAM, wire.GROUP, f"dead-{number}", 0, [entries[1]])
    waiting = await shared.client.xpending_range(wire.STREAM, wire.GROUP, min="-", max="+", count=10)
    assert [one["times_delivered"] for one in waiting] == [1, deaths, 1]
