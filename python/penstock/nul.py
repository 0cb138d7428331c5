"""U+0000 in what a client says is refused: not every database keeps it, and a name that is stored as another one is somebody else's.

Apart from the domains because it is one rule for every text that they are given.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.errors import bad_request

if TYPE_CHECKING:
    from litestar import Request

_NUL = "\x00"
_ESCAPED = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""JSON writes it so and in no other way."""


async def refuse_nul(request: Request[Any, Any, Any]) -> None:
    """Before a handler runs: no text of the path, the query or the body has one.

    Raises:
        ApiError: 400 naming the field.
    """
    for name, value in (*request.path_params.items(), *request.query_params.multi_items()):
        if _NUL in str(value):
            raise _refusal(name)
    if request.route_handler.opt.get("group") == "openai_routes":
        # A prompt, of which nothing is kept.
        return
    body = await request.body()
    if _ESCAPED.search(body):
        try:
            raise _refusal(_place(msgspec.json.decode(body)) or "request_body")
        except msgspec.DecodeError:
            # It is not JSON, which the handler says better.
            return


def _refusal(field: str) -> Exception:
    return bad_request(f"`{field}` must not have the character U+0000 in it", field)


def _place(document: Any) -> str | None:
    """Where the first one is, as `field.0.inner`. Does not recurse."""
    waiting: deque[tuple[str, Any]] = deque([("", document)])
    while waiting:
        path, value = waiting.popleft()
        if isinstance(value, str) and _NUL in value:
            return path
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for name, one in inner:
            place = f"{path}.{name}".removeprefix(".")
            if _NUL in str(name):
                return path or None
            waiting.append((place, one))
    return None
