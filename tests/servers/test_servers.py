"""The servers do what the tests that need them rely on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
from redis.cluster import RedisCluster as ClusterClient
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeout

from tests.servers.child import until
from tests.servers.postgres import Postgres
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis, RedisCluster, RedisSentinel


async def test_each_test_has_a_database_of_its_own(postgres: Postgres, new_database_url: Callable[[], str]) -> None:
    first, second = new_database_url(), new_database_url()
    for url in (first, second):
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE same (id BIGINT)")
        await connection.close()
    assert postgres.sql("SHOW fsync") == [["off"]]


def test_a_standby_follows_refuses_writes_and_takes_over() -> None:
    primary = Postgres.create()
    try:
        primary.sql("CREATE TABLE t (id BIGINT)", "INSERT INTO t VALUES (1), (2)")
        standby = primary.standby()
        primary.caught_up(standby)
        assert standby.sql("SELECT id FROM t ORDER BY id") == [["1"], ["2"]]
        with pytest.raises(AssertionError, match="read-only transaction"):
            standby.sql("INSERT INTO t VALUES (3)")
        primary.crash()
        standby.promote()
        standby.sql("INSERT INTO t VALUES (3)")
        primary.start()
        assert primary.sql("SELECT COUNT(*) FROM t") == [["2"]], "it recovered"
    finally:
        primary.close()


def test_redis_keeps_its_port_and_with_a_file_its_keys() -> None:
    for aof in (False, True):
        node = Redis(aof=aof)
        try:
            port = node.port
            node.command("SET", "k", "v")
            node.crash()
            node.start()
            assert node.port == port
            assert node.command("GET", "k") == ("v" if aof else None)
        finally:
            node.close()


@pytest.mark.parametrize("nodes", [1, 3])
def test_a_cluster_has_every_slot(nodes: int) -> None:
    cluster = RedisCluster(nodes)
    try:
        with ClusterClient.from_url(cluster.url) as client:
            for number in range(20):
                client.set(f"k{number}", number)
            assert client.get("k7") == b"7"
        assert sum(int(node.command("DBSIZE")) for node in cluster.nodes) == 20
        cluster.flush()
    finally:
        cluster.close()


def test_a_sentinel_makes_the_replica_the_master() -> None:
    group = RedisSentinel()
    try:
        assert group.master_port() == group.master.port
        group.master.freeze()
        until(lambda: group.master_port() == group.replica.port, "the replica is the master", 30)
        assert group.replica.command("ROLE")[0] == "master"
    finally:
        group.close()


def test_a_proxy_cuts_refuses_hangs_and_heals(redis: Redis, start_proxy: Callable[[int], Proxy]) -> None:
    from redis import Redis as Client

    proxy = start_proxy(redis.port)
    with Client(host="127.0.0.1", port=proxy.port, socket_timeout=1.5, retry=None) as client:  # type: ignore[arg-type]

        def answers() -> bool:
            try:
                return bool(client.ping())
            except RedisTimeout:
                # For the hanging proxy there is little patience, and this machine may stand still for longer.
                return False

        until(answers, "it answers")
        until(lambda: proxy.open == 1, "one connection is open")
        assert proxy.cut() == 1
        assert proxy.open == 0
        proxy.heal()
        proxy.refuse()
        with pytest.raises(RedisError):
            client.ping()
        proxy.heal()
        until(answers, "it answers again")
        proxy.hang()
        with pytest.raises(RedisError):
            client.ping()
        proxy.heal()
        until(answers, "what hung goes on")
        proxy.hang(to_server=False)
        with pytest.raises(RedisError):
            client.set("half", "done")
        until(lambda: redis.command("GET", "half") == "done", "it was done, and nobody was told")
        proxy.heal()
        proxy.delay(0.05)
        until(answers, "it answers later")


_KILLED = """
import sys
from tests.servers.postgres import Postgres
from tests.servers.redis import Redis
print(Postgres.create().child.pid, Redis().child.pid, flush=True)
sys.stdin.read()
"""


def test_servers_end_with_the_session_even_if_it_is_killed() -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux tells a process of its parent's end")
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", _KILLED], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as session:
        assert session.stdout is not None
        pids = [int(word) for word in session.stdout.readline().split()]
        assert len(pids) == 2
        session.send_signal(signal.SIGKILL)
    for pid in pids:
        until(lambda pid=pid: not _is_alive(pid), f"the server {pid} has ended")  # type: ignore[misc]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


async def test_a_frozen_server_takes_connections_and_says_nothing() -> None:
    node = Postgres.create()
    try:
        connection = await asyncpg.connect(node.url())
        node.freeze()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(connection.fetchval("SELECT 1"), 0.3)
        node.resume()
        connection.terminate()
    finally:
        node.close()
