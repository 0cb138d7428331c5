# Generated from `proto/penstock/v1` by `proto/generate.py`; not edited by hand.
import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GatewayState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GATEWAY_STATE_UNSPECIFIED: _ClassVar[GatewayState]
    GATEWAY_STATE_READY: _ClassVar[GatewayState]
    GATEWAY_STATE_STARTING: _ClassVar[GatewayState]
    GATEWAY_STATE_DRAINING: _ClassVar[GatewayState]
GATEWAY_STATE_UNSPECIFIED: GatewayState
GATEWAY_STATE_READY: GatewayState
GATEWAY_STATE_STARTING: GatewayState
GATEWAY_STATE_DRAINING: GatewayState

class GatewayInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GatewayInfoResponse(_message.Message):
    __slots__ = ("version", "services", "state", "max_request_bytes", "encodings", "max_connection_age", "max_connection_age_grace", "min_ping_interval", "max_session_calls")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    MAX_REQUEST_BYTES_FIELD_NUMBER: _ClassVar[int]
    ENCODINGS_FIELD_NUMBER: _ClassVar[int]
    MAX_CONNECTION_AGE_FIELD_NUMBER: _ClassVar[int]
    MAX_CONNECTION_AGE_GRACE_FIELD_NUMBER: _ClassVar[int]
    MIN_PING_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    MAX_SESSION_CALLS_FIELD_NUMBER: _ClassVar[int]
    version: str
    services: _containers.RepeatedScalarFieldContainer[str]
    state: GatewayState
    max_request_bytes: int
    encodings: _containers.RepeatedScalarFieldContainer[str]
    max_connection_age: _duration_pb2.Duration
    max_connection_age_grace: _duration_pb2.Duration
    min_ping_interval: _duration_pb2.Duration
    max_session_calls: int
    def __init__(self, version: _Optional[str] = ..., services: _Optional[_Iterable[str]] = ..., state: _Optional[_Union[GatewayState, str]] = ..., max_request_bytes: _Optional[int] = ..., encodings: _Optional[_Iterable[str]] = ..., max_connection_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_connection_age_grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., min_ping_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_session_calls: _Optional[int] = ...) -> None: ...
