"""A task that ends is begun again, and looks well only when it stays."""

from __future__ import annotations

import asyncio

import pytest

from penstock.engine import background
from penstock.engine.background import Kept


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses to speak of."""
    monkeypatch.setattr(background, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(background, "_LONGEST_PAUSE_S", 0.001)


class Work:
    """Fails as often as it is told to, and then runs on."""

    def __init__(self, failures: int) -> None:
        self.left = failures
        self.begun = 0
        self.lasts = asyncio.Event()
        self.asked_to_end = asyncio.Event()

    async def __call__(self) -> None:
        self.begun += 1
        if self.left:
            self.left -= 1
            raise RuntimeError("a defect")
        self.lasts.set()
        await self.asked_to_end.wait()


async def test_it_is_begun_again_and_a_few_ends_are_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    work = Work(2)
    kept = Kept(work, "it")
    await work.lasts.wait()
    assert work.begun == 3
    assert kept.trouble() is None
    assert [vars(line)["task"] for line in caplog.records] == ["it", "it"]
    await kept.stop()
    assert kept.task.cancelled()


async def test_ending_again_and_again_is_trouble_until_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(3)
    kept = Kept(work, "it")
    await work.lasts.wait()
    assert kept.trouble() == "the it has ended"
    with monkeypatch.context() as later:
        later.setattr(background, "_STEADY_S", 0)
        assert kept.trouble() is None
    assert kept.trouble() is not None
    kept.worked()
    assert kept.trouble() is None
    await kept.stop()


async def test_what_is_asked_to_end_is_not_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(0)
    kept = Kept(work, "it")
    await work.lasts.wait()
    work.asked_to_end.set()
    await kept.finish()
    assert work.begun == 1

    monkeypatch.setattr(background, "_FIRST_PAUSE_S", 60)
    failing = Work(1)
    kept = Kept(failing, "it")
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await kept.finish()
    assert failing.begun == 1
