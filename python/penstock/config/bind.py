"""Nodes to sections: the schema's types decide what a file may say, and every mistake is reported, none raised.

One walk does it all: types, unknown keys, interpolation of `os.environ/NAME`. It never puts a value into a
message, because any value may be a secret that was written in the wrong place.
"""

from __future__ import annotations

import types
from difflib import get_close_matches
from functools import cache
from typing import Any, Final, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import msgspec

from penstock.config import scalars
from penstock.config.document import Mapping, Node, Scalar, Sequence
from penstock.config.env import Environment
from penstock.config.known import PROTECTIONS
from penstock.config.problems import Path, Report
from penstock.config.secret import Json, Secret
from penstock.config.values import Section

T = TypeVar("T", bound=Section)

INTERPOLATION: Final = "os.environ/"
_NO_EFFECT: Final = "accepted, has no effect in this version"
_NOT_ENFORCED: Final = "is a protection and is NOT enforced in this version: do not rely on it"
_NOTHING: Final = object()
"""What a value that cannot be used is replaced by: its field keeps its default."""


@cache
def _hints(kind: type[Section]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in msgspec.structs.fields(kind) if field.name not in kind.internal}


@cache
def _required(kind: type[Section]) -> tuple[str, ...]:
    return tuple(field.name for field in msgspec.structs.fields(kind) if field.required)


