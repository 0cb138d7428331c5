"""What the clients send, and what they give back."""

from __future__ import annotations

import json
import pydoc
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest

import penstock.client
from penstock.client import AnswerMetadata, AsyncClient, Client, ConfigurationError, Unavailable
from penstock.client import _calls as calls
from penstock.client import _messages as pb
from tests.integration.listener.certificates import Authority, needs_openssl
from tests.unit.client.gateway import Gateway, answer

MESSAGES = [{"role": "user", "content": "hi"}]


def test_create_sends_what_was_given_and_no_more(gateway: Gateway, client: Client) -> None:
    gateway.behaviours[calls.CHAT_CREATE.path] = lambda request, context: answer("hello")
    got = client.chat.create(
        model="m",
        messages=MESSAGES,
        temperature=0,
        max_tokens=None,
        request_metadata={"a": "b"},
        extra_body={"top_k": 5},
    )
    assert got.choices[0].message.content == "hello"
    assert got.usage.total_tokens == 3
    (sent,) = gateway.requests
    assert sent.HasField("temperature")
    assert sent.temperature == 0
    assert not sent.HasField("max_tokens")
    assert dict(sent.metadata) == {"a": "b"}
    assert sent.extra["top_k"] == 5
    assert "max_tokens" not in sent.extra


def test_key_and_metadata_and_deadline(gateway: Gateway, client: Client) -> None:
    gateway.behaviours[calls.CHAT_CREATE.path] = lambda request, context: answer("x")
    client.chat.create(model="m", messages=MESSAGES, timeout=3, metadata={"x-team": "blue"})
    assert gateway.metadata[0]["authorization"] == "Bearer sk-test"
    assert gateway.metadata[0]["x-team"] == "blue"
    assert 0 < gateway.remaining[0] < 3.5


def test_default_deadline_is_sent(gateway: Gateway) -> None:
    gateway.behaviours[calls.MODELS_LIST.path] = lambda request, context: pb.ModelsListResponse(models=[{"id": "a"}])
    with Client(gateway.target, api_key="k") as client:
        assert [model.id for model in client.models.list()] == ["a"]
    assert 50 < gateway.remaining[0] < 61


def test_metadata_of_an_answer(gateway: Gateway, client: Client) -> None:
    def behave(request: Any, context: Any) -> pb.ChatCreateResponse:
        context.send_initial_metadata((("x-penstock-call-id", "c1"),))
        context.set_trailing_metadata((("x-penstock-cost-usd", "0.25"),))
        return answer("x")

    gateway.behaviours[calls.CHAT_CREATE.path] = behave
    seen: dict[str, str] = {}
    client.chat.create(model="m", messages=MESSAGES, on_metadata=seen.update)
    assert seen["x-penstock-call-id"] == "c1"
    assert seen["x-penstock-cost-usd"] == "0.25"
    told = AnswerMetadata()
    assert (dict(told), told.call_id, told.cost_usd) == ({}, None, None)
    client.chat.create(model="m", messages=MESSAGES, on_metadata=told)
    assert (told.call_id, told.cost_usd) == ("c1", Decimal("0.25"))
    assert told["x-penstock-call-id"] == "c1"


def test_the_other_methods(gateway: Gateway, client: Client) -> None:
    gateway.behaviours |= {
        calls.EMBEDDINGS_CREATE.path: lambda request, context: pb.EmbeddingsCreateResponse(
            data=[{"index": 0, "embedding": [0.5, 0.25]}]
        ),
        calls.COMPLETIONS_CREATE.path: lambda request, context: pb.CompletionsCreateResponse(
            choices=[{"index": 0, "text": "t"}]
        ),
        calls.RESPONSES_CREATE.path: lambda request, context: pb.ResponsesCreateResponse(body_json=request.body_json),
        calls.MODELS_GET.path: lambda request, context: pb.ModelsGetResponse(model={"id": request.id}),
        calls.TOKENS_COUNT.path: lambda request, context: pb.TokensCountResponse(input_tokens=7),
        calls.GATEWAY_INFO.path: lambda request, context: pb.GatewayInfoResponse(version="1.2.3"),
    }
    assert list(client.embeddings.create(model="e", input=[1, 2]).data[0].embedding) == [0.5, 0.25]
    assert list(gateway.requests[-1].tokens.ids) == [1, 2]
    assert client.completions.create(model="c", prompt=["a", "b"], stop="x").choices[0].text == "t"
    assert gateway.requests[-1].stop.sequence == "x"
    assert json.loads(client.responses.create({"model": "r", "input": "ü"}).body_json) == {"model": "r", "input": "ü"}
    assert client.models.get("z").id == "z"
    assert client.tokens.count(model="m", messages=MESSAGES).input_tokens == 7
    assert gateway.requests[-1].conversation.messages[0].text == "hi"
    assert client.info().version == "1.2.3"
    with pytest.raises(TypeError, match="either"):
        client.tokens.count(model="m")


