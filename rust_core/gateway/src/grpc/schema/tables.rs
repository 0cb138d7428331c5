//! Generated from `proto/penstock/v1` by `proto/generate.py`; not edited by hand.

use super::{Kind, Message, NULLABLE, OPTIONAL, REPEATED, Shape, field};

pub(super) static ALLOWED_TOOLS: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x1,
    numbers: &[0, 1, 2],
    multiplier: 1113923749, names: &[1, 0, 0, 2],
    fields: &[
        field(1, "\"mode\":", Kind::Text, 0),
        field(2, "\"tools\":", Kind::Struct, REPEATED),
    ],
};

pub(super) static ANNOTATION: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x0,
    numbers: &[0, 1, 2],
    multiplier: 308243279, names: &[0, 2, 1, 0],
    fields: &[
        field(1, "\"type\":", Kind::Text, OPTIONAL),
        field(2, "\"url_citation\":", Kind::Message(&URL_CITATION), OPTIONAL),
    ],
};

pub(super) static ANSWER_AUDIO: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x0,
    numbers: &[0, 1, 2, 3, 4],
    multiplier: 634682549, names: &[0, 3, 2, 0, 0, 1, 0, 4],
    fields: &[
        field(1, "\"id\":", Kind::Text, OPTIONAL),
        field(2, "\"expires_at\":", Kind::Int64, OPTIONAL),
        field(3, "\"data\":", Kind::Text, OPTIONAL),
        field(4, "\"transcript\":", Kind::Text, OPTIONAL),
    ],
};

pub(super) static ANSWER_MESSAGE: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x7,
    numbers: &[0, 1, 2, 3, 4, 5, 6, 7, 8],
    multiplier: 2850444283, names: &[5, 0, 6, 3, 0, 0, 0, 0, 0, 4, 7, 8, 0, 0, 1, 2],
    fields: &[
        field(1, "\"role\":", Kind::Text, 0),
        field(2, "\"content\":", Kind::Text, OPTIONAL | NULLABLE),
        field(3, "\"refusal\":", Kind::Text, OPTIONAL | NULLABLE),
        field(4, "\"tool_calls\":", Kind::Message(&TOOL_CALL), REPEATED),
        field(5, "\"reasoning_content\":", Kind::Text, OPTIONAL),
        field(6, "\"annotations\":", Kind::Message(&ANNOTATION), REPEATED),
        field(7, "\"audio\":", Kind::Message(&ANSWER_AUDIO), OPTIONAL),
        field(8, "\"function_call\":", Kind::Message(&FUNCTION_CALL), OPTIONAL),
    ],
};

pub(super) static APPROXIMATE_LOCATION: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x0,
    numbers: &[0, 1, 2, 3, 4],
    multiplier: 568504161, names: &[1, 3, 0, 0, 4, 2, 0, 0],
    fields: &[
        field(1, "\"country\":", Kind::Text, OPTIONAL),
        field(2, "\"region\":", Kind::Text, OPTIONAL),
        field(3, "\"city\":", Kind::Text, OPTIONAL),
        field(4, "\"timezone\":", Kind::Text, OPTIONAL),
    ],
};

pub(super) static AUDIO_OPTIONS: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x3, written: 0x0,
    numbers: &[0, 1, 2, 3],
    multiplier: 1551784503, names: &[1, 0, 0, 3],
    fields: &[
        field(1, "\"voice\":", Kind::Text, OPTIONAL),
        field(2, "\"voice\":", Kind::Id, OPTIONAL),
        field(3, "\"format\":", Kind::Text, OPTIONAL),
    ],
};

pub(super) static AUDIO_REFERENCE: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x1,
    numbers: &[0, 1],
    multiplier: 1593078211, names: &[1, 0],
    fields: &[
        field(1, "\"id\":", Kind::Text, 0),
    ],
};

