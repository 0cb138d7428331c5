"""Keys and scopes pay alike: into which window, once, whoever writes at the same moment."""

from __future__ import annotations

import asyncio

import pytest

from penstock.keys.models import VirtualKey
from penstock.keys.store import KeyStore
from penstock.payers import Addition, Charged, Follower, Payers, Spent
from penstock.persistence import Database, Transaction

END, NEXT = 1_000_000, 2_000_000


@pytest.fixture(params=["keys", "scopes"])
async def payers(request: pytest.FixtureRequest, database: Database) -> Payers:
    """Of a table with the rows `a` and `b`, whose windows end at :data:`END`, and `free`, which has none."""
    async with database.transaction() as tx:
        for name in ("a", "b", "free"):
            window = (None, None) if name == "free" else (0, END)
            if request.param == "keys":
                key = VirtualKey(
                    token=name,
                    key_name="k",
                    max_budget=9,
                    budget_window_start=window[0],
                    budget_reset_at=window[1],
                    spend=10,
                    total_spend=10,
                )
                await KeyStore(database).insert(tx, key)
            else:
                await tx.execute(
                    "INSERT INTO scopes (name, kind, id, budget_window_start, budget_reset_at, spend, total_spend,"
                    " updated_at) VALUES (?, 'team', 'x', ?, ?, 10, 10, 0)",
                    (name, *window),
                )
    return Payers(database, request.param)


async def _rows(payers: Payers) -> dict[str, tuple[object, ...]]:
    columns = f"{payers._name} AS name, spend, total_spend, budget_window_start, budget_reset_at"
    rows = await payers._database.fetch_all(f"SELECT {columns} FROM {payers._table}")
    return {str(row["name"]): tuple(row.values())[1:] for row in rows}


def _over(name: str, new: int, old: int) -> Addition:
    """What somebody adds who read a window that is over."""
    return Addition(name, 0, END, (END, NEXT), window=new, late=new, ever=new + old, last=END + 1)


async def test_two_that_charge_at_the_boundary_begin_one_window(payers: Payers) -> None:
    async def charge(new: int) -> None:
        async def work(tx: Transaction) -> None:
            await payers.add(tx, [_over("b", new, 1), _over("a", new, 1), Addition("free", 0, window=new, ever=new)])

        await payers._database.run(work)

    costs = [2**power for power in range(8, 16)]
    await asyncio.gather(*(charge(cost) for cost in costs))
    total = sum(costs)
    assert await _rows(payers) == {
        "a": (total, 10 + total + 8, END, NEXT),
        "b": (total, 10 + total + 8, END, NEXT),
        "free": (10 + total, 10 + total, None, None),
    }


async def test_who_read_the_old_window_adds_only_what_is_late_to_the_new_one(payers: Payers) -> None:
    async with payers._database.transaction() as tx:
        assert await payers.roll(tx, "a", END, (END, NEXT))
        assert not await payers.roll(tx, "a", END, (END, NEXT))
        both = [Addition(name, 0, window=7, late=3, ever=7, last=5) for name in "ab"]
        await payers.add(tx, both)
    rows = await _rows(payers)
    assert rows["a"] == (3, 17, END, NEXT)
    assert rows["b"] == (17, 17, 0, END)


async def test_what_was_spent_then_is_told(payers: Payers) -> None:
    async with payers._database.transaction() as tx:
        assert await payers.add_and_tell(tx, []) == []
        assert await payers.roll(tx, "a", END, (END, NEXT))
        told = await payers.add_and_tell(
            tx, [Addition(name, 0, window=7, late=3, ever=7, last=5) for name in ("free", "b", "a", "gone")]
        )
    assert told == [Spent("a", END, 3), Spent("b", 0, 17), Spent("free", 0, 17)]


async def test_scopes_are_locked_in_the_order_of_their_names(payers: Payers) -> None:
    """So two that charge the same ones never wait for each other."""
    if payers._database.dialect == "sqlite" or payers._table == "keys":
        pytest.skip("only scopes, where there is more than one transaction at a time")
    is_held = asyncio.Event()
    waiting = "SELECT pid FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"

    async def holds(tx: Transaction) -> list[str]:
        await tx.execute("UPDATE scopes SET kind = kind WHERE name = 'b'")
        is_held.set()
        async with asyncio.timeout(20):
            while not await tx.fetch_all(waiting):
                pass
        rows = await tx.fetch_all("SELECT name FROM scopes ORDER BY name FOR UPDATE SKIP LOCKED")
        return [str(row["name"]) for row in rows]

    async def waits(tx: Transaction) -> None:
        await payers.add(tx, [Addition(name, 0, window=1, ever=1) for name in ("free", "b", "a")])

    async def then() -> None:
        await is_held.wait()
        await payers._database.run(waits)

    # The first by name is the last in the table then, where one that follows no order comes to it.
    await payers._database.run(lambda tx: tx.execute("UPDATE scopes SET kind = kind WHERE name = 'a'"))
    free, _ = await asyncio.gather(payers._database.run(holds), then())
    assert free == ["b", "free"]


async def test_charges_are_found_in_the_order_of_the_database_s_clock(payers: Payers) -> None:
    seen: list[list[str]] = []
    marks: dict[str, int] = {}

    async def pass_on(charged: list[Charged]) -> None:
        seen.append([one.name for one in charged if marks.get(one.name, 0) < one.charged_at])
        marks.update({one.name: one.charged_at for one in charged})

    follower = Follower(payers, pass_on)  # type: ignore[arg-type]
    await follower.follow()
    seen.clear()
    await follower.follow()
    assert seen in ([], [[]])
    for name in ("b", "a"):
        async with payers._database.transaction() as tx:
            await payers.add(tx, [Addition(name, 0, window=1, ever=1)])
    await follower.follow()
    assert sorted(seen[-1]) == ["a", "b"]
    for _ in range(3):
        # Within one millisecond too, every charge is a later one.
        async with payers._database.transaction() as tx:
            await payers.add(tx, [Addition("a", 0, window=1, ever=1)])
        await follower.follow()
        assert seen[-1] == ["a"]
    await follower.follow()
    assert seen[-1] == []
    async with payers._database.transaction() as tx:
        await payers.reset(tx)
    await follower.follow()
    assert sorted(seen[-1]) == ["a", "b", "free"]


async def test_many_rows_of_one_moment_are_found_page_by_page(payers: Payers) -> None:
    moment = await payers.clock.read() + 1_000
    async with payers._database.transaction() as tx:
        await tx.execute(f"UPDATE {payers._table} SET charged_at = ?", (moment,))
        await tx.execute(f"UPDATE {payers._table} SET charged_at = ? WHERE {payers._name} = 'b'", (moment + 1,))
    found, place = list[str](), (0, "")
    while page := await payers.charged_after(place, 1):
        found += [one.name for one in page]
        place = (page[-1].charged_at, page[-1].name)
    assert found == ["a", "free", "b"]


async def test_what_comes_before_a_page_is_not_read_for_it(payers: Payers) -> None:
    if payers._database.dialect != "sqlite":
        return
    steps = await payers._database.fetch_all(f"EXPLAIN QUERY PLAN {payers._of_moment}", (1, "a", 10))
    plan = " ".join(str(step["detail"]) for step in steps)
    assert f"charged_at=? AND {payers._name}>?" in plan
    assert "TEMP B-TREE" not in plan
