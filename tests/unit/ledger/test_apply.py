"""What is applied is a set: whatever the order, the grouping and the repetition of batches, the ledger ends the same."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.engine.events import UsageRecord
from penstock.ledger.accounting import make_ledger
from penstock.ledger.progress import Progress
from penstock.ledger.queue import EngineQueue, batches_of
from penstock.ledger.records import Batch
from penstock.ledger.rollups import DAY_MS, HOUR_MS, rollups
from penstock.persistence import Database, Transaction
from tests.unit.ledger.test_usage import NOW, record


def batch(incarnation: str, first: int, records: Sequence[dict[str, Any]]) -> Batch:
    """As the data plane makes it."""
    return Batch(incarnation, first, msgspec.json.encode([list(one.values()) for one in records]), len(records))


def numbered(incarnation: str, first: int, last: int, **fields: Any) -> Batch:
    """Records of which each costs what its ordinal says."""
    names = (f"{incarnation}{number}" for number in range(first, last + 1))
    return batch(
        incarnation,
        first,
        [
            record(first + index, "t", cost=first + index, event_id=f"{name}:1", call_id=name, **fields)
            for index, name in enumerate(names)
        ],
    )


class Books:
    """A ledger with somebody who pays."""

    def __init__(self, database: Database, directory: Path) -> None:
        self.database = database
        self.ledger = make_ledger(database, directory)
        self.paid: Counter[str] = Counter()
        self._uncommitted: list[UsageRecord] = []
        self.ledger.attach(self.charge)

    async def charge(self, tx: Transaction, records: list[UsageRecord]) -> None:
        assert records
        for one in records:
            await tx.execute(
                "INSERT INTO spend_totals (scope, cost, calls, prompt_tokens, completion_tokens) VALUES (?, ?, 1, 0, 0)"
                " ON CONFLICT (scope) DO UPDATE SET cost = spend_totals.cost + excluded.cost,"
                " calls = spend_totals.calls + 1",
                (f"paid:{one.token}", one.cost),
            )

    async def apply(self, *batches: Batch) -> int:
        """How many were new."""
        applied = await self.ledger.commit(batches)
        return len(applied.fresh)

    async def figures(self) -> dict[str, tuple[int, int]]:
        """Cost and calls: of all, and of who paid."""
        if self.ledger.postpones:
            await self.ledger.charge_postponed()
        rows = await self.database.fetch_all("SELECT scope, cost, calls FROM spend_totals")
        return {str(row["scope"]): (int(row["cost"] or 0), int(row["calls"] or 0)) for row in rows}

    async def progress(self, incarnation: str) -> tuple[int, int, list[tuple[int, int]]]:
        """Applied, charged, and the ranges beyond."""
        row = await self.database.fetch_one("SELECT * FROM ledger_progress WHERE incarnation = ?", (incarnation,))
        gaps = await self.database.fetch_all(
            "SELECT first_seq, last_seq FROM ledger_gaps WHERE incarnation = ? ORDER BY first_seq", (incarnation,)
        )
        assert row is not None
        found = [(int(gap["first_seq"] or 0), int(gap["last_seq"] or 0)) for gap in gaps]
        return int(row["seq"] or 0), int(row["charged_seq"] or 0), found


@pytest.fixture
def books(database: Database, tmp_path: Path) -> Books:
    return Books(database, tmp_path)


async def test_a_record_is_counted_once_in_whatever_batch_it_comes_again(books: Books) -> None:
    assert await books.apply(numbered("a", 1, 100)) == 100
    assert await books.apply(numbered("a", 1, 100)) == 0
    assert await books.apply(numbered("a", 51, 150)) == 50
    assert await books.apply(numbered("a", 1, 150), numbered("a", 140, 160), numbered("b", 1, 3)) == 13
    assert await books.figures() == {"all": (160 * 161 // 2 + 6, 163), "paid:t": (160 * 161 // 2 + 6, 163)}
    assert (await books.progress("a"))[:2] == (160, 160)


async def test_batches_out_of_order_move_the_watermark_when_the_gap_closes(books: Books) -> None:
    await books.apply(numbered("a", 11, 20))
    assert await books.progress("a") == (0, 0, [(11, 20)])
    await books.apply(numbered("a", 31, 40))
    await books.apply(numbered("a", 21, 25))
    assert (await books.progress("a"))[2] == [(11, 25), (31, 40)]
    assert await books.apply(numbered("a", 1, 30)) == 15
    await books.figures()
    assert await books.progress("a") == (40, 40, [])
    assert (await books.figures())["all"] == (40 * 41 // 2, 40)


@pytest.mark.parametrize("forgotten", ["seq = 4, charged_seq = 4", "seq = 0, charged_seq = 0"])
async def test_the_watermark_moves_on_in_a_database_that_forgot_what_it_had_confirmed(
    books: Books, forgotten: str
) -> None:
    await books.apply(numbered("a", 1, 10))
    await books.figures()
    async with books.database.transaction() as tx:
        await tx.execute(f"UPDATE ledger_progress SET {forgotten}")
    later = numbered("a", 11, 12)
    applied = await books.ledger.commit([msgspec.structs.replace(later, base=10)])
    assert applied.watermarks == {"a": 12}, "or the data plane would bring it again for ever"
    await books.figures()
    assert await books.progress("a") == (12, 12, [])


async def test_a_batch_says_what_was_confirmed_before_it() -> None:
    class Source:
        def take_usage(self, limit: int, after: int = 0) -> bytes:
            return b"[[],[]]"

        def ack_usage(self, seq: int) -> None:
            """Nothing is kept."""

        def recovered_usage(self, after: int = 0) -> bytes:
            return b"[]"

        def recovered_damage(self) -> int:
            return 0

        def forget_recovered(self) -> None:
            """There is none."""

    queue = EngineQueue(Source(), "a")
    queue.acknowledge(10)
    taken = queue.take(2, after=14)
    assert taken is not None
    assert (taken.first, taken.last, taken.base) == (15, 16, 10)
    assert [one.base for one in taken.singly()] == [10, 10]


async def test_without_rows_ordinals_alone_tell_records_apart(books: Books) -> None:
    books.ledger.keeps_rows = False
    await books.apply(numbered("a", 5, 9))
    await books.apply(numbered("a", 1, 7))
    await books.apply(numbered("a", 1, 9))
    assert (await books.figures())["all"] == (45, 9)
    assert await books.database.fetch_all("SELECT * FROM usage") == []


async def test_what_a_journal_brings_is_known_by_ordinal_and_by_event(books: Books) -> None:
    await books.apply(numbered("a", 1, 3))
    rows = [(2, 2), (3, 3), (4, 4), (6, 6), (9, 0), (2, 0)]
    recovered = msgspec.json.encode(
        [
            {
                "incarnation": "a",
                "row": list(
                    record(
                        seq, "t", cost=10, event_id=f"a{call}:1", started_at=NOW + call, outcome="gateway_lost"
                    ).values()
                ),
            }
            for call, seq in rows
        ]
    )
    for _ in range(2):
        for one in batches_of(recovered):
            await books.apply(one)
    assert (await books.figures())["all"] == (6 + 30, 6)
    assert (await books.progress("a"))[2] == [(6, 6)]


async def test_concurrent_writers_count_once(books: Books) -> None:
    batches = [numbered("a", first, first + 29) for first in range(1, 300, 10)] * 2
    await asyncio.gather(*(books.apply(one) for one in batches))
    assert (await books.figures())["all"] == (320 * 321 // 2, 320)
    assert await books.progress("a") == (320, 320, [])


async def test_a_crash_between_row_and_charge_is_made_good_by_the_next_process(books: Books, tmp_path: Path) -> None:
    await books.apply(numbered("a", 1, 70, end_user="x"), numbered("a", 65, 80))
    # Another process has nothing of this one's memory.
    successor = Books(books.database, tmp_path)
    assert (await successor.figures())["paid:t"] == (80 * 81 // 2, 80)
    assert (await successor.figures())["paid:t"] == (80 * 81 // 2, 80)
    rows = await books.database.fetch_all("SELECT calls FROM usage_rollups WHERE dimension = 'customer'")
    assert [row["calls"] for row in rows] == [70, 70]


async def test_a_record_that_is_refused_is_passed_by(books: Books) -> None:
    bad = {**record(2, "t", event_id="a2:1"), "cost": 2**70}
    three = [record(1, "t", event_id="a1:1", cost=1), bad, record(3, "t", event_id="a3:1", cost=3)]
    whole = batch("a", 1, three)
    with pytest.raises(Exception):  # noqa: B017 - whatever the driver says
        await books.ledger.commit([whole])
    marks: list[int] = []
    refused = await books.ledger.commit_singly([whole], lambda applied: marks.append(applied.watermarks["a"]))
    assert (refused, marks) == (1, [1, 2, 3])
    assert (await books.figures())["all"] == (4, 2)
    assert len(await books.database.fetch_all("SELECT * FROM usage_rejected")) == 1


# Few names, so that sums meet; ids that look alike are told apart by their dimension.
_names = st.sampled_from(["", "a", "b"])
_usage = st.fixed_dictionaries(
    {
        "started_at": st.integers(NOW - 2 * DAY_MS, NOW),
        "token": st.sampled_from(["k", "l"]),
        "team_id": _names,
        "end_user": _names,
        "model_group": _names,
        "tags": st.sampled_from(["[]", '["a"]', '["a","b","a"]']),
        "outcome": st.sampled_from(["ok", "error"]),
        "cost": st.integers(0, 10**12),
        "prompt_tokens": st.integers(0, 1000),
    }
)


@given(st.lists(_usage, max_size=30))
@settings(max_examples=60, deadline=None)
def test_rollups_are_the_sums_over_the_records(drawn: list[dict[str, Any]]) -> None:
    fields = [record(seq, fields.pop("token"), **fields) for seq, fields in enumerate(map(dict, drawn), 1)]
    records = [msgspec.convert(list(one.values()), UsageRecord) for one in fields]
    expected: dict[tuple[str, int, str, str], list[int]] = {}
    for one in records:
        own = [
            ("all", "all"),
            ("key", one.token),
            ("team", one.team_id),
            ("customer", one.end_user),
            ("model", one.model_group),
            ("deployment", one.deployment_id),
            ("provider", one.provider),
            *(("tag", tag) for tag in set(msgspec.json.decode(one.tags))),
        ]
        by_model = [
            (f"{dimension}_model", f"{name}\x1f{one.model_group}")
            for dimension, name in own
            if dimension in ("key", "team", "customer", "tag") and name and one.model_group
        ]
        for period, length, names in (("hour", HOUR_MS, own), ("day", DAY_MS, own + by_model)):
            for dimension, name in names:
                if name:
                    key = (period, one.started_at // length * length, dimension, name)
                    sums = expected.setdefault(key, [0, 0, 0, 0])
                    for index, amount in enumerate((1, one.outcome != "ok", one.prompt_tokens, one.cost)):
                        sums[index] += amount
    found = rollups(records)
    assert {row[:4]: [row[4], row[5], row[6], row[10]] for row in found} == expected
    assert [row[:4] for row in found] == sorted(row[:4] for row in found)


_ranges = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 15)).map(lambda r: (r[0], r[0] + r[1])), max_size=20)


@given(_ranges, st.randoms())
def test_progress_is_the_union_of_what_came(ranges: list[tuple[int, int]], random: Any) -> None:
    covered = {ordinal for first, last in ranges for ordinal in range(first, last + 1)}
    progress = Progress()
    shuffled = list(ranges)
    random.shuffle(shuffled)
    for one in shuffled:
        is_beside = progress.is_beside(*one)
        assert is_beside == (not any(progress.covers(at) for at in range(one[0], one[1] + 1)))
        progress = progress.with_ranges([one])
    assert {at for at in range(1, 100) if progress.covers(at)} == covered
    assert progress.seq == next(at for at in range(100) if at + 1 not in covered)
    assert progress == Progress().with_ranges(ranges)
    assert not progress.covers(0)


def test_a_batch_with_more_or_fewer_records_than_ordinals_is_refused() -> None:
    whole = numbered("a", 1, 3)
    with pytest.raises(ValueError, match="a batch of 4 records has 3"):
        Batch(whole.incarnation, 1, whole.rows, 4).records()
