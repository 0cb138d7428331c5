"""Rows of `credentials`."""

from __future__ import annotations

import msgspec

from penstock.persistence import Database, Row, Transaction


class SealedCredential(msgspec.Struct, kw_only=True):
    """A row; `hints` are the masked values, `info` is JSON."""

    credential_name: str
    sealed_values: bytes
    hints: str
    info: str
    created_at: int
    created_by: str
    updated_at: int
    updated_by: str


_COLUMNS = SealedCredential.__struct_fields__


def _decode(row: Row) -> SealedCredential:
    return msgspec.convert(dict(row), SealedCredential)


class CredentialStore:
    """Queries; the service decides and seals."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def all(self) -> list[SealedCredential]:
        """Every credential, by name."""
        rows = await self.database.fetch_all("SELECT * FROM credentials ORDER BY credential_name")
        return [_decode(row) for row in rows]

    async def get(self, tx: Transaction, name: str) -> SealedCredential | None:
        """One credential as the transaction sees it."""
        row = await tx.fetch_one("SELECT * FROM credentials WHERE credential_name = ?", (name,))
        return _decode(row) if row else None

    async def insert(self, tx: Transaction, credential: SealedCredential) -> None:
        """A new credential. Raises Conflict when the name is taken."""
        marks = ", ".join("?" * len(_COLUMNS))
        values = [getattr(credential, column) for column in _COLUMNS]
        await tx.execute(f"INSERT INTO credentials ({', '.join(_COLUMNS)}) VALUES ({marks})", values)

    async def replace(self, tx: Transaction, credential: SealedCredential) -> None:
        """Write an existing credential's values."""
        await tx.execute(
            "UPDATE credentials SET sealed_values = ?, hints = ?, info = ?, updated_at = ?, updated_by = ?"
            " WHERE credential_name = ?",
            (
                credential.sealed_values,
                credential.hints,
                credential.info,
                credential.updated_at,
                credential.updated_by,
                credential.credential_name,
            ),
        )

    async def delete(self, tx: Transaction, name: str) -> bool:
        """Remove a credential."""
        return await tx.execute("DELETE FROM credentials WHERE credential_name = ?", (name,)) > 0
