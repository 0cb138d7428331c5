"""OpenAI's shapes to messages and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("grpc")

from penstock.client import _messages as pb
from penstock.client._json import fill, to_dict

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
FULL: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "s"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": "u", "detail": "low"}},
                {"type": "image_url", "image_url": "https://plain"},
                {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}},
                {"type": "file", "file": {"file_id": "f"}, "prompt_cache_breakpoint": {"mode": "explicit"}},
                {"type": "document", "source": {"x": [1, 2.5, None, True]}},
            ],
            "name": "ann",
        },
        {"role": "assistant", "content": None, "tool_calls": [CALL], "name": None},
        {"role": "assistant", "tool_calls": [{"id": "d", "type": "custom", "custom": {"name": "t", "input": "z"}}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "audio": {"id": "a1"}},
        {"role": "assistant", "content": "t", "reasoning_content": "r", "thinking_blocks": [{"signature": "=="}]},
        {"role": "tool", "tool_call_id": "c", "content": ""},
        {"role": "user", "content": []},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "f",
                "description": "d",
                "parameters": {"type": "object", "properties": {"b": {"maximum": 12345678901234567890}}},
                "strict": True,
            },
        },
        {
            "type": "custom",
            "custom": {"name": "c", "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "d"}}},
        },
        {"type": "web_search_preview", "size": 1},
    ],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "parallel_tool_calls": False,
    "stop": ["a"],
    "temperature": 0,
    "top_p": 0.9,
    "seed": -(2**60),
    "logit_bias": {"5": -100.0},
    "metadata": {"a": "b"},
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": False},
    },
    "prediction": {"type": "content", "content": [{"type": "text", "text": "x"}]},
    "audio": {"voice": {"id": "v"}, "format": "wav"},
    "modalities": ["text", "audio"],
    "function_call": {"name": "q"},
    "functions": [{"name": "q", "parameters": {}}],
    "web_search_options": {"user_location": {"type": "approximate", "approximate": {"city": "Ulm"}}},
    "moderation": {"model": "m", "policy": {"input": {"mode": "block"}, "output": None}},
    "stream_options": {"include_usage": True},
    "prompt_cache_options": {"ttl": "30m"},
    "max_tokens": None,
    "top_k": 3,
}


def test_a_full_request_keeps_everything() -> None:
    message = fill(pb.ChatCreateRequest(), FULL)
    assert to_dict(message) == FULL
    again = pb.ChatCreateRequest.FromString(message.SerializeToString())
    assert to_dict(again) == FULL


def test_unions_go_to_their_fields() -> None:
    message = fill(pb.ChatCreateRequest(), FULL)
    parts = message.messages[1].parts.parts
    assert [part.WhichOneof("part") for part in parts] == ["text", "image_url", None, "input_audio", "file", None]
    assert message.messages[2].WhichOneof("content") == "null_content"
    assert message.messages[3].WhichOneof("content") is None
    assert message.messages[6].WhichOneof("content") == "text"
    assert message.messages[7].WhichOneof("content") == "parts"
    assert [tool.WhichOneof("tool") for tool in message.tools] == ["function", "custom", None]
    assert message.tools[0].function.parameters_json.endswith('{"maximum":12345678901234567890}}}')
    assert message.tool_choice.function.name == "f"
    assert message.audio.voice_id == "v"
    assert set(message.extra.fields) == {"max_tokens", "top_k"}


@pytest.mark.parametrize(
    "name, value",
    [
        ("tool_choice", "auto"),
        ("tool_choice", {"type": "custom", "custom": {"name": "c"}}),
        ("tool_choice", {"type": "web_search", "x": 1}),
        ("tool_choice", {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function"}]}}),
        ("function_call", "none"),
        ("stop", "x"),
        ("stop", []),
        ("seed", 2**63 - 1),
        ("seed", 1.5),
        ("temperature", None),
        ("temperature", "hot"),
        ("n", True),
        ("tools", []),
        ("metadata", {}),
        ("metadata", {"a": 1}),
        ("logit_bias", {"1": 1, "2": -0.5}),
        ("audio", {"voice": "ash"}),
        ("prediction", {"type": "content", "content": "x"}),
    ],
)
def test_one_member(name: str, value: object) -> None:
    request = {"model": "m", "messages": [], name: value}
    assert to_dict(fill(pb.ChatCreateRequest(), request)) == request


@pytest.mark.parametrize("value", ["a", ["a", "b"], [1, 2], [[1], [2, 3]]])
def test_inputs(value: object) -> None:
    assert to_dict(fill(pb.EmbeddingsCreateRequest(), {"model": "m", "input": value})) == {"model": "m", "input": value}
    assert to_dict(fill(pb.CompletionsCreateRequest(), {"model": "m", "prompt": value})) == {
        "model": "m",
        "prompt": value,
    }


def test_an_integer_without_an_exact_place_is_refused() -> None:
    with pytest.raises(ValueError, match=r"top\.k"):
        fill(pb.ChatCreateRequest(), {"model": "m", "messages": [], "top": {"k": 2**53 + 1}})


def test_what_is_no_message_is_refused_by_place() -> None:
    with pytest.raises(TypeError, match=r"messages\[1\]"):
        fill(pb.ChatCreateRequest(), {"model": "m", "messages": [{"role": "user"}, "hi"]})


def test_answers_have_openais_shape() -> None:
    answer = {
        "object": "chat.completion",
        "id": "a",
        "created": 0,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": None, "refusal": None, "tool_calls": [CALL]},
                "finish_reason": "tool_calls",
                "logprobs": {
                    "content": [
                        {
                            "token": "é",
                            "logprob": -0.5,
                            "bytes": [195, 169],
                            "top_logprobs": [{"token": "e", "logprob": -1.0, "bytes": None}],
                        }
                    ]
                },
            }
        ],
        "usage": {"prompt_tokens": 0, "completion_tokens": 2, "total_tokens": 2, "cost": 0.5},
        "moderation": {"input": {"type": "error", "code": "c", "message": "m"}},
        "provider": "x",
    }
    assert to_dict(fill(pb.ChatCreateResponse(), answer)) == answer


@pytest.mark.parametrize(
    "members, payload",
    [
        (["type", "function", "custom"], "function"),
        (["custom", "function", "type"], "function"),
        (["function", "custom"], "function"),
        (["custom", "function"], "custom"),
    ],
)
def test_of_two_payloads_the_one_that_type_names_has_its_field(members: list[str], payload: str) -> None:
    both = {**CALL, "custom": {"name": "", "input": "i"}}
    call = {name: both[name] for name in members}
    message = fill(pb.ToolCall(), call)
    assert message.WhichOneof("payload") == payload
    assert set(message.extra.fields) == {"function", "custom"} - {payload}
    assert to_dict(pb.ToolCall.FromString(message.SerializeToString())) == call
    named = fill(pb.ToolCall(), {**call, "type": "custom"})
    assert (named.WhichOneof("payload"), set(named.extra.fields)) == ("custom", {"function"})
    lone = fill(pb.ToolCall(), {**call, "type": "custom", "custom": None})
    assert (lone.WhichOneof("payload"), set(lone.extra.fields)) == ("function", {"custom"})


def test_completion_logprobs_are_four_arrays() -> None:
    answer = {
        "object": "text_completion", "id": "a", "created": 1, "model": "m",
        "choices": [{"index": 0, "text": "ab", "finish_reason": None, "logprobs": {
            "tokens": ["a", "b"], "token_logprobs": [None, -1.5], "text_offset": [0, 1], "top_logprobs": [None, {"b": -1.5}]}}],
    }  # fmt: skip
    assert to_dict(fill(pb.CompletionsCreateResponse(), answer)) == answer


def test_an_answer_goes_back_as_a_message() -> None:
    answer = pb.AnswerMessage(role="assistant", content="x", reasoning_content="r")
    request = fill(pb.ChatCreateRequest(), {"model": "m", "messages": [answer]})
    assert request.messages[0].text == "x"
    assert request.messages[0].reasoning_content == "r"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.text()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = sorted(set(FULL) - {"messages", "model"})


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(MEMBERS) | st.text(min_size=1), JSON, max_size=4))
def test_any_json_in_any_member_survives(members: dict[str, Any]) -> None:
    request = {
        "model": "m",
        "messages": [],
        **{name: value for name, value in members.items() if name not in ("model", "messages")},
    }
    message = fill(pb.ChatCreateRequest(), request)
    got = to_dict(pb.ChatCreateRequest.FromString(message.SerializeToString()))
    assert _without_added(got, request) == request


def _without_added(got: Any, sent: Any) -> Any:
    """A member that OpenAI requires is written even when it was not sent; then it is empty."""
    if isinstance(got, dict) and isinstance(sent, dict):
        return {name: _without_added(got[name], sent.get(name)) for name in got if name in sent or got[name] != ""}
    if isinstance(got, list) and isinstance(sent, list) and len(got) == len(sent):
        return [_without_added(one, other) for one, other in zip(got, sent, strict=True)]
    return got
