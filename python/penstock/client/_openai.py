"""The clients in the call shape of OpenAI's SDK, so that moving an application is a few lines.

    client = penstock.client.Client("grpc://gateway:4000").as_openai()
    client.chat.completions.create(model="gpt-4o", messages=[...], stream=True)

Answers are read as that SDK's are: attributes, None for what is absent, `model_dump()`. Errors are this client's own;
they carry the same `status_code`, `code`, `param`, `type` and `message`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from google.protobuf.message import Message

from penstock.client import _messages as pb
from penstock.client._calls import OPTIONS
from penstock.client._json import absent, to_dict

if TYPE_CHECKING:
    from penstock.client._aio_client import AsyncClient
    from penstock.client._aio_core import AsyncStream
    from penstock.client._client import Client
    from penstock.client._core import Stream

T = TypeVar("T", bound=Message)


class Object:
    """A JSON object read by attributes."""

    __slots__ = ("_data", "_known")

    def __init__(self, data: Mapping[str, Any], known: frozenset[str] = frozenset()) -> None:
        self._data = data
        self._known = known

    def __getattr__(self, name: str) -> Any:
        try:
            return self._data[name]
        except KeyError:
            if name in self._known:
                return None
            raise AttributeError(name) from None

    def __getitem__(self, name: str) -> Any:
        return self._data[name]

    def __contains__(self, name: object) -> bool:
        return name in self._data

    def __iter__(self) -> Iterator[Any]:
        """Names and values, as that SDK's objects give them."""
        return iter(self._data.items())

    def __reduce__(self) -> tuple[Any, ...]:
        # Without it copies are made empty first, and `__getattr__` has nothing to look in.
        return type(self), (self._data, self._known)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Object) and self.model_dump() == other.model_dump()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Object({self.model_dump()!r})"

    def model_dump(self, *, exclude_unset: bool = True, exclude_none: bool = False) -> dict[str, Any]:
        """As a dictionary in OpenAI's JSON shape. ``exclude_unset`` is always so; it is here for callers that say it."""
        plain = {name: _dump(value) for name, value in self._data.items()}
        return _without_none(plain) if exclude_none else plain

    to_dict = model_dump

    def model_dump_json(self, *, indent: int | None = None) -> str:
        """As JSON text."""
        return json.dumps(self.model_dump(), ensure_ascii=False, indent=indent)


class Page(Object):
    """A list of everything there is; iterating gives its `data`."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._data["data"])

    async def __aiter__(self) -> AsyncIterator[Any]:
        for item in self._data["data"]:
            yield item


class AsyncPages:
    """A list that is asked for when it is awaited or iterated, as that SDK's asyncio client has it."""

    def __init__(self, ask: Callable[[], Awaitable[Page]]) -> None:
        self._ask = ask

    def __await__(self) -> Generator[Any, None, Page]:
        return self._ask().__await__()

    async def __aiter__(self) -> AsyncIterator[Any]:
        for item in await self._ask():
            yield item


class Response(Object):
    """An object of the Responses API."""

    __slots__ = ()

    @property
    def output_text(self) -> str:
        """All its texts; empty when it has none."""
        items = (item for item in self._data.get("output") or () if _member(item, "type") == "message")
        parts = (part for item in items for part in _member(item, "content") or ())
        return "".join(_member(part, "text") or "" for part in parts if _member(part, "type") == "output_text")


def _member(value: Any, name: str) -> Any:
    return value[name] if isinstance(value, Object) and name in value else None


def _dump(value: Any) -> Any:
    if isinstance(value, Object):
        return value.model_dump()
    return [_dump(item) for item in value] if isinstance(value, list) else value


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(item) for name, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def view(message: Message) -> Object:
    """An answer as OpenAI's SDK would show it."""
    data = to_dict(message)
    for field in message.DESCRIPTOR.fields:
        name = field.name
        # A member that is null here is so by the rule or by `extra`: the field itself is not set.
        if data.get(name) is None or not field.message_type or name == "extra":
            continue
        value = getattr(message, name)
        if not (message.HasField(name) if field.has_presence else value):
            # It does not fit its field, or its place is taken, and so came in `extra`.
            data[name] = _shown(data[name])
        elif isinstance(data[name], list):
            data[name] = [view(item) if isinstance(item, Message) else item for item in value]
        elif isinstance(value, Message):
            data[name] = view(value)
    return Object(data, frozenset(absent(message)))


def _shown(value: Any) -> Any:
    """Plain JSON as an answer's own objects are shown."""
    if isinstance(value, dict):
        return Object({name: _shown(item) for name, item in value.items()})
    return [_shown(item) for item in value] if isinstance(value, list) else value


def parse(text: str) -> Any:
    """JSON text as OpenAI's SDK would show it."""
    return json.loads(text, object_hook=_object)


def _object(data: dict[str, Any]) -> Object:
    return Response(data) if data.get("object") == "response" else Object(data)


