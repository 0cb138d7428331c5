"""Virtual keys: create, change, look up, charge, reset, and tell the data plane.

What the data plane is told is read in one snapshot: what a key has spent, and up to which of the data plane's own records
that figure goes (`spend_version`); it adds the later ones itself, so settlement need not stand still. Reading (or
changing) and telling are one step among the others of this process, so that an older state never follows a newer one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import msgspec

from penstock.audit import AuditTrail
from penstock.durations import parse_duration
from penstock.engine.events import UsageRecord
from penstock.engine.snapshot import KeyRecord
from penstock.errors import ApiError, bad_request
from penstock.keys.fields import apply, given
from penstock.keys.models import GenerateKeyRequest, KeyFields, RegenerateKeyRequest, UpdateKeyRequest, VirtualKey
from penstock.keys.store import KeyFilter, KeyStore, Seed, SortColumn
from penstock.persistence import Conflict, Transaction
from penstock.tables import parts

_HEX = frozenset("0123456789abcdef")
_SHORTEST_CHOSEN_KEY = 19
_TEAM_MODELS = "all-team-models"
_SWEEP_BATCH = 500
_RESET_TOLD = 2_000
_RESET_DROPPED = 1_000_000
"""More than the data plane has."""
_TRIES = 5
_WRITTEN = {
    "spend": frozenset({"spend"}),
    "budget_duration": frozenset({"budget_window_start", "budget_reset_at"}),
}
"""Fields of settlement that a request changes by one of its own; all others are left to settlement."""
_OVERLAP_MS = 60_000
"""So much earlier is looked for windows that began: clocks differ, and what began first may be committed last."""


class KeyTable(Protocol):
    """The part of `penstock._core.Engine` that holds keys."""

    def put_keys(self, records: bytes) -> None:
        """Insert or replace."""

    def drop_keys(self, tokens: list[str]) -> None:
        """Forget."""


class Settlement(Protocol):
    """How far the data plane's records are in the ledger (:class:`penstock.ledger.direct.UsageWriter`)."""

    @property
    def incarnation(self) -> str:
        """Of the data plane that is told."""

    def version_of(self, watermark: int) -> int:
        """What it calls the record with this ordinal."""

    async def catch_up(self, token: str) -> None:
        """Have in the ledger what the data plane may have settled of a key and forgotten."""


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

    async def above(self, key: VirtualKey) -> list[str]:
        """Tell the data plane of the scopes above the key; returns their names."""


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


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


def key_name(key: str) -> str:
    """What is shown of a key after it was created."""
    return f"sk-...{key[-4:]}"


