"""The book of absolute amounts."""

from __future__ import annotations

from penstock.quota.holds import Assertion, Holds

_HELD = ("key:a", "budget")


def test_changes_are_asserted_with_the_whole_amount() -> None:
    holds = Holds()
    holds.add(_HELD, "t", 10, 0, is_known=True)
    assert not holds.changed(), "the draw has told it"
    holds.give_back(_HELD, 3)
    assert holds.take_dirty(5, 10) == [Assertion(_HELD, "t", 7)]
    assert not holds.changed()
    holds.doubt(_HELD, "t")
    assert holds.changed()
    holds.give_back(_HELD, 100)
    assert holds.take_dirty(5, 10) == [Assertion(_HELD, "t", 0)]
    holds.prune()
    assert holds.amount(_HELD) == 0


def test_a_count_that_had_not_seen_a_grant_does_not_lose_it() -> None:
    holds = Holds()
    holds.add(_HELD, "t", 10, 0, is_known=True)
    holds.add(_HELD, "t", 5, 0, is_known=True)
    holds.restate(_HELD, 4, drawn=10)
    assert holds.amount(_HELD) == 9
    holds.restate(_HELD, 4, drawn=15)
    assert holds.amount(_HELD) == 4


def test_amounts_are_renewed_before_they_expire_and_after_a_loss() -> None:
    holds = Holds()
    holds.add(_HELD, "t", 10, 100, is_known=True)
    holds.add(("key:b", "parallel"), "u", 1, 200, is_known=True)
    holds.ageing(150)
    assert [assertion.held for assertion in holds.take_dirty(300, 10)] == [_HELD]
    holds.forgotten("u")
    assert [assertion.tag for assertion in holds.take_dirty(300, 10)] == ["u"]
    holds.forgotten(None)
    assert len(holds.take_dirty(300, 1)) == 1
    assert holds.changed(), "the rest comes next"
    holds.release_all()
    assert {assertion.amount for assertion in holds.take_dirty(300, 10)} == {0}
