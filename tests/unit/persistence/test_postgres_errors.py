"""What a failure of PostgreSQL means to a store."""

from __future__ import annotations

import asyncpg
import pytest

from penstock.persistence.database import DatabaseUnavailable, ValueRefused
from penstock.persistence.postgres_errors import explained


@pytest.mark.parametrize(
    "error, meaning",
    [
        (asyncpg.NumericValueOutOfRangeError("bigint out of range"), ValueRefused),
        # A name of 2.7 kB that does not compress: tried again for ever, it would hold up the whole ledger.
        (asyncpg.ProgramLimitExceededError("index row size 5016 exceeds btree version 4 maximum 2704"), ValueRefused),
        (asyncpg.DiskFullError("no space left on device"), DatabaseUnavailable),
        (asyncpg.QueryCanceledError("canceling statement due to statement timeout"), DatabaseUnavailable),
        (asyncpg.UndefinedTableError("a migration is under way"), DatabaseUnavailable),
    ],
)
def test_a_value_that_is_refused_is_told_from_a_database_that_is_away(
    error: asyncpg.PostgresError, meaning: type[Exception]
) -> None:
    assert type(explained(error)) is meaning
