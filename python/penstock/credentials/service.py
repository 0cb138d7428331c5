"""Seal, keep, mask and (for the compiler alone) open provider credentials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from penstock.audit import AuditTrail
from penstock.clock import now_ms
from penstock.credentials.models import CreateCredentialRequest, Credential, UpdateCredentialRequest
from penstock.credentials.store import CredentialStore, SealedCredential
from penstock.errors import ApiError, bad_request
from penstock.nesting import DEEPEST, is_too_deep
from penstock.persistence import Conflict, Transaction, managed
from penstock.providers.address import AddressError, checked

Cipher = Callable[[bytes, bytes, bytes], bytes]
"""`(key, text, additional data)`; `penstock._core.seal` and `unseal`."""

_values = msgspec.json.Decoder(dict[str, str])
_IN_HEADERS = frozenset({"api_key", "azure_ad_token", "organization"})


class CredentialSealed(ValueError):
    """A stored credential does not open; the message says which and what to do."""


def mask(value: str) -> str:
    """Enough to recognise a value by, too little to use it."""
    return f"{value[:2]}****{value[-2:]}" if len(value) >= 16 else "****"


class CredentialService:
    """The credentials domain's public face."""

    def __init__(self, store: CredentialStore, audit: AuditTrail, key: bytes, seal: Cipher, unseal: Cipher) -> None:
        self._store = store
        self._audit = audit
        self._key = key
        self._seal = seal
        self._unseal = unseal

    async def list(self) -> list[Credential]:
        """Every credential, values masked."""
        return [_shown(row) for row in await self._store.all()]

    async def create(self, request: CreateCredentialRequest, actor: str) -> Credential:
        """Seal and keep a new credential."""
        if not request.credential_name or len(request.credential_name) > 256:
            raise bad_request("`credential_name` must have 1 to 256 characters", "credential_name")
        if "/" in request.credential_name:
            raise bad_request("`credential_name` must not have a `/` in it: it stands in paths", "credential_name")
        if not request.credential_values:
            raise bad_request("`credential_values` must have at least one value, e.g. `api_key`", "credential_values")
        _check_values(request.credential_values)
        _check_info(request.credential_info)
        now = now_ms()
        row = SealedCredential(
            credential_name=request.credential_name,
            sealed_values=self._sealed(request.credential_name, request.credential_values),
            hints=_hints(request.credential_values),
            info=msgspec.json.encode(request.credential_info).decode(),
            created_at=now,
            created_by=actor,
            updated_at=now,
            updated_by=actor,
        )

        async def once(tx: Transaction) -> None:
            await self._store.insert(tx, row)
            await self._audit.append(
                tx, actor, "credential.create", "credential", row.credential_name, request.credential_values
            )

        try:
            await managed(self._store.database, once)
        except Conflict as error:
            raise bad_request(f"Credential '{row.credential_name}' already exists.", "credential_name") from error
        return _shown(row)

    async def update(self, name: str, request: UpdateCredentialRequest, actor: str) -> Credential:
        """Replace some values or the description."""
        if request.credential_name not in (None, name):
            raise bad_request("`credential_name` cannot be changed", "credential_name")

        async def once(tx: Transaction) -> SealedCredential:
            row = await self._store.get(tx, name)
            if row is None:
                raise _unknown(name)
            if request.credential_values is not None:
                _check_values(request.credential_values)
                values = {**self._opened(row), **request.credential_values}
                row.sealed_values, row.hints = self._sealed(name, values), _hints(values)
            if request.credential_info is not None:
                _check_info(request.credential_info)
                row.info = msgspec.json.encode(request.credential_info).decode()
            row.updated_at, row.updated_by = now_ms(), actor
            await self._store.replace(tx, row)
            await self._audit.append(
                tx, actor, "credential.update", "credential", name, request.credential_values or ()
            )
            return row

        return _shown(await managed(self._store.database, once))

    async def delete(self, name: str, actor: str) -> None:
        """Remove a credential, or 404."""

        async def once(tx: Transaction) -> None:
            if not await self._store.delete(tx, name):
                raise _unknown(name)
            await self._audit.append(tx, actor, "credential.delete", "credential", name)

        await managed(self._store.database, once)

    async def opened(self) -> dict[str, dict[str, str]]:
        """Every credential in the clear, for building deployments; never for an answer.

        Raises:
            CredentialSealed: a row was sealed under another key, or moved or changed since.
        """
        return {row.credential_name: self._opened(row) for row in await self._store.all()}

    def _sealed(self, name: str, values: dict[str, str]) -> bytes:
        return self._seal(self._key, msgspec.json.encode(values), _additional_data(name))

    def _opened(self, row: SealedCredential) -> dict[str, str]:
        try:
            text = self._unseal(self._key, row.sealed_values, _additional_data(row.credential_name))
        except ValueError as error:
            raise CredentialSealed(
                f"the stored credential `{row.credential_name}` cannot be opened: it was sealed under another key, or "
                "changed since. Start with the PENSTOCK_SECRET_KEY (or the data directory's sealing.key) of that time, "
                "or remove its row from the table `credentials`."
            ) from error
        return _values.decode(text)


def _check_values(values: dict[str, str]) -> None:
    # What is refused here would be found when the models are built with it, at the next start at the latest.
    for name in _IN_HEADERS & values.keys():
        if not (values[name].strip().isascii() and values[name].strip().isprintable()):
            raise bad_request(
                f"`credential_values.{name}` holds characters that a header cannot carry", "credential_values"
            )
    address = values.get("api_base")
    try:
        if address is not None:
            checked(address)
    except AddressError as error:
        raise bad_request(f"`credential_values.api_base` {error}", "credential_values") from error


def _check_info(info: dict[str, Any]) -> None:
    if is_too_deep(info):
        raise bad_request(f"`credential_info` is nested more than {DEEPEST} levels deep", "credential_info")


def _additional_data(name: str) -> bytes:
    # Binds the ciphertext to its place, so that a sealed value copied to another row does not open there.
    return f"credentials|sealed_values|{name}|provider-credential".encode()


def _hints(values: dict[str, str]) -> str:
    return msgspec.json.encode({name: mask(value) for name, value in values.items()}).decode()


def _shown(row: SealedCredential) -> Credential:
    return Credential(row.credential_name, _values.decode(row.hints), msgspec.json.decode(row.info))


def _unknown(name: str) -> ApiError:
    return ApiError(404, f"Credential '{name}' not found.", param="credential_name")
