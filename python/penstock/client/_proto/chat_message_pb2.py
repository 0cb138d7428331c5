"""Generated from `proto/penstock/v1` by `proto/generate.py`; not edited by hand."""

from google.protobuf import descriptor_pool, message_factory
from google.protobuf import struct_pb2 as _struct_pb2

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(
    b'\n\x1epenstock/v1/chat_message.proto\x12\x0bpenstock.v1\x1a\x1cgoogle/protob'
    b'uf/struct.proto"\x96\x05\n\x0bChatMessage\x12\x12\n\x04role\x18\x01 \x01(\tR\x04role\x12\x14\n\x04text\x18'
    b'\x02 \x01(\tH\x00R\x04text\x121\n\x05parts\x18\x03 \x01(\x0b2\x19.penstock.v1.ContentPartsH\x00R\x05p'
    b'arts\x12?\n\x0cnull_content\x18\x04 \x01(\x0e2\x1a.google.protobuf.NullValueH\x00R\x0bnu'
    b'llContent\x12\x17\n\x04name\x18\x05 \x01(\tH\x01R\x04name\x88\x01\x01\x12\x1d\n\x07refusal\x18\x06 \x01(\tH\x02R\x07refus'
    b'al\x88\x01\x01\x124\n\ntool_calls\x18\x07 \x03(\x0b2\x15.penstock.v1.ToolCallR\ttoolCalls\x12'
    b'%\n\x0ctool_call_id\x18\x08 \x01(\tH\x03R\ntoolCallId\x88\x01\x01\x120\n\x11reasoning_content\x18'
    b'\t \x01(\tH\x04R\x10reasoningContent\x88\x01\x01\x121\n\x05audio\x18\n \x01(\x0b2\x1b.penstock.v1.Au'
    b'dioReferenceR\x05audio\x12>\n\rfunction_call\x18\x0b \x01(\x0b2\x19.penstock.v1.Fun'
    b'ctionCallR\x0cfunctionCall\x129\n\x0bannotations\x18\x0c \x03(\x0b2\x17.penstock.v1.A'
    b'nnotationR\x0bannotations\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf.Stru'
    b'ctR\x05extraB\t\n\x07contentB\x07\n\x05_nameB\n\n\x08_refusalB\x0f\n\r_tool_call_idB\x14'
    b'\n\x12_reasoning_content">\n\x0cContentParts\x12.\n\x05parts\x18\x01 \x03(\x0b2\x18.pensto'
    b'ck.v1.ContentPartR\x05parts"\xed\x02\n\x0bContentPart\x12\x14\n\x04text\x18\x01 \x01(\tH\x00R\x04te'
    b'xt\x124\n\timage_url\x18\x02 \x01(\x0b2\x15.penstock.v1.ImageUrlH\x00R\x08imageUrl\x12:\n\x0b'
    b"input_audio\x18\x03 \x01(\x0b2\x17.penstock.v1.InputAudioH\x00R\ninputAudio\x12'\n\x04"
    b'file\x18\x04 \x01(\x0b2\x11.penstock.v1.FileH\x00R\x04file\x12\x1a\n\x07refusal\x18\x05 \x01(\tH\x00R\x07re'
    b'fusal\x12Z\n\x17prompt_cache_breakpoint\x18\x06 \x01(\x0b2".penstock.v1.PromptC'
    b'acheBreakpointR\x15promptCacheBreakpoint\x12-\n\x05extra\x18d \x01(\x0b2\x17.googl'
    b'e.protobuf.StructR\x05extraB\x06\n\x04part"s\n\x08ImageUrl\x12\x10\n\x03url\x18\x01 \x01(\tR\x03u'
    b'rl\x12\x1b\n\x06detail\x18\x02 \x01(\tH\x00R\x06detail\x88\x01\x01\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.prot'
    b'obuf.StructR\x05extraB\t\n\x07_detail"g\n\nInputAudio\x12\x12\n\x04data\x18\x01 \x01(\tR\x04d'
    b'ata\x12\x16\n\x06format\x18\x02 \x01(\tR\x06format\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf'
    b'.StructR\x05extra"\xbd\x01\n\x04File\x12 \n\tfile_data\x18\x01 \x01(\tH\x00R\x08fileData\x88\x01\x01\x12\x1c\n'
    b'\x07file_id\x18\x02 \x01(\tH\x01R\x06fileId\x88\x01\x01\x12\x1f\n\x08filename\x18\x03 \x01(\tH\x02R\x08filename\x88\x01\x01'
    b'\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05extraB\x0c\n\n_file_dat'
    b'aB\n\n\x08_file_idB\x0b\n\t_filename"Z\n\x15PromptCacheBreakpoint\x12\x12\n\x04mode\x18'
    b'\x01 \x01(\tR\x04mode\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05extra"O'
    b'\n\x0eAudioReference\x12\x0e\n\x02id\x18\x01 \x01(\tR\x02id\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.pro'
    b'tobuf.StructR\x05extra"\x97\x02\n\x08ToolCall\x12\x19\n\x05index\x18\x01 \x01(\x05H\x01R\x05index\x88\x01\x01\x12'
    b'\x13\n\x02id\x18\x02 \x01(\tH\x02R\x02id\x88\x01\x01\x12\x17\n\x04type\x18\x03 \x01(\tH\x03R\x04type\x88\x01\x01\x127\n\x08function\x18\x04 '
    b'\x01(\x0b2\x19.penstock.v1.FunctionCallH\x00R\x08function\x125\n\x06custom\x18\x05 \x01(\x0b2\x1b'
    b'.penstock.v1.CustomToolCallH\x00R\x06custom\x12-\n\x05extra\x18d \x01(\x0b2\x17.googl'
    b'e.protobuf.StructR\x05extraB\t\n\x07payloadB\x08\n\x06_indexB\x05\n\x03_idB\x07\n\x05_typ'
    b'e"\x90\x01\n\x0cFunctionCall\x12\x17\n\x04name\x18\x01 \x01(\tH\x00R\x04name\x88\x01\x01\x12!\n\targuments\x18\x02 \x01'
    b'(\tH\x01R\targuments\x88\x01\x01\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05'
    b'extraB\x07\n\x05_nameB\x0c\n\n_arguments"\x86\x01\n\x0eCustomToolCall\x12\x17\n\x04name\x18\x01 \x01('
    b'\tH\x00R\x04name\x88\x01\x01\x12\x19\n\x05input\x18\x02 \x01(\tH\x01R\x05input\x88\x01\x01\x12-\n\x05extra\x18d \x01(\x0b2\x17.goo'
    b'gle.protobuf.StructR\x05extraB\x07\n\x05_nameB\x08\n\x06_input"\x9a\x01\n\nAnnotation'
    b'\x12\x17\n\x04type\x18\x01 \x01(\tH\x00R\x04type\x88\x01\x01\x12;\n\x0curl_citation\x18\x02 \x01(\x0b2\x18.penstock.v'
    b'1.UrlCitationR\x0burlCitation\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf.'
    b'StructR\x05extraB\x07\n\x05_type"\xe6\x01\n\x0bUrlCitation\x12\x15\n\x03url\x18\x01 \x01(\tH\x00R\x03url\x88\x01'
    b'\x01\x12\x19\n\x05title\x18\x02 \x01(\tH\x01R\x05title\x88\x01\x01\x12$\n\x0bstart_index\x18\x03 \x01(\x03H\x02R\nstartIn'
    b'dex\x88\x01\x01\x12 \n\tend_index\x18\x04 \x01(\x03H\x03R\x08endIndex\x88\x01\x01\x12-\n\x05extra\x18d \x01(\x0b2\x17.go'
    b'ogle.protobuf.StructR\x05extraB\x06\n\x04_urlB\x08\n\x06_titleB\x0e\n\x0c_start_inde'
    b'xB\x0c\n\n_end_indexb\x06proto3'
)

ChatMessage = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ChatMessage"])
ChatMessage.__module__ = __name__
ContentParts = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ContentParts"])
ContentParts.__module__ = __name__
ContentPart = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ContentPart"])
ContentPart.__module__ = __name__
ImageUrl = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ImageUrl"])
ImageUrl.__module__ = __name__
InputAudio = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["InputAudio"])
InputAudio.__module__ = __name__
File = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["File"])
File.__module__ = __name__
PromptCacheBreakpoint = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["PromptCacheBreakpoint"])
PromptCacheBreakpoint.__module__ = __name__
AudioReference = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["AudioReference"])
AudioReference.__module__ = __name__
ToolCall = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ToolCall"])
ToolCall.__module__ = __name__
FunctionCall = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["FunctionCall"])
FunctionCall.__module__ = __name__
CustomToolCall = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["CustomToolCall"])
CustomToolCall.__module__ = __name__
Annotation = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["Annotation"])
Annotation.__module__ = __name__
UrlCitation = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["UrlCitation"])
UrlCitation.__module__ = __name__
