"""PostgreSQL and Redis for what is measured with them: those of the tests, on the core of the load.

Durability is off there (`fsync = off`), so that the gateway is measured and not the machine's disk. PostgreSQL, for which no
call waits, gives way to the client and the upstream, whose core it would not share elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import _pytest.outcomes

from benchmarks.processes import Cores
from benchmarks.targets import NotMeasured
from penstock.bench.processes import on_cores
from tests.servers.postgres import Postgres
from tests.servers.redis import Redis


@dataclass(frozen=True)
class Servers:
    """Both, running."""

    postgres: Postgres
    redis: Redis

    def environment(self) -> Mapping[str, str]:
        """What a gateway or a coworker has to know, with a new database and an empty Redis."""
        self.redis.flush()
        return {"DATABASE_URL": self.postgres.url(self.postgres.new_database()), "REDIS_URL": self.redis.url}

    def close(self) -> None:
        """Stop them and remove what they left."""
        self.redis.close()
        self.postgres.close()


_NICENESS = 5
"""A quarter of a core that others want all of."""


def _give_way(pid: int) -> None:
    """A process with its children; those to come do as it does."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    for process in [pid, *map(int, children.read_text().split())] if children.exists() else [pid]:
        os.setpriority(os.PRIO_PROCESS, process, _NICENESS)


def start(cores: Cores) -> Servers:
    """Start both.

    Raises:
        NotMeasured: one of them is not installed.
    """
    try:
        with on_cores(cores.load):
            postgres = Postgres.create()
            _give_way(postgres.child.pid)
            try:
                return Servers(postgres, Redis())
            except BaseException:
                postgres.close()
                raise
    except _pytest.outcomes.Skipped as missing:
        raise NotMeasured(str(missing)) from missing
