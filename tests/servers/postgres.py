"""Real PostgreSQL for tests: a cluster of its own, standbys of it, and a new database for each test.

Fast rather than durable (`fsync = off`): what was committed outlives the server but not the machine. Everybody on this
machine is trusted.
"""

from __future__ import annotations

import itertools
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlencode

from tests.servers.child import Child, free_port, new_directory, run, unprivileged, until
from tests.servers.programs import postgres_programs

USER = "penstock"
_ATTEMPTS = 3
_SETTINGS = """
listen_addresses = '127.0.0.1'
fsync = off
full_page_writes = off
shared_buffers = 32MB
max_connections = 60
superuser_reserved_connections = 3
wal_level = replica
max_wal_senders = 6
wal_keep_size = 64MB
hot_standby = on
jit = off
deadlock_timeout = 50ms
log_min_messages = warning
"""


class Postgres:
    """One node. Its port stays the same when it is stopped and started again."""

    def __init__(self, directory: Path, owner: tuple[int, int] | None) -> None:
        self.directory = directory
        self.port = 0
        self._owner = owner
        self._bin = postgres_programs()
        self._numbers = itertools.count(1)
        self._child: Child | None = None
        self._environment: Mapping[str, str] | None = None
        self._standbys: list[Postgres] = []
        self._retired: list[str] = []

    @classmethod
    def create(cls, settings: str = "", environment: Mapping[str, str] | None = None) -> Postgres:
        """A new cluster, running. ``settings`` are added to `postgresql.conf`, ``environment`` to the server's variables."""
        owner = unprivileged()
        node = cls(new_directory("postgres", owner), owner)
        node._environment = environment
        arguments = ["-D", str(node._data), "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync"]
        # An order of texts that is not that of their bytes, as most servers have it: what relies on the latter must say so.
        has_icu = "--icu-locale" in run(node._bin / "initdb", ["--help"], owner, node.directory)
        arguments += ["--locale=C", *(["--locale-provider=icu", "--icu-locale=en-US"] if has_icu else [])]
        run(node._bin / "initdb", arguments, owner, node.directory)
        node.configure(_SETTINGS + settings)
        node.start()
        return node

    def standby(self) -> Postgres:
        """A hot standby of this node: it follows, answers reads and refuses writes until :meth:`promote`."""
        node = Postgres(new_directory("standby", self._owner), self._owner)
        self._standbys.append(node)
        arguments = ["-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-D", str(node._data)]
        arguments += ["-R", "-X", "stream", "-c", "fast", "--no-sync"]
        run(self._bin / "pg_basebackup", arguments, self._owner, node.directory)
        node.start()
        return node

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def child(self) -> Child:
        """The running postmaster."""
        assert self._child is not None, "it was never started"
        return self._child

    def url(self, database: str = "postgres", *, port: int | None = None, user: str = USER, **options: str) -> str:
        """The address of a database; ``port`` is that of a proxy in between, ``options`` are of libpq (`sslmode`)."""
        query = f"?{urlencode(options)}" if options else ""
        return f"postgresql://{quote(user)}@127.0.0.1:{port or self.port}/{quote(database)}{query}"

    def configure(self, settings: str) -> None:
        """Add lines to `postgresql.conf`, for the next start."""
        with (self._data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(settings)

    def use_tls(self, certificate: Path, key: Path) -> None:
        """Restart it so that it takes TLS connections only."""
        for name, source in (("server.crt", certificate), ("server.key", key)):
            path = self._data / name
            shutil.copy(source, path)
            path.chmod(0o600)
            if self._owner is not None:
                shutil.chown(path, *self._owner)
        # On a second address, too, for which the certificate is not made.
        self.configure("\nssl = on\nlisten_addresses = '127.0.0.1, 127.0.0.2'\n")
        (self._data / "pg_hba.conf").write_text("hostssl all all 127.0.0.0/8 trust\n", encoding="ascii")
        self.restart()

    def start(self) -> None:
        """Start it, on the port that it had before."""
        for _ in range(_ATTEMPTS):
            # Between finding a free port and taking it somebody else may.
            port = self.port or free_port()
            arguments = ["-D", str(self._data), "-p", str(port), "-k", str(self.directory)]
            self._child = Child(self._bin / "postgres", arguments, self.directory, self._owner, self._environment)
            if self._child.wait_until(self._is_ready, "PostgreSQL is ready", 60):
                self.port = port
                return
        raise AssertionError(f"PostgreSQL does not start:\n{self.child.output()}")

    def _is_ready(self) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[0] == str(self.child.pid) and lines[7].strip() == "ready"

    def stop(self) -> None:
        """Fast shutdown: connections are closed, transactions rolled back. Idempotent."""
        if self._child is not None:
            self._child.stop(signal.SIGINT)

    def crash(self) -> None:
        """Immediate shutdown: nobody is told; the next start recovers from the log."""
        self.child.stop(signal.SIGQUIT)

    def restart(self) -> None:
        """Stop it and start it."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop every process of it in its tracks."""
        self.child.freeze()

    def resume(self) -> None:
        """Undo :meth:`freeze`."""
        self.child.resume()

    def promote(self) -> None:
        """Make a standby the one that takes writes."""
        self.sql("SELECT pg_promote(true, 30)")
        until(lambda: self.sql("SELECT pg_is_in_recovery()") == [["f"]], "the standby is promoted")

    def caught_up(self, standby: Postgres) -> None:
        """Wait until ``standby`` has replayed all that this node has written."""
        (position,) = self.sql("SELECT pg_current_wal_lsn()")[0]
        query = f"SELECT pg_last_wal_replay_lsn() >= '{position}'::pg_lsn"
        until(lambda: standby.sql(query) == [["t"]], "the standby has caught up")

    def sql(self, *statements: str, database: str = "postgres") -> list[list[str]]:
        """Run statements, each in a transaction of its own; the rows of all as text."""
        arguments = ["-XAtq", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-d", self.url(database)]
        for statement in statements:
            arguments += ["-c", statement]
        return [line.split("\t") for line in run(self._bin / "psql", arguments).splitlines()]

    def new_database(self, template: str = "template1") -> str:
        """The name of a new database, a copy of ``template``, to which nobody may be connected. Retired ones are dropped."""
        while self._retired:
            self.drop_database(self._retired.pop())
        name = f"test_{next(self._numbers)}"
        self.sql(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def retire_database(self, name: str) -> None:
        """Drop it when a new one is made: by then whatever the test started on it has been stopped."""
        self._retired.append(name)

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected."""
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def connections(self, database: str) -> list[int]:
        """Process ids of the backends that serve clients of a database."""
        query = (
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
            f" AND datname = '{database}' AND pid <> pg_backend_pid() ORDER BY pid"
        )
        return [int(row[0]) for row in self.sql(query)]

    def disconnect(self, database: str) -> int:
        """End every connection to a database from the server's side; how many there were."""
        query = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
        return len(self.sql(f"{query} AND pid <> pg_backend_pid()"))

    def close(self) -> None:
        """Stop it and its standbys and remove what they left. Idempotent."""
        for standby in self._standbys:
            standby.close()
        if self._child is not None:
            # Immediate: a shutdown that is polite to clients waits for those that say nothing.
            self._child.stop(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)
