"""Which keys a caller may make, change and remove: where they are and whose.

Apart from :mod:`penstock.access.narrowing`, which compares what a key may do and does not care where it belongs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from penstock.access.narrowing import after_change, check_held, check_narrowed
from penstock.access.rights import is_bound
from penstock.access.sight import refused
from penstock.access.team_authority import TeamAuthority
from penstock.errors import bad_request
from penstock.keys.models import VirtualKey

if TYPE_CHECKING:
    from penstock.keys.models import KeyFields

_SERVICE_ACCOUNT = "/key/service-account/generate"
_OF_OWN_KEYS = frozenset(
    {"/key/generate", "/key/update", "/key/bulk_update", "/key/delete", "/key/regenerate", "/key/block"}
)
"""What a user does with keys of its own that are of no team, where it may have such."""


class KeyAuthority(TeamAuthority):
    """Of one caller, over keys."""

    async def key(self, identifier: str, permission: str, param: str = "key") -> VirtualKey:
        """A key that the caller may change: of a team or an organization that it is in charge of, or with the team's
        permission one of its own or of nobody's in the team.

        Raises:
            ApiError: 403, whether there is such a key or not; 404 for the administrator.
        """
        if self.is_administrator:
            return await self._keys.get(identifier, param)
        found = await self._keys.find(identifier)
        if found is None or not await self._reaches(found, permission):
            raise refused("This key is of no team or organization that you are in charge of.", param)
        await self._not_of_the_mighty(found.user_id, param)
        return found

    async def new_key(self, fields: KeyFields, permission: str) -> None:
        """Check what a new key is to belong to; a member's key becomes its own.

        Raises:
            ApiError: 403 naming the field.
        """
        self._entities.key_rules.bound(fields, is_new=True)
        if not self.is_administrator:
            if isinstance(getattr(fields, "key", None), str):
                raise refused("`key` is chosen by the proxy's administrators only: leave it out.", "key")
            self.choice(fields, None)
            await self._stays_within(fields, None, permission)
        self._is_held(None, fields, permission)

    async def change_of_key(self, identifier: str, fields: KeyFields, permission: str) -> VirtualKey:
        """Check that the caller may change the key, and that it stays within what the caller is in charge of.

        Raises:
            ApiError: 403 naming the field; 404 for the administrator.
        """
        key = await self.key(identifier, permission)
        self._entities.key_rules.bound(fields, is_new=False)
        if not self.is_administrator:
            if isinstance(getattr(fields, "new_key", None), str):
                raise refused("`new_key` is chosen by the proxy's administrators only: leave it out.", "new_key")
            self.choice(fields, key.when_gone)
            await self._stays_within(fields, key, permission)
        self._is_held(key, fields, permission)
        return key

    async def _reaches(self, key: VirtualKey, permission: str) -> bool:
        if key.team_id is None and key.org_id is None:
            return self._rights.has_own_keys and key.user_id == self._rights.user_id and permission in _OF_OWN_KEYS
        if key.team_id is None:
            return key.org_id in self._rights.organizations
        team = await self._entities.teams.find(key.team_id)
        if team is None:
            return False
        allowed = self._rights.member_of.get(key.team_id, frozenset())
        # A key of nobody is not held to its maker's limits in the team: that is a permission of its own.
        is_mine = key.user_id == self._rights.user_id or (key.user_id is None and _SERVICE_ACCOUNT in allowed)
        return self.leads(team) or (is_mine and permission in allowed)

    async def _stays_within(self, fields: KeyFields, before: VirtualKey | None, permission: str) -> None:
        is_moved = before is not None and (fields.team_id is not UNSET or fields.organization_id is not UNSET)
        if is_moved and before is not None and before.user_id is not None and fields.user_id is UNSET:
            # Where it comes to, its user must belong too.
            moved_to = fields.team_id if fields.team_id is not UNSET else before.team_id
            is_elsewhere = moved_to is None and fields.organization_id not in (UNSET, before.org_id)
            if moved_to != before.team_id or is_elsewhere:
                fields.user_id = before.user_id
        if is_moved and before is not None:
            await self._not_out_of_a_block(before.org_id, await self._organization_after(fields, before))
        team_id = fields.team_id if fields.team_id is not UNSET else before.team_id if before is not None else None
        if before is None or fields.budget_id != before.extra.get("budget_id"):
            await self._budget_in_reach(fields.budget_id, team_id, await self._organization_after(fields, before))
        if team_id is None:
            organization_id = fields.organization_id
            if organization_id is UNSET:
                organization_id = before.org_id if before is not None else None
            if organization_id is None and self._rights.has_own_keys and permission in _OF_OWN_KEYS:
                await self._stays_own(fields, before, permission)
                return
            if organization_id is None and not self._rights.organizations:
                raise refused("`team_id` must name a team that you are in charge of.", "team_id")
            self.organization(organization_id)
            await self._belongs(fields, None, organization_id)
            return
        team = await self._entities.teams.find(team_id)
        if team is not None and self.leads(team):
            self._meets_rules_of_teams(fields, before, "admin")
            await self._belongs(fields, team_id, None)
            return
        if (before is not None and before.team_id != team_id) or permission not in self._rights.member_of.get(
            team_id, ()
        ):
            raise refused(f"You may not do this with keys of team {team_id}.", "team_id")
        if before is None and fields.user_id is UNSET and permission == "/key/generate":
            fields.user_id = self._rights.user_id
        elif fields.user_id is not UNSET and fields.user_id != self._rights.user_id:
            raise refused("`user_id` must be your own, or be left out.", "user_id")
        self._meets_rules_of_teams(fields, before, "user")
        if before is None:
            await self._has_room(team_id, self._rights.user_id if permission == "/key/generate" else None)
        else:
            check_narrowed(fields, before, permission, self._rights.member_of.get(team_id, frozenset()))

    async def _stays_own(self, fields: KeyFields, before: VirtualKey | None, permission: str) -> None:
        """A key of the caller's user and of no team: it is made for oneself, and held to no more than the key that makes it."""
        if before is not None and is_bound(before):
            raise refused("`team_id`: a key of a team or an organization stays there.", "team_id")
        if before is None and fields.user_id is UNSET:
            fields.user_id = self._rights.user_id
        elif fields.user_id is not UNSET and fields.user_id != self._rights.user_id:
            raise refused("`user_id` must be your own, or be left out.", "user_id")
        if before is not None:
            check_narrowed(fields, before, permission, _OF_OWN_KEYS)
            return
        rules = self._entities.key_rules
        rules.required(fields, rules.generation.personal_key_generation.required_params, "personal_key_generation")
        await self._has_room(None, self._rights.user_id)

    def _meets_rules_of_teams(self, fields: KeyFields, before: VirtualKey | None, role: str) -> None:
        """What the configuration says of keys of teams, where others than the proxy's administrators make them."""
        if before is not None:
            return
        rules = self._entities.key_rules
        asked = rules.generation.team_key_generation
        if asked.allowed_team_member_roles is not None and role not in asked.allowed_team_member_roles:
            raise refused("`team_id`: the configuration lets others make keys of teams: ask an admin.", "team_id")
        rules.required(fields, asked.required_params, "team_key_generation")

    async def _has_room(self, team_id: str | None, user_id: str | None) -> None:
        """Who makes keys for itself makes so many."""
        most = self._entities.key_rules.most
        if await self._keys.count_of(user_id, team_id) >= most:
            whose, param = (
                ("You have", "user_id") if user_id is not None else ("The team's service accounts have", "team_id")
            )
            raise refused(f"{whose} {most} keys already, and may have no more: delete one, or ask an admin.", param)

    async def _organization_after(self, fields: KeyFields, before: VirtualKey | None) -> str | None:
        was = before if before is not None else VirtualKey(token="", key_name="")
        team_id = fields.team_id if fields.team_id is not UNSET else was.team_id
        if team_id is not None:
            team = await self._entities.teams.find(team_id)
            return team.organization_id if team is not None else None
        return fields.organization_id if fields.organization_id is not UNSET else was.org_id

    async def _belongs(self, fields: KeyFields, team_id: str | None, organization_id: str | None) -> None:
        """Whom a key is given to must belong to what it is of, and have no more rights than its maker can give."""
        user_id = fields.user_id
        if user_id is UNSET or user_id is None or user_id == self._rights.user_id:
            return
        if team_id is not None:
            is_member = await self._entities.members.is_member(team_id, user_id)
            where = f"team {team_id}"
        else:
            is_member = await self._entities.organizations.is_member(organization_id, user_id)
            where = f"organization {organization_id}"
        if not is_member:
            raise bad_request(f"`user_id`: {user_id} is no member of {where}: add the user first", "user_id")
        await self._not_of_the_mighty(user_id, "user_id")

    def _is_held(self, before: VirtualKey | None, fields: KeyFields, permission: str) -> None:
        after = after_change(before, fields)
        own = self._caller.key
        if own is not None and (own.allowed_routes or not self.is_administrator):
            check_held(own, before, after, permission)
