"""OpenAI's JSON shapes to the protocol's messages and back, by their descriptors.

One rule covers almost all of it: a member goes to the field of its name, and a member that has no field, or a value
that does not fit it, goes to `extra`. What OpenAI writes as a union is in `_unions`. Apart from the requests because
the same two functions serve every message of the protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from penstock.client import _unions

M = TypeVar("M", bound=Message)

_EXTRA: Final = "extra"
_EXACT: Final = 2**53
"""The largest integer up to which a double, and so a `Struct`, holds each one."""
_INTEGERS: Final = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64),
}
_NUMBERS: Final = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)


@runtime_checkable
class Dumpable(Protocol):
    """What the OpenAI SDK's answers are, so that they can be sent back as messages."""

    def model_dump(self, *, exclude_unset: bool) -> dict[str, Any]:
        """The object as a dictionary."""
        ...


def fill(message: M, data: object, path: str = "") -> M:
    """Sets the fields of ``message`` from an OpenAI-shaped object and returns it.

    ``data`` is a mapping, a message of this or of another type of the protocol, or an object with ``model_dump``.

    Raises:
        TypeError: A value is none of these; the message names the place.
        ValueError: A number has no place that holds it exactly.
    """
    if isinstance(data, type(message)):
        message.CopyFrom(data)
        return message
    if isinstance(data, Message):
        data = to_dict(data)
    elif not isinstance(data, Mapping) and isinstance(data, Dumpable):
        data = data.model_dump(exclude_unset=True)
    if not isinstance(data, Mapping):
        raise TypeError(f"`{path or 'the request'}` must be a mapping, not {type(data).__name__}")
    message.SetInParent()
    rest = dict(data)
    _unions.read(message, rest, fill)
    fields = _fields(message.DESCRIPTOR)
    for name, value in rest.items():
        place = f"{path}.{name}" if path else str(name)
        field = fields.get(name)
        if field is None or not _set(message, field, value, place):
            _set_extra(message, name, value, place)
    return message


def to_dict(message: Message) -> dict[str, Any]:
    """The message in OpenAI's JSON shape. What is unset is absent, or null where OpenAI always writes the member."""
    if isinstance(message, Struct):
        return {name: _plain(value) for name, value in MessageToDict(message).items()}
    out: dict[str, Any] = {}
    _unions.write(message, out, to_dict)
    for name, field in _fields(message.DESCRIPTOR).items():
        if field.has_presence and not message.HasField(name):
            continue
        value = getattr(message, name)
        if _is_repeated(field):
            if value or name in _unions.always_written(message):
                out[name] = _list_or_map(field, value)
        else:
            out[name] = to_dict(value) if field.message_type else value
    for name in _unions.nullable(message):
        out.setdefault(name, None)
    if "extra" in message.DESCRIPTOR.fields_by_name and message.HasField("extra"):
        # Null is a value here: it says that the member was there.
        out.update(to_dict(message.extra))  # type: ignore[attr-defined]
    return out


def absent(message: Message) -> Iterable[str]:
    """Names of the members that OpenAI's shape has and this message does not set."""
    for name, field in _fields(message.DESCRIPTOR).items():
        if not message.HasField(name) if field.has_presence else _is_repeated(field) and not getattr(message, name):
            yield name


@cache
def _fields(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    """Fields that are members of the JSON object under their own names."""
    special = _unions.handled(descriptor.full_name)
    return {field.name: field for field in descriptor.fields if field.name != _EXTRA and field.name not in special}


@cache
def _is_repeated(field: FieldDescriptor) -> bool:
    # Runtimes differ in which of the two they have without a warning.
    found = getattr(field, "is_repeated", None)
    return bool(field.label == FieldDescriptor.LABEL_REPEATED) if found is None else bool(found)  # type: ignore[attr-defined]


def _list_or_map(field: FieldDescriptor, value: Any) -> Any:
    if _is_map(field):
        return {name: to_dict(item) if isinstance(item, Message) else item for name, item in sorted(value.items())}
    return [to_dict(item) for item in value] if field.message_type else list(value)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _set(message: Message, field: FieldDescriptor, value: Any, path: str) -> bool:
    """Sets the field; false when the value does not fit."""
    oneof = field.containing_oneof
    if oneof is not None and message.WhichOneof(oneof.name) not in (None, field.name):
        # Setting it would undo the other.
        return False
    entry = field.message_type
    if entry is not None and _is_map(field):
        of = entry.fields_by_name["value"]
        fits = (
            isinstance(value, Mapping)
            and bool(value)
            and all(isinstance(name, str) and _fits(of, item) for name, item in value.items())
        )
        if fits:
            getattr(message, field.name).update(value)
        return fits
    if _is_repeated(field):
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
            return False
        items = list(value)
        if not items:
            # An empty array is a value of its own only where the absence of one means something else.
            return field.name in _unions.always_written(message)
        target = getattr(message, field.name)
        if field.message_type:
            # A message that is none is a mistake worth an error of its own; other things are the provider's to judge.
            if field.name != "messages" and not all(isinstance(item, Mapping | Message | Dumpable) for item in items):
                return False
            for at, item in enumerate(items):
                _set_message(target.add(), item, f"{path}[{at}]")
            return True
        fits = all(_fits(field, item) for item in items)
        if fits:
            target.extend(items)
        return fits
    if field.message_type:
        if isinstance(value, Mapping | Message | Dumpable):
            _set_message(getattr(message, field.name), value, path)
            return True
        return False
    if _fits(field, value):
        setattr(message, field.name, value)
        return True
    return False


def _set_message(message: Message, value: Any, path: str) -> None:
    if isinstance(message, Struct):
        message.SetInParent()
        message.update(_struct_value(value, path))
    else:
        fill(message, value, path)


def _fits(field: FieldDescriptor, value: object) -> bool:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return isinstance(value, bytes if field.type == FieldDescriptor.TYPE_BYTES else str)
    if kind == FieldDescriptor.CPPTYPE_BOOL or isinstance(value, bool):
        return kind == FieldDescriptor.CPPTYPE_BOOL and isinstance(value, bool)
    if kind in _NUMBERS:
        return isinstance(value, float) or (isinstance(value, int) and abs(value) <= _EXACT)
    low, high = _INTEGERS.get(kind, (0, 0))
    return isinstance(value, int) and low <= value < high


def _set_extra(message: Message, name: object, value: Any, path: str) -> None:
    if _EXTRA not in message.DESCRIPTOR.fields_by_name:
        raise TypeError(f"`{path}` has no field in {message.DESCRIPTOR.name}")
    if not isinstance(name, str):
        raise TypeError(f"`{path}`: names of members are strings")
    message.extra[name] = _struct_value(value, path)  # type: ignore[attr-defined]


def _struct_value(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _struct_value(item, f"{path}.{name}") for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_struct_value(item, f"{path}[{at}]") for at, item in enumerate(value)]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _EXACT:
        raise ValueError(f"`{path}`: {value} has no field that holds it exactly; use a string or a smaller number")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Message):
        return to_dict(value)
    if isinstance(value, Dumpable):
        return _struct_value(value.model_dump(exclude_unset=True), path)
    raise TypeError(f"`{path}` must be what JSON can hold, not {type(value).__name__}")


def _plain(value: Any) -> Any:
    """Numbers of a `Struct` are doubles; those that are whole are written as OpenAI's clients expect them."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value