async def test_the_asyncio_twin(gateway: Gateway, aclient: AsyncClient) -> None:
    gateway.behaviours |= {
        calls.CHAT_CREATE.path: lambda request, context: answer("hello"),
        calls.EMBEDDINGS_CREATE.path: lambda request, context: pb.EmbeddingsCreateResponse(data=[{"embedding": [1.0]}]),
        calls.COMPLETIONS_CREATE.path: lambda request, context: pb.CompletionsCreateResponse(choices=[{"text": "t"}]),
        calls.RESPONSES_CREATE.path: lambda request, context: pb.ResponsesCreateResponse(body_json=request.body_json),
        calls.MODELS_LIST.path: lambda request, context: pb.ModelsListResponse(models=[{"id": "a"}]),
        calls.MODELS_GET.path: lambda request, context: pb.ModelsGetResponse(model={"id": request.id}),
        calls.TOKENS_COUNT.path: lambda request, context: pb.TokensCountResponse(input_tokens=7),
        calls.GATEWAY_INFO.path: lambda request, context: pb.GatewayInfoResponse(version="1.2.3"),
    }
    seen: dict[str, str] = {}
    got = await aclient.chat.create(model="m", messages=MESSAGES, on_metadata=seen.update, timeout=3)
    assert got.choices[0].message.content == "hello"
    assert gateway.metadata[0]["authorization"] == "Bearer sk-test"
    assert 0 < gateway.remaining[0] < 3.5
    assert (await aclient.embeddings.create(model="e", input="x")).data[0].embedding[0] == 1
    assert (await aclient.completions.create(model="c", prompt="x")).choices[0].text == "t"
    assert (await aclient.responses.create('{"model":"r"}')).body_json == '{"model":"r"}'
    assert [model.id for model in await aclient.models.list()] == ["a"]
    assert (await aclient.models.get("z")).id == "z"
    assert (await aclient.tokens.count(model="m", text="x")).input_tokens == 7
    assert (await aclient.info()).version == "1.2.3"


@pytest.mark.parametrize(
    "target, address, secure",
    [
        ("grpc://gateway", "gateway:4000", False),
        ("grpc://gateway:5000/", "gateway:5000", False),
        ("grpcs://gateway", "gateway:443", True),
        ("grpcs://[::1]", "[::1]:443", True),
        ("grpcs://[::1]:8443", "[::1]:8443", True),
        ("grpc://::1", "[::1]:4000", False),
        ("grpc://gateway:", "gateway:4000", False),
        ("127.0.0.1:4000", "127.0.0.1:4000", False),
        ("gateway", "gateway:4000", False),
        ("gateway.example", "gateway.example:4000", False),
        ("10.0.0.1", "10.0.0.1:4000", False),
        ("gateway:5000", "gateway:5000", False),
        ("[::1]", "[::1]:4000", False),
        ("[::1]:5000", "[::1]:5000", False),
        ("::1", "[::1]:4000", False),
        ("fe80::1", "[fe80::1]:4000", False),
        ("dns:gateway", "dns:gateway", False),
        ("dns:///gateway", "dns:///gateway", False),
        ("ipv4:10.0.0.1", "ipv4:10.0.0.1", False),
        ("ipv4:10.0.0.1:4000,10.0.0.2:4000", "ipv4:10.0.0.1:4000,10.0.0.2:4000", False),
        ("ipv6:[::1]", "ipv6:[::1]", False),
        ("ipv6:::1", "ipv6:::1", False),
        ("unix:penstock.sock", "unix:penstock.sock", False),
        ("unix-abstract:penstock", "unix-abstract:penstock", False),
        ("vsock:2:4000", "vsock:2:4000", False),
        ("xds:///gateway", "xds:///gateway", False),
        ("unix:///run/penstock.sock", "unix:///run/penstock.sock", False),
    ],
)
def test_targets(target: str, address: str, secure: bool) -> None:
    from penstock.client._settings import parse_target

    assert parse_target(target) == (address, secure)


