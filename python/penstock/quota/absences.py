"""Which gateways count limits without Redis: they say so in the database, so that the others can tell them from those that ended.

Apart from the register because Redis cannot say it: a gateway that was killed and one that is cut off from Redis are both
silent there, and to the second one the others must leave its share. Of "I count alone" and "it has ended" the database keeps
what it was told first: a gateway uses its share when it was first, and its share is everybody's when it was not.
Nothing is written as long as Redis answers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Literal, NamedTuple

from penstock.persistence import DatabaseUnavailable
from penstock.quota.store import AbsenceStore
from penstock.shared.redis import SharedUnavailable

logger = logging.getLogger("penstock.quota")

_AGAIN_S: Final = 0.25
_LOOK_EVERY_S: Final = 1.0
_LONGEST_WAIT_S: Final = 0.5
_LAST_WORD_S: Final = 2.0

Removal = Literal["removed", "kept", "gone", "changed"]
"""What became of an entry of the register: it is not there any more, still counts because not everything was told that its gateway
used, was not there, or is another one because the gateway was heard."""


class Silent(NamedTuple):
    """A gateway that was not heard for long."""

    incarnation: str
    entry: str
    """Its entry in the register."""
    silence_ms: int = 0
    """For how long by Redis' clock."""


class Absences:
    """Keeps this gateway's row as it should be, and looks after those that are silent. One per process."""

    def __init__(
        self,
        store: AbsenceStore,
        incarnation: str,
        take_out: Callable[[Silent], Awaitable[Removal]],
        waits_ms: int | None = None,
    ) -> None:
        """``take_out`` removes an entry from the register if it is still the same; ``waits_ms``: how long calls wait for an answer."""
        self._store = store
        self._incarnation = incarnation
        self._take_out = take_out
        self._longest_wait_s = _LONGEST_WAIT_S if waits_ms is None else min(_LONGEST_WAIT_S, waits_ms / 2000)
        self._is_alone = False
        self._is_entered: bool | None = False
        """None: nobody knows."""
        self._has_share: bool | None = None
        self._asked = 0
        """Raised with every question to the database whose answer an earlier one does not have."""
        self._waits_until = 0.0
        self._heard_at = 0
        self._decided = asyncio.Event()
        self._changed = asyncio.Event()
        self._silent: list[Silent] = []
        self._heard_nothing = asyncio.Event()

    def begin(self, *, heard_at: int | None) -> None:
        """This gateway counts without Redis from now on. ``heard_at``: when it was heard last for certain, monotonic milliseconds; None:
        the others do not know of it."""
        self._is_alone = True
        # If its row of the last outage is still there nobody can have taken it for ended.
        self._has_share = True if heard_at is None or (self._is_entered and self._has_share) else None
        if self._has_share is None:
            # Asked anew, also when the row of the last outage is still there: it may have been heard since.
            self._is_entered = None
            self._asked += 1
        self._heard_at = heard_at or 0
        self._wait()

    def may_be_heard(self) -> None:
        """It goes on without Redis, which may have entered it in the register just now."""
        if not (self._is_entered and self._has_share):
            self._is_entered = self._has_share = None
            self._asked += 1
            self._wait()

    def end(self) -> None:
        """It does not any more."""
        self._is_alone = False
        self._decided.set()
        self._changed.set()

    def heard_nothing_of(self, silent: list[Silent]) -> None:
        """Gateways that have been silent for long."""
        self._silent = silent
        if silent:
            self._heard_nothing.set()

    @property
    def has_share(self) -> bool:
        """Whether the others leave its share to this gateway, which counts without Redis."""
        return self._has_share is True

    @property
    def is_decided(self) -> bool:
        """Whether that is known, or calls have waited for it long enough."""
        return not self._is_alone or self._has_share is not None or time.monotonic() >= self._waits_until

    async def decided(self) -> None:
        """Wait until it is."""
        while not self.is_decided:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.001, self._waits_until - time.monotonic())):
                    await self._decided.wait()

    async def counts_alone(self, incarnation: str) -> bool:
        """Whether another gateway does, or did when it ended.

        Raises:
            DatabaseUnavailable: nobody knows.
        """
        return bool(await self._store.alone([incarnation]))

    async def write(self) -> None:
        """Keep this gateway's row, until cancelled."""
        level = logging.WARNING
        while True:
            try:
                await self._write()
            except DatabaseUnavailable as error:
                # Once, and not with every try.
                _say(error, level)
                level = logging.DEBUG
                await asyncio.sleep(_AGAIN_S)
            else:
                level = logging.WARNING
                self._changed.clear()
                # What changed while the last of it was written is not to be slept over.
                if self._is_entered is self._is_alone:
                    await self._changed.wait()

    async def watch(self) -> None:
        """Take out those that have ended, until cancelled."""
        while True:
            await self._heard_nothing.wait()
            self._heard_nothing.clear()
            silent, self._silent = self._silent, []
            try:
                if silent and not self._is_alone:
                    await self._judge(silent)
            except (DatabaseUnavailable, SharedUnavailable) as error:
                _say(error)
            # They are named again with every beat.
            await asyncio.sleep(_LOOK_EVERY_S)

    async def stop(self, *, is_told: bool) -> None:
        """This gateway ends; call it after the tasks were cancelled. ``is_told``: Redis knows everything that it used."""
        # Otherwise what it used counts for as long as its share is left to it.
        self._is_alone = not is_told
        try:
            async with asyncio.timeout(_LAST_WORD_S):
                await self._write()
        except (DatabaseUnavailable, TimeoutError) as error:
            _say(error)

    def _wait(self) -> None:
        self._waits_until = time.monotonic() + self._longest_wait_s
        self._changed.set()
        if self.is_decided:
            self._decided.set()
        else:
            self._decided.clear()

    async def _write(self) -> None:
        while self._is_entered is not self._is_alone:
            wanted, asked, self._is_entered = self._is_alone, self._asked, None
            if wanted:
                has_share = await self._store.enter(self._incarnation, self._heard_at)
                if asked != self._asked:
                    # It was heard since, which this answer does not know.
                    continue
                if self._is_alone and (self._has_share is None or not has_share):
                    self._has_share = has_share
                    self._decided.set()
                if not has_share:
                    logger.warning("the others took this gateway for ended", extra={"event": "quota.no_share"})
            else:
                await self._store.leave(self._incarnation)
            self._is_entered = wanted

    async def _judge(self, silent: list[Silent]) -> None:
        alone = await self._store.alone([each.incarnation for each in silent])
        for each in silent:
            if each.incarnation in alone or not await self._store.judge(each.incarnation):
                continue
            if await self._take_out(each) == "removed":
                fields = {"event": "quota.ended", "gateway": each.incarnation}
                logger.warning("a gateway has ended without a word", extra=fields)


def _say(error: Exception, level: int = logging.DEBUG) -> None:
    logger.log(level, "not known who counts alone", extra={"event": "quota.absent", "reason": str(error)})
