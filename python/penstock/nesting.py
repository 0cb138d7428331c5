"""How deep free-form JSON may be nested.

Apart from the domains that store such values because a value that could just be read once, with little of the stack in
use, could not be shown again from a place that uses more of it: one such row would break every list it stands in.
"""

from __future__ import annotations

DEEPEST = 64


def is_too_deep(value: object) -> bool:
    """Whether lists and objects are nested more than :data:`DEEPEST` deep. Does not recurse."""
    level: list[object] = [value]
    for _ in range(DEEPEST + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True
