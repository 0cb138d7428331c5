"""One running gateway: the data plane, the store and the domains' services, put together and taken apart again.

Apart from the app because starting and draining are the same for both doors, and the command line uses parts of it.
The extension is imported here and started here, never at import and never before a fork.
"""

from __future__ import annotations

import asyncio
import logging
import time
from ipaddress import IPv4Address, IPv6Address
from typing import IO, TYPE_CHECKING

import msgspec

from penstock import __version__
from penstock.access.master import LocalSecrets
from penstock.audit import AuditTrail
from penstock.config import ConfigError, Problem, load
from penstock.config.problems import describe
from penstock.cores import available_cores
from penstock.credentials.service import CredentialSealed, CredentialService
from penstock.credentials.store import CredentialStore
from penstock.engine import background
from penstock.engine.assembly import (
    database_path,
    fixed_at_start,
    local_secrets,
    lock_data_directory,
    with_credentials,
)
from penstock.engine.bridge import Bridge
from penstock.engine.certificates import CertificateWatch, TlsUnusable
from penstock.engine.hooks import EventPump
from penstock.engine.memory import MemoryReturn
from penstock.engine.priority import give_way, serve_soon
from penstock.engine.readiness import Readiness, StoreHealth
from penstock.engine.rejected import Rejected
from penstock.engine.snapshot import EngineOptions, SimulatorOptions, Snapshot
from penstock.engine.usage import UsageWriter
from penstock.keys.service import KeyService, KeySource
from penstock.keys.store import KeyStore
from penstock.persistence import DatabaseUnavailable, SqliteDatabase
from penstock.spend.service import SpendService
from penstock.spend.store import SpendStore

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from penstock._core import Engine, Simulator
    from penstock.settings import Prepared

logger = logging.getLogger("penstock")

_UNSPECIFIED = frozenset({str(IPv4Address(0)), str(IPv6Address(0))})
_SYNC_INTERVAL_S = 0.5
_PROBE_INTERVAL_S = 0.002
_FLUSH_ATTEMPTS = 20
_FLUSH_PAUSE_S = 0.25


class EngineStatus(msgspec.Struct):
    """`Engine.status`, decoded."""

    in_flight: int
    connections: int
    snapshot_version: int
    keys: int
    usage_queue: int


