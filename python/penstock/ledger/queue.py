"""The data plane's queue of records as the ledger uses it: batches with ordinals, acknowledged by ordinal.

Apart from the writers because this is the only place that knows how the extension counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import msgspec

from penstock.ledger import records as texts
from penstock.ledger.records import Batch


class UsageSource(Protocol):
    """The part of `penstock._core.Engine` that holds settled records."""

    def take_usage(self, limit: int, after: int = 0) -> bytes:
        """The oldest records with ordinals above ``after``, which stay queued."""

    def ack_usage(self, seq: int) -> None:
        """Forget the records up to this ordinal."""

    def recovered_usage(self, after: int = 0) -> bytes:
        """What runs that were killed had left, some of it from the record at ``after`` on."""

    def recovered_damage(self) -> int:
        """Places where something of that is lost."""

    def forget_recovered(self) -> None:
        """It is durable."""


class EngineQueue:
    """Records of one incarnation, numbered 1, 2, 3, ... in the order in which they were settled."""

    def __init__(self, source: UsageSource, incarnation: str) -> None:
        self.incarnation = incarnation
        self.acknowledged = 0
        """Ordinal up to which every record is in the ledger and forgotten here."""
        self._source = source

    def take(self, limit: int, after: int | None = None) -> Batch | None:
        """The oldest records with ordinals above ``after`` (default: above what is acknowledged); they stay queued."""
        before = self.acknowledged if after is None else max(after, self.acknowledged)
        rows = self._source.take_usage(limit, before)
        if rows == texts.NOTHING:
            return None
        return Batch(self.incarnation, before + 1, rows, texts.count(rows), self.acknowledged)

    def acknowledge(self, ordinal: int) -> None:
        """Every record up to this ordinal is in the ledger: forget them. Idempotent."""
        if ordinal > self.acknowledged:
            self._source.ack_usage(ordinal)
            self.acknowledged = ordinal

    @staticmethod
    def version_of(watermark: int) -> int:
        """What the data plane calls the record with this ordinal (`spend_version`)."""
        return watermark

    def recovered(self) -> Iterator[bytes]:
        """Records of incarnations that ended before they were acknowledged, as the journals have them, for
        :func:`batches_of`: a piece at a time, because all together may be more than there is memory for.

        Raises:
            OSError: a journal cannot be read.
        """
        after = 0
        while (piece := self._source.recovered_usage(after)) != texts.NOTHING:
            yield piece
            count = texts.count(piece)
            if not count:
                raise OSError(f"what follows the {after} records of the journals that were read is no list of records")
            after += count

    @property
    def damaged(self) -> int:
        """Places of those journals where something is lost."""
        return self._source.recovered_damage()

    def forget_recovered(self) -> None:
        """They are in the ledger.

        Raises:
            OSError: a journal cannot be deleted; it comes again.
        """
        self._source.forget_recovered()


class _Recovered(msgspec.Struct, frozen=True):
    """:class:`penstock.engine.events.Recovered` with the record as text, for it may be one that cannot be read."""

    incarnation: str
    row: msgspec.Raw


_recovered = msgspec.json.Decoder(list[_Recovered])


def batches_of(recovered: bytes) -> list[Batch]:
    """What a journal left, as batches: records of an incarnation whose ordinals follow each other are one.

    Ordinals of the same incarnation may have been applied already, or be absent (0).

    Raises:
        msgspec.DecodeError: it is no list of records.
    """
    by_incarnation: dict[str, list[tuple[int, bytes]]] = {}
    for one in _recovered.decode(recovered):
        row = bytes(one.row)
        by_incarnation.setdefault(one.incarnation, []).append((texts.seq_of(b"[" + row + b"]"), row))
    batches: list[Batch] = []
    for incarnation in sorted(by_incarnation):
        run: list[bytes] = []
        first = 0
        for seq, row in sorted(by_incarnation[incarnation]):
            if run and (not first or seq != first + len(run)):
                batches.append(_batch(incarnation, first, run))
                run = []
            if not run:
                first = seq
            run.append(row)
        if run:
            batches.append(_batch(incarnation, first, run))
    return batches


def _batch(incarnation: str, first: int, rows: list[bytes]) -> Batch:
    return Batch(incarnation, first, b"[" + b",".join(rows) + b"]", len(rows))