pub(super) static CHAT_CREATE_REQUEST: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x3,
    numbers: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36],
    multiplier: 3887027191, names: &[0, 25, 0, 0, 6, 0, 27, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 35, 0, 19, 15, 0, 13, 0, 26, 0, 0, 0, 9, 20, 0, 17, 0, 0, 0, 36, 29, 0, 12, 0, 0, 0, 30, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 23, 0, 2, 4, 0, 3, 18, 0, 0, 0, 0, 0, 0, 33, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 34, 0, 21, 0, 32, 0, 5, 14, 0, 0, 0, 24, 0, 16, 31, 22, 10, 0, 0, 0, 0, 0, 0, 0, 0],
    fields: &[
        field(1, "\"model\":", Kind::Text, 0),
        field(2, "\"messages\":", Kind::Message(&CHAT_MESSAGE), REPEATED),
        field(3, "\"tools\":", Kind::Message(&TOOL), REPEATED),
        field(4, "\"tool_choice\":", Kind::Message(&TOOL_CHOICE), OPTIONAL),
        field(5, "\"parallel_tool_calls\":", Kind::Bool, OPTIONAL),
        field(6, "\"max_tokens\":", Kind::Int64, OPTIONAL),
        field(7, "\"max_completion_tokens\":", Kind::Int64, OPTIONAL),
        field(8, "\"temperature\":", Kind::Double, OPTIONAL),
        field(9, "\"top_p\":", Kind::Double, OPTIONAL),
        field(10, "\"n\":", Kind::Int32, OPTIONAL),
        field(11, "\"stop\":", Kind::Message(&STOP), OPTIONAL),
        field(12, "\"stream_options\":", Kind::Message(&STREAM_OPTIONS), OPTIONAL),
        field(13, "\"reasoning_effort\":", Kind::Text, OPTIONAL),
        field(14, "\"response_format\":", Kind::Message(&RESPONSE_FORMAT), OPTIONAL),
        field(15, "\"verbosity\":", Kind::Text, OPTIONAL),
        field(16, "\"seed\":", Kind::Int64, OPTIONAL),
        field(17, "\"frequency_penalty\":", Kind::Double, OPTIONAL),
        field(18, "\"presence_penalty\":", Kind::Double, OPTIONAL),
        field(19, "\"logit_bias\":", Kind::Map(&Kind::Double), REPEATED),
        field(20, "\"logprobs\":", Kind::Bool, OPTIONAL),
        field(21, "\"top_logprobs\":", Kind::Int32, OPTIONAL),
        field(22, "\"modalities\":", Kind::Text, REPEATED),
        field(23, "\"audio\":", Kind::Message(&AUDIO_OPTIONS), OPTIONAL),
        field(24, "\"prediction\":", Kind::Message(&PREDICTION), OPTIONAL),
        field(25, "\"web_search_options\":", Kind::Message(&WEB_SEARCH_OPTIONS), OPTIONAL),
        field(26, "\"service_tier\":", Kind::Text, OPTIONAL),
        field(27, "\"store\":", Kind::Bool, OPTIONAL),
        field(28, "\"metadata\":", Kind::Map(&Kind::Text), REPEATED),
        field(29, "\"user\":", Kind::Text, OPTIONAL),
        field(30, "\"safety_identifier\":", Kind::Text, OPTIONAL),
        field(31, "\"prompt_cache_key\":", Kind::Text, OPTIONAL),
        field(32, "\"prompt_cache_retention\":", Kind::Text, OPTIONAL),
        field(33, "\"prompt_cache_options\":", Kind::Message(&PROMPT_CACHE_OPTIONS), OPTIONAL),
        field(34, "\"moderation\":", Kind::Message(&MODERATION_OPTIONS), OPTIONAL),
        field(35, "\"functions\":", Kind::Message(&FUNCTION_DEFINITION), REPEATED),
        field(36, "\"function_call\":", Kind::Message(&FUNCTION_CALL_CHOICE), OPTIONAL),
    ],
};

pub(super) static CHAT_CREATE_RESPONSE: Message = Message {
    shape: Shape::Object, object: "chat.completion", extra: true, oneof: 0x0, written: 0xf,
    numbers: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    multiplier: 606852629, names: &[5, 0, 0, 0, 0, 0, 0, 0, 3, 8, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 4, 1, 0, 2, 9, 6, 0, 0, 0, 0],
    fields: &[
        field(1, "\"id\":", Kind::Text, 0),
        field(2, "\"created\":", Kind::Int64, 0),
        field(3, "\"model\":", Kind::Text, 0),
        field(4, "\"choices\":", Kind::Message(&CHOICE), REPEATED),
        field(5, "\"usage\":", Kind::Message(&USAGE), OPTIONAL),
        field(6, "\"service_tier\":", Kind::Text, OPTIONAL),
        field(7, "\"system_fingerprint\":", Kind::Text, OPTIONAL),
        field(8, "\"metadata\":", Kind::Map(&Kind::Text), REPEATED),
        field(9, "\"moderation\":", Kind::Message(&MODERATION), OPTIONAL),
    ],
};

pub(super) static CHAT_MESSAGE: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0xe, written: 0x1,
    numbers: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
    multiplier: 1423590691, names: &[2, 0, 10, 0, 0, 0, 0, 5, 9, 7, 0, 0, 11, 12, 0, 0, 0, 0, 0, 0, 0, 6, 1, 0, 0, 8, 0, 0, 0, 0, 0, 0],
    fields: &[
        field(1, "\"role\":", Kind::Text, 0),
        field(2, "\"content\":", Kind::Text, OPTIONAL),
        field(3, "\"content\":", Kind::Message(&CONTENT_PARTS), OPTIONAL),
        field(4, "\"content\":", Kind::Null, OPTIONAL),
        field(5, "\"name\":", Kind::Text, OPTIONAL),
        field(6, "\"refusal\":", Kind::Text, OPTIONAL),
        field(7, "\"tool_calls\":", Kind::Message(&TOOL_CALL), REPEATED),
        field(8, "\"tool_call_id\":", Kind::Text, OPTIONAL),
        field(9, "\"reasoning_content\":", Kind::Text, OPTIONAL),
        field(10, "\"audio\":", Kind::Message(&AUDIO_REFERENCE), OPTIONAL),
        field(11, "\"function_call\":", Kind::Message(&FUNCTION_CALL), OPTIONAL),
        field(12, "\"annotations\":", Kind::Message(&ANNOTATION), REPEATED),
    ],
};

