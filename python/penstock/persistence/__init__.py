"""Where state lives: one interface (:class:`Database`) that the domains' stores write portable SQL against.

The SQL that stores may use is what SQLite and PostgreSQL share: `?` placeholders, `ON CONFLICT`, `RETURNING`,
integers, text and blobs; JSON is text that SQL never looks into. PostgreSQL wants to know the type of a placeholder and
takes it from what stands beside it: an integer literal is 32 bits wide there, so `NULLIF(?, -1)` is written
`NULLIF(CAST(? AS BIGINT), -1)`, and `? IS NULL` says nothing. Values have the type of their column, flags are 0 and 1.
What only one of the two understands goes by `Database.dialect`.
"""

from penstock.persistence.database import (
    NOW_MS,
    Conflict,
    Database,
    DatabaseUnavailable,
    Row,
    Transaction,
    Value,
    ValueRefused,
    managed,
)
from penstock.persistence.migrations import Migration, MigrationError
from penstock.persistence.opening import migration_status, open_database
from penstock.persistence.sqlite import SqliteDatabase

__all__ = [
    "NOW_MS",
    "Conflict",
    "Database",
    "DatabaseUnavailable",
    "Migration",
    "MigrationError",
    "Row",
    "SqliteDatabase",
    "Transaction",
    "Value",
    "ValueRefused",
    "managed",
    "migration_status",
    "open_database",
]
