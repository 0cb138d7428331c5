"""Models in the database: create, change, block and remove them, and keep the running snapshot in step.

A change is compiled and applied inside the transaction that stores it. What cannot be served is refused before
anything is stored, and what cannot be stored is taken out of the snapshot again. What was fit when it was stored and is
not any more (its credential was removed, the file took its name) is left out with a line in the log: one model must
not stop the gateway.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

import msgspec

from penstock.audit import AuditTrail
from penstock.clock import now_ms
from penstock.config.problems import ConfigError
from penstock.credentials.service import Cipher, CredentialSealed
from penstock.durations import iso
from penstock.engine.deployment import StoredDeployments
from penstock.engine.snapshot import Snapshot
from penstock.errors import ApiError, bad_request
from penstock.models.entry import Basis, Built, build_model, without_nulls
from penstock.models.hints import SECRET, hints_of, origins, provider_of
from penstock.models.models import JsonObject, ModelChange, NewModelRequest, StoredModel
from penstock.models.store import ModelStore
from penstock.persistence import Conflict, Transaction, managed
from penstock.uninterrupted import to_the_end

logger = logging.getLogger("penstock.models")

_object = msgspec.json.Decoder(JsonObject)
_RESERVED = frozenset({"db_model", "created_at", "created_by", "updated_at", "updated_by"})
"""What an answer adds to `model_info`; sent back, it changes nothing."""
_T = TypeVar("_T")


class Installer(Protocol):
    """The part of the runtime that makes snapshots."""

    def changing(self) -> AbstractAsyncContextManager[Basis]:
        """Keep every other change of the snapshot waiting."""

    def install(self, basis: Basis, stored: Iterable[StoredDeployments]) -> None:
        """Compile and apply.

        Raises:
            ConfigError: it cannot be; the former snapshot stays in force.
        """

    snapshot: Snapshot
    """What is in force."""


class StoredModels:
    """The database's half of the models domain."""

    def __init__(
        self, store: ModelStore, audit: AuditTrail, key: bytes, seal: Cipher, unseal: Cipher, installer: Installer
    ) -> None:
        self._store = store
        self._audit = audit
        self._key = key
        self._seal = seal
        self._unseal = unseal
        self._installer = installer
        self._installed: list[StoredDeployments] = []
        self._built: dict[str, tuple[bytes, Built]] = {}
        """With what they were built from, so that a change of one model builds one."""
        self._built_on: Basis | None = None
        self.unusable: dict[str, str] = {}
        """Why models are not served although nobody blocked them, by id."""
        self.is_stale = False
        """Nobody knows whether the last change was committed: what is served may not be what is stored."""

    async def load(self, basis: Basis) -> list[StoredDeployments]:
        """What the database adds to a snapshot. The caller applies it, and holds `changing` meanwhile."""
        rows = await self._store.all() if basis.has_stored_models else []
        self._installed = self._build(rows, basis)
        return self._installed

    async def refresh(self) -> None:
        """Apply what is stored."""
        try:
            async with self._installer.changing() as basis:
                stored, self.is_stale = await self.load(basis), False
                self._installer.install(basis, stored)
        except (ConfigError, CredentialSealed) as error:
            logger.error(
                "the models of the database cannot be applied; the former ones stay in force",
                extra={"event": "models.refused", "reason": str(error)},
            )

    @property
    def ids(self) -> dict[str, str]:
        """The stored model by the id of each of its deployments, of those that are served."""
        return {member.deployment.id: one.model_id for one in self._installed for member in one.members}

    async def shown(self) -> list[JsonObject]:
        """Every stored model as answers show it, oldest first."""
        return [self.show(row) for row in await self._store.all()]

    async def create(self, request: NewModelRequest, actor: str) -> JsonObject:
        """Store and serve a new model."""
        info = _own(request.model_info or {})
        model_id = info.pop("id", None) or str(uuid.uuid4())
        if not isinstance(model_id, str):
            raise bad_request("`model_info.id` must be a text", "model_info.id")
        now = now_ms()
        row = StoredModel(
            model_id=model_id,
            model_name=request.model_name,
            sealed_params=b"",
            hints="{}",
            model_info="{}",
            blocked=_flag(info.pop("blocked", None)),
            created_at=now,
            created_by=actor,
            updated_at=now,
            updated_by=actor,
        )
        params = without_nulls(request.litellm_params)

        async def work(tx: Transaction, basis: Basis) -> list[str]:
            if self._is_from_file(model_id):
                raise _taken(model_id)
            warnings = self._write(row, params, info, basis)
            await self._store.insert(tx, row)
            await self._audit.append(tx, actor, "model.new", "model", model_id, _named(params, info))
            return warnings

        try:
            warnings = await self._change(work)
        except Conflict as error:
            raise _taken(model_id) from error
        return {**self.show(row), "warnings": warnings}

    async def update(self, model_id: str, change: ModelChange, actor: str) -> JsonObject:
        """Replace the parameters given; the others stay."""
        info = _own(change.model_info or {})
        if info.pop("id", model_id) != model_id:
            raise bad_request("`model_info.id` cannot be changed: delete the model and make a new one", "model_info.id")
        blocked = info.pop("blocked", None)

        async def work(tx: Transaction, basis: Basis) -> JsonObject:
            row = await self._get(tx, model_id)
            given = without_nulls(change.litellm_params or {})
            hints = _object.decode(row.hints)
            # A client that shows the hints and sends everything back changes nothing by it.
            params = {name: value for name, value in given.items() if value != hints.get(name)}
            opened = self._opened(row)
            _keep_at_home(opened, params)
            known = _object.decode(row.model_info)
            row.model_name = change.model_name if change.model_name is not None else row.model_name
            row.blocked = row.blocked if blocked is None else _flag(blocked)
            warnings = self._write(row, {**opened, **params}, {**known, **without_nulls(info)}, basis)
            await self._replace(tx, row, actor)
            await self._audit.append(tx, actor, "model.update", "model", model_id, _named(params, info))
            return {**self.show(row), "warnings": warnings}

        return await self._change(work)

    async def set_blocked(self, model_id: str, blocked: bool, actor: str) -> JsonObject:
        """Stop serving a model, or serve it again."""

        async def work(tx: Transaction, basis: Basis) -> JsonObject:
            row = await self._get(tx, model_id)
            row.blocked = int(blocked)
            if not blocked:
                self._write(row, self._opened(row), _object.decode(row.model_info), basis)
            await self._replace(tx, row, actor)
            action = "model.block" if blocked else "model.unblock"
            await self._audit.append(tx, actor, action, "model", model_id, ["blocked"])
            return self.show(row)

        return await self._change(work)

    async def delete(self, model_id: str, actor: str) -> None:
        """Remove a model, or 404."""

        async def work(tx: Transaction, basis: Basis) -> None:
            await self._get(tx, model_id)
            await self._store.delete(tx, model_id)
            await self._audit.append(tx, actor, "model.delete", "model", model_id)

        await self._change(work)

    def show(self, row: StoredModel) -> JsonObject:
        """A model without its secrets."""
        more: JsonObject = {"created_at": iso(row.created_at), "created_by": row.created_by}
        more |= {"updated_at": iso(row.updated_at), "updated_by": row.updated_by}
        info = {**_object.decode(row.model_info), "id": row.model_id, "db_model": True, "blocked": bool(row.blocked)}
        return {
            "model_id": row.model_id,
            "model_name": row.model_name,
            "litellm_params": _object.decode(row.hints),
            "model_info": {**info, **more},
            **more,
        }

    async def _change(self, work: Callable[[Transaction, Basis], Awaitable[_T]]) -> _T:
        """One change, stored and applied or neither."""
        return await to_the_end(self._change_whole(work))

    async def _change_whole(self, work: Callable[[Transaction, Basis], Awaitable[_T]]) -> _T:
        async with self._installer.changing() as basis:
            if not basis.has_stored_models:
                raise bad_request(
                    "Models in the database are switched off: set `general_settings.store_model_in_db: true`",
                    "store_model_in_db",
                )
            former, unusable = self._installed, self.unusable
            is_applied = False

            async def once(tx: Transaction) -> tuple[_T, list[StoredDeployments]]:
                nonlocal is_applied
                result = await work(tx, basis)
                stored = self._build(await self._store.all_in(tx), basis)
                self._apply(basis, stored)
                is_applied = True
                return result, stored

            try:
                result, stored = await managed(self._store.database, once)
            except BaseException:
                self.unusable = unusable
                if is_applied:
                    self.is_stale = True
                    self._apply(basis, former)
                raise
            self._installed = stored
            return result

    def _apply(self, basis: Basis, stored: list[StoredDeployments]) -> None:
        try:
            self._installer.install(basis, stored)
        except ConfigError as error:
            raise bad_request(f"The model cannot be served: {error}", "litellm_params") from error

    def _write(self, row: StoredModel, params: JsonObject, info: JsonObject, basis: Basis) -> list[str]:
        """Check a model and put it into its row; returns what has no effect."""
        built = build_model(row.model_id, row.model_name, params, info, basis)
        row.sealed_params = self._seal(self._key, msgspec.json.encode(params), _additional_data(row.model_id))
        row.hints = msgspec.json.encode(hints_of(params)).decode()
        row.model_info = msgspec.json.encode(info).decode()
        return built.warnings

    def _build(self, rows: list[StoredModel], basis: Basis) -> list[StoredDeployments]:
        """Everything that can be served; the rest is named in the log and in `unusable`."""
        found: list[StoredDeployments] = []
        unusable: dict[str, str] = {}
        if basis != self._built_on:
            self._built, self._built_on = {}, basis
        before, self._built = self._built, {}
        for row in rows:
            try:
                seen, built = before.get(row.model_id, (b"", None))
                if built is None or seen != _content(row):
                    info = _object.decode(row.model_info)
                    built = build_model(row.model_id, row.model_name, self._opened(row), info, basis)
            except ApiError as error:
                unusable[row.model_id] = error.message
                if error.message != self.unusable.get(row.model_id):
                    logger.error(
                        "a model of the database cannot be served and is left out",
                        extra={"event": "models.left_out", "model_id": row.model_id, "reason": error.message},
                    )
                continue
            self._built[row.model_id] = (_content(row), built)
            if not row.blocked:
                found.append(built.deployments)
        self.unusable = unusable
        return found

    async def _get(self, tx: Transaction, model_id: str) -> StoredModel:
        row = await self._store.get_in(tx, model_id)
        if row is not None:
            return row
        if self._is_from_file(model_id):
            raise bad_request(
                f"Model '{model_id}' comes from the configuration file: change it there, and let the gateway read it "
                "again (SIGHUP)",
                "id",
            )
        raise ApiError(404, f"Model '{model_id}' not found.", param="id")

    async def _replace(self, tx: Transaction, row: StoredModel, actor: str) -> None:
        seen = row.updated_at
        row.updated_at, row.updated_by = max(now_ms(), seen + 1), actor
        if not await self._store.replace(tx, row, seen):
            raise ApiError(409, f"Model '{row.model_id}' was changed at the same moment; look at it and try again.")

    def _is_from_file(self, model_id: str) -> bool:
        return model_id not in self.ids and any(one.id == model_id for one in self._installer.snapshot.deployments)

    def _opened(self, row: StoredModel) -> JsonObject:
        try:
            return _object.decode(self._unseal(self._key, row.sealed_params, _additional_data(row.model_id)))
        except ValueError as error:
            raise bad_request(
                "its stored parameters cannot be opened: they were sealed under another key, or changed since. Start "
                "with the PENSTOCK_SECRET_KEY (or the data directory's sealing.key) of that time, or delete the model",
                "litellm_params",
            ) from error