pub(super) static CHAT_STREAM_RESPONSE: Message = Message {
    shape: Shape::Object, object: "chat.completion.chunk", extra: true, oneof: 0x0, written: 0x1f,
    numbers: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    multiplier: 1718057655, names: &[8, 6, 0, 0, 0, 4, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 2, 0, 1, 0, 0, 0, 0, 7, 5],
    fields: &[
        field(1, "\"id\":", Kind::Text, 0),
        field(2, "\"created\":", Kind::Int64, 0),
        field(3, "\"model\":", Kind::Text, 0),
        field(4, "\"choices\":", Kind::Message(&CHUNK_CHOICE), REPEATED),
        field(5, "\"usage\":", Kind::Message(&USAGE), OPTIONAL | NULLABLE),
        field(6, "\"service_tier\":", Kind::Text, OPTIONAL),
        field(7, "\"system_fingerprint\":", Kind::Text, OPTIONAL),
        field(8, "\"obfuscation\":", Kind::Text, OPTIONAL),
        field(9, "\"moderation\":", Kind::Message(&MODERATION), OPTIONAL),
    ],
};

pub(super) static CHOICE: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0xd,
    numbers: &[0, 1, 2, 3, 4],
    multiplier: 3823637529, names: &[1, 0, 3, 0, 0, 0, 4, 2],
    fields: &[
        field(1, "\"index\":", Kind::Int32, 0),
        field(2, "\"message\":", Kind::Message(&ANSWER_MESSAGE), OPTIONAL),
        field(3, "\"logprobs\":", Kind::Message(&LOGPROBS), OPTIONAL | NULLABLE),
        field(4, "\"finish_reason\":", Kind::Text, OPTIONAL | NULLABLE),
    ],
};

pub(super) static CHUNK_CHOICE: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0xd,
    numbers: &[0, 1, 2, 3, 4],
    multiplier: 1360318729, names: &[0, 0, 4, 0, 1, 3, 2, 0],
    fields: &[
        field(1, "\"index\":", Kind::Int32, 0),
        field(2, "\"delta\":", Kind::Message(&DELTA), OPTIONAL),
        field(3, "\"logprobs\":", Kind::Message(&LOGPROBS), OPTIONAL | NULLABLE),
        field(4, "\"finish_reason\":", Kind::Text, OPTIONAL | NULLABLE),
    ],
};

pub(super) static COMPLETION_CHOICE: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0xf,
    numbers: &[0, 1, 2, 3, 4],
    multiplier: 2737742677, names: &[0, 2, 1, 0, 0, 3, 4, 0],
    fields: &[
        field(1, "\"index\":", Kind::Int32, 0),
        field(2, "\"text\":", Kind::Text, 0),
        field(3, "\"logprobs\":", Kind::Message(&COMPLETION_LOGPROBS), OPTIONAL | NULLABLE),
        field(4, "\"finish_reason\":", Kind::Text, OPTIONAL | NULLABLE),
    ],
};

pub(super) static COMPLETION_LOGPROBS: Message = Message {
    shape: Shape::Columns, object: "", extra: true, oneof: 0x0, written: 0x0,
    numbers: &[0, 1],
    multiplier: 3984927609, names: &[0, 1],
    fields: &[
        field(1, "\"tokens\":", Kind::Message(&COMPLETION_TOKEN_LOGPROB), REPEATED),
    ],
};

pub(super) static COMPLETION_TOKEN_LOGPROB: Message = Message {
    shape: Shape::Object, object: "", extra: false, oneof: 0x0, written: 0x1,
    numbers: &[0, 1, 2, 3, 4],
    multiplier: 3913754093, names: &[0, 0, 1, 4, 2, 0, 0, 3],
    fields: &[
        field(1, "\"token\":", Kind::Text, 0),
        field(2, "\"logprob\":", Kind::Double, OPTIONAL),
        field(3, "\"text_offset\":", Kind::Int64, OPTIONAL),
        field(4, "\"top_logprobs\":", Kind::Map(&Kind::Double), REPEATED),
    ],
};

pub(super) static COMPLETION_TOKENS_DETAILS: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x0,
    numbers: &[0, 1, 2, 3, 4, 5],
    multiplier: 2375769573, names: &[1, 0, 0, 5, 0, 0, 0, 0, 0, 3, 0, 0, 0, 4, 0, 2],
    fields: &[
        field(1, "\"reasoning_tokens\":", Kind::Int64, OPTIONAL),
        field(2, "\"audio_tokens\":", Kind::Int64, OPTIONAL),
        field(3, "\"text_tokens\":", Kind::Int64, OPTIONAL),
        field(4, "\"accepted_prediction_tokens\":", Kind::Int64, OPTIONAL),
        field(5, "\"rejected_prediction_tokens\":", Kind::Int64, OPTIONAL),
    ],
};

