"""Generated from `proto/penstock/v1` by `proto/generate.py`; not edited by hand."""

from google.protobuf import descriptor_pool, message_factory
from google.protobuf import struct_pb2 as _struct_pb2

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(
    b'\n\x18penstock/v1/common.proto\x12\x0bpenstock.v1\x1a\x1cgoogle/protobuf/str'
    b'uct.proto"f\n\x04Stop\x12\x1c\n\x08sequence\x18\x01 \x01(\tH\x00R\x08sequence\x127\n\tsequences'
    b'\x18\x02 \x01(\x0b2\x17.penstock.v1.StringListH\x00R\tsequencesB\x07\n\x05value"$\n\nStr'
    b'ingList\x12\x16\n\x06values\x18\x01 \x03(\tR\x06values"\x1d\n\tTokenList\x12\x10\n\x03ids\x18\x01 \x03(\rR\x03i'
    b'ds"<\n\nTokenLists\x12.\n\x06values\x18\x01 \x03(\x0b2\x16.penstock.v1.TokenListR\x06va'
    b'lues"\xc8\x01\n\rStreamOptions\x12(\n\rinclude_usage\x18\x01 \x01(\x08H\x00R\x0cincludeUsag'
    b'e\x88\x01\x01\x124\n\x13include_obfuscation\x18\x02 \x01(\x08H\x01R\x12includeObfuscation\x88\x01\x01\x12-'
    b'\n\x05extra\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05extraB\x10\n\x0e_include_us'
    b'ageB\x16\n\x14_include_obfuscation"\xab\x03\n\x05Usage\x12(\n\rprompt_tokens\x18\x01 \x01(\x03'
    b'H\x00R\x0cpromptTokens\x88\x01\x01\x120\n\x11completion_tokens\x18\x02 \x01(\x03H\x01R\x10completion'
    b'Tokens\x88\x01\x01\x12&\n\x0ctotal_tokens\x18\x03 \x01(\x03H\x02R\x0btotalTokens\x88\x01\x01\x12T\n\x15prompt_'
    b'tokens_details\x18\x04 \x01(\x0b2 .penstock.v1.PromptTokensDetailsR\x13prom'
    b'ptTokensDetails\x12`\n\x19completion_tokens_details\x18\x05 \x01(\x0b2$.penstoc'
    b'k.v1.CompletionTokensDetailsR\x17completionTokensDetails\x12-\n\x05ext'
    b'ra\x18d \x01(\x0b2\x17.google.protobuf.StructR\x05extraB\x10\n\x0e_prompt_tokensB\x14'
    b'\n\x12_completion_tokensB\x0f\n\r_total_tokens"\xf2\x02\n\x13PromptTokensDetail'
    b's\x12(\n\rcached_tokens\x18\x01 \x01(\x03H\x00R\x0ccachedTokens\x88\x01\x01\x121\n\x12cache_write_t'
    b'okens\x18\x02 \x01(\x03H\x01R\x10cacheWriteTokens\x88\x01\x01\x12&\n\x0caudio_tokens\x18\x03 \x01(\x03H\x02R\x0b'
    b'audioTokens\x88\x01\x01\x12$\n\x0btext_tokens\x18\x04 \x01(\x03H\x03R\ntextTokens\x88\x01\x01\x12&\n\x0cimag'
    b'e_tokens\x18\x05 \x01(\x03H\x04R\x0bimageTokens\x88\x01\x01\x12-\n\x05extra\x18d \x01(\x0b2\x17.google.pro'
    b'tobuf.StructR\x05extraB\x10\n\x0e_cached_tokensB\x15\n\x13_cache_write_tokens'
    b'B\x0f\n\r_audio_tokensB\x0e\n\x0c_text_tokensB\x0f\n\r_image_tokens"\xc0\x03\n\x17Compl'
    b'etionTokensDetails\x12.\n\x10reasoning_tokens\x18\x01 \x01(\x03H\x00R\x0freasoningTok'
    b'ens\x88\x01\x01\x12&\n\x0caudio_tokens\x18\x02 \x01(\x03H\x01R\x0baudioTokens\x88\x01\x01\x12$\n\x0btext_token'
    b's\x18\x03 \x01(\x03H\x02R\ntextTokens\x88\x01\x01\x12A\n\x1aaccepted_prediction_tokens\x18\x04 \x01(\x03'
    b'H\x03R\x18acceptedPredictionTokens\x88\x01\x01\x12A\n\x1arejected_prediction_token'
    b's\x18\x05 \x01(\x03H\x04R\x18rejectedPredictionTokens\x88\x01\x01\x12-\n\x05extra\x18d \x01(\x0b2\x17.goog'
    b'le.protobuf.StructR\x05extraB\x13\n\x11_reasoning_tokensB\x0f\n\r_audio_tok'
    b'ensB\x0e\n\x0c_text_tokensB\x1d\n\x1b_accepted_prediction_tokensB\x1d\n\x1b_rejec'
    b'ted_prediction_tokensb\x06proto3'
)

Stop = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["Stop"])
Stop.__module__ = __name__
StringList = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["StringList"])
StringList.__module__ = __name__
TokenList = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["TokenList"])
TokenList.__module__ = __name__
TokenLists = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["TokenLists"])
TokenLists.__module__ = __name__
StreamOptions = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["StreamOptions"])
StreamOptions.__module__ = __name__
Usage = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["Usage"])
Usage.__module__ = __name__
PromptTokensDetails = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["PromptTokensDetails"])
PromptTokensDetails.__module__ = __name__
CompletionTokensDetails = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name["CompletionTokensDetails"])
CompletionTokensDetails.__module__ = __name__
