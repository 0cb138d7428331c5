"""A parameter or a body that nobody reads is refused: a filter that is passed over shows more than was asked for.

Apart from the routes because it is one rule for all of them, read off what their handlers declare.
"""

from __future__ import annotations

import difflib
from functools import cache
from typing import TYPE_CHECKING, Any

from litestar.enums import ParamType
from litestar.params import ParameterKwarg

from penstock.access import Access
from penstock.errors import bad_request

if TYPE_CHECKING:
    from litestar import Request
    from litestar.handlers import BaseRouteHandler

_EVERYBODYS = frozenset({Access.PUBLIC, Access.METRICS, Access.DATA_PLANE})
"""Probes and scrapers have habits of their own, and inference routes are the providers'."""

_OFF = frozenset({"", "false"})
"""A filter or a flag that is not set: clients of LiteLLM send all that they know."""
_NOTHING = (b"", b"{}", b"null")
"""Bodies of clients that always send one."""


async def refuse_unknown(request: Request[Any, Any, Any]) -> None:
    """Before a handler runs: every parameter of the query must be one of the handler's, given once, and a body wanted.

    Raises:
        ApiError: 400 naming the parameter.
    """
    handler = request.route_handler
    if handler.opt.get("access") in _EVERYBODYS or handler.opt.get("any_query"):
        return
    known, seen = _known(handler), set[str]()
    for name, value in request.query_params.multi_items():
        if name not in known and value.lower() in _OFF:
            continue
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = (
                f"Did you mean `{near[0]}`?" if near else f"Known are {', '.join(known)}." if known else "Take it out."
            )
            raise bad_request(f"Unknown query parameter `{name}`. {hint}", name)
        if name in seen:
            raise bad_request(f"`{name}` is given more than once.", name)
        seen.add(name)
    if handler.parsed_data_field is None and request.method != "GET" and (await request.body()).strip() not in _NOTHING:
        raise bad_request("This route takes no body: leave it out.", "request_body")


@cache
def _known(handler: BaseRouteHandler) -> tuple[str, ...]:
    return tuple(
        field.kwarg_definition.name or name
        for name, field in handler.parsed_fn_signature.parameters.items()
        if name not in handler.resolve_dependencies()
        and isinstance(field.kwarg_definition, ParameterKwarg)
        and field.kwarg_definition.param_type is ParamType.QUERY
    )
