"""What the data plane asks about while calls wait, answered for all who ask at once together.

A start under load, or a crowd larger than the data plane's tables, asks about thousands of keys or customers in a second.
One by one each would cost the database half a dozen questions, one after the other; together they cost as many as one does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from penstock.persistence import DatabaseUnavailable
from penstock.tables import SIZES

Resolve = Callable[[bytes], None]

_TOGETHER = SIZES[0]
"""The most that are answered at once: what one statement takes."""


class Asked(msgspec.Struct, frozen=True):
    """One question: the name of whom it is about, and who is given the answer."""

    name: str
    resolve: Resolve
    answered: asyncio.Future[None]

    def tell(self, answer: bytes) -> None:
        """Give the answer; what the data plane finds wrong with it is this question's trouble alone."""
        try:
            self.resolve(answer)
        except ValueError as error:
            if not self.answered.done():
                self.answered.set_exception(error)


Answer = Callable[[Sequence[Asked]], Awaitable[None]]
"""Tells each of those who asked, or nobody and raises."""


class Lookups:
    """Questions of one kind: those that come while others are being answered wait, and are answered together."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._waiting: list[Asked] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self, name: str, resolve: Resolve) -> None:
        """Returns when the question has its answer.

        Raises:
            DatabaseUnavailable: it has none.
            ValueError: the data plane refused it.
        """
        asked = Asked(name, resolve, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        if self._task is None:
            # Not at once: those that were read from the data plane together are all there when it begins.
            self._task = asyncio.ensure_future(self._run())
        await asked.answered

    async def _run(self) -> None:
        try:
            while self._waiting:
                together, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
                await self._attempt(together)
        finally:
            self._task = None

    async def _attempt(self, together: Sequence[Asked]) -> None:
        try:
            await self._answer(together)
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            if len(together) > 1 and not isinstance(error, DatabaseUnavailable):
                # One that cannot be read leaves the others their answers.
                half = len(together) // 2
                await self._attempt(together[:half])
                await self._attempt(together[half:])
                return
            if isinstance(error, DatabaseUnavailable):
                # Those who came meanwhile have waited for it, too. To try for them would take as long once more.
                together, self._waiting = [*together, *self._waiting], []
            for asked in together:
                if not asked.answered.done():
                    asked.answered.set_exception(error)
            return
        except BaseException:
            # Nobody is left to go on with those who came meanwhile.
            waiting, self._waiting = self._waiting, []
            for asked in (*together, *waiting):
                asked.answered.cancel()
            raise
        for asked in together:
            if not asked.answered.done():
                asked.answered.set_result(None)
