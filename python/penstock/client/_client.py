"""The sync client. Its asyncio twin is `_aio_client`; what is not waiting is shared by both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from penstock.client import _calls as calls
from penstock.client import _messages as pb
from penstock.client._core import Core, Stream
from penstock.client._params import CallOptions, ChatParams, CompletionParams, EmbeddingParams, Input
from penstock.client._session import Session
from penstock.client._settings import DEFAULT_RETRIES, DEFAULT_TARGET, DEFAULT_TIMEOUT_S, Settings

if TYPE_CHECKING:
    from penstock.client._openai import OpenAI


class Client:
    """A connection to a gateway. Safe to use from many threads; make one and keep it.

    A connection has a limited number of calls in flight (the gateway's `max_streams`, 256 unless it is set). What is over
    that waits here, and its timeout runs. Plaintext clients of a process that have the same target and equal options share
    one connection; `channel_options={"grpc.use_local_subchannel_pool": 1}` gives a client its own. TLS clients have that.

    Args:
        target: `grpc://host:port` (plaintext), `grpcs://host:port` (TLS) or `host:port` (plaintext). Without a port it is
            4000, with `grpcs://` 443. Other forms of grpcio are passed on as they are, in plaintext:
            `ipv4:10.0.0.1:4000,10.0.0.2:4000` takes turns.
        api_key: A virtual key; the variable `PENSTOCK_API_KEY` when absent.
        timeout: Seconds for a call with all its retries, unless the call has its own.
        max_retries: How often a call is tried again, unless the call has its own. 0: never.
        compression: Whether requests are compressed (gzip). Answers are where the gateway finds it worth while.
        metadata: Sent with each call. Values are text; bytes for names that end in `-bin`.
        channel_options: Options of grpcio, over the client's own.
        root_certificates: PEM of the authorities that a TLS gateway's certificate may come from; the system's when
            absent.
        client_certificate: PEM of this client's certificate chain and of its key, where the gateway asks for one.

    Raises:
        ConfigurationError: An argument is missing or cannot be used.

    Attributes:
        chat: `create`, `stream` and `session`; see `Chat`.
        completions: `create` and `stream`; see `Completions`.
        embeddings: `create`; see `Embeddings`.
        responses: `create` and `stream`; see `Responses`.
        models: `list` and `get`; see `Models`.
        tokens: `count`; see `Tokens`.
    """

    chat: Chat
    completions: Completions
    embeddings: Embeddings
    responses: Responses
    models: Models
    tokens: Tokens

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        api_key: str | None = None,
        timeout: float = DEFAULT_TIMEOUT_S,
        max_retries: int = DEFAULT_RETRIES,
        compression: bool = False,
        metadata: Mapping[str, str | bytes] | None = None,
        channel_options: Mapping[str, Any] | None = None,
        root_certificates: bytes | None = None,
        client_certificate: tuple[bytes, bytes] | None = None,
    ) -> None:
        settings = Settings(
            target,
            api_key,
            timeout=timeout,
            max_retries=max_retries,
            compression=compression,
            metadata=metadata,
            channel_options=channel_options,
            root_certificates=root_certificates,
            client_certificate=client_certificate,
        )
        self._core = Core(settings)
        self.chat = Chat(self._core)
        self.completions = Completions(self._core)
        self.embeddings = Embeddings(self._core)
        self.responses = Responses(self._core)
        self.models = Models(self._core)
        self.tokens = Tokens(self._core)

    def info(self, **call: Unpack[CallOptions]) -> pb.GatewayInfoResponse:
        """Version, services and limits of the gateway."""
        options = calls.options(self._core.settings, dict(call))
        return self._core.unary(calls.GATEWAY_INFO, pb.GatewayInfoRequest(), options)

    def as_openai(self) -> OpenAI:
        """This client in the call shape of OpenAI's SDK: `client.as_openai().chat.completions.create(...)`.

        It shares the connection: closing it, or leaving its `with` block, closes this client, and the other way round.
        """
        from penstock.client._openai import OpenAI

        return OpenAI(self)

    def close(self) -> None:
        """Cancels what is in flight and closes the connections."""
        self._core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._core.settings!r})"


class _Resource:
    def __init__(self, core: Core) -> None:
        self._core = core

    def _options(self, arguments: dict[str, Any]) -> calls.Options:
        return calls.options(self._core.settings, arguments)


class Chat(_Resource):
    """`client.chat`: chat completions. Arguments are named as in OpenAI's SDK; messages are mappings in OpenAI's shape."""

    def create(self, *, model: str, messages: Iterable[object], **params: Unpack[ChatParams]) -> pb.ChatCreateResponse:
        """The whole answer."""
        arguments: dict[str, Any] = dict(params)
        options = self._options(arguments)
        return self._core.unary(calls.CHAT_CREATE, calls.chat_request(model, messages, arguments), options)

    def stream(
        self, *, model: str, messages: Iterable[object], **params: Unpack[ChatParams]
    ) -> Stream[pb.ChatStreamResponse]:
        """The answer in chunks."""
        arguments: dict[str, Any] = dict(params)
        options = self._options(arguments)
        return self._core.stream(calls.CHAT_STREAM, calls.chat_request(model, messages, arguments), options)

    def session(self) -> Session:
        """Many calls on one stream: less work per call than a stream each."""
        return Session(self._core)


class Completions(_Resource):
    """`client.completions`: text completions."""

    def create(self, *, model: str, prompt: Input, **params: Unpack[CompletionParams]) -> pb.CompletionsCreateResponse:
        """The whole answer."""
        arguments: dict[str, Any] = dict(params)
        options = self._options(arguments)
        request = calls.completion_request(model, prompt, arguments)
        return self._core.unary(calls.COMPLETIONS_CREATE, request, options)

    def stream(
        self, *, model: str, prompt: Input, **params: Unpack[CompletionParams]
    ) -> Stream[pb.CompletionsStreamResponse]:
        """The answer in chunks."""
        arguments: dict[str, Any] = dict(params)
        options = self._options(arguments)
        request = calls.completion_request(model, prompt, arguments)
        return self._core.stream(calls.COMPLETIONS_STREAM, request, options)


class Embeddings(_Resource):
    """`client.embeddings`: vectors of texts."""

    def create(self, *, model: str, input: Input, **params: Unpack[EmbeddingParams]) -> pb.EmbeddingsCreateResponse:
        """One vector per input."""
        arguments: dict[str, Any] = dict(params)
        options = self._options(arguments)
        request = calls.embedding_request(model, input, arguments)
        return self._core.unary(calls.EMBEDDINGS_CREATE, request, options)


class Responses(_Resource):
    """`client.responses`: OpenAI's Responses API, JSON in, JSON out."""

    def create(self, body: Mapping[str, Any] | str, **call: Unpack[CallOptions]) -> pb.ResponsesCreateResponse:
        """The whole response; `body_json` is its JSON text."""
        options = self._options(dict(call))
        return self._core.unary(calls.RESPONSES_CREATE, calls.response_request(body), options)

    def stream(self, body: Mapping[str, Any] | str, **call: Unpack[CallOptions]) -> Stream[pb.ResponsesStreamResponse]:
        """Events; `data_json` is the JSON text of each."""
        options = self._options(dict(call))
        return self._core.stream(calls.RESPONSES_STREAM, calls.response_request(body), options)


class Models(_Resource):
    """`client.models`: what the key may call."""

    def list(self, **call: Unpack[CallOptions]) -> list[pb.Model]:
        """All models."""
        options = self._options(dict(call))
        return [*self._core.unary(calls.MODELS_LIST, pb.ModelsListRequest(), options).models]

    def get(self, id: str, **call: Unpack[CallOptions]) -> pb.Model:
        """One model; `NotFound` when there is none of this name."""
        options = self._options(dict(call))
        return self._core.unary(calls.MODELS_GET, pb.ModelsGetRequest(id=id), options).model


class Tokens(_Resource):
    """`client.tokens`: token counting."""

    def count(
        self,
        *,
        model: str,
        text: str | None = None,
        messages: Iterable[object] | None = None,
        tools: Iterable[object] | None = None,
        **call: Unpack[CallOptions],
    ) -> pb.TokensCountResponse:
        """Input tokens of ``text`` or of ``messages`` with ``tools``, as the gateway counts them for limits."""
        options = self._options(dict(call))
        return self._core.unary(calls.TOKENS_COUNT, calls.count_request(model, text, messages, tools), options)
