"""Sizes of leases."""

from __future__ import annotations

import pytest

from penstock.quota.leases import Demand, is_strict, largest_lease


@pytest.mark.parametrize("limit, sharing, strict", [(63, 1, True), (64, 1, False), (511, 8, True), (512, 8, False)])
def test_limits_are_strict_where_a_lease_would_starve_others(limit: int, sharing: int, strict: bool) -> None:
    assert is_strict(limit, sharing) is strict


def test_leases_are_a_small_part_of_a_share_but_never_less_than_the_need() -> None:
    assert largest_lease(6_400, 1, 2) == 200
    assert largest_lease(6_400, 900, 2) == 900
    assert largest_lease(63, 3, 1) == 3


def test_demand_settles_at_the_rate_and_fades() -> None:
    demand = Demand(0)
    for now in range(0, 10_000, 10):
        demand.add(1, now)
    assert 95 <= demand.within(1_000) <= 105
    demand.add(0, 20_000)
    assert demand.within(1_000) <= 1
