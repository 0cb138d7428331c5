"""Generated from `proto/penstock/v1` by `proto/generate.py`; not edited by hand."""

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.internal import enum_type_wrapper
from google.protobuf import duration_pb2 as _duration_pb2

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(
    b'\n\x19penstock/v1/gateway.proto\x12\x0bpenstock.v1\x1a\x1egoogle/protobuf/du'
    b'ration.proto"\x14\n\x12GatewayInfoRequest"\xd6\x03\n\x13GatewayInfoResponse\x12\x18'
    b'\n\x07version\x18\x01 \x01(\tR\x07version\x12\x1a\n\x08services\x18\x02 \x03(\tR\x08services\x12/\n\x05stat'
    b'e\x18\x03 \x01(\x0e2\x19.penstock.v1.GatewayStateR\x05state\x12*\n\x11max_request_byt'
    b'es\x18\x04 \x01(\x03R\x0fmaxRequestBytes\x12\x1c\n\tencodings\x18\x05 \x03(\tR\tencodings\x12G\n\x12m'
    b'ax_connection_age\x18\x06 \x01(\x0b2\x19.google.protobuf.DurationR\x10maxConne'
    b'ctionAge\x12R\n\x18max_connection_age_grace\x18\x07 \x01(\x0b2\x19.google.protobuf'
    b'.DurationR\x15maxConnectionAgeGrace\x12E\n\x11min_ping_interval\x18\x08 \x01(\x0b2'
    b'\x19.google.protobuf.DurationR\x0fminPingInterval\x12*\n\x11max_session_c'
    b'alls\x18\t \x01(\rR\x0fmaxSessionCalls*~\n\x0cGatewayState\x12\x1d\n\x19GATEWAY_STATE'
    b'_UNSPECIFIED\x10\x00\x12\x17\n\x13GATEWAY_STATE_READY\x10\x01\x12\x1a\n\x16GATEWAY_STATE_STA'
    b'RTING\x10\x02\x12\x1a\n\x16GATEWAY_STATE_DRAINING\x10\x032T\n\x07Gateway\x12I\n\x04Info\x12\x1f.pen'
    b'stock.v1.GatewayInfoRequest\x1a .penstock.v1.GatewayInfoRespons'
    b'eb\x06proto3'
)

GatewayState = enum_type_wrapper.EnumTypeWrapper(DESCRIPTOR.enum_types_by_name["GatewayState"])
GATEWAY_STATE_UNSPECIFIED = 0
GATEWAY_STATE_READY = 1
GATEWAY_STATE_STARTING = 2
GATEWAY_STATE_DRAINING = 3
GatewayInfoRequest = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["GatewayInfoRequest"])
GatewayInfoRequest.__module__ = __name__
GatewayInfoResponse = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["GatewayInfoResponse"])
GatewayInfoResponse.__module__ = __name__