@pytest.mark.parametrize(
    "target",
    ["", "https://gateway", "grpc://", "grpc://a/b", "grpcs://user@host", "grpc://a:b", "grpc://[::1]5", "a/b"],
)
def test_targets_that_are_none(target: str) -> None:
    with pytest.raises(ConfigurationError, match="target"):
        Client(target, api_key="k")


def test_key_from_the_environment(monkeypatch: pytest.MonkeyPatch, gateway: Gateway) -> None:
    gateway.behaviours[calls.GATEWAY_INFO.path] = lambda request, context: pb.GatewayInfoResponse()
    monkeypatch.setenv("PENSTOCK_API_KEY", "sk-env")
    with Client(gateway.target) as client:
        client.info()
        assert "sk-env" not in repr(client)
    assert gateway.metadata[0]["authorization"] == "Bearer sk-env"
    monkeypatch.delenv("PENSTOCK_API_KEY")
    with pytest.raises(ConfigurationError, match="PENSTOCK_API_KEY"):
        Client(gateway.target)


@pytest.mark.parametrize(
    "arguments, said",
    [
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": 10**400}, "timeout"),
        ({"timeout": None}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"timeout": "5"}, "timeout"),
        ({"max_retries": -1}, "max_retries"),
        ({"max_retries": None}, "max_retries"),
        ({"max_retries": 1.5}, "max_retries"),
        ({"api_key": "sk\n"}, "line break"),
        ({"api_key": 5}, "api_key"),
        ({"api_key": b"sk"}, "api_key"),
        ({"compression": "gzip"}, "compression"),
        ({"metadata": {"Authorization": "x"}}, "Authorization"),
        ({"metadata": {"authorization": "x"}}, "authorization"),
        ({"metadata": {"grpc-timeout": "1S"}}, "grpc-timeout"),
        ({"metadata": {"connection": "close"}}, "connection"),
        ({"metadata": {"x a": "b"}}, "x a"),
        ({"metadata": {5: "b"}}, "metadata"),
        ({"metadata": {"x-a": "b\nc"}}, "x-a"),
        ({"metadata": {"x-a": "b\u00e9"}}, "x-a"),
        ({"metadata": {"x-a": 5}}, "x-a"),
        ({"metadata": {"x-a": b"b"}}, "x-a"),
        ({"metadata": {"x-bin": "b"}}, "x-bin"),
        ({"metadata": [("x-a", "b")]}, "metadata"),
        ({"channel_options": [("grpc.enable_retries", 1)]}, "channel_options"),
        ({"channel_options": {5: 1}}, "channel_options"),
        ({"channel_options": {"grpc.x": None}}, "grpc.x"),
        ({"channel_options": {"grpc.x": 1.5}}, "grpc.x"),
        ({"channel_options": {"grpc.x": 2**31}}, "grpc.x"),
        ({"root_certificates": "ca.pem"}, "root_certificates"),
        ({"root_certificates": b"/etc/ca.pem"}, "root_certificates"),
        ({"client_certificate": b"ab"}, "client_certificate"),
        ({"client_certificate": (b"-----BEGIN x", "b")}, "client_certificate"),
    ],
)
def test_arguments_that_cannot_be(arguments: dict[str, Any], said: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ConfigurationError, match=said):
            kind("grpc://x", **{"api_key": "k", **arguments})


