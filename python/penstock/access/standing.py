"""Who the holder of a virtual key is at this moment: whether the key is in force, and what its user may do.

Apart from the guard because it is asked twice: when a request comes in, and again where something is written for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.access.policy import Caller, Role
from penstock.access.rights import NONE, is_bound, rights_of
from penstock.errors import ApiError
from penstock.scopes import names

if TYPE_CHECKING:
    from penstock.engine.entities import Entities
    from penstock.keys.models import VirtualKey


async def caller_with(key: VirtualKey, entities: Entities, *, now: int, with_rights: bool) -> Caller:
    """The caller that a key makes of who presents it; a bound key makes nobody an administrator.

    Raises:
        ApiError: 401 or 403, the key is expired, or it or an owner of it is blocked.
        DatabaseUnavailable: it cannot be read.
    """
    if key.blocked:
        raise ApiError(403, "Authentication Error, this key is blocked.", type="auth_error", param="key")
    if key.expires_at is not None and key.expires_at <= now:
        raise ApiError(401, "Authentication Error, this key has expired.", type="expired_key", param="key")
    await _check_owners(key, entities)
    if not is_bound(key) and await entities.users.is_admin(key.user_id):
        return Caller(Role.MASTER, key)
    return Caller(Role.KEY, key, await rights_of(key, entities) if with_rights else NONE)


async def _check_owners(key: VirtualKey, entities: Entities) -> None:
    """Blocking a team, a user or an organization stops their keys here as it does on the data plane."""
    owners = []
    if key.team_id is not None:
        owners.append(names.team(key.team_id))
        if key.user_id is not None:
            owners.append(names.member(key.team_id, key.user_id))
    if key.user_id is not None:
        owners.append(names.user(key.user_id))
    if key.org_id is not None:
        owners.append(names.organization(key.org_id))
    for name in await entities.scopes.blocked_among(owners):
        raise ApiError(403, f"Authentication Error, this key's {name} is blocked.", type="auth_error", param="key")
