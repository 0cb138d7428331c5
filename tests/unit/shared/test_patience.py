"""Deadlines and processes that stand still."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest

from penstock.shared.patience import patience
from tests.stalls import Stopwatch, again_after_a_stall


def stand_still(seconds: float) -> None:
    """As this process does when its container is throttled."""
    time.sleep(seconds)


async def test_who_does_not_answer_is_given_up() -> None:
    watch = Stopwatch()
    with pytest.raises(TimeoutError):
        async with patience(0.1):
            await asyncio.Event().wait()
    assert watch.seconds > 0.09
    assert watch.ran_s < 2


async def test_an_answer_that_came_while_this_process_stood_still_is_read() -> None:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        answer = asyncio.ensure_future(loop.sock_recv(ours, 10))
        async with patience(0.1):
            await asyncio.sleep(0)
            theirs.send(b"in time")
            stand_still(0.3)
            assert await answer == b"in time"


@again_after_a_stall(0.1)
async def test_an_answer_that_comes_right_after_it_is_read_too() -> None:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        answer = asyncio.ensure_future(loop.sock_recv(ours, 10))
        # The server stood still with us.
        threading.Timer(1.05, theirs.send, [b"late"]).start()
        async with patience(0.5):
            await asyncio.sleep(0)
            stand_still(1)
            # Until 1.5 s after the beginning.
            assert await answer == b"late"


async def test_a_process_that_stands_still_again_and_again_gives_up_all_the_same() -> None:
    loop = asyncio.get_running_loop()
    stood = 0

    def again() -> None:
        nonlocal stood
        stood += 1
        stand_still(0.1)
        if stood < 50:
            loop.call_later(0.005, again)

    again()
    with pytest.raises(TimeoutError):
        async with patience(0.03):
            await asyncio.Event().wait()
    assert stood < 12
    stood = 50


async def test_errors_and_cancellation_pass_through() -> None:
    with pytest.raises(KeyError):
        async with patience(1):
            raise KeyError("mine")

    async def wait() -> None:
        async with patience(60):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(wait())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
