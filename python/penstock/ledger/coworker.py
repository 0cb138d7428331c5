"""The coworker: takes batches out of the Redis stream and writes them down. Any number may run, anywhere.

An entry is acknowledged after its transaction was committed. A coworker that dies before that leaves the entry to
another one, which claims it after a while; one that dies after the commit leaves an entry that changes nothing any more.
Entries that the database refuses are tried a few times, as it may be in passing, and then written record by record, so
that a broken one is put aside and the others are not held up.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Mapping

import msgspec

from penstock.engine.call_log import tell
from penstock.ledger import wire
from penstock.ledger.apply import Applied, Ledger
from penstock.ledger.records import Batch
from penstock.persistence import DatabaseUnavailable
from penstock.shared.redis import STREAM_DEADLINE_S, SharedRedis, SharedUnavailable
from penstock.uninterrupted import to_the_end

logger = logging.getLogger("penstock.coworker")

_ENTRIES = 8
"""Entries of one transaction, of up to a batch each."""
_BLOCK_MS = 200
_GATHER_S = 0.2
"""After a transaction that was not full: gateways bring what they have twenty times a second, and what a transaction costs whatever
is in it is most of what a few calls cost."""
_CLAIM_IDLE_MS = 10_000
"""An entry that its coworker has had for so long without acknowledging it is another's."""
_CLAIM_INTERVAL_S = 1.0
_TRIES = 5
_FIRST_PAUSE_S = 0.05
_BACKOFFS_S = (0.25, 0.5, 1.0, 2.0, 5.0)

_GROUP_IS_GONE = ("NOGROUP", "UNBLOCKED")
"""What Redis says when it was flushed or is no master any more, to who asks and to who is waiting for an answer. Gateways
bring again what was lost."""

Entry = tuple[bytes, Mapping[bytes, bytes]]
"""Id and fields."""


class _Parsed(msgspec.Struct):
    id: bytes
    batch: Batch


