"""The end of a process whose database is away: one patience for all of it, and honest words about what is left."""

from __future__ import annotations

import asyncio

import pytest

from penstock.ledger import accounting
from penstock.persistence import DatabaseUnavailable
from tests.conftest import FakeApp
from tests.stalls import Stopwatch


@pytest.mark.parametrize("way", ["refuses", "hangs"])
async def test_it_waits_once_and_says_where_the_records_are(
    fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    asked = 0

    async def away() -> int:
        nonlocal asked
        asked += 1
        if way == "hangs":
            await asyncio.Event().wait()
        raise DatabaseUnavailable("gone")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(accounting, "_LAST_PATIENCE_S", 0.6)
        meanwhile.setattr(fake_app.runtime.usage, "flush", away)
        watch = Stopwatch()
        for _ in range(3):
            await fake_app.runtime.accounting.flush(lambda: 7)
        assert watch.ran_s < 3
    assert asked >= 3
    (told,) = [record for record in caplog.records if record.__dict__.get("event") == "usage.left"]
    assert told.__dict__["records"] == 7
    assert "left to the journal" in told.message


async def test_nothing_is_said_when_nothing_is_left(
    fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def away() -> int:
        raise DatabaseUnavailable("gone")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(accounting, "_LAST_PATIENCE_S", 0.1)
        meanwhile.setattr(fake_app.runtime.usage, "flush", away)
        await fake_app.runtime.accounting.flush(lambda: 0)
    assert not [record for record in caplog.records if record.__dict__.get("event") == "usage.left"]
