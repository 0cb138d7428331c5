"""The protocol's messages under one roof, so that no other module imports generated ones by their files."""

from __future__ import annotations

from penstock.client._proto.chat_answer_pb2 import (
    AnswerMessage,
    ChatCreateResponse,
    ChatStreamResponse,
    Choice,
    ChunkChoice,
    Delta,
)
from penstock.client._proto.chat_message_pb2 import ChatMessage, FunctionCall, ToolCall
from penstock.client._proto.chat_request_pb2 import ChatCreateRequest
from penstock.client._proto.chat_session_pb2 import (
    ChatSessionRequest,
    ChatSessionResponse,
    SessionCancel,
    SessionCredit,
    SessionStart,
    SessionStatus,
)
from penstock.client._proto.chat_tool_pb2 import Tool
from penstock.client._proto.common_pb2 import Usage
from penstock.client._proto.completions_pb2 import (
    CompletionsCreateRequest,
    CompletionsCreateResponse,
    CompletionsStreamResponse,
)
from penstock.client._proto.embeddings_pb2 import Embedding, EmbeddingsCreateRequest, EmbeddingsCreateResponse
from penstock.client._proto.gateway_pb2 import GatewayInfoRequest, GatewayInfoResponse, GatewayState
from penstock.client._proto.models_pb2 import (
    Model,
    ModelsGetRequest,
    ModelsGetResponse,
    ModelsListRequest,
    ModelsListResponse,
)
from penstock.client._proto.responses_pb2 import (
    ResponsesCreateRequest,
    ResponsesCreateResponse,
    ResponsesStreamResponse,
)
from penstock.client._proto.tokens_pb2 import TokensCountMethod, TokensCountRequest, TokensCountResponse

__all__ = [
    "AnswerMessage",
    "ChatCreateRequest",
    "ChatCreateResponse",
    "ChatMessage",
    "ChatSessionRequest",
    "ChatSessionResponse",
    "ChatStreamResponse",
    "Choice",
    "ChunkChoice",
    "CompletionsCreateRequest",
    "CompletionsCreateResponse",
    "CompletionsStreamResponse",
    "Delta",
    "Embedding",
    "EmbeddingsCreateRequest",
    "EmbeddingsCreateResponse",
    "FunctionCall",
    "GatewayInfoRequest",
    "GatewayInfoResponse",
    "GatewayState",
    "Model",
    "ModelsGetRequest",
    "ModelsGetResponse",
    "ModelsListRequest",
    "ModelsListResponse",
    "ResponsesCreateRequest",
    "ResponsesCreateResponse",
    "ResponsesStreamResponse",
    "SessionCancel",
    "SessionCredit",
    "SessionStart",
    "SessionStatus",
    "TokensCountMethod",
    "TokensCountRequest",
    "TokensCountResponse",
    "Tool",
    "ToolCall",
    "Usage",
]
