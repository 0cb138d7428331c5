"""Virtual keys: make, change, give a new secret, delete; each with its audit row, in one transaction.

Apart from the service because it is what the administrator does to one key at a time, and that what the data plane is told
of thousands. The data plane is told within the same lock as the change, so that an older state never follows a newer one.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import msgspec

from penstock.audit import AuditTrail
from penstock.checks import Check, unchecked
from penstock.errors import ApiError, bad_request
from penstock.keys.fields import apply
from penstock.keys.models import GenerateKeyRequest, KeyFields, RegenerateKeyRequest, UpdateKeyRequest, VirtualKey
from penstock.keys.store import KeyStore, Seed
from penstock.persistence import Conflict, Transaction, managed
from penstock.scopes.fields import given

_HEX = frozenset("0123456789abcdef")
_SHORTEST_CHOSEN_KEY = 19
_TRIES = 5
_WRITTEN = {
    "spend": frozenset({"spend"}),
    "budget_duration": frozenset({"budget_window_start", "budget_reset_at"}),
}
"""Fields of settlement that a request changes by one of its own; all others are left to settlement."""


class Settlement(Protocol):
    """How far the data plane's records are in the ledger (:class:`penstock.ledger.direct.UsageWriter`)."""

    @property
    def incarnation(self) -> str:
        """Of the data plane that is told."""

    def version_of(self, watermark: int) -> int:
        """What it calls the record with this ordinal."""

    async def catch_up(self, tokens: Iterable[str]) -> None:
        """Have in the ledger what the data plane may have settled of keys and forgotten."""


class KeyScopes(Protocol):
    """What the other domains say of a key: who is above it (:class:`penstock.keys.owners.KeyOwners`)."""

    @property
    def are_held(self) -> bool:
        """There is a data plane here that knows scopes."""

    async def admit(self, key: VirtualKey, given: set[str]) -> None:
        """Check what a request says of the key's owners, and complete it."""

    async def write(self, tx: Transaction, key: VirtualKey, given: set[str], actor: str) -> None:
        """Write what belongs to the key in the transaction that writes the key."""

    async def rename(self, tx: Transaction, old: str, new: str) -> None:
        """The key has a new token."""

    async def remove(self, tx: Transaction, token: str) -> None:
        """The key is deleted."""

    async def above(self, keys: Sequence[VirtualKey]) -> list[list[str]]:
        """Tell the data plane of the scopes above the keys; returns their names, for each key from near to far."""


class KeySource(msgspec.Struct, frozen=True):
    """How keys are made and digested (`penstock._core`, with the pepper bound)."""

    generate: Callable[[], str]
    digest: Callable[[str], str]


class _Disturbed(ApiError):
    """Another process changed the key between its being read and its being written."""

    def __init__(self) -> None:
        super().__init__(409, "The key was changed at the same moment; look at it and try again.", param="key")


async def _undisturbed(change: Callable[[], Awaitable[VirtualKey]]) -> VirtualKey:
    """Change a key, from its reading on again when another process was faster: nobody's block is undone by who did not see it."""
    for _ in range(_TRIES - 1):
        try:
            return await change()
        except _Disturbed:
            continue
    return await change()


def key_name(key: str) -> str:
    """What is shown of a key after it was created."""
    return f"sk-...{key[-4:]}"


