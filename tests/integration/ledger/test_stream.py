"""Records on their way from gateways over Redis into PostgreSQL: each of them arrives once, whatever happens between."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.ledger.conftest import Rig
from tests.integration.managed import until

NO_COWORKER = "{coworker: false}"


def _answered(gateway: object, key: str, count: int) -> list[str]:
    answers = gateway.many(key, count)  # type: ignore[attr-defined]
    assert {answer.status_code for answer in answers} == {200}
    return sorted(answer.headers["x-penstock-call-id"] for answer in answers)


def test_records_arrive_once_and_are_charged(rig: Rig) -> None:
    gateway = rig.gateway()
    key = gateway.key(max_budget=1)
    calls = _answered(gateway, key, 60)
    until(lambda: rig.calls() == calls, 10, "every record in the ledger")
    until(lambda: rig.waiting() == 0, what="an empty stream")
    books = rig.books()
    assert len(set(books.values())) == 1, books
    cost = books["rows"][1]
    assert cost > 0
    assert rig.query("SELECT spend, total_spend FROM keys")[0] == (cost, cost)
    (progress,) = rig.query("SELECT seq, charged_seq FROM ledger_progress")
    assert tuple(progress) == (60, 60)


def test_the_stream_is_the_way_and_a_coworker_of_its_own_empties_it(rig: Rig) -> None:
    gateway = rig.gateway(NO_COWORKER)
    key = gateway.key()
    calls = _answered(gateway, key, 20)
    until(lambda: sum(map(len, rig.batches())) == 20, what="all records in the stream")
    assert rig.calls() == [], "the gateway does not write what it ships"
    one = rig.coworker("--once")
    assert one.wait() == 0, one.output()
    assert "20 records" in one.output()
    assert rig.calls() == calls
    assert rig.waiting() == 0


def test_a_coworker_stops_in_good_order(rig: Rig) -> None:
    gateway = rig.gateway(NO_COWORKER)
    coworker = rig.coworker()
    coworker.wait_ready()
    calls = _answered(gateway, gateway.key(), 10)
    until(lambda: rig.calls() == calls, what="every record in the ledger")
    assert coworker.stop() == 0, coworker.output()
    assert rig.stream.xinfo_consumers("penstock:{usage}:stream", "ledger") == []


def test_two_coworkers_and_two_gateways_count_once(rig: Rig) -> None:
    gateways = [rig.gateway(NO_COWORKER), rig.gateway()]
    extra = rig.coworker()
    extra.wait_ready()
    key = gateways[0].key()
    calls: list[str] = []
    for _ in range(3):
        for gateway in gateways:
            calls += _answered(gateway, key, 25)
    until(lambda: rig.calls() == sorted(calls), 10, "every record in the ledger")
    assert len(set(rig.books().values())) == 1, rig.books()
    assert len(rig.query("SELECT 1 FROM ledger_progress WHERE seq = charged_seq AND seq >= 75")) == 2


def test_what_one_gateway_writes_every_gateway_shows(rig: Rig) -> None:
    one, other = rig.gateway(), rig.gateway()
    key = one.key(max_budget=1)
    calls = _answered(one, key, 5)
    until(lambda: len(rig.calls()) == 5, what="the ledger")
    assert sorted(row["request_id"] for row in other.logs(key)) == calls
    assert other.info(key)["spend"] == one.info(key)["spend"] > 0


def test_a_stream_that_is_full_is_gone_past(rig: Rig) -> None:
    gateway = rig.gateway("{coworker: false, stream_length: 2}")
    key = gateway.key()
    calls: list[str] = []
    for _ in range(8):
        calls += _answered(gateway, key, 4)
        until(lambda: rig.waiting() + len(rig.calls()) > 0, what="a batch on its way")
    until(lambda: rig.calls() == sorted(calls), what="what did not fit in the database")
    assert rig.waiting() <= 2
    one = rig.coworker("--once")
    assert one.wait() == 0
    assert rig.calls() == sorted(calls)
    assert len(set(rig.books().values())) == 1, rig.books()


def test_a_flushed_redis_loses_nothing(rig: Rig) -> None:
    gateway = rig.gateway(NO_COWORKER)
    calls = _answered(gateway, gateway.key(), 20)
    until(lambda: sum(map(len, rig.batches())) == 20, what="all records in the stream")
    rig.redis.flush()
    until(lambda: rig.calls() == calls, 20, "records written without the stream")
    assert len(set(rig.books().values())) == 1


def test_a_redis_that_is_killed_loses_nothing(own_rig: Rig) -> None:
    rig = own_rig
    gateway = rig.gateway()
    key = gateway.key()
    calls = _answered(gateway, key, 10)
    until(lambda: rig.calls() == sorted(calls), what="the first records")
    rig.redis.crash()
    calls += _answered(gateway, key, 10)
    until(lambda: rig.calls() == sorted(calls), 10, "records written without Redis")
    rig.redis.start()
    calls += _answered(gateway, key, 10)
    until(lambda: rig.calls() == sorted(calls), 20, "records after its return")
    assert len(set(rig.books().values())) == 1
    assert gateway.gateway.process.stop() == 0


def test_a_stop_leaves_nothing_behind(rig: Rig) -> None:
    gateway = rig.gateway(NO_COWORKER)
    calls = _answered(gateway, gateway.key(), 30)
    assert gateway.gateway.process.stop() == 0
    assert rig.calls() == calls
    one = rig.coworker("--once")
    assert one.wait() == 0, one.output()
    assert "0 records" in one.output()
    assert len(set(rig.books().values())) == 1


def test_a_coworker_needs_no_secret_and_makes_none(rig: Rig, tmp_path: Path) -> None:
    rig.gateway(NO_COWORKER)
    one = rig.coworker("--once", "--data-dir", str(tmp_path / "own"), PENSTOCK_PEPPER="")
    assert one.wait() == 0, one.output()
    assert list((tmp_path / "own").iterdir()) == []


@pytest.mark.parametrize("missing, word", [("REDIS_URL", "Redis"), ("DATABASE_URL", "PostgreSQL")])
def test_a_coworker_says_what_it_lacks(rig: Rig, missing: str, word: str) -> None:
    one = rig.coworker("--once", **{missing: ""})
    assert one.wait() == 1
    assert word in one.output()


def test_help(rig: Rig) -> None:
    shown = rig.coworker("--help")
    assert shown.wait() == 0
    assert "--once" in shown.output()
