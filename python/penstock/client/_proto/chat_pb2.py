"""Generated from `proto/penstock/v1` by `proto/generate.py`; not edited by hand."""

from google.protobuf import descriptor_pool, message_factory
from penstock.client._proto import chat_answer_pb2 as _chat_answer_pb2
from penstock.client._proto import chat_request_pb2 as _chat_request_pb2
from penstock.client._proto import chat_session_pb2 as _chat_session_pb2

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(
    b'\n\x16penstock/v1/chat.proto\x12\x0bpenstock.v1\x1a\x1dpenstock/v1/chat_answ'
    b'er.proto\x1a\x1epenstock/v1/chat_request.proto\x1a\x1epenstock/v1/chat_s'
    b'ession.proto2\xf0\x01\n\x04Chat\x12I\n\x06Create\x12\x1e.penstock.v1.ChatCreateRequ'
    b'est\x1a\x1f.penstock.v1.ChatCreateResponse\x12K\n\x06Stream\x12\x1e.penstock.v1'
    b'.ChatCreateRequest\x1a\x1f.penstock.v1.ChatStreamResponse0\x01\x12P\n\x07Ses'
    b'sion\x12\x1f.penstock.v1.ChatSessionRequest\x1a .penstock.v1.ChatSess'
    b'ionResponse(\x010\x01b\x06proto3'
)

