"""A management transaction that has to give way is begun again, so often and no oftener, and only for that."""

from __future__ import annotations

import pytest

from penstock.config.database import DatabaseSettings, target_of
from penstock.errors import bad_request
from penstock.persistence import DatabaseUnavailable, Transaction, managed, open_database

_NOTE = "INSERT INTO key_predecessors VALUES (?, 'now', 0)"


def _fails(state: str) -> str:
    return f"DO $$ BEGIN RAISE EXCEPTION 'so it is' USING ERRCODE = '{state}'; END $$"


@pytest.mark.parametrize(
    "state, failures, tries",
    [
        pytest.param("40P01", 3, 4, id="deadlock"),
        pytest.param("40001", 3, 4, id="serialization failure"),
        pytest.param("40P01", 99, 8, id="for ever"),
        pytest.param("57014", 99, 1, id="cancelled statement"),
    ],
)
async def test_it_is_begun_again(database_url: str, state: str, failures: int, tries: int) -> None:
    database = await open_database(DatabaseSettings(target=target_of(database_url)))
    tried = 0

    async def work(tx: Transaction) -> int:
        nonlocal tried
        tried += 1
        await tx.execute(_NOTE, (f"try {tried}",))
        if tried <= failures:
            await tx.execute(_fails(state))
        return tried

    try:
        if failures > tries:
            with pytest.raises(DatabaseUnavailable):
                await managed(database, work)
            kept = []
        else:
            assert await managed(database, work) == tries
            kept = [f"try {tries}"]
        assert tried == tries
        rows = await database.fetch_all("SELECT old_token FROM key_predecessors")
        assert [row["old_token"] for row in rows] == kept
    finally:
        await database.close()


async def test_what_is_refused_is_refused_once(database_url: str) -> None:
    database = await open_database(DatabaseSettings(target=target_of(database_url)))
    tried = 0

    async def work(_: Transaction) -> None:
        nonlocal tried
        tried += 1
        raise bad_request("no", "field")

    try:
        with pytest.raises(Exception, match="no"):
            await managed(database, work)
        assert tried == 1
    finally:
        await database.close()
