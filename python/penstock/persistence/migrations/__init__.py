"""Numbered SQL files and the record of which were applied.

A file that was applied is never edited: its checksum is kept in `schema_migrations` and compared at every start.

Two versions of Penstock use one database while replicas are replaced one by one, so a migration *expands*: it adds tables,
columns that have a default, and indexes, and the version before goes on without knowing of them. What takes something away
is a migration of a later version that has the line `-- contract`; a version that does not know it does not start on it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from importlib import resources

import msgspec

_NAME = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")
_CONTRACT = re.compile(r"^-- contract\b", re.MULTILINE)


class MigrationError(Exception):
    """The database's schema does not belong to this version of Penstock."""


class Migration(msgspec.Struct, frozen=True):
    """One step of the schema."""

    number: int
    name: str
    sql: str
    checksum: str
    """SHA-256 of the file, hexadecimal."""

    @property
    def is_contract(self) -> bool:
        """It takes away what versions that do not know it may need."""
        return _CONTRACT.search(self.sql) is not None


class Applied(msgspec.Struct, frozen=True):
    """A row of `schema_migrations`, as far as it matters for what is pending."""

    number: int
    checksum: str
    is_contract: bool = False


def available(dialect: str) -> list[Migration]:
    """All migrations of a dialect (`sqlite`, `postgres`), in order."""
    found = []
    for file in resources.files(__package__).joinpath(dialect).iterdir():
        match = _NAME.match(file.name)
        if match:
            text = file.read_text(encoding="utf-8")
            found.append(Migration(int(match[1]), file.name, text, hashlib.sha256(text.encode()).hexdigest()))
    return sorted(found, key=lambda migration: migration.number)


def pending(all_: Sequence[Migration], applied: Sequence[Applied]) -> list[Migration]:
    """What is still to be applied, given what was. Migrations of a newer version are fine unless they take away.

    Raises:
        MigrationError: the database is too new for this program, or an applied file has changed since.
    """
    known = {migration.number for migration in all_}
    if taking := sorted(row.number for row in applied if row.is_contract and row.number not in known):
        raise MigrationError(
            f"the database has migration {taking[-1]:04d}, which this version does not know and which takes away what it "
            "needs: start the newer version of Penstock, or restore a backup"
        )
    checksums = {row.number: row.checksum for row in applied}
    for migration in all_:
        if checksums.get(migration.number, migration.checksum) != migration.checksum:
            raise MigrationError(f"{migration.name} was changed after it was applied: restore the file as released")
    return [migration for migration in all_ if migration.number not in checksums]
