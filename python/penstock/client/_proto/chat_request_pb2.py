"""Generated from `proto/penstock/v1` by `proto/generate.py`; not edited by hand."""

from google.protobuf import descriptor_pool, message_factory
from google.protobuf import struct_pb2 as _struct_pb2
from penstock.client._proto import chat_format_pb2 as _chat_format_pb2
from penstock.client._proto import chat_message_pb2 as _chat_message_pb2
from penstock.client._proto import chat_tool_pb2 as _chat_tool_pb2
from penstock.client._proto import common_pb2 as _common_pb2

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(
    b'\n\x1epenstock/v1/chat_request.proto\x12\x0bpenstock.v1\x1a\x1cgoogle/protob'
    b'uf/struct.proto\x1a\x1dpenstock/v1/chat_format.proto\x1a\x1epenstock/v1/'
    b'chat_message.proto\x1a\x1bpenstock/v1/chat_tool.proto\x1a\x18penstock/v1'
    b'/common.proto"\xd8\x11\n\x11ChatCreateRequest\x12\x14\n\x05model\x18\x01 \x01(\tR\x05model\x124\n'
    b"\x08messages\x18\x02 \x03(\x0b2\x18.penstock.v1.ChatMessageR\x08messages\x12'\n\x05tools"
    b'\x18\x03 \x03(\x0b2\x11.penstock.v1.ToolR\x05tools\x128\n\x0btool_choice\x18\x04 \x01(\x0b2\x17.pens'
    b'tock.v1.ToolChoiceR\ntoolChoice\x123\n\x13parallel_tool_calls\x18\x05 \x01(\x08H'
    b'\x00R\x11parallelToolCalls\x88\x01\x01\x12"\n\nmax_tokens\x18\x06 \x01(\x03H\x01R\tmaxTokens\x88\x01\x01\x12'
    b'7\n\x15max_completion_tokens\x18\x07 \x01(\x03H\x02R\x13maxCompletionTokens\x88\x01\x01\x12%\n\x0b'
    b'temperature\x18\x08 \x01(\x01H\x03R\x0btemperature\x88\x01\x01\x12\x18\n\x05top_p\x18\t \x01(\x01H\x04R\x04topP\x88\x01'
    b'\x01\x12\x11\n\x01n\x18\n \x01(\x05H\x05R\x01n\x88\x01\x01\x12%\n\x04stop\x18\x0b \x01(\x0b2\x11.penstock.v1.StopR\x04stop\x12'
    b'A\n\x0estream_options\x18\x0c \x01(\x0b2\x1a.penstock.v1.StreamOptionsR\rstreamO'
    b'ptions\x12.\n\x10reasoning_effort\x18\r \x01(\tH\x06R\x0freasoningEffort\x88\x01\x01\x12D\n\x0fre'
    b'sponse_format\x18\x0e \x01(\x0b2\x1b.penstock.v1.ResponseFormatR\x0eresponseFo'
    b'rmat\x12!\n\tverbosity\x18\x0f \x01(\tH\x07R\tverbosity\x88\x01\x01\x12\x17\n\x04seed\x18\x10 \x01(\x03H\x08R\x04see'
    b'd\x88\x01\x01\x120\n\x11frequency_penalty\x18\x11 \x01(\x01H\tR\x10frequencyPenalty\x88\x01\x01\x12.\n\x10pr'
    b'esence_penalty\x18\x12 \x01(\x01H\nR\x0fpresencePenalty\x88\x01\x01\x12L\n\nlogit_bias\x18\x13 \x03'
    b'(\x0b2-.penstock.v1.ChatCreateRequest.LogitBiasEntryR\tlogitBias'
    b'\x12\x1f\n\x08logprobs\x18\x14 \x01(\x08H\x0bR\x08logprobs\x88\x01\x01\x12&\n\x0ctop_logprobs\x18\x15 \x01(\x05H\x0cR\x0bt'
    b'opLogprobs\x88\x01\x01\x12\x1e\n\nmodalities\x18\x16 \x03(\tR\nmodalities\x12/\n\x05audio\x18\x17 \x01(\x0b'
    b'2\x19.penstock.v1.AudioOptionsR\x05audio\x127\n\nprediction\x18\x18 \x01(\x0b2\x17.pen'
    b'stock.v1.PredictionR\nprediction\x12K\n\x12web_search_options\x18\x19 \x01(\x0b2'
    b'\x1d.penstock.v1.WebSearchOptionsR\x10webSearchOptions\x12&\n\x0cservice_'
    b'tier\x18\x1a \x01(\tH\rR\x0bserviceTier\x88\x01\x01\x12\x19\n\x05store\x18\x1b \x01(\x08H\x0eR\x05store\x88\x01\x01\x12H\n\x08m'
    b'etadata\x18\x1c \x03(\x0b2,.penstock.v1.ChatCreateRequest.MetadataEntryR'
    b'\x08metadata\x12\x17\n\x04user\x18\x1d \x01(\tH\x0fR\x04user\x88\x01\x01\x120\n\x11safety_identifier\x18\x1e \x01('
    b'\tH\x10R\x10safetyIdentifier\x88\x01\x01\x12-\n\x10prompt_cache_key\x18\x1f \x01(\tH\x11R\x0eprompt'
    b'CacheKey\x88\x01\x01\x129\n\x16prompt_cache_retention\x18  \x01(\tH\x12R\x14promptCacheRe'
    b'tention\x88\x01\x01\x12Q\n\x14prompt_cache_options\x18! \x01(\x0b2\x1f.penstock.v1.Promp'
    b'tCacheOptionsR\x12promptCacheOptions\x12>\n\nmoderation\x18" \x01(\x0b2\x1e.pens'
    b'tock.v1.ModerationOptionsR\nmoderation\x12=\n\tfunctions\x18# \x03(\x0b2\x1f.p'
    b'enstock.v1.FunctionDefinitionR\tfunctions\x12D\n\rfunction_call\x18$ '
    b'\x01(\x0b2\x1f.penstock.v1.FunctionCallChoiceR\x0cfunctionCall\x12-\n\x05extra\x18'
    b'd \x01(\x0b2\x17.google.protobuf.StructR\x05extra\x1a<\n\x0eLogitBiasEntry\x12\x10\n\x03k'
    b'ey\x18\x01 \x01(\tR\x03key\x12\x14\n\x05value\x18\x02 \x01(\x01R\x05value:\x028\x01\x1a;\n\rMetadataEntry\x12\x10\n\x03'
    b'key\x18\x01 \x01(\tR\x03key\x12\x14\n\x05value\x18\x02 \x01(\tR\x05value:\x028\x01B\x16\n\x14_parallel_tool_c'
    b'allsB\r\n\x0b_max_tokensB\x18\n\x16_max_completion_tokensB\x0e\n\x0c_temperatur'
    b'eB\x08\n\x06_top_pB\x04\n\x02_nB\x13\n\x11_reasoning_effortB\x0c\n\n_verbosityB\x07\n\x05_see'
    b'dB\x14\n\x12_frequency_penaltyB\x13\n\x11_presence_penaltyB\x0b\n\t_logprobsB\x0f\n'
    b'\r_top_logprobsB\x0f\n\r_service_tierB\x08\n\x06_storeB\x07\n\x05_userB\x14\n\x12_safet'
    b'y_identifierB\x13\n\x11_prompt_cache_keyB\x19\n\x17_prompt_cache_retention'
    b'b\x06proto3'
)

ChatCreateRequest = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ChatCreateRequest"])
ChatCreateRequest.__module__ = __name__
