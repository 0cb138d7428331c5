"""Where two JSON answers differ, given what a typed message cannot or need not tell apart."""

from __future__ import annotations

import math
import struct
from typing import Any

_EXACT = 2**53


def differences(rest: Any, grpc: Any, path: str = "answer") -> list[str]:
    """How an answer over gRPC, turned back into JSON, departs from that over REST.

    Not counted: members that gRPC adds where REST has none and that say nothing (null, empty, zero: fields that OpenAI
    requires, `object`), numbers beyond what a double holds, and those of embeddings beyond 32 bits.
    """
    if isinstance(rest, dict) and isinstance(grpc, dict):
        found = [f"{path}.{name} is missing: {_short(rest[name])}" for name in rest if name not in grpc]
        found += [
            f"{path}.{name} was added: {_short(value)}"
            for name, value in grpc.items()
            if name not in rest and value not in (None, "", 0, []) and name != "object"
        ]
        for name in rest.keys() & grpc.keys():
            found += differences(rest[name], grpc[name], f"{path}.{name}")
        return found
    if isinstance(rest, list) and isinstance(grpc, list):
        if len(rest) != len(grpc):
            return [f"{path} has {len(grpc)} items, not {len(rest)}"]
        if path.endswith(".embedding"):
            rest = [struct.unpack("f", struct.pack("f", value))[0] for value in rest]
        return [
            text for at, pair in enumerate(zip(rest, grpc, strict=True)) for text in differences(*pair, f"{path}[{at}]")
        ]
    if rest != grpc or isinstance(rest, bool) != isinstance(grpc, bool):
        if _is_number(rest) and _is_number(grpc) and abs(rest) >= _EXACT and math.isclose(rest, grpc, rel_tol=1e-15):
            return []
        return [f"{path} is {_short(grpc)}, not {_short(rest)}"]
    return []


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 120 else f"{text[:120]}..."