pub(super) static COMPLETIONS_CREATE_REQUEST: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x1e, written: 0x1,
    numbers: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20],
    multiplier: 1639905977, names: &[16, 2, 0, 0, 0, 15, 0, 0, 0, 9, 0, 0, 0, 8, 0, 0, 0, 0, 7, 13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 14, 0, 0, 0, 10, 0, 20, 0, 0, 1, 0, 0, 0, 0, 0, 19, 17, 0, 0, 12, 0, 0, 0, 0, 0, 0, 6, 0, 0, 11, 0, 0, 18, 0, 0],
    fields: &[
        field(1, "\"model\":", Kind::Text, 0),
        field(2, "\"prompt\":", Kind::Text, OPTIONAL),
        field(3, "\"prompt\":", Kind::Message(&STRING_LIST), OPTIONAL),
        field(4, "\"prompt\":", Kind::Message(&TOKEN_LIST), OPTIONAL),
        field(5, "\"prompt\":", Kind::Message(&TOKEN_LISTS), OPTIONAL),
        field(6, "\"suffix\":", Kind::Text, OPTIONAL),
        field(7, "\"max_tokens\":", Kind::Int64, OPTIONAL),
        field(8, "\"temperature\":", Kind::Double, OPTIONAL),
        field(9, "\"top_p\":", Kind::Double, OPTIONAL),
        field(10, "\"n\":", Kind::Int32, OPTIONAL),
        field(11, "\"best_of\":", Kind::Int32, OPTIONAL),
        field(12, "\"echo\":", Kind::Bool, OPTIONAL),
        field(13, "\"stop\":", Kind::Message(&STOP), OPTIONAL),
        field(14, "\"stream_options\":", Kind::Message(&STREAM_OPTIONS), OPTIONAL),
        field(15, "\"seed\":", Kind::Int64, OPTIONAL),
        field(16, "\"frequency_penalty\":", Kind::Double, OPTIONAL),
        field(17, "\"presence_penalty\":", Kind::Double, OPTIONAL),
        field(18, "\"logit_bias\":", Kind::Map(&Kind::Double), REPEATED),
        field(19, "\"logprobs\":", Kind::Int32, OPTIONAL),
        field(20, "\"user\":", Kind::Text, OPTIONAL),
    ],
};

pub(super) static COMPLETIONS_CREATE_RESPONSE: Message = Message {
    shape: Shape::Object, object: "text_completion", extra: true, oneof: 0x0, written: 0xf,
    numbers: &[0, 1, 2, 3, 4, 5, 6],
    multiplier: 2408364841, names: &[0, 2, 0, 0, 1, 0, 4, 0, 0, 5, 6, 0, 0, 3, 0, 0],
    fields: &[
        field(1, "\"id\":", Kind::Text, 0),
        field(2, "\"created\":", Kind::Int64, 0),
        field(3, "\"model\":", Kind::Text, 0),
        field(4, "\"choices\":", Kind::Message(&COMPLETION_CHOICE), REPEATED),
        field(5, "\"usage\":", Kind::Message(&USAGE), OPTIONAL),
        field(6, "\"system_fingerprint\":", Kind::Text, OPTIONAL),
    ],
};

pub(super) static COMPLETIONS_STREAM_RESPONSE: Message = Message {
    shape: Shape::Object, object: "text_completion", extra: true, oneof: 0x0, written: 0x1f,
    numbers: &[0, 1, 2, 3, 4, 5, 6],
    multiplier: 1442027331, names: &[1, 0, 0, 0, 0, 0, 0, 2, 6, 5, 0, 0, 0, 3, 4, 0],
    fields: &[
        field(1, "\"id\":", Kind::Text, 0),
        field(2, "\"created\":", Kind::Int64, 0),
        field(3, "\"model\":", Kind::Text, 0),
        field(4, "\"choices\":", Kind::Message(&COMPLETION_CHOICE), REPEATED),
        field(5, "\"usage\":", Kind::Message(&USAGE), OPTIONAL | NULLABLE),
        field(6, "\"system_fingerprint\":", Kind::Text, OPTIONAL),
    ],
};

pub(super) static CONTENT_PART: Message = Message {
    shape: Shape::Tagged, object: "", extra: true, oneof: 0x1f, written: 0x0,
    numbers: &[0, 1, 2, 3, 4, 5, 6],
    multiplier: 3835424587, names: &[0, 5, 0, 0, 1, 0, 0, 4, 0, 3, 0, 6, 0, 0, 2, 0],
    fields: &[
        field(1, "\"text\":", Kind::Text, OPTIONAL),
        field(2, "\"image_url\":", Kind::Message(&IMAGE_URL), OPTIONAL),
        field(3, "\"input_audio\":", Kind::Message(&INPUT_AUDIO), OPTIONAL),
        field(4, "\"file\":", Kind::Message(&FILE), OPTIONAL),
        field(5, "\"refusal\":", Kind::Text, OPTIONAL),
        field(6, "\"prompt_cache_breakpoint\":", Kind::Message(&PROMPT_CACHE_BREAKPOINT), OPTIONAL),
    ],
};

pub(super) static CONTENT_PARTS: Message = Message {
    shape: Shape::Bare, object: "", extra: false, oneof: 0x0, written: 0x0,
    numbers: &[0, 1],
    multiplier: 0, names: &[],
    fields: &[
        field(1, "", Kind::Message(&CONTENT_PART), REPEATED),
    ],
};

