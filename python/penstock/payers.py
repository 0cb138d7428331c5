"""Rows that pay: keys and scopes, which have the same columns for it, and one way to be charged, renewed and followed.

Apart from both because what a budget window is worth depends on every rule being the same for all who have one: a reset
happens exactly once, what began after a window's end is in the next one, whoever writes first, and every replica learns
of what the others charge. When something was charged is said by the database's clock, for those of processes differ.
"""

# ruff: noqa: S608 - names of tables and columns are the program's own; values are bound
from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import Literal

import msgspec

from penstock.arrays import array, by_column
from penstock.engine.events import UsageRecord
from penstock.persistence import NOW_MS, Database, Transaction, Value
from penstock.tables import SIZES, parts
from penstock.windows import WindowClock

FOLLOW_BATCH = 2_000
"""Rows of one question; others' come between two."""
_OVERLAP_MS = {"postgres": 10_000, "sqlite": 2_000}
"""A transaction takes a while from its charge to its commit: so far back is looked again each time. SQLite has one at a time."""
_LONG_OVERLAP_MS = 120_000
"""And so far now and then: for transactions that waited long, and a database whose clock was set back."""
_LONG_EVERY_S = 5.0
_LONG_SHARE = 0.05
"""Of a process's time, which that may take where very much was charged."""
_SET_BACK_MS = 60_000
"""By so much clocks of machines do not differ: one that is further behind was set back."""

_cost, _begun = attrgetter("cost"), attrgetter("started_at")

_ADDED = "payer, start, ended, next_start, next_end, in_window, late, ever, last"
_TYPES = ("TEXT", *["BIGINT"] * 8)
_ROW = f"({', '.join(f'CAST(? AS {type_})' for type_ in _TYPES)})"
_VALUES = {size: f"WITH added ({_ADDED}) AS (VALUES {', '.join([_ROW] * size)})" for size in SIZES}
_ARRAYS = f"unnest({', '.join(map(array, _TYPES))}) AS added ({_ADDED})"


class Figure(msgspec.Struct, frozen=True):
    """What a row has spent in its budget window, all of one moment. Nano-dollars and Unix milliseconds."""

    spent: int
    version: int
    """Rises with every change of the figure."""
    until: int = 0
    """End of the window; 0: there is none."""
    seq: int = 0
    """Ordinal of the last record of this process's data plane of which, and of all before, `spent` has the cost."""


class Charged(msgspec.Struct, frozen=True):
    """A row that somebody added to, or whose window somebody began."""

    name: str
    version: int
    """Rises with every change of what it has spent."""
    charged_at: int
    """Unix milliseconds, by the database's clock; rises with every charge of the row, and of those with a budget at least."""


class Spent(msgspec.Struct, frozen=True):
    """What a row has spent with a charge, whoever else charges it meanwhile. Nano-dollars and Unix milliseconds."""

    name: str
    window_start: int
    """0: there is no window."""
    spend: int


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
    records: Sequence[UsageRecord],
    now: int,
) -> Addition:
    """What the records add to a row with this budget window (beginning and end), after which the `following` one has begun
    already if it is given."""
    ended = window[1]
    sum_ = Addition(name, window[0] or 0)
    start = sum_.window_start
    if following is not None:
        sum_.ended, sum_.next_window = ended, following
        start = following[0]
    elif now < start - _SET_BACK_MS:
        # What begins now would look like what belongs to the window before, and nobody would pay for it until the clock is
        # where it was.
        start = 0
    costs, begun = list(map(_cost, records)), list(map(_begun, records))

    def since(start: int) -> int:
        # Nearly always all of them, or none.
        if min(begun) >= start:
            return sum_.ever
        return sum(cost for cost, at in zip(costs, begun, strict=True) if at >= start) if sum_.last >= start else 0

    if begun:
        sum_.ever, sum_.last = sum(costs), max(begun)
        sum_.window = since(start)
        sum_.late = since(max(start, ended)) if ended is not None else 0
    if following is not None:
        # Whoever was faster with the reset has begun the same window.
        sum_.late = sum_.window
    return sum_


