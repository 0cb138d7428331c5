"""Coworkers killed at the worst moments, servers that stop, and entries that nobody can read."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import pytest

from penstock.ledger import wire
from tests.conftest import Process
from tests.integration.ledger.conftest import Rig
from tests.integration.managed import Managed, until
from tests.servers.postgres import Postgres
from tests.servers.redis import Redis
from tests.unit.ledger.test_usage import record

NO_COWORKER = "{coworker: false}"


def _answered(gateway: Managed, key: str, count: int) -> list[str]:
    answers = gateway.many(key, count)
    assert {answer.status_code for answer in answers} == {200}
    return sorted(answer.headers["x-penstock-call-id"] for answer in answers)


@contextmanager
def _totals_held(rig: Rig) -> Iterator[None]:
    """No transaction of the ledger can commit: the row that each of them changes last is somebody else's."""
    held, over = threading.Event(), threading.Event()

    async def hold() -> None:
        connection = await asyncpg.connect(rig.database_url)
        try:
            async with connection.transaction():
                await connection.execute("LOCK TABLE spend_totals IN EXCLUSIVE MODE")
                held.set()
                await asyncio.to_thread(over.wait)
        finally:
            await connection.close()

    thread = threading.Thread(target=lambda: asyncio.run(hold()))
    thread.start()
    assert held.wait(10)
    try:
        yield
    finally:
        over.set()
        thread.join()


def _waits_for_a_lock(rig: Rig) -> bool:
    return bool(
        rig.query("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
    )


def _taken(rig: Rig) -> int:
    return int(rig.stream.xpending(wire.STREAM, wire.GROUP)["pending"])


def _kill(process: Process) -> None:
    process.process.kill()
    process.process.wait()


def test_a_coworker_killed_before_its_commit_leaves_the_batch_to_another(rig: Rig) -> None:
    gateway = rig.gateway(NO_COWORKER)
    victim = rig.coworker()
    victim.wait_ready()
    with _totals_held(rig):
        calls = _answered(gateway, gateway.key(), 12)
        until(lambda: _taken(rig) and _waits_for_a_lock(rig), what="a transaction under way")
        _kill(victim)
    until(lambda: not _waits_for_a_lock(rig), what="its end")
    assert rig.calls() == [], "nothing was committed"
    other = rig.coworker()
    until(lambda: rig.calls() == calls, 25, "the batch in the ledger")
    until(lambda: rig.waiting() == 0, 25, "an empty stream")
    assert len(set(rig.books().values())) == 1, rig.books()
    assert other.stop() == 0


def test_a_coworker_killed_between_commit_and_acknowledgement_changes_nothing(own_rig: Rig) -> None:
    rig = own_rig
    gateway = rig.gateway(NO_COWORKER)
    victim = rig.coworker()
    victim.wait_ready()
    with _totals_held(rig):
        calls = _answered(gateway, gateway.key(), 12)
        until(lambda: _taken(rig) and _waits_for_a_lock(rig), what="a transaction under way")
        rig.redis.freeze()
    until(lambda: rig.calls() == calls, what="the commit")
    _kill(victim)
    rig.redis.resume()
    assert rig.waiting() > 0, "it was not acknowledged"
    other = rig.coworker()
    until(lambda: rig.waiting() == 0, 25, "an empty stream")
    assert other.stop() == 0
    assert rig.calls() == calls
    books = rig.books()
    assert len(set(books.values())) == 1, books
    assert rig.query("SELECT SUM(total_spend)::bigint AS spend FROM keys")[0]["spend"] == books["rows"][1]


def test_a_redis_that_hangs_delays_nothing(own_rig: Rig) -> None:
    rig = own_rig
    gateway = rig.gateway()
    key = gateway.key()
    calls = _answered(gateway, key, 5)
    until(lambda: rig.calls() == calls, what="the first records")
    rig.redis.freeze()
    try:
        calls += _answered(gateway, key, 5)
        until(lambda: rig.calls() == sorted(calls), 10, "records past Redis")
    finally:
        rig.redis.resume()
    calls += _answered(gateway, key, 5)
    until(lambda: rig.calls() == sorted(calls), 20, "records after it")
    assert len(set(rig.books().values())) == 1, rig.books()


@pytest.mark.parametrize("with_redis", [True, False])
def test_a_database_that_stops_for_a_while_gets_everything(
    with_redis: bool, redis: Redis, start_managed: Callable[..., Managed], start_process: Callable[..., Process]
) -> None:
    node = Postgres.create()
    try:
        redis.flush()
        rig = Rig(node.url(node.new_database()), redis, start_managed, start_process)
        gateway = rig.gateway() if with_redis else rig.alone()
        key = gateway.key()
        calls = _answered(gateway, key, 5)
        until(lambda: rig.calls() == sorted(calls), what="the first records")
        node.stop()
        for _ in range(3):
            calls += _answered(gateway, key, 5)
        node.start()
        until(lambda: rig.calls() == sorted(calls), 25, "every record")
        assert len(set(rig.books().values())) == 1, rig.books()
        assert gateway.gateway.process.stop() == 0
    finally:
        node.close()


def test_what_cannot_be_read_is_put_aside_and_holds_up_nobody(rig: Rig) -> None:
    def entry(incarnation: str, *records: dict[str, Any]) -> dict[str, Any]:
        rows = json.dumps([list(one.values()) for one in records])
        return {"i": incarnation, "f": 1, "l": len(records), "r": rows}

    good = [record(number, "t", event_id=f"g{number}:1", call_id=f"g{number}") for number in range(1, 6)]
    bad = {**record(3, "t", event_id="bad:1", call_id="bad"), "cost": 2**70}
    rig.gateway(NO_COWORKER)  # brings the database's schema
    rig.stream.xadd(wire.STREAM, entry("one", good[0], good[1], bad, good[2]))
    rig.stream.xadd(wire.STREAM, {"nonsense": "x"})
    rig.stream.xadd(wire.STREAM, {"i": "two", "f": 1, "l": 3, "r": "[["})
    rig.stream.xadd(wire.STREAM, entry("three", good[3], good[4]))
    one = rig.coworker("--once")
    assert one.wait() == 0, one.output()
    assert rig.calls() == ["g1", "g2", "g3", "g4", "g5"]
    assert rig.waiting() == 0
    kept = [row["record"] for row in rig.query("SELECT record FROM usage_rejected")]
    assert len(kept) == 3
    assert any('"bad:1"' in text for text in kept)
    marks = {row["incarnation"]: row["seq"] for row in rig.query("SELECT incarnation, seq FROM ledger_progress")}
    assert marks["one"] == 4
    assert marks["two"] == 3
    assert marks["three"] == 2
    assert len(set(rig.books().values())) == 1, rig.books()


def test_a_second_signal_is_not_needed(rig: Rig) -> None:
    """A coworker that waits for a database ends at once, too."""
    rig.gateway(NO_COWORKER)
    coworker = rig.coworker()
    coworker.wait_ready()
    rig.stream.execute_command("CLIENT", "PAUSE", "1000", "ALL")
    assert coworker.stop(signal.SIGINT) == 0, coworker.output()
