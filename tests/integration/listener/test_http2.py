"""HTTP/2 with prior knowledge on the public port."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.conftest import Gateway
from tests.integration.listener import wire
from tests.integration.listener.conftest import BODY
from tests.integration.listener.h2client import H2Client, Stream
from tests.integration.listener.wire import Broken

_STREAMS = 16
_LARGE = (("x-sim-bytes", "4000"), ("x-sim-tokens", "100"))


@pytest.fixture
def client(port: Gateway) -> Iterator[H2Client]:
    """A connection."""
    with H2Client(wire.connect(port.url).sock) as opened:
        yield opened


def _chat(client: H2Client, port: Gateway, *extra: tuple[str, str], **fields: object) -> int:
    headers = [("authorization", f"Bearer {port.admin_key}"), ("content-type", "application/json"), *extra]
    return client.open("POST", "/v1/chat/completions", body=json.dumps({**BODY, **fields}).encode(), extra=headers)


def test_calls_and_streams_and_control_routes_share_a_connection(client: H2Client, port: Gateway) -> None:
    unary = client.answer(_chat(client, port))
    assert (unary.status, json.loads(unary.body)["usage"]["completion_tokens"]) == (200, 4)
    assert "x-penstock-call-id" in unary.headers
    assert not {"connection", "transfer-encoding", "keep-alive"} & unary.headers.keys()
    stream = client.answer(_chat(client, port, stream=True))
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.body.endswith(b"data: [DONE]\n\n")
    admin = [("authorization", f"Bearer {port.admin_key}")]
    made = client.answer(client.open("POST", "/key/generate", body=b"{}", extra=admin))
    assert json.loads(made.body)["key"].startswith("sk-")
    missing = client.answer(client.open("GET", "/no/such/route"))
    assert (missing.status, json.loads(missing.body)) == (404, {"detail": "Not Found"})
    head = client.answer(client.open("HEAD", "/_health/live"))
    assert (head.status, head.body) == (200, b"")


def test_streams_are_answered_as_they_are_ready_and_not_in_order(client: H2Client, port: Gateway) -> None:
    slow = _chat(client, port, ("x-sim-ttft", "4000"), max_tokens=2)
    streams = [_chat(client, port, stream=True, max_tokens=number + 1) for number in range(_STREAMS - 1)]
    for number, stream in enumerate(streams):
        body = client.answer(stream).body
        assert body.count(b'"finish_reason":null') == number + 2
    assert not client.streams[slow].ended
    assert json.loads(client.answer(slow).body)["usage"]["completion_tokens"] == 2


def test_a_stream_s_frames_arrive_while_it_goes_on(client: H2Client, port: Gateway) -> None:
    number = _chat(client, port, ("x-sim-tps", "10"), stream=True, max_tokens=24)
    before_its_end = 0
    while not client.streams[number].ended:
        before_its_end = client.streams[number].body.count(b'"finish_reason":null')
        client.pump()
    # In several reads, most frames before the one that has the end.
    assert 4 < before_its_end <= 25
    assert client.streams[number].body.endswith(b"data: [DONE]\n\n")


def test_streams_beyond_the_limit_are_refused_one_by_one(client: H2Client, port: Gateway) -> None:
    client.answer(client.open("GET", "/_health/live"))
    assert client.connection.remote_settings.max_concurrent_streams == _STREAMS
    # The client's own state machine would hold back what the server has not allowed.
    client.connection.remote_settings.max_concurrent_streams = 1000
    client.connection.remote_settings.acknowledge()
    opened = [_chat(client, port, ("x-sim-ttft", "3000")) for _ in range(_STREAMS + 5)]
    answers = [client.answer(number) for number in opened]
    served = [answer for answer in answers if answer.reset is None]
    refused = [answer for answer in answers if answer.reset is not None]
    assert len(served) >= _STREAMS
    assert {answer.status for answer in served} == {200}
    # REFUSED_STREAM: the client may send it again.
    assert [answer.reset for answer in refused] == [7] * (len(answers) - len(served))
    assert refused
    assert client.answer(client.open("GET", "/_health/live")).status == 200


def test_a_slow_reader_gets_everything_and_nobody_waits_for_it(port: Gateway) -> None:
    with H2Client(wire.connect(port.url).sock, greedy=False) as client:
        number = _chat(client, port, *_LARGE, stream=True, max_tokens=100)
        stream = client.streams[number]
        while len(stream.body) < 65_535:
            client.pump()
        assert not stream.ended
        with H2Client(wire.connect(port.url).sock) as other:
            assert other.answer(_chat(other, port)).status == 200
        # The windows are opened again: the rest comes, in order and complete.
        client.greedy = True
        client.connection.increment_flow_control_window(65_535, number)
        client.connection.increment_flow_control_window(65_535)
        client.flush()
        client.answer(number)
    assert stream.body.endswith(b"data: [DONE]\n\n")
    assert stream.body.count(b'"finish_reason":null') == 101


def test_a_stalled_stream_does_not_stall_its_neighbours(port: Gateway) -> None:
    with H2Client(wire.connect(port.url).sock, greedy=False) as client:
        # The connection's window is wide, the streams' are not.
        client.connection.increment_flow_control_window(10_000_000)
        stalled = _chat(client, port, *_LARGE, stream=True, max_tokens=100)
        while len(client.streams[stalled].body) < 65_535:
            client.pump()
        assert client.answer(_chat(client, port)).status == 200
        assert not client.streams[stalled].ended


def test_a_request_body_may_come_slower_than_its_window(client: H2Client, port: Gateway) -> None:
    headers = [("authorization", f"Bearer {port.admin_key}")]
    number = client.open("POST", "/v1/chat/completions", end=False, extra=headers)
    body = json.dumps(BODY).encode() + b" " * 900_000
    for at in range(0, len(body), 100_000):
        client.write(number, body[at : at + 100_000], end=False)
    client.write(number, b"", end=True)
    assert client.answer(number).status == 200


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "undeclared"])
def test_a_body_over_the_limit_is_refused_and_the_connection_goes_on(
    client: H2Client, port: Gateway, upstream_calls: Callable[[], int], declared: bool
) -> None:
    headers = [("authorization", f"Bearer {port.admin_key}")]
    if declared:
        headers.append(("content-length", "2000000"))
    number = client.open("POST", "/v1/chat/completions", end=False, extra=headers)
    stream = client.streams[number]
    sent = 0
    while not stream.headers and stream.reset is None and sent < 2_000_000:
        if client.connection.local_flow_control_window(number) >= 16_384 and not declared:
            client.connection.send_data(number, b" " * 16_384)
            client.flush()
            sent += 16_384
        else:
            client.pump()
    client.answer(number)
    assert stream.status == 413
    assert upstream_calls() == 0
    assert client.answer(client.open("GET", "/_health/live")).status == 200


def test_an_unknown_caller_s_body_is_not_waited_for(client: H2Client, port: Gateway) -> None:
    number = client.open("POST", "/v1/chat/completions", end=False, extra=[("authorization", "Bearer sk-unknown")])
    stream = client.answer(number)
    assert stream.status == 401
    assert json.loads(stream.body)["error"]["type"] == "auth_error"
    assert client.answer(client.open("GET", "/_health/live")).status == 200


def test_a_body_that_stalls_is_given_up(client: H2Client, port: Gateway) -> None:
    headers = [("authorization", f"Bearer {port.admin_key}")]
    number = client.open("POST", "/v1/chat/completions", end=False, extra=headers)
    assert client.answer(number).status == 408
    assert client.answer(client.open("GET", "/_health/live")).status == 200


def test_a_reset_ends_the_upstream_s_call_and_not_the_connection(client: H2Client, port: Gateway) -> None:
    number = _chat(client, port, ("x-sim-tps", "5"), ("x-sim-tokens", "500"), stream=True, max_tokens=500)
    stream: Stream = client.streams[number]
    while not stream.body:
        client.pump()
    client.connection.reset_stream(number)
    client.flush()

    def last() -> str:
        page = httpx.get(f"{port.simulator_url}/_sim/ledger?limit=1", trust_env=False, timeout=30).json()
        return str(page["entries"][-1]["outcome"])

    wire.until(lambda: last() == "cut")
    assert client.answer(_chat(client, port)).status == 200


HEADERS: dict[str, tuple[str, list[tuple[str, str]], int | None]] = {
    "host agrees": ("gateway", [("host", "gateway")], 200),
    "host differs": ("gateway", [("host", "other")], 400),
    "two hosts": ("", [("host", "a"), ("host", "b")], 400),
    "host alone": ("", [("host", "gateway")], 200),
    "host alone with a space": ("", [("host", "gate way")], 400),
    "host alone with user info": ("", [("host", "u@gateway")], 400),
    "no authority": ("", [], 400),
    "user info": ("u@gateway", [], 400),
    "authority with a space": ("gate way", [], None),
    "connection header": ("gateway", [("connection", "close")], None),
    "transfer-encoding": ("gateway", [("transfer-encoding", "chunked")], None),
    "te that is not trailers": ("gateway", [("te", "gzip")], None),
    "upper-case name": ("gateway", [("X-Upper", "a")], None),
    "name with a space": ("gateway", [("x a", "a")], None),
    "value with CR LF": ("gateway", [("x-a", "a\r\nx-b: c")], None),
    "value with NUL": ("gateway", [("x-a", "a\0")], None),
}


@pytest.mark.parametrize("name", HEADERS)
def test_authority_and_headers_are_checked(port: Gateway, name: str) -> None:
    authority, extra, expected = HEADERS[name]
    with H2Client(wire.connect(port.url).sock, validate=False) as client:
        number = client.open("GET", "/_health/live", authority=authority, extra=extra)
        try:
            stream = client.answer(number)
        except (Broken, ConnectionError):
            stream = Stream(reset=1)
    if expected is None:
        # A malformed request: refused, by a status or by a reset, but never served.
        assert stream.reset is not None or stream.status == 400, stream
    else:
        assert stream.status == expected


def test_only_options_asks_for_the_server_itself(client: H2Client) -> None:
    assert client.answer(client.open("GET", "*")).status == 400
    assert client.answer(client.open("OPTIONS", "*")).status != 400


@pytest.mark.parametrize("count", [1, 200], ids=["one", "many"])
def test_headers_over_64_kib_are_refused(port: Gateway, count: int) -> None:
    with H2Client(wire.connect(port.url).sock) as client:
        extra = [(f"x-{number}", "a" * (70_000 // count)) for number in range(count)]
        try:
            stream = client.answer(client.open("GET", "/_health/live", extra=extra))
            assert stream.status == 431 if stream.headers else stream.reset is not None
        except (Broken, ConnectionError):
            assert client.goaway is None or client.goaway > 0


def test_headers_under_64_kib_are_served(client: H2Client) -> None:
    extra = [(f"x-{number}", "a" * 2000) for number in range(25)]
    assert client.answer(client.open("GET", "/_health/live", extra=extra)).status == 200
