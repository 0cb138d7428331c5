"""A command beside the gateways, with another configuration or none, changes none of their limits."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from penstock.audit import AuditTrail
from penstock.config import Config
from penstock.engine.entities import Entities, beside
from penstock.persistence import Database
from penstock.scopes import names


class _Keys:
    """The keys' service is only passed on."""

    def attach(self, scopes: object) -> None:
        """Named once."""


async def test_a_command_without_the_configuration_leaves_the_budget_of_the_proxy(database: Database) -> None:
    async def nothing() -> None:
        return

    plain, audit, keys = Config(), AuditTrail(database), _Keys()
    limited = msgspec.structs.replace(plain.litellm_settings, max_budget=Decimal(5), budget_duration="1d")
    gateway: Any = Entities(database, audit, keys, nothing)  # type: ignore[arg-type]
    await gateway.configure(msgspec.structs.replace(plain, litellm_settings=limited))
    beside(database, audit, keys, plain)  # type: ignore[arg-type]
    found = await gateway.scopes.find(names.PROXY)
    assert (found.max_budget, found.budget_duration) == (5_000_000_000, "1d")
