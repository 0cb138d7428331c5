"""Metadata both ways: what the gateway and the provider say of a call, and what a client may send."""

from __future__ import annotations

import base64
import re
from typing import Any

import grpc
import pytest

from penstock.client import _calls as methods
from penstock.client import _messages as pb
from tests.conftest import Gateway
from tests.integration.grpc import golden
from tests.integration.grpc.calls import CHAT, Ended, Rpc, dialled
from tests.integration.grpc.frames import Raw, frame
from tests.integration.grpc.serving import record_of, upstream_of
from tests.rig import Sim

REQUEST = pb.ChatCreateRequest(model="sim", max_tokens=3, messages=[{"role": "user", "text": "time"}])
_OURS = (
    "x-penstock-call-id",
    "x-penstock-model",
    "x-penstock-deployment",
    "x-penstock-provider",
    "x-penstock-attempts",
)


@pytest.mark.parametrize("kind", ["chat", "chat stream"])
@pytest.mark.parametrize("model", ["sim", "claude"])
def test_what_rest_says_in_headers_is_metadata(port: Gateway, kind: str, model: str) -> None:
    key = port.new_key(rpm_limit=1_000, tpm_limit=100_000)
    body = {"model": model, "max_tokens": 3, "messages": [CHAT]}
    rest = golden.rest(port, key, kind, body)
    with dialled(port, key) as rpc:
        call: Ended[Any] = rpc.call(golden.ROUTES[kind][1], golden.request_of(kind, body))
    assert call.ok
    names = {name for name in rest.headers if re.match(r"x-(penstock|ratelimit)-", name)}
    assert names - call.metadata.keys() == set()
    assert {f"x-ratelimit-{what}-requests" for what in ("limit", "remaining", "reset")} <= names
    for name in _OURS[1:]:
        assert call.initial[name] == rest.headers[name]
    # What is known before the answer is there before it.
    assert {*_OURS, "x-ratelimit-remaining-tokens", "x-penstock-overhead-us"} <= call.initial.keys()
    remaining = [int(found["x-ratelimit-remaining-requests"]) for found in (rest.headers, call.initial)]
    assert remaining[0] - remaining[1] == 1
    assert call.metadata["x-penstock-cost-usd"] == f"{record_of(port, call.call_id)['spend']:.9f}"
    assert not {"content-length", "transfer-encoding", "content-type"} & call.trailing.keys()


def test_a_call_without_limits_passes_the_provider_s_on(rpc: Rpc) -> None:
    call = rpc.call(methods.CHAT_CREATE, REQUEST)
    assert call.initial["x-ratelimit-limit-requests"] == "10000"


def test_an_error_says_which_call_it_was(port: Gateway, rpc: Rpc) -> None:
    for model, tell in (("nowhere", {}), ("sim", {"status": 500}), ("unreachable", {})):
        call = rpc.call(methods.CHAT_CREATE, pb.ChatCreateRequest(model=model), sim=tell)
        assert call.code is not grpc.StatusCode.OK
        assert record_of(port, call.call_id)["metadata"]["http_status"] == int(call.details.info["status"])


def test_every_call_has_an_id_of_its_own(rpc: Rpc) -> None:
    ids = [rpc.call(methods.CHAT_CREATE, REQUEST).call_id for _ in range(20)]
    assert len(set(ids)) == 20


def test_fields_that_rest_forwards_are_forwarded(rpc: Rpc, sim: Sim) -> None:
    call = rpc.call(methods.CHAT_CREATE, REQUEST, metadata=[("x-trace-a", "1"), ("x-other", "2")])
    received = upstream_of(sim, call.call_id)
    assert received.values("x-trace-a") == ["1"]
    assert received.values("x-other") == []


def test_the_provider_sees_an_ordinary_json_request(rpc: Rpc, sim: Sim) -> None:
    """Nothing of gRPC goes upstream."""
    call = rpc.call(methods.CHAT_CREATE, REQUEST, compression=grpc.Compression.Gzip, timeout=20)
    received = upstream_of(sim, call.call_id)
    names = {name.lower() for name, _ in received.headers}
    assert not {name for name in names if name.startswith("grpc-")} | {"te", "trailer", "trailers"} & names
    assert received.values("content-type") == ["application/json"]
    assert received.values("authorization") == ["Bearer sk-upstream"]
    assert received.values("content-length") == [str(len(received.body))]
    assert received.path == "/v1/chat/completions"


@pytest.mark.parametrize(
    "more",
    [
        [("x-bin-bin", bytes(range(256)))],
        [("x-empty", "")],
        [("x-twice", "1"), ("x-twice", "2")],
        [("x-long", "x" * 6_000)],
        [("x-spaces", "  a  b  ")],
        [("grpc-previous-rpc-attempts", "3")],
    ],
)
def test_metadata_that_nobody_knows_does_no_harm(rpc: Rpc, more: list[tuple[str, str | bytes]]) -> None:
    assert rpc.call(methods.CHAT_CREATE, REQUEST, metadata=more).ok


