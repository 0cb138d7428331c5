"""The asyncio client, twin of `_client`: the same calls, awaited."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from penstock.client import _calls as calls
from penstock.client import _messages as pb
from penstock.client._aio_core import AsyncCore, AsyncStream
from penstock.client._aio_session import AsyncSession
from penstock.client._params import CallOptions, ChatParams, CompletionParams, EmbeddingParams, Input
from penstock.client._settings import DEFAULT_RETRIES, DEFAULT_TARGET, DEFAULT_TIMEOUT_S, Settings

if TYPE_CHECKING:
    from penstock.client._openai import AsyncOpenAI


class AsyncClient:
    """A connection to a gateway. Belongs to the event loop of its first call; make one and keep it.

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
        chat: `create`, `stream` and `session`; see `AsyncChat`.
        completions: `create` and `stream`; see `AsyncCompletions`.
        embeddings: `create`; see `AsyncEmbeddings`.
        responses: `create` and `stream`; see `AsyncResponses`.
        models: `list` and `get`; see `AsyncModels`.
        tokens: `count`; see `AsyncTokens`.
    """

    chat: AsyncChat
    completions: AsyncCompletions
    embeddings: AsyncEmbeddings
    responses: AsyncResponses
    models: AsyncModels
    tokens: AsyncTokens

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
        self._core = AsyncCore(settings)
        self.chat = AsyncChat(self._core)
        self.completions = AsyncCompletions(self._core)
        self.embeddings = AsyncEmbeddings(self._core)
        self.responses = AsyncResponses(self._core)
        self.models = AsyncModels(self._core)
        self.tokens = AsyncTokens(self._core)

    async def info(self, **call: Unpack[CallOptions]) -> pb.GatewayInfoResponse:
        """Version, services and limits of the gateway."""
        options = calls.options(self._core.settings, dict(call))
        return await self._core.unary(calls.GATEWAY_INFO, pb.GatewayInfoRequest(), options)

    def as_openai(self) -> AsyncOpenAI:
        """This client in the call shape of OpenAI's SDK: `await client.as_openai().chat.completions.create(...)`.

        It shares the connection: closing it, or leaving its `async with` block, closes this client, and the other way round.
        """
        from penstock.client._openai import AsyncOpenAI

        return AsyncOpenAI(self)

    async def close(self) -> None:
        """Cancels what is in flight and closes the connections."""
        await self._core.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self._core.settings!r})"


class _Resource:
    def __init__(self, core: AsyncCore) -> None:
        self._core = core

    def _options(self, arguments: dict[str, Any]) -> calls.Options:
        return calls.options(self._core.settings, arguments)


class AsyncChat(_Resource):
    """`client.chat`: chat completions. Arguments are named as in OpenAI's SDK; messages are mappings in OpenAI's shape."""

    async def create(
        self, *, model: str, messages: Iterable[object], **params: Unpack[ChatParams]
    ) -> pb.ChatCreateResponse:
        """The whole answer."""
        arguments: dict[str, Any] = dict(params)
        options = self._options(arguments)
        return await self._core.unary(calls.CHAT_CREATE, calls.chat_request(model, messages, arguments), options)

    def stream(
        self, *, model: str, messages: Iterable[object], **params: Unpack[ChatParams]
    ) -> AsyncStream[pb.ChatStreamResponse]:
        """The answer in chunks."""
        arguments: dict[str, Any] = dict(params)
        options = self._options(arguments)
        return self._core.stream(calls.CHAT_STREAM, calls.chat_request(model, messages, arguments), options)

    def session(self) -> AsyncSession:
        """Many calls on one stream: less work per call than a stream each."""
        return AsyncSession(self._core)


class AsyncCompletions(_Resource):
    """`client.completions`: text completions."""

    async def create(
        self, *, model: str, prompt: Input, **params: Unpack[CompletionParams]
    ) -> pb.CompletionsCreateResponse:
        """The whole answer."""
        arguments: dict[str, Any] = dict(params)
        options = self._options(arguments)
        request = calls.completion_request(model, prompt, arguments)
        return await self._core.unary(calls.COMPLETIONS_CREATE, request, options)

    def stream(
        self, *, model: str, prompt: Input, **params: Unpack[CompletionParams]
    ) -> AsyncStream[pb.CompletionsStreamResponse]:
        """The answer in chunks."""
        arguments: dict[str, Any] = dict(params)
        options = self._options(arguments)
        request = calls.completion_request(model, prompt, arguments)
        return self._core.stream(calls.COMPLETIONS_STREAM, request, options)


class AsyncEmbeddings(_Resource):
    """`client.embeddings`: vectors of texts."""

    async def create(
        self, *, model: str, input: Input, **params: Unpack[EmbeddingParams]
    ) -> pb.EmbeddingsCreateResponse:
        """One vector per input."""
        arguments: dict[str, Any] = dict(params)
        options = self._options(arguments)
        request = calls.embedding_request(model, input, arguments)
        return await self._core.unary(calls.EMBEDDINGS_CREATE, request, options)


class AsyncResponses(_Resource):
    """`client.responses`: OpenAI's Responses API, JSON in, JSON out."""

    async def create(self, body: Mapping[str, Any] | str, **call: Unpack[CallOptions]) -> pb.ResponsesCreateResponse:
        """The whole response; `body_json` is its JSON text."""
        options = self._options(dict(call))
        return await self._core.unary(calls.RESPONSES_CREATE, calls.response_request(body), options)

    def stream(
        self, body: Mapping[str, Any] | str, **call: Unpack[CallOptions]
    ) -> AsyncStream[pb.ResponsesStreamResponse]:
        """Events; `data_json` is the JSON text of each."""
        options = self._options(dict(call))
        return self._core.stream(calls.RESPONSES_STREAM, calls.response_request(body), options)


class AsyncModels(_Resource):
    """`client.models`: what the key may call."""

    async def list(self, **call: Unpack[CallOptions]) -> list[pb.Model]:
        """All models."""
        options = self._options(dict(call))
        return [*(await self._core.unary(calls.MODELS_LIST, pb.ModelsListRequest(), options)).models]

    async def get(self, id: str, **call: Unpack[CallOptions]) -> pb.Model:
        """One model; `NotFound` when there is none of this name."""
        options = self._options(dict(call))
        return (await self._core.unary(calls.MODELS_GET, pb.ModelsGetRequest(id=id), options)).model


class AsyncTokens(_Resource):
    """`client.tokens`: token counting."""

    async def count(
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
        return await self._core.unary(calls.TOKENS_COUNT, calls.count_request(model, text, messages, tools), options)
