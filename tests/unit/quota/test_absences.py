"""Who counts limits alone and who has ended: what the database was told first holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from penstock.persistence import Database, DatabaseUnavailable
from penstock.quota.absences import Absences, Removal, Silent
from penstock.quota.link import now_ms
from penstock.quota.store import AbsenceStore
from tests.integration.quota.rig import come_about
from tests.stalls import Stopwatch


class Store(AbsenceStore):
    """One whose database may be gone or slow."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.is_gone = False
        self.answers = asyncio.Event()
        self.answers.set()

    async def _gate(self) -> None:
        await self.answers.wait()
        if self.is_gone:
            raise DatabaseUnavailable("gone")

    async def enter(self, incarnation: str, heard_at: int) -> bool:
        await self._gate()
        return await super().enter(incarnation, heard_at)

    async def leave(self, incarnation: str) -> None:
        await self._gate()
        await super().leave(incarnation)


@pytest.fixture
def store(database: Database) -> Store:
    """Of an empty database."""
    return Store(database)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is slow for a moment is waited for, but where a test says otherwise."""
    monkeypatch.setattr("penstock.quota.absences._LONGEST_WAIT_S", 30.0)
    monkeypatch.setattr("penstock.quota.absences._LAST_WORD_S", 30.0)


class Register:
    """What would be in Redis."""

    def __init__(self, removal: Removal = "removed") -> None:
        self.removal: Removal = removal
        self.asked: list[Silent] = []

    async def take_out(self, silent: Silent) -> Removal:
        self.asked.append(silent)
        return self.removal


@asynccontextmanager
async def running(
    store: AbsenceStore, name: str, register: Register | None = None, waits_ms: int | None = None
) -> AsyncIterator[Absences]:
    """Those of one gateway with their tasks."""
    absences = Absences(store, name, (register or Register()).take_out, waits_ms)
    tasks = [asyncio.ensure_future(absences.write()), asyncio.ensure_future(absences.watch())]
    try:
        yield absences
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _entered(store: AbsenceStore, name: str) -> bool:
    return await store.alone([name, "nobody"]) == {name}


async def _until_entered(store: AbsenceStore, name: str, expected: bool) -> None:
    async with asyncio.timeout(30):
        while await _entered(store, name) != expected:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.01)


async def test_of_two_that_contradict_each_other_the_first_holds(store: Store) -> None:
    heard_at = now_ms()
    assert await store.enter("a", heard_at)
    assert await store.enter("a", heard_at), "said again"
    assert not await store.judge("a")
    assert await store.judge("b")
    assert not await store.enter("b", heard_at)
    assert await store.judge("b"), "by another one"
    assert await store.alone(["a", "b", "c"]) == {"a"}
    await store.leave("a")
    assert await store.judge("a")
    await store.leave("a")
    assert not await store.enter("a", heard_at), "who leaves takes nothing back that others said"


async def test_who_was_heard_since_it_was_taken_for_ended_is_not(store: Store) -> None:
    long_ago = now_ms() - 60_000
    assert await store.judge("a")
    await asyncio.sleep(0.05)
    heard_at = now_ms()
    await asyncio.sleep(0.05)
    assert not await store.enter("a", long_ago)
    assert await store.enter("a", heard_at), "what it was told meanwhile makes the verdict no younger"
    assert not await store.judge("a")


async def test_who_is_entered_first_has_its_share_and_is_not_taken_out(store: Store) -> None:
    register = Register()
    async with running(store, "a") as alone, running(store, "b", register) as other:
        assert alone.is_decided
        alone.begin(heard_at=now_ms())
        await alone.decided()
        assert alone.has_share
        other.heard_nothing_of([Silent("a", "1"), Silent("c", "2")])
        await come_about(lambda: len(register.asked) > 0, "the other one is looked after", 30)
        assert register.asked == [Silent("c", "2")]
        alone.end()
        await _until_entered(store, "a", False)


async def test_who_was_taken_for_ended_has_none_until_it_is_heard(store: Store) -> None:
    register = Register()
    async with running(store, "a") as alone, running(store, "b", register) as other:
        heard_at = now_ms()
        other.heard_nothing_of([Silent("a", "1")])
        await come_about(lambda: register.asked == [Silent("a", "1")], "it is taken out", 30)
        for _ in range(2):
            alone.end()
            alone.begin(heard_at=heard_at)
            await alone.decided()
            assert not alone.has_share
        await asyncio.sleep(0.05)
        # At once: its row is still there.
        alone.end()
        alone.begin(heard_at=now_ms())
        await alone.decided()
        assert alone.has_share


async def test_who_is_heard_while_it_asks_asks_anew(store: Store) -> None:
    assert await store.judge("a")
    heard_at = now_ms() - 1_000
    async with running(store, "a") as alone:
        store.answers.clear()
        alone.begin(heard_at=heard_at)
        # Until the question is on its way.
        await asyncio.sleep(0.05)
        alone.end()
        alone.begin(heard_at=now_ms())
        store.answers.set()
        await alone.decided()
        assert alone.has_share


async def test_who_may_have_been_entered_on_its_way_back_asks_anew(store: Store) -> None:
    async with running(store, "a") as alone:
        store.is_gone = True
        alone.begin(heard_at=None)
        before = alone.has_share
        alone.may_be_heard()
        assert (before, alone.has_share) == (True, False)
        assert await store.judge("a")
        store.is_gone = False
        await alone.decided()
        await asyncio.sleep(0.5)
        assert not alone.has_share


async def test_calls_wait_for_the_database_a_moment_and_it_may_answer_later(store: Store) -> None:
    async with running(store, "a", waits_ms=400) as alone:
        store.is_gone = True
        watch = Stopwatch()
        alone.begin(heard_at=now_ms())
        before = alone.is_decided
        await alone.decided()
        assert watch.seconds > 0.15
        assert watch.ran_s < 2
        assert (before, alone.is_decided, alone.has_share) == (False, True, False)
        store.is_gone = False
        await come_about(lambda: alone.has_share, "it was told after all", 30)


async def test_whom_nobody_knows_needs_no_word(store: Store) -> None:
    store.is_gone = True
    async with running(store, "a") as alone:
        alone.begin(heard_at=None)
        assert alone.is_decided
        assert alone.has_share


async def test_the_last_word_counts_whatever_the_database_is_slow_to_do(store: Store) -> None:
    async with running(store, "a") as alone:
        alone.begin(heard_at=now_ms())
        await alone.decided()
        store.answers.clear()
        alone.end()
        await asyncio.sleep(0.05)
        # It is about to leave, and Redis is lost again.
        alone.begin(heard_at=now_ms())
        assert not alone.is_decided
        store.answers.set()
        await alone.decided()
        assert alone.has_share
        await _until_entered(store, "a", True)
        # Still entered: nobody can have taken it for ended.
        store.answers.clear()
        alone.end()
        alone.begin(heard_at=now_ms())
        assert alone.has_share
        store.answers.set()


@pytest.mark.parametrize("is_alone", [False, True])
@pytest.mark.parametrize("is_told", [False, True])
async def test_what_redis_was_not_told_stays_left_to_who_ends(store: Store, is_alone: bool, is_told: bool) -> None:
    async with running(store, "a") as ending:
        if is_alone:
            ending.begin(heard_at=now_ms())
            await ending.decided()
    await ending.stop(is_told=is_told)
    assert await _entered(store, "a") == (not is_told)


async def test_an_end_does_not_wait_for_a_database_that_says_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.quota.absences._LAST_WORD_S", 0.1)
    store.answers.clear()
    watch = Stopwatch()
    await Absences(store, "a", Register().take_out).stop(is_told=False)
    assert watch.ran_s < 2
