"""Draws that wait for the next trip to Redis.

Apart from the service because of one rule: what nobody waits for any more is not drawn. Where more is asked for than Redis answers, those
who waited longest would else take the turns of those who can still be served.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, NamedTuple

from penstock.quota.models import Ask
from penstock.shared.redis import SharedUnavailable


class Answer(NamedTuple):
    """What a script said to a draw."""

    sent: int
    """When Redis was asked, monotonic milliseconds."""
    settling: int
    taken: bool
    rows: list[list[Any]]


class Job(NamedTuple):
    """Asks that one script decides."""

    tag: str
    asks: list[Ask]
    asked: int
    """When the caller began to wait, monotonic milliseconds."""
    answer: asyncio.Future[Answer | None]


class Questions:
    """In the order in which they came."""

    def __init__(self, waits_ms: int | None, answer_ms: int) -> None:
        """``waits_ms``: how long a caller waits; None: for ever. ``answer_ms``: how long Redis may take to answer; who is asked for
        later than so long before the caller leaves is answered in vain."""
        self._waits = waits_ms
        self._margin = 0 if waits_ms is None else min(answer_ms, waits_ms // 2)
        self._jobs: deque[Job] = deque()

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def is_over(self, asked: int, now: int) -> bool:
        """Whether who began to wait at ``asked`` has left."""
        return self._waits is not None and now >= asked + self._waits

    def ask(self, tag: str, asks: list[Ask], asked: int) -> asyncio.Future[Answer | None]:
        """Queue a draw. Its answer is None when it was not drawn, because that took longer than its caller waits; it fails with
        `SharedUnavailable` when Redis does not answer."""
        answer: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._jobs.append(Job(tag, asks, asked, answer))
        return answer

    def cut(self, limit: int, now: int) -> list[Job]:
        """The next ones that somebody waits for; the others are told that they come too late."""
        taken: list[Job] = []
        while self._jobs and len(taken) < limit:
            job = self._jobs.popleft()
            if job.answer.done():
                continue
            if self.is_over(job.asked, now + self._margin):
                job.answer.set_result(None)
            else:
                taken.append(job)
        return taken

    def refuse(self, reason: str) -> None:
        """None of them is going to be asked."""
        while self._jobs:
            job = self._jobs.popleft()
            if not job.answer.done():
                job.answer.set_exception(SharedUnavailable(reason))
