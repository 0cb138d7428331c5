"""The rules that `buf lint` calls STANDARD and COMMENTS, on compiled descriptors.

Here so that they hold where buf is not installed. Names of rules are buf's; which are left out is read from
`proto/buf.yaml`, so that the two cannot disagree.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

PASCAL: Final = re.compile(r"[A-Z][A-Za-z0-9]*")
SNAKE: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
UPPER: Final = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
VERSION: Final = re.compile(r"v[1-9][0-9]*((alpha|beta)[1-9][0-9]*)?")


@dataclass(frozen=True)
class Problem:
    """A rule that is not kept."""

    rule: str
    where: str

    def __str__(self) -> str:
        return f"{self.where}: {self.rule}"


@dataclass(frozen=True)
class Element:
    """A named thing of a file."""

    kind: str
    file: Any
    name: str
    """Full, without the package."""
    proto: Any
    comment: str
    parent: Any = None


def lint(files: Iterable[Any], package: str, leave_out: Iterable[str] = ()) -> list[Problem]:
    """Problems of the files whose package is ``package``; the others are there to be imported."""
    everything = list(files)
    own = [file for file in everything if file.package == package]
    found: list[Problem] = []
    for file in own:
        found += [Problem(rule, file.name) for rule in _file_rules(file, everything)]
        for element in elements(file):
            ignored = re.findall(r"buf:lint:ignore (\w+)", element.comment)
            found += [
                Problem(rule, f"{file.name}: {element.name}") for rule in _element_rules(element) if rule not in ignored
            ]
    found += _unique_messages(own)
    out = set(leave_out)
    return [problem for problem in found if problem.rule not in out]


def elements(file: Any) -> Iterator[Element]:
    """All named things of a file, with the comments before them."""
    comments = {tuple(location.path): location.leading_comments for location in file.source_code_info.location}

    def comment(*path: int) -> str:
        return str(comments.get(path, ""))

    def enums(protos: Any, path: tuple[int, ...], prefix: str) -> Iterator[Element]:
        for at, enum in enumerate(protos):
            here = (*path, at)
            yield Element("enum", file, prefix + enum.name, enum, comment(*here))
            for number, value in enumerate(enum.value):
                name = f"{prefix}{enum.name}.{value.name}"
                yield Element("enum_value", file, name, value, comment(*here, 2, number), enum)

    def messages(protos: Any, path: tuple[int, ...], prefix: str) -> Iterator[Element]:
        for at, message in enumerate(protos):
            if message.options.map_entry:
                continue
            here, name = (*path, at), prefix + message.name
            yield Element("message", file, name, message, comment(*here))
            for number, field in enumerate(message.field):
                yield Element("field", file, f"{name}.{field.name}", field, comment(*here, 2, number), message)
            synthetic = {field.oneof_index for field in message.field if field.proto3_optional}
            for number, oneof in enumerate(message.oneof_decl):
                if number not in synthetic:
                    yield Element("oneof", file, f"{name}.{oneof.name}", oneof, comment(*here, 8, number), message)
            yield from enums(message.enum_type, (*here, 4), f"{name}.")
            yield from messages(message.nested_type, (*here, 3), f"{name}.")

    yield from messages(file.message_type, (4,), "")
    yield from enums(file.enum_type, (5,), "")
    for at, service in enumerate(file.service):
        yield Element("service", file, service.name, service, comment(6, at))
        for number, method in enumerate(service.method):
            name = f"{service.name}.{method.name}"
            yield Element("rpc", file, name, method, comment(6, at, 2, number), service)


def _file_rules(file: Any, files: list[Any]) -> Iterator[str]:
    folder, _, base = file.name.rpartition("/")
    checks = {
        "PACKAGE_DEFINED": bool(file.package),
        "PACKAGE_DIRECTORY_MATCH": folder == file.package.replace(".", "/"),
        "PACKAGE_LOWER_SNAKE_CASE": all(SNAKE.fullmatch(part) for part in file.package.split(".")),
        "PACKAGE_VERSION_SUFFIX": bool(VERSION.fullmatch(file.package.rpartition(".")[2])),
        "FILE_LOWER_SNAKE_CASE": bool(SNAKE.fullmatch(base.removesuffix(".proto"))),
        "SYNTAX_SPECIFIED": file.syntax == "proto3",
        "IMPORT_NO_PUBLIC": not file.public_dependency,
        "IMPORT_NO_WEAK": not file.weak_dependency,
        "IMPORT_USED": not _unused_imports(file, files),
    }
    return (rule for rule, holds in checks.items() if not holds)


def _unused_imports(file: Any, files: list[Any]) -> set[str]:
    used: set[str] = set()

    def look(messages: Any) -> None:
        for message in messages:
            used.update(field.type_name for field in message.field)
            look(message.nested_type)

    look(file.message_type)
    for service in file.service:
        for method in service.method:
            used |= {method.input_type, method.output_type}
    by_name = {other.name: other for other in files}
    unused = set()
    for name in file.dependency:
        other = by_name[name]
        defined = {f".{other.package}.{item.name}" for item in [*other.message_type, *other.enum_type]}
        if not any(type_name == one or type_name.startswith(f"{one}.") for type_name in used for one in defined):
            unused.add(name)
    return unused


def _element_rules(element: Element) -> Iterator[str]:
    text = re.sub(r"buf:lint:ignore \w+", "", element.comment).strip()
    if not text:
        yield f"COMMENT_{element.kind.upper()}"
    yield from _RULES[element.kind](element)


def _message(element: Element) -> Iterator[str]:
    if not PASCAL.fullmatch(element.proto.name):
        yield "MESSAGE_PASCAL_CASE"


def _field(element: Element) -> Iterator[str]:
    if not SNAKE.fullmatch(element.proto.name):
        yield "FIELD_LOWER_SNAKE_CASE"
    if element.proto.label == 2:
        yield "FIELD_NOT_REQUIRED"


def _oneof(element: Element) -> Iterator[str]:
    if not SNAKE.fullmatch(element.proto.name):
        yield "ONEOF_LOWER_SNAKE_CASE"


def _enum(element: Element) -> Iterator[str]:
    if not PASCAL.fullmatch(element.proto.name):
        yield "ENUM_PASCAL_CASE"
    if element.proto.options.allow_alias:
        yield "ENUM_NO_ALLOW_ALIAS"
    if element.proto.value[0].number != 0:
        yield "ENUM_FIRST_VALUE_ZERO"


def _enum_value(element: Element) -> Iterator[str]:
    name = element.proto.name
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", element.parent.name).upper()
    if not UPPER.fullmatch(name):
        yield "ENUM_VALUE_UPPER_SNAKE_CASE"
    if not name.startswith(f"{prefix}_"):
        yield "ENUM_VALUE_PREFIX"
    if element.proto.number == 0 and not name.endswith("_UNSPECIFIED"):
        yield "ENUM_ZERO_VALUE_SUFFIX"


def _service(element: Element) -> Iterator[str]:
    if not PASCAL.fullmatch(element.proto.name):
        yield "SERVICE_PASCAL_CASE"
    if not element.proto.name.endswith("Service"):
        yield "SERVICE_SUFFIX"


def _rpc(element: Element) -> Iterator[str]:
    method, service = element.proto, element.parent
    if not PASCAL.fullmatch(method.name):
        yield "RPC_PASCAL_CASE"
    for rule, type_name, suffix in (
        ("RPC_REQUEST_STANDARD_NAME", method.input_type, "Request"),
        ("RPC_RESPONSE_STANDARD_NAME", method.output_type, "Response"),
    ):
        if type_name.rpartition(".")[2] not in (f"{method.name}{suffix}", f"{service.name}{method.name}{suffix}"):
            yield rule


_RULES: Final[dict[str, Callable[[Element], Iterator[str]]]] = {
    "message": _message,
    "field": _field,
    "oneof": _oneof,
    "enum": _enum,
    "enum_value": _enum_value,
    "service": _service,
    "rpc": _rpc,
}


def _unique_messages(files: list[Any]) -> list[Problem]:
    """Messages that several methods share, but for methods that say so in their comments."""
    rule = "RPC_REQUEST_RESPONSE_UNIQUE"
    methods = [element for file in files for element in elements(file) if element.kind == "rpc"]
    counted = [element for element in methods if f"buf:lint:ignore {rule}" not in element.comment]
    uses = Counter(name for element in counted for name in (element.proto.input_type, element.proto.output_type))
    return [
        Problem(rule, f"{element.file.name}: {element.name}")
        for element in counted
        if uses[element.proto.input_type] > 1 or uses[element.proto.output_type] > 1
    ]
