"""SQL of the ledger: usage rows, rollups, totals, watermarks, and what waits to be charged.

Statements come in few shapes, whatever the size of a batch: a connection keeps every shape it prepared, and one of
thousands of parameters weighs megabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter

import msgspec
from msgspec.structs import astuple

from penstock.arrays import array, by_column
from penstock.clock import now_ms
from penstock.engine.events import UsageRecord
from penstock.ledger.progress import Progress
from penstock.ledger.rejected import RejectedRecord
from penstock.ledger.rollups import Row, Sums
from penstock.persistence import Database, Transaction, Value, managed
from penstock.tables import SIZES, marks, parts

_COLUMNS = UsageRecord.__struct_fields__
_ABSENT = {
    **dict.fromkeys(("key_alias", "user_id", "team_id", "org_id", "end_user", "error_code"), "NULLIF(?, '')"),
    "ttft_us": "NULLIF(CAST(? AS BIGINT), -1)",
}
"""How a record's way to say that there is nothing becomes NULL."""
_ROW = f"({', '.join(_ABSENT.get(column, '?') for column in _COLUMNS)})"
_INSERTS = {
    size: f"INSERT INTO usage ({', '.join(_COLUMNS)}) VALUES {', '.join([_ROW] * size)} ON CONFLICT DO NOTHING"
    for size in SIZES
}


class _Alike:
    """Rows that agree in some columns. SQLite copies every text that is bound, which is a third of what a row costs: where rows
    agree, those are bound once."""

    def __init__(self, shared: Sequence[str]) -> None:
        own = [column for column in _COLUMNS if column not in shared]
        self.shared = itemgetter(*map(_COLUMNS.index, shared))
        self.own = itemgetter(*map(_COLUMNS.index, own))
        row = f"({', '.join(_ABSENT.get(column, '?') for column in own)})"
        once = ", ".join(f"{_ABSENT.get(column, '?')} AS {column}" for column in shared)
        # Without the WHERE the ON of ON CONFLICT would belong to the join.
        self.inserts = {
            size: f"INSERT INTO usage ({', '.join((*own, *shared))}) SELECT own.*, shared.*"
            f" FROM (VALUES {', '.join([row] * size)}) AS own CROSS JOIN (SELECT {once}) AS shared"
            " WHERE TRUE ON CONFLICT DO NOTHING"
            for size in SIZES
            if size > 1
        }
        """Parameters are what each row has of its own, and then what they share."""


