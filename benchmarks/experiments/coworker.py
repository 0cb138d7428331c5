"""How many usage records one coworker writes down in a second: from Redis' stream into PostgreSQL, keys charged, sums made.

It has one core, the servers have the other. Its records are entries of the stream as gateways put them there, and its keys
have budgets, so that each of them is charged and followed. Few keys are what most batches have; with many of them every
record is another row that is charged and other rows of sums, which is the dearest that can be.
"""

from __future__ import annotations

import http.client
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import msgspec

from benchmarks import servers
from benchmarks.experiments import Bench
from benchmarks.gateway import FeatureError, environment
from benchmarks.ledger import PostgresLedger
from benchmarks.processes import Process, StartError
from benchmarks.servers import Servers
from penstock.bench.processes import cpu
from penstock.engine.events import UsageRecord
from penstock.ledger import wire

KEYS = (10, 20_000)
RECORDS = {"quick": 4_000, "normal": 60_000, "full": 150_000}
BATCH = 1_000
"""Records of an entry: what a busy gateway takes at a time."""
COST = 1_000
READY_SECONDS = 30.0
PATIENCE_SECONDS = 90.0
LOOK_SECONDS = 0.005
INCARNATION = "0123456789abcdef"


class Written(msgspec.Struct, frozen=True):
    """One run."""

    keys: int
    records: int
    records_per_s: float
    """From the first entry in the stream to the commit of the last."""
    cpu_us_per_record: float
    """Of the coworker; PostgreSQL and Redis have their own."""


def measure(bench: Bench) -> list[Written]:
    """With few keys and with many, each on a database of its own.

    Raises:
        NotMeasured: PostgreSQL or Redis is not installed.
        StartError: the coworker did not come up.
        FeatureError: a record is not in the ledger, or was not charged.
    """
    with ExitStack() as cleanup:
        beside = servers.start(bench.cores)
        cleanup.callback(beside.close)
        return [_measure(bench, beside, keys) for keys in KEYS]


def _measure(bench: Bench, beside: Servers, keys: int) -> Written:
    shared = beside.environment()
    folder = bench.folder / f"coworker-{keys}"
    folder.mkdir()
    _command(folder, shared, "migrate")
    records = RECORDS[bench.depth]
    with ExitStack() as cleanup:
        ledger = PostgresLedger(shared["DATABASE_URL"])
        cleanup.callback(ledger.close)
        _make_keys(folder, shared, ledger, keys)
        entries = list(_entries(records, keys))
        program = [sys.executable, "-m", "penstock", "coworker", "--data-dir", str(folder)]
        process = Process("coworker", program, folder / "log", bench.cores.gateway, environment() | dict(shared))
        cleanup.callback(process.stop)
        process.wait_until(lambda: '"ready"' in process.log.read_text(), READY_SECONDS)
        before, began = cpu(process.pid), time.perf_counter()
        with beside.redis.client() as client, client.pipeline(transaction=False) as pipe:
            for entry in entries:
                pipe.xadd(wire.STREAM, entry)
            pipe.execute()
        while ledger.number("SELECT COALESCE(MAX(seq), 0) FROM ledger_progress") < records:
            if time.perf_counter() - began > PATIENCE_SECONDS:
                raise FeatureError(f"the coworker did not write {records:,} records in {PATIENCE_SECONDS:.0f} s")
            time.sleep(LOOK_SECONDS)
        took, used = time.perf_counter() - began, cpu(process.pid).used_since(before)
        found = (ledger.rows(), ledger.number("SELECT SUM(spend) FROM keys"))
    if found != (records, records * COST):
        raise FeatureError(f"the ledger has {found[0]:,} of {records:,} records, and keys were charged {found[1]:,}")
    written = Written(keys, records, round(records / took, 1), round(used / records, 2))
    print(
        f"  coworker, {keys:,} keys: {written.records_per_s:,.0f} records/s, {written.cpu_us_per_record} us", flush=True
    )
    return written


def _command(folder: Path, shared: Mapping[str, str], *arguments: str) -> None:
    """One of the product's own commands, to its end."""
    command = [sys.executable, "-m", "penstock", *arguments, "--data-dir", str(folder)]
    done = subprocess.run(command, env=environment() | dict(shared), capture_output=True, text=True, check=False)
    if done.returncode:
        raise StartError(f"penstock {arguments[0]} failed: {done.stderr or done.stdout}")


def _make_keys(folder: Path, shared: Mapping[str, str], ledger: PostgresLedger, keys: int) -> None:
    """A key that the product makes, with a budget, and copies of it."""
    _command(folder, shared, "key", "create")
    ledger.execute("UPDATE keys SET token = 'key-0', key_alias = NULL, max_budget = 1000000000000000")
    names = ledger.column(
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'keys'"
        " AND column_name NOT IN ('token', 'key_alias')"
    )
    same = ", ".join(names)
    ledger.execute(
        f"INSERT INTO keys (token, {same}) SELECT 'key-' || n, {same} FROM keys, generate_series(1, {keys - 1}) AS n"
    )


def _entries(records: int, keys: int) -> Iterator[dict[str, bytes]]:
    """Batches of records as a gateway ships them, each key in turn."""
    now = int(time.time() * 1000)
    encoder = msgspec.json.Encoder()
    for first in range(1, records + 1, BATCH):
        last = min(first + BATCH - 1, records)
        rows = encoder.encode([_record(seq, f"key-{seq % keys}", now) for seq in range(first, last + 1)])
        yield {"i": INCARNATION.encode(), "f": str(first).encode(), "l": str(last).encode(), "r": rows}


def _record(seq: int, token: str, now: int) -> UsageRecord:
    return UsageRecord(
        event_id=f"call-{seq}:1",
        call_id=f"call-{seq}",
        seq=seq,
        started_at=now + seq // 5,
        surface="chat",
        route="/v1/chat/completions",
        token=token,
        key_alias="",
        user_id="",
        team_id="",
        org_id="",
        end_user="",
        model="bench",
        model_group="bench",
        deployment_id="bench-1",
        provider="openai",
        upstream_model="bench",
        stream=0,
        status=http.client.OK,
        outcome="ok",
        error_code="",
        prompt_tokens=70,
        completion_tokens=16,
        cached_tokens=0,
        cache_write_tokens=0,
        reasoning_tokens=0,
        usage_source="upstream",
        cost=COST,
        price_version="1",
        snapshot_version=1,
        ttft_us=400,
        duration_us=500,
        overhead_us=60,
        attempts=1,
        cache="off",
        tags="[]",
        request_bytes=300,
        response_bytes=400,
    )
