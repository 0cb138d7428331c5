"""Limits without Redis."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.engine.snapshot import WhenGone
from penstock.quota.fallback import LocalShare
from penstock.quota.models import Ask, QuotaOptions
from penstock.quota.own_use import OwnUse

_OPTIONS = QuotaOptions()
_COUNTED = _OPTIONS.counted_ms + _OPTIONS.length_ms
_RATE = ("key:a", "rpm")


class Alone:
    """A fallback and its clock."""

    def __init__(self, share_ms: int = 600_000, when_gone: WhenGone = "fail_closed") -> None:
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


@pytest.mark.parametrize("heard_again", [False, True])
def test_what_the_others_drew_before_they_noticed_counts_for_a_window(heard_again: bool) -> None:
    alone = Alone()
    alone.own.tried(_RATE, 60_000)
    alone.local.begin(60_000, 59_900, 2)
    noticed = 59_900 + _OPTIONS.known_missing_ms
    if heard_again:
        # It said that it is back, and was not answered.
        alone.local.resume(70_000, 69_000)
        noticed = 69_000 + _OPTIONS.known_missing_ms
    assert alone.admitted(60_000 + _COUNTED) == 0
    assert alone.admitted(noticed + _COUNTED - 1) == 0
    assert alone.admitted(noticed + _COUNTED) == 50


def test_a_way_back_that_fails_gives_its_part_of_what_was_left_once() -> None:
    alone = Alone()
    alone.own.tried(_RATE, 60_000)
    alone.own.knew(_RATE, 60_000, 60)
    alone.local.begin(60_000, 60_000, 3)
    part = alone.admitted(60_001)
    assert part > 0
    # It said that it is back, and was not answered: the others may have drawn the rest since.
    alone.local.resume(61_000, 60_900)
    assert alone.admitted(61_001) == 0


def test_a_way_back_that_fails_does_not_begin_the_time_of_shares_anew() -> None:
    alone = Alone(100_000, "fail_closed")
    alone.local.begin(0, 0, 2)
    alone.local.resume(90_000, 90_000)
    assert [alone.local.mode(now) for now in (99_999, 100_000)] == ["local_share", "fail_closed"]


@pytest.mark.parametrize("age, left", [(0, 37), (12_000, 27), (59_000, 0)])
def test_what_was_left_is_shared_less_what_the_limits_pace_takes_until_all_have_noticed(age: int, left: int) -> None:
    alone = Alone()
    alone.own.tried(_RATE, 60_000 - age)
    alone.own.knew(_RATE, 60_000 - age, 80)
    alone.local.begin(60_000, 60_000, 2)
    assert alone.admitted(60_001) == left


def test_the_others_go_on_as_fast_as_they_were() -> None:
    alone = Alone()
    free = 100
    for now in range(50_000, 52_001, 100):
        # Of five that are gone each time, this one used two.
        alone.own.knew(_RATE, now, free)
        alone.use(now, 2)
        free -= 5
    alone.local.begin(52_000, 52_000, 2)
    # 5 of 100 are left, and 3 500 ms at 30 in a second take more than that.
    assert alone.admitted(52_001) == 0
    few = Alone()
    for now in range(50_000, 52_001, 100):
        few.own.tried(_RATE, now)
        few.own.knew(_RATE, now, 100 - (now - 50_000) // 500)
    few.local.begin(52_000, 52_000, 2)
    # 96 were left, and the others use two in a second.
    assert few.admitted(52_001) == (96 - 7) // 2


def test_what_is_kept_back_for_somebody_is_not_used_by_anybody() -> None:
    alone = Alone()
    for now in range(50_000, 52_001, 100):
        # Another one went silent a second ago, and half of the limit is left to it.
        free, kept = (90, 0) if now < 51_000 else (40, 50)
        alone.own.tried(_RATE, now)
        alone.own.knew(_RATE, now, free, kept)
    alone.local.begin(52_000, 52_000, 2)
    # At the limit's own pace until all have noticed.
    assert alone.admitted(52_001) == (40 - 5) // 2


def test_what_the_others_may_have_taken_before_they_noticed_is_not_used_again() -> None:
    alone = Alone()
    alone.use(0, 30)
    alone.use(50_000, 10)
    # The first units fall free after the last beat and before everybody has noticed that this replica is gone.
    begin = _COUNTED - 1_000
    alone.local.begin(begin, begin, 2)
    assert alone.admitted(begin + 1_500) == 0
    assert alone.admitted(50_000 + _COUNTED) == 10


def test_slots_keep_to_the_share() -> None:
    alone = Alone()
    alone.local.begin(0, 0, 2)
    assert alone.admitted(1, 10, kind="parallel", held=2) == 3


@pytest.mark.parametrize("when_gone", ["fail_closed", "fail_open"])
def test_of_budgets_nobody_knows_what_is_left(when_gone: WhenGone) -> None:
    alone = Alone(1_000, when_gone)
    alone.local.begin(0, 0, 2)
    for now in (1, 5_000):
        grant = alone.local.decide(Ask(scope="key:a", kind="budget", limit=100, need=7), now, 0)
        assert (grant.granted, grant.refused, grant.unknown) == (0, True, True)


@pytest.mark.parametrize("when_gone, admitted", [("fail_closed", 0), ("fail_open", 200)])
def test_after_its_time_the_share_is_replaced_by_the_choice(when_gone: WhenGone, admitted: int) -> None:
    alone = Alone(1_000, when_gone)
    alone.local.begin(0, 0, 2)
    assert alone.admitted(999) == 50
    assert alone.admitted(1_000) == admitted
    assert alone.local.mode(1_000) == when_gone


@pytest.mark.parametrize(
    "choice, installed, admitted",
    [
        (None, "fail_closed", 0),
        ("fail_open", "fail_closed", 200),
        ("local_share", "fail_closed", 50),
        ("fail_closed", "fail_open", 0),
        (None, "local_share", 50),
    ],
)
def test_who_pays_has_a_choice_of_its_own(choice: WhenGone | None, installed: WhenGone, admitted: int) -> None:
    alone = Alone(1_000, installed)
    alone.local.begin(0, 0, 2)
    assert alone.admitted(999, when_gone=choice) == 50, "for the time of shares there is none"
    later = 1_000 + 2 * _COUNTED
    assert alone.admitted(later, when_gone=choice) == admitted
    money = alone.local.decide(Ask(scope="key:a", kind="budget", limit=100, when_gone=choice), later, 0)
    assert (money.granted, money.unknown) == (0, True)
