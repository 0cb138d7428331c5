"""What a process knows of its own use of rates."""

from __future__ import annotations

from penstock.quota.own_use import OwnUse

_RATE = ("key:a", "rpm")


def test_units_count_for_their_time_and_can_be_taken_back() -> None:
    own = OwnUse(1_000)
    own.add(_RATE, "t", 0, 3, lease=1, is_known=True)
    own.add(_RATE, "t", 500, 4, lease=2, is_known=True)
    assert own.take_back(_RATE, 2, 1) == 2
    assert own.take_back(_RATE, 2, 1) == 1, "no more than there were"
    assert own.take_back(_RATE, 1, 9) == 0
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
