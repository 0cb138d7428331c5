"""Generated from `proto/penstock/v1` by `proto/generate.py`; not edited by hand."""

from google.protobuf import descriptor_pool, message_factory
from google.protobuf import struct_pb2 as _struct_pb2
from penstock.client._proto import common_pb2 as _common_pb2

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(
    b'\n\x1dpenstock/v1/completions.proto\x12\x0bpenstock.v1\x1a\x1cgoogle/protobu'
    b'f/struct.proto\x1a\x18penstock/v1/common.proto"\xb5\x08\n\x18CompletionsCrea'
    b'teRequest\x12\x14\n\x05model\x18\x01 \x01(\tR\x05model\x12\x14\n\x04text\x18\x02 \x01(\tH\x00R\x04text\x12/\n\x05tex'
    b'ts\x18\x03 \x01(\x0b2\x17.penstock.v1.StringListH\x00R\x05texts\x120\n\x06tokens\x18\x04 \x01(\x0b2\x16'
    b'.penstock.v1.TokenListH\x00R\x06tokens\x12:\n\x0btoken_lists\x18\x05 \x01(\x0b2\x17.pens'
    b'tock.v1.TokenListsH\x00R\ntokenLists\x12\x1b\n\x06suffix\x18\x06 \x01(\tH\x01R\x06suffix\x88\x01'
    b'\x01\x12"\n\nmax_tokens\x18\x07 \x01(\x03H\x02R\tmaxTokens\x88\x01\x01\x12%\n\x0btemperature\x18\x08 \x01(\x01H\x03'
    b'R\x0btemperature\x88\x01\x01\x12\x18\n\x05top_p\x18\t \x01(\x01H\x04R\x04topP\x88\x01\x01\x12\x11\n\x01n\x18\n \x01(\x05H\x05R\x01n\x88\x01'
    b'\x01\x12\x1c\n\x07best_of\x18\x0b \x01(\x05H\x06R\x06bestOf\x88\x01\x01\x12\x17\n\x04echo\x18\x0c \x01(\x08H\x07R\x04echo\x88\x01\x01\x12%\n\x04'
    b'stop\x18\r \x01(\x0b2\x11.penstock.v1.StopR\x04stop\x12A\n\x0estream_options\x18\x0e \x01(\x0b2'
    b'\x1a.penstock.v1.StreamOptionsR\rstreamOptions\x12\x17\n\x04seed\x18\x0f \x01(\x03H\x08R\x04'
    b'seed\x88\x01\x01\x120\n\x11frequency_penalty\x18\x10 \x01(\x01H\tR\x10frequencyPenalty\x88\x01\x01\x12.\n'
    b'\x10presence_penalty\x18\x11 \x01(\x01H\nR\x0fpresencePenalty\x88\x01\x01\x12S\n\nlogit_bias\x18'
    b'\x12 \x03(\x0b24.penstock.v1.CompletionsCreateRequest.LogitBiasEntryR'
    b'\tlogitBias\x12\x1f\n\x08logprobs\x18\x13 \x01(\x05H\x0bR\x08logprobs\x88\x01\x01\x12\x17\n\x04user\x18\x14 \x01(\tH\x0cR'
    b'\x04user\x88\x01\x01\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05extra\x1a<\n\x0eL'
    b'ogitBiasEntry\x12\x10\n\x03key\x18\x01 \x01(\tR\x03key\x12\x14\n\x05value\x18\x02 \x01(\x01R\x05value:\x028\x01B\x08\n'
    b'\x06promptB\t\n\x07_suffixB\r\n\x0b_max_tokensB\x0e\n\x0c_temperatureB\x08\n\x06_top_pB'
    b'\x04\n\x02_nB\n\n\x08_best_ofB\x07\n\x05_echoB\x07\n\x05_seedB\x14\n\x12_frequency_penaltyB\x13\n'
    b'\x11_presence_penaltyB\x0b\n\t_logprobsB\x07\n\x05_user"\xb8\x02\n\x19CompletionsCrea'
    b'teResponse\x12\x0e\n\x02id\x18\x01 \x01(\tR\x02id\x12\x18\n\x07created\x18\x02 \x01(\x03R\x07created\x12\x14\n\x05mode'
    b'l\x18\x03 \x01(\tR\x05model\x127\n\x07choices\x18\x04 \x03(\x0b2\x1d.penstock.v1.CompletionChoi'
    b'ceR\x07choices\x12(\n\x05usage\x18\x05 \x01(\x0b2\x12.penstock.v1.UsageR\x05usage\x122\n\x12sys'
    b'tem_fingerprint\x18\x06 \x01(\tH\x00R\x11systemFingerprint\x88\x01\x01\x12-\n\x05extra\x18d \x01(\x0b'
    b'2\x17.google.protobuf.StructR\x05extraB\x15\n\x13_system_fingerprint"\xb8\x02\n\x19'
    b'CompletionsStreamResponse\x12\x0e\n\x02id\x18\x01 \x01(\tR\x02id\x12\x18\n\x07created\x18\x02 \x01(\x03R\x07'
    b'created\x12\x14\n\x05model\x18\x03 \x01(\tR\x05model\x127\n\x07choices\x18\x04 \x03(\x0b2\x1d.penstock.v1'
    b'.CompletionChoiceR\x07choices\x12(\n\x05usage\x18\x05 \x01(\x0b2\x12.penstock.v1.Usag'
    b'eR\x05usage\x122\n\x12system_fingerprint\x18\x06 \x01(\tH\x00R\x11systemFingerprint\x88\x01\x01'
    b'\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05extraB\x15\n\x13_system_f'
    b'ingerprint"\xe4\x01\n\x10CompletionChoice\x12\x14\n\x05index\x18\x01 \x01(\x05R\x05index\x12\x12\n\x04tex'
    b't\x18\x02 \x01(\tR\x04text\x12;\n\x08logprobs\x18\x03 \x01(\x0b2\x1f.penstock.v1.CompletionLogp'
    b'robsR\x08logprobs\x12(\n\rfinish_reason\x18\x04 \x01(\tH\x00R\x0cfinishReason\x88\x01\x01\x12-\n\x05'
    b'extra\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05extraB\x10\n\x0e_finish_reaso'
    b'n"\x80\x01\n\x12CompletionLogprobs\x12;\n\x06tokens\x18\x01 \x03(\x0b2#.penstock.v1.Compl'
    b'etionTokenLogprobR\x06tokens\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf.S'
    b'tructR\x05extra"\xa8\x02\n\x16CompletionTokenLogprob\x12\x14\n\x05token\x18\x01 \x01(\tR\x05toke'
    b'n\x12\x1d\n\x07logprob\x18\x02 \x01(\x01H\x00R\x07logprob\x88\x01\x01\x12$\n\x0btext_offset\x18\x03 \x01(\x03H\x01R\ntex'
    b'tOffset\x88\x01\x01\x12W\n\x0ctop_logprobs\x18\x04 \x03(\x0b24.penstock.v1.CompletionTok'
    b'enLogprob.TopLogprobsEntryR\x0btopLogprobs\x1a>\n\x10TopLogprobsEntry\x12'
    b'\x10\n\x03key\x18\x01 \x01(\tR\x03key\x12\x14\n\x05value\x18\x02 \x01(\x01R\x05value:\x028\x01B\n\n\x08_logprobB\x0e\n\x0c_'
    b'text_offset2\xc1\x01\n\x0bCompletions\x12W\n\x06Create\x12%.penstock.v1.Completi'
    b'onsCreateRequest\x1a&.penstock.v1.CompletionsCreateResponse\x12Y\n\x06'
    b'Stream\x12%.penstock.v1.CompletionsCreateRequest\x1a&.penstock.v1.'
    b'CompletionsStreamResponse0\x01b\x06proto3'
)

CompletionsCreateRequest = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["CompletionsCreateRequest"])
CompletionsCreateRequest.__module__ = __name__
CompletionsCreateResponse = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["CompletionsCreateResponse"])
CompletionsCreateResponse.__module__ = __name__
CompletionsStreamResponse = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["CompletionsStreamResponse"])
CompletionsStreamResponse.__module__ = __name__
CompletionChoice = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["CompletionChoice"])
CompletionChoice.__module__ = __name__
CompletionLogprobs = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["CompletionLogprobs"])
CompletionLogprobs.__module__ = __name__
CompletionTokenLogprob = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["CompletionTokenLogprob"])
CompletionTokenLogprob.__module__ = __name__
