"""Dollars and nano-dollars."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.money import dollars, nanos_from_dollars


@pytest.mark.parametrize(
    "amount,nanos",
    [
        ("0", 0),
        ("0.1", 100_000_000),
        ("1e-9", 1),
        ("12.345678901", 12_345_678_901),
        ("0.0000000005", 0),
        ("1e3", 10**12),
    ],
)
def test_dollars_become_nanos_exactly(amount: str, nanos: int) -> None:
    assert nanos_from_dollars(Decimal(amount), "max_budget") == nanos


@pytest.mark.parametrize("amount", ["-0.01", "NaN", "Infinity", "1e400", "9300000000"])
def test_impossible_amounts_are_refused_by_name(amount: str) -> None:
    with pytest.raises(ValueError, match="`max_budget`"):
        nanos_from_dollars(Decimal(amount), "max_budget")


@given(st.integers(min_value=0, max_value=10**15))
def test_a_shown_amount_comes_back_the_same(nanos: int) -> None:
    assert nanos_from_dollars(Decimal(repr(dollars(nanos))), "spend") == nanos
