"""The official OpenAI SDK: chat completions and legacy completions, whole and streamed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionToolParam
from pydantic import BaseModel

from tests.rig import Sim

MODEL = "openai/gpt-4o"
FIVE = "openai/sim/tokens=5"
"""Ends by itself after five tokens; the helpers raise when an answer was cut by its bound."""
WORDS = " time river that this with"
ASK: list[Any] = [{"role": "user", "content": "one two three"}]
TOOL_ASK: list[Any] = [{"role": "user", "content": "use the tool"}]
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


class Weather(BaseModel):
    """A structured answer."""

    city: str
    degrees: int


def test_a_whole_answer_has_text_finish_and_exact_usage(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=5)
    assert answer.choices[0].message.content == WORDS
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (10, 5, 15)


def test_several_choices_arrive_whole(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=2, n=3)
    assert [choice.message.content for choice in answer.choices] == [" time river", " your will", " else over"]


def test_a_stream_arrives_in_order_and_shows_no_usage_unasked(client: openai.OpenAI) -> None:
    with client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=5, stream=True) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == WORDS
    assert chunks[-1].choices[0].finish_reason == "length"
    assert all("usage" not in chunk.model_fields_set for chunk in chunks)


def test_usage_is_the_last_chunk_when_asked(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL, messages=ASK, max_tokens=5, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 15
    assert all("usage" in chunk.model_fields_set and chunk.usage is None for chunk in chunks[:-1])


def test_the_stream_helper_yields_deltas_and_the_whole(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model=FIVE, messages=ASK) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta" and event.delta]
        final = stream.get_final_completion()
    assert "".join(deltas) == WORDS
    assert len(deltas) == 5
    assert final.choices[0].message.content == WORDS
    assert final.choices[0].finish_reason == "stop"


def test_a_tool_call_has_arguments_of_its_schema(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=TOOL_ASK, tools=[WEATHER])
    calls = answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "tool_calls"
    assert calls is not None
    assert calls[0].type == "function"
    assert calls[0].function.name == "get_weather"
    assert list(json.loads(calls[0].function.arguments)) == ["city"]
    followed: list[Any] = [
        *TOOL_ASK,
        answer.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": calls[0].id, "content": "sunny"},
    ]
    after = client.chat.completions.create(model=MODEL, messages=followed, tools=[WEATHER], max_tokens=2)
    assert after.choices[0].message.content == " time river"


def test_a_streamed_tool_call_adds_up(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model=MODEL, messages=TOOL_ASK, tools=[WEATHER], tool_choice="required"
    ) as stream:
        fragments = [e.arguments_delta for e in stream if e.type == "tool_calls.function.arguments.delta"]
        calls = stream.get_final_completion().choices[0].message.tool_calls
    assert calls is not None
    assert len(fragments) > 1
    assert "".join(fragments) == calls[0].function.arguments
    assert list(json.loads(calls[0].function.arguments)) == ["city"]


def test_streamed_parallel_tool_calls_add_up(client: openai.OpenAI, sim: Sim) -> None:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        value = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        return b"data: " + json.dumps(value).encode() + b"\n\n"

    def part(index: int, text: str, name: str | None = None) -> dict[str, Any]:
        function = {"arguments": text} | ({"name": name} if name else {})
        start = {"id": f"call_{index}", "type": "function"} if name else {}
        return {"tool_calls": [{"index": index, **start, "function": function}]}

    events = [
        chunk({"role": "assistant", "content": None}),
        *(chunk(part(0, text, name)) for text, name in [("", "get_weather"), ('{"city', None), ('":"Rom"}', None)]),
        *(chunk(part(1, text, name)) for text, name in [("", "get_weather"), ('{"ci', None), ('ty":"Oslo"}', None)]),
        chunk({}, "tool_calls"),
        b"data: [DONE]\n\n",
    ]
    sim.record("parallel-tools", b"".join(events), "text/event-stream", split=[len(event) for event in events])
    with client.chat.completions.stream(
        model="openai/replay/parallel-tools", messages=TOOL_ASK, tools=[WEATHER], parallel_tool_calls=True
    ) as stream:
        stream.until_done()
        calls = stream.get_final_completion().choices[0].message.tool_calls
    assert calls is not None
    assert [json.loads(call.function.arguments) for call in calls] == [{"city": "Rom"}, {"city": "Oslo"}]


def test_structured_outputs_parse(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(model=MODEL, messages=ASK, response_format=Weather)
    parsed = answer.choices[0].message.parsed
    assert isinstance(parsed, Weather)
    with client.chat.completions.stream(model=MODEL, messages=ASK, response_format=Weather) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == parsed


def test_raw_and_streaming_responses_carry_the_gateways_headers(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=ASK, max_tokens=1)
    assert raw.parse().choices[0].message.content == " time"
    assert raw.headers["x-penstock-model"] == MODEL
    assert raw.headers["x-penstock-provider"] == "openai"
    assert raw.headers["x-penstock-attempts"] == "1"
    assert float(raw.headers["x-penstock-cost-usd"]) > 0
    assert raw.request_id == raw.headers["x-request-id"]
    with client.chat.completions.with_streaming_response.create(
        model=MODEL, messages=ASK, max_tokens=2, stream=True
    ) as streaming:
        assert streaming.headers["content-type"].startswith("text/event-stream")
        assert streaming.headers["x-penstock-call-id"] != raw.headers["x-penstock-call-id"]
        lines = [line for line in streaming.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"


def test_extra_body_headers_and_query_reach_the_upstream(client: openai.OpenAI, sim: Sim) -> None:
    client.chat.completions.create(
        model=MODEL,
        messages=ASK,
        max_tokens=1,
        extra_body={"guided_choice": ["a"], "nested": {"k": 1}},
        extra_headers={"x-trace-run": "7", "x-unlisted": "no"},
        extra_query={"debug": "1"},
    )
    received = sim.last()
    body = json.loads(received.body)
    assert (body["guided_choice"], body["nested"]) == (["a"], {"k": 1})
    assert received.values("x-trace-run") == ["7"]
    assert received.values("x-unlisted") == []
    assert received.query == "debug=1"


@pytest.mark.parametrize("base", ["", "/v1", "/v1/"])
def test_the_base_url_may_end_with_v1_or_not(client: openai.OpenAI, base: str) -> None:
    root = str(client.base_url).rstrip("/").removesuffix("/v1")
    moved = client.with_options(base_url=root + base)
    assert moved.chat.completions.create(model=MODEL, messages=ASK, max_tokens=1).choices[0].message.content == " time"
    assert "demo" in [model.id for model in moved.models.list()]


def test_legacy_completions_whole_and_streamed(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="openai/gpt-3.5-turbo-instruct", prompt="one two", max_tokens=5)
    assert answer.choices[0].text == WORDS
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 5)
    chunks = list(client.completions.create(model=MODEL, prompt="one two", max_tokens=5, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == WORDS


def test_a_stream_left_early_cancels_the_upstream(client: openai.OpenAI, sim: Sim) -> None:
    stream = client.chat.completions.create(
        model="openai/sim/tps=50,tokens=100000", messages=ASK, stream=True, extra_headers={"x-trace-run": "early"}
    )
    with stream:
        for chunk in stream:
            if chunk.choices[0].delta.content == " time":
                break
    ended = sim.ended(stream.response.headers["x-penstock-call-id"])
    assert ended["outcome"] == "cut"
    assert ended["tokens_sent"] < 1000


async def test_the_asynchronous_client_streams_and_parses(aclient: openai.AsyncOpenAI) -> None:
    stream = await aclient.chat.completions.create(model=MODEL, messages=ASK, max_tokens=5, stream=True)
    async with stream:
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == WORDS
    async with aclient.chat.completions.stream(model=FIVE, messages=ASK) as helped:
        final = await helped.get_final_completion()
    assert final.choices[0].message.content == WORDS
    parsed = await aclient.chat.completions.parse(model=MODEL, messages=ASK, response_format=Weather)
    assert isinstance(parsed.choices[0].message.parsed, Weather)


async def test_parallel_calls_get_their_own_answers(aclient: openai.AsyncOpenAI) -> None:
    async def one(count: int) -> tuple[int, str]:
        model = f"openai/sim/tokens={count},tps=2000"
        stream = await aclient.chat.completions.create(model=model, messages=ASK, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        return count, text

    whole = await aclient.chat.completions.create(model="openai/sim/tokens=32", messages=ASK)
    words = (whole.choices[0].message.content or "").split(" ")[1:]
    answers = await asyncio.gather(*(one(count) for count in range(1, 33)))
    for count, text in answers:
        assert text.split(" ")[1:] == words[:count]