pub(super) static CUSTOM_TOOL: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x1,
    numbers: &[0, 1, 2, 3],
    multiplier: 1294089315, names: &[1, 0, 2, 0, 0, 0, 0, 3],
    fields: &[
        field(1, "\"name\":", Kind::Text, 0),
        field(2, "\"description\":", Kind::Text, OPTIONAL),
        field(3, "\"format\":", Kind::Message(&CUSTOM_TOOL_FORMAT), OPTIONAL),
    ],
};

pub(super) static CUSTOM_TOOL_CALL: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x0,
    numbers: &[0, 1, 2],
    multiplier: 3160271481, names: &[0, 1, 0, 2],
    fields: &[
        field(1, "\"name\":", Kind::Text, OPTIONAL),
        field(2, "\"input\":", Kind::Text, OPTIONAL),
    ],
};

pub(super) static CUSTOM_TOOL_FORMAT: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x1,
    numbers: &[0, 1, 2],
    multiplier: 1359157591, names: &[0, 1, 2, 0],
    fields: &[
        field(1, "\"type\":", Kind::Text, 0),
        field(2, "\"grammar\":", Kind::Message(&GRAMMAR), OPTIONAL),
    ],
};

pub(super) static DELTA: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x0,
    numbers: &[0, 1, 2, 3, 4, 5, 6, 7, 8],
    multiplier: 3511356637, names: &[6, 0, 0, 0, 4, 0, 1, 0, 7, 8, 0, 0, 0, 2, 5, 3],
    fields: &[
        field(1, "\"role\":", Kind::Text, OPTIONAL),
        field(2, "\"content\":", Kind::Text, OPTIONAL),
        field(3, "\"refusal\":", Kind::Text, OPTIONAL),
        field(4, "\"tool_calls\":", Kind::Message(&TOOL_CALL), REPEATED),
        field(5, "\"reasoning_content\":", Kind::Text, OPTIONAL),
        field(6, "\"annotations\":", Kind::Message(&ANNOTATION), REPEATED),
        field(7, "\"audio\":", Kind::Message(&ANSWER_AUDIO), OPTIONAL),
        field(8, "\"function_call\":", Kind::Message(&FUNCTION_CALL), OPTIONAL),
    ],
};

pub(super) static EMBEDDING: Message = Message {
    shape: Shape::Object, object: "embedding", extra: true, oneof: 0x0, written: 0x3,
    numbers: &[0, 1, 2],
    multiplier: 3808569113, names: &[2, 0, 0, 1],
    fields: &[
        field(1, "\"index\":", Kind::Int32, 0),
        field(2, "\"embedding\":", Kind::Float, REPEATED),
    ],
};

pub(super) static EMBEDDINGS_CREATE_REQUEST: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x1e, written: 0x1,
    numbers: &[0, 1, 2, 3, 4, 5, 6, 7, 8],
    multiplier: 1642989447, names: &[0, 0, 7, 0, 0, 2, 0, 1, 0, 0, 0, 8, 0, 6, 0, 0],
    fields: &[
        field(1, "\"model\":", Kind::Text, 0),
        field(2, "\"input\":", Kind::Text, OPTIONAL),
        field(3, "\"input\":", Kind::Message(&STRING_LIST), OPTIONAL),
        field(4, "\"input\":", Kind::Message(&TOKEN_LIST), OPTIONAL),
        field(5, "\"input\":", Kind::Message(&TOKEN_LISTS), OPTIONAL),
        field(6, "\"dimensions\":", Kind::Int32, OPTIONAL),
        field(7, "\"user\":", Kind::Text, OPTIONAL),
        field(8, "\"encoding_format\":", Kind::Text, OPTIONAL),
    ],
};

pub(super) static EMBEDDINGS_CREATE_RESPONSE: Message = Message {
    shape: Shape::Object, object: "list", extra: true, oneof: 0x0, written: 0x3,
    numbers: &[0, 1, 2, 3],
    multiplier: 2075249487, names: &[0, 1, 0, 2, 0, 3, 0, 0],
    fields: &[
        field(1, "\"data\":", Kind::Message(&EMBEDDING), REPEATED),
        field(2, "\"model\":", Kind::Text, 0),
        field(3, "\"usage\":", Kind::Message(&USAGE), OPTIONAL),
    ],
};

pub(super) static FILE: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x0,
    numbers: &[0, 1, 2, 3],
    multiplier: 2691987881, names: &[2, 1, 3, 0, 0, 0, 0, 0],
    fields: &[
        field(1, "\"file_data\":", Kind::Text, OPTIONAL),
        field(2, "\"file_id\":", Kind::Text, OPTIONAL),
        field(3, "\"filename\":", Kind::Text, OPTIONAL),
    ],
};

pub(super) static FUNCTION_CALL: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x0,
    numbers: &[0, 1, 2],
    multiplier: 345865563, names: &[0, 2, 0, 1],
    fields: &[
        field(1, "\"name\":", Kind::Text, OPTIONAL),
        field(2, "\"arguments\":", Kind::Text, OPTIONAL),
    ],
};

pub(super) static FUNCTION_CALL_CHOICE: Message = Message {
    shape: Shape::Bare, object: "", extra: false, oneof: 0x3, written: 0x0,
    numbers: &[0, 1, 2],
    multiplier: 0, names: &[],
    fields: &[
        field(1, "", Kind::Text, OPTIONAL),
        field(2, "", Kind::Message(&NAMED_TOOL), OPTIONAL),
    ],
};

