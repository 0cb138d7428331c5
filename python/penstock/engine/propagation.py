"""Changes of keys, limits and models reach every replica: announced over Redis at once, else found in the audit trail.

Apart from the runtime because this is one promise with two ways to keep it, and a third rule for when the database is down:
a revoked key is forgotten before anybody is asked, because nobody may be able to answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from penstock.audit import AuditTrail
from penstock.audit.announcing import announce
from penstock.engine import background
from penstock.persistence import DatabaseUnavailable
from penstock.shared.bus import Announced, ChangeBus
from penstock.shared.redis import SharedRedis

logger = logging.getLogger("penstock")

_REVOKED = frozenset({"key.delete", "key.block", "key.regenerate"})


class KeyTable(Protocol):
    """The part of `penstock._core.Engine` that holds keys."""

    def drop_keys(self, tokens: list[str]) -> None:
        """Forget."""


class KeyRefresh(Protocol):
    """The part of the keys' service that follows others' changes."""

    async def refresh(self, tokens: Iterable[str]) -> None:
        """Tell the data plane the present state."""


class Propagation:
    """Between this replica and the others."""

    def __init__(
        self,
        redis: SharedRedis | None,
        audit: AuditTrail,
        keys: KeyRefresh,
        table: KeyTable,
        follow: Callable[[], Awaitable[None]],
    ) -> None:
        """``follow`` looks at the trail and applies what is new there; it reports outside failures by itself."""
        self._bus = ChangeBus(redis, audit.origin) if redis is not None else None
        self._audit = audit
        self._keys = keys
        self._table = table
        self._follow = follow
        self._tasks: list[asyncio.Task[None]] = []
        self._changed: dict[str, None] = {}
        """Keys that were heard of and not looked at yet."""
        self._wake = asyncio.Event()

    @property
    def is_listening(self) -> bool:
        """Changes are heard at once."""
        return self._bus is not None and self._bus.is_listening

    def start(self) -> None:
        """Tell and hear, if there is Redis."""
        if self._bus is not None:
            self._tasks = [
                background.start(announce(self._audit, self._bus), "changes.tell"),
                background.start(self._bus.listen(self._heard), "changes.hear"),
                background.start(self._look_when_heard(), "changes.look"),
            ]

    async def stop(self) -> None:
        """Idempotent."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _heard(self, changes: list[Announced]) -> None:
        """Forget what was revoked; the rest is left to :meth:`_look`, as a database that hangs must not delay the next one."""
        revoked = [change.object_id for change in changes if change.action in _REVOKED]
        if revoked:
            self._table.drop_keys(revoked)
        self._changed.update(dict.fromkeys(change.object_id for change in changes if change.object_type == "key"))
        self._wake.set()

    async def _look_when_heard(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._look()

    async def _look(self) -> None:
        """Ask the database about what was heard of."""
        changed, self._changed = list(self._changed), {}
        if changed:
            try:
                await self._keys.refresh(changed)
            except DatabaseUnavailable as error:
                # A look-up that was under way may have told the data plane the state of before; and who was only changed
                # may have been blocked or cut short by that.
                self._table.drop_keys(changed)
                logger.warning(
                    "changed keys are forgotten unseen", extra={"event": "changes.revoked", "reason": str(error)}
                )
        await self._follow()