class KeyChanges(ABC):
    """The half of :class:`penstock.keys.service.KeyService` that changes keys."""

    def __init__(self, store: KeyStore, audit: AuditTrail, source: KeySource, settlement: Settlement | None) -> None:
        self._store = store
        self._audit = audit
        self._source = source
        self._settlement = settlement
        self._telling = asyncio.Lock()
        self._scopes: KeyScopes | None = None

    @abstractmethod
    async def _current(self, token: str) -> Seed | None:
        """The key with its budget window rolled forward to now."""

    @abstractmethod
    async def _tell(self, tokens: Sequence[str], *, charged_only: bool = False) -> None:
        """Give the data plane the present state of keys."""

    @abstractmethod
    def _drop(self, tokens: list[str]) -> None:
        """Make the data plane forget keys."""

    def attach(self, scopes: KeyScopes) -> None:
        """Name who knows what is above a key."""
        self._scopes = scopes

    def token_of(self, identifier: str) -> str:
        """The token of a key given either as the key itself or as its token."""
        if len(identifier) == 64 and _HEX.issuperset(identifier):
            return identifier
        return self._source.digest(identifier)

    async def generate(
        self, request: GenerateKeyRequest, actor: str, check: Check = unchecked
    ) -> tuple[str, VirtualKey]:
        """A new key: the secret (shown this once) and the row. ``check`` is asked where it is written."""

        async def checked(_: Transaction) -> None:
            await check()

        return await self.generate_with(checked, request, actor)

    async def generate_with(
        self, first: Callable[[Transaction], Awaitable[None]], request: GenerateKeyRequest, actor: str
    ) -> tuple[str, VirtualKey]:
        """A new key in the same transaction, after ``first`` has made there what it is for."""
        now = await self._store.payers.clock.now_ms()
        secret = self._chosen(request.key, "key") or self._source.generate()
        asked = VirtualKey(
            token=self._source.digest(secret),
            key_name=key_name(secret),
            created_at=now,
            created_by=actor,
            updated_at=now,
            updated_by=actor,
        )
        apply(request, asked, now)
        asked.total_spend = asked.spend

        async def once(tx: Transaction) -> VirtualKey:
            await first(tx)
            key = msgspec.structs.replace(asked)
            # Where nobody else writes: what is above the key must not be gone by the time that it is there.
            await self._admit(key, given(request))
            try:
                await self._store.insert(tx, key)
            except Conflict as error:
                raise self._conflict(error, key) from error
            await self._write_above(tx, key, given(request), actor)
            await self._audit.append(tx, actor, "key.generate", "key", key.token, given(request))
            return key

        async with self._telling:
            key = await managed(self._store.database, once)
            await self._tell([key.token])
        return secret, key

    async def update(self, request: UpdateKeyRequest, actor: str, check: Check = unchecked) -> VirtualKey:
        """Change the fields that the request has."""
        return await self._change(self.token_of(request.key), request, "key.update", actor, check)

    async def set_blocked(self, identifier: str, blocked: bool, actor: str, check: Check = unchecked) -> VirtualKey:
        """Block or unblock."""
        action = "key.block" if blocked else "key.unblock"
        return await self._change(self.token_of(identifier), KeyFields(blocked=blocked), action, actor, check)

    async def regenerate(
        self, identifier: str, request: RegenerateKeyRequest, actor: str, check: Check = unchecked
    ) -> tuple[str, VirtualKey]:
        """A new secret for a key that keeps its history; the old one stops at once."""
        now = await self._store.payers.clock.now_ms()
        old = self.token_of(identifier)
        secret = self._chosen(request.new_key, "new_key") or self._source.generate()
        new = self._source.digest(secret)

        async def once() -> VirtualKey:
            seen = await self._seen(old)
            key = msgspec.structs.replace(seen.key)
            apply(request, key, now)
            key.updated_at, key.updated_by = now, actor
            await self._admit(key, given(request))

            async def write(tx: Transaction) -> None:
                await check()
                await self._admit_still(key, given(request))
                await self._replace(tx, seen, key, set(given(request)))
                await self._write_above(tx, key, given(request), actor)
                await self._store.change_token(tx, old, new, key_name(secret), now)
                if self._scopes is not None:
                    await self._scopes.rename(tx, old, new)
                await self._audit.append(tx, actor, "key.regenerate", "key", old, given(request))
                await self._audit.append(tx, actor, "key.regenerate", "key", new)
                written.append(old)

            try:
                await managed(self._store.database, write)
            except Conflict as error:
                raise self._conflict(error, key) from error
            return key

        async with self._telling, self._untold() as written:
            key = await _undisturbed(once)
            key.token, key.key_name = new, key_name(secret)
            self._drop([old])
            await self._tell([new])
        return secret, key

    async def delete(self, tokens: Iterable[str], actor: str, check: Check = unchecked) -> list[str]:
        """Remove keys; returns those that existed."""

        async def named(_: Transaction) -> Iterable[str]:
            await check()
            return tokens

        return await self.delete_with(named, actor)

    async def delete_with(
        self,
        whose: Callable[[Transaction], Awaitable[Iterable[str]]],
        actor: str,
        scopes: Callable[[Transaction], Awaitable[None]] | None = None,
    ) -> list[str]:
        """Remove the keys that ``whose`` returns the tokens of, in the same transaction in which it ends what they were for;
        returns those that existed. What becomes of ``scopes`` comes after the keys: whoever charges takes them in that order."""

        async def once(tx: Transaction) -> list[str]:
            deleted = [token for token in dict.fromkeys(await whose(tx)) if await self._store.delete(tx, token)]
            for token in deleted:
                if self._scopes is not None:
                    await self._scopes.remove(tx, token)
                await self._audit.append(tx, actor, "key.delete", "key", token)
            if scopes is not None:
                await scopes(tx)
            written.extend(deleted)
            return deleted

        async with self._telling, self._untold() as written:
            deleted = await managed(self._store.database, once)
            self._drop(deleted)
        return deleted

    async def _change(self, token: str, fields: KeyFields, action: str, actor: str, check: Check) -> VirtualKey:
        now = await self._store.payers.clock.now_ms()
        names = given(fields) - {"key"}
        if names & _WRITTEN.keys() and self._settlement is not None:
            # A figure that is set replaces what the data plane counts, if it remembers everything that came after.
            await self._settlement.catch_up([token])

        async def once() -> VirtualKey:
            seen = await self._seen(token)
            key = msgspec.structs.replace(seen.key)
            apply(fields, key, now)
            key.updated_at, key.updated_by = now, actor
            await self._admit(key, names)

            async def write(tx: Transaction) -> None:
                await check()
                await self._admit_still(key, names)
                await self._replace(tx, seen, key, names)
                await self._write_above(tx, key, names, actor)
                await self._audit.append(tx, actor, action, "key", token, names)
                written.append(token)

            try:
                await managed(self._store.database, write)
            except Conflict as error:
                raise self._conflict(error, key) from error
            return key

        async with self._telling, self._untold() as written:
            key = await _undisturbed(once)
            await self._tell([token])
        return key

    @asynccontextmanager
    async def _untold(self) -> AsyncIterator[list[str]]:
        """Within it, keys that a transaction has written are noted. When nobody can say whether it was committed, or what to tell
        of them, or nobody waits for it, the data plane forgets them: none of them may go on as it was."""
        written: list[str] = []
        try:
            yield written
        except BaseException:
            self._drop(written)
            raise

    async def _seen(self, token: str) -> Seed:
        """The key to be changed, or 404."""
        seen = await self._current(token)
        if seen is None:
            raise ApiError(404, "Key not found in database", param="key")
        return seen

    async def _replace(self, tx: Transaction, seen: Seed, key: VirtualKey, names: set[str]) -> None:
        more = max(0, key.spend - seen.key.spend) if "spend" in names else 0
        key.total_spend = seen.key.total_spend + more
        own = frozenset[str]().union(*(_WRITTEN[name] for name in _WRITTEN.keys() & names))
        if not await self._store.replace(tx, seen, key, own, more):
            raise _Disturbed

    async def _admit(self, key: VirtualKey, names: set[str]) -> None:
        if self._scopes is not None:
            await self._scopes.admit(key, names)

    async def _admit_still(self, key: VirtualKey, names: set[str]) -> None:
        """Once more, where nobody else writes: what is above the key may have changed since, or be gone."""
        before = key.org_id
        if self._scopes is not None:
            await self._scopes.admit(key, names)
        if key.org_id != before:
            raise _Disturbed

    async def _write_above(self, tx: Transaction, key: VirtualKey, names: set[str], actor: str) -> None:
        if self._scopes is not None:
            await self._scopes.write(tx, key, names, actor)

    @staticmethod
    def _chosen(key: object, field: str) -> str | None:
        if not isinstance(key, str):
            return None
        body = key.removeprefix("sk-")
        if (
            body == key
            or len(key) < _SHORTEST_CHOSEN_KEY
            or not all(c.isascii() and (c.isalnum() or c in "-_") for c in body)
        ):
            raise bad_request(
                f"`{field}` must start with `sk-` and have at least 16 more letters, digits, `-` or `_`", field
            )
        return key

    @staticmethod
    def _conflict(error: Conflict, key: VirtualKey) -> ApiError:
        if "key_alias" in str(error):
            return bad_request(f"Key with alias '{key.key_alias}' already exists.", "key_alias")
        return bad_request("This key already exists.", "key")
