"""Scopes: read, charge, reset, and tell the data plane. Writing limits is in :mod:`penstock.scopes.changes`.

Whoever changes a scope does so in a transaction of its own with :meth:`ScopeService.put` and :meth:`~ScopeService.remove`,
and calls :meth:`~ScopeService.publish` when it is committed. What the data plane is told of a scope's spend is read together
with up to where its own records are in it (`spend_version`); the later ones it adds itself. Reading and telling are one step
among the others of this process, and a `revision` keeps what another process is slower to tell from overwriting it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import chain
from typing import Protocol, runtime_checkable

import msgspec

from penstock.alerts.service import AlertService
from penstock.audit import AuditTrail
from penstock.durations import parse_duration
from penstock.engine.events import UsageRecord
from penstock.engine.snapshot import ScopeRecord
from penstock.lookups import Asked, Lookups, Resolve
from penstock.payers import Addition, Charged, Figure, Follower
from penstock.persistence import Transaction, managed
from penstock.scopes import charging, names
from penstock.scopes.changes import ScopeChanges
from penstock.scopes.models import ReadScope
from penstock.scopes.store import ScopeStore

_NAMED = ("customer:", "tag:")
"""Scopes that requests name."""
_NOBODY = b"null"
"""The answer about what does not exist."""
_SWEEP_BATCH = 500
_PUBLISHED_WITHIN_S = 2.0
"""What was written longer ago is published by nobody else."""


@runtime_checkable
class ScopeTable(Protocol):
    """The part of `penstock._core.Engine` that holds scopes."""

    def put_scopes(self, records: bytes) -> None:
        """Insert or replace."""

    def drop_scopes(self, names: list[str]) -> None:
        """Forget."""


def table_of(engine: object) -> ScopeTable | None:
    """The table of a data plane, if it holds scopes."""
    return engine if isinstance(engine, ScopeTable) else None


class Settlement(Protocol):
    """How far the data plane's records are in the ledger (:class:`penstock.ledger.direct.UsageWriter`)."""

    def version_of(self, watermark: int) -> int:
        """What the data plane calls the record with this ordinal."""

    async def flush(self) -> int:
        """Write and charge everything that the data plane has settled."""


Predecessors = Callable[[Transaction, Sequence[str]], Awaitable[dict[str, str]]]
"""Present tokens of keys by former ones."""
Relist = Callable[[list[str]], Awaitable[None]]
"""Give the data plane the keys under these scopes again, because what is above them has changed."""


Learn = Callable[[Sequence[tuple[str, Figure]]], None]
"""Told what scopes have spent, whenever that was read."""


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """Limits that the configuration gives where none are stored. Nano-dollars."""

    proxy_budget: int | None = None
    proxy_duration: str | None = None
    customer_budget: int | None = None
    customer_budget_id: str | None = None
    track_customers: bool = True

    @property
    def limits_customers(self) -> bool:
        """A customer that nobody has created has limits too."""
        return self.track_customers and (self.customer_budget is not None or self.customer_budget_id is not None)


class _Held(msgspec.Struct, frozen=True):
    revision: int
    parent: str | None


