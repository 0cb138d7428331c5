"""A store that is busy or a gateway that is restarted loses no record and makes none twice."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import Gateway
from tests.faults.accounts import Row, gauge, idle, note, rows_of, usage, verdict
from tests.faults.conftest import CONFIG
from tests.faults.raw import Client, ask
from tests.faults.streams import PROMPT_TOKENS, body
from tests.rig import until
from tests.stalls import Stopwatch

Start = Callable[..., Gateway]
QUIET = CONFIG % (2, "60s", "60s")


@contextmanager
def locked(gateway: Gateway) -> Iterator[None]:
    """Another process writes to the database and does not come to an end."""
    with closing(sqlite3.connect(gateway.data_dir / "penstock.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")


def _call(client: httpx.Client, key: str, **fields: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return client.post("/v1/chat/completions", headers=headers, json=body("sim", max_tokens=3, **fields))


def _ids(rows: list[Row]) -> list[str]:
    return sorted(row["request_id"] for row in rows)


def test_calls_go_on_while_another_writer_locks_the_store(start_gateway: Start) -> None:
    gateway = start_gateway(config=QUIET)
    key = gateway.new_key()
    answered: list[str] = []
    slowest = 0.0
    with gateway.client() as client:
        assert _call(client, key).status_code == 200, "the key is in the table"
        before = _ids(rows_of(gateway, key))
        with locked(gateway):
            watch = Stopwatch()
            # Longer than the store waits for a lock, so that at least one transaction fails and is tried again.
            while watch.seconds < 6:
                at = time.monotonic()
                answer = _call(client, key)
                slowest = max(slowest, time.monotonic() - at)
                assert answer.status_code == 200
                answered.append(answer.headers["x-penstock-call-id"])
            # An answer is read before its call is settled.
            until(lambda: gauge(gateway, "penstock_usage_queue_records") == len(answered), "all wait in the queue")
            stood_s = watch.longest_s
        until(lambda: gauge(gateway, "penstock_usage_queue_records") == 0, "the queue is written", 20)
    note(f"{len(answered)} calls while the store was locked, the slowest took {slowest * 1000:.0f} ms")
    assert slowest < 1 + stood_s
    rows = rows_of(gateway, key)
    assert _ids(rows) == sorted(answered + before)
    assert {usage(row) for row in rows} == {(PROMPT_TOKENS, 3)}


def test_when_the_queue_is_full_calls_are_refused_rather_than_unaccounted(start_gateway: Start) -> None:
    bound = 40
    gateway = start_gateway(config=QUIET + f"  ledger: {{queue_capacity: {bound}}}\n")
    key = gateway.new_key()
    served: list[str] = []
    refused = 0
    with gateway.client() as client:
        assert _call(client, key).status_code == 200
        before = _ids(rows_of(gateway, key))
        with locked(gateway):
            for _ in range(bound * 2):
                answer = _call(client, key)
                if answer.status_code == 200:
                    served.append(answer.headers["x-penstock-call-id"])
                else:
                    assert answer.status_code == 503
                    assert answer.json()["error"]["code"] == "overloaded"
                    assert "retry-after" in answer.headers
                    refused += 1
            assert len(served) <= bound
            assert refused >= bound
            assert gauge(gateway, "penstock_usage_queue_records") <= bound
        until(lambda: _call(client, key).status_code == 200, "calls are served again", 20)
        until(lambda: gauge(gateway, "penstock_usage_queue_records") == 0, "the queue is written", 20)
    rows = rows_of(gateway, key)
    assert len(_ids(rows)) == len(set(_ids(rows)))
    assert set(before + served) <= {row["request_id"] for row in rows if verdict(row)[0] == "ok"}


async def test_a_restart_under_load_loses_nothing_and_repeats_nothing(start_gateway: Start, tmp_path: Path) -> None:
    """Thirty clients go on calling while the gateway is stopped and another takes over its data."""
    data = tmp_path / "shared"
    first = start_gateway(config=QUIET, arguments=["--data-dir", str(data)])
    key = first.new_key()
    complete: dict[str, tuple[int, int]] = {}
    begun: set[str] = set()
    target = [first]
    over = asyncio.Event()

    async def unary(client: httpx.AsyncClient) -> None:
        while not over.is_set():
            try:
                answer = await client.post(
                    f"{target[0].url}/v1/chat/completions",
                    headers={"authorization": f"Bearer {key}", "x-sim-ttft": "20"},
                    json=body("sim", max_tokens=3),
                )
            except httpx.TransportError:
                await asyncio.sleep(0)
                continue
            if answer.status_code == 200:
                told = answer.json()["usage"]
                complete[answer.headers["x-penstock-call-id"]] = (told["prompt_tokens"], told["completion_tokens"])
            else:
                assert answer.status_code == 503, answer.text

    async def streamed() -> None:
        request = ask("/v1/chat/completions", key, body("sim", stream=True), {"x-sim-tokens": "20", "x-sim-tps": "50"})
        while not over.is_set():
            try:
                client = await Client.connect(target[0])
            except OSError:
                await asyncio.sleep(0)
                continue
            client.writer.write(request)
            with suppress(AssertionError, OSError):
                await client.read_until(b"0\r\n\r\n")
            if client.call_id:
                begun.add(client.call_id)
                if b"data: [DONE]" in client.received:
                    complete[client.call_id] = (PROMPT_TOKENS, 20)
            client.leave()

    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        clients = [asyncio.create_task(unary(http)) for _ in range(15)]
        clients += [asyncio.create_task(streamed()) for _ in range(15)]
        await asyncio.to_thread(until, lambda: len(complete) > 150, "calls are served", 30)
        served = len(complete)
        await asyncio.to_thread(first.process.stop)
        assert first.process.process.returncode == 0, first.process.output()
        second = await asyncio.to_thread(
            lambda: start_gateway(
                config=QUIET,
                arguments=["--data-dir", str(data)],
                environment={"PENSTOCK_MASTER_KEY": first.admin_key},
            )
        )
        second.admin_key = first.admin_key
        target[0] = second
        await asyncio.to_thread(until, lambda: len(complete) > served + 150, "calls are served again", 30)
        over.set()
        await asyncio.gather(*clients)
    await asyncio.to_thread(idle, second)
    rows = await asyncio.to_thread(rows_of, second, key)
    recorded = {row["request_id"]: usage(row) for row in rows}
    assert len(recorded) == len(rows), "nothing is recorded twice"
    lost = {call: told for call, told in complete.items() if recorded.get(call) != told}
    assert lost == {}, "what a client got whole is recorded, with the usage that it was told"
    assert begun <= recorded.keys(), "also what was cut"
    note(f"{len(complete)} calls complete, {len(rows)} recorded, {len(begun - complete.keys())} cut by the restart")
    assert {verdict(row)[0] for row in rows if row["request_id"] in complete} == {"ok"}


def test_keys_and_spend_survive_the_restart(start_gateway: Start, tmp_path: Path) -> None:
    data = tmp_path / "shared"
    first = start_gateway(config=QUIET, arguments=["--data-dir", str(data)])
    key = first.new_key()

    def spend(gateway: Gateway) -> float:
        with gateway.client() as client:
            answer = client.get("/key/info", headers=gateway.admin, params={"key": key}).json()
        return float(answer["info"]["spend"])

    with first.client() as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: _call(client, key), range(40)))
    assert {answer.status_code for answer in answers} == {200}
    expected = sum(
        json.loads(answer.content)["usage"]["completion_tokens"] * 2e-6 + PROMPT_TOKENS * 1e-6 for answer in answers
    )
    first.close()
    second = start_gateway(
        config=QUIET, arguments=["--data-dir", str(data)], environment={"PENSTOCK_MASTER_KEY": first.admin_key}
    )
    second.admin_key = first.admin_key
    assert abs(spend(second) - expected) < 1e-12
    with second.client() as client:
        assert _call(client, key).status_code == 200
    assert len(rows_of(second, key)) == 41
