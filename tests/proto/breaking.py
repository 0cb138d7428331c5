"""What of a protocol must not change between two releases of the same version.

A protocol is reduced to what clients rely on: numbers, types and labels (the bytes), names (the JSON form, reflection,
generated code) and files (modules of generated code). The reduced form is JSON that a person can read in a diff; the
last release's is in `proto/released`. The rules are those that `buf breaking` calls FILE.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

Surface = dict[str, Any]

_TYPES: Final = (
    "", "double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string", "group", "message",
    "bytes", "uint32", "enum", "sfixed32", "sfixed64", "sint32", "sint64",
)  # fmt: skip


def surface(files: Iterable[Any], package: str) -> Surface:
    """The reduced form of the files whose package is ``package``."""
    out: Surface = {"package": package, "messages": {}, "enums": {}, "services": {}}
    for file in files:
        if file.package != package:
            continue
        for message in file.message_type:
            _message(out, message, file.name, "")
        for enum in file.enum_type:
            _enum(out, enum, file.name, "")
        for service in file.service:
            out["services"][service.name] = {
                "file": file.name,
                "methods": {method.name: _method(method) for method in service.method},
            }
    return out


def _message(out: Surface, message: Any, file: str, prefix: str) -> None:
    name = prefix + message.name
    out["messages"][name] = {
        "file": file,
        "fields": {str(field.number): _field(message, field) for field in sorted(message.field, key=_number)},
        "reserved_numbers": [[span.start, span.end - 1] for span in message.reserved_range],
        "reserved_names": sorted(message.reserved_name),
    }
    for nested in message.nested_type:
        _message(out, nested, file, f"{name}.")
    for enum in message.enum_type:
        _enum(out, enum, file, f"{name}.")


def _number(field: Any) -> int:
    return int(field.number)


def _field(message: Any, field: Any) -> Surface:
    label = "repeated" if field.label == 3 else "optional" if field.proto3_optional else "plain"
    if field.HasField("oneof_index") and not field.proto3_optional:
        label = f"oneof {message.oneof_decl[field.oneof_index].name}"
    packed = {"packed": False} if field.options.HasField("packed") and not field.options.packed else {}
    return {
        "name": field.name,
        "type": field.type_name.lstrip(".") or _TYPES[field.type],
        "label": label,
        "json": field.json_name,
        **packed,
    }


def _enum(out: Surface, enum: Any, file: str, prefix: str) -> None:
    out["enums"][prefix + enum.name] = {
        "file": file,
        "values": {str(value.number): value.name for value in enum.value},
        "reserved_numbers": [[span.start, span.end] for span in enum.reserved_range],
        "reserved_names": sorted(enum.reserved_name),
    }


def _method(method: Any) -> Surface:
    return {
        "request": method.input_type.lstrip("."),
        "response": method.output_type.lstrip("."),
        "streams": [bool(method.client_streaming), bool(method.server_streaming)],
    }


def compare(old: Surface, new: Surface) -> list[str]:
    """What of ``old`` is no longer so in ``new``, one sentence each."""
    return [*_compare(old, new)]


def _compare(old: Surface, new: Surface) -> Iterator[str]:
    if old["package"] != new["package"]:
        yield f"the package {old['package']} became {new['package']}"
    for name, was in old["messages"].items():
        now = new["messages"].get(name)
        if now is None:
            yield f"message {name} was removed"
            continue
        yield from _moved(f"message {name}", was, now)
        yield from _fields(name, was, now)
        yield from _reservations(f"message {name}", was, now)
    for name, was in old["enums"].items():
        now = new["enums"].get(name)
        if now is None:
            yield f"enum {name} was removed"
            continue
        yield from _moved(f"enum {name}", was, now)
        yield from _values(name, was, now)
        yield from _reservations(f"enum {name}", was, now)
    for name, was in old["services"].items():
        now = new["services"].get(name)
        if now is None:
            yield f"service {name} was removed"
            continue
        yield from _moved(f"service {name}", was, now)
        for method, signature in was["methods"].items():
            if method not in now["methods"]:
                yield f"rpc {name}/{method} was removed"
                continue
            for part, value in signature.items():
                if now["methods"][method][part] != value:
                    yield f"rpc {name}/{method}: {part} changed from {value} to {now['methods'][method][part]}"


def _moved(what: str, was: Surface, now: Surface) -> Iterator[str]:
    if was["file"] != now["file"]:
        yield f"{what} moved from {was['file']} to {now['file']}"


def _fields(message: str, was: Surface, now: Surface) -> Iterator[str]:
    for number, field in was["fields"].items():
        current = now["fields"].get(number)
        if current is None:
            yield from _removed(f"field {message}.{field['name']} ({number})", number, field["name"], now)
            continue
        for part in sorted(field.keys() | current.keys()):
            if current.get(part) != field.get(part):
                yield (
                    f"field {message}.{field['name']} ({number}): {part} changed from {field.get(part)}"
                    f" to {current.get(part)}"
                )


def _values(enum: str, was: Surface, now: Surface) -> Iterator[str]:
    for number, name in was["values"].items():
        if number not in now["values"]:
            yield from _removed(f"value {enum}.{name} ({number})", number, name, now)
        elif now["values"][number] != name:
            yield f"value {enum}.{name} ({number}): name changed to {now['values'][number]}"


def _removed(what: str, number: str, name: str, now: Surface) -> Iterator[str]:
    """To remove is to reserve, so that nobody gives number or name another meaning."""
    if not any(low <= int(number) <= high for low, high in now["reserved_numbers"]):
        yield f"{what} was removed and its number is not reserved"
    if name not in now["reserved_names"]:
        yield f"{what} was removed and its name is not reserved"


def _reservations(what: str, was: Surface, now: Surface) -> Iterator[str]:
    for low, high in was["reserved_numbers"]:
        if not all(any(a <= number <= b for a, b in now["reserved_numbers"]) for number in {low, high}):
            yield f"{what}: the numbers {low} to {high} are no longer reserved"
    for name in was["reserved_names"]:
        if name not in now["reserved_names"]:
            yield f"{what}: the name {name} is no longer reserved"
