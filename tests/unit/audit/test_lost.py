"""A database that failed over without its last commits gives ids of the trail again: nobody may take them for known."""

from __future__ import annotations

import logging

import pytest

from penstock.audit import AuditTrail, service
from penstock.persistence import Database, DatabaseUnavailable


class Site:
    """A database, who reads the trail, and who writes it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.reader = AuditTrail(database)
        self.writer = AuditTrail(database)

    async def write(self, *keys: str, by: AuditTrail | None = None) -> None:
        """A change of each of the keys."""
        for key in keys:
            async with self.database.transaction() as tx:
                await (by or self.writer).append(tx, "root", "key.update", "key", key)

    async def heard(self, limit: int = 1_000) -> list[str]:
        """The keys that the reader hears of."""
        async with self.reader.foreign_changes(limit) as changes:
            return [change.object_id for change in changes]

    async def lose(self, count: int) -> None:
        """The last rows, and that there were such ids."""
        async with self.database.transaction() as tx:
            row = await tx.fetch_one("SELECT COALESCE(MAX(id), 0) AS last FROM audit")
            kept = int((row or {})["last"] or 0) - count
            await tx.execute("DELETE FROM audit WHERE id > ?", (kept,))
            if self.database.dialect == "sqlite":
                await tx.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'audit'", (kept,))
            else:
                sequence = "pg_get_serial_sequence('audit', 'id')"
                await tx.fetch_one(f"SELECT setval({sequence}, CAST(? AS BIGINT), ?)", (max(kept, 1), kept > 0))


@pytest.fixture
def site(database: Database) -> Site:
    """With an empty trail."""
    return Site(database)


async def test_each_change_is_heard_once(site: Site) -> None:
    await site.write("a", "b")
    assert await site.heard() == ["a", "b"]
    assert await site.heard() == []
    await site.write("mine", by=site.reader)
    await site.write("c", "d", "e")
    assert await site.heard(2) == ["c"]
    assert await site.heard(2) == ["d", "e"]
    assert await site.heard(2) == []


@pytest.mark.parametrize("again", [0, 1, 2, 5])
async def test_lost_changes_are_looked_at_again_and_those_in_their_places_heard(
    site: Site, again: int, caplog: pytest.LogCaptureFixture
) -> None:
    await site.write("a", "b")
    await site.write("mine", by=site.reader)
    await site.write("c")
    assert await site.heard() == ["a", "b", "c"]
    await site.lose(3)
    fresh = [f"k{number}" for number in range(again)]
    await site.write(*fresh)
    assert await site.heard() == ["b", "mine", "c", *fresh]
    assert [entry.levelno for entry in caplog.records if getattr(entry, "event", "") == "audit.lost"] == [
        logging.CRITICAL
    ]
    assert await site.heard() == []
    await site.write("later")
    assert await site.heard() == ["later"]


async def test_a_trail_that_is_gone_begins_anew(site: Site) -> None:
    await site.write("a", "b")
    assert await site.heard() == ["a", "b"]
    await site.lose(2)
    assert await site.heard() == ["a", "b"]
    assert await site.heard() == []
    await site.write("c")
    assert await site.heard() == ["c"]


async def test_who_began_after_the_changes_hears_that_they_are_lost(site: Site) -> None:
    await site.write("a", "b", "c")
    await site.reader.skip_to_end()
    assert await site.heard() == []
    await site.lose(1)
    await site.write("d")
    assert await site.heard() == ["c", "d"]


async def test_own_changes_in_the_places_of_lost_ones_are_told(site: Site) -> None:
    await site.write("a", "b", "c")
    await site.write("mine", by=site.reader)
    assert [change.object_id for change in await site.reader.own_changes()] == ["mine"]
    await site.heard()
    await site.lose(3)
    await site.write("anew", by=site.reader)
    assert await site.heard() == ["b", "c", "mine"]
    assert [change.object_id for change in await site.reader.own_changes()] == ["anew"]


async def test_own_changes_that_are_lost_before_anybody_read_them_are_looked_at_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    if site.database.dialect == "sqlite":
        pytest.skip("SQLite does not fail over")
    await site.write("a")
    assert await site.heard() == ["a"]
    await site.write("first", "second", by=site.reader)
    await site.lose(2)
    await site.write("b")
    assert await site.heard() == ["b"]
    await site.write("c")
    # The first one had the place of what came instead; whether the second one may still come nobody knows.
    assert await site.heard() == ["first", "c"]
    monkeypatch.setattr(service, "_COMMITTED_S", 0.0)
    assert await site.heard() == ["second"]
    assert await site.heard() == []


async def test_what_was_rolled_back_is_looked_at_again_and_nothing_else(site: Site) -> None:
    class Refused(Exception):
        pass

    async def fail() -> None:
        async with site.database.transaction() as tx:
            await site.reader.append(tx, "root", "key.update", "key", "never")
            raise Refused

    with pytest.raises(Refused):
        await fail()
    assert await site.heard() == []
    await site.write("mine", "too", by=site.reader)
    assert await site.heard() == ([] if site.database.dialect == "sqlite" else ["never"])
    assert await site.heard() == []


async def test_a_trail_restored_to_long_ago_is_heard_from_its_end(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_REMEMBERED", 3)
    site.reader = AuditTrail(site.database)
    await site.write(*"abcdefgh")
    await site.heard()
    await site.lose(6)
    await site.write("x", "y")
    # Of what is lost those that are remembered; of what is there the last ones.
    assert await site.heard() == ["f", "g", "h", "b", "x", "y"]
    assert await site.heard() == []
    await site.write("z")
    assert await site.heard() == ["z"]


async def test_what_could_not_be_taken_up_is_shown_again_and_told_once(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    await site.write("a", "b")
    await site.heard()
    await site.lose(1)
    await site.write("c")

    async def fail() -> None:
        async with site.reader.foreign_changes() as changes:
            assert [(change.object_id, change.is_lost) for change in changes] == [("b", True), ("c", False)]
            raise DatabaseUnavailable

    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            await fail()
    assert await site.heard() == ["b", "c"]
    assert len([entry for entry in caplog.records if getattr(entry, "event", "") == "audit.lost"]) == 1


async def test_very_many_changes_at_once_are_not_taken_for_lost(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_COMMITTED_S", 0.0)
    async with site.database.transaction() as tx:
        for number in range(10):
            await site.reader.append(tx, "root", "key.delete", "key", f"k{number}")
    for _ in range(6):
        assert await site.heard(2) == []
