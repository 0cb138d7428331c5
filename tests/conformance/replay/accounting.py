"""What a recorded answer says about usage, read here from the answer alone and without any code of the gateway."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from tests.conformance.replay import recordings


class Tokens(msgspec.Struct, frozen=True):
    """As a usage record has them: `cached` and `cache_write` are part of `prompt`, `reasoning` of `completion`."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _first(*candidates: Any) -> Any:
    return next((value for value in candidates if value is not None), None)


def _places(value: Any) -> list[Any]:
    """Where an answer or an event may hold the usage of the whole call; not that of one of its parts."""
    if not isinstance(value, dict):
        return []
    nested = [value.get("response"), value.get("x_groq")]
    found = [value.get("usage"), *(place.get("usage") for place in nested if isinstance(place, dict))]
    return [usage for usage in found if isinstance(usage, dict)]


def openai(recording: recordings.Recording, body: bytes | None = None) -> Tokens | None:
    """The last usage stated in an answer on OpenAI's wire, in whichever dialect; None without token figures."""
    body = recording.body if body is None else body
    if recording.is_stream:
        stated = [usage for event in recordings.events(body) for usage in _places(event)]
    else:
        try:
            stated = _places(json.loads(body))
        except ValueError:
            stated = []
    return next((tokens for usage in reversed(stated) if (tokens := _openai(usage)) is not None), None)


def _openai(usage: dict[str, Any]) -> Tokens | None:
    prompt = _first(usage.get("prompt_tokens"), usage.get("input_tokens"))
    completion = _number(_first(usage.get("completion_tokens"), usage.get("output_tokens")))
    total = usage.get("total_tokens")
    if prompt is None:
        if total is None:
            return None
        prompt = total - completion
    asked = _first(usage.get("prompt_tokens_details"), usage.get("input_tokens_details")) or {}
    answered = _first(usage.get("completion_tokens_details"), usage.get("output_tokens_details")) or {}
    reasoning = _number(answered.get("reasoning_tokens"))
    if reasoning and total == prompt + completion + reasoning:
        # xAI counts reasoning beside the completion.
        completion += reasoning
    cached = _first(
        asked.get("cached_tokens"),
        # DeepSeek, Together, older Mistral.
        usage.get("prompt_cache_hit_tokens"),
        usage.get("cached_tokens"),
        usage.get("num_cached_tokens"),
    )
    # A part is never more than the whole, although a recorded upstream says so.
    read = min(_number(cached), prompt)
    return Tokens(prompt, completion, read, _number(asked.get("cache_write_tokens")), reasoning)


def anthropic(body: bytes, *, stream: bool) -> Tokens | None:
    """Usage of a Messages answer; None when its final figures are not in it.

    A second `message_start` begins the answer anew. What `message_delta` states replaces what came before, but for a
    zero that restates nothing.
    """
    if not stream:
        usage = json.loads(body).get("usage")
        return _anthropic(usage) if isinstance(usage, dict) else None
    figures: dict[str, Any] = {}
    final = False
    for event in recordings.events(body):
        if event.get("type") == "message_start":
            figures = dict(event["message"].get("usage") or {})
            final = False
        elif event.get("type") == "message_delta":
            stated = event.get("usage") or {}
            figures.update({name: value for name, value in stated.items() if value or name not in figures})
            final = final or "output_tokens" in stated
    return _anthropic(figures) if final else None


def _anthropic(usage: dict[str, Any]) -> Tokens:
    cached, written = _number(usage.get("cache_read_input_tokens")), _number(usage.get("cache_creation_input_tokens"))
    details = usage.get("output_tokens_details") or {}
    return Tokens(
        prompt=_number(usage.get("input_tokens")) + cached + written,
        completion=_number(usage.get("output_tokens")),
        cached=cached,
        cache_write=written,
        reasoning=_number(details.get("thinking_tokens")),
    )