class Coworker:
    """One consumer of the group."""

    def __init__(self, redis: SharedRedis, ledger: Ledger) -> None:
        self.name = f"coworker-{secrets.token_hex(6)}"
        self.applied = 0
        """Records that this one was the first to write down."""
        self._redis = redis
        self._ledger = ledger
        self._claimed_at = 0.0
        self._has_group = False
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Come to an end after the transaction under way."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until :meth:`stop`; what fails outside is waited for."""
        from redis.exceptions import ResponseError

        failures = 0
        while not self._stopping.is_set():
            try:
                count = await self.step()
                failures = 0
                if 0 < count < _ENTRIES:
                    await self._rest(_GATHER_S)
            except (SharedUnavailable, DatabaseUnavailable, ResponseError) as error:
                # An answer that makes no sense is outside too: somebody else's value under the stream's name.
                pause = _BACKOFFS_S[min(failures, len(_BACKOFFS_S) - 1)]
                failures += 1
                self._has_group = False
                logger.warning(
                    "the coworker waits", extra={"event": "coworker.retry", "reason": str(error), "retry_in_s": pause}
                )
                await self._rest(pause)
        if not failures:
            # One that did not answer a moment ago is not waited for again: who has not left is forgotten when it is quiet.
            await self._leave()

    async def drain(self) -> int:
        """Write down what is in the stream now; returns how many entries that were.

        Raises:
            SharedUnavailable: Redis cannot be asked.
            DatabaseUnavailable: the entries stay.
        """
        total = 0
        while count := await self.step(block=False):
            total += count
        await self._leave()
        return total

    async def step(self, *, block: bool = True) -> int:
        """Take what there is and write it down; returns how many entries.

        Raises:
            SharedUnavailable: Redis cannot be asked.
            DatabaseUnavailable: the entries stay this coworker's, and are claimed later.
        """
        from redis.exceptions import ResponseError

        try:
            return await self._take(block=block)
        except ResponseError as error:
            if not str(error).startswith(_GROUP_IS_GONE):
                raise
            self._has_group = False
            return 0

    async def _take(self, *, block: bool) -> int:
        await self._ensure_group()
        entries: list[Entry] = []
        if time.monotonic() - self._claimed_at >= _CLAIM_INTERVAL_S:
            self._claimed_at = time.monotonic()
            entries, fatal = await self._claim()
            if fatal:
                await to_the_end(self._write_singly(fatal))
        if not entries:
            entries = await self._read(block=block)
        if entries:
            await to_the_end(self._write(entries))
        return len(entries)

    async def _ensure_group(self) -> None:
        if self._has_group:
            return
        from redis.exceptions import ResponseError

        try:
            create = self._redis.client.xgroup_create(wire.STREAM, wire.GROUP, id="0", mkstream=True)
            await self._redis.run(create, STREAM_DEADLINE_S)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        self._has_group = True

    async def _read(self, *, block: bool) -> list[Entry]:
        read = self._redis.client.xreadgroup(
            wire.GROUP, self.name, {wire.STREAM: ">"}, count=_ENTRIES, block=_BLOCK_MS if block else None
        )
        found = await self._redis.run(read, STREAM_DEADLINE_S)
        return list(found[0][1]) if found else []

    async def _claim(self) -> tuple[list[Entry], list[Entry]]:
        """Entries of coworkers that have gone; apart from them those that several may have died of."""
        client = self._redis.client
        claim = client.xautoclaim(
            wire.STREAM, wire.GROUP, self.name, min_idle_time=_CLAIM_IDLE_MS, start_id="0-0", count=_ENTRIES
        )
        found = await self._redis.run(claim, STREAM_DEADLINE_S)
        entries: list[Entry] = [(id, fields) for id, fields in found[1] if fields]
        if not entries:
            return [], []
        waiting = await self._redis.run(
            client.xpending_range(
                wire.STREAM, wire.GROUP, min=entries[0][0], max=entries[-1][0], count=1_000, consumername=self.name
            ),
            STREAM_DEADLINE_S,
        )
        fatal = {one["message_id"] for one in waiting if one["times_delivered"] > _TRIES}
        return [entry for entry in entries if entry[0] not in fatal], [entry for entry in entries if entry[0] in fatal]

    async def _write(self, entries: list[Entry]) -> None:
        parsed = await self._parse(entries)
        if not parsed:
            return
        pause = _FIRST_PAUSE_S
        for left in reversed(range(_TRIES)):
            try:
                applied = await self._ledger.commit([one.batch for one in parsed])
            except DatabaseUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - tried again, and then record by record
                logger.warning(
                    "a batch was refused", extra={"event": "coworker.refused", "reason": type(error).__name__}
                )
                if left:
                    await asyncio.sleep(pause)
                    pause *= 2
            else:
                await self._done(parsed, applied)
                return
        await self._write_singly(entries)

    async def _write_singly(self, entries: list[Entry]) -> None:
        for one in await self._parse(entries):
            done: list[Applied] = []
            try:
                done.append(await self._ledger.commit([one.batch]))
            except DatabaseUnavailable:
                raise
            except Exception:  # noqa: BLE001 - it has one record or more that is broken
                await self._ledger.commit_singly([one.batch], done.append)
            fresh = [record for applied in done for record in applied.fresh]
            marks = {incarnation: seq for applied in done for incarnation, seq in applied.watermarks.items()}
            await self._done([one], Applied(fresh, marks))

    async def _parse(self, entries: list[Entry]) -> list[_Parsed]:
        parsed: list[_Parsed] = []
        for id, fields in entries:
            try:
                parsed.append(_Parsed(id, wire.parse(fields)))
            except ValueError as error:
                await self._ledger.rejected.keep(repr(dict(fields)).encode(), error)
                logger.critical(
                    "what is no batch was in the stream of usage and put aside",
                    extra={"event": "coworker.foreign", "entry": id.decode(), "reason": str(error)},
                )
                await self._forget([id])
        return parsed

    async def _done(self, parsed: list[_Parsed], applied: Applied) -> None:
        """What follows a commit; a coworker that does not come so far repeats it all, to the same effect."""
        self.applied += len(applied.fresh)
        tell(applied.fresh)
        if applied.watermarks:
            await wire.tell_progress(self._redis, applied.watermarks)
        await self._forget([one.id for one in parsed])

    async def _forget(self, ids: list[bytes]) -> None:
        pipeline = self._redis.client.pipeline(transaction=False)
        pipeline.xack(wire.STREAM, wire.GROUP, *ids)
        pipeline.xdel(wire.STREAM, *ids)
        await self._redis.run(pipeline.execute(), STREAM_DEADLINE_S)

    async def _leave(self) -> None:
        """Take this consumer out of the group, if nothing waits for it."""
        from redis.exceptions import ResponseError

        try:
            waiting = await self._redis.run(
                self._redis.client.xpending_range(
                    wire.STREAM, wire.GROUP, min="-", max="+", count=1, consumername=self.name
                ),
                STREAM_DEADLINE_S,
            )
            if not waiting:
                leave = self._redis.client.xgroup_delconsumer(wire.STREAM, wire.GROUP, self.name)
                await self._redis.run(leave, STREAM_DEADLINE_S)
        except (SharedUnavailable, ResponseError) as error:
            logger.info("the coworker leaves no word", extra={"event": "coworker.left", "reason": str(error)})

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
