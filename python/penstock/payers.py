"""Rows that pay: keys and scopes, which have the same columns for it, and one way to be charged, renewed and followed.

Apart from both because what a budget window is worth depends on every rule being the same for all who have one: a reset
happens exactly once, what began after a window's end is in the next one, whoever writes first, and every replica learns
of what the others charge. When something was charged is said by the database's clock, for those of processes differ.
"""

# ruff: noqa: S608 - names of tables and columns are the program's own; values are bound
from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import chain
from typing import Literal

import msgspec

from penstock.engine.events import UsageRecord
from penstock.persistence import Database, Transaction, Value
from penstock.tables import SIZES, by_column, parts

FOLLOW_BATCH = 5_000
"""Rows of one question."""
_OVERLAP_MS = 10_000
"""A transaction takes a while from its charge to its commit: so far back is looked again each time."""
_LONG_OVERLAP_MS = 120_000
"""And so far now and then: for transactions that waited long, and a database whose clock was set back."""
_LONG_EVERY_S = 5.0

_NOW = {
    "postgres": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
    "sqlite": "CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)",
}
"""Unix milliseconds."""
_ADDED = "payer, start, ended, next_start, next_end, in_window, late, ever, last"
_TYPES = ("TEXT", *["BIGINT"] * 8)
_ROW = f"({', '.join(f'CAST(? AS {type_})' for type_ in _TYPES)})"
_VALUES = {size: f"WITH added ({_ADDED}) AS (VALUES {', '.join([_ROW] * size)})" for size in SIZES}
_ARRAYS = f"unnest({', '.join(f'CAST(? AS {type_}[])' for type_ in _TYPES)}) AS added ({_ADDED})"


class Charged(msgspec.Struct, frozen=True):
    """A row that somebody added to, or whose window somebody began."""

    name: str
    revision: int
    charged_at: int
    """Unix milliseconds, by the database's clock; rises with every charge of the row, and of those with a budget at least."""


class Addition(msgspec.Struct):
    """What a batch of usage records adds to a row. Nano-dollars and Unix milliseconds."""

    name: str
    window_start: int
    """As it was read; 0: there is no window."""
    ended: int | None = None
    """The end of the window that was read, when it is over."""
    next_window: tuple[int, int] | None = None
    """Set with `ended`: beginning and end of the window that follows."""
    window: int = 0
    """Spent since `window_start`, or since the beginning of the next window."""
    late: int = 0
    """The part of it that counts when somebody else has begun the next window meanwhile."""
    ever: int = 0
    last: int = 0
    """When the latest call began."""


def addition(
    name: str,
    window: tuple[int | None, int | None],
    following: tuple[int, int] | None,
    records: Iterable[UsageRecord],
) -> Addition:
    """What the records add to a row with this budget window (beginning and end), after which the `following` one has begun
    already if it is given."""
    ended = window[1]
    sum_ = Addition(name, window[0] or 0)
    start = sum_.window_start
    if following is not None:
        sum_.ended, sum_.next_window = ended, following
        start = following[0]
    for record in records:
        sum_.ever += record.cost
        sum_.last = max(sum_.last, record.started_at)
        if record.started_at >= start:
            sum_.window += record.cost
            if ended is not None and record.started_at >= ended:
                sum_.late += record.cost
    if following is not None:
        # Whoever was faster with the reset has begun the same window.
        sum_.late = sum_.window
    return sum_


