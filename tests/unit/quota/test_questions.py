"""Which draws go with the next trip, and how many returns."""

from __future__ import annotations

import asyncio
from collections import deque
from types import SimpleNamespace
from typing import Any

from penstock.quota.models import QuotaOptions
from penstock.quota.own_use import Back
from penstock.quota.questions import Questions
from penstock.quota.returns import Returns

_WAITS_MS = 5_000
_PATIENCE_MS = 500


async def test_under_more_than_redis_answers_those_are_asked_for_who_still_wait_for_the_answer() -> None:
    """A thousand draws a second; trips of 256 that take 400 ms each."""
    questions, now, in_time, late = Questions(_WAITS_MS, _PATIENCE_MS), 0, 0, 0
    waiting: deque[tuple[int, asyncio.Future[Any]]] = deque()
    for _ in range(100):
        for asked in range(now - 400, now):
            waiting.append((asked, questions.ask("t", [], asked)))
        trip = questions.cut(256, now)
        now += 400
        for job in trip:
            in_time += now < job.asked + _WAITS_MS
            late += now >= job.asked + _WAITS_MS
            job.answer.set_result(None)
    assert (in_time, late) == (25_600, 0)
    dropped = sum(answer.done() for _, answer in waiting) - in_time
    assert 0 < dropped <= len(waiting) - in_time


async def test_who_waits_for_ever_is_always_asked_for() -> None:
    questions = Questions(None, _PATIENCE_MS)
    questions.ask("t", [], 0)
    assert len(questions.cut(1, 10**9)) == 1


def test_a_trip_has_no_more_returns_than_it_has_time_for_and_the_rest_goes_with_the_next() -> None:
    link: Any = SimpleNamespace(epoch_key=str, key=lambda *parts: ":".join(parts), epoch=lambda tag: "e")
    returns = Returns(link, QuotaOptions())
    for number in range(2_500):
        returns.add((f"key:{number}", "tpm"), [Back("t", 7, 1), Back("t", 7, 2)])
    trips = []
    while returns:
        trips.append(returns.ops())
    assert [len(ops) for ops in trips] == [1_000, 1_000, 500]
    assert {op.command.request["units"] for ops in trips for op in ops} == {3}
