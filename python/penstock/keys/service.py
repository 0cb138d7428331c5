"""Virtual keys: create, change, look up, charge, reset, and tell the data plane.

Every change and every answer to the data plane happens inside `settled()`: no usage record is being written and no
other change is under way, so that a record's `spend` and `spend_version` belong together and an older answer can
never overwrite a newer one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from penstock.audit import AuditTrail
from penstock.durations import parse_duration
from penstock.engine.events import UsageRecord
from penstock.engine.snapshot import KeyRecord
from penstock.errors import ApiError, bad_request
from penstock.keys.fields import apply, given
from penstock.keys.models import GenerateKeyRequest, KeyFields, RegenerateKeyRequest, UpdateKeyRequest, VirtualKey
from penstock.keys.store import KeyFilter, KeyStore, SortColumn
from penstock.persistence import Conflict, Transaction

_HEX = frozenset("0123456789abcdef")
_SHORTEST_CHOSEN_KEY = 19
_SWEEP_BATCH = 500


class KeyTable(Protocol):
    """The part of `penstock._core.Engine` that holds keys."""

    def put_keys(self, records: bytes) -> None:
        """Insert or replace."""

    def drop_keys(self, tokens: list[str]) -> None:
        """Forget."""


Settled = Callable[[], AbstractAsyncContextManager[int]]
"""Enters with every taken usage record written; yields the ordinal of the last one."""


class KeySource(msgspec.Struct, frozen=True):
    """How keys are made and digested (`penstock._core`, with the pepper bound)."""

    generate: Callable[[], str]
    digest: Callable[[str], str]


class _Sums(msgspec.Struct):
    """What a batch adds to a key."""

    window_start: int
    window: int = 0
    """Since `window_start`."""
    ever: int = 0
    last: int = 0
    """When the latest call began."""


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


def key_name(key: str) -> str:
    """What is shown of a key after it was created."""
    return f"sk-...{key[-4:]}"


class KeyService:
    """The keys domain's public face."""

    def __init__(
        self, store: KeyStore, audit: AuditTrail, source: KeySource, table: KeyTable | None, settled: Settled
    ) -> None:
        self._store = store
        self._audit = audit
        self._source = source
        self._table = table
        self._settled = settled

    def token_of(self, identifier: str) -> str:
        """The token of a key given either as the key itself or as its token."""
        if len(identifier) == 64 and _HEX.issuperset(identifier):
            return identifier
        return self._source.digest(identifier)

    async def find(self, identifier: str) -> VirtualKey | None:
        """A key, as it is stored."""
        return await self._store.get(self.token_of(identifier))

    async def get(self, identifier: str, param: str = "key") -> VirtualKey:
        """A key, or 404."""
        key = await self.find(identifier)
        if key is None:
            raise ApiError(404, "Key not found in database", param=param)
        return key

    async def page(
        self, where: KeyFilter, sort: SortColumn, descending: bool, page: int, size: int
    ) -> tuple[list[VirtualKey], int]:
        """One page (from 1) and the number of keys in all."""
        return await self._store.page(where, sort, descending, size, (page - 1) * size)

    async def aliases(self, page: int, size: int) -> tuple[list[str], int]:
        """One page (from 1) of the aliases in use and their number in all."""
        return await self._store.aliases(size, (page - 1) * size)

    async def tokens_ever(self, identifier: str) -> list[str]:
        """The key's token and those it had before it was regenerated."""
        token = self.token_of(identifier)
        return [token, *await self._store.predecessors(token)]

    async def generate(self, request: GenerateKeyRequest, actor: str) -> tuple[str, VirtualKey]:
        """A new key: the secret (shown this once) and the row."""
        now = now_ms()
        secret = self._chosen(request.key, "key") or self._source.generate()
        key = VirtualKey(
            token=self._source.digest(secret),
            key_name=key_name(secret),
            created_at=now,
            created_by=actor,
            updated_at=now,
            updated_by=actor,
        )
        apply(request, key, now)
        key.total_spend = key.spend
        async with self._settled() as version:
            try:
                async with self._store.database.transaction() as tx:
                    await self._store.insert(tx, key)
                    await self._audit.append(tx, actor, "key.generate", "key", key.token, given(request))
            except Conflict as error:
                raise self._conflict(error, key) from error
            self._publish([key], version)
        return secret, key

    async def update(self, request: UpdateKeyRequest, actor: str) -> VirtualKey:
        """Change the fields that the request has."""
        return await self._change(self.token_of(request.key), request, "key.update", actor)

    async def set_blocked(self, identifier: str, blocked: bool, actor: str) -> VirtualKey:
        """Block or unblock."""
        action = "key.block" if blocked else "key.unblock"
        return await self._change(self.token_of(identifier), KeyFields(blocked=blocked), action, actor)

    async def regenerate(self, identifier: str, request: RegenerateKeyRequest, actor: str) -> tuple[str, VirtualKey]:
        """A new secret for a key that keeps its history; the old one stops at once."""
        now = now_ms()
        old = self.token_of(identifier)
        secret = self._chosen(request.new_key, "new_key") or self._source.generate()
        new = self._source.digest(secret)
        async with self._settled() as version:
            key = await self.get(old)
            apply(request, key, now)
            key.updated_at, key.updated_by = now, actor
            try:
                async with self._store.database.transaction() as tx:
                    await self._store.replace(tx, key, spending=True)
                    await self._store.change_token(tx, old, new, key_name(secret), now)
                    await self._audit.append(tx, actor, "key.regenerate", "key", old, given(request))
                    await self._audit.append(tx, actor, "key.regenerate", "key", new)
            except Conflict as error:
                raise self._conflict(error, key) from error
            key.token, key.key_name = new, key_name(secret)
            if self._table is not None:
                self._table.drop_keys([old])
            self._publish([key], version)
        return secret, key

    async def delete(self, tokens: Iterable[str], actor: str) -> list[str]:
        """Remove keys; returns those that existed."""
        deleted: list[str] = []
        async with self._settled():
            async with self._store.database.transaction() as tx:
                for token in dict.fromkeys(tokens):
                    if await self._store.delete(tx, token):
                        await self._audit.append(tx, actor, "key.delete", "key", token)
                        deleted.append(token)
            if self._table is not None and deleted:
                self._table.drop_keys(deleted)
        return deleted

    async def aliases_to_tokens(self, aliases: list[str]) -> list[str]:
        """Tokens of the keys with these aliases."""
        return [key.token for key in await self._store.by_aliases(aliases)]

    async def answer_lookup(self, token: str, resolve: Callable[[bytes], None]) -> None:
        """Tell the data plane about a key it does not know; the answer is given before any later change."""
        if await self._store.get(token) is None:
            async with self._settled():
                key = await self._store.get(token)
                resolve(b"null" if key is None else msgspec.json.encode(self._record(key, 0)))
            return
        async with self._settled() as version:
            key = await self._current(token)
            resolve(b"null" if key is None else msgspec.json.encode(self._record(key, version)))

    async def refresh(self, tokens: Iterable[str]) -> None:
        """Give the data plane the present state of keys that somebody else changed."""
        async with self._settled() as version:
            for token in dict.fromkeys(tokens):
                key = await self._current(token)
                if key is not None:
                    self._publish([key], version)
                elif self._table is not None:
                    self._table.drop_keys([token])

    async def sweep_windows(self) -> int:
        """Begin the next window of every key whose budget window is over; returns how many."""
        ended = await self._store.ended_windows(now_ms(), _SWEEP_BATCH)
        if ended:
            await self.refresh(ended)
        return len(ended)

    async def charge(self, tx: Transaction, records: list[UsageRecord]) -> None:
        """Add the cost of records that were really inserted to their keys, in the same transaction."""
        tokens = {record.token for record in records if record.token}
        if not tokens:
            return
        now = now_ms()
        sums: dict[str, _Sums] = {}
        by_asked: dict[str, _Sums] = {}
        for row in await self._store.windows(tx, list(tokens)):
            token, start = str(row["token"]), int(row["budget_window_start"] or 0)
            ended = row["budget_reset_at"]
            if ended is not None and int(ended) <= now and row["budget_duration"]:
                start, end = self._next_window(str(row["budget_duration"]), int(ended), now)
                await self._store.roll_window(tx, token, int(ended), start, end)
            by_asked[str(row["asked"])] = sums.setdefault(token, _Sums(start))
        for record in records:
            sum_ = by_asked.get(record.token)
            if sum_ is None:
                continue
            sum_.ever += record.cost
            if record.started_at >= sum_.window_start:
                sum_.window += record.cost
            sum_.last = max(sum_.last, record.started_at)
        await self._store.add_spend(tx, [(sum_.window, sum_.ever, sum_.last, token) for token, sum_ in sums.items()])

    async def _change(self, token: str, fields: KeyFields, action: str, actor: str) -> VirtualKey:
        now = now_ms()
        names = given(fields) - {"key"}
        async with self._settled() as version:
            key = await self._current(token)
            if key is None:
                raise ApiError(404, "Key not found in database", param="key")
            before = key.spend
            apply(fields, key, now)
            key.total_spend += max(0, key.spend - before)
            key.updated_at, key.updated_by = now, actor
            try:
                async with self._store.database.transaction() as tx:
                    await self._store.replace(tx, key, spending=bool(names & {"spend", "budget_duration"}))
                    await self._audit.append(tx, actor, action, "key", token, names)
            except Conflict as error:
                raise self._conflict(error, key) from error
            self._publish([key], version)
        return key

    async def _current(self, token: str) -> VirtualKey | None:
        """The key with its budget window rolled forward to now."""
        key = await self._store.get(token)
        now = now_ms()
        if key is None or key.budget_reset_at is None or key.budget_reset_at > now or not key.budget_duration:
            return key
        start, end = self._next_window(key.budget_duration, key.budget_reset_at, now)
        async with self._store.database.transaction() as tx:
            await self._store.roll_window(tx, token, key.budget_reset_at, start, end)
        return await self._store.get(token)

    @staticmethod
    def _next_window(duration: str, ended: int, now: int) -> tuple[int, int]:
        return now, parse_duration(duration, "budget_duration").next_end(ended, now)

    def _publish(self, keys: list[VirtualKey], version: int) -> None:
        if self._table is not None:
            self._table.put_keys(msgspec.json.encode([self._record(key, version) for key in keys]))

    @staticmethod
    def _record(key: VirtualKey, version: int) -> KeyRecord:
        duration = parse_duration(key.budget_duration, "budget_duration") if key.budget_duration else None
        return KeyRecord(
            token=key.token,
            alias=key.key_alias,
            models=key.models,
            aliases=key.aliases,
            rpm=key.rpm_limit,
            tpm=key.tpm_limit,
            max_parallel_requests=key.max_parallel_requests,
            max_budget=key.max_budget,
            spend=key.spend,
            spend_version=version,
            budget_reset_at=key.budget_reset_at,
            budget_duration_ms=duration.nominal_milliseconds() if duration else None,
            expires_at=key.expires_at,
            blocked=key.blocked,
            cidrs=key.allowed_cidrs,
            allowed_routes=key.allowed_routes,
            tags=key.tags,
            user_id=key.user_id,
            team_id=key.team_id,
            org_id=key.org_id,
        )

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