class Runtime:
    """Everything one process holds. Build it with :meth:`open`, then :meth:`start`, :meth:`drain`, :meth:`close`."""

    def __init__(
        self,
        prepared: Prepared,
        secrets: LocalSecrets,
        database: SqliteDatabase,
        engine: Engine,
        options: EngineOptions,
        lock: IO[str],
    ) -> None:
        from penstock import _core

        self.settings = prepared.settings
        self.config = prepared.config
        self.secrets = secrets
        self.database = database
        self.engine = engine
        self.master_token = _core.key_digest(secrets.pepper, secrets.master_key)
        """Digest of the master key."""
        self.started_at = time.time()
        self.port = prepared.settings.port
        """The public port, known once :meth:`start` returned."""
        self.ready = asyncio.Event()
        """Calls are taken, as soon as the public port is open."""
        self.spend = SpendService(SpendStore(database))
        self.store_health = StoreHealth()
        self.rejected = Rejected(self.spend.put_aside, prepared.settings.data_dir)
        self.usage = UsageWriter(engine, database, self.rejected, self.store_health)
        self.readiness = Readiness(engine, self.usage.trouble)
        self.audit = AuditTrail(database)
        source = KeySource(_core.generate_key, self.digest)
        self.keys = KeyService(KeyStore(database), self.audit, source, engine, self.usage.settled)
        self.credentials = CredentialService(
            CredentialStore(database), self.audit, secrets.sealing_key, _core.seal, _core.unseal
        )
        self.usage.attach(self.spend.append, self.keys.charge)
        self.bridge = Bridge(engine, options.max_body_bytes)
        self.snapshot = Snapshot(version=0, deployments=[], groups=[])
        self._prepared = prepared
        self._demo_base_url: str | None = None
        self._simulator: Simulator | None = None
        self._pump = EventPump(engine, self.bridge.deliver, self.keys.answer_lookup)
        self._options = options
        self.certificates = CertificateWatch(engine, options.tls if options.port is not None else None)
        """Of the public port, when the data plane owns it."""
        self._memory = MemoryReturn(self._load)
        self._lock = lock
        self._sync: asyncio.Task[None] | None = None
        self._announcing: asyncio.Task[None] | None = None
        self._drained = False
        self._was_cut = False
        self._closed = False

    @classmethod
    async def open(cls, prepared: Prepared) -> Runtime:
        """Open the store, build the engine, apply the configuration; nothing listens yet.

        Raises:
            ConfigError: the configuration cannot be compiled.
            WeakKey: the master key or another secret does not do.
            DatabaseUnavailable: the store cannot be opened.
            MigrationError: the store's schema is not one this version can use.
            DataDirectoryInUse: another process serves from the data directory.
        """
        from penstock import _core
        from penstock.engine.options import engine_options

        settings = prepared.settings
        lock = lock_data_directory(settings.data_dir)
        runtime: Runtime | None = None
        database: SqliteDatabase | None = None
        try:
            secrets = local_secrets(prepared)
            options = engine_options(
                prepared.config,
                prepared.environment,
                host=settings.host,
                port=settings.port,
                threads=settings.threads,
                control_socket=str(settings.control_socket or ""),
                pepper=secrets.pepper.hex(),
                listen=settings.listener == "native",
            )
            database = await SqliteDatabase.open(database_path(prepared), give_way)
            try:
                engine = _core.Engine(msgspec.json.encode(options))
            except ValueError as error:
                raise ConfigError([Problem(severity="error", path="penstock", message=str(error))]) from error
            runtime = cls(prepared, secrets, database, engine, options, lock)
            runtime._start_demo()
            await runtime.recompile()
            return runtime
        except BaseException:
            if runtime is not None and runtime._simulator is not None:
                runtime._simulator.stop()
            if database is not None:
                await database.close()
            lock.close()
            raise

    async def recompile(self) -> None:
        """Compile the configuration with the stored credentials and make it current.

        Raises:
            ConfigError: it cannot be compiled; the former snapshot stays in force.
        """
        await self._apply(self._prepared)

    async def reload(self) -> bool:
        """Read the configuration again and make it current; False when it cannot be, and the former stays in force."""
        before, path = self._prepared, self.settings.config
        loaded = await asyncio.to_thread(load, path, before.outside)
        for problem in loaded.problems:
            level = logging.ERROR if problem.severity == "error" else logging.WARNING
            logger.log(level, "configuration", extra={"event": "config", "problem": describe(problem)})
        after = msgspec.structs.replace(before, config=loaded.config, environment=loaded.environment)
        try:
            if not loaded.ok:
                raise ConfigError(loaded.problems)  # noqa: TRY301
            await self._apply(after)
        except (ConfigError, CredentialSealed, DatabaseUnavailable) as error:
            logger.error(
                "the configuration cannot be used; the former one stays in force",
                extra={"event": "config.refused", "reason": str(error)},
            )
            return False
        was = fixed_at_start(before)
        for section, value in fixed_at_start(after).items():
            if value != was[section]:
                logger.warning("a changed setting waits for the next start", extra={"event": "config", "what": section})
        logger.info(
            "the configuration was read again",
            extra={"event": "config.reloaded", "snapshot_version": self.snapshot.version},
        )
        return True

    async def _apply(self, prepared: Prepared) -> None:
        from penstock.engine.compile import compile_snapshot

        stored = await self.credentials.opened()
        snapshot = compile_snapshot(
            with_credentials(prepared.config, stored),
            prepared.environment,
            version=self.snapshot.version + 1,
            master_token=self.master_token,
            demo_base_url=self._demo_base_url,
        )
        try:
            self.engine.apply_snapshot(msgspec.json.encode(snapshot))
        except ValueError as error:
            raise ConfigError([Problem(severity="error", path="snapshot", message=str(error))]) from error
        self.spend.keeps_logs = snapshot.settings.spend_logs
        self._prepared, self.config, self.snapshot = prepared, prepared.config, snapshot

    async def start(self) -> None:
        """Open the public port (unless another listener owns it) and begin the background work. Idempotent.

        The port answers 503 to readiness until :meth:`get_ready`.

        Raises:
            OSError: the port cannot be bound.
            TlsUnusable: its TLS files cannot be used.
        """
        if self._sync is not None:
            return
        await self.audit.skip_to_end()
        try:
            port = self.engine.start()
        except ValueError as error:
            raise TlsUnusable(f"penstock.listener.{error}") from error
        except OSError as error:
            place = f"{self.settings.host}:{self.settings.port}"
            raise OSError(f"cannot listen on {place}: {error.strerror or error}") from error
        if self.settings.listener == "native":
            self.port = port
        serve_soon()
        self._pump.start()
        self.usage.start()
        self.certificates.start()
        self._memory.start()
        self._sync = background.start(self._synchronise(), "key-sync")

    def get_ready(self) -> None:
        """Take calls. Whoever opens the public port calls :meth:`announce` then."""
        if self._prepared.environment.redis_url is not None:
            logger.warning(
                "REDIS_URL has no effect in this version: limits are kept in this process", extra={"event": "redis"}
            )
        self.readiness.begin()
        self.ready.set()

    def announce_when_reachable(self) -> None:
        """:meth:`announce` as soon as the control plane's socket answers; the ASGI server opens it after the app's start."""
        if self.settings.control_socket is None:
            self.announce()
        elif self._announcing is None:
            work = self._announce_reachable(str(self.settings.control_socket))
            self._announcing = background.start(work, "announce")

    async def _announce_reachable(self, path: str) -> None:
        while not self._drained:
            try:
                _, writer = await asyncio.open_unix_connection(path)
            except (ConnectionError, FileNotFoundError):
                await asyncio.sleep(_PROBE_INTERVAL_S)
                continue
            writer.close()
            if not self._drained:
                self.announce()
            return

    def announce(self) -> None:
        """Say that the public port answers."""
        threads, cores = self.settings.threads, available_cores()
        more = {"advice": f"--threads {cores} would use every core"} if threads < cores else {}
        logger.info(
            "listening",
            extra={
                "event": "ready",
                "address": self.address,
                "port": self.port,
                "listener": self.settings.listener,
                "version": __version__,
                "models": len(self.snapshot.groups),
                "snapshot_version": self.snapshot.version,
                "threads": threads,
                "cores": cores,
                **more,
            },
        )

    async def drain(self, grace_ms: int) -> bool:
        """Stop accepting, let calls in flight finish, settle them; True when none had to be cut."""
        if self._drained:
            return True
        self._drained = True
        self.readiness.end()
        # A start that failed has its own line to say.
        level = logging.INFO if self._sync is not None else logging.DEBUG
        logger.log(
            level, "draining", extra={"event": "drain", "in_flight": self.status().in_flight, "grace_ms": grace_ms}
        )
        finished = await asyncio.to_thread(self.engine.drain, grace_ms) and not self._was_cut
        # Ends what is left with an error event and settles it, so that the flush after it has every record.
        await asyncio.to_thread(self.engine.stop)
        await self._flush_everything()
        fields = {"event": "drained", "complete": finished, "usage_written": self.usage.written}
        logger.log(level, "drained", extra=fields)
        return finished

    def cut(self) -> None:
        """End a drain that is under way: what is left is cut now, and settled."""
        self._was_cut = True
        asyncio.get_running_loop().run_in_executor(None, self.engine.stop)

    async def close(self) -> None:
        """Release everything. Idempotent; drains without grace when nobody has drained before."""
        if self._closed:
            return
        self._closed = True
        await self.drain(0)
        if self._announcing is not None:
            self._announcing.cancel()
            await asyncio.gather(self._announcing, return_exceptions=True)
        if self._sync is not None:
            self._sync.cancel()
            await asyncio.gather(self._sync, return_exceptions=True)
        await self.certificates.stop()
        await self._memory.stop()
        await self.usage.stop()
        await self._pump.stop()
        await self._flush_everything()
        if self._simulator is not None:
            await asyncio.to_thread(self._simulator.stop)
        await self.database.close()
        self._lock.close()

    def digest(self, key: str) -> str:
        """The token of a key under this installation's pepper."""
        from penstock import _core

        return _core.key_digest(self.secrets.pepper, key)

    async def database_answers(self) -> bool:
        """The store can be read."""
        try:
            await self.database.fetch_one("SELECT 1 AS one")
        except DatabaseUnavailable:
            return False
        return True

    def status(self) -> EngineStatus:
        """The data plane's gauges."""
        return msgspec.json.decode(self.engine.status(), type=EngineStatus)

    @property
    def is_ready(self) -> bool:
        """What readiness answers."""
        return self.readiness.is_ready

    @property
    def address(self) -> str:
        """Base URL of the public port."""
        host = self.settings.host
        if host in _UNSPECIFIED:
            host = "::1" if ":" in host else "127.0.0.1"
        shown = f"[{host}]" if ":" in host else host
        scheme = "https" if self._options.tls is not None else "http"
        return f"{scheme}://{shown}:{self.port}"

    @property
    def is_relayed(self) -> bool:
        """Requests come through the data plane's relay, which names the client in `X-Forwarded-For`."""
        return self.settings.listener == "native"

    @property
    def trusted_proxies(self) -> list[str]:
        """Address blocks whose `X-Forwarded-For` is believed."""
        return self._options.trusted_proxies

    @property
    def metrics_are_public(self) -> bool:
        """`/metrics` needs no key."""
        public = self.config.penstock.metrics.public
        return not self.config.litellm_settings.require_auth_for_metrics_endpoint if public is None else public

    def _load(self) -> int:
        """Connections and calls."""
        status = self.status()
        return status.connections + status.in_flight

    def _start_demo(self) -> None:
        if self.config.penstock.demo:
            from penstock import _core

            self._simulator = _core.Simulator(msgspec.json.encode(SimulatorOptions()))
            self._demo_base_url = f"http://127.0.0.1:{self._simulator.start()}"

    async def _flush_everything(self) -> None:
        """Write out what the data plane has settled, waiting a while for a database that does not answer."""
        for attempt in range(_FLUSH_ATTEMPTS):
            try:
                await self.usage.flush()
                return
            except DatabaseUnavailable as error:
                if attempt == _FLUSH_ATTEMPTS - 1:
                    logger.critical(
                        "usage records are lost: the database did not answer before the process ended",
                        extra={"event": "usage.lost", "records": self.status().usage_queue, "reason": str(error)},
                    )
                await asyncio.sleep(_FLUSH_PAUSE_S)

    async def _synchronise(self) -> None:
        """Twice a second: budget windows that ended, and keys that another process changed."""
        while True:
            await asyncio.sleep(_SYNC_INTERVAL_S)
            await self._attempt(self._sync_once())

    async def _sync_once(self) -> None:
        await self.keys.sweep_windows()
        async with self.audit.foreign_changes() as changed:
            tokens = [change.object_id for change in changed if change.object_type == "key"]
            if tokens:
                await self.keys.refresh(tokens)

    async def _attempt(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
            self.store_health.worked("key-sync")
        except DatabaseUnavailable as error:
            self.store_health.failed("key-sync")
            logger.warning("the database does not answer", extra={"event": "sync.retry", "reason": str(error)})
