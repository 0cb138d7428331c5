"""Paths, HTTP methods and content types: what is a call, and what else a request on the port can be."""

from __future__ import annotations

import json

import grpc
import pytest

from penstock.client import _messages as pb
from tests.conftest import Gateway
from tests.integration.grpc.frames import Raw, frame
from tests.rig import Sim

CREATE = "/penstock.v1.Chat/Create"
REQUEST = pb.ChatCreateRequest(model="sim", max_tokens=2, messages=[{"role": "user", "text": "time"}])
OK = 0
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED.value[0]


@pytest.mark.parametrize(
    "path",
    ["/penstock.v1.Chat/Nothing", "/penstock.v1.Chat/create", "/penstock.v2.Chat/Create", "/penstock.v1.Chat",
     "/penstock.v1.Chat/", "/penstock.v1.Chat/Create/", "/Chat/Create", "/", "/a/b", "/v1/chat/completions",
     "/penstock.v1.chat/Create", "//penstock.v1.Chat/Create",
     "/penstock.v1.Chat%2FCreate", "/grpc.health.v1.Health/Nothing", "/key/generate", "/metrics"],
)  # fmt: skip
def test_a_method_that_is_not_there_is_unimplemented(raw: Raw, sim: Sim, path: str) -> None:
    since = sim.mark()
    reply = raw.ask(path, frame(REQUEST))
    assert (reply.http_status, reply.status, reply.body) == (200, UNIMPLEMENTED, b""), reply
    assert reply.headers["content-type"].startswith("application/grpc")
    assert reply.message
    assert sim.mark() == since
    assert raw.ask(CREATE, frame(REQUEST)).status == OK


@pytest.mark.parametrize(
    "content_type", ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8", "application/grpc+proto; x=y"]
)  # fmt: skip
def test_content_types_of_grpc(raw: Raw, content_type: str) -> None:
    reply = raw.ask(CREATE, frame(REQUEST), content_type=content_type)
    assert (reply.http_status, reply.status) == (200, OK)
    assert reply.headers["content-type"].startswith("application/grpc")


@pytest.mark.parametrize("content_type", ["application/grpc+json", "application/grpc+thrift"])
def test_other_codecs_are_not_taken_for_protobuf(raw: Raw, sim: Sim, content_type: str) -> None:
    since = sim.mark()
    reply = raw.ask(CREATE, frame(b'{"model":"sim"}'), content_type=content_type)
    assert reply.http_status == 415 or reply.status not in (OK, -1), reply
    assert sim.mark() == since


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/json", "application/grpcx", "application/x-grpc", None]
)
def test_what_is_no_grpc_goes_where_rest_goes(raw: Raw, content_type: str | None) -> None:
    """The port is REST's as well: a path that REST does not have is not there."""
    reply = raw.ask(CREATE, frame(REQUEST), content_type=content_type)
    assert reply.http_status in (404, 405, 415)
    assert reply.status == -1


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "OPTIONS", "DELETE"])
def test_only_post_is_a_call(raw: Raw, sim: Sim, method: str) -> None:
    since = sim.mark()
    reply = raw.end(raw.begin(CREATE, b"" if method in ("GET", "HEAD") else frame(REQUEST), method=method))
    assert reply.http_status >= 400 or reply.status not in (OK, -1), reply
    assert sim.mark() == since


def test_te_is_asked_for_and_not_insisted_on(raw: Raw) -> None:
    """Some proxies take the field away; the trailers still come."""
    reply = raw.ask(CREATE, frame(REQUEST), without=("te",))
    assert reply.status in (OK, grpc.StatusCode.INVALID_ARGUMENT.value[0])


def test_rest_and_grpc_share_a_connection(raw: Raw) -> None:
    for _ in range(3):
        assert raw.ask(CREATE, frame(REQUEST)).status == OK
        body = {"model": "sim", "max_tokens": 2, "messages": [{"role": "user", "content": "time"}]}
        extra = [("authorization", f"Bearer {raw.key}"), ("content-type", "application/json")]
        rest = raw.answer(raw.open("POST", "/v1/chat/completions", body=json.dumps(body).encode(), extra=extra))
        assert (rest.status, json.loads(rest.body)["usage"]["completion_tokens"]) == (200, 2)
        assert raw.answer(raw.open("GET", "/_health/ready")).status == 200


def test_many_calls_at_once_on_one_connection(raw: Raw) -> None:
    numbers = [
        raw.begin(
            "/penstock.v1.Chat/Stream", frame(REQUEST), more=[("x-sim-tokens", str(1 + at % 7)), ("x-sim-tps", "200")]
        )
        for at in range(100)
    ]
    for at, number in enumerate(numbers):
        reply = raw.end(number)
        assert reply.status == OK
        chunks = [pb.ChatStreamResponse.FromString(message) for _, message in reply.messages]
        text = "".join(choice.delta.content for chunk in chunks for choice in chunk.choices)
        assert len(text.split()) == min(2, 1 + at % 7)


def test_grpc_needs_http_2(port: Gateway) -> None:
    """HTTP/1.1 has no trailers that anybody reads: a client learns that it is wrong here."""
    with port.client() as client:
        answer = client.post(
            CREATE,
            content=frame(REQUEST),
            headers={"content-type": "application/grpc", "te": "trailers", "authorization": f"Bearer {port.admin_key}"},
        )
    assert answer.status_code >= 400 or answer.headers.get("grpc-status") not in (None, "0")


def test_the_granian_door_says_that_it_has_no_grpc(doors: dict[str, Gateway]) -> None:
    with doors["granian"].client() as client:
        answer = client.post(CREATE, content=frame(REQUEST), headers={"content-type": "application/grpc"})
    assert answer.status_code >= 400 or answer.headers.get("grpc-status") == str(UNIMPLEMENTED)


@pytest.mark.parametrize("authority", ["gateway", "gateway:4000", "127.0.0.1", "localhost"])
def test_any_authority_will_do(raw: Raw, authority: str) -> None:
    fields = [("te", "trailers"), ("content-type", "application/grpc"), ("authorization", f"Bearer {raw.key}")]
    number = raw.open("POST", CREATE, body=frame(REQUEST), authority=authority, extra=fields)
    assert raw.end(number).status == OK
