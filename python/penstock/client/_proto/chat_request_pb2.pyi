# Generated from `proto/penstock/v1` by `proto/generate.py`; not edited by hand.
from google.protobuf import struct_pb2 as _struct_pb2
from penstock.client._proto import chat_format_pb2 as _chat_format_pb2
from penstock.client._proto import chat_message_pb2 as _chat_message_pb2
from penstock.client._proto import chat_tool_pb2 as _chat_tool_pb2
from penstock.client._proto import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ChatCreateRequest(_message.Message):
    __slots__ = ("model", "messages", "tools", "tool_choice", "parallel_tool_calls", "max_tokens", "max_completion_tokens", "temperature", "top_p", "n", "stop", "stream_options", "reasoning_effort", "response_format", "verbosity", "seed", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs", "modalities", "audio", "prediction", "web_search_options", "service_tier", "store", "metadata", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "moderation", "functions", "function_call", "extra")
    class LogitBiasEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    TOOL_CHOICE_FIELD_NUMBER: _ClassVar[int]
    PARALLEL_TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    STREAM_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    REASONING_EFFORT_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FORMAT_FIELD_NUMBER: _ClassVar[int]
    VERBOSITY_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    FREQUENCY_PENALTY_FIELD_NUMBER: _ClassVar[int]
    PRESENCE_PENALTY_FIELD_NUMBER: _ClassVar[int]
    LOGIT_BIAS_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    TOP_LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    MODALITIES_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_FIELD_NUMBER: _ClassVar[int]
    WEB_SEARCH_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_TIER_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    SAFETY_IDENTIFIER_FIELD_NUMBER: _ClassVar[int]
    PROMPT_CACHE_KEY_FIELD_NUMBER: _ClassVar[int]
    PROMPT_CACHE_RETENTION_FIELD_NUMBER: _ClassVar[int]
    PROMPT_CACHE_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    MODERATION_FIELD_NUMBER: _ClassVar[int]
    FUNCTIONS_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_CALL_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    model: str
    messages: _containers.RepeatedCompositeFieldContainer[_chat_message_pb2.ChatMessage]
    tools: _containers.RepeatedCompositeFieldContainer[_chat_tool_pb2.Tool]
    tool_choice: _chat_tool_pb2.ToolChoice
    parallel_tool_calls: bool
    max_tokens: int
    max_completion_tokens: int
    temperature: float
    top_p: float
    n: int
    stop: _common_pb2.Stop
    stream_options: _common_pb2.StreamOptions
    reasoning_effort: str
    response_format: _chat_format_pb2.ResponseFormat
    verbosity: str
    seed: int
    frequency_penalty: float
    presence_penalty: float
    logit_bias: _containers.ScalarMap[str, float]
    logprobs: bool
    top_logprobs: int
    modalities: _containers.RepeatedScalarFieldContainer[str]
    audio: _chat_format_pb2.AudioOptions
    prediction: _chat_format_pb2.Prediction
    web_search_options: _chat_format_pb2.WebSearchOptions
    service_tier: str
    store: bool
    metadata: _containers.ScalarMap[str, str]
    user: str
    safety_identifier: str
    prompt_cache_key: str
    prompt_cache_retention: str
    prompt_cache_options: _chat_format_pb2.PromptCacheOptions
    moderation: _chat_format_pb2.ModerationOptions
    functions: _containers.RepeatedCompositeFieldContainer[_chat_tool_pb2.FunctionDefinition]
    function_call: _chat_tool_pb2.FunctionCallChoice
    extra: _struct_pb2.Struct
    def __init__(self, model: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[_chat_message_pb2.ChatMessage, _Mapping]]] = ..., tools: _Optional[_Iterable[_Union[_chat_tool_pb2.Tool, _Mapping]]] = ..., tool_choice: _Optional[_Union[_chat_tool_pb2.ToolChoice, _Mapping]] = ..., parallel_tool_calls: _Optional[bool] = ..., max_tokens: _Optional[int] = ..., max_completion_tokens: _Optional[int] = ..., temperature: _Optional[float] = ..., top_p: _Optional[float] = ..., n: _Optional[int] = ..., stop: _Optional[_Union[_common_pb2.Stop, _Mapping]] = ..., stream_options: _Optional[_Union[_common_pb2.StreamOptions, _Mapping]] = ..., reasoning_effort: _Optional[str] = ..., response_format: _Optional[_Union[_chat_format_pb2.ResponseFormat, _Mapping]] = ..., verbosity: _Optional[str] = ..., seed: _Optional[int] = ..., frequency_penalty: _Optional[float] = ..., presence_penalty: _Optional[float] = ..., logit_bias: _Optional[_Mapping[str, float]] = ..., logprobs: _Optional[bool] = ..., top_logprobs: _Optional[int] = ..., modalities: _Optional[_Iterable[str]] = ..., audio: _Optional[_Union[_chat_format_pb2.AudioOptions, _Mapping]] = ..., prediction: _Optional[_Union[_chat_format_pb2.Prediction, _Mapping]] = ..., web_search_options: _Optional[_Union[_chat_format_pb2.WebSearchOptions, _Mapping]] = ..., service_tier: _Optional[str] = ..., store: _Optional[bool] = ..., metadata: _Optional[_Mapping[str, str]] = ..., user: _Optional[str] = ..., safety_identifier: _Optional[str] = ..., prompt_cache_key: _Optional[str] = ..., prompt_cache_retention: _Optional[str] = ..., prompt_cache_options: _Optional[_Union[_chat_format_pb2.PromptCacheOptions, _Mapping]] = ..., moderation: _Optional[_Union[_chat_format_pb2.ModerationOptions, _Mapping]] = ..., functions: _Optional[_Iterable[_Union[_chat_tool_pb2.FunctionDefinition, _Mapping]]] = ..., function_call: _Optional[_Union[_chat_tool_pb2.FunctionCallChoice, _Mapping]] = ..., extra: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...
