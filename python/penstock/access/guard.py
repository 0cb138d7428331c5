"""The one guard of the app: authenticates the caller and compares it with what the route declares.

Default deny: a handler without a declaration is refused for everybody, the administrator included.
"""

from __future__ import annotations

import hmac
import ipaddress
from typing import TYPE_CHECKING, Any

from penstock.access.asked import AUTHORITY
from penstock.access.authority import Authority
from penstock.access.policy import Access, Caller, Role
from penstock.access.routes import covers
from penstock.access.standing import caller_with
from penstock.clock import now_ms
from penstock.errors import ApiError
from penstock.persistence import DatabaseUnavailable

if TYPE_CHECKING:
    from litestar.connection import ASGIConnection
    from litestar.handlers import BaseRouteHandler

    from penstock.engine.runtime import Runtime

    Connection = ASGIConnection[Any, Any, Any, Any]

_KEY_HEADERS = ("x-litellm-api-key", "authorization", "x-api-key", "api-key", "x-goog-api-key")
_ANONYMOUS = Caller(Role.ANONYMOUS)
_GROUPS = {
    Access.ADMIN: "management_routes",
    Access.MANAGER: "management_routes",
    Access.VIEWER: "info_routes",
}
"""What a route belongs to in `allowed_routes` when it names no group itself."""


def presented_key(headers: Any) -> str | None:
    """The key in the request's headers, `Bearer` taken off."""
    for name in _KEY_HEADERS:
        value = headers.get(name)
        if not value:
            continue
        scheme, _, rest = value.partition(" ")
        key = rest.strip() if scheme.lower() == "bearer" else value.strip() if name != "authorization" else ""
        if key:
            return str(key)
    return None


async def authenticate(connection: Connection, runtime: Runtime, *, with_rights: bool = False) -> Caller:
    """Who is calling; ``with_rights``: and what the user of a virtual key is in charge of.

    Raises:
        ApiError: 401 or 403, the key is unknown or expired, it or an owner of it is blocked, or it may not be used from this
            address.
    """
    presented = presented_key(connection.headers)
    if presented is None:
        return _ANONYMOUS
    token = runtime.digest(presented)
    # Both are always done, so that the time does not tell the master key's near misses from other strings.
    is_master = hmac.compare_digest(token, runtime.master_token)
    try:
        key = await runtime.keys.find(token)
    except DatabaseUnavailable:
        # The administrator must be able to look at a gateway whose database is away.
        if not is_master:
            raise
        key = None
    if is_master:
        return Caller(Role.MASTER)
    if key is None:
        raise ApiError(
            401, "Authentication Error, Invalid proxy server token passed.", type="token_not_found_in_db", param="key"
        )
    if key.allowed_cidrs and not _is_within(_client_address(connection, runtime), key.allowed_cidrs):
        raise ApiError(403, "This key may not be used from your address.", param="key")
    return await caller_with(key, runtime.entities, now=now_ms(), with_rights=with_rights)


def _is_within(address: str, blocks: list[str]) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    networks = [ipaddress.ip_network(block, strict=False) for block in blocks]
    return any(ip.version == network.version and ip in network for network in networks)


def _client_address(connection: Connection, runtime: Runtime) -> str:
    """The peer, or behind the data plane's relay and trusted proxies the first address that none of them vouches for."""
    peer = connection.client.host if connection.client is not None else ""
    chain = [hop.strip() for hop in connection.headers.get("x-forwarded-for", "").split(",") if hop.strip()]
    if runtime.is_relayed and chain:
        peer = chain.pop()
    trusted = runtime.trusted_proxies
    while chain and trusted and _is_within(peer, trusted):
        peer = chain.pop()
    return peer


async def guard(connection: Connection, handler: BaseRouteHandler) -> None:
    """Refuse the caller, or leave a :class:`Caller` in the connection's state.

    Raises:
        ApiError: 401 without a valid key, 403 with one that is not enough.
    """
    access = handler.opt.get("access")
    if not isinstance(access, Access):
        raise ApiError(403, "This route declares no access and is closed.")
    if access in (Access.PUBLIC, Access.DATA_PLANE):
        return
    runtime: Runtime = connection.app.state.runtime
    if access is Access.METRICS and runtime.metrics_are_public:
        return
    caller = await authenticate(connection, runtime, with_rights=access in _ASK_RIGHTS)
    if caller.role is Role.ANONYMOUS:
        raise ApiError(401, "Authentication Error, No api key passed in.")
    if not _may_call(caller, access):
        others = _OTHERS.get(access, "")
        raise ApiError(
            403, f"Only the proxy's administrators{others} may call {connection.url.path}.", type="auth_error"
        )
    group = handler.opt.get("group") or _GROUPS.get(access)
    if caller.key is not None and not covers(caller.key.allowed_routes, group, connection.url.path):
        raise ApiError(403, f"This key may not call {connection.url.path}.", type="auth_error")
    connection.scope["state"]["caller"] = caller


_OTHERS = {
    Access.VIEWER: " and viewers",
    Access.MANAGER: ", and those who are in charge of a team or an organization or have a permission in one,",
}
_ASK_RIGHTS = frozenset({Access.VIEWER, Access.MANAGER, Access.KEY})


def _may_call(caller: Caller, access: Access) -> bool:
    """Whether the route is open to the caller at all."""
    if caller.role is Role.MASTER or access is Access.KEY:
        return True
    if access is Access.VIEWER:
        return caller.rights.sees_everything
    return access is Access.MANAGER and caller.rights.are_any


def authority_of(connection: Connection, runtime: Runtime) -> Authority:
    """What the caller that :func:`guard` found may see and change."""
    state = connection.scope["state"]
    found = state.get(AUTHORITY)
    if not isinstance(found, Authority):
        found = state[AUTHORITY] = Authority(caller_of(connection), runtime.entities, runtime.keys)
    return found


def caller_of(connection: Connection) -> Caller:
    """What :func:`guard` found."""
    caller = connection.scope["state"].get("caller", _ANONYMOUS)
    return caller if isinstance(caller, Caller) else _ANONYMOUS
