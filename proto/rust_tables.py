"""Makes the tables by which the gateway turns messages into JSON and back, from the compiled protocol files.

What the descriptors do not say - which fields are one member of the JSON, which values are implied, which members are
always there - is the README's section "From messages to JSON and back", as data. Apart from `generate`, which makes the
client's modules: the gateway's tables know nothing of Python.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Final

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorSet

PACKAGE: Final = "penstock.v1"
ROOTS: Final = (
    "ChatCreateRequest",
    "ChatCreateResponse",
    "ChatStreamResponse",
    "CompletionsCreateRequest",
    "CompletionsCreateResponse",
    "CompletionsStreamResponse",
    "EmbeddingsCreateRequest",
    "EmbeddingsCreateResponse",
    "TokensConversation",
)
"""Messages that are the body of a REST request or answer, or are read as one."""
EXTRA: Final = 100

SHAPES: Final = {
    "CompletionLogprobs": "Columns",
    "ContentPart": "Tagged",
    "ContentParts": "Bare",
    "FunctionCallChoice": "Bare",
    "ModerationOutcome": "Flat",
    "Stop": "Bare",
    "StringList": "Bare",
    "TokenList": "Bare",
    "TokenLists": "Bare",
    "Tool": "Tagged",
    "ToolCall": "Call",
    "ToolChoice": "BareOrTagged",
}
"""Messages whose JSON is not an object of their fields."""
_INPUT: Final = ("text", "texts", "tokens", "token_lists")
MEMBERS: Final = {
    "AudioOptions": {"voice_name": "voice", "voice_id": "voice"},
    "ChatMessage": {"text": "content", "parts": "content", "null_content": "content"},
    "CompletionsCreateRequest": dict.fromkeys(_INPUT, "prompt"),
    "EmbeddingsCreateRequest": dict.fromkeys(_INPUT, "input"),
    "FunctionDefinition": {"parameters_json": "parameters"},
    "JsonSchema": {"schema_json": "schema"},
    "Prediction": {"text": "content", "parts": "content"},
    "ToolChoice": {"mode": ""},
}
"""Fields whose member has another name. No name: the message's JSON is the field's value."""
KINDS: Final = {
    ("AudioOptions", "voice_id"): "Id",
    ("FunctionDefinition", "parameters_json"): "Json",
    ("JsonSchema", "schema_json"): "Json",
}
"""Strings that are something else in JSON."""
OBJECTS: Final = {
    "ChatCreateResponse": "chat.completion",
    "ChatStreamResponse": "chat.completion.chunk",
    "CompletionsCreateResponse": "text_completion",
    "CompletionsStreamResponse": "text_completion",
    "EmbeddingsCreateResponse": "list",
    "Embedding": "embedding",
}
"""The member `object`, which is implied."""
ALWAYS: Final = {
    "ChatCreateRequest": {"messages"},
    "TokensConversation": {"messages"},
    "ChatCreateResponse": {"choices"},
    "ChatStreamResponse": {"choices"},
    "CompletionsCreateResponse": {"choices"},
    "CompletionsStreamResponse": {"choices"},
    "EmbeddingsCreateResponse": {"data"},
    "Embedding": {"embedding"},
}
"""Arrays that are written even when they are empty."""
NULLABLE: Final = {
    "AnswerMessage": {"content", "refusal"},
    "Choice": {"finish_reason", "logprobs"},
    "ChatStreamResponse": {"usage"},
    "ChunkChoice": {"finish_reason", "logprobs"},
    "CompletionChoice": {"finish_reason", "logprobs"},
    "CompletionsStreamResponse": {"usage"},
    "TokenLogprob": {"bytes"},
}
"""Members that are null when there is nothing."""

_SCALARS: Final = {
    FieldDescriptorProto.TYPE_STRING: "Text",
    FieldDescriptorProto.TYPE_BYTES: "Bytes",
    FieldDescriptorProto.TYPE_BOOL: "Bool",
    FieldDescriptorProto.TYPE_INT32: "Int32",
    FieldDescriptorProto.TYPE_INT64: "Int64",
    FieldDescriptorProto.TYPE_UINT32: "Uint32",
    FieldDescriptorProto.TYPE_DOUBLE: "Double",
    FieldDescriptorProto.TYPE_FLOAT: "Float",
}


def tables(compiled: FileDescriptorSet, notice: str) -> str:
    """The source of the Rust module.

    Raises:
        ValueError: A message has something for which the tables have no form.
    """
    messages = {
        f".{file.package}.{message.name}": message
        for file in compiled.file
        if file.package == PACKAGE
        for message in file.message_type
    }
    _check({message.name: {field.name for field in message.field} for message in messages.values()})
    needed = sorted(_reachable(messages, [f".{PACKAGE}.{name}" for name in ROOTS]))
    head = [f"//! {notice}", "", "use super::{Kind, Message, NULLABLE, OPTIONAL, REPEATED, Shape, field};"]
    return "\n".join([*head, *(_static(messages[name]) for name in needed)]) + "\n"


def _check(fields: dict[str, set[str]]) -> None:
    """Every rule is about something that there is, so that a renamed field does not lose its rule."""
    for table in (SHAPES, OBJECTS):
        if unknown := set(table) - set(fields):
            raise ValueError(f"rules for messages that do not exist: {sorted(unknown)}")
    named: Iterator[tuple[str, Iterable[str]]] = (
        entry for rules in (MEMBERS, ALWAYS, NULLABLE) for entry in rules.items()
    )
    for message, names in [*named, *((message, [name]) for message, name in KINDS)]:
        if unknown := set(names) - fields.get(message, set()):
            raise ValueError(f"rules for fields that do not exist: {message} {sorted(unknown)}")


def _reachable(messages: dict[str, DescriptorProto], roots: list[str]) -> set[str]:
    found: set[str] = set()
    todo = list(roots)
    while todo:
        name = todo.pop()
        if name in found or name not in messages:
            continue
        found.add(name)
        for owner in (messages[name], *messages[name].nested_type):
            todo += [field.type_name for field in owner.field if field.type_name]
    return found


def _static(message: DescriptorProto) -> str:
    name = message.name
    shape = SHAPES.get(name, "Object")
    fields = sorted(
        (field for field in message.field if field.number != EXTRA),
        key=lambda field: (field.name != "type", field.number),
    )
    extra = any(field.number == EXTRA and field.name == "extra" for field in message.field)
    if len(fields) > 64:
        raise ValueError(f"{name} has more than 64 fields")
    members = [_member(name, shape, field) for field in fields]
    rows = "".join(f"        {_row(message, field, member)}\n" for field, member in zip(fields, members, strict=True))
    numbers = [0] * (max((field.number for field in fields), default=0) + 1)
    for at, field in enumerate(fields):
        numbers[field.number] = at + 1
    multiplier, names = _hashes(name, members)
    oneof = sum(1 << at for at, field in enumerate(fields) if _in_oneof(field))
    written = sum(1 << at for at, field in enumerate(fields) if _is_written(name, field))
    flags = f"extra: {str(extra).lower()}, oneof: {oneof:#x}, written: {written:#x},"
    return "\n".join(
        [
            "",
            f"pub(super) static {_screaming(name)}: Message = Message {{",
            f"    shape: Shape::{shape}, object: {_text(OBJECTS.get(name, ''))}, {flags}",
            f"    numbers: &{numbers},",
            f"    multiplier: {multiplier}, names: &{names},",
            f"    fields: &[\n{rows}    ],",
            "};",
        ]
    )


def _member(message: str, shape: str, field: FieldDescriptorProto) -> str:
    return "" if shape == "Bare" else MEMBERS.get(message, {}).get(field.name, field.name)


def _row(message: DescriptorProto, field: FieldDescriptorProto, member: str) -> str:
    flags = []
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        flags.append("REPEATED")
    elif field.HasField("oneof_index") or field.type == FieldDescriptorProto.TYPE_MESSAGE:
        flags.append("OPTIONAL")
    if field.name in NULLABLE.get(message.name, ()):
        flags.append("NULLABLE")
    key = f'"{member}":' if member else ""
    return f"field({field.number}, {_text(key)}, {_kind(message, field)}, {' | '.join(flags) or 0}),"


def _kind(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    special = KINDS.get((message.name, field.name))
    if special is not None:
        return f"Kind::{special}"
    if field.type == FieldDescriptorProto.TYPE_ENUM and field.type_name == ".google.protobuf.NullValue":
        return "Kind::Null"
    if field.type == FieldDescriptorProto.TYPE_MESSAGE:
        if field.type_name == ".google.protobuf.Struct":
            return "Kind::Struct"
        for entry in message.nested_type:
            if entry.options.map_entry and field.type_name.endswith(f".{message.name}.{entry.name}"):
                return f"Kind::Map(&{_kind(message, entry.field[1])})"
        if field.type_name.startswith(f".{PACKAGE}."):
            return f"Kind::Message(&{_screaming(field.type_name.rsplit('.', 1)[-1])})"
    if field.type not in _SCALARS:
        raise ValueError(f"{message.name}.{field.name} has a type for which there is no form")
    return f"Kind::{_SCALARS[field.type]}"


def _in_oneof(field: FieldDescriptorProto) -> bool:
    return field.HasField("oneof_index") and not field.proto3_optional


def _is_written(message: str, field: FieldDescriptorProto) -> bool:
    """Whether the member is there even when the field is unset."""
    if field.name in ALWAYS.get(message, ()) or field.name in NULLABLE.get(message, ()):
        return True
    plain = field.label != FieldDescriptorProto.LABEL_REPEATED and field.type != FieldDescriptorProto.TYPE_MESSAGE
    return plain and not field.HasField("oneof_index")


def _hashes(message: str, members: list[str]) -> tuple[int, list[int]]:
    """A multiplier and the table under which each member has a slot of its own; see `Message::by_name`."""
    places: dict[str, int] = {}
    for at, member in enumerate(members):
        if member:
            if member in places and members[at - 1] != member:
                raise ValueError(f"{message}: the fields of `{member}` are not side by side")
            places.setdefault(member, at + 1)
    if not places:
        return 0, []
    bits = (2 * len(places) - 1).bit_length()
    for attempt in range(100_000):
        if attempt % 1000 == 999:
            bits += 1
        # The same numbers in every run, so that the tables change only with the protocol.
        digest = hashlib.sha256(f"{message} {attempt}".encode()).digest()
        multiplier = int.from_bytes(digest[:4], "little") | 1
        table = [0] * (1 << bits)
        for member, place in places.items():
            slot = (_letters(member) * multiplier % 2**32) >> (32 - bits)
            if table[slot]:
                break
            table[slot] = place
        else:
            return multiplier, table
    raise ValueError(f"{message}: two members are alike in length and in first, middle and last letter")


def _letters(member: str) -> int:
    name = member.encode()
    return int.from_bytes(bytes([name[0], name[len(name) // 2], name[-1], len(name)]), "little")


def _screaming(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()


def _text(value: str) -> str:
    return '"' + value.replace('"', '\\"') + '"'
