"""What a virtual key's user is in charge of: teams, organizations, and what a team lets its members do.

Apart from the guard because it is said by rows of three domains, and from the authority because it is data and no decision.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.engine.entities import Entities
    from penstock.keys.models import VirtualKey

VIEWER_ROLE = "proxy_admin_viewer"
_LOOKING_ON = frozenset({VIEWER_ROLE, "internal_user_viewer"})
"""Roles of users who change nothing, whatever they are in a team or an organization."""
TEAM_ADMIN = "admin"
ORGANIZATION_ADMIN = "org_admin"


class Rights(msgspec.Struct, frozen=True):
    """Of one user through one key: a key within a team is good for that team only, one within an organization for that.

    Who may make keys there could else make one for a member who is in charge of something elsewhere."""

    user_id: str | None = None
    sees_everything: bool = False
    leads: frozenset[str] = frozenset()
    """Ids of teams whose `admin` the user is."""
    member_of: Mapping[str, frozenset[str]] = MappingProxyType({})
    """Ids of all teams that the user belongs to, with what those let every member do (paths of `/key/...`)."""
    organizations: frozenset[str] = frozenset()
    """Ids of organizations whose `org_admin` the user is."""
    has_own_keys: bool = False
    """The user may make keys for itself that are of no team."""

    @property
    def are_any(self) -> bool:
        """There is something that the user may change."""
        return bool(self.leads or self.organizations or self.has_own_keys or any(self.member_of.values()))


NONE = Rights()


def is_bound(key: VirtualKey) -> bool:
    """The key is good within a team or an organization only: who is in charge there could make it, so what its user is beyond
    that does not count, a role in the whole proxy included."""
    return key.team_id is not None or key.org_id is not None


async def rights_of(key: VirtualKey, entities: Entities) -> Rights:
    """What is written of the key's user.

    Raises:
        DatabaseUnavailable: it cannot be read.
    """
    if key.user_id is None:
        return NONE
    user = await entities.users.find(key.user_id)
    own_keys = entities.key_rules.generation.personal_key_generation
    changes = user is None or user.user_role not in _LOOKING_ON
    memberships = (await entities.members.of_users([key.user_id]))[key.user_id]
    if key.team_id is not None:
        memberships = [member for member in memberships if member.team_id == key.team_id]
    teams = await entities.teams.among([member.team_id for member in memberships])
    if key.team_id is None and key.org_id is not None:
        teams = [team for team in teams if team.organization_id == key.org_id]
    within = {team.team_id for team in teams}
    memberships = [member for member in memberships if member.team_id in within]
    permissions = {team.team_id: team.member_permissions for team in teams}
    organizations = frozenset[str]()
    if key.team_id is None and changes:
        organizations = frozenset(await entities.organizations.administered_by(key.user_id))
        if key.org_id is not None:
            organizations &= {key.org_id}
    return Rights(
        user_id=key.user_id,
        sees_everything=user is not None and user.user_role == VIEWER_ROLE and not is_bound(key),
        leads=frozenset(member.team_id for member in memberships if member.role == TEAM_ADMIN and changes),
        member_of={
            member.team_id: frozenset(permissions.get(member.team_id, ()) if changes else ()) for member in memberships
        },
        organizations=organizations,
        has_own_keys=user is not None
        and changes
        and not is_bound(key)
        and user.user_role in own_keys.allowed_user_roles,
    )
