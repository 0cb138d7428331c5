"""Requests in OpenAI's JSON, chosen so that every kind of member is in one of them."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
_PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"


def _call(id: str = "call_1", name: str = "weather", arguments: str = '{"city": "Oslo"}', **more: Any) -> Json:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def _said(content: Any, role: str = "user", **more: Any) -> Json:
    return {"messages": [{"role": role, "content": content, **more}]}


def _also(**members: Any) -> Json:
    return {**_said("time river"), **members}


_TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": 'The weather. "Quoted", with a tab\t and an é.',
        # Order, numbers and depth of a schema must survive.
        "parameters": {
            "type": "object",
            "required": ["city"],
            "properties": {
                "city": {"type": "string", "pattern": "^\\w+$"},
                "days": {"type": "integer", "maximum": 12345678901234567890, "default": 1.5e-9},
                "a": {"enum": [None, True, -0.0, "\u2028", {}]},
            },
            "additionalProperties": False,
        },
        "strict": True,
    },
}
_FILE = {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}}

CHAT: dict[str, Json] = {
    "text": _said("time river that"),
    "empty text": _said(""),
    "no content": {"messages": [{"role": "user"}]},
    "null content": {
        "messages": [
            {"role": "user", "content": "time"},
            {"role": "assistant", "content": None, "tool_calls": [_call()]},
            {"role": "tool", "tool_call_id": "call_1", "content": "12"},
        ]
    },
    "empty parts": _said([]),
    "characters": _said('\x00\x01\b\f\n\r\t\x1f\x7f "\\/ </script> é 世界 🦀 \u2028\u2029 \ufeff \U0010ffff e\u0301'),
    "long text": _said("river " * 20_000),
    "parts": _said(
        [
            {"type": "text", "text": "time"},
            {"type": "image_url", "image_url": {"url": _PNG, "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/a?b=c&d=%20"}},
            {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
            _FILE,
            {"type": "file", "file": {"file_id": "file-1"}},
            {"type": "refusal", "refusal": "no"},
        ]
    ),
    "parts with members of their own": _said(
        [
            {"type": "text", "text": "time", "cache_control": {"type": "ephemeral", "ttl": "5m"}},
            {"type": "image_url", "image_url": {"url": _PNG, "detail": "auto", "format": "png"}},
            {"type": "text", "text": "", "prompt_cache_breakpoint": {"mode": "explicit"}},
        ]
    ),
    "parts of a provider": _said(
        [
            {"type": "video_url", "video_url": {"url": "https://example.com/v.mp4"}, "fps": 2},
            {"type": "document", "source": {"x": [1, 2.5, None, True, {"y": []}]}},
            {"type": "image_url", "image_url": "https://example.com/plain"},
            {"type": "text", "text": None},
            {"text": "without a type"},
        ]
    ),
    "roles": {
        "messages": [
            {"role": "developer", "content": "brief", "name": "d"},
            {"role": "system", "content": [{"type": "text", "text": "be"}]},
            {"role": "user", "content": "hi", "name": "ann"},
            {"role": "assistant", "content": "hello", "refusal": None, "audio": None},
            {"role": "function", "content": "1", "name": "f"},
            {"role": "somebody", "content": "else"},
        ]
    },
    "tool calls": {
        "messages": [
            {"role": "user", "content": "how warm?"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    _call(),
                    _call("call_2", arguments="not JSON", extra_content={"google": {"thought_signature": "x=="}}),
                    {"id": "call_3", "type": "custom", "custom": {"name": "c", "input": "free\ntext"}},
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "12"}]},
            {"role": "tool", "tool_call_id": "call_2", "content": ""},
        ]
    },
    "thinking": {
        "messages": [
            {
                "role": "assistant",
                "content": "so",
                "reasoning_content": "hm",
                "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "EqQB=="}],
                "provider_specific_fields": {"a": {"b": [1, {"c": None}]}},
                "annotations": [
                    {
                        "type": "url_citation",
                        "url_citation": {"url": "https://a", "title": "A", "start_index": 0, "end_index": 3},
                    }
                ],
            },
            {"role": "user", "content": "go on"},
        ]
    },
    "audio": {
        "messages": [
            {"role": "assistant", "audio": {"id": "audio_1"}},
            {"role": "user", "content": "again"},
        ],
        "modalities": ["text", "audio"],
        "audio": {"voice": "ash", "format": "mp3"},
    },
    "voice of one's own": _also(audio={"voice": {"id": "voice_1"}, "format": "wav"}, modalities=["audio"]),
    "old functions": {
        "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "y"},
        ],
        "functions": [{"name": "f", "description": "d", "parameters": {"type": "object"}}],
        "function_call": "auto",
    },
    "old function by name": _also(functions=[{"name": "f"}], function_call={"name": "f"}),
    "tools": _also(
        tools=[
            _TOOL,
            {"type": "function", "function": {"name": "bare"}},
            {
                "type": "function",
                "function": {"name": "cached", "parameters": {}},
                "cache_control": {"type": "ephemeral"},
            },
            {"type": "custom", "custom": {"name": "c", "description": "d", "format": {"type": "text"}}},
            {
                "type": "custom",
                "custom": {
                    "name": "g",
                    "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /a+/"}},
                },
            },
        ],
        tool_choice="none",
    ),
    "tools of a provider": _also(tools=[{"type": "web_search_preview", "size": 1}], tool_choice="none"),
    "no tools": _also(tools=[]),
    "parallel": _also(tools=[_TOOL], tool_choice="none", parallel_tool_calls=False),
    "tool choice: function": _also(tools=[_TOOL], tool_choice={"type": "function", "function": {"name": "weather"}}),
    "tool choice: allowed": _also(
        tools=[_TOOL],
        tool_choice={
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "weather"}}]},
        },
    ),
    "tool choice: a provider's": _also(tools=[_TOOL], tool_choice={"type": "none", "x": [1]}),
    "format: text": _also(response_format={"type": "text"}),
    "format: object": _also(response_format={"type": "json_object"}),
    "format: schema": _also(
        response_format={
            "type": "json_schema",
            "json_schema": {
                "name": "answer",
                "description": "d",
                "schema": {"type": "object", "properties": {"z": {"type": "integer"}, "a": {"type": "string"}}},
                "strict": True,
            },
        }
    ),
    "format: a provider's": _also(response_format={"type": "regex", "pattern": "a+", "json_schema": None}),
    "stop: string": _also(stop="nowhere"),
    "stop: empty string": _also(stop=""),
    "stop: array": _also(stop=["nowhere", "else"]),
    "stop: array of one": _also(stop=["nowhere"]),
    "stop: empty array": _also(stop=[]),
    "stop: null": _also(stop=None),
    "logit bias": _also(logit_bias={"50256": -100, "11": 0.5, "7": 0}),
    "no logit bias": _also(logit_bias={}),
    "logprobs": _also(logprobs=True, top_logprobs=0),
    "zeros": _also(temperature=0, top_p=0.0, seed=0, frequency_penalty=0, presence_penalty=-0.0, top_logprobs=0),
    "numbers": _also(
        temperature=0.1, top_p=1e-7, frequency_penalty=-1.9999999999999998, presence_penalty=1e21, seed=-(2**63)
    ),
    "large numbers": _also(
        seed=2**63 - 1, max_completion_tokens=2**31 + 5, extra_a=2**53, extra_b=-(2**53), extra_c=1e300
    ),
    "nulls": _also(temperature=None, max_tokens=None, tools=None, n=None, response_format=None, user=None),
    "wrong types": _also(temperature="hot", metadata={"a": 1}, seed=1.5, modalities="text"),
    "strings": _also(
        user="",
        service_tier="flex",
        reasoning_effort="low",
        verbosity="high",
        safety_identifier="s",
        prompt_cache_key="k",
        prompt_cache_retention="24h",
    ),
    "flags": _also(store=False, parallel_tool_calls=True, logprobs=False),
    "labels": _also(metadata={"b": "2", "a": "1", "": "", "é": "🦀"}),
    "no labels": _also(metadata={}),
    "prediction": _also(prediction={"type": "content", "content": "time"}),
    "prediction in parts": _also(prediction={"type": "content", "content": [{"type": "text", "text": "time"}]}),
    "web search": _also(
        web_search_options={
            "user_location": {
                "type": "approximate",
                "approximate": {"country": "DE", "city": "Ulm", "timezone": "Europe/Berlin"},
            },
            "search_context_size": "low",
        }
    ),
    "empty object": _also(web_search_options={}),
    "caching": _also(prompt_cache_options={"ttl": "30m", "mode": "explicit"}),
    "moderation": _also(moderation={"model": "m", "policy": {"input": {"mode": "block"}, "output": None}}),
    "bounds": _also(max_tokens=7, n=2),
    "members of a provider": _also(
        top_k=3,
        min_p=0.05,
        repetition_penalty=1.1,
        guided_json={"type": "object", "properties": {}},
        thinking={"type": "disabled", "nested": [[], [[]], {}]},
        ünïcode="ß",
        **{"with space": True, 'with "quotes"': None, "": 0},
    ),
}
"""Chat requests without `model`."""

STREAMS: dict[str, Json] = {
    "text": _said("time river that"),
    "usage": _also(stream_options={"include_usage": True}),
    "no usage": _also(stream_options={"include_usage": False, "include_obfuscation": False}),
    "options of a provider": _also(stream_options={"include_usage": True, "continuous_usage_stats": True}),
    "empty options": _also(stream_options={}),
    "null options": _also(stream_options=None),
    "tools": _also(tools=[_TOOL], tool_choice={"type": "function", "function": {"name": "weather"}}),
    "two answers": _also(n=2, stop="nowhere"),
    "schema": CHAT["format: schema"],
}

CLAUDE: dict[str, Json] = {
    name: {**CHAT[name], "max_tokens": 50}
    for name in ("text", "null content", "characters", "tool choice: function", "stop: string", "stop: array")
} | {
    "image": {
        **_said([{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": _PNG}}]),
        "max_tokens": 9,
    },
    "cached": {
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "be", "cache_control": {"type": "ephemeral"}}]},
            {"role": "user", "content": "x"},
        ],
        "max_completion_tokens": 9,
        "temperature": 0.5,
        "top_p": 1,
    },
    "native": _also(max_tokens=2000, thinking={"type": "enabled", "budget_tokens": 1024}, top_k=5),
    "tool": _also(max_tokens=9, tools=[_TOOL], tool_choice="required", parallel_tool_calls=False),
}
"""Chat requests that Anthropic's wire can say."""

