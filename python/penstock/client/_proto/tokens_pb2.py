"""Generated from `proto/penstock/v1` by `proto/generate.py`; not edited by hand."""

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.internal import enum_type_wrapper
from penstock.client._proto import chat_message_pb2 as _chat_message_pb2
from penstock.client._proto import chat_tool_pb2 as _chat_tool_pb2

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(
    b'\n\x18penstock/v1/tokens.proto\x12\x0bpenstock.v1\x1a\x1epenstock/v1/chat_me'
    b'ssage.proto\x1a\x1bpenstock/v1/chat_tool.proto"\x90\x01\n\x12TokensCountRequ'
    b'est\x12\x14\n\x05model\x18\x01 \x01(\tR\x05model\x12\x14\n\x04text\x18\x02 \x01(\tH\x00R\x04text\x12E\n\x0cconversat'
    b'ion\x18\x03 \x01(\x0b2\x1f.penstock.v1.TokensConversationH\x00R\x0cconversationB\x07'
    b'\n\x05input"s\n\x12TokensConversation\x124\n\x08messages\x18\x01 \x03(\x0b2\x18.penstock.v'
    b"1.ChatMessageR\x08messages\x12'\n\x05tools\x18\x02 \x03(\x0b2\x11.penstock.v1.ToolR\x05t"
    b'ools"\xb4\x01\n\x13TokensCountResponse\x12!\n\x0cinput_tokens\x18\x01 \x01(\x03R\x0binputTok'
    b'ens\x12\x14\n\x05model\x18\x02 \x01(\tR\x05model\x126\n\x06method\x18\x03 \x01(\x0e2\x1e.penstock.v1.Toke'
    b'nsCountMethodR\x06method\x12\x1f\n\x08encoding\x18\x04 \x01(\tH\x00R\x08encoding\x88\x01\x01B\x0b\n\t_e'
    b'ncoding*\x9b\x01\n\x11TokensCountMethod\x12#\n\x1fTOKENS_COUNT_METHOD_UNSPECI'
    b'FIED\x10\x00\x12\x1d\n\x19TOKENS_COUNT_METHOD_EXACT\x10\x01\x12 \n\x1cTOKENS_COUNT_METHOD'
    b'_ESTIMATE\x10\x02\x12 \n\x1cTOKENS_COUNT_METHOD_PROVIDER\x10\x032T\n\x06Tokens\x12J\n\x05C'
    b'ount\x12\x1f.penstock.v1.TokensCountRequest\x1a .penstock.v1.TokensCo'
    b'untResponseb\x06proto3'
)

TokensCountMethod = enum_type_wrapper.EnumTypeWrapper(DESCRIPTOR.enum_types_by_name["TokensCountMethod"])
TOKENS_COUNT_METHOD_UNSPECIFIED = 0
TOKENS_COUNT_METHOD_EXACT = 1
TOKENS_COUNT_METHOD_ESTIMATE = 2
TOKENS_COUNT_METHOD_PROVIDER = 3
TokensCountRequest = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["TokensCountRequest"])
TokensCountRequest.__module__ = __name__
TokensConversation = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["TokensConversation"])
TokensConversation.__module__ = __name__
TokensCountResponse = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["TokensCountResponse"])
TokensCountResponse.__module__ = __name__
