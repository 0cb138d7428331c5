"""genai-prices' matching rules as patterns that the data plane can apply.

The list finds a model by rules (equals, starts with, contains, a few regular expressions). A wildcard
deployment meets names that nobody knew when the configuration was compiled, so the rules travel with the
prices, in the small language of `Deployment.prices`: `*` any run, `#` a digit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from genai_prices.types import MatchLogic

Value = TypeVar("Value")

_DIGITS: Final = re.compile(r"\\d(?:\{(\d+)\})?")
_ESCAPED: Final = re.compile(r"\\([.\-/\[\]])")
_SPECIAL: Final = frozenset("\\^$.|?*+()[]{}#")


class Patterns:
    """Patterns of one rule; ``broad`` when they match more than the rule, so that they must be tried last."""

    __slots__ = ("broad", "texts")

    def __init__(self, texts: list[str], *, broad: bool = False) -> None:
        self.texts = texts
        self.broad = broad


def patterns(rule: MatchLogic) -> Patterns:
    """The patterns that match what ``rule`` matches. Rules that cannot be said in patterns give none."""
    from genai_prices import types

    if isinstance(rule, types.ClauseOr):
        parts = [patterns(part) for part in rule.or_]
        return Patterns([text for part in parts for text in part.texts], broad=any(part.broad for part in parts))
    if isinstance(rule, types.ClauseAnd):
        # Patterns cannot say "and": the first part that they can express stands for the whole.
        parts = [patterns(part) for part in rule.and_]
        return Patterns(next((part.texts for part in parts if part.texts), []), broad=True)
    if isinstance(rule, types.ClauseEquals):
        return _literal("", rule.equals, "")
    if isinstance(rule, types.ClauseStartsWith):
        return _literal("", rule.starts_with, "*")
    if isinstance(rule, types.ClauseEndsWith):
        return _literal("*", rule.ends_with, "")
    if isinstance(rule, types.ClauseContains):
        return _literal("*", rule.contains, "*")
    return Patterns(_regex(rule.regex))


def _literal(before: str, text: str, after: str) -> Patterns:
    if "*" in text or "#" in text:
        return Patterns([])
    return Patterns([before + text.lower() + after])


def _regex(expression: str) -> list[str]:
    """The pattern of a regular expression made of literals and digits; none for any other."""
    anchored_start, anchored_end = expression.startswith("^"), expression.endswith("$")
    body = expression[anchored_start : len(expression) - anchored_end]
    # Protect what the expression escapes before looking for what it leaves special.
    escaped: list[str] = []

    def keep(match: re.Match[str]) -> str:
        escaped.append(match.group(1))
        return "\0"

    digits = _DIGITS.sub(lambda match: "\1" * int(match.group(1) or 1), body.replace("[-@]", "\2"))
    plain = _ESCAPED.sub(keep, digits)
    if _SPECIAL.intersection(plain):
        return []
    for text in escaped:
        plain = plain.replace("\0", text, 1)
    plain = plain.replace("\1", "#").lower()
    framed = ("" if anchored_start else "*") + plain + ("" if anchored_end else "*")
    return [framed.replace("\2", "-"), framed.replace("\2", "@")] if "\2" in framed else [framed]


def matches(pattern: str, name: str) -> bool:
    """Whether ``name`` (lower case) fits ``pattern``. Linear in the usual case, never worse than their product."""
    at, there, star, mark = 0, 0, -1, 0
    while there < len(name):
        if at < len(pattern) and pattern[at] == "*":
            star, mark = at, there
            at += 1
        elif at < len(pattern) and (name[there] in "0123456789" if pattern[at] == "#" else pattern[at] == name[there]):
            at += 1
            there += 1
        elif star >= 0:
            at = star + 1
            mark += 1
            there = mark
        else:
            return False
    return all(letter == "*" for letter in pattern[at:])


def best(names: Mapping[str, Value], name: str) -> Value | None:
    """What ``names`` has for ``name``: itself first, then the most specific pattern. The data plane's rule."""
    wanted = name.lower()
    if wanted in names:
        return names[wanted]
    fitting = [text for text in names if ("*" in text or "#" in text) and matches(text, wanted)]
    return names[min(fitting, key=_specificity)] if fitting else None


def _specificity(pattern: str) -> tuple[int, bytes]:
    return -len(pattern.replace("*", "")), pattern.encode()
