"""gRPC-Web on the same port: binary and text, over HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterator

import grpc
import httpx
import pytest

from penstock.client import _messages as pb
from tests.conftest import Gateway
from tests.integration.grpc.frames import Raw, frame, unframe, zipped
from tests.integration.grpc.serving import record_of
from tests.rig import Sim, until
from tests.stalls import Stopwatch, again_after_a_stall

CREATE = "/penstock.v1.Chat/Create"
STREAM = "/penstock.v1.Chat/Stream"
BINARY, TEXT = "application/grpc-web+proto", "application/grpc-web-text+proto"
REQUEST = pb.ChatCreateRequest(model="sim", max_tokens=5, messages=[{"role": "user", "text": "time river that"}])


def _decoded(content_type: str, body: bytes) -> bytes:
    if "text" not in content_type:
        return body
    # Pieces that were encoded each by itself are padded each by itself.
    return b"".join(base64.b64decode(piece) for piece in re.findall(rb"[^=]+=*", body))


class Web:
    """The answer to a call."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.http_status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        frames = unframe(_decoded(self.headers.get("content-type", ""), body))
        self.messages = [data for flag, data in frames if not flag & 0x80]
        ends = [data for flag, data in frames if flag & 0x80]
        assert len(ends) <= 1
        assert not ends or frames[-1][0] & 0x80, "trailers come last"
        lines = ends[0].decode().split("\r\n") if ends else []
        self.trailers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines if line}

    @property
    def end(self) -> dict[str, str]:
        """Where the status is."""
        return self.trailers or self.headers

    @property
    def status(self) -> int:
        """Of gRPC."""
        return int(self.end["grpc-status"])


Ask = Callable[..., Web]


@pytest.fixture(params=["HTTP/1.1", "HTTP/2"])
def ask(request: pytest.FixtureRequest, port: Gateway) -> Iterator[Ask]:
    """Makes calls over each of the two."""
    if request.param == "HTTP/1.1":
        with port.client() as client:

            def over_1(path: str, body: bytes, content_type: str, key: str | None = None, **more: str) -> Web:
                headers = _headers(port, content_type, key, more)
                answer = client.post(path, content=body, headers=headers)
                return Web(answer.status_code, dict(answer.headers), answer.content)

            yield over_1
        return
    with Raw(port) as raw:

        def over_2(path: str, body: bytes, content_type: str, key: str | None = None, **more: str) -> Web:
            fields = [(name, value) for name, value in _headers(port, content_type, key, more).items()]
            stream = raw.answer(raw.open("POST", path, body=body, extra=fields))
            assert stream.reset is None
            return Web(stream.status, stream.headers, stream.body)

        yield over_2


def _headers(port: Gateway, content_type: str, key: str | None, more: dict[str, str]) -> dict[str, str]:
    key = port.admin_key if key is None else key
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return {
        "content-type": content_type,
        "x-grpc-web": "1",
        **({"authorization": f"Bearer {key}"} if key else {}),
        **named,
    }


def _body(content_type: str, data: bytes) -> bytes:
    return base64.b64encode(data) if "text" in content_type else data


@pytest.mark.parametrize("content_type", [BINARY, TEXT, "application/grpc-web", "application/grpc-web-text"])
def test_a_call(ask: Ask, content_type: str) -> None:
    reply = ask(CREATE, _body(content_type, frame(REQUEST)), content_type)
    assert (reply.http_status, reply.status) == (200, 0)
    assert reply.headers["content-type"].startswith(content_type.partition("+")[0])
    [message] = reply.messages
    assert pb.ChatCreateResponse.FromString(message).choices[0].message.content == " time river that this with"
    assert "grpc-status" in reply.trailers, "trailers are in the body"
    assert reply.headers["x-penstock-call-id"]
    assert "x-penstock-cost-usd" in {**reply.headers, **reply.trailers}


