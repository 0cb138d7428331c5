"""Generated from `proto/penstock/v1` by `proto/generate.py`; not edited by hand."""

from google.protobuf import descriptor_pool, message_factory
from google.protobuf import struct_pb2 as _struct_pb2

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(
    b'\n\x18penstock/v1/models.proto\x12\x0bpenstock.v1\x1a\x1cgoogle/protobuf/str'
    b'uct.proto"\x13\n\x11ModelsListRequest"@\n\x12ModelsListResponse\x12*\n\x06mode'
    b'ls\x18\x01 \x03(\x0b2\x12.penstock.v1.ModelR\x06models""\n\x10ModelsGetRequest\x12\x0e\n\x02'
    b'id\x18\x01 \x01(\tR\x02id"=\n\x11ModelsGetResponse\x12(\n\x05model\x18\x01 \x01(\x0b2\x12.penstock.'
    b'v1.ModelR\x05model"\xf0\x01\n\x05Model\x12\x0e\n\x02id\x18\x01 \x01(\tR\x02id\x12\x18\n\x07created\x18\x02 \x01(\x03R\x07'
    b'created\x12\x19\n\x08owned_by\x18\x03 \x01(\tR\x07ownedBy\x12&\n\x0cdisplay_name\x18\x04 \x01(\tH\x00R\x0b'
    b'displayName\x88\x01\x01\x12(\n\rshutdown_date\x18\x05 \x01(\tH\x01R\x0cshutdownDate\x88\x01\x01\x12-\n\x05'
    b'extra\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05extraB\x0f\n\r_display_name'
    b'B\x10\n\x0e_shutdown_date2\x97\x01\n\x06Models\x12G\n\x04List\x12\x1e.penstock.v1.ModelsLi'
    b'stRequest\x1a\x1f.penstock.v1.ModelsListResponse\x12D\n\x03Get\x12\x1d.penstock'
    b'.v1.ModelsGetRequest\x1a\x1e.penstock.v1.ModelsGetResponseb\x06proto3'
)

ModelsListRequest = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ModelsListRequest"])
ModelsListRequest.__module__ = __name__
ModelsListResponse = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ModelsListResponse"])
ModelsListResponse.__module__ = __name__
ModelsGetRequest = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ModelsGetRequest"])
ModelsGetRequest.__module__ = __name__
ModelsGetResponse = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ModelsGetResponse"])
ModelsGetResponse.__module__ = __name__
Model = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["Model"])
Model.__module__ = __name__
