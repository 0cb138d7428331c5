"""Rows that are structs: the statements that every table of descriptions needs, written once.

Apart from the domains because a store that only keeps and lists what it is given has no SQL of its own to tell.
"""

# ruff: noqa: S608 - names of tables and columns are the program's own; values are bound
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, get_type_hints

import msgspec

from penstock.persistence import Database, Row, Transaction, Value

S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")

SIZES = (64, 8, 1)
"""Rows or values of one statement."""
ALL = 1_000_000
"""The limit of :meth:`Table.find` for what must be found whole."""


def marks(count: int) -> str:
    """`?, ?, ?`"""
    return ", ".join("?" * count)


def parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """The values in lists of few different lengths, as each is a statement that the connection keeps prepared."""
    start = 0
    while start < len(values):
        size = next(size for size in SIZES if size <= len(values) - start)
        yield values[start : start + size]
        start += size


def padded(values: Iterable[str]) -> Iterator[Sequence[str]]:
    """The different values in as few lists as :func:`parts` would have lengths; the last is filled up with its last value."""
    unique = list(dict.fromkeys(values))
    longest = SIZES[0]
    for start in range(0, len(unique), longest):
        part = unique[start : start + longest]
        size = min(size for size in SIZES if size >= len(part))
        yield [*part, *part[-1:] * (size - len(part))]


class Table(Generic[S]):
    """A table whose columns are a struct's fields: lists and objects are JSON text, a boolean is 0 or 1."""

    def __init__(self, name: str, struct: type[S], key: Sequence[str]) -> None:
        self.name = name
        self._struct = struct
        self._key = tuple(key)
        self._columns = struct.__struct_fields__
        hints = get_type_hints(struct)
        self._json = {
            column: msgspec.json.Decoder(hints[column]) for column in self._columns if _is_json(hints[column])
        }
        self._booleans = {column for column in self._columns if hints[column] is bool}

    def decode(self, row: Row) -> S:
        """The struct of a row that has at least its columns."""
        fields: dict[str, Any] = {column: row[column] for column in self._columns}
        for column, decoder in self._json.items():
            fields[column] = decoder.decode(fields[column])
        for column in self._booleans:
            fields[column] = bool(fields[column])
        return self._struct(**fields)

    def encode(self, value: S, columns: Sequence[str]) -> list[Value]:
        """The struct's values as they are bound."""
        return [self._bound(column, getattr(value, column)) for column in columns]

    async def insert(self, tx: Transaction, value: S, *, keep: bool = False) -> bool:
        """A new row; True when it was written. A taken key raises Conflict, or with `keep` leaves the row there."""
        sql = f"INSERT INTO {self.name} ({', '.join(self._columns)}) VALUES ({marks(len(self._columns))})"
        if keep:
            sql += f" ON CONFLICT ({', '.join(self._key)}) DO NOTHING"
        return await tx.execute(sql, self.encode(value, self._columns)) > 0

    async def replace(self, tx: Transaction, value: S, without: frozenset[str] = frozenset()) -> bool:
        """Write every column but the key and `without`; False when there is no such row."""
        columns = [name for name in self._columns if name not in self._key and name not in without]
        assignments = ", ".join(f"{column} = ?" for column in columns)
        where = " AND ".join(f"{column} = ?" for column in self._key)
        sql = f"UPDATE {self.name} SET {assignments} WHERE {where}"
        return await tx.execute(sql, [*self.encode(value, columns), *self.encode(value, self._key)]) > 0

    async def delete(self, tx: Transaction, where: Mapping[str, Value]) -> int:
        """Remove the rows that match; returns how many."""
        clause, values = _conditions(where)
        return await tx.execute(f"DELETE FROM {self.name} WHERE {clause}", values)

    async def get(self, source: Database | Transaction, where: Mapping[str, Value]) -> S | None:
        """The row that matches."""
        clause, values = _conditions(where)
        row = await source.fetch_one(f"SELECT * FROM {self.name} WHERE {clause}", values)
        return self.decode(row) if row else None

    async def find(
        self,
        source: Database | Transaction,
        where: Mapping[str, Value],
        order: str,
        limit: int = 10_000,
        offset: int = 0,
    ) -> list[S]:
        """A page of the rows that match, in the order of the column (or columns) `order`."""
        clause, values = _conditions(where)
        sql = f"SELECT * FROM {self.name} WHERE {clause} ORDER BY {order} LIMIT ? OFFSET ?"
        return [self.decode(row) for row in await source.fetch_all(sql, [*values, limit, offset])]

    async def among(self, source: Database | Transaction, column: str, values: Sequence[str]) -> list[S]:
        """The rows whose column has one of the values."""
        found: list[S] = []
        for part in parts(list(dict.fromkeys(values))):
            sql = f"SELECT * FROM {self.name} WHERE {column} IN ({marks(len(part))})"
            found += [self.decode(row) for row in await source.fetch_all(sql, part)]
        return found

    async def count(self, source: Database | Transaction, where: Mapping[str, Value]) -> int:
        """How many rows match."""
        clause, values = _conditions(where)
        row = await source.fetch_one(f"SELECT COUNT(*) AS n FROM {self.name} WHERE {clause}", values)
        return int(row["n"] or 0) if row else 0

    def _bound(self, column: str, value: Any) -> Value:
        if column in self._json:
            return msgspec.json.encode(value).decode()
        bound: Value = int(value) if isinstance(value, bool) else value
        return bound


def _is_json(hint: Any) -> bool:
    return getattr(hint, "__origin__", None) in (list, dict)


def _conditions(where: Mapping[str, Value]) -> tuple[str, list[Value]]:
    given = [(column, value) for column, value in where.items() if value is not None]
    return " AND ".join(["1 = 1", *(f"{column} = ?" for column, _ in given)]), [value for _, value in given]
