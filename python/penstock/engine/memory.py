"""Gives back what a burst of calls left with the allocator.

Apart from whatever uses memory: freed memory stays with the C library in case it is needed again, and an idle data
plane never asks for any. Without this a gateway that once held thousands of streams would look as if it still did.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable

from penstock.engine import background

_LOOK_S = 5.0
_LOOKS_PER_TRIM = 3
_BURST = 64
"""Connections and calls below which no burst is thought of."""
_TRIMS = 5
"""After a burst: kept upstream connections are closed a minute later, and their memory goes then."""


def _allocator() -> Callable[[int], int] | None:
    """`malloc_trim` of the C library; None where there is none (musl, macOS)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return None
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int

    def call(keep: int) -> int:
        return int(trim(keep))

    return call


class MemoryReturn:
    """Watches the load and trims the allocator's memory when it has fallen to half of what it was."""

    def __init__(self, load: Callable[[], int], trim: Callable[[int], int] | None = None) -> None:
        self._load = load
        self._trim = trim or _allocator()
        self._peak = 0
        self._left = 0
        self._looks = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch, where the C library can give memory back."""
        if self._trim is not None:
            self._task = background.start(self._run(self._trim), "memory-return")

    async def stop(self) -> None:
        """Stop watching."""
        if self._task is not None:
            await background.end(self._task)
            self._task = None

    async def _run(self, trim: Callable[[int], int]) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            if self.is_due():
                # Off the loop: it takes milliseconds, and the C library lets go of the interpreter.
                await asyncio.to_thread(trim, 0)

    def is_due(self) -> bool:
        """Look at the load; whether memory should be given back now."""
        now = self._load()
        if self._peak >= _BURST and now <= self._peak // 2:
            self._peak, self._left, self._looks = now, _TRIMS, 0
        self._peak = max(self._peak, now)
        if self._left == 0:
            return False
        self._looks += 1
        if self._looks % _LOOKS_PER_TRIM:
            return False
        self._left -= 1
        return True
