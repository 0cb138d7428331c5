"""Arrays that are bound as text arrive as they were."""

from __future__ import annotations

import pytest

from penstock.arrays import array, by_column
from penstock.persistence import Database

TEXTS = [
    "plain",
    "",
    " ",
    "null",
    "NULL",
    None,
    "a,b",
    "{a}",
    '"quoted"',
    "back\\slash",
    "\\",
    "new\nline\ttab\r",
    "\u0001\u001f\u007f",
    "näïve 水 😀",
    '{"json": [1, "\\\\n"]}',
    "'; DROP TABLE keys; --",
]
NUMBERS = [0, -1, 2**63 - 1, -(2**63), None]


@pytest.mark.parametrize("texts", [TEXTS, *([text] for text in TEXTS), []], ids=repr)
async def test_texts(database: Database, texts: list[str | None]) -> None:
    if database.dialect != "postgres":
        return
    rows = await database.fetch_all(
        f"SELECT t, n FROM unnest({array('TEXT')}, {array('BIGINT')}) AS r (t, n)",
        by_column([(text, at) for at, text in enumerate(texts)], 2),
    )
    assert [(row["t"], row["n"]) for row in rows] == [(text, at) for at, text in enumerate(texts)]


async def test_numbers(database: Database) -> None:
    if database.dialect != "postgres":
        return
    rows = await database.fetch_all(
        f"SELECT n FROM unnest({array('BIGINT')}) AS r (n)", by_column([(n,) for n in NUMBERS], 1)
    )
    assert [row["n"] for row in rows] == NUMBERS
