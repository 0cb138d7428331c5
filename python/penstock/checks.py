"""A check that is made once more in the transaction that writes what it was made for.

Apart from who checks and who writes because the one knows the caller and nothing of transactions, and the other the reverse.
Between the first look at what a caller may do and the writing others have their turn: who was removed meanwhile, or whose
key was moved, must not have the last word.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

Check = Callable[[], Awaitable[None]]
"""Asked before anything is written in a transaction of :meth:`penstock.persistence.Database.transaction`, of which there is one
at a time: what it reads as committed stays so until the transaction is over. It must not begin another one. Raises what shall
be answered."""


async def unchecked() -> None:
    """Nobody asks: it is the program's own doing."""
