"""Protobuf's wire by hand: fields that no library writes."""

from __future__ import annotations

VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)


def varint(value: int) -> bytes:
    """Seven bits to a byte, the lowest first."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def tag(field: int, kind: int) -> bytes:
    """Number and wire type of a field."""
    return varint(field << 3 | kind)


def number(field: int, value: int) -> bytes:
    """An integer, a boolean or an enum."""
    return tag(field, VARINT) + varint(value & (1 << 64) - 1)


def held(field: int, data: bytes | str) -> bytes:
    """A string, bytes, or a message."""
    data = data.encode() if isinstance(data, str) else data
    return tag(field, BYTES) + varint(len(data)) + data


def fields(data: bytes) -> list[tuple[int, int | bytes]]:
    """Numbers and values of a message's fields, in order: integers for varints, bytes for what has a length."""
    found: list[tuple[int, int | bytes]] = []
    at = 0

    def read() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = read()
        if key & 7 == VARINT:
            found.append((key >> 3, read()))
        else:
            assert key & 7 == BYTES, f"wire type {key & 7} is not read here"
            size = read()
            assert at + size <= len(data)
            found.append((key >> 3, data[at : at + size]))
            at += size
    return found