@pytest.mark.parametrize("content_type", [BINARY, TEXT])
def test_a_stream(ask: Ask, port: Gateway, content_type: str) -> None:
    reply = ask(STREAM, _body(content_type, frame(REQUEST)), content_type)
    assert reply.status == 0
    chunks = [pb.ChatStreamResponse.FromString(message) for message in reply.messages]
    assert "".join(c.delta.content for chunk in chunks for c in chunk.choices) == " time river that this with"
    assert record_of(port, reply.headers["x-penstock-call-id"])["completion_tokens"] == 5


@pytest.mark.parametrize("content_type", [BINARY, TEXT])
def test_errors(ask: Ask, content_type: str) -> None:
    unknown = ask(CREATE, _body(content_type, frame(pb.ChatCreateRequest(model="nowhere"))), content_type)
    assert (unknown.http_status, unknown.status, unknown.messages) == (200, grpc.StatusCode.NOT_FOUND.value[0], [])
    assert unknown.end["grpc-message"]
    assert unknown.end["grpc-status-details-bin"]
    nobody = ask(CREATE, _body(content_type, frame(REQUEST)), content_type, key="")
    assert nobody.status == grpc.StatusCode.UNAUTHENTICATED.value[0]
    nothing = ask("/penstock.v1.Chat/Nothing", _body(content_type, frame(REQUEST)), content_type)
    assert nothing.status == grpc.StatusCode.UNIMPLEMENTED.value[0]


@pytest.mark.parametrize("content_type", [BINARY, TEXT])
def test_a_broken_stream_never_ends_well(ask: Ask, content_type: str) -> None:
    reply = ask(STREAM, _body(content_type, frame(REQUEST)), content_type, x_sim_fault="reset_after:3", x_sim_flush="1")
    assert reply.messages
    assert reply.status == grpc.StatusCode.UNAVAILABLE.value[0]


def test_a_deadline(ask: Ask) -> None:
    watch = Stopwatch()
    reply = ask(CREATE, frame(REQUEST), BINARY, x_sim_ttft="20000", grpc_timeout="300m")
    assert reply.status == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    assert watch.ran_s < 4


@pytest.mark.parametrize(
    "data", [b"", b"\0\0\0\0\x05", frame(REQUEST)[:-2], frame(REQUEST) * 2, frame(b"\xff\xff"), b"\x80\0\0\0\0"]
)
@pytest.mark.parametrize("content_type", [BINARY, TEXT])
def test_what_is_no_message_is_refused(ask: Ask, sim: Sim, content_type: str, data: bytes) -> None:
    since = sim.mark()
    reply = ask(CREATE, _body(content_type, data), content_type)
    assert reply.status in (
        grpc.StatusCode.INVALID_ARGUMENT.value[0],
        grpc.StatusCode.INTERNAL.value[0],
        grpc.StatusCode.UNIMPLEMENTED.value[0],
    )
    assert sim.mark() == since


@pytest.mark.parametrize("body", [b"!!!!", b"AAAA=AAA", b"AAA", "é".encode(), b"=" * 8])
def test_text_that_is_no_base64_is_refused(ask: Ask, body: bytes) -> None:
    reply = ask(CREATE, body, TEXT)
    assert reply.status in (grpc.StatusCode.INVALID_ARGUMENT.value[0], grpc.StatusCode.INTERNAL.value[0])


def test_text_may_come_in_pieces_that_are_padded_each(ask: Ask) -> None:
    data = frame(REQUEST)
    for cut in (1, 2, 5, 7, len(data) - 1):
        body = base64.b64encode(data[:cut]) + base64.b64encode(data[cut:])
        assert ask(CREATE, body, TEXT).status == 0


def test_a_large_answer_in_text(ask: Ask) -> None:
    reply = ask(CREATE, base64.b64encode(frame(REQUEST)), TEXT, x_sim_bytes="50000")
    assert reply.status == 0
    assert len(reply.messages[0]) > 250_000


