"""The official OpenAI SDK in front of the gateway, and what a client puts together from a stream."""

from __future__ import annotations

from typing import Any

import msgspec
import openai
from openai import Stream
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.conformance.replay.replayer import Replayer


class Collected(msgspec.Struct):
    """What came out of a stream."""

    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, str, str]] = []
    """Id, name and arguments."""
    thinking: list[dict[str, Any]] = []
    fields: dict[str, Any] = {}
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    chunks: list[ChatCompletionChunk] = []

    def as_message(self) -> dict[str, Any]:
        """The assistant's message, as a client sends it back."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None}
        if self.calls:
            message["tool_calls"] = [
                {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
                for id, name, arguments in self.calls
            ]
        if self.thinking:
            message["thinking_blocks"] = self.thinking
        if self.fields:
            message["provider_specific_fields"] = self.fields
        return message


def client(replayer: Replayer) -> openai.OpenAI:
    """The SDK, without retries."""
    return openai.OpenAI(
        base_url=f"{replayer.gateway.url}/v1",
        api_key=replayer.gateway.admin_key,
        max_retries=0,
        timeout=30,
        http_client=openai.DefaultHttpxClient(trust_env=False),
    )


def complete(replayer: Replayer, request: dict[str, Any], headers: dict[str, str]) -> ChatCompletion:
    """A call that is not streamed."""
    with client(replayer) as sdk:
        return sdk.chat.completions.create(
            model=request["model"], messages=request["messages"], extra_body=request, extra_headers=headers
        )


def stream(replayer: Replayer, request: dict[str, Any], headers: dict[str, str]) -> Collected:
    """A streamed call, read to its end."""
    collected = Collected()
    with client(replayer) as sdk:
        found: Stream[ChatCompletionChunk] = sdk.chat.completions.create(
            model=request["model"],
            messages=request["messages"],
            stream=True,
            extra_body=request,
            extra_headers=headers,
        )
        for chunk in found:
            add(collected, chunk)
    return collected


def add(collected: Collected, chunk: ChatCompletionChunk) -> None:
    """One more chunk; fails on what no chunk may be."""
    collected.chunks.append(chunk)
    assert chunk.object == "chat.completion.chunk"
    assert {one.id for one in collected.chunks} == {collected.chunks[0].id}
    if chunk.usage is not None:
        assert collected.usage is None
        assert chunk.choices == []
        collected.usage = chunk.usage.model_dump()
    for choice in chunk.choices:
        assert collected.finish_reason is None, "a choice after the finish reason"
        delta, more = choice.delta, choice.delta.model_extra or {}
        assert (delta.role == "assistant") == (len(collected.chunks) == 1), "the role comes once, and first"
        collected.text += delta.content or ""
        collected.reasoning += more.get("reasoning_content") or ""
        collected.thinking += more.get("thinking_blocks") or []
        collected.fields |= more.get("provider_specific_fields") or {}
        for call in delta.tool_calls or []:
            assert call.function is not None
            if call.index == len(collected.calls):
                assert call.id
                assert call.function.name
                collected.calls.append((call.id, call.function.name, call.function.arguments or ""))
            else:
                id, name, arguments = collected.calls[call.index]
                collected.calls[call.index] = (id, name, arguments + (call.function.arguments or ""))
        collected.finish_reason = choice.finish_reason
