# Generated from `proto/penstock/v1` by `proto/generate.py`; not edited by hand.
from penstock.client._proto import chat_answer_pb2 as _chat_answer_pb2
from penstock.client._proto import chat_request_pb2 as _chat_request_pb2
from penstock.client._proto import chat_session_pb2 as _chat_session_pb2
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor
