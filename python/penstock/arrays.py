"""Many rows as parameters of one statement with an array per column, which only PostgreSQL knows.

It plans a statement with thousands of parameters for longer than it takes to run. Apart from the tables because of how an
array is bound: as its text. The driver looks at each element of a list whether it is a list itself, which takes longer than
all else that is done for a call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from penstock.persistence import Value

_encode = msgspec.json.Encoder().encode


def array(kind: str) -> str:
    """The SQL of a parameter that :func:`by_column` has made. ``kind``: of its elements, BIGINT or TEXT."""
    return f"CAST(CAST(? AS TEXT) AS {kind}[])"


def by_column(rows: Iterable[Sequence[Value]], count: int) -> Sequence[Value]:
    """Rows of `count` values as `count` parameters."""
    columns = list(zip(*rows, strict=True)) or [()] * count
    return [_literal(column) for column in columns]


def _literal(values: Sequence[Value]) -> str:
    """An array as PostgreSQL reads it, which is as in JSON but for the brackets and for what is escaped."""
    text = _encode(values).decode()
    if "\\" in text:
        text = f"[{','.join(map(_element, values))}]"
    return f"{{{text[1:-1]}}}"


def _element(value: Value) -> str:
    if not isinstance(value, str):
        return "null" if value is None else str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
