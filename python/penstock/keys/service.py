"""Virtual keys: look up, charge, reset, and tell the data plane. Making and changing them is in :mod:`penstock.keys.changes`.

What the data plane is told is read in one snapshot: what a key has spent, and up to which of the data plane's own records
that figure goes (`spend_version`); it adds the later ones itself, so settlement need not stand still. Reading (or
changing) and telling are one step among the others of this process, so that an older state never follows a newer one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from penstock.audit import AuditTrail
from penstock.durations import parse_duration
from penstock.engine.events import UsageRecord
from penstock.engine.snapshot import KeyRecord
from penstock.errors import ApiError
from penstock.keys.changes import KeyChanges, KeySource, Settlement
from penstock.keys.models import (
    KeyFilter,
    SortColumn,
    VirtualKey,
)
from penstock.keys.store import KeyStore, Seed
from penstock.lookups import Asked, Lookups, Resolve
from penstock.payers import Charged, Figure, Follower, addition
from penstock.persistence import Transaction, managed
from penstock.tables import parts

_TEAM_MODELS = "all-team-models"
_SWEEP_BATCH = 500
_RESET_TOLD = 2_000
_RESET_DROPPED = 1_000_000
"""More than the data plane has."""
_WINDOW = ("budget_window_start", "budget_reset_at")


class KeyTable(Protocol):
    """The part of `penstock._core.Engine` that holds keys."""

    def put_keys(self, records: bytes) -> None:
        """Insert or replace."""

    def drop_keys(self, tokens: list[str]) -> None:
        """Forget."""

    def bound_windows(self, latest: int) -> None:
        """For budget windows it is no later now, in Unix milliseconds."""


Learn = Callable[[Sequence[tuple[str, Figure]]], None]
"""Told what payers have spent, by the names that the data plane's budgets have, whenever that was read."""


class _Told(msgspec.Struct, frozen=True):
    """What the data plane was told of a key with a budget."""

    charged_at: int
    owners: int
    """Digest of what the key says of its owners."""
    above: list[str]


def _owners(key: VirtualKey) -> int:
    return hash((key.team_id, key.user_id, key.org_id, tuple(key.tags)))


def _window(key: VirtualKey) -> tuple[int | None, int | None]:
    return key.budget_window_start, key.budget_reset_at


def own_scope(token: str) -> str:
    """The name of a key's own budget where budgets are shared: `key:...` is what it has from a budget of several."""
    return f"own:{token}"


