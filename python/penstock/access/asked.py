"""The net under handlers that others than administrators may call: who is one of them gets no good answer before it was asked
what the caller may do with the object.

Apart from the guard because that knows routes and no objects; what a handler forgets shows only in that it never asked.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from penstock.access.authority import Authority
from penstock.access.policy import Access, Caller, Role
from penstock.errors import ApiError

if TYPE_CHECKING:
    from litestar.types import Message, Scope

logger = logging.getLogger("penstock.access")

AUTHORITY = "authority"
"""Where the connection's state has the caller's :class:`Authority`, once somebody wanted it."""


async def refuse_unasked(message: Message, scope: Scope) -> None:
    """Before an answer goes out: let it be an error when nobody asked. What was done is done; that it could be is in the log.

    Raises:
        ApiError: 500.
    """
    if message["type"] != "http.response.start" or message["status"] >= 300:
        return
    handler, state = scope["route_handler"], scope["state"]
    caller = state.get("caller")
    if handler.opt.get("access") is not Access.MANAGER or not isinstance(caller, Caller):
        return
    authority = state.get(AUTHORITY)
    if caller.role is Role.MASTER or (isinstance(authority, Authority) and authority.was_asked):
        return
    logger.error("a handler asked nobody", extra={"event": "access.unasked", "route": str(handler)})
    raise ApiError(500, "This route forgot to ask whether you may do this; please report it.")
