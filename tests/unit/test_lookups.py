"""Questions that the data plane asks while calls wait: those that come together are answered together."""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

import msgspec
import pytest

from penstock.lookups import Asked, Lookups
from penstock.persistence import DatabaseUnavailable
from penstock.persistence.sqlite import SqliteDatabase
from tests.conftest import FakeApp


class Desk:
    """Answers with the name asked about, and notes who came together."""

    def __init__(self) -> None:
        self.together: list[list[str]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.failing: dict[str, BaseException] = {}
        self.lookups = Lookups(self.answer)
        self.answers: dict[str, bytes] = {}

    async def answer(self, together: Sequence[Asked]) -> None:
        self.together.append([asked.name for asked in together])
        await self.open.wait()
        for asked in together:
            if (error := self.failing.get(asked.name)) is not None:
                raise error
        for asked in together:
            asked.tell(asked.name.encode())

    def ask(self, name: str) -> asyncio.Task[None]:
        return asyncio.ensure_future(self.lookups.ask(name, lambda answer: self.answers.update({name: answer})))


async def test_those_who_come_meanwhile_are_answered_together() -> None:
    desk = Desk()
    desk.open.clear()
    first = [desk.ask("a"), desk.ask("b")]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    later = [desk.ask(str(number)) for number in range(100)]
    await asyncio.sleep(0)
    assert desk.together == [["a", "b"]]
    desk.open.set()
    await asyncio.gather(*first, *later)
    assert [len(one) for one in desk.together] == [2, 64, 36]
    assert desk.answers == {name: name.encode() for name in ["a", "b", *map(str, range(100))]}
    # Afterwards the next one does not wait for anybody.
    await desk.ask("z")
    assert desk.together[-1] == ["z"]


async def test_one_that_cannot_be_read_leaves_the_others_their_answers() -> None:
    desk = Desk()
    desk.failing["bad"] = ValueError("not a key")
    good = [desk.ask(f"good {number}") for number in range(63)]
    with pytest.raises(ValueError, match="not a key"):
        await desk.ask("bad")
    await asyncio.gather(*good)
    assert len(desk.answers) == 63
    assert len(desk.together) <= 13, "found by halves"


async def test_a_database_that_fails_is_asked_once_for_all() -> None:
    desk = Desk()
    desk.failing["a"] = DatabaseUnavailable("disk full")
    asked = [desk.ask(name) for name in ("a", *map(str, range(511)))]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(result) for result in results] == [DatabaseUnavailable] * 512
    assert len(desk.together) == 1
    del desk.failing["a"]
    await desk.ask("a")


async def test_who_stops_waiting_is_no_trouble_for_the_others() -> None:
    desk = Desk()
    desk.open.clear()
    gone, patient = desk.ask("gone"), desk.ask("patient")
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    desk.open.set()
    await patient
    assert desk.answers["patient"] == b"patient"
    assert gone.cancelled()


async def test_a_crowd_of_keys_costs_the_database_a_few_questions(
    fake_app: FakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = [(await fake_app.new_key(max_budget=1, tags=[f"t{number}"]))["token"] for number in range(50)]
    answers: dict[str, bytes] = {}
    questions: list[str] = []
    fetch_all = SqliteDatabase.fetch_all
    # What the app asks by itself every now and then belongs to tasks that began before.
    ours = ContextVar("ours", default=False)

    async def counted(self: SqliteDatabase, sql: str, *rest: object) -> object:
        if ours.get():
            questions.append(sql)
        return await fetch_all(self, sql, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(SqliteDatabase, "fetch_all", counted)
    keys = fake_app.runtime.keys
    ours.set(True)
    await asyncio.gather(
        *(keys.answer_lookup(token, lambda answer, token=token: answers.update({token: answer})) for token in tokens)
    )
    assert {msgspec.json.decode(answer)["token"] for answer in answers.values()} == set(tokens)
    assert 5 <= len(questions) <= 10


async def test_what_the_data_plane_refuses_is_told_to_who_asked_for_it() -> None:
    desk = Desk()

    def refuse(_: bytes) -> None:
        raise ValueError("key record: allowed_cidrs")

    bad, good = asyncio.ensure_future(desk.lookups.ask("bad", refuse)), desk.ask("good")
    with pytest.raises(ValueError, match="allowed_cidrs"):
        await bad
    await good
    assert desk.together == [["bad", "good"]], "nobody is looked up again for it"


async def test_nobody_waits_for_an_answer_that_was_cancelled() -> None:
    desk = Desk()
    desk.failing["a"] = desk.failing["b"] = asyncio.CancelledError()
    asked = [desk.ask(name) for name in ("a", "b", *map(str, range(100)))]
    async with asyncio.timeout(5):
        results = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] * 102