class KeyService:
    """The keys domain's public face."""

    def __init__(
        self,
        store: KeyStore,
        audit: AuditTrail,
        source: KeySource,
        table: KeyTable | None = None,
        settlement: Settlement | None = None,
    ) -> None:
        """``table`` and ``settlement`` are of the data plane that is told of changes; without, there is none here."""
        self._store = store
        self._audit = audit
        self._source = source
        self._table = table
        self._settlement = settlement
        self._telling = asyncio.Lock()
        self._scopes: KeyScopes | None = None
        self._windows: dict[str, int] = {}
        self._followed = now_ms()

    def attach(self, scopes: KeyScopes) -> None:
        """Name who knows what is above a key."""
        self._scopes = scopes

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
        await self._admit(key, given(request))
        async with self._telling:
            try:
                async with self._store.database.transaction() as tx:
                    await self._store.insert(tx, key)
                    await self._write_above(tx, key, given(request), actor)
                    await self._audit.append(tx, actor, "key.generate", "key", key.token, given(request))
            except Conflict as error:
                raise self._conflict(error, key) from error
            await self._tell(key.token)
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

        async def once() -> VirtualKey:
            seen = await self._seen(old)
            key = msgspec.structs.replace(seen.key)
            apply(request, key, now)
            key.updated_at, key.updated_by = now, actor
            await self._admit(key, given(request))
            try:
                async with self._store.database.transaction() as tx:
                    await self._replace(tx, seen, key, set(given(request)))
                    await self._write_above(tx, key, given(request), actor)
                    await self._store.change_token(tx, old, new, key_name(secret), now)
                    if self._scopes is not None:
                        await self._scopes.rename(tx, old, new)
                    await self._audit.append(tx, actor, "key.regenerate", "key", old, given(request))
                    await self._audit.append(tx, actor, "key.regenerate", "key", new)
            except Conflict as error:
                raise self._conflict(error, key) from error
            return key

        async with self._telling:
            key = await _undisturbed(once)
            key.token, key.key_name = new, key_name(secret)
            if self._table is not None:
                self._table.drop_keys([old])
            await self._tell(new)
        return secret, key

    async def delete(self, tokens: Iterable[str], actor: str) -> list[str]:
        """Remove keys; returns those that existed."""
        deleted: list[str] = []
        async with self._telling:
            async with self._store.database.transaction() as tx:
                for token in dict.fromkeys(tokens):
                    if await self._store.delete(tx, token):
                        if self._scopes is not None:
                            await self._scopes.remove(tx, token)
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
        if self._settlement is not None and await self._store.get(token) is not None:
            # The data plane may have had the key before, and forgotten with it what the ledger does not have yet.
            await self._settlement.catch_up(token)
        async with self._telling:
            record = await self._record_of(token)
            resolve(b"null" if record is None else msgspec.json.encode(record))

    async def refresh(self, tokens: Iterable[str]) -> None:
        """Give the data plane the present state of keys that somebody else changed."""
        for token in dict.fromkeys(tokens):
            async with self._telling:
                await self._tell(token)

    async def warm_up(self, limit: int) -> int:
        """Give the data plane the keys that were used last, before it asks for them; returns how many."""
        tokens = await self._store.most_recent(limit)
        if self._table is None or self._settlement is None:
            return 0
        count = 0
        for part in parts(tokens):
            async with self._telling:
                above = {token: await self._above(token) for token in part}
                seeds = await self._store.seeds(part, self._settlement.incarnation)
                records = [
                    self._record(seed, self._settlement.version_of(seed.charged), above.get(seed.key.token))
                    for seed in seeds
                    # Those whose window is over are told when it has been rolled.
                    if not self._is_over(seed.key, now_ms())
                ]
                self._table.put_keys(msgspec.json.encode(records))
            count += len(records)
        return count

    async def reset_spend(self, tx: Transaction) -> None:
        """Set every key's spend in its budget window to nothing; what it spent ever stays."""
        await self._store.reset_spend(tx)

    async def tell_reset(self) -> None:
        """Give the data plane the new figures: those of the keys used last at once, the others when they are asked for."""
        tokens = await self._store.most_recent(_RESET_TOLD + _RESET_DROPPED)
        await self.refresh(tokens[:_RESET_TOLD])
        async with self._telling:
            if self._table is not None and len(tokens) > _RESET_TOLD:
                self._table.drop_keys(tokens[_RESET_TOLD:])

    async def sweep_windows(self) -> int:
        """Begin the next window of every key whose budget window is over; returns how many.

        One process does this for all; the others learn of it by :meth:`follow_windows`.
        """
        ended = await self._store.ended_windows(now_ms(), _SWEEP_BATCH)
        if ended:
            await self.refresh(ended)
        return len(ended)

    async def follow_windows(self) -> int:
        """Tell the data plane of windows that began lately, whoever began them; returns how many it did not know of."""
        now = now_ms()
        begun = await self._store.windows_since(self._followed - _OVERLAP_MS)
        new = [token for token, start in begun.items() if self._windows.get(token) != start]
        await self.refresh(new)
        self._windows, self._followed = begun, now
        return len(new)

    async def charge(self, tx: Transaction, records: list[UsageRecord]) -> None:
        """Add the cost of records that were really inserted to their keys, in the same transaction."""
        tokens = {record.token for record in records if record.token}
        if not tokens:
            return
        now = now_ms()
        sums: dict[str, _Sums] = {}
        by_asked: dict[str, _Sums] = {}
        for row in await self._store.windows(tx, sorted(tokens)):
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
        # In one order, whoever writes: two of them never wait for each other's keys. And by page, where keys are kept so.
        rows = [(sums[token].window, sums[token].ever, sums[token].last, token) for token in sorted(sums)]
        await self._store.add_spend(tx, rows)

    async def _change(self, token: str, fields: KeyFields, action: str, actor: str) -> VirtualKey:
        now = now_ms()
        names = given(fields) - {"key"}
        if names & _WRITTEN.keys() and self._settlement is not None:
            # A figure that is set replaces what the data plane counts, if it remembers everything that came after.
            await self._settlement.catch_up(token)

        async def once() -> VirtualKey:
            seen = await self._seen(token)
            key = msgspec.structs.replace(seen.key)
            apply(fields, key, now)
            key.updated_at, key.updated_by = now, actor
            await self._admit(key, names)
            try:
                async with self._store.database.transaction() as tx:
                    await self._replace(tx, seen, key, names)
                    await self._write_above(tx, key, names, actor)
                    await self._audit.append(tx, actor, action, "key", token, names)
            except Conflict as error:
                raise self._conflict(error, key) from error
            return key

        async with self._telling:
            key = await _undisturbed(once)
            await self._tell(token)
        return key

    async def _seen(self, token: str) -> Seed:
        """The key to be changed, or 404."""
        seen = await self._current(token)
        if seen is None:
            raise ApiError(404, "Key not found in database", param="key")
        return seen

    async def _replace(self, tx: Transaction, seen: Seed, key: VirtualKey, names: set[str]) -> None:
        more = max(0, key.spend - seen.key.spend) if "spend" in names else 0
        key.total_spend += more
        own = frozenset[str]().union(*(_WRITTEN[name] for name in _WRITTEN.keys() & names))
        if not await self._store.replace(tx, seen, key, own, more):
            raise _Disturbed

    async def _admit(self, key: VirtualKey, names: set[str]) -> None:
        if self._scopes is not None:
            await self._scopes.admit(key, names)

    async def _write_above(self, tx: Transaction, key: VirtualKey, names: set[str], actor: str) -> None:
        if self._scopes is not None:
            await self._scopes.write(tx, key, names, actor)

    async def _above(self, token: str) -> list[str] | None:
        """Names of the scopes above a key, which the data plane has then; None: it knows none. Before the key is read, for
        it may write out what the data plane has settled."""
        if self._scopes is None or not self._scopes.are_held:
            return None
        key = await self._store.get(token)
        return await self._scopes.above(key) if key is not None else None

    async def _current(self, token: str) -> Seed | None:
        """The key with its budget window rolled forward to now."""
        seed, now = await self._seed(token, ""), now_ms()
        if seed is None or not self._is_over(seed.key, now):
            return seed
        key = seed.key
        if key.budget_reset_at is None or not key.budget_duration:
            return seed
        start, end = self._next_window(key.budget_duration, key.budget_reset_at, now)
        async with self._store.database.transaction() as tx:
            await self._store.roll_window(tx, token, key.budget_reset_at, start, end)
        return await self._seed(token, "")

    @staticmethod
    def _is_over(key: VirtualKey, now: int) -> bool:
        """Its budget window has ended and another begins."""
        return key.budget_reset_at is not None and key.budget_reset_at <= now and bool(key.budget_duration)

    @staticmethod
    def _next_window(duration: str, ended: int, now: int) -> tuple[int, int]:
        return now, parse_duration(duration, "budget_duration").next_end(ended, now)

    async def _tell(self, token: str) -> None:
        """Give the data plane the present state of a key."""
        if self._table is None:
            return
        record = await self._record_of(token)
        if record is None:
            self._table.drop_keys([token])
        else:
            self._table.put_keys(msgspec.json.encode([record]))

    async def _record_of(self, token: str) -> KeyRecord | None:
        if self._settlement is None:
            return None
        above = await self._above(token)
        seed = await self._seed(token, self._settlement.incarnation)
        if seed is not None and self._is_over(seed.key, now_ms()):
            await self._current(token)
            seed = await self._seed(token, self._settlement.incarnation)
        return self._record(seed, self._settlement.version_of(seed.charged), above) if seed else None

    async def _seed(self, token: str, incarnation: str) -> Seed | None:
        return next(iter(await self._store.seeds([token], incarnation)), None)

    @staticmethod
    def _record(seed: Seed, version: int, above: list[str] | None) -> KeyRecord:
        key = seed.key
        duration = parse_duration(key.budget_duration, "budget_duration") if key.budget_duration else None
        return KeyRecord(
            token=key.token,
            alias=key.key_alias,
            # The team's models are those of its scope.
            models=[] if key.team_id is not None and _TEAM_MODELS in key.models else key.models,
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
            scopes=above or [],
            revision=seed.revision,
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
