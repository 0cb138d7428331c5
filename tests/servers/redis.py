"""Real Redis for tests: plain, with an append-only file, over TLS, as a cluster, and watched by a sentinel."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis import Redis as Client
from redis.exceptions import RedisError

from tests.servers.child import Child, free_port, new_directory, until
from tests.servers.programs import redis_server

MASTER_NAME = "penstock"
"""The service's name at the sentinel."""
_SLOTS = 16_384
_ATTEMPTS = 3


class Tls(NamedTuple):
    """What a server shows, and what its clients trust; files in PEM."""

    certificate: Path
    key: Path
    ca: Path


class Redis:
    """One node. Its port stays the same when it is stopped and started again."""

    def __init__(
        self,
        *,
        aof: bool = False,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        tls: Tls | None = None,
    ) -> None:
        """``aof``: every write is in a file before it is answered, so that a killed node comes back with all of it. ``tls``: it takes
        TLS connections only, on 127.0.0.2 as well, for which the certificate is not made."""
        self.directory = new_directory("redis")
        self.port = 0
        self._aof = aof
        self._arguments = list(arguments)
        self._environment = environment
        self._tls = tls
        self._child: Child | None = None
        self.start()

    @property
    def url(self) -> str:
        """`redis://...` or `rediss://...`, database 0."""
        return f"{'redis' if self._tls is None else 'rediss'}://127.0.0.1:{self.port}/0"

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
            if self._child.wait_until(partial(_answers, port, self._child.pid, self._tls), "Redis answers"):
                self.port = port
                return
        if self._tls is not None and "Bad directive" in self.child.output():
            pytest.skip("this Redis was built without TLS, so what needs it is NOT TESTED")
        raise AssertionError(f"Redis does not start:\n{self.child.output()}")

    def _command(self, port: int) -> list[str]:
        # Without snapshots: what is to survive a restart is in the append-only file.
        command = ["--dir", str(self.directory), "--save", ""]
        if self._tls is None:
            command += ["--port", str(port), "--bind", "127.0.0.1"]
        else:
            command += ["--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "127.0.0.2"]
            command += ["--tls-cert-file", str(self._tls.certificate), "--tls-key-file", str(self._tls.key)]
            command += ["--tls-ca-cert-file", str(self._tls.ca), "--tls-auth-clients", "no"]
        if self._aof:
            command += ["--appendonly", "yes", "--appendfsync", "always"]
        return [*command, *self._arguments]

    def client(self) -> Client:
        """A client with text answers, for the test to look inside. Close it."""
        return _client(self.port, self._tls, decode_responses=True, socket_timeout=20)

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

    def __init__(self, nodes: int = 1, *, tls: Tls | None = None) -> None:
        arguments = ["--cluster-enabled", "yes", *([] if tls is None else ["--tls-cluster", "yes"])]
        self.nodes = [Redis(arguments=arguments, tls=tls) for _ in range(nodes)]
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

    def __init__(self, *, tls: Tls | None = None) -> None:
        self._tls = tls
        arguments = [] if tls is None else ["--tls-replication", "yes"]
        self.master = Redis(arguments=arguments, tls=tls)
        arguments += ["--replicaof", "127.0.0.1", str(self.master.port)]
        self.replica = Redis(arguments=arguments, tls=tls)
        until(self._follows, "the replica follows the master")
        self.directory = new_directory("sentinel")
        self.port = 0
        self._child: Child | None = None
        for _ in range(_ATTEMPTS):
            port = free_port()
            self._child = Child(redis_server(), [str(self._file(port)), "--sentinel"], self.directory)
            if self._child.wait_until(partial(_answers, port, self._child.pid, tls), "the sentinel answers"):
                self.port = port
                break
        until(self._knows_the_replica, "the sentinel knows the replica")

    @property
    def address(self) -> tuple[str, int]:
        """Of the sentinel."""
        return "127.0.0.1", self.port

    def _file(self, port: int) -> Path:
        path = self.directory / "sentinel.conf"
        secured = (
            f"port {port}\n"
            if self._tls is None
            else f"port 0\ntls-port {port}\ntls-cert-file {self._tls.certificate}\ntls-key-file {self._tls.key}\n"
            f"tls-ca-cert-file {self._tls.ca}\ntls-auth-clients no\ntls-replication yes\n"
        )
        path.write_text(
            f"{secured}bind 127.0.0.1\ndir {self.directory}\n"
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
        with _client(self.port, self._tls, decode_responses=True, socket_timeout=20) as client:
            return client.execute_command(*words)

    def _knows_the_replica(self) -> bool:
        return bool(self._ask("SENTINEL", "REPLICAS", MASTER_NAME))

    def master_port(self) -> int:
        """Of the node that the sentinel names now."""
        with _client(self.port, self._tls, decode_responses=True, socket_timeout=20) as client:
            found: Any = client.sentinel_get_master_addr_by_name(MASTER_NAME)
        return int(found[1])

    def close(self) -> None:
        """Stop all three. Idempotent."""
        if self._child is not None:
            self._child.stop()
        self.replica.close()
        self.master.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def _client(port: int, tls: Tls | None, **options: Any) -> Client:
    secured: dict[str, Any] = {} if tls is None else {"ssl": True, "ssl_ca_certs": str(tls.ca)}
    return Client(host="127.0.0.1", port=port, **secured, **options)


def _answers(port: int, pid: int, tls: Tls | None = None) -> bool:
    with _client(port, tls, socket_timeout=5) as client:
        try:
            found: Any = client.info("server")
        except RedisError:
            return False
    # Whoever else got the port answers there, too.
    return bool(found["process_id"] == pid)
