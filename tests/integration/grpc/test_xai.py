"""xAI's API beside chat, with the unmodified `xai-sdk`: tokens, models, keys, and how calls fail."""

from __future__ import annotations

import importlib
from typing import Any

import grpc
import pytest

from tests.conftest import Gateway
from tests.integration.grpc.calls import address
from tests.integration.grpc.serving import entry_of
from tests.integration.grpc.xai import async_client, channel, chat, client, failing, received, sdk
from tests.rig import Sim, until

Code = grpc.StatusCode


def _ask(xai: Any, model: str = "sim", **settings: Any) -> Any:
    return xai.chat.create(model, messages=[chat.user("time river that")], **settings)


def _stubs(name: str) -> tuple[Any, Any]:
    """Messages and stubs that the package generated, for services that it has no client for."""
    generated = importlib.import_module("xai_sdk.proto")
    return getattr(generated, f"{name}_pb2"), getattr(generated, f"{name}_pb2_grpc")


def test_localhost_needs_no_option(port: Gateway) -> None:
    host = f"localhost:{address(port).rpartition(':')[2]}"
    with sdk.Client(api_key=port.admin_key, api_host=host, timeout=30) as xai:
        assert _ask(xai, max_tokens=2).sample().content == " time river"


def test_a_text_is_tokens(port: Gateway) -> None:
    text = "antidisestablishmentarianism お誕生日"
    with client(port, port.new_key()) as xai:
        tokens = xai.tokenize.tokenize_text(text=text, model="sim")
        assert [token.token_id for token in tokens][:6] == [493, 129_901, 376, 160_388, 21_203, 2_367]
        assert b"".join(token.token_bytes for token in tokens).decode() == text
        assert "".join(token.string_token for token in tokens[:6]) == "antidisestablishmentarianism"
        with port.client() as rest:
            asked = {"model": "sim", "prompt": text}
            counted = rest.post("/utils/token_counter", headers=port.admin, json=asked).json()["total_tokens"]
        assert len(tokens) == counted
        long = xai.tokenize.tokenize_text(text="water " * 60_000, model="sim")
        assert len(long) == 60_001
        with failing(Code.NOT_FOUND, "`nothing`"):
            xai.tokenize.tokenize_text(text="a", model="nothing")


def test_models_are_those_of_the_key(port: Gateway) -> None:
    with client(port, port.new_key(models=["sim", "claude"])) as xai:
        assert [model.name for model in xai.models.list_language_models()] == ["sim", "claude"]
        model = xai.models.get_language_model("sim")
        # 1 and 2 dollars per million tokens, in 1/100 of a cent.
        assert (model.prompt_text_token_price, model.completion_text_token_price) == (10_000, 20_000)
        assert not xai.models.list_embedding_models()
        assert not xai.models.list_image_generation_models()
        for name in ("wild/x", "nothing"):
            with failing(Code.NOT_FOUND, f"`{name}`"):
                xai.models.get_language_model(name)
        with failing(Code.NOT_FOUND, "`sim`"):
            xai.models.get_embedding_model("sim")


def test_a_key_learns_what_it_may_do(port: Gateway) -> None:
    secret = port.new_key(models=["sim"], key_alias="xai-info")
    with client(port, secret) as xai:
        info = xai.auth.get_api_key_info()
    assert info.name == "xai-info"
    assert list(info.acls) == ["api-key:model:sim", "api-key:endpoint:*"]
    assert info.redacted_api_key == "sk-..."
    assert secret[3:] not in str(info)


@pytest.mark.parametrize("stream", [False, True])
def test_calls_fail_with_the_status_that_says_why(port: Gateway, stream: bool) -> None:
    def run(xai: Any, model: str = "sim") -> None:
        conversation = _ask(xai, model)
        list(conversation.stream()) if stream else conversation.sample()

    with client(port, "sk-wrong") as xai, failing(Code.UNAUTHENTICATED):
        run(xai)
    with client(port, port.new_key(models=["claude"])) as xai, failing(Code.PERMISSION_DENIED, "`sim`"):
        run(xai)
    with client(port) as xai:
        with failing(Code.NOT_FOUND, "`nothing`"):
            run(xai, "nothing")
        with failing(Code.RESOURCE_EXHAUSTED):
            run(xai, "wild/sim/status=429")


def test_a_deadline_ends_the_call_at_the_provider_too(port: Gateway, sim: Sim) -> None:
    since = sim.mark()
    with client(port, seconds=2) as xai, failing(Code.DEADLINE_EXCEEDED):
        _ask(xai, "wild/sim/ttft=20000").sample()
    calls = until(lambda: [entry["call_id"] for entry in sim.ledger(since) if entry["call_id"]], "the call upstream")
    call = calls[-1]
    until(lambda: entry_of(sim, call)["outcome"] == "cut", "the end of the call at the provider")


