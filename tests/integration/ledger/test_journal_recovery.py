"""A data plane that is killed loses no call: the next one finds in the journal what the upstream was asked for.

The judge is the simulator's own ledger.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import msgspec
import pytest

from penstock import _core
from penstock.engine.events import Recovered, UsageRecord
from penstock.engine.snapshot import (
    Deployment,
    EngineOptions,
    KeyRecord,
    ModelGroup,
    Price,
    PriceTier,
    ScopeRecord,
    Settings,
    Snapshot,
    Wire,
)
from tests.faults.accounts import settled
from tests.rig import Sim, until
from tests.stalls import Stopwatch

_PEPPER = "5a" * 32
_ROOT = Path(__file__).parents[3]
_MASTER_KEY = "sk-master-of-the-journal"
_CHECKPOINT_MS = 200
_BEFORE_S = 2.0
"""Who stood still before that, and not since, has caught up and made checkpoints."""
_PROMPT = {"messages": [{"role": "user", "content": "time river that"}]}
_TIER = PriceTier(input=1_000_000, output=2_000_000)


def _upstreams(url: str) -> list[tuple[str, Wire, str]]:
    return [("o", "openai", f"{url}/v1"), ("a", "anthropic", url)]


class Plane:
    """A process with a journal, one key, and a customer with a budget."""

    def __init__(self, root: Path, upstream: str, threads: int = 2, settings: Settings | None = None) -> None:
        self.incarnation = secrets.token_hex(8)
        self.key = _core.generate_key()
        self.token = _core.key_digest(bytes.fromhex(_PEPPER), self.key)
        price = Price("test", [_TIER])
        snapshot = Snapshot(
            version=1,
            deployments=[
                Deployment(
                    id=id, provider="x", wire=wire, model="m", base_url=url, forward_headers=["x-sim-"], price=price
                )
                for id, wire, url in _upstreams(upstream)
            ],
            groups=[ModelGroup(name="sim", deployments=[0]), ModelGroup(name="claude", deployments=[1])],
            master_token=_core.key_digest(bytes.fromhex(_PEPPER), _MASTER_KEY),
            settings=settings or Settings(retries=0),
        )
        setup = {
            "options": options(root, self.incarnation, threads),
            "snapshot": snapshot,
            "keys": [KeyRecord(token=self.token, alias="killed", team_id="t1", tags=["a"])],
            "scopes": [ScopeRecord(name="customer:alice", max_budget=10**15)],
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.ledger.plane"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            env={"PYTHONPATH": f"{_ROOT / 'python'}:{_ROOT}"},
        )
        self.url = f"http://127.0.0.1:{self.tell(msgspec.json.encode(setup).decode())}"

    def tell(self, line: str) -> str:
        """One line and the answer to it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()
        return self.process.stdout.readline().decode().strip()

    def client(self, key: str | None = None) -> httpx.Client:
        """A client with the key, or another one."""
        limits = httpx.Limits(max_connections=200)
        headers = {"authorization": f"Bearer {key or self.key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False, limits=limits)

    def kill(self) -> None:
        """As the kernel does it when memory is short."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """Kill it if it lives."""
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


def options(root: Path, incarnation: str, threads: int = 1) -> EngineOptions:
    """Of an engine with a journal under ``root``."""
    return EngineOptions(
        port=0,
        pepper=_PEPPER,
        threads=threads,
        incarnation=incarnation,
        journal_dir=str(root),
        checkpoint_ms=_CHECKPOINT_MS,
    )


def successor(root: Path) -> _core.Engine:
    """An engine that finds what its predecessors left."""
    return _core.Engine(msgspec.json.encode(options(root, secrets.token_hex(8))))


def recovered(engine: _core.Engine) -> list[Recovered]:
    """What it found."""
    found: list[Recovered] = []
    while piece := msgspec.json.decode(engine.recovered_usage(len(found)), type=list[Recovered]):
        found += piece
    return found


@pytest.fixture
def plane(tmp_path: Path, simulator_url: str) -> Iterator[Plane]:
    """One with a journal in `journal`."""
    serving = Plane(tmp_path / "journal", simulator_url)
    yield serving
    serving.close()


class Client:
    """What a client saw of a stream, chunk by chunk."""

    def __init__(self) -> None:
        self.call_id = ""
        self.whole = False
        self.chunks = 0

    def stream(self, plane: Plane, path: str, model: str, **sim: str) -> None:
        """Read a stream to its end or to the end of the gateway."""
        headers = {f"x-sim-{name}": value for name, value in sim.items()}
        body = {**_PROMPT, "model": model, "stream": True, "max_tokens": 1_000}
        try:
            with plane.client() as client, client.stream("POST", path, headers=headers, json=body) as answer:
                self.call_id = answer.headers["x-penstock-call-id"]
                for _ in answer.iter_bytes():
                    self.chunks += 1
                self.whole = True
        except httpx.HTTPError:
            pass


def test_a_killed_gateway_loses_no_call(plane: Plane, sim: Sim, tmp_path: Path) -> None:
    since, watch = sim.mark(), Stopwatch()
    # None ends before it is killed.
    slow = {"tps": "40", "tokens": "1000"}
    kinds = [
        ("/v1/chat/completions", "sim", slow),
        ("/v1/chat/completions", "sim", {**slow, "fault": "no_usage"}),
        ("/v1/messages", "claude", slow),
        ("/v1/chat/completions", "claude", slow),
    ]
    done: dict[str, tuple[int, int]] = {}
    lock = threading.Lock()
    over = threading.Event()

    def unary() -> None:
        try:
            with plane.client() as client:
                while not over.is_set():
                    answer = client.post("/v1/chat/completions", json={**_PROMPT, "model": "sim", "max_tokens": 7})
                    usage = answer.json()["usage"]
                    with lock:
                        done[answer.headers["x-penstock-call-id"]] = usage["prompt_tokens"], usage["completion_tokens"]
        except httpx.HTTPError:
            pass

    clients = [Client() for _ in range(50)]
    with ThreadPoolExecutor(60) as pool:
        for number, client in enumerate(clients):
            path, model, control = kinds[number % len(kinds)]
            pool.submit(client.stream, plane, path, model, **control)
        for _ in range(8):
            pool.submit(unary)
        until(lambda: all(client.chunks > 30 for client in clients) and len(done) > 100, "everything under way", 30)
        whole = Client()
        whole.stream(plane, "/v1/chat/completions", "sim", tokens="20")
        killed_at, killing = time.time(), time.monotonic()
        plane.kill()
        over.set()
        stood_s = watch.longest_since(killing - _BEFORE_S)
    entries = {entry["call_id"]: entry for entry in settled(sim, since)}
    engine = successor(tmp_path / "journal")
    found = recovered(engine)
    assert recovered(engine) == found
    assert {record.incarnation for record in found} == {plane.incarnation}
    rows = {record.row.call_id: record.row for record in found}
    assert len(rows) == len(found), "a call is there twice"
    cut = sorted(row.seq for row in rows.values() if row.outcome == "gateway_lost")
    assert sorted(row.seq for row in rows.values() if row.outcome != "gateway_lost") == list(
        range(1, len(found) - len(cut) + 1)
    )
    assert cut == list(range(cut[0], cut[0] + len(cut))), "ordinals that nobody had, one after the other"
    assert cut[0] > len(found)
    # Nothing reached the upstream unknown, and nothing is known that did not happen.
    assert set(entries) <= set(rows)
    assert [row for id, row in rows.items() if id not in entries and row.completion_tokens] == []

    def figures(row: UsageRecord) -> tuple[int, int]:
        assert row.cost == row.prompt_tokens + 2 * row.completion_tokens
        assert (row.key_alias, row.team_id, row.tags, row.token) == ("killed", "t1", '["a"]', plane.token)
        return row.prompt_tokens, row.completion_tokens

    for call_id, usage in done.items():
        assert figures(rows[call_id]) == usage, rows[call_id]
    assert whole.whole
    assert figures(rows[whole.call_id]) == (10, 20)
    # Where nothing ran it read nothing, while the upstream's clock went on.
    per_checkpoint = 40 * (_CHECKPOINT_MS / 1_000 + 0.3 + stood_s)
    for client in clients:
        row, entry = rows[client.call_id], entries[client.call_id]
        assert (row.outcome, row.status, row.usage_source) == ("gateway_lost", 200, "counted")
        prompt, completion = figures(row)
        assert prompt == entry["prompt_tokens"], (row, entry)
        # What is on the wire between two sockets was never seen here.
        assert entry["tokens_sent"] - per_checkpoint <= completion <= entry["tokens_sent"], (row, entry)
        assert 0 < row.duration_us <= (killed_at - row.started_at / 1_000 + 1) * 1_000_000
    engine.forget_recovered()
    assert engine.recovered_usage() == b"[]"
    engine.stop()
    assert [path.name for path in (tmp_path / "journal").iterdir()] == ["lock"]


def test_what_was_acknowledged_does_not_come_back(plane: Plane, sim: Sim, tmp_path: Path) -> None:
    with plane.client() as client:
        ids = [
            client.post("/v1/chat/completions", json={**_PROMPT, "model": "sim", "max_tokens": 3}).headers[
                "x-penstock-call-id"
            ]
            for _ in range(10)
        ]
        for call_id in ids:
            sim.ended(call_id)
    assert plane.tell("6") == "ok"
    # As long as it lives, nobody takes its journal.
    early = successor(tmp_path / "journal")
    assert early.recovered_usage() == b"[]"
    early.stop()
    plane.kill()
    engine = successor(tmp_path / "journal")
    assert [(record.row.seq, record.row.call_id) for record in recovered(engine)] == [
        (number, ids[number - 1]) for number in range(7, 11)
    ]
    assert {record.row.outcome for record in recovered(engine)} == {"ok"}
    engine.stop()


def test_a_call_that_a_customer_pays_for_is_not_forgotten(tmp_path: Path, simulator_url: str) -> None:
    """Nor is it when no rows are kept and the key is the administrator's."""
    root = tmp_path / "journal"
    plane = Plane(root, simulator_url, settings=Settings(retries=0, customers=True, spend_logs=False))
    body = {**_PROMPT, "model": "sim", "stream": True, "max_tokens": 1_000}
    headers = {"x-sim-tps": "40", "x-sim-tokens": "400"}
    ids: dict[str, str] = {}
    reading: list[Iterator[bytes]] = []
    try:
        with plane.client(_MASTER_KEY) as client:
            for user in ("alice", ""):
                asked = {**body, "user": user} if user else body
                answer = client.send(
                    client.build_request("POST", "/v1/chat/completions", json=asked, headers=headers), stream=True
                )
                assert answer.status_code == 200
                # One that nobody holds closes its connection.
                reading.append(answer.iter_bytes())
                for _ in range(5):
                    next(reading[-1])
                ids[user] = answer.headers["x-penstock-call-id"]
            plane.kill()
    finally:
        plane.close()
    engine = successor(root)
    (left,) = recovered(engine)
    assert (left.row.call_id, left.row.end_user, left.row.outcome) == (ids["alice"], "alice", "gateway_lost")
    assert left.row.cost > 0
    engine.stop()


def test_without_a_journal_to_write_new_calls_are_refused(plane: Plane, tmp_path: Path) -> None:
    """No new file can be made in a directory that is gone; once what exists is full, nobody is served unaccounted."""
    shutil.rmtree(tmp_path / "journal" / plane.incarnation)
    body = {**_PROMPT, "model": "sim", "max_tokens": 1, "user": "u" * 256}
    with plane.client() as client:
        answer = client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200
        for _ in range(20_000):
            answer = client.post("/v1/chat/completions", json=body)
            if answer.status_code != 200:
                break
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "overloaded"
    assert int(answer.headers["retry-after"]) >= 1


def test_a_journal_needs_a_name(tmp_path: Path) -> None:
    for name in ("", "../../../../x/y/z", "0123"):
        with pytest.raises(ValueError, match="incarnation"):
            _core.Engine(msgspec.json.encode(options(tmp_path / "journal", name)))


def test_a_journal_that_cannot_be_made_is_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="journal_dir"):
        successor(tmp_path / "file")
    assert json.loads(successor(tmp_path / "journal").status())["usage_queue"] == 0
