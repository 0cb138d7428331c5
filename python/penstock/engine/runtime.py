"""One running gateway: the data plane, the store and the domains' services, put together and taken apart again.

Apart from the app because starting and draining are the same for both doors, and the command line uses parts of it.
The extension is imported here and started here, never at import and never before a fork.
"""

from __future__ import annotations

import asyncio
import logging
import secrets as randomness
import time
from ipaddress import IPv4Address, IPv6Address
from typing import IO, TYPE_CHECKING

import msgspec

from penstock.access.master import LocalSecrets
from penstock.audit import AuditTrail
from penstock.config import ConfigError, Problem
from penstock.config.database import database_settings
from penstock.config.redis import redis_settings
from penstock.credentials.service import CredentialService
from penstock.credentials.store import CredentialStore
from penstock.engine import background
from penstock.engine.announcing import Announcer
from penstock.engine.assembly import (
    local_secrets,
    lock_data_directory,
)
from penstock.engine.bridge import Bridge
from penstock.engine.budgets import SharedBudgets
from penstock.engine.certificates import CertificateWatch, TlsUnusable
from penstock.engine.ended import release, take_out
from penstock.engine.entities import Entities
from penstock.engine.hooks import EventPump
from penstock.engine.in_force import InForce
from penstock.engine.memory import MemoryReturn
from penstock.engine.priority import give_way, serve_soon
from penstock.engine.propagation import Propagation
from penstock.engine.readiness import Readiness, StoreHealth
from penstock.engine.snapshot import EngineOptions, SimulatorOptions, Snapshot
from penstock.idempotency.hooks import IdempotencyHooks
from penstock.idempotency.service import IdempotencyService
from penstock.keys.changes import KeySource
from penstock.keys.owners import KeyOwners
from penstock.keys.service import KeyService
from penstock.keys.store import KeyStore
from penstock.ledger.accounting import Accounting, make_ledger
from penstock.ledger.queue import EngineQueue
from penstock.ledger.settings import ledger_options
from penstock.models.store import ModelStore
from penstock.models.stored import StoredModels
from penstock.persistence import Database, DatabaseUnavailable, open_database
from penstock.quota.hooks import QuotaHooks
from penstock.quota.service import QuotaService
from penstock.quota.store import absence_store
from penstock.shared.redis import SharedRedis, connect
from penstock.spend.reset import SpendReset
from penstock.spend.service import SpendService
from penstock.spend.store import SpendStore

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from penstock._core import Engine, Simulator
    from penstock.config.schema import Config
    from penstock.settings import Prepared

logger = logging.getLogger("penstock")

