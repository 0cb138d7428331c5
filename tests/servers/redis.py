"""Real Redis for tests: plain, with an append-only file, as a cluster, and watched by a sentinel."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from redis import Redis as Client
from redis.exceptions import RedisError

from tests.servers.child import Child, free_port, new_directory, until
from tests.servers.programs import redis_server

MASTER_NAME = "penstock"
"""The service's name at the sentinel."""
_SLOTS = 16_384
_ATTEMPTS = 3


class Redis:
    """One node. Its port stays the same when it is stopped and started again."""

    def __init__(
        self, *, aof: bool = False, arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        """``aof``: every write is in a file before it is answered, so that a killed node comes back with all of it."""
        self.directory = new_directory("redis")
        self.port = 0
        self._aof = aof
        self._arguments = list(arguments)
        self._environment = environment
        self._child: Child | None = None
        self.start()

    @property
    def url(self) -> str:
        """`redis://...`, database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def child(self) -> Child:
        """The process."""
        assert self._child is not None, "it was never started"
        return self._child

    def start(self) -> None:
        """Start it, on the port that it had before."""
        for _ in range(_ATTEMPTS):
            # A cluster's nodes talk on this port + 10,000.
            port = self.port or free_port()
            self._child = Child(redis_server(), self._command(port), self.directory, environment=self._environment)
            if self._child.wait_until(partial(_answers, port, self._child.pid), "Redis answers"):
                self.port = port
                return
        raise AssertionError(f"Redis does not start:\n{self.child.output()}")

    def _command(self, port: int) -> list[str]:
        # Without snapshots: what is to survive a restart is in the append-only file.
        command = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(self.directory), "--save", ""]
        if self._aof:
            command += ["--appendonly", "yes", "--appendfsync", "always"]
        return [*command, *self._arguments]

    def client(self) -> Client:
        """A client with text answers, for the test to look inside. Close it."""
        return Client(host="127.0.0.1", port=self.port, decode_responses=True, socket_timeout=20)

    def command(self, *words: str | int) -> Any:
        """One command."""
        with self.client() as client:
            return client.execute_command(*words)

    def flush(self) -> None:
        """Forget everything."""
        self.command("FLUSHALL")

    def stop(self) -> None:
        """SIGTERM. Idempotent."""
        if self._child is not None:
            self._child.stop()

    def crash(self) -> None:
        """SIGKILL."""
        self.child.kill()

    def restart(self) -> None:
        """Stop it and start it; without an append-only file it is empty then."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """SIGSTOP it: connections stay open and nothing answers."""
        self.child.freeze()

    def resume(self) -> None:
        """Undo :meth:`freeze`."""
        self.child.resume()

    def close(self) -> None:
        """Stop it and remove what it left. Idempotent."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


class RedisCluster:
    """A cluster of masters that share the slots evenly; one node has them all."""

    def __init__(self, nodes: int = 1) -> None:
        self.nodes = [Redis(arguments=["--cluster-enabled", "yes"]) for _ in range(nodes)]
        first = self.nodes[0]
        for number, node in enumerate(self.nodes):
            begin, end = _SLOTS * number // nodes, _SLOTS * (number + 1) // nodes - 1
            node.command("CLUSTER", "ADDSLOTSRANGE", begin, end)
            node.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if node is not first:
                node.command("CLUSTER", "MEET", "127.0.0.1", first.port)
        for node in self.nodes:
            until(lambda node=node: self._is_whole(node), "the cluster is whole")  # type: ignore[misc]

    def _is_whole(self, node: Redis) -> bool:
        info = str(node.command("CLUSTER", "INFO"))
        return "cluster_state:ok" in info and f"cluster_known_nodes:{len(self.nodes)}" in info

    @property
    def url(self) -> str:
        """Of the first node."""
        return self.nodes[0].url

    def flush(self) -> None:
        """Forget everything."""
        for node in self.nodes:
            node.flush()

    def close(self) -> None:
        """Stop all nodes. Idempotent."""
        for node in self.nodes:
            node.close()


class RedisSentinel:
    """A master, a replica and a sentinel that makes the replica the master when the master is silent for a while."""

    def __init__(self) -> None:
        self.master = Redis()
        self.replica = Redis(arguments=["--replicaof", "127.0.0.1", str(self.master.port)])
        until(self._follows, "the replica follows the master")
        self.directory = new_directory("sentinel")
        self.port = 0
        self._child: Child | None = None
        for _ in range(_ATTEMPTS):
            port = free_port()
            self._child = Child(redis_server(), [str(self._file(port)), "--sentinel"], self.directory)
            if self._child.wait_until(partial(_answers, port, self._child.pid), "the sentinel answers"):
                self.port = port
                break
        until(self._knows_the_replica, "the sentinel knows the replica")

    @property
    def address(self) -> tuple[str, int]:
        """Of the sentinel."""
        return "127.0.0.1", self.port

    def _file(self, port: int) -> Path:
        path = self.directory / "sentinel.conf"
        path.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {self.directory}\n"
            f"sentinel monitor {MASTER_NAME} 127.0.0.1 {self.master.port} 1\n"
            f"sentinel down-after-milliseconds {MASTER_NAME} 2500\n"
            f"sentinel failover-timeout {MASTER_NAME} 5000\n",
            encoding="ascii",
        )
        return path

    def _follows(self) -> bool:
        with self.replica.client() as client:
            found: Any = client.info("replication")
        return bool(found.get("master_link_status") == "up")

    def _ask(self, *words: str) -> Any:
        with Client(host="127.0.0.1", port=self.port, decode_responses=True, socket_timeout=20) as client:
            return client.execute_command(*words)

    def _knows_the_replica(self) -> bool:
        return bool(self._ask("SENTINEL", "REPLICAS", MASTER_NAME))

    def master_port(self) -> int:
        """Of the node that the sentinel names now."""
        with Client(host="127.0.0.1", port=self.port, decode_responses=True, socket_timeout=20) as client:
            found: Any = client.sentinel_get_master_addr_by_name(MASTER_NAME)
        return int(found[1])

    def close(self) -> None:
        """Stop all three. Idempotent."""
        if self._child is not None:
            self._child.stop()
        self.replica.close()
        self.master.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def _answers(port: int, pid: int) -> bool:
    with Client(host="127.0.0.1", port=port, socket_timeout=5) as client:
        try:
            found: Any = client.info("server")
        except RedisError:
            return False
    # Whoever else got the port answers there, too.
    return bool(found["process_id"] == pid)
