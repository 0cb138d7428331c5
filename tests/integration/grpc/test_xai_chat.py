"""Chat with the unmodified `xai-sdk`: the provider gets what a REST client would send, the client what it expects."""

from __future__ import annotations

import json
from typing import Any

import pydantic
import pytest

from tests.conftest import Gateway
from tests.integration.grpc.serving import lasting, record_of
from tests.integration.grpc.xai import async_client, call_id, chat, client, received
from tests.rig import Sim

SYSTEM, QUESTION = "time river that", "water house river"
PARAMETERS: dict[str, Any] = {
    "temperature": 0.7,
    "top_p": 0.9,
    "max_tokens": 4,
    "seed": 3,
    "stop": ["zebra"],
    "user": "u",
}
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def _conversation() -> list[Any]:
    return [chat.system(SYSTEM), chat.user(QUESTION)]


def _rest(**fields: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
    return {"model": "sim", "messages": messages, **PARAMETERS, **fields}


@pytest.fixture
def key(port: Gateway) -> str:
    """A key of this test's own."""
    return port.new_key()


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_is_the_call_that_it_is_over_rest(port: Gateway, sim: Sim, key: str, stream: bool) -> None:
    asked = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    with port.client(headers={"authorization": f"Bearer {key}"}) as rest:
        rest.post("/v1/chat/completions", json=_rest(**asked)).raise_for_status()
    by_rest = (received(sim), lasting(record_of(port, call_id(sim))))

    with client(port, key) as xai:
        conversation = xai.chat.create("sim", messages=_conversation(), **PARAMETERS)
        answer = list(conversation.stream())[-1][0] if stream else conversation.sample()
    assert received(sim) == by_rest[0]
    assert lasting(record_of(port, call_id(sim))) == by_rest[1]

    assert answer.content == " time river that this"
    assert (answer.finish_reason, answer.role) == ("REASON_MAX_LEN", "ROLE_ASSISTANT")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (17, 4, 21)
    assert answer.usage.prompt_text_tokens == 17
    # One dollar per million tokens in, two out.
    assert answer.cost_usd == pytest.approx(25e-6, abs=1e-12)
    assert answer.id.startswith("chatcmpl-sim")
    assert answer.created.year > 2024
    assert answer.system_fingerprint == "fp_sim0000001"


@pytest.mark.parametrize("model", ["sim", "claude"])
def test_a_stream_comes_in_pieces_and_ends_with_the_usage(port: Gateway, key: str, model: str) -> None:
    with client(port, key) as xai:
        conversation = xai.chat.create(model, messages=_conversation(), max_tokens=6)
        whole = conversation.sample()
        pieces = [(chunk.content, chunk.proto.usage.total_tokens) for _, chunk in conversation.stream()]
        answer = list(conversation.stream())[-1][0]
    texts = [text for text, _ in pieces if text]
    assert len(texts) == 6
    assert "".join(texts) == whole.content == answer.content
    assert pieces[-1][1] == whole.usage.total_tokens == answer.usage.total_tokens
    assert answer.finish_reason == whole.finish_reason == "REASON_MAX_LEN"


@pytest.mark.filterwarnings("ignore:chat.*_batch will be deprecated:PendingDeprecationWarning")
def test_several_answers(port: Gateway, sim: Sim, key: str) -> None:
    with client(port, key, tokens=3) as xai:
        conversation = xai.chat.create("sim", messages=_conversation())
        whole = [answer.content for answer in conversation.sample_batch(2)]
        assert received(sim)["n"] == 2
        streamed = list(conversation.stream_batch(2))[-1][0]
    assert len(set(whole)) == 2
    assert [answer.content for answer in streamed] == whole
    assert {answer.finish_reason for answer in streamed} == {"REASON_STOP"}


@pytest.mark.parametrize("model", ["sim", "claude"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_answered(port: Gateway, sim: Sim, key: str, stream: bool, model: str) -> None:
    def answer_of(conversation: Any) -> Any:
        return list(conversation.stream())[-1][0] if stream else conversation.sample()

    with client(port, key) as xai:
        conversation = xai.chat.create(
            model, tools=[chat.tool("weather", "Tells it.", WEATHER)], tool_choice=chat.required_tool("weather")
        )
        conversation.append(chat.user("use the tool"))
        answer = answer_of(conversation)
        (call,) = answer.tool_calls
        assert call.function.name == "weather"
        assert "city" in json.loads(call.function.arguments)
        assert answer.finish_reason == "REASON_TOOL_CALLS"
        conversation.append(answer)
        # Without an id: it answers the only call.
        conversation.append(chat.tool_result("sunny"))
        conversation.proto.tool_choice.mode = 1
        assert answer_of(conversation).content
    if model == "sim":
        sent = received(sim)
        assert sent["tools"] == [
            {"type": "function", "function": {"name": "weather", "description": "Tells it.", "parameters": WEATHER}}
        ]
        function = {"name": "weather", "arguments": call.function.arguments}
        assert sent["messages"][1:] == [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": call.id, "type": "function", "function": function}],
            },
            {"role": "tool", "content": "sunny", "tool_call_id": call.id},
        ]


class City(pydantic.BaseModel):
    """What the answer is to be."""

    name: str
    population: int


def test_an_answer_has_the_shape_that_was_asked_for(port: Gateway, sim: Sim, key: str) -> None:
    with client(port, key) as xai:
        answer, city = xai.chat.create("sim", messages=_conversation()).parse(City)
    assert isinstance(city, City)
    assert json.loads(answer.content) == city.model_dump()
    asked = received(sim)["response_format"]
    assert asked == {"type": "json_schema", "json_schema": {"name": "response", "schema": City.model_json_schema()}}


def test_images_and_documents_are_parts(port: Gateway, sim: Sim, key: str) -> None:
    with client(port, key) as xai:
        message = chat.user(
            "what is it?",
            chat.image("https://example.com/a.png", detail="high"),
            chat.image("iVBORw0KGgoAAAANSUhEUg=="),
            chat.file(data=b"%PDF-1.7", filename="a.pdf"),
        )
        xai.chat.create("sim", messages=[message]).sample()
    assert received(sim)["messages"][0]["content"] == [
        {"type": "text", "text": "what is it?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "high"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==", "detail": "auto"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0xLjc=", "filename": "a.pdf"}},
    ]


_MESSAGE: dict[str, Any] = {
    "reasoning_content": "Let me see.",
    "content": "é",
    "annotations": [{"type": "url_citation", "url_citation": {"url": "https://example.com"}}],
}
_LOGPROBS = {"content": [{"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": []}]}
_USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "completion_tokens_details": {"reasoning_tokens": 4},
    "prompt_tokens_details": {"cached_tokens": 8},
}


def _choice(kind: str, finish: str | None = "stop", **members: Any) -> dict[str, Any]:
    return {"index": 0, kind: members, "logprobs": _LOGPROBS if "content" in members else None, "finish_reason": finish}


def _recorded(sim: Sim, stream: bool) -> str:
    """A model that answers with thinking, a citation and log probabilities."""
    head = {"id": "c", "created": 1_700_000_000, "model": "m", "service_tier": "priority"}
    if not stream:
        whole = {**head, "object": "chat.completion", "choices": [_choice("message", **_MESSAGE)], "usage": _USAGE}
        sim.record("xai-whole", json.dumps(whole).encode(), "application/json")
        return "wild/replay/xai-whole"
    choices = [
        _choice("delta", None, role="assistant", reasoning_content="Let me "),
        _choice("delta", None, reasoning_content="see."),
        _choice("delta", None, content=_MESSAGE["content"], annotations=_MESSAGE["annotations"]),
        _choice("delta"),
    ]
    chunks = [{**head, "object": "chat.completion.chunk", "choices": [choice]} for choice in choices]
    chunks.append({**head, "object": "chat.completion.chunk", "choices": [], "usage": _USAGE})
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    sim.record("xai-stream", body.encode(), "text/event-stream")
    return "wild/replay/xai-stream"


@pytest.mark.parametrize("stream", [False, True])
def test_thinking_citations_and_probabilities_have_their_places(
    port: Gateway, sim: Sim, key: str, stream: bool
) -> None:
    with client(port, key) as xai:
        conversation = xai.chat.create(
            _recorded(sim, stream), messages=_conversation(), reasoning_effort="high", logprobs=True, top_logprobs=2
        )
        chunks = list(conversation.stream()) if stream else []
        answer = chunks[-1][0] if stream else conversation.sample()
    sent = received(sim)
    assert (sent["reasoning_effort"], sent["logprobs"], sent["top_logprobs"]) == ("high", True, 2)
    assert (answer.reasoning_content, answer.content) == ("Let me see.", "é")
    assert list(answer.citations) == ["https://example.com"]
    assert answer.service_tier == "priority"
    usage = answer.usage
    assert (usage.completion_tokens, usage.reasoning_tokens, usage.total_tokens) == (1, 4, 15)
    assert usage.cached_prompt_text_tokens == 8
    told = [chunk.proto.outputs[0].logprobs for _, chunk in chunks if chunk.content] or [answer.logprobs]
    (token,) = told[0].content
    assert (token.token, token.logprob, token.bytes) == ("é", -0.5, "é".encode())


async def test_asyncio_chats_and_streams(port: Gateway, key: str) -> None:
    async with async_client(port, key) as xai:
        conversation = xai.chat.create("sim", messages=_conversation(), max_tokens=5)
        whole = await conversation.sample()
        chunks = [chunk async for chunk in conversation.stream()]
        parsed, city = await xai.chat.create("sim", messages=_conversation()).parse(City)
    answer = chunks[-1][0]
    assert (
        "".join(chunk.content for _, chunk in chunks) == whole.content == answer.content == " time river that this with"
    )
    assert answer.usage.total_tokens == whole.usage.total_tokens
    assert json.loads(parsed.content) == city.model_dump()
