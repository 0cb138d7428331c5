"""Values that must not be shown: they print as asterisks wherever a struct, a log or a traceback shows them.

Apart from the schema because the environment and the compiler handle secrets too.
"""

from __future__ import annotations

import hmac
from typing import Final

_MASK: Final = "********"


class Secret:
    """A text that is only given out by :meth:`reveal`. Not encodable by msgspec, on purpose."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself. Call it where the value is used, not where it is passed on."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __repr__(self) -> str:
        return f"Secret({_MASK})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled: pass reveal() on where it is needed")


class Json:
    """A free-form value from the configuration (`extra_body`, default parameters); not shown, for it may hold anything."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Json):
            return NotImplemented
        return self.value == other.value

    def __hash__(self) -> int:
        return hash(repr(self.value))

    def __repr__(self) -> str:
        return f"Json({_MASK})"
