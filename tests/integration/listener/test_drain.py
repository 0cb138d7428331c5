"""From SIGTERM to the end of the process: what is in flight finishes or is ended in words, and all of it is settled."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Gateway
from tests.integration.listener import wire
from tests.integration.listener.conftest import BODY
from tests.integration.listener.h2client import H2Client
from tests.integration.listener.wire import Wire
from tests.stalls import Stopwatch, again_after_a_stall

_CONFIG = """
model_list:
  - model_name: sim
    litellm_params: {model: openai/gpt-sim, api_base: $SIMULATOR/v1, api_key: sk-upstream}
  - model_name: sim-claude
    litellm_params: {model: anthropic/claude-sim, api_base: $SIMULATOR, api_key: sk-upstream}
penstock:
  demo: false
  listener: {grace: %s}
  upstream: {forward_headers: [x-sim-]}
"""
_LIVE = "GET /_health/live HTTP/1.1\r\nHost: gateway\r\n\r\n"
_READY = "GET /_health/ready HTTP/1.1\r\nHost: gateway\r\n\r\n"


class Installation:
    """Gateways that follow each other on the same data."""

    def __init__(self, directory: Path, simulator_url: str) -> None:
        self._directory = directory
        self._simulator_url = simulator_url
        self.started: list[Gateway] = []

    def start(self, grace: str = "1s") -> Gateway:
        """The next one."""
        self.started.append(Gateway(self._directory, self._simulator_url, config=_CONFIG % grace))
        return self.started[-1]

    def settled(self, call_id: str) -> dict[str, Any]:
        """What the next process on the same data says of a call."""
        gateway = self.start()
        with gateway.client() as client:
            rows = client.get("/spend/logs", headers=gateway.admin, params={"request_id": call_id}).json()
        assert len(rows) == 1, rows
        return dict(rows[0])


@pytest.fixture
def installation(tmp_path: Path, simulator_url: str) -> Iterator[Installation]:
    """Stopped at the end."""
    made = Installation(tmp_path, simulator_url)
    yield made
    for gateway in made.started:
        gateway.close()


def _term(gateway: Gateway) -> None:
    """Tells it to end."""
    os.kill(gateway.pid, signal.SIGTERM)


def _refuses(gateway: Gateway) -> bool:
    host, port = gateway.url.removeprefix("http://").rsplit(":", 1)
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) != 0


def _in_flight(gateway: Gateway) -> int:
    with gateway.client() as client:
        lines = client.get("/metrics", headers=gateway.admin).text.splitlines()
    return sum(
        round(float(line.rsplit(" ", 1)[1])) for line in lines if line.startswith("penstock_in_flight_requests ")
    )


class Call:
    """A streamed call whose first frame has come."""

    def __init__(self, gateway: Gateway, *, tokens: int, rate: int, claude: bool = False) -> None:
        body = {**BODY, "model": "sim-claude" if claude else "sim", "stream": True, "max_tokens": tokens}
        fields = [f"x-sim-tps: {rate}", f"x-sim-tokens: {tokens}", "x-sim-flush: 1"]
        path = "/v1/messages" if claude else "/v1/chat/completions"
        self.client: Wire = wire.connect(gateway.url)
        head = self.client.send(wire.chat(gateway.admin_key, body, *fields, path=path)).head()
        assert head is not None
        assert head.status == 200, head
        self.id = str(head.get("x-penstock-call-id"))
        self._chunks = self.client.chunks()
        self.body = next(self._chunks)

    def finish(self) -> list[str]:
        """The frames, once the body has ended as its framing says and the connection was closed."""
        self.body += b"".join(self._chunks)
        assert self.client.is_closed()
        self.client.close()
        return self.body.decode().strip().split("\n\n")


def test_a_stream_finishes_within_the_grace_and_the_process_ends_well(installation: Installation) -> None:
    gateway = installation.start("20s")
    call = Call(gateway, tokens=40, rate=40)
    _term(gateway)
    wire.until(lambda: _refuses(gateway), what="new connections are taken")
    assert call.finish()[-1] == "data: [DONE]"
    watch = Stopwatch()
    assert gateway.process.wait() == 0
    # The process waits for its last call, not for the grace.
    assert watch.ran_s < 8
    row = installation.settled(call.id)
    assert (row["completion_tokens"], row["status"], row["metadata"]["outcome"]) == (40, "success", "ok")


def test_readiness_is_503_from_the_signal_on(installation: Installation) -> None:
    gateway = installation.start("20s")
    slow = wire.chat(gateway.admin_key, BODY, "x-sim-ttft: 4000")
    with wire.connect(gateway.url) as client:
        # Sent before the signal, answered after it: the second request waits for the first.
        client.send(slow + _READY.encode() + _LIVE.encode())
        wire.until(lambda: _in_flight(gateway) == 1)
        _term(gateway)
        answers = client.answers()
    assert [answer.status for answer in answers][:2] == [200, 503]
    assert gateway.process.wait() == 0


@pytest.mark.parametrize("claude", [False, True], ids=["chat", "messages"])
def test_a_stream_beyond_the_grace_ends_with_an_error_event_and_is_settled(
    installation: Installation, claude: bool
) -> None:
    gateway = installation.start("500ms")
    call = Call(gateway, tokens=10_000, rate=20, claude=claude)
    watch = Stopwatch()
    _term(gateway)
    frames = call.finish()
    assert watch.seconds > 0.4
    assert watch.ran_s < 4
    if claude:
        assert frames[-1].startswith("event: error\ndata: ")
        error = json.loads(frames[-1].partition("data: ")[2])["error"]
        assert error["type"] == "overloaded_error"
        received = sum('"text_delta"' in frame for frame in frames)
    else:
        assert json.loads(frames[-1].removeprefix("data: "))["error"]["code"] == "shutting_down"
        received = sum('"content":" ' in frame for frame in frames)
    assert "data: [DONE]" not in frames
    assert gateway.process.wait() == 0
    row = installation.settled(call.id)
    assert row["metadata"]["outcome"] == "shutdown"
    assert row["metadata"]["error_code"] == "shutting_down"
    assert received > 0
    # Counted by us, since the upstream never came to say: what was passed on, or was about to be.
    assert received <= row["completion_tokens"] <= received + 2


def test_a_call_that_is_not_streamed_gets_an_error_beyond_the_grace(installation: Installation) -> None:
    gateway = installation.start("400ms")
    with wire.connect(gateway.url) as client:
        client.send(wire.chat(gateway.admin_key, BODY, "x-sim-ttft: 60000"))
        wire.until(lambda: _in_flight(gateway) == 1)
        _term(gateway)
        answer = client.answer()
        assert answer.status == 503
        assert answer.json()["error"]["code"] == "shutting_down"
        assert answer.get("retry-after") == "1"
        assert client.is_closed()
    assert gateway.process.wait() == 0
    row = installation.settled(str(answer.get("x-penstock-call-id")))
    assert (row["metadata"]["outcome"], row["metadata"]["http_status"]) == ("shutdown", 503)


def _ended(installation: Installation, **_: object) -> None:
    for gateway in installation.started:
        gateway.close()


@pytest.mark.parametrize("kind", ["stream", "file"])
@pytest.mark.timeout(400)
@again_after_a_stall(0.5, anew=_ended)
def test_an_answer_that_is_cut_in_the_middle_of_a_write_never_looks_whole(
    installation: Installation, simulator_url: str, kind: str
) -> None:
    recording = os.urandom(9_000_000)
    body = {"content_type": "audio/mpeg", "body_base64": base64.b64encode(recording).decode()}
    httpx.put(f"{simulator_url}/_sim/replay/drain", json=body, trust_env=False).raise_for_status()
    gateway = installation.start("300ms")
    if kind == "stream":
        fields = ["x-sim-tokens: 2000", "x-sim-bytes: 8000"]
        request = wire.chat(gateway.admin_key, {**BODY, "stream": True, "max_tokens": 2000}, *fields)
    else:
        request = wire.chat(gateway.admin_key, {"model": "sim"}, "x-sim-replay: drain", path="/v1/audio/speech")
    with wire.connect(gateway.url, receive_buffer=8192) as client:
        head = client.send(request).head()
        assert head is not None
        assert head.status == 200
        # Nothing more is read until the call is being cut: the gateway is inside a write then.
        _term(gateway)
        wire.until(lambda: '"draining"' in gateway.process.output())
        wire.pause(1)
        received = client.rest()
    if kind == "file":
        assert head.get("content-length") == str(len(recording))
        assert len(received) < len(recording)
        assert recording.startswith(received)
        return
    whole = received.endswith(b"\r\n0\r\n\r\n")
    assert (b"shutting_down" in received) == whole


def test_idle_connections_are_closed_at_once(installation: Installation) -> None:
    gateway = installation.start("20s")
    call = Call(gateway, tokens=120, rate=40)
    with (
        wire.connect(gateway.url) as used,
        wire.connect(gateway.url) as fresh,
        H2Client(wire.connect(gateway.url).sock) as second,
    ):
        assert used.send(_LIVE).answer().status == 200
        assert second.answer(second.open("GET", "/_health/live")).status == 200
        watch = Stopwatch()
        _term(gateway)
        assert used.is_closed()
        assert fresh.is_closed()
        assert watch.ran_s < 2.5, "idle connections were kept while another call was waited for"
        second.closed_with()
    assert call.finish()[-1] == "data: [DONE]"
    assert gateway.process.wait() == 0


def test_streams_over_http_2_finish_too(installation: Installation) -> None:
    gateway = installation.start("20s")
    with H2Client(wire.connect(gateway.url).sock) as client:
        headers = [("authorization", f"Bearer {gateway.admin_key}"), ("x-sim-tps", "15")]
        body = json.dumps({**BODY, "stream": True, "max_tokens": 14}).encode()
        number = client.open("POST", "/v1/chat/completions", body=body, extra=headers)
        while not client.streams[number].body:
            client.pump()
        _term(gateway)
        raw = client.sock
        received = b""
        while data := raw.recv(65_536):
            received += data
    # Read past the library, which takes nothing more once it has seen GOAWAY.
    assert b"data: [DONE]" in received
    assert gateway.process.wait() == 0


@pytest.mark.parametrize("control", [False, True], ids=["call", "control"])
def test_a_request_whose_body_is_still_coming_is_served(installation: Installation, control: bool) -> None:
    gateway = installation.start("20s")
    request = wire.chat(
        gateway.admin_key, {} if control else BODY, path="/key/generate" if control else "/v1/chat/completions"
    )
    with wire.connect(gateway.url) as client, wire.connect(gateway.url) as other:
        # The other connection shows that the thread has taken in what was sent before.
        client.send(request[:-1])
        assert other.send(_LIVE).answer().status == 200
        _term(gateway)
        wire.until(lambda: _refuses(gateway))
        answer = client.send(request[-1:]).answer()
        assert answer.status == 200, answer
        assert answer.get("connection") == "close" or client.is_closed()
    assert gateway.process.wait() == 0


def test_a_second_signal_ends_what_is_left_at_once_and_settles_it(installation: Installation) -> None:
    gateway = installation.start("60s")
    call = Call(gateway, tokens=10_000, rate=20)
    _term(gateway)
    wire.until(lambda: _refuses(gateway))
    assert gateway.process.process.poll() is None
    watch = Stopwatch()
    _term(gateway)
    assert json.loads(call.finish()[-1].removeprefix("data: "))["error"]["code"] == "shutting_down"
    code = gateway.process.wait()
    assert watch.ran_s < 8
    assert code != 0, "an end that was forced is not a good one"
    assert installation.settled(call.id)["metadata"]["outcome"] == "shutdown"


def test_without_calls_in_flight_the_end_comes_at_once(installation: Installation) -> None:
    gateway = installation.start("60s")
    with wire.connect(gateway.url), wire.connect(gateway.url) as other:
        # One that has said nothing, one that speaks HTTP/2 and does not answer.
        other.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        watch = Stopwatch()
        _term(gateway)
        assert gateway.process.wait() == 0
        assert watch.ran_s < 5
