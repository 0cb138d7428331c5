"""Replicas over one database know what the others charge to a key."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import pytest

from tests.faults.accounts import BooksDiffer
from tests.integration.managed import ASKED, Managed, cost_of_priced, nanos, until
from tests.integration.quota.rig import OverTheLimit
from tests.stalls import Stopwatch, again_after_a_stall

COST = cost_of_priced(ASKED, 4)
CALLS = 40
WITHIN_S = 2
_STOOD_S = 0.1
"""A machine that stands still for so long tells the other one later."""
_CHARGED_WITHIN_S = 20
_CALL_MS = 300
_SPENDING_CALL_MS = 60


@pytest.fixture
def replicas(start_managed: Callable[..., Managed], database_url: str) -> tuple[Managed, Managed]:
    """Two gateways with the same secrets, without Redis."""
    environment = {
        "DATABASE_URL": database_url,
        "PENSTOCK_PEPPER": secrets.token_hex(32),
        "PENSTOCK_SECRET_KEY": secrets.token_hex(32),
    }
    return start_managed(environment=environment), start_managed(environment=environment)


def _is_refused(replica: Managed, key: str) -> bool:
    """Asked with a call that takes a while, so that asking is not what spends the budget."""
    answer = replica.chat(key, sim={"ttft": _CALL_MS})
    assert answer.status_code in (200, 422), answer.text
    return answer.status_code == 422


def _spend_all(replica: Managed, key: str) -> int:
    """Call until the budget refuses; how many calls were admitted. For longer than the others take to hear of the key itself,
    with which they are told once what it has spent."""
    admitted = 0
    while replica.chat(key, sim={"ttft": _SPENDING_CALL_MS}).status_code == 200:
        admitted += 1
        if admitted > CALLS:
            raise OverTheLimit(f"more than {CALLS} calls by one of them")
    return admitted


def _is_charged(replica: Managed, key: str, amount: int) -> None:
    """Wait until a key has spent exactly so many nano-dollars, whatever the machine did meanwhile."""
    watch = Stopwatch()
    while (spend := nanos(replica.info(key)["spend"])) != amount:
        if spend > amount or watch.seconds > _CHARGED_WITHIN_S:
            raise BooksDiffer(f"{spend} of {amount} nano-dollars are in the ledger")


@again_after_a_stall(_STOOD_S)
def test_what_one_spends_the_other_knows_and_refuses(replicas: tuple[Managed, Managed]) -> None:
    one, other = replicas
    key = one.key(max_budget=CALLS * COST / 1_000_000_000)
    # Both know the key from before anything was spent.
    assert [replica.chat(key).status_code for replica in replicas] == [200, 200]
    admitted = 2 + _spend_all(one, key)
    assert admitted > CALLS / 2

    watch, last_s = Stopwatch(), 0.0

    def refused() -> bool:
        nonlocal admitted, last_s
        if _is_refused(other, key):
            return True
        admitted, last_s = admitted + 1, watch.seconds
        if admitted >= 2 * CALLS:
            raise OverTheLimit("each of them spends the whole budget")
        return False

    # For longer than it may take: a machine that stands still tells it late; a replica that is never told spends it all again.
    until(refused, what="the refusal by the other replica")
    if admitted > CALLS + int(max(last_s, WITHIN_S) * 1_000) // _CALL_MS:
        raise OverTheLimit(f"{admitted} of {CALLS} calls, {last_s} s after the budget was spent")
    _is_charged(one, key, admitted * COST)
    assert last_s < WITHIN_S, "the other replica refuses"


@again_after_a_stall(_STOOD_S)
def test_a_spend_that_is_set_back_holds_at_the_other_replica(replicas: tuple[Managed, Managed]) -> None:
    one, other = replicas
    key = one.key(max_budget=CALLS * COST / 1_000_000_000)
    assert other.chat(key).status_code == 200
    _spend_all(one, key)
    until(lambda: _is_refused(other, key), seconds=WITHIN_S, what="the refusal by the other replica")
    assert one.post("/key/update", key=key, spend=0).status_code == 200
    until(lambda: not _is_refused(other, key), seconds=WITHIN_S, what="the new figure at the other replica")