def _keep_at_home(opened: JsonObject, params: JsonObject) -> None:
    """Refuse to send secrets that nobody can read any more to a server that they were not given for.

    Raises:
        ApiError: 400 naming what must be given again.
    """
    after = {**opened, **params}
    if origins(after) == origins(opened) and (origins(after) or provider_of(after) == provider_of(opened)):
        return
    for name in sorted(SECRET):
        if name in opened and name not in params:
            field = f"litellm_params.{name}"
            raise bad_request(
                f"`{field}` must be given again with another address or provider: what is stored stays there", field
            )


def _content(row: StoredModel) -> bytes:
    """What a model is built from."""
    return msgspec.json.encode((row.model_name, row.sealed_params, row.model_info))


def _additional_data(model_id: str) -> bytes:
    # Binds the ciphertext to its place, so that sealed parameters copied to another row do not open there.
    return f"models|sealed_params|{model_id}|provider-credential".encode()


def _own(info: JsonObject) -> JsonObject:
    return {name: value for name, value in info.items() if name not in _RESERVED}


def _flag(value: Any) -> int:
    if value is not None and not isinstance(value, bool):
        raise bad_request("`model_info.blocked` must be true or false", "model_info.blocked")
    return int(bool(value))


def _named(params: JsonObject, info: JsonObject) -> list[str]:
    return [*(f"litellm_params.{name}" for name in params), *(f"model_info.{name}" for name in info)]


def _taken(model_id: str) -> ApiError:
    return bad_request(f"Another model has the id '{model_id}': give each its own", "model_info.id")