EMBEDDINGS: dict[str, Json] = {
    "text": {"input": "time river"},
    "empty text": {"input": ""},
    "texts": {"input": ["time", "", "that é"]},
    "tokens": {"input": [1, 2, 4294967295]},
    "token lists": {"input": [[1, 2], [3]]},
    "all": {
        "input": ["a"],
        "dimensions": 4,
        "user": "u",
        "encoding_format": "float",
        "input_type": "query",
        "task": {"x": [1.5]},
    },
    "base64": {"input": ["a", "b"], "dimensions": 5, "encoding_format": "base64"},
}

COMPLETIONS: dict[str, Json] = {
    "text": {"prompt": "time river"},
    "texts": {"prompt": ["time", "river"]},
    "tokens": {"prompt": [5, 6]},
    "token lists": {"prompt": [[5, 6], [7]]},
    "all": {
        "prompt": "time",
        "suffix": "end",
        "max_tokens": 5,
        "temperature": 0,
        "top_p": 0.5,
        "n": 1,
        "best_of": 1,
        "echo": False,
        "stop": ["nowhere"],
        "seed": 7,
        "frequency_penalty": 0.25,
        "presence_penalty": 0,
        "logit_bias": {"5": 1},
        "user": "u",
        "min_tokens": 2,
    },
    "stop": {"prompt": "time", "stop": "nowhere"},
}

RESPONSES: dict[str, Json] = {
    "text": {"input": "time river"},
    "items": {
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "é 🦀 \u2028"}]}],
        "instructions": None,
        "tools": [{"type": "web_search"}],
        "reasoning": {"effort": "low"},
        "max_output_tokens": 5,
        "metadata": {"big": 12345678901234567890, "small": 1e-300, "zero": -0.0},
    },
}