class Payers:
    """The columns of a table by which its rows pay."""

    def __init__(self, database: Database, table: Literal["keys", "scopes"]) -> None:
        self._database = database
        self._table = table
        # Keys are many and rarely two processes' at once; scopes are few and everybody's, so they are locked in one order.
        self._in_bulk = database.dialect == "postgres" and table == "keys"
        self._one_by_one = database.dialect == "postgres" and table == "scopes"
        self._name = "token" if table == "keys" else "name"
        self._now = now = _NOW[database.dialect]
        # What tells an older state of a key from a newer one must let charges pass.
        counted = "CASE WHEN budget_reset_at = added.ended THEN 1 ELSE 0 END" if table == "keys" else "1"
        # A key without a budget is not followed, and its charge need not touch an index.
        unmarked = "WHEN max_budget IS NULL THEN charged_at " if table == "keys" else ""
        self.mark = f"CASE {unmarked}WHEN charged_at >= {now} THEN charged_at + 1 ELSE {now} END"
        """What `charged_at` becomes with a change of the spend."""
        self._add = (
            f" UPDATE {table} SET spend = CASE WHEN budget_reset_at = added.ended THEN added.in_window"
            " WHEN COALESCE(budget_window_start, 0) = added.start THEN spend + added.in_window"
            " ELSE spend + added.late END, total_spend = total_spend + added.ever,"
            " last_active_at = CASE WHEN last_active_at > added.last THEN last_active_at ELSE added.last END,"
            f" charged_at = {self.mark}, revision = revision + {counted}, budget_window_start ="
            " CASE WHEN budget_reset_at = added.ended THEN added.next_start ELSE budget_window_start END,"
            " budget_reset_at = CASE WHEN budget_reset_at = added.ended THEN added.next_end ELSE budget_reset_at END"
        )
        self._where = f" WHERE {table}.{self._name} = added.payer"

    async def add(self, tx: Transaction, additions: Iterable[Addition]) -> None:
        """Charge rows, beginning the next window of those whose is over, if nobody has since they were read."""
        rows = [_bound(one) for one in sorted(additions, key=lambda one: one.name)]
        if self._in_bulk:
            await tx.execute(f"{self._add} FROM {_ARRAYS}{self._where}", by_column(rows, len(_TYPES)))
        elif self._one_by_one:
            await tx.execute_many(f"{_VALUES[1]}{self._add} FROM added{self._where}", rows)
        else:
            for part in parts(rows):
                sql = f"{_VALUES[len(part)]}{self._add} FROM added{self._where}"
                await tx.execute(sql, tuple(chain.from_iterable(part)))

    async def roll(self, tx: Transaction, name: str, ended: int, window: tuple[int, int]) -> bool:
        """Begin a new budget window, if nobody has since `ended` was read: the reset happens exactly once."""
        changed = await tx.execute(
            f"UPDATE {self._table} SET spend = 0, budget_window_start = ?, budget_reset_at = ?, revision = revision + 1,"
            f" charged_at = {self.mark} WHERE {self._name} = ? AND budget_reset_at = ?",
            (*window, name, ended),
        )
        return changed > 0

    async def reset(self, tx: Transaction) -> None:
        """Nothing spent in any budget window; what was spent ever stays."""
        await tx.execute(
            f"UPDATE {self._table} SET spend = 0, revision = revision + 1, charged_at = {self.mark} WHERE spend <> 0"
        )

    async def now(self) -> int:
        """By the clock that `charged_at` is of."""
        row = await self._database.fetch_one(f"SELECT {self._now} AS now")
        return int(row["now"] or 0) if row else 0

    async def charged_after(self, place: tuple[int, str], limit: int) -> list[Charged]:
        """Rows that somebody added to, in the order of when and of their names, after a place in it."""
        rows = await self._database.fetch_all(
            f"SELECT {self._name} AS name, revision, charged_at FROM {self._table}"
            f" WHERE charged_at > 0 AND (charged_at, {self._name}) > (?, ?) ORDER BY charged_at, {self._name} LIMIT ?",
            (*place, limit),
        )
        return [Charged(str(row["name"]), int(row["revision"] or 0), int(row["charged_at"] or 0)) for row in rows]


class Follower:
    """Passes on what was charged, and the windows that began, whoever did it; one per table and process."""

    def __init__(self, payers: Payers, pass_on: Callable[[Sequence[Charged]], Awaitable[None]]) -> None:
        """``pass_on`` is given every row once or more, and knows which of them is news."""
        self._payers = payers
        self._pass_on = pass_on
        self._began_at = time.monotonic()
        self._looked_far_at = 0.0
        self._followed: int | None = None

    async def follow(self) -> None:
        """Look for what came since the last time.

        Raises:
            DatabaseUnavailable: it is looked for again the next time.
        """
        now = await self._payers.now()
        if self._followed is None:
            self._followed = now - int((time.monotonic() - self._began_at) * 1000)
        looks_far = time.monotonic() - self._looked_far_at >= _LONG_EVERY_S
        overlap = _LONG_OVERLAP_MS if looks_far else _OVERLAP_MS
        place = (min(self._followed, now) - overlap, "")
        while charged := await self._payers.charged_after(place, FOLLOW_BATCH):
            await self._pass_on(charged)
            if len(charged) < FOLLOW_BATCH:
                break
            place = (charged[-1].charged_at, charged[-1].name)
        # Last: what could not be read because the database was away is looked for again.
        self._followed = now
        if looks_far:
            self._looked_far_at = time.monotonic()


def _bound(one: Addition) -> tuple[Value, ...]:
    next_start, next_end = one.next_window or (None, None)
    return (one.name, one.window_start, one.ended, next_start, next_end, one.window, one.late, one.ever, one.last)
