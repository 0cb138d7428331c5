"""The calls there are: their paths, their messages, and how arguments become a request.

Shared by the sync and the asyncio client, which add nothing but the waiting.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Generic, NamedTuple, TypeVar

from google.protobuf.message import Message

from penstock.client import _checks as checks
from penstock.client import _messages as pb
from penstock.client._json import fill
from penstock.client._settings import Settings
from penstock.client.errors import ConfigurationError

Request = TypeVar("Request", bound=Message)
Answer = TypeVar("Answer", bound=Message)


class Method(NamedTuple, Generic[Request, Answer]):
    """A method of a service."""

    path: str
    """As HTTP/2 has it."""
    encode: Callable[[Request], bytes]
    """Request to bytes."""
    decode: Callable[[bytes], Answer]
    """Bytes to answer."""


def _method(name: str, request: type[Request], answer: type[Answer]) -> Method[Request, Answer]:
    return Method(f"/penstock.v1.{name}", request.SerializeToString, answer.FromString)


CHAT_CREATE: Final = _method("Chat/Create", pb.ChatCreateRequest, pb.ChatCreateResponse)
CHAT_STREAM: Final = _method("Chat/Stream", pb.ChatCreateRequest, pb.ChatStreamResponse)
CHAT_SESSION: Final = _method("Chat/Session", pb.ChatSessionRequest, pb.ChatSessionResponse)
COMPLETIONS_CREATE: Final = _method("Completions/Create", pb.CompletionsCreateRequest, pb.CompletionsCreateResponse)
COMPLETIONS_STREAM: Final = _method("Completions/Stream", pb.CompletionsCreateRequest, pb.CompletionsStreamResponse)
EMBEDDINGS_CREATE: Final = _method("Embeddings/Create", pb.EmbeddingsCreateRequest, pb.EmbeddingsCreateResponse)
RESPONSES_CREATE: Final = _method("Responses/Create", pb.ResponsesCreateRequest, pb.ResponsesCreateResponse)
RESPONSES_STREAM: Final = _method("Responses/Stream", pb.ResponsesCreateRequest, pb.ResponsesStreamResponse)
MODELS_LIST: Final = _method("Models/List", pb.ModelsListRequest, pb.ModelsListResponse)
MODELS_GET: Final = _method("Models/Get", pb.ModelsGetRequest, pb.ModelsGetResponse)
TOKENS_COUNT: Final = _method("Tokens/Count", pb.TokensCountRequest, pb.TokensCountResponse)
GATEWAY_INFO: Final = _method("Gateway/Info", pb.GatewayInfoRequest, pb.GatewayInfoResponse)


class Options(NamedTuple):
    """What a call takes besides its request, with the client's defaults filled in."""

    timeout: float
    max_retries: int
    metadata: list[tuple[str, str | bytes]]
    on_metadata: Callable[[Mapping[str, str]], None] | None


OPTIONS: Final = Options._fields
"""Their names among the keyword arguments of a call."""


def options(settings: Settings, arguments: dict[str, Any]) -> Options:
    """Takes the options out of a call's keyword arguments. What is None is the client's.

    Raises:
        ConfigurationError: One of them cannot be used.
    """
    given = {name: arguments.pop(name) for name in OPTIONS if name in arguments}
    timeout, retries, told = given.get("timeout"), given.get("max_retries"), given.get("on_metadata")
    return Options(
        settings.timeout if timeout is None else checks.timeout(timeout),
        settings.max_retries if retries is None else checks.max_retries(retries),
        settings.metadata(given.get("metadata")),
        None if told is None else checks.callback(told),
    )


_NOT_IN_SESSIONS: Final = {
    "metadata": (
        "give it to the client, `Client(metadata=...)`, and it goes with each session, or call `chat.stream`; labels for "
        "the provider are `request_metadata`"
    ),
    "on_metadata": "read the call's `metadata` when it has ended",
    "max_retries": "such a call is not tried again; begin another, or call `chat.stream`",
}
"""The options that a session's frames have no place for, and what to do instead."""


def session_timeout(settings: Settings, arguments: dict[str, Any]) -> float:
    """Takes the one option that a session's call has out of its keyword arguments. What is None was not given.

    Raises:
        ConfigurationError: It cannot be used, or another was given.
    """
    for name, instead in _NOT_IN_SESSIONS.items():
        given = arguments.pop(name, None)
        # No retries are what it has.
        if given is not None and (name != "max_retries" or given):
            raise ConfigurationError(f"`{name}` is not an option of a session's call: {instead}.")
    timeout = arguments.pop("timeout", None)
    return settings.timeout if timeout is None else checks.timeout(timeout)


def _body(arguments: Mapping[str, Any], **required: Any) -> dict[str, Any]:
    body = {**required, **{name: value for name, value in arguments.items() if value is not None}}
    extra = body.pop("extra_body", None)
    labels = body.pop("request_metadata", None)
    if labels is not None:
        body["metadata"] = labels
    return {**body, **(extra or {})}


def chat_request(model: str, messages: Iterable[object], arguments: Mapping[str, Any]) -> pb.ChatCreateRequest:
    """A chat request from keyword arguments."""
    return fill(pb.ChatCreateRequest(), _body(arguments, model=model, messages=list(messages)))


def completion_request(model: str, prompt: object, arguments: Mapping[str, Any]) -> pb.CompletionsCreateRequest:
    """A completion request from keyword arguments."""
    return fill(pb.CompletionsCreateRequest(), _body(arguments, model=model, prompt=prompt))


def embedding_request(model: str, texts: object, arguments: Mapping[str, Any]) -> pb.EmbeddingsCreateRequest:
    """An embeddings request from keyword arguments."""
    return fill(pb.EmbeddingsCreateRequest(), _body(arguments, model=model, input=texts))


def response_request(body: Mapping[str, Any] | str) -> pb.ResponsesCreateRequest:
    """A Responses request from its JSON object or text."""
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return pb.ResponsesCreateRequest(body_json=text)


def count_request(
    model: str, text: str | None, messages: Iterable[object] | None, tools: Iterable[object] | None
) -> pb.TokensCountRequest:
    """A token count from either text or messages.

    Raises:
        TypeError: Neither or both were given.
    """
    if (text is None) == (messages is None):
        raise TypeError("give either `text` or `messages`")
    request = pb.TokensCountRequest(model=model)
    if text is not None:
        request.text = text
    else:
        fill(request.conversation, {"messages": list(messages or ()), "tools": list(tools or ())})
    return request
