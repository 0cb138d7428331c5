"""Which ordinals of an incarnation are in the ledger: a watermark, and ranges beyond it that came out of order.

Apart from SQL because it is an algebra: whatever the order and repetition of ranges, what is covered is their union.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

Range = tuple[int, int]
"""First and last ordinal, both included."""


class Progress(msgspec.Struct, frozen=True):
    """What is covered: 1 to `seq`, and the `gaps`, which are disjoint, ascending and do not touch."""

    seq: int = 0
    gaps: tuple[Range, ...] = ()

    def covers(self, ordinal: int) -> bool:
        """Whether the record with this ordinal is in the ledger; one without an ordinal (0) cannot be told."""
        return 0 < ordinal <= self.seq or any(first <= ordinal <= last for first, last in self.gaps)

    def is_beside(self, first: int, last: int) -> bool:
        """Whether nothing of a range is covered."""
        return first > self.seq and all(last < begin or first > end for begin, end in self.gaps)

    def with_ranges(self, ranges: Iterable[Range]) -> Progress:
        """What is covered when these ranges are, too."""
        seq, merged = self.seq, list[Range]()
        for first, last in sorted([*self.gaps, *ranges]):
            if last <= seq or last < first:
                continue
            if first <= seq + 1:
                seq = last
            elif merged and first <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
            else:
                merged.append((first, last))
        return Progress(seq, tuple(merged))