def _arguments(given: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Renames what the SDK calls otherwise; the second value is `stream`."""
    stream = bool(given.pop("stream", False))
    arguments = {name: value for name, value in given.items() if value is not None and not _is_not_given(value)}
    if "metadata" in arguments:
        arguments["request_metadata"] = arguments.pop("metadata")
    headers = arguments.pop("extra_headers", None)
    if headers:
        arguments["metadata"] = {name.lower(): value for name, value in headers.items()}
    if arguments.pop("extra_query", None):
        raise TypeError("`extra_query` has no counterpart in gRPC; use `extra_body`")
    return arguments, stream


def _is_not_given(value: object) -> bool:
    # The SDK's own markers for "not given", which code that calls it may pass on.
    return type(value).__name__ in ("NotGiven", "Omit") and type(value).__module__.startswith("openai")


def _body(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], bool]:
    """The body of a Responses request, the call's options, and `stream`."""
    arguments, stream = _arguments(given)
    options: dict[str, Any] = {name: arguments.pop(name) for name in OPTIONS if name in arguments}
    if "request_metadata" in arguments:
        arguments["metadata"] = arguments.pop("request_metadata")
    extra = arguments.pop("extra_body", None) or {}
    return {**arguments, **extra}, options, stream


class ViewStream(Generic[T]):
    """A stream whose messages are shown as OpenAI's SDK would."""

    def __init__(self, stream: Stream[T], show: Callable[[T], Any]) -> None:
        self._stream = stream
        self._show = show

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._show(next(self._stream))

    def close(self) -> None:
        """Cancels the call if it is still running."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncViewStream(Generic[T]):
    """A stream whose messages are shown as OpenAI's SDK would."""

    def __init__(self, stream: AsyncStream[T], show: Callable[[T], Any]) -> None:
        self._stream = stream
        self._show = show

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return self._show(await anext(self._stream))

    async def close(self) -> None:
        """Cancels the call if it is still running."""
        self._stream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


class _Namespace:
    """Methods under a name."""

    def __init__(self, **methods: Any) -> None:
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"`{name}` is not offered over gRPC; use the REST API")


def _event(message: pb.ResponsesStreamResponse) -> Any:
    return parse(message.data_json)


def _page(models: list[pb.Model]) -> Page:
    return Page({"object": "list", "data": [view(model) for model in models]})


class OpenAI:
    """`chat.completions`, `completions`, `embeddings`, `responses` and `models` of a client.

    It is that client, and not a second one: `close`, or the end of a `with` block, closes it.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self.chat = _Namespace(completions=_Namespace(create=self._chat))
        self.completions = _Namespace(create=self._completion)
        self.embeddings = _Namespace(create=self._embedding)
        self.responses = _Namespace(create=self._response)
        self.models = _Namespace(
            list=lambda: _page(client.models.list()), retrieve=lambda model: view(client.models.get(model))
        )

    def _chat(self, **given: Any) -> Any:
        arguments, stream = _arguments(given)
        chat = self._client.chat
        return ViewStream(chat.stream(**arguments), view) if stream else view(chat.create(**arguments))

    def _completion(self, **given: Any) -> Any:
        arguments, stream = _arguments(given)
        completions = self._client.completions
        if stream:
            return ViewStream(completions.stream(**arguments), view)
        return view(completions.create(**arguments))

    def _embedding(self, **given: Any) -> Any:
        arguments, _ = _arguments(given)
        return view(self._client.embeddings.create(**arguments))

    def _response(self, **given: Any) -> Any:
        body, options, stream = _body(given)
        responses = self._client.responses
        if stream:
            return ViewStream(responses.stream(body, **options), _event)
        return parse(responses.create(body, **options).body_json)

    def close(self) -> None:
        """Closes the client that it came from."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncOpenAI:
    """`chat.completions`, `completions`, `embeddings`, `responses` and `models` of an asyncio client.

    It is that client, and not a second one: `close`, or the end of an `async with` block, closes it.
    """

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self.chat = _Namespace(completions=_Namespace(create=self._chat))
        self.completions = _Namespace(create=self._completion)
        self.embeddings = _Namespace(create=self._embedding)
        self.responses = _Namespace(create=self._response)
        self.models = _Namespace(list=lambda: AsyncPages(self._models), retrieve=self._model)

    async def _chat(self, **given: Any) -> Any:
        arguments, stream = _arguments(given)
        chat = self._client.chat
        return AsyncViewStream(chat.stream(**arguments), view) if stream else view(await chat.create(**arguments))

    async def _completion(self, **given: Any) -> Any:
        arguments, stream = _arguments(given)
        completions = self._client.completions
        if stream:
            return AsyncViewStream(completions.stream(**arguments), view)
        return view(await completions.create(**arguments))

    async def _embedding(self, **given: Any) -> Any:
        arguments, _ = _arguments(given)
        return view(await self._client.embeddings.create(**arguments))

    async def _response(self, **given: Any) -> Any:
        body, options, stream = _body(given)
        responses = self._client.responses
        if stream:
            return AsyncViewStream(responses.stream(body, **options), _event)
        return parse((await responses.create(body, **options)).body_json)

    async def _models(self) -> Page:
        return _page(await self._client.models.list())

    async def _model(self, model: str) -> Object:
        return view(await self._client.models.get(model))

    async def close(self) -> None:
        """Closes the client that it came from."""
        await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
