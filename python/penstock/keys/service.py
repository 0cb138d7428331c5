"""Virtual keys: create, change, look up, charge, reset, and tell the data plane.

What the data plane is told is read in one snapshot: what a key has spent, and up to which of the data plane's own records
that figure goes (`spend_version`); it adds the later ones itself, so settlement need not stand still. Reading (or
changing) and telling are one step among the others of this process, so that an older state never follows a newer one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from penstock.audit import AuditTrail
from penstock.durations import parse_duration
from penstock.engine.events import UsageRecord
from penstock.engine.snapshot import KeyRecord
from penstock.errors import ApiError, bad_request
from penstock.keys.fields import apply, given
from penstock.keys.models import (
    GenerateKeyRequest,
    KeyFields,
    KeyFilter,
    RegenerateKeyRequest,
    SortColumn,
    UpdateKeyRequest,
    VirtualKey,
)
from penstock.keys.store import KeyStore, Seed
from penstock.payers import Charged, Follower, addition
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
_WINDOW = ("budget_window_start", "budget_reset_at")
_WRITTEN = {
    "spend": frozenset({"spend"}),
    "budget_duration": frozenset({"budget_window_start", "budget_reset_at"}),
}
"""Fields of settlement that a request changes by one of its own; all others are left to settlement."""


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


class _Told(msgspec.Struct, frozen=True):
    """What the data plane was told of a key with a budget."""

    charged_at: int
    owners: int
    """Digest of what the key says of its owners."""
    above: list[str] | None


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


def _owners(key: VirtualKey) -> int:
    return hash((key.team_id, key.user_id, key.org_id, tuple(key.tags)))


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
        self._told: dict[str, _Told] = {}
        """Keys with a budget by their tokens, for that is what others' charges concern."""
        self._follower = Follower(store.payers, self._pass_on)

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
            await self._tell([key.token])
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
            self._drop([old])
            await self._tell([new])
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
            self._drop(deleted)
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
            records = await self._records([token])
            resolve(msgspec.json.encode(records[0]) if records else b"null")

    async def refresh(self, tokens: Iterable[str]) -> None:
        """Give the data plane the present state of keys that somebody else changed."""
        for part in parts(list(dict.fromkeys(tokens))):
            async with self._telling:
                await self._tell(part)

    async def warm_up(self, limit: int) -> int:
        """Give the data plane the keys that were used last, before it asks for them; returns how many."""
        if self._table is None or self._settlement is None:
            return 0
        count = 0
        for part in parts(await self._store.most_recent(limit)):
            async with self._telling:
                records = await self._records(part)
                self._table.put_keys(msgspec.json.encode(records))
            count += len(records)
        return count

    async def reset_spend(self, tx: Transaction) -> None:
        """Set every key's spend in its budget window to nothing; what it spent ever stays."""
        await self._store.payers.reset(tx)

    async def tell_reset(self) -> None:
        """Give the data plane the new figures: those of the keys used last at once, the others when they are asked for."""
        tokens = await self._store.most_recent(_RESET_TOLD + _RESET_DROPPED)
        await self.refresh(tokens[:_RESET_TOLD])
        async with self._telling:
            self._drop(tokens[_RESET_TOLD:])

    async def sweep_windows(self) -> int:
        """Begin the next window of every key whose budget window is over; returns how many.

        One process does this for all; the others learn of it by :meth:`follow`.
        """
        ended = await self._store.ended_windows(now_ms(), _SWEEP_BATCH)
        for part in parts(ended):
            await self._roll(await self._store.seeds(part, ""))
        await self.refresh(token for token in ended if token in self._told)
        return len(ended)

    async def follow(self) -> None:
        """Tell the data plane what was charged to keys with a budget that it was told of, and of their budget windows that
        began, whoever did it."""
        if self._table is not None:
            await self._follower.follow()

    async def _pass_on(self, charged: Sequence[Charged]) -> None:
        stale = [one.name for one in charged if (told := self._told.get(one.name)) and told.charged_at < one.charged_at]
        for part in parts(stale):
            async with self._telling:
                await self._tell(part, charged_only=True)

    async def charge(self, tx: Transaction, records: list[UsageRecord]) -> None:
        """Add the cost of records that were really inserted to their keys, in the same transaction."""
        asked: dict[str, list[UsageRecord]] = {}
        for record in records:
            if record.token:
                asked.setdefault(record.token, []).append(record)
        if not asked:
            return
        now = now_ms()
        windows: dict[str, tuple[tuple[int | None, int | None], str | None]] = {}
        concerned: dict[str, list[UsageRecord]] = {}
        for row in await self._store.windows(tx, sorted(asked)):
            token = str(row["token"])
            start, end = (None if row[name] is None else int(row[name] or 0) for name in _WINDOW)
            duration = row["budget_duration"]
            windows[token] = (start, end), None if duration is None else str(duration)
            concerned.setdefault(token, []).extend(asked[str(row["asked"])])
        additions = [
            addition(token, window, self._following(window[1], duration, now), concerned[token])
            for token, (window, duration) in windows.items()
        ]
        await self._store.payers.add(tx, additions)

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
            await self._tell([token])
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
        seed = await self._seed(token, "")
        if seed is not None and await self._roll([seed]):
            return await self._seed(token, "")
        return seed

    async def _roll(self, seeds: Iterable[Seed]) -> bool:
        """Begin the next window of the keys whose is over; whether there was one."""
        now = now_ms()
        over = [
            (seed.key.token, seed.key.budget_reset_at, following)
            for seed in seeds
            if (following := self._following(seed.key.budget_reset_at, seed.key.budget_duration, now))
        ]
        if over:
            async with self._store.database.transaction() as tx:
                for token, ended, following in over:
                    await self._store.payers.roll(tx, token, ended or 0, following)
        return bool(over)

    @staticmethod
    def _following(end: int | None, duration: str | None, now: int) -> tuple[int, int] | None:
        """The window that follows one that is over; None: it is not."""
        if end is None or end > now or not duration:
            return None
        return parse_duration(duration, "budget_duration").fixed_after(end, now)

    async def _tell(self, tokens: Sequence[str], *, charged_only: bool = False) -> None:
        """Give the data plane the present state of keys; ``charged_only``: as far as it is known, no scope above them changed."""
        if self._table is None:
            return
        records = await self._records(tokens, charged_only=charged_only)
        if records:
            self._table.put_keys(msgspec.json.encode(records))
        present = {record.token for record in records}
        self._drop([token for token in tokens if token not in present])

    def _drop(self, tokens: list[str]) -> None:
        for token in tokens:
            self._told.pop(token, None)
        if self._table is not None and tokens:
            self._table.drop_keys(tokens)

    async def _records(self, tokens: Sequence[str], *, charged_only: bool = False) -> list[KeyRecord]:
        """What the data plane is to know of the keys that exist. The scopes above them are put into it before they are read,
        for that may write out what it has settled."""
        if self._settlement is None:
            return []
        above: dict[str, list[str] | None] = {}
        for token in tokens:
            if not (charged_only and token in self._told):
                above[token] = await self._above(token)
        seeds = await self._store.seeds(tokens, self._settlement.incarnation)
        if await self._roll(seeds):
            seeds = await self._store.seeds(tokens, self._settlement.incarnation)
        records: list[KeyRecord] = []
        news: dict[str, _Told] = {}
        for seed in seeds:
            token, owners = seed.key.token, _owners(seed.key)
            if token not in above:
                told = self._told.get(token)
                if told is None or told.owners != owners:
                    above[token] = await self._above(token)
                else:
                    above[token] = told.above
            if seed.key.max_budget is not None:
                news[token] = _Told(seed.charged_at, owners, above[token])
            records.append(self._record(seed, self._settlement.version_of(seed.charged), above[token]))
        # Last: with a failure before it nothing is told, and the news are looked for again.
        for token in tokens:
            self._told.pop(token, None)
        self._told.update(news)
        return records

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
