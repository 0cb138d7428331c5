"""Limits without Redis."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from penstock.quota.fallback import LocalShare
from penstock.quota.models import Ask, QuotaOptions
from penstock.quota.own_use import OwnUse

_OPTIONS = QuotaOptions()
_COUNTED = _OPTIONS.counted_ms + _OPTIONS.length_ms
_RATE = ("key:a", "rpm")


class Alone:
    """A fallback and its clock."""

    def __init__(self, share_ms: int = 600_000, when_gone: Literal["fail_open", "fail_closed"] = "fail_closed") -> None:
        self.own = OwnUse(_COUNTED)
        self.local = LocalShare(_OPTIONS, self.own, share_ms, when_gone)

    def use(self, now: int, units: int) -> None:
        self.own.tried(_RATE, now)
        self.own.add(_RATE, "t", now, units, lease=1, is_known=True)

    def admitted(self, now: int, limit: int = 100, held: int = 0, **fields: Any) -> int:
        """How many units are granted one by one."""
        ask = Ask(**{"scope": "key:a", "kind": "rpm", "limit": limit, **fields})
        count = 0
        while count < 2 * limit and self.local.decide(ask, now, held + count).granted:
            count += 1
            if ask.kind == "rpm":
                self.own.add(_RATE, "t", now, 1, is_known=False)
        return count


def test_a_rate_that_nobody_asked_for_has_its_share_at_once() -> None:
    alone = Alone()
    alone.local.begin(0, 0, 3)
    assert alone.admitted(1) == 33
    assert alone.admitted(_COUNTED) == 0
    assert alone.admitted(_COUNTED + 1) == 33


@pytest.mark.parametrize("used, first", [(20, 20), (80, 50), (0, 0)])
def test_in_the_first_window_no_more_than_was_in_use(used: int, first: int) -> None:
    alone = Alone()
    alone.use(50_000, used)
    alone.local.begin(60_000, 60_000, 2)
    assert alone.admitted(60_001) == 0, "what was used counts"
    freed = 50_000 + _COUNTED
    assert alone.admitted(freed) == first
    # A window later everything from before has left every replica's window.
    assert alone.admitted(60_000 + 2 * _COUNTED) == 50


def test_what_the_others_may_have_taken_before_they_noticed_is_not_used_again() -> None:
    alone = Alone()
    alone.use(0, 30)
    alone.use(50_000, 10)
    # The first units fall free after the last beat and before everybody has noticed that this replica is gone.
    begin = _COUNTED - 1_000
    alone.local.begin(begin, begin, 2)
    assert alone.admitted(begin + 1_500) == 0
    assert alone.admitted(50_000 + _COUNTED) == 10


def test_slots_keep_to_the_share_and_budgets_are_refused() -> None:
    alone = Alone()
    alone.local.begin(0, 0, 2)
    assert alone.admitted(1, 10, kind="parallel", held=2) == 3
    assert alone.admitted(1, 10, kind="budget") == 0


@pytest.mark.parametrize("when_gone, admitted", [("fail_closed", 0), ("fail_open", 200)])
def test_after_its_time_the_share_is_replaced_by_the_choice(
    when_gone: Literal["fail_open", "fail_closed"], admitted: int
) -> None:
    alone = Alone(1_000, when_gone)
    alone.local.begin(0, 0, 2)
    assert alone.admitted(999) == 50
    assert alone.admitted(1_000) == admitted
    assert alone.local.mode(1_000) == when_gone