pub(super) static FUNCTION_DEFINITION: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x1,
    numbers: &[0, 1, 2, 3, 4],
    multiplier: 2290063265, names: &[0, 4, 1, 3, 0, 2, 0, 0],
    fields: &[
        field(1, "\"name\":", Kind::Text, 0),
        field(2, "\"description\":", Kind::Text, OPTIONAL),
        field(3, "\"parameters\":", Kind::Json, OPTIONAL),
        field(4, "\"strict\":", Kind::Bool, OPTIONAL),
    ],
};

pub(super) static GRAMMAR: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x3,
    numbers: &[0, 1, 2],
    multiplier: 976795157, names: &[2, 0, 1, 0],
    fields: &[
        field(1, "\"syntax\":", Kind::Text, 0),
        field(2, "\"definition\":", Kind::Text, 0),
    ],
};

pub(super) static IMAGE_URL: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x1,
    numbers: &[0, 1, 2],
    multiplier: 3928547167, names: &[0, 2, 1, 0],
    fields: &[
        field(1, "\"url\":", Kind::Text, 0),
        field(2, "\"detail\":", Kind::Text, OPTIONAL),
    ],
};

pub(super) static INPUT_AUDIO: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x3,
    numbers: &[0, 1, 2],
    multiplier: 3494279929, names: &[0, 0, 2, 1],
    fields: &[
        field(1, "\"data\":", Kind::Text, 0),
        field(2, "\"format\":", Kind::Text, 0),
    ],
};

pub(super) static JSON_SCHEMA: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x1,
    numbers: &[0, 1, 2, 3, 4],
    multiplier: 3613633595, names: &[4, 0, 0, 0, 2, 3, 1, 0],
    fields: &[
        field(1, "\"name\":", Kind::Text, 0),
        field(2, "\"description\":", Kind::Text, OPTIONAL),
        field(3, "\"schema\":", Kind::Json, OPTIONAL),
        field(4, "\"strict\":", Kind::Bool, OPTIONAL),
    ],
};

pub(super) static LOGPROBS: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x0,
    numbers: &[0, 1, 2],
    multiplier: 2907145325, names: &[0, 1, 2, 0],
    fields: &[
        field(1, "\"content\":", Kind::Message(&TOKEN_LOGPROB), REPEATED),
        field(2, "\"refusal\":", Kind::Message(&TOKEN_LOGPROB), REPEATED),
    ],
};

pub(super) static MODERATION: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x0,
    numbers: &[0, 1, 2],
    multiplier: 200225055, names: &[0, 1, 0, 2],
    fields: &[
        field(1, "\"input\":", Kind::Message(&MODERATION_OUTCOME), OPTIONAL),
        field(2, "\"output\":", Kind::Message(&MODERATION_OUTCOME), OPTIONAL),
    ],
};

pub(super) static MODERATION_ERROR: Message = Message {
    shape: Shape::Object, object: "", extra: false, oneof: 0x0, written: 0x3,
    numbers: &[0, 1, 2],
    multiplier: 2683210691, names: &[1, 0, 2, 0],
    fields: &[
        field(1, "\"code\":", Kind::Text, 0),
        field(2, "\"message\":", Kind::Text, 0),
    ],
};

pub(super) static MODERATION_OPTIONS: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x1,
    numbers: &[0, 1, 2],
    multiplier: 3026116243, names: &[0, 2, 1, 0],
    fields: &[
        field(1, "\"model\":", Kind::Text, 0),
        field(2, "\"policy\":", Kind::Message(&MODERATION_POLICY), OPTIONAL),
    ],
};

pub(super) static MODERATION_OUTCOME: Message = Message {
    shape: Shape::Flat, object: "", extra: true, oneof: 0x3, written: 0x0,
    numbers: &[0, 1, 2],
    multiplier: 875329209, names: &[0, 0, 1, 2],
    fields: &[
        field(1, "\"moderation_results\":", Kind::Message(&MODERATION_RESULTS), OPTIONAL),
        field(2, "\"error\":", Kind::Message(&MODERATION_ERROR), OPTIONAL),
    ],
};

pub(super) static MODERATION_POLICY: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x0,
    numbers: &[0, 1, 2],
    multiplier: 3776247879, names: &[0, 1, 0, 2],
    fields: &[
        field(1, "\"input\":", Kind::Message(&MODERATION_RULE), OPTIONAL),
        field(2, "\"output\":", Kind::Message(&MODERATION_RULE), OPTIONAL),
    ],
};

pub(super) static MODERATION_RESULT: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x3,
    numbers: &[0, 1, 2, 3, 4, 5],
    multiplier: 1859976617, names: &[0, 0, 4, 3, 0, 0, 0, 5, 0, 0, 0, 0, 2, 1, 0, 0],
    fields: &[
        field(1, "\"model\":", Kind::Text, 0),
        field(2, "\"flagged\":", Kind::Bool, 0),
        field(3, "\"categories\":", Kind::Map(&Kind::Bool), REPEATED),
        field(4, "\"category_scores\":", Kind::Map(&Kind::Double), REPEATED),
        field(5, "\"category_applied_input_types\":", Kind::Map(&Kind::Message(&STRING_LIST)), REPEATED),
    ],
};

