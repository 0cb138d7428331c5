"""Prices written in the configuration: LiteLLM's per-token fields, or dollars per million tokens under `penstock.prices`.

An override replaces the fields that it names and leaves the list price for the others.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from penstock.engine.snapshot import Price, PriceTier
from penstock.prices.amounts import nano, nano_per_million, nano_per_million_from_token

CONFIG_VERSION = "config"
"""`Price.version` of a price that the configuration has a part in."""


class TierOverride(msgspec.Struct, frozen=True, kw_only=True):
    """Prices above a number of input tokens, in nano-dollars per million tokens; None: as below it."""

    from_input_tokens: int
    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None


class PriceOverrides(msgspec.Struct, frozen=True, kw_only=True):
    """Nano-dollars per million tokens, `request` per call; None: not overridden."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    request: int | None = None
    tiers: tuple[TierOverride, ...] = ()

    def __bool__(self) -> bool:
        return self != PriceOverrides()

    def apply(self, base: Price | None) -> Price:
        """``base`` with these prices in place of its own."""
        tiers = base.tiers if base is not None else [PriceTier()]
        overridden = [self._over(tier) for tier in tiers]
        for extra in self.tiers:
            overridden = _insert(overridden, extra)
        return Price(version=CONFIG_VERSION, tiers=overridden)

    def _over(self, tier: PriceTier) -> PriceTier:
        return PriceTier(
            from_input_tokens=tier.from_input_tokens,
            input=_or(self.input, tier.input),
            output=_or(self.output, tier.output),
            cache_read=self.cache_read if self.cache_read is not None else tier.cache_read,
            cache_write=self.cache_write if self.cache_write is not None else tier.cache_write,
            reasoning=self.reasoning if self.reasoning is not None else tier.reasoning,
            request=_or(self.request, tier.request),
        )


class TokenPrices(msgspec.Struct, frozen=True, kw_only=True):
    """LiteLLM's price fields, dollars per token (`input_cost_per_request`: per call)."""

    input_cost_per_token: Decimal | None = None
    output_cost_per_token: Decimal | None = None
    cache_read_input_token_cost: Decimal | None = None
    cache_creation_input_token_cost: Decimal | None = None
    output_cost_per_reasoning_token: Decimal | None = None
    input_cost_per_request: Decimal | None = None
    input_cost_per_token_above_128k_tokens: Decimal | None = None
    output_cost_per_token_above_128k_tokens: Decimal | None = None
    input_cost_per_token_above_200k_tokens: Decimal | None = None
    output_cost_per_token_above_200k_tokens: Decimal | None = None
    cache_read_input_token_cost_above_200k_tokens: Decimal | None = None
    cache_creation_input_token_cost_above_200k_tokens: Decimal | None = None

    def overrides(self) -> PriceOverrides:
        """In the gateway's units. "Above 200k" begins at 200,001 input tokens."""
        above_128k = TierOverride(
            from_input_tokens=128_001,
            input=_token(self.input_cost_per_token_above_128k_tokens),
            output=_token(self.output_cost_per_token_above_128k_tokens),
        )
        above_200k = TierOverride(
            from_input_tokens=200_001,
            input=_token(self.input_cost_per_token_above_200k_tokens),
            output=_token(self.output_cost_per_token_above_200k_tokens),
            cache_read=_token(self.cache_read_input_token_cost_above_200k_tokens),
            cache_write=_token(self.cache_creation_input_token_cost_above_200k_tokens),
        )
        return PriceOverrides(
            input=_token(self.input_cost_per_token),
            output=_token(self.output_cost_per_token),
            cache_read=_token(self.cache_read_input_token_cost),
            cache_write=_token(self.cache_creation_input_token_cost),
            reasoning=_token(self.output_cost_per_reasoning_token),
            request=nano(self.input_cost_per_request) if self.input_cost_per_request is not None else None,
            tiers=tuple(
                tier
                for tier in (above_128k, above_200k)
                if tier != TierOverride(from_input_tokens=tier.from_input_tokens)
            ),
        )


def per_million(dollars: Decimal | None) -> int | None:
    """Dollars per million tokens to nano-dollars per million tokens."""
    return nano_per_million(dollars) if dollars is not None else None


def _token(dollars: Decimal | None) -> int | None:
    return nano_per_million_from_token(dollars) if dollars is not None else None


def _or(value: int | None, other: int) -> int:
    return value if value is not None else other


def _insert(tiers: list[PriceTier], extra: TierOverride) -> list[PriceTier]:
    """``tiers`` with ``extra`` in force from its threshold on, in every higher tier too."""
    start = extra.from_input_tokens
    below = [tier for tier in tiers if tier.from_input_tokens < start]
    above = [tier for tier in tiers if tier.from_input_tokens >= start]
    if not above or above[0].from_input_tokens != start:
        above.insert(0, msgspec.structs.replace(below[-1], from_input_tokens=start))
    return below + [
        msgspec.structs.replace(
            tier,
            input=_or(extra.input, tier.input),
            output=_or(extra.output, tier.output),
            cache_read=extra.cache_read if extra.cache_read is not None else tier.cache_read,
            cache_write=extra.cache_write if extra.cache_write is not None else tier.cache_write,
        )
        for tier in above
    ]