@pytest.mark.parametrize(
    "arguments, said",
    [
        ({"timeout": "5"}, "timeout"),
        ({"max_retries": -1}, "max_retries"),
        ({"metadata": {"x-a": "b\r\n"}}, "x-a"),
        ({"on_metadata": 5}, "on_metadata"),
    ],
)
def test_arguments_of_a_call_that_cannot_be(
    gateway: Gateway, client: Client, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        client.chat.create(model="m", messages=MESSAGES, **arguments)
    assert gateway.requests == []


def test_values_are_not_repeated_in_errors() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Client("grpc://x", api_key="k", metadata={"x-secret": "hush\n"})
    assert "hush" not in str(caught.value)


def test_metadata_of_all_kinds_arrives(gateway: Gateway) -> None:
    gateway.behaviours[calls.GATEWAY_INFO.path] = lambda request, context: pb.GatewayInfoResponse()
    with Client(gateway.target, api_key="k", metadata={"x-a_b.1": " ~text!"}) as client:
        client.info(metadata={"x-bin": b"\0\xff"})
    assert gateway.metadata[0]["x-a_b.1"].strip() == "~text!"
    assert gateway.metadata[0]["x-bin"] == b"\0\xff"


def _authority(options: list[tuple[str, Any]]) -> Any:
    return dict(options).get("grpc.default_authority")


@pytest.mark.parametrize(
    "target, authority",
    [
        ("unix:///run/penstock.sock", "localhost"),
        ("unix:penstock.sock", "localhost"),
        ("unix-abstract:penstock", "localhost"),
        ("ipv4:10.0.0.1:4000,10.0.0.2:4000", "localhost"),
        ("ipv4:10.0.0.1:4000", None),
        ("dns:gateway:4000", None),
        ("grpc://gateway", None),
        ("gateway:4000", None),
    ],
)
def test_authority_is_one_host(target: str, authority: str | None) -> None:
    with Client(target, api_key="k") as client:
        assert _authority(client._core.settings.options) == authority
    with Client(target, api_key="k", channel_options={"grpc.default_authority": "mine"}) as client:
        assert _authority(client._core.settings.options) == "mine"


def test_several_addresses_are_called(gateway: Gateway) -> None:
    gateway.behaviours[calls.GATEWAY_INFO.path] = lambda request, context: pb.GatewayInfoResponse(version="1")
    with Client(f"ipv4:127.0.0.1:{gateway.port},127.0.0.1:{gateway.port}", api_key="k") as client:
        assert client.info().version == "1"
    assert len(gateway.requests) == 1


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_help_shows_the_calls(kind: type[Client | AsyncClient]) -> None:
    shown = pydoc.plain(pydoc.render_doc(kind))
    module = pydoc.plain(pydoc.render_doc(penstock.client))
    with Client("grpc://x", api_key="k") as client:
        resources = [name for name in vars(client) if not name.startswith("_")]
    assert len(resources) == 6
    for name in resources:
        resource = kind.__annotations__[name]
        assert f"{name}: " in shown
        assert resource in shown
        made = getattr(penstock.client, resource)
        assert f"class {resource}(" in module
        for method in (method for method in vars(made) if not method.startswith("_")):
            assert f" {method}(self" in pydoc.plain(pydoc.render_doc(made))
            assert method in shown


async def test_tls_with_certificates_of_both_sides(tmp_path: Path) -> None:
    needs_openssl()
    authority = Authority(tmp_path)
    certificate, key = (path.read_bytes() for path in authority.issue("server"))
    mine, my_key = (path.read_bytes() for path in authority.issue("client"))
    roots = authority.certificate.read_bytes()
    gateway = Gateway(grpc.ssl_server_credentials([(key, certificate)], roots, require_client_auth=True))
    gateway.behaviours[calls.GATEWAY_INFO.path] = lambda request, context: pb.GatewayInfoResponse(version="1")
    target = gateway.target.replace("grpc://", "grpcs://")
    try:
        with Client(target, api_key="k", root_certificates=roots, client_certificate=(mine, my_key)) as client:
            assert client.info().version == "1"
        async with AsyncClient(target, api_key="k", root_certificates=roots, client_certificate=(mine, my_key)) as twin:
            assert (await twin.info()).version == "1"
        with Client(target, api_key="k", root_certificates=roots, max_retries=0) as client, pytest.raises(Unavailable):
            client.info(timeout=30)
        with Client(target, api_key="k", max_retries=0) as client, pytest.raises(Unavailable):
            client.info(timeout=30)
    finally:
        gateway.stop()
    assert len(gateway.requests) == 2
