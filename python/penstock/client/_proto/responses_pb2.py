"""Generated from `proto/penstock/v1` by `proto/generate.py`; not edited by hand."""

from google.protobuf import descriptor_pool, message_factory

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(
    b'\n\x1bpenstock/v1/responses.proto\x12\x0bpenstock.v1"5\n\x16ResponsesCreat'
    b'eRequest\x12\x1b\n\tbody_json\x18\x01 \x01(\tR\x08bodyJson"6\n\x17ResponsesCreateResp'
    b'onse\x12\x1b\n\tbody_json\x18\x01 \x01(\tR\x08bodyJson"L\n\x17ResponsesStreamResponse'
    b'\x12\x14\n\x05event\x18\x01 \x01(\tR\x05event\x12\x1b\n\tdata_json\x18\x02 \x01(\tR\x08dataJson2\xb7\x01\n\tResp'
    b'onses\x12S\n\x06Create\x12#.penstock.v1.ResponsesCreateRequest\x1a$.penst'
    b'ock.v1.ResponsesCreateResponse\x12U\n\x06Stream\x12#.penstock.v1.Respo'
    b'nsesCreateRequest\x1a$.penstock.v1.ResponsesStreamResponse0\x01b\x06p'
    b'roto3'
)

ResponsesCreateRequest = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ResponsesCreateRequest"])
ResponsesCreateRequest.__module__ = __name__
ResponsesCreateResponse = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ResponsesCreateResponse"])
ResponsesCreateResponse.__module__ = __name__
ResponsesStreamResponse = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ResponsesStreamResponse"])
ResponsesStreamResponse.__module__ = __name__
