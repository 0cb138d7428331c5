"""What the gateway answers by itself: models, token counts, and itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from penstock import __version__
from penstock.client import _calls as methods
from penstock.client import _messages as pb
from penstock.client._json import to_dict
from tests.conftest import Gateway
from tests.faults.accounts import gauge
from tests.integration.grpc import requests
from tests.integration.grpc.calls import Ended, Rpc, dialled
from tests.integration.grpc.frames import Raw, frame
from tests.integration.grpc.protobuf import held
from tests.integration.grpc.serving import CONFIG, configured
from tests.rig import Sim, until

TEXTS = [
    "",
    "hello world",
    "Grüße, 世界! 🦀🦀 \r\n\t  tabs",
    " " * 10_000,
    "a" * 20_000,
    "<|endoftext|>",
    "river " * 50_000,
]


def _rest_models(port: Gateway, key: str, path: str = "/v1/models") -> Any:
    with port.client() as client:
        answer = client.get(path, headers={"authorization": f"Bearer {key}"})
    return answer.json()


@pytest.mark.parametrize("models", [[], ["sim", "claude"], ["wild/*"], ["nothing"]])
def test_models_are_those_of_rest(port: Gateway, models: list[str]) -> None:
    key = port.new_key(models=models)
    expected = _rest_models(port, key)["data"]
    with dialled(port, key) as rpc:
        found = [to_dict(model) for model in rpc.call(methods.MODELS_LIST, pb.ModelsListRequest()).answer.models]
    assert [model["id"] for model in found] == [model["id"] for model in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert {name: ours[name] for name in ours if name in theirs} == {
            name: theirs[name] for name in ours if name in theirs
        }
        assert ours["object"] == "model"


@pytest.mark.parametrize("id", ["sim", "wild/x", "wild/*", "claude", "demo"])
def test_a_model_is_that_of_rest(port: Gateway, rpc: Rpc, id: str) -> None:
    theirs = _rest_models(port, rpc.key, f"/v1/models/{id}")
    ours = to_dict(rpc.call(methods.MODELS_GET, pb.ModelsGetRequest(id=id)).answer.model)
    assert (ours["id"], ours["owned_by"], ours["created"]) == (theirs["id"], theirs["owned_by"], theirs["created"])


@pytest.mark.parametrize("id", ["nowhere", "", "wild", "x" * 5_000, "a\nb"])
def test_a_model_that_is_not_there(rpc: Rpc, id: str) -> None:
    call = rpc.call(methods.MODELS_GET, pb.ModelsGetRequest(id=id))
    assert call.code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
    if id and len(id) < 100:
        assert call.failed == "NOT_FOUND model_not_found"


def test_a_model_of_another_is_not_there(port: Gateway) -> None:
    with dialled(port, port.new_key(models=["claude"])) as rpc:
        assert rpc.call(methods.MODELS_GET, pb.ModelsGetRequest(id="sim")).code is grpc.StatusCode.NOT_FOUND
        call = rpc.call(methods.TOKENS_COUNT, pb.TokensCountRequest(model="sim", text="a"))
        assert call.code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND)


@pytest.mark.parametrize(
    "method", [methods.MODELS_LIST, methods.MODELS_GET, methods.TOKENS_COUNT, methods.GATEWAY_INFO]
)
@pytest.mark.parametrize("key", ["", "sk-unknown"])
def test_a_key_is_needed(port: Gateway, method: Any, key: str) -> None:
    requests = {
        methods.MODELS_LIST.path: pb.ModelsListRequest(),
        methods.MODELS_GET.path: pb.ModelsGetRequest(id="sim"),
        methods.TOKENS_COUNT.path: pb.TokensCountRequest(model="sim", text="a"),
        methods.GATEWAY_INFO.path: pb.GatewayInfoRequest(),
    }
    with dialled(port, key) as rpc:
        call: Ended[Any] = rpc.call(method, requests[method.path])
    assert call.code is grpc.StatusCode.UNAUTHENTICATED
    assert call.details.domain == "penstock"


def _counted(port: Gateway, key: str, **body: Any) -> int:
    with port.client() as client:
        answer = client.post(
            "/utils/token_counter", headers={"authorization": f"Bearer {key}"}, json={"model": "sim", **body}
        )
    assert answer.status_code == 200, answer.text
    return int(answer.json()["total_tokens"])


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_a_text_has_the_tokens_that_rest_counts(port: Gateway, rpc: Rpc, text: str) -> None:
    answer = rpc.call(methods.TOKENS_COUNT, pb.TokensCountRequest(model="sim", text=text)).answer
    assert answer.input_tokens == _counted(port, rpc.key, prompt=text)
    assert answer.model == "gpt-sim"
    assert answer.method != pb.TokensCountMethod.TOKENS_COUNT_METHOD_UNSPECIFIED
    assert answer.encoding


_COUNTABLE = ["text", "empty text", "null content", "characters", "parts", "roles", "tool calls", "tools", "long text"]


@pytest.mark.parametrize("name", _COUNTABLE)
def test_a_conversation_has_the_tokens_that_rest_counts(port: Gateway, rpc: Rpc, name: str) -> None:
    body = requests.CHAT[name]
    request = methods.count_request("sim", None, body["messages"], body.get("tools"))
    answer = rpc.call(methods.TOKENS_COUNT, request).answer
    tools = {"tools": body["tools"]} if "tools" in body else {}
    assert answer.input_tokens == _counted(port, rpc.key, messages=body["messages"], **tools)


def test_counting_is_counting_as_admission_does(port: Gateway) -> None:
    key = port.new_key(tpm_limit=1_000)
    chat = pb.ChatCreateRequest(model="sim", max_tokens=1, messages=[{"role": "user", "text": "Grüße 🦀 hello"}])
    with dialled(port, key) as rpc:
        request = pb.TokensCountRequest(model="sim")
        request.conversation.messages.add(role="user", text="Grüße 🦀 hello")
        counted = rpc.call(methods.TOKENS_COUNT, request).answer.input_tokens
        call = rpc.call(methods.CHAT_CREATE, chat)
    assert 1_000 - int(call.initial["x-ratelimit-remaining-tokens"]) == counted + 1


@pytest.mark.parametrize(
    "request_",
    [
        pb.TokensCountRequest(model="sim"),
        pb.TokensCountRequest(text="a"),
        pb.TokensCountRequest(model="nowhere", text="a"),
    ],
)
def test_what_cannot_be_counted(rpc: Rpc, sim: Sim, request_: pb.TokensCountRequest) -> None:
    since = sim.mark()
    call = rpc.call(methods.TOKENS_COUNT, request_)
    assert call.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
    assert sim.mark() == since


def test_a_conversation_in_pieces_is_one(raw: Raw) -> None:
    """Protobuf merges a message field that comes twice."""
    one, two = (held(1, held(1, "user") + held(2, text)) for text in ("hello there", "and again"))
    path = methods.TOKENS_COUNT.path
    counts = [
        pb.TokensCountResponse.FromString(raw.ask(path, frame(held(1, "sim") + data)).messages[0][1]).input_tokens
        for data in (held(3, one + two), held(3, one) + held(3, two))
    ]
    assert counts[0] == counts[1]


def test_counting_costs_nothing_and_is_no_call(port: Gateway) -> None:
    key = port.new_key(rpm_limit=0, max_budget=0)
    with dialled(port, key) as rpc:
        assert rpc.call(methods.TOKENS_COUNT, pb.TokensCountRequest(model="sim", text="a")).answer.input_tokens == 1


def test_counting_takes_one_of_the_slots_of_calls(start: Callable[..., Gateway]) -> None:
    gateway = start(config=CONFIG + "  limits: {max_parallel_requests: 1}\n")
    long = pb.ChatCreateRequest(model="sim", max_tokens=2_000, messages=[{"role": "user", "text": "time"}])
    count = pb.TokensCountRequest(model="sim", text="a")
    tokenize = "/xai_api.Tokenize/TokenizeText"
    with dialled(gateway, gateway.new_key()) as rpc, Raw(gateway) as raw:
        call = rpc.begin(methods.CHAT_STREAM, long, sim={"tokens": 2_000, "tps": 40})
        next(call)
        refused = rpc.call(methods.TOKENS_COUNT, count)
        assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refused.details.retry_s
        text = frame(held(1, "a") + held(2, "sim"))
        assert raw.ask(tokenize, text).status == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert rpc.call(methods.MODELS_LIST, pb.ModelsListRequest()).ok, "what costs nothing needs no slot"
        call.cancel()
        until(lambda: rpc.call(methods.TOKENS_COUNT, count).code is grpc.StatusCode.OK, "the slot is free")
        assert raw.ask(tokenize, text).status == 0


@pytest.mark.parametrize("path", [methods.TOKENS_COUNT.path, "/xai_api.Tokenize/TokenizeText"])
def test_a_count_that_waits_for_its_turn_ends_with_its_deadline(start: Callable[..., Gateway], path: str) -> None:
    """As many long texts are counted at a time as there are threads."""
    gateway = start(config=configured("{max_body_mb: 8, threads: 1}"))
    model, content = (2, 1) if "xai" in path else (1, 2)
    long = frame(held(1, "sim") + held(2, "".join(chr(0x4E00 + i * 7919 % 20_000) for i in range(1_000_000))))
    with Raw(gateway) as raw, Raw(gateway) as other:
        before = [raw.begin(methods.TOKENS_COUNT.path, long, end=False) for _ in range(4)]
        # All of them are complete at once.
        for number in before:
            raw.write(number, b"")
        late = frame(held(model, "sim") + held(content, "river " * 30_000))
        reply = other.ask(path, late, more=[("grpc-timeout", "150m")])
        assert reply.status == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        assert [raw.end(number).status for number in before] == [0] * 4
        assert other.ask(path, late, more=[("grpc-timeout", "10S")]).status == 0
    until(lambda: gauge(gateway, "penstock_in_flight_requests") == 0, "all slots are free")


def test_the_gateway_tells_what_it_is(rpc: Rpc) -> None:
    info = rpc.call(methods.GATEWAY_INFO, pb.GatewayInfoRequest()).answer
    assert info.version == __version__
    assert {"penstock.v1.Chat", "penstock.v1.Gateway", "grpc.health.v1.Health"} <= set(info.services)
    assert info.state == pb.GatewayState.GATEWAY_STATE_READY
    assert info.max_request_bytes == 2 << 20
    assert list(info.encodings) == ["gzip"]
    assert not info.HasField("max_connection_age")
    assert 0 < info.min_ping_interval.ToSeconds() <= 30
    assert info.max_session_calls == 256


def test_own_answers_may_be_compressed(rpc: Rpc) -> None:
    method: Any = methods.MODELS_LIST
    call: Ended[Any] = rpc.call(method, pb.ModelsListRequest(), compression=grpc.Compression.Gzip)
    assert call.answer.models
