"""Readiness follows the usage writer and the store, and comes back with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from penstock.engine import readiness
from penstock.engine.readiness import STORE_PATIENCE_S, StoreHealth
from penstock.persistence import DatabaseUnavailable
from tests.conftest import FakeApp


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the watch tells nobody else
            await asyncio.sleep(0.005)


def _told(fake_app: FakeApp) -> bool:
    """What the data plane answers."""
    return fake_app.engine.ready


def _metric(text: str, name: str) -> float:
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))


def test_the_store_s_health_is_that_of_its_worst_user() -> None:
    now = 100.0
    health = StoreHealth(lambda: now)
    assert health.failing_s() == 0
    health.failed("a")
    now = 110.0
    health.failed("a")
    health.failed("b")
    assert (health.failing_s(), health.failures) == (10, 3)
    health.worked("a")
    now = 112.0
    assert health.failing_s() == 2
    health.worked("b")
    assert health.failing_s() == 0


async def test_a_store_that_fails_for_long_is_not_ready_until_it_works(
    fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, now = fake_app.runtime, [0.0]
    monkeypatch.setattr(runtime.store_health, "_clock", lambda: now[0])
    monkeypatch.setattr(readiness, "_INTERVAL_S", 0.005)
    assert _told(fake_app)

    async def fail(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("disk full")

    fake_app.engine.usage = [{}]
    with monkeypatch.context() as broken:
        broken.setattr(runtime.ledger, "commit", fail)
        with pytest.raises(DatabaseUnavailable):
            await runtime.usage.flush()
        now[0] = STORE_PATIENCE_S - 1
        runtime.readiness.update()
        assert _told(fake_app), "a short failure is what the queue is for"
        now[0] = STORE_PATIENCE_S + 1
        runtime.readiness.update()
        assert not _told(fake_app)
        assert (await fake_app.client.get("/_health/ready")).status_code == 503
        metrics = (await fake_app.client.get("/metrics", headers=fake_app.admin)).text
        assert _metric(metrics, "penstock_store_failing_seconds") == STORE_PATIENCE_S + 1
        assert _metric(metrics, "penstock_store_failures_total") >= 1
    fake_app.engine.usage = []
    await runtime.usage.flush()
    runtime.readiness.update()
    assert _told(fake_app)
    assert (await fake_app.client.get("/_health/ready")).status_code == 200


async def test_a_writer_that_has_ended_is_not_ready_and_is_begun_again(
    fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer = fake_app.runtime.usage
    with monkeypatch.context() as broken:

        async def die() -> int:
            raise RuntimeError("a defect")

        broken.setattr(writer, "_work", die)
        # Found by the watch itself: nobody asks.
        await _until(lambda: not _told(fake_app))
        assert (await fake_app.client.get("/_health/ready")).status_code == 503
    await _until(lambda: _told(fake_app))
    assert (await fake_app.client.get("/_health/ready")).status_code == 200
    events = [vars(line).get("event") for line in caplog.records]
    assert {"background.ended", "readiness.lost", "readiness.back"} <= set(events)


async def test_a_draining_process_does_not_become_ready_again(fake_app: FakeApp) -> None:
    await fake_app.runtime.drain(0)
    fake_app.runtime.readiness.update()
    assert not _told(fake_app)
    assert not fake_app.runtime.is_ready
