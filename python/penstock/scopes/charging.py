"""From a batch of usage records to what each scope has to pay.

Apart from the service because it is arithmetic over what was read: which records concern a scope, and which of them
fall into its budget window.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import attrgetter

from penstock import payers
from penstock.durations import parse_duration
from penstock.engine.events import UsageRecord
from penstock.payers import Addition
from penstock.scopes import names
from penstock.scopes.models import Scope

Shares = dict[str, list[UsageRecord]]
"""Records by the name of a scope that they concern, if it exists."""
_payers = attrgetter("token", "team_id", "user_id", "org_id", "end_user", "tags")
"""What :func:`penstock.scopes.names.charged` reads of a record."""


def shares(records: Iterable[UsageRecord], present: Mapping[str, str]) -> Shares:
    """The records that cost something by the scopes above them; `present` has the tokens of regenerated keys."""
    # Most batches are of few callers, and names are put together once for each.
    alike: dict[tuple[str, ...], list[UsageRecord]] = {}
    for record in records:
        if record.cost:
            alike.setdefault(_payers(record), []).append(record)
    found: Shares = {}
    for same in alike.values():
        token = same[0].token
        for name in names.charged(same[0], present.get(token, token)):
            found.setdefault(name, []).extend(same)
    return found


def concerned(scope: Scope, by_name: Shares) -> list[UsageRecord]:
    """The records that this scope pays for."""
    if scope.parent is None or scope.only_model is None:
        return by_name.get(scope.name, [])
    model = scope.only_model
    return [record for record in by_name.get(scope.parent, []) if model in (record.model, record.model_group)]


def addition(scope: Scope, records: list[UsageRecord], now: int) -> Addition:
    """What the records add to a scope, in the budget window that holds now."""
    start, end = scope.budget_window_start, scope.budget_reset_at
    following = None
    if end is not None and end <= now and scope.budget_duration:
        following = parse_duration(scope.budget_duration, "budget_duration").window_after(end, now)
    return payers.addition(scope.name, (start, end), following, records, now)