async def test_an_asyncio_deadline(port: Gateway) -> None:
    async with async_client(port, seconds=0.4) as xai:
        with failing(Code.DEADLINE_EXCEEDED):
            async for _ in _ask(xai, "wild/sim/tps=2,tokens=100").stream():
                pass


def test_a_stream_that_breaks_raises_after_what_had_come(port: Gateway) -> None:
    with client(port, fault="reset_after:3", flush=1) as xai:
        pieces: list[str] = []
        with failing(Code.UNAVAILABLE):
            pieces.extend(chunk.content for _, chunk in _ask(xai).stream())
    assert "".join(pieces) == " time river"


@pytest.mark.parametrize(
    "settings, name",
    [
        ({"store_messages": True}, "store_messages"),
        ({"previous_response_id": "r"}, "previous_response_id"),
        ({"use_encrypted_content": True}, "use_encrypted_content"),
        ({"max_turns": 2}, "max_turns"),
        ({"include": ["inline_citations"]}, "include"),
        ({"agent_count": 4}, "agent_count"),
        ({"tool_choice": chat.chat_pb2.ToolChoice(mode=9)}, "tool_choice.mode"),
        ({"tools": [chat.chat_pb2.Tool(web_search={})]}, "tools[0].web_search"),
        ({"search_parameters": chat.chat_pb2.SearchParameters(mode=3)}, "search_parameters"),
        ({"tools": [chat.chat_pb2.Tool(function={"name": "f", "parameters": "?"})]}, "tools[0].function.parameters"),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_name(
    port: Gateway, sim: Sim, settings: dict[str, Any], name: str
) -> None:
    since = sim.mark()
    with client(port) as xai, failing(Code.INVALID_ARGUMENT, f"{name}: "):
        _ask(xai, **settings).sample()
    assert not [entry for entry in sim.ledger(since) if entry["call_id"]], "the provider was asked all the same"


def test_what_is_not_offered_says_so(port: Gateway) -> None:
    with client(port) as xai:
        with failing(Code.UNIMPLEMENTED, "GetCompletion"):
            _ask(xai).defer()
        with failing(Code.UNIMPLEMENTED, "not stored"):
            xai.chat.get_stored_completion("r")
        with failing(Code.UNIMPLEMENTED, "CompactContext"):
            _ask(xai).compact()
        with failing(Code.UNIMPLEMENTED, "Chat"):
            xai.image.sample("a cat", model="sim")


@pytest.mark.parametrize("stream", [False, True])
def test_text_completions(port: Gateway, sim: Sim, stream: bool) -> None:
    messages, stubs = _stubs("sample")
    request = messages.SampleTextRequest(prompt=["time river that"], model="sim", max_tokens=3, temperature=0.7)
    metadata = [("authorization", f"Bearer {port.new_key()}")]
    with channel(port) as made:
        stub = stubs.SampleStub(made)
        if stream:
            answers = list(stub.SampleTextStreaming(request, metadata=metadata, timeout=30))
        else:
            answers = [stub.SampleText(request, metadata=metadata, timeout=30)]
    expected: dict[str, Any] = {"model": "gpt-sim", "prompt": "time river that", "max_tokens": 3, "temperature": 0.7}
    if stream:
        expected.update(stream=True, stream_options={"include_usage": True})
    assert received(sim) == expected
    assert "".join(choice.text for answer in answers for choice in answer.choices) == " time river that"
    assert answers[-1].usage.total_tokens == 6
    reasons = [choice.finish_reason for answer in answers for choice in answer.choices if choice.finish_reason]
    assert reasons == [messages.REASON_MAX_LEN]


def test_embeddings(port: Gateway, sim: Sim) -> None:
    messages, stubs = _stubs("embed")
    metadata = [("authorization", f"Bearer {port.new_key()}")]
    with channel(port) as made:
        stub = stubs.EmbedderStub(made)
        request = messages.EmbedRequest(input=[{"string": "time"}, {"string": "river"}], model="sim")
        answer = stub.Embed(request, metadata=metadata, timeout=30)
        assert received(sim) == {"model": "gpt-sim", "input": ["time", "river"]}
        request.encoding_format = messages.FORMAT_BASE64
        encoded = stub.Embed(request, metadata=metadata, timeout=30)
    assert [one.index for one in answer.embeddings] == [0, 1]
    assert all(len(one.embeddings[0].float_array) > 8 for one in answer.embeddings)
    assert answer.usage.num_text_embeddings == 2
    assert all(one.embeddings[0].base64_array for one in encoded.embeddings)