def test_compression_is_understood(ask: Ask) -> None:
    assert ask(CREATE, zipped(REQUEST), BINARY, grpc_encoding="gzip").status == 0


@pytest.mark.parametrize("content_type", [BINARY, TEXT])
@again_after_a_stall(0.3)
def test_a_stream_comes_as_it_is_made(port: Gateway, content_type: str) -> None:
    headers = {**_headers(port, content_type, None, {}), "x-sim-tps": "20", "x-sim-tokens": "40", "x-sim-flush": "1"}
    request = pb.ChatCreateRequest(model="sim", max_tokens=40, messages=[{"role": "user", "text": "time"}])
    arrivals = []
    with (
        port.client() as client,
        client.stream("POST", STREAM, content=_body(content_type, frame(request)), headers=headers) as answer,
    ):
        body = b""
        for piece in answer.iter_raw():
            arrivals.append(time.monotonic())
            body += piece
    reply = Web(answer.status_code, dict(answer.headers), body)
    assert reply.status == 0
    assert len(arrivals) > 10
    assert arrivals[-1] - arrivals[0] > 0.6


def test_a_browser_that_leaves_cancels_the_call(port: Gateway, sim: Sim) -> None:
    since = sim.mark()
    headers = {**_headers(port, BINARY, None, {}), "x-sim-tps": "20", "x-sim-tokens": "2000", "x-sim-flush": "1"}
    request = pb.ChatCreateRequest(model="sim", max_tokens=2_000, messages=[{"role": "user", "text": "time"}])
    with httpx.Client(base_url=port.url, trust_env=False, timeout=30) as client:
        with client.stream("POST", STREAM, content=frame(request), headers=headers) as answer:
            next(answer.iter_raw())
        until(lambda: [e for e in sim.ledger(since) if e["outcome"] == "cut"], "the provider was told")


# ---- pages of other origins -------------------------------------------------------------------

_ASKED = "authorization,content-type,x-grpc-web,grpc-timeout"


@pytest.mark.parametrize("path", [CREATE, STREAM])
def test_a_page_of_a_named_origin_may_call(port: Gateway, path: str) -> None:
    origin = "https://app.example"
    with port.client() as client:
        before = client.options(
            path,
            headers={
                "origin": origin,
                "access-control-request-method": "POST",
                "access-control-request-headers": _ASKED,
            },
        )
        assert before.status_code in (200, 204)
        assert before.headers["access-control-allow-origin"] == origin
        assert "POST" in before.headers["access-control-allow-methods"]
        allowed = {name.strip().lower() for name in before.headers["access-control-allow-headers"].split(",")}
        assert "*" in allowed or set(_ASKED.split(",")) <= allowed
        answer = client.post(
            path, content=frame(REQUEST), headers={**_headers(port, BINARY, None, {}), "origin": origin}
        )
        assert answer.headers["access-control-allow-origin"] == origin
        exposed = answer.headers["access-control-expose-headers"].lower()
        assert exposed == "*" or {"grpc-status", "grpc-message"} <= {name.strip() for name in exposed.split(",")}
        refused = client.post(
            path, content=frame(pb.ChatCreateRequest(model="nowhere")),
            headers={**_headers(port, BINARY, None, {}), "origin": origin},
        )  # fmt: skip
        assert refused.headers["access-control-allow-origin"] == origin, "errors are read by pages as well"


@pytest.mark.parametrize("origin", ["https://evil.example", "http://app.example", "https://app.example.evil", "null"])
def test_a_page_of_another_origin_may_not(port: Gateway, origin: str) -> None:
    with port.client() as client:
        asked = {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": _ASKED}
        assert "access-control-allow-origin" not in client.options(CREATE, headers=asked).headers
        headers = {**_headers(port, BINARY, None, {}), "origin": origin}
        assert "access-control-allow-origin" not in client.post(CREATE, content=frame(REQUEST), headers=headers).headers