class Binder:
    """Reads sections; problems go into ``report``, interpolated values come from ``environment``."""

    def __init__(self, report: Report, environment: Environment) -> None:
        self._report = report
        self._environment = environment
        self.missing: list[str] = []
        """Environment variables that were asked for and are not set, in order."""

    def section(self, node: Node, kind: type[T], path: Path) -> T | None:
        """``node`` as a ``kind``; None when it is not a mapping or lacks a required key."""
        self._place(path, node)
        if isinstance(node, Scalar) and scalars.is_null(node.text, plain=node.plain):
            node = Mapping({}, node.mark)
        if not isinstance(node, Mapping):
            self._report.error(path, "must be a mapping of keys to values", mark=node.mark, confidential=True)
            return None
        fields: dict[str, Any] = {}
        defaults: dict[str, Json] = {}
        hints = _hints(kind)
        for name, entry in node.entries.items():
            here = (*path, name)
            self._report.place(here, entry.mark)
            if name in hints:
                value = self.value(entry.value, hints[name], here)
                if value is not _NOTHING:
                    fields[name] = value
            elif name in kind.parameters:
                value = self.free(entry.value, here)
                if value is not None:
                    defaults[name] = Json(value)
            else:
                self._unknown(kind, name, entry.value, here)
        if defaults:
            fields["defaults"] = defaults
        absent = [name for name in _required(kind) if name not in fields]
        for name in absent:
            if name not in node.entries:
                self._report.error(path, f"`{name}` is missing: add it")
        return kind(**fields) if not absent else None

    def value(self, node: Node, kind: Any, path: Path) -> Any:
        """``node`` as a value of type ``kind``, or the marker that says it cannot be used."""
        self._place(path, node)
        options = _options(kind)
        if isinstance(node, Scalar):
            return self._scalar(node, options, path)
        if isinstance(node, Sequence):
            kind = next((option for option in options if get_origin(option) is list), None)
            if kind is not None:
                return self._list(node, get_args(kind)[0], path)
        else:
            section = next(
                (option for option in options if isinstance(option, type) and issubclass(option, Section)), None
            )
            if section is not None:
                bound = self.section(node, section, path)
                return bound if bound is not None else _NOTHING
            kind = next((option for option in options if get_origin(option) is dict), None)
            if kind is not None:
                return self._dict(node, get_args(kind)[1], path)
        if Json in options:
            value = self.free(node, path)
            return Json(value)
        self._report.error(path, f"must be {_wanted(options)}", mark=node.mark, confidential=True)
        return _NOTHING

    def free(self, node: Node, path: Path) -> object:
        """``node`` as JSON values, interpolated at any depth."""
        if isinstance(node, Sequence):
            return [self.free(item, (*path, index)) for index, item in enumerate(node.items)]
        if isinstance(node, Mapping):
            return {name: self.free(entry.value, (*path, name)) for name, entry in node.entries.items()}
        self._place(path, node)
        if node.text.startswith(INTERPOLATION):
            return self._interpolate(node, path)
        return scalars.json_value(node.text, plain=node.plain)

    def _scalar(self, node: Scalar, options: tuple[Any, ...], path: Path) -> Any:
        if scalars.is_null(node.text, plain=node.plain):
            # LiteLLM users leave keys empty; that means the same as leaving them out.
            return None if type(None) in options else _NOTHING
        text: str | None = node.text
        if node.text.startswith(INTERPOLATION):
            text = self._interpolate(node, path)
            if text is None:
                return None if type(None) in options else _NOTHING
        if Json in options:
            return Json(scalars.json_value(cast(str, text), plain=node.plain))
        complaint = ""
        for option in sorted((option for option in options if option is not type(None)), key=_rank):
            if get_origin(option) is Literal:
                if text in get_args(option):
                    return text
                complaint = "must be one of " + ", ".join(str(choice) for choice in get_args(option))
                continue
            reader = scalars.READERS.get(option)
            if reader is None:
                continue
            try:
                return reader(cast(str, text))
            except scalars.Unfit as unfit:
                complaint = str(unfit)
        self._report.error(
            path, complaint or f"must be {_wanted(options)}", mark=node.mark, confidential=Secret in options
        )
        return _NOTHING

    def _list(self, node: Sequence, kind: Any, path: Path) -> list[Any]:
        values = [self.value(item, kind, (*path, index)) for index, item in enumerate(node.items)]
        return [value for value in values if value is not _NOTHING and value is not None]

    def _dict(self, node: Mapping, kind: Any, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, entry in node.entries.items():
            here = (*path, name)
            self._report.place(here, entry.mark)
            value = self.value(entry.value, kind, here)
            if value is not _NOTHING and value is not None:
                values[name] = value
        return values

    def _interpolate(self, node: Scalar, path: Path) -> str | None:
        name = node.text.removeprefix(INTERPOLATION)
        if not name.isascii() or not name.replace("_", "").isalnum():
            self._report.error(
                path,
                "`os.environ/` must be followed by the name of a variable (letters, digits and underscores)",
                mark=node.mark,
                confidential=True,
            )
            return None
        value = self._environment.get(name)
        if value is None:
            self.missing.append(name)
            self._report.warning(
                path,
                f"the environment variable {name} is not set: set it, or take this key out",
                mark=node.mark,
            )
        return value

    def _unknown(self, kind: type[Section], name: str, node: Node, path: Path) -> None:
        if name in kind.unused:
            is_relied_on = name in PROTECTIONS and not _is_off(node)
            self._report.warning(path, _NOT_ENFORCED if is_relied_on else _NO_EFFECT)
            return
        candidates = [*_hints(kind), *kind.unused, *kind.parameters]
        close = get_close_matches(name, candidates, n=1)
        hint = f"did you mean `{close[0]}`?" if close else "take it out"
        if kind.strict:
            if not close and len(_hints(kind)) <= 16:
                hint = f"known are {', '.join(_hints(kind))}"
            self._report.error(path, f"this key is not known: {hint}")
        else:
            self._report.warning(path, f"this key is not known and has no effect: {hint}")

    def _place(self, path: Path, node: Node) -> None:
        self._report.place(path, node.mark)


def _is_off(node: Node) -> bool:
    """Written without asking for anything: empty, null or false."""
    if isinstance(node, Scalar):
        value = scalars.json_value(node.text, plain=node.plain)
        return value is None or value is False or value == ""
    return not (node.items if isinstance(node, Sequence) else node.entries)


@cache
def _options(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in {Union, types.UnionType} else (kind,)


def _rank(option: Any) -> int:
    # Text fits anything, so it is tried last.
    return 1 if option in {str, Secret} else 0


def _wanted(options: tuple[Any, ...]) -> str:
    words = []
    for option in options:
        origin = get_origin(option)
        if option is type(None):
            continue
        if origin is list:
            words.append("a list")
        elif origin is dict or (isinstance(option, type) and issubclass(option, Section)):
            words.append("a mapping of keys to values")
        else:
            words.append(_WORDS.get(option, "a single value"))
    return " or ".join(dict.fromkeys(words))


_WORDS: Final[dict[Any, str]] = {
    str: "a text",
    Secret: "a text",
    bool: "true or false",
    int: "a whole number",
}
