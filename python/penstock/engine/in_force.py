"""The configuration in force and the snapshot of it: compiled, replaced as a whole, or left as it was.

Apart from the runtime because everything that can change what the data plane has (a file that is read again, a stored model, a
credential, the first customer with a limit) meets here, one after the other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

import msgspec

from penstock.config import ConfigError, Problem, load
from penstock.config.problems import describe
from penstock.credentials.service import CredentialSealed
from penstock.engine.assembly import fixed_at_start, with_credentials
from penstock.engine.deployment import StoredDeployments
from penstock.engine.entities import asking
from penstock.engine.snapshot import Snapshot
from penstock.models.entry import Basis
from penstock.persistence import DatabaseUnavailable

if TYPE_CHECKING:
    from penstock.config.schema import Config
    from penstock.credentials.service import CredentialService
    from penstock.engine.entities import Entities
    from penstock.ledger.apply import Ledger
    from penstock.settings import Prepared

logger = logging.getLogger("penstock")


class SnapshotTaker(Protocol):
    """The part of `penstock._core.Engine` that has a snapshot."""

    def apply_snapshot(self, snapshot: bytes) -> None:
        """Replace the former one."""


class ModelSource(Protocol):
    """The part of :class:`penstock.models.stored.StoredModels` that snapshots are made from."""

    is_stale: bool
    """It must be applied again."""

    async def load(self, basis: Basis) -> list[StoredDeployments]:
        """What the database has."""


class InForce:
    """One per gateway."""

    def __init__(
        self,
        prepared: Prepared,
        engine: SnapshotTaker,
        master_token: str,
        entities: Entities,
        credentials: CredentialService,
        ledger: Ledger,
    ) -> None:
        self.snapshot = Snapshot(version=0, deployments=[], groups=[])
        self.demo_base_url: str | None = None
        """Of the simulator, when the demo runs."""
        self._prepared = prepared
        self._engine = engine
        self._master_token = master_token
        self._entities = entities
        self._credentials = credentials
        self._ledger = ledger
        self._models: ModelSource
        self._changes = asyncio.Lock()
        self._asks = (False, False)
        """Whether the next snapshot's data plane asks for customers, and for tags of requests."""
        self._asked = (False, False)
        """Whether the present one's does."""

    def attach(self, models: ModelSource) -> None:
        """Name who has the models of the database, which are changed through this."""
        self._models = models

    @property
    def config(self) -> Config:
        """What was read last and could be used."""
        return self._prepared.config

    async def recompile(self) -> None:
        """Compile the configuration with the stored credentials and models and make it current.

        Raises:
            ConfigError: it cannot be compiled; the former snapshot stays in force.
        """
        try:
            async with self.changing() as basis:
                self.install(basis, await self._models.load(basis))
        except (DatabaseUnavailable, asyncio.CancelledError):
            # Who asks for it has stored something.
            self._models.is_stale = True
            raise

    async def reload(self) -> bool:
        """Read the configuration again and make it current; False when it cannot be, and the former stays in force."""
        before, path = self._prepared, self._prepared.settings.config
        loaded = await asyncio.to_thread(load, path, before.outside)
        for problem in loaded.problems:
            level = logging.ERROR if problem.severity == "error" else logging.WARNING
            logger.log(level, "configuration", extra={"event": "config", "problem": describe(problem)})
        after = msgspec.structs.replace(before, config=loaded.config, environment=loaded.environment)
        try:
            if not loaded.ok:
                raise ConfigError(loaded.problems)  # noqa: TRY301
            async with self._changes:
                await self._take_over(after)
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

    async def _take_over(self, after: Prepared) -> None:
        """Make another configuration current, within `changing`'s lock: all of it, or nothing.

        Raises:
            ConfigError, CredentialSealed, DatabaseUnavailable: the former one is in force.
        """
        before = self._prepared
        # First, because whether the data plane asks for customers depends on it.
        self._entities.take_over(after.config)
        try:
            basis = await self._basis(after)
            snapshot = self._compile(basis, await self._models.load(basis))
            await self._entities.scopes.put_proxy()
            self._apply(snapshot)
        except BaseException:
            self._entities.take_over(before.config)
            raise
        self._prepared = after

    async def scopes_changed(self) -> None:
        """A customer or a tag has changed: the data plane may have to begin to ask for them."""
        if await self._entities.scopes.wanted() != self._asked:
            await self.recompile()

    async def ask_anew(self) -> None:
        """The same for another process's change, of which nobody waits for an answer: following must not end with it."""
        try:
            await self.scopes_changed()
        except (ConfigError, CredentialSealed) as error:
            logger.error(
                "limits of customers and tags cannot be applied; the former snapshot stays in force",
                extra={"event": "config.refused", "reason": str(error)},
            )

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[Basis]:
        """Make the next snapshot alone; yields what it is to be made from.

        Raises:
            CredentialSealed: a stored credential does not open.
        """
        async with self._changes:
            yield await self._basis(self._prepared)

    async def _basis(self, prepared: Prepared) -> Basis:
        self._asks = await self._entities.scopes.wanted()
        return Basis(with_credentials(prepared.config, await self._credentials.opened()), prepared.environment)

    def install(self, basis: Basis, stored: Iterable[StoredDeployments]) -> None:
        """Compile and apply, within `changing`.

        Raises:
            ConfigError: it cannot be; the former snapshot stays in force.
        """
        self._apply(self._compile(basis, stored))

    def _compile(self, basis: Basis, stored: Iterable[StoredDeployments]) -> Snapshot:
        from penstock.engine.compile import compile_snapshot

        snapshot = compile_snapshot(
            basis.config,
            basis.environment,
            version=self.snapshot.version + 1,
            master_token=self._master_token,
            demo_base_url=self.demo_base_url,
            stored=stored,
        )
        return asking(snapshot, *self._asks)

    def _apply(self, snapshot: Snapshot) -> None:
        try:
            self._engine.apply_snapshot(msgspec.json.encode(snapshot))
        except ValueError as error:
            raise ConfigError([Problem(severity="error", path="snapshot", message=str(error))]) from error
        self._asked = self._asks
        self._ledger.keeps_rows = snapshot.settings.spend_logs
        self.snapshot = snapshot