pub(super) static MODERATION_RESULTS: Message = Message {
    shape: Shape::Object, object: "", extra: false, oneof: 0x0, written: 0x1,
    numbers: &[0, 1, 2],
    multiplier: 844188715, names: &[1, 0, 0, 2],
    fields: &[
        field(1, "\"model\":", Kind::Text, 0),
        field(2, "\"results\":", Kind::Message(&MODERATION_RESULT), REPEATED),
    ],
};

pub(super) static MODERATION_RULE: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x1,
    numbers: &[0, 1],
    multiplier: 3070694533, names: &[0, 1],
    fields: &[
        field(1, "\"mode\":", Kind::Text, 0),
    ],
};

pub(super) static NAMED_TOOL: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x1,
    numbers: &[0, 1],
    multiplier: 3249853907, names: &[0, 1],
    fields: &[
        field(1, "\"name\":", Kind::Text, 0),
    ],
};

pub(super) static PREDICTION: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x6, written: 0x1,
    numbers: &[0, 1, 2, 3],
    multiplier: 1592142001, names: &[0, 2, 1, 0],
    fields: &[
        field(1, "\"type\":", Kind::Text, 0),
        field(2, "\"content\":", Kind::Text, OPTIONAL),
        field(3, "\"content\":", Kind::Message(&CONTENT_PARTS), OPTIONAL),
    ],
};

pub(super) static PROMPT_CACHE_BREAKPOINT: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x1,
    numbers: &[0, 1],
    multiplier: 899778831, names: &[1, 0],
    fields: &[
        field(1, "\"mode\":", Kind::Text, 0),
    ],
};

pub(super) static PROMPT_CACHE_OPTIONS: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x0,
    numbers: &[0, 1, 2],
    multiplier: 3712743453, names: &[2, 0, 1, 0],
    fields: &[
        field(1, "\"ttl\":", Kind::Text, OPTIONAL),
        field(2, "\"mode\":", Kind::Text, OPTIONAL),
    ],
};

pub(super) static PROMPT_TOKENS_DETAILS: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x0,
    numbers: &[0, 1, 2, 3, 4, 5],
    multiplier: 1358859625, names: &[5, 4, 0, 0, 0, 0, 0, 3, 0, 2, 1, 0, 0, 0, 0, 0],
    fields: &[
        field(1, "\"cached_tokens\":", Kind::Int64, OPTIONAL),
        field(2, "\"cache_write_tokens\":", Kind::Int64, OPTIONAL),
        field(3, "\"audio_tokens\":", Kind::Int64, OPTIONAL),
        field(4, "\"text_tokens\":", Kind::Int64, OPTIONAL),
        field(5, "\"image_tokens\":", Kind::Int64, OPTIONAL),
    ],
};

pub(super) static RESPONSE_FORMAT: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x1,
    numbers: &[0, 1, 2],
    multiplier: 3128724027, names: &[2, 1, 0, 0],
    fields: &[
        field(1, "\"type\":", Kind::Text, 0),
        field(2, "\"json_schema\":", Kind::Message(&JSON_SCHEMA), OPTIONAL),
    ],
};

pub(super) static STOP: Message = Message {
    shape: Shape::Bare, object: "", extra: false, oneof: 0x3, written: 0x0,
    numbers: &[0, 1, 2],
    multiplier: 0, names: &[],
    fields: &[
        field(1, "", Kind::Text, OPTIONAL),
        field(2, "", Kind::Message(&STRING_LIST), OPTIONAL),
    ],
};

pub(super) static STREAM_OPTIONS: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x0,
    numbers: &[0, 1, 2],
    multiplier: 208028551, names: &[0, 2, 0, 1],
    fields: &[
        field(1, "\"include_usage\":", Kind::Bool, OPTIONAL),
        field(2, "\"include_obfuscation\":", Kind::Bool, OPTIONAL),
    ],
};

pub(super) static STRING_LIST: Message = Message {
    shape: Shape::Bare, object: "", extra: false, oneof: 0x0, written: 0x0,
    numbers: &[0, 1],
    multiplier: 0, names: &[],
    fields: &[
        field(1, "", Kind::Text, REPEATED),
    ],
};

pub(super) static TOKEN_LIST: Message = Message {
    shape: Shape::Bare, object: "", extra: false, oneof: 0x0, written: 0x0,
    numbers: &[0, 1],
    multiplier: 0, names: &[],
    fields: &[
        field(1, "", Kind::Uint32, REPEATED),
    ],
};

pub(super) static TOKEN_LISTS: Message = Message {
    shape: Shape::Bare, object: "", extra: false, oneof: 0x0, written: 0x0,
    numbers: &[0, 1],
    multiplier: 0, names: &[],
    fields: &[
        field(1, "", Kind::Message(&TOKEN_LIST), REPEATED),
    ],
};

