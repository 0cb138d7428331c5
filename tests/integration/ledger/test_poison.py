"""A call whose record the database refuses, seen from outside: it is put aside once, and every other call is in the books."""

from __future__ import annotations

import json

from tests.integration.ledger.conftest import Rig
from tests.integration.managed import until

NO_COWORKER = "{coworker: false}"
_REFUSED = "refused"
_TRIES = 5


def test_a_refused_record_holds_up_nobody_and_is_put_aside_once(rig: Rig) -> None:
    gateway = rig.gateway(NO_COWORKER)
    coworker = rig.coworker()
    coworker.wait_ready()
    rig.query(f"ALTER TABLE usage ADD CONSTRAINT refused CHECK (end_user IS DISTINCT FROM '{_REFUSED}')")
    key = gateway.key(max_budget=1)
    answers = gateway.many(key, 10)
    refused = gateway.chat(key, user=_REFUSED)
    answers += gateway.many(key, 10)
    assert {answer.status_code for answer in [*answers, refused]} == {200}
    calls = sorted(answer.headers["x-penstock-call-id"] for answer in answers)
    until(lambda: rig.calls() == calls, what="every other record in the ledger")
    until(lambda: rig.query("SELECT 1 FROM usage_rejected"), what="the refused one put aside")
    until(lambda: rig.waiting() == 0, what="an empty stream")
    (kept,) = rig.query("SELECT record, reason FROM usage_rejected")
    assert json.loads(kept["record"])[0]["call_id"] == refused.headers["x-penstock-call-id"]
    assert "refused" in kept["reason"]
    books = rig.books()
    assert len(set(books.values())) == 1, books
    assert rig.query("SELECT spend FROM keys")[0]["spend"] == books["rows"][1]
    output = coworker.output()
    assert output.count('"coworker.refused"') == _TRIES
    assert output.count('"usage.rejected"') == 1
    # It is done for the gateway, too: nothing of it is brought again, now or at the end.
    later = gateway.many(key, 5)
    calls = sorted([*calls, *(answer.headers["x-penstock-call-id"] for answer in later)])
    until(lambda: rig.calls() == calls, what="later records in the ledger")
    assert gateway.gateway.process.stop() == 0
    assert coworker.stop() == 0, coworker.output()
    assert len(rig.query("SELECT 1 FROM usage_rejected")) == 1
    assert coworker.output().count('"coworker.refused"') == _TRIES
    assert len(set(rig.books().values())) == 1, rig.books()
