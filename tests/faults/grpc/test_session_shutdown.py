"""Sessions at the end of a gateway's grace: who reads hears of every call, and who does not holds nothing up."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable

import grpc
import pytest

from penstock.client import _calls as methods
from penstock.client import _messages as pb
from tests.conftest import Gateway
from tests.faults.accounts import gauge
from tests.integration.grpc.frames import Raw, frame, unframe
from tests.integration.grpc.serving import configured
from tests.integration.listener.wire import Broken, pause
from tests.rig import until
from tests.stalls import Stopwatch, again_after_a_stall

CALLS = 200
"""Their ends are more than a client takes that gives no window."""
WINDOW = 65_535
GRACE_S = 0.5
ENDING_S = 3.0
"""How long a gateway that ends calls waits for their clients."""


Start = Callable[..., Gateway]


def _started(start_gateway: Start) -> Gateway:
    return start_gateway(config=configured("{grace: 500ms}"))


def _begun(gateway: Gateway, raw: Raw) -> int:
    """The stream of a session with many calls in flight."""
    number = raw.begin(methods.CHAT_SESSION.path, end=False)
    for id in range(1, CALLS + 1):
        request = pb.ChatCreateRequest(
            model="wild/sim/ttft=60000", max_tokens=2, messages=[{"role": "user", "text": "time"}]
        )
        raw.write(number, frame(pb.ChatSessionRequest(start=pb.SessionStart(id=id, request=request))), end=False)
    until(lambda: gauge(gateway, "penstock_in_flight_requests") == CALLS, "all are in flight")
    return number


def _read_slowly(raw: Raw, number: int, step: int, seconds: float) -> None:
    """Read to the connection's end; whenever the window is used up, a little is given a little later."""
    try:
        while True:
            stream = raw.streams[number]
            is_open = not stream.ended and stream.reset is None
            if is_open and raw.connection.remote_flow_control_window(number) == 0:
                pause(seconds)
                raw.connection.increment_flow_control_window(step, number)
                raw.connection.increment_flow_control_window(step)
                raw.flush()
            raw.pump()
    except (Broken, ConnectionError):
        return


@pytest.mark.parametrize("step, seconds", [(2_048, 0.02), (16_384, 0.5)], ids=["drop by drop", "late"])
@again_after_a_stall(0.3)
def test_whoever_reads_hears_how_every_call_ended(start_gateway: Start, step: int, seconds: float) -> None:
    gateway = _started(start_gateway)
    with Raw(gateway, greedy=False) as raw:
        number = _begun(gateway, raw)
        gateway.process.process.send_signal(signal.SIGTERM)
        _read_slowly(raw, number, step, seconds)
        reply = raw.end(number)
        assert len(reply.body) > WINDOW
        frames = [pb.ChatSessionResponse.FromString(message) for _, message in unframe(reply.body)]
        ends = Counter(frame.error.id for frame in frames if frame.WhichOneof("frame") == "error")
        assert ends == dict.fromkeys(range(1, CALLS + 1), 1)
        codes = {frame.error.status.code for frame in frames if frame.WhichOneof("frame") == "error"}
        assert codes == {grpc.StatusCode.UNAVAILABLE.value[0]}
        assert reply.status == 0
        assert (0, number) in raw.goaways, "the connection ended as it should"
    assert gateway.process.wait() == 0


@pytest.mark.parametrize("reads", [True, False], ids=["no window", "no reading"])
@again_after_a_stall(0.3)
def test_whoever_does_not_holds_nothing_up(start_gateway: Start, reads: bool) -> None:
    gateway = _started(start_gateway)
    with Raw(gateway, greedy=False) as raw:
        number = _begun(gateway, raw)
        gateway.process.process.send_signal(signal.SIGTERM)
        watch = Stopwatch()
        if reads:
            assert raw.closed_with() == 0
            assert raw.streams[number].reset is not None, "what is not whole must not look so"
            assert len(raw.streams[number].body) == WINDOW
        assert gateway.process.wait() == 0
        assert watch.ran_s < GRACE_S + ENDING_S + 2
