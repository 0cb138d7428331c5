"""Usage records that the ledger cannot take are put aside here, so that one of them does not hold up all the others.

Apart from the writers because this has to work when what they rely on does not: the record is kept as
text, whatever it holds, in a table and, when even that fails, in a file.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from penstock.clock import now_ms
from penstock.persistence import DatabaseUnavailable

logger = logging.getLogger("penstock.ledger")

FILE_NAME = "usage_rejected.jsonl"
"""In the data directory, mode 0600; one JSON object per line, with the columns of the table `usage_rejected`."""


class RejectedRecord(msgspec.Struct, frozen=True):
    """A usage record that was put aside."""

    digest: str
    """SHA-256 of the record, so that putting it aside twice keeps it once."""
    at: int
    """Unix milliseconds."""
    reason: str
    record: str
    """JSON as the data plane wrote it; bytes that are not text are escaped."""


KeepInTable = Callable[[RejectedRecord], Awaitable[None]]


class Rejected:
    """Where offending records go. ``in_table`` is the ledger's own store, ``directory`` the data directory."""

    def __init__(self, in_table: KeepInTable, directory: Path) -> None:
        self._in_table = in_table
        self._path = directory / FILE_NAME
        self._in_file: set[str] = set()
        """Digests of what this process has appended: the same record comes again while the database is away."""
        self.count = 0
        """Records put aside since the process started."""

    async def keep(self, raw: bytes, error: Exception) -> str:
        """Make one record durable outside the ledger; returns where it is.

        Raises:
            DatabaseUnavailable: it can be kept nowhere.
        """
        rejected = RejectedRecord(
            digest=hashlib.sha256(raw).hexdigest(),
            at=now_ms(),
            reason=f"{type(error).__name__}: {error}".encode(errors="backslashreplace").decode(),
            record=raw.decode(errors="backslashreplace"),
        )
        place = "table usage_rejected"
        try:
            await self._in_table(rejected)
        except Exception as failed:  # noqa: BLE001 - whatever stops the table must not stop the file
            place = FILE_NAME
            logger.warning(
                "a usage record cannot be put aside in the database and goes to a file",
                extra={"event": "usage.rejected_to_file", "reason": type(failed).__name__},
            )
            if rejected.digest in self._in_file:
                return place
            try:
                await asyncio.to_thread(self._append, msgspec.json.encode(rejected) + b"\n")
            except OSError as failure:
                raise DatabaseUnavailable(f"a usage record can be put aside nowhere: {failure}") from failure
            self._in_file.add(rejected.digest)
        self.count += 1
        return place

    def _append(self, line: bytes) -> None:
        descriptor = os.open(self._path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