def test_messages_for_people_are_percent_encoded(raw: Raw) -> None:
    model = 'é 世\n"%41" 🦀'
    reply = raw.ask("/penstock.v1.Chat/Create", frame(pb.ChatCreateRequest(model=model)))
    encoded = reply.headers["grpc-message"]
    assert re.fullmatch(r"(?:[ -$&-~]|%[0-9A-F]{2})*", encoded), encoded
    assert "世" in reply.message
    assert "%41" in reply.message
    assert reply.message == reply.details.message


def test_binary_metadata_has_no_padding_that_a_reader_must_know(raw: Raw) -> None:
    """By the specification servers should leave padding away and must accept it."""
    reply = raw.ask("/penstock.v1.Chat/Create", frame(pb.ChatCreateRequest(model="nowhere")))
    text = reply.headers["grpc-status-details-bin"]
    assert re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", text)
    assert base64.b64decode(text + "=" * (-len(text) % 4))


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded"])
def test_an_address_that_nobody_vouches_for_is_not_believed(port: Gateway, header: str) -> None:
    key = port.new_key(allowed_cidrs=["10.0.0.0/8"])
    value = "10.1.1.1" if header == "x-forwarded-for" else "for=10.1.1.1"
    with dialled(port, key) as rpc:
        call = rpc.call(methods.CHAT_CREATE, REQUEST, metadata=[(header, value)])
    assert call.failed == "PERMISSION_DENIED address_not_allowed"


def test_limits_are_shared_with_rest(port: Gateway) -> None:
    key = port.new_key(rpm_limit=4)
    body = {"model": "sim", "max_tokens": 3, "messages": [CHAT]}
    with dialled(port, key) as rpc:
        for _ in range(2):
            assert golden.rest(port, key, "chat", body).status_code == 200
            assert rpc.call(methods.CHAT_CREATE, REQUEST).ok
        assert golden.rest(port, key, "chat", body).status_code == 429
        assert rpc.call(methods.CHAT_CREATE, REQUEST).failed == "RESOURCE_EXHAUSTED rate_limit_exceeded"


def test_a_budget_is_shared_with_rest(port: Gateway) -> None:
    key = port.new_key(max_budget=0.000_05)
    with dialled(port, key) as rpc:
        codes = [rpc.call(methods.CHAT_CREATE, REQUEST).code.name for _ in range(6)]
    assert codes[0] == "OK"
    assert codes[-1] == "RESOURCE_EXHAUSTED"
    rest = golden.rest(port, key, "chat", {"model": "sim", "max_tokens": 3, "messages": [CHAT]})
    assert rest.json()["error"]["code"] == "budget_exceeded"


_SPOOFED = {
    "grpc-status": "5", "grpc-message": "evil", "grpc-status-details-bin": "AAAA", "grpc-encoding": "snappy",
    "grpc-retry-pushback-ms": "1", "x-thing-bin": "not base64!", "te": "x", "trailer": "grpc-status", "connection": "x-kept",
}  # fmt: skip


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_s_fields_are_never_taken_for_the_call_s_own(rpc: Rpc, sim: Sim, status: int, stream: bool) -> None:
    body, kind = (b'data: {"id":"a","choices":[]}\n\ndata: [DONE]\n\n', "text/event-stream")
    if not stream or status != 200:
        body, kind = (b'{"id":"a","choices":[]}' if status == 200 else b'{"error":{"message":"m"}}', "application/json")
    sim.record("spoofed", body, kind, status=status, headers=_SPOOFED)
    method: Any = methods.CHAT_STREAM if stream else methods.CHAT_CREATE
    call: Ended[Any] = rpc.call(method, REQUEST, sim={"replay": "spoofed"})
    assert call.code is (grpc.StatusCode.OK if status == 200 else grpc.StatusCode.INVALID_ARGUMENT)
    assert call.message == ("" if status == 200 else "m")
    assert call.details.info.get("status", "200") == str(status)
    assert call.metadata.get("grpc-retry-pushback-ms") in (None, "-1")
    assert not {"x-thing-bin", "trailer", "connection", "grpc-encoding"} & call.metadata.keys()


def test_a_head_that_is_too_long_is_refused_and_the_connection_goes_on(rpc: Rpc) -> None:
    call = rpc.call(methods.CHAT_CREATE, REQUEST, metadata=[("x-long", "x" * 70_000)])
    assert call.code is not grpc.StatusCode.OK
    assert rpc.call(methods.CHAT_CREATE, REQUEST).ok
