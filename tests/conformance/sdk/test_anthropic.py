"""The official Anthropic SDK against `/v1/messages`, whose upstream speaks the same wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anthropic
import pytest
from anthropic.types import ToolParam

from tests.conftest import Gateway
from tests.rig import ANTHROPIC_KEY, Sim

ASK: list[Any] = [{"role": "user", "content": "one two three"}]
WORDS = " time river that this with"
WEATHER: ToolParam = {
    "name": "get_weather",
    "description": "The weather at a place",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def _text(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


@pytest.mark.parametrize("model", ["demo-claude", "anthropic/claude-sonnet-4-5"])
def test_a_whole_message(claude: anthropic.Anthropic, model: str) -> None:
    message = claude.messages.create(model=model, max_tokens=5, messages=ASK, system="be brief")
    assert _text(message) == WORDS
    assert message.stop_reason == "max_tokens"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (15, 5)


def test_a_stream_and_its_helper(claude: anthropic.Anthropic) -> None:
    events = list(claude.messages.create(model="demo-claude", max_tokens=5, messages=ASK, stream=True))
    assert [events[0].type, events[-1].type] == ["message_start", "message_stop"]
    with claude.messages.stream(model="demo-claude", max_tokens=5, messages=ASK) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert "".join(pieces) == _text(final) == WORDS
    assert len(pieces) == 5
    assert final.usage.output_tokens == 5


@pytest.mark.parametrize("streamed", [False, True])
def test_tools(claude: anthropic.Anthropic, streamed: bool) -> None:
    options: dict[str, Any] = {
        "model": "demo-claude",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "use the tool"}],
        "tools": [WEATHER],
        "tool_choice": {"type": "any"},
    }
    if streamed:
        with claude.messages.stream(**options) as stream:
            message: Any = stream.get_final_message()
    else:
        message = claude.messages.create(**options)
    assert message.stop_reason == "tool_use"
    use = next(block for block in message.content if block.type == "tool_use")
    assert use.name == "get_weather"
    assert list(use.input) == ["city"]
    block = {"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}
    result: Any = {"role": "user", "content": [block]}
    history = [*options["messages"], {"role": "assistant", "content": message.content}]
    answer = claude.messages.create(model="demo-claude", max_tokens=2, tools=[WEATHER], messages=[*history, result])
    assert _text(answer) == " time river"


def test_counting_tokens(claude: anthropic.Anthropic) -> None:
    assert claude.messages.count_tokens(model="demo-claude", messages=ASK).input_tokens == 10


def test_headers_of_the_api_reach_the_provider_and_the_clients_key_does_not(
    claude: anthropic.Anthropic, sim: Sim, door: Gateway
) -> None:
    raw = claude.messages.with_raw_response.create(
        model="anthropic/claude-x", max_tokens=1, messages=ASK, extra_headers={"anthropic-beta": "tools-2024-04-04"}
    )
    assert raw.headers["x-penstock-provider"] == "anthropic"
    assert raw.headers["request-id"]
    received = sim.of(raw.http_response)
    assert received.path == "/v1/messages"
    assert received.values("anthropic-version") == ["2023-06-01"]
    assert received.values("anthropic-beta") == ["tools-2024-04-04"]
    assert received.values("x-api-key") == [ANTHROPIC_KEY]
    assert received.values("authorization") == []
    assert door.admin_key not in str(received)


@pytest.mark.parametrize(
    "status, error",
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (403, anthropic.PermissionDeniedError),
        (404, anthropic.NotFoundError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.InternalServerError),
    ],
)
def test_the_providers_error_keeps_its_class(
    claude: anthropic.Anthropic, status: int, error: type[anthropic.APIStatusError]
) -> None:
    with pytest.raises(error) as caught:
        claude.messages.create(model=f"anthropic/sim/status={status}", max_tokens=5, messages=ASK)
    assert caught.value.status_code == status
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["type"] == "error"


def test_the_gateways_own_refusals_have_anthropics_shape(claude: anthropic.Anthropic, door: Gateway) -> None:
    refusals: list[tuple[Callable[[], Any], type[anthropic.APIStatusError], str]] = [
        (
            lambda: claude.with_options(api_key="sk-unknown").messages.create(
                model="demo-claude", max_tokens=1, messages=ASK
            ),
            anthropic.AuthenticationError,
            "authentication_error",
        ),
        (
            lambda: claude.messages.create(model="nowhere", max_tokens=1, messages=ASK),
            anthropic.NotFoundError,
            "not_found_error",
        ),
        (
            lambda: claude.with_options(api_key=door.new_key(models=["demo"])).messages.create(
                model="demo-claude", max_tokens=1, messages=ASK
            ),
            anthropic.PermissionDeniedError,
            "permission_error",
        ),
    ]
    for call, error, kind in refusals:
        with pytest.raises(error) as caught:
            call()
        body: Any = caught.value.body
        assert (body["type"], body["error"]["type"]) == ("error", kind)


def test_an_openai_deployment_says_that_it_does_not_speak_messages(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        claude.messages.create(model="demo", max_tokens=1, messages=ASK)
    assert "Messages" in str(caught.value)


def test_a_stream_left_early_cancels_the_upstream(claude: anthropic.Anthropic, sim: Sim) -> None:
    with claude.messages.create(
        model="anthropic/sim/tps=50,tokens=100000", max_tokens=100000, messages=ASK, stream=True
    ) as stream:
        next(event for event in stream if event.type == "content_block_delta")
    ended = sim.ended(stream.response.headers["x-penstock-call-id"])
    assert ended["outcome"] == "cut"


async def test_the_asynchronous_client(aclaude: anthropic.AsyncAnthropic) -> None:
    async with aclaude.messages.stream(model="demo-claude", max_tokens=5, messages=ASK) as stream:
        pieces = [piece async for piece in stream.text_stream]
    assert "".join(pieces) == WORDS