class KeyService(KeyChanges):
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
        super().__init__(store, audit, source, settlement)
        self._table = table
        self._learn: Learn | None = None
        self._told: dict[str, _Told] = {}
        """Keys with a budget by their tokens, for that is what others' charges concern."""
        self._follower = Follower(store.payers, self._pass_on)
        self._lookups = Lookups(self._answer)

    def report(self, learn: Learn) -> None:
        """Name who is told what keys with a budget have spent."""
        self._learn = learn

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

    async def count_of(self, user_id: str | None, team_id: str | None) -> int:
        """How many keys a user has, in all; without one, how many a team has that are nobody's."""
        return await self._store.count_of(user_id, team_id)

    async def aliases(self, page: int, size: int) -> tuple[list[str], int]:
        """One page (from 1) of the aliases in use and their number in all."""
        return await self._store.aliases(size, (page - 1) * size)

    async def tokens_ever(self, identifier: str) -> list[str]:
        """The key's token and those it had before it was regenerated."""
        token = self.token_of(identifier)
        return [token, *await self._store.predecessors(token)]

    async def aliases_to_tokens(self, aliases: list[str]) -> list[str]:
        """Tokens of the keys with these aliases."""
        return [key.token for key in await self._store.by_aliases(aliases)]

    async def answer_lookup(self, token: str, resolve: Resolve) -> None:
        """Tell the data plane about a key it does not know; the answer is given before any later change."""
        await self._lookups.ask(token, resolve)

    async def _answer(self, together: Sequence[Asked]) -> None:
        wanted = list(dict.fromkeys(asked.name for asked in together))
        present = [key.token for key in await self._store.among(wanted)]
        if present and self._settlement is not None:
            # The data plane may have had the key before, and forgotten with it what the ledger does not have yet.
            await self._settlement.catch_up(present)
        async with self._telling:
            answers = {record.token: msgspec.json.encode(record) for record in await self._records(wanted)}
            for asked in together:
                asked.tell(answers.get(asked.name, b"null"))

    async def figures(self, tokens: Iterable[str], ended: int = 0) -> list[tuple[str, Figure]]:
        """What keys have spent, of those that exist; ``ended``: a budget window that ended then is over, whatever the time."""
        if self._settlement is None:
            return []
        found: list[tuple[str, Figure]] = []
        for part in parts(list(dict.fromkeys(tokens))):
            seeds = await self._store.seeds(part, self._settlement.incarnation)
            if await self._roll(seeds, ended):
                seeds = await self._store.seeds(part, self._settlement.incarnation)
            found += [(own_scope(seed.key.token), self._figure(seed, ended)) for seed in seeds]
        return found

    def _figure(self, seed: Seed, ended: int = 0) -> Figure:
        until = seed.key.budget_reset_at or 0
        seq = self._settlement.version_of(seed.charged) if self._settlement is not None else 0
        # A window that nothing follows is none any more.
        return Figure(max(0, seed.key.spend), seed.charged_at, until if until > ended else 0, seq)

    async def refresh(self, tokens: Iterable[str]) -> None:
        """Give the data plane the present state of keys that somebody else changed."""
        for part in parts(list(dict.fromkeys(tokens))):
            async with self._telling:
                await self._tell(part)

    async def forget(self, tokens: Iterable[str]) -> None:
        """What the data plane knows of these keys may be newer than what is stored: it shall have that nevertheless."""
        async with self._telling:
            self._drop(list(dict.fromkeys(tokens)))

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
        ended = await self._store.ended_windows(await self._store.payers.clock.now_ms(), _SWEEP_BATCH)
        for part in parts(ended):
            await self._roll(await self._store.seeds(part, ""))
        await self.refresh(token for token in ended if token in self._told)
        return len(ended)

    async def follow(self) -> None:
        """Tell the data plane what was charged to keys with a budget that it was told of, of their budget windows that began,
        whoever did it, and what time it can be at the latest for one that is to begin."""
        if self._table is None:
            return
        try:
            await self._follower.follow()
        finally:
            self._tell_time()

    async def bound_windows(self) -> None:
        """Tell the data plane what time it can be at the latest, before its first call.

        Raises:
            DatabaseUnavailable: its clock cannot be asked.
        """
        await self._store.payers.clock.now_ms()
        self._tell_time()

    def _tell_time(self) -> None:
        if self._table is not None and (latest := self._store.payers.clock.latest) is not None:
            self._table.bound_windows(latest)

    async def _pass_on(self, charged: Sequence[Charged]) -> None:
        stale = [one.name for one in charged if (told := self._told.get(one.name)) and told.charged_at < one.version]
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
        now = await self._store.payers.clock.now_ms(tx)
        windows: dict[str, tuple[tuple[int | None, int | None], str | None]] = {}
        concerned: dict[str, list[UsageRecord]] = {}
        for row in await self._store.windows(tx, sorted(asked)):
            token = str(row["token"])
            start, end = (None if row[name] is None else int(row[name] or 0) for name in _WINDOW)
            duration = row["budget_duration"]
            windows[token] = (start, end), None if duration is None else str(duration)
            concerned.setdefault(token, []).extend(asked[str(row["asked"])])
        additions = [
            addition(token, window, self._following(window, duration, now), concerned[token], now)
            for token, (window, duration) in windows.items()
        ]
        await self._store.payers.add(tx, additions)

    async def _above(self, tokens: Sequence[str]) -> dict[str, list[str]]:
        """Names of the scopes above keys, which the data plane has then; empty: it knows none. Before the keys are read, for
        it may write out what the data plane has settled."""
        if self._scopes is None or not self._scopes.are_held or not tokens:
            return {}
        keys = await self._store.among(tokens)
        return dict(zip((key.token for key in keys), await self._scopes.above(keys), strict=True))

    async def _current(self, token: str) -> Seed | None:
        """The key with its budget window rolled forward to now."""
        seed = await self._seed(token, "")
        if seed is not None and await self._roll([seed]):
            return await self._seed(token, "")
        return seed

    async def _roll(self, seeds: Iterable[Seed], ended: int = 0) -> bool:
        """Begin the next window of the keys whose is over, now or at least at ``ended``; whether there was one."""
        now = max(await self._store.payers.clock.now_ms(), ended)
        over = [
            (seed.key.token, seed.key.budget_reset_at or 0, following)
            for seed in seeds
            if (following := self._following(_window(seed.key), seed.key.budget_duration, now))
        ]

        async def begin(tx: Transaction) -> None:
            for token, end, following in sorted(over):
                await self._store.payers.roll(tx, token, end, following)

        if over:
            await managed(self._store.database, begin)
        return bool(over)

    @staticmethod
    def _following(window: tuple[int | None, int | None], duration: str | None, now: int) -> tuple[int, int] | None:
        """The window that follows one (beginning and end) that is over; None: it is not."""
        began, end = window
        if end is None or end > now or not duration:
            return None
        return parse_duration(duration, "budget_duration").fixed_after(began, end, now)

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
        told = self._told if charged_only else {}
        above = await self._above([token for token in tokens if token not in told])
        seeds = await self._store.seeds(tokens, self._settlement.incarnation)
        if await self._roll(seeds):
            seeds = await self._store.seeds(tokens, self._settlement.incarnation)
        owners = {seed.key.token: _owners(seed.key) for seed in seeds}
        same = {token: one.above for token in owners if (one := told.get(token)) and one.owners == owners[token]}
        above |= same | await self._above([token for token in owners if token not in above and token not in same])
        records: list[KeyRecord] = []
        news: dict[str, _Told] = {}
        for seed in seeds:
            token = seed.key.token
            if seed.key.max_budget is not None:
                news[token] = _Told(seed.charged_at, owners[token], above.get(token, []))
            records.append(self._record(seed, self._settlement.version_of(seed.charged), above.get(token, [])))
        # Last: with a failure before it nothing is told, and the news are looked for again.
        for token in tokens:
            self._told.pop(token, None)
        self._told.update(news)
        if self._learn is not None:
            with_budget = (seed for seed in seeds if seed.key.max_budget is not None)
            self._learn([(own_scope(seed.key.token), self._figure(seed)) for seed in with_budget])
        return records

    async def _seed(self, token: str, incarnation: str) -> Seed | None:
        return next(iter(await self._store.seeds([token], incarnation)), None)

    @staticmethod
    def _record(seed: Seed, version: int, above: list[str]) -> KeyRecord:
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
            spend_at=seed.charged_at,
            budget_window_start=key.budget_window_start,
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
            scopes=above,
            when_gone=key.when_gone,
            revision=seed.revision,
        )
