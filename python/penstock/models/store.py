"""Rows of `models`."""

from __future__ import annotations

import msgspec

from penstock.models.models import StoredModel
from penstock.persistence import Database, Row, Transaction

_COLUMNS = StoredModel.__struct_fields__
_ALL = "SELECT * FROM models ORDER BY created_at, model_id"


def _decode(row: Row) -> StoredModel:
    return msgspec.convert(dict(row), StoredModel)


class ModelStore:
    """Queries; the service decides and seals."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def all(self) -> list[StoredModel]:
        """Every model, oldest first."""
        return [_decode(row) for row in await self.database.fetch_all(_ALL)]

    async def all_in(self, tx: Transaction) -> list[StoredModel]:
        """Every model as the transaction sees it."""
        return [_decode(row) for row in await tx.fetch_all(_ALL)]

    async def get_in(self, tx: Transaction, model_id: str) -> StoredModel | None:
        """One model as the transaction sees it."""
        row = await tx.fetch_one("SELECT * FROM models WHERE model_id = ?", (model_id,))
        return _decode(row) if row else None

    async def insert(self, tx: Transaction, model: StoredModel) -> None:
        """A new model. Raises Conflict when the id is taken."""
        marks = ", ".join("?" * len(_COLUMNS))
        values = [getattr(model, column) for column in _COLUMNS]
        await tx.execute(f"INSERT INTO models ({', '.join(_COLUMNS)}) VALUES ({marks})", values)

    async def replace(self, tx: Transaction, model: StoredModel, seen: int) -> bool:
        """Write an existing model's values, if it is as it was when it was read (`updated_at`): False when it is not."""
        columns = [column for column in _COLUMNS if column not in ("model_id", "created_at", "created_by")]
        assignments = ", ".join(f"{column} = ?" for column in columns)
        values = [getattr(model, column) for column in columns]
        sql = f"UPDATE models SET {assignments} WHERE model_id = ? AND updated_at = ?"
        return await tx.execute(sql, [*values, model.model_id, seen]) > 0

    async def delete(self, tx: Transaction, model_id: str) -> bool:
        """Remove a model."""
        return await tx.execute("DELETE FROM models WHERE model_id = ?", (model_id,)) > 0
