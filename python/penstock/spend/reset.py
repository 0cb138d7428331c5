"""`POST /global/spend/reset`: everybody's budget window counts from nothing again. The ledger and its sums stay.

Apart from the reports because this one changes something, and asks every domain that counts spending to take part.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from penstock.audit import AuditTrail
from penstock.persistence import Database, Transaction, managed


class Payers(Protocol):
    """A domain whose rows have a `spend`."""

    async def reset_spend(self, tx: Transaction) -> None:
        """Set every row's spend in its budget window to nothing; what was spent ever stays."""

    async def tell_reset(self) -> None:
        """Give the data plane the new figures."""


class SpendReset:
    """One transaction for all of them, so that it happens to everybody once or to nobody."""

    def __init__(
        self, database: Database, audit: AuditTrail, flush: Callable[[], Awaitable[int]], payers: Sequence[Payers]
    ) -> None:
        self._database = database
        self._audit = audit
        self._flush = flush
        self._payers = payers

    async def reset(self, actor: str) -> None:
        """Reset; calls settled so far are charged before it, so that they do not count after it."""
        await self._flush()

        async def once(tx: Transaction) -> None:
            for payers in self._payers:
                await payers.reset_spend(tx)
            await self._audit.append(tx, actor, "spend.reset", "spend", "all", ["spend"])

        await managed(self._database, once)
        await self.tell()

    async def tell(self) -> None:
        """Another process, or this one, has reset: pass it on."""
        for payers in self._payers:
            await payers.tell_reset()
