"""Generated from `proto/penstock/v1` by `proto/generate.py`; not edited by hand."""

from google.protobuf import descriptor_pool, message_factory
from google.protobuf import struct_pb2 as _struct_pb2

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(
    b'\n\x1bpenstock/v1/chat_tool.proto\x12\x0bpenstock.v1\x1a\x1cgoogle/protobuf/'
    b'struct.proto"\xaf\x01\n\x04Tool\x12=\n\x08function\x18\x01 \x01(\x0b2\x1f.penstock.v1.Functi'
    b'onDefinitionH\x00R\x08function\x121\n\x06custom\x18\x02 \x01(\x0b2\x17.penstock.v1.Custo'
    b'mToolH\x00R\x06custom\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05ext'
    b'raB\x06\n\x04tool"\xf8\x01\n\x12FunctionDefinition\x12\x12\n\x04name\x18\x01 \x01(\tR\x04name\x12%\n\x0bdes'
    b'cription\x18\x02 \x01(\tH\x00R\x0bdescription\x88\x01\x01\x12,\n\x0fparameters_json\x18\x03 \x01(\tH\x01R'
    b'\x0eparametersJson\x88\x01\x01\x12\x1b\n\x06strict\x18\x04 \x01(\x08H\x02R\x06strict\x88\x01\x01\x12-\n\x05extra\x18d \x01'
    b'(\x0b2\x17.google.protobuf.StructR\x05extraB\x0e\n\x0c_descriptionB\x12\n\x10_param'
    b'eters_jsonB\t\n\x07_strict"\xbd\x01\n\nCustomTool\x12\x12\n\x04name\x18\x01 \x01(\tR\x04name\x12%\n\x0b'
    b'description\x18\x02 \x01(\tH\x00R\x0bdescription\x88\x01\x01\x125\n\x06format\x18\x03 \x01(\x0b2\x1d.pensto'
    b'ck.v1.CustomToolFormatR\x06format\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.proto'
    b'buf.StructR\x05extraB\x0e\n\x0c_description"\x85\x01\n\x10CustomToolFormat\x12\x12\n\x04ty'
    b'pe\x18\x01 \x01(\tR\x04type\x12.\n\x07grammar\x18\x02 \x01(\x0b2\x14.penstock.v1.GrammarR\x07gramm'
    b'ar\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05extra"p\n\x07Grammar'
    b'\x12\x16\n\x06syntax\x18\x01 \x01(\tR\x06syntax\x12\x1e\n\ndefinition\x18\x02 \x01(\tR\ndefinition\x12-\n\x05'
    b'extra\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05extra"\x85\x02\n\nToolChoice\x12\x14'
    b'\n\x04mode\x18\x01 \x01(\tH\x00R\x04mode\x124\n\x08function\x18\x02 \x01(\x0b2\x16.penstock.v1.NamedTo'
    b'olH\x00R\x08function\x120\n\x06custom\x18\x03 \x01(\x0b2\x16.penstock.v1.NamedToolH\x00R\x06cu'
    b'stom\x12@\n\rallowed_tools\x18\x04 \x01(\x0b2\x19.penstock.v1.AllowedToolsH\x00R\x0cal'
    b'lowedTools\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05extraB\x08\n'
    b'\x06choice"N\n\tNamedTool\x12\x12\n\x04name\x18\x01 \x01(\tR\x04name\x12-\n\x05extra\x18d \x01(\x0b2\x17.go'
    b'ogle.protobuf.StructR\x05extra"\x80\x01\n\x0cAllowedTools\x12\x12\n\x04mode\x18\x01 \x01(\tR\x04'
    b'mode\x12-\n\x05tools\x18\x02 \x03(\x0b2\x17.google.protobuf.StructR\x05tools\x12-\n\x05extra'
    b'\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05extra"j\n\x12FunctionCallChoice'
    b'\x12\x14\n\x04mode\x18\x01 \x01(\tH\x00R\x04mode\x124\n\x08function\x18\x02 \x01(\x0b2\x16.penstock.v1.Named'
    b'ToolH\x00R\x08functionB\x08\n\x06choiceb\x06proto3'
)

Tool = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["Tool"])
Tool.__module__ = __name__
FunctionDefinition = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["FunctionDefinition"])
FunctionDefinition.__module__ = __name__
CustomTool = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["CustomTool"])
CustomTool.__module__ = __name__
CustomToolFormat = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["CustomToolFormat"])
CustomToolFormat.__module__ = __name__
Grammar = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["Grammar"])
Grammar.__module__ = __name__
ToolChoice = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ToolChoice"])
ToolChoice.__module__ = __name__
NamedTool = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["NamedTool"])
NamedTool.__module__ = __name__
AllowedTools = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["AllowedTools"])
AllowedTools.__module__ = __name__
FunctionCallChoice = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["FunctionCallChoice"])
FunctionCallChoice.__module__ = __name__
