"""What may be used of a rate before a slow Redis has counted it."""

from __future__ import annotations

from penstock.quota.credit import Credit, credit_of
from penstock.quota.models import Ask, QuotaOptions

_OPTIONS = QuotaOptions()
_HEARD = _OPTIONS.beat_ms + 3 * _OPTIONS.patience_ms + 100
_LIMIT = 6_400
_ASK = Ask(scope="key:a", kind="rpm", limit=_LIMIT)
_RATE = ("key:a", "rpm")
_CREDIT = credit_of(_LIMIT, 2)


def slow(now: int = 0) -> Credit:
    """One whose answers are late, which everybody knows from ``now + _HEARD`` on."""
    credit = Credit(_OPTIONS, 50, _OPTIONS.patience_ms)
    for _ in range(3):
        credit.answered(120, now)
    credit.told(2, now, now)
    return credit


def learn(credit: Credit, now: int, free: int, sharing: int = 2) -> None:
    """Redis is told what was used, and answers; a moment ago it said who shares."""
    credit.told(sharing, now, now)
    credit.learn(_RATE, _LIMIT, credit.mark(_RATE, _LIMIT, now), free)


def used(credit: Credit, now: int, ask: Ask = _ASK) -> int:
    """How many are given out."""
    count = 0
    while credit.covers([ask], now):
        credit.use(ask)
        count += 1
    return count


def test_late_answers_must_come_in_a_row() -> None:
    credit = Credit(_OPTIONS, 50, 500)
    for took in (120, 120, 20, 120, 120):
        credit.answered(took, 0)
    asked_for = [credit.is_asked_for]
    credit.answered(120, 0)
    assert [*asked_for, credit.is_asked_for] == [False, True]


def test_nothing_is_used_before_everybody_keeps_it_back() -> None:
    credit = slow()
    learn(credit, _HEARD - 1, 1_000)
    assert used(credit, _HEARD) == 0, "what was left was counted before"
    learn(credit, _HEARD, 1_000)
    assert used(credit, _HEARD) == _CREDIT == 50


def test_nothing_is_used_by_who_may_be_taken_for_ended() -> None:
    credit = slow()
    learn(credit, _HEARD, 1_000)
    credit.use(_ASK)
    assert credit.covers([_ASK], _HEARD + _OPTIONS.knowledge_ms)
    assert not credit.covers([_ASK], _HEARD + _OPTIONS.knowledge_ms + 1), "it stood still"
    credit.told(2, _HEARD + _OPTIONS.knowledge_ms + 1, _HEARD + _OPTIONS.knowledge_ms + 1)
    assert used(credit, _HEARD + _OPTIONS.knowledge_ms + 1) == _CREDIT - 1


def test_the_same_again_when_redis_was_told_and_has_something_left() -> None:
    credit = slow()
    learn(credit, _HEARD, 1_000)
    assert used(credit, _HEARD) == _CREDIT
    told = credit.mark(_RATE, _LIMIT, _HEARD)
    credit.learn(_RATE, _LIMIT, told, 1)
    for _ in range(7):
        credit.use(_ASK)
    # Of an answer to a question that was sent before these were used they are not part.
    assert used(credit, _HEARD) == _CREDIT - 7
    learn(credit, _HEARD, 0)
    assert used(credit, _HEARD) == 0


def test_a_limit_that_changed_or_is_small_waits() -> None:
    credit = slow()
    learn(credit, _HEARD, 1_000)
    assert not credit.covers([Ask(scope="key:a", kind="rpm", limit=_LIMIT - 1)], _HEARD)
    assert not credit.covers([_ASK, Ask(scope="key:a", kind="parallel", limit=_LIMIT)], _HEARD)
    assert credit_of(127, 2) == 0


def test_it_ends_with_the_lateness_with_an_outage_and_with_a_loss_of_data() -> None:
    credit = slow()
    learn(credit, _HEARD, 1_000)
    assert not credit.covers([_ASK], 5_000)
    asked_for = []
    for now in (5_000, 6_999, 7_000):
        credit.pass_time(now)
        asked_for.append(credit.is_asked_for)
    assert asked_for == [True, True, False], "what was used is told first"
    credit = slow()
    learn(credit, _HEARD, 1_000)
    credit.end()
    assert used(credit, _HEARD) == 0
    credit = slow()
    mark = credit.mark(_RATE, _LIMIT, _HEARD)
    credit.suspend(_HEARD)
    credit.learn(_RATE, _LIMIT, mark, 1_000)
    learn(credit, _HEARD, 1_000)
    assert used(credit, _HEARD) == 0
    later = _HEARD + _OPTIONS.settle_ms + _OPTIONS.patience_ms
    credit.answered(120, later)
    learn(credit, later, 1_000)
    assert used(credit, later) == _CREDIT


def test_another_number_of_gateways_begins_it_again() -> None:
    credit = slow()
    learn(credit, _HEARD, 1_000)
    credit.told(2, _HEARD, _HEARD)
    assert credit.covers([_ASK], _HEARD), "the same number again"
    # What the others keep back for it is less from now on, or more only later.
    for sharing in (8, 1):
        credit.told(sharing, _HEARD, _HEARD)
        assert used(credit, _HEARD) == 0
        learn(credit, _HEARD, 1_000, sharing)
        assert used(credit, _HEARD) == 0
    credit.answered(120, 2 * _HEARD)
    learn(credit, 2 * _HEARD, 1_000, 1)
    assert used(credit, 2 * _HEARD) == credit_of(_LIMIT, 1)


def test_what_nobody_uses_is_forgotten() -> None:
    credit = slow()
    learn(credit, _HEARD, 1_000)
    credit.use(_ASK)
    credit.prune({_RATE})
    assert credit.limit(_RATE) == _LIMIT
    credit.prune(set())
    assert credit.limit(_RATE) is None
    assert used(credit, _HEARD) == 0
