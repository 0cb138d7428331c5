"""Problems as text for a terminal: place, message, the line itself and a caret under the value.

The line is shown with everything masked that could be a secret: only words of the schema, names of models and
providers, numbers and the key that the problem is about are legible. Telling secrets by their looks instead would
miss the short ones. A mask keeps length and punctuation, so that the caret still points at the right character.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final

import msgspec

from penstock.config.problems import Problem, describe
from penstock.config.values import Section
from penstock.providers import names

_WIDEST: Final = 160
_WORD: Final = re.compile(r"os\.environ/\w+|[^\W_][\w.-]*")
_LETTER: Final = re.compile(r"[^\W_]")
_NUMBER: Final = re.compile(r"[0-9][0-9._]{0,11}")
_MODEL: Final = re.compile(r"""\b(?:model|model_name|custom_llm_provider)["']?:\s+["']?([^\s"',{}\[\]]+)""")
_SENSITIVE: Final = re.compile(r"key|secret|token|passw|credential|auth|headers|variables|body", re.IGNORECASE)
_VALUES: Final = ("true", "false", "null", "yes", "no", "on", "off", "chat", "embedding", "debug", "info", "error")


def render(problems: Iterable[Problem], source: str | Mapping[str, str]) -> str:
    """``problems`` as text, ending with a summary line.

    ``source`` is the text of the configuration, or its files' texts by name (`Loaded.sources`).
    """
    listed = list(problems)
    blocks = [_block(problem, source) for problem in listed]
    errors = sum(problem.severity == "error" for problem in listed)
    warnings = len(listed) - errors
    summary = f"{_count(errors, 'error')}, {_count(warnings, 'warning')}"
    return "\n".join([*blocks, summary]) + "\n"


def _block(problem: Problem, source: str | Mapping[str, str]) -> str:
    text = source if isinstance(source, str) else source.get(problem.file, "")
    rows = text.split("\n")
    if not 0 < problem.line <= len(rows):
        return describe(problem)
    # The caret must stand under the same character whatever the terminal does with tabs and controls.
    row = "".join(letter if letter.isprintable() else " " for letter in rows[problem.line - 1])
    column = max(problem.column - 1, 0)
    shown = _masked(row, problem)
    start = 0 if len(shown) <= _WIDEST else max(0, min(column - _WIDEST // 2, len(shown) - _WIDEST))
    number = str(problem.line)
    return (
        f"{describe(problem)}\n"
        f"  {number} | {shown[start : start + _WIDEST]}\n"
        f"  {' ' * len(number)} | {' ' * (column - start)}^"
    )


def _masked(row: str, problem: Problem) -> str:
    subject = problem.path.rpartition(".")[2]
    legible = vocabulary() if problem.confidential else vocabulary() | {subject}
    models = [] if problem.confidential else [match.span(1) for match in _MODEL.finditer(row)]
    # Digits are harmless until something on the line or above it deals in secrets.
    numbers = not problem.confidential and not _SENSITIVE.search(row) and not _SENSITIVE.search(problem.path)

    def shown(word: re.Match[str]) -> str:
        text = word.group()
        known = text in legible or text.rstrip(".-") in legible
        variable = text.startswith("os.environ/") and not problem.confidential
        named = any(start <= word.start() and word.end() <= end for start, end in models)
        if known or variable or named or (numbers and _NUMBER.fullmatch(text)):
            return text
        return _hide(text)

    return _WORD.sub(shown, row)


@cache
def vocabulary() -> frozenset[str]:
    """Words that are no secret: the schema's keys, the providers' names and the fixed values."""
    words = {*_VALUES, *names()}
    waiting: list[type[Section]] = [Section]
    while waiting:
        kind = waiting.pop()
        waiting.extend(kind.__subclasses__())
        words |= {field.name for field in msgspec.structs.fields(kind)} | kind.unused | kind.parameters
    return frozenset(words)


def _hide(text: str) -> str:
    return _LETTER.sub("*", text)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
