"""Dollar amounts to integers, exactly."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

NANO: Final = 1_000_000_000
MILLION: Final = 1_000_000
_CONTEXT: Final = Context(prec=60, rounding=ROUND_HALF_EVEN)


def nano_per_million(dollars_per_million: Decimal) -> int:
    """Dollars per million tokens to nano-dollars per million tokens.

    Rounded half to even beyond 1e-9 dollars, which no published price needs.
    """
    return int(_CONTEXT.multiply(dollars_per_million, Decimal(NANO)).to_integral_value(ROUND_HALF_EVEN))


def nano_per_million_from_token(dollars_per_token: Decimal) -> int:
    """Dollars per token (LiteLLM's unit) to nano-dollars per million tokens."""
    return nano_per_million(_CONTEXT.multiply(dollars_per_token, Decimal(MILLION)))


def nano(dollars: Decimal) -> int:
    """Dollars to nano-dollars."""
    return nano_per_million(dollars)
