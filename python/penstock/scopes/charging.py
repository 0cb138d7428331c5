"""From a batch of usage records to what each scope has to pay.

Apart from the service because it is arithmetic over what was read: which records concern a scope, and which of them
fall into its budget window.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from penstock.durations import parse_duration
from penstock.engine.events import UsageRecord
from penstock.scopes import names
from penstock.scopes.models import Scope
from penstock.scopes.store import Addition

Shares = dict[str, list[UsageRecord]]
"""Records by the name of a scope that they concern, if it exists."""


def shares(records: Iterable[UsageRecord], present: Mapping[str, str]) -> Shares:
    """The records that cost something by the scopes above them; `present` has the tokens of regenerated keys."""
    found: Shares = {}
    for record in records:
        if not record.cost:
            continue
        for name in names.charged(record, present.get(record.token, record.token)):
            found.setdefault(name, []).append(record)
    return found


def concerned(scope: Scope, by_name: Shares) -> list[UsageRecord]:
    """The records that this scope pays for."""
    if scope.parent is None or scope.only_model is None:
        return by_name.get(scope.name, [])
    model = scope.only_model
    return [record for record in by_name.get(scope.parent, []) if model in (record.model, record.model_group)]


def addition(scope: Scope, records: list[UsageRecord], now: int) -> Addition:
    """What the records add to a scope, in the budget window that holds now."""
    start, ended = scope.budget_window_start or 0, scope.budget_reset_at
    sum_ = Addition(scope.name, start)
    if ended is not None and ended <= now and scope.budget_duration:
        sum_.ended = ended
        sum_.next_window = parse_duration(scope.budget_duration, "budget_duration").window_after(ended, now)
        start = sum_.next_window[0]
    for record in records:
        sum_.ever += record.cost
        sum_.last = max(sum_.last, record.started_at)
        if record.started_at >= start:
            sum_.window += record.cost
            if ended is not None and record.started_at >= ended:
                sum_.late += record.cost
    if sum_.next_window is not None:
        # Whoever was faster with the reset has begun the same window.
        sum_.late = sum_.window
    return sum_
