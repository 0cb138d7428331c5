"""Generated from `proto/penstock/v1` by `proto/generate.py`; not edited by hand."""

from google.protobuf import descriptor_pool, message_factory
from google.protobuf import any_pb2 as _any_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from penstock.client._proto import chat_answer_pb2 as _chat_answer_pb2
from penstock.client._proto import chat_request_pb2 as _chat_request_pb2

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(
    b'\n\x1epenstock/v1/chat_session.proto\x12\x0bpenstock.v1\x1a\x19google/protob'
    b'uf/any.proto\x1a\x1egoogle/protobuf/duration.proto\x1a\x1dpenstock/v1/ch'
    b'at_answer.proto\x1a\x1epenstock/v1/chat_request.proto"\xbc\x01\n\x12ChatSess'
    b'ionRequest\x121\n\x05start\x18\x01 \x01(\x0b2\x19.penstock.v1.SessionStartH\x00R\x05star'
    b't\x124\n\x06cancel\x18\x02 \x01(\x0b2\x1a.penstock.v1.SessionCancelH\x00R\x06cancel\x124\n\x06c'
    b'redit\x18\x03 \x01(\x0b2\x1a.penstock.v1.SessionCreditH\x00R\x06creditB\x07\n\x05frame"\xb5'
    b'\x01\n\x0cSessionStart\x12\x0e\n\x02id\x18\x01 \x01(\x04R\x02id\x128\n\x07request\x18\x02 \x01(\x0b2\x1e.penstock.'
    b'v1.ChatCreateRequestR\x07request\x123\n\x07timeout\x18\x03 \x01(\x0b2\x19.google.prot'
    b'obuf.DurationR\x07timeout\x12\x1b\n\x06credit\x18\x04 \x01(\rH\x00R\x06credit\x88\x01\x01B\t\n\x07_cred'
    b'it"\x1f\n\rSessionCancel\x12\x0e\n\x02id\x18\x01 \x01(\x04R\x02id"7\n\rSessionCredit\x12\x0e\n\x02id\x18\x01'
    b' \x01(\x04R\x02id\x12\x16\n\x06credit\x18\x02 \x01(\rR\x06credit"\xa6\x02\n\x13ChatSessionResponse\x124\n\x06'
    b'opened\x18\x01 \x01(\x0b2\x1a.penstock.v1.SessionOpenedH\x00R\x06opened\x121\n\x05delta\x18'
    b'\x02 \x01(\x0b2\x19.penstock.v1.SessionDeltaH\x00R\x05delta\x12.\n\x04done\x18\x03 \x01(\x0b2\x18.pe'
    b'nstock.v1.SessionDoneH\x00R\x04done\x121\n\x05error\x18\x04 \x01(\x0b2\x19.penstock.v1.S'
    b'essionErrorH\x00R\x05error\x12:\n\x08draining\x18\x05 \x01(\x0b2\x1c.penstock.v1.Session'
    b'DrainingH\x00R\x08drainingB\x07\n\x05frame"\xa2\x01\n\rSessionOpened\x12\x0e\n\x02id\x18\x01 \x01(\x04R'
    b'\x02id\x12D\n\x08metadata\x18\x02 \x03(\x0b2(.penstock.v1.SessionOpened.MetadataEn'
    b'tryR\x08metadata\x1a;\n\rMetadataEntry\x12\x10\n\x03key\x18\x01 \x01(\tR\x03key\x12\x14\n\x05value\x18\x02 '
    b'\x01(\tR\x05value:\x028\x01"U\n\x0cSessionDelta\x12\x0e\n\x02id\x18\x01 \x01(\x04R\x02id\x125\n\x05chunk\x18\x02 \x01('
    b'\x0b2\x1f.penstock.v1.ChatStreamResponseR\x05chunk"\x9e\x01\n\x0bSessionDone\x12\x0e\n'
    b'\x02id\x18\x01 \x01(\x04R\x02id\x12B\n\x08metadata\x18\x02 \x03(\x0b2&.penstock.v1.SessionDone.Me'
    b'tadataEntryR\x08metadata\x1a;\n\rMetadataEntry\x12\x10\n\x03key\x18\x01 \x01(\tR\x03key\x12\x14\n\x05'
    b'value\x18\x02 \x01(\tR\x05value:\x028\x01"\xd4\x01\n\x0cSessionError\x12\x0e\n\x02id\x18\x01 \x01(\x04R\x02id\x122\n\x06s'
    b'tatus\x18\x02 \x01(\x0b2\x1a.penstock.v1.SessionStatusR\x06status\x12C\n\x08metadata\x18'
    b"\x03 \x03(\x0b2'.penstock.v1.SessionError.MetadataEntryR\x08metadata\x1a;\n\r"
    b'MetadataEntry\x12\x10\n\x03key\x18\x01 \x01(\tR\x03key\x12\x14\n\x05value\x18\x02 \x01(\tR\x05value:\x028\x01"m\n'
    b'\rSessionStatus\x12\x12\n\x04code\x18\x01 \x01(\x05R\x04code\x12\x18\n\x07message\x18\x02 \x01(\tR\x07message'
    b'\x12.\n\x07details\x18\x03 \x03(\x0b2\x14.google.protobuf.AnyR\x07details"B\n\x0fSessionD'
    b'raining\x12/\n\x05grace\x18\x01 \x01(\x0b2\x19.google.protobuf.DurationR\x05graceb\x06pr'
    b'oto3'
)

ChatSessionRequest = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ChatSessionRequest"])
ChatSessionRequest.__module__ = __name__
SessionStart = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["SessionStart"])
SessionStart.__module__ = __name__
SessionCancel = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["SessionCancel"])
SessionCancel.__module__ = __name__
SessionCredit = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["SessionCredit"])
SessionCredit.__module__ = __name__
ChatSessionResponse = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ChatSessionResponse"])
ChatSessionResponse.__module__ = __name__
SessionOpened = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["SessionOpened"])
SessionOpened.__module__ = __name__
SessionDelta = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["SessionDelta"])
SessionDelta.__module__ = __name__
SessionDone = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["SessionDone"])
SessionDone.__module__ = __name__
SessionError = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["SessionError"])
SessionError.__module__ = __name__
SessionStatus = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["SessionStatus"])
SessionStatus.__module__ = __name__
SessionDraining = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["SessionDraining"])
SessionDraining.__module__ = __name__
