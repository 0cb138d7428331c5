"""Generated from `proto/penstock/v1` by `proto/generate.py`; not edited by hand."""

from google.protobuf import descriptor_pool, message_factory
from google.protobuf import struct_pb2 as _struct_pb2
from penstock.client._proto import chat_message_pb2 as _chat_message_pb2

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(
    b'\n\x1dpenstock/v1/chat_format.proto\x12\x0bpenstock.v1\x1a\x1cgoogle/protobu'
    b'f/struct.proto\x1a\x1epenstock/v1/chat_message.proto"\x8d\x01\n\x0eResponseF'
    b'ormat\x12\x12\n\x04type\x18\x01 \x01(\tR\x04type\x128\n\x0bjson_schema\x18\x02 \x01(\x0b2\x17.penstock.v1'
    b'.JsonSchemaR\njsonSchema\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf.Str'
    b'uctR\x05extra"\xe4\x01\n\nJsonSchema\x12\x12\n\x04name\x18\x01 \x01(\tR\x04name\x12%\n\x0bdescription'
    b'\x18\x02 \x01(\tH\x00R\x0bdescription\x88\x01\x01\x12$\n\x0bschema_json\x18\x03 \x01(\tH\x01R\nschemaJson\x88'
    b'\x01\x01\x12\x1b\n\x06strict\x18\x04 \x01(\x08H\x02R\x06strict\x88\x01\x01\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.prot'
    b'obuf.StructR\x05extraB\x0e\n\x0c_descriptionB\x0e\n\x0c_schema_jsonB\t\n\x07_stric'
    b't"\xac\x01\n\x0cAudioOptions\x12\x1f\n\nvoice_name\x18\x01 \x01(\tH\x00R\tvoiceName\x12\x1b\n\x08voice'
    b'_id\x18\x02 \x01(\tH\x00R\x07voiceId\x12\x1b\n\x06format\x18\x03 \x01(\tH\x01R\x06format\x88\x01\x01\x12-\n\x05extra\x18d'
    b' \x01(\x0b2\x17.google.protobuf.StructR\x05extraB\x07\n\x05voiceB\t\n\x07_format"\xa3\x01\n'
    b'\nPrediction\x12\x12\n\x04type\x18\x01 \x01(\tR\x04type\x12\x14\n\x04text\x18\x02 \x01(\tH\x00R\x04text\x121\n\x05par'
    b'ts\x18\x03 \x01(\x0b2\x19.penstock.v1.ContentPartsH\x00R\x05parts\x12-\n\x05extra\x18d \x01(\x0b2'
    b'\x17.google.protobuf.StructR\x05extraB\t\n\x07content"\xce\x01\n\x10WebSearchOpti'
    b'ons\x12>\n\ruser_location\x18\x01 \x01(\x0b2\x19.penstock.v1.UserLocationR\x0cuserL'
    b'ocation\x123\n\x13search_context_size\x18\x02 \x01(\tH\x00R\x11searchContextSize\x88\x01\x01'
    b'\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05extraB\x16\n\x14_search_c'
    b'ontext_size"\x95\x01\n\x0cUserLocation\x12\x12\n\x04type\x18\x01 \x01(\tR\x04type\x12B\n\x0bapproxim'
    b'ate\x18\x02 \x01(\x0b2 .penstock.v1.ApproximateLocationR\x0bapproximate\x12-\n\x05'
    b'extra\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05extra"\xe7\x01\n\x13ApproximateL'
    b'ocation\x12\x1d\n\x07country\x18\x01 \x01(\tH\x00R\x07country\x88\x01\x01\x12\x1b\n\x06region\x18\x02 \x01(\tH\x01R\x06re'
    b'gion\x88\x01\x01\x12\x17\n\x04city\x18\x03 \x01(\tH\x02R\x04city\x88\x01\x01\x12\x1f\n\x08timezone\x18\x04 \x01(\tH\x03R\x08timezo'
    b'ne\x88\x01\x01\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05extraB\n\n\x08_cou'
    b'ntryB\t\n\x07_regionB\x07\n\x05_cityB\x0b\n\t_timezone"\x84\x01\n\x12PromptCacheOptions'
    b'\x12\x15\n\x03ttl\x18\x01 \x01(\tH\x00R\x03ttl\x88\x01\x01\x12\x17\n\x04mode\x18\x02 \x01(\tH\x01R\x04mode\x88\x01\x01\x12-\n\x05extra\x18d '
    b'\x01(\x0b2\x17.google.protobuf.StructR\x05extraB\x06\n\x04_ttlB\x07\n\x05_mode"\x8f\x01\n\x11Mod'
    b'erationOptions\x12\x14\n\x05model\x18\x01 \x01(\tR\x05model\x125\n\x06policy\x18\x02 \x01(\x0b2\x1d.penst'
    b'ock.v1.ModerationPolicyR\x06policy\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.prot'
    b'obuf.StructR\x05extra"\xa9\x01\n\x10ModerationPolicy\x121\n\x05input\x18\x01 \x01(\x0b2\x1b.pen'
    b'stock.v1.ModerationRuleR\x05input\x123\n\x06output\x18\x02 \x01(\x0b2\x1b.penstock.v1'
    b'.ModerationRuleR\x06output\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf.Str'
    b'uctR\x05extra"S\n\x0eModerationRule\x12\x12\n\x04mode\x18\x01 \x01(\tR\x04mode\x12-\n\x05extra\x18d '
    b'\x01(\x0b2\x17.google.protobuf.StructR\x05extrab\x06proto3'
)

ResponseFormat = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ResponseFormat"])
ResponseFormat.__module__ = __name__
JsonSchema = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["JsonSchema"])
JsonSchema.__module__ = __name__
AudioOptions = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["AudioOptions"])
AudioOptions.__module__ = __name__
Prediction = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["Prediction"])
Prediction.__module__ = __name__
WebSearchOptions = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["WebSearchOptions"])
WebSearchOptions.__module__ = __name__
UserLocation = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["UserLocation"])
UserLocation.__module__ = __name__
ApproximateLocation = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ApproximateLocation"])
ApproximateLocation.__module__ = __name__
PromptCacheOptions = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["PromptCacheOptions"])
PromptCacheOptions.__module__ = __name__
ModerationOptions = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ModerationOptions"])
ModerationOptions.__module__ = __name__
ModerationPolicy = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ModerationPolicy"])
ModerationPolicy.__module__ = __name__
ModerationRule = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ModerationRule"])
ModerationRule.__module__ = __name__
