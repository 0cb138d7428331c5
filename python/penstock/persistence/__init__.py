"""Where state lives: one interface (:class:`Database`) that the domains' stores write portable SQL against.

The SQL that stores may use is what SQLite and PostgreSQL share: `?` placeholders, `ON CONFLICT`, `RETURNING`,
integers, text and blobs; JSON is text that SQL never looks into.
"""

from penstock.persistence.database import Conflict, Database, DatabaseUnavailable, Row, Transaction, Value
from penstock.persistence.migrations import Migration, MigrationError
from penstock.persistence.sqlite import SqliteDatabase

__all__ = [
    "Conflict",
    "Database",
    "DatabaseUnavailable",
    "Migration",
    "MigrationError",
    "Row",
    "SqliteDatabase",
    "Transaction",
    "Value",
]
