"""What a process knows of its own use of rates."""

from __future__ import annotations

import random

from penstock.quota.own_use import Back, OwnUse

_RATE = ("key:a", "rpm")


def test_units_count_for_their_time_and_can_be_taken_back() -> None:
    own = OwnUse(1_000)
    own.add(_RATE, "t", 0, 3, lease=1, is_known=True)
    own.add(_RATE, "t", 500, 4, lease=2, is_known=True)
    assert own.take_back(_RATE, 2, 1) == [Back("t", 1, 2)]
    assert own.take_back(_RATE, 2, 1) == [Back("t", 1, 1)], "no more than there were"
    assert own.take_back(_RATE, 1, 9) == []
    assert [own.total(_RATE, now) for now in (500, 999, 1_499, 1_500)] == [4, 4, 4, 0]


def test_what_redis_does_not_know_is_reported_once_unless_undone() -> None:
    own = OwnUse(1_000)
    own.add(_RATE, "t", 0, 3, is_known=False)
    own.add(_RATE, "t", 100, 1, lease=5, is_known=True)
    report = own.report(_RATE, 200)
    assert report.used == [200, 3]
    assert not own.has_unknown()
    own.undo(report)
    assert own.unknown() == [(_RATE, "t")]
    assert own.report(_RATE, 300).used == [300, 3]
    assert own.report(_RATE, 300).used == []


def test_after_a_loss_everything_of_the_tag_is_reported() -> None:
    own, other = OwnUse(1_000), ("team:b", "rpm")
    own.add(_RATE, "t", 0, 3, lease=1, is_known=True)
    own.add(other, "u", 0, 5, lease=1, is_known=True)
    own.forgotten("u")
    assert own.unknown() == [(other, "u")]
    own.forgotten(None)
    assert sorted(own.unknown()) == [(_RATE, "t"), (other, "u")]
    assert own.report(_RATE, 1_000).used == [], "it counts no more"


def test_units_used_while_a_report_is_under_way_are_not_part_of_it() -> None:
    own = OwnUse(1_000)
    own.add(_RATE, "t", 7, 3, is_known=False)
    own.report(_RATE, 7)
    own.add(_RATE, "t", 7, 2, is_known=False)
    assert own.report(_RATE, 8).used == [1, 2]


def test_totals_tell_rates_in_demand_from_others() -> None:
    own = OwnUse(1_000)
    own.tried(_RATE, 0)
    own.tried(("key:refused", "rpm"), 0)
    own.add(_RATE, "t", 0, 3, is_known=True)
    own.add(_RATE, "t", 900, 2, is_known=True)
    assert own.totals_at(1_200) == {_RATE: 2, ("key:refused", "rpm"): 0}
    own.prune(1_950)
    assert own.totals_at(1_950) == {}


def test_what_was_used_without_redis_comes_off_its_own_moment() -> None:
    own = OwnUse(1_000)
    early = own.add(_RATE, "t", 0, 600, is_known=False)
    own.add(_RATE, "t", 900, 600, is_known=False)
    assert own.take_back(_RATE, 590, early) == []
    assert own.report(_RATE, 900).used == [900, 10, 0, 600]
    assert [own.total(_RATE, now) for now in (900, 1_000, 1_900)] == [610, 600, 0]


def test_of_what_redis_was_told_it_gets_back_what_was_not_needed() -> None:
    own = OwnUse(1_000)
    first = own.add(_RATE, "t", 0, 40, is_known=False)
    second = own.add(_RATE, "t", 500, 40, is_known=False)
    assert own.take_back(_RATE, 10, first) == [], "it does not know of them"
    report = own.report(_RATE, 600)
    assert report.used == [600, 30, 100, 40]
    assert own.take_back(_RATE, 25, second) == [], "it is being told"
    assert own.told(report, [7, 8]) == [Back("t", 8, 25)]
    assert own.take_back(_RATE, 100, first) == [Back("t", 7, 30)]
    assert own.take_back(_RATE, 100, second) == [Back("t", 8, 15)], "never more than it was told"
    assert own.take_back(_RATE, 1, second) == []


def test_a_report_that_is_undone_gives_nothing_back() -> None:
    own = OwnUse(1_000)
    lease = own.add(_RATE, "t", 0, 40, is_known=False)
    report = own.report(_RATE, 0)
    assert own.take_back(_RATE, 10, lease) == []
    own.undo(report)
    assert own.take_back(_RATE, 10, lease) == []
    again = own.report(_RATE, 0)
    assert again.used == [0, 20]
    assert own.told(report, [7]) == [], "the first was told of 40, which nobody knows"
    assert own.told(again, [9]) == []
    assert own.take_back(_RATE, 30, lease) == [Back("t", 9, 20)]


def test_nobody_is_told_of_what_ceased_to_count_while_redis_was_asked() -> None:
    own = OwnUse(1_000)
    own.add(_RATE, "t", 0, 40, is_known=False)
    report = own.report(_RATE, 0)
    own.prune(1_000)
    own.undo(report)
    assert not own.has_unknown()
    own.add(_RATE, "t", 1_000, 1, is_known=False)
    own.undo(report)
    assert own.report(_RATE, 1_000).used == [0, 1]
    assert not own.has_unknown()


def test_after_a_loss_nothing_goes_back_to_where_it_was() -> None:
    own = OwnUse(1_000)
    own.add(_RATE, "t", 0, 5, lease=3, is_known=True)
    ahead = own.add(_RATE, "t", 0, 40, is_known=False)
    report = own.report(_RATE, 0)
    own.forgotten(None)
    assert own.told(report, [7]) == []
    assert own.take_back(_RATE, 2, 3) == own.take_back(_RATE, 10, ahead) == []
    again = own.report(_RATE, 0)
    assert again.used == [0, 3, 0, 30]
    assert own.told(again, [8, 8]) == []
    assert own.take_back(_RATE, 1, 3) == [Back("t", 8, 1)]
    # A unit that is drawn in the same moment by the old name is counted elsewhere.
    own.add(_RATE, "t", 0, 1, lease=3, is_known=True)
    assert own.take_back(_RATE, 3, 3) == [Back("t", 3, 1), Back("t", 8, 2)]


def test_whatever_is_used_and_given_back_in_whatever_order_the_sum_is_right() -> None:
    choose = random.Random(20_261_121)
    own, rates = OwnUse(1_000), [_RATE, ("team:b", "tpm")]
    known: list[tuple[tuple[str, str], int, int, list[int]]] = []
    """Rate, when, lease, units left."""
    now = 0
    for _ in range(3_000):
        now += choose.choice([0, 0, 1, 7, 40, 400 if choose.random() < 0.02 else 3])
        rate, units, is_known = choose.choice(rates), choose.randint(1, 9), choose.random() < 0.5
        match choose.randint(0, 3):
            case 0 | 1:
                lease = own.add(rate, "t", now, units, lease=now // 100 + 1 if is_known else 0, is_known=is_known)
                known.append((rate, now, lease, [units]))
            case 2 if known:
                rate, _, lease, _ = choose.choice(known)
                own.take_back(rate, units, lease)
                for whose, at, of, left in reversed(known):
                    # What counts no longer may be gone, or not yet.
                    if (whose, of) == (rate, lease) and at + 1_000 > now:
                        taken = min(left[0], units)
                        left[0] -= taken
                        units -= taken
            case _:
                own.prune(now)
        known = [each for each in known if each[1] + 1_000 > now]
        for rate in rates:
            assert own.total(rate, now) == sum(left[0] for whose, _, _, left in known if whose == rate)
    own.prune(now + 1_000)
    assert not own._uses
    assert not own._of_lease
