"""What is heard of keys while the database cannot be asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import pytest

from penstock.audit import AuditTrail
from penstock.engine.propagation import Propagation
from penstock.persistence import DatabaseUnavailable
from penstock.shared.bus import Announced


class Keys:
    """A key table, and a service whose database is away."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.followed = 0

    def drop_keys(self, tokens: list[str]) -> None:
        self.told += [f"drop {token}" for token in tokens]

    async def refresh(self, tokens: Iterable[str]) -> None:
        self.told += [f"ask {token}" for token in tokens]
        raise DatabaseUnavailable("away")

    async def follow(self) -> None:
        self.followed += 1


@pytest.mark.parametrize(
    "action, told",
    [
        ("key.block", ["drop t", "ask t", "drop t"]),
        ("key.delete", ["drop t", "ask t", "drop t"]),
        # It may say `blocked`, or that the key expires now.
        ("key.update", ["ask t", "drop t"]),
    ],
)
async def test_a_key_that_may_be_revoked_is_forgotten(action: str, told: list[str]) -> None:
    keys, unasked = Keys(), cast(AuditTrail, None)
    propagation = Propagation(None, unasked, keys, keys, keys.follow)
    await propagation._heard([Announced("key", "t", action), Announced("team", "x", "team.update")])
    assert keys.told == told[:-2], "at once, whatever the database does"
    await propagation._look()
    assert keys.told == told
    assert keys.followed == 1