_UNSPECIFIED = frozenset({str(IPv4Address(0)), str(IPv6Address(0))})
_SYNC_INTERVAL_S = 0.5


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
        database: Database,
        redis: SharedRedis | None,
        engine: Engine,
        options: EngineOptions,
        incarnation: str,
        lock: IO[str],
    ) -> None:
        from penstock import _core

        self.settings = prepared.settings
        self.secrets = secrets
        self.database = database
        self.redis = redis
        """What replicas share; None: there is no Redis."""
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
        self.ledger = make_ledger(database, prepared.settings.data_dir)
        self.rejected = self.ledger.rejected
        queue = EngineQueue(engine, incarnation)
        self.accounting = Accounting(self.ledger, queue, self.store_health, redis, ledger_options(prepared.config))
        self.usage = self.accounting.usage
        self.readiness = Readiness(engine, self._trouble)
        self.audit = AuditTrail(database)
        source = KeySource(_core.generate_key, self.digest)
        self.keys = KeyService(KeyStore(database), self.audit, source, engine, self.usage)
        self.entities = Entities(
            database, self.audit, self.keys, self._scopes_changed, engine, self.usage, self.usage.incarnation
        )
        """Teams, users, organizations, customers, budgets and tags."""
        self.keys.attach(KeyOwners(self.entities))
        self.spend_reset = SpendReset(database, self.audit, self.usage.flush, [self.keys, self.entities.scopes])
        self.credentials = CredentialService(
            CredentialStore(database), self.audit, secrets.sealing_key, _core.seal, _core.unseal
        )
        self.in_force = InForce(prepared, engine, self.master_token, self.entities, self.credentials, self.ledger)
        """The configuration and what is compiled of it."""
        self.models = StoredModels(
            ModelStore(database), self.audit, secrets.sealing_key, _core.seal, _core.unseal, self.in_force
        )
        self.in_force.attach(self.models)
        scopes = self.entities.scopes
        self.accounting.attach(self.keys.charge, scopes.charge)
        self.accounting.every("budget windows", _SYNC_INTERVAL_S, self.keys.sweep_windows, scopes.sweep_windows)
        self.bridge = Bridge(engine, options.max_body_bytes)
        self._simulator: Simulator | None = None
        self._budgets = SharedBudgets(engine, self.keys, scopes)
        self.quota: QuotaService | None = None
        """Limits that replicas share; None: there is no Redis."""
        if redis is not None:
            self.quota = QuotaService(
                redis,
                incarnation,
                spent=self._budgets.read,
                waits_ms=options.hook_timeout_ms,
                absences=absence_store(database),
            )
            self._budgets.attach(self.quota)
        hooks = QuotaHooks(self.quota) if self.quota is not None else None
        self.idempotency = IdempotencyService(redis) if redis is not None else None
        """Answers that replicas share; None: there is no Redis."""
        once = IdempotencyHooks(self.idempotency) if self.idempotency is not None else None
        self._pump = EventPump(engine, self.bridge.deliver, self.keys.answer_lookup, scopes.answer, hooks, once)
        self._options = options
        self.certificates = CertificateWatch(engine, options.tls if options.port is not None else None)
        """Of the public port, when the data plane owns it."""
        self._memory = MemoryReturn(self._load)
        self._lock = lock
        self._sync: background.Kept | None = None
        self._following = asyncio.Lock()
        self._propagation = Propagation(redis, self.audit, self.keys, engine, self._follow)
        self._warming: asyncio.Task[None] | None = None
        self._releasing: asyncio.Task[None] | None = None
        self._announcer = Announcer(self)
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
        database: Database | None = None
        redis: SharedRedis | None = None
        try:
            secrets = local_secrets(prepared)
            incarnation = randomness.token_hex(8)
            where = database_settings(prepared.config, prepared.environment, settings.data_dir)
            shared = redis_settings(prepared.config, prepared.environment)
            options = engine_options(
                prepared.config,
                prepared.environment,
                host=settings.host,
                port=settings.port,
                threads=settings.threads,
                control_socket=str(settings.control_socket or ""),
                pepper=secrets.pepper.hex(),
                listen=settings.listener == "native",
                incarnation=incarnation,
                journal_dir=str(settings.data_dir / "journal"),
                shared_limits=shared is not None,
                shared_answers=shared is not None,
            )
            database = await open_database(where, give_way)
            redis = await connect(shared) if shared is not None else None
            try:
                engine = _core.Engine(msgspec.json.encode(options))
            except ValueError as error:
                raise ConfigError([Problem(severity="error", path="penstock", message=str(error))]) from error
            runtime = cls(prepared, secrets, database, redis, engine, options, incarnation, lock)
            runtime._start_demo()
            await runtime.entities.configure(prepared.config)
            await runtime.recompile()
            return runtime
        except BaseException:
            if runtime is not None and runtime._simulator is not None:
                runtime._simulator.stop()
            if redis is not None:
                await redis.close()
            if database is not None:
                await database.close()
            lock.close()
            raise

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self.in_force.config

    @property
    def snapshot(self) -> Snapshot:
        """What the data plane has of it."""
        return self.in_force.snapshot

    async def recompile(self) -> None:
        """Compile the configuration with the stored credentials and models and make it current.

        Raises:
            ConfigError: it cannot be compiled; the former snapshot stays in force.
        """
        await self.in_force.recompile()

    async def reload(self) -> bool:
        """Read the configuration again and make it current; False when it cannot be, and the former stays in force."""
        return await self.in_force.reload()

    async def _scopes_changed(self) -> None:
        await self.in_force.scopes_changed()

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
        await self.accounting.replay()
        await self.keys.bound_windows()
        await self._share_limits()
        if self.idempotency is not None:
            await self.idempotency.start()
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
        self.accounting.start()
        self.entities.alerts.start()
        self.certificates.start()
        self._memory.start()
        self._sync = background.Kept(self._synchronise, "key-sync")
        self._propagation.start()
        self._warming = background.start(self._attempt(self._warm_up()), "warm-up")

    async def _share_limits(self) -> None:
        """Enter the register of gateways, and take those out that are known to have ended."""
        if self.quota is None:
            return
        await self.quota.start()
        if ended := sorted(self.accounting.ended):
            await take_out(self.quota, ended)
            self._releasing = background.start(release(self.quota, ended), "quota.release")
        await self.quota.be_known()

    def get_ready(self) -> None:
        """Take calls. Whoever opens the public port calls :meth:`announce` then."""
        self.readiness.begin()
        self.ready.set()

    def announce_when_reachable(self) -> None:
        """:meth:`announce` as soon as the control plane's socket answers."""
        self._announcer.announce_when_reachable()

    def announce(self) -> None:
        """Say that the public port answers."""
        self._announcer.announce()

    async def drain(self, grace_ms: int) -> bool:
        """Stop accepting, let calls in flight finish, settle them; True when none had to be cut."""
        if self._drained:
            return True
        self._drained = True
        self._announcer.end()
        self.readiness.end()
        # A start that failed has its own line to say.
        level = logging.INFO if self._sync is not None else logging.DEBUG
        logger.log(
            level, "draining", extra={"event": "drain", "in_flight": self.status().in_flight, "grace_ms": grace_ms}
        )
        finished = await asyncio.to_thread(self.engine.drain, grace_ms) and not self._was_cut
        # A data plane that stops with everything acknowledged leaves no journal behind.
        await self._flush_everything()
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
        await self._announcer.stop()
        await self._propagation.stop()
        if self._sync is not None:
            await self._sync.stop()
        for task in (self._warming, self._releasing):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self.certificates.stop()
        await self._memory.stop()
        await self.accounting.stop()
        await self.entities.alerts.stop()
        if self.idempotency is not None:
            self.idempotency.finish()
        await self._pump.stop()
        if self.idempotency is not None:
            await self.idempotency.stop()
        await self._flush_everything()
        if self.quota is not None:
            # What the ledger does not have, and nobody could be told of, must stay held.
            settled = self.status().usage_queue == 0 and await self._budgets.settle()
            await self.quota.stop(keeps_budgets=not settled)
        if self._simulator is not None:
            await asyncio.to_thread(self._simulator.stop)
        if self.redis is not None:
            await self.redis.close()
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

    def _trouble(self) -> str | None:
        """Why this process should get no calls: they could not be accounted for, or revoked keys would go on working."""
        followed = self._sync.trouble() if self._sync is not None else None
        return self.accounting.trouble() or followed or self._propagation.trouble()

    def _load(self) -> int:
        """Connections and calls."""
        status = self.status()
        return status.connections + status.in_flight

    def _start_demo(self) -> None:
        if self.config.penstock.demo:
            from penstock import _core

            self._simulator = _core.Simulator(msgspec.json.encode(SimulatorOptions()))
            self.in_force.demo_base_url = f"http://127.0.0.1:{self._simulator.start()}"

    async def _flush_everything(self) -> None:
        await self.accounting.flush(lambda: self.status().usage_queue)

    async def _synchronise(self) -> None:
        """Twice a second: what another process changed or charged, and budget windows that began."""
        while True:
            await asyncio.sleep(_SYNC_INTERVAL_S)
            await self._follow()

    async def _follow(self) -> None:
        async with self._following:
            await self._attempt(self._sync_once())

    async def _sync_once(self) -> None:
        async with self.audit.foreign_changes() as changed:
            if lost := [change.object_id for change in changed if change.is_lost and change.object_type == "key"]:
                await self.keys.forget(lost)
            # First: one of them may be revoked, and what follows may be much.
            tokens = [change.object_id for change in changed if change.object_type == "key"]
            if tokens:
                await self.keys.refresh(tokens)
            if scopes := [change.object_id for change in changed if change.object_type == "scope"]:
                await self.entities.scopes.refresh(scopes)
                await self.in_force.ask_anew()
            if self.models.is_stale or any(change.object_type in ("model", "credential") for change in changed):
                await self.models.refresh()
            if any(change.object_type == "spend" for change in changed):
                await self.spend_reset.tell()
        await self.keys.follow()
        await self.entities.scopes.follow()
        await self._budgets.look_after()

    async def _warm_up(self) -> None:
        count = await self.keys.warm_up(ledger_options(self.config).warm_keys)
        logger.debug("keys are told ahead", extra={"event": "keys.warm", "keys": count})

    async def _attempt(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
            self.store_health.worked("key-sync")
        except DatabaseUnavailable as error:
            self.store_health.failed("key-sync")
            logger.warning("the database does not answer", extra={"event": "sync.retry", "reason": str(error)})
