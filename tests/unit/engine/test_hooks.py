"""The event pump: who gets which event, and what is answered when nothing can be."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from penstock.engine.hooks import EventPump


class Source:
    """Events that were put in, and what was answered."""

    def __init__(self) -> None:
        self.events: list[tuple[int, str, bytes]] = []
        self.answers: list[tuple[int, bytes]] = []
        self._read, self._write = os.pipe()

    def event_fd(self) -> int:
        return self._read

    def drain_events(self) -> list[tuple[int, str, bytes]]:
        events, self.events = self.events, []
        return events

    def resolve_hook(self, id: int, answer: bytes) -> None:
        self.answers.append((id, answer))

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


class Limits:
    """Answers with what it was asked; fails when told to."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes]] = []

    async def answer(self, payload: bytes) -> bytes:
        await asyncio.sleep(0)
        if payload == b"fail":
            raise ValueError("no grants")
        return b"grants of " + payload

    def on_event(self, kind: str, payload: bytes) -> None:
        self.heard.append((kind, payload))


class Answers:
    """Answers with what it was asked; fails when told to."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    async def claim(self, payload: bytes) -> bytes:
        await asyncio.sleep(0)
        if payload == b"fail":
            raise ValueError("no claim")
        return b"verdict on " + payload

    async def answered(self, payload: bytes) -> bytes:
        self.heard.append(payload)
        return b""

    def released(self, payload: bytes) -> None:
        self.heard.append(payload)


async def nobody(_: object, __: object) -> None:
    raise AssertionError("this was not a look-up")


async def pump(
    source: Source, limits: Limits | None, *events: tuple[int, str, bytes], answers: Answers | None = None
) -> None:
    """Let the events through."""
    pump = EventPump(source, lambda *_: None, nobody, nobody, limits, answers)
    source.events += events
    await pump.stop()


@pytest.fixture
def source() -> Iterator[Source]:
    source = Source()
    yield source
    source.close()


async def test_questions_about_shared_limits_are_answered_and_notes_are_taken(source: Source) -> None:
    limits = Limits()
    await pump(source, limits, (7, "hook.quota", b"asks"), (0, "quota.return", b"units"))
    assert source.answers == [(7, b"grants of asks")]
    assert limits.heard == [("quota.return", b"units")]


async def test_a_question_that_fails_is_answered_at_once(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    await pump(source, Limits(), (8, "hook.quota", b"fail"), (9, "hook.quota", b"asks"))
    assert sorted(source.answers) == [(8, b""), (9, b"grants of asks")]
    assert [record.getMessage() for record in caplog.records] == ["hook failed"]


async def test_nobody_is_asked_where_limits_are_not_shared(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    await pump(source, None, (7, "hook.quota", b"asks"))
    assert source.answers == []
    assert [record.getMessage() for record in caplog.records] == ["unknown event"]


async def test_claims_and_answers_under_idempotency_keys_reach_those_who_share_them(
    source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    answers = Answers()
    events = (
        (7, "hook.claim", b"c"),
        (8, "hook.answered", b"a"),
        (0, "claim.release", b"r"),
        (9, "hook.claim", b"fail"),
    )
    await pump(source, None, *events, answers=answers)
    assert sorted(source.answers) == [(7, b"verdict on c"), (8, b""), (9, b"")]
    assert sorted(answers.heard) == [b"a", b"r"]
    assert [record.getMessage() for record in caplog.records] == ["hook failed"]
