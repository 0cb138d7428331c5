"""When calls are let through."""

from __future__ import annotations

import pytest

from penstock.shared.breaker import Breaker
from penstock.shared.redis import SharedUnavailable


class Server:
    """Fails or answers; counts how often it was asked."""

    def __init__(self) -> None:
        self.fails = True
        self.asked = 0

    async def call(self) -> int:
        self.asked += 1
        if self.fails:
            raise SharedUnavailable("gone")
        return self.asked


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_it_opens_after_failures_in_a_row_and_lets_one_probe_through() -> None:
    server, clock = Server(), Clock()
    breaker = Breaker("test", failures=3, pause_s=1, longest_pause_s=3, clock=clock)
    for state in ("closed", "closed", "open", "open"):
        with pytest.raises(SharedUnavailable):
            await breaker.call(server.call)
        assert breaker.state == state
    assert server.asked == 3
    asked: list[int] = []
    # Pauses of 1, 2, 3 and 3 seconds.
    for second in range(1, 11):
        clock.now = float(second)
        with pytest.raises(SharedUnavailable):
            await breaker.call(server.call)
        if server.asked > 3 + len(asked):
            asked.append(second)
    assert asked == [1, 3, 6, 9]
    server.fails, clock.now = False, 12.0
    await breaker.call(server.call)
    assert breaker.state == "closed"
    assert breaker.opened == 1


async def test_a_success_begins_the_count_anew_and_other_errors_do_not_count() -> None:
    server = Server()
    breaker = Breaker("test", failures=2)
    for _ in range(3):
        server.fails = True
        with pytest.raises(SharedUnavailable):
            await breaker.call(server.call)
        server.fails = False
        await breaker.call(server.call)

    async def wrong() -> None:
        raise ValueError

    for _ in range(3):
        with pytest.raises(ValueError):
            await breaker.call(wrong)
    assert breaker.state == "closed"
