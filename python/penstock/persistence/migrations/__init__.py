"""Numbered SQL files and the record of which were applied.

A file that was applied is never edited: its checksum is kept in `schema_migrations` and compared at every start.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from importlib import resources

import msgspec

_NAME = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")


class MigrationError(Exception):
    """The database's schema does not belong to this version of Penstock."""


class Migration(msgspec.Struct, frozen=True):
    """One step of the schema."""

    number: int
    name: str
    sql: str
    checksum: str
    """SHA-256 of the file, hexadecimal."""


def available(dialect: str) -> list[Migration]:
    """All migrations of a dialect (`sqlite`), in order."""
    found = []
    for file in resources.files(__package__).joinpath(dialect).iterdir():
        match = _NAME.match(file.name)
        if match:
            text = file.read_text(encoding="utf-8")
            found.append(Migration(int(match[1]), file.name, text, hashlib.sha256(text.encode()).hexdigest()))
    return sorted(found, key=lambda migration: migration.number)


def pending(all_: list[Migration], applied: Mapping[int, str]) -> list[Migration]:
    """What is still to be applied, given the checksums of what was.

    Raises:
        MigrationError: the database is newer than this program, or an applied file has changed since.
    """
    known = {migration.number for migration in all_}
    if unknown := sorted(set(applied) - known):
        raise MigrationError(
            f"the database has migration {unknown[-1]:04d}, which this version does not know: "
            "start the newer version of Penstock, or restore a backup"
        )
    for migration in all_:
        if applied.get(migration.number, migration.checksum) != migration.checksum:
            raise MigrationError(f"{migration.name} was changed after it was applied: restore the file as released")
    return [migration for migration in all_ if migration.number not in applied]
