"""Keyword arguments of the calls, under the names that OpenAI's SDK gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypedDict

MessageLike: TypeAlias = object
"""A mapping in OpenAI's shape, a message of the protocol, or an object of OpenAI's SDK."""
Json: TypeAlias = Mapping[str, Any]
Input: TypeAlias = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]
"""One text, several, one as token ids, several as token ids."""


class CallOptions(TypedDict, total=False):
    """What a call takes besides its request."""

    timeout: float
    """Seconds for the call with all its retries, and for the provider; the client's when absent."""
    max_retries: int
    """The client's when absent."""
    metadata: Mapping[str, str | bytes]
    """Sent with the call, beside the client's. Values are text; bytes for names that end in `-bin`."""
    on_metadata: Callable[[Mapping[str, str]], None]
    """Called once the call has ended well, with the metadata of the answer (`x-penstock-*`, `x-ratelimit-*`)."""


class ChatMembers(TypedDict, total=False):
    """Optional members of a chat request. What is None is not sent."""

    tools: Iterable[Any] | None
    tool_choice: str | Json | None
    parallel_tool_calls: bool | None
    max_tokens: int | None
    max_completion_tokens: int | None
    temperature: float | None
    top_p: float | None
    n: int | None
    stop: str | Sequence[str] | None
    stream_options: Json | None
    reasoning_effort: str | None
    response_format: Json | None
    verbosity: str | None
    seed: int | None
    frequency_penalty: float | None
    presence_penalty: float | None
    logit_bias: Mapping[str, float] | None
    logprobs: bool | None
    top_logprobs: int | None
    modalities: Sequence[str] | None
    audio: Json | None
    prediction: Json | None
    web_search_options: Json | None
    service_tier: str | None
    store: bool | None
    user: str | None
    safety_identifier: str | None
    prompt_cache_key: str | None
    prompt_cache_retention: str | None
    prompt_cache_options: Json | None
    moderation: Json | None
    functions: Iterable[Any] | None
    function_call: str | Json | None
    request_metadata: Mapping[str, str] | None
    """OpenAI's `metadata`: labels for what the provider keeps. (`metadata` is the call's, as everywhere in gRPC.)"""
    extra_body: Json | None
    """Members that are not listed here."""


class ChatParams(CallOptions, ChatMembers, total=False):
    """Keyword arguments of a chat call."""


class SessionParams(ChatMembers, total=False):
    """Keyword arguments of a chat call in a session, which has no metadata of its own and is not tried again."""

    timeout: float
    """Seconds for the call, and for the provider; the client's when absent."""


class CompletionParams(CallOptions, total=False):
    """Optional members of a completion request. What is None is not sent."""

    suffix: str | None
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    n: int | None
    best_of: int | None
    echo: bool | None
    stop: str | Sequence[str] | None
    stream_options: Json | None
    seed: int | None
    frequency_penalty: float | None
    presence_penalty: float | None
    logit_bias: Mapping[str, float] | None
    logprobs: int | None
    user: str | None
    extra_body: Json | None
    """Members that are not listed here."""


class EmbeddingParams(CallOptions, total=False):
    """Optional members of an embeddings request. What is None is not sent."""

    dimensions: int | None
    user: str | None
    encoding_format: str | None
    """In which form the gateway asks the provider; the answer is packed floats either way."""
    extra_body: Json | None
    """Members that are not listed here."""