class Payers:
    """The columns of a table by which its rows pay."""

    def __init__(self, database: Database, table: Literal["keys", "scopes"]) -> None:
        self._database = database
        self._table = table
        self._in_bulk = database.dialect == "postgres"
        self._name = name = "token" if table == "keys" else "name"
        self.clock = WindowClock(database)
        """By which their windows are over."""
        self.now = now = NOW_MS[database.dialect]
        """The database's time, for SQL."""
        self.overlap_ms = _OVERLAP_MS[database.dialect]
        # What tells an older state of a key from a newer one must let charges pass.
        counted = "CASE WHEN budget_reset_at = added.ended THEN 1 ELSE 0 END" if table == "keys" else "1"
        # A key without a budget is not followed, and its charge need not touch an index.
        unmarked = "WHEN max_budget IS NULL THEN charged_at " if table == "keys" else ""
        self.mark = f"CASE {unmarked}WHEN charged_at >= {now} THEN charged_at + 1 ELSE {now} END"
        """What `charged_at` becomes with a change of the spend."""
        self.renewed = f"CASE WHEN charged_at >= {now} THEN charged_at + 1 ELSE {now} END"
        """The same for a row that has a budget from now on."""
        self._add = (
            f" UPDATE {table} SET spend = CASE WHEN budget_reset_at = added.ended THEN added.in_window"
            " WHEN COALESCE(budget_window_start, 0) = added.start THEN spend + added.in_window"
            " ELSE spend + added.late END, total_spend = total_spend + added.ever,"
            " last_active_at = CASE WHEN last_active_at > added.last THEN last_active_at ELSE added.last END,"
            f" charged_at = {self.mark}, revision = revision + {counted}, budget_window_start ="
            " CASE WHEN budget_reset_at = added.ended THEN added.next_start ELSE budget_window_start END,"
            " budget_reset_at = CASE WHEN budget_reset_at = added.ended THEN added.next_end ELSE budget_reset_at END"
        )
        self._where = f" WHERE {table}.{name} = added.payer"
        # Keys are many and rarely two processes' at once; scopes are few and everybody's, so they are locked in one order.
        self._bulk = f"{self._add} FROM {_ARRAYS}{self._where}"
        if table == "scopes":
            self._bulk = (
                f"WITH added AS MATERIALIZED (SELECT added.* FROM {_ARRAYS} JOIN scopes ON name = payer"
                f" ORDER BY name FOR NO KEY UPDATE OF scopes){self._add} FROM added{self._where}"
            )
        self._told = f" RETURNING {name} AS name, spend, budget_window_start"
        # What rises with a charge of a key is in the index that it is found by.
        version = "charged_at" if table == "keys" else "revision"
        charged = f"SELECT {name} AS name, {version} AS version, charged_at FROM {table} WHERE"
        # Not (charged_at, name) > (?, ?), of which SQLite searches for the first part only: of many rows of one moment it
        # would read all that came before.
        # What the index is confined to comes last: of two lower bounds SQLite searches by the first, and tries the rest on each row.
        self._of_moment = f"{charged} charged_at = ? AND {name} > ? AND charged_at > 0 ORDER BY {name} LIMIT ?"
        self._later = f"{charged} charged_at > ? AND charged_at > 0 ORDER BY charged_at, {name} LIMIT ?"

    async def add(self, tx: Transaction, additions: Iterable[Addition]) -> None:
        """Charge rows, beginning the next window of those whose is over, if nobody has since they were read."""
        for sql, values in self._charges(additions):
            await tx.execute(sql, values)

    async def add_and_tell(self, tx: Transaction, additions: Iterable[Addition]) -> list[Spent]:
        """:meth:`add`; returns what the rows have spent then, in the order of their names.

        What a row was read to have spent and what is added is not that: between the two somebody else may have charged it.
        """
        told: list[Spent] = []
        for sql, values in self._charges(additions):
            told += [
                Spent(str(row["name"]), int(row["budget_window_start"] or 0), int(row["spend"] or 0))
                for row in await tx.fetch_all(sql + self._told, values)
            ]
        return sorted(told, key=attrgetter("name"))

    def _charges(self, additions: Iterable[Addition]) -> Iterator[tuple[str, Sequence[Value]]]:
        rows = [_bound(one) for one in sorted(additions, key=lambda one: one.name)]
        if rows and self._in_bulk:
            yield self._bulk, by_column(rows, len(_TYPES))
            return
        for part in parts(rows):
            yield f"{_VALUES[len(part)]}{self._add} FROM added{self._where}", tuple(chain.from_iterable(part))

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

    async def charged_after(self, place: tuple[int, str], limit: int) -> list[Charged]:
        """Rows that somebody added to, in the order of when and of their names, after a place in it."""
        at, name = place
        rows = await self._database.fetch_all(self._of_moment, (at, name, limit))
        if len(rows) < limit:
            rows += await self._database.fetch_all(self._later, (at, limit - len(rows)))
        return [Charged(str(row["name"]), int(row["version"] or 0), int(row["charged_at"] or 0)) for row in rows]


class Follower:
    """Passes on what was charged, and the windows that began, whoever did it; one per table and process."""

    def __init__(self, payers: Payers, pass_on: Callable[[Sequence[Charged]], Awaitable[None]]) -> None:
        """``pass_on`` is given every row once or more, and knows which of them is news."""
        self._payers = payers
        self._pass_on = pass_on
        self._began_at = time.monotonic()
        self._looks_far_at = 0.0
        self._followed: int | None = None

    async def follow(self) -> None:
        """Look for what came since the last time.

        Raises:
            DatabaseUnavailable: it is looked for again the next time.
        """
        # By the clock that `charged_at` is of.
        now = await self._payers.clock.read()
        if self._followed is None:
            self._followed = now - int((time.monotonic() - self._began_at) * 1000)
        begun = time.monotonic()
        looks_far = begun >= self._looks_far_at
        overlap = _LONG_OVERLAP_MS if looks_far else self._payers.overlap_ms
        place = (min(self._followed, now) - overlap, "")
        while charged := await self._payers.charged_after(place, FOLLOW_BATCH):
            await self._pass_on(charged)
            if len(charged) < FOLLOW_BATCH:
                break
            place = (charged[-1].charged_at, charged[-1].name)
        # Last: what could not be read because the database was away is looked for again.
        self._followed = now
        if looks_far:
            ended = time.monotonic()
            self._looks_far_at = ended + max(_LONG_EVERY_S, (ended - begun) / _LONG_SHARE)


def _bound(one: Addition) -> tuple[Value, ...]:
    next_start, next_end = one.next_window or (None, None)
    return (one.name, one.window_start, one.ended, next_start, next_end, one.window, one.late, one.ever, one.last)
