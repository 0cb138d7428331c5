"""How fast the answers of a session come: as the client gives credit, for each call by itself."""

from __future__ import annotations

import grpc

from tests.integration.grpc.calls import Rpc
from tests.integration.grpc.sessions import Dialog
from tests.rig import Sim


def test_credits_are_counted_to_the_chunk(rpc: Rpc) -> None:
    with Dialog(rpc) as session:
        session.start(1, tokens=20, credit=3)
        for _ in range(4):
            session.next()
        assert session.kinds(1) == ["opened", "delta", "delta", "delta"]
        session.quiet()
        session.credit(1, 2)
        for _ in range(2):
            session.next()
        assert session.count(1) == 5
        session.quiet()
        session.credit(1, 4_000_000_000)
        session.credit(1, 4_000_000_000)
        assert session.finish(1)[-1].WhichOneof("frame") == "done"
        assert len(session.words(1)) == 20


def test_no_credit_at_all_opens_the_call_and_sends_nothing(rpc: Rpc) -> None:
    with Dialog(rpc) as session:
        session.start(1, tokens=3, credit=0)
        session.until("opened", 1)
        session.quiet()
        session.credit(1, 100)
        session.finish(1)
        assert len(session.words(1)) == 3


def test_the_end_costs_no_credit(rpc: Rpc) -> None:
    """As many chunks as credits: the last frame comes without another one."""
    with Dialog(rpc) as session:
        session.start(1, tokens=3)
        count = sum(frame.WhichOneof("frame") == "delta" for frame in session.finish(1))
        session.start(2, tokens=3, credit=count)
        assert session.finish(2)[-1].WhichOneof("frame") == "done"
        assert session.count(2) == count


def test_an_error_costs_no_credit(rpc: Rpc) -> None:
    with Dialog(rpc) as session:
        session.start(1, model="nowhere", credit=0)
        assert session.error(1).code == grpc.StatusCode.NOT_FOUND.value[0]


def test_a_call_that_waits_for_credit_holds_its_provider_back(rpc: Rpc, sim: Sim) -> None:
    """What is not read is not made: buffers fill, and then the provider waits."""
    since = sim.mark()
    with Dialog(rpc) as session:
        session.start(1, tokens=2_000, bytes=20_000, credit=1)
        session.until("delta", 1)
        session.quiet(1)
        entry = next(e for e in sim.ledger(since) if e["call_id"])
        assert entry["outcome"] == "open"
        session.credit(1, 10_000)
        assert session.finish(1)[-1].WhichOneof("frame") == "done"
        assert sum(len(word) for word in session.words(1)) > 30_000_000


def test_a_call_that_waits_for_credit_does_not_hold_others_back(rpc: Rpc) -> None:
    with Dialog(rpc) as session:
        session.start(1, tokens=500, bytes=20_000, credit=2)
        session.until("delta", 1)
        for id in range(2, 12):
            session.start(id, tokens=30, credit=100)
        for id in range(2, 12):
            assert len(session.finish(id)) >= 30
        assert session.count(1) == 2
        session.cancel(1)
        assert session.error(1).code == grpc.StatusCode.CANCELLED.value[0]


def test_credit_for_a_call_that_is_over_or_unknown_is_ignored(rpc: Rpc) -> None:
    with Dialog(rpc) as session:
        session.start(1, tokens=2, credit=50)
        session.finish(1)
        session.credit(1, 5)
        session.credit(77, 5)
        session.cancel(1)
        session.cancel(78)
        session.start(2, tokens=2)
        session.finish(2)
        assert {id for _, id in session.order} == {1, 2}
