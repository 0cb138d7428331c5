"""Money at the edges: US dollars as clients write them, nano-dollars as everything inside counts them.

Apart from every domain because a second rounding rule anywhere would make two ledgers disagree.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

NANOS_PER_DOLLAR = 1_000_000_000
_LARGEST = 10**9 * NANOS_PER_DOLLAR
"""Far below what a column holds (2**63 - 1), so that what is spent on top of it still fits."""


def nanos_from_dollars(amount: Decimal, field: str) -> int:
    """Dollars to nano-dollars, exact to 1e-9 USD and rounded half to even below that.

    Raises:
        ValueError: not finite, negative, or more than a thousand million dollars.
    """
    if not amount.is_finite():
        raise ValueError(f"`{field}` must be a finite number of US dollars")
    if amount < 0:
        raise ValueError(f"`{field}` must not be negative")
    if amount.adjusted() > 12:
        raise ValueError(f"`{field}` is too large: at most {_LARGEST // NANOS_PER_DOLLAR} US dollars")
    nanos = int((amount * NANOS_PER_DOLLAR).to_integral_value(rounding=ROUND_HALF_EVEN))
    if nanos > _LARGEST:
        raise ValueError(f"`{field}` is too large: at most {_LARGEST // NANOS_PER_DOLLAR} US dollars")
    return nanos


def dollars(nanos: int) -> float:
    """Nano-dollars as the JSON number that clients of LiteLLM's API expect."""
    return nanos / NANOS_PER_DOLLAR


def dollars_or_none(nanos: int | None) -> float | None:
    """:func:`dollars`, keeping an absent amount absent."""
    return None if nanos is None else dollars(nanos)
