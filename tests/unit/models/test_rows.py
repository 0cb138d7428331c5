"""Rows of stored models, in SQLite and in PostgreSQL."""

from __future__ import annotations

import pytest

from penstock.models.models import StoredModel
from penstock.models.store import ModelStore
from penstock.persistence import Conflict, Database


async def test_rows_of_models(database: Database) -> None:
    store = ModelStore(database)
    row = StoredModel(
        model_id="a",
        model_name="m",
        sealed_params=b"\x00\xff",
        hints="{}",
        model_info='{"a": "\\u0000"}',
        blocked=0,
        created_at=2,
        created_by="x",
        updated_at=2,
        updated_by="x",
    )
    async with database.transaction() as tx:
        await store.insert(tx, row)
    with pytest.raises(Conflict):
        async with database.transaction() as tx:
            await store.insert(tx, row)
    async with database.transaction() as tx:
        row.blocked, row.model_name = 1, "n"
        row.updated_at = 3
        assert await store.replace(tx, row, 2)
        assert not await store.replace(tx, row, 2), "somebody was faster"
        assert await store.get_in(tx, "a") == row
    assert await store.all() == [row]
    async with database.transaction() as tx:
        assert await store.delete(tx, "a")
        assert not await store.delete(tx, "a")
    assert await store.all() == []
