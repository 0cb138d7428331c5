# Generated from `proto/penstock/v1` by `proto/generate.py`; not edited by hand.
from penstock.client._proto import chat_message_pb2 as _chat_message_pb2
from penstock.client._proto import chat_tool_pb2 as _chat_tool_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TokensCountMethod(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TOKENS_COUNT_METHOD_UNSPECIFIED: _ClassVar[TokensCountMethod]
    TOKENS_COUNT_METHOD_EXACT: _ClassVar[TokensCountMethod]
    TOKENS_COUNT_METHOD_ESTIMATE: _ClassVar[TokensCountMethod]
    TOKENS_COUNT_METHOD_PROVIDER: _ClassVar[TokensCountMethod]
TOKENS_COUNT_METHOD_UNSPECIFIED: TokensCountMethod
TOKENS_COUNT_METHOD_EXACT: TokensCountMethod
TOKENS_COUNT_METHOD_ESTIMATE: TokensCountMethod
TOKENS_COUNT_METHOD_PROVIDER: TokensCountMethod

class TokensCountRequest(_message.Message):
    __slots__ = ("model", "text", "conversation")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    model: str
    text: str
    conversation: TokensConversation
    def __init__(self, model: _Optional[str] = ..., text: _Optional[str] = ..., conversation: _Optional[_Union[TokensConversation, _Mapping]] = ...) -> None: ...

class TokensConversation(_message.Message):
    __slots__ = ("messages", "tools")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[_chat_message_pb2.ChatMessage]
    tools: _containers.RepeatedCompositeFieldContainer[_chat_tool_pb2.Tool]
    def __init__(self, messages: _Optional[_Iterable[_Union[_chat_message_pb2.ChatMessage, _Mapping]]] = ..., tools: _Optional[_Iterable[_Union[_chat_tool_pb2.Tool, _Mapping]]] = ...) -> None: ...

class TokensCountResponse(_message.Message):
    __slots__ = ("input_tokens", "model", "method", "encoding")
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    input_tokens: int
    model: str
    method: TokensCountMethod
    encoding: str
    def __init__(self, input_tokens: _Optional[int] = ..., model: _Optional[str] = ..., method: _Optional[_Union[TokensCountMethod, str]] = ..., encoding: _Optional[str] = ...) -> None: ...
