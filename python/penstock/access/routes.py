"""LiteLLM's `allowed_routes`, for the routes of the control plane that virtual keys may call.

The data plane has the same rules for its own routes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_LLM_GROUPS = frozenset({"openai_routes", "anthropic_routes"})


_GROUPS = _LLM_GROUPS | {"llm_api_routes", "info_routes", "management_routes"}


def uncovering(allowed: Sequence[str]) -> list[str]:
    """Those of the entries that name a group which no route is of, and so let nothing through."""
    return [entry for entry in allowed if not entry.startswith(("/", "*")) and entry not in _GROUPS]


def covers(allowed: Sequence[str], group: str | None, path: str) -> bool:
    """Whether one of `allowed` covers the route; an empty list covers every route.

    An entry is a group (`info_routes`, `openai_routes`, `llm_api_routes`, ...), a path with `*`, or a path that covers
    itself and what is below it. `group` is the one that the route declares.
    """
    return not allowed or any(_covers(entry, group, path) for entry in allowed)


def _covers(entry: str, group: str | None, path: str) -> bool:
    if not entry.startswith(("/", "*")):
        return entry == group or (entry == "llm_api_routes" and group in _LLM_GROUPS)
    if "*" in entry:
        return re.fullmatch(".*".join(re.escape(part) for part in entry.split("*")), path) is not None
    own = entry.rstrip("/")
    return path == own or path.startswith(own + "/")