pub(super) static TOKEN_LOGPROB: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x7,
    numbers: &[0, 1, 2, 3, 4],
    multiplier: 189237065, names: &[4, 0, 0, 0, 1, 0, 2, 3],
    fields: &[
        field(1, "\"token\":", Kind::Text, 0),
        field(2, "\"logprob\":", Kind::Double, 0),
        field(3, "\"bytes\":", Kind::Bytes, OPTIONAL | NULLABLE),
        field(4, "\"top_logprobs\":", Kind::Message(&TOKEN_LOGPROB), REPEATED),
    ],
};

pub(super) static TOKENS_CONVERSATION: Message = Message {
    shape: Shape::Object, object: "", extra: false, oneof: 0x0, written: 0x1,
    numbers: &[0, 1, 2],
    multiplier: 128743163, names: &[0, 0, 2, 1],
    fields: &[
        field(1, "\"messages\":", Kind::Message(&CHAT_MESSAGE), REPEATED),
        field(2, "\"tools\":", Kind::Message(&TOOL), REPEATED),
    ],
};

pub(super) static TOOL: Message = Message {
    shape: Shape::Tagged, object: "", extra: true, oneof: 0x3, written: 0x0,
    numbers: &[0, 1, 2],
    multiplier: 1166717211, names: &[0, 1, 0, 2],
    fields: &[
        field(1, "\"function\":", Kind::Message(&FUNCTION_DEFINITION), OPTIONAL),
        field(2, "\"custom\":", Kind::Message(&CUSTOM_TOOL), OPTIONAL),
    ],
};

pub(super) static TOOL_CALL: Message = Message {
    shape: Shape::Call, object: "", extra: true, oneof: 0x18, written: 0x0,
    numbers: &[0, 2, 3, 1, 4, 5],
    multiplier: 75748393, names: &[0, 1, 0, 0, 0, 0, 0, 0, 3, 2, 0, 0, 5, 0, 0, 4],
    fields: &[
        field(3, "\"type\":", Kind::Text, OPTIONAL),
        field(1, "\"index\":", Kind::Int32, OPTIONAL),
        field(2, "\"id\":", Kind::Text, OPTIONAL),
        field(4, "\"function\":", Kind::Message(&FUNCTION_CALL), OPTIONAL),
        field(5, "\"custom\":", Kind::Message(&CUSTOM_TOOL_CALL), OPTIONAL),
    ],
};

pub(super) static TOOL_CHOICE: Message = Message {
    shape: Shape::BareOrTagged, object: "", extra: true, oneof: 0xf, written: 0x0,
    numbers: &[0, 1, 2, 3, 4],
    multiplier: 821581467, names: &[2, 0, 4, 0, 0, 0, 0, 3],
    fields: &[
        field(1, "", Kind::Text, OPTIONAL),
        field(2, "\"function\":", Kind::Message(&NAMED_TOOL), OPTIONAL),
        field(3, "\"custom\":", Kind::Message(&NAMED_TOOL), OPTIONAL),
        field(4, "\"allowed_tools\":", Kind::Message(&ALLOWED_TOOLS), OPTIONAL),
    ],
};

pub(super) static URL_CITATION: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x0,
    numbers: &[0, 1, 2, 3, 4],
    multiplier: 949996769, names: &[1, 0, 2, 3, 0, 0, 4, 0],
    fields: &[
        field(1, "\"url\":", Kind::Text, OPTIONAL),
        field(2, "\"title\":", Kind::Text, OPTIONAL),
        field(3, "\"start_index\":", Kind::Int64, OPTIONAL),
        field(4, "\"end_index\":", Kind::Int64, OPTIONAL),
    ],
};

pub(super) static USAGE: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x0,
    numbers: &[0, 1, 2, 3, 4, 5],
    multiplier: 620612941, names: &[0, 5, 0, 0, 0, 0, 0, 0, 1, 3, 0, 2, 0, 4, 0, 0],
    fields: &[
        field(1, "\"prompt_tokens\":", Kind::Int64, OPTIONAL),
        field(2, "\"completion_tokens\":", Kind::Int64, OPTIONAL),
        field(3, "\"total_tokens\":", Kind::Int64, OPTIONAL),
        field(4, "\"prompt_tokens_details\":", Kind::Message(&PROMPT_TOKENS_DETAILS), OPTIONAL),
        field(5, "\"completion_tokens_details\":", Kind::Message(&COMPLETION_TOKENS_DETAILS), OPTIONAL),
    ],
};

pub(super) static USER_LOCATION: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x1,
    numbers: &[0, 1, 2],
    multiplier: 3559685363, names: &[0, 0, 1, 2],
    fields: &[
        field(1, "\"type\":", Kind::Text, 0),
        field(2, "\"approximate\":", Kind::Message(&APPROXIMATE_LOCATION), OPTIONAL),
    ],
};

pub(super) static WEB_SEARCH_OPTIONS: Message = Message {
    shape: Shape::Object, object: "", extra: true, oneof: 0x0, written: 0x0,
    numbers: &[0, 1, 2],
    multiplier: 14397723, names: &[1, 0, 2, 0],
    fields: &[
        field(1, "\"user_location\":", Kind::Message(&USER_LOCATION), OPTIONAL),
        field(2, "\"search_context_size\":", Kind::Text, OPTIONAL),
    ],
};
