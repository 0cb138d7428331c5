"""Generated from `proto/penstock/v1` by `proto/generate.py`; not edited by hand."""

from google.protobuf import descriptor_pool, message_factory
from google.protobuf import struct_pb2 as _struct_pb2
from penstock.client._proto import common_pb2 as _common_pb2

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(
    b'\n\x1cpenstock/v1/embeddings.proto\x12\x0bpenstock.v1\x1a\x1cgoogle/protobuf'
    b'/struct.proto\x1a\x18penstock/v1/common.proto"\xb4\x03\n\x17EmbeddingsCreate'
    b'Request\x12\x14\n\x05model\x18\x01 \x01(\tR\x05model\x12\x14\n\x04text\x18\x02 \x01(\tH\x00R\x04text\x12/\n\x05texts'
    b'\x18\x03 \x01(\x0b2\x17.penstock.v1.StringListH\x00R\x05texts\x120\n\x06tokens\x18\x04 \x01(\x0b2\x16.p'
    b'enstock.v1.TokenListH\x00R\x06tokens\x12:\n\x0btoken_lists\x18\x05 \x01(\x0b2\x17.pensto'
    b'ck.v1.TokenListsH\x00R\ntokenLists\x12#\n\ndimensions\x18\x06 \x01(\x05H\x01R\ndimens'
    b'ions\x88\x01\x01\x12\x17\n\x04user\x18\x07 \x01(\tH\x02R\x04user\x88\x01\x01\x12,\n\x0fencoding_format\x18\x08 \x01(\tH\x03R'
    b'\x0eencodingFormat\x88\x01\x01\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05'
    b'extraB\x07\n\x05inputB\r\n\x0b_dimensionsB\x07\n\x05_userB\x12\n\x10_encoding_format"\xb5'
    b'\x01\n\x18EmbeddingsCreateResponse\x12*\n\x04data\x18\x01 \x03(\x0b2\x16.penstock.v1.Embe'
    b'ddingR\x04data\x12\x14\n\x05model\x18\x02 \x01(\tR\x05model\x12(\n\x05usage\x18\x03 \x01(\x0b2\x12.penstock.'
    b'v1.UsageR\x05usage\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05ext'
    b'ra"n\n\tEmbedding\x12\x14\n\x05index\x18\x01 \x01(\x05R\x05index\x12\x1c\n\tembedding\x18\x02 \x03(\x02R\tem'
    b'bedding\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05extra2c\n\nEm'
    b'beddings\x12U\n\x06Create\x12$.penstock.v1.EmbeddingsCreateRequest\x1a%.p'
    b'enstock.v1.EmbeddingsCreateResponseb\x06proto3'
)

EmbeddingsCreateRequest = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["EmbeddingsCreateRequest"])
EmbeddingsCreateRequest.__module__ = __name__
EmbeddingsCreateResponse = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["EmbeddingsCreateResponse"])
EmbeddingsCreateResponse.__module__ = __name__
Embedding = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["Embedding"])
Embedding.__module__ = __name__
