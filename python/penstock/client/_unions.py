"""The places where OpenAI's JSON is a union, and how the protocol's messages say which member of it is meant.

A table by message, each entry with the fields it takes care of and the two directions. Everything that is not here
follows the general rule of `_json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from google.protobuf.message import Message

Data = dict[str, Any]
Fill = Callable[[Any, object, str], Any]
Dump = Callable[[Any], Data]


class Union(NamedTuple):
    """How one message's unions are read and written."""

    fields: frozenset[str]
    """Fields that it takes care of."""
    read: Callable[[Any, Data, Fill], None]
    """Takes members out of the JSON object and sets fields."""
    write: Callable[[Any, Data, Dump], None]
    """Writes members from fields."""


def read(message: Message, data: Data, fill: Fill) -> None:
    """Sets what is a union; takes what it set out of ``data``."""
    union = _UNIONS.get(message.DESCRIPTOR.name)
    if union is not None:
        union.read(message, data, fill)
    constant = _OBJECTS.get(message.DESCRIPTOR.name)
    if constant is not None and data.get("object") == constant:
        del data["object"]


def write(message: Message, out: Data, dump: Dump) -> None:
    """Writes what is a union."""
    constant = _OBJECTS.get(message.DESCRIPTOR.name)
    if constant is not None:
        out["object"] = constant
    union = _UNIONS.get(message.DESCRIPTOR.name)
    if union is not None:
        union.write(message, out, dump)


def handled(full_name: str) -> frozenset[str]:
    """Fields that the general rule must leave alone."""
    union = _UNIONS.get(full_name.rsplit(".", 1)[-1])
    return union.fields if union is not None else frozenset()


def always_written(message: Message) -> frozenset[str]:
    """Arrays that OpenAI writes even when they are empty."""
    return _ALWAYS.get(message.DESCRIPTOR.name, frozenset())


def nullable(message: Message) -> frozenset[str]:
    """Members that OpenAI writes as null when there is nothing."""
    return _NULLABLE.get(message.DESCRIPTOR.name, frozenset())


_OBJECTS: Final = {
    "ChatCreateResponse": "chat.completion",
    "ChatStreamResponse": "chat.completion.chunk",
    "CompletionsCreateResponse": "text_completion",
    "CompletionsStreamResponse": "text_completion",
    "EmbeddingsCreateResponse": "list",
    "Embedding": "embedding",
    "Model": "model",
}
_ALWAYS: Final = {
    "ChatCreateRequest": frozenset({"messages"}),
    "TokensConversation": frozenset({"messages", "tools"}),
    "ChatCreateResponse": frozenset({"choices"}),
    "ChatStreamResponse": frozenset({"choices"}),
    "CompletionsCreateResponse": frozenset({"choices"}),
    "CompletionsStreamResponse": frozenset({"choices"}),
    "EmbeddingsCreateResponse": frozenset({"data"}),
    "Embedding": frozenset({"embedding"}),
}
_NULLABLE: Final = {
    "Choice": frozenset({"finish_reason", "logprobs"}),
    "ChatStreamResponse": frozenset({"usage"}),
    "ChunkChoice": frozenset({"finish_reason", "logprobs"}),
    "CompletionChoice": frozenset({"finish_reason", "logprobs"}),
    "CompletionsStreamResponse": frozenset({"usage"}),
    "AnswerMessage": frozenset({"content", "refusal"}),
}


def _is_object(value: object) -> bool:
    """Whether it is what JSON has as an object. What is not, does not fit, and goes to `extra` as it is."""
    return not isinstance(value, str | int | float | list | tuple | None)


# ---- text or parts, string or array -----------------------------------------------------------


def _text_or_parts(member: str, null: str | None = None) -> Union:
    def take(message: Any, data: Data, fill: Fill) -> None:
        value = data.get(member, take)
        if isinstance(value, str):
            message.text = value
        elif isinstance(value, list | tuple) and all(map(_is_object, value)):
            # Set even when the array is empty.
            message.parts.SetInParent()
            for at, part in enumerate(value):
                fill(message.parts.parts.add(), part, f"{member}[{at}]")
        elif value is None and null is not None:
            setattr(message, null, 0)
        else:
            return
        del data[member]

    def give(message: Any, out: Data, dump: Dump) -> None:
        kind = message.WhichOneof("content")
        if kind == "text":
            out[member] = message.text
        elif kind == "parts":
            out[member] = [dump(part) for part in message.parts.parts]
        elif kind is not None:
            out[member] = None

    return Union(frozenset({"text", "parts", *([null] if null else [])}), take, give)


def _stop() -> Union:
    """Not an object in JSON; see `set_stop` and `stop_value`."""

    def refuse(message: Any, data: Data, fill: Fill) -> None:
        raise TypeError("`stop` must be a string or a list of strings")

    return Union(frozenset({"sequence", "sequences"}), refuse, lambda *_: None)


