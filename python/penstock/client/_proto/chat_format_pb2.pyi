# Generated from `proto/penstock/v1` by `proto/generate.py`; not edited by hand.
from google.protobuf import struct_pb2 as _struct_pb2
from penstock.client._proto import chat_message_pb2 as _chat_message_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ResponseFormat(_message.Message):
    __slots__ = ("type", "json_schema", "extra")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    JSON_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    type: str
    json_schema: JsonSchema
    extra: _struct_pb2.Struct
    def __init__(self, type: _Optional[str] = ..., json_schema: _Optional[_Union[JsonSchema, _Mapping]] = ..., extra: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class JsonSchema(_message.Message):
    __slots__ = ("name", "description", "schema_json", "strict", "extra")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_JSON_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    schema_json: str
    strict: bool
    extra: _struct_pb2.Struct
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., schema_json: _Optional[str] = ..., strict: _Optional[bool] = ..., extra: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class AudioOptions(_message.Message):
    __slots__ = ("voice_name", "voice_id", "format", "extra")
    VOICE_NAME_FIELD_NUMBER: _ClassVar[int]
    VOICE_ID_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    voice_name: str
    voice_id: str
    format: str
    extra: _struct_pb2.Struct
    def __init__(self, voice_name: _Optional[str] = ..., voice_id: _Optional[str] = ..., format: _Optional[str] = ..., extra: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ("type", "text", "parts", "extra")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    type: str
    text: str
    parts: _chat_message_pb2.ContentParts
    extra: _struct_pb2.Struct
    def __init__(self, type: _Optional[str] = ..., text: _Optional[str] = ..., parts: _Optional[_Union[_chat_message_pb2.ContentParts, _Mapping]] = ..., extra: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class WebSearchOptions(_message.Message):
    __slots__ = ("user_location", "search_context_size", "extra")
    USER_LOCATION_FIELD_NUMBER: _ClassVar[int]
    SEARCH_CONTEXT_SIZE_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    user_location: UserLocation
    search_context_size: str
    extra: _struct_pb2.Struct
    def __init__(self, user_location: _Optional[_Union[UserLocation, _Mapping]] = ..., search_context_size: _Optional[str] = ..., extra: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class UserLocation(_message.Message):
    __slots__ = ("type", "approximate", "extra")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    APPROXIMATE_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    type: str
    approximate: ApproximateLocation
    extra: _struct_pb2.Struct
    def __init__(self, type: _Optional[str] = ..., approximate: _Optional[_Union[ApproximateLocation, _Mapping]] = ..., extra: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class ApproximateLocation(_message.Message):
    __slots__ = ("country", "region", "city", "timezone", "extra")
    COUNTRY_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    CITY_FIELD_NUMBER: _ClassVar[int]
    TIMEZONE_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    country: str
    region: str
    city: str
    timezone: str
    extra: _struct_pb2.Struct
    def __init__(self, country: _Optional[str] = ..., region: _Optional[str] = ..., city: _Optional[str] = ..., timezone: _Optional[str] = ..., extra: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class PromptCacheOptions(_message.Message):
    __slots__ = ("ttl", "mode", "extra")
    TTL_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    ttl: str
    mode: str
    extra: _struct_pb2.Struct
    def __init__(self, ttl: _Optional[str] = ..., mode: _Optional[str] = ..., extra: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class ModerationOptions(_message.Message):
    __slots__ = ("model", "policy", "extra")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    model: str
    policy: ModerationPolicy
    extra: _struct_pb2.Struct
    def __init__(self, model: _Optional[str] = ..., policy: _Optional[_Union[ModerationPolicy, _Mapping]] = ..., extra: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class ModerationPolicy(_message.Message):
    __slots__ = ("input", "output", "extra")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    input: ModerationRule
    output: ModerationRule
    extra: _struct_pb2.Struct
    def __init__(self, input: _Optional[_Union[ModerationRule, _Mapping]] = ..., output: _Optional[_Union[ModerationRule, _Mapping]] = ..., extra: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class ModerationRule(_message.Message):
    __slots__ = ("mode", "extra")
    MODE_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    mode: str
    extra: _struct_pb2.Struct
    def __init__(self, mode: _Optional[str] = ..., extra: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...