_CALLER = (
    "token",
    *("surface", "route", "key_alias", "user_id", "team_id", "org_id", "end_user", "model", "model_group"),
    *("stream", "status", "outcome", "error_code", "usage_source"),
    *("price_version", "snapshot_version", "attempts", "cache", "tags"),
)
"""Columns in which the calls of one caller mostly agree."""
_PLACE = ("deployment_id", "provider", "upstream_model")
"""And those in which they do, if the group has one deployment."""
_ONE_CALLER, _ONE_PLACE = _Alike(_CALLER), _Alike((*_CALLER, *_PLACE))
_seq = itemgetter(_COLUMNS.index("seq"))
_place = itemgetter(*map(_COLUMNS.index, _PLACE))
_WORTH = 8
"""So many rows of one deployment must there be, on average, for statements of their own: fewer make more statements than they save."""
_SUMS = ("calls", "failed_calls", "prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "cost")
_UPSERTS = {
    size: f"INSERT INTO usage_rollups (period, start_at, dimension, name, {', '.join(_SUMS)})"
    f" VALUES {', '.join(['(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)'] * size)}"
    " ON CONFLICT (period, start_at, dimension, name) DO UPDATE SET "
    + ", ".join(f"{column} = usage_rollups.{column} + excluded.{column}" for column in _SUMS)
    for size in SIZES
}


def _arrays(columns: Mapping[str, str]) -> str:
    return f"unnest({', '.join(map(array, columns.values()))}) AS r ({', '.join(columns)})"


_KINDS = {field.name: "TEXT" if field.type is str else "BIGINT" for field in msgspec.structs.fields(UsageRecord)}
_BULK_INSERT = (
    f"INSERT INTO usage ({', '.join(_COLUMNS)})"
    f" SELECT {', '.join(_ABSENT.get(column, '?').replace('?', f'r.{column}') for column in _COLUMNS)}"
    f" FROM {_arrays(_KINDS)} ON CONFLICT DO NOTHING"
)
"""PostgreSQL plans a statement with thousands of parameters for longer than it runs; this has one per column."""
_ROLLUP_KINDS = {
    "period": "TEXT",
    "start_at": "BIGINT",
    "dimension": "TEXT",
    "name": "TEXT",
    **dict.fromkeys(_SUMS, "BIGINT"),
}
_BULK_UPSERT = (
    f"INSERT INTO usage_rollups ({', '.join(_ROLLUP_KINDS)}) SELECT * FROM {_arrays(_ROLLUP_KINDS)}"
    " ON CONFLICT (period, start_at, dimension, name) DO UPDATE SET "
    + ", ".join(f"{column} = usage_rollups.{column} + excluded.{column}" for column in _SUMS)
)
_READ = (
    "SELECT "
    + ", ".join(
        f"COALESCE({column}, {'-1' if column == 'ttft_us' else repr('')}) AS {column}" if column in _ABSENT else column
        for column in _COLUMNS
    )
    + " FROM usage"
)


def _together(rows: Iterable[tuple[Value, ...]]) -> Iterator[tuple[_Alike, list[tuple[Value, ...]]]]:
    """The rows by what they agree in, wherever in the batch they stand."""
    for alike in _grouped(rows, _ONE_CALLER.shared):
        at_places = _grouped(alike, _place)
        if len(alike) < _WORTH * len(at_places):
            yield _ONE_CALLER, alike
        else:
            yield from ((_ONE_PLACE, at_one) for at_one in at_places)


def _grouped(
    rows: Iterable[tuple[Value, ...]], by: Callable[[tuple[Value, ...]], tuple[Value, ...]]
) -> Collection[list[tuple[Value, ...]]]:
    groups: dict[tuple[Value, ...], list[tuple[Value, ...]]] = {}
    for row in rows:
        groups.setdefault(by(row), []).append(row)
    return groups.values()


class Pending(msgspec.Struct, frozen=True):
    """Records that are in the ledger and not charged."""

    id: int
    records: bytes | None
    """JSON list; None: they are rows of `usage`."""
    first_id: int
    last_id: int


class LedgerStore:
    """Queries; :mod:`penstock.ledger.apply` decides."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._in_bulk = database.dialect == "postgres"

    async def insert(self, tx: Transaction, records: list[UsageRecord]) -> list[UsageRecord]:
        """Write the rows of records; returns those that were not there before, each once."""
        fresh = records
        await tx.execute("SAVEPOINT usage_rows")
        while await self._insert(tx, fresh) < len(fresh):
            await tx.execute("ROLLBACK TO SAVEPOINT usage_rows")
            known = await self._known(tx, [record.event_id for record in fresh])
            fresh = list({record.event_id: record for record in fresh if record.event_id not in known}.values())
        await tx.execute("RELEASE SAVEPOINT usage_rows")
        return fresh

    async def _insert(self, tx: Transaction, records: list[UsageRecord]) -> int:
        if self._in_bulk:
            return await tx.execute(_BULK_INSERT, by_column(map(astuple, records), len(_COLUMNS)))
        written = 0
        others: list[tuple[Value, ...]] = []
        for alike, rows in _together(map(astuple, records)):
            for part in parts(rows):
                if len(part) == 1:
                    others += part
                else:
                    bound = (*chain.from_iterable(map(alike.own, part)), *alike.shared(part[0]))
                    written += await tx.execute(alike.inserts[len(part)], bound)
        # In the order in which they were settled: of calls of one moment the later is listed first.
        others.sort(key=_seq)
        for part in parts(others):
            written += await tx.execute(_INSERTS[len(part)], tuple(chain.from_iterable(part)))
        return written

    @staticmethod
    async def _known(tx: Transaction, event_ids: list[str]) -> set[str]:
        found: set[str] = set()
        for part in parts(event_ids):
            marks = ", ".join("?" * len(part))
            rows = await tx.fetch_all(f"SELECT event_id FROM usage WHERE event_id IN ({marks})", part)
            found.update(str(row["event_id"]) for row in rows)
        return found

    async def add_rollups(self, tx: Transaction, rows: Sequence[Row]) -> None:
        """Add to the sums by hour and day."""
        if self._in_bulk:
            await tx.execute(_BULK_UPSERT, by_column(rows, len(_ROLLUP_KINDS)))
            return
        for part in parts(rows):
            await tx.execute(_UPSERTS[len(part)], tuple(chain.from_iterable(part)))

    async def add_totals(self, tx: Transaction, sums: Sums) -> None:
        """Add to the sums over everything ever settled."""
        calls, _, prompt, completion, _, _, cost = sums
        await tx.execute(
            "INSERT INTO spend_totals (scope, cost, calls, prompt_tokens, completion_tokens) VALUES ('all', ?, ?, ?, ?)"
            " ON CONFLICT (scope) DO UPDATE SET cost = spend_totals.cost + excluded.cost,"
            " calls = spend_totals.calls + excluded.calls,"
            " prompt_tokens = spend_totals.prompt_tokens + excluded.prompt_tokens,"
            " completion_tokens = spend_totals.completion_tokens + excluded.completion_tokens",
            (cost, calls, prompt, completion),
        )

    async def hold_progress(self, tx: Transaction, incarnation: str) -> Progress:
        """How far an incarnation is; others that apply its records wait until this transaction is over."""
        row = await tx.fetch_one(
            "INSERT INTO ledger_progress (incarnation, updated_at) VALUES (?, ?)"
            " ON CONFLICT (incarnation) DO UPDATE SET updated_at = excluded.updated_at RETURNING seq",
            (incarnation, now_ms()),
        )
        gaps = await tx.fetch_all(
            "SELECT first_seq, last_seq FROM ledger_gaps WHERE incarnation = ? ORDER BY first_seq", (incarnation,)
        )
        return Progress(
            int(row["seq"] or 0) if row else 0,
            tuple((int(gap["first_seq"] or 0), int(gap["last_seq"] or 0)) for gap in gaps),
        )

    async def advance(
        self, tx: Transaction, incarnation: str, before: Progress, after: Progress, *, charged: bool
    ) -> None:
        """Move the watermark; ``charged``: the sums and whoever pays have the records, too."""
        if after.seq != before.seq:
            more = ", charged_seq = ?" if charged else ""
            values = (after.seq, after.seq, incarnation) if charged else (after.seq, incarnation)
            await tx.execute(f"UPDATE ledger_progress SET seq = ?{more} WHERE incarnation = ?", values)
        if after.gaps != before.gaps:
            await tx.execute("DELETE FROM ledger_gaps WHERE incarnation = ?", (incarnation,))
            rows: list[tuple[str, int, int]] = [(incarnation, *gap) for gap in after.gaps]
            await tx.execute_many("INSERT INTO ledger_gaps (incarnation, first_seq, last_seq) VALUES (?, ?, ?)", rows)

    async def watermark(self, incarnation: str) -> int:
        """Up to which ordinal every record of an incarnation is in the ledger."""
        row = await self.database.fetch_one("SELECT seq FROM ledger_progress WHERE incarnation = ?", (incarnation,))
        return int(row["seq"] or 0) if row else 0

    async def written_since(self, since: int, incarnations: Sequence[str]) -> set[str]:
        """Those of these incarnations of which records came after ``since``, Unix milliseconds."""
        sql = f"SELECT incarnation FROM ledger_progress WHERE updated_at > ? AND incarnation IN ({marks(len(incarnations))})"
        rows = await self.database.fetch_all(sql, [since, *incarnations])
        return {str(row["incarnation"]) for row in rows}

    async def postpone(self, tx: Transaction, rows: bytes | None, count: int = 0) -> int:
        """Keep records for :meth:`pending`; returns under which id.

        ``rows`` None: they are the last ``count`` rows of `usage`, written in this transaction by the only writer.
        """
        row = await tx.fetch_one(
            "INSERT INTO ledger_pending (records, first_id, last_id) VALUES (?, 0, 0) RETURNING id"
            if rows is not None
            else "INSERT INTO ledger_pending (records, first_id, last_id)"
            " SELECT NULL, MAX(id) - ? + 1, MAX(id) FROM usage RETURNING id",
            (rows if rows is not None else count,),
        )
        return int(row["id"] or 0) if row else 0

    async def postpone_row(self, tx: Transaction, usage_id: int) -> None:
        """Keep one row of `usage` for :meth:`pending`."""
        await tx.execute("INSERT INTO ledger_pending (first_id, last_id) VALUES (?, ?)", (usage_id, usage_id))

    async def pending(self, tx: Transaction, id: int | None = None) -> list[Pending]:
        """What waits to be charged, by id, in the order in which it came; or only one of them."""
        where, values = ("", ()) if id is None else (" WHERE id = ?", (id,))
        rows = await tx.fetch_all(f"SELECT * FROM ledger_pending{where} ORDER BY id", values)
        return [
            Pending(int(row["id"]), row["records"], int(row["first_id"]), int(row["last_id"]))  # type: ignore[arg-type]
            for row in rows
        ]

    async def rows_of(self, tx: Transaction, pending: Pending) -> bytes:
        """The records that wait, as the data plane wrote them."""
        if pending.records is not None:
            return pending.records
        found = await tx.fetch_all(f"{_READ} WHERE id BETWEEN ? AND ? ORDER BY id", (pending.first_id, pending.last_id))
        return msgspec.json.encode([list(row.values()) for row in found])

    async def forget_pending(self, tx: Transaction, ids: Sequence[int]) -> None:
        """These are charged; when nothing else waits, everything in the ledger is."""
        await tx.execute_many("DELETE FROM ledger_pending WHERE id = ?", [(id,) for id in ids])
        await tx.execute(
            "UPDATE ledger_progress SET charged_seq = seq"
            " WHERE charged_seq < seq AND NOT EXISTS (SELECT 1 FROM ledger_pending)"
        )

    async def put_aside(self, rejected: RejectedRecord) -> None:
        """Keep a record that is not fit for the ledger where a person can look into it, once."""

        async def once(tx: Transaction) -> None:
            await tx.execute(
                "INSERT INTO usage_rejected (digest, at, reason, record) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (digest) DO NOTHING",
                (rejected.digest, rejected.at, rejected.reason, rejected.record),
            )

        await managed(self.database, once)
