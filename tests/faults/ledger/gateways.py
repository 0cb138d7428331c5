"""Gateways on one database, which are killed and come back, and what their ledger must say afterwards."""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg

from tests.conftest import Gateway, Process, at_once, close_all
from tests.faults.accounts import Row, differences, idle, note, rows_of, settled, usage, verdict
from tests.faults.conftest import CONFIG
from tests.faults.ledger.crowd import TOKENS_PER_SECOND, Crowd
from tests.integration.managed import nanos
from tests.rig import Sim, until
from tests.servers.child import pause
from tests.stalls import Stopwatch

_BEFORE_S = 2.0
"""Who stood still before that, and not since, has caught up and made checkpoints."""
_CHECKPOINT_S = 0.5
_ON_THE_WAY_S = 0.4
"""A checkpoint is made by a thread that may be late, and what is between two sockets was never seen by the gateway."""
RECONCILED_S = 60
"""How soon all that a killed gateway knew must be in the ledger."""


PATIENT = "  redis: {deadline: 500ms}\n"
"""Where it is not Redis that is slow but the machine, which has much to do."""


class Site:
    """Any number of gateways and coworkers; without ``database_url`` one gateway on SQLite."""

    def __init__(self, directory: Path, simulator_url: str, database_url: str = "", redis_url: str = "") -> None:
        self._directory = directory
        self._simulator_url = simulator_url
        self.database_url = database_url
        self.admin_key = f"sk-{secrets.token_hex(24)}"
        self.environment = {"PENSTOCK_MASTER_KEY": self.admin_key, "PENSTOCK_PEPPER": secrets.token_hex(32)}
        self.environment |= {"PENSTOCK_SECRET_KEY": secrets.token_hex(32)}
        self.environment |= {"DATABASE_URL": database_url} if database_url else {}
        self.environment |= {"REDIS_URL": redis_url} if redis_url else {}
        self._started: list[Process] = []
        self._watch = Stopwatch()
        self.stood_s = 0.0
        """The longest time shortly before a kill in which nothing ran."""

    def gateway(self, name: str = "one", ledger: str = "{}", more: str = "", **environment: str) -> Gateway:
        """Start one; the same name once more is the same data directory. ``more``: further sections of the
        configuration; ``environment``: variables besides those of all gateways, or instead of them."""
        directory = self._directory / name
        directory.mkdir(exist_ok=True)
        config = CONFIG % (0, "60s", "60s") + f"  ledger: {ledger}\n{more}"
        running = Gateway(
            directory, self._simulator_url, config=config, environment={**self.environment, **environment}
        )
        running.admin_key = self.admin_key
        self._started.append(running.process)
        return running

    def gateways(self, *names: str, **options: str) -> list[Gateway]:
        """Start several at once, with the options of :meth:`gateway`."""
        return at_once(*(partial(self.gateway, name, **options) for name in names))

    def kill(self, *processes: Process) -> None:
        """As the kernel does it when memory is short."""
        begun = time.monotonic()
        for process in processes:
            process.process.kill()
        for process in processes:
            process.process.wait()
        self.stood_s = max(self.stood_s, self._watch.longest_since(begun - _BEFORE_S))

    def coworker(self) -> Process:
        """`penstock coworker`."""
        started = Process(["coworker"], self._directory, self.environment)
        self._started.append(started)
        started.wait_ready()
        return started

    def close(self) -> None:
        """Stop whatever still runs. Idempotent."""
        close_all(self._started)

    def query(self, sql: str) -> list[Any]:
        """Rows of the database, asked beside all gateways."""
        if not self.database_url:
            path = self._directory / "one" / "data" / "penstock.db"
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
                connection.row_factory = sqlite3.Row
                return connection.execute(sql).fetchall()

        async def ask() -> list[Any]:
            connection = await asyncpg.connect(self.database_url)
            try:
                return list(await connection.fetch(sql))
            finally:
                await connection.close()

        return asyncio.run(ask())

    def plain_environment(self) -> dict[str, str]:
        """For commands beside the gateways: nothing of the machine's but where programs are."""
        return {**self.environment, "PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}

    def forget_progress_times(self) -> None:
        """As if nothing had been heard of any gateway for long."""
        self.query("UPDATE ledger_progress SET updated_at = 0")

    def count(self) -> int:
        """Rows of calls."""
        return int(self.query("SELECT COUNT(*) AS n FROM usage")[0]["n"])

    def sums(self) -> dict[str, tuple[int, int]]:
        """Calls and nano-dollars: of the rows, and of everything that is kept as a sum of them."""
        sums = "SELECT COALESCE(SUM(calls), 0) AS calls, COALESCE(SUM(cost), 0) AS cost FROM"
        asked = {
            "rows": "SELECT COUNT(*) AS calls, COALESCE(SUM(cost), 0) AS cost FROM usage",
            "totals": f"{sums} spend_totals WHERE scope = 'all'",
        }
        for dimension in ("all", "key", "model"):
            for period in ("hour", "day"):
                where = f"dimension = '{dimension}' AND period = '{period}'"
                asked[f"{dimension} by {period}"] = f"{sums} usage_rollups WHERE {where}"
        found = {name: self.query(sql)[0] for name, sql in asked.items()}
        return {name: (int(row["calls"]), int(row["cost"])) for name, row in found.items()}


def price(row: Row) -> int:
    """Nano-dollars of a call by the prices of the configuration."""
    prompt, completion = usage(row)
    return 1_000 * prompt + 2_000 * completion


def balanced(
    site: Site,
    sim: Sim,
    since: int,
    gateway: Gateway,
    *crowds: Crowd,
    also: str = "",
    price: Callable[[Row], int] = price,
) -> list[Row]:
    """Everything that the simulator answered is in the ledger once, to the token, and so are all sums.

    Calls during which a gateway was killed may miss the tokens since their last checkpoint and are never above what the
    simulator sent. ``also``: a key beside those of the crowds that was used; ``price``: what a call must have cost.
    Returns the rows of all these keys.
    """
    entries = settled(sim, since)
    for each in {crowd.gateway for crowd in crowds} | {gateway}:
        if each.process.process.poll() is None:
            idle(each)
    keys = {crowd.key for crowd in crowds}
    everybody = [*keys, also] if also else list(keys)
    expected = {entry["call_id"] for entry in entries}
    expected |= {seen.call_id for crowd in crowds for seen in crowd.seen if seen.call_id}
    found: dict[str, list[Row]] = {}

    def missing() -> set[str]:
        found.update((key, rows_of(gateway, key)) for key in everybody)
        return expected - {row["request_id"] for rows in found.values() for row in rows}

    ended = time.monotonic() + RECONCILED_S
    while (absent := missing()) and time.monotonic() < ended:
        pause(0.1)
    assert not absent, f"{len(absent)} are missing: {[entry for entry in entries if entry['call_id'] in absent][:5]}"
    rows = [row for each in found.values() for row in each]
    lost = {row["request_id"]: row for row in rows if verdict(row)[0] == "gateway_lost"}
    kept = [row for row in rows if row["request_id"] not in lost]
    assert differences(kept, [entry for entry in entries if entry["call_id"] not in lost]) == []
    assert len({row["request_id"] for row in rows}) == len(rows), "a call is there twice"
    by_call = {entry["call_id"]: entry for entry in entries}
    wrong = _beyond_a_checkpoint(lost, by_call, site.stood_s)
    assert wrong == [], f"{len(wrong)} of {len(lost)}"
    whole = {seen.call_id for crowd in crowds for seen in crowd.whole()}
    assert whole <= {row["request_id"] for row in rows if verdict(row)[0] == "ok"} | lost.keys()
    # One may be killed between the last byte of an answer and the call's settlement: then nobody knows how the call ended,
    # but what it cost was noted before that byte.
    late = [lost[call] for call in whole & lost.keys()]
    assert differences(late, [by_call[row["request_id"]] for row in late]) == [], "what a client got whole is exact"
    for key in keys:
        _spent(gateway, key, _cost(found[key], price))
    # Calls without a valid key have no key that they could be summed up for.
    sums = site.sums()
    assert {cost for _, cost in sums.values()} == {_cost(rows, price)}, sums
    assert len({sums[name] for name in ("rows", "totals", "all by hour", "all by day")}) == 1, sums
    assert sums["key by hour"] == sums["key by day"]
    assert sums["rows"][0] >= len(rows)
    assert sums["key by day"][0] == len(rows) or also, sums
    note(f"{len(rows)} rows, {len(entries)} answers of the simulator, {len(lost)} of a killed gateway")
    return rows


def _beyond_a_checkpoint(lost: dict[str, Row], entries: dict[str, Row], stood_s: float) -> list[str]:
    # Where nothing ran a gateway reads nothing, while the sockets and the upstream's clock go on.
    bound = TOKENS_PER_SECOND * (_CHECKPOINT_S + _ON_THE_WAY_S + stood_s)
    wrong, furthest = [], 0
    for call_id, row in lost.items():
        prompt, completion = usage(row)
        entry = entries.get(call_id, {"prompt_tokens": prompt, "tokens_sent": 0, "stream": False, "outcome": "none"})
        sent = entry["tokens_sent"]
        furthest = max(furthest, sent - completion)
        # An answer in one piece has no checkpoint before its end.
        least = sent - bound if entry["stream"] else 0
        if not least <= completion <= sent or prompt not in (0, entry["prompt_tokens"]) or (completion and not prompt):
            wrong.append(f"ours {usage(row)} {verdict(row)}, the simulator's {entry}")
    if lost:
        note(f"cut calls: at most {furthest} tokens since the last checkpoint, {bound:.0f} allowed")
    return wrong


def _cost(rows: list[Row], price: Callable[[Row], int]) -> int:
    """Nano-dollars; each row's by the price, too."""
    wrong = [row for row in rows if nanos(row["spend"]) != price(row)]
    assert wrong == [], f"{len(wrong)}: {wrong[:3]}"
    return sum(nanos(row["spend"]) for row in rows)


def _spent(gateway: Gateway, key: str, cost: int) -> None:
    def spend() -> bool:
        with gateway.client() as client:
            answer = client.get("/key/info", headers=gateway.admin, params={"key": key})
        assert answer.status_code == 200, answer.text
        return nanos(answer.json()["info"]["spend"]) == cost

    until(spend, f"spend of the key is {cost}: the sum of its rows")
