"""Answers without the secrets that clients of LiteLLM put into settings of teams and keys: of logging callbacks and of vaults.

Apart from the routes because all that show a team, a key, a user or an organization do so alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from penstock.credentials.service import mask

_SECRET = frozenset({"callback_vars", "secret_manager_settings"})
_T = TypeVar("_T")


def concealed(answer: _T) -> _T:
    """The same with every text masked that stands below a field for secrets, however deep."""
    shown: _T = _walk(answer, _same)
    return shown


def _walk(value: Any, text: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {name: _walk(item, mask if name in _SECRET else text) for name, item in value.items()}
    if isinstance(value, list):
        return [_walk(item, text) for item in value]
    return text(value) if isinstance(value, str) else value


def _same(value: str) -> str:
    return value
