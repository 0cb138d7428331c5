"""Parameters that Anthropic's wire cannot express are refused by name, or dropped where the config says so."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from tests.conformance.replay import chat_sdk
from tests.conformance.replay.replayer import Received, Replayer

_MESSAGE = b'{"id": "m", "content": [{"type": "text", "text": "ok"}], "stop_reason": "end_turn", "usage": {}}'
_USER: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
INEXPRESSIBLE: list[tuple[str, Any]] = [
    ("n", 2),
    ("logprobs", True),
    ("top_logprobs", 3),
    ("seed", 7),
    ("frequency_penalty", 0.5),
    ("presence_penalty", -0.5),
    ("logit_bias", {"50256": -100}),
    ("modalities", ["text", "audio"]),
    ("audio", {"voice": "alloy", "format": "wav"}),
    ("prediction", {"type": "content", "content": "x"}),
    ("functions", [{"name": "f", "parameters": {}}]),
    ("temperature", 1.7),
    ("made_up_by_nobody", {"a": 1}),
]


def _call(replayer: Replayer, model: str = "claude", **fields: Any) -> httpx.Response:
    body = {"model": model, "messages": _USER, **fields}
    return replayer.post("/v1/chat/completions", json.dumps(body).encode(), replayer.put(_MESSAGE, "application/json"))


def _sent(replayer: Replayer, **fields: Any) -> Received:
    answer = _call(replayer, **fields)
    assert answer.status_code == 200, answer.text
    return replayer.received()


@pytest.mark.parametrize("name, value", INEXPRESSIBLE, ids=[name for name, _ in INEXPRESSIBLE])
def test_inexpressible_parameter_is_refused_by_name(replayer: Replayer, name: str, value: Any) -> None:
    before = replayer.simulator.get("/_sim/ledger", params={"limit": 1}).json()["totals"]["requests"]
    answer = _call(replayer, **{name: value})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", name)
    assert replayer.simulator.get("/_sim/ledger", params={"limit": 1}).json()["totals"]["requests"] == before
    record = replayer.usage(answer.headers["x-penstock-call-id"])
    assert (record.outcome, record.status, record.tokens.prompt) == ("error", 400, 0)


@pytest.mark.parametrize("name, value", INEXPRESSIBLE, ids=[name for name, _ in INEXPRESSIBLE])
def test_inexpressible_parameter_is_dropped_where_the_config_says_so(replayer: Replayer, name: str, value: Any) -> None:
    sent = _sent(replayer, model="claude-drops", **{name: value}).json
    if name == "temperature":
        assert sent["temperature"] <= 1
    else:
        assert name not in sent
    assert sent["messages"][-1]["role"] == "user"


def test_openai_sdk_raises_bad_request_for_them(replayer: Replayer) -> None:
    headers = replayer.put(_MESSAGE, "application/json")
    with pytest.raises(openai.BadRequestError) as raised:
        chat_sdk.complete(replayer, {"model": "claude", "messages": _USER, "n": 2}, headers)
    assert raised.value.param == "n"


@pytest.mark.parametrize(
    "name, value", [("n", 1), ("logprobs", False), ("presence_penalty", 0), ("logit_bias", {}), ("seed", None),
                    ("stop", None), ("tools", None), ("user", "u-1"), ("store", False), ("metadata", {"a": "b"})],
)  # fmt: skip
def test_parameter_that_asks_for_nothing_special_is_fine(replayer: Replayer, name: str, value: Any) -> None:
    sent = _sent(replayer, **{name: value}).json
    assert name not in sent or name == "metadata"


@pytest.mark.parametrize(
    "field, value, where, expected",
    [
        ("max_tokens", 77, "max_tokens", 77),
        ("max_completion_tokens", 78, "max_tokens", 78),
        ("stop", "END", "stop_sequences", ["END"]),
        ("stop", ["A", "B"], "stop_sequences", ["A", "B"]),
        ("temperature", 0.25, "temperature", 0.25),
        ("top_p", 0.5, "top_p", 0.5),
        ("stream", True, "stream", True),
        ("top_k", 3, "top_k", 3),
    ],
)
def test_parameter_has_its_counterpart(replayer: Replayer, field: str, value: Any, where: str, expected: Any) -> None:
    assert _sent(replayer, **{field: value}).json[where] == expected


@pytest.mark.parametrize(
    "choice, expected",
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ({"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}),
    ],
)
def test_tools_and_their_choice_have_counterparts(replayer: Replayer, choice: Any, expected: Any) -> None:
    schema = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}
    tool = {"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}}
    sent = _sent(replayer, tools=[tool], tool_choice=choice, parallel_tool_calls=True).json
    assert sent["tools"] == [{"name": "f", "description": "d", "input_schema": schema}]
    assert sent["tool_choice"] == expected


def test_results_of_tools_make_one_user_turn_right_after_the_calls(replayer: Replayer) -> None:
    calls = [
        {"id": f"toolu_{n}", "type": "function", "function": {"name": "f", "arguments": arguments}}
        for n, arguments in enumerate(['{"x": 1}', ""])
    ]
    sent = _sent(
        replayer,
        messages=[
            {"role": "system", "content": "Be brief."},
            *_USER,
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "toolu_0", "content": "zero"},
            {"role": "tool", "tool_call_id": "toolu_1", "content": [{"type": "text", "text": "one"}]},
            {"role": "user", "content": "And?"},
        ],
        tools=[{"type": "function", "function": {"name": "f"}}],
    ).json
    assert [turn["role"] for turn in sent["messages"]] == ["user", "assistant", "user"]
    assert [block["input"] for block in sent["messages"][1]["content"]] == [{"x": 1}, {}]
    results = sent["messages"][2]["content"]
    assert [block["type"] for block in results] == ["tool_result", "tool_result", "text"]
    assert [block["tool_use_id"] for block in results[:2]] == ["toolu_0", "toolu_1"]
    assert [block["text"] for block in sent["system"]] == ["Be brief."]


def test_images_and_documents_have_counterparts(replayer: Replayer) -> None:
    content = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png", "detail": "high"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
    ]
    image, remote, document = _sent(replayer, messages=[{"role": "user", "content": content}]).json["messages"][0][
        "content"
    ]
    assert image["source"] == {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    assert remote["source"] == {"type": "url", "url": "https://example.com/cat.png"}
    assert document["type"] == "document"
    assert document["source"] == {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}


def test_content_that_cannot_be_expressed_is_refused_with_its_path(replayer: Replayer) -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    answer = _call(replayer, messages=[{"role": "user", "content": [{"type": "text", "text": "?"}, sound]}])
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith("messages[0].content[1]")
