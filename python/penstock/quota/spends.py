"""What the owners of budgets have spent, as Redis is told it: ahead of a lower hold, and when Redis does not know.

Apart from the service because of one rule: what this process spent is in the ledger first, then Redis has the ledger's figure,
and in the same moment the hold is lower by as much. So money that is in neither place for a moment does not exist, and what is
in both only while nobody could be told.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from penstock.payers import Figure
from penstock.persistence import DatabaseUnavailable
from penstock.quota.holds import Holds
from penstock.quota.link import Link, Op, log_failure, now_ms
from penstock.quota.models import Ask
from penstock.quota.scripts import Command
from penstock.shared.redis import STREAM_DEADLINE_S, SharedUnavailable

logger = logging.getLogger("penstock.quota")

SpentReader = Callable[[str, int], Awaitable[Figure | None]]
"""What the owner of a budget has spent as the ledger has it, in the window after the one that ended at the given time (0: in the
present one); None: there is no such owner. Raises `DatabaseUnavailable`."""
_KIND = "budget"
_HELD = re.compile(rb"^[^{]*\{([^}]*)\}:held:budget:(.*)$", re.DOTALL)
_LAST = 2**52
"""An ordinal above all others."""
_CHUNK = 200


class Spends:
    """What Redis is to be told, and how it is asked of the ledger."""

    def __init__(self, link: Link, holds: Holds, reader: SpentReader | None) -> None:
        self._link = link
        self._holds = holds
        self._reader = reader
        self._waiting: dict[str, tuple[Figure, int]] = {}
        self._reading: dict[tuple[str, int], asyncio.Future[bool]] = {}

    @property
    def are_waiting(self) -> bool:
        """There is something to be told."""
        return bool(self._waiting)

    def add(self, scope: str, figure: Figure, freed: int) -> None:
        """A figure of the ledger contains so many of the nano-dollars that are held."""
        known, before = self._waiting.get(scope, (figure, 0))
        self._waiting[scope] = (max(known, figure, key=lambda one: one.version), before + freed)

    def ops(self, limit: int) -> list[Op]:
        """What is to be told now; what does not arrive waits again."""
        now = now_ms()
        taken = [(scope, *self._waiting.pop(scope)) for scope in list(self._waiting)[:limit]]
        return [op for one in taken if (op := self._telling(*one, now)) is not None]

    def _telling(self, scope: str, figure: Figure, freed: int, now: int) -> Op | None:
        link, held = self._link, (scope, _KIND)
        tag = self._holds.tag(held)
        if tag is None:
            return None
        ttl = link.options.budget_hold_ms
        hold = {"amount": self._holds.change(held, -freed, now), "ordinal": link.next_ordinal(), "ttl": ttl}

        def failed(error: Exception) -> None:
            # It is held again: whether Redis has heard is not known, and the amount that it is told next must not be less.
            self._holds.add(held, tag, freed, now, is_known=False)
            if isinstance(error, SharedUnavailable):
                self.add(scope, figure, freed)
            else:
                log_failure(error)

        op = self.op(tag, scope, figure)
        keys = [*op.command.keys, link.key(tag, "held", _KIND, scope)]
        command = op.command._replace(keys=keys, request={**op.command.request, "hold": hold})
        return op._replace(command=command, failed=failed)

    def op(self, tag: str, scope: str, figure: Figure) -> Op:
        """Sets the figure, unless a later one is known."""
        link = self._link
        request = {
            "amount": figure.spent,
            "version": figure.version,
            "end": figure.until,
            "ttl": link.options.spent_ttl_ms,
        }
        keys = [link.epoch_key(tag), link.key(tag, "spent", scope)]
        return Op(Command("spent", keys, request), tag, _nothing, log_failure)

    async def seed(self, asks: Iterable[Ask]) -> bool:
        """Look up in the ledger what Redis does not know, and tell it; False when that cannot be done. Who asks for the same
        while it is being looked up waits for that."""
        results = []
        for ask in asks:
            name = (ask.scope, ask.ended)
            if name not in self._reading:
                self._reading[name] = reading = asyncio.ensure_future(self._seed(ask))
                reading.add_done_callback(lambda _, name=name: self._reading.pop(name, None))  # type: ignore[misc]
            results.append(self._reading[name])
        return all([await asyncio.shield(result) for result in results])

    async def _seed(self, ask: Ask) -> bool:
        if self._reader is None:
            logger.error("nobody told Redis what a budget's owner spent", extra={"event": "quota.unseeded"})
            return False
        try:
            figure = await self._reader(ask.scope, ask.ended) or Figure(0, 0)
            await self._link.call([self.op(self._link.home(ask.scope, ask.tag), ask.scope, figure)])
        except DatabaseUnavailable as error:
            logger.error("a budget cannot be read", extra={"event": "quota.unseeded", "reason": str(error)})
            return False
        except SharedUnavailable:
            return False
        return True

    async def release(self, incarnation: str) -> int:
        """Let go of what a gateway held that has ended, now that the ledger has all that it spent; returns of how many budgets.

        Raises:
            SharedUnavailable: Redis cannot be asked; what is left expires.
            DatabaseUnavailable: the ledger cannot be; the same.
        """
        link = self._link
        found = await link.shared.run(self._held_by(incarnation), STREAM_DEADLINE_S)
        for tag, scope in found:
            figure = await self._reader(scope, 0) if self._reader is not None else None
            keys = [link.epoch_key(tag), link.key(tag, "held", _KIND, scope)]
            request: dict[str, Any] = {"incarnation": incarnation, "amount": 0, "ordinal": _LAST, "ttl": 1_000}
            ops = [self.op(tag, scope, figure)] if figure is not None else []
            await link.call([*ops, Op(Command("hold", keys, request), tag, _nothing, log_failure)], STREAM_DEADLINE_S)
        return len(found)

    async def _held_by(self, incarnation: str) -> list[tuple[str, str]]:
        """Tags and scopes of the budgets that a gateway holds something of. All keys are looked through, which only a gateway
        does that comes back after it was killed."""
        client = self._link.shared.client
        pattern = self._link.key("*", "held", _KIND, "*")
        keys = [key async for key in client.scan_iter(match=pattern, count=1_000)]
        found = []
        for begin in range(0, len(keys), _CHUNK):
            part = keys[begin : begin + _CHUNK]
            async with client.pipeline(transaction=False) as pipe:
                for key in part:
                    pipe.hexists(key, incarnation)
                held = await pipe.execute()
            matches = (_HELD.match(key) for key, is_held in zip(part, held, strict=True) if is_held)
            found += [(match[1].decode(), match[2].decode()) for match in matches if match is not None]
        return found


def _nothing(_: list[Any]) -> None:
    """The answer says nothing that is not known."""
