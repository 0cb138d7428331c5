"""Budgets that gateways share: what keys and scopes spent is passed on to who holds their money.

Apart from the domains, which know what was spent and not who needs to hear it, and from the quota service, which knows no
payers. A figure is read for other reasons anyway, whenever the ledger has charged somebody (`penstock.payers.Follower`); of
those that were missed, because nobody was to be told of them any more, this looks after itself.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

import msgspec

from penstock.keys.service import KeyService, own_scope
from penstock.payers import Figure
from penstock.persistence import DatabaseUnavailable
from penstock.quota.service import QuotaService
from penstock.scopes.service import ScopeService

_OWN = own_scope("")
_MISSED_S = 5.0
_EVERYTHING = 2**63 - 1


class Holder(Protocol):
    """The part of `penstock._core.Engine` that holds money."""

    def lower_holds(self, spends: bytes) -> list[int]:
        """Nano-dollars that are held less, now that the ledger has these records."""


class _Told(msgspec.Struct, frozen=True):
    scope: str
    seq: int


class SharedBudgets:
    """One per gateway."""

    def __init__(self, engine: Holder, keys: KeyService, scopes: ScopeService) -> None:
        self._engine = engine
        self._keys = keys
        self._scopes = scopes
        self._quota: QuotaService | None = None
        self._heard_at: dict[str, float] = {}

    def attach(self, quota: QuotaService) -> None:
        """Pass on to it what is spent from now on."""
        self._quota = quota
        self._keys.report(self._learn)
        self._scopes.report(self._learn)

    async def read(self, scope: str, ended: int) -> Figure | None:
        """What the owner of a budget has spent (:data:`penstock.quota.spends.SpentReader`).

        Raises:
            DatabaseUnavailable: that cannot be read.
        """
        return dict(await self._figures([scope], ended)).get(scope)

    async def look_after(self) -> None:
        """Hear of what is held and was not heard of for a while: who spent it may be gone, or nobody's any more.

        Raises:
            DatabaseUnavailable: that cannot be read.
        """
        if self._quota is None:
            return
        now, held = time.monotonic(), self._quota.held_budgets()
        self._heard_at = {scope: self._heard_at.get(scope, now) for scope in held}
        missed = [scope for scope, at in self._heard_at.items() if now - at > _MISSED_S]
        if missed:
            await self._hear_of(self._quota, missed)

    async def settle(self) -> bool:
        """Have everybody told what was spent, when the ledger has it all and no more calls come; False when that cannot be."""
        if self._quota is None:
            return True
        try:
            await self._hear_of(self._quota, self._quota.held_budgets())
        except DatabaseUnavailable:
            return False
        return True

    async def _hear_of(self, quota: QuotaService, scopes: Sequence[str]) -> None:
        self._heard_at.update(dict.fromkeys(scopes, time.monotonic()))
        figures = await self._figures(scopes, 0)
        self._learn(figures)
        known = {scope for scope, _ in figures}
        gone = [scope for scope in scopes if scope not in known]
        for scope, freed in zip(gone, self._lower([_Told(scope, _EVERYTHING) for scope in gone]), strict=True):
            quota.give_back(scope, "budget", freed)

    async def _figures(self, scopes: Sequence[str], ended: int) -> list[tuple[str, Figure]]:
        tokens = [scope.removeprefix(_OWN) for scope in scopes if scope.startswith(_OWN)]
        others = [scope for scope in scopes if not scope.startswith(_OWN)]
        found = await self._keys.figures(tokens, ended) if tokens else []
        return found + (await self._scopes.figures(others, ended) if others else [])

    def _learn(self, figures: Sequence[tuple[str, Figure]]) -> None:
        quota = self._quota
        if quota is None:
            return
        concerned = [(scope, figure) for scope, figure in figures if quota.holds_budget(scope)]
        freed = self._lower([_Told(scope, figure.seq) for scope, figure in concerned])
        now = time.monotonic()
        for (scope, figure), nanos in zip(concerned, freed, strict=True):
            self._heard_at[scope] = now
            if nanos:
                quota.tell_spent(scope, figure, nanos)

    def _lower(self, told: list[_Told]) -> list[int]:
        return self._engine.lower_holds(msgspec.json.encode(told)) if told else []