def _set_stop(message: Any, data: Data) -> None:
    value = data.get("stop")
    if isinstance(value, str):
        message.stop.sequence = value
    elif isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        message.stop.sequences.SetInParent()
        message.stop.sequences.values.extend(value)
    else:
        return
    del data["stop"]


def _stop_value(message: Any, out: Data) -> None:
    kind = message.stop.WhichOneof("value")
    if kind == "sequence":
        out["stop"] = message.stop.sequence
    elif kind is not None:
        out["stop"] = list(message.stop.sequences.values)


# ---- objects whose `type` names their payload -------------------------------------------------


_ONEOFS: Final = {
    "part": ("text", "image_url", "input_audio", "file", "refusal"),
    "tool": ("function", "custom"),
    "choice": ("mode", "function", "custom", "allowed_tools"),
    "outcome": ("moderation_results", "error"),
}


def _tagged(oneof: str, *scalars: str, flat: bool = False) -> Union:
    """``flat``: the payload's members are beside `type`, not in an object of the payload's name."""

    def take(message: Any, data: Data, fill: Fill) -> None:
        kind = data.get("type")
        fields = {field.name for field in message.DESCRIPTOR.oneofs_by_name[oneof].fields}
        if not isinstance(kind, str) or kind not in fields:
            return
        if flat:
            del data["type"]
            fill(getattr(message, kind), dict(data), kind)
            data.clear()
            return
        value = data.get(kind)
        if kind in scalars:
            if not isinstance(value, str):
                return
            setattr(message, kind, value)
        elif _is_object(value):
            fill(getattr(message, kind), value, kind)
        else:
            return
        del data["type"], data[kind]

    def give(message: Any, out: Data, dump: Dump) -> None:
        kind = message.WhichOneof(oneof)
        if kind is None:
            return
        out["type"] = kind
        value = getattr(message, kind)
        if flat:
            out.update(dump(value))
        else:
            out[kind] = value if kind in scalars else dump(value)

    return Union(frozenset(_ONEOFS[oneof]), take, give)


def _call() -> Union:
    """A call's `type` is a field of its own. Of several payloads the one it names is the payload, else the first."""

    def take(message: Any, data: Data, fill: Fill) -> None:
        kind = data.get("type")
        if kind in ("function", "custom") and kind in data and _is_object(data[kind]):
            fill(getattr(message, kind), data.pop(kind), kind)

    return Union(frozenset(), take, lambda *_: None)


def _mode_or(
    member: str, tagged: Union | None
) -> tuple[Callable[[Any, Data], None], Callable[[Any, Data, Dump], None]]:
    """A string, or an object: for members of a request whose value may be a string."""

    def take(message: Any, data: Data) -> None:
        if isinstance(data.get(member), str):
            getattr(message, member).mode = data.pop(member)

    def give(message: Any, out: Data, dump: Dump) -> None:
        if not message.HasField(member):
            return
        choice = getattr(message, member)
        if choice.WhichOneof("choice") == "mode":
            out[member] = choice.mode
        elif tagged is None:
            out[member] = dump(choice.function)
        else:
            out[member] = dump(choice)

    return take, give


# ---- one entry per message --------------------------------------------------------------------

_TOOL_CHOICE: Final = _tagged("choice")
_take_choice, _give_choice = _mode_or("tool_choice", _TOOL_CHOICE)
_take_call, _give_call = _mode_or("function_call", None)


def _take_chat(message: Any, data: Data, fill: Fill) -> None:
    _set_stop(message, data)
    _take_choice(message, data)
    _take_call(message, data)
    if _is_object(data.get("tool_choice")):
        fill(message.tool_choice, data.pop("tool_choice"), "tool_choice")
    if _is_object(data.get("function_call")):
        fill(message.function_call.function, data.pop("function_call"), "function_call")


def _give_chat(message: Any, out: Data, dump: Dump) -> None:
    _stop_value(message, out)
    _give_choice(message, out, dump)
    _give_call(message, out, dump)


def _input(member: str) -> tuple[Callable[[Any, Data], None], Callable[[Any, Data], None]]:
    """Text, texts, token ids or lists of them."""

    def take(message: Any, data: Data) -> None:
        value = data.get(member)
        if isinstance(value, str):
            message.text = value
        elif isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            message.texts.SetInParent()
            message.texts.values.extend(value)
        elif isinstance(value, list | tuple) and _are_ids(value):
            message.tokens.ids.extend(value)
        elif isinstance(value, list | tuple) and all(isinstance(x, list | tuple) and _are_ids(x) for x in value):
            for item in value:
                message.token_lists.values.add().ids.extend(item)
        else:
            return
        del data[member]

    def give(message: Any, out: Data) -> None:
        match message.WhichOneof(member):
            case "text":
                out[member] = message.text
            case "texts":
                out[member] = list(message.texts.values)
            case "tokens":
                out[member] = list(message.tokens.ids)
            case "token_lists":
                out[member] = [list(item.ids) for item in message.token_lists.values]

    return take, give


