"""What is asked over gRPC is what is asked over REST."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.bench import rpc, wire
from penstock.bench.asked import Asked
from penstock.bench.load import GrpcOptions, Options
from penstock.bench.settings import Point, Settings, described
from penstock.bench.wire import PAD, UsageError
from penstock.config.env import Environment
from penstock.config.secret import Secret

pytest.importorskip("penstock._core", reason="the extension is not built: `make setup`")
pytest.importorskip("google.protobuf", reason="the client's libraries are not installed")

URL = "grpc://127.0.0.1:4000"
REST = "http://127.0.0.1:4000/v1"


def settings(**given: Any) -> Settings:
    return Asked(**{"url": URL, "model": "m", **given}).settings(Environment({}))


def request_of(message: bytes) -> Any:
    from penstock.client._messages import ChatCreateRequest

    return ChatCreateRequest.FromString(message)


@pytest.mark.parametrize(
    "url, where, endpoint",
    [
        ("grpc://h:1", "grpc://h:1", "http://h:1/penstock.v1.Chat/Create"),
        ("grpc://h", "grpc://h:4000", "http://h:4000/penstock.v1.Chat/Create"),
        ("grpcs://h/", "grpcs://h:443", "https://h:443/penstock.v1.Chat/Create"),
        ("grpc://[::1]:5", "grpc://[::1]:5", "http://[::1]:5/penstock.v1.Chat/Create"),
        ("h:1", "grpc://h:1", "http://h:1/penstock.v1.Chat/Create"),
    ],
)
def test_addresses(url: str, where: str, endpoint: str) -> None:
    assert rpc.is_rpc(url, bare=True)
    assert rpc.address(url) == where
    assert rpc.endpoint(where, stream=False) == endpoint
    assert rpc.endpoint(where, stream=True).endswith("/penstock.v1.Chat/Stream")


@pytest.mark.parametrize(
    "given, names",
    [
        ({"url": "127.0.0.1:4000"}, "grpc://host"),
        ({"url": REST, "grpc": True}, "--grpc"),
        ({"url": "grpc://h/v1"}, "without a path"),
        ({"url": "grpc://"}, "URL"),
        ({"url": "grpc://h:port"}, "URL"),
        ({"url": "grpc://sk-1:x@h:port"}, "URL"),
        ({"url": "grpc://user:sk-1@h:1"}, "--key-file"),
        ({"url": "grpc://h?key=sk-1"}, "URL"),
        ({"surface": "messages"}, "--surface messages"),
        ({"url": f"{REST}/embeddings", "compare": [f"rpc={URL}"]}, "--surface embeddings"),
        ({"compare": [f"rest={REST}/completions"]}, "--surface chat"),
        ({"url": REST, "calls_per_connection": 2}, "--calls-per-connection"),
        ({"calls_per_connection": 2, "connections": "40000"}, "--calls-per-connection: 80,000"),
        ({"insecure": True}, "--insecure"),
        ({"body_bytes": "10"}, "--body-bytes: 10"),
    ],
)
def test_what_does_not_go_together_is_named(given: dict[str, Any], names: str) -> None:
    with pytest.raises(UsageError) as refused:
        settings(**given)
    assert names in str(refused.value)
    assert "sk-1" not in str(refused.value)


def test_a_call_is_the_rest_request_in_another_form() -> None:
    made = settings(stream=True, compare=[f"rest={REST}"], key="sk-k", header=["X-Team: a"], prompt_tokens=9)
    of_rpc, of_rest = (made.options(target, made.points[0]) for target in made.targets)
    assert (of_rpc.url, of_rpc.body) == ("http://127.0.0.1:4000/penstock.v1.Chat/Stream", "")
    assert of_rpc.headers == [("authorization", "Bearer sk-k"), ("x-team", "a")]
    assert of_rpc.grpc is not None
    assert of_rest.grpc is None
    from penstock.client import to_dict

    asked = json.loads(of_rest.body)
    assert asked.pop("stream") is True
    assert to_dict(request_of(of_rpc.grpc.message)) == asked
    assert described(made)["protocols"] == ["gRPC", "HTTP/1.1"]


def test_rest_beside_it_has_as_many_requests_at_a_time() -> None:
    made = settings(connections="2,4", calls_per_connection=16, threads=2, compare=[f"rest={REST}"])
    assert made.points == [Point(2, calls=16), Point(4, calls=16)]
    assert made.points[0].label == "2 connections, 16 calls on each"
    assert made.points[0].slug == "c2-m16"
    of_rpc, of_rest = (made.options(target, made.points[0]) for target in made.targets)
    assert of_rpc.grpc is not None
    assert (of_rpc.connections, of_rpc.grpc.calls_per_connection) == (2, 16)
    assert (of_rest.connections, of_rest.threads) == (32, 2)
    assert made.warmups(made.points[0]) == 64


def test_bare_addresses_are_grpc_when_asked() -> None:
    made = settings(url="127.0.0.1:4000", grpc=True, compare=["other=127.0.0.1:5000", f"rest={REST}"])
    assert [target.url for target in made.targets] == [
        "grpc://127.0.0.1:4000",
        "grpc://127.0.0.1:5000",
        f"{REST}/chat/completions",
    ]
    assert [target.is_rpc for target in made.targets] == [True, True, False]


def test_tls_options_reach_the_secure_ones_only() -> None:
    made = settings(url="grpcs://h", insecure=True, compare=[f"plain={URL}"])
    assert [made.options(target, made.points[0]).insecure for target in made.targets] == [True, False]


@pytest.mark.parametrize("size", [60, 127, 128, 129, 130, 131, 200, 16_500, 100_000])
def test_a_message_has_the_size_that_was_asked_for(size: int) -> None:
    body = wire.body("chat", model="m", text=PAD, stream=False, max_tokens=7)
    message = rpc.message(body, size)
    # Each of two lengths may grow by a byte where a letter does not fit any more.
    assert size - 2 <= len(message) <= size
    text = request_of(message).messages[0].text
    assert text == wire.prose_of(len(text))
    assert len(rpc.message(body.replace(PAD, text + "x"), None)) > size


def test_filler_is_that_of_the_load_generator() -> None:
    assert wire.prose_of(0) == ""
    assert wire.prose_of(70) == "water falls through the gate and turns the wheel below the dam water f"


def test_a_body_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "body.json"
    path.write_text('{"model": "own", "messages": [], "stream": true, "x_top": 1}', encoding="utf-8")
    made = settings(model=None, body=path)
    options = made.options(made.targets[0], made.points[0])
    assert options.stream is not None
    assert isinstance(options.grpc, GrpcOptions)
    said = request_of(options.grpc.message)
    assert (said.model, said.extra["x_top"]) == ("own", 1)
    assert "stream" not in said.extra
    path.write_text('{"model": "own", "messages": [], "x_top": 9007199254740993}', encoding="utf-8")
    with pytest.raises(UsageError, match="--body: cannot be sent over gRPC"):
        settings(model=None, body=path)


def test_without_the_clients_libraries_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "penstock.client", None)
    for name in [name for name in sys.modules if name.startswith("penstock.client.")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=r"--grpc: .* pip install 'penstock\[client\]'"):
        settings()


def test_a_key_becomes_metadata() -> None:
    assert rpc.metadata(None) == []
    assert rpc.metadata(Secret("sk-1")) == [("authorization", "Bearer sk-1")]
    assert isinstance(settings().options(settings().targets[0], Point(1)), Options)
