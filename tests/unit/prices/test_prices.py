"""Prices are exact integers, follow the list's own matching, and can be overridden in part."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import Usage
from genai_prices.data import providers
from hypothesis import given
from hypothesis import strategies as st

from penstock import prices
from penstock.engine.snapshot import Price, PriceTier
from penstock.prices.amounts import nano_per_million, nano_per_million_from_token
from penstock.prices.patterns import best, matches, patterns
from penstock.providers import PROVIDERS

LISTED = sorted({provider.prices for provider in PROVIDERS.values() if provider.prices is not None})


def cost(price: Price, prompt: int, completion: int, cached: int, written: int) -> Decimal:
    """Dollars, as the data plane settles them."""
    tier = next(tier for tier in reversed(price.tiers) if tier.from_input_tokens <= prompt)
    read = tier.cache_read if tier.cache_read is not None else tier.input
    write = tier.cache_write if tier.cache_write is not None else tier.input
    total = (prompt - cached - written) * tier.input + cached * read + written * write + completion * tier.output
    return Decimal(total) / 10**15 + Decimal(tier.request) / 10**9


def test_importing_the_package_does_not_load_the_list() -> None:
    code = (
        "import sys, penstock.prices, penstock.config; print('genai_prices' in sys.modules, 'pydantic' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert done.stdout.split() == ["False", "False"]


def test_prices_name_the_list_and_its_version() -> None:
    price = prices.lookup("openai", "gpt-4o-mini")
    assert price is not None
    assert price.version.startswith("genai-prices/")
    assert price.tiers[0].input == 150_000_000
    assert price.tiers[0].output == 600_000_000


@pytest.mark.parametrize("provider", LISTED)
@pytest.mark.parametrize("tokens", [(1, 1), (99_999, 3), (100_001, 7), (200_000, 10), (200_001, 10), (400_000, 1)])
def test_costs_equal_the_list_s_own_calculation(provider: str, tokens: tuple[int, int]) -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    entry = next(entry for entry in providers if entry.id == provider)
    compared = 0
    for model in entry.models:
        listed = model.get_prices(now)
        # Only models whose every price the gateway's units can express.
        used = {key for key, value in listed.__dict__.items() if value is not None}
        if not {"input_mtok", "output_mtok"} <= used:
            continue
        names = [model.id, *(text.replace("*", "").replace("#", "1") for text in patterns(model.match).texts)]
        name = next((name for name in names if entry.find_model(name) is model), None)
        price = prices.lookup_list(provider, name, now) if name is not None else None
        if price is None:
            continue
        prompt, completion = tokens
        cached = prompt // 3 if "cache_read_mtok" in used else 0
        usage = Usage(input_tokens=prompt, output_tokens=completion, cache_read_tokens=cached or None)
        theirs = model.calc_price(usage, entry, genai_request_timestamp=now).total_price
        assert cost(price, prompt, completion, cached, 0) == theirs, model.id
        compared += 1
    assert compared > 0


@pytest.mark.parametrize("provider", LISTED)
def test_wildcard_prices_agree_with_the_list_s_lookup(provider: str) -> None:
    entry = next(entry for entry in providers if entry.id == provider)
    known = prices.list_prices(provider)
    names = {model.id.lower() for model in entry.models}
    for model in entry.models:
        for text in patterns(model.match).texts:
            names |= {text.replace("*", end).replace("#", digit) for end, digit in (("", "1"), ("-2025-01-01", "2"))}
    checked = [name for name in names if prices.lookup_list(provider, name) is not None]
    assert len(checked) >= len(entry.models) // 2
    assert [name for name in checked if best(known, name) != prices.lookup_list(provider, name)] == []


def test_time_of_day_prices_are_those_of_the_moment() -> None:
    entry = next(entry for entry in providers if entry.id == "deepseek")
    changing = next(model for model in entry.models if model.id == "deepseek-chat")
    seen = {
        str(prices.lookup_list("deepseek", changing.id, datetime(2026, 11, 20, hour, 45, tzinfo=UTC)))
        for hour in range(24)
    }
    assert len(seen) > 1


def test_models_that_are_not_listed_have_no_price() -> None:
    assert prices.lookup("openai", "no-such-model") is None
    assert prices.lookup("hosted_vllm", "llama") is None
    assert prices.lookup("nobody", "gpt-4o") is None
    assert prices.for_wildcard("ollama") == {}


def test_azure_falls_back_to_the_makers_lists() -> None:
    assert prices.lookup("azure", "gpt-4o") is not None
    assert best(prices.for_wildcard("azure"), "GPT-4o") is not None


def test_overrides_replace_what_they_name_in_every_tier() -> None:
    base = Price(version="x", tiers=[PriceTier(0, 10, 20, 3), PriceTier(1000, 30, 40, 5)])
    over = prices.PriceOverrides(input=7, request=9)
    assert over.apply(base) == Price(
        version="config", tiers=[PriceTier(0, 7, 20, 3, request=9), PriceTier(1000, 7, 40, 5, request=9)]
    )


def test_per_token_fields_become_integers_and_tiers() -> None:
    over = prices.TokenPrices(
        input_cost_per_token=Decimal("1.5e-7"),
        output_cost_per_token=Decimal("0.0000006"),
        input_cost_per_request=Decimal("0.001"),
        input_cost_per_token_above_200k_tokens=Decimal("3e-7"),
    ).overrides()
    price = over.apply(None)
    assert price.tiers == [
        PriceTier(0, 150_000_000, 600_000_000, request=1_000_000),
        PriceTier(200_001, 300_000_000, 600_000_000, request=1_000_000),
    ]


def test_named_prices_choose_the_provider_s_own_and_the_most_specific_name() -> None:
    named = {
        "gpt-*": prices.PriceOverrides(input=1),
        "gpt-4o": prices.PriceOverrides(input=2),
        "azure/gpt-4o": prices.PriceOverrides(input=3),
    }

    def of(provider: str, model: str) -> int:
        price = prices.lookup(provider, model, None, named)
        assert price is not None
        return price.tiers[0].input

    assert [of("openai", "gpt-5"), of("openai", "GPT-4o"), of("azure", "gpt-4o")] == [1, 2, 3]
    wildcard = prices.for_wildcard("azure", None, named)
    assert [wildcard[name].tiers[0].input for name in ("gpt-*", "gpt-4o")] == [1, 3]


@given(st.integers(0, 10**9), st.integers(0, 9))
def test_amounts_are_exact(digits: int, places: int) -> None:
    dollars = Decimal(digits).scaleb(-places)
    assert nano_per_million(dollars) == dollars * 10**9
    assert nano_per_million_from_token(dollars.scaleb(-6)) == dollars * 10**9


@given(st.text("ab1*#", max_size=8), st.text("ab12", max_size=10))
def test_patterns_match_as_the_regular_expression_does(pattern: str, name: str) -> None:
    import re

    expression = "".join({"*": ".*", "#": "[0-9]"}.get(letter, letter) for letter in pattern)
    assert matches(pattern, name) == (re.fullmatch(expression, name) is not None)