def _are_ids(value: list[Any] | tuple[Any, ...]) -> bool:
    return all(isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 2**32 for item in value)


_INPUT_FIELDS: Final = frozenset({"text", "texts", "tokens", "token_lists"})
_take_input, _give_input = _input("input")
_take_prompt, _give_prompt = _input("prompt")


def _take_completion(message: Any, data: Data, fill: Fill) -> None:
    _take_prompt(message, data)
    _set_stop(message, data)


def _give_completion(message: Any, out: Data, dump: Dump) -> None:
    _give_prompt(message, out)
    _stop_value(message, out)


def _raw_json(field: str, member: str) -> Union:
    def take(message: Any, data: Data, fill: Fill) -> None:
        if isinstance(data.get(member), dict | bool | list):
            setattr(message, field, json.dumps(data.pop(member), ensure_ascii=False, separators=(",", ":")))

    def give(message: Any, out: Data, dump: Dump) -> None:
        if message.HasField(field):
            out[member] = json.loads(getattr(message, field))

    return Union(frozenset({field}), take, give)


def _voice() -> Union:
    def take(message: Any, data: Data, fill: Fill) -> None:
        value = data.get("voice")
        if isinstance(value, str):
            message.voice_name = value
        elif isinstance(value, dict) and set(value) == {"id"} and isinstance(value["id"], str):
            message.voice_id = value["id"]
        else:
            return
        del data["voice"]

    def give(message: Any, out: Data, dump: Dump) -> None:
        match message.WhichOneof("voice"):
            case "voice_name":
                out["voice"] = message.voice_name
            case "voice_id":
                out["voice"] = {"id": message.voice_id}

    return Union(frozenset({"voice_name", "voice_id"}), take, give)


def _token_logprob() -> Union:
    def take(message: Any, data: Data, fill: Fill) -> None:
        value = data.get("bytes")
        if isinstance(value, list) and all(isinstance(item, int) and 0 <= item < 256 for item in value):
            message.bytes = bytes(value)
            del data["bytes"]
        elif value is None:
            data.pop("bytes", None)

    def give(message: Any, out: Data, dump: Dump) -> None:
        out["bytes"] = list(message.bytes) if message.HasField("bytes") else None

    return Union(frozenset({"bytes"}), take, give)


def _completion_logprobs() -> Union:
    """Four arrays side by side in JSON, one list of tokens here."""

    def take(message: Any, data: Data, fill: Fill) -> None:
        tokens = data.pop("tokens", None) or []
        columns = [data.pop(name, None) or [] for name in ("token_logprobs", "text_offset", "top_logprobs")]
        for at, token in enumerate(tokens):
            logprob, offset, top = (column[at] if at < len(column) else None for column in columns)
            entry = message.tokens.add(token=token, top_logprobs=top or {})
            if logprob is not None:
                entry.logprob = logprob
            if offset is not None:
                entry.text_offset = offset

    def give(message: Any, out: Data, dump: Dump) -> None:
        out["tokens"] = [entry.token for entry in message.tokens]
        out["token_logprobs"] = [entry.logprob if entry.HasField("logprob") else None for entry in message.tokens]
        out["text_offset"] = [entry.text_offset for entry in message.tokens if entry.HasField("text_offset")]
        out["top_logprobs"] = [dict(sorted(entry.top_logprobs.items())) or None for entry in message.tokens]

    return Union(frozenset({"tokens"}), take, give)


_UNIONS: Final[dict[str, Union]] = {
    "ChatCreateRequest": Union(frozenset({"stop", "tool_choice", "function_call"}), _take_chat, _give_chat),
    "ChatMessage": _text_or_parts("content", "null_content"),
    "Prediction": _text_or_parts("content"),
    "ContentPart": _tagged("part", "text", "refusal"),
    "Tool": _tagged("tool"),
    "ToolCall": _call(),
    "ToolChoice": _TOOL_CHOICE,
    "ModerationOutcome": _tagged("outcome", flat=True),
    "Stop": _stop(),
    "FunctionDefinition": _raw_json("parameters_json", "parameters"),
    "JsonSchema": _raw_json("schema_json", "schema"),
    "AudioOptions": _voice(),
    "TokenLogprob": _token_logprob(),
    "CompletionLogprobs": _completion_logprobs(),
    "EmbeddingsCreateRequest": Union(
        _INPUT_FIELDS,
        lambda message, data, _: _take_input(message, data),
        lambda message, out, _: _give_input(message, out),
    ),
    "CompletionsCreateRequest": Union(_INPUT_FIELDS | {"stop"}, _take_completion, _give_completion),
}
