"""What a killed process left: every record of it that can be read is in the ledger, and nothing of it stops the gateway."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.conftest import FakeApp
from tests.unit.ledger.test_usage import record

pytestmark = pytest.mark.usefixtures("at_rest")

INCARNATION = "0123456789abcdef"


def _left(number: int, token: str) -> dict[str, Any]:
    return {"incarnation": INCARNATION, "row": list(record(number, token).values())}


async def _written(fake_app: FakeApp) -> list[str]:
    rows = await fake_app.runtime.database.fetch_all("SELECT call_id FROM usage ORDER BY id")
    return [str(row["call_id"]) for row in rows]


async def _put_aside(fake_app: FakeApp) -> list[str]:
    rows = await fake_app.runtime.database.fetch_all("SELECT record FROM usage_rejected ORDER BY at")
    return [str(row["record"]) for row in rows]


def _events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [vars(line)["event"] for line in caplog.records if line.levelno == logging.CRITICAL]


async def test_pieces_are_brought_in_one_after_the_other(fake_app: FakeApp, caplog: pytest.LogCaptureFixture) -> None:
    token = (await fake_app.new_key())["token"]
    fake_app.engine.recovered = [_left(number, token) for number in range(1, 6)]
    assert await fake_app.runtime.accounting.replay() == 5
    assert await _written(fake_app) == ["c1", "c2", "c3", "c4", "c5"]
    assert fake_app.engine.recovered == []
    assert _events(caplog) == []


async def test_a_record_that_is_none_stops_no_other(fake_app: FakeApp, caplog: pytest.LogCaptureFixture) -> None:
    token = (await fake_app.new_key())["token"]
    fake_app.engine.recovered = [
        _left(1, token),
        {"incarnation": INCARNATION, "row": "[1, cut off"},
        _left(2, token),
        # A piece of which not even this much can be read.
        b"7",
        _left(3, token),
        _left(4, token),
    ]
    await fake_app.runtime.accounting.replay()
    # The second piece is put aside as a whole.
    assert await _written(fake_app) == ["c1", "c3", "c4"]
    one, piece = await _put_aside(fake_app)
    assert "cut off" in one
    assert "c2" in piece
    assert fake_app.engine.recovered == []
    assert _events(caplog) == ["usage.rejected", "usage.rejected"]


async def test_what_cannot_be_read_at_all_is_put_aside_and_stays(
    fake_app: FakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    token = (await fake_app.new_key())["token"]
    left: list[dict[str, Any] | bytes] = [_left(1, token), _left(2, token), b"\xff{", _left(3, token)]
    fake_app.engine.recovered = left
    for _ in range(2):
        await fake_app.runtime.accounting.replay()
    assert await _written(fake_app) == ["c1", "c2"]
    (piece,) = await _put_aside(fake_app)
    assert "c3" in piece
    assert fake_app.engine.recovered == left, "it comes again, and perhaps to somebody who can read it"
    assert _events(caplog) == ["usage.rejected", "usage.recovery"] * 2


async def test_damage_is_told(fake_app: FakeApp, caplog: pytest.LogCaptureFixture) -> None:
    fake_app.engine.damaged = 3
    assert await fake_app.runtime.accounting.replay() == 0
    (line,) = [line for line in caplog.records if vars(line).get("event") == "usage.damaged"]
    assert (line.levelno, vars(line)["places"]) == (logging.CRITICAL, 3)
    assert fake_app.engine.damaged == 0, "what is left of it is forgotten"
