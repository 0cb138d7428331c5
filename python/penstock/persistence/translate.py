"""The stores' portable SQL as PostgreSQL wants it: `?` becomes `$1`, `$2`, ...

Apart from the engine because it is about text alone. Question marks in literals, quoted names and comments stay.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from penstock.persistence.database import Value

_KEPT = 2_048
"""Statements remembered; stores have a few hundred."""
_TOKEN = re.compile(
    r"""
    (?P<mark>\?)
    | (?:\b[eE])'(?:[^'\\]|\\.|'')*'          # escape string
    | '(?:[^']|'')*'                          # literal
    | "(?:[^"]|"")*"                          # quoted name
    | --[^\n]*                                # comment
    | /\*.*?\*/
    | (?<![\w$])\$(?P<tag>(?:[A-Za-z_]\w*)?)\$.*?\$(?P=tag)\$   # dollar-quoted text
    """,
    re.VERBOSE | re.DOTALL,
)
_NUL = "\x00"
_REPLACEMENT = "\ufffd"


@lru_cache(_KEPT)
def numbered(sql: str) -> str:
    """``sql`` with its placeholders numbered from `$1`, in the order in which they stand."""
    count = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal count
        if match["mark"] is None:
            return match[0]
        count += 1
        return f"${count}"

    return _TOKEN.sub(replace, sql)


def without_nul(parameters: Sequence[Value]) -> Sequence[Value]:
    """The same with U+FFFD for U+0000, which PostgreSQL's TEXT cannot hold and a client can send."""
    if any(isinstance(value, str) and _NUL in value for value in parameters):
        return [value.replace(_NUL, _REPLACEMENT) if isinstance(value, str) else value for value in parameters]
    return parameters
