"""Scopes: write limits, charge, reset, and tell the data plane.

Whoever changes a scope does so in a transaction of its own with :meth:`ScopeService.put` and :meth:`~ScopeService.remove`,
and calls :meth:`~ScopeService.publish` when it is committed. What the data plane is told of a scope's spend is read together
with up to where its own records are in it (`spend_version`); the later ones it adds itself. Reading and telling are one step
among the others of this process, and a `revision` keeps what another process is slower to tell from overwriting it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from penstock.alerts.service import AlertService
from penstock.audit import AuditTrail
from penstock.durations import parse_duration
from penstock.engine.events import UsageRecord
from penstock.engine.snapshot import ScopeRecord
from penstock.errors import bad_request
from penstock.keys.service import now_ms
from penstock.persistence import Transaction
from penstock.scopes import charging, names
from penstock.scopes.models import ModelLimit, ReadScope, Scope
from penstock.scopes.store import ScopeStore

_ACTOR = "scopes"
"""In the audit trail: who asked for it stands in the row of the team, user or other object that was changed."""
_NAMED = ("customer:", "tag:")
"""Scopes that requests name."""
_SWEEP_BATCH = 500
_FOLLOW_BATCH = 5_000
_OVERLAP_MS = 10_000
"""Clocks of processes differ and transactions take a while: so far back is looked again."""


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


class ScopeService:
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
        self._store = store
        self._audit = audit
        self._alerts = alerts
        self._table = table
        self._settlement = settlement
        self._telling = asyncio.Lock()
        self._predecessors = predecessors
        self._relist: Relist | None = None
        self.defaults = Defaults()
        self._held: dict[str, _Held] = {}
        """What the data plane has."""
        self._followed = now_ms()

    def attach(self, relist: Relist) -> None:
        """Name who knows the keys under a scope."""
        self._relist = relist

    # Reading

    async def find(self, name: str) -> ReadScope | None:
        """A scope with its budget's limits, in the budget window that holds now."""
        return (await self.find_many([name])).get(name)

    async def find_many(self, wanted: Iterable[str]) -> dict[str, ReadScope]:
        """The scopes of these names that exist."""
        return {scope.name: scope for scope in await self._current(list(wanted))}

    async def models_of(self, parents: Iterable[str]) -> dict[str, dict[str, ReadScope]]:
        """Scopes for one model by the scope that they are a part of and the model."""
        found: dict[str, dict[str, ReadScope]] = {}
        for scope in await self._store.below(self._store.database, parents):
            if scope.parent is not None and scope.only_model is not None:
                found.setdefault(scope.parent, {})[scope.only_model] = scope
        return found

    async def records(self, wanted: Iterable[str]) -> list[ScopeRecord]:
        """These scopes and those for one model below them, for the data plane."""
        return [self._record(scope) for scope in await self._with_models(wanted)]

    async def settle(self) -> None:
        """Have in the ledger what the data plane has settled: before a spend is shown, or set."""
        if self._settlement is not None:
            await self._settlement.flush()

    async def wanted(self) -> tuple[bool, bool]:
        """Whether the data plane shall ask for customers, and for tags of requests."""
        customers = self.defaults.limits_customers or await self._store.any_limited("customer")
        return customers, await self._store.any_limited("tag")

    # Changing

    async def put(
        self,
        tx: Transaction,
        name: str,
        columns: Mapping[str, Any],
        models: Mapping[str, ModelLimit] | None = None,
    ) -> bool:
        """Create a scope or change the given columns of one; True when it is new.

        `models`: all of its own limits per model; None: as they are. `spend` among the columns sets what was spent.

        Raises:
            ApiError: 400, `budget_id` is not one.
        """
        now = now_ms()
        kind, id = names.split(name)
        found = await self._store.own(tx, name)
        # Microseconds: one that is created again must not look older than its predecessor, however often that was changed.
        scope = found or Scope(name=name, kind=kind, id=id, revision=time.time_ns() // 1_000)
        before = scope.spend
        changed = {column for column, value in columns.items() if found is None or getattr(scope, column) != value}
        for column, value in columns.items():
            setattr(scope, column, value)
        scope.updated_at = now
        if changed & {"budget_id", "budget_duration"}:
            await self._begin_window(tx, scope, now)
        if found is None:
            scope.total_spend = scope.spend
            await self._store.insert(tx, scope)
        else:
            await self._store.change(tx, scope)
            if "spend" in changed:
                await self._store.set_spend(tx, name, scope.spend, max(0, scope.spend - before))
            if changed & {"budget_id", "budget_duration"}:
                await self._store.set_window(tx, name, scope.budget_window_start, scope.budget_reset_at)
        if models is not None:
            await self._put_models(tx, scope, models, from_budget=False)
        if "budget_id" in changed:
            await self.put_budget_models(tx, scope)
        await self._audit.append(tx, _ACTOR, "scope.put", "scope", name)
        return found is None

    async def put_budget_models(self, tx: Transaction, scope: Scope) -> None:
        """Make the scopes for one model those of the budget that `scope` refers to."""
        budget = await self._store.budget(tx, scope.budget_id) if scope.budget_id is not None else None
        await self._put_models(tx, scope, budget.model_limits if budget is not None else {}, from_budget=True)

    async def renew_windows(self, tx: Transaction, budget_id: str) -> list[str]:
        """A budget has changed: every scope that refers to it follows; returns their names."""
        now = now_ms()
        touched: list[str] = []
        for name in [scope.name for scope in await self._store.with_budget(tx, budget_id)]:
            scope = await self._store.own(tx, name)
            if scope is None:
                continue
            if scope.budget_duration is None:
                await self._begin_window(tx, scope, now)
                await self._store.set_window(tx, name, scope.budget_window_start, scope.budget_reset_at)
            await self._store.change(tx, scope)
            await self.put_budget_models(tx, scope)
            await self._audit.append(tx, _ACTOR, "scope.put", "scope", name)
            touched.append(name)
        return touched

    async def referring(self, tx: Transaction, budget_id: str) -> list[ReadScope]:
        """The scopes that refer to a budget."""
        return await self._store.with_budget(tx, budget_id)

    async def remove(self, tx: Transaction, name: str) -> None:
        """Remove a scope and those for one model below it."""
        for gone in await self._store.delete(tx, name):
            await self._audit.append(tx, _ACTOR, "scope.delete", "scope", gone)

    async def rename_key(self, tx: Transaction, old: str, new: str) -> None:
        """A key has a new token: its scopes keep their limits and spend."""
        before, after = names.key(old), names.key(new)
        for scope in await self._store.below(tx, [before]):
            await self._store.rename(tx, scope.name, names.model(after, scope.only_model or ""), after)
        await self._store.rename(tx, before, after, None)

    # The data plane

    @property
    def are_held(self) -> bool:
        """There is a data plane here that knows scopes."""
        return self._table is not None

    async def publish(self, changed: Iterable[str], *, relist: Iterable[str] = ()) -> None:
        """Tell the data plane after a commit: the scopes that changed, and those under which keys have others above them."""
        again = list(dict.fromkeys(relist))
        async with self._telling:
            gone = await self._put_present(list(dict.fromkeys(changed)))
        if again and self._relist is not None:
            await self._relist(again)
        if gone and self._table is not None:
            # Last, when no key names them any more.
            self._table.drop_scopes(gone)
        for name in gone:
            self._held.pop(name, None)

    async def publish_above(self, wanted: Sequence[str]) -> list[str]:
        """Put these scopes and those for one model below them into the data plane, before the key that they are above of;
        returns the names of all that exist, in the order of `wanted`."""
        async with self._telling:
            scopes = await self._with_models(wanted)
            if any(scope.name not in self._held for scope in scopes) and self._settlement is not None:
                # The data plane does not count what it settled before it knew the scope: the figure must contain it.
                await self._settlement.flush()
                scopes = await self._with_models(wanted)
            self._put(scopes)
        return [scope.name for scope in scopes]

    async def refresh(self, changed: Iterable[str]) -> None:
        """Another process has changed these scopes: pass them on, and the keys that have others above them for it."""
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
        """Pass on what was charged, and the budget windows that began, in scopes that the data plane has, whoever did it."""
        now, place = now_ms(), (self._followed - _OVERLAP_MS, "")
        while True:
            charged = await self._store.charged_after(place, _FOLLOW_BATCH)
            stale = [one.name for one in charged if (held := self._held.get(one.name)) and held.revision < one.revision]
            if stale:
                async with self._telling:
                    await self._put_present(stale)
            if len(charged) < _FOLLOW_BATCH:
                break
            place = (charged[-1].charged_at, charged[-1].name)
        # Last: what could not be read because the database was away is looked for again.
        self._followed = now

    async def answer(self, name: str, resolve: Callable[[bytes], None]) -> None:
        """Tell the data plane about a customer or a tag that a request names."""
        kind, _ = names.split(name)
        if kind == "customer" and self.defaults.limits_customers and await self.find(name) is None:
            async with self._store.database.transaction() as tx:
                budget_id = self.defaults.customer_budget_id
                known = budget_id is not None and await self._store.budget(tx, budget_id) is not None
                await self.put(tx, name, {"budget_id": budget_id} if known else {})
        if await self.find(name) is not None:
            # The data plane may have had the scope before, and forgotten with it what the ledger does not have yet.
            await self.settle()
        async with self._telling:
            scopes = await self._with_models([name])
            own = next((scope for scope in scopes if scope.name == name), None)
            self._put([scope for scope in scopes if scope is not own])
            if own is not None:
                self._held[name] = _Held(own.revision, own.parent)
            resolve(b"null" if own is None else msgspec.json.encode(self._record(own)))

    # Money

    async def charge(self, tx: Transaction, records: list[UsageRecord]) -> None:
        """Add the cost of records that were really inserted to every scope they concern, in the same transaction."""
        now = now_ms()
        present = await self._predecessors(tx, list({record.token for record in records if record.token}))
        by_name = charging.shares(records, present)
        if not by_name:
            return
        scopes = await self._store.among(tx, by_name)
        scopes += await self._store.below(tx, by_name)
        additions = []
        # In one order, whoever writes: two of them never wait for each other's alerts either.
        for scope in sorted(scopes, key=lambda scope: scope.name):
            concerned = charging.concerned(scope, by_name)
            if not concerned:
                continue
            one = charging.addition(scope, concerned, now)
            additions.append(one)
            start = one.next_window[0] if one.next_window is not None else one.window_start
            spend = one.window if one.next_window is not None else scope.spend + one.window
            await self._alerts.note(tx, scope, start, spend, now)
        await self._store.add(tx, additions, now)

    async def sweep_windows(self) -> int:
        """Begin the next window of every scope whose budget window is over; returns how many.

        One process does this for all; every one learns of it by :meth:`follow`.
        """
        ended = await self._store.ended_windows(now_ms(), _SWEEP_BATCH)
        await self._rolled(ended)
        return len(ended)

    async def reset_spend(self, tx: Transaction) -> None:
        """Set every scope's spend in its budget window to nothing; what it spent ever stays."""
        await self._store.reset_spend(tx, now_ms())

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
        async with self._store.database.transaction() as tx:
            await self.put(tx, names.PROXY, columns)
        await self.publish([names.PROXY])

    async def _begin_window(self, tx: Transaction, scope: Scope, now: int) -> None:
        duration = scope.budget_duration
        if scope.budget_id is not None:
            budget = await self._store.budget(tx, scope.budget_id)
            if budget is None:
                raise bad_request(
                    f"`budget_id`: there is no budget `{scope.budget_id}`: create it with /budget/new", "budget_id"
                )
            duration = duration or budget.budget_duration
        if duration is None:
            scope.budget_window_start = scope.budget_reset_at = None
            return
        end = parse_duration(duration, "budget_duration").window_end(now)
        if scope.budget_reset_at is None or scope.budget_window_start is None:
            scope.budget_window_start = now
        scope.budget_reset_at = end

    async def _put_models(
        self, tx: Transaction, parent: Scope, models: Mapping[str, ModelLimit], *, from_budget: bool
    ) -> None:
        existing = {scope.only_model: scope for scope in await self._store.below(tx, [parent.name])}
        for model, scope in existing.items():
            if model not in models and scope.from_budget == from_budget:
                await self._store.delete(tx, scope.name)
        for model, limit in models.items():
            was = existing.get(model)
            if was is not None and was.from_budget != from_budget and from_budget:
                # What the scope says itself goes before what its budget says.
                continue
            columns = {**msgspec.structs.asdict(limit), "from_budget": from_budget, "alias": parent.alias}
            await self.put(tx, names.model(parent.name, model), {**columns, "parent": parent.name, "only_model": model})

    async def _current(self, wanted: Sequence[str]) -> list[ReadScope]:
        return await self._rolled(await self._store.among(self._store.database, wanted))

    async def _rolled(self, scopes: list[ReadScope]) -> list[ReadScope]:
        """The scopes with every window that is over rolled forward, and the configuration's limits where none are stored."""
        now = now_ms()
        over = {scope.name for scope in scopes if scope.budget_reset_at is not None and scope.budget_reset_at <= now}
        if over:
            async with self._store.database.transaction() as tx:
                for scope in scopes:
                    if scope.name not in over or scope.budget_reset_at is None or scope.budget_duration is None:
                        continue
                    duration = parse_duration(scope.budget_duration, "budget_duration")
                    window = duration.window_after(scope.budget_reset_at, now)
                    await self._store.roll(tx, scope.name, scope.budget_reset_at, window, now)
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

    def _put(self, scopes: list[ReadScope]) -> None:
        for scope in scopes:
            self._held[scope.name] = _Held(scope.revision, scope.parent)
        if self._table is not None and scopes:
            self._table.put_scopes(msgspec.json.encode([self._record(scope) for scope in scopes]))

    def _record(self, scope: ReadScope) -> ScopeRecord:
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
            budget_reset_at=scope.budget_reset_at,
            only_model=scope.only_model,
            revision=scope.revision,
        )
