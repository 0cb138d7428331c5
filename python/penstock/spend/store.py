"""Rows of `usage`, `usage_rollups` and `spend_totals`, which the ledger writes.

Calls are found by an index in the order in which they are shown, whatever the size of the ledger; sums are never made of
calls but of the rollups.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from penstock.errors import bad_request
from penstock.ledger.rollups import BETWEEN
from penstock.persistence import Database, Row, Value
from penstock.spend.models import Cursor, Days, LogFilter, Point, Sums, Totals

ROWS: Final = 50_000
"""Bound of an answer."""
_NAMES_PER_QUERY: Final = 64
_FIELDS: Final = Sums.__struct_fields__
# PostgreSQL adds whole numbers up to one without bounds, which would not come back as an integer.
_ADDED: Final = ", ".join(f"CAST(SUM({name}) AS BIGINT) AS {name}" for name in _FIELDS)
_LISTED: Final = ", ".join(_FIELDS)
_WITHIN: Final = "period = 'day' AND dimension = ? AND start_at >= ? AND start_at < ?"


def _all(rows: list[Row]) -> list[Row]:
    """The rows; sums that leave some out would be wrong, so too many of them are refused."""
    if len(rows) > ROWS:
        raise bad_request(f"The answer has more than {ROWS} rows: ask for fewer days, or for one by name", "start_date")
    return rows


def _sums(row: Row) -> Sums:
    return Sums(*(int(row[name] or 0) for name in _FIELDS))


def _point(row: Row) -> Point:
    return Point(int(row["start_at"] or 0), str(row["name"]), _sums(row))


def logs_query(where: LogFilter, token: str | None, after: Cursor | None, limit: int) -> tuple[str, list[Value]]:
    """The statement for a page of calls of one key, or of any, latest first, beginning after the cursor's row."""
    conditions, values = list[str](), list[Value]()
    for condition, value in (
        ("token = ?", token),
        ("user_id = ?", where.user_id),
        ("started_at >= ?", where.start),
        ("started_at < ?", where.end),
        ("team_id = ?", where.team_id),
        ("end_user = ?", where.end_user),
        ("model_group = ?", where.model_group),
        ("cost >= ?", where.min_cost),
        ("cost <= ?", where.max_cost),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    if where.is_ok is not None:
        conditions.append("outcome = 'ok'" if where.is_ok else "outcome <> 'ok'")
    if where.call_id is not None:
        # `call id:attempt` is what has an index; `;` is the character after `:`.
        conditions.append("event_id > ? AND event_id < ?")
        values.extend((f"{where.call_id}:", f"{where.call_id};"))
    if after is not None:
        conditions.append("(started_at, id) < (?, ?)")
        values.extend((after.started_at, after.id))
    clause = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT * FROM usage{clause} ORDER BY started_at DESC, id DESC LIMIT ?", [*values, limit]


class SpendStore:
    """Queries; the service decides."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def count_within(self, tokens: Sequence[str], team_id: str, within: Days) -> int:
        """How many calls of these days with one of these tokens were of the team."""
        count = 0
        for token in tokens:
            sql = (
                "SELECT COUNT(*) AS n FROM usage WHERE token = ? AND started_at >= ? AND started_at < ? AND team_id = ?"
            )
            row = await self.database.fetch_one(sql, (token, within.start, within.end, team_id))
            count += int(row["n"] or 0) if row else 0
        return count

    async def totals(self) -> Totals:
        """The sums over the whole ledger."""
        row = await self.database.fetch_one(
            "SELECT cost, calls, prompt_tokens, completion_tokens FROM spend_totals WHERE scope = 'all'"
        )
        return Totals(**{name: int(value or 0) for name, value in row.items()}) if row else Totals()

    async def logs(self, where: LogFilter, after: Cursor | None, limit: int) -> list[Row]:
        """Calls, latest first, beginning after the cursor's row."""
        if where.tokens is None:
            return await self.database.fetch_all(*logs_query(where, None, after, limit))
        found = list[Row]()
        # One by one, as the index has each of them in order and several together in none.
        for token in where.tokens:
            found += await self.database.fetch_all(*logs_query(where, token, after, limit))
        found.sort(key=lambda row: (row["started_at"], row["id"]), reverse=True)
        return found[:limit]

    async def by_name(self, dimension: str, within: Days, limit: int | None = None) -> list[tuple[str, Sums]]:
        """Sums of each name, the most expensive first; without ``limit`` all of them.

        Raises:
            ApiError: 400, there are more than an answer holds.
        """
        rows = await self.database.fetch_all(
            f"SELECT name, {_ADDED} FROM usage_rollups WHERE {_WITHIN} GROUP BY name"
            " ORDER BY SUM(cost) DESC, SUM(calls) DESC, name LIMIT ?",
            (dimension, within.start, within.end, limit or ROWS + 1),
        )
        return [(str(row["name"]), _sums(row)) for row in _all(rows)]

    async def by_day(self, dimension: str, within: Days) -> list[tuple[int, Sums]]:
        """Sums of each day over all names, the latest first."""
        rows = await self.database.fetch_all(
            f"SELECT start_at, {_ADDED} FROM usage_rollups WHERE {_WITHIN} GROUP BY start_at ORDER BY start_at DESC",
            (dimension, within.start, within.end),
        )
        return [(int(row["start_at"] or 0), _sums(row)) for row in rows]

    async def names(self, dimension: str, within: Days) -> list[str]:
        """Every name of a dimension, in order.

        Raises:
            ApiError: 400, there are more than an answer holds.
        """
        rows = await self.database.fetch_all(
            f"SELECT DISTINCT name FROM usage_rollups WHERE {_WITHIN} ORDER BY name LIMIT ?",
            (dimension, within.start, within.end, ROWS + 1),
        )
        return [str(row["name"]) for row in _all(rows)]

    async def points(self, dimension: str, within: Days) -> list[Point]:
        """Days and names, the latest day first, within it the most expensive first.

        Raises:
            ApiError: 400, there are more than an answer holds.
        """
        rows = await self.database.fetch_all(
            f"SELECT start_at, name, {_LISTED} FROM usage_rollups WHERE {_WITHIN}"
            " ORDER BY start_at DESC, cost DESC, name LIMIT ?",
            (dimension, within.start, within.end, ROWS + 1),
        )
        return [_point(row) for row in _all(rows)]

    async def points_of(self, dimension: str, names: Sequence[str], within: Days) -> list[Point]:
        """Days of these names, the latest first."""
        found: list[Point] = []
        for start in range(0, len(names), _NAMES_PER_QUERY):
            part = names[start : start + _NAMES_PER_QUERY]
            marks = ", ".join("?" * len(part))
            rows = await self.database.fetch_all(
                f"SELECT start_at, name, {_LISTED} FROM usage_rollups WHERE {_WITHIN} AND name IN ({marks})",
                (dimension, within.start, within.end, *part),
            )
            found += [_point(row) for row in rows]
        return sorted(found, key=lambda point: (-point.day, -point.sums.cost, point.name))

    async def models_of(self, dimension: str, names: Iterable[str], within: Days) -> list[tuple[str, Point]]:
        """`(name, day and model)` of these names, the latest first."""
        models = await self.names("model", within)
        pairs = [f"{name}{BETWEEN}{model}" for name in names for model in models]
        return [_apart(point) for point in await self.points_of(f"{dimension}_model", pairs, within)]

    async def models_by_day(self, dimension: str, within: Days) -> list[tuple[str, Point]]:
        """`(name, day and model)` of everything, the latest first."""
        return [_apart(point) for point in await self.points(f"{dimension}_model", within)]


def _apart(point: Point) -> tuple[str, Point]:
    name, _, model = point.name.rpartition(BETWEEN)
    return name, msgspec.structs.replace(point, name=model)
