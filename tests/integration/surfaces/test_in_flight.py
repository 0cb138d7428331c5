"""Calls in flight are shown by deployment while they are, and not afterwards."""

from __future__ import annotations

from tests.conftest import Gateway
from tests.rig import until


def test_calls_in_flight_are_shown_by_deployment(door: Gateway) -> None:
    def in_flight(model: str) -> int:
        start = f'penstock_deployment_in_flight_requests{{model="{model}"'
        with door.client(headers=door.admin) as client:
            lines = client.get("/metrics").text.splitlines()
        return sum(int(line.rpartition(" ")[2]) for line in lines if line.startswith(start))

    body = {"model": "openai/sim/tps=20,tokens=200", "stream": True, "messages": [{"role": "user", "content": "a"}]}
    # A call of another test may be settled a moment after its end.
    until(lambda: in_flight("openai/*") == 0, "no call")
    with door.client(headers=door.admin) as client:
        with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith("data: ")
            assert in_flight("openai/*") == 1
            assert in_flight("pinned") == 0
        until(lambda: in_flight("openai/*") == 0, "the end of the call")
