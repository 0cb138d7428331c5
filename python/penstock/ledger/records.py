"""Usage records as text: what the data plane hands over, read as a whole or record by record.

Apart from whoever writes them because this has to work on what nobody could read: a record that is broken is found,
shown to a person and put aside.
"""

from __future__ import annotations

import json

import msgspec

from penstock.engine.events import UsageRecord

NOTHING = b"[]"
_CALL_ID = UsageRecord.__struct_fields__.index("call_id")
_SEQ = UsageRecord.__struct_fields__.index("seq")
_NUL, _REPLACEMENT = rb"\u0000", rb"\ufffd"
_decoder = msgspec.json.Decoder(list[UsageRecord])
_raw_decoder = msgspec.json.Decoder(list[msgspec.Raw])


class Batch(msgspec.Struct, frozen=True):
    """Records of one incarnation with consecutive ordinals."""

    incarnation: str
    first: int
    """Ordinal of the first record; 0: they have none, and only their event ids tell whether they are known."""
    rows: bytes
    """JSON list of records."""
    count: int
    base: int = 0
    """Every record up to this ordinal was confirmed before, whatever the ledger says of it now."""

    @property
    def last(self) -> int:
        """Ordinal of the last record."""
        return self.first + self.count - 1

    def records(self) -> list[UsageRecord]:
        """Decoded.

        Raises:
            msgspec.DecodeError: one of them is not a usage record.
            ValueError: there are more or fewer than there should be.
        """
        found = decode(self.rows)
        if len(found) != self.count:
            raise ValueError(f"a batch of {self.count} records has {len(found)}")
        return found

    def singly(self) -> list[Batch]:
        """The same records, each a batch of its own."""
        rows = split(self.rows)
        if len(rows) != self.count:
            # Not even a list: it is put aside as a whole, under all its ordinals.
            return [self]
        return [
            Batch(self.incarnation, self.first + index if self.first else 0, b"[" + row + b"]", 1, self.base)
            for index, row in enumerate(rows)
        ]


def decode(rows: bytes) -> list[UsageRecord]:
    """Records of a JSON list. U+0000, which a client may send and not every database holds, becomes U+FFFD."""
    return _decoder.decode(rows.replace(_NUL, _REPLACEMENT) if _NUL in rows else rows)


def split(rows: bytes) -> list[bytes]:
    """The records of a JSON list as text; empty when it is not one."""
    try:
        return [bytes(row) for row in _raw_decoder.decode(rows)]
    except (msgspec.DecodeError, ValueError):
        pass
    try:
        # Unlike msgspec this takes texts that are not Unicode, which is one of the things that may be wrong.
        found = json.loads(rows)
    except ValueError:
        return []
    return [json.dumps(row).encode() for row in found] if isinstance(found, list) else []


def count(rows: bytes) -> int:
    """How many records a JSON list has."""
    try:
        return len(_raw_decoder.decode(rows))
    except (msgspec.DecodeError, ValueError):
        return len(split(rows))


def legible(rows: bytes) -> bytes:
    """A single record with the names of its values, for the person who will read it; unchanged if that cannot be."""
    try:
        (values,) = json.loads(rows)
        return json.dumps([dict(zip(UsageRecord.__struct_fields__, values, strict=True))]).encode()
    except (TypeError, ValueError):
        return rows


def call_id(rows: bytes) -> str | None:
    """The call that a single record is about, as far as it can be read."""
    try:
        found = json.loads(rows)[0][_CALL_ID]
    except (LookupError, TypeError, ValueError):
        return None
    return found if isinstance(found, str) else None


def seq_of(rows: bytes) -> int:
    """The ordinal that the first record of a list names; 0: none can be read."""
    try:
        found = json.loads(split(rows)[0])[_SEQ]
    except (LookupError, TypeError, ValueError):
        return 0
    return found if isinstance(found, int) else 0