class ScopeService(ScopeChanges):
    """The scopes domain's public face."""

    def __init__(
        self,
        store: ScopeStore,
        audit: AuditTrail,
        alerts: AlertService,
        predecessors: Predecessors,
        table: ScopeTable | None = None,
        settlement: Settlement | None = None,
    ) -> None:
        """``table`` and ``settlement`` are of the data plane that is told of changes; without, there is none here."""
        super().__init__(store, audit)
        self._alerts = alerts
        self._table = table
        self._settlement = settlement
        self._telling = asyncio.Lock()
        self._predecessors = predecessors
        self._relist: Relist | None = None
        self._learn: Learn | None = None
        self.defaults = Defaults()
        self._held: dict[str, _Held] = {}
        """What the data plane has."""
        self._lookups = Lookups(self._answer)
        self._newcomers = Lookups(self._answer_new)
        self._follower = Follower(store.payers, self._pass_on)

    def attach(self, relist: Relist) -> None:
        """Name who knows the keys under a scope."""
        self._relist = relist

    def report(self, learn: Learn) -> None:
        """Name who is told what scopes have spent."""
        self._learn = learn

    # Reading

    async def find(self, name: str) -> ReadScope | None:
        """A scope with its budget's limits, in the budget window that holds now."""
        return (await self.find_many([name])).get(name)

    async def find_many(self, wanted: Iterable[str]) -> dict[str, ReadScope]:
        """The scopes of these names that exist."""
        return {scope.name: scope for scope in await self._current(list(wanted))}

    async def stored(self, wanted: Iterable[str], tx: Transaction | None = None) -> dict[str, ReadScope]:
        """These scopes with their budgets' limits, as the transaction sees them or as they are committed, whatever budget window
        holds; nothing is written, so it may be asked within a transaction."""
        return {scope.name: scope for scope in await self._store.among(tx or self._store.database, wanted)}

    async def blocked_among(self, wanted: Iterable[str]) -> list[str]:
        """Names of those of these scopes that are blocked, as they are committed; nothing is written, so it may be asked within
        a transaction."""
        return [scope.name for scope in await self._store.among(self._store.database, wanted) if scope.blocked]

    async def models_of(self, parents: Iterable[str], tx: Transaction | None = None) -> dict[str, dict[str, ReadScope]]:
        """Scopes for one model by the scope that they are a part of and the model; as a transaction sees them, if given."""
        found: dict[str, dict[str, ReadScope]] = {}
        for scope in await self._store.below(tx or self._store.database, parents):
            if scope.parent is not None and scope.only_model is not None:
                found.setdefault(scope.parent, {})[scope.only_model] = scope
        return found

    async def records(self, wanted: Iterable[str]) -> list[ScopeRecord]:
        """These scopes and those for one model below them, for the data plane."""
        scopes = await self._with_models(wanted)
        return [self._record(scope, scopes) for scope in scopes]

    async def figures(self, wanted: Iterable[str], ended: int = 0) -> list[tuple[str, Figure]]:
        """What scopes have spent, of those that exist; ``ended``: a budget window that ended then is over, whatever the time."""
        scopes = await self._rolled(await self._store.among(self._store.database, list(wanted)), ended)
        return [(scope.name, self._figure(scope, ended)) for scope in scopes]

    def _figure(self, scope: ReadScope, ended: int = 0) -> Figure:
        until = scope.budget_reset_at or 0
        seq = self._settlement.version_of(scope.charged) if self._settlement is not None else 0
        # A window that nothing follows is none any more.
        return Figure(max(0, scope.spend), scope.revision, until if until > ended else 0, seq)

    async def settle(self) -> None:
        """Have in the ledger what the data plane has settled: before a spend is shown, or set."""
        if self._settlement is not None:
            await self._settlement.flush()

    async def wanted(self) -> tuple[bool, bool]:
        """Whether the data plane shall ask for customers, and for tags of requests."""
        customers = self.defaults.limits_customers or await self._store.any_limited("customer")
        return customers, await self._store.any_limited("tag")

    # The data plane

    @property
    def are_held(self) -> bool:
        """There is a data plane here that knows scopes."""
        return self._table is not None

    async def publish(self, changed: Iterable[str], *, relist: Iterable[str] = ()) -> None:
        """Tell the data plane after a commit: the scopes that changed, and those under which keys have others above them."""
        changed, again = list(dict.fromkeys(changed)), list(dict.fromkeys(relist))
        async with self._telling:
            gone = await self._put_present(changed)
        if again and self._relist is not None:
            await self._relist(again)
        if gone and self._table is not None:
            # Last, when no key names them any more.
            self._table.drop_scopes(gone)
        for name in gone:
            self._held.pop(name, None)
        self.published(changed)

    async def publish_above(self, wanted: Sequence[Sequence[str]]) -> list[list[str]]:
        """Put these scopes and those for one model below them into the data plane, before the keys that they are above of;
        returns the names of all that exist, in the order of `wanted`."""
        asked = dict.fromkeys(chain.from_iterable(wanted))
        async with self._telling:
            scopes = await self._with_models(asked)
            if any(scope.name not in self._held for scope in scopes) and self._settlement is not None:
                # The data plane does not count what it settled before it knew the scope: the figure must contain it.
                await self._settlement.flush()
                scopes = await self._with_models(asked)
            self._put(scopes)
        self.published(asked)
        by_place: dict[str, list[str]] = {}
        for scope in scopes:
            place = scope.parent if scope.parent is not None and scope.parent in asked else scope.name
            by_place.setdefault(place, []).append(scope.name)
        return [list(chain.from_iterable(by_place.get(name, ()) for name in dict.fromkeys(one))) for one in wanted]

    async def refresh(self, changed: Iterable[str]) -> None:
        """These scopes have changed and nobody here passes it on: do so, and the keys that have others above them for it."""
        changed = list(dict.fromkeys(changed))
        present = {scope.name: scope for scope in await self._store.among(self._store.database, changed)}
        relist: list[str] = []
        for name in changed:
            held, scope = self._held.get(name), present.get(name)
            if (held is None) != (scope is None):
                parent = scope.parent if scope is not None else held.parent if held is not None else None
                relist.append(parent or name)
        if self._table is not None and relist:
            # Those that requests name may be remembered as unknown, and are asked for again; what no key is under is no loss.
            self._table.drop_scopes([name for name in relist if name not in self._held and name.startswith(_NAMED)])
        await self.publish([name for name in changed if name in self._held], relist=relist)

    async def follow(self) -> None:
        """Pass on what was charged, and the budget windows that began, in scopes that the data plane has, whoever did it; and what
        was written here and not published, because the database went, or the caller, after the commit."""
        if late := self.unpublished(_PUBLISHED_WITHIN_S):
            await self.refresh(late)
            self.published(late)
        await self._follower.follow()

    async def _pass_on(self, charged: Sequence[Charged]) -> None:
        stale = [one.name for one in charged if (held := self._held.get(one.name)) and held.revision != one.version]
        if stale:
            async with self._telling:
                await self._put_present(stale)

    async def answer(self, name: str, resolve: Resolve) -> None:
        """Tell the data plane about a customer or a tag that a request names; the answer is given before any later change."""
        if names.split(name)[0] != "customer" or not self.defaults.limits_customers:
            await self._lookups.ask(name, resolve)
            return
        is_new = False

        def unless_new(answer: bytes) -> None:
            nonlocal is_new
            is_new = answer == _NOBODY
            if not is_new:
                resolve(answer)

        await self._lookups.ask(name, unless_new)
        if is_new:
            # Apart: whoever is known need not wait until nobody else changes anything.
            await self._newcomers.ask(name, resolve)

    async def _answer_new(self, together: Sequence[Asked]) -> None:
        await self._put_customers(dict.fromkeys(asked.name for asked in together))
        await self._answer(together)

    async def _answer(self, together: Sequence[Asked]) -> None:
        wanted = list(dict.fromkeys(asked.name for asked in together))
        if await self.find_many(wanted):
            # The data plane may have had the scope before, and forgotten with it what the ledger does not have yet.
            await self.settle()
        async with self._telling:
            scopes = await self._with_models(wanted)
            own = {scope.name: scope for scope in scopes if scope.name in wanted}
            answers = {name: msgspec.json.encode(self._record(scope, scopes)) for name, scope in own.items()}
            self._forget_newer(own.values())
            self._put([scope for scope in scopes if scope.name not in own])
            self._held.update((name, _Held(scope.revision, scope.parent)) for name, scope in own.items())
            self._report(list(own.values()))
            for asked in together:
                asked.tell(answers.get(asked.name, _NOBODY))

    async def _put_customers(self, new: Iterable[str]) -> None:
        """Make customers of whom nothing was stored, with the configuration's limits for all of them."""
        wanted = list(new)

        async def once(tx: Transaction) -> None:
            budget_id = self.defaults.customer_budget_id
            known = budget_id is not None and await self._store.budget(tx, budget_id) is not None
            for name in wanted:
                # Somebody may have made it since it was looked for, and chosen otherwise.
                if await self.own(tx, name) is None:
                    await self.put(tx, name, {"budget_id": budget_id} if known else {})

        await managed(self._store.database, once)
        # The data plane hears of them in the answer to its question.
        self.published(wanted)

    # Money

    async def charge(self, tx: Transaction, records: list[UsageRecord]) -> None:
        """Add the cost of records that were really inserted to every scope they concern, in the same transaction."""
        present = await self._predecessors(tx, list({record.token for record in records if record.token}))
        by_name = charging.shares(records, present)
        if not by_name:
            return
        now = await self._store.payers.clock.now_ms(tx)
        scopes = await self._store.among(tx, by_name)
        scopes += await self._store.below(tx, by_name)
        charged: dict[str, ReadScope] = {}
        additions: list[Addition] = []
        for scope in scopes:
            if concerned := charging.concerned(scope, by_name):
                charged[scope.name] = scope
                additions.append(charging.addition(scope, concerned, now))
        # Not from what was read: two that charge at the same time have read the same, and neither would see a budget used up.
        for spent in await self._store.payers.add_and_tell(tx, additions):
            await self._alerts.note(tx, charged[spent.name], spent.window_start, spent.spend, now)

    async def sweep_windows(self) -> int:
        """Begin the next window of every scope whose budget window is over; returns how many.

        One process does this for all; every one learns of it by :meth:`follow`.
        """
        ended = await self._store.ended_windows(await self._store.payers.clock.now_ms(), _SWEEP_BATCH)
        await self._rolled(ended)
        return len(ended)

    async def reset_spend(self, tx: Transaction) -> None:
        """Set every scope's spend in its budget window to nothing; what it spent ever stays."""
        await self._store.payers.reset(tx)

    async def tell_reset(self) -> None:
        """Give the data plane the new figures."""
        await self.publish(list(self._held))

    async def put_proxy(self) -> None:
        """Store the configuration's limit of the whole proxy, which is a scope of its own."""
        columns = {"max_budget": self.defaults.proxy_budget, "budget_duration": self.defaults.proxy_duration}
        found = await self.find(names.PROXY)
        if found is None and self.defaults.proxy_budget is None:
            return
        if found is not None and all(getattr(found, column) == value for column, value in columns.items()):
            return

        async def once(tx: Transaction) -> None:
            await self.put(tx, names.PROXY, columns)

        await managed(self._store.database, once)
        await self.publish([names.PROXY])

    async def _current(self, wanted: Sequence[str]) -> list[ReadScope]:
        return await self._rolled(await self._store.among(self._store.database, wanted))

    async def _rolled(self, scopes: list[ReadScope], ended: int = 0) -> list[ReadScope]:
        """The scopes with every window that is over, now or at least at ``ended``, rolled forward, and the configuration's limits
        where none are stored."""
        now = max(await self._store.payers.clock.now_ms(), ended)
        over = {scope.name for scope in scopes if scope.budget_reset_at is not None and scope.budget_reset_at <= now}

        async def begin(tx: Transaction) -> None:
            for scope in sorted(scopes, key=lambda scope: scope.name):
                if scope.name not in over or scope.budget_reset_at is None or scope.budget_duration is None:
                    continue
                duration = parse_duration(scope.budget_duration, "budget_duration")
                window = duration.window_after(scope.budget_reset_at, now)
                await self._store.payers.roll(tx, scope.name, scope.budget_reset_at, window)

        if over:
            await managed(self._store.database, begin)
            fresh = {scope.name: scope for scope in await self._store.among(self._store.database, over)}
            scopes = [fresh.get(scope.name, scope) for scope in scopes]
        return [self._with_defaults(scope) for scope in scopes]

    def _with_defaults(self, scope: ReadScope) -> ReadScope:
        if scope.kind == "customer" and scope.budget_id is None and scope.max_budget is None:
            scope.max_budget = self.defaults.customer_budget
        return scope

    async def _with_models(self, wanted: Iterable[str]) -> list[ReadScope]:
        """These scopes in their order, each followed by those for one model below it."""
        wanted = list(dict.fromkeys(wanted))
        scopes = await self._current(wanted)
        below = await self._rolled(await self._store.below(self._store.database, wanted))
        place = {name: number for number, name in enumerate(wanted)}
        unique = {scope.name: scope for scope in [*scopes, *below]}
        return sorted(
            unique.values(),
            key=lambda scope: (place.get(scope.parent or "", place.get(scope.name, 0)), scope.parent or "", scope.name),
        )

    async def _put_present(self, wanted: Sequence[str]) -> list[str]:
        """Put what exists of the scopes into the data plane; returns the names of what it has and does not exist."""
        scopes = await self._with_models(wanted)
        self._put(scopes)
        present = {scope.name for scope in scopes}
        lost = [name for name, held in self._held.items() if name not in present and held.parent in wanted]
        return [*(name for name in wanted if name not in present), *lost]

    def _forget_newer(self, scopes: Iterable[ReadScope]) -> None:
        """What the data plane knows of a scope is newer than what is stored, after a failover without the last commits: it shall have
        that nevertheless. Right before it gets it, so that it never knows nothing."""
        newer = [
            scope.name for scope in scopes if (held := self._held.get(scope.name)) and scope.revision < held.revision
        ]
        if self._table is not None and newer:
            self._table.drop_scopes(newer)

    def _put(self, scopes: list[ReadScope]) -> None:
        self._forget_newer(scopes)
        for scope in scopes:
            self._held[scope.name] = _Held(scope.revision, scope.parent)
        if self._table is not None and scopes:
            self._table.put_scopes(msgspec.json.encode([self._record(scope, scopes) for scope in scopes]))
        self._report(scopes)

    def _report(self, scopes: list[ReadScope]) -> None:
        if self._learn is not None:
            self._learn([(scope.name, self._figure(scope)) for scope in scopes if scope.max_budget is not None])

    def _record(self, scope: ReadScope, scopes: Iterable[ReadScope]) -> ScopeRecord:
        """`scopes`: among them those for one model below it."""
        return ScopeRecord(
            name=scope.name,
            alias=scope.alias,
            blocked=scope.blocked,
            models=scope.models,
            rpm=scope.rpm,
            tpm=scope.tpm,
            max_parallel_requests=scope.max_parallel_requests,
            max_budget=scope.max_budget,
            spend=scope.spend,
            spend_version=self._settlement.version_of(scope.charged) if self._settlement is not None else 0,
            spend_at=scope.revision,
            budget_window_start=scope.budget_window_start,
            budget_reset_at=scope.budget_reset_at,
            only_model=scope.only_model,
            when_gone=scope.when_gone,
            # A key names all that are above it.
            below=[one.name for one in scopes if one.parent == scope.name] if scope.name.startswith(_NAMED) else [],
            revision=scope.revision,
        )
