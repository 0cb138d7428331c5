"""Scopes on a real database without a data plane, and usage records to charge."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.alerts.service import AlertService
from penstock.alerts.store import AlertStore
from penstock.audit import AuditTrail
from penstock.engine.events import UsageRecord
from penstock.keys.under import KeysUnder
from penstock.persistence import Database
from penstock.scopes.models import ModelLimit
from penstock.scopes.service import ScopeService
from penstock.scopes.store import ScopeStore

_TEXTS = {name for name, kind in UsageRecord.__annotations__.items() if kind == "str"}


class Rig:
    """A database, the service of scopes on it and what its data plane was told."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.told: dict[str, dict[str, Any]] = {}
        self.dropped: list[str] = []
        self.audit = AuditTrail(database)
        self.alerts = AlertService(AlertStore(database))
        self.scopes = self.another()

    def another(self) -> ScopeService:
        """The service of another process on the same database."""
        store = ScopeStore(self.database, "here")
        return ScopeService(store, self.audit, self.alerts, KeysUnder(self.database).predecessors, self, None)

    def put_scopes(self, records: bytes) -> None:
        """As the data plane's."""
        self.told.update({record["name"]: record for record in msgspec.json.decode(records)})

    def drop_scopes(self, names: list[str]) -> None:
        """As the data plane's."""
        self.dropped += names

    async def put(self, name: str, models: dict[str, ModelLimit] | None = None, **columns: Any) -> None:
        """Write a scope and tell of it."""
        async with self.database.transaction() as tx:
            await self.scopes.put(tx, name, columns, models)
        await self.scopes.publish([name])

    async def charge(self, *records: UsageRecord, service: ScopeService | None = None) -> None:
        """As the ledger does."""
        async with self.database.transaction() as tx:
            await (service or self.scopes).charge(tx, list(records))

    async def spent(self, name: str) -> tuple[int, int]:
        """Spend in the window and ever."""
        scope = await self.scopes.find(name)
        assert scope is not None, name
        return scope.spend, scope.total_spend


def record(cost: int, **fields: Any) -> UsageRecord:
    """A usage record of a call that cost so much."""
    values: dict[str, Any] = {name: "" if name in _TEXTS else 0 for name in UsageRecord.__struct_fields__}
    return UsageRecord(**{**values, "tags": "[]", "cost": cost, "model": "m", "model_group": "m", **fields})


@pytest.fixture
async def rig(database: Database) -> Rig:
    """Scopes on a new database of either kind."""
    return Rig(database)
