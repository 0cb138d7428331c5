"""A client of the gateway's gRPC services: `pip install 'penstock[client]'`.

    from penstock.client import Client

    with Client("grpc://127.0.0.1:4000", api_key="sk-...") as client:
        answer = client.chat.create(model="demo", messages=[{"role": "user", "content": "Hello"}])
        answer.choices[0].message.content

    client.chat         create, stream, session     `help(Chat)`, `help(Session)`
    client.completions  create, stream              `help(Completions)`
    client.embeddings   create                      `help(Embeddings)`
    client.responses    create, stream              `help(Responses)`
    client.models       list, get                   `help(Models)`
    client.tokens       count                       `help(Tokens)`

Arguments are named as in OpenAI's SDK and take its shapes; answers are the protocol's own messages, typed, in which
an absent text is empty (`HasField` tells). `as_openai()` shows both as that SDK does. `AsyncClient` is the asyncio twin.
What a call cost, and its id: `help(AnswerMetadata)`.

It is a part of the package of its own: the server does not need it, nor the libraries that it needs.
"""

from __future__ import annotations

from penstock.client._aio_client import (
    AsyncChat,
    AsyncClient,
    AsyncCompletions,
    AsyncEmbeddings,
    AsyncModels,
    AsyncResponses,
    AsyncTokens,
)
from penstock.client._aio_core import AsyncStream
from penstock.client._aio_session import AsyncSession, AsyncSessionCall
from penstock.client._client import Chat, Client, Completions, Embeddings, Models, Responses, Tokens
from penstock.client._core import Stream
from penstock.client._json import to_dict
from penstock.client._messages import (
    ChatCreateRequest,
    ChatCreateResponse,
    ChatMessage,
    ChatStreamResponse,
    CompletionsCreateResponse,
    CompletionsStreamResponse,
    EmbeddingsCreateResponse,
    GatewayInfoResponse,
    GatewayState,
    Model,
    ResponsesCreateResponse,
    ResponsesStreamResponse,
    TokensCountMethod,
    TokensCountResponse,
    Tool,
    ToolCall,
    Usage,
)
from penstock.client._metadata import AnswerMetadata
from penstock.client._session import Session, SessionCall
from penstock.client.errors import (
    AuthenticationError,
    BudgetExceeded,
    CallError,
    Cancelled,
    ConfigurationError,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    PenstockError,
    PermissionDenied,
    RateLimited,
    ServerError,
    Unavailable,
)

__all__ = [
    "AnswerMetadata",
    "AsyncChat",
    "AsyncClient",
    "AsyncCompletions",
    "AsyncEmbeddings",
    "AsyncModels",
    "AsyncResponses",
    "AsyncSession",
    "AsyncSessionCall",
    "AsyncStream",
    "AsyncTokens",
    "AuthenticationError",
    "BudgetExceeded",
    "CallError",
    "Cancelled",
    "Chat",
    "ChatCreateRequest",
    "ChatCreateResponse",
    "ChatMessage",
    "ChatStreamResponse",
    "Client",
    "Completions",
    "CompletionsCreateResponse",
    "CompletionsStreamResponse",
    "ConfigurationError",
    "DeadlineExceeded",
    "Embeddings",
    "EmbeddingsCreateResponse",
    "GatewayInfoResponse",
    "GatewayState",
    "InvalidRequest",
    "Model",
    "Models",
    "NotFound",
    "PenstockError",
    "PermissionDenied",
    "RateLimited",
    "Responses",
    "ResponsesCreateResponse",
    "ResponsesStreamResponse",
    "ServerError",
    "Session",
    "SessionCall",
    "Stream",
    "Tokens",
    "TokensCountMethod",
    "TokensCountResponse",
    "Tool",
    "ToolCall",
    "Unavailable",
    "Usage",
    "to_dict",
]
