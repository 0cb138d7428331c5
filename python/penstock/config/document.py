"""YAML text to a tree of marked nodes.

Built on PyYAML's events rather than on its composer or its Python objects: this way every key and value
keeps its place, duplicate keys are seen, and nesting and alias expansion are bounded before anything is
built. Plain values stay text here; what they mean is decided against the schema (``bind``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import yaml

from penstock.config.problems import Mark, Report

MAX_BYTES: Final = 16 * 1024 * 1024
"""Longest file that is read."""
MAX_DEPTH: Final = 64
"""Deepest nesting; real configurations stay under ten."""
MAX_NODES: Final = 1_000_000
"""Most values in a file, counting every use of an alias as a copy."""

_STRING_TAGS: Final = frozenset({"!", "tag:yaml.org,2002:str"})
_PLAIN_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null", "map", "seq", "timestamp")
)


@dataclass(slots=True)
class Scalar:
    """A value in its written form."""

    text: str
    mark: Mark
    plain: bool = True
    """Not quoted, so that it may be a number, a boolean or null."""
    size: int = 1


@dataclass(slots=True)
class Sequence:
    items: list[Node]
    mark: Mark
    size: int = 1


@dataclass(slots=True)
class Entry:
    key: str
    mark: Mark
    """Where the key stands."""
    value: Node


@dataclass(slots=True)
class Mapping:
    entries: dict[str, Entry]
    mark: Mark
    size: int = 1


Node: TypeAlias = Scalar | Sequence | Mapping


@dataclass(slots=True)
class _Open:
    """A collection whose end has not been read."""

    node: Sequence | Mapping
    anchor: str | None
    key: Scalar | None = None
    has_key: bool = False
    merges: list[Node] = field(default_factory=list)


class _Refused(Exception):
    """The text cannot be read any further; the problem is already in the report."""


def parse(text: str, file: str, report: Report) -> Mapping:
    """The top-level mapping of ``text``; an empty one when there is none. Never raises for any text."""
    empty = Mapping({}, Mark(file, 1, 1))
    if len(text) > MAX_BYTES:
        report.error((), f"the file is longer than {MAX_BYTES >> 20} MiB", mark=Mark(file, 1, 1))
        return empty
    try:
        root = _Builder(file, report).build(_events(text))
    except yaml.MarkedYAMLError as error:
        where = error.problem_mark or error.context_mark
        mark = Mark(file, where.line + 1, where.column + 1) if where is not None else Mark(file, 1, 1)
        reason = _reason(error)
        report.error((), f"this is not valid YAML: {reason}", mark=mark, confidential=True)
        return empty
    except (yaml.YAMLError, UnicodeError, ValueError):
        line = next((n for n, row in enumerate(text.split("\n"), 1) if not row.isprintable()), 1)
        report.error(
            (),
            "the file holds characters that YAML does not allow (control characters or broken UTF-8): remove them",
            mark=Mark(file, line, 1),
            confidential=True,
        )
        return empty
    except _Refused:
        return empty
    if root is None or (isinstance(root, Scalar) and root.plain and root.text in {"", "~", "null"}):
        return empty
    if not isinstance(root, Mapping):
        report.error((), "the top level must be a mapping (`model_list: ...`)", mark=root.mark, confidential=True)
        return empty
    return root


def _events(text: str) -> Iterator[Any]:
    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    return yaml.parse(text, Loader=loader)


_REASONS: Final = (
    ("tab", "a tab is used for indentation; use spaces"),
    ("cannot start any token", "a value starts with a character that must be quoted (such as a tab, @, ` or %)"),
    ("expected ':'", "a key is not followed by `: `"),
    (
        "mapping values are not allowed",
        "there is a second `: ` in one value, or the indentation is off; quote the value",
    ),
    ("expected <block end>", "the indentation does not fit the lines above"),
    ("did not find expected key", "the indentation does not fit the lines above, or a quote is missing"),
    ("did not find expected '-'", "a list item is not indented like the others"),
    ("did not find expected ',' or", "a bracket or brace is not closed, or a comma is missing"),
    ("unexpected end of stream", "a quote is not closed"),
    ("escape", "an unknown escape in a double-quoted value; use single quotes"),
    ("alphabetic or numeric", "a value that starts with * or & must be quoted"),
    ("duplicate anchor", "the same anchor is defined twice"),
    ("directive", "a line that starts with % must be quoted"),
    ("tag", "a value that starts with ! must be quoted"),
)


def _reason(error: yaml.MarkedYAMLError) -> str:
    # The parser's own words may quote the file, so only its known phrases are passed on.
    said = f"{error.problem or ''} {error.context or ''}"
    return next((text for phrase, text in _REASONS if phrase in said), "check indentation, quotes and brackets here")


class _Builder:
    def __init__(self, file: str, report: Report) -> None:
        self._file = file
        self._report = report
        self._anchors: dict[str, Node] = {}
        self._stack: list[_Open] = []
        self._root: Node | None = None
        self._count = 0

    def build(self, events: Iterator[Any]) -> Node | None:
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._refuse(event, "there is a second document (`---`): put everything into one")
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, yaml.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._open(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._close()
        return self._root

    def _mark(self, event: Any) -> Mark:
        return Mark(self._file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _refuse(self, event: Any, message: str) -> None:
        self._report.error((), message, mark=self._mark(event), confidential=True)
        raise _Refused

    def _spend(self, event: Any, nodes: int) -> None:
        self._count += nodes
        if self._count > MAX_NODES:
            self._refuse(event, f"the file expands to more than {MAX_NODES} values: use fewer aliases")

    def _tag(self, event: Any, *, scalar: bool) -> bool:
        """True when the tag makes the value a string."""
        tag = event.tag
        if tag is None or tag in _PLAIN_TAGS:
            return False
        if scalar and tag in _STRING_TAGS:
            return tag != "!" or not event.style
        self._report.error(
            (),
            "YAML tags (`!name`) are not supported: quote the value if it starts with an exclamation mark",
            mark=self._mark(event),
            confidential=True,
        )
        return True

    def _scalar(self, event: Any) -> None:
        self._spend(event, 1)
        string = self._tag(event, scalar=True)
        plain = not event.style and not string
        node = Scalar(event.value, self._mark(event), plain)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        self._place(node)

    def _alias(self, event: Any) -> None:
        node = self._anchors.get(event.anchor)
        if node is None:
            self._refuse(
                event, "this alias (`*name`) refers to no anchor above it; quote the value if it is not an alias"
            )
            return
        self._spend(event, node.size)
        self._place(node)

    def _open(self, event: Any) -> None:
        self._spend(event, 1)
        self._tag(event, scalar=False)
        if len(self._stack) >= MAX_DEPTH:
            self._refuse(event, f"values are nested more than {MAX_DEPTH} deep")
        node: Sequence | Mapping
        if isinstance(event, yaml.SequenceStartEvent):
            node = Sequence([], self._mark(event))
        else:
            node = Mapping({}, self._mark(event))
        self._stack.append(_Open(node, event.anchor))

    def _close(self) -> None:
        top = self._stack.pop()
        if isinstance(top.node, Mapping):
            self._merge(top.node, top.merges)
        if top.anchor is not None:
            self._anchors[top.anchor] = top.node
        self._place(top.node)

    def _place(self, node: Node) -> None:
        if not self._stack:
            self._root = node
            return
        top = self._stack[-1]
        top.node.size += node.size
        if isinstance(top.node, Sequence):
            top.node.items.append(node)
        elif not top.has_key:
            top.has_key = True
            top.key = node if isinstance(node, Scalar) else None
            if top.key is None:
                self._report.error((), "a key must be a plain name", mark=node.mark, confidential=True)
        else:
            top.has_key = False
            if top.key is not None:
                self._entry(top, top.key, node)

    def _entry(self, top: _Open, key: Scalar, value: Node) -> None:
        assert isinstance(top.node, Mapping)
        if key.plain and key.text == "<<":
            top.merges.append(value)
            return
        first = top.node.entries.get(key.text)
        if first is not None:
            self._report.error(
                (),
                f"this key was already set on line {first.mark.line}: remove one of the two",
                mark=key.mark,
                confidential=True,
            )
        top.node.entries[key.text] = Entry(key.text, key.mark, value)

    def _merge(self, target: Mapping, sources: list[Node]) -> None:
        # YAML's merge key: what is written in the mapping itself wins, then the sources in their order.
        for source in sources:
            for node in source.items if isinstance(source, Sequence) else [source]:
                if not isinstance(node, Mapping):
                    self._report.error(
                        (), "`<<` takes a mapping or a list of mappings", mark=node.mark, confidential=True
                    )
                    continue
                for name, entry in node.entries.items():
                    target.entries.setdefault(name, entry)
