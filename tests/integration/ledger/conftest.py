"""Gateways on PostgreSQL and Redis, and what is in both."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from redis import Redis as Client

from penstock.ledger import wire
from tests.conftest import Process
from tests.integration.managed import CONFIG, Managed, start_managed
from tests.servers.redis import Redis

__all__ = ["start_managed"]

Start = Callable[..., Managed]


class Rig:
    """One database and one Redis, with any number of gateways and coworkers."""

    def __init__(
        self, database_url: str, redis: Redis, start: Callable[..., Managed], process: Callable[..., Process]
    ) -> None:
        self.database_url = database_url
        self.redis = redis
        self.stream: Any = Client.from_url(redis.url)
        self._start = start
        self._process = process
        self._secrets: dict[str, str] = {}

    @property
    def environment(self) -> dict[str, str]:
        """Of every process."""
        return {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis.url,
            "PENSTOCK_PEPPER": "ab" * 32,
            **self._secrets,
        }

    def gateway(self, ledger: str = "{}", redis_url: str | None = None) -> Managed:
        """A gateway; ``ledger`` is its `penstock.ledger`. Redis has the time that a busy machine takes."""
        more = {"REDIS_URL": redis_url} if redis_url else {}
        return self._start(
            config=f"{CONFIG}  ledger: {ledger}\n  redis: {{deadline: 500ms}}\n",
            environment={**self.environment, **more},
        )

    def alone(self) -> Managed:
        """A gateway on the database without Redis."""
        environment = {name: value for name, value in self.environment.items() if name != "REDIS_URL"}
        return self._start(environment=environment)

    def coworker(self, *arguments: str, **environment: str) -> Process:
        """`penstock coworker`."""
        return self._process("coworker", *arguments, environment={**self.environment, **environment})

    def query(self, sql: str) -> list[Any]:
        """Rows of the database, asked beside all gateways."""

        async def ask() -> list[Any]:
            connection = await asyncpg.connect(self.database_url)
            try:
                return list(await connection.fetch(sql))
            finally:
                await connection.close()

        return asyncio.run(ask())

    def calls(self) -> list[str]:
        """Call ids in the ledger."""
        return [row["call_id"] for row in self.query("SELECT call_id FROM usage ORDER BY call_id")]

    def books(self) -> dict[str, tuple[int, int]]:
        """Calls and nano-dollars: of the rows, and of everything that is kept as a sum of them."""
        rows = self.query("SELECT COUNT(*) AS calls, COALESCE(SUM(cost), 0)::bigint AS cost FROM usage")
        totals = self.query("SELECT calls, cost FROM spend_totals WHERE scope = 'all'")
        found = {"rows": (rows[0]["calls"], rows[0]["cost"])}
        found["totals"] = (totals[0]["calls"], totals[0]["cost"]) if totals else (0, 0)
        for period in ("hour", "day"):
            sums = self.query(
                "SELECT COALESCE(SUM(calls), 0)::bigint AS calls, COALESCE(SUM(cost), 0)::bigint AS cost"
                f" FROM usage_rollups WHERE dimension = 'all' AND period = '{period}'"
            )
            found[period] = (sums[0]["calls"], sums[0]["cost"])
        return found

    def waiting(self) -> int:
        """Entries of the stream."""
        return int(self.stream.xlen(wire.STREAM))

    def batches(self) -> list[list[Any]]:
        """Records of the entries of the stream."""
        return [json.loads(fields[b"r"]) for _, fields in self.stream.xrange(wire.STREAM)]


@pytest.fixture
def rig(
    database_url: str,
    redis: Redis,
    redis_url: str,
    start_managed: Callable[..., Managed],
    start_process: Callable[..., Process],
) -> Rig:
    """With an empty database and an empty Redis that others use after it."""
    return Rig(database_url, redis, start_managed, start_process)


@pytest.fixture
def own_rig(database_url: str, start_managed: Callable[..., Managed], start_process: Callable[..., Process]) -> Any:
    """With a Redis that may be stopped."""
    redis = Redis()
    yield Rig(database_url, redis, start_managed, start_process)
    redis.close()
