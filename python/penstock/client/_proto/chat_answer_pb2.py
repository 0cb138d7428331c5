"""Generated from `proto/penstock/v1` by `proto/generate.py`; not edited by hand."""

from google.protobuf import descriptor_pool, message_factory
from google.protobuf import struct_pb2 as _struct_pb2
from penstock.client._proto import chat_message_pb2 as _chat_message_pb2
from penstock.client._proto import common_pb2 as _common_pb2

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(
    b'\n\x1dpenstock/v1/chat_answer.proto\x12\x0bpenstock.v1\x1a\x1cgoogle/protobu'
    b'f/struct.proto\x1a\x1epenstock/v1/chat_message.proto\x1a\x18penstock/v1/'
    b'common.proto"\xa1\x04\n\x12ChatCreateResponse\x12\x0e\n\x02id\x18\x01 \x01(\tR\x02id\x12\x18\n\x07creat'
    b'ed\x18\x02 \x01(\x03R\x07created\x12\x14\n\x05model\x18\x03 \x01(\tR\x05model\x12-\n\x07choices\x18\x04 \x03(\x0b2\x13.p'
    b'enstock.v1.ChoiceR\x07choices\x12(\n\x05usage\x18\x05 \x01(\x0b2\x12.penstock.v1.Usag'
    b'eR\x05usage\x12&\n\x0cservice_tier\x18\x06 \x01(\tH\x00R\x0bserviceTier\x88\x01\x01\x122\n\x12system_f'
    b'ingerprint\x18\x07 \x01(\tH\x01R\x11systemFingerprint\x88\x01\x01\x12I\n\x08metadata\x18\x08 \x03(\x0b2-'
    b'.penstock.v1.ChatCreateResponse.MetadataEntryR\x08metadata\x127\n\nm'
    b'oderation\x18\t \x01(\x0b2\x17.penstock.v1.ModerationR\nmoderation\x12-\n\x05extr'
    b'a\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05extra\x1a;\n\rMetadataEntry\x12\x10\n\x03'
    b'key\x18\x01 \x01(\tR\x03key\x12\x14\n\x05value\x18\x02 \x01(\tR\x05value:\x028\x01B\x0f\n\r_service_tierB\x15\n'
    b'\x13_system_fingerprint"\xf2\x01\n\x06Choice\x12\x14\n\x05index\x18\x01 \x01(\x05R\x05index\x124\n\x07mes'
    b'sage\x18\x02 \x01(\x0b2\x1a.penstock.v1.AnswerMessageR\x07message\x121\n\x08logprobs\x18'
    b'\x03 \x01(\x0b2\x15.penstock.v1.LogprobsR\x08logprobs\x12(\n\rfinish_reason\x18\x04 \x01('
    b'\tH\x00R\x0cfinishReason\x88\x01\x01\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf.Struct'
    b'R\x05extraB\x10\n\x0e_finish_reason"\xd1\x03\n\rAnswerMessage\x12\x12\n\x04role\x18\x01 \x01(\tR\x04r'
    b'ole\x12\x1d\n\x07content\x18\x02 \x01(\tH\x00R\x07content\x88\x01\x01\x12\x1d\n\x07refusal\x18\x03 \x01(\tH\x01R\x07refus'
    b'al\x88\x01\x01\x124\n\ntool_calls\x18\x04 \x03(\x0b2\x15.penstock.v1.ToolCallR\ttoolCalls\x12'
    b'0\n\x11reasoning_content\x18\x05 \x01(\tH\x02R\x10reasoningContent\x88\x01\x01\x129\n\x0bannotat'
    b'ions\x18\x06 \x03(\x0b2\x17.penstock.v1.AnnotationR\x0bannotations\x12.\n\x05audio\x18\x07 '
    b'\x01(\x0b2\x18.penstock.v1.AnswerAudioR\x05audio\x12>\n\rfunction_call\x18\x08 \x01(\x0b2'
    b'\x19.penstock.v1.FunctionCallR\x0cfunctionCall\x12-\n\x05extra\x18d \x01(\x0b2\x17.go'
    b'ogle.protobuf.StructR\x05extraB\n\n\x08_contentB\n\n\x08_refusalB\x14\n\x12_reas'
    b'oning_content"\xe1\x01\n\x0bAnswerAudio\x12\x13\n\x02id\x18\x01 \x01(\tH\x00R\x02id\x88\x01\x01\x12"\n\nexpire'
    b's_at\x18\x02 \x01(\x03H\x01R\texpiresAt\x88\x01\x01\x12\x17\n\x04data\x18\x03 \x01(\tH\x02R\x04data\x88\x01\x01\x12#\n\ntrans'
    b'cript\x18\x04 \x01(\tH\x03R\ntranscript\x88\x01\x01\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobu'
    b'f.StructR\x05extraB\x05\n\x03_idB\r\n\x0b_expires_atB\x07\n\x05_dataB\r\n\x0b_transcrip'
    b't"\xd5\x03\n\x12ChatStreamResponse\x12\x0e\n\x02id\x18\x01 \x01(\tR\x02id\x12\x18\n\x07created\x18\x02 \x01(\x03R\x07c'
    b'reated\x12\x14\n\x05model\x18\x03 \x01(\tR\x05model\x122\n\x07choices\x18\x04 \x03(\x0b2\x18.penstock.v1.'
    b'ChunkChoiceR\x07choices\x12(\n\x05usage\x18\x05 \x01(\x0b2\x12.penstock.v1.UsageR\x05usa'
    b'ge\x12&\n\x0cservice_tier\x18\x06 \x01(\tH\x00R\x0bserviceTier\x88\x01\x01\x122\n\x12system_fingerp'
    b'rint\x18\x07 \x01(\tH\x01R\x11systemFingerprint\x88\x01\x01\x12%\n\x0bobfuscation\x18\x08 \x01(\tH\x02R\x0bo'
    b'bfuscation\x88\x01\x01\x127\n\nmoderation\x18\t \x01(\x0b2\x17.penstock.v1.ModerationR\n'
    b'moderation\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05extraB\x0f\n'
    b'\r_service_tierB\x15\n\x13_system_fingerprintB\x0e\n\x0c_obfuscation"\xeb\x01\n\x0bCh'
    b'unkChoice\x12\x14\n\x05index\x18\x01 \x01(\x05R\x05index\x12(\n\x05delta\x18\x02 \x01(\x0b2\x12.penstock.v1'
    b'.DeltaR\x05delta\x121\n\x08logprobs\x18\x03 \x01(\x0b2\x15.penstock.v1.LogprobsR\x08logp'
    b'robs\x12(\n\rfinish_reason\x18\x04 \x01(\tH\x00R\x0cfinishReason\x88\x01\x01\x12-\n\x05extra\x18d \x01('
    b'\x0b2\x17.google.protobuf.StructR\x05extraB\x10\n\x0e_finish_reason"\xd7\x03\n\x05Delt'
    b'a\x12\x17\n\x04role\x18\x01 \x01(\tH\x00R\x04role\x88\x01\x01\x12\x1d\n\x07content\x18\x02 \x01(\tH\x01R\x07content\x88\x01\x01\x12\x1d\n'
    b'\x07refusal\x18\x03 \x01(\tH\x02R\x07refusal\x88\x01\x01\x124\n\ntool_calls\x18\x04 \x03(\x0b2\x15.penstock.'
    b'v1.ToolCallR\ttoolCalls\x120\n\x11reasoning_content\x18\x05 \x01(\tH\x03R\x10reasoni'
    b'ngContent\x88\x01\x01\x129\n\x0bannotations\x18\x06 \x03(\x0b2\x17.penstock.v1.AnnotationR\x0b'
    b'annotations\x12.\n\x05audio\x18\x07 \x01(\x0b2\x18.penstock.v1.AnswerAudioR\x05audio\x12'
    b'>\n\rfunction_call\x18\x08 \x01(\x0b2\x19.penstock.v1.FunctionCallR\x0cfunctionC'
    b'all\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05extraB\x07\n\x05_roleB'
    b'\n\n\x08_contentB\n\n\x08_refusalB\x14\n\x12_reasoning_content"\xa3\x01\n\x08Logprobs\x123'
    b'\n\x07content\x18\x01 \x03(\x0b2\x19.penstock.v1.TokenLogprobR\x07content\x123\n\x07refus'
    b'al\x18\x02 \x03(\x0b2\x19.penstock.v1.TokenLogprobR\x07refusal\x12-\n\x05extra\x18d \x01(\x0b2'
    b'\x17.google.protobuf.StructR\x05extra"\xd0\x01\n\x0cTokenLogprob\x12\x14\n\x05token\x18\x01 '
    b'\x01(\tR\x05token\x12\x18\n\x07logprob\x18\x02 \x01(\x01R\x07logprob\x12\x19\n\x05bytes\x18\x03 \x01(\x0cH\x00R\x05bytes'
    b'\x88\x01\x01\x12<\n\x0ctop_logprobs\x18\x04 \x03(\x0b2\x19.penstock.v1.TokenLogprobR\x0btopLog'
    b'probs\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05extraB\x08\n\x06_byt'
    b'es"\xa9\x01\n\nModeration\x124\n\x05input\x18\x01 \x01(\x0b2\x1e.penstock.v1.ModerationOut'
    b'comeR\x05input\x126\n\x06output\x18\x02 \x01(\x0b2\x1e.penstock.v1.ModerationOutcomeR'
    b'\x06output\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05extra"\xd4\x01\n\x11M'
    b'oderationOutcome\x12O\n\x12moderation_results\x18\x01 \x01(\x0b2\x1e.penstock.v1.M'
    b'oderationResultsH\x00R\x11moderationResults\x124\n\x05error\x18\x02 \x01(\x0b2\x1c.penst'
    b'ock.v1.ModerationErrorH\x00R\x05error\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.prot'
    b'obuf.StructR\x05extraB\t\n\x07outcome"b\n\x11ModerationResults\x12\x14\n\x05model\x18'
    b'\x01 \x01(\tR\x05model\x127\n\x07results\x18\x02 \x03(\x0b2\x1d.penstock.v1.ModerationResult'
    b'R\x07results"\x84\x05\n\x10ModerationResult\x12\x14\n\x05model\x18\x01 \x01(\tR\x05model\x12\x18\n\x07flag'
    b'ged\x18\x02 \x01(\x08R\x07flagged\x12M\n\ncategories\x18\x03 \x03(\x0b2-.penstock.v1.Moderat'
    b'ionResult.CategoriesEntryR\ncategories\x12Z\n\x0fcategory_scores\x18\x04 \x03'
    b'(\x0b21.penstock.v1.ModerationResult.CategoryScoresEntryR\x0ecateg'
    b'oryScores\x12}\n\x1ccategory_applied_input_types\x18\x05 \x03(\x0b2<.penstock.v'
    b'1.ModerationResult.CategoryAppliedInputTypesEntryR\x19categoryA'
    b'ppliedInputTypes\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05ex'
    b'tra\x1a=\n\x0fCategoriesEntry\x12\x10\n\x03key\x18\x01 \x01(\tR\x03key\x12\x14\n\x05value\x18\x02 \x01(\x08R\x05val'
    b'ue:\x028\x01\x1aA\n\x13CategoryScoresEntry\x12\x10\n\x03key\x18\x01 \x01(\tR\x03key\x12\x14\n\x05value\x18\x02 \x01'
    b'(\x01R\x05value:\x028\x01\x1ae\n\x1eCategoryAppliedInputTypesEntry\x12\x10\n\x03key\x18\x01 \x01(\t'
    b'R\x03key\x12-\n\x05value\x18\x02 \x01(\x0b2\x17.penstock.v1.StringListR\x05value:\x028\x01"?\n\x0f'
    b'ModerationError\x12\x12\n\x04code\x18\x01 \x01(\tR\x04code\x12\x18\n\x07message\x18\x02 \x01(\tR\x07messag'
    b'eb\x06proto3'
)

ChatCreateResponse = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ChatCreateResponse"])
ChatCreateResponse.__module__ = __name__
Choice = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["Choice"])
Choice.__module__ = __name__
AnswerMessage = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["AnswerMessage"])
AnswerMessage.__module__ = __name__
AnswerAudio = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["AnswerAudio"])
AnswerAudio.__module__ = __name__
ChatStreamResponse = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ChatStreamResponse"])
ChatStreamResponse.__module__ = __name__
ChunkChoice = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ChunkChoice"])
ChunkChoice.__module__ = __name__
Delta = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["Delta"])
Delta.__module__ = __name__
Logprobs = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["Logprobs"])
Logprobs.__module__ = __name__
TokenLogprob = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["TokenLogprob"])
TokenLogprob.__module__ = __name__
Moderation = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["Moderation"])
Moderation.__module__ = __name__
ModerationOutcome = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ModerationOutcome"])
ModerationOutcome.__module__ = __name__
ModerationResults = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ModerationResults"])
ModerationResults.__module__ = __name__
ModerationResult = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ModerationResult"])
ModerationResult.__module__ = __name__
ModerationError = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["ModerationError"])
ModerationError.__module__ = __name__
